/*
 * kernels/trainer.h - learning: one call is one optimiser step on one batch.
 *
 * Flow: batch -> [forward -> losses -> backward -> clip -> optimiser] -> model
 *
 * The same model, batch, objective, trainer state and thread count give the same bits: work
 * is dealt to threads by a fixed rule and gradients are added in thread order. A trainer that
 * was saved, loaded and went on is bit for bit the one that never stopped.
 */
#ifndef KERNELS_TRAINER_H
#define KERNELS_TRAINER_H

#include "kernels/model.h"

#define TRAINER_THREADS_MAX   64
#define TRAINER_NEGATIVES_MAX 4096

enum trainer_items {
    TRAINER_ITEMS_ADAMW,   /* item rows like every other tensor: the measured default */
    TRAINER_ITEMS_ADAGRAD, /* row-wise, touched rows only: for large tables and streams */
};

enum trainer_pair { TRAINER_PAIR_LOGISTIC /* BPR = RankNet */, TRAINER_PAIR_HINGE };
enum trainer_list { TRAINER_LIST_SOFTMAX, TRAINER_LIST_LAMBDA };

struct trainer_config {
    float learning_rate;  /* 1e-3 */
    float beta1, beta2;   /* .9, .98 */
    float epsilon;        /* 1e-8 */
    float weight_decay;   /* 0; never of biases, tables of biases or item rows */
    float clip;           /* 1.0: the largest norm of all gradients together; 0 = no clipping */
    int32_t warmup_steps; /* 100: the rate grows linearly to learning_rate */

    enum trainer_items items;
    float items_rate;  /* .05, Adagrad */
    float items_decay; /* .9999 a step that touches the row: plain Adagrad freezes on a stream */

    int32_t threads; /* 1 */
    uint64_t seed;   /* of negatives and dropout */
    float dropout;   /* 0; of tokens and of each layer's gated output */
    bool bf16;       /* false; see trainer_is_bf16() */
};

/* What to minimise: the weighted sum of the terms below. A term whose weight is 0, or that
 * the batch has no data for, costs nothing. */
struct trainer_objective {
    float point;  /* binary cross entropy on labels, clamped to 0..1 */
    float pair;   /* over pairs of one list with different labels */
    float list;   /* over each list with a positive label */
    float next;   /* sampled softmax at every token with a target */
    float distil; /* cross entropy to the softmax of the teacher's scores of a list */
    enum trainer_pair pair_form;
    enum trainer_list list_form;
    float loss_clip;   /* 0: none; a row (point) or list (softmax) that loses more is an outlier and
                          teaches nothing (kernels/loss.h) */
    int32_t negatives; /* 128, drawn for each block */
    int32_t
        negatives_block; /* 16 tokens of one request share their negatives; 0 = one set a batch */
};

/* Means, each over what it was summed over; 0 where the count is 0. */
struct trainer_losses {
    double point, pair, list, next, distil;
    double total; /* weighted, what was minimised */
    double gradient_norm;
    int64_t rows, lists, targets; /* candidates with a label, lists that trained, next items */
};

struct trainer;

void trainer_defaults(struct trainer_config *config);

/* "point", "pair", "list", "mix": the presets of the objective, with next = .2 and distil = 0.
 * "next": next item alone. False when there is no such preset. */
bool trainer_objective_preset(struct trainer_objective *objective, const char *name);

/**
 * Owner: the caller, until trainer_destroy(). The trainer serves this model and later copies
 * of the same config; its state follows when the item table grows.
 * Errors: ERR_LIMIT a setting outside its bounds (the text names it); ERR_NOMEM.
 */
MUST_CHECK enum status trainer_create(struct trainer **trainer, const struct model *model,
                                      const struct trainer_config *config, struct error *err);
void trainer_destroy(struct trainer *trainer); /* NULL is fine */

/* Weights (V) in proportion to which negatives are drawn (popularity, smoothed); the loss
 * corrects for it (- ln Q). NULL: uniform over rows 1..V-1, the default. Rows added later
 * are not drawn until it is called again. Not part of the saved state.
 * Errors: ERR_LIMIT no positive weight or one that is not finite; ERR_NOMEM. */
MUST_CHECK enum status trainer_set_sampler(struct trainer *trainer, const float *weights, int32_t V,
                                           struct error *err);

/* The learning rate from the next step on, warm-up included: what a schedule calls. At least 0. Not
 * part of the saved state. */
void trainer_set_rate(struct trainer *trainer, float learning_rate);

/**
 * One step on the whole batch. *losses (may be NULL) holds what was lost before the step.
 * model_prepare() must be called before the model scores again.
 * On a GPU the weights go there and come back, unless a run of steps is on (trainer_run_begin()).
 *
 * A batch without anything to learn from changes nothing. A gradient that is not finite changes
 * nothing either and is an error: better no step than a ruined model.
 *
 * Errors: ERR_LIMIT as model_score(); ERR_REJECTED the gradient is not finite; ERR_NOMEM and, on a
 * GPU, ERR_DEVICE: where that failed inside the update, every later step fails, too, because model
 * and moments are not of one step any more.
 * Thread: one at a time on a model and its trainer; nobody scores with the model meanwhile.
 * Accuracy: gradients within 1e-3 of finite differences of the formulas in double.
 */
MUST_CHECK enum status trainer_step(struct trainer *trainer, struct model *model,
                                    const struct batch *batch,
                                    const struct trainer_objective *objective,
                                    struct trainer_losses *losses, struct error *err);

/**
 * A run of steps: where a GPU learns, weights and moments stay there from step to step, instead of
 * coming back after each. Until trainer_run_end() the model and the trainer's state are those of
 * the run's beginning, and nobody looks at them or changes them but by trainer_step(),
 * trainer_evaluate(), trainer_set_sampler() and trainer_set_rate(); tensors that are not trained
 * (means and scales of scalars) may be set. On the CPU neither call does anything.
 *
 * begin may be called again in a run. An end without a begin is fine.
 * Errors of end, and of a step in a run: ERR_DEVICE; model and state may then be of different
 * steps, and every later step fails.
 */
void trainer_run_begin(struct trainer *trainer);
MUST_CHECK enum status trainer_run_end(struct trainer *trainer, struct model *model,
                                       struct error *err);

/* The same losses without learning: what early stopping looks at. Negatives come from seed, so
 * two calls see the same. Errors: as trainer_step(). */
MUST_CHECK enum status trainer_evaluate(struct trainer *trainer, const struct model *model,
                                        const struct batch *batch,
                                        const struct trainer_objective *objective, uint64_t seed,
                                        struct trainer_losses *losses, struct error *err);

/* Item row `row` is another item's from here on: its moments begin anew. */
void trainer_forget_item(struct trainer *trainer, int32_t row);

int64_t trainer_steps(const struct trainer *trainer); /* made so far */

/* Whether matrix products, forward and back, are of numbers rounded to bf16 and added up in f32
 * (kernels/cuda/tape.h): config.bf16 asked for it, and a GPU learns that multiplies them (compute
 * capability 8.0 or more). Else they are f32, as always on a CPU. Weights, moments and the saved
 * state are float either way, and one goes on where the other stopped. */
bool trainer_is_bf16(const struct trainer *trainer);
/* For people who asked for bf16: "products of bf16, added up in f32", or why there are none. */
const char *trainer_products(const struct trainer *trainer);

/**
 * The optimiser's state as bytes, for a checkpoint: steps, random state, moments. The weights
 * are not in it (model_tensor() has them), nor the sampler. Little-endian, with a checksum.
 *
 * save writes exactly trainer_state_bytes() bytes. load is total: any input is refused or taken
 * whole, and the trainer is unchanged by a refusal.
 * Errors: ERR_MALFORMED cut short or too long; ERR_VERSION; ERR_CORRUPT; ERR_CONFLICT of a model
 *         of another shape; ERR_NOMEM.
 */
size_t trainer_state_bytes(const struct trainer *trainer);
void trainer_state_save(const struct trainer *trainer, void *bytes);
MUST_CHECK enum status trainer_state_load(struct trainer *trainer, const void *bytes, size_t count,
                                          struct error *err);

#endif
