/* features/redis_nodes.c - connections by node; commands that find their node by their key. */
#include "features/redis_nodes.h"

#include "features/redis_call.h"
#include "ops/clock.h"

#include <assert.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LATER_MS 50

struct redis_nodes {
    struct redis_topology *topology;
    struct redis_limits limits;
    char name[64];
    int count;
    struct redis_connection *connections[REDIS_NODES_MAX]; /* [0]: of the record's slot */
};

enum status redis_nodes_create(struct redis_nodes **nodes, const struct redis_target *target,
                               const struct redis_limits *limits, const char *name,
                               struct error *err)
{
    struct redis_nodes *n = calloc(1, sizeof *n);
    enum status status;

    *nodes = NULL;
    if (n == NULL)
        return error_set(err, ERR_NOMEM, "no memory for connections to redis");
    if (limits != NULL)
        n->limits = *limits;
    (void)snprintf(n->name, sizeof n->name, "%s", name == NULL ? "" : name);
    status = redis_topology_create(&n->topology, target, err);
    if (status == OK)
        status = redis_connection_create_in(&n->connections[0], n->topology, redis_slot_of_shard(0),
                                            &n->limits, n->name, err);
    if (status != OK) {
        redis_nodes_destroy(n);
        return status;
    }
    n->count = 1;
    *nodes = n;
    return OK;
}

void redis_nodes_destroy(struct redis_nodes *nodes)
{
    if (nodes == NULL)
        return;
    for (int i = 0; i < nodes->count; i++)
        redis_connection_destroy(nodes->connections[i]);
    redis_topology_destroy(nodes->topology);
    free(nodes);
}

static int number_at(const struct redis_nodes *n, const struct redis_address *address, int below)
{
    for (int i = 0; i < below; i++)
        if (redis_address_equal(redis_connection_address(n->connections[i]), address))
            return i;
    return -1;
}

/* A number for an address that none leads to: of one that leads where another does, left over from
 * a slot that moved; else a new one. Number 0 stays with the record's slot. */
static int make_number(struct redis_nodes *n, int slot, const struct redis_address *address)
{
    struct error err;

    for (int i = 1; i < n->count; i++) {
        if (redis_connection_owed(n->connections[i]) > 0 ||
            number_at(n, redis_connection_address(n->connections[i]), i) < 0)
            continue;
        redis_connection_pin(n->connections[i], slot, address);
        return i;
    }
    if (n->count == REDIS_NODES_MAX ||
        redis_connection_create_in(&n->connections[n->count], n->topology, slot, &n->limits,
                                   n->name, &err) != OK)
        return 0; /* which answers MOVED */
    redis_connection_pin(n->connections[n->count], slot, address);
    return n->count++;
}

int redis_nodes_number_of(struct redis_nodes *nodes, int slot)
{
    struct redis_address address;
    int number;

    if (redis_topology_target(nodes->topology)->kind != REDIS_CLUSTER ||
        !redis_topology_where(nodes->topology, slot, &address))
        return 0;
    number = number_at(nodes, &address, nodes->count);
    return number >= 0 ? number : make_number(nodes, slot, &address);
}

struct redis_connection *redis_nodes_of(struct redis_nodes *nodes, int slot)
{
    return nodes->connections[redis_nodes_number_of(nodes, slot)];
}

int redis_nodes_count(const struct redis_nodes *nodes)
{
    return nodes->count;
}

struct redis_connection *redis_nodes_at(struct redis_nodes *nodes, int number)
{
    return nodes->connections[number];
}

void redis_nodes_meet(struct redis_nodes *nodes)
{
    int slots[REDIS_NODES_MAX];
    int count = redis_topology_slots(nodes->topology, slots);

    for (int i = 0; i < count; i++)
        (void)redis_nodes_number_of(nodes, slots[i]);
}

enum redis_heed redis_nodes_heed(struct redis_nodes *nodes, struct redis_connection *from,
                                 const struct redis_reply *reply, int *asking)
{
    enum redis_error error = reply->type == REPLY_ERROR ? redis_error_of(reply->text)
                                                        : REDIS_ERROR_OTHER;
    struct redis_moved moved;
    int number;

    if (redis_topology_target(nodes->topology)->kind != REDIS_CLUSTER)
        return REDIS_HEED_ERROR;
    if (error == REDIS_ERROR_TRYAGAIN || error == REDIS_ERROR_CLUSTERDOWN)
        return REDIS_HEED_LATER;
    if ((error != REDIS_ERROR_MOVED && error != REDIS_ERROR_ASK) ||
        !redis_moved_parse(&moved, reply->text, redis_connection_address(from)))
        return REDIS_HEED_ERROR;
    if (error == REDIS_ERROR_MOVED) {
        /* Not by redis_connection_heed: this one serves other slots, with replies on their way. */
        redis_topology_moved(nodes->topology, &moved);
        return REDIS_HEED_AGAIN;
    }
    number = number_at(nodes, &moved.address, nodes->count);
    *asking = number >= 0 ? number : make_number(nodes, moved.slot, &moved.address);
    return REDIS_HEED_ASK;
}

/* ---- blocking ---- */

/* 0 once it has passed. */
static int64_t left_ms(int64_t until_us)
{
    int64_t left_us = until_us - clock_monotonic_us();

    return left_us > 0 ? (left_us + 999) / 1000 : 0;
}

/* One command, behind ASKING if need be. OK with an ERROR reply, too. */
static enum status send_one(struct redis_connection *connection, bool asking, int64_t until_us,
                            const struct text *arguments, int arguments_count,
                            const struct redis_reply **reply, struct error *err)
{
    enum status status = redis_call_wait_ready(connection, left_ms(until_us), err);

    *reply = NULL;
    if (status != OK)
        return status;
    if (asking && redis_begin(connection, 1, 16))
        redis_argument_text(connection, "ASKING");
    status = redis_call_append(connection, arguments, arguments_count, err);
    if (status != OK && asking)
        redis_connection_fail(connection, status, err->text); /* ASKING's answer is nobody's */
    if (status != OK)
        return status;
    if (asking)
        status = redis_call_receive(connection, left_ms(until_us), reply, err);
    if (status == OK)
        status = redis_call_receive(connection, left_ms(until_us), reply, err);
    return status;
}

static int slot_of_arguments(const struct text *arguments, int count)
{
    for (int i = 1; i < count; i++)
        if (arguments[i].bytes > 0 && memchr(arguments[i].at, '{', arguments[i].bytes) != NULL)
            return redis_slot(arguments[i]);
    return redis_slot_of_shard(0);
}

enum status redis_nodes_call(struct redis_nodes *nodes, int64_t timeout_ms,
                             const struct text *arguments, int arguments_count,
                             const struct redis_reply **reply, struct error *err)
{
    int64_t until_us = clock_monotonic_us() + timeout_ms * 1000;
    int slot = slot_of_arguments(arguments, arguments_count);
    enum redis_heed heed = REDIS_HEED_AGAIN;
    int asking = 0, redirects = 0;
    enum status status = OK;

    while (heed != REDIS_HEED_ERROR && redirects++ <= REDIS_REDIRECTS_MAX) {
        struct redis_connection *connection = heed == REDIS_HEED_ASK ? nodes->connections[asking]
                                                                     : redis_nodes_of(nodes, slot);

        status = send_one(connection, heed == REDIS_HEED_ASK, until_us, arguments, arguments_count,
                          reply, err);
        if (status != OK)
            return status;
        assert(*reply != NULL);
        status = redis_reply_status(*reply, err);
        heed = redis_nodes_heed(nodes, connection, *reply, &asking);
        if (heed != REDIS_HEED_LATER)
            continue;
        if (left_ms(until_us) <= LATER_MS)
            break;
        (void)poll(NULL, 0, LATER_MS);
        redirects--;
    }
    return status;
}

enum status redis_nodes_get(struct redis_nodes *nodes, int64_t timeout_ms, struct text key,
                            struct text *value, struct error *err)
{
    const struct text arguments[] = {{"GET", 3}, key};
    const struct redis_reply *reply;
    enum status status = redis_nodes_call(nodes, timeout_ms, arguments, 2, &reply, err);

    *value = (struct text){0};
    return status == OK ? redis_call_value(reply, value, err) : status;
}

enum status redis_nodes_all(struct redis_nodes *nodes, int64_t timeout_ms,
                            int numbers[REDIS_NODES_MAX], int *count, struct error *err)
{
    int slots[REDIS_NODES_MAX];
    enum status status = redis_call_wait_ready(nodes->connections[0], timeout_ms, err);

    *count = 0;
    if (status != OK)
        return status;
    if (redis_topology_target(nodes->topology)->kind != REDIS_CLUSTER)
        numbers[(*count)++] = 0;
    else
        for (int i = 0, all = redis_topology_slots(nodes->topology, slots); i < all; i++)
            numbers[(*count)++] = redis_nodes_number_of(nodes, slots[i]);
    for (int i = 0; i < *count && status == OK; i++)
        status = redis_call_wait_ready(nodes->connections[numbers[i]], timeout_ms, err);
    return status;
}
