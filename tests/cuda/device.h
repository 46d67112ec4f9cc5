/*
 * tests/cuda/device.h - memory of a device for tests, and the loop every kernel is tested in.
 *
 * Works on the emulator and on a real device alike.
 */
#ifndef TESTS_CUDA_DEVICE_H
#define TESTS_CUDA_DEVICE_H

#include "ops/random.h"
#include "tests/cuemu/cuemu.h"

#include <cuda_runtime.h>
#include <stddef.h>
#include <stdint.h>

/* Copies count * bytes to the device; lives until device_clear(). No count: NULL. */
void *device_put(const void *from, int64_t count, size_t bytes);
/* Fresh device memory, never written: a kernel that reads it is seen. */
float *device_floats(int64_t count);
/* Waits for all work, then copies; frees what is not needed: the caller's, by free(). */
float *device_get(const float *from, int64_t count);
void device_clear(void);

#define DEVICE_PUT(from, count) device_put(from, count, sizeof *(from))

/* Random floats in -1..1; the caller frees. */
float *device_random_floats(struct random *random, int64_t count);
int32_t device_below(struct random *random, int32_t bound);

/**
 * Calls shape(n, random) for 24 shapes, 0 first, then 1, each in one of three orders of execution;
 * then fails when the emulator reported anything or nothing was launched.
 */
#define DEVICE_SHAPES 24
void device_for_shapes(void (*shape)(int number, struct random *random));
void device_for_some_shapes(int count, void (*shape)(int number, struct random *random));

/* |want - got| <= tolerance * (1 + |want|) for all of them; NaN fails. */
void device_check_all(const char *what, const double *want, const float *got, int64_t count,
                      double tolerance);

#endif
