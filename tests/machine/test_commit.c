/*
 * Tests machine/commit, machine/claims and machine/turns where an answer gets lost at a place that
 * the schedules of test_machine_*.c do not name.
 */
#include "tests/support/machine_stage.h"
#include "tests/test.h"

#include <string.h>

/* All but what fails: answers everything until such a request of that shard is on the wire. */
static void run_until(struct driver *driver, int shard, enum store_kind kind)
{
    for (int i = 0; i < 50; i++) {
        driver->now_us += 10;
        driver_take(driver);
        if (driver->requests[shard] != NULL && driver->requests[shard]->kind == kind)
            return;
        for (int s = 0; s < DRIVER_SHARDS; s++)
            (void)driver_answer(driver, s);
    }
    CHECK(!"no such request came");
}

/* ---- claims ---- */

/* Whichever request of a first claim is lost, carried out or not: it is asked for again, and what
 * an earlier try has done is found. */
TEST(claims_ask_again_for_whatever_was_lost)
{
    static const enum store_kind kinds[] = {STORE_CLAIM, STORE_START, STORE_READ, STORE_EXEC};

    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++)
        for (int carried_out = 0; carried_out < 2; carried_out++) {
            int shard = kinds[k] == STORE_START ? 0 : 1;
            struct stage stage;
            struct error err;

            stage_begin(&stage, NULL);
            CHECK_STATUS(OK, machine_assigned(stage.one.machine, 0, 0, &err));
            machine_polled(stage.one.machine);
            run_until(&stage.one, shard, kinds[k]);
            CHECK_INT(-1, stage.one.assigned_at[0]);
            if (carried_out)
                driver_lose_answer(&stage.one, shard);
            else
                driver_lose_request(&stage.one, shard);
            driver_wait(&stage.one, 10000);
            CHECK_INT(0, stage.one.assigned_at[0]);
            CHECK_INT(1, (int64_t)driver_stats(&stage.one)->lost);
            CHECK_INT(1, (int64_t)driver_stats(&stage.one)->claims);
            for (int s = 0; s < DRIVER_SHARDS; s++)
                CHECK_INT(0, driver_m(&stage.one, 0, s).state.next);
            driver_event(&stage.one, 0, "ann", 2, "i1", 10);
            driver_wait(&stage.one, 10000);
            CHECK_TEXT("10", driver_times(&stage.one, "ann"));
            stage_end(&stage);
        }
}

/* ---- commits ---- */

TEST(commit_stops_a_partition_whose_m_is_damaged_while_it_is_read)
{
    struct stage stage;
    struct model_key *m;

    stage_begin(&stage, NULL);
    driver_assign(&stage.one, 0);
    driver_assign(&stage.one, 1);
    driver_event(&stage.one, 0, "ann", 2, "i1", 10);
    driver_wait(&stage.one, 1100000);
    m = store_model_find(&stage.node, MODEL_M, 2, user_value_writer(0, 0), (struct text){0});
    CHECK(m != NULL);
    store_model_damage(&stage.node, m);
    driver_wait(&stage.one, 1100000); /* by the tick: its shard has nothing to do */
    CHECK_INT(1, driver_count(&stage.one, COMMAND_STOP));
    CHECK_INT(STOP_STATE_DAMAGED, driver_last(&stage.one, COMMAND_STOP)->reason);
    CHECK_INT(0, driver_last(&stage.one, COMMAND_STOP)->partition);
    driver_event(&stage.one, 1, "ann", 2, "i2", 11); /* the other one goes on */
    driver_wait(&stage.one, 10000);
    CHECK_TEXT("10 11", driver_times(&stage.one, "ann"));
    stage_end(&stage);
}

/* m as it is, written again: ends a watch and says nothing. */
static void touch_m(struct stage *stage, int shard)
{
    struct model_connection connection = {.epoch = stage->node.epoch};
    struct store_m_write m = {.tp = user_value_writer(0, 0),
                              .has_state = true,
                              .state = driver_m(&stage->one, 0, shard).state};
    struct store_request request = {.kind = STORE_EXEC, .shard = shard, .ms = &m, .ms_count = 1};
    struct store_reply reply;

    store_model_run(&stage->node, &connection, &request, &reply);
    CHECK_INT(STORE_OK, reply.result);
}

TEST(commit_repairs_again_after_an_abort_a_lost_request_and_a_lost_answer)
{
    for (int fault = 0; fault < 3; fault++) {
        struct stage stage;
        int shard = driver_shard("ann");

        stage_begin(&stage, NULL);
        driver_assign(&stage.one, 0);
        for (int i = 0; i < 4; i++)
            driver_event(&stage.one, 0, "ann", 2, "i1", 10 + i);
        driver_wait(&stage.one, 10000);
        store_model_delete(&stage.node,
                           store_model_find(&stage.node, MODEL_USER, shard, 0, text_of("ann")));
        driver_event(&stage.one, 0, "ann", 2, "i1", 20);
        driver_send_exec(&stage.one, shard); /* patches what is not there */
        CHECK(driver_answer(&stage.one, shard));
        driver_take(&stage.one); /* the repair */
        CHECK(stage.one.requests[shard] != NULL && stage.one.requests[shard]->writes_count == 1 &&
              stage.one.requests[shard]->writes[0].whole);
        if (fault == 0)
            touch_m(&stage, shard);
        else if (fault == 1)
            driver_lose_request(&stage.one, shard);
        else
            driver_lose_answer(&stage.one, shard);
        driver_wait(&stage.one, 10000);
        CHECK_TEXT("11 12 13 20", driver_times(&stage.one, "ann"));
        CHECK_INT(fault == 0, (int64_t)driver_stats(&stage.one)->aborted);
        CHECK_INT(1, (int64_t)driver_stats(&stage.one)->repaired);
        CHECK_INT(5, driver_m(&stage.one, 0, shard).state.counts[OUTCOME_APPLIED]);
        stage_end(&stage);
    }
}

/* ---- turns ---- */

TEST(turns_ask_for_a_trim_again_whose_answer_was_lost)
{
    for (int carried_out = 0; carried_out < 2; carried_out++) {
        struct stage stage;
        int shard = driver_shard("ann");
        struct model_key *outbox;
        struct store_id id;

        stage_begin(&stage, NULL);
        driver_assign(&stage.one, 0);
        driver_impression(&stage.one, 0, "ann", "r1", "i1", 10);
        driver_impression(&stage.one, 0, "ann", "r2", "i1", 11);
        driver_wait(&stage.one, 10000);
        outbox = store_model_find(&stage.node, MODEL_OUTBOX, shard, user_value_writer(0, 0),
                                  (struct text){0});
        CHECK_INT(2, outbox->now.rows_count);
        id = outbox->now.rows[0].id;
        CHECK(machine_trim(stage.one.machine, 0, shard, &id, 1));
        run_until(&stage.one, shard, STORE_TRIM);
        if (carried_out)
            driver_lose_answer(&stage.one, shard);
        else
            driver_lose_request(&stage.one, shard);
        driver_wait(&stage.one, 10000);
        CHECK_INT(2, stage.one.sent[STORE_TRIM]);
        CHECK_INT(1, driver_rows(&stage.one, 0, "ann"));
        stage_end(&stage);
    }
}
