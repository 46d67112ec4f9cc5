/* kernels/cuda/learn.c - a trainer's steps on the device: memory, copies, updates. */
#include "kernels/cuda/learn.h"

#include "kernels/cuda/cuda.h"
#include "kernels/cuda/tape.h"

#include <stdlib.h>
#include <string.h>

#define ADAGRAD_EPSILON 1e-6f /* as kernels/trainer.c */

struct device_learner {
    cudaStream_t stream;
    cublasHandle_t blas;
    struct device_floats block, emb, m, v, items_m, items_v, gradient;
    struct device_floats items, text;    /* with text: the rows that are trained, and their texts */
    struct device_bytes half;            /* block as bf16, where products are of those */
    struct device_bytes memory, staging; /* of a step; what goes up and comes back, pinned */
    int32_t moments_V;                   /* rows whose moments are those of the trainer; 0: none */
    int32_t *scratch;
    int64_t scratch_count;
    struct network_tensors weights, tensors; /* pointers into block and gradient */
    struct tape tape;                        /* of the last step */
};

void cuda_learn_drop(struct device_learner *learner)
{
    if (learner == NULL)
        return;
    blas_destroy(learner->blas);
    if (learner->stream != NULL)
        (void)cudaStreamDestroy(learner->stream);
    struct device_floats *all[] = {&learner->block,   &learner->emb,      &learner->items,
                                   &learner->m,       &learner->v,        &learner->items_m,
                                   &learner->items_v, &learner->gradient, &learner->text};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        device_floats_clear(all[i]);
    device_bytes_clear(&learner->half);
    device_bytes_clear(&learner->memory);
    pinned_bytes_clear(&learner->staging);
    free(learner->scratch);
    free(learner);
}

static enum status make_learner(struct device_learner **made, struct error *err)
{
    struct device_learner *learner = calloc(1, sizeof *learner);
    enum status status;

    if (learner == NULL)
        return error_set(err, ERR_NOMEM, "no memory for a learner on the GPU");
    status = stream_open(&learner->stream, err);
    if (status == OK)
        status = blas_create(&learner->blas, learner->stream, err);
    if (status != OK) {
        cuda_learn_drop(learner);
        return status;
    }
    *made = learner;
    return OK;
}

/* ---- what goes up ---- */

static enum status up(struct device_learner *learner, struct device_floats *to, const float *from,
                      int64_t count, struct error *err)
{
    enum status status = device_floats_reserve(to, count, err);

    if (status != OK || from == NULL)
        return status;
    CUDA_TRY(err, cudaMemcpyAsync(to->at, from, (size_t)count * sizeof(float),
                                  cudaMemcpyHostToDevice, learner->stream));
    return OK;
}

static int64_t item_moments(const struct trainer *trainer, int32_t V)
{
    return trainer->config.items == TRAINER_ITEMS_ADAGRAD ? V
                                                          : (int64_t)V * trainer->network.config.C;
}

/* The rows that are trained: with text, those that the layers read are others (model_blend()). */
static struct device_floats *items_of(struct device_learner *learner,
                                      const struct model_config *config)
{
    return config->text > 0 ? &learner->items : &learner->emb;
}

static enum status weights_up(struct device_learner *learner, const struct network_state *state,
                              bool running, struct error *err)
{
    const struct model_config *config = &state->network->config;
    int64_t items = (int64_t)config->V * config->C;
    enum status status = up(learner, &learner->block, state->block, state->layout->floats, err);

    if (status == OK)
        status = up(learner, &learner->emb, state->network->emb, items, err);
    if (status == OK && config->text > 0)
        status = up(learner, &learner->items, state->items, items, err);
    if (status == OK && config->text > 0 && running)
        status = up(learner, &learner->text, state->text, (int64_t)config->V * config->text, err);
    if (status == OK)
        status = device_floats_reserve(&learner->gradient, state->layout->floats, err);
    if (status != OK)
        return status;
    network_point(&learner->weights, state->layout, learner->block.at);
    network_point(&learner->tensors, state->layout, learner->gradient.at);
    return OK;
}

/* In a run the device's weights are the newer ones: what comes is what nobody trains, and what item
 * rows read of their texts is computed here (model_blend()). */
static enum status weights_stay(struct device_learner *learner, const struct network_state *state,
                                struct error *err)
{
    const struct model_config *config = &state->network->config;
    struct blas_matrix texts = {learner->text.at, config->text};
    struct blas_matrix text_w = {learner->weights.text_w, config->C};

    for (int32_t i = 0; i < state->layout->count; i++) {
        const struct network_tensor *tensor = &state->layout->tensors[i];

        if (!tensor->trained)
            CUDA_TRY(err, cudaMemcpyAsync(learner->block.at + tensor->offset,
                                          state->block + tensor->offset,
                                          (size_t)tensor->count * sizeof(float),
                                          cudaMemcpyHostToDevice, learner->stream));
    }
    if (config->text == 0)
        return OK;
    CUDA_TRY(err, cudaMemcpyAsync(learner->emb.at, learner->items.at,
                                  (size_t)config->V * (size_t)config->C * sizeof(float),
                                  cudaMemcpyDeviceToDevice, learner->stream));
    return blas_product_of(learner->blas, learner->emb.at, config->C, texts, BLAS_AS_IT_IS, text_w,
                           BLAS_AS_IT_IS, config->V, config->text, config->C, 1, err);
}

static uint16_t *halves_of(const struct device_learner *learner)
{
    return (uint16_t *)(void *)learner->half.at;
}

/* The weights that products of this step read. */
static enum status weights_round(struct device_learner *learner, const struct network_state *state,
                                 struct error *err)
{
    int64_t count = state->layout->floats;
    enum status status = device_bytes_reserve(&learner->half, (size_t)count * sizeof(uint16_t),
                                              err);

    if (status != OK)
        return status;
    return cuda_half(learner->stream, halves_of(learner), learner->block.at, count, err);
}

static enum status moments_up(struct device_learner *learner, struct trainer *trainer,
                              struct error *err)
{
    int64_t dense = trainer->layout.floats, items = item_moments(trainer, trainer->V);
    enum status status;

    if (learner->moments_V == trainer->V && !trainer->moments_changed)
        return OK;
    learner->moments_V = 0;
    status = up(learner, &learner->m, trainer->m, dense, err);
    if (status == OK)
        status = up(learner, &learner->v, trainer->v, dense, err);
    if (status == OK)
        status = up(learner, &learner->items_v, trainer->items_v, items, err);
    if (status == OK && trainer->items_m != NULL)
        status = up(learner, &learner->items_m, trainer->items_m, items, err);
    if (status != OK)
        return status;
    learner->moments_V = trainer->V;
    trainer->moments_changed = false;
    return OK;
}

static enum status scratch_reserve(struct device_learner *learner, int64_t count, struct error *err)
{
    if (count <= learner->scratch_count)
        return OK;
    free(learner->scratch);
    learner->scratch_count = 0;
    learner->scratch = malloc((size_t)count * sizeof *learner->scratch);
    if (learner->scratch == NULL)
        return error_set(err, ERR_NOMEM, "no memory to sort %lld rows", (long long)count);
    learner->scratch_count = count;
    return OK;
}

/* Parts whose squares are summed: of the dense gradient, then of the item rows'. */
static int64_t parts_of(const struct tape *tape, int64_t dense)
{
    return cuda_squares_count(dense) +
           cuda_squares_count((int64_t)tape->in.items.count * tape->config->C);
}

/* Lays the step out on host and device, and queues its copy. *parts: of squares, behind losses. */
static enum status lesson_up(struct device_learner *learner, const struct trainer *trainer,
                             const struct network_state *state, float **parts, struct error *err)
{
    struct tape *tape = &learner->tape;
    bool learning = trainer->work.learning;
    struct carve count = {0}, host = {0}, device = {0};
    struct lesson staged;
    size_t in_bytes, back_bytes;
    enum status status;

    *tape = (struct tape){.stream = learner->stream,
                          .blas = learner->blas,
                          .config = &state->network->config,
                          .objective = trainer->work.objective,
                          .counts = &trainer->work.counts,
                          .dropout = trainer->work.dropout,
                          .bf16 = trainer_is_bf16(trainer),
                          .Z = state->layout->Z,
                          .weights = &learner->weights,
                          .emb = learner->emb.at,
                          .block = learner->block.at,
                          .block_half = halves_of(learner)};
    lesson_count(&tape->in, trainer);
    staged = tape->in;
    lesson_carve(&tape->in, trainer, &count);
    in_bytes = count.used;
    tape_carve(tape, &count, learning);
    back_bytes = (size_t)(tape_losses(&tape->in) + parts_of(tape, state->layout->floats)) *
                 sizeof(float);
    (void)carve_part(&count, parts_of(tape, state->layout->floats), sizeof(float));
    status = device_bytes_reserve(&learner->memory, count.used, err);
    if (status == OK)
        status = pinned_bytes_reserve(&learner->staging,
                                      in_bytes > back_bytes ? in_bytes : back_bytes, err);
    if (status == OK)
        status = scratch_reserve(learner, lesson_scratch(&tape->in, trainer), err);
    if (status != OK)
        return status;
    host.base = learner->staging.at;
    device.base = learner->memory.at;
    lesson_carve(&staged, trainer, &host);
    lesson_carve(&tape->in, trainer, &device);
    tape_carve(tape, &device, learning);
    *parts = carve_part(&device, parts_of(tape, state->layout->floats), sizeof(float));
    lesson_fill(&staged, trainer, state->text, learner->scratch);
    struct lesson_segments *own[] = {&tape->in.items, &tape->in.act, &tape->in.gap, &tape->in.hour,
                                     &tape->in.context};
    const struct lesson_segments *filled[] = {&staged.items, &staged.act, &staged.gap, &staged.hour,
                                              &staged.context};
    for (size_t i = 0; i < sizeof own / sizeof *own; i++) {
        own[i]->count = filled[i]->count;
        own[i]->chunks = filled[i]->chunks;
    }
    CUDA_TRY(err, cudaMemcpyAsync(learner->memory.at, learner->staging.at, in_bytes,
                                  cudaMemcpyHostToDevice, learner->stream));
    return OK;
}

/* ---- a step ---- */

static enum status gradients(struct device_learner *learner, int64_t dense, float *parts,
                             struct error *err)
{
    struct tape *tape = &learner->tape;
    enum status status;

    CUDA_TRY(err, cudaMemsetAsync(learner->gradient.at, 0, (size_t)dense * sizeof(float),
                                  learner->stream));
    status = tape_backward(tape, &learner->tensors, err);
    if (status == OK)
        status = cuda_squares(learner->stream, parts, learner->gradient.at, dense, err);
    if (status == OK)
        status = cuda_squares(learner->stream, parts + cuda_squares_count(dense), tape->slots,
                              (int64_t)tape->in.items.count * tape->config->C, err);
    return status;
}

static double sum_of(const float *x, int64_t count)
{
    double sum = 0;

    for (int64_t i = 0; i < count; i++)
        sum += (double)x[i];
    return sum;
}

/* Losses and squares come back through the pinned memory, whose lesson the device has by then. */
static enum status collect(struct device_learner *learner, int64_t parts_count, const float *parts,
                           struct trainer_losses *sums, double *squares, struct error *err)
{
    const struct tape *tape = &learner->tape;
    int64_t losses = tape_losses(&tape->in), B = tape->in.B;
    float *back = (float *)(void *)learner->staging.at;

    CUDA_TRY(err, cudaMemcpyAsync(back, tape->losses, (size_t)losses * sizeof(float),
                                  cudaMemcpyDeviceToHost, learner->stream));
    CUDA_TRY(err, cudaMemcpyAsync(back + losses, parts, (size_t)parts_count * sizeof(float),
                                  cudaMemcpyDeviceToHost, learner->stream));
    CUDA_TRY(err, cudaStreamSynchronize(learner->stream));
    *sums = (struct trainer_losses){.point = sum_of(back, B),
                                    .pair = sum_of(back + B, B),
                                    .list = sum_of(back + 2 * B, B),
                                    .distil = sum_of(back + 3 * B, B),
                                    .next = sum_of(back + 4 * B, tape->in.k)};
    *squares = sum_of(back + losses, parts_count);
    return OK;
}

static enum status learn(struct device_learner **made, struct trainer *trainer,
                         const struct network_state *state, struct trainer_losses *sums,
                         double *squares, struct error *err)
{
    bool learning = trainer->work.learning;
    int64_t dense = state->layout->floats;
    enum status status = *made == NULL ? make_learner(made, err) : OK;
    struct device_learner *learner = *made;
    float *parts = NULL;

    if (status == OK)
        status = trainer->ahead ? weights_stay(learner, state, err)
                                : weights_up(learner, state, trainer->running, err);
    if (status == OK && trainer_is_bf16(trainer))
        status = weights_round(learner, state, err);
    if (status == OK)
        status = lesson_up(learner, trainer, state, &parts, err);
    if (status != OK)
        return status;
    *sums = (struct trainer_losses){0};
    *squares = 0;
    if (learner->tape.in.B == 0) {
        CUDA_TRY(err, cudaStreamSynchronize(learner->stream)); /* the copies read the caller's */
        return OK;
    }
    status = tape_forward(&learner->tape, learning, err);
    if (status == OK && learning)
        status = gradients(learner, dense, parts, err);
    if (status != OK)
        return status;
    return collect(learner, learning ? parts_of(&learner->tape, dense) : 0, parts, sums, squares,
                   err);
}

/* After an error, too, nothing is left on the stream: the next step writes to the same pinned
 * memory. */
enum status cuda_learn(struct device_learner **made, struct trainer *trainer,
                       const struct network_state *state, struct trainer_losses *sums,
                       double *squares, struct error *err)
{
    enum status status = learn(made, trainer, state, sums, squares, err);

    if (status != OK && *made != NULL)
        (void)cudaStreamSynchronize((*made)->stream);
    return status;
}

/* ---- updates ---- */

static enum status update_items(struct device_learner *learner, const struct trainer *trainer,
                                struct cuda_adamw settings, struct error *err)
{
    const struct tape *tape = &learner->tape;
    const struct lesson *in = &tape->in;
    const struct trainer_config *config = &trainer->config;
    int32_t V = tape->config->V, C = tape->config->C;
    float *rows = items_of(learner, tape->config)->at;

    settings.decay = 0;
    if (config->items == TRAINER_ITEMS_ADAGRAD)
        return cuda_adagrad(learner->stream, rows, learner->items_v.at, tape->slots, in->row_of,
                            in->items.count, C, settings.scale, config->items_rate,
                            config->items_decay, ADAGRAD_EPSILON, err);
    return cuda_adamw_rows(learner->stream, rows, learner->items_m.at, learner->items_v.at,
                           tape->slots, in->slot_of, V, C, settings, err);
}

static enum status update_dense(struct device_learner *learner, const struct trainer *trainer,
                                struct cuda_adamw settings, struct error *err)
{
    enum status status = OK;

    for (int32_t i = 0; i < trainer->layout.count && status == OK; i++) {
        const struct network_tensor *tensor = &trainer->layout.tensors[i];
        struct cuda_adamw own = settings;
        int64_t at = tensor->offset;

        if (!tensor->trained)
            continue;
        own.decay = tensor->decays ? settings.decay : 0;
        status = cuda_adamw(learner->stream, learner->block.at + at, learner->m.at + at,
                            learner->v.at + at, learner->gradient.at + at, tensor->count, own, err);
    }
    return status;
}

static enum status down(float *to, const struct device_floats *from, int64_t count,
                        struct error *err)
{
    CUDA_TRY(err, cudaMemcpy(to, from->at, (size_t)count * sizeof(float), cudaMemcpyDeviceToHost));
    return OK;
}

/* Tensors that are not trained are the host's: they may have been set since. */
static enum status dense_down(const struct device_learner *learner,
                              const struct network_state *state, struct error *err)
{
    for (int32_t i = 0; i < state->layout->count; i++) {
        const struct network_tensor *tensor = &state->layout->tensors[i];

        if (tensor->trained)
            CUDA_TRY(err,
                     cudaMemcpy(state->block + tensor->offset, learner->block.at + tensor->offset,
                                (size_t)tensor->count * sizeof(float), cudaMemcpyDeviceToHost));
    }
    return OK;
}

enum status cuda_learn_settle(struct device_learner *learner, struct trainer *trainer,
                              const struct network_state *state, struct error *err)
{
    const struct model_config *config = &state->network->config;
    int64_t dense = state->layout->floats, items = item_moments(trainer, trainer->V);
    enum status status = dense_down(learner, state, err);

    if (status == OK)
        status = down(state->items, items_of(learner, config), (int64_t)config->V * config->C, err);
    if (status == OK)
        status = down(trainer->m, &learner->m, dense, err);
    if (status == OK)
        status = down(trainer->v, &learner->v, dense, err);
    if (status == OK)
        status = down(trainer->items_v, &learner->items_v, items, err);
    if (status == OK && trainer->items_m != NULL)
        status = down(trainer->items_m, &learner->items_m, items, err);
    return status;
}

enum status cuda_learn_update(struct device_learner *learner, struct trainer *trainer,
                              const struct network_state *state, float scale,
                              const struct adamw *from, struct error *err)
{
    struct cuda_adamw settings = {from->rate,  from->beta1, from->beta2, from->epsilon,
                                  from->decay, from->c1,    from->c2,    scale};
    enum status status = moments_up(learner, trainer, err);

    if (status == OK)
        status = update_dense(learner, trainer, settings, err);
    if (status == OK)
        status = update_items(learner, trainer, settings, err);
    if (status != OK)
        return status;
    CUDA_TRY(err, cudaStreamSynchronize(learner->stream));
    return trainer->running ? OK : cuda_learn_settle(learner, trainer, state, err);
}
