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
 * What is chosen scores and learns all of the model, with every part switched either way (struct
 * model_switches), and with dropout. Thread: any.
 */
#ifndef KERNELS_BACKEND_H
#define KERNELS_BACKEND_H

#include "ops/status.h"
#include "schemas/batch.h"

#include <stdbool.h>
#include <stddef.h>

struct network_state;  /* kernels/network.h */
struct trainer;        /* kernels/trainer_private.h */
struct trainer_losses; /* kernels/trainer.h */
struct adamw;          /* kernels/optimizer.h */
struct kv_lease;       /* kernels/kv_cache.h */
struct device_model;   /* weights on the device; read-only while it scores */
struct device_pass;    /* one thread's stream and memory on the device */
struct device_learner; /* a trainer's weights, moments and memory on the device */

struct backend {
    const char *name; /* "cpu" or "cuda" */
    char why[240];    /* for people: "no device: CUDA driver version is insufficient ..." */
    bool bf16;        /* a GPU that multiplies bf16: compute capability 8.0 or more */

    /* All NULL for the CPU.
     *
     * put: makes *device, or brings its weights up to date; its memory is kept where it suffices.
     * score: as model_score() for a batch that was checked; *pass is made by the first call and
     * grows to the largest batch seen, after that nothing is allocated.
     * score_next: as model_next_all() when whole, else as model_next_candidates().
     * next_top: as model_next_top(), k at least 1.
     * pool: NULL, or pages of K and V; leases (B): what a request finds there is read, and not
     * computed, and places that it has beside are written. Nothing writes them after the return.
     * make_pool: such pages, of any alignment that rows want.
     * learn: the trainer's work: *sums as its lanes' together, *squares of the whole gradient;
     * *learner is made by the first call. update: the step that the last learn() led to; weights
     * and moments of the host are then the new ones, or, in a run (trainer_run_begin()), stay
     * behind until settle brings them. The drops take NULL. Errors: ERR_NOMEM, ERR_DEVICE. */
    enum status (*put)(struct device_model **device, const struct network_state *state,
                       struct error *err);
    void (*drop)(struct device_model *device);
    bool (*multiplies_bf16)(const struct device_model *device); /* told to, and able to */
    enum status (*score)(struct device_pass **pass, const struct device_model *device, float *pool,
                         const struct kv_lease *leases, const struct batch *batch, float *scores,
                         struct error *err);
    enum status (*score_next)(struct device_pass **pass, const struct device_model *device,
                              const struct batch *batch, bool whole, float *scores,
                              struct error *err);
    enum status (*next_top)(struct device_pass **pass, const struct device_model *device,
                            const struct batch *batch, int32_t V, int32_t k, int32_t *rows,
                            float *scores, struct error *err);
    enum status (*make_pool)(float **pool, size_t bytes, struct error *err);
    void (*drop_pool)(float *pool);
    enum status (*learn)(struct device_learner **learner, struct trainer *trainer,
                         const struct network_state *state, struct trainer_losses *sums,
                         double *squares, struct error *err);
    enum status (*update)(struct device_learner *learner, struct trainer *trainer,
                          const struct network_state *state, float scale,
                          const struct adamw *settings, struct error *err);
    enum status (*settle)(struct device_learner *learner, struct trainer *trainer,
                          const struct network_state *state, struct error *err);
    void (*drop_learner)(struct device_learner *learner);
    void (*drop_pass)(struct device_pass *pass);

    /* After an ERR_DEVICE: whether that was one call, or the device is lost. Has a few bytes go
     * there and back; what other threads do there goes on. */
    enum status (*works)(struct error *err);
};

/* OK where the device still does what it is asked, and always for the CPU. Errors: ERR_DEVICE,
 * ERR_NOMEM (no room for the question). */
MUST_CHECK enum status backend_works(const struct backend *backend, struct error *err);

/* Has FRESHET_BACKEND a word that there is, or none? Asks no device. Errors: ERR_DEVICE. */
MUST_CHECK enum status backend_check_asked(struct error *err);

/**
 * The choice of this process, for its whole life.
 * Errors: ERR_DEVICE  FRESHET_BACKEND is cuda and no GPU works, or is another word.
 */
MUST_CHECK enum status backend_choose(const struct backend **backend, struct error *err);

#endif
