/* Tests features/size_plan: size classes, and the plan against a real redis-server's memory. */
#include "features/size_plan.h"

#include "features/redis_call.h"
#include "schemas/user_value.h"
#include "tests/support/redis_server.h"
#include "tests/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

TEST(size_plan_knows_the_size_classes)
{
    static const int64_t cases[][2] = {{0, 0},       {1, 8},       {8, 8},       {9, 16},
                                       {64, 64},     {65, 80},     {128, 128},   {129, 160},
                                       {256, 256},   {257, 320},   {1024, 1024}, {1025, 1280},
                                       {1534, 1536}, {1537, 1792}, {2049, 2560}, {16384, 16384}};

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        CHECK_INT(cases[i][1], size_plan_class(cases[i][0]));
    CHECK(size_plan_class(INT64_MAX / 8) >= INT64_MAX / 8);
}

TEST(size_plan_grows_with_everything_and_does_not_overflow)
{
    struct size_plan_input input = {.users = 10,
                                    .items = 10,
                                    .sequence_max = 100,
                                    .user_bytes = 10,
                                    .name_bytes = 10,
                                    .neighbours = 64};
    struct size_plan plan = size_plan_make(&input), more;

    CHECK_INT(1528, plan.value_bytes);
    CHECK_INT(10 * plan.user_bytes, plan.users_bytes);
    CHECK_INT(10 * plan.item_bytes, plan.items_bytes);
    input.opens = 1;
    input.rows = 10;
    more = size_plan_make(&input);
    CHECK_INT(1528 + USER_OPEN_HEADER_BYTES + 80, more.value_bytes);
    CHECK(more.user_bytes > plan.user_bytes && more.user_bytes <= 2048);
    input.users = input.items = INT64_MAX / 2;
    more = size_plan_make(&input);
    CHECK(more.users_bytes == INT64_MAX && more.items_bytes == INT64_MAX);
}

static int64_t used_memory(const struct redis_server *server)
{
    const char *info = REDIS_COMMAND(server, "INFO", "memory");
    const char *at = strstr(info, "used_memory:");

    CHECK(at != NULL);
    return atoll(at + 12);
}

/* SETs `users` values of so many bytes, with a TTL, and returns what they added to used_memory. */
static int64_t measure(const struct redis_server *server, int users, size_t value_bytes)
{
    static char value[USER_VALUE_BYTES_MAX];
    struct redis_connection *connection;
    const struct redis_reply *reply;
    struct redis_target target;
    struct error err;
    int64_t before;

    memset(value, 'x', sizeof value);
    CHECK_STATUS(OK, redis_target_parse(&target, server->url, &err));
    CHECK_STATUS(OK, redis_connection_create(&connection, &target, NULL, NULL, &err));
    CHECK_STATUS(OK, redis_call_wait_ready(connection, 5000, &err));
    before = used_memory(server);
    for (int begin = 0; begin < users; begin += 500) {
        for (int i = begin; i < begin + 500; i++) {
            char key[32];
            (void)snprintf(key, sizeof key, "fr{%02x}u%07d", i % 64, i);
            CHECK(redis_begin(connection, 5, value_bytes + 100));
            redis_argument_text(connection, "SET");
            redis_argument_text(connection, key);
            redis_argument(connection, value, value_bytes);
            redis_argument_text(connection, "PX");
            redis_argument_int(connection, 2000000000);
        }
        for (int i = 0; i < 500; i++)
            CHECK_STATUS(OK, redis_call_receive(connection, 5000, &reply, &err));
    }
    redis_connection_destroy(connection);
    /* The client's buffers are gone with it, after a moment: ask until nothing changes. */
    for (int64_t last = 0, now = used_memory(server); now != last; now = used_memory(server))
        last = now;
    return used_memory(server) - before;
}

TEST(size_plan_agrees_with_what_redis_uses)
{
    static const int shapes[][2] = {{0, 0}, {1, 10}, {4, 20}};
    enum { USERS = 16000 };

    for (int i = 0; i < 3; i++) {
        struct size_plan_input input = {.users = USERS,
                                        .sequence_max = 100,
                                        .user_bytes = 7,
                                        .opens = shapes[i][0],
                                        .rows = shapes[i][1]};
        struct size_plan plan = size_plan_make(&input);
        struct redis_server server;
        int64_t bytes;

        redis_server_start(&server, NULL);
        bytes = measure(&server, USERS, (size_t)plan.value_bytes);
        redis_server_stop(&server);
        CHECK_NEAR((double)bytes / USERS, (double)plan.user_bytes, 0.05 * (double)plan.user_bytes);
    }
}
