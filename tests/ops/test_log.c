/*
 * Tests ops/log through a pipe: lines that cannot be forged, users that are not named, and
 * a reader that sleeps.
 */
#include "ops/log.h"

#include "ops/clock.h"
#include "tests/test.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int ends[2]; /* the log writes into ends[1] */
static char got[LOG_LINE_BYTES_MAX + 1];

static void begin(enum log_level level, enum log_format format)
{
    CHECK_INT(0, pipe2(ends, O_CLOEXEC | O_NONBLOCK));
    log_start("tester", level, format);
    log_set_descriptor(ends[1]);
}

static void finish(void)
{
    log_start("freshet", LOG_INFO, LOG_AUTO);
    log_set_descriptor(STDERR_FILENO);
    (void)close(ends[0]);
    (void)close(ends[1]);
}

/* What was written since the last call, without the last newline. */
static const char *written(void)
{
    ssize_t bytes = read(ends[0], got, sizeof got - 1);

    got[bytes > 0 ? bytes : 0] = 0;
    if (bytes > 0)
        CHECK_INT('\n', got[bytes - 1]);
    if (bytes > 0)
        got[bytes - 1] = 0;
    return got;
}

TEST(log_writes_one_json_object_a_line)
{
    begin(LOG_INFO, LOG_JSON);
    clock_fake_set(1362054896789, 0);
    log_event(LOG_WARN, "redis_down", "could not connect", log_text("node", "a:1"),
              log_int("attempt", -3), log_real("seconds", 0.5));
    CHECK_TEXT("{\"ts\":\"2013-02-28T12:34:56.789Z\",\"level\":\"warn\",\"role\":\"tester\","
               "\"event\":\"redis_down\",\"message\":\"could not connect\",\"node\":\"a:1\","
               "\"attempt\":-3,\"seconds\":0.5}",
               written());
    log_event(LOG_DEBUG, "hidden", "below the level");
    CHECK_TEXT("", written());
    log_event(LOG_ERROR, "bare", NULL);
    CHECK(strstr(written(), "\"message\":\"\"}") != NULL);
    clock_fake_off();
    finish();
}

TEST(log_text_lines_are_for_people)
{
    begin(LOG_DEBUG, LOG_TEXT);
    clock_fake_set(1362054896789, 0);
    log_event(LOG_INFO, "started", "ready to serve", log_text("listen", "a:1"),
              log_text("why", "two words"), log_int("port", 8));
    CHECK_TEXT("12:34:56.789 info  tester   started              ready to serve  listen=a:1 "
               "why=\"two words\" port=8",
               written());
    clock_fake_off();
    finish();
}

TEST(log_lines_cannot_be_forged_by_what_they_quote)
{
    static const enum log_format formats[] = {LOG_JSON, LOG_TEXT};

    for (int i = 0; i < 2; i++) {
        begin(LOG_INFO, formats[i]);
        log_event(LOG_INFO, "bad_record", "x\ny\r\x1b[2J\x07\xff", log_text("id", "a\nlevel=error"),
                  log_slice("nul", (struct text){"a\0b", 3}));
        CHECK(strpbrk(written(), "\n\r\x1b\x07\xff") == NULL);
        CHECK(strstr(got, "\\u001b[2J") != NULL);
        CHECK(strstr(got, "a\\u0000b") != NULL);
        finish();
    }
}

TEST(log_line_is_bounded_and_stays_json)
{
    struct log_field fields[20];
    char nasty[5000];

    memset(nasty, 1, sizeof nasty); /* six bytes each when escaped */
    nasty[sizeof nasty - 1] = 0;
    for (int i = 0; i < 20; i++)
        fields[i] = log_text("field", nasty);
    begin(LOG_INFO, LOG_JSON);
    log_write(LOG_INFO, "long", "", fields, 1);
    CHECK(strstr(written(), "\"field\":\"\\u0001") != NULL);
    log_write(LOG_INFO, "long", nasty, fields, 20);
    CHECK(strlen(written()) < LOG_LINE_BYTES_MAX);
    CHECK_INT('}', got[strlen(got) - 1]);
    CHECK(strstr(got, "\"event\":\"long\"") != NULL);
    finish();
    begin(LOG_INFO, LOG_TEXT);
    log_write(LOG_INFO, "long", nasty, fields, 20);
    CHECK(strlen(written()) < LOG_LINE_BYTES_MAX);
    finish();
}

TEST(log_user_is_a_keyed_hash)
{
    char first[LOG_LINE_BYTES_MAX + 1];

    begin(LOG_INFO, LOG_JSON);
    clock_fake_set(0, 0);
    log_set_user_key(text_of("a"));
    log_event(LOG_INFO, "e", "m", log_user(text_of("alice")));
    memcpy(first, written(), sizeof first);
    CHECK(strstr(first, "alice") == NULL);
    CHECK(strstr(first, "\"user\":\"") != NULL);
    log_event(LOG_INFO, "e", "m", log_user(text_of("alice")));
    CHECK_TEXT(first, written());
    log_event(LOG_INFO, "e", "m", log_user(text_of("alicf")));
    CHECK(strcmp(first, written()) != 0);
    log_set_user_key(text_of("b"));
    log_event(LOG_INFO, "e", "m", log_user(text_of("alice")));
    CHECK(strcmp(first, written()) != 0);
    log_event(LOG_INFO, "e", "m", log_user((struct text){0}));
    clock_fake_off();
    finish();
}

/* FAULTS 69: the descriptor itself blocks, as standard error does; were the log to write
 * to it, this test would hang. */
TEST(log_drops_and_counts_when_the_reader_sleeps)
{
    uint64_t before = log_dropped_count();
    uint64_t lines = 0;
    ssize_t bytes;

    begin(LOG_INFO, LOG_JSON);
    CHECK_INT(0, fcntl(ends[1], F_SETFL, 0));
    for (int i = 0; i < 2000; i++)
        log_event(LOG_INFO, "flood", "a line of some length, so that a pipe is full soon");
    CHECK(log_dropped_count() > before);
    while ((bytes = read(ends[0], got, sizeof got)) > 0)
        for (ssize_t i = 0; i < bytes; i++)
            lines += got[i] == '\n';
    CHECK_INT(2000, (int64_t)(lines + log_dropped_count() - before)); /* whole lines only */
    log_event(LOG_INFO, "again", "the reader is back");
    CHECK(strstr(written(), "again") != NULL);
    finish();
}

TEST(log_drops_and_counts_on_a_socket_too)
{
    uint64_t before = log_dropped_count();
    int pair[2];

    CHECK_INT(0, socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
    log_start("tester", LOG_INFO, LOG_JSON);
    log_set_descriptor(pair[1]);
    for (int i = 0; i < 20000; i++)
        log_event(LOG_INFO, "flood", "a line of some length, so that a socket is full soon");
    CHECK(log_dropped_count() > before);
    CHECK_INT(0, close(pair[0]));
    log_event(LOG_INFO, "gone", "no SIGPIPE");
    log_start("freshet", LOG_INFO, LOG_AUTO);
    log_set_descriptor(STDERR_FILENO);
    CHECK_INT(0, close(pair[1]));
}

TEST(log_every_lets_one_through_a_period)
{
    struct log_limit limit = {0};

    clock_fake_set(0, 5);
    CHECK(log_every(&limit, 1000));
    CHECK(!log_every(&limit, 1000));
    clock_fake_advance_us(999999);
    CHECK(!log_every(&limit, 1000));
    CHECK_INT(2, limit.held_back);
    clock_fake_advance_us(1);
    CHECK(log_every(&limit, 1000));
    clock_fake_off();
}

TEST(log_level_of_knows_its_names)
{
    enum log_level level = LOG_INFO;

    CHECK(log_level_of("error", &level) && level == LOG_ERROR);
    CHECK(!log_level_of("Error", &level) && !log_level_of("", &level));
    CHECK(level == LOG_ERROR);
}
