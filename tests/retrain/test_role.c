/*
 * Tests retrain/role, role_intake and role_round in one process: an embedded broker, a private
 * redis-server, events of the small world with ugly records between them.
 */
#include "retrain/role_inside.h"

#include "features/features_main.h"
#include "ingest/ingest_config.h"
#include "kernels/model_rows.h"
#include "ops/clock.h"
#include "ops/file.h"
#include "ops/hash.h"
#include "ops/http_client.h"
#include "ops/kafka_admin.h"
#include "ops/kafka_producer.h"
#include "ops/ops_main.h"
#include "retrain/publish.h"
#include "tests/retrain/retrain_fixture.h"
#include "tests/support/redis_server.h"
#include "tests/test.h"

#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PARTITIONS  2
#define LATE_MS     (INT64_C(400) * 24 * 3600 * 1000) /* more than features.late_max */
#define PATIENCE_US ((int64_t)60 * 1000000)

static struct error err;
static struct redis_server server;
static struct kafka_broker *broker;
static struct kafka_producer *producer;
static struct config *config;
static struct event_schema *schema;
static struct rules rules; /* of the data set */

/* The first role of a process opens the stop descriptor of ops/command for good; the runner counts
 * descriptors, so one that was there before makes room for it. */
static int spare = -1;

__attribute__((constructor)) static void open_spare(void)
{
    spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static const char *inside(const char *name)
{
    static char path[4][400];
    static int next;
    char *into = path[next++ % 4];

    (void)snprintf(into, sizeof path[0], "%s/%s", test_folder(), name);
    return into;
}

static const char *reads_items; /* a setting that makes it read the items topic, or NULL */

static void load_config(int judged_min)
{
    static const struct config_row *const tables[] = {
        ops_config_rows,    kafka_config_rows,    redis_config_rows,
        events_config_rows, features_config_rows, ingest_config_rows,
        model_config_rows,  retrain_config_rows,  NULL};
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
                          reads_items};
    int count = (int)(sizeof sets / sizeof sets[0]) - (reads_items == NULL);
    char *report = NULL;

    (void)snprintf(brokers, sizeof brokers, "kafka.brokers=%s", kafka_broker_address(broker));
    (void)snprintf(holdout_min, sizeof holdout_min, "retrain.holdout_min=%d", judged_min);
    (void)snprintf(url, sizeof url, "redis.url=%s", server.url);
    (void)snprintf(models, sizeof models, "model.folder=%s", inside("models"));
    (void)snprintf(folder, sizeof folder, "retrain.folder=%s", inside("state"));
    CHECK_STATUS(OK, config_load(&config, tables, NULL, sets, count, &report, &err));
    free(report);
}

static void make_dataset(void)
{
    struct redis_connection *connection;
    struct redis_dataset wanted, dataset;
    struct redis_target target;
    struct redis_keys keys;

    CHECK_STATUS(OK, redis_target_from(&target, config, &err));
    CHECK_STATUS(OK, redis_keys_init(&keys, "fr", &err));
    CHECK_STATUS(OK, ingest_wanted_dataset(&wanted, config, schema, &err));
    wanted.rules.seed = FIXTURE_SEED;
    CHECK_STATUS(OK, redis_connection_create(&connection, &target, NULL, NULL, &err));
    CHECK_STATUS(OK, redis_dataset_open(&dataset, connection, &keys, &wanted, 10000, &err));
    rules = dataset.rules;
    redis_connection_destroy(connection);
    redis_dataset_clear(&dataset);
}

static bool catalogue; /* there is an items topic */

/* judged_min: held-out choices below which every challenger is refused. */
static void begin_judging(int judged_min)
{
    static const struct kafka_broker_topic topics[] = {
        {"events", PARTITIONS}, {"examples", 1}, {NULL, 0}};
    static const struct kafka_broker_topic with_items[] = {
        {"events", PARTITIONS}, {"examples", 1}, {"items", 2}, {NULL, 0}};
    struct kafka_producer_options options;

    redis_server_start(&server, NULL);
    CHECK_STATUS(OK, hash_start(&err));
    CHECK_STATUS(OK, kafka_broker_start(&broker, catalogue ? with_items : topics, &err));
    load_config(judged_min);
    CHECK_STATUS(OK, event_schema_create(&schema, config, &err));
    make_dataset();
    kafka_producer_options_from(&options, config);
    CHECK_STATUS(OK, kafka_producer_open(&producer, &options, &err));
}

static void begin(void)
{
    begin_judging(20);
}

static void end(void)
{
    kafka_producer_close(producer, 0);
    event_schema_destroy(schema);
    config_destroy(config);
    kafka_broker_stop(broker);
    redis_server_stop(&server);
    if (spare >= 0)
        CHECK_INT(0, close(spare));
    spare = -1;
}

static void send(const char *topic, int partition, const char *key, const void *bytes, size_t count,
                 int64_t at_ms)
{
    struct kafka_message message = {.topic = topic,
                                    .partition = partition,
                                    .key = text_of(key),
                                    .value = {bytes, count},
                                    .timestamp_ms = at_ms};

    CHECK_STATUS(OK, kafka_produce(producer, &message, &err));
}

static void flush(void)
{
    CHECK_STATUS(OK, kafka_producer_flush(producer, 20000, &err));
}

static void send_text(int partition, const char *user, const char *text, int64_t at_ms)
{
    send("events", partition, user, text, strlen(text), at_ms);
}

/* Events [from, to) of the small world, a user always into the same partition. */
static void send_events(int from, int to)
{
    for (int i = from; i < to; i++) {
        struct event event = retrain_event(i);
        char text[200], user[16];

        (void)snprintf(user, sizeof user, "%.*s", TEXT_ARGS(event.user));
        (void)snprintf(text, sizeof text,
                       "{\"type\":\"click\",\"user\":\"%.*s\",\"item\":\"%.*s\",\"ts\":%lld}",
                       TEXT_ARGS(event.user), TEXT_ARGS(event.item), (long long)event.time_ms);
        send_text(atoi(event.user.at + 1) % PARTITIONS, user, text, event.time_ms);
    }
    flush();
}

static void send_example(const struct example *example)
{
    uint8_t bytes[4096];
    size_t count = example_encode(example, bytes, sizeof bytes);

    CHECK(count > 0);
    send("examples", 0, "0", bytes, count, example->time_ms > 0 ? example->time_ms : 0);
}

static struct role *open_role(void)
{
    struct role *role;

    CHECK_STATUS(OK, role_open(&role, config, &err));
    return role;
}

static int64_t read_so_far(const struct role *role)
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
static void follow(struct role *role, int64_t records)
{
    int64_t until_us = clock_monotonic_us() + PATIENCE_US;
    int count;

    while (read_so_far(role) < records) {
        CHECK(clock_monotonic_us() < until_us);
        CHECK_STATUS(OK, role_follow(role, 10, &count, &err));
    }
    CHECK_INT(records, read_so_far(role));
}

/* ---- reading ---- */

TEST(role_passes_over_what_is_no_event_and_no_example)
{
    static const char *const ugly[] = {
        "",
        "{",
        "[]",
        "null",
        "\xff\xfe",
        "{\"type\":\"click\"}",
        "{\"type\":\"click\",\"user\":\"u\",\"item\":\"i\",\"ts\":-1}",
        "{\"type\":\"click\",\"user\":\"u\",\"item\":\"i\",\"ts\":1e300}",
        "{\"type\":\"teleport\",\"user\":\"u\",\"item\":\"i\",\"ts\":1700000000000}",
        "{\"type\":\"impression\",\"user\":\"u\",\"items\":[],\"ts\":1700000000000}"};
    static const int count = (int)(sizeof ugly / sizeof ugly[0]);
    struct example mark = {.kind = EXAMPLE_MARK, .time_ms = retrain_time_ms(10)};
    struct role *role;
    uint8_t bytes[64];
    size_t mark_bytes = example_encode(&mark, bytes, sizeof bytes);

    begin();
    for (int i = 0; i < count; i++)
        send_text(i % PARTITIONS, "u", ugly[i], retrain_time_ms(0));
    send("events", 0, "u", NULL, 0, retrain_time_ms(0)); /* a tombstone */
    send_events(0, 50);
    for (size_t cut = 0; cut < mark_bytes; cut++) /* an example, cut short everywhere */
        send("examples", 0, "0", bytes, cut, 1);
    send_example(&mark);
    flush();
    role = open_role();
    follow(role, count + 1 + 50 + (int64_t)mark_bytes + 1);
    CHECK_INT(1, examples_counts(role->examples)->marks);
    CHECK_INT(0, examples_counts(role->examples)->shown);
    CHECK(sequences_users(learner_sequences(role->learner)) > 20);
    CHECK(role_caught_up(role));
    CHECK(sequences_get(learner_sequences(role->learner), rules_user_hash(&rules, text_of("u")))
              .count == 0);
    role_close(role);
    role_close(NULL);
    end();
}

TEST(role_counts_what_came_twice_once)
{
    struct role *role;
    struct learner *truth = retrain_learner();
    struct item_tables *tables;
    int compared = 0;

    begin();
    send_events(0, 100);
    send_events(0, 100); /* a producer that tried again */
    send_events(50, 120);
    role = open_role();
    follow(role, 270);
    retrain_feed(truth, 0, 120);
    tables = learner_tables(role->learner);
    CHECK_INT(item_tables_count(learner_tables(truth)), item_tables_count(tables));
    for (int item = 0; item < FIXTURE_ITEMS; item++) {
        int32_t here = item_tables_find(tables, retrain_item(item));
        int32_t there = item_tables_find(learner_tables(truth), retrain_item(item));

        CHECK((here == ITEM_NONE) == (there == ITEM_NONE));
        if (here == ITEM_NONE)
            continue;
        CHECK_INT(item_tables_clicks(learner_tables(truth), there),
                  item_tables_clicks(tables, here));
        compared++;
    }
    CHECK(compared > 30);
    for (int user = 0; user < FIXTURE_USERS; user++) {
        struct sequences_view a = sequences_get(learner_sequences(truth), retrain_user(user));
        struct sequences_view b = sequences_get(learner_sequences(role->learner),
                                                retrain_user(user));

        CHECK(a.count == b.count && a.running == b.running);
        for (int i = 0; i < a.count; i++)
            CHECK(user_entry_compare(&a.entries[i], &b.entries[i]) == 0);
    }
    learner_destroy(truth);
    role_close(role);
    end();
}

TEST(role_drops_what_is_too_late_and_forgets_who_is_erased)
{
    struct role *role;
    char text[200];

    begin();
    send_events(0, 40);
    for (int p = 0; p < PARTITIONS; p++) {
        (void)snprintf(text, sizeof text,
                       "{\"type\":\"click\",\"user\":\"late\",\"item\":\"i1\",\"ts\":%lld}",
                       (long long)(FIXTURE_BEGIN_MS - LATE_MS));
        send_text(p, "late", text, retrain_time_ms(40));
    }
    /* An erasure is never too late: who asks to be forgotten up to long ago is forgotten so far. */
    (void)snprintf(text, sizeof text, "{\"type\":\"erase\",\"user\":\"u2\",\"ts\":%lld}",
                   (long long)(FIXTURE_BEGIN_MS - LATE_MS));
    send_text(2 % PARTITIONS, "u2", text, retrain_time_ms(40));
    for (int user = 0; user < 2; user++) {
        (void)snprintf(text, sizeof text, "{\"type\":\"erase\",\"user\":\"u%d\",\"ts\":%lld}", user,
                       (long long)retrain_time_ms(100));
        send_text(user % PARTITIONS, user == 0 ? "u0" : "u1", text, retrain_time_ms(100));
    }
    send_events(41, 80);
    role = open_role();
    follow(role, 40 + 2 + 1 + 2 + 39);
    CHECK_INT(
        0, sequences_get(learner_sequences(role->learner), rules_user_hash(&rules, text_of("late")))
               .count);
    CHECK_INT(0, sequences_get(learner_sequences(role->learner), retrain_user(0)).count);
    CHECK_INT(0, sequences_get(learner_sequences(role->learner), retrain_user(1)).count);
    enum sequences_result result;
    struct user_entry old = {.item = 1, .time_ms = FIXTURE_BEGIN_MS - LATE_MS, .action = 2};
    CHECK_STATUS(OK, sequences_enter(learner_sequences(role->learner), retrain_user(2), &old,
                                     &result, &err));
    CHECK_INT(SEQUENCES_ERASED, result);
    CHECK(sequences_users(learner_sequences(role->learner)) > 10);
    role_close(role);
    end();
}

TEST(role_unites_an_impression_without_trace_with_its_labels)
{
    uint64_t rows[2] = {retrain_item(1), retrain_item(2)};
    int64_t shown_at_ms = retrain_time_ms(200);
    struct example shown = {.kind = EXAMPLE_SHOWN,
                            .id = 77,
                            .user = retrain_user(3),
                            .time_ms = shown_at_ms,
                            .request_time_ms = shown_at_ms,
                            .rows_count = 2,
                            .rows = rows};
    struct example label = {.kind = EXAMPLE_LABEL,
                            .id = 77,
                            .user = retrain_user(3),
                            .time_ms = shown_at_ms + 5,
                            .shown_at_ms = shown_at_ms,
                            .row = 1,
                            .labels_count = 1,
                            .action = FIXTURE_CLICK};
    struct example mark = {.kind = EXAMPLE_MARK,
                           .time_ms = shown_at_ms + retrain_rules()->join_window_ms + 1};
    struct role *role;
    char text[300];

    begin();
    send_events(0, 200);
    (void)snprintf(
        text, sizeof text,
        "{\"type\":\"impression\",\"user\":\"u3\",\"items\":[\"i1\",\"i2\"],\"ts\":%lld}",
        (long long)shown_at_ms);
    send_text(1, "u3", text, shown_at_ms);
    flush();
    role = open_role();
    follow(role, 201); /* the event first: it notes the counts */
    send_example(&label);
    send_example(&shown);
    send_example(&label);
    flush();
    follow(role, 204);
    CHECK_INT(0, examples_counts(role->examples)->without_counts);
    CHECK_INT(1, examples_pending(role->examples));
    send_example(&mark);
    send_events((int)((mark.time_ms - FIXTURE_BEGIN_MS) / FIXTURE_STEP_MS) + 1,
                (int)((mark.time_ms - FIXTURE_BEGIN_MS) / FIXTURE_STEP_MS) + 2);
    follow(role, 206);
    CHECK_INT(0, examples_pending(role->examples));
    CHECK_INT(1, lists_fresh(learner_shown_lists(role->learner)));
    const struct list *list = lists_fresh_at(learner_shown_lists(role->learner), 0);
    CHECK(list->labels[0] == 0 && list->labels[1] > 0);
    CHECK(list->raw[0] != 0 || list->raw[1] != 0);
    role_close(role);
    end();
}

/* ---- rounds, restarts ---- */

static void check_gate_page(const struct role *role, const char *part)
{
    struct http_client *client;
    struct text body;
    char url[80], text[ROLE_VERDICT_BYTES + GATE_REPORT_BYTES];
    int code;

    CHECK_STATUS(OK, http_client_create(&client, 5000, 1 << 16, &err));
    (void)snprintf(url, sizeof url, "http://127.0.0.1:%d/gate", role_admin_port(role));
    CHECK_STATUS(OK, http_client_get(client, url, &code, &body, &err));
    CHECK_INT(200, code);
    (void)snprintf(text, sizeof text, "%.*s", TEXT_ARGS(body));
    http_client_destroy(client);
    if (strstr(text, part) == NULL)
        test_fail(__FILE__, __LINE__, "no \"%s\" in \"%s\"", part, text);
}

static void flip_a_byte(const char *path)
{
    size_t bytes;
    char *whole = retrain_read(path, &bytes);

    whole[bytes / 2] ^= 1;
    retrain_write(path, whole, bytes);
    free(whole);
}

static const char *state_file(const char *name)
{
    static char path[500];
    size_t bytes;
    char *pointer = retrain_read(inside("state/checkpoint"), &bytes);

    pointer[strcspn(pointer, "\n")] = 0;
    (void)snprintf(path, sizeof path, "%s/state/%s/%s", test_folder(), pointer, name);
    free(pointer);
    return path;
}

static bool run_once(struct role *role)
{
    bool published;

    CHECK_STATUS(OK, role_run(role, true, &published, &err));
    return published;
}

TEST(role_publishes_tables_judges_refuses_with_a_reason_and_goes_on_after_a_restart)
{
    struct role *role;
    struct error other_err;
    struct role *other;
    int64_t steps;

    begin();
    send_events(0, 30);
    role = open_role();
    check_gate_page(role, "no round has ended yet");
    CHECK_STATUS(ERR_IN_USE, role_open(&other, config, &other_err));
    CHECK(strstr(other_err.text, "state") != NULL);
    role_close(other);
    follow(role, 30);
    CHECK(!run_once(role));
    CHECK_TEXT("v000001", role->version);
    CHECK(strstr(role_verdict(role), "at least 20 are needed to judge") != NULL);
    check_gate_page(role, "refused: ");
    check_gate_page(role, "REFUSED: ");
    steps = learner_progress(role->learner)->steps;
    role_close(role);

    send_events(30, 400);
    role = open_role();
    CHECK(role->rounds == 1 && strcmp(role->version, "v000001") == 0);
    CHECK_INT(30, read_so_far(role));
    CHECK_INT(steps, learner_progress(role->learner)->steps);
    for (int p = 0; p < PARTITIONS; p++) /* the rule of lateness goes on too */
        CHECK(role->watermarks_ms[p] > retrain_time_ms(0));
    follow(role, 400);
    bool published = run_once(role);
    CHECK(learner_progress(role->learner)->steps > steps);
    CHECK(strstr(role_verdict(role), "NDCG@10") != NULL);
    CHECK_TEXT(published ? "v000002" : "v000001", role->version);
    CHECK(published == (role->champion != NULL));
    check_gate_page(role, published ? "published v000002: NDCG@10" : "refused: NDCG@10");
    role_close(role);
    end();
}

TEST(role_with_nothing_to_learn_from_says_so_and_ends)
{
    struct role *role;

    begin();
    role = open_role();
    CHECK(!run_once(role));
    CHECK(strstr(role_verdict(role), "topic \"events\"") != NULL);
    CHECK(role->version[0] == 0);
    role_close(role);
    end();
}

TEST(role_begins_anew_from_the_bundle_when_its_checkpoint_is_damaged)
{
    static const char *const names[] = {"items", "base", "state"};
    struct role *role;

    begin_judging(100000);
    send_events(0, 100);
    role = open_role();
    follow(role, 100);
    CHECK(!run_once(role));
    role_close(role);
    for (int i = 0; i < 3; i++) {
        flip_a_byte(state_file(names[i]));
        role = open_role();
        CHECK(role->rounds == 0 && strcmp(role->version, "v000001") == 0);
        /* Counts and offsets are the bundle's; the rest is read again or comes anew. */
        CHECK(item_tables_count(learner_tables(role->learner)) > 30);
        CHECK_INT(100, read_so_far(role));
        CHECK_INT(0, sequences_users(learner_sequences(role->learner)));
        CHECK(!run_once(role)); /* and it saves a good one */
        role_close(role);
        role = open_role();
        CHECK_INT(1, role->rounds);
        role_close(role);
    }
    /* Without a bundle either: from the begin of the log. */
    flip_a_byte(state_file("state"));
    CHECK_STATUS(OK, file_remove_tree(inside("models"), &err));
    role = open_role();
    CHECK(role->version[0] == 0);
    CHECK_INT(0, read_so_far(role));
    follow(role, 100);
    CHECK(!run_once(role));
    CHECK_TEXT("v000001", role->version);
    role_close(role);
    end();
}

TEST(role_names_a_bundle_or_folder_that_it_cannot_use)
{
    struct role *role;
    bool published;
    char path[400];

    begin_judging(100000);
    send_events(0, 50);
    /* models is a file: nothing can be published. */
    retrain_write(inside("models"), "x", 1);
    CHECK(role_open(&role, config, &err) != OK || role_run(role, true, &published, &err) != OK);
    CHECK(strstr(err.text, "models") != NULL);
    role_close(role);
    CHECK(remove(inside("models")) == 0);
    role = open_role();
    CHECK(!run_once(role));
    role_close(role);
    (void)snprintf(path, sizeof path, "%s", inside("models/v000001/items"));
    flip_a_byte(path);
    CHECK_STATUS(ERR_CORRUPT, role_open(&role, config, &err));
    CHECK(strstr(err.text, path) != NULL);
    role_close(role);
    end();
}

static enum round_result make_round(struct role *role)
{
    enum round_result result = RESULTS;
    bool over = false;

    CHECK_STATUS(OK, role_begin_round(role, CAUSE_VOLUME, &err));
    while (!over)
        CHECK_STATUS(OK, role_go_on(role, &over, &result, &err));
    CHECK(result < RESULTS && role->round.state == ROUND_IDLE);
    return result;
}

TEST(role_judges_by_as_many_as_the_gate_asks_for_where_nothing_more_comes)
{
    struct role *role;

    begin_judging(60);
    send_events(0, 180); /* a third of them would be just as many, less what the begin leaves out */
    role = open_role();
    (void)run_once(role);
    CHECK(strstr(role->report, "judged by") != NULL);
    role_close(role);
    end();
}

TEST(role_outlives_a_models_folder_that_it_cannot_write_to)
{
    enum round_result result = RESULT_REFUSED;
    struct role *role;
    int sent = 0;

    begin();
    send_events(0, sent = 400);
    role = open_role();
    follow(role, sent);
    CHECK_STATUS(OK, role_publish_tables(role, &err));
    CHECK_INT(0, rename(inside("models"), inside("models.away")));
    retrain_write(inside("models"), "x", 1);
    /* Rounds until a challenger passes the gate, in a world that is easy to learn. */
    for (int rounds = 0; rounds < 20 && result == RESULT_REFUSED; rounds++) {
        send_events(sent, sent + 400);
        follow(role, sent += 400);
        result = make_round(role);
    }
    CHECK(result == RESULT_FAILED);
    CHECK(strstr(role_verdict(role), "failed: the gate passed, but") != NULL);
    CHECK(strstr(role_verdict(role), "models") != NULL);
    CHECK_TEXT("v000001", role->version);
    CHECK(role->champion == NULL); /* nobody serves it */
    /* There is room again: the same weights, judged by the same choices, are published. */
    CHECK(remove(inside("models")) == 0);
    CHECK_INT(0, rename(inside("models.away"), inside("models")));
    for (int rounds = 0; rounds < 5 && result != RESULT_PUBLISHED; rounds++)
        result = make_round(role); /* intervals are drawn anew each time */
    CHECK(result == RESULT_PUBLISHED);
    CHECK_TEXT("v000002", role->version);
    CHECK(role->champion != NULL);
    role_close(role);
    end();
}

TEST(role_outlives_a_pointer_that_names_no_bundle)
{
    enum round_result result = RESULT_REFUSED;
    struct role *role;
    int sent = 0;

    begin();
    send_events(0, sent = 400);
    role = open_role();
    follow(role, sent);
    CHECK_STATUS(OK, role_publish_tables(role, &err));
    retrain_write(inside("models/current"), "../../etc\n", 10);
    for (int rounds = 0; rounds < 20 && result == RESULT_REFUSED; rounds++) {
        send_events(sent, sent + 400);
        follow(role, sent += 400);
        result = make_round(role);
    }
    CHECK(result == RESULT_FAILED);
    CHECK(strstr(role_verdict(role), "../../etc") != NULL);
    retrain_write(inside("models/current"), "v000001\n", 8); /* as a rollback would */
    for (int rounds = 0; rounds < 5 && result != RESULT_PUBLISHED; rounds++)
        result = make_round(role);
    CHECK(result == RESULT_PUBLISHED);
    CHECK_TEXT("v000002", role->version);
    role_close(role);
    end();
}

/* A bundle with a model over the items of the first events. */
static void publish_champion(void)
{
    struct learner *learner = retrain_learner();
    struct publish_request request;
    struct gate gate;
    char version[MODEL_VERSION_MAX];
    bool worked;

    retrain_feed(learner, 0, 100);
    CHECK_STATUS(OK, learner_step(learner, INT64_MAX, &worked, &err));
    CHECK_STATUS(OK, learner_ready(learner, &err));
    request = (struct publish_request){.root = inside("models"),
                                       .preset = "small",
                                       .model = learner_model(learner),
                                       .tables = learner_tables(learner),
                                       .pool = learner_recalled_lists(learner),
                                       .item_seed = FIXTURE_SEED,
                                       .created_at_ms = FIXTURE_BEGIN_MS,
                                       .keep = 10};
    gate_begin(&gate);
    CHECK_STATUS(OK, publish_bundle(&request, &gate, version, &err));
    learner_destroy(learner);
}

/* The delta beside the bundles fits `version` and makes the role's tables of it. */
static void check_delta(struct role *role, const char *version)
{
    struct item_tables *tables;
    uint64_t sequence;
    char path[400];

    (void)snprintf(path, sizeof path, "%s/%s/items", inside("models"), version);
    CHECK_STATUS(OK, item_tables_load(&tables, path, &err));
    CHECK_STATUS(OK, item_tables_apply_delta(tables, inside("models/items.delta"), version,
                                             &sequence, &err));
    CHECK_INT(item_tables_count(learner_tables(role->learner)), item_tables_count(tables));
    for (int32_t i = 0; i < item_tables_count(tables); i++)
        CHECK_INT(item_tables_clicks(learner_tables(role->learner), i),
                  item_tables_clicks(tables, i));
    item_tables_destroy(tables);
}

TEST(role_follows_a_rollback_that_somebody_else_made)
{
    struct role *role;

    begin_judging(100000);
    publish_champion();
    publish_champion();
    send_events(0, 150);
    role = open_role();
    follow(role, 150);
    CHECK_TEXT("v000002", role->version);
    CHECK_STATUS(OK, bundle_set_current(inside("models"), "v000001", &err));
    CHECK(!run_once(role));
    CHECK_TEXT("v000001", role->version);
    CHECK(role->champion != NULL && role->delta_sequence >= 1);
    check_delta(role, "v000001");
    /* One that nobody can serve changes nothing. */
    retrain_write(inside("models/v000002/items"), "x", 1);
    CHECK_STATUS(OK, bundle_set_current(inside("models"), "v000002", &err));
    role->delta_us = 0; /* it is time to look */
    CHECK(!run_once(role));
    CHECK_TEXT("v000001", role->version);
    CHECK(role->champion != NULL);
    role_close(role);
    end();
}

TEST(role_sends_deltas_that_fit_after_a_restart)
{
    struct role *role;
    uint64_t before;

    begin_judging(100000);
    send_events(0, 30);
    role = open_role();
    follow(role, 30);
    CHECK(!run_once(role));
    send_events(30, 200); /* new items, in the checkpoint and not in the bundle */
    follow(role, 200);
    CHECK(!run_once(role));
    role->delta_us = 0; /* it is time for one */
    CHECK(!run_once(role));
    before = role->delta_sequence;
    CHECK(before >= 1);
    role_close(role);
    role = open_role();
    CHECK_INT((int64_t)before, (int64_t)role->delta_sequence); /* a number names one state */
    send_events(200, 210);
    follow(role, 210);
    CHECK_TEXT("v000001", role->version);
    CHECK(!run_once(role));
    check_delta(role, "v000001");
    CHECK(role->delta_sequence > before);
    role_close(role);
    end();
}

/* Killed between a publication and the next checkpoint: it goes on from before that bundle, which
 * knows items that are yet to be read again, by two partitions in whatever order. */
TEST(role_sends_deltas_that_fit_a_bundle_of_after_its_checkpoint)
{
    struct role *role;

    begin_judging(100000);
    send_events(0, 30);
    role = open_role();
    follow(role, 30);
    CHECK(!run_once(role));
    role_close(role);
    send_events(30, 200); /* new items */
    role = open_role();
    follow(role, 200);
    CHECK_STATUS(OK, role_publish_tables(role, &err));
    CHECK_TEXT("v000002", role->version);
    role_close(role); /* nothing was written after it */
    role = open_role();
    CHECK_INT(30, read_so_far(role));
    CHECK_TEXT("v000002", role->version);
    CHECK_STATUS(OK, publish_delta(inside("models"), learner_tables(role->learner), role->version,
                                   ++role->delta_sequence, &err));
    check_delta(role, "v000002");
    follow(role, 200);
    role->delta_us = 0; /* it is time for one */
    CHECK(!run_once(role));
    check_delta(role, "v000002");
    role_close(role);
    end();
}

/* ---- drift ---- */

TEST(role_watches_where_choices_stand_in_the_champions_order)
{
    struct role *role;
    int sent = 0;

    begin();
    publish_champion();
    role = open_role();
    CHECK(role->champion != NULL && role->drift.loss.count == 0);
    /* In small parts: of many at once only some are looked at. */
    while (role->drift.served_count < DRIFT_WINDOW && sent < 3000) {
        send_events(sent, sent + 60);
        sent += 60;
        follow(role, sent);
    }
    CHECK(role->drift.served_count >= DRIFT_WINDOW && sent > 2 * DRIFT_WINDOW);
    CHECK(role->drift.psi > 0 && isfinite(role->drift.psi));
    CHECK(role->drift.recent_loss > 0 && isfinite(role->drift.recent_loss));
    /* Another champion: the last figure stays, the series begins anew. */
    double psi = role->drift.psi;
    CHECK_STATUS(OK, role_watch(role, &err));
    CHECK(role->drift.psi == psi && role->drift.served_count == 0);
    send_events(sent, sent + 60);
    follow(role, sent + 60);
    CHECK(role->drift.served_count > 0);
    role_close(role);
    end();
}

/* ---- the catalogue ---- */

static void send_item(const char *item, const char *record)
{
    send("items", (int)(strlen(item) % 2), item, record, record == NULL ? 0 : strlen(record), 1);
}

TEST(role_reads_what_the_catalogue_says_of_items_nobody_has_seen)
{
    int64_t until_us = clock_monotonic_us() + PATIENCE_US;
    struct event first = retrain_event(0);
    char known[300], name[64];
    struct item_tables *tables;
    struct role *role;
    int32_t fresh, gone;
    int count;

    catalogue = true;
    reads_items = "retrain.cold_items=100";
    begin();
    (void)snprintf(name, sizeof name, "%.*s", TEXT_ARGS(first.item));
    (void)snprintf(known, sizeof known, "{\"item\":\"%s\",\"category\":\"shoes\"}", name);
    send_events(0, 200);
    send_item(name, known);
    send_item("ugly", "{");
    send_item("fresh", "{\"item\":\"fresh\",\"category\":\"shoes\",\"text\":\"a new one\"}");
    send_item("nothing", "{\"item\":\"nothing\"}");
    send_item("gone", "{\"item\":\"gone\",\"category\":\"shoes\"}");
    flush();
    role = open_role();
    catalogue = false;
    reads_items = NULL;
    follow(role, 200);
    tables = learner_tables(role->learner);
    CHECK(role->items_topic != NULL);
    for (fresh = gone = ITEM_NONE; fresh == ITEM_NONE || gone == ITEM_NONE;) {
        CHECK(clock_monotonic_us() < until_us);
        CHECK_STATUS(OK, role_follow(role, 10, &count, &err));
        fresh = item_tables_find(tables, rules_item_hash(&rules, text_of("fresh")));
        gone = item_tables_find(tables, rules_item_hash(&rules, text_of("gone")));
    }
    CHECK(item_tables_row(tables, fresh) > 0 && !item_tables_admitted(tables, fresh));
    CHECK(item_tables_find(tables, rules_item_hash(&rules, text_of("nothing"))) == ITEM_NONE);
    CHECK(!item_tables_gone(tables, gone));
    send_item("gone", NULL); /* a tombstone */
    flush();
    while (!item_tables_gone(tables, gone)) {
        CHECK(clock_monotonic_us() < until_us);
        CHECK_STATUS(OK, role_follow(role, 10, &count, &err));
    }
    role_close(role);
    end();
}

TEST(role_leaves_the_items_topic_alone_by_default)
{
    struct role *role;

    catalogue = true;
    begin();
    role = open_role();
    CHECK(role->items_topic == NULL);
    role_close(role);
    end();
    reads_items = "model.text=32";
    begin();
    role = open_role();
    CHECK(role->items_topic != NULL);
    role_close(role);
    end();
    reads_items = NULL;
    catalogue = false;
}

TEST(role_with_one_round_alone_waits_a_while_for_the_catalogue)
{
    int64_t until_us = clock_monotonic_us() + PATIENCE_US;
    struct role *role;
    int count;

    catalogue = true;
    reads_items = "retrain.cold_items=100";
    begin();
    for (int i = 0; i < 4; i++)
        send_item("shoe", "{\"item\":\"shoe\",\"category\":\"shoes\"}");
    flush();
    role = open_role();
    CHECK(role_caught_up(role)); /* later rounds will know it */
    role->once = true;
    role->round_ended_us = clock_monotonic_us();
    CHECK(!role_caught_up(role));
    role->round_ended_us -= INT64_C(3600) * 1000000;
    CHECK(role_caught_up(role)); /* not for ever */
    role->round_ended_us = clock_monotonic_us() + INT64_C(3600) * 1000000;
    while (!role_caught_up(role)) {
        CHECK(clock_monotonic_us() < until_us);
        CHECK_STATUS(OK, role_follow(role, 10, &count, &err));
    }
    role_close(role);
    end();
    catalogue = false;
    reads_items = NULL;
}
