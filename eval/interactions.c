/*
 * eval/interactions.c - lines into dense arrays, sorted by user and time.
 *
 * Two passes over memory, one over the file: events are appended as they come, then ordered by
 * time (skipped where they are in order already) and dealt to their users, which keeps the order.
 */
#include "eval/interactions.h"

#include "eval/interactions_line.h"
#include "ops/file.h"
#include "ops/hash.h"
#include "ops/map64.h"
#include "ops/progress.h"
#include "schemas/event_file.h"

#include <stdlib.h>
#include <string.h>

#define LINE_BYTES_MAX (1 << 20)
#define IDS_MAX        ((size_t)1 << 30)
#define ID_SEED        UINT64_C(0x6576616c)
#define ROOM_FIRST     4096
#define LOOK_EVERY     1024 /* lines between two looks at the clock */

#define X(id, name) name,
const char *const interactions_form_names[INTERACTIONS_FORMS] = {INTERACTIONS_FORM_LIST(X)};
#undef X

/* One event as it came. */
struct entry {
    int64_t time_ms;
    int32_t user, item;
    uint8_t action;
};

struct loading {
    struct map64 *users, *items;
    struct entry *entries;
    int64_t count, room;
    int64_t refused, ignored;
    bool timed;
};

static enum status number_of(struct map64 *map, uint64_t id, uint32_t first, int32_t *number,
                             struct error *err)
{
    uint32_t known = first + (uint32_t)map64_count(map);

    if (!map64_get(map, id, &known) && map64_put(map, id, known) != OK)
        return error_set(err, ERR_NOMEM, "no memory for %zu users or items", map64_count(map));
    *number = (int32_t)known;
    return OK;
}

static enum status add(struct loading *l, uint64_t user, uint64_t item, uint8_t action,
                       int64_t time_ms, struct error *err)
{
    struct entry *entry;
    enum status status;

    if (l->count == l->room) {
        int64_t room = l->room == 0 ? ROOM_FIRST : 2 * l->room;
        struct entry *grown;

        if (l->count >= INTERACTIONS_MAX)
            return error_set(err, ERR_LIMIT, "more than %lld events", (long long)INTERACTIONS_MAX);
        grown = realloc(l->entries, (size_t)room * sizeof *grown);
        if (grown == NULL)
            return error_set(err, ERR_NOMEM, "no memory for %lld events", (long long)room);
        l->entries = grown;
        l->room = room;
    }
    entry = &l->entries[l->count];
    *entry = (struct entry){.time_ms = time_ms, .action = action};
    status = number_of(l->users, user, 0, &entry->user, err);
    if (status == OK)
        status = number_of(l->items, item, 1, &entry->item, err);
    l->count += status == OK;
    return status;
}

/* ---- the forms ---- */

static enum status read_lines(struct loading *l, const char *path,
                              const struct interactions_options *options, struct error *err)
{
    struct interactions_line reader = {0};
    struct file_lines *lines;
    struct progress progress;
    struct text line;
    uint64_t n = 0;
    enum status status = file_lines_open(&lines, path, LINE_BYTES_MAX, err);

    if (status != OK)
        return status;
    progress_begin(&progress, "reading", "lines");
    for (;; n++) {
        struct interactions_fields fields;

        status = file_lines_next(lines, &line, err);
        if (status == ERR_LIMIT) {
            l->refused++;
            continue;
        }
        if (status != OK || line.at == NULL)
            break;
        if (interactions_line_is_empty(line))
            continue;
        if (!reader.begun && line.at[0] == '{') {
            status = error_set(err, ERR_MALFORMED,
                               "\"%s\" looks like events in JSON: --format jsonl reads them", path);
            break;
        }
        if (!reader.begun) {
            status = interactions_line_begin(&reader, &line, options->form == INTERACTIONS_CSV,
                                             options->map, err);
            if (status != OK)
                break;
            if (options->form == INTERACTIONS_CSV)
                continue;
        }
        if (n % LOOK_EVERY == 0) {
            progress_show(&progress, file_lines_fraction(lines), n);
            if ((options->stopping != NULL && options->stopping()))
                status = error_set(err, ERR_CANCELLED, "stopped while reading line %llu",
                                   (unsigned long long)n);
        }
        if (status == OK && !interactions_line_split(&reader, line, &fields))
            l->refused++;
        else if (status == OK)
            status = add(l, hash64_text(fields.user, ID_SEED), hash64_text(fields.item, ID_SEED), 1,
                         fields.time_ms, err);
        if (status != OK)
            break;
    }
    progress_end(&progress, n);
    l->timed = reader.timed;
    interactions_line_clear(&reader);
    file_lines_close(lines);
    return status;
}

static enum status read_events(struct loading *l, const char *path,
                               const struct interactions_options *options, struct error *err)
{
    struct event_file_options how = {.form = EVENT_FILE_JSONL};
    struct event_file *file;
    struct progress progress;
    uint64_t n = 0;
    bool more = true;
    enum status status = event_file_open(&file, path, options->schema, &how, err);

    if (status != OK)
        return status;
    l->timed = true;
    progress_begin(&progress, "reading", "lines");
    for (; status == OK && more; n++) {
        struct event event;
        enum refusal why;

        status = event_file_next(file, &event, &more, &why, err);
        if (status != OK && why != REFUSAL_NONE) {
            l->refused++;
            status = OK;
            continue;
        }
        if (status != OK || !more)
            break;
        if (n % LOOK_EVERY == 0) {
            progress_show(&progress, event_file_fraction(file), n);
            if ((options->stopping != NULL && options->stopping()))
                status = error_set(err, ERR_CANCELLED, "stopped while reading line %llu",
                                   (unsigned long long)n);
        }
        if (status != OK)
            break;
        if (event.kind != EVENT_ACTION || !options->rules->actions[event.action].history ||
            options->rules->actions[event.action].negative)
            l->ignored++;
        else
            status = add(l, hash64_text(event.user, ID_SEED), hash64_text(event.item, ID_SEED),
                         event.action, event.time_ms, err);
    }
    progress_end(&progress, n);
    event_file_close(file);
    return status;
}

/* ---- order ---- */

/* Merge sort of places by time: stable, so that lines of one time stay in their order. */
static void sort_by_time(const struct entry *entries, int64_t *places, int64_t *scratch,
                         int64_t count)
{
    int64_t half = count / 2, i = 0, j = half, k = 0;

    if (count < 2)
        return;
    sort_by_time(entries, places, scratch, half);
    sort_by_time(entries, places + half, scratch, count - half);
    if (entries[places[half - 1]].time_ms <= entries[places[half]].time_ms)
        return;
    memcpy(scratch, places, (size_t)half * sizeof *places);
    while (i < half && j < count)
        places[k++] = entries[places[j]].time_ms < entries[scratch[i]].time_ms ? places[j++]
                                                                               : scratch[i++];
    while (i < half)
        places[k++] = scratch[i++];
}

static enum status make_room(struct interactions *d, int64_t count, struct error *err)
{
    size_t n = (size_t)count;

    d->count = count;
    d->start = calloc((size_t)d->users + 2, sizeof *d->start);
    d->item = malloc(n * sizeof *d->item);
    d->action = malloc(n * sizeof *d->action);
    d->time_ms = malloc(n * sizeof *d->time_ms);
    d->order = malloc(n * sizeof *d->order);
    d->by_time = malloc(n * sizeof *d->by_time);
    d->user = malloc(n * sizeof *d->user);
    if (d->start == NULL || d->item == NULL || d->action == NULL || d->time_ms == NULL ||
        d->order == NULL || d->by_time == NULL || d->user == NULL)
        return error_set(err, ERR_NOMEM, "no memory for %lld events", (long long)count);
    return OK;
}

/* Deals the events to their users in the order of time. */
static enum status deal(struct interactions *d, const struct loading *l, struct error *err)
{
    int64_t *places = malloc((size_t)l->count * sizeof *places);
    enum status status = make_room(d, l->count, err);

    if (places == NULL && status == OK)
        status = error_set(err, ERR_NOMEM, "no memory to sort %lld events", (long long)l->count);
    if (status != OK) {
        free(places);
        return status;
    }
    for (int64_t i = 0; i < l->count; i++) {
        places[i] = i;
        d->start[l->entries[i].user + 2]++;
    }
    sort_by_time(l->entries, places, d->order, l->count);
    for (int32_t u = 0; u < d->users; u++)
        d->start[u + 2] += d->start[u + 1];
    d->print = hash64_mix((uint64_t)l->count, d->timed);
    for (int64_t n = 0; n < l->count; n++) {
        const struct entry *entry = &l->entries[places[n]];
        int64_t at = d->start[entry->user + 1]++; /* ends as the user's first of the next */

        d->item[at] = entry->item;
        d->action[at] = entry->action;
        d->time_ms[at] = d->timed ? entry->time_ms : 0;
        d->order[at] = n;
        d->by_time[n] = at;
        d->user[at] = entry->user;
        d->print = hash64_mix(d->print,
                              ((uint64_t)(uint32_t)entry->user << 32) | (uint32_t)entry->item);
        d->print = hash64_mix(d->print, (uint64_t)d->time_ms[at]);
    }
    free(places);
    return OK;
}

enum status interactions_load(struct interactions *data, const char *path,
                              const struct interactions_options *options, struct error *err)
{
    struct loading l = {0};
    struct interactions made = {0};
    enum status status = OK;

    *data = (struct interactions){0};
    l.users = map64_create(0, IDS_MAX);
    l.items = map64_create(0, IDS_MAX);
    if (l.users == NULL || l.items == NULL)
        status = error_set(err, ERR_NOMEM, "no memory to read \"%s\"", path);
    if (status == OK)
        status = options->form == INTERACTIONS_JSONL ? read_events(&l, path, options, err)
                                                     : read_lines(&l, path, options, err);
    if (status == OK && l.count == 0)
        status = error_set(err, ERR_MALFORMED,
                           "\"%s\" holds no interactions: %lld lines refused, %lld events ignored",
                           path, (long long)l.refused, (long long)l.ignored);
    if (status == OK && l.refused > 10 * l.count) /* another form */
        status = error_set(err, ERR_MALFORMED,
                           "\"%s\": %lld lines are not in the form that --format names, %lld are",
                           path, (long long)l.refused, (long long)l.count);
    if (status != OK)
        goto done;
    made.users = (int32_t)map64_count(l.users);
    made.items = (int32_t)map64_count(l.items) + 1;
    made.timed = l.timed;
    made.refused = l.refused;
    made.ignored = l.ignored;
    status = deal(&made, &l, err);
    if (status != OK)
        goto done;
    made.rows = l.items;
    l.items = NULL;
    *data = made;
    made = (struct interactions){0};
done:
    interactions_clear(&made);
    map64_destroy(l.users);
    map64_destroy(l.items);
    free(l.entries);
    return status;
}

void interactions_clear(struct interactions *data)
{
    free(data->start);
    free(data->item);
    free(data->action);
    free(data->time_ms);
    free(data->order);
    free(data->by_time);
    free(data->user);
    map64_destroy(data->rows);
    *data = (struct interactions){0};
}

int32_t interactions_item(const struct interactions *data, struct text name)
{
    uint32_t row = 0;

    (void)map64_get(data->rows, hash64_text(name, ID_SEED), &row);
    return (int32_t)row;
}
