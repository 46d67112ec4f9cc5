/*
 * kernels/trainer_private.h - the insides of a trainer, for trainer*.c and kernels/cuda/ alone.
 *
 * A lane is what one thread of the crew works with: its share of the requests, a gradient of its
 * own, scratch memory. Lanes never touch each other's; their gradients are added in lane order.
 */
#ifndef KERNELS_TRAINER_PRIVATE_H
#define KERNELS_TRAINER_PRIVATE_H

#include "kernels/backend.h"
#include "kernels/crew.h"
#include "kernels/loss.h"
#include "kernels/network.h"
#include "kernels/sampler.h"
#include "kernels/trainer.h"

/* How many of each the batch holds: what means are taken over. */
struct trainer_counts {
    int64_t rows, pairs, lists, teachers, targets;
};

struct lane {
    float *gradient; /* (layout.floats) */
    struct network_tensors tensors;
    struct rows demb;
    char *pass_memory;
    size_t pass_bytes;
    float *set_memory; /* of a set of negatives */
    int64_t set_floats;
    int32_t *negatives;         /* (negatives_capacity) */
    int32_t *order;             /* (BATCH_LIST_MAX) */
    float *scores, *ds;         /* (BATCH_LIST_MAX) */
    struct trainer_losses sums; /* not yet divided */
    int32_t first, last;        /* its requests of this step */
};

/* One step or evaluation, as the lanes see it. */
struct trainer_work {
    const struct network *network; /* the trainer's own, packed */
    const struct batch *batch;
    const struct trainer_objective *objective;
    struct trainer_counts counts;
    bool learning;
    float dropout;
    uint64_t seed;
};

struct trainer {
    struct trainer_config config;
    struct network network; /* panels of the model that is being trained */
    struct network_layout layout;
    float *panels;
    struct crew *crew;
    struct lane lanes[TRAINER_THREADS_MAX];
    struct sampler sampler;
    struct trainer_work work;
    const struct backend *backend;  /* NULL: steps run on the CPU */
    struct device_learner *learner; /* NULL before the first step on a device */
    double squares;                 /* of the gradient, from the device */
    bool moments_changed;           /* what a device has of the state below is old */
    bool running;                   /* between trainer_run_begin() and trainer_run_end() */
    bool ahead;                     /* the device's weights and moments are newer than the host's */
    bool spoiled; /* a device failed inside an update: model and moments are half of a step on */

    /* What a checkpoint holds. */
    int64_t steps;
    struct random random;
    float *m, *v;              /* (layout.floats) */
    int32_t V, items_capacity; /* rows the state below is for, and has room for */
    float *items_m, *items_v;  /* (V, C); Adagrad: items_v is (V), items_m NULL */
};

/* The forward pass, losses and, when learning, gradients of the lane's requests. */
void trainer_lane_run(struct trainer *trainer, struct lane *lane);

/* Does request b have anything to teach, by these weights? Fills what its parts are. */
struct trainer_lesson {
    bool list, next;
};
struct trainer_lesson trainer_lesson_of(const struct trainer_objective *objective,
                                        const struct batch *batch, int32_t b);

static inline bool trainer_is_target(const struct batch *batch, int64_t token, int32_t V)
{
    int32_t item = batch->next_item[token];

    return item > BATCH_ITEM_UNKNOWN && item < V;
}

/* Floats of the item state for V rows: (V, C) twice, or (V). */
enum status trainer_cover_items(struct trainer *trainer, int32_t V, struct error *err);

#endif
