/* retrain/role_intake.c - records of both topics, to the learner. */
#include "retrain/role_inside.h"

#include "ops/clock.h"
#include "ops/defence.h"
#include "ops/log.h"
#include "ops/metric.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define SCHEMA_LOG_MS 30000
#define ITEMS_LOG_MS  600000
#define ITEMS_WAIT_US 60000000
#define LISTS_WAIT_US 30000000 /* three times what a partition may be silent */
#define WATCHED_MAX   32       /* choices scored a turn: more would hold up reading */

METRIC_GAUGE(lag_records, "freshet_retrain_lag_records", "records of both topics not read yet");
METRIC_GAUGE(behind_for, "freshet_retrain_behind_seconds",
             "for how long records have waited to be read, or no broker answered, where that is "
             "more than 10 s; 0: neither");
METRIC_COUNTER(events_total, "freshet_retrain_events_total", "records of events read");
METRIC_COUNTER(entered_total, "freshet_retrain_events_entered_total",
               "events that were new and entered a sequence");
METRIC_COUNTER_OF(refused_total, "freshet_retrain_refused_total",
                  "records of events that are no event", "reason", refusal_names, REFUSAL_COUNT);
METRIC_COUNTER(dropped_total, "freshet_retrain_dropped_total",
               "events older than the watermark by more than features.late_max");
METRIC_COUNTER(examples_total, "freshet_retrain_examples_total", "records of examples read");
METRIC_COUNTER(items_total, "freshet_retrain_items_records_total", "records of items read");
METRIC_COUNTER(items_bad_total, "freshet_retrain_items_bad_total",
               "records of items that are no item");
METRIC_COUNTER(examples_bad_total, "freshet_retrain_examples_bad_total",
               "records of examples that could not be decoded");

/* The same rule as ingest's (features/rules.h): an event too far behind its partition's watermark
 * counts nowhere, but for an erasure, which is never too late. */
static bool too_late(struct role *role, const struct event *event,
                     const struct kafka_record *record)
{
    int64_t *watermark = &role->watermarks_ms[record->partition];
    int64_t before = *watermark;

    *watermark = rules_watermark(before, event->time_ms, record->timestamp_ms,
                                 role->dataset.max_future_skew_ms);
    return !(DEFENCE(LATE_ERASURE) && event->kind == EVENT_ERASE) && !record->replayed &&
           before != INT64_MIN && event->time_ms < before - role->dataset.rules.late_max_ms;
}

/* An impression without trace: its counts are noted now, before anyone can click. */
static enum status note(struct role *role, const struct event *event, struct error *err)
{
    uint64_t rows[EVENT_ROWS_MAX];
    int64_t *raw;
    uint64_t user = rules_user_hash(&role->dataset.rules, event->user);
    enum status status;

    arena_reset(role->arena);
    raw = arena_alloc(role->arena, (size_t)event->rows_count * RAW_COLUMNS * sizeof *raw);
    if (raw == NULL)
        return error_set(err, ERR_NOMEM, "no memory for counts of an impression");
    for (int i = 0; i < event->rows_count; i++)
        rows[i] = rules_item_hash(&role->dataset.rules, event->rows[i]);
    status = learner_raw(role->learner, user, event->time_ms, rows, event->rows_count, raw, err);
    if (status == OK)
        examples_note(role->examples, user, event->time_ms, rows, event->rows_count, raw);
    return status;
}

static enum status handle_event(void *context, const struct kafka_record *record, struct error *err)
{
    struct role *role = context;
    struct event event;
    struct error why_not;
    enum refusal why;
    enum status status = event_decode_record(role->decoder, record->key, record->value,
                                             record->timestamp_ms, &event, &why, &why_not);
    bool entered = false;

    role->schema_missing = status == ERR_UNAVAILABLE;
    if (status != OK && why == REFUSAL_NONE) /* it says nothing of the record, which comes again */
        return error_set(err, status, "%s", why_not.text);
    metric_add(&events_total, 1);
    if (status != OK) {
        metric_add_of(&refused_total, (int)why, 1);
        return OK;
    }
    if (too_late(role, &event, record)) {
        metric_add(&dropped_total, 1);
        return OK;
    }
    if (event.kind == EVENT_IMPRESSION && event.trace.bytes == 0)
        status = note(role, &event, err);
    if (event.kind == EVENT_ERASE)
        examples_erase(role->examples, rules_user_hash(&role->dataset.rules, event.user),
                       event.time_ms);
    if (status == OK)
        status = learner_event(role->learner, &event, &entered, err);
    if (entered)
        metric_add(&entered_total, 1);
    return status;
}

static enum status handle_example(void *context, const struct kafka_record *record,
                                  struct error *err)
{
    struct role *role = context;
    struct example example;
    struct error why_not;
    enum status status;

    metric_add(&examples_total, 1);
    arena_reset(role->arena);
    status = example_decode(&example, (const uint8_t *)record->value.at, record->value.bytes,
                            role->arena, &why_not);
    if (status != OK) {
        metric_add(&examples_bad_total, 1);
        return OK;
    }
    return examples_add(role->examples, &example, learner_shown_lists(role->learner),
                        clock_monotonic_us(), err);
}

/* ---- items: what the catalogue says ---- */

static enum status handle_item(void *context, const struct kafka_record *record, struct error *err)
{
    struct role *role = context;
    struct item item;
    struct error why_not;

    metric_add(&items_total, 1);
    if (item_decode(role->item_decoder, record->key, record->value, &item, &why_not) == OK)
        return learner_item(role->learner, &item, err);
    metric_add(&items_bad_total, 1);
    return OK;
}

void role_look_for_items(struct role *role)
{
    bool wanted = config_int(role->config, "retrain.cold_items") > 0 ||
                  strcmp(config_text(role->config, "model.text"), "0") != 0;
    struct error err;
    enum status status = OK;

    if (!wanted)
        return;
    if (role->items_topic == NULL)
        status = follower_open(&role->items_topic, role->config, "kafka.topics.items", NULL, 0,
                               &err);
    else
        status = follower_look(role->items_topic, &err);
    if (status != OK && status != ERR_NOT_FOUND && log_every(&role->items_limit, ITEMS_LOG_MS))
        log_event(LOG_WARN, "items_unread", err.text,
                  log_text("remedy", "none needed: new items begin unknown until it can be read"));
}

/* A log that was replaced is read again from its begin; what else goes wrong with a topic that is
 * not needed ends nothing: it is opened anew at the next look. */
static enum status follow_items(struct role *role, struct error *err)
{
    int count;
    enum status status = follower_poll(role->items_topic, 0, handle_item, role, &count, err);

    if (status == OK || status == ERR_NOMEM)
        return status;
    if (log_every(&role->items_limit, ITEMS_LOG_MS))
        log_event(LOG_WARN, "items_unread", err->text,
                  log_text("remedy", "none needed: it will be read from its begin"));
    follower_close(role->items_topic);
    role->items_topic = NULL;
    return OK;
}

/* ---- drift: what the champion makes of each new choice ---- */

static void weigh(struct role *role, const struct list *list, const float *scores)
{
    double above = 0, sum = 0, largest = (double)scores[0];

    for (int i = 1; i < list->rows_count; i++) {
        above += scores[i] > scores[0] ? 1 : scores[i] == scores[0] ? .5 : 0;
        largest = fmax(largest, (double)scores[i]);
    }
    for (int i = 0; i < list->rows_count; i++)
        sum += exp((double)scores[i] - largest);
    /* Over the log of the rows: short lists are easier. */
    drift_add(&role->drift, above / (list->rows_count - 1),
              (log(sum) + largest - (double)scores[0]) / log((double)list->rows_count));
}

static void watch(void *context, const struct list *list)
{
    struct role *role = context;
    float scores[LIST_ROWS_MAX];
    struct error ignored;
    struct batch_request request = list_request(list);

    if (role->champion == NULL || role->watch_builder == NULL || role->watched >= WATCHED_MAX)
        return;
    role->watched++;
    batch_builder_reset(role->watch_builder);
    if (batch_builder_add(role->watch_builder, learner_tables(role->learner), &request, &ignored) ==
            OK &&
        model_score(role->champion, role->workspace, batch_builder_batch(role->watch_builder),
                    scores, &ignored) == OK)
        weigh(role, list, scores);
}

enum status role_watch(struct role *role, struct error *err)
{
    struct batch_builder_options options;

    drift_begin(&role->drift);
    batch_builder_destroy(role->watch_builder);
    role->watch_builder = NULL;
    if (role->champion == NULL)
        return OK;
    if (role->workspace == NULL)
        role->workspace = model_workspace_create();
    learner_watch(role->learner, watch, role);
    options = (struct batch_builder_options){.history_max = model_history_max(role->champion),
                                             .rows_max = model_config(role->champion)->V};
    return batch_builder_create(&role->watch_builder, &options, err);
}

static void take_shown(void *context, struct list *list)
{
    struct role *role = context;

    learner_shown(role->learner, list);
}

enum status role_follow(struct role *role, int64_t timeout_ms, int *count, struct error *err)
{
    int events = 0, examples = 0;
    enum status status;

    role->watched = 0;
    role->schema_missing = false;
    status = follower_poll(role->events_topic, timeout_ms, handle_event, role, &events, err);
    if (status == ERR_UNAVAILABLE && role->schema_missing) {
        if (log_every(&role->schema_limit, SCHEMA_LOG_MS))
            log_event(LOG_WARN, "waiting_for_schema", err->text,
                      log_text("runbook", "freshet runbook avro-schemas"));
        status = OK; /* the event waits, and all behind it; that took a while already */
    }
    if (status == OK)
        status = follower_poll(role->examples_topic, 0, handle_example, role, &examples, err);
    if (status == OK && role->items_topic != NULL)
        status = follow_items(role, err);
    /* Before the first mark labels may be unread, however far the events topic has been read. */
    if (status == OK &&
        (examples_marked(role->examples) || follower_caught_up(role->examples_topic)))
        status = examples_ripen(role->examples, learner_tables(role->learner),
                                item_tables_newest_ms(learner_tables(role->learner)),
                                clock_monotonic_us(), take_shown, role, err);
    *count = events + examples;
    return status;
}

/* One round alone has no later one that would know the catalogue, so it waits a while for that. */
static bool lacks_items(const struct role *role)
{
    return role->once && role->items_topic != NULL && !follower_caught_up(role->items_topic) &&
           clock_monotonic_us() - role->round_ended_us < ITEMS_WAIT_US;
}

bool role_caught_up(const struct role *role)
{
    return follower_caught_up(role->events_topic) && follower_caught_up(role->examples_topic) &&
           !lacks_items(role);
}

bool role_lacks_lists(struct role *role)
{
    int64_t now_us = clock_monotonic_us();

    if (!role->once)
        return false;
    if (role->read_us == 0)
        role->read_us = now_us;
    return now_us - role->read_us < LISTS_WAIT_US &&
           examples_held_back(role->examples, item_tables_newest_ms(learner_tables(role->learner)),
                              now_us);
}

/* ---- how far behind it is ---- */

int64_t role_lag(const struct role *role)
{
    return follower_lag(role->events_topic) + follower_lag(role->examples_topic);
}

static void log_behind(enum behind_news news, double seconds, int64_t records)
{
    if (news == BEHIND_BEGAN)
        log_event(LOG_INFO, "behind", "events wait longer than 10 s to be read",
                  log_int("records", records), log_real("seconds", seconds));
    else if (news == BEHIND_STAYS)
        log_event(
            LOG_WARN, "stays_behind", "does not catch up: counts and models are of older events",
            log_int("records", records), log_real("seconds", seconds),
            log_text("remedy", "it lacks processor time, or a broker is slow: docs/operating.md, "
                               "\"What to watch\""));
    else if (news == BEHIND_OVER)
        log_event(LOG_INFO, "caught_up", "reads events as they come", log_int("records", records));
}

/* While no broker answers, nobody knows what waits: the ends of the logs are those of before. 0:
 * they answer, or were silent for less than BEHIND_US, as on a connection that is made anew. */
static double silent_seconds(struct role *role, int64_t now_us)
{
    if (follower_up(role->events_topic) && follower_up(role->examples_topic))
        role->heard_us = now_us;
    return now_us - role->heard_us < BEHIND_US ? 0 : (double)(now_us - role->heard_us) / 1e6;
}

void role_tell_behind(struct role *role)
{
    int64_t now_us = clock_monotonic_us(), records = role_lag(role);
    bool mark, there = role->version[0] != 0;
    enum behind_news news = behind_look(&role->behind,
                                        follower_reached(role->events_topic) &&
                                            follower_reached(role->examples_topic),
                                        records, now_us, &mark);
    double seconds = behind_seconds(&role->behind, now_us);
    double silent = silent_seconds(role, now_us);
    char reason[160] = "";

    if (mark) {
        follower_mark(role->events_topic);
        follower_mark(role->examples_topic);
    }
    log_behind(news, seconds, records);
    metric_set(&lag_records, (double)records);
    metric_set(&behind_for, fmax(seconds, silent));
    if (silent > 0)
        (void)snprintf(reason, sizeof reason, "kafka does not answer, for %.0f s", silent);
    else if (!there)
        (void)snprintf(reason, sizeof reason,
                       "reading the past, nothing published yet: %lld records behind",
                       (long long)records);
    else if (seconds > 0)
        (void)snprintf(reason, sizeof reason, "%lld records behind, for %.0f s", (long long)records,
                       seconds);
    admin_set_ready(role->admin, there, reason);
}
