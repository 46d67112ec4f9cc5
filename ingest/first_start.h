/*
 * ingest/first_start.h - opens the data set, or makes it: but only where nobody has lost one.
 *
 * Flow: config -> wanted -> [is it there? has the group read? make it] -> data set -> loop
 *
 * A Redis without a data set is new, or has lost everything. Kafka tells: a group that has
 * committed an offset has applied records. Of processes that start together one makes the data set
 * and may commit between another's two questions, which must not take that for a loss: so Redis is
 * asked once more before it is called one.
 */
#ifndef INGEST_FIRST_START_H
#define INGEST_FIRST_START_H

#include "features/redis_dataset.h"

struct first_start {
    struct redis_connection *connection;
    const struct redis_keys *keys;
    int64_t timeout_ms;    /* of each question to Redis */
    bool rebuild;          /* the operator knows of the loss: the group is not asked */
    bool partitions_given; /* of `examples`: by the configuration, which must then agree */
    /* OK: the group has read nothing; ERR_CONFLICT: it has, with what to do about it. */
    enum status (*never_read)(void *context, struct error *err);
    /* How many partitions `examples` has; asked when a data set is made and they are not given. */
    enum status (*ask_partitions)(void *context, int *partitions, struct error *err);
    void *context;
};

/**
 * wanted: as the configuration says; examples_partitions is set to what is stored or asked unless
 * given. On OK the caller owns *dataset (redis_dataset_clear).
 * Errors: ERR_CONFLICT (the state is lost, or what is stored differs from *wanted), those of the
 *         two questions and of redis_dataset_open()
 */
MUST_CHECK enum status first_start(struct redis_dataset *dataset, const struct first_start *how,
                                   struct redis_dataset *wanted, struct error *err);

#endif
