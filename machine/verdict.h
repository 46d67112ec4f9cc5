/*
 * machine/verdict.h - what a stored m means to a process that believes it owns the partition.
 *
 * Flow: read of m -> [verdict] -> commit
 *
 *     no token, another's, or no `next`   FENCED   someone else claimed it, or it was deleted
 *     next = believed                     GO_ON
 *     next = `to` of an EXEC of ours whose answer was lost
 *                                         APPLIED  it was carried out
 *     next > believed                     AHEAD    an older one of ours was, later than we looked
 *     next < believed                     BEHIND   the store went back: never adopt it, rewind
 */
#ifndef MACHINE_VERDICT_H
#define MACHINE_VERDICT_H

#include "features/store.h"

enum verdict {
    VERDICT_GO_ON,
    VERDICT_FENCED,
    VERDICT_APPLIED,
    VERDICT_AHEAD,
    VERDICT_BEHIND,
};

/* unanswered_to: `to` of the EXEC whose answer was lost, STORE_NO_OFFSET: none. */
enum verdict verdict_of(const struct store_m *m, const uint8_t token[STORE_TOKEN_BYTES],
                        int64_t believed_next, int64_t unanswered_to);

#endif
