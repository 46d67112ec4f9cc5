/*
 * ops/admin.h - the operator's port of every role: /livez, /readyz, /metrics, /version.
 *
 * /livez is 200 while the process can answer and its threads beat (admin_beat); /readyz is
 * 200 or 503 with a reason. A role may add routes (the demo's page).
 * Loopback unless configured otherwise.
 */
#ifndef OPS_ADMIN_H
#define OPS_ADMIN_H

#include "ops/http_server.h"
#include "ops/status.h"

#include <stdbool.h>

struct admin;
/* extra: routes of the role (NULL: none), each called with its own context. */
MUST_CHECK enum status admin_open(struct admin **admin, const char *role, const char *listen,
                                  const struct http_route *extra, void *context, struct error *err);
int admin_port(const struct admin *admin);
void admin_close(struct admin *admin); /* NULL is fine */

/* reason: why not; when ready: what is not as it should be, "" when all is; copied. /readyz shows
 * it as "reason", or, with 200, as "degraded". */
void admin_set_ready(struct admin *admin, bool ready, const char *reason);

/* What this role scores or learns on, "cpu" or "cuda": /readyz then has it as "device", and
 * freshet_device of /metrics is 1 for it. */
void admin_set_device(struct admin *admin, const char *device);

#endif
