/* kernels/embed_cpu.c - token rows. Limited by fetching item rows, which lie anywhere. */
#include "kernels/embed.h"

#include <assert.h>

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
        int64_t at = (int64_t)i * C;

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
