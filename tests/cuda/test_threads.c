/*
 * Tests kernels/cuda as programs use it: one thread scores, and makes graphs for it, while another
 * loads a bundle or asks whether the device works. Neither may notice.
 *
 * The driver refuses who waits for the device as a whole while any stream is captured, and spoils
 * the capture. And a device that is lost is not one that is short of memory: programs end on the
 * one and go on after the other.
 */
#include "kernels/backend.h"
#include "kernels/model.h"

#include "tests/cuda/models.h"
#include "tests/cuemu/cuemu.h"
#include "tests/kernels/jagged.h"
#include "tests/test.h"

#include <cuda_runtime.h>
#include <pthread.h>

/* What the other thread came to. */
struct other {
    enum status works, put, scored;
    struct error err;
};

static struct jagged jagged;

static struct model_config small_config(void)
{
    struct random random;

    random_seed(&random, 5);
    return models_config(0, &random);
}

static void *work(void *context)
{
    struct other *other = context;
    struct model_workspace *workspace = model_workspace_create();
    const struct jagged_size sizes[] = {{7, 5}, {0, 3}};
    struct model_config config = small_config();
    struct model *model = models_rough(&config, 5);
    const struct backend *backend;
    float scores[8];

    jagged_fill(&jagged, &config, sizes, 2, 5);
    other->works = backend_choose(&backend, &other->err);
    if (other->works == OK)
        other->works = backend_works(backend, &other->err);
    other->put = model_prepare(model, &other->err);
    other->scored = model_score(model, workspace, &jagged.batch, scores, &other->err);
    model_workspace_destroy(workspace);
    model_destroy(model);
    return NULL;
}

TEST(cuda_threads_may_use_the_device_while_another_captures)
{
    struct other other = {.works = ERR_IO, .put = ERR_IO, .scored = ERR_IO};
    cudaStream_t stream;
    cudaGraph_t graph = NULL;
    pthread_t thread;

    models_backend_is_cuda();
    (void)cuemu_reports();
    CHECK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking) == cudaSuccess);
    CHECK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal) == cudaSuccess);
    CHECK_INT(0, pthread_create(&thread, NULL, work, &other));
    CHECK_INT(0, pthread_join(thread, NULL));
    CHECK(cudaStreamEndCapture(stream, &graph) == cudaSuccess && graph != NULL);
    CHECK_STATUS(OK, other.works);
    CHECK_STATUS(OK, other.put);
    CHECK_STATUS(OK, other.scored);
    CHECK(cudaGraphDestroy(graph) == cudaSuccess);
    CHECK(cudaStreamDestroy(stream) == cudaSuccess);
    CHECK_INT(0, cuemu_reports());
}

TEST(cuda_lost_device_is_not_short_of_memory)
{
    struct model_config config = small_config();
    struct model *model;
    struct error err;

    cuemu_need_emulator();
    models_backend_is_cuda();
    for (int fault = CUEMU_REFUSED; fault <= CUEMU_LOST; fault++) { /* the first is an allocation */
        cuemu_fail(1, (enum cuemu_fault)fault);
        err = (struct error){0};
        CHECK_STATUS(fault == CUEMU_REFUSED ? ERR_NOMEM : ERR_DEVICE,
                     model_create(&model, &config, 5, &err));
        CHECK_TEXT("cudaMalloc", cuemu_failed());
    }
    cuemu_fail(0, CUEMU_REFUSED);
    CHECK_STATUS(OK, model_create(&model, &config, 5, &err));
    model_destroy(model);
}
