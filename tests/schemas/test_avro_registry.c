/*
 * Tests schemas/avro_registry, and event_decode() with Avro on top of it, against a real HTTP
 * server: ids that are there, are not, or give no events; a registry that is down, lies, or wants a
 * password; files; what is asked again and when.
 */
#include "schemas/avro_registry.h"

#include "ops/clock.h"
#include "ops/file.h"
#include "ops/http_server.h"
#include "ops/json_writer.h"
#include "tests/support/avro_bytes.h"
#include "tests/test.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define NOW_MS   INT64_C(1700000001000)
#define PATIENCE 30000
#define CLICK_AVSC                                                                                 \
    "{\"type\":\"record\",\"name\":\"Click\",\"fields\":["                                         \
    "{\"name\":\"user\",\"type\":\"string\"},{\"name\":\"item\",\"type\":\"string\"},"             \
    "{\"name\":\"ts\",\"type\":\"long\"},{\"name\":\"type\",\"type\":\"string\"}]}"

static struct http_server *server;
static struct config *config;
static struct event_schema *schema;
static struct event_decoder *decoder;
static struct event event;
static enum refusal why;
static struct error err;

/* By the server's thread. */
static atomic_int asked, down; /* down: what to answer instead */
static char secret_seen[64];
static atomic_bool registered; /* id 9 */
static atomic_bool hold;       /* it does not answer */

static void answer_schema(struct http_request *request, const char *avsc, const char *type)
{
    static char text[4096];
    struct json_writer w;

    json_writer_init(&w, text, sizeof text);
    json_object_begin(&w);
    json_text(&w, "schema", text_of(avsc));
    if (type != NULL)
        json_text(&w, "schemaType", text_of(type));
    json_object_end(&w);
    http_answer(request, 200, "application/vnd.schemaregistry.v1+json", json_writer_text(&w), NULL);
}

static void serve(struct http_request *request, void *context)
{
    struct text path = http_request_path(request);
    int id = atoi(path.at + strlen("/schemas/ids/"));

    (void)context;
    (void)snprintf(secret_seen, sizeof secret_seen, "%.*s",
                   TEXT_ARGS(http_request_header(request, "Authorization")));
    while (hold)
        (void)nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    atomic_fetch_add(&asked, 1);
    if (down != 0)
        http_answer(request, down, "text/html", text_of("<html>not here</html>"), NULL);
    else if (id == 7 || (id == 9 && registered))
        answer_schema(request, CLICK_AVSC, NULL);
    else if (id == 8)
        answer_schema(request, "syntax = \"proto3\";", "PROTOBUF");
    else if (id == 10)
        answer_schema(request, "{\"type\":\"record\"}", "AVRO");
    else if (id == 11)
        http_answer(request, 200, NULL, text_of("{\"subject\":\"x\"}"), NULL);
    else if (id == 12)
        http_answer(request, 200, NULL,
                    text_of("{\"schema\":\"\\\"A\\\"\",\"references\":[{\"name\":\"A\"}]}"), NULL);
    else
        http_answer(request, 404, "application/json",
                    text_of("{\"error_code\":40403,\"message\":\"Schema not found\"}"), NULL);
}

static const struct http_route routes[] = {{"GET", "/schemas/ids/*", serve}, {0}};

static void open_server(void)
{
    const struct http_server_options options = {.listen = "127.0.0.1:0", .routes = routes};

    down = 0;
    asked = 0;
    registered = false;
    CHECK_STATUS(OK, http_server_open(&server, &options, &err));
}

static enum status configure(const char *yaml)
{
    const struct config_row *tables[] = {events_config_rows, NULL};
    char path[128], *report = NULL;
    enum status status;

    (void)snprintf(path, sizeof path, "%s/config.yaml", test_folder());
    CHECK_STATUS(OK, file_replace(path, yaml, strlen(yaml), &err));
    status = config_load(&config, tables, path, NULL, 0, &report, &err);
    free(report);
    if (status == OK)
        status = event_schema_create(&schema, config, &err);
    return status;
}

/* more: further lines of the section. */
static void start(const char *format, const char *more)
{
    char yaml[512];

    open_server();
    (void)snprintf(yaml, sizeof yaml,
                   "events:\n  key: any\n  format: %s\n  registry: http://127.0.0.1:%d/\n%s",
                   format, http_server_port(server), more);
    CHECK_STATUS(OK, configure(yaml));
    CHECK_STATUS(OK, event_decoder_create(&decoder, schema, &err));
    event_decoder_insist(decoder, PATIENCE);
}

static void stop(void)
{
    event_decoder_destroy(decoder);
    event_schema_destroy(schema);
    config_destroy(config);
    http_server_close(server, 0);
    clock_fake_off();
    decoder = NULL;
    server = NULL;
}

/* One click in the frame of a schema's id. */
static enum status decode(uint32_t id)
{
    static struct avro_bytes a; /* the event points into it */

    a.bytes = 0;
    avro_put_frame(&a, id);
    avro_put_text(&a, "u1");
    avro_put_text(&a, "i7");
    avro_put_long(&a, 1700000000123);
    avro_put_text(&a, "click");
    return event_decode(decoder, avro_bytes_text(&a), NOW_MS, &event, &why, &err);
}

static void check_refused(enum refusal want, uint32_t id)
{
    CHECK_STATUS(ERR_MALFORMED, decode(id));
    CHECK_INT(want, why);
}

TEST(avro_events_are_decoded_by_the_schema_of_their_id)
{
    start("avro", "");
    CHECK_STATUS(OK, decode(7));
    CHECK_INT(REFUSAL_NONE, why);
    CHECK_INT(EVENT_ACTION, event.kind);
    CHECK_INT(2, event.action);
    CHECK_INT(1700000000123, event.time_ms);
    CHECK(text_equal(text_of("u1"), event.user) && text_equal(text_of("i7"), event.item));
    CHECK_STATUS(OK, decode(7));
    CHECK_STATUS(OK, decode(7));
    CHECK_INT(1, asked); /* once an id */
    check_refused(REFUSAL_NO_SCHEMA, 6);
    check_refused(REFUSAL_BAD_SCHEMA, 8);
    CHECK(strstr(err.text, "PROTOBUF") != NULL);
    check_refused(REFUSAL_BAD_SCHEMA, 10);
    check_refused(REFUSAL_BAD_SCHEMA, 12);
    CHECK(strstr(err.text, "refers to other schemas") != NULL);
    CHECK_STATUS(OK, decode(7));
    CHECK_INT(5, asked);
    CHECK_STATUS(ERR_CONFIG, event_schema_check_written(schema, &err));
    stop();
}

TEST(avro_events_pass_the_same_judgement_as_json)
{
    struct avro_bytes a = {0};

    start("avro", "");
    avro_put_frame(&a, 7);
    avro_put_text(&a, ""), avro_put_text(&a, "i7"), avro_put_long(&a, 1),
        avro_put_text(&a, "click");
    CHECK_STATUS(ERR_MALFORMED,
                 event_decode(decoder, avro_bytes_text(&a), NOW_MS, &event, &why, &err));
    CHECK_INT(REFUSAL_BAD_USER, why);
    a.bytes = 5;
    avro_put_text(&a, "u"), avro_put_text(&a, "i7"), avro_put_long(&a, 1),
        avro_put_text(&a, "click");
    CHECK_STATUS(ERR_MALFORMED,
                 event_decode(decoder, avro_bytes_text(&a), NOW_MS, &event, &why, &err));
    CHECK_INT(REFUSAL_BAD_TIME, why);
    a.bytes = 5;
    avro_put_text(&a, "u"), avro_put_text(&a, "i7"), avro_put_long(&a, NOW_MS),
        avro_put_text(&a, "?");
    CHECK_STATUS(ERR_MALFORMED,
                 event_decode(decoder, avro_bytes_text(&a), NOW_MS, &event, &why, &err));
    CHECK_INT(REFUSAL_UNKNOWN_ACTION, why);
    avro_put_byte(&a, 0);
    CHECK_STATUS(ERR_MALFORMED,
                 event_decode(decoder, avro_bytes_text(&a), NOW_MS, &event, &why, &err));
    CHECK_INT(REFUSAL_NOT_AVRO, why);
    for (size_t bytes = 0; bytes < 5; bytes++) {
        CHECK_STATUS(ERR_MALFORMED,
                     event_decode(decoder, (struct text){a.at, bytes}, NOW_MS, &event, &why, &err));
        CHECK_INT(REFUSAL_NOT_AVRO, why);
    }
    CHECK_STATUS(ERR_MALFORMED,
                 event_decode(decoder, text_of("{\"user\":\"u\"}"), NOW_MS, &event, &why, &err));
    CHECK_INT(REFUSAL_NOT_AVRO, why);
    stop();
}

TEST(avro_and_json_are_told_apart_where_both_may_come)
{
    static const char json[] = "{\"user\":\"u2\",\"item\":\"i\",\"type\":\"view\",\"ts\":"
                               "1700000000000}";

    start("auto", "");
    CHECK_STATUS(OK, decode(7));
    CHECK_STATUS(OK, event_decode(decoder, text_of(json), NOW_MS, &event, &why, &err));
    CHECK(text_equal(text_of("u2"), event.user));
    CHECK_STATUS(ERR_MALFORMED, event_decode(decoder, text_of(""), NOW_MS, &event, &why, &err));
    CHECK_INT(REFUSAL_NOT_JSON, why);
    CHECK_STATUS(OK, event_schema_check_written(schema, &err));
    stop();
}

/* A registry that does not answer says nothing of the records. */
TEST(avro_events_wait_for_a_registry_that_is_down)
{
    static const int answers[] = {500, 503, 401, 404, 302};

    start("avro", "");
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
        event_decoder_insist(decoder, 1);
        down = answers[i];
        CHECK_STATUS(ERR_UNAVAILABLE, decode(7));
        CHECK_INT(REFUSAL_NONE, why);
    }
    event_decoder_insist(decoder, 1);
    CHECK_STATUS(ERR_UNAVAILABLE, decode(11)); /* 200 without a schema is no registry's answer */
    down = 0;
    event_decoder_insist(decoder, PATIENCE);
    CHECK_STATUS(OK, decode(7));
    stop();
}

TEST(avro_events_wait_for_nobody_at_all)
{
    CHECK_STATUS(OK, configure("events: {format: avro, registry: \"http://127.0.0.1:1\"}\n"));
    CHECK_STATUS(OK, event_decoder_create(&decoder, schema, &err));
    CHECK_STATUS(ERR_UNAVAILABLE, decode(7));
    CHECK_INT(REFUSAL_NONE, why);
    stop();
}

TEST(avro_registry_is_asked_by_doctor)
{
    bool was_asked;

    start("avro", "");
    CHECK_STATUS(OK, event_decoder_ask_registry(decoder, &was_asked, &err)); /* a 404 of its own */
    CHECK(was_asked && asked == 1);
    down = 404;
    CHECK_STATUS(ERR_UNAVAILABLE, event_decoder_ask_registry(decoder, &was_asked, &err));
    down = 503;
    CHECK_STATUS(ERR_UNAVAILABLE, event_decoder_ask_registry(decoder, &was_asked, &err));
    stop();
}

TEST(avro_schema_that_is_refused_is_asked_for_again_later)
{
    start("avro", "");
    clock_fake_set(NOW_MS, 1000000);
    check_refused(REFUSAL_NO_SCHEMA, 9);
    registered = true;
    clock_fake_advance_us(9000000);
    check_refused(REFUSAL_NO_SCHEMA, 9);
    CHECK_INT(1, asked);
    clock_fake_advance_us(2000000);
    CHECK_STATUS(OK, decode(9));
    CHECK_INT(2, asked);
    stop();
}

/* Strangers' ids push out no plan, and are remembered beyond the rows there are. */
TEST(avro_ids_that_are_refused_push_out_no_other)
{
    start("avro", "");
    CHECK_STATUS(OK, decode(7));
    for (int round = 0; round < 2; round++) {
        for (uint32_t id = 1000; id < 1000 + 2 * AVRO_IDS_MAX; id++)
            check_refused(REFUSAL_NO_SCHEMA, id);
        check_refused(REFUSAL_BAD_SCHEMA, 10);
        CHECK_STATUS(OK, decode(7));
    }
    CHECK_INT(2 + 2 * AVRO_IDS_MAX, asked);
    stop();
}

TEST(avro_ids_that_were_refused_long_ago_are_asked_for_again)
{
    start("avro", "");
    clock_fake_set(NOW_MS, 1000000);
    check_refused(REFUSAL_NO_SCHEMA, 9);
    for (uint32_t id = 1000; id < 1000 + AVRO_IDS_MAX; id++)
        check_refused(REFUSAL_NO_SCHEMA, id); /* it has no row any more */
    registered = true;
    check_refused(REFUSAL_NO_SCHEMA, 9);
    CHECK_INT(1 + AVRO_IDS_MAX, asked);
    clock_fake_advance_us(11000000);
    CHECK_STATUS(OK, decode(9));
    CHECK_INT(2 + AVRO_IDS_MAX, asked);
    stop();
}

/* As a loop decodes: without waiting. */
static enum status decode_in_the_end(uint32_t id)
{
    enum status status = ERR_UNAVAILABLE;

    for (int i = 0; i < PATIENCE && status == ERR_UNAVAILABLE; i++) {
        status = decode(id);
        if (status == ERR_UNAVAILABLE)
            (void)nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    return status;
}

static void start_hasty(void)
{
    start("avro", "");
    event_decoder_destroy(decoder);
    CHECK_STATUS(OK, event_decoder_create(&decoder, schema, &err));
    clock_fake_set(NOW_MS, 1000000);
}

/* The registry answers when it is let: whoever waits for it never ends. */
TEST(avro_decoder_of_a_loop_does_not_wait)
{
    start_hasty();
    hold = true;
    for (int i = 0; i < 100; i++) {
        CHECK_STATUS(ERR_UNAVAILABLE, decode(7));
        CHECK_INT(REFUSAL_NONE, why);
    }
    hold = false;
    CHECK_STATUS(OK, decode_in_the_end(7));
    CHECK_INT(1, asked);
    stop();
}

TEST(avro_ids_that_nobody_knows_are_asked_for_at_a_rate)
{
    start_hasty();
    for (uint32_t id = 1000; id < 1000 + AVRO_UNKNOWN_BURST + 1; id++)
        CHECK_STATUS(ERR_MALFORMED, decode_in_the_end(id));
    CHECK_INT(AVRO_UNKNOWN_BURST + 1, asked);
    for (uint32_t id = 5000; id < 9000; id++) { /* at once, and unasked */
        CHECK_STATUS(ERR_MALFORMED, decode(id));
        CHECK_INT(REFUSAL_NO_SCHEMA, why);
    }
    CHECK(strstr(err.text, "too many ids are unknown") != NULL);
    CHECK_STATUS(ERR_MALFORMED, decode(7)); /* nobody can know that it is a good one */
    CHECK_INT(AVRO_UNKNOWN_BURST + 1, asked);
    clock_fake_advance_us(1000000);
    CHECK_STATUS(OK, decode_in_the_end(7));
    CHECK_STATUS(ERR_MALFORMED,
                 decode_in_the_end(5000)); /* what was not asked was not remembered */
    CHECK_INT(AVRO_UNKNOWN_BURST + 3, asked);
    stop();
}

TEST(avro_registry_is_told_the_password_of_the_moment)
{
    char path[128], more[256];

    (void)snprintf(path, sizeof path, "%s/secret", test_folder());
    CHECK_STATUS(OK, file_replace(path, "ann:one\n", 8, &err));
    (void)snprintf(more, sizeof more, "  registry_auth: \"file:%s\"\n", path);
    start("avro", more);
    CHECK_STATUS(OK, decode(7));
    CHECK_TEXT("Basic YW5uOm9uZQ==", secret_seen);
    CHECK_STATUS(OK, file_replace(path, "ann:two\n", 8, &err));
    check_refused(REFUSAL_NO_SCHEMA, 5);
    CHECK_TEXT("Basic YW5uOnR3bw==", secret_seen);
    CHECK_INT(0, remove(path)); /* a secret that is missing is no answer, either */
    event_decoder_insist(decoder, 1);
    CHECK_STATUS(ERR_UNAVAILABLE, decode(4));
    stop();
}

TEST(avro_schemas_come_from_files_before_the_registry)
{
    char path[160], yaml[256];

    (void)snprintf(path, sizeof path, "%s/21.avsc", test_folder());
    CHECK_STATUS(OK, file_replace(path, CLICK_AVSC, strlen(CLICK_AVSC), &err));
    (void)snprintf(yaml, sizeof yaml, "  schemas: %s\n", test_folder());
    start("avro", yaml);
    CHECK_STATUS(OK, decode(21));
    CHECK_INT(0, asked);
    CHECK_STATUS(OK, decode(7));
    CHECK_INT(1, asked);
    stop();

    (void)snprintf(yaml, sizeof yaml, "events: {format: avro, schemas: \"%s\"}\n", test_folder());
    CHECK_STATUS(OK, configure(yaml));
    CHECK_STATUS(OK, event_decoder_create(&decoder, schema, &err));
    event_decoder_insist(decoder, PATIENCE);
    CHECK_STATUS(OK, decode(21));
    check_refused(REFUSAL_NO_SCHEMA, 7);
    stop();
}

TEST(avro_configuration_is_checked)
{
    CHECK_STATUS(ERR_CONFIG, configure("events: {format: avro}\n"));
    config_destroy(config);
    CHECK_STATUS(ERR_CONFIG, configure("events: {format: auto, registry: \"kafka:9092\"}\n"));
    config_destroy(config);
    CHECK_STATUS(OK, configure("events: {registry: \"http://r\"}\n")); /* format is json */
    CHECK_STATUS(OK, event_schema_check_written(schema, &err));
    event_schema_destroy(schema);
    config_destroy(config);
}
