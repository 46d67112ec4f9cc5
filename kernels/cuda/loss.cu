/*
 * kernels/cuda/loss.cu - losses of lists and the gradients of their scores, a block a list.
 *
 * Flow: scores -> [position bias -> losses] -> gradient of scores
 *
 * A thread owns candidates: it alone adds to their gradients, in the order of the others. Sums over
 * a list go through shared memory in the order of threads. Pairs of a list are its length squared,
 * which at 4096 keeps the arithmetic units busy: a block looks at them in shared memory, THREADS at
 * a time. All else is limited by memory; a list begins anywhere, so its floats are read one by one,
 * and what is read again comes from L1. In f32, where the CPU sums in double: sums are of at most
 * 4096 terms a thread's share.
 *
 * Roofline of a launch, by `make roofline`: bytes asked, least; float instructions; on A100, H100
 * registers, shared bytes, occupancy (ptxas), and the floor in us, an estimate, by bytes or floats.
 *   loss_point           s    2896     860    3269   31    16 100% ~0.000b   31    16 100% ~0.000b
 *   loss_softmax         s    4072     860   13710   40    16  75% ~0.001f   39    16  75% ~0.000f
 *   loss_pair            s    4240     860   44449   29  2064 100% ~0.005f   28  2064 100% ~0.001f
 *   loss_lambda          o    4744    1028   92813   34  2064  75% ~0.010f   31  2064 100% ~0.003f
 *   position_add         s     672     624      42   12     0 100% ~0.000b   12     0 100% ~0.000b
 *   position_backward    s   10996     580   44441   32    16 100% ~0.005f   32    16 100% ~0.001f
 */
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/ops_back.h"

#define WARPS   4
#define THREADS (WARPS * WARP_LANES)

/* ln(1 + e^x) without overflow. */
static __device__ __forceinline__ float softplus(float x)
{
    return fmaxf(x, 0.0f) + log1pf(expf(-fabsf(x)));
}

static __device__ __forceinline__ float sigmoid(float x)
{
    return 1.0f / (1.0f + expf(-x));
}

/* One list, as its block sees it. */
struct list {
    int32_t m;
    const float *scores, *label, *weight, *teacher;
    float *ds;
};

static __device__ __forceinline__ struct list list_of_block(const struct cuda_lists *lists,
                                                            float *ds)
{
    int64_t first = lists->start[blockIdx.x];
    struct list list;

    list.m = (int32_t)(lists->start[blockIdx.x + 1] - first);
    list.scores = lists->scores + first;
    list.label = lists->label + first;
    list.weight = lists->weight != NULL ? lists->weight + first : NULL;
    list.teacher = lists->teacher != NULL ? lists->teacher + first : NULL;
    list.ds = ds + first;
    return list;
}

static __device__ __forceinline__ float weight_of(const struct list *list, int32_t i)
{
    return list->weight != NULL ? list->weight[i] : 1.0f;
}

/* THREADS neighbours of a list, for the whole block to look at. */
struct shown {
    float score[THREADS], label[THREADS], weight[THREADS], discount[THREADS];
};

/* Those from that number on: returns how many. Every thread calls. discount: (m) or NULL. */
static __device__ __forceinline__ int32_t show(struct shown *s, const struct list *list,
                                               const float *discount, int32_t from)
{
    int32_t thread = (int32_t)threadIdx.x, left = list->m - from;

    __syncthreads(); /* the last ones have been read */
    if (from + thread < list->m) {
        s->score[thread] = list->scores[from + thread];
        s->label[thread] = list->label[from + thread];
        s->weight[thread] = weight_of(list, from + thread);
        if (discount != NULL)
            s->discount[thread] = discount[from + thread];
    }
    __syncthreads();
    return left < THREADS ? left : THREADS;
}

/* ln of the sum of e^value over the list. */
static __device__ __forceinline__ float log_total(const float *values, int32_t m, float *sums)
{
    float top = -INFINITY, total = 0.0f;

    for (int32_t i = (int32_t)threadIdx.x; i < m; i += THREADS)
        top = fmaxf(top, values[i]);
    top = block_max(top, sums, WARPS);
    for (int32_t i = (int32_t)threadIdx.x; i < m; i += THREADS)
        total += expf(values[i] - top);
    return top + logf(block_sum(total, sums, WARPS));
}

extern "C" __global__ void __launch_bounds__(THREADS)
    loss_point_kernel(float *loss, float *ds, struct cuda_lists lists, float scale)
{
    __shared__ float sums[WARPS];
    struct list list = list_of_block(&lists, ds);
    float own = 0.0f;

    for (int32_t i = (int32_t)threadIdx.x; i < list.m; i += THREADS) {
        float s = list.scores[i], w = weight_of(&list, i), y = fminf(list.label[i], 1.0f);

        float lost = softplus(s) - y * s;
        bool outlier = lists.clip > 0.0f && lost > lists.clip;

        own += w * (outlier ? lists.clip : lost);
        list.ds[i] += outlier ? 0.0f : scale * w * (sigmoid(s) - y);
    }
    own = block_sum(own, sums, WARPS);
    if (threadIdx.x == 0)
        loss[blockIdx.x] = own;
}

/* wanted: labels times weights over their sum, or the softmax of the teacher's scores. */
extern "C" __global__ void __launch_bounds__(THREADS)
    loss_softmax_kernel(float *loss, float *ds, struct cuda_lists lists, float scale,
                        int32_t distil)
{
    __shared__ float sums[WARPS];
    struct list list = list_of_block(&lists, ds);
    float total = 0.0f, own = 0.0f, norm, teacher_norm = 0.0f;

    for (int32_t i = (int32_t)threadIdx.x; i < list.m && !distil; i += THREADS)
        total += weight_of(&list, i) * list.label[i];
    total = block_sum(total, sums, WARPS);
    if (list.m == 0 || (!distil && !(total > 0.0f))) {
        if (threadIdx.x == 0)
            loss[blockIdx.x] = 0.0f;
        return; /* the whole block leaves together */
    }
    norm = log_total(list.scores, list.m, sums);
    if (distil)
        teacher_norm = log_total(list.teacher, list.m, sums);
    for (int32_t i = (int32_t)threadIdx.x; i < list.m; i += THREADS) {
        float log_p = list.scores[i] - norm;
        float want = distil ? expf(list.teacher[i] - teacher_norm)
                            : weight_of(&list, i) * list.label[i] / total;

        own -= want * log_p;
    }
    own = block_sum(own, sums, WARPS);

    bool outlier = !distil && lists.clip > 0.0f && own > lists.clip;
    if (threadIdx.x == 0)
        loss[blockIdx.x] = outlier ? lists.clip : own;
    for (int32_t i = (int32_t)threadIdx.x; i < list.m && !outlier; i += THREADS) {
        float want = distil ? expf(list.teacher[i] - teacher_norm)
                            : weight_of(&list, i) * list.label[i] / total;

        list.ds[i] += scale * (expf(list.scores[i] - norm) - want);
    }
}

/* A thread's candidate; the last ones of a block have none, and wait with the others. */
struct own {
    bool live;
    float score, label, weight;
};

static __device__ __forceinline__ struct own own_of(const struct list *list, int32_t i)
{
    struct own own = {i < list->m, 0.0f, 0.0f, 0.0f};

    if (own.live) {
        own.score = list->scores[i];
        own.label = list->label[i];
        own.weight = weight_of(list, i);
    }
    return own;
}

/* Each thread looks at its candidates' pairs from both sides, and counts the loss where its
 * candidate is the better one. */
extern "C" __global__ void __launch_bounds__(THREADS)
    loss_pair_kernel(float *loss, float *ds, struct cuda_lists lists, float scale, int32_t hinge)
{
    __shared__ float sums[WARPS];
    __shared__ struct shown s;
    struct list list = list_of_block(&lists, ds);
    float total = 0.0f, own = 0.0f;

    for (int32_t first = 0; first < list.m; first += THREADS) {
        struct own mine = own_of(&list, first + (int32_t)threadIdx.x);

        for (int32_t from = 0; from < list.m; from += THREADS) {
            int32_t count = show(&s, &list, NULL, from);

            for (int32_t j = 0; j < count; j++)
                if (mine.live && mine.label > s.label[j])
                    total += mine.weight * s.weight[j];
        }
    }
    total = block_sum(total, sums, WARPS);
    for (int32_t first = 0; first < list.m && total > 0.0f; first += THREADS) {
        struct own mine = own_of(&list, first + (int32_t)threadIdx.x);
        float gradient = 0.0f;

        for (int32_t from = 0; from < list.m; from += THREADS) {
            int32_t count = show(&s, &list, NULL, from);

            for (int32_t j = 0; j < count; j++) {
                bool better = mine.label > s.label[j];
                float margin = better ? mine.score - s.score[j] : s.score[j] - mine.score;
                float w = mine.weight * s.weight[j] / total, slope;

                if (!mine.live || mine.label == s.label[j])
                    continue;
                if (hinge)
                    slope = margin < 1.0f ? -w : 0.0f;
                else
                    slope = -w * sigmoid(-margin);
                if (better)
                    own += hinge ? w * fmaxf(1.0f - margin, 0.0f) : w * softplus(-margin);
                gradient += better ? slope : -slope;
            }
        }
        if (mine.live)
            list.ds[first + (int32_t)threadIdx.x] += scale * gradient;
    }
    own = block_sum(own, sums, WARPS);
    if (threadIdx.x == 0)
        loss[blockIdx.x] = own;
}

static __device__ __forceinline__ float gain(float label)
{
    return exp2f(label) - 1.0f;
}

/* before += how many of those shown, the first of which is number from, stand in front of i by
 * falling label and by falling score, equal ones by number. */
static __device__ __forceinline__ void count_before(int32_t before[2], const struct shown *s,
                                                    int32_t count, int32_t from, float label,
                                                    float score, int32_t i)
{
    for (int32_t j = 0; j < count; j++) {
        before[0] += s->label[j] > label || (s->label[j] == label && from + j < i);
        before[1] += s->score[j] > score || (s->score[j] == score && from + j < i);
    }
}

/* discount (N): 1 / log2(place + 2) by score. */
/* At least 8 blocks a multiprocessor: without the number ptxas wants more of them on some targets,
 * and spills. */
extern "C" __global__ void __launch_bounds__(THREADS, 8)
    loss_lambda_kernel(float *loss, float *ds, struct cuda_lists lists, float scale,
                       float *discount_of_all)
{
    __shared__ float sums[WARPS];
    __shared__ struct shown s;
    struct list list = list_of_block(&lists, ds);
    float *discount = discount_of_all + lists.start[blockIdx.x], ideal = 0.0f, own = 0.0f;

    for (int32_t first = 0; first < list.m; first += THREADS) {
        int32_t i = first + (int32_t)threadIdx.x, before[2] = {0, 0};
        struct own mine = own_of(&list, i);

        for (int32_t from = 0; from < list.m; from += THREADS) {
            int32_t count = show(&s, &list, NULL, from);

            count_before(before, &s, count, from, mine.label, mine.score, i);
        }
        if (!mine.live)
            continue; /* into the last barriers of all */
        ideal += gain(mine.label) / log2f((float)before[0] + 2.0f);
        discount[i] = 1.0f / log2f((float)before[1] + 2.0f);
    }
    ideal = block_sum(ideal, sums, WARPS); /* its barriers also show every discount */
    for (int32_t first = 0; first < list.m && ideal > 0.0f; first += THREADS) {
        int32_t i = first + (int32_t)threadIdx.x;
        struct own mine = own_of(&list, i);
        float gradient = 0.0f, own_discount = mine.live ? discount[i] : 0.0f;

        for (int32_t from = 0; from < list.m; from += THREADS) {
            int32_t count = show(&s, &list, discount, from);

            for (int32_t j = 0; j < count; j++) {
                bool better = mine.label > s.label[j];
                float margin = better ? mine.score - s.score[j] : s.score[j] - mine.score;
                float change = fabsf((gain(mine.label) - gain(s.label[j])) *
                                     (own_discount - s.discount[j])) /
                               ideal * mine.weight * s.weight[j];

                if (!mine.live || mine.label == s.label[j])
                    continue;
                if (better)
                    own += change * softplus(-margin);
                gradient += better ? -change * sigmoid(-margin) : change * sigmoid(-margin);
            }
        }
        if (mine.live)
            list.ds[i] += scale * gradient;
    }
    own = block_sum(own, sums, WARPS);
    if (threadIdx.x == 0)
        loss[blockIdx.x] = own;
}

extern "C" __global__ void __launch_bounds__(THREADS)
    position_add_kernel(float *scores, const float *bias, const int32_t *position, int32_t N)
{
    int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x;

    if (i < N)
        scores[i] += bias[position[i]];
}

/* A block a position, all candidates looked at. */
extern "C" __global__ void __launch_bounds__(THREADS)
    position_backward_kernel(float *dbias, const float *ds, const int32_t *position, int32_t N)
{
    __shared__ float sums[WARPS];
    float own = 0.0f;

    for (int64_t i = threadIdx.x; i < N && blockIdx.x > 1; i += THREADS)
        own += position[i] == (int32_t)blockIdx.x ? ds[i] : 0.0f;
    own = block_sum(own, sums, WARPS);
    if (threadIdx.x == 0)
        dbias[blockIdx.x] = own;
}

enum status cuda_loss(cudaStream_t stream, enum cuda_loss kind, float *loss, float *ds,
                      struct cuda_lists lists, float scale, float *discount, struct error *err)
{
    unsigned blocks = (unsigned)lists.B;

    if (blocks == 0)
        return OK;
    switch (kind) {
    case CUDA_LOSS_POINT:
        LAUNCH(loss_point_kernel, blocks, THREADS, 0, stream, loss, ds, lists, scale);
        break;
    case CUDA_LOSS_LOGISTIC:
    case CUDA_LOSS_HINGE:
        LAUNCH(loss_pair_kernel, blocks, THREADS, 0, stream, loss, ds, lists, scale,
               kind == CUDA_LOSS_HINGE);
        break;
    case CUDA_LOSS_SOFTMAX:
    case CUDA_LOSS_DISTIL:
        LAUNCH(loss_softmax_kernel, blocks, THREADS, 0, stream, loss, ds, lists, scale,
               kind == CUDA_LOSS_DISTIL);
        break;
    case CUDA_LOSS_LAMBDA:
        LAUNCH(loss_lambda_kernel, blocks, THREADS, 0, stream, loss, ds, lists, scale, discount);
        break;
    }
    CUDA_TRY(err, cudaGetLastError());
    return OK;
}

enum status cuda_position_add(cudaStream_t stream, float *scores, const float *bias,
                              const int32_t *position, int32_t N, struct error *err)
{
    if (N == 0)
        return OK;
    LAUNCH(position_add_kernel, ((unsigned)N + THREADS - 1) / THREADS, THREADS, 0, stream, scores,
           bias, position, N);
    CUDA_TRY(err, cudaGetLastError());
    return OK;
}

enum status cuda_position_backward(cudaStream_t stream, float *dbias, const float *ds,
                                   const int32_t *position, int32_t N, int32_t count,
                                   struct error *err)
{
    if (count == 0)
        return OK;
    LAUNCH(position_backward_kernel, (unsigned)count, THREADS, 0, stream, dbias, ds, position, N);
    CUDA_TRY(err, cudaGetLastError());
    return OK;
}
