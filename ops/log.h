/*
 * ops/log.h - one line an event: JSON for machines, aligned text on a terminal.
 *
 * Levels: debug, info, warn, error. A line has ts, level, role, event (a fixed
 * snake_case name), message, and fields. User ids are never written in the clear:
 * log_user() writes their keyed hash (SipHash-2-4). A line never blocks the caller: when
 * the reader does not keep up, the line is dropped and counted. A line has at most
 * LOG_LINE_BYTES_MAX bytes; control characters and broken UTF-8 are escaped, so that no
 * record can forge a line or drive a terminal. Repeated lines of one event are limited
 * (log_every()).
 * Thread: any, but for log_start(), log_set_user_key() and log_set_descriptor(): before threads.
 */
#ifndef OPS_LOG_H
#define OPS_LOG_H

#include "ops/status.h"
#include "ops/text.h"

#include <stdbool.h>
#include <stdint.h>

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };
enum log_format { LOG_AUTO, LOG_JSON, LOG_TEXT }; /* auto: text on a terminal */

/* Writes to standard error until told otherwise. role: "ingest", "serve", ... */
void log_start(const char *role, enum log_level level, enum log_format format);
/* Borrowed; must stay open. A pipe or terminal is opened a second time, so that our writes
 * do not block and those of others through the same descriptor are left as they were. */
void log_set_descriptor(int descriptor);
/* The key of log_user(): random a process until set. The same key in all roles lets an
 * operator follow one user through their logs. Any text; it is hashed. */
void log_set_user_key(struct text key);
uint64_t log_dropped_count(void);
/* Would a line of this level be written? For work that is only done to log. */
bool log_wanted(enum log_level level);
/* "debug", ... -> level; false for another name. */
bool log_level_of(const char *name, enum log_level *level);

#define LOG_LINE_BYTES_MAX 4096 /* what a pipe takes whole or not at all */

/* Up to 16 fields a line; more are cut. A text is cut at 512 bytes, a message at 1024. */
struct log_field {
    const char *key;
    enum { LOG_FIELD_TEXT, LOG_FIELD_INT, LOG_FIELD_REAL, LOG_FIELD_HASH } type;
    struct text text;
    int64_t integer;
    double real;
};
struct log_field log_text(const char *key, const char *zero_ended);
struct log_field log_slice(const char *key, struct text value);
struct log_field log_int(const char *key, int64_t value);
struct log_field log_real(const char *key, double value);
struct log_field log_user(struct text user); /* key "user", value hashed */

void log_write(enum log_level level, const char *event, const char *message,
               const struct log_field *fields, int fields_count);

/* log_event(LOG_WARN, "redis_down", err.text, log_text("node", url), log_int("attempt", n)); */
#define log_event(level, event, message, ...)                                                      \
    log_write(level, event, message, (const struct log_field[]){__VA_ARGS__ __VA_OPT__(, ){0}},    \
              (int)(sizeof((const struct log_field[]){__VA_ARGS__ __VA_OPT__(, ){0}}) /            \
                    sizeof(struct log_field)) -                                                    \
                  1)

/* True at most once in period_ms for this *limit (zeroed at first); counts what it held back
 * (the caller may log and zero it). Thread: any. */
struct log_limit {
    int64_t next_us;
    uint64_t held_back;
};
bool log_every(struct log_limit *limit, int64_t period_ms);

#endif
