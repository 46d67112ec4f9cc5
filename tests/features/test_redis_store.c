/*
 * Tests features/redis_store against a private redis-server: each kind of request, what aborts one,
 * what refuses one, wrong types in every place, and a connection that dies with one in flight.
 */
#include "features/redis_store.h"

#include "ops/clock.h"
#include "tests/support/redis_server.h"
#include "tests/test.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define SHARDS 3

static struct redis_server server;
static struct redis_keys keys;
static struct redis_store *store;
static struct redis_store_event event;

/* Steps until something happens. */
static void next_event(void)
{
    int64_t until_us = clock_monotonic_us() + 60000000;

    while (!redis_store_next(store, &event)) {
        struct pollfd ready = {.fd = redis_store_descriptor(store), .events = POLLIN};
        int64_t wait_us = redis_store_due_us(store) - clock_monotonic_us();

        CHECK(clock_monotonic_us() < until_us);
        if (wait_us > 0)
            (void)poll(&ready, 1, wait_us > 10000000 ? 10000 : (int)(wait_us / 1000) + 1);
        redis_store_step(store, clock_monotonic_us());
    }
}

static void begin(const char *const *extra)
{
    struct redis_target target;
    struct redis_store_options options = {
        .target = &target, .keys = &keys, .topic = "ev", .shards = SHARDS};
    struct error err;

    redis_server_start(&server, extra);
    options.limits.backoff_ms = 20;
    CHECK_STATUS(OK, redis_target_parse(&target, server.url, &err));
    CHECK_STATUS(OK, redis_keys_init(&keys, "fr", &err));
    CHECK_STATUS(OK, redis_store_create(&store, &options, &err));
    for (int i = 0; i < SHARDS; i++) {
        next_event();
        CHECK_INT(REDIS_STORE_CONNECTED, event.kind);
    }
    CHECK_INT(SHARDS, redis_store_connected(store));
    CHECK_TEXT("", redis_store_why(store));
}

static void end(void)
{
    redis_store_destroy(store);
    redis_server_stop(&server);
}

static const struct store_reply *ask(const struct store_request *request)
{
    redis_store_send(store, request);
    next_event();
    CHECK_INT(REDIS_STORE_REPLY, event.kind);
    CHECK_INT(request->shard, event.shard);
    return &event.reply;
}

static const struct store_reply *claim(int shard, uint32_t tp, uint8_t fill)
{
    struct store_request request = {.kind = STORE_CLAIM, .shard = shard, .tp = tp};

    memset(request.token, fill, sizeof request.token);
    return ask(&request);
}

static const struct store_reply *read_one(int shard, const uint32_t *tps, int tps_count,
                                          const char *user)
{
    static struct text users[1];
    struct store_request request = {.kind = STORE_READ,
                                    .shard = shard,
                                    .fresh = true,
                                    .tps = tps,
                                    .tps_count = tps_count,
                                    .users = users,
                                    .users_count = user != NULL};

    if (user != NULL)
        users[0] = text_of(user);
    return ask(&request);
}

TEST(redis_store_claims_and_finds_what_the_last_owner_left)
{
    const struct store_reply *reply;

    begin(NULL);
    reply = claim(1, 7, 0xaa);
    CHECK_INT(STORE_OK, reply->result);
    CHECK_INT(1, reply->ms_count);
    CHECK(reply->ms[0].has_token && reply->ms[0].token[15] == 0xaa && !reply->ms[0].has_state);
    CHECK_INT(STORE_ABSENT, reply->outbox.found);
    (void)REDIS_COMMAND(&server, "HSET", "fr{01}mev:7:0", "stamp", "00000000000000ff", "state",
                        "5 77 4 00000000000000ab 1 2 3 4 5 6");
    (void)REDIS_COMMAND(&server, "XADD", "fr{01}oev:7:0", "9-3", "b", "x");
    (void)REDIS_COMMAND(&server, "XADD", "fr{01}oev:7:0", "18446744073709551615-7", "b", "x");
    (void)REDIS_COMMAND(&server, "XDEL", "fr{01}oev:7:0", "18446744073709551615-7");
    reply = claim(1, 7, 0xbb);
    CHECK(reply->ms[0].has_state && !reply->ms[0].damaged);
    CHECK_INT(5, reply->ms[0].state.next);
    CHECK_INT(6, reply->ms[0].state.counts[OUTCOME_DEAD]);
    CHECK_INT(0xff, (int64_t)reply->ms[0].stamp);
    CHECK(reply->ms[0].token[0] == 0xbb);
    CHECK_INT(STORE_PRESENT, reply->outbox.found);
    CHECK_INT(1, reply->outbox.rows);
    CHECK(reply->outbox.last.high == UINT64_MAX && reply->outbox.last.low == 7);
    end();
}

TEST(redis_store_says_when_m_or_the_outbox_is_damaged)
{
    const uint32_t tps[] = {1, 2};
    const struct store_reply *reply;

    begin(NULL);
    (void)REDIS_COMMAND(&server, "HSET", "fr{00}mev:1:0", "token", "short");
    (void)REDIS_COMMAND(&server, "SET", "fr{00}mev:2:0", "text");
    (void)REDIS_COMMAND(&server, "SET", "fr{00}oev:2:0", "text");
    reply = read_one(0, tps, 2, NULL);
    CHECK_INT(STORE_OK, reply->result);
    CHECK_INT(2, reply->ms_count);
    CHECK(reply->ms[0].damaged && reply->ms[1].damaged);
    reply = claim(0, 2, 1);
    CHECK_INT(STORE_OK, reply->result);
    CHECK(reply->ms[0].damaged);
    CHECK_INT(STORE_BAD_TYPE, reply->outbox.found);
    end();
}

TEST(redis_store_records_a_start_once)
{
    struct store_request request = {.kind = STORE_START, .shard = 0, .tp = 4, .offset = -1};

    begin(NULL);
    (void)REDIS_COMMAND(&server, "HSET", "fr{00}set", "format", "1");
    CHECK_INT(STORE_NO_OFFSET, ask(&request)->offset);
    request.offset = 30;
    CHECK_INT(30, ask(&request)->offset);
    request.offset = 99;
    CHECK_INT(30, ask(&request)->offset);
    CHECK_TEXT("30", REDIS_COMMAND(&server, "HGET", "fr{00}set", "start:ev:4"));
    (void)REDIS_COMMAND(&server, "HSET", "fr{00}set", "start:ev:4", "x");
    CHECK_INT(STORE_NO_OFFSET, ask(&request)->offset);
    end();
}

/* FAULTS 51: before the group has committed anything, nothing else tells a lost data set. */
TEST(redis_store_records_no_start_where_no_data_set_is)
{
    struct store_request request = {.kind = STORE_START, .shard = 0, .tp = 4, .offset = 30};

    begin(NULL);
    CHECK_INT(STORE_NO_OFFSET, ask(&request)->offset);
    end();
}

static struct store_write whole(const char *user, const char *bytes, int64_t ttl_ms)
{
    return (struct store_write){.user = text_of(user),
                                .whole = true,
                                .count = (uint32_t)strlen(bytes),
                                .bytes = (const uint8_t *)bytes,
                                .ttl_ms = ttl_ms};
}

static struct store_write patch(const char *user, uint32_t at, const char *bytes, int64_t ttl_ms)
{
    struct store_write write = whole(user, bytes, ttl_ms);

    write.whole = false;
    write.at = at;
    return write;
}

TEST(redis_store_executes_writes_rows_and_m_and_reads_behind)
{
    static const uint32_t tps[] = {7};
    const struct store_write writes[] = {whole("a", "0123456789", 60000), patch("a", 2, "xy", 0),
                                         patch("gone", 4, "z", 50000), patch("b", 0, "b", 0)};
    const struct store_append appends[] = {{7, {3, 1}, (const uint8_t *)"e1", 2},
                                           {7, {3, 2}, (const uint8_t *)"e2", 2}};
    const struct store_m_write ms[] = {{.tp = 7, .has_state = true, .state = {.next = 4}},
                                       {.tp = 9, .has_stamp = true, .stamp = 0xabc}};
    struct store_request request = {.kind = STORE_EXEC,
                                    .shard = 2,
                                    .tps = tps,
                                    .tps_count = 1,
                                    .writes = writes,
                                    .writes_count = 4,
                                    .appends = appends,
                                    .appends_count = 2,
                                    .ms = ms,
                                    .ms_count = 2};
    struct store_request trim = {.kind = STORE_TRIM, .shard = 2, .tp = 7, .ids_count = 1};
    const struct store_id ids[] = {{3, 1}};
    const struct store_reply *reply;

    begin(NULL);
    (void)REDIS_COMMAND(&server, "LPUSH", "fr{02}ub", "list");
    reply = ask(&request);
    CHECK_INT(STORE_OK, reply->result);
    CHECK_INT(4, reply->lengths_count);
    CHECK_INT(10, reply->lengths[0]);
    CHECK_INT(10, reply->lengths[1]);
    CHECK_INT(5, reply->lengths[2]); /* was not there: the reply tells */
    CHECK_INT(-1, reply->lengths[3]);
    CHECK_INT(1, reply->ms_count);
    CHECK_INT(4, reply->ms[0].state.next);
    CHECK_TEXT("01xy456789", REDIS_COMMAND(&server, "GET", "fr{02}ua"));
    CHECK(strcmp("-1", REDIS_COMMAND(&server, "PTTL", "fr{02}ugone")) != 0);
    CHECK_TEXT("0000000000000abc", REDIS_COMMAND(&server, "HGET", "fr{02}mev:9:0", "stamp"));
    CHECK_TEXT("3-1\nb\ne1\n3-2\nb\ne2",
               REDIS_COMMAND(&server, "XRANGE", "fr{02}oev:7:0", "-", "+"));
    trim.ids = ids;
    reply = ask(&trim);
    CHECK_INT(1, reply->removed);
    CHECK_INT(1, reply->outbox.rows);
    CHECK_INT(0, ask(&trim)->removed);
    end();
}

TEST(redis_store_reads_an_outbox_by_pages_and_deletes_rows_in_an_exec)
{
    struct store_append appends[STORE_ROWS_MAX + 2];
    const struct store_delete deletes[] = {{7, {1, 1}}, {7, {3, 1}}, {7, {9, 9}}, {8, {1, 1}}};
    const struct store_append later = {7, {STORE_ROWS_MAX + 5, 1}, (const uint8_t *)"late", 4};
    struct store_request fill = {.kind = STORE_EXEC, .shard = 2, .appends = appends};
    struct store_request take = {.kind = STORE_EXEC,
                                 .shard = 2,
                                 .deletes = deletes,
                                 .deletes_count = 4,
                                 .appends = &later,
                                 .appends_count = 1};
    struct store_request rows = {.kind = STORE_ROWS, .shard = 2, .tp = 7};
    const struct store_reply *reply;

    begin(NULL);
    CHECK_INT(0, ask(&rows)->rows_count);
    for (int i = 0; i < STORE_ROWS_MAX + 2; i++)
        appends[i] = (struct store_append){7, {(uint64_t)i + 1, 1}, (const uint8_t *)"row", 3};
    fill.appends_count = STORE_ROWS_MAX + 2;
    CHECK_INT(STORE_OK, ask(&fill)->result);
    reply = ask(&rows);
    CHECK_INT(STORE_ROWS_MAX, reply->rows_count);
    CHECK(reply->rows[0].id.high == 1 && reply->rows[0].id.low == 1);
    CHECK(reply->rows[5].bytes_count == 3 && memcmp(reply->rows[5].bytes, "row", 3) == 0);
    rows.from = reply->rows[STORE_ROWS_MAX - 1].id;
    rows.from.low++;
    CHECK_INT(2, ask(&rows)->rows_count);
    CHECK_INT(STORE_OK, ask(&take)->result);
    rows.from = (struct store_id){0, 0};
    reply = ask(&rows);
    CHECK(reply->rows[0].id.high == 2 && reply->rows[1].id.high == 4);
    CHECK_TEXT("65", REDIS_COMMAND(&server, "XLEN", "fr{02}oev:7:0"));
    (void)REDIS_COMMAND(&server, "XADD", "fr{02}oev:1:0", "5-5", "x", "1", "y", "2");
    rows.tp = 1;
    reply = ask(&rows);
    CHECK_INT(1, reply->rows_count); /* none of ours: without bytes */
    CHECK_INT(0, (int64_t)reply->rows[0].bytes_count);
    (void)REDIS_COMMAND(&server, "SET", "fr{02}oev:2:0", "text");
    rows.tp = 2;
    reply = ask(&rows);
    CHECK_INT(STORE_OK, reply->result);
    CHECK_INT(0, reply->rows_count);
    end();
}

TEST(redis_store_reads_users_of_every_kind)
{
    static const struct text users[] = {{"a", 1}, {"none", 4}, {"list", 4}, {"empty", 5}};
    struct store_request request = {
        .kind = STORE_READ, .shard = 0, .users = users, .users_count = 4};
    const struct store_reply *reply;

    begin(NULL);
    (void)REDIS_COMMAND(&server, "SET", "fr{00}ua", "value");
    (void)REDIS_COMMAND(&server, "LPUSH", "fr{00}ulist", "x");
    (void)REDIS_COMMAND(&server, "SET", "fr{00}uempty", "");
    reply = ask(&request);
    CHECK_INT(STORE_OK, reply->result);
    CHECK_INT(4, reply->values_count);
    CHECK_INT(STORE_PRESENT, reply->values[0].found);
    CHECK(reply->values[0].bytes_count == 5 && memcmp(reply->values[0].bytes, "value", 5) == 0);
    CHECK_INT(STORE_ABSENT, reply->values[1].found);
    CHECK_INT(STORE_BAD_TYPE, reply->values[2].found);
    CHECK_INT(STORE_PRESENT, reply->values[3].found);
    CHECK_INT(0, (int64_t)reply->values[3].bytes_count);
    end();
}

TEST(redis_store_aborts_when_a_watched_key_was_touched)
{
    static const uint32_t tps[] = {7};
    const struct store_write writes[] = {whole("a", "mine", 0)};
    struct store_request request = {.kind = STORE_EXEC,
                                    .shard = 0,
                                    .tps = tps,
                                    .tps_count = 1,
                                    .writes = writes,
                                    .writes_count = 1};

    begin(NULL);
    (void)read_one(0, tps, 1, "a");
    (void)REDIS_COMMAND(&server, "SET", "fr{00}ua", "other");
    CHECK_INT(STORE_NIL, ask(&request)->result);
    CHECK_INT(1, event.reply.ms_count); /* the read behind it is good */
    CHECK_TEXT("other", REDIS_COMMAND(&server, "GET", "fr{00}ua"));
    CHECK_INT(STORE_OK, ask(&request)->result);
    (void)REDIS_COMMAND(&server, "HSET", "fr{00}mev:7:0", "token", "someone else");
    CHECK_INT(STORE_NIL, ask(&request)->result);
    end();
}

TEST(redis_store_is_refused_whole_when_memory_is_full)
{
    static const char *const small[] = {"--maxmemory", "1mb", NULL};
    const struct store_write writes[] = {patch("a", 0, "x", 0), whole("b", "y", 0)};
    struct store_request request = {
        .kind = STORE_EXEC, .shard = 0, .writes = writes, .writes_count = 2};

    begin(small);
    CHECK_TEXT("", redis_store_why(store));
    CHECK_INT(STORE_REFUSED, ask(&request)->result);
    CHECK_TEXT("0", REDIS_COMMAND(&server, "EXISTS", "fr{00}ua", "fr{00}ub"));
    CHECK_INT(STORE_OK, read_one(0, NULL, 0, "a")->result); /* reads go on */
    CHECK(strstr(redis_store_why(store), "maxmemory is reached") != NULL);
    (void)REDIS_COMMAND(&server, "CONFIG", "SET", "maxmemory", "0");
    CHECK_INT(STORE_OK, ask(&request)->result);
    CHECK_TEXT("", redis_store_why(store));
    end();
}

TEST(redis_store_loses_what_was_in_flight_and_connects_again)
{
    const struct store_write writes[] = {whole("a", "x", 0)};
    struct store_request request = {
        .kind = STORE_EXEC, .shard = 1, .writes = writes, .writes_count = 1};
    int lost = 0, back = 0;

    begin(NULL);
    redis_server_kill(&server);
    redis_store_send(store, &request);
    while (lost < SHARDS) {
        next_event();
        CHECK_INT(REDIS_STORE_DISCONNECTED, event.kind);
        lost++;
    }
    CHECK_INT(0, redis_store_connected(store));
    CHECK(strlen(redis_store_why(store)) > 0);
    redis_server_restart(&server, NULL);
    while (back < SHARDS) {
        next_event();
        CHECK_INT(REDIS_STORE_CONNECTED, event.kind);
        back++;
    }
    CHECK_INT(STORE_OK, ask(&request)->result);
    end();
}

/* The answer is read by a step before anybody looks: the descriptor is silent then, so a loop that
 * slept on it would sleep until its next tick. */
TEST(redis_store_is_due_while_an_answer_waits_to_be_taken)
{
    static const uint32_t tps[] = {7};
    struct store_request request = {
        .kind = STORE_READ, .shard = 1, .fresh = true, .tps = tps, .tps_count = 1};
    struct pollfd ready;

    begin(NULL);
    while (redis_store_next(store, &event))
        CHECK(event.kind != REDIS_STORE_DISCONNECTED);
    CHECK(redis_store_due_us(store) > clock_monotonic_us());
    redis_store_send(store, &request);
    CHECK(redis_store_due_us(store) <= clock_monotonic_us()); /* it may be there already */
    CHECK(!redis_store_next(store, &event) || event.kind == REDIS_STORE_REPLY);
    if (event.kind != REDIS_STORE_REPLY) {
        ready = (struct pollfd){.fd = redis_store_descriptor(store), .events = POLLIN};
        CHECK(redis_store_due_us(store) > clock_monotonic_us());
        CHECK_INT(1, poll(&ready, 1, 60000));
        redis_store_step(store, clock_monotonic_us());
        CHECK(redis_store_due_us(store) <= clock_monotonic_us());
        next_event();
    }
    CHECK_INT(REDIS_STORE_REPLY, event.kind);
    CHECK_INT(1, event.shard);
    end();
}

TEST(redis_store_drops_a_node_that_became_a_replica)
{
    const struct store_write writes[] = {whole("a", "x", 0)};
    struct store_request request = {
        .kind = STORE_EXEC, .shard = 0, .writes = writes, .writes_count = 1};

    begin(NULL);
    (void)REDIS_COMMAND(&server, "REPLICAOF", "127.0.0.1", "1");
    redis_store_send(store, &request);
    next_event();
    CHECK_INT(REDIS_STORE_DISCONNECTED, event.kind);
    CHECK_INT(0, event.shard);
    end();
}

/* A server that greets rightly; sets the ends of its connections, which are those of the lanes. */
static void begin_liar(int *listener, int peers[SHARDS])
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct redis_target target;
    struct redis_store_options options = {
        .target = &target, .keys = &keys, .topic = "ev", .shards = SHARDS};
    char url[160], bytes[512];
    struct error err;

    (void)snprintf(address.sun_path, sizeof address.sun_path, "%s/liar", test_folder());
    (void)snprintf(url, sizeof url, "unix://%s", address.sun_path);
    (void)unlink(address.sun_path);
    *listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(bind(*listener, (struct sockaddr *)&address, sizeof address) == 0);
    CHECK(listen(*listener, SHARDS) == 0);
    CHECK_STATUS(OK, redis_target_parse(&target, url, &err));
    CHECK_STATUS(OK, redis_keys_init(&keys, "fr", &err));
    CHECK_STATUS(OK, redis_store_create(&store, &options, &err));
    for (int i = 0; i < 3; i++)
        redis_store_step(store, clock_monotonic_us());
    for (int i = 0; i < SHARDS; i++) {
        peers[i] = accept(*listener, NULL, NULL);
        CHECK(peers[i] >= 0);
    }
    for (int i = 0; i < 3; i++)
        redis_store_step(store, clock_monotonic_us());
    for (int i = 0; i < SHARDS; i++) {
        CHECK(read(peers[i], bytes, sizeof bytes) > 0);
        CHECK(write(peers[i], "+OK\r\n+PONG\r\n", 12) == 12);
        next_event();
        CHECK_INT(REDIS_STORE_CONNECTED, event.kind);
    }
}

/* FAULTS 57: such an answer belongs to another question. In particular it is no damaged m, for
 * which a partition would be stopped. */
TEST(redis_store_drops_a_server_whose_answer_does_not_fit)
{
    static const char *const lies[] = {
        "+OK\r\n+OK\r\n",                           /* WATCH, then no m */
        "+OK\r\n*2\r\n$-1\r\n$-1\r\n",              /* an m of two fields */
        ":1\r\n",                                   /* no answer to WATCH */
        "+OK\r\n*3\r\n$-1\r\n$-1\r\n$-1\r\n:1\r\n", /* no user's value */
    };
    static const uint32_t tps[] = {7};
    struct text user = text_of("a");
    struct store_request request = {
        .kind = STORE_READ, .tps = tps, .tps_count = 1, .users = &user, .users_count = 1};

    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        int listener, peers[SHARDS];

        begin_liar(&listener, peers);
        redis_store_send(store, &request);
        CHECK(write(peers[0], lies[i], strlen(lies[i])) > 0);
        next_event();
        CHECK_INT(REDIS_STORE_DISCONNECTED, event.kind);
        CHECK_INT(0, event.shard);
        CHECK(strstr(redis_store_why(store), "does not fit") != NULL);
        redis_store_destroy(store);
        for (int p = 0; p < SHARDS; p++)
            (void)close(peers[p]);
        (void)close(listener);
    }
}
