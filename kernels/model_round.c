/* kernels/model_round.c - what rounding to bf16 would gain on this machine, and whether it can. */
#include "kernels/network.h"

#include <assert.h>
#include <stdlib.h>

static void try(struct network *network, void *weights, float *memory,
                struct model_round_trial *trial)
{
    double f32_ns = 0, bf16_ns = 0;

    network_bf16_pack(network, linear_bf16_best(), weights);
    network_bf16_time(network, &f32_ns, &bf16_ns, memory);
    trial->way = linear_bf16_name(network->rounded.way);
    trial->f32_us = f32_ns / 1000;
    trial->bf16_us = bf16_ns / 1000;
    trial->right = network_bf16_same(network, memory);
    trial->faster = trial->right && network->rounded.way != LINEAR_BF16_PORTABLE &&
                    bf16_ns < f32_ns;
}

enum status model_round_try(const struct model *model, struct model_round_trial *trial,
                            struct error *err)
{
    struct network_state state = model_network(model);
    struct network network = *state.network;
    enum status status = OK;
    void *weights;
    float *memory;

    *trial = (struct model_round_trial){.way = "gpu", .right = true};
    if (state.on_device)
        return OK;
    weights = aligned_alloc(64, (size_t)network_bf16_bytes(&network));
    memory = aligned_alloc(64, (size_t)network_trial_floats(&network) * sizeof *memory);
    trial->way = "untried";
    if (weights == NULL || memory == NULL)
        status = error_set(err, ERR_NOMEM, "no memory to try rounded weights");
    else
        try(&network, weights, memory, trial);
    free(weights);
    free(memory);
    return status;
}
