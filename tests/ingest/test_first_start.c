/*
 * Tests ingest/first_start: two processes over one Redis, one of which makes the data set at each
 * moment between the other's questions; and when nothing may be made.
 */
#include "ingest/first_start.h"

#include "ops/hash.h"
#include "tests/support/redis_server.h"
#include "tests/test.h"

#include <string.h>

#define TIMEOUT_MS 30000
#define PARTITIONS 6 /* of `examples`, as Kafka has it */

/* A process, and what happens while it asks Kafka. */
struct process {
    struct first_start how;
    struct process *other; /* starts meanwhile, NULL: nobody */
    bool read;             /* the group has read, or will have when the other one has started */
    bool kafka_is_down;
    int reads_asked, partitions_asked;
    struct redis_dataset dataset;
};

static struct redis_server server;
static struct redis_target target;
static struct redis_keys keys;

static struct redis_dataset wanted(void)
{
    struct redis_dataset d = {.shards = 16, .examples_partitions = 4, .max_future_skew_ms = 300000};
    struct event_schema *schema;
    struct error err;

    CHECK_STATUS(OK, event_schema_default(&schema, &err));
    rules_init(&d.rules, schema, 0);
    event_schema_destroy(schema);
    return d;
}

static enum status start(struct process *process, struct error *err)
{
    struct redis_dataset want = wanted();

    return first_start(&process->dataset, &process->how, &want, err);
}

static void other_starts(struct process *process)
{
    struct process *other = process->other;
    struct error err;

    process->other = NULL;
    if (other != NULL)
        CHECK_STATUS(OK, start(other, &err));
}

static enum status never_read(void *context, struct error *err)
{
    struct process *process = context;

    process->reads_asked++;
    other_starts(process);
    if (process->kafka_is_down)
        return error_set(err, ERR_UNAVAILABLE, "kafka is down");
    return process->read ? error_set(err, ERR_CONFLICT, "the group has read the topic") : OK;
}

static enum status ask_partitions(void *context, int *partitions, struct error *err)
{
    struct process *process = context;

    (void)err;
    process->partitions_asked++;
    other_starts(process);
    *partitions = PARTITIONS;
    return OK;
}

static void begin(struct process *one, struct process *two)
{
    struct process *both[] = {one, two};
    struct error err;

    redis_server_start(&server, NULL);
    CHECK_STATUS(OK, hash_start(&err));
    CHECK_STATUS(OK, redis_target_parse(&target, server.url, &err));
    CHECK_STATUS(OK, redis_keys_init(&keys, "fr", &err));
    for (int i = 0; i < 2; i++) {
        *both[i] = (struct process){.how = {.keys = &keys,
                                            .timeout_ms = TIMEOUT_MS,
                                            .never_read = never_read,
                                            .ask_partitions = ask_partitions,
                                            .context = both[i]}};
        CHECK_STATUS(OK,
                     redis_connection_create(&both[i]->how.connection, &target, NULL, NULL, &err));
    }
}

static void end(struct process *one, struct process *two)
{
    redis_dataset_clear(&one->dataset);
    redis_dataset_clear(&two->dataset);
    redis_connection_destroy(one->how.connection);
    redis_connection_destroy(two->how.connection);
    redis_server_stop(&server);
}

static void check_agree(const struct process *one, const struct process *two)
{
    CHECK_TEXT(one->dataset.id, two->dataset.id);
    CHECK(one->dataset.rules.seed == two->dataset.rules.seed);
    CHECK_INT(PARTITIONS, one->dataset.examples_partitions);
    CHECK_INT(PARTITIONS, two->dataset.examples_partitions);
}

/* The other one has made the data set, and its commits are the group's offset, between "there is
 * none" and "has anybody read?": that is no loss. */
TEST(first_start_is_no_loss_where_another_process_starts_and_commits_meanwhile)
{
    struct process one, two;
    struct error err;

    begin(&one, &two);
    one.other = &two;
    one.read = true;
    CHECK_STATUS(OK, start(&one, &err));
    check_agree(&one, &two);
    CHECK_INT(0, one.partitions_asked); /* what is stored holds */
    end(&one, &two);
}

TEST(first_start_agrees_with_another_process_that_has_not_committed_yet)
{
    for (int moment = 0; moment < 2; moment++) {
        struct process one, two;
        struct error err;

        begin(&one, &two);
        one.how.rebuild = moment == 1; /* then the only question is that for the partitions */
        one.other = &two;
        CHECK_STATUS(OK, start(&one, &err));
        check_agree(&one, &two);
        CHECK_INT(1, one.partitions_asked);
        CHECK_INT(moment == 0, one.reads_asked);
        end(&one, &two);
    }
}

TEST(first_start_makes_nothing_where_the_state_was_lost)
{
    struct process one, two;
    struct redis_dataset stored;
    struct error err;

    begin(&one, &two);
    one.read = true;
    CHECK_STATUS(ERR_CONFLICT, start(&one, &err));
    CHECK(strstr(err.text, "has read") != NULL);
    one.kafka_is_down = true;
    CHECK_STATUS(ERR_UNAVAILABLE, start(&one, &err)); /* not known is not never */
    CHECK_STATUS(ERR_NOT_FOUND,
                 redis_dataset_load(&stored, one.how.connection, &keys, TIMEOUT_MS, &err));
    CHECK_INT(0, one.partitions_asked);
    one.how.rebuild = true;
    CHECK_STATUS(OK, start(&one, &err));
    CHECK_INT(2, one.reads_asked); /* an operator who says so is believed */
    CHECK_STATUS(OK, start(&two, &err));
    check_agree(&one, &two);
    CHECK_INT(0, two.reads_asked + two.partitions_asked); /* what is there is loaded */
    end(&one, &two);
}

TEST(first_start_keeps_to_the_number_of_partitions_that_is_configured)
{
    struct process one, two;
    struct error err;

    begin(&one, &two);
    one.how.partitions_given = true;
    CHECK_STATUS(OK, start(&one, &err));
    CHECK_INT(4, one.dataset.examples_partitions);
    CHECK_INT(0, one.partitions_asked);
    CHECK_STATUS(OK, start(&two, &err)); /* it follows */
    CHECK_INT(4, two.dataset.examples_partitions);
    end(&one, &two);
}
