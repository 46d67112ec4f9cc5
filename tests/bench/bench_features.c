/*
 * tests/bench/bench_features.c - what an event costs in features/: rules, item tables, raw counts,
 * recall, copies. Processor time of one thread, the best of five rounds; a line of JSON a figure.
 *
 *     make build/release/bench/bench_features && build/release/bench/bench_features [rules|10k|1m]
 */
#include "features/item_tables.h"
#include "features/rules.h"
#include "features/scalars.h"
#include "features/user_store.h"
#include "ops/random.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ROUNDS 5
#define START  INT64_C(1700000000000)

static struct error err;

static void report(const char *name, const char *suffix, double value, const char *unit)
{
    (void)printf("{\"name\":\"%s%s\",\"value\":%.4g,\"unit\":\"%s\"}\n", name, suffix, value, unit);
}

static void must(enum status status)
{
    if (status == OK)
        return;
    (void)fprintf(stderr, "bench_features: %s\n", err.text);
    exit(70);
}

/* Of this thread: what others do on the machine does not count. */
static int64_t cpu_us(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static double best(double a, double b)
{
    return a < b ? a : b;
}

/* ---- rules ---- */

static struct rules make_rules(void)
{
    struct event_schema *schema;
    struct rules rules;

    must(event_schema_default(&schema, &err));
    rules_init(&rules, schema, 1);
    event_schema_destroy(schema);
    return rules;
}

static struct event view(int item, int64_t time_ms, char *name, size_t bytes)
{
    (void)snprintf(name, bytes, "i%d", item);
    return (struct event){.kind = EVENT_ACTION,
                          .action = 1,
                          .user = text_of("u123456"),
                          .item = text_of(name),
                          .time_ms = time_ms};
}

/* In-order events of a full sequence, straight to the bytes. */
static double fast_round(const struct rules *rules, int events)
{
    static uint8_t image[USER_VALUE_BYTES_MAX];
    size_t bytes = 0;
    char name[16];
    struct event event = view(7, START, name, sizeof name);
    int64_t begin = 0;

    for (int i = -200; i < events; i++) {
        struct user_change change = {0};

        if (i == 0)
            begin = cpu_us();
        event.time_ms = START + 1000 + i;
        if (!rules_apply_fast(rules, &event, START, false, image, &bytes, sizeof image, 1, START,
                              &change))
            abort();
    }
    return (double)(cpu_us() - begin) * 1000 / events;
}

/* The whole slow path: decode, rules, diff. shown: a list of 10 and a label in each ten events. */
static double slow_round(const struct rules *rules, int events, bool shown)
{
    static uint8_t image[USER_VALUE_BYTES_MAX];
    static struct user_value value;
    static struct emissions emissions;
    static char names[10][16];
    struct text rows[10];
    struct arena *arena = arena_create(1 << 20, 1 << 26);
    enum outcome outcome;
    size_t bytes = 0;
    char name[16];
    int64_t begin = 0;

    for (int i = 0; i < 10; i++) {
        (void)snprintf(names[i], sizeof names[i], "i%d", i);
        rows[i] = text_of(names[i]);
    }
    for (int i = -200; i < events; i++) {
        struct event event = view(i & 7, START + 1000 + i, name, sizeof name);
        struct user_change change = {0};

        if (i == 0)
            begin = cpu_us();
        if (shown && i % 10 == 0)
            event = (struct event){.kind = EVENT_IMPRESSION,
                                   .user = event.user,
                                   .time_ms = event.time_ms,
                                   .rows = rows,
                                   .rows_count = 10};
        else if (shown && i % 10 == 5)
            event.action = 2; /* a click, which is a label */
        if (i % 64 == 0)
            arena_reset(arena);
        must(user_value_decode(&value, image, bytes, arena, &err));
        must(rules_apply(rules, &value, &event, START, false, arena, &emissions, &outcome, &err));
        bytes = user_value_diff(image, bytes, &value, rules->sequence_max, image, sizeof image,
                                &change);
        if (bytes == 0)
            abort();
    }
    arena_destroy(arena);
    return (double)(cpu_us() - begin) * 1000 / events;
}

static double store_round(const struct rules *rules, int events)
{
    struct user_store *store;
    enum outcome outcome;
    char user[16], name[16];
    struct random random;
    int64_t begin;

    random_seed(&random, 1);
    must(user_store_create(&store, rules, &err));
    begin = cpu_us();
    for (int i = 0; i < events; i++) {
        struct event event = view((int)random_below(&random, 10000), START + i, name, sizeof name);

        (void)snprintf(user, sizeof user, "u%d", (int)random_below(&random, 10000));
        event.user = text_of(user);
        must(user_store_apply(store, &event, START, false, NULL, NULL, &outcome, &err));
    }
    begin = cpu_us() - begin;
    user_store_destroy(store);
    return (double)begin * 1000 / events;
}

static void bench_rules(void)
{
    struct rules rules = make_rules();
    double fast = INFINITY, slow = INFINITY, shown = INFINITY, store = INFINITY;

    for (int round = 0; round < ROUNDS; round++) {
        fast = best(fast, fast_round(&rules, 300000));
        slow = best(slow, slow_round(&rules, 100000, false));
        shown = best(shown, slow_round(&rules, 100000, true));
        store = best(store, store_round(&rules, 300000));
    }
    report("rules_fast", "", fast, "ns/event");
    report("rules_slow", "", slow, "ns/event");
    report("rules_slow_with_lists", "", shown, "ns/event");
    report("user_store_apply", "", store, "ns/event");
}

/* ---- item tables ---- */

struct walk {
    struct random random;
    int items;
    struct user_entry history[1000][16];
    int count[1000];
};

static uint64_t hash_of(int item)
{
    return (uint64_t)(item + 1) * UINT64_C(0x9E3779B97F4A7C15);
}

/* A few items are met most of the time. */
static int draw(struct walk *walk)
{
    double unit = random_unit(&walk->random);

    return (int)(unit * unit * unit * walk->items);
}

static void observe(struct item_tables *tables, struct walk *walk, int64_t time_ms)
{
    int user = (int)random_below(&walk->random, 1000), item = draw(walk);
    struct user_entry *history = walk->history[user];
    int32_t index = item_tables_index(tables, hash_of(item), (struct text){0}, time_ms);

    item_tables_observe(tables, index, time_ms, history, walk->count[user]);
    if (walk->count[user] == 16)
        memmove(history, history + 1, sizeof history[0] * (size_t)--walk->count[user]);
    history[walk->count[user]++] = (struct user_entry){
        .item = hash_of(item), .time_ms = time_ms, .action = 1};
}

static void bench_queries(const struct item_tables *tables, struct walk *walk, int64_t now,
                          const char *suffix)
{
    enum { CANDIDATES = 200, CALLS = 200 };
    struct item_scratch *scratch = item_scratch_create();
    struct item_query query = {.now_ms = now, .history_count = 16};
    static int32_t indices[CANDIDATES];
    static int64_t raw[CANDIDATES * RAW_COLUMNS];
    static float scalars[CANDIDATES * 64];
    double us[4] = {INFINITY, INFINITY, INFINITY, INFINITY};

    for (int round = 0; round < ROUNDS; round++) {
        int64_t sum[4] = {0}, t[5];

        for (int call = 0; call < CALLS; call++) {
            query.history = walk->history[random_below(&walk->random, 1000)];
            for (int i = 0; i < CANDIDATES; i++)
                indices[i] = item_tables_find(tables, hash_of(draw(walk)));
            t[0] = cpu_us();
            must(item_tables_raw(tables, scratch, &query, indices, CANDIDATES, raw, &err));
            t[1] = cpu_us();
            scalars_compute(scalars, raw, CANDIDATES);
            t[2] = cpu_us();
            (void)item_tables_related(tables, scratch, &query, CANDIDATES, indices);
            t[3] = cpu_us();
            (void)item_tables_popular(tables, scratch, &query, CANDIDATES, indices);
            t[4] = cpu_us();
            for (int k = 0; k < 4; k++)
                sum[k] += t[k + 1] - t[k];
        }
        for (int k = 0; k < 4; k++)
            us[k] = best(us[k], (double)sum[k] / CALLS);
    }
    report("items_raw_200", suffix, us[0], "us");
    report("items_scalars_200", suffix, us[1], "us");
    report("items_related_200", suffix, us[2], "us");
    report("items_popular_200", suffix, us[3], "us");
    item_scratch_destroy(scratch);
}

static double ms_since(int64_t begin_us)
{
    return (double)(cpu_us() - begin_us) / 1000;
}

static void bench_files(struct item_tables *tables, struct walk *walk, int64_t now,
                        const char *suffix)
{
    struct item_tables *copy, *loaded;
    char path[64], delta[80];
    uint64_t sequence;
    int64_t begin;

    (void)snprintf(path, sizeof path, "/tmp/bench_features%s", suffix);
    (void)snprintf(delta, sizeof delta, "%s.delta", path);
    begin = cpu_us();
    must(item_tables_save(tables, path, &err));
    report("items_save", suffix, ms_since(begin), "ms");
    item_tables_mark_saved(tables);
    begin = cpu_us();
    must(item_tables_load(&loaded, path, &err));
    report("items_load", suffix, ms_since(begin), "ms");
    for (int i = 0; i < 20000; i++)
        observe(tables, walk, now += 100);
    begin = cpu_us();
    must(item_tables_save_delta(tables, 1, "v", delta, &err));
    report("items_save_delta", suffix, ms_since(begin), "ms, of 20,000 events");
    begin = cpu_us();
    must(item_tables_copy(&copy, loaded, &err));
    report("items_copy", suffix, ms_since(begin), "ms");
    begin = cpu_us();
    must(item_tables_apply_delta(copy, delta, "v", &sequence, &err));
    report("items_apply_delta", suffix, ms_since(begin), "ms, of 20,000 events");
    (void)remove(path);
    (void)remove(delta);
    item_tables_destroy(copy);
    item_tables_destroy(loaded);
}

static void bench_tables(int items, int events, const char *suffix)
{
    struct walk *walk = calloc(1, sizeof *walk);
    struct item_tables_options options = {.items_max = items};
    struct item_tables *tables;
    int64_t begin, now = START;

    if (walk == NULL)
        abort();
    random_seed(&walk->random, 3);
    walk->items = items;
    must(item_tables_create(&tables, &options, &err));
    begin = cpu_us();
    for (int i = 0; i < events; i++)
        observe(tables, walk, now += 100);
    report("items_observe", suffix, ms_since(begin) * 1e6 / events, "ns/event");
    report("items_memory", suffix, (double)item_tables_bytes(tables) / item_tables_count(tables),
           "bytes/item");
    bench_queries(tables, walk, now, suffix);
    bench_files(tables, walk, now, suffix);
    item_tables_destroy(tables);
    free(walk);
}

int main(int argc, char **argv)
{
    const char *only = argc > 1 ? argv[1] : NULL;

    if (only == NULL || strcmp(only, "rules") == 0)
        bench_rules();
    if (only == NULL || strcmp(only, "10k") == 0)
        bench_tables(10000, 500000, "_10k");
    if (only == NULL || strcmp(only, "1m") == 0)
        bench_tables(1000000, 3000000, "_1m");
    return 0;
}
