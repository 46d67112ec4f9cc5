/*
 * kernels/embed.h - from ids, actions and times to token rows.
 *
 * Flow: request -> [embed] -> layers
 *
 *     history    x_j = sqrt(C) * emb[item_j] + act[action_j] + gap[g_j] + hour[h_j]
 *     candidate  the same with the target action, the gap since the last event, the request's hour
 *     context    x_j = context[j, code_j], in front of the history
 *
 * g_0 is BUCKET_GAP_NONE, as is a candidate's without history. No position and no clock time
 * enter here: a history's rows do not change while only time passes.
 *
 * Dims:
 *     n  rows of context and history
 *     m  candidates
 *     C  channels, a multiple of 16
 *     V  item rows
 *     A  actions
 *
 * Rows: history padded to cpu_pad_rows(n), then candidates padded likewise; padding is set to 0.
 * An item outside 0..V-1 is row 0. An action outside 1..A-1 adds nothing.
 *
 * Errors: none. Thread: any. Accuracy: 1e-6 * (1 + |ref|).
 */
#ifndef KERNELS_EMBED_H
#define KERNELS_EMBED_H

#include "kernels/bucket.h"
#include "kernels/cpu.h"
#include "kernels/request.h"
#include "kernels/rows.h"

struct embed {
    int32_t C, V, A;
    const float *emb;     /* (V, C) */
    const float *act;     /* (A, C) */
    const float *gap;     /* (BUCKET_GAPS, C) */
    const float *hour;    /* (BUCKET_HOURS, C) */
    const float *context; /* (contexts * BATCH_CONTEXT_CODES, C), or NULL for requests without */
};

static inline int32_t embed_row(int32_t item, int32_t V)
{
    return item >= 0 && item < V ? item : BATCH_ITEM_UNKNOWN;
}

/* x: (cpu_pad_rows(n), C). */
CPU_DECLARE(void, embed_history, float *x, const struct embed *tables,
            const struct request *request);
/* Candidates first .. first + count - 1: x and e (cpu_pad_rows(count), C); e: sqrt(C) * emb. */
CPU_DECLARE(void, embed_candidates, float *x, float *e, const struct embed *tables,
            const struct request *request, int32_t first, int32_t count);
/* Both: x (rows, C), e (candidate rows, C). */
void embed_forward_ref(double *x, double *e, const struct embed *tables,
                       const struct request *request);

/**
 * The first layer's [U|V|Q|K] looked up in place of computed. A norm takes out the mean and divides
 * by the deviation, so with W' = W1 less the mean of each of its columns
 *
 *     SiLU(norm(x) W1 + b1) = SiLU(rstd(x) * x W' + b1)
 *
 * and x W' is a sum of rows of table W': products of weights alone, made once by embed_fold(). That
 * leaves a pass over 4 C numbers of the first of L products of C x 4 C a row, for 4 C floats of
 * memory an item; whoever prepares weights decides whether that is worth it.
 *
 * Each table has the rows of the one it is named after, 4 C wide. memory of embed_fold(): as
 * embed_fold_floats() says, and it lives as long as the tables.
 * Accuracy: as norm and linear one after the other.
 */
struct embed_folded {
    const float *emb; /* NULL: nothing is folded */
    const float *act, *gap, *hour, *context;
    const float *bias; /* (4 C) b1, scaled as the pass over them wants it */
};

#define EMBED_CHANNELS_MAX 1024
#define EMBED_FOLD_ROWS    (8 * CPU_ROW_PAD) /* multiplied at a time */

static inline int64_t embed_fold_floats(const struct embed *tables, int32_t context_rows)
{
    int64_t C = tables->C, rows = (int64_t)tables->V + tables->A + context_rows;

    return 4 * C * (rows + BUCKET_GAPS + BUCKET_HOURS + 1 + EMBED_FOLD_ROWS + 2 * C) +
           EMBED_FOLD_ROWS * C;
}

/* w1 (C, 4 C), b1 (4 C): of the first layer; context_rows: of tables->context, or 0. */
CPU_DECLARE(void, embed_fold, struct embed_folded *folded, const struct embed *tables,
            int32_t context_rows, const float *w1, const float *b1, float *memory);
/* z (rows, 4 C) of the history's rows from number first on, and of candidates first .. first +
 * count - 1, from the rows x that embed_history() and embed_candidates() made; z and x: of the
 * first of them. Padding rows of z stay as they are. epsilon: the norm's. */
CPU_DECLARE(void, embed_history_folded, float *z, const float *x, const struct embed *tables,
            const struct embed_folded *folded, const struct request *request, int32_t first,
            float epsilon);
CPU_DECLARE(void, embed_candidates_folded, float *z, const float *x, const struct embed *tables,
            const struct embed_folded *folded, const struct request *request, int32_t first,
            int32_t count, float epsilon);

/* Where gradients are added to; shapes as the tables. */
struct embed_gradient {
    float *act, *gap, *hour, *context;
    struct rows *emb;
};
/* Adds the gradient of all rows: dx (rows, C), de (candidate rows, C). */
CPU_DECLARE(void, embed_backward, const struct embed_gradient *gradient, const float *dx,
            const float *de, const struct embed *tables, const struct request *request);

#endif
