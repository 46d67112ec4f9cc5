/*
 * ops/random.h - seeded pseudo-random numbers for simulation, sampling and initial
 * weights: the same seed gives the same numbers on every machine. Never for secrets
 * (hash_random_bytes() is).
 *
 * Source: xoshiro256** 1.0, Blackman and Vigna, doi 10.1145/3460772, seeded by SplitMix64.
 * Thread: one per struct.
 */
#ifndef OPS_RANDOM_H
#define OPS_RANDOM_H

#include <stdint.h>

struct random {
    uint64_t s[4];
};

void random_seed(struct random *random, uint64_t seed);
uint64_t random_u64(struct random *random);
uint64_t random_below(struct random *random, uint64_t bound); /* 0..bound-1, unbiased; bound >= 1 */
double random_unit(struct random *random);                    /* [0, 1) */
double random_normal(struct random *random);                  /* mean 0, deviation 1 */
double random_exponential(struct random *random, double mean);

#endif
