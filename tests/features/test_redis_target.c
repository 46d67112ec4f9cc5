/* Tests features/redis_target: addresses that are fine, and each way one can be wrong. */
#include "features/redis_target.h"

#include "features/redis_tls.h"

#include "tests/test.h"

#include <string.h>

TEST(redis_target_reads_every_form)
{
    struct redis_target target;
    struct error err;
    char where[REDIS_WHERE_MAX];

    CHECK_STATUS(OK, redis_target_parse(&target, "redis://h", &err));
    CHECK_TEXT("h", target.guides[0].host);
    CHECK_INT(6379, target.guides[0].port);
    CHECK_STATUS(OK, redis_target_parse(&target, "redis://al:p%40ss@10.0.0.1:7000/3", &err));
    CHECK_TEXT("al", target.user);
    CHECK_TEXT("p@ss", target.secret.password);
    CHECK_INT(7000, target.guides[0].port);
    CHECK_INT(3, target.db);
    redis_address_describe(&target.guides[0], where);
    CHECK_TEXT("10.0.0.1:7000", where);
    CHECK_STATUS(OK, redis_target_parse(&target, "redis://:a:b@h/", &err));
    CHECK_TEXT("", target.user);
    CHECK_TEXT("a:b", target.secret.password);
    CHECK_STATUS(OK, redis_target_parse(&target, "redis://[::1]:5", &err));
    CHECK_TEXT("::1", target.guides[0].host);
    CHECK_INT(5, target.guides[0].port);
    CHECK_STATUS(OK, redis_target_parse(&target, "unix:///run/r.sock?db=2", &err));
    CHECK(target.guides[0].unix_socket);
    CHECK_TEXT("/run/r.sock", target.guides[0].host);
    CHECK_INT(2, target.db);
}

TEST(redis_target_refuses_what_is_no_address_and_keeps_the_password_to_itself)
{
    static const char *const bad[] = {
        "",
        "h",
        "http://h",
        "redis://",
        "redis://:5",
        "redis://h:",
        "redis://h:0",
        "redis://h:65536",
        "redis://h:6x",
        "redis://h/x",
        "redis://h/9999",
        "redis://[::1",
        "redis://[::1]x",
        "redis://h%00",
        "redis://h%g0",
        "redis://secret:hush@",
        "unix://",
        "unix://r.sock",
        "unix:///",
        "unix:///r?x=1",
        "unix:///r?db=",
        "redis://u:hush@h:port",
    };
    struct redis_target target;
    struct error err;
    char path[200] = "unix:///";

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        CHECK_STATUS(ERR_CONFIG, redis_target_parse(&target, bad[i], &err));
        CHECK(strstr(err.text, "hush") == NULL);
    }
    memset(path + 8, 'a', 110);
    CHECK_STATUS(ERR_CONFIG, redis_target_parse(&target, path, &err));
}

TEST(redis_target_reads_sentinels_and_clusters)
{
    struct redis_target target;
    struct error err;

    CHECK_STATUS(OK,
                 redis_target_parse(&target, "redis+sentinel://u:p@a,b:1,[::1]:2/prime/3", &err));
    CHECK_INT(REDIS_SENTINEL, target.kind);
    CHECK_INT(3, target.guides_count);
    CHECK_TEXT("a", target.guides[0].host);
    CHECK_INT(26379, target.guides[0].port);
    CHECK_INT(1, target.guides[1].port);
    CHECK_TEXT("::1", target.guides[2].host);
    CHECK_INT(2, target.guides[2].port);
    CHECK_TEXT("prime", target.master);
    CHECK_INT(3, target.db);
    CHECK_TEXT("u", target.user);
    CHECK_TEXT("p", target.secret.password);
    CHECK_STATUS(OK, redis_target_parse(&target, "redis+cluster://a:7000,b/", &err));
    CHECK_INT(REDIS_CLUSTER, target.kind);
    CHECK_INT(2, target.guides_count);
    CHECK_INT(6379, target.guides[1].port);
}

TEST(redis_target_refuses_sentinels_and_clusters_that_are_none)
{
    static const char *const bad[] = {
        "redis://a,b",
        "redis+sentinel://a",
        "redis+sentinel://a/",
        "redis+sentinel://a//3",
        "redis+sentinel:///prime",
        "redis+sentinel://a,/prime",
        "redis+sentinel://a/prime/x",
        "redis+sentinel://a:0/prime",
        "redis+cluster://",
        "redis+cluster://a,,b",
        "redis+cluster://a/1",
        "redis+cluster://a,b,c,d,e,f,g,h,i",
        "redis+other://a",
    };
    struct redis_target target;
    struct error err;

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK_STATUS(ERR_CONFIG, redis_target_parse(&target, bad[i], &err));
}

TEST(redis_target_speaks_tls_or_says_that_it_cannot)
{
    static const char *const urls[] = {"rediss://h", "rediss+sentinel://h/m", "rediss+cluster://h"};
    struct redis_target target;
    struct error err;

    for (int i = 0; i < 3; i++) {
        if (redis_tls_built()) {
            CHECK_STATUS(OK, redis_target_parse(&target, urls[i], &err));
            CHECK(target.tls && target.kind == (enum redis_kind)i);
        } else {
            CHECK_STATUS(ERR_CONFIG, redis_target_parse(&target, urls[i], &err));
            CHECK(strstr(err.text, "TLS") != NULL);
        }
    }
    CHECK_STATUS(OK, redis_target_parse(&target, "redis://h", &err));
    CHECK(!target.tls);
}
