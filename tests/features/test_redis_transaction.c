/* Tests features/redis_transaction: carried out as one while the watch holds, and not at all on a
 * connection that was made anew since. */
#include "features/redis_transaction.h"

#include "features/redis_call.h"
#include "tests/support/redis_server.h"
#include "tests/test.h"

static struct redis_server server;
static struct redis_connection *connection;
static const struct redis_reply *reply;
static struct error err;

static void begin(void)
{
    struct redis_target target;

    redis_server_start(&server, NULL);
    CHECK_STATUS(OK, redis_target_parse(&target, server.url, &err));
    CHECK_STATUS(OK, redis_connection_create(&connection, &target, NULL, NULL, &err));
}

static void end(void)
{
    redis_connection_destroy(connection);
    redis_server_stop(&server);
}

static uint64_t watch(void)
{
    const struct text words[] = {text_of("WATCH"), text_of("k")};

    CHECK_STATUS(OK, redis_call(connection, 30000, words, 2, &reply, &err));
    return redis_connection_epoch(connection);
}

static enum status set(uint64_t epoch, const char *command)
{
    enum status status = redis_transaction_begin(connection, epoch, &err);

    if (status != OK)
        return status;
    CHECK(redis_begin(connection, 3, 64));
    redis_argument_text(connection, command);
    redis_argument_text(connection, "k");
    redis_argument_text(connection, "mine");
    return redis_transaction_exec(connection, 1, 30000, &reply, &err);
}

TEST(redis_transaction_is_carried_out_while_the_watch_holds)
{
    begin();
    CHECK_STATUS(OK, set(watch(), "SET"));
    CHECK(reply->type == REPLY_ARRAY && reply->count == 1);
    CHECK_TEXT("mine", REDIS_COMMAND(&server, "GET", "k"));

    uint64_t epoch = watch();

    (void)REDIS_COMMAND(&server, "SET", "k", "theirs");
    CHECK_STATUS(OK, set(epoch, "SET"));
    CHECK_INT(REPLY_NIL, reply->type);
    CHECK_TEXT("theirs", REDIS_COMMAND(&server, "GET", "k"));
    CHECK(set(watch(), "NOSUCH") != OK); /* and the connection is good for more */
    CHECK_STATUS(OK, set(watch(), "SET"));
    end();
}

TEST(redis_transaction_writes_nothing_by_a_connection_made_anew)
{
    begin();
    CHECK_STATUS(OK, set(watch(), "SET"));

    uint64_t epoch = watch();

    (void)REDIS_COMMAND(&server, "SET", "k", "theirs");
    redis_connection_fail(connection, ERR_UNAVAILABLE, "by the test");
    CHECK_STATUS(ERR_UNAVAILABLE, set(epoch, "SET")); /* gone */
    CHECK_STATUS(OK, redis_call_wait_ready(connection, 30000, &err));
    CHECK_STATUS(ERR_UNAVAILABLE, set(epoch, "SET")); /* and there again, without the watch */
    CHECK_TEXT("theirs", REDIS_COMMAND(&server, "GET", "k"));
    end();
}
