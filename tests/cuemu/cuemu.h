/*
 * tests/cuemu/cuemu.h - what a test says to the emulator and asks of it.
 *
 * The same tests run on a real device, where schedules do not apply and nothing is reported:
 * tests/cuda/real_device.c answers there. What is said here is said by one thread.
 */
#ifndef TESTS_CUEMU_CUEMU_H
#define TESTS_CUEMU_CUEMU_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum cuemu_order { CUEMU_IN_ORDER, CUEMU_REVERSE, CUEMU_RANDOM };
#define CUEMU_ORDERS 3

/* Who runs when, from the next launch on. random: any ready thread, any block, and threads are
 * interrupted at loads and stores. */
void cuemu_schedule(enum cuemu_order order, uint64_t seed);

/* Reports since the last call; they are printed as they are made, once a kind and place. */
int64_t cuemu_reports(void);

/* What was executed: a test that claims to have run kernels asks. */
int64_t cuemu_launches(void);

/* Graphs that were launched. */
int64_t cuemu_replays(void);

/* Allocations of device and pinned memory so far. */
int64_t cuemu_allocations(void);

/* The call-th call of the runtime, launch or product of cuBLAS from now on fails; 0: none does, and
 * a lost device is as new. Refused: it has no effect, says so, and all others work. Lost: with it
 * goes all that was queued, and every later call fails, too, as after a kernel's fault.
 * Destroying and freeing never fail; that of a lost device says so and is done. */
enum cuemu_fault { CUEMU_REFUSED, CUEMU_LOST };
void cuemu_fail(int64_t call, enum cuemu_fault fault);
const char *cuemu_failed(void); /* the name of what failed; NULL: not so many calls yet */

/* Allocations of device and pinned memory, streams, events, graphs, handles of cuBLAS: those that
 * were made and not given back. */
int64_t cuemu_held(void);

/* What a kernel asked of device memory since the last call: bytes loaded and stored by all threads,
 * and of how many 4-byte words, in bytes, each launch read what was there before or wrote at all:
 * what had to be moved at least, were caches perfect. One call of row for each kernel that ran;
 * then all is forgotten. */
struct cuemu_traffic {
    int64_t launches, threads, loaded, stored, distinct;
    int block_threads;            /* of the last launch */
    int64_t shared_dynamic_bytes; /* the most of a launch */
    /* What all threads executed, of nvcc's PTX; nothing is counted of what g++ made. */
    struct {
        int64_t fma, floats, specials, integers; /* specials: division, roots, exp2, ... */
        int64_t others;                          /* moves, branches, barriers, loads and stores */
        int64_t shared_loaded, shared_stored;    /* bytes */
    } ptx;
};
void cuemu_traffic_each(void (*row)(const char *kernel, const struct cuemu_traffic *traffic));

/* Skips the running test on a real device. */
void cuemu_need_emulator(void);

/* CUEMU_MACHINE="1 9 0 1 0" in the environment is the machine that is emulated: devices (-1: no
 * driver), compute capability, whether libcublas can be opened, and whether kernels do nothing, as
 * those of a device that the build has no code for.
 *
 * CUEMU_FAIL=PATH: once there is such a file, "2 refused" or "1 lost" in it is that call of
 * cuemu_fail(), counted from the next one on; at "9 killed" the program ends as by kill -9. It is
 * removed when it is read, and what failed is told as "cuemu_fail: ...". For programs, which have
 * no test in them: make it elsewhere and move it.
 *
 * CUEMU_COUNTS=1: "cuemu_counts: 12 launches, 3 graphs, 0 held" is the last that a program says, by
 * cuemu_launches(), cuemu_replays() and cuemu_held(). */

#ifdef __cplusplus
}
#endif
#endif
