/*
 * kernels/cuda/stage.h - requests of a batch as the numbers that kernels read.
 *
 * Flow: batch -> [rows of tables, tiles] -> one copy to the device -> embed, attention
 *
 * Everything that depends on times and on the user's order is worked out here, by the rules of
 * kernels/bucket.h, so that the device only looks rows up. Thread: any.
 */
#ifndef KERNELS_CUDA_STAGE_H
#define KERNELS_CUDA_STAGE_H

#include "kernels/cuda/ops.h"
#include "kernels/kv_cache.h"
#include "kernels/request.h"

struct stage_rows {
    int32_t *item, *action, *gap, *hour;
};

/* rows, from number first on. */
struct stage_rows stage_rows_from(struct stage_rows rows, int64_t first);

/* Tokens of the request, those of context first, from number skip on; actions: how many the model
 * knows. */
void stage_history(struct stage_rows to, const struct request *request, int32_t skip,
                   int32_t actions);
void stage_candidates(struct stage_rows to, const struct request *request);

/* Times of all its tokens. Those of context have none: later than any, so that bucket_of() is 0. */
void stage_times(int64_t *to, const struct request *request);

/* slots (lease->found): the pages that are there; keep (lease->rows less theirs): for each row
 * behind them where it is kept, as struct cuda_pages has it. */
void stage_pages(int32_t *slots, int32_t *keep, const struct kv_lease *lease);

/* Tiles of rows first .. first + rows - 1; stage_tiles() appends them and returns their end. */
int32_t stage_tiles_count(int32_t rows);
struct cuda_tile *stage_tiles(struct cuda_tile *tile, int32_t request, int32_t first, int32_t rows);

/* memcpy() of count elements; from may be NULL when there are none. */
void stage_copy(void *to, const void *from, int64_t count, size_t bytes);

#endif
