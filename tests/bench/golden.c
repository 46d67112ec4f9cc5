/* tests/bench/golden.c - see golden.h. */
#include "tests/bench/golden.h"

#include "kernels/bucket.h"
#include "ops/file.h"
#include "ops/json.h"
#include "schemas/bundle.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILE_MAX     (64 << 20)
#define NODES_MAX    (1 << 20)
#define FOLDER_BYTES 4096

/* Parses folder/name and calls take with its root, which lives until take returns. */
static enum status with_json(const char *folder, const char *name,
                             enum status (*take)(void *, const struct json_node *, struct error *),
                             void *context, struct error *err)
{
    struct json_parser *parser = json_parser_create(FILE_MAX, NODES_MAX);
    const struct json_node *root;
    char path[FOLDER_BYTES], *bytes = NULL;
    size_t count;
    enum status status;

    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    if (parser == NULL)
        return error_set(err, ERR_NOMEM, "no memory to read \"%s\"", path);
    status = file_read(path, FILE_MAX, &bytes, &count, err);
    if (status == OK)
        status = json_parse(parser, (struct text){bytes, count}, &root, err);
    if (status == OK)
        status = take(context, root, err);
    free(bytes);
    json_parser_destroy(parser);
    return status;
}

static enum status take_meta(void *context, const struct json_node *root, struct error *err)
{
    struct golden *g = context;
    int64_t requests = json_int_or(json_member(root, "requests"), 0);

    g->config = (struct model_config){
        .C = (int32_t)json_int_or(json_member(root, "d"), 0),
        .L = (int32_t)json_int_or(json_member(root, "L"), 0),
        .H = (int32_t)json_int_or(json_member(root, "H"), 0),
        .P = (int32_t)json_int_or(json_member(root, "n_max"), 0),
        .V = (int32_t)json_int_or(json_member(root, "n_items"), 0),
        .A = (int32_t)json_int_or(json_member(root, "n_actions"), 0),
        .F = 1,
        .attention = MODEL_ATTENTION_SILU,
        .head = MODEL_HEAD_DOT,
        .tau = .05f,
    };
    g->n = (int32_t)json_int_or(json_member(root, "n"), 0);
    g->m = (int32_t)json_int_or(json_member(root, "m"), 0);
    if (requests < 1 || requests > GOLDEN_REQUESTS_MAX || g->n < 0 || g->m < 1 ||
        g->n > BATCH_HISTORY_MAX || g->m > BATCH_LIST_MAX)
        return error_set(err, ERR_MALFORMED, "meta.json: %lld requests of %d x %d",
                         (long long)requests, (int)g->n, (int)g->m);
    g->requests_count = (int32_t)requests;
    return OK;
}

/* Reads count numbers of an array; false when it has another length. */
static bool numbers(const struct json_node *array, int64_t count, double *into)
{
    const struct json_node *at = array == NULL ? NULL : array->child;
    int64_t i = 0;

    for (; at != NULL && i < count; at = at->next)
        into[i++] = json_real_or(at, 0);
    return at == NULL && i == count;
}

static enum status take_request(void *context, const struct json_node *root, struct error *err)
{
    struct golden *g = context;
    struct golden_request *r = &g->requests[g->requests_count];
    int32_t n = g->n, m = g->m;
    double *values = calloc((size_t)(n + m + 1), sizeof *values);
    enum status status = OK;

    r->item = calloc((size_t)n + 1, sizeof *r->item);
    r->action = calloc((size_t)n + 1, sizeof *r->action);
    r->time_ms = calloc((size_t)n + 1, sizeof *r->time_ms);
    r->candidate_item = calloc((size_t)m, sizeof *r->candidate_item);
    r->scalars = calloc((size_t)m, sizeof *r->scalars);
    r->scores = calloc((size_t)m, sizeof *r->scores);
    if (values == NULL || r->item == NULL || r->action == NULL || r->time_ms == NULL ||
        r->candidate_item == NULL || r->scalars == NULL || r->scores == NULL) {
        status = error_set(err, ERR_NOMEM, "no memory for a request");
        goto done;
    }
    status = error_set(err, ERR_MALFORMED, "a request is not of %d x %d", (int)n, (int)m);
    if (!numbers(json_member(root, "ids"), n + m, values))
        goto done;
    for (int32_t i = 0; i < n + m; i++)
        *(i < n ? &r->item[i] : &r->candidate_item[i - n]) = (int32_t)values[i];
    if (!numbers(json_member(root, "act"), n + 1, values))
        goto done;
    for (int32_t i = 0; i < n; i++)
        r->action[i] = (int32_t)values[i];
    if (!numbers(json_member(root, "t"), n + 1, values))
        goto done;
    for (int32_t i = 0; i <= n; i++)
        *(i < n ? &r->time_ms[i] : &r->request_time_ms) = (int64_t)values[i] * 1000;
    if (!numbers(json_member(root, "f"), m, values))
        goto done;
    for (int32_t i = 0; i < m; i++)
        r->scalars[i] = (float)values[i];
    if (!numbers(json_member(root, "scores"), m, r->scores))
        goto done;
    r->history_start[1] = n;
    r->candidate_start[1] = m;
    r->batch = (struct batch){.B = 1,
                              .T = n,
                              .N = m,
                              .F = 1,
                              .history_start = r->history_start,
                              .item = r->item,
                              .action = r->action,
                              .time_ms = r->time_ms,
                              .request_time_ms = &r->request_time_ms,
                              .candidate_start = r->candidate_start,
                              .candidate_item = r->candidate_item,
                              .scalars = r->scalars};
    status = OK;
done:
    free(values);
    return status;
}

/* Their gap table has no row of its own for "no gap before": bucket 0 serves for it. */
static enum status put_gap(struct golden *g, const struct tensor *gap, struct error *err)
{
    const int64_t dims[] = {BUCKET_GAPS, g->config.C};
    size_t row = (size_t)g->config.C * sizeof(float);
    float *wide;
    enum status status;

    if (gap->dims_count != 2 || gap->dims[0] != BUCKET_COUNT || gap->dims[1] != g->config.C)
        return error_set(err, ERR_MALFORMED, "tensor gap is not (%d, %d)", BUCKET_COUNT,
                         (int)g->config.C);
    wide = malloc(BUCKET_GAPS * row);
    if (wide == NULL)
        return error_set(err, ERR_NOMEM, "no memory for the gap table");
    memcpy(wide, gap->data, BUCKET_COUNT * row);
    memcpy((char *)wide + BUCKET_COUNT * row, gap->data, row);
    status = model_import_put(g->model, "gap", dims, 2, wide, err);
    free(wide);
    return status;
}

static enum status put_weights(struct golden *g, const struct safetensors *file, struct error *err)
{
    const float zeros[BATCH_POSITION_MAX + 1] = {0}, one = 1, pair[2] = {1, 0};
    const int64_t single = 1, two = 2, positions = BATCH_POSITION_MAX + 1;
    enum status status = OK;

    model_import_begin(g->model);
    for (int i = 0; status == OK && i < safetensors_count(file); i++) {
        const struct tensor *t = safetensors_at(file, i);

        status = strcmp(t->name, "gap") == 0
                     ? put_gap(g, t, err)
                     : model_import_put(g->model, t->name, t->dims, t->dims_count, t->data, err);
    }
    if (status == OK)
        status = model_import_put(g->model, "scalars.mean", &single, 1, zeros, err);
    if (status == OK)
        status = model_import_put(g->model, "scalars.scale", &single, 1, &one, err);
    if (status == OK)
        status = model_import_put(g->model, "position", &positions, 1, zeros, err);
    if (status == OK)
        status = model_import_put(g->model, "platt", &two, 1, pair, err);
    return status == OK ? model_import_end(g->model, err) : status;
}

enum status golden_load(struct golden *golden, const char *folder, struct error *err)
{
    struct golden g = {0};
    struct safetensors *file = NULL;
    char path[FOLDER_BYTES];
    int32_t wanted;
    enum status status = with_json(folder, "meta.json", take_meta, &g, err);

    *golden = g;
    if (status != OK)
        return status;
    status = model_create(&g.model, &g.config, 1, err);
    (void)snprintf(path, sizeof path, "%s/weights.safetensors", folder);
    if (status == OK)
        status = safetensors_read(&file, path, err);
    if (status == OK)
        status = put_weights(&g, file, err);
    safetensors_destroy(file);
    wanted = g.requests_count;
    g.requests_count = 0;
    for (int32_t k = 0; status == OK && k < wanted; k++) {
        (void)snprintf(path, sizeof path, "request_%d.json", (int)k);
        status = with_json(folder, path, take_request, &g, err);
        g.requests_count++;
    }
    if (status != OK) {
        golden_clear(&g);
        return error_prefix(err, "golden folder \"%.80s\"", folder);
    }
    *golden = g;
    /* A batch points into its own struct, which has moved. */
    for (int32_t k = 0; k < golden->requests_count; k++) {
        struct golden_request *r = &golden->requests[k];

        r->batch.history_start = r->history_start;
        r->batch.candidate_start = r->candidate_start;
        r->batch.request_time_ms = &r->request_time_ms;
    }
    return OK;
}

void golden_clear(struct golden *golden)
{
    for (int32_t k = 0; k < golden->requests_count; k++) {
        struct golden_request *r = &golden->requests[k];

        free(r->item);
        free(r->action);
        free(r->time_ms);
        free(r->candidate_item);
        free(r->scalars);
        free(r->scores);
    }
    model_destroy(golden->model);
    *golden = (struct golden){0};
}
