/*
 * Tests features/key_scan against a scripted server: what a walk does with keys shown twice, a
 * connection lost in its middle and answers that are none. Over a real one: test_features_users.c.
 */
#include "features/key_scan.h"

#include "tests/support/redis_script.h"
#include "tests/test.h"

#include <stdio.h>
#include <string.h>

#define PATIENT_MS 60000

#define TWO_KEYS(cursor, one, two)                                                                 \
    "*2\r\n$1\r\n" cursor "\r\n*2\r\n$10\r\n" one "\r\n$10\r\n" two "\r\n"

static struct redis_script server;
static struct redis_nodes *nodes;
static struct redis_keys keys;
static struct key_scan *scan;
static struct error err;
static char seen[200]; /* what the walk has given, one word each */

static void begin(enum redis_key_kind kind)
{
    struct redis_target target;
    char url[60];

    redis_script_start(&server);
    (void)snprintf(url, sizeof url, "redis://127.0.0.1:%d", server.port);
    CHECK_STATUS(OK, redis_target_parse(&target, url, &err));
    CHECK_STATUS(OK, redis_keys_init(&keys, "fr", &err));
    CHECK_STATUS(OK, redis_nodes_create(&nodes, &target, NULL, "test", &err));
    CHECK_STATUS(OK, key_scan_create(&scan, nodes, &keys, kind, &err));
    seen[0] = '\0';
}

static void end(void)
{
    key_scan_destroy(scan);
    redis_nodes_destroy(nodes);
    redis_script_stop(&server);
}

/* One batch; false with the last one. */
static bool step(void)
{
    const struct key_scan_key *batch;
    size_t used = strlen(seen);
    bool more;
    int count;

    CHECK_STATUS(OK, key_scan_next(scan, PATIENT_MS, &batch, &count, &more, &err));
    for (int i = 0; i < count; i++)
        used += (size_t)snprintf(seen + used, sizeof seen - used, "%s%d:%.*s", used > 0 ? " " : "",
                                 batch[i].shard, TEXT_ARGS(batch[i].rest));
    return more;
}

TEST(key_scan_gives_a_key_once_that_redis_shows_on_two_pages)
{
    begin(REDIS_KEY_USER);
    redis_script_says(&server, "SCAN 0", TWO_KEYS("7", "fr{00}uann", "fr{0a}mev1"));
    redis_script_says(&server, "SCAN 7", TWO_KEYS("8", "fr{00}uann", "fr{0a}ubob"));
    redis_script_says(&server, "SCAN 8", "*2\r\n$1\r\n0\r\n*0\r\n");
    CHECK(step());
    CHECK_TEXT("0:ann", seen);
    CHECK(step());
    CHECK(!step()); /* an empty page may be the last */
    CHECK_TEXT("0:ann 10:bob", seen);
    end();
}

/* The cursor is the other process' own: to whoever answers now it means anything. */
TEST(key_scan_begins_anew_when_the_connection_is_lost_in_its_middle)
{
    begin(REDIS_KEY_USER);
    redis_script_says(&server, "SCAN 0", TWO_KEYS("7", "fr{00}uann", "fr{01}ubob"));
    redis_script_says(&server, "SCAN 7", TWO_KEYS("0", "fr{02}ucem", "fr{03}udao"));
    CHECK(step());
    redis_connection_fail(redis_nodes_at(nodes, 0), ERR_UNAVAILABLE, "test");
    CHECK(step()); /* what this page says is not believed */
    CHECK_TEXT("0:ann 1:bob", seen);
    CHECK(step());
    CHECK_INT(2, redis_script_seen(&server, "SCAN 0"));
    CHECK_TEXT("0:ann 1:bob", seen); /* known from before */
    CHECK(!step());
    CHECK_TEXT("0:ann 1:bob 2:cem 3:dao", seen);
    end();
}

TEST(key_scan_takes_no_answer_that_is_none)
{
    static const char *const answers[] = {
        "+OK\r\n",
        "*1\r\n$1\r\n0\r\n",
        "*2\r\n:0\r\n*0\r\n",
        "*2\r\n$1\r\n0\r\n$1\r\nx\r\n",
        "*3\r\n$1\r\n0\r\n*0\r\n*0\r\n",
        "*2\r\n$40\r\n1234567890123456789012345678901234567890\r\n*0\r\n",
    };
    const struct key_scan_key *batch;
    bool more;
    int count;

    begin(REDIS_KEY_OTHER);
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
        redis_script_says(&server, "SCAN 0", "%s", answers[i]);
        CHECK_STATUS(ERR_MALFORMED, key_scan_next(scan, PATIENT_MS, &batch, &count, &more, &err));
        CHECK_INT(0, count);
    }
    /* Keys that are no text are nobody's. */
    redis_script_says(&server, "SCAN 0",
                      "*2\r\n$1\r\n0\r\n*3\r\n:5\r\n$-1\r\n$10\r\nfr{00}mev1\r\n");
    CHECK(!step());
    CHECK_TEXT("0:ev1", seen);
    end();
}
