/*
 * ops/demo.c - reads the roles' metrics once a second, shows them, and sums up at the end.
 *
 * The demo knows of the roles what any operator could know: their /metrics. The names are in the
 * table below.
 */
#include "ops/demo.h"

#include "ops/clock.h"
#include "ops/demo_page.h"
#include "ops/demo_roles.h"
#include "ops/demo_view.h"
#include "ops/hash.h"
#include "ops/json.h"
#include "ops/json_writer.h"
#include "ops/log.h"
#include "ops/scrape.h"

#include <errno.h>
#include <math.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define TICK_MS       1000
#define SCREEN_BYTES  32768
#define JSON_BYTES    (128 * 1024)
#define METRICS_BYTES (256 * 1024)
#define STREAM_END_MS 30000
#define CATCH_UP_MS   20000
#define LINE_EVERY_S  5
#define MEMORY_S      15
#define WINDOW_S      12 /* of the means in the summary */
#define SHIFT_LEAST_S 45 /* the first model is there after about 35 s on two busy cores */
#define NEVER_S       1e6

/* Series of the roles, as they stand in /metrics. */
#define INGEST_APPLIED    "freshet_ingest_records_total{outcome=\"applied\"}"
#define INGEST_DUPLICATE  "freshet_ingest_records_total{outcome=\"duplicate\"}"
#define INGEST_LATE       "freshet_ingest_records_total{outcome=\"late\"}"
#define INGEST_DROPPED    "freshet_ingest_records_total{outcome=\"dropped\"}"
#define INGEST_ERASED     "freshet_ingest_records_total{outcome=\"erased\"}"
#define INGEST_DEAD       "freshet_ingest_records_total{outcome=\"dead\"}"
#define INGEST_LAG        "freshet_ingest_lag_records"
#define INGEST_FRESHNESS  "freshet_ingest_freshness_seconds"
#define SERVE_ANSWERS     "freshet_serve_answers_total"
#define SERVE_FULL        "freshet_serve_answers_total{degraded=\"none\"}"
#define SERVE_REQUEST     "freshet_serve_request_seconds"
#define SERVE_CREATED     "freshet_serve_model_timestamp_seconds"
#define SERVE_PRESENT     "freshet_serve_model_present"
#define SERVE_SWAPS       "freshet_serve_model_swaps_total"
#define RETRAIN_PUBLISHED "freshet_retrain_rounds_total{result=\"published\"}"
#define RETRAIN_REFUSED   "freshet_retrain_rounds_total{result=\"refused\"}"
#define RETRAIN_DRIFT     "freshet_retrain_drift_psi"
#define RETRAIN_BEHIND    "freshet_retrain_lag_records"
#define RETRAIN_BEHIND_S  "freshet_retrain_behind_seconds"
#define SIM_DELIVERED     "freshet_simulate_delivered_total"
#define SIM_LISTS         "freshet_simulate_lists_total{source=\"%s\"}"
#define SIM_NDCG          "freshet_simulate_ndcg{source=\"%s\"}"
#define SIM_SHIFTED       "freshet_simulate_shifted"
#define SIM_WARM          "freshet_simulate_warm"

/* A role's counters start at 0 again when it was restarted: what the ended one had counted is
 * kept, so that sums stay those of all its lives. Its last second may be missing, but for what
 * ingest counts: see demo_roles_before(). */
struct counter {
    double base, last;
};

enum counted_elsewhere { ANSWERS, FULL, PUBLISHED, REFUSED, COUNTED_ELSEWHERE };

/* A role's /metrics of a while ago, so that quantiles are of the last half minute, not of all time:
 * the past is produced at full speed, and what waited behind it then says nothing of now. */
struct memory {
    char *older, *newer; /* (METRICS_BYTES) each */
    size_t older_bytes, newer_bytes;
    double taken_s; /* when newer was */
};

struct demo {
    struct command_line *line;
    struct demo_roles *roles;
    struct demo_page *page;
    struct json_parser *parser;
    struct demo_numbers numbers;
    struct counter others[COUNTED_ELSEWHERE];
    struct memory ingest, serve;
    bool terminal;
    bool gone; /* nobody looks any more: the terminal was closed */
    bool frozen;
    int64_t begun_us;
    double last_line_s;
    int64_t last_tick_us;
    char recent[JSON_BYTES];
    char json[JSON_BYTES];
    char screen[SCREEN_BYTES];
};

static double total_of(struct counter *counter, double value)
{
    if (value < counter->last)
        counter->base += counter->last;
    counter->last = value;
    return counter->base + value;
}

/* ---- reading ---- */

static struct text remember(struct memory *memory, struct text metrics, double now_s)
{
    if (now_s - memory->taken_s >= MEMORY_S && metrics.bytes <= METRICS_BYTES) {
        char *swapped = memory->older;

        memory->older = memory->newer;
        memory->older_bytes = memory->newer_bytes;
        memory->newer = swapped;
        memcpy(memory->newer, metrics.at, metrics.bytes);
        memory->newer_bytes = metrics.bytes;
        memory->taken_s = now_s;
    }
    return (struct text){memory->older, memory->older_bytes};
}

static void read_ingest(struct demo *d)
{
    struct text metrics = demo_roles_metrics(d->roles, DEMO_INGEST);
    const struct demo_totals *ended = demo_roles_before(d->roles);
    struct demo_numbers *n = &d->numbers;
    struct text before;

    n->waiting = scrape_value(metrics, INGEST_LAG, (double)NAN);
    if (metrics.bytes == 0)
        return;
    before = remember(&d->ingest, metrics, n->elapsed_s);
    n->applied = ended->applied + scrape_value(metrics, INGEST_APPLIED, 0);
    n->duplicates = ended->duplicates + scrape_value(metrics, INGEST_DUPLICATE, 0);
    n->late = ended->late + scrape_value(metrics, INGEST_LATE, 0);
    n->dropped = ended->dropped + scrape_value(metrics, INGEST_DROPPED, 0);
    n->erased = ended->erased + scrape_value(metrics, INGEST_ERASED, 0);
    n->dead = ended->dead + scrape_value(metrics, INGEST_DEAD, 0);
    n->fresh_p50_s = scrape_quantile(metrics, before, INGEST_FRESHNESS, 0.5);
    n->fresh_p99_s = scrape_quantile(metrics, before, INGEST_FRESHNESS, 0.99);
}

/* The newest version, from the live feed. */
static void read_recent(struct demo *d)
{
    struct text recent = demo_roles_get(d->roles, DEMO_SERVE, "/recent");
    const struct json_node *root;
    struct error err;

    if (recent.bytes == 0 || recent.bytes >= sizeof d->recent)
        return;
    memcpy(d->recent, recent.at, recent.bytes);
    d->recent[recent.bytes] = 0;
    if (json_parse(d->parser, recent, &root, &err) != OK || root->child == NULL)
        return;
    (void)snprintf(d->numbers.version, sizeof d->numbers.version, "%.*s",
                   TEXT_ARGS(json_text_or(json_member(root->child, "version"), "")));
}

static void read_serve(struct demo *d)
{
    struct text metrics = demo_roles_metrics(d->roles, DEMO_SERVE);
    struct text before;
    double created;

    if (metrics.bytes == 0)
        return;
    before = remember(&d->serve, metrics, d->numbers.elapsed_s);
    d->numbers.lists = total_of(&d->others[ANSWERS], scrape_sum(metrics, SERVE_ANSWERS));
    d->numbers.degraded = d->numbers.lists -
                          total_of(&d->others[FULL], scrape_value(metrics, SERVE_FULL, 0));
    d->numbers.request_p50_s = scrape_quantile(metrics, before, SERVE_REQUEST, 0.5);
    d->numbers.request_p99_s = scrape_quantile(metrics, before, SERVE_REQUEST, 0.99);
    d->numbers.swaps = scrape_value(metrics, SERVE_SWAPS, 0);
    d->numbers.model_present = scrape_value(metrics, SERVE_PRESENT, 0) > 0;
    created = scrape_value(metrics, SERVE_CREATED, 0);
    d->numbers.model_age_s = created > 0 ? (double)clock_wall_ms() / 1000.0 - created : -1;
    read_recent(d);
}

static void read_retrain(struct demo *d)
{
    struct text metrics = demo_roles_metrics(d->roles, DEMO_RETRAIN);
    char report[sizeof d->numbers.gate_report];
    struct text gate;

    if (metrics.bytes == 0)
        return;
    d->numbers.published = total_of(&d->others[PUBLISHED],
                                    scrape_value(metrics, RETRAIN_PUBLISHED, 0));
    d->numbers.refused = total_of(&d->others[REFUSED], scrape_value(metrics, RETRAIN_REFUSED, 0));
    d->numbers.drift = scrape_value(metrics, RETRAIN_DRIFT, 0);
    d->numbers.behind = scrape_value(metrics, RETRAIN_BEHIND, 0);
    d->numbers.behind_s = scrape_value(metrics, RETRAIN_BEHIND_S, 0);
    d->numbers.behind_most_s = fmax(d->numbers.behind_most_s, d->numbers.behind_s);
    gate = demo_roles_get(d->roles, DEMO_RETRAIN, "/gate");
    (void)snprintf(report, sizeof report, "%.*s", TEXT_ARGS(gate));
    if (demo_view_verdict(&d->numbers, report) && !d->terminal)
        (void)fprintf(stderr, "%4.0f s  gate: %s\n", d->numbers.elapsed_s,
                      d->numbers.verdicts[d->numbers.verdicts_count - 1].text);
}

static double ndcg_of(struct text metrics, const char *source)
{
    char series[96];

    (void)snprintf(series, sizeof series, SIM_LISTS, source);
    if (scrape_value(metrics, series, 0) < 20)
        return (double)NAN; /* too few to mean anything */
    (void)snprintf(series, sizeof series, SIM_NDCG, source);
    return scrape_value(metrics, series, (double)NAN);
}

static void read_simulate(struct demo *d)
{
    struct text metrics = demo_roles_metrics(d->roles, DEMO_SIMULATE);
    struct demo_numbers *n = &d->numbers;

    if (metrics.bytes == 0)
        return;
    n->delivered = scrape_value(metrics, SIM_DELIVERED, n->delivered);
    n->now = (struct demo_sample){n->elapsed_s, ndcg_of(metrics, "model"),
                                  ndcg_of(metrics, "popularity"), ndcg_of(metrics, "compared")};
    if (n->shift_at_s < 0 && scrape_value(metrics, SIM_SHIFTED, 0) > 0)
        n->shift_at_s = n->elapsed_s;
    n->phase = scrape_value(metrics, SIM_WARM, 0) <= 0 ? "the past"
               : n->shift_at_s < 0                     ? "live"
                                                       : "after the shift";
    demo_view_sample(n);
}

/* Where the roles are now: one that was started again has other ports, and keeps its old ones here
 * until it has told them. */
static void locate(struct demo *d)
{
    struct demo_numbers *n = &d->numbers;

    (void)snprintf(n->serve_url, sizeof n->serve_url, "http://127.0.0.1:%d",
                   demo_roles_listen_port(d->roles, DEMO_SERVE));
    if (demo_roles_admin_port(d->roles, DEMO_RETRAIN) > 0)
        (void)snprintf(n->retrain_url, sizeof n->retrain_url, "http://127.0.0.1:%d",
                       demo_roles_admin_port(d->roles, DEMO_RETRAIN));
    (void)snprintf(n->config, sizeof n->config, "%s/freshet.yaml", demo_roles_folder(d->roles));
    n->ingest_pid = demo_roles_pid(d->roles, DEMO_INGEST);
    n->retrain_pid = demo_roles_pid(d->roles, DEMO_RETRAIN);
    n->serve_pid = demo_roles_pid(d->roles, DEMO_SERVE);
}

static void read_all(struct demo *d)
{
    struct demo_numbers *n = &d->numbers;
    int64_t now_us = clock_monotonic_us();
    double span = (double)(now_us - d->last_tick_us) * 1e-6;
    double applied = n->applied, lists = n->lists;

    n->elapsed_s = (double)(now_us - d->begun_us) * 1e-6;
    read_ingest(d);
    read_serve(d);
    read_retrain(d);
    read_simulate(d);
    n->restarts = demo_roles_restarts(d->roles);
    locate(d);
    n->events_per_s = span > 0 ? (n->applied - applied) / span : 0;
    n->lists_per_s = span > 0 ? (n->lists - lists) / span : 0;
    d->last_tick_us = now_us;
}

/* ---- showing ---- */

static struct winsize terminal_size(void)
{
    struct winsize size;

    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0 || size.ws_row == 0)
        size = (struct winsize){.ws_row = 24, .ws_col = 80};
    return size;
}

static void show(struct demo *d)
{
    size_t bytes = demo_view_json(&d->numbers, d->json, sizeof d->json);

    if (d->page != NULL)
        demo_page_update(d->page, (struct text){d->json, bytes}, text_of(d->recent));
    if (d->terminal) {
        struct winsize size = terminal_size();

        bytes = demo_view_screen(&d->numbers, size.ws_col, size.ws_row, d->screen,
                                 sizeof d->screen);
        /* At once, so that nothing flickers. */
        d->gone = write(STDERR_FILENO, d->screen, bytes) < 0 && errno == EIO;
        return;
    }
    if (d->numbers.elapsed_s - d->last_line_s >= LINE_EVERY_S) {
        d->last_line_s = d->numbers.elapsed_s;
        bytes = demo_view_line(&d->numbers, d->screen, sizeof d->screen);
        (void)fprintf(stderr, "%.*s\n", (int)bytes, d->screen);
    }
}

/* ---- the course of it ---- */

static enum status run_until(struct demo *d, double until_s, struct error *err)
{
    struct pollfd stop = {.fd = command_stop_descriptor(), .events = POLLIN};
    enum status status = OK;

    while (status == OK && !command_stopping()) {
        read_all(d);
        show(d);
        if (d->numbers.elapsed_s >= until_s || d->gone)
            break;
        if (!d->frozen && d->numbers.shift_at_s >= 0 && d->numbers.model_present) {
            d->frozen = true;
            status = demo_roles_freeze(d->roles, err);
        }
        if (status == OK)
            status = demo_roles_tend(d->roles, err);
        (void)poll(&stop, 1, TICK_MS);
    }
    return status;
}

/* No more events: all that were acknowledged must be accounted for, one by one. Asked from Redis:
 * a role that was killed took up to a second of its own counters with it. */
static enum status settle(struct demo *d, struct error *err)
{
    int64_t until_us;
    int64_t delivered = 0;
    enum status status = demo_roles_end_stream(d->roles, STREAM_END_MS, &delivered, err);

    if (status != OK)
        return status;
    d->numbers.delivered = (double)delivered;
    d->numbers.phase = "done";
    d->numbers.waiting = (double)NAN; /* from here on Redis is asked */
    until_us = clock_monotonic_us() + (int64_t)CATCH_UP_MS * 1000;
    do {
        struct demo_totals t;

        status = demo_roles_totals(d->roles, &t, err);
        if (status != OK)
            return status;
        d->numbers.applied = t.applied;
        d->numbers.duplicates = t.duplicates;
        d->numbers.late = t.late;
        d->numbers.dropped = t.dropped;
        d->numbers.erased = t.erased;
        d->numbers.dead = t.dead;
        d->numbers.logged = t.logged;
        if (demo_view_behind(&d->numbers) <= 0)
            break;
        (void)usleep(300000);
    } while (clock_monotonic_us() < until_us);
    show(d);
    return OK;
}

/* ---- summing up ---- */

static double mean_between(const struct demo_numbers *n, double from_s, double to_s,
                           size_t member_offset)
{
    double sum = 0;
    int count = 0;

    for (int i = 0; i < n->samples_count; i++) {
        double value;

        memcpy(&value, (const char *)&n->samples[i] + member_offset, sizeof value);
        if (n->samples[i].at_s >= from_s && n->samples[i].at_s <= to_s && !isnan(value)) {
            sum += value;
            count++;
        }
    }
    return count == 0 ? (double)NAN : sum / count;
}

struct verdict {
    bool exact;
    double before, popularity_before, frozen_after, model_after, popularity_after;
};

static struct verdict judge(const struct demo_numbers *n)
{
    double end = n->samples_count == 0 ? 0 : n->samples[n->samples_count - 1].at_s;
    struct verdict v = {.exact = demo_view_exact(n)};
    double shift = n->shift_at_s < 0 ? end : n->shift_at_s;

    v.before = mean_between(n, shift - WINDOW_S, shift, offsetof(struct demo_sample, model));
    v.popularity_before = mean_between(n, shift - WINDOW_S, shift,
                                       offsetof(struct demo_sample, popularity));
    v.frozen_after = mean_between(n, end - WINDOW_S, end, offsetof(struct demo_sample, frozen));
    v.model_after = mean_between(n, end - WINDOW_S, end, offsetof(struct demo_sample, model));
    v.popularity_after = mean_between(n, end - WINDOW_S, end,
                                      offsetof(struct demo_sample, popularity));
    return v;
}

static void put_number(struct json_writer *w, const char *key, double value)
{
    json_key(w, key);
    if (isnan(value))
        json_put_null(w);
    else
        json_put_real(w, value);
}

static void print_json(struct demo *d, const struct verdict *v)
{
    const struct demo_numbers *n = &d->numbers;
    struct json_writer w;

    json_writer_init(&w, d->json, sizeof d->json);
    json_object_begin(&w);
    json_bool(&w, "exactly_once", v->exact);
    put_number(&w, "delivered", n->delivered);
    put_number(&w, "logged", n->logged);
    put_number(&w, "applied", n->applied);
    put_number(&w, "duplicates", n->duplicates);
    put_number(&w, "late", n->late);
    put_number(&w, "dropped", n->dropped);
    put_number(&w, "erased", n->erased);
    put_number(&w, "dead", n->dead);
    put_number(&w, "lists", n->lists);
    put_number(&w, "degraded", n->degraded);
    put_number(&w, "fresh_p99_s", n->fresh_p99_s);
    put_number(&w, "request_p99_s", n->request_p99_s);
    put_number(&w, "published", n->published);
    put_number(&w, "refused", n->refused);
    put_number(&w, "retrain_behind_records", n->behind);
    put_number(&w, "retrain_behind_most_s", n->behind_most_s);
    put_number(&w, "restarts", n->restarts);
    put_number(&w, "ndcg_model_before", v->before);
    put_number(&w, "ndcg_popularity_before", v->popularity_before);
    put_number(&w, "ndcg_frozen_after", v->frozen_after);
    put_number(&w, "ndcg_model_after", v->model_after);
    put_number(&w, "ndcg_popularity_after", v->popularity_after);
    json_object_end(&w);
    (void)printf("%.*s\n", TEXT_ARGS(json_writer_text(&w)));
}

static const char *number(double value, char text[16])
{
    if (isnan(value))
        return "-";
    (void)snprintf(text, 16, "%.3f", value);
    return text;
}

static void print_summary(struct demo *d, const struct verdict *v)
{
    const struct demo_numbers *n = &d->numbers;
    char text[5][16], within[24] = "-";

    if (n->lists > 0)
        (void)snprintf(within, sizeof within, "%.1f ms", n->request_p99_s * 1e3);
    if (command_json(d->line)) {
        print_json(d, v);
        return;
    }
    (void)demo_view_sum(n, d->screen, sizeof d->screen);
    (void)printf("\n%s", d->screen);
    (void)printf("%.0f lists answered, 99 %% within %s; models: %.0f published, %.0f refused\n",
                 n->lists, within, n->published, n->refused);
    if (n->restarts > 0)
        (void)printf("roles killed and started again: %d\n", n->restarts);
    if (n->shift_at_s >= 0)
        (void)printf("NDCG@10 by the truth   model   popularity   model frozen at the shift\n"
                     "  before the shift     %-7s %s\n",
                     number(v->before, text[0]), number(v->popularity_before, text[1]));
    else
        (void)printf("NDCG@10 by the truth   model   popularity   (no shift in this run)\n");
    (void)printf("  at the end           %-7s %-*s%s\n", number(v->model_after, text[2]),
                 n->shift_at_s >= 0 ? 13 : 0, number(v->popularity_after, text[3]),
                 n->shift_at_s >= 0 ? number(v->frozen_after, text[4]) : "");
    if (demo_view_why(n, v->model_after, v->popularity_after, d->screen, sizeof d->screen) > 0)
        (void)printf("%s", d->screen);
}

/* ---- the command ---- */

/* For who wants to look with their own hands. */
static void tell_where(struct demo *d)
{
    locate(d);
    if (d->terminal)
        return; /* the page has them */
    (void)demo_view_hints(&d->numbers, d->screen, sizeof d->screen);
    (void)fprintf(stderr, "%s", d->screen);
}

/* When the taste shifts. By default not before there is a model to show it on: in a demo too short
 * for that it never does, and that is said. */
static double shift_after(const struct demo *d, double seconds)
{
    double after = seconds * command_real(d->line, "shift");

    if (after >= SHIFT_LEAST_S || command_given(d->line, "shift"))
        return after;
    (void)fprintf(
        stderr,
        "%.0f s are too short for a shift of taste, which needs a model to show it on, about "
        "half a minute after the start: none in this run; --duration %ds or more has one\n",
        seconds, (int)ceil(SHIFT_LEAST_S / command_real(d->line, "shift")));
    return NEVER_S;
}

static enum status open_demo(struct demo *d, struct error *err)
{
    double seconds = (double)command_duration_ms(d->line, "duration") / 1000.0;
    struct demo_roles_options options = {
        .program = command_program(d->line),
        .brokers = command_text(d->line, "brokers"),
        .seed = command_int(d->line, "seed"),
        .warmup = (int)command_int(d->line, "warmup"),
        .rate = command_real(d->line, "rate"),
        .shift_after_s = shift_after(d, seconds),
    };
    enum status status = hash_start(err);

    d->parser = json_parser_create(JSON_BYTES, 4096);
    d->ingest.older = malloc(METRICS_BYTES);
    d->ingest.newer = malloc(METRICS_BYTES);
    d->serve.older = malloc(METRICS_BYTES);
    d->serve.newer = malloc(METRICS_BYTES);
    if (d->parser == NULL || d->ingest.older == NULL || d->ingest.newer == NULL ||
        d->serve.older == NULL || d->serve.newer == NULL)
        return error_set(err, ERR_NOMEM, "no memory for the demo");
    if (status == OK)
        status = demo_page_open(&d->page, command_text(d->line, "listen"), err);
    if (status == OK) {
        (void)snprintf(d->numbers.page_url, sizeof d->numbers.page_url, "http://127.0.0.1:%d/",
                       demo_page_port(d->page));
        (void)fprintf(stderr, "starting Redis, Kafka and the roles; page: %s\n",
                      d->numbers.page_url);
        status = demo_roles_start(&d->roles, &options, err);
    }
    d->numbers.total_s = seconds;
    d->numbers.phase = "starting";
    d->numbers.waiting = (double)NAN;
    d->numbers.shift_at_s = d->numbers.logged = d->numbers.published_at_s = -1;
    d->numbers.model_age_s = d->numbers.fresh_p50_s = d->numbers.fresh_p99_s = -1;
    d->numbers.request_p50_s = d->numbers.request_p99_s = -1;
    d->numbers.broker = options.brokers == NULL
                            ? "embedded broker (librdkafka's mock: for demonstration only)"
                            : options.brokers;
    return status;
}

static int run_demo(struct command_line *line)
{
    struct demo *d;
    struct error err;
    enum status status;
    int code = EXIT_NO;

    if (!(command_real(line, "shift") > 0 && command_real(line, "shift") <= 1))
        return command_misused(line, "--shift is a share of the duration, above 0 and up to 1");
    d = calloc(1, sizeof *d);
    if (d == NULL)
        return EXIT_BUG;
    d->line = line;
    d->terminal = isatty(STDERR_FILENO) && !command_flag(line, "plain");
    /* The screen is ours; elsewhere people read the lines between which a log's would stand. */
    log_start("demo", d->terminal ? LOG_ERROR : LOG_WARN, LOG_TEXT);
    status = open_demo(d, &err);
    d->begun_us = d->last_tick_us = clock_monotonic_us();
    if (status == OK) {
        tell_where(d);
        if (d->terminal)
            (void)fputs("\x1b[2J", stderr);
        status = run_until(d, d->numbers.total_s, &err);
        command_ignore_stop(); /* a second Ctrl-C would leave the folder behind */
        if (status == OK)
            status = settle(d, &err);
        if (d->terminal)
            (void)fputc('\n', stderr); /* the screen ends without a line feed */
    }
    command_ignore_stop();
    if (status == OK) {
        struct verdict v = judge(&d->numbers);

        print_summary(d, &v);
        code = v.exact ? EXIT_DONE : EXIT_NO;
    } else {
        code = command_fail(line, &err);
    }
    demo_roles_stop(d->roles);
    demo_page_close(d->page);
    json_parser_destroy(d->parser);
    free(d->ingest.older);
    free(d->ingest.newer);
    free(d->serve.older);
    free(d->serve.newer);
    free(d);
    return code;
}

static const struct option_row demo_options[] = {
    {"duration", OPTION_DURATION, "TIME", "150s", "how long it runs"},
    {"brokers", OPTION_TEXT, "HOST:PORT", NULL, "a Kafka to use; without it an embedded broker"},
    {"listen", OPTION_TEXT, "ADDRESS", "127.0.0.1:0", "where the web page is served"},
    {"seed", OPTION_INT, "N", "1", "seed of the simulated world"},
    {"warmup", OPTION_INT, "SESSIONS", "12000", "sessions of the past"},
    {"rate", OPTION_REAL, "SESSIONS/S", "80", "sessions a second, live"},
    {"shift", OPTION_REAL, "SHARE", "0.4",
     "when the taste shifts, as a share of the duration; unless given, not before 45 s"},
    {"plain", OPTION_FLAG, NULL, NULL, "plain lines, also on a terminal"},
    {0},
};

const struct command demo_command = {
    .name = "demo",
    .summary = "the whole loop on this machine, live, in two and a half minutes",
    .arguments = "",
    .help = "Starts a private redis-server, an embedded Kafka broker (or uses yours), the three "
            "roles and simulated users, and shows what happens: events into sequences, lists "
            "over HTTP, a shift of taste, retraining that recovers. Everything runs on loopback "
            "under a temporary folder and is gone when it ends.\n"
            "\n"
            "A shift of taste needs a model to show it on: a demo of less than 113 s has none.\n"
            "\n"
            "Kill a role while it runs (kill -9): it is started again, and at the end every "
            "event is still counted once. Exit code 0 says that they were.\n"
            "\n"
            "Examples:\n"
            "  freshet demo\n"
            "  freshet demo --duration 60s --plain\n"
            "  freshet demo --brokers 127.0.0.1:9092 --json\n",
    .options = demo_options,
    .run = run_demo,
};
