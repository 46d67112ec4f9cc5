/*
 * Tests schemas/safetensors: what was written comes back aligned; everything hostile that a file
 * can hold is refused (FAULTS.md row 70).
 */
#include "ops/json_writer.h"
#include "schemas/bundle.h"
#include "schemas/bytes.h"
#include "tests/test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char path[128];
static struct safetensors *file;
static struct error err;

static const char *file_path(void)
{
    (void)snprintf(path, sizeof path, "%s/w.safetensors", test_folder());
    return path;
}

static void put_file(const void *bytes, size_t count)
{
    (void)unlink(file_path()); /* a file system may sync what replaces a file by truncating it */
    FILE *out = fopen(path, "wb");

    CHECK(out != NULL && fwrite(bytes, 1, count, out) == count && fclose(out) == 0);
}

/* A file of this header and so many bytes of zeros, read. */
static enum status read_header(const char *header, size_t data_bytes)
{
    size_t bytes = strlen(header);
    uint8_t *whole = calloc(1, 8 + bytes + data_bytes);
    enum status status;

    bytes_put_u64(whole, bytes);
    memcpy(whole + 8, header, bytes);
    put_file(whole, 8 + bytes + data_bytes);
    free(whole);
    status = safetensors_read(&file, path, &err);
    CHECK((status == OK) == (file != NULL));
    if (status == OK)
        safetensors_destroy(file);
    return status;
}

TEST(safetensors_come_back_aligned_and_by_name)
{
    static float a[6] = {1, -2, 3, 0, 5e-40f, 3e38f}, b[1] = {7}, c[17];
    struct tensor tensors[] = {{"a", 2, {2, 3}, a},
                               {"scalar", 0, {0}, b},
                               {"none \"of\" it", 2, {0, 5}, NULL},
                               {"long", 1, {17}, c}};

    CHECK_STATUS(OK, safetensors_write(file_path(), tensors, 4, &err));
    CHECK_STATUS(OK, safetensors_read(&file, path, &err));
    CHECK_INT(4, safetensors_count(file));
    for (int i = 0; i < 4; i++) {
        const struct tensor *tensor = safetensors_find(file, tensors[i].name);

        CHECK(tensor != NULL && tensor->dims_count == tensors[i].dims_count);
        CHECK(memcmp(tensor->dims, tensors[i].dims, sizeof tensor->dims) == 0);
        CHECK_INT(0, (int64_t)((uintptr_t)tensor->data % 64));
    }
    CHECK(memcmp(safetensors_find(file, "a")->data, a, sizeof a) == 0);
    CHECK(safetensors_find(file, "b") == NULL);
    safetensors_destroy(file);
    CHECK_STATUS(OK, safetensors_write(file_path(), NULL, 0, &err));
    CHECK_STATUS(OK, safetensors_read(&file, path, &err));
    CHECK_INT(0, safetensors_count(file));
    safetensors_destroy(file);
    CHECK_STATUS(ERR_IO, safetensors_write("/nowhere/w", tensors, 4, &err));
    CHECK_STATUS(ERR_NOT_FOUND, safetensors_read(&file, "/nowhere/w", &err));
}

TEST(safetensors_data_begins_at_a_multiple_of_64)
{
    static float a[6];
    struct tensor tensor = {"a", 1, {6}, a};
    uint8_t head[8];
    FILE *in;

    CHECK_STATUS(OK, safetensors_write(file_path(), &tensor, 1, &err));
    in = fopen(path, "rb");
    CHECK(fread(head, 1, 8, in) == 8 && fclose(in) == 0);
    CHECK_INT(0, (int64_t)((8 + bytes_get_u64(head)) % 64));
}

TEST(safetensors_refuse_hostile_headers)
{
    static const struct {
        const char *header;
        size_t data_bytes;
        enum status status;
    } cases[] = {
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8, OK},
        {"{\"__metadata__\":{\"x\":\"y\"},\"a\":{\"dtype\":\"F32\",\"shape\":[],"
         "\"data_offsets\":[0,4]}}   ",
         4, OK},
        {"{}", 0, OK},
        {"{}", 4, ERR_MALFORMED}, /* data that is no tensor's */
        {"", 0, ERR_MALFORMED},
        {"[]", 0, ERR_MALFORMED},
        {"{\"a\":1}", 0, ERR_MALFORMED},
        {"{\"a\":{\"dtype\":\"F64\",\"shape\":[1],\"data_offsets\":[0,8]}}", 8, ERR_MALFORMED},
        {"{\"a\":{\"dtype\":\"BF16\",\"shape\":[2],\"data_offsets\":[0,4]}}", 4, ERR_MALFORMED},
        {"{\"a\":{\"shape\":[1],\"data_offsets\":[0,4]}}", 4, ERR_MALFORMED},
        {"{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", 4, ERR_MALFORMED},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, ERR_MALFORMED},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0]}}", 4, ERR_MALFORMED},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4,4]}}", 4, ERR_MALFORMED},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1.5],\"data_offsets\":[0,6]}}", 6, ERR_MALFORMED},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[\"1\"],\"data_offsets\":[0,4]}}", 4, ERR_MALFORMED},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]}}", 4, ERR_LIMIT},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[-4,0]}}", 4, ERR_MALFORMED},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,0]}}", 4, ERR_MALFORMED},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4.0]}}", 4, ERR_MALFORMED},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}}", 4, ERR_MALFORMED},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 3, ERR_MALFORMED},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 8, ERR_MALFORMED},
        {"{\"\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, ERR_MALFORMED},
        /* five dims, a product that overflows 64 bits, one beyond the limit */
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1],\"data_offsets\":[0,4]}}", 4,
         ERR_MALFORMED},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2147483647,2147483647,2147483647,2147483647],"
         "\"data_offsets\":[0,4]}}",
         4, ERR_LIMIT},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[0,9223372036854775807],\"data_offsets\":[0,0]}}", 0,
         ERR_LIMIT},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2147483647],\"data_offsets\":[0,8589934588]}}", 4,
         ERR_MALFORMED},
        /* a hole, an overlap, a name twice */
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
         "\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[8,12]}}",
         12, ERR_MALFORMED},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
         "\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[4,12]}}",
         12, ERR_MALFORMED},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
         "\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}",
         4, ERR_MALFORMED},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]},"
         "\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}",
         8, OK},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
         "\"e\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]}}",
         4, OK},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
         "\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}",
         8, ERR_MALFORMED},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}", 4, ERR_MALFORMED},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        enum status got = read_header(cases[i].header, cases[i].data_bytes);

        if (got != cases[i].status)
            test_fail(__FILE__, __LINE__, "%s: want %s, got %s (%s)", cases[i].header,
                      status_name(cases[i].status), status_name(got), err.text);
    }
}

TEST(safetensors_have_at_most_the_tensors_and_names_of_the_limits)
{
    static char header[1 << 16];

    for (int count = BUNDLE_TENSORS_MAX; count <= BUNDLE_TENSORS_MAX + 1; count++) {
        size_t at = 0;

        for (int i = 0; i < count; i++)
            at += (size_t)snprintf(header + at, sizeof header - at,
                                   "%s\"t%d\":{\"dtype\":\"F32\",\"shape\":[1],"
                                   "\"data_offsets\":[%d,%d]}",
                                   i == 0 ? "{" : ",", i, 4 * i, 4 * i + 4);
        (void)snprintf(header + at, sizeof header - at, "}");
        CHECK_STATUS(count > BUNDLE_TENSORS_MAX ? ERR_LIMIT : OK,
                     read_header(header, (size_t)count * 4));
    }
    for (int bytes = 63; bytes <= 64; bytes++) {
        (void)snprintf(header, sizeof header,
                       "{\"%0*d\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", bytes,
                       0);
        CHECK_STATUS(bytes > 63 ? ERR_MALFORMED : OK, read_header(header, 4));
    }
}

TEST(safetensors_believe_no_length_of_a_header)
{
    static const uint64_t lengths[] = {SAFETENSORS_HEADER_MAX + 1, INT64_C(1) << 40, INT64_MAX,
                                       UINT64_MAX, UINT64_MAX - 7};
    uint8_t bytes[32] = {0};

    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        bytes_put_u64(bytes, lengths[i]);
        put_file(bytes, sizeof bytes);
        CHECK_STATUS(ERR_LIMIT, safetensors_read(&file, path, &err));
    }
    bytes_put_u64(bytes, SAFETENSORS_HEADER_MAX);
    put_file(bytes, sizeof bytes);
    CHECK_STATUS(ERR_MALFORMED, safetensors_read(&file, path, &err));
}

TEST(safetensors_refuse_values_that_are_not_finite)
{
    float values[3] = {1, 2, 3};
    struct tensor tensor = {"a", 1, {3}, values};

    for (int at = 0; at < 3; at++) {
        const float bad[] = {NAN, INFINITY, -INFINITY};

        values[at] = bad[at];
        CHECK_STATUS(OK, safetensors_write(file_path(), &tensor, 1, &err));
        CHECK_STATUS(ERR_MALFORMED, safetensors_read(&file, path, &err));
        values[at] = 0;
    }
}

TEST(safetensors_survive_every_truncation_and_every_flipped_byte)
{
    static float a[6] = {1, 2, 3, 4, 5, 6};
    struct tensor tensors[] = {{"a", 2, {2, 3}, a}, {"b", 1, {2}, a}};
    uint8_t bytes[512];
    size_t count;
    FILE *in;

    CHECK_STATUS(OK, safetensors_write(file_path(), tensors, 2, &err));
    in = fopen(path, "rb");
    count = fread(bytes, 1, sizeof bytes, in);
    CHECK(fclose(in) == 0 && count > 100 && count < sizeof bytes);
    for (size_t cut = 0; cut < count; cut++) {
        put_file(bytes, cut);
        CHECK_STATUS(ERR_MALFORMED, safetensors_read(&file, path, &err));
        CHECK(file == NULL);
    }
    for (size_t at = 0; at < count; at++) {
        bytes[at] ^= (uint8_t)(1 << at % 7);
        put_file(bytes, count);
        if (safetensors_read(&file, path, &err) == OK) {
            for (int i = 0; i < safetensors_count(file); i++)
                CHECK(isfinite(safetensors_at(file, i)->data[1]));
            safetensors_destroy(file);
        }
        bytes[at] ^= (uint8_t)(1 << at % 7);
    }
}

TEST(safetensors_refuse_what_is_no_regular_file)
{
    char other[160];

    put_file("", 0);
    (void)snprintf(other, sizeof other, "%s.link", path);
    CHECK(symlink(path, other) == 0);
    CHECK_STATUS(ERR_MALFORMED, safetensors_read(&file, other, &err));
    (void)snprintf(other, sizeof other, "%s.fifo", path);
    CHECK(mkfifo(other, 0600) == 0);
    CHECK_STATUS(ERR_MALFORMED, safetensors_read(&file, other, &err));
    CHECK_STATUS(ERR_MALFORMED, safetensors_read(&file, test_folder(), &err));
}
