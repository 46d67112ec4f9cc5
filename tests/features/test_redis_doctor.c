/* Tests features/redis_doctor against a private redis-server: one that is as it must be, and each
 * way in which it is not, with the remedy that is named. */
#include "features/features_main.h"
#include "features/redis_target.h"
#include "ops/clock.h"
#include "tests/support/redis_server.h"
#include "tests/test.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static struct redis_server server;
static struct doctor_finding finding;

static enum doctor_result look_at(const char *url, const char *name)
{
    const struct config_row *tables[] = {redis_config_rows, NULL};
    struct config *config;
    struct error err;
    char set[200];
    const char *sets[] = {set};
    char *report = NULL;

    (void)snprintf(set, sizeof set, "redis.url=%s", url);
    CHECK_STATUS(OK, config_load(&config, tables, NULL, sets, 1, &report, &err));
    free(report);
    for (const struct doctor_check *check = redis_doctor_checks; check->name != NULL; check++)
        if (strcmp(check->name, name) == 0)
            check->run(config, &finding);
    config_destroy(config);
    return finding.result;
}

static enum doctor_result look(const char *name)
{
    finding = (struct doctor_finding){.result = DOCTOR_SKIP};
    return look_at(server.url, name);
}

static bool remedy_has(const char *text)
{
    return strstr(finding.remedy, text) != NULL;
}

TEST(redis_doctor_finds_nothing_wrong_with_a_good_server)
{
    const char *const extra[] = {"--appendonly", "yes", "--dir", test_folder(), NULL};

    redis_server_start(&server, extra);
    for (const struct doctor_check *check = redis_doctor_checks; check->name != NULL; check++) {
        CHECK_INT(DOCTOR_OK, look(check->name));
        CHECK_TEXT("", finding.remedy);
        CHECK(finding.text[0] != 0);
    }
    redis_server_stop(&server);
}

TEST(redis_doctor_says_that_nobody_answers_once)
{
    char url[200];

    (void)snprintf(url, sizeof url, "unix://%s/nobody.sock", test_folder());
    CHECK_INT(DOCTOR_FAIL, look_at(url, "redis"));
    CHECK(remedy_has("redis.url"));
    CHECK_INT(DOCTOR_UNKNOWN, look_at(url, "redis-clock"));
    CHECK_TEXT("", finding.remedy);
}

TEST(redis_doctor_sees_a_server_that_wants_a_password)
{
    redis_server_start(&server, NULL);
    (void)REDIS_COMMAND(&server, "CONFIG", "SET", "requirepass", "secret");
    CHECK_INT(DOCTOR_FAIL, look("redis"));
    CHECK(remedy_has("redis.password"));
    redis_server_stop(&server);
}

TEST(redis_doctor_sees_eviction_and_a_memory_that_fills_up)
{
    redis_server_start(&server, NULL);
    CHECK_INT(DOCTOR_OK, look("redis-memory"));
    (void)REDIS_COMMAND(&server, "CONFIG", "SET", "maxmemory-policy", "allkeys-lru");
    CHECK_INT(DOCTOR_FAIL, look("redis-memory"));
    CHECK(remedy_has("CONFIG SET maxmemory-policy noeviction"));
    CHECK(strstr(finding.text, "allkeys-lru") != NULL);
    CHECK_INT(DOCTOR_FAIL, look("redis-protocol"));
    CHECK(remedy_has("CONFIG SET maxmemory-policy noeviction") && !remedy_has("proxy"));
    (void)REDIS_COMMAND(&server, "CONFIG", "SET", "maxmemory-policy", "noeviction");
    (void)REDIS_COMMAND(&server, "CONFIG", "SET", "maxmemory", "1000000000");
    CHECK_INT(DOCTOR_OK, look("redis-memory"));
    (void)REDIS_COMMAND(&server, "CONFIG", "SET", "maxmemory", "1048576");
    CHECK_INT(DOCTOR_WARN, look("redis-memory"));
    CHECK(remedy_has("maxmemory"));
    redis_server_stop(&server);
}

TEST(redis_doctor_sees_a_replica)
{
    redis_server_start(&server, NULL);
    (void)REDIS_COMMAND(&server, "REPLICAOF", "127.0.0.1", "1");
    CHECK_INT(DOCTOR_FAIL, look("redis-protocol"));
    CHECK(remedy_has("primary"));
    redis_server_stop(&server);
}

TEST(redis_doctor_sees_what_is_not_kept_on_disk)
{
    const char *const extra[] = {"--save", "3600 1", NULL};

    redis_server_start(&server, NULL);
    CHECK_INT(DOCTOR_WARN, look("redis-persistence"));
    CHECK(remedy_has("appendonly") && remedy_has("--rebuild"));
    CHECK(strstr(finding.text, "nothing is kept") != NULL);
    redis_server_restart(&server, extra);
    CHECK_INT(DOCTOR_WARN, look("redis-persistence"));
    CHECK(strstr(finding.text, "snapshots only") != NULL);
    redis_server_stop(&server);
}

TEST(redis_doctor_sees_a_disk_that_refuses)
{
    char folder[200], log[220];
    const char *const extra[] = {"--dir", folder, NULL};
    int64_t until_us = clock_monotonic_us() + 10000000;

    (void)snprintf(folder, sizeof folder, "%s/gone", test_folder());
    CHECK(mkdir(folder, 0700) == 0);
    redis_server_start(&server, extra);
    (void)REDIS_COMMAND(&server, "SET", "x", "1");
    (void)snprintf(log, sizeof log, "%s/redis.log", folder);
    CHECK(unlink(log) == 0 && rmdir(folder) == 0);
    (void)REDIS_COMMAND(&server, "BGSAVE");
    while (look("redis-persistence") != DOCTOR_FAIL) {
        CHECK(clock_monotonic_us() < until_us);
        (void)poll(NULL, 0, 20);
    }
    CHECK(remedy_has("disk"));
    redis_server_stop(&server);
}

TEST(redis_doctor_names_what_its_user_may_not_and_the_line_that_lets_him)
{
    redis_server_start(&server, NULL);
    CHECK_INT(DOCTOR_OK, look("redis-acl"));
    CHECK(strstr(finding.text, "ACL SETUSER freshet on >PASSWORD") != NULL);
    CHECK(strstr(finding.text, "~fr{*") != NULL && strstr(finding.text, "+discard") != NULL);
    CHECK_TEXT("(nil)", REDIS_COMMAND(&server, "GET", "fr{00}probe"));
    CHECK_TEXT("0", REDIS_COMMAND(&server, "DBSIZE"));
    (void)REDIS_COMMAND(&server, "ACL", "SETUSER", "default", "-setrange", "-xlen");
    CHECK_INT(DOCTOR_FAIL, look("redis-acl"));
    CHECK(strstr(finding.text, "\"default\" may not xlen, setrange") != NULL);
    CHECK(remedy_has("ACL SETUSER freshet") && remedy_has("+setrange"));
    (void)REDIS_COMMAND(&server, "ACL", "SETUSER", "default", "+@all", "resetkeys", "~other*");
    CHECK_INT(DOCTOR_FAIL, look("redis-acl"));
    CHECK(strstr(finding.text, "watch, get") != NULL);
    CHECK_TEXT("0", REDIS_COMMAND(&server, "DBSIZE"));
    redis_server_stop(&server);
}
