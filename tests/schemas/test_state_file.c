/*
 * Tests schemas/state_file: what was put comes back; every truncation and every flipped byte is
 * refused; counts that cannot be true are.
 */
#include "schemas/state_file.h"

#include "ops/file.h"
#include "tests/test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct error err;
static char path[128];

static void write_some(size_t padding)
{
    struct state_file *state;

    (void)snprintf(path, sizeof path, "%s/state", test_folder());
    CHECK_STATUS(OK, state_file_begin(&state, path, &err));
    state_file_put_u64(state, 7);
    state_file_put_u8(state, 200);
    state_file_put_u32(state, 4000000000u);
    state_file_put_real(state, -.1);
    for (size_t i = 0; i < padding; i++)
        state_file_put_u8(state, (uint8_t)i);
    CHECK_STATUS(OK, state_file_commit(state, &err));
}

static enum status open_and_close(void)
{
    struct state_file *state;
    enum status status = state_file_open(&state, path, &err);

    if (status == OK)
        state_file_close(state);
    else
        CHECK(state == NULL);
    return status;
}

static void overwrite(const char *bytes, size_t count)
{
    FILE *file = fopen(path, "wb");

    CHECK(file != NULL && fwrite(bytes, 1, count, file) == count && fclose(file) == 0);
}

TEST(state_file_gives_back_what_was_put)
{
    struct state_file *state;

    /* Around the buffer's size too. */
    for (size_t padding = 0; padding < 200000; padding += 65491) {
        write_some(padding);
        CHECK_STATUS(OK, state_file_open(&state, path, &err));
        CHECK(state_file_get_count(state, 1, 10) == 7);
        CHECK(state_file_get_u8(state) == 200);
        CHECK(state_file_get_u32(state) == 4000000000u);
        CHECK(state_file_get_real(state) == -.1);
        for (size_t i = 0; i < padding; i++)
            CHECK(state_file_get_u8(state) == (uint8_t)i);
        CHECK_STATUS(OK, state_file_end(state, &err));
        CHECK(state_file_get_u8(state) == 0);
        CHECK_STATUS(ERR_MALFORMED, state_file_end(state, &err));
        state_file_close(state);
    }
}

TEST(state_file_refuses_every_truncation_and_every_flipped_byte)
{
    char *bytes;
    size_t count;

    write_some(40);
    CHECK_STATUS(OK, file_read(path, 1 << 20, &bytes, &count, &err));
    for (size_t cut = 0; cut < count; cut++) {
        overwrite(bytes, cut);
        CHECK(open_and_close() != OK);
    }
    for (size_t at = 0; at < count; at++) {
        bytes[at] ^= 4;
        overwrite(bytes, count);
        CHECK_STATUS(ERR_CORRUPT, open_and_close());
        bytes[at] ^= 4;
    }
    overwrite(bytes, count);
    CHECK_STATUS(OK, open_and_close());
    free(bytes);
    CHECK(remove(path) == 0);
    CHECK_STATUS(ERR_NOT_FOUND, open_and_close());
}

TEST(state_file_refuses_counts_that_cannot_be_true)
{
    struct state_file *state;

    write_some(0);
    CHECK_STATUS(OK, state_file_open(&state, path, &err));
    CHECK(state_file_get_count(state, 3, 1000) == 0); /* 7 * 3 bytes are not left */
    CHECK_STATUS(ERR_MALFORMED, state_file_end(state, &err));
    state_file_close(state);
    CHECK_STATUS(OK, state_file_open(&state, path, &err));
    CHECK(state_file_get_count(state, 1, 6) == 0);
    CHECK_STATUS(ERR_MALFORMED, state_file_end(state, &err));
    state_file_close(state);
    CHECK_STATUS(OK, state_file_open(&state, path, &err));
    CHECK_STATUS(ERR_MALFORMED, state_file_end(state, &err)); /* unread bytes */
    state_file_close(state);
    state_file_close(NULL);
}
