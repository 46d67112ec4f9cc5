/*
 * retrain/learner_scale.c - mean and scale of the scalars, from the lists that are learnt from.
 *
 * They are tensors of the model (scalars.mean, scalars.scale), so they travel in the bundle and
 * serving subtracts what training did. Running means: at first they follow what comes, after some
 * ten thousand lists they hardly move, and the weights, which learn all the while, keep up.
 */
#include "retrain/learner_inside.h"

#include "features/scalars.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#define ROWS_MOST    1e6  /* weight of the past, in rows: some 15,000 lists */
#define ROWS_ADOPTED 1e5  /* weight given to what another model came with */
#define LEAST_SQUARE 1e-2 /* of a deviation: a scalar that never moves is not blown up */

/* The tensor of this name; NULL when the model has none. */
static float *tensor_of(struct model *model, const char *name)
{
    for (int32_t i = 0; i < model_tensors_count(model); i++) {
        struct model_tensor tensor = model_tensor(model, i);

        if (strcmp(tensor.name, name) != 0)
            continue;
        assert(tensor.count == (size_t)scalars_count);
        return tensor.data;
    }
    return NULL;
}

static void put(const struct learner_scale *scale, struct model *model)
{
    float *mean = tensor_of(model, "scalars.mean"), *factor = tensor_of(model, "scalars.scale");

    for (int f = 0; mean != NULL && factor != NULL && f < scalars_count; f++) {
        double square = scale->square[f] - scale->mean[f] * scale->mean[f];

        mean[f] = (float)scale->mean[f];
        factor[f] = (float)(1 / sqrt(square > LEAST_SQUARE ? square : LEAST_SQUARE));
    }
}

void learner_scale_adopt(struct learner_scale *scale, struct model *model)
{
    const float *mean = tensor_of(model, "scalars.mean");
    const float *factor = tensor_of(model, "scalars.scale");

    if (scale->rows > 0 || mean == NULL || factor == NULL)
        return;
    scale->rows = ROWS_ADOPTED;
    for (int f = 0; f < scalars_count; f++) {
        double m = (double)mean[f], s = (double)factor[f];

        scale->mean[f] = m;
        scale->square[f] = m * m + (s != 0 ? 1 / (s * s) : 1);
    }
}

void learner_scale_add(struct learner_scale *scale, const struct batch *batch, struct model *model)
{
    double rows = batch->N, share;

    if (batch->N == 0 || batch->scalars == NULL)
        return;
    scale->rows = scale->rows + rows < ROWS_MOST ? scale->rows + rows : ROWS_MOST;
    share = rows < scale->rows ? rows / scale->rows : 1;
    for (int f = 0; f < scalars_count; f++) {
        double sum = 0, squares = 0;

        for (int64_t i = 0; i < batch->N; i++) {
            double x = (double)batch->scalars[i * scalars_count + f];

            sum += x;
            squares += x * x;
        }
        scale->mean[f] += share * (sum / rows - scale->mean[f]);
        scale->square[f] += share * (squares / rows - scale->square[f]);
    }
    put(scale, model);
}

void learner_scale_save(const struct learner_scale *scale, struct state_file *state)
{
    state_file_put_real(state, scale->rows);
    for (int f = 0; f < scalars_count; f++) {
        state_file_put_real(state, scale->mean[f]);
        state_file_put_real(state, scale->square[f]);
    }
}

void learner_scale_load(struct learner_scale *scale, struct state_file *state)
{
    scale->rows = state_file_get_real(state);
    if (!(scale->rows >= 0 && scale->rows <= ROWS_MOST))
        state_file_refuse(state);
    for (int f = 0; f < scalars_count; f++) {
        scale->mean[f] = state_file_get_real(state);
        scale->square[f] = state_file_get_real(state);
        if (!isfinite(scale->mean[f]) || !isfinite(scale->square[f]))
            state_file_refuse(state);
    }
}
