/* kernels/cuda/weights.c - weights go up; what changed its place has another number. */
#include "kernels/cuda/weights.h"

#include "kernels/cuda/cuda.h"
#include "kernels/cuda/ops.h"

#include <stdatomic.h>
#include <stdlib.h>

static int capability;

void weights_set_capability(int of_device)
{
    capability = of_device;
}

int weights_capability(void)
{
    return capability;
}

uint16_t *weights_half(const struct device_model *model, const float *tensor)
{
    return (uint16_t *)(void *)model->half.at + (tensor - model->block.at);
}

uint16_t *weights_emb_half(const struct device_model *model)
{
    return (uint16_t *)(void *)model->emb_half.at;
}

bool weights_multiply_bf16(const struct device_model *model)
{
    return model->bf16;
}

void weights_drop(struct device_model *model)
{
    if (model == NULL)
        return;
    device_floats_clear(&model->block);
    device_floats_clear(&model->emb);
    device_floats_clear(&model->inverse_norm);
    device_bytes_clear(&model->half);
    device_bytes_clear(&model->emb_half);
    free(model);
}

/* What launches have of a model beside its shape, which stays: where its tensors lie, and how many
 * item rows there are. While these stay, a graph that reads them stays right. */
struct places {
    const void *block, *emb, *inverse_norm, *half, *emb_half;
    int32_t V;
};

static struct places places_of(const struct device_model *model)
{
    return (struct places){.block = model->block.at,
                           .emb = model->emb.at,
                           .inverse_norm = model->inverse_norm.at,
                           .half = model->bf16 ? model->half.at : NULL,
                           .emb_half = model->bf16_next ? model->emb_half.at : NULL,
                           .V = model->config.V};
}

static bool same_places(const struct places *a, const struct places *b)
{
    return a->block == b->block && a->emb == b->emb && a->inverse_norm == b->inverse_norm &&
           a->half == b->half && a->emb_half == b->emb_half && a->V == b->V;
}

/* Passes have streams of their own, which do not wait for this one: it is waited for. */
static enum status upload(struct device_model *model, const struct network_state *state,
                          cudaStream_t stream, struct error *err)
{
    int64_t block = state->layout->floats;
    int64_t emb = (int64_t)state->network->config.V * state->network->config.C;
    enum status status;

    CUDA_TRY(err, cudaMemcpyAsync(model->block.at, state->block, (size_t)block * sizeof(float),
                                  cudaMemcpyHostToDevice, stream));
    CUDA_TRY(err, cudaMemcpyAsync(model->emb.at, state->network->emb, (size_t)emb * sizeof(float),
                                  cudaMemcpyHostToDevice, stream));
    status = cuda_next_norms(stream, model->inverse_norm.at, model->emb.at,
                             state->network->config.V, state->network->config.C, err);
    if (status == OK && model->bf16)
        status = cuda_half(stream, weights_half(model, model->block.at), model->block.at, block,
                           err);
    if (status == OK && model->bf16_next)
        status = cuda_half(stream, weights_emb_half(model), model->emb.at, emb, err);
    if (status != OK)
        return status;
    CUDA_TRY(err, cudaStreamSynchronize(stream));
    return OK;
}

static enum status put_weights(struct device_model *model, const struct network_state *state,
                               struct error *err)
{
    static _Atomic uint64_t last_place;
    struct places before = places_of(model), after;
    int64_t block = state->layout->floats;
    int64_t emb = (int64_t)state->network->config.V * state->network->config.C;
    cudaStream_t stream = NULL;
    enum status status = device_floats_reserve(&model->block, block, err);

    if (status == OK)
        status = device_floats_reserve(&model->emb, emb, err);
    if (status == OK)
        status = device_floats_reserve(&model->inverse_norm, state->network->config.V, err);
    model->bf16 = state->network->bf16 && capability >= WEIGHTS_BF16_CAPABILITY;
    model->bf16_next = model->bf16 && state->network->bf16_next;
    if (status == OK && model->bf16)
        status = device_bytes_reserve(&model->half, (size_t)block * sizeof(uint16_t), err);
    if (status == OK && model->bf16_next)
        status = device_bytes_reserve(&model->emb_half, (size_t)emb * sizeof(uint16_t), err);
    if (status != OK)
        return status;
    status = stream_open(&stream, err);
    if (status == OK)
        status = upload(model, state, stream, err);
    if (stream != NULL)
        (void)cudaStreamDestroy(stream);
    if (status != OK)
        return status;
    model->config = state->network->config;
    model->Z = state->layout->Z;
    network_point(&model->weights, state->layout, model->block.at);
    after = places_of(model);
    if (!same_places(&before, &after))
        model->place = atomic_fetch_add(&last_place, 1) + 1;
    return OK;
}

enum status weights_put(struct device_model **device, const struct network_state *state,
                        struct error *err)
{
    enum status status;

    if (*device == NULL)
        *device = calloc(1, sizeof **device);
    if (*device == NULL)
        return error_set(err, ERR_NOMEM, "no memory for a model on the GPU");
    status = put_weights(*device, state, err);
    if (status != OK) {
        weights_drop(*device);
        *device = NULL;
    }
    return status;
}
