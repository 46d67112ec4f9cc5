/*
 * kernels/cuda/lesson.h - what a step learns from, laid out on the host as the kernels read it.
 *
 * Flow: batch, objective -> [requests that teach, negatives, sorted table rows] -> one copy -> tape
 *
 * Only requests with something to teach are here, and of those without a list no candidates, as on
 * the CPU. Negatives are drawn here, by the same rule and numbers as there
 * (kernels/trainer_lane.c). Gradients of a table's rows are added up by segments: which token used
 * which row is sorted here, by counting, and long segments are cut into chunks of LESSON_CHUNK.
 */
#ifndef KERNELS_CUDA_LESSON_H
#define KERNELS_CUDA_LESSON_H

#include "kernels/cuda/memory.h"
#include "kernels/cuda/ops_back.h"
#include "kernels/cuda/stage.h"
#include "kernels/trainer_private.h"

#define LESSON_CHUNK 32

/* chunk c is order[chunk[c] .. chunk[c + 1] - 1]; segment s is chunks segment[s] .. segment[s + 1]
 * - 1. */
struct lesson_segments {
    int32_t count, chunks;
    int32_t *order, *chunk, *segment;
};

/* Gradients of item rows come in this order: T + N rows, k targets, S * K negatives. */
struct lesson {
    int32_t B, T, N, F, k, S, K;
    int32_t tiles_count, history_tiles;

    struct stage_rows rows;                   /* (T + N) */
    int32_t *history_start, *candidate_start; /* (B + 1) */
    int64_t *time_ms, *request_time_ms;       /* (T), (B) */
    float *scalars;                           /* (N, F) */
    float *label, *weight, *teacher;          /* (N); the last two NULL where the batch has none */
    int32_t *position;                        /* (N) */
    struct cuda_tile *tiles;                  /* of histories, then of candidates */
    int32_t *next_row, *next_target, *next_set; /* (k) */
    int32_t *set_start, *negatives;             /* (S + 1), (S, K) */
    float *target_bias, *negatives_bias;        /* (k), (S, K) */
    struct lesson_segments items, act, gap, hour, context;
    int32_t *row_of, *slot_of;    /* (items.count), (V) -1: not touched */
    float *texts;                 /* (items.count, text) of those rows */
    struct cuda_dropped *dropped; /* (T + N), NULL without dropout */
};

/* Fills the counts; the segments' are then the most they can be. */
void lesson_count(struct lesson *lesson, const struct trainer *trainer);

/* Points the arrays into carve's block: the same layout on the host and on the device. */
void lesson_carve(struct lesson *lesson, const struct trainer *trainer, struct carve *carve);

/* How many numbers of scratch lesson_fill() wants. */
int64_t lesson_scratch(const struct lesson *lesson, const struct trainer *trainer);

/* Fills the arrays, which are the host's, and the segments' counts; scratch: int32_t; text (V,
 * text) of all item rows, or NULL. */
void lesson_fill(struct lesson *lesson, const struct trainer *trainer, const float *text,
                 int32_t *scratch);

#endif
