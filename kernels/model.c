/*
 * kernels/model.c - owns the weights and names them.
 *
 * Dense tensors lie in one block, the item table apart because it grows. What scoring reads
 * beside them (packed panels, inverse norms of item rows, item rows with their texts) is derived by
 * model_prepare().
 */
#include "kernels/model.h"

#include "kernels/backend.h"
#include "kernels/network.h"
#include "ops/random.h"

#include <assert.h>
#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define EMB_INIT    .02f
#define GROW_NOISE  .005f
#define WIDTH_MAX   1024
#define TENSORS_MAX (NETWORK_TENSORS_MAX + 2)

struct model {
    struct network network;
    struct network_layout layout;
    float *block;                        /* (layout.floats) */
    float *panels;                       /* packed, forward only */
    float *emb;                          /* (V, C) learnt; network.emb, unless there is text */
    float *text;                         /* (V, text), or NULL */
    float *inverse_norm;                 /* (V) of item rows */
    float *folded;                       /* network.folded's tables, or NULL */
    void *rounded;                       /* network.rounded's weights, or NULL */
    int32_t emb_capacity, norm_capacity; /* rows */
    uint64_t version;                    /* of the weights that were prepared; none twice */
    bool host;                           /* scores on the CPU, whatever the backend is */
    bool prepared, importing;
    bool away;             /* a run of steps has newer weights on a device: nobody reads these */
    bool put[TENSORS_MAX]; /* while importing; emb and text are the last */
    const struct backend *backend;
    struct device_model *device; /* NULL on the CPU */
};

static enum status check_range(const char *name, int64_t value, int64_t low, int64_t high,
                               struct error *err)
{
    if (value >= low && value <= high)
        return OK;
    return error_set(err, ERR_LIMIT, "model %s is %lld, must be %lld to %lld", name,
                     (long long)value, (long long)low, (long long)high);
}

static enum status check_config(const struct model_config *c, struct error *err)
{
    const struct {
        const char *name;
        int64_t value, low, high;
    } ranges[] = {
        {"channels (C)", c->C, 16, MODEL_CHANNELS_MAX},
        {"layers (L)", c->L, 1, MODEL_LAYERS_MAX},
        {"heads (H)", c->H, 1, MODEL_CHANNELS_MAX / 16},
        {"positions (P)", c->P, 1, BATCH_HISTORY_MAX},
        {"item rows (V)", c->V, 1, MODEL_ITEMS_MAX},
        {"actions (A)", c->A, 1, MODEL_ACTIONS_MAX},
        {"scalars (F)", c->F, 0, BATCH_SCALARS_MAX},
        {"attention form", (int64_t)c->attention, 0, MODEL_ATTENTION_SOFTMAX},
        {"head form", (int64_t)c->head, 0, MODEL_HEAD_DOT},
        {"context tokens", c->contexts, 0, BATCH_CONTEXTS},
        {"text width", c->text, 0, MODEL_TEXT_MAX},
        {"cross layers", c->head == MODEL_HEAD_CROSS ? c->crosses : 1, 1, MODEL_CROSSES_MAX},
        {"cross rank (R)", c->head == MODEL_HEAD_CROSS ? c->R : 16, 16, HEAD_RANK_MAX},
        {"head width (W)", c->head == MODEL_HEAD_CROSS ? c->W : 16, 16, WIDTH_MAX},
    };

    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++) {
        enum status status = check_range(ranges[i].name, ranges[i].value, ranges[i].low,
                                         ranges[i].high, err);

        if (status != OK)
            return status;
    }
    if (c->C % (16 * c->H) != 0)
        return error_set(err, ERR_LIMIT, "model channels (C) are %d, must be a multiple of %d",
                         (int)c->C, 16 * (int)c->H);
    if (c->head == MODEL_HEAD_CROSS && (c->R % 16 != 0 || c->W % 16 != 0))
        return error_set(err, ERR_LIMIT, "model rank and width (%d, %d) must be multiples of 16",
                         (int)c->R, (int)c->W);
    if (c->text % 16 != 0 || c->contexts >= c->P)
        return error_set(
            err, ERR_LIMIT,
            "model text width is %d, must be a multiple of 16; %d context tokens leave "
            "no history of %d",
            (int)c->text, (int)c->contexts, (int)c->P);
    if (!(c->tau > 0 && c->tau <= 10))
        return error_set(err, ERR_LIMIT, "model tau is %g, must be above 0 and at most 10",
                         (double)c->tau);
    return OK;
}

/* A model with memory for everything and no values in it. */
static enum status allocate(struct model **model, const struct model_config *config,
                            struct error *err)
{
    struct model *m;
    enum status status = check_config(config, err);

    *model = NULL;
    if (status != OK)
        return status;
    m = calloc(1, sizeof *m);
    if (m == NULL)
        return error_set(err, ERR_NOMEM, "no memory for a model");
    status = backend_choose(&m->backend, err);
    if (status != OK) {
        free(m);
        return status;
    }
    m->network.ops = ops_cpu();
    m->network.config = *config;
    network_layout(&m->layout, config);
    m->block = network_memory((size_t)m->layout.floats * sizeof(float));
    m->panels = network_memory((size_t)network_panels_floats(config, false) * sizeof(float));
    m->emb = network_memory((size_t)config->V * (size_t)config->C * sizeof(float));
    m->network.emb = m->emb;
    if (config->text > 0) {
        m->network.emb = network_memory((size_t)config->V * (size_t)config->C * sizeof(float));
        m->text = network_memory((size_t)config->V * (size_t)config->text * sizeof(float));
    }
    m->inverse_norm = network_memory((size_t)config->V * sizeof(float));
    m->emb_capacity = m->norm_capacity = config->V;
    if (m->block == NULL || m->panels == NULL || m->emb == NULL || m->network.emb == NULL ||
        m->inverse_norm == NULL || (config->text > 0 && m->text == NULL)) {
        model_destroy(m);
        return error_set(err, ERR_NOMEM, "no memory for a model of %d item rows", (int)config->V);
    }
    memset(m->block, 0, (size_t)m->layout.floats * sizeof(float));
    if (m->text != NULL)
        memset(m->text, 0, (size_t)config->V * (size_t)config->text * sizeof(float));
    network_point(&m->network.weights, &m->layout, m->block);
    *model = m;
    return OK;
}

void model_destroy(struct model *model)
{
    if (model == NULL)
        return;
    free(model->block);
    free(model->panels);
    if (model->network.emb != model->emb)
        free(model->network.emb);
    free(model->emb);
    free(model->text);
    free(model->inverse_norm);
    free(model->folded);
    free(model->rounded);
    if (model->device != NULL)
        model->backend->drop(model->device);
    free(model);
}

enum status model_create(struct model **model, const struct model_config *config, uint64_t seed,
                         struct error *err)
{
    struct random random;
    struct model *m;
    enum status status = allocate(&m, config, err);

    *model = NULL;
    if (status != OK)
        return status;
    random_seed(&random, seed);
    for (int32_t i = 0; i < m->layout.count; i++) {
        const struct network_tensor *t = &m->layout.tensors[i];

        for (int64_t k = 0; k < t->count; k++)
            m->block[t->offset + k] = t->init < 0   ? -t->init
                                      : t->init > 0 ? t->init * (float)random_normal(&random)
                                                    : 0;
    }
    m->network.weights.platt[0] = 1;
    for (int64_t k = 0; k < (int64_t)config->V * config->C; k++)
        m->emb[k] = EMB_INIT * (float)random_normal(&random);
    status = model_prepare(m, err);
    if (status != OK) {
        model_destroy(m);
        return status;
    }
    *model = m;
    return OK;
}

static enum status copy_to(struct model **copy, const struct model *model, bool host,
                           struct error *err)
{
    const struct model_config *config = &model->network.config;
    struct model *m;
    enum status status = allocate(&m, config, err);

    assert(!model->away);
    *copy = NULL;
    if (status != OK)
        return status;
    m->host = host;
    memcpy(m->block, model->block, (size_t)model->layout.floats * sizeof(float));
    memcpy(m->emb, model->emb, (size_t)config->V * (size_t)config->C * sizeof(float));
    if (m->text != NULL)
        memcpy(m->text, model->text, (size_t)config->V * (size_t)config->text * sizeof(float));
    status = model_prepare(m, err);
    if (status != OK) {
        model_destroy(m);
        return status;
    }
    *copy = m;
    return OK;
}

enum status model_copy(struct model **copy, const struct model *model, struct error *err)
{
    return copy_to(copy, model, false, err);
}

const struct model_config *model_config(const struct model *model)
{
    return &model->network.config;
}

int32_t model_history_max(const struct model *model)
{
    return model->network.config.P - model->network.config.contexts;
}

struct network_state model_network(const struct model *model)
{
    return (struct network_state){&model->layout, &model->network, model->block,
                                  model->text,    model->emb,      model->device != NULL};
}

struct network_scorer model_scorer(const struct model *model)
{
    return (struct network_scorer){.network = &model->network,
                                   .inverse_norm = model->inverse_norm,
                                   .Z = model->layout.Z,
                                   .backend = model->backend,
                                   .device = model->device,
                                   .version = model->version,
                                   .prepared = model->prepared};
}

void model_changed(struct model *model)
{
    model->prepared = false;
}

void model_away(struct model *model, bool away)
{
    model->away = away;
}

void model_blend(const struct model *model)
{
    const struct network *network = &model->network;
    int32_t C = network->config.C, width = network->config.text;

    if (width == 0)
        return;
    memcpy(network->emb, model->emb, (size_t)network->config.V * (size_t)C * sizeof(float));
    for (int64_t v = 0; v < network->config.V; v++) {
        const float *text = model->text + v * width;
        float *row = network->emb + v * C;

        for (int32_t t = 0; t < width; t++)
            for (int32_t c = 0; text[t] != 0 && c < C; c++) /* most of a text is 0 */
                row[c] += text[t] * network->weights.text_w[(int64_t)t * C + c];
    }
}

/* Room for so many rows, the present ones in it. */
static enum status grow_tables(struct model *model, int64_t rows, struct error *err)
{
    size_t C = (size_t)model->network.config.C, V = (size_t)model->network.config.V;
    size_t width = (size_t)model->network.config.text, bytes = (size_t)rows * C * sizeof(float);
    float *emb = network_memory(bytes), *blended = width > 0 ? network_memory(bytes) : emb;
    float *text = width > 0 ? network_memory((size_t)rows * width * sizeof *text) : NULL;

    if (emb == NULL || blended == NULL || (width > 0 && text == NULL)) {
        free(emb);
        if (blended != emb)
            free(blended);
        free(text);
        return error_set(err, ERR_NOMEM, "no memory for %lld item rows", (long long)rows);
    }
    memcpy(emb, model->emb, V * C * sizeof(float));
    if (width > 0) {
        memcpy(blended, model->network.emb, V * C * sizeof(float));
        memset(text, 0, (size_t)rows * width * sizeof *text);
        memcpy(text, model->text, V * width * sizeof *text);
        free(model->network.emb);
    }
    free(model->emb);
    free(model->text);
    model->emb = emb;
    model->network.emb = blended;
    model->text = text;
    model->emb_capacity = (int32_t)rows;
    return OK;
}

enum status model_grow_items(struct model *model, int32_t V, struct error *err)
{
    struct model_config *config = &model->network.config;
    size_t C = (size_t)config->C;
    enum status status = check_range("item rows (V)", V, 1, MODEL_ITEMS_MAX, err);

    assert(!model->away);
    if (status != OK || V <= config->V)
        return status;
    if (V > model->emb_capacity) {
        /* Half as much again: a table that grows by a row an hour must not be copied each time. */
        int64_t rows = (int64_t)V + V / 2 < MODEL_ITEMS_MAX ? (int64_t)V + V / 2 : MODEL_ITEMS_MAX;

        status = grow_tables(model, rows, err);
        if (status != OK)
            return status;
    }
    for (int32_t v = config->V; v < V; v++) {
        float *row = model->emb + (size_t)v * C;
        struct random random;

        random_seed(&random, (uint64_t)v);
        for (size_t c = 0; c < C; c++)
            row[c] = model->emb[c] + GROW_NOISE * (float)random_normal(&random);
    }
    config->V = V;
    model->prepared = false;
    return OK;
}

float *model_item(struct model *model, int32_t row)
{
    assert(row >= 0 && row < model->network.config.V && !model->away);
    return model->emb + (int64_t)row * model->network.config.C;
}

float *model_item_text(struct model *model, int32_t row)
{
    assert(row >= 0 && row < model->network.config.V && !model->away);
    return model->text == NULL ? NULL : model->text + (int64_t)row * model->network.config.text;
}

int32_t model_tensors_count(const struct model *model)
{
    return model->layout.count + (model->text == NULL ? 1 : 2);
}

struct model_tensor model_tensor(struct model *model, int32_t index)
{
    const struct model_config *config = &model->network.config;
    struct model_tensor tensor = {0};

    assert(index >= 0 && index < model_tensors_count(model));
    if (index >= model->layout.count) {
        bool text = index > model->layout.count;

        if (text)
            strcpy(tensor.name, "text");
        else
            strcpy(tensor.name, "emb");
        tensor.dims_count = 2;
        tensor.dims[0] = config->V;
        tensor.dims[1] = text ? config->text : config->C;
        tensor.count = (size_t)tensor.dims[0] * (size_t)tensor.dims[1];
        tensor.data = text ? model->text : model->emb;
    } else {
        const struct network_tensor *t = &model->layout.tensors[index];

        memcpy(tensor.name, t->name, sizeof tensor.name);
        tensor.dims_count = t->dims_count;
        memcpy(tensor.dims, t->dims, sizeof tensor.dims);
        tensor.count = (size_t)t->count;
        tensor.data = model->block + t->offset;
    }
    return tensor;
}

void model_import_begin(struct model *model)
{
    memset(model->put, 0, sizeof model->put);
    model->importing = true;
    model->prepared = false;
}

enum status model_import_put(struct model *model, const char *name, const int64_t *dims,
                             int32_t dims_count, const float *data, struct error *err)
{
    struct model_tensor tensor = {0};
    int32_t index = 0, count = model_tensors_count(model);

    assert(model->importing);
    for (; index < count; index++) {
        tensor = model_tensor(model, index);
        if (strcmp(tensor.name, name) == 0)
            break;
    }
    if (index == count)
        return error_set(err, ERR_NOT_FOUND, "the model has no tensor \"%.64s\"", name);
    if (model->put[index])
        return error_set(err, ERR_MALFORMED, "tensor \"%s\" is given twice", tensor.name);
    if (dims_count != tensor.dims_count ||
        memcmp(dims, tensor.dims, (size_t)dims_count * sizeof *dims) != 0)
        return error_set(err, ERR_MALFORMED,
                         "tensor \"%s\" has %d dims (%lld, ...), the model's has %d (%lld, %lld)",
                         tensor.name, (int)dims_count, dims_count > 0 ? (long long)dims[0] : 0,
                         (int)tensor.dims_count, (long long)tensor.dims[0],
                         (long long)tensor.dims[1]);
    for (size_t i = 0; i < tensor.count; i++)
        if (!isfinite(data[i]))
            return error_set(err, ERR_MALFORMED, "tensor \"%s\" holds a number that is not finite",
                             tensor.name);
    assert(tensor.data != NULL);
    memcpy(tensor.data, data, tensor.count * sizeof *data);
    model->put[index] = true;
    return OK;
}

enum status model_import_end(struct model *model, struct error *err)
{
    assert(model->importing);
    for (int32_t i = 0; i < model_tensors_count(model); i++)
        if (!model->put[i])
            return error_set(err, ERR_MALFORMED, "tensor \"%s\" is missing",
                             model_tensor(model, i).name);
    model->importing = false;
    return model_prepare(model, err);
}

/* Of prepared weights; none twice in a process. */
static uint64_t next_version(void)
{
    static _Atomic uint64_t versions;

    return atomic_fetch_add(&versions, 1) + 1;
}

static void unfold(struct model *model)
{
    free(model->folded);
    model->folded = NULL;
    model->network.folded = (struct embed_folded){0};
}

static void unround(struct model *model)
{
    free(model->rounded);
    model->rounded = NULL;
    model->network.rounded = (struct network_rounded){0};
    model->network.bf16 = model->network.bf16_next = false;
}

enum status model_prepare(struct model *model, struct error *err)
{
    struct network *network = &model->network;

    assert(!model->importing && !model->away);
    unfold(model);
    unround(model);
    if (network->config.V > model->norm_capacity) {
        float *norms = network_memory((size_t)model->emb_capacity * sizeof *norms);

        if (norms == NULL)
            return error_set(err, ERR_NOMEM, "no memory for norms of %d item rows",
                             (int)network->config.V);
        free(model->inverse_norm);
        model->inverse_norm = norms;
        model->norm_capacity = model->emb_capacity;
    }
    model->version = next_version();
    network_pack(network, model->layout.Z, model->panels, false);
    model_blend(model);
    network->ops->next_norms(model->inverse_norm, network->emb, network->config.V,
                             network->config.C);
    if (model->backend->put != NULL && !model->host) {
        struct network_state state = model_network(model);
        enum status status = model->backend->put(&model->device, &state, err);

        if (status != OK)
            return status;
    }
    model->prepared = true;
    return OK;
}

enum status model_fold(struct model *model, struct error *err)
{
    int64_t floats = network_fold_floats(&model->network);

    assert(model->prepared);
    if (model->folded != NULL || model->device != NULL ||
        floats > MODEL_FOLD_BYTES_MAX / (int64_t)sizeof *model->folded)
        return OK;
    model->folded = network_memory((size_t)floats * sizeof *model->folded);
    if (model->folded == NULL)
        return error_set(err, ERR_NOMEM, "no memory for a folded table of %d item rows",
                         (int)model->network.config.V);
    network_fold(&model->network, model->folded);
    model->version = next_version();
    return OK;
}

static enum status round_by(struct model *model, enum linear_bf16_way way, struct error *err)
{
    model->rounded = network_memory((size_t)network_bf16_bytes(&model->network));
    if (model->rounded == NULL)
        return error_set(err, ERR_NOMEM, "no memory for rounded weights");
    network_bf16_pack(&model->network, way, model->rounded);
    model->version = next_version();
    return OK;
}

enum status model_round(struct model *model, struct error *err)
{
    struct network_state state;
    enum status status;

    assert(model->prepared);
    if (model_is_rounded(model))
        return OK;
    if (model->device == NULL)
        return round_by(model, linear_bf16_best(), err);
    model->network.bf16 = true;
    model->version = next_version(); /* K and V that a GPU keeps are of the others */
    state = model_network(model);
    status = model->backend->put(&model->device, &state, err);
    model->network.bf16 = status == OK;
    return status;
}

enum status model_round_next(struct model *model, struct error *err)
{
    struct network_state state;

    if (model->device == NULL || !model_is_rounded(model) || model->network.bf16_next)
        return OK;
    model->network.bf16_next = true;
    state = model_network(model);
    return model->backend->put(&model->device, &state, err);
}

bool model_is_rounded(const struct model *model)
{
    return model->device != NULL ? model->backend->multiplies_bf16(model->device)
                                 : model->network.rounded.on;
}

enum status model_copy_rounded(struct model **copy, const struct model *model, struct error *err)
{
    enum status status = copy_to(copy, model, true, err);

    if (status == OK)
        status = round_by(*copy, LINEAR_BF16_PORTABLE, err);
    if (status != OK) {
        model_destroy(*copy);
        *copy = NULL;
    }
    return status;
}

float model_probability(const struct model *model, float score)
{
    const float *platt = model->network.weights.platt;

    return (float)(1 / (1 + exp(-((double)platt[0] * (double)score + (double)platt[1]))));
}

void model_set_platt(struct model *model, float a, float b)
{
    model->network.weights.platt[0] = a;
    model->network.weights.platt[1] = b;
}
