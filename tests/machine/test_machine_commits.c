/*
 * Tests machine/machine: commits when nothing fails, and the bounds: batches, patches, outbox rows,
 * dead letters, quarantine, ticks, pauses, draining.
 */
#include "tests/support/machine_stage.h"
#include "tests/test.h"

#include <stdio.h>

static void begin_with(struct stage *stage, const struct machine_options *options)
{
    stage_begin(stage, options);
    driver_assign(&stage->one, 0);
}

static void begin(struct stage *stage)
{
    begin_with(stage, NULL);
}

TEST(machine_shards_users_as_the_rules_say)
{
    struct stage stage;

    begin(&stage);
    for (int shard = 0; shard < DRIVER_SHARDS; shard++)
        driver_event(&stage.one, 0, driver_user_in(shard, 1), 2, "i1", 10);
    driver_wait(&stage.one, 10000);
    for (int shard = 0; shard < DRIVER_SHARDS; shard++)
        CHECK_TEXT("10", driver_times(&stage.one, driver_user_in(shard, 1)));
    stage_end(&stage);
}

TEST(machine_commits_with_one_round_trip_when_users_are_cached)
{
    struct stage stage;
    int shard = driver_shard("ann"), execs, reads;

    begin(&stage);
    for (int i = 0; i < 6; i++) {
        driver_event(&stage.one, 0, "ann", 2, "i1", 10 + i);
        driver_wait(&stage.one, 10000);
    }
    execs = stage.one.sent[STORE_EXEC];
    reads = stage.one.sent[STORE_READ];
    driver_event(&stage.one, 0, "ann", 2, "i1", 20);
    driver_wait(&stage.one, 10000);
    CHECK_INT(execs + 1, stage.one.sent[STORE_EXEC]);
    CHECK_INT(reads, stage.one.sent[STORE_READ]);
    CHECK_TEXT("13 14 15 20", driver_times(&stage.one, "ann"));
    CHECK_INT(3, (int64_t)driver_stats(&stage.one)->patched); /* since the ring is full */
    CHECK_INT(7, driver_m(&stage.one, 0, shard).state.counts[OUTCOME_APPLIED]);
    stage_end(&stage);
}

TEST(machine_waits_for_company_and_not_longer_than_linger)
{
    struct machine_options options = {.linger_us = 5000, .batch_target = 3, .tick_us = 1000000000};
    struct stage stage;

    begin_with(&stage, &options);
    driver_wait(&stage.one, 10000);
    driver_event(&stage.one, 0, "ann", 2, "i1", 10);
    driver_settle(&stage.one);
    CHECK_TEXT("absent", driver_times(&stage.one, "ann"));
    CHECK(machine_wakeup_us(stage.one.machine) == stage.one.now_us + 5000);
    driver_event(&stage.one, 0, "ann", 2, "i2", 11);
    driver_event(&stage.one, 0, "ann", 2, "i3", 12);
    driver_settle(&stage.one);
    CHECK_TEXT("10 11 12", driver_times(&stage.one, "ann")); /* three are company */
    driver_event(&stage.one, 0, "ann", 2, "i4", 13);
    driver_wait(&stage.one, 4999);
    CHECK_TEXT("10 11 12", driver_times(&stage.one, "ann"));
    driver_wait(&stage.one, 1);
    CHECK_TEXT("10 11 12 13", driver_times(&stage.one, "ann"));
    stage_end(&stage);
}

TEST(machine_splits_a_batch_and_says_where_each_part_ends)
{
    struct machine_options options = {.batch_max = 2, .tick_us = 1000000000};
    struct stage stage;
    struct store_m m;
    int shard = driver_shard("ann");

    begin_with(&stage, &options);
    for (int i = 0; i < 5; i++)
        driver_event_at(&stage.one, 0, 10 * i, "ann", 2, "i1", 10 + i); /* gaps between them */
    driver_send_exec(&stage.one, shard);
    CHECK(driver_answer(&stage.one, shard));
    m = driver_m(&stage.one, 0, shard);
    CHECK_INT(21, m.state.next); /* three of five: a share rounds up; never behind a gap */
    CHECK_INT(20, m.state.last_offset);
    CHECK(m.state.last_hash == driver_hash(20));
    CHECK_INT(INT64_C(1700000012000), m.state.watermark_ms);
    driver_settle(&stage.one);
    driver_wait(&stage.one, 10);
    CHECK_INT(41, driver_m(&stage.one, 0, shard).state.next);
    CHECK_TEXT("11 12 13 14", driver_times(&stage.one, "ann"));
    stage_end(&stage);
}

TEST(machine_moves_quiet_shards_with_the_tick)
{
    struct stage stage;
    int shard = driver_shard("ann"), quiet = (shard + 1) % DRIVER_SHARDS;

    begin(&stage);
    driver_event(&stage.one, 0, "ann", 2, "i1", 10);
    driver_wait(&stage.one, 10000);
    CHECK_INT(1, driver_m(&stage.one, 0, shard).state.next);
    CHECK_INT(0, driver_m(&stage.one, 0, quiet).state.next);
    driver_wait(&stage.one, 1000000);
    CHECK_INT(1, driver_m(&stage.one, 0, quiet).state.next);
    CHECK_INT(0, driver_m(&stage.one, 0, quiet).state.last_offset);
    CHECK_INT(1, stage.one.group[0]);
    CHECK_INT(COMMAND_MARK, driver_last(&stage.one, COMMAND_MARK)->kind);
    CHECK_INT(1, driver_last(&stage.one, COMMAND_MARK)->offset);
    CHECK_INT(INT64_C(1700000010000), driver_last(&stage.one, COMMAND_MARK)->watermark_ms);
    stage_end(&stage);
}

TEST(machine_moves_partitions_without_records_with_the_tick)
{
    struct stage stage;
    struct machine_partition_view view;

    begin(&stage);
    driver_assign(&stage.one, 1);
    driver_wait(&stage.one, 2000000); /* the first tick is over */
    driver_event(&stage.one, 0, driver_user_in(0, 0), 2, "i1", 10);
    driver_event(&stage.one, 1, driver_user_in(1, 0), 2, "i1", 10);
    driver_wait(&stage.one, 10000);
    CHECK_INT(1, driver_m(&stage.one, 0, 0).state.next);
    CHECK_INT(0, driver_m(&stage.one, 1, 0).state.next); /* nothing of 1 was in that batch */
    CHECK(machine_partition_view(stage.one.machine, 1, &view));
    CHECK_INT(1, view.applied); /* and nothing of it waits */
    driver_wait(&stage.one, 1100000);
    CHECK_INT(1, driver_m(&stage.one, 1, 0).state.next);
    stage_end(&stage);
}

TEST(machine_hints_only_what_every_shard_has_answered)
{
    struct stage stage;
    int shard = driver_shard("ann"), other = (shard + 1) % DRIVER_SHARDS;
    int64_t before;

    begin(&stage);
    driver_wait(&stage.one, 1100000);
    machine_disconnected(stage.one.machine, other);
    before = stage.one.group[0];
    driver_event(&stage.one, 0, "ann", 2, "i1", 10);
    driver_wait(&stage.one, 5000000);
    CHECK_INT(1, driver_m(&stage.one, 0, shard).state.next);
    CHECK_INT(before, stage.one.group[0]);
    driver_reconnect(&stage.one, other);
    driver_wait(&stage.one, 1100000);
    CHECK_INT(1, stage.one.group[0]);
    stage_end(&stage);
}

TEST(machine_sorts_outbox_rows_and_tells_the_relay)
{
    struct stage stage;
    int shard = driver_shard("ann");
    struct model_key *outbox;
    const char *other = driver_user_in(shard, 0);

    begin(&stage);
    driver_impression(&stage.one, 0, "ann", "r1", "i1", 10);
    driver_impression(&stage.one, 0, other, "r2", "i1", 11);
    driver_impression(&stage.one, 0, "ann", "r3", "i1", 12); /* users are applied one by one */
    driver_wait(&stage.one, 10000);
    outbox = store_model_find(&stage.node, MODEL_OUTBOX, shard, user_value_writer(0, 0),
                              (struct text){0});
    CHECK(outbox != NULL && outbox->now.rows_count == 3);
    for (int i = 0; i < 3; i++)
        CHECK_INT(i + 1, (int64_t)outbox->now.rows[i].id.high);
    CHECK_INT(0, (int64_t)stage.node.append_errors);
    CHECK_INT(shard, driver_last(&stage.one, COMMAND_OUTBOX)->shard);
    stage_end(&stage);
}

TEST(machine_delivers_dead_letters_before_the_commit_that_passes_them)
{
    struct stage stage;
    const struct machine_letter *letter;

    begin(&stage);
    stage.one.hold_letters = true;
    driver_event(&stage.one, 0, driver_user_in(0, 0), 2, "i1", 10);
    driver_dead(&stage.one, 0);
    driver_dead(&stage.one, 0);
    driver_event(&stage.one, 0, driver_user_in(1, 0), 2, "i1", 11);
    driver_wait(&stage.one, 3000000);
    CHECK_INT(2, stage.one.letters_count);
    letter = &driver_last(&stage.one, COMMAND_LETTER)->letter;
    CHECK_INT(2, letter->offset);
    CHECK_INT(REFUSAL_NOT_JSON, letter->refusal);
    CHECK_INT(0, driver_m(&stage.one, 0, 0).state.next);
    CHECK_INT(4, driver_m(&stage.one, 0, 1).state.next); /* others do not wait */
    machine_letter_delivered(stage.one.machine, stage.one.letters[1]);
    driver_wait(&stage.one, 3000000);
    CHECK_INT(0, driver_m(&stage.one, 0, 0).state.next); /* the first is still on its way */
    machine_letter_delivered(stage.one.machine, stage.one.letters[0]);
    driver_wait(&stage.one, 10000);
    CHECK_INT(4, driver_m(&stage.one, 0, 0).state.next);
    CHECK_INT(2, driver_m(&stage.one, 0, 0).state.counts[OUTCOME_DEAD]);
    CHECK_INT(1, driver_m(&stage.one, 0, 0).state.counts[OUTCOME_APPLIED]);
    stage_end(&stage);
}

TEST(machine_quarantines_a_user_and_goes_on_with_the_others)
{
    struct stage stage;
    int shard = driver_shard("ann");
    const char *other = driver_user_in(shard, 0);

    for (int corrupt = 0; corrupt < 2; corrupt++) {
        begin(&stage);
        store_model_plant(&stage.node, shard, text_of("ann"),
                          corrupt ? (const uint8_t *)"no value" : NULL, corrupt ? 8 : 0);
        driver_event(&stage.one, 0, "ann", 2, "i1", 10);
        driver_event(&stage.one, 0, other, 2, "i1", 11);
        driver_event(&stage.one, 0, "ann", 2, "i2", 12);
        stage.one.hold_letters = true;
        driver_wait(&stage.one, 10000);
        CHECK_INT(2, stage.one.letters_count);
        CHECK_INT(REFUSAL_QUARANTINED, driver_last(&stage.one, COMMAND_LETTER)->letter.refusal);
        CHECK(text_equal(driver_last(&stage.one, COMMAND_LETTER)->letter.head, text_of("{raw")));
        CHECK_TEXT("absent", driver_times(&stage.one, other));
        for (int i = 0; i < 2; i++)
            machine_letter_delivered(stage.one.machine, stage.one.letters[i]);
        driver_wait(&stage.one, 10000);
        CHECK_TEXT("11", driver_times(&stage.one, other));
        CHECK_TEXT(corrupt ? "corrupt" : "bad type", driver_times(&stage.one, "ann"));
        CHECK_INT(2, driver_m(&stage.one, 0, shard).state.counts[OUTCOME_DEAD]);
        CHECK_INT(1, driver_m(&stage.one, 0, shard).state.counts[OUTCOME_APPLIED]);
        stage_end(&stage);
    }
}

TEST(machine_writes_a_value_that_was_gone_whole_again_at_once)
{
    struct stage stage;
    int shard = driver_shard("ann");
    struct model_key *key;

    for (int planted = 0; planted < 2; planted++) {
        begin(&stage);
        for (int i = 0; i < 4; i++)
            driver_event(&stage.one, 0, "ann", 2, "i1", 10 + i);
        driver_wait(&stage.one, 10000);
        key = store_model_find(&stage.node, MODEL_USER, shard, 0, text_of("ann"));
        if (planted)
            store_model_plant(&stage.node, shard, text_of("ann"), NULL, 0);
        else
            store_model_delete(&stage.node, key);
        driver_event(&stage.one, 0, "ann", 2, "i1", 20); /* patches a value that is not there */
        driver_wait(&stage.one, 10000);
        CHECK_TEXT("11 12 13 20", driver_times(&stage.one, "ann"));
        CHECK_INT(1, (int64_t)driver_stats(&stage.one)->repaired);
        key = store_model_find(&stage.node, MODEL_USER, shard, 0, text_of("ann"));
        CHECK(key->now.expires_at_ms > 0);
        CHECK_INT(5, driver_m(&stage.one, 0, shard).state.counts[OUTCOME_APPLIED]);
        driver_event(&stage.one, 0, "ann", 2, "i1", 21);
        driver_wait(&stage.one, 10000);
        CHECK_TEXT("12 13 20 21", driver_times(&stage.one, "ann"));
        CHECK_INT(1, (int64_t)driver_stats(&stage.one)->repaired);
        stage_end(&stage);
    }
}

TEST(machine_reads_again_what_may_expire_and_renews_an_eighth)
{
    struct machine_options options = {.ttl_ms = 8 * 3600000};
    struct stage stage;
    int shard = driver_shard("ann"), reads;
    struct model_key *key;
    int64_t first;

    begin_with(&stage, &options);
    for (int i = 0; i < 4; i++)
        driver_event(&stage.one, 0, "ann", 2, "i1", 10 + i);
    driver_wait(&stage.one, 10000);
    key = store_model_find(&stage.node, MODEL_USER, shard, 0, text_of("ann"));
    first = key->now.expires_at_ms;
    driver_wait(&stage.one, INT64_C(1800) * 1000000); /* half an hour: not an eighth of 8 h */
    driver_event(&stage.one, 0, "ann", 2, "i1", 20);
    driver_wait(&stage.one, 10000);
    key = store_model_find(&stage.node, MODEL_USER, shard, 0, text_of("ann"));
    CHECK_INT(first, key->now.expires_at_ms);
    driver_wait(&stage.one, INT64_C(2000) * 1000000);
    driver_event(&stage.one, 0, "ann", 2, "i1", 21);
    driver_wait(&stage.one, 10000);
    key = store_model_find(&stage.node, MODEL_USER, shard, 0, text_of("ann"));
    CHECK(key->now.expires_at_ms > first + 3600000);

    reads = stage.one.sent[STORE_READ];
    driver_wait(&stage.one, INT64_C(7) * 3600 * 1000000 + 1000000); /* within an hour of its end */
    driver_event(&stage.one, 0, "ann", 2, "i1", 22);
    driver_wait(&stage.one, 10000);
    CHECK_INT(reads + 1, stage.one.sent[STORE_READ]);
    CHECK_TEXT("13 20 21 22", driver_times(&stage.one, "ann"));
    driver_wait(&stage.one, INT64_C(9) * 3600 * 1000000); /* it ended */
    CHECK_TEXT("absent", driver_times(&stage.one, "ann"));
    driver_event(&stage.one, 0, "ann", 2, "i1", 23);
    driver_wait(&stage.one, 10000);
    CHECK_TEXT("23", driver_times(&stage.one, "ann"));
    stage_end(&stage);
}

TEST(machine_pauses_when_a_shard_hangs_and_resumes)
{
    struct machine_options options = {.backlog_max = 20};
    struct stage stage;
    int shard = driver_shard("ann");

    begin_with(&stage, &options);
    machine_disconnected(stage.one.machine, shard);
    for (int i = 0; machine_room(stage.one.machine) > 0; i++)
        driver_event(&stage.one, 0, "ann", 2, "i1", 10 + i);
    CHECK_INT(20, driver_stats(&stage.one)->backlog);
    driver_settle(&stage.one);
    CHECK_INT(0, driver_count(&stage.one, COMMAND_PAUSE)); /* a hiccup is no reason */
    driver_wait(&stage.one, 300000);
    CHECK_INT(1, driver_count(&stage.one, COMMAND_PAUSE));
    driver_wait(&stage.one, 300000);
    CHECK_INT(1, driver_count(&stage.one, COMMAND_PAUSE));
    driver_reconnect(&stage.one, shard);
    driver_wait(&stage.one, 300000);
    CHECK_INT(1, driver_count(&stage.one, COMMAND_RESUME));
    CHECK_INT(0, driver_stats(&stage.one)->backlog);
    CHECK_TEXT("26 27 28 29", driver_times(&stage.one, "ann"));
    stage_end(&stage);
}

TEST(machine_pauses_a_partition_whose_outbox_is_full_until_it_is_trimmed)
{
    struct machine_options options = {.outbox_max = 4};
    struct stage stage;
    int shard = driver_shard("ann");
    struct store_id ids[8];
    const struct model_key *outbox;
    char request[16];

    begin_with(&stage, &options);
    for (int i = 0; i < 4; i++) {
        (void)snprintf(request, sizeof request, "r%d", i);
        driver_impression(&stage.one, 0, "ann", request, "i1", 10 + i);
    }
    driver_wait(&stage.one, 10000);
    CHECK_INT(1, driver_count(&stage.one, COMMAND_PAUSE));
    outbox = store_model_find(&stage.node, MODEL_OUTBOX, shard, user_value_writer(0, 0),
                              (struct text){0});
    CHECK_INT(4, outbox->now.rows_count);
    for (int i = 0; i < 4; i++)
        ids[i] = outbox->now.rows[i].id;
    CHECK(machine_trim(stage.one.machine, 0, shard, ids, 3));
    CHECK(!machine_trim(stage.one.machine, 2, shard, ids, 1)); /* never assigned */
    driver_wait(&stage.one, 10000);
    CHECK_INT(1, driver_count(&stage.one, COMMAND_RESUME));
    outbox = store_model_find(&stage.node, MODEL_OUTBOX, shard, user_value_writer(0, 0),
                              (struct text){0});
    CHECK_INT(1, outbox->now.rows_count);
    stage_end(&stage);
}

/* The last owner's trim came after our claim had counted, and the relay finds nothing to send. */
TEST(machine_counts_a_full_outbox_anew_that_somebody_else_trimmed)
{
    struct machine_options options = {.outbox_max = 4};
    struct store_request trim = {.kind = STORE_TRIM, .ids_count = 4};
    struct store_id ids[4];
    struct store_reply reply;
    struct model_connection other = {0};
    struct stage stage;
    const struct model_key *outbox;
    char request[16];

    begin_with(&stage, &options);
    for (int i = 0; i < 4; i++) {
        (void)snprintf(request, sizeof request, "r%d", i);
        driver_impression(&stage.one, 0, "ann", request, "i1", 10 + i);
    }
    driver_wait(&stage.one, 10000);
    CHECK_INT(1, driver_count(&stage.one, COMMAND_PAUSE));
    trim.shard = driver_shard("ann");
    trim.tp = user_value_writer(0, 0);
    trim.ids = ids;
    outbox = store_model_find(&stage.node, MODEL_OUTBOX, trim.shard, user_value_writer(0, 0),
                              (struct text){0});
    CHECK_INT(4, outbox->now.rows_count);
    for (int i = 0; i < 4; i++)
        ids[i] = outbox->now.rows[i].id;
    store_model_run(&stage.node, &other, &trim, &reply);
    CHECK_INT(4, reply.removed);
    CHECK_INT(0, driver_count(&stage.one, COMMAND_RESUME));
    driver_wait(&stage.one, 1000000); /* a tick */
    CHECK_INT(1, driver_count(&stage.one, COMMAND_RESUME));
    stage_end(&stage);
}

TEST(machine_bounds_the_trims_that_wait)
{
    struct stage stage;
    struct store_id id = {1, 1};
    int taken = 0;

    begin(&stage);
    machine_disconnected(stage.one.machine, 1);
    while (taken < 10000 && machine_trim(stage.one.machine, 0, 1, &id, 1))
        taken++;
    CHECK(taken > 10 && taken < 1000);
    driver_reconnect(&stage.one, 1);
    driver_settle(&stage.one);
    CHECK(machine_trim(stage.one.machine, 0, 1, &id, 1));
    stage_end(&stage);
}

TEST(machine_drains_what_waits_and_ticks_once_more)
{
    struct machine_options options = {.linger_us = 60000000};
    struct stage stage;

    begin_with(&stage, &options);
    driver_event(&stage.one, 0, "ann", 2, "i1", 10);
    driver_settle(&stage.one);
    CHECK(!machine_drained(stage.one.machine));
    CHECK_TEXT("absent", driver_times(&stage.one, "ann"));
    machine_drain(stage.one.machine);
    CHECK(!machine_drained(stage.one.machine));
    driver_event(&stage.one, 0, "ann", 2, "i1", 11); /* too late for this process */
    driver_settle(&stage.one);
    CHECK(machine_drained(stage.one.machine));
    CHECK_TEXT("10", driver_times(&stage.one, "ann"));
    for (int s = 0; s < DRIVER_SHARDS; s++)
        CHECK_INT(1, driver_m(&stage.one, 0, s).state.next);
    CHECK_INT(1, stage.one.group[0]);
    stage_end(&stage);
}

TEST(machine_drains_at_once_when_it_owns_nothing)
{
    struct stage stage;

    begin(&stage);
    machine_revoked(stage.one.machine, 0);
    machine_drain(stage.one.machine);
    driver_settle(&stage.one);
    CHECK(machine_drained(stage.one.machine));
    stage_end(&stage);
}

TEST(machine_counts_every_record_once_by_what_became_of_it)
{
    struct stage stage;
    int shard = driver_shard("ann");
    struct store_m m;
    int64_t sum = 0;

    begin(&stage);
    for (int i = 0; i < 5; i++)
        driver_event(&stage.one, 0, "ann", 2, "i1", 100 + i);
    driver_event(&stage.one, 0, "ann", 2, "i1", 104); /* duplicate */
    driver_event(&stage.one, 0, "ann", 2, "i1", 99);  /* older than a full sequence: late */
    driver_event(&stage.one, 0, "ann", 2, "i1", 50);  /* older than late_max: dropped */
    driver_wait(&stage.one, 2000000);
    m = driver_m(&stage.one, 0, shard);
    for (int i = 0; i < OUTCOME_COUNT; i++)
        sum += m.state.counts[i];
    CHECK_INT(8, sum);
    CHECK_INT(5, m.state.counts[OUTCOME_APPLIED]);
    CHECK_INT(1, m.state.counts[OUTCOME_DUPLICATE]);
    CHECK_INT(1, m.state.counts[OUTCOME_LATE]);
    CHECK_INT(1, m.state.counts[OUTCOME_DROPPED]);
    CHECK_INT(5, (int64_t)driver_stats(&stage.one)->outcomes[OUTCOME_APPLIED]);
    stage_end(&stage);
}
