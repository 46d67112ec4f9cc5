/*
 * ops/http_server_private.h - a request and who holds it. Private to ops/http_server*.
 *
 * A request is self-contained: what the client sent is copied out of libmicrohttpd's memory, so
 * that a handler which keeps it may read it on another thread even when the server has given the
 * connection up. It has two holders while it is handled, the connection and the handler; the last
 * to let go returns it to a store of spare ones.
 */
#ifndef OPS_HTTP_SERVER_PRIVATE_H
#define OPS_HTTP_SERVER_PRIVATE_H

#include "ops/http_server.h"

#include <microhttpd.h>
#include <stdatomic.h>

#define HTTP_FIELDS_MAX 128 /* headers and query arguments of one request */

enum request_state {
    REQUEST_ARRIVING,
    REQUEST_HANDLED,  /* the handler runs and has not answered yet */
    REQUEST_KEPT,     /* it has returned without an answer: the connection is suspended */
    REQUEST_ANSWERED, /* the answer is there; only the server's thread touches it now */
    REQUEST_GIVEN_UP, /* the server closed first; the answer will go nowhere */
};

struct http_field {
    enum MHD_ValueKind kind;
    size_t name_at; /* into texts; both end with a zero */
    size_t value_at;
    size_t value_bytes;
};

/* Bytes that grow by doubling and are kept for the next request. */
struct http_bytes {
    char *at;
    size_t used;
    size_t capacity;
};

struct http_request {
    struct http_server *server;
    struct MHD_Connection *connection; /* not to be touched once GIVEN_UP */
    struct http_request *next;         /* among the kept ones, or the spare ones */
    struct http_request *previous;
    atomic_int state; /* enum request_state */
    atomic_int holders;
    int64_t arrived_us;
    const struct http_route *route;
    struct http_field fields[HTTP_FIELDS_MAX];
    int fields_count;
    bool fields_overflow;
    bool too_large; /* the body is read on and thrown away, to be answered with 413 */
    size_t thrown_away_bytes;
    struct http_bytes texts; /* the path, then names and values of the fields */
    struct http_bytes body;
    struct http_bytes answer; /* the body of the answer, after it its headers */
    size_t answer_bytes;      /* of the body */
    int code;
};

/* NULL: no memory. One holder. */
struct http_request *request_create(struct http_server *server, struct MHD_Connection *connection);
void request_release(struct http_request *request);
/* Copies path, headers and query arguments. False: no memory, or too many (fields_overflow). */
bool request_fill(struct http_request *request, const char *path);
bool request_append(struct http_bytes *bytes, const void *from, size_t count);

/* Suspended requests, the server's side of keeping one. */
void server_resume(struct http_request *request);

#endif
