/* kernels/top_key.c - keys, quickselect of them, and their sort. */
#include "kernels/top_key.h"

#include <stdlib.h>
#include <string.h>

/* Floats order like their bits when those of negative ones are turned over and the sign of the
 * others is set. */
uint64_t top_key(float score, int32_t row)
{
    float one_zero = score == 0 ? 0 : score;
    uint32_t bits;

    memcpy(&bits, &one_zero, sizeof bits);
    bits ^= (0u - (bits >> 31)) | 0x80000000u; /* signs are any: a branch would be guessed wrong */
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

uint64_t top_key_last(int32_t row)
{
    return UINT64_C(0xffffffff) << 32 | (uint32_t)row;
}

void top_key_select(uint64_t *keys, int32_t count, int32_t k)
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

static int by_key(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

void top_key_sort(uint64_t *keys, int32_t count)
{
    if (count > 0)
        qsort(keys, (size_t)count, sizeof *keys, by_key);
}
