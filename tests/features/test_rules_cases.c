/* Tests features/rules: each rule of the header by itself, at its edges. */
#include "features/rules.h"

#include "ops/hash.h"
#include "schemas/trace.h"
#include "tests/features/rules_user.h"
#include "tests/test.h"

#include <stdio.h>
#include <string.h>

static int labels_emitted(const struct user *user)
{
    int count = 0;

    for (int e = 0; e < user->emissions.count; e++)
        count += user->examples[e].kind == EXAMPLE_LABEL;
    return count;
}

TEST(rules_join_window_counts_its_last_millisecond_and_not_the_next)
{
    struct rules rules = rules_of_test();

    for (int64_t delay = -1; delay <= 41; delay++) {
        for (int named = 0; named < 2; named++) {
            for (int early = 0; early < 2; early++) {
                struct user *user = user_create(&rules);
                struct step shown = shown_of(1000, 1, 2, 2, 3, 0);
                struct step click = action_of(CLICK, 3, 1000 + delay, named);

                user_apply(user, early ? &click : &shown);
                user_apply(user, early ? &shown : &click);
                CHECK_INT(delay >= 0 && delay <= 40, labels_emitted(user));
                user_destroy(user);
            }
        }
    }
}

TEST(rules_label_without_a_request_belongs_to_the_last_list_that_showed_it)
{
    struct rules rules = rules_of_test();
    struct user *user = user_create(&rules);
    struct step steps[] = {shown_of(1000, 1, 2, 2, 3, 0), shown_of(1010, 2, 1, 3, 0, 0),
                           shown_of(1020, 3, 1, 4, 0, 0), action_of(CLICK, 3, 1025, 0)};

    user_apply_all(user, steps, 4);
    CHECK_INT(1, user->emissions.count);
    CHECK_INT(1010, user->examples[0].shown_at_ms);
    CHECK_INT(0, user->examples[0].row);
    user_destroy(user);
}

TEST(rules_label_that_names_another_request_is_not_found_in_the_sequence)
{
    struct rules rules = rules_of_test();
    struct user *user = user_create(&rules);
    /* Request 1 is known and did not show the item: the label is nobody's, not request 2's. */
    struct step steps[] = {shown_of(1000, 1, 1, 2, 0, 0), action_of(CLICK, 3, 1010, 1),
                           shown_of(1005, 2, 1, 3, 0, 0)};

    user_apply_all(user, steps, 3);
    CHECK_INT(1, user->emissions.count);
    CHECK_INT(EXAMPLE_SHOWN, user->examples[0].kind);
    user_destroy(user);
}

TEST(rules_label_is_joined_once_also_when_its_list_was_forgotten)
{
    struct rules rules = rules_of_test();
    struct user *user = user_create(&rules);
    struct step steps[] = {shown_of(1000, 1, 1, 3, 0, 0), action_of(CLICK, 3, 1010, 0),
                           shown_of(1001, 2, 1, 5, 0, 0), shown_of(1002, 3, 1, 5, 0, 0),
                           shown_of(1003, 4, 1, 5, 0, 0), shown_of(1009, 5, 1, 3, 0, 0)};

    user_apply_all(user, steps, 6);
    CHECK_INT(1, user->emissions.count);
    CHECK_INT(3, user->value.opens_count);
    CHECK(user->value.opens[0].shown_at_ms > 1000);
    user_destroy(user);
}

TEST(rules_count_the_first_of_two_labels_of_one_identity)
{
    struct rules rules = rules_of_test();
    struct user *user = user_create(&rules);
    struct step steps[] = {shown_of(1000, 1, 1, 3, 0, 0), shown_of(1001, 2, 1, 3, 0, 0),
                           action_of(CLICK, 3, 1010, 1), action_of(CLICK, 3, 1010, 2)};

    user_apply_all(user, steps, 3);
    CHECK_INT(1, labels_emitted(user));
    user_apply(user, &steps[3]);
    CHECK_INT(OUTCOME_DUPLICATE, user->outcome);
    CHECK_INT(0, user->emissions.count);
    user_destroy(user);
}

TEST(rules_emit_one_sample_per_list_and_kind_of_label)
{
    /* FAULTS 30: the impression twice, its labels twice at other times. */
    struct rules rules = rules_of_test();
    struct user *user = user_create(&rules);
    struct step steps[] = {shown_of(1000, 1, 2, 3, 4, 0), shown_of(1000, 1, 2, 3, 4, 0),
                           action_of(CLICK, 3, 1010, 1),  action_of(CLICK, 3, 1011, 1),
                           action_of(LIKE, 3, 1012, 0),   action_of(PROBE, 4, 1013, 1)};
    const int emitted[] = {1, 0, 1, 0, 1, 1};
    const enum outcome outcomes[] = {OUTCOME_APPLIED, OUTCOME_DUPLICATE, OUTCOME_APPLIED,
                                     OUTCOME_APPLIED, OUTCOME_APPLIED,   OUTCOME_APPLIED};

    for (int i = 0; i < 6; i++) {
        user_apply(user, &steps[i]);
        CHECK_INT(emitted[i], user->emissions.count);
        CHECK_INT(outcomes[i], user->outcome);
    }
    CHECK_INT(3, user->value.opens[0].labels_count);
    CHECK_INT(3, user->examples[0].labels_count);
    user_destroy(user);
}

TEST(rules_replayed_records_enter_the_sequence_and_join_nothing)
{
    struct rules rules = rules_of_test();
    struct user *user = user_create(&rules);
    struct step click = action_of(CLICK, 3, 1010, 0);
    struct step again = shown_of(1002, 2, 1, 3, 0, 0);
    struct step steps[] = {shown_of(1000, 1, 1, 3, 0, 0), click, shown_of(1005, 3, 1, 3, 0, 0)};

    click.replayed = again.replayed = steps[1].replayed = true;
    steps[1].watermark_ms = 1000000; /* far beyond late_max */
    user_apply_all(user, steps, 2);
    CHECK_INT(OUTCOME_APPLIED, user->outcome);
    CHECK_INT(0, user->emissions.count);
    CHECK_INT(1, user->value.count);
    CHECK(user->value.flags & USER_VALUE_REPLAYED);
    user_apply(user, &steps[2]);
    CHECK_INT(0, labels_emitted(user));
    user_apply(user, &again);
    CHECK_INT(OUTCOME_DROPPED, user->outcome);
    user_destroy(user);
}

TEST(rules_drop_what_is_older_than_late_max_and_nothing_younger)
{
    struct rules rules = rules_of_test();
    struct user *user = user_create(&rules);
    struct step step = action_of(VIEW, 1, 1000, 0);

    step.watermark_ms = 1061;
    user_apply(user, &step);
    CHECK_INT(OUTCOME_DROPPED, user->outcome);
    CHECK_INT(0, user->value.count);
    step.watermark_ms = 1060;
    user_apply(user, &step);
    CHECK_INT(OUTCOME_APPLIED, user->outcome);
    user_destroy(user);
}

TEST(rules_late_entries_are_no_duplicates_and_still_join)
{
    struct rules rules = rules_of_test();
    struct user *user = user_create(&rules);
    struct step steps[] = {shown_of(1000, 1, 1, 3, 0, 0), action_of(VIEW, 0, 1100, 0),
                           action_of(VIEW, 1, 1101, 0),   action_of(VIEW, 2, 1102, 0),
                           action_of(VIEW, 3, 1103, 0),   action_of(CLICK, 3, 1010, 0)};

    user_apply_all(user, steps, 6);
    CHECK_INT(OUTCOME_LATE, user->outcome);
    CHECK_INT(1, labels_emitted(user));
    CHECK_INT(4, user->value.running);
    user_apply(user, &steps[5]); /* again: counted once a record, told once */
    CHECK_INT(OUTCOME_LATE, user->outcome);
    CHECK_INT(0, user->emissions.count);
    user_destroy(user);
}

TEST(rules_erase_forgets_up_to_its_time_and_keeps_the_later)
{
    struct rules rules = rules_of_test();
    struct user *user = user_create(&rules);
    struct step steps[] = {shown_of(1000, 1, 1, 3, 0, 0),
                           shown_of(1020, 2, 1, 3, 0, 0),
                           action_of(VIEW, 1, 1010, 0),
                           action_of(VIEW, 2, 1011, 0),
                           action_of(CLICK, 3, 1005, 7),
                           action_of(CLICK, 4, 1030, 7),
                           erase_of(1010),
                           action_of(VIEW, 1, 1010, 0),
                           action_of(VIEW, 5, 1012, 0),
                           erase_of(500)};

    user_apply_all(user, steps, 7);
    CHECK_INT(1, user->emissions.count);
    CHECK_INT(EXAMPLE_ERASE, user->examples[0].kind);
    CHECK_INT(2, user->value.count);
    CHECK_INT(2, user->value.opens_count);
    CHECK_INT(1,
              user->value.opens[1].labels_count); /* request 7 still waits, for its later label */
    CHECK_INT(1030, user->value.opens[1].shown_at_ms);
    user_apply(user, &steps[7]);
    CHECK_INT(OUTCOME_ERASED, user->outcome);
    user_apply(user, &steps[8]);
    CHECK_INT(OUTCOME_APPLIED, user->outcome);
    user_apply(user, &steps[9]);
    CHECK_INT(1010, user->value.erased_at_ms);
    CHECK_INT(3, user->value.count);
    user_destroy(user);
}

TEST(rules_exposure_is_a_list_of_one_that_its_own_action_does_not_label)
{
    struct rules rules = rules_of_test();
    struct user *user = user_create(&rules);
    struct step steps[] = {action_of(VIEW, 1, 900, 0), action_of(ADORED, 3, 1000, 1),
                           action_of(CLICK, 3, 1010, 0), action_of(SEEN, 4, 1020, 0),
                           action_of(SEEN, 4, 1020, 0)};

    user_apply_all(user, steps, 2);
    CHECK_INT(1, user->emissions.count);
    CHECK_INT(EXAMPLE_SHOWN, user->examples[0].kind);
    CHECK_INT(1, user->examples[0].rows_count);
    CHECK_INT(1, user->examples[0].history_count);
    CHECK_INT(1, user->examples[0].running);
    user_apply(user, &steps[2]);
    CHECK_INT(1, labels_emitted(user));
    user_apply(user, &steps[3]);
    CHECK_INT(OUTCOME_APPLIED, user->outcome);
    CHECK_INT(1, user->emissions.count);
    user_apply(user, &steps[4]);
    CHECK_INT(OUTCOME_DUPLICATE, user->outcome);
    user_destroy(user);
}

TEST(rules_history_of_a_list_never_holds_its_own_labels)
{
    struct rules rules = rules_of_test();
    struct user *user = user_create(&rules);
    struct step steps[] = {action_of(VIEW, 2, 990, 0), action_of(CLICK, 3, 1000, 0),
                           action_of(VIEW, 4, 1000, 0), action_of(VIEW, 5, 1001, 0),
                           shown_of(1000, 1, 2, 4, 3, 0)};

    user_apply_all(user, steps, 5);
    CHECK_INT(2, user->emissions.count);
    CHECK_INT(2, user->examples[0].history_count);
    CHECK_INT(990, user->examples[0].history[0].time_ms);
    CHECK_INT(VIEW, user->examples[0].history[1].action);
    CHECK_INT(2, user->examples[0].running);
    CHECK_INT(1, user->examples[1].row);
    user_destroy(user);
}

static struct step with_trace(struct step step, const struct trace *trace, char *into, size_t bytes)
{
    step.event.trace = (struct text){into, trace_encode(trace, into, bytes)};
    CHECK(step.event.trace.bytes > 0);
    return step;
}

TEST(rules_put_the_raw_counts_of_the_trace_into_the_example)
{
    static struct trace trace;
    static char text[TRACE_TEXT_MAX];
    struct rules rules = rules_of_test();
    struct user *user = user_create(&rules);
    struct step view = action_of(VIEW, 1, 995, 0), late = action_of(VIEW, 2, 998, 0);
    struct step shown;

    trace.request_time_ms = 996;
    trace.rows_count = 2;
    trace.context[1] = 9;
    for (int c = 0; c < RAW_COLUMNS; c++) {
        trace.raw[0][c] = 100 + c;
        trace.raw[1][c] = c == 0 ? INT64_MIN : c == 1 ? INT64_MAX : -c;
    }
    shown = with_trace(shown_of(1000, 1, 2, 3, 4, 0), &trace, text, sizeof text);
    user_apply(user, &view);
    user_apply(user, &late);
    user_apply(user, &shown);
    CHECK_INT(1, user->emissions.count);
    CHECK_INT(996, user->examples[0].request_time_ms);
    CHECK_INT(1000, user->examples[0].time_ms);
    CHECK_INT(1, user->examples[0].history_count); /* 998 is after the request */
    CHECK_INT(1, user->examples[0].running);
    CHECK_INT(RAW_COLUMNS, user->examples[0].raw_columns);
    for (int c = 0; c < RAW_COLUMNS; c++) {
        CHECK_INT(trace.raw[0][c], user->examples[0].raw[c]);
        CHECK_INT(9, user->examples[0].context[1]);
        CHECK_INT(trace.raw[1][c], user->examples[0].raw[RAW_COLUMNS + c]);
    }
    user_destroy(user);
}

TEST(rules_emit_without_counts_when_the_trace_is_of_no_use)
{
    static struct trace trace;
    static char text[TRACE_TEXT_MAX];
    struct rules rules = rules_of_test();
    struct user *user = user_create(&rules);
    struct step shown;

    trace.request_time_ms = 2000; /* a server whose clock is ahead: cut at the time shown */
    trace.rows_count = 1;
    shown = with_trace(shown_of(1000, 1, 2, 3, 4, 0), &trace, text, sizeof text);
    user_apply(user, &shown); /* one row for a list of two */
    CHECK_INT(1, user->emissions.count);
    CHECK_INT(0, user->examples[0].raw_columns);

    trace.rows_count = 2;
    shown = with_trace(shown_of(1001, 2, 2, 3, 4, 0), &trace, text, sizeof text);
    user_apply(user, &shown);
    CHECK_INT(RAW_COLUMNS, user->examples[0].raw_columns);
    CHECK_INT(1001, user->examples[0].request_time_ms);

    shown.event.request_id = text_of("r3");
    text[3] ^= 1;
    user_apply(user, &shown); /* altered on the way */
    CHECK_INT(OUTCOME_APPLIED, user->outcome);
    CHECK_INT(0, user->examples[0].raw_columns);
    user_destroy(user);
}

TEST(rules_call_dead_what_a_value_cannot_hold)
{
    struct rules rules = rules_of_test();
    struct user *user = user_create(&rules);
    const int64_t times[] = {INT64_MIN, -1, 0, RULES_TIME_MAX + 1, INT64_MAX};
    struct step step = action_of(VIEW, 1, RULES_TIME_MAX, 0);

    for (int i = 0; i < 5; i++) {
        struct step steps[] = {action_of(CLICK, 1, times[i], 1), shown_of(times[i], 1, 1, 1, 0, 0),
                               erase_of(times[i])};
        for (int k = 0; k < 3; k++) {
            user_apply(user, &steps[k]);
            CHECK_INT(OUTCOME_DEAD, user->outcome);
        }
    }
    step.event.action = 0;
    user_apply(user, &step);
    CHECK_INT(OUTCOME_DEAD, user->outcome);
    step.event.action = ACTIONS_MAX;
    user_apply(user, &step);
    CHECK_INT(OUTCOME_DEAD, user->outcome);
    step = shown_of(1000, 1, 0, 1, 0, 0);
    user_apply(user, &step);
    CHECK_INT(OUTCOME_DEAD, user->outcome);
    CHECK_INT(28, user->bytes);
    user_destroy(user);
}

TEST(rules_live_at_the_edges_of_time)
{
    struct rules rules = rules_of_test();
    struct user *user;
    struct step first = action_of(CLICK, 3, 1, 0), last = action_of(CLICK, 3, RULES_TIME_MAX, 0);
    struct step shown = shown_of(RULES_TIME_MAX, 1, 1, 3, 0, 0), erase = erase_of(RULES_TIME_MAX);

    rules.join_window_ms = INT64_MAX;
    rules.late_max_ms = INT64_MAX;
    user = user_create(&rules);
    first.watermark_ms = INT64_MAX;
    user_apply(user, &first);
    CHECK_INT(OUTCOME_APPLIED, user->outcome);
    user_apply(user, &last);
    user_apply(user, &shown);
    CHECK_INT(1, labels_emitted(user));
    user_apply(user, &erase);
    CHECK_INT(0, user->value.count);
    CHECK_INT(0, user->value.opens_count);
    user_destroy(user);

    CHECK_INT(INT64_MAX, rules_watermark(INT64_MIN, INT64_MAX, INT64_MAX, INT64_MAX));
    CHECK_INT(INT64_MIN, rules_watermark(INT64_MIN, INT64_MAX, INT64_MIN, INT64_MIN));
    CHECK_INT(7, rules_watermark(7, 3, 100, 5));
    CHECK_INT(9, rules_watermark(7, 9, 100, 5));
    CHECK_INT(105, rules_watermark(7, 900, 100, 5)); /* FAULTS 37: the watermark is not poisoned */
}

TEST(rules_remember_a_bounded_number_of_labels)
{
    struct rules rules = rules_of_test();
    struct user *user;
    struct step shown = shown_of(1000, 1, 3, 1, 2, 3);

    /* Waiting for their request: those beyond are lost. */
    rules.sequence_max = SEQUENCE_MAX;
    rules.join_window_ms = 100000;
    user = user_create(&rules);
    for (int i = 0; i < OPEN_LABELS_MAX + 10; i++) {
        struct step click = action_of(CLICK, i % 3 + 1, 1000 + i, 1);
        user_apply(user, &click);
        CHECK_INT(0, user->emissions.count);
    }
    CHECK_INT(OPEN_LABELS_MAX, user->value.opens[0].labels_count);
    user_apply(user, &shown);
    CHECK_INT(3, labels_emitted(user)); /* (row, action) is a set */
    user_destroy(user);
}

TEST(rules_emit_labels_beyond_those_an_open_list_remembers)
{
    static struct text rows[EVENT_ROWS_MAX];
    static char names[EVENT_ROWS_MAX][16];
    struct rules rules = rules_of_test();
    struct user *user;
    struct step shown = shown_of(1000, 1, 1, 0, 0, 0), click = action_of(CLICK, 0, 1000, 0);
    struct error err;

    rules.sequence_max = SEQUENCE_MAX;
    rules.joins_max = JOINS_MAX;
    rules.join_window_ms = 100000;
    user = user_create(&rules);
    for (int i = 0; i < EVENT_ROWS_MAX; i++) {
        snprintf(names[i], sizeof names[i], "x%d", i);
        rows[i] = text_of(names[i]);
        click.event.item = rows[i];
        click.event.time_ms = 1000 + i;
        user_apply(user, &click);
    }
    shown.event.rows = rows;
    shown.event.rows_count = EVENT_ROWS_MAX;
    CHECK_STATUS(OK, user_value_decode(&user->value, user->image, user->bytes, user->arena, &err));
    /* All at once, and as many lists as are kept: the largest value there is still encodes. */
    for (int i = 0; i < JOINS_MAX + 1; i++) {
        char request[16];
        snprintf(request, sizeof request, "q%d", i);
        shown.event.request_id = text_of(request);
        CHECK_STATUS(OK, rules_apply(&rules, &user->value, &shown.event, INT64_MIN, false,
                                     user->arena, &user->emissions, &user->outcome, &err));
        CHECK_INT(i == 0 ? 1 + EVENT_ROWS_MAX : 1, user->emissions.count);
        for (int k = 0; k < OPEN_LABELS_MAX + 5 && i > 0; k++) {
            click.event.request_id = shown.event.request_id;
            click.event.item = rows[k];
            click.event.time_ms = 5000 + 100 * i + k;
            CHECK_STATUS(OK, rules_apply(&rules, &user->value, &click.event, INT64_MIN, false,
                                         user->arena, &user->emissions, &user->outcome, &err));
            CHECK_INT(1, user->emissions.count);
        }
    }
    CHECK_INT(JOINS_MAX, user->value.opens_count);
    CHECK_INT(OPEN_LABELS_MAX, user->value.opens[3].labels_count);
    CHECK(user_value_encode(&user->value, user->image, sizeof user->image) > 0);
    user_destroy(user);
}

TEST(rules_report_an_arena_at_its_limit)
{
    struct rules rules = rules_of_test();
    struct step steps[] = {shown_of(1000, 1, 3, 1, 2, 3), action_of(CLICK, 2, 1010, 1),
                           action_of(CLICK, 2, 1010, 2)};
    struct arena *arena = arena_create(16, 16);
    static struct user_value value;
    static struct emissions emissions;
    enum outcome outcome;
    struct error err;

    for (int i = 0; i < 3; i++) {
        struct event event = steps[i].event;
        event.rows = steps[i].rows;
        memset(&value, 0, sizeof value);
        arena_reset(arena);
        CHECK(arena_alloc(arena, 16) != NULL);
        CHECK_STATUS(ERR_NOMEM, rules_apply(&rules, &value, &event, INT64_MIN, false, arena,
                                            &emissions, &outcome, &err));
    }
    arena_destroy(arena);
}

TEST(rules_shard_is_the_hash_of_the_user)
{
    struct rules rules = rules_of_test();

    for (int shards = 1; shards <= 64; shards *= 2)
        CHECK_INT((int)(hash64("alice", 5, 99) % (uint64_t)shards),
                  rules_shard(&rules, text_of("alice"), shards));
}
