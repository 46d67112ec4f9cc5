/* retrain/learner_inside.h - the learner's parts, for learner*.c alone. */
#ifndef RETRAIN_LEARNER_INSIDE_H
#define RETRAIN_LEARNER_INSIDE_H

#include "retrain/learner.h"

#include "features/batch_builder.h"
#include "ops/random.h"

#define LEARNER_RECENT (1 << 16) /* events whose users next-item learning draws from */

/* Running means of the scalars and of their squares over the rows learnt from. */
struct learner_scale {
    double rows;
    double mean[BATCH_SCALARS_MAX], square[BATCH_SCALARS_MAX];
};

struct learner {
    struct learner_options options;
    struct rules rules;
    struct item_tables *tables;
    struct sequences *sequences;
    struct lists *shown, *recalled;
    struct holdout *holdout; /* or NULL */

    /* The newest events, a ring; taken of entered were learnt from. */
    struct learner_recent {
        uint64_t user;
        int64_t time_ms;
    } * recent; /* (LEARNER_RECENT) */
    uint64_t recent_entered, recent_taken;

    struct model *model;
    struct trainer *trainer;
    struct learner_scale scale;
    struct trainer_objective shown_objective, recalled_objective;
    bool changed;             /* since model_prepare() */
    struct item_words *words; /* by index of the tables */
    int32_t *owners;          /* (owners_count) whose row it was at the last look */
    int owners_count;
    uint64_t gives_seen; /* item_tables_gives() then */
    int32_t texts_rows;  /* rows of the model beside which texts were put; 0: of none */
    int cold_next;       /* row that learner_cold_refresh() goes on with */
    int described;       /* rows whose items are not admitted, as last counted */
    int64_t sampler_steps;

    struct random random;
    struct learner_progress progress;
    learner_watcher *watcher; /* or NULL */
    void *watcher_context;

    /* Scratch. */
    struct item_scratch *scratch;
    struct user_entry *kept;            /* (sequence_max) of a history */
    struct batch_builder *next_builder; /* of recall by next-item scores, with the rest */
    int next_builder_rows, next_history_max;
    struct model_workspace *next_workspace;
    int32_t next[MODEL_NEXT_TOP_MAX];
    float next_scores[MODEL_NEXT_TOP_MAX];
    struct batch_builder *builder;
    int builder_rows;
    int32_t *pick;    /* (once_slots / 2) */
    int32_t *once;    /* (once_slots) of indices + 1, at most half full */
    int once_slots;   /* a power of two */
    int32_t *indices; /* of a batch's list */
    int32_t *positions;
    float *weights; /* (weights_count) of the sampler, as it was last set; 0: never */
    int weights_count, weights_room;
};

/* learner_cold.c: rows that changed hands since the last look begin as what is like them. */
enum status learner_cold_begin(struct learner *learner, struct error *err) MUST_CHECK;
bool learner_cold_waits(
    const struct learner *learner); /* has learner_cold_begin() rows to write? */
/* Rows that are nobody's become as the unknown item's: whoever has them next, by a delta before the
 * next bundle too, begins there, and neither weights nor moments of their last owner are left.
 * False: there are none. */
bool learner_cold_clear(struct learner *learner);
/* Counts l->described. */
void learner_cold_count(struct learner *learner);
/* Rows of items that are not admitted become what is like them now; of a large catalogue some, in
 * turn. */
void learner_cold_refresh(struct learner *learner);

/* Makes a list of a choice, if recall offered it, into the pool. before: the history then. */
enum status learner_recall(struct learner *learner, uint64_t user, const struct user_entry *entry,
                           int32_t chosen, struct error *err) MUST_CHECK;

/* Counts the rows of a batch that is about to be learnt from, and puts mean and scale into the
 * model. */
void learner_scale_add(struct learner_scale *scale, const struct batch *batch, struct model *model);
/* Begins with those of a model from elsewhere, unless rows were counted already. */
void learner_scale_adopt(struct learner_scale *scale, struct model *model);
void learner_scale_save(const struct learner_scale *scale, struct state_file *state);
void learner_scale_load(struct learner_scale *scale, struct state_file *state);

#endif
