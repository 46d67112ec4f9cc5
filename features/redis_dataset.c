/* features/redis_dataset.c - reads, creates and compares the data set's record. */
#include "features/redis_dataset.h"

#include "features/redis_call.h"
#include "features/redis_transaction.h"
#include "ops/clock.h"
#include "ops/defence.h"
#include "ops/hash.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VERSION_MIN  60009 /* 6.0.9: before it an expired key may not abort its watchers */
#define FIELDS_MAX   (2 * DATASET_PARTITIONS_MAX + 32)
#define TEXT_MAX     96
#define PROBE_TTL_MS "60000"

void redis_dataset_clear(struct redis_dataset *dataset)
{
    free(dataset->partitions);
    *dataset = (struct redis_dataset){0};
}

/* ---- the server ---- */

static enum status ask(struct redis_connection *connection, int64_t timeout_ms,
                       const char *const *words, const struct redis_reply **reply,
                       struct error *err)
{
    struct text arguments[8];
    int count = 0;

    for (; words[count] != NULL; count++)
        arguments[count] = text_of(words[count]);
    return redis_call(connection, timeout_ms, arguments, count, reply, err);
}
#define ASK(connection, reply, ...)                                                                \
    ask(connection, timeout_ms, (const char *const[]){__VA_ARGS__, NULL}, reply, err)

static int version_number(const char *version)
{
    int major = 0, minor = 0, patch = 0;

    return sscanf(version, "%3d.%2d.%2d", &major, &minor, &patch) < 2
               ? 0
               : major * 10000 + minor * 100 + patch;
}

static enum status check_info(struct redis_connection *connection, int64_t timeout_ms,
                              struct error *err)
{
    const struct redis_reply *reply;
    char version[TEXT_MAX], role[TEXT_MAX], policy[TEXT_MAX];
    enum status status = ASK(connection, &reply, "INFO");

    if (status != OK)
        return status;
    if (reply->type != REPLY_STRING ||
        !redis_info_line(reply->text, "redis_version", version, TEXT_MAX))
        return error_set(err, ERR_CONFIG, "redis does not say its version (INFO): is it one?");
    if (version_number(version) < VERSION_MIN)
        return error_set(err, ERR_CONFIG, "redis %s is too old: 6.0.9 or newer is needed", version);
    if (redis_info_line(reply->text, "role", role, TEXT_MAX) && strcmp(role, "master") != 0)
        return error_set(err, ERR_CONFIG, "redis is a %s: redis.url must lead to the primary",
                         role);
    if (!redis_info_line(reply->text, "maxmemory_policy", policy, TEXT_MAX))
        return error_set(err, ERR_CONFIG, "redis does not say its maxmemory-policy (INFO memory)");
    if (DEFENCE(POLICY_START) && strcmp(policy, "noeviction") != 0)
        return error_set(err, ERR_CONFIG,
                         "redis may evict what it was told to keep (maxmemory-policy %s): run "
                         "CONFIG SET maxmemory-policy noeviction",
                         policy);
    return OK;
}

/* One transaction on a watched key that nobody or somebody else touches; *aborted says what EXEC
 * answered. */
static enum status try_transaction(struct redis_connection *mine, struct redis_connection *other,
                                   const char *key, bool disturb, bool *aborted, int64_t timeout_ms,
                                   struct error *err)
{
    const struct redis_reply *reply;
    enum status status = ASK(mine, &reply, "WATCH", key);

    if (status == OK)
        status = ASK(mine, &reply, "GET", key);
    if (status == OK && disturb)
        status = ASK(other, &reply, "SET", key, "other", "PX", PROBE_TTL_MS);
    if (status == OK)
        status = ASK(mine, &reply, "MULTI");
    if (status == OK)
        status = ASK(mine, &reply, "SET", key, "mine", "PX", PROBE_TTL_MS);
    if (status == OK)
        status = ASK(mine, &reply, "EXEC");
    if (status != OK)
        return status;
    *aborted = reply->type == REPLY_NIL;
    if (!*aborted && (reply->type != REPLY_ARRAY || reply->count != 1 ||
                      reply->elements[0]->type != REPLY_STATUS))
        return error_set(err, ERR_CONFIG, "EXEC answers what no redis would");
    return OK;
}

static enum status check_transactions(struct redis_connection *mine, struct redis_connection *other,
                                      const struct redis_keys *keys, int64_t timeout_ms,
                                      struct error *err)
{
    char key[REDIS_KEY_BYTES_MAX], hex[17];
    const struct redis_reply *reply;
    uint64_t random;
    bool alone = true, disturbed = false;
    enum status status;

    hash_random_bytes(&random, sizeof random);
    hash_hex(hex, &random, sizeof random);
    (void)snprintf(key, sizeof key, "%s{00}probe%s", keys->ns, hex);
    status = try_transaction(mine, other, key, false, &alone, timeout_ms, err);
    if (status == OK)
        status = try_transaction(mine, other, key, true, &disturbed, timeout_ms, err);
    if (status == OK)
        status = ASK(mine, &reply, "DEL", key);
    if (status == ERR_CONFLICT) /* "unknown command", as proxies answer */
        status = ERR_CONFIG;
    if (status == OK && (alone || !disturbed))
        return error_set(err, ERR_CONFIG,
                         "WATCH, MULTI and EXEC do not work as on a redis: %s; a proxy that "
                         "spreads a connection over servers cannot carry this",
                         alone ? "an undisturbed transaction was aborted"
                               : "a disturbed transaction was carried out");
    if (status == ERR_CONFIG)
        (void)error_prefix(err, "redis cannot carry transactions");
    err->status = status;
    return status;
}

/* Every primary, where there are several. */
static enum status check_nodes(const struct redis_target *target, int64_t timeout_ms,
                               struct error *err)
{
    struct redis_nodes *nodes;
    int numbers[REDIS_NODES_MAX], count = 0;
    enum status status = redis_nodes_create(&nodes, target, NULL, "freshet-check", err);

    if (status == OK)
        status = redis_nodes_all(nodes, timeout_ms, numbers, &count, err);
    for (int i = 0; i < count && status == OK; i++) {
        struct redis_connection *connection = redis_nodes_at(nodes, numbers[i]);
        char where[REDIS_WHERE_MAX];

        status = check_info(connection, timeout_ms, err);
        redis_address_describe(redis_connection_address(connection), where);
        if (status != OK && count > 1)
            status = error_prefix(err, "%s", where);
    }
    redis_nodes_destroy(nodes);
    return status;
}

enum status redis_dataset_check_server(const struct redis_target *target,
                                       const struct redis_keys *keys, int64_t timeout_ms,
                                       struct error *err)
{
    struct redis_connection *mine = NULL, *other = NULL;
    enum status status = check_nodes(target, timeout_ms, err);

    if (status == OK)
        status = redis_connection_create(&mine, target, NULL, "freshet-check", err);
    if (status == OK)
        status = redis_connection_create(&other, target, NULL, "freshet-check", err);
    if (DEFENCE(TRANSACTIONS) && status == OK)
        status = check_transactions(mine, other, keys, timeout_ms, err);
    redis_connection_destroy(mine);
    redis_connection_destroy(other);
    return status;
}

/* ---- the record ---- */

/* The numbers of the record: one table for reading, writing and comparing. */
/* clang-format off */
#define NUMBER_LIST(X)                                                                  \
    X("shards",              shards,                  1, REDIS_SHARDS_MAX, true)         \
    X("value_format",        value_format,            1, 255,              false)        \
    X("example_format",      example_format,          1, 255,              false)        \
    X("examples_partitions", examples_partitions,     1, 4096,             true)         \
    X("created_at_ms",       created_at_ms,           0, INT64_MAX,        false)        \
    X("sequence_max",        rules.sequence_max,      1, SEQUENCE_MAX,     true)         \
    X("joins_max",           rules.joins_max,         0, JOINS_MAX,        true)         \
    X("join_window_ms",      rules.join_window_ms,    0, INT64_MAX,        true)         \
    X("late_max_ms",         rules.late_max_ms,       0, INT64_MAX,        true)         \
    X("max_future_skew_ms",  max_future_skew_ms,      0, INT64_MAX,        true)
/* clang-format on */

#define ACTIONS_TEXT_MAX (ACTIONS_MAX * (ACTION_NAME_MAX + 48))

static size_t format_actions(const struct rules *rules, char into[ACTIONS_TEXT_MAX])
{
    size_t used = 0;

    into[0] = '\0';
    for (int code = 0; code < ACTIONS_MAX; code++) {
        const struct action_row *a = &rules->actions[code];

        if (a->name[0] != '\0')
            used += (size_t)snprintf(into + used, ACTIONS_TEXT_MAX - used, "%s:%d:%d:%d:%d:%.9g\n",
                                     a->name, code, a->history, a->negative, a->exposure,
                                     (double)a->label);
    }
    assert(used < ACTIONS_TEXT_MAX);
    return used;
}

static bool parse_actions(struct rules *rules, struct text text)
{
    const char *at = text.at, *end = text.at + text.bytes;

    memset(rules->actions, 0, sizeof rules->actions);
    while (at < end) {
        struct action_row row = {0};
        int code, history, negative, exposure, used = 0;

        if (sscanf(at, "%31[^:\n]:%3d:%1d:%1d:%1d:%30f%n", row.name, &code, &history, &negative,
                   &exposure, &row.label, &used) != 6 ||
            at + used >= end || at[used] != '\n' || code < 1 || code >= ACTIONS_MAX)
            return false;
        row.code = (uint8_t)code;
        row.history = history != 0;
        row.negative = negative != 0;
        row.exposure = exposure != 0;
        rules->actions[code] = row;
        at += used + 1;
    }
    return true;
}

static bool parse_number(struct text text, int64_t min, int64_t max, int64_t *into)
{
    char *end;

    if (text.bytes == 0 || text.bytes > 20)
        return false;
    errno = 0;
    *into = strtoll(text.at, &end, 10); /* replies end with a zero */
    return errno == 0 && end == text.at + text.bytes && *into >= min && *into <= max;
}

/* "start:<topic>:<p>", "log:..." and "skipped:...": the partition it names, added when new. */
static struct dataset_partition *partition_of(struct redis_dataset *d, struct text topic_p)
{
    const char *colon = memrchr(topic_p.at, ':', topic_p.bytes);
    int64_t partition;
    size_t topic_bytes;

    if (colon == NULL)
        return NULL;
    topic_bytes = (size_t)(colon - topic_p.at);
    if (topic_bytes == 0 || topic_bytes > REDIS_TOPIC_MAX ||
        !parse_number((struct text){colon + 1, topic_p.bytes - topic_bytes - 1}, 0, 0xfffff,
                      &partition))
        return NULL;
    for (int i = 0; i < d->partitions_count; i++) {
        struct dataset_partition *p = &d->partitions[i];

        if (p->partition == partition && strlen(p->topic) == topic_bytes &&
            memcmp(p->topic, topic_p.at, topic_bytes) == 0)
            return p;
    }
    if (d->partitions_count == DATASET_PARTITIONS_MAX)
        return NULL;
    if ((d->partitions_count & (d->partitions_count + 1)) == 0 || d->partitions == NULL) {
        size_t room = ((size_t)d->partitions_count + 1) * 2;
        struct dataset_partition *grown = realloc(d->partitions, room * sizeof *grown);

        if (grown == NULL)
            return NULL;
        d->partitions = grown;
    }
    struct dataset_partition *p = &d->partitions[d->partitions_count++];

    *p = (struct dataset_partition){.partition = (int32_t)partition, .start = -1};
    memcpy(p->topic, topic_p.at, topic_bytes);
    return p;
}

static struct text after(struct text name, size_t bytes)
{
    return (struct text){name.at + bytes, name.bytes - bytes};
}

static bool starts_with(struct text name, const char *prefix)
{
    size_t bytes = strlen(prefix);

    return name.bytes > bytes && memcmp(name.at, prefix, bytes) == 0;
}

static bool parse_field(struct redis_dataset *d, struct text name, struct text value)
{
    struct dataset_partition *p;
    int64_t number;

#define X(text, member, min, max, compared)                                                        \
    if (text_equal(name, text_of(text))) {                                                         \
        bool good = parse_number(value, min, max, &number);                                        \
        d->member = (__typeof__(d->member))number;                                                 \
        return good;                                                                               \
    }
    NUMBER_LIST(X)
#undef X
    if (text_equal(name, text_of("id"))) {
        if (value.bytes != 32)
            return false;
        memcpy(d->id, value.at, 33);
        return true;
    }
    if (text_equal(name, text_of("seed"))) {
        char *end;

        d->rules.seed = strtoull(value.at, &end, 16);
        return value.bytes == 16 && *end == '\0';
    }
    if (text_equal(name, text_of("actions")))
        return parse_actions(&d->rules, value);
    if (starts_with(name, "start:")) {
        p = partition_of(d, after(name, 6));
        return p != NULL && parse_number(value, 0, INT64_MAX, &p->start);
    }
    if (starts_with(name, "log:")) {
        p = partition_of(d, after(name, 4));
        if (p == NULL || !parse_number(value, 0, DATASET_LOG_MAX, &number))
            return false;
        p->log_number = (uint32_t)number;
        return true;
    }
    if (starts_with(name, "skipped:")) {
        p = partition_of(d, after(name, 8));
        return p != NULL && parse_number(value, 0, INT64_MAX, &p->skipped);
    }
    return true; /* of a newer version: it would have raised the format if it mattered */
}

static enum status parse_record(struct redis_dataset *d, const struct redis_reply *reply,
                                struct error *err)
{
    int64_t format = 0;
    int seen = 0;

    for (int i = 0; i + 1 < reply->count; i += 2)
        if (text_equal(reply->elements[i]->text, text_of("format")) &&
            !parse_number(reply->elements[i + 1]->text, 1, 1000000, &format))
            return error_set(err, ERR_MALFORMED, "the data set's record has no usable format");
    if (format != DATASET_FORMAT)
        return error_set(err, ERR_VERSION,
                         "the data set's record has format %" PRId64 ", this build reads %d",
                         format, DATASET_FORMAT);
    for (int i = 0; i + 1 < reply->count; i += 2) {
        struct text name = reply->elements[i]->text;

        if (!parse_field(d, name, reply->elements[i + 1]->text))
            return error_set(err, ERR_MALFORMED, "the data set's record has an unusable \"%.*s\"",
                             (int)(name.bytes > 60 ? 60 : name.bytes), name.at);
#define X(text, member, min, max, compared) seen += text_equal(name, text_of(text));
        NUMBER_LIST(X)
#undef X
        seen += text_equal(name, text_of("id")) + text_equal(name, text_of("seed")) +
                text_equal(name, text_of("actions"));
    }
#define X(text, member, min, max, compared) seen--;
    NUMBER_LIST(X)
#undef X
    if (seen != 3)
        return error_set(err, ERR_MALFORMED, "the data set's record lacks a field");
    return OK;
}

/* What ingest leaves where a data set was lost under it: starts that it recorded, no record. */
static bool only_starts(const struct redis_reply *reply)
{
    for (int i = 0; i + 1 < reply->count; i += 2)
        if (!starts_with(reply->elements[i]->text, "start:"))
            return false;
    return true;
}

/* status: of the reply, with *err. */
static enum status take_record(struct redis_dataset *dataset, const struct redis_keys *keys,
                               const struct redis_reply *reply, enum status status,
                               struct error *err)
{
    struct redis_dataset loaded = {0};

    *dataset = loaded;
    if (status == ERR_CORRUPT)
        return error_set(err, ERR_MALFORMED, "%s{00}set is no hash: another program's key?",
                         keys->ns);
    if (status != OK)
        return status;
    if (reply->type != REPLY_ARRAY || reply->count > FIELDS_MAX)
        return error_set(err, ERR_MALFORMED, "the data set's record is no record");
    if (only_starts(reply))
        return error_set(err, ERR_NOT_FOUND,
                         "there is no data set \"%s\" in redis: start `freshet ingest` first, or "
                         "set dataset.namespace",
                         keys->ns);
    status = parse_record(&loaded, reply, err);
    if (status == OK)
        *dataset = loaded;
    else
        redis_dataset_clear(&loaded);
    return status;
}

enum status redis_dataset_load(struct redis_dataset *dataset, struct redis_connection *connection,
                               const struct redis_keys *keys, int64_t timeout_ms, struct error *err)
{
    const struct redis_reply *reply;
    char key[REDIS_KEY_BYTES_MAX];
    const struct text arguments[] = {{"HGETALL", 7}, {key, redis_key_set(keys, key)}};
    enum status status = redis_call(connection, timeout_ms, arguments, 2, &reply, err);

    return take_record(dataset, keys, reply, status, err);
}

bool redis_dataset_ask(struct redis_connection *connection, const struct redis_keys *keys)
{
    char key[REDIS_KEY_BYTES_MAX];
    size_t bytes = redis_key_set(keys, key);

    if (!redis_begin(connection, 2, bytes))
        return false;
    redis_argument_text(connection, "HGETALL");
    redis_argument(connection, key, bytes);
    return true;
}

enum status redis_dataset_answer(struct redis_dataset *dataset, const struct redis_keys *keys,
                                 const struct redis_reply *reply, struct error *err)
{
    return take_record(dataset, keys, reply, redis_reply_status(reply, err), err);
}

static enum status compare(const struct redis_dataset *stored, const struct redis_dataset *wanted,
                           struct error *err)
{
    char a[ACTIONS_TEXT_MAX], b[ACTIONS_TEXT_MAX];

#define X(text, member, min, max, compared)                                                        \
    if (compared && stored->member != wanted->member)                                              \
        return error_set(err, ERR_CONFLICT,                                                        \
                         "the data set was created with %s %" PRId64                               \
                         ", the configuration says %" PRId64                                       \
                         ": set it back, or use another dataset.namespace",                        \
                         text, (int64_t)stored->member, (int64_t)wanted->member);
    NUMBER_LIST(X)
#undef X
    (void)format_actions(&stored->rules, a);
    (void)format_actions(&wanted->rules, b);
    if (strcmp(a, b) != 0)
        return error_set(err, ERR_CONFLICT,
                         "the data set was created with other events.actions: set them back, or "
                         "use another dataset.namespace");
    return OK;
}

/* ---- creating ---- */

struct record_writer {
    struct redis_connection *connection;
    char text[ACTIONS_TEXT_MAX];
};

static void put_text(struct record_writer *w, const char *name, const char *value)
{
    redis_argument_text(w->connection, name);
    redis_argument_text(w->connection, value);
}

static void put_number(struct record_writer *w, const char *name, int64_t value)
{
    redis_argument_text(w->connection, name);
    redis_argument_int(w->connection, value);
}

static bool append_hset(struct redis_connection *connection, const struct redis_keys *keys,
                        const struct redis_dataset *d)
{
    struct record_writer w = {.connection = connection};
    char key[REDIS_KEY_BYTES_MAX], name[REDIS_TOPIC_MAX + 32];
    int fields = 4;

#define X(text, member, min, max, compared) fields++;
    NUMBER_LIST(X)
#undef X
    if (!redis_begin(connection, 2 + 2 * (fields + d->partitions_count), 64 * 1024))
        return false;
    redis_argument_text(connection, "HSET");
    redis_argument(connection, key, redis_key_set(keys, key));
    put_number(&w, "format", DATASET_FORMAT);
    put_text(&w, "id", d->id);
    (void)snprintf(w.text, sizeof w.text, "%016" PRIx64, d->rules.seed);
    put_text(&w, "seed", w.text);
    (void)format_actions(&d->rules, w.text);
    put_text(&w, "actions", w.text);
#define X(text, member, min, max, compared) put_number(&w, text, (int64_t)d->member);
    NUMBER_LIST(X)
#undef X
    for (int i = 0; i < d->partitions_count; i++) {
        (void)snprintf(name, sizeof name, "start:%s:%d", d->partitions[i].topic,
                       (int)d->partitions[i].partition);
        put_number(&w, name, d->partitions[i].start);
    }
    return true;
}

/* Creates the record unless it is there by now: watched, so of two only one does. */
static enum status create(struct redis_connection *connection, const struct redis_keys *keys,
                          const struct redis_dataset *record, int64_t timeout_ms, struct error *err)
{
    char key[REDIS_KEY_BYTES_MAX];
    const struct redis_reply *reply;
    struct text watch[] = {{"WATCH", 5}, {key, redis_key_set(keys, key)}};
    struct text exists[] = {{"HGET", 4}, watch[1], {"format", 6}};
    enum status status = redis_call(connection, timeout_ms, watch, 2, &reply, err);
    uint64_t epoch = redis_connection_epoch(connection);

    if (status == OK)
        status = redis_call(connection, timeout_ms, exists, 3, &reply, err);
    if (status != OK)
        return status;
    if (reply->type != REPLY_NIL)
        return ASK(connection, &reply, "UNWATCH");
    status = redis_transaction_begin(connection, epoch, err);
    if (status != OK)
        return status;
    if (!append_hset(connection, keys, record)) {
        redis_connection_fail(connection, ERR_FULL, "a transaction was given up");
        return error_set(err, ERR_FULL, "the data set's record does not fit a command");
    }
    return redis_transaction_exec(connection, 1, timeout_ms, &reply,
                                  err); /* nil: the other one was faster */
}

enum status redis_dataset_open(struct redis_dataset *dataset, struct redis_connection *connection,
                               const struct redis_keys *keys, const struct redis_dataset *wanted,
                               int64_t timeout_ms, struct error *err)
{
    struct redis_dataset record = *wanted; /* borrows the partitions: never cleared */
    uint8_t id[16];
    enum status status = redis_dataset_load(dataset, connection, keys, timeout_ms, err);

    if (status == ERR_NOT_FOUND) {
        hash_random_bytes(id, sizeof id);
        hash_hex(record.id, id, sizeof id);
        while (record.rules.seed == 0)
            hash_random_bytes(&record.rules.seed, sizeof record.rules.seed);
        record.value_format = USER_VALUE_FORMAT;
        record.example_format = EXAMPLE_FORMAT;
        record.created_at_ms = clock_wall_ms();
        status = create(connection, keys, &record, timeout_ms, err);
        if (status == OK)
            status = redis_dataset_load(dataset, connection, keys, timeout_ms, err);
    }
    if (status != OK)
        return status;
    status = compare(dataset, wanted, err);
    if (status != OK)
        redis_dataset_clear(dataset);
    return status;
}

enum status redis_dataset_add_partition(struct redis_dataset *dataset,
                                        struct redis_connection *connection,
                                        const struct redis_keys *keys, const char *topic,
                                        int32_t partition, int64_t *start, int64_t timeout_ms,
                                        struct error *err)
{
    char key[REDIS_KEY_BYTES_MAX], name[REDIS_TOPIC_MAX + 32], number[24];
    const struct redis_reply *reply;
    struct text set = {key, redis_key_set(keys, key)};
    struct dataset_partition *p;
    enum status status;

    (void)snprintf(name, sizeof name, "start:%s:%d", topic, (int)partition);
    (void)snprintf(number, sizeof number, "%" PRId64, *start);
    const struct text hsetnx[] = {{"HSETNX", 6}, set, text_of(name), text_of(number)};
    const struct text hget[] = {{"HGET", 4}, set, text_of(name)};
    status = redis_call(connection, timeout_ms, hsetnx, 4, &reply, err);
    if (status == OK)
        status = redis_call(connection, timeout_ms, hget, 3, &reply, err);
    if (status != OK)
        return status;
    if (reply->type != REPLY_STRING || !parse_number(reply->text, 0, INT64_MAX, start))
        return error_set(err, ERR_MALFORMED, "the data set's record has an unusable \"%s\"", name);
    p = partition_of(dataset, after(text_of(name), 6));
    if (p == NULL)
        return error_set(err, ERR_LIMIT, "more than %d partitions", DATASET_PARTITIONS_MAX);
    p->start = *start;
    return OK;
}

enum status redis_dataset_restart_partition(struct redis_connection *connection, uint64_t epoch,
                                            const struct redis_keys *keys,
                                            const struct dataset_partition *anew,
                                            int64_t timeout_ms, struct error *err)
{
    static const char *const fields[] = {"start", "log", "skipped"};
    const int64_t numbers[] = {anew->start, anew->log_number, anew->skipped};
    char key[REDIS_KEY_BYTES_MAX], name[REDIS_TOPIC_MAX + 32];
    size_t key_bytes = redis_key_set(keys, key);
    const struct redis_reply *reply;
    enum status status = redis_transaction_begin(connection, epoch, err);

    if (status != OK)
        return status;
    if (!redis_begin(connection, 8, 1024)) {
        redis_connection_fail(connection, ERR_FULL, "a transaction was given up");
        return error_set(err, ERR_FULL, "too much is waiting to be sent to redis");
    }
    redis_argument_text(connection, "HSET");
    redis_argument(connection, key, key_bytes);
    for (int i = 0; i < 3; i++) {
        (void)snprintf(name, sizeof name, "%s:%s:%d", fields[i], anew->topic, (int)anew->partition);
        redis_argument_text(connection, name);
        redis_argument_int(connection, numbers[i]);
    }
    status = redis_transaction_exec(connection, 1, timeout_ms, &reply, err);
    if (status == OK && reply->type != REPLY_ARRAY)
        status = error_set(err, ERR_IN_USE,
                           "somebody else has changed the data set's record meanwhile");
    return status;
}

const struct dataset_partition *redis_dataset_partition(const struct redis_dataset *dataset,
                                                        const char *topic, int32_t partition)
{
    for (int i = 0; i < dataset->partitions_count; i++)
        if (dataset->partitions[i].partition == partition &&
            strcmp(dataset->partitions[i].topic, topic) == 0)
            return &dataset->partitions[i];
    return NULL;
}

enum status redis_dataset_connect(struct redis_dataset *dataset,
                                  struct redis_connection **connection, struct redis_keys *keys,
                                  const struct config *config, int64_t timeout_ms,
                                  struct error *err)
{
    struct redis_target target;
    enum status status = redis_keys_init(keys, config_text(config, "dataset.namespace"), err);

    *connection = NULL;
    *dataset = (struct redis_dataset){0};
    if (status == OK)
        status = redis_target_from(&target, config, err);
    if (status == OK)
        status = redis_connection_create(connection, &target, NULL, "freshet", err);
    if (status == OK)
        status = redis_dataset_load(dataset, *connection, keys, timeout_ms, err);
    explicit_bzero(&target, sizeof target);
    if (status != OK) {
        redis_connection_destroy(*connection);
        *connection = NULL;
    }
    return status;
}

enum status redis_dataset_connect_nodes(struct redis_dataset *dataset, struct redis_nodes **nodes,
                                        struct redis_keys *keys, const struct config *config,
                                        int64_t timeout_ms, struct error *err)
{
    struct redis_target target;
    char key[REDIS_KEY_BYTES_MAX];
    const struct redis_reply *reply = NULL;
    enum status status = redis_keys_init(keys, config_text(config, "dataset.namespace"), err);

    *nodes = NULL;
    *dataset = (struct redis_dataset){0};
    if (status == OK)
        status = redis_target_from(&target, config, err);
    if (status == OK)
        status = redis_nodes_create(nodes, &target, NULL, "freshet", err);
    if (status == OK) {
        const struct text arguments[] = {{"HGETALL", 7}, {key, redis_key_set(keys, key)}};

        /* Wherever it is, also while its slot moves. */
        status = redis_nodes_call(*nodes, timeout_ms, arguments, 2, &reply, err);
        status = take_record(dataset, keys, reply, status, err);
    }
    explicit_bzero(&target, sizeof target);
    if (status != OK) {
        redis_nodes_destroy(*nodes);
        *nodes = NULL;
    }
    return status;
}
