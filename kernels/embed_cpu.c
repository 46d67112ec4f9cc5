/* kernels/embed_cpu.c - token rows. Limited by fetching item rows, which lie anywhere. */
#include "kernels/embed.h"

#include "kernels/linear.h"

#include <assert.h>

#define FOLD_STEP   (CPU_LANES < 8 ? 16 : 32) /* floats of a row at a time: whole lines */
#define FOLD_AHEAD  2                         /* rows to ask for in time */
#define EMBED_AHEAD 8
#define NORMS       16

/* Table rows of history token j. */
struct sides {
    const float *act, *gap, *hour; /* act NULL: an unknown action */
};

static struct sides sides_of(const struct embed *t, const struct request *request, int32_t j)
{
    const int64_t *time_ms = request->batch->time_ms;
    int32_t at = request->token + j, action = request->batch->action[at];
    int32_t gap = j == request->contexts ? BUCKET_GAP_NONE
                                         : bucket_of(time_ms[at], time_ms[at - 1]);

    return (struct sides){
        .act = action > 0 && action < t->A ? t->act + (int64_t)action * t->C : NULL,
        .gap = t->gap + (int64_t)gap * t->C,
        .hour = t->hour + (int64_t)bucket_hour(time_ms[at]) * t->C,
    };
}

/* All candidates of a request share theirs. */
static struct sides candidate_sides(const struct embed *t, const struct request *request)
{
    const int64_t *time_ms = request->batch->time_ms;
    int32_t end = request->token + request->n;
    int32_t gap = request->n == request->contexts ? BUCKET_GAP_NONE
                                                  : bucket_of(request->now_ms, time_ms[end - 1]);

    return (struct sides){
        .act = t->act,
        .gap = t->gap + (int64_t)gap * t->C,
        .hour = t->hour + (int64_t)bucket_hour(request->now_ms) * t->C,
    };
}

static const float *item_of(const struct embed *t, int32_t item)
{
    return t->emb + (int64_t)embed_row(item, t->V) * t->C;
}

/* Row of context token j. */
static const float *context_of(const struct embed *t, const struct request *request, int32_t j)
{
    return t->context + (int64_t)(j * BATCH_CONTEXT_CODES + request_context(request, j)) * t->C;
}

static void clear_rows(float *x, int32_t from, int32_t to, int32_t C)
{
    memset(x + (int64_t)from * C, 0, (size_t)(to - from) * (size_t)C * sizeof *x);
}

void CPU(embed_history)(float *x, const struct embed *t, const struct request *request)
{
    int32_t C = t->C;
    cpu_vector scale = cpu_splat(sqrtf((float)C));

    assert(C % CPU_PANEL == 0);
    for (int32_t j = 0; j < request->contexts; j++)
        memcpy(x + (int64_t)j * C, context_of(t, request, j), (size_t)C * sizeof *x);
    for (int32_t j = request->contexts; j < request->n; j++) {
        struct sides s = sides_of(t, request, j);
        const float *item = item_of(t, request->batch->item[request->token + j]);
        float *to = x + (int64_t)j * C;

        for (int32_t c = 0; c < C; c += CPU_LANES) {
            cpu_vector side = cpu_load(s.gap + c) + cpu_load(s.hour + c);

            if (s.act != NULL)
                side += cpu_load(s.act + c);
            cpu_store(to + c, CPU_FMA(cpu_load(item + c), scale, side));
        }
    }
    clear_rows(x, request->n, cpu_pad_rows(request->n), C);
}

void CPU(embed_candidates)(float *x, float *e, const struct embed *t, const struct request *request,
                           int32_t first, int32_t count)
{
    const int32_t *items = request->batch->candidate_item + request->candidate + first;
    int32_t C = t->C;
    cpu_vector scale = cpu_splat(sqrtf((float)C));
    struct sides s = candidate_sides(t, request);

    for (int32_t i = 0; i < count; i++) {
        const float *item = item_of(t, items[i]);
        const float *later = item_of(t, items[i + EMBED_AHEAD < count ? i + EMBED_AHEAD : i]);
        int64_t at = (int64_t)i * C;

        for (int32_t c = 0; c < C; c += 16)
            __builtin_prefetch(later + c);

        for (int32_t c = 0; c < C; c += CPU_LANES) {
            cpu_vector scaled = cpu_load(item + c) * scale;
            cpu_vector side = cpu_load(s.gap + c) + cpu_load(s.hour + c) + cpu_load(s.act + c);

            cpu_store(x + at + c, scaled + side);
            cpu_store(e + at + c, scaled);
        }
    }
    clear_rows(x, count, cpu_pad_rows(count), C);
    clear_rows(e, count, cpu_pad_rows(count), C);
}

/* rows of from (rows, C), times scale and W', are to (rows, 4 C). scratch: EMBED_FOLD_ROWS rows of
 * C, then of 4 C. */
static const float *fold_table(float **at, const float *from, int64_t rows, float scale,
                               struct linear w, float *scratch)
{
    const struct linear_call set = {LINEAR_SET, 0, w.N, w.K, w.N};
    float *to = *at, *out = scratch + (int64_t)EMBED_FOLD_ROWS * w.K;

    for (int64_t first = 0; first < rows; first += EMBED_FOLD_ROWS) {
        int64_t count = rows - first < EMBED_FOLD_ROWS ? rows - first : EMBED_FOLD_ROWS;

        memset(scratch, 0, (size_t)EMBED_FOLD_ROWS * (size_t)w.K * sizeof *scratch);
        for (int64_t i = 0; i < count * w.K; i++)
            scratch[i] = from[first * w.K + i] * scale;
        CPU(linear_forward)(out, NULL, scratch, (int32_t)count, w, set);
        memcpy(to + first * w.N, out, (size_t)(count * w.N) * sizeof *to);
    }
    *at += rows * w.N;
    return to;
}

void CPU(embed_fold)(struct embed_folded *folded, const struct embed *t, int32_t context_rows,
                     const float *w1, const float *b1, float *memory)
{
    int32_t C = t->C, N = 4 * C;
    float *centred = memory, *panels = centred + (int64_t)C * N, *scratch = panels + (int64_t)C * N;
    float *at = scratch + (int64_t)EMBED_FOLD_ROWS * (C + N);
    struct linear w = {.panels = panels, .K = C, .N = N};

    for (int32_t n = 0; n < N; n++) {
        double mean = 0;

        for (int32_t k = 0; k < C; k++)
            mean += (double)w1[(int64_t)k * N + n] / C;
        for (int32_t k = 0; k < C; k++)
            centred[(int64_t)k * N + n] = (float)((double)w1[(int64_t)k * N + n] - mean);
    }
    CPU(linear_pack)(panels, centred, N, C, N, 0);
    for (int32_t n = 0; n < N; n++)
        at[n] = b1[n] * CPU_SILU_SCALE;
    folded->bias = at;
    at += N;
    folded->act = fold_table(&at, t->act, t->A, 1, w, scratch);
    folded->gap = fold_table(&at, t->gap, BUCKET_GAPS, 1, w, scratch);
    folded->hour = fold_table(&at, t->hour, BUCKET_HOURS, 1, w, scratch);
    folded->context = fold_table(&at, t->context, context_rows, 1, w, scratch);
    folded->emb = fold_table(&at, t->emb, t->V, sqrtf((float)C), w, scratch);
}

/* Scaled 1 / deviation of rows, up to NORMS of them: one after the other they overlap, while each
 * in front of its own pass would be waited for. */
static void norms_of(float *norms, const float *x, int32_t rows, int32_t C, float epsilon)
{
    for (int64_t r = 0; r < rows && r < NORMS; r++) {
        float mean;

        norms[r] = cpu_norm(x + r * C, C, epsilon, &mean) * CPU_SILU_SCALE;
    }
}

/* z = SiLU(rstd(x) * (item + side) + b1), one row; scale is rstd(x), scaled as bias, b1, is
 * (kernels/cpu.h). Items lie anywhere in a large table, so a row that comes later is asked for, a
 * line at a time: all of it at once waits for the first lines. */
CPU_INLINE void fold_row(float *z, float scale, const float *item, const float *side,
                         const float *bias, int32_t C, const float *later)
{
    for (int32_t c = 0; c < 4 * C; c += FOLD_STEP) {
        cpu_vector t[FOLD_STEP / CPU_LANES];

        for (int k = 0; k < FOLD_STEP; k += 16)
            __builtin_prefetch(later + c + k);
        CPU_UNROLL
        for (int v = 0; v < FOLD_STEP / CPU_LANES; v++) {
            int32_t i = c + v * CPU_LANES;

            t[v] = CPU_FMA(cpu_load(item + i) + cpu_load(side + i), cpu_splat(scale),
                           cpu_load(bias + i));
        }
        cpu_silu_scaled(t, FOLD_STEP / CPU_LANES);
        CPU_UNROLL
        for (int v = 0; v < FOLD_STEP / CPU_LANES; v++)
            cpu_store(z + c + v * CPU_LANES, t[v]);
    }
}

/* The folded row that belongs to a row of the table. */
static const float *folded_row(const float *folded, const float *table, const float *row)
{
    return folded + 4 * (row - table);
}

static const float *folded_item(const struct embed_folded *f, const struct embed *t, int32_t item)
{
    return f->emb + 4 * (int64_t)embed_row(item, t->V) * t->C;
}

void CPU(embed_history_folded)(float *z, const float *x, const struct embed *t,
                               const struct embed_folded *f, const struct request *request,
                               int32_t first, float epsilon)
{
    const int32_t *items = request->batch->item + request->token; /* from number contexts on */
    float side[4 * EMBED_CHANNELS_MAX], norms[NORMS];
    int32_t C = t->C, N = 4 * C;

    assert(C <= EMBED_CHANNELS_MAX);
    for (int32_t j = first; j < request->n; j++, x += C, z += N) {
        const float *item, *later;

        if (j < request->contexts) {
            memset(side, 0, (size_t)N * sizeof *side);
            item = folded_row(f->context, t->context, context_of(t, request, j));
        } else {
            struct sides s = sides_of(t, request, j);
            const float *gap = folded_row(f->gap, t->gap, s.gap);
            const float *hour = folded_row(f->hour, t->hour, s.hour);
            const float *act = s.act == NULL ? NULL : folded_row(f->act, t->act, s.act);

            item = folded_item(f, t, items[j]);
            for (int32_t c = 0; c < N; c += CPU_LANES) {
                cpu_vector sum = cpu_load(gap + c) + cpu_load(hour + c);

                if (act != NULL)
                    sum += cpu_load(act + c);
                cpu_store(side + c, sum);
            }
        }
        later = j + FOLD_AHEAD >= request->contexts && j + FOLD_AHEAD < request->n
                    ? folded_item(f, t, items[j + FOLD_AHEAD])
                    : item;
        if ((j - first) % NORMS == 0)
            norms_of(norms, x, request->n - j, C, epsilon);
        fold_row(z, norms[(j - first) % NORMS], item, side, f->bias, C, later);
    }
}

void CPU(embed_candidates_folded)(float *z, const float *x, const struct embed *t,
                                  const struct embed_folded *f, const struct request *request,
                                  int32_t first, int32_t count, float epsilon)
{
    const int32_t *items = request->batch->candidate_item + request->candidate + first;
    float side[4 * EMBED_CHANNELS_MAX], norms[NORMS];
    int32_t C = t->C, N = 4 * C;
    struct sides s = candidate_sides(t, request);
    const float *gap = folded_row(f->gap, t->gap, s.gap);
    const float *hour = folded_row(f->hour, t->hour, s.hour);

    assert(C <= EMBED_CHANNELS_MAX);
    for (int32_t c = 0; c < N; c += CPU_LANES)
        cpu_store(side + c, cpu_load(gap + c) + cpu_load(hour + c) + cpu_load(f->act + c));
    for (int32_t i = 0; i < count; i++, x += C, z += N) {
        const float *later = folded_item(f, t, items[i + FOLD_AHEAD < count ? i + FOLD_AHEAD : i]);

        if (i % NORMS == 0)
            norms_of(norms, x, count - i, C, epsilon);
        fold_row(z, norms[i % NORMS], folded_item(f, t, items[i]), side, f->bias, C, later);
    }
}

static void add_row(float *to, const float *from, int32_t C, float scale)
{
    for (int32_t c = 0; c < C; c += CPU_LANES)
        cpu_store(to + c, CPU_FMA(cpu_load(from + c), cpu_splat(scale), cpu_load(to + c)));
}

void CPU(embed_backward)(const struct embed_gradient *g, const float *dx, const float *de,
                         const struct embed *t, const struct request *request)
{
    int32_t C = t->C;
    float scale = sqrtf((float)C);
    struct sides side = candidate_sides(t, request);

    for (int32_t j = 0; j < request->contexts; j++)
        add_row(g->context + (context_of(t, request, j) - t->context), dx + (int64_t)j * C, C,
                1.0f);
    for (int32_t j = request->contexts; j < request->n; j++) {
        struct sides s = sides_of(t, request, j);
        const float *from = dx + (int64_t)j * C;
        int32_t item = request->batch->item[request->token + j];

        add_row(rows_slot(g->emb, embed_row(item, t->V)), from, C, scale);
        if (s.act != NULL)
            add_row(g->act + (s.act - t->act), from, C, 1.0f);
        add_row(g->gap + (s.gap - t->gap), from, C, 1.0f);
        add_row(g->hour + (s.hour - t->hour), from, C, 1.0f);
    }
    dx += (int64_t)cpu_pad_rows(request->n) * C;
    for (int32_t i = 0; i < request->m; i++) {
        const float *from = dx + (int64_t)i * C;
        int32_t item = request->batch->candidate_item[request->candidate + i];
        float *row = rows_slot(g->emb, embed_row(item, t->V));

        add_row(row, from, C, scale);
        add_row(row, de + (int64_t)i * C, C, scale);
        add_row(g->act, from, C, 1.0f);
        add_row(g->gap + (side.gap - t->gap), from, C, 1.0f);
        add_row(g->hour + (side.hour - t->hour), from, C, 1.0f);
    }
}
