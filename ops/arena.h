/*
 * ops/arena.h - memory that is freed all at once, for what lives as long as a batch.
 *
 * Grows in blocks up to a limit that is set at creation; after a reset the blocks
 * are used again, so a steady state allocates nothing.
 * Thread: one at a time.
 */
#ifndef OPS_ARENA_H
#define OPS_ARENA_H

#include <stddef.h>

struct arena;

/* Aborts the process only when the first small block cannot be had at start-up. */
struct arena *arena_create(size_t block_bytes, size_t limit_bytes);
void arena_destroy(struct arena *arena); /* NULL is fine */

/* 16-byte aligned (64 with _aligned); not zeroed. NULL when the limit is reached or memory is out.
 */
void *arena_alloc(struct arena *arena, size_t bytes);
void *arena_alloc_zeroed(struct arena *arena, size_t bytes);
void *arena_alloc_aligned64(struct arena *arena, size_t bytes);
void *arena_copy(struct arena *arena, const void *from, size_t bytes);

void arena_reset(struct arena *arena);
size_t arena_used_bytes(const struct arena *arena);

#endif
