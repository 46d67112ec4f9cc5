/* tests/cuda/models.c - see models.h. */
#include "tests/cuda/models.h"

#include "kernels/backend.h"
#include "kernels/cuda/graphs.h"
#include "kernels/network.h"
#include "tests/cuda/device.h"
#include "tests/test.h"

#include <stdlib.h>
#include <string.h>

/* Requests that are padded to the shape of a graph cost an emulator several times as much: only
 * tests of graphs have them. */
__attribute__((constructor)) static void go_launch_by_launch(void)
{
    graphs_allow(false);
}

struct model *models_rough(const struct model_config *config, uint64_t seed)
{
    struct model *model;
    struct random random;
    struct error err;

    CHECK_STATUS(OK, model_create(&model, config, seed, &err));
    random_seed(&random, seed);
    for (int32_t i = 0; i < model_tensors_count(model); i++) {
        struct model_tensor t = model_tensor(model, i);

        for (size_t k = 0; k < t.count; k++)
            t.data[k] += .2f * (float)random_normal(&random);
    }
    CHECK_STATUS(OK, model_prepare(model, &err));
    return model;
}

/* What model_score() does on the CPU. */
void models_score_on_cpu(const struct model *model, const struct batch *batch, float *scores)
{
    struct network_state state = model_network(model);
    const struct model_config *config = &state.network->config;

    for (int32_t b = 0; b < batch->B; b++) {
        struct request request = request_with(batch, b, model_config(model)->contexts);
        struct network_pass pass;
        size_t bytes = network_pass_bytes(config, state.layout->Z, request.n, request.m, false,
                                          false);
        void *memory = aligned_alloc(64, (bytes + 127) / 64 * 64);

        CHECK(memory != NULL);
        memset(memory, 0, (bytes + 127) / 64 * 64);
        network_pass_begin(&pass, state.network, &request, false, false, false, memory);
        network_forward(&pass, scores + request.candidate, 0, 0);
        free(memory);
    }
}

struct model_config models_config(int number, struct random *random)
{
    struct model_config config;

    CHECK(model_preset(&config, "small", 40, device_below(random, 5)));
    config.C = number % 3 == 0 ? 64 : 32;
    config.H = number % 2 == 0 ? 2 : 1;
    config.P = 40;
    config.A = 4;
    config.L = 1 + number % 3;
    config.crosses = 1 + number % 2;
    config.attention = number / 2 % 2 == 0 ? MODEL_ATTENTION_SILU : MODEL_ATTENTION_SOFTMAX;
    config.head = number % 4 == 3 ? MODEL_HEAD_DOT : MODEL_HEAD_CROSS;
    return config;
}

void models_backend_is_cuda(void)
{
    const struct backend *backend;
    struct error err;

    CHECK_STATUS(OK, backend_choose(&backend, &err));
    CHECK_TEXT("cuda", backend->name);
    CHECK(backend->why[0] != 0);
}
