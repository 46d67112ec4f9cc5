/*
 * Tests machine/machine: one directed schedule for each interleaving that broke an earlier wording
 * of the protocol, or that random search does not reach (DESIGN.md 3).
 */
#include "tests/support/machine_stage.h"
#include "tests/test.h"

static uint32_t tp(int partition)
{
    return user_value_writer(partition, 0);
}

TEST(machine_finds_a_commit_applied_whose_answer_was_lost)
{
    struct stage stage;
    int shard = driver_shard("ann");

    stage_begin(&stage, NULL);
    driver_assign(&stage.one, 0);
    for (int i = 0; i < 4; i++)
        driver_event(&stage.one, 0, "ann", 2, "i1", 10 + i);
    driver_wait(&stage.one, 10000);
    driver_event(&stage.one, 0, "ann", 2, "i1", 20);
    driver_send_exec(&stage.one, shard);
    driver_lose_answer(&stage.one, shard);
    driver_event(&stage.one, 0, "ann", 2, "i1", 21); /* on what is stored, not on the old cache */
    driver_wait(&stage.one, 10000);
    CHECK_TEXT("12 13 20 21", driver_times(&stage.one, "ann"));
    CHECK_INT(1, (int64_t)driver_stats(&stage.one)->applied_unseen);
    CHECK_INT(6, driver_m(&stage.one, 0, shard).state.counts[OUTCOME_APPLIED]);
    CHECK_INT(6, (int64_t)driver_stats(&stage.one)->outcomes[OUTCOME_APPLIED]);
    stage_end(&stage);
}

/* Nobody else knows that rows are there: a mark would overtake them. */
TEST(machine_tells_the_relay_of_rows_whose_commit_was_not_answered)
{
    struct stage stage;
    int shard = driver_shard("ann");

    stage_begin(&stage, NULL);
    driver_assign(&stage.one, 0);
    driver_impression(&stage.one, 0, "ann", "r1", "i1", 10);
    driver_send_exec(&stage.one, shard);
    driver_lose_answer(&stage.one, shard);
    driver_wait(&stage.one, 10000);
    CHECK_INT(1, (int64_t)driver_stats(&stage.one)->applied_unseen);
    CHECK_INT(shard, driver_last(&stage.one, COMMAND_OUTBOX)->shard);
    stage_end(&stage);
}

/* What no connection carries, or no deadline allows, must not be tried for ever. */
TEST(machine_halves_a_batch_that_is_never_answered)
{
    struct machine_options options = {.batch_max = 1000, .batch_target = 1000};
    struct stage stage;
    int shard = driver_shard("ann");

    stage_begin(&stage, &options);
    driver_assign(&stage.one, 0);
    for (int i = 0; i < 400; i++)
        driver_event(&stage.one, 0, "ann", 2, "i1", 10);
    uint64_t before = driver_stats(&stage.one)->commits;
    driver_send_exec(&stage.one, shard);
    driver_lose_request(&stage.one, shard); /* 400 */
    driver_send_exec(&stage.one, shard);
    driver_lose_request(&stage.one, shard); /* 200 */
    for (int i = 0; i < 8; i++)
        driver_wait(&stage.one, 10000);
    CHECK_INT(400, driver_m(&stage.one, 0, shard).state.next);
    CHECK(driver_stats(&stage.one)->commits - before >= 4); /* of 100 or so */
    stage_end(&stage);
}

TEST(machine_sends_a_commit_again_that_was_never_carried_out)
{
    struct stage stage;
    int shard = driver_shard("ann");

    stage_begin(&stage, NULL);
    driver_assign(&stage.one, 0);
    driver_event(&stage.one, 0, "ann", 2, "i1", 10);
    driver_send_exec(&stage.one, shard);
    driver_lose_request(&stage.one, shard);
    driver_wait(&stage.one, 10000);
    CHECK_TEXT("10", driver_times(&stage.one, "ann"));
    CHECK_INT(1, driver_m(&stage.one, 0, shard).state.counts[OUTCOME_APPLIED]);
    CHECK_INT(1, (int64_t)driver_stats(&stage.one)->lost);
    stage_end(&stage);
}

TEST(machine_lets_only_one_of_a_delayed_and_a_repeated_commit_through)
{
    struct stage stage;
    int shard = driver_shard("ann");
    struct store_request *delayed;
    struct model_connection old;
    struct store_reply reply;

    for (int late = 0; late < 2; late++) {
        stage_begin(&stage, NULL);
        driver_assign(&stage.one, 0);
        driver_event(&stage.one, 0, "ann", 2, "i1", 10);
        driver_send_exec(&stage.one, shard);
        delayed = stage.one.requests[shard];
        old = stage.one.connections[shard];
        driver_lose_request(&stage.one, shard);
        if (late)
            driver_wait(&stage.one, 10000);
        else
            driver_take(&stage.one);
        store_model_run(&stage.node, &old, delayed, &reply);
        CHECK_INT(late ? STORE_NIL : STORE_OK, reply.result);
        driver_wait(&stage.one, 10000);
        CHECK_TEXT("10", driver_times(&stage.one, "ann"));
        CHECK_INT(1, driver_m(&stage.one, 0, shard).state.counts[OUTCOME_APPLIED]);
        stage_end(&stage);
    }
}

TEST(machine_rewinds_after_a_rollback_and_never_adopts_it)
{
    struct stage stage;
    int shard = driver_shard("ann");

    stage_begin(&stage, NULL);
    driver_assign(&stage.one, 0);
    for (int i = 0; i < 3; i++) {
        driver_event(&stage.one, 0, "ann", 2, "i1", 10 + i);
        driver_wait(&stage.one, 10000);
    }
    driver_failover(&stage.one, 2);
    CHECK_TEXT("10", driver_times(&stage.one, "ann"));
    driver_wait(&stage.one, 1100000);
    CHECK_INT(1, (int64_t)driver_stats(&stage.one)->behind);
    CHECK_INT(0, stage.one.assigned_at[0]); /* the minimum: quiet shards lost their tick too */
    for (int i = 0; i < 3; i++)
        driver_event_at(&stage.one, 0, i, "ann", 2, "i1", 10 + i);
    driver_wait(&stage.one, 1100000);
    CHECK_TEXT("10 11 12", driver_times(&stage.one, "ann"));
    CHECK_INT(3, driver_m(&stage.one, 0, shard).state.counts[OUTCOME_APPLIED]);
    stage_end(&stage);
}

TEST(machine_notices_a_rollback_under_a_quiet_topic)
{
    struct stage stage;

    stage_begin(&stage, NULL);
    driver_assign(&stage.one, 0);
    driver_event(&stage.one, 0, "ann", 2, "i1", 10);
    driver_wait(&stage.one, 1100000);
    CHECK_INT(1, stage.one.group[0]);
    driver_failover(&stage.one, 4);
    driver_wait(&stage.one, 1100000); /* nothing is read, only the tick looks */
    CHECK_INT(1, (int64_t)driver_stats(&stage.one)->behind);
    stage_end(&stage);
}

TEST(machine_keeps_next_where_a_shard_is_ahead_of_what_is_read)
{
    struct stage stage;
    int shard = driver_shard("ann"), quiet = (shard + 1) % DRIVER_SHARDS;

    stage_begin(&stage, NULL);
    driver_assign(&stage.one, 0);
    for (int i = 0; i < 5; i++)
        driver_event(&stage.one, 0, "ann", 2, "i1", 10 + i);
    driver_wait(&stage.one, 10000); /* ann's shard stands at 5, the others at 0 */
    driver_assign(&stage.two, 0);
    CHECK_INT(0, stage.two.assigned_at[0]);
    driver_event_at(&stage.two, 0, 0, "ann", 2, "i1", 10); /* the others reach 1 */
    driver_event_at(&stage.two, 0, 1, "ann", 2, "i1", 11);
    driver_wait(&stage.two, 1100000);
    CHECK_INT(5, driver_m(&stage.two, 0, shard).state.next);
    CHECK_INT(5, driver_m(&stage.two, 0, shard).state.counts[OUTCOME_APPLIED]);
    CHECK_INT(2, driver_m(&stage.two, 0, quiet).state.next);
    CHECK_INT(2, stage.two.group[0]);
    stage_end(&stage);
}

TEST(machine_is_fenced_by_a_claim_between_watch_and_exec)
{
    struct stage stage;
    int shard = driver_shard("ann");

    stage_begin(&stage, NULL);
    driver_assign(&stage.one, 0);
    driver_event(&stage.one, 0, "ann", 2, "i1", 10);
    driver_send_exec(&stage.one, shard);
    driver_assign(&stage.two, 0); /* the old owner does not know yet */
    driver_settle(&stage.one);
    CHECK_TEXT("absent", driver_times(&stage.one, "ann"));
    CHECK_INT(1, (int64_t)driver_stats(&stage.one)->aborted);
    CHECK_INT(1, (int64_t)driver_stats(&stage.one)->fenced);
    driver_event_at(&stage.two, 0, 0, "ann", 2, "i1", 10);
    driver_wait(&stage.two, 1100000);
    CHECK_TEXT("10", driver_times(&stage.two, "ann"));
    CHECK_INT(1, driver_m(&stage.two, 0, shard).state.counts[OUTCOME_APPLIED]);
    stage_end(&stage);
}

TEST(machine_watches_again_after_a_claim_on_the_same_connection)
{
    struct stage stage;
    int shard = driver_shard("ann");

    stage_begin(&stage, NULL);
    driver_assign(&stage.one, 0);
    driver_wait(&stage.one, 1100000); /* every shard watches */
    driver_assign(&stage.one, 1);     /* the claim ends that */
    driver_assign(&stage.two, 0);     /* and now another owner claims partition 0 */
    driver_event(&stage.one, 0, "ann", 2, "i1", 10);
    driver_wait(&stage.one, 10000);
    CHECK_TEXT("absent", driver_times(&stage.one, "ann"));
    CHECK_INT(0, driver_m(&stage.two, 0, shard).state.next);
    stage_end(&stage);
}

/* Two partitions feed ann. One owns partition 0 and has her cached; two owns partition 1. */
static void take_over(struct stage *stage)
{
    stage_begin(stage, NULL);
    driver_assign(&stage->one, 0);
    driver_assign(&stage->two, 1);
    driver_event(&stage->one, 0, "ann", 2, "i1", 10);
    driver_wait(&stage->one, 10000);
    driver_event(&stage->two, 1, "ann", 2, "i2", 11);
    driver_wait(&stage->two, 10000);
    CHECK(driver_writer(&stage->two, "ann") == tp(1));
}

TEST(machine_stamps_the_old_writer_who_then_reads_again)
{
    struct stage stage;

    take_over(&stage);
    CHECK(driver_m(&stage.one, 0, driver_shard("ann")).stamp != 0);
    driver_event(&stage.one, 0, "ann", 2, "i3", 12);
    driver_wait(&stage.one, 10000);
    CHECK_TEXT("10 11 12", driver_times(&stage.one, "ann"));
    CHECK(driver_writer(&stage.one, "ann") == tp(0));
    CHECK(driver_m(&stage.one, 1, driver_shard("ann")).stamp != 0);
    CHECK_INT(1, (int64_t)driver_stats(&stage.one)->stamps_seen);
    stage_end(&stage);
}

/* Takeover, rollback, takeover again: a number that counts would stand where it stood before. */
TEST(machine_gives_another_stamp_after_a_rollback)
{
    struct stage stage;
    int shard = driver_shard("ann");
    uint64_t first;

    take_over(&stage);
    first = driver_m(&stage.one, 0, shard).stamp;
    driver_wait(&stage.one, 10000);
    CHECK_INT(1, store_model_rollback(&stage.node, 1)); /* the takeover never happened */
    for (int s = 0; s < DRIVER_SHARDS; s++) {
        machine_disconnected(stage.one.machine, s);
        machine_disconnected(stage.two.machine, s);
        driver_reconnect(&stage.one, s);
        driver_reconnect(&stage.two, s);
        stage.one.requests[s] = stage.two.requests[s] = NULL;
    }
    CHECK_INT(0, (int64_t)driver_m(&stage.one, 0, shard).stamp);
    driver_wait(&stage.two, 1100000); /* two is BEHIND, rewinds and does it again */
    CHECK_INT(1, (int64_t)driver_stats(&stage.two)->behind);
    driver_event_at(&stage.two, 1, 0, "ann", 2, "i2", 11);
    driver_wait(&stage.two, 10000);
    CHECK(driver_m(&stage.one, 0, shard).stamp != 0);
    CHECK(driver_m(&stage.one, 0, shard).stamp != first);
    driver_event(&stage.one, 0, "ann", 2, "i3", 12);
    driver_wait(&stage.one, 10000);
    CHECK_TEXT("10 11 12", driver_times(&stage.one, "ann"));
    stage_end(&stage);
}

/* A's record changes B's user, A moves away, a rollback loses it: B's `next` never moved. */
TEST(machine_moves_the_writer_with_every_change)
{
    struct stage stage;
    int shard = driver_shard("ann");

    take_over(&stage);
    driver_event(&stage.one, 0, "ann", 2, "i1", 10); /* a duplicate: reads, does not write */
    driver_wait(&stage.one, 10000);
    CHECK(driver_writer(&stage.one, "ann") == tp(1)); /* so one may not keep her */
    machine_revoked(stage.two.machine, 1);
    driver_assign(&stage.one, 1); /* the other partition moves to one */
    driver_event_at(&stage.one, 1, 0, "ann", 2, "i2", 11);
    driver_event_at(&stage.one, 1, 1, "ann", 2, "i2", 13);
    driver_wait(&stage.one, 10000);
    CHECK_TEXT("10 11 13", driver_times(&stage.one, "ann"));
    driver_failover(&stage.one, 1);
    CHECK_TEXT("10 11", driver_times(&stage.one, "ann"));
    driver_event(&stage.one, 0, "ann", 2, "i4", 14); /* partition 0 itself did not go back */
    driver_wait(&stage.one, 1100000);
    CHECK_INT(1, (int64_t)driver_stats(&stage.one)->behind);
    driver_event_at(&stage.one, 1, 0, "ann", 2, "i2", 11);
    driver_event_at(&stage.one, 1, 1, "ann", 2, "i2", 13);
    driver_wait(&stage.one, 1100000);
    CHECK_TEXT("10 11 13 14", driver_times(&stage.one, "ann"));
    CHECK_INT(2, driver_m(&stage.one, 1, shard).state.next);
    stage_end(&stage);
}

TEST(machine_aborts_when_an_uncached_user_changes_before_the_commit)
{
    struct stage stage;
    int shard = driver_shard("ann");

    stage_begin(&stage, NULL);
    driver_assign(&stage.one, 0);
    driver_assign(&stage.two, 1);
    driver_event(&stage.one, 0, "ann", 2, "i1", 10);
    driver_send_exec(&stage.one, shard); /* she was read, absent, and is watched */
    driver_event(&stage.two, 1, "ann", 2, "i2", 11);
    driver_wait(&stage.two, 10000);
    driver_settle(&stage.one);
    driver_wait(&stage.one, 10000);
    CHECK_TEXT("10 11", driver_times(&stage.one, "ann"));
    CHECK_INT(1, (int64_t)driver_stats(&stage.one)->aborted);
    stage_end(&stage);
}

TEST(machine_drops_cached_users_of_a_partition_it_claims_again)
{
    struct stage stage;

    stage_begin(&stage, NULL);
    driver_assign(&stage.one, 0);
    for (int i = 0; i < 4; i++)
        driver_event(&stage.one, 0, "ann", 2, "i1", 10 + i);
    driver_wait(&stage.one, 1100000);
    driver_assign(&stage.two, 0); /* two has it for a while */
    for (int i = 3; i < 6; i++)   /* the last one again, so that two knows the log */
        driver_event_at(&stage.two, 0, i, "ann", 2, "i1", 10 + i);
    driver_wait(&stage.two, 1100000);
    driver_assign(&stage.one, 0); /* and back, before one ever looked */
    driver_event_at(&stage.one, 0, 5, "ann", 2, "i1", 15);
    driver_event_at(&stage.one, 0, 6, "ann", 2, "i1", 16);
    driver_wait(&stage.one, 1100000);
    CHECK_TEXT("13 14 15 16", driver_times(&stage.one, "ann"));
    CHECK_INT(0, (int64_t)driver_stats(&stage.one)->fenced);
    stage_end(&stage);
}

TEST(machine_drops_records_of_an_older_assignment)
{
    struct stage stage;
    struct machine_record record = {.partition = 0, .offset = 900, .hash = driver_hash(900)};
    struct event event = {.kind = EVENT_ACTION,
                          .action = 2,
                          .user = text_of("ann"),
                          .item = text_of("i1"),
                          .time_ms = INT64_C(1700000900000)};
    struct error err;

    stage_begin(&stage, NULL);
    driver_assign(&stage.one, 0);
    driver_assign(&stage.one, 0); /* a second epoch */
    record.event = &event;
    record.epoch = 1;
    CHECK_STATUS(OK, machine_record(stage.one.machine, &record, &err));
    driver_event(&stage.one, 0, "ann", 2, "i1", 10);
    driver_wait(&stage.one, 10000);
    CHECK_TEXT("10", driver_times(&stage.one, "ann"));
    CHECK_INT(1, (int64_t)driver_stats(&stage.one)->skipped);
    stage_end(&stage);
}

TEST(machine_forgets_what_waits_when_a_partition_is_revoked)
{
    struct stage stage;
    int shard = driver_shard("ann");

    stage_begin(&stage, NULL);
    driver_assign(&stage.one, 0);
    driver_assign(&stage.one, 1);
    driver_event(&stage.one, 0, "ann", 2, "i1", 10);
    driver_event(&stage.one, 1, "ann", 2, "i2", 11);
    stage.one.now_us += 10;
    driver_take(&stage.one); /* watch */
    (void)driver_answer(&stage.one, shard);
    driver_take(&stage.one); /* users on the wire */
    CHECK(stage.one.requests[shard] != NULL && stage.one.requests[shard]->users_count == 1);
    machine_revoked(stage.one.machine, 0);
    driver_wait(&stage.one, 10000);
    CHECK_TEXT("11", driver_times(&stage.one, "ann"));
    CHECK_INT(0, driver_m(&stage.one, 0, shard).state.next);
    CHECK_INT(0, driver_stats(&stage.one)->backlog);
    stage_end(&stage);
}

TEST(machine_settles_a_commit_whose_partition_went_while_it_was_on_its_way)
{
    struct stage stage;
    int shard = driver_shard("ann");

    stage_begin(&stage, NULL);
    driver_assign(&stage.one, 0);
    driver_assign(&stage.one, 1);
    driver_event(&stage.one, 0, "ann", 2, "i1", 10);
    driver_event(&stage.one, 1, "ann", 2, "i2", 11);
    driver_send_exec(&stage.one, shard);
    machine_revoked(stage.one.machine, 0);
    driver_wait(&stage.one, 10000);
    driver_event(&stage.one, 1, "ann", 2, "i3", 12);
    driver_wait(&stage.one, 10000);
    CHECK_TEXT("10 11 12", driver_times(&stage.one, "ann"));
    CHECK_INT(1, driver_m(&stage.one, 0, shard).state.next);
    CHECK_INT(2, driver_m(&stage.one, 1, shard).state.next);
    stage_end(&stage);
}

TEST(machine_tries_again_after_a_refusal_and_backs_off)
{
    struct stage stage;
    int sent;

    stage_begin(&stage, NULL);
    driver_assign(&stage.one, 0);
    stage.node.refusing = true; /* OOM */
    driver_event(&stage.one, 0, "ann", 2, "i1", 10);
    for (int i = 0; i < 100; i++)
        driver_wait(&stage.one, 100000);
    sent = stage.one.sent[STORE_EXEC];
    CHECK(driver_stats(&stage.one)->refused >= 2);
    CHECK(sent < 60); /* 10 s: doubling up to 5 s, and the quiet shards' empty ticks */
    CHECK_TEXT("absent", driver_times(&stage.one, "ann"));
    stage.node.refusing = false;
    driver_wait(&stage.one, 10000000);
    CHECK_TEXT("10", driver_times(&stage.one, "ann"));
    CHECK_INT(1, driver_m(&stage.one, 0, driver_shard("ann")).state.counts[OUTCOME_APPLIED]);
    stage_end(&stage);
}

TEST(machine_makes_the_same_outbox_rows_again_after_a_rollback)
{
    struct stage stage;
    int shard = driver_shard("ann");
    const struct model_key *outbox;
    struct store_id ids[2];

    stage_begin(&stage, NULL);
    driver_assign(&stage.one, 0);
    driver_impression(&stage.one, 0, "ann", "r1", "i1", 10);
    driver_event(&stage.one, 0, "ann", 2, "i1", 11);
    driver_wait(&stage.one, 10000);
    outbox = store_model_find(&stage.node, MODEL_OUTBOX, shard, tp(0), (struct text){0});
    CHECK(outbox != NULL && outbox->now.rows_count == 2); /* shown, and its label */
    for (int i = 0; i < 2; i++)
        ids[i] = outbox->now.rows[i].id;
    driver_failover(&stage.one, 1);
    CHECK(store_model_find(&stage.node, MODEL_OUTBOX, shard, tp(0), (struct text){0}) == NULL);
    driver_wait(&stage.one, 1100000);
    stage.one.next[0] = 0;
    driver_impression(&stage.one, 0, "ann", "r1", "i1", 10);
    driver_wait(&stage.one, 10000); /* in two commits this time */
    driver_event(&stage.one, 0, "ann", 2, "i1", 11);
    driver_wait(&stage.one, 10000);
    outbox = store_model_find(&stage.node, MODEL_OUTBOX, shard, tp(0), (struct text){0});
    CHECK(outbox != NULL && outbox->now.rows_count == 2);
    for (int i = 0; i < 2; i++)
        CHECK_INT(0, store_id_compare(ids[i], outbox->now.rows[i].id));
    stage_end(&stage);
}
