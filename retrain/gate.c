/* retrain/gate.c - each gate writes a line, the first refusal is the verdict. */
#include "retrain/gate.h"

#include "features/batch_builder.h"
#include "features/scalars.h"
#include "schemas/bundle.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void gate_begin(struct gate *gate)
{
    *gate = (struct gate){.passed = true};
}

static void report(struct gate *gate, bool passed, const char *fmt, ...) PRINTF_LIKE(3, 4);

static void report(struct gate *gate, bool passed, const char *fmt, ...)
{
    size_t used = strlen(gate->report);
    char line[240];
    va_list args;

    va_start(args, fmt);
    (void)vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    (void)snprintf(gate->report + used, sizeof gate->report - used, "%s%s: %s",
                   used > 0 ? "\n" : "", passed ? "ok" : "REFUSED", line);
    if (!passed && gate->passed)
        (void)snprintf(gate->refusal, sizeof gate->refusal, "%s", line);
    gate->passed &= passed;
}

/* ---- quality ---- */

static void against(struct gate *gate, const struct evaluation *e, enum evaluate_arm arm,
                    double low_min)
{
    const struct bootstrap_interval *gain = &e->arms[arm].gain;
    bool passed = gain->difference > 0 && gain->low >= low_min;

    report(gate, passed, "NDCG@%d %.4f against %s's %.4f: %+.4f, 95 %% within [%+.4f, %+.4f]%s",
           EVALUATE_K, e->arms[EVALUATE_CHALLENGER].ndcg, evaluate_arm_names[arm],
           e->arms[arm].ndcg, gain->difference, gain->low, gain->high,
           passed                  ? ""
           : gain->difference <= 0 ? ": not better"
                                   : ": not certain enough");
}

void gate_quality(struct gate *gate, const struct evaluation *e, const struct gate_options *options)
{
    if (e->events < options->events_min) {
        report(gate, false, "%lld held-out choices, at least %lld are needed to judge",
               (long long)e->events, (long long)options->events_min);
        return;
    }
    report(gate, true, "judged by %lld choices of %lld users, %s", (long long)e->events,
           (long long)e->users,
           e->answers ? "those from shown lists among them: too few others, and they favour what "
                        "was shown"
                      : "none of them from a shown list");
    against(gate, e, EVALUATE_POPULARITY, 0);
    against(gate, e, EVALUATE_COVISITATION, -INFINITY);
    if (e->has_champion)
        against(gate, e, EVALUATE_CHAMPION,
                -options->champion_slack * e->arms[EVALUATE_CHAMPION].ndcg);
    else
        report(gate, true, "no champion with a model yet");
}

void gate_rounding(struct gate *gate, const struct evaluation *e)
{
    double change = e->rounded.ndcg - e->arms[EVALUATE_CHALLENGER].ndcg;

    if (!e->rounded.measured)
        report(gate, true,
               "bf16 not measured (retrain.measure_bf16): under serve.bf16: auto serve "
               "stays in f32");
    else if (e->events > 0)
        report(gate, true, "in bf16 NDCG@%d %+.4f, 95 %% within [%+.4f, %+.4f]: %s", EVALUATE_K,
               change, -e->rounded.loss.high, -e->rounded.loss.low,
               e->rounded.most <= BUNDLE_BF16_CHANGE_MAX ? "serve may use it where it is faster"
                                                         : "serve stays in f32");
}

/* ---- integrity ---- */

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static double row_norm(const float *row, int channels)
{
    double sum = 0;

    for (int c = 0; c < channels; c++)
        sum += (double)row[c] * (double)row[c];
    return sqrt(sum);
}

void gate_integrity(struct gate *gate, struct model *model)
{
    const struct model_config *config = model_config(model);
    double *norms;

    for (int32_t i = 0; i < model_tensors_count(model); i++) {
        struct model_tensor tensor = model_tensor(model, i);

        for (size_t at = 0; at < tensor.count; at++)
            if (!isfinite(tensor.data[at])) {
                report(gate, false, "weight \"%s\" holds a number that is not finite", tensor.name);
                return;
            }
    }
    norms = malloc((size_t)config->V * sizeof *norms);
    if (norms == NULL) {
        report(gate, false, "no memory to look at %d item rows", config->V);
        return;
    }
    for (int32_t row = 0; row < config->V; row++)
        norms[row] = row_norm(model_item(model, row), config->C);
    qsort(norms, (size_t)config->V, sizeof *norms, by_size);
    double median = norms[config->V / 2], longest = norms[config->V - 1];
    free(norms);
    report(
        gate,
        longest <= GATE_ROW_NORM_MAX * median ||
                config->V<16, "weights are finite, the longest item row is %.1f times the median",
                          median> 0
            ? longest / median
            : 0);
}

/* ---- features ---- */

#define SURE 4 /* standard errors */

/* Of rows that were not clicked, the share each scalar puts below a clicked one, summed over the
 * lists that have both; how many those are. */
static int64_t place_shown(const struct lists *shown, double sums[BATCH_SCALARS_MAX])
{
    int64_t lists = 0;

    for (int n = 0; n < lists_held(shown); n++) {
        const struct list *list = lists_held_at(shown, n);
        double below[BATCH_SCALARS_MAX] = {0}, pairs = 0;
        float clicked[BATCH_SCALARS_MAX], other[BATCH_SCALARS_MAX];

        for (int i = 0; i < list->rows_count; i++) {
            if (!(list->labels[i] > 0))
                continue;
            scalars_compute(clicked, list->raw + (ptrdiff_t)i * RAW_COLUMNS, 1);
            for (int j = 0; j < list->rows_count; j++) {
                if (list->labels[j] > 0)
                    continue;
                scalars_compute(other, list->raw + (ptrdiff_t)j * RAW_COLUMNS, 1);
                for (int f = 0; f < scalars_count; f++)
                    below[f] += other[f] < clicked[f] ? 1 : other[f] == clicked[f] ? .5 : 0;
                pairs++;
            }
        }
        if (pairs == 0)
            continue;
        lists++;
        for (int f = 0; f < scalars_count; f++)
            sums[f] += below[f] / pairs;
    }
    return lists;
}

void gate_features(struct gate *gate, const struct evaluation *e, const struct lists *shown)
{
    double places[BATCH_SCALARS_MAX] = {0};
    int64_t lists = place_shown(shown, places);
    int bad = 0;

    for (int f = 0; f < scalars_count && e->compared >= GATE_LISTS_MIN; f++) {
        double more = e->scalars[f].trained - e->scalars[f].served;

        if (more <= GATE_KNOWS_MORE || more <= SURE * e->scalars[f].error)
            continue;
        bad++;
        report(gate, false,
               "scalar \"%s\" knows the answer: of %lld choices it puts %.1f %% of the other rows "
               "below in training, %.1f %% in serving",
               scalar_rows[f].name, (long long)e->compared, 100 * e->scalars[f].trained,
               100 * e->scalars[f].served);
    }
    for (int f = 0; f < scalars_count && lists >= GATE_LISTS_MIN; f++) {
        if (places[f] < GATE_KNOWS_ALL * (double)lists)
            continue;
        bad++;
        report(
            gate, false,
            "scalar \"%s\" knows the answer: in %lld shown lists it puts %.1f %% of the rows not "
            "clicked below those that were",
            scalar_rows[f].name, (long long)lists, 100 * places[f] / (double)lists);
    }
    if (e->compared < GATE_LISTS_MIN && lists < GATE_LISTS_MIN)
        report(
            gate, true,
            "what scalars know is not judged: %lld choices and %lld shown lists, of either %d are "
            "needed",
            (long long)e->compared, (long long)lists, GATE_LISTS_MIN);
    else if (bad == 0)
        report(gate, true,
               "no scalar knows the answer, by %lld choices as learnt and as served and %lld shown "
               "lists",
               (long long)e->compared, (long long)lists);
}

/* ---- parity ---- */

static enum status score(const struct model *model, struct batch_builder *builder, float *scores,
                         struct error *err)
{
    struct model_workspace *workspace = model_workspace_create();
    enum status status = workspace == NULL ? error_set(err, ERR_NOMEM, "no memory to score")
                                           : model_score(model, workspace,
                                                         batch_builder_batch(builder), scores, err);

    model_workspace_destroy(workspace);
    return status;
}

static enum status fill(struct batch_builder *builder, const struct item_tables *tables,
                        const struct lists *pool, int *rows, int *lists, struct error *err)
{
    enum status status = OK;

    *rows = 0;
    for (*lists = 0; *lists < GATE_GOLDEN_LISTS && *lists < lists_held(pool) && status == OK;
         (*lists)++) {
        const struct list *list = lists_held_at(pool, *lists);
        struct batch_request request = list_request(list);

        status = batch_builder_add(builder, tables, &request, err);
        *rows += list->rows_count;
    }
    return status;
}

enum status gate_parity(struct gate *gate, const struct model *memory, const struct model *files,
                        const struct item_tables *tables, struct lists *pool, struct error *err)
{
    struct batch_builder_options options = {.history_max = model_history_max(memory),
                                            .rows_max = model_config(memory)->V};
    struct batch_builder *builder;
    float *scores = NULL;
    double worst = 0;
    int rows, lists;
    enum status status = batch_builder_create(&builder, &options, err);

    if (status != OK)
        return status;
    status = fill(builder, tables, pool, &rows, &lists, err);
    if (status == OK) {
        scores = calloc(2 * (size_t)rows + 1, sizeof *scores);
        if (scores == NULL)
            status = error_set(err, ERR_NOMEM, "no memory for %d golden scores", rows);
    }
    if (status == OK)
        status = score(memory, builder, scores, err);
    if (status == OK)
        status = score(files, builder, scores + rows, err);
    for (int i = 0; i < rows && status == OK; i++) {
        double difference = fabs((double)scores[i] - (double)scores[rows + i]);

        worst = difference <= worst ? worst : difference; /* NaN is the worst */
    }
    if (status == OK)
        report(gate, worst <= GATE_PARITY_MAX,
               "the files score %d rows of %d golden lists within %.1e of memory", rows, lists,
               worst);
    free(scores);
    batch_builder_destroy(builder);
    return status;
}
