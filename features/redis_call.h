/*
 * features/redis_call.h - one answer at a time: the blocking way to use a connection, for tools and
 * for what is asked before a loop begins.
 *
 * Thread: the connection's.
 */
#ifndef FEATURES_REDIS_CALL_H
#define FEATURES_REDIS_CALL_H

#include "features/redis_connection.h"

/* Connects if need be, sends one command, waits for its reply; an ERROR reply is its status.
 * Errors: those of the two below, ERR_FULL, what redis_reply_status() makes of an ERROR */
MUST_CHECK enum status redis_call(struct redis_connection *connection, int64_t timeout_ms,
                                  const struct text *arguments, int arguments_count,
                                  const struct redis_reply **reply, struct error *err);
/* GET. value->at == NULL: no such key. Valid until the next call. */
MUST_CHECK enum status redis_call_get(struct redis_connection *connection, int64_t timeout_ms,
                                      struct text key, struct text *value, struct error *err);

/* ---- its parts, for whoever sends more than one command before it waits ---- */

/* Steps until it is ready. Errors: ERR_TIMEOUT, ERR_UNAVAILABLE, ERR_CONFIG (wrong password) */
MUST_CHECK enum status redis_call_wait_ready(struct redis_connection *connection,
                                             int64_t timeout_ms, struct error *err);
/* Appends one command. Errors: ERR_FULL (the output limit, or it is not ready); nothing was
 * appended */
MUST_CHECK enum status redis_call_append(struct redis_connection *connection,
                                         const struct text *arguments, int arguments_count,
                                         struct error *err);
/**
 * Writes what was appended and waits for the next reply. An ERROR reply is OK here (see
 * redis_reply_status): the call worked.
 * Errors: ERR_UNAVAILABLE (the connection failed: replies still owed never come), ERR_TIMEOUT
 *         (it was dropped for it)
 */
MUST_CHECK enum status redis_call_receive(struct redis_connection *connection, int64_t timeout_ms,
                                          const struct redis_reply **reply, struct error *err);
/* What GET answered: a string, or nil (value->at == NULL). Errors: ERR_MALFORMED */
MUST_CHECK enum status redis_call_value(const struct redis_reply *reply, struct text *value,
                                        struct error *err);

#endif
