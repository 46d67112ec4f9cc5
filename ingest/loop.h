/*
 * ingest/loop.h - the loop of `freshet ingest`: drives the machine against Kafka and Redis.
 *
 * Flow: Kafka -> [poll, decode] -> machine -> [Redis, dead letters, hints, relay]
 *
 * One thread: it polls the consumer, the store's connections, the producer of dead letters and the
 * relay's news, hands everything to the machine, carries its commands out, and sleeps on their
 * descriptors until something happens or the machine wants to be woken. What decides is in
 * machine/machine.h; here is only what touches the world.
 * A record whose Avro schema is not known yet makes its partition wait, and nothing else
 * (ingest/schema_wait.h); one whose schema is refused is a dead letter.
 * Thread: one.
 */
#ifndef INGEST_LOOP_H
#define INGEST_LOOP_H

#include "features/redis_dataset.h"
#include "machine/machine.h"
#include "ops/config.h"

#include <stdbool.h>
#include <stdint.h>

struct loop_options {
    const struct config *config;
    const struct redis_target *target;
    const struct redis_keys *keys;
    const struct redis_dataset *dataset; /* rules, shards, log numbers */
    const struct event_schema *schema;
    /* Told once a second whether we are ready, and why not; may be NULL. */
    void (*set_ready)(void *context, bool ready, const char *reason);
    void *context;
    bool rebuild; /* partitions without state begin at the start of the log, whatever the group read
                   */
    bool until_end;         /* return once all that is in the log is applied and relayed */
    bool (*stopping)(void); /* whether to end; NULL: never */
    int stop_descriptor;    /* becomes readable then; -1: none */
    int64_t drain_ms;       /* how long a clean end may take */
};

struct loop;
/* Errors: ERR_NOMEM, ERR_CONFIG, ERR_IO */
MUST_CHECK enum status loop_open(struct loop **loop, const struct loop_options *options,
                                 struct error *err);
/**
 * Runs until stopping(), the end with until_end, or an error; then drains.
 * Errors: ERR_REPLACED (another instance uses our name), ERR_NOMEM, ERR_UNAVAILABLE (Kafka's
 *         client broke for good), ERR_TIMEOUT (drained not in time: nothing is lost by it)
 */
MUST_CHECK enum status loop_run(struct loop *loop, struct error *err);
void loop_close(struct loop *loop); /* NULL is fine */

/* For the command's result and for tests. */
const struct machine_stats *loop_stats(struct loop *loop);
/* From the first record read to the last transaction that applied some. */
double loop_busy_seconds(const struct loop *loop);
/* Partitions that were stopped for good, as "3: log_changed, 5: data_lost"; "" when none. */
const char *loop_stopped(const struct loop *loop);

#endif
