/* Tests features/redis_reply: every split of a good stream, and hostile ones (FAULTS 57). */
#include "features/redis_reply.h"

#include "ops/random.h"
#include "tests/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static enum status feed_all(struct redis_reader *reader, const char *bytes, size_t count,
                            const struct redis_reply **reply, struct error *err)
{
    enum status status = redis_reader_feed(reader, bytes, count, err);

    return status == OK ? redis_reader_next(reader, reply, err) : status;
}

TEST(redis_reply_is_the_same_however_the_bytes_are_cut)
{
    static const char stream[] = "*4\r\n$3\r\na\0b\r\n:-7\r\n*2\r\n+OK\r\n$-1\r\n-WRONGTYPE no\r\n";
    const size_t bytes = sizeof stream - 1;
    struct redis_reader *reader = redis_reader_create(1000, 10);
    const struct redis_reply *reply;
    struct error err;

    for (size_t cut = 1; cut < bytes; cut++) {
        CHECK_STATUS(OK, feed_all(reader, stream, cut, &reply, &err));
        CHECK(reply == NULL);
        CHECK_STATUS(OK, feed_all(reader, stream + cut, bytes - cut, &reply, &err));
        CHECK(reply != NULL && reply->type == REPLY_ARRAY && reply->count == 4);
        CHECK_INT(3, (int64_t)reply->elements[0]->text.bytes);
        CHECK(memcmp(reply->elements[0]->text.at, "a\0b", 4) == 0);
        CHECK_INT(-7, reply->elements[1]->integer);
        CHECK_TEXT("OK", reply->elements[2]->elements[0]->text.at);
        CHECK_INT(REPLY_NIL, reply->elements[2]->elements[1]->type);
        CHECK_STATUS(ERR_CORRUPT, redis_reply_status(reply->elements[3], &err));
    }
    redis_reader_destroy(reader);
}

TEST(redis_reply_refuses_hostile_streams)
{
    static const struct {
        const char *bytes;
        enum status want;
    } bad[] = {
        {"*2147483647\r\n", ERR_LIMIT},
        {"*4294967297\r\n", ERR_MALFORMED},
        {"*11\r\n", ERR_LIMIT},
        {"*-5\r\n", ERR_MALFORMED},
        {"$-5\r\n", ERR_MALFORMED},
        {"$99999999999999999999\r\n", ERR_MALFORMED},
        {"?what\r\n", ERR_MALFORMED},
        {":12x\r\n", ERR_MALFORMED},
        {"*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n", ERR_MALFORMED},
    };
    const struct redis_reply *reply;
    struct error err;

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct redis_reader *reader = redis_reader_create(1000, 10);
        enum status status = feed_all(reader, bad[i].bytes, strlen(bad[i].bytes), &reply, &err);

        CHECK(reply == NULL);
        if (status != bad[i].want)
            test_fail(__FILE__, __LINE__, "%zu: %s, %s", i, status_name(status), bad[i].bytes);
        redis_reader_destroy(reader);
    }
}

TEST(redis_reply_bounds_a_line_and_a_string_without_end)
{
    static const char *const heads[] = {"$1000000000\r\n", "+", "-", "*10\r\n$900\r\n"};
    struct error err;

    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++) {
        struct redis_reader *reader = redis_reader_create(1000, 10);
        const struct redis_reply *reply;
        char more[4096];
        enum status status = feed_all(reader, heads[i], strlen(heads[i]), &reply, &err);

        memset(more, 'a', sizeof more);
        for (int block = 0; status == OK && block < 64; block++)
            status = feed_all(reader, more, sizeof more, &reply, &err);
        CHECK(status == ERR_LIMIT || status == ERR_MALFORMED);
        redis_reader_destroy(reader);
    }
}

TEST(redis_reply_survives_flipped_bytes)
{
    static const char good[] = "*3\r\n$5\r\nhello\r\n:42\r\n*1\r\n+OK\r\n";
    struct random random;
    const struct redis_reply *reply;
    struct error err;

    random_seed(&random, test_seed());
    for (int round = 0; round < 20000; round++) {
        struct redis_reader *reader = redis_reader_create(500, 8);
        char bytes[sizeof good];
        enum status status;

        memcpy(bytes, good, sizeof good);
        for (int flips = 1 + (int)random_below(&random, 3); flips > 0; flips--)
            bytes[random_below(&random, sizeof good - 1)] = (char)random_u64(&random);
        status = feed_all(reader, bytes, sizeof good - 1, &reply, &err);
        while (status == OK && reply != NULL)
            status = redis_reader_next(reader, &reply, &err);
        redis_reader_destroy(reader);
    }
}

TEST(redis_errors_are_told_apart)
{
    CHECK_INT(REDIS_ERROR_OOM, redis_error_of(text_of("OOM command not allowed")));
    CHECK_INT(REDIS_ERROR_NOAUTH, redis_error_of(text_of("NOAUTH")));
    CHECK_INT(REDIS_ERROR_OTHER, redis_error_of(text_of("BUSYGROUP x")));
    CHECK_INT(REDIS_ERROR_OTHER, redis_error_of(text_of("")));
    CHECK_INT(REDIS_ERROR_ERR, redis_error_of(text_of("ERR unknown command")));
}
