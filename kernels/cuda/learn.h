/*
 * kernels/cuda/learn.h - a trainer's steps on the device.
 *
 * Flow: trainer_step() -> [learn: weights up, lesson up, tape, losses and norm back] -> clip ->
 *       [update: optimizers, weights and moments back]
 *
 * In a run of steps (trainer_run_begin()) weights and moments stay on the device: the first step
 * copies them up, settle brings them down, and between them a step moves its lesson, the tensors
 * that are not trained, its losses and its norm. Without a run the host's are the ones that count,
 * and a step begins by copying the weights up and ends by copying weights and moments down: for V
 * rows of C and AdamW 16 V C bytes over the bus. Moments go up only when the host's changed (a
 * first step, a loaded state, a grown table).
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
MUST_CHECK enum status cuda_learn_settle(struct device_learner *learner, struct trainer *trainer,
                                         const struct network_state *state, struct error *err);
void cuda_learn_drop(struct device_learner *learner);

#endif
