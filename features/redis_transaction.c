/* features/redis_transaction.c - see redis_transaction.h. */
#include "features/redis_transaction.h"

#include "features/redis_call.h"

#include <assert.h>

enum status redis_transaction_begin(struct redis_connection *connection, uint64_t epoch,
                                    struct error *err)
{
    if (!redis_connection_ready(connection) || redis_connection_epoch(connection) != epoch)
        return error_set(err, ERR_UNAVAILABLE,
                         "the connection to redis was lost while keys were watched; nothing was "
                         "written: try again");
    if (!redis_begin(connection, 1, 16))
        return error_set(err, ERR_FULL, "too much is waiting to be sent to redis");
    redis_argument_text(connection, "MULTI");
    return OK;
}

enum status redis_transaction_exec(struct redis_connection *connection, int commands,
                                   int64_t timeout_ms, const struct redis_reply **reply,
                                   struct error *err)
{
    enum status refused = OK;
    struct error first = {0};

    *reply = NULL;
    if (redis_begin(connection, 1, 16))
        redis_argument_text(connection, "EXEC");
    else
        redis_connection_fail(connection, ERR_FULL, "too much is waiting to be sent");
    for (int i = 0; i < commands + 2; i++) {
        enum status status = redis_call_receive(connection, timeout_ms, reply, err);

        if (status != OK)
            return status;
        if (refused == OK)
            refused = redis_reply_status(*reply, &first); /* the first says why, EXEC only that */
    }
    assert(*reply != NULL);
    if (refused != OK)
        *err = first;
    (void)redis_connection_heed(connection, *reply);
    return refused;
}
