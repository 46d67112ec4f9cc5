/* features/redis_doctor.c - doctor's questions to Redis: does it answer, may it forget, can it
 * lose, does its clock agree, and do WATCH and EXEC work as the protocol needs them? */
#include "features/features_main.h"
#include "features/redis_call.h"
#include "features/redis_dataset.h"
#include "ops/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ASK_MS        3000
#define CONNECT_MS    1000
#define VALUE_MAX     96
#define SKEW_WARN_MS  1000
#define SKEW_FAIL_MS  60000
#define FULL_FRACTION 0.8

/* The nodes of Redis: one, or the primaries of a cluster. */
struct patients {
    struct redis_nodes *nodes;
    int numbers[REDIS_NODES_MAX], count;
};

static enum status open_patients(struct patients *patients, const struct config *config,
                                 struct error *err)
{
    struct redis_target target;
    enum status status = redis_target_from(&target, config, err);

    *patients = (struct patients){0};
    if (status == OK)
        status = redis_nodes_create(&patients->nodes, &target, NULL, "freshet-doctor", err);
    if (status == OK)
        status = redis_nodes_all(patients->nodes, CONNECT_MS, patients->numbers, &patients->count,
                                 err);
    explicit_bzero(&target, sizeof target);
    return status;
}

/* Of two findings the one that is told: what is wrong before what is right. */
static bool graver(enum doctor_result one, enum doctor_result other)
{
    static const int weight[] = {[DOCTOR_SKIP] = 0,    [DOCTOR_NOTE] = 0, [DOCTOR_OK] = 1,
                                 [DOCTOR_UNKNOWN] = 2, [DOCTOR_WARN] = 3, [DOCTOR_FAIL] = 4};

    return weight[one] > weight[other];
}

/* Names the node that a finding is about. */
static void name_node(struct doctor_finding *finding, struct redis_connection *connection)
{
    char where[REDIS_WHERE_MAX], text[sizeof finding->text - REDIS_WHERE_MAX - 2];

    redis_address_describe(redis_connection_address(connection), where);
    (void)snprintf(text, sizeof text, "%.*s", (int)sizeof text - 1, finding->text);
    (void)snprintf(finding->text, sizeof finding->text, "%s: %s", where, text);
}

/* Looks at every node; the gravest finding is the check's. */
static void look_at_all(const struct config *config, struct doctor_finding *finding,
                        void (*look)(struct redis_connection *, struct doctor_finding *))
{
    struct patients patients;
    struct error err;

    doctor_unknown(finding, NULL, "Redis does not answer");
    if (open_patients(&patients, config, &err) != OK) {
        patients.count = 0;
        doctor_unknown(finding, NULL, "Redis does not answer: %s", err.text);
    }
    for (int i = 0; i < patients.count; i++) {
        struct redis_connection *connection = redis_nodes_at(patients.nodes, patients.numbers[i]);
        struct doctor_finding one;

        doctor_unknown(&one, NULL, "Redis does not answer");
        look(connection, &one);
        if (patients.count > 1 && one.result != DOCTOR_OK)
            name_node(&one, connection);
        if (i == 0 || graver(one.result, finding->result))
            *finding = one;
    }
    redis_nodes_destroy(patients.nodes);
}

/* What INFO says; copied, because a reply lives until the next call. False: the finding says why.
 */
static char *info_of(struct redis_connection *connection, struct doctor_finding *finding)
{
    static const struct text info[] = {{"INFO", 4}};
    const struct redis_reply *reply;
    struct error err;

    if (redis_call(connection, ASK_MS, info, 1, &reply, &err) != OK)
        doctor_unknown(finding, "allow the user +info", "Redis does not answer INFO: %s", err.text);
    else if (reply->type != REPLY_STRING)
        doctor_unknown(finding, NULL, "Redis does not answer INFO");
    else
        return strndup(reply->text.at, reply->text.bytes);
    return NULL;
}

static bool line_of(const char *info, const char *name, char value[VALUE_MAX])
{
    return redis_info_line(text_of(info), name, value, VALUE_MAX);
}

/* ---- the checks ---- */

static void check_reachable(const struct config *config, struct doctor_finding *finding)
{
    static const struct text info[] = {{"INFO", 4}, {"server", 6}};
    struct patients patients;
    const struct redis_reply *reply;
    char version[VALUE_MAX] = "of unknown version", others[VALUE_MAX] = "";
    struct error err;
    enum status status = open_patients(&patients, config, &err);

    if (status == OK)
        status = redis_call(redis_nodes_at(patients.nodes, 0), ASK_MS, info, 2, &reply, &err);
    if (status == OK && reply->type == REPLY_STRING)
        (void)redis_info_line(reply->text, "redis_version", version, sizeof version);
    redis_nodes_destroy(patients.nodes);
    if (patients.count > 1)
        (void)snprintf(others, sizeof others, ", a cluster of %d primaries", patients.count);
    if (status == OK)
        doctor_ok(finding, "redis %s answers%s", version, others);
    else
        doctor_fail(finding,
                    "is redis-server up, redis.url right, redis.username and redis.password those "
                    "of a user there?",
                    "%s", err.text);
}

/* Version, role, policy and transactions: what ingest itself asks before it writes anything. */
/* By what redis_dataset_check_server() found first. */
static const char *protocol_remedy(const char *found)
{
    if (strstr(found, "maxmemory-policy") != NULL)
        return "CONFIG SET maxmemory-policy noeviction, and the same line in redis.conf";
    if (strstr(found, "too old") != NULL)
        return "upgrade it to 6.0.9 or newer, or use Valkey";
    if (strstr(found, "lead to the primary") != NULL)
        return "point redis.url at the primary, or name its sentinels";
    return "give redis.url a primary of Redis or Valkey, not a proxy in front of it";
}

static void check_protocol(const struct config *config, struct doctor_finding *finding)
{
    struct redis_target target;
    struct redis_keys keys;
    struct error err;
    enum status status = redis_target_from(&target, config, &err);

    if (status == OK)
        status = redis_keys_init(&keys, config_text(config, "dataset.namespace"), &err);
    if (status == OK)
        status = redis_dataset_check_server(&target, &keys, ASK_MS, &err);
    explicit_bzero(&target, sizeof target);
    if (status == OK)
        doctor_ok(finding, "a primary of 6.0.9 or newer; WATCH, MULTI and EXEC hold");
    else if (status == ERR_UNAVAILABLE || status == ERR_TIMEOUT)
        doctor_unknown(finding, NULL, "Redis does not answer: %s", err.text);
    else
        doctor_fail(finding, protocol_remedy(err.text), "%s", err.text);
}

static void look_at_memory(struct redis_connection *connection, struct doctor_finding *finding)
{
    char policy[VALUE_MAX], used[VALUE_MAX] = "0", most[VALUE_MAX] = "0";
    char *info = info_of(connection, finding);
    double full;

    if (info == NULL)
        return;
    (void)line_of(info, "used_memory", used);
    (void)line_of(info, "maxmemory", most);
    full = strtod(most, NULL) > 0 ? strtod(used, NULL) / strtod(most, NULL) : 0;
    if (!line_of(info, "maxmemory_policy", policy))
        doctor_unknown(finding, "see to it that the policy is noeviction",
                       "redis does not say its maxmemory-policy");
    else if (strcmp(policy, "noeviction") != 0)
        doctor_fail(finding,
                    "CONFIG SET maxmemory-policy noeviction, and the same line in redis.conf",
                    "maxmemory-policy is %s: redis may forget users and what is applied", policy);
    else if (full > FULL_FRACTION)
        doctor_warn(finding, "raise maxmemory; `freshet features size` says what it is used for",
                    "%.0f %% of maxmemory is used; when it is full, ingest stands still",
                    full * 100);
    else if (strtod(most, NULL) <= 0)
        doctor_ok(finding, "noeviction, without a maxmemory");
    else
        doctor_ok(finding, "noeviction, %.0f %% of maxmemory is used", full * 100);
    free(info);
}

static void check_memory(const struct config *config, struct doctor_finding *finding)
{
    look_at_all(config, finding, look_at_memory);
}

static void look_at_persistence(struct redis_connection *connection, struct doctor_finding *finding)
{
    static const struct text ask[] = {{"CONFIG", 6}, {"GET", 3}, {"save", 4}};
    char aof[VALUE_MAX] = "0", written[VALUE_MAX] = "ok", saved[VALUE_MAX] = "ok";
    char *info = info_of(connection, finding);
    const struct redis_reply *reply;
    struct error err;
    bool asked, snapshots;

    if (info == NULL)
        return;
    asked = redis_call(connection, ASK_MS, ask, 3, &reply, &err) == OK &&
            reply->type == REPLY_ARRAY && reply->count == 2;
    snapshots = asked && reply->elements[1]->text.bytes > 0;
    (void)line_of(info, "aof_enabled", aof);
    (void)line_of(info, "aof_last_write_status", written);
    (void)line_of(info, "rdb_last_bgsave_status", saved);
    free(info);
    if (strcmp(written, "ok") != 0 || strcmp(saved, "ok") != 0)
        doctor_fail(finding, "look into redis' log: the disk is full, or its folder not writable",
                    "redis could not write: append-only file %s, snapshot %s", written, saved);
    else if (strcmp(aof, "0") == 0)
        doctor_warn(finding,
                    "appendonly yes (appendfsync everysec), or know that a restart of redis means "
                    "`freshet ingest --rebuild`",
                    !asked      ? "no append-only file; whether there are snapshots is not known "
                                  "(allow the user +config|get)"
                    : snapshots ? "snapshots only: a crash takes the state back to the last one, "
                                  "and ingest reads the log again from there"
                                : "nothing is kept on disk: a restart loses all state");
    else
        doctor_ok(finding, "append-only file");
}

static void check_persistence(const struct config *config, struct doctor_finding *finding)
{
    look_at_all(config, finding, look_at_persistence);
}

static void look_at_clock(struct redis_connection *connection, struct doctor_finding *finding)
{
    static const struct text time[] = {{"TIME", 4}};
    const struct redis_reply *reply;
    struct error err;
    int64_t before_ms = clock_wall_ms(), after_ms, skew_ms;

    if (redis_call(connection, ASK_MS, time, 1, &reply, &err) != OK || reply->type != REPLY_ARRAY ||
        reply->count != 2) {
        doctor_unknown(finding, "allow the user +time", "Redis does not tell its time");
        return;
    }
    after_ms = clock_wall_ms();
    skew_ms = strtoll(reply->elements[0]->text.at, NULL, 10) * 1000 +
              strtoll(reply->elements[1]->text.at, NULL, 10) / 1000 -
              (before_ms + (after_ms - before_ms) / 2);
    if (llabs(skew_ms) > SKEW_FAIL_MS)
        doctor_fail(finding, "run an NTP service on both hosts", "redis' clock is %lld s %s ours",
                    llabs(skew_ms) / 1000, skew_ms < 0 ? "behind" : "ahead of");
    else if (llabs(skew_ms) > SKEW_WARN_MS + (after_ms - before_ms))
        doctor_warn(finding, "run an NTP service on both hosts", "redis' clock is %lld ms %s ours",
                    llabs(skew_ms), skew_ms < 0 ? "behind" : "ahead of");
    else
        doctor_ok(finding, "within %d ms of ours", SKEW_WARN_MS);
}

static void check_clock(const struct config *config, struct doctor_finding *finding)
{
    look_at_all(config, finding, look_at_clock);
}

/* ---- the access list ---- */

/* What any role sends, and a form of it that changes nothing. Writes are queued and discarded.
 * The connection's own: ping, select, client|setname, role, cluster|slots, asking. */
/* clang-format off */
#define COMMAND_LIST(X)                                      \
    X("watch",        "WATCH", key)                          \
    X("unwatch",      "UNWATCH")                             \
    X("get",          "GET", key)                            \
    X("exists",       "EXISTS", key)                         \
    X("hget",         "HGET", key, "f")                      \
    X("hmget",        "HMGET", key, "f")                     \
    X("hgetall",      "HGETALL", key)                        \
    X("xlen",         "XLEN", key)                           \
    X("xrange",       "XRANGE", key, "-", "+", "COUNT", "1") \
    X("xinfo|stream", "XINFO", "STREAM", key)                \
    X("scan",         "SCAN", "0", "COUNT", "1")             \
    X("dbsize",       "DBSIZE")                              \
    X("memory|usage", "MEMORY", "USAGE", key)                \
    X("info",         "INFO", "server")                      \
    X("time",         "TIME")                                \
    X("wait",         "WAIT", "0", "1")                      \
    X("exec",         "EXEC")                                \
    X("multi",        "MULTI")                               \
    X("set",          "SET", key, "v")                       \
    X("setrange",     "SETRANGE", key, "0", "v")             \
    X("pexpire",      "PEXPIRE", key, "1")                   \
    X("del",          "DEL", key)                            \
    X("hset",         "HSET", key, "f", "v")                 \
    X("hsetnx",       "HSETNX", key, "f", "v")               \
    X("xadd",         "XADD", key, "*", "f", "v")            \
    X("xdel",         "XDEL", key, "1-1")                    \
    X("discard",      "DISCARD")
/* clang-format on */

/* The line that makes a user who may do this and no more. */
static void acl_line(char *into, size_t room, const char *user, const char *ns)
{
    (void)snprintf(into, room,
                   "ACL SETUSER %s on >PASSWORD resetkeys ~%s{* resetchannels -@all +ping +select "
                   "+client|setname +role +cluster|slots +asking"
#define X(name, ...) " +" name
                   COMMAND_LIST(X)
#undef X
                       ,
                   user, ns);
}

/* Sends one command; adds its name to what is forbidden when it is. False: no answer, or another
 * connection, where what was to be queued would be carried out. */
static bool may(struct redis_connection *connection, const char *name, const char *const *words,
                char forbidden[VALUE_MAX])
{
    struct text arguments[8];
    const struct redis_reply *reply = NULL;
    struct error err;
    size_t used = strlen(forbidden);
    int count = 0;

    for (; words[count] != NULL; count++)
        arguments[count] = text_of(words[count]);
    if (redis_connection_epoch(connection) != 1 || !redis_connection_ready(connection))
        return false;
    if (strstr(forbidden, "multi") != NULL)
        return true; /* what stands behind it would be carried out */
    if (redis_call(connection, ASK_MS, arguments, count, &reply, &err) != OK && reply == NULL)
        return false;
    if (reply->type == REPLY_ERROR && redis_error_of(reply->text) == REDIS_ERROR_NOPERM)
        (void)snprintf(forbidden + used, VALUE_MAX - used, "%s%s", used == 0 ? "" : ", ", name);
    return true;
}

static void check_acl(const struct config *config, struct doctor_finding *finding)
{
    const char *ns = config_text(config, "dataset.namespace");
    char key[64], forbidden[VALUE_MAX] = "", line[sizeof finding->remedy];
    struct redis_connection *connection;
    struct redis_target target;
    struct error err;
    bool answers = true;
    enum status status = redis_target_from(&target, config, &err);

    doctor_unknown(finding, NULL, "Redis does not answer");
    if (status != OK || redis_connection_create(&connection, &target, NULL, NULL, &err) != OK)
        return;
    (void)snprintf(key, sizeof key, "%s{00}probe", ns);
    answers = redis_call_wait_ready(connection, CONNECT_MS, &err) == OK;
#define X(name, ...)                                                                               \
    answers = answers && may(connection, name, (const char *const[]){__VA_ARGS__, NULL}, forbidden);
    COMMAND_LIST(X)
#undef X
    redis_connection_destroy(connection);
    acl_line(line, sizeof line, target.user[0] == '\0' ? "freshet" : target.user, ns);
    if (answers && forbidden[0] != '\0')
        doctor_fail(finding, line, "the user \"%s\" may not %s",
                    target.user[0] == '\0' ? "default" : target.user, forbidden);
    else if (answers)
        doctor_ok(finding, "user \"%s\" may do all that is asked; no more is needed than: %s",
                  target.user[0] == '\0' ? "default" : target.user, line);
    explicit_bzero(&target, sizeof target);
}

const struct doctor_check redis_doctor_checks[] = {
    {"redis", "it answers, with the password that is configured", check_reachable, NULL},
    {"redis-protocol", "version, role and transactions are what the protocol needs", check_protocol,
     "redis"},
    {"redis-memory", "it evicts nothing, and has room", check_memory, "redis"},
    {"redis-persistence", "what it holds survives a restart", check_persistence, "redis"},
    {"redis-clock", "its clock and ours agree", check_clock, "redis"},
    {"redis-acl", "its user may do what the roles do, and the line that allows no more", check_acl,
     "redis"},
    {0},
};
