/*
 * Tests schemas/item_file: what was written comes back; truncations at every byte, flipped bytes
 * and numbers out of bounds are refused, at the latest when the last record was read.
 */
#include "schemas/item_file.h"

#include "ops/file.h"
#include "ops/hash.h"
#include "ops/random.h"
#include "schemas/bytes.h"
#include "tests/test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char path[128];
static struct item_neighbour neighbours[ITEM_FILE_NEIGHBOURS_MAX];
static char name[ITEM_ID_MAX];

static const char *file_path(void)
{
    (void)snprintf(path, sizeof path, "%s/items", test_folder());
    return path;
}

static const struct item_file_offset offsets[] = {{0, 17}, {3, INT64_MAX}};

static struct item_file_head make_head(int items, bool delta)
{
    return (struct item_file_head){.delta = delta,
                                   .items_total = items,
                                   .rows = 50,
                                   .neighbours_max = ITEM_FILE_NEIGHBOURS_MAX,
                                   .sequence = delta ? 9 : 0,
                                   .newest_ms = 1700000000000,
                                   .covis_tau_ms = 30 * INT64_C(86400000),
                                   .seed = 0x1234567890abcdef,
                                   .base_version = "v000012-3f9a",
                                   .offsets_count = 2,
                                   .offsets = offsets};
}

/* Item i: everything about it follows from i. */
static struct item_file_item make_item(int i, int items, int neighbours_count)
{
    int name_bytes = i % 11 == 3 ? ITEM_ID_MAX : i % 13;

    memset(name, 'a' + i % 26, sizeof name);
    for (int n = 0; n < neighbours_count; n++)
        neighbours[n] = (struct item_neighbour){(i + n) % items, (float)n * 0.5f};
    return (struct item_file_item){.index = i,
                                   .row = i % 50,
                                   .hash = hash64(&i, sizeof i, 1),
                                   .name = {name, (size_t)name_bytes},
                                   .first_seen_ms = 1600000000000 + i,
                                   .last_seen_ms = 1600000100000 + i,
                                   .clicks = i * 3,
                                   .shown = INT64_MAX - i,
                                   .sightings = (uint32_t)i,
                                   .gone = i % 5 == 0,
                                   .decayed_at_ms = 1600000200000,
                                   .decayed = {i * 0.25, 1e300, 0},
                                   .covis_at_ms = 1600000300000,
                                   .neighbours_count = neighbours_count,
                                   .neighbours = neighbours};
}

static void write_file(int items, int step, int neighbours_count)
{
    struct item_file_head head = make_head(items, step > 1);
    struct item_file_writer *writer;
    struct error err;

    CHECK_STATUS(OK, item_file_writer_create(&writer, file_path(), &head, &err));
    for (int i = 0; i < items; i += step) {
        struct item_file_item item = make_item(i, items, (i * 7) % (neighbours_count + 1));

        CHECK_STATUS(OK, item_file_writer_add(writer, &item, &err));
    }
    CHECK_STATUS(OK, item_file_writer_finish(writer, &err));
    item_file_writer_destroy(writer);
}

static void check_item(const struct item_file_item *want, const struct item_file_item *got)
{
    CHECK(want->index == got->index && want->row == got->row && want->hash == got->hash);
    CHECK(text_equal(want->name, got->name) && want->gone == got->gone);
    CHECK(want->first_seen_ms == got->first_seen_ms && want->last_seen_ms == got->last_seen_ms);
    CHECK(want->clicks == got->clicks && want->shown == got->shown);
    CHECK(want->sightings == got->sightings && want->decayed_at_ms == got->decayed_at_ms);
    CHECK(want->covis_at_ms == got->covis_at_ms);
    CHECK(want->neighbours_count == got->neighbours_count);
    for (int i = 0; i < ITEM_FILE_DECAYED; i++)
        CHECK_NEAR(want->decayed[i], got->decayed[i], 0);
    for (int i = 0; i < want->neighbours_count; i++) {
        CHECK_INT(want->neighbours[i].index, got->neighbours[i].index);
        CHECK_NEAR(want->neighbours[i].weight, got->neighbours[i].weight, 0);
    }
}

/* Reads it to its end. */
static enum status read_file(int step, int neighbours_count, bool check)
{
    struct item_file *file;
    struct item_file_item item;
    struct error err;
    enum status status = item_file_open(&file, path, &err);
    bool more = status == OK;

    for (int i = 0; more; i += step) {
        status = item_file_next(file, &item, &more, &err);
        if (more && check) {
            int items = item_file_head(file)->items_total;
            struct item_file_item want = make_item(i, items, (i * 7) % (neighbours_count + 1));

            check_item(&want, &item);
        }
    }
    item_file_close(file);
    return status;
}

TEST(item_file_comes_back_at_several_sizes)
{
    static const int sizes[][3] = {{0, 1, 0},     {1, 1, 0},     {7, 3, 2},
                                   {3000, 1, 64}, {50, 1, 1024}, {400, 399, 1024}};

    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct item_file *file;
        struct error err;

        write_file(sizes[i][0], sizes[i][1], sizes[i][2]);
        CHECK_STATUS(OK, read_file(sizes[i][1], sizes[i][2], true));
        CHECK_STATUS(OK, item_file_open(&file, path, &err));
        const struct item_file_head *head = item_file_head(file);
        CHECK(head->delta == (sizes[i][1] > 1) && head->items_total == sizes[i][0]);
        CHECK(head->rows == 50 && head->sequence == (sizes[i][1] > 1 ? 9 : 0));
        CHECK(head->newest_ms == 1700000000000 && head->seed == 0x1234567890abcdef);
        CHECK_TEXT("v000012-3f9a", head->base_version);
        CHECK(head->offsets_count == 2 && head->offsets[1].partition == 3 &&
              head->offsets[1].next == INT64_MAX);
        item_file_close(file);
    }
}

TEST(item_file_that_was_not_finished_leaves_what_was_there)
{
    struct item_file_head head = make_head(2, false);
    struct item_file_item item = make_item(0, 2, 0);
    struct item_file_writer *writer;
    struct error err;
    char path_new[160];

    write_file(5, 1, 3);
    CHECK_STATUS(OK, item_file_writer_create(&writer, path, &head, &err));
    CHECK_STATUS(OK, item_file_writer_add(writer, &item, &err));
    item_file_writer_destroy(writer);
    (void)snprintf(path_new, sizeof path_new, "%s.new", path);
    CHECK(access(path_new, F_OK) != 0);
    CHECK_STATUS(OK, read_file(1, 3, true));
    CHECK_STATUS(ERR_IO, item_file_writer_create(&writer, "/nowhere/items", &head, &err));
    CHECK(writer == NULL);
}

/* Replaces the file's bytes; not synced, because there are thousands of them. */
static void put_file(const char *bytes, size_t count)
{
    (void)unlink(path); /* a file system may sync what replaces a file by truncating it */
    FILE *out = fopen(path, "wb");

    CHECK(out != NULL && fwrite(bytes, 1, count, out) == count && fclose(out) == 0);
}

static char *get_file(size_t *count)
{
    struct error err;
    char *bytes;

    CHECK_STATUS(OK, file_read(path, 1 << 24, &bytes, count, &err));
    return bytes;
}

TEST(item_file_refuses_every_truncation_and_tail)
{
    size_t count;

    write_file(4, 1, 3);
    char *bytes = get_file(&count);
    bytes = realloc(bytes, count + 8);
    memset(bytes + count, 0, 8);
    for (size_t cut = 0; cut < count + 3; cut++) {
        if (cut == count)
            continue;
        put_file(bytes, cut);
        CHECK_STATUS(ERR_MALFORMED, read_file(1, 3, false));
    }
    free(bytes);
}

TEST(item_file_refuses_every_flipped_byte)
{
    size_t count;

    write_file(4, 1, 3);
    char *bytes = get_file(&count);
    for (size_t at = 0; at < count; at++) {
        bytes[at] ^= 0x41;
        put_file(bytes, count);
        CHECK(read_file(1, 3, false) != OK);
        bytes[at] ^= 0x41;
    }
    free(bytes);
}

/* Writes value into the header at offset and makes its hash right again. */
static enum status read_with_header(char *bytes, size_t count, size_t at, uint32_t value)
{
    uint8_t *header = (uint8_t *)bytes;
    uint32_t before = bytes_get_u32(header + at);
    enum status status;

    bytes_put_u32(header + at, value);
    bytes_put_u64(header + 152, hash64(header, 152, 0));
    put_file(bytes, count);
    status = read_file(1, 3, false);
    bytes_put_u32(header + at, before);
    return status;
}

TEST(item_file_believes_no_number_of_a_header_with_a_right_hash)
{
    size_t count;

    write_file(4, 1, 3);
    char *bytes = get_file(&count);
    CHECK_STATUS(OK, read_with_header(bytes, count, 16, 4));
    CHECK_STATUS(ERR_VERSION, read_with_header(bytes, count, 8, 2));
    CHECK_STATUS(ERR_MALFORMED, read_with_header(bytes, count, 12, 2));
    CHECK_STATUS(ERR_MALFORMED, read_with_header(bytes, count, 16, 3));
    CHECK_STATUS(ERR_MALFORMED, read_with_header(bytes, count, 16, 5));
    CHECK_STATUS(ERR_LIMIT, read_with_header(bytes, count, 20, UINT32_MAX));
    CHECK_STATUS(ERR_MALFORMED, read_with_header(bytes, count, 20, ITEM_FILE_ITEMS_MAX));
    CHECK_STATUS(ERR_LIMIT, read_with_header(bytes, count, 20, ITEM_FILE_ITEMS_MAX + 1));
    CHECK_STATUS(ERR_LIMIT, read_with_header(bytes, count, 24, ITEM_FILE_ITEMS_MAX + 2));
    CHECK_STATUS(ERR_MALFORMED, read_with_header(bytes, count, 24, 1)); /* rows are above it */
    CHECK_STATUS(ERR_LIMIT, read_with_header(bytes, count, 28, ITEM_FILE_NEIGHBOURS_MAX + 1));
    CHECK_STATUS(ERR_MALFORMED, read_with_header(bytes, count, 28, 0));
    CHECK_STATUS(ERR_LIMIT, read_with_header(bytes, count, 32, ITEM_FILE_OFFSETS_MAX + 1));
    CHECK_STATUS(ERR_MALFORMED, read_with_header(bytes, count, 32, ITEM_FILE_OFFSETS_MAX));
    CHECK_STATUS(ERR_MALFORMED, read_with_header(bytes, count, 36, 1));
    CHECK_STATUS(ERR_MALFORMED, read_with_header(bytes, count, 140, 1));
    CHECK_STATUS(ERR_MALFORMED, read_with_header(bytes, count, 132, UINT32_MAX));
    free(bytes);
}

/* Writes bytes into the first item and makes both hashes right again. */
static enum status read_with_item(const char *good, size_t count, size_t at, const void *value,
                                  size_t value_bytes)
{
    uint8_t *bytes = malloc(count);
    enum status status;

    memcpy(bytes, good, count);
    memcpy(bytes + 160 + 24 + at, value, value_bytes);
    bytes_put_u64(bytes + 144, hash64(bytes + 160, count - 160, 0));
    bytes_put_u64(bytes + 152, hash64(bytes, 152, 0));
    put_file((const char *)bytes, count);
    status = read_file(1, 3, false);
    free(bytes);
    return status;
}

TEST(item_file_refuses_records_out_of_bounds_with_right_hashes)
{
    static const uint8_t ones[8] = {255, 255, 255, 255, 255, 255, 255, 255};
    static const uint8_t zeros[8];
    double nan_value = NAN, negative = -1, infinite = INFINITY;
    float nan_weight = NAN;
    size_t count;

    write_file(2, 1, 3);
    /* Only one block: its hash is one XXH3. Item 0 has no name and no neighbours. */
    char *bytes = get_file(&count);
    CHECK(count - 160 < 65536);
    CHECK_STATUS(OK, read_with_item(bytes, count, 0, zeros, 4));
    CHECK_STATUS(ERR_MALFORMED, read_with_item(bytes, count, 0, ones, 4));  /* index */
    CHECK_STATUS(ERR_MALFORMED, read_with_item(bytes, count, 0, "\1", 1));  /* not in order */
    CHECK_STATUS(ERR_MALFORMED, read_with_item(bytes, count, 4, ones, 4));  /* row */
    CHECK_STATUS(ERR_MALFORMED, read_with_item(bytes, count, 28, ones, 8)); /* clicks */
    CHECK_STATUS(ERR_MALFORMED, read_with_item(bytes, count, 36, ones, 8)); /* shown */
    CHECK_STATUS(ERR_MALFORMED, read_with_item(bytes, count, 48, "\2", 1)); /* flags */
    CHECK_STATUS(ERR_MALFORMED, read_with_item(bytes, count, 50, ones, 2)); /* name */
    CHECK_STATUS(ERR_MALFORMED, read_with_item(bytes, count, 52, ones, 2)); /* neighbours */
    CHECK_STATUS(ERR_MALFORMED, read_with_item(bytes, count, 60, &nan_value, 8));
    CHECK_STATUS(ERR_MALFORMED, read_with_item(bytes, count, 68, &negative, 8));
    CHECK_STATUS(ERR_MALFORMED, read_with_item(bytes, count, 76, &infinite, 8));
    /* Item 1 has a name of one character and 3 neighbours. */
    CHECK_STATUS(ERR_MALFORMED, read_with_item(bytes, count, 90 + 90, zeros, 1));
    CHECK_STATUS(ERR_MALFORMED, read_with_item(bytes, count, 90 + 91, "\2\0\0\0", 4));
    CHECK_STATUS(ERR_MALFORMED, read_with_item(bytes, count, 90 + 95, &nan_weight, 4));
    free(bytes);
}

TEST(item_file_refuses_what_is_no_regular_file)
{
    struct item_file *file;
    struct error err;
    char other[160];

    write_file(2, 1, 1);
    (void)snprintf(other, sizeof other, "%s.link", path);
    CHECK(symlink(path, other) == 0);
    CHECK_STATUS(ERR_MALFORMED, item_file_open(&file, other, &err));
    (void)snprintf(other, sizeof other, "%s.fifo", path);
    CHECK(mkfifo(other, 0600) == 0);
    CHECK_STATUS(ERR_MALFORMED, item_file_open(&file, other, &err));
    CHECK_STATUS(ERR_MALFORMED, item_file_open(&file, test_folder(), &err));
    CHECK_STATUS(ERR_NOT_FOUND, item_file_open(&file, "/nowhere/items", &err));
    CHECK(file == NULL);
}
