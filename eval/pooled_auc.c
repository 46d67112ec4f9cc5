/* eval/pooled_auc.c - two histograms over the upper half of a float, in the order of its value. */
#include "eval/pooled_auc.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define BINS (1 << 16)

struct pooled_auc {
    int64_t targets[BINS], others[BINS];
};

struct pooled_auc *pooled_auc_create(void)
{
    return calloc(1, sizeof(struct pooled_auc));
}

void pooled_auc_destroy(struct pooled_auc *pooled)
{
    free(pooled);
}

/* Of a larger score not a smaller one: negative floats are ordered by their bits turned round. */
static uint32_t bin_of(float score)
{
    float positive_zero = score + 0.0f;
    uint32_t bits;

    memcpy(&bits, &positive_zero, sizeof bits);
    bits = (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
    return bits >> 16;
}

void pooled_auc_add(struct pooled_auc *pooled, const float *scores, int32_t count, int32_t target)
{
    if (target < 0 || target >= count || !(scores[target] > -INFINITY))
        return;
    for (int32_t i = 0; i < count; i++)
        if (scores[i] > -INFINITY)
            pooled->others[bin_of(scores[i])]++;
    pooled->others[bin_of(scores[target])]--;
    pooled->targets[bin_of(scores[target])]++;
}

void pooled_auc_merge(struct pooled_auc *pooled, const struct pooled_auc *other)
{
    for (int i = 0; i < BINS; i++) {
        pooled->targets[i] += other->targets[i];
        pooled->others[i] += other->others[i];
    }
}

double pooled_auc_value(const struct pooled_auc *pooled)
{
    double below = 0, won = 0, targets = 0;

    for (int i = 0; i < BINS; i++) {
        won += (double)pooled->targets[i] * (below + .5 * (double)pooled->others[i]);
        below += (double)pooled->others[i];
        targets += (double)pooled->targets[i];
    }
    return targets > 0 && below > 0 ? won / (targets * below) : NAN;
}
