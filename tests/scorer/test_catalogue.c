/* Tests scorer/catalogue against the embedded broker: gone, back again, and news reaching a served
 * version. Waits are for what other threads do, bounded, and end as soon as it is done. */
#include "scorer/catalogue.h"

#include "ops/hash.h"
#include "ops/kafka_admin.h"
#include "ops/kafka_producer.h"
#include "scorer/served.h"

#include "tests/scorer/scorer_fixture.h"
#include "tests/test.h"

#include <stddef.h>
#include <string.h>
#include <unistd.h>

static struct kafka_broker *broker;
static struct kafka_producer *producer;
static struct catalogue *catalogue;

static void setup(void)
{
    static const struct kafka_broker_topic topics[] = {{"items", 2}, {NULL, 0}};
    struct kafka_producer_options to = {0};
    struct kafka_consumer_options from = {.topic = "items"};
    struct error err;

    CHECK_STATUS(OK, hash_start(&err));
    CHECK_STATUS(OK, kafka_broker_start(&broker, topics, &err));
    to.brokers = from.brokers = kafka_broker_address(broker);
    CHECK_STATUS(OK, kafka_producer_open(&producer, &to, &err));
    CHECK_STATUS(OK, catalogue_open(&catalogue, &from, &err));
}

static void teardown(void)
{
    catalogue_close(catalogue);
    kafka_producer_close(producer, 1000);
    kafka_broker_stop(broker);
}

static void say(const char *item, const char *value)
{
    struct kafka_message message = {.topic = "items", .partition = 1, .key = text_of(item)};
    struct error err;

    if (value != NULL)
        message.value = text_of(value);
    CHECK_STATUS(OK, kafka_produce(producer, &message, &err));
    CHECK_STATUS(OK, kafka_producer_flush(producer, 10000, &err));
}

static void wait_for_version(uint64_t version)
{
    for (int i = 0; i < 2000 && catalogue_version(catalogue) < version; i++)
        (void)usleep(10000);
    CHECK_INT((int64_t)version, (int64_t)catalogue_version(catalogue));
}

TEST(catalogue_takes_items_out_and_lets_them_back_in)
{
    struct item_tables *tables = fixture_tables(1700000000000);
    int32_t seven = item_tables_find(tables, fixture_item(7));

    setup();
    say("i7", "{\"item\":\"i7\"}");
    say("i7", NULL);
    say("nobody-knows-it", NULL);
    say("i8", "not json");
    wait_for_version(2);
    catalogue_apply(catalogue, tables, FIXTURE_SEED);
    CHECK(item_tables_gone(tables, seven));
    CHECK(!item_tables_gone(tables, item_tables_find(tables, fixture_item(8))));
    say("i7", "{\"item\":\"i7\"}");
    wait_for_version(3);
    catalogue_apply(catalogue, tables, FIXTURE_SEED);
    CHECK(!item_tables_gone(tables, seven));
    teardown();
    item_tables_destroy(tables);
}

/* A catalogue beside a version that serves. */
struct serving {
    struct item_tables *tables;
    struct served_slot *slot;
};

static struct serving serve_first(void)
{
    struct serving serving = {.tables = fixture_tables(1700000000000)};
    struct error err;
    bool changed;

    setup();
    fixture_publish(test_folder(), "v1", serving.tables, false, false);
    CHECK_STATUS(OK, served_slot_create(&serving.slot, test_folder(), catalogue, &err));
    CHECK_STATUS(OK, served_refresh(serving.slot, &changed, &err));
    return serving;
}

/* Item 3 goes, and the first version serves without it after a refresh that returns status. */
static void take_out(const struct serving *serving, enum status status)
{
    const struct served *served;
    struct error err;
    bool changed;

    say("i3", NULL);
    wait_for_version(1);
    CHECK_STATUS(status, served_refresh(serving->slot, &changed, &err));
    CHECK(changed);
    served = served_acquire(serving->slot);
    CHECK_TEXT("v1+0", served->version);
    CHECK(item_tables_gone(served->tables, item_tables_find(served->tables, fixture_item(3))));
    served_release(serving->slot, served);
}

static void end_serving(struct serving *serving)
{
    served_slot_destroy(serving->slot);
    teardown();
    item_tables_destroy(serving->tables);
}

TEST(catalogue_news_reach_the_served_version_without_a_new_bundle)
{
    struct serving serving = serve_first();
    struct error err;
    bool changed;

    take_out(&serving, OK);
    CHECK_STATUS(OK, served_refresh(serving.slot, &changed, &err));
    CHECK(!changed);
    end_serving(&serving);
}

TEST(catalogue_news_reach_what_serves_while_the_newest_bundle_is_refused)
{
    struct serving serving = serve_first();
    struct error err;
    bool changed;

    fixture_publish(test_folder(), "v2", serving.tables, true, true); /* of other scalars */
    CHECK_STATUS(ERR_CONFLICT, served_refresh(serving.slot, &changed, &err));
    take_out(&serving, ERR_REJECTED);
    end_serving(&serving);
}

TEST(catalogue_says_what_to_do_by_what_is_wrong)
{
    CHECK(strstr(catalogue_remedy(ERR_NOT_FOUND), "create it, compacted") != NULL);
    CHECK(strstr(catalogue_remedy(ERR_TIMEOUT), "create") == NULL);
    CHECK(strstr(catalogue_remedy(ERR_UNAVAILABLE), "freshet doctor --only kafka") != NULL);
}
