/* Tests kernels/rows, kernels/sampler and kernels/crew: what a training step stands on. */
#include "kernels/crew.h"
#include "kernels/rows.h"
#include "kernels/sampler.h"

#include "tests/test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

TEST(rows_start_at_zero_keep_their_slots_and_are_forgotten)
{
    struct rows a = {0}, b = {0};
    struct error err;

    for (int round = 0; round < 3; round++) {
        CHECK_STATUS(OK, rows_reserve(&a, 10, 16, 3, &err));
        CHECK_STATUS(OK, rows_reserve(&b, 10, 16, 2, &err));
        CHECK_INT(0, a.count);
        rows_slot(&a, 9)[0] += 1;
        rows_slot(&a, 0)[15] += 2;
        rows_slot(&a, 9)[0] += 1;
        rows_slot(&b, 9)[0] = 5;
        rows_slot(&b, 4)[1] = 6;
        rows_add(&a, &b);
        CHECK_INT(3, a.count);
        CHECK(rows_slot(&a, 9)[0] == 7 && rows_slot(&a, 4)[1] == 6 && rows_slot(&a, 0)[15] == 2);
        CHECK(rows_slot(&a, 9)[1] == 0);
    }
    CHECK_STATUS(OK, rows_reserve(&a, 2000, 16, 5000, &err)); /* more touches than rows */
    for (int32_t row = 0; row < 2000; row++)
        CHECK(rows_slot(&a, row)[3] == 0);
    rows_release(&a);
    rows_release(&b);
    rows_release(&b);
}

TEST(sampler_draws_in_proportion_and_never_row_0)
{
    const float weights[6] = {100, 1, 0, 3, 0, 4};
    struct sampler sampler = {0};
    struct random random;
    int counts[6] = {0};
    struct error err;

    random_seed(&random, test_seed());
    for (int i = 0; i < 6000; i++)
        counts[sampler_draw(&sampler, &random, 6)]++;
    CHECK_INT(0, counts[0]);
    for (int v = 1; v < 6; v++)
        CHECK_NEAR(1200, counts[v], 150);
    memset(counts, 0, sizeof counts);
    CHECK_STATUS(OK, sampler_set(&sampler, weights, 6, &err));
    for (int i = 0; i < 8000; i++)
        counts[sampler_draw(&sampler, &random, 6)]++;
    for (int v = 0; v < 6; v++)
        CHECK_NEAR(v == 0 ? 0 : 1000 * (double)weights[v], counts[v], v % 2 == 0 ? 0 : 200);
    CHECK_NEAR(log(3. / 8), (double)sampler.log_q[3], 1e-6);
    CHECK(isfinite(sampler.log_q[2]));
    CHECK_STATUS(OK, sampler_cover(&sampler, 9, &err));
    CHECK(isfinite(sampler.log_q[8]));
    CHECK_STATUS(ERR_LIMIT, sampler_set(&sampler, (const float[]){1, -1}, 2, &err));
    CHECK_STATUS(ERR_LIMIT, sampler_set(&sampler, (const float[]){1, 0}, 2, &err));
    CHECK_INT(6, sampler.V); /* a refusal changes nothing */
    sampler_clear(&sampler);
}

struct tally {
    int calls[CREW_MAX];
};

static void count_call(void *context, int member)
{
    ((struct tally *)context)->calls[member]++;
}

TEST(crew_calls_every_member_once_a_run)
{
    for (int members = 1; members <= 5; members += 2) {
        struct tally tally = {{0}};
        struct crew *crew;
        struct error err;

        CHECK_STATUS(OK, crew_create(&crew, members, &err));
        CHECK_INT(members, crew_members(crew));
        for (int run = 1; run <= 200; run++) {
            crew_run(crew, count_call, &tally);
            for (int i = 0; i < CREW_MAX; i++)
                CHECK_INT(i < members ? run : 0, tally.calls[i]);
        }
        crew_destroy(crew);
    }
    crew_destroy(NULL);
}
