/*
 * ingest/offsets_view.h - both sides of the offsets commands: what Redis has applied, and what
 * Kafka holds; and what ingest would make of the two.
 */
#ifndef INGEST_OFFSETS_VIEW_H
#define INGEST_OFFSETS_VIEW_H

#include "ingest/offsets_forecast.h"

struct offsets_view {
    const struct config *config;
    const char *topic;
    struct redis_nodes *nodes;
    struct redis_keys keys;
    struct redis_dataset dataset;
    struct offsets offsets;
    struct offsets_log *logs; /* (offsets.count) -1 where Kafka does not say */
    int partitions;           /* of the topic in Kafka; 0: it does not say, kafka says why */
    struct error kafka;
};

#define OFFSETS_VIEW_MS 5000 /* for each question */

/**
 * Reads the data set's record and m. Then asks Kafka; that it does not answer is no error here.
 * Partitions that Kafka has and the record does not are added behind the others, not recorded.
 * committed: also where the group stands, one question a partition.
 *
 * Errors: ERR_NOT_FOUND (no data set), ERR_CONFLICT (none any more), ERR_UNAVAILABLE, ERR_TIMEOUT,
 * ERR_CONFIG, ERR_MALFORMED, ERR_NOMEM
 */
MUST_CHECK enum status offsets_view_open(struct offsets_view *view, const struct config *config,
                                         bool committed, struct error *err);
/**
 * What ingest would do with the partitions, or with one alone (partition -1: all): loads their
 * outboxes, and reads from the log the record at `last` of each, as ingest itself would, to see
 * whether it is still the log that was read. Where Kafka does not say, the forecast stays zeroed.
 * forecasts: (offsets.count)
 *
 * Errors: those of topic_reader_read(), ERR_UNAVAILABLE, ERR_TIMEOUT, ERR_NOMEM
 */
MUST_CHECK enum status offsets_view_forecast(struct offsets_view *view, int32_t partition,
                                             struct offsets_forecast *forecasts, struct error *err);
void offsets_view_close(struct offsets_view *view); /* zeroed is fine */

#endif
