/*
 * retrain/learner.h - what learns: item tables, histories, lists to order, the model.
 *
 * Flow: events, examples -> [observe: score first, count after] -> lists -> [steps] -> model
 *
 * The same learner stands behind `freshet retrain` (fed by Kafka) and `freshet backtest` (fed by a
 * file on a virtual clock), so what a backtest measures is what would have been served.
 *
 * Two kinds of lists train the head that serves:
 *   shown     impressions with their labels, with the raw counts they were served with;
 *   recalled  made from a choice that answers no shown list: the item among items that recall
 *             (popularity, co-visitation) would have offered at that moment, with the counts of
 *             before the event. So data without impressions trains the head too. A choice that
 *             recall would not have offered makes no list: added by hand it would teach that
 *             unpopular, unrelated items are chosen, for only chosen ones of that kind would ever
 *             be seen. A choice from a shown list makes none either: that nothing else of the
 *             catalogue was chosen says who made the list, and a model that learns it imitates
 *             what served before.
 * Beside them histories are learnt as they are, every item predicting the next.
 *
 * What a user chooses beyond the limits of features/robot.h stays in its history, but popularity,
 * co-visitation, lists, next items and the choices that judge leave it out.
 *
 * A training feature never holds its own example: an event is entered into the tables after its
 * list was made.
 * Thread: one.
 */
#ifndef RETRAIN_LEARNER_H
#define RETRAIN_LEARNER_H

#include "features/item_tables.h"
#include "features/item_words.h"
#include "features/robot.h"
#include "features/rules.h"
#include "kernels/model.h"
#include "kernels/trainer.h"
#include "retrain/holdout.h"
#include "retrain/lists.h"
#include "retrain/sequences.h"
#include "schemas/item.h"
#include "schemas/state_file.h"

#include <stdbool.h>
#include <stdint.h>

struct learner_options {
    const struct rules *rules; /* borrowed: actions, seed, sequence_max */
    const char *preset;        /* of the model */
    struct model_switches switches;
    const char *objective; /* of shown lists: "point", "pair", "list", "mix" */
    uint64_t seed;
    int threads;
    bool bf16; /* products of steps, on a GPU that multiplies it (kernels/trainer.h) */
    int64_t users_max;
    struct item_tables_options items;
    struct lists_options shown, recalled; /* seeds are derived */
    int recall_each;                      /* items of each source of recall */
    int recall_next;                      /* of next-item scores: as rank_request */
    int recalled_rows;                    /* of a recalled list, the chosen one included */
    double recalled_share;                /* of the events that make one, 0..1 */
    /* Of one step: */
    int step_lists;     /* fresh ones */
    int step_replay;    /* kept ones beside as many fresh, fewer beside fewer */
    int step_sequences; /* histories */
    float learning_rate;
    float next_weight;
    float loss_clip; /* a list that loses more is an outlier (kernels/loss.h); 0: none is */
    struct robot_limits robots;
    int64_t shown_gap_ms; /* shown lists are learnt from that much earlier than the rest: a label
                             of one must not lie in the window that judges */
    int cold_items;       /* items of the catalogue that have a row before they are seen, at most */
    int holdout_max;      /* changes of the tables remembered for evaluation; 0: none */
    int holdout_judges;   /* choices among them that must be left, see holdout_create() */
};
/* Sizes that suit the preset small on two cores. rules must be set by the caller. */
void learner_options_init(struct learner_options *options);

struct learner;
/* Errors: ERR_CONFIG (no such preset or objective), ERR_LIMIT, ERR_NOMEM */
MUST_CHECK enum status learner_create(struct learner **learner,
                                      const struct learner_options *options, struct error *err);
void learner_destroy(struct learner *learner); /* NULL is fine */

/* One event of the stream, after the one before it. *entered (may be NULL): whether it was new.
 * Errors: ERR_NOMEM */
MUST_CHECK enum status learner_event(struct learner *learner, const struct event *event,
                                     bool *entered, struct error *err);
/* What the catalogue says of an item: gone, or its category and text. An item with words that was
 * never seen gets a row (up to cold_items; beyond it it is passed over, but for a model that reads
 * texts, which hears of so many as fill half of the tables); its row, as long as it is not
 * admitted, is the mean of the rows of the LEARNER_NEAR admitted items most like it, as of one of
 * the last learner_ready(). An item that is admitted begins there. Errors: ERR_NOMEM */
#define LEARNER_NEAR 10
MUST_CHECK enum status learner_item(struct learner *learner, const struct item *item,
                                    struct error *err);
/* Rows of items not seen since then are taken back (features/item_tables.h), and the model has the
 * unknown item's weights there: for right in front of a publication. Errors: ERR_NOMEM */
MUST_CHECK enum status learner_expire(struct learner *learner, int64_t before_ms, int *expired,
                                      struct error *err);
/* The raw counts that serving would use now for these items (hashes) and this user. raw (count,
 * RAW_COLUMNS). Errors: ERR_NOMEM */
MUST_CHECK enum status learner_raw(struct learner *learner, uint64_t user, int64_t time_ms,
                                   const uint64_t *items, int count, int64_t *raw,
                                   struct error *err);
/* Called with each recalled list as it is made, before anything learns from it; row 0 was chosen.
 */
typedef void learner_watcher(void *context, const struct list *list);
void learner_watch(struct learner *learner, learner_watcher *watcher, void *context);
/* A shown list that is complete. Takes ownership. */
void learner_shown(struct learner *learner, struct list *list);

/**
 * One optimiser step on fresh and some replayed lists and on histories before until_ms. *worked is
 * false when there was nothing fresh, and nothing was done: what is known by heart teaches nothing
 * more. (Steps of replays alone, 200 a round, took NDCG@10 from .35 to .05 within minutes.)
 * Errors: ERR_REJECTED (a gradient is not finite; the model is as it was), ERR_LIMIT, ERR_NOMEM
 */
struct learner_progress {
    int64_t steps, lists, targets;  /* all of this learner's life */
    double list_loss, next_loss;    /* moving means over some 100 steps */
    int64_t rejected;               /* steps whose gradient was not finite */
    int64_t trained_until_ms;       /* event time of the newest choice learnt from */
    int64_t recalled, not_recalled; /* choices that recall offered, and did not */
    int64_t masked;                 /* choices and lists beyond a limit: they taught nothing */
    int64_t masked_by[ROBOT_COUNT]; /* the same by limit */
    int64_t impressed_ms;           /* event time of the newest shown list; 0: none */
};
MUST_CHECK enum status learner_step(struct learner *learner, int64_t until_ms, bool *worked,
                                    struct error *err);
const struct learner_progress *learner_progress(const struct learner *learner);

/* Where a GPU learns, steps leave the weights there (trainer_run_begin()): settle brings them back,
 * before the learner hears of another event or item, and is looked at or saved.
 * Errors: ERR_DEVICE. */
MUST_CHECK enum status learner_settle(struct learner *learner, struct error *err);

/* Ready to score after learner_ready(); until the next step. NULL tables never; the model exists
 * from the begin, untrained. Errors: ERR_NOMEM */
MUST_CHECK enum status learner_ready(struct learner *learner, struct error *err);
struct model *learner_model(struct learner *learner);
struct item_tables *learner_tables(struct learner *learner);
struct sequences *learner_sequences(struct learner *learner);
struct holdout *learner_holdout(struct learner *learner); /* NULL without one */
struct lists *learner_shown_lists(struct learner *learner);
struct lists *learner_recalled_lists(struct learner *learner);
/* Begins anew from another model's weights (the champion's), or with NULL, or when they are of
 * other switches, from fresh ones; the optimiser forgets. Errors: ERR_NOMEM */
MUST_CHECK enum status learner_reset_model(struct learner *learner, const struct model *from,
                                           struct error *err);
/* Forgets the user up to time_ms. */
MUST_CHECK enum status learner_erase(struct learner *learner, uint64_t user, int64_t time_ms,
                                     struct error *err);

/* Takes tables that were learnt elsewhere (a published bundle's) in place of the empty ones; a new
 * learner's only. Takes ownership on OK. Errors: ERR_CONFLICT (another data set), ERR_NOMEM */
MUST_CHECK enum status learner_adopt(struct learner *learner, struct item_tables *tables,
                                     struct error *err);

/* What was published after the state that this learner goes on from was written: its items get the
 * same indices and, where nobody has them, the same rows, although the events that they came from
 * are yet to be read again, perhaps in another order. Else no delta would fit the bundle. False:
 * the two are of different pasts, or there is no room, and nothing was changed. Errors: ERR_NOMEM
 */
MUST_CHECK enum status learner_follow(struct learner *learner, const struct item_tables *ahead,
                                      bool *same_past, struct error *err);

/* All but the item tables and the holdout's base, which have files of their own. */
void learner_save(struct learner *learner, struct state_file *state);
/* Into a new learner of the same options; takes tables and base (NULL without a holdout), as
 * item_tables_load() made them, on OK.
 * Errors: ERR_MALFORMED, ERR_CONFLICT (saved by a learner of another shape), ERR_NOMEM */
MUST_CHECK enum status learner_load(struct learner *learner, struct state_file *state,
                                    struct item_tables *tables, struct item_tables *base,
                                    struct error *err);

#endif
