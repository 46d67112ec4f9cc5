/*
 * ingest/verify.c - `freshet verify`: is what is there what one thread would have made of the log?
 *
 * Flow: topic up to `next` -> decode -> rules -> memory store; compared with Redis, user by user;
 *       what the rules emit -> verify_examples; item tables -> verify_items
 *
 * Every shard is replayed up to its own `next`. A user who is written between the two readings
 * differs; so what differs in shards that went on meanwhile is counted, and not judged
 * (verify_work).
 *
 * Bounded: with --passes N the log is read N times, each time for an N-th of the users. Beyond
 * --memory the command ends and says so, rather than being killed.
 *
 * A user whose events lie in two partitions has no one state: any interleaving of the two is
 * right. The sequence is the same in all of them and is compared; the running count must lie
 * between the entries there are and the records there were, the partition's counts may be off by
 * that user's records, and its examples are not judged. Such users are reported by number.
 */
#include "features/key_scan.h"
#include "features/user_store.h"
#include "ingest/examples_reader.h"
#include "ingest/ingest_main.h"
#include "ingest/offsets.h"
#include "ingest/topic_reader.h"
#include "ingest/verify_dump.h"
#include "ingest/verify_examples.h"
#include "ingest/verify_fed.h"
#include "ingest/verify_history.h"
#include "ingest/verify_items.h"
#include "ingest/verify_work.h"
#include "ops/arena.h"
#include "ops/hash.h"
#include "ops/json_writer.h"
#include "ops/progress.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REDIS_MS    10000
#define PASSES_MAX  1000
#define CHECK_EVERY 4096 /* records between two looks at the memory */
#define ARENA_BLOCK ((size_t)256 * 1024)
#define ARENA_LIMIT ((size_t)64 * 1024 * 1024)
#define RESULT_ROOM (64 * 1024)
#define TOLD_ROOM   400

enum verdict {
    VERDICT_EQUAL,
    VERDICT_DIFFERENT,
    VERDICT_NONE, /* what differs may have been written meanwhile */
    VERDICT_COUNT
};
static const char *const verdict_names[VERDICT_COUNT] = {"equal", "different", "not_judged"};

struct verify {
    struct command_line *line;
    const struct config *config;
    const char *topic;
    int passes, pass;
    size_t memory_max;
    struct redis_nodes *nodes;
    struct redis_keys keys;
    struct redis_dataset dataset;
    struct offsets offsets;
    struct event_schema *schema;
    struct event_decoder *decoder;
    struct user_store *store;
    struct verify_fed fed;
    struct verify_examples *examples; /* NULL: not compared */
    struct robot_limits robots;       /* of the trainer */
    struct verify_items *items;       /* NULL: not compared */
    struct verify_history *history;
    struct verify_dump *dump;
    struct verify_work work;
    struct arena *arena;
    struct progress progress;
    int64_t *watermarks; /* by place in offsets */
    int64_t (*counts)[OUTCOME_COUNT];
    int64_t records, users, equal, different, missing, unknown, unreadable, wrong_counts;
    struct examples_reader_counts rows;
    struct verify_examples_counts of_examples;
    struct verify_items_counts of_items;
    const char *examples_why; /* why they are not compared; NULL: they are */
    enum status status;
    struct error *err;
};

/* Is it a user of this pass? By other bits of the hash than the shard. */
static bool of_pass(const struct verify *v, uint64_t user)
{
    return user / (uint64_t)v->dataset.shards % (uint64_t)v->passes == (uint64_t)v->pass;
}

/* ---- the replay ---- */

static enum status choose(void *context, int32_t partition, struct topic_range *range,
                          struct error *err)
{
    struct verify *v = context;
    int place = offsets_place(&v->offsets, partition);
    const struct offsets_partition *p = place < 0 ? NULL : &v->offsets.list[place];

    int64_t from, to;

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
    /* An outside judge counts items, too. */
    if (v->dump != NULL && v->items != NULL &&
        verify_items_range(v->items, partition, &from, &to) && to > range->to && to <= range->high)
        range->to = to;
    return OK;
}

static void emitted(void *context, const uint8_t *example, size_t bytes)
{
    struct verify *v = context;

    if (v->examples != NULL && v->status == OK)
        v->status = verify_examples_want(v->examples, (struct text){(const char *)example, bytes},
                                         v->err);
}

static enum status apply(struct verify *v, int place, const struct kafka_record *record,
                         const struct event *event, struct error *err)
{
    const struct offsets_partition *p = &v->offsets.list[place];
    uint64_t user = event == NULL ? 0 : rules_user_hash(&v->dataset.rules, event->user);
    int shard = (int)(user % (uint64_t)v->offsets.shards);
    enum outcome outcome = OUTCOME_DEAD;
    enum status status = OK;

    if (record->offset < p->next_of[shard] && (event == NULL ? v->pass == 0 : of_pass(v, user))) {
        if (event != NULL)
            status = verify_fed_note(&v->fed, user, place, err);
        if (event != NULL && status == OK)
            status = user_store_apply(v->store, event, v->watermarks[place], record->replayed,
                                      emitted, v, &outcome, err);
        v->counts[place][outcome]++;
    }
    if (event != NULL)
        v->watermarks[place] = rules_watermark(v->watermarks[place], event->time_ms,
                                               record->timestamp_ms, v->dataset.max_future_skew_ms);
    return status == OK ? v->status : status;
}

/* Rather an end with a remedy than one by the system. */
static enum status check_memory(struct verify *v, struct error *err)
{
    size_t bytes = user_store_bytes(v->store) + map64_count(v->fed.users) * VERIFY_FED_USER_BYTES;

    if (v->examples != NULL)
        bytes += verify_examples_bytes(v->examples);
    if (bytes <= v->memory_max)
        return OK;
    return error_set(err, ERR_LIMIT,
                     "more than %zu MiB would be needed: try --passes %d, or a larger --memory",
                     v->memory_max >> 20, 4 * v->passes);
}

static enum status visit(void *context, const struct kafka_record *record, struct error *err)
{
    struct verify *v = context;
    int place = offsets_place(&v->offsets, record->partition);
    struct event event, *decoded = NULL;
    enum refusal why;
    enum status status = event_decode_record(v->decoder, record->key, record->value,
                                             record->timestamp_ms, &event, &why, err);

    if (status != OK && why == REFUSAL_NONE) /* it says nothing of the record */
        return status;
    if (status == OK)
        decoded = &event;
    status = OK;
    v->records += v->pass == 0;
    if (v->dump != NULL && v->pass == 0)
        status = verify_dump_record(v->dump, record, decoded, err);
    if (status == OK && record->offset % CHECK_EVERY == 0)
        status = check_memory(v, err);
    return status == OK ? apply(v, place, record, decoded, err) : status;
}

static void show(void *context, double fraction)
{
    struct verify *v = context;

    progress_show(&v->progress, fraction, (uint64_t)v->records);
}

static enum status read_log(struct verify *v, topic_reader_visit *visit_record, struct error *err)
{
    const struct topic_reader_options options = {.config = v->config,
                                                 .topic = v->topic,
                                                 .choose = choose,
                                                 .visit = visit_record,
                                                 .progress = show,
                                                 .stopping = command_stopping,
                                                 .context = v};

    return topic_reader_read(&options, NULL, err);
}

static enum status replay(struct verify *v, struct error *err)
{
    enum status status;

    for (int i = 0; i < v->offsets.count; i++)
        v->watermarks[i] = INT64_MIN;
    progress_begin(&v->progress, "replaying", "records");
    status = read_log(v, visit, err);
    progress_finish(&v->progress, status == OK, (uint64_t)v->records);
    return status;
}

/* ---- differences, and what led to them ---- */

static void tell(struct verify *v, struct text user, int shard, const char *what,
                 const struct user_value *got, const struct user_value *want)
{
    char told[TOLD_ROOM];

    (void)snprintf(told, sizeof told, "%s", what);
    if (got != NULL && want != NULL)
        (void)snprintf(told, sizeof told,
                       "%s (Redis: %d events, %d open lists, running %u, erased %" PRId64
                       "; replay: %d, %d, %u, %" PRId64 ")",
                       what, got->count, got->opens_count, (unsigned)got->running,
                       got->erased_at_ms, want->count, want->opens_count, (unsigned)want->running,
                       want->erased_at_ms);
    verify_history_add(v->history, user, false, shard, told);
}

/* Of a user, whose shard may have moved meanwhile. */
static void tell_user(struct verify *v, struct text user, const char *what,
                      const struct user_value *got, const struct user_value *want)
{
    int shard = rules_shard(&v->dataset.rules, user, v->dataset.shards);

    verify_work_differs(&v->work, shard);
    tell(v, user, shard, what, got, want);
}

static enum status remember(void *context, const struct kafka_record *record, struct error *err)
{
    struct verify *v = context;
    struct event event;
    enum refusal why;
    enum status status = event_decode_record(v->decoder, record->key, record->value,
                                             record->timestamp_ms, &event, &why, err);

    if (status == OK)
        verify_history_record(v->history, record, &event);
    return status != OK && why == REFUSAL_NONE ? status : OK;
}

static enum status print_history(struct verify *v, struct error *err)
{
    enum status status;

    if (verify_history_count(v->history) == 0)
        return OK;
    progress_begin(&v->progress, "reading the history of what differs", "records");
    status = read_log(v, remember, err);
    progress_finish(&v->progress, status == OK, (uint64_t)v->records);
    verify_history_print(v->history);
    return status;
}

/* ---- users ---- */

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

/* What every interleaving of a user's partitions has in common. */
static bool equal_within(const struct user_value *got, const struct user_value *want,
                         int64_t records)
{
    if (got->erased_at_ms != want->erased_at_ms || got->count != want->count ||
        (int64_t)got->running < got->count || (int64_t)got->running > records)
        return false;
    for (int i = 0; i < got->count; i++)
        if (user_entry_compare(&got->entries[i], &want->entries[i]) != 0)
            return false;
    return true;
}

static void compare_user(void *context, struct text user, const struct user_value *want)
{
    static struct user_value got;
    struct verify *v = context;
    int64_t records;
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
        tell_user(v, user, v->err->text, NULL, NULL);
    } else if (!there) {
        v->missing++;
        tell_user(v, user, "is not in Redis", NULL, NULL);
    } else if (verify_fed_mixed(&v->fed, rules_user_hash(&v->dataset.rules, user), &records)
                   ? equal_within(&got, want, records)
                   : user_value_equal(&got, want)) {
        v->equal++;
    } else {
        v->different++;
        tell_user(v, user, "differs", &got, want);
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
    if (!of_pass(v, rules_user_hash(&v->dataset.rules, user)))
        return OK;
    if (user_store_get(v->store, user) == NULL) {
        v->unknown++;
        tell_user(v, user, "is in Redis, but not in the log", NULL, NULL);
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
            if (llabs(v->offsets.list[i].counts[o] - v->counts[i][o]) <= v->fed.slack[i])
                continue;
            v->wrong_counts++;
            (void)fprintf(stderr,
                          "partition %d: %s is %" PRId64 " in Redis, %" PRId64 " by replay\n",
                          (int)v->offsets.list[i].partition, outcome_names[o],
                          v->offsets.list[i].counts[o], v->counts[i][o]);
        }
}

/* ---- examples ---- */

static bool example_wanted(void *context, uint64_t user)
{
    return of_pass(context, user);
}

static bool example_judged(void *context, uint64_t user)
{
    const struct verify *v = context;
    int64_t records;

    return !verify_fed_mixed(&v->fed, user, &records);
}

static void example_differs(void *context, uint64_t user, const char *what)
{
    struct verify *v = context;
    struct text name = user_store_name(v->store, user);
    char hex[24];

    (void)snprintf(hex, sizeof hex, "#%016" PRIx64, user);
    tell(v, name.bytes > 0 ? name : text_of(hex), (int)(user % (uint64_t)v->dataset.shards), what,
         NULL, NULL);
}

static void example_apart(void *context, uint64_t user)
{
    struct verify *v = context;

    verify_work_differs(&v->work, (int)(user % (uint64_t)v->dataset.shards));
}

static enum status visit_example(void *context, struct text example, struct error *err)
{
    struct verify *v = context;
    enum status status = verify_examples_got(v->examples, example, err);

    if (status == OK && v->dump != NULL && v->pass == 0)
        status = verify_dump_example(v->dump, example, err);
    return status;
}

static enum status compare_examples(struct verify *v, struct error *err)
{
    const struct examples_reader_options options = {.config = v->config,
                                                    .nodes = v->nodes,
                                                    .keys = &v->keys,
                                                    .dataset = &v->dataset,
                                                    .offsets = &v->offsets,
                                                    .visit = visit_example,
                                                    .stopping = command_stopping,
                                                    .context = v};
    enum status status;

    if (v->examples == NULL)
        return OK;
    status = examples_reader_read(&options, &v->rows, err);
    if (status == ERR_NOT_FOUND) {
        v->examples_why = "there is no such topic";
        return OK;
    }
    if (status == OK)
        verify_examples_compare(v->examples, v->rows.cut, &v->of_examples);
    return status;
}

/* ---- the command ---- */

static enum status open_outputs(struct verify *v, struct error *err)
{
    const char *items = command_text(v->line, "items");
    enum status status = OK;

    v->history = NULL;
    v->robots = robot_limits_of(v->config);
    if (items != NULL)
        status = verify_items_open(&v->items, items, v->topic, &v->dataset, &v->offsets, err);
    if (status == OK)
        status = verify_history_create(&v->history, err);
    if (status == OK && command_given(v->line, "dump"))
        status = verify_dump_open(&v->dump, command_text(v->line, "dump"), &v->dataset, &v->offsets,
                                  v->items, &v->robots, err);
    return status;
}

/* `freshet offsets reset` begins a log anew, and users go on. */
static void tell_of_resets(const struct verify *v)
{
    for (int i = 0; i < v->offsets.count; i++) {
        const struct offsets_partition *p = &v->offsets.list[i];

        if (p->log_number > 0)
            (void)fprintf(
                stderr,
                "partition %d was reset and begins at %" PRId64
                ": its users hold what was applied before, too; differences may be that\n",
                (int)p->partition, p->start);
    }
}

static enum status open_all(struct verify *v, struct error *err)
{
    enum status status = hash_start(err);
    size_t count;

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
        status = verify_work_init(&v->work, v->dataset.shards, err);
    if (status == OK) {
        verify_work_ask(&v->work, v->config);
        tell_of_resets(v);
    }
    if (status == OK)
        status = open_outputs(v, err);
    if (status != OK)
        return status;
    count = (size_t)v->offsets.count + 1;
    v->watermarks = calloc(count, sizeof *v->watermarks);
    v->counts = calloc(count, sizeof *v->counts);
    v->arena = arena_create(ARENA_BLOCK, ARENA_LIMIT);
    if (v->watermarks == NULL || v->counts == NULL)
        return error_set(err, ERR_NOMEM, "no memory to verify");
    return verify_fed_init(&v->fed, v->offsets.count, err);
}

/* What is of one pass alone. */
static enum status begin_pass(struct verify *v, struct error *err)
{
    const struct verify_examples_judge judge = {.wanted = example_wanted,
                                                .judged = example_judged,
                                                .tell = example_differs,
                                                .apart = example_apart,
                                                .context = v};
    enum status status = user_store_create(&v->store, &v->dataset.rules, err);

    if (status == OK)
        status = verify_fed_begin(&v->fed, err);
    if (status == OK && v->examples_why == NULL)
        status = verify_examples_create(&v->examples, &judge, err);
    return status;
}

static void end_pass(struct verify *v)
{
    verify_examples_destroy(v->examples);
    user_store_destroy(v->store);
    verify_fed_end(&v->fed);
    v->examples = NULL;
    v->store = NULL;
}

static enum status run_pass(struct verify *v, struct error *err)
{
    enum status status = begin_pass(v, err);

    v->err = err;
    v->status = OK;
    if (status == OK)
        status = replay(v, err);
    if (status != OK)
        return status;
    progress_begin(&v->progress, "comparing", "users");
    user_store_each(v->store, compare_user, v);
    progress_finish(&v->progress, v->status == OK, (uint64_t)v->users);
    if (v->status != OK)
        return v->status;
    status = scan(v, err);
    return status == OK ? compare_examples(v, err) : status;
}

/* Did a shard go on since its `next` was read first? */
static enum status look_again(struct verify *v, struct error *err)
{
    struct offsets now = {0};
    enum status status = offsets_load(&now, v->nodes, &v->keys, &v->dataset, v->topic, REDIS_MS,
                                      err);

    if (status == OK)
        verify_work_compare(&v->work, &v->offsets, &now);
    if (status == OK)
        verify_history_judge(v->history, v->work.moved, v->work.shards);
    offsets_clear(&now);
    return status;
}

static enum status verify(struct verify *v, struct error *err)
{
    enum status status = OK;

    if (command_flag(v->line, "no-examples"))
        v->examples_why = "--no-examples says so";
    for (v->pass = 0; v->pass < v->passes && status == OK; v->pass++) {
        status = run_pass(v, err);
        end_pass(v);
    }
    if (status != OK)
        return status;
    compare_counts(v);
    status = look_again(v, err);
    if (status == OK && v->items != NULL)
        status = verify_items_run(v->items, v->config, v->schema, v->passes, &v->robots, v->history,
                                  &v->of_items, err);
    return status == OK ? print_history(v, err) : status;
}

static int64_t examples_apart(const struct verify *v)
{
    return v->of_examples.different + v->of_examples.missing + v->of_examples.unknown;
}

/* Users and examples of shards that went on may differ by what ingest has written meanwhile. Counts
 * are of one moment with their `next`, and items are of the trainer's own offsets: both are judged
 * in any case. */
static enum verdict verdict_of(const struct verify *v)
{
    int64_t apart = v->different + v->missing + v->unreadable + v->unknown + v->wrong_counts +
                    examples_apart(v) + v->of_items.different;

    return apart == 0                               ? VERDICT_EQUAL
           : apart > verify_work_unjudged(&v->work) ? VERDICT_DIFFERENT
                                                    : VERDICT_NONE;
}

/* Where nothing is judged, what differs is told as what it is: on its way. */
static void print_users(const struct verify *v)
{
    int64_t apart = v->different + v->missing + v->unreadable + v->unknown;

    (void)printf("%" PRId64 " records, %" PRId64 " users: %" PRId64 " equal, ", v->records,
                 v->users, v->equal);
    if (verdict_of(v) == VERDICT_NONE)
        (void)printf("%" PRId64 " in flight\n", apart);
    else
        (void)printf("%" PRId64 " different, %" PRId64 " missing, %" PRId64 " unreadable, %" PRId64
                     " unknown to the log; %" PRId64 " counts differ\n",
                     v->different, v->missing, v->unreadable, v->unknown, v->wrong_counts);
}

static void print_examples(const struct verify *v)
{
    const struct verify_examples_counts *x = &v->of_examples;

    (void)printf("%" PRId64 " examples with %" PRId64 " labels: %" PRId64 " equal, ", x->examples,
                 x->labels, x->equal);
    if (verdict_of(v) == VERDICT_NONE)
        (void)printf("%" PRId64 " in flight, ", examples_apart(v));
    else
        (void)printf("%" PRId64 " different, %" PRId64 " missing, %" PRId64
                     " that no replay emits, ",
                     x->different, x->missing, x->unknown);
    (void)printf("%" PRId64 " erased, %" PRId64 " not judged%s; %" PRId64 " rows wait\n",
                 x->forgotten, x->unjudged,
                 v->rows.cut ? " (the topic does not begin at 0 any more)" : "", v->rows.waiting);
}

static void print_text(const struct verify *v)
{
    print_users(v);
    if (v->fed.mixed > 0)
        (void)printf("%" PRId64 " users are fed by several partitions: of them the sequences were "
                     "compared, not lists and examples\n",
                     v->fed.mixed);
    for (int i = 0; i < v->offsets.count; i++)
        if (v->offsets.list[i].log_number > 0)
            (void)printf("partition %d was reset: its users hold what was applied before, too, and "
                         "cannot be judged\n",
                         (int)v->offsets.list[i].partition);
    if (v->examples_why != NULL)
        (void)printf("examples were not compared: %s\n", v->examples_why);
    else
        print_examples(v);
    if (v->items == NULL)
        (void)printf("item tables were not compared: --items names them\n");
    else
        (void)printf("%" PRId64 " items: %" PRId64 " equal, %" PRId64 " different, %" PRId64
                     " not judged; %" PRId64 " choices are beyond what a user may weigh\n",
                     v->of_items.items, v->of_items.equal, v->of_items.different,
                     v->of_items.unjudged, v->of_items.masked);
    if (v->of_items.by_limits > 0)
        (void)printf("%" PRId64 " of the different items count choices beyond a limit: tables of "
                     "before there were limits, or of other limits than this configuration's\n",
                     v->of_items.by_limits);
}

static void print_verdict(const struct verify *v)
{
    static const char *const texts[VERDICT_COUNT] = {
        [VERDICT_EQUAL] = "all of it is what one thread makes of the log",
        [VERDICT_DIFFERENT] = "it is NOT what one thread makes of the log",
        [VERDICT_NONE] = "for a verdict stop every ingest of the group, or wait until no events "
                         "come, and run it again"};

    (void)printf("%s\n", texts[verdict_of(v)]);
}

/* First, for it says how to read the rest. */
static void print_work(const struct verify *v)
{
    int64_t apart = verify_work_unjudged(&v->work);

    if (v->work.shards_moved == 0)
        return;
    (void)printf("%sevents are flowing: %d of %d shards went on, by %" PRId64
                 " records, while they were read; %" PRId64
                 " difference%s in these: in flight, not judged\n",
                 verdict_of(v) == VERDICT_NONE ? "NO VERDICT is possible while " : "",
                 v->work.shards_moved, v->work.shards, v->work.records, apart, text_plural(apart));
}

static void print_json(const struct verify *v)
{
    const struct {
        const char *name;
        int64_t value;
    } numbers[] = {{"records", v->records},
                   {"users", v->users},
                   {"users_equal", v->equal},
                   {"users_different", v->different},
                   {"users_missing", v->missing},
                   {"users_unreadable", v->unreadable},
                   {"users_unknown", v->unknown},
                   {"users_of_several_partitions", v->fed.mixed},
                   {"counts_different", v->wrong_counts},
                   {"examples", v->of_examples.examples},
                   {"examples_labels", v->of_examples.labels},
                   {"examples_equal", v->of_examples.equal},
                   {"examples_different", v->of_examples.different},
                   {"examples_missing", v->of_examples.missing},
                   {"examples_unknown", v->of_examples.unknown},
                   {"examples_erased", v->of_examples.forgotten},
                   {"examples_unjudged", v->of_examples.unjudged},
                   {"examples_rows", v->rows.rows},
                   {"examples_waiting", v->rows.waiting},
                   {"items", v->of_items.items},
                   {"items_equal", v->of_items.equal},
                   {"items_different", v->of_items.different},
                   {"items_unjudged", v->of_items.unjudged},
                   {"items_choices_masked", v->of_items.masked},
                   {"items_different_by_limits", v->of_items.by_limits},
                   {"members", v->work.members},
                   {"shards_moved", v->work.shards_moved},
                   {"records_meanwhile", v->work.records},
                   {"not_judged", verify_work_unjudged(&v->work)}};
    char text[RESULT_ROOM];
    struct json_writer w;

    json_writer_init(&w, text, sizeof text);
    json_object_begin(&w);
    json_bool(&w, "equal", verdict_of(v) == VERDICT_EQUAL);
    json_bool(&w, "examples_compared", v->examples_why == NULL);
    json_bool(&w, "items_compared", v->items != NULL);
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        json_int(&w, numbers[i].name, numbers[i].value);
    json_text(&w, "verdict", text_of(verdict_names[verdict_of(v)]));
    json_object_end(&w);
    (void)printf("%.*s\n", TEXT_ARGS(json_writer_text(&w)));
}

static void close_all(struct verify *v)
{
    end_pass(v);
    verify_items_close(v->items);
    verify_history_destroy(v->history);
    verify_work_clear(&v->work);
    event_decoder_destroy(v->decoder);
    event_schema_destroy(v->schema);
    offsets_clear(&v->offsets);
    redis_dataset_clear(&v->dataset);
    redis_nodes_destroy(v->nodes);
    arena_destroy(v->arena);
    free(v->watermarks);
    free(v->counts);
    verify_fed_clear(&v->fed);
}

static int run_verify(struct command_line *line)
{
    struct verify v = {.line = line, .config = command_config(line)};
    int64_t passes = command_int(line, "passes");
    static const int codes[VERDICT_COUNT] = {EXIT_DONE, EXIT_NO, EXIT_IN_USE};
    struct error err, close_err;
    enum status status;
    int code = EXIT_DONE;

    if (v.config == NULL)
        return EXIT_USAGE;
    if (passes < 1 || passes > PASSES_MAX || command_int(line, "memory") < 1)
        return command_misused(line, "--passes is 1..1000, --memory at least 1");
    v.passes = (int)passes;
    v.memory_max = (size_t)command_int(line, "memory") << 20;
    v.topic = config_text(v.config, "kafka.topics.events");
    status = open_all(&v, &err);
    if (status == OK)
        status = verify(&v, &err);
    if (verify_dump_close(v.dump, &close_err) != OK && status == OK) {
        status = close_err.status;
        err = close_err;
    }
    if (status == OK) {
        code = codes[verdict_of(&v)];
        if (command_json(line)) {
            print_json(&v);
        } else {
            print_work(&v);
            print_text(&v);
            print_verdict(&v);
        }
    }
    close_all(&v);
    return status != OK ? command_fail(line, &err) : code;
}

static const struct option_row verify_options[] = {
    {"items", OPTION_TEXT, "PATH", NULL, "also the item tables of this bundle or checkpoint"},
    {"no-examples", OPTION_FLAG, NULL, NULL, "leave the examples topic out"},
    {"passes", OPTION_INT, "N", "1", "read the log N times, for an N-th of the users each"},
    {"memory", OPTION_INT, "MIB", "4096", "end rather than take more for users and examples"},
    {"dump", OPTION_TEXT, "FOLDER", NULL, "also write all of it there, for another judge"},
    {0},
};

const struct command verify_command = {
    .name = "verify",
    .summary = "compare users, examples and item counts with a replay of the log in memory",
    .arguments = "",
    .help =
        "Reads the events topic from where the data set began up to what each shard has "
        "applied, runs the same rules over a store in memory, and compares every user in "
        "Redis, every count, and every example with its labels, in the topic or waiting in an "
        "outbox. With --items also what the trainer has counted of each item, by the "
        "retrain.user_choices_max, .user_item_max and .user_day_max of this configuration, "
        "which must be the trainer's; items that differ only because the tables count "
        "choices beyond a limit, as those of an older build do, are counted apart. Reads only. "
        "The first differences are told with the records that led to them. The whole log must "
        "still be there.\n"
        "\n"
        "It may run beside a working ingest: a shard that goes on meanwhile is seen, and what "
        "differs in it, of users and examples, is in flight: counted apart, and neither told nor "
        "judged. Under steady traffic most shards go on, and the exit code is 73: for a "
        "verdict stop ingest first, or choose a moment when no events come.\n"
        "\n"
        "Exit codes: 0 all that was compared is equal; 1 something differs that nobody has "
        "written meanwhile; 73 the only differences are in shards that went on: no answer.\n"
        "\n"
        "Examples:\n"
        "  freshet verify --json\n"
        "  freshet verify --items models/v000012-3f9a\n"
        "  freshet verify --passes 16 --memory 2048    a hundred million users\n",
    .options = verify_options,
    .run = run_verify,
};
