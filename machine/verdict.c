/* machine/verdict.c - see verdict.h. */
#include "machine/verdict.h"

#include "machine/defences.h"

#include <string.h>

enum verdict verdict_of(const struct store_m *m, const uint8_t token[STORE_TOKEN_BYTES],
                        int64_t believed_next, int64_t unanswered_to)
{
    bool ours = m->has_token && memcmp(m->token, token, STORE_TOKEN_BYTES) == 0;

    if (!m->has_state || (DEFENCE_TOKEN && !ours))
        return VERDICT_FENCED;
    if (!DEFENCE_NEXT || m->state.next == believed_next)
        return VERDICT_GO_ON;
    if (m->state.next < believed_next)
        return DEFENCE_BEHIND ? VERDICT_BEHIND : VERDICT_AHEAD;
    return m->state.next == unanswered_to ? VERDICT_APPLIED : VERDICT_AHEAD;
}
