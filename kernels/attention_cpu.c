/*
 * kernels/attention_cpu.c - attention in strips of CPU_ROWS query rows.
 *
 * A strip's scores (CPU_ROWS x n) never leave L1: product with K, bias, SiLU, product with V.
 * K and V of a head are packed first: their rows lie 4 C floats apart, a power of two, which
 * would put all of a column into a few sets of the cache.
 */
#include "kernels/attention.h"

#include <assert.h>
#include <stddef.h>

#define STRIP CPU_ROWS
_Static_assert(STRIP <= CPU_LANES, "what a strip has one of fits a vector");

/* What a call works with. Pitches: keys of a score row; D channels of a head. */
struct work {
    const struct attention *a;
    int32_t D, history; /* padded rows of it; row numbers from there on are candidates */
    int64_t pitch;
    float scale, self_bias;
    float *reversed; /* (history + pitch): r_pos[history - t], so a row's biases are one run */
    float *bias;     /* (STRIP, pitch) */
    float r_time[BUCKET_COUNT];
};

static float *take(float **at, int64_t floats)
{
    float *taken = *at;

    *at += floats;
    return taken;
}

/* Scores come out times factor: CPU_SILU_SCALE where cpu_silu_scaled() takes them, else 1. */
static struct work work_begin(const struct attention *a, float **scratch, float factor)
{
    struct work w = {.a = a, .self_bias = (a->r_pos[0] + a->r_time[0]) * factor};

    assert(a->C % (CPU_PANEL * a->H) == 0 && a->n <= a->P);
    w.D = a->C / a->H;
    w.history = cpu_pad_rows(a->n);
    w.pitch = attention_pitch(a->n);
    w.scale = factor / sqrtf((float)w.D);
    w.reversed = take(scratch, w.history + w.pitch);
    w.bias = take(scratch, CPU_ROW_PAD * w.pitch);
    for (int32_t t = 0; t < w.history + (int32_t)w.pitch; t++) {
        int32_t distance = w.history - t;

        distance = distance < 0 ? 0 : distance;
        w.reversed[t] = a->r_pos[distance > a->P ? a->P : distance] * factor;
    }
    for (int i = 0; i < BUCKET_COUNT; i++)
        w.r_time[i] = a->r_time[i] * factor;
    return w;
}

/* Rows 0..n-1 of one head's matrix at from (4 C apart) into panels of 16 rows, (D, 16) each:
 * the transposed matrix, ready to be multiplied with queries. Missing rows become 0. */
static void pack_transposed(float *to, const float *from, const struct work *w)
{
    int64_t row = 4 * (int64_t)w->a->C;

    for (int32_t j = 0; j < w->pitch; j += 8) {
        float *panel = to + (int64_t)(j / CPU_PANEL * CPU_PANEL) * w->D + j % CPU_PANEL;

        if (j + 8 <= w->a->n) {
            for (int32_t d = 0; d < w->D; d += 8)
                cpu_turn(panel + d * CPU_PANEL, CPU_PANEL, from + j * row + d, row);
            continue;
        }
        for (int32_t i = 0; i < 8; i++)
            for (int32_t d = 0; d < w->D; d++)
                panel[d * CPU_PANEL + i] = j + i < w->a->n ? from[(j + i) * row + d] : 0;
    }
}

/* The same rows as panels of 16 columns, (rows, 16) each, ready to be summed by weights. */
static void pack_rows(float *to, const float *from, int64_t pitch, int32_t present, int64_t rows,
                      int32_t D)
{
    for (int32_t d = 0; d < D; d += CPU_PANEL) {
        float *panel = to + d * rows;

        for (int64_t j = 0; j < present; j++) {
            CPU_UNROLL
            for (int v = 0; v < CPU_VECTORS; v++)
                cpu_store(panel + j * CPU_PANEL + v * CPU_LANES,
                          cpu_load(from + j * pitch + d + v * CPU_LANES));
        }
        memset(panel + present * CPU_PANEL, 0, (size_t)(rows - present) * CPU_PANEL * sizeof *to);
    }
}

static inline const uint8_t *bucket_row(const struct work *w, int32_t row)
{
    return w->a->buckets + (row < w->history ? row : w->history) * w->pitch;
}

/* to[0..7] = near[0..7] + table[bucket[0..7]]. In registers: a gather takes several times as long.
 */
#if defined(__AVX2__)
CPU_INLINE void look_up(float *to, const float *near, const float *table, const uint8_t *bucket)
{
    __m256i at = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)bucket));
    __m256 by_8 = _mm256_castsi256_ps(_mm256_slli_epi32(at, 28));
    __m256 by_16 = _mm256_castsi256_ps(_mm256_slli_epi32(at, 27));
    __m256 low = _mm256_blendv_ps(_mm256_permutevar8x32_ps(_mm256_loadu_ps(table), at),
                                  _mm256_permutevar8x32_ps(_mm256_loadu_ps(table + 8), at), by_8);
    __m256 high = _mm256_blendv_ps(_mm256_permutevar8x32_ps(_mm256_loadu_ps(table + 16), at),
                                   _mm256_permutevar8x32_ps(_mm256_loadu_ps(table + 24), at), by_8);

    _mm256_storeu_ps(to, _mm256_add_ps(_mm256_loadu_ps(near), _mm256_blendv_ps(low, high, by_16)));
}
#else
CPU_INLINE void look_up(float *to, const float *near, const float *table, const uint8_t *bucket)
{
    for (int i = 0; i < 8; i++)
        to[i] = near[i] + table[bucket[i]];
}
#endif

/* Biases of the strip that starts at row; candidates share one row, so only the first is made. */
static void make_bias(const struct work *w, int32_t row, int32_t keys)
{
    int candidates = row >= w->history;

    for (int32_t r = 0; r < (candidates ? 1 : STRIP); r++) {
        const uint8_t *bucket = bucket_row(w, row + r);
        const float *near = w->reversed + w->history - (candidates ? w->a->n : row + r);
        float *to = w->bias + r * w->pitch;

        for (int32_t j = 0; j < keys; j += 8)
            look_up(to + j, near + j, w->r_time, bucket + j);
    }
}

/* Score of a candidate for itself. */
static float self_score(const struct work *w, const float *q, const float *k)
{
    return cpu_dot(q, k, w->D) * w->scale + w->self_bias;
}

/* SiLU of a tile of scores, which come scaled, the first `vectors` of each row; bias_pitch 0: one
 * row of biases serves all rows. */
CPU_INLINE void store_silu(int vectors, const struct work *w, float *scores,
                           cpu_vector (*acc)[CPU_VECTORS], const float *bias, int64_t bias_pitch)
{
    CPU_UNROLL
    for (int half = 0; half < CPU_ROWS * vectors; half += CPU_SILU_COUNT) {
        cpu_vector t[CPU_SILU_COUNT];

        CPU_UNROLL
        for (int i = 0; i < CPU_SILU_COUNT; i++) {
            int r = (half + i) / vectors, v = (half + i) % vectors;

            t[i] = CPU_FMA(acc[r][v], cpu_splat(w->scale),
                           cpu_load(bias + r * bias_pitch + v * CPU_LANES));
        }
        cpu_silu_scaled(t, CPU_SILU_COUNT);
        CPU_UNROLL
        for (int i = 0; i < CPU_SILU_COUNT; i++) {
            int r = (half + i) / vectors, v = (half + i) % vectors;

            cpu_store(scores + r * w->pitch + v * CPU_LANES, t[i]);
        }
    }
}

/* Scores of a strip: a constant form leaves no branch in the tile. slopes NULL: not wanted. */
CPU_INLINE void strip_scores(enum attention_form form, int candidates, const struct work *w,
                             float *scores, float *slopes, const float *q, const float *keys_packed,
                             int32_t keys)
{
    int64_t row = 4 * (int64_t)w->a->C;

    for (int32_t j = 0; j < keys; j += CPU_PANEL) {
        cpu_vector acc[CPU_ROWS][CPU_VECTORS];

        /* Candidates read no weight behind the last key, so half a panel of keys is enough. */
        if (CPU_VECTORS > 1 && form == ATTENTION_SILU && slopes == NULL && candidates &&
            w->a->n - j <= CPU_PANEL / 2) {
            cpu_product_part((CPU_VECTORS + 1) / 2, acc, q, row, 1, keys_packed + (int64_t)j * w->D,
                             w->D);
            store_silu((CPU_VECTORS + 1) / 2, w, scores + j, acc, w->bias + j, 0);
            continue;
        }
        cpu_product(acc, q, row, 1, keys_packed + (int64_t)j * w->D, w->D);
        if (form == ATTENTION_SILU && slopes == NULL) {
            store_silu(CPU_VECTORS, w, scores + j, acc, w->bias + j, candidates ? 0 : w->pitch);
            continue;
        }
        CPU_UNROLL
        for (int r = 0; r < STRIP; r++) {
            CPU_UNROLL
            for (int v = 0; v < CPU_VECTORS; v++) {
                int64_t at = r * w->pitch + j + v * CPU_LANES;
                int64_t bias_at = candidates ? j + v * CPU_LANES : at;
                cpu_vector s = CPU_FMA(acc[r][v], cpu_splat(w->scale), cpu_load(w->bias + bias_at));

                if (form == ATTENTION_SILU) {
                    cpu_vector slope;

                    s = cpu_silu_slope(s, &slope);
                    cpu_store(slopes + at, slope);
                }
                cpu_store(scores + at, s);
            }
        }
    }
}

/* Keys from visible on are none of this row's business. */
static void hide(float *row, int32_t visible, int32_t keys, float with)
{
    for (int32_t j = visible; j < keys; j++)
        row[j] = with;
}

/* scores of one row -> weights that sum to 1 with the returned weight of self (0 if has_self is
 * not set). */
static float softmax_row(float *row, int32_t visible, int32_t keys, int has_self, float self)
{
    cpu_vector top = cpu_splat((has_self ? self : -1e30f)), total = {0};
    float lanes[CPU_LANES], most, sum, own = 0;

    hide(row, visible, keys, -1e30f);
    for (int32_t j = 0; j < keys; j += CPU_LANES)
        top = CPU_MAX(cpu_load(row + j), top);
    memcpy(lanes, &top, sizeof lanes);
    most = lanes[0];
    for (int i = 1; i < CPU_LANES; i++)
        most = lanes[i] > most ? lanes[i] : most;
    for (int32_t j = 0; j < keys; j += CPU_LANES)
        cpu_store(row + j, cpu_exp(cpu_load(row + j) - most));
    hide(row, visible, keys, 0);
    for (int32_t j = 0; j < keys; j += CPU_LANES)
        total += cpu_load(row + j);
    sum = cpu_sum(total);
    if (has_self) {
        cpu_vector x = cpu_exp(cpu_splat((self - most)));

        memcpy(lanes, &x, sizeof lanes);
        own = lanes[0];
    }
    sum = 1.0f / (sum + own);
    for (int32_t j = 0; j < keys; j += CPU_LANES)
        cpu_store(row + j, cpu_load(row + j) * sum);
    return own * sum;
}

/* How many keys a strip needs, padded to whole panels. */
static int32_t strip_keys(const struct work *w, int32_t row)
{
    int32_t keys = row >= w->history ? w->a->n : row + STRIP;

    return cpu_pad_columns(keys < w->a->n ? keys : w->a->n);
}

static int32_t visible_keys(const struct work *w, int32_t row)
{
    return row >= w->history || row >= w->a->n ? w->a->n : row + 1;
}

/* Weights of the strip at row into weights (STRIP, pitch), slopes likewise or NULL; own
 * (CPU_LANES): each row's weight of itself, candidates only. q: the strip's part of z. */
static void strip_weights(const struct work *w, float *weights, float *slopes, float *own,
                          const float *q, const float *keys_packed, int32_t row, int32_t keys)
{
    int candidates = row >= w->history;

    if (w->a->form == ATTENTION_SOFTMAX)
        strip_scores(ATTENTION_SOFTMAX, candidates, w, weights, NULL, q, keys_packed, keys);
    else if (slopes != NULL)
        strip_scores(ATTENTION_SILU, candidates, w, weights, slopes, q, keys_packed, keys);
    else if (candidates)
        strip_scores(ATTENTION_SILU, 1, w, weights, NULL, q, keys_packed, keys);
    else
        strip_scores(ATTENTION_SILU, 0, w, weights, NULL, q, keys_packed, keys);

    for (int32_t r = 0; candidates && r < STRIP; r++) {
        const float *qr = q + (int64_t)r * 4 * w->a->C;

        own[r] = self_score(w, qr, qr + w->a->C);
    }
    if (w->a->form == ATTENTION_SOFTMAX)
        for (int32_t r = 0; r < STRIP; r++)
            own[r] = softmax_row(weights + r * w->pitch, visible_keys(w, row + r), keys, candidates,
                                 own[r]);
    else if (candidates) {
        cpu_vector all = cpu_load(own);

        if (slopes != NULL)
            all = cpu_silu(all);
        else
            cpu_silu_scaled(&all, 1);
        cpu_store(own, all);
    } else
        for (int32_t r = 0; r < STRIP; r++)
            hide(weights + r * w->pitch, visible_keys(w, row + r), keys, 0);
}

void CPU(attention_pack)(const struct attention *a, const float *z)
{
    struct work w = {
        .a = a, .D = a->C / a->H, .history = cpu_pad_rows(a->n), .pitch = attention_pitch(a->n)};
    float *values = a->packed + a->C * w.pitch;

    for (int32_t h = 0; h < a->H; h++) {
        const float *v = z + a->C + h * w.D;

        pack_transposed(a->packed + h * w.D * w.pitch, v + 2 * a->C, &w);
        pack_rows(values + h * w.D * w.pitch, v, 4 * (int64_t)a->C, a->n, w.pitch, w.D);
    }
}

/* o of one strip and head: weights times V and, for candidates, themselves. z, o: the strip's. */
CPU_INLINE void strip_output(int candidates, const struct work *w, float *o, const float *weights,
                             const float *own, const float *values, const float *z, int32_t seen)
{
    int32_t C = w->a->C;

    for (int32_t d = 0; d < w->D; d += CPU_PANEL) {
        cpu_vector acc[CPU_ROWS][CPU_VECTORS];

        cpu_product(acc, weights, w->pitch, 1, values + d * w->pitch, seen);
        CPU_UNROLL
        for (int r = 0; r < STRIP; r++) {
            CPU_UNROLL
            for (int v = 0; v < CPU_VECTORS; v++) {
                int32_t at = d + v * CPU_LANES;
                cpu_vector sum = acc[r][v];

                if (candidates)
                    sum = CPU_FMA(cpu_splat(own[r]), cpu_load(z + (int64_t)r * 4 * C + C + at),
                                  sum);
                cpu_store(o + (int64_t)r * C + at, sum);
            }
        }
    }
}

/* Head by head: K and V of one stay in L1 while all strips pass by. One row of biases serves all.
 */
static void forward_candidates(const struct work *w, float *o, const float *z, int32_t rows,
                               float *scratch)
{
    const struct attention *a = w->a;
    int64_t head = w->D * w->pitch;
    int32_t keys = strip_keys(w, w->history);

    make_bias(w, w->history, keys);
    for (int32_t h = 0; h < a->H; h++) {
        const float *packed = a->packed + h * head, *values = packed + a->C * w->pitch;

        for (int32_t strip = 0; strip < rows; strip += STRIP) {
            const float *z_head = z + (int64_t)strip * 4 * a->C + h * w->D;
            float *o_head = o + (int64_t)strip * a->C + h * w->D, own[CPU_LANES] = {0};

            strip_weights(w, scratch, NULL, own, z_head + 2 * a->C, packed, w->history, keys);
            strip_output(1, w, o_head, scratch, own, values, z_head, a->n);
        }
    }
}

void CPU(attention_forward)(float *o, const struct attention *a, const float *z, int32_t rows,
                            int32_t first)
{
    float *scratch = a->scratch;
    struct work w = work_begin(a, &scratch, a->form == ATTENTION_SILU ? CPU_SILU_SCALE : 1);
    int candidates = first == ATTENTION_CANDIDATES;
    int64_t head = w.D * w.pitch;
    const float *values = a->packed + a->C * w.pitch;

    if (candidates) {
        forward_candidates(&w, o, z, rows, scratch);
        return;
    }
    for (int32_t strip = 0; strip < rows; strip += STRIP) {
        int32_t row = strip + first, keys = strip_keys(&w, row);
        int32_t seen = visible_keys(&w, row + STRIP - 1);

        make_bias(&w, row, keys);
        for (int32_t h = 0; h < a->H; h++) {
            const float *z_head = z + (int64_t)strip * 4 * a->C + h * w.D;
            float *o_head = o + (int64_t)strip * a->C + h * w.D, own[CPU_LANES] = {0};

            strip_weights(&w, scratch, NULL, own, z_head + 2 * a->C, a->packed + h * head, row,
                          keys);
            strip_output(0, &w, o_head, scratch, own, values + h * head, z_head, seen);
        }
    }
}

void CPU(attention_buckets)(uint8_t *buckets, const int64_t *time_ms, int32_t n,
                            int64_t request_time_ms)
{
    int32_t history = cpu_pad_rows(n);
    int64_t pitch = attention_pitch(n);

    memset(buckets, 0, (size_t)attention_buckets_bytes(n));
    for (int32_t i = 0; i <= n; i++) {
        uint8_t *row = buckets + (i < n ? i : history) * pitch;
        int64_t now = i < n ? time_ms[i] : request_time_ms;

        for (int32_t j = 0; j < n && j <= i; j++)
            row[j] = (uint8_t)bucket_of(now, time_ms[j]);
    }
}

/* Buffers of the backward pass, of one head at a time; rows are all rows of z. */
struct backward {
    const float *z;
    float *weights;                                    /* (rows, pitch) A */
    float *d_score;                                    /* (rows, pitch) slopes, then dS */
    float *d_bias;                                     /* (rows, pitch) dS summed over heads */
    float *keys_transposed, *values_transposed, *keys; /* packed, (pitch, D) */
    float *d_o, *queries;                              /* packed, (rows, D) */
    int64_t rows;
    int32_t first; /* the first row that attended */
};

/* dS of the strip at row from its weights, slopes and the gradients of the weights, which the
 * caller has put into d_score * slope (silu) or d_score (softmax). own_d: gradient of the
 * weight of itself. Returns in own_d the gradient of the own score. */
static void strip_softmax_slope(const struct work *w, const struct backward *b, int32_t row,
                                int32_t keys, const float *own, float *own_d)
{
    for (int32_t r = 0; r < STRIP; r++) {
        const float *weight = b->weights + (row + r) * w->pitch;
        float *d = b->d_score + (row + r) * w->pitch;
        cpu_vector products = {0};
        float mean;

        for (int32_t j = 0; j < keys; j += CPU_LANES)
            products = CPU_FMA(cpu_load(weight + j), cpu_load(d + j), products);
        mean = cpu_sum(products) + own[r] * own_d[r];
        for (int32_t j = 0; j < keys; j += CPU_LANES)
            cpu_store(d + j, cpu_load(weight + j) * (cpu_load(d + j) - mean));
        own_d[r] = own[r] * (own_d[r] - mean);
    }
}

/* d_score = (dO V^T) * slope, or without the slope where there is none. */
CPU_INLINE void strip_d_weights(int with_slope, const struct work *w, float *d_score,
                                const float *d_o, const float *values_transposed, int32_t keys)
{
    for (int32_t j = 0; j < keys; j += CPU_PANEL) {
        cpu_vector acc[CPU_ROWS][CPU_VECTORS];

        cpu_product(acc, d_o, w->a->C, 1, values_transposed + (int64_t)j * w->D, w->D);
        CPU_UNROLL
        for (int r = 0; r < STRIP; r++) {
            CPU_UNROLL
            for (int v = 0; v < CPU_VECTORS; v++) {
                float *at = d_score + r * w->pitch + j + v * CPU_LANES;

                if (with_slope)
                    acc[r][v] *= cpu_load(at);
                cpu_store(at, acc[r][v]);
            }
        }
    }
}

/* A candidate's own term: its V, Q and K gradients; the Q one is added to what is there. */
static void own_backward(const struct work *w, float *dz, const float *z, const float *d_o,
                         float own, float own_d, float *d_bias)
{
    int32_t C = w->a->C;

    for (int32_t d = 0; d < w->D; d += CPU_LANES) {
        cpu_store(dz + C + d, own * cpu_load(d_o + d));
        cpu_store(dz + 2 * C + d,
                  cpu_load(dz + 2 * C + d) + own_d * w->scale * cpu_load(z + 3 * C + d));
        cpu_store(dz + 3 * C + d, own_d * w->scale * cpu_load(z + 2 * C + d));
    }
    *d_bias += own_d;
}

/* One strip of query rows: weights and dS into b, the strip's dQ and own terms into dz. */
static void strip_backward(const struct work *w, const struct backward *b, float *dz,
                           const float *d_o, int32_t row, int32_t h, float *own_bias)
{
    const struct attention *a = w->a;
    int32_t keys = strip_keys(w, row), C = a->C, candidates = row >= w->history;
    const float *z = b->z + (int64_t)row * 4 * C + h * w->D;
    const float *d_o_head = d_o + (int64_t)row * C + h * w->D;
    float *dz_head = dz + (int64_t)row * 4 * C + h * w->D;
    float *weights = b->weights + row * w->pitch, *d_score = b->d_score + row * w->pitch;
    float own[CPU_LANES] = {0}, own_d[CPU_LANES] = {0}, slopes[CPU_LANES] = {0};

    strip_weights(w, weights, d_score, own, z + 2 * C, b->keys_transposed, row, keys);
    if (a->form == ATTENTION_SILU)
        strip_d_weights(1, w, d_score, d_o_head, b->values_transposed, keys);
    else
        strip_d_weights(0, w, d_score, d_o_head, b->values_transposed, keys);
    for (int32_t r = 0; candidates && r < STRIP; r++) {
        const float *zr = z + (int64_t)r * 4 * C;

        own_d[r] = cpu_dot(d_o_head + (int64_t)r * C, zr + C, w->D);
        slopes[r] = self_score(w, zr + 2 * C, zr + 3 * C);
    }
    if (candidates && a->form == ATTENTION_SILU) {
        cpu_vector slope;

        (void)cpu_silu_slope(cpu_load(slopes), &slope);
        cpu_store(own_d, cpu_load(own_d) * slope);
    }
    if (a->form == ATTENTION_SOFTMAX)
        strip_softmax_slope(w, b, row, keys, own, own_d);
    for (int32_t r = 0; r < STRIP && !candidates; r++)
        hide(d_score + r * w->pitch, visible_keys(w, row + r), keys, 0);

    for (int32_t d = 0; d < w->D; d += CPU_PANEL) {
        cpu_vector acc[CPU_ROWS][CPU_VECTORS];

        cpu_product(acc, d_score, w->pitch, 1, b->keys + d * w->pitch,
                    visible_keys(w, row + STRIP - 1));
        CPU_UNROLL
        for (int r = 0; r < STRIP; r++) {
            CPU_UNROLL
            for (int v = 0; v < CPU_VECTORS; v++)
                cpu_store(dz_head + (int64_t)r * 4 * C + 2 * C + d + v * CPU_LANES,
                          acc[r][v] * w->scale);
        }
    }
    for (int32_t r = 0; candidates && r < STRIP; r++)
        own_backward(w, dz_head + (int64_t)r * 4 * C, z + (int64_t)r * 4 * C,
                     d_o_head + (int64_t)r * C, own[r], own_d[r], own_bias);
    for (int32_t r = 0; r < STRIP; r++)
        for (int32_t j = 0; j < keys; j += CPU_LANES) {
            float *sum = b->d_bias + (row + r) * w->pitch + j;
            cpu_vector so_far = {0};

            if (h > 0)
                so_far = cpu_load(sum);
            cpu_store(sum, so_far + cpu_load(d_score + r * w->pitch + j));
        }
}

/* to (history rows, 4 C apart) = from^T panels * scale: dV from the weights and dO, dK from dS
 * and Q. Row j is summed over the query rows that see it: from its own strip on. */
static void keys_backward(const struct work *w, float *to, const float *from, const float *panels,
                          int64_t rows, int32_t first, float scale)
{
    for (int32_t j = 0; j < w->history; j += STRIP) {
        int64_t start = j > first ? j : first;

        for (int32_t d = 0; d < w->D; d += CPU_PANEL) {
            cpu_vector acc[CPU_ROWS][CPU_VECTORS];

            cpu_product(acc, from + start * w->pitch + j, 1, w->pitch,
                        panels + d * rows + start * CPU_PANEL, (int32_t)(rows - start));
            CPU_UNROLL
            for (int r = 0; r < STRIP; r++) {
                CPU_UNROLL
                for (int v = 0; v < CPU_VECTORS; v++) {
                    cpu_vector sum = {0};

                    if (j + r < w->a->n)
                        sum = acc[r][v] * scale;
                    cpu_store(to + (int64_t)(j + r) * 4 * w->a->C + d + v * CPU_LANES, sum);
                }
            }
        }
    }
}

/* sums[bucket][0..7] += d[0..7]. Neighbours in a row mostly share a bucket. */
CPU_INLINE void add_buckets(float (*sums)[8], const uint8_t *bucket, const float *d)
{
    uint64_t eight;

    memcpy(&eight, bucket, sizeof eight);
    if (eight == bucket[0] * UINT64_C(0x0101010101010101)) {
        for (int i = 0; i < 8; i++)
            sums[bucket[0]][i] += d[i];
        return;
    }
    for (int i = 0; i < 8; i++)
        sums[bucket[i]][i] += d[i];
}

/* Sums d_bias over its diagonals (positions) and over its buckets; beyond the keys a row sees, it
 * is 0 up to the end of its strip's last panel. */
static void bias_backward(const struct work *w, const struct backward *b, float *dr_pos,
                          float *dr_time, float *diagonal)
{
    float sums[BUCKET_COUNT][8] = {{0}};
    int32_t P = w->a->P;

    memset(diagonal, 0, (size_t)(w->history + w->pitch) * sizeof *diagonal);
    for (int32_t row = b->first; row < b->rows; row++) {
        int32_t visible = visible_keys(w, row), candidate = row >= w->history;
        const float *d = b->d_bias + row * w->pitch;
        float *sum = diagonal + w->history - (candidate ? w->a->n : row);
        const uint8_t *bucket = bucket_row(w, row);

        for (int32_t j = 0; j < visible; j += CPU_LANES)
            cpu_store(sum + j, cpu_load(sum + j) + cpu_load(d + j));
        for (int32_t j = 0; j < visible; j += 8)
            add_buckets(sums, bucket + j, d + j);
    }
    for (int32_t t = 0; t <= w->history && w->a->n > 0; t++) { /* without keys: no diagonal */
        int32_t distance = w->history - t;

        dr_pos[distance > P ? P : distance] += diagonal[t];
    }
    for (int32_t i = 0; i < BUCKET_COUNT; i++)
        for (int k = 0; k < 8; k++)
            dr_time[i] += sums[i][k];
}

void CPU(attention_backward)(const struct attention_gradient *gradient, const float *d_o,
                             const struct attention *a, const float *z, int32_t m,
                             int32_t history_rows)
{
    float *scratch = a->scratch, *dz = gradient->dz;
    struct work w = work_begin(a, &scratch, 1);
    int64_t rows = w.history + cpu_pad_rows(m), row_z = 4 * (int64_t)a->C, head = w.D * w.pitch;
    struct backward b = {
        .z = z,
        .rows = rows,
        .first = history_rows ? 0 : w.history,
        .weights = take(&scratch, rows * w.pitch),
        .d_score = take(&scratch, rows * w.pitch),
        .d_bias = take(&scratch, rows * w.pitch),
        .keys_transposed = take(&scratch, head),
        .values_transposed = take(&scratch, head),
        .keys = take(&scratch, head),
        .d_o = take(&scratch, rows * w.D),
        .queries = take(&scratch, rows * w.D),
    };
    float own_bias = 0;

    for (int32_t h = 0; h < a->H; h++) {
        const float *v = z + a->C + h * w.D;
        float *dv = dz + a->C + h * w.D;

        pack_transposed(b.keys_transposed, v + 2 * a->C, &w);
        pack_transposed(b.values_transposed, v, &w);
        pack_rows(b.keys, v + 2 * a->C, row_z, a->n, w.pitch, w.D);
        pack_rows(b.d_o, d_o + h * w.D, a->C, (int32_t)rows, rows, w.D);
        pack_rows(b.queries, v + a->C, row_z, (int32_t)rows, rows, w.D);
        for (int32_t row = b.first; row < rows; row += STRIP) {
            if (row <= w.history)
                make_bias(&w, row, strip_keys(&w, row));
            strip_backward(&w, &b, dz, d_o, row, h, &own_bias);
        }
        keys_backward(&w, dv, b.weights, b.d_o, rows, b.first, 1.0f);
        keys_backward(&w, dv + 2 * a->C, b.d_score, b.queries, rows, b.first, w.scale);
        for (int32_t row = 0; row < b.first; row++)
            memset(dv + row * row_z + a->C, 0, (size_t)w.D * sizeof *dv);
    }
    bias_backward(&w, &b, gradient->dr_pos, gradient->dr_time, scratch);
    gradient->dr_pos[0] += own_bias;
    gradient->dr_time[0] += own_bias;
}
