/*
 * kernels/cuda/forward.h - the model on a GPU: probe, weights, and the scores of a batch.
 *
 * Flow: staging (pinned) -> [embed -> (norm, product, attention, gate, product) x L -> head] ->
 * scores
 *
 * All requests of a batch go through the layers together. A pass owns a stream, a cuBLAS handle, a
 * block of pinned memory for what goes in and comes out, and a block of device memory; a batch
 * costs one copy in, its kernels, one copy out and one wait. History K and V stay in z, where every
 * candidate of the request reads them.
 *
 * Accuracy: 1e-4 * (1 + |score|) of the CPU's scores (tests/cuda/test_model.c).
 */
#ifndef KERNELS_CUDA_FORWARD_H
#define KERNELS_CUDA_FORWARD_H

#include "kernels/backend.h"

/* Probes in the order of kernels/backend.h and fills *backend on OK. Errors: ERR_DEVICE. */
MUST_CHECK enum status cuda_backend_open(struct backend *backend, struct error *err);

#endif
