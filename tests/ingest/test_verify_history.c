/* Tests ingest/verify_history: what is kept of many differences, and what is printed. */
#include "ingest/verify_history.h"

#include "tests/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char printed[64 * 1024];

/* What print writes to standard error. */
static void capture(const struct verify_history *history)
{
    char path[300];
    int old = dup(STDERR_FILENO);
    size_t count;
    FILE *file;

    (void)snprintf(path, sizeof path, "%s/printed", test_folder());
    file = fopen(path, "w+");
    CHECK(file != NULL && old >= 0);
    (void)fflush(stderr);
    CHECK(dup2(fileno(file), STDERR_FILENO) >= 0);
    verify_history_print(history);
    (void)fflush(stderr);
    CHECK(dup2(old, STDERR_FILENO) >= 0);
    (void)close(old);
    rewind(file);
    count = fread(printed, 1, sizeof printed - 1, file);
    printed[count] = '\0';
    (void)fclose(file);
}

static int count_of(const char *text)
{
    int count = 0;

    for (const char *at = printed; (at = strstr(at, text)) != NULL; at++)
        count++;
    return count;
}

TEST(verify_history_shows_the_newest_records_of_the_first_differences)
{
    struct verify_history *history;
    struct text rows[] = {text_of("b"), text_of("a")};
    struct event event = {.user = text_of("u1"), .item = text_of("a"), .action = 2};
    struct kafka_record record = {.partition = 3};
    struct error err;
    char user[20];

    CHECK_STATUS(OK, verify_history_create(&history, &err));
    verify_history_add(history, text_of("u1"), false, 7, "differs");
    verify_history_add(history, text_of("u1"), false, 7, "differs again");
    verify_history_add(history, text_of("a"), true, -1, "differs, too");
    for (int i = 0; i < 20; i++) {
        (void)snprintf(user, sizeof user, "x%d", i);
        verify_history_add(history, text_of(user), false, 7, "is another");
    }
    for (int i = 0; i < VERIFY_HISTORY_MAX + 5; i++) {
        record.offset = event.time_ms = i;
        verify_history_record(history, &record, &event);
    }
    event = (struct event){.kind = EVENT_IMPRESSION,
                           .user = text_of("other"),
                           .rows = rows,
                           .rows_count = 2,
                           .request_id = text_of("r9")};
    record.offset = 77;
    record.replayed = true;
    verify_history_record(history, &record, &event);
    CHECK_INT(23, verify_history_count(history));
    capture(history);
    CHECK_INT(1, count_of("user u1: differs\n"));
    CHECK_INT(1, count_of("user u1: differs again\n"));
    CHECK_INT(1, count_of("item a: differs, too\n"));
    CHECK_INT(1, count_of("(5 records before these)"));
    CHECK_INT(1, count_of("(6 records before these)"));
    CHECK_INT(0, count_of("3/4  time"));
    CHECK_INT(1, count_of("3/5  time")); /* of the user; of the item it is the sixth */
    CHECK_INT(2, count_of("3/24  time 24  u1  action 2, item a\n"));
    CHECK_INT(1, count_of("3/77  time 0  other  impression of 2, request r9, replayed\n"));
    CHECK_INT(1, count_of("... and 13 more differences"));
    verify_history_destroy(history);
}

TEST(verify_history_prints_nothing_that_a_terminal_acts_on)
{
    struct verify_history *history;
    char name[ITEM_ID_MAX];
    struct event event = {.user = text_of("u\x1b[2J"), .item = {name, sizeof name}};
    struct kafka_record record = {0};
    struct error err;

    memset(name, '\x07', sizeof name);
    CHECK_STATUS(OK, verify_history_create(&history, &err));
    verify_history_add(history, event.user, false, 7, "differs");
    verify_history_add(history, event.item, true, -1, "differs");
    verify_history_record(history, &record, &event);
    capture(history);
    CHECK(strchr(printed, '\x1b') == NULL && strchr(printed, '\x07') == NULL);
    CHECK_INT(3, count_of("u.[2J"));
    verify_history_destroy(history);
    verify_history_destroy(NULL);
}

/* Ten in a shard that moved must not take the places of one that is judged. */
TEST(verify_history_tells_only_what_is_judged)
{
    bool moved[8] = {[3] = true};
    struct verify_history *history;
    struct event event = {.user = text_of("judged")};
    struct kafka_record record = {0};
    struct error err;
    char user[20];

    CHECK_STATUS(OK, verify_history_create(&history, &err));
    for (int i = 0; i < 3 * VERIFY_SHOWN_MAX; i++) {
        (void)snprintf(user, sizeof user, "m%d", i);
        verify_history_add(history, text_of(user), false, 3, "was written meanwhile");
    }
    verify_history_add(history, text_of("judged"), false, 4, "differs");
    verify_history_add(history, text_of("item"), true, -1, "differs");
    CHECK_INT(3 * VERIFY_SHOWN_MAX + 2, verify_history_count(history));
    verify_history_judge(history, moved, 8);
    CHECK_INT(2, verify_history_count(history));
    verify_history_record(history, &record, &event);
    capture(history);
    CHECK_INT(1, count_of("user judged: differs\n    0/0"));
    CHECK_INT(1, count_of("item item: differs\n"));
    CHECK_INT(0, count_of("meanwhile") + count_of("more difference"));
    moved[4] = true;
    verify_history_judge(history, moved, 8);
    CHECK_INT(1, verify_history_count(history));
    verify_history_destroy(history);
}
