/*
 * Tests machine/machine: the interleavings that broke earlier wordings of the protocol, each by the
 * name it had in the prototype in which it was found (`set` and `mut` of its options).
 *
 *     own=process      machine_stamps_a_partition_of_its_own_too
 *     ahead=keep       machine_forgets_the_cache_when_a_delayed_commit_of_its_own_came_through
 *     applied=install  machine_finds_a_commit_applied_whose_answer_was_lost
 *     rebatch          machine_makes_a_larger_batch_after_a_lost_answer
 *     to=pos           machine_keeps_next_where_a_shard_is_ahead_of_what_is_read
 *     conn=shared      machine_watches_again_before_another_claim_is_answered_everywhere
 *     claim=keep       machine_drops_cached_users_of_a_partition_it_claims_again
 *     watch=0          machine_aborts_when_an_uncached_user_changes_before_the_commit
 *     nil=ignore       machine_is_fenced_by_a_claim_between_watch_and_exec
 *     stamp=none       machine_stamps_the_old_writer_who_then_reads_again
 *     stamp=counted    machine_gives_another_stamp_after_a_rollback
 *     writer=first     machine_moves_the_writer_with_every_change
 *     margin=0         machine_reads_again_what_may_expire_and_renews_an_eighth
 *     token=counted    machine_draws_another_token_for_every_claim
 *     token=none       machine_is_fenced_by_a_claim_between_watch_and_exec
 *     behind=adopt     machine_rewinds_after_a_rollback_and_never_adopts_it
 *     advance=blind    machine_notices_a_rollback_under_a_quiet_topic
 *     tick=behind      machine_moves_quiet_shards_with_the_tick
 *     wm=max           machine_reads_with_the_watermark_of_the_shard_that_is_least_far
 *     origin=kafka     machine_begins_at_the_minimum_and_not_at_the_groups_offset
 *     start=refuse     machine_reads_again_from_the_start_where_a_shard_lost_everything
 *     cas=0            machine_lets_only_one_of_a_delayed_and_a_repeated_commit_through
 *     ids=clock        machine_makes_the_same_outbox_rows_again_after_a_rollback
 *     coalesce=1       machine_emits_a_label_of_the_same_batch_as_a_row_of_its_own
 *     trainer=highest  examples_unite_in_any_order_and_any_number (tests/retrain)
 *     erase=replace    rules_erase_forgets_up_to_its_time_and_keeps_the_later (tests/features)
 *     early=sequence   rules_labels_that_name_their_request_do_not_depend_on_order (tests/features)
 *
 * droptime=send cannot happen here: while a claim is on its way nothing else is, in that shard.
 * items and version were of wordings without item counts outside of Redis, and with a version in
 * every value; xkey is one expression of the relay. Those not below stand in test_machine_claims.c,
 * test_machine_commits.c and test_machine_failures.c.
 */
#include "tests/support/machine_stage.h"
#include "tests/test.h"

#include <string.h>

/* Whoever changes the writer stamps the m of the old one, also when both are its own. */
TEST(machine_stamps_a_partition_of_its_own_too)
{
    struct stage stage;
    int shard = driver_shard("ann");

    stage_begin(&stage, NULL);
    driver_assign(&stage.one, 0);
    driver_assign(&stage.one, 1);
    driver_event(&stage.one, 0, "ann", 2, "i1", 10);
    driver_wait(&stage.one, 10000);
    CHECK(driver_m(&stage.one, 0, shard).stamp == 0);
    driver_event(&stage.one, 1, "ann", 2, "i2", 11);
    driver_wait(&stage.one, 10000);
    CHECK(driver_m(&stage.one, 0, shard).stamp != 0);
    CHECK(driver_m(&stage.one, 1, shard).stamp == 0);
    CHECK_INT(0, (int64_t)driver_stats(&stage.one)->stamps_seen); /* it knows its own */
    driver_event(&stage.one, 0, "ann", 2, "i3", 12);
    driver_wait(&stage.one, 10000);
    CHECK_TEXT("10 11 12", driver_times(&stage.one, "ann"));
    stage_end(&stage);
}

/* The answer is lost before the commit is carried out, it is looked at and planned again, and only
 * then the first one arrives: `next` is ahead, and what it wrote is not in the cache. */
TEST(machine_forgets_the_cache_when_a_delayed_commit_of_its_own_came_through)
{
    struct stage stage;
    int shard = driver_shard("ann");
    struct store_request *delayed;
    struct model_connection old;
    struct store_reply reply;

    stage_begin(&stage, NULL);
    driver_assign(&stage.one, 0);
    for (int i = 0; i < 4; i++)
        driver_event(&stage.one, 0, "ann", 2, "i1", 10 + i);
    driver_wait(&stage.one, 10000);
    driver_event(&stage.one, 0, "ann", 2, "i1", 20);
    driver_send_exec(&stage.one, shard);
    delayed = stage.one.requests[shard];
    old = stage.one.connections[shard];
    driver_lose_request(&stage.one, shard);
    driver_send_exec(&stage.one, shard); /* the same again, on what it saw just now */
    store_model_run(&stage.node, &old, delayed, &reply);
    CHECK_INT(STORE_OK, reply.result);
    driver_event(&stage.one, 0, "ann", 2, "i1", 21);
    driver_wait(&stage.one, 10000);
    CHECK_INT(1, (int64_t)driver_stats(&stage.one)->aborted);
    CHECK_INT(1, (int64_t)driver_stats(&stage.one)->ahead);
    CHECK_TEXT("12 13 20 21", driver_times(&stage.one, "ann"));
    CHECK_INT(6, driver_m(&stage.one, 0, shard).state.counts[OUTCOME_APPLIED]);
    stage_end(&stage);
}

/* The batch that is made anew after a lost answer holds more: only what is not applied counts. */
TEST(machine_makes_a_larger_batch_after_a_lost_answer)
{
    struct stage stage;
    int shard = driver_shard("ann");

    for (int carried_out = 0; carried_out < 2; carried_out++) {
        stage_begin(&stage, NULL);
        driver_assign(&stage.one, 0);
        driver_event(&stage.one, 0, "ann", 2, "i1", 10);
        driver_send_exec(&stage.one, shard);
        driver_event(&stage.one, 0, "ann", 2, "i1", 11);
        driver_event(&stage.one, 0, "ann", 2, "i1", 12);
        if (carried_out)
            driver_lose_answer(&stage.one, shard);
        else
            driver_lose_request(&stage.one, shard);
        driver_wait(&stage.one, 10000);
        CHECK_TEXT("10 11 12", driver_times(&stage.one, "ann"));
        CHECK_INT(3, driver_m(&stage.one, 0, shard).state.counts[OUTCOME_APPLIED]);
        CHECK_INT(3, driver_m(&stage.one, 0, shard).state.next);
        CHECK_INT(carried_out, (int64_t)driver_stats(&stage.one)->applied_unseen);
        stage_end(&stage);
    }
}

/* A claim of one partition ends the watch of another on the same connection. Until the claim is
 * answered everywhere nothing else tells: the membership has not changed yet. */
TEST(machine_watches_again_before_another_claim_is_answered_everywhere)
{
    struct stage stage;
    int shard = driver_shard("ann");
    struct error err;

    stage_begin(&stage, NULL);
    driver_assign(&stage.one, 0);
    driver_wait(&stage.one, 1100000); /* every shard watches */
    CHECK_STATUS(OK, machine_assigned(stage.one.machine, 1, 0, &err));
    driver_take(&stage.one);
    CHECK(stage.one.requests[shard]->kind == STORE_CLAIM);
    CHECK(driver_answer(&stage.one, shard)); /* in this shard alone */
    driver_assign(&stage.two, 0);            /* now another owner claims partition 0 */
    driver_event(&stage.one, 0, "ann", 2, "i1", 10);
    for (int i = 0; i < 6; i++) {
        stage.one.now_us += 10;
        driver_take(&stage.one);
        (void)driver_answer(&stage.one, shard);
    }
    CHECK_TEXT("absent", driver_times(&stage.one, "ann"));
    CHECK_INT(0, driver_m(&stage.two, 0, shard).state.next);
    CHECK_INT(1, (int64_t)driver_stats(&stage.one)->fenced);
    stage_end(&stage);
}

TEST(machine_draws_another_token_for_every_claim)
{
    struct stage stage;
    uint8_t tokens[3][STORE_TOKEN_BYTES];

    stage_begin(&stage, NULL);
    for (int i = 0; i < 3; i++) {
        driver_assign(i == 1 ? &stage.two : &stage.one, 0);
        memcpy(tokens[i], driver_m(&stage.one, 0, 1).token, STORE_TOKEN_BYTES);
        for (int s = 0; s < DRIVER_SHARDS; s++)
            CHECK(memcmp(tokens[i], driver_m(&stage.one, 0, s).token, STORE_TOKEN_BYTES) == 0);
    }
    CHECK(memcmp(tokens[0], tokens[1], STORE_TOKEN_BYTES) != 0);
    CHECK(memcmp(tokens[0], tokens[2], STORE_TOKEN_BYTES) != 0);
    CHECK(memcmp(tokens[1], tokens[2], STORE_TOKEN_BYTES) != 0);
    stage_end(&stage);
}

/* Another owner has claimed a shard but written nothing yet: its `next` is not ours to write. */
TEST(machine_does_not_write_the_first_next_under_anothers_token)
{
    struct stage stage;
    struct error err;

    stage_begin(&stage, NULL);
    CHECK_STATUS(OK, machine_assigned(stage.one.machine, 0, 0, &err));
    for (int i = 0; i < 2; i++) { /* claims, start */
        driver_take(&stage.one);
        for (int s = 0; s < DRIVER_SHARDS; s++)
            (void)driver_answer(&stage.one, s);
    }
    driver_take(&stage.one);
    CHECK(stage.one.requests[1] != NULL && stage.one.requests[1]->kind == STORE_READ);
    CHECK_STATUS(OK, machine_assigned(stage.two.machine, 0, 0, &err));
    driver_take(&stage.two);
    for (int s = 0; s < DRIVER_SHARDS; s++)
        CHECK(driver_answer(&stage.two, s));
    driver_settle(&stage.one);
    for (int s = 0; s < DRIVER_SHARDS; s++)
        CHECK_INT(-1, driver_m(&stage.one, 0, s).state.next);
    CHECK_INT(1, (int64_t)driver_stats(&stage.one)->fenced);
    driver_settle(&stage.two);
    CHECK_INT(0, stage.two.assigned_at[0]);
    stage_end(&stage);
}

/* One shard is far ahead, with a late watermark; the record that the others still need is old by
 * that, but not by the watermark at its own offset. */
TEST(machine_reads_with_the_watermark_of_the_shard_that_is_least_far)
{
    struct stage stage;
    int behind = 0, ahead = DRIVER_SHARDS - 1;

    stage_begin(&stage, NULL);
    driver_assign(&stage.one, 0);
    machine_disconnected(stage.one.machine, behind);
    driver_event(&stage.one, 0, driver_user_in(behind, 0), 2, "i1", 10);
    driver_event(&stage.one, 0, driver_user_in(ahead, 0), 2, "i1", 100);
    driver_wait(&stage.one, 10000);
    CHECK_INT(0, driver_m(&stage.one, 0, behind).state.next);
    CHECK_INT(2, driver_m(&stage.one, 0, ahead).state.next);
    CHECK_INT(INT64_C(1700000100000), driver_m(&stage.one, 0, ahead).state.watermark_ms);

    driver_assign(&stage.two, 0);
    CHECK_INT(0, stage.two.assigned_at[0]);
    driver_event_at(&stage.two, 0, 0, driver_user_in(behind, 0), 2, "i1", 10);
    driver_event_at(&stage.two, 0, 1, driver_user_in(ahead, 0), 2, "i1", 100);
    driver_wait(&stage.two, 10000);
    CHECK_TEXT("10", driver_times(&stage.two, driver_user_in(behind, 0)));
    CHECK_INT(1, driver_m(&stage.two, 0, behind).state.counts[OUTCOME_APPLIED]);
    CHECK_INT(0, driver_m(&stage.two, 0, behind).state.counts[OUTCOME_DROPPED]);
    CHECK_INT(1, driver_m(&stage.two, 0, ahead).state.counts[OUTCOME_APPLIED]);
    stage_end(&stage);
}

/* What a row holds must not depend on where a batch ended, for that is another after a rollback. */
TEST(machine_emits_a_label_of_the_same_batch_as_a_row_of_its_own)
{
    struct stage stage;

    for (int together = 0; together < 2; together++) {
        stage_begin(&stage, NULL);
        driver_assign(&stage.one, 0);
        driver_impression(&stage.one, 0, "ann", "r1", "i1", 10);
        if (!together)
            driver_wait(&stage.one, 10000);
        driver_event(&stage.one, 0, "ann", 2, "i1", 11);
        driver_wait(&stage.one, 10000);
        CHECK_INT(2, driver_rows(&stage.one, 0, "ann"));
        stage_end(&stage);
    }
}

/* A commit that stands, though what should have been read behind it is missing. */
TEST(machine_looks_again_when_the_read_behind_a_commit_failed)
{
    struct stage stage;
    int shard = driver_shard("ann"), reads;
    struct store_reply reply;

    stage_begin(&stage, NULL);
    driver_assign(&stage.one, 0);
    driver_event(&stage.one, 0, "ann", 2, "i1", 10);
    driver_send_exec(&stage.one, shard);
    store_model_run(&stage.node, &stage.one.connections[shard], stage.one.requests[shard], &reply);
    reply.ms_count = 0;
    stage.one.requests[shard] = NULL;
    reads = stage.one.sent[STORE_READ];
    machine_reply(stage.one.machine, shard, &reply);
    driver_event(&stage.one, 0, "ann", 2, "i1", 11);
    driver_wait(&stage.one, 10000);
    CHECK_INT(reads + 1, stage.one.sent[STORE_READ]);
    CHECK_TEXT("10 11", driver_times(&stage.one, "ann"));
    CHECK_INT(2, driver_m(&stage.one, 0, shard).state.counts[OUTCOME_APPLIED]);
    stage_end(&stage);
}

/* The one loss that cannot be seen (machine/README.md, limits): a key deleted by hand, a patch of
 * what is not there, and nobody hears its length. The user's next events wait as letters. */
TEST(machine_quarantines_a_value_whose_loss_a_lost_answer_hid)
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
    store_model_delete(&stage.node,
                       store_model_find(&stage.node, MODEL_USER, shard, 0, text_of("ann")));
    driver_lose_answer(&stage.one, shard);
    driver_event(&stage.one, 0, "ann", 2, "i1", 21);
    driver_wait(&stage.one, 10000);
    CHECK_TEXT("corrupt", driver_times(&stage.one, "ann"));
    CHECK_INT(REFUSAL_QUARANTINED, driver_last(&stage.one, COMMAND_LETTER)->letter.refusal);
    CHECK_INT(5, driver_last(&stage.one, COMMAND_LETTER)->letter.offset);
    CHECK_INT(1, driver_m(&stage.one, 0, shard).state.counts[OUTCOME_DEAD]);
    CHECK_INT(6, driver_m(&stage.one, 0, shard).state.next);
    stage_end(&stage);
}
