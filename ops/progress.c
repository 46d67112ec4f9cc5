/* ops/progress.c - drawn at most ten times a second, so that showing costs a clock read. */
#include "ops/progress.h"

#include "ops/clock.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define BAR_CELLS 24
#define REDRAW_US 100000
#define PLAIN_US  10000000

static bool is_quiet;

void progress_quiet(bool quiet)
{
    is_quiet = quiet;
}

void progress_begin(struct progress *progress, const char *what, const char *unit)
{
    *progress = (struct progress){.what = what, .unit = unit, .fraction = -1};
    progress->begun_us = clock_monotonic_us();
    progress->terminal = isatty(STDERR_FILENO) != 0;
    progress->next_us = progress->begun_us + (progress->terminal ? REDRAW_US : PLAIN_US);
}

/* 1234567 -> "1,234,567" */
static void with_commas(char *into, size_t bytes, uint64_t number)
{
    char digits[24];
    int count = snprintf(digits, sizeof digits, "%llu", (unsigned long long)number);
    size_t used = 0;

    for (int i = 0; i < count && used + 2 < bytes; i++) {
        if (i > 0 && (count - i) % 3 == 0)
            into[used++] = ',';
        into[used++] = digits[i];
    }
    into[used] = 0;
}

static void format_left(char *into, size_t bytes, double seconds)
{
    if (seconds < 0 || seconds > 359999)
        into[0] = 0;
    else if (seconds < 3600)
        (void)snprintf(into, bytes, ", %d:%02d left", (int)seconds / 60, (int)seconds % 60);
    else
        (void)snprintf(into, bytes, ", %d:%02d h left", (int)seconds / 3600,
                       (int)seconds % 3600 / 60);
}

static void draw(struct progress *progress, double fraction, uint64_t done, int64_t now_us)
{
    double seconds = (double)(now_us - progress->begun_us) * 1e-6;
    double rate = seconds > 0 ? (double)done / seconds : 0;
    char count[40], per_second[40], left[40], bar[BAR_CELLS + 1];

    with_commas(count, sizeof count, done);
    with_commas(per_second, sizeof per_second, (uint64_t)rate);
    format_left(left, sizeof left, fraction > 0.001 ? seconds / fraction * (1 - fraction) : -1);
    if (fraction > 1)
        fraction = 1;
    if (!progress->terminal) {
        (void)fprintf(stderr, "%s: ", progress->what);
        if (fraction >= 0)
            (void)fprintf(stderr, "%.0f %%, ", 100 * fraction);
        (void)fprintf(stderr, "%s %s, %s/s%s\n", count, progress->unit, per_second, left);
        return;
    }
    (void)fprintf(stderr, "\r%s ", progress->what);
    if (fraction >= 0) {
        memset(bar, '.', BAR_CELLS);
        memset(bar, '#', (size_t)(fraction * BAR_CELLS));
        bar[BAR_CELLS] = 0;
        (void)fprintf(stderr, "[%s] %3.0f %% ", bar, 100 * fraction);
    }
    (void)fprintf(stderr, "%s %s, %s/s%s\033[K", count, progress->unit, per_second, left);
    progress->drawn++;
}

void progress_show(struct progress *progress, double fraction, uint64_t done)
{
    int64_t now;

    progress->fraction = fraction;
    if (is_quiet)
        return;
    now = clock_monotonic_us();
    if (now < progress->next_us)
        return;
    progress->next_us = now + (progress->terminal ? REDRAW_US : PLAIN_US);
    draw(progress, fraction, done, now);
}

void progress_end(struct progress *progress, uint64_t done)
{
    progress_finish(progress, true, done);
}

void progress_finish(struct progress *progress, bool whole, uint64_t done)
{
    if (is_quiet)
        return;
    draw(progress, whole ? 1 : progress->fraction, done, clock_monotonic_us());
    if (progress->terminal)
        (void)fputc('\n', stderr);
}
