/* Tests ingest/ingest_doctor on a private redis-server: no data set, the right one, another one,
 * and another program's key in its place. A look changes nothing. */
#include "features/features_main.h"
#include "ingest/ingest_config.h"
#include "ops/ops_main.h"
#include "tests/support/redis_server.h"
#include "tests/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct redis_server server;
static struct doctor_finding finding;

static struct config *configured(const char *shards)
{
    const struct config_row *tables[] = {ops_config_rows,    redis_config_rows,
                                         events_config_rows, features_config_rows,
                                         ingest_config_rows, NULL};
    struct config *config;
    struct error err;
    char url[200], set[64];
    const char *sets[] = {url, set};
    char *report = NULL;

    (void)snprintf(url, sizeof url, "redis.url=%s", server.url);
    (void)snprintf(set, sizeof set, "dataset.shards=%s", shards);
    CHECK_STATUS(OK, config_load(&config, tables, NULL, sets, 2, &report, &err));
    free(report);
    return config;
}

static enum doctor_result look(const char *shards)
{
    struct config *config = configured(shards);

    ingest_doctor_checks[0].run(config, &finding);
    config_destroy(config);
    return finding.result;
}

static void create(void)
{
    struct config *config = configured("8");
    struct redis_connection *connection;
    struct redis_dataset dataset, wanted;
    struct redis_target target;
    struct redis_keys keys;
    struct event_schema *schema;
    struct error err;

    CHECK_STATUS(OK, event_schema_create(&schema, config, &err));
    CHECK_STATUS(OK, ingest_wanted_dataset(&wanted, config, schema, &err));
    CHECK_STATUS(OK, redis_target_from(&target, config, &err));
    CHECK_STATUS(OK, redis_keys_init(&keys, "fr", &err));
    CHECK_STATUS(OK, redis_connection_create(&connection, &target, NULL, NULL, &err));
    CHECK_STATUS(OK, redis_dataset_open(&dataset, connection, &keys, &wanted, 5000, &err));
    redis_dataset_clear(&dataset);
    redis_connection_destroy(connection);
    event_schema_destroy(schema);
    config_destroy(config);
}

TEST(ingest_doctor_says_what_becomes_of_the_data_set)
{
    redis_server_start(&server, NULL);
    CHECK_INT(DOCTOR_WARN, look("8"));
    CHECK(strstr(finding.remedy, "freshet ingest") != NULL);
    CHECK_TEXT("0", REDIS_COMMAND(&server, "DBSIZE"));
    create();
    CHECK_INT(DOCTOR_OK, look("8"));
    CHECK(strstr(finding.text, "8 shards") != NULL);
    CHECK_INT(DOCTOR_FAIL, look("16"));
    CHECK(strstr(finding.text, "shards") != NULL && strstr(finding.remedy, "namespace") != NULL);
    CHECK_TEXT("1", REDIS_COMMAND(&server, "DBSIZE"));
    (void)REDIS_COMMAND(&server, "SET", "fr{00}set", "text");
    CHECK_INT(DOCTOR_FAIL, look("8"));
    CHECK(finding.remedy[0] != 0);
    redis_server_stop(&server);
    CHECK_INT(DOCTOR_SKIP, look("8"));
}
