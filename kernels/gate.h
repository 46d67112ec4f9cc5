/*
 * kernels/gate.h - y = u * norm(o): the gate between attention and the second product.
 *
 * Flow: attention -> [gate] -> linear -> residual
 *
 *     on = norm(o) (kernels/norm.h),  y = u * on
 *     du = dy * on,  do = norm's gradient of (dy * u)
 *
 * The silu attention's division by P moves into epsilon: norm with epsilon of o / P is norm
 * with epsilon * P^2 of o, so nobody divides a whole matrix.
 *
 * Dims: R rows   C channels, a multiple of 16
 * Errors: none. Thread: any; rows are independent.
 * Accuracy: 1e-5 * (1 + |ref|) while |o| <= 100 and its deviation >= 1e-2.
 */
#ifndef KERNELS_GATE_H
#define KERNELS_GATE_H

#include "kernels/cpu.h"

/* y, o: (R, C); u: R rows of C floats, u_pitch apart; on (R, C) and rstd (R): both or neither
 * NULL; the backward pass needs them. */
CPU_DECLARE(void, gate_forward, float *y, float *on, float *rstd, const float *o, const float *u,
            int32_t u_pitch, int32_t R, int32_t C, float epsilon);
void gate_forward_ref(double *y, const float *o, const float *u, int32_t u_pitch, int32_t R,
                      int32_t C, float epsilon);

/* du: R rows of C, du_pitch apart, is set; d_o (R, C) is set; dy (R, C). */
CPU_DECLARE(void, gate_backward, float *du, int32_t du_pitch, float *d_o, const float *dy,
            const float *on, const float *rstd, const float *u, int32_t u_pitch, int32_t R,
            int32_t C);

#endif
