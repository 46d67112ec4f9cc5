/* kernels/gate_ref.c - the yardstick of gate_cpu.c: plain loops in double. */
#include "kernels/gate.h"

#include "kernels/norm.h"

void gate_forward_ref(double *y, const float *o, const float *u, int32_t u_pitch, int32_t R,
                      int32_t C, float epsilon)
{
    norm_forward_ref(y, NULL, o, R, C, epsilon);
    for (int64_t r = 0; r < R; r++)
        for (int32_t c = 0; c < C; c++)
            y[r * C + c] *= (double)u[r * u_pitch + c];
}
