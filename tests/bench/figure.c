/* tests/bench/figure.c - see the header. */
#include "tests/bench/figure.h"

#include "ops/json_writer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define JSONL "build/bench.jsonl"

static void put_cpu(struct json_writer *w)
{
    char line[256];
    FILE *file = fopen("/proc/cpuinfo", "r");

    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        char *colon = strchr(line, ':');

        if (strncmp(line, "model name", 10) == 0 && colon != NULL) {
            line[strcspn(line, "\n")] = 0;
            json_text(w, "cpu", text_of(colon + 2));
            break;
        }
    }
    if (file != NULL)
        (void)fclose(file);
}

void figure_report(const char *name, double value, const char *unit, const char *limit_name,
                   double limit)
{
    char text[1024];
    struct json_writer w;
    FILE *file;

    json_writer_init(&w, text, sizeof text);
    json_object_begin(&w);
    json_text(&w, "name", text_of(name));
    json_real(&w, "value", value);
    json_text(&w, "unit", text_of(unit));
    if (limit > 0) {
        json_text(&w, "limit_name", text_of(limit_name));
        json_real(&w, "limit", limit);
        json_real(&w, "ratio", value / limit);
    }
    put_cpu(&w);
    json_object_end(&w);
    (void)printf("%-28s %12.4g %-10s", name, value, unit);
    if (limit > 0)
        (void)printf(" %s %.4g, ratio %.3f", limit_name, limit, value / limit);
    (void)printf("\n");
    (void)fflush(stdout);
    (void)mkdir("build", 0777);
    file = fopen(JSONL, "a");
    if (file == NULL)
        return;
    (void)fprintf(file, "%.*s\n", TEXT_ARGS(json_writer_text(&w)));
    (void)fclose(file);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;

    return (x > y) - (x < y);
}

double figure_quantile(double *values, int count, double q)
{
    if (count == 0)
        return 0;
    qsort(values, (size_t)count, sizeof *values, by_value);
    return values[(int)(q * (count - 1) + 0.5)];
}

void figure_must(enum status status, const struct error *err)
{
    if (status == OK)
        return;
    (void)fprintf(stderr, "%s: %s\n", status_name(status), err->text);
    exit(1);
}

double figure_rss_mb(int pid)
{
    char path[64], line[256];
    FILE *file;
    double kb = 0;

    if (pid == 0)
        (void)snprintf(path, sizeof path, "/proc/self/status");
    else
        (void)snprintf(path, sizeof path, "/proc/%d/status", pid);
    file = fopen(path, "r");
    while (file != NULL && fgets(line, sizeof line, file) != NULL)
        if (strncmp(line, "VmRSS:", 6) == 0)
            kb = strtod(line + 6, NULL);
    if (file != NULL)
        (void)fclose(file);
    return kb / 1024;
}
