/*
 * Tests kernels/kv_cache: who gets which page, what goes first, what is published and what not;
 * then whole models, whose scores with a cache are those without to the bit, on histories that
 * grow, slide and change at random, in caches that are far too small, from several threads.
 */
#include "kernels/kv_cache.h"

#include "kernels/model.h"
#include "kernels/request.h"
#include "ops/random.h"
#include "tests/kernels/caches.h"
#include "tests/kernels/jagged.h"
#include "tests/test.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static const struct kv_shape shape = {.L = 1, .C = 16};
#define PAGE_BYTES                                                                                 \
    (KV_PAGE_ROWS * 2 * 16 * 4 + 48) /* a page of that shape and its tables, nearly */

static struct jagged jagged, alone;

/* ---- leases ---- */

#define LEASE_PAGES 8

/* A history of whole pages by its name: histories of one name have the same pages in front. */
struct held {
    struct kv_lease lease;
    struct hash128 keys[LEASE_PAGES];
    int32_t slots[LEASE_PAGES];
};

static void hold(struct held *held, struct kv_cache *cache, uint64_t name, int32_t pages)
{
    held->lease = (struct kv_lease){.version = name,
                                    .rows = pages * KV_PAGE_ROWS + 5,
                                    .pages = pages,
                                    .found = -1,
                                    .keys = held->keys,
                                    .slots = held->slots};
    for (int32_t p = 0; p < pages; p++)
        held->keys[p] = (struct hash128){name * 64 + (uint64_t)p, name};
    kv_cache_take(cache, &held->lease);
}

/* How many of its pages are found. */
static int32_t found(struct kv_cache *cache, uint64_t name, int32_t pages)
{
    struct held held;

    hold(&held, cache, name, pages);
    kv_cache_give(cache, &held.lease, false);
    return held.lease.found;
}

static void publish(struct kv_cache *cache, uint64_t name, int32_t pages)
{
    struct held held;

    hold(&held, cache, name, pages);
    kv_cache_give(cache, &held.lease, true);
}

static struct kv_cache *cache_of_pages(int32_t pages)
{
    struct kv_cache *cache = caches_make((int64_t)pages * PAGE_BYTES + PAGE_BYTES / 2);

    CHECK(kv_cache_enter(cache, shape) != NULL);
    CHECK_INT(pages, caches_stats(cache).pages);
    return cache;
}

TEST(kv_cache_refuses_to_be_of_no_bytes)
{
    struct kv_cache *cache;
    struct error err;

    CHECK_STATUS(ERR_LIMIT, kv_cache_create(&cache, 0, &err));
    CHECK(cache == NULL);
    CHECK_STATUS(ERR_LIMIT, kv_cache_create(&cache, INT64_MIN, &err));
    kv_cache_destroy(NULL);
}

TEST(kv_cache_smaller_than_a_page_is_said_once_and_goes_without)
{
    struct kv_cache *cache = caches_make(KV_PAGE_ROWS * 2 * 16 * 4);
    struct error err;

    CHECK_STATUS(ERR_LIMIT, kv_cache_reserve(cache, shape, &err));
    CHECK(kv_cache_enter(cache, shape) == NULL);
    CHECK_INT(0, caches_stats(cache).pages);
    kv_cache_destroy(cache);
}

TEST(kv_cache_finds_what_was_written_up_to_the_first_page_that_differs)
{
    struct kv_cache *cache = cache_of_pages(20);
    struct held held;

    CHECK_INT(0, found(cache, 1, 3));
    CHECK_INT(0, caches_stats(cache).rows_computed); /* nothing of it was computed */
    publish(cache, 1, 3);
    CHECK_INT(3, found(cache, 1, 3));
    CHECK_INT(3, found(cache, 1, 5));
    CHECK_INT(2, found(cache, 1, 2));
    CHECK_INT(0, found(cache, 1, 0));
    CHECK_INT(0, found(cache, 2, 3));
    hold(&held, cache, 1, 5);
    for (int32_t p = 0; p < 5; p++) /* places of their own */
        for (int32_t q = 0; q <= p; q++)
            CHECK((held.slots[p] == held.slots[q]) == (p == q) && held.slots[p] >= 0);
    kv_cache_give(cache, &held.lease, true);
    CHECK_INT(5, caches_stats(cache).pages_used);
    CHECK_INT(3 * KV_PAGE_ROWS, caches_stats(cache).rows_found);
    CHECK_INT(3 * KV_PAGE_ROWS + 5 + 2 * KV_PAGE_ROWS + 5, caches_stats(cache).rows_computed);
    kv_cache_leave(cache);
    kv_cache_destroy(cache);
}

TEST(kv_cache_publishes_nothing_of_a_request_that_failed)
{
    struct kv_cache *cache = cache_of_pages(3);
    struct held held;

    for (int round = 0; round < 10; round++) {
        hold(&held, cache, 1, 3);
        CHECK_INT(0, held.lease.found);
        CHECK(held.slots[2] != KV_SLOT_NONE); /* what was given back is free again */
        kv_cache_give(cache, &held.lease, false);
    }
    CHECK_INT(0, caches_stats(cache).pages_used);
    CHECK_INT(0, caches_stats(cache).pages_dropped);
    kv_cache_leave(cache);
    kv_cache_destroy(cache);
}

TEST(kv_cache_drops_the_oldest_history_from_its_end)
{
    struct kv_cache *cache = cache_of_pages(6);

    publish(cache, 1, 3);
    publish(cache, 2, 3);
    CHECK_INT(6, caches_stats(cache).pages_used);
    publish(cache, 3, 1);
    CHECK_INT(2, found(cache, 1, 2)); /* and is the newest now */
    publish(cache, 4, 2);
    CHECK_INT(3, caches_stats(cache).pages_dropped);
    CHECK_INT(6, caches_stats(cache).pages_used);
    CHECK_INT(2, found(cache, 1, 2));
    CHECK_INT(1, found(cache, 3, 1));
    CHECK_INT(2, found(cache, 4, 2));
    CHECK_INT(1, found(cache, 2, 3)); /* asks for two more, which takes the place of others */
    CHECK_INT(5, caches_stats(cache).pages_dropped);
    kv_cache_leave(cache);
    kv_cache_destroy(cache);
}

TEST(kv_cache_gives_no_page_that_is_pinned)
{
    struct kv_cache *cache = cache_of_pages(4);
    struct held reads, writes, late;

    publish(cache, 1, 2);
    hold(&reads, cache, 1, 2);
    hold(&writes, cache, 2, 3); /* two are left */
    CHECK(writes.slots[0] >= 0 && writes.slots[1] >= 0 && writes.slots[2] == KV_SLOT_NONE);
    hold(&late, cache, 3, 2);
    CHECK(late.lease.found == 0 && late.slots[0] == KV_SLOT_NONE && late.slots[1] == KV_SLOT_NONE);
    kv_cache_give(cache, &late.lease, true);
    CHECK_INT(0, found(cache, 3, 2));
    hold(&late, cache, 1, 2); /* a page may have two readers */
    kv_cache_give(cache, &reads.lease, true);
    publish(cache, 4, 4); /* still read by one: no place */
    CHECK_INT(0, found(cache, 4, 4));
    CHECK_INT(0, caches_stats(cache).pages_dropped);
    kv_cache_give(cache, &late.lease, true);
    kv_cache_give(cache, &writes.lease, true);
    CHECK_INT(2, found(cache, 2, 3));
    kv_cache_leave(cache);
    kv_cache_destroy(cache);
}

TEST(kv_cache_keeps_one_page_of_two_that_were_computed_at_once)
{
    struct kv_cache *cache = cache_of_pages(4);
    struct held first, second;

    hold(&first, cache, 1, 2);
    hold(&second, cache, 1, 2);
    CHECK(first.slots[0] != second.slots[0] && first.slots[1] != second.slots[1]);
    kv_cache_give(cache, &second.lease, true);
    kv_cache_give(cache, &first.lease, true);
    CHECK_INT(2, caches_stats(cache).pages_used);
    hold(&first, cache, 1, 2);
    CHECK(first.slots[0] == second.slots[0] && first.slots[1] == second.slots[1]);
    kv_cache_give(cache, &first.lease, true);
    publish(cache, 2, 2); /* the other two places are free */
    CHECK_INT(2, found(cache, 1, 2));
    kv_cache_leave(cache);
    kv_cache_destroy(cache);
}

/* Numbers in the whole pool that are not 0, on the host. */
static int64_t count_kept(struct kv_cache *cache)
{
    const float *pool = kv_cache_enter(cache, shape);
    int64_t floats = caches_stats(cache).pages * kv_page_floats(shape), count = 0;

    for (int64_t i = 0; i < floats; i++)
        count += pool[i] != 0;
    kv_cache_leave(cache);
    return count;
}

/* As a request computes the pages that it did not find. */
static void compute(struct kv_cache *cache, const struct held *held)
{
    float *pool = kv_cache_enter(cache, shape);
    int64_t floats = kv_page_floats(shape);

    for (int32_t p = held->lease.found; p < held->lease.pages; p++)
        for (int64_t i = 0; i < floats && held->slots[p] != KV_SLOT_NONE; i++)
            pool[held->slots[p] * floats + i] = 1;
    kv_cache_leave(cache);
}

TEST(kv_cache_wipes_what_was_computed_and_is_not_kept)
{
    struct kv_cache *cache = cache_of_pages(8);
    int64_t floats = kv_page_floats(shape);
    struct held first, second, failed, other;

    memset(kv_cache_enter(cache, shape), 0, (size_t)(8 * floats) * sizeof(float));
    kv_cache_leave(cache);
    hold(&first, cache, 1, 2);
    hold(&second, cache, 1, 2);
    hold(&failed, cache, 3, 1);
    hold(&other, cache, 2, 3);
    compute(cache, &first);
    compute(cache, &second);
    compute(cache, &failed);
    compute(cache, &other);
    CHECK_INT(8 * floats, count_kept(cache));
    kv_cache_give(cache, &failed.lease, false);
    kv_cache_give(cache, &first.lease, true);
    CHECK_INT(7 * floats, count_kept(cache));
    kv_cache_give(cache, &second.lease, true);
    CHECK_INT(5 * floats, count_kept(cache));
    kv_cache_give(cache, &other.lease, true);
    kv_cache_forget(cache, 1); /* and nothing of others */
    CHECK_INT(3 * floats, count_kept(cache));
    CHECK_INT(3, caches_stats(cache).pages_used);
    CHECK_INT(0, found(cache, 1, 2));
    CHECK_INT(3, found(cache, 2, 3));
    kv_cache_forget(cache, 2);
    CHECK_INT(0, count_kept(cache));
    CHECK_INT(0, caches_stats(cache).pages_used);
    CHECK_INT(0, caches_stats(cache).pages_dropped);
    publish(cache, 4, 8); /* all places are free */
    CHECK_INT(8, found(cache, 4, 8));
    kv_cache_leave(cache);
    kv_cache_destroy(cache);
}

TEST(kv_cache_forgets_no_page_that_is_read)
{
    struct kv_cache *cache = cache_of_pages(4);
    struct held reads;

    publish(cache, 1, 2);
    hold(&reads, cache, 1, 1);
    kv_cache_forget(cache, 1);
    CHECK_INT(1, caches_stats(cache).pages_used);
    kv_cache_give(cache, &reads.lease, true);
    kv_cache_forget(cache, 1);
    CHECK_INT(0, caches_stats(cache).pages_used);
    kv_cache_forget(NULL, 1);
    kv_cache_leave(cache);
    kv_cache_destroy(cache);
}

TEST(kv_cache_forgets_nothing_where_it_could_not_be_cut)
{
    const struct kv_shape large = {.L = 8, .C = 512};
    struct kv_cache *cache = cache_of_pages(4);
    struct error err;

    publish(cache, 1, 3);
    kv_cache_leave(cache);
    CHECK(kv_cache_fits(cache, shape) && !kv_cache_fits(cache, large));
    CHECK_STATUS(ERR_LIMIT, kv_cache_reserve(cache, large, &err));
    CHECK(!kv_cache_fits(cache, shape) && !kv_cache_fits(cache, large));
    kv_cache_forget(cache, 1); /* of pages that are no more */
    CHECK_INT(0, caches_stats(cache).pages_used);
    CHECK_STATUS(OK, kv_cache_reserve(cache, shape, &err));
    kv_cache_forget(cache, 1);
    CHECK_INT(4, caches_stats(cache).pages);
    kv_cache_destroy(cache);
}

TEST(kv_cache_changes_its_shape_for_who_asks_long_enough_while_nobody_reads)
{
    const struct kv_shape other = {.L = 2, .C = 32};
    struct kv_cache *cache = cache_of_pages(40);
    struct error err;

    publish(cache, 1, 3);
    for (int call = 0; call < 2 * KV_STRANGERS; call++)
        CHECK(kv_cache_enter(cache, other) == NULL); /* pages are read */
    CHECK_STATUS(OK, kv_cache_reserve(cache, other, &err));
    CHECK_INT(3, found(cache, 1, 3));
    kv_cache_leave(cache);
    CHECK(kv_cache_enter(cache, shape) != NULL); /* the count begins anew */
    kv_cache_leave(cache);
    for (int call = 1; call < KV_STRANGERS; call++)
        CHECK(kv_cache_enter(cache, other) == NULL);
    CHECK(kv_cache_enter(cache, other) != NULL);
    CHECK_INT(0, found(cache, 1, 3));
    CHECK_INT(3, caches_stats(cache).pages_dropped);
    CHECK(caches_stats(cache).pages > 0 && caches_stats(cache).pages < 15);
    kv_cache_leave(cache);
    CHECK_STATUS(OK, kv_cache_reserve(cache, shape, &err)); /* told to: at once */
    CHECK_INT(40, caches_stats(cache).pages);
    kv_cache_destroy(cache);
}

/* ---- keys ---- */

#define KEYED_ROWS 41 /* 3 pages and a rest */

static void keys_of(const struct kv_cache *cache, uint64_t version, int32_t contexts,
                    struct hash128 keys[4])
{
    struct kv_lease lease = {.keys = keys};
    struct request request = request_with(&jagged.batch, 0, contexts);

    kv_cache_keys(cache, &lease, version, &request);
    CHECK_INT((KEYED_ROWS + contexts) / KV_PAGE_ROWS, lease.pages);
    CHECK_INT(KEYED_ROWS + contexts, lease.rows);
}

/* The first page whose key is another now; pages when none is. All behind it are others, too. */
static int32_t first_other(const struct kv_cache *cache, int32_t contexts,
                           const struct hash128 before[4])
{
    int32_t pages = kv_pages_of(KEYED_ROWS + contexts), first = pages;
    struct hash128 now[4];

    keys_of(cache, 7, contexts, now);
    for (int32_t p = pages - 1; p >= 0; p--)
        if (now[p].low != before[p].low && now[p].high != before[p].high) {
            CHECK(first == p + 1);
            first = p;
        }
    return first;
}

TEST(kv_cache_keys_are_of_all_that_made_a_page_and_of_nothing_else)
{
    const struct jagged_size size = {KEYED_ROWS, 3};
    const struct model_config config = {.V = 50, .A = 4, .F = 0};
    struct kv_cache *cache = caches_make(1), *another = caches_make(1);
    struct hash128 keys[4], others[4];

    for (int32_t contexts = 0; contexts <= BATCH_CONTEXTS; contexts++) {
        int32_t pages = kv_pages_of(KEYED_ROWS + contexts);

        jagged_fill(&jagged, &config, &size, 1, test_seed());
        keys_of(cache, 7, contexts, keys);
        jagged.request_time_ms[0] += 999;
        jagged.candidate_item[0]++;
        jagged.item[KEYED_ROWS - 1]++; /* behind the last whole page */
        CHECK_INT(pages, first_other(cache, contexts, keys));
        for (int32_t j = 0; j < KEYED_ROWS - 9; j++) {
            int32_t p = (contexts + j) / KV_PAGE_ROWS;

            jagged.item[j]++;
            CHECK_INT(p, first_other(cache, contexts, keys));
            jagged.item[j]--;
            jagged.action[j]++;
            CHECK_INT(p, first_other(cache, contexts, keys));
            jagged.action[j]--;
            jagged.time_ms[j]++;
            CHECK_INT(p, first_other(cache, contexts, keys));
            jagged.time_ms[j]--;
        }
        for (int32_t k = 0; k < BATCH_CONTEXTS; k++) {
            jagged.context[k] = jagged.context[k] == 5 ? 6 : 5;
            CHECK_INT(k < contexts ? 0 : pages, first_other(cache, contexts, keys));
            jagged_fill(&jagged, &config, &size, 1, test_seed());
        }
        keys_of(cache, 8, contexts, others);
        CHECK(others[0].low != keys[0].low);
        keys_of(another, 7, contexts, others); /* nobody knows the seed */
        CHECK(others[0].low != keys[0].low && others[0].high != keys[0].high);
    }
    kv_cache_destroy(another);
    kv_cache_destroy(cache);
}

/* ---- whole models ---- */

static struct model *model_of(int number)
{
    struct model_config config = {.C = 32,
                                  .L = 1 + number % 3,
                                  .H = 2,
                                  .P = 40,
                                  .V = 30,
                                  .A = 5,
                                  .F = 2,
                                  .R = 16,
                                  .W = 16,
                                  .crosses = 1,
                                  .attention = (enum model_attention)(number % 2),
                                  .head = MODEL_HEAD_CROSS,
                                  .tau = .05f};
    struct random random;
    struct model *model;
    struct error err;

    config.contexts = number % 4;
    config.P += config.contexts;
    CHECK_STATUS(OK, model_create(&model, &config, (uint64_t)number, &err));
    random_seed(&random, (uint64_t)number);
    for (int32_t i = 0; i < model_tensors_count(model); i++)
        for (size_t k = 0; k < model_tensor(model, i).count; k++)
            model_tensor(model, i).data[k] += (float)(.2 * random_normal(&random));
    CHECK_STATUS(OK, model_prepare(model, &err));
    if (number % 3 == 1)
        CHECK_STATUS(OK, model_fold(model, &err));
    return model;
}

/* Users whose histories go on, slide, and are corrected in the middle, as one stream of tokens. */
#define USERS  5
#define TOKENS 40
struct user {
    int32_t count, item[TOKENS], action[TOKENS], context[BATCH_CONTEXTS];
    int64_t time_ms[TOKENS];
};

static int32_t below(struct random *random, int32_t bound)
{
    return (int32_t)random_below(random, (uint64_t)bound);
}

static void live(struct user *user, struct random *random)
{
    int32_t more = below(random, 15), gone;

    switch (below(random, 8)) {
    case 0: /* slides: all that is left begins elsewhere */
        gone = below(random, user->count + 1);
        user->count -= gone;
        memmove(user->item, user->item + gone, (size_t)user->count * sizeof *user->item);
        memmove(user->action, user->action + gone, (size_t)user->count * sizeof *user->action);
        memmove(user->time_ms, user->time_ms + gone, (size_t)user->count * sizeof *user->time_ms);
        break;
    case 1: /* an event that came late */
        if (user->count > 0)
            user->item[below(random, user->count)] = below(random, 33); /* some of no row */
        break;
    case 2:
        user->context[below(random, BATCH_CONTEXTS)] = below(random, 3);
        break;
    case 3: /* asks again, sooner than anything happened */
        break;
    default:
        for (int32_t i = 0; i < more && user->count < TOKENS; i++, user->count++) {
            int64_t last = user->count > 0 ? user->time_ms[user->count - 1] : 1700000000000;

            user->item[user->count] = below(random, 30);
            user->action[user->count] = 1 + below(random, 4);
            user->time_ms[user->count] = last + 1 + below(random, 3600000);
        }
    }
}

/* A batch of some of the users, one of them maybe twice, as pieces of one request are. */
static void ask(struct jagged *all, const struct model_config *config, const struct user *users,
                struct random *random)
{
    struct jagged_size sizes[4];
    int32_t who[4], count = 1 + below(random, 4);

    for (int32_t b = 0; b < count; b++) {
        who[b] = below(random, USERS);
        sizes[b] = (struct jagged_size){users[who[b]].count, below(random, 9)};
    }
    jagged_fill(all, config, sizes, count, (uint64_t)below(random, 1 << 30));
    for (int32_t b = 0; b < count; b++) {
        const struct user *user = &users[who[b]];
        size_t n = (size_t)user->count;

        memcpy(all->item + all->history_start[b], user->item, n * sizeof *user->item);
        memcpy(all->action + all->history_start[b], user->action, n * sizeof *user->action);
        memcpy(all->time_ms + all->history_start[b], user->time_ms, n * sizeof *user->time_ms);
        memcpy(all->context + (ptrdiff_t)b * BATCH_CONTEXTS, user->context, sizeof user->context);
    }
}

static bool same_scores(const struct model *model, struct model_workspace *workspace,
                        struct kv_cache *cache, const struct batch *batch)
{
    float want[64], got[64];
    struct error err;

    if (batch->N > 64 || model_score(model, workspace, batch, want, &err) != OK ||
        model_score_cached(model, workspace, cache, batch, got, &err) != OK)
        return false;
    return memcmp(want, got, (size_t)batch->N * sizeof *got) == 0;
}

TEST(kv_cache_changes_no_score_whatever_happens_to_histories)
{
    static const int32_t pages[] = {0, 1, 3, 10, 1000};
    struct model_workspace *workspace = model_workspace_create();
    struct random random;

    random_seed(&random, test_seed());
    for (int number = 0; number < 12; number++) {
        struct model *model = model_of(number);
        struct kv_cache *cache = caches_make(caches_bytes(model_config(model), pages[number % 5]));
        struct user users[USERS] = {0};

        for (int step = 0; step < 80; step++) {
            live(&users[below(&random, USERS)], &random);
            ask(&jagged, model_config(model), users, &random);
            CHECK(same_scores(model, workspace, cache, &jagged.batch));
        }
        CHECK_INT(pages[number % 5], caches_stats(cache).pages);
        CHECK((pages[number % 5] > 1) == (caches_stats(cache).rows_found > 0) || number % 5 == 1);
        CHECK(number % 5 != 2 || caches_stats(cache).pages_dropped > 0);
        kv_cache_destroy(cache);
        model_destroy(model);
    }
    model_workspace_destroy(workspace);
}

/* Users of one model; two models share the cache, one of them of another shape. */
struct scorer {
    const struct model *models[3];
    struct kv_cache *cache;
    uint64_t seed;
    bool right;
};

static void *score_some(void *context)
{
    struct scorer *scorer = context;
    struct model_workspace *workspace = model_workspace_create();
    struct jagged *all = malloc(sizeof *all);
    struct user users[USERS] = {0};
    struct random random;

    random_seed(&random, scorer->seed % 2); /* threads have users in common */
    scorer->right = all != NULL;
    for (int step = 0; step < 60 && scorer->right; step++) {
        const struct model *model = scorer->models[below(&random, 25) % 3 % (step < 50 ? 2 : 3)];

        live(&users[below(&random, USERS)], &random);
        ask(all, model_config(model), users, &random);
        scorer->right = same_scores(model, workspace, scorer->cache, &all->batch);
    }
    free(all);
    model_workspace_destroy(workspace);
    return NULL;
}

TEST(kv_cache_is_shared_by_threads)
{
    struct model *models[3] = {model_of(3), model_of(3), model_of(4)};
    struct kv_cache *cache = caches_make(caches_bytes(model_config(models[0]), 9));
    struct scorer scorers[4];
    pthread_t threads[4];

    for (int i = 0; i < 4; i++) {
        scorers[i] = (struct scorer){.models = {models[0], models[1], models[2]},
                                     .cache = cache,
                                     .seed = test_seed() + (uint64_t)i};
        CHECK_INT(0, pthread_create(&threads[i], NULL, score_some, &scorers[i]));
    }
    for (int i = 0; i < 4; i++)
        CHECK_INT(0, pthread_join(threads[i], NULL));
    for (int i = 0; i < 4; i++)
        CHECK(scorers[i].right);
    CHECK(caches_stats(cache).pages > 0);
    kv_cache_destroy(cache);
    for (int i = 0; i < 3; i++)
        model_destroy(models[i]);
}

TEST(kv_cache_finds_nothing_after_weights_changed_and_all_of_a_request_asked_twice)
{
    const struct jagged_size sizes[] = {{40, 4}, {24, 3}, {5, 2}, {0, 1}};
    struct model *model = model_of(0);
    struct model_workspace *workspace = model_workspace_create();
    struct kv_cache *cache = caches_make(caches_bytes(model_config(model), 50));
    struct error err;

    CHECK_STATUS(OK, model_reserve_cache(model, cache, &err));
    CHECK_INT(50, caches_stats(cache).pages);
    jagged_fill(&jagged, model_config(model), sizes, 4, test_seed());
    CHECK(same_scores(model, workspace, cache, &jagged.batch));
    CHECK_INT(0, caches_stats(cache).rows_found);
    CHECK_INT(69, caches_stats(cache).rows_computed);
    CHECK_INT(5, caches_stats(cache).pages_used);
    CHECK(same_scores(model, workspace, cache, &jagged.batch));
    CHECK_INT(60, caches_stats(cache).rows_found);
    CHECK_STATUS(OK, model_prepare(model, &err));
    CHECK(same_scores(model, workspace, cache, &jagged.batch));
    CHECK_INT(60, caches_stats(cache).rows_found);
    CHECK_STATUS(OK, model_round(model, &err));
    CHECK(same_scores(model, workspace, cache, &jagged.batch));
    CHECK_INT(60, caches_stats(cache).rows_found);
    CHECK_INT(15, caches_stats(cache).pages_used);
    jagged_one(&alone, &jagged, 1); /* alone as in the batch */
    CHECK(same_scores(model, workspace, cache, &alone.batch));
    CHECK_INT(84, caches_stats(cache).rows_found);
    alone.batch.history_start = (const int32_t[]){0, -1};
    CHECK_STATUS(ERR_LIMIT, model_score_cached(model, workspace, cache, &alone.batch, NULL, &err));
    CHECK_INT(84, caches_stats(cache).rows_found);
    kv_cache_destroy(cache);
    model_workspace_destroy(workspace);
    model_destroy(model);
}

TEST(kv_cache_that_is_null_is_none)
{
    const struct jagged_size size = {30, 4};
    struct model *model = model_of(1);
    struct model_workspace *workspace = model_workspace_create();

    jagged_fill(&jagged, model_config(model), &size, 1, test_seed());
    CHECK(same_scores(model, workspace, NULL, &jagged.batch));
    model_workspace_destroy(workspace);
    model_destroy(model);
}
