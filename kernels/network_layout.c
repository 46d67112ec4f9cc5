/* kernels/network_layout.c - names, shapes and places of the tensors; the forms the ops read. */
#include "kernels/network.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ALIGNMENT    64
#define PLACE(field) offsetof(struct network_tensors, field)

void *network_memory(size_t bytes)
{
    return aligned_alloc(ALIGNMENT, (bytes + 2 * ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT);
}

/* What add() takes besides the shape. */
struct kind {
    float init;
    bool trained, decays;
};

static void add(struct network_layout *layout, size_t place, struct kind kind, int64_t d0,
                int64_t d1, const char *fmt, int32_t index)
{
    struct network_tensor *t = &layout->tensors[layout->count++];

    assert(layout->count <= NETWORK_TENSORS_MAX);
    *t = (struct network_tensor){.place = place,
                                 .dims_count = d1 == 0 ? 1 : 2,
                                 .dims = {d0, d1, 0},
                                 .count = d0 * (d1 == 0 ? 1 : d1),
                                 .offset = layout->floats,
                                 .init = kind.init,
                                 .trained = kind.trained,
                                 .decays = kind.decays};
    if (index >= 0)
        (void)snprintf(t->name, sizeof t->name, "layers.%d.%s", (int)index, fmt);
    else
        (void)snprintf(t->name, sizeof t->name, "%s", fmt);
    layout->floats += (t->count + 15) / 16 * 16;
}

static void add_cross(struct network_layout *layout, const struct model_config *config, int32_t l)
{
    static const char *const names[3][HEAD_CROSSES_MAX] = {
        {"cross.0.down", "cross.1.down", "cross.2.down", "cross.3.down"},
        {"cross.0.up", "cross.1.up", "cross.2.up", "cross.3.up"},
        {"cross.0.bias", "cross.1.bias", "cross.2.bias", "cross.3.bias"},
    };
    float wide = 1.0f / sqrtf((float)layout->Z), low = 1.0f / sqrtf((float)config->R);

    add(layout, PLACE(down[l]), (struct kind){wide, true, true}, layout->Z, config->R, names[0][l],
        -1);
    add(layout, PLACE(up[l]), (struct kind){low * .3f, true, true}, config->R, layout->Z,
        names[1][l], -1);
    add(layout, PLACE(up_b[l]), (struct kind){0, true, false}, layout->Z, 0, names[2][l], -1);
}

void network_layout(struct network_layout *layout, const struct model_config *config)
{
    const struct kind table = {.02f, true, false}, zero = {0, true, false}, off = {0, false, false};
    int32_t C = config->C, F = config->F, W = config->W;

    *layout = (struct network_layout){.Z = cpu_pad_columns(2 * C + F)};
    add(layout, PLACE(act), table, config->A, C, "act", -1);
    add(layout, PLACE(gap), table, BUCKET_GAPS, C, "gap", -1);
    add(layout, PLACE(hour), table, BUCKET_HOURS, C, "hour", -1);
    if (config->contexts > 0)
        add(layout, PLACE(context), table, (int64_t)config->contexts * BATCH_CONTEXT_CODES, C,
            "context", -1);
    if (config->text > 0)
        add(layout, PLACE(text_w), table, config->text, C, "text.w", -1);
    for (int32_t l = 0; l < config->L; l++) {
        size_t layer = PLACE(layers) + (size_t)l * sizeof(struct network_layer);

        /* Deviations of the prototype whose figures MODEL.md has. */
        add(layout, layer + offsetof(struct network_layer, w1), (struct kind){.02f, true, true}, C,
            4 * C, "w1", l);
        add(layout, layer + offsetof(struct network_layer, b1), zero, 4 * C, 0, "b1", l);
        add(layout, layer + offsetof(struct network_layer, w2), (struct kind){.1f, true, true}, C,
            C, "w2", l);
        add(layout, layer + offsetof(struct network_layer, b2), zero, C, 0, "b2", l);
        add(layout, layer + offsetof(struct network_layer, r_pos),
            config->without_position ? off : table, config->P + 1, 0, "r_pos", l);
        add(layout, layer + offsetof(struct network_layer, r_time),
            config->without_time ? off : table, BUCKET_COUNT, 0, "r_time", l);
    }
    if (F > 0) {
        add(layout, PLACE(mean), (struct kind){0, false, false}, F, 0, "scalars.mean", -1);
        add(layout, PLACE(scale), (struct kind){-1, false, false}, F, 0, "scalars.scale", -1);
    }
    if (config->head == MODEL_HEAD_DOT) {
        if (F > 0)
            add(layout, PLACE(w_f), zero, F, 0, "w_f", -1);
        add(layout, PLACE(b_f), zero, 1, 0, "b_f", -1);
    } else {
        float wide = 1.0f / sqrtf((float)layout->Z);

        for (int32_t l = 0; l < config->crosses; l++)
            add_cross(layout, config, l);
        add(layout, PLACE(mlp), (struct kind){wide, true, true}, layout->Z, W, "mlp.w", -1);
        add(layout, PLACE(mlp_b), zero, W, 0, "mlp.b", -1);
        add(layout, PLACE(head_w), (struct kind){.05f, true, true}, 2 * layout->Z + W, 0, "head.w",
            -1);
        add(layout, PLACE(head_b), zero, 1, 0, "head.b", -1);
    }
    add(layout, PLACE(position), zero, BATCH_POSITION_MAX + 1, 0, "position", -1);
    add(layout, PLACE(platt), (struct kind){0, false, false}, 2, 0, "platt", -1);
}

void network_point(struct network_tensors *tensors, const struct network_layout *layout,
                   float *block)
{
    *tensors = (struct network_tensors){0};
    for (int32_t i = 0; i < layout->count; i++) {
        float *at = block + layout->tensors[i].offset;

        memcpy((char *)tensors + layout->tensors[i].place, &at, sizeof at);
    }
}

int64_t network_panels_floats(const struct model_config *config, bool with_transposed)
{
    int64_t C = config->C, Z = cpu_pad_columns(2 * config->C + config->F);
    int64_t floats = config->L * 5 * C * C;

    if (config->head == MODEL_HEAD_CROSS)
        floats += config->crosses * 2 * Z * config->R + Z * config->W;
    if (with_transposed)
        return 2 * floats;
    return floats + (config->head == MODEL_HEAD_CROSS
                         ? head_join_floats((int32_t)Z, config->R, config->W)
                         : 0);
}

static struct linear pack(const struct ops *ops, float **panels, const float *w, const float *bias,
                          int32_t K, int32_t N)
{
    struct linear linear = {.panels = *panels, .bias = bias, .K = K, .N = N};

    ops->linear_pack(*panels, w, N, K, N, 0);
    *panels += (int64_t)K * N;
    return linear;
}

/* Of w, K rows of N: the matrix that takes N inputs to K outputs. */
static struct linear pack_transposed(const struct ops *ops, float **panels, const float *w,
                                     int32_t K, int32_t N)
{
    struct linear linear = {.panels = *panels, .K = N, .N = K};

    ops->linear_pack(*panels, w, N, N, K, 1);
    *panels += (int64_t)K * N;
    return linear;
}

static void pack_head(struct network *network, int32_t Z, float **panels, bool with_transposed)
{
    const struct model_config *config = &network->config;
    const struct network_tensors *w = &network->weights;
    const struct ops *ops = network->ops;
    struct head *head = &network->head;
    int32_t R = config->R, W = config->W;

    *head = (struct head){.C = config->C,
                          .F = config->F,
                          .mean = w->mean,
                          .scale = w->scale,
                          .w_f = w->w_f,
                          .b_f = w->b_f};
    if (config->head == MODEL_HEAD_DOT)
        return;
    head->Z = Z;
    head->R = R;
    head->W = W;
    head->crosses = config->crosses;
    head->w = w->head_w;
    head->b = w->head_b;
    for (int32_t l = 0; l < config->crosses; l++) {
        head->down[l].forward = pack(ops, panels, w->down[l], NULL, Z, R);
        head->up[l].forward = pack(ops, panels, w->up[l], w->up_b[l], R, Z);
        if (with_transposed) {
            head->down[l].transposed = pack_transposed(ops, panels, w->down[l], Z, R);
            head->up[l].transposed = pack_transposed(ops, panels, w->up[l], R, Z);
        }
    }
    head->mlp.forward = pack(ops, panels, w->mlp, w->mlp_b, Z, W);
    if (with_transposed) {
        head->mlp.transposed = pack_transposed(ops, panels, w->mlp, Z, W);
    } else {
        struct head_plain plain = {.mlp = w->mlp};

        memcpy(plain.down, w->down, sizeof plain.down);
        memcpy(plain.up, w->up, sizeof plain.up);
        ops->head_join(head, &plain, *panels);
        *panels += head_join_floats(Z, R, W);
    }
}

void network_pack(struct network *network, int32_t Z, float *panels, bool with_transposed)
{
    int32_t C = network->config.C;

    for (int32_t l = 0; l < network->config.L; l++) {
        const struct network_layer *layer = &network->weights.layers[l];

        if (network->config.without_position)
            memset(layer->r_pos, 0, ((size_t)network->config.P + 1) * sizeof *layer->r_pos);
        if (network->config.without_time)
            memset(layer->r_time, 0, BUCKET_COUNT * sizeof *layer->r_time);

        network->w1[l] = pack(network->ops, &panels, layer->w1, layer->b1, C, 4 * C);
        network->w2[l] = pack(network->ops, &panels, layer->w2, layer->b2, C, C);
        if (with_transposed) {
            network->w1_t[l] = pack_transposed(network->ops, &panels, layer->w1, C, 4 * C);
            network->w2_t[l] = pack_transposed(network->ops, &panels, layer->w2, C, C);
        }
    }
    pack_head(network, Z, &panels, with_transposed);
}
