/* eval/eval_report.c - prints what eval found. */
#include "eval/eval_report.h"

#include "eval/svg.h"
#include "ops/json_writer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define JSON_BYTES ((size_t)1 << 19)

static const char *attention_name(const struct eval_result *r)
{
    return r->fit.attention == MODEL_ATTENTION_SOFTMAX ? "softmax" : "silu";
}

/* "" where the model is all features together. */
static const char *alone_name(const struct eval_result *r)
{
    int k = r->fusion_report.alone;

    return r->fusion_report.targets > 0 && k < FUSION_FEATURES ? fusion_feature_names[k] : "";
}

/* ---- JSON ---- */

static void put_interval(struct json_writer *w, const char *key,
                         const struct bootstrap_interval *interval)
{
    json_key(w, key);
    json_array_begin(w);
    json_put_real(w, interval->low);
    json_put_real(w, interval->high);
    json_array_end(w);
}

static void put_cuts(struct json_writer *w, const char *name, const double *values)
{
    char key[32];

    for (int k = 0; k < EVAL_CUTS; k++) {
        (void)snprintf(key, sizeof key, "%s@%d", name, eval_cuts[k]);
        json_real(w, key, values[k]);
    }
}

static void put_row(struct json_writer *w, const struct eval_row *row)
{
    json_object_begin(w);
    json_text(w, "name", text_of(row->name));
    put_cuts(w, "hr", row->hit_rate);
    put_cuts(w, "ndcg", row->ndcg);
    json_real(w, "mrr", row->reciprocal);
    json_real(w, "map@10", row->average_precision);
    json_real(w, "precision@10", row->precision);
    json_real(w, "recall@10", row->hit_rate[EVAL_CUT_MAIN]);
    json_real(w, "f1@10", row->f1);
    if (!isnan(row->auc))
        json_real(w, "auc", row->auc);
    json_real(w, "gauc", row->auc_users);
    json_real(w, "hr@10_ips", row->hit_rate_ips);
    json_real(w, "ndcg@10_ips", row->ndcg_ips);
    if (!isnan(row->entropy)) {
        json_real(w, "ne@10", row->entropy);
        json_real(w, "ece@10", row->calibration_error);
        json_real(w, "pcoc@10", row->predicted_over_seen);
    }
    json_real(w, "coverage@10", row->coverage);
    json_real(w, "gini@10", row->gini);
    json_real(w, "novelty@10", row->novelty);
    put_interval(w, "hr@10_95", &row->hit_rate_self);
    put_interval(w, "ndcg@10_95", &row->ndcg_self);
    if (strcmp(row->name, full_ranking_arm_names[ARM_MODEL]) != 0) {
        json_real(w, "model_gain_hr@10", row->hit_rate_gain.difference);
        put_interval(w, "model_gain_hr@10_95", &row->hit_rate_gain);
        json_real(w, "model_gain_ndcg@10", row->ndcg_gain.difference);
        put_interval(w, "model_gain_ndcg@10_95", &row->ndcg_gain);
    }
    json_object_end(w);
}

static void put_data(struct json_writer *w, const struct eval_result *r,
                     const struct eval_options *o)
{
    json_text(w, "protocol", text_of(split_protocol_names[o->protocol]));
    json_int(w, "events", r->events);
    json_int(w, "refused", r->refused);
    json_int(w, "ignored", r->ignored);
    json_int(w, "users", r->users);
    json_int(w, "items", r->items);
    json_int(w, "short_users", r->short_users);
    json_int(w, "train_events", r->train_events);
    json_int(w, "validation_targets", r->validation_targets);
    json_int(w, "targets", r->targets);
    json_int(w, "masked_targets", r->masked);
    json_int(w, "new_item_targets", r->unknown);
    json_bool(w, "timed", r->timed);
    json_bool(w, "repeats", r->repeats);
}

static void put_fusion(struct json_writer *w, const char *key, const struct fusion *fusion)
{
    json_key(w, key);
    json_object_begin(w);
    for (int k = 0; k < FUSION_FEATURES; k++)
        json_real(w, fusion_feature_names[k], (double)fusion->weight[k]);
    json_object_end(w);
}

static void put_settings(struct json_writer *w, const struct eval_result *r,
                         const struct eval_options *o)
{
    json_key(w, "settings");
    json_object_begin(w);
    json_text(w, "preset", text_of(r->fit.preset));
    json_text(w, "attention", text_of(attention_name(r)));
    json_int(w, "seed", (int64_t)r->fit.seed);
    json_int(w, "threads", r->fit.threads);
    json_bool(w, "bf16", r->bf16);
    json_bool(w, "keep_seen", o->keep_seen);
    json_int(w, "epochs_planned", r->epochs_planned);
    json_int(w, "step_targets", r->fit.step_targets);
    json_int(w, "negatives", r->fit.negatives);
    json_int(w, "negatives_block", r->fit.negatives_block);
    json_real(w, "negatives_power", (double)r->fit.negatives_power);
    json_real(w, "learning_rate", (double)r->fit.learning_rate);
    json_real(w, "rate_floor", (double)r->fit.rate_floor);
    json_int(w, "warmup_steps", r->fit.warmup_steps);
    json_real(w, "dropout", (double)r->fit.dropout);
    json_real(w, "tau", (double)r->fit.tau);
    put_fusion(w, "fusion", &r->fusion);
    json_text(w, "fusion_alone", text_of(alone_name(r)));
    json_int(w, "fusion_targets", r->fusion_report.targets);
    json_real(w, "fusion_validation_ndcg@10", r->fusion_report.ndcg_contest);
    put_fusion(w, "fusion_ensemble", &r->ensemble);
    json_object_end(w);
}

static void put_training(struct json_writer *w, const struct eval_result *r)
{
    json_int(w, "epochs", r->epochs);
    json_int(w, "best_epoch", r->best_epoch);
    json_int(w, "rejected_steps", r->rejected_steps);
    json_bool(w, "resumed", r->resumed);
    json_real(w, "training_s", r->training_s);
    json_real(w, "validating_s", r->validating_s);
    json_real(w, "reading_s", r->reading_s);
    json_real(w, "counting_s", r->counting_s);
    json_real(w, "ranking_s", r->ranking_s);
    json_key(w, "curve");
    json_array_begin(w);
    for (int i = 0; i < r->epochs; i++) {
        json_object_begin(w);
        json_int(w, "epoch", i + 1);
        json_real(w, "loss", r->curve[i].loss);
        json_real(w, "validation_ndcg@10", r->curve[i].ndcg);
        json_real(w, "validation_hr@10", r->curve[i].hit_rate);
        json_object_end(w);
    }
    json_array_end(w);
}

/* A number of each row's arm, by its name. */
static void put_arms(struct json_writer *w, const struct eval_result *r, const char *name,
                     const double values[ARM_COUNT])
{
    json_key(w, name);
    json_object_begin(w);
    for (int i = 0; i < r->rows_count; i++)
        for (int arm = 0; arm < ARM_COUNT; arm++)
            if (r->rows[i].name == full_ranking_arm_names[arm])
                json_real(w, r->rows[i].name, values[arm]);
    json_object_end(w);
}

static void put_slices(struct json_writer *w, const struct eval_result *r)
{
    json_key(w, "slices");
    json_array_begin(w);
    for (int s = 0; s < r->slices_count; s++) {
        const struct eval_slice *slice = &r->slices[s];

        if (slice->targets == 0)
            continue;
        json_object_begin(w);
        json_text(w, "name", text_of(slice->name));
        json_int(w, "targets", slice->targets);
        put_arms(w, r, "hr@10", slice->hit_rate);
        put_arms(w, r, "ndcg@10", slice->ndcg);
        json_object_end(w);
    }
    json_array_end(w);
    if (r->among_new.items > 0) {
        json_key(w, "among_new");
        json_object_begin(w);
        json_int(w, "items", r->among_new.items);
        json_int(w, "described", r->among_new.described);
        json_int(w, "targets", r->among_new.targets);
        json_real(w, "hr@10", r->among_new.hit_rate);
        json_real(w, "ndcg@10", r->among_new.ndcg);
        json_real(w, "chance_hr@10", r->among_new.chance);
        json_object_end(w);
    }
    json_real(w, "fairness_gap", r->fairness_gap);
    if (r->epochs == 0)
        return; /* no network to compare with */
    json_key(w, "stability");
    json_object_begin(w);
    json_text(w, "against", text_of(full_ranking_arm_names[ARM_NETWORK]));
    json_real(w, "rbo.9@10", r->stability);
    json_real(w, "same_first", r->same_first);
    json_object_end(w);
}

enum status eval_report_json(const struct eval_result *result, const struct eval_options *options,
                             FILE *to, struct error *err)
{
    char *bytes = malloc(JSON_BYTES);
    enum status status = OK;
    struct json_writer w;

    if (bytes == NULL)
        return error_set(err, ERR_NOMEM, "no memory for a report");
    json_writer_init(&w, bytes, JSON_BYTES);
    json_object_begin(&w);
    json_key(&w, "rows");
    json_array_begin(&w);
    for (int i = 0; i < result->rows_count; i++)
        put_row(&w, &result->rows[i]);
    json_array_end(&w);
    put_data(&w, result, options);
    put_settings(&w, result, options);
    put_slices(&w, result);
    put_training(&w, result);
    json_object_end(&w);
    if (json_writer_ok(&w))
        (void)fprintf(to, "%.*s\n", TEXT_ARGS(json_writer_text(&w)));
    else
        status = error_set(err, ERR_LIMIT, "the report is longer than %zu bytes", JSON_BYTES);
    free(bytes);
    return status;
}

/* ---- table ---- */

/* Who does better without the network than the network without counts: then counts are what carries
 * the model, and somebody who expects a network to must read it. */
static void print_carriers(const struct eval_result *r, FILE *to)
{
    const struct eval_row *network = NULL, *best = NULL;

    for (int i = 0; i < r->rows_count; i++) {
        const struct eval_row *row = &r->rows[i];
        bool own = strncmp(row->name, "model", 5) == 0;

        if (row->name == full_ranking_arm_names[ARM_NETWORK])
            network = row;
        else if (!own && (best == NULL || row->ndcg[EVAL_CUT_MAIN] > best->ndcg[EVAL_CUT_MAIN]))
            best = row;
    }
    if (network == NULL || best == NULL ||
        network->ndcg[EVAL_CUT_MAIN] >= best->ndcg[EVAL_CUT_MAIN])
        return;
    (void)fprintf(
        to,
        "the network alone is below %s (%.4f against %.4f): here the counts it is weighed "
        "with carry the model\n",
        best->name, network->ndcg[EVAL_CUT_MAIN], best->ndcg[EVAL_CUT_MAIN]);
}

/* What the rows of the model are made of. */
static void print_members(const struct eval_result *r, FILE *to)
{
    const char *alone = alone_name(r);

    if (*alone != '\0')
        (void)fprintf(to,
                      "the model is one feature alone, %s: on validation it orders better than all "
                      "together by more than luck (NDCG@10 %.4f)\n",
                      alone, r->fusion_report.ndcg_contest);
    (void)fprintf(to,
                  "model: %scounts, as eval weighs them; model_ensemble: ftrl and two_tower, too, "
                  "which no server has\n",
                  r->epochs > 0 ? "the network and " : "");
}

static void print_probabilities(const struct eval_result *r, FILE *to)
{
    for (int i = 0; i < r->rows_count; i++)
        if (!isnan(r->rows[i].entropy))
            (void)fprintf(to,
                          "chances of the top 10 by the %s: NE %.4f, ECE %.4f, PCOC %.3f; by "
                          "propensity HR@10 %.4f, NDCG@10 %.4f\n",
                          r->rows[i].name, r->rows[i].entropy, r->rows[i].calibration_error,
                          r->rows[i].predicted_over_seen, r->rows[i].hit_rate_ips,
                          r->rows[i].ndcg_ips);
}

static void print_rows(const struct eval_result *r, FILE *to)
{
    (void)fprintf(to, "%-18s %7s %8s %8s %8s %7s %7s %9s   the model's gain in NDCG@10 (95 %%)\n",
                  "", "HR@10", "NDCG@10", "NDCG@20", "MRR", "AUC", "GAUC", "coverage");
    for (int i = 0; i < r->rows_count; i++) {
        const struct eval_row *row = &r->rows[i];

        (void)fprintf(to, "%-18s %7.4f %8.4f %8.4f %8.4f %7.4f %7.4f %9.3f", row->name,
                      row->hit_rate[EVAL_CUT_MAIN], row->ndcg[EVAL_CUT_MAIN],
                      row->ndcg[EVAL_CUT_MAIN + 1], row->reciprocal, row->auc, row->auc_users,
                      row->coverage);
        if (i > 0)
            (void)fprintf(to, "   %+.4f [%+.4f %+.4f]", row->ndcg_gain.difference,
                          row->ndcg_gain.low, row->ndcg_gain.high);
        else
            (void)fprintf(to, "   (itself within [%.4f %.4f])", row->ndcg_self.low,
                          row->ndcg_self.high);
        (void)fprintf(to, "\n");
    }
}

void eval_report_table(const struct eval_result *r, const struct eval_options *o, FILE *to)
{
    (void)fprintf(to,
                  "%lld interactions (%lld lines refused), %d users, %d items%s; %s: %lld targets, "
                  "%lld of them masked, %lld of items not in training; %lld users too short\n\n",
                  (long long)r->events, (long long)r->refused, (int)r->users, (int)r->items,
                  r->timed ? "" : ", no times", split_protocol_names[o->protocol],
                  (long long)r->targets, (long long)r->masked, (long long)r->unknown,
                  (long long)r->short_users);
    print_rows(r, to);
    print_members(r, to);
    print_carriers(r, to);
    print_probabilities(r, to);
    (void)fprintf(to, "\nNDCG@10 of the model, and of popularity_7d, by slice:\n");
    for (int s = 0; s < r->slices_count; s++)
        if (r->slices[s].targets > 0)
            (void)fprintf(to, "%-22s %8lld targets %8.4f %8.4f\n", r->slices[s].name,
                          (long long)r->slices[s].targets, r->slices[s].ndcg[ARM_MODEL],
                          r->slices[s].ndcg[ARM_POPULARITY_NOW]);
    if (r->among_new.items > 0)
        (void)fprintf(to,
                      "not in training, by model_cold: HR@10 %.4f, NDCG@10 %.4f among all items; "
                      "among the %d of their like (%d described) %.4f, %.4f; by chance HR %.4f\n"
                      "with the last of ten places for the best of them: HR@10 %.4f\n",
                      r->slices[EVAL_SLICE_NEW].hit_rate[ARM_MODEL_COLD],
                      r->slices[EVAL_SLICE_NEW].ndcg[ARM_MODEL_COLD], (int)r->among_new.items,
                      (int)r->among_new.described, r->among_new.hit_rate, r->among_new.ndcg,
                      r->among_new.chance, r->slices[EVAL_SLICE_NEW].hit_rate[ARM_MODEL_FLOOR]);
    (void)fprintf(to, "fairness gap: %.4f of NDCG@10 between users of long and short histories\n",
                  r->fairness_gap);
    if (r->epochs > 0)
        (void)fprintf(to, "lists of model and network: overlap (RBO) %.3f, same first item %.3f\n",
                      r->stability, r->same_first);
    if (r->fit.bf16 && r->products != NULL)
        (void)fprintf(to, "\ntraining: %s\n", r->products);
    if (r->epochs > 0)
        (void)fprintf(
            to,
            "\n%s, %s, seed %llu, %d threads: best of %d epochs is %d, validation NDCG@10 "
            "%.4f; trained %.1f s, validated %.1f s, ranked %.1f s\n",
            r->fit.preset, attention_name(r), (unsigned long long)r->fit.seed, r->fit.threads,
            r->epochs, r->best_epoch, r->curve[r->best_epoch - 1].ndcg, r->training_s,
            r->validating_s, r->ranking_s);
}

/* ---- plot ---- */

enum status eval_report_svg(const struct eval_result *r, const char *path, struct error *err)
{
    static double epochs[EVAL_EPOCHS_MAX], ndcg[EVAL_EPOCHS_MAX], loss[EVAL_EPOCHS_MAX];
    struct svg_line lines[2] = {{"validation NDCG@10", epochs, ndcg, r->epochs},
                                {"loss", epochs, loss, r->epochs}};
    struct svg_plot plots[2] = {{"Validation NDCG@10 of the network", "epoch", &lines[0], 1},
                                {"Training loss", "epoch", &lines[1], 1}};

    for (int i = 0; i < r->epochs; i++) {
        epochs[i] = i + 1;
        ndcg[i] = r->curve[i].ndcg;
        loss[i] = r->curve[i].loss;
    }
    return svg_write(path, "freshet eval: learning curve", plots, 2, err);
}
