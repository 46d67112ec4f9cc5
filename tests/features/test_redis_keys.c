/* Tests features/redis_keys: what is written is read back, and nothing else is ours. */
#include "features/redis_keys.h"

#include "tests/test.h"

#include <string.h>

static struct text written(char *key, size_t bytes)
{
    return (struct text){key, bytes};
}

TEST(redis_keys_carry_the_shard_as_a_hash_tag)
{
    struct redis_keys keys;
    struct error err;
    char key[REDIS_KEY_BYTES_MAX];
    struct text rest;
    int shard;

    CHECK_STATUS(OK, redis_keys_init(&keys, "fr", &err));
    key[redis_key_user(&keys, 10, text_of("ann"), key)] = '\0';
    CHECK_TEXT("fr{0a}uann", key);
    key[redis_key_meta(&keys, 63, "events", 7, 0, key)] = '\0';
    CHECK_TEXT("fr{3f}mevents:7:0", key);
    key[redis_key_outbox(&keys, 4095, "events", 7, 2, key)] = '\0';
    CHECK_TEXT("fr{fff}oevents:7:2", key);
    CHECK_INT(REDIS_KEY_OUTBOX, redis_key_parse(&keys, text_of(key), &shard, &rest));
    CHECK_INT(4095, shard);
    CHECK(text_equal(rest, text_of("events:7:2")));
    CHECK_INT(REDIS_KEY_SET,
              redis_key_parse(&keys, written(key, redis_key_set(&keys, key)), &shard, &rest));
    CHECK_INT(0, shard);
}

TEST(redis_keys_read_back_every_user)
{
    struct redis_keys keys;
    struct error err;
    char key[REDIS_KEY_BYTES_MAX], user[128];
    struct text rest;
    int shard;

    CHECK_STATUS(OK, redis_keys_init(&keys, "12345678", &err));
    for (int i = 0; i < 256; i++) {
        struct text name = {user, (size_t)(i % 128) + 1};

        memset(user, i, sizeof user);
        CHECK_INT(REDIS_KEY_USER,
                  redis_key_parse(&keys, written(key, redis_key_user(&keys, i, name, key)), &shard,
                                  &rest));
        CHECK_INT(i, shard);
        CHECK(text_equal(name, rest));
    }
}

TEST(redis_keys_know_strangers)
{
    static const char *const others[] = {
        "",          "fr",       "fr{00}",     "fr{00}u",    "fr{0}uann",     "fr{00uann",
        "x{00}uann", "fr{zz}ua", "fr{12345}u", "fr{00}sets", "fr{00}probe-1", "fr{00}xa",
        "frr{00}ua",
    };
    struct redis_keys keys;
    struct error err;
    struct text rest;
    int shard;

    CHECK_STATUS(OK, redis_keys_init(&keys, "fr", &err));
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        CHECK_INT(REDIS_KEY_OTHER, redis_key_parse(&keys, text_of(others[i]), &shard, &rest));
    CHECK_STATUS(ERR_CONFIG, redis_keys_init(&keys, "", &err));
    CHECK_STATUS(ERR_CONFIG, redis_keys_init(&keys, "123456789", &err));
    CHECK_STATUS(ERR_CONFIG, redis_keys_init(&keys, "a{b", &err));
}
