/*
 * tests/simulate/shrink.c - a failing seed's schedule, made short enough to be read.
 *
 * Records, faults and steps draw from streams of their own, so any of them can be left out and the
 * rest runs as before. Ever smaller pieces are left out while the same promise stays broken, until
 * nothing more can go.
 *
 * Source: Zeller and Hildebrandt, Simplifying and isolating failure-inducing input,
 * doi 10.1109/32.988498; of it the half that removes.
 */
#include "tests/simulate/world.h"

#include <string.h>

#define ROUNDS_MAX 8

struct shrinker {
    struct stage *stage;
    uint64_t seed;
    struct plan *plan;
    char what[80]; /* the promise that is broken */
    int runs;
};

static bool still_broken(struct shrinker *shrinker)
{
    const char *what = world_run(shrinker->stage, shrinker->seed, shrinker->plan, false);

    shrinker->runs++;
    return what != NULL && strcmp(what, shrinker->what) == 0;
}

/* Leaves out pieces of a list; true: something went. */
static bool leave_out(struct shrinker *shrinker, bool *out, int count)
{
    bool before[SLOTS_MAX];
    bool any = false;

    for (int piece = (count + 1) / 2;; piece = (piece + 1) / 2) {
        for (int first = 0; first < count; first += piece) {
            int last = first + piece < count ? first + piece : count;
            bool fresh = false;

            memcpy(before, out, (size_t)count * sizeof out[0]);
            for (int i = first; i < last; i++) {
                fresh |= !out[i];
                out[i] = true;
            }
            if (!fresh)
                continue;
            if (still_broken(shrinker))
                any = true;
            else
                memcpy(out, before, (size_t)count * sizeof out[0]);
        }
        if (piece == 1)
            return any;
    }
}

/* Rather than claim by claim. */
static bool settle_first(struct shrinker *shrinker)
{
    struct plan *plan = shrinker->plan;

    if (plan->settled)
        return false;
    plan->settled = true;
    if (still_broken(shrinker))
        return true;
    plan->settled = false;
    return false;
}

int shrink(struct stage *stage, uint64_t seed, struct plan *plan)
{
    struct shrinker shrinker = {.stage = stage, .seed = seed, .plan = plan};
    const char *what;
    bool any = true;

    *plan = (struct plan){.crash_after = plan->crash_after, .crash_of = plan->crash_of};
    what = world_run(stage, seed, plan, false);
    if (what == NULL)
        return 0;
    (void)strncpy(shrinker.what, what, sizeof shrinker.what - 1);
    for (int round = 0; round < ROUNDS_MAX && any; round++) {
        any = settle_first(&shrinker);
        any |= leave_out(&shrinker, plan->faults, SLOTS_MAX);
        any |= leave_out(&shrinker, plan->records, DRAWN_MAX);
        any |= leave_out(&shrinker, plan->steps, SLOTS_MAX);
    }
    return shrinker.runs;
}
