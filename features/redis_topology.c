/* features/redis_topology.c - slots, redirections, and what guides answered. */
#include "features/redis_topology.h"

#include "features/redis_keys.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* For so long the others wait for the one that asks; it gives up before. */
#define ASKING_US 1500000

struct redis_topology {
    struct redis_target target;
    struct redis_tls *tls;
    uint64_t version; /* 0: nothing is known */
    bool stale;
    int64_t asking_until_us; /* somebody asks; 0: nobody */
    int guide;               /* whose turn it is */
    int silences;            /* in a row */
    int nodes_count;
    struct redis_address *nodes; /* (REDIS_NODES_MAX); sentinels name one */
    uint16_t *node_of;           /* (REDIS_SLOTS) index + 1, 0: unknown; a cluster's only */
};

/* ---- slots ---- */

static uint16_t crc16(const char *bytes, size_t count)
{
    uint16_t crc = 0;

    for (size_t i = 0; i < count; i++) {
        crc = (uint16_t)(crc ^ (uint16_t)((unsigned char)bytes[i] << 8));
        for (int bit = 0; bit < 8; bit++)
            crc = (uint16_t)((crc & 0x8000) != 0 ? (crc << 1) ^ 0x1021 : crc << 1);
    }
    return crc;
}

int redis_slot(struct text key)
{
    const char *open = key.bytes == 0 ? NULL : memchr(key.at, '{', key.bytes);
    const char *end = key.at + key.bytes, *close;

    if (open != NULL) {
        close = memchr(open + 1, '}', (size_t)(end - open - 1));
        if (close != NULL && close > open + 1)
            key = (struct text){open + 1, (size_t)(close - open - 1)};
    }
    return crc16(key.at, key.bytes) % REDIS_SLOTS;
}

int redis_slot_of_shard(int shard)
{
    static const struct redis_keys keys = {REDIS_NAMESPACE}; /* outside of the tag */
    char key[REDIS_KEY_BYTES_MAX];

    return redis_slot((struct text){key, redis_key_user(&keys, shard, text_of("u"), key)});
}

/* ---- redirections ---- */

/* "host:port", ":port"; the host may be an IPv6 address with its own colons. */
static bool parse_address(struct redis_address *address, struct text text,
                          const struct redis_address *from)
{
    const char *colon = text.bytes == 0 ? NULL : memrchr(text.at, ':', text.bytes);
    size_t host;
    long port = 0;

    if (colon == NULL)
        return false;
    host = (size_t)(colon - text.at);
    for (const char *at = colon + 1; at < text.at + text.bytes; at++) {
        if (*at < '0' || *at > '9' || port > 65535)
            return false;
        port = port * 10 + (*at - '0');
    }
    if (port < 1 || port > 65535 || host >= sizeof address->host ||
        memchr(text.at, '\0', host) != NULL || (host == 0 && from->unix_socket))
        return false;
    *address = host == 0 ? *from : (struct redis_address){0};
    if (host > 0)
        memcpy(address->host, text.at, host);
    address->port = (int)port;
    return true;
}

bool redis_moved_parse(struct redis_moved *moved, struct text message,
                       const struct redis_address *from)
{
    const char *at = message.at, *end = message.at + message.bytes;
    int slot = 0, digits = 0;

    if (message.bytes > 6 && memcmp(at, "MOVED ", 6) == 0)
        at += 6;
    else if (message.bytes > 4 && memcmp(at, "ASK ", 4) == 0)
        at += 4;
    else
        return false;
    for (; at < end && *at >= '0' && *at <= '9' && digits < 6; at++, digits++)
        slot = slot * 10 + (*at - '0');
    if (digits == 0 || slot >= REDIS_SLOTS || at == end || *at != ' ')
        return false;
    at++;
    moved->slot = slot;
    return parse_address(&moved->address, (struct text){at, (size_t)(end - at)}, from);
}

/* ---- the topology ---- */

enum status redis_topology_create(struct redis_topology **topology,
                                  const struct redis_target *target, struct error *err)
{
    struct redis_topology *t = calloc(1, sizeof *t);

    *topology = NULL;
    if (t == NULL)
        return error_set(err, ERR_NOMEM, "no memory for the topology of redis");
    assert(target->guides_count > 0);
    t->target = *target;
    if (target->kind != REDIS_STANDALONE)
        t->nodes = calloc(target->kind == REDIS_CLUSTER ? REDIS_NODES_MAX : 1, sizeof *t->nodes);
    if (target->kind == REDIS_CLUSTER)
        t->node_of = calloc(REDIS_SLOTS, sizeof *t->node_of);
    if ((target->kind != REDIS_STANDALONE && t->nodes == NULL) ||
        (target->kind == REDIS_CLUSTER && t->node_of == NULL)) {
        redis_topology_destroy(t);
        return error_set(err, ERR_NOMEM, "no memory for the topology of redis");
    }
    if (target->tls && redis_tls_create(&t->tls, &target->tls_files, err) != OK) {
        redis_topology_destroy(t);
        return err->status;
    }
    *topology = t;
    return OK;
}

void redis_topology_destroy(struct redis_topology *topology)
{
    if (topology == NULL)
        return;
    redis_tls_destroy(topology->tls);
    free(topology->nodes);
    free(topology->node_of);
    explicit_bzero(&topology->target, sizeof topology->target);
    free(topology);
}

const struct redis_target *redis_topology_target(const struct redis_topology *topology)
{
    return &topology->target;
}

struct redis_tls *redis_topology_tls(const struct redis_topology *topology)
{
    return topology->tls;
}

enum status redis_topology_refresh(struct redis_topology *topology, struct error *err)
{
    redis_tls_refresh(topology->tls);
    return redis_target_refresh(&topology->target, err);
}

bool redis_topology_where(const struct redis_topology *topology, int slot,
                          struct redis_address *address)
{
    int index = 0;

    if (topology->target.kind == REDIS_STANDALONE) {
        *address = topology->target.guides[0];
        return true;
    }
    if (topology->target.kind == REDIS_CLUSTER)
        index = topology->node_of[slot] - 1;
    if (index < 0 || index >= topology->nodes_count)
        return false;
    *address = topology->nodes[index];
    return true;
}

/* In a cluster every node guides, the configured ones first. */
static int guides(const struct redis_topology *t)
{
    return t->target.guides_count + (t->target.kind == REDIS_CLUSTER ? t->nodes_count : 0);
}

enum redis_way redis_topology_way(struct redis_topology *topology, int slot, int64_t now_us,
                                  struct redis_route *route)
{
    struct redis_topology *t = topology;
    int guide;

    route->version = t->version;
    if (!t->stale && redis_topology_where(t, slot, &route->address))
        return REDIS_WAY_NODE;
    if (now_us < t->asking_until_us)
        return REDIS_WAY_WAIT;
    t->asking_until_us = now_us + ASKING_US;
    guide = t->guide % guides(t);
    route->address = guide < t->target.guides_count ? t->target.guides[guide]
                                                    : t->nodes[guide - t->target.guides_count];
    return REDIS_WAY_GUIDE;
}

int redis_topology_question(const struct redis_topology *topology, struct text words[3])
{
    if (topology->target.kind == REDIS_CLUSTER) {
        words[0] = text_of("CLUSTER");
        words[1] = text_of("SLOTS");
        return 2;
    }
    words[0] = text_of("SENTINEL");
    words[1] = text_of("GET-MASTER-ADDR-BY-NAME");
    words[2] = text_of(topology->target.master);
    return 3;
}

bool redis_topology_silent(struct redis_topology *topology)
{
    topology->asking_until_us = 0;
    topology->guide++;
    if (++topology->silences < guides(topology))
        return true;
    topology->silences = 0;
    return false;
}

void redis_topology_doubt(struct redis_topology *topology, uint64_t version)
{
    if (topology->target.kind == REDIS_STANDALONE || version != topology->version ||
        topology->stale)
        return;
    topology->stale = true;
    topology->guide++; /* who told us of a dead node may not know better yet */
}

static void known(struct redis_topology *t)
{
    t->version++;
    t->stale = false;
    t->asking_until_us = 0;
    t->silences = 0;
}

/* ---- answers ---- */

/* host and port as an array's first two elements; no host: the guide's. */
static bool take_node(struct redis_address *address, const struct redis_reply *node,
                      const struct redis_address *guide)
{
    const struct redis_reply *host, *port;
    int64_t number;

    if (node->type != REPLY_ARRAY || node->count < 2)
        return false;
    host = node->elements[0];
    port = node->elements[1];
    if ((host->type != REPLY_STRING && host->type != REPLY_NIL) ||
        (port->type != REPLY_STRING && port->type != REPLY_INTEGER))
        return false;
    number = port->type == REPLY_INTEGER ? port->integer : strtoll(port->text.at, NULL, 10);
    if (number < 1 || number > 65535 || host->text.bytes >= sizeof address->host)
        return false;
    if (host->type == REPLY_NIL || host->text.bytes == 0 || text_equal(host->text, text_of("?"))) {
        *address = *guide;
    } else {
        *address = (struct redis_address){0};
        memcpy(address->host, host->text.at, host->text.bytes);
    }
    address->port = (int)number;
    return true;
}

static enum status answer_of_sentinel(struct redis_topology *t, const struct redis_address *guide,
                                      const struct redis_reply *reply, struct error *err)
{
    struct redis_address address;

    if (reply->type == REPLY_NIL)
        return error_set(err, ERR_UNAVAILABLE, "this sentinel knows no primary \"%s\"",
                         t->target.master);
    if (!take_node(&address, reply, guide))
        return error_set(err, ERR_MALFORMED, "a sentinel answered with no address");
    t->nodes[0] = address;
    t->nodes_count = 1;
    known(t);
    return OK;
}

/* The index of a node, added when it is new; -1: too many. */
static int node_index(struct redis_topology *t, const struct redis_address *address)
{
    for (int i = 0; i < t->nodes_count; i++)
        if (redis_address_equal(&t->nodes[i], address))
            return i;
    if (t->nodes_count == REDIS_NODES_MAX)
        return -1;
    t->nodes[t->nodes_count] = *address;
    return t->nodes_count++;
}

/* [first, last, [host, port, ...] of the primary, replicas...] */
static enum status check_range(const struct redis_reply *range, const struct redis_address *guide,
                               struct redis_address *address, struct error *err)
{
    if (range->type != REPLY_ARRAY || range->count < 3 ||
        range->elements[0]->type != REPLY_INTEGER || range->elements[1]->type != REPLY_INTEGER ||
        range->elements[0]->integer < 0 || range->elements[1]->integer >= REDIS_SLOTS ||
        range->elements[0]->integer > range->elements[1]->integer ||
        !take_node(address, range->elements[2], guide))
        return error_set(err, ERR_MALFORMED, "redis answered CLUSTER SLOTS with something else");
    return OK;
}

static enum status answer_of_cluster(struct redis_topology *t, const struct redis_address *guide,
                                     const struct redis_reply *reply, struct error *err)
{
    struct redis_address address;
    enum status status = OK;

    if (reply->type != REPLY_ARRAY)
        return error_set(err, ERR_MALFORMED, "redis answered CLUSTER SLOTS with something else");
    if (reply->count == 0)
        return error_set(err, ERR_UNAVAILABLE, "this node knows of no slots");
    for (int i = 0; i < reply->count && status == OK; i++)
        status = check_range(reply->elements[i], guide, &address, err);
    if (status != OK)
        return status;
    t->stale = true; /* until all of it is taken */
    memset(t->node_of, 0, REDIS_SLOTS * sizeof *t->node_of);
    t->nodes_count = 0;
    for (int i = 0; i < reply->count && status == OK; i++) {
        const struct redis_reply *range = reply->elements[i];
        int index;

        status = check_range(range, guide, &address, err);
        index = status == OK ? node_index(t, &address) : -1;
        if (status == OK && index < 0)
            status = error_set(err, ERR_LIMIT, "a cluster of more than %d primaries",
                               REDIS_NODES_MAX);
        for (int64_t slot = range->elements[0]->integer;
             status == OK && slot <= range->elements[1]->integer; slot++)
            t->node_of[slot] = (uint16_t)(index + 1);
    }
    if (status == OK)
        known(t);
    return status;
}

enum status redis_topology_answer(struct redis_topology *topology,
                                  const struct redis_address *guide,
                                  const struct redis_reply *reply, struct error *err)
{
    enum status status = redis_reply_status(reply, err);

    if (status != OK) {
        bool plain = redis_error_of(reply->text) == REDIS_ERROR_ERR;

        /* "unknown command", "cluster support disabled": not what the address says it is. */
        return plain
                   ? error_set(
                         err, ERR_CONFIG, "it is no %s: %.*s",
                         topology->target.kind == REDIS_CLUSTER ? "node of a cluster" : "sentinel",
                         (int)(reply->text.bytes > 120 ? 120 : reply->text.bytes), reply->text.at)
                   : status;
    }
    return topology->target.kind == REDIS_CLUSTER ? answer_of_cluster(topology, guide, reply, err)
                                                  : answer_of_sentinel(topology, guide, reply, err);
}

void redis_topology_moved(struct redis_topology *topology, const struct redis_moved *moved)
{
    int index;

    if (topology->target.kind != REDIS_CLUSTER)
        return;
    index = node_index(topology, &moved->address);
    if (index < 0)
        topology->stale = true; /* nodes that have gone are still counted: ask */
    else
        topology->node_of[moved->slot] = (uint16_t)(index + 1);
}

int redis_topology_slots(const struct redis_topology *topology, int slots[REDIS_NODES_MAX])
{
    bool seen[REDIS_NODES_MAX] = {false};
    int count = 0;

    if (topology->target.kind != REDIS_CLUSTER) {
        slots[0] = 0;
        return 1;
    }
    for (int slot = 0; slot < REDIS_SLOTS; slot++) {
        int index = topology->node_of[slot] - 1;

        if (index < 0 || seen[index])
            continue;
        seen[index] = true;
        slots[count++] = slot;
    }
    return count;
}
