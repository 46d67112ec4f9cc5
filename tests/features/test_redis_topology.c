/*
 * Tests features/redis_topology: slots by known vectors, redirections in every ugly form, and what
 * it decides from the answers of guides, good ones and others.
 */
#include "features/redis_topology.h"

#include "tests/test.h"

#include <stdio.h>
#include <string.h>

static struct redis_topology *topology;
static struct redis_route route;
static struct error err;
static const struct redis_address somewhere = {.port = 7, .host = "guide"};

static void begin(const char *url)
{
    struct redis_target target;

    CHECK_STATUS(OK, redis_target_parse(&target, url, &err));
    CHECK_STATUS(OK, redis_topology_create(&topology, &target, &err));
}

static void end(void)
{
    redis_topology_destroy(topology);
    redis_topology_destroy(NULL);
}

/* Hands in an answer, as it comes over the wire. */
static enum status answer(const char *bytes)
{
    struct redis_reader *reader = redis_reader_create(1 << 20, 1 << 16);
    const struct redis_reply *reply;
    enum status status;

    CHECK(reader != NULL);
    CHECK_STATUS(OK, redis_reader_feed(reader, bytes, strlen(bytes), &err));
    CHECK_STATUS(OK, redis_reader_next(reader, &reply, &err));
    CHECK(reply != NULL);
    status = redis_topology_answer(topology, &somewhere, reply, &err);
    redis_reader_destroy(reader);
    return status;
}

/* "host:port" of the node of a slot, "" when it is not known. */
static const char *where(int slot)
{
    static char text[REDIS_WHERE_MAX];
    struct redis_address address;

    text[0] = '\0';
    if (redis_topology_where(topology, slot, &address))
        redis_address_describe(&address, text);
    return text;
}

/* The way to a slot: 'N', 'G' or 'W', and its address. */
static const char *way(int slot, int64_t now_us)
{
    static char text[REDIS_WHERE_MAX + 2];
    enum redis_way found = redis_topology_way(topology, slot, now_us, &route);

    if (found == REDIS_WAY_WAIT)
        return "W";
    text[0] = found == REDIS_WAY_NODE ? 'N' : 'G';
    redis_address_describe(&route.address, text + 1);
    return text;
}

TEST(redis_slot_is_what_redis_says)
{
    /* From the specification of the cluster, and from CLUSTER KEYSLOT of redis 7.0.15. */
    static const struct {
        const char *key;
        int slot;
    } known[] = {
        {"123456789", 0x31c3},   {"foo", 12182},
        {"somekey", 11058},      {"", 0},
        {"foo{hash_tag}", 2515}, {"bar{hash_tag}", 2515},
        {"foo{}{bar}", 8363},    {"foo{{bar}}zap", 4015},
        {"foo{bar}{zap}", 5061}, {"{bar", 4015},
    };

    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        CHECK_INT(known[i].slot, redis_slot(text_of(known[i].key)));
    CHECK_INT(redis_slot(text_of("fr{00}set")), redis_slot_of_shard(0));
    CHECK_INT(redis_slot(text_of("x{3f}u1")), redis_slot_of_shard(63));
    CHECK_INT(redis_slot(text_of("x{fff}u1")), redis_slot_of_shard(4095));
}

TEST(redis_moved_is_read_in_every_form)
{
    static const char *const bad[] = {
        "",
        "MOVED",
        "MOVED ",
        "MOVED 1",
        "MOVED 1 ",
        "MOVED 1 host",
        "MOVED 1 host:",
        "MOVED 1 host:0",
        "MOVED 1 host:65536",
        "MOVED 1 host:99999999999",
        "MOVED 1 host:6x",
        "MOVED 16384 host:1",
        "MOVED -1 host:1",
        "MOVED 9999999 host:1",
        "MOVED x host:1",
        "ASKING 1 host:1",
        "ERR MOVED 1 host:1",
    };
    const struct redis_address unix_socket = {.unix_socket = true, .host = "/s"};
    struct redis_moved moved;
    char text[REDIS_WHERE_MAX], longest[400] = "MOVED 5 ";

    CHECK(redis_moved_parse(&moved, text_of("MOVED 3999 127.0.0.1:6381"), &somewhere));
    CHECK_INT(3999, moved.slot);
    redis_address_describe(&moved.address, text);
    CHECK_TEXT("127.0.0.1:6381", text);
    CHECK(redis_moved_parse(&moved, text_of("ASK 0 ::1:65535"), &somewhere));
    CHECK_TEXT("::1", moved.address.host);
    CHECK(redis_moved_parse(&moved, text_of("MOVED 16383 :6380"), &somewhere));
    CHECK_TEXT("guide", moved.address.host);
    CHECK_INT(6380, moved.address.port);
    CHECK(!redis_moved_parse(&moved, text_of("MOVED 1 :6380"), &unix_socket));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK(!redis_moved_parse(&moved, text_of(bad[i]), &somewhere));
    memset(longest + 8, 'h', REDIS_HOST_MAX);
    (void)snprintf(longest + 8 + REDIS_HOST_MAX, 8, ":1");
    CHECK(!redis_moved_parse(&moved, text_of(longest), &somewhere));
    (void)memmove(longest + 8, longest + 9, strlen(longest + 9) + 1);
    CHECK(redis_moved_parse(&moved, text_of(longest), &somewhere));
}

TEST(redis_topology_of_one_server_asks_nobody)
{
    struct redis_moved moved = {5, somewhere};

    begin("redis://h:1");
    CHECK_TEXT("Nh:1", way(77, 0));
    redis_topology_doubt(topology, route.version);
    redis_topology_moved(topology, &moved);
    CHECK_TEXT("Nh:1", way(5, 0));
    end();
}

TEST(redis_topology_asks_sentinels_one_after_another_and_once_for_all)
{
    begin("redis+sentinel://a,b:2,c:3/prime");
    CHECK_TEXT("", where(9));
    CHECK_TEXT("Ga:26379", way(9, 1000));
    CHECK_TEXT("W", way(8, 1000)); /* another connection asks already */
    CHECK(redis_topology_silent(topology));
    CHECK_TEXT("Gb:2", way(8, 2000));
    CHECK_STATUS(ERR_UNAVAILABLE, answer("*-1\r\n"));
    CHECK(strstr(err.text, "prime") != NULL);
    CHECK(redis_topology_silent(topology));
    CHECK_TEXT("Gc:3", way(8, 2000));
    CHECK(!redis_topology_silent(topology)); /* a whole round: now back off */
    CHECK_TEXT("Ga:26379", way(9, 3000));
    CHECK_STATUS(OK, answer("*2\r\n$5\r\n1.2.3\r\n$4\r\n7000\r\n"));
    CHECK_TEXT("N1.2.3:7000", way(9, 4000));
    CHECK_TEXT("N1.2.3:7000", way(1, 4000));

    /* It dies: of all that used it the first doubt counts, and another sentinel is asked. */
    uint64_t version = route.version;

    redis_topology_doubt(topology, version);
    redis_topology_doubt(topology, version);
    CHECK_TEXT("Gb:2", way(1, 5000));
    CHECK_TEXT("W", way(2, 5000));
    CHECK_STATUS(OK, answer("*2\r\n$5\r\n1.2.4\r\n$4\r\n7001\r\n"));
    redis_topology_doubt(topology, version); /* a late one, of the old node */
    CHECK_TEXT("N1.2.4:7001", way(2, 6000));

    /* One that asks and is never heard of again holds up nobody for long. */
    redis_topology_doubt(topology, route.version);
    CHECK_TEXT("Gc:3", way(1, 7000));
    CHECK_TEXT("W", way(2, 1000000));
    CHECK_TEXT("Gc:3", way(2, 2000000));
    end();
}

TEST(redis_topology_refuses_what_no_sentinel_would_say)
{
    static const char *const bad[] = {"+OK\r\n",
                                      ":5\r\n",
                                      "*0\r\n",
                                      "*1\r\n$1\r\nh\r\n",
                                      "*2\r\n$1\r\nh\r\n$1\r\n0\r\n",
                                      "*2\r\n$1\r\nh\r\n$5\r\n65536\r\n",
                                      "*2\r\n*0\r\n$2\r\n10\r\n",
                                      "*2\r\n$1\r\nh\r\n*0\r\n"};

    begin("redis+sentinel://a/m");
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK_STATUS(ERR_MALFORMED, answer(bad[i]));
    CHECK_STATUS(ERR_CONFIG, answer("-ERR unknown command 'SENTINEL'\r\n"));
    CHECK(strstr(err.text, "no sentinel") != NULL);
    CHECK_STATUS(ERR_CONFIG, answer("-NOAUTH Authentication required.\r\n"));
    CHECK_TEXT("", where(0));
    end();
}

#define NODE(host, port) "*3\r\n$" host "\r\n:" port "\r\n$2\r\nid\r\n"

TEST(redis_topology_knows_the_nodes_of_a_cluster)
{
    struct redis_moved moved = {.slot = 2, .address = {.port = 9, .host = "c"}};
    int slots[REDIS_NODES_MAX];

    begin("redis+cluster://s1:1,s2:2");
    CHECK_TEXT("Gs1:1", way(0, 0));
    /* b has two ranges; the second node names no host: it is the guide itself. */
    CHECK_STATUS(
        OK, answer("*4\r\n"
                   "*3\r\n:0\r\n:1\r\n" NODE("1\r\na", "5") "*4\r\n:2\r\n:3\r\n" NODE("1\r\nb", "6")
                       NODE("1\r\nr", "7") "*3\r\n:9\r\n:9\r\n" NODE(
                           "0\r\n", "8") "*3\r\n:11\r\n:16383\r\n" NODE("1\r\nb", "6")));
    CHECK_TEXT("Na:5", way(1, 0));
    CHECK_TEXT("Nb:6", way(2, 0));
    CHECK_TEXT("Nguide:8", way(9, 0));
    CHECK_TEXT("Nb:6", way(16383, 0));
    CHECK_TEXT("", where(10)); /* nobody has it */
    CHECK_INT(3, redis_topology_slots(topology, slots));
    CHECK(slots[0] == 0 && slots[1] == 2 && slots[2] == 9);

    redis_topology_moved(topology, &moved);
    CHECK_TEXT("Nc:9", way(2, 0));
    CHECK_TEXT("Nb:6", way(3, 0));

    /* Known nodes guide too, when the configured ones are silent. */
    redis_topology_doubt(topology, route.version);
    CHECK_TEXT("Gs2:2", way(1, 0));
    CHECK(redis_topology_silent(topology));
    CHECK_TEXT("Ga:5", way(1, 0));
    CHECK(redis_topology_silent(topology));
    CHECK_TEXT("Gb:6", way(1, 0));
    CHECK_STATUS(OK, answer("*1\r\n*3\r\n:0\r\n:16383\r\n" NODE("1\r\nb", "6")));
    CHECK_TEXT("Nb:6", way(1, 0));
    CHECK_INT(1, redis_topology_slots(topology, slots));
    end();
}

TEST(redis_topology_refuses_what_no_cluster_would_say)
{
    static const char *const bad[] = {
        "+OK\r\n",
        "*1\r\n:1\r\n",
        "*1\r\n*2\r\n:0\r\n:1\r\n",
        "*1\r\n*3\r\n:0\r\n:16384\r\n" NODE("1\r\na", "5"),
        "*1\r\n*3\r\n:-1\r\n:1\r\n" NODE("1\r\na", "5"),
        "*1\r\n*3\r\n:2\r\n:1\r\n" NODE("1\r\na", "5"),
        "*1\r\n*3\r\n:0\r\n:1\r\n*0\r\n",
        "*1\r\n*3\r\n:0\r\n:1\r\n" NODE("1\r\na", "0"),
        "*2\r\n*3\r\n:0\r\n:1\r\n" NODE("1\r\nb", "5") "*3\r\n:2\r\n+x\r\n" NODE("1\r\na", "5"),
    };

    begin("redis+cluster://s:1");
    CHECK_STATUS(OK, answer("*1\r\n*3\r\n:0\r\n:16383\r\n" NODE("1\r\na", "5")));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK_STATUS(ERR_MALFORMED, answer(bad[i]));
    CHECK_STATUS(ERR_UNAVAILABLE, answer("*0\r\n"));
    CHECK_STATUS(ERR_CONFIG, answer("-ERR This instance has cluster support disabled\r\n"));
    CHECK(strstr(err.text, "no node of a cluster") != NULL);
    CHECK_STATUS(ERR_UNAVAILABLE, answer("-LOADING x\r\n"));
    CHECK_TEXT("a:5", where(1)); /* nothing has changed */
    end();
}

TEST(redis_topology_survives_a_cluster_of_too_many_nodes)
{
    static char bytes[64 * 1024];
    struct redis_moved moved = {.slot = 2, .address = {.port = 9, .host = "new"}};
    size_t used = (size_t)snprintf(bytes, sizeof bytes, "*%d\r\n", REDIS_NODES_MAX);

    for (int i = 0; i < REDIS_NODES_MAX; i++)
        used += (size_t)snprintf(bytes + used, sizeof bytes - used,
                                 "*3\r\n:%d\r\n:%d\r\n*2\r\n$1\r\nh\r\n:%d\r\n", i, i, i + 1);
    begin("redis+cluster://s:1");
    CHECK_STATUS(OK, answer(bytes));
    redis_topology_moved(topology, &moved); /* no room: nodes that have gone still count */
    CHECK_TEXT("Gs:1", way(2, 0));
    (void)snprintf(bytes + used, sizeof bytes - used, "*3\r\n:999\r\n:999\r\n%s",
                   NODE("1\r\nz", "5"));
    memcpy(bytes, "*257", 4); /* and one more */
    CHECK_STATUS(ERR_LIMIT, answer(bytes));
    end();
}
