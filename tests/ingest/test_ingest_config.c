/* Tests ingest/ingest_config: the defaults fit each other, and the data set that is asked for
 * follows the configuration. */
#include "ingest/ingest_config.h"

#include "features/features_main.h"
#include "features/redis_target.h"
#include "ops/ops_main.h"
#include "tests/test.h"

#include <stdlib.h>
#include <string.h>

static struct redis_dataset wanted;
static struct error err;

static enum status want(const char *set)
{
    const struct config_row *tables[] = {ops_config_rows,    redis_config_rows,
                                         events_config_rows, features_config_rows,
                                         ingest_config_rows, NULL};
    struct event_schema *schema = NULL;
    struct config *config;
    const char *sets[] = {set};
    char *report = NULL;
    enum status status = config_load(&config, tables, NULL, sets, set == NULL ? 0 : 1, &report,
                                     &err);

    free(report);
    if (status != OK)
        return status;
    status = event_schema_create(&schema, config, &err);
    if (status == OK)
        status = ingest_wanted_dataset(&wanted, config, schema, &err);
    event_schema_destroy(schema);
    config_destroy(config);
    return status;
}

TEST(ingest_config_asks_for_the_data_set_that_is_configured)
{
    CHECK_STATUS(OK, want(NULL));
    CHECK_INT(64, wanted.shards);
    CHECK_INT(4, wanted.examples_partitions);
    CHECK_INT(300000, wanted.max_future_skew_ms);
    CHECK(wanted.id[0] == 0 && wanted.rules.seed == 0 && wanted.partitions_count == 0);
    CHECK_STATUS(OK, want("features.sequence_max=17"));
    CHECK_INT(17, wanted.rules.sequence_max);
    CHECK_STATUS(OK, want("events.max_future_skew=1h"));
    CHECK_INT(3600000, wanted.max_future_skew_ms);
    CHECK_STATUS(OK, want("dataset.shards=1"));
    CHECK_INT(1, wanted.shards);
}

TEST(ingest_config_has_bounds)
{
    static const char *const bad[] = {"ingest.batch=0",           "ingest.backlog=0",
                                      "ingest.poison_share=1.1",  "ingest.poison_share=-0.1",
                                      "ingest.poison_window=1ms", "ingest.outbox=0",
                                      "ingest.linger=11s",        "redis.wait_replicas=17"};

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        CHECK_STATUS(ERR_CONFIG, want(bad[i]));
    CHECK_STATUS(OK, want("ingest.poison_share=0"));
    CHECK_STATUS(OK, want("ingest.poison_share=1"));
}

static enum status check_of(const char *first, const char *second, const char *third)
{
    const struct config_row *tables[] = {redis_config_rows, ingest_config_rows, NULL};
    const char *sets[] = {first, second, third};
    struct config *config;
    char *report = NULL;
    int count = 1 + (second != NULL) + (third != NULL);
    enum status status;

    CHECK_STATUS(OK, config_load(&config, tables, NULL, sets, count, &report, &err));
    free(report);
    CHECK_TEXT("redis.wait", ingest_config_rules[0].key);
    CHECK(ingest_config_rules[1].key == NULL);
    status = ingest_config_rules[0].check(config, &err);
    config_destroy(config);
    return status;
}

/* Else every tick waits until its own connection is given up, and none is ever told. */
TEST(ingest_config_waits_for_replicas_less_long_than_for_an_answer)
{
    CHECK_STATUS(OK, check_of("redis.wait_replicas=1", NULL, NULL));
    CHECK_STATUS(ERR_CONFIG,
                 check_of("redis.wait_replicas=1", "redis.wait=5s", "redis.reply_timeout=2s"));
    CHECK(strstr(err.text, "redis.wait") != NULL);
    CHECK(strstr(err.text, "redis.reply_timeout") != NULL);
    CHECK_STATUS(ERR_CONFIG,
                 check_of("redis.wait_replicas=1", "redis.wait=1s", "redis.reply_timeout=2s"));
    CHECK_STATUS(OK,
                 check_of("redis.wait_replicas=1", "redis.wait=999ms", "redis.reply_timeout=2s"));
    /* Each beside the other's default. */
    CHECK_STATUS(ERR_CONFIG, check_of("redis.wait_replicas=1", "redis.wait=10s", NULL));
    CHECK_STATUS(ERR_CONFIG, check_of("redis.wait_replicas=1", "redis.reply_timeout=200ms", NULL));
    CHECK_STATUS(OK, check_of("redis.wait_replicas=1", "redis.reply_timeout=202ms", NULL));
    /* Nobody is waited for. */
    CHECK_STATUS(OK, check_of("redis.wait=10s", "redis.reply_timeout=10ms", NULL));
}
