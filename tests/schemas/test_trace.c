/* Tests schemas/trace: that counts come back, and that an altered trace is refused as a whole. */
#include "schemas/trace.h"

#include "ops/base64.h"
#include "ops/hash.h"
#include "ops/random.h"
#include "schemas/bytes.h"
#include "tests/test.h"

#include <string.h>

static struct trace trace, back;
static char text[TRACE_TEXT_MAX], altered[TRACE_TEXT_MAX];

static void make_trace(int rows)
{
    struct random random;

    random_seed(&random, test_seed());
    memset(&trace, 0, sizeof trace);
    trace.request_time_ms = 1700000000123;
    memcpy(trace.model_version, "v000012-3f9a+17", 16);
    trace.rows_count = rows;
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < RAW_COLUMNS; c++)
            trace.raw[r][c] = (int64_t)random_below(&random, 3000) - 1;
}

TEST(trace_comes_back_at_every_number_of_rows)
{
    struct error err;

    for (int rows = 0; rows <= EVENT_ROWS_MAX; rows += rows < 20 ? 1 : 41) {
        size_t bytes;

        make_trace(rows);
        bytes = trace_encode(&trace, text, sizeof text);
        CHECK(bytes > 0 && trace_encode(&trace, altered, bytes - 1) == 0);
        CHECK_STATUS(OK, trace_decode(&back, (struct text){text, bytes}, &err));
        CHECK(back.rows_count == rows && back.request_time_ms == trace.request_time_ms);
        CHECK_TEXT(trace.model_version, back.model_version);
        CHECK(memcmp(back.raw, trace.raw, (size_t)rows * sizeof trace.raw[0]) == 0);
    }
}

TEST(trace_holds_the_largest_counts)
{
    struct error err;
    size_t bytes;

    make_trace(EVENT_ROWS_MAX);
    for (int r = 0; r < EVENT_ROWS_MAX; r++)
        for (int c = 0; c < RAW_COLUMNS; c++)
            trace.raw[r][c] = c % 2 == 0 ? INT64_MIN + r : INT64_MAX - r;
    memset(trace.model_version, 'v', MODEL_VERSION_MAX - 1);
    bytes = trace_encode(&trace, text, sizeof text);
    CHECK(bytes > 0);
    CHECK_STATUS(OK, trace_decode(&back, (struct text){text, bytes}, &err));
    CHECK(memcmp(back.raw, trace.raw, sizeof trace.raw) == 0);
    CHECK_STATUS(ERR_LIMIT, trace_decode(&back, (struct text){text, sizeof text}, &err));
}

TEST(trace_with_a_context_has_a_format_of_its_own)
{
    struct error err;
    size_t without, with;

    make_trace(2);
    without = trace_encode(&trace, altered, sizeof altered);
    trace.context[1] = 63;
    trace.context[3] = 7;
    with = trace_encode(&trace, text, sizeof text);
    CHECK(with > without);
    CHECK_STATUS(OK, trace_decode(&back, (struct text){text, with}, &err));
    CHECK(memcmp(back.context, trace.context, sizeof back.context) == 0 && back.rows_count == 2);
    CHECK_STATUS(OK, trace_decode(&back, (struct text){altered, without}, &err));
    for (int i = 0; i < BATCH_CONTEXTS; i++)
        CHECK_INT(0, back.context[i]);
    trace.context[0] = BATCH_CONTEXT_CODES;
    with = trace_encode(&trace, text, sizeof text);
    CHECK_STATUS(ERR_MALFORMED, trace_decode(&back, (struct text){text, with}, &err));
    CHECK_INT(0, back.rows_count);
}

TEST(trace_refuses_every_truncation_and_every_altered_character)
{
    struct error err;
    size_t bytes;

    make_trace(3);
    trace.context[2] = 1;
    bytes = trace_encode(&trace, text, sizeof text);
    for (size_t cut = 0; cut < bytes; cut++)
        CHECK(trace_decode(&back, (struct text){text, cut}, &err) != OK && back.rows_count == 0);
    for (size_t at = 0; at < bytes; at++) {
        for (int c = 0; c < 256; c++) {
            memcpy(altered, text, bytes);
            altered[at] = (char)c;
            if (altered[at] == text[at])
                continue;
            CHECK(trace_decode(&back, (struct text){altered, bytes}, &err) != OK);
        }
    }
}

/* What a foreign writer could send: bytes with a right hash. */
static enum status decode_bytes(const uint8_t *bytes, size_t count)
{
    uint8_t packed[256];
    struct error err;

    memcpy(packed, bytes, count);
    bytes_put_u32(packed + count, (uint32_t)hash64(packed, count, UINT64_C(0x7472616365)));
    base64_encode(text, packed, count + 4);
    return trace_decode(&back, (struct text){text, BASE64_CHARS(count + 4)}, &err);
}

/* It would encode to other bytes than it came from. */
TEST(trace_refuses_context_that_says_nothing)
{
    uint8_t bytes[64] = {2, RAW_FORMAT, RAW_COLUMNS, 0, 0, 1, 2, 3, 4, 5, 6, 1, 'v'};

    CHECK_STATUS(ERR_MALFORMED, decode_bytes(bytes, 13 + BATCH_CONTEXTS));
    bytes[13] = 1;
    CHECK_STATUS(OK, decode_bytes(bytes, 13 + BATCH_CONTEXTS));
}

TEST(trace_refuses_other_formats_and_counts_that_do_not_fit)
{
    uint8_t bytes[64] = {1, RAW_FORMAT, RAW_COLUMNS, 1, 0, 1, 2, 3, 4, 5, 6, 1, 'v'};
    size_t count = 13 + RAW_COLUMNS;

    CHECK_STATUS(OK, decode_bytes(bytes, count));
    CHECK(back.rows_count == 1 && back.request_time_ms == 0x060504030201);
    for (int at = 0; at < 3; at++) {
        bytes[at] += 2; /* format 2 is that with context */
        CHECK_STATUS(ERR_VERSION, decode_bytes(bytes, count));
        bytes[at] -= 2;
    }
    CHECK_STATUS(ERR_MALFORMED, decode_bytes(bytes, count - 1));
    CHECK_STATUS(ERR_MALFORMED, decode_bytes(bytes, count + 1));
    CHECK_STATUS(ERR_MALFORMED, decode_bytes(bytes, 5));
    bytes[11] = MODEL_VERSION_MAX;
    CHECK_STATUS(ERR_LIMIT, decode_bytes(bytes, count));
    bytes[11] = 1;
    bytes[12] = 0;
    CHECK_STATUS(ERR_MALFORMED, decode_bytes(bytes, count));
    bytes[12] = 'v';
    bytes[3] = 1;
    bytes[4] = 2; /* 513 rows */
    CHECK_STATUS(ERR_LIMIT, decode_bytes(bytes, count));
    bytes[3] = 0;
    bytes[4] = 0;
    CHECK_STATUS(OK, decode_bytes(bytes, 13));
    bytes[3] = 1;
    bytes[13] = 0x80; /* a longer form of the zero in the next byte */
    CHECK_STATUS(ERR_MALFORMED, decode_bytes(bytes, count + 1));
}
