/*
 * Tests `freshet config check` and `config show` with the rows and rules of all folders, as an
 * operator calls them: every mistake in one go, each with its place, in text and in JSON.
 */
#include "features/features_main.h"
#include "features/redis_connection.h"
#include "features/redis_target.h"
#include "features/robot.h"
#include "ingest/ingest_config.h"
#include "kernels/backend_doctor.h"
#include "kernels/model_rows.h"
#include "ops/file.h"
#include "ops/json.h"
#include "ops/kafka_consumer.h"
#include "ops/ops_main.h"
#include "retrain/retrain_main.h"
#include "schemas/event.h"
#include "scorer/serve_main.h"
#include "tests/support/command_run.h"
#include "tests/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct command *const *const commands[] = {ops_commands, NULL};
static const struct config_row *const config_tables[] = {ops_config_rows,      kafka_config_rows,
                                                         redis_config_rows,    events_config_rows,
                                                         features_config_rows, ingest_config_rows,
                                                         model_config_rows,    serve_config_rows,
                                                         retrain_config_rows,  NULL};
static const struct doctor_check *const checks[] = {NULL};
static const struct config_rule *const rules[] = {
    ops_config_rules,    kafka_config_rules,   redis_config_rules,
    events_config_rules, ingest_config_rules,  robot_config_rules,
    serve_config_rules,  backend_config_rules, NULL};
static const struct command_tables tables = {commands, config_tables, checks, rules};

static struct command_result result;
static char path[200];

static int check_yaml(const char *yaml, const char *more)
{
    char words[700];
    struct error err;

    (void)snprintf(path, sizeof path, "%s/f.yaml", test_folder());
    CHECK_STATUS(OK, file_replace(path, yaml, strlen(yaml), &err));
    (void)snprintf(words, sizeof words, "config check --config %s%s", path, more);
    command_run(&result, &tables, words);
    return result.code;
}

/* One line "PATH:place: text" among those told. */
static void check_told(const char *place, const char *text)
{
    char line[600];

    (void)snprintf(line, sizeof line, "%s%s: %s", path, place, text);
    if (strstr(result.err, line) == NULL)
        test_fail(__FILE__, __LINE__, "\"%s\" is not told: %s", line, result.err);
}

static const char wrong[] =
    "kafka:\n"
    "  brokers: \"a:9092,b:99999\"\n"
    "  borkers: x\n"
    "  linger: soon\n"
    "  properties: [socket.timeout.sm=5000, acks=0, sasl.password=hunter2]\n"
    "redis: {url: \"http://x\"}\n"
    "events:\n"
    "  registry: http://h:notaport\n"
    "  schemas: /nowhere/at/all\n"
    "  mapping:\n"
    "    user: actor\n"
    "    time: {path: ts}\n"
    "    action: {map: {A: buyy}, default: sell}\n"
    "  actions:\n"
    "    click: {code: 2}\n"
    "    buy: {label: 3}\n";

/* Names, values, rules and files in one go. */
TEST(config_check_tells_every_mistake_at_once_each_with_its_place)
{
    CHECK_INT(EXIT_USAGE,
              check_yaml(wrong, " --set serve.listen=nowhere --set serve.history_cache=64KB"));
    check_told(":2:12", "kafka.brokers: \"b:99999\" has a port outside 1..65535");
    check_told(":3:3", "unknown key \"kafka.borkers\"; did you mean \"kafka.brokers\"?");
    check_told(":4:11", "kafka.linger is \"soon\"");
    check_told(":5:15", "kafka.properties: Kafka property \"socket.timeout.sm\" is unknown");
    check_told(":5:15", "kafka.properties: Kafka property \"acks\" is set by freshet itself");
    check_told(":5:15", "kafka.properties: sasl.password is given as kafka.security.password");
    check_told(":6:14", "redis.url: address of redis cannot be used: unknown scheme");
    check_told(":8:13", "events.registry: \"http://h:notaport\" names no host and port");
    check_told(":9:12", "events.schemas: \"/nowhere/at/all\": No such file");
    check_told(":11:11", "events.mapping.user: JSON path \"actor\" must begin with /");
    check_told(":12:18", "events.mapping.time.path: JSON path \"ts\"");
    check_told(":13:23", "events.mapping.action.map.A: \"buyy\" is no action");
    check_told(":13:39", "events.mapping.action.default: \"sell\" is no action");
    check_told(":16:5", "events.actions.buy.code: action \"buy\" has no code");
    CHECK(strstr(result.err, "--set: serve.listen: \"nowhere\"") != NULL);
    CHECK(strstr(result.err, "serve.history_cache is 64000 bytes") != NULL);
    CHECK(strstr(result.err, "did you mean \"socket.timeout.ms\"?") != NULL);
    CHECK(strstr(result.err, "hunter2") == NULL);
    CHECK(strstr(result.err, "freshet config check: 16 mistakes\n") != NULL);
    CHECK_TEXT("", result.out);
}

TEST(config_check_json_holds_them_all)
{
    struct json_parser *parser = json_parser_create(1 << 18, 4096);
    const struct json_node *root, *list;
    struct error err;

    CHECK_INT(EXIT_USAGE, check_yaml(wrong, " --json"));
    CHECK_STATUS(OK, json_parse(parser, text_of(result.out), &root, &err));
    list = json_member(root, "mistakes");
    CHECK(list != NULL);
    CHECK_INT(14, (int64_t)list->children_count);
    CHECK_INT(2, json_int_or(json_member(list->child, "line"), 0));
    CHECK_INT(12, json_int_or(json_member(list->child, "column"), 0));
    CHECK(text_equal(json_text_or(json_member(list->child, "key"), ""), text_of("kafka.brokers")));
    CHECK(text_equal(json_text_or(json_member(list->child, "origin"), ""), text_of(path)));
    CHECK(text_equal(json_text_or(json_member(root, "status"), ""), text_of("ERR_CONFIG")));
    json_parser_destroy(parser);
    CHECK_INT(EXIT_DONE, check_yaml("kafka: {brokers: \"[::1]:9092,PLAINTEXT://h\"}\n", " --json"));
    CHECK_TEXT("{\"ok\":true,\"mistakes\":[],\"warnings\":[]}\n", result.out);
}

TEST(config_check_knows_what_a_broker_looks_like)
{
    static const char *const cases[][2] = {
        {"a:", "no port behind"}, {"a:x", "no number"},    {"a:0", "outside"},
        {"a:65536", "outside"},   {":9092", "no host"},    {"a:1,,b:2", "no host"},
        {"::1", "[ ]"},           {"[::1", "lacks its ]"}, {"a:1;b:2", "commas"},
        {"a:1, b:2", "commas"},   {"[::1]9", "no port"},   {"a:99999999999999999999", "outside"},
    };
    char yaml[200];

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        (void)snprintf(yaml, sizeof yaml, "kafka: {brokers: \"%s\"}\n", cases[i][0]);
        CHECK_INT(EXIT_USAGE, check_yaml(yaml, ""));
        if (strstr(result.err, cases[i][1]) == NULL)
            test_fail(__FILE__, __LINE__, "%s: %s", cases[i][0], result.err);
    }
    CHECK_INT(EXIT_DONE, check_yaml("kafka: {brokers: \"SASL_SSL://a:65535,b,[::1]:1\"}\n", ""));
}

TEST(config_check_tells_of_unknown_variables_and_goes_on)
{
    CHECK_INT(0, setenv("FRESHET_BROKERS", "a:1", 1));
    CHECK_INT(0, setenv("FRESHET_EVENTS_ACTIONS_CLICK_CODEE", "1", 1));
    CHECK_INT(0, setenv("FRESHET_NOTHING_OF_THE_KIND", "1", 1));
    CHECK_INT(0, setenv("FRESHET_BACKND", "cuda", 1));
    CHECK_INT(EXIT_DONE, check_yaml("log: {level: info}\n", ""));
    CHECK_INT(0, unsetenv("FRESHET_BROKERS"));
    CHECK_INT(0, unsetenv("FRESHET_EVENTS_ACTIONS_CLICK_CODEE"));
    CHECK_INT(0, unsetenv("FRESHET_NOTHING_OF_THE_KIND"));
    CHECK_INT(0, unsetenv("FRESHET_BACKND"));
    CHECK(strstr(result.err, "FRESHET_BACKND: warning: no such key; did you mean "
                             "FRESHET_BACKEND?\n") != NULL);
    CHECK(strstr(result.err,
                 "FRESHET_BROKERS: warning: no such key; did you mean FRESHET_KAFKA_BROKERS?\n") !=
          NULL);
    CHECK(strstr(result.err, "did you mean FRESHET_EVENTS_ACTIONS_CLICK_CODE?\n") != NULL);
    CHECK(strstr(result.err,
                 "FRESHET_NOTHING_OF_THE_KIND: warning: no such key; `freshet config show`") !=
          NULL);
}

TEST(config_check_refuses_a_device_that_no_role_knows)
{
    CHECK_INT(0, setenv("FRESHET_BACKEND", "gpu", 1));
    CHECK_INT(EXIT_USAGE, check_yaml("log: {level: info}\n", ""));
    CHECK_INT(0, setenv("FRESHET_BACKEND", "cuda", 1)); /* doctor's to say */
    CHECK(strstr(result.err, "environment: FRESHET_BACKEND is \"gpu\", must be cpu or cuda\n") !=
          NULL);
    CHECK_INT(EXIT_DONE, check_yaml("log: {level: info}\n", ""));
    CHECK_INT(0, unsetenv("FRESHET_BACKEND"));
}

TEST(config_check_knows_what_a_wrong_form_or_name_meant)
{
    CHECK_INT(EXIT_USAGE, check_yaml("kafka: {properties: {fetch.min.bytes: 1}}\n", ""));
    CHECK(strstr(result.err, "kafka.properties is a list, as [name=value], not a section\n") !=
          NULL);
    CHECK_INT(EXIT_USAGE, check_yaml("kafka: {brokers: {a: 1}}\n", ""));
    CHECK(strstr(result.err, "kafka.brokers is a key with a value, not a section\n") != NULL);
    CHECK_INT(EXIT_USAGE, check_yaml("events: {topic: clicks}\n", ""));
    CHECK(strstr(result.err,
                 "unknown key \"events.topic\"; did you mean \"kafka.topics.events\"?\n") != NULL);
}

/* What stands in the file is shown to whoever asks; so a secret in it is at least hidden. */
TEST(config_show_hides_the_secrets_of_properties)
{
    static const char set[] = "--set kafka.properties=ssl.keystore.password=hunter2,"
                              "sasl.oauthbearer.client.secret=file:/run/secret,socket.timeout.ms=9";
    char words[400];

    (void)snprintf(words, sizeof words, "config show %s", set);
    command_run(&result, &tables, words);
    CHECK_INT(EXIT_DONE, result.code);
    CHECK(strstr(result.out, "hunter2") == NULL);
    CHECK(strstr(result.out, "ssl.keystore.password=***") != NULL);
    CHECK(strstr(result.out, "sasl.oauthbearer.client.secret=file:/run/secret") != NULL);
    CHECK(strstr(result.out, "socket.timeout.ms=9") != NULL);
    (void)snprintf(words, sizeof words, "config show --json %s", set);
    command_run(&result, &tables, words);
    CHECK(strstr(result.out, "hunter2") == NULL && strstr(result.out, "=***,sasl") != NULL);
}

/* What is printed is refused, not taken for a password, when it is read. */
TEST(config_show_hides_a_password_so_that_nobody_takes_it_for_one)
{
    char words[400];
    struct error err;

    command_run(&result, &tables, "config show --set redis.url=redis://u:hunter2@host:6379");
    CHECK_INT(EXIT_DONE, result.code);
    CHECK(strstr(result.out, "url: redis://u:***@host:6379") != NULL ||
          strstr(result.out, "url: \"redis://u:***@host:6379\"") != NULL);
    (void)snprintf(path, sizeof path, "%s/shown.yaml", test_folder());
    CHECK_STATUS(OK, file_replace(path, result.out, strlen(result.out), &err));
    (void)snprintf(words, sizeof words, "config check --config %s", path);
    command_run(&result, &tables, words);
    CHECK_INT(EXIT_USAGE, result.code);
    CHECK(strstr(result.err, "redis.url holds *** in a password's place") != NULL);
    CHECK(strstr(result.err, "redis.password as file:PATH") != NULL);
    CHECK(strstr(result.err, "1 mistake\n") != NULL);
    CHECK_INT(EXIT_USAGE, check_yaml("kafka: {properties: [ssl.keystore.password=***]}\n", ""));
    check_told(":1:21", "kafka.properties holds *** in a password's place");
}

TEST(config_check_knows_half_a_login)
{
    static const struct {
        const char *yaml, *place, *text;
    } cases[] = {
        {"kafka: {security: {protocol: sasl_ssl, mechanism: PLAIN}}\n", ":1:51",
         "kafka.security.username is missing: sasl_ssl logs in by PLAIN; give it"},
        {"kafka: {security: {protocol: sasl_plaintext}}\n", ":1:30",
         "kafka.security.username is missing: sasl_plaintext logs in by SCRAM-SHA-512; give it"},
        {"kafka: {security: {protocol: sasl_ssl, username: me}}\n", ":1:50",
         "kafka.security.password is missing: sasl_ssl logs in with one; give it as file:PATH or"},
        {"kafka: {security: {protocol: sasl_ssl, password: env:FRESHET_TEST_LOGIN}}\n", ":1:30",
         "kafka.security.username is missing"},
        {"kafka: {security: {username: me, password: env:FRESHET_TEST_LOGIN}}\n", ":1:30",
         "kafka.security.username is not used: kafka.security.protocol is plaintext"},
        {"kafka: {security: {protocol: ssl, mechanism: PLAIN}}\n", ":1:46",
         "kafka.security.mechanism is not used: kafka.security.protocol is ssl"},
    };

    CHECK_INT(0, setenv("FRESHET_TEST_LOGIN", "hunter2", 1));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        CHECK_INT(EXIT_USAGE, check_yaml(cases[i].yaml, ""));
        check_told(cases[i].place, cases[i].text);
        CHECK(strstr(result.err, "1 mistake\n") != NULL);
    }
    CHECK_INT(EXIT_DONE, check_yaml("kafka: {security: {protocol: sasl_ssl, username: me, "
                                    "password: env:FRESHET_TEST_LOGIN}}\n",
                                    ""));
    CHECK_INT(EXIT_DONE, check_yaml("kafka: {security: {protocol: sasl_ssl}, "
                                    "properties: [sasl.mechanisms=GSSAPI]}\n",
                                    ""));
    CHECK_INT(0, unsetenv("FRESHET_TEST_LOGIN"));
}

TEST(config_check_knows_listeners_that_are_in_each_others_way)
{
    static const char *const mistakes[] = {
        "serve: {listen: \"h:80\", admin: \"h:80\"}\n",
        "serve: {listen: \"0.0.0.0:80\", admin: \"127.0.0.1:80\"}\n",
        "serve: {listen: \"[::]:080\", admin: \"h:80\"}\n",
        "serve: {listen: \"localhost:80\", admin: \"127.0.0.1:80\"}\n",
    };
    static const char *const fine[] = {
        "serve: {listen: \"127.0.0.1:0\", admin: \"127.0.0.1:0\"}\n",
        "serve: {listen: \"127.0.0.1:80\", admin: \"127.0.0.2:80\"}\n",
        "serve: {listen: \"h:80\", admin: \"h:81\"}\n",
    };

    for (size_t i = 0; i < sizeof mistakes / sizeof *mistakes; i++) {
        CHECK_INT(EXIT_USAGE, check_yaml(mistakes[i], ""));
        if (strstr(result.err, "serve.listen and serve.admin both listen on port ") == NULL)
            test_fail(__FILE__, __LINE__, "%s: %s", mistakes[i], result.err);
    }
    check_told(":1:40", "serve.listen and serve.admin both listen on port 80 (localhost:80, "
                        "127.0.0.1:80): give one of them another");
    for (size_t i = 0; i < sizeof fine / sizeof *fine; i++) {
        CHECK_INT(EXIT_DONE, check_yaml(fine[i], ""));
        CHECK_TEXT("", result.err);
    }
    CHECK_INT(EXIT_DONE, check_yaml("ingest: {admin: \"0.0.0.0:8080\"}\n", "")); /* containers */
    check_told(":1:17",
               "warning: serve.listen and ingest.admin both listen on port 8080 (127.0.0.1:8080, "
               "0.0.0.0:8080): on one machine the second to start would fail");
}

TEST(config_check_knows_names_that_are_missing_or_taken)
{
    CHECK_INT(EXIT_USAGE,
              check_yaml("kafka: {group: \"\", topics: {dead: events, items: \"\"}}\n", ""));
    check_told(":1:16", "kafka.group is empty: name the consumer group of this data set");
    check_told(":1:35", "kafka.topics.events and kafka.topics.dead are both \"events\"");
    check_told(":1:50", "kafka.topics.items is empty: name the topic");
    CHECK(strstr(result.err, "3 mistakes\n") != NULL);
}

TEST(config_check_asks_a_long_address_and_tells_all_of_the_reason)
{
    char yaml[900], url[600];

    memset(url, 'x', sizeof url - 1);
    url[sizeof url - 1] = '\0';
    (void)snprintf(yaml, sizeof yaml, "serve: {listen: \"%s\"}\n", url);
    CHECK_INT(EXIT_USAGE, check_yaml(yaml, " --json"));
    CHECK(strstr(result.out, "is no address to listen on; write host:port\"") != NULL);
    (void)snprintf(yaml, sizeof yaml, "redis: {url: \"redis+sentinel://%s\"}\n", url);
    CHECK_INT(EXIT_USAGE, check_yaml(yaml, " --json"));
    CHECK(strstr(result.out, "or redis+cluster://host,host)\"") != NULL);
}

/* Its own name is no remedy for what it has just said. */
TEST(config_check_does_not_send_anybody_to_itself)
{
    char words[400];

    (void)snprintf(words, sizeof words, "config check --config %s", test_folder());
    command_run(&result, &tables, words);
    CHECK_INT(EXIT_USAGE, result.code);
    CHECK(strstr(result.err, "is not a regular file") != NULL);
    CHECK(strstr(result.err, "`freshet config check`") == NULL);
}

TEST(config_check_looks_at_the_wait_for_replicas)
{
    CHECK_INT(EXIT_USAGE,
              check_yaml("redis: {wait_replicas: 1, wait: 5s, reply_timeout: 2s}\n", ""));
    check_told(":1:33", "redis.wait: 5000ms for replicas must be less than half of "
                        "redis.reply_timeout, 2000ms");
    CHECK_INT(EXIT_DONE, check_yaml("redis: {wait_replicas: 1, reply_timeout: 2s}\n", ""));
}

TEST(config_check_warns_of_what_starts_and_is_not_as_meant)
{
    static const char *const files[] = {"retrain:\n  user_choices_max: 100\n",
                                        "features:\n  sequence_max: 50\n"};

    for (int i = 0; i < 2; i++) {
        CHECK_INT(0, check_yaml(files[i], ""));
        check_told(i == 0 ? ":2:21" : ":2:17",
                   i == 0
                       ? "warning: retrain.user_choices_max is 100, but only 100 choices of a user "
                         "are kept (features.sequence_max): it never holds"
                       : "warning: retrain.user_choices_max is 60, but only 50 choices of a user "
                         "are kept (features.sequence_max): it never holds");
        CHECK(strstr(result.err, "mistake") == NULL);
    }
}
