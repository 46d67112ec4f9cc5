/*
 * ops/arena.c - a chain of blocks and a cursor.
 *
 * Blocks are kept in the order they were made; a reset only moves the cursor back to
 * the first, so a batch of the usual size allocates nothing. A request larger than
 * a block gets a block of its own, which serves again after a reset when it is reached.
 */
#include "ops/arena.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define ALIGN_USUAL 16
#define ALIGN_LINE  64

struct block {
    struct block *next;
    size_t bytes;                            /* of payload */
    _Alignas(ALIGN_LINE) unsigned char at[]; /* payload */
};

struct arena {
    struct block *first;
    struct block *current;
    size_t offset;         /* into current */
    size_t block_bytes;    /* payload of a usual block */
    size_t limit_bytes;    /* payload of all blocks together */
    size_t reserved_bytes; /* payload of all blocks so far */
    size_t used_bytes;     /* handed out since the last reset, padding included */
};

static struct block *block_create(size_t bytes)
{
    size_t whole = (sizeof(struct block) + bytes + ALIGN_LINE - 1) / ALIGN_LINE * ALIGN_LINE;
    struct block *block = aligned_alloc(ALIGN_LINE, whole);

    if (block == NULL)
        return NULL;
    block->next = NULL;
    block->bytes = bytes;
    return block;
}

struct arena *arena_create(size_t block_bytes, size_t limit_bytes)
{
    struct arena *arena = calloc(1, sizeof *arena);

    assert(block_bytes > 0 && limit_bytes > 0 && limit_bytes <= SIZE_MAX / 2);
    if (block_bytes > limit_bytes)
        block_bytes = limit_bytes;
    if (arena == NULL || (arena->first = block_create(block_bytes)) == NULL)
        abort(); /* at start-up, for one block: there is nothing to go on with */
    arena->current = arena->first;
    arena->block_bytes = block_bytes;
    arena->limit_bytes = limit_bytes;
    arena->reserved_bytes = block_bytes;
    return arena;
}

void arena_destroy(struct arena *arena)
{
    struct block *block = arena == NULL ? NULL : arena->first;

    while (block != NULL) {
        struct block *next = block->next;

        free(block);
        block = next;
    }
    free(arena);
}

/* The next block that can hold bytes, made when there is none. Blocks too small are left
 * behind until the reset. */
static struct block *next_block(struct arena *arena, size_t bytes)
{
    struct block *last = arena->current;
    struct block *block;
    size_t wanted = bytes > arena->block_bytes ? bytes : arena->block_bytes;

    for (block = last->next; block != NULL; block = block->next) {
        if (block->bytes >= bytes)
            return block;
        last = block;
    }
    if (wanted > arena->limit_bytes - arena->reserved_bytes)
        wanted = bytes; /* near the limit a smaller block is better than none */
    if (wanted > arena->limit_bytes - arena->reserved_bytes)
        return NULL;
    block = block_create(wanted);
    if (block == NULL)
        return NULL;
    arena->reserved_bytes += wanted;
    last->next = block;
    return block;
}

static void *take(struct arena *arena, size_t bytes, size_t align)
{
    size_t start = (arena->offset + align - 1) / align * align;

    if (bytes > arena->limit_bytes)
        return NULL; /* also keeps every sum below from wrapping */
    if (start > arena->current->bytes || bytes > arena->current->bytes - start) {
        struct block *block = next_block(arena, bytes);

        if (block == NULL)
            return NULL;
        arena->current = block;
        arena->offset = 0;
        start = 0;
    }
    arena->used_bytes += start - arena->offset + bytes;
    arena->offset = start + bytes;
    return arena->current->at + start;
}

void *arena_alloc(struct arena *arena, size_t bytes)
{
    return take(arena, bytes, ALIGN_USUAL);
}

void *arena_alloc_zeroed(struct arena *arena, size_t bytes)
{
    void *at = take(arena, bytes, ALIGN_USUAL);

    if (at != NULL)
        memset(at, 0, bytes);
    return at;
}

void *arena_alloc_aligned64(struct arena *arena, size_t bytes)
{
    return take(arena, bytes, ALIGN_LINE);
}

void *arena_copy(struct arena *arena, const void *from, size_t bytes)
{
    void *at = take(arena, bytes, ALIGN_USUAL);

    if (at != NULL && bytes > 0)
        memcpy(at, from, bytes);
    return at;
}

void arena_reset(struct arena *arena)
{
    arena->current = arena->first;
    arena->offset = 0;
    arena->used_bytes = 0;
}

size_t arena_used_bytes(const struct arena *arena)
{
    return arena->used_bytes;
}
