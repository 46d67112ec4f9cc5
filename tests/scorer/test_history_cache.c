/*
 * Tests scorer/history_cache and what scorer/rank does with it: whatever happens to users, events,
 * bundles and the cache's room, lists, scores and explanations are those without a cache, to the
 * bit. Runs under SAN=thread too.
 */
#include "scorer/history_cache.h"

#include "features/scalars.h"
#include "ops/hash.h"
#include "ops/metric.h"
#include "ops/random.h"
#include "schemas/bundle.h"
#include "scorer/rank.h"
#include "scorer/serve_main.h"
#include "scorer/served.h"

#include "tests/scorer/scorer_fixture.h"
#include "tests/test.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NOW        INT64_C(1700000000000)
#define USERS      6
#define EVENTS     100   /* features.sequence_max */
#define PAGE_BYTES 12288 /* of the preset small */
#define ROOM       (1 << 20)

static struct error err;

/* ---- size ---- */

static struct model_config preset(const char *name, int32_t contexts)
{
    struct model_config config;

    CHECK(model_preset(&config, name, FIXTURE_ITEMS + 1, scalars_count));
    config.contexts = contexts;
    return config;
}

TEST(history_cache_keeps_as_many_users_as_its_setting_says)
{
    struct model_config small = preset("small", 0), medium = preset("medium", 0);
    struct model_config large = preset("large", 0), asked = preset("small", 4);

    CHECK_INT(682, history_cache_users(64 << 20, &small, 100)); /* of 96 KiB each */
    CHECK_INT(170, history_cache_users(64 << 20, &medium, 100));
    CHECK_INT(21, history_cache_users(64 << 20, &large, 100));
    CHECK_INT(1, history_cache_users(PAGE_BYTES, &small, 12));
    CHECK_INT(0, history_cache_users(PAGE_BYTES - 1, &small, 12));
    CHECK_INT(INT64_MAX, history_cache_users(PAGE_BYTES, &small, 11));
    CHECK_INT(1, history_cache_users(PAGE_BYTES, &asked, 8)); /* and four of context */
    CHECK_INT(6,
              history_cache_users(60 * PAGE_BYTES, &small, 512)); /* no more than the model reads */
}

static enum status check_setting(const char *setting)
{
    static const struct config_row *const tables[] = {serve_config_rows, NULL};
    struct config *config;
    char *report = NULL;
    enum status status;

    CHECK_STATUS(OK, config_load(&config, tables, NULL, &setting, 1, &report, &err));
    status = history_cache_check(config, &err);
    free(report);
    config_destroy(config);
    return status;
}

TEST(history_cache_is_nothing_or_a_mebibyte_at_least)
{
    CHECK_STATUS(OK, check_setting("serve.history_cache=0B"));
    CHECK_STATUS(OK, check_setting("serve.history_cache=1MiB"));
    CHECK_STATUS(ERR_CONFIG, check_setting("serve.history_cache=1023KiB"));
    CHECK(strstr(err.text, "1MiB or more, or 0") != NULL);
    CHECK_STATUS(ERR_CONFIG, check_setting("serve.history_cache=1B"));
}

TEST(history_cache_of_no_bytes_is_none)
{
    struct kv_cache *cache = (struct kv_cache *)&err;

    CHECK_STATUS(OK, history_cache_open(&cache, 0, &err));
    CHECK(cache == NULL);
    history_cache_fit(NULL, NULL);
    history_cache_close(NULL);
}

/* ---- a world of users, two bundles and their tables ---- */

struct user {
    struct user_entry entries[EVENTS];
    int count;
    uint32_t running;
};

struct world {
    struct random random;
    struct item_tables *tables[2]; /* as of the bundle, and with news */
    struct model *models[2];
    struct user users[USERS];
    struct rank_scratch *cached, *plain;
    struct kv_cache *cache;
    int32_t candidates[FIXTURE_ITEMS];
    int model, table; /* that serve now */
    int64_t now_ms;
};

static struct model *make_model(uint64_t seed, int32_t contexts)
{
    struct model_config config = preset("small", contexts);
    struct model *model;

    CHECK_STATUS(OK, model_create(&model, &config, seed, &err));
    return model;
}

static void add_event(struct world *w, struct user *user)
{
    if (user->count == EVENTS) {
        memmove(user->entries, user->entries + 1, (EVENTS - 1) * sizeof user->entries[0]);
        user->count--;
    }
    user->entries[user->count++] = (struct user_entry){
        .item = fixture_item((int)random_below(&w->random, FIXTURE_ITEMS)),
        .time_ms = w->now_ms += 1000,
        .action = (uint8_t)(1 + random_below(&w->random, 3))};
    user->running++;
}

static void make_world(struct world *w, int64_t bytes, int32_t contexts)
{
    *w = (struct world){.now_ms = NOW};
    CHECK_STATUS(OK, hash_start(&err));
    random_seed(&w->random, test_seed());
    for (int i = 0; i < 2; i++) {
        w->tables[i] = fixture_tables(NOW - 1000000);
        w->models[i] = make_model(3 + (uint64_t)i, contexts);
    }
    for (int i = 0; i < FIXTURE_ITEMS; i++) {
        w->candidates[i] = i;
        item_tables_observe(w->tables[1], i, NOW - 1000 + i, NULL, 0);
    }
    for (int u = 0; u < USERS; u++)
        for (int n = 0; n < 20 * u; n++)
            add_event(w, &w->users[u]);
    CHECK_STATUS(OK, rank_scratch_create(&w->cached, &err));
    CHECK_STATUS(OK, rank_scratch_create(&w->plain, &err));
    CHECK_STATUS(OK, history_cache_open(&w->cache, bytes, &err));
}

static void end_world(struct world *w)
{
    rank_scratch_destroy(w->cached);
    rank_scratch_destroy(w->plain);
    history_cache_close(w->cache);
    for (int i = 0; i < 2; i++) {
        item_tables_destroy(w->tables[i]);
        model_destroy(w->models[i]);
    }
}

static struct kv_cache_stats stats_of(const struct world *w)
{
    struct kv_cache_stats stats;

    kv_cache_stats(w->cache, &stats);
    return stats;
}

static struct rank_request request_of(const struct world *w, const struct user *user)
{
    return (struct rank_request){.history = user->entries,
                                 .history_count = user->count,
                                 .running = user->running,
                                 .history_known = true,
                                 .now_ms = w->now_ms + 1,
                                 .candidates = w->candidates,
                                 .candidates_count = FIXTURE_ITEMS,
                                 .k = FIXTURE_ITEMS,
                                 .keep_seen = true};
}

struct list {
    struct ranked ranked[FIXTURE_ITEMS];
    int count;
    struct rank_explanation why;
};

static void make_list(const struct world *w, bool cached, const struct rank_request *request,
                      struct list *list)
{
    struct ranker ranker = {.model = w->models[w->model],
                            .tables = w->tables[w->table],
                            .histories = cached ? w->cache : NULL};
    struct rank_scratch *scratch = cached ? w->cached : w->plain;
    enum degraded degraded;

    CHECK_STATUS(OK, rank(&ranker, scratch, request, list->ranked, &list->count, &degraded, &err));
    CHECK_STATUS(
        OK, rank_explain(&ranker, scratch, request, list->ranked, list->count, &list->why, &err));
}

/* The same request with the cache and without: not a bit differs. */
static void check_request(const struct world *w, const struct rank_request *request)
{
    struct list with, without;

    make_list(w, true, request, &with);
    make_list(w, false, request, &without);
    CHECK_INT(without.count, with.count);
    for (int i = 0; i < with.count; i++) {
        CHECK_INT(without.ranked[i].index, with.ranked[i].index);
        CHECK(with.ranked[i].score == without.ranked[i].score);
    }
    for (int i = 0; i < with.count * RANK_PARTS; i++)
        CHECK(with.why.parts[i] == without.why.parts[i]);
}

static void check_user(const struct world *w, int user)
{
    struct rank_request request = request_of(w, &w->users[user]);

    check_request(w, &request);
}

/* ---- what may happen between two requests ---- */

/* An event, an erasure, another bundle or the one before it again, news of the items; mostly
 * nothing, or an event. */
static void happen(struct world *w, struct user *user)
{
    uint64_t what = random_below(&w->random, 20);

    if (what < 9)
        add_event(w, user);
    else if (what == 9)
        user->count = 0; /* erased: the count goes on */
    else if (what == 10)
        w->model = !w->model;
    else if (what == 11)
        w->table = !w->table;
}

static void live(int64_t bytes, int32_t contexts, int steps, struct kv_cache_stats *stats)
{
    struct world w;

    make_world(&w, bytes, contexts);
    for (int i = 0; i < steps; i++) {
        struct user *user = &w.users[random_below(&w.random, USERS)];
        uint8_t context[BATCH_CONTEXTS] = {(uint8_t)random_below(&w.random, 2)};
        struct rank_request request;

        happen(&w, user);
        request = request_of(&w, user);
        request.context = contexts > 0 ? context : NULL;
        request.candidates_count = (int)random_below(&w.random, FIXTURE_ITEMS + 1);
        request.baseline = random_below(&w.random, 10) == 0;
        check_request(&w, &request);
    }
    *stats = stats_of(&w);
    end_world(&w);
}

TEST(history_cache_changes_no_bit_whatever_happens_to_users_bundles_and_items)
{
    struct kv_cache_stats stats;

    live(ROOM, 0, 150, &stats);
    CHECK(stats.rows_found > stats.rows_computed && stats.pages_used > 8);
    live(ROOM, 2, 150, &stats);
    CHECK(stats.rows_found > 0 && stats.pages_used > 8);
}

TEST(history_cache_that_is_far_too_small_changes_no_bit)
{
    struct kv_cache_stats stats;

    for (int pages = 1; pages <= 10; pages += 3) {
        live(pages * (PAGE_BYTES + 100), 0, 60, &stats);
        CHECK_INT(pages, stats.pages);
        CHECK(stats.pages_used <= pages && stats.pages_dropped > 0);
    }
    live(PAGE_BYTES - 1, 0, 20, &stats); /* not a page: as if there were none */
    CHECK(stats.pages == 0 && stats.rows_found == 0 && stats.rows_computed == 0);
}

TEST(history_cache_finds_whole_pages_of_a_history_again_and_the_next_event_keeps_them)
{
    struct world w;
    struct list list;
    struct rank_request request;
    struct user *user;

    make_world(&w, ROOM, 0);
    user = &w.users[3]; /* 60 events: five pages */
    request = request_of(&w, user);
    make_list(&w, true, &request,
              &list); /* explaining it asks once more, and once without history */
    CHECK_INT(60, stats_of(&w).rows_computed);
    CHECK_INT(60, stats_of(&w).rows_found);
    CHECK_INT(5, stats_of(&w).pages_used);
    add_event(&w, user);
    request = request_of(&w, user);
    make_list(&w, true, &request, &list);
    CHECK_INT(62, stats_of(&w).rows_computed); /* the new one alone, twice */
    CHECK_INT(180, stats_of(&w).rows_found);
    user->entries[30].action ^= 1; /* corrected in the middle: its page and all behind it */
    check_user(&w, 3);
    CHECK_INT(62 + 37 + 1, stats_of(&w).rows_computed);
    CHECK_INT(180 + 24 + 60, stats_of(&w).rows_found);
    end_world(&w);
}

TEST(history_cache_serves_the_pieces_of_a_long_list)
{
    enum { MANY = RERANK_CANDIDATES_MAX };
    static int32_t many[MANY];
    static float with[MANY], without[MANY];
    struct world w;
    struct rank_request request;
    struct ranker ranker;

    make_world(&w, ROOM, 0);
    for (int i = 0; i < MANY; i++)
        many[i] = i % 3 == 0 ? ITEM_NONE : i % FIXTURE_ITEMS;
    request = request_of(&w, &w.users[3]);
    request.candidates = many;
    request.candidates_count = MANY;
    ranker = (struct ranker){.model = w.models[0], .tables = w.tables[0], .histories = w.cache};
    CHECK_STATUS(OK, rank_scores(&ranker, w.cached, &request, with, &err));
    CHECK_INT(60, stats_of(&w).rows_computed); /* the first piece; the others find it */
    CHECK_INT((MANY - 1) / BATCH_LIST_MAX * 60, stats_of(&w).rows_found);
    ranker.histories = NULL;
    CHECK_STATUS(OK, rank_scores(&ranker, w.plain, &request, without, &err));
    for (int i = 0; i < MANY; i++)
        CHECK(with[i] == without[i]);
    end_world(&w);
}

TEST(history_cache_knows_nothing_of_an_erased_user)
{
    struct world w;
    struct kv_cache_stats before;

    make_world(&w, ROOM, 0);
    check_user(&w, 5);
    before = stats_of(&w);
    CHECK(before.pages_used > 0);
    w.users[5].count = 0;
    check_user(&w, 5); /* as one of whom nothing was ever known */
    CHECK_INT(before.rows_found, stats_of(&w).rows_found);
    CHECK_INT(before.rows_computed, stats_of(&w).rows_computed);
    end_world(&w);
}

/* ---- metrics ---- */

static double gauge(const char *name)
{
    return metric_value(metric_find(name));
}

TEST(history_cache_is_told_on_metrics_until_it_is_closed)
{
    const struct metric *rows = metric_find("freshet_serve_history_rows_total");
    uint64_t cached = metric_count_of(rows, 0), computed = metric_count_of(rows, 1);
    const struct metric *dropped = metric_find("freshet_serve_history_pages_dropped_total");
    uint64_t dropped_before = metric_count(dropped);
    struct world w;

    make_world(&w, 6 * (PAGE_BYTES + 100), 0);
    check_user(&w, 3);
    check_user(&w, 4); /* 80 events: six pages, which drop those five */
    (void)metric_render(NULL, 0);
    CHECK_INT(140 + 8, (int64_t)(metric_count_of(rows, 1) - computed));
    CHECK_INT(60 + 72, (int64_t)(metric_count_of(rows, 0) - cached));
    CHECK_INT(5, (int64_t)(metric_count(dropped) - dropped_before));
    CHECK_NEAR(6, gauge("freshet_serve_history_pages"), 0);
    CHECK_NEAR(6, gauge("freshet_serve_history_pages_used"), 0);
    CHECK_NEAR(6 * (PAGE_BYTES + 100), gauge("freshet_serve_history_cache_bytes"), 0);
    check_user(&w, 4); /* counted when it is closed, by nobody's asking */
    end_world(&w);
    CHECK_INT(148 + 16, (int64_t)(metric_count_of(rows, 1) - computed));
    CHECK_NEAR(0, gauge("freshet_serve_history_pages"), 0);
    (void)metric_render(NULL, 0);
    CHECK_INT(148 + 16, (int64_t)(metric_count_of(rows, 1) - computed));
}

/* ---- bundles ---- */

static void refresh(struct served_slot *slot)
{
    bool changed;

    CHECK_STATUS(OK, served_refresh(slot, &changed, &err));
    CHECK(changed);
}

/* What serves now makes the same list with the cache as without. */
static void check_served(struct world *w, struct served_slot *slot)
{
    const struct served *served = served_acquire(slot);
    struct world now = *w;

    now.models[0] = (struct model *)(uintptr_t)served->model;
    now.tables[0] = (struct item_tables *)(uintptr_t)served->tables;
    now.model = now.table = 0;
    check_user(&now, 4);
    check_user(&now, 5);
    served_release(slot, served);
}

TEST(history_cache_outlives_bundles_rollbacks_and_news_of_the_items)
{
    struct served_slot *slot;
    struct world w;
    char path[512];
    int64_t found;

    make_world(&w, ROOM, 0);
    CHECK_STATUS(OK, served_slot_create(&slot, test_folder(), NULL, &err));
    served_slot_histories(slot, w.cache);
    fixture_publish(test_folder(), "v1", w.tables[0], true, false);
    refresh(slot);
    CHECK(stats_of(&w).pages > 0); /* before the first request */
    check_served(&w, slot);
    found = stats_of(&w).rows_found;

    /* Of an item that has a row: one that gets it now is another token in all histories. */
    item_tables_observe(w.tables[0], 9, NOW + 5000, NULL, 0);
    (void)snprintf(path, sizeof path, "%s/%s", test_folder(), BUNDLE_DELTA_NAME);
    CHECK_STATUS(OK, item_tables_save_delta(w.tables[0], 17, "v1", path, &err));
    refresh(slot); /* other counts, the same weights */
    check_served(&w, slot);
    CHECK_INT(found + 2 * (72 + 96), stats_of(&w).rows_found);

    fixture_publish(test_folder(), "v2", w.tables[0], true, false);
    refresh(slot);
    CHECK_INT(0, stats_of(&w).pages_used); /* of the weights that went */
    found = stats_of(&w).rows_found;
    check_served(&w, slot);
    CHECK_INT(found + 72 + 96, stats_of(&w).rows_found); /* the second pass found the first's */
    CHECK_STATUS(OK, bundle_set_current(test_folder(), "v1", &err));
    refresh(slot);
    check_served(&w, slot);
    fixture_publish(test_folder(), "v3", w.tables[0], false, false); /* no model */
    refresh(slot);
    fixture_publish(test_folder(), "v4", w.tables[0], true, false);
    refresh(slot);
    check_served(&w, slot);
    served_slot_destroy(slot);
    end_world(&w);
}

static int64_t count_kept(const struct world *w)
{
    const struct model_config *config = model_config(w->models[0]);
    struct kv_shape shape = {.L = config->L, .C = config->C};
    const float *pool = kv_cache_enter(w->cache, shape);
    int64_t pages = stats_of(w).pages, count = 0;

    for (int64_t i = 0; pool != NULL && i < pages * kv_page_floats(shape); i++)
        count += pool[i] != 0;
    if (pool != NULL)
        kv_cache_leave(w->cache);
    return count;
}

/* What the allocator gave is anything. */
static void clean(const struct world *w)
{
    const struct model_config *config = model_config(w->models[0]);
    struct kv_shape shape = {.L = config->L, .C = config->C};
    float *pool = kv_cache_enter(w->cache, shape);

    if (pool == NULL) /* a GPU's */
        return;
    memset(pool, 0, (size_t)(stats_of(w).pages * kv_page_floats(shape)) * sizeof *pool);
    kv_cache_leave(w->cache);
}

TEST(history_cache_keeps_nothing_of_weights_that_went)
{
    const struct served *served;
    struct served_slot *slot;
    struct world w;
    bool host, changed;
    int64_t both;

    make_world(&w, ROOM, 0);
    CHECK_STATUS(OK, served_slot_create(&slot, test_folder(), NULL, &err));
    served_slot_histories(slot, w.cache);
    fixture_publish(test_folder(), "v1", w.tables[0], true, false);
    refresh(slot);
    clean(&w);
    check_served(&w, slot);
    host = count_kept(&w) > 0; /* else a GPU has it */
    served = served_acquire(slot);
    fixture_publish(test_folder(), "v2", w.tables[0], true, false);
    refresh(slot);
    CHECK(stats_of(&w).pages_used > 0 && (count_kept(&w) > 0) == host);
    check_served(&w, slot); /* with the new ones, which keep theirs */
    both = stats_of(&w).pages_used;
    CHECK(both > 0 && both % 2 == 0);
    served_release(slot, served);             /* the last that answered with them */
    CHECK_INT(both, stats_of(&w).pages_used); /* it does not wait for that */
    CHECK_STATUS(OK, served_refresh(slot, &changed, &err));
    CHECK_INT(both / 2, stats_of(&w).pages_used);
    fixture_publish(test_folder(), "v3", w.tables[0], true, false);
    refresh(slot);
    CHECK(stats_of(&w).pages_used == 0 && count_kept(&w) == 0);
    CHECK_INT(0, stats_of(&w).pages_dropped);
    check_served(&w, slot);
    served_slot_destroy(slot);
    CHECK_INT(0, stats_of(&w).pages_used);
    end_world(&w);
}

/* ---- threads ---- */

#define THREADS 3
#define ROUNDS  60

struct asker {
    struct world *world;
    const float (*want)[USERS][FIXTURE_ITEMS]; /* [2] by model */
    uint64_t seed;
    atomic_int *wrong;
};

static void *ask(void *context)
{
    const struct asker *asker = context;
    const struct world *w = asker->world;
    struct rank_scratch *scratch;
    struct random random;
    struct error why;

    if (rank_scratch_create(&scratch, &why) != OK)
        return NULL;
    random_seed(&random, asker->seed);
    for (int i = 0; i < ROUNDS; i++) {
        int user = (int)random_below(&random, USERS), model = (int)random_below(&random, 2);
        struct rank_request request = request_of(w, &w->users[user]);
        struct ranker ranker = {
            .model = w->models[model], .tables = w->tables[0], .histories = w->cache};
        float got[FIXTURE_ITEMS];
        bool wrong = rank_scores(&ranker, scratch, &request, got, &why) != OK;

        for (int n = 0; n < FIXTURE_ITEMS && !wrong; n++)
            wrong = got[n] != asker->want[model][user][n];
        if (wrong)
            (void)atomic_fetch_add(asker->wrong, 1);
    }
    rank_scratch_destroy(scratch);
    return NULL;
}

TEST(history_cache_is_shared_by_threads_that_drop_each_others_pages)
{
    static float want[2][USERS][FIXTURE_ITEMS];
    struct asker askers[THREADS];
    pthread_t threads[THREADS];
    atomic_int wrong = 0;
    struct world w;

    make_world(&w, 12 * (PAGE_BYTES + 100), 0); /* for one user or two */
    for (int model = 0; model < 2; model++)
        for (int user = 0; user < USERS; user++) {
            struct ranker plain = {.model = w.models[model], .tables = w.tables[0]};
            struct rank_request request = request_of(&w, &w.users[user]);

            CHECK_STATUS(OK, rank_scores(&plain, w.plain, &request, want[model][user], &err));
        }
    for (int i = 0; i < THREADS; i++) {
        askers[i] = (struct asker){&w, want, test_seed() + (uint64_t)i, &wrong};
        CHECK(pthread_create(&threads[i], NULL, ask, &askers[i]) == 0);
    }
    for (int i = 0; i < 20; i++)
        (void)metric_render(NULL, 0); /* as the admin port does meanwhile */
    for (int i = 0; i < THREADS; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    CHECK_INT(0, atomic_load(&wrong));
    CHECK(stats_of(&w).pages_dropped > 0 && stats_of(&w).rows_found > 0);
    end_world(&w);
}
