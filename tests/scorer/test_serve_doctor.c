/* Tests scorer/serve_doctor: a model folder without a bundle, with a good one, with one whose
 * scalars are another build's, with one that is damaged, and one of another data set. */
#include "features/features_main.h"
#include "features/redis_dataset.h"
#include "ingest/ingest_config.h"
#include "kernels/model_rows.h"
#include "ops/ops_main.h"
#include "ops/vitals.h"
#include "schemas/event.h"
#include "scorer/serve_main.h"
#include "tests/scorer/scorer_fixture.h"
#include "tests/support/redis_server.h"
#include "tests/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct doctor_finding finding;
static char redis_url[200];
static const char *history_cache = "serve.history_cache=64MiB";

static struct config *configured(void)
{
    const struct config_row *tables[] = {
        ops_config_rows,    redis_config_rows, events_config_rows, features_config_rows,
        ingest_config_rows, model_config_rows, serve_config_rows,  NULL};
    struct config *config;
    struct error err;
    char folder[200];
    const char *sets[] = {folder, redis_url, history_cache};
    char *report = NULL;

    (void)snprintf(folder, sizeof folder, "model.folder=%s/models", test_folder());
    if (redis_url[0] == 0)
        (void)snprintf(redis_url, sizeof redis_url, "redis.url=unix://%s/none", test_folder());
    CHECK_STATUS(OK, config_load(&config, tables, NULL, sets, 3, &report, &err));
    free(report);
    return config;
}

static enum doctor_result look(int check)
{
    struct config *config = configured();

    serve_doctor_checks[check].run(config, &finding);
    config_destroy(config);
    return finding.result;
}

static void publish(const char *version, bool stale)
{
    struct item_tables *tables = fixture_tables(1700000000000);
    char root[200];

    (void)snprintf(root, sizeof root, "%s/models", test_folder());
    fixture_publish(root, version, tables, true, stale);
    item_tables_destroy(tables);
}

static void damage(const char *version)
{
    char path[300];
    FILE *file;

    (void)snprintf(path, sizeof path, "%s/models/%s/items", test_folder(), version);
    file = fopen(path, "r+b");
    CHECK(file != NULL && fseek(file, 20, SEEK_SET) == 0 && fputc(0x5a, file) == 0x5a &&
          fclose(file) == 0);
}

TEST(serve_doctor_says_what_serve_would_do_with_the_current_bundle)
{
    redis_url[0] = 0;
    CHECK_INT(DOCTOR_WARN, look(0));
    CHECK(strstr(finding.remedy, "freshet retrain") != NULL);
    CHECK_INT(DOCTOR_SKIP, look(1));
    publish("v1", false);
    CHECK_INT(DOCTOR_OK, look(0));
    CHECK(strstr(finding.text, "v1") != NULL && strstr(finding.text, "20 items") != NULL);
    publish("v2", true);
    CHECK_INT(DOCTOR_FAIL, look(0));
    CHECK(strstr(finding.text, "scalars") != NULL && strstr(finding.remedy, "rollback") != NULL);
    publish("v3", false);
    damage("v3");
    CHECK_INT(DOCTOR_FAIL, look(0));
    CHECK(strstr(finding.remedy, "rollback") != NULL);
}

TEST(serve_doctor_says_for_how_many_users_there_is_room)
{
    CHECK_INT(DOCTOR_SKIP, look(2)); /* no bundle */
    publish("v1", false);
    CHECK_INT(DOCTOR_OK, look(2)); /* 100 events are 8 pages of 12 KiB */
    CHECK_TEXT("has room for 682 users with 100 events each", finding.text);
    for (const struct config_row *row = serve_config_rows; row->key != NULL; row++)
        CHECK(strcmp(row->key, "serve.history_cache") != 0 ||
              strstr(row->help, "64MiB keep 682 users") != NULL); /* as documents say, too */
    history_cache = "serve.history_cache=64KiB";
    CHECK_INT(DOCTOR_FAIL, look(2)); /* with which serve would not start */
    CHECK(strstr(finding.text, "1MiB or more") != NULL);
    history_cache = "serve.history_cache=900GiB";
    CHECK_INT(DOCTOR_WARN, look(2));
    CHECK(strstr(finding.text, "serve.history_cache may take 921600 MiB, this machine has ") !=
          NULL);
    history_cache = "serve.cache_users=100000000";
    if (vitals_machine_bytes() < INT64_C(160000000000)) {
        CHECK_INT(DOCTOR_WARN, look(3));
        CHECK(strstr(finding.text, "serve.cache_users may take 152588 MiB, this") != NULL);
    }
    history_cache = "serve.cache_users=0";
    CHECK_INT(DOCTOR_SKIP, look(3));
    history_cache = "serve.cache_users=50000";
    CHECK_INT(DOCTOR_OK, look(3));
    CHECK_TEXT("50000 users, up to 76 MiB", finding.text);
    history_cache = "serve.history_cache=0B";
    CHECK_INT(DOCTOR_SKIP, look(2));
    CHECK(strstr(finding.text, "serve.history_cache is 0") != NULL);
    history_cache = "serve.history_cache=64MiB";
}

TEST(serve_doctor_compares_the_bundle_with_the_data_set)
{
    struct redis_server server;
    struct redis_dataset dataset, wanted;
    struct redis_connection *connection;
    struct redis_target target;
    struct redis_keys keys;
    struct event_schema *schema;
    struct config *config;
    struct error err;

    redis_server_start(&server, NULL);
    (void)snprintf(redis_url, sizeof redis_url, "redis.url=%s", server.url);
    publish("v1", false);
    CHECK_INT(DOCTOR_SKIP, look(1));
    config = configured();
    CHECK_STATUS(OK, event_schema_create(&schema, config, &err));
    CHECK_STATUS(OK, ingest_wanted_dataset(&wanted, config, schema, &err));
    wanted.rules.seed = FIXTURE_SEED;
    CHECK_STATUS(OK, redis_target_from(&target, config, &err));
    CHECK_STATUS(OK, redis_keys_init(&keys, "fr", &err));
    CHECK_STATUS(OK, redis_connection_create(&connection, &target, NULL, NULL, &err));
    CHECK_STATUS(OK, redis_dataset_open(&dataset, connection, &keys, &wanted, 5000, &err));
    redis_dataset_clear(&dataset);
    redis_connection_destroy(connection);
    event_schema_destroy(schema);
    config_destroy(config);
    CHECK_INT(DOCTOR_OK, look(1));
    (void)REDIS_COMMAND(&server, "HSET", "fr{00}set", "seed", "00000000000000ff");
    CHECK_INT(DOCTOR_FAIL, look(1));
    CHECK(strstr(finding.remedy, "model.folder") != NULL);
    redis_server_stop(&server);
}
