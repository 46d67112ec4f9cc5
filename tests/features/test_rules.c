/*
 * Tests features/rules: random logs against the plain second implementation in rules_model.c, and
 * properties that need no second implementation: order does not matter to the sequence, nor to
 * labels that name their request. test_rules_cases.c has each rule by itself.
 */
#include "features/rules.h"

#include "ops/hash.h"
#include "ops/random.h"
#include "tests/features/rules_model.h"
#include "tests/features/rules_user.h"
#include "tests/test.h"

#include <stdlib.h>
#include <string.h>

/* ---- comparing with the model ---- */

static void check_same_value(const struct user_value *value, const struct model_user *model)
{
    CHECK_INT(model->erased_at_ms, value->erased_at_ms);
    CHECK_INT(model->running, value->running);
    CHECK_INT(model->count, value->count);
    for (int i = 0; i < model->count; i++) {
        CHECK_INT(model->entries[i].time_ms, value->entries[i].time_ms);
        CHECK(model->entries[i].item == value->entries[i].item);
        CHECK_INT(model->entries[i].action, value->entries[i].action);
        CHECK_INT(model->entries[i].taken, value->entries[i].taken);
    }
    CHECK_INT(model->lists_count, value->opens_count);
    for (int i = 0; i < model->lists_count; i++) {
        const struct model_list *list = &model->lists[i];
        const struct open_impression *open = &value->opens[i];
        CHECK_INT(list->time_ms, open->shown_at_ms);
        CHECK(list->request == open->request && list->id == open->example_id);
        CHECK_INT(list->rows_count, open->rows_count);
        for (int r = 0; r < list->rows_count; r++)
            CHECK(list->rows[r] == open->rows[r]);
        CHECK_INT(list->labels_count, open->labels_count);
        for (int l = 0; l < list->labels_count; l++) {
            CHECK(list->labels[l].item == open->labels[l].item);
            CHECK_INT(list->labels[l].time_ms, open->labels[l].time_ms);
            CHECK_INT(list->labels[l].action, open->labels[l].action);
        }
    }
}

static void check_same_emission(const struct rules *rules, const struct model_emission *want,
                                const struct example *got)
{
    CHECK_INT(want->kind, got->kind);
    CHECK(rules_user_hash(rules, text_of("u")) == got->user);
    CHECK_INT(want->time_ms, got->time_ms);
    if (want->kind == EXAMPLE_SHOWN) {
        CHECK(want->id == got->id);
        CHECK_INT(want->time_ms, got->request_time_ms);
        CHECK_INT(want->running, got->running);
        CHECK_INT(want->rows_count, got->rows_count);
        for (int i = 0; i < want->rows_count; i++)
            CHECK(want->rows[i] == got->rows[i]);
        CHECK_INT(want->history_count, got->history_count);
        for (int i = 0; i < want->history_count; i++) {
            CHECK(want->history[i].item == got->history[i].item);
            CHECK_INT(want->history[i].time_ms, got->history[i].time_ms);
            CHECK_INT(want->history[i].action, got->history[i].action);
        }
        CHECK_INT(0, got->raw_columns);
    } else if (want->kind == EXAMPLE_LABEL) {
        CHECK(want->id == got->id);
        CHECK_INT(want->row, got->row);
        CHECK_INT(want->action, got->action);
        CHECK_INT(want->shown_at_ms, got->shown_at_ms);
        CHECK_INT(want->labels_count, got->labels_count);
    }
}

/* A log with everything in it: times in disorder, duplicates, labels before their list, labels of
 * other lists, of requests never seen, late and replayed records, erasures. */
static int random_log(struct random *random, struct step *steps, int most)
{
    int count = 4 + (int)random_below(random, (uint64_t)most - 4);
    bool erasures = random_below(random, 2) == 0;
    int64_t watermark = INT64_MIN;

    for (int i = 0; i < count; i++) {
        int64_t now = 200 + 8 * i;
        int64_t t = now - (int64_t)random_below(random, random_below(random, 3) == 0 ? 90 : 10);
        int request = (int)random_below(random, 2) == 0 ? 0 : 1 + (int)random_below(random, 5);
        int item = (int)random_below(random, ITEMS);
        uint64_t kind = random_below(random, 100);

        if (i > 0 && kind < 12) {
            steps[i] = steps[random_below(random, (uint64_t)i)];
        } else if (erasures && kind < 15) {
            steps[i] = erase_of(t);
        } else if (kind < 40) {
            steps[i] = shown_of(t, request, 1 + (int)random_below(random, 3),
                                (int)random_below(random, ITEMS), (int)random_below(random, ITEMS),
                                item);
        } else {
            steps[i] = action_of((uint8_t)(1 + random_below(random, NOTHING)), item, t, request);
        }
        steps[i].watermark_ms = watermark;
        steps[i].replayed = random_below(random, 15) == 0;
        if (steps[i].event.time_ms > watermark)
            watermark = steps[i].event.time_ms;
    }
    return count;
}

static struct rules random_rules(struct random *random)
{
    struct rules rules = rules_of_test();

    rules.sequence_max = 1 + (int)random_below(random, 8);
    rules.joins_max = (int)random_below(random, 5);
    rules.join_window_ms = (int64_t)random_below(random, 60);
    rules.late_max_ms = 10 + (int64_t)random_below(random, 80);
    return rules;
}

TEST(rules_agree_with_a_plain_second_implementation)
{
    static struct step steps[64];
    static struct model_result result;
    struct model_user *model = calloc(1, sizeof *model);
    struct random random;

    random_seed(&random, test_seed());
    for (int round = 0; round < 3000; round++) {
        struct rules rules = random_rules(&random);
        struct user *user = user_create(&rules);
        int count = random_log(&random, steps, 64);

        memset(model, 0, sizeof *model);
        for (int i = 0; i < count; i++) {
            struct event event = steps[i].event;

            event.rows = steps[i].rows;
            user_apply(user, &steps[i]);
            model_apply(&rules, model, &event, steps[i].watermark_ms, steps[i].replayed, &result);
            CHECK_TEXT(outcome_names[result.outcome], outcome_names[user->outcome]);
            check_same_value(&user->value, model);
            CHECK_INT(result.count, user->emissions.count);
            for (int e = 0; e < result.count; e++)
                check_same_emission(&rules, &result.emissions[e], &user->examples[e]);
        }
        user_destroy(user);
    }
    free(model);
}

TEST(rules_change_nothing_unless_applied_or_late)
{
    static struct step steps[64];
    static uint8_t before[USER_VALUE_BYTES_MAX];
    struct random random;

    random_seed(&random, test_seed() + 1);
    for (int round = 0; round < 500; round++) {
        struct rules rules = random_rules(&random);
        struct user *user = user_create(&rules);
        int count = random_log(&random, steps, 64);

        for (int i = 0; i < count; i++) {
            size_t bytes = user->bytes;
            bool may_change;

            memcpy(before, user->image, bytes);
            user_apply(user, &steps[i]);
            may_change = user->outcome == OUTCOME_APPLIED || user->outcome == OUTCOME_LATE;
            CHECK(may_change || user->emissions.count == 0);
            if (bytes > 0)
                CHECK(may_change ||
                      (user->bytes == bytes && memcmp(before, user->image, bytes) == 0));
        }
        user_destroy(user);
    }
}

static void shuffle(struct random *random, struct step *steps, int count)
{
    for (int i = count - 1; i > 0; i--) {
        int j = (int)random_below(random, (uint64_t)i + 1);
        struct step step = steps[i];
        steps[i] = steps[j];
        steps[j] = step;
    }
}

TEST(rules_sequence_does_not_depend_on_order_nor_on_duplicates)
{
    struct step steps[60];
    struct random random;

    random_seed(&random, test_seed() + 2);
    for (int round = 0; round < 500; round++) {
        struct rules rules = rules_of_test();
        struct user *user = user_create(&rules), *other = user_create(&rules);
        int count = 5 + (int)random_below(&random, 50);

        for (int i = 0; i < count; i++)
            steps[i] = i > 0 && random_below(&random, 5) == 0
                           ? steps[random_below(&random, (uint64_t)i)]
                       : random_below(&random, 12) == 0
                           ? erase_of(1 + (int64_t)random_below(&random, 60))
                           : action_of(random_below(&random, 2) == 0 ? VIEW : HIDE,
                                       (int)random_below(&random, ITEMS),
                                       1 + (int64_t)random_below(&random, 100), 0);
        user_apply_all(user, steps, count);
        shuffle(&random, steps, count);
        user_apply_all(other, steps, count);
        CHECK_INT(user->value.erased_at_ms, other->value.erased_at_ms);
        CHECK_INT(user->value.count, other->value.count);
        CHECK(user->value.count <= rules.sequence_max);
        for (int i = 0; i < user->value.count; i++)
            CHECK(user_entry_compare(&user->value.entries[i], &other->value.entries[i]) == 0);
        user_destroy(user);
        user_destroy(other);
    }
}

/* (request, row, action) of every label emitted, as bits. */
static void collect_labels(struct user *user, const struct step *steps, int count, uint64_t *set)
{
    memset(set, 0, REQUESTS * sizeof *set);
    for (int i = 0; i < count; i++) {
        user_apply(user, &steps[i]);
        for (int e = 0; e < user->emissions.count; e++) {
            const struct example *example = &user->examples[e];
            for (int r = 1; r < REQUESTS && example->kind == EXAMPLE_LABEL; r++) {
                struct text name = text_of(request_names[r]);
                uint64_t id = hash64_mix(rules_user_hash(&user->rules, text_of("u")),
                                         hash64_text(name, user->rules.seed));
                if (id == example->id)
                    set[r] |= UINT64_C(1) << (example->row * 8 + example->action);
            }
        }
    }
}

TEST(rules_labels_that_name_their_request_do_not_depend_on_order)
{
    struct step steps[40];
    struct random random;

    random_seed(&random, test_seed() + 3);
    for (int round = 0; round < 500; round++) {
        struct rules rules = rules_of_test();
        struct user *user, *other;
        uint64_t set[REQUESTS], other_set[REQUESTS];
        int requests = 1 + (int)random_below(&random, REQUESTS - 1);
        int count = 0;

        /* Each label has a time of its own: two labels of one identity that name two requests
         * are the one case in which the first counts. */
        rules.joins_max = JOINS_MAX;
        user = user_create(&rules);
        other = user_create(&rules);
        for (int r = 1; r <= requests; r++)
            steps[count++] = shown_of(100 + (int64_t)random_below(&random, 60), r, 3,
                                      (int)random_below(&random, ITEMS), (r + 1) % ITEMS,
                                      (r + 2) % ITEMS);
        while (count < 40) {
            steps[count] = action_of(random_below(&random, 3) == 0 ? LIKE : CLICK,
                                     (int)random_below(&random, ITEMS), 100 + 3 * count,
                                     1 + (int)random_below(&random, (uint64_t)requests));
            count++;
        }
        collect_labels(user, steps, count, set);
        shuffle(&random, steps, count);
        collect_labels(other, steps, count, other_set);
        for (int r = 1; r <= requests; r++)
            CHECK(set[r] == other_set[r]);
        user_destroy(user);
        user_destroy(other);
    }
}

TEST(rules_emit_the_same_bytes_from_any_earlier_state)
{
    static struct step steps[64];
    static uint8_t bytes[64][1 << 13];
    size_t bytes_count[64];
    struct random random;

    random_seed(&random, test_seed() + 4);
    for (int round = 0; round < 60; round++) {
        struct rules rules = random_rules(&random);
        struct user *user = user_create(&rules), *again = user_create(&rules);
        int count = random_log(&random, steps, 48);
        int from = (int)random_below(&random, (uint64_t)count);

        for (int i = 0; i < count; i++) {
            if (i == from) {
                memcpy(again->image, user->image, user->bytes);
                again->bytes = user->bytes;
            }
            user_apply(user, &steps[i]);
            bytes_count[i] = 0;
            for (int e = 0; e < user->emissions.count; e++) {
                const struct emission *emission = &user->emissions.list[e];
                CHECK(bytes_count[i] + emission->bytes_count <= sizeof bytes[i]);
                memcpy(bytes[i] + bytes_count[i], emission->bytes, emission->bytes_count);
                bytes_count[i] += emission->bytes_count;
            }
        }
        for (int i = from; i < count; i++) {
            size_t at = 0;
            user_apply(again, &steps[i]);
            for (int e = 0; e < again->emissions.count; e++) {
                const struct emission *emission = &again->emissions.list[e];
                CHECK(memcmp(bytes[i] + at, emission->bytes, emission->bytes_count) == 0);
                at += emission->bytes_count;
            }
            CHECK_INT(bytes_count[i], at);
        }
        CHECK(user_value_equal(&user->value, &again->value));
        user_destroy(user);
        user_destroy(again);
    }
}

TEST(rules_apply_fast_makes_what_the_slow_path_makes)
{
    static struct step steps[64];
    static uint8_t image[USER_VALUE_BYTES_MAX];
    static struct user_value value;
    struct random random;
    int handled = 0;

    random_seed(&random, test_seed() + 5);
    for (int round = 0; round < 1500; round++) {
        struct rules rules = random_rules(&random);
        struct user *user = user_create(&rules);
        int count = random_log(&random, steps, 64);

        for (int i = 0; i < count; i++) {
            size_t bytes = user->bytes;
            struct user_change change = {0};
            struct event event = steps[i].event;
            struct error err;
            bool fast;

            if (round % 2 == 0 && event.kind == EVENT_IMPRESSION)
                continue; /* half of the users never have an open */
            event.rows = steps[i].rows;
            memcpy(image, user->image, bytes);
            fast = rules_apply_fast(&rules, &event, steps[i].watermark_ms, steps[i].replayed, image,
                                    &bytes, sizeof image, 7, 1234, &change);
            if (!fast)
                CHECK(bytes == user->bytes && memcmp(image, user->image, bytes) == 0 &&
                      !change.changed);
            user_apply(user, &steps[i]);
            if (!fast)
                continue;
            handled++;
            CHECK_TEXT("applied", outcome_names[user->outcome]);
            CHECK_INT(0, user->emissions.count);
            CHECK_STATUS(OK, user_value_decode(&value, image, bytes, user->arena, &err));
            CHECK(user_value_equal(&value, &user->value));
            CHECK_INT(7, value.writer);
            CHECK_INT(1234, value.written_at_ms);
        }
        user_destroy(user);
    }
    CHECK(handled > 1000);
}
