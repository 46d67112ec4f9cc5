/* features/redis_policy.c - one question to each node, on connections of its own, every few
 * seconds. */
#include "features/redis_policy.h"

#include "features/redis_nodes.h"
#include "ops/defence.h"
#include "ops/log.h"
#include "ops/metric.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define POLICY_MAX 64
#define WHY_MAX    (240 + REDIS_WHERE_MAX)
#define LOOK_US    20000 /* how often an answer is looked for */
#define SILENT     12    /* questions after which a node that does not answer is not spoken of */

METRIC_GAUGE(may_evict, "freshet_ingest_redis_may_evict",
             "1 while Redis' maxmemory-policy is another than noeviction");

struct node_policy {
    uint64_t asked_epoch; /* 0: no answer is owed */
    int64_t ask_us, answered_us;
    char evicts[POLICY_MAX]; /* its policy; "" where nothing is evicted, as far as is known */
};

struct redis_policy {
    struct redis_nodes *nodes;
    struct node_policy of[REDIS_NODES_MAX]; /* by the number of the node */
    int64_t every_us, look_us, meet_us;
    char why[WHY_MAX];
};

enum status redis_policy_create(struct redis_policy **policy, const struct redis_target *target,
                                int64_t every_ms, struct error *err)
{
    struct redis_policy *p = calloc(1, sizeof *p);
    enum status status;

    *policy = NULL;
    if (p == NULL)
        return error_set(err, ERR_NOMEM, "no memory for the watch on redis' policy");
    p->every_us = every_ms * 1000;
    status = redis_nodes_create(&p->nodes, target, NULL, "freshet-policy", err);
    if (status == OK)
        *policy = p;
    else
        free(p);
    return status;
}

void redis_policy_destroy(struct redis_policy *policy)
{
    if (policy == NULL)
        return;
    redis_nodes_destroy(policy->nodes);
    free(policy);
}

static void take(struct node_policy *node, const struct redis_reply *reply, int64_t now_us)
{
    char name[POLICY_MAX];
    struct error err;

    node->asked_epoch = 0;
    if (redis_reply_status(reply, &err) != OK || reply->type != REPLY_STRING ||
        !redis_info_line(reply->text, "maxmemory_policy", name, sizeof name))
        return;
    node->answered_us = now_us;
    if (DEFENCE(POLICY_WATCH) && strcmp(name, "noeviction") != 0)
        (void)snprintf(node->evicts, sizeof node->evicts, "%s", name);
    else
        node->evicts[0] = '\0';
}

static void ask(struct redis_policy *p, struct redis_connection *connection,
                struct node_policy *node, int64_t now_us)
{
    if (!redis_begin(connection, 2, 16))
        return;
    redis_argument_text(connection, "INFO");
    redis_argument_text(connection, "memory");
    node->asked_epoch = redis_connection_epoch(connection);
    node->ask_us = now_us + p->every_us;
    redis_connection_step(connection, now_us);
}

static void step_node(struct redis_policy *p, int number, int64_t now_us)
{
    struct redis_connection *connection = redis_nodes_at(p->nodes, number);
    struct node_policy *node = &p->of[number];
    const struct redis_reply *reply;

    redis_connection_step(connection, now_us);
    if (!redis_connection_ready(connection))
        return;
    if (node->asked_epoch == redis_connection_epoch(connection)) {
        reply = redis_connection_reply(connection);
        if (reply == NULL)
            return;
        take(node, reply, now_us);
    }
    if (now_us >= node->ask_us)
        ask(p, connection, node, now_us);
}

/* Says it of the first node of which there is something to say; once in the log. */
static void tell(struct redis_policy *p, int64_t now_us)
{
    bool told = p->why[0] != '\0';

    p->why[0] = '\0';
    for (int i = 0; i < redis_nodes_count(p->nodes) && p->why[0] == '\0'; i++) {
        char where[REDIS_WHERE_MAX] = "";

        if (p->of[i].evicts[0] == '\0' ||
            now_us - p->of[i].answered_us > SILENT * p->every_us + LOOK_US)
            continue;
        if (redis_nodes_count(p->nodes) > 1)
            redis_address_describe(redis_connection_address(redis_nodes_at(p->nodes, i)), where);
        (void)snprintf(p->why, sizeof p->why,
                       "redis%s%s may evict what it was told to keep (maxmemory-policy %s): "
                       "run CONFIG SET maxmemory-policy noeviction",
                       where[0] == '\0' ? "" : " at ", where, p->of[i].evicts);
    }
    metric_set(&may_evict, p->why[0] != '\0');
    if (p->why[0] != '\0' && !told)
        log_event(LOG_ERROR, "redis_may_evict", p->why,
                  log_text("runbook", "freshet runbook redis-down"));
}

void redis_policy_step(struct redis_policy *policy, int64_t now_us)
{
    struct redis_policy *p = policy;

    if (now_us < p->look_us)
        return;
    p->look_us = now_us + LOOK_US;
    if (now_us >= p->meet_us) { /* a cluster changes */
        redis_nodes_meet(p->nodes);
        p->meet_us = now_us + p->every_us;
    }
    for (int i = 0; i < redis_nodes_count(p->nodes); i++)
        step_node(p, i, now_us);
    tell(p, now_us);
}

const char *redis_policy_why(const struct redis_policy *policy)
{
    return policy->why;
}
