/*
 * Tests kernels/cuda of histories whose K and V stay on the device, in pages: what is set aside,
 * that no score changes by it, and whose pages are whose when something failed.
 */
#include "kernels/cuda/graphs.h"
#include "kernels/cuda/ops.h"
#include "kernels/kv_cache.h"
#include "kernels/model.h"

#include "tests/cuda/device.h"
#include "tests/cuda/models.h"
#include "tests/cuda/serving.h"
#include "tests/kernels/caches.h"
#include "tests/kernels/jagged.h"
#include "tests/test.h"

#include <stdlib.h>
#include <string.h>

static struct jagged jagged;

/* ---- what is kept ---- */

/* Rows of one layer of several go to places of a pool; all else in it stays as it was. */
static void keep_shape(int number, struct random *random)
{
    int32_t R = device_size(number, random, 60), C = 4 * (1 + device_below(random, 40));
    int32_t L = 1 + device_below(random, 3), layer = device_below(random, L);
    int32_t slots = (R + CUDA_PAGE_ROWS - 1) / CUDA_PAGE_ROWS + device_below(random, 4);
    int64_t floats = CUDA_PAGE_ROWS * 2 * (int64_t)C, pool = slots * L * floats;
    int32_t *keep = device_distinct_ints(random, R, slots * CUDA_PAGE_ROWS);
    float *z = device_random_floats(random, (int64_t)R * 4 * C);
    float *before = device_random_floats(random, pool), *on_device = DEVICE_PUT(before, pool);
    struct cuda_pages pages = {.at = slots == 0 ? NULL : on_device + layer * floats,
                               .pitch = L * floats};
    double *want = device_doubles(pool);
    struct error err;

    for (int32_t r = 0; r < R; r++) /* a third of them nowhere */
        keep[r] = device_below(random, 3) == 0 ? CUDA_KEEP_NONE : keep[r];
    pages.keep = DEVICE_PUT(keep, R);
    CHECK_STATUS(OK, cuda_keep(NULL, pages, DEVICE_PUT(z, (int64_t)R * 4 * C), R, C, &err));
    for (int64_t i = 0; i < pool; i++)
        want[i] = (double)before[i];
    for (int64_t r = 0; r < R; r++) {
        int64_t slot = keep[r] / CUDA_PAGE_ROWS, row = keep[r] % CUDA_PAGE_ROWS;
        double *to = want + slot * L * floats + layer * floats + row * 2 * C;

        for (int32_t c = 0; c < C && keep[r] != CUDA_KEEP_NONE; c++) { /* U | V | Q | K */
            to[c] = (double)z[r * 4 * C + C + c];
            to[C + c] = (double)z[r * 4 * C + 3 * C + c];
        }
    }
    device_check_all("pages", want, device_get(on_device, pool), pool, 0);
}

TEST(cuda_pages_are_given_v_and_k_and_nothing_else)
{
    device_for_shapes(keep_shape);
}

/* ---- one history ---- */

/* In the emulator a row's bits depend on the row alone, so kept K and V must give the same ones. */
static void check_kept(const struct serving *s)
{
    float cpu[SERVING_SCORES_MAX], plain[SERVING_SCORES_MAX], kept[SERVING_SCORES_MAX];
    int32_t N = jagged.batch.N;
    struct error err;

    CHECK(N <= SERVING_SCORES_MAX);
    memset(kept, 0xff, sizeof kept);
    models_score_on_cpu(s->model, &jagged.batch, cpu);
    CHECK_STATUS(OK,
                 model_score_cached(s->model, s->workspace, s->cache, &jagged.batch, kept, &err));
    CHECK_STATUS(OK, model_score(s->model, s->workspace, &jagged.batch, plain, &err));
    for (int32_t i = 0; i < N; i++)
        serving_near(cpu[i], kept[i]);
    serving_same(plain, kept, N);
}

/* Requests of these lengths, one after the other, with first, first + 1, ... candidates. */
static void check_lengths(const struct serving *s, const int32_t *lengths, int count, int32_t first)
{
    for (int i = 0; i < count; i++) {
        serving_shorten(&jagged, lengths[i], first + i);
        jagged.request_time_ms[0] += 70000; /* time passes: no row of a history changes */
        check_kept(s);
    }
}

TEST(cuda_kept_histories_grow_change_and_are_begun_anew)
{
    const struct jagged_size size = {40, 9};
    const int32_t lengths[] = {17, 40, 0, 40, 25};
    struct serving s = {0};

    cuemu_need_emulator();
    for (int number = 0; number < 2; number++) {
        serving_begin(&s, number, test_seed() + (uint64_t)number);
        serving_model(&s);
        serving_cache(&s, 1 << 20);
        jagged_fill(&jagged, &s.config, &size, 1, test_seed());
        cuemu_schedule((enum cuemu_order)(number % CUEMU_ORDERS), (uint64_t)number);
        check_lengths(&s, lengths, 5, 1);
        jagged.item[7] = (jagged.item[7] + 1) % 40; /* from here on another history */
        check_kept(&s);
        serving_shorten(&jagged, 25, 0); /* nothing to score */
        check_kept(&s);
        serving_learn(&s);
        serving_shorten(&jagged, 25, 5);
        check_kept(&s);
    }
    serving_end(&s);
}

/* Another context is another history: its K and V are nobody else's. */
TEST(cuda_kept_history_follows_its_context)
{
    const struct jagged_size size = {20, 5};
    const int32_t lengths[] = {11, 20, 0, 7};
    struct serving s = {0};

    cuemu_need_emulator();
    serving_cache(&s, 1 << 20);
    for (int contexts = 0; contexts < 3; contexts++) {
        serving_begin(&s, 0, test_seed());
        s.config.contexts = contexts;
        serving_model(&s);
        jagged_fill(&jagged, &s.config, &size, 1, test_seed());
        check_lengths(&s, lengths, 4, 2);
        jagged.context[0]++;
        check_kept(&s);
    }
    serving_end(&s);
}

TEST(cuda_kept_histories_are_begun_anew_by_a_model_that_is_rounded)
{
    const struct jagged_size size = {40, 9};
    float plain[SERVING_SCORES_MAX], kept[SERVING_SCORES_MAX];
    struct serving s = {0};
    struct error err;

    cuemu_need_emulator();
    serving_begin(&s, 0, 3);
    serving_model(&s);
    serving_cache(&s, 1 << 20);
    jagged_fill(&jagged, &s.config, &size, 1, 3);
    CHECK_STATUS(OK, model_score_cached(s.model, s.workspace, s.cache, &jagged.batch, kept, &err));
    CHECK_STATUS(OK, model_round(s.model, &err));
    CHECK_STATUS(OK, model_score_cached(s.model, s.workspace, s.cache, &jagged.batch, kept, &err));
    CHECK_STATUS(OK, model_score(s.model, s.workspace, &jagged.batch, plain, &err));
    serving_same(plain, kept, jagged.batch.N);
    serving_end(&s);
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

static void users_begin(struct random *random)
{
    for (int u = 0; u < USERS; u++)
        for (int32_t j = 0; j < LONG; j++) {
            users.count[u] = device_below(random, LONG);
            users.item[u][j] = device_below(random, 40);
            users.action[u][j] = 1 + device_below(random, 3);
            users.time_ms[u][j] = 1700000000000 + j * 100000 + device_below(random, 90000);
        }
}

/* Something happens to one of them; a batch of some of them, maybe twice the same, into jagged. */
static void users_ask(const struct model_config *config, struct random *random)
{
    struct jagged_size sizes[ASKED];
    int32_t who[ASKED], count = 1 + device_below(random, ASKED),
                        lives = device_below(random, USERS);

    users.count[lives] = device_below(random, 3) == 0 ? device_below(random, LONG + 1)
                                                      : users.count[lives];
    if (device_below(random, 4) == 0)
        users.item[lives][device_below(random, LONG)] = device_below(random, 40);
    for (int32_t b = 0; b < count; b++) {
        who[b] = device_below(random, USERS);
        sizes[b] = (struct jagged_size){users.count[who[b]], 1 + device_below(random, 20)};
    }
    jagged_fill(&jagged, config, sizes, count, (uint64_t)device_below(random, 1 << 20));
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

/* Requests of one batch have different parts of their histories in pages, new pages take the place
 * of old ones, and every call is a graph, made for shapes and not for what is kept. */
TEST(cuda_pages_change_no_bit_of_batches_whatever_is_in_them)
{
    static const int32_t pages[] = {2, 6, 100};
    struct serving s = {0};

    cuemu_need_emulator();
    graphs_allow(true);
    for (int number = 0; number < 3; number++) {
        struct random random;

        serving_begin(&s, number, test_seed() + (uint64_t)number);
        s.config.contexts = number == 1 ? 2 : 0;
        s.config.L = 1 + number % 2;
        s.config.P = LONG + s.config.contexts;
        serving_model(&s);
        serving_cache(&s, caches_bytes(&s.config, pages[number]));
        random_seed(&random, s.seed);
        users_begin(&random);
        for (int step = 0; step < 14; step++) {
            int64_t before = cuemu_replays();

            users_ask(&s.config, &random);
            cuemu_schedule((enum cuemu_order)(step % CUEMU_ORDERS), (uint64_t)step);
            check_kept(&s);
            CHECK_INT(before + 2, cuemu_replays());
        }
        CHECK_INT(pages[number], caches_stats(s.cache).pages);
        CHECK(caches_stats(s.cache).rows_found > 0);
        CHECK((caches_stats(s.cache).pages_dropped > 0) == (number < 2));
    }
    serving_end(&s);
}

/* Graphs give the bits of plain launches, with pages too, and each cache has its own. */
TEST(cuda_pages_give_the_same_with_graphs_and_without)
{
    struct kv_cache *caches[3]; /* the first of plain launches */
    float scores[3][SERVING_SCORES_MAX];
    struct serving s = {0};
    struct random random;
    struct error err;

    cuemu_need_emulator();
    cuemu_schedule(CUEMU_IN_ORDER, 0);
    serving_begin(&s, 0, 9);
    serving_model(&s);
    for (int c = 0; c < 3; c++)
        caches[c] = caches_make(caches_bytes(&s.config, 9));
    random_seed(&random, 9);
    users_begin(&random);
    for (int step = 0; step < 8; step++) {
        users_ask(&s.config, &random);
        for (int c = 0; c < 2 + step % 2; c++) { /* so the last one's pages lie elsewhere */
            graphs_allow(c > 0);
            CHECK_STATUS(OK, model_score_cached(s.model, s.workspace, caches[c], &jagged.batch,
                                                scores[c], &err));
            serving_same(scores[0], scores[c], jagged.batch.N);
        }
    }
    CHECK(caches_stats(caches[0]).rows_found > 0 && caches_stats(caches[2]).rows_found > 0);
    CHECK_INT(caches_stats(caches[0]).rows_found, caches_stats(caches[1]).rows_found);
    for (int c = 0; c < 3; c++)
        kv_cache_destroy(caches[c]);
    serving_end(&s);
}

/* ---- whose pages ---- */

/* A model that scores on the host asks for pages there: on a GPU's it goes without, until it is
 * told to take the cache. */
TEST(cuda_pages_are_not_those_of_a_model_of_the_host)
{
    const struct jagged_size size = {40, 9};
    float want[SERVING_SCORES_MAX], got[SERVING_SCORES_MAX];
    struct serving s = {0};
    struct model *host;
    struct error err;

    cuemu_need_emulator();
    serving_begin(&s, 0, 3);
    serving_model(&s);
    serving_cache(&s, 1 << 20);
    CHECK_STATUS(OK, model_copy_rounded(&host, s.model, &err));
    jagged_fill(&jagged, &s.config, &size, 1, 3);
    check_kept(&s);
    for (int call = 0; call < 3; call++) {
        CHECK_STATUS(OK, model_score(host, s.workspace, &jagged.batch, want, &err));
        CHECK_STATUS(OK, model_score_cached(host, s.workspace, s.cache, &jagged.batch, got, &err));
        CHECK(memcmp(want, got, (size_t)jagged.batch.N * sizeof *got) == 0);
        CHECK_INT(call == 2 ? 3 : 0, caches_stats(s.cache).pages_dropped);
        if (call == 1)
            CHECK_STATUS(OK, model_reserve_cache(host, s.cache, &err));
    }
    check_kept(&s);
    CHECK_STATUS(OK, model_reserve_cache(s.model, s.cache, &err));
    check_kept(&s);
    CHECK_INT(6, caches_stats(s.cache).pages_dropped);
    CHECK_INT(3, caches_stats(s.cache).pages_used);
    model_destroy(host);
    serving_end(&s);
}

/* Said by who asks for it; requests go without, and do not ask again. */
TEST(cuda_pages_that_the_device_has_no_memory_for_are_done_without)
{
    const struct jagged_size size = {30, 2};
    struct serving s = {0};
    struct error err;

    cuemu_need_emulator();
    serving_begin(&s, 0, 4);
    serving_model(&s);
    serving_cache(&s, 1 << 20);
    jagged_fill(&jagged, &s.config, &size, 1, 1);
    cuemu_fail(1, CUEMU_REFUSED);
    CHECK_STATUS(ERR_NOMEM, model_reserve_cache(s.model, s.cache, &err));
    cuemu_fail(0, CUEMU_REFUSED);
    check_kept(&s);
    CHECK_INT(0, caches_stats(s.cache).pages);
    CHECK_STATUS(OK, model_reserve_cache(s.model, s.cache, &err)); /* told to: again */
    check_kept(&s);
    CHECK_INT(2, caches_stats(s.cache).pages_used);
    serving_end(&s);
}

/* One call of the driver fails in the middle of a request, or of a batch of two: all it had of the
 * cache is free again, and nothing that it left on its stream writes to pages that others take
 * meanwhile. */
static bool fail_and_go_on(struct model *model, int32_t B, int64_t call, enum cuemu_fault fault)
{
    const struct jagged_size first[] = {{30, 2}, {25, 1}}, second[] = {{26, 2}, {25, 1}};
    struct model_workspace *failing = model_workspace_create();
    const struct serving other = {.model = model,
                                  .workspace = model_workspace_create(),
                                  .cache = caches_make(caches_bytes(model_config(model), 2 * B))};
    float scores[SERVING_SCORES_MAX];
    struct error err;
    enum status status;
    bool met;

    CHECK_STATUS(OK, model_reserve_cache(model, other.cache, &err));
    jagged_fill(&jagged, model_config(model), first, B, 1);
    CHECK_STATUS(OK, model_score(model, failing, &jagged.batch, scores, &err)); /* makes its room */
    cuemu_fail(call, fault);
    status = model_score_cached(model, failing, other.cache, &jagged.batch, scores, &err);
    met = cuemu_failed() != NULL;
    CHECK(met || status == OK);
    CHECK((status == OK) == (caches_stats(other.cache).pages_used > 0));
    CHECK((status == OK) == (caches_stats(other.cache).rows_computed > 0));
    if (fault == CUEMU_REFUSED) {
        cuemu_fail(0, fault);
        jagged_fill(&jagged, model_config(model), second, B, 2);
        check_kept(&other); /* takes the places */
        CHECK_INT(2 * B, caches_stats(other.cache).pages_used);
        CHECK_STATUS(OK, model_score(model, failing, &jagged.batch, scores, &err));
        check_kept(&other); /* and they are as they were */
        CHECK_INT(2 * (int64_t)B * KV_PAGE_ROWS, caches_stats(other.cache).rows_found);
    }
    kv_cache_destroy(other.cache);
    model_workspace_destroy(other.workspace);
    model_workspace_destroy(failing);
    cuemu_fail(0, fault);
    return met;
}

/* Every call in turn from the first on, but for `skip` between two of them, until there are no
 * more.
 */
static void fail_in_turn(struct model *model, int32_t B, int64_t first, int64_t skip,
                         enum cuemu_fault fault)
{
    for (int64_t call = first; fail_and_go_on(model, B, call, fault); call += 1 + skip)
        CHECK(call < 200);
}

TEST(cuda_pages_of_a_batch_that_failed_are_nobodys)
{
    int64_t skip = getenv("SOAK") == NULL ? 11 : 0; /* of so many calls one fails; else each */
    struct serving s = {0};

    cuemu_need_emulator();
    cuemu_schedule(CUEMU_IN_ORDER, 0);
    serving_begin(&s, 0, 4);
    s.config.C = 32;
    s.config.L = 2;
    serving_model(&s);
    for (int32_t B = 1; B <= 2; B++) {
        graphs_allow(false);
        fail_in_turn(s.model, B, B, skip, CUEMU_REFUSED);
        fail_in_turn(s.model, B, 2 + B, 2 * skip, CUEMU_LOST);
        graphs_allow(true);
        fail_in_turn(s.model, B, B, skip, CUEMU_REFUSED);
    }
    graphs_allow(false);
    serving_end(&s);
}
