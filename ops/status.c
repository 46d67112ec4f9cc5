/* ops/status.c - the table of ops/status.h, looked up. */
#include "ops/status.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define PREFIX_BYTES 112

#undef error_set /* the analyzer's, see the header */

struct status_row {
    const char *name;
    enum action action;
    const char *text;
};

static const struct status_row rows[STATUS_COUNT] = {
#define X(name, action, text) [name] = {#name, ACTION_##action, text},
    STATUS_LIST(X)
#undef X
};

const char *status_name(enum status status)
{
    assert(status >= 0 && status < STATUS_COUNT);
    return rows[status].name;
}

const char *status_text(enum status status)
{
    assert(status >= 0 && status < STATUS_COUNT);
    return rows[status].text;
}

enum action status_action(enum status status)
{
    assert(status >= 0 && status < STATUS_COUNT);
    return rows[status].action;
}

enum status error_set(struct error *err, enum status status, const char *fmt, ...)
{
    va_list args;

    assert(err != NULL);
    err->status = status;
    va_start(args, fmt);
    (void)vsnprintf(err->text, sizeof err->text, fmt, args);
    va_end(args);
    return status;
}

enum status error_prefix(struct error *err, const char *fmt, ...)
{
    char before[PREFIX_BYTES]; /* a long prefix leaves room for the reason */
    char after[sizeof err->text];
    size_t used;
    va_list args;

    assert(err != NULL);
    memcpy(after, err->text, sizeof after);
    va_start(args, fmt);
    (void)vsnprintf(before, sizeof before, fmt, args);
    va_end(args);
    used = strlen(before);
    memcpy(err->text, before, used);
    memcpy(err->text + used, ": ", 3);
    (void)strncat(err->text, after, sizeof err->text - 1 - used - 2);
    return err->status;
}
