/*
 * Tests kernels/cuda/attention_back and the tape of attention against their formulas in double, on
 * 24 shapes. The first 8 have each form with each width of a head, and histories of several tiles
 * of rows and of keys, which a block walks in turns; the others are small.
 */
#include "kernels/cuda/ops_back.h"

#include "kernels/bucket.h"
#include "tests/cuda/attended.h"
#include "tests/cuda/device.h"
#include "tests/test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Sums of up to 350 pairs in f32, of exponentials that a device may have 2e-7 wrong. Seen: 4e-6. */
#define TOLERANCE 3e-5
#define BLOCKS    2

/* What attention makes, and where its gradients go: (rows, C), (rows, 4 C), (P + 1 + buckets); of
 * softmax what it keeps of the sums of rows and heads, (rows, H). */
struct want {
    double *o, *dz, *bias, *log_total, *delta;
};

/* Row and a key that it sees: number of the key's row, distance, bucket. */
struct seen {
    int64_t row;
    int32_t distance, bucket;
};

static int32_t all_seen(struct seen *seen, const struct attended *a, int64_t row, int32_t b)
{
    int32_t base = a->history_start[b], n = a->history_start[b + 1] - base, count = 0;
    bool candidate = row >= a->T;
    int32_t position = candidate ? n : (int32_t)row - base;
    int64_t time = candidate ? a->request_time_ms[b] : a->time_ms[row];

    for (int32_t j = 0; j < (candidate ? n : position + 1); j++)
        seen[count++] = (struct seen){base + j, position - j,
                                      bucket_of(time, a->time_ms[base + j])};
    if (candidate)
        seen[count++] = (struct seen){row, 0, 0};
    return count;
}

/* Both passes of one row and head, added to everybody's sums. */
static void row_passes(const struct want *want, const struct attended *a, const float *d_o,
                       int64_t row, int32_t b, int32_t head)
{
    int32_t C = a->C, D = C / a->H;
    int64_t at = (int64_t)head * D;
    const float *z = a->z + at, *own = z + row * 4 * C;
    double score[160], dw[160], total = 0, delta = 0;
    struct seen seen[160];
    int32_t count = all_seen(seen, a, row, b);

    for (int32_t j = 0; j < count; j++) {
        const float *other = z + seen[j].row * 4 * C;

        score[j] = (double)a->r_pos[seen[j].distance] + (double)a->r_time[seen[j].bucket];
        dw[j] = 0;
        for (int32_t d = 0; d < D; d++) {
            score[j] += (double)own[2 * C + d] * (double)other[3 * C + d] / sqrt(D);
            dw[j] += (double)d_o[row * C + at + d] * (double)other[C + d];
        }
        total += exp(score[j]);
    }
    for (int32_t j = 0; j < count; j++)
        delta += exp(score[j]) / total * dw[j];
    want->log_total[row * a->H + head] = log(total);
    want->delta[row * a->H + head] = delta;
    for (int32_t j = 0; j < count; j++) {
        const float *other = z + seen[j].row * 4 * C;
        double s = 1 / (1 + exp(-score[j])), w = score[j] * s;
        double slope = dw[j] * s * (1 + score[j] * (1 - s));

        if (a->form == CUDA_ATTENTION_SOFTMAX) {
            w = exp(score[j]) / total;
            slope = w * (dw[j] - delta);
        }
        want->bias[seen[j].distance] += slope;
        want->bias[a->P + 1 + seen[j].bucket] += slope;
        for (int32_t d = 0; d < D; d++) {
            double *to = want->dz + seen[j].row * 4 * C + at + d;

            want->o[row * C + at + d] += w * (double)other[C + d];
            want->dz[row * 4 * C + 2 * C + at + d] += slope * (double)other[3 * C + d] / sqrt(D);
            to[C] += w * (double)d_o[row * C + at + d];
            to[3 * C] += slope * (double)own[2 * C + d] / sqrt(D);
        }
    }
}

static void both_passes(const struct want *want, const struct attended *a, const float *d_o)
{
    for (int32_t head = 0; head < a->H; head++) {
        for (int32_t b = 0; b < a->B; b++) {
            for (int64_t r = a->history_start[b]; r < a->history_start[b + 1]; r++)
                row_passes(want, a, d_o, r, b, head);
            for (int64_t r = a->candidate_start[b]; r < a->candidate_start[b + 1]; r++)
                row_passes(want, a, d_o, a->T + r, b, head);
        }
    }
}

/* Tiles of histories first, as cuda_attention_backward() wants them. Returns their number. */
static int32_t order_tiles(struct attended *a)
{
    struct cuda_tile sorted[64];
    int32_t count = 0, history = 0;

    for (int candidates = 0; candidates < 2; candidates++) {
        for (int32_t i = 0; i < a->tiles_count; i++)
            if ((a->tiles[i].first >= a->T) == (candidates == 1))
                sorted[count++] = a->tiles[i];
        history = candidates == 0 ? count : history;
    }
    memcpy(a->tiles, sorted, (size_t)count * sizeof *sorted);
    return history;
}

static void check_passes(const struct want *want, const struct attended *a,
                         const struct cuda_attention_back *back)
{
    int64_t rows = (int64_t)a->T + a->N, pitch = a->P + 1 + BUCKET_COUNT;
    int64_t parts = cuda_attention_bias_rows(a->tiles_count, BLOCKS, a->H);
    float *added = device_room(pitch, sizeof *added), *bias = device_get(back->bias, parts * pitch);
    float *dz = device_get(back->dz, rows * 4 * a->C);

    for (int64_t i = 0; i < parts * pitch; i++)
        added[i % pitch] += bias[i];
    device_check_all("o", want->o, device_get(back->o, rows * a->C), rows * a->C, TOLERANCE);
    if (a->form == CUDA_ATTENTION_SOFTMAX) {
        device_check_all("log_total", want->log_total,
                         device_get(back->attention.log_total, rows * a->H), rows * a->H,
                         TOLERANCE);
        device_check_all("delta", want->delta, device_get(back->delta, rows * a->H), rows * a->H,
                         TOLERANCE);
    }
    for (int64_t r = 0; r < rows; r++) /* behind U */
        device_check_all("dz", want->dz + r * 4 * a->C + a->C, dz + r * 4 * a->C + a->C,
                         3 * (int64_t)a->C, TOLERANCE);
    device_check_all("bias", want->bias, added, pitch, TOLERANCE);
}

static void attention_back_shape(int number, struct random *random)
{
    static struct attended a;
    int64_t rows, parts, pitch;
    struct want want;
    struct cuda_attention_back back;
    float *d_o, *o, *unset;
    struct error err;

    attended_fill(&a, number, number < 8 ? ATTENDED_HISTORY_MAX : 20, random);
    rows = (int64_t)a.T + a.N;
    pitch = a.P + 1 + BUCKET_COUNT;
    parts = cuda_attention_bias_rows(a.tiles_count, BLOCKS, a.H) * pitch;
    want = (struct want){device_doubles(rows * a.C), device_doubles(rows * 4 * a.C),
                         device_doubles(pitch), device_doubles(rows * a.H),
                         device_doubles(rows * a.H)};
    d_o = device_random_floats(random, rows * a.C);
    unset = device_nans(rows * 4 * a.C); /* U's part stays as it is */
    o = device_floats(rows * a.C);
    back = (struct cuda_attention_back){.P = a.P,
                                        .history_tiles = order_tiles(&a),
                                        .tiles_count = a.tiles_count,
                                        .blocks = BLOCKS,
                                        .tiles = DEVICE_PUT(a.tiles, a.tiles_count),
                                        .candidate_start = DEVICE_PUT(a.candidate_start, a.B + 1),
                                        .z = DEVICE_PUT(a.z, rows * 4 * a.C),
                                        .o = o,
                                        .d_o = DEVICE_PUT(d_o, rows * a.C),
                                        .dz = DEVICE_PUT(unset, rows * 4 * a.C),
                                        .bias = device_floats(parts),
                                        .delta = device_floats(rows * a.H)};
    back.attention = attended_on_device(&a);
    if (a.form == CUDA_ATTENTION_SOFTMAX)
        back.attention.log_total = device_floats(rows * a.H);
    CHECK_STATUS(OK,
                 cuda_attention(NULL, o, back.z, back.attention, back.tiles, a.tiles_count, &err));
    CHECK_STATUS(OK, cuda_attention_backward(NULL, back, a.T, a.N, &err));
    both_passes(&want, &a, d_o);
    check_passes(&want, &a, &back);
}

TEST(cuda_back_attention_is_the_slope_of_its_formula)
{
    device_for_shapes(attention_back_shape);
}
