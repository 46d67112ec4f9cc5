/*
 * Tests what is asked of features/item_tables: counts, decay, co-visitation and raw counts against
 * sums over the whole list of events, recall against a full sort.
 */
#include "features/item_tables.h"

#include "ops/random.h"
#include "tests/features/item_tables_fixture.h"
#include "tests/test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

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
                if (item_fixture_hash(k) == history[before - d].item)
                    events[i].before[d - 1] = k;
        }
        item_tables_observe(tables, item_fixture_add(tables, item, t), t, history, before);
        history[(*history_count)++] = (struct user_entry){
            .item = item_fixture_hash(item), .time_ms = t, .action = 1};
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
        struct item_tables *tables = item_fixture_create((struct item_tables_options){
            .neighbours_max = ITEMS, .covis_tau_ms = (int64_t)tau, .admit_after = 1});
        int history_count;
        int count = feed(tables, events, &random, round % 2 == 1, history, &history_count);
        int64_t now = START + (count + 5) * HOUR_MS;

        CHECK(item_tables_count(tables) <= ITEMS);
        for (int item = 0; item < ITEMS; item++) {
            int32_t index = item_tables_find(tables, item_fixture_hash(item));
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
                int32_t other = item_tables_find(tables, item_fixture_hash(to));
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
        struct item_tables *tables = item_fixture_create(
            (struct item_tables_options){.neighbours_max = ITEMS, .admit_after = 1});
        int history_count;
        int count = feed(tables, events, &random, false, history, &history_count);
        int64_t now = START + (count - 1) * HOUR_MS + 90000;
        struct item_query query = {
            .now_ms = now, .history = history, .history_count = history_count};
        int32_t indices[ITEMS + 2];
        int64_t raw[(ITEMS + 2) * RAW_COLUMNS];

        for (int i = 0; i < ITEMS; i++)
            indices[i] = item_tables_find(tables, item_fixture_hash(i));
        indices[ITEMS] = ITEM_NONE;
        indices[ITEMS + 1] = 1000; /* of another, larger table */
        item_tables_observe_shown(tables, indices[3], now);
        item_fixture_raw(tables, &query, indices, ITEMS + 2, raw);
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
                    if (history[history_count - 1 - k].item == item_fixture_hash(h)) {
                        double one = covis(events, count, h, i, now, 180.0 * (double)DAY_MS);

                        sum += gamma * one;
                        cosine += gamma * one /
                                  sqrt(1.0 + (double)item_tables_clicks(tables, indices[h]));
                        if (k == 0)
                            last += one + covis(events, count, i, h, now, 180.0 * (double)DAY_MS);
                    }
            for (int d = 1; d <= COVIS_BACK_REACH && d <= history_count; d++)
                for (int h = 0; h < ITEMS; h++)
                    if (history[history_count - d].item == item_fixture_hash(h))
                        back += covis(events, count, i, h, now, 180.0 * (double)DAY_MS) /
                                sqrt(d * (1.0 + (double)item_tables_clicks(tables, indices[h])));
            for (int k = 0; k < history_count; k++)
                repeats += history[k].item == item_fixture_hash(i);
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
    struct item_tables *tables = item_fixture_create((struct item_tables_options){0});
    struct user_entry history[] = {
        {.item = item_fixture_hash(0), .time_ms = START, .action = 1},
        {.item = item_fixture_hash(1), .time_ms = START + 5000, .action = 1}};
    struct item_query query = {.now_ms = START + 4999, .history = history, .history_count = 2};
    int32_t indices[] = {item_fixture_add(tables, 0, START), item_fixture_add(tables, 1, START)};
    int64_t raw[2 * RAW_COLUMNS];

    item_fixture_raw(tables, &query, indices, 2, raw);
    CHECK_INT(1, raw[RAW_HISTORY]);
    CHECK_INT(4, raw[RAW_IDLE_S]);
    CHECK_INT(1, raw[RAW_REPEATS]);
    CHECK_INT(0, raw[RAW_COLUMNS + RAW_REPEATS]);
    query.history_count = 0;
    item_fixture_raw(tables, &query, indices, 2, raw);
    CHECK_INT(-1, raw[RAW_IDLE_S]);
    query.now_ms = INT64_MIN;
    item_fixture_raw(tables, &query, indices, 2, raw);
    CHECK_INT(0, raw[RAW_AGE_S]);
    query.now_ms = INT64_MAX;
    item_fixture_raw(tables, &query, indices, 2, raw);
    CHECK_INT(0, raw[RAW_POP_7D]);
    item_tables_destroy(tables);
}

/* Tables that nobody refreshes are asked later and later: what is known of items stays as it was,
 * what is known of the user goes on. */
TEST(item_tables_raw_after_the_newest_event_is_that_of_then)
{
    struct item_tables *tables = item_fixture_create((struct item_tables_options){0});
    struct user_entry history[] = {{.item = item_fixture_hash(0), .time_ms = START, .action = 1}};
    struct item_query query = {.now_ms = START + 60000, .history = history, .history_count = 1};
    int32_t indices[] = {item_fixture_add(tables, 0, START), item_fixture_add(tables, 1, START)};
    int64_t then[2 * RAW_COLUMNS], later[2 * RAW_COLUMNS];

    item_tables_observe(tables, indices[1], START + 60000, history, 1);
    item_fixture_raw(tables, &query, indices, 2, then);
    CHECK(then[RAW_COLUMNS + RAW_POP_1H] > 0 && then[RAW_COLUMNS + RAW_COVIS] > 0);
    CHECK_INT(60, then[RAW_AGE_S]);
    query.now_ms += 7 * 24 * HOUR_MS;
    item_fixture_raw(tables, &query, indices, 2, later);
    for (int i = 0; i < 2; i++) {
        CHECK_INT(60 + 7 * 24 * 3600, later[i * RAW_COLUMNS + RAW_IDLE_S]);
        later[i * RAW_COLUMNS + RAW_IDLE_S] = then[i * RAW_COLUMNS + RAW_IDLE_S];
    }
    CHECK(memcmp(then, later, sizeof then) == 0);
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
        struct item_tables *tables = item_fixture_create((struct item_tables_options){0});
        int items = round == 0 ? 20 : 6000; /* more than are kept in order */

        for (int i = 0; i < 30000; i++) {
            int64_t t = START + i * 60000 - (int64_t)random_below(&random, 5) * HOUR_MS;
            double unit = random_unit(&random);
            int item = (int)(unit * unit * items + i / 10) % items;
            item_tables_observe(tables, item_fixture_add(tables, item, t), t, NULL, 0);
            if (i % 97 == 0)
                item_tables_set_gone(tables, item_fixture_add(tables, i % items, t), i % 2 == 0);
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
        struct item_tables *tables = item_fixture_create(
            (struct item_tables_options){.neighbours_max = ITEMS});
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
        item_fixture_raw(tables, &query, indices, item_tables_count(tables), raw);
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
