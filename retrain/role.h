/*
 * retrain/role.h - `freshet retrain` as one loop: follow, learn, judge, publish.
 *
 * Flow: events, examples -> [poll -> observe | steps of a round | evaluate -> gate -> publish]
 *
 * One thread does it all in small turns: what takes long (training, evaluation) is cut into pieces
 * between which both topics are followed and the item tables go out every few seconds. So nothing
 * is shared and nothing is locked, and the same records in the same order give the same weights.
 *
 * A round: choose where the newest tenth of the choices begins; train on what lies before it; judge
 * on what lies after it, by the code that serves; publish, or refuse with a reason and go on
 * learning. What was held out is trained on in the next round.
 */
#ifndef RETRAIN_ROLE_H
#define RETRAIN_ROLE_H

#include "ops/command.h"
#include "ops/config.h"
#include "ops/status.h"

#include <stdbool.h>

struct role;
/* Connects to Redis (for the data set's seed and rules) and Kafka, loads checkpoint and champion;
 * waits for topics that are not there yet, until command_stopping().
 * Errors: as those; ERR_IN_USE (retrain.folder); ERR_CANCELLED */
MUST_CHECK enum status role_open(struct role **role, const struct config *config,
                                 struct error *err);
void role_close(struct role *role); /* NULL is fine */
int role_admin_port(const struct role *role);
int64_t role_lag(const struct role *role); /* records of both topics that it has still to read */

/* Runs until command_stopping(), or with once until one round is over; *published is its outcome.
 * Saves a checkpoint before it returns OK. Errors: what cannot be waited out. */
MUST_CHECK enum status role_run(struct role *role, bool once, bool *published, struct error *err);
/* The verdict of the last round, one line. */
const char *role_verdict(const struct role *role);

extern const struct config_row retrain_config_rows[];

#endif
