/*
 * kernels/cuda/weights.h - a model's weights on the device, as f32 and where asked for as bf16.
 *
 * Flow: model_prepare(), model_round() -> [put] -> passes read them (kernels/cuda/forward.c)
 *
 * Read-only while it scores. Thread: put by one, while nobody scores with the model.
 */
#ifndef KERNELS_CUDA_WEIGHTS_H
#define KERNELS_CUDA_WEIGHTS_H

#include "kernels/cuda/memory.h"
#include "kernels/network.h"
#include "ops/status.h"

#include <stdbool.h>
#include <stdint.h>

struct device_model {
    struct model_config config;
    int32_t Z;
    bool bf16;                      /* products of scores are of bf16 numbers */
    struct device_bytes half;       /* then block as bf16, element by element */
    bool bf16_next;                 /* and those of next-item scores */
    struct device_bytes emb_half;   /* then emb as bf16 */
    uint64_t place;                 /* another one whenever something lies elsewhere than before */
    struct network_tensors weights; /* pointers into block, on the device */
    struct device_floats block, emb, inverse_norm; /* the last: (V) of item rows */
};

/* The device's compute capability times 10, set once, before there is a model. Below 8.0 cuBLAS has
 * no product of bf16, and all is f32. */
#define WEIGHTS_BF16_CAPABILITY 80
void weights_set_capability(int of_device);
int weights_capability(void);

/* A tensor of the weights as bf16, and the item rows. */
uint16_t *weights_half(const struct device_model *model, const float *tensor);
uint16_t *weights_emb_half(const struct device_model *model);

/* The fields of struct backend. */
MUST_CHECK enum status weights_put(struct device_model **device, const struct network_state *state,
                                   struct error *err);
void weights_drop(struct device_model *model);
bool weights_multiply_bf16(const struct device_model *model);

#endif
