/* tests/ops/test_defence.c - what a defence is worth with and without WITHOUT_<name>. */
#include "ops/defence.h"
#include "tests/test.h"

#define WITHOUT_TEST_GONE 1

TEST(defence_stands_unless_it_is_taken_away)
{
    CHECK_INT(DEFENCE(TEST_THERE), 1);
    CHECK_INT(DEFENCE(TEST_GONE), 0);
}
