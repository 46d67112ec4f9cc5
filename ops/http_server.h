/*
 * ops/http_server.h - the door to libmicrohttpd: bounded requests, one handler a route.
 *
 * Limits are part of opening it: header and body bytes, connections in all and an address,
 * total time for a request to arrive (libmicrohttpd's own timeout is of inactivity only).
 * Idle connections keep nobody out: when there are too many, the longest idle are closed, and then
 * those whose request has been arriving for longer than a second, such as dripped headers.
 * A body that is too long answers 413 and closes; a handler that needs time may suspend its
 * request and answer later from another thread.
 */
#ifndef OPS_HTTP_SERVER_H
#define OPS_HTTP_SERVER_H

#include "ops/status.h"
#include "ops/text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct http_request; /* of the server, valid until it is answered */

struct http_route {
    const char *method; /* "GET", "POST" */
    const char *path;   /* exact; a path ending in '*' matches by prefix. NULL ends the table */
    /* Called on a server thread with the whole body. Must answer at once with http_answer(), or
     * keep the request and answer later, once, from any thread. */
    void (*handle)(struct http_request *request, void *context);
};

struct http_server_options {
    const char *listen; /* "127.0.0.1:8080"; port 0: any, see http_server_port() */
    const struct http_route *routes;
    void *context;
    int threads;                /* 0: 1 */
    size_t body_bytes_max;      /* 0: 1 MiB */
    int connections_max;        /* beyond it the longest idle are closed; 0: 1024 */
    int connections_per_ip_max; /* more are closed at once; 0: no limit of its own */
    int64_t request_ms_max; /* time for a whole request to arrive; 0: 10 s. Its first line: 3 s */
};

/* Whether a server could be asked to listen there: "host:port", "[::1]:80". */
bool http_address_valid(const char *listen);
/* Would two servers on one machine be in each other's way? Not with port 0, nor when one of the two
 * is no address. Names are compared as they stand, but for localhost. */
bool http_addresses_collide(const char *listen, const char *other);

struct http_server;
MUST_CHECK enum status http_server_open(struct http_server **server,
                                        const struct http_server_options *options,
                                        struct error *err);
int http_server_port(const struct http_server *server);
/* Stops accepting, waits up to drain_ms for open requests, closes. NULL is fine. */
void http_server_close(struct http_server *server, int64_t drain_ms);

struct text http_request_body(const struct http_request *request);
struct text http_request_path(const struct http_request *request);
/* "" when absent. Valid while the request is. */
struct text http_request_header(const struct http_request *request, const char *name);
struct text http_request_query(const struct http_request *request, const char *name);
int64_t
http_request_arrived_us(const struct http_request *request); /* monotonic: headers complete */

/* Answers and lets go of the request; the bytes are copied. headers: "Name: value\n..." or NULL. */
void http_answer(struct http_request *request, int code, const char *content_type, struct text body,
                 const char *headers);
void http_answer_error(struct http_request *request, int code,
                       const char *text); /* JSON {"error": text} */

#endif
