/* Tests schemas/example: every kind comes back, and what is damaged is refused or harmless. */
#include "schemas/example.h"

#include "ops/arena.h"
#include "tests/test.h"

#include <stdlib.h>
#include <string.h>

static uint64_t rows[EVENT_ROWS_MAX];
static struct user_entry history[SEQUENCE_MAX];
static int64_t raw[EVENT_ROWS_MAX * RAW_COLUMNS];
static uint8_t bytes[EXAMPLE_BYTES_MAX], again[EXAMPLE_BYTES_MAX];

static struct example make_shown(int rows_count, int history_count, int raw_columns)
{
    for (int i = 0; i < rows_count; i++)
        rows[i] = UINT64_MAX - (uint64_t)i;
    for (int i = 0; i < history_count; i++)
        history[i] = (struct user_entry){7u + (uint64_t)i, 1600000000000 + i / 3,
                                         (uint8_t)(1 + i % 63), false};
    for (int i = 0; i < rows_count * raw_columns; i++)
        raw[i] = i % 7 == 0 ? INT64_MIN + i : i - 50;
    return (struct example){.kind = EXAMPLE_SHOWN,
                            .id = 11,
                            .user = 22,
                            .time_ms = 1700000000001,
                            .request_time_ms = 1700000000000,
                            .running = 0xfffffff0u,
                            .rows_count = rows_count,
                            .rows = rows,
                            .history_count = history_count,
                            .history = history,
                            .raw_columns = raw_columns,
                            .raw = raw};
}

static const struct example label = {.kind = EXAMPLE_LABEL,
                                     .id = 11,
                                     .user = 22,
                                     .time_ms = 1700000000002,
                                     .shown_at_ms = 1700000000001,
                                     .row = EVENT_ROWS_MAX - 1,
                                     .action = 63,
                                     .labels_count = 64};
static const struct example erase = {
    .kind = EXAMPLE_ERASE, .user = 22, .time_ms = (INT64_C(1) << 48) - 1};
static const struct example mark = {
    .kind = EXAMPLE_MARK, .partition = 7, .offset = INT64_MAX, .time_ms = INT64_MIN};

static void check_same(const struct example *a, const struct example *b)
{
    CHECK(a->kind == b->kind && a->id == b->id && a->user == b->user && a->time_ms == b->time_ms);
    CHECK(a->request_time_ms == b->request_time_ms && a->running == b->running);
    CHECK(a->rows_count == b->rows_count && a->history_count == b->history_count);
    CHECK(a->raw_columns == b->raw_columns && a->row == b->row && a->action == b->action);
    CHECK(a->shown_at_ms == b->shown_at_ms && a->labels_count == b->labels_count);
    CHECK(a->partition == b->partition && a->offset == b->offset);
    CHECK(memcmp(a->context, b->context, sizeof a->context) == 0);
    for (int i = 0; i < a->rows_count; i++)
        CHECK(a->rows[i] == b->rows[i]);
    for (int i = 0; i < a->history_count; i++)
        CHECK(user_entry_compare(&a->history[i], &b->history[i]) == 0 && !b->history[i].taken);
    for (int i = 0; i < a->rows_count * a->raw_columns; i++)
        CHECK(a->raw[i] == b->raw[i]);
}

TEST(example_has_the_layout_its_header_promises)
{
    static const uint8_t want[] = {
        1, 2, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, /* format, kind, id, user */
        3, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 5, 1, 6, 0, 7,    /* times, row, labels, action */
    };
    struct example small = {.kind = EXAMPLE_LABEL,
                            .id = 1,
                            .user = 2,
                            .time_ms = 3,
                            .shown_at_ms = 4,
                            .row = 261,
                            .labels_count = 6,
                            .action = 7};

    CHECK_INT((int64_t)sizeof want, (int64_t)example_encode(&small, bytes, sizeof bytes));
    for (size_t i = 0; i < sizeof want; i++)
        CHECK_INT(want[i], bytes[i]);
    CHECK_INT(16, (int64_t)example_encode(&erase, bytes, sizeof bytes));
    CHECK_INT(22, (int64_t)example_encode(&mark, bytes, sizeof bytes));
}

TEST(example_of_every_kind_and_size_comes_back)
{
    struct arena *arena = arena_create(1 << 16, 1 << 20);
    struct example list[8] = {label, erase, mark};
    struct example back;
    struct error err;

    for (int i = 0; i < 8; i++) {
        size_t count;

        if (i == 3)
            list[i] = make_shown(1, 0, 0);
        if (i == 4)
            list[i] = make_shown(20, 100, RAW_COLUMNS);
        if (i == 5)
            list[i] = make_shown(EVENT_ROWS_MAX, SEQUENCE_MAX, RAW_COLUMNS);
        if (i == 6)
            list[i] = make_shown(EVENT_ROWS_MAX, 0, 0);
        if (i == 7)
            list[i] = make_shown(1, SEQUENCE_MAX, RAW_COLUMNS);
        count = example_encode(&list[i], bytes, sizeof bytes);
        CHECK(count > 0 && example_encode(&list[i], again, count - 1) == 0);
        CHECK_STATUS(OK, example_decode(&back, bytes, count, arena, &err));
        check_same(&list[i], &back);
        arena_reset(arena);
    }
    arena_destroy(arena);
}

TEST(example_refuses_every_truncation_and_every_tail)
{
    struct arena *arena = arena_create(1 << 16, 1 << 20);
    struct example list[4] = {label, erase, mark, make_shown(3, 4, RAW_COLUMNS)};
    struct example back;
    struct error err;

    for (int i = 0; i < 4; i++) {
        size_t count = example_encode(&list[i], bytes, sizeof bytes);

        bytes[count] = 0;
        for (size_t cut = 0; cut <= count + 1; cut++) {
            uint8_t *part = arena_copy(arena, bytes, cut);

            if (cut == count)
                continue;
            CHECK_STATUS(ERR_MALFORMED, example_decode(&back, part, cut, arena, &err));
            CHECK(back.rows == NULL && back.kind == 0);
            arena_reset(arena);
        }
    }
    arena_destroy(arena);
}

TEST(example_survives_every_flipped_bit_and_what_it_takes_is_canonical)
{
    struct arena *arena = arena_create(1 << 16, 1 << 20);
    struct example list[4] = {label, erase, mark, make_shown(3, 4, RAW_COLUMNS)};
    struct example back;
    struct error err;

    for (int i = 0; i < 4; i++) {
        size_t count = example_encode(&list[i], bytes, sizeof bytes);

        for (size_t bit = 0; bit < count * 8; bit++) {
            bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
            if (example_decode(&back, bytes, count, arena, &err) == OK) {
                CHECK(example_encode(&back, again, sizeof again) == count);
                CHECK(memcmp(again, bytes, count) == 0);
            }
            bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
            arena_reset(arena);
        }
    }
    arena_destroy(arena);
}

TEST(example_refuses_what_is_beyond_its_limits)
{
    struct arena *arena = arena_create(1 << 10, 1 << 12);
    struct example shown = make_shown(2, 3, RAW_COLUMNS);
    struct example back;
    struct error err;
    size_t count = example_encode(&shown, bytes, sizeof bytes);

    bytes[0] = 2;
    CHECK_STATUS(ERR_VERSION, example_decode(&back, bytes, count, arena, &err));
    bytes[0] = 1;
    bytes[1] = 5;
    CHECK_STATUS(ERR_MALFORMED, example_decode(&back, bytes, count, arena, &err));
    bytes[1] = 1;
    bytes[38] = RAW_COLUMNS + 1;
    CHECK_STATUS(ERR_VERSION, example_decode(&back, bytes, count, arena, &err));
    bytes[38] = RAW_COLUMNS;
    bytes[35] = 2; /* 514 rows */
    CHECK_STATUS(ERR_LIMIT, example_decode(&back, bytes, count, arena, &err));
    bytes[34] = 0;
    bytes[35] = 0;
    CHECK_STATUS(ERR_LIMIT, example_decode(&back, bytes, count, arena, &err));
    bytes[34] = 2;
    bytes[37] = 2; /* 515 entries */
    CHECK_STATUS(ERR_LIMIT, example_decode(&back, bytes, count, arena, &err));
    shown = make_shown(400, 100, RAW_COLUMNS);
    count = example_encode(&shown, bytes, sizeof bytes);
    CHECK_STATUS(ERR_NOMEM, example_decode(&back, bytes, count, arena, &err));
    CHECK_STATUS(ERR_LIMIT, example_decode(&back, bytes, EXAMPLE_BYTES_MAX + 1, arena, &err));
    arena_destroy(arena);
}

TEST(example_holds_knows_the_user_and_the_oldest_time)
{
    struct example shown = make_shown(3, 4, RAW_COLUMNS);
    struct user_entry entries[4];
    size_t count;

    CHECK(shown.history_count == 4);
    memcpy(entries, shown.history, sizeof entries);
    entries[0].time_ms = 50;
    shown.history = entries;
    shown.time_ms = 200;
    for (int i = 1; i < 4; i++)
        entries[i].time_ms = 50 + i;
    count = example_encode(&shown, bytes, sizeof bytes);
    CHECK(count > 0);
    CHECK(!example_holds(bytes, count, shown.user, 49));
    CHECK(example_holds(bytes, count, shown.user, 50)); /* by its history */
    CHECK(!example_holds(bytes, count, shown.user + 1, 50));
    shown.history_count = 0;
    count = example_encode(&shown, bytes, sizeof bytes);
    CHECK(!example_holds(bytes, count, shown.user, 199));
    CHECK(example_holds(bytes, count, shown.user, 200));
    count = example_encode(&label, bytes, sizeof bytes);
    CHECK(example_holds(bytes, count, label.user, label.shown_at_ms));
    CHECK(!example_holds(bytes, count, label.user, label.shown_at_ms - 1));
    count = example_encode(&erase, bytes, sizeof bytes);
    CHECK(!example_holds(bytes, count, erase.user, INT64_MAX));
    count = example_encode(&mark, bytes, sizeof bytes);
    CHECK(!example_holds(bytes, count, 0, INT64_MAX));
}

TEST(example_holds_reads_within_every_truncation)
{
    struct example shown = make_shown(3, 4, RAW_COLUMNS);
    size_t count = example_encode(&shown, bytes, sizeof bytes);

    for (size_t cut = 0; cut < count; cut++) {
        uint8_t *exact = malloc(cut + 1);

        memcpy(exact, bytes, cut);
        (void)example_holds(exact, cut, shown.user, 0);
        free(exact);
    }
    memset(bytes, 0xff, 64);
    CHECK(!example_holds(bytes, 64, UINT64_MAX, INT64_MAX));
    CHECK(!example_holds(NULL, 0, 0, 0));
}

TEST(example_has_its_context_at_the_end_or_is_as_it_was_before_there_were)
{
    struct arena *arena = arena_create(1 << 16, 1 << 20);
    struct example shown = make_shown(3, 2, RAW_COLUMNS), back;
    size_t without = example_encode(&shown, again, sizeof again), count;
    struct error err;

    CHECK_INT(0, again[39]);
    shown.context[0] = 5;
    shown.context[3] = BATCH_CONTEXT_CODES - 1;
    count = example_encode(&shown, bytes, sizeof bytes);
    CHECK_INT((int)without + BATCH_CONTEXTS, (int)count);
    CHECK_INT(1, bytes[39]);
    CHECK_STATUS(OK, example_decode(&back, bytes, count, arena, &err));
    check_same(&shown, &back);
    for (size_t cut = 0; cut < count; cut++) {
        arena_reset(arena);
        CHECK(example_decode(&back, bytes, cut, arena, &err) != OK);
    }
    bytes[count - 1] = BATCH_CONTEXT_CODES;
    CHECK_STATUS(ERR_MALFORMED, example_decode(&back, bytes, count, arena, &err));
    memset(bytes + count - BATCH_CONTEXTS, 0, BATCH_CONTEXTS); /* of none: another form */
    CHECK_STATUS(ERR_MALFORMED, example_decode(&back, bytes, count, arena, &err));
    bytes[39] = 2;
    CHECK_STATUS(ERR_MALFORMED, example_decode(&back, bytes, count, arena, &err));
    arena_destroy(arena);
}
