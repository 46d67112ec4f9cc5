/* kernels/cuda/graphs.c - graphs by their shapes: found, made, dropped. */
#include "kernels/cuda/graphs.h"

#include "ops/log.h"

#include <stddef.h>

static bool allowed = true;

void graphs_allow(bool now)
{
    allowed = now;
}

bool graphs_allowed(void)
{
    return allowed;
}

/* From least on in doublings: at most half of what is computed is of nobody, where a launch costs
 * more than its work. */
static int32_t rounded(int32_t count, int32_t least)
{
    while (least < count)
        least *= 2;
    return least;
}

bool graphs_shape(int32_t *B, int32_t *T, int32_t *N, int32_t *tokens)
{
    if (*B > GRAPHS_B || *T > GRAPHS_ROWS || *N > GRAPHS_ROWS || *tokens > GRAPHS_TOKENS)
        return false;
    *B = *B == 1 ? 1 : rounded(*B, 8);
    *T = rounded(*T, 64);
    *N = rounded(*N, 64);
    *tokens = rounded(*tokens, 64);
    return true;
}

static bool same(const struct graph_key *a, const struct graph_key *b)
{
    return a->place == b->place && a->memory == b->memory && a->staging == b->staging &&
           a->pool == b->pool && a->B == b->B && a->T == b->T && a->N == b->N &&
           a->tokens == b->tokens;
}

static void drop(struct graphs *graphs, int i)
{
    if (graphs->rows[i].made != NULL)
        (void)cudaGraphExecDestroy(graphs->rows[i].made);
    graphs->rows[i].made = NULL;
}

/* A free place, or that of the one that was not used for longest. */
static int place_of(const struct graphs *graphs)
{
    int oldest = 0;

    for (int i = 0; i < GRAPHS_MAX; i++) {
        if (graphs->rows[i].made == NULL)
            return i;
        if (graphs->rows[i].used < graphs->rows[oldest].used)
            oldest = i;
    }
    return oldest;
}

/* A capture must be ended whatever happened in it; what was queued in it never runs by itself. */
static cudaGraphExec_t make(cudaStream_t stream,
                            enum status (*queue)(void *context, struct error *err), void *context)
{
    cudaGraph_t graph = NULL;
    cudaGraphExec_t made = NULL;
    struct error ignored;
    bool queued;

    if (cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal) != cudaSuccess)
        return NULL;
    queued = queue(context, &ignored) == OK;
    if (cudaStreamEndCapture(stream, &graph) != cudaSuccess || graph == NULL)
        return NULL;
    if (!queued || cudaGraphInstantiate(&made, graph, 0) != cudaSuccess)
        made = NULL;
    (void)cudaGraphDestroy(graph);
    return made;
}

/* A call that was refused once may be tried again; each try costs a request its making. */
static void rest(struct graphs *graphs, cudaError_t why)
{
    static struct log_limit limit;

    graphs->without = GRAPHS_REST;
    if (log_every(&limit, 60000))
        log_event(LOG_WARN, "graph_refused", cudaGetErrorString(why),
                  log_text("meanwhile", "requests go launch by launch"));
}

bool graphs_launch(struct graphs *graphs, const struct graph_key *key, cudaStream_t stream,
                   enum status (*queue)(void *context, struct error *err), void *context)
{
    int i = 0;

    if (graphs->without > 0) {
        graphs->without--;
        return false;
    }
    while (i < GRAPHS_MAX && (graphs->rows[i].made == NULL || !same(&graphs->rows[i].key, key)))
        i++;
    if (i == GRAPHS_MAX) {
        i = place_of(graphs);
        drop(graphs, i);
        graphs->rows[i].key = *key;
        graphs->rows[i].made = make(stream, queue, context);
    }
    graphs->rows[i].used = ++graphs->clock;
    if (graphs->rows[i].made != NULL &&
        cudaGraphLaunch(graphs->rows[i].made, stream) == cudaSuccess)
        return true;
    drop(graphs, i);
    rest(graphs, cudaGetLastError()); /* the caller goes on without, and is not told of this one */
    return false;
}

void graphs_clear(struct graphs *graphs)
{
    for (int i = 0; i < GRAPHS_MAX; i++)
        drop(graphs, i);
    *graphs = (struct graphs){0};
}
