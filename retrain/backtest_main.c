/*
 * retrain/backtest_main.c - `freshet backtest FILE`: reads the file twice, first to count (which
 * half is evaluated is said in events), then to score and learn.
 */
#include "retrain/backtest_main.h"

#include "eval/item_texts.h"
#include "eval/svg.h"
#include "kernels/model_rows.h"
#include "ops/json_writer.h"
#include "ops/progress.h"
#include "retrain/backtest.h"
#include "schemas/event_file.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define JSON_BYTES ((size_t)1 << 17)

static const struct option_row options[] = {
    {"from", OPTION_REAL, "SHARE", "0.5",
     "share of the events that are learnt from before the "
     "first one is evaluated"},
    {"first", OPTION_INT, "N", "0", "evaluate events N and later instead (counted from 0)"},
    {"last", OPTION_INT, "N", "0", "stop before event N; 0: at the end of the file"},
    {"k", OPTION_INT, "K", "20", "of HR@K and NDCG@K"},
    {"seed", OPTION_INT, "SEED", "1", "of weights and samples; the same seed, the same figures"},
    {"baselines", OPTION_FLAG, NULL, NULL, "only the baselines, without a model"},
    {"every", OPTION_INT, "EVENTS", "32", "events between two training steps"},
    {"cadence", OPTION_DURATION, "TIME", "0s",
     "score with weights renewed that often (stream "
     "time); 0s: with the newest"},
    {"items", OPTION_TEXT, "FILE", NULL,
     "what items are: JSON lines of the items topic, csv, or item::text; for retrain.cold_items "
     "and "
     "model.text, which are 0 unless --set"},
    {"study", OPTION_FLAG, NULL, NULL,
     "score with weights frozen at the first evaluated event, and renewed daily and hourly, too"},
    {"frozen", OPTION_FLAG, NULL, NULL,
     "learn and count nothing from the first evaluated event on: what is the past worth?"},
    {"position-bias", OPTION_REAL, "B", "-1",
     "of shown lists: row p (from 0) is looked at with chance (1 + p)^-B; below 0: estimated"},
    {"plot", OPTION_TEXT, "FILE", NULL,
     "write HR and NDCG over the evaluated events there, as SVG"},
    {"threads", OPTION_INT, "N", "1", "of training"},
    {"format", OPTION_CHOICE, EVENT_FILE_FORM_CHOICES, "detect", "of the file"},
    {"map", OPTION_TEXT, "MAP", "", "columns of a csv file: ts=timestamp,user=userId,item=movieId"},
    {"unit", OPTION_TEXT, "UNIT", "s", "of a csv file's times: s, ms, us or iso"},
    {0},
};

struct span {
    int64_t first, last; /* evaluated: [first, last); read: [0, last) */
};

static enum status open_file(struct command_line *line, const struct event_schema *schema,
                             struct event_file **file, struct error *err)
{
    struct event_file_options how = {.form = event_file_form_of(command_text(line, "format")),
                                     .map = command_text(line, "map"),
                                     .unit = command_text(line, "unit")};

    return event_file_open(file, command_argument(line, 0), schema, &how, err);
}

/* The next line that is an event; *refused counts the others. */
static enum status next_event(struct event_file *file, struct event *event, bool *more,
                              int64_t *refused, struct error *err)
{
    for (;;) {
        enum refusal why;
        enum status status = event_file_next(file, event, more, &why, err);

        if (status == OK || why == REFUSAL_NONE)
            return status;
        (*refused)++;
    }
}

/* Walks the whole file: *refused counts its lines that are no events, those at the end too. */
static enum status find_span(struct command_line *line, const struct event_schema *schema,
                             struct span *span, int64_t *refused, struct error *err)
{
    struct event_file *file;
    struct event event;
    int64_t count = 0, last = command_int(line, "last");
    bool more = true;
    enum status status = open_file(line, schema, &file, err);

    if (status != OK)
        return status;
    while (status == OK && more && (last == 0 || count < last)) {
        status = next_event(file, &event, &more, refused, err);
        count += status == OK && more;
    }
    event_file_close(file);
    if (status == OK && count == 0)
        return error_set(err, ERR_MALFORMED,
                         *refused == 0
                             ? "\"%s\" holds no events"
                             : "nothing in \"%s\" can be used; `freshet ingest --dry-run` "
                               "says why of each line",
                         command_argument(line, 0));
    if (status == OK && *refused > count)
        return error_set(err, ERR_MALFORMED,
                         "of \"%s\" %lld lines are events and %lld are not; `freshet ingest "
                         "--dry-run` says why of each line",
                         command_argument(line, 0), (long long)count, (long long)*refused);
    span->last = count;
    span->first = command_given(line, "first")
                      ? command_int(line, "first")
                      : (int64_t)((double)count * command_real(line, "from"));
    if (status == OK && span->first >= count)
        return error_set(err, ERR_NOT_FOUND,
                         "no event would be evaluated: \"%s\" %s %lld, and evaluation would begin "
                         "at event %lld (counted from 0)",
                         command_argument(line, 0),
                         last > 0 && count == last ? "is read up to event" : "holds",
                         (long long)count, (long long)span->first);
    return status;
}

static enum status take_item(void *context, const struct item *item, struct error *err)
{
    return backtest_item(context, item, err);
}

static enum status read_items(struct backtest *backtest, const char *path, struct error *err)
{
    struct item_texts_count count;

    return item_texts_read(path, take_item, backtest, &count, err);
}

static enum status run_events(struct command_line *line, const struct event_schema *schema,
                              struct backtest *backtest, struct span span, struct error *err)
{
    int64_t counted_before = 0;
    struct progress progress;
    struct event_file *file;
    struct event event;
    bool more = true;
    int64_t n = 0;
    enum status status = open_file(line, schema, &file, err);

    if (status != OK)
        return status;
    progress_begin(&progress, "backtest", "events");
    for (; n < span.last && status == OK; n++) {
        status = next_event(file, &event, &more, &counted_before, err);
        if (status != OK || !more)
            break;
        status = backtest_event(backtest, &event, n >= span.first, err);
        progress_show(&progress, (double)n / (double)span.last, (uint64_t)n);
        if (command_stopping())
            status = error_set(err, ERR_CANCELLED, "stopped after %lld events", (long long)n);
    }
    progress_end(&progress, (uint64_t)n);
    event_file_close(file);
    return status;
}

static void put_interval(struct json_writer *w, const char *key,
                         const struct bootstrap_interval *interval)
{
    json_key(w, key);
    json_object_begin(w);
    json_real(w, "difference", interval->difference);
    json_real(w, "low", interval->low);
    json_real(w, "high", interval->high);
    json_object_end(w);
}

static void put_spans(struct json_writer *w, const struct backtest_row *row, int count)
{
    static const char *const names[] = {"hr", "ndcg", "auc", "ne"};

    if (count == 0)
        return;
    json_key(w, "progressive");
    json_object_begin(w);
    for (int n = 0; n < 4; n++) {
        json_key(w, names[n]);
        json_array_begin(w);
        for (int i = 0; i < count; i++) {
            const struct backtest_span *span = &row->spans[i];

            json_put_real(w, n == 0   ? span->hit_rate
                             : n == 1 ? span->ndcg
                             : n == 2 ? span->auc
                                      : span->entropy);
        }
        json_array_end(w);
    }
    json_object_end(w);
}

static void put_row(struct json_writer *w, const struct backtest_row *row, int k, bool against,
                    int spans_count)
{
    char name[32];

    json_object_begin(w);
    json_text(w, "name", text_of(row->name));
    (void)snprintf(name, sizeof name, "hr@%d", k);
    json_real(w, name, row->hit_rate);
    (void)snprintf(name, sizeof name, "ndcg@%d", k);
    json_real(w, name, row->ndcg);
    json_real(w, "mrr", row->reciprocal);
    if (!isnan(row->auc)) {
        json_real(w, "auc", row->auc);
        json_real(w, "ne", row->entropy);
    }
    put_spans(w, row, spans_count);
    if (against) {
        put_interval(w, "model_gain_hr", &row->hit_rate_gain);
        put_interval(w, "model_gain_ndcg", &row->ndcg_gain);
    }
    json_object_end(w);
}

static void put_number(struct json_writer *w, const char *name, double value)
{
    if (!isnan(value))
        json_real(w, name, value);
}

static void put_logged_row(struct json_writer *w, const struct logged_result *r, int arm)
{
    const struct logged_row *row = &r->arms[arm];

    json_object_begin(w);
    json_text(w, "name", text_of(logged_arm_names[arm]));
    put_number(w, "ndcg@10", row->ndcg);
    put_number(w, "ndcg@10_ips", row->ndcg_ips);
    put_number(w, "mrr_ips", row->reciprocal_ips);
    put_number(w, "auc", row->auc);
    put_number(w, "gauc", row->gauc);
    if (arm == LOGGED_MODEL) {
        put_number(w, "ne", r->entropy);
        put_number(w, "ece", r->calibration_error);
        put_number(w, "pcoc", r->predicted_over_seen);
    } else {
        put_interval(w, "model_gain_ndcg", &row->ndcg_gain);
        put_interval(w, "model_gain_ndcg_ips", &row->ips_gain);
    }
    json_object_end(w);
}

static void put_logged(struct json_writer *w, const struct logged_result *r)
{
    if (r->lists == 0)
        return;
    json_key(w, "lists");
    json_object_begin(w);
    json_int(w, "judged", r->judged);
    json_int(w, "shown", r->lists);
    json_int(w, "shown_rows", r->rows);
    json_int(w, "clicks", r->clicks);
    json_int(w, "predicted_rows", r->predicted);
    json_key(w, "look");
    json_array_begin(w);
    for (int p = 0; p < r->positions; p++)
        json_put_real(w, r->look[p]);
    json_array_end(w);
    json_key(w, "rows");
    json_array_begin(w);
    for (int arm = 0; arm < LOGGED_ARMS; arm++)
        put_logged_row(w, r, arm);
    json_array_end(w);
    json_object_end(w);
}

static void print_json(const struct backtest_result *result, int64_t refused)
{
    static char bytes[JSON_BYTES];
    struct json_writer w;
    bool model = result->model_row >= 0;

    json_writer_init(&w, bytes, sizeof bytes);
    json_object_begin(&w);
    json_int(&w, "events", result->events);
    json_int(&w, "refused", refused);
    json_int(&w, "evaluated", result->evaluated);
    json_int(&w, "brand_new", result->brand_new);
    json_int(&w, "repeated", result->repeated);
    json_int(&w, "users", result->users);
    json_int(&w, "items", result->items);
    json_key(&w, "rows");
    json_array_begin(&w);
    for (int i = 0; i < result->rows_count; i++)
        put_row(&w, &result->rows[i], result->k, model && i != result->model_row,
                result->spans_count);
    json_array_end(&w);
    put_logged(&w, &result->logged);
    json_int(&w, "waiting_lists", result->waiting);
    if (model) {
        json_real(&w, "recalled", result->recalled_share);
        json_int(&w, "steps", result->learning.steps);
        json_int(&w, "rejected_steps", result->learning.rejected);
        json_int(&w, "masked", result->learning.masked);
        json_real(&w, "list_loss", result->learning.list_loss);
        json_real(&w, "next_loss", result->learning.next_loss);
        json_real(&w, "score_ms",
                  result->evaluated > 0 ? 1e3 * result->scoring_s / (double)result->evaluated : 0);
        json_real(&w, "learn_ms_per_event",
                  result->events > 0 ? 1e3 * result->learning_s / (double)result->events : 0);
    }
    json_object_end(&w);
    (void)printf("%.*s\n", TEXT_ARGS(json_writer_text(&w)));
}

/* In how many steps of the stream fresh weights were better than frozen ones. */
static void print_wins(const struct backtest_result *r)
{
    const struct backtest_row *frozen = &r->rows[r->model_row + 1];

    for (int row = r->model_row; row < r->rows_count; row++) {
        int won = 0;

        for (int i = 0; i < r->spans_count; i++)
            won += r->rows[row].spans[i].ndcg > frozen->spans[i].ndcg;
        if (row != r->model_row + 1)
            (void)printf("%s is above %s in %d of %d steps (NDCG@%d)\n", r->rows[row].name,
                         frozen->name, won, r->spans_count, r->k);
    }
}

/* The figures of the model's rows over the stream. */
static void print_progress(const struct backtest_result *r)
{
    if (r->spans_count == 0 || r->model_row < 0)
        return;
    (void)printf("\nover the evaluated events:  HR@%d / NDCG@%d / AUC / NE of each quarter\n", r->k,
                 r->k);
    for (int row = r->model_row; row < r->rows_count; row++) {
        (void)printf("%-16s", r->rows[row].name);
        for (int q = 0; q < 4; q++) {
            struct backtest_span mean = {0};

            for (int i = q * r->spans_count / 4; i < (q + 1) * r->spans_count / 4; i++) {
                const struct backtest_span *span = &r->rows[row].spans[i];
                double share = 4.0 / r->spans_count;

                mean.hit_rate += share * span->hit_rate;
                mean.ndcg += share * span->ndcg;
                mean.auc += share * span->auc;
                mean.entropy += share * span->entropy;
            }
            (void)printf("  %.3f %.3f %.3f %.3f", mean.hit_rate, mean.ndcg, mean.auc, mean.entropy);
        }
        (void)printf("\n");
    }
    if (r->rows_count > r->model_row + 1)
        print_wins(r);
}

static void print_logged(const struct logged_result *r)
{
    if (r->lists == 0)
        return;
    (void)printf("\n%lld shown lists, %lld of them judged by %lld clicks; looked at by position:",
                 (long long)r->lists, (long long)r->judged, (long long)r->clicks);
    for (int p = 0; p < r->positions; p++)
        (void)printf(" %.2f", r->look[p]);
    (void)printf("\n%-20s %8s %8s %8s %8s %8s   the model's gain in NDCG, by propensity (95 %%)\n",
                 "", "NDCG@10", "by IPS", "MRR IPS", "AUC", "GAUC");
    for (int arm = 0; arm < LOGGED_ARMS; arm++) {
        const struct logged_row *row = &r->arms[arm];

        (void)printf("%-20s %8.4f %8.4f %8.4f %8.4f %8.4f", logged_arm_names[arm], row->ndcg,
                     row->ndcg_ips, row->reciprocal_ips, row->auc, row->gauc);
        if (arm != LOGGED_MODEL)
            (void)printf("   %+.4f [%+.4f %+.4f]  %+.4f [%+.4f %+.4f]", row->ndcg_gain.difference,
                         row->ndcg_gain.low, row->ndcg_gain.high, row->ips_gain.difference,
                         row->ips_gain.low, row->ips_gain.high);
        (void)printf("\n");
    }
    (void)printf("the model's probabilities of %lld rows: NE %.4f, ECE %.4f, PCOC %.3f\n",
                 (long long)r->predicted, r->entropy, r->calibration_error, r->predicted_over_seen);
}

static void print_table(const struct backtest_result *result, int64_t refused)
{
    bool model = result->model_row >= 0;

    (void)printf("%lld events (%lld lines refused), %lld users, %lld items; %lld evaluated, %lld "
                 "of them brand-new items, %lld repeats left out\n\n",
                 (long long)result->events, (long long)refused, (long long)result->users,
                 (long long)result->items, (long long)result->evaluated,
                 (long long)result->brand_new, (long long)result->repeated);
    (void)printf("%-20s %8s@%d %6s@%d %8s %7s %7s%s\n", "", "HR", result->k, "NDCG", result->k,
                 "MRR", "AUC", "NE", model ? "   the model's gain in HR, in NDCG (95 %)" : "");
    for (int i = 0; i < result->rows_count; i++) {
        const struct backtest_row *row = &result->rows[i];

        (void)printf("%-20s %11.4f %9.4f %8.4f", row->name, row->hit_rate, row->ndcg,
                     row->reciprocal);
        if (isnan(row->auc))
            (void)printf(" %7s %7s", "-", "-");
        else
            (void)printf(" %7.4f %7.4f", row->auc, row->entropy);
        if (model && i != result->model_row)
            (void)printf("   %+.4f [%+.4f %+.4f]  %+.4f [%+.4f %+.4f]",
                         row->hit_rate_gain.difference, row->hit_rate_gain.low,
                         row->hit_rate_gain.high, row->ndcg_gain.difference, row->ndcg_gain.low,
                         row->ndcg_gain.high);
        (void)printf("\n");
    }
    if (model && result->evaluated > 0)
        (void)printf(
            "\nthe model: %lld steps, %.2f ms a ranking, %.2f ms of learning an event, "
            "%.1f %% of the targets recalled\n",
            (long long)result->learning.steps, 1e3 * result->scoring_s / (double)result->evaluated,
            1e3 * result->learning_s / (double)result->events, 100 * result->recalled_share);
    print_progress(result);
    print_logged(&result->logged);
    if (result->waiting > 0)
        (void)printf(
            "\n%lld shown lists were not judged or learnt from: until features.join_window "
            "is over their clicks may still come\n",
            (long long)result->waiting);
}

/* HR@k and NDCG@k of every row by the place in the stream; the model's NE and AUC below. */
static enum status plot(const struct backtest_result *r, const char *path, struct error *err)
{
    static double x[BACKTEST_SPANS], y[4][BACKTEST_ROWS_MAX][BACKTEST_SPANS];
    static const char *const titles[4] = {"HR", "NDCG", "AUC among the ranked",
                                          "NE: log-loss over that of knowing nothing"};
    struct svg_line lines[4][BACKTEST_ROWS_MAX];
    struct svg_plot plots[4];
    int plots_count = r->model_row >= 0 ? 4 : 2;

    for (int p = 0; p < plots_count; p++) {
        int count = 0;

        for (int row = p < 2 ? 0 : r->model_row; row < r->rows_count; row++, count++) {
            for (int i = 0; i < r->spans_count; i++) {
                const struct backtest_span *span = &r->rows[row].spans[i];

                x[i] = (double)r->evaluated * (i + 1) / BACKTEST_SPANS;
                y[p][count][i] = p == 0   ? span->hit_rate
                                 : p == 1 ? span->ndcg
                                 : p == 2 ? span->auc
                                          : span->entropy;
            }
            lines[p][count] = (struct svg_line){r->rows[row].name, x, y[p][count], r->spans_count};
        }
        plots[p] = (struct svg_plot){titles[p], "evaluated events", lines[p], count};
    }
    return svg_write(path, "freshet backtest", plots, plots_count, err);
}

static enum status backtest_file(struct command_line *line, const struct config *config,
                                 struct backtest_result *result, int64_t *refused,
                                 struct error *err)
{
    struct event_schema *schema = NULL;
    struct backtest *backtest = NULL;
    struct backtest_options how;
    struct rules rules;
    struct span span = {0};
    enum status status = event_schema_create(&schema, config, err);

    if (status != OK)
        return status;
    status = rules_from_config(&rules, schema, config, 0, err);
    if (status == OK)
        status = find_span(line, schema, &span, refused, err);
    if (status != OK)
        goto done;
    backtest_options_init(&how, &rules);
    how.k = (int)command_int(line, "k");
    how.model = !command_flag(line, "baselines");
    how.study = command_flag(line, "study");
    how.frozen = command_flag(line, "frozen");
    how.position_bias = command_real(line, "position-bias");
    how.train_every = (int)command_int(line, "every");
    how.cadence_ms = command_duration_ms(line, "cadence");
    how.learner.seed = (uint64_t)command_int(line, "seed");
    how.learner.threads = (int)command_int(line, "threads");
    how.recall_next = how.learner.recall_next = (int)config_int(config, "serve.recall_next");
    how.learner.preset = config_text(config, "model.preset");
    how.learner.switches = model_rows_switches(config);
    how.learner.robots = robot_limits_of(config);
    how.learner.objective = config_text(config, "retrain.objective");
    how.learner.bf16 = strcmp(config_text(config, "retrain.bf16"), "on") == 0;
    how.learner.items.admit_after = (int)config_int(config, "retrain.admit_after");
    how.learner.cold_items = (int)config_int(config, "retrain.cold_items");
    status = backtest_create(&backtest, &how, err);
    if (status == OK && command_text(line, "items") != NULL)
        status = read_items(backtest, command_text(line, "items"), err);
    if (status == OK)
        status = run_events(line, schema, backtest, span, err);
    if (status == OK)
        status = backtest_result(backtest, result, err);
    if (status == OK && command_text(line, "plot") != NULL)
        status = plot(result, command_text(line, "plot"), err);
done:
    backtest_destroy(backtest);
    event_schema_destroy(schema);
    return status;
}

static int run(struct command_line *line)
{
    static struct backtest_result result;
    const struct config *config = command_config(line);
    int64_t refused = 0;
    struct error err;

    if (config == NULL)
        return EXIT_USAGE;
    if (strcmp(command_argument(line, 0), "-") == 0)
        return command_misused(line, "the file is read twice: standard input cannot be");
    if (command_int(line, "k") < 1 || command_int(line, "every") < 1)
        return command_misused(line, "--k and --every are at least 1");
    if (command_int(line, "first") < 0 || command_int(line, "last") < 0)
        return command_misused(line, "--first and --last count events from 0");
    if (!(command_real(line, "from") >= 0 && command_real(line, "from") < 1))
        return command_misused(line, "--from is a share, 0 or more and less than 1");
    if (command_flag(line, "frozen") && command_flag(line, "study"))
        return command_misused(line, "--study asks what fresh weights are worth, --frozen learns "
                                     "nothing");
    if (backtest_file(line, config, &result, &refused, &err) != OK)
        return command_fail(line, &err);
    if (command_json(line))
        print_json(&result, refused);
    else
        print_table(&result, refused);
    return EXIT_DONE;
}

const struct command backtest_command = {
    .name = "backtest",
    .summary = "run the whole loop over a file of events: score first, then learn",
    .arguments = "FILE",
    .help =
        "Ranks every event of the last half of FILE for its user with what was known before "
        "it, by the model and by popularity and co-visitation, then learns from it. Nothing "
        "else is needed: no Kafka, no Redis. Answers whether freshet would help on your data, "
        "and with --cadence how fresh its weights must be.\n\n"
        "Where FILE holds impressions too, the shown lists are learnt from as `freshet retrain` "
        "does it, and judged as logged lists: NDCG by clicks and by inverse propensity of the "
        "positions, AUC, and whether the model's probabilities hold (NE, ECE, PCOC).\n\n"
        "FILE holds events as JSON lines, as csv with the columns ts, user, item, or as pairs; "
        "plain or gzip.\n\n"
        "Examples:\n"
        "  freshet backtest events.jsonl\n"
        "  freshet backtest ratings.csv.gz --map ts=timestamp,user=userId,item=movieId --json\n"
        "  freshet backtest events.jsonl --cadence 1d\n"
        "  freshet backtest events.jsonl --first 50000 --last 55000 --frozen\n"
        "  freshet backtest events.jsonl --study --plot cadence.svg",
    .arguments_min = 1,
    .arguments_max = 1,
    .options = options,
    .run = run,
};
