/* ops/scrape.c - lines of Prometheus text, found by their series. */
#include "ops/scrape.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BUCKETS_MAX 64

/* Calls are few and texts small: a scan a call is cheaper than an index to keep. */
static bool next_line(struct text *rest, struct text *line)
{
    const char *end;

    if (rest->bytes == 0)
        return false;
    end = memchr(rest->at, '\n', rest->bytes);
    line->at = rest->at;
    line->bytes = end == NULL ? rest->bytes : (size_t)(end - rest->at);
    rest->at += line->bytes + (end != NULL);
    rest->bytes -= line->bytes + (end != NULL);
    return true;
}

static bool starts_with(struct text line, const char *start, size_t bytes)
{
    return line.bytes > bytes && memcmp(line.at, start, bytes) == 0;
}

/* The number at the end of a line; lines are short, and followed by a byte that ends it. */
static double number_of(const char *at, const char *end)
{
    char text[64];

    (void)snprintf(text, sizeof text, "%.*s", (int)(end - at), at);
    return strtod(text, NULL);
}

double scrape_value(struct text metrics, const char *series, double otherwise)
{
    size_t bytes = strlen(series);
    struct text line;

    while (next_line(&metrics, &line))
        if (starts_with(line, series, bytes) && line.at[bytes] == ' ')
            return number_of(line.at + bytes + 1, line.at + line.bytes);
    return otherwise;
}

double scrape_sum(struct text metrics, const char *name)
{
    size_t bytes = strlen(name);
    struct text line;
    double sum = 0;

    while (next_line(&metrics, &line)) {
        const char *space;

        if (!starts_with(line, name, bytes) || (line.at[bytes] != ' ' && line.at[bytes] != '{'))
            continue;
        space = memchr(line.at + bytes, ' ', line.bytes - bytes);
        if (space != NULL)
            sum += number_of(space + 1, line.at + line.bytes);
    }
    return sum;
}

/* Upper bounds and cumulative counts of a histogram; returns how many. */
static int read_buckets(struct text metrics, const char *histogram, double *upper, double *count)
{
    char start[160];
    size_t bytes = (size_t)snprintf(start, sizeof start, "%s_bucket{le=\"", histogram);
    struct text line;
    int n = 0;

    while (n < BUCKETS_MAX && next_line(&metrics, &line)) {
        const char *close;

        if (!starts_with(line, start, bytes))
            continue;
        close = memchr(line.at + bytes, '"', line.bytes - bytes);
        if (close == NULL || (size_t)(close + 3 - line.at) > line.bytes)
            continue;
        upper[n] = line.at[bytes] == '+' ? INFINITY : number_of(line.at + bytes, close);
        count[n++] = number_of(close + 3, line.at + line.bytes);
    }
    return n;
}

double scrape_quantile(struct text metrics, struct text before, const char *histogram, double q)
{
    double upper[BUCKETS_MAX], count[BUCKETS_MAX];
    double old_upper[BUCKETS_MAX], old_count[BUCKETS_MAX];
    int n = read_buckets(metrics, histogram, upper, count);
    int old_n = read_buckets(before, histogram, old_upper, old_count);
    double wanted;

    for (int i = 0; i < n && old_n == n; i++)
        count[i] -= old_count[i];
    if (n == 0 || count[n - 1] <= 0)
        return -1;
    wanted = q * count[n - 1];
    for (int i = 0; i < n; i++) {
        double below = i == 0 ? 0 : upper[i - 1];
        double below_count = i == 0 ? 0 : count[i - 1];

        if (count[i] < wanted)
            continue;
        if (isinf(upper[i]) || count[i] <= below_count)
            return below; /* beyond the last bound: at least this much */
        return below + (upper[i] - below) * (wanted - below_count) / (count[i] - below_count);
    }
    return upper[n - 1];
}
