/* tests/retrain/role_world.c - one role's surroundings in one process. */
#include "tests/retrain/role_world.h"

#include "features/features_main.h"
#include "ingest/ingest_config.h"
#include "kernels/model_rows.h"
#include "ops/clock.h"
#include "ops/hash.h"
#include "ops/kafka_admin.h"
#include "ops/kafka_producer.h"
#include "ops/ops_main.h"
#include "scorer/serve_main.h"
#include "tests/retrain/retrain_fixture.h"
#include "tests/support/redis_server.h"
#include "tests/test.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct role_world role_world;

static struct error err;
static struct redis_server server;
static struct kafka_broker *broker;
static struct kafka_producer *producer;
static struct event_schema *schema;

/* The first role of a process opens the stop descriptor of ops/command for good; the runner counts
 * descriptors, so one that was there before makes room for it. */
static int spare = -1;

__attribute__((constructor)) static void open_spare(void)
{
    spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

const char *role_world_inside(const char *name)
{
    static char path[4][400];
    static int next;
    char *into = path[next++ % 4];

    (void)snprintf(into, sizeof path[0], "%s/%s", test_folder(), name);
    return into;
}

static void load_config(int judged_min)
{
    static const struct config_row *const tables[] = {ops_config_rows,      kafka_config_rows,
                                                      redis_config_rows,    events_config_rows,
                                                      features_config_rows, ingest_config_rows,
                                                      model_config_rows,    serve_config_rows,
                                                      retrain_config_rows,  NULL};
    char brokers[80], url[200], models[450], folder[450], holdout_min[60];
    const char *sets[] = {brokers,
                          url,
                          models,
                          folder,
                          "kafka.fetch_wait=5ms",
                          "retrain.admin=127.0.0.1:0",
                          "retrain.steps_max=40",
                          holdout_min,
                          "retrain.holdout_share=0.3",
                          "retrain.users_max=1000",
                          role_world.settings[0],
                          role_world.settings[1]};
    int count = (int)(sizeof sets / sizeof sets[0]) - (role_world.settings[0] == NULL) -
                (role_world.settings[1] == NULL);
    char *report = NULL;

    (void)snprintf(brokers, sizeof brokers, "kafka.brokers=%s", kafka_broker_address(broker));
    (void)snprintf(holdout_min, sizeof holdout_min, "retrain.holdout_min=%d", judged_min);
    (void)snprintf(url, sizeof url, "redis.url=%s", server.url);
    (void)snprintf(models, sizeof models, "model.folder=%s", role_world_inside("models"));
    (void)snprintf(folder, sizeof folder, "retrain.folder=%s", role_world_inside("state"));
    CHECK_STATUS(OK, config_load(&role_world.config, tables, NULL, sets, count, &report, &err));
    free(report);
}

static void make_dataset(void)
{
    struct redis_connection *connection;
    struct redis_dataset wanted, dataset;
    struct redis_target target;
    struct redis_keys keys;

    CHECK_STATUS(OK, redis_target_from(&target, role_world.config, &err));
    CHECK_STATUS(OK, redis_keys_init(&keys, "fr", &err));
    CHECK_STATUS(OK, ingest_wanted_dataset(&wanted, role_world.config, schema, &err));
    wanted.rules.seed = FIXTURE_SEED;
    CHECK_STATUS(OK, redis_connection_create(&connection, &target, NULL, NULL, &err));
    CHECK_STATUS(OK, redis_dataset_open(&dataset, connection, &keys, &wanted, 10000, &err));
    role_world.rules = dataset.rules;
    redis_connection_destroy(connection);
    redis_dataset_clear(&dataset);
}

void role_world_begin_judging(int judged_min)
{
    static const struct kafka_broker_topic topics[] = {
        {"events", ROLE_WORLD_PARTITIONS}, {"examples", 1}, {NULL, 0}};
    static const struct kafka_broker_topic with_items[] = {
        {"events", ROLE_WORLD_PARTITIONS}, {"examples", 1}, {"items", 2}, {NULL, 0}};
    struct kafka_producer_options options;

    redis_server_start(&server, NULL);
    CHECK_STATUS(OK, hash_start(&err));
    CHECK_STATUS(OK, kafka_broker_start(&broker, role_world.catalogue ? with_items : topics, &err));
    load_config(judged_min);
    CHECK_STATUS(OK, event_schema_create(&schema, role_world.config, &err));
    make_dataset();
    kafka_producer_options_from(&options, role_world.config);
    CHECK_STATUS(OK, kafka_producer_open(&producer, &options, &err));
}

void role_world_begin(void)
{
    role_world_begin_judging(20);
}

void role_world_end(void)
{
    kafka_producer_close(producer, 0);
    event_schema_destroy(schema);
    config_destroy(role_world.config);
    kafka_broker_stop(broker);
    redis_server_stop(&server);
    if (spare >= 0)
        CHECK_INT(0, close(spare));
    spare = -1;
}

void role_world_send(const char *topic, int partition, const char *key, const void *bytes,
                     size_t count, int64_t at_ms)
{
    struct kafka_message message = {.topic = topic,
                                    .partition = partition,
                                    .key = text_of(key),
                                    .value = {bytes, count},
                                    .timestamp_ms = at_ms};

    CHECK_STATUS(OK, kafka_produce(producer, &message, &err));
}

void role_world_flush(void)
{
    CHECK_STATUS(OK, kafka_producer_flush(producer, 20000, &err));
}

void role_world_set_broker_up(bool up)
{
    kafka_broker_set_up(broker, up);
}

void role_world_send_text(int partition, const char *user, const char *text, int64_t at_ms)
{
    role_world_send("events", partition, user, text, strlen(text), at_ms);
}

/* Events [from, to) of the small world, a user always into the same partition. */
void role_world_send_events(int from, int to)
{
    for (int i = from; i < to; i++) {
        struct event event = retrain_event(i);
        char text[200], user[16];

        (void)snprintf(user, sizeof user, "%.*s", TEXT_ARGS(event.user));
        (void)snprintf(text, sizeof text,
                       "{\"type\":\"click\",\"user\":\"%.*s\",\"item\":\"%.*s\",\"ts\":%lld}",
                       TEXT_ARGS(event.user), TEXT_ARGS(event.item), (long long)event.time_ms);
        role_world_send_text(atoi(event.user.at + 1) % ROLE_WORLD_PARTITIONS, user, text,
                             event.time_ms);
    }
    role_world_flush();
}

struct role *role_world_open(void)
{
    struct role *role;

    CHECK_STATUS(OK, role_open(&role, role_world.config, &err));
    return role;
}

int64_t role_world_read(const struct role *role)
{
    const struct follower *const topics[] = {role->events_topic, role->examples_topic};
    int64_t sum = 0;

    for (int t = 0; t < 2; t++) {
        int count;
        const struct follower_offset *offsets = follower_offsets(topics[t], &count);

        for (int i = 0; i < count; i++)
            sum += offsets[i].next;
    }
    return sum;
}

/* Until both topics hold `records` read ones. */
void role_world_follow(struct role *role, int64_t records)
{
    int64_t until_us = clock_monotonic_us() + ROLE_WORLD_PATIENCE_US;
    int count;

    while (role_world_read(role) < records) {
        CHECK(clock_monotonic_us() < until_us);
        CHECK_STATUS(OK, role_follow(role, 10, &count, &err));
    }
    CHECK_INT(records, role_world_read(role));
}
