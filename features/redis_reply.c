/*
 * features/redis_reply.c - hiredis' reader with object functions of our own.
 *
 * Every object is taken from one arena that is reset before the next reply is begun, so a reply
 * costs no allocation. The reader keeps one half-read reply between feeds; the arena is left alone
 * then.
 */
#include "features/redis_reply.h"

#include "ops/arena.h"
#include "ops/defence.h"
#include "ops/metric.h"

#include <assert.h>
#include <hiredis/hiredis.h>
#include <stdlib.h>
#include <string.h>

#define ARENA_BLOCK (64 * 1024)
/* What a line (":1\r\n", "+OK\r\n", an error's text) or a bulk's header may add to its content. */
#define SLACK_BYTES (64 * 1024)

const char *const redis_error_names[REDIS_ERROR_COUNT] = {
#define X(id, name, status, text) name,
    REDIS_ERROR_LIST(X)
#undef X
};

METRIC_COUNTER_OF(errors, "freshet_redis_errors_total", "error replies of Redis, by code", "code",
                  redis_error_names, REDIS_ERROR_COUNT);

struct redis_reader {
    redisReader *reader;
    struct arena *arena;
    size_t reply_bytes;
    int reply_elements;
    size_t taken; /* of the reply being built */
    bool refused; /* an object function said no: not for want of memory */
    bool fresh;   /* the last reply was handed out: the arena may be reset */
};

static struct redis_reply *make(const redisReadTask *task, size_t more)
{
    struct redis_reader *reader = task->privdata;
    struct redis_reply *reply;

    if (more > reader->reply_bytes || reader->taken > reader->reply_bytes - more) {
        reader->refused = true;
        return NULL;
    }
    reader->taken += more + sizeof *reply;
    reply = arena_alloc_zeroed(reader->arena, sizeof *reply);
    if (reply == NULL)
        return NULL;
    if (task->parent != NULL) {
        struct redis_reply *parent = task->parent->obj;

        ((const struct redis_reply **)parent->elements)[task->idx] = reply;
    }
    return reply;
}

static void *make_string(const redisReadTask *task, char *bytes, size_t count)
{
    struct redis_reader *reader = task->privdata;
    struct redis_reply *reply = make(task, count + 1);
    char *copy;

    if (reply == NULL)
        return NULL;
    reply->type = task->type == REDIS_REPLY_ERROR    ? REPLY_ERROR
                  : task->type == REDIS_REPLY_STATUS ? REPLY_STATUS
                                                     : REPLY_STRING;
    copy = arena_alloc(reader->arena, count + 1);
    if (copy == NULL)
        return NULL;
    memcpy(copy, bytes, count);
    copy[count] = '\0';
    reply->text = (struct text){copy, count};
    return reply;
}

static void *make_array(const redisReadTask *task, int count)
{
    struct redis_reader *reader = task->privdata;
    struct redis_reply *reply;

    if (count < 0 || count > reader->reply_elements) {
        reader->refused = true;
        return NULL;
    }
    reply = make(task, (size_t)count * sizeof(void *));
    if (reply == NULL)
        return NULL;
    reply->type = REPLY_ARRAY;
    reply->count = count;
    if (count > 0) {
        const struct redis_reply **elements = arena_alloc_zeroed(reader->arena,
                                                                 (size_t)count * sizeof *elements);

        if (elements == NULL)
            return NULL;
        reply->elements = elements;
    }
    return reply;
}

static void *make_integer(const redisReadTask *task, long long value)
{
    struct redis_reply *reply = make(task, 0);

    if (reply != NULL) {
        reply->type = REPLY_INTEGER;
        reply->integer = value;
    }
    return reply;
}

static void *make_nil(const redisReadTask *task)
{
    struct redis_reply *reply = make(task, 0);

    if (reply != NULL)
        reply->type = REPLY_NIL;
    return reply;
}

static void free_nothing(void *object)
{
    (void)object; /* the arena frees all at once */
}

static redisReplyObjectFunctions functions = {
    .createString = make_string,
    .createArray = make_array,
    .createInteger = make_integer,
    .createNil = make_nil,
    .freeObject = free_nothing,
};

bool redis_reader_restart(struct redis_reader *reader)
{
    if (reader->reader != NULL)
        redisReaderFree(reader->reader);
    arena_reset(reader->arena);
    reader->taken = 0;
    reader->refused = false;
    reader->fresh = false;
    reader->reader = redisReaderCreateWithFunctions(&functions);
    if (reader->reader == NULL)
        return false;
    reader->reader->privdata = reader;
    reader->reader->maxbuf = 0; /* else an emptied buffer is freed and made again each time */
    return true;
}

struct redis_reader *redis_reader_create(size_t reply_bytes, int reply_elements)
{
    struct redis_reader *reader = calloc(1, sizeof *reader);

    assert(reply_bytes > 0 && reply_elements > 0);
    if (reader == NULL)
        return NULL;
    reader->reply_bytes = reply_bytes;
    reader->reply_elements = reply_elements;
    /* An object may take 16 bytes of alignment and a block's unused end beside its own. */
    reader->arena = arena_create(ARENA_BLOCK, reply_bytes * 4 + 4 * ARENA_BLOCK);
    if (!redis_reader_restart(reader)) {
        redis_reader_destroy(reader);
        return NULL;
    }
    return reader;
}

void redis_reader_destroy(struct redis_reader *reader)
{
    if (reader == NULL)
        return;
    if (reader->reader != NULL)
        redisReaderFree(reader->reader);
    arena_destroy(reader->arena);
    free(reader);
}

enum status redis_reader_feed(struct redis_reader *reader, const char *bytes, size_t count,
                              struct error *err)
{
    size_t unread = reader->reader->len - reader->reader->pos;

    if (DEFENCE(REPLY_BYTES) && unread + count > reader->reply_bytes + SLACK_BYTES)
        return error_set(err, ERR_LIMIT, "redis sent a reply of more than %zu bytes",
                         reader->reply_bytes);
    if (redisReaderFeed(reader->reader, bytes, count) != REDIS_OK)
        return error_set(err, ERR_NOMEM, "no memory for a reply of redis");
    return OK;
}

enum status redis_reader_next(struct redis_reader *reader, const struct redis_reply **reply,
                              struct error *err)
{
    void *got = NULL;

    *reply = NULL;
    if (reader->fresh) {
        arena_reset(reader->arena);
        reader->taken = 0;
        reader->fresh = false;
    }
    if (redisReaderGetReply(reader->reader, &got) != REDIS_OK) {
        if (reader->refused)
            return error_set(err, ERR_LIMIT, "redis sent a reply wider or longer than allowed");
        if (reader->reader->err == REDIS_ERR_OOM)
            return error_set(err, ERR_NOMEM, "no memory for a reply of redis");
        return error_set(err, ERR_MALFORMED, "redis sent what is not its protocol: %s",
                         reader->reader->errstr);
    }
    if (got != NULL)
        reader->fresh = true;
    *reply = got;
    return OK;
}

enum redis_error redis_error_of(struct text message)
{
    static const struct {
        const char *prefix;
        enum redis_error error;
    } prefixes[] = {
        {"ERR", REDIS_ERROR_ERR},
        {"OOM", REDIS_ERROR_OOM},
        {"READONLY", REDIS_ERROR_READONLY},
        {"LOADING", REDIS_ERROR_LOADING},
        {"MASTERDOWN", REDIS_ERROR_MASTERDOWN},
        {"CLUSTERDOWN", REDIS_ERROR_CLUSTERDOWN},
        {"TRYAGAIN", REDIS_ERROR_TRYAGAIN},
        {"MOVED", REDIS_ERROR_MOVED},
        {"ASK", REDIS_ERROR_ASK},
        {"NOREPLICAS", REDIS_ERROR_NOREPLICAS},
        {"BUSY", REDIS_ERROR_BUSY},
        {"MISCONF", REDIS_ERROR_MISCONF},
        {"EXECABORT", REDIS_ERROR_EXECABORT},
        {"WRONGTYPE", REDIS_ERROR_WRONGTYPE},
        {"NOAUTH", REDIS_ERROR_NOAUTH},
        {"WRONGPASS", REDIS_ERROR_WRONGPASS},
        {"NOPERM", REDIS_ERROR_NOPERM},
    };
    const char *space = message.bytes == 0 ? NULL : memchr(message.at, ' ', message.bytes);
    size_t word = space == NULL ? message.bytes : (size_t)(space - message.at);

    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++)
        if (strlen(prefixes[i].prefix) == word && memcmp(prefixes[i].prefix, message.at, word) == 0)
            return prefixes[i].error;
    return REDIS_ERROR_OTHER;
}

enum status redis_reply_status(const struct redis_reply *reply, struct error *err)
{
    static const struct {
        enum status status;
        const char *text;
    } meanings[REDIS_ERROR_COUNT] = {
#define X(id, name, status, text) {status, text},
        REDIS_ERROR_LIST(X)
#undef X
    };
    enum redis_error error;

    if (reply->type != REPLY_ERROR)
        return OK;
    error = redis_error_of(reply->text);
    metric_add_of(&errors, (int)error, 1);
    return error_set(err, meanings[error].status, "redis: %s: %.*s", meanings[error].text,
                     (int)(reply->text.bytes > 120 ? 120 : reply->text.bytes), reply->text.at);
}

/* ---- INFO ---- */

bool redis_info_line(struct text info, const char *name, char *into, size_t room)
{
    const char *at = info.at;
    const char *end = info.at + info.bytes;
    size_t bytes = strlen(name);

    while (at < end) {
        const char *stop = memchr(at, '\r', (size_t)(end - at));

        if (stop == NULL)
            stop = end;
        if ((size_t)(stop - at) > bytes && at[bytes] == ':' && memcmp(at, name, bytes) == 0) {
            (void)snprintf(into, room, "%.*s", (int)((size_t)(stop - at) - bytes - 1),
                           at + bytes + 1);
            return true;
        }
        at = stop + 2;
    }
    return false;
}
