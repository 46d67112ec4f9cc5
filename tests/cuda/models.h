/*
 * tests/cuda/models.h - models for tests on the GPU, and what the CPU says of them.
 *
 * The backend is chosen once a process, so the CPU's side calls kernels/network.h directly.
 */
#ifndef TESTS_CUDA_MODELS_H
#define TESTS_CUDA_MODELS_H

#include "kernels/model.h"
#include "ops/random.h"

/* Dims and forms that differ from number to number; 40 item rows, histories up to 40. */
struct model_config models_config(int number, struct random *random);

/* Fresh weights far from small, so that no part of the model is near to doing nothing. */
struct model *models_rough(const struct model_config *config, uint64_t seed);

/* What model_score() does on the CPU. */
void models_score_on_cpu(const struct model *model, const struct batch *batch, float *scores);

/* Fails the test where the process chose the CPU. */
void models_backend_is_cuda(void);

#endif
