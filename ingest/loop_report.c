/* ingest/loop_report.c - numbers and reasons. */
#include "ingest/loop_report.h"

#include "ingest/poison.h"
#include "ops/clock.h"
#include "ops/defence.h"
#include "ops/log.h"
#include "ops/metric.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What the machine counts, as counters: name, field, help. */
/* clang-format off */
#define COUNTER_LIST(X)                                                                          \
    X(records,        "freshet_ingest_read_total", "records handed to the machine")              \
    X(skipped,        "freshet_ingest_skipped_total", "records below a shard's next, or of an old epoch") \
    X(commits,        "freshet_ingest_commits_total", "transactions that were carried out")      \
    X(ticks,          "freshet_ingest_ticks_total", "empty commits on every shard")              \
    X(fenced,         "freshet_ingest_fenced_total", "commits refused: another owner's token")   \
    X(ahead,          "freshet_ingest_ahead_total", "shards found ahead of what we believed")    \
    X(applied_unseen, "freshet_ingest_applied_unseen_total", "commits whose lost answer was a yes") \
    X(behind,         "freshet_ingest_rewinds_total", "shards found behind: a rollback of Redis") \
    X(aborted,        "freshet_ingest_aborted_total", "transactions aborted by a watch")         \
    X(lost,           "freshet_ingest_lost_answers_total", "transactions without an answer")     \
    X(refused,        "freshet_ingest_refused_total", "transactions that Redis refused")         \
    X(patched,        "freshet_ingest_values_patched_total", "values written by patches")        \
    X(rewritten,      "freshet_ingest_values_rewritten_total", "values written whole")           \
    X(repaired,       "freshet_ingest_values_repaired_total", "values that were gone and written again") \
    X(quarantined,    "freshet_ingest_quarantined_total", "users met with an unusable value")    \
    X(unverifiable,   "freshet_ingest_unverifiable_total", "claims whose last record was below the log") \
    X(cache_hits,     "freshet_ingest_cache_hits_total", "users found in the cache")             \
    X(cache_misses,   "freshet_ingest_cache_misses_total", "users read from Redis")              \
    X(claims,         "freshet_ingest_claims_total", "partitions claimed")
/* clang-format on */

#define X(field, text, help) METRIC_COUNTER(field##_metric, text, help);
COUNTER_LIST(X)
#undef X
METRIC_COUNTER_OF(outcomes, "freshet_ingest_records_total",
                  "committed records by outcome; erased: not counted, "
                  "for their user was erased at or after them (an erasure itself is applied)",
                  "outcome", outcome_names, OUTCOME_COUNT);
METRIC_COUNTER_OF(dead, "freshet_ingest_dead_total", "dead letters by reason", "reason",
                  refusal_names, REFUSAL_COUNT);
METRIC_HISTOGRAM(freshness, "freshet_ingest_freshness_seconds",
                 "from a record's timestamp to its state in Redis, sampled",
                 metric_buckets_latency);
METRIC_GAUGE(backlog, "freshet_ingest_backlog_records", "records waiting for their commit");
METRIC_GAUGE(backlog_bytes, "freshet_ingest_backlog_bytes", "memory of waiting records");
METRIC_GAUGE(cached, "freshet_ingest_cached_users", "users' values in the cache");
METRIC_GAUGE(cache_bytes, "freshet_ingest_cache_bytes", "memory of the cache");
METRIC_GAUGE_OPTIONAL(lag, "freshet_ingest_lag_records",
                      "records of our partitions that are not applied yet; absent while no "
                      "partition is ours, or the end of one is not known");
METRIC_GAUGE(partitions, "freshet_ingest_partitions", "partitions that are ours");
METRIC_GAUGE(stopped_now, "freshet_ingest_partitions_stopped",
             "partitions of ours that need an operator");
METRIC_GAUGE(waiting_now, "freshet_ingest_partitions_waiting",
             "partitions of ours whose next record waits for its Avro schema");
METRIC_GAUGE(watermark, "freshet_ingest_watermark_seconds",
             "lowest watermark of our partitions, Unix seconds");
METRIC_GAUGE(redis_up, "freshet_ingest_redis_shards_connected", "shards with a connection");
METRIC_GAUGE(kafka_up, "freshet_ingest_kafka_up", "1 while the brokers answer");

METRIC_GAUGE(refused_share, "freshet_ingest_refused_share",
             "dead letters among the records of ingest.poison_window");
METRIC_GAUGE(poison_open, "freshet_ingest_poison_breaker",
             "1 while that share is above ingest.poison_share: somebody upstream should look");

#define TEXT_BYTES 512

struct loop_report {
    void (*set_ready)(void *context, bool ready, const char *reason);
    void *context;
    struct machine_stats told; /* what the counters have had already */
    int ours;
    bool owned[MACHINE_PARTITIONS_MAX * 16];
    int64_t ends[MACHINE_PARTITIONS_MAX * 16]; /* of the log, where it was reached */
    bool draining;
    struct poison poison;
    int waiting;
    char schema_why[200];
    char kafka_why[240], question_why[240];
    char stopped[TEXT_BYTES];
};

static void tell(struct loop_report *report, bool ready, const char *why)
{
    if (report->set_ready != NULL)
        report->set_ready(report->context, ready, why);
}

struct loop_report *
loop_report_create(void (*set_ready)(void *context, bool ready, const char *reason), void *context,
                   double poison_share_max, int64_t poison_window_ms)
{
    struct loop_report *report = calloc(1, sizeof *report);

    if (report == NULL)
        return NULL;
    report->set_ready = set_ready;
    report->context = context;
    poison_init(&report->poison, poison_share_max, poison_window_ms * 1000);
    tell(report, false, "starting");
    return report;
}

void loop_report_destroy(struct loop_report *report)
{
    free(report);
}

void loop_report_partition(struct loop_report *report, int32_t partition, bool ours)
{
    if (partition < 0 || (size_t)partition >= sizeof report->owned / sizeof *report->owned)
        return;
    report->ours += ours - report->owned[partition];
    report->owned[partition] = ours;
    report->ends[partition] = 0;
}

void loop_report_question(struct loop_report *report, const char *why)
{
    (void)snprintf(report->question_why, sizeof report->question_why, "%s", why);
}

void loop_report_end(struct loop_report *report, int32_t partition, int64_t offset)
{
    if (partition >= 0 && (size_t)partition < sizeof report->ends / sizeof *report->ends)
        report->ends[partition] = offset;
}

void loop_report_reading(struct loop_report *report, int32_t partition)
{
    loop_report_end(report, partition, 0);
}

void loop_report_kafka(struct loop_report *report, const char *why)
{
    (void)snprintf(report->kafka_why, sizeof report->kafka_why, "%s", why);
}

void loop_report_schemas(struct loop_report *report, int waiting, const char *why)
{
    report->waiting = waiting;
    metric_set(&waiting_now, waiting);
    (void)snprintf(report->schema_why, sizeof report->schema_why, "%s", why);
}

void loop_report_freshness(struct loop_report *report, double seconds)
{
    (void)report;
    metric_observe(&freshness, seconds < 0 ? 0 : seconds);
}

void loop_report_draining(struct loop_report *report)
{
    report->draining = true;
    tell(report, false, "draining");
}

/* What was refused since the last time. A user whose stored value is unusable is no fault of the
 * records. */
static void watch_poison(struct loop_report *r, const struct machine_stats *now)
{
    uint64_t refused = 0;
    double share;

    for (int i = 0; i < REFUSAL_COUNT; i++)
        if (i != REFUSAL_QUARANTINED)
            refused += now->letters[i] - r->told.letters[i];
    bool changed = poison_add(&r->poison, clock_monotonic_us(), now->records - r->told.records,
                              refused);

    share = poison_share(&r->poison);
    metric_set(&refused_share, share);
    metric_set(&poison_open, r->poison.open);
    if (changed && r->poison.open)
        log_event(LOG_ERROR, "poison_breaker",
                  "too many records are refused: was something deployed upstream?",
                  log_real("share", share), log_text("runbook", "freshet runbook dead-letters"));
    else if (changed)
        log_event(LOG_INFO, "poison_breaker", "the share of refused records is small again",
                  log_real("share", share));
}

static void add_counters(struct loop_report *r, const struct machine_stats *now)
{
#define X(field, text, help) metric_add(&field##_metric, now->field - r->told.field);
    COUNTER_LIST(X)
#undef X
    for (int i = 0; i < OUTCOME_COUNT; i++)
        metric_add_of(&outcomes, i, now->outcomes[i] - r->told.outcomes[i]);
    for (int i = 0; i < REFUSAL_COUNT; i++)
        metric_add_of(&dead, i, now->letters[i] - r->told.letters[i]);
    r->told = *now;
    metric_set(&backlog, (double)now->backlog);
    metric_set(&backlog_bytes, (double)now->backlog_bytes);
    metric_set(&cached, (double)now->cache_users);
    metric_set(&cache_bytes, (double)now->cache_bytes);
}

struct progress_of_all {
    int reading, known, unknown, stopped;
    int64_t lag, watermark_ms;
};

/* How far a partition is done. Nothing is between the last record that was polled and the end that
 * was reached: when that record is applied, and none waits for its schema, so is all below it. */
static int64_t done_to(const struct loop_report *r, const struct machine_partition_view *view)
{
    int64_t end = (size_t)view->partition < sizeof r->ends / sizeof *r->ends
                      ? r->ends[view->partition]
                      : 0;

    return DEFENCE(LOG_TAIL) && r->waiting == 0 && view->applied >= view->position &&
                   end > view->applied
               ? end
               : view->applied;
}

static struct progress_of_all look(const struct loop_report *r, struct machine *machine,
                                   struct kafka_consumer *consumer)
{
    struct progress_of_all all = {.watermark_ms = INT64_MAX};
    struct machine_partition_view view;

    for (int i = 0; machine_partition_view(machine, i, &view); i++) {
        int64_t high = kafka_consumer_high(consumer, view.partition);

        if (strcmp(view.state, "revoked") == 0)
            continue; /* another process's, and so is how far it is */
        if (strcmp(view.state, "stopped") == 0) {
            all.stopped++; /* it has no end to come to */
            continue;
        }
        all.reading += strcmp(view.state, "reading") == 0 || strcmp(view.state, "paused") == 0;
        if (view.watermark_ms > 0 && view.watermark_ms < all.watermark_ms)
            all.watermark_ms = view.watermark_ms;
        if (high == KAFKA_OFFSET_NONE || view.applied < 0)
            all.unknown++;
        else
            all.known++;
        if (high != KAFKA_OFFSET_NONE && view.applied >= 0 && high > done_to(r, &view))
            all.lag += high - done_to(r, &view);
    }
    return all;
}

/* A sum over some of our partitions would be a good figure in bad times: none is told then. */
static void set_lag(const struct loop_report *r, const struct progress_of_all *all)
{
    if (r->ours > 0 && all->unknown == 0 && all->known + all->stopped >= r->ours)
        metric_set(&lag, (double)all->lag);
    else
        metric_unset(&lag);
}

static void set_ready(struct loop_report *r, const struct progress_of_all *all,
                      const struct redis_store *store, const char *outputs_why, const char *danger)
{
    const char *redis = redis_store_why(store);
    char why[TEXT_BYTES + 64] = "";

    if (r->draining)
        return;
    if (r->kafka_why[0] != '\0')
        (void)snprintf(why, sizeof why, "kafka: %s", r->kafka_why);
    else if (redis[0] != '\0')
        (void)snprintf(why, sizeof why, "%s", redis);
    else if (all->stopped > 0)
        (void)snprintf(why, sizeof why, "partitions stopped: %s", r->stopped);
    else if (r->waiting > 0)
        (void)snprintf(why, sizeof why, "%d partitions wait for a schema: %s", r->waiting,
                       r->schema_why);
    else if (all->reading < r->ours)
        (void)snprintf(why, sizeof why, "claiming %d of %d partitions%s%s", r->ours - all->reading,
                       r->ours, r->question_why[0] == '\0' ? "" : ": kafka: ", r->question_why);
    else if (r->ours == 0)
        (void)snprintf(why, sizeof why, "no partition is assigned to us");
    else if (outputs_why[0] != '\0')
        (void)snprintf(why, sizeof why, "%s", outputs_why);
    if (why[0] != '\0') {
        tell(r, false, why);
        return;
    }
    if (danger[0] != '\0')
        (void)snprintf(why, sizeof why, "%s", danger);
    else if (r->poison.open)
        (void)snprintf(why, sizeof why,
                       "%.0f %% of the records are refused: freshet dlq list, freshet runbook "
                       "dead-letters",
                       100 * poison_share(&r->poison));
    tell(r, true, why);
}

bool loop_report_now(struct loop_report *report, struct machine *machine,
                     struct kafka_consumer *consumer, const struct redis_store *store,
                     const char *outputs_why, const char *danger)
{
    struct progress_of_all all = look(report, machine, consumer);

    if (kafka_consumer_up(consumer))
        report->kafka_why[0] = '\0';
    if (kafka_consumer_why(consumer)[0] != '\0')
        loop_report_kafka(report, kafka_consumer_why(consumer));
    watch_poison(report, machine_stats(machine));
    add_counters(report, machine_stats(machine));
    set_lag(report, &all);
    metric_set(&partitions, report->ours);
    metric_set(&stopped_now, all.stopped);
    metric_set(&watermark, all.watermark_ms == INT64_MAX ? 0 : (double)all.watermark_ms / 1000);
    metric_set(&redis_up, redis_store_connected(store));
    metric_set(&kafka_up, kafka_consumer_up(consumer));
    (void)loop_report_stopped(report, machine);
    set_ready(report, &all, store, outputs_why, danger);
    return report->ours > 0 && all.unknown == 0 && all.lag == 0 &&
           all.reading + all.stopped >= report->ours;
}

const char *loop_report_stopped(struct loop_report *report, const struct machine *machine)
{
    struct machine_partition_view view;
    size_t used = 0;

    report->stopped[0] = '\0';
    for (int i = 0; machine_partition_view(machine, i, &view) && used < TEXT_BYTES; i++)
        if (strcmp(view.state, "stopped") == 0)
            used += (size_t)snprintf(report->stopped + used, TEXT_BYTES - used, "%s%d: %s",
                                     used > 0 ? ", " : "", (int)view.partition,
                                     stop_reason_names[view.stopped]);
    return report->stopped;
}
