/* ops/demo_view.c - numbers to text. Everything shown is explained where it stands. */
#include "ops/demo_view.h"

#include "ops/json_writer.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PLOT_COLUMNS_MAX 160
#define PLOT_ROWS_MAX    24
#define PLOT_ROWS_MIN    4
#define PLOT_LEFT        8  /* columns before the plot: its scale */
#define LINES_BESIDE     16 /* of the screen: all but the plot's rows */
#define HINTS            4  /* what to try meanwhile, where they fit */
#define HINT_INDENT      5
#define LINE_BYTES       512
#define INDENT           13 /* where the text of a named line begins */

struct page {
    char *into;
    size_t bytes;
    size_t used;
    int columns;
    int lines_left;
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

/* A line of the screen: what stood there before is erased to its end. One column stays free: a
 * full line would leave the cursor on its last character, which the erasing then takes. No line
 * feed after the last one, which would scroll. */
static void line(struct page *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void line(struct page *p, const char *fmt, ...)
{
    char text[LINE_BYTES];
    va_list args;

    if (p->lines_left <= 0)
        return;
    p->lines_left--;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    put(p, "%.*s\x1b[K%s", p->columns - 1, text, p->lines_left > 0 ? "\r\n" : "");
}

/* A named text over exactly two lines, broken between words. */
static void two_lines(struct page *p, const char *name, const char *text)
{
    int room = p->columns - 1 - INDENT;
    int bytes = (int)strlen(text);
    int cut = bytes;

    if (bytes > room)
        for (cut = room; cut > 0 && text[cut] != ' ';)
            cut--;
    if (cut == 0)
        cut = room;
    line(p, "  %-*s%.*s", INDENT - 2, name, cut, text);
    line(p, "%*s%s", INDENT, "", text + cut + (text[cut] == ' '));
}

/* A text over as many lines as it needs, all but the first one indented, broken between words, or
 * within one that is longer than a line. p NULL: nothing is printed. Returns the lines. */
static int wrapped(struct page *p, int columns, const char *text)
{
    int lines = 0;

    for (const char *at = text; *at != 0; lines++) {
        int indent = lines == 0 ? 0 : HINT_INDENT;
        int room = columns - 1 - indent, bytes = (int)strlen(at), cut = bytes;

        if (bytes > room) {
            for (cut = room; cut > HINT_INDENT && at[cut] != ' ';)
                cut--;
            if (cut <= HINT_INDENT)
                cut = room;
        }
        if (p != NULL)
            line(p, "%*s%.*s", indent, "", cut, at);
        at += cut + (at[cut] == ' ');
    }
    return lines;
}

/* What to try, on the screen. */
static void hints_of(const struct demo_numbers *n, char into[HINTS][LINE_BYTES])
{
    (void)snprintf(into[0], LINE_BYTES,
                   "try: curl -s %s/v1/recommend -d '{\"user\":\"u000042\",\"k\":5}'",
                   n->serve_url);
    (void)snprintf(into[1], LINE_BYTES, "%*scurl -s %s/gate", HINT_INDENT, "", n->retrain_url);
    (void)snprintf(into[2], LINE_BYTES, "%*sbuild/freshet model list --config %s", HINT_INDENT, "",
                   n->config);
    (void)snprintf(into[3], LINE_BYTES,
                   "%*skill -9 %d (ingest), %d (retrain) or %d (serve): it starts again",
                   HINT_INDENT, "", n->ingest_pid, n->retrain_pid, n->serve_pid);
}

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

void demo_view_sample(struct demo_numbers *n)
{
    double step = n->total_s / DEMO_SAMPLES_MAX;

    if (n->samples_count > 0 &&
        n->now.at_s < n->samples[n->samples_count - 1].at_s + (step > 1 ? step : 0))
        return;
    if (n->samples_count == DEMO_SAMPLES_MAX) {
        for (int i = 0; i < DEMO_SAMPLES_MAX / 2; i++)
            n->samples[i] = n->samples[2 * i];
        n->samples_count = DEMO_SAMPLES_MAX / 2;
    }
    n->samples[n->samples_count++] = n->now;
}

bool demo_view_verdict(struct demo_numbers *n, const char *report)
{
    struct demo_verdict verdict = {.at_s = n->elapsed_s};

    (void)snprintf(verdict.text, sizeof verdict.text, "%.*s", (int)strcspn(report, "\n"), report);
    (void)snprintf(n->gate_report, sizeof n->gate_report, "%s", report);
    /* Before the first round the report says that there is none yet. */
    if (verdict.text[0] == 0 || strncmp(verdict.text, "no ", 3) == 0 ||
        (n->verdicts_count > 0 &&
         strcmp(n->verdicts[n->verdicts_count - 1].text, verdict.text) == 0))
        return false;
    if (n->verdicts_count == DEMO_VERDICTS_MAX)
        memmove(&n->verdicts[0], &n->verdicts[1],
                (size_t)--n->verdicts_count * sizeof n->verdicts[0]);
    if (strncmp(verdict.text, "published", 9) == 0 && strstr(verdict.text, "NDCG") != NULL)
        n->published_at_s = n->elapsed_s;
    n->verdicts[n->verdicts_count++] = verdict;
    return true;
}

/* ---- the plot ---- */

struct plot {
    int columns, rows;
    double span_s, top; /* what its width and height stand for */
    char at[PLOT_ROWS_MAX][PLOT_COLUMNS_MAX];
};

/* The whole run wide, so that the lines grow to the right and nothing moves under one's eyes. */
static void measure(struct plot *plot, const struct demo_numbers *n)
{
    double highest = 0;

    for (int i = 0; i < n->samples_count; i++) {
        highest = fmax(highest, n->samples[i].model); /* fmax passes over a NAN */
        highest = fmax(highest, n->samples[i].popularity);
        highest = fmax(highest, n->samples[i].frozen);
    }
    plot->top = fmax(0.2, ceil(highest * 5) / 5);
    plot->span_s = fmax(n->total_s, n->elapsed_s);
    if (!(plot->span_s > 0))
        plot->span_s = 1;
}

static int column_of(const struct plot *plot, double at_s)
{
    int x = (int)floor(at_s / plot->span_s * plot->columns);

    return x < 0 ? 0 : x >= plot->columns ? plot->columns - 1 : x;
}

static void mark(struct plot *plot, const struct demo_numbers *n,
                 double (*of)(const struct demo_sample *), char with)
{
    for (int i = 0; i < n->samples_count; i++) {
        double value = of(&n->samples[i]);
        int row;

        if (isnan(value))
            continue;
        row = (int)floor(value / plot->top * plot->rows);
        row = row < 0 ? 0 : row >= plot->rows ? plot->rows - 1 : row;
        plot->at[plot->rows - 1 - row][column_of(plot, n->samples[i].at_s)] = with;
    }
}

static void put_plot(struct page *p, const struct demo_numbers *n, int rows)
{
    struct plot plot = {.columns = p->columns - 1 - PLOT_LEFT, .rows = rows};
    char rule[PLOT_COLUMNS_MAX];

    if (plot.columns > PLOT_COLUMNS_MAX)
        plot.columns = PLOT_COLUMNS_MAX;
    if (plot.columns < 1)
        return;
    memset(plot.at, ' ', sizeof plot.at);
    memset(rule, '-', sizeof rule);
    measure(&plot, n);
    for (int row = 0; row < rows && n->shift_at_s >= 0; row++)
        plot.at[row][column_of(&plot, n->shift_at_s)] = ':';
    mark(&plot, n, popularity_of, 'p');
    mark(&plot, n, frozen_of, 'f');
    mark(&plot, n, model_of, 'M');
    for (int row = 0; row < rows; row++)
        line(p, "  %4.2f |%.*s", plot.top * (rows - row) / rows, plot.columns, plot.at[row]);
    line(p, "  0.00 +%.*s", plot.columns, rule);
    line(p, "        M model   p popularity   f model frozen at the shift   : the shift");
}

static double counted(const struct demo_numbers *n)
{
    return n->applied + n->duplicates + n->late + n->dropped + n->erased + n->dead;
}

/* What others wrote beside the demo's users: never less than 0, for what was acknowledged is in the
 * log. */
static double of_others(const struct demo_numbers *n)
{
    return n->logged > n->delivered ? n->logged - n->delivered : 0;
}

double demo_view_behind(const struct demo_numbers *n)
{
    return n->delivered + of_others(n) - counted(n);
}

double demo_view_waiting(const struct demo_numbers *n)
{
    return isnan(n->waiting) ? fmax(demo_view_behind(n), 0) : n->waiting;
}

bool demo_view_exact(const struct demo_numbers *n)
{
    return n->delivered > 0 && demo_view_behind(n) == 0 &&
           (n->logged < 0 || n->logged >= n->delivered);
}

size_t demo_view_sum(const struct demo_numbers *n, char *into, size_t bytes)
{
    struct page page = {.into = into, .bytes = bytes};
    double behind = demo_view_behind(n);

    put(&page, "%s: %.0f acknowledged by Kafka",
        demo_view_exact(n) ? "every event counted once" : "EVENTS DO NOT ADD UP", n->delivered);
    if (of_others(n) > 0)
        put(&page,
            "\n  + %.0f that others wrote beside the demo's users (erase, replay, dlq replay)",
            of_others(n));
    put(&page,
        "\n  = %.0f applied + %.0f duplicates + %.0f late + %.0f dropped + %.0f erased + %.0f "
        "dead\n",
        n->applied, n->duplicates, n->late, n->dropped, n->erased, n->dead);
    if (n->logged >= 0 && n->logged < n->delivered)
        put(&page, "  Kafka's log holds %.0f: acknowledged records are gone\n", n->logged);
    else if (behind < 0)
        put(&page, "  %.0f were counted that are not in Kafka; freshet verify tells which\n",
            -behind);
    else if (behind > 0)
        put(&page, "  %.0f are in Kafka and not counted; freshet offsets diff tells where\n",
            behind);
    return page.used;
}

size_t demo_view_why(const struct demo_numbers *n, double model, double popularity, char *into,
                     size_t bytes)
{
    struct page page = {.into = into, .bytes = bytes};
    bool since_shift = n->published_at_s >= 0 && n->published_at_s > n->shift_at_s;
    bool slow = n->behind_most_s >= DEMO_SLOW_S;

    if (isnan(popularity) || model >= popularity)
        return 0;
    put(&page, "%s because:\n",
        isnan(model) ? "no list was the model's" : "the model is below popularity");
    if (slow)
        put(&page,
            "  retrain did not keep up, for up to %.0f s (%.0f records behind at the end): this "
            "machine "
            "is busy or slow; try --rate 20\n",
            n->behind_most_s, n->behind);
    if (!since_shift)
        put(&page, "  no model has passed the gate%s; its last word: %s\n",
            n->shift_at_s >= 0 ? " since the shift" : "",
            n->verdicts_count == 0 ? "no round has ended yet"
                                   : n->verdicts[n->verdicts_count - 1].text);
    if (since_shift && !slow)
        put(&page,
            "  the last model, published %.0f s after the start, has learnt too few events since\n",
            n->published_at_s);
    put(&page, "  a longer --duration has more events to learn from\n");
    return page.used;
}

size_t demo_view_screen(const struct demo_numbers *n, int columns, int rows, char *into,
                        size_t bytes)
{
    struct page page = {into, bytes, 0, columns < 20 ? 20 : columns, rows};
    struct page *p = &page;
    char a[16], b[16], c[16], hints[HINTS][LINE_BYTES];
    int hint_lines = 0, plot_rows;

    hints_of(n, hints);
    for (int i = 0; i < HINTS; i++)
        hint_lines += wrapped(NULL, page.columns, hints[i]);
    if (rows < LINES_BESIDE + PLOT_ROWS_MIN + hint_lines)
        hint_lines = 0;
    plot_rows = rows - LINES_BESIDE - hint_lines;
    plot_rows = plot_rows > PLOT_ROWS_MAX ? PLOT_ROWS_MAX : plot_rows;
    plot_rows = plot_rows < PLOT_ROWS_MIN ? PLOT_ROWS_MIN : plot_rows;
    put(p, "\x1b[H\x1b[1m");
    line(p, "freshet demo   %s   %.0f of %.0f s   page: %s", n->phase, n->elapsed_s, n->total_s,
         n->page_url);
    put(p, "\x1b[0m");
    line(p, "Kafka: %s", n->broker);
    line(p, "%s", "");
    line(p, "  events     %.0f /s   sent %.0f   behind %.0f   applied %.0f (1 s ago)",
         n->events_per_s, n->delivered, demo_view_waiting(n), n->applied);
    line(p, "             duplicates %.0f   late %.0f   dead letters %.0f   roles restarted %d",
         n->duplicates, n->late, n->dead, n->restarts);
    line(p, "  freshness  half within %s, 99 %% within %s   (Kafka to sequence)",
         duration(n->fresh_p50_s, a), duration(n->fresh_p99_s, b));
    line(p, "  lists      %.1f /s   half within %s, 99 %% within %s   degraded %.0f",
         n->lists_per_s, duration(n->request_p50_s, a), duration(n->request_p99_s, b), n->degraded);
    line(p, "  model      %s   age %s   published %.0f   refused %.0f",
         n->version[0] == 0 ? "none yet: first the tables" : n->version,
         duration(n->model_age_s, a), n->published, n->refused);
    two_lines(p, "gate",
              n->verdicts_count == 0 ? "no round yet" : n->verdicts[n->verdicts_count - 1].text);
    line(p, "  drift      PSI %.2f   (0.10 watch, 0.25 act)", n->drift);
    line(p, "  quality    NDCG@10: model %s   popularity %s   frozen %s   (1: the best)",
         quality(n->now.model, a), quality(n->now.popularity, b), quality(n->now.frozen, c));
    line(p, "%s", "");
    put_plot(p, n, plot_rows);
    for (int i = 0; i < HINTS && hint_lines > 0; i++)
        (void)wrapped(p, p->columns, hints[i]);
    line(p, "Ctrl-C ends it; every process and file goes with it.");
    put(p, "\x1b[J");
    return p->used;
}

size_t demo_view_hints(const struct demo_numbers *n, char *into, size_t bytes)
{
    struct page page = {.into = into, .bytes = bytes};

    put(&page, "try, from another terminal, while it runs:\n");
    put(&page, "  curl -s %s/v1/recommend -d '{\"user\":\"u000042\",\"k\":5,\"explain\":true}'\n",
        n->serve_url);
    put(&page, "  curl -s %s/gate\n", n->retrain_url);
    put(&page, "  build/freshet model list --config %s\n", n->config);
    put(&page,
        "  kill -9 %d   # ingest, or retrain %d, serve %d: it is started again, and no event is "
        "lost or doubled\n",
        n->ingest_pid, n->retrain_pid, n->serve_pid);
    return page.used;
}

size_t demo_view_line(const struct demo_numbers *n, char *into, size_t bytes)
{
    struct page page = {.into = into, .bytes = bytes};
    char a[16], b[16], c[16], d[16];

    put(&page,
        "%4.0f s  %-15s sent %.0f, behind %.0f; 1 s ago: applied %.0f, duplicates and late %.0f, "
        "dead %.0f | fresh p99 %s | %.0f lists | model %s "
        "| NDCG model %s, popularity %s, frozen %s | PSI %.2f",
        n->elapsed_s, n->phase, n->delivered, demo_view_waiting(n), n->applied,
        n->duplicates + n->late, n->dead, duration(n->fresh_p99_s, a), n->lists,
        n->version[0] == 0 ? "-" : n->version, quality(n->now.model, b),
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

/* What was measured is known to six digits at the most; counts are told whole. */
static void put_measured(struct json_writer *w, const char *key, double value)
{
    char digits[32];

    (void)snprintf(digits, sizeof digits, "%.6g", value);
    json_real(w, key, strtod(digits, NULL));
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

static void put_verdicts(struct json_writer *w, const struct demo_numbers *n)
{
    json_key(w, "verdicts");
    json_array_begin(w);
    for (int i = 0; i < n->verdicts_count; i++) {
        json_object_begin(w);
        json_real(w, "at_s", round(n->verdicts[i].at_s * 10) / 10);
        json_text(w, "text", text_of(n->verdicts[i].text));
        json_object_end(w);
    }
    json_array_end(w);
}

static void put_hints(struct json_writer *w, const struct demo_numbers *n)
{
    char text[1024];

    (void)demo_view_hints(n, text, sizeof text);
    json_text(w, "hints", text_of(n->serve_url[0] == 0 ? "" : text));
}

size_t demo_view_json(const struct demo_numbers *n, char *into, size_t bytes)
{
    struct json_writer w;

    json_writer_init(&w, into, bytes);
    json_object_begin(&w);
    json_text(&w, "phase", text_of(n->phase));
    json_text(&w, "broker", text_of(n->broker));
    put_measured(&w, "elapsed_s", n->elapsed_s);
    json_real(&w, "total_s", n->total_s);
    json_real(&w, "delivered", n->delivered);
    json_real(&w, "applied", n->applied);
    json_real(&w, "duplicates", n->duplicates);
    json_real(&w, "late", n->late);
    json_real(&w, "dropped", n->dropped);
    json_real(&w, "dead", n->dead);
    json_real(&w, "behind", demo_view_waiting(n));
    put_measured(&w, "events_per_s", n->events_per_s);
    put_measured(&w, "fresh_p50_s", n->fresh_p50_s);
    put_measured(&w, "fresh_p99_s", n->fresh_p99_s);
    json_real(&w, "lists", n->lists);
    put_measured(&w, "lists_per_s", n->lists_per_s);
    json_real(&w, "degraded", n->degraded);
    put_measured(&w, "request_p50_s", n->request_p50_s);
    put_measured(&w, "request_p99_s", n->request_p99_s);
    json_text(&w, "version", text_of(n->version));
    put_measured(&w, "model_age_s", n->model_age_s);
    json_bool(&w, "model_present", n->model_present);
    json_real(&w, "published", n->published);
    json_real(&w, "refused", n->refused);
    put_verdicts(&w, n);
    json_text(&w, "gate_report", text_of(n->gate_report));
    put_measured(&w, "drift_psi", n->drift);
    json_int(&w, "restarts", n->restarts);
    put_hints(&w, n);
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
