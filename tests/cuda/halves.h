/* tests/cuda/halves.h - bf16 numbers for tests: their bits on the host, rounded another way than
 * the kernels do it, and their arrays on the device. */
#ifndef TESTS_CUDA_HALVES_H
#define TESTS_CUDA_HALVES_H

#include "ops/random.h"

#include <stdint.h>

#define HALVES_STEP (1.0 / 256) /* twice the largest error of a rounded number, of its size */

/* To the nearest, of two equally near the even one: by looking at both neighbours. */
uint16_t halves_nearest(float x);
float halves_float(uint16_t half);
/* Random numbers in -1..1. As all that is made here, they live until device_clear(). */
uint16_t *halves_random(struct random *random, int64_t count);
/* Of the device, never written. */
uint16_t *halves_room(int64_t count);
/* Waits for all work, then copies. */
uint16_t *halves_get(const uint16_t *from, int64_t count);
/* Within HALVES_STEP of each one's size; NaN fails. */
void halves_check_near(const char *what, const double *want, const uint16_t *on_device,
                       int64_t count);
/* Each is the nearest bf16 of that float: the bits. */
void halves_check_rounded(const char *what, const float *floats, const uint16_t *on_device,
                          int64_t count);

#endif
