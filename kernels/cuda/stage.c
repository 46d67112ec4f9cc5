/* kernels/cuda/stage.c - requests of a batch as the numbers that kernels read. */
#include "kernels/cuda/stage.h"

#include "kernels/bucket.h"

#include <string.h>

struct stage_rows stage_rows_from(struct stage_rows rows, int64_t first)
{
    return (struct stage_rows){rows.item + first, rows.action + first, rows.gap + first,
                               rows.hour + first};
}

void stage_history(struct stage_rows to, const struct request *request, int32_t skip,
                   int32_t actions)
{
    const struct batch *batch = request->batch;

    for (int32_t j = skip; j < request->n; j++) {
        int32_t row = j - skip, t = request->token + j;

        if (j < request->contexts) {
            to.item[row] = BATCH_ITEM_UNKNOWN;
            to.action[row] = CUDA_ACTION_NONE;
            to.gap[row] = CUDA_GAP_CONTEXT;
            to.hour[row] = j * BATCH_CONTEXT_CODES + request_context(request, j);
            continue;
        }
        to.item[row] = batch->item[t];
        to.action[row] = batch->action[t] > BATCH_ACTION_TARGET && batch->action[t] < actions
                             ? batch->action[t]
                             : CUDA_ACTION_NONE;
        to.gap[row] = j == request->contexts ? BUCKET_GAP_NONE
                                             : bucket_of(batch->time_ms[t], batch->time_ms[t - 1]);
        to.hour[row] = bucket_hour(batch->time_ms[t]);
    }
}

void stage_candidates(struct stage_rows to, const struct request *request)
{
    const struct batch *batch = request->batch;
    int32_t last = request->token + request->n - 1;
    int32_t gap = request->n == request->contexts
                      ? BUCKET_GAP_NONE
                      : bucket_of(request->now_ms, batch->time_ms[last]);

    for (int32_t i = 0; i < request->m; i++) {
        to.item[i] = batch->candidate_item[request->candidate + i];
        to.action[i] = BATCH_ACTION_TARGET;
        to.gap[i] = gap;
        to.hour[i] = bucket_hour(request->now_ms);
    }
}

void stage_times(int64_t *to, const struct request *request)
{
    for (int32_t j = 0; j < request->n; j++)
        to[j] = j < request->contexts ? INT64_MAX : request->batch->time_ms[request->token + j];
}

void stage_pages(int32_t *slots, int32_t *keep, const struct kv_lease *lease)
{
    int32_t first = lease->found * KV_PAGE_ROWS;

    for (int32_t p = 0; p < lease->found; p++)
        slots[p] = lease->slots[p];
    for (int32_t j = first; j < lease->rows; j++) {
        int32_t p = j / KV_PAGE_ROWS;
        int32_t slot = p < lease->pages ? lease->slots[p] : KV_SLOT_NONE;

        keep[j - first] = slot == KV_SLOT_NONE ? CUDA_KEEP_NONE
                                               : slot * KV_PAGE_ROWS + j % KV_PAGE_ROWS;
    }
}

int32_t stage_tiles_count(int32_t rows)
{
    return (rows + CUDA_TILE_ROWS - 1) / CUDA_TILE_ROWS;
}

struct cuda_tile *stage_tiles(struct cuda_tile *tile, int32_t request, int32_t first, int32_t rows)
{
    for (int32_t at = 0; at < rows; at += CUDA_TILE_ROWS)
        *tile++ = (struct cuda_tile){request, first + at,
                                     rows - at < CUDA_TILE_ROWS ? rows - at : CUDA_TILE_ROWS};
    return tile;
}

void stage_copy(void *to, const void *from, int64_t count, size_t bytes)
{
    if (count > 0)
        memcpy(to, from, (size_t)count * bytes);
}
