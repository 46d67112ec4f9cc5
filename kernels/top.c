/* kernels/top.c - keys, and which of them are kept. */
#include "kernels/top.h"

#include <assert.h>
#include <stdlib.h>

/* Floats order like their bits when those of negative ones are turned over and the sign of the
 * others is set. */
uint64_t top_key(float score, int32_t row)
{
    float one_zero = score == 0 ? 0 : score;
    uint32_t bits;

    memcpy(&bits, &one_zero, sizeof bits);
    bits = (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
    return (uint64_t)~bits << 32 | (uint32_t)row;
}

int32_t top_key_row(uint64_t key)
{
    return (int32_t)(uint32_t)key;
}

float top_key_score(uint64_t key)
{
    uint32_t bits = ~(uint32_t)(key >> 32);
    float score;

    bits = (bits & 0x80000000u) != 0 ? bits & 0x7fffffffu : ~bits;
    memcpy(&score, &bits, sizeof score);
    return score;
}

void top_begin(struct top *top, uint64_t *keys, int32_t k)
{
    assert(k >= 0);
    *top = (struct top){.keys = keys, .k = k};
}

/* Brings the k smallest to the front, in any order. No two keys are equal. */
static void select_first(uint64_t *keys, int32_t count, int32_t k)
{
    int32_t low = 0, high = count - 1;

    while (low < high) {
        uint64_t pivot = keys[low + (high - low) / 2];
        int32_t i = low, j = high;

        while (i <= j) {
            while (keys[i] < pivot)
                i++;
            while (keys[j] > pivot)
                j--;
            if (i <= j) {
                uint64_t moved = keys[i];

                keys[i++] = keys[j];
                keys[j--] = moved;
            }
        }
        if (k - 1 <= j)
            high = j;
        else if (k - 1 >= i)
            low = i;
        else
            return;
    }
}

void top_keep(struct top *top)
{
    uint64_t worst = 0;

    if (top->count < top->k || top->k == 0)
        return;
    select_first(top->keys, top->count, top->k);
    top->count = top->k;
    for (int32_t i = 0; i < top->k; i++)
        worst = top->keys[i] > worst ? top->keys[i] : worst;
    top->limited = true;
    top->limit = top_key_score(worst);
}

static int by_key(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

void top_end(struct top *top, int32_t *rows, float *scores)
{
    top_keep(top);
    if (top->count > 0)
        qsort(top->keys, (size_t)top->count, sizeof *top->keys, by_key);
    for (int32_t i = 0; i < top->k; i++) {
        rows[i] = i < top->count ? top_key_row(top->keys[i]) : -1;
        scores[i] = i < top->count ? top_key_score(top->keys[i]) : -INFINITY;
    }
}
