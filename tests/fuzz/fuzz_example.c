/* Fuzzes schemas/example: what is accepted encodes to the very same bytes. */
#include "ops/arena.h"
#include "schemas/example.h"
#include "tests/fuzz/fuzz.h"

static struct arena *arena;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    static const uint64_t rows[2] = {7, 8};
    static const struct user_entry history[2] = {{7, 1600000000000, 2, false},
                                                 {8, 1600000000000, 2, false}};
    static const int64_t raw[2 * RAW_COLUMNS] = {1, -1, 300, INT64_MIN};
    const struct example examples[] = {
        {.kind = EXAMPLE_SHOWN,
         .id = 1,
         .rows_count = 2,
         .rows = rows,
         .history_count = 2,
         .history = history,
         .raw_columns = RAW_COLUMNS,
         .raw = raw},
        {.kind = EXAMPLE_SHOWN, .rows_count = 1, .rows = rows},
        {.kind = EXAMPLE_LABEL, .row = 3, .action = 2, .labels_count = 1},
        {.kind = EXAMPLE_ERASE, .user = 5, .time_ms = 1600000000000},
        {.kind = EXAMPLE_MARK, .partition = 3, .offset = 9, .time_ms = INT64_MIN},
    };
    uint8_t bytes[1024];

    (void)argc;
    (void)argv;
    arena = arena_create(1 << 16, 1 << 22);
    for (size_t i = 0; i < sizeof examples / sizeof examples[0]; i++)
        fuzz_seed(bytes, example_encode(&examples[i], bytes, sizeof bytes));
    fuzz_seeds_done();
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t bytes[EXAMPLE_BYTES_MAX];
    struct example example;
    struct error err;

    arena_reset(arena);
    if (example_decode(&example, data, size, arena, &err) != OK)
        return 0;
    FUZZ_CHECK(example_encode(&example, bytes, sizeof bytes) == size);
    FUZZ_CHECK(memcmp(bytes, data, size) == 0);
    return 0;
}
