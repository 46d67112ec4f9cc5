/* ops/random.c - xoshiro256**, and the distributions made from it. */
#include "ops/random.h"

#include <assert.h>
#include <math.h>

static uint64_t rotate_left(uint64_t x, int by)
{
    return x << by | x >> (64 - by);
}

/* SplitMix64 spreads any seed, 0 included, over the whole state. */
void random_seed(struct random *random, uint64_t seed)
{
    for (int i = 0; i < 4; i++) {
        uint64_t z = seed += 0x9e3779b97f4a7c15u;

        z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
        z = (z ^ z >> 27) * 0x94d049bb133111ebu;
        random->s[i] = z ^ z >> 31;
    }
}

uint64_t random_u64(struct random *random)
{
    uint64_t *s = random->s;
    uint64_t result = rotate_left(s[1] * 5, 7) * 9;
    uint64_t t = s[1] << 17;

    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate_left(s[3], 45);
    return result;
}

/* Source: Lemire, Fast random integer generation in an interval, doi 10.1145/3230636. */
uint64_t random_below(struct random *random, uint64_t bound)
{
    unsigned __int128 product;
    uint64_t low;

    assert(bound >= 1);
    product = (unsigned __int128)random_u64(random) * bound;
    low = (uint64_t)product;
    if (low < bound) {
        uint64_t threshold = -bound % bound;

        while (low < threshold) {
            product = (unsigned __int128)random_u64(random) * bound;
            low = (uint64_t)product;
        }
    }
    return (uint64_t)(product >> 64);
}

double random_unit(struct random *random)
{
    return (double)(random_u64(random) >> 11) * 0x1p-53;
}

/* Box and Muller's, one of the two values: no state beyond the generator's, so that a
 * sequence of draws can be cut anywhere and continued. 1 - u keeps the logarithm finite. */
double random_normal(struct random *random)
{
    double radius = sqrt(-2.0 * log(1.0 - random_unit(random)));

    return radius * cos(6.283185307179586 * random_unit(random));
}

double random_exponential(struct random *random, double mean)
{
    return -mean * log(1.0 - random_unit(random));
}
