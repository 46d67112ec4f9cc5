/* Tests machine/user_cache: found by user and by nothing else, bounded by bytes, pins hold. */
#include "machine/user_cache.h"

#include "tests/test.h"

#include <stdio.h>
#include <string.h>

static struct text name_of(char *into, int i)
{
    return (struct text){into, (size_t)snprintf(into, 32, "user-%d", i)};
}

TEST(user_cache_tells_users_with_one_hash_apart)
{
    struct user_cache cache;
    struct cached *a, *b;
    struct error err;

    CHECK_STATUS(OK, user_cache_init(&cache, 1 << 20, &err));
    a = user_cache_put(&cache, 7, text_of("ann"), (const uint8_t *)"A", 1);
    b = user_cache_put(&cache, 7, text_of("bob"), (const uint8_t *)"BB", 2);
    CHECK(a != NULL && b != NULL && a != b);
    CHECK(user_cache_find(&cache, 7, text_of("ann")) == a && a->image[0] == 'A');
    CHECK(user_cache_find(&cache, 7, text_of("bob")) == b && b->bytes == 2);
    CHECK(user_cache_find(&cache, 7, text_of("an")) == NULL);
    CHECK(user_cache_find(&cache, 8, text_of("ann")) == NULL);
    user_cache_drop(&cache, a);
    CHECK(user_cache_find(&cache, 7, text_of("ann")) == NULL);
    CHECK(user_cache_find(&cache, 7, text_of("bob")) == b);
    CHECK_INT(1, cache.users);
    user_cache_clear(&cache);
    user_cache_clear(&cache); /* again is fine */
}

TEST(user_cache_replaces_an_image_by_a_larger_and_a_smaller_one)
{
    uint8_t image[5000];
    struct user_cache cache;
    struct cached *cached = NULL;
    struct error err;
    const size_t sizes[] = {1, 28, 5000, 30, 4999, 2};

    for (size_t i = 0; i < sizeof image; i++)
        image[i] = (uint8_t)i;
    CHECK_STATUS(OK, user_cache_init(&cache, 1 << 20, &err));
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        cached = user_cache_put(&cache, 7, text_of("ann"), image, sizes[i]);
        CHECK(cached != NULL && cached->bytes == sizes[i]);
        CHECK(memcmp(cached->image, image, sizes[i]) == 0);
    }
    CHECK(cached->capacity < 1000); /* a value that shrank gives its memory back */
    CHECK_INT(1, cache.users);
    user_cache_clear(&cache);
}

TEST(user_cache_is_bounded_and_keeps_what_is_used_or_pinned)
{
    uint8_t image[100] = {0};
    struct user_cache cache;
    struct cached *pinned;
    struct error err;
    char name[32];

    CHECK_STATUS(OK, user_cache_init(&cache, 100000, &err));
    pinned = user_cache_put(&cache, 999999, text_of("pinned"), image, sizeof image);
    pinned->pins = 1;
    for (int i = 0; i < 20000; i++) {
        struct text user = name_of(name, i);
        CHECK(user_cache_put(&cache, (uint64_t)i << 20, user, image, sizeof image) != NULL);
        CHECK(cache.bytes <= 100000 + 1000);
        CHECK(i % 50 != 0 || user_cache_find(&cache, 0, text_of("user-0")) != NULL || i > 50);
    }
    CHECK(user_cache_find(&cache, 999999, text_of("pinned")) == pinned);
    CHECK(user_cache_find(&cache, UINT64_C(19999) << 20, name_of(name, 19999)) != NULL);
    CHECK(user_cache_find(&cache, UINT64_C(3) << 20, name_of(name, 3)) == NULL);
    CHECK(cache.users > 100 && cache.users < 1000);
    pinned->pins = 0;
    user_cache_clear(&cache);
}

TEST(user_cache_stores_one_that_is_larger_than_the_bound)
{
    static uint8_t image[70000];
    struct user_cache cache;
    struct error err;

    CHECK_STATUS(OK, user_cache_init(&cache, 100, &err));
    CHECK(user_cache_put(&cache, 1, text_of("a"), image, sizeof image) != NULL);
    CHECK(user_cache_put(&cache, 2, text_of("b"), image, sizeof image) != NULL);
    CHECK(cache.users <= 2); /* the newest is never the one that goes */
    CHECK(user_cache_find(&cache, 2, text_of("b")) != NULL);
    user_cache_clear(&cache);
}
