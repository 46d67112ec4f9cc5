/*
 * kernels/head_cpu.c - the head. Its products are small and low-rank; it is limited by passing
 * over z a few times, so everything of a request's candidates stays in one tape.
 */
#include "kernels/head.h"

#include <assert.h>
#include <stddef.h>

struct tape {
    int64_t rows;
    float *z;                             /* (rows, Z) */
    float *low[HEAD_CROSSES_MAX];         /* (rows, R) x_l Down */
    float *up[HEAD_CROSSES_MAX];          /* (rows, Z) low Up + b */
    float *x[HEAD_CROSSES_MAX];           /* (rows, Z) x_{l + 1} */
    float *hidden, *slope;                /* (rows, W) */
    float *dx, *dz, *du, *dlow, *scratch; /* backward */
};

static struct tape tape_of(const struct head *head, int32_t m, float *at)
{
    int64_t rows = cpu_pad_rows(m), wide = head->Z > head->W ? head->Z : head->W;
    struct tape t = {.rows = rows, .z = at};

    at += rows * head->Z;
    for (int32_t l = 0; l < head->crosses; l++) {
        t.low[l] = at;
        t.up[l] = at + rows * head->R;
        t.x[l] = t.up[l] + rows * head->Z;
        at = t.x[l] + rows * head->Z;
    }
    t.hidden = at;
    t.slope = at + rows * head->W;
    t.dx = t.slope + rows * head->W;
    t.dz = t.dx + rows * wide;
    t.du = t.dz + rows * wide;
    t.dlow = t.du + rows * wide;
    t.scratch = t.dlow + rows * head->R;
    return t;
}

static float scalar_of(const struct head *head, const float *scalars, int64_t i, int32_t f)
{
    return (scalars[i * head->F + f] - head->mean[f]) * head->scale[f];
}

static void make_z(float *z, const float *x, const float *e, const float *scalars, int32_t m,
                   const struct head *head)
{
    int32_t C = head->C;

    for (int64_t i = 0; i < cpu_pad_rows(m); i++) {
        float *row = z + i * head->Z;

        memset(row + 2 * C, 0, (size_t)(head->Z - 2 * C) * sizeof *row);
        memcpy(row, x + i * C, (size_t)C * sizeof *row);
        for (int32_t c = 0; c < C; c += CPU_LANES)
            cpu_store(row + C + c, cpu_load(x + i * C + c) * cpu_load(e + i * C + c));
        for (int32_t f = 0; i < m && f < head->F; f++)
            row[2 * C + f] = scalar_of(head, scalars, i, f);
    }
}

static struct linear_call all_of(enum linear_after after, struct linear w)
{
    return (struct linear_call){after, 0, w.N, w.K, w.N};
}

static void dot_scores(float *scores, const float *x, const float *e, const float *scalars,
                       int32_t m, const struct head *head)
{
    int32_t C = head->C;

    for (int64_t i = 0; i < m; i++) {
        float s = cpu_dot(x + i * C, e + i * C, C) / sqrtf((float)C) + head->b_f[0];

        for (int32_t f = 0; f < head->F; f++)
            s += scalar_of(head, scalars, i, f) * head->w_f[f];
        scores[i] = s;
    }
}

void CPU(head_join)(struct head *head, const struct head_plain *plain, float *memory)
{
    int32_t Z = head->Z, R = head->R, W = head->W, last = head->crosses - 1, N = 2 * R + W;
    float *bias = memory, *direct = bias + N, *joined = direct + Z, *panels = joined + Z * N;
    const float *w_x = head->w + Z;

    assert(head->crosses > 0 && head->crosses <= HEAD_CROSSES_MAX);
    memset(bias, 0, (size_t)(2 * R) * sizeof *bias);
    memcpy(bias + 2 * R, head->mlp.forward.bias, (size_t)W * sizeof *bias);
    for (int32_t k = 0; k < Z; k++) {
        float *row = joined + k * N;

        memcpy(row, plain->down[0] + k * R, (size_t)R * sizeof *row);
        for (int32_t r = 0; r < R; r++)
            row[R + r] = w_x[k] * plain->up[last][r * Z + k];
        memcpy(row + 2 * R, plain->mlp + k * W, (size_t)W * sizeof *row);
        direct[k] = head->w[k] + w_x[k] * head->up[last].forward.bias[k];
        if (last == 0)
            direct[k] += w_x[k];
    }
    head->direct = direct;
    head->joined = (struct linear){panels, bias, 2 * head->C + head->F, N};
    CPU(linear_pack)(panels, joined, N, head->joined.K, N, 0);
}

/* to = z * (low Up + b) + from; to may be from. */
static void cross_add(float *to, const float *from, const float *z, const float *low,
                      int32_t low_pitch, int32_t m, struct linear up)
{
    for (int32_t n = 0; n < up.N; n += CPU_PANEL) {
        const float *panel = up.panels + (int64_t)n * up.K;

        for (int64_t r0 = 0; r0 < m; r0 += CPU_ROWS) {
            cpu_vector acc[CPU_ROWS][CPU_VECTORS];

            cpu_product(acc, low + r0 * low_pitch, low_pitch, 1, panel, up.K);
            CPU_UNROLL
            for (int r = 0; r < CPU_ROWS; r++) {
                CPU_UNROLL
                for (int v = 0; v < CPU_VECTORS; v++) {
                    int64_t i = n + v * CPU_LANES, at = (r0 + r) * up.N + i;
                    cpu_vector sum = acc[r][v] + cpu_load(up.bias + i);

                    cpu_store(to + at, CPU_FMA(cpu_load(z + at), sum, cpu_load(from + at)));
                }
            }
        }
    }
}

/* x . y, a multiple of 16 long, onto sums. */
CPU_INLINE void add_products(cpu_vector *sums, const float *x, const float *y, int32_t count)
{
    for (int32_t i = 0; i < count; i += CPU_PANEL) {
        CPU_UNROLL
        for (int v = 0; v < CPU_VECTORS; v++)
            sums[v] = CPU_FMA(cpu_load(x + i + v * CPU_LANES), cpu_load(y + i + v * CPU_LANES),
                              sums[v]);
    }
}

void CPU(head_score)(float *scores, const float *x, const float *e, const float *scalars, int32_t m,
                     const struct head *head, float *tape)
{
    int32_t Z = head->Z, R = head->R, W = head->W, last = head->crosses - 1, N = 2 * R + W;
    int64_t rows = cpu_pad_rows(m);
    float *z = tape, *now = z + rows * Z, *joined = now + rows * Z, *low = joined + rows * N;
    struct linear_call set = {LINEAR_SET, 0, 2 * R, Z, N}, silu = {LINEAR_SILU, 2 * R, W, Z, N};
    int32_t low_pitch = N;

    if (head->crosses == 0) {
        dot_scores(scores, x, e, scalars, m, head);
        return;
    }
    make_z(z, x, e, scalars, m, head);
    CPU(linear_forward)(joined, NULL, z, m, head->joined, set);
    CPU(linear_forward)(joined + 2 * R, NULL, z, m, head->joined, silu);
    for (int32_t l = 0; l < last; l++) {
        struct linear down = head->down[l + 1].forward;

        cross_add(now, l == 0 ? z : now, z, l == 0 ? joined : low, low_pitch, m,
                  head->up[l].forward);
        CPU(linear_forward)(low, NULL, now, m, down, all_of(LINEAR_SET, down));
        low_pitch = R;
    }
    for (int64_t i = 0; i < m; i++) {
        cpu_vector sums[CPU_VECTORS] = {{0}}, more[CPU_VECTORS] = {{0}};
        const float *own = joined + i * N;

        add_products(sums, z + i * Z, head->direct, Z);
        if (last > 0)
            add_products(more, now + i * Z, head->w + Z, Z);
        add_products(sums, last > 0 ? low + i * R : own, own + R, R);
        add_products(more, own + 2 * R, head->w + 2 * Z, W);
        CPU_UNROLL
        for (int v = 0; v < CPU_VECTORS; v++)
            sums[v] += more[v];
        CPU_UNROLL
        for (int v = 1; v < CPU_VECTORS; v++)
            sums[0] += sums[v];
        scores[i] = cpu_sum(sums[0]) + head->b[0];
    }
}

void CPU(head_forward)(float *scores, const float *x, const float *e, const float *scalars,
                       int32_t m, const struct head *head, float *tape)
{
    int32_t Z = head->Z;
    struct tape t;
    const float *now;

    if (head->crosses == 0) {
        dot_scores(scores, x, e, scalars, m, head);
        return;
    }
    assert(head->crosses > 0 && head->crosses <= HEAD_CROSSES_MAX);
    t = tape_of(head, m, tape);
    make_z(t.z, x, e, scalars, m, head);
    now = t.z;
    for (int32_t l = 0; l < head->crosses; l++) {
        struct linear down = head->down[l].forward, up = head->up[l].forward;

        CPU(linear_forward)(t.low[l], NULL, now, (int32_t)t.rows, down, all_of(LINEAR_SET, down));
        CPU(linear_forward)(t.up[l], NULL, t.low[l], (int32_t)t.rows, up, all_of(LINEAR_SET, up));
        for (int64_t i = 0; i < t.rows * Z; i += CPU_LANES)
            cpu_store(t.x[l] + i,
                      CPU_FMA(cpu_load(t.z + i), cpu_load(t.up[l] + i), cpu_load(now + i)));
        now = t.x[l];
    }
    CPU(linear_forward)
    (t.hidden, t.slope, t.z, (int32_t)t.rows, head->mlp.forward,
     all_of(LINEAR_SILU, head->mlp.forward));
    for (int64_t i = 0; i < m; i++)
        scores[i] = cpu_dot(t.z + i * Z, head->w, Z) + cpu_dot(now + i * Z, head->w + Z, Z) +
                    cpu_dot(t.hidden + i * head->W, head->w + 2 * Z, head->W) + head->b[0];
}

static void dot_backward(struct head_gradient *gradient, float *dx, float *de, const float *ds,
                         const float *x, const float *e, const float *scalars, int32_t m,
                         const struct head *head)
{
    int32_t C = head->C;

    memset(dx, 0, (size_t)cpu_pad_rows(m) * (size_t)C * sizeof *dx);
    memset(de, 0, (size_t)cpu_pad_rows(m) * (size_t)C * sizeof *de);
    for (int64_t i = 0; i < m; i++) {
        float scaled = ds[i] / sqrtf((float)C);

        for (int32_t c = 0; c < C; c += CPU_LANES) {
            cpu_store(dx + i * C + c, scaled * cpu_load(e + i * C + c));
            cpu_store(de + i * C + c, scaled * cpu_load(x + i * C + c));
        }
        gradient->b_f[0] += ds[i];
        for (int32_t f = 0; f < head->F; f++)
            gradient->w_f[f] += ds[i] * scalar_of(head, scalars, i, f);
    }
}

/* to (rows, N) = ds outer w, and dw (N) += sum of ds * from (rows, N). Padding rows: 0. */
static void outer(float *to, float *dw, const float *ds, const float *w, const float *from,
                  int32_t m, int64_t rows, int32_t N)
{
    memset(to + (int64_t)m * N, 0, (size_t)(rows - m) * (size_t)N * sizeof *to);
    for (int64_t i = 0; i < m; i++) {
        for (int32_t k = 0; k < N; k += CPU_LANES) {
            cpu_store(to + i * N + k, ds[i] * cpu_load(w + k));
            cpu_store(dw + k,
                      CPU_FMA(cpu_splat(ds[i]), cpu_load(from + i * N + k), cpu_load(dw + k)));
        }
    }
}

void CPU(head_backward)(struct head_gradient *gradient, float *dx, float *de, const float *ds,
                        const float *x, const float *e, const float *scalars, int32_t m,
                        const struct head *head, float *tape)
{
    int32_t C = head->C, Z = head->Z, R = head->R, W = head->W, last = head->crosses - 1;
    struct tape t;

    if (head->crosses == 0) {
        dot_backward(gradient, dx, de, ds, x, e, scalars, m, head);
        return;
    }
    assert(last >= 0 && last < HEAD_CROSSES_MAX);
    t = tape_of(head, m, tape);
    for (int64_t i = 0; i < m; i++)
        gradient->b[0] += ds[i];
    /* The MLP first: its part of dz starts the sum; du serves as its dhidden. */
    outer(t.du, gradient->w + 2 * Z, ds, head->w + 2 * Z, t.hidden, m, t.rows, W);
    CPU(linear_scale)(t.du, t.slope, t.rows * W);
    outer(t.dz, gradient->w, ds, head->w, t.z, m, t.rows, Z);
    CPU(linear_forward)
    (t.dz, NULL, t.du, (int32_t)t.rows, head->mlp.transposed,
     all_of(LINEAR_ADD, head->mlp.transposed));
    CPU(linear_weights_add)
    (gradient->mlp, gradient->mlp_bias, t.z, Z, t.du, W, (int32_t)t.rows, Z, W, t.scratch);

    outer(t.dx, gradient->w + Z, ds, head->w + Z, t.x[last], m, t.rows, Z);
    for (int32_t l = last; l >= 0; l--) {
        const float *from = l == 0 ? t.z : t.x[l - 1];

        assert(from != NULL && t.up[l] != NULL);
        for (int64_t i = 0; i < t.rows * Z; i += CPU_LANES) {
            cpu_vector d = cpu_load(t.dx + i);

            cpu_store(t.du + i, d * cpu_load(t.z + i));
            cpu_store(t.dz + i, cpu_load(t.dz + i) + d * cpu_load(t.up[l] + i));
        }
        CPU(linear_forward)
        (t.dlow, NULL, t.du, (int32_t)t.rows, head->up[l].transposed,
         all_of(LINEAR_SET, head->up[l].transposed));
        CPU(linear_weights_add)
        (gradient->up[l], gradient->up_bias[l], t.low[l], R, t.du, Z, (int32_t)t.rows, R, Z,
         t.scratch);
        CPU(linear_forward)
        (t.dx, NULL, t.dlow, (int32_t)t.rows, head->down[l].transposed,
         all_of(LINEAR_ADD, head->down[l].transposed));
        CPU(linear_weights_add)
        (gradient->down[l], NULL, from, Z, t.dlow, R, (int32_t)t.rows, Z, R, t.scratch);
    }
    for (int64_t i = 0; i < t.rows; i++) {
        for (int32_t c = 0; c < C; c += CPU_LANES) {
            int64_t at = i * Z + c, to = i * C + c;
            cpu_vector own = cpu_load(t.dz + at) + cpu_load(t.dx + at);
            cpu_vector both = cpu_load(t.dz + at + C) + cpu_load(t.dx + at + C);

            cpu_store(dx + to, own + both * cpu_load(e + to));
            cpu_store(de + to, both * cpu_load(x + to));
        }
    }
}
