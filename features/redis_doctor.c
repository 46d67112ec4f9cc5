/* features/redis_doctor.c - doctor's questions to Redis: does it answer, may it forget, can it
 * lose, does its clock agree, and do WATCH and EXEC work as the protocol needs them? */
#include "features/features_main.h"
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

static enum status connect(const struct config *config, struct redis_connection **connection,
                           struct error *err)
{
    struct redis_target target;
    enum status status = redis_target_from(&target, config, err);

    *connection = NULL;
    if (status == OK)
        status = redis_connection_create(connection, &target, NULL, "freshet-doctor", err);
    if (status == OK)
        status = redis_connection_wait_ready(*connection, CONNECT_MS, err);
    explicit_bzero(&target, sizeof target);
    return status;
}

/* What INFO says; copied, because a reply lives until the next call. False: the finding says why.
 */
static char *info_of(const struct config *config, struct doctor_finding *finding)
{
    static const struct text info[] = {{"INFO", 4}};
    struct redis_connection *connection;
    const struct redis_reply *reply;
    struct error err;
    char *text = NULL;
    enum status status = connect(config, &connection, &err);

    if (status == OK)
        status = redis_call(connection, ASK_MS, info, 1, &reply, &err);
    if (status != OK)
        doctor_skip(finding, "Redis does not answer");
    else if (reply->type != REPLY_STRING)
        doctor_skip(finding, "Redis does not answer INFO");
    else
        text = strndup(reply->text.at, reply->text.bytes);
    redis_connection_destroy(connection);
    return text;
}

static bool line_of(const char *info, const char *name, char value[VALUE_MAX])
{
    return redis_info_line(text_of(info), name, value, VALUE_MAX);
}

/* ---- the checks ---- */

static void check_reachable(const struct config *config, struct doctor_finding *finding)
{
    static const struct text info[] = {{"INFO", 4}, {"server", 6}};
    struct redis_connection *connection;
    const struct redis_reply *reply;
    char version[VALUE_MAX] = "of unknown version";
    struct error err;
    enum status status = connect(config, &connection, &err);

    if (status == OK)
        status = redis_call(connection, ASK_MS, info, 2, &reply, &err);
    if (status == OK && reply->type == REPLY_STRING)
        (void)redis_info_line(reply->text, "redis_version", version, sizeof version);
    redis_connection_destroy(connection);
    if (status == OK)
        doctor_ok(finding, "redis %s answers", version);
    else
        doctor_fail(finding, "is redis-server up, redis.url right, redis.password its password?",
                    "%s", err.text);
}

/* Version, role, policy and transactions: what ingest itself asks before it writes anything. */
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
        doctor_skip(finding, "Redis does not answer");
    else
        doctor_fail(finding,
                    "give redis.url a primary of Redis or Valkey, not a proxy in front of it", "%s",
                    err.text);
}

static void check_memory(const struct config *config, struct doctor_finding *finding)
{
    char policy[VALUE_MAX], used[VALUE_MAX] = "0", most[VALUE_MAX] = "0";
    char *info = info_of(config, finding);
    double full;

    if (info == NULL)
        return;
    (void)line_of(info, "used_memory", used);
    (void)line_of(info, "maxmemory", most);
    full = strtod(most, NULL) > 0 ? strtod(used, NULL) / strtod(most, NULL) : 0;
    if (!line_of(info, "maxmemory_policy", policy))
        doctor_warn(finding, "see to it that the policy is noeviction",
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

static void check_persistence(const struct config *config, struct doctor_finding *finding)
{
    static const struct text ask[] = {{"CONFIG", 6}, {"GET", 3}, {"save", 4}};
    char aof[VALUE_MAX] = "0", written[VALUE_MAX] = "ok", saved[VALUE_MAX] = "ok";
    char *info = info_of(config, finding);
    struct redis_connection *connection;
    const struct redis_reply *reply;
    struct error err;
    bool snapshots = false;

    if (info == NULL)
        return;
    if (connect(config, &connection, &err) == OK &&
        redis_call(connection, ASK_MS, ask, 3, &reply, &err) == OK && reply->type == REPLY_ARRAY &&
        reply->count == 2)
        snapshots = reply->elements[1]->text.bytes > 0;
    redis_connection_destroy(connection);
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
                    snapshots ? "snapshots only: a crash takes the state back to the last one, "
                                "and ingest reads the log again from there"
                              : "nothing is kept on disk: a restart loses all state");
    else
        doctor_ok(finding, "append-only file");
}

static void check_clock(const struct config *config, struct doctor_finding *finding)
{
    static const struct text time[] = {{"TIME", 4}};
    struct redis_connection *connection;
    const struct redis_reply *reply;
    struct error err;
    int64_t before_ms = 0, after_ms, skew_ms;
    enum status status = connect(config, &connection, &err);

    if (status == OK) {
        before_ms = clock_wall_ms();
        status = redis_call(connection, ASK_MS, time, 1, &reply, &err);
    }
    if (status != OK || reply->type != REPLY_ARRAY || reply->count != 2) {
        doctor_skip(finding, "Redis does not answer");
        redis_connection_destroy(connection);
        return;
    }
    after_ms = clock_wall_ms();
    skew_ms = strtoll(reply->elements[0]->text.at, NULL, 10) * 1000 +
              strtoll(reply->elements[1]->text.at, NULL, 10) / 1000 -
              (before_ms + (after_ms - before_ms) / 2);
    redis_connection_destroy(connection);
    if (llabs(skew_ms) > SKEW_FAIL_MS)
        doctor_fail(finding, "run an NTP service on both hosts", "redis' clock is %lld s %s ours",
                    llabs(skew_ms) / 1000, skew_ms < 0 ? "behind" : "ahead of");
    else if (llabs(skew_ms) > SKEW_WARN_MS + (after_ms - before_ms))
        doctor_warn(finding, "run an NTP service on both hosts", "redis' clock is %lld ms %s ours",
                    llabs(skew_ms), skew_ms < 0 ? "behind" : "ahead of");
    else
        doctor_ok(finding, "within %d ms of ours", SKEW_WARN_MS);
}

const struct doctor_check redis_doctor_checks[] = {
    {"redis", "it answers, with the password that is configured", check_reachable},
    {"redis-protocol", "version, role and transactions are what the protocol needs",
     check_protocol},
    {"redis-memory", "it evicts nothing, and has room", check_memory},
    {"redis-persistence", "what it holds survives a restart", check_persistence},
    {"redis-clock", "its clock and ours agree", check_clock},
    {0},
};
