/* kernels/linear_ref.c - the yardstick of linear_cpu.c: plain loops in double. */
#include "kernels/linear.h"

void linear_forward_ref(double *out, double *slope, const float *x, int32_t R, const float *w,
                        const float *bias, int32_t K, int32_t N, enum linear_after after)
{
    for (int64_t r = 0; r < R; r++) {
        for (int32_t n = 0; n < N; n++) {
            double sum = bias != NULL ? (double)bias[n] : 0, sigmoid;

            for (int32_t k = 0; k < K; k++)
                sum += (double)x[r * K + k] * (double)w[(int64_t)k * N + n];
            sigmoid = 1 / (1 + exp(-sum));
            if (after == LINEAR_SILU) {
                if (slope != NULL)
                    slope[r * N + n] = sigmoid * (1 + sum * (1 - sigmoid));
                out[r * N + n] = sum * sigmoid;
            } else {
                out[r * N + n] = after == LINEAR_ADD ? out[r * N + n] + sum : sum;
            }
        }
    }
}
