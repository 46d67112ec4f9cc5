/*
 * kernels/model.c - owns the weights, names them, and scores with them.
 *
 * Dense tensors lie in one block, the item table apart because it grows. What scoring reads
 * beside them (packed panels, inverse norms of item rows, item rows with their texts) is derived by
 * model_prepare().
 */
#include "kernels/model.h"

#include "kernels/backend.h"
#include "kernels/kv_cache.h"
#include "kernels/network.h"
#include "ops/random.h"

#include <assert.h>
#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define EMB_INIT    .02f
#define GROW_NOISE  .005f
#define ALIGNMENT   64
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

/* Of a batch that is scored with a cache: one a request, each with its part of keys and slots. */
struct workspace_leases {
    struct kv_lease *list;
    int32_t capacity;
    int64_t pages; /* that keys and slots have room for */
    struct hash128 *keys;
    int32_t *slots;
};

struct model_workspace {
    char *memory;
    size_t bytes;
    const struct backend *backend; /* of device, once it has one */
    struct device_pass *device;
    struct workspace_leases leases;
};

static void *aligned(size_t bytes)
{
    return aligned_alloc(ALIGNMENT, (bytes + 2 * ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT);
}

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
    m->block = aligned((size_t)m->layout.floats * sizeof(float));
    m->panels = aligned((size_t)network_panels_floats(config, false) * sizeof(float));
    m->emb = aligned((size_t)config->V * (size_t)config->C * sizeof(float));
    m->network.emb = m->emb;
    if (config->text > 0) {
        m->network.emb = aligned((size_t)config->V * (size_t)config->C * sizeof(float));
        m->text = aligned((size_t)config->V * (size_t)config->text * sizeof(float));
    }
    m->inverse_norm = aligned((size_t)config->V * sizeof(float));
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
    assert(model->prepared);
    return (struct network_scorer){&model->network, model->inverse_norm, model->layout.Z,
                                   model->backend, model->device};
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
    float *emb = aligned(bytes), *blended = width > 0 ? aligned(bytes) : emb;
    float *text = width > 0 ? aligned((size_t)rows * width * sizeof *text) : NULL;

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
        float *norms = aligned((size_t)model->emb_capacity * sizeof *norms);

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
    model->folded = aligned((size_t)floats * sizeof *model->folded);
    if (model->folded == NULL)
        return error_set(err, ERR_NOMEM, "no memory for a folded table of %d item rows",
                         (int)model->network.config.V);
    network_fold(&model->network, model->folded);
    model->version = next_version();
    return OK;
}

static enum status round_by(struct model *model, enum linear_bf16_way way, struct error *err)
{
    model->rounded = aligned((size_t)network_bf16_bytes(&model->network));
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

struct model_workspace *model_workspace_create(void)
{
    struct model_workspace *workspace = calloc(1, sizeof *workspace);

    if (workspace == NULL)
        abort();
    return workspace;
}

void model_workspace_destroy(struct model_workspace *workspace)
{
    if (workspace == NULL)
        return;
    free(workspace->memory);
    free(workspace->leases.list);
    free(workspace->leases.keys);
    free(workspace->leases.slots);
    if (workspace->device != NULL)
        workspace->backend->drop_pass(workspace->device);
    free(workspace);
}

static enum status reserve(struct model_workspace *workspace, size_t bytes, struct error *err)
{
    char *memory;

    if (bytes <= workspace->bytes)
        return OK;
    memory = aligned(bytes);
    if (memory == NULL)
        return error_set(err, ERR_NOMEM, "no memory for a workspace of %zu bytes", bytes);
    /* Padding is read and must be finite; what an earlier request left there is. */
    memset(memory, 0, bytes);
    free(workspace->memory);
    workspace->memory = memory;
    workspace->bytes = bytes;
    return OK;
}

enum status model_workspace_reserve(struct model_workspace *workspace, size_t bytes, char **memory,
                                    struct error *err)
{
    enum status status = reserve(workspace, bytes, err);

    *memory = workspace->memory;
    return status;
}

struct device_pass **model_workspace_pass(struct model_workspace *workspace,
                                          const struct backend *backend)
{
    workspace->backend = backend;
    return &workspace->device;
}

/* Starts at 0, never falls, ends at the count, and no request is longer than longest. */
static enum status check_starts(const char *name, const int32_t *start, int32_t B, int32_t count,
                                int32_t longest, struct error *err)
{
    if (start[0] != 0 || start[B] != count)
        return error_set(err, ERR_LIMIT, "batch: %s starts run from %d to %d, not from 0 to %d",
                         name, (int)start[0], (int)start[B], (int)count);
    for (int32_t b = 0; b < B; b++)
        if (start[b + 1] < start[b] || (int64_t)start[b + 1] - start[b] > longest)
            return error_set(err, ERR_LIMIT, "batch: request %d has %lld of %s, 0 to %d fit",
                             (int)b, (long long)start[b + 1] - start[b], name, (int)longest);
    return OK;
}

enum status network_check_batch(const struct model_config *config, const struct batch *batch,
                                struct error *err)
{
    enum status status;

    if (batch->B < 0 || batch->B > BATCH_REQUESTS_MAX || batch->T < 0 ||
        batch->T > BATCH_TOKENS_MAX || batch->N < 0 || batch->N > BATCH_CANDIDATES_MAX)
        return error_set(err, ERR_LIMIT, "batch of %d requests, %d tokens, %d candidates",
                         (int)batch->B, (int)batch->T, (int)batch->N);
    if (batch->F != config->F && batch->N > 0)
        return error_set(err, ERR_LIMIT, "batch brings %d scalars, the model has %d", (int)batch->F,
                         (int)config->F);
    if (batch->B == 0)
        return OK;
    status = check_starts("history", batch->history_start, batch->B, batch->T,
                          config->P - config->contexts, err);
    if (status == OK)
        status = check_starts("candidates", batch->candidate_start, batch->B, batch->N,
                              BATCH_LIST_MAX, err);
    return status;
}

/* What a call computes of each request. */
enum wanted { WANT_SCORES, WANT_NEXT_ALL, WANT_NEXT_CANDIDATES };

static void score_request(const struct model *model, const struct request *request,
                          enum wanted wanted, char *memory, float *pool,
                          const struct kv_lease *lease, float *scores)
{
    const struct network *net = &model->network;
    struct network_pass pass;
    struct request alone = *request;
    int32_t V = net->config.V, C = net->config.C;
    float *to = scores + (wanted == WANT_NEXT_ALL ? (int64_t)request->index * V
                                                  : (int64_t)request->candidate);
    const float *x;

    if (wanted != WANT_SCORES)
        alone.m = 0;
    network_pass_begin(&pass, net, &alone, false, wanted != WANT_SCORES, false, memory);
    if (wanted == WANT_SCORES) {
        pass.pool = pool;
        pass.lease = lease;
        pass.kept_rows = pool == NULL ? 0 : lease->found * KV_PAGE_ROWS;
        network_forward(&pass, to, 0, 0);
        return;
    }
    if (request->n == request->contexts) {
        memset(to, 0, (size_t)(wanted == WANT_NEXT_ALL ? V : request->m) * sizeof *to);
    } else {
        network_forward(&pass, NULL, 0, 0);
        x = network_states(&pass) + (int64_t)(request->n - 1) * C;
        if (wanted == WANT_NEXT_ALL)
            net->ops->next_scores(to, x, net->emb, model->inverse_norm, V, C, 1 / net->config.tau);
        else
            net->ops->next_scores_of(to, x, net->emb, model->inverse_norm,
                                     request->batch->candidate_item + request->candidate,
                                     request->m, V, C, 1 / net->config.tau);
    }
    if (wanted == WANT_NEXT_ALL)
        to[BATCH_ITEM_UNKNOWN] = -INFINITY;
}

/* Room for pass after pass of the batch's requests. */
static enum status reserve_passes(const struct model *model, struct model_workspace *workspace,
                                  const struct batch *batch, bool candidates, struct error *err)
{
    size_t most = 0;

    for (int32_t b = 0; b < batch->B; b++) {
        struct request request = request_with(batch, b, model->network.config.contexts);
        size_t bytes = network_pass_bytes(&model->network.config, model->layout.Z, request.n,
                                          candidates ? request.m : 0, false, false);

        most = bytes > most ? bytes : most;
    }
    return reserve(workspace, most, err);
}

static enum status score_batch(const struct model *model, struct model_workspace *workspace,
                               const struct batch *batch, enum wanted wanted, float *scores,
                               struct error *err)
{
    enum status status;

    assert(model->prepared);
    status = network_check_batch(&model->network.config, batch, err);
    if (status != OK)
        return status;
    if (model->device != NULL) {
        workspace->backend = model->backend;
        if (wanted == WANT_SCORES)
            return model->backend->score(&workspace->device, model->device, NULL, NULL, batch,
                                         scores, err);
        return model->backend->score_next(&workspace->device, model->device, batch,
                                          wanted == WANT_NEXT_ALL, scores, err);
    }
    status = reserve_passes(model, workspace, batch, wanted == WANT_SCORES, err);
    if (status != OK)
        return status;
    for (int32_t b = 0; b < batch->B; b++) {
        struct request request = request_with(batch, b, model->network.config.contexts);

        score_request(model, &request, wanted, workspace->memory, NULL, NULL, scores);
    }
    return OK;
}

enum status model_score(const struct model *model, struct model_workspace *workspace,
                        const struct batch *batch, float *scores, struct error *err)
{
    return score_batch(model, workspace, batch, WANT_SCORES, scores, err);
}

static struct kv_shape shape_of(const struct model *model)
{
    return (struct kv_shape){.L = model->network.config.L,
                             .C = model->network.config.C,
                             .backend = model->device == NULL ? NULL : model->backend};
}

enum status model_reserve_cache(const struct model *model, struct kv_cache *cache,
                                struct error *err)
{
    return kv_cache_reserve(cache, shape_of(model), err);
}

bool model_fits_cache(const struct model *model, struct kv_cache *cache)
{
    return kv_cache_fits(cache, shape_of(model));
}

void model_forget_cached(const struct model *model, struct kv_cache *cache)
{
    kv_cache_forget(cache, model->version);
}

/* Grown at once to what is wanted; what they hold is of no use to the next batch. */
static enum status reserve_leases(struct workspace_leases *leases, int32_t requests, int64_t pages,
                                  struct error *err)
{
    if (requests > leases->capacity) {
        free(leases->list);
        leases->list = calloc((size_t)requests, sizeof *leases->list);
        leases->capacity = leases->list == NULL ? 0 : requests;
    }
    if (pages > leases->pages) {
        free(leases->keys);
        free(leases->slots);
        leases->keys = calloc((size_t)pages, sizeof *leases->keys);
        leases->slots = calloc((size_t)pages, sizeof *leases->slots);
        leases->pages = leases->keys == NULL || leases->slots == NULL ? 0 : pages;
    }
    if (requests > leases->capacity || pages > leases->pages)
        return error_set(err, ERR_NOMEM, "no memory for %d leases of %lld pages", (int)requests,
                         (long long)pages);
    return OK;
}

/* One request after the other: the next finds what this one leaves. */
static enum status score_from_pages(const struct model *model, struct model_workspace *workspace,
                                    struct kv_cache *cache, const struct batch *batch,
                                    float *scores, struct error *err)
{
    struct workspace_leases *leases = &workspace->leases;
    enum status status = reserve_passes(model, workspace, batch, true, err);
    float *pool;

    if (status == OK)
        status = reserve_leases(leases, 1, kv_pages_of(model->network.config.P), err);
    if (status != OK)
        return status;
    pool = kv_cache_enter(cache, shape_of(model));
    for (int32_t b = 0; b < batch->B; b++) {
        struct request request = request_with(batch, b, model->network.config.contexts);
        struct kv_lease lease = {.keys = leases->keys, .slots = leases->slots};

        if (pool != NULL) {
            kv_cache_keys(cache, &lease, model->version, &request);
            kv_cache_take(cache, &lease);
        }
        score_request(model, &request, WANT_SCORES, workspace->memory, pool, &lease, scores);
        if (pool != NULL)
            kv_cache_give(cache, &lease, true);
    }
    if (pool != NULL)
        kv_cache_leave(cache);
    return OK;
}

/* All requests at once: two that have a page in common, and find none, both compute it. */
static enum status score_on_device(const struct model *model, struct model_workspace *workspace,
                                   struct kv_cache *cache, const struct batch *batch, float *scores,
                                   struct error *err)
{
    struct workspace_leases *leases = &workspace->leases;
    int32_t contexts = model->network.config.contexts, B = batch->B;
    int64_t rows = (int64_t)batch->T + (int64_t)B * contexts, page = 0;
    enum status status = reserve_leases(leases, B, rows / KV_PAGE_ROWS + 1, err);
    float *pool = status == OK ? kv_cache_enter(cache, shape_of(model)) : NULL;

    if (status != OK)
        return status;
    for (int32_t b = 0; b < B && pool != NULL; b++) {
        struct request request = request_with(batch, b, contexts);

        leases->list[b] = (struct kv_lease){.keys = leases->keys + page,
                                            .slots = leases->slots + page};
        kv_cache_keys(cache, &leases->list[b], model->version, &request);
        kv_cache_take(cache, &leases->list[b]);
        page += leases->list[b].pages;
    }
    workspace->backend = model->backend;
    status = model->backend->score(&workspace->device, model->device, pool, leases->list, batch,
                                   scores, err);
    for (int32_t b = 0; b < B && pool != NULL; b++)
        kv_cache_give(cache, &leases->list[b], status == OK);
    if (pool != NULL)
        kv_cache_leave(cache);
    return status;
}

enum status model_score_cached(const struct model *model, struct model_workspace *workspace,
                               struct kv_cache *cache, const struct batch *batch, float *scores,
                               struct error *err)
{
    enum status status = network_check_batch(&model->network.config, batch, err);

    assert(model->prepared);
    if (status != OK)
        return status;
    if (cache == NULL || batch->N == 0) /* nothing is computed for nobody */
        return score_batch(model, workspace, batch, WANT_SCORES, scores, err);
    if (model->device != NULL)
        return score_on_device(model, workspace, cache, batch, scores, err);
    return score_from_pages(model, workspace, cache, batch, scores, err);
}

enum status model_next_all(const struct model *model, struct model_workspace *workspace,
                           const struct batch *batch, float *scores, struct error *err)
{
    return score_batch(model, workspace, batch, WANT_NEXT_ALL, scores, err);
}

enum status model_next_candidates(const struct model *model, struct model_workspace *workspace,
                                  const struct batch *batch, float *scores, struct error *err)
{
    return score_batch(model, workspace, batch, WANT_NEXT_CANDIDATES, scores, err);
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
