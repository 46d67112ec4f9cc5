/*
 * ops/log.c - builds a line on the stack and writes it in one call that cannot block.
 *
 * One write of at most LOG_LINE_BYTES_MAX bytes goes into a pipe whole or not at all, so
 * lines of several threads and processes never mix and no lock is needed. How a write is
 * kept from blocking depends on what the descriptor is:
 *
 *     pipe, terminal  opened once more through /proc with O_NONBLOCK: setting it on the
 *                     descriptor itself would change it for the shell and our children too
 *     socket          send() with MSG_DONTWAIT (systemd's journal is one)
 *     file            written as it is: a disk is slow, but does not wait for a reader
 */
#include "ops/log.h"

#include "ops/clock.h"
#include "ops/hash.h"
#include "ops/json_writer.h"
#include "ops/metric.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define FIELDS_MAX        16
#define FIELD_BYTES_MAX   512
#define MESSAGE_BYTES_MAX 1024

_Static_assert(LOG_LINE_BYTES_MAX <= 4096, "PIPE_BUF of Linux");

static const char *const level_names[] = {"debug", "info", "warn", "error"};

static struct {
    enum log_level level;
    bool json;
    bool colour;
    bool socket;
    bool wait_free; /* fd was opened by us and does not block */
    int fd;
    char role[32];
    unsigned char user_key[crypto_shorthash_KEYBYTES];
} state = {.level = LOG_INFO, .fd = STDERR_FILENO, .role = "freshet"};

static _Atomic uint64_t dropped;
static atomic_bool was_cut; /* the last line went out in part */
METRIC_COUNTER(dropped_metric, "freshet_ops_log_dropped_total",
               "log lines dropped because the reader did not keep up");

__attribute__((constructor)) static void start_state(void)
{
    hash_random_bytes(state.user_key, sizeof state.user_key);
    state.json = isatty(STDERR_FILENO) == 0;
    log_set_descriptor(STDERR_FILENO);
}

void log_start(const char *role, enum log_level level, enum log_format format)
{
    const char *no_colour = getenv("NO_COLOR");

    (void)snprintf(state.role, sizeof state.role, "%s", role);
    state.level = level;
    state.json = format == LOG_JSON || (format == LOG_AUTO && isatty(state.fd) == 0);
    state.colour = !state.json && isatty(state.fd) != 0 && (no_colour == NULL || no_colour[0] == 0);
    log_set_descriptor(state.wait_free ? STDERR_FILENO : state.fd);
}

void log_set_descriptor(int descriptor)
{
    struct stat info;
    char path[64];
    int opened;

    if (state.wait_free)
        (void)close(state.fd);
    state.wait_free = false;
    state.fd = descriptor;
    if (fstat(descriptor, &info) != 0)
        return;
    state.socket = S_ISSOCK(info.st_mode);
    if (!S_ISFIFO(info.st_mode) && isatty(descriptor) == 0)
        return;
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", descriptor);
    opened = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    if (opened < 0)
        return; /* no /proc, or not ours: poll() before each write is the next best */
    state.fd = opened;
    state.wait_free = true;
}

void log_set_user_key(struct text key)
{
    unsigned char digest[crypto_generichash_BYTES];

    (void)crypto_generichash(digest, sizeof digest, (const unsigned char *)key.at, key.bytes, NULL,
                             0);
    memcpy(state.user_key, digest, sizeof state.user_key);
}

uint64_t log_dropped_count(void)
{
    return atomic_load(&dropped);
}

bool log_wanted(enum log_level level)
{
    return level >= state.level;
}

bool log_level_of(const char *name, enum log_level *level)
{
    for (int i = 0; i < (int)(sizeof level_names / sizeof level_names[0]); i++) {
        if (strcmp(name, level_names[i]) == 0) {
            *level = (enum log_level)i;
            return true;
        }
    }
    return false;
}

struct log_field log_text(const char *key, const char *zero_ended)
{
    return log_slice(key, text_of(zero_ended == NULL ? "" : zero_ended));
}

struct log_field log_slice(const char *key, struct text value)
{
    return (struct log_field){.key = key, .type = LOG_FIELD_TEXT, .text = value};
}

struct log_field log_int(const char *key, int64_t value)
{
    return (struct log_field){.key = key, .type = LOG_FIELD_INT, .integer = value};
}

struct log_field log_real(const char *key, double value)
{
    return (struct log_field){.key = key, .type = LOG_FIELD_REAL, .real = value};
}

struct log_field log_user(struct text user)
{
    unsigned char digest[crypto_shorthash_BYTES];
    struct log_field field = {.key = "user", .type = LOG_FIELD_HASH};

    _Static_assert(sizeof digest == sizeof field.integer, "the hash fits");
    (void)crypto_shorthash(digest, (const unsigned char *)(user.at == NULL ? "" : user.at),
                           user.bytes, state.user_key);
    memcpy(&field.integer, digest, sizeof digest);
    return field;
}

static struct text cut(struct text text, size_t bytes_max)
{
    return (struct text){text.at, text.bytes < bytes_max ? text.bytes : bytes_max};
}

/* "2013-02-28T12:34:56.789Z" */
static void format_time(char *into, size_t bytes, int64_t at_ms)
{
    time_t seconds = (time_t)(at_ms / 1000);
    struct tm utc;
    size_t used;

    (void)gmtime_r(&seconds, &utc);
    used = strftime(into, bytes, "%Y-%m-%dT%H:%M:%S", &utc);
    (void)snprintf(into + used, bytes - used, ".%03dZ", (int)(at_ms % 1000));
}

static void put_field_value(struct json_writer *w, const struct log_field *field)
{
    char hex[2 * sizeof field->integer + 1];

    switch (field->type) {
    case LOG_FIELD_TEXT:
        json_put_text(w, cut(field->text, FIELD_BYTES_MAX));
        break;
    case LOG_FIELD_INT:
        json_put_int(w, field->integer);
        break;
    case LOG_FIELD_REAL:
        json_put_real(w, field->real);
        break;
    case LOG_FIELD_HASH:
        hash_hex(hex, &field->integer, sizeof field->integer);
        json_put_text(w, text_of(hex));
        break;
    }
}

/* False when the line did not fit. */
static bool json_line(struct json_writer *w, enum log_level level, const char *event,
                      struct text message, const struct log_field *fields, int fields_count)
{
    char at[40];

    format_time(at, sizeof at, clock_wall_ms());
    json_object_begin(w);
    json_text(w, "ts", text_of(at));
    json_text(w, "level", text_of(level_names[level]));
    json_text(w, "role", text_of(state.role));
    json_text(w, "event", text_of(event));
    json_text(w, "message", message);
    for (int i = 0; i < fields_count; i++) {
        json_key(w, fields[i].key);
        put_field_value(w, &fields[i]);
    }
    json_object_end(w);
    return json_writer_ok(w);
}

static size_t put_format(char *into, size_t bytes, size_t used, const char *fmt, ...)
    PRINTF_LIKE(4, 5);

static size_t put_format(char *into, size_t bytes, size_t used, const char *fmt, ...)
{
    va_list args;
    int more;

    if (used >= bytes)
        return used;
    va_start(args, fmt);
    more = vsnprintf(into + used, bytes - used, fmt, args);
    va_end(args);
    used += more < 0 ? 0 : (size_t)more;
    return used < bytes ? used : bytes; /* cut: the line ends here */
}

/* A text for people: the JSON form without its quotes, so that escapes are the same. */
static size_t put_plain(char *into, size_t bytes, size_t used, struct text value, bool quoted)
{
    char escaped[2 * MESSAGE_BYTES_MAX];
    struct json_writer w;

    json_writer_init(&w, escaped, sizeof escaped);
    json_put_text(&w, value);
    if (!json_writer_ok(&w))
        return put_format(into, bytes, used, "\"...\"");
    if (!quoted) {
        w.at++;
        w.used -= 2;
    }
    return put_format(into, bytes, used, "%.*s", (int)w.used, w.at);
}

/* "12:34:56.789 warn  ingest  redis_down  message  node=x attempt=3" */
static size_t text_line(char *into, size_t bytes, enum log_level level, const char *event,
                        struct text message, const struct log_field *fields, int fields_count)
{
    static const char *const colours[] = {"\033[2m", "\033[32m", "\033[33m", "\033[31m"};
    char at[40];
    size_t used;

    format_time(at, sizeof at, clock_wall_ms());
    used = put_format(into, bytes, 0, "%.12s %s%-5s%s %-8s %-20s ", at + 11,
                      state.colour ? colours[level] : "", level_names[level],
                      state.colour ? "\033[0m" : "", state.role, event);
    used = put_plain(into, bytes, used, message, false);
    for (int i = 0; i < fields_count; i++) {
        char value[FIELD_BYTES_MAX * 6 + 8];
        struct json_writer w;

        used = put_format(into, bytes, used, "%s%s=", i == 0 ? "  " : " ", fields[i].key);
        if (fields[i].type == LOG_FIELD_TEXT) {
            struct text text = cut(fields[i].text, FIELD_BYTES_MAX);
            bool bare = text.bytes > 0 && memchr(text.at, ' ', text.bytes) == NULL;

            used = put_plain(into, bytes, used, text, !bare);
            continue;
        }
        json_writer_init(&w, value, sizeof value);
        put_field_value(&w, &fields[i]);
        used = put_format(into, bytes, used, "%.*s", (int)w.used, w.at);
    }
    return used;
}

static bool writable_now(int fd)
{
    struct pollfd poll_fd = {.fd = fd, .events = POLLOUT};

    return poll(&poll_fd, 1, 0) == 1 && (poll_fd.revents & POLLOUT) != 0;
}

/* line[0] is a newline that is written only after a line that was cut, which happens on
 * stream sockets and terminals. */
static void emit(const char *line, size_t bytes)
{
    bool whole_before = !atomic_exchange(&was_cut, false);
    const char *from = line + whole_before;
    size_t left = bytes - whole_before;
    ssize_t wrote = -1;

    do {
        if (state.socket)
            wrote = send(state.fd, from, left, MSG_DONTWAIT | MSG_NOSIGNAL);
        else if (state.wait_free || writable_now(state.fd))
            wrote = write(state.fd, from, left);
        else
            errno = EAGAIN;
    } while (wrote < 0 && errno == EINTR);
    if (wrote == (ssize_t)left)
        return;
    if (wrote > 0 || !whole_before)
        atomic_store(&was_cut, true);
    atomic_fetch_add(&dropped, 1);
    metric_add(&dropped_metric, 1);
}

void log_write(enum log_level level, const char *event, const char *message,
               const struct log_field *fields, int fields_count)
{
    char line[1 + LOG_LINE_BYTES_MAX] = "\n";
    struct text short_message = cut(text_of(message == NULL ? "" : message), MESSAGE_BYTES_MAX);
    struct json_writer w;
    size_t used;
    int saved = errno;

    if (!log_wanted(level))
        return;
    if (fields_count > FIELDS_MAX)
        fields_count = FIELDS_MAX;
    if (state.json) {
        /* Escapes can make a text six times as long: then fewer fields, then half a message. */
        for (;;) {
            json_writer_init(&w, line + 1, LOG_LINE_BYTES_MAX - 2);
            if (json_line(&w, level, event, short_message, fields, fields_count))
                break;
            if (fields_count > 0)
                fields_count--;
            else if (short_message.bytes > 0)
                short_message.bytes /= 2;
            else
                return; /* an event name that fills a line: our own mistake, not worth a crash */
        }
        used = w.used;
    } else {
        used = text_line(line + 1, LOG_LINE_BYTES_MAX - 2, level, event, short_message, fields,
                         fields_count);
    }
    line[1 + used] = '\n';
    emit(line, used + 2);
    errno = saved;
}

bool log_every(struct log_limit *limit, int64_t period_ms)
{
    int64_t now = clock_monotonic_us();
    int64_t next = __atomic_load_n(&limit->next_us, __ATOMIC_RELAXED);

    if ((next == 0 || now >= next) &&
        __atomic_compare_exchange_n(&limit->next_us, &next, now + period_ms * 1000, false,
                                    __ATOMIC_RELAXED, __ATOMIC_RELAXED))
        return true;
    (void)__atomic_add_fetch(&limit->held_back, 1, __ATOMIC_RELAXED);
    return false;
}
