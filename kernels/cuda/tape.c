/*
 * kernels/cuda/tape.c - forward with a tape, losses, and the way back.
 *
 * Reads top down: memory, products, layers, head, losses; then back: head, layers, tables.
 */
#include "kernels/cuda/tape.h"

#include "kernels/cuda/cuda.h"

#include <string.h>

#define BIAS_BLOCKS 256 /* with two heads, some for each multiprocessor of the largest devices */

/* The next call of a chain, unless one before it failed. */
#define THEN(status, call) ((status) = (status) != OK ? (status) : (call))

static int64_t rows_of(const struct tape *t)
{
    return (int64_t)t->in.T + t->in.N;
}

static bool crosses(const struct tape *t)
{
    return t->config->head == MODEL_HEAD_CROSS;
}

static float *floats(struct carve *carve, int64_t count)
{
    return carve_part(carve, count, sizeof(float));
}

/* ---- memory ---- */

int64_t tape_losses(const struct lesson *lesson)
{
    return 4 * (int64_t)lesson->B + lesson->k;
}

static int64_t most(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* Room for bf16, where the tape is of them. */
static uint16_t *halves(const struct tape *t, struct carve *carve, int64_t count)
{
    return t->bf16 ? carve_part(carve, count, sizeof(uint16_t)) : NULL;
}

/* Not by the lesson's pointer, which is NULL while memory is counted. */
static bool drops(const struct tape *t)
{
    return t->dropout > 0;
}

static void carve_forward(struct tape *t, struct carve *carve)
{
    int64_t rows = rows_of(t), C = t->config->C, N = t->in.N, W = t->config->W, Z = t->Z;

    t->e = floats(carve, N * C);
    for (int32_t l = 0; l <= t->config->L; l++)
        t->x[l] = floats(carve, rows * C);
    for (int32_t l = 0; l < t->config->L; l++) {
        struct tape_layer *layer = &t->layers[l];

        layer->normed = floats(carve, rows * C);
        layer->rstd = floats(carve, rows);
        layer->z = floats(carve, rows * 4 * C);
        layer->slope = floats(carve, rows * 4 * C);
        layer->o = floats(carve, rows * C);
        layer->gated = floats(carve, rows * C);
        layer->rstd_o = floats(carve, rows);
        layer->y = t->bf16 && !drops(t) ? NULL : floats(carve, rows * C);
        layer->normed_half = halves(t, carve, rows * C);
        layer->y_half = halves(t, carve, rows * C);
        layer->log_total = t->config->attention == MODEL_ATTENTION_SOFTMAX
                               ? floats(carve, rows * t->config->H)
                               : NULL;
    }
    t->losses = floats(carve, tape_losses(&t->in));
    t->scores = floats(carve, N);
    t->ds = floats(carve, N);
    t->discount = floats(carve, N);
    t->scalars = floats(carve, N * t->in.F);
    if (!crosses(t))
        return;
    t->head_z = floats(carve, N * Z);
    t->now[0] = t->head_z;
    t->now_half[0] = halves(t, carve, N * Z);
    for (int32_t l = 0; l < t->config->crosses; l++) {
        t->now[l + 1] = floats(carve, N * Z);
        t->now_half[l + 1] = halves(t, carve, N * Z);
        t->low[l] = t->bf16 ? NULL : floats(carve, N * t->config->R);
        t->low_half[l] = halves(t, carve, N * t->config->R);
        t->wide[l] = floats(carve, N * Z);
    }
    t->hidden = floats(carve, N * W);
    t->hidden_slope = floats(carve, N * W);
}

static void carve_backward(struct tape *t, struct carve *carve)
{
    const struct lesson *in = &t->in;
    int64_t rows = rows_of(t), C = t->config->C, N = in->N, Z = crosses(t) ? t->Z : 0;
    int64_t negatives = (int64_t)in->S * in->K, uses = rows + in->k + negatives;
    int64_t bias_rows = cuda_attention_bias_rows(in->tiles_count, BIAS_BLOCKS, t->config->H);
    int64_t bias = t->config->P + 1 + BUCKET_COUNT;
    int64_t chunks = most(most(in->items.chunks, in->act.chunks),
                          most(most(in->gap.chunks, in->hour.chunks), in->context.chunks));

    t->d_target = floats(carve, in->k * C);
    t->units = floats(carve, in->k * C);
    t->shares = floats(carve, (int64_t)in->k * in->K);
    t->dx = floats(carve, rows * C);
    t->dy = floats(carve, rows * C);
    t->d_o = floats(carve, rows * C);
    t->dz = floats(carve, rows * 4 * C);
    t->de = floats(carve, N * C);
    t->delta = floats(carve, rows * t->config->H);
    t->bias = floats(carve, bias_rows * bias);
    t->sums = floats(carve,
                     most(most(cuda_sums_floats(rows, 4 * C), cuda_sums_floats(bias_rows, bias)),
                          cuda_sums_floats(N, most(Z, t->config->W))));
    t->d_head = floats(carve, N * Z);
    t->g = floats(carve, N * Z);
    t->t = floats(carve, N * most(Z, crosses(t) ? t->config->W : 0));
    t->d_low = t->bf16 ? NULL : floats(carve, N * (crosses(t) ? t->config->R : 0));
    t->d_low_half = halves(t, carve, N * (crosses(t) ? t->config->R : 0));
    t->d_rows = floats(carve, uses * C);
    t->chunks = floats(carve, chunks * C);
    t->slots = floats(carve, (int64_t)in->items.count * C);
    t->rounded = halves(t, carve,
                        most(most(rows * 4 * C, N * most(Z, crosses(t) ? t->config->W : 0)),
                             t->config->text > 0 ? (int64_t)in->items.count * C : 0));
    t->texts_half = halves(t, carve, (int64_t)in->items.count * t->config->text);
}

void tape_carve(struct tape *tape, struct carve *carve, bool learning)
{
    carve_forward(tape, carve);
    if (learning)
        carve_backward(tape, carve);
}

/* ---- products ---- */

/* What a product reads: floats, or in a tape of bf16 what they were rounded to. */
struct operand {
    const float *at;
    const uint16_t *half;
    int32_t pitch;
    enum blas_form form;
};

static struct operand as_it_is(const float *at, const uint16_t *half, int32_t pitch)
{
    return (struct operand){at, half, pitch, BLAS_AS_IT_IS};
}

static struct operand turned(struct operand x)
{
    x.form = BLAS_TRANSPOSED;
    return x;
}

static struct operand weights_of(const struct tape *t, const float *w, int32_t pitch)
{
    return as_it_is(w, t->bf16 ? t->block_half + (w - t->block) : NULL, pitch);
}

/* out (R, N) = x w, or += it; half, where there is one: in place of out. */
static enum status multiply(const struct tape *t, float *out, uint16_t *half, int32_t out_pitch,
                            struct operand x, struct operand w, int32_t R, int32_t K, int32_t N,
                            int add, struct error *err)
{
    if (!t->bf16)
        return blas_product_of(t->blas, out, out_pitch, (struct blas_matrix){x.at, x.pitch}, x.form,
                               (struct blas_matrix){w.at, w.pitch}, w.form, R, K, N, add, err);
    return blas_product_half_of(t->blas, half == NULL ? (void *)out : half, out_pitch, half != NULL,
                                (struct blas_half){x.half, x.pitch}, x.form,
                                (struct blas_half){w.half, w.pitch}, w.form, R, K, N, add, err);
}

/* x (R, N) as products read it; until the next one of bf16. */
static enum status round_rows(const struct tape *t, struct operand *out, const float *x, int64_t R,
                              int32_t N, struct error *err)
{
    *out = as_it_is(x, t->rounded, N);
    return t->bf16 ? cuda_half(t->stream, t->rounded, x, R * N, err) : OK;
}

/* ---- layers ---- */

static enum status copy(const struct tape *t, float *to, const float *from, int64_t count,
                        struct error *err)
{
    CUDA_TRY(err, cudaMemcpyAsync(to, from, (size_t)count * sizeof(float), cudaMemcpyDeviceToDevice,
                                  t->stream));
    return OK;
}

static enum status zero(const struct tape *t, float *at, int64_t count, struct error *err)
{
    CUDA_TRY(err, cudaMemsetAsync(at, 0, (size_t)count * sizeof(float), t->stream));
    return OK;
}

static struct cuda_attention attention_of(const struct tape *t, int32_t l)
{
    return (struct cuda_attention){
        .form = t->config->attention == MODEL_ATTENTION_SILU ? CUDA_ATTENTION_SILU
                                                             : CUDA_ATTENTION_SOFTMAX,
        .T = t->in.T,
        .C = t->config->C,
        .H = t->config->H,
        .r_pos = t->weights->layers[l].r_pos,
        .r_time = t->weights->layers[l].r_time,
        .history_start = t->in.history_start,
        .time_ms = t->in.time_ms,
        .request_time_ms = t->in.request_time_ms,
        .log_total = t->layers[l].log_total,
    };
}

/* The gate's norm takes over silu attention's division by P (kernels/gate.h). */
static float gate_epsilon(const struct model_config *config)
{
    float P = (float)config->P;

    return config->attention == MODEL_ATTENTION_SILU ? NETWORK_EPSILON * P * P : NETWORK_EPSILON;
}

#define TOKENS (-1) /* the rows in front of the first layer */

/* rows (T + N, C) *= the mask of the tokens, or of a layer's gated output. */
static enum status drop(const struct tape *t, float *rows, int32_t l, struct error *err)
{
    if (!drops(t))
        return OK;
    return cuda_dropout(t->stream, rows, t->in.dropped, (int32_t)rows_of(t), t->config->C,
                        t->dropout, l == TOKENS ? 0 : dropout_layer_seed(0, l),
                        l == t->config->L - 1, err);
}

/* y = gate of o, dropped; of bf16, y itself is written only where it is still to be dropped. */
static enum status gate_forward(const struct tape *t, int32_t l, struct error *err)
{
    const struct tape_layer *own = &t->layers[l];
    int32_t C = t->config->C, R = (int32_t)rows_of(t);
    enum status status = cuda_gate_tape(t->stream, own->y, drops(t) ? NULL : own->y_half,
                                        own->gated, own->rstd_o, own->o, own->z, 4 * C, R, C,
                                        gate_epsilon(t->config), err);

    THEN(status, drop(t, own->y, l, err));
    if (t->bf16 && drops(t))
        THEN(status, cuda_half(t->stream, own->y_half, own->y, (int64_t)R * C, err));
    return status;
}

static enum status layer_forward(const struct tape *t, int32_t l, struct error *err)
{
    const struct network_layer *w = &t->weights->layers[l];
    const struct tape_layer *own = &t->layers[l];
    int32_t C = t->config->C, R = (int32_t)rows_of(t);
    struct operand normed = as_it_is(own->normed, own->normed_half, C);
    struct operand y = as_it_is(own->y, own->y_half, C);
    enum status status = cuda_norm_tape(t->stream, own->normed, own->normed_half, own->rstd,
                                        t->x[l], R, C, NETWORK_EPSILON, err);

    THEN(status, multiply(t, own->z, NULL, 4 * C, normed, weights_of(t, w->w1, 4 * C), R, C, 4 * C,
                          0, err));
    THEN(status, cuda_silu_tape(t->stream, own->z, own->slope, 4 * C, w->b1, R, 4 * C, err));
    THEN(status, cuda_attention(t->stream, own->o, own->z, attention_of(t, l), t->in.tiles,
                                t->in.tiles_count, err));
    THEN(status, gate_forward(t, l, err));
    THEN(status, copy(t, t->x[l + 1], t->x[l], (int64_t)R * C, err));
    THEN(status, multiply(t, t->x[l + 1], NULL, C, y, weights_of(t, w->w2, C), R, C, C, 1, err));
    THEN(status, cuda_after(t->stream, t->x[l + 1], C, w->b2, R, C, CUDA_AFTER_BIAS, err));
    return status;
}

/* ---- head ---- */

static const float *candidates_of(const struct tape *t)
{
    return t->x[t->config->L] + (int64_t)t->in.T * t->config->C;
}

static enum status cross_forward(const struct tape *t, int32_t l, struct error *err)
{
    int32_t N = t->in.N, Z = t->Z, R = t->config->R;
    enum status status = multiply(t, t->low[l], t->low_half[l], R,
                                  as_it_is(t->now[l], t->now_half[l], Z),
                                  weights_of(t, t->weights->down[l], R), N, Z, R, 0, err);

    THEN(status, multiply(t, t->wide[l], NULL, Z, as_it_is(t->low[l], t->low_half[l], R),
                          weights_of(t, t->weights->up[l], Z), N, R, Z, 0, err));
    THEN(status, copy(t, t->now[l + 1], t->now[l], (int64_t)N * Z, err));
    THEN(status, cuda_head_cross(t->stream, t->now[l + 1], t->now_half[l + 1], t->head_z,
                                 t->wide[l], t->weights->up_b[l], N, Z, err));
    return status;
}

static enum status head_forward(const struct tape *t, struct error *err)
{
    const struct network_tensors *w = t->weights;
    int32_t N = t->in.N, C = t->config->C, F = t->in.F, Z = t->Z, W = t->config->W;
    enum status status;

    if (!crosses(t))
        return cuda_head_dot(t->stream, t->scores, candidates_of(t), t->e, t->in.scalars, w->mean,
                             w->scale, w->w_f, w->b_f, N, C, F, err);
    status = cuda_head_inputs(t->stream, t->head_z, t->now_half[0], candidates_of(t), t->e,
                              t->in.scalars, w->mean, w->scale, N, C, F, Z, err);
    for (int32_t l = 0; l < t->config->crosses; l++)
        THEN(status, cross_forward(t, l, err));
    THEN(status, multiply(t, t->hidden, NULL, W, as_it_is(t->head_z, t->now_half[0], Z),
                          weights_of(t, w->mlp, W), N, Z, W, 0, err));
    THEN(status, cuda_head_scores(t->stream, t->scores, t->head_z, t->now[t->config->crosses],
                                  t->hidden, w->mlp_b, w->head_w, w->head_b, N, Z, W, err));
    return status;
}

/* ---- losses ---- */

static float share(float weight, int64_t count)
{
    return count > 0 ? (float)((double)weight / (double)count) : 0;
}

static enum status list_losses(const struct tape *t, struct error *err)
{
    const struct trainer_objective *o = t->objective;
    const struct lesson *in = &t->in;
    const struct {
        float weight;
        int64_t count;
        enum cuda_loss kind;
    } terms[] = {
        {o->point, t->counts->rows, CUDA_LOSS_POINT},
        {o->pair, t->counts->pairs,
         o->pair_form == TRAINER_PAIR_HINGE ? CUDA_LOSS_HINGE : CUDA_LOSS_LOGISTIC},
        {o->list, t->counts->lists,
         o->list_form == TRAINER_LIST_LAMBDA ? CUDA_LOSS_LAMBDA : CUDA_LOSS_SOFTMAX},
        {o->distil, in->teacher == NULL ? 0 : t->counts->teachers, CUDA_LOSS_DISTIL},
    };
    struct cuda_lists lists = {in->B,      in->candidate_start, t->scores,   in->label,
                               in->weight, in->teacher,         o->loss_clip};
    enum status status = cuda_position_add(t->stream, t->scores, t->weights->position, in->position,
                                           in->N, err);

    for (int i = 0; i < 4; i++)
        if (terms[i].weight > 0 && terms[i].count > 0)
            THEN(status,
                 cuda_loss(t->stream, terms[i].kind, t->losses + (int64_t)i * in->B, t->ds, lists,
                           share(terms[i].weight, terms[i].count), t->discount, err));
    return status;
}

static struct cuda_next next_of(const struct tape *t)
{
    const struct lesson *in = &t->in;

    return (struct cuda_next){.k = in->k,
                              .S = in->S,
                              .K = in->K,
                              .C = t->config->C,
                              .inverse_tau = 1 / t->config->tau,
                              .scale = share(t->objective->next, t->counts->targets),
                              .emb = t->emb,
                              .x = t->x[t->config->L],
                              .row = in->next_row,
                              .target = in->next_target,
                              .set = in->next_set,
                              .set_start = in->set_start,
                              .negatives = in->negatives,
                              .target_bias = in->target_bias,
                              .negatives_bias = in->negatives_bias};
}

enum status tape_forward(const struct tape *t, bool learning, struct error *err)
{
    const struct network_tensors *w = t->weights;
    const struct lesson *in = &t->in;
    struct cuda_tables tables = {t->config->C, t->config->V, t->config->A, t->emb,
                                 w->act,       w->gap,       w->hour,      w->context};
    struct cuda_tokens tokens = {in->T,           in->N,        in->rows.item,
                                 in->rows.action, in->rows.gap, in->rows.hour};
    enum status status = cuda_embed(t->stream, t->x[0], t->e, tables, tokens, err);

    THEN(status, drop(t, t->x[0], TOKENS, err));
    for (int32_t l = 0; l < t->config->L; l++)
        THEN(status, layer_forward(t, l, err));
    THEN(status, zero(t, t->losses, tape_losses(in), err));
    THEN(status, zero(t, t->ds, in->N, err));
    if (learning)
        THEN(status, zero(t, t->dx, rows_of(t) * t->config->C, err));
    if (in->N > 0) {
        THEN(status, head_forward(t, err));
        THEN(status, list_losses(t, err));
    }
    THEN(status, cuda_next_loss(t->stream, t->losses + 4 * (int64_t)in->B, learning ? t->dx : NULL,
                                t->d_target, t->units, t->shares, next_of(t), err));
    return status;
}

/* ---- back: head ---- */

/* out (1, N) = a (K) . b (K, N): a weighted sum of rows. Of floats always: it reads b once, so
 * that rounding b first would only cost. */
static enum status weighted_rows(const struct tape *t, float *out, const float *a, const float *b,
                                 int32_t K, int32_t N, struct error *err)
{
    struct blas_matrix x = {a, 1}, w = {b, N};

    return blas_product_of(t->blas, out, N, x, BLAS_TRANSPOSED, w, BLAS_AS_IT_IS, 1, K, N, 0, err);
}

/* out (K, N) = a^T b for a (R, K), b (R, N). */
static enum status weights_gradient(const struct tape *t, float *out, struct operand a,
                                    struct operand b, int32_t R, struct error *err)
{
    return multiply(t, out, NULL, b.pitch, turned(a), b, a.pitch, R, b.pitch, 0, err);
}

/* out (R, K) = g w^T for g (R, N), w (K, N); or += it. */
static enum status inputs_gradient(const struct tape *t, float *out, struct operand g,
                                   const float *w, int32_t K, int32_t R, int add, struct error *err)
{
    return multiply(t, out, NULL, K, g, turned(weights_of(t, w, g.pitch)), R, g.pitch, K, add, err);
}

/* x (R, N) *= slope, and that as products read it. */
static enum status slope_rows(const struct tape *t, struct operand *out, float *x,
                              const float *slope, int64_t R, int32_t N, struct error *err)
{
    *out = as_it_is(x, t->rounded, N);
    if (t->bf16)
        return cuda_multiply_half(t->stream, t->rounded, x, slope, R * N, err);
    return cuda_multiply(t->stream, x, slope, R * N, err);
}

static enum status sums(const struct tape *t, float *out, const float *x, int32_t pitch, int64_t R,
                        int32_t N, struct error *err)
{
    return cuda_column_sums(t->stream, out, x, pitch, (int32_t)R, N, t->sums, err);
}

static enum status cross_backward(const struct tape *t, const struct network_tensors *gradient,
                                  int32_t l, struct error *err)
{
    const struct network_tensors *w = t->weights;
    int32_t N = t->in.N, Z = t->Z, R = t->config->R;
    struct operand now = as_it_is(t->now[l], t->now_half[l], Z);
    struct operand low = as_it_is(t->low[l], t->low_half[l], R);
    struct operand d_low = as_it_is(t->d_low, t->d_low_half, R), d_wide;
    enum status status = cuda_head_cross_backward(t->stream, t->d_head, t->t, t->g, t->head_z,
                                                  t->wide[l], w->up_b[l], N, Z, err);

    THEN(status, sums(t, gradient->up_b[l], t->t, Z, N, Z, err));
    THEN(status, round_rows(t, &d_wide, t->t, N, Z, err));
    THEN(status, weights_gradient(t, gradient->up[l], low, d_wide, N, err));
    THEN(status, multiply(t, t->d_low, t->d_low_half, R, d_wide, turned(weights_of(t, w->up[l], Z)),
                          N, Z, R, 0, err));
    THEN(status, weights_gradient(t, gradient->down[l], now, d_low, N, err));
    THEN(status, inputs_gradient(t, t->g, d_low, w->down[l], Z, N, 1, err));
    return status;
}

/* The MLP's part: w's last W, its matrix, and dz. t->t holds SiLU first, then its gradient. */
static enum status mlp_backward(const struct tape *t, const struct network_tensors *gradient,
                                struct error *err)
{
    const struct network_tensors *w = t->weights;
    int32_t N = t->in.N, Z = t->Z, W = t->config->W;
    struct operand z = as_it_is(t->head_z, t->now_half[0], Z), d_hidden;
    enum status status = copy(t, t->t, t->hidden, (int64_t)N * W, err);

    THEN(status, cuda_silu_tape(t->stream, t->t, t->hidden_slope, W, w->mlp_b, N, W, err));
    THEN(status, weighted_rows(t, gradient->head_w + 2 * (int64_t)Z, t->ds, t->t, N, W, err));
    THEN(status, cuda_head_outer(t->stream, t->t, t->ds, w->head_w + 2 * (int64_t)Z, N, W, err));
    THEN(status, slope_rows(t, &d_hidden, t->t, t->hidden_slope, N, W, err));
    THEN(status, sums(t, gradient->mlp_b, t->t, W, N, W, err));
    THEN(status, weights_gradient(t, gradient->mlp, z, d_hidden, N, err));
    THEN(status, inputs_gradient(t, t->d_head, d_hidden, w->mlp, Z, N, 1, err));
    return status;
}

static enum status cross_head_backward(const struct tape *t, float *dx,
                                       const struct network_tensors *gradient, struct error *err)
{
    const struct network_tensors *w = t->weights;
    int32_t N = t->in.N, Z = t->Z, L = t->config->crosses;
    enum status status = cuda_head_outer(t->stream, t->d_head, t->ds, w->head_w, N, Z, err);

    THEN(status, cuda_head_outer(t->stream, t->g, t->ds, w->head_w + Z, N, Z, err));
    THEN(status, weighted_rows(t, gradient->head_w, t->ds, t->head_z, N, Z, err));
    THEN(status, weighted_rows(t, gradient->head_w + Z, t->ds, t->now[L], N, Z, err));
    THEN(status, sums(t, gradient->head_b, t->ds, 1, N, 1, err));
    THEN(status, mlp_backward(t, gradient, err));
    for (int32_t l = L - 1; l >= 0; l--)
        THEN(status, cross_backward(t, gradient, l, err));
    THEN(status, cuda_add(t->stream, t->d_head, t->g, (int64_t)N * Z, err)); /* x_0 is z itself */
    THEN(status, cuda_head_inputs_backward(t->stream, dx, t->de, t->d_head, candidates_of(t), t->e,
                                           N, t->config->C, Z, err));
    return status;
}

static enum status dot_head_backward(const struct tape *t, float *dx,
                                     const struct network_tensors *gradient, struct error *err)
{
    const struct network_tensors *w = t->weights;
    int32_t N = t->in.N, C = t->config->C, F = t->in.F;
    enum status status = cuda_head_dot_backward(t->stream, dx, t->de, t->ds, candidates_of(t), t->e,
                                                N, C, err);

    THEN(status, sums(t, gradient->b_f, t->ds, 1, N, 1, err));
    if (F == 0)
        return status;
    THEN(status,
         cuda_head_scalars(t->stream, t->scalars, t->in.scalars, w->mean, w->scale, N, F, err));
    THEN(status, weighted_rows(t, gradient->w_f, t->ds, t->scalars, N, F, err));
    return status;
}

/* ---- back: layers ---- */

static enum status attention_backward(const struct tape *t, int32_t l,
                                      const struct network_layer *gradient, struct error *err)
{
    const struct tape_layer *own = &t->layers[l];
    int32_t P = t->config->P, pitch = P + 1 + BUCKET_COUNT;
    int64_t rows = cuda_attention_bias_rows(t->in.tiles_count, BIAS_BLOCKS, t->config->H);
    struct cuda_attention_back back = {.attention = attention_of(t, l),
                                       .P = P,
                                       .history_tiles = t->in.history_tiles,
                                       .tiles_count = t->in.tiles_count,
                                       .blocks = BIAS_BLOCKS,
                                       .tiles = t->in.tiles,
                                       .candidate_start = t->in.candidate_start,
                                       .z = own->z,
                                       .o = own->o,
                                       .d_o = t->d_o,
                                       .dz = t->dz,
                                       .bias = t->bias,
                                       .delta = t->delta};
    enum status status = cuda_attention_backward(t->stream, back, t->in.T, t->in.N, err);

    THEN(status, sums(t, gradient->r_pos, t->bias, pitch, rows, P + 1, err));
    THEN(status, sums(t, gradient->r_time, t->bias + P + 1, pitch, rows, BUCKET_COUNT, err));
    return status;
}

/* dx: in, the gradient behind the layer; out, in front of it. */
static enum status layer_backward(const struct tape *t, int32_t l,
                                  const struct network_layer *gradient, struct error *err)
{
    const struct network_layer *w = &t->weights->layers[l];
    const struct tape_layer *own = &t->layers[l];
    int32_t C = t->config->C, R = (int32_t)rows_of(t);
    struct operand normed = as_it_is(own->normed, own->normed_half, C);
    struct operand y = as_it_is(own->y, own->y_half, C), dx, dz;
    enum status status = round_rows(t, &dx, t->dx, R, C, err);

    THEN(status, weights_gradient(t, gradient->w2, y, dx, R, err));
    THEN(status, sums(t, gradient->b2, t->dx, C, R, C, err));
    THEN(status, inputs_gradient(t, t->dy, dx, w->w2, C, R, 0, err));
    THEN(status, drop(t, t->dy, l, err));
    THEN(status, cuda_gate_backward(t->stream, t->dz, t->d_o, t->dy, own->gated, own->rstd_o,
                                    own->z, 4 * C, R, C, err));
    THEN(status, attention_backward(t, l, gradient, err));
    THEN(status, slope_rows(t, &dz, t->dz, own->slope, R, 4 * C, err));
    THEN(status, weights_gradient(t, gradient->w1, normed, dz, R, err));
    THEN(status, sums(t, gradient->b1, t->dz, 4 * C, R, 4 * C, err));
    THEN(status, inputs_gradient(t, t->dy, dz, w->w1, C, R, 0, err));
    THEN(status, cuda_norm_backward(t->stream, t->dx, t->dy, own->normed, own->rstd, R, C, err));
    return status;
}

/* ---- back: tables ---- */

/* Each touched item row's gradient goes through its text. */
static enum status text_backward(const struct tape *t, float *out, struct error *err)
{
    int32_t width = t->config->text, count = t->in.items.count;
    struct operand texts = as_it_is(t->in.texts, t->texts_half, width), slots;
    enum status status = round_rows(t, &slots, t->slots, count, t->config->C, err);

    if (t->bf16)
        THEN(status, cuda_half(t->stream, t->texts_half, t->in.texts, (int64_t)count * width, err));
    THEN(status, weights_gradient(t, out, texts, slots, count, err));
    return status;
}

static enum status table_gradient(const struct tape *t, float *out, const float *rows,
                                  const struct lesson_segments *s, struct error *err)
{
    int32_t C = t->config->C;
    enum status status = cuda_segments(t->stream, t->chunks, rows, s->order, s->chunk, s->chunks, C,
                                       err);

    THEN(status, cuda_segments(t->stream, out, t->chunks, NULL, s->segment, s->count, C, err));
    return status;
}

static enum status tables_backward(const struct tape *t, const struct network_tensors *gradient,
                                   struct error *err)
{
    const struct lesson *in = &t->in;
    int64_t C = t->config->C, rows = rows_of(t);
    float *targets = t->d_rows + rows * C, *negatives = targets + in->k * C;
    enum status status = cuda_embed_backward(t->stream, t->d_rows, t->dx, t->de, in->T, in->N,
                                             t->config->C, err);

    THEN(status, copy(t, targets, t->d_target, in->k * C, err));
    THEN(status, cuda_next_negatives(t->stream, negatives, t->units, t->shares, next_of(t), err));
    THEN(status, table_gradient(t, t->slots, t->d_rows, &in->items, err));
    THEN(status, table_gradient(t, gradient->act, t->dx, &in->act, err));
    THEN(status, table_gradient(t, gradient->gap, t->dx, &in->gap, err));
    THEN(status, table_gradient(t, gradient->hour, t->dx, &in->hour, err));
    if (t->config->contexts > 0)
        THEN(status, table_gradient(t, gradient->context, t->dx, &in->context, err));
    if (t->config->text > 0)
        THEN(status, text_backward(t, gradient->text_w, err));
    return status;
}

enum status tape_backward(const struct tape *t, const struct network_tensors *gradient,
                          struct error *err)
{
    float *dx = t->dx + (int64_t)t->in.T * t->config->C;
    enum status status = OK;

    if (t->in.N > 0) {
        status = cuda_position_backward(t->stream, gradient->position, t->ds, t->in.position,
                                        t->in.N, BATCH_POSITION_MAX + 1, err);
        THEN(status, crosses(t) ? cross_head_backward(t, dx, gradient, err)
                                : dot_head_backward(t, dx, gradient, err));
    }
    for (int32_t l = t->config->L - 1; l >= 0; l--)
        THEN(status, layer_backward(t, l, &gradient->layers[l], err));
    THEN(status, drop(t, t->dx, TOKENS, err));
    THEN(status, tables_backward(t, gradient, err));
    return status;
}
