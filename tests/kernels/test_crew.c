/* Tests kernels/crew: every member once a job, all of them before crew_run() returns, in any number
 * of jobs, also of a crew of one and of the largest. */
#include "kernels/crew.h"

#include "tests/test.h"

#include <pthread.h>
#include <stdbool.h>
#include <string.h>

struct tally {
    int of[CREW_MAX];
    pthread_t who[CREW_MAX];
};

static void count(void *context, int member)
{
    struct tally *tally = context;

    tally->of[member]++; /* a place of its own: no lock */
    tally->who[member] = pthread_self();
}

TEST(crew_does_each_job_once_with_every_member)
{
    static const int sizes[] = {1, 2, 7, CREW_MAX};
    static struct tally tally;
    struct crew *crew;
    struct error err;

    for (int s = 0; s < 4; s++) {
        memset(&tally, 0, sizeof tally);
        CHECK_STATUS(OK, crew_create(&crew, sizes[s], &err));
        CHECK_INT(sizes[s], crew_members(crew));
        for (int job = 1; job <= 50; job++) {
            crew_run(crew, count, &tally);
            for (int i = 0; i < CREW_MAX; i++)
                CHECK_INT(i < sizes[s] ? job : 0, tally.of[i]); /* none is at it any more */
        }
        CHECK(pthread_equal(pthread_self(), tally.who[0]) != 0);
        for (int i = 1; i < sizes[s]; i++)
            CHECK(pthread_equal(tally.who[0], tally.who[i]) == 0);
        crew_destroy(crew);
    }
}

static void note(void *context, int member)
{
    if (member == 1)
        *(bool *)context = true;
}

/* The next job may be another one, with another context. */
TEST(crew_forgets_the_job_before)
{
    static struct tally tally;
    struct crew *crew;
    struct error err;
    bool noted = false;

    memset(&tally, 0, sizeof tally);
    CHECK_STATUS(OK, crew_create(&crew, 3, &err));
    crew_run(crew, count, &tally);
    crew_run(crew, note, &noted);
    CHECK(noted);
    for (int i = 0; i < 3; i++)
        CHECK_INT(1, tally.of[i]);
    crew_destroy(crew);
}

TEST(crew_that_did_nothing_ends)
{
    struct crew *crew;
    struct error err;

    CHECK_STATUS(OK, crew_create(&crew, CREW_MAX, &err));
    crew_destroy(crew);
    crew_destroy(NULL);
}
