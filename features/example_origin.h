/*
 * features/example_origin.h - where a record of `examples` comes from: the text of its header
 * `freshet-id`.
 *
 * Flow: outbox -> relay -> [origin in the header] -> trainer
 *
 *     <data set id> <partition> <log number> <shard> <high>-<low>
 *
 * decimal numbers with one blank between them, but for the id of the data set (32 hexadecimal
 * digits). (high, low) is the row's id in its outbox: high is the offset of the causing record plus
 * one. Within one (partition, log number, shard) ids rise, but for rows that are sent again; a
 * trainer that keeps the highest of each knows which example is new. A MARK comes from no row: its
 * shard is -1 and its id 0-0.
 */
#ifndef FEATURES_EXAMPLE_ORIGIN_H
#define FEATURES_EXAMPLE_ORIGIN_H

#include "features/store.h"

#define EXAMPLE_ORIGIN_BYTES_MAX 128
#define EXAMPLE_ORIGIN_MARK      (-1)

struct example_origin {
    char dataset[33];
    int32_t partition;
    uint32_t log_number;
    int shard; /* EXAMPLE_ORIGIN_MARK for a mark */
    struct store_id id;
};

/* Returns the bytes. */
size_t example_origin_format(const struct example_origin *origin,
                             char into[EXAMPLE_ORIGIN_BYTES_MAX]);
/* False when it is no origin. Total. */
bool example_origin_parse(struct example_origin *origin, struct text text);

#endif
