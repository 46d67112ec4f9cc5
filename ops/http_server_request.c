/* ops/http_server_request.c - what handlers see of a request, and how they answer it. */
#include "ops/http_server_private.h"

#include "ops/json_writer.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <strings.h>

#define SPARE_MAX      256
#define KEPT_BYTES_MAX ((size_t)256 << 10) /* a larger buffer is not kept with a spare request */

static pthread_mutex_t spare_lock = PTHREAD_MUTEX_INITIALIZER;
static struct http_request *spare; /* linked by next */
static int spare_count;

/* ---- memory ------------------------------------------------------------------------------- */

bool request_append(struct http_bytes *bytes, const void *from, size_t count)
{
    size_t capacity = bytes->capacity == 0 ? 512 : bytes->capacity;
    char *grown;

    if (count > SIZE_MAX / 4 - bytes->used)
        return false;
    while (capacity < bytes->used + count)
        capacity *= 2;
    if (capacity != bytes->capacity) {
        grown = realloc(bytes->at, capacity);
        if (grown == NULL)
            return false;
        bytes->at = grown;
        bytes->capacity = capacity;
    }
    if (count > 0)
        memcpy(bytes->at + bytes->used, from, count);
    bytes->used += count;
    return true;
}

static void empty(struct http_bytes *bytes)
{
    bytes->used = 0;
    if (bytes->capacity > KEPT_BYTES_MAX) {
        free(bytes->at);
        *bytes = (struct http_bytes){0};
    }
}

struct http_request *request_create(struct http_server *server, struct MHD_Connection *connection)
{
    struct http_request *request;

    (void)pthread_mutex_lock(&spare_lock);
    request = spare;
    if (request != NULL) {
        spare = request->next;
        spare_count--;
    }
    (void)pthread_mutex_unlock(&spare_lock);
    if (request == NULL)
        request = calloc(1, sizeof *request);
    if (request == NULL)
        return NULL;
    request->server = server;
    request->connection = connection;
    request->next = request->previous = NULL;
    request->route = NULL;
    request->fields_count = 0;
    request->fields_overflow = request->too_large = false;
    request->thrown_away_bytes = 0;
    atomic_store(&request->state, REQUEST_ARRIVING);
    atomic_store(&request->holders, 1);
    return request;
}

void request_release(struct http_request *request)
{
    bool keep;

    if (atomic_fetch_sub(&request->holders, 1) > 1)
        return;
    empty(&request->texts);
    empty(&request->body);
    empty(&request->answer);
    (void)pthread_mutex_lock(&spare_lock);
    keep = spare_count < SPARE_MAX;
    if (keep) {
        request->next = spare;
        spare = request;
        spare_count++;
    }
    (void)pthread_mutex_unlock(&spare_lock);
    if (keep)
        return;
    free(request->texts.at);
    free(request->body.at);
    free(request->answer.at);
    free(request);
}

/* ---- what the client sent ------------------------------------------------------------------- */

static enum MHD_Result add_field(void *context, enum MHD_ValueKind kind, const char *name,
                                 const char *value)
{
    struct http_request *request = context;
    const char *there = value == NULL ? "" : value;
    struct http_field *field = &request->fields[request->fields_count];

    if (request->fields_count == HTTP_FIELDS_MAX) {
        request->fields_overflow = true;
        return MHD_NO;
    }
    *field = (struct http_field){kind, request->texts.used, 0, strlen(there)};
    if (!request_append(&request->texts, name, strlen(name) + 1))
        return MHD_NO;
    field->value_at = request->texts.used;
    if (!request_append(&request->texts, there, field->value_bytes + 1))
        return MHD_NO;
    request->fields_count++;
    return MHD_YES;
}

bool request_fill(struct http_request *request, const char *path)
{
    int wanted;

    if (!request_append(&request->texts, path, strlen(path) + 1))
        return false;
    wanted = MHD_get_connection_values(request->connection, MHD_HEADER_KIND, NULL, NULL) +
             MHD_get_connection_values(request->connection, MHD_GET_ARGUMENT_KIND, NULL, NULL);
    (void)MHD_get_connection_values(request->connection, MHD_HEADER_KIND, add_field, request);
    (void)MHD_get_connection_values(request->connection, MHD_GET_ARGUMENT_KIND, add_field, request);
    return request->fields_count == wanted;
}

static struct text find_field(const struct http_request *request, enum MHD_ValueKind kind,
                              const char *name)
{
    for (int i = 0; i < request->fields_count; i++) {
        const struct http_field *field = &request->fields[i];
        const char *its_name = request->texts.at + field->name_at;
        bool same = kind == MHD_HEADER_KIND ? strcasecmp(its_name, name) == 0
                                            : strcmp(its_name, name) == 0;
        if (field->kind == kind && same)
            return (struct text){request->texts.at + field->value_at, field->value_bytes};
    }
    return (struct text){"", 0};
}

struct text http_request_body(const struct http_request *request)
{
    return (struct text){request->body.at, request->body.used};
}

struct text http_request_path(const struct http_request *request)
{
    return text_of(request->texts.at);
}

struct text http_request_header(const struct http_request *request, const char *name)
{
    return find_field(request, MHD_HEADER_KIND, name);
}

struct text http_request_query(const struct http_request *request, const char *name)
{
    return find_field(request, MHD_GET_ARGUMENT_KIND, name);
}

int64_t http_request_arrived_us(const struct http_request *request)
{
    return request->arrived_us;
}

/* ---- the answer ----------------------------------------------------------------------------- */

/* Body, then "Content-Type: ...\n" and the caller's headers, then a zero. */
static bool put_answer(struct http_request *request, const char *content_type, struct text body,
                       const char *headers)
{
    struct http_bytes *answer = &request->answer;
    bool good = request_append(answer, body.at, body.bytes);

    request->answer_bytes = body.bytes;
    if (content_type != NULL)
        good = good && request_append(answer, "Content-Type: ", 14) &&
               request_append(answer, content_type, strlen(content_type)) &&
               request_append(answer, "\n", 1);
    if (headers != NULL)
        good = good && request_append(answer, headers, strlen(headers));
    return good && request_append(answer, "", 1);
}

void http_answer(struct http_request *request, int code, const char *content_type, struct text body,
                 const char *headers)
{
    int state = REQUEST_HANDLED;

    assert(request != NULL && code >= 200 && code <= 599);
    request->code = code;
    if (!put_answer(request, content_type, body, headers)) {
        request->answer.used = 0;
        request->answer_bytes = 0;
        request->code = 503;
    }
    if (!atomic_compare_exchange_strong(&request->state, &state, REQUEST_ANSWERED)) {
        /* The handler has returned: its connection waits for us, unless the server closed. */
        assert(state == REQUEST_KEPT || state == REQUEST_GIVEN_UP);
        if (state == REQUEST_KEPT &&
            atomic_compare_exchange_strong(&request->state, &state, REQUEST_ANSWERED))
            server_resume(request);
    }
    request_release(request);
}

void http_answer_error(struct http_request *request, int code, const char *text)
{
    char buffer[1024];
    struct json_writer w;

    json_writer_init(&w, buffer, sizeof buffer);
    json_object_begin(&w);
    json_text(&w, "error", text_of(text));
    json_object_end(&w);
    if (!json_writer_ok(&w)) {
        json_writer_init(&w, buffer, sizeof buffer);
        json_put_raw(&w, text_of("{\"error\":\"an error too long to say\"}"));
    }
    http_answer(request, code, "application/json", json_writer_text(&w), NULL);
}
