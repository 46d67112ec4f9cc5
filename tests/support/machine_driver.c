/* tests/support/machine_driver.c - see machine_driver.h. */
#include "tests/support/machine_driver.h"

#include "ops/hash.h"
#include "tests/test.h"

#include <stdio.h>
#include <string.h>

#define BASE_MS INT64_C(1700000000000)

const struct rules *driver_rules(void)
{
    static struct rules rules;
    struct event_schema *schema;
    struct error err;

    if (rules.sequence_max == 0) {
        CHECK_STATUS(OK, event_schema_default(&schema, &err));
        rules_init(&rules, schema, 42);
        event_schema_destroy(schema);
        rules.sequence_max = 4;
        rules.joins_max = 4;
        rules.join_window_ms = 40000;
        rules.late_max_ms = 25000;
    }
    return &rules;
}

static void draw(void *context, void *into, size_t bytes)
{
    static uint64_t drawn; /* every token and stamp of a test differs, in all its machines */
    uint8_t *at = into;

    (void)context;
    for (size_t i = 0; i < bytes; i++) {
        if (i % 8 == 0)
            drawn = hash64(&drawn, sizeof drawn, 99);
        at[i] = (uint8_t)(drawn >> 8 * (i % 8));
    }
}

void driver_reconnect(struct driver *driver, int shard)
{
    driver->connections[shard] = (struct model_connection){.epoch = driver->node->epoch};
    machine_connected(driver->machine, shard);
}

void driver_open(struct driver *driver, struct store_model *node, struct arena *arena,
                 const struct machine_options *options)
{
    struct machine_options chosen = options == NULL ? (struct machine_options){0} : *options;
    struct error err;

    *driver = (struct driver){.node = node, .arena = arena, .now_us = 1000000};
    chosen.shards = DRIVER_SHARDS;
    chosen.rules = driver_rules();
    chosen.max_future_skew_ms = 600000;
    if (chosen.ttl_ms == 0)
        chosen.ttl_ms = INT64_C(30) * 24 * 3600 * 1000;
    if (chosen.linger_us == 0)
        chosen.linger_us = 1;
    chosen.random = draw;
    CHECK_STATUS(OK, machine_create(&driver->machine, &chosen, &err));
    for (int p = 0; p < DRIVER_PARTITIONS; p++) {
        driver->high[p] = 1000;
        driver->group[p] = driver->assigned_at[p] = -1;
    }
    store_model_time(node, BASE_MS + driver->now_us / 1000);
    machine_time(driver->machine, BASE_MS + driver->now_us / 1000, driver->now_us);
    for (int s = 0; s < DRIVER_SHARDS; s++)
        driver_reconnect(driver, s);
}

void driver_close(struct driver *driver)
{
    machine_destroy(driver->machine);
    driver->machine = NULL;
}

static void handle(struct driver *driver, const struct machine_command *command)
{
    int p = command->partition;

    if (command->kind == COMMAND_STORE) {
        driver->requests[command->shard] = store_model_copy(driver->arena, command->store);
        driver->sent[command->store->kind]++;
        return;
    }
    CHECK(driver->commands_count < DRIVER_COMMANDS);
    driver->commands[driver->commands_count++] = *command;
    if (command->kind == COMMAND_LIMITS) {
        machine_limits(driver->machine, p, command->ticket, driver->low[p], driver->high[p],
                       driver->group[p]);
    } else if (command->kind == COMMAND_ASSIGN) {
        driver->assigned_at[p] = command->offset;
        machine_reading(driver->machine, p, command->ticket, ++driver->epoch[p]);
    } else if (command->kind == COMMAND_LETTER) {
        driver->letters[driver->letters_count++] = command->letter.id;
        if (!driver->hold_letters)
            machine_letter_delivered(driver->machine, command->letter.id);
    } else if (command->kind == COMMAND_HINT) {
        driver->group[p] = command->offset;
    }
}

void driver_take(struct driver *driver)
{
    struct machine_command command;

    machine_time(driver->machine, BASE_MS + driver->now_us / 1000, driver->now_us);
    while (machine_next(driver->machine, &command))
        handle(driver, &command);
}

bool driver_answer(struct driver *driver, int shard)
{
    struct store_request *request = driver->requests[shard];
    struct store_reply reply;

    if (request == NULL)
        return false;
    driver->requests[shard] = NULL;
    store_model_run(driver->node, &driver->connections[shard], request, &reply);
    machine_reply(driver->machine, shard, &reply);
    return true;
}

void driver_send_exec(struct driver *driver, int shard)
{
    driver->now_us += 10;
    for (int i = 0; i < 10; i++) {
        driver_take(driver);
        if (driver->requests[shard] != NULL && driver->requests[shard]->kind == STORE_EXEC)
            return;
        for (int s = 0; s < DRIVER_SHARDS; s++)
            (void)driver_answer(driver, s);
    }
    test_fail(__FILE__, __LINE__, "no EXEC came");
}

void driver_lose_request(struct driver *driver, int shard)
{
    driver->requests[shard] = NULL;
    machine_disconnected(driver->machine, shard);
    driver_reconnect(driver, shard);
}

void driver_lose_answer(struct driver *driver, int shard)
{
    struct store_reply reply;

    CHECK(driver->requests[shard] != NULL);
    store_model_run(driver->node, &driver->connections[shard], driver->requests[shard], &reply);
    driver_lose_request(driver, shard);
}

void driver_settle(struct driver *driver)
{
    bool busy = true;

    while (busy) {
        busy = false;
        driver_take(driver);
        for (int s = 0; s < DRIVER_SHARDS; s++)
            busy |= driver_answer(driver, s);
    }
}

void driver_wait(struct driver *driver, int64_t us)
{
    driver->now_us += us;
    store_model_time(driver->node, BASE_MS + driver->now_us / 1000);
    driver_settle(driver);
}

void driver_failover(struct driver *driver, int writes)
{
    for (int s = 0; s < DRIVER_SHARDS; s++) {
        driver->requests[s] = NULL;
        machine_disconnected(driver->machine, s);
    }
    CHECK_INT(writes, store_model_rollback(driver->node, writes));
    for (int s = 0; s < DRIVER_SHARDS; s++)
        driver_reconnect(driver, s);
}

void driver_assign(struct driver *driver, int partition)
{
    struct error err;

    CHECK_STATUS(OK, machine_assigned(driver->machine, partition, 0, &err));
    machine_polled(driver->machine);
    driver_settle(driver);
}

/* ---- records ---- */

uint64_t driver_hash(int64_t offset)
{
    return hash64(&offset, sizeof offset, 5);
}

static void record(struct driver *driver, int partition, int64_t offset, const struct event *event)
{
    struct machine_record record = {.partition = partition,
                                    .epoch = driver->epoch[partition],
                                    .offset = offset,
                                    .timestamp_ms = BASE_MS,
                                    .hash = driver_hash(offset),
                                    .event = event,
                                    .refusal = event == NULL ? REFUSAL_NOT_JSON : REFUSAL_NONE,
                                    .value = {"{raw", 4}};
    struct error err;

    CHECK_STATUS(OK, machine_record(driver->machine, &record, &err));
    driver->next[partition] = offset + 1;
}

void driver_event_at(struct driver *driver, int partition, int64_t offset, const char *user,
                     int action, const char *item, int seconds)
{
    struct event event = {.kind = EVENT_ACTION,
                          .action = (uint8_t)action,
                          .user = text_of(user),
                          .item = text_of(item),
                          .time_ms = BASE_MS + (int64_t)seconds * 1000};

    record(driver, partition, offset, &event);
}

void driver_event(struct driver *driver, int partition, const char *user, int action,
                  const char *item, int seconds)
{
    driver_event_at(driver, partition, driver->next[partition], user, action, item, seconds);
}

void driver_impression(struct driver *driver, int partition, const char *user, const char *request,
                       const char *item, int seconds)
{
    struct text row = text_of(item);
    struct event event = {.kind = EVENT_IMPRESSION,
                          .user = text_of(user),
                          .rows = &row,
                          .rows_count = 1,
                          .request_id = text_of(request),
                          .time_ms = BASE_MS + (int64_t)seconds * 1000};

    record(driver, partition, driver->next[partition], &event);
}

void driver_erase(struct driver *driver, int partition, const char *user, int seconds)
{
    struct event event = {
        .kind = EVENT_ERASE, .user = text_of(user), .time_ms = BASE_MS + (int64_t)seconds * 1000};

    record(driver, partition, driver->next[partition], &event);
}

void driver_dead(struct driver *driver, int partition)
{
    record(driver, partition, driver->next[partition], NULL);
}

/* ---- what is there now ---- */

int driver_shard(const char *user)
{
    return rules_shard(driver_rules(), text_of(user), DRIVER_SHARDS);
}

const char *driver_user_in(int shard, int n)
{
    static char name[32];

    for (int i = 0;; i++) {
        (void)snprintf(name, sizeof name, "user%d", i);
        if (driver_shard(name) == shard && n-- == 0)
            return name;
    }
}

const struct machine_stats *driver_stats(struct driver *driver)
{
    return machine_stats(driver->machine);
}

int driver_rows(struct driver *driver, int partition, const char *user)
{
    struct model_key *key = store_model_find(driver->node, MODEL_OUTBOX, driver_shard(user),
                                             user_value_writer(partition, 0), (struct text){0});

    return key == NULL ? 0 : key->now.rows_count;
}

int driver_count(const struct driver *driver, enum command_kind kind)
{
    int count = 0;

    for (int i = 0; i < driver->commands_count; i++)
        count += driver->commands[i].kind == kind;
    return count;
}

const struct machine_command *driver_last(const struct driver *driver, enum command_kind kind)
{
    for (int i = driver->commands_count - 1; i >= 0; i--)
        if (driver->commands[i].kind == kind)
            return &driver->commands[i];
    test_fail(__FILE__, __LINE__, "no command of kind %d", (int)kind);
}

struct store_m driver_m(struct driver *driver, int partition, int shard)
{
    struct model_key *key = store_model_find(driver->node, MODEL_M, shard,
                                             user_value_writer(partition, 0), (struct text){0});

    if (key == NULL || !key->now.m.has_state)
        return (struct store_m){.state.next = -1};
    return key->now.m;
}

const char *driver_times(struct driver *driver, const char *user)
{
    static char text[400];
    static struct user_value value;
    struct model_key *key = store_model_find(driver->node, MODEL_USER, driver_shard(user), 0,
                                             text_of(user));
    struct error err;
    size_t used = 0;

    if (key == NULL)
        return "absent";
    if (key->now.bad_type)
        return "bad type";
    if (user_value_decode(&value, key->now.bytes, key->now.bytes_count, driver->arena, &err) != OK)
        return "corrupt";
    text[0] = 0;
    for (int i = 0; i < value.count && used < sizeof text; i++)
        used += (size_t)snprintf(text + used, sizeof text - used, "%s%lld", i == 0 ? "" : " ",
                                 (long long)((value.entries[i].time_ms - BASE_MS) / 1000));
    return text;
}

uint32_t driver_writer(struct driver *driver, const char *user)
{
    struct model_key *key = store_model_find(driver->node, MODEL_USER, driver_shard(user), 0,
                                             text_of(user));
    struct user_header header;

    CHECK(key != NULL && user_value_header(&header, key->now.bytes, key->now.bytes_count));
    return header.writer;
}
