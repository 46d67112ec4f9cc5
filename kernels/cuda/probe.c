/*
 * kernels/cuda/probe.c - the questions before a GPU is trusted, cheapest first.
 *
 * The last one computes: a device that this build has no code for answers all others well and
 * fails in the first kernel.
 */
#include "kernels/cuda/probe.h"

#include "kernels/cuda/blas.h"
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/ops.h"

#include <math.h>
#include <stdio.h>

#define CAPABILITY_MIN 75 /* 7.5, the first of what nvcc's all-major covers */
#define SIDE           4  /* kernels read rows 16 bytes at a time */

/* norm of the rows of x w, for rows of w that are multiples of (1, -1, 1, -1): that itself. */
static enum status compute(cublasHandle_t blas, cudaStream_t stream, float *device,
                           struct error *err)
{
    float in[2 * SIDE * SIDE], out[SIDE * SIDE] = {0};
    float *product = device + 2 * SIDE * SIDE;
    struct blas_matrix x = {device, SIDE}, w = {device + SIDE * SIDE, SIDE};
    enum status status;

    for (int i = 0; i < SIDE * SIDE; i++) {
        int multiple = 1 + i / SIDE;

        in[i] = (float)(i + 1);
        in[SIDE * SIDE + i] = (float)(i % 2 == 0 ? multiple : -multiple);
    }
    CUDA_TRY(err, cudaMemcpyAsync(device, in, sizeof in, cudaMemcpyHostToDevice, stream));
    status = blas_product(blas, product, SIDE, x, w, SIDE, SIDE, SIDE, 0, err);
    if (status == OK)
        status = cuda_norm(stream, product, product, SIDE, SIDE, 1e-6f, err);
    if (status != OK)
        return status;
    CUDA_TRY(err, cudaMemcpyAsync(out, product, sizeof out, cudaMemcpyDeviceToHost, stream));
    CUDA_TRY(err, cudaStreamSynchronize(stream));
    for (int i = 0; i < SIDE * SIDE; i++)
        if (!(fabsf(out[i] - (i % 2 == 0 ? 1.0f : -1.0f)) <= 1e-3f))
            return error_set(err, ERR_DEVICE, "its self-test gave %g, not %d", (double)out[i],
                             i % 2 == 0 ? 1 : -1);
    return OK;
}

static enum status self_test(struct error *err)
{
    cudaStream_t stream = NULL;
    cublasHandle_t blas = NULL;
    float *device = NULL;
    enum status status = blas_open(err);

    if (status != OK)
        return status;
    if (cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking) != cudaSuccess ||
        cudaMalloc((void **)&device, 3 * SIDE * SIDE * sizeof *device) != cudaSuccess)
        status = error_set(err, ERR_DEVICE, "it gave no stream or no memory: %s",
                           cudaGetErrorString(cudaGetLastError()));
    if (status == OK)
        status = blas_create(&blas, stream, err);
    if (status == OK)
        status = compute(blas, stream, device, err);
    blas_destroy(blas);
    (void)cudaFree(device);
    if (stream != NULL)
        (void)cudaStreamDestroy(stream);
    return status;
}

enum status probe_device(struct probe *probe, struct error *err)
{
    int count = 0, major = 0, minor = 0; /* a failing count leaves it as it was */
    cudaError_t error = cudaGetDeviceCount(&count);
    struct error why;
    struct cudaDeviceProp device;

    (void)cudaGetLastError(); /* or the next call that asks would be told of this one */
    if (error != cudaSuccess || count < 1)
        return error_set(err, ERR_DEVICE, "no device: %s",
                         error != cudaSuccess ? cudaGetErrorString(error) : "the driver counts 0");
    CUDA_TRY(err, cudaGetDeviceProperties(&device, 0));
    major = device.major;
    minor = device.minor;
    if (10 * major + minor < CAPABILITY_MIN)
        return error_set(err, ERR_DEVICE, "%.100s has compute capability %d.%d, 7.5 is needed",
                         device.name, major, minor);
    if (self_test(&why) != OK)
        return error_set(err, ERR_DEVICE, "%.60s: %.160s", device.name, why.text);
    probe->capability = 10 * major + minor;
    (void)snprintf(probe->text, sizeof probe->text, "%.160s, compute capability %d.%d", device.name,
                   major, minor);
    return OK;
}
