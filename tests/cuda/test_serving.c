/*
 * Tests kernels/cuda/forward where a server lives: histories whose K and V stay on the device,
 * next-item scores, graphs, and no allocation once the largest batch was seen.
 */
#include "kernels/cuda/graphs.h"
#include "kernels/kv_cache.h"
#include "kernels/model.h"
#include "kernels/network.h"

#include "tests/cuda/device.h"
#include "tests/cuda/models.h"
#include "tests/kernels/jagged.h"
#include "tests/test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define SCORES_MAX 256
#define TOLERANCE  1e-4 /* kernels/cuda/forward.h */

static struct jagged jagged;

static struct kv_cache *cache_of(int64_t bytes)
{
    struct kv_cache *cache;
    struct error err;

    CHECK_STATUS(OK, kv_cache_create(&cache, bytes, &err));
    return cache;
}

static struct kv_cache_stats stats_of(const struct kv_cache *cache)
{
    struct kv_cache_stats stats;

    kv_cache_stats(cache, &stats);
    return stats;
}

/* In the emulator a row's bits depend on the row alone, so kept K and V must give the same ones. */
static void check_kept(const struct model *model, struct model_workspace *workspace,
                       struct kv_cache *cache, const struct batch *batch)
{
    float cpu[SCORES_MAX], plain[SCORES_MAX], kept[SCORES_MAX];
    struct error err;

    CHECK(batch->N <= SCORES_MAX);
    memset(kept, 0xff, sizeof kept);
    models_score_on_cpu(model, batch, cpu);
    CHECK_STATUS(OK, model_score_cached(model, workspace, cache, batch, kept, &err));
    CHECK_STATUS(OK, model_score(model, workspace, batch, plain, &err));
    for (int32_t i = 0; i < batch->N; i++) {
        CHECK_NEAR((double)cpu[i], (double)kept[i], TOLERANCE * (1 + fabs((double)cpu[i])));
        CHECK_NEAR((double)plain[i], (double)kept[i], 0);
    }
}

/* The first n tokens of the request, and what follows of its candidates. */
static void shorten(struct jagged *all, int32_t n, int32_t m)
{
    all->batch.T = all->history_start[1] = n;
    all->batch.N = all->candidate_start[1] = m;
}

TEST(cuda_kept_histories_grow_change_and_are_begun_anew)
{
    const struct jagged_size size = {40, 9};
    struct model_workspace *workspace = model_workspace_create();

    cuemu_need_emulator();
    models_backend_is_cuda();
    for (int number = 0; number < 2; number++) {
        struct kv_cache *cache = cache_of(1 << 20);
        struct random random;
        struct model_config config;
        struct model *model;

        random_seed(&random, test_seed() + (uint64_t)number);
        config = models_config(number, &random);
        model = models_rough(&config, test_seed() + (uint64_t)number);
        jagged_fill(&jagged, &config, &size, 1, test_seed());
        cuemu_schedule((enum cuemu_order)(number % CUEMU_ORDERS), (uint64_t)number);
        const int32_t lengths[] = {17, 40, 0, 40, 25};
        for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
            shorten(&jagged, lengths[i], 1 + (int32_t)i);
            jagged.request_time_ms[0] += 70000; /* time passes: no row of a history changes */
            check_kept(model, workspace, cache, &jagged.batch);
        }
        jagged.item[7] = (jagged.item[7] + 1) % 40; /* from here on another history */
        check_kept(model, workspace, cache, &jagged.batch);
        shorten(&jagged, 25, 0); /* nothing to score */
        check_kept(model, workspace, cache, &jagged.batch);
        for (size_t k = 0; k < model_tensor(model, 3).count; k++)
            model_tensor(model, 3).data[k] *= .9f;
        struct error err;
        CHECK_STATUS(OK, model_prepare(model, &err));
        shorten(&jagged, 25, 5);
        check_kept(model, workspace, cache, &jagged.batch);
        kv_cache_destroy(cache);
        model_destroy(model);
    }
    model_workspace_destroy(workspace);
    CHECK_INT(0, cuemu_reports());
}

/* Another context is another history: its K and V are nobody else's. */
TEST(cuda_kept_history_follows_its_context)
{
    const struct jagged_size size = {20, 5};
    struct model_workspace *workspace = model_workspace_create();
    struct kv_cache *cache = cache_of(1 << 20);

    cuemu_need_emulator();
    models_backend_is_cuda();
    for (int contexts = 0; contexts < 3; contexts++) {
        struct random random;
        struct model_config config;
        struct model *model;

        random_seed(&random, test_seed());
        config = models_config(0, &random);
        config.contexts = contexts;
        model = models_rough(&config, test_seed());
        jagged_fill(&jagged, &config, &size, 1, test_seed());
        const int32_t lengths[] = {11, 20, 0, 7};
        for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
            shorten(&jagged, lengths[i], 2 + (int32_t)i);
            check_kept(model, workspace, cache, &jagged.batch);
        }
        jagged.context[0]++;
        check_kept(model, workspace, cache, &jagged.batch);
        model_destroy(model);
    }
    kv_cache_destroy(cache);
    model_workspace_destroy(workspace);
    CHECK_INT(0, cuemu_reports());
}

/* ---- pages of many histories ---- */

#define USERS 4
#define LONG  40
#define ASKED 3 /* requests of a batch */

/* Histories of one stream of tokens each, of which a request sees the first count. */
static struct {
    int32_t count[USERS], item[USERS][LONG], action[USERS][LONG];
    int64_t time_ms[USERS][LONG];
} users;

static int32_t below(struct random *random, int32_t bound)
{
    return (int32_t)random_below(random, (uint64_t)bound);
}

static void users_begin(struct random *random)
{
    for (int u = 0; u < USERS; u++)
        for (int32_t j = 0; j < LONG; j++) {
            users.count[u] = below(random, LONG);
            users.item[u][j] = below(random, 40);
            users.action[u][j] = 1 + below(random, 3);
            users.time_ms[u][j] = 1700000000000 + j * 100000 + below(random, 90000);
        }
}

/* Something happens to one of them; a batch of some of them, maybe twice the same, into jagged. */
static void users_ask(const struct model_config *config, struct random *random)
{
    struct jagged_size sizes[ASKED];
    int32_t who[ASKED], count = 1 + below(random, ASKED), lives = below(random, USERS);

    users.count[lives] = below(random, 3) == 0 ? below(random, LONG + 1) : users.count[lives];
    if (below(random, 4) == 0)
        users.item[lives][below(random, LONG)] = below(random, 40);
    for (int32_t b = 0; b < count; b++) {
        who[b] = below(random, USERS);
        sizes[b] = (struct jagged_size){users.count[who[b]], 1 + below(random, 20)};
    }
    jagged_fill(&jagged, config, sizes, count, (uint64_t)below(random, 1 << 20));
    memset(jagged.context, 0, sizeof jagged.context);
    for (int32_t b = 0; b < count; b++) {
        int32_t first = jagged.history_start[b];

        for (int32_t j = 0; j < sizes[b].n; j++) {
            jagged.item[first + j] = users.item[who[b]][j];
            jagged.action[first + j] = users.action[who[b]][j];
            jagged.time_ms[first + j] = users.time_ms[who[b]][j];
        }
    }
}

/* Bytes of so many pages. */
static int64_t bytes_of(const struct model_config *config, int32_t pages)
{
    return pages * (kv_page_floats((struct kv_shape){.L = config->L, .C = config->C}) * 4 + 48);
}

/* Requests of one batch have different parts of their histories in pages, new pages take the place
 * of old ones, and every call is a graph, made for shapes and not for what is kept. */
TEST(cuda_pages_change_no_bit_of_batches_whatever_is_in_them)
{
    static const int32_t pages[] = {2, 6, 100};
    struct model_workspace *workspace = model_workspace_create();

    cuemu_need_emulator();
    models_backend_is_cuda();
    graphs_allow(true);
    for (int number = 0; number < 3; number++) {
        struct random random;
        struct model_config config;
        struct kv_cache *cache;
        struct model *model;

        random_seed(&random, test_seed() + (uint64_t)number);
        config = models_config(number, &random);
        config.contexts = number == 1 ? 2 : 0;
        config.L = 1 + number % 2;
        config.P = LONG + config.contexts;
        model = models_rough(&config, test_seed());
        cache = cache_of(bytes_of(&config, pages[number]));
        users_begin(&random);
        for (int step = 0; step < 14; step++) {
            int64_t before = cuemu_replays();

            users_ask(&config, &random);
            cuemu_schedule((enum cuemu_order)(step % CUEMU_ORDERS), (uint64_t)step);
            check_kept(model, workspace, cache, &jagged.batch);
            CHECK_INT(before + 2, cuemu_replays());
        }
        CHECK_INT(pages[number], stats_of(cache).pages);
        CHECK(stats_of(cache).rows_found > 0);
        CHECK((stats_of(cache).pages_dropped > 0) == (number < 2));
        kv_cache_destroy(cache);
        model_destroy(model);
    }
    model_workspace_destroy(workspace);
    CHECK_INT(0, cuemu_reports());
}

/* Graphs give the bits of plain launches, with pages too, and each cache has its own. */
TEST(cuda_pages_give_the_same_with_graphs_and_without)
{
    struct model_workspace *workspace = model_workspace_create();
    struct kv_cache *caches[3]; /* the first of plain launches */
    float scores[3][SCORES_MAX];
    struct model_config config;
    struct random random;
    struct model *model;
    struct error err;

    cuemu_need_emulator();
    models_backend_is_cuda();
    cuemu_schedule(CUEMU_IN_ORDER, 0);
    random_seed(&random, 9);
    config = models_config(0, &random);
    model = models_rough(&config, 9);
    for (int c = 0; c < 3; c++)
        caches[c] = cache_of(bytes_of(&config, 9));
    users_begin(&random);
    for (int step = 0; step < 8; step++) {
        users_ask(&config, &random);
        for (int c = 0; c < 2 + step % 2; c++) { /* so the last one's pages lie elsewhere */
            graphs_allow(c > 0);
            CHECK_STATUS(OK, model_score_cached(model, workspace, caches[c], &jagged.batch,
                                                scores[c], &err));
        }
        for (int32_t i = 0; i < jagged.batch.N; i++) {
            CHECK_NEAR((double)scores[0][i], (double)scores[1][i], 0);
            if (step % 2 == 1)
                CHECK_NEAR((double)scores[0][i], (double)scores[2][i], 0);
        }
    }
    CHECK(stats_of(caches[0]).rows_found > 0 && stats_of(caches[2]).rows_found > 0);
    CHECK_INT(stats_of(caches[0]).rows_found, stats_of(caches[1]).rows_found);
    for (int c = 0; c < 3; c++)
        kv_cache_destroy(caches[c]);
    model_destroy(model);
    model_workspace_destroy(workspace);
    CHECK_INT(0, cuemu_reports());
}

/* A model that scores on the host asks for pages there: on a GPU's it goes without, until it is
 * told to take the cache. */
TEST(cuda_pages_are_not_those_of_a_model_of_the_host)
{
    const struct jagged_size size = {40, 9};
    struct model_workspace *workspace = model_workspace_create();
    struct kv_cache *cache = cache_of(1 << 20);
    struct model_config config;
    struct random random;
    struct model *model, *host;
    float want[SCORES_MAX], got[SCORES_MAX];
    struct error err;

    cuemu_need_emulator();
    models_backend_is_cuda();
    random_seed(&random, 3);
    config = models_config(0, &random);
    model = models_rough(&config, 3);
    CHECK_STATUS(OK, model_copy_rounded(&host, model, &err));
    jagged_fill(&jagged, &config, &size, 1, 3);
    check_kept(model, workspace, cache, &jagged.batch);
    for (int call = 0; call < 3; call++) {
        CHECK_STATUS(OK, model_score(host, workspace, &jagged.batch, want, &err));
        CHECK_STATUS(OK, model_score_cached(host, workspace, cache, &jagged.batch, got, &err));
        CHECK(memcmp(want, got, (size_t)jagged.batch.N * sizeof *got) == 0);
        CHECK_INT(call == 2 ? 3 : 0, stats_of(cache).pages_dropped);
        if (call == 1)
            CHECK_STATUS(OK, model_reserve_cache(host, cache, &err));
    }
    check_kept(model, workspace, cache, &jagged.batch);
    CHECK_STATUS(OK, model_reserve_cache(model, cache, &err));
    check_kept(model, workspace, cache, &jagged.batch);
    CHECK_INT(6, stats_of(cache).pages_dropped);
    CHECK_INT(3, stats_of(cache).pages_used);
    kv_cache_destroy(cache);
    model_destroy(host);
    model_destroy(model);
    model_workspace_destroy(workspace);
    CHECK_INT(0, cuemu_reports());
}

/* One call of the driver fails in the middle of a batch: all it had of the cache is free again, and
 * nothing that it left on its stream writes to pages that others take meanwhile. */
static bool fail_and_go_on(const struct model *model, int64_t call, enum cuemu_fault fault)
{
    const struct jagged_size first[] = {{30, 2}, {13, 1}}, second[] = {{26, 2}, {25, 1}};
    struct model_workspace *failing = model_workspace_create(), *other = model_workspace_create();
    struct kv_cache *cache = cache_of(bytes_of(model_config(model), 4));
    float scores[SCORES_MAX];
    struct error err;
    enum status status;
    bool met;

    CHECK_STATUS(OK, model_reserve_cache(model, cache, &err));
    jagged_fill(&jagged, model_config(model), first, 2, 1);
    CHECK_STATUS(OK, model_score(model, failing, &jagged.batch, scores, &err)); /* makes its room */
    cuemu_fail(call, fault);
    status = model_score_cached(model, failing, cache, &jagged.batch, scores, &err);
    met = cuemu_failed() != NULL;
    CHECK(met || status == OK);
    CHECK((status == OK) == (stats_of(cache).pages_used > 0));
    CHECK((status == OK) == (stats_of(cache).rows_computed > 0));
    if (fault == CUEMU_REFUSED) {
        cuemu_fail(0, fault);
        jagged_fill(&jagged, model_config(model), second, 2, 2);
        check_kept(model, other, cache, &jagged.batch); /* takes the places */
        CHECK_INT(4, stats_of(cache).pages_used);
        CHECK_STATUS(OK, model_score(model, failing, &jagged.batch, scores, &err));
        check_kept(model, other, cache, &jagged.batch); /* and they are as they were */
        CHECK_INT(4 * KV_PAGE_ROWS, stats_of(cache).rows_found);
    }
    kv_cache_destroy(cache);
    model_workspace_destroy(failing);
    model_workspace_destroy(other);
    cuemu_fail(0, fault);
    return met;
}

/* Said by who asks for it; requests go without, and do not ask again. */
TEST(cuda_pages_that_the_device_has_no_memory_for_are_done_without)
{
    const struct jagged_size size = {30, 2};
    struct model_workspace *workspace = model_workspace_create();
    struct kv_cache *cache = cache_of(1 << 20);
    struct model_config config;
    struct random random;
    struct model *model;
    struct error err;

    cuemu_need_emulator();
    models_backend_is_cuda();
    random_seed(&random, 4);
    config = models_config(0, &random);
    model = models_rough(&config, 4);
    jagged_fill(&jagged, &config, &size, 1, 1);
    cuemu_fail(1, CUEMU_REFUSED);
    CHECK_STATUS(ERR_NOMEM, model_reserve_cache(model, cache, &err));
    cuemu_fail(0, CUEMU_REFUSED);
    check_kept(model, workspace, cache, &jagged.batch);
    CHECK_INT(0, stats_of(cache).pages);
    CHECK_STATUS(OK, model_reserve_cache(model, cache, &err)); /* told to: again */
    check_kept(model, workspace, cache, &jagged.batch);
    CHECK_INT(2, stats_of(cache).pages_used);
    kv_cache_destroy(cache);
    model_destroy(model);
    model_workspace_destroy(workspace);
    CHECK_INT(0, cuemu_reports());
}

TEST(cuda_pages_of_a_batch_that_failed_are_nobodys)
{
    int64_t skip = getenv("SOAK") == NULL ? 11 : 0; /* of so many calls one fails; else each */
    struct model_config config;
    struct random random;
    struct model *model;

    cuemu_need_emulator();
    models_backend_is_cuda();
    cuemu_schedule(CUEMU_IN_ORDER, 0);
    random_seed(&random, 4);
    config = models_config(0, &random);
    config.C = 32;
    config.L = 2;
    model = models_rough(&config, 4);
    graphs_allow(false);
    for (int64_t call = 1; fail_and_go_on(model, call, CUEMU_REFUSED); call += 1 + skip)
        CHECK(call < 200);
    for (int64_t call = 3; fail_and_go_on(model, call, CUEMU_LOST); call += 1 + 2 * skip)
        CHECK(call < 200);
    graphs_allow(true);
    for (int64_t call = 1; fail_and_go_on(model, call, CUEMU_REFUSED); call += 1 + skip)
        CHECK(call < 200);
    model_destroy(model);
    CHECK_INT(0, cuemu_reports());
}

/* model_next_all() on the CPU. */
static void next_on_cpu(const struct model *model, const struct batch *batch, float *scores)
{
    struct network_state state = model_network(model);
    const struct model_config *config = &state.network->config;
    float *norms = malloc((size_t)config->V * sizeof *norms);

    CHECK(norms != NULL);
    state.network->ops->next_norms(norms, state.network->emb, config->V, config->C);
    for (int32_t b = 0; b < batch->B; b++) {
        struct request request = request_with(batch, b, config->contexts);
        float *to = scores + (int64_t)b * config->V;
        struct network_pass pass;
        size_t bytes;
        void *memory;

        request.m = 0;
        bytes = network_pass_bytes(config, state.layout->Z, request.n, 0, false, false);
        memory = aligned_alloc(64, (bytes + 127) / 64 * 64);
        CHECK(memory != NULL);
        memset(memory, 0, (bytes + 127) / 64 * 64);
        memset(to, 0, (size_t)config->V * sizeof *to);
        network_pass_begin(&pass, state.network, &request, false, true, false, memory);
        if (request.n > config->contexts) {
            network_forward(&pass, NULL, 0, 0);
            state.network->ops->next_scores(
                to, network_states(&pass) + (int64_t)(request.n - 1) * config->C,
                state.network->emb, norms, config->V, config->C, 1 / config->tau);
        }
        to[0] = -INFINITY;
        free(memory);
    }
    free(norms);
}

TEST(cuda_next_item_scores_are_those_of_the_cpu)
{
    const struct jagged_size sizes[] = {{17, 6}, {0, 3}, {40, 1}, {5, 0}};
    struct model_workspace *workspace = model_workspace_create();
    float cpu[4 * 40], gpu[4 * 40], listed[SCORES_MAX];
    struct error err;

    models_backend_is_cuda();
    for (int number = 0; number < 4; number++) {
        struct random random;
        struct model_config config;
        struct model *model;

        random_seed(&random, test_seed() + (uint64_t)number);
        config = models_config(number, &random);
        config.contexts = number == 2 ? 3 : 0;
        config.P += config.contexts;
        model = models_rough(&config, test_seed() + (uint64_t)number);
        jagged_fill(&jagged, &config, sizes, 4, test_seed());
        jagged.candidate_item[2] = 40; /* outside the table: the unknown row */
        cuemu_schedule((enum cuemu_order)(number % CUEMU_ORDERS), (uint64_t)number);
        next_on_cpu(model, &jagged.batch, cpu);
        CHECK_STATUS(OK, model_next_all(model, workspace, &jagged.batch, gpu, &err));
        CHECK_STATUS(OK, model_next_candidates(model, workspace, &jagged.batch, listed, &err));
        for (int32_t b = 0; b < 4; b++) {
            CHECK(gpu[b * 40] == -INFINITY);
            for (int32_t v = 1; v < 40; v++)
                CHECK_NEAR((double)cpu[b * 40 + v], (double)gpu[b * 40 + v],
                           TOLERANCE * (1 + fabs((double)cpu[b * 40 + v])));
            for (int32_t i = jagged.candidate_start[b]; i < jagged.candidate_start[b + 1]; i++)
                if (jagged.candidate_item[i] > 0 && jagged.candidate_item[i] < 40)
                    CHECK_NEAR((double)gpu[b * 40 + jagged.candidate_item[i]], (double)listed[i],
                               TOLERANCE * (1 + fabs((double)listed[i])));
                else
                    CHECK(isfinite(listed[i]));
        }
        model_destroy(model);
    }
    model_workspace_destroy(workspace);
    CHECK_INT(0, cuemu_reports());
}

/* The table lies there a second time only where that was asked for; a score is of bf16 then, and
 * of f32 again after the next change of the weights. */
TEST(cuda_next_item_scores_of_a_rounded_model)
{
    const struct jagged_size sizes[] = {{7, 6}, {0, 3}, {3, 1}, {5, 9}};
    struct model_workspace *workspace = model_workspace_create();
    static float layers[4 * 40], gpu[4 * 40], again[4 * 40], listed[SCORES_MAX];
    struct random random;
    struct model_config config;
    struct model *model;
    double largest = 0;
    int64_t before;
    struct error err;

    cuemu_need_emulator();
    models_backend_is_cuda();
    cuemu_schedule(CUEMU_IN_ORDER, 3);
    random_seed(&random, test_seed());
    config = models_config(1, &random);
    model = models_rough(&config, test_seed());
    jagged_fill(&jagged, &config, sizes, 4, test_seed());
    CHECK_STATUS(OK, model_round_next(model, &err)); /* nothing: it is not rounded */
    CHECK_STATUS(OK, model_round(model, &err));
    CHECK_STATUS(OK, model_next_all(model, workspace, &jagged.batch, layers, &err));
    before = cuemu_allocations();
    CHECK_STATUS(OK, model_round_next(model, &err));
    CHECK_STATUS(OK, model_round_next(model, &err));
    CHECK_INT(before + 1, cuemu_allocations());
    CHECK_STATUS(OK, model_next_all(model, workspace, &jagged.batch, gpu, &err));
    CHECK_STATUS(OK, model_next_candidates(model, workspace, &jagged.batch, listed, &err));
    before = cuemu_allocations();
    CHECK_STATUS(OK, model_next_all(model, workspace, &jagged.batch, again, &err));
    CHECK_INT(before, cuemu_allocations());
    CHECK(memcmp(gpu, again, sizeof gpu) == 0);
    for (int32_t b = 0; b < 4; b++) {
        CHECK(gpu[b * 40] == -INFINITY);
        for (int32_t v = 1; v < 40; v++) { /* two numbers of 2^-9 each, of a cosine / tau */
            double error = fabs((double)layers[b * 40 + v] - (double)gpu[b * 40 + v]);

            CHECK_NEAR(0, error, 1.0 / 256 / (double)config.tau);
            largest = fmax(largest, error);
        }
        for (int32_t i = jagged.candidate_start[b]; i < jagged.candidate_start[b + 1]; i++)
            if (jagged.candidate_item[i] > 0 && jagged.candidate_item[i] < 40)
                CHECK_NEAR((double)gpu[b * 40 + jagged.candidate_item[i]], (double)listed[i],
                           TOLERANCE * (1 + fabs((double)listed[i])));
    }
    CHECK(largest > 1e-4); /* or it was f32 after all */
    CHECK_STATUS(OK, model_prepare(model, &err));
    next_on_cpu(model, &jagged.batch, layers);
    CHECK_STATUS(OK, model_next_all(model, workspace, &jagged.batch, gpu, &err));
    for (int32_t i = 0; i < 4 * 40; i++)
        if (i % 40 != 0)
            CHECK_NEAR((double)layers[i], (double)gpu[i],
                       TOLERANCE * (1 + fabs((double)layers[i])));
    model_destroy(model);
    model_workspace_destroy(workspace);
    CHECK_INT(0, cuemu_reports());
}

/* The front of a sort of what the device says of all rows, which is the same product, in slices of
 * another shape. */
static void check_next_top(const struct model *model, struct model_workspace *workspace, int32_t k)
{
    int32_t V = model_config(model)->V, B = jagged.batch.B;
    float *all = calloc((size_t)B * (size_t)V, sizeof *all);
    float *best = calloc((size_t)B * (size_t)k, sizeof *best);
    int32_t *rows = calloc((size_t)B * (size_t)k, sizeof *rows);
    struct error err;

    CHECK(all != NULL && best != NULL && rows != NULL);
    CHECK_STATUS(OK, model_next_all(model, workspace, &jagged.batch, all, &err));
    CHECK_STATUS(OK, model_next_top(model, workspace, &jagged.batch, V, k, rows, best, &err));
    for (int32_t b = 0; b < B; b++) {
        bool none = jagged.history_start[b + 1] == jagged.history_start[b];

        for (int32_t i = 0; i < k; i++) {
            int32_t row = rows[(int64_t)b * k + i], better = 0;
            float score = best[(int64_t)b * k + i];

            if (none || i >= V - 1) {
                CHECK(row == -1 && score == -INFINITY);
                continue;
            }
            CHECK(row > 0 && row < V);
            CHECK_NEAR((double)all[(int64_t)b * V + row], (double)score,
                       TOLERANCE * (1 + fabs((double)score)));
            for (int32_t v = 1; v < V; v++)
                better += all[(int64_t)b * V + v] >
                          score + TOLERANCE * (1 + fabsf(score)); /* surely in front of it */
            CHECK(better <= i);
            for (int32_t j = 0; j < i; j++)
                CHECK(rows[(int64_t)b * k + j] != row);
            CHECK(i == 0 || score <= best[(int64_t)b * k + i - 1]);
        }
    }
    free(all);
    free(best);
    free(rows);
}

TEST(cuda_next_top_is_the_front_of_a_sort_of_all)
{
    const struct jagged_size sizes[] = {{17, 6}, {0, 3}, {20, 1}, {5, 0}};
    const int32_t ks[] = {30, 7, 60};
    struct model_workspace *workspace = model_workspace_create();

    models_backend_is_cuda();
    for (int number = 0; number < 3; number++) {
        struct random random;
        struct model_config config;
        struct model *model;

        random_seed(&random, test_seed() + (uint64_t)number);
        config = models_config(number, &random);
        config.contexts = number == 2 ? 3 : 0;
        config.P += config.contexts;
        config.V = number == 0 ? 2500 : 40; /* of the emulator three slices (rules.mk) */
        model = models_rough(&config, test_seed() + (uint64_t)number);
        jagged_fill(&jagged, &config, sizes, 4, test_seed());
        cuemu_schedule((enum cuemu_order)(number % CUEMU_ORDERS), (uint64_t)number);
        check_next_top(model, workspace, ks[number]);
        model_destroy(model);
    }
    model_workspace_destroy(workspace);
    CHECK_INT(0, cuemu_reports());
}

TEST(cuda_kept_histories_are_begun_anew_by_a_model_that_is_rounded)
{
    const struct jagged_size size = {40, 9};
    struct model_workspace *workspace = model_workspace_create();
    struct kv_cache *cache = cache_of(1 << 20);
    struct model_config config;
    struct random random;
    struct model *model;
    float plain[SCORES_MAX], kept[SCORES_MAX];
    struct error err;

    cuemu_need_emulator();
    models_backend_is_cuda();
    random_seed(&random, 3);
    config = models_config(0, &random);
    model = models_rough(&config, 3);
    jagged_fill(&jagged, &config, &size, 1, 3);
    CHECK_STATUS(OK, model_score_cached(model, workspace, cache, &jagged.batch, kept, &err));
    CHECK_STATUS(OK, model_round(model, &err));
    CHECK_STATUS(OK, model_score_cached(model, workspace, cache, &jagged.batch, kept, &err));
    CHECK_STATUS(OK, model_score(model, workspace, &jagged.batch, plain, &err));
    for (int32_t i = 0; i < jagged.batch.N; i++)
        CHECK_NEAR((double)plain[i], (double)kept[i], 0);
    kv_cache_destroy(cache);
    model_destroy(model);
    model_workspace_destroy(workspace);
    CHECK_INT(0, cuemu_reports());
}

TEST(cuda_rounding_is_measured_on_the_cpu_and_a_gpu_is_not_tried)
{
    const struct jagged_size size = {20, 9};
    struct model_workspace *workspace = model_workspace_create();
    struct model_round_trial trial;
    struct model_config config;
    struct random random;
    struct model *model, *rounded;
    float cpu[SCORES_MAX], got[SCORES_MAX];
    struct error err;

    models_backend_is_cuda();
    random_seed(&random, 3);
    config = models_config(0, &random);
    model = models_rough(&config, 3);
    jagged_fill(&jagged, &config, &size, 1, 3);
    CHECK_STATUS(OK, model_round_try(model, &trial, &err));
    CHECK_TEXT("gpu", trial.way);
    CHECK(trial.right && !trial.faster);
    CHECK_STATUS(OK, model_copy_rounded(&rounded, model, &err));
    CHECK(model_is_rounded(rounded) && !model_is_rounded(model));
    CHECK_STATUS(OK, model_score(rounded, workspace, &jagged.batch, got, &err));
    models_score_on_cpu(rounded, &jagged.batch, cpu);
    CHECK(memcmp(cpu, got, (size_t)jagged.batch.N * sizeof *got) == 0);
    model_destroy(rounded);
    model_destroy(model);
    model_workspace_destroy(workspace);
    CHECK_INT(0, cuemu_reports());
}

TEST(cuda_serving_allocates_nothing_once_the_largest_request_was_seen)
{
    const struct jagged_size size = {40, 30};
    struct model_workspace *workspace = model_workspace_create();
    struct kv_cache *cache = cache_of(1 << 20);
    struct model_config config;
    struct random random;
    struct model *model;
    float scores[SCORES_MAX], best[30];
    int32_t rows[30];
    struct error err;
    int64_t before;

    random_seed(&random, 2);
    config = models_config(0, &random);
    model = models_rough(&config, 2);
    jagged_fill(&jagged, &config, &size, 1, 2);
    cuemu_schedule(CUEMU_IN_ORDER, 0);
    CHECK_STATUS(OK, model_score(model, workspace, &jagged.batch, scores, &err));
    CHECK_STATUS(OK, model_score_cached(model, workspace, cache, &jagged.batch, scores, &err));
    CHECK_STATUS(OK, model_score(model, workspace, &jagged.batch, scores, &err));
    CHECK_STATUS(OK, model_next_top(model, workspace, &jagged.batch, 40, 30, rows, best, &err));
    before = cuemu_allocations();
    for (int32_t n = 40; n >= 0; n -= 13) {
        shorten(&jagged, n, 30 - n / 2);
        CHECK_STATUS(
            OK, model_next_top(model, workspace, &jagged.batch, 40, 17 + n % 13, rows, best, &err));
        CHECK_STATUS(OK, model_score(model, workspace, &jagged.batch, scores, &err));
        CHECK_STATUS(OK, model_score_cached(model, workspace, cache, &jagged.batch, scores, &err));
        CHECK_STATUS(OK, model_prepare(model, &err)); /* new weights find room too */
    }
    CHECK_INT(before, cuemu_allocations());
    kv_cache_destroy(cache);
    model_destroy(model);
    model_workspace_destroy(workspace);
    CHECK_INT(0, cuemu_reports());
}

/* ---- graphs ---- */

/* The same bits without graphs, from the same workspace; replayed: how many graphs were launched.
 */
static void check_graph(const struct model *model, struct model_workspace *workspace,
                        int64_t replayed)
{
    float plain[SCORES_MAX], graph[SCORES_MAX];
    struct error err;
    int64_t before = cuemu_replays();

    CHECK(jagged.batch.N <= SCORES_MAX);
    graphs_allow(true);
    CHECK_STATUS(OK, model_score(model, workspace, &jagged.batch, graph, &err));
    CHECK_INT(before + replayed, cuemu_replays());
    graphs_allow(false);
    CHECK_STATUS(OK, model_score(model, workspace, &jagged.batch, plain, &err));
    CHECK_INT(before + replayed, cuemu_replays());
    for (int32_t i = 0; i < jagged.batch.N; i++)
        CHECK_NEAR((double)plain[i], (double)graph[i], 0);
}

TEST(cuda_graphs_give_the_bits_of_plain_launches)
{
    const struct jagged_size sizes[][3] = {
        {{17, 20}, {0, 3}, {33, 1}}, {{9, 5}, {1, 0}, {0, 9}}, {{40, 70}, {0, 0}, {20, 2}}};
    struct model_workspace *workspace = model_workspace_create();
    struct random random;
    struct error err;

    cuemu_need_emulator();
    models_backend_is_cuda();
    random_seed(&random, 5);
    for (int number = 0; number < 2; number++) {
        struct model_config config = models_config(number, &random);
        struct model *model;

        config.C = 32;
        config.L = 1 + number;
        config.contexts = number == 1 ? 2 : 0;
        config.P += config.contexts;
        model = models_rough(&config, test_seed());
        if (number == 1)
            CHECK_STATUS(OK, model_round(model, &err));
        for (int i = 0; i < 4; i++) { /* a shape comes back with other numbers in it */
            cuemu_schedule((enum cuemu_order)(i % CUEMU_ORDERS), (uint64_t)i);
            jagged_fill(&jagged, &config, sizes[i % 3], number == 0 ? 1 : 3 - i % 2, (uint64_t)i);
            check_graph(model, workspace, 1);
        }
        model_destroy(model);
    }
    model_workspace_destroy(workspace);
    CHECK_INT(0, cuemu_reports());
}

/* A graph reads weights where they lie: in place they are the new ones, elsewhere it is another. */
TEST(cuda_graphs_follow_weights_and_memory)
{
    const struct jagged_size small = {9, 12}, large = {40, 100};
    struct model_workspace *workspace = model_workspace_create();
    struct model_config config;
    struct random random;
    struct model *model, *other;
    float first[SCORES_MAX], second[SCORES_MAX];
    struct error err;

    cuemu_need_emulator();
    random_seed(&random, 3);
    config = models_config(0, &random);
    model = models_rough(&config, 3);
    other = models_rough(&config, 4);
    cuemu_schedule(CUEMU_IN_ORDER, 0);
    jagged_fill(&jagged, &config, &small, 1, 3);
    check_graph(model, workspace, 1);
    check_graph(other, workspace, 1);
    CHECK_STATUS(OK, model_score(model, workspace, &jagged.batch, first, &err));
    for (int32_t i = 0; i < model_tensors_count(model); i++)
        for (size_t k = 0; k < model_tensor(model, i).count; k++)
            model_tensor(model, i).data[k] *= .9f;
    CHECK_STATUS(OK, model_prepare(model, &err));
    graphs_allow(true);
    CHECK_STATUS(OK, model_score(model, workspace, &jagged.batch, second, &err));
    CHECK(memcmp(first, second, (size_t)jagged.batch.N * sizeof *first) != 0);
    check_graph(model, workspace, 1);
    CHECK_STATUS(OK, model_grow_items(model, 900, &err));
    CHECK_STATUS(OK, model_prepare(model, &err));
    jagged.candidate_item[3] = 877;
    check_graph(model, workspace, 1);
    jagged_fill(&jagged, &config, &large, 1, 3); /* memory grows: old graphs write elsewhere */
    check_graph(model, workspace, 1);
    jagged_fill(&jagged, &config, &small, 1, 3);
    check_graph(model, workspace, 1);
    model_destroy(other);
    model_destroy(model);
    model_workspace_destroy(workspace);
    CHECK_INT(0, cuemu_reports());
}

TEST(cuda_graphs_are_of_few_shapes_and_large_requests_go_without)
{
    const int32_t given[][4] = {{1, 0, 1, 0},
                                {1, 64, 65, 64},
                                {2, 65, 200, 300},
                                {9, 4096, 1, 4097},
                                {64, 4096, 4096, 65536}},
                  rounded[][4] = {{1, 64, 64, 64},
                                  {1, 64, 128, 64},
                                  {8, 128, 256, 512},
                                  {16, 4096, 64, 8192},
                                  {64, 4096, 4096, 65536}},
                  large[][4] = {
                      {65, 1, 1, 1}, {1, 4097, 1, 4097}, {1, 1, 4097, 1}, {1, 1, 1, 65537}};

    for (int i = 0; i < 5; i++) {
        int32_t B = given[i][0], T = given[i][1], N = given[i][2], tokens = given[i][3];

        CHECK(graphs_shape(&B, &T, &N, &tokens));
        CHECK_INT(rounded[i][0], B);
        CHECK_INT(rounded[i][1], T);
        CHECK_INT(rounded[i][2], N);
        CHECK_INT(rounded[i][3], tokens);
    }
    for (int i = 0; i < 4; i++) {
        int32_t B = large[i][0], T = large[i][1], N = large[i][2], tokens = large[i][3];

        CHECK(!graphs_shape(&B, &T, &N, &tokens));
        CHECK(B == large[i][0] && T == large[i][1] && N == large[i][2] && tokens == large[i][3]);
    }
}

/* More empty requests than a graph is made for: launch by launch, by the same workspace. */
TEST(cuda_graphs_leave_what_is_too_large_to_plain_launches)
{
    struct model_workspace *workspace = model_workspace_create();
    struct jagged_size size = {3, 4};
    static int32_t starts[2][GRAPHS_B + 2];
    static int64_t times[GRAPHS_B + 1];
    struct model_config config;
    struct random random;
    struct model *model;

    cuemu_need_emulator();
    random_seed(&random, 8);
    config = models_config(0, &random);
    model = models_rough(&config, 8);
    cuemu_schedule(CUEMU_IN_ORDER, 0);
    jagged_fill(&jagged, &config, &size, 1, 8);
    for (int b = 0; b <= GRAPHS_B; b++) {
        starts[0][b + 1] = 3;
        starts[1][b + 1] = 4;
        times[b] = jagged.request_time_ms[0];
    }
    jagged.batch.B = GRAPHS_B + 1;
    jagged.batch.history_start = starts[0];
    jagged.batch.candidate_start = starts[1];
    jagged.batch.request_time_ms = times;
    check_graph(model, workspace, 0);
    jagged.batch.B = GRAPHS_B;
    check_graph(model, workspace, 1);
    model_destroy(model);
    model_workspace_destroy(workspace);
    CHECK_INT(0, cuemu_reports());
}
