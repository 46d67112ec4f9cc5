/*
 * kernels/model_next.c - the best next items of each request: their states, then the item table
 * block by block.
 *
 * Flow: batch -> [states of 16 requests -> blocks of the table -> their tops] -> rows, scores
 *
 * A block of the table fits the L2 cache and serves 16 requests before the next one comes: read for
 * each request alone, a table larger than the caches is what a request waits for.
 */
#include "kernels/model.h"

#include "kernels/backend.h"
#include "kernels/network.h"

#include <assert.h>
#include <string.h>

#define GROUP        16    /* requests that share a reading of the table */
#define BLOCK_FLOATS 16384 /* of the table: 64 KB */
#define BLOCK_ROWS   256   /* at most */

/* Requests first .. first + count - 1 of a batch on their way. */
struct group {
    const struct network_scorer *scorer;
    int32_t first, count, V, k;
    char *pass;     /* memory of one request's pass */
    float *states;  /* (GROUP, C) */
    uint64_t *keys; /* (GROUP, 2 k) */
    bool has_state[GROUP];
    struct top tops[GROUP];
};

static void find_states(struct group *group, const struct batch *batch)
{
    const struct network *net = group->scorer->network;
    int32_t C = net->config.C;

    for (int32_t i = 0; i < group->count; i++) {
        struct request request = request_with(batch, group->first + i, net->config.contexts);
        struct network_pass pass;

        group->has_state[i] = request.n > request.contexts;
        if (!group->has_state[i])
            continue;
        request.m = 0;
        network_pass_begin(&pass, net, &request, false, true, false, group->pass);
        network_forward(&pass, NULL, 0, 0);
        memcpy(group->states + (int64_t)i * C, network_states(&pass) + (int64_t)(request.n - 1) * C,
               (size_t)C * sizeof(float));
    }
}

/* Row 0 is the unknown item. */
static void walk_table(struct group *group)
{
    const struct network *net = group->scorer->network;
    int32_t C = net->config.C, V = group->V, step = BLOCK_FLOATS / C;
    float scores[BLOCK_ROWS];

    step = step < BLOCK_ROWS ? step : BLOCK_ROWS;
    for (int32_t row = 1; row < V; row += step) {
        int32_t count = V - row < step ? V - row : step;

        for (int32_t i = 0; i < group->count; i++) {
            if (!group->has_state[i])
                continue;
            net->ops->next_scores(scores, group->states + (int64_t)i * C,
                                  net->emb + (int64_t)row * C, group->scorer->inverse_norm + row,
                                  count, C, 1 / net->config.tau);
            net->ops->top_offer(&group->tops[i], scores, row, count);
        }
    }
}

static void group_top(struct group *group, const struct batch *batch, int32_t *rows, float *scores)
{
    int32_t k = group->k;

    for (int32_t i = 0; i < group->count; i++)
        top_begin(&group->tops[i], group->keys + (int64_t)i * 2 * k, k);
    find_states(group, batch);
    walk_table(group);
    for (int32_t i = 0; i < group->count; i++)
        top_end(&group->tops[i], rows + (int64_t)(group->first + i) * k,
                scores + (int64_t)(group->first + i) * k);
    /* A later pass reads padding here, which may be anything but a NaN: keys are no floats. */
    memset(group->keys, 0, (size_t)group->count * 2 * (size_t)k * sizeof *group->keys);
}

static size_t round_up(size_t bytes)
{
    return (bytes + 63) / 64 * 64;
}

/* Memory for a group whose pass takes so many bytes. */
static enum status carve(struct group *group, struct model_workspace *workspace, size_t pass_bytes,
                         struct error *err)
{
    size_t states = GROUP * (size_t)group->scorer->network->config.C * sizeof(float);
    size_t keys = GROUP * 2 * (size_t)group->k * sizeof(uint64_t);
    char *memory;
    enum status status = model_workspace_reserve(
        workspace, round_up(pass_bytes) + round_up(states) + keys, &memory, err);

    if (status != OK)
        return status;
    group->pass = memory;
    group->states = (float *)(void *)(memory + round_up(pass_bytes));
    group->keys = (uint64_t *)(void *)(memory + round_up(pass_bytes) + round_up(states));
    return OK;
}

static enum status top_on_cpu(const struct network_scorer *scorer,
                              struct model_workspace *workspace, const struct batch *batch,
                              int32_t V, int32_t k, int32_t *rows, float *scores, struct error *err)
{
    const struct model_config *config = &scorer->network->config;
    struct group group = {.scorer = scorer, .V = V, .k = k};
    size_t most = 0;
    enum status status;

    for (int32_t b = 0; b < batch->B; b++) {
        struct request request = request_with(batch, b, config->contexts);
        size_t bytes = network_pass_bytes(config, scorer->Z, request.n, 0, false, false);

        most = bytes > most ? bytes : most;
    }
    status = carve(&group, workspace, most, err);
    if (status != OK)
        return status;
    for (; group.first < batch->B; group.first += GROUP) {
        group.count = batch->B - group.first < GROUP ? batch->B - group.first : GROUP;
        group_top(&group, batch, rows, scores);
    }
    return OK;
}

enum status model_next_top(const struct model *model, struct model_workspace *workspace,
                           const struct batch *batch, int32_t V, int32_t k, int32_t *rows,
                           float *scores, struct error *err)
{
    struct network_scorer scorer = model_scorer(model);
    enum status status = network_check_batch(&scorer.network->config, batch, err);

    assert(scorer.prepared);
    if (status != OK)
        return status;
    if (k < 0 || k > MODEL_NEXT_TOP_MAX)
        return error_set(err, ERR_LIMIT, "%d next items are asked for, 0 to %d can be", (int)k,
                         MODEL_NEXT_TOP_MAX);
    if (V < 1 || V > scorer.network->config.V)
        return error_set(err, ERR_LIMIT, "next items among %d rows, the model has %d", (int)V,
                         (int)scorer.network->config.V);
    if (k == 0 || batch->B == 0)
        return OK;
    if (scorer.device != NULL)
        return scorer.backend->next_top(model_workspace_pass(workspace, scorer.backend),
                                        scorer.device, batch, V, k, rows, scores, err);
    return top_on_cpu(&scorer, workspace, batch, V, k, rows, scores, err);
}
