/* ingest/first_start.c - see first_start.h. */
#include "ingest/first_start.h"

/* Is there a data set? Then wanted follows it in what the configuration leaves open. */
static enum status look(const struct first_start *how, struct redis_dataset *wanted,
                        struct error *err)
{
    struct redis_dataset stored = {0};
    enum status status = redis_dataset_load(&stored, how->connection, how->keys, how->timeout_ms,
                                            err);

    if (status == OK && !how->partitions_given)
        wanted->examples_partitions = stored.examples_partitions;
    redis_dataset_clear(&stored);
    return status;
}

/* There was none a moment ago. ERR_NOT_FOUND: nor is there now, and one may be made. */
static enum status look_again(const struct first_start *how, struct redis_dataset *wanted,
                              struct error *err)
{
    struct error absent;
    enum status status = how->rebuild ? OK : how->never_read(how->context, err);

    if (status == ERR_CONFLICT && look(how, wanted, &absent) == OK)
        return OK; /* by another process that has also committed by now */
    return status == OK ? ERR_NOT_FOUND : status;
}

enum status first_start(struct redis_dataset *dataset, const struct first_start *how,
                        struct redis_dataset *wanted, struct error *err)
{
    enum status status = look(how, wanted, err);

    if (status == ERR_NOT_FOUND)
        status = look_again(how, wanted, err);
    if (status == ERR_NOT_FOUND)
        status = how->partitions_given
                     ? OK
                     : how->ask_partitions(how->context, &wanted->examples_partitions, err);
    if (status != OK)
        return status;
    return redis_dataset_open(dataset, how->connection, how->keys, wanted, how->timeout_ms, err);
}
