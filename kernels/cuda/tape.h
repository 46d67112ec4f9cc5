/*
 * kernels/cuda/tape.h - a lesson through the layers with everything kept, and back.
 *
 * Flow: lesson -> [forward: embed -> layers -> head -> losses] -> [backward] -> gradients
 *
 * All requests go together, as in kernels/cuda/forward.c, but the last layer computes its history
 * rows too: next-item losses read them. Products are cuBLAS's; everything between them is in
 * kernels/cuda/ops_back.h. Memory is one block, carved anew each step; nothing waits.
 *
 * A tape of bf16 rounds what its products of matrices read, forward and back: weights, rows and
 * gradients, each once, and kept where the way back reads it again. They are added up in f32, and
 * weights, moments, residuals, norms, attention, losses, sums of rows and gradients stay f32. A
 * loss needs no scaling: bf16 has the exponents of f32, so a small gradient keeps 8 bits and is
 * not lost, as it would be in fp16. The losses of next items are no product of matrices here
 * (kernels/cuda/next_loss.cu) and stay f32.
 *
 * Accuracy: 1e-3 of a tensor's largest gradient against the CPU's, of bf16 4e-2, on the rough
 * weights of tests/cuda/test_learn_half.c.
 */
#ifndef KERNELS_CUDA_TAPE_H
#define KERNELS_CUDA_TAPE_H

#include "kernels/cuda/blas.h"
#include "kernels/cuda/lesson.h"

struct tape_layer {
    float *normed, *rstd, *z, *slope, *o, *gated, *rstd_o, *y, *log_total;
    uint16_t *normed_half, *y_half; /* bf16: the latter without y where nothing is dropped */
};

/* Everything on the device. */
struct tape {
    cudaStream_t stream;
    cublasHandle_t blas;
    const struct model_config *config;
    const struct trainer_objective *objective;
    const struct trainer_counts *counts;
    float dropout;
    bool bf16;
    int32_t Z;
    struct lesson in;
    const struct network_tensors *weights;
    const float *emb;
    const float *block;         /* that weights point into */
    const uint16_t *block_half; /* bf16: element by element */

    float *x[MODEL_LAYERS_MAX + 1], *e;
    struct tape_layer layers[MODEL_LAYERS_MAX];
    float *head_z, *now[HEAD_CROSSES_MAX + 1], *low[HEAD_CROSSES_MAX], *wide[HEAD_CROSSES_MAX];
    float *hidden, *hidden_slope, *scalars;
    uint16_t *now_half[HEAD_CROSSES_MAX + 1], *low_half[HEAD_CROSSES_MAX]; /* bf16: without low */

    float *losses; /* (4, B) of lists: point, pair, list, distil; then (k) of next items */
    float *scores, *ds, *discount;
    float *d_target, *units, *shares; /* next items */

    float *dx, *dy, *d_o, *dz, *de, *delta, *bias, *sums;
    float *d_head, *g, *t, *d_low;
    float *d_rows;         /* gradients of item rows, one a use of a row (kernels/cuda/lesson.h) */
    float *chunks, *slots; /* sums of their chunks; (items.count, C) sums of their rows */
    uint16_t *d_low_half, *rounded, *texts_half; /* bf16: without d_low; of the gradient at hand */
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
