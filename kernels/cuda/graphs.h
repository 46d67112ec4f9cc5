/*
 * kernels/cuda/graphs.h - a request's launches as one: CUDA graphs for a few shapes.
 *
 * Flow: staged batch -> [graph of its shape: made once, launched each time] -> scores
 *
 * A small request is some dozens of launches of a few microseconds each, which the host queues no
 * faster than the device runs them. A graph queues them at once. It holds shapes and addresses and
 * no numbers: requests are padded to one of a few shapes, their numbers lie where those of the one
 * before lay, and weights that are brought up to date in place are read where they are. Weights
 * that moved, another model, another cache of K and V and memory that grew are other graphs; how
 * much of a history the cache holds is a number like others.
 *
 * Owner: a pass, until graphs_clear(); zeroed is empty. Thread: one at a time.
 */
#ifndef KERNELS_CUDA_GRAPHS_H
#define KERNELS_CUDA_GRAPHS_H

#include "ops/status.h"

#include <cuda_runtime.h>

#include <stdbool.h>
#include <stdint.h>

#define GRAPHS_MAX 8 /* a pass keeps; the one that was not used for longest goes */
#ifndef GRAPHS_REST
#define GRAPHS_REST 256 /* requests without, after one whose graph was refused */
#endif
/* More history rows or candidates, or requests, go without: they keep the device busy. */
#define GRAPHS_ROWS   4096
#define GRAPHS_B      64
#define GRAPHS_TOKENS 65536 /* of histories, those that pages hold included */

/* Everything that launches depend on. */
struct graph_key {
    uint64_t place; /* of the weights */
    const void *memory, *staging, *pool;
    int32_t B, T, N, tokens;
};

struct graphs {
    struct {
        struct graph_key key;
        cudaGraphExec_t made; /* NULL: free */
        uint64_t used;
    } rows[GRAPHS_MAX];
    uint64_t clock;
    int32_t without; /* requests to go launch by launch yet, after a call that was refused */
};

/* Rounds requests, rows of histories and of candidates, and tokens of histories up to a shape there
 * are graphs of; false, and nothing changes, for those that are too large. */
bool graphs_shape(int32_t *B, int32_t *T, int32_t *N, int32_t *tokens);

/**
 * Launches the graph of that key on the stream; makes it first, of what queue() queues there. False
 * when the driver makes none, or queue() fails: then nothing was launched, and the caller does it.
 * That is logged, once a minute at most, and the next GRAPHS_REST requests go without: a driver
 * that captures none says it as one does whose capture was spoiled, so no refusal is believed for
 * good.
 */
bool graphs_launch(struct graphs *graphs, const struct graph_key *key, cudaStream_t stream,
                   enum status (*queue)(void *context, struct error *err), void *context);
void graphs_clear(struct graphs *graphs);

/* For tests and timings: without them every request goes launch by launch. Thread: before others.
 */
void graphs_allow(bool allowed);
bool graphs_allowed(void);

#endif
