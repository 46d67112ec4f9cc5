/*
 * kernels/cuda/memory.h - blocks of device and pinned memory that grow and stay, and their parts.
 *
 * Flow: [weights, a pass, a learner] -> [reserve a block once, carve it anew each time]
 *
 * A request or a step takes nothing from the driver unless it is larger than all before it: an
 * allocation stops the device. reserve keeps what a block holds only when it does not grow.
 *
 * Owner: whoever has the struct, until clear; zeroed is empty. Thread: one at a time.
 * Errors: ERR_NOMEM, ERR_DEVICE (it is lost); the block is then empty.
 */
#ifndef KERNELS_CUDA_MEMORY_H
#define KERNELS_CUDA_MEMORY_H

#include "ops/status.h"

#include <cuda_runtime.h>

#include <stddef.h>
#include <stdint.h>

struct device_floats {
    float *at;
    int64_t count;
};
MUST_CHECK enum status device_floats_reserve(struct device_floats *floats, int64_t count,
                                             struct error *err);
void device_floats_clear(struct device_floats *floats);

struct device_bytes {
    char *at;
    size_t bytes;
};
MUST_CHECK enum status device_bytes_reserve(struct device_bytes *block, size_t bytes,
                                            struct error *err);
void device_bytes_clear(struct device_bytes *block);

/* Of the host, pinned: copies from it do not wait for the host. */
MUST_CHECK enum status pinned_bytes_reserve(struct device_bytes *block, size_t bytes,
                                            struct error *err);
void pinned_bytes_clear(struct device_bytes *block);

/* A stream that waits for no other, and that the caller destroys. What others wait for is queued on
 * one of these and waited for there: to wait for the device as a whole is refused, and spoils what
 * another thread captures. Errors: ERR_NOMEM, ERR_DEVICE; *stream is then NULL. */
MUST_CHECK enum status stream_open(cudaStream_t *stream, struct error *err);

/* Hands out parts of a block, aligned for any load; with base NULL it only counts. */
struct carve {
    char *base;
    size_t used;
};
void *carve_part(struct carve *carve, int64_t count, size_t bytes);

#endif
