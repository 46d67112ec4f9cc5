/*
 * eval/bootstrap.c - the percentile bootstrap of a paired difference, over groups.
 *
 * The mean is over events, so a resample's mean is the ratio of two sums over the groups drawn:
 * each group is its sum of differences and its number of events, made once by sorting.
 */
#include "eval/bootstrap.h"

#include "ops/random.h"

#include <assert.h>
#include <stdlib.h>

struct group {
    uint64_t id;
    double difference;
    double events;
};

static int by_id(const void *a, const void *b)
{
    uint64_t x = ((const struct group *)a)->id;
    uint64_t y = ((const struct group *)b)->id;

    return (x > y) - (x < y);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;

    return (x > y) - (x < y);
}

/* One entry a group, in place; returns their number. */
static int64_t merge(struct group *groups, int64_t count)
{
    int64_t merged = 0;

    for (int64_t i = 0; i < count; i++) {
        if (merged > 0 && groups[merged - 1].id == groups[i].id) {
            groups[merged - 1].difference += groups[i].difference;
            groups[merged - 1].events += groups[i].events;
        } else {
            groups[merged++] = groups[i];
        }
    }
    return merged;
}

static double resample(struct random *random, const struct group *groups, int64_t count)
{
    double difference = 0, events = 0;

    for (int64_t i = 0; i < count; i++) {
        const struct group *group = &groups[random_below(random, (uint64_t)count)];

        difference += group->difference;
        events += group->events;
    }
    return difference / events;
}

enum status bootstrap_paired(const float *a, const float *b, const uint64_t *group, int64_t count,
                             int rounds, uint64_t seed, struct bootstrap_interval *interval,
                             struct error *err)
{
    struct group *groups;
    struct random random;
    double *means;
    double sum = 0;

    assert(count >= 0 && rounds >= 1);
    *interval = (struct bootstrap_interval){0};
    if (count == 0)
        return OK;
    groups = malloc((size_t)count * sizeof *groups);
    means = malloc((size_t)rounds * sizeof *means);
    if (groups == NULL || means == NULL) {
        free(groups);
        free(means);
        return error_set(err, ERR_NOMEM, "no memory for a bootstrap over %lld events",
                         (long long)count);
    }
    for (int64_t i = 0; i < count; i++) {
        groups[i] = (struct group){.id = group == NULL ? (uint64_t)i : group[i],
                                   .difference = (double)a[i] - (double)b[i],
                                   .events = 1};
        sum += groups[i].difference;
    }
    qsort(groups, (size_t)count, sizeof *groups, by_id);
    interval->groups = merge(groups, count);
    interval->difference = sum / (double)count;

    random_seed(&random, seed);
    for (int round = 0; round < rounds; round++)
        means[round] = resample(&random, groups, interval->groups);
    qsort(means, (size_t)rounds, sizeof *means, by_value);
    interval->low = means[(int)(.025 * (rounds - 1) + .5)];
    interval->high = means[(int)(.975 * (rounds - 1) + .5)];
    free(groups);
    free(means);
    return OK;
}
