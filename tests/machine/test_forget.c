/*
 * Tests machine/forget: what an erasure takes from the outboxes, what it leaves, and that it is
 * taken by the very EXEC that erases: an answer that is lost, an abort and a refusal in between
 * change nothing of it.
 */
#include "schemas/example.h"
#include "tests/support/machine_stage.h"
#include "tests/test.h"

#include <stdio.h>
#include <string.h>

static char other[32]; /* a user of ann's shard */

static void begin(struct stage *stage)
{
    stage_begin(stage, NULL);
    driver_assign(&stage->one, 0);
    driver_assign(&stage->one, 1);
    (void)snprintf(other, sizeof other, "%s", driver_user_in(driver_shard("ann"), 0));
}

static void show(struct stage *stage, int partition, const char *user, int n, int seconds)
{
    char request[16];

    (void)snprintf(request, sizeof request, "r%d", n);
    driver_impression(&stage->one, partition, user, request, "i1", seconds);
    driver_wait(&stage->one, 10000);
}

/* Kind of the row at that place of ann's outbox. */
static int kind_at(struct stage *stage, int partition, int row)
{
    struct model_key *key = store_model_find(&stage->node, MODEL_OUTBOX, driver_shard("ann"),
                                             user_value_writer(partition, 0), (struct text){0});

    CHECK(key != NULL && row < key->now.rows_count);
    return key->now.rows[row].bytes[1];
}

TEST(forget_takes_the_users_rows_of_every_partition_and_nobody_elses)
{
    struct stage stage;

    begin(&stage);
    show(&stage, 0, "ann", 1, 10);
    show(&stage, 0, other, 2, 11);
    show(&stage, 1, "ann", 3, 12);
    driver_event(&stage.one, 0, "ann", 2, "i1", 15); /* a label of the last list */
    driver_wait(&stage.one, 10000);
    CHECK_INT(3, driver_rows(&stage.one, 0, "ann"));
    CHECK_INT(1, driver_rows(&stage.one, 1, "ann"));
    driver_erase(&stage.one, 0, "ann", 20);
    driver_wait(&stage.one, 10000);
    CHECK_INT(2, driver_rows(&stage.one, 0, "ann")); /* the other's, and the erase record */
    CHECK_INT(EXAMPLE_SHOWN, kind_at(&stage, 0, 0));
    CHECK_INT(EXAMPLE_ERASE, kind_at(&stage, 0, 1));
    CHECK_INT(0, driver_rows(&stage.one, 1, "ann"));
    CHECK_TEXT("", driver_times(&stage.one, "ann"));
    stage_end(&stage);
}

TEST(forget_leaves_what_came_after_the_erasures_time)
{
    struct stage stage;

    begin(&stage);
    show(&stage, 0, "ann", 1, 10);
    show(&stage, 0, "ann", 2, 20);
    driver_erase(&stage.one, 0, "ann", 15);
    driver_wait(&stage.one, 10000);
    CHECK_INT(2, driver_rows(&stage.one, 0, "ann"));
    CHECK_INT(EXAMPLE_SHOWN, kind_at(&stage, 0, 0));
    stage_end(&stage);
}

TEST(forget_takes_a_later_list_whose_history_reaches_back)
{
    struct stage stage;

    begin(&stage);
    driver_event(&stage.one, 0, "ann", 1, "i1", 10);
    show(&stage, 0, "ann", 2, 20);
    CHECK_INT(1, driver_rows(&stage.one, 0, "ann"));
    driver_erase(&stage.one, 0, "ann", 10);
    driver_wait(&stage.one, 10000);
    CHECK_INT(1, driver_rows(&stage.one, 0, "ann"));
    CHECK_INT(EXAMPLE_ERASE, kind_at(&stage, 0, 0));
    stage_end(&stage);
}

TEST(forget_takes_what_its_own_batch_would_append)
{
    struct stage stage;

    begin(&stage);
    driver_impression(&stage.one, 0, "ann", "r1", "i1", 10);
    driver_impression(&stage.one, 0, other, "r2", "i1", 10);
    driver_erase(&stage.one, 0, "ann", 11);
    driver_impression(&stage.one, 0, "ann", "r3", "i1", 12);
    driver_wait(&stage.one, 10000);
    CHECK_INT(1, (int)driver_stats(&stage.one)->commits);
    CHECK_INT(3, driver_rows(&stage.one, 0, "ann"));
    CHECK_INT(EXAMPLE_SHOWN, kind_at(&stage, 0, 0)); /* the other's */
    CHECK_INT(EXAMPLE_ERASE, kind_at(&stage, 0, 1));
    CHECK_INT(EXAMPLE_SHOWN, kind_at(&stage, 0, 2));
    stage_end(&stage);
}

TEST(forget_reads_an_outbox_of_many_pages)
{
    struct stage stage;
    int rows = 2 * STORE_ROWS_MAX; /* the last page is full, so an empty one follows */

    begin(&stage);
    for (int i = 0; i < rows; i++)
        show(&stage, 0, i % 3 == 0 ? "ann" : other, i, 10 + i);
    CHECK_INT(rows, driver_rows(&stage.one, 0, "ann"));
    memset(stage.one.sent, 0, sizeof stage.one.sent);
    driver_erase(&stage.one, 0, "ann", 9999);
    driver_wait(&stage.one, 10000);
    CHECK_INT(rows - (rows + 2) / 3 + 1, driver_rows(&stage.one, 0, "ann"));
    CHECK_INT(3 + 1, stage.one.sent[STORE_ROWS]); /* of the other partition: one */
    stage_end(&stage);
}

TEST(forget_asks_for_no_rows_where_nobody_is_erased)
{
    struct stage stage;

    begin(&stage);
    show(&stage, 0, "ann", 1, 10);
    CHECK_INT(0, stage.one.sent[STORE_ROWS]);
    stage_end(&stage);
}

TEST(forget_survives_lost_answers_and_lost_pages)
{
    struct stage stage;
    int shard = driver_shard("ann");

    begin(&stage);
    show(&stage, 0, "ann", 1, 10);
    driver_erase(&stage.one, 0, "ann", 20);
    stage.one.now_us += 10;
    for (int i = 0;
         stage.one.requests[shard] == NULL || stage.one.requests[shard]->kind != STORE_ROWS; i++) {
        CHECK(i < 20);
        (void)driver_answer(&stage.one, shard);
        driver_take(&stage.one);
    }
    driver_lose_request(&stage.one, shard);
    driver_send_exec(&stage.one, shard);
    driver_lose_answer(&stage.one, shard);
    driver_wait(&stage.one, 10000000);
    CHECK_INT(1, driver_rows(&stage.one, 0, "ann"));
    CHECK_INT(EXAMPLE_ERASE, kind_at(&stage, 0, 0));
    CHECK_INT(0, (int)stage.node.append_errors);
    stage_end(&stage);
}

TEST(forget_leaves_the_rows_of_a_user_whose_value_is_unusable)
{
    struct stage stage;
    int shard = driver_shard("ann");

    begin(&stage);
    show(&stage, 0, "ann", 1, 10);
    store_model_plant(&stage.node, shard, text_of("ann"), NULL, 0);
    machine_revoked(stage.one.machine, 0); /* so that the value is read again */
    driver_assign(&stage.one, 0);
    stage.one.next[0] = stage.one.assigned_at[0];
    show(&stage, 0, "ann", 1, 10); /* the last record is looked at once more */
    driver_erase(&stage.one, 0, "ann", 20);
    driver_wait(&stage.one, 1000000);
    CHECK_INT(1, driver_rows(&stage.one, 0, "ann"));
    CHECK_INT(1, driver_count(&stage.one, COMMAND_LETTER));
    stage_end(&stage);
}
