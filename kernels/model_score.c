/*
 * kernels/model_score.c - a batch scored with a model, and the memory that takes.
 *
 * Flow: batch -> [checked -> one request after the other on the CPU, all at once on a GPU] ->
 * scores
 *
 * What a model computes and where comes from model_scorer(); nothing here changes a model.
 */
#include "kernels/model.h"

#include "kernels/backend.h"
#include "kernels/kv_cache.h"
#include "kernels/network.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

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
    memory = network_memory(bytes);
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

static void score_request(const struct network_scorer *scorer, const struct request *request,
                          enum wanted wanted, char *memory, float *pool,
                          const struct kv_lease *lease, float *scores)
{
    const struct network *net = scorer->network;
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
            net->ops->next_scores(to, x, net->emb, scorer->inverse_norm, V, C, 1 / net->config.tau);
        else
            net->ops->next_scores_of(to, x, net->emb, scorer->inverse_norm,
                                     request->batch->candidate_item + request->candidate,
                                     request->m, V, C, 1 / net->config.tau);
    }
    if (wanted == WANT_NEXT_ALL)
        to[BATCH_ITEM_UNKNOWN] = -INFINITY;
}

/* Room for pass after pass of the batch's requests. */
static enum status reserve_passes(const struct network_scorer *scorer,
                                  struct model_workspace *workspace, const struct batch *batch,
                                  bool candidates, struct error *err)
{
    size_t most = 0;

    for (int32_t b = 0; b < batch->B; b++) {
        struct request request = request_with(batch, b, scorer->network->config.contexts);
        size_t bytes = network_pass_bytes(&scorer->network->config, scorer->Z, request.n,
                                          candidates ? request.m : 0, false, false);

        most = bytes > most ? bytes : most;
    }
    return reserve(workspace, most, err);
}

static enum status score_batch(const struct network_scorer *scorer,
                               struct model_workspace *workspace, const struct batch *batch,
                               enum wanted wanted, float *scores, struct error *err)
{
    enum status status;

    assert(scorer->prepared);
    status = network_check_batch(&scorer->network->config, batch, err);
    if (status != OK)
        return status;
    if (scorer->device != NULL) {
        workspace->backend = scorer->backend;
        if (wanted == WANT_SCORES)
            return scorer->backend->score(&workspace->device, scorer->device, NULL, NULL, batch,
                                          scores, err);
        return scorer->backend->score_next(&workspace->device, scorer->device, batch,
                                           wanted == WANT_NEXT_ALL, scores, err);
    }
    status = reserve_passes(scorer, workspace, batch, wanted == WANT_SCORES, err);
    if (status != OK)
        return status;
    for (int32_t b = 0; b < batch->B; b++) {
        struct request request = request_with(batch, b, scorer->network->config.contexts);

        score_request(scorer, &request, wanted, workspace->memory, NULL, NULL, scores);
    }
    return OK;
}

enum status model_score(const struct model *model, struct model_workspace *workspace,
                        const struct batch *batch, float *scores, struct error *err)
{
    struct network_scorer scorer = model_scorer(model);

    return score_batch(&scorer, workspace, batch, WANT_SCORES, scores, err);
}

static struct kv_shape shape_of(const struct network_scorer *scorer)
{
    return (struct kv_shape){.L = scorer->network->config.L,
                             .C = scorer->network->config.C,
                             .backend = scorer->device == NULL ? NULL : scorer->backend};
}

enum status model_reserve_cache(const struct model *model, struct kv_cache *cache,
                                struct error *err)
{
    struct network_scorer scorer = model_scorer(model);

    return kv_cache_reserve(cache, shape_of(&scorer), err);
}

bool model_fits_cache(const struct model *model, struct kv_cache *cache)
{
    struct network_scorer scorer = model_scorer(model);

    return kv_cache_fits(cache, shape_of(&scorer));
}

void model_forget_cached(const struct model *model, struct kv_cache *cache)
{
    struct network_scorer scorer = model_scorer(model);

    kv_cache_forget(cache, scorer.version);
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
static enum status score_from_pages(const struct network_scorer *scorer,
                                    struct model_workspace *workspace, struct kv_cache *cache,
                                    const struct batch *batch, float *scores, struct error *err)
{
    struct workspace_leases *leases = &workspace->leases;
    enum status status = reserve_passes(scorer, workspace, batch, true, err);
    float *pool;

    if (status == OK)
        status = reserve_leases(leases, 1, kv_pages_of(scorer->network->config.P), err);
    if (status != OK)
        return status;
    pool = kv_cache_enter(cache, shape_of(scorer));
    for (int32_t b = 0; b < batch->B; b++) {
        struct request request = request_with(batch, b, scorer->network->config.contexts);
        struct kv_lease lease = {.keys = leases->keys, .slots = leases->slots};

        if (pool != NULL) {
            kv_cache_keys(cache, &lease, scorer->version, &request);
            kv_cache_take(cache, &lease);
        }
        score_request(scorer, &request, WANT_SCORES, workspace->memory, pool, &lease, scores);
        if (pool != NULL)
            kv_cache_give(cache, &lease, true);
    }
    if (pool != NULL)
        kv_cache_leave(cache);
    return OK;
}

/* All requests at once: two that have a page in common, and find none, both compute it. */
static enum status score_on_device(const struct network_scorer *scorer,
                                   struct model_workspace *workspace, struct kv_cache *cache,
                                   const struct batch *batch, float *scores, struct error *err)
{
    struct workspace_leases *leases = &workspace->leases;
    int32_t contexts = scorer->network->config.contexts, B = batch->B;
    int64_t rows = (int64_t)batch->T + (int64_t)B * contexts, page = 0;
    enum status status = reserve_leases(leases, B, rows / KV_PAGE_ROWS + 1, err);
    float *pool = status == OK ? kv_cache_enter(cache, shape_of(scorer)) : NULL;

    if (status != OK)
        return status;
    for (int32_t b = 0; b < B && pool != NULL; b++) {
        struct request request = request_with(batch, b, contexts);

        leases->list[b] = (struct kv_lease){.keys = leases->keys + page,
                                            .slots = leases->slots + page};
        kv_cache_keys(cache, &leases->list[b], scorer->version, &request);
        kv_cache_take(cache, &leases->list[b]);
        page += leases->list[b].pages;
    }
    workspace->backend = scorer->backend;
    status = scorer->backend->score(&workspace->device, scorer->device, pool, leases->list, batch,
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
    struct network_scorer scorer = model_scorer(model);
    enum status status = network_check_batch(&scorer.network->config, batch, err);

    assert(scorer.prepared);
    if (status != OK)
        return status;
    if (cache == NULL || batch->N == 0) /* nothing is computed for nobody */
        return score_batch(&scorer, workspace, batch, WANT_SCORES, scores, err);
    if (scorer.device != NULL)
        return score_on_device(&scorer, workspace, cache, batch, scores, err);
    return score_from_pages(&scorer, workspace, cache, batch, scores, err);
}

enum status model_next_all(const struct model *model, struct model_workspace *workspace,
                           const struct batch *batch, float *scores, struct error *err)
{
    struct network_scorer scorer = model_scorer(model);

    return score_batch(&scorer, workspace, batch, WANT_NEXT_ALL, scores, err);
}

enum status model_next_candidates(const struct model *model, struct model_workspace *workspace,
                                  const struct batch *batch, float *scores, struct error *err)
{
    struct network_scorer scorer = model_scorer(model);

    return score_batch(&scorer, workspace, batch, WANT_NEXT_CANDIDATES, scores, err);
}
