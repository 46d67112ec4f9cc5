/*
 * ingest/ingest_config.h - the sections `ingest` and `redis.wait*` of the configuration, and the
 * data set that it asks for.
 */
#ifndef INGEST_INGEST_CONFIG_H
#define INGEST_INGEST_CONFIG_H

#include "features/redis_dataset.h"
#include "ops/config.h"
#include "ops/doctor.h"

extern const struct config_row ingest_config_rows[]; /* ends with a NULL key */
extern const struct doctor_check ingest_doctor_checks[];

/* Without id and seed, which are drawn when it is created. Owns nothing. Errors: ERR_CONFIG */
MUST_CHECK enum status ingest_wanted_dataset(struct redis_dataset *wanted,
                                             const struct config *config,
                                             const struct event_schema *schema, struct error *err);

#endif
