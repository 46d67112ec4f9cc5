/* Tests features/redis_policy on a private redis-server whose policy is changed while it is watched
 * (FAULTS 49). */
#include "features/redis_policy.h"

#include "ops/clock.h"
#include "tests/support/redis_server.h"
#include "tests/test.h"

#include <string.h>

static struct redis_server server;
static struct redis_policy *policy;

/* Steps until it says what is wanted. */
static bool says(const char *wanted)
{
    for (int i = 0; i < 15000; i++) {
        const char *why = redis_policy_why(policy);

        if (wanted[0] == '\0' ? why[0] == '\0' : strstr(why, wanted) != NULL)
            return true;
        redis_policy_step(policy, clock_monotonic_us());
        clock_sleep_us(2000);
    }
    return false;
}

static void begin(void)
{
    struct redis_target target;
    struct error err;

    redis_server_start(&server, NULL);
    CHECK_STATUS(OK, redis_target_parse(&target, server.url, &err));
    CHECK_STATUS(OK, redis_policy_create(&policy, &target, 10, &err));
    CHECK_TEXT("", redis_policy_why(policy));
}

TEST(redis_policy_tells_while_something_may_be_evicted)
{
    begin();
    (void)REDIS_COMMAND(&server, "CONFIG", "SET", "maxmemory-policy", "allkeys-lru");
    CHECK(says("allkeys-lru"));
    (void)REDIS_COMMAND(&server, "CONFIG", "SET", "maxmemory-policy", "noeviction");
    CHECK(says(""));
    (void)REDIS_COMMAND(&server, "CONFIG", "SET", "maxmemory-policy", "volatile-ttl");
    CHECK(says("volatile-ttl"));
    redis_policy_destroy(policy);
    redis_server_stop(&server);
}

TEST(redis_policy_survives_a_server_that_leaves_and_comes_back)
{
    begin();
    (void)REDIS_COMMAND(&server, "CONFIG", "SET", "maxmemory-policy", "allkeys-lru");
    CHECK(says("allkeys-lru"));
    redis_server_kill(&server);
    redis_server_restart(&server, NULL); /* as it was configured: noeviction */
    CHECK(says(""));
    redis_policy_destroy(policy);
    redis_server_stop(&server);
    redis_policy_destroy(NULL);
}
