/*
 * tests/cuda/lessons.h - what tests of training steps share: twins of a model, objectives, batches,
 * and comparisons of what both learnt.
 *
 * One process has one backend, so the CPU's trainer is one whose backend is taken away.
 */
#ifndef TESTS_CUDA_LESSONS_H
#define TESTS_CUDA_LESSONS_H

#include "kernels/trainer.h"
#include "tests/kernels/jagged.h"

/* The same model twice, each with a trainer: [0] steps on the CPU, in f32. */
struct twins {
    struct model *models[2];
    struct trainer *trainers[2];
};
struct twins lessons_twins(const struct model_config *config, struct trainer_config trainer);
void lessons_drop(struct twins *twins);

/* models_config(), of the test's seed; with softmax, and with those switches on, both of two
 * layers. */
struct model_config lessons_config(int number);
struct model_config lessons_softmax(void);
struct model_config lessons_switched(int number);

/* An epsilon of 1 makes AdamW's step nearly the gradient itself: with the usual one a rounding
 * error in a small gradient would become a whole step, and nothing could be compared. */
struct trainer_config lessons_smooth(void);
/* The item table by Adagrad, in small steps; nothing is clipped. */
struct trainer_config lessons_adagrad(void);

/* Every term; what is asked of switched models; points and next items of little. */
extern const struct trainer_objective lessons_every_term, lessons_of_switches, lessons_small;

/* Requests without a history, without candidates, and of both. */
#define LESSONS_USUAL 5
extern const struct jagged_size lessons_usual[LESSONS_USUAL];

/* A step of both on the batch. Returns the [0] before it, which is the caller's. */
struct model *lessons_step(struct twins *twins, const struct batch *batch,
                           const struct trainer_objective *objective,
                           struct trainer_losses losses[2]);

/* Each within tolerance * (floor + |want|). */
void lessons_near_losses(const struct trainer_losses *want, const struct trainer_losses *got,
                         double tolerance, double floor);

/* Every tensor of both is the same to the bit. */
void lessons_same_bits(struct model *a, struct model *b);

#endif
