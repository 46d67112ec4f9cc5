/*
 * ops/http_client.h - the door to libcurl: small requests with a deadline and a size limit.
 * Keeps its connection open between calls. Never follows redirects.
 * Thread: a client belongs to one thread at a time.
 */
#ifndef OPS_HTTP_CLIENT_H
#define OPS_HTTP_CLIENT_H

#include "ops/status.h"
#include "ops/text.h"

#include <stddef.h>
#include <stdint.h>

struct http_client;
MUST_CHECK enum status http_client_create(struct http_client **client, int64_t timeout_ms,
                                          size_t answer_bytes_max, struct error *err);
void http_client_destroy(struct http_client *client);
/* "user:password" for every call from now on (basic); NULL: none. Copied. */
void http_client_authorize(struct http_client *client, const char *user_password);

/* body valid until the next call. Errors: ERR_UNAVAILABLE, ERR_TIMEOUT, ERR_LIMIT. An HTTP
 * status of 400 or more is no error of the call. */
MUST_CHECK enum status http_client_get(struct http_client *client, const char *url, int *code,
                                       struct text *body, struct error *err);
MUST_CHECK enum status http_client_post(struct http_client *client, const char *url,
                                        struct text json, int *code, struct text *body,
                                        struct error *err);

#endif
