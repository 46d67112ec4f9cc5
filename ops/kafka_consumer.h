/*
 * ops/kafka_consumer.h - the door to librdkafka's consumers. Knows nothing of our records.
 *
 * One poll gives a batch of records and what happened to the assignment, in order. Offsets are
 * the caller's business: assignments begin where kafka_consumer_assign() says, never at a
 * committed offset; a commit here is a hint for operators.
 *
 * Why this way (librdkafka 2.0.2): assignor `range` with static membership, since
 * cooperative-sticky aborts the process on close; single-message polling on one queue, since
 * consume_batch loses records with pause and seek; a rewind is a fresh assign with explicit
 * offsets, never a seek; every record carries the epoch of its assignment, and records of older
 * ones are dropped here; check.crcs and socket.nagle.disable are set. `range` is an eager
 * assignor: a rebalance revokes every partition and then assigns what is ours, old and new.
 * The local queue is bounded by bytes, not records: a bound of records stalls it for a second.
 * A batch that is damaged is fetched again, never stepped over (kafka_consumer_why()). A partition
 * that librdkafka has forgotten to fetch is seen by its statistics and fetched anew.
 * A fresh assign restarts the fetching of all our partitions (each goes on where it was), so
 * assign several at once, between two polls.
 * Thread: one consumer, one thread.
 */
#ifndef OPS_KAFKA_CONSUMER_H
#define OPS_KAFKA_CONSUMER_H

#include "ops/config.h"
#include "ops/status.h"
#include "ops/text.h"

#include <stdbool.h>
#include <stdint.h>

#define KAFKA_OFFSET_NONE (-1)

struct kafka_record {
    int32_t partition;
    int64_t offset;
    int64_t timestamp_ms; /* the record's own, -1 if none */
    uint64_t epoch;       /* of the assignment it came by */
    struct text key;      /* at == NULL: no key */
    struct text value;    /* at == NULL: a tombstone */
    bool replayed;        /* has the header `freshet-replayed` */
    struct text origin;   /* the value of that header: "partition/offset"; "1" of older builds */
    struct text header;   /* value of the header `freshet-id`, or empty (outbox ids) */
    void *owner;          /* private: what keeps key, value and header alive */
};

enum kafka_event_kind {
    KAFKA_ASSIGNED,     /* we now own partition; nothing is read until kafka_consumer_assign() */
    KAFKA_REVOKED,      /* we no longer do (lost: without our consent) */
    KAFKA_END,          /* partition's end was reached (only with options.end_events) */
    KAFKA_DOWN,         /* all brokers are down; text says why */
    KAFKA_OUT_OF_RANGE, /* the offset we asked for is not in the log any more */
    KAFKA_FENCED,       /* another instance uses our static id: stop with EXIT_REPLACED */
    KAFKA_FATAL,        /* text says why */
};

struct kafka_event {
    enum kafka_event_kind kind;
    int32_t partition;
    int64_t offset;
    char text[160];
};

struct kafka_consumer_options {
    const char *brokers;
    const char *topic;
    const char *group;       /* NULL: no group; the caller assigns partitions itself */
    const char *ask_group;   /* without a group: whose committed offsets kafka_consumer_committed()
                                tells; it is not joined */
    const char *instance_id; /* static membership; NULL: dynamic */
    const char *client_id;
    int session_timeout_ms;  /* 0: 45000 */
    int max_poll_ms;         /* 0: 300000 */
    int fetch_wait_max_ms;   /* 0: 10. librdkafka's default of 500 costs freshness on the mock */
    int64_t queue_bytes_max; /* local queue; 0: 64 MiB */
    int stall_ms; /* 0: 20000. A partition that is silent for so long though its log goes on is
                     assigned anew (freshet_kafka_fetch_restarts_total) */
    bool read_uncommitted; /* default: read_committed */
    bool end_events;
    /* Further librdkafka properties, "name=value" a line: "socket.timeout.ms=5000\n...". */
    const char *properties;
    /* kafka.security.* and kafka.properties are taken from it, secrets at opening. NULL: none. */
    const struct config *config;
};

struct kafka_consumer;
MUST_CHECK enum status kafka_consumer_open(struct kafka_consumer **consumer,
                                           const struct kafka_consumer_options *options,
                                           struct error *err);
/* Leaves the group (a static member keeps its place until its session ends). NULL is fine.
 * Records still held must be released first. */
void kafka_consumer_close(struct kafka_consumer *consumer);

#define KAFKA_EVENTS_MAX 64

/**
 * Waits up to timeout_ms for the first record or event, then takes what is there without
 * waiting, up to records_max. The events happened after the records. events has room for
 * KAFKA_EVENTS_MAX; with more the rest come next time, before any record.
 * Records stay valid until kafka_records_release(), also over later polls.
 * Errors: none; what goes wrong is an event.
 */
int kafka_consumer_poll(struct kafka_consumer *consumer, int64_t timeout_ms,
                        struct kafka_record *records, int records_max, struct kafka_event *events,
                        int *events_count);
void kafka_records_release(struct kafka_record *records, int count);
/* Becomes readable when a poll that found nothing would now find something: for a loop that waits
 * for other things too. Poll until nothing comes before waiting for it. */
int kafka_consumer_descriptor(struct kafka_consumer *consumer);
/* When a poll is due though the descriptor is silent (an assign waits for its turn); INT64_MAX:
 * never. Monotonic. */
int64_t kafka_consumer_due_us(const struct kafka_consumer *consumer);

/**
 * Reads partition from offset on (a rewind too), beginning with the next poll. The old epoch's
 * records are dropped; a paused partition stays paused.
 * Errors: ERR_NOT_FOUND  in a group: the partition is not ours, or is being revoked
 *         ERR_NOMEM
 */
MUST_CHECK enum status kafka_consumer_assign(struct kafka_consumer *consumer, int32_t partition,
                                             int64_t offset, uint64_t *epoch, struct error *err);
/* After REVOKED was handled: lets the rebalance go on, once all are. For a partition that is ours:
 * stops reading it. */
void kafka_consumer_revoke(struct kafka_consumer *consumer, int32_t partition);
void kafka_consumer_pause(struct kafka_consumer *consumer, int32_t partition);
void kafka_consumer_resume(struct kafka_consumer *consumer, int32_t partition);
/* Asynchronous, may fail quietly (counted): a hint. */
void kafka_consumer_commit(struct kafka_consumer *consumer, int32_t partition, int64_t offset);

/* Low and high watermark of the log, asked from the broker that leads the partition.
 * timeout_ms is not heeded while that leader is dead: librdkafka 2.0.2 keeps the question queued
 * for it, up to socket.timeout.ms (a minute) and its retries. Who may not stand still that long
 * asks by ops/kafka_limits. Errors: ERR_TIMEOUT, ERR_UNAVAILABLE */
MUST_CHECK enum status kafka_consumer_limits(struct kafka_consumer *consumer, int32_t partition,
                                             int64_t timeout_ms, int64_t *low, int64_t *high,
                                             struct error *err);
/* Whether a broker has been heard of lately. */
bool kafka_consumer_up(const struct kafka_consumer *consumer);
/* What somebody must mend before records come: a login, a certificate, an ACL, a damaged batch; ""
 * when nothing of the kind is known. The consumer goes on trying, ever more slowly. */
const char *kafka_consumer_why(const struct kafka_consumer *consumer);
/* The last known high watermark, without asking; KAFKA_OFFSET_NONE when unknown. */
int64_t kafka_consumer_high(struct kafka_consumer *consumer, int32_t partition);
MUST_CHECK enum status kafka_consumer_committed(struct kafka_consumer *consumer, int32_t partition,
                                                int64_t timeout_ms, int64_t *offset,
                                                struct error *err);

/* kafka.* rows of the configuration, and a consumer's options from them (set group to NULL for
 * a consumer without one). The options borrow from config. */
extern const struct config_row kafka_config_rows[];
extern const struct config_rule kafka_config_rules[]; /* certificates: are the files good? */
void kafka_consumer_options_from(struct kafka_consumer_options *options,
                                 const struct config *config, const char *topic_key);

#endif
