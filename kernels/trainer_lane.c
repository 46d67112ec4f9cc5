/* kernels/trainer_lane.c - what one thread does in a step: requests, their losses, gradients. */
#include "kernels/trainer_private.h"

#include "kernels/dropout.h"

#include <assert.h>
#include <string.h>

struct trainer_lesson trainer_lesson_of(const struct trainer_objective *objective,
                                        const struct batch *batch, int32_t b)
{
    struct request request = request_of(batch, b);
    struct trainer_lesson lesson = {0};
    bool labels = batch->label != NULL &&
                  (objective->point > 0 || objective->pair > 0 || objective->list > 0);

    lesson.list = request.m > 0 && (labels || (batch->teacher != NULL && objective->distil > 0));
    lesson.next = request.n > 0 && batch->next_item != NULL && objective->next > 0;
    return lesson;
}

static struct loss_list list_of(const struct trainer_work *work, const struct request *request,
                                const float *scores)
{
    const struct batch *batch = work->batch;

    return (struct loss_list){
        .scores = scores,
        .labels = batch->label == NULL ? NULL : batch->label + request->candidate,
        .weight = batch->weight == NULL ? NULL : batch->weight + request->candidate,
        .m = request->m,
        .clip = (double)work->objective->loss_clip,
    };
}

/* 1 / count times the weight, 0 where there is nothing. */
static double share(float weight, int64_t count)
{
    return count > 0 ? (double)weight / (double)count : 0;
}

/* ds (m) from the scores; the sums of what was lost into the lane. */
static void list_losses(const struct trainer_work *work, struct lane *lane,
                        const struct request *request)
{
    const struct trainer_objective *o = work->objective;
    struct loss_list list = list_of(work, request, lane->scores);
    float *ds = lane->ds;

    memset(ds, 0, (size_t)request->m * sizeof *ds);
    if (list.labels != NULL && o->point > 0)
        lane->sums.point += loss_point(ds, &list, share(o->point, work->counts.rows));
    if (list.labels != NULL && o->pair > 0) {
        double scale = share(o->pair, work->counts.pairs);

        lane->sums.pair += o->pair_form == TRAINER_PAIR_HINGE
                               ? loss_pair_hinge(ds, &list, scale)
                               : loss_pair_logistic(ds, &list, scale);
    }
    if (list.labels != NULL && o->list > 0) {
        double scale = share(o->list, work->counts.lists);

        lane->sums.list += o->list_form == TRAINER_LIST_LAMBDA
                               ? loss_lambda(ds, &list, scale, lane->order)
                               : loss_softmax(ds, &list, scale);
    }
    if (work->batch->teacher != NULL && o->distil > 0)
        lane->sums.distil += loss_distil(ds, &list, work->batch->teacher + request->candidate,
                                         share(o->distil, work->counts.teachers));
}

static int32_t position_of(const struct batch *batch, int64_t candidate)
{
    int32_t position = batch->position == NULL ? 0 : batch->position[candidate];

    return position < 0 ? 0 : position > BATCH_POSITION_MAX ? BATCH_POSITION_MAX : position;
}

/* A candidate is learnt from where it was shown and served as if at position 1, whose bias, like
 * that of an unknown position, is fixed at 0. */
static void learn_list(const struct trainer_work *work, struct lane *lane,
                       const struct request *request)
{
    const struct batch *batch = work->batch;

    for (int32_t i = 0; i < request->m; i++)
        lane->scores[i] +=
            work->network->weights.position[position_of(batch, request->candidate + i)];
    list_losses(work, lane, request);
    for (int32_t i = 0; work->learning && i < request->m; i++) {
        int32_t position = position_of(batch, request->candidate + i);

        if (position > 1)
            lane->tensors.position[position] += lane->ds[i];
    }
}

static struct next_set set_of(const struct trainer *trainer, struct lane *lane)
{
    const struct network *network = trainer->work.network;

    return (struct next_set){.K = trainer->work.objective->negatives,
                             .C = network->config.C,
                             .V = network->config.V,
                             .tau = network->config.tau,
                             .emb = network->emb,
                             .negatives = lane->negatives,
                             .log_q = trainer->sampler.V > 0 ? trainer->sampler.log_q : NULL,
                             .memory = lane->set_memory};
}

static void draw(const struct trainer *trainer, struct lane *lane, struct random *random)
{
    for (int32_t k = 0; k < trainer->work.objective->negatives; k++)
        lane->negatives[k] = sampler_draw(&trainer->sampler, random,
                                          trainer->work.network->config.V);
}

/* Next-item losses of a request. Its targets are taken in blocks; each block has negatives of its
 * own, drawn by the request's number in the batch, or all share the lane's set. */
static void learn_next(const struct trainer *trainer, struct lane *lane,
                       const struct request *request, struct network_pass *pass,
                       const struct next_set *set)
{
    const struct trainer_work *work = &trainer->work;
    const struct ops *ops = work->network->ops;
    int32_t block = work->objective->negatives_block, rows[NEXT_POSITIONS_MAX];
    int32_t targets[NEXT_POSITIONS_MAX], most = block > 0 ? block : NEXT_POSITIONS_MAX;
    float scale = (float)share(work->objective->next, work->counts.targets);
    struct next_positions positions = {.x = network_states(pass), .rows = rows, .targets = targets};
    struct random random;

    random_seed(&random, work->seed ^ ((uint64_t)request->index + 1) * 0x9e3779b97f4a7c15u);
    for (int32_t j = request->contexts; j < request->n; j++) {
        bool last = j + 1 == request->n;

        if (trainer_is_target(work->batch, (int64_t)request->token + j, work->network->config.V)) {
            rows[positions.count] = j;
            targets[positions.count++] = work->batch->next_item[request->token + j];
        }
        if (positions.count == 0 || (positions.count < most && !last))
            continue;
        if (block > 0) {
            draw(trainer, lane, &random);
            ops->next_begin(set);
        }
        lane->sums.next += ops->next_loss(work->learning ? pass->dx : NULL, &lane->demb, set,
                                          &positions, scale);
        if (block > 0 && work->learning)
            ops->next_end(&lane->demb, set);
        positions.count = 0;
    }
}

static void learn_request(struct trainer *trainer, struct lane *lane, int32_t b,
                          const struct next_set *set)
{
    const struct trainer_work *work = &trainer->work;
    struct trainer_lesson lesson = trainer_lesson_of(work->objective, work->batch, b);
    struct request request = request_with(work->batch, b, work->network->config.contexts);
    struct network_pass pass;

    if (!lesson.list && !lesson.next)
        return;
    if (!lesson.list)
        request.m = 0;
    assert(network_pass_bytes(&work->network->config, trainer->layout.Z, request.n, request.m, true,
                              work->dropout > 0) <= lane->pass_bytes);
    network_pass_begin(&pass, work->network, &request, true, lesson.next, work->dropout > 0,
                       lane->pass_memory);
    network_forward(&pass, lesson.list ? lane->scores : NULL, work->dropout,
                    dropout_request_seed(work->seed, b));
    memset(pass.dx, 0, (size_t)pass.rows * (size_t)work->network->config.C * sizeof *pass.dx);
    if (lesson.list)
        learn_list(work, lane, &request);
    if (lesson.next)
        learn_next(trainer, lane, &request, &pass, set);
    if (work->learning)
        network_backward(&pass, &lane->tensors, &lane->demb, lesson.list ? lane->ds : NULL);
}

void trainer_lane_run(struct trainer *trainer, struct lane *lane)
{
    const struct trainer_work *work = &trainer->work;
    struct next_set set = set_of(trainer, lane);
    bool shared = work->objective->next > 0 && work->counts.targets > 0 &&
                  work->objective->negatives_block == 0 && lane->first < lane->last;

    lane->sums = (struct trainer_losses){0};
    rows_clear(&lane->demb);
    if (work->learning)
        memset(lane->gradient, 0, (size_t)trainer->layout.floats * sizeof(float));
    if (shared) {
        struct random random;

        random_seed(&random, work->seed);
        draw(trainer, lane, &random);
        work->network->ops->next_begin(&set);
    }
    for (int32_t b = lane->first; b < lane->last; b++)
        learn_request(trainer, lane, b, &set);
    if (shared && work->learning)
        work->network->ops->next_end(&lane->demb, &set);
}
