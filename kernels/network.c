/*
 * kernels/network.c - one request through the layers and back.
 *
 * In the last layer, history rows are read by candidates as K and V alone, so unless their
 * states are wanted nothing else of them is computed.
 */
#include "kernels/network.h"

#include <assert.h>
#include <math.h>
#include <string.h>

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

static void carve_layer(struct carve *carve, struct network_pass *pass, int32_t l, int64_t C,
                        bool dropout)
{
    int64_t rows = pass->rows;

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
    int32_t layers = pass->training ? config->L : 1;

    pass->history = cpu_pad_rows(n);
    pass->rows = pass->history + cpu_pad_rows(m);
    rows = pass->rows;
    pass->x[0] = floats(carve, rows * C);
    pass->e = floats(carve, (rows - pass->history) * C);
    for (int32_t l = 0; l < layers; l++)
        carve_layer(carve, pass, l, C, dropout);
    for (int32_t l = layers; l < config->L; l++) {
        pass->normed[l] = pass->normed[0];
        pass->rstd[l] = pass->rstd[0];
        pass->z[l] = pass->z[0];
        pass->y[l] = pass->y[0];
    }
    for (int32_t l = 0; l < config->L && !pass->training; l++)
        pass->x[l + 1] = pass->x[0];
    pass->buckets = part(carve, attention_buckets_bytes(n));
    pass->attention_scratch = floats(carve,
                                     attention_scratch_floats(n, m, config->C, pass->training));
    pass->head_tape = floats(
        carve, head_tape_floats(m, config->C, Z, config->R, config->W,
                                config->head == MODEL_HEAD_CROSS ? config->crosses : 0));
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

/* Masks of dropout: 0 with probability p, else 1 / (1 - p), from a hash of seed and place, so that
 * no order of computation matters. Source of the mix: the finaliser of MurmurHash3. */
static void make_mask(float *mask, int64_t count, float p, uint64_t seed)
{
    uint32_t limit = (uint32_t)((double)p * 4294967296.0), low = (uint32_t)seed;
    uint32_t high = (uint32_t)(seed >> 32);
    float keep = 1.0f / (1.0f - p);

    for (int64_t i = 0; i < count; i++) {
        uint32_t h = (uint32_t)i * 0x9e3779b9u + low;

        h = (h ^ (h >> 16)) * 0x85ebca6bu + high;
        h = (h ^ (h >> 13)) * 0xc2b2ae35u;
        h ^= h >> 16;
        mask[i] = h < limit ? 0.0f : keep;
    }
}

static struct attention attention_of(const struct network_pass *pass, int32_t l)
{
    const struct model_config *config = &pass->network->config;

    return (struct attention){
        .form = config->attention == MODEL_ATTENTION_SILU ? ATTENTION_SILU : ATTENTION_SOFTMAX,
        .n = pass->request.n,
        .m = pass->request.m,
        .C = config->C,
        .H = config->H,
        .P = config->P,
        .history_rows = l < config->L - 1 || pass->states_all,
        .z = pass->z[l],
        .r_pos = pass->network->weights.layers[l].r_pos,
        .r_time = pass->network->weights.layers[l].r_time,
        .buckets = pass->buckets,
        .scratch = pass->attention_scratch,
    };
}

/* The gate's norm takes over silu attention's division by P (kernels/gate.h). */
static float gate_epsilon(const struct model_config *config)
{
    float P = (float)config->P;

    return config->attention == MODEL_ATTENTION_SILU ? NETWORK_EPSILON * P * P : NETWORK_EPSILON;
}

/* [U|V|Q|K] of the rows from first on; with first > 0, K and V of the history before it. */
static void project(struct network_pass *pass, int32_t l, int32_t first)
{
    const struct network *net = pass->network;
    int32_t C = net->config.C;
    float *z = pass->z[l], *slope = pass->slope[l];
    struct linear_call call = {LINEAR_SILU, 0, 4 * C, C, 4 * C};

    net->ops->norm_forward(pass->normed[l], pass->rstd[l], pass->x[l], pass->rows, C,
                           NETWORK_EPSILON);
    net->ops->linear_forward(
        z + (int64_t)first * 4 * C, slope != NULL ? slope + (int64_t)first * 4 * C : NULL,
        pass->normed[l] + (int64_t)first * C, pass->rows - first, net->w1[l], call);
    for (int32_t part_of = 1; first > 0 && part_of <= 3; part_of += 2) {
        call.first = part_of * C;
        call.count = C;
        net->ops->linear_forward(z + part_of * C, slope != NULL ? slope + part_of * C : NULL,
                                 pass->normed[l], first, net->w1[l], call);
    }
}

static void layer_forward(struct network_pass *pass, int32_t l, float dropout, uint64_t seed)
{
    const struct network *net = pass->network;
    const struct ops *ops = net->ops;
    struct attention attention = attention_of(pass, l);
    int32_t C = net->config.C, first = attention.history_rows ? 0 : pass->history;
    int32_t rows = pass->rows - first;
    int64_t at = (int64_t)first * C, at_z = 4 * at;
    struct linear_call add = {LINEAR_ADD, 0, C, C, C};
    float *y = pass->y[l] + at;

    project(pass, l, first);
    ops->attention_forward(pass->o, &attention);
    ops->gate_forward(y, pass->training ? pass->on[l] + at : NULL,
                      pass->training ? pass->rstd_o[l] + first : NULL, pass->o + at,
                      pass->z[l] + at_z, 4 * C, rows, C, gate_epsilon(&net->config));
    if (pass->mask_y[l] != NULL) {
        make_mask(pass->mask_y[l] + at, (int64_t)rows * C, dropout,
                  seed + 0x9e3779b97f4a7c15u * (uint64_t)(l + 1));
        ops->linear_scale(y, pass->mask_y[l] + at, (int64_t)rows * C);
    }
    if (pass->training)
        memcpy(pass->x[l + 1], pass->x[l], (size_t)pass->rows * (size_t)C * sizeof(float));
    ops->linear_forward(pass->x[l + 1] + at, NULL, y, rows, net->w2[l], add);
}

void network_forward(struct network_pass *pass, float *scores, float dropout, uint64_t seed)
{
    const struct network *net = pass->network;
    const struct model_config *config = &net->config;
    const struct request *request = &pass->request;
    struct embed tables = {.C = config->C,
                           .V = config->V,
                           .A = config->A,
                           .emb = net->emb,
                           .act = net->weights.act,
                           .gap = net->weights.gap,
                           .hour = net->weights.hour};
    const float *scalars = config->F == 0
                               ? NULL
                               : request->batch->scalars + (int64_t)request->candidate * config->F;

    net->ops->embed_forward(pass->x[0], pass->e, &tables, request);
    if (pass->mask_x != NULL) {
        make_mask(pass->mask_x, (int64_t)pass->rows * config->C, dropout, seed);
        net->ops->linear_scale(pass->x[0], pass->mask_x, (int64_t)pass->rows * config->C);
    }
    net->ops->attention_buckets(pass->buckets, request->batch->time_ms + request->token, request->n,
                                request->now_ms);
    for (int32_t l = 0; l < config->L; l++)
        layer_forward(pass, l, dropout, seed);
    if (scores != NULL && request->m > 0)
        net->ops->head_forward(scores, pass->x[config->L] + (int64_t)pass->history * config->C,
                               pass->e, scalars, request->m, &net->head, pass->head_tape);
}

/* pass->dx: in, the gradient behind the layer; out, in front of it. */
static void layer_backward(struct network_pass *pass, int32_t l, struct network_layer *gradient)
{
    const struct network *net = pass->network;
    const struct ops *ops = net->ops;
    struct attention attention = attention_of(pass, l);
    int32_t C = net->config.C, first = attention.history_rows ? 0 : pass->history;
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
    ops->attention_backward(dz, gradient->r_pos, gradient->r_time, pass->d_o, &attention);
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
    struct embed tables = {.C = config->C,
                           .V = config->V,
                           .A = config->A,
                           .act = net->weights.act,
                           .gap = net->weights.gap,
                           .hour = net->weights.hour};

    assert(pass->training);
    if (ds != NULL && request->m > 0) {
        struct head_gradient head = head_gradient_of(gradient);
        const float *scalars = config->F == 0 ? NULL
                                              : request->batch->scalars +
                                                    (int64_t)request->candidate * config->F;

        net->ops->head_backward(&head, pass->dx + candidates, pass->de, ds,
                                pass->x[config->L] + candidates, pass->e, scalars, request->m,
                                &net->head, pass->head_tape);
    } else {
        memset(pass->dx + candidates, 0, candidate_bytes);
        memset(pass->de, 0, candidate_bytes);
    }
    for (int32_t l = config->L - 1; l >= 0; l--)
        layer_backward(pass, l, &gradient->layers[l]);
    if (pass->mask_x != NULL)
        net->ops->linear_scale(pass->dx, pass->mask_x, (int64_t)pass->rows * config->C);
    net->ops->embed_backward(gradient->act, gradient->gap, gradient->hour, demb, pass->dx, pass->de,
                             &tables, request);
}
