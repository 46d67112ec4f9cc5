/*
 * Tests retrain/sequences: against features/sequence (the same set as the store's), bounds of
 * memory, erasure, and what a checkpoint brings back.
 */
#include "retrain/sequences.h"

#include "features/sequence.h"
#include "ops/random.h"
#include "tests/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct error err;

static enum sequences_result enter(struct sequences *s, uint64_t user, int64_t time_ms,
                                   uint64_t item)
{
    enum sequences_result result;
    struct user_entry entry = {.item = item, .time_ms = time_ms, .action = 2};

    CHECK_STATUS(OK, sequences_enter(s, user, &entry, &result, &err));
    return result;
}

static void same(const struct sequences_view *a, const struct sequences_view *b)
{
    CHECK(a->count == b->count && a->running == b->running);
    for (int i = 0; i < a->count; i++)
        CHECK(user_entry_compare(&a->entries[i], &b->entries[i]) == 0);
}

TEST(sequences_of_an_unknown_user_are_empty)
{
    struct sequences *s;
    struct user_entry entry = {.item = 1, .time_ms = 1, .action = 1};

    CHECK_STATUS(OK, sequences_create(&s, 3, 10, &err));
    CHECK(sequences_get(s, 5).count == 0);
    CHECK(sequences_before(s, 5, &entry).count == 0);
    CHECK(sequences_users(s) == 0);
    sequences_destroy(s);
    sequences_destroy(NULL);
}

TEST(sequences_are_the_same_set_as_the_stores)
{
    static struct user_value value;
    struct sequences *s;
    struct random random;
    int at;

    random_seed(&random, test_seed());
    memset(&value, 0, sizeof value);
    CHECK_STATUS(OK, sequences_create(&s, 16, 10, &err));
    for (int i = 0; i < 2000; i++) {
        struct user_entry entry = {.item = random_below(&random, 4),
                                   .time_ms = (int64_t)random_below(&random, 60) + i / 10,
                                   .action = (uint8_t)(1 + random_below(&random, 2))};
        enum sequences_result got;
        enum sequence_result want = sequence_enter(&value, &entry, 16, &at);

        CHECK_STATUS(OK, sequences_enter(s, 77, &entry, &got, &err));
        CHECK((want == SEQUENCE_ENTERED) == (got == SEQUENCES_ENTERED));
        CHECK((want == SEQUENCE_KNOWN) == (got == SEQUENCES_KNOWN));
        struct sequences_view view = sequences_get(s, 77);
        same(&view, &(struct sequences_view){value.entries, value.count, value.running});
    }
    sequences_destroy(s);
}

TEST(sequences_before_an_entry_are_what_the_choice_was_made_with)
{
    struct sequences *s;
    struct user_entry entry = {.item = 9, .time_ms = 20, .action = 2};

    CHECK_STATUS(OK, sequences_create(&s, 8, 10, &err));
    for (int64_t time_ms = 10; time_ms <= 30; time_ms += 10)
        CHECK(enter(s, 1, time_ms, 9) == SEQUENCES_ENTERED);
    CHECK_INT(1, sequences_before(s, 1, &entry).count);
    CHECK_INT(1, sequences_before(s, 1, &entry).running);
    entry.time_ms = 31;
    CHECK_INT(3, sequences_before(s, 1, &entry).count);
    sequences_destroy(s);
}

TEST(sequences_forget_what_is_erased_and_refuse_it_from_then_on)
{
    struct sequences *s;

    CHECK_STATUS(OK, sequences_create(&s, 8, 10, &err));
    CHECK_STATUS(OK, sequences_erase(s, 4, 15, &err)); /* never seen: remembered all the same */
    CHECK(enter(s, 4, 15, 1) == SEQUENCES_ERASED);
    CHECK(enter(s, 4, 16, 1) == SEQUENCES_ENTERED);
    CHECK(enter(s, 4, 17, 1) == SEQUENCES_ENTERED);
    CHECK_STATUS(OK, sequences_erase(s, 4, 16, &err));
    CHECK_INT(1, sequences_get(s, 4).count);
    CHECK_STATUS(OK, sequences_erase(s, 4, 3, &err)); /* an older erasure takes nothing back */
    CHECK(enter(s, 4, 16, 1) == SEQUENCES_ERASED);
    sequences_destroy(s);
}

TEST(sequences_bound_their_users_and_let_the_silent_ones_go)
{
    struct sequences *s;

    CHECK_STATUS(OK, sequences_create(&s, 4, 8, &err));
    for (uint64_t user = 0; user < 8; user++)
        CHECK(enter(s, user, user == 3 ? 1 : 100, 5) == SEQUENCES_ENTERED);
    CHECK(enter(s, 99, 100, 5) == SEQUENCES_ENTERED);
    CHECK_INT(8, sequences_users(s));
    CHECK_INT(0, sequences_get(s, 3).count);
    CHECK_INT(1, sequences_get(s, 99).count);
    for (uint64_t user = 1000; user < 2000; user++)
        CHECK(enter(s, user, (int64_t)user, 5) == SEQUENCES_ENTERED);
    CHECK_INT(8, sequences_users(s));
    sequences_destroy(s);
}

TEST(sequences_come_back_from_a_checkpoint)
{
    struct sequences *s, *loaded;
    struct state_file *state;
    struct random random;
    char path[128];

    random_seed(&random, test_seed());
    (void)snprintf(path, sizeof path, "%s/sequences", test_folder());
    CHECK_STATUS(OK, sequences_create(&s, 5, 50, &err));
    for (int i = 0; i < 3000; i++)
        (void)enter(s, random_below(&random, 80), i, random_below(&random, 9));
    CHECK_STATUS(OK, sequences_erase(s, 7, 2990, &err));
    CHECK_STATUS(OK, state_file_begin(&state, path, &err));
    sequences_save(s, state);
    CHECK_STATUS(OK, state_file_commit(state, &err));

    CHECK_STATUS(OK, sequences_create(&loaded, 5, 50, &err));
    CHECK_STATUS(OK, state_file_open(&state, path, &err));
    CHECK_STATUS(OK, sequences_load(loaded, state, &err));
    CHECK_STATUS(OK, state_file_end(state, &err));
    state_file_close(state);
    /* From here on both must do the same, evictions included. */
    for (int i = 3000; i < 4000; i++) {
        uint64_t user = random_below(&random, 80);

        CHECK(enter(s, user, i, 1) == enter(loaded, user, i, 1));
    }
    for (uint64_t user = 0; user < 80; user++) {
        struct sequences_view a = sequences_get(s, user), b = sequences_get(loaded, user);
        same(&a, &b);
    }
    sequences_destroy(s);
    sequences_destroy(loaded);
}
