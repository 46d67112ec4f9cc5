/*
 * tests/cuemu/fibers.cpp - a block's threads as fibers: who runs when, barriers, warps.
 *
 * A fiber runs until it waits (barrier, warp collective), ends, or, in the random order, is
 * interrupted in front of a load or store. Barriers compare the places at which threads wait:
 * CUDA does not, and hangs or goes on with half a block. Of the warp's collectives only __syncwarp
 * orders memory.
 */
#include "tests/cuemu/ptx.h"

#include <stdlib.h>
#include <string.h>

#include <algorithm>
#include <numeric>
#include <vector>

namespace
{
void *main_stack_pointer;
std::vector<int> ready; /* threads that may run, in the order of becoming so */
int waiting, ended;
bool diverged; /* said once a block */
uint64_t random_state = 88172645463325252u;
} /* namespace */

/* Saves the callee's registers on the stack, swaps stacks, takes them back: the ABI asks for no
 * more. Only x86-64 and arm64 are known. */
extern "C" void cuemu_swap(void **save, void *load);
extern "C" void cuemu_begin(void);
#if defined(__x86_64__)
__asm__(".text\n.globl cuemu_swap\n.type cuemu_swap,@function\n"
        "cuemu_swap:\n"
        "  push %rbp\n  push %rbx\n  push %r12\n  push %r13\n  push %r14\n  push %r15\n"
        "  mov %rsp,(%rdi)\n  mov %rsi,%rsp\n"
        "  pop %r15\n  pop %r14\n  pop %r13\n  pop %r12\n  pop %rbx\n  pop %rbp\n  ret\n"
        ".globl cuemu_begin\n.type cuemu_begin,@function\n"
        "cuemu_begin:\n  xor %ebp,%ebp\n  call cuemu_fiber\n  ud2\n");
#else
#error "cuemu: fibers are written for x86-64"
#endif

uint64_t cuemu_random(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

static fiber &self(void)
{
    return machine.fibers[machine.current];
}

static void leave(void)
{
    cuemu_swap(&self().stack_pointer, main_stack_pointer);
}

extern "C" void cuemu_fiber(void)
{
    machine.now.run(machine.now.arguments);
    self().state = fiber::DONE;
    ended++;
    leave();
    abort();
}

void fibers_preempt(void)
{
    ready.push_back(machine.current);
    leave();
}

static void begin_fiber(int thread, dim3 block)
{
    fiber &f = machine.fibers[thread];
    unsigned t = (unsigned)thread;

    f = fiber();
    f.index = {t % block.x, t / block.x % block.y, t / block.x / block.y};
    f.clock = 1;
    f.state = fiber::READY;
    f.stack = machine.stacks + (size_t)thread * STACK_BYTES;
    void **top = (void **)(f.stack + STACK_BYTES - 64);
    *--top = NULL;
    *--top = NULL;
    *--top = (void *)cuemu_begin; /* with the two above: aligned as a call wants it */
    for (int i = 0; i < 6; i++)
        *--top = NULL; /* the registers that cuemu_swap takes back */
    f.stack_pointer = top;
    ready.push_back(thread);
}

static void wake(int thread)
{
    machine.fibers[thread].state = fiber::READY;
    ready.push_back(thread);
}

/* All that live wait: from here on everybody has heard of everybody. */
static void release_barrier(void)
{
    const fiber *first = NULL;

    for (int t = 0; t < machine.threads; t++) {
        fiber &f = machine.fibers[t];

        if (f.state == fiber::AT_BARRIER) {
            if (first == NULL)
                first = &f;
            if ((f.line != first->line || strcmp(f.file, first->file) != 0) && !diverged) {
                diverged = true;
                cuemu_report("divergent barrier", (void *)(intptr_t)f.line,
                             "threads of one block wait at lines %d and %d of %s", first->line,
                             f.line, f.file);
            }
        }
        machine.barrier_clock[t] = f.clock;
    }
    if (ended > 0 && !diverged) {
        diverged = true;
        cuemu_report("barrier after exit", (void *)(intptr_t)first->line,
                     "%d threads ended before the barrier at line %d of %s", ended, first->line,
                     first->file);
    }
    waiting = 0;
    for (int t = 0; t < machine.threads; t++) {
        for (int lane = 0; lane < WARP; lane++)
            machine.warp_clock[t][lane] = machine.barrier_clock[t / WARP * WARP + lane];
        machine.fibers[t].clock++;
        if (machine.fibers[t].state == fiber::AT_BARRIER)
            wake(t);
    }
}

extern "C" void cuemu_barrier(const char *file, int line)
{
    self().state = fiber::AT_BARRIER;
    self().file = file;
    self().line = line;
    waiting++;
    leave();
}

/* Gives the lanes of a complete collective their results. */
static void exchange(int first, unsigned mask)
{
    const fiber *lanes = machine.fibers + first;
    cuemu_collective what = CUEMU_SYNC;
    bool any = false;

    for (int lane = 0; lane < WARP; lane++) {
        fiber &f = machine.fibers[first + lane];
        int from = lane;

        if ((mask >> lane & 1) == 0)
            continue;
        if (any && f.collective != what)
            cuemu_report("warp collective mismatch", (void *)(intptr_t)f.line,
                         "lane %d is at line %d of %s", lane, f.line, f.file);
        what = f.collective;
        any = true;
        if (f.collective == CUEMU_SHUFFLE)
            from = f.argument & (WARP - 1);
        else if (f.collective == CUEMU_SHUFFLE_XOR)
            from = (lane ^ f.argument) & (WARP - 1);
        if ((mask >> from & 1) == 0)
            cuemu_report("shuffle from an inactive lane", (void *)(intptr_t)f.line,
                         "lane %d reads lane %d at line %d of %s", lane, from, f.line, f.file);
        f.result = lanes[from].value;
    }
    if (what != CUEMU_SYNC)
        return;
    uint32_t heard[WARP] = {0};
    for (int lane = 0; lane < WARP; lane++) {
        if ((mask >> lane & 1) == 0)
            continue;
        for (int i = 0; i < WARP; i++)
            heard[i] = std::max(heard[i], machine.warp_clock[first + lane][i]);
        heard[lane] = std::max(heard[lane], lanes[lane].clock);
    }
    for (int lane = 0; lane < WARP; lane++) {
        if ((mask >> lane & 1) == 0)
            continue;
        memcpy(machine.warp_clock[first + lane], heard, sizeof heard);
        machine.fibers[first + lane].clock++;
    }
}

/* Completes a collective once every lane of its mask is there. */
static void try_warp(int thread)
{
    int first = thread / WARP * WARP;
    unsigned mask = machine.fibers[thread].mask, there = 0;

    for (int lane = 0; lane < WARP && first + lane < machine.threads; lane++) {
        const fiber &f = machine.fibers[first + lane];

        if (f.state == fiber::IN_WARP && f.mask == mask)
            there |= 1u << lane;
    }
    if ((there & mask) != mask)
        return;
    exchange(first, mask);
    for (int lane = 0; lane < WARP; lane++)
        if ((mask >> lane & 1) != 0)
            wake(first + lane);
}

extern "C" uint32_t cuemu_warp(enum cuemu_collective what, unsigned mask, uint32_t value,
                               int argument, const char *file, int line)
{
    fiber &f = self();

    f.state = fiber::IN_WARP;
    f.collective = what;
    f.mask = mask;
    f.value = value;
    f.argument = argument;
    f.file = file;
    f.line = line;
    if ((mask >> (machine.current % WARP) & 1) == 0)
        cuemu_report("mask without its caller", (void *)(intptr_t)line,
                     "mask %08x at line %d of %s", mask, line, file);
    leave();
    return f.result;
}

static void report_deadlock(void)
{
    for (int t = 0; t < machine.threads; t++) {
        const fiber &f = machine.fibers[t];

        if (f.state != fiber::AT_BARRIER && f.state != fiber::IN_WARP)
            continue;
        machine.current = t;
        cuemu_report("deadlock", (void *)(intptr_t)f.line,
                     "%d threads ended, %d wait at barriers, one in %s at line %d of %s", ended,
                     waiting, f.state == fiber::AT_BARRIER ? "a barrier" : "a warp's collective",
                     f.line, f.file);
        return;
    }
}

/* Takes the next thread off the list. */
static int pick(size_t *head)
{
    if (machine.order == CUEMU_RANDOM) {
        size_t at = *head + cuemu_random() % (ready.size() - *head);

        std::swap(ready[at], ready[*head]);
    }
    return ready[(*head)++];
}

static void run_block(void)
{
    size_t head = 0;

    ready.clear();
    waiting = ended = 0;
    diverged = false;
    memset(machine.barrier_clock, 0, sizeof machine.barrier_clock);
    memset(machine.warp_clock, 0, sizeof machine.warp_clock);
    if (machine.now.ptx == NULL)
        memory_block_begin(NULL, 0, machine.now.shared_bytes);
    else
        memory_block_begin(&machine.now.ptx->shared, machine.now.ptx->dynamic_at,
                           machine.now.shared_bytes);
    for (int t = 0; t < machine.threads; t++)
        begin_fiber(machine.order == CUEMU_REVERSE ? machine.threads - 1 - t : t,
                    machine.now.block);
    while (ended < machine.threads) {
        if (head == ready.size()) {
            ready.clear();
            head = 0;
            if (waiting == 0 || waiting + ended < machine.threads) {
                report_deadlock();
                return; /* its fibers are given up */
            }
            release_barrier();
            if (machine.order == CUEMU_REVERSE)
                std::reverse(ready.begin(), ready.end());
        }
        int t = pick(&head);
        machine.current = t;
        cuemu_swap(&main_stack_pointer, machine.fibers[t].stack_pointer);
        if (machine.fibers[t].state == fiber::IN_WARP)
            try_warp(t);
    }
}

/* Block after block: in order, from the end, or by a random walk that meets each once. */
void fibers_run_grid(const launch &what)
{
    uint64_t blocks = (uint64_t)what.grid.x * what.grid.y * what.grid.z, step = 1, start = 0;

    machine.now = what;
    machine.launch_number++;
    machine.threads = (int)(what.block.x * what.block.y * what.block.z);
    if (machine.order == CUEMU_RANDOM && blocks > 1) {
        start = cuemu_random() % blocks;
        do
            step = 1 + cuemu_random() % (blocks - 1);
        while (std::gcd(step, blocks) != 1);
    }
    memory_launch_begin(what, blocks * (uint64_t)machine.threads);
    if (what.ptx != NULL)
        ptx_grid_begin(what, machine.threads);
    machine.in_kernel = true;
    memory_open(true);
    for (uint64_t i = 0; i < blocks; i++) {
        uint64_t block = machine.order == CUEMU_REVERSE ? blocks - 1 - i
                                                        : (start + i * step) % blocks;

        machine.block_number = block;
        machine.block_index = {(unsigned)(block % what.grid.x),
                               (unsigned)(block / what.grid.x % what.grid.y),
                               (unsigned)(block / what.grid.x / what.grid.y)};
        run_block();
    }
    memory_open(false);
    machine.in_kernel = false;
}

std::string fibers_place(void)
{
    return machine.now.ptx == NULL ? ""
                                   : std::string(self().file) + ":" + std::to_string(self().line);
}

extern "C" {
struct uint3 cuemu_thread_index(void)
{
    return machine.fibers[machine.current].index;
}
struct uint3 cuemu_block_index(void)
{
    return machine.block_index;
}
struct uint3 cuemu_block_dim(void)
{
    return {machine.now.block.x, machine.now.block.y, machine.now.block.z};
}
struct uint3 cuemu_grid_dim(void)
{
    return {machine.now.grid.x, machine.now.grid.y, machine.now.grid.z};
}
void *cuemu_dynamic_shared(void)
{
    return memory_window();
}

void cuemu_schedule(enum cuemu_order order, uint64_t seed)
{
    machine.order = order;
    machine.preempt_in = 1;
    random_state = 88172645463325252u ^ (seed * 0x9e3779b97f4a7c15u);
    if (random_state == 0)
        random_state = 1;
    for (int i = 0; i < 8; i++)
        (void)cuemu_random();
}
}
