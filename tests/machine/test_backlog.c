/*
 * Tests machine/backlog: copies that outlive what they were copied from, and memory that comes
 * back.
 */
#include "machine/backlog.h"

#include "tests/test.h"

#include <stdlib.h>
#include <string.h>

static struct record *add_action(struct backlog *backlog, int shard, int64_t offset, char *scratch)
{
    struct event event = {.kind = EVENT_ACTION,
                          .action = 2,
                          .time_ms = 77,
                          .user = {scratch, 3},
                          .item = {scratch + 3, 4},
                          .request_id = {scratch + 7, 1}};
    struct machine_record record = {
        .offset = offset, .event = &event, .timestamp_ms = 5, .value = {scratch, 8}};

    return backlog_add(backlog, shard, &record);
}

TEST(backlog_copies_all_that_an_event_points_to)
{
    char scratch[] = "annitemrxyz";
    struct text rows[] = {{scratch, 3}, {scratch + 3, 4}, {scratch, 0}};
    struct event shown = {.kind = EVENT_IMPRESSION,
                          .user = {scratch, 3},
                          .rows = rows,
                          .rows_count = 3,
                          .trace = {scratch + 8, 3}};
    struct machine_record record = {.offset = 9, .event = &shown, .value = {scratch, 11}};
    struct backlog backlog;
    struct record *action, *impression;
    struct error err;

    CHECK_STATUS(OK, backlog_init(&backlog, 2, 4096, &err));
    action = add_action(&backlog, 0, 8, scratch);
    impression = backlog_add(&backlog, 1, &record);
    CHECK(action != NULL && impression != NULL);
    memset(scratch, '#', sizeof scratch);
    memset(rows, 0, sizeof rows);

    CHECK(text_equal(action->event.user, text_of("ann")));
    CHECK(text_equal(action->event.item, text_of("item")));
    CHECK(text_equal(action->event.request_id, text_of("r")));
    CHECK(text_equal(action->head, text_of("annitemr")));
    CHECK(action->event.rows == NULL && action->letter == 0 && action->next == NULL);
    CHECK_INT(3, impression->event.rows_count);
    CHECK(text_equal(impression->event.rows[1], text_of("item")));
    CHECK_INT(0, (int64_t)impression->event.rows[2].bytes);
    CHECK(text_equal(impression->event.trace, text_of("xyz")));
    CHECK_INT(2, backlog.records);
    backlog_clear(&backlog);
}

TEST(backlog_takes_a_record_larger_than_its_blocks)
{
    size_t bytes = 100000;
    char *trace = malloc(bytes);
    struct event shown = {.kind = EVENT_IMPRESSION, .user = text_of("u")};
    struct machine_record record = {.event = &shown, .value = {trace, bytes}};
    struct backlog backlog;
    struct record *kept;
    struct error err;

    CHECK(trace != NULL);
    memset(trace, 't', bytes);
    shown.trace = (struct text){trace, bytes};
    CHECK_STATUS(OK, backlog_init(&backlog, 1, 4096, &err));
    kept = backlog_add(&backlog, 0, &record);
    CHECK(kept != NULL && text_equal(kept->event.trace, shown.trace));
    CHECK_INT(MACHINE_LETTER_BYTES, (int64_t)kept->head.bytes); /* only the head of the raw one */
    CHECK_INT((int64_t)bytes, (int64_t)kept->raw_bytes);
    backlog_drop(&backlog, kept);
    CHECK_INT(0, backlog.records);
    CHECK_INT(0, backlog.bytes);
    free(trace);
    backlog_clear(&backlog);
}

TEST(backlog_keeps_a_record_that_is_no_event)
{
    struct machine_record record = {.refusal = REFUSAL_NOT_JSON, .value = text_of("{oops")};
    struct machine_record tombstone = {.refusal = REFUSAL_TOMBSTONE};
    struct backlog backlog;
    struct record *kept;
    struct error err;

    CHECK_STATUS(OK, backlog_init(&backlog, 1, 4096, &err));
    kept = backlog_add(&backlog, 0, &record);
    CHECK(kept != NULL && text_equal(kept->head, text_of("{oops")));
    kept = backlog_add(&backlog, 0, &tombstone);
    CHECK(kept != NULL && kept->head.bytes == 0 && kept->refusal == REFUSAL_TOMBSTONE);
    backlog_clear(&backlog);
}

TEST(backlog_uses_blocks_again_while_one_shard_hangs)
{
    char scratch[] = "annitemr";
    struct backlog backlog;
    struct record *stuck;
    struct error err;
    struct record_queue queue = {0};

    CHECK_STATUS(OK, backlog_init(&backlog, 2, 4096, &err));
    stuck = add_action(&backlog, 0, 1, scratch);
    for (int64_t i = 0; i < 100000; i++) {
        record_queue_add(&queue, add_action(&backlog, 1, i, scratch));
        if (queue.count == 100)
            backlog_drop(&backlog, record_queue_take(&queue));
    }
    CHECK(backlog.free_count <= 4); /* what circulates, not a block for every 10 records */
    CHECK_INT(100, backlog.records);
    CHECK(text_equal(stuck->event.user, text_of("ann")));
    for (int64_t want = 100000 - 99; queue.count > 0; want++) {
        struct record *record = record_queue_take(&queue);
        CHECK_INT(want, record->offset);
        backlog_drop(&backlog, record);
    }
    CHECK(record_queue_take(&queue) == NULL && queue.last == NULL);
    backlog_clear(&backlog);
    backlog_clear(&backlog); /* again is fine */
}
