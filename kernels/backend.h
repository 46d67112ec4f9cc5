/*
 * kernels/backend.h - which device scores: the CPU, or a GPU through kernels/cuda/.
 *
 * Flow: model_prepare() -> [put the weights on the device]; model_score() -> [score there]
 *
 * Chosen once a process, by FRESHET_BACKEND:
 *     not set   the GPU when there is one that works, else the CPU
 *     cpu       the CPU
 *     cuda      the GPU; without one that works no model is made (ERR_DEVICE says why)
 * A GPU works when: this program was built with nvcc; the driver counts a device; its compute
 * capability is 7.5 or more; cuBLAS loads and starts; a small product and norm come out right (a
 * device this build has no code for passes all the others).
 *
 * Training and next-item scores run on the CPU, whatever is chosen.
 * Thread: any.
 */
#ifndef KERNELS_BACKEND_H
#define KERNELS_BACKEND_H

#include "ops/status.h"
#include "schemas/batch.h"

struct network_state; /* kernels/network.h */
struct device_model;  /* weights on the device; read-only while it scores */
struct device_pass;   /* one thread's stream and memory on the device */

struct backend {
    const char *name; /* "cpu" or "cuda" */
    char why[240];    /* for people: "no device: CUDA driver version is insufficient ..." */

    /* All NULL for the CPU.
     *
     * put: makes *device, or brings its weights up to date; its memory is kept where it suffices.
     * score: as model_score() for a batch that was checked; *pass is made by the first call and
     * grows to the largest batch seen, after that nothing is allocated. drop takes NULL.
     * Errors: ERR_NOMEM, ERR_DEVICE. */
    enum status (*put)(struct device_model **device, const struct network_state *state,
                       struct error *err);
    void (*drop)(struct device_model *device);
    enum status (*score)(struct device_pass **pass, const struct device_model *device,
                         const struct batch *batch, float *scores, struct error *err);
    void (*drop_pass)(struct device_pass *pass);
};

/**
 * The choice of this process, for its whole life.
 * Errors: ERR_DEVICE  FRESHET_BACKEND is cuda and no GPU works, or is another word.
 */
MUST_CHECK enum status backend_choose(const struct backend **backend, struct error *err);

#endif
