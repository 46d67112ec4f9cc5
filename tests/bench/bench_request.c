/*
 * tests/bench/bench_request.c - time of one rerank request on one thread, ids to scores.
 *
 *     bench_request [JOB PRESET N M [--scores K]]    request small 64 200
 *
 * JOB is what of the history is known from before, in a cache as serve has it
 * (serve.history_cache); ids and times in, scores out, the last layer's history reduced to K and V:
 *     request    nothing: there is no cache
 *     first      nothing: a user who comes for the first time, and is kept in the place of another
 *     returning  everything: the same history as before, other candidates and times or not
 *     next       all but one event, of histories of N - 11 to N
 * FRESHET_GOLDEN names a folder written by another implementation (tests/bench/golden.h): its
 * weights and requests are used, and every score is first compared with its own within 1e-4.
 * Without one, or where its sizes differ: fresh weights and random requests of the default
 * bundle's shape (cross head), called "served". Requests take turns, eight of them.
 *
 * Weights are folded as serve folds them (model_fold()); FRESHET_UNFOLDED=1 leaves that out.
 * FRESHET_BF16=1 rounds them to bf16 (model_round()), by the best way that this machine has; scores
 * may then differ by .05.
 *
 * Without arguments it reports "request", and for "returning" and "next" the same sizes.
 * Prints one JSON object: {"name", "min_ms", "median_ms", "verified", "max_error", "isa"}.
 * --scores K prints request K's scores, one a line, instead.
 */
#include "kernels/kv_cache.h"
#include "kernels/model.h"
#include "kernels/ops.h"
#include "ops/hash.h"
#include "ops/random.h"
#include "tests/bench/figure.h"
#include "tests/bench/golden.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define CALLS_MAX     4000
#define WARM_SECONDS  .1
#define TIMED_SECONDS .25
#define TOLERANCE     1e-4
#define BF16_ERROR    .05
#define SERVED_ITEMS  3400
#define SERVED_F      16
#define ROTATION      8
#define CACHE_BYTES   (64 << 20) /* serve.history_cache */

enum job { JOB_REQUEST, JOB_FIRST, JOB_RETURNING, JOB_NEXT, JOBS };
static const char *const job_names[JOBS] = {"request", "first", "returning", "next"};

static double now(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

_Noreturn static void fail(const char *why)
{
    (void)fprintf(stderr, "bench_request: %s\n", why);
    exit(1);
}

static void check(enum status status, const struct error *err)
{
    if (status != OK)
        fail(err->text);
}

/* Requests of the preset in one allocation that is never freed: the process ends soon. */
static void served_requests(struct golden *g, const char *preset, int32_t n, int32_t m)
{
    struct random random;
    struct error err;

    if (!model_preset(&g->config, preset, SERVED_ITEMS, SERVED_F) || n > g->config.P)
        fail("no such preset, or its history is shorter");
    check(model_create(&g->model, &g->config, 1, &err), &err);
    g->n = n;
    g->m = m;
    g->requests_count = ROTATION;
    random_seed(&random, 1);
    for (int32_t k = 0; k < ROTATION; k++) {
        struct golden_request *r = &g->requests[k];
        int64_t at = 1700000000000;

        r->item = calloc((size_t)n + 1, sizeof *r->item);
        r->action = calloc((size_t)n + 1, sizeof *r->action);
        r->time_ms = calloc((size_t)n + 1, sizeof *r->time_ms);
        r->candidate_item = calloc((size_t)m, sizeof *r->candidate_item);
        r->scalars = calloc((size_t)m * SERVED_F, sizeof *r->scalars);
        if (r->item == NULL || r->action == NULL || r->time_ms == NULL ||
            r->candidate_item == NULL || r->scalars == NULL)
            fail("no memory");
        for (int32_t i = 0; i < n; i++) {
            r->item[i] = 1 + (int32_t)random_below(&random, SERVED_ITEMS - 1);
            r->action[i] = 1 + (int32_t)random_below(&random, 7);
            at += 1000 * (int64_t)exp(11 * random_unit(&random));
            r->time_ms[i] = at;
        }
        for (int32_t i = 0; i < m; i++)
            r->candidate_item[i] = 1 + (int32_t)random_below(&random, SERVED_ITEMS - 1);
        for (int32_t i = 0; i < m * SERVED_F; i++)
            r->scalars[i] = (float)random_normal(&random);
        r->request_time_ms = at + 60000;
        r->history_start[1] = n;
        r->candidate_start[1] = m;
        r->batch = (struct batch){.B = 1,
                                  .T = n,
                                  .N = m,
                                  .F = SERVED_F,
                                  .history_start = r->history_start,
                                  .item = r->item,
                                  .action = r->action,
                                  .time_ms = r->time_ms,
                                  .request_time_ms = &r->request_time_ms,
                                  .candidate_start = r->candidate_start,
                                  .candidate_item = r->candidate_item,
                                  .scalars = r->scalars};
    }
}

static double verify(const struct golden *g, struct model_workspace *workspace, float *scores)
{
    double worst = 0;
    struct error err;

    for (int32_t k = 0; k < g->requests_count; k++) {
        check(model_score(g->model, workspace, &g->requests[k].batch, scores, &err), &err);
        for (int32_t i = 0; i < g->m; i++) {
            double error = fabs((double)scores[i] - g->requests[k].scores[i]);

            worst = error <= worst ? worst : error; /* NaN is the worst */
        }
    }
    return worst;
}

/* The first event is another one: nothing of this history is known. */
static void make_new(struct golden_request *r)
{
    r->time_ms[0]--;
}

/* Makes a request what the job asks for; true: it is scored once more before it is timed. */
static bool make_next(struct golden *g, enum job job, struct golden_request *r)
{
    int32_t least = g->n - (KV_PAGE_ROWS - 1);
    bool begins = job == JOB_NEXT && r->batch.T == g->n;

    if (job == JOB_FIRST || begins)
        make_new(r);
    if (job == JOB_NEXT)
        r->batch.T = r->history_start[1] = begins ? least - 1 : r->batch.T + 1;
    return begins;
}

static void score_one(struct golden *g, enum job job, int call, struct model_workspace *workspace,
                      struct kv_cache *cache, float *scores, double *ms)
{
    struct golden_request *r = &g->requests[call % g->requests_count];
    struct error err;

    if (make_next(g, job, r)) {
        check(model_score_cached(g->model, workspace, cache, &r->batch, scores, &err), &err);
        (void)make_next(g, job, r);
    }
    double t = now();
    check(model_score_cached(g->model, workspace, cache, &r->batch, scores, &err), &err);
    *ms = (now() - t) * 1e3;
}

/* All its memory was touched: what the first touch costs is paid once in a process. */
static bool full(const struct kv_cache *cache)
{
    struct kv_cache_stats stats;

    kv_cache_stats(cache, &stats);
    return stats.pages_used + KV_PAGE_ROWS > stats.pages;
}

/* Fills ms, ascending; returns how many. */
static int timed(struct golden *g, enum job job, struct model_workspace *workspace, float *scores,
                 double *ms)
{
    double end = now() + WARM_SECONDS;
    struct kv_cache *cache = NULL;
    struct error err;
    int calls = 0;

    if (job != JOB_REQUEST)
        check(kv_cache_create(&cache, CACHE_BYTES, &err), &err);
    for (int k = 0; now() < end || (job == JOB_FIRST && !full(cache)); k++)
        score_one(g, job, k, workspace, cache, scores, ms);
    end = now() + TIMED_SECONDS;
    for (; calls < CALLS_MAX && (now() < end || calls < 8); calls++)
        score_one(g, job, calls, workspace, cache, scores, &ms[calls]);
    kv_cache_destroy(cache);
    for (int32_t k = 0; k < g->requests_count; k++) /* the next job's, whole again */
        g->requests[k].batch.T = g->requests[k].history_start[1] = g->n;
    qsort(ms, (size_t)calls, sizeof *ms, ascending);
    return calls;
}

static void report(enum job job, bool golden, const double *ms, int calls)
{
    char name[64];

    if (job == JOB_REQUEST)
        (void)snprintf(name, sizeof name, "rerank%s_64x200_ms", golden ? "" : "_model");
    else
        (void)snprintf(name, sizeof name, "rerank_%s_64x200_ms", job_names[job]);
    figure_report(name, ms[calls / 2], "ms", "best of the calls", ms[0]);
}

static enum job job_of(const char *name)
{
    enum job job = JOB_REQUEST;

    while (job < JOBS && strcmp(job_names[job], name) != 0)
        job++;
    return job;
}

int main(int argc, char **argv)
{
    static struct golden g;
    static double ms[CALLS_MAX];
    struct model_workspace *workspace = model_workspace_create();
    const char *folder = getenv("FRESHET_GOLDEN");
    float *scores;
    int32_t n, m;
    int calls;
    double worst = 0;
    bool golden = false;
    struct error err;

    static char job[] = "request", preset[] = "small", history[] = "64", list[] = "200";
    char *standard[] = {argv[0], job, preset, history, list};
    bool figures = argc == 1;

    if (figures) {
        argv = standard;
        argc = 5;
    }
    if (argc < 5 || job_of(argv[1]) == JOBS) {
        (void)fprintf(stderr, "usage: bench_request request|first|returning|next PRESET N M "
                              "[--scores K]\n");
        return 2;
    }
    check(hash_start(&err), &err);
    n = atoi(argv[3]);
    m = atoi(argv[4]);
    if (m < 1 || m > BATCH_LIST_MAX || n < 0)
        fail("sizes out of range");
    if (folder != NULL) {
        check(golden_load(&g, folder, &err), &err);
        golden = g.n == n && g.m == m && (g.config.C == 64) == (strcmp(argv[2], "small") == 0);
        if (!golden)
            golden_clear(&g);
    }
    if (!golden)
        served_requests(&g, argv[2], n, m);
    scores = calloc((size_t)m, sizeof *scores);
    if (scores == NULL)
        fail("no memory");
    if (getenv("FRESHET_BF16") != NULL)
        check(model_round(g.model, &err), &err);
    if (getenv("FRESHET_UNFOLDED") == NULL)
        check(model_fold(g.model, &err), &err); /* as serve does with what it loads */
    if (golden)
        worst = verify(&g, workspace, scores);
    if (!(worst <= (model_is_rounded(g.model) ? BF16_ERROR : TOLERANCE)))
        fail("scores differ from the golden ones");
    if (argc == 7 && strcmp(argv[5], "--scores") == 0) {
        check(model_score(g.model, workspace, &g.requests[atoi(argv[6]) % g.requests_count].batch,
                          scores, &err),
              &err);
        for (int32_t i = 0; i < m; i++)
            (void)printf("%.9g\n", (double)scores[i]);
        return 0;
    }
    for (enum job each = JOB_REQUEST; figures && each < JOBS; each++) {
        if (each == JOB_FIRST)
            continue; /* "request" and what keeping costs */
        calls = timed(&g, each, workspace, scores, ms);
        report(each, golden, ms, calls);
    }
    if (figures)
        return 0;
    calls = timed(&g, job_of(argv[1]), workspace, scores, ms);
    (void)printf("{\"name\":\"rerank%s_%dx%d_ms\",\"min_ms\":%.4f,\"median_ms\":%.4f,"
                 "\"calls\":%d,\"verified\":%s,\"max_error\":%.2e,\"isa\":\"%s\"}\n",
                 golden ? "" : "_model", (int)n, (int)m, ms[0], ms[calls / 2], calls,
                 golden ? "true" : "false", worst, ops_cpu()->name);
    return 0;
}
