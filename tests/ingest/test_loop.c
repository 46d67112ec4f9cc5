/*
 * Tests ingest/loop end to end in one process: an embedded broker, a private redis-server, events
 * of a small world with ugly ones between them; what Redis holds is compared, user by user, with
 * the same log through the memory store.
 */
#include "ingest/loop.h"

#include "features/features_main.h"
#include "features/redis_call.h"
#include "features/user_store.h"
#include "features/world.h"
#include "ingest/ingest_config.h"
#include "ops/clock.h"
#include "ops/hash.h"
#include "ops/http_server.h"
#include "ops/kafka_admin.h"
#include "ops/kafka_consumer.h"
#include "ops/kafka_producer.h"
#include "ops/metric.h"
#include "tests/support/avro_bytes.h"
#include "tests/support/redis_server.h"
#include "tests/test.h"

#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PARTITIONS  4
#define EVENTS      6000
#define TIMEOUT_MS  10000
#define PATIENCE_US 120000000

static const struct kafka_broker_topic topics[] = {
    {"events", PARTITIONS}, {"examples", 3}, {"dead", 1}, {NULL, 0}};

static struct redis_server server;
static struct kafka_broker *broker;
static struct config *config;
static struct redis_target target;
static struct redis_keys keys;
static struct redis_dataset dataset;
static struct event_schema *schema;

static void begin_with(const char *more, const char *yet_more)
{
    static const struct config_row *const tables[] = {kafka_config_rows,  redis_config_rows,
                                                      events_config_rows, features_config_rows,
                                                      ingest_config_rows, NULL};
    char brokers[80], url[200];
    const char *sets[] = {brokers,
                          url,
                          "kafka.session_timeout=4s",
                          "dataset.shards=16",
                          "dataset.examples_partitions=3",
                          "features.sequence_max=20",
                          more,
                          yet_more};
    struct redis_connection *connection;
    struct redis_dataset wanted;
    struct error err;
    char *report = NULL;

    redis_server_start(&server, NULL);
    CHECK_STATUS(OK, hash_start(&err));
    CHECK_STATUS(OK, kafka_broker_start(&broker, topics, &err));
    (void)snprintf(brokers, sizeof brokers, "kafka.brokers=%s", kafka_broker_address(broker));
    (void)snprintf(url, sizeof url, "redis.url=%s", server.url);
    CHECK_STATUS(OK, config_load(&config, tables, NULL, sets,
                                 6 + (more != NULL) + (yet_more != NULL), &report, &err));
    free(report);
    CHECK_STATUS(OK, event_schema_create(&schema, config, &err));
    CHECK_STATUS(OK, redis_target_from(&target, config, &err));
    CHECK_STATUS(OK, redis_keys_init(&keys, "fr", &err));
    CHECK_STATUS(OK, ingest_wanted_dataset(&wanted, config, schema, &err));
    CHECK_STATUS(OK, redis_connection_create(&connection, &target, NULL, NULL, &err));
    CHECK_STATUS(OK, redis_dataset_open(&dataset, connection, &keys, &wanted, TIMEOUT_MS, &err));
    redis_connection_destroy(connection);
}

static void begin(void)
{
    begin_with(NULL, NULL);
}

static void end(void)
{
    redis_dataset_clear(&dataset);
    event_schema_destroy(schema);
    config_destroy(config);
    kafka_broker_stop(broker);
    redis_server_stop(&server);
}

/* The log as we wrote it, to be replayed into memory. */
struct logged {
    int partition;
    size_t key_bytes, bytes;
    char *key, *value;
    int64_t time_ms;
};
static struct logged logged[EVENTS * 2];
static int logged_count;

static void write_record(struct kafka_producer *producer, struct text user, struct text value)
{
    struct logged *l = &logged[logged_count++];
    struct kafka_message message;
    struct error err;

    l->partition = (int)(hash64_text(user, 0) % PARTITIONS);
    l->key = malloc(user.bytes + 1);
    l->value = malloc(value.bytes + 1);
    memcpy(l->key, user.at, user.bytes);
    memcpy(l->value, value.at, value.bytes);
    l->key_bytes = user.bytes;
    l->bytes = value.bytes;
    l->time_ms = clock_wall_ms();
    message = (struct kafka_message){.topic = "events",
                                     .partition = l->partition,
                                     .key = user,
                                     .value = value,
                                     .timestamp_ms = l->time_ms};
    CHECK_STATUS(OK, kafka_produce(producer, &message, &err));
}

/* ---- Avro, and a registry that is down at first ---- */

#define AVRO_ID 7
#define AVRO_EVENT                                                                                 \
    "{\\\"type\\\":\\\"record\\\",\\\"name\\\":\\\"E\\\",\\\"fields\\\":["                         \
    "{\\\"name\\\":\\\"type\\\",\\\"type\\\":\\\"string\\\"},"                                     \
    "{\\\"name\\\":\\\"user\\\",\\\"type\\\":\\\"string\\\"},"                                     \
    "{\\\"name\\\":\\\"ts\\\",\\\"type\\\":{\\\"type\\\":\\\"long\\\",\\\"logicalType\\\":"        \
    "\\\"timestamp-micros\\\"}},"                                                                  \
    "{\\\"name\\\":\\\"item\\\",\\\"type\\\":[\\\"null\\\",\\\"string\\\"]},"                      \
    "{\\\"name\\\":\\\"request_id\\\",\\\"type\\\":\\\"string\\\"},"                               \
    "{\\\"name\\\":\\\"items\\\",\\\"type\\\":{\\\"type\\\":\\\"array\\\",\\\"items\\\":"          \
    "\\\"string\\\"}}]}"

static struct http_server *registry;
static atomic_int outages; /* questions that are not answered yet */

static void serve_schema(struct http_request *request, void *context)
{
    struct text path = http_request_path(request);
    struct text ours = text_of("/schemas/ids/7");

    (void)context;
    if (atomic_fetch_sub(&outages, 1) > 0)
        http_answer_error(request, 503, "not yet");
    else if (text_equal(path, ours))
        http_answer(request, 200, NULL, text_of("{\"schema\":\"" AVRO_EVENT "\"}"), NULL);
    else
        http_answer(request, 404, NULL, text_of("{\"error_code\":40403}"), NULL);
}

static void put_some(struct avro_bytes *a, struct text text)
{
    avro_put_long(a, (int64_t)text.bytes);
    avro_put_raw(a, text.at, text.bytes);
}

static void put_event(struct avro_bytes *a, const struct event *event)
{
    const struct action_row *action = event_schema_action(schema, event->action);

    a->bytes = 0;
    avro_put_frame(a, AVRO_ID);
    avro_put_text(a, event->kind == EVENT_ACTION       ? action->name
                     : event->kind == EVENT_IMPRESSION ? "impression"
                                                       : "erase");
    put_some(a, event->user);
    avro_put_long(a, event->time_ms * 1000);
    avro_put_long(a, event->kind == EVENT_ACTION);
    if (event->kind == EVENT_ACTION)
        put_some(a, event->item);
    put_some(a, event->request_id);
    if (event->rows_count > 0)
        avro_put_long(a, event->rows_count);
    for (int i = 0; i < event->rows_count; i++)
        put_some(a, event->rows[i]);
    avro_put_long(a, 0);
}

static void write_log(uint64_t seed, int events)
{
    static const char *const ugly[] = {
        "",
        "{",
        "[]",
        "null",
        "{\"type\":\"click\"}",
        "{\"type\":\"click\",\"user\":\"u1\",\"item\":\"\",\"ts\":1}"};
    struct kafka_producer_options options = {.brokers = kafka_broker_address(broker)};
    struct kafka_producer *producer;
    struct world_options world_options;
    struct world *world;
    struct world_walk *walk;
    struct random random;
    struct event event;
    struct error err;
    struct avro_bytes avro;
    char json[8192];

    world_options_init(&world_options);
    world_options.users = 150;
    world_options.items = 300;
    world_options.seed = seed;
    random_seed(&random, seed);
    CHECK_STATUS(OK, world_create(&world, &world_options, &err));
    CHECK_STATUS(OK, world_walk_create(&walk, world, seed, 10, NULL, NULL, &err));
    CHECK_STATUS(OK, kafka_producer_open(&producer, &options, &err));
    for (int n = 0; n < events; n++) {
        world_walk_next(walk, &event);
        size_t bytes = event_encode(schema, &event, json, sizeof json);

        CHECK(bytes > 0);
        if (registry != NULL && hash64_text(event.user, 0) % 3 > 0) { /* one in three stays JSON */
            put_event(&avro, &event);
            write_record(producer, event.user, avro_bytes_text(&avro));
            /* Sometimes cut short, or of an id that nobody knows. */
            if (random_below(&random, 2) == 0)
                avro.bytes--;
            else
                avro.at[4] = 99;
            if (random_below(&random, 50) == 0)
                write_record(producer, event.user, avro_bytes_text(&avro));
            continue;
        }
        write_record(producer, event.user, (struct text){json, bytes});
        if (random_below(&random, 20) == 0) /* a producer that tried twice */
            write_record(producer, event.user, (struct text){json, bytes});
        if (random_below(&random, 50) == 0)
            write_record(producer, event.user, text_of(ugly[random_below(&random, 6)]));
        if (random_below(&random, 300) == 0) {
            struct event erase = {
                .kind = EVENT_ERASE, .user = event.user, .time_ms = event.time_ms};

            bytes = event_encode(schema, &erase, json, sizeof json);
            write_record(producer, event.user, (struct text){json, bytes});
        }
    }
    CHECK_STATUS(OK, kafka_producer_flush(producer, TIMEOUT_MS, &err));
    kafka_producer_close(producer, 0);
    world_walk_destroy(walk);
    world_destroy(world);
}

static void free_log(void)
{
    for (int i = 0; i < logged_count; i++) {
        free(logged[i].key);
        free(logged[i].value);
    }
    logged_count = 0;
}

/* The truth: the log through the rules and the memory store, partition by partition. */
static struct user_store *replay_log(int64_t outcomes[OUTCOME_COUNT])
{
    struct event_decoder *decoder;
    struct user_store *store;
    struct error err;

    memset(outcomes, 0, OUTCOME_COUNT * sizeof *outcomes);
    CHECK_STATUS(OK, event_decoder_create(&decoder, schema, &err));
    event_decoder_insist(decoder, EVENT_PATIENCE_MS);
    CHECK_STATUS(OK, user_store_create(&store, &dataset.rules, &err));
    for (int partition = 0; partition < PARTITIONS; partition++) {
        int64_t watermark_ms = INT64_MIN;

        for (int i = 0; i < logged_count; i++) {
            struct text value = {logged[i].value, logged[i].bytes};
            struct event event;
            enum refusal why;
            enum outcome outcome;

            if (logged[i].partition != partition)
                continue;
            if (event_decode(decoder, value, logged[i].time_ms, &event, &why, &err) != OK) {
                outcomes[OUTCOME_DEAD]++;
                continue;
            }
            CHECK_STATUS(OK, user_store_apply(store, &event, watermark_ms, false, NULL, NULL,
                                              &outcome, &err));
            outcomes[outcome]++;
            watermark_ms = rules_watermark(watermark_ms, event.time_ms, logged[i].time_ms,
                                           dataset.max_future_skew_ms);
        }
    }
    event_decoder_destroy(decoder);
    return store;
}

struct comparison {
    struct redis_connection *connection;
    struct arena *arena;
    int64_t users, wrong;
};

static void compare_user(void *context, struct text user, const struct user_value *want)
{
    static struct user_value got;
    struct comparison *c = context;
    char key[REDIS_KEY_BYTES_MAX];
    struct text value;
    struct error err;
    int shard = rules_shard(&dataset.rules, user, dataset.shards);

    c->users++;
    CHECK_STATUS(OK, redis_call_get(c->connection, TIMEOUT_MS,
                                    (struct text){key, redis_key_user(&keys, shard, user, key)},
                                    &value, &err));
    arena_reset(c->arena);
    if (value.at == NULL ||
        user_value_decode(&got, (const uint8_t *)value.at, value.bytes, c->arena, &err) != OK ||
        !user_value_equal(&got, want))
        c->wrong++;
}

static void compare(struct user_store *store)
{
    struct comparison c = {.arena = arena_create(65536, 1 << 24)};
    struct error err;

    CHECK_STATUS(OK, redis_connection_create(&c.connection, &target, NULL, NULL, &err));
    user_store_each(store, compare_user, &c);
    redis_connection_destroy(c.connection);
    arena_destroy(c.arena);
    CHECK(c.users > 100);
    CHECK_INT(0, c.wrong);
}

static int ready_count;
static char ready_reasons[4096];

static bool lag_told;

/* NaN while it is not told. */
static double lag_records(void)
{
    const struct metric *lag = metric_find("freshet_ingest_lag_records");

    CHECK(lag != NULL);
    return metric_value(lag);
}

static void take_ready(void *context, bool ready, const char *reason)
{
    size_t used = strlen(ready_reasons);

    (void)context;
    ready_count += ready;
    /* A lag of 0 would say that nothing waits. */
    if (strcmp(reason, "no partition is assigned to us") == 0)
        CHECK(isnan(lag_records()));
    lag_told = lag_told || lag_records() >= 0;
    (void)snprintf(ready_reasons + used, sizeof ready_reasons - used, "%s\n", reason);
}

static int64_t patience_us; /* until when a loop is let run */

static bool impatient(void)
{
    return clock_monotonic_us() > patience_us;
}

/* stopped: what it has to say of partitions that it stopped. */
static void run_to_the_end_with(struct machine_stats *stats, const char *stopped)
{
    struct loop_options options = {.config = config,
                                   .target = &target,
                                   .keys = &keys,
                                   .dataset = &dataset,
                                   .schema = schema,
                                   .until_end = true,
                                   .set_ready = take_ready,
                                   .stopping = impatient,
                                   .stop_descriptor = -1,
                                   .drain_ms = TIMEOUT_MS};
    struct loop *loop;
    struct error err;

    patience_us = clock_monotonic_us() + PATIENCE_US;
    CHECK_STATUS(OK, loop_open(&loop, &options, &err));
    enum status status = loop_run(loop, &err);
    if (status != OK)
        test_fail(__FILE__, __LINE__, "%s: %s", status_name(status), err.text);
    CHECK(!impatient());
    *stats = *loop_stats(loop);
    CHECK_TEXT(stopped, loop_stopped(loop));
    loop_close(loop);
}

static void run_to_the_end(struct machine_stats *stats)
{
    run_to_the_end_with(stats, "");
}

static int count_examples(const char *topic, int partitions, int64_t least)
{
    struct kafka_consumer_options options = {
        .brokers = kafka_broker_address(broker), .topic = topic, .end_events = true};
    struct kafka_consumer *consumer;
    struct kafka_record records[256];
    struct kafka_event events[KAFKA_EVENTS_MAX];
    struct error err;
    uint64_t epoch;
    int64_t until_us = clock_monotonic_us() + PATIENCE_US;
    int count = 0, ends = 0, events_count;

    (void)least;
    CHECK_STATUS(OK, kafka_consumer_open(&consumer, &options, &err));
    for (int p = 0; p < partitions; p++)
        CHECK_STATUS(OK, kafka_consumer_assign(consumer, p, 0, &epoch, &err));
    while (ends < partitions && clock_monotonic_us() < until_us) {
        int taken = kafka_consumer_poll(consumer, 1000, records, 256, events, &events_count);

        count += taken;
        kafka_records_release(records, taken);
        for (int i = 0; i < events_count; i++)
            ends += events[i].kind == KAFKA_END;
    }
    kafka_consumer_close(consumer);
    CHECK_INT(partitions, ends);
    return count;
}

TEST(loop_applies_a_topic_exactly_once_and_goes_on_where_it_ended)
{
    struct machine_stats stats;
    int64_t outcomes[OUTCOME_COUNT], first_dead;
    struct user_store *store;

    begin();
    write_log(1, EVENTS / 2);
    run_to_the_end(&stats);
    CHECK(ready_count > 0 && strstr(ready_reasons, "starting\n") == ready_reasons);
    CHECK(strstr(ready_reasons, "draining\n") != NULL);
    CHECK(strstr(ready_reasons, "no partition is assigned to us\n") != NULL && lag_told);
    store = replay_log(outcomes);
    for (int i = 0; i < OUTCOME_COUNT; i++)
        CHECK_INT(outcomes[i], (int64_t)stats.outcomes[i]);
    CHECK(outcomes[OUTCOME_DUPLICATE] > 50 && outcomes[OUTCOME_DEAD] > 20);
    first_dead = outcomes[OUTCOME_DEAD];
    compare(store);
    user_store_destroy(store);

    write_log(2, EVENTS / 4);
    run_to_the_end(&stats);
    store = replay_log(outcomes);
    compare(store);
    CHECK_INT(outcomes[OUTCOME_DEAD] - first_dead, (int64_t)stats.outcomes[OUTCOME_DEAD]);
    CHECK_INT(outcomes[OUTCOME_DEAD], count_examples("dead", 1, 0));
    CHECK(count_examples("examples", 3, 0) > 500);
    CHECK_TEXT("0", REDIS_COMMAND(&server, "XLEN", "fr{03}oevents:1:0"));
    user_store_destroy(store);
    free_log();
    end();
}

TEST(loop_ends_when_all_is_applied_but_what_is_stopped)
{
    struct machine_stats stats;

    begin();
    write_log(4, 200);
    run_to_the_end(&stats);
    (void)REDIS_COMMAND(&server, "HSET", "fr{03}mevents:2:0", "state", "unusable");
    write_log(5, 200);
    run_to_the_end_with(&stats, "2: state_damaged");
    CHECK(stats.records > 0);
    free_log();
    end();
}

/* The registry does not answer at first: partitions with Avro records wait, none of them becomes a
 * dead letter, and in the end all is as if it had answered at once. */
TEST(loop_makes_partitions_wait_for_their_schemas_and_loses_nothing)
{
    static const struct http_route routes[] = {{"GET", "/schemas/ids/*", serve_schema}, {0}};
    const struct http_server_options options = {.listen = "127.0.0.1:0", .routes = routes};
    struct machine_stats stats;
    int64_t outcomes[OUTCOME_COUNT];
    struct user_store *store;
    struct error err;
    char url[80];

    outages = 3; /* answered after 250, 500 and 1000 ms */
    ready_reasons[0] = 0;
    CHECK_STATUS(OK, http_server_open(&registry, &options, &err));
    (void)snprintf(url, sizeof url, "events.registry=http://127.0.0.1:%d",
                   http_server_port(registry));
    begin_with("events.format=auto", url);
    write_log(3, EVENTS / 2);
    run_to_the_end(&stats);
    CHECK(strstr(ready_reasons, "partitions wait for a schema: Avro schema ") != NULL);
    CHECK(outages <= 0);
    store = replay_log(outcomes);
    for (int i = 0; i < OUTCOME_COUNT; i++)
        CHECK_INT(outcomes[i], (int64_t)stats.outcomes[i]);
    CHECK(stats.letters[REFUSAL_NO_SCHEMA] > 5 && stats.letters[REFUSAL_NOT_AVRO] > 5);
    CHECK_INT(0, (int64_t)stats.letters[REFUSAL_BAD_SCHEMA]);
    CHECK_INT(outcomes[OUTCOME_DEAD], count_examples("dead", 1, 0));
    compare(store);
    user_store_destroy(store);
    free_log();
    end();
    http_server_close(registry, 0);
    registry = NULL;
}
