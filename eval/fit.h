/*
 * eval/fit.h - a network fitted to the training histories, an epoch at a time.
 *
 * Flow: split -> [fit: pieces of histories -> batches -> next-item steps] -> model -> full ranking
 *
 * Every training event of every user is a target once an epoch. A history longer than the model's
 * is cut into pieces of that length at a place drawn anew each epoch, so that each event is seen
 * with short and long contexts. The learning rate warms up, then falls along a cosine.
 * The same data, options and seed give the same bits, also when the fit was saved and loaded
 * between epochs.
 * Thread: one.
 */
#ifndef EVAL_FIT_H
#define EVAL_FIT_H

#include "eval/split.h"
#include "kernels/model.h"
#include "kernels/trainer.h"
#include "ops/progress.h"
#include "schemas/state_file.h"

#include <stdint.h>

struct fit_options {
    const char *preset;
    enum model_attention attention;
    int32_t text;       /* width of items' text vectors in the model; 0: none */
    const float *texts; /* (V, text), borrowed until fit_create() has returned */
    uint64_t seed;
    int threads;
    bool bf16;             /* products of steps, on a GPU that multiplies it (kernels/trainer.h) */
    int epochs;            /* planned: what the learning rate falls over */
    int step_targets;      /* about so many in a step */
    int negatives;         /* drawn for */
    int negatives_block;   /* so many targets; 0: for a whole step */
    float negatives_power; /* drawn in proportion to counts to this power; 0: uniformly */
    float learning_rate, rate_floor; /* the last step's share of the first's */
    int warmup_steps;                /* in which the rate grows to learning_rate; 0: none */
    float dropout;
    float tau;
    /* Of one user in an epoch, its pieces drawn anew each time: somebody with ten thousand events
     * is a robot, and even if not, one voice. */
    int user_targets;
    bool (*stopping)(void); /* asked after each step; NULL: never */
};
/* Defaults of a preset; epochs is left 0. */
void fit_options_init(struct fit_options *options, const char *preset);

struct fit;
/* Errors: ERR_CONFIG (no such preset), ERR_LIMIT, ERR_NOMEM */
MUST_CHECK enum status fit_create(struct fit **fit, const struct split *split,
                                  const struct fit_options *options, struct error *err);
void fit_destroy(struct fit *fit); /* NULL is fine */

/* Whether its steps are of bf16, and that, or why they are not, for people (trainer_products()). */
bool fit_is_bf16(const struct fit *fit);
const char *fit_products(const struct fit *fit);

struct fit_epoch {
    double loss; /* mean over targets, before each step */
    int64_t targets, steps;
    int64_t rejected; /* steps whose gradient was not finite: nothing was changed */
};

/**
 * One epoch; the model is ready to score after it. progress may be NULL; done and all are its
 * fraction before and after. Errors: ERR_CANCELLED (a signal came: the fit is in the midst of an
 * epoch and good for nothing but fit_load()), ERR_LIMIT, ERR_NOMEM
 */
MUST_CHECK enum status fit_epoch(struct fit *fit, struct fit_epoch *epoch,
                                 struct progress *progress, struct error *err);
int fit_epochs(const struct fit *fit); /* made so far */
struct model *fit_model(struct fit *fit);

void fit_save(const struct fit *fit, struct state_file *state);
/* Into a new fit of the same data and options. Errors: ERR_MALFORMED, ERR_CONFLICT, ERR_NOMEM */
MUST_CHECK enum status fit_load(struct fit *fit, struct state_file *state, struct error *err);

/* Weights alone, of any model of the same shape. */
void fit_save_model(struct model *model, struct state_file *state);
MUST_CHECK enum status fit_load_model(struct model *model, struct state_file *state,
                                      struct error *err);

#endif
