/*
 * Tests ops/config. FAULTS 67: the reports are compared whole with files that a person has
 * read, tests/ops/data/config/NAME.report for NAME.yaml. FRESHET_TEST_GOLDEN=write writes
 * them anew; read the difference before committing it.
 */
#include "ops/config.h"

#include "ops/file.h"
#include "ops/random.h"
#include "tests/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DATA "tests/ops/data/config/"

static const struct config_row kafka_rows[] = {
    {"kafka.brokers", CONFIG_TEXT, "127.0.0.1:9092", 0, 0, NULL, "Where the cluster is."},
    {"kafka.topics", CONFIG_TEXTS, NULL, 0, 0, NULL, "Topics to read."},
    {"kafka.password", CONFIG_SECRET, NULL, 0, 0, NULL, "Password of the user."},
    {"kafka.linger", CONFIG_DURATION, "5ms", 0, 60000, NULL, "How long a batch waits."},
    {"kafka.fetch", CONFIG_BYTES, "1MiB", 1024, 1 << 30, NULL, "Bytes a fetch."},
    {0}};
static const struct config_row other_rows[] = {
    {"redis.url", CONFIG_TEXT, "redis://127.0.0.1:6379", 0, 0, NULL, "Where Redis is."},
    {"redis.timeout", CONFIG_DURATION, "1s", 0, 0, NULL, "How long an answer may take."},
    {"serve.listen", CONFIG_TEXT, "127.0.0.1:8080", 0, 0, NULL, "Address of the API."},
    {"serve.threads", CONFIG_INT, "2", 1, 64, NULL, "Scorer threads."},
    {"serve.rate", CONFIG_REAL, "0.5", 0, 1, NULL, "Share of requests."},
    {"serve.ratio", CONFIG_REAL, NULL, 0, 0, NULL, "Any number."},
    {"serve.mode", CONFIG_CHOICE, "fast", 0, 0, "fast|slow|off", "How to serve."},
    {"serve.warm", CONFIG_BOOL, "true", 0, 0, NULL, "Warm up before the first request."},
    {"serve.drain", CONFIG_DURATION, "10s", 1000, 86400000, NULL, "Time to drain."},
    {"serve.empty", CONFIG_TEXT, "", 0, 0, NULL, "An empty text."},
    {"events.mapping.user.path", CONFIG_TEXT, "/user", 0, 0, NULL, "Where the user is."},
    {"events.mapping.user.kind", CONFIG_TEXT, NULL, 0, 0, NULL, "What a user is."},
    {"events.mapping.time.path", CONFIG_TEXT, "/time", 0, 0, NULL, "Where the time is."},
    {"events.actions.*.code", CONFIG_INT, "1", 1, 62, NULL, "Code of the action."},
    {"events.actions.*.label", CONFIG_REAL, "0", 0, 100, NULL, "Weight of the action."},
    {"events.max_future_skew", CONFIG_DURATION, "5m", 0, 86400000, NULL, "Clocks may be wrong."},
    {0}};
static const struct config_row *const tables[] = {kafka_rows, other_rows, NULL};

static enum status load(struct config **config, const char *path, const char *const *sets,
                        int count, char **report, struct error *err)
{
    return config_load(config, tables, path, sets, count, report, err);
}

static enum status load_text(struct config **config, struct text yaml, char **report,
                             struct error *err)
{
    char path[200];

    (void)snprintf(path, sizeof path, "%s/f.yaml", test_folder());
    CHECK_STATUS(OK, file_replace(path, yaml.at, yaml.bytes, err));
    return load(config, path, NULL, 0, report, err);
}

static void check_report(const char *name)
{
    const char *mode = getenv("FRESHET_TEST_GOLDEN");
    char yaml[200], golden[200];
    struct config *config;
    char *report, *want;
    size_t bytes;
    struct error err;

    (void)snprintf(yaml, sizeof yaml, DATA "%s.yaml", name);
    (void)snprintf(golden, sizeof golden, DATA "%s.report", name);
    CHECK_STATUS(ERR_CONFIG, load(&config, yaml, NULL, 0, &report, &err));
    CHECK(config == NULL);
    if (mode != NULL && strcmp(mode, "write") == 0)
        CHECK_STATUS(OK, file_replace(golden, report, strlen(report), &err));
    CHECK(strncmp(report, err.text, strcspn(report, "\n")) == 0);
    CHECK_STATUS(OK, file_read(golden, 1 << 20, &want, &bytes, &err));
    CHECK_TEXT(want, report);
    free(want);
    free(report);
}

TEST(config_reports_all_wrong_names_with_their_places)
{
    check_report("typos");
}

TEST(config_reports_all_wrong_values_with_their_places)
{
    check_report("values");
}

TEST(config_reports_what_is_not_yaml)
{
    check_report("tabs");
    check_report("unclosed");
    check_report("not_utf8");
    check_report("zero");
}

TEST(config_refuses_bombs_depth_and_odd_documents)
{
    check_report("bomb");
    check_report("deep");
    check_report("list");
    check_report("words");
    check_report("two_documents");
}

TEST(config_without_a_file_has_the_defaults)
{
    struct config *config;
    char *report;
    struct error err;

    CHECK_STATUS(OK, load(&config, NULL, NULL, 0, &report, &err));
    CHECK(report == NULL);
    CHECK_TEXT("127.0.0.1:9092", config_text(config, "kafka.brokers"));
    CHECK_TEXT("", config_text(config, "kafka.topics"));
    CHECK_TEXT("", config_text(config, "serve.empty"));
    CHECK_TEXT("fast", config_text(config, "serve.mode"));
    CHECK_INT(5, config_duration_ms(config, "kafka.linger"));
    CHECK_INT(1 << 20, config_size_bytes(config, "kafka.fetch"));
    CHECK_INT(2, config_int(config, "serve.threads"));
    CHECK_NEAR(0.5, config_real(config, "serve.rate"), 0);
    CHECK_NEAR(0, config_real(config, "serve.ratio"), 0);
    CHECK(config_bool(config, "serve.warm"));
    CHECK(!config_given(config, "serve.warm"));
    CHECK(config_name(config, "events.actions", 0) == NULL);
    CHECK_INT(1, config_int(config, "events.actions.nobody.code"));
    CHECK(!config_given(config, "events.actions.nobody.code"));
    config_destroy(config);
    config_destroy(NULL);
}

TEST(config_reads_a_file)
{
    struct config *config;
    char *report;
    struct error err;

    CHECK_STATUS(OK, load(&config, DATA "good.yaml", NULL, 0, &report, &err));
    CHECK_TEXT("a:9092,b:9092", config_text(config, "kafka.brokers"));
    CHECK_TEXT("events,items", config_text(config, "kafka.topics"));
    CHECK_INT(1500, config_duration_ms(config, "kafka.linger"));
    CHECK(config_given(config, "kafka.linger") && !config_given(config, "kafka.fetch"));
    CHECK_TEXT("/ts", config_text(config, "events.mapping.time.path"));
    CHECK_TEXT("/actor/id", config_text(config, "events.mapping.user.path"));
    CHECK_TEXT("hash", config_text(config, "events.mapping.user.kind"));
    CHECK_TEXT("com.acme.view", config_name(config, "events.actions", 0));
    CHECK_TEXT("click", config_name(config, "events.actions", 1));
    CHECK(config_name(config, "events.actions", 2) == NULL);
    CHECK_INT(1, config_int(config, "events.actions.com.acme.view.code"));
    CHECK_INT(7, config_int(config, "events.actions.click.code"));
    CHECK_NEAR(0, config_real(config, "events.actions.click.label"), 0);
    config_destroy(config);
}

TEST(config_takes_flag_over_environment_over_file_over_default)
{
    static const char *const sets[] = {"serve.threads=9", "events.actions.a.b.code=3",
                                       "events.mapping.time=/t"};
    struct config *config;
    struct config_entry entry;
    char *report, *yaml;
    struct error err;

    CHECK_INT(0, setenv("FRESHET_SERVE_THREADS", "7", 1));
    CHECK_INT(0, setenv("FRESHET_KAFKA_LINGER", "2s", 1));
    CHECK_INT(0, setenv("FRESHET_EVENTS_ACTIONS_CLICK_CODE", "8", 1));
    CHECK_INT(0, setenv("FRESHET_KAFKA_TOPICS", "a,b", 1));
    CHECK_STATUS(OK, load(&config, DATA "good.yaml", sets, 3, &report, &err));
    CHECK(report == NULL);
    CHECK_INT(9, config_int(config, "serve.threads"));
    CHECK_INT(2000, config_duration_ms(config, "kafka.linger"));
    CHECK_INT(8, config_int(config, "events.actions.click.code"));
    CHECK_INT(3, config_int(config, "events.actions.a.b.code"));
    CHECK_TEXT("a,b", config_text(config, "kafka.topics"));
    CHECK_TEXT("/t", config_text(config, "events.mapping.time.path"));
    for (int i = 0; config_entry(config, i, &entry); i++) {
        if (strcmp(entry.key, "serve.threads") == 0)
            CHECK_TEXT("--set", entry.origin);
        if (strcmp(entry.key, "kafka.linger") == 0)
            CHECK_TEXT("FRESHET_KAFKA_LINGER", entry.origin);
        if (strcmp(entry.key, "kafka.brokers") == 0)
            CHECK_TEXT(DATA "good.yaml:2", entry.origin);
        if (strcmp(entry.key, "kafka.fetch") == 0)
            CHECK_TEXT("default", entry.origin);
    }
    CHECK_STATUS(OK, config_render(config, true, &yaml, &err));
    CHECK(strstr(yaml, "threads: 9  # from --set\n") != NULL);
    free(yaml);
    config_destroy(config);
    CHECK_INT(0, unsetenv("FRESHET_SERVE_THREADS"));
    CHECK_INT(0, unsetenv("FRESHET_KAFKA_LINGER"));
    CHECK_INT(0, unsetenv("FRESHET_EVENTS_ACTIONS_CLICK_CODE"));
    CHECK_INT(0, unsetenv("FRESHET_KAFKA_TOPICS"));
}

TEST(config_warns_of_unknown_variables_and_refuses_wrong_ones)
{
    struct config *config;
    char *report;
    struct error err;

    CHECK_INT(0, setenv("FRESHET_SERVE_THREDS", "7", 1));
    CHECK_STATUS(OK, load(&config, NULL, NULL, 0, &report, &err));
    CHECK_TEXT("FRESHET_SERVE_THREDS: warning: no such key; did you mean FRESHET_SERVE_THREADS?\n",
               report);
    free(report);
    config_destroy(config);
    CHECK_INT(0, unsetenv("FRESHET_SERVE_THREDS"));
    CHECK_INT(0, setenv("FRESHET_SERVE_THREADS", "many", 1));
    CHECK_STATUS(ERR_CONFIG, load(&config, NULL, NULL, 0, &report, &err));
    CHECK_TEXT("FRESHET_SERVE_THREADS: serve.threads is \"many\", must be an integer\n", report);
    free(report);
    CHECK_INT(0, unsetenv("FRESHET_SERVE_THREADS"));
    CHECK_INT(0, setenv("FRESHET_BACKEND", "cpu", 1)); /* no key, and known */
    CHECK_STATUS(OK, load(&config, NULL, NULL, 0, &report, &err));
    CHECK(report == NULL);
    config_destroy(config);
    CHECK_INT(0, unsetenv("FRESHET_BACKEND"));
}

TEST(config_refuses_wrong_sets)
{
    static const char *const sets[] = {"serve.threads",          "=1",
                                       "serve.threds=2",         "serve.threads=",
                                       "kafka.password=hunter2", "brokers=a"};
    struct config *config;
    char *report;
    struct error err;

    CHECK_STATUS(ERR_CONFIG, load(&config, NULL, sets, 6, &report, &err));
    CHECK_TEXT("--set: must be KEY=VALUE\n"
               "--set: must be KEY=VALUE\n"
               "--set: unknown key \"serve.threds\"; did you mean \"serve.threads\"?\n"
               "--set: serve.threads is \"\", must be an integer\n"
               "--set: kafka.password must be a reference, file:PATH or env:NAME, not the secret "
               "itself\n"
               "--set: unknown key \"brokers\"; did you mean \"kafka.brokers\"?\n",
               report);
    free(report);
}

TEST(config_names_a_file_it_cannot_read)
{
    struct config *config;
    char *report;
    struct error err;

    CHECK_STATUS(ERR_NOT_FOUND, load(&config, DATA "none.yaml", NULL, 0, &report, &err));
    CHECK(strstr(err.text, "none.yaml") != NULL);
    CHECK_STATUS(ERR_CONFIG, load(&config, test_folder(), NULL, 0, &report, &err));
    CHECK(report == NULL && config == NULL);
}

TEST(config_takes_an_empty_file)
{
    static const char *const files[] = {"", "\n", "# nothing\n", "---\n", "---\n...\n", "{}\n"};

    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        struct config *config;
        char *report;
        struct error err;

        CHECK_STATUS(OK, load_text(&config, text_of(files[i]), &report, &err));
        config_destroy(config);
    }
}

/* Every truncation and many flipped bytes of a good file: an answer, no crash, and mistakes
 * whenever there is no configuration. */
TEST(config_survives_every_truncation_and_flipped_bytes)
{
    struct config *config;
    struct random random;
    char *good, *report;
    size_t bytes;
    struct error err;

    random_seed(&random, test_seed());
    CHECK_STATUS(OK, file_read(DATA "good.yaml", 1 << 20, &good, &bytes, &err));
    for (size_t cut = 0; cut < bytes + 400; cut++) {
        char *copy = malloc(bytes);
        size_t length = cut < bytes ? cut : bytes;
        enum status status;

        memcpy(copy, good, bytes);
        if (cut >= bytes)
            copy[random_below(&random, bytes)] ^= (char)(1 + random_below(&random, 255));
        status = load_text(&config, (struct text){copy, length}, &report, &err);
        CHECK(status == OK || status == ERR_CONFIG);
        CHECK((status == OK) == (config != NULL));
        CHECK(status == OK || (report != NULL && report[0] != 0));
        config_destroy(config);
        free(report);
        free(copy);
    }
    free(good);
}

/* What libyaml's own scanner could be made to do by a large flat or deep file. */
TEST(config_bounds_large_files)
{
    static char yaml[1 << 20];
    struct config *config;
    char *report;
    struct error err;
    size_t used = 0;

    memset(yaml, '[', 200000);
    CHECK_STATUS(ERR_CONFIG, load_text(&config, (struct text){yaml, 200000}, &report, &err));
    free(report);
    for (int i = 0; i < 6000; i++)
        used += (size_t)snprintf(yaml + used, sizeof yaml - used, "k%d: 1\n", i);
    CHECK_STATUS(ERR_CONFIG, load_text(&config, (struct text){yaml, used}, &report, &err));
    CHECK(strstr(report, "... and ") != NULL);
    free(report);
    used = (size_t)snprintf(yaml, sizeof yaml, "serve: {listen: \"");
    memset(yaml + used, 'x', 5000);
    memcpy(yaml + used + 5000, "\"}\n", 3);
    CHECK_STATUS(ERR_CONFIG, load_text(&config, (struct text){yaml, used + 5003}, &report, &err));
    CHECK(strstr(report, "serve.listen has 5000 bytes, at most 4096") != NULL);
    free(report);
}

TEST(config_secret_is_read_when_asked_for_and_never_shown)
{
    struct config *config;
    char *report, *value, *yaml;
    char set[300], path[200];
    const char *sets[] = {set};
    struct error err;

    (void)snprintf(path, sizeof path, "%s/secret", test_folder());
    (void)snprintf(set, sizeof set, "kafka.password=file:%s", path);
    CHECK_STATUS(OK, load(&config, NULL, sets, 1, &report, &err));
    CHECK_STATUS(ERR_NOT_FOUND, config_secret(config, "kafka.password", &value, &err));
    CHECK(value == NULL && strstr(err.text, "kafka.password") != NULL);
    CHECK_STATUS(OK, file_replace(path, "hunter2\n", 8, &err));
    CHECK_STATUS(OK, config_secret(config, "kafka.password", &value, &err));
    CHECK_TEXT("hunter2", value);
    free(value);
    CHECK_STATUS(OK, file_replace(path, "rotated\r\n", 9, &err));
    CHECK_STATUS(OK, config_secret(config, "kafka.password", &value, &err));
    CHECK_TEXT("rotated", value);
    free(value);
    CHECK_STATUS(OK, file_replace(path, "\n", 1, &err));
    CHECK_STATUS(ERR_CONFIG, config_secret(config, "kafka.password", &value, &err));
    CHECK_STATUS(OK, file_replace(path, "a\0b", 3, &err));
    CHECK_STATUS(ERR_CONFIG, config_secret(config, "kafka.password", &value, &err));
    CHECK_STATUS(OK, config_render(config, true, &yaml, &err));
    CHECK(strstr(yaml, "rotated") == NULL && strstr(yaml, path) != NULL);
    free(yaml);
    config_destroy(config);

    CHECK_INT(0, setenv("FRESHET_TEST_SECRET", "from the environment", 1));
    (void)snprintf(set, sizeof set, "kafka.password=env:FRESHET_TEST_SECRET");
    CHECK_STATUS(OK, load(&config, NULL, sets, 1, &report, &err));
    CHECK_STATUS(OK, config_secret(config, "kafka.password", &value, &err));
    CHECK_TEXT("from the environment", value);
    free(value);
    CHECK_INT(0, unsetenv("FRESHET_TEST_SECRET"));
    CHECK_STATUS(ERR_NOT_FOUND, config_secret(config, "kafka.password", &value, &err));
    config_destroy(config);
    CHECK_STATUS(OK, load(&config, NULL, NULL, 0, &report, &err));
    CHECK_STATUS(ERR_NOT_FOUND, config_secret(config, "kafka.password", &value, &err));
    CHECK_TEXT("kafka.password is not set", err.text);
    config_destroy(config);
}

static void check_same(const struct config *a, const struct config *b)
{
    struct config_entry x, y;

    for (int i = 0; config_entry(a, i, &x); i++) {
        bool found = false;

        for (int j = 0; config_entry(b, j, &y) && !found; j++)
            found = strcmp(x.key, y.key) == 0 && strcmp(x.value, y.value) == 0;
        if (!found)
            test_fail(__FILE__, __LINE__, "%s is lost or changed", x.key);
    }
}

TEST(config_shown_hides_the_password_of_an_address)
{
    static const char *const cases[][2] = {
        {"redis://user:hunter2@host:6379/0", "redis://user:***@host:6379/0"},
        {"redis://:hunt@er2@host", "redis://:***@host"},
        {"redis+cluster://u:p@a:1,b:2", "redis+cluster://u:***@a:1,b:2"},
        {"redis://user@host", "redis://user@host"},
        {"http://host:8081/a@b", "http://host:8081/a@b"},
        {"unix:///run/a:b@c", "unix:///run/a:b@c"},
        {"a:b@c", "a:b@c"},
        {"", ""},
    };
    char into[CONFIG_SHOWN_BYTES];
    const char *sets[] = {"serve.listen=redis://user:hunter2@host"};
    struct config *config;
    char *report, *yaml;
    struct error err;

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        CHECK_TEXT(cases[i][1], config_shown(cases[i][0], into));
    CHECK_STATUS(OK, load(&config, NULL, sets, 1, &report, &err));
    CHECK_STATUS(OK, config_render(config, true, &yaml, &err));
    CHECK(strstr(yaml, "redis://user:***@host") != NULL && strstr(yaml, "hunter2") == NULL);
    free(yaml);
    config_destroy(config);
}

/* Whoever loads the page again has not got the password. */
TEST(config_refuses_what_was_hidden_wherever_it_stands)
{
    static const char *const hidden[] = {
        "redis://user:***@host:6379/0", "redis://:***@host", "redis+cluster://u:***@a:1,b:2",
        "a=1,sasl.password=***",        "sasl.password=***", "ssl.key.password=***,b=2"};
    static const char *const open[] = {"redis://user:****@host",
                                       "redis://user@host",
                                       "redis://host/***",
                                       "***@h",
                                       "a=***",
                                       "sasl.password=****",
                                       "",
                                       "***",
                                       "://",
                                       ":***@h"};
    char into[CONFIG_SHOWN_BYTES], set[200];
    const char *sets[] = {set};
    struct config *config;
    char *report;
    struct error err;

    for (size_t i = 0; i < sizeof hidden / sizeof *hidden; i++) {
        CHECK(config_hidden(hidden[i]));
        CHECK_TEXT(hidden[i], config_shown(hidden[i], into));
    }
    for (size_t i = 0; i < sizeof open / sizeof *open; i++)
        CHECK(!config_hidden(open[i]));
    (void)snprintf(set, sizeof set, "serve.listen=%s", hidden[0]);
    CHECK_STATUS(ERR_CONFIG, load(&config, NULL, sets, 1, &report, &err));
    CHECK(strstr(err.text, "serve.listen holds *** in a password's place") != NULL);
    free(report);
}

TEST(config_render_loads_to_the_same_again)
{
    static const char *const sets[] = {"serve.listen=\"quoted\": # no\\ncomment",
                                       "serve.empty=null", "kafka.topics=- a,b: c",
                                       "events.actions.true.code=5", "events.actions.a: b.code=6"};
    struct config *first, *second;
    char *report, *yaml;
    struct error err;

    for (int origin = 0; origin < 2; origin++) {
        CHECK_STATUS(OK, load(&first, DATA "good.yaml", sets, 5, &report, &err));
        CHECK_STATUS(OK, config_render(first, origin != 0, &yaml, &err));
        CHECK_STATUS(OK, load_text(&second, text_of(yaml), &report, &err));
        check_same(first, second);
        check_same(second, first);
        free(yaml);
        config_destroy(first);
        config_destroy(second);
    }
}
