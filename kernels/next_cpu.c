/*
 * kernels/next_cpu.c - sampled softmax. Three small products a block of positions: logits, the
 * positions' gradient and the negatives' gradient; unit vectors of the negatives are packed
 * once a set, in both directions.
 */
#include "kernels/next.h"

#include <assert.h>
#include <stddef.h>

/* The set's memory. Kp: K padded to panels, Kr: to whole tiles as well. */
struct set {
    int32_t K, Kp, Kr, C;
    float *unit;         /* (Kr, C) */
    float *inverse_norm; /* (Kr) */
    float *transposed;   /* (Kp / 16, C, 16) */
    float *panels;       /* (C / 16, Kp, 16) */
    float *d_unit;       /* (Kr, C) */
    float *bias;         /* (Kp) - ln Q; padding is far below */
    float *x, *x_panels; /* (NEXT_POSITIONS_MAX, C) unit vectors of the positions */
    float *logits;       /* (NEXT_POSITIONS_MAX, Kp), CPU_ROW_PAD more at the end */
    float *dx;           /* (NEXT_POSITIONS_MAX, C) */
};

static struct set set_of(const struct next_set *from)
{
    struct set s = {.K = from->K, .C = from->C};
    float *at = from->memory;
    int64_t C = from->C;

    s.Kp = cpu_pad_columns(s.K);
    s.Kr = s.Kp + CPU_ROW_PAD;
    s.unit = at;
    s.inverse_norm = s.unit + s.Kr * C;
    s.transposed = s.inverse_norm + s.Kr;
    s.panels = s.transposed + s.Kp * C;
    s.d_unit = s.panels + s.Kp * C;
    s.bias = s.d_unit + s.Kr * C;
    s.x = s.bias + s.Kp;
    s.x_panels = s.x + NEXT_POSITIONS_MAX * C;
    s.dx = s.x_panels + NEXT_POSITIONS_MAX * C;
    s.logits = s.dx + NEXT_POSITIONS_MAX * C;
    return s;
}

/* to = from / |from|; returns 1 / |from|. */
static float unit_of(float *to, const float *from, int32_t C)
{
    float inverse = 1.0f / sqrtf(cpu_dot(from, from, C) + 1e-12f);

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

void CPU(next_begin)(const struct next_set *from)
{
    struct set s = set_of(from);
    int32_t C = s.C;

    assert(C % CPU_PANEL == 0);
    for (int32_t k = 0; k < s.K; k++) {
        int32_t row = from->negatives[k];

        s.inverse_norm[k] = unit_of(s.unit + (int64_t)k * C, from->emb + (int64_t)row * C, C);
        s.bias[k] = from->log_q != NULL ? -from->log_q[row] : 0;
    }
    memset(s.unit + (int64_t)s.K * C, 0, (size_t)(s.Kr - s.K) * (size_t)C * sizeof(float));
    for (int32_t k = s.K; k < s.Kp; k++)
        s.bias[k] = -1e30f;
    memset(s.d_unit, 0, (size_t)s.Kr * (size_t)C * sizeof(float));
    for (int32_t k = 0; k < s.Kp; k++) {
        const float *unit = s.unit + (int64_t)k * C;
        float *to = s.transposed + (int64_t)(k / CPU_PANEL) * C * CPU_PANEL + k % CPU_PANEL;

        for (int32_t c = 0; c < C; c++)
            to[c * CPU_PANEL] = unit[c];
        for (int32_t c = 0; c < C; c += CPU_PANEL)
            memcpy(s.panels + (int64_t)c * s.Kp + k * CPU_PANEL, unit + c,
                   CPU_PANEL * sizeof(float));
    }
}

/* logits (rows, Kp) of the unit positions; a target among the negatives is put far below. */
static void make_logits(const struct set *s, const struct next_set *from,
                        const struct next_positions *positions)
{
    float inverse_tau = 1.0f / from->tau;

    for (int32_t r0 = 0; r0 < positions->count; r0 += CPU_ROWS) {
        for (int32_t k = 0; k < s->Kp; k += CPU_PANEL) {
            cpu_vector acc[CPU_ROWS][CPU_VECTORS];

            cpu_product(acc, s->x + (int64_t)r0 * s->C, s->C, 1, s->transposed + (int64_t)k * s->C,
                        s->C);
            CPU_UNROLL
            for (int r = 0; r < CPU_ROWS; r++) {
                CPU_UNROLL
                for (int v = 0; v < CPU_VECTORS; v++)
                    cpu_store(s->logits + (int64_t)(r0 + r) * s->Kp + k + v * CPU_LANES,
                              acc[r][v] * inverse_tau + cpu_load(s->bias + k + v * CPU_LANES));
            }
        }
    }
    for (int32_t i = 0; i < positions->count; i++)
        for (int32_t k = 0; k < s->K; k++)
            if (from->negatives[k] == positions->targets[i])
                s->logits[(int64_t)i * s->Kp + k] = -1e30f;
}

/* logits (Kp) -> scale * their probabilities; *own_p: the target's. Returns the loss. */
static double softmax(float *logits, int32_t Kp, float own, float scale, float *own_p)
{
    cpu_vector top = cpu_splat(own), total = {0};
    float lanes[CPU_LANES], most, own_e, sum;

    for (int32_t k = 0; k < Kp; k += CPU_LANES)
        top = CPU_MAX(cpu_load(logits + k), top);
    memcpy(lanes, &top, sizeof lanes);
    most = lanes[0];
    for (int i = 1; i < CPU_LANES; i++)
        most = lanes[i] > most ? lanes[i] : most;
    for (int32_t k = 0; k < Kp; k += CPU_LANES) {
        cpu_vector e = cpu_exp(cpu_load(logits + k) - most);

        total += e;
        cpu_store(logits + k, e);
    }
    own_e = expf(own - most);
    sum = cpu_sum(total) + own_e;
    for (int32_t k = 0; k < Kp; k += CPU_LANES)
        cpu_store(logits + k, cpu_load(logits + k) * (scale / sum));
    *own_p = own_e / sum;
    return log((double)sum) - (double)(own - most);
}

/* Gradients of a block from the coefficients in logits. */
static void products_backward(const struct set *s, int32_t rows)
{
    for (int32_t r0 = 0; r0 < rows; r0 += CPU_ROWS) {
        for (int32_t c = 0; c < s->C; c += CPU_PANEL) {
            cpu_vector acc[CPU_ROWS][CPU_VECTORS];

            cpu_product(acc, s->logits + (int64_t)r0 * s->Kp, s->Kp, 1,
                        s->panels + (int64_t)c * s->Kp, s->Kp);
            CPU_UNROLL
            for (int r = 0; r < CPU_ROWS; r++) {
                CPU_UNROLL
                for (int v = 0; v < CPU_VECTORS; v++)
                    cpu_store(s->dx + (int64_t)(r0 + r) * s->C + c + v * CPU_LANES, acc[r][v]);
            }
        }
    }
    for (int32_t r = 0; r < rows; r++)
        for (int32_t c = 0; c < s->C; c += CPU_PANEL)
            memcpy(s->x_panels + (int64_t)c * rows + r * CPU_PANEL, s->x + (int64_t)r * s->C + c,
                   CPU_PANEL * sizeof(float));
    for (int32_t k = 0; k < s->Kp; k += CPU_ROWS) {
        for (int32_t c = 0; c < s->C; c += CPU_PANEL) {
            cpu_vector acc[CPU_ROWS][CPU_VECTORS];

            cpu_product(acc, s->logits + k, 1, s->Kp, s->x_panels + (int64_t)c * rows, rows);
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
    int32_t C = s.C, count = positions->count, rows = cpu_pad_rows(count);
    float inverse_x[NEXT_POSITIONS_MAX], own_g[NEXT_POSITIONS_MAX];
    float step = scale / from->tau;
    double loss = 0;

    assert(count <= NEXT_POSITIONS_MAX);
    for (int32_t i = 0; i < count; i++)
        inverse_x[i] = unit_of(s.x + (int64_t)i * C, positions->x + (int64_t)positions->rows[i] * C,
                               C);
    memset(s.x + (int64_t)count * C, 0, (size_t)(rows - count) * (size_t)C * sizeof(float));
    make_logits(&s, from, positions);
    for (int32_t i = 0; i < count; i++) {
        const float *item = from->emb + (int64_t)positions->targets[i] * C;
        float inverse = 1.0f / sqrtf(cpu_dot(item, item, C) + 1e-12f), own_p;
        float own = cpu_dot(s.x + (int64_t)i * C, item, C) * inverse / from->tau -
                    (from->log_q != NULL ? from->log_q[positions->targets[i]] : 0);

        loss += softmax(s.logits + (int64_t)i * s.Kp, s.Kp, own, step, &own_p);
        own_g[i] = (own_p - 1.0f) * step;
    }
    if (dx == NULL)
        return loss;
    memset(s.logits + (int64_t)count * s.Kp, 0,
           (size_t)(rows - count) * (size_t)s.Kp * sizeof(float));
    products_backward(&s, rows);
    for (int32_t i = 0; i < count; i++) {
        float *d = s.dx + (int64_t)i * C, *unit = s.x + (int64_t)i * C;
        const float *item = from->emb + (int64_t)positions->targets[i] * C;
        float *row = rows_slot(demb, positions->targets[i]);
        float inverse = 1.0f / sqrtf(cpu_dot(item, item, C) + 1e-12f);
        float cosine = cpu_dot(unit, item, C) * inverse, g = own_g[i] * inverse;

        for (int32_t c = 0; c < C; c += CPU_LANES) {
            cpu_vector unit_item = cpu_load(item + c) * inverse;

            cpu_store(d + c, cpu_load(d + c) + own_g[i] * unit_item);
            cpu_store(row + c, cpu_load(row + c) + g * (cpu_load(unit + c) - unit_item * cosine));
        }
        unit_backward(dx + (int64_t)positions->rows[i] * C, d, unit, inverse_x[i], C);
    }
    return loss;
}

void CPU(next_end)(struct rows *demb, const struct next_set *from)
{
    struct set s = set_of(from);

    for (int32_t k = 0; k < s.K; k++)
        unit_backward(rows_slot(demb, from->negatives[k]), s.d_unit + (int64_t)k * s.C,
                      s.unit + (int64_t)k * s.C, s.inverse_norm[k], s.C);
}

void CPU(next_norms)(float *inverse_norm, const float *emb, int32_t V, int32_t C)
{
    for (int64_t v = 0; v < V; v++)
        inverse_norm[v] = 1.0f / sqrtf(cpu_dot(emb + v * C, emb + v * C, C) + 1e-12f);
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
