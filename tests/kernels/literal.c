/* tests/kernels/literal.c - see literal.h; slow on purpose. */
#include "tests/kernels/literal.h"

#include "ops/random.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EPSILON 1e-6
#define ROWS    256
#define WIDE    256
#define ITEMS   64

void literal_from_model(struct literal *literal, struct model *model)
{
    literal->config = *model_config(model);
    literal->count = model_tensors_count(model);
    assert(literal->count <= 128);
    for (int32_t i = 0; i < literal->count; i++) {
        struct model_tensor tensor = model_tensor(model, i);

        memcpy(literal->names[i], tensor.name, sizeof tensor.name);
        literal->sizes[i] = tensor.count;
        literal->values[i] = malloc(tensor.count * sizeof(double));
        for (size_t k = 0; k < tensor.count; k++)
            literal->values[i][k] = (double)tensor.data[k];
    }
}

void literal_clear(struct literal *literal)
{
    for (int32_t i = 0; i < literal->count; i++)
        free(literal->values[i]);
    *literal = (struct literal){0};
}

double *literal_tensor(const struct literal *literal, const char *name)
{
    for (int32_t i = 0; i < literal->count; i++)
        if (strcmp(literal->names[i], name) == 0)
            return literal->values[i];
    assert(!"no such tensor");
    return NULL;
}

static double *layer_tensor(const struct literal *literal, int32_t l, const char *name)
{
    char full[MODEL_NAME_BYTES];

    (void)snprintf(full, sizeof full, "layers.%d.%s", (int)l, name);
    return literal_tensor(literal, full);
}

static int bucket(int64_t delta_ms)
{
    int64_t seconds = delta_ms <= 0 ? 0 : delta_ms / 1000;
    int bits = 0;

    for (; seconds > 0; seconds /= 2)
        bits++;
    return bits > 31 ? 31 : bits;
}

static double silu(double x)
{
    return x / (1 + exp(-x));
}

static void norm(double *y, const double *x, int32_t C)
{
    double mean = 0, square = 0;

    for (int32_t c = 0; c < C; c++)
        mean += x[c] / C;
    for (int32_t c = 0; c < C; c++)
        square += (x[c] - mean) * (x[c] - mean) / C;
    for (int32_t c = 0; c < C; c++)
        y[c] = (x[c] - mean) / sqrt(square + EPSILON);
}

/* One request: rows 0..k-1 are context, ..n-1 history, n..n+m-1 candidates. */
struct one {
    const struct literal *w;
    const double *r_pos, *r_time; /* of the layer at hand */
    const struct batch *batch;
    int32_t b, k, n, m, token, candidate;
    double emb[ITEMS * WIDE]; /* (V, C) */
    double x[ROWS][WIDE];
};

/* Rows of items: their own and their text, projected. */
static void blend(const struct literal *w, double *emb)
{
    int32_t V = w->config.V, C = w->config.C, width = w->config.text;
    const double *text = width > 0 ? literal_tensor(w, "text") : NULL;
    const double *text_w = width > 0 ? literal_tensor(w, "text.w") : NULL;

    assert(V <= ITEMS && C <= WIDE);
    memcpy(emb, literal_tensor(w, "emb"), (size_t)V * (size_t)C * sizeof *emb);
    for (int32_t v = 0; v < V; v++)
        for (int32_t t = 0; t < width; t++)
            for (int32_t c = 0; c < C; c++)
                emb[v * C + c] += text[v * width + t] * text_w[t * C + c];
}

static int64_t time_of(const struct one *one, int32_t row)
{
    return row < one->n ? one->batch->time_ms[one->token + row - one->k]
                        : one->batch->request_time_ms[one->b];
}

static int32_t item_of(const struct one *one, int32_t row)
{
    int32_t item = row < one->n ? one->batch->item[one->token + row - one->k]
                                : one->batch->candidate_item[one->candidate + row - one->n];

    return item < 0 || item >= one->w->config.V ? 0 : item;
}

const double *literal_items(const struct literal *literal)
{
    static double emb[ITEMS * WIDE];

    blend(literal, emb);
    return emb;
}

static void embed_context(struct one *one)
{
    int32_t C = one->w->config.C;

    for (int32_t i = 0; i < one->k; i++) {
        int32_t code = one->batch->context[one->b * BATCH_CONTEXTS + i];

        if (code < 0 || code >= BATCH_CONTEXT_CODES)
            code = 0;
        for (int32_t c = 0; c < C; c++)
            one->x[i][c] = literal_tensor(one->w,
                                          "context")[(i * BATCH_CONTEXT_CODES + code) * C + c];
    }
}

static void embed(struct one *one)
{
    int32_t C = one->w->config.C;
    const double *act = literal_tensor(one->w, "act");
    const double *gap = literal_tensor(one->w, "gap"), *hour = literal_tensor(one->w, "hour");

    embed_context(one);
    for (int32_t i = one->k; i < one->n + one->m; i++) {
        int32_t before = (i < one->n ? i : one->n) - 1;
        int32_t action = i < one->n ? one->batch->action[one->token + i - one->k] : 0;
        int g = before < one->k ? 32 : bucket(time_of(one, i) - time_of(one, before));
        int h = (int)((time_of(one, i) / 3600000) % 168);

        for (int32_t c = 0; c < C; c++)
            one->x[i][c] = sqrt(C) * one->emb[item_of(one, i) * C + c] + act[action * C + c] +
                           gap[g * C + c] + hour[h * C + c];
    }
}

/* Weight of row j for row i before any normalisation, or -INFINITY where it is not seen. */
static double score(const struct one *one, double (*z)[4 * WIDE], int32_t h, int32_t i, int32_t j)
{
    int32_t C = one->w->config.C, D = C / one->w->config.H, n = one->n;
    int32_t place_i = i < n ? i : n, place_j = j < n ? j : n;
    double sum = 0;

    if (j < n ? j > i : j != i)
        return -INFINITY;
    for (int32_t d = 0; d < D; d++)
        sum += z[i][2 * C + h * D + d] * z[j][3 * C + h * D + d];
    return sum / sqrt(D) + one->r_pos[place_i - place_j] +
           one->r_time[i < one->k || j < one->k ? 0 : bucket(time_of(one, i) - time_of(one, j))];
}

static void attend(const struct one *one, double (*z)[4 * WIDE], double (*o)[WIDE])
{
    const struct model_config *config = &one->w->config;
    int32_t rows = one->n + one->m, C = config->C, D = C / config->H;

    for (int32_t i = 0; i < rows; i++) {
        for (int32_t h = 0; h < config->H; h++) {
            double weights[ROWS], total = 0;

            for (int32_t j = 0; j < rows; j++) {
                double s = score(one, z, h, i, j);

                weights[j] = s == -INFINITY                              ? 0
                             : config->attention == MODEL_ATTENTION_SILU ? silu(s) / config->P
                                                                         : exp(s);
                total += weights[j];
            }
            for (int32_t d = 0; d < D; d++) {
                double sum = 0;

                for (int32_t j = 0; j < rows; j++)
                    sum += weights[j] * z[j][C + h * D + d];
                o[i][h * D + d] = config->attention == MODEL_ATTENTION_SILU ? sum : sum / total;
            }
        }
    }
}

static void layer(struct one *one, int32_t l)
{
    static double z[ROWS][4 * WIDE], o[ROWS][WIDE];
    int32_t C = one->w->config.C, rows = one->n + one->m;
    const double *w1 = layer_tensor(one->w, l, "w1"), *b1 = layer_tensor(one->w, l, "b1");
    const double *w2 = layer_tensor(one->w, l, "w2"), *b2 = layer_tensor(one->w, l, "b2");

    for (int32_t i = 0; i < rows; i++) {
        double normed[WIDE];

        norm(normed, one->x[i], C);
        for (int32_t k = 0; k < 4 * C; k++) {
            double sum = b1[k];

            for (int32_t c = 0; c < C; c++)
                sum += normed[c] * w1[c * 4 * C + k];
            z[i][k] = silu(sum);
        }
    }
    one->r_pos = layer_tensor(one->w, l, "r_pos");
    one->r_time = layer_tensor(one->w, l, "r_time");
    attend(one, z, o);
    for (int32_t i = 0; i < rows; i++) {
        double normed[WIDE];

        norm(normed, o[i], C);
        for (int32_t k = 0; k < C; k++) {
            double sum = b2[k];

            for (int32_t c = 0; c < C; c++)
                sum += z[i][c] * normed[c] * w2[c * C + k];
            one->x[i][k] += sum;
        }
    }
}

static double cross_head(const struct one *one, const double *x, const double *e, const double *f)
{
    const struct literal *w = one->w;
    int32_t C = w->config.C, F = w->config.F, R = w->config.R, W = w->config.W;
    int32_t Z = (2 * C + F + 15) / 16 * 16;
    const double *head = literal_tensor(w, "head.w"), *mlp = literal_tensor(w, "mlp.w");
    const double *down, *up, *bias;
    double z[WIDE] = {0}, now[WIDE], next[WIDE], low[WIDE], s = literal_tensor(w, "head.b")[0];

    for (int32_t c = 0; c < C; c++) {
        z[c] = x[c];
        z[C + c] = x[c] * e[c];
    }
    for (int32_t i = 0; i < F; i++)
        z[2 * C + i] = f[i];
    memcpy(now, z, sizeof z);
    for (int32_t l = 0; l < w->config.crosses; l++) {
        char name[3][MODEL_NAME_BYTES];

        (void)snprintf(name[0], sizeof name[0], "cross.%d.down", (int)l);
        (void)snprintf(name[1], sizeof name[1], "cross.%d.up", (int)l);
        (void)snprintf(name[2], sizeof name[2], "cross.%d.bias", (int)l);
        down = literal_tensor(w, name[0]);
        up = literal_tensor(w, name[1]);
        bias = literal_tensor(w, name[2]);
        for (int32_t r = 0; r < R; r++) {
            low[r] = 0;
            for (int32_t k = 0; k < Z; k++)
                low[r] += now[k] * down[k * R + r];
        }
        for (int32_t i = 0; i < Z; i++) {
            double sum = bias[i];

            for (int32_t r = 0; r < R; r++)
                sum += low[r] * up[r * Z + i];
            next[i] = z[i] * sum + now[i];
        }
        memcpy(now, next, sizeof now);
    }
    for (int32_t i = 0; i < Z; i++)
        s += head[i] * z[i] + head[Z + i] * now[i];
    for (int32_t k = 0; k < W; k++) {
        double sum = literal_tensor(w, "mlp.b")[k];

        for (int32_t i = 0; i < Z; i++)
            sum += z[i] * mlp[i * W + k];
        s += head[2 * Z + k] * silu(sum);
    }
    return s;
}

static double score_of(const struct one *one, int32_t i)
{
    const struct literal *w = one->w;
    int32_t C = w->config.C, F = w->config.F;
    const double *x = one->x[one->n + i];
    double f[BATCH_SCALARS_MAX], e[WIDE], s;

    for (int32_t k = 0; k < F; k++)
        f[k] = ((double)one->batch->scalars[(one->candidate + i) * F + k] -
                literal_tensor(w, "scalars.mean")[k]) *
               literal_tensor(w, "scalars.scale")[k];
    for (int32_t c = 0; c < C; c++)
        e[c] = sqrt(C) * one->emb[item_of(one, one->n + i) * C + c];
    if (w->config.head == MODEL_HEAD_CROSS)
        return cross_head(one, x, e, f);
    s = literal_tensor(w, "b_f")[0];
    for (int32_t c = 0; c < C; c++)
        s += x[c] * e[c] / sqrt(C);
    for (int32_t k = 0; k < F; k++)
        s += f[k] * literal_tensor(w, "w_f")[k];
    return s;
}

void literal_forward(const struct literal *literal, const struct batch *batch, double *scores,
                     double *states)
{
    static struct one one;
    int32_t C = literal->config.C;

    blend(literal, one.emb);
    for (int32_t b = 0; b < batch->B; b++) {
        one.w = literal;
        one.batch = batch;
        one.b = b;
        one.token = batch->history_start[b];
        one.candidate = batch->candidate_start[b];
        one.k = literal->config.contexts;
        one.n = one.k + batch->history_start[b + 1] - one.token;
        one.m = batch->candidate_start[b + 1] - one.candidate;
        assert(one.n + one.m <= ROWS && 2 * C + literal->config.F <= WIDE);
        embed(&one);
        for (int32_t l = 0; l < literal->config.L; l++)
            layer(&one, l);
        for (int32_t i = 0; i < one.m; i++)
            scores[one.candidate + i] = score_of(&one, i);
        for (int32_t i = one.k; states != NULL && i < one.n; i++)
            memcpy(states + (size_t)(one.token + i - one.k) * (size_t)C, one.x[i],
                   (size_t)C * sizeof(double));
    }
}

static double cosine(const double *x, const double *y, int32_t C)
{
    double xy = 0, xx = 1e-12, yy = 1e-12;

    for (int32_t c = 0; c < C; c++) {
        xy += x[c] * y[c];
        xx += x[c] * x[c];
        yy += y[c] * y[c];
    }
    return xy / sqrt(xx * yy);
}

/* Mean over the targets; negatives drawn as kernels/trainer_lane.c says. */
static double next_loss(const struct literal *w, const struct batch *batch, const double *states,
                        const struct trainer_objective *o, uint64_t seed)
{
    int32_t C = w->config.C, targets = 0;
    static double emb[ITEMS * WIDE];
    double sum = 0;

    blend(w, emb);
    for (int32_t b = 0; b < batch->B; b++) {
        int32_t drawn[TRAINER_NEGATIVES_MAX], in_block = 0;
        struct random random;

        random_seed(&random, o->negatives_block == 0
                                 ? seed
                                 : seed ^ ((uint64_t)b + 1) * 0x9e3779b97f4a7c15u);
        for (int32_t j = batch->history_start[b]; j < batch->history_start[b + 1]; j++) {
            int32_t y = batch->next_item[j];
            double own, total = 1;

            if (y <= 0 || y >= w->config.V)
                continue;
            if (in_block == 0)
                for (int32_t k = 0; k < o->negatives; k++)
                    drawn[k] = 1 + (int32_t)random_below(&random, (uint64_t)w->config.V - 1);
            in_block = o->negatives_block == 0 ? 1 : (in_block + 1) % o->negatives_block;
            own = cosine(states + j * C, emb + y * C, C) / (double)w->config.tau;
            for (int32_t k = 0; k < o->negatives; k++)
                if (drawn[k] != y)
                    total += exp(cosine(states + j * C, emb + drawn[k] * C, C) /
                                     (double)w->config.tau -
                                 own);
            sum += log(total);
            targets++;
        }
    }
    return targets > 0 ? sum / targets : 0;
}

/* The terms of one list, each added to sums and counted: point, pair, list, distil. */
static void list_loss(const struct batch *batch, const double *s, int32_t first, int32_t m,
                      const struct trainer_objective *o, double *sums, double *counts)
{
    double exps = 0, teacher = 0, labels = 0, pairs = 0, pair = 0;

    for (int32_t i = first; i < first + m; i++) {
        double y = fmin(1, (double)batch->label[i]), w = (double)batch->weight[i];

        sums[0] += w * (log(1 + exp(s[i])) - y * s[i]);
        counts[0]++;
        exps += exp(s[i]);
        teacher += exp((double)batch->teacher[i]);
        labels += w * (double)batch->label[i];
        for (int32_t j = first; j < first + m; j++) {
            double both = w * (double)batch->weight[j], margin = s[i] - s[j];

            if (batch->label[i] <= batch->label[j])
                continue;
            pairs += both;
            pair += both * (o->pair_form == TRAINER_PAIR_HINGE ? fmax(0, 1 - margin)
                                                               : log(1 + exp(-margin)));
        }
    }
    counts[1] += pairs > 0;
    sums[1] += pairs > 0 ? pair / pairs : 0;
    counts[2] += labels > 0;
    counts[3]++;
    for (int32_t i = first; i < first + m; i++) {
        double log_p = s[i] - log(exps);

        if (labels > 0)
            sums[2] -= (double)batch->weight[i] * (double)batch->label[i] / labels * log_p;
        sums[3] -= exp((double)batch->teacher[i]) / teacher * log_p;
    }
}

double literal_loss(const struct literal *literal, const struct batch *batch,
                    const struct trainer_objective *o, uint64_t seed)
{
    double *scores = calloc((size_t)batch->N + 1, sizeof *scores);
    double *states = calloc((size_t)(batch->T + 1) * (size_t)literal->config.C, sizeof *states);
    const float weights[4] = {o->point, o->pair, o->list, o->distil};
    double sums[4] = {0}, counts[4] = {0}, total;

    literal_forward(literal, batch, scores, states);
    total = (double)o->next * next_loss(literal, batch, states, o, seed);
    for (int32_t i = 0; i < batch->N; i++) {
        int32_t position = batch->position[i] > BATCH_POSITION_MAX ? BATCH_POSITION_MAX
                                                                   : batch->position[i];

        if (position > 1)
            scores[i] += literal_tensor(literal, "position")[position];
    }
    for (int32_t b = 0; b < batch->B; b++)
        if (batch->candidate_start[b + 1] > batch->candidate_start[b])
            list_loss(batch, scores, batch->candidate_start[b],
                      batch->candidate_start[b + 1] - batch->candidate_start[b], o, sums, counts);
    for (int i = 0; i < 4; i++)
        total += counts[i] > 0 ? (double)weights[i] * sums[i] / counts[i] : 0;
    free(scores);
    free(states);
    return total;
}
