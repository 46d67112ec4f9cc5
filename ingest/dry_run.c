/*
 * ingest/dry_run.c - the same decoding and the same rules, over a store in memory.
 *
 * Each partition is one log with a watermark of its own, as for ingest. A file is one partition
 * whose records carry their events' times; so none lies in the future of its record, and what would
 * as a record of now is counted apart.
 */
#include "ingest/dry_run.h"

#include "features/user_store.h"
#include "ingest/topic_reader.h"
#include "ops/clock.h"
#include "ops/file.h"
#include "ops/hash.h"
#include "ops/json_writer.h"
#include "ops/progress.h"
#include "schemas/event_file.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define EXAMPLE_BYTES 160
#define RESULT_BYTES  (64 * 1024)
#define SEED          1 /* any: nothing that is stored depends on it here */

/* The first record of a kind. */
struct first {
    int64_t count;
    int32_t partition;
    int64_t offset;
    char text[EXAMPLE_BYTES];
};

struct dry {
    struct command_line *line;
    const struct config *config;
    struct event_schema *schema;
    struct event_decoder *decoder;
    struct rules rules;
    struct user_store *store;
    struct first outcomes[OUTCOME_COUNT];
    struct first refusals[REFUSAL_COUNT];
    int64_t records, examples, limit;
    int64_t now_ms, after_now; /* of a file: events that are later than now */
    int64_t *watermarks;       /* (partitions) */
    struct progress progress;
    bool file;
};

static void count_first(struct first *first, int32_t partition, int64_t offset, struct text record)
{
    size_t used = 0;

    if (first->count++ > 0)
        return;
    first->partition = partition;
    first->offset = offset;
    for (size_t i = 0; i < record.bytes && used < sizeof first->text - 1; i++)
        first->text[used++] = record.at[i] >= ' ' && record.at[i] < 127 ? record.at[i]
                                                                        : '.'; /* for a terminal */
}

static void count_example(void *context, const uint8_t *example, size_t bytes)
{
    (void)example;
    (void)bytes;
    ((struct dry *)context)->examples++;
}

static void refuse(struct dry *d, enum refusal why, int32_t partition, int64_t offset,
                   struct text record)
{
    count_first(&d->refusals[why], partition, offset, record);
    count_first(&d->outcomes[OUTCOME_DEAD], partition, offset, record);
}

static enum status apply(struct dry *d, const struct event *event, int32_t partition,
                         int64_t offset, int64_t time_ms, bool replayed, struct text record,
                         struct error *err)
{
    int64_t *watermark_ms = &d->watermarks[partition];
    enum outcome outcome;
    enum status status = user_store_apply(d->store, event, *watermark_ms, replayed, count_example,
                                          d, &outcome, err);

    if (status != OK)
        return status;
    *watermark_ms = rules_watermark(*watermark_ms, event->time_ms, time_ms,
                                    event_schema_max_future_skew_ms(d->schema));
    count_first(&d->outcomes[outcome], partition, offset, record);
    return OK;
}

static bool at_limit(const struct dry *d)
{
    return (d->limit > 0 && d->records >= d->limit) || command_stopping();
}

/* ---- a file ---- */

static enum status run_file(struct dry *d, const char *path, struct error *err)
{
    struct event_file_options options = {
        .form = event_file_form_of(command_text(d->line, "format"))};
    struct event_file *file = NULL;
    struct event event;
    bool more = true;
    enum status status = event_file_open(&file, path, d->schema, &options, err);

    while (status == OK && !at_limit(d)) {
        enum refusal why = REFUSAL_NONE;

        status = event_file_next(file, &event, &more, &why, err);
        if (status != OK && why == REFUSAL_NONE)
            break;
        if (!more)
            break;
        d->records++;
        if (status != OK) {
            refuse(d, why, 0, (int64_t)event_file_line(file), event_file_text(file));
            status = OK;
            continue;
        }
        d->after_now += event.time_ms > d->now_ms + event_schema_max_future_skew_ms(d->schema);
        status = apply(d, &event, 0, (int64_t)event_file_line(file), event.time_ms, false,
                       event_file_text(file), err);
        progress_show(&d->progress, event_file_fraction(file), (uint64_t)d->records);
    }
    event_file_close(file);
    return status;
}

/* ---- a topic ---- */

static enum status take_record(struct dry *d, const struct kafka_record *record, struct error *err)
{
    struct event event;
    enum refusal why;
    enum status status = event_decode_record(d->decoder, record->key, record->value,
                                             record->timestamp_ms, &event, &why, err);

    if (status != OK && why == REFUSAL_NONE) /* it says nothing of the record */
        return status;
    if (why != REFUSAL_NONE) {
        refuse(d, why, record->partition, record->offset, record->value);
        return OK;
    }
    return apply(d, &event, record->partition, record->offset, record->timestamp_ms,
                 record->replayed, record->value, err);
}

static enum status visit(void *context, const struct kafka_record *record, struct error *err)
{
    struct dry *d = context;

    if (at_limit(d))
        return error_set(err, ERR_CANCELLED, "enough");
    d->records++;
    return take_record(d, record, err);
}

/* Partitions come in order, from 0. */
static enum status choose(void *context, int32_t partition, struct topic_range *range,
                          struct error *err)
{
    struct dry *d = context;
    int64_t *grown = realloc(d->watermarks, ((size_t)partition + 1) * sizeof *grown);

    (void)range;
    if (grown == NULL)
        return error_set(err, ERR_NOMEM, "no memory for a dry run");
    d->watermarks = grown;
    d->watermarks[partition] = INT64_MIN;
    return OK;
}

static void show(void *context, double fraction)
{
    struct dry *d = context;

    progress_show(&d->progress, fraction, (uint64_t)d->records);
}

static enum status run_topic(struct dry *d, const char *name, struct error *err)
{
    const struct topic_reader_options options = {.config = d->config,
                                                 .topic = name,
                                                 .choose = choose,
                                                 .visit = visit,
                                                 .progress = show,
                                                 .stopping = command_stopping,
                                                 .context = d};
    enum status status = topic_reader_read(&options, NULL, err);

    if (status == ERR_NOT_FOUND)
        return error_set(err, status, "\"%s\" is neither a file nor a topic", name);
    if (status == ERR_UNAVAILABLE || status == ERR_TIMEOUT)
        return error_prefix(err, "no file of that name, so a topic");
    return status == ERR_CANCELLED ? OK : status; /* the limit, or a person who has seen enough */
}

/* ---- the result ---- */

static void put_first(struct json_writer *w, const struct dry *d, const char *name,
                      const struct first *first)
{
    json_key(w, name);
    json_object_begin(w);
    json_int(w, "count", first->count);
    if (first->count > 0) {
        if (!d->file)
            json_int(w, "partition", first->partition);
        json_int(w, d->file ? "line" : "offset", first->offset);
        json_text(w, "first", text_of(first->text));
    }
    json_object_end(w);
}

static void print_json(const struct dry *d)
{
    static char text[RESULT_BYTES];
    struct json_writer w;

    json_writer_init(&w, text, sizeof text);
    json_object_begin(&w);
    json_int(&w, "records", d->records);
    json_int(&w, "users", user_store_count(d->store));
    json_int(&w, "examples", d->examples);
    json_bool(&w, "future_time_judged", !d->file);
    if (d->file)
        json_int(&w, "after_now", d->after_now);
    json_key(&w, "outcomes");
    json_object_begin(&w);
    for (int i = 0; i < OUTCOME_COUNT; i++)
        put_first(&w, d, outcome_names[i], &d->outcomes[i]);
    json_object_end(&w);
    json_key(&w, "refusals");
    json_object_begin(&w);
    for (int i = 1; i < REFUSAL_COUNT; i++)
        if (d->refusals[i].count > 0)
            put_first(&w, d, refusal_names[i], &d->refusals[i]);
    json_object_end(&w);
    json_object_end(&w);
    (void)printf("%.*s\n", TEXT_ARGS(json_writer_text(&w)));
}

static void print_first(const struct dry *d, const char *name, const char *help,
                        const struct first *first)
{
    (void)printf("  %-16s %10" PRId64 "  %s\n", name, first->count, help);
    if (d->file)
        (void)printf("  %-16s first at line %" PRId64 ": %s\n", "", first->offset, first->text);
    else
        (void)printf("  %-16s first at partition %d, offset %" PRId64 ": %s\n", "",
                     (int)first->partition, first->offset, first->text);
}

static int64_t usable(const struct dry *d)
{
    return d->records - d->outcomes[OUTCOME_DEAD].count;
}

/* Where most records lack what a key of the mapping says where to find, that key is named. */
static void print_mapping(const struct dry *d)
{
    static const struct {
        enum refusal why;
        const char *key, *what;
    } parts[] = {{REFUSAL_NO_USER, "events.mapping.user", "user"},
                 {REFUSAL_NO_ITEM, "events.mapping.item", "item"},
                 {REFUSAL_NO_TIME, "events.mapping.time.path", "time"},
                 {REFUSAL_NO_ACTION, "events.mapping.action.path", "action"}};

    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        if (2 * d->refusals[parts[i].why].count > d->records)
            (void)printf("most records have no %s at %s, where %s%s looks for it%s\n",
                         parts[i].what, config_text(d->config, parts[i].key), parts[i].key,
                         config_given(d->config, parts[i].key) ? "" : " (its default)",
                         config_given(d->config, parts[i].key)
                             ? ": the mapping does not fit these records"
                             : "");
}

/* Why the trainer would get nothing, and what is probably meant where nothing fits. */
static void print_hints(const struct dry *d)
{
    int64_t bad = d->refusals[REFUSAL_BAD_TIME].count,
            future = d->refusals[REFUSAL_FUTURE_TIME].count;

    if (d->examples == 0 && usable(d) > 0)
        (void)printf("no examples: none of these events is an impression (type \"impression\"), so "
                     "there are no shown lists to learn from; sequences alone train, too\n");
    if (bad > 0 && bad * 2 > d->records)
        (void)printf("most times are before 2000: seconds read as milliseconds? Then "
                     "events.mapping.time.unit: s\n");
    if (future > 0 && future * 2 > d->records)
        (void)printf(
            "most times are in the future: milliseconds read as seconds, or microseconds as "
            "milliseconds? See events.mapping.time.unit\n");
    if (d->file)
        (void)printf("future_time was not judged, for a file has no record times: %" PRId64
                     " event%s later than now by more than events.max_future_skew\n",
                     d->after_now, d->after_now == 1 ? " is" : "s are");
    print_mapping(d);
    if (usable(d) == 0)
        (void)printf("nothing of it can be used%s\n", d->records == 0 ? ": it is empty" : "");
}

static void print_text(const struct dry *d)
{
    static const char *const helps[OUTCOME_COUNT] = {
#define X(id, name, help) help,
        OUTCOME_LIST(X)
#undef X
    };

    (void)printf("%" PRId64 " record%s, %" PRId64 " user%s, %" PRId64
                 " example%s for the trainer; nothing was written\n",
                 d->records, text_plural(d->records), user_store_count(d->store),
                 text_plural(user_store_count(d->store)), d->examples, text_plural(d->examples));
    for (int i = 0; i < OUTCOME_COUNT; i++)
        if (d->outcomes[i].count > 0)
            print_first(d, outcome_names[i], helps[i], &d->outcomes[i]);
    if (d->outcomes[OUTCOME_DEAD].count > 0)
        (void)printf("dead letters by reason\n");
    for (int i = 1; i < REFUSAL_COUNT; i++)
        if (d->refusals[i].count > 0)
            print_first(d, refusal_names[i], refusal_text((enum refusal)i), &d->refusals[i]);
    print_hints(d);
}

int dry_run(struct command_line *line, const struct config *config)
{
    const char *source = command_text(line, "dry-run");
    struct dry d = {.line = line,
                    .config = config,
                    .limit = command_int(line, "limit"),
                    .now_ms = clock_wall_ms()};
    struct error err;
    int code;
    enum status status = hash_start(&err);

    /* No topic has a '/' in its name: that is a file which is missing. */
    d.file = access(source, R_OK) == 0 || strcmp(source, "-") == 0 || strchr(source, '/') != NULL;
    d.watermarks = calloc(1, sizeof *d.watermarks);
    if (d.watermarks == NULL)
        status = error_set(&err, ERR_NOMEM, "no memory for a dry run");
    else
        d.watermarks[0] = INT64_MIN;
    if (status == OK)
        status = event_schema_create(&d.schema, config, &err);
    if (status == OK)
        status = event_decoder_create(&d.decoder, d.schema, &err);
    if (status == OK)
        event_decoder_insist(d.decoder, EVENT_PATIENCE_MS);
    if (status == OK)
        status = rules_from_config(&d.rules, d.schema, config, SEED, &err);
    if (status == OK)
        status = user_store_create(&d.store, &d.rules, &err);
    if (status == OK) {
        progress_begin(&d.progress, "dry run", "records");
        status = d.file ? run_file(&d, source, &err) : run_topic(&d, source, &err);
        progress_finish(&d.progress, status == OK, (uint64_t)d.records);
    }
    if (status != OK)
        (void)command_fail(line, &err);
    else if (command_json(line))
        print_json(&d);
    else
        print_text(&d);
    code = usable(&d) > 0 ? EXIT_DONE : EXIT_NO;
    user_store_destroy(d.store);
    event_decoder_destroy(d.decoder);
    event_schema_destroy(d.schema);
    free(d.watermarks);
    return status == OK ? code : command_exit_code(status);
}
