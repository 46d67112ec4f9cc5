/*
 * features/redis_transaction.h - MULTI to EXEC in one piece, behind a WATCH that still holds; for
 * those who wait for answers (redis_store has its own).
 *
 * redis_call() connects anew on its way, to go on without the WATCH, or with writes that no MULTI
 * stands before. So a transaction is appended as a whole to the connection that watches, or not at
 * all:
 *
 *     WATCH and reads by redis_call(); epoch = redis_connection_epoch()
 *     redis_transaction_begin(epoch), commands by redis_begin(), redis_transaction_exec()
 *
 * Thread: the connection's.
 */
#ifndef FEATURES_REDIS_TRANSACTION_H
#define FEATURES_REDIS_TRANSACTION_H

#include "features/redis_connection.h"

/* Appends MULTI. epoch: of the connection, when WATCH was answered.
 * Errors: ERR_UNAVAILABLE (another connection by now), ERR_FULL; nothing was sent */
MUST_CHECK enum status redis_transaction_begin(struct redis_connection *connection, uint64_t epoch,
                                               struct error *err);
/**
 * Appends EXEC behind so many commands, writes it all, waits for all the replies: *reply is EXEC's,
 * nil where what is watched has changed.
 * Errors: ERR_UNAVAILABLE, ERR_TIMEOUT (it may have been carried out), ERR_FULL, what the first
 *         error reply says (nothing was carried out)
 */
MUST_CHECK enum status redis_transaction_exec(struct redis_connection *connection, int commands,
                                              int64_t timeout_ms, const struct redis_reply **reply,
                                              struct error *err);

#endif
