/*
 * tests/kernels/literal.h - the model once more, literally: plain loops in double over whole
 * batches, straight from MODEL.md, sharing no code with kernels/ but the list of tensors.
 */
#ifndef TESTS_KERNELS_LITERAL_H
#define TESTS_KERNELS_LITERAL_H

#include "kernels/model.h"
#include "kernels/trainer.h"

/* Weights in double, to be perturbed. */
struct literal {
    struct model_config config;
    int32_t count;
    char names[128][MODEL_NAME_BYTES];
    size_t sizes[128];
    double *values[128];
};

void literal_from_model(struct literal *literal, struct model *model);
void literal_clear(struct literal *literal);
/* (V, C) items' rows with their texts; static storage until the next call. */
const double *literal_items(const struct literal *literal);
double *literal_tensor(const struct literal *literal, const char *name);

/* scores (N); states (T, C) of the last layer, or NULL. */
void literal_forward(const struct literal *literal, const struct batch *batch, double *scores,
                     double *states);

/* What trainer_step() minimises at a step with this seed, uniform negatives. */
double literal_loss(const struct literal *literal, const struct batch *batch,
                    const struct trainer_objective *objective, uint64_t seed);

#endif
