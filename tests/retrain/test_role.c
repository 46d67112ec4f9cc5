/*
 * Tests retrain/role and role_intake in one process (tests/retrain/role_world.h): what is read,
 * with ugly records between events, and the catalogue.
 */
#include "tests/retrain/role_world.h"

#include "ops/clock.h"
#include "tests/retrain/retrain_fixture.h"
#include "tests/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LATE_MS (INT64_C(400) * 24 * 3600 * 1000) /* more than features.late_max */

static struct error err;

static void send_example(const struct example *example)
{
    uint8_t bytes[4096];
    size_t count = example_encode(example, bytes, sizeof bytes);

    CHECK(count > 0);
    role_world_send("examples", 0, "0", bytes, count, example->time_ms > 0 ? example->time_ms : 0);
}

/* ---- reading ---- */

TEST(role_passes_over_what_is_no_event_and_no_example)
{
    static const char *const ugly[] = {
        "",
        "{",
        "[]",
        "null",
        "\xff\xfe",
        "{\"type\":\"click\"}",
        "{\"type\":\"click\",\"user\":\"u\",\"item\":\"i\",\"ts\":-1}",
        "{\"type\":\"click\",\"user\":\"u\",\"item\":\"i\",\"ts\":1e300}",
        "{\"type\":\"teleport\",\"user\":\"u\",\"item\":\"i\",\"ts\":1700000000000}",
        "{\"type\":\"impression\",\"user\":\"u\",\"items\":[],\"ts\":1700000000000}"};
    static const int count = (int)(sizeof ugly / sizeof ugly[0]);
    struct example mark = {.kind = EXAMPLE_MARK, .time_ms = retrain_time_ms(10)};
    struct role *role;
    uint8_t bytes[64];
    size_t mark_bytes = example_encode(&mark, bytes, sizeof bytes);

    role_world_begin();
    for (int i = 0; i < count; i++)
        role_world_send_text(i % ROLE_WORLD_PARTITIONS, "u", ugly[i], retrain_time_ms(0));
    role_world_send("events", 0, "u", NULL, 0, retrain_time_ms(0)); /* a tombstone */
    role_world_send_events(0, 50);
    for (size_t cut = 0; cut < mark_bytes; cut++) /* an example, cut short everywhere */
        role_world_send("examples", 0, "0", bytes, cut, 1);
    send_example(&mark);
    role_world_flush();
    role = role_world_open();
    role_world_follow(role, count + 1 + 50 + (int64_t)mark_bytes + 1);
    CHECK_INT(1, examples_counts(role->examples)->marks);
    CHECK_INT(0, examples_counts(role->examples)->shown);
    CHECK(sequences_users(learner_sequences(role->learner)) > 20);
    CHECK(role_caught_up(role));
    CHECK(sequences_get(learner_sequences(role->learner),
                        rules_user_hash(&role_world.rules, text_of("u")))
              .count == 0);
    role_close(role);
    role_close(NULL);
    role_world_end();
}

TEST(role_counts_what_came_twice_once)
{
    struct role *role;
    struct learner *truth = retrain_learner();
    struct item_tables *tables;
    int compared = 0;

    role_world_begin();
    role_world_send_events(0, 100);
    role_world_send_events(0, 100); /* a producer that tried again */
    role_world_send_events(50, 120);
    role = role_world_open();
    role_world_follow(role, 270);
    retrain_feed(truth, 0, 120);
    tables = learner_tables(role->learner);
    CHECK_INT(item_tables_count(learner_tables(truth)), item_tables_count(tables));
    for (int item = 0; item < FIXTURE_ITEMS; item++) {
        int32_t here = item_tables_find(tables, retrain_item(item));
        int32_t there = item_tables_find(learner_tables(truth), retrain_item(item));

        CHECK((here == ITEM_NONE) == (there == ITEM_NONE));
        if (here == ITEM_NONE)
            continue;
        CHECK_INT(item_tables_clicks(learner_tables(truth), there),
                  item_tables_clicks(tables, here));
        compared++;
    }
    CHECK(compared > 30);
    for (int user = 0; user < FIXTURE_USERS; user++) {
        struct sequences_view a = sequences_get(learner_sequences(truth), retrain_user(user));
        struct sequences_view b = sequences_get(learner_sequences(role->learner),
                                                retrain_user(user));

        CHECK(a.count == b.count && a.running == b.running);
        for (int i = 0; i < a.count; i++)
            CHECK(user_entry_compare(&a.entries[i], &b.entries[i]) == 0);
    }
    learner_destroy(truth);
    role_close(role);
    role_world_end();
}

TEST(role_drops_what_is_too_late_and_forgets_who_is_erased)
{
    struct role *role;
    char text[200];

    role_world_begin();
    role_world_send_events(0, 40);
    for (int p = 0; p < ROLE_WORLD_PARTITIONS; p++) {
        (void)snprintf(text, sizeof text,
                       "{\"type\":\"click\",\"user\":\"late\",\"item\":\"i1\",\"ts\":%lld}",
                       (long long)(FIXTURE_BEGIN_MS - LATE_MS));
        role_world_send_text(p, "late", text, retrain_time_ms(40));
    }
    /* An erasure is never too late: who asks to be forgotten up to long ago is forgotten so far. */
    (void)snprintf(text, sizeof text, "{\"type\":\"erase\",\"user\":\"u2\",\"ts\":%lld}",
                   (long long)(FIXTURE_BEGIN_MS - LATE_MS));
    role_world_send_text(2 % ROLE_WORLD_PARTITIONS, "u2", text, retrain_time_ms(40));
    for (int user = 0; user < 2; user++) {
        (void)snprintf(text, sizeof text, "{\"type\":\"erase\",\"user\":\"u%d\",\"ts\":%lld}", user,
                       (long long)retrain_time_ms(100));
        role_world_send_text(user % ROLE_WORLD_PARTITIONS, user == 0 ? "u0" : "u1", text,
                             retrain_time_ms(100));
    }
    role_world_send_events(41, 80);
    role = role_world_open();
    role_world_follow(role, 40 + 2 + 1 + 2 + 39);
    CHECK_INT(0, sequences_get(learner_sequences(role->learner),
                               rules_user_hash(&role_world.rules, text_of("late")))
                     .count);
    CHECK_INT(0, sequences_get(learner_sequences(role->learner), retrain_user(0)).count);
    CHECK_INT(0, sequences_get(learner_sequences(role->learner), retrain_user(1)).count);
    enum sequences_result result;
    struct user_entry old = {.item = 1, .time_ms = FIXTURE_BEGIN_MS - LATE_MS, .action = 2};
    CHECK_STATUS(OK, sequences_enter(learner_sequences(role->learner), retrain_user(2), &old,
                                     &result, &err));
    CHECK_INT(SEQUENCES_ERASED, result);
    CHECK(sequences_users(learner_sequences(role->learner)) > 10);
    role_close(role);
    role_world_end();
}

TEST(role_unites_an_impression_without_trace_with_its_labels)
{
    uint64_t rows[2] = {retrain_item(1), retrain_item(2)};
    int64_t shown_at_ms = retrain_time_ms(200);
    struct example shown = {.kind = EXAMPLE_SHOWN,
                            .id = 77,
                            .user = retrain_user(3),
                            .time_ms = shown_at_ms,
                            .request_time_ms = shown_at_ms,
                            .rows_count = 2,
                            .rows = rows};
    struct example label = {.kind = EXAMPLE_LABEL,
                            .id = 77,
                            .user = retrain_user(3),
                            .time_ms = shown_at_ms + 5,
                            .shown_at_ms = shown_at_ms,
                            .row = 1,
                            .labels_count = 1,
                            .action = FIXTURE_CLICK};
    struct example mark = {.kind = EXAMPLE_MARK,
                           .time_ms = shown_at_ms + retrain_rules()->join_window_ms + 1};
    struct role *role;
    char text[300];

    role_world_begin();
    role_world_send_events(0, 200);
    (void)snprintf(
        text, sizeof text,
        "{\"type\":\"impression\",\"user\":\"u3\",\"items\":[\"i1\",\"i2\"],\"ts\":%lld}",
        (long long)shown_at_ms);
    role_world_send_text(1, "u3", text, shown_at_ms);
    role_world_flush();
    role = role_world_open();
    role_world_follow(role, 201); /* the event first: it notes the counts */
    send_example(&label);
    send_example(&shown);
    send_example(&label);
    role_world_flush();
    role_world_follow(role, 204);
    CHECK_INT(0, examples_counts(role->examples)->without_counts);
    CHECK_INT(1, examples_pending(role->examples));
    send_example(&mark);
    role_world_send_events((int)((mark.time_ms - FIXTURE_BEGIN_MS) / FIXTURE_STEP_MS) + 1,
                           (int)((mark.time_ms - FIXTURE_BEGIN_MS) / FIXTURE_STEP_MS) + 2);
    role_world_follow(role, 206);
    CHECK_INT(0, examples_pending(role->examples));
    CHECK_INT(1, lists_fresh(learner_shown_lists(role->learner)));
    const struct list *list = lists_fresh_at(learner_shown_lists(role->learner), 0);
    CHECK(list->labels[0] == 0 && list->labels[1] > 0);
    CHECK(list->raw[0] != 0 || list->raw[1] != 0);
    role_close(role);
    role_world_end();
}

TEST(role_with_one_round_alone_waits_a_while_for_lists_whose_window_has_passed)
{
    uint64_t rows[2] = {retrain_item(1), retrain_item(2)};
    int64_t raw[2 * RAW_COLUMNS] = {1};
    struct example shown = {.kind = EXAMPLE_SHOWN,
                            .id = 77,
                            .user = retrain_user(3),
                            .time_ms = retrain_time_ms(100),
                            .request_time_ms = retrain_time_ms(100),
                            .rows_count = 2,
                            .rows = rows,
                            .raw_columns = RAW_COLUMNS,
                            .raw = raw};
    struct example mark = {.kind = EXAMPLE_MARK, .time_ms = retrain_time_ms(100)};
    int last = 101 + (int)(retrain_rules()->join_window_ms / FIXTURE_STEP_MS) + 1;
    struct role *role;

    role_world_begin();
    role_world_send_events(0, 100);
    role_world_send_events(last, last + 1);
    send_example(&shown);
    send_example(&mark);
    role_world_flush();
    role = role_world_open();
    role_world_follow(role, 103);
    CHECK_INT(1, examples_pending(role->examples));
    CHECK(!role_lacks_lists(role)); /* a later round will have it */
    role->once = true;
    CHECK(role_lacks_lists(role));
    role->read_us -= INT64_C(3600) * 1000000;
    CHECK(!role_lacks_lists(role)); /* not for ever */
    role_close(role);
    role_world_end();
}

/* ---- the catalogue ---- */

static void send_item(const char *item, const char *record)
{
    role_world_send("items", (int)(strlen(item) % 2), item, record,
                    record == NULL ? 0 : strlen(record), 1);
}

TEST(role_reads_what_the_catalogue_says_of_items_nobody_has_seen)
{
    int64_t until_us = clock_monotonic_us() + ROLE_WORLD_PATIENCE_US;
    struct event first = retrain_event(0);
    char known[300], name[64];
    struct item_tables *tables;
    struct role *role;
    int32_t fresh, gone;
    int count;

    role_world.catalogue = true;
    role_world.settings[0] = "retrain.cold_items=100";
    role_world_begin();
    (void)snprintf(name, sizeof name, "%.*s", TEXT_ARGS(first.item));
    (void)snprintf(known, sizeof known, "{\"item\":\"%s\",\"category\":\"shoes\"}", name);
    role_world_send_events(0, 200);
    send_item(name, known);
    send_item("ugly", "{");
    send_item("fresh", "{\"item\":\"fresh\",\"category\":\"shoes\",\"text\":\"a new one\"}");
    send_item("nothing", "{\"item\":\"nothing\"}");
    send_item("gone", "{\"item\":\"gone\",\"category\":\"shoes\"}");
    role_world_flush();
    role = role_world_open();
    role_world.catalogue = false;
    role_world.settings[0] = NULL;
    role_world_follow(role, 200);
    tables = learner_tables(role->learner);
    CHECK(role->items_topic != NULL);
    for (fresh = gone = ITEM_NONE; fresh == ITEM_NONE || gone == ITEM_NONE;) {
        CHECK(clock_monotonic_us() < until_us);
        CHECK_STATUS(OK, role_follow(role, 10, &count, &err));
        fresh = item_tables_find(tables, rules_item_hash(&role_world.rules, text_of("fresh")));
        gone = item_tables_find(tables, rules_item_hash(&role_world.rules, text_of("gone")));
    }
    CHECK(item_tables_row(tables, fresh) > 0 && !item_tables_admitted(tables, fresh));
    CHECK(item_tables_find(tables, rules_item_hash(&role_world.rules, text_of("nothing"))) ==
          ITEM_NONE);
    CHECK(!item_tables_gone(tables, gone));
    send_item("gone", NULL); /* a tombstone */
    role_world_flush();
    while (!item_tables_gone(tables, gone)) {
        CHECK(clock_monotonic_us() < until_us);
        CHECK_STATUS(OK, role_follow(role, 10, &count, &err));
    }
    role_close(role);
    role_world_end();
}

TEST(role_leaves_the_items_topic_alone_by_default)
{
    struct role *role;

    role_world.catalogue = true;
    role_world_begin();
    role = role_world_open();
    CHECK(role->items_topic == NULL);
    role_close(role);
    role_world_end();
    role_world.settings[0] = "model.text=32";
    role_world_begin();
    role = role_world_open();
    CHECK(role->items_topic != NULL);
    role_close(role);
    role_world_end();
    role_world.settings[0] = NULL;
    role_world.catalogue = false;
}

TEST(role_with_one_round_alone_waits_a_while_for_the_catalogue)
{
    int64_t until_us = clock_monotonic_us() + ROLE_WORLD_PATIENCE_US;
    struct role *role;
    int count;

    role_world.catalogue = true;
    role_world.settings[0] = "retrain.cold_items=100";
    role_world_begin();
    for (int i = 0; i < 4; i++)
        send_item("shoe", "{\"item\":\"shoe\",\"category\":\"shoes\"}");
    role_world_flush();
    role = role_world_open();
    CHECK(role_caught_up(role)); /* later rounds will know it */
    role->once = true;
    role->round_ended_us = clock_monotonic_us();
    CHECK(!role_caught_up(role));
    role->round_ended_us -= INT64_C(3600) * 1000000;
    CHECK(role_caught_up(role)); /* not for ever */
    role->round_ended_us = clock_monotonic_us() + INT64_C(3600) * 1000000;
    while (!role_caught_up(role)) {
        CHECK(clock_monotonic_us() < until_us);
        CHECK_STATUS(OK, role_follow(role, 10, &count, &err));
    }
    role_close(role);
    role_world_end();
    role_world.catalogue = false;
    role_world.settings[0] = NULL;
}
