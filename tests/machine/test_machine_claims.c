/*
 * Tests machine/machine: how a partition becomes ours, and every reason to refuse it.
 */
#include "tests/support/machine_stage.h"
#include "tests/test.h"

#include <string.h>

static void write_m(struct stage *stage, int shard, struct store_state state)
{
    struct model_connection connection = {.epoch = stage->node.epoch};
    struct store_m_write m = {.tp = user_value_writer(0, 0), .has_state = true, .state = state};
    struct store_request request = {.kind = STORE_EXEC, .shard = shard, .ms = &m, .ms_count = 1};
    struct store_reply reply;

    store_model_run(&stage->node, &connection, &request, &reply);
    CHECK(reply.result == STORE_OK);
}

static struct store_state at(int64_t next)
{
    return (struct store_state){
        .next = next, .watermark_ms = STORE_NO_WATERMARK, .last_offset = STORE_NO_OFFSET};
}

static struct store_state at_last(int64_t next, int64_t last)
{
    return (struct store_state){.next = next,
                                .watermark_ms = 1000 + next,
                                .last_offset = last,
                                .last_hash = driver_hash(last)};
}

static void no_random(void *context, void *into, size_t bytes)
{
    (void)context;
    memset(into, 0, bytes);
}

TEST(machine_refuses_a_number_of_shards_out_of_range)
{
    struct machine_options options = {.rules = driver_rules(), .random = no_random};
    struct machine *machine;
    struct error err;

    for (int i = 0; i < 3; i++) {
        options.shards = (int[]){0, -1, STORE_SHARDS_MAX + 1}[i];
        CHECK_STATUS(ERR_LIMIT, machine_create(&machine, &options, &err));
        CHECK(machine == NULL);
    }
    machine_destroy(NULL);
}

TEST(machine_refuses_a_partition_out_of_range)
{
    struct stage stage;
    struct error err;

    stage_begin(&stage, NULL);
    CHECK_STATUS(ERR_LIMIT, machine_assigned(stage.one.machine, -1, 0, &err));
    CHECK_STATUS(ERR_LIMIT, machine_assigned(stage.one.machine, 1 << 20, 0, &err));
    machine_revoked(stage.one.machine, 77); /* never ours: nothing */
    machine_limits(stage.one.machine, 77, 1, 0, 0, 0);
    machine_reading(stage.one.machine, 77, 1, 1);
    stage_end(&stage);
}

TEST(machine_first_start_records_the_low_watermark_and_begins_there)
{
    struct stage stage;

    stage_begin(&stage, NULL);
    stage.one.low[0] = 17;
    driver_assign(&stage.one, 0);
    CHECK_INT(17, stage.one.assigned_at[0]);
    CHECK_INT(DRIVER_SHARDS, stage.one.sent[STORE_CLAIM]);
    CHECK_INT(1, stage.one.sent[STORE_START]);
    for (int s = 0; s < DRIVER_SHARDS; s++)
        CHECK_INT(17, driver_m(&stage.one, 0, s).state.next);

    /* The log moves on; whoever comes next goes by the record, not by the log. */
    stage.two.low[0] = 17;
    driver_assign(&stage.two, 0);
    CHECK_INT(17, stage.two.assigned_at[0]);
    CHECK_INT(0, stage.two.sent[STORE_START]);
    stage_end(&stage);
}

TEST(machine_reads_nothing_before_every_shard_has_answered)
{
    struct stage stage;
    struct error err;

    stage_begin(&stage, NULL);
    CHECK_STATUS(OK, machine_assigned(stage.one.machine, 0, 0, &err));
    driver_take(&stage.one);
    for (int s = 0; s < DRIVER_SHARDS - 1; s++)
        CHECK(driver_answer(&stage.one, s));
    driver_take(&stage.one);
    CHECK_INT(0, driver_count(&stage.one, COMMAND_LIMITS));
    CHECK(driver_answer(&stage.one, DRIVER_SHARDS - 1));
    driver_take(&stage.one);
    CHECK_INT(1, driver_count(&stage.one, COMMAND_LIMITS));
    stage_end(&stage);
}

TEST(machine_begins_at_the_minimum_and_not_at_the_groups_offset)
{
    struct stage stage;

    stage_begin(&stage, NULL);
    write_m(&stage, 0, at(30));
    write_m(&stage, 1, at(12));
    write_m(&stage, 2, at(30));
    write_m(&stage, 3, at(25));
    stage.one.group[0] = 30;
    driver_assign(&stage.one, 0);
    CHECK_INT(12, stage.one.assigned_at[0]);
    stage_end(&stage);
}

TEST(machine_begins_at_the_last_record_to_see_whose_log_it_is)
{
    struct stage stage;

    stage_begin(&stage, NULL);
    for (int s = 0; s < DRIVER_SHARDS; s++)
        write_m(&stage, s, at_last(s == 2 ? 12 : 20, s == 2 ? 9 : 19));
    driver_assign(&stage.one, 0);
    CHECK_INT(9, stage.one.assigned_at[0]);
    driver_event_at(&stage.one, 0, 9, "ann", 2, "i1", 10);
    CHECK_INT(0, driver_count(&stage.one, COMMAND_STOP));
    CHECK_INT(0, driver_stats(&stage.one)->records); /* it was applied long ago */
    stage_end(&stage);
}

static void check_log_changed(struct stage *stage, int64_t offset)
{
    CHECK_INT(1, driver_count(&stage->one, COMMAND_STOP));
    CHECK_INT(STOP_LOG_CHANGED, driver_last(&stage->one, COMMAND_STOP)->reason);
    CHECK_INT(offset, driver_last(&stage->one, COMMAND_STOP)->found);
}

TEST(machine_stops_when_the_last_record_is_another)
{
    struct stage stage;
    struct store_state state = at_last(12, 9);

    stage_begin(&stage, NULL);
    state.last_hash++;
    for (int s = 0; s < DRIVER_SHARDS; s++)
        write_m(&stage, s, state);
    driver_assign(&stage.one, 0);
    driver_event_at(&stage.one, 0, 9, "ann", 2, "i1", 10);
    driver_take(&stage.one);
    check_log_changed(&stage, 9);
    driver_event_at(&stage.one, 0, 12, "ann", 2, "i1", 10); /* nothing more is taken */
    CHECK_INT(0, driver_stats(&stage.one)->records);
    stage_end(&stage);
}

TEST(machine_stops_when_the_last_record_is_absent)
{
    struct stage stage;

    stage_begin(&stage, NULL);
    for (int s = 0; s < DRIVER_SHARDS; s++)
        write_m(&stage, s, at_last(12, 9));
    driver_assign(&stage.one, 0);
    driver_event_at(&stage.one, 0, 12, "ann", 2, "i1", 10);
    driver_take(&stage.one);
    check_log_changed(&stage, 12);
    stage_end(&stage);
}

TEST(machine_checks_the_last_record_of_every_other_shard_when_it_passes_it)
{
    struct stage stage;
    struct store_state other = at_last(20, 15);

    stage_begin(&stage, NULL);
    other.last_hash++;
    for (int s = 0; s < DRIVER_SHARDS; s++)
        write_m(&stage, s, s == 3 ? other : at_last(12, 9));
    driver_assign(&stage.one, 0);
    driver_event_at(&stage.one, 0, 9, "ann", 2, "i1", 10);
    driver_event_at(&stage.one, 0, 12, "ann", 2, "i1", 11);
    driver_take(&stage.one);
    CHECK_INT(0, driver_count(&stage.one, COMMAND_STOP));
    driver_event_at(&stage.one, 0, 15, "ann", 2, "i1", 12);
    driver_take(&stage.one);
    check_log_changed(&stage, 15);
    stage_end(&stage);
}

TEST(machine_stops_when_the_state_is_ahead_of_the_log)
{
    struct stage stage;

    stage_begin(&stage, NULL);
    for (int s = 0; s < DRIVER_SHARDS; s++)
        write_m(&stage, s, at(s == 1 ? 1001 : 5)); /* high is 1000 */
    driver_assign(&stage.one, 0);
    CHECK_INT(STOP_OFFSET_AHEAD, driver_last(&stage.one, COMMAND_STOP)->reason);
    CHECK_INT(1001, driver_last(&stage.one, COMMAND_STOP)->offset);
    CHECK_INT(1000, driver_last(&stage.one, COMMAND_STOP)->found);
    CHECK_INT(-1, stage.one.assigned_at[0]);
    stage_end(&stage);
}

TEST(machine_takes_a_state_at_the_very_end_of_the_log)
{
    struct stage stage;

    stage_begin(&stage, NULL);
    for (int s = 0; s < DRIVER_SHARDS; s++)
        write_m(&stage, s, at(1000));
    driver_assign(&stage.one, 0);
    CHECK_INT(1000, stage.one.assigned_at[0]);
    stage_end(&stage);
}

TEST(machine_stops_when_the_log_lost_what_is_needed)
{
    struct stage stage;

    stage_begin(&stage, NULL);
    for (int s = 0; s < DRIVER_SHARDS; s++)
        write_m(&stage, s, at(s == 1 ? 7 : 50));
    stage.one.low[0] = 8;
    driver_assign(&stage.one, 0);
    CHECK_INT(STOP_DATA_LOST, driver_last(&stage.one, COMMAND_STOP)->reason);
    stage_end(&stage);
}

TEST(machine_counts_what_it_cannot_verify_and_begins_at_next)
{
    struct stage stage;

    stage_begin(&stage, NULL);
    for (int s = 0; s < DRIVER_SHARDS; s++)
        write_m(&stage, s, at_last(12, 9));
    stage.one.low[0] = 12; /* retention took the last record, nothing that is needed */
    driver_assign(&stage.one, 0);
    CHECK_INT(12, stage.one.assigned_at[0]);
    CHECK_INT(DRIVER_SHARDS, (int64_t)driver_stats(&stage.one)->unverifiable);
    stage_end(&stage);
}

TEST(machine_refuses_a_lost_state_and_never_begins_empty)
{
    struct stage stage;

    stage_begin(&stage, NULL);
    stage.one.group[0] = 40; /* the group has read it, the store knows nothing */
    driver_assign(&stage.one, 0);
    CHECK_INT(STOP_STATE_LOST, driver_last(&stage.one, COMMAND_STOP)->reason);
    for (int s = 0; s < DRIVER_SHARDS; s++)
        CHECK_INT(-1, driver_m(&stage.one, 0, s).state.next);
    stage_end(&stage);
}

TEST(machine_refuses_a_recorded_start_that_the_log_lost)
{
    struct stage stage;

    stage_begin(&stage, NULL);
    driver_assign(&stage.one, 0); /* records 0 */
    for (int s = 0; s < 2; s++)   /* two shards lose all they had */
        store_model_delete(
            &stage.node,
            store_model_find(&stage.node, MODEL_M, s, user_value_writer(0, 0), (struct text){0}));
    stage.two.low[0] = 3;
    driver_assign(&stage.two, 0);
    CHECK_INT(STOP_DATA_LOST, driver_last(&stage.two, COMMAND_STOP)->reason);
    stage_end(&stage);
}

TEST(machine_reads_again_from_the_start_where_a_shard_lost_everything)
{
    struct stage stage;
    int shard = driver_shard("ann");

    stage_begin(&stage, NULL);
    driver_assign(&stage.one, 0);
    driver_impression(&stage.one, 0, "ann", "r1", "i1", 10);
    driver_event(&stage.one, 0, "ann", 2, "i1", 11);
    driver_wait(&stage.one, 2000000);
    CHECK_TEXT("11", driver_times(&stage.one, "ann"));
    store_model_delete(&stage.node, store_model_find(&stage.node, MODEL_M, shard,
                                                     user_value_writer(0, 0), (struct text){0}));
    store_model_delete(&stage.node,
                       store_model_find(&stage.node, MODEL_USER, shard, 0, text_of("ann")));
    stage.two.group[0] = stage.one.group[0];
    driver_assign(&stage.two, 0);
    CHECK_INT(0, stage.two.assigned_at[0]);
    driver_impression(&stage.two, 0, "ann", "r1", "i1", 10);
    driver_event(&stage.two, 0, "ann", 2, "i1", 11);
    driver_wait(&stage.two, 2000000);
    CHECK_TEXT("11", driver_times(&stage.two, "ann"));
    CHECK_INT(0, (int64_t)stage.node.append_errors); /* the outbox began anew too */
    stage_end(&stage);
}

TEST(machine_stops_on_keys_of_a_wrong_type)
{
    struct stage stage;
    struct model_key *key;

    stage_begin(&stage, NULL);
    write_m(&stage, 2, at(5));
    key = store_model_find(&stage.node, MODEL_M, 2, user_value_writer(0, 0), (struct text){0});
    key->now.m.damaged = true;
    driver_assign(&stage.one, 0);
    CHECK_INT(STOP_STATE_DAMAGED, driver_last(&stage.one, COMMAND_STOP)->reason);
    stage_end(&stage);
}

TEST(machine_initialises_only_while_the_token_is_its_own)
{
    struct stage stage;
    struct error err;

    stage_begin(&stage, NULL);
    CHECK_STATUS(OK, machine_assigned(stage.one.machine, 0, 0, &err));
    for (int i = 0; i < 3; i++) { /* claim, start, read of m: one step short of the write */
        driver_take(&stage.one);
        for (int s = 0; s < DRIVER_SHARDS; s++)
            (void)driver_answer(&stage.one, s);
    }
    driver_take(&stage.one);
    CHECK(stage.one.requests[1] != NULL && stage.one.requests[1]->kind == STORE_EXEC);
    driver_assign(&stage.two, 0); /* another claims everything, and begins */
    driver_event(&stage.two, 0, "ann", 2, "i1", 10);
    driver_wait(&stage.two, 2000000);
    driver_settle(&stage.one);
    CHECK_INT(1, (int64_t)driver_stats(&stage.one)->fenced);
    CHECK_TEXT("10", driver_times(&stage.two, "ann"));
    CHECK_INT(1, driver_m(&stage.two, 0, driver_shard("ann")).state.next);
    stage_end(&stage);
}

TEST(machine_ignores_answers_to_an_older_claim)
{
    struct stage stage;
    struct machine_command command, old;
    struct error err;

    stage_begin(&stage, NULL);
    CHECK_STATUS(OK, machine_assigned(stage.one.machine, 0, 0, &err));
    driver_take(&stage.one);
    for (int s = 0; s < DRIVER_SHARDS; s++)
        CHECK(driver_answer(&stage.one, s));
    CHECK(machine_next(stage.one.machine, &old) && old.kind == COMMAND_LIMITS);
    CHECK_STATUS(OK, machine_assigned(stage.one.machine, 0, 0, &err)); /* claims anew */
    machine_limits(stage.one.machine, 0, old.ticket, 0, 1000, -1);
    CHECK(machine_next(stage.one.machine, &command) && command.kind == COMMAND_STORE &&
          command.store->kind == STORE_CLAIM);
    machine_reading(stage.one.machine, 0, old.ticket, 5);
    stage_end(&stage);
}

TEST(machine_waits_for_a_poll_and_a_back_off_after_it_was_fenced)
{
    struct stage stage;

    stage_begin(&stage, NULL);
    driver_assign(&stage.one, 0);
    driver_wait(&stage.one, 1100000);
    driver_assign(&stage.two, 0); /* the group gave it away; one does not know yet */
    driver_wait(&stage.one, 1100000);
    CHECK_INT(1, (int64_t)driver_stats(&stage.one)->fenced);
    CHECK_INT(1, (int64_t)driver_stats(&stage.one)->claims);
    driver_wait(&stage.one, 60000000); /* no poll came back: it stays away */
    CHECK_INT(1, (int64_t)driver_stats(&stage.one)->claims);
    machine_revoked(stage.one.machine, 0);
    machine_polled(stage.one.machine);
    driver_wait(&stage.one, 60000000); /* no longer assigned: it does not come back */
    CHECK_INT(1, (int64_t)driver_stats(&stage.one)->claims);

    driver_assign(&stage.one, 0); /* assigned again: a claim at once, and two is fenced */
    driver_wait(&stage.two, 1100000);
    CHECK_INT(1, (int64_t)driver_stats(&stage.two)->fenced);
    machine_polled(stage.two.machine);
    CHECK(machine_wakeup_us(stage.two.machine) > stage.two.now_us);
    driver_wait(&stage.two, 60000000); /* still assigned: it claims back */
    CHECK_INT(2, (int64_t)driver_stats(&stage.two)->claims);
    stage_end(&stage);
}

TEST(machine_reads_two_partitions_and_adds_one_later)
{
    struct stage stage;
    struct machine_partition_view view;

    stage_begin(&stage, NULL);
    driver_assign(&stage.one, 0);
    driver_event(&stage.one, 0, "ann", 2, "i1", 10);
    driver_wait(&stage.one, 10000);
    stage.one.low[3] = 9;
    stage.one.next[3] = 9;
    driver_assign(&stage.one, 3);
    driver_event(&stage.one, 3, "ann", 2, "i2", 12);
    driver_event(&stage.one, 0, "ann", 2, "i3", 14);
    driver_wait(&stage.one, 2000000);
    CHECK_TEXT("10 12 14", driver_times(&stage.one, "ann"));
    CHECK(machine_partition_view(stage.one.machine, 1, &view));
    CHECK_INT(3, view.partition);
    CHECK_INT(10, view.applied);
    CHECK_TEXT("reading", view.state);
    CHECK(!machine_partition_view(stage.one.machine, 2, &view));
    stage_end(&stage);
}
