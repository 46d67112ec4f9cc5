/*
 * ops/demo_roles.h - the processes of the demo: a private Redis, a broker, and our own binary once
 * a role, under one temporary folder.
 *
 * A role that was killed by a signal is started again, as a supervisor would do (kill one and
 * watch: nothing is lost); one that ends by itself ends the demo, with the end of its log.
 * Thread: one.
 */
#ifndef OPS_DEMO_ROLES_H
#define OPS_DEMO_ROLES_H

#include "ops/http_client.h"
#include "ops/status.h"
#include "ops/text.h"

#include <stdbool.h>
#include <stdint.h>

enum demo_role { DEMO_INGEST, DEMO_RETRAIN, DEMO_SERVE, DEMO_FROZEN, DEMO_SIMULATE, DEMO_ROLES };

struct demo_roles_options {
    const char *program; /* our own binary */
    const char *brokers; /* NULL: start an embedded broker */
    int64_t seed;
    int warmup;           /* sessions of the past */
    double rate;          /* sessions a second, live */
    double shift_after_s; /* from the start of simulate */
};

struct demo_roles;
/* Starts Redis, broker and all roles and waits until they answer.
 * Errors: ERR_NOT_FOUND (redis-server is not installed), ERR_UNAVAILABLE (a role did not come up:
 * the end of its log was printed), ERR_IO */
MUST_CHECK enum status demo_roles_start(struct demo_roles **roles,
                                        const struct demo_roles_options *options,
                                        struct error *err);
/* Ends every process and removes the folder. NULL is fine. */
void demo_roles_stop(struct demo_roles *roles);

/* Looks after the children. Errors: ERR_UNAVAILABLE (one ended by itself; its log was printed) */
MUST_CHECK enum status demo_roles_tend(struct demo_roles *roles, struct error *err);
int demo_roles_restarts(const struct demo_roles *roles);

/* The role's /metrics, or another path of its admin port; empty when it does not answer now.
 * Valid until the next call for the same role. */
struct text demo_roles_metrics(struct demo_roles *roles, enum demo_role role);
struct text demo_roles_get(struct demo_roles *roles, enum demo_role role, const char *path);

/* Puts a copy of the models published so far before the frozen scorer. */
MUST_CHECK enum status demo_roles_freeze(struct demo_roles *roles, struct error *err);
/* Asks simulate to stop, waits until it has handed over all its events, and reads how many the
 * broker acknowledged. Errors: ERR_TIMEOUT, ERR_MALFORMED (it printed no result) */
MUST_CHECK enum status demo_roles_end_stream(struct demo_roles *roles, int64_t timeout_ms,
                                             int64_t *delivered, struct error *err);
/* What Redis says became of all records, as `freshet offsets list` tells it: the truth that
 * survives every restart. Errors: ERR_UNAVAILABLE, ERR_MALFORMED */
struct demo_totals {
    double logged; /* records in Kafka's log, whoever wrote them; -1: it does not say */
    double applied, duplicates, late, dropped, erased, dead;
};
MUST_CHECK enum status demo_roles_totals(struct demo_roles *roles, struct demo_totals *totals,
                                         struct error *err);
/* The totals when ingest was last started again; all 0 before that. What its process counts comes
 * on top. */
const struct demo_totals *demo_roles_before(const struct demo_roles *roles);
/* Ports and process id of a role; 0: not known now. */
int demo_roles_admin_port(const struct demo_roles *roles, enum demo_role role);
int demo_roles_listen_port(const struct demo_roles *roles, enum demo_role role);
int demo_roles_pid(const struct demo_roles *roles, enum demo_role role);
const char *demo_roles_folder(const struct demo_roles *roles);
const char *demo_roles_brokers(const struct demo_roles *roles);

#endif
