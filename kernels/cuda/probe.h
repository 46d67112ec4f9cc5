/*
 * kernels/cuda/probe.h - is there a GPU that computes what we ask of it?
 *
 * Flow: start -> [probe] -> backend
 */
#ifndef KERNELS_CUDA_PROBE_H
#define KERNELS_CUDA_PROBE_H

#include "ops/status.h"

struct probe {
    char text[240]; /* "NVIDIA ..., compute capability 9.0" */
    int capability; /* 90 */
};

/* Device 0: the count, its compute capability (7.5 or more), cuBLAS, and a product and a norm with
 * the right result. Errors: ERR_DEVICE, with what failed. */
MUST_CHECK enum status probe_device(struct probe *probe, struct error *err);

#endif
