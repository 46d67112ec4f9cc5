/*
 * schemas/event_form.c - one event written in the form that a mapping reads.
 *
 * A mapping is a set of JSON pointers; a document that has a value at each of them is a tree of
 * objects (a token that looks like an index is a member's name too: RFC 6901 reads it so where
 * there is an object). The tree is written by walking the pointers: all that begin with the same
 * tokens lie in one object. There are eight of them, so nothing is sorted.
 */
#include "ops/json.h"
#include "ops/json_writer.h"
#include "schemas/event_private.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define ISO_TEXT_MAX    96
#define ISO_TIME_MAX_MS INT64_C(253402300799999) /* of the year 9999 */

_Static_assert(JSON_DEPTH_MAX + 2 < JSON_WRITER_DEPTH_MAX, "every path can be written");

/* What has a value in this event, and how far its pointer was followed. */
struct form {
    const struct event_schema *schema;
    const struct event *event;
    struct text name; /* of the action */
    struct json_writer *w;
    const char *rest[PATH_COUNT]; /* "" or "/token..."; NULL: no value, or written */
    bool failed;
};

/* ---- values ---- */

static void put_time(const struct form *f)
{
    int64_t ms = f->event->time_ms;
    char text[ISO_TEXT_MAX];
    time_t seconds = (time_t)(ms / 1000);
    struct tm utc;

    switch (f->schema->unit) {
    case TIME_MS:
        json_put_int(f->w, ms);
        break;
    case TIME_US:
        json_put_int(f->w, ms * 1000);
        break;
    case TIME_S:
        if (ms % 1000 == 0)
            json_put_int(f->w, ms / 1000);
        else
            json_put_real(f->w, (double)ms / 1000);
        break;
    case TIME_ISO:
        (void)gmtime_r(&seconds, &utc);
        (void)snprintf(text, sizeof text, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", utc.tm_year + 1900,
                       utc.tm_mon + 1, utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec,
                       (int)(ms % 1000));
        json_put_text(f->w, text_of(text));
        break;
    }
}

static void put_rows(const struct form *f)
{
    json_array_begin(f->w);
    for (int i = 0; i < f->event->rows_count; i++)
        json_put_text(f->w, f->event->rows[i]);
    json_array_end(f->w);
}

static void put_value(const struct form *f, int path)
{
    const struct event *event = f->event;

    if (path == PATH_TIME)
        put_time(f);
    else if (path == PATH_ROWS)
        put_rows(f);
    else
        json_put_text(f->w, path == PATH_USER         ? event->user
                            : path == PATH_ITEM       ? event->item
                            : path == PATH_ACTION     ? f->name
                            : path == PATH_REQUEST_ID ? event->request_id
                            : path == PATH_EVENT_ID   ? event->event_id
                                                      : event->trace);
}

static bool has_value(const struct event *event, int path)
{
    switch (path) {
    case PATH_ITEM:
        return event->kind == EVENT_ACTION;
    case PATH_ROWS:
        return event->kind == EVENT_IMPRESSION;
    case PATH_TRACE:
        return event->kind == EVENT_IMPRESSION && event->trace.bytes > 0;
    case PATH_REQUEST_ID:
        return event->kind != EVENT_ERASE && event->request_id.bytes > 0;
    case PATH_EVENT_ID:
        return event->event_id.bytes > 0;
    default:
        return true;
    }
}

/* ---- the tree ---- */

/* Bytes of the token that a rest begins with, its slash included. */
static size_t token_bytes(const char *rest)
{
    return 1 + strcspn(rest + 1, "/");
}

static bool same_token(const char *rest, const char *other, size_t bytes)
{
    return other != NULL && token_bytes(other) == bytes && memcmp(rest, other, bytes) == 0;
}

/* The member's name: ~1 is a slash, ~0 a tilde. */
static void put_key(const struct form *f, const char *rest, size_t bytes)
{
    char name[EVENT_POINTER_MAX + 1];
    size_t used = 0;

    for (size_t i = 1; i < bytes; i++) {
        bool escape = rest[i] == '~' && i + 1 < bytes;

        name[used++] = !escape ? rest[i] : rest[i + 1] == '1' ? '/' : '~';
        i += escape;
    }
    name[used] = 0;
    json_key(f->w, name);
}

/* One object: the member that each of the paths in it begins with, once. `paths` is a set of
 * bits. As deep as the longest pointer, at most JSON_DEPTH_MAX. */
static void put_object(struct form *f, unsigned paths) /* NOLINT(misc-no-recursion) */
{
    json_object_begin(f->w);
    for (int p = 0; p < PATH_COUNT && !f->failed; p++) {
        const char *rest = f->rest[p];
        size_t bytes;
        unsigned below = 0;

        if ((paths & 1u << p) == 0 || rest == NULL)
            continue;
        bytes = token_bytes(rest);
        put_key(f, rest, bytes);
        for (int other = p; other < PATH_COUNT; other++)
            if ((paths & 1u << other) != 0 && same_token(rest, f->rest[other], bytes)) {
                f->rest[other] += bytes;
                below |= 1u << other;
            }
        if (*f->rest[p] == 0) { /* a value: nothing can lead through it, and one is enough */
            for (int other = p; other < PATH_COUNT; other++)
                if ((below & 1u << other) != 0) {
                    f->failed |= *f->rest[other] != 0;
                    f->rest[other] = NULL;
                }
            put_value(f, p);
            continue;
        }
        for (int other = p; other < PATH_COUNT; other++)
            f->failed |= (below & 1u << other) != 0 && *f->rest[other] == 0;
        if (!f->failed)
            put_object(f, below);
    }
    if (!f->failed) /* else a key is waiting for its value */
        json_object_end(f->w);
}

size_t event_form_write(const struct event_schema *schema, const struct event *event,
                        struct text name, char *into, size_t bytes)
{
    struct json_writer w;
    struct form f = {.schema = schema, .event = event, .name = name, .w = &w};
    unsigned paths = 0;

    for (int p = 0; p < PATH_COUNT; p++)
        if (has_value(event, p)) {
            f.rest[p] = schema->pointers[p];
            f.failed |= *f.rest[p] != '/'; /* "": the whole document is the value */
            paths |= 1u << p;
        }
    f.failed |= schema->unit == TIME_ISO && event->time_ms > ISO_TIME_MAX_MS;
    if (f.failed)
        return 0;
    json_writer_init(&w, into, bytes);
    put_object(&f, paths);
    return !f.failed && json_writer_ok(&w) ? json_writer_text(&w).bytes : 0;
}
