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
/* Waits for all work, then copies. */
float *device_get(const float *from, int64_t count);
void *device_copy(const void *from, int64_t count, size_t bytes);
/* Of the host, zeroed; one more than count. As all that is made here, it lives until
 * device_clear(). */
void *device_room(int64_t count, size_t bytes);
double *device_doubles(int64_t count);
float *device_nans(int64_t count); /* for what nobody is to read, or to write */
void device_clear(void);

#define DEVICE_PUT(from, count) device_put(from, count, sizeof *(from))

/* Random floats in -1..1; ints in low..bound - 1. */
float *device_random_floats(struct random *random, int64_t count);
int32_t *device_random_ints(struct random *random, int64_t count, int32_t low, int32_t bound);
/* count of 0..bound - 1, none twice, in any order. */
int32_t *device_distinct_ints(struct random *random, int32_t count, int32_t bound);
int32_t device_below(struct random *random, int32_t bound);
/* Of the shape of that number: 0, 1, then 1..bound. */
int32_t device_size(int number, struct random *random, int32_t bound);

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
