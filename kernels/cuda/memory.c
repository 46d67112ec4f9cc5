/* kernels/cuda/memory.c - blocks of device and pinned memory. */
#include "kernels/cuda/memory.h"

#include "kernels/cuda/cuda.h"

#define ALIGNMENT 256 /* of cudaMalloc, and enough for any load */

/* What an allocation came to. A device that is lost gives no memory either, and says why. */
static enum status taken(struct device_bytes *block, cudaError_t error, size_t bytes,
                         const char *kind, struct error *err)
{
    if (error == cudaSuccess) {
        block->bytes = bytes;
        return OK;
    }
    block->at = NULL;
    (void)cudaGetLastError(); /* it is told once, here */
    return error_set(err, error == cudaErrorMemoryAllocation ? ERR_NOMEM : ERR_DEVICE,
                     "no %smemory for %zu bytes for the GPU: %s", kind, bytes,
                     cudaGetErrorString(error));
}

enum status device_bytes_reserve(struct device_bytes *block, size_t bytes, struct error *err)
{
    if (bytes <= block->bytes)
        return OK;
    device_bytes_clear(block);
    return taken(block, cudaMalloc((void **)&block->at, bytes), bytes, "", err);
}

void device_bytes_clear(struct device_bytes *block)
{
    (void)cudaFree(block->at);
    *block = (struct device_bytes){0};
}

enum status device_floats_reserve(struct device_floats *floats, int64_t count, struct error *err)
{
    struct device_bytes block = {(char *)floats->at, (size_t)floats->count * sizeof(float)};
    enum status status = device_bytes_reserve(&block, (size_t)count * sizeof(float), err);

    floats->at = (float *)(void *)block.at;
    floats->count = (int64_t)(block.bytes / sizeof(float));
    return status;
}

void device_floats_clear(struct device_floats *floats)
{
    (void)cudaFree(floats->at);
    *floats = (struct device_floats){0};
}

enum status pinned_bytes_reserve(struct device_bytes *block, size_t bytes, struct error *err)
{
    if (bytes <= block->bytes)
        return OK;
    pinned_bytes_clear(block);
    return taken(block, cudaMallocHost((void **)&block->at, bytes), bytes, "pinned ", err);
}

void pinned_bytes_clear(struct device_bytes *block)
{
    (void)cudaFreeHost(block->at);
    *block = (struct device_bytes){0};
}

enum status stream_open(cudaStream_t *stream, struct error *err)
{
    cudaError_t error = cudaStreamCreateWithFlags(stream, cudaStreamNonBlocking);

    if (error == cudaSuccess)
        return OK;
    *stream = NULL;
    (void)cudaGetLastError();
    return error_set(err, error == cudaErrorMemoryAllocation ? ERR_NOMEM : ERR_DEVICE,
                     "could not create a stream: %s", cudaGetErrorString(error));
}

void *carve_part(struct carve *carve, int64_t count, size_t bytes)
{
    void *at = carve->base == NULL ? NULL : carve->base + carve->used;

    carve->used += ((size_t)count * bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    return at;
}
