/* Tests ops/status: every status has a name, an action and a text of its own. */
#include "ops/status.h"

#include "tests/test.h"

#include <string.h>

TEST(status_rows_are_complete_and_distinct)
{
    for (int a = 0; a < STATUS_COUNT; a++) {
        CHECK(status_name((enum status)a)[0] != 0);
        CHECK(status_text((enum status)a)[0] != 0);
        for (int b = 0; b < a; b++)
            CHECK(strcmp(status_name((enum status)a), status_name((enum status)b)) != 0);
    }
    CHECK(status_action(OK) == ACTION_GO_ON);
    CHECK(status_action(ERR_MALFORMED) == ACTION_SKIP);
}

TEST(error_set_cuts_a_text_that_is_too_long)
{
    struct error err;
    char text[1000];

    memset(text, 'x', sizeof text);
    text[sizeof text - 1] = 0;
    CHECK_STATUS(ERR_IO, error_set(&err, ERR_IO, "%s", text));
    CHECK_INT(sizeof err.text - 1, strlen(err.text));
}

TEST(error_prefix_leaves_all_the_room_there_is_to_the_text)
{
    struct error err;
    char text[201], prefix[300];

    memset(text, 'x', sizeof text);
    text[sizeof text - 1] = 0;
    (void)error_set(&err, ERR_IO, "%s", text);
    (void)error_prefix(&err, "redis.url");
    CHECK(strncmp(err.text, "redis.url: ", 11) == 0 && strcmp(err.text + 11, text) == 0);
    memset(prefix, 'p', sizeof prefix);
    prefix[sizeof prefix - 1] = 0;
    (void)error_set(&err, ERR_IO, "the reason");
    (void)error_prefix(&err, "%s", prefix);
    CHECK(strstr(err.text, "p: the reason") != NULL);
}

TEST(error_prefix_keeps_status_and_both_texts)
{
    struct error err;

    (void)error_set(&err, ERR_LIMIT, "too long");
    CHECK_STATUS(ERR_LIMIT, error_prefix(&err, "user \"%s\"", "a"));
    CHECK_TEXT("user \"a\": too long", err.text);
}
