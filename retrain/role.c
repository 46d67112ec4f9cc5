/* retrain/role.c - opening, the loop, closing. */
#include "retrain/role.h"

#include "kernels/backend.h"
#include "kernels/model_file.h"
#include "kernels/model_rows.h"
#include "ops/clock.h"
#include "ops/file.h"
#include "ops/http_server.h"
#include "ops/log.h"
#include "ops/metric.h"
#include "retrain/publish.h"
#include "retrain/role_inside.h"
#include "schemas/context.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define WAIT_MS        1000
#define POLL_MS        20
#define LOOK_US        60000000
#define SAVE_LOG_MS    60000
#define CONNECT_MS     5000
#define SCHEMA_WAIT_MS 1000
#define ARENA_BLOCK    65536
#define ARENA_LIMIT    (64u << 20)
#define PENDING_MAX    200000
#define IDLE_MS        10000
#define HOLDOUT_EVENTS 200000
#define HOLDOUT_SLACK  100 /* choices that may turn out to judge nothing */
#define FRESH_MAX      40000
#define PATH_BYTES     4096

METRIC_GAUGE(age_seconds, "freshet_retrain_model_age_seconds",
             "since the current bundle was published");
METRIC_GAUGE(
    drift_psi, "freshet_retrain_drift_psi",
    "PSI of where choices stand in the champion's order, against those under the champions "
    "before it; 0 until there is one");
METRIC_GAUGE(
    drift_loss, "freshet_retrain_drift_loss",
    "moving mean of the champion's list log-loss on new choices, over the log of the rows");
METRIC_GAUGE(drift_alarm, "freshet_retrain_drift_alarm", "1 after Page-Hinkley has called");
METRIC_GAUGE(items_known, "freshet_retrain_items", "items in the tables");
METRIC_GAUGE(users_known, "freshet_retrain_users", "users with a sequence or a shown list");
METRIC_GAUGE(pending_lists, "freshet_retrain_examples_pending",
             "shown lists that wait for their window");
METRIC_GAUGE(fresh_lists, "freshet_retrain_lists_fresh", "lists not trained on yet");
METRIC_COUNTER(deltas_total, "freshet_retrain_deltas_total", "items.delta files written");
METRIC_COUNTER(checkpoints_total, "freshet_retrain_checkpoints_total", "checkpoints written");
METRIC_COUNTER(failures_total, "freshet_retrain_write_failures_total",
               "bundles, deltas and checkpoints that could not be written");

const struct config_row retrain_config_rows[] = {
    {"retrain.admin", CONFIG_TEXT, "127.0.0.1:9095", 0, 0, NULL,
     "address and port of /livez, /readyz, /metrics and /gate"},
    {"retrain.folder", CONFIG_TEXT, "retrain", 0, 0, NULL,
     "folder of the trainer's own state, its checkpoint; one process at a time"},
    {"retrain.every", CONFIG_DURATION, "1h", 100, 30.0 * 86400000, NULL,
     "a round begins that long after the last one ended"},
    {"retrain.volume", CONFIG_INT, "200000", 0, 1e12, NULL,
     "a round begins when so many new lists have come; 0: never for that reason"},
    {"retrain.drift_every", CONFIG_DURATION, "1h", 100, 30.0 * 86400000, NULL,
     "drift begins a round at most that often"},
    {"retrain.items_refresh", CONFIG_DURATION, "10s", 100, 3600000, NULL,
     "how often counts, popularity and co-visitation go out to the scorers"},
    {"retrain.checkpoint_every", CONFIG_DURATION, "5m", 1000, 86400000, NULL,
     "how much is learnt again after a crash, at most"},
    {"retrain.objective", CONFIG_CHOICE, "list", 0, 0, "point|pair|list|mix",
     "what shown lists teach; list orders best, point is for calibrated chances"},
    {"retrain.steps_max", CONFIG_INT, "2000", 1, 1e9, NULL,
     "optimiser steps of a round at most; a round ends earlier when nothing new is left"},
    {"retrain.threads", CONFIG_INT, "1", 1, 64, NULL,
     "of a training step; the weights' last bits depend on it"},
    {"retrain.bf16", CONFIG_CHOICE, "off", 0, 0, "off|on",
     "a step's matrix products of numbers rounded to bf16, on a GPU of compute capability 8.0 or "
     "more: it reads half of the bytes and multiplies on tensor cores, and each number has 8 bits; "
     "nobody has measured on a GPU what it gains or costs (docs/operating.md). CPUs learn in f32"},
    {"retrain.nice", CONFIG_INT, "10", 0, 19, NULL,
     "how far it stands back for others on its machine (nice(1)): ingest and serve go first"},
    {"retrain.seed", CONFIG_INT, "1", 0, 9e15, NULL, "of weights, samples and negatives"},
    {"retrain.recalled_share", CONFIG_REAL, "1", 0, 1, NULL,
     "share of the events that lists are made from; less for very busy streams"},
    {"retrain.holdout_share", CONFIG_REAL, "0.1", 0.001, 0.5, NULL,
     "share of the newest choices that judges a challenger and is not trained on before"},
    {"retrain.holdout_min", CONFIG_INT, "300", 10, 1e6, NULL,
     "held-out choices below which a challenger is refused"},
    {"retrain.holdout_max", CONFIG_INT, "2000", 10, 1e6, NULL,
     "and at most so many are judged, or holdout_min if that is more"},
    {"retrain.champion_slack", CONFIG_REAL, "0.005", 0, 1, NULL,
     "share of the champion's NDCG that a challenger may lose at worst (95 %)"},
    {"retrain.measure_bf16", CONFIG_CHOICE, "auto", 0, 0, "auto|on|off",
     "rank a round's held-out choices once more, to tell what bf16 products change: without that "
     "`serve.bf16: auto` stays in f32. auto: unless serve.bf16 is off in this configuration"},
    {"retrain.user_choices_max", CONFIG_INT, "60", 0, SEQUENCE_MAX, NULL,
     "choices of one user in a minute; beyond it they are taken for a robot's and teach nothing; "
     "this and the next two: less than features.sequence_max, 0: no limit"},
    {"retrain.user_item_max", CONFIG_INT, "5", 0, SEQUENCE_MAX, NULL,
     "choices of one item by one user and one action in a day (UTC) that count and teach; more is "
     "no better known for it"},
    {"retrain.user_day_max", CONFIG_INT, "0", 0, SEQUENCE_MAX, NULL,
     "moments of choice of one user in a day (UTC) that count and teach; against robots that push "
     "many items, where people do not choose that much in one sitting"},
    {"retrain.users_max", CONFIG_INT, "2000000", 1, 4e9, NULL,
     "users whose sequences are kept for learning (about 2.5 KB each when long)"},
    {"retrain.admit_after", CONFIG_INT, "2", 1, 1000, NULL,
     "an item has weights of its own once it was chosen or shown so often"},
    {"retrain.expire_after", CONFIG_DURATION, "0s", 0, 3650.0 * 86400000, NULL,
     "an item not seen for so long loses its weights with the next bundle, and its row goes to a "
     "new item; 0s: never"},
    {"retrain.cold_items", CONFIG_INT, "0", 0, 1e7, NULL,
     "items of the items topic that have weights before anybody chose them, the mean of the items "
     "most like them by category and text, such as 100000; 0: none, and with model.text 0 retrain "
     "does not read that topic"},
    {"retrain.keep", CONFIG_INT, "10", 2, 1000, NULL, "bundles kept for a rollback"},
    {.key = NULL},
};

/* ---- opening ---- */

/* One file usually configures all roles, so what serve is told here says whether anybody will look
 * at it. Where serve has a file of its own, retrain.measure_bf16 says so. */
static bool measures_bf16(const struct config *config)
{
    const char *said = config_text(config, "retrain.measure_bf16");

    if (strcmp(said, "auto") == 0)
        return strcmp(config_text(config, "serve.bf16"), "off") != 0;
    return strcmp(said, "on") == 0;
}

static void read_settings(struct role *role)
{
    const struct config *c = role->config;

    role->settings = (struct role_settings){
        .models = config_text(c, "model.folder"),
        .folder = config_text(c, "retrain.folder"),
        .preset = config_text(c, "model.preset"),
        .every_ms = config_duration_ms(c, "retrain.every"),
        .items_refresh_ms = config_duration_ms(c, "retrain.items_refresh"),
        .checkpoint_every_ms = config_duration_ms(c, "retrain.checkpoint_every"),
        .drift_every_ms = config_duration_ms(c, "retrain.drift_every"),
        .volume = config_int(c, "retrain.volume"),
        .steps_max = config_int(c, "retrain.steps_max"),
        .holdout_share = config_real(c, "retrain.holdout_share"),
        .holdout_min = (int)config_int(c, "retrain.holdout_min"),
        .holdout_max = (int)config_int(c, "retrain.holdout_max"),
        .expire_after_ms = config_duration_ms(c, "retrain.expire_after"),
        .keep = (int)config_int(c, "retrain.keep"),
        .measure_bf16 = measures_bf16(c),
        .recall_next = (int)config_int(c, "serve.recall_next"),
        .seed = (uint64_t)config_int(c, "retrain.seed"),
        .gate = {.events_min = config_int(c, "retrain.holdout_min"),
                 .champion_slack = config_real(c, "retrain.champion_slack")},
    };
}

static enum status create_parts(struct role *role, struct error *err)
{
    struct examples_options waiting = {
        .rules = &role->dataset.rules, .pending_max = PENDING_MAX, .idle_ms = IDLE_MS};
    struct learner_options options;
    struct context_names names;
    enum status status;

    status = context_names_parse(&names, config_text(role->config, "model.contexts"), err);
    if (status != OK)
        return status;
    learner_options_init(&options);
    options.rules = &role->dataset.rules;
    options.preset = role->settings.preset;
    options.switches = model_rows_switches(role->config);
    options.objective = config_text(role->config, "retrain.objective");
    options.seed = role->settings.seed;
    options.threads = (int)config_int(role->config, "retrain.threads");
    options.bf16 = strcmp(config_text(role->config, "retrain.bf16"), "on") == 0;
    options.users_max = config_int(role->config, "retrain.users_max");
    options.items.admit_after = (int)config_int(role->config, "retrain.admit_after");
    options.cold_items = (int)config_int(role->config, "retrain.cold_items");
    options.robots = robot_limits_of(role->config);
    options.recall_next = role->settings.recall_next;
    options.recalled_share = config_real(role->config, "retrain.recalled_share");
    options.shown_gap_ms = role->dataset.rules.join_window_ms;
    options.holdout_max = HOLDOUT_EVENTS;
    options.holdout_judges = 2 * (role->settings.holdout_min + role->settings.holdout_min / 10 +
                                  HOLDOUT_SLACK);
    options.shown.fresh_max = options.recalled.fresh_max = FRESH_MAX;
    learner_destroy(role->learner);
    examples_destroy(role->examples);
    role->examples = NULL;
    status = learner_create(&role->learner, &options, err);
    if (status == OK)
        status = examples_create(&role->examples, &waiting, err);
    return status;
}

/* The champion is what is published, whoever published it. */
static enum status load_champion(struct role *role, struct manifest *manifest, struct error *err)
{
    char path[PATH_BYTES];
    enum status status = bundle_current(role->settings.models, role->version, err);

    if (status == ERR_NOT_FOUND) {
        role->version[0] = 0;
        return OK;
    }
    if (status == OK)
        status = bundle_verify(role->settings.models, role->version, manifest, err);
    if (status != OK)
        return status;
    role->published_at_ms = manifest->created_at_ms;
    if (!model_file_present(manifest))
        return OK;
    (void)snprintf(path, sizeof path, "%s/%s/%s", role->settings.models, role->version,
                   MODEL_FILE_NAME);
    return model_file_load(&role->champion, path, manifest, err);
}

/* No checkpoint, but a bundle: its tables know which records they were made of. */
static enum status adopt_bundle(struct role *role, struct checkpoint_role *from, struct error *err)
{
    const struct item_file_offset *offsets;
    struct item_tables *tables;
    char path[PATH_BYTES];
    int count;
    enum status status;

    (void)snprintf(path, sizeof path, "%s/%s/%s", role->settings.models, role->version,
                   BUNDLE_ITEMS_NAME);
    status = item_tables_load(&tables, path, err);
    if (status != OK)
        return status;
    offsets = item_tables_offsets(tables, &count);
    for (int i = 0; i < count && i < FOLLOWER_PARTITIONS_MAX; i++)
        from->events.offsets[from->events.count++] = (struct follower_offset){
            offsets[i].partition, offsets[i].next, offsets[i].next};
    status = learner_adopt(role->learner, tables, err);
    if (status != OK) {
        item_tables_destroy(tables);
        return status;
    }
    log_event(LOG_WARN, "no_checkpoint",
              "goes on from the published bundle: histories begin anew where it ends",
              log_text("version", role->version));
    return role->champion == NULL ? OK : learner_reset_model(role->learner, role->champion, err);
}

/* Deltas count on from the one that is there, over restarts, rollbacks and new bundles: a
 * model_version, <bundle>+<number>, must not name two states of the tables. */
static void find_delta(struct role *role)
{
    char path[PATH_BYTES];
    struct error none;

    (void)snprintf(path, sizeof path, "%s/%s", role->settings.models, BUNDLE_DELTA_NAME);
    if (item_tables_delta_sequence(path, &role->delta_sequence, &none) != OK)
        role->delta_sequence = 0;
}

static enum status load_past(struct role *role, struct checkpoint_role *from, struct error *err)
{
    enum status status = checkpoint_load(role->settings.folder, from, role->learner, role->examples,
                                         err);

    if (status == OK) {
        role->rounds = from->rounds;
        role->unsaved = false;
        for (int i = 0; i < from->events.count; i++)
            role->watermarks_ms[from->events.offsets[i].partition] = from->events.watermarks_ms[i];
        log_event(LOG_INFO, "checkpoint_loaded", "goes on where it stopped",
                  log_int("rounds", from->rounds));
        return OK;
    }
    if (status == ERR_NOMEM)
        return status;
    if (status != ERR_NOT_FOUND) {
        /* A damaged checkpoint costs time, not truth: everything can be read again. */
        log_event(LOG_WARN, "checkpoint_refused", err->text,
                  log_text("remedy", "none needed: it learns anew from the published bundle and "
                                     "what the topics hold; to keep what it knew, stop it now and "
                                     "restore retrain.folder from a copy"));
        *from = (struct checkpoint_role){0};
        status = create_parts(role, err);
        if (status != OK)
            return status;
    }
    return role->version[0] == 0 ? OK : adopt_bundle(role, from, err);
}

static enum status wait_for_dataset(struct role *role, struct error *err)
{
    struct pollfd stop = {.fd = command_stop_descriptor(), .events = POLLIN};
    struct redis_connection *connection = NULL;
    struct redis_keys keys;
    struct log_limit limit = {0};

    while (!command_stopping()) {
        enum status status = redis_dataset_connect(&role->dataset, &connection, &keys, role->config,
                                                   CONNECT_MS, err);

        redis_connection_destroy(connection);
        connection = NULL;
        if (status == OK || (status != ERR_NOT_FOUND && status_action(status) != ACTION_RETRY))
            return status;
        admin_set_ready(role->admin, false, err->text);
        if (log_every(&limit, 30000))
            log_event(LOG_WARN, "waiting_for_dataset", err->text,
                      log_text("remedy", "`freshet ingest` makes the data set's record"));
        (void)poll(&stop, 1, WAIT_MS);
    }
    return error_set(err, ERR_CANCELLED, "stopped before there was a data set");
}

static enum status wait_for_topic(struct role *role, const char *key,
                                  const struct checkpoint_offsets *from, struct follower **topic,
                                  struct error *err)
{
    struct pollfd stop = {.fd = command_stop_descriptor(), .events = POLLIN};
    struct log_limit limit = {0};

    while (!command_stopping()) {
        enum status status = follower_open(topic, role->config, key, from->offsets, from->count,
                                           err);

        if (status == OK || (status != ERR_NOT_FOUND && status_action(status) != ACTION_RETRY))
            return status;
        admin_set_ready(role->admin, false, err->text);
        if (log_every(&limit, 30000))
            log_event(LOG_WARN, "waiting_for_topic", err->text, log_text("topic", key));
        (void)poll(&stop, 1, WAIT_MS);
    }
    return error_set(err, ERR_CANCELLED, "stopped before the topics were there");
}

static void handle_gate(struct http_request *request, void *context)
{
    struct role *role = context;
    char text[ROLE_VERDICT_BYTES + GATE_REPORT_BYTES + 2];

    (void)pthread_mutex_lock(&role->verdict_lock);
    (void)snprintf(text, sizeof text, "%s\n%s%s", role->verdict, role->report,
                   role->report[0] != 0 ? "\n" : "");
    (void)pthread_mutex_unlock(&role->verdict_lock);
    http_answer(request, 200, "text/plain; charset=utf-8", text_of(text), NULL);
}

static const struct http_route admin_routes[] = {{"GET", "/gate", handle_gate}, {0}};

/* Does the bundle count events that the checkpoint has still to read? */
static bool is_ahead(const struct role *role, const struct manifest *manifest,
                     const struct checkpoint_offsets *events)
{
    const char *topic = config_text(role->config, "kafka.topics.events");

    for (int i = 0; i < manifest->offsets_count; i++) {
        const struct manifest_offset *counted = &manifest->offsets[i];
        int64_t next = counted->from;

        if (strncmp(counted->topic, topic, sizeof counted->topic - 1) != 0)
            continue;
        for (int p = 0; p < events->count; p++)
            if (events->offsets[p].partition == counted->partition)
                next = events->offsets[p].next;
        if (counted->to > next)
            return true;
    }
    return false;
}

/* Killed between a publication and the next checkpoint, it goes on from before that bundle. After a
 * rollback, or a publication that failed, the checkpoint is the newer one, and the bundle's rows
 * may be of items that have expired since. */
static enum status follow_bundle(struct role *role, const struct manifest *manifest,
                                 const struct checkpoint_offsets *events, struct error *err)
{
    struct item_tables *ahead;
    char path[PATH_BYTES];
    bool same_past;
    enum status status;

    if (role->version[0] == 0 || !is_ahead(role, manifest, events))
        return OK;
    (void)snprintf(path, sizeof path, "%s/%s/%s", role->settings.models, role->version,
                   BUNDLE_ITEMS_NAME);
    status = item_tables_load(&ahead, path, err);
    if (status != OK)
        return status;
    status = learner_follow(role->learner, ahead, &same_past, err);
    item_tables_destroy(ahead);
    if (status == OK && !same_past)
        log_event(
            LOG_WARN, "other_past",
            "the published bundle's items are not those of the checkpoint: counts go out with "
            "the next bundle",
            log_text("version", role->version));
    return status;
}

static enum status open_state(struct role *role, struct checkpoint_role *from, struct error *err)
{
    static struct manifest manifest;
    enum status status = file_make_folders(role->settings.folder, err);

    if (status == OK)
        status = file_lock_folder(role->settings.folder, &role->lock, err);
    if (status == OK)
        status = create_parts(role, err);
    if (status == OK)
        status = load_champion(role, &manifest, err);
    if (status == OK)
        status = load_past(role, from, err);
    if (status == OK)
        status = follow_bundle(role, &manifest, &from->events, err);
    return status == OK ? role_watch(role, err) : status;
}

/* Training takes all it can get of a core; nobody waits for it. */
static void stand_back(const struct role *role)
{
    if (setpriority(PRIO_PROCESS, 0, (int)config_int(role->config, "retrain.nice")) != 0)
        log_event(LOG_DEBUG, "not_nice", strerror(errno));
}

enum status role_open(struct role **opened, const struct config *config, struct error *err)
{
    struct role *role = calloc(1, sizeof *role);
    struct checkpoint_role *from = calloc(1, sizeof *from);
    const struct backend *backend;
    enum status status = OK;

    *opened = NULL;
    if (role == NULL || from == NULL) {
        free(role);
        free(from);
        return error_set(err, ERR_NOMEM, "no memory for the trainer");
    }
    role->config = config;
    role->lock = -1;
    role->unsaved = true;
    (void)pthread_mutex_init(&role->verdict_lock, NULL);
    for (int i = 0; i < FOLLOWER_PARTITIONS_MAX; i++)
        role->watermarks_ms[i] = INT64_MIN;
    role->arena = arena_create(ARENA_BLOCK, ARENA_LIMIT);
    read_settings(role);
    find_delta(role);
    stand_back(role);
    role_set_verdict(role, "", "no round has ended yet");
    *opened = role; /* closed by the caller whatever comes: the admin port shows why */
    status = admin_open(&role->admin, "retrain", config_text(config, "retrain.admin"), admin_routes,
                        role, err);
    if (status == OK)
        admin_set_ready(role->admin, false, "starting");
    if (status == OK)
        status = backend_choose(&backend, err);
    if (status == OK)
        admin_set_device(role->admin, backend->name);
    if (status == OK)
        status = event_schema_create(&role->schema, config, err);
    if (status == OK)
        status = event_decoder_create(&role->decoder, role->schema, err);
    if (status == OK) /* this thread has nothing else to do without it */
        event_decoder_insist(role->decoder, SCHEMA_WAIT_MS);
    if (status == OK)
        status = wait_for_dataset(role, err);
    if (status == OK)
        status = open_state(role, from, err);
    if (status == OK)
        status = wait_for_topic(role, "kafka.topics.events", &from->events, &role->events_topic,
                                err);
    if (status == OK)
        status = wait_for_topic(role, "kafka.topics.examples", &from->examples,
                                &role->examples_topic, err);
    role->heard_us = clock_monotonic_us();
    behind_init(&role->behind, role->heard_us);
    if (status == OK)
        status = item_decoder_create(&role->item_decoder, err);
    if (status == OK)
        role_look_for_items(role);
    free(from);
    return status;
}

void role_close(struct role *role)
{
    if (role == NULL)
        return;
    admin_close(role->admin);
    follower_close(role->events_topic);
    follower_close(role->examples_topic);
    follower_close(role->items_topic);
    item_decoder_destroy(role->item_decoder);
    model_destroy(role->champion);
    batch_builder_destroy(role->watch_builder);
    model_workspace_destroy(role->workspace);
    learner_destroy(role->learner);
    examples_destroy(role->examples);
    redis_dataset_clear(&role->dataset);
    event_decoder_destroy(role->decoder);
    event_schema_destroy(role->schema);
    arena_destroy(role->arena);
    if (role->lock >= 0)
        (void)close(role->lock);
    (void)pthread_mutex_destroy(&role->verdict_lock);
    free(role);
}

int role_admin_port(const struct role *role)
{
    return admin_port(role->admin);
}

const char *role_verdict(const struct role *role)
{
    return role->verdict;
}

/* ---- the loop ---- */

void role_note_offsets(struct role *role)
{
    struct item_file_offset offsets[FOLLOWER_PARTITIONS_MAX];
    int count;
    const struct follower_offset *from = follower_offsets(role->events_topic, &count);

    for (int i = 0; i < count; i++)
        offsets[i] = (struct item_file_offset){from[i].partition, from[i].next};
    item_tables_set_offsets(learner_tables(role->learner), offsets, count);
}

static enum status save_checkpoint(struct role *role, struct error *err)
{
    struct checkpoint_role *to = calloc(1, sizeof *to);
    const struct follower_offset *from;
    enum status status;

    if (to == NULL)
        return error_set(err, ERR_NOMEM, "no memory for a checkpoint");
    from = follower_offsets(role->events_topic, &to->events.count);
    memcpy(to->events.offsets, from, (size_t)to->events.count * sizeof *from);
    for (int i = 0; i < to->events.count; i++)
        to->events.watermarks_ms[i] = role->watermarks_ms[from[i].partition];
    from = follower_offsets(role->examples_topic, &to->examples.count);
    memcpy(to->examples.offsets, from, (size_t)to->examples.count * sizeof *from);
    to->rounds = role->rounds;
    role_note_offsets(role);
    status = checkpoint_save(role->settings.folder, to, role->learner, role->examples, err);
    free(to);
    if (status == OK)
        metric_add(&checkpoints_total, 1);
    return status;
}

static void show(struct role *role)
{
    metric_set(&age_seconds, role->version[0] == 0
                                 ? 0
                                 : (double)(clock_wall_ms() - role->published_at_ms) / 1000);
    metric_set(&drift_psi, role->drift.psi);
    metric_set(&drift_loss, role->drift.recent_loss);
    metric_set(&drift_alarm, role->drift.alarm);
    metric_set(&items_known, item_tables_count(learner_tables(role->learner)));
    metric_set(&users_known, (double)sequences_users(learner_sequences(role->learner)));
    metric_set(&pending_lists, examples_pending(role->examples));
    metric_set(&fresh_lists, lists_fresh(learner_shown_lists(role->learner)) +
                                 lists_fresh(learner_recalled_lists(role->learner)));
}

/* What can fail for lack of disk and be tried again later is logged, not fatal. */
static void forgive(enum status status, const struct error *err, const char *event)
{
    if (status == OK)
        return;
    metric_add(&failures_total, 1);
    log_event(LOG_ERROR, event, err->text);
}

/* Of nothing there is nothing to keep. */
static bool save_is_due(const struct role *role)
{
    int64_t waited_us = clock_monotonic_us() - role->checkpoint_us;

    if (waited_us >= role->settings.checkpoint_every_ms * 1000)
        return true;
    if (role->save_failed)
        return waited_us >= SAVE_AGAIN_US;
    return role->unsaved && role_caught_up(role) &&
           item_tables_count(learner_tables(role->learner)) > 0;
}

void role_save_when_due(struct role *role)
{
    struct error err;
    enum status status;

    if (!save_is_due(role))
        return;
    status = save_checkpoint(role, &err);
    role->checkpoint_us = clock_monotonic_us();
    role->save_failed = status != OK;
    if (status == OK) {
        role->unsaved = false;
        return;
    }
    metric_add(&failures_total, 1);
    if (log_every(&role->save_limit, SAVE_LOG_MS))
        log_event(LOG_ERROR, "checkpoint_failed", err.text);
}

static bool refresh_is_due(const struct role *role)
{
    return role->delta_us == 0 ||
           clock_monotonic_us() - role->delta_us >= role->settings.items_refresh_ms * 1000;
}

/* Someone went back to another bundle (`freshet model rollback`): that one is the champion, and
 * deltas are for it. They hold whole rows of what changed, which fit any bundle of this data set.
 */
static void follow_rollback(struct role *role)
{
    static struct manifest manifest;
    char before[MODEL_VERSION_MAX], now[MODEL_VERSION_MAX];
    struct model *champion = role->champion;
    struct error err;
    enum status status = bundle_current(role->settings.models, now, &err);

    if (status == OK && strcmp(now, role->version) == 0)
        return;
    (void)snprintf(before, sizeof before, "%s", role->version);
    role->champion = NULL;
    if (status == OK)
        status = load_champion(role, &manifest, &err);
    if (status != OK) { /* nobody can serve it either */
        (void)snprintf(role->version, sizeof role->version, "%s", before);
        role->champion = champion;
        forgive(status, &err, "current_unusable");
        return;
    }
    model_destroy(champion);
    item_tables_forget_mark(learner_tables(role->learner));
    log_event(LOG_WARN, "rolled_back", "another bundle is current now: it is the champion",
              log_text("from", before), log_text("to", role->version));
    forgive(role_watch(role, &err), &err, "watch_failed");
}

static void do_chores(struct role *role)
{
    int64_t now_us = clock_monotonic_us();
    struct error err;

    if (role->version[0] != 0 && refresh_is_due(role)) {
        role->delta_us = now_us;
        follow_rollback(role);
        role_note_offsets(role);
        enum status status = publish_delta(role->settings.models, learner_tables(role->learner),
                                           role->version, ++role->delta_sequence, &err);
        forgive(status, &err, "delta_failed");
        if (status == OK)
            metric_add(&deltas_total, 1);
    }
    if (now_us - role->look_us >= LOOK_US) {
        role->look_us = now_us;
        forgive(follower_look(role->events_topic, &err), &err, "look_failed");
        forgive(follower_look(role->examples_topic, &err), &err, "look_failed");
        role_look_for_items(role);
    }
    show(role);
}

static bool is_due(const struct role *role, enum round_cause *cause)
{
    const struct role_settings *s = &role->settings;
    int64_t idle_ms = (clock_monotonic_us() - role->round_ended_us) / 1000;
    int64_t lists = learner_progress(role->learner)->recalled +
                    examples_counts(role->examples)->ripe - role->lists_at;

    *cause = CAUSE_SCHEDULE;
    if (idle_ms >= s->every_ms || role->rounds == 0 || role->once)
        return true;
    *cause = CAUSE_VOLUME;
    if (s->volume > 0 && lists >= s->volume)
        return true;
    *cause = CAUSE_DRIFT;
    return role->drift.alarm && idle_ms >= s->drift_every_ms;
}

static enum status turn(struct role *role, bool *over, enum round_result *result, struct error *err)
{
    enum round_cause cause;
    enum status status;
    int count;

    status = role_follow(role, role->round.state == ROUND_IDLE ? POLL_MS : 0, &count, err);
    if (status != OK)
        return status;
    *over = false;
    role_save_when_due(role);
    if (role->version[0] == 0 && role_caught_up(role) &&
        item_tables_count(learner_tables(role->learner)) > 0 && refresh_is_due(role)) {
        role->delta_us = clock_monotonic_us();
        status = role_publish_tables(role, err);
        if (!role->once && status_action(status) == ACTION_RETRY) {
            forgive(status, err, "publish_failed");
            status = OK;
        }
    }
    role_tell_behind(role);
    do_chores(role);
    if (status == OK && role->round.state != ROUND_IDLE)
        return role_go_on(role, over, result, err);
    if (status == OK && role->version[0] != 0 && role_caught_up(role) && !role_lacks_lists(role) &&
        is_due(role, &cause)) {
        role->lists_at = learner_progress(role->learner)->recalled +
                         examples_counts(role->examples)->ripe;
        status = role_begin_round(role, cause, err);
    }
    return status;
}

/* All was read, and there is not even an item: no round will ever begin. */
static bool nothing_there(const struct role *role)
{
    return role->version[0] == 0 && role_caught_up(role) &&
           item_tables_count(learner_tables(role->learner)) == 0;
}

enum status role_run(struct role *role, bool once, bool *published, struct error *err)
{
    enum round_result result;
    enum status status = OK;
    bool over = false;

    *published = false;
    role->once = once;
    role->read_us = 0;
    role->checkpoint_us = role->look_us = role->round_ended_us = clock_monotonic_us();
    while (status == OK && !command_stopping()) {
        status = turn(role, &over, &result, err);
        if (status == OK && once && nothing_there(role)) {
            role_set_verdict(role, "", "refused: there is no choice in topic \"%s\" to learn from",
                             follower_topic(role->events_topic));
            break;
        }
        if (status != OK || !over)
            continue;
        role->round_ended_us = clock_monotonic_us();
        *published = result == RESULT_PUBLISHED;
        if (once)
            break;
    }
    return status == OK ? save_checkpoint(role, err) : status;
}
