/* Tests ingest/offsets_view: both sides, one of them, and neither; and the forecast of what is
 * there. The rules of a forecast: test_offsets_forecast.c. */
#include "ingest/offsets_view.h"

#include "features/features_main.h"
#include "features/redis_target.h"
#include "ops/kafka_consumer.h"
#include "tests/ingest/dataset_fixture.h"
#include "tests/support/kafka.h"
#include "tests/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct kafka_broker_topic topics[] = {{"events", 2}, {NULL, 0}};
static struct dataset_fixture f;
static struct config *config;

static void begin(bool broker)
{
    static const struct config_row *const tables[] = {kafka_config_rows, redis_config_rows, NULL};
    char url[200], brokers[100], *report;
    const char *const sets[] = {url, brokers};
    struct error err;

    dataset_fixture_open(&f, broker ? topics : NULL);
    (void)snprintf(url, sizeof url, "redis.url=%s", f.server.url);
    (void)snprintf(brokers, sizeof brokers, "kafka.brokers=%s",
                   broker ? kafka_broker_address(f.broker) : "127.0.0.1:1");
    CHECK_STATUS(OK, config_load(&config, tables, NULL, sets, 2, &report, &err));
    free(report);
}

static void end(struct offsets_view *view)
{
    offsets_view_close(view);
    offsets_view_close(view); /* zeroed is fine */
    config_destroy(config);
    dataset_fixture_close(&f);
}

TEST(offsets_view_shows_what_is_recorded_and_what_kafka_has_more)
{
    static const struct dataset_partition known[] = {{.partition = 1, .start = 2}};
    struct offsets_forecast forecasts[3] = {0};
    struct offsets_view view;
    struct error err;

    begin(true);
    dataset_fixture_record(&f, known, 1);
    for (int shard = 0; shard < DATASET_FIXTURE_SHARDS; shard++)
        dataset_fixture_apply(&f, shard, 1, 0, 4 + shard);
    kafka_fill(kafka_broker_address(f.broker), "events", 1, 0, 10);
    kafka_fill(kafka_broker_address(f.broker), "events", 0, 0, 3);
    CHECK_STATUS(OK, offsets_view_open(&view, config, true, &err));
    CHECK_INT(2, view.partitions);
    CHECK_INT(2, view.offsets.count);
    CHECK(view.offsets.list[0].recorded && view.offsets.list[0].partition == 1);
    CHECK_INT(4, offsets_position(&view.offsets.list[0], view.offsets.shards));
    CHECK_INT(7, view.offsets.list[0].next_max);
    CHECK_INT(0, view.logs[0].low);
    CHECK_INT(10, view.logs[0].high);
    CHECK_INT(-1, view.logs[0].group);
    CHECK(!view.offsets.list[1].recorded && view.offsets.list[1].partition == 0);
    CHECK_INT(3, view.logs[1].high);
    CHECK_INT(-1, offsets_position(&view.offsets.list[1], view.offsets.shards));
    CHECK_STATUS(OK, offsets_view_forecast(&view, -1, forecasts, &err));
    CHECK(!forecasts[0].stops && forecasts[0].position == 4 && forecasts[0].again == 3);
    CHECK(!forecasts[1].stops && forecasts[1].position == 0);
    end(&view);
}

/* Redis must answer; that Kafka does not is told in the view. */
TEST(offsets_view_goes_on_without_kafka_and_not_without_a_data_set)
{
    static const struct dataset_partition known[] = {{.partition = 0, .start = 2}};
    struct offsets_view view;
    struct error err;

    begin(false);
    CHECK_STATUS(ERR_NOT_FOUND, offsets_view_open(&view, config, false, &err));
    CHECK(view.nodes == NULL && view.offsets.count == 0);
    dataset_fixture_record(&f, known, 1);
    CHECK_STATUS(OK, offsets_view_open(&view, config, true, &err));
    CHECK_INT(0, view.partitions);
    CHECK(view.kafka.text[0] != 0);
    CHECK_INT(1, view.offsets.count);
    CHECK_INT(-1, view.logs[0].high);
    offsets_view_close(&view);
    redis_server_kill(&f.server);
    CHECK_STATUS(ERR_UNAVAILABLE, offsets_view_open(&view, config, false, &err));
    end(&view);
}
