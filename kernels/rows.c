/* kernels/rows.c - sparse gradients of a table. */
#include "kernels/rows.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

void rows_release(struct rows *rows)
{
    free(rows->slot_of);
    free(rows->row_of);
    free(rows->slots);
    *rows = (struct rows){0};
}

enum status rows_reserve(struct rows *rows, int32_t V, int32_t C, int64_t touched_max,
                         struct error *err)
{
    int64_t capacity = touched_max < V ? touched_max : V;

    assert(V > 0 && C > 0 && touched_max >= 0);
    rows_clear(rows);
    if (rows->V >= V && rows->C == C && rows->capacity >= capacity)
        return OK;
    if (capacity < rows->capacity && rows->C == C)
        capacity = rows->capacity;
    rows_release(rows);
    rows->slot_of = calloc((size_t)V, sizeof *rows->slot_of);
    rows->row_of = malloc((size_t)(capacity + 1) * sizeof *rows->row_of);
    rows->slots = aligned_alloc(64, ((size_t)(capacity + 1) * (size_t)C * sizeof(float) + 63) / 64 *
                                        64);
    if (rows->slot_of == NULL || rows->row_of == NULL || rows->slots == NULL) {
        rows_release(rows);
        return error_set(err, ERR_NOMEM, "no memory for gradients of %lld item rows",
                         (long long)capacity);
    }
    rows->V = V;
    rows->C = C;
    rows->capacity = (int32_t)capacity;
    return OK;
}

void rows_clear(struct rows *rows)
{
    for (int32_t i = 0; i < rows->count; i++)
        rows->slot_of[rows->row_of[i]] = 0;
    rows->count = 0;
}

float *rows_slot(struct rows *rows, int32_t row)
{
    int32_t slot;

    assert(row >= 0 && row < rows->V);
    slot = rows->slot_of[row] - 1;
    if (slot < 0) {
        assert(rows->count < rows->capacity);
        slot = rows->count++;
        rows->slot_of[row] = slot + 1;
        rows->row_of[slot] = row;
        memset(rows->slots + (int64_t)slot * rows->C, 0, (size_t)rows->C * sizeof(float));
    }
    return rows->slots + (int64_t)slot * rows->C;
}

void rows_add(struct rows *a, const struct rows *b)
{
    assert(a->C == b->C);
    for (int32_t i = 0; i < b->count; i++) {
        float *to = rows_slot(a, b->row_of[i]);
        const float *from = b->slots + (int64_t)i * b->C;

        for (int32_t c = 0; c < b->C; c++)
            to[c] += from[c];
    }
}
