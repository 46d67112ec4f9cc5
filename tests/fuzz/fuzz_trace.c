/* Fuzzes schemas/trace: as text, and (so that it gets past the hash) as the bytes within. */
#include "ops/base64.h"
#include "ops/hash.h"
#include "schemas/bytes.h"
#include "schemas/trace.h"
#include "tests/fuzz/fuzz.h"

#define INSIDE_MAX 4096

static struct trace trace;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    static char text[TRACE_TEXT_MAX];

    (void)argc;
    (void)argv;
    trace = (struct trace){.request_time_ms = 1700000000000, .model_version = "v1+2"};
    for (int rows = 0; rows < 3; rows++) {
        trace.rows_count = rows;
        trace.raw[rows][0] = 70000;
        fuzz_seed(text, trace_encode(&trace, text, sizeof text));
    }
    fuzz_seeds_done();
    return 0;
}

/* What is accepted encodes to the very same text. */
static void check(struct text from)
{
    static char text[TRACE_TEXT_MAX];
    struct error err;

    if (trace_decode(&trace, from, &err) != OK) {
        FUZZ_CHECK(trace.rows_count == 0);
        return;
    }
    size_t bytes = trace_encode(&trace, text, sizeof text);
    FUZZ_CHECK(bytes == from.bytes && memcmp(text, from.at, bytes) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t inside[INSIDE_MAX + 4];
    char text[BASE64_CHARS(INSIDE_MAX + 4)];
    size_t count;

    check((struct text){(const char *)data, size});
    if (!base64_decode(inside, INSIDE_MAX, &count, (struct text){(const char *)data, size})) {
        count = size < INSIDE_MAX ? size : INSIDE_MAX;
        if (count > 0)
            memcpy(inside, data, count);
    }
    bytes_put_u32(inside + count, (uint32_t)hash64(inside, count, UINT64_C(0x7472616365)));
    base64_encode(text, inside, count + 4);
    check((struct text){text, BASE64_CHARS(count + 4)});
    return 0;
}
