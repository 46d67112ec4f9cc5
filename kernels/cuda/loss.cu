/*
 * kernels/cuda/loss.cu - losses of lists and the gradients of their scores, a block a list.
 *
 * Flow: scores -> [position bias -> losses] -> gradient of scores
 *
 * A thread owns candidates: it alone adds to their gradients, in the order of the others. Sums over
 * a list go through shared memory in the order of threads. Pairs of a list are its length squared,
 * which at 4096 keeps the arithmetic units busy; all else is limited by memory. In f32, where the
 * CPU sums in double: sums are of at most 4096 terms a thread's share.
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

/* Each thread looks at its candidates' pairs from both sides, and counts the loss where its
 * candidate is the better one. */
extern "C" __global__ void __launch_bounds__(THREADS)
    loss_pair_kernel(float *loss, float *ds, struct cuda_lists lists, float scale, int32_t hinge)
{
    __shared__ float sums[WARPS];
    struct list list = list_of_block(&lists, ds);
    float total = 0.0f, own = 0.0f;

    for (int32_t i = (int32_t)threadIdx.x; i < list.m; i += THREADS)
        for (int32_t j = 0; j < list.m; j++)
            if (list.label[i] > list.label[j])
                total += weight_of(&list, i) * weight_of(&list, j);
    total = block_sum(total, sums, WARPS);
    for (int32_t i = (int32_t)threadIdx.x; i < list.m && total > 0.0f; i += THREADS) {
        float gradient = 0.0f;

        for (int32_t j = 0; j < list.m; j++) {
            bool better = list.label[i] > list.label[j];
            float margin = better ? list.scores[i] - list.scores[j]
                                  : list.scores[j] - list.scores[i];
            float w = weight_of(&list, i) * weight_of(&list, j) / total, slope;

            if (list.label[i] == list.label[j])
                continue;
            if (hinge)
                slope = margin < 1.0f ? -w : 0.0f;
            else
                slope = -w * sigmoid(-margin);
            if (better)
                own += hinge ? w * fmaxf(1.0f - margin, 0.0f) : w * softplus(-margin);
            gradient += better ? slope : -slope;
        }
        list.ds[i] += scale * gradient;
    }
    own = block_sum(own, sums, WARPS);
    if (threadIdx.x == 0)
        loss[blockIdx.x] = own;
}

static __device__ __forceinline__ float gain(float label)
{
    return exp2f(label) - 1.0f;
}

/* How many stand in front of i by falling value, equal ones by number. */
static __device__ __forceinline__ int32_t place_of(const float *values, int32_t m, int32_t i)
{
    int32_t before = 0;

    for (int32_t j = 0; j < m; j++)
        before += values[j] > values[i] || (values[j] == values[i] && j < i);
    return before;
}

/* discount (N): 1 / log2(place + 2) by score. */
/* At least 8 blocks a multiprocessor: without the number ptxas wants more of them on some targets,
 * and spills. */
extern "C" __global__ void __launch_bounds__(THREADS, 8)
    loss_lambda_kernel(float *loss, float *ds, struct cuda_lists lists, float scale,
                       float *discount_of_all)
{
    __shared__ float sums[WARPS];
    struct list list = list_of_block(&lists, ds);
    float *discount = discount_of_all + lists.start[blockIdx.x], ideal = 0.0f, own = 0.0f;

    for (int32_t i = (int32_t)threadIdx.x; i < list.m; i += THREADS) {
        ideal += gain(list.label[i]) / log2f((float)place_of(list.label, list.m, i) + 2.0f);
        discount[i] = 1.0f / log2f((float)place_of(list.scores, list.m, i) + 2.0f);
    }
    ideal = block_sum(ideal, sums, WARPS); /* its barriers also show every discount */
    for (int32_t i = (int32_t)threadIdx.x; i < list.m && ideal > 0.0f; i += THREADS) {
        float gradient = 0.0f;

        for (int32_t j = 0; j < list.m; j++) {
            bool better = list.label[i] > list.label[j];
            float margin = better ? list.scores[i] - list.scores[j]
                                  : list.scores[j] - list.scores[i];
            float change = fabsf((gain(list.label[i]) - gain(list.label[j])) *
                                 (discount[i] - discount[j])) /
                           ideal * weight_of(&list, i) * weight_of(&list, j);

            if (list.label[i] == list.label[j])
                continue;
            if (better)
                own += change * softplus(-margin);
            gradient += better ? -change * sigmoid(-margin) : change * sigmoid(-margin);
        }
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
