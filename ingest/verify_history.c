/* ingest/verify_history.c - a handful of differences, each with a ring of lines. */
#include "ingest/verify_history.h"

#include "features/redis_dataset.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WHAT_BYTES 400
#define LINE_BYTES 200
#define TOLD_BYTES 60 /* of an id inside a line */

struct difference {
    char name[ITEM_ID_MAX];
    size_t name_bytes;
    bool item;
    int shard; /* or -1 */
    char what[WHAT_BYTES];
};

struct verify_history {
    int64_t count[REDIS_SHARDS_MAX + 1]; /* by shard + 1: of all, also those not kept */
    struct difference *list;             /* (room), of a shard VERIFY_SHOWN_MAX at most */
    int kept, room;
    struct records {
        int64_t count;
        char lines[VERIFY_HISTORY_MAX][LINE_BYTES]; /* the newest, a ring */
    } shown[VERIFY_SHOWN_MAX];                      /* of the first of the list */
};

enum status verify_history_create(struct verify_history **history, struct error *err)
{
    *history = calloc(1, sizeof **history);
    return *history != NULL ? OK : error_set(err, ERR_NOMEM, "no memory for differences");
}

void verify_history_destroy(struct verify_history *history)
{
    if (history != NULL)
        free(history->list);
    free(history);
}

int64_t verify_history_count(const struct verify_history *history)
{
    int64_t count = 0;

    for (int shard = 0; shard <= REDIS_SHARDS_MAX; shard++)
        count += history->count[shard];
    return count;
}

static int shown(const struct verify_history *history)
{
    return history->kept < VERIFY_SHOWN_MAX ? history->kept : VERIFY_SHOWN_MAX;
}

static bool is_of(const struct difference *d, struct text name, bool item)
{
    return d->item == item && text_equal(name, (struct text){d->name, d->name_bytes});
}

void verify_history_add(struct verify_history *history, struct text name, bool item, int shard,
                        const char *what)
{
    struct difference *d;

    shard = shard < 0 || shard >= REDIS_SHARDS_MAX ? -1 : shard;
    if (history->count[shard + 1]++ >= VERIFY_SHOWN_MAX || name.bytes > sizeof d->name)
        return;
    if (history->kept == history->room) {
        int room = history->room == 0 ? VERIFY_SHOWN_MAX : 2 * history->room;

        d = realloc(history->list, (size_t)room * sizeof *d);
        if (d == NULL)
            return; /* it is counted */
        history->list = d;
        history->room = room;
    }
    d = &history->list[history->kept++];
    *d = (struct difference){.item = item, .shard = shard, .name_bytes = name.bytes};
    memcpy(d->name, name.at, name.bytes);
    (void)snprintf(d->what, sizeof d->what, "%s", what);
}

void verify_history_judge(struct verify_history *history, const bool *moved, int shards)
{
    int kept = 0;

    for (int shard = 0; shard < shards && shard < REDIS_SHARDS_MAX; shard++)
        if (moved[shard])
            history->count[shard + 1] = 0;
    for (int i = 0; i < history->kept; i++) {
        const struct difference *d = &history->list[i];

        if (d->shard < 0 || d->shard >= shards || !moved[d->shard])
            history->list[kept++] = *d;
    }
    history->kept = kept;
}

/* ---- records ---- */

static bool names_item(const struct event *event, struct text item)
{
    if (event->kind == EVENT_ACTION)
        return text_equal(event->item, item);
    for (int i = 0; i < event->rows_count; i++)
        if (text_equal(event->rows[i], item))
            return true;
    return false;
}

static int shown_bytes(struct text text)
{
    return text.bytes < TOLD_BYTES ? (int)text.bytes : TOLD_BYTES;
}

static void write_line(char line[LINE_BYTES], const struct kafka_record *record,
                       const struct event *event)
{
    char what[96];

    if (event->kind == EVENT_ERASE)
        (void)snprintf(what, sizeof what, "erase");
    else if (event->kind == EVENT_IMPRESSION)
        (void)snprintf(what, sizeof what, "impression of %d", event->rows_count);
    else
        (void)snprintf(what, sizeof what, "action %d, item %.*s", event->action,
                       shown_bytes(event->item), event->item.at);
    (void)snprintf(line, LINE_BYTES, "%d/%" PRId64 "  time %" PRId64 "  %.*s  %s%s%.*s%s",
                   (int)record->partition, record->offset, event->time_ms, shown_bytes(event->user),
                   event->user.at, what, event->request_id.bytes > 0 ? ", request " : "",
                   shown_bytes(event->request_id),
                   event->request_id.bytes > 0 ? event->request_id.at : "",
                   record->replayed ? ", replayed" : "");
}

void verify_history_record(struct verify_history *history, const struct kafka_record *record,
                           const struct event *event)
{
    for (int i = 0; i < shown(history); i++) {
        const struct difference *d = &history->list[i];
        struct text name = {d->name, d->name_bytes};
        struct records *of = &history->shown[i];
        bool repeated = false;

        for (int other = 0; other < i; other++)
            repeated = repeated || is_of(&history->list[other], name, d->item);
        if (!repeated && (d->item ? names_item(event, name) : text_equal(event->user, name)))
            write_line(of->lines[of->count++ % VERIFY_HISTORY_MAX], record, event);
    }
}

/* ---- printing ---- */

/* Ids are strangers' bytes: a terminal must not act on them. */
static void put_printable(const char *text, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        unsigned char c = (unsigned char)text[i];

        (void)fputc(c < ' ' || c == 127 ? '.' : c, stderr);
    }
}

void verify_history_print(const struct verify_history *history)
{
    int64_t more = verify_history_count(history) - shown(history);

    for (int i = 0; i < shown(history); i++) {
        const struct difference *d = &history->list[i];
        const struct records *of = &history->shown[i];
        int64_t from = of->count > VERIFY_HISTORY_MAX ? of->count - VERIFY_HISTORY_MAX : 0;

        (void)fprintf(stderr, "%s ", d->item ? "item" : "user");
        put_printable(d->name, d->name_bytes);
        (void)fprintf(stderr, ": %s\n", d->what);
        if (from > 0)
            (void)fprintf(stderr, "    (%" PRId64 " records before these)\n", from);
        for (int64_t r = from; r < of->count; r++) {
            const char *line = of->lines[r % VERIFY_HISTORY_MAX];

            (void)fprintf(stderr, "    ");
            put_printable(line, strlen(line));
            (void)fputc('\n', stderr);
        }
    }
    if (more > 0)
        (void)fprintf(stderr, "... and %" PRId64 " more difference%s\n", more, text_plural(more));
}
