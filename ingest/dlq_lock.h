/*
 * ingest/dlq_lock.h - one `dlq replay --apply` of a data set at a time.
 *
 * A replay reads the topic to its end to see what was replayed before, then writes: two that do so
 * at once would both write. So whoever applies first puts a key with a token of its own,
 * `<ns>{00}dlq`, into Redis, and takes it away at the end. The key expires by itself, for a process
 * that was killed, and is renewed while its owner works; an owner that was stopped for longer than
 * that finds another's, or none, and writes no more. Thread: one.
 */
#ifndef INGEST_DLQ_LOCK_H
#define INGEST_DLQ_LOCK_H

#include "ops/config.h"
#include "ops/status.h"

#define DLQ_LOCK_MS 60000 /* without a renewal it is free again */

struct dlq_lock;

/* Errors: ERR_IN_USE (another holds it: the text says since when and until when), ERR_NOT_FOUND (no
 * data set), ERR_UNAVAILABLE, ERR_TIMEOUT, ERR_CONFIG, ERR_MALFORMED, ERR_NOMEM */
MUST_CHECK enum status dlq_lock_take(struct dlq_lock **lock, const struct config *config,
                                     struct error *err);
/* Call it often: it asks Redis only once in a quarter of DLQ_LOCK_MS.
 * Errors: ERR_REPLACED (it was lost meanwhile), ERR_UNAVAILABLE, ERR_TIMEOUT */
MUST_CHECK enum status dlq_lock_keep(struct dlq_lock *lock, struct error *err);
/* Frees it for the next one. NULL is fine. */
void dlq_lock_release(struct dlq_lock *lock);

#endif
