/*
 * ingest/loop_report.h - what operators see of the loop: metrics, readiness with its reason, and
 * whether everything in the log is applied.
 * Thread: the loop's.
 */
#ifndef INGEST_LOOP_REPORT_H
#define INGEST_LOOP_REPORT_H

#include "features/redis_store.h"
#include "machine/machine.h"
#include "ops/kafka_consumer.h"

#include <stdbool.h>

struct loop_report;
/* set_ready may be NULL. poison_share, poison_window_ms: see ingest/poison.h. NULL: no memory. */
struct loop_report *
loop_report_create(void (*set_ready)(void *context, bool ready, const char *reason), void *context,
                   double poison_share, int64_t poison_window_ms);
void loop_report_destroy(struct loop_report *report);

void loop_report_partition(struct loop_report *report, int32_t partition, bool ours);
void loop_report_kafka(struct loop_report *report, const char *why); /* "": it answers */
/* How many partitions wait for an Avro schema, and what the registry says. */
void loop_report_schemas(struct loop_report *report, int waiting, const char *why);
/* A question about a partition that a claim waits for was not answered; "": it was. */
void loop_report_question(struct loop_report *report, const char *why);
/* The end of the log was reached at this offset. What lies between it and the last record is none:
 * markers and aborted records of transactions. */
void loop_report_end(struct loop_report *report, int32_t partition, int64_t offset);
/* The partition is read anew, maybe from further back: its end is to be reached again. */
void loop_report_reading(struct loop_report *report, int32_t partition);
void loop_report_freshness(struct loop_report *report, double seconds);
void loop_report_draining(struct loop_report *report);
/* Once a second: sets gauges, adds what the machine counted since, tells set_ready whether we
 * are ready, and what is not as it should be though we are (danger: "" or one more such reason);
 * logs once when too much is refused.
 * True when all partitions of ours are applied up to the end of the log. */
bool loop_report_now(struct loop_report *report, struct machine *machine,
                     struct kafka_consumer *consumer, const struct redis_store *store,
                     const char *outputs_why, const char *danger);
/* "3: log_recreated, 5: ..." of the partitions of ours that need an operator now; "": none. Valid
 * until the next call. */
const char *loop_report_stopped(struct loop_report *report, const struct machine *machine);

#endif
