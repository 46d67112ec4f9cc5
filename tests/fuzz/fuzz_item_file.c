/* Fuzzes schemas/item_file: as it is, and with its hashes made right, so that what lies behind
 * them is reached. */
#include "ops/hash.h"
#include "schemas/bytes.h"
#include "schemas/item_file.h"
#include "tests/fuzz/fuzz.h"

#include <math.h>

#define BLOCK_BYTES 65536

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    static const struct item_file_offset offsets[1] = {{3, 17}};
    static const struct item_neighbour neighbours[2] = {{0, 0.5f}, {1, 0.25f}};
    struct item_file_head head = {.items_total = 2,
                                  .rows = 3,
                                  .neighbours_max = 4,
                                  .base_version = "v1",
                                  .offsets_count = 1,
                                  .offsets = offsets};
    struct error err;

    (void)argc;
    (void)argv;
    for (int delta = 0; delta < 2; delta++) {
        struct item_file_writer *writer;
        const char *path = fuzz_file("", 0);
        char bytes[4096];
        FILE *in;

        head.delta = delta;
        FUZZ_CHECK(item_file_writer_create(&writer, path, &head, &err) == OK);
        for (int i = delta; i < 2; i++) {
            struct item_file_item item = {.index = i,
                                          .row = i,
                                          .hash = 77u + (uint64_t)i,
                                          .name = {"item", 4},
                                          .clicks = 5,
                                          .decayed = {1, 2, 3},
                                          .neighbours_count = 2,
                                          .neighbours = neighbours};

            FUZZ_CHECK(item_file_writer_add(writer, &item, &err) == OK);
        }
        FUZZ_CHECK(item_file_writer_finish(writer, &err) == OK);
        item_file_writer_destroy(writer);
        in = fopen(path, "rb");
        FUZZ_CHECK(in != NULL);
        size_t count = fread(bytes, 1, sizeof bytes, in);
        (void)fclose(in);
        fuzz_seed(bytes, count);
    }
    fuzz_seeds_done();
    return 0;
}

static void read_to_the_end(const uint8_t *bytes, size_t count)
{
    struct item_file *file;
    struct item_file_item item;
    struct error err;
    bool more = true;

    if (item_file_open(&file, fuzz_file(bytes, count), &err) != OK)
        return;
    const struct item_file_head *head = item_file_head(file);
    while (item_file_next(file, &item, &more, &err) == OK && more) {
        FUZZ_CHECK(item.index >= 0 && item.index < head->items_total);
        FUZZ_CHECK(item.row >= 0 && (item.row == 0 || item.row < head->rows));
        FUZZ_CHECK(item.name.bytes <= ITEM_ID_MAX && isfinite(item.decayed[2]));
        for (int i = 0; i < item.neighbours_count; i++)
            FUZZ_CHECK(item.neighbours[i].index >= 0 &&
                       item.neighbours[i].index < head->items_total &&
                       isfinite(item.neighbours[i].weight));
    }
    item_file_close(file);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t bytes[1 << 20];
    uint64_t hash = 0;

    read_to_the_end(data, size);
    if (size < ITEM_FILE_HEADER_BYTES || size > sizeof bytes)
        return 0;
    memcpy(bytes, data, size);
    for (size_t at = ITEM_FILE_HEADER_BYTES; at < size; at += BLOCK_BYTES)
        hash = hash64(bytes + at, size - at < BLOCK_BYTES ? size - at : BLOCK_BYTES, hash);
    bytes_put_u64(bytes + 136, size - ITEM_FILE_HEADER_BYTES);
    bytes_put_u64(bytes + 144, hash);
    bytes_put_u64(bytes + 152, hash64(bytes, 152, 0));
    read_to_the_end(bytes, size);
    return 0;
}
