/* Tests ops/progress on a file in place of a terminal, on a faked clock. */
#include "ops/progress.h"

#include "ops/clock.h"
#include "ops/file.h"
#include "tests/test.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Runs the body with standard error in a file and returns what was written. */
static char *captured(void (*body)(void))
{
    char path[200];
    char *text;
    size_t bytes;
    int before = dup(STDERR_FILENO);
    int fd;
    struct error err;

    (void)snprintf(path, sizeof path, "%s/err", test_folder());
    fd = open(path, O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, 0600);
    CHECK(before >= 0 && fd >= 0);
    (void)fflush(stderr);
    (void)dup2(fd, STDERR_FILENO);
    clock_fake_set(0, 1000);
    body();
    clock_fake_off();
    (void)fflush(stderr);
    (void)dup2(before, STDERR_FILENO);
    (void)close(before);
    (void)close(fd);
    CHECK_STATUS(OK, file_read(path, 1 << 20, &text, &bytes, &err));
    return text;
}

static void long_work(void)
{
    struct progress progress;

    progress_begin(&progress, "replaying", "events");
    for (int second = 1; second <= 25; second++) {
        clock_fake_advance_us(1000000);
        for (int i = 0; i < 10; i++)
            progress_show(&progress, second / 100.0, (uint64_t)second * 1234567);
    }
    progress_end(&progress, 123456789);
}

TEST(progress_off_a_terminal_is_a_line_every_ten_seconds)
{
    char *text = captured(long_work);

    CHECK_TEXT("replaying: 10 %, 12,345,670 events, 1,234,567/s, 1:30 left\n"
               "replaying: 20 %, 24,691,340 events, 1,234,567/s, 1:20 left\n"
               "replaying: 100 %, 123,456,789 events, 4,938,271/s, 0:00 left\n",
               text);
    free(text);
}

static void broken_off(void)
{
    struct progress progress;

    progress_begin(&progress, "replaying", "events");
    clock_fake_advance_us(1000000);
    progress_show(&progress, 0.25, 10); /* not yet due */
    progress_finish(&progress, false, 10);
    progress_begin(&progress, "reading", "lines");
    clock_fake_advance_us(1000000);
    progress_finish(&progress, false, 0);
}

TEST(progress_that_is_broken_off_stays_where_it_was)
{
    char *text = captured(broken_off);

    CHECK_TEXT("replaying: 25 %, 10 events, 10/s, 0:03 left\nreading: 0 lines, 0/s\n", text);
    free(text);
}

static void unknown_length(void)
{
    struct progress progress;

    progress_begin(&progress, "reading", "lines");
    progress_show(&progress, -1, 0);
    clock_fake_advance_us(10000000);
    progress_show(&progress, -1, 50);
    progress_show(&progress, 7, 50); /* not yet due */
}

TEST(progress_of_unknown_length_has_no_share)
{
    char *text = captured(unknown_length);

    CHECK_TEXT("reading: 50 lines, 5/s\n", text);
    free(text);
}

static void quiet_work(void)
{
    progress_quiet(true);
    long_work();
    progress_quiet(false);
}

TEST(progress_is_silent_when_told_so)
{
    char *text = captured(quiet_work);

    CHECK_TEXT("", text);
    free(text);
}
