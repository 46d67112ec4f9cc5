/*
 * features/redis_policy.h - does Redis still keep what it was told to keep?
 *
 * Flow: Redis -> [INFO now and then] -> /readyz, a metric, the log
 *
 * A server that evicts is refused at the start (redis_dataset_check_server); its maxmemory-policy
 * may be changed while we run (FAULTS 49). Nothing is wrong yet at that moment, and stopping would
 * mend nothing, so this only tells: an operator must set it back. A server that does not answer,
 * or not this question, tells nothing. Of a cluster it asks every node that holds slots.
 * Thread: one.
 */
#ifndef FEATURES_REDIS_POLICY_H
#define FEATURES_REDIS_POLICY_H

#include "features/redis_target.h"
#include "ops/status.h"

#include <stdint.h>

struct redis_policy;
/* every_ms: from one question to the next. Errors: ERR_NOMEM */
MUST_CHECK enum status redis_policy_create(struct redis_policy **policy,
                                           const struct redis_target *target, int64_t every_ms,
                                           struct error *err);
void redis_policy_destroy(struct redis_policy *policy); /* NULL is fine */

/* Asks when it is time to and takes what was answered. Never blocks; cheap while nothing is due. */
void redis_policy_step(struct redis_policy *policy, int64_t now_us);
/* "" while nothing may be evicted as far as we know, else why something may. */
const char *redis_policy_why(const struct redis_policy *policy);

#endif
