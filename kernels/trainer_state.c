/*
 * kernels/trainer_state.c - the optimiser's state as bytes.
 *
 * Layout (little-endian; every offset in bytes):
 *
 *    0  magic      4  "FTS1"
 *    4  items      4  0 AdamW, 1 Adagrad
 *    8  floats     8  of each dense moment, padding included
 *   16  V          4  item rows
 *   20  C          4  channels
 *   24  steps      8
 *   32  random    32  four words of the generator
 *   64  m, v          float32 (floats) each
 *       items_m, items_v   float32 (V, C) each; Adagrad: items_v (V) alone
 *  end  checksum   8  XXH3-64 of everything before it
 */
#include "kernels/trainer_private.h"

#include "ops/hash.h"

#include <assert.h>
#include <string.h>

#define MAGIC          "FTS1"
#define HEADER_BYTES   64
#define CHECKSUM_BYTES 8
#define CHECKSUM_SEED  0x66726573686574u

struct header {
    char magic[4];
    uint32_t items;
    int64_t floats;
    int32_t V, C;
    int64_t steps;
    uint64_t random[4];
};

_Static_assert(sizeof(struct header) == HEADER_BYTES, "the header has no padding");

static size_t items_floats(enum trainer_items items, int32_t V, int32_t C)
{
    return items == TRAINER_ITEMS_ADAGRAD ? (size_t)V : 2 * (size_t)V * (size_t)C;
}

static size_t state_bytes(enum trainer_items items, int64_t floats, int32_t V, int32_t C)
{
    return HEADER_BYTES + (2 * (size_t)floats + items_floats(items, V, C)) * sizeof(float) +
           CHECKSUM_BYTES;
}

size_t trainer_state_bytes(const struct trainer *t)
{
    return state_bytes(t->config.items, t->layout.floats, t->V, t->network.config.C);
}

/* Copies one array and moves on. */
static void put(char **at, const float *from, size_t floats)
{
    memcpy(*at, from, floats * sizeof *from);
    *at += floats * sizeof *from;
}

static void get(const char **at, float *to, size_t floats)
{
    assert(to != NULL || floats == 0);
    if (floats == 0)
        return;
    memcpy(to, *at, floats * sizeof *to);
    *at += floats * sizeof *to;
}

void trainer_state_save(const struct trainer *t, void *bytes)
{
    struct header header = {.items = (uint32_t)t->config.items,
                            .floats = t->layout.floats,
                            .V = t->V,
                            .C = t->network.config.C,
                            .steps = t->steps};
    char *at = bytes;

    assert(!t->ahead);
    size_t rows = items_floats(t->config.items, t->V, header.C);
    uint64_t checksum;

    memcpy(header.magic, MAGIC, sizeof header.magic);
    memcpy(header.random, t->random.s, sizeof header.random);
    memcpy(at, &header, sizeof header);
    at += sizeof header;
    put(&at, t->m, (size_t)t->layout.floats);
    put(&at, t->v, (size_t)t->layout.floats);
    if (t->config.items == TRAINER_ITEMS_ADAMW) {
        put(&at, t->items_m, rows / 2);
        put(&at, t->items_v, rows / 2);
    } else {
        put(&at, t->items_v, rows);
    }
    checksum = hash64(bytes, (size_t)(at - (char *)bytes), CHECKSUM_SEED);
    memcpy(at, &checksum, sizeof checksum);
}

/* Checks everything before anything is believed or changed. The sizes come first, bounded before
 * they are multiplied, so that a cut file is called cut and not damaged. */
static enum status check(const struct trainer *t, const struct header *header, const void *bytes,
                         size_t count, struct error *err)
{
    bool known = header->items <= TRAINER_ITEMS_ADAGRAD && header->floats >= 0 &&
                 header->floats <= (int64_t)1 << 40 && header->V >= 1 &&
                 header->V <= MODEL_ITEMS_MAX && header->C >= 1 && header->C <= MODEL_CHANNELS_MAX;
    uint64_t checksum;

    if (memcmp(header->magic, "FTS", 3) != 0)
        return error_set(err, ERR_MALFORMED, "not a trainer's state (wrong magic)");
    if (memcmp(header->magic, MAGIC, sizeof header->magic) != 0)
        return error_set(err, ERR_VERSION, "trainer state of version %d, this build reads '%c'",
                         header->magic[3], MAGIC[3]);
    if (!known || count != state_bytes((enum trainer_items)header->items, header->floats, header->V,
                                       header->C))
        return error_set(err, ERR_MALFORMED,
                         "trainer state of %zu bytes is not what its header "
                         "says",
                         count);
    memcpy(&checksum, (const char *)bytes + count - CHECKSUM_BYTES, sizeof checksum);
    if (checksum != hash64(bytes, count - CHECKSUM_BYTES, CHECKSUM_SEED))
        return error_set(err, ERR_CORRUPT, "trainer state: checksum does not match");
    if (header->items != (uint32_t)t->config.items || header->floats != t->layout.floats ||
        header->C != t->network.config.C)
        return error_set(err, ERR_CONFLICT,
                         "trainer state of %lld weights, %d channels, items form %u: this "
                         "trainer has %lld, %d, %u",
                         (long long)header->floats, (int)header->C, (unsigned)header->items,
                         (long long)t->layout.floats, (int)t->network.config.C,
                         (unsigned)t->config.items);
    return OK;
}

enum status trainer_state_load(struct trainer *t, const void *bytes, size_t count,
                               struct error *err)
{
    struct header header;
    const char *at = bytes;
    enum status status;
    size_t rows, width;

    assert(!t->ahead);
    if (count < HEADER_BYTES + CHECKSUM_BYTES)
        return error_set(err, ERR_MALFORMED, "trainer state of %zu bytes is cut short", count);
    memcpy(&header, bytes, sizeof header);
    status = check(t, &header, bytes, count, err);
    if (status == OK)
        status = trainer_cover_items(t, header.V, err);
    if (status != OK)
        return status;
    rows = items_floats(t->config.items, header.V, header.C);
    width = t->config.items == TRAINER_ITEMS_ADAGRAD ? 1 : (size_t)header.C;
    /* Rows the state does not cover start afresh, and so does the memory behind them. */
    memset(t->items_v, 0, (size_t)t->items_capacity * width * sizeof(float));
    if (t->items_m != NULL)
        memset(t->items_m, 0, (size_t)t->items_capacity * width * sizeof(float));
    at += sizeof header;
    get(&at, t->m, (size_t)t->layout.floats);
    get(&at, t->v, (size_t)t->layout.floats);
    if (t->config.items == TRAINER_ITEMS_ADAMW) {
        get(&at, t->items_m, rows / 2);
        get(&at, t->items_v, rows / 2);
    } else {
        get(&at, t->items_v, rows);
    }
    t->moments_changed = true;
    t->spoiled = false; /* the model is to be restored with it */
    t->V = header.V;
    t->steps = header.steps;
    memcpy(t->random.s, header.random, sizeof header.random);
    return OK;
}
