/* kernels/top.c - which keys are kept. */
#include "kernels/top.h"

#include <assert.h>

void top_begin(struct top *top, uint64_t *keys, int32_t k)
{
    assert(k >= 0);
    *top = (struct top){.keys = keys, .k = k};
}

void top_keep(struct top *top)
{
    uint64_t worst = 0;

    if (top->count < top->k || top->k == 0)
        return;
    top_key_select(top->keys, top->count, top->k);
    top->count = top->k;
    for (int32_t i = 0; i < top->k; i++)
        worst = top->keys[i] > worst ? top->keys[i] : worst;
    top->limited = true;
    top->limit = top_key_score(worst);
}

void top_end(struct top *top, int32_t *rows, float *scores)
{
    top_keep(top);
    top_key_sort(top->keys, top->count);
    for (int32_t i = 0; i < top->k; i++) {
        rows[i] = i < top->count ? top_key_row(top->keys[i]) : -1;
        scores[i] = i < top->count ? top_key_score(top->keys[i]) : -INFINITY;
    }
}
