/* Tests ops/arena: alignment, the limit, and that a reset gives the same memory again. */
#include "ops/arena.h"

#include "tests/test.h"

#include <stdint.h>
#include <string.h>

TEST(arena_pieces_are_aligned_and_apart)
{
    struct arena *arena = arena_create(256, 1 << 20);
    unsigned char *before = NULL;

    for (size_t bytes = 0; bytes < 300; bytes++) {
        unsigned char *at = bytes % 3 == 0 ? arena_alloc_aligned64(arena, bytes)
                                           : arena_alloc(arena, bytes);

        CHECK(at != NULL);
        CHECK_INT(0, (uintptr_t)at % (bytes % 3 == 0 ? 64 : 16));
        memset(at, (int)bytes, bytes);
        if (before != NULL)
            for (size_t i = 0; i < bytes - 1; i++)
                CHECK_INT((unsigned char)(bytes - 1), before[i]);
        before = at;
    }
    arena_destroy(arena);
}

TEST(arena_refuses_what_exceeds_its_limit_and_goes_on)
{
    struct arena *arena = arena_create(1024, 4096);

    CHECK(arena_alloc(arena, 4097) == NULL);
    CHECK(arena_alloc(arena, SIZE_MAX) == NULL);
    CHECK(arena_alloc(arena, SIZE_MAX - 15) == NULL);
    CHECK(arena_alloc(arena, 3072) != NULL); /* all that is left beside the first block */
    CHECK(arena_alloc(arena, 1) == NULL);
    arena_reset(arena);
    CHECK(arena_alloc(arena, 1024) != NULL); /* the first block */
    CHECK(arena_alloc(arena, 3072) != NULL); /* the second, used again */
    CHECK(arena_alloc(arena, 1) == NULL);
    arena_destroy(arena);
}

TEST(arena_of_exactly_its_limit_is_usable)
{
    struct arena *arena = arena_create(1 << 20, 64);

    CHECK(arena_alloc(arena, 65) == NULL);
    CHECK(arena_alloc(arena, 64) != NULL);
    CHECK(arena_alloc(arena, 1) == NULL);
    CHECK_INT(64, arena_used_bytes(arena));
    arena_destroy(arena);
}

TEST(arena_reset_gives_the_same_memory_again)
{
    struct arena *arena = arena_create(128, 1 << 16);
    void *first[40];

    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 40; i++) {
            void *at = arena_alloc(arena, (size_t)(i * 7 % 200));

            CHECK(round == 0 || at == first[i]);
            first[i] = at;
        }
        CHECK(arena_used_bytes(arena) > 0);
        arena_reset(arena);
        CHECK_INT(0, arena_used_bytes(arena));
    }
    arena_destroy(arena);
}

TEST(arena_copies_and_zeroes)
{
    struct arena *arena = arena_create(64, 4096);
    unsigned char *zeroed;

    memset(arena_alloc(arena, 64), 0xff, 64);
    arena_reset(arena);
    zeroed = arena_alloc_zeroed(arena, 64);
    for (int i = 0; i < 64; i++)
        CHECK_INT(0, zeroed[i]);
    CHECK_INT(0, memcmp(arena_copy(arena, "freshet", 8), "freshet", 8));
    CHECK(arena_copy(arena, NULL, 0) != NULL);
    arena_destroy(arena);
    arena_destroy(NULL);
}
