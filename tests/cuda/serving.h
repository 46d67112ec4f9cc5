/*
 * tests/cuda/serving.h - a model on the GPU and what a server has beside it, for tests.
 *
 * A test begins with a zeroed struct; when it begins another model, the workspace and the cache
 * stay, as a server's do.
 */
#ifndef TESTS_CUDA_SERVING_H
#define TESTS_CUDA_SERVING_H

#include "kernels/model.h"
#include "tests/kernels/jagged.h"

#define SERVING_SCORES_MAX 256
#define SERVING_TOLERANCE  1e-4 /* kernels/cuda/forward.h */

struct serving {
    struct model_config config;
    uint64_t seed;
    struct model *model;
    struct model_workspace *workspace;
    struct kv_cache *cache; /* NULL: none */
};

/* The config of that number (models_config()), which the test may change before it makes the model.
 * Fails where the process chose the CPU. */
void serving_begin(struct serving *s, int number, uint64_t seed);
/* A rough model of s->config in place of the one before; a workspace, where there is none. */
void serving_model(struct serving *s);
/* An empty cache in place of the one before. */
void serving_cache(struct serving *s, int64_t bytes);
/* All of it is destroyed, and the emulator has reported nothing. */
void serving_end(struct serving *s);

/* |want - got| <= SERVING_TOLERANCE * (1 + |want|); NaN fails. */
void serving_near(float want, float got);
/* The same scores to the bit, of so many candidates. */
void serving_same(const float *want, const float *got, int32_t count);

/* The first n tokens of a batch of one request, and the first m candidates. */
void serving_shorten(struct jagged *all, int32_t n, int32_t m);
/* Other weights, prepared. */
void serving_learn(struct serving *s);

#endif
