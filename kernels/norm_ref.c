/* kernels/norm_ref.c - the yardstick of norm_cpu.c: plain loops in double. */
#include "kernels/norm.h"

void norm_forward_ref(double *out, double *rstd, const float *x, int32_t R, int32_t C,
                      float epsilon)
{
    for (int64_t r = 0; r < R; r++) {
        const float *row = x + r * C;
        double mean = 0, square = 0, scale;

        for (int32_t c = 0; c < C; c++)
            mean += row[c];
        mean /= C;
        for (int32_t c = 0; c < C; c++)
            square += (row[c] - mean) * (row[c] - mean);
        scale = 1 / sqrt(square / C + (double)epsilon);
        if (rstd != NULL)
            rstd[r] = scale;
        for (int32_t c = 0; c < C; c++)
            out[r * C + c] = (row[c] - mean) * scale;
    }
}
