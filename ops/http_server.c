/*
 * ops/http_server.c - libmicrohttpd on epoll threads of its own, with limits all around it.
 *
 * Flow: socket -> [libmicrohttpd: parse] -> [check, gather the body] -> handler -> answer
 *
 * Time. libmicrohttpd's timeout is of inactivity: a client that sends a byte every few seconds
 * holds a connection for ever. So each connection says in which phase it is and since when, and a
 * sweeper shuts down the sockets of those that took too long; the server's own thread then sees
 * the end and cleans up. A handler that keeps its request is the handler's business.
 *
 * Room. Idle connections are cheap for who holds them, and behind a proxy all clients have one
 * address, so a bound by address alone protects nobody. So nothing is refused while connections do
 * no work: beyond connections_max the ones that are idle for longest, between two requests or
 * before their first, are closed, a few at a time, and libmicrohttpd's own limit lies above by as
 * many as may be closing. When none is idle, requests that have been arriving for a second, as
 * those of clients that drip their headers are, make room, the longest first. Only when all of them
 * are at work does who comes wait to be accepted.
 *
 * Late answers. The connection is suspended after the handler has returned without an answer, and
 * resumed by http_answer(); what happens in between on two threads is settled by one atomic state.
 * Answers are always queued by libmicrohttpd's own thread.
 *
 * What libmicrohttpd 0.9.75 lets through and a proxy in front might read differently is refused
 * here: Content-Length together with Transfer-Encoding, two Content-Lengths, an unknown
 * Transfer-Encoding.
 */
#include "ops/http_server.h"

#include "ops/clock.h"
#include "ops/http_server_private.h"
#include "ops/log.h"
#include "ops/metric.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BODY_BYTES_MAX   ((size_t)1 << 20)
#define HEADER_BYTES_MAX ((size_t)32 << 10) /* a connection's memory in libmicrohttpd */
#define CONNECTIONS_MAX  1024
#define REQUEST_MS_MAX   10000
#define NEW_MS_MAX       3000  /* from connecting to the end of the first request's first line */
#define IDLE_MS_MAX      75000 /* between two requests of one connection */
#define ANSWER_MS_MAX    60000 /* for a client to take its answer */
#define SWEEP_PERIOD_MS  50
#define CROWD_ARRIVE_MS  1000 /* so long a request may arrive before it makes room for others */
#define CROWD_MAX        16   /* closed at once, at most, to make room */
#define FIRST_WORD_MS    1000 /* while closing: for a connected client to begin its request */
#define APPEAR_MS        50   /* while closing: for a connection just accepted to be told to us */

static const char *const class_names[] = {"1xx", "2xx", "3xx", "4xx", "5xx"};
METRIC_COUNTER_OF(answers, "freshet_http_answers_total", "answers by class of status", "class",
                  class_names, 5);
METRIC_COUNTER(timeouts, "freshet_http_timeouts_total",
               "connections closed because a request or its reader was too slow");
METRIC_COUNTER(crowded_out, "freshet_http_crowded_out_total",
               "idle connections, and requests slow to arrive, closed because there were more than "
               "the limit");
METRIC_GAUGE(connections, "freshet_http_connections", "open connections");

enum phase { PHASE_NEW, PHASE_ARRIVING, PHASE_HANDLED, PHASE_ANSWERING, PHASE_IDLE };

/* One open socket. since_us is written before phase and read after it: a new phase is never seen
 * with an old time. */
struct connection {
    struct connection *next, *previous; /* server->lock */
    int socket;
    bool closing; /* server->lock: shut down, and soon to be gone */
    atomic_int phase;
    _Atomic int64_t since_us;
};

struct http_server {
    struct MHD_Daemon *daemon;
    const struct http_route *routes;
    void *context;
    size_t body_bytes_max;
    int64_t request_ms_max;
    int connections_max;
    int port;
    atomic_bool draining;
    pthread_t sweeper;
    bool sweeping;

    pthread_mutex_t lock; /* what follows */
    pthread_cond_t changed;
    bool stop;               /* no request is suspended any more, the sweeper ends */
    struct connection *open; /* all connections */
    int open_count, closing_count;
    int busy_count;            /* requests between their headers and the end of their answer */
    struct http_request *kept; /* suspended ones */
};

/* ---- connections -------------------------------------------------------------------------- */

static void set_phase(struct connection *c, enum phase phase)
{
    atomic_store(&c->since_us, clock_monotonic_us());
    atomic_store(&c->phase, phase);
}

static struct connection *connection_of(struct MHD_Connection *connection)
{
    return MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
}

/* With s->lock. The server's own thread then sees the end and cleans up. */
static void hang_up(struct http_server *s, struct connection *c)
{
    (void)shutdown(c->socket, SHUT_RDWR);
    if (!c->closing)
        s->closing_count++;
    c->closing = true;
}

/* How many may be closing at a time, and libmicrohttpd's limit above ours. */
static int headroom(int connections_max)
{
    return 8 + connections_max / 8;
}

/* How soon a connection is closed when there are too many: the least first; INT64_MAX: never. Those
 * that are idle come before requests that are slow to arrive. */
static int64_t crowd_order(const struct connection *c)
{
    int64_t since_us = atomic_load(&c->since_us);
    enum phase phase = (enum phase)atomic_load(&c->phase);

    if (c->closing)
        return INT64_MAX;
    if (phase == PHASE_NEW || phase == PHASE_IDLE)
        return since_us;
    if (phase == PHASE_ARRIVING &&
        clock_monotonic_us() - since_us > INT64_C(1000) * CROWD_ARRIVE_MS)
        return INT64_MAX / 2 + since_us / 2;
    return INT64_MAX;
}

/* With s->lock. Closes those that nobody misses soonest, some at once: each look passes all.
 * newest: who needs it; NULL: nobody in particular, and only what is slow to arrive is closed. */
static void make_room(struct http_server *s, const struct connection *newest)
{
    const int64_t least = newest == NULL ? INT64_MAX / 2 : INT64_MIN;
    struct connection *oldest[CROWD_MAX];
    int64_t orders[CROWD_MAX];
    int wanted = 1 + s->connections_max / 64, count = 0;

    wanted = wanted < CROWD_MAX ? wanted : CROWD_MAX;
    for (struct connection *c = s->open; c != NULL; c = c->next) {
        int64_t order = c == newest ? INT64_MAX : crowd_order(c);
        int at = count;

        if (order == INT64_MAX || order < least)
            continue;
        while (at > 0 && orders[at - 1] > order)
            at--;
        if (at == wanted)
            continue;
        count = count < wanted ? count + 1 : wanted;
        memmove(oldest + at + 1, oldest + at, (size_t)(count - at - 1) * sizeof *oldest);
        memmove(orders + at + 1, orders + at, (size_t)(count - at - 1) * sizeof *orders);
        oldest[at] = c;
        orders[at] = order;
    }
    for (int i = 0; i < count; i++)
        hang_up(s, oldest[i]);
    metric_add(&crowded_out, (uint64_t)count);
}

static void add_connection(struct http_server *s, struct MHD_Connection *connection, void **context)
{
    struct connection *c = calloc(1, sizeof *c);

    *context = c;
    if (c == NULL)
        return; /* the handler refuses what comes on it */
    c->socket = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
    set_phase(c, PHASE_NEW);
    (void)pthread_mutex_lock(&s->lock);
    c->next = s->open;
    if (c->next != NULL)
        c->next->previous = c;
    s->open = c;
    metric_set(&connections, ++s->open_count);
    if (s->open_count - s->closing_count > s->connections_max)
        make_room(s, c);
    (void)pthread_mutex_unlock(&s->lock);
}

static void remove_connection(struct http_server *s, struct connection *c)
{
    if (c == NULL)
        return;
    (void)pthread_mutex_lock(&s->lock);
    if (c->next != NULL)
        c->next->previous = c->previous;
    if (c->previous != NULL)
        c->previous->next = c->next;
    else
        s->open = c->next;
    s->closing_count -= c->closing;
    metric_set(&connections, --s->open_count);
    (void)pthread_mutex_unlock(&s->lock);
    free(c);
}

/* libmicrohttpd says CLOSED before it closes the socket, so the sweeper, which holds the lock,
 * never shuts down a number that has already gone to somebody else. */
static void on_connection(void *context, struct MHD_Connection *connection, void **socket_context,
                          enum MHD_ConnectionNotificationCode code)
{
    struct http_server *s = context;

    if (code == MHD_CONNECTION_NOTIFY_STARTED)
        add_connection(s, connection, socket_context);
    else
        remove_connection(s, *socket_context);
}

/* Called when the request line has come. */
static void *on_request_line(void *context, const char *uri, struct MHD_Connection *connection)
{
    struct connection *c = connection_of(connection);

    (void)context;
    (void)uri;
    if (c != NULL)
        set_phase(c, PHASE_ARRIVING);
    return NULL;
}

static int64_t phase_ms_max(const struct http_server *s, enum phase phase)
{
    switch (phase) {
    case PHASE_NEW:
        return s->request_ms_max < NEW_MS_MAX ? s->request_ms_max : NEW_MS_MAX;
    case PHASE_ARRIVING:
        return s->request_ms_max;
    case PHASE_ANSWERING:
        return ANSWER_MS_MAX;
    case PHASE_IDLE:
        return IDLE_MS_MAX;
    default:
        return INT64_MAX / 1000;
    }
}

/* With s->lock. */
static void sweep(struct http_server *s)
{
    for (struct connection *c = s->open; c != NULL; c = c->next) {
        enum phase phase = (enum phase)atomic_load(&c->phase);
        int64_t age_us = clock_monotonic_us() - atomic_load(&c->since_us);
        if (age_us <= phase_ms_max(s, phase) * 1000)
            continue;
        hang_up(s, c);
        if (phase != PHASE_IDLE)
            metric_add(&timeouts, 1);
        set_phase(c, PHASE_HANDLED); /* once is enough */
    }
    /* None that came could make room: all others had just begun to arrive. */
    if (s->open_count - s->closing_count > s->connections_max)
        make_room(s, NULL);
}

static void until_after(struct timespec *until, int64_t ms)
{
    (void)clock_gettime(CLOCK_MONOTONIC, until);
    until->tv_sec += ms / 1000;
    until->tv_nsec += ms % 1000 * 1000000;
    if (until->tv_nsec >= 1000000000) {
        until->tv_sec++;
        until->tv_nsec -= 1000000000;
    }
}

static void *run_sweeper(void *context)
{
    struct http_server *s = context;
    struct timespec until;

    (void)pthread_mutex_lock(&s->lock);
    while (!s->stop) {
        until_after(&until, SWEEP_PERIOD_MS);
        (void)pthread_cond_timedwait(&s->changed, &s->lock, &until);
        sweep(s);
    }
    (void)pthread_mutex_unlock(&s->lock);
    return NULL;
}

/* ---- answers ------------------------------------------------------------------------------ */

/* "Name: value\n..."; what is no header is left out. */
static void add_headers(struct MHD_Response *response, char *lines)
{
    char *rest = NULL;

    for (char *line = strtok_r(lines, "\n", &rest); line != NULL;
         line = strtok_r(NULL, "\n", &rest)) {
        char *value = strchr(line, ':');
        if (value == NULL)
            continue;
        *value++ = 0;
        value += strspn(value, " ");
        (void)MHD_add_response_header(response, line, value);
    }
}

/* Queues bytes as the answer. headers is written to. The bytes must outlive the request. */
static enum MHD_Result queue(struct http_server *s, struct MHD_Connection *connection, int code,
                             const void *bytes, size_t count, char *headers, bool last)
{
    struct connection *c = connection_of(connection);
    struct MHD_Response *response = MHD_create_response_from_buffer(count, (void *)(uintptr_t)bytes,
                                                                    MHD_RESPMEM_PERSISTENT);
    enum MHD_Result result;

    if (response == NULL)
        return MHD_NO;
    add_headers(response, headers);
    if (last || atomic_load(&s->draining))
        (void)MHD_add_response_header(response, "Connection", "close");
    if (c != NULL)
        set_phase(c, PHASE_ANSWERING);
    metric_add_of(&answers, code / 100 - 1, 1);
    result = MHD_queue_response(connection, (unsigned)code, response);
    MHD_destroy_response(response);
    return result;
}

/* An answer of the server's own, after which the connection closes. */
static enum MHD_Result refuse(struct http_server *s, struct MHD_Connection *connection, int code,
                              const char *allow)
{
    static const struct {
        int code;
        const char *json;
    } texts[] = {
        {400, "{\"error\":\"bad request\"}"},
        {404, "{\"error\":\"no such path\"}"},
        {405, "{\"error\":\"method not allowed on this path\"}"},
        {413, "{\"error\":\"the body is too long\"}"},
        {431, "{\"error\":\"too many headers\"}"},
        {503, "{\"error\":\"not now\"}"},
        {505, "{\"error\":\"HTTP version not supported\"}"},
    };
    char headers[256];
    const char *json = "{}";

    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        if (texts[i].code == code)
            json = texts[i].json;
    (void)snprintf(headers, sizeof headers, "Content-Type: application/json\n%s%s%s",
                   allow == NULL ? "" : "Allow: ", allow == NULL ? "" : allow,
                   code == 503 ? "Retry-After: 1\n" : "");
    return queue(s, connection, code, json, strlen(json), headers, true);
}

/* ---- requests ----------------------------------------------------------------------------- */

static bool path_matches(const char *pattern, const char *path)
{
    size_t bytes = strlen(pattern);

    if (bytes > 0 && pattern[bytes - 1] == '*')
        return strncmp(pattern, path, bytes - 1) == 0;
    return strcmp(pattern, path) == 0;
}

/* The route, or NULL and why not: 404, or 405 with the methods there are. HEAD is a GET whose
 * body libmicrohttpd leaves out. */
static const struct http_route *find_route(const struct http_server *s, const char *method,
                                           const char *path, int *code, char *allow, size_t bytes)
{
    const char *wanted = strcmp(method, "HEAD") == 0 ? "GET" : method;

    *code = 404;
    allow[0] = 0;
    for (const struct http_route *r = s->routes; r->path != NULL; r++) {
        if (!path_matches(r->path, path))
            continue;
        if (strcmp(r->method, wanted) == 0)
            return r;
        *code = 405;
        size_t used = strlen(allow);
        (void)snprintf(allow + used, bytes - used, "%s%s", used > 0 ? ", " : "", r->method);
    }
    return NULL;
}

/* What may be read in two ways is not read at all. */
static bool framing_is_clear(const struct http_request *request)
{
    int lengths = 0, encodings = 0;

    for (int i = 0; i < request->fields_count; i++) {
        const struct http_field *field = &request->fields[i];
        const char *name = request->texts.at + field->name_at;
        if (field->kind != MHD_HEADER_KIND)
            continue;
        lengths += strcasecmp(name, "Content-Length") == 0;
        if (strcasecmp(name, "Transfer-Encoding") == 0) {
            encodings++;
            if (strcasecmp(request->texts.at + field->value_at, "chunked") != 0)
                return false;
        }
    }
    return lengths + encodings <= 1;
}

/* Headers are complete: checks them. Returns 0, or the status to refuse the request with. */
static int check_headers(struct http_server *s, struct http_request *request, const char *path,
                         const char *method, const char *version, char *allow, size_t bytes)
{
    struct text length;
    int code = 0;

    if (atomic_load(&s->draining))
        return 503;
    if (strncmp(version, "HTTP/1.", 7) != 0)
        return 505;
    if (!request_fill(request, path))
        return request->fields_overflow ? 431 : 503;
    if (!framing_is_clear(request))
        return 400;
    request->route = find_route(s, method, path, &code, allow, bytes);
    if (request->route == NULL)
        return code;
    length = http_request_header(request, "Content-Length");
    if (length.bytes > 0 &&
        (length.bytes > 18 || strtoull(length.at, NULL, 10) > s->body_bytes_max))
        return 413;
    return 0;
}

static void count_busy(struct http_server *s, int change)
{
    (void)pthread_mutex_lock(&s->lock);
    s->busy_count += change;
    (void)pthread_cond_broadcast(&s->changed);
    (void)pthread_mutex_unlock(&s->lock);
}

static enum MHD_Result begin(struct http_server *s, struct MHD_Connection *connection,
                             const char *path, const char *method, const char *version,
                             void **context)
{
    struct http_request *request;
    char allow[64];
    int code;

    if (connection_of(connection) == NULL)
        return MHD_NO; /* there was no memory for it */
    request = request_create(s, connection);
    if (request == NULL)
        return MHD_NO;
    *context = request;
    request->arrived_us = clock_monotonic_us();
    count_busy(s, 1);
    code = check_headers(s, request, path, method, version, allow, sizeof allow);
    return code == 0 ? MHD_YES : refuse(s, connection, code, code == 405 ? allow : NULL);
}

/* A part of the body. One that is too long can be answered only at its end, so it is read on for
 * as much again; who has not finished by then is cut off. */
static enum MHD_Result gather(struct http_server *s, struct http_request *request, const char *data,
                              size_t *bytes)
{
    size_t count = *bytes;

    *bytes = 0;
    if (!request->too_large && count <= s->body_bytes_max - request->body.used)
        return request_append(&request->body, data, count) ? MHD_YES : MHD_NO;
    request->too_large = true;
    request->thrown_away_bytes += count;
    return request->thrown_away_bytes <= s->body_bytes_max ? MHD_YES : MHD_NO;
}

static enum MHD_Result send_answer(struct http_server *s, struct http_request *request)
{
    if (atomic_load(&request->state) == REQUEST_GIVEN_UP)
        return refuse(s, request->connection, 503, NULL);
    return queue(s, request->connection, request->code, request->answer.at, request->answer_bytes,
                 request->answer.at == NULL ? (char[]){0}
                                            : request->answer.at + request->answer_bytes,
                 false);
}

/* With s->lock. */
static void unlink_kept(struct http_server *s, struct http_request *request)
{
    if (request->next != NULL)
        request->next->previous = request->previous;
    if (request->previous != NULL)
        request->previous->next = request->next;
    else
        s->kept = request->next;
}

void server_resume(struct http_request *request)
{
    struct http_server *s = request->server;

    (void)pthread_mutex_lock(&s->lock);
    unlink_kept(s, request);
    MHD_resume_connection(request->connection);
    (void)pthread_cond_broadcast(&s->changed);
    (void)pthread_mutex_unlock(&s->lock);
}

/* The whole request is here: the handler answers now, or later. */
static enum MHD_Result handle(struct http_server *s, struct http_request *request)
{
    int state = REQUEST_HANDLED;

    if (request->too_large)
        return refuse(s, request->connection, 413, NULL);
    set_phase(connection_of(request->connection), PHASE_HANDLED);
    atomic_fetch_add(&request->holders, 1);
    atomic_store(&request->state, REQUEST_HANDLED);
    request->route->handle(request, s->context);
    if (atomic_load(&request->state) == REQUEST_ANSWERED)
        return send_answer(s, request);

    /* Linked and suspended before the state says so: from then on it may be resumed. */
    (void)pthread_mutex_lock(&s->lock);
    bool stop = s->stop;
    if (!stop) {
        request->previous = NULL;
        request->next = s->kept;
        if (request->next != NULL)
            request->next->previous = request;
        s->kept = request;
        MHD_suspend_connection(request->connection);
    }
    (void)pthread_mutex_unlock(&s->lock);
    bool ours = atomic_compare_exchange_strong(&request->state, &state,
                                               stop ? REQUEST_GIVEN_UP : REQUEST_KEPT);
    if (stop)
        return send_answer(s, request);
    if (!ours)
        server_resume(request); /* answered in the meantime */
    return MHD_YES;
}

static enum MHD_Result on_request(void *context, struct MHD_Connection *connection,
                                  const char *path, const char *method, const char *version,
                                  const char *data, size_t *bytes, void **request_context)
{
    struct http_server *s = context;
    struct http_request *request = *request_context;

    if (request == NULL)
        return begin(s, connection, path, method, version, request_context);
    if (*bytes > 0)
        return gather(s, request, data, bytes);
    if (atomic_load(&request->state) == REQUEST_ARRIVING)
        return handle(s, request);
    return send_answer(s, request);
}

static void on_completed(void *context, struct MHD_Connection *connection, void **request_context,
                         enum MHD_RequestTerminationCode code)
{
    struct http_server *s = context;
    struct connection *c = connection_of(connection);

    (void)code;
    if (*request_context == NULL)
        return;
    if (c != NULL)
        set_phase(c, PHASE_IDLE);
    request_release(*request_context);
    *request_context = NULL;
    count_busy(s, -1);
}

/* ---- opening ------------------------------------------------------------------------------ */

/* "host:port" or "[v6]:port" into its parts. */
static bool split_address(const char *listen, char *host, size_t host_bytes, const char **port)
{
    const char *colon = strrchr(listen, ':');
    size_t bytes;

    if (colon == NULL || colon[1] == 0 || strspn(colon + 1, "0123456789") != strlen(colon + 1))
        return false;
    *port = colon + 1;
    if (strlen(*port) > 5 || atoi(*port) > 65535)
        return false;
    bytes = (size_t)(colon - listen);
    if (bytes > 1 && listen[0] == '[' && listen[bytes - 1] == ']') {
        listen++;
        bytes -= 2;
    }
    if (bytes == 0 || bytes >= host_bytes)
        return false;
    memcpy(host, listen, bytes);
    host[bytes] = 0;
    return true;
}

static enum status bind_one(const struct addrinfo *address, const char *what, int *descriptor,
                            struct error *err)
{
    int one = 1;
    int fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0)
        return error_set(err, ERR_IO, "could not listen on \"%s\": %s", what, strerror(errno));
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, address->ai_addr, address->ai_addrlen) == 0 && listen(fd, SOMAXCONN) == 0) {
        *descriptor = fd;
        return OK;
    }
    (void)error_set(err, errno == EADDRINUSE ? ERR_IN_USE : ERR_CONFIG,
                    "could not listen on \"%s\": %s", what, strerror(errno));
    (void)close(fd);
    return err->status;
}

bool http_address_valid(const char *listen)
{
    const char *port;
    char host[256];

    return split_address(listen, host, sizeof host, &port);
}

/* "0.0.0.0", "::", "*" take their port on every address. */
static bool is_everywhere(const char *host)
{
    return host[strspn(host, "0.:*")] == 0;
}

static bool is_this_host(const char *host)
{
    return strcasecmp(host, "localhost") == 0 || strcmp(host, "127.0.0.1") == 0;
}

bool http_addresses_collide(const char *listen, const char *other)
{
    const char *port, *other_port;
    char host[256], other_host[256];

    return split_address(listen, host, sizeof host, &port) &&
           split_address(other, other_host, sizeof other_host, &other_port) && atoi(port) != 0 &&
           atoi(port) == atoi(other_port) &&
           (strcasecmp(host, other_host) == 0 || is_everywhere(host) || is_everywhere(other_host) ||
            (is_this_host(host) && is_this_host(other_host)));
}

static enum status bind_address(const char *listen_on, int *descriptor, int *port,
                                struct error *err)
{
    struct addrinfo hints = {.ai_flags = AI_PASSIVE | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } bound;
    socklen_t bytes = sizeof bound;
    const char *service;
    char host[256];
    int code;
    enum status status;

    *descriptor = -1;
    if (!split_address(listen_on, host, sizeof host, &service))
        return error_set(err, ERR_CONFIG, "\"%s\" is no address to listen on; write host:port",
                         listen_on);
    code = getaddrinfo(host, service, &hints, &found);
    if (code != 0)
        return error_set(err, ERR_CONFIG, "could not listen on \"%s\": %s", listen_on,
                         gai_strerror(code));
    status = bind_one(found, listen_on, descriptor, err);
    freeaddrinfo(found);
    if (status != OK)
        return status;
    memset(&bound, 0, sizeof bound);
    (void)getsockname(*descriptor, &bound.any, &bytes);
    *port = ntohs(bound.any.sa_family == AF_INET6 ? bound.v6.sin6_port : bound.v4.sin_port);
    return OK;
}

PRINTF_LIKE(2, 0) static void on_library_log(void *context, const char *fmt, va_list args)
{
    char line[256];

    (void)context;
    (void)vsnprintf(line, sizeof line, fmt, args);
    line[strcspn(line, "\n")] = 0;
    log_event(LOG_DEBUG, "http_library", line);
}

static enum status start_daemon(struct http_server *s, const struct http_server_options *o,
                                int descriptor, struct error *err)
{
    int threads = o->threads > 0 ? o->threads : 1;
    /* A pool of one is refused by libmicrohttpd; it means no pool. */
    struct MHD_OptionItem items[] = {
        {MHD_OPTION_EXTERNAL_LOGGER, (intptr_t)on_library_log, NULL},
        {MHD_OPTION_LISTEN_SOCKET, descriptor, NULL},
        {MHD_OPTION_CONNECTION_LIMIT, s->connections_max + headroom(s->connections_max), NULL},
        {MHD_OPTION_PER_IP_CONNECTION_LIMIT, o->connections_per_ip_max, NULL},
        {MHD_OPTION_CONNECTION_MEMORY_LIMIT, HEADER_BYTES_MAX, NULL},
        {MHD_OPTION_CONNECTION_TIMEOUT, 0, NULL},
        {MHD_OPTION_STRICT_FOR_CLIENT, 1, NULL},
        {MHD_OPTION_NOTIFY_CONNECTION, (intptr_t)on_connection, s},
        {MHD_OPTION_NOTIFY_COMPLETED, (intptr_t)on_completed, s},
        {MHD_OPTION_URI_LOG_CALLBACK, (intptr_t)on_request_line, s},
        {threads > 1 ? MHD_OPTION_THREAD_POOL_SIZE : MHD_OPTION_END, threads, NULL},
        {MHD_OPTION_END, 0, NULL},
    };

    s->daemon = MHD_start_daemon(
        MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ITC | MHD_USE_ERROR_LOG,
        0, NULL, NULL, on_request, s, MHD_OPTION_ARRAY, items, MHD_OPTION_END);
    if (s->daemon != NULL)
        return OK;
    (void)close(descriptor);
    return error_set(err, ERR_IO, "could not start the HTTP server on \"%s\"", o->listen);
}

static void free_server(struct http_server *s)
{
    (void)pthread_cond_destroy(&s->changed);
    (void)pthread_mutex_destroy(&s->lock);
    free(s);
}

enum status http_server_open(struct http_server **server, const struct http_server_options *options,
                             struct error *err)
{
    struct http_server *s;
    pthread_condattr_t monotonic;
    int descriptor;
    enum status status;

    assert(server != NULL && options != NULL && options->listen != NULL && options->routes != NULL);
    *server = NULL;
    s = calloc(1, sizeof *s);
    if (s == NULL)
        return error_set(err, ERR_NOMEM, "no memory for an HTTP server");
    s->routes = options->routes;
    s->context = options->context;
    s->body_bytes_max = options->body_bytes_max > 0 ? options->body_bytes_max : BODY_BYTES_MAX;
    s->connections_max = options->connections_max > 0 ? options->connections_max : CONNECTIONS_MAX;
    s->request_ms_max = options->request_ms_max > 0 ? options->request_ms_max : REQUEST_MS_MAX;
    (void)pthread_mutex_init(&s->lock, NULL);
    (void)pthread_condattr_init(&monotonic);
    (void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&s->changed, &monotonic);
    (void)pthread_condattr_destroy(&monotonic);

    status = bind_address(options->listen, &descriptor, &s->port, err);
    if (status == OK)
        status = start_daemon(s, options, descriptor, err);
    if (status != OK) {
        free_server(s);
        return status;
    }
    if (pthread_create(&s->sweeper, NULL, run_sweeper, s) != 0) {
        http_server_close(s, 0);
        return error_set(err, ERR_IO, "could not start a thread for the HTTP server");
    }
    s->sweeping = true;
    *server = s;
    return OK;
}

int http_server_port(const struct http_server *server)
{
    return server->port;
}

/* ---- closing ------------------------------------------------------------------------------ */

/* Takes every kept request from its handler, whose answer will then go nowhere. With s->lock. */
static void give_up_kept(struct http_server *s)
{
    for (struct http_request *r = s->kept, *next; r != NULL; r = next) {
        int state = REQUEST_KEPT;
        next = r->next;
        if (!atomic_compare_exchange_strong(&r->state, &state, REQUEST_GIVEN_UP))
            continue; /* it is being answered: its own thread resumes it */
        unlink_kept(s, r);
        MHD_resume_connection(r->connection);
    }
}

/* The kernel has connected these clients: closed unseen, their requests would be cut, not refused.
 * Who comes after finds nobody listening. */
static void stop_listening(struct http_server *s)
{
    int listening = MHD_quiesce_daemon(s->daemon);
    struct sockaddr_storage peer;

    if (listening < 0)
        return;
    for (int i = 0; i < SOMAXCONN; i++) {
        socklen_t bytes = sizeof peer;
        int fd = accept4(listening, (struct sockaddr *)&peer, &bytes, SOCK_CLOEXEC | SOCK_NONBLOCK);

        if (fd < 0)
            break;
        (void)MHD_add_connection(s->daemon, fd, (struct sockaddr *)&peer, bytes);
    }
    (void)close(listening);
}

/* Whether a request is at work, or is on its way on a connection made for it. With s->lock. */
static bool expects_more(struct http_server *s, int64_t closing_us)
{
    bool patient = closing_us < (int64_t)FIRST_WORD_MS * 1000;

    if (s->busy_count > 0 || closing_us < (int64_t)APPEAR_MS * 1000)
        return true;
    for (struct connection *c = s->open; c != NULL; c = c->next) {
        enum phase phase = (enum phase)atomic_load(&c->phase);

        if (phase == PHASE_ARRIVING || phase == PHASE_ANSWERING || (phase == PHASE_NEW && patient))
            return true;
    }
    return false;
}

void http_server_close(struct http_server *s, int64_t drain_ms)
{
    int64_t now_us = clock_monotonic_us();
    int64_t until_us = now_us + drain_ms * 1000;
    struct timespec until;

    if (s == NULL)
        return;
    atomic_store(&s->draining, true);
    stop_listening(s);
    (void)pthread_mutex_lock(&s->lock);
    while (clock_monotonic_us() < until_us && expects_more(s, clock_monotonic_us() - now_us)) {
        until_after(&until, 5); /* a connection's phase changes without the lock */
        (void)pthread_cond_timedwait(&s->changed, &s->lock, &until);
    }
    s->stop = true;
    (void)pthread_cond_broadcast(&s->changed);
    while (s->kept != NULL) { /* again for what was not yet marked as kept, or is being answered */
        give_up_kept(s);
        until_after(&until, 1);
        if (s->kept != NULL)
            (void)pthread_cond_timedwait(&s->changed, &s->lock, &until);
    }
    (void)pthread_mutex_unlock(&s->lock);
    if (s->sweeping)
        (void)pthread_join(s->sweeper, NULL);
    MHD_stop_daemon(s->daemon);
    free_server(s);
}
