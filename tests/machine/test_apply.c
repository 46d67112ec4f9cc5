/*
 * Tests machine/apply where one batch holds more than the other tests give it: rows of two
 * partitions by the dozen, and a value that only decoding shows to be none.
 */
#include "ops/arena.h"
#include "schemas/user_value.h"
#include "tests/support/machine_stage.h"
#include "tests/test.h"

#include <stdio.h>
#include <string.h>

#define ROWS 40 /* more than the first room for them, in one batch */

static const struct model_content *outbox_of(struct stage *stage, int partition, int shard)
{
    struct model_key *key = store_model_find(&stage->node, MODEL_OUTBOX, shard,
                                             user_value_writer(partition, 0), (struct text){0});

    CHECK(key != NULL);
    return &key->now;
}

/* Users are applied one after the other, so rows come by user; streams take them by rising id. */
TEST(apply_emits_many_rows_of_two_partitions_by_rising_ids)
{
    struct stage stage;
    int shard = driver_shard("ann");
    const char *other = driver_user_in(shard, 0);
    char request[16];

    stage_begin(&stage, NULL);
    driver_assign(&stage.one, 0);
    driver_assign(&stage.one, 1);
    for (int i = 0; i < ROWS; i++) {
        (void)snprintf(request, sizeof request, "r%d", i);
        driver_impression(&stage.one, i % 2, i % 4 < 2 ? "ann" : other, request, "i1", 10 + i);
    }
    driver_wait(&stage.one, 10000);
    CHECK_INT(1, (int64_t)driver_stats(&stage.one)->commits);
    for (int p = 0; p < 2; p++) {
        const struct model_content *outbox = outbox_of(&stage, p, shard);

        CHECK_INT(ROWS / 2, outbox->rows_count);
        for (int i = 0; i < outbox->rows_count; i++)
            CHECK_INT(i + 1, (int64_t)outbox->rows[i].id.high);
    }
    CHECK_INT(0, (int64_t)stage.node.append_errors);
    stage_end(&stage);
}

/* One byte of a stored value is changed so that its header is still good and the whole is not. */
static uint8_t *spoil(struct stage *stage, const struct model_key *key)
{
    struct user_value *value = arena_alloc(stage->arena, sizeof *value);
    uint8_t *bytes = arena_copy(stage->arena, key->now.bytes, key->now.bytes_count);
    struct user_header header;
    struct error err;

    for (size_t i = 0; i < key->now.bytes_count; i++) {
        uint8_t was = bytes[i];

        for (int change = 1; change < 256; change++) {
            bytes[i] = (uint8_t)(was ^ change);
            if (user_value_header(&header, bytes, key->now.bytes_count) &&
                header.writer == user_value_writer(0, 0) &&
                user_value_decode(value, bytes, key->now.bytes_count, stage->arena, &err) != OK)
                return bytes;
        }
        bytes[i] = was;
    }
    CHECK(!"no byte spoils it");
    return NULL;
}

TEST(apply_quarantines_a_value_that_only_decoding_shows_to_be_none)
{
    struct stage stage;
    int shard = driver_shard("ann");
    struct model_key *key;
    const uint8_t *spoilt;
    size_t bytes;

    stage_begin(&stage, NULL);
    driver_assign(&stage.one, 0);
    for (int i = 0; i < 3; i++)
        driver_event(&stage.one, 0, "ann", 2, "i1", 10 + i);
    driver_wait(&stage.one, 10000);
    key = store_model_find(&stage.node, MODEL_USER, shard, 0, text_of("ann"));
    bytes = key->now.bytes_count;
    spoilt = spoil(&stage, key);
    store_model_plant(&stage.node, shard, text_of("ann"), spoilt, bytes);
    driver_assign(&stage.one, 0); /* nothing is cached now */
    driver_event_at(&stage.one, 0, 2, "ann", 2, "i1", 12);
    driver_impression(&stage.one, 0, "ann", "r1", "i1", 20); /* needs all of the value */
    driver_wait(&stage.one, 10000);
    CHECK_INT(1, (int64_t)driver_stats(&stage.one)->quarantined);
    CHECK_INT(1, driver_count(&stage.one, COMMAND_LETTER));
    CHECK_INT(REFUSAL_QUARANTINED, driver_last(&stage.one, COMMAND_LETTER)->letter.refusal);
    CHECK_INT(1, driver_m(&stage.one, 0, shard).state.counts[OUTCOME_DEAD]);
    CHECK_INT(4, driver_m(&stage.one, 0, shard).state.next);
    key = store_model_find(&stage.node, MODEL_USER, shard, 0, text_of("ann"));
    CHECK(memcmp(key->now.bytes, spoilt, bytes) == 0); /* as it was found */
    CHECK_INT(0, driver_rows(&stage.one, 0, "ann"));
    stage_end(&stage);
}
