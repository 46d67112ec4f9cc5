/*
 * kernels/next_cpu.c - sampled softmax. Three small products for a group of 16 positions: logits,
 * the positions' gradient and the negatives' gradient.
 *
 * Logits lie with a row for each negative and a lane for each position: softmax then needs no sum
 * across lanes, and of the three products none needs the negatives in another order than they come;
 * only the 16 positions are turned, which are few.
 */
#include "kernels/next.h"

#include <assert.h>
#include <stddef.h>

#define GROUP NEXT_GROUP
#define AHEAD 8 /* rows to fetch before they are needed: they lie anywhere in the table */

/* The set's memory. Kr: K padded to whole tiles. */
struct set {
    int32_t K, Kr, C;
    float *unit;         /* (Kr, C), CPU_ROW_PAD more at the end */
    float *inverse_norm; /* (Kr) */
    float *d_unit;       /* (Kr, C) */
    float *bias;         /* (Kr) - ln Q */
    float *x;            /* (GROUP, C) unit vectors of the positions */
    float *x_columns;    /* (C, GROUP) the same, turned */
    float *x_panels;     /* (C / 16, GROUP, 16) */
    float *logits;       /* (Kr, GROUP) */
    float *dx;           /* (C + CPU_ROW_PAD, GROUP) */
};

/* At most GROUP positions on their way; lanes beyond their number have targets of no item. */
struct group {
    int32_t count;
    int32_t targets[GROUP];
    float inverse_x[GROUP], inverse_item[GROUP], cosine[GROUP];
    float own[GROUP], own_p[GROUP]; /* logit and probability of the target */
};

static struct set set_of(const struct next_set *from)
{
    struct set s = {.K = from->K, .Kr = cpu_pad_rows(from->K), .C = from->C};
    int64_t C = from->C;

    s.unit = from->memory;
    s.inverse_norm = s.unit + s.Kr * C + CPU_ROW_PAD;
    s.d_unit = s.inverse_norm + s.Kr;
    s.bias = s.d_unit + s.Kr * C;
    s.x = s.bias + s.Kr;
    s.x_columns = s.x + GROUP * C;
    s.x_panels = s.x_columns + GROUP * C;
    s.logits = s.x_panels + GROUP * C;
    s.dx = s.logits + (int64_t)s.Kr * GROUP;
    return s;
}

static float inverse_norm_of(const float *x, int32_t C)
{
    return 1.0f / sqrtf(cpu_dot(x, x, C) + 1e-12f);
}

/* to = from / |from|; returns 1 / |from|. */
static float unit_of(float *to, const float *from, int32_t C)
{
    float inverse = inverse_norm_of(from, C);

    for (int32_t c = 0; c < C; c += CPU_LANES)
        cpu_store(to + c, cpu_load(from + c) * inverse);
    return inverse;
}

/* to += (d - unit * (d . unit)) * inverse: the gradient of a vector from that of its unit. */
static void unit_backward(float *to, const float *d, const float *unit, float inverse, int32_t C)
{
    float along = cpu_dot(d, unit, C);

    for (int32_t c = 0; c < C; c += CPU_LANES)
        cpu_store(to + c,
                  cpu_load(to + c) + (cpu_load(d + c) - cpu_load(unit + c) * along) * inverse);
}

static void prefetch(const float *row, int32_t C)
{
    for (int32_t c = 0; c < C; c += 16)
        __builtin_prefetch(row + c);
}

void CPU(next_begin)(const struct next_set *from)
{
    struct set s = set_of(from);
    int32_t C = s.C;

    assert(C % CPU_PANEL == 0);
    for (int32_t k = 0; k < s.K; k++) {
        int32_t row = from->negatives[k];

        if (k + AHEAD < s.K)
            prefetch(from->emb + (int64_t)from->negatives[k + AHEAD] * C, C);
        s.inverse_norm[k] = unit_of(s.unit + (int64_t)k * C, from->emb + (int64_t)row * C, C);
        s.bias[k] = from->log_q != NULL ? -from->log_q[row] : 0;
    }
    memset(s.unit + (int64_t)s.K * C, 0,
           ((size_t)(s.Kr - s.K) * (size_t)C + CPU_ROW_PAD) * sizeof(float));
    memset(s.bias + s.K, 0, (size_t)(s.Kr - s.K) * sizeof(float));
    memset(s.d_unit, 0, (size_t)s.Kr * (size_t)C * sizeof(float));
}

/* Unit vectors of the positions in all forms, and the logits of their targets. */
static void group_begin(struct group *g, const struct set *s, const struct next_set *from,
                        const struct next_positions *positions, int32_t first)
{
    int32_t C = s->C, left = positions->count - first;

    *g = (struct group){.count = left < GROUP ? left : GROUP};
    for (int32_t i = 0; i < GROUP; i++) {
        float *x = s->x + (int64_t)i * C;

        g->targets[i] = -1;
        if (i >= g->count) {
            memset(x, 0, (size_t)C * sizeof *x);
            continue;
        }
        int32_t target = positions->targets[first + i];
        const float *item = from->emb + (int64_t)target * C;

        g->targets[i] = target;
        g->inverse_x[i] = unit_of(x, positions->x + (int64_t)positions->rows[first + i] * C, C);
        g->inverse_item[i] = inverse_norm_of(item, C);
        g->cosine[i] = cpu_dot(x, item, C) * g->inverse_item[i];
        g->own[i] = g->cosine[i] / from->tau - (from->log_q != NULL ? from->log_q[target] : 0);
    }
    for (int32_t c = 0; c < C; c += 8)
        for (int32_t i = 0; i < GROUP; i += 8)
            cpu_turn(s->x_columns + c * GROUP + i, GROUP, s->x + (int64_t)i * C + c, C);
    for (int32_t c = 0; c < C; c += CPU_PANEL)
        for (int32_t i = 0; i < GROUP; i++)
            memcpy(s->x_panels + (c + i) * GROUP, s->x + (int64_t)i * C + c,
                   CPU_PANEL * sizeof(float));
}

static void make_logits(const struct set *s, float tau)
{
    for (int32_t k = 0; k < s->K; k += CPU_ROWS) {
        cpu_vector acc[CPU_ROWS][CPU_VECTORS];

        cpu_product(acc, s->unit + (int64_t)k * s->C, s->C, 1, s->x_columns, s->C);
        CPU_UNROLL
        for (int r = 0; r < CPU_ROWS; r++) {
            CPU_UNROLL
            for (int v = 0; v < CPU_VECTORS; v++)
                cpu_store(s->logits + (int64_t)(k + r) * GROUP + v * CPU_LANES,
                          CPU_FMA(acc[r][v], cpu_splat(1.0f / tau), cpu_splat(s->bias[k + r])));
        }
    }
}

/* logits -> scale * their probabilities, 0 in lanes without a position; a negative that is a
 * position's target is left out there. Returns the sum of the losses. */
static double softmax(const struct set *s, const int32_t *negatives, struct group *g, float scale)
{
    cpu_vector top[CPU_VECTORS], total[CPU_VECTORS] = {{0}}, far = cpu_splat(-1e30f);
    float tops[GROUP], sums[GROUP], factor[GROUP] = {0};
    double loss = 0;

    memcpy(top, g->own, sizeof top);
    for (int32_t k = 0; k < s->K; k++) {
        for (int v = 0; v < CPU_VECTORS; v++) {
            float *at = s->logits + (int64_t)k * GROUP + v * CPU_LANES;
            cpu_bits targets, hit;
            cpu_vector logit = cpu_load(at);

            memcpy(&targets, g->targets + v * CPU_LANES, sizeof targets);
            hit = (cpu_bits)(targets == (uint32_t)negatives[k]);
            logit = (cpu_vector)(((cpu_bits)far & hit) | ((cpu_bits)logit & ~hit));
            top[v] = CPU_MAX(logit, top[v]);
            cpu_store(at, logit);
        }
    }
    for (int32_t k = 0; k < s->K; k++) {
        for (int v = 0; v < CPU_VECTORS; v++) {
            float *at = s->logits + (int64_t)k * GROUP + v * CPU_LANES;
            cpu_vector e = cpu_exp(cpu_load(at) - top[v]);

            total[v] += e;
            cpu_store(at, e);
        }
    }
    memcpy(tops, top, sizeof tops);
    memcpy(sums, total, sizeof sums);
    for (int32_t i = 0; i < g->count; i++) {
        float own = expf(g->own[i] - tops[i]), sum = sums[i] + own;

        g->own_p[i] = own / sum;
        factor[i] = scale / sum;
        loss += log((double)sum) - (double)(g->own[i] - tops[i]);
    }
    for (int32_t k = 0; k < s->K; k++) {
        for (int v = 0; v < CPU_VECTORS; v++) {
            float *at = s->logits + (int64_t)k * GROUP + v * CPU_LANES;

            cpu_store(at, cpu_load(at) * cpu_load(factor + v * CPU_LANES));
        }
    }
    return loss;
}

/* Gradients of unit vectors from the coefficients in logits: of the positions into x_columns, by
 * row, as it is no longer needed; the negatives' are added to. */
static void products_backward(const struct set *s)
{
    for (int32_t c = 0; c < s->C; c += CPU_ROWS) {
        cpu_vector acc[CPU_ROWS][CPU_VECTORS];

        cpu_product(acc, s->unit + c, 1, s->C, s->logits, s->K);
        CPU_UNROLL
        for (int r = 0; r < CPU_ROWS; r++) {
            CPU_UNROLL
            for (int v = 0; v < CPU_VECTORS; v++)
                cpu_store(s->dx + (c + r) * GROUP + v * CPU_LANES, acc[r][v]);
        }
    }
    for (int32_t c = 0; c < s->C; c += 8)
        for (int32_t i = 0; i < GROUP; i += 8)
            cpu_turn(s->x_columns + (int64_t)i * s->C + c, s->C, s->dx + c * GROUP + i, GROUP);
    for (int32_t k = 0; k < s->K; k += CPU_ROWS) {
        for (int32_t c = 0; c < s->C; c += CPU_PANEL) {
            cpu_vector acc[CPU_ROWS][CPU_VECTORS];

            cpu_product(acc, s->logits + (int64_t)k * GROUP, GROUP, 1, s->x_panels + c * GROUP,
                        GROUP);
            CPU_UNROLL
            for (int r = 0; r < CPU_ROWS; r++) {
                CPU_UNROLL
                for (int v = 0; v < CPU_VECTORS; v++) {
                    float *to = s->d_unit + (int64_t)(k + r) * s->C + c + v * CPU_LANES;

                    cpu_store(to, cpu_load(to) + acc[r][v]);
                }
            }
        }
    }
}

double CPU(next_loss)(float *dx, struct rows *demb, const struct next_set *from,
                      const struct next_positions *positions, float scale)
{
    struct set s = set_of(from);
    float step = scale / from->tau;
    int32_t C = s.C;
    struct group g;
    double loss = 0;

    for (int32_t first = 0; first < positions->count; first += GROUP) {
        group_begin(&g, &s, from, positions, first);
        make_logits(&s, from->tau);
        loss += softmax(&s, from->negatives, &g, step);
        if (dx == NULL)
            continue;
        products_backward(&s);
        for (int32_t i = 0; i < g.count; i++) {
            float *d = s.x_columns + (int64_t)i * C, *unit = s.x + (int64_t)i * C;
            const float *item = from->emb + (int64_t)g.targets[i] * C;
            float *row = rows_slot(demb, g.targets[i]);
            float own = (g.own_p[i] - 1.0f) * step, scaled = own * g.inverse_item[i];

            for (int32_t c = 0; c < C; c += CPU_LANES) {
                cpu_vector unit_item = cpu_load(item + c) * g.inverse_item[i];

                cpu_store(d + c, cpu_load(d + c) + own * unit_item);
                cpu_store(row + c, cpu_load(row + c) +
                                       scaled * (cpu_load(unit + c) - unit_item * g.cosine[i]));
            }
            unit_backward(dx + (int64_t)positions->rows[first + i] * C, d, unit, g.inverse_x[i], C);
        }
    }
    return loss;
}

void CPU(next_end)(struct rows *demb, const struct next_set *from)
{
    struct set s = set_of(from);
    float *ahead[AHEAD];

    for (int32_t k = 0; k < s.K + AHEAD; k++) {
        if (k >= AHEAD)
            unit_backward(ahead[k % AHEAD], s.d_unit + (int64_t)(k - AHEAD) * s.C,
                          s.unit + (int64_t)(k - AHEAD) * s.C, s.inverse_norm[k - AHEAD], s.C);
        if (k < s.K) {
            ahead[k % AHEAD] = rows_slot(demb, from->negatives[k]);
            prefetch(ahead[k % AHEAD], s.C);
        }
    }
}

void CPU(next_norms)(float *inverse_norm, const float *emb, int32_t V, int32_t C)
{
    for (int64_t v = 0; v < V; v++)
        inverse_norm[v] = inverse_norm_of(emb + v * C, C);
}

void CPU(next_scores)(float *scores, const float *x, const float *emb, const float *inverse_norm,
                      int32_t V, int32_t C, float inverse_tau)
{
    float scale = inverse_tau / sqrtf(cpu_dot(x, x, C) + 1e-12f);

    for (int64_t v = 0; v < V; v++)
        scores[v] = cpu_dot(x, emb + v * C, C) * inverse_norm[v] * scale;
}

void CPU(next_scores_of)(float *scores, const float *x, const float *emb, const float *inverse_norm,
                         const int32_t *items, int32_t m, int32_t V, int32_t C, float inverse_tau)
{
    float scale = inverse_tau / sqrtf(cpu_dot(x, x, C) + 1e-12f);

    for (int32_t i = 0; i < m; i++) {
        int64_t v = items[i] >= 0 && items[i] < V ? items[i] : 0;

        scores[i] = cpu_dot(x, emb + v * C, C) * inverse_norm[v] * scale;
    }
}
