/*
 * ingest/lost_state.h - Redis holds no data set: was there one?
 *
 * The group's committed offsets are only a hint for lag dashboards, but who has one has applied
 * records, and a Redis that knows nothing of it has lost them. Ingest does not begin on that by
 * itself; doctor and the offsets commands say so, too.
 * Thread: any; blocks up to some times timeout_ms.
 */
#ifndef INGEST_LOST_STATE_H
#define INGEST_LOST_STATE_H

#include "ops/config.h"

#define LOST_STATE_REMEDY                                                                          \
    "`freshet ingest --rebuild` makes it anew from the log, `freshet runbook state-lost` says "    \
    "what else can be done"

/**
 * Asked without joining the group. ns: for the message.
 * OK: nobody has read the topic, or there is none.
 * Errors: ERR_CONFLICT (the group has read it: the state is lost; the text says so, with the
 *         remedy), ERR_UNAVAILABLE, ERR_TIMEOUT, ERR_CONFIG, ERR_NOMEM (it cannot be told)
 */
MUST_CHECK enum status lost_state_check(const struct config *config, const char *ns,
                                        int64_t timeout_ms, struct error *err);

#endif
