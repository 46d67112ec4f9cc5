/* Tests features/user_store: what the header promises beyond the rules it applies. */
#include "features/user_store.h"

#include "ops/random.h"
#include "tests/test.h"

#include <stdio.h>
#include <string.h>

static struct rules rules_of_test(void)
{
    struct rules rules = {
        .sequence_max = 3, .joins_max = 2, .join_window_ms = 100, .seed = 5, .late_max_ms = 1000};

    rules.actions[1] = (struct action_row){.name = "view", .code = 1, .history = true};
    rules.actions[2] = (struct action_row){.name = "click", .code = 2, .history = true, .label = 1};
    rules.actions[3] = (struct action_row){.name = "peep", .code = 3};
    return rules;
}

static struct event action_of(const char *user, uint8_t action, const char *item, int64_t time_ms)
{
    return (struct event){.kind = EVENT_ACTION,
                          .action = action,
                          .user = text_of(user),
                          .item = text_of(item),
                          .time_ms = time_ms};
}

static void count_bytes(void *context, const uint8_t *example, size_t bytes)
{
    CHECK(example != NULL);
    *(size_t *)context += bytes;
}

static enum outcome apply(struct user_store *store, struct event event)
{
    enum outcome outcome;
    struct error err;

    CHECK_STATUS(OK, user_store_apply(store, &event, INT64_MIN, false, NULL, NULL, &outcome, &err));
    return outcome;
}

TEST(user_store_keeps_users_apart)
{
    struct rules rules = rules_of_test();
    struct user_store *store;
    struct random random;
    struct error err;
    char name[16];
    static int64_t newest[500];
    static int counts[500];

    random_seed(&random, test_seed());
    CHECK_STATUS(OK, user_store_create(&store, &rules, &err));
    for (int i = 0; i < 5000; i++) {
        int user = (int)random_below(&random, 500);
        snprintf(name, sizeof name, "u%d", user);
        CHECK_INT(OUTCOME_APPLIED, apply(store, action_of(name, 1, "i", 1000 + i)));
        newest[user] = 1000 + i;
        counts[user]++;
    }
    for (int user = 0; user < 500; user++) {
        const struct user_value *value;
        snprintf(name, sizeof name, "u%d", user);
        value = user_store_get(store, text_of(name));
        if (counts[user] == 0) {
            CHECK(value == NULL);
            continue;
        }
        CHECK_INT(counts[user], value->running);
        CHECK_INT(counts[user] < 3 ? counts[user] : 3, value->count);
        CHECK_INT(newest[user], value->entries[value->count - 1].time_ms);
    }
    user_store_destroy(store);
}

TEST(user_store_does_not_add_a_user_of_whom_nothing_is_kept)
{
    struct rules rules = rules_of_test();
    struct user_store *store;
    struct event event = action_of("u", 1, "i", 1);
    enum outcome outcome;
    struct error err;

    CHECK_STATUS(OK, user_store_create(&store, &rules, &err));
    CHECK(user_store_get(store, text_of("u")) == NULL);
    CHECK_STATUS(OK, user_store_apply(store, &event, 100000, false, NULL, NULL, &outcome, &err));
    CHECK_INT(OUTCOME_DROPPED, outcome);
    CHECK_INT(OUTCOME_APPLIED, apply(store, action_of("u", 3, "i", 5)));
    CHECK_INT(0, user_store_count(store));
    CHECK_INT(
        OUTCOME_APPLIED,
        apply(store, (struct event){.kind = EVENT_ERASE, .user = text_of("u"), .time_ms = 7}));
    CHECK_INT(1, user_store_count(store));
    CHECK_INT(7, user_store_get(store, text_of("u"))->erased_at_ms);
    user_store_destroy(store);
}

static void add_up(void *context, struct text user, const struct user_value *value)
{
    CHECK(user.bytes == 2);
    *(int64_t *)context += value->count;
}

TEST(user_store_hands_out_emissions_and_visits_everyone)
{
    struct rules rules = rules_of_test();
    struct user_store *store;
    struct text rows[] = {text_of("i1"), text_of("i2")};
    struct event shown = {.kind = EVENT_IMPRESSION,
                          .user = text_of("u1"),
                          .time_ms = 50,
                          .rows = rows,
                          .rows_count = 2};
    struct event click = action_of("u1", 2, "i2", 60);
    enum outcome outcome;
    size_t bytes = 0, after_shown;
    int64_t entries = 0;
    struct error err;

    CHECK_STATUS(OK, user_store_create(&store, &rules, &err));
    CHECK_STATUS(
        OK, user_store_apply(store, &shown, INT64_MIN, false, count_bytes, &bytes, &outcome, &err));
    after_shown = bytes;
    CHECK(after_shown > 0);
    CHECK_STATUS(
        OK, user_store_apply(store, &click, INT64_MIN, false, count_bytes, &bytes, &outcome, &err));
    CHECK(bytes > after_shown);
    apply(store, action_of("u2", 1, "i", 50));
    user_store_each(store, add_up, &entries);
    CHECK_INT(2, entries);
    user_store_destroy(store);
    user_store_destroy(NULL);
}
