/* Tests ingest/verify_fed: users of one partition and of several, and where counting stops. */
#include "ingest/verify_fed.h"

#include "tests/test.h"

#define LAST (VERIFY_FED_PLACES_MAX - 1)

static struct verify_fed fed;
static struct error err;

static void note(uint64_t user, int place, int times)
{
    for (int i = 0; i < times; i++)
        CHECK_STATUS(OK, verify_fed_note(&fed, user, place, &err));
}

static void check(uint64_t user, bool mixed, int64_t records)
{
    int64_t found = -1;

    CHECK(verify_fed_mixed(&fed, user, &found) == mixed);
    CHECK_INT(records, found);
}

TEST(verify_fed_tells_users_of_several_partitions)
{
    CHECK_STATUS(OK, verify_fed_init(&fed, VERIFY_FED_PLACES_MAX, &err));
    CHECK_STATUS(OK, verify_fed_begin(&fed, &err));
    note(7, 0, 3);
    note(8, LAST, 5);
    check(7, false, 3);
    check(8, false, 5);
    check(9, false, 0);
    CHECK(fed.mixed == 0 && fed.slack[0] == 0 && fed.slack[LAST] == 0);
    note(8, 2, 4); /* what it had before counts, too */
    check(8, true, 9);
    check(7, false, 3);
    CHECK(fed.mixed == 1 && fed.slack[LAST] == 5 && fed.slack[2] == 4);
    note(8, LAST, 1);
    CHECK(fed.mixed == 1 && fed.slack[LAST] == 6);
    /* Another pass: other users; what was found stays. */
    CHECK_STATUS(OK, verify_fed_begin(&fed, &err));
    check(8, false, 0);
    CHECK(fed.mixed == 1 && fed.slack[LAST] == 6);
    verify_fed_end(&fed);
    verify_fed_clear(&fed);
    verify_fed_clear(&fed);
}

TEST(verify_fed_says_when_there_are_too_many_to_count)
{
    const int most = (1 << 19) - 1;

    CHECK_STATUS(OK, verify_fed_init(&fed, 2, &err));
    CHECK_STATUS(OK, verify_fed_begin(&fed, &err));
    note(7, 1, most - 1);
    check(7, false, most - 1);
    note(7, 1, 2);
    check(7, false, INT64_MAX);
    verify_fed_clear(&fed);
}
