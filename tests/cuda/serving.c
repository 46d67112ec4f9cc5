/* tests/cuda/serving.c - see serving.h. */
#include "tests/cuda/serving.h"

#include "kernels/kv_cache.h"
#include "tests/cuda/device.h"
#include "tests/cuda/models.h"
#include "tests/kernels/caches.h"
#include "tests/test.h"

#include <math.h>

void serving_begin(struct serving *s, int number, uint64_t seed)
{
    struct random random;

    models_backend_is_cuda();
    random_seed(&random, seed);
    s->config = models_config(number, &random);
    s->seed = seed;
}

void serving_model(struct serving *s)
{
    model_destroy(s->model);
    s->model = models_rough(&s->config, s->seed);
    if (s->workspace == NULL)
        s->workspace = model_workspace_create();
}

void serving_cache(struct serving *s, int64_t bytes)
{
    kv_cache_destroy(s->cache);
    s->cache = caches_make(bytes);
}

void serving_end(struct serving *s)
{
    kv_cache_destroy(s->cache);
    model_destroy(s->model);
    model_workspace_destroy(s->workspace);
    CHECK_INT(0, cuemu_reports());
}

void serving_near(float want, float got)
{
    CHECK_NEAR((double)want, (double)got, SERVING_TOLERANCE * (1 + fabs((double)want)));
}

void serving_same(const float *want, const float *got, int32_t count)
{
    for (int32_t i = 0; i < count; i++)
        CHECK_NEAR((double)want[i], (double)got[i], 0);
}

void serving_shorten(struct jagged *all, int32_t n, int32_t m)
{
    all->batch.T = all->history_start[1] = n;
    all->batch.N = all->candidate_start[1] = m;
}

void serving_learn(struct serving *s)
{
    struct error err;

    for (int32_t i = 0; i < model_tensors_count(s->model); i++)
        for (size_t k = 0; k < model_tensor(s->model, i).count; k++)
            model_tensor(s->model, i).data[k] *= .9f;
    CHECK_STATUS(OK, model_prepare(s->model, &err));
}
