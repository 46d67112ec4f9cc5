/*
 * ingest/examples_reader.h - every row that a data set has emitted: those in the `examples` topic,
 * and those that still wait in the outboxes.
 *
 * Flow: outboxes, then topic `examples` -> [reader] -> verify
 *
 * The outboxes first: a row that the relay moves meanwhile is seen twice, not never. A row may be
 * there several times in any case (at least once), and rows of other data sets, of an older log
 * of a partition or of records that `offsets` does not count yet are passed over.
 */
#ifndef INGEST_EXAMPLES_READER_H
#define INGEST_EXAMPLES_READER_H

#include "features/example_origin.h"
#include "features/redis_nodes.h"
#include "ingest/offsets.h"
#include "ops/config.h"

struct examples_reader_options {
    const struct config *config;
    struct redis_nodes *nodes;
    const struct redis_keys *keys;
    const struct redis_dataset *dataset;
    const struct offsets *offsets; /* rows of records at or above their shard's next are not ours */
    enum status (*visit)(void *context, struct text example, struct error *err);
    bool (*stopping)(void); /* NULL: never */
    void *context;
};

struct examples_reader_counts {
    int64_t rows;    /* handed to visit, repeated ones too */
    int64_t waiting; /* of them in the outboxes */
    int64_t foreign; /* passed over */
    bool cut;        /* the topic does not begin at 0: retention may have taken rows */
};

/* Marks are not handed on. Errors: ERR_NOT_FOUND (no such topic), those of topic_reader_read, of
 * the nodes and of visit */
MUST_CHECK enum status examples_reader_read(const struct examples_reader_options *options,
                                            struct examples_reader_counts *counts,
                                            struct error *err);

#endif
