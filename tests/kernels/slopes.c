/* tests/kernels/slopes.c - see slopes.h. */
#include "tests/kernels/slopes.h"

#include "ops/random.h"
#include "tests/test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define BEYOND 64 /* floats */
#define STEP   1e-3f

float *slopes_zeros(size_t count)
{
    size_t bytes = ((count + BEYOND) * sizeof(float) + 63) / 64 * 64;
    float *x = aligned_alloc(64, bytes);

    CHECK(x != NULL);
    memset(x, 0, bytes);
    return x;
}

float *slopes_random(size_t count, double deviation, uint64_t seed)
{
    float *x = slopes_zeros(count);
    struct random random;

    random_seed(&random, seed);
    for (size_t i = 0; i < count; i++)
        x[i] = (float)(deviation * random_normal(&random));
    return x;
}

double slopes_dot(const double *out, const float *weight, size_t count)
{
    double sum = 0;

    for (size_t i = 0; i < count; i++)
        sum += out[i] * (double)weight[i];
    return sum;
}

void slopes_check(slopes_function *f, void *context, float *x, const float *got, size_t count,
                  double tolerance)
{
    for (size_t i = 0; i < count; i++) {
        float kept = x[i], high = kept + STEP, low = kept - STEP;
        double up, want;

        x[i] = high;
        up = f(context);
        x[i] = low;
        want = (up - f(context)) / ((double)high - (double)low);
        x[i] = kept;
        CHECK_NEAR(want, (double)got[i], tolerance * (1 + fabs(want)));
    }
}
