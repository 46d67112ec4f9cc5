/* features/user_print.c - two forms of the same value. */
#include "features/user_print.h"

#include <inttypes.h>
#include <time.h>

#define NAME_BYTES (ITEM_ID_MAX + 1)

void user_print_time(char into[USER_PRINT_TIME_BYTES], int64_t time_ms)
{
    time_t seconds = (time_t)(time_ms / 1000);
    struct tm utc;
    size_t used;

    if (time_ms <= 0) {
        (void)snprintf(into, USER_PRINT_TIME_BYTES, "never");
        return;
    }
    (void)gmtime_r(&seconds, &utc);
    used = strftime(into, USER_PRINT_TIME_BYTES, "%Y-%m-%dT%H:%M:%S", &utc);
    (void)snprintf(into + used, USER_PRINT_TIME_BYTES - used, ".%03dZ", (int)(time_ms % 1000));
}

static struct text item_name(const struct item_tables *tables, uint64_t item, char into[NAME_BYTES])
{
    int32_t index = tables == NULL ? ITEM_NONE : item_tables_find(tables, item);

    if (index != ITEM_NONE && item_tables_name(tables, index).bytes > 0)
        return item_tables_name(tables, index);
    (void)snprintf(into, NAME_BYTES, "#%016" PRIx64, item);
    return text_of(into);
}

/* The configured name, or the number. */
static struct text action_name(const struct rules *rules, uint8_t action, char into[NAME_BYTES])
{
    if (action < ACTIONS_MAX && rules->actions[action].name[0] != '\0')
        return text_of(rules->actions[action].name);
    (void)snprintf(into, NAME_BYTES, "%d", (int)action);
    return text_of(into);
}

/* ---- JSON ---- */

static void put_done(struct json_writer *w, const struct rules *rules,
                     const struct item_tables *tables, int64_t time_ms, uint64_t item,
                     uint8_t action)
{
    char name[NAME_BYTES];

    json_object_begin(w);
    json_int(w, "time", time_ms);
    json_text(w, "item", item_name(tables, item, name));
    json_text(w, "action", action_name(rules, action, name));
    json_object_end(w);
}

static void put_open(struct json_writer *w, const struct rules *rules,
                     const struct item_tables *tables, const struct open_impression *open)
{
    char name[NAME_BYTES];

    json_object_begin(w);
    json_int(w, "shown_at", open->shown_at_ms);
    json_key(w, "request");
    if (open->request == 0)
        json_put_null(w);
    else {
        (void)snprintf(name, sizeof name, "%016" PRIx64, open->request);
        json_put_text(w, text_of(name));
    }
    json_key(w, "rows");
    json_array_begin(w);
    for (int i = 0; i < open->rows_count; i++)
        json_put_text(w, item_name(tables, open->rows[i], name));
    json_array_end(w);
    json_key(w, "labels");
    json_array_begin(w);
    for (int i = 0; i < open->labels_count; i++)
        put_done(w, rules, tables, open->labels[i].time_ms, open->labels[i].item,
                 open->labels[i].action);
    json_array_end(w);
    json_object_end(w);
}

bool user_print_json(struct json_writer *w, struct text user, const struct user_value *value,
                     const struct rules *rules, const struct item_tables *tables)
{
    json_object_begin(w);
    json_text(w, "user", user);
    json_int(w, "running", value->running);
    json_int(w, "erased_at", value->erased_at_ms);
    json_int(w, "written_at", value->written_at_ms);
    json_int(w, "partition", value->writer & 0xfffffu);
    json_int(w, "log", value->writer >> 20);
    json_bool(w, "replayed", (value->flags & USER_VALUE_REPLAYED) != 0);
    json_key(w, "entries");
    json_array_begin(w);
    for (int i = 0; i < value->count; i++)
        put_done(w, rules, tables, value->entries[i].time_ms, value->entries[i].item,
                 value->entries[i].action);
    json_array_end(w);
    json_key(w, "opens");
    json_array_begin(w);
    for (int i = 0; i < value->opens_count; i++)
        put_open(w, rules, tables, &value->opens[i]);
    json_array_end(w);
    json_object_end(w);
    return !w->overflow;
}

/* ---- text ---- */

/* Ids are whatever strangers send: a terminal must not see their control characters. */
static struct text clean(struct text text, char into[NAME_BYTES])
{
    size_t bytes = text.bytes < NAME_BYTES ? text.bytes : NAME_BYTES;

    for (size_t i = 0; i < bytes; i++)
        into[i] = (unsigned char)text.at[i] < 0x20 || text.at[i] == 0x7f ? '?' : text.at[i];
    return (struct text){into, bytes};
}

static void print_open(FILE *file, const struct rules *rules, const struct item_tables *tables,
                       const struct open_impression *open)
{
    char time[USER_PRINT_TIME_BYTES], name[NAME_BYTES], action[NAME_BYTES];

    user_print_time(time, open->shown_at_ms);
    if (open->rows_count == 0)
        (void)fprintf(file, "  %s  list not seen yet", time);
    else
        (void)fprintf(file, "  %s  list of %d", time, open->rows_count);
    if (open->request != 0)
        (void)fprintf(file, ", request %016" PRIx64, open->request);
    for (int i = 0; i < open->labels_count; i++) {
        struct text item = clean(item_name(tables, open->labels[i].item, name), name);
        struct text what = action_name(rules, open->labels[i].action, action);

        (void)fprintf(file, "%s %.*s %.*s", i == 0 ? ":" : ",", TEXT_ARGS(what), TEXT_ARGS(item));
    }
    (void)fputc('\n', file);
}

void user_print_text(FILE *file, struct text user, const struct user_value *value,
                     const struct rules *rules, const struct item_tables *tables, int most)
{
    char time[USER_PRINT_TIME_BYTES], name[NAME_BYTES], action[NAME_BYTES];
    int shown = value->count < most ? value->count : most;

    user = clean(user, name);
    (void)fprintf(file, "user      %.*s\n", TEXT_ARGS(user));
    (void)fprintf(file, "sequence  %d of %u events that ever entered it\n", value->count,
                  (unsigned)value->running);
    for (int i = 0; i < shown; i++) {
        const struct user_entry *entry = &value->entries[value->count - 1 - i];
        struct text what = action_name(rules, entry->action, action);
        struct text item = clean(item_name(tables, entry->item, name), name);

        user_print_time(time, entry->time_ms);
        (void)fprintf(file, "  %s  %-10.*s %.*s\n", time, TEXT_ARGS(what), TEXT_ARGS(item));
    }
    if (shown < value->count)
        (void)fprintf(file, "  and %d older\n", value->count - shown);
    (void)fprintf(file, "lists     %d open\n", value->opens_count);
    for (int i = value->opens_count - 1; i >= 0; i--)
        print_open(file, rules, tables, &value->opens[i]);
    user_print_time(time, value->erased_at_ms);
    (void)fprintf(file, "erased    %s\n", time);
    user_print_time(time, value->written_at_ms);
    (void)fprintf(file,
                  "kept      from %s for features.ttl (a write renews it once an eighth has gone)\n"
                  "writer    partition %u, log %u\n",
                  time, (unsigned)(value->writer & 0xfffffu), (unsigned)(value->writer >> 20));
}
