/*
 * Tests features/item_tables: counts, decay and co-visitation against sums over the whole list of
 * events, then copies that share, deltas, files, and recall against a full sort.
 */
#include "features/item_tables.h"

#include "ops/hash.h"
#include "ops/random.h"
#include "tests/test.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HOUR_MS INT64_C(3600000)
#define DAY_MS  (24 * HOUR_MS)
#define START   INT64_C(1700000000000)

static struct item_tables *create(struct item_tables_options options)
{
    struct item_tables *tables;
    struct error err;

    CHECK_STATUS(OK, item_tables_create(&tables, &options, &err));
    return tables;
}

static int32_t add(struct item_tables *tables, int item, int64_t time_ms)
{
    char name[16];

    snprintf(name, sizeof name, "i%d", item);
    return item_tables_index(tables, hash64_text(text_of(name), 1), text_of(name), time_ms);
}

static uint64_t hash_of(int item)
{
    char name[16];

    snprintf(name, sizeof name, "i%d", item);
    return hash64_text(text_of(name), 1);
}

static void get_raw(const struct item_tables *tables, const struct item_query *query,
                    const int32_t *indices, int count, int64_t *raw)
{
    struct item_scratch *scratch = item_scratch_create();
    struct error err;

    CHECK(scratch != NULL);
    CHECK_STATUS(OK, item_tables_raw(tables, scratch, query, indices, count, raw, &err));
    item_scratch_destroy(scratch);
}

/* ---- the obvious second implementation: all events, summed again at each question ---- */

#define ITEMS  12
#define EVENTS 300

struct seen {
    int item;
    int64_t time_ms;
    int before[COVIS_REACH]; /* items, newest first; -1: none */
};

static double decayed(const struct seen *events, int count, int item, int64_t now, double tau)
{
    double sum = 0;

    for (int i = 0; i < count; i++)
        if (events[i].item == item)
            sum += exp(-(double)(now - events[i].time_ms) / tau);
    return sum;
}

static double covis(const struct seen *events, int count, int from, int to, int64_t now, double tau)
{
    double sum = 0;

    for (int i = 0; i < count && from != to; i++)
        for (int d = 1; d <= COVIS_REACH; d++)
            if (events[i].item == to && events[i].before[d - 1] == from)
                sum += exp(-(double)(now - events[i].time_ms) / tau) / d;
    return sum;
}

/* Feeds random events of a few users, in disorder when `late`; returns their number. */
static int feed(struct item_tables *tables, struct seen *events, struct random *random, bool late,
                struct user_entry *history, int *history_count)
{
    int count = 50 + (int)random_below(random, EVENTS - 50);

    *history_count = 0;
    for (int i = 0; i < count; i++) {
        int64_t t = START + i * HOUR_MS;
        int item = (int)random_below(random, ITEMS);
        int before = *history_count;

        if (late && random_below(random, 4) == 0)
            t -= (int64_t)random_below(random, 40) * HOUR_MS;
        events[i] = (struct seen){.item = item, .time_ms = t};
        for (int d = 1; d <= COVIS_REACH; d++) {
            events[i].before[d - 1] = -1;
            for (int k = 0; d <= before && k < ITEMS; k++)
                if (hash_of(k) == history[before - d].item)
                    events[i].before[d - 1] = k;
        }
        item_tables_observe(tables, add(tables, item, t), t, history, before);
        history[(*history_count)++] = (struct user_entry){
            .item = hash_of(item), .time_ms = t, .action = 1};
    }
    return count;
}

TEST(item_tables_sums_are_those_over_all_events)
{
    static struct seen events[EVENTS];
    static struct user_entry history[EVENTS];
    struct random random;

    random_seed(&random, test_seed());
    for (int round = 0; round < 40; round++) {
        double tau = round % 3 == 0 ? 2.0 * (double)DAY_MS : 30.0 * (double)DAY_MS;
        struct item_tables *tables = create((struct item_tables_options){
            .neighbours_max = ITEMS, .covis_tau_ms = (int64_t)tau, .admit_after = 1});
        int history_count;
        int count = feed(tables, events, &random, round % 2 == 1, history, &history_count);
        int64_t now = START + (count + 5) * HOUR_MS;

        CHECK(item_tables_count(tables) <= ITEMS);
        for (int item = 0; item < ITEMS; item++) {
            int32_t index = item_tables_find(tables, hash_of(item));
            int64_t clicks = 0;
            double want;

            for (int i = 0; i < count; i++)
                clicks += events[i].item == item;
            if (clicks == 0) {
                CHECK(index == ITEM_NONE ||
                      item_tables_popularity(tables, index, now, ITEM_TAU_7D_MS) == 0);
                continue;
            }
            CHECK_INT(clicks, item_tables_clicks(tables, index));
            want = decayed(events, count, item, now, (double)HOUR_MS);
            CHECK_NEAR(want, item_tables_popularity(tables, index, now, ITEM_TAU_1H_MS),
                       1e-9 * (1 + want));
            want = decayed(events, count, item, now, 24.0 * (double)HOUR_MS);
            CHECK_NEAR(want, item_tables_popularity(tables, index, now, ITEM_TAU_24H_MS),
                       1e-9 * (1 + want));
            want = decayed(events, count, item, now, 7.0 * (double)DAY_MS);
            CHECK_NEAR(want, item_tables_popularity(tables, index, now, ITEM_TAU_7D_MS),
                       1e-9 * (1 + want));
            for (int to = 0; to < ITEMS; to++) {
                int32_t other = item_tables_find(tables, hash_of(to));
                if (other == ITEM_NONE)
                    continue;
                want = covis(events, count, item, to, now, tau);
                CHECK_NEAR(want, item_tables_covis(tables, index, other, now), 2e-5 * (1 + want));
            }
        }
        CHECK(item_tables_newest_ms(tables) <= now);
        item_tables_destroy(tables);
    }
}

TEST(item_tables_raw_is_made_of_these_sums)
{
    static struct seen events[EVENTS];
    static struct user_entry history[EVENTS];
    struct random random;

    random_seed(&random, test_seed() + 1);
    for (int round = 0; round < 20; round++) {
        struct item_tables *tables = create(
            (struct item_tables_options){.neighbours_max = ITEMS, .admit_after = 1});
        int history_count;
        int count = feed(tables, events, &random, false, history, &history_count);
        int64_t now = START + (count - 1) * HOUR_MS + 90000;
        struct item_query query = {
            .now_ms = now, .history = history, .history_count = history_count};
        int32_t indices[ITEMS + 2];
        int64_t raw[(ITEMS + 2) * RAW_COLUMNS];

        for (int i = 0; i < ITEMS; i++)
            indices[i] = item_tables_find(tables, hash_of(i));
        indices[ITEMS] = ITEM_NONE;
        indices[ITEMS + 1] = 1000; /* of another, larger table */
        item_tables_observe_shown(tables, indices[3], now);
        get_raw(tables, &query, indices, ITEMS + 2, raw);
        for (int i = 0; i < ITEMS + 2; i++) {
            const int64_t *row = raw + (ptrdiff_t)i * RAW_COLUMNS;
            double sum = 0, gamma = 1, back = 0, cosine = 0, last = 0;
            int repeats = 0;

            CHECK_INT(history_count, row[RAW_HISTORY]);
            CHECK_INT(90, row[RAW_IDLE_S]);
            if (indices[i] == ITEM_NONE || i > ITEMS) {
                for (int c = 0; c < RAW_HISTORY; c++)
                    CHECK_INT(c == RAW_AGE_S ? -1 : 0, row[c]);
                CHECK_INT(0, row[RAW_COVIS_BACK]);
                continue;
            }
            for (int k = 0; k < COVIS_REACH; k++, gamma *= COVIS_GAMMA)
                for (int h = 0; h < ITEMS; h++)
                    if (history[history_count - 1 - k].item == hash_of(h)) {
                        double one = covis(events, count, h, i, now, 180.0 * (double)DAY_MS);

                        sum += gamma * one;
                        cosine += gamma * one /
                                  sqrt(1.0 + (double)item_tables_clicks(tables, indices[h]));
                        if (k == 0)
                            last += one + covis(events, count, i, h, now, 180.0 * (double)DAY_MS);
                    }
            for (int d = 1; d <= COVIS_BACK_REACH && d <= history_count; d++)
                for (int h = 0; h < ITEMS; h++)
                    if (history[history_count - d].item == hash_of(h))
                        back += covis(events, count, i, h, now, 180.0 * (double)DAY_MS) /
                                sqrt(d * (1.0 + (double)item_tables_clicks(tables, indices[h])));
            for (int k = 0; k < history_count; k++)
                repeats += history[k].item == hash_of(i);
            CHECK_NEAR(sum * RAW_FIXED, row[RAW_COVIS], 1 + 1e-4 * sum * RAW_FIXED);
            CHECK_NEAR(cosine * RAW_FINE, row[RAW_COVIS_COSINE], 1 + 1e-4 * cosine * RAW_FINE);
            CHECK_NEAR(last * RAW_FINE, row[RAW_COVIS_LAST], 1 + 1e-4 * last * RAW_FINE);
            CHECK_NEAR(back * RAW_FINE, row[RAW_COVIS_BACK], 1 + 1e-4 * back * RAW_FINE);
            CHECK_NEAR(decayed(events, count, i, now, 24.0 * (double)HOUR_MS) * RAW_FIXED,
                       row[RAW_POP_24H], 0.51);
            CHECK_INT(repeats, row[RAW_REPEATS]);
            CHECK_INT(repeats, row[RAW_CLICKS]);
            CHECK_INT(i == 3, row[RAW_SHOWN]);
            CHECK(row[RAW_AGE_S] >= 0);
        }
        item_tables_destroy(tables);
    }
}

TEST(item_tables_raw_ignores_what_comes_after_now)
{
    struct item_tables *tables = create((struct item_tables_options){0});
    struct user_entry history[] = {{.item = hash_of(0), .time_ms = START, .action = 1},
                                   {.item = hash_of(1), .time_ms = START + 5000, .action = 1}};
    struct item_query query = {.now_ms = START + 4999, .history = history, .history_count = 2};
    int32_t indices[] = {add(tables, 0, START), add(tables, 1, START)};
    int64_t raw[2 * RAW_COLUMNS];

    get_raw(tables, &query, indices, 2, raw);
    CHECK_INT(1, raw[RAW_HISTORY]);
    CHECK_INT(4, raw[RAW_IDLE_S]);
    CHECK_INT(1, raw[RAW_REPEATS]);
    CHECK_INT(0, raw[RAW_COLUMNS + RAW_REPEATS]);
    query.history_count = 0;
    get_raw(tables, &query, indices, 2, raw);
    CHECK_INT(-1, raw[RAW_IDLE_S]);
    query.now_ms = INT64_MIN;
    get_raw(tables, &query, indices, 2, raw);
    CHECK_INT(0, raw[RAW_AGE_S]);
    query.now_ms = INT64_MAX;
    get_raw(tables, &query, indices, 2, raw);
    CHECK_INT(0, raw[RAW_POP_7D]);
    item_tables_destroy(tables);
}

/* Tables that nobody refreshes are asked later and later: what is known of items stays as it was,
 * what is known of the user goes on. */
TEST(item_tables_raw_after_the_newest_event_is_that_of_then)
{
    struct item_tables *tables = create((struct item_tables_options){0});
    struct user_entry history[] = {{.item = hash_of(0), .time_ms = START, .action = 1}};
    struct item_query query = {.now_ms = START + 60000, .history = history, .history_count = 1};
    int32_t indices[] = {add(tables, 0, START), add(tables, 1, START)};
    int64_t then[2 * RAW_COLUMNS], later[2 * RAW_COLUMNS];

    item_tables_observe(tables, indices[1], START + 60000, history, 1);
    get_raw(tables, &query, indices, 2, then);
    CHECK(then[RAW_COLUMNS + RAW_POP_1H] > 0 && then[RAW_COLUMNS + RAW_COVIS] > 0);
    CHECK_INT(60, then[RAW_AGE_S]);
    query.now_ms += 7 * 24 * HOUR_MS;
    get_raw(tables, &query, indices, 2, later);
    for (int i = 0; i < 2; i++) {
        CHECK_INT(60 + 7 * 24 * 3600, later[i * RAW_COLUMNS + RAW_IDLE_S]);
        later[i * RAW_COLUMNS + RAW_IDLE_S] = then[i * RAW_COLUMNS + RAW_IDLE_S];
    }
    CHECK(memcmp(then, later, sizeof then) == 0);
    item_tables_destroy(tables);
}

TEST(item_tables_give_rows_after_the_second_sighting_and_never_twice)
{
    struct item_tables *tables = create((struct item_tables_options){.items_max = 3});
    int32_t a = add(tables, 0, START), b = add(tables, 1, START), c = add(tables, 2, START);

    CHECK_INT(1, item_tables_rows(tables));
    item_tables_observe(tables, b, START, NULL, 0);
    CHECK_INT(0, item_tables_row(tables, b));
    item_tables_observe_shown(tables, b, START);
    CHECK_INT(1, item_tables_row(tables, b));
    item_tables_observe(tables, a, START, NULL, 0);
    item_tables_observe(tables, a, START, NULL, 0);
    item_tables_observe(tables, a, START, NULL, 0);
    CHECK_INT(2, item_tables_row(tables, a));
    CHECK_INT(3, item_tables_rows(tables));
    CHECK_INT(b, item_tables_at_row(tables, 1));
    CHECK_INT(a, item_tables_at_row(tables, 2));
    CHECK_INT(ITEM_NONE, item_tables_at_row(tables, 0));
    CHECK_INT(ITEM_NONE, item_tables_at_row(tables, 3));
    CHECK_INT(ITEM_NONE, item_tables_at_row(tables, -1));
    CHECK_INT(0, item_tables_row(tables, c));
    CHECK_INT(0, item_tables_row(tables, ITEM_NONE));
    CHECK_INT(ITEM_NONE, add(tables, 3, START)); /* full */
    CHECK_INT(a, add(tables, 0, START));
    item_tables_observe(tables, ITEM_NONE, START, NULL, 0);
    CHECK_INT(3, item_tables_count(tables));
    item_tables_destroy(tables);
    item_tables_destroy(NULL);
}

TEST(item_tables_keep_the_first_name_of_a_hash)
{
    struct item_tables *tables = create((struct item_tables_options){0});
    char longest[ITEM_ID_MAX + 1];
    int32_t index = item_tables_index(tables, 7, (struct text){0}, 0);

    CHECK_INT(0, item_tables_name(tables, index).bytes);
    CHECK_INT(0, item_tables_first_seen_ms(tables, index));
    CHECK_INT(index, item_tables_index(tables, 7, text_of("seven"), 50));
    CHECK_INT(index, item_tables_index(tables, 7, text_of("eight"), 40));
    CHECK(text_equal(text_of("seven"), item_tables_name(tables, index)));
    CHECK_INT(40, item_tables_first_seen_ms(tables, index));
    CHECK(item_tables_hash(tables, index) == 7);
    memset(longest, 'x', sizeof longest);
    index = item_tables_index(tables, 8, (struct text){longest, sizeof longest}, 1);
    CHECK_INT(0, item_tables_name(tables, index).bytes);
    index = item_tables_index(tables, 8, (struct text){longest, ITEM_ID_MAX}, 1);
    CHECK_INT(ITEM_ID_MAX, item_tables_name(tables, index).bytes);
    item_tables_destroy(tables);
}

TEST(item_tables_keep_the_heaviest_neighbours_of_a_bounded_number)
{
    struct item_tables *tables = create(
        (struct item_tables_options){.neighbours_max = 8, .covis_tau_ms = 1000 * DAY_MS});
    struct user_entry before = {.item = hash_of(0), .time_ms = START, .action = 1};
    int64_t later = START + 7000 * DAY_MS; /* 7 tau */
    int32_t from = add(tables, 0, START);
    struct random random;
    int found = 0;

    /* Four are followed by often, a thousand others once each. */
    random_seed(&random, test_seed());
    for (int i = 0; i < 3000; i++) {
        int item = random_below(&random, 3) == 0 ? 1 + (int)random_below(&random, 4)
                                                 : 100 + i % 1000;
        item_tables_observe(tables, add(tables, item, START), START + i, &before, 1);
    }
    for (int i = 1; i <= 4; i++)
        CHECK(item_tables_covis(tables, from, item_tables_find(tables, hash_of(i)), START) > 50);
    for (int i = 100; i < 1100; i++)
        found += item_tables_covis(tables, from, item_tables_find(tables, hash_of(i)), START) > 0;
    CHECK(found <= 4);

    /* Tastes change: long after, what is new takes their places. */
    found = 0;
    for (int i = 0; i < 4000; i++)
        item_tables_observe(tables, add(tables, 5000 + i % 8, later), later + i, &before, 1);
    for (int i = 0; i < 8; i++)
        found += item_tables_covis(tables, from, item_tables_find(tables, hash_of(5000 + i)),
                                   later) > 50;
    CHECK(found >= 7);
    item_tables_destroy(tables);
}

/* ---- recall ---- */

struct scored {
    double score;
    int32_t index;
};

static int by_score(const void *a, const void *b)
{
    const struct scored *x = a, *y = b;

    if (x->score != y->score)
        return x->score > y->score ? -1 : 1;
    return (x->index > y->index) - (x->index < y->index);
}

static void check_popular(const struct item_tables *tables, int64_t now, int k)
{
    int count = item_tables_count(tables);
    struct scored *all = calloc((size_t)count + 1, sizeof *all);
    int32_t *got = calloc((size_t)k, sizeof *got);
    struct item_query query = {.now_ms = now};
    int wanted = 0;

    for (int32_t i = 0; i < count; i++)
        if (!item_tables_gone(tables, i) && item_tables_clicks(tables, i) > 0)
            all[wanted++] = (struct scored){item_tables_popularity(tables, i, now, ITEM_TAU_7D_MS),
                                            i};
    qsort(all, (size_t)wanted, sizeof *all, by_score);
    CHECK_INT(wanted < k ? wanted : k, item_tables_popular(tables, NULL, &query, k, got));
    for (int i = 0; i < k && i < wanted; i++) {
        double score = item_tables_popularity(tables, got[i], now, ITEM_TAU_7D_MS);
        CHECK_NEAR(all[i].score, score, 1e-9 * (1 + score)); /* equal ones may trade places */
    }
    free(all);
    free(got);
}

TEST(item_tables_popular_is_what_a_full_sort_gives_at_every_moment)
{
    struct random random;

    random_seed(&random, test_seed() + 2);
    for (int round = 0; round < 4; round++) {
        struct item_tables *tables = create((struct item_tables_options){0});
        int items = round == 0 ? 20 : 6000; /* more than are kept in order */

        for (int i = 0; i < 30000; i++) {
            int64_t t = START + i * 60000 - (int64_t)random_below(&random, 5) * HOUR_MS;
            double unit = random_unit(&random);
            int item = (int)(unit * unit * items + i / 10) % items;
            item_tables_observe(tables, add(tables, item, t), t, NULL, 0);
            if (i % 97 == 0)
                item_tables_set_gone(tables, add(tables, i % items, t), i % 2 == 0);
            if (i % 5000 == 0)
                check_popular(tables, START + 30000 * 60000, 50);
        }
        check_popular(tables, START + 30000 * 60000, 1000);
        check_popular(tables, START + 90 * DAY_MS, 50);
        item_tables_destroy(tables);
    }
}

TEST(item_tables_related_is_what_a_full_sort_gives)
{
    static struct seen events[EVENTS];
    static struct user_entry history[EVENTS];
    struct item_scratch *scratch = item_scratch_create();
    struct random random;

    random_seed(&random, test_seed() + 3);
    for (int round = 0; round < 60; round++) {
        struct item_tables *tables = create((struct item_tables_options){.neighbours_max = ITEMS});
        int history_count;
        int count = feed(tables, events, &random, false, history, &history_count);
        struct item_query query = {.now_ms = START + count * HOUR_MS,
                                   .history = history,
                                   .history_count = history_count - (int)random_below(&random, 30)};
        int32_t indices[ITEMS], got[ITEMS];
        int64_t raw[ITEMS * RAW_COLUMNS];
        struct scored all[ITEMS];
        int wanted = 0, k = 1 + (int)random_below(&random, ITEMS), found;

        item_tables_set_gone(tables, 2, true);
        for (int32_t i = 0; i < item_tables_count(tables); i++)
            indices[i] = i;
        get_raw(tables, &query, indices, item_tables_count(tables), raw);
        for (int32_t i = 0; i < item_tables_count(tables); i++) {
            const int64_t *row = raw + (ptrdiff_t)i * RAW_COLUMNS;
            if (i != 2 && row[RAW_COVIS_COSINE] > 0)
                all[wanted++] = (struct scored){
                    (double)row[RAW_COVIS_COSINE] / sqrt(1.0 + (double)row[RAW_CLICKS]), i};
        }
        qsort(all, (size_t)wanted, sizeof *all, by_score);
        found = item_tables_related(tables, scratch, &query, k, got);
        CHECK_INT(wanted < k ? wanted : k, found);
        for (int i = 0; i < found; i++) {
            const int64_t *row = raw + (ptrdiff_t)got[i] * RAW_COLUMNS;
            double score = (double)row[RAW_COVIS_COSINE] / sqrt(1.0 + (double)row[RAW_CLICKS]);
            CHECK(got[i] != 2);
            CHECK_NEAR(all[i].score, score, 2); /* raw counts are rounded */
        }
        query.history_count = 0;
        CHECK_INT(0, item_tables_related(tables, scratch, &query, k, got));
        item_tables_destroy(tables);
    }
    item_scratch_destroy(scratch);
    item_scratch_destroy(NULL);
}

/* ---- copies, deltas and files ---- */

static void check_same(const struct item_tables *a, const struct item_tables *b)
{
    int count = item_tables_count(a);
    struct item_query query = {.now_ms = item_tables_newest_ms(a)};
    int32_t popular_a[64], popular_b[64];
    int popular;

    CHECK_INT(count, item_tables_count(b));
    CHECK_INT(item_tables_rows(a), item_tables_rows(b));
    CHECK_INT(item_tables_newest_ms(a), item_tables_newest_ms(b));
    CHECK(item_tables_seed(a) == item_tables_seed(b));
    for (int32_t i = 0; i < count; i++) {
        CHECK(item_tables_hash(a, i) == item_tables_hash(b, i));
        CHECK_INT(i, item_tables_find(b, item_tables_hash(a, i)));
        CHECK(text_equal(item_tables_name(a, i), item_tables_name(b, i)));
        CHECK_INT(item_tables_row(a, i), item_tables_row(b, i));
        CHECK_INT(item_tables_clicks(a, i), item_tables_clicks(b, i));
        CHECK_INT(item_tables_shown(a, i), item_tables_shown(b, i));
        CHECK_INT(item_tables_gone(a, i), item_tables_gone(b, i));
        CHECK_INT(item_tables_first_seen_ms(a, i), item_tables_first_seen_ms(b, i));
        CHECK(item_tables_popularity(a, i, query.now_ms, ITEM_TAU_1H_MS) ==
              item_tables_popularity(b, i, query.now_ms, ITEM_TAU_1H_MS));
        for (int32_t to = 0; to < count && to < 40; to++)
            CHECK(item_tables_covis(a, i, to, query.now_ms) ==
                  item_tables_covis(b, i, to, query.now_ms));
    }
    for (int32_t row = 0; row < item_tables_rows(a); row++)
        CHECK_INT(item_tables_at_row(a, row), item_tables_at_row(b, row));
    popular = item_tables_popular(a, NULL, &query, 64, popular_a);
    CHECK_INT(popular, item_tables_popular(b, NULL, &query, 64, popular_b));
    for (int i = 0; i < popular; i++)
        CHECK_INT(popular_a[i], popular_b[i]);
}

static void stir(struct item_tables *tables, struct random *random, int items, int events,
                 int64_t start)
{
    struct user_entry history[64];
    int count = 0;

    for (int i = 0; i < events; i++) {
        int64_t t = start + i * 1000;
        int item = (int)random_below(random, (uint64_t)items);
        int32_t index = add(tables, item, t);

        if (random_below(random, 5) == 0) {
            item_tables_observe_shown(tables, index, t);
        } else if (random_below(random, 20) == 0) {
            item_tables_set_gone(tables, index, random_below(random, 2) == 0);
        } else {
            item_tables_observe(tables, index, t, history, count);
            if (count == 64)
                memmove(history, history + 1, sizeof history[0] * (size_t)--count);
            history[count++] = (struct user_entry){
                .item = hash_of(item), .time_ms = t, .action = 1};
        }
    }
}

TEST(item_tables_copies_do_not_see_each_others_changes)
{
    struct random random, again;
    struct item_tables *first = create((struct item_tables_options){.neighbours_max = 6});
    struct item_tables *same = create((struct item_tables_options){.neighbours_max = 6});
    struct item_tables *copy;
    struct error err;

    random_seed(&random, test_seed() + 4);
    again = random;
    stir(first, &random, 700, 3000, START);
    stir(same, &again, 700, 3000, START);
    CHECK_STATUS(OK, item_tables_copy(&copy, first, &err));
    check_same(first, copy);
    stir(copy, &random, 1400, 4000, START + DAY_MS); /* changes and adds */
    check_same(first, same);
    stir(first, &again, 1400, 4000, START + DAY_MS); /* the same to the origin */
    check_same(first, copy);
    item_tables_destroy(first);
    stir(copy, &random, 9000, 20000, START + 2 * DAY_MS); /* the index is merged on the way */
    stir(same, &again, 1400, 4000, START + DAY_MS);
    again = random; /* the origin is gone; the copy's own history must not matter */
    CHECK(item_tables_count(copy) > 5000);
    for (int32_t i = 0; i < item_tables_count(copy); i++)
        CHECK_INT(i, item_tables_find(copy, item_tables_hash(copy, i)));
    item_tables_destroy(copy);
    item_tables_destroy(same);
}

static const char *path_of(const char *name)
{
    static char paths[4][512];
    static int next;
    char *path = paths[next++ % 4];

    snprintf(path, sizeof paths[0], "%s/%s", test_folder(), name);
    return path;
}

TEST(item_tables_come_back_from_a_file_as_they_were)
{
    struct item_tables *tables = create((struct item_tables_options){.seed = 5});
    struct item_tables *loaded;
    struct item_file_offset offsets[] = {{0, 17}, {3, 1000000000000}};
    const struct item_file_offset *got;
    struct random random;
    struct error err;
    int count;

    random_seed(&random, test_seed() + 5);
    CHECK_STATUS(OK, item_tables_save(tables, path_of("empty"), &err));
    CHECK_STATUS(OK, item_tables_load(&loaded, path_of("empty"), &err));
    check_same(tables, loaded);
    item_tables_destroy(loaded);

    stir(tables, &random, 2000, 20000, START);
    item_tables_set_offsets(tables, offsets, 2);
    CHECK_STATUS(OK, item_tables_save(tables, path_of("items"), &err));
    CHECK_STATUS(OK, item_tables_load(&loaded, path_of("items"), &err));
    check_same(tables, loaded);
    got = item_tables_offsets(loaded, &count);
    CHECK_INT(2, count);
    CHECK_INT(3, got[1].partition);
    CHECK_INT(1000000000000, got[1].next);
    CHECK(item_tables_bytes(loaded) > 2000 * 128);
    /* And goes on as the other does. */
    item_tables_limit(loaded, &(struct item_tables_options){0});
    {
        struct random again = random;
        stir(tables, &random, 2500, 5000, START + DAY_MS);
        stir(loaded, &again, 2500, 5000, START + DAY_MS);
        check_same(tables, loaded);
    }
    item_tables_destroy(tables);
    item_tables_destroy(loaded);
    CHECK_STATUS(ERR_NOT_FOUND, item_tables_load(&loaded, path_of("none"), &err));
    CHECK(loaded == NULL);
}

TEST(item_tables_delta_brings_a_copy_to_the_same_state)
{
    struct item_tables *tables = create((struct item_tables_options){.seed = 5});
    struct item_tables *base, *copy;
    struct random random;
    uint64_t sequence = 0;
    struct error err;

    random_seed(&random, test_seed() + 6);
    stir(tables, &random, 1000, 10000, START);
    CHECK_STATUS(OK, item_tables_save(tables, path_of("items"), &err));
    item_tables_mark_saved(tables);
    CHECK_STATUS(OK, item_tables_load(&base, path_of("items"), &err));
    for (uint64_t round = 1; round <= 5; round++) {
        stir(tables, &random, 1000 + (int)round * 100, 500, START + (int64_t)round * DAY_MS);
        CHECK_STATUS(OK, item_tables_save_delta(tables, round, "v1", path_of("delta"), &err));
        CHECK_STATUS(OK, item_tables_copy(&copy, base, &err));
        CHECK_STATUS(OK, item_tables_apply_delta(copy, path_of("delta"), "v1", &sequence, &err));
        CHECK_INT((int64_t)round, (int64_t)sequence);
        check_same(tables, copy);
        item_tables_destroy(copy);
    }
    item_tables_destroy(base);
    item_tables_destroy(tables);
}

/* A trainer that was restarted, or that somebody rolled back: what changed since the base is not
 * known, so everything goes out. */
TEST(item_tables_delta_without_a_mark_holds_everything)
{
    struct item_tables *tables = create((struct item_tables_options){.seed = 5});
    struct item_tables *base, *loaded, *copy;
    struct random random;
    uint64_t sequence;
    struct error err;

    random_seed(&random, test_seed() + 8);
    stir(tables, &random, 500, 3000, START);
    CHECK_STATUS(OK, item_tables_save(tables, path_of("items"), &err));
    CHECK_STATUS(OK, item_tables_load(&base, path_of("items"), &err));
    item_tables_mark_saved(tables);
    stir(tables, &random, 700, 1000, START + DAY_MS);
    CHECK_STATUS(OK, item_tables_save(tables, path_of("checkpoint"), &err));
    CHECK_STATUS(OK, item_tables_load(&loaded, path_of("checkpoint"), &err));
    stir(loaded, &random, 700, 10, START + 2 * DAY_MS);
    CHECK_STATUS(OK, item_tables_save_delta(loaded, 1, "v1", path_of("delta"), &err));
    CHECK_STATUS(OK, item_tables_copy(&copy, base, &err));
    CHECK_STATUS(OK, item_tables_apply_delta(copy, path_of("delta"), "v1", &sequence, &err));
    check_same(loaded, copy);
    item_tables_destroy(copy);

    /* Published, and gone back on. */
    item_tables_mark_saved(loaded);
    stir(loaded, &random, 900, 100, START + 3 * DAY_MS);
    item_tables_forget_mark(loaded);
    CHECK_STATUS(OK, item_tables_save_delta(loaded, 1, "v1", path_of("delta"), &err));
    CHECK_STATUS(OK, item_tables_apply_delta(base, path_of("delta"), "v1", &sequence, &err));
    check_same(loaded, base);
    item_tables_destroy(base);
    item_tables_destroy(loaded);
    item_tables_destroy(tables);
}

TEST(item_tables_refuse_what_does_not_belong)
{
    struct item_tables *tables = create((struct item_tables_options){.seed = 5});
    struct item_tables *other = create((struct item_tables_options){.seed = 5});
    struct item_tables *foreign = create((struct item_tables_options){.seed = 6});
    struct item_tables *loaded;
    struct random random;
    uint64_t sequence;
    struct error err;

    random_seed(&random, test_seed() + 7);
    stir(tables, &random, 100, 1000, START);
    stir(other, &random, 100, 1000, START);
    stir(foreign, &random, 10, 1000, START);
    CHECK_STATUS(OK, item_tables_save(tables, path_of("items"), &err));
    item_tables_mark_saved(tables);
    stir(tables, &random, 100, 1000, START + DAY_MS);
    CHECK_STATUS(OK, item_tables_save_delta(tables, 1, "v1", path_of("delta"), &err));
    CHECK_STATUS(ERR_MALFORMED, item_tables_load(&loaded, path_of("delta"), &err));
    CHECK_STATUS(ERR_MALFORMED,
                 item_tables_apply_delta(other, path_of("items"), "v1", &sequence, &err));
    CHECK_STATUS(ERR_CONFLICT,
                 item_tables_apply_delta(tables, path_of("delta"), "v2", &sequence, &err));
    CHECK_STATUS(ERR_CONFLICT,
                 item_tables_apply_delta(foreign, path_of("delta"), "v1", &sequence, &err));
    CHECK_STATUS(ERR_CONFLICT,
                 item_tables_apply_delta(other, path_of("delta"), "v1", &sequence, &err));
    item_tables_destroy(tables);
    item_tables_destroy(other);
    item_tables_destroy(foreign);
}

/* ---- readers of one table while the next is made from it ---- */

static void *read_all(void *context)
{
    const struct item_tables *tables = context;
    struct item_scratch *scratch = item_scratch_create();
    struct user_entry history[] = {{.item = hash_of(1), .time_ms = START, .action = 1},
                                   {.item = hash_of(2), .time_ms = START, .action = 1}};
    struct item_query query = {.now_ms = START + DAY_MS, .history = history, .history_count = 2};
    int32_t indices[200];
    static _Thread_local int64_t raw[200 * RAW_COLUMNS];
    struct error err;
    int64_t sum = 0;

    for (int round = 0; round < 50 && scratch != NULL; round++) {
        for (int i = 0; i < 200; i++)
            indices[i] = (i * 7 + round) % item_tables_count(tables);
        if (item_tables_raw(tables, scratch, &query, indices, 200, raw, &err) == OK)
            sum += raw[RAW_CLICKS];
        sum += item_tables_related(tables, scratch, &query, 50, indices);
        sum += item_tables_popular(tables, scratch, &query, 50, indices);
    }
    item_scratch_destroy(scratch);
    return (void *)(intptr_t)(sum > 0);
}

TEST(item_tables_are_read_by_threads_while_a_copy_is_written)
{
    struct item_tables *tables = create((struct item_tables_options){0});
    struct item_tables *copy;
    struct random random;
    pthread_t threads[2];
    void *answer;
    struct error err;

    random_seed(&random, test_seed() + 8);
    stir(tables, &random, 500, 5000, START);
    for (int i = 0; i < 2; i++)
        CHECK(pthread_create(&threads[i], NULL, read_all, tables) == 0);
    for (int round = 0; round < 5; round++) {
        CHECK_STATUS(OK, item_tables_copy(&copy, tables, &err));
        stir(copy, &random, 600, 1000, START + DAY_MS);
        item_tables_destroy(copy);
    }
    for (int i = 0; i < 2; i++) {
        CHECK(pthread_join(threads[i], &answer) == 0);
        CHECK(answer != NULL);
    }
    item_tables_destroy(tables);
}

static struct item_tables *small_tables(void)
{
    struct item_tables_options options = {.seed = 7};
    struct item_tables *tables;
    struct error err;

    CHECK_STATUS(OK, item_tables_create(&tables, &options, &err));
    return tables;
}

static int32_t see_at(struct item_tables *tables, uint64_t item, int64_t time_ms, int times)
{
    int32_t index = item_tables_index(tables, item, (struct text){0}, time_ms);

    for (int i = 0; i < times; i++)
        item_tables_observe(tables, index, time_ms + i, NULL, 0);
    return index;
}

TEST(item_tables_rows_that_expire_go_to_the_next_that_are_admitted)
{
    struct item_tables *tables = small_tables();
    int32_t old = see_at(tables, 11, 1000, 2), young = see_at(tables, 12, 9000, 2), next;

    CHECK_INT(1, item_tables_row(tables, old));
    CHECK_INT(1, item_tables_expire(tables, 5000));
    CHECK_INT(0, item_tables_expire(tables, 5000));
    CHECK_INT(0, item_tables_row(tables, old));
    CHECK_INT(2, item_tables_row(tables, young));
    CHECK_INT(ITEM_NONE, item_tables_at_row(tables, 1));
    CHECK(!item_tables_admitted(tables, old) && item_tables_admitted(tables, young));
    next = see_at(tables, 13, 9100, 1);
    CHECK_INT(0, item_tables_row(tables, next)); /* seen once */
    (void)see_at(tables, 13, 9200, 1);
    CHECK_INT(1, item_tables_row(tables, next));
    CHECK_INT(3, item_tables_rows(tables));
    (void)see_at(tables, 11, 9300, 1); /* it comes back, like a new one */
    CHECK_INT(0, item_tables_row(tables, old));
    (void)see_at(tables, 11, 9400, 1);
    CHECK_INT(3, item_tables_row(tables, old));
    CHECK_INT(4, item_tables_clicks(tables, old)); /* counts stayed */
    item_tables_destroy(tables);
}

TEST(item_tables_that_expired_come_back_from_files_and_deltas)
{
    struct item_tables *tables = small_tables(), *loaded, *again;
    char whole[300], delta[300];
    uint64_t sequence;
    struct error err;

    (void)snprintf(whole, sizeof whole, "%s/whole", test_folder());
    (void)snprintf(delta, sizeof delta, "%s/delta", test_folder());
    (void)see_at(tables, 11, 1000, 2);
    (void)see_at(tables, 12, 9000, 2);
    CHECK_STATUS(OK, item_tables_save(tables, whole, &err));
    item_tables_mark_saved(tables);
    CHECK_INT(1, item_tables_expire(tables, 5000));
    CHECK_STATUS(OK, item_tables_save_delta(tables, 1, "v1", delta, &err));
    CHECK_STATUS(OK, item_tables_load(&loaded, whole, &err));
    CHECK_STATUS(OK, item_tables_apply_delta(loaded, delta, "v1", &sequence, &err));
    CHECK_INT(0, item_tables_row(loaded, item_tables_find(loaded, 11)));
    CHECK_STATUS(OK, item_tables_save(tables, whole, &err));
    CHECK_STATUS(OK, item_tables_load(&again, whole, &err));
    (void)see_at(loaded, 13, 9500, 2);
    (void)see_at(again, 13, 9500, 2);
    CHECK_INT(1, item_tables_row(loaded, item_tables_find(loaded, 13)));
    CHECK_INT(1, item_tables_row(again, item_tables_find(again, 13)));
    item_tables_destroy(again);
    item_tables_destroy(loaded);
    item_tables_destroy(tables);
}

/* The learner's tables, and a copy that is behind and described ahead: the same rows in the end. */
TEST(item_tables_that_are_behind_give_the_same_rows)
{
    struct item_tables *ahead = small_tables(), *behind;
    uint64_t seen[40];
    int64_t expired_at[40] = {0};
    struct random random;
    struct error err;
    int count = 0;

    random_seed(&random, test_seed());
    for (int round = 0; round < 20; round++)
        (void)see_at(ahead, 100 + random_below(&random, 9), 1000 + round, 1);
    CHECK_STATUS(OK, item_tables_copy(&behind, ahead, &err));
    for (int step = 0; step < 40; step++) {
        int64_t now = 5000 + step * 10;

        if (step % 9 == 8) {
            expired_at[count] = now - 60;
            (void)item_tables_expire(ahead, now - 60);
            seen[count++] = 0;
        } else if (step % 4 == 3) {
            uint64_t item = 500 + (uint64_t)step;
            int32_t row = item_tables_describe(
                ahead, item_tables_index(ahead, item, (struct text){0}, 0), 0);

            CHECK(row > 0);
            CHECK_INT(row, item_tables_describe(
                               behind, item_tables_index(behind, item, (struct text){0}, 0), row));
        } else {
            seen[count] = step % 7 == 6 ? 500 + random_below(&random, (uint64_t)step)
                                        : 100 + random_below(&random, 25);
            (void)see_at(ahead, seen[count++], now, 2);
            expired_at[count - 1] = now;
        }
    }
    for (int i = 0; i < count; i++) {
        if (seen[i] == 0)
            (void)item_tables_expire(behind, expired_at[i]);
        else
            (void)see_at(behind, seen[i], expired_at[i], 2);
    }
    CHECK_INT(item_tables_rows(ahead), item_tables_rows(behind));
    for (int row = 1; row < item_tables_rows(ahead); row++) {
        int32_t a = item_tables_at_row(ahead, row), b = item_tables_at_row(behind, row);

        CHECK_INT(a == ITEM_NONE, b == ITEM_NONE);
        if (a != ITEM_NONE)
            CHECK(item_tables_hash(ahead, a) == item_tables_hash(behind, b));
    }
    item_tables_destroy(behind);
    item_tables_destroy(ahead);
}

TEST(item_tables_describe_only_what_was_never_seen)
{
    struct item_tables *tables = small_tables();
    int32_t once = see_at(tables, 11, 1000, 1);
    int32_t fresh = item_tables_index(tables, 12, (struct text){0}, 0);

    CHECK_INT(0, item_tables_describe(tables, once, 0));
    CHECK_INT(0, item_tables_describe(tables, ITEM_NONE, 0));
    CHECK_INT(0, item_tables_describe(tables, 99, 0));
    CHECK_INT(1, item_tables_describe(tables, fresh, 0));
    CHECK_INT(0, item_tables_describe(tables, fresh, 0)); /* it has one */
    CHECK(!item_tables_admitted(tables, fresh));
    (void)see_at(tables, 12, 2000, 2);
    CHECK(item_tables_admitted(tables, fresh));
    CHECK_INT(1, item_tables_row(tables, fresh));
    item_tables_destroy(tables);
}
