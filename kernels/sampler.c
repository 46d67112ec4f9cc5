/* kernels/sampler.c - Walker's alias tables. */
#include "kernels/sampler.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Probability below which - ln Q would drown the cosine: a thousandth of the uniform one. */
#define FLOOR_OF_UNIFORM 1e-3

static float floor_log_q(int32_t V)
{
    return (float)log(FLOOR_OF_UNIFORM / (V > 1 ? V - 1 : 1));
}

void sampler_clear(struct sampler *sampler)
{
    free(sampler->keep);
    free(sampler->alias);
    free(sampler->log_q);
    *sampler = (struct sampler){0};
}

/* Rows with less than their share borrow the rest from one with more. small and large are
 * stacks that grow towards each other in one array of V rows. */
static void make_alias(struct sampler *s, double *share, int32_t *stack)
{
    int32_t small = 0, large = s->V;

    for (int32_t v = 0; v < s->V; v++) {
        if (share[v] < 1)
            stack[small++] = v;
        else
            stack[--large] = v;
    }
    while (small > 0 && large < s->V) {
        int32_t poor = stack[--small], rich = stack[large];

        s->keep[poor] = (float)share[poor];
        s->alias[poor] = rich;
        share[rich] -= 1 - share[poor];
        if (share[rich] < 1) {
            large++;
            stack[small++] = rich;
        }
    }
    while (large < s->V)
        s->keep[stack[large++]] = 1;
    while (small > 0) /* left over by rounding only; row 0 must not profit from it */
        if (stack[--small] != 0)
            s->keep[stack[small]] = 1;
    for (int32_t v = 1; v < s->V && s->alias[0] == 0; v++)
        if (s->keep[v] == 1.0f)
            s->alias[0] = v;
}

enum status sampler_set(struct sampler *sampler, const float *weights, int32_t V, struct error *err)
{
    struct sampler made = {.V = V, .log_rows = V};
    double total = 0, *share = NULL;
    int32_t *stack = NULL;
    enum status status = OK;

    for (int32_t v = 1; v < V; v++) {
        if (!(weights[v] >= 0 && isfinite(weights[v])))
            return error_set(err, ERR_LIMIT, "sampler: weight of row %d is %g", (int)v,
                             (double)weights[v]);
        total += (double)weights[v];
    }
    if (!(total > 0))
        return error_set(err, ERR_LIMIT, "sampler: no row of %d has a weight", (int)V);
    made.keep = calloc((size_t)V, sizeof *made.keep);
    made.alias = calloc((size_t)V, sizeof *made.alias);
    made.log_q = calloc((size_t)V, sizeof *made.log_q);
    share = malloc((size_t)V * sizeof *share);
    stack = malloc((size_t)V * sizeof *stack);
    if (made.keep == NULL || made.alias == NULL || made.log_q == NULL || share == NULL ||
        stack == NULL) {
        status = error_set(err, ERR_NOMEM, "no memory for a sampler of %d rows", (int)V);
        goto done;
    }
    for (int32_t v = 0; v < V; v++) {
        double q = v == 0 ? 0 : (double)weights[v] / total;

        share[v] = q * V;
        made.log_q[v] = fmaxf((float)log(q), floor_log_q(V));
    }
    make_alias(&made, share, stack);
    sampler_clear(sampler);
    *sampler = made;
    made = (struct sampler){0};
done:
    sampler_clear(&made);
    free(share);
    free(stack);
    return status;
}

enum status sampler_cover(struct sampler *sampler, int32_t V, struct error *err)
{
    float *log_q;

    if (sampler->V == 0 || V <= sampler->log_rows)
        return OK;
    log_q = realloc(sampler->log_q, (size_t)V * sizeof *log_q);
    if (log_q == NULL)
        return error_set(err, ERR_NOMEM, "no memory for a sampler of %d rows", (int)V);
    for (int32_t v = sampler->log_rows; v < V; v++)
        log_q[v] = floor_log_q(V);
    sampler->log_q = log_q;
    sampler->log_rows = V;
    return OK;
}

int32_t sampler_draw(const struct sampler *sampler, struct random *random, int32_t V)
{
    int32_t row;

    assert(V >= 2);
    if (sampler->V == 0)
        return 1 + (int32_t)random_below(random, (uint64_t)V - 1);
    /* Row 0 has no share: it always passes on to its alias. */
    row = (int32_t)random_below(random, (uint64_t)sampler->V);
    if (random_unit(random) >= (double)sampler->keep[row])
        row = sampler->alias[row];
    return row;
}
