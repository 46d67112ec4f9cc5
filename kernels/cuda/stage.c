/* kernels/cuda/stage.c - requests of a batch as the numbers that kernels read. */
#include "kernels/cuda/stage.h"

#include "kernels/bucket.h"

#include <string.h>

struct stage_rows stage_rows_from(struct stage_rows rows, int64_t first)
{
    return (struct stage_rows){rows.item + first, rows.action + first, rows.gap + first,
                               rows.hour + first};
}

void stage_history(struct stage_rows to, const struct batch *batch, int32_t b, int32_t skip,
                   int32_t actions)
{
    int32_t first = batch->history_start[b];

    for (int32_t t = first + skip; t < batch->history_start[b + 1]; t++) {
        int32_t action = batch->action[t], row = t - first - skip;

        to.item[row] = batch->item[t];
        to.action[row] = action > BATCH_ACTION_TARGET && action < actions ? action
                                                                          : CUDA_ACTION_NONE;
        to.gap[row] = t == first ? BUCKET_GAP_NONE
                                 : bucket_of(batch->time_ms[t], batch->time_ms[t - 1]);
        to.hour[row] = bucket_hour(batch->time_ms[t]);
    }
}

void stage_candidates(struct stage_rows to, const struct batch *batch, int32_t b)
{
    int32_t end = batch->history_start[b + 1], first = batch->candidate_start[b];
    int64_t now_ms = batch->request_time_ms[b];
    int32_t gap = end == batch->history_start[b] ? BUCKET_GAP_NONE
                                                 : bucket_of(now_ms, batch->time_ms[end - 1]);

    for (int32_t i = first; i < batch->candidate_start[b + 1]; i++) {
        to.item[i - first] = batch->candidate_item[i];
        to.action[i - first] = BATCH_ACTION_TARGET;
        to.gap[i - first] = gap;
        to.hour[i - first] = bucket_hour(now_ms);
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
