/*
 * kernels/cuda/tape.h - a lesson through the layers with everything kept, and back.
 *
 * Flow: lesson -> [forward: embed -> layers -> head -> losses] -> [backward] -> gradients
 *
 * All requests go together, as in kernels/cuda/forward.c, but the last layer computes its history
 * rows too: next-item losses read them. Products are cuBLAS's; everything between them is in
 * kernels/cuda/ops_back.h. Memory is one block, carved anew each step; nothing waits.
 *
 * Accuracy: 1e-3 of a tensor's largest gradient against the CPU's (tests/cuemu/test_learn.c).
 */
#ifndef KERNELS_CUDA_TAPE_H
#define KERNELS_CUDA_TAPE_H

#include "kernels/cuda/blas.h"
#include "kernels/cuda/lesson.h"

struct tape_layer {
    float *normed, *rstd, *z, *slope, *o, *gated, *rstd_o, *y, *log_total;
};

/* Everything on the device. */
struct tape {
    cudaStream_t stream;
    cublasHandle_t blas;
    const struct model_config *config;
    const struct trainer_objective *objective;
    const struct trainer_counts *counts;
    float dropout;
    int32_t Z;
    struct lesson in;
    const struct network_tensors *weights;
    const float *emb;

    float *x[MODEL_LAYERS_MAX + 1], *e;
    struct tape_layer layers[MODEL_LAYERS_MAX];
    float *head_z, *now[HEAD_CROSSES_MAX + 1], *low[HEAD_CROSSES_MAX], *wide[HEAD_CROSSES_MAX];
    float *hidden, *hidden_slope, *scalars;

    float *losses; /* (4, B) of lists: point, pair, list, distil; then (k) of next items */
    float *scores, *ds, *discount;
    float *d_target, *units, *shares; /* next items */

    float *dx, *dy, *d_o, *dz, *de, *delta, *bias, *sums;
    float *d_head, *g, *t, *d_low;
    float *d_rows;         /* gradients of item rows, one a use of a row (kernels/cuda/lesson.h) */
    float *chunks, *slots; /* sums of their chunks; (items.count, C) sums of their rows */
};

/* Floats of losses, and of pairs the parts that can be added up: what the host asks back. */
int64_t tape_losses(const struct lesson *lesson);

/* Points the arrays into carve's block; in, config and objective are set. */
void tape_carve(struct tape *tape, struct carve *carve, bool learning);

/* Scores, losses and, when learning, gradients of scores and of the last states. gradient: as the
 * weights, its block zeroed. Errors: ERR_DEVICE. */
MUST_CHECK enum status tape_forward(const struct tape *tape, bool learning, struct error *err);
MUST_CHECK enum status tape_backward(const struct tape *tape,
                                     const struct network_tensors *gradient, struct error *err);

#endif
