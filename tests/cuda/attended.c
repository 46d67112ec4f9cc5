/* tests/cuda/attended.c - see attended.h. */
#include "tests/cuda/attended.h"

#include "kernels/bucket.h"
#include "tests/cuda/device.h"
#include "tests/test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void attended_tiles(struct cuda_tile *tiles, int32_t *count, int32_t request, int32_t first,
                    int32_t rows)
{
    for (int32_t at = 0; at < rows; at += CUDA_TILE_ROWS)
        tiles[(*count)++] = (struct cuda_tile){
            request, first + at, rows - at < CUDA_TILE_ROWS ? rows - at : CUDA_TILE_ROWS};
}

void attended_fill(struct attended *a, int number, int32_t history_max, struct random *random)
{
    const int32_t widths[] = {16, 32, 48, 80}; /* of a head: one slice, two, and two blocks wide */
    const int32_t heads = 1 + device_below(random, 2);

    CHECK(history_max >= 2 && history_max <= ATTENDED_HISTORY_MAX);
    memset(a, 0, sizeof *a);
    a->B = number < 2 ? number : 1 + device_below(random, ATTENDED_REQUESTS_MAX);
    a->H = heads;
    a->C = heads * widths[number % 4];
    a->P = 90;
    a->form = number / 4 % 2 == 0 ? CUDA_ATTENTION_SILU : CUDA_ATTENTION_SOFTMAX;
    for (int32_t b = 0; b < a->B; b++) {
        int32_t n = device_below(random, 4) == 0 ? 0 : device_below(random, history_max);
        int32_t m = device_below(random, 5) == 0 ? 0 : 1 + device_below(random, history_max / 2);
        int64_t now = 1700000000000;

        for (int32_t i = 0; i < n; i++)
            a->time_ms[a->history_start[b] + i] = now += (int64_t)exp(random_unit(random) * 18);
        a->request_time_ms[b] = now + (int64_t)exp(random_unit(random) * 18);
        a->history_start[b + 1] = a->history_start[b] + n;
        a->candidate_start[b + 1] = a->candidate_start[b] + m;
    }
    a->T = a->history_start[a->B];
    a->N = a->candidate_start[a->B];
    for (int32_t b = 0; b < a->B; b++) {
        attended_tiles(a->tiles, &a->tiles_count, b, a->history_start[b],
                       a->history_start[b + 1] - a->history_start[b]);
        attended_tiles(a->tiles, &a->tiles_count, b, a->T + a->candidate_start[b],
                       a->candidate_start[b + 1] - a->candidate_start[b]);
    }
    a->z = device_random_floats(random, (int64_t)(a->T + a->N) * 4 * a->C);
    a->r_pos = device_random_floats(random, a->P + 1);
    a->r_time = device_random_floats(random, BUCKET_COUNT);
}

struct cuda_attention attended_on_device(const struct attended *a)
{
    return (struct cuda_attention){
        .form = a->form,
        .T = a->T,
        .C = a->C,
        .H = a->H,
        .r_pos = DEVICE_PUT(a->r_pos, a->P + 1),
        .r_time = DEVICE_PUT(a->r_time, BUCKET_COUNT),
        .history_start = DEVICE_PUT(a->history_start, a->B + 1),
        .time_ms = DEVICE_PUT(a->time_ms, a->T),
        .request_time_ms = DEVICE_PUT(a->request_time_ms, a->B),
    };
}
