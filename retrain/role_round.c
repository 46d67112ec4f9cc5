/* retrain/role_round.c - a round: train, judge, publish or refuse. */
#include "retrain/role_inside.h"

#include "ops/clock.h"
#include "ops/hash.h"
#include "ops/log.h"
#include "ops/metric.h"
#include "retrain/publish.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define TRAIN_PIECE_US 100000 /* between two looks at the topics */

static const char *const result_names[] = {"published", "refused", "failed"};
static const char *const cause_names[] = {"schedule", "volume", "drift"};

METRIC_COUNTER_OF(rounds_total, "freshet_retrain_rounds_total", "rounds by their outcome", "result",
                  result_names, RESULTS);
METRIC_COUNTER_OF(causes_total, "freshet_retrain_round_causes_total", "rounds by what began them",
                  "cause", cause_names, CAUSES);
METRIC_COUNTER(rows_expired, "freshet_retrain_rows_expired_total",
               "items that lost their weights, not seen for retrain.expire_after");
METRIC_COUNTER(steps_total, "freshet_retrain_steps_total", "optimiser steps");
METRIC_GAUGE(list_loss, "freshet_retrain_list_loss", "moving mean of the list loss in training");
METRIC_GAUGE(next_loss, "freshet_retrain_next_loss", "moving mean of the next-item loss");
METRIC_GAUGE_OF(held_out, "freshet_retrain_held_out_ndcg", "NDCG@10 of the last evaluation, by arm",
                "arm", evaluate_arm_names, EVALUATE_ARMS);
METRIC_GAUGE_OF(masked, "freshet_retrain_masked",
                "choices and lists since the start beyond what a user may weigh, that taught "
                "nothing, by retrain.user_choices_max (minute), .user_item_max, .user_day_max",
                "limit", robot_names + 1, ROBOT_COUNT - 1);
METRIC_GAUGE(round_seconds, "freshet_retrain_round_seconds", "duration of the last round");
METRIC_GAUGE(trained_behind, "freshet_retrain_trained_behind_seconds",
             "newest event less what the last round was trained up to: the window that judges");
METRIC_GAUGE(gate_passed, "freshet_retrain_gate_passed", "1 when the last gate passed");

void role_set_verdict(struct role *role, const char *report, const char *fmt, ...)
{
    va_list args;

    (void)pthread_mutex_lock(&role->verdict_lock);
    va_start(args, fmt);
    (void)vsnprintf(role->verdict, sizeof role->verdict, fmt, args);
    va_end(args);
    (void)snprintf(role->report, sizeof role->report, "%s", report);
    (void)pthread_mutex_unlock(&role->verdict_lock);
}

/* The gate wants so many that are judged: those that the window's begin leaves out, and a tenth
 * that may have come late, are asked for beyond that. */
static void split(const struct role *role, struct holdout_window *window)
{
    const struct role_settings *s = &role->settings;
    int least = s->holdout_min + s->holdout_min / 10 + HOLDOUT_EDGE;
    int most = s->holdout_max < least ? least : s->holdout_max;

    holdout_split(learner_holdout(role->learner), s->holdout_share, least, most,
                  learner_progress(role->learner)->trained_until_ms, window);
}

enum status role_begin_round(struct role *role, enum round_cause cause, struct error *err)
{
    struct round *round = &role->round;

    (void)err;
    *round = (struct round){.state = ROUND_TRAINING, .cause = cause};
    split(role, &round->window);
    round->steps_at = learner_progress(role->learner)->steps;
    round->begun_us = clock_monotonic_us();
    metric_add_of(&causes_total, (int)cause, 1);
    log_event(LOG_DEBUG, "round_begun", "trains", log_text("cause", cause_names[cause]));
    return OK;
}

/* ---- training ---- */

static enum status train(struct role *role, struct error *err)
{
    int64_t until_us = clock_monotonic_us() + TRAIN_PIECE_US;
    struct round *round = &role->round;
    enum status status = OK;
    bool worked = true;

    do {
        int64_t steps = learner_progress(role->learner)->steps - round->steps_at;

        if (steps >= role->settings.steps_max || !worked) {
            round->state = ROUND_JUDGING;
            break;
        }
        status = learner_step(role->learner, round->window.from_ms, &worked, err);
        if (status == ERR_REJECTED) {
            log_event(LOG_WARN, "step_rejected", err->text);
            status = OK;
        }
    } while (status == OK && clock_monotonic_us() < until_us);
    if (status == OK)
        status = learner_settle(role->learner, err);
    metric_set(&list_loss, learner_progress(role->learner)->list_loss);
    metric_set(&next_loss, learner_progress(role->learner)->next_loss);
    for (int limit = ROBOT_NONE + 1; limit < ROBOT_COUNT; limit++)
        metric_set_of(&masked, limit - 1,
                      (double)learner_progress(role->learner)->masked_by[limit]);
    return status;
}

/* ---- judging ---- */

struct model *role_round_challenger(const struct role *role)
{
    struct model *rounded = NULL;
    struct error err;

    if (role->settings.measure_bf16 &&
        model_copy_rounded(&rounded, learner_model(role->learner), &err) != OK)
        log_event(LOG_WARN, "bf16_not_measured", err.text);
    return rounded;
}

static enum status judge(struct role *role, struct evaluation *evaluation, struct error *err)
{
    struct evaluator_options options = {
        .holdout = learner_holdout(role->learner),
        .sequences = learner_sequences(role->learner),
        .rules = &role->dataset.rules,
        .challenger = learner_model(role->learner),
        .champion = role->champion,
        .pool = learner_recalled_lists(role->learner),
        .tables = learner_tables(role->learner),
        .recall_next = role->settings.recall_next,
        .seed = hash64_mix(role->settings.seed, (uint64_t)role->rounds),
    };
    struct evaluator *evaluator = NULL;
    struct model *rounded = NULL;
    enum status status = learner_ready(role->learner, err);
    bool done = false;
    int64_t until_ms = role->round.window.from_ms; /* while it trained, more came */

    split(role, &options.window);
    options.window.from_ms = until_ms;
    if (status == OK)
        options.rounded = rounded = role_round_challenger(role);
    if (status == OK)
        status = evaluator_create(&evaluator, &options, err);
    while (status == OK && !done)
        status = evaluator_walk(evaluator, role->settings.holdout_max, &done, err);
    if (status == OK)
        status = evaluator_result(evaluator, evaluation, err);
    evaluator_destroy(evaluator);
    model_destroy(rounded);
    for (int arm = 0; status == OK && arm < EVALUATE_ARMS; arm++)
        metric_set_of(&held_out, arm, evaluation->arms[arm].ndcg);
    return status;
}

static void scores_text(const struct evaluation *e, char *into, size_t bytes)
{
    int used = snprintf(into, bytes, "NDCG@%d %.3f", EVALUATE_K, e->arms[EVALUATE_CHALLENGER].ndcg);

    if (e->has_champion)
        used += snprintf(into + used, bytes - (size_t)used, " vs champion %.3f,",
                         e->arms[EVALUATE_CHAMPION].ndcg);
    (void)snprintf(into + used, bytes - (size_t)used, "%s covisitation %.3f, popularity %.3f",
                   e->has_champion ? "" : " vs", e->arms[EVALUATE_COVISITATION].ndcg,
                   e->arms[EVALUATE_POPULARITY].ndcg);
}

/* ---- publishing ---- */

static void fill_request(struct role *role, struct publish_request *request)
{
    *request = (struct publish_request){
        .root = role->settings.models,
        .tables = learner_tables(role->learner),
        .pool = learner_recalled_lists(role->learner),
        .item_seed = role->dataset.rules.seed,
        .seed = role->settings.seed,
        .created_at_ms = clock_wall_ms(),
        .trained_until_ms = item_tables_newest_ms(learner_tables(role->learner)),
        .topics_count = 2,
        .keep = role->settings.keep,
    };
    request->topics[0].name = follower_topic(role->events_topic);
    request->topics[0].offsets = follower_offsets(role->events_topic, &request->topics[0].count);
    request->topics[1].name = follower_topic(role->examples_topic);
    request->topics[1].offsets = follower_offsets(role->examples_topic, &request->topics[1].count);
    role_note_offsets(role);
}

static void published(struct role *role, const char *version, int64_t at_ms)
{
    (void)snprintf(role->version, sizeof role->version, "%s", version);
    role->published_at_ms = at_ms;
    role->delta_us = clock_monotonic_us();
}

enum status role_publish_tables(struct role *role, struct error *err)
{
    struct publish_request request;
    struct gate gate;
    char version[MODEL_VERSION_MAX];
    enum status status;

    fill_request(role, &request);
    gate_begin(&gate);
    status = publish_bundle(&request, &gate, version, err);
    if (status != OK)
        return status;
    published(role, version, request.created_at_ms);
    role_set_verdict(role, "", "published %s: item tables alone, no model yet", version);
    log_event(LOG_INFO, "published", "item tables alone, no model yet",
              log_text("version", version), log_int("items", item_tables_count(request.tables)));
    return OK;
}

static enum status crown(struct role *role, struct error *err)
{
    model_destroy(role->champion);
    role->champion = NULL;
    enum status status = model_copy(&role->champion, learner_model(role->learner), err);

    return status == OK ? role_watch(role, err) : status;
}

/* A disk may be full, or the pointer damaged: what serves goes on serving, and the next round tries
 * again. */
static void not_published(struct role *role, const struct gate *gate, const struct error *why)
{
    role_set_verdict(role, gate->report, "failed: the gate passed, but %s", why->text);
    log_event(LOG_ERROR, "publish_failed", why->text,
              log_text("remedy", "make room, set rights or roll back in model.folder; the next "
                                 "round tries again"));
}

/* Rows of items that nobody has seen for long go back, in the bundle that is published now. */
static enum status expire(struct role *role, struct error *err)
{
    int64_t newest_ms = item_tables_newest_ms(learner_tables(role->learner));
    int expired = 0;
    enum status status = learner_expire(role->learner, newest_ms - role->settings.expire_after_ms,
                                        &expired, err);

    metric_add(&rows_expired, (uint64_t)expired);
    return status;
}

static enum status settle(struct role *role, const struct evaluation *evaluation, struct gate *gate,
                          enum round_result *result, struct error *err)
{
    struct publish_request request;
    char version[MODEL_VERSION_MAX] = "", scores[160];
    enum status status = OK;

    scores_text(evaluation, scores, sizeof scores);
    if (gate->passed && role->settings.expire_after_ms > 0)
        status = expire(role, err);
    if (status != OK)
        return status;
    fill_request(role, &request);
    request.model = learner_model(role->learner);
    request.preset = role->settings.preset;
    request.evaluation = evaluation;
    if (gate->passed)
        status = publish_bundle(&request, gate, version, err);
    if (status != OK && status_action(status) != ACTION_STOP) {
        *result = RESULT_FAILED;
        not_published(role, gate, err);
        return OK;
    }
    if (status != OK)
        return status;
    metric_set(&gate_passed, gate->passed);
    if (!gate->passed) {
        *result = RESULT_REFUSED;
        role_set_verdict(role, gate->report, "refused: %s", gate->refusal);
        log_event(LOG_INFO, "refused", gate->refusal);
        return OK;
    }
    *result = RESULT_PUBLISHED;
    published(role, version, request.created_at_ms);
    role_set_verdict(role, gate->report, "published %s: %s", version, scores);
    log_event(LOG_INFO, "published", scores, log_text("version", version),
              log_text("cause", cause_names[role->round.cause]));
    return crown(role, err);
}

enum status role_go_on(struct role *role, bool *over, enum round_result *result, struct error *err)
{
    struct evaluation evaluation;
    struct gate gate;
    enum status status;

    *over = false;
    if (role->round.state == ROUND_TRAINING)
        return train(role, err);
    status = judge(role, &evaluation, err);
    if (status != OK)
        return status;
    gate_begin(&gate);
    gate_integrity(&gate, learner_model(role->learner));
    bool sound = gate.passed;
    gate_features(&gate, &evaluation, learner_shown_lists(role->learner));
    gate_quality(&gate, &evaluation, &role->settings.gate);
    gate_rounding(&gate, &evaluation);
    status = settle(role, &evaluation, &gate, result, err);
    if (status == OK && !sound) /* nothing good comes from going on with these */
        status = learner_reset_model(role->learner, role->champion, err);
    if (status != OK)
        return status;
    *over = true;
    role->round.state = ROUND_IDLE;
    role->rounds++;
    metric_add_of(&rounds_total, (int)*result, 1);
    metric_add(&steps_total,
               (uint64_t)(learner_progress(role->learner)->steps - role->round.steps_at));
    metric_set(&trained_behind, (double)(item_tables_newest_ms(learner_tables(role->learner)) -
                                         role->round.window.from_ms) /
                                    1000);
    metric_set(&round_seconds, (double)(clock_monotonic_us() - role->round.begun_us) / 1e6);
    return OK;
}
