/* tests/cuda/attended.h - random requests in front of attention, for tests of it and of its way
 * back. */
#ifndef TESTS_CUDA_ATTENDED_H
#define TESTS_CUDA_ATTENDED_H

#include "kernels/cuda/ops.h"
#include "ops/random.h"

#define ATTENDED_REQUESTS_MAX 5
#define ATTENDED_HISTORY_MAX  70

struct attended {
    int32_t B, T, N, C, H, P;
    enum cuda_attention_form form;
    int32_t history_start[ATTENDED_REQUESTS_MAX + 1], candidate_start[ATTENDED_REQUESTS_MAX + 1];
    int64_t time_ms[512], request_time_ms[ATTENDED_REQUESTS_MAX];
    struct cuda_tile tiles[64];
    int32_t tiles_count;
    float *z, *r_pos, *r_time;
};

/* Adds the tiles of rows neighbours, from row first on, behind *count tiles. */
void attended_tiles(struct cuda_tile *tiles, int32_t *count, int32_t request, int32_t first,
                    int32_t rows);

/* Shape 0 has no request, 1 has one; heads of 16 to 80 channels, every form, empty histories and
 * lists. Histories are shorter than history_max, lists half of that at most. History tiles do not
 * come first. What it points at lives until device_clear(). */
void attended_fill(struct attended *a, int number, int32_t history_max, struct random *random);

/* Copies to the device; rows and keys as they are in z. No log_total, no pages. */
struct cuda_attention attended_on_device(const struct attended *a);

#endif
