/*
 * ingest/ingest_config.h - the sections `ingest` and `redis.wait*` of the configuration, and the
 * data set that it asks for.
 */
#ifndef INGEST_INGEST_CONFIG_H
#define INGEST_INGEST_CONFIG_H

#include "features/redis_dataset.h"
#include "ops/config.h"
#include "ops/doctor.h"

extern const struct config_row ingest_config_rows[];   /* ends with a NULL key */
extern const struct config_rule ingest_config_rules[]; /* so does this */
extern const struct doctor_check ingest_doctor_checks[];

/* What one value alone does not show: with redis.wait_replicas, does WAIT end well before the
 * connection counts as broken? Errors: ERR_CONFIG, which names the keys. */
MUST_CHECK enum status ingest_config_check(const struct config *config, struct error *err);

/* Without id and seed, which are drawn when it is created. Owns nothing. Errors: ERR_CONFIG */
MUST_CHECK enum status ingest_wanted_dataset(struct redis_dataset *wanted,
                                             const struct config *config,
                                             const struct event_schema *schema, struct error *err);

#endif
