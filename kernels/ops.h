/*
 * kernels/ops.h - the one table of ops: a column for each way to run them.
 *
 * Flow: model, trainer -> [table] -> x_cpu.c (base, v3, v4)
 *
 * The CPU's model calls ops only through a column; a GPU takes a whole batch at once
 * (kernels/cuda/). Columns are the same C compiled for three instruction sets (kernels/cpu.h);
 * the best that this machine has is picked once.
 */
#ifndef KERNELS_OPS_H
#define KERNELS_OPS_H

#include "kernels/attention.h"
#include "kernels/embed.h"
#include "kernels/gate.h"
#include "kernels/head.h"
#include "kernels/linear.h"
#include "kernels/linear_bf16.h"
#include "kernels/next.h"
#include "kernels/norm.h"
#include "kernels/optimizer.h"
#include "kernels/top.h"

#include <stdbool.h>

#define OPS_LIST(X)                                                                                \
    X(norm_forward)                                                                                \
    X(norm_backward_add)                                                                           \
    X(gate_forward)                                                                                \
    X(gate_backward)                                                                               \
    X(linear_pack)                                                                                 \
    X(linear_forward)                                                                              \
    X(linear_weights_add)                                                                          \
    X(linear_scale)                                                                                \
    X(linear_bf16_round)                                                                           \
    X(attention_buckets)                                                                           \
    X(attention_pack)                                                                              \
    X(attention_forward)                                                                           \
    X(attention_backward)                                                                          \
    X(embed_history)                                                                               \
    X(embed_candidates)                                                                            \
    X(embed_fold)                                                                                  \
    X(embed_history_folded)                                                                        \
    X(embed_candidates_folded)                                                                     \
    X(embed_backward)                                                                              \
    X(head_join)                                                                                   \
    X(head_score)                                                                                  \
    X(head_forward)                                                                                \
    X(head_backward)                                                                               \
    X(next_begin)                                                                                  \
    X(next_loss)                                                                                   \
    X(next_end)                                                                                    \
    X(next_norms)                                                                                  \
    X(next_scores)                                                                                 \
    X(next_scores_of)                                                                              \
    X(top_offer)                                                                                   \
    X(adamw_update)                                                                                \
    X(adamw_coast)                                                                                 \
    X(adagrad_update)                                                                              \
    X(squares_sum)                                                                                 \
    X(gradients_add)

struct ops {
    const char *name; /* "v3" */
#define X(op) __typeof__(op##_base) *op;
    OPS_LIST(X)
#undef X
};

/* The best column of this machine; always the same one in a process. FRESHET_ISA=base|v3|v4 in
 * the environment asks for another; one that the machine lacks is ignored. Thread: any. */
const struct ops *ops_cpu(void);

/* Column i of those this machine can run, best first; NULL after the last. For tests. */
const struct ops *ops_cpu_column(int i);

#endif
