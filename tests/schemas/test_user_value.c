/*
 * Tests schemas/user_value: the bytes, their refusal when damaged, and that patches and the quick
 * path end in the very image that the slow path writes.
 *
 * The simpler truth is a sorted array: an entry is inserted where it belongs and the oldest falls
 * out; the store is an array of bytes over which patches are laid.
 */
#include "schemas/user_value.h"

#include "ops/arena.h"
#include "ops/random.h"
#include "tests/test.h"

#include <string.h>

static struct user_value value, other;
static uint8_t image[USER_VALUE_BYTES_MAX], second[USER_VALUE_BYTES_MAX];
static uint64_t rows[JOINS_MAX][OPEN_ROWS_MAX];
static struct open_label labels[JOINS_MAX][OPEN_LABELS_MAX];

static struct arena *new_arena(void)
{
    return arena_create(1 << 16, 1 << 20);
}

/* A value with `count` entries and `opens` opens of the given sizes, all of it distinct. */
static void make_value(int count, int opens, int rows_count, int labels_count)
{
    value = (struct user_value){.writer = user_value_writer(7, 3),
                                .running = (uint32_t)count + 40,
                                .erased_at_ms = 1000,
                                .written_at_ms = 1700000000123,
                                .flags = USER_VALUE_REPLAYED,
                                .count = count,
                                .opens_count = opens};
    for (int i = 0; i < count; i++)
        value.entries[i] = (struct user_entry){.item = 0xfedcba9876543210u + (uint64_t)i,
                                               .time_ms = 1600000000000 + i / 2,
                                               .action = (uint8_t)(1 + i % 63),
                                               .taken = i % 3 == 1};
    for (int o = 0; o < opens; o++) {
        value.opens[o] = (struct open_impression){.example_id = 900u + (uint64_t)o,
                                                  .request = 800u + (uint64_t)o,
                                                  .shown_at_ms = 1600000000500 + o,
                                                  .rows_count = rows_count,
                                                  .labels_count = labels_count,
                                                  .rows = rows[o],
                                                  .labels = labels[o]};
        for (int r = 0; r < rows_count; r++)
            rows[o][r] = ~(uint64_t)0 - (uint64_t)(o * 1000 + r);
        for (int l = 0; l < labels_count; l++)
            labels[o][l] = (struct open_label){~(uint64_t)0 - (uint64_t)(o * 1000 + l),
                                               1600000000600 + l, (uint8_t)(1 + l % 63)};
    }
}

TEST(user_value_has_the_layout_its_header_promises)
{
    static const uint8_t want[] = {
        1,  0, 2, 0, 0, 0, 1, 0,    5, 0, 0x30, 0, 9, 0, 0,
        0,                                                     /* format .. running */
        6,  0, 0, 0, 0, 0, 1, 2,    3, 4, 5,    6,             /* erased_at, written_at */
        1,  0, 0, 0, 0, 0, 0, 0x80, 2, 0, 0,    0, 0, 0, 0x83, /* entries */
        2,  0, 0, 0, 0, 0, 0, 0x80, 2, 0, 0,    0, 0, 0, 63,   /* */
        51, 0, 7, 0, 0, 0, 0, 0,    0, 0, 8,    0, 0, 0, 0,
        0,                                                  /* open: bytes, example, shown at */
        9,  0, 0, 0, 0, 0, 0, 0,    1, 0, 1,    0,          /* request, rows, labels */
        4,  0, 0, 0, 0, 0, 0, 0,                            /* row */
        4,  0, 0, 0, 0, 0, 0, 0,    9, 0, 0,    0, 0, 0, 2, /* label */
    };
    struct user_value small = {
        .writer = user_value_writer(5, 3),
        .running = 9,
        .erased_at_ms = 6,
        .written_at_ms = 0x060504030201,
        .count = 2,
        .entries = {{0x8000000000000001u, 2, 3, true}, {0x8000000000000002u, 2, 63, false}},
        .opens_count = 1};
    struct open_impression open = {7, 9, 8, 1, 1, rows[0], labels[0]};

    rows[0][0] = 4;
    labels[0][0] = (struct open_label){4, 9, 2};
    small.opens[0] = open;
    CHECK_INT((int64_t)sizeof want, (int64_t)user_value_encode(&small, image, sizeof image));
    for (size_t i = 0; i < sizeof want; i++)
        CHECK_INT(want[i], image[i]);
    CHECK_INT(0, (int64_t)user_value_encode(&small, image, sizeof want - 1));
    make_value(100, 0, 0, 0);
    CHECK_INT(1528, (int64_t)user_value_encode(&value, image, sizeof image));
}

TEST(user_value_of_no_bytes_is_a_user_never_seen)
{
    struct user_header header;
    struct error err;

    CHECK_STATUS(OK, user_value_decode(&value, NULL, 0, NULL, &err));
    CHECK(value.count == 0 && value.opens_count == 0 && value.running == 0);
    CHECK(user_value_header(&header, NULL, 0) && header.count == 0);
    CHECK_INT(0, user_value_history(NULL, 0, NULL, 10, NULL));
}

TEST(user_value_reads_back_at_every_limit)
{
    static const int sizes[][4] = {
        {0, 0, 0, 0},    {1, 0, 0, 0},
        {1, 1, 0, 0},    {SEQUENCE_MAX, JOINS_MAX, OPEN_ROWS_MAX, OPEN_LABELS_MAX},
        {100, 4, 10, 2}, {0, 1, 0, 64},
        {3, 2, 512, 0}};
    struct arena *arena = new_arena();
    struct user_header header;
    struct error err;

    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        size_t bytes;

        make_value(sizes[i][0], sizes[i][1], sizes[i][2], sizes[i][3]);
        bytes = user_value_encode(&value, image, sizeof image);
        CHECK(bytes > 0);
        CHECK_STATUS(OK, user_value_decode(&other, image, bytes, arena, &err));
        CHECK(user_value_equal(&value, &other));
        CHECK(other.writer == value.writer && other.written_at_ms == value.written_at_ms &&
              other.flags == value.flags);
        CHECK(user_value_header(&header, image, bytes) && header.count == value.count);
        arena_reset(arena);
    }
    arena_destroy(arena);
}

TEST(user_value_decode_reports_an_arena_that_is_full)
{
    struct arena *arena = arena_create(64, 1024);
    struct error err;
    size_t bytes;

    make_value(3, 1, 512, 64);
    bytes = user_value_encode(&value, image, sizeof image);
    CHECK_STATUS(ERR_NOMEM, user_value_decode(&other, image, bytes, arena, &err));
    CHECK(other.count == 0 && other.opens_count == 0);
    arena_destroy(arena);
}

TEST(user_value_refuses_every_truncation_and_every_tail)
{
    struct arena *arena = new_arena();
    struct user_header header;
    struct error err;
    size_t bytes;

    make_value(5, 2, 3, 2);
    bytes = user_value_encode(&value, image, sizeof image);
    for (size_t cut = 1; cut <= bytes + 1; cut++) {
        /* On the heap, so that the sanitizer sees a read past the cut. */
        uint8_t *part = arena_copy(arena, image, cut);

        if (cut == bytes)
            continue;
        CHECK_STATUS(ERR_MALFORMED, user_value_decode(&other, part, cut, arena, &err));
        CHECK(other.count == 0 && other.opens_count == 0);
        CHECK(!user_value_header(&header, part, cut));
        arena_reset(arena);
    }
    arena_destroy(arena);
}

TEST(user_value_survives_every_flipped_bit)
{
    struct arena *arena = new_arena();
    struct user_entry entries[8];
    struct error err;
    size_t bytes;
    int refused = 0;

    make_value(5, 2, 3, 2);
    bytes = user_value_encode(&value, image, sizeof image);
    for (size_t bit = 0; bit < bytes * 8; bit++) {
        enum status status;

        image[bit / 8] ^= (uint8_t)(1 << bit % 8);
        status = user_value_decode(&other, image, bytes, arena, &err);
        refused += status != OK;
        /* What is accepted is a value within its limits, so it can be written again. */
        if (status == OK)
            CHECK(user_value_encode(&other, second, sizeof second) == bytes);
        CHECK(user_value_history(image, bytes, entries, 8, NULL) <= 8);
        image[bit / 8] ^= (uint8_t)(1 << bit % 8);
        arena_reset(arena);
    }
    CHECK(refused > 200); /* format, flags, counts, lengths, order, actions */
    arena_destroy(arena);
}

TEST(user_value_refuses_counts_beyond_the_limits)
{
    struct arena *arena = new_arena();
    struct error err;
    size_t bytes;

    make_value(SEQUENCE_MAX, 1, OPEN_ROWS_MAX, OPEN_LABELS_MAX);
    bytes = user_value_encode(&value, image, sizeof image);
    image[0] = 2;
    CHECK_STATUS(ERR_VERSION, user_value_decode(&other, image, bytes, arena, &err));
    image[0] = 0;
    CHECK_STATUS(ERR_MALFORMED, user_value_decode(&other, image, bytes, arena, &err));
    image[0] = 1;
    image[2] = (SEQUENCE_MAX + 1) & 0xff;
    CHECK_STATUS(ERR_LIMIT, user_value_decode(&other, image, bytes, arena, &err));
    image[2] = SEQUENCE_MAX & 0xff;
    image[6] = JOINS_MAX + 1;
    CHECK_STATUS(ERR_LIMIT, user_value_decode(&other, image, bytes, arena, &err));
    image[6] = 1;
    image[4] = SEQUENCE_MAX & 0xff;
    image[5] = SEQUENCE_MAX >> 8;
    CHECK_STATUS(ERR_MALFORMED, user_value_decode(&other, image, bytes, arena, &err));
    arena_destroy(arena);
}

TEST(user_value_refuses_entries_and_opens_out_of_order)
{
    struct arena *arena = new_arena();
    struct error err;
    size_t bytes;

    make_value(6, 2, 2, 2);
    value.entries[3] = value.entries[2]; /* a set holds nothing twice */
    bytes = user_value_encode(&value, image, sizeof image);
    CHECK_STATUS(ERR_MALFORMED, user_value_decode(&other, image, bytes, arena, &err));
    CHECK_INT(-1, user_value_history(image, bytes, other.entries, 6, NULL));
    make_value(6, 2, 2, 2);
    value.opens[1].shown_at_ms = 5;
    bytes = user_value_encode(&value, image, sizeof image);
    CHECK_STATUS(ERR_MALFORMED, user_value_decode(&other, image, bytes, arena, &err));
    arena_destroy(arena);
}

TEST(user_value_equality_ignores_writer_times_of_writing_and_order_of_labels)
{
    struct open_label swapped[2];

    make_value(4, 1, 2, 2);
    other = value;
    other.writer++;
    other.written_at_ms++;
    swapped[0] = labels[0][1];
    swapped[1] = labels[0][0];
    other.opens[0].labels = swapped;
    CHECK(user_value_equal(&value, &other));
    swapped[1] = swapped[0];
    CHECK(!user_value_equal(&value, &other));
    other.opens[0].labels = labels[0];
    other.running++;
    CHECK(!user_value_equal(&value, &other));
    other.running--;
    other.erased_at_ms++;
    CHECK(!user_value_equal(&value, &other));
    other.erased_at_ms--;
    other.entries[3].action++;
    CHECK(!user_value_equal(&value, &other));
    other.entries[3].action--;
    other.entries[3].taken = !other.entries[3].taken;
    CHECK(!user_value_equal(&value, &other));
}

TEST(user_value_history_gives_the_newest_oldest_first)
{
    struct user_entry entries[SEQUENCE_MAX];
    struct user_change change = {0};
    uint32_t running = 0;
    size_t bytes;

    make_value(10, 0, 0, 0);
    value.erased_at_ms = 0;
    bytes = user_value_encode(&value, image, sizeof image);
    for (int i = 0; i < 4; i++) { /* the head now stands at slot 4 */
        struct user_entry entry = {500u + (uint64_t)i, 1600000001000 + i, 2, false};

        CHECK(user_value_append(image, &bytes, sizeof image, &entry, 10, 1, 1, &change));
    }
    for (int most = 0; most <= 12; most++) {
        int want = most < 10 ? most : 10;

        CHECK_INT(want, user_value_history(image, bytes, entries, most, &running));
        CHECK_INT(54, running);
        for (int i = 0; i < want; i++) {
            int age = want - 1 - i; /* 0: the newest */

            CHECK_INT(age < 4 ? 1600000001003 - age : value.entries[9 - (age - 4)].time_ms,
                      entries[i].time_ms);
        }
    }
}

/* ---- patches against the simpler truth ---- */

/* Puts an entry where it belongs and lets the oldest fall out. False: it is there, or too old. */
static bool insert_entry(struct user_value *into, const struct user_entry *entry, int capacity)
{
    int at = into->count;

    while (at > 0 && user_entry_compare(&into->entries[at - 1], entry) > 0)
        at--;
    if (at > 0 && user_entry_compare(&into->entries[at - 1], entry) == 0)
        return false;
    if (into->count == capacity) {
        if (at == 0)
            return false;
        memmove(&into->entries[0], &into->entries[1], (size_t)(at - 1) * sizeof *entry);
        into->entries[at - 1] = *entry;
    } else {
        memmove(&into->entries[at + 1], &into->entries[at],
                (size_t)(into->count - at) * sizeof *entry);
        into->entries[at] = *entry;
        into->count++;
    }
    into->running++;
    return true;
}

/* Lays what *change says over the stored bytes and compares them with the image. */
static void check_store(uint8_t *stored, size_t *stored_bytes, const struct user_change *change,
                        const uint8_t *now, size_t now_bytes)
{
    struct user_patch patches[USER_PATCHES_MAX];
    int count = user_value_patches(change, now, now_bytes, patches);

    if (change->rewrite) {
        CHECK_INT(0, count);
        memcpy(stored, now, now_bytes);
        *stored_bytes = now_bytes;
    }
    for (int i = 0; i < count; i++) {
        CHECK(patches[i].offset + patches[i].bytes <= *stored_bytes);
        CHECK(i > 0 || patches[i].offset == 0);
        memcpy(stored + patches[i].offset, now + patches[i].offset, patches[i].bytes);
    }
    CHECK_INT((int64_t)now_bytes, (int64_t)*stored_bytes);
    CHECK(memcmp(stored, now, now_bytes) == 0);
}

/* One step on `now` (a copy of which is in `before`): slow path from before, quick path if it
 * takes the entry; both must agree. Returns the new length. */
static size_t step(const uint8_t *before, size_t before_bytes, uint8_t *now,
                   const struct user_entry *entry, int capacity, struct arena *arena,
                   struct user_change *change)
{
    static uint8_t quick[USER_VALUE_BYTES_MAX];
    struct user_change quick_change = *change;
    size_t quick_bytes = before_bytes, bytes;
    struct error err;
    bool taken, applied;

    memcpy(quick, before, before_bytes);
    taken = user_value_append(quick, &quick_bytes, sizeof quick, entry, capacity, 77, 1234,
                              &quick_change);
    CHECK_STATUS(OK, user_value_decode(&value, before, before_bytes, arena, &err));
    applied = insert_entry(&value, entry, capacity);
    if (!applied) {
        CHECK(!taken);
        memcpy(now, before, before_bytes);
        return before_bytes;
    }
    value.writer = 77;
    value.written_at_ms = 1234;
    bytes = user_value_diff(before, before_bytes, &value, capacity, now, USER_VALUE_BYTES_MAX,
                            change);
    CHECK(bytes > 0);
    CHECK_STATUS(OK, user_value_decode(&other, now, bytes, arena, &err));
    CHECK(user_value_equal(&value, &other) && other.writer == 77 && other.written_at_ms == 1234);
    if (taken) {
        CHECK(quick_bytes == bytes && memcmp(quick, now, bytes) == 0);
        CHECK(memcmp(&quick_change, change, sizeof *change) == 0);
    }
    arena_reset(arena);
    return bytes;
}

TEST(user_value_patches_and_quick_path_end_in_the_same_image)
{
    static uint8_t stored[USER_VALUE_BYTES_MAX], now[USER_VALUE_BYTES_MAX],
        next[USER_VALUE_BYTES_MAX];
    struct arena *arena = new_arena();
    struct random random;

    random_seed(&random, test_seed());
    for (int round = 0; round < 400; round++) {
        int capacity = 1 + (int)random_below(&random, round % 10 == 0 ? 120 : 9);
        int64_t clock_ms = 1600000000000;
        size_t stored_bytes = 0, now_bytes = 0;

        for (int batch = 0; batch < 12; batch++) {
            int events = (int)random_below(&random, 5);
            struct user_change change = {0};

            for (int e = 0; e < events; e++) {
                struct user_entry entry = {
                    random_below(&random, 4), clock_ms + (int64_t)random_below(&random, 6),
                    (uint8_t)(1 + random_below(&random, 2)), random_below(&random, 2) == 1};

                clock_ms += (int64_t)random_below(&random, 6);
                now_bytes = step(now, now_bytes, next, &entry, capacity, arena, &change);
                memcpy(now, next, now_bytes);
            }
            check_store(stored, &stored_bytes, &change, now, now_bytes);
        }
    }
    arena_destroy(arena);
}

TEST(user_value_diff_patches_opens_of_the_same_length_and_rewrites_others)
{
    struct user_patch patches[USER_PATCHES_MAX];
    struct user_change change = {0};
    size_t bytes, after;

    make_value(10, 2, 3, 1);
    bytes = user_value_encode(&value, image, sizeof image);
    after = user_value_diff(image, bytes, &value, 10, image, sizeof image, &change);
    CHECK(after == bytes && change.changed && !change.rewrite && !change.opens);
    CHECK_INT(1, user_value_patches(&change, image, bytes, patches));
    rows[1][2] = 42; /* in place: `into` is `old` */
    after = user_value_diff(image, bytes, &value, 10, image, sizeof image, &change);
    CHECK(after == bytes && change.opens && !change.rewrite);
    CHECK_INT(2, user_value_patches(&change, image, bytes, patches));
    CHECK_INT(28 + 150, patches[1].offset);
    CHECK_INT((int64_t)bytes - 178, patches[1].bytes);
    CHECK_INT((int64_t)bytes, (int64_t)user_value_encode(&value, second, sizeof second));
    CHECK(memcmp(image, second, bytes) == 0);
    value.opens_count = 1;
    after = user_value_diff(image, bytes, &value, 10, image, sizeof image, &change);
    CHECK(after < bytes && change.rewrite);
    CHECK_INT(0, user_value_patches(&change, image, after, patches));
    CHECK_INT(0, (int64_t)user_value_diff(image, after, &value, 10, image, after - 1, &change));
}

TEST(user_value_many_appends_become_at_most_three_patches)
{
    struct user_patch patches[USER_PATCHES_MAX];
    struct user_change change = {0};
    size_t bytes;

    make_value(10, 0, 0, 0);
    bytes = user_value_encode(&value, image, sizeof image);
    for (int i = 0; i < 10; i++) {
        struct user_entry entry = {1, 1600000002000 + i, 1, false};

        if (i == 7)
            change = (struct user_change){0}; /* committed: the next range begins at slot 7 */
        CHECK(user_value_append(image, &bytes, sizeof image, &entry, 10, 1, 1, &change));
        CHECK_INT(2, user_value_patches(&change, image, bytes, patches));
        CHECK_INT((i < 7 ? i + 1 : i - 6) * 15, patches[1].bytes);
    }
    CHECK_INT(28 + 7 * 15, patches[1].offset);
    for (int i = 0; i < 3; i++) {
        struct user_entry entry = {1, 1600000003000 + i, 1, false};

        CHECK(user_value_append(image, &bytes, sizeof image, &entry, 10, 1, 1, &change));
    }
    CHECK_INT(3, user_value_patches(&change, image, bytes, patches));
    CHECK(patches[1].offset == 28 + 7 * 15 && patches[1].bytes == 45);
    CHECK(patches[2].offset == 28 && patches[2].bytes == 45);
    for (int i = 0; i < 30; i++) { /* more than the ring holds: all of it, once */
        struct user_entry entry = {1, 1600000004000 + i, 1, false};

        CHECK(user_value_append(image, &bytes, sizeof image, &entry, 10, 1, 1, &change));
    }
    CHECK_INT(2, user_value_patches(&change, image, bytes, patches));
    CHECK(patches[1].offset == 28 && patches[1].bytes == 150);
}

TEST(user_value_append_leaves_to_the_slow_path_what_is_not_simple)
{
    struct user_entry newer = {1, 1700000000000, 1, false}, older = {1, 5, 1, false}, same;
    struct user_change change = {0}, none = {0};
    size_t bytes;

    make_value(10, 0, 0, 0);
    same = value.entries[9];
    bytes = user_value_encode(&value, image, sizeof image);
    memcpy(second, image, bytes);
    CHECK(!user_value_append(image, &bytes, sizeof image, &older, 10, 1, 1, &change));
    CHECK(!user_value_append(image, &bytes, sizeof image, &same, 10, 1, 1, &change));
    CHECK(!user_value_append(image, &bytes, sizeof image, &newer, 9, 1, 1, &change));
    CHECK(!user_value_append(image, &bytes, bytes, &newer, 11, 1, 1, &change));
    bytes--;
    CHECK(!user_value_append(image, &bytes, sizeof image, &newer, 10, 1, 1, &change));
    bytes++;
    CHECK(memcmp(image, second, bytes) == 0 && memcmp(&change, &none, sizeof none) == 0);
    make_value(10, 1, 1, 0);
    bytes = user_value_encode(&value, image, sizeof image);
    CHECK(!user_value_append(image, &bytes, sizeof image, &newer, 10, 1, 1, &change));
    make_value(0, 0, 0, 0);
    value.erased_at_ms = newer.time_ms;
    bytes = user_value_encode(&value, image, sizeof image);
    CHECK(!user_value_append(image, &bytes, sizeof image, &newer, 10, 1, 1, &change));
    newer.time_ms++;
    CHECK(user_value_append(image, &bytes, sizeof image, &newer, 10, 1, 1, &change));
}
