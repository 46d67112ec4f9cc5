/* Tests machine/verdict: each row of the table in its header, and nothing between the rows. */
#include "machine/verdict.h"

#include "tests/test.h"

#include <string.h>

static const uint8_t ours[STORE_TOKEN_BYTES] = "0123456789abcde";
static const uint8_t theirs[STORE_TOKEN_BYTES] = "0123456789abcdf";

static struct store_m m_with(const uint8_t *token, int64_t next)
{
    struct store_m m = {.has_token = token != NULL, .has_state = next >= 0, .state.next = next};

    if (token != NULL)
        memcpy(m.token, token, STORE_TOKEN_BYTES);
    return m;
}

static int verdict(const uint8_t *token, int64_t next, int64_t believed, int64_t unanswered)
{
    struct store_m m = m_with(token, next);

    return (int)verdict_of(&m, ours, believed, unanswered);
}

TEST(verdict_is_fenced_without_our_token_or_without_next)
{
    CHECK_INT(VERDICT_FENCED, verdict(NULL, 10, 10, -1));
    CHECK_INT(VERDICT_FENCED, verdict(theirs, 10, 10, -1));
    CHECK_INT(VERDICT_FENCED, verdict(theirs, 9, 10, -1)); /* not BEHIND: it is not ours to say */
    CHECK_INT(VERDICT_FENCED, verdict(ours, -1, 0, -1));
    CHECK_INT(VERDICT_FENCED, verdict(NULL, -1, 10, -1));
}

TEST(verdict_compares_next_with_belief)
{
    CHECK_INT(VERDICT_GO_ON, verdict(ours, 10, 10, -1));
    CHECK_INT(VERDICT_GO_ON, verdict(ours, 0, 0, 5));
    CHECK_INT(VERDICT_BEHIND, verdict(ours, 9, 10, -1));
    CHECK_INT(VERDICT_BEHIND, verdict(ours, 9, 10, 9)); /* a rollback to what was sent once */
    CHECK_INT(VERDICT_APPLIED, verdict(ours, 12, 10, 12));
    CHECK_INT(VERDICT_AHEAD, verdict(ours, 12, 10, 13));
    CHECK_INT(VERDICT_AHEAD, verdict(ours, 12, 10, -1));
}
