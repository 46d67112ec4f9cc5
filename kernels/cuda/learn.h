/*
 * kernels/cuda/learn.h - a trainer's steps on the device.
 *
 * Flow: trainer_step() -> [learn: weights up, lesson up, tape, losses and norm back] -> clip ->
 *       [update: optimizers, weights and moments back]
 *
 * The host's weights and moments are the ones that count: callers read and write them between
 * steps. So a step begins by copying the weights up and ends by copying weights and moments down;
 * the moments go up only when the host's changed (a first step, a loaded state, a grown table).
 * Bytes over the bus a step, for V rows of C and AdamW: 4 (up) + 12 (down) times V * C. That it
 * pays for a table of that size is an estimate: 16 bytes at 25 GB/s against 28 at the memory's
 * speed.
 *
 * Thread: one at a time on a trainer.
 */
#ifndef KERNELS_CUDA_LEARN_H
#define KERNELS_CUDA_LEARN_H

#include "kernels/backend.h"

/* The fields of struct backend that learn. */
MUST_CHECK enum status cuda_learn(struct device_learner **made, struct trainer *trainer,
                                  const struct network_state *state, struct trainer_losses *sums,
                                  double *squares, struct error *err);
MUST_CHECK enum status cuda_learn_update(struct device_learner *learner, struct trainer *trainer,
                                         const struct network_state *state, float scale,
                                         const struct adamw *settings, struct error *err);
void cuda_learn_drop(struct device_learner *learner);

#endif
