/* ops/demo_view.c - numbers to text. Everything shown is explained where it stands. */
#include "ops/demo_view.h"

#include "ops/json_writer.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define PLOT_COLUMNS 64
#define PLOT_ROWS    8

struct page {
    char *into;
    size_t bytes;
    size_t used;
};

static void put(struct page *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void put(struct page *p, const char *fmt, ...)
{
    va_list args;
    int n;

    if (p->used >= p->bytes)
        return;
    va_start(args, fmt);
    n = vsnprintf(p->into + p->used, p->bytes - p->used, fmt, args);
    va_end(args);
    p->used += n < 0 ? 0 : (size_t)n;
    if (p->used >= p->bytes)
        p->used = p->bytes - 1;
}

/* A line of the screen: what stood there before is erased to its end. */
#define LINE(p, ...) (put(p, __VA_ARGS__), put(p, "\x1b[K\n"))

static const char *duration(double seconds, char text[16])
{
    if (seconds < 0)
        (void)snprintf(text, 16, "-");
    else if (seconds < 1)
        (void)snprintf(text, 16, "%.1f ms", seconds * 1e3);
    else if (seconds < 120)
        (void)snprintf(text, 16, "%.0f s", seconds);
    else
        (void)snprintf(text, 16, "%.0f min", seconds / 60);
    return text;
}

static const char *quality(double ndcg, char text[16])
{
    if (isnan(ndcg))
        (void)snprintf(text, 16, "-");
    else
        (void)snprintf(text, 16, "%.3f", ndcg);
    return text;
}

/* Mean of the samples that fall into one column of the plot. */
static double column_value(const struct demo_numbers *n, int column,
                           double (*of)(const struct demo_sample *))
{
    int from = column * n->samples_count / PLOT_COLUMNS;
    int to = (column + 1) * n->samples_count / PLOT_COLUMNS;
    double sum = 0;
    int count = 0;

    for (int i = from; i < (to > from ? to : from + 1) && i < n->samples_count; i++) {
        double value = of(&n->samples[i]);

        if (!isnan(value)) {
            sum += value;
            count++;
        }
    }
    return count == 0 ? (double)NAN : sum / count;
}

static double model_of(const struct demo_sample *s)
{
    return s->model;
}
static double popularity_of(const struct demo_sample *s)
{
    return s->popularity;
}
static double frozen_of(const struct demo_sample *s)
{
    return s->frozen;
}

static void mark(char plot[PLOT_ROWS][PLOT_COLUMNS], const struct demo_numbers *n,
                 double (*of)(const struct demo_sample *), char with)
{
    for (int x = 0; x < PLOT_COLUMNS; x++) {
        double value = column_value(n, x, of);
        int row;

        if (isnan(value))
            continue;
        row = (int)floor(value * PLOT_ROWS);
        row = row < 0 ? 0 : row >= PLOT_ROWS ? PLOT_ROWS - 1 : row;
        plot[PLOT_ROWS - 1 - row][x] = with;
    }
}

static void put_plot(struct page *p, const struct demo_numbers *n)
{
    char plot[PLOT_ROWS][PLOT_COLUMNS];

    memset(plot, ' ', sizeof plot);
    if (n->shift_at_s >= 0 && n->samples_count > 1) {
        double span = n->samples[n->samples_count - 1].at_s - n->samples[0].at_s;
        int x = (int)((n->shift_at_s - n->samples[0].at_s) / (span > 0 ? span : 1) * PLOT_COLUMNS);

        for (int row = 0; row < PLOT_ROWS && x >= 0 && x < PLOT_COLUMNS; row++)
            plot[row][x] = ':';
    }
    mark(plot, n, popularity_of, 'p');
    mark(plot, n, frozen_of, 'f');
    mark(plot, n, model_of, 'M');
    for (int row = 0; row < PLOT_ROWS; row++)
        LINE(p, "  %4.2f |%.*s", 1.0 - (double)row / PLOT_ROWS, PLOT_COLUMNS, plot[row]);
    LINE(p, "       +%.*s", PLOT_COLUMNS,
         "----------------------------------------------------------------");
    LINE(p, "        M model   p popularity   f model frozen at the shift   : the taste shifts");
}

size_t demo_view_screen(const struct demo_numbers *n, int columns, char *into, size_t bytes)
{
    struct page page = {into, bytes, 0};
    struct page *p = &page;
    char a[16], b[16], c[16];

    (void)columns;
    put(p, "\x1b[H");
    LINE(p, "\x1b[1mfreshet demo\x1b[0m   %s   %.0f of %.0f s   page: %s", n->phase, n->elapsed_s,
         n->total_s, n->page_url);
    LINE(p, "Kafka: %s", n->broker);
    LINE(p, " ");
    LINE(p, "  events     %8.0f /s   sent %9.0f   applied %9.0f   behind %6.0f", n->events_per_s,
         n->delivered, n->applied,
         n->delivered - n->applied - n->duplicates - n->late - n->dropped - n->erased - n->dead);
    LINE(p, "             duplicates %.0f   late %.0f   dropped %.0f   dead letters %.0f",
         n->duplicates, n->late, n->dropped, n->dead);
    LINE(p,
         "  freshness  half within %s, 99 %% within %s   (sent to Kafka -> in the sequence, last "
         "30 s)",
         duration(n->fresh_p50_s, a), duration(n->fresh_p99_s, b));
    LINE(p, "  lists      %8.1f /s   half within %s, 99 %% within %s   degraded %.0f of %.0f",
         n->lists_per_s, duration(n->request_p50_s, a), duration(n->request_p99_s, b), n->degraded,
         n->lists);
    LINE(p, "  model      %s   age %s   published %.0f   refused %.0f   swaps %.0f",
         n->version[0] == 0 ? "none yet: lists are random until the first tables" : n->version,
         duration(n->model_age_s, a), n->published, n->refused, n->swaps);
    LINE(p, "  gate       %s", n->gate[0] == 0 ? "-" : n->gate);
    LINE(p, "  drift      PSI %.2f  (0.10 watch, 0.25 act)", n->drift);
    LINE(p, "  quality    NDCG@10 against the known truth: model %s   popularity %s   frozen %s",
         quality(n->now.model, a), quality(n->now.popularity, b), quality(n->now.frozen, c));
    LINE(p, " ");
    put_plot(p, n);
    LINE(p, " ");
    LINE(p, "Ctrl-C ends it; every process and file goes with it.");
    put(p, "\x1b[J");
    return p->used;
}

size_t demo_view_line(const struct demo_numbers *n, char *into, size_t bytes)
{
    struct page page = {into, bytes, 0};
    char a[16], b[16], c[16], d[16];

    put(&page,
        "%4.0f s  %-15s sent %.0f, applied %.0f, dead %.0f | fresh p99 %s | %.0f lists | model %s "
        "| NDCG model %s, popularity %s, frozen %s | PSI %.2f",
        n->elapsed_s, n->phase, n->delivered, n->applied, n->dead, duration(n->fresh_p99_s, a),
        n->lists, n->version[0] == 0 ? "-" : n->version, quality(n->now.model, b),
        quality(n->now.popularity, c), quality(n->now.frozen, d), n->drift);
    return page.used;
}

static void put_quality(struct json_writer *w, const char *key, double value)
{
    json_key(w, key);
    if (isnan(value))
        json_put_null(w);
    else
        json_put_real(w, round(value * 1e4) / 1e4);
}

static void put_sample(struct json_writer *w, const struct demo_sample *s)
{
    json_object_begin(w);
    json_real(w, "at_s", round(s->at_s * 10) / 10);
    put_quality(w, "model", s->model);
    put_quality(w, "popularity", s->popularity);
    put_quality(w, "frozen", s->frozen);
    json_object_end(w);
}

size_t demo_view_json(const struct demo_numbers *n, char *into, size_t bytes)
{
    struct json_writer w;

    json_writer_init(&w, into, bytes);
    json_object_begin(&w);
    json_text(&w, "phase", text_of(n->phase));
    json_text(&w, "broker", text_of(n->broker));
    json_real(&w, "elapsed_s", n->elapsed_s);
    json_real(&w, "total_s", n->total_s);
    json_real(&w, "delivered", n->delivered);
    json_real(&w, "applied", n->applied);
    json_real(&w, "duplicates", n->duplicates);
    json_real(&w, "late", n->late);
    json_real(&w, "dropped", n->dropped);
    json_real(&w, "dead", n->dead);
    json_real(&w, "events_per_s", n->events_per_s);
    json_real(&w, "fresh_p50_s", n->fresh_p50_s);
    json_real(&w, "fresh_p99_s", n->fresh_p99_s);
    json_real(&w, "lists", n->lists);
    json_real(&w, "lists_per_s", n->lists_per_s);
    json_real(&w, "degraded", n->degraded);
    json_real(&w, "request_p50_s", n->request_p50_s);
    json_real(&w, "request_p99_s", n->request_p99_s);
    json_text(&w, "version", text_of(n->version));
    json_real(&w, "model_age_s", n->model_age_s);
    json_bool(&w, "model_present", n->model_present);
    json_real(&w, "published", n->published);
    json_real(&w, "refused", n->refused);
    json_text(&w, "gate", text_of(n->gate));
    json_real(&w, "drift_psi", n->drift);
    json_real(&w, "shift_at_s", n->shift_at_s);
    json_key(&w, "now");
    put_sample(&w, &n->now);
    json_key(&w, "samples");
    json_array_begin(&w);
    for (int i = 0; i < n->samples_count; i++)
        put_sample(&w, &n->samples[i]);
    json_array_end(&w);
    json_object_end(&w);
    return json_writer_ok(&w) ? json_writer_text(&w).bytes : 0;
}
