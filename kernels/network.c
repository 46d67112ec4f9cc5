/*
 * kernels/network.c - one request through the layers and back.
 *
 * In the last layer, history rows are read by candidates as K and V alone, so unless their
 * states are wanted nothing else of them is computed.
 */
#include "kernels/network.h"

#include "kernels/dropout.h"

#include <assert.h>
#include <math.h>
#include <string.h>
#include <time.h>

_Static_assert(KV_PAGE_ROWS == CPU_ROW_PAD, "rows are computed from the end of a page on");

/* Hands out aligned parts of a block; with memory NULL it only counts. */
struct carve {
    char *memory;
    size_t used;
};

static void *part(struct carve *carve, int64_t bytes)
{
    void *at = carve->memory == NULL ? NULL : carve->memory + carve->used;

    carve->used += ((size_t)bytes + 63) / 64 * 64;
    return at;
}

/* Rows are read up to CPU_ROW_PAD floats beyond the last one (kernels/linear.h). */
static float *floats(struct carve *carve, int64_t count)
{
    return part(carve, (count + CPU_ROW_PAD) * (int64_t)sizeof(float));
}

/* The tape of one layer, or the buffers that all layers share. */
static void carve_layer(struct carve *carve, struct network_pass *pass, int32_t l, int64_t rows,
                        int64_t C, bool dropout)
{
    pass->normed[l] = floats(carve, rows * C);
    pass->rstd[l] = floats(carve, rows);
    pass->z[l] = floats(carve, rows * 4 * C);
    pass->y[l] = floats(carve, rows * C);
    if (!pass->training)
        return;
    pass->slope[l] = floats(carve, rows * 4 * C);
    pass->on[l] = floats(carve, rows * C);
    pass->rstd_o[l] = floats(carve, rows);
    pass->x[l + 1] = floats(carve, rows * C);
    pass->mask_y[l] = dropout ? floats(carve, rows * C) : NULL;
}

static void carve_pass(struct carve *carve, struct network_pass *pass,
                       const struct model_config *config, int32_t Z, int32_t n, int32_t m,
                       bool dropout)
{
    int64_t C = config->C, rows;
    int32_t crosses = config->head == MODEL_HEAD_CROSS ? config->crosses : 0, candidates = m;

    pass->history = cpu_pad_rows(n);
    pass->rows = pass->history + cpu_pad_rows(m);
    rows = pass->rows;
    if (!pass->training) {
        pass->tile = cpu_pad_rows(NETWORK_TILE_FLOATS / config->C);
        candidates = m < pass->tile ? m : pass->tile;
        rows = cpu_pad_rows(candidates);
        rows = rows > pass->history ? rows : pass->history;
    }
    pass->x[0] = floats(carve, rows * C);
    pass->e = floats(carve, cpu_pad_rows(candidates) * C);
    for (int32_t l = 0; l < config->L; l++) {
        pass->packed[l] = pass->training && l > 0
                              ? pass->packed[0]
                              : floats(carve, attention_packed_floats(n, config->C));
        if (pass->training || l == 0)
            carve_layer(carve, pass, l, rows, C, dropout);
        pass->normed[l] = pass->training ? pass->normed[l] : pass->normed[0];
        pass->z[l] = pass->training ? pass->z[l] : pass->z[0];
    }
    pass->buckets = part(carve, attention_buckets_bytes(n));
    if (config->contexts > 0)
        pass->times = part(carve, (int64_t)n * (int64_t)sizeof *pass->times);
    pass->attention_scratch = floats(carve, pass->training
                                                ? attention_gradient_floats(n, m, config->C)
                                                : attention_scratch_floats(n));
    pass->head_tape = floats(
        carve, head_tape_floats(candidates, config->C, Z, config->R, config->W, crosses));
    pass->o = floats(carve, rows * C);
    if (!pass->training)
        return;
    pass->mask_x = dropout ? floats(carve, rows * C) : NULL;
    pass->dx = floats(carve, rows * C);
    pass->dy = floats(carve, rows * C);
    pass->d_o = floats(carve, rows * C);
    pass->dz = floats(carve, rows * 4 * C);
    pass->de = floats(carve, (rows - pass->history) * C);
    pass->weights_scratch = floats(carve, rows * CPU_PANEL);
}

size_t network_pass_bytes(const struct model_config *config, int32_t Z, int32_t n, int32_t m,
                          bool training, bool dropout)
{
    struct network_pass pass = {.training = training};
    struct carve carve = {0};

    carve_pass(&carve, &pass, config, Z, n, m, dropout);
    return carve.used;
}

void network_pass_begin(struct network_pass *pass, const struct network *network,
                        const struct request *request, bool training, bool states_all, bool dropout,
                        void *memory)
{
    struct carve carve = {.memory = memory};

    assert((uintptr_t)memory % 64 == 0 && memory != NULL);
    *pass = (struct network_pass){
        .network = network, .request = *request, .training = training, .states_all = states_all};
    carve_pass(&carve, pass, &network->config, network->head.Z, request->n, request->m, dropout);
}

static void make_mask(float *mask, int64_t count, float p, uint64_t seed)
{
    struct dropout how = dropout_of(p);

    for (int64_t i = 0; i < count; i++)
        mask[i] = dropout_factor(how, seed, (uint32_t)i);
}

static struct attention attention_of(const struct network_pass *pass, int32_t l)
{
    const struct model_config *config = &pass->network->config;

    return (struct attention){
        .form = config->attention == MODEL_ATTENTION_SILU ? ATTENTION_SILU : ATTENTION_SOFTMAX,
        .n = pass->request.n,
        .C = config->C,
        .H = config->H,
        .P = config->P,
        .r_pos = pass->network->weights.layers[l].r_pos,
        .r_time = pass->network->weights.layers[l].r_time,
        .buckets = pass->buckets,
        .packed = pass->packed[l],
        .scratch = pass->attention_scratch,
    };
}

/* In the last layer, history rows matter as K and V alone, unless somebody wants their states. */
static bool history_attends(const struct network_pass *pass, int32_t l)
{
    return l < pass->network->config.L - 1 || pass->states_all;
}

/* The gate's norm takes over silu attention's division by P (kernels/gate.h). */
static float gate_epsilon(const struct model_config *config)
{
    float P = (float)config->P;

    return config->attention == MODEL_ATTENTION_SILU ? NETWORK_EPSILON * P * P : NETWORK_EPSILON;
}

static struct embed tables_of(const struct network *net)
{
    return (struct embed){.C = net->config.C,
                          .V = net->config.V,
                          .A = net->config.A,
                          .emb = net->emb,
                          .act = net->weights.act,
                          .gap = net->weights.gap,
                          .hour = net->weights.hour,
                          .context = net->weights.context};
}

int64_t network_fold_floats(const struct network *network)
{
    struct embed tables = tables_of(network);

    return embed_fold_floats(&tables, network->config.contexts * BATCH_CONTEXT_CODES);
}

void network_fold(struct network *network, float *memory)
{
    struct embed tables = tables_of(network);
    const struct network_layer *first = &network->weights.layers[0];

    network->ops->embed_fold(&network->folded, &tables,
                             network->config.contexts * BATCH_CONTEXT_CODES, first->w1, first->b1,
                             memory);
}

/* Bytes of one matrix in both forms, each on lines of its own. */
static int64_t rounded_bytes(struct linear w)
{
    return ((int64_t)w.K * w.N * (int64_t)sizeof(float) + 63) / 64 * 64 +
           (linear_bf16_pairs_count(w.K, w.N) * (int64_t)sizeof(uint16_t) + 63) / 64 * 64;
}

int64_t network_bf16_bytes(const struct network *network)
{
    int64_t bytes = 0;

    for (int32_t l = 0; l < network->config.L; l++)
        bytes += rounded_bytes(network->w1[l]) + rounded_bytes(network->w2[l]);
    return bytes;
}

static struct linear_bf16 rounded_pack(const struct ops *ops, struct linear w, char **at)
{
    int64_t floats = (int64_t)w.K * w.N;
    float *panels = (float *)*at;
    uint16_t *pairs = (uint16_t *)(*at + (floats * (int64_t)sizeof *panels + 63) / 64 * 64);

    memcpy(panels, w.panels, (size_t)floats * sizeof *panels);
    ops->linear_bf16_round(panels, floats);
    *at += rounded_bytes(w);
    w.panels = panels;
    linear_bf16_pack(pairs, w);
    return (struct linear_bf16){w, pairs};
}

void network_bf16_pack(struct network *network, enum linear_bf16_way way, void *memory)
{
    char *at = memory;

    for (int32_t l = 0; l < network->config.L; l++) {
        network->rounded.w1[l] = rounded_pack(network->ops, network->w1[l], &at);
        network->rounded.w2[l] = rounded_pack(network->ops, network->w2[l], &at);
    }
    network->rounded.way = way;
    network->rounded.on = true;
}

static const float *scalars_of(const struct network_pass *pass)
{
    int32_t F = pass->network->config.F;

    return F == 0 ? NULL : pass->request.batch->scalars + (int64_t)pass->request.candidate * F;
}

/* A product with rounded weights; x is rounded in place, or on the way. */
static void rounded_forward(const struct network *net, float *out, float *x, int32_t rows,
                            const struct linear_bf16 *w, struct linear_call call)
{
#if defined(__x86_64__) && !defined(__clang_analyzer__) /* it does not know these names */
    if (net->rounded.way == LINEAR_BF16_AMX) {
        linear_bf16_forward_amx(out, x, rows, *w, call);
        return;
    }
    if (net->rounded.way == LINEAR_BF16_AVX512) {
        linear_bf16_forward_avx512(out, x, rows, *w, call);
        return;
    }
#endif
    for (int32_t r = 0; r < rows; r++)
        net->ops->linear_bf16_round(x + (int64_t)r * call.x_pitch, w->w.K);
    net->ops->linear_forward(out, NULL, x, rows, w->w, call);
}

/* W1 or W2 of layer l in scoring. Nobody reads x after its last product. */
static void infer_product(const struct network *net, float *out, float *x, int32_t rows, int32_t l,
                          bool second, struct linear_call call)
{
    if (net->rounded.on)
        rounded_forward(net, out, x, rows, second ? &net->rounded.w2[l] : &net->rounded.w1[l],
                        call);
    else
        net->ops->linear_forward(out, NULL, x, rows, second ? net->w2[l] : net->w1[l], call);
}

/* Columns of V and of K, without U and Q: z of the history rows from `from` on, from their norms.
 */
static void project_keys(const struct network_pass *pass, int32_t l, int32_t from)
{
    const struct network *net = pass->network;
    int32_t C = net->config.C;
    int64_t at = (int64_t)from * C;
    float *slope = pass->slope[l];

    for (int32_t block = 1; block <= 3; block += 2) {
        struct linear_call call = {LINEAR_SILU, block * C, C, C, 4 * C};

        if (!pass->training) {
            infer_product(net, pass->z[l] + 4 * at + block * C, pass->normed[l] + at,
                          pass->request.n - from, l, false, call);
            continue;
        }
        net->ops->linear_forward(pass->z[l] + 4 * at + block * C,
                                 slope != NULL ? slope + 4 * at + block * C : NULL,
                                 pass->normed[l] + at, pass->request.n - from, net->w1[l], call);
    }
}

/* V and K of a row of z, which is U | V | Q | K, to or from a row of a page. */
static void exchange_row(float *z, float *page, int32_t C, bool back)
{
    size_t bytes = (size_t)C * sizeof *z;

    for (int half = 0; half < 2; half++) {
        float *of_z = z + C + 2 * C * half, *of_page = page + C * half;

        memcpy(back ? of_z : of_page, back ? of_page : of_z, bytes);
    }
}

/* Layer l: rows of z that pages hold come from there, and pages that are to be written get theirs.
 */
static void exchange_pages(const struct network_pass *pass, int32_t l)
{
    const struct kv_lease *lease = pass->lease;
    const struct model_config *config = &pass->network->config;
    int64_t C = config->C;

    for (int32_t p = 0; pass->pool != NULL && p < lease->pages; p++) {
        float *page;

        if (lease->slots[p] == KV_SLOT_NONE)
            return; /* nor is what follows */
        page = pass->pool + ((int64_t)lease->slots[p] * config->L + l) * KV_PAGE_ROWS * 2 * C;
        for (int32_t r = 0; r < KV_PAGE_ROWS; r++)
            exchange_row(pass->z[0] + ((int64_t)p * KV_PAGE_ROWS + r) * 4 * C, page + r * 2 * C,
                         config->C, p < lease->found);
    }
}

/* z of rows of x[0] in front of layer l: history rows from number first on, or the candidates of
 * the tile that starts at -1 - first. */
static void infer_project(const struct network_pass *pass, int32_t l, int32_t rows, int32_t first)
{
    const struct network *net = pass->network;
    const struct ops *ops = net->ops;
    int32_t C = net->config.C;
    struct linear_call silu = {LINEAR_SILU, 0, 4 * C, C, 4 * C};
    struct embed tables = tables_of(net);
    int64_t at = first < 0 ? 0 : (int64_t)first * C;
    float *x = pass->x[0] + at, *z = pass->z[0] + 4 * at, *normed = pass->normed[0] + at;

    if (l == 0 && net->folded.emb != NULL) {
        if (first < 0)
            ops->embed_candidates_folded(z, x, &tables, &net->folded, &pass->request, -1 - first,
                                         rows, NETWORK_EPSILON);
        else
            ops->embed_history_folded(z, x, &tables, &net->folded, &pass->request, first,
                                      NETWORK_EPSILON);
        return;
    }
    ops->norm_forward(normed, NULL, x, rows, C, NETWORK_EPSILON);
    if (first >= 0 && !history_attends(pass, l))
        project_keys(pass, l, first);
    else
        infer_product(net, z, normed, rows, l, false, silu);
}

/* One layer on rows of x[0], in place; arguments as infer_project()'s. Padding rows may keep what
 * an earlier request left. */
static void infer_layer(const struct network_pass *pass, int32_t l, int32_t rows, int32_t first)
{
    const struct network *net = pass->network;
    const struct ops *ops = net->ops;
    struct attention attention = attention_of(pass, l);
    int32_t C = net->config.C;
    struct linear_call add = {LINEAR_ADD, 0, C, C, C};
    bool history = first >= 0;
    int64_t at = history ? (int64_t)first * C : 0;
    float *x = pass->x[0] + at, *z = pass->z[0] + 4 * at;

    infer_project(pass, l, rows, first);
    if (history) {
        exchange_pages(pass, l);
        ops->attention_pack(&attention, pass->z[0]);
        if (!history_attends(pass, l))
            return;
    }
    ops->attention_forward(pass->o + at, &attention, z, rows,
                           history ? first : ATTENTION_CANDIDATES);
    ops->gate_forward(pass->y[0] + at, NULL, NULL, pass->o + at, z, 4 * C, rows, C,
                      gate_epsilon(&net->config));
    infer_product(net, x, pass->y[0] + at, rows, l, true, add);
}

/* History first, which leaves K and V of every layer; then candidates, a tile through all layers
 * at a time. */
static void infer(struct network_pass *pass, float *scores)
{
    const struct network *net = pass->network;
    const struct request *request = &pass->request;
    struct embed tables = tables_of(net);
    const float *scalars = scalars_of(pass);

    net->ops->embed_history(pass->x[0], &tables, request);
    for (int32_t l = 0; l < net->config.L; l++)
        infer_layer(pass, l, request->n - pass->kept_rows, pass->kept_rows);
    for (int32_t first = 0; scores != NULL && first < request->m; first += pass->tile) {
        int32_t count = request->m - first < pass->tile ? request->m - first : pass->tile;

        net->ops->embed_candidates(pass->x[0], pass->e, &tables, request, first, count);
        for (int32_t l = 0; l < net->config.L; l++)
            infer_layer(pass, l, count, -1 - first);
        net->ops->head_score(scores + first, pass->x[0], pass->e,
                             scalars == NULL ? NULL : scalars + (int64_t)first * net->config.F,
                             count, &net->head, pass->head_tape);
    }
}

static double nanoseconds(const struct timespec *from, const struct timespec *to)
{
    return 1e9 * (double)(to->tv_sec - from->tv_sec) + (double)(to->tv_nsec - from->tv_nsec);
}

int64_t network_trial_floats(const struct network *network)
{
    int64_t C = network->config.C;

    return (9 * C + 1) * NETWORK_TRIAL_ROWS + 4 * C * C;
}

#define SAME_ROWS 77 /* whole blocks and a rest, of any way */

/* Numbers within .5, most of which are no bf16. */
static void fill(float *x, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        x[i] = (float)(i * 37 % 1009) / 1009 - .5f;
}

/* Sum of what a column of packed weights can add up to with inputs within .5. */
static double column_most(struct linear w, int32_t n)
{
    const float *panel = w.panels + (int64_t)(n - n % CPU_PANEL) * w.K + n % CPU_PANEL;
    double sum = 0;

    for (int32_t k = 0; k < w.K; k++)
        sum += fabs((double)panel[(int64_t)k * CPU_PANEL]);
    return sum / 2;
}

static bool same_product(const struct network *net, int32_t l, bool second, float *memory)
{
    struct linear w = second ? net->w2[l] : net->w1[l];
    struct linear_call call = {second ? LINEAR_ADD : LINEAR_SILU, 0, w.N, w.K, w.N};
    int64_t outputs = (int64_t)w.N * NETWORK_TRIAL_ROWS, inputs = (int64_t)w.K * NETWORK_TRIAL_ROWS;
    float *got = memory, *want = got + outputs, *x = want + outputs;
    float *panels = x + inputs + NETWORK_TRIAL_ROWS;

    fill(got, outputs);
    fill(want, outputs);
    fill(x, inputs);
    rounded_forward(net, got, x, SAME_ROWS, second ? &net->rounded.w2[l] : &net->rounded.w1[l],
                    call);
    memcpy(panels, w.panels, (size_t)w.K * (size_t)w.N * sizeof *panels);
    net->ops->linear_bf16_round(panels, (int64_t)w.K * w.N);
    w.panels = panels;
    fill(x, inputs);
    net->ops->linear_bf16_round(x, inputs);
    net->ops->linear_forward(want, NULL, x, SAME_ROWS, w, call);
    for (int32_t n = 0; n < w.N; n++) {
        double sums = 1.2 * ldexp(w.K, -23) * column_most(w, n); /* two orders, SILU's slope */

        for (int32_t r = 0; r < SAME_ROWS; r++) {
            double a = (double)want[(int64_t)r * w.N + n], b = (double)got[(int64_t)r * w.N + n];

            if (!(fabs(a - b) <= sums + 2e-5 * (1 + fabs(a)))) /* nor is what is no number */
                return false;
        }
    }
    return true;
}

bool network_bf16_same(const struct network *network, float *memory)
{
    for (int32_t l = 0; l < network->config.L; l++)
        if (!same_product(network, l, false, memory) || !same_product(network, l, true, memory))
            return false;
    return true;
}

void network_bf16_time(const struct network *network, double *f32_ns, double *bf16_ns,
                       float *memory)
{
    int32_t C = network->config.C, last = network->config.L - 1;
    struct linear_call silu = {LINEAR_SILU, 0, 4 * C, C, 4 * C};
    float *out = memory, *x = memory + (int64_t)4 * C * NETWORK_TRIAL_ROWS;

    *f32_ns = *bf16_ns = INFINITY;
    for (int32_t i = 0; i < C * NETWORK_TRIAL_ROWS; i++)
        x[i] = (float)(i % 17) / 16 - .5f;
    for (int round = 0; round < 50; round++) {
        struct timespec begun, between, ended;

        (void)clock_gettime(CLOCK_MONOTONIC, &begun);
        network->ops->linear_forward(out, NULL, x, NETWORK_TRIAL_ROWS, network->w1[last], silu);
        (void)clock_gettime(CLOCK_MONOTONIC, &between);
        rounded_forward(network, out, x, NETWORK_TRIAL_ROWS, &network->rounded.w1[last], silu);
        (void)clock_gettime(CLOCK_MONOTONIC, &ended);
        *f32_ns = fmin(*f32_ns, nanoseconds(&begun, &between));
        *bf16_ns = fmin(*bf16_ns, nanoseconds(&between, &ended));
    }
}

/* One layer on all rows, onto the tape. */
static void layer_forward(struct network_pass *pass, int32_t l, float dropout, uint64_t seed)
{
    const struct network *net = pass->network;
    const struct ops *ops = net->ops;
    struct attention attention = attention_of(pass, l);
    int32_t C = net->config.C, first = history_attends(pass, l) ? 0 : pass->history;
    int32_t rows = pass->rows - first;
    int64_t at = (int64_t)first * C, candidates = (int64_t)pass->history * C;
    struct linear_call silu = {LINEAR_SILU, 0, 4 * C, C, 4 * C}, add = {LINEAR_ADD, 0, C, C, C};
    float *y = pass->y[l] + at;

    ops->norm_forward(pass->normed[l], pass->rstd[l], pass->x[l], pass->rows, C, NETWORK_EPSILON);
    ops->linear_forward(pass->z[l] + 4 * at, pass->slope[l] + 4 * at, pass->normed[l] + at, rows,
                        net->w1[l], silu);
    if (first > 0)
        project_keys(pass, l, 0);
    ops->attention_pack(&attention, pass->z[l]);
    if (first == 0)
        ops->attention_forward(pass->o, &attention, pass->z[l], pass->history, 0);
    ops->attention_forward(pass->o + candidates, &attention, pass->z[l] + 4 * candidates,
                           pass->rows - pass->history, ATTENTION_CANDIDATES);
    ops->gate_forward(y, pass->on[l] + at, pass->rstd_o[l] + first, pass->o + at,
                      pass->z[l] + 4 * at, 4 * C, rows, C, gate_epsilon(&net->config));
    if (pass->mask_y[l] != NULL) {
        make_mask(pass->mask_y[l] + at, (int64_t)rows * C, dropout, dropout_layer_seed(seed, l));
        ops->linear_scale(y, pass->mask_y[l] + at, (int64_t)rows * C);
    }
    memcpy(pass->x[l + 1], pass->x[l], (size_t)pass->rows * (size_t)C * sizeof(float));
    ops->linear_forward(pass->x[l + 1] + at, NULL, y, rows, net->w2[l], add);
}

const float *network_states(const struct network_pass *pass)
{
    return pass->x[pass->training ? pass->network->config.L : 0];
}

/* Times of all tokens. Those of context have none: later than any, so that bucket_of() is 0. */
static const int64_t *times_of(const struct network_pass *pass)
{
    const struct request *request = &pass->request;

    if (request->contexts == 0)
        return request->batch->time_ms + request->token;
    for (int32_t j = 0; j < request->n; j++)
        pass->times[j] = j < request->contexts ? INT64_MAX
                                               : request->batch->time_ms[request->token + j];
    return pass->times;
}

void network_forward(struct network_pass *pass, float *scores, float dropout, uint64_t seed)
{
    const struct network *net = pass->network;
    const struct request *request = &pass->request;
    struct embed tables = tables_of(net);
    int64_t candidates = (int64_t)pass->history * net->config.C;

    net->ops->attention_buckets(pass->buckets, times_of(pass), request->n, request->now_ms);
    if (!pass->training) {
        infer(pass, scores);
        return;
    }
    net->ops->embed_history(pass->x[0], &tables, request);
    net->ops->embed_candidates(pass->x[0] + candidates, pass->e, &tables, request, 0, request->m);
    if (pass->mask_x != NULL) {
        make_mask(pass->mask_x, (int64_t)pass->rows * net->config.C, dropout, seed);
        net->ops->linear_scale(pass->x[0], pass->mask_x, (int64_t)pass->rows * net->config.C);
    }
    for (int32_t l = 0; l < net->config.L; l++)
        layer_forward(pass, l, dropout, seed);
    if (scores != NULL && request->m > 0)
        net->ops->head_forward(scores, pass->x[net->config.L] + candidates, pass->e,
                               scalars_of(pass), request->m, &net->head, pass->head_tape);
}

/* pass->dx: in, the gradient behind the layer; out, in front of it. */
static void layer_backward(struct network_pass *pass, int32_t l, struct network_layer *gradient)
{
    const struct network *net = pass->network;
    const struct ops *ops = net->ops;
    struct attention attention = attention_of(pass, l);
    struct attention_gradient attended = {pass->dz, gradient->r_pos, gradient->r_time};
    int32_t C = net->config.C, first = history_attends(pass, l) ? 0 : pass->history;
    int32_t rows = pass->rows - first;
    int64_t at = (int64_t)first * C, at_z = 4 * at;
    struct linear_call set = {LINEAR_SET, 0, C, C, C}, back = {LINEAR_SET, 0, C, 4 * C, C};
    float *dz = pass->dz;

    ops->linear_weights_add(gradient->w2, gradient->b2, pass->y[l] + at, C, pass->dx + at, C, rows,
                            C, C, pass->weights_scratch);
    ops->linear_forward(pass->dy + at, NULL, pass->dx + at, rows, net->w2_t[l], set);
    if (pass->mask_y[l] != NULL)
        ops->linear_scale(pass->dy + at, pass->mask_y[l] + at, (int64_t)rows * C);
    ops->gate_backward(dz + at_z, 4 * C, pass->d_o + at, pass->dy + at, pass->on[l] + at,
                       pass->rstd_o[l] + first, pass->z[l] + at_z, 4 * C, rows, C);
    ops->attention_backward(&attended, pass->d_o, &attention, pass->z[l], pass->request.m,
                            first == 0);
    /* Of a pruned history only K and V exist: U and Q have neither value nor gradient. */
    for (int64_t r = 0; r < first; r++) {
        memset(dz + r * 4 * C, 0, (size_t)C * sizeof *dz);
        memset(dz + r * 4 * C + 2 * C, 0, (size_t)C * sizeof *dz);
        memset(pass->slope[l] + r * 4 * C, 0, (size_t)C * sizeof *dz);
        memset(pass->slope[l] + r * 4 * C + 2 * C, 0, (size_t)C * sizeof *dz);
    }
    ops->linear_scale(dz, pass->slope[l], (int64_t)pass->rows * 4 * C);
    ops->linear_weights_add(gradient->w1, gradient->b1, pass->normed[l], C, dz, 4 * C, pass->rows,
                            C, 4 * C, pass->weights_scratch);
    ops->linear_forward(pass->dy, NULL, dz, pass->rows, net->w1_t[l], back);
    ops->norm_backward_add(pass->dx, pass->dy, pass->normed[l], pass->rstd[l], pass->rows, C);
}

static struct head_gradient head_gradient_of(const struct network_tensors *t)
{
    struct head_gradient g = {.w_f = t->w_f,
                              .b_f = t->b_f,
                              .mlp = t->mlp,
                              .mlp_bias = t->mlp_b,
                              .w = t->head_w,
                              .b = t->head_b};

    for (int32_t l = 0; l < HEAD_CROSSES_MAX; l++) {
        g.down[l] = t->down[l];
        g.up[l] = t->up[l];
        g.up_bias[l] = t->up_b[l];
    }
    return g;
}

void network_backward(struct network_pass *pass, struct network_tensors *gradient,
                      struct rows *demb, const float *ds)
{
    const struct network *net = pass->network;
    const struct model_config *config = &net->config;
    const struct request *request = &pass->request;
    int64_t candidates = (int64_t)pass->history * config->C;
    size_t candidate_bytes = (size_t)(pass->rows - pass->history) * (size_t)config->C *
                             sizeof(float);
    struct embed tables = tables_of(net);
    struct embed_gradient embedded = {gradient->act, gradient->gap, gradient->hour,
                                      gradient->context, demb};

    assert(pass->training);
    if (ds != NULL && request->m > 0) {
        struct head_gradient head = head_gradient_of(gradient);

        net->ops->head_backward(&head, pass->dx + candidates, pass->de, ds,
                                pass->x[config->L] + candidates, pass->e, scalars_of(pass),
                                request->m, &net->head, pass->head_tape);
    } else {
        memset(pass->dx + candidates, 0, candidate_bytes);
        memset(pass->de, 0, candidate_bytes);
    }
    for (int32_t l = config->L - 1; l >= 0; l--)
        layer_backward(pass, l, &gradient->layers[l]);
    if (pass->mask_x != NULL)
        net->ops->linear_scale(pass->dx, pass->mask_x, (int64_t)pass->rows * config->C);
    net->ops->embed_backward(&embedded, pass->dx, pass->de, &tables, request);
}
