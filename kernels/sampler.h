/*
 * kernels/sampler.h - draws negative items, uniformly or in proportion to weights.
 *
 * Walker's alias method: a draw is two random numbers, whatever the number of rows.
 * Source: Walker 1977, in the form of Vose 1991.
 * Thread: draws are read-only.
 */
#ifndef KERNELS_SAMPLER_H
#define KERNELS_SAMPLER_H

#include "ops/random.h"
#include "ops/status.h"

#include <stdint.h>

struct sampler {
    int32_t V;        /* rows; 0: no weights, uniform */
    int32_t log_rows; /* rows of log_q */
    float *keep;      /* (V) probability of the row itself, else its alias */
    int32_t *alias;   /* (V) */
    float *log_q;     /* (log_rows) ln of the probability, floored */
};

/* Row 0 gets no weight. Zeroed sampler: uniform. On an error *sampler is unchanged.
 * Errors: ERR_LIMIT a weight that is negative or not finite, or none above 0; ERR_NOMEM. */
MUST_CHECK enum status sampler_set(struct sampler *sampler, const float *weights, int32_t V,
                                   struct error *err);
void sampler_clear(struct sampler *sampler); /* back to uniform; frees */

/* Extends log_q to V rows (new ones at the floor). Errors: ERR_NOMEM. */
MUST_CHECK enum status sampler_cover(struct sampler *sampler, int32_t V, struct error *err);

/* A row 1..V-1; V >= 2 of the table. */
int32_t sampler_draw(const struct sampler *sampler, struct random *random, int32_t V);

#endif
