/*
 * tests/cuda/real_device.c - cuemu.h where the device is real: nothing can be scheduled, and what
 * is wrong shows as an error of the runtime or under compute-sanitizer.
 */
#include "tests/cuemu/cuemu.h"
#include "tests/test.h"

#include <cuda_runtime.h>
#include <stdio.h>
#include <stdlib.h>

static int64_t asked;

/* Before any test: without a device there is nothing to test, and that is said. */
__attribute__((constructor)) static void need_device(void)
{
    int count = 0;
    cudaError_t error = cudaGetDeviceCount(&count);

    if (error == cudaSuccess && count > 0)
        return;
    (void)printf("skipped cuda_gpu: no GPU here (%s)\n0 passed, 0 failed, 1 skipped\n",
                 error == cudaSuccess ? "the driver counts 0" : cudaGetErrorString(error));
    exit(0);
}

void cuemu_schedule(enum cuemu_order order, uint64_t seed)
{
    (void)order;
    (void)seed;
}

void cuemu_need_emulator(void)
{
    SKIP("a real device is what it is");
}

/* What a kernel did is known when all is done. */
int64_t cuemu_reports(void)
{
    return cudaDeviceSynchronize() == cudaSuccess && cudaGetLastError() == cudaSuccess ? 0 : 1;
}

/* Launches are not counted here: every answer is far above the one before. */
int64_t cuemu_launches(void)
{
    return asked += 1 << 20;
}

void cuemu_traffic_each(void (*row)(const char *kernel, const struct cuemu_traffic *traffic))
{
    (void)row; /* a profiler counts here */
}

int64_t cuemu_replays(void)
{
    return asked += 1 << 20;
}

int64_t cuemu_allocations(void)
{
    return 0;
}

/* A test of faults needs the emulator. */
void cuemu_fail(int64_t call, enum cuemu_fault fault)
{
    (void)call;
    (void)fault;
}

const char *cuemu_failed(void)
{
    return NULL;
}

int64_t cuemu_held(void)
{
    return 0;
}
