/* features/redis_policy.c - one question on a connection of its own, every few seconds. */
#include "features/redis_policy.h"

#include "features/redis_connection.h"
#include "ops/defence.h"
#include "ops/log.h"
#include "ops/metric.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define POLICY_MAX 64
#define WHY_MAX    240
#define LOOK_US    20000 /* how often an answer is looked for */

METRIC_GAUGE(may_evict, "freshet_ingest_redis_may_evict",
             "1 while Redis' maxmemory-policy is another than noeviction");

struct redis_policy {
    struct redis_connection *connection;
    uint64_t asked_epoch; /* 0: no answer is owed */
    int64_t every_us, look_us, ask_us;
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
    status = redis_connection_create(&p->connection, target, NULL, "freshet-policy", err);
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
    redis_connection_destroy(policy->connection);
    free(policy);
}

static void take(struct redis_policy *p, const struct redis_reply *reply)
{
    char name[POLICY_MAX];
    struct error err;
    bool evicts, told = p->why[0] != '\0';

    if (redis_reply_status(reply, &err) != OK || reply->type != REPLY_STRING ||
        !redis_info_line(reply->text, "maxmemory_policy", name, sizeof name))
        return;
    evicts = DEFENCE(POLICY_WATCH) && strcmp(name, "noeviction") != 0;
    metric_set(&may_evict, evicts);
    if (!evicts) {
        p->why[0] = '\0';
        return;
    }
    (void)snprintf(p->why, sizeof p->why,
                   "redis may evict what it was told to keep (maxmemory-policy %s): run CONFIG SET "
                   "maxmemory-policy noeviction",
                   name);
    if (!told)
        log_event(LOG_ERROR, "redis_may_evict", p->why,
                  log_text("runbook", "freshet runbook redis-down"));
}

static void ask(struct redis_policy *p, int64_t now_us)
{
    if (!redis_begin(p->connection, 2, 16))
        return;
    redis_argument_text(p->connection, "INFO");
    redis_argument_text(p->connection, "memory");
    p->asked_epoch = redis_connection_epoch(p->connection);
    p->ask_us = now_us + p->every_us;
    redis_connection_step(p->connection, now_us);
}

void redis_policy_step(struct redis_policy *policy, int64_t now_us)
{
    struct redis_policy *p = policy;
    const struct redis_reply *reply;

    if (now_us < p->look_us)
        return;
    p->look_us = now_us + LOOK_US;
    redis_connection_step(p->connection, now_us);
    if (!redis_connection_ready(p->connection))
        return;
    if (p->asked_epoch == redis_connection_epoch(p->connection)) {
        reply = redis_connection_reply(p->connection);
        if (reply == NULL)
            return;
        p->asked_epoch = 0;
        take(p, reply);
    }
    if (now_us >= p->ask_us)
        ask(p, now_us);
}

const char *redis_policy_why(const struct redis_policy *policy)
{
    return policy->why;
}
