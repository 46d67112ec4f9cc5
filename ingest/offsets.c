/* ingest/offsets.c - reads m, adds up, prints. */
#include "ingest/offsets.h"

#include "ingest/ingest_main.h"
#include "ops/hash.h"
#include "ops/json_writer.h"
#include "ops/kafka_consumer.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REDIS_MS        5000
#define KAFKA_MS        3000
#define JSON_BYTES_EACH 512

void offsets_clear(struct offsets *offsets)
{
    for (int i = 0; i < offsets->count; i++)
        free(offsets->list[i].next_of);
    free(offsets->list);
    *offsets = (struct offsets){0};
}

static int by_partition(const void *a, const void *b)
{
    const struct offsets_partition *left = a, *right = b;

    return (left->partition > right->partition) - (left->partition < right->partition);
}

static void add_shard(struct offsets_partition *p, int shard, const struct redis_reply *reply)
{
    struct store_state state;

    p->next_of[shard] = -1;
    if (reply->type == REPLY_NIL)
        return;
    if (reply->type != REPLY_STRING || !store_state_parse(&state, reply->text)) {
        p->damaged++;
        return;
    }
    p->next_of[shard] = state.next;
    if (p->shards_known == 0 || state.next < p->next) {
        p->next = state.next;
        p->watermark_ms = state.watermark_ms;
    }
    p->shards_known++;
    for (int i = 0; i < OUTCOME_COUNT; i++)
        p->counts[i] += state.counts[i];
}

/* HGET of one shard's state, by a node that may have changed. */
static enum status ask_shard(struct redis_nodes *nodes, struct text key, int64_t timeout_ms,
                             const struct redis_reply **reply, struct error *err)
{
    const struct text arguments[] = {{"HGET", 4}, key, {"state", 5}};
    enum status status = redis_nodes_call(nodes, timeout_ms, arguments, 3, reply, err);

    /* A wrong type is damage, told by its shard. */
    return status == ERR_CORRUPT && *reply != NULL ? OK : status;
}

static enum status load_partition(struct offsets_partition *p, struct redis_nodes *nodes,
                                  const struct redis_keys *keys, const char *topic, int shards,
                                  int64_t timeout_ms, struct error *err)
{
    const struct redis_reply *reply;
    char key[REDIS_KEY_BYTES_MAX];
    enum status status = OK;

    p->next_of = calloc((size_t)shards, sizeof *p->next_of);
    if (p->next_of == NULL)
        return error_set(err, ERR_NOMEM, "no memory for offsets");
    for (int shard = 0; shard < shards && status == OK; shard++) {
        struct text name = {key,
                            redis_key_meta(keys, shard, topic, p->partition, p->log_number, key)};

        status = ask_shard(nodes, name, timeout_ms, &reply, err);
        if (status == OK)
            add_shard(p, shard, reply);
    }
    if (p->shards_known < shards)
        p->next = -1;
    return status;
}

enum status offsets_load(struct offsets *offsets, struct redis_nodes *nodes,
                         const struct redis_keys *keys, const struct redis_dataset *dataset,
                         const char *topic, int64_t timeout_ms, struct error *err)
{
    struct offsets loaded = {.shards = dataset->shards};
    enum status status = OK;

    *offsets = (struct offsets){0};
    loaded.list = calloc((size_t)dataset->partitions_count + 1, sizeof *loaded.list);
    if (loaded.list == NULL)
        return error_set(err, ERR_NOMEM, "no memory for offsets");
    for (int i = 0; i < dataset->partitions_count && status == OK; i++) {
        const struct dataset_partition *known = &dataset->partitions[i];

        if (strcmp(known->topic, topic) != 0)
            continue;
        struct offsets_partition *p = &loaded.list[loaded.count++];

        *p = (struct offsets_partition){.partition = known->partition,
                                        .log_number = known->log_number,
                                        .start = known->start,
                                        .next = -1,
                                        .watermark_ms = STORE_NO_WATERMARK};
        status = load_partition(p, nodes, keys, topic, dataset->shards, timeout_ms, err);
    }
    qsort(loaded.list, (size_t)loaded.count, sizeof *loaded.list, by_partition);
    if (status == OK)
        *offsets = loaded;
    else
        offsets_clear(&loaded);
    return status;
}

/* ---- offsets list ---- */

/* Ends of the log, -1 where Kafka does not say. */
static void ask_kafka(const struct config *config, const struct offsets *offsets, int64_t *highs)
{
    struct kafka_consumer_options options = {0};
    struct kafka_consumer *consumer = NULL;
    struct error err;
    int64_t low;
    bool up;

    kafka_consumer_options_from(&options, config, "kafka.topics.events");
    options.group = options.instance_id = NULL;
    up = kafka_consumer_open(&consumer, &options, &err) == OK;
    for (int i = 0; i < offsets->count; i++) {
        highs[i] = -1;
        up = up && kafka_consumer_limits(consumer, offsets->list[i].partition, KAFKA_MS, &low,
                                         &highs[i], &err) == OK;
    }
    kafka_consumer_close(consumer);
}

static void put_counts(struct json_writer *w, const int64_t counts[OUTCOME_COUNT])
{
    for (int i = 0; i < OUTCOME_COUNT; i++)
        json_int(w, outcome_names[i], counts[i]);
}

static int print_json(const struct offsets *offsets, const int64_t *highs, const char *topic)
{
    size_t room = JSON_BYTES_EACH * ((size_t)offsets->count + 2);
    char *text = malloc(room);
    int64_t totals[OUTCOME_COUNT] = {0}, lag = 0;
    struct json_writer w;

    if (text == NULL)
        return EXIT_BUG;
    json_writer_init(&w, text, room);
    json_object_begin(&w);
    json_key(&w, "partitions");
    json_array_begin(&w);
    for (int i = 0; i < offsets->count; i++) {
        const struct offsets_partition *p = &offsets->list[i];

        json_object_begin(&w);
        json_text(&w, "topic", text_of(topic));
        json_int(&w, "partition", p->partition);
        json_int(&w, "log_number", p->log_number);
        json_int(&w, "start", p->start);
        json_int(&w, "next", p->next);
        if (highs[i] >= 0) {
            json_int(&w, "high", highs[i]);
            json_int(&w, "lag", p->next < 0 ? highs[i] - p->start : highs[i] - p->next);
            lag += p->next < 0 ? highs[i] - p->start : highs[i] - p->next;
        }
        if (p->watermark_ms != STORE_NO_WATERMARK)
            json_int(&w, "watermark_ms", p->watermark_ms);
        if (p->damaged > 0)
            json_int(&w, "damaged_shards", p->damaged);
        put_counts(&w, p->counts);
        json_object_end(&w);
        for (int o = 0; o < OUTCOME_COUNT; o++)
            totals[o] += p->counts[o];
    }
    json_array_end(&w);
    json_key(&w, "totals");
    json_object_begin(&w);
    put_counts(&w, totals);
    json_int(&w, "lag", lag);
    json_object_end(&w);
    json_object_end(&w);
    (void)printf("%.*s\n", TEXT_ARGS(json_writer_text(&w)));
    free(text);
    return EXIT_DONE;
}

static int print_table(const struct offsets *offsets, const int64_t *highs)
{
    (void)printf("%9s %10s %12s %12s %10s %10s %10s %8s %8s %8s %8s\n", "partition", "start",
                 "next", "end", "lag", "applied", "duplicate", "late", "dropped", "erased", "dead");
    for (int i = 0; i < offsets->count; i++) {
        const struct offsets_partition *p = &offsets->list[i];
        char end[24] = "-", lag[24] = "-";

        if (highs[i] >= 0) {
            (void)snprintf(end, sizeof end, "%" PRId64, highs[i]);
            (void)snprintf(lag, sizeof lag, "%" PRId64,
                           highs[i] - (p->next < 0 ? p->start : p->next));
        }
        (void)printf("%9d %10" PRId64 " %12" PRId64 " %12s %10s %10" PRId64 " %10" PRId64
                     " %8" PRId64 " %8" PRId64 " %8" PRId64 " %8" PRId64 "%s\n",
                     (int)p->partition, p->start, p->next, end, lag, p->counts[OUTCOME_APPLIED],
                     p->counts[OUTCOME_DUPLICATE], p->counts[OUTCOME_LATE],
                     p->counts[OUTCOME_DROPPED], p->counts[OUTCOME_ERASED], p->counts[OUTCOME_DEAD],
                     p->damaged > 0 ? "  (keys damaged)" : "");
    }
    if (offsets->count == 0)
        (void)printf("no partition has been read yet: start `freshet ingest`\n");
    return EXIT_DONE;
}

static int run_list(struct command_line *line)
{
    const struct config *config = command_config(line);
    struct redis_nodes *nodes = NULL;
    struct redis_dataset dataset = {0};
    struct offsets offsets = {0};
    struct redis_keys keys;
    struct error err;
    int64_t *highs = NULL;
    const char *topic;
    enum status status;
    int code;

    if (config == NULL)
        return EXIT_USAGE;
    topic = config_text(config, "kafka.topics.events");
    status = hash_start(&err);
    if (status == OK)
        status = redis_dataset_connect_nodes(&dataset, &nodes, &keys, config, REDIS_MS, &err);
    if (status == OK)
        status = offsets_load(&offsets, nodes, &keys, &dataset, topic, REDIS_MS, &err);
    if (status == OK) {
        highs = calloc((size_t)offsets.count + 1, sizeof *highs);
        if (highs == NULL)
            status = error_set(&err, ERR_NOMEM, "no memory for offsets");
    }
    if (status == OK) {
        ask_kafka(config, &offsets, highs);
        code = command_json(line) ? print_json(&offsets, highs, topic)
                                  : print_table(&offsets, highs);
    } else {
        code = command_fail(line, &err);
    }
    free(highs);
    offsets_clear(&offsets);
    redis_dataset_clear(&dataset);
    redis_nodes_destroy(nodes);
    return code;
}

const struct command offsets_list_command = {
    .name = "offsets list",
    .summary = "how far the state in Redis has come in each partition",
    .arguments = "",
    .help = "Reads what Redis says is applied, which is the truth; Kafka's committed offsets are a "
            "hint for other tools. Counts are of all records below next.\n"
            "\n"
            "Examples:\n"
            "  freshet offsets list\n"
            "  freshet offsets list --json\n",
    .run = run_list,
};
