/*
 * kernels/top_cpu.c - offers to a top: a vector of scores of which none is better than the worst
 * kept is passed over at once.
 */
#include "kernels/top.h"

CPU_INLINE bool any_above(cpu_vector x, cpu_vector limit)
{
#if defined(__AVX512F__)
    return _mm512_cmp_ps_mask((__m512)x, (__m512)limit, _CMP_GT_OQ) != 0;
#elif defined(__AVX2__)
    return _mm256_movemask_ps(_mm256_cmp_ps((__m256)x, (__m256)limit, _CMP_GT_OQ)) != 0;
#elif defined(__SSE2__)
    return _mm_movemask_ps(_mm_cmpgt_ps((__m128)x, (__m128)limit)) != 0;
#else
    return x[0] > limit[0] || x[1] > limit[1] || x[2] > limit[2] || x[3] > limit[3];
#endif
}

/* Rows come in rising order, so one that is as good as the worst kept is behind it: it has to be
 * above. Comparisons with NaN are false. */
CPU_INLINE void offer_one(struct top *top, float score, int32_t row)
{
    if (!(top->limited ? score > top->limit : score == score))
        return;
    top->keys[top->count++] = top_key(score, row);
    if (top->count == 2 * top->k)
        top_keep(top);
}

void CPU(top_offer)(struct top *top, const float *scores, int32_t first, int32_t count)
{
    int32_t i = 0;

    if (top->k == 0)
        return;
    for (; i + CPU_LANES <= count; i += CPU_LANES) {
        if (top->limited && !any_above(cpu_load(scores + i), cpu_splat(top->limit)))
            continue;
        for (int32_t lane = 0; lane < CPU_LANES; lane++)
            offer_one(top, scores[i + lane], first + i + lane);
    }
    for (; i < count; i++)
        offer_one(top, scores[i], first + i);
}
