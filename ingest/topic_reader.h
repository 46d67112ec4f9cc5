/*
 * ingest/topic_reader.h - reads what a topic holds now, from start to end, without a group: for dry
 * runs, verify and the dead letters.
 */
#ifndef INGEST_TOPIC_READER_H
#define INGEST_TOPIC_READER_H

#include "ops/config.h"
#include "ops/kafka_consumer.h"

/* Called for each record, in order within a partition. Any status but OK ends the reading. */
typedef enum status topic_reader_visit(void *context, const struct kafka_record *record,
                                       struct error *err);

struct topic_range {
    int64_t low, high; /* of the log when reading began */
    int64_t from, to;  /* what is read; set by `choose`, else all */
};

struct topic_reader_options {
    const struct config *config;
    const char *topic;
    /* Told each partition's limits, may narrow from and to; NULL: everything. */
    enum status (*choose)(void *context, int32_t partition, struct topic_range *range,
                          struct error *err);
    topic_reader_visit *visit;
    void (*progress)(void *context, double fraction); /* NULL: none */
    bool (*stopping)(void);                           /* NULL: never */
    void *context;
};

/* *partitions (may be NULL) is known before choose is called.
 * Errors: ERR_NOT_FOUND (no such topic), ERR_UNAVAILABLE, ERR_TIMEOUT, ERR_CANCELLED, ERR_NOMEM,
 *         those of the callbacks */
MUST_CHECK enum status topic_reader_read(const struct topic_reader_options *options,
                                         int *partitions, struct error *err);

#endif
