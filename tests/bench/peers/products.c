/*
 * tests/bench/peers/products.c - how fast training could be if it were matrix products alone.
 *
 *     products [T]    128: the peers' training job
 *
 * Forward, gradient of the input and gradient of the weights of every product that a step of 16
 * sequences of the small preset takes, by oneDNN's matmul primitive in f32 on one thread, weights
 * packed: layers, attention, 128 shared negatives. Attention is counted for the causal half, though
 * the whole square is run; nothing is computed twice and nothing else is computed. An upper bound.
 *
 * Prints one JSON object: {"name", "seqs_per_s", "gflops"}. Not part of freshet: bench-peers builds
 * it where oneDNN is installed.
 */
#include <dnnl.h>

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define BATCH     16
#define C         64
#define L         2
#define H         2
#define NEGATIVES 128
#define CALLS_MAX 400
#define SECONDS   .05

/* out (count, M, N) = a (count, M, K) b (count, K, N), times a step. */
struct product {
    int64_t count, M, K, N;
    bool a_transposed, weights; /* a is stored (K, M); b is packed once */
    double share, times;        /* of the product that is needed; in a step */
};

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

static void check(dnnl_status_t status)
{
    if (status == dnnl_success)
        return;
    (void)fprintf(stderr, "products: oneDNN refuses with %d\n", (int)status);
    exit(1);
}

static dnnl_memory_t memory_of(const dnnl_memory_desc_t *desc, dnnl_engine_t engine)
{
    size_t count = dnnl_memory_desc_get_size(desc) / sizeof(float);
    dnnl_memory_t memory;
    void *at;

    check(dnnl_memory_create(&memory, desc, engine, DNNL_MEMORY_ALLOCATE));
    check(dnnl_memory_get_data_handle(memory, &at));
    for (size_t i = 0; i < count; i++)
        ((float *)at)[i] = .001f * (float)(i % 97);
    return memory;
}

static double median_seconds(const struct product *p, dnnl_engine_t engine, dnnl_stream_t stream)
{
    static double seconds[CALLS_MAX];
    const dnnl_dims_t a_dims = {p->count, p->M, p->K}, b_dims = {p->count, p->K, p->N};
    const dnnl_dims_t out_dims = {p->count, p->M, p->N};
    dnnl_memory_desc_t a, b, out;
    dnnl_matmul_desc_t desc;
    dnnl_primitive_desc_t primitive_desc;
    dnnl_primitive_t primitive;
    double end;
    int calls = 0;

    check(dnnl_memory_desc_init_by_tag(&a, 3, a_dims, dnnl_f32,
                                       p->a_transposed ? dnnl_acb : dnnl_abc));
    check(dnnl_memory_desc_init_by_tag(&b, 3, b_dims, dnnl_f32,
                                       p->weights ? dnnl_format_tag_any : dnnl_abc));
    check(dnnl_memory_desc_init_by_tag(&out, 3, out_dims, dnnl_f32, dnnl_abc));
    check(dnnl_matmul_desc_init(&desc, &a, &b, NULL, &out));
    check(dnnl_primitive_desc_create(&primitive_desc, &desc, NULL, engine, NULL));
    check(dnnl_primitive_create(&primitive, primitive_desc));
    const dnnl_exec_arg_t args[] = {
        {DNNL_ARG_SRC, memory_of(&a, engine)},
        {DNNL_ARG_WEIGHTS,
         memory_of(dnnl_primitive_desc_query_md(primitive_desc, dnnl_query_weights_md, 0), engine)},
        {DNNL_ARG_DST, memory_of(&out, engine)},
    };
    check(dnnl_primitive_execute(primitive, stream, 3, args));
    end = now() + SECONDS;
    while (calls < CALLS_MAX && (now() < end || calls < 5)) {
        double start = now();

        check(dnnl_primitive_execute(primitive, stream, 3, args));
        check(dnnl_stream_wait(stream));
        seconds[calls++] = now() - start;
    }
    for (int i = 0; i < 3; i++)
        check(dnnl_memory_destroy(args[i].memory));
    check(dnnl_primitive_destroy(primitive));
    check(dnnl_primitive_desc_destroy(primitive_desc));
    qsort(seconds, (size_t)calls, sizeof *seconds, ascending);
    return seconds[calls / 2];
}

int main(int argc, char **argv)
{
    int64_t T = argc > 1 ? atoi(argv[1]) : 128, R = BATCH * T, D = C / H;
    double half = (double)(T + 1) / (2 * (double)T), total = 0, flops = 0;
    const struct product products[] = {
        {1, R, C, 4 * C, false, true, 1, L}, /* U | V | Q | K */
        {1, R, 4 * C, C, false, true, 1, L},
        {1, C, R, 4 * C, true, false, 1, L},
        {1, R, C, C, false, true, 1, 2 * L}, /* out; its input's gradient is as large */
        {1, C, R, C, true, false, 1, L},
        {BATCH * H, T, D, T, false, false, half, 2 * L}, /* scores; gradient of the weights */
        {BATCH * H, T, T, D, false, false, half, 2 * L}, /* their sum of values; of queries */
        {BATCH * H, T, T, D, true, false, half, 2 * L},  /* gradients of values, of keys */
        {1, R, C, NEGATIVES, false, true, 1, 1},
        {1, R, NEGATIVES, C, false, true, 1, 1},
        {1, NEGATIVES, R, C, true, false, 1, 1},
    };
    dnnl_engine_t engine;
    dnnl_stream_t stream;

    if (T < 1 || T > 4096)
        return 2;
    check(dnnl_engine_create(&engine, dnnl_cpu, 0));
    check(dnnl_stream_create(&stream, engine, dnnl_stream_default_flags));
    for (size_t i = 0; i < sizeof products / sizeof *products; i++) {
        const struct product *p = &products[i];
        double needed = p->share * p->times;

        total += needed * median_seconds(p, engine, stream);
        flops += needed * 2 * (double)p->count * (double)p->M * (double)p->K * (double)p->N;
    }
    (void)printf("{\"name\":\"products_train\",\"seqs_per_s\":%.1f,\"gflops\":%.2f}\n",
                 BATCH / total, 1e-9 * flops / total);
    check(dnnl_stream_destroy(stream));
    check(dnnl_engine_destroy(engine));
    return 0;
}
