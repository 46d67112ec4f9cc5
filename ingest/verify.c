/*
 * ingest/verify.c - `freshet verify`: is Redis what one thread would have made of the log?
 *
 * Flow: topic up to `next` -> decode -> rules -> memory store; compared with Redis, user by user
 *
 * Every shard is replayed up to its own `next`; a user who is written between the two readings
 * differs, so ingest should not be running.
 */
#include "features/key_scan.h"
#include "features/user_store.h"
#include "ingest/ingest_main.h"
#include "ingest/offsets.h"
#include "ingest/topic_reader.h"
#include "ingest/verify_dump.h"
#include "ops/arena.h"
#include "ops/hash.h"
#include "ops/json_writer.h"
#include "ops/progress.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REDIS_MS    10000
#define SHOWN_MAX   10
#define ARENA_BLOCK ((size_t)256 * 1024)
#define ARENA_LIMIT ((size_t)64 * 1024 * 1024)
#define RESULT_ROOM (64 * 1024)

struct verify {
    struct command_line *line;
    const struct config *config;
    const char *topic;
    struct redis_nodes *nodes;
    struct redis_keys keys;
    struct redis_dataset dataset;
    struct offsets offsets;
    struct event_schema *schema;
    struct event_decoder *decoder;
    struct user_store *store;
    struct verify_dump *dump;
    struct arena *arena;
    struct progress progress;
    int64_t *watermarks; /* by place in offsets */
    int64_t (*counts)[OUTCOME_COUNT];
    int64_t records, users, equal, different, missing, unknown, unreadable, wrong_counts;
    int shown;
    enum status status;
    struct error *err;
};

/* ---- the replay ---- */

static int place_of(const struct verify *v, int32_t partition)
{
    for (int i = 0; i < v->offsets.count; i++)
        if (v->offsets.list[i].partition == partition)
            return i;
    return -1;
}

static enum status choose(void *context, int32_t partition, struct topic_range *range,
                          struct error *err)
{
    struct verify *v = context;
    int place = place_of(v, partition);
    const struct offsets_partition *p = place < 0 ? NULL : &v->offsets.list[place];

    if (p == NULL) {
        range->to = range->from; /* nobody has claimed it yet */
        return OK;
    }
    if (range->low > p->start)
        return error_set(err, ERR_CONFLICT,
                         "partition %d begins at %" PRId64 " now, the data set began at %" PRId64
                         ": retention has taken what a replay needs",
                         (int)partition, range->low, p->start);
    range->from = p->start;
    range->to = p->start;
    for (int shard = 0; shard < v->offsets.shards; shard++)
        if (p->next_of[shard] > range->to)
            range->to = p->next_of[shard];
    if (range->to > range->high)
        return error_set(err, ERR_CONFLICT,
                         "partition %d ends at %" PRId64 ", Redis has applied up to %" PRId64
                         ": it is another log",
                         (int)partition, range->high, range->to);
    return OK;
}

static enum status apply(struct verify *v, int place, const struct kafka_record *record,
                         const struct event *event, struct error *err)
{
    const struct offsets_partition *p = &v->offsets.list[place];
    int shard = event == NULL ? 0 : rules_shard(&v->dataset.rules, event->user, v->offsets.shards);
    enum outcome outcome = OUTCOME_DEAD;
    enum status status = OK;

    if (record->offset < p->next_of[shard]) {
        if (event != NULL)
            status = user_store_apply(v->store, event, v->watermarks[place], record->replayed, NULL,
                                      NULL, &outcome, err);
        v->counts[place][outcome]++;
    }
    if (event != NULL)
        v->watermarks[place] = rules_watermark(v->watermarks[place], event->time_ms,
                                               record->timestamp_ms, v->dataset.max_future_skew_ms);
    return status;
}

static enum status visit(void *context, const struct kafka_record *record, struct error *err)
{
    struct verify *v = context;
    int place = place_of(v, record->partition);
    struct event event, *decoded = NULL;
    enum refusal why;
    enum status status = event_decode_record(v->decoder, record->key, record->value,
                                             record->timestamp_ms, &event, &why, err);

    if (status != OK && why == REFUSAL_NONE) /* it says nothing of the record */
        return status;
    if (status == OK)
        decoded = &event;
    v->records++;
    status = v->dump == NULL ? OK : verify_dump_record(v->dump, record, decoded, err);
    return status == OK ? apply(v, place, record, decoded, err) : status;
}

static void show(void *context, double fraction)
{
    struct verify *v = context;

    progress_show(&v->progress, fraction, (uint64_t)v->records);
}

static enum status replay(struct verify *v, struct error *err)
{
    const struct topic_reader_options options = {.config = v->config,
                                                 .topic = v->topic,
                                                 .choose = choose,
                                                 .visit = visit,
                                                 .progress = show,
                                                 .stopping = command_stopping,
                                                 .context = v};
    size_t count = (size_t)v->offsets.count + 1;

    v->watermarks = calloc(count, sizeof *v->watermarks);
    v->counts = calloc(count, sizeof *v->counts);
    if (v->watermarks == NULL || v->counts == NULL)
        return error_set(err, ERR_NOMEM, "no memory to verify");
    for (size_t i = 0; i < count; i++)
        v->watermarks[i] = INT64_MIN;
    return topic_reader_read(&options, NULL, err);
}

/* ---- the comparison ---- */

static void tell(struct verify *v, struct text user, const char *what, const struct user_value *got,
                 const struct user_value *want)
{
    if (v->shown++ >= SHOWN_MAX)
        return;
    (void)fprintf(stderr, "user %.*s: %s", TEXT_ARGS(user), what);
    if (got != NULL && want != NULL)
        (void)fprintf(stderr,
                      " (Redis: %d events, %d open lists, running %u, erased %" PRId64
                      "; replay: %d, %d, %u, %" PRId64 ")",
                      got->count, got->opens_count, (unsigned)got->running, got->erased_at_ms,
                      want->count, want->opens_count, (unsigned)want->running, want->erased_at_ms);
    (void)fprintf(stderr, "\n");
}

/* What Redis holds of a user: OK with NULL when nothing. */
static enum status get_user(struct verify *v, struct text user, struct user_value *into,
                            bool *there, struct error *err)
{
    int shard = rules_shard(&v->dataset.rules, user, v->dataset.shards);
    char key[REDIS_KEY_BYTES_MAX];
    struct text value;
    enum status status = redis_nodes_get(
        v->nodes, REDIS_MS, (struct text){key, redis_key_user(&v->keys, shard, user, key)}, &value,
        err);

    *there = status == OK && value.at != NULL;
    if (status != OK || value.at == NULL)
        return status;
    arena_reset(v->arena);
    return user_value_decode(into, (const uint8_t *)value.at, value.bytes, v->arena, err);
}

static void compare_user(void *context, struct text user, const struct user_value *want)
{
    static struct user_value got;
    struct verify *v = context;
    bool there;
    enum status status;

    if (v->status != OK)
        return;
    v->users++;
    status = get_user(v, user, &got, &there, v->err);
    if (status == ERR_UNAVAILABLE || status == ERR_TIMEOUT) {
        v->status = status;
    } else if (status != OK) {
        v->unreadable++;
        tell(v, user, v->err->text, NULL, NULL);
    } else if (!there) {
        v->missing++;
        tell(v, user, "is not in Redis", NULL, NULL);
    } else if (user_value_equal(&got, want)) {
        v->equal++;
    } else {
        v->different++;
        tell(v, user, "differs", &got, want);
    }
    progress_show(&v->progress, -1, (uint64_t)v->users);
}

/* One key that SCAN found; ours are dumped, and must be known to the replay. */
static enum status look_at_key(struct verify *v, struct text user, struct error *err)
{
    static struct user_value got;
    bool there;
    enum status status;

    if (user.bytes > USER_ID_MAX)
        return OK;
    if (user_store_get(v->store, user) == NULL) {
        v->unknown++;
        tell(v, user, "is in Redis, but not in the log", NULL, NULL);
    }
    if (v->dump == NULL)
        return OK;
    status = get_user(v, user, &got, &there, err);
    if (status == OK && there)
        status = verify_dump_user(v->dump, user, &got, err);
    return status == ERR_MALFORMED || status == ERR_CORRUPT ? OK : status;
}

static enum status scan(struct verify *v, struct error *err)
{
    struct key_scan *scan;
    enum status status = key_scan_create(&scan, v->nodes, &v->keys, REDIS_KEY_USER, err);
    bool more = true;

    while (status == OK && more) {
        const struct key_scan_key *batch;
        int count;

        status = key_scan_next(scan, REDIS_MS, &batch, &count, &more, err);
        for (int i = 0; i < count && status == OK; i++)
            status = look_at_key(v, batch[i].rest, err);
    }
    key_scan_destroy(scan);
    return status;
}

static void compare_counts(struct verify *v)
{
    for (int i = 0; i < v->offsets.count; i++)
        for (int o = 0; o < OUTCOME_COUNT; o++) {
            if (v->offsets.list[i].counts[o] == v->counts[i][o])
                continue;
            v->wrong_counts++;
            (void)fprintf(stderr,
                          "partition %d: %s is %" PRId64 " in Redis, %" PRId64 " by replay\n",
                          (int)v->offsets.list[i].partition, outcome_names[o],
                          v->offsets.list[i].counts[o], v->counts[i][o]);
        }
}

/* ---- the command ---- */

static enum status open_all(struct verify *v, struct error *err)
{
    enum status status = hash_start(err);

    if (status == OK)
        status = event_schema_create(&v->schema, v->config, err);
    if (status == OK)
        status = event_decoder_create(&v->decoder, v->schema, err);
    if (status == OK)
        event_decoder_insist(v->decoder, EVENT_PATIENCE_MS);
    if (status == OK)
        status = redis_dataset_connect_nodes(&v->dataset, &v->nodes, &v->keys, v->config, REDIS_MS,
                                             err);
    if (status == OK)
        status = offsets_load(&v->offsets, v->nodes, &v->keys, &v->dataset, v->topic, REDIS_MS,
                              err);
    if (status == OK)
        status = user_store_create(&v->store, &v->dataset.rules, err);
    if (status == OK && command_given(v->line, "dump"))
        status = verify_dump_open(&v->dump, command_text(v->line, "dump"), &v->dataset, &v->offsets,
                                  err);
    v->arena = arena_create(ARENA_BLOCK, ARENA_LIMIT);
    return status;
}

static enum status verify(struct verify *v, struct error *err)
{
    enum status status;

    progress_begin(&v->progress, "replaying", "records");
    status = replay(v, err);
    progress_end(&v->progress, (uint64_t)v->records);
    if (status != OK)
        return status;
    progress_begin(&v->progress, "comparing", "users");
    v->err = err;
    user_store_each(v->store, compare_user, v);
    progress_end(&v->progress, (uint64_t)v->users);
    if (v->status != OK)
        return v->status;
    compare_counts(v);
    return scan(v, err);
}

static void print_result(const struct verify *v, bool good)
{
    char text[RESULT_ROOM];
    struct json_writer w;

    if (!command_json(v->line)) {
        (void)printf("%" PRId64 " records, %" PRId64 " users: %" PRId64 " equal, %" PRId64
                     " different, %" PRId64 " missing, %" PRId64 " unreadable, %" PRId64
                     " unknown to the log; %" PRId64 " counts differ\n%s\n",
                     v->records, v->users, v->equal, v->different, v->missing, v->unreadable,
                     v->unknown, v->wrong_counts,
                     good ? "Redis is what one thread makes of the log"
                          : "Redis is NOT what one thread makes of the log");
        return;
    }
    json_writer_init(&w, text, sizeof text);
    json_object_begin(&w);
    json_bool(&w, "equal", good);
    json_int(&w, "records", v->records);
    json_int(&w, "users", v->users);
    json_int(&w, "users_equal", v->equal);
    json_int(&w, "users_different", v->different);
    json_int(&w, "users_missing", v->missing);
    json_int(&w, "users_unreadable", v->unreadable);
    json_int(&w, "users_unknown", v->unknown);
    json_int(&w, "counts_different", v->wrong_counts);
    json_object_end(&w);
    (void)printf("%.*s\n", TEXT_ARGS(json_writer_text(&w)));
}

static int run_verify(struct command_line *line)
{
    struct verify v = {.line = line, .config = command_config(line)};
    struct error err, close_err;
    enum status status;
    int code;
    bool good;

    if (v.config == NULL)
        return EXIT_USAGE;
    v.topic = config_text(v.config, "kafka.topics.events");
    status = open_all(&v, &err);
    if (status == OK)
        status = verify(&v, &err);
    if (verify_dump_close(v.dump, &close_err) != OK && status == OK) {
        status = close_err.status;
        err = close_err;
    }
    good = v.different + v.missing + v.unreadable + v.unknown + v.wrong_counts == 0;
    if (status == OK)
        print_result(&v, good);
    code = status != OK ? command_fail(line, &err) : good ? EXIT_DONE : EXIT_NO;
    user_store_destroy(v.store);
    event_decoder_destroy(v.decoder);
    event_schema_destroy(v.schema);
    offsets_clear(&v.offsets);
    redis_dataset_clear(&v.dataset);
    redis_nodes_destroy(v.nodes);
    arena_destroy(v.arena);
    free(v.watermarks);
    free(v.counts);
    return code;
}

static const struct option_row verify_options[] = {
    {"dump", OPTION_TEXT, "FOLDER", NULL, "also write topic and users there, for another judge"},
    {0},
};

const struct command verify_command = {
    .name = "verify",
    .summary = "compare Redis, user by user, with a replay of the log in memory",
    .arguments = "",
    .help = "Reads the events topic from where the data set began up to what each shard has "
            "applied, runs the same rules over a store in memory, and compares. Ends with 1 and "
            "the first differences when there are any.\n"
            "\n"
            "The whole log must still be there, and all users fit into memory. Stop ingest first, "
            "or expect users written meanwhile to differ.\n"
            "\n"
            "Examples:\n"
            "  freshet verify --json\n",
    .options = verify_options,
    .run = run_verify,
};
