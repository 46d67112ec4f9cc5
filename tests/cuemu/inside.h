/*
 * tests/cuemu/inside.h - what the emulator's parts share.
 *
 * Flow: cudart.cpp (streams, launches) -> fibers.cpp (blocks, schedules, barriers) -> kernels ->
 *       memory.cpp (every load and store)
 */
#ifndef TESTS_CUEMU_INSIDE_H
#define TESTS_CUEMU_INSIDE_H

#include "tests/cuemu/cuemu.h"

#include <cuda_runtime.h>

#include <functional>
#include <string>
#include <vector>

enum {
    BLOCK_THREADS_MAX = 1024,
    WARP = 32,
    WARPS_MAX = BLOCK_THREADS_MAX / WARP,
    STACK_BYTES = 64 << 10,
    SHARED_BYTES_MAX = 48 << 10,
    SHARED_WINDOW_BYTES = 2 * SHARED_BYTES_MAX /* with gaps */
};

/* One CUDA thread. clock counts its synchronizations: an access is known to another thread when
 * that one has heard of its clock. */
struct fiber {
    void *stack_pointer;
    unsigned char *stack;
    uint3 index;
    uint32_t clock;
    enum { READY, AT_BARRIER, IN_WARP, DONE } state;
    const char *file; /* where it waits; in PTX, also where it reads or writes */
    int line;
    cuemu_collective collective;
    unsigned mask;
    int argument;
    uint32_t value, result;
};

/* What a kernel of PTX declares: a place in the window of shared memory. */
struct shared_array {
    std::string name;
    size_t at, bytes;
};
struct ptx_kernel; /* ptx.h */

struct launch {
    const char *name;
    dim3 grid, block;
    size_t shared_bytes;
    void (*run)(void *);
    void *arguments;
    size_t arguments_bytes;
    ptx_kernel *ptx; /* NULL: what g++ made is run */
};

struct running {
    bool in_kernel;
    launch now;
    uint64_t launch_number, block_number;
    uint3 block_index;
    int threads, current;
    fiber fibers[BLOCK_THREADS_MAX];
    uint32_t barrier_clock[BLOCK_THREADS_MAX];    /* known to all since the last barrier */
    uint32_t warp_clock[BLOCK_THREADS_MAX][WARP]; /* of each lane of its warp, known to a thread */
    unsigned char *stacks;
    enum cuemu_order order;
    int preempt_in; /* accesses, CUEMU_RANDOM only */
};
extern running machine;

uint64_t cuemu_random(void);
/* Prints once a kind and place; pc or (file, line) may be missing. */
void cuemu_report(const char *kind, const void *place, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* fibers.cpp */
void fibers_run_grid(const launch &what);
void fibers_preempt(void);
/* What a report says of the place: file and line, where PTX is run; else "". */
std::string fibers_place(void);

/* memory.cpp: the device's memory, its shadow, and shared memory */
void memory_start(void);
void memory_open(bool open); /* host code finds it closed */
void memory_launch_begin(const launch &what, uint64_t threads);
/* arrays: what PTX declares, at places of the window; NULL: the arrays are g++'s own. The launch's
 * dynamic memory is at dynamic_at. */
void memory_block_begin(const std::vector<shared_array> *arrays, size_t dynamic_at,
                        size_t dynamic_bytes);
unsigned char *memory_window(void); /* SHARED_WINDOW_BYTES of shared memory */
/* In front of every load and store of a kernel. False: there is no such memory, and nothing may be
 * touched. place: of the code, a report of one is made once. */
bool memory_access(const void *at, size_t bytes, bool write, const void *place);
void *memory_allocate(size_t bytes); /* NULL when there is no more */
bool memory_free(void *at);
int64_t memory_held(void); /* allocations */
bool memory_is_device(const void *at);
/* Is all of it allocated? Says so when not. read: and written before? */
bool memory_check(const void *at, size_t bytes, bool read, const char *who);
void memory_defined(void *at, size_t bytes);

#endif
