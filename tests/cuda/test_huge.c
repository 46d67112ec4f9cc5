/*
 * An item table of more than 2^32 floats, 17.9 GB: an index that is multiplied in 32 bits meets
 * another row, or nothing. The emulator's memory is taken when it is touched, so the table costs a
 * few pages.
 */
#include "kernels/bucket.h"
#include "kernels/cuda/ops.h"
#include "kernels/cuda/ops_back.h"

#include "tests/cuda/device.h"
#include "tests/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define ITEMS 70000000
#define WIDTH 64
#define ROWS  6

/* About 2^31 and 2^32 floats, and both ends. */
static const int32_t rows[ROWS] = {0, 33554431, 33554432, 67108863, 67108864, ITEMS - 1};

static int64_t resident_bytes(void)
{
    long long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");

    CHECK(file != NULL && fscanf(file, "%*s %lld", &pages) == 1);
    (void)fclose(file);
    return pages * sysconf(_SC_PAGESIZE);
}

static float *huge_floats(int64_t count)
{
    void *at = NULL;

    CHECK(cudaMalloc(&at, (size_t)count * sizeof(float)) == cudaSuccess);
    return at;
}

/* Row k of the listed ones becomes first + k * step, width times. */
static void put_rows(float *table, int32_t width, float first, float step)
{
    float row[WIDTH];

    for (int k = 0; k < ROWS; k++) {
        for (int32_t c = 0; c < width; c++)
            row[c] = first + step * (float)k;
        CHECK(cudaMemcpy(table + (int64_t)rows[k] * width, row, (size_t)width * sizeof(float),
                         cudaMemcpyHostToDevice) == cudaSuccess);
    }
}

static void check_rows(const char *what, const float *from, int32_t width, double first,
                       double step, double tolerance)
{
    float *got = device_get(from, (int64_t)ROWS * width);
    double want[WIDTH];

    for (int k = 0; k < ROWS; k++) {
        for (int32_t c = 0; c < width; c++)
            want[c] = first + step * k;
        device_check_all(what, want, got + (int64_t)k * width, width, tolerance);
    }
}

static void embed_rows(const float *table)
{
    static const float zeros[WIDTH * (BUCKET_GAPS > BUCKET_HOURS ? BUCKET_GAPS : BUCKET_HOURS)];
    static const int32_t none[ROWS] = {-1, -1, -1, -1, -1, -1}, first[ROWS];
    struct cuda_tables tables = {.C = WIDTH, .V = ITEMS, .emb = table};
    struct cuda_tokens tokens = {.T = 2, .N = ROWS - 2};
    float *x = device_floats((int64_t)ROWS * WIDTH),
          *e = device_floats((int64_t)(ROWS - 2) * WIDTH);
    struct error err;

    tables.act = DEVICE_PUT(zeros, WIDTH);
    tables.gap = DEVICE_PUT(zeros, (int64_t)WIDTH * BUCKET_GAPS);
    tables.hour = DEVICE_PUT(zeros, (int64_t)WIDTH * BUCKET_HOURS);
    tokens.item = DEVICE_PUT(rows, ROWS);
    tokens.action = DEVICE_PUT(none, ROWS);
    tokens.gap = DEVICE_PUT(first, ROWS);
    tokens.hour = DEVICE_PUT(first, ROWS);
    CHECK_STATUS(OK, cuda_embed(NULL, x, e, tables, tokens, &err));
    check_rows("x", x, WIDTH, 8, 8, 1e-6); /* sqrt(WIDTH) times 1, 2, ... */
}

static void score_rows(const float *table, const float *inverse_norm)
{
    static const int32_t start[] = {0, ROWS};
    float state[WIDTH], *scores = device_floats(ROWS);
    struct error err;

    for (int c = 0; c < WIDTH; c++)
        state[c] = 1.0f / WIDTH;
    CHECK_STATUS(OK, cuda_next_listed(NULL, scores, DEVICE_PUT(state, WIDTH), table, inverse_norm,
                                      DEVICE_PUT(start, 2), DEVICE_PUT(rows, ROWS), 1, ITEMS, WIDTH,
                                      &err));
    check_rows("score", scores, 1, 0.5, 0.5, 1e-6); /* inverse norms are 1/2 */
}

static void learn_rows(float *table, float *accumulator)
{
    float slots[ROWS * WIDTH], row[WIDTH];
    struct error err;

    for (int i = 0; i < ROWS * WIDTH; i++)
        slots[i] = 1;
    CHECK_STATUS(OK,
                 cuda_adagrad(NULL, table, accumulator, DEVICE_PUT(slots, (int64_t)ROWS * WIDTH),
                              DEVICE_PUT(rows, ROWS), ROWS, WIDTH, 1.0f, 0.5f, 1.0f, 0.0f, &err));
    CHECK(cudaDeviceSynchronize() == cudaSuccess);
    for (int k = 0; k < ROWS; k++) {
        const float *from = table + (int64_t)rows[k] * WIDTH;

        CHECK(cudaMemcpy(row, from, sizeof row, cudaMemcpyDeviceToHost) == cudaSuccess);
        for (int c = 0; c < WIDTH; c++)
            CHECK_NEAR(k + 1 - 0.5, row[c], 1e-6); /* the accumulator becomes 1 */
    }
}

TEST(cuda_huge_tables_are_indexed_in_64_bits)
{
    int64_t before;
    float *table, *of_item;

    cuemu_need_emulator();
    (void)cuemu_reports();
    cuemu_schedule(CUEMU_IN_ORDER, 0);
    device_clear();
    before = resident_bytes();
    table = huge_floats((int64_t)ITEMS * WIDTH);
    of_item = huge_floats(ITEMS);
    put_rows(table, WIDTH, 1, 1);
    embed_rows(table);
    put_rows(of_item, 1, 0.5f, 0);
    score_rows(table, of_item);
    put_rows(of_item, 1, 0, 0);
    learn_rows(table, of_item);
    CHECK(resident_bytes() - before < 64 << 20);
    device_clear();
    CHECK(cudaFree(table) == cudaSuccess && cudaFree(of_item) == cudaSuccess);
    CHECK_INT(0, cuemu_reports());
}
