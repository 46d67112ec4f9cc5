/* Fuzzes schemas/user_value: what is accepted is written again; a quick append, the diff of the
 * slow path, and the patches all end in the same bytes. */
#include "ops/arena.h"
#include "schemas/user_value.h"
#include "tests/fuzz/fuzz.h"

static struct user_value value, again;
static struct arena *arena;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    static uint64_t rows[3] = {7, 8, 9};
    static struct open_label labels[1] = {{8, 1600000000900, 2}};
    static uint8_t bytes[4096];

    (void)argc;
    (void)argv;
    arena = arena_create(1 << 16, 1 << 22);
    for (int count = 0; count < 8; count++) {
        value = (struct user_value){.writer = 3, .running = 9, .count = count};
        for (int i = 0; i < count; i++)
            value.entries[i] = (struct user_entry){7u + (uint64_t)i, 1600000000000 + i, 2, i == 1};
        value.opens_count = count % 3;
        for (int o = 0; o < value.opens_count; o++)
            value.opens[o] = (struct open_impression){(uint64_t)o, 5,     1600000000000 + o, 3, 1,
                                                      rows,        labels};
        fuzz_seed(bytes, user_value_encode(&value, bytes, sizeof bytes));
    }
    fuzz_seeds_done();
    return 0;
}

/* An entry newer than all of them is appended in both ways. */
static void check_append(const uint8_t *data, size_t size)
{
    static uint8_t quick[USER_VALUE_BYTES_MAX], slow[USER_VALUE_BYTES_MAX],
        stored[USER_VALUE_BYTES_MAX];
    struct user_entry entry = {1, (INT64_C(1) << 48) - 1, 63, false};
    struct user_change quick_change = {0}, slow_change = {0};
    struct user_patch patches[USER_PATCHES_MAX];
    int capacity = value.count == 0 ? 1 : value.count;
    size_t quick_bytes = size, slow_bytes;

    memcpy(quick, data, size);
    if (!user_value_append(quick, &quick_bytes, sizeof quick, &entry, capacity, 5, 6,
                           &quick_change))
        return;
    if (value.count == capacity)
        memmove(value.entries, value.entries + 1, (size_t)(value.count - 1) * sizeof entry);
    else
        value.count++;
    value.entries[value.count - 1] = entry;
    value.running++;
    value.writer = 5;
    value.written_at_ms = 6;
    slow_bytes = user_value_diff(data, size, &value, capacity, slow, sizeof slow, &slow_change);
    FUZZ_CHECK(slow_bytes == quick_bytes && memcmp(slow, quick, slow_bytes) == 0);
    memcpy(stored, data, size);
    int count = user_value_patches(&slow_change, slow, slow_bytes, patches);
    FUZZ_CHECK(slow_change.rewrite == (count == 0));
    for (int i = 0; i < count; i++)
        memcpy(stored + patches[i].offset, slow + patches[i].offset, patches[i].bytes);
    FUZZ_CHECK(count == 0 || memcmp(stored, slow, slow_bytes) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t bytes[USER_VALUE_BYTES_MAX];
    struct user_entry entries[SEQUENCE_MAX];
    struct user_header header;
    struct error err;

    arena_reset(arena);
    (void)user_value_history(data, size, entries, (int)(size % SEQUENCE_MAX), NULL);
    bool framed = user_value_header(&header, data, size);
    if (size > sizeof bytes || user_value_decode(&value, data, size, arena, &err) != OK)
        return 0;
    FUZZ_CHECK(framed && header.count == value.count);
    FUZZ_CHECK(user_value_history(data, size, entries, SEQUENCE_MAX, NULL) == value.count);
    size_t count = user_value_encode(&value, bytes, sizeof bytes);
    FUZZ_CHECK(size == 0 || count == size);
    FUZZ_CHECK(user_value_decode(&again, bytes, count, arena, &err) == OK);
    FUZZ_CHECK(user_value_equal(&value, &again));
    check_append(data, size);
    return 0;
}
