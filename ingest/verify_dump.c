/* ingest/verify_dump.c - files of JSON. */
#include "ingest/verify_dump.h"

#include "ops/arena.h"
#include "ops/file.h"
#include "ops/hash.h"
#include "ops/json_writer.h"
#include "ops/map64.h"
#include "schemas/example.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAMES_MAX  4000000
#define NAME_BLOCK (1 << 20)
#define NAME_LIMIT ((size_t)1 << 30)
#define LINE_BYTES (4 * 1024 * 1024) /* the longest record in hexadecimal, and to spare */

struct verify_dump {
    const struct rules *rules;
    FILE *topic, *users, *examples, *items;
    struct map64 *map; /* hash of an item or request -> index of its name */
    struct text *names;
    uint32_t names_count, names_room;
    struct arena *arena;
    struct arena *example; /* of the one at hand */
    char *line;
};

static FILE *open_in(const char *folder, const char *name)
{
    char path[4096];

    if (snprintf(path, sizeof path, "%s/%s", folder, name) >= (int)sizeof path) {
        errno = ENAMETOOLONG;
        return NULL;
    }
    return fopen(path, "we");
}

static enum status write_line(FILE *file, const struct json_writer *w, struct error *err)
{
    if (!json_writer_ok(w))
        return error_set(err, ERR_LIMIT, "a line of the dump is too long");
    if (fwrite(w->at, 1, w->used, file) != w->used || fputc('\n', file) == EOF)
        return error_set(err, ERR_IO, "could not write the dump: %s", strerror(errno));
    return OK;
}

static enum status put_item(void *context, struct text name, int64_t clicks, int64_t shown,
                            struct error *err)
{
    struct verify_dump *d = context;
    struct json_writer w;

    json_writer_init(&w, d->line, LINE_BYTES);
    json_object_begin(&w);
    json_text(&w, "item", name);
    json_int(&w, "clicks", clicks);
    json_int(&w, "shown", shown);
    json_object_end(&w);
    return write_line(d->items, &w, err);
}

static void put_ranges(struct json_writer *w, const struct offsets *offsets,
                       const struct verify_items *items)
{
    json_key(w, "items");
    json_object_begin(w);
    for (int i = 0; i < offsets->count && items != NULL; i++) {
        char name[16];
        int64_t from, to;

        if (!verify_items_range(items, offsets->list[i].partition, &from, &to))
            continue;
        (void)snprintf(name, sizeof name, "%d", (int)offsets->list[i].partition);
        json_key(w, name);
        json_array_begin(w);
        json_put_int(w, from);
        json_put_int(w, to);
        json_array_end(w);
    }
    json_object_end(w);
}

static enum status write_settings(const char *folder, const struct redis_dataset *dataset,
                                  const struct offsets *offsets, const struct verify_items *items,
                                  const struct robot_limits *robots, char *into, struct error *err)
{
    const struct rules *rules = &dataset->rules;
    struct json_writer w;
    char path[4096];

    json_writer_init(&w, into, LINE_BYTES);
    json_object_begin(&w);
    json_int(&w, "sequence_max", rules->sequence_max);
    json_int(&w, "joins_max", rules->joins_max);
    json_int(&w, "join_window_ms", rules->join_window_ms);
    json_int(&w, "late_max_ms", rules->late_max_ms);
    json_int(&w, "max_future_skew_ms", dataset->max_future_skew_ms);
    json_key(&w, "actions");
    json_object_begin(&w);
    for (int code = 0; code < ACTIONS_MAX; code++) {
        const struct action_row *a = &rules->actions[code];

        if (a->name[0] == '\0')
            continue;
        json_key(&w, a->name);
        json_object_begin(&w);
        json_int(&w, "code", code);
        json_bool(&w, "history", a->history);
        json_bool(&w, "label", a->label != 0);
        json_bool(&w, "exposure", a->exposure);
        json_bool(&w, "negative", a->negative);
        json_object_end(&w);
    }
    json_object_end(&w);
    json_key(&w, "partitions");
    json_object_begin(&w);
    for (int i = 0; i < offsets->count; i++) {
        char name[16];

        (void)snprintf(name, sizeof name, "%d", (int)offsets->list[i].partition);
        json_key(&w, name);
        json_object_begin(&w);
        json_int(&w, "next", offsets->list[i].next);
        for (int o = 0; o < OUTCOME_COUNT; o++)
            json_int(&w, outcome_names[o], offsets->list[i].counts[o]);
        json_object_end(&w);
    }
    json_object_end(&w);
    put_ranges(&w, offsets, items);
    json_key(&w, "robots");
    json_object_begin(&w);
    json_int(&w, "minute_max", robots->minute_max);
    json_int(&w, "item_max", robots->item_max);
    json_int(&w, "day_max", robots->day_max);
    json_object_end(&w);
    json_object_end(&w);
    if (!json_writer_ok(&w) ||
        snprintf(path, sizeof path, "%s/settings.json", folder) >= (int)sizeof path)
        return error_set(err, ERR_LIMIT, "the settings do not fit");
    return file_replace(path, into, w.used, err);
}

enum status verify_dump_open(struct verify_dump **dump, const char *folder,
                             const struct redis_dataset *dataset, const struct offsets *offsets,
                             const struct verify_items *items, const struct robot_limits *robots,
                             struct error *err)
{
    struct verify_dump *d = calloc(1, sizeof *d);
    enum status status;
    struct error ignored;

    *dump = NULL;
    if (d == NULL)
        return error_set(err, ERR_NOMEM, "no memory for a dump");
    d->rules = &dataset->rules;
    d->line = malloc(LINE_BYTES);
    d->map = map64_create(0, NAMES_MAX);
    d->arena = arena_create(NAME_BLOCK, NAME_LIMIT);
    d->example = arena_create(NAME_BLOCK, LINE_BYTES);
    status = d->line == NULL || d->map == NULL ? error_set(err, ERR_NOMEM, "no memory for a dump")
                                               : file_make_folders(folder, err);
    if (status == OK) {
        d->topic = open_in(folder, "topic.jsonl");
        d->users = open_in(folder, "users.jsonl");
        d->examples = open_in(folder, "examples.jsonl");
        d->items = open_in(folder, "items.jsonl");
        if (d->topic == NULL || d->users == NULL || d->examples == NULL || d->items == NULL)
            status = error_set(err, ERR_IO, "could not write a dump into \"%s\": %s", folder,
                               strerror(errno));
    }
    if (status == OK)
        status = write_settings(folder, dataset, offsets, items, robots, d->line, err);
    if (status == OK && items != NULL)
        status = verify_items_each(items, put_item, d, err);
    if (status == OK)
        *dump = d;
    else
        (void)!verify_dump_close(d, &ignored);
    return status;
}

enum status verify_dump_close(struct verify_dump *dump, struct error *err)
{
    bool failed = false;

    if (dump == NULL)
        return OK;
    FILE *const files[] = {dump->topic, dump->users, dump->examples, dump->items};
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++)
        if (files[i] != NULL)
            failed = fclose(files[i]) != 0 || failed;
    map64_destroy(dump->map);
    arena_destroy(dump->arena);
    arena_destroy(dump->example);
    free(dump->names);
    free(dump->line);
    free(dump);
    return failed ? error_set(err, ERR_IO, "could not write the dump: %s", strerror(errno)) : OK;
}

/* ---- names ---- */

static enum status learn(struct verify_dump *d, struct text name, struct error *err)
{
    uint64_t hash = hash64_text(name, d->rules->seed);
    char *copy;

    if (name.bytes == 0 || map64_get(d->map, hash, NULL))
        return OK;
    if (d->names_count == d->names_room) {
        uint32_t room = d->names_room == 0 ? 1024 : d->names_room * 2;
        struct text *grown = realloc(d->names, room * sizeof *grown);

        if (grown == NULL)
            return error_set(err, ERR_NOMEM, "no memory for names");
        d->names = grown;
        d->names_room = room;
    }
    copy = arena_copy(d->arena, name.at, name.bytes);
    if (copy == NULL || map64_put(d->map, hash, d->names_count) != OK)
        return error_set(err, ERR_NOMEM, "no memory for names");
    d->names[d->names_count++] = (struct text){copy, name.bytes};
    return OK;
}

static void put_name(const struct verify_dump *d, struct json_writer *w, uint64_t hash)
{
    char hex[24];
    uint32_t index;

    if (map64_get(d->map, hash, &index)) {
        json_put_text(w, d->names[index]);
        return;
    }
    (void)snprintf(hex, sizeof hex, "#%016" PRIx64, hash);
    json_put_text(w, text_of(hex));
}

/* ---- lines ---- */

static enum status put_hex(struct json_writer *w, const char *key, struct text bytes,
                           struct error *err)
{
    char *hex;

    json_key(w, key);
    if (bytes.at == NULL) {
        json_put_null(w);
        return OK;
    }
    hex = malloc(2 * bytes.bytes + 1);
    if (hex == NULL)
        return error_set(err, ERR_NOMEM, "no memory for a line of the dump");
    hash_hex(hex, bytes.at, bytes.bytes);
    json_put_text(w, (struct text){hex, 2 * bytes.bytes});
    free(hex);
    return OK;
}

enum status verify_dump_record(struct verify_dump *dump, const struct kafka_record *record,
                               const struct event *event, struct error *err)
{
    struct json_writer w;
    enum status status = OK;

    if (event != NULL) {
        status = learn(dump, event->item, err);
        if (status == OK)
            status = learn(dump, event->user, err); /* the same hash */
        if (status == OK)
            status = learn(dump, event->request_id, err);
        for (int i = 0; i < event->rows_count && status == OK; i++)
            status = learn(dump, event->rows[i], err);
    }
    if (status != OK)
        return status;
    json_writer_init(&w, dump->line, LINE_BYTES);
    json_object_begin(&w);
    json_int(&w, "p", record->partition);
    json_int(&w, "o", record->offset);
    json_int(&w, "ts", record->timestamp_ms);
    json_bool(&w, "replayed", record->replayed);
    status = put_hex(&w, "key", record->key, err);
    if (status == OK)
        status = put_hex(&w, "value", record->value, err);
    json_object_end(&w);
    return status == OK ? write_line(dump->topic, &w, err) : status;
}

static void put_open(const struct verify_dump *d, struct json_writer *w,
                     const struct open_impression *open)
{
    json_object_begin(w);
    json_key(w, "request");
    if (open->request == 0)
        json_put_null(w);
    else
        put_name(d, w, open->request);
    json_int(w, "shown_at", open->shown_at_ms);
    json_key(w, "rows");
    json_array_begin(w);
    for (int i = 0; i < open->rows_count; i++)
        put_name(d, w, open->rows[i]);
    json_array_end(w);
    json_key(w, "labels");
    json_array_begin(w);
    for (int i = 0; i < open->labels_count; i++) {
        json_array_begin(w);
        put_name(d, w, open->labels[i].item);
        json_put_int(w, open->labels[i].time_ms);
        json_put_int(w, open->labels[i].action);
        json_array_end(w);
    }
    json_array_end(w);
    json_object_end(w);
}

static void put_entries(const struct verify_dump *d, struct json_writer *w, const char *key,
                        const struct user_entry *entries, int count)
{
    json_key(w, key);
    json_array_begin(w);
    for (int i = 0; i < count; i++) {
        json_array_begin(w);
        put_name(d, w, entries[i].item);
        json_put_int(w, entries[i].time_ms);
        json_put_int(w, entries[i].action);
        json_array_end(w);
    }
    json_array_end(w);
}

enum status verify_dump_user(struct verify_dump *dump, struct text user,
                             const struct user_value *value, struct error *err)
{
    struct json_writer w;

    json_writer_init(&w, dump->line, LINE_BYTES);
    json_object_begin(&w);
    json_text(&w, "user", user);
    json_int(&w, "running", value->running);
    json_int(&w, "erased_at", value->erased_at_ms);
    put_entries(dump, &w, "entries", value->entries, value->count);
    json_key(&w, "opens");
    json_array_begin(&w);
    for (int i = 0; i < value->opens_count; i++)
        put_open(dump, &w, &value->opens[i]);
    json_array_end(&w);
    json_object_end(&w);
    return write_line(dump->users, &w, err);
}

static void put_shown(const struct verify_dump *d, struct json_writer *w, const struct example *e)
{
    json_int(w, "shown_at", e->time_ms);
    json_key(w, "rows");
    json_array_begin(w);
    for (int i = 0; i < e->rows_count; i++)
        put_name(d, w, e->rows[i]);
    json_array_end(w);
    json_int(w, "running", e->running);
    put_entries(d, w, "history", e->history, e->history_count);
    json_bool(w, "traced", e->raw_columns > 0);
}

enum status verify_dump_example(struct verify_dump *dump, struct text example, struct error *err)
{
    static const char *const kinds[] = {
        [EXAMPLE_SHOWN] = "shown", [EXAMPLE_LABEL] = "label", [EXAMPLE_ERASE] = "erase"};
    struct example e;
    struct json_writer w;
    char id[24] = "";
    enum status status;

    arena_reset(dump->example);
    status = example_decode(&e, (const uint8_t *)example.at, example.bytes, dump->example, err);
    if (status != OK || e.kind == EXAMPLE_MARK)
        return status;
    if (e.kind != EXAMPLE_ERASE)
        (void)snprintf(id, sizeof id, "%016" PRIx64, e.id);
    json_writer_init(&w, dump->line, LINE_BYTES);
    json_object_begin(&w);
    json_text(&w, "id", text_of(id));
    json_text(&w, "kind", text_of(kinds[e.kind]));
    json_key(&w, "user");
    put_name(dump, &w, e.user);
    if (e.kind == EXAMPLE_SHOWN) {
        put_shown(dump, &w, &e);
    } else if (e.kind == EXAMPLE_LABEL) {
        json_int(&w, "row", e.row);
        json_int(&w, "action", e.action);
    } else {
        json_int(&w, "erased_at", e.time_ms);
    }
    json_object_end(&w);
    return write_line(dump->examples, &w, err);
}
