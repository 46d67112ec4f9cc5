/*
 * tests/cuemu/memory.cpp - device and shared memory with a shadow: bounds, initialization, races.
 *
 * The hooks at the end are called in front of every load and store of a kernel. A byte of shadow
 * says whether a byte may be touched and was written; a cell for every 4 bytes remembers the last
 * write and two reads, each with launch, block, thread and clock. Two accesses race when one
 * writes and the later thread has not heard of the other's clock (fibers.cpp), whatever the
 * schedule was. Between launches of one stream all is ordered; between blocks of a launch nothing.
 */
#include "tests/cuemu/ptx.h"

#include <elf.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <vector>

namespace
{
const size_t ARENA_BYTES = (size_t)32 << 30; /* addresses; memory is taken when touched */
/* An allocation of so much is not filled, nor its shadow: it may be larger than the machine, and
 * pages that nobody touches cost nothing when memory is opened and closed. */
const size_t HUGE_BYTES = (size_t)4 << 20;
const size_t GAP_BYTES = 512; /* between allocations, so that nothing runs over */
enum byte_state : unsigned char { CLOSED, UNDEFINED, DEFINED };
enum access_kind { READ, WRITE };
/* What the compiler takes for granted: two floats that clang reads as one word are not aligned. */
enum alignment { ANY, NATURAL };

struct access {
    uint64_t launch; /* 0: none */
    uint32_t block, clock;
    uint16_t thread;
};
struct cell {
    access write, reads[2];
};

/* A range of addresses with its shadow. */
struct region {
    unsigned char *base;
    size_t bytes;
    byte_state *state;
    cell *cells;
};
struct symbol {
    size_t offset, bytes;
    std::string name;
};
region arena, fixed_shared, window;
std::vector<shared_array> arrays; /* of the window, in this block */
size_t arena_used = 4096;
std::map<size_t, size_t> allocations; /* offset -> bytes */
std::vector<symbol> shared_symbols;
std::set<std::pair<std::string, const void *>> said;
int64_t reports;
bool instrumented;
std::map<std::string, cuemu_traffic> traffic;
cuemu_traffic unnamed, *moving = &unnamed; /* of the kernel that runs */

void *reserve(size_t bytes, int protection)
{
    void *at = mmap(NULL, bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (at == MAP_FAILED) {
        perror("cuemu: mmap");
        _exit(70);
    }
    return at;
}

void shadow(region &of, size_t bytes)
{
    const int both = PROT_READ | PROT_WRITE;

    of.bytes = bytes;
    of.state = (byte_state *)reserve(bytes + 8, both);
    of.cells = (cell *)reserve((bytes / 4 + 2) * sizeof(cell), both);
}

bool inside(const region &of, const void *at)
{
    return (const unsigned char *)at >= of.base && (const unsigned char *)at < of.base + of.bytes;
}

/* Where an array of __shared__ ends: its symbol in our own file says so. */
void read_symbols(unsigned char *start, size_t bytes)
{
    int file = open("/proc/self/exe", O_RDONLY);
    struct stat info;
    if (file < 0 || fstat(file, &info) != 0)
        return;
    unsigned char *image = (unsigned char *)mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE,
                                                 file, 0);
    close(file);
    if (image == MAP_FAILED)
        return;
    const Elf64_Ehdr *elf = (const Elf64_Ehdr *)image;
    const Elf64_Shdr *sections = (const Elf64_Shdr *)(image + elf->e_shoff);
    const char *names = (const char *)(image + sections[elf->e_shstrndx].sh_offset);
    int shared = -1;
    for (int i = 0; i < elf->e_shnum; i++)
        if (strcmp(names + sections[i].sh_name, "cuemu_shared") == 0)
            shared = i;
    for (int i = 0; i < elf->e_shnum && shared >= 0; i++) {
        if (sections[i].sh_type != SHT_SYMTAB)
            continue;
        const Elf64_Sym *symbols = (const Elf64_Sym *)(image + sections[i].sh_offset);
        const char *texts = (const char *)(image + sections[sections[i].sh_link].sh_offset);
        for (size_t k = 0; k < sections[i].sh_size / sizeof *symbols; k++)
            if (symbols[k].st_shndx == shared && symbols[k].st_size > 0 &&
                symbols[k].st_value - sections[shared].sh_addr < bytes)
                shared_symbols.push_back({symbols[k].st_value - sections[shared].sh_addr,
                                          symbols[k].st_size, texts + symbols[k].st_name});
    }
    (void)start;
    munmap(image, (size_t)info.st_size);
    std::sort(shared_symbols.begin(), shared_symbols.end(),
              [](const symbol &a, const symbol &b) { return a.offset < b.offset; });
}

void on_fault(int, siginfo_t *info, void *)
{
    const char *who = machine.in_kernel ? machine.now.name : "host code";

    fprintf(stderr, "cuemu: segmentation fault at %p in %s%s\n", info->si_addr, who,
            inside(arena, info->si_addr) && !machine.in_kernel ? ": it follows a device pointer"
                                                               : "");
    _exit(71);
}

const symbol *shared_symbol(size_t offset)
{
    auto after = std::upper_bound(shared_symbols.begin(), shared_symbols.end(), offset,
                                  [](size_t at, const symbol &s) { return at < s.offset; });
    return after == shared_symbols.begin() ? NULL : &after[-1];
}

/* The last one that begins at or before this place. */
const shared_array *array_before(size_t at)
{
    const shared_array *found = NULL;

    for (const shared_array &a : arrays)
        if (a.at <= at)
            found = &a;
    return found;
}

std::string where(const void *at)
{
    char text[160];
    const unsigned char *byte = (const unsigned char *)at;

    if (inside(arena, at)) {
        auto after = allocations.upper_bound((size_t)(byte - arena.base));
        if (after == allocations.begin())
            return "device memory before the first allocation";
        --after;
        snprintf(text, sizeof text, "byte %zu of a device allocation of %zu",
                 (size_t)(byte - arena.base) - after->first, after->second);
    } else if (inside(fixed_shared, at)) {
        const symbol *s = shared_symbol((size_t)(byte - fixed_shared.base));
        snprintf(text, sizeof text, "__shared__ %s", s == NULL ? "memory" : s->name.c_str());
    } else if (inside(window, at)) {
        const shared_array *a = array_before((size_t)(byte - window.base));

        if (a == NULL)
            return "shared memory";
        snprintf(text, sizeof text, "byte %zu of %zu of shared %s",
                 (size_t)(byte - window.base) - a->at, a->bytes, a->name.c_str());
    } else {
        snprintf(text, sizeof text, "%p", at);
    }
    return text;
}

/* Has the running thread heard of this access? Shared memory is another one in every block. */
bool known(const access &a, bool shared)
{
    if (a.launch != machine.launch_number)
        return true;
    if (a.block != (uint32_t)machine.block_number)
        return shared;
    if (a.thread == machine.current)
        return true;
    if (a.thread / WARP == machine.current / WARP)
        return a.clock <= machine.warp_clock[machine.current][a.thread % WARP];
    return a.clock <= machine.barrier_clock[a.thread];
}

void remember(cell &c, access_kind kind, const access &now, bool shared)
{
    if (kind == WRITE)
        c.write = now;
    else if (c.reads[0].launch == 0 || known(c.reads[0], shared))
        c.reads[0] = now;
    else if (c.reads[1].launch == 0 || known(c.reads[1], shared) || (cuemu_random() & 1) != 0)
        c.reads[1] = now;
}

/* A word is new to a launch when nothing of it remembers that launch; one that is read and then
 * written is moved twice. */
void count(const region &of, size_t offset, size_t bytes, access_kind kind)
{
    (kind == READ ? moving->loaded : moving->stored) += (int64_t)bytes;
    for (size_t i = offset / 4; i <= (offset + bytes - 1) / 4; i++) {
        const cell &c = of.cells[i];
        uint64_t now = machine.launch_number;

        if (c.write.launch != now &&
            (kind == WRITE || (c.reads[0].launch != now && c.reads[1].launch != now)))
            moving->distinct += 4;
    }
}

/* False after a report. */
bool check_races(const region &of, size_t offset, size_t bytes, access_kind kind, const void *pc)
{
    const access now = {machine.launch_number, (uint32_t)machine.block_number,
                        machine.fibers[machine.current].clock, (uint16_t)machine.current};
    const bool shared = &of != &arena;

    for (size_t i = offset / 4; i <= (offset + bytes - 1) / 4; i++) {
        cell &c = of.cells[i];
        const char *what = NULL;

        if (!known(c.write, shared))
            what = kind == READ ? "race: read after write" : "race: write after write";
        else if (kind == WRITE && (!known(c.reads[0], shared) || !known(c.reads[1], shared)))
            what = "race: write after read";
        if (what != NULL) {
            const access &other = !known(c.write, shared)      ? c.write
                                  : !known(c.reads[0], shared) ? c.reads[0]
                                                               : c.reads[1];
            cuemu_report(what, pc, "%s, also touched by block %u thread %u",
                         where(of.base + 4 * i).c_str(), other.block, (unsigned)other.thread);
            c = cell();
            return false;
        }
        remember(c, kind, now, shared);
    }
    return true;
}

/* Never written, in an allocation whose shadow was not filled? */
bool fresh_of_huge(const region &of, size_t offset)
{
    if (&of != &arena)
        return false;
    auto after = allocations.upper_bound(offset);
    return after != allocations.begin() &&
           (--after, after->second >= HUGE_BYTES && offset < after->first + after->second);
}

/* False: a byte of it may not be touched. */
bool check_bytes(const region &of, size_t offset, size_t bytes, access_kind kind, alignment aligned,
                 const void *pc)
{
    const char *verb = kind == READ ? "read" : "write";

    if (offset + bytes > of.bytes) {
        cuemu_report("out of bounds", pc, "%s of %zu bytes at the end of memory", verb, bytes);
        return false;
    }
    if (aligned == NATURAL && offset % bytes != 0)
        cuemu_report("misaligned", pc, "%s of %zu bytes at %s", verb, bytes,
                     where(of.base + offset).c_str());
    for (size_t i = offset; i < offset + bytes; i++) {
        if (of.state[i] == CLOSED && fresh_of_huge(of, i))
            of.state[i] = UNDEFINED;
        if (of.state[i] == CLOSED) {
            cuemu_report("out of bounds", pc, "%s of %zu bytes at %s", verb, bytes,
                         where(of.base + i).c_str());
            return false;
        }
        if (of.state[i] == UNDEFINED && kind == READ)
            cuemu_report("uninitialised", pc, "read of %zu bytes at %s", bytes,
                         where(of.base + offset).c_str());
        of.state[i] = DEFINED;
    }
    (void)check_races(of, offset, bytes, kind, pc);
    return true;
}

bool check_fixed(size_t offset, size_t bytes, access_kind kind, alignment aligned, const void *pc)
{
    const symbol *s = shared_symbol(offset);

    if (s != NULL && offset + bytes <= s->offset + s->bytes)
        return check_bytes(fixed_shared, offset, bytes, kind, aligned, pc);
    cuemu_report("out of bounds", pc, "of %s", where(fixed_shared.base + offset).c_str());
    return false;
}

bool check(const void *at, size_t bytes, access_kind kind, alignment aligned, const void *pc)
{
    const unsigned char *byte = (const unsigned char *)at;
    const unsigned char *stack;

    if (!machine.in_kernel || bytes == 0)
        return true;
    stack = machine.fibers[machine.current].stack;
    if (byte >= stack && byte < stack + STACK_BYTES)
        return true;
    if (machine.order == CUEMU_RANDOM && --machine.preempt_in <= 0) {
        machine.preempt_in = 1 + (int)(cuemu_random() % 128);
        fibers_preempt();
    }
    if (inside(arena, at)) {
        count(arena, (size_t)(byte - arena.base), bytes, kind);
        return check_bytes(arena, (size_t)(byte - arena.base), bytes, kind, aligned, pc);
    }
    if (inside(fixed_shared, at))
        return check_fixed((size_t)(byte - fixed_shared.base), bytes, kind, aligned, pc);
    if (inside(window, at))
        return check_bytes(window, (size_t)(byte - window.base), bytes, kind, aligned, pc);
    if (byte >= (unsigned char *)machine.now.arguments &&
        byte < (unsigned char *)machine.now.arguments + machine.now.arguments_bytes)
        return true;
    if (byte >= machine.stacks && byte < machine.stacks + (size_t)BLOCK_THREADS_MAX * STACK_BYTES)
        cuemu_report("another thread's memory", pc, "%zu bytes", bytes);
    else
        cuemu_report("host memory in a kernel", pc, "%zu bytes at %p", bytes, at);
    return false;
}
} /* namespace */

running machine;
extern "C" unsigned char __start_cuemu_shared[] __attribute__((weak));
extern "C" unsigned char __stop_cuemu_shared[] __attribute__((weak));

void cuemu_report(const char *kind, const void *place, const char *format, ...)
{
    char text[400];
    va_list arguments;

    reports++;
    if (!said.insert({kind, place}).second)
        return;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    fprintf(stderr, "cuemu: %s: %s", kind, text);
    if (machine.in_kernel)
        fprintf(stderr, " [%s, block (%u,%u,%u), thread %d] %s", machine.now.name,
                machine.block_index.x, machine.block_index.y, machine.block_index.z,
                machine.current, fibers_place().c_str());
    fputc('\n', stderr);
}

void memory_start(void)
{
    static bool started;
    struct sigaction action = {};
    stack_t stack = {};
    size_t shared = (size_t)(__stop_cuemu_shared - __start_cuemu_shared);

    if (started)
        return;
    started = true;
    arena.base = (unsigned char *)reserve(ARENA_BYTES, PROT_NONE);
    shadow(arena, ARENA_BYTES);
    fixed_shared.base = __start_cuemu_shared;
    shadow(fixed_shared, shared);
    window.base = (unsigned char *)reserve(SHARED_WINDOW_BYTES, PROT_READ | PROT_WRITE);
    shadow(window, SHARED_WINDOW_BYTES);
    read_symbols(__start_cuemu_shared, shared);
    machine.stacks = (unsigned char *)reserve((size_t)BLOCK_THREADS_MAX * STACK_BYTES,
                                              PROT_READ | PROT_WRITE);
    /* The faulting stack may be a fiber's. */
    stack.ss_size = 64 << 10;
    stack.ss_sp = malloc(stack.ss_size);
    sigaltstack(&stack, NULL);
    action.sa_sigaction = on_fault;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigaction(SIGSEGV, &action, NULL);
}

void memory_open(bool open)
{
    static int users; /* one inside another: a whole queue is run behind one opening */

    users += open ? 1 : -1;
    if (users == (open ? 1 : 0) && mprotect(arena.base, arena_used + GAP_BYTES,
                                            open ? PROT_READ | PROT_WRITE : PROT_NONE) != 0)
        abort();
}

void memory_launch_begin(const launch &what, uint64_t threads)
{
    moving = &traffic[what.name];
    moving->launches++;
    moving->threads += (int64_t)threads;
    moving->block_threads = machine.threads;
    moving->shared_dynamic_bytes = std::max(moving->shared_dynamic_bytes,
                                            (int64_t)what.shared_bytes);
}

/* Makes memory garbage that spoils what is made of it. */
static void spoil(const region &of, size_t at, size_t bytes)
{
    const uint32_t garbage = 0x7fa1dead; /* NaN */

    for (size_t i = at; i + 4 <= at + bytes; i += 4)
        memcpy(of.base + i, &garbage, sizeof garbage);
    memset(of.state + at, UNDEFINED, bytes);
}

void memory_block_begin(const std::vector<shared_array> *declared, size_t dynamic_at,
                        size_t dynamic_bytes)
{
    for (const shared_array &a : arrays)
        memset(window.state + a.at, CLOSED, a.bytes);
    arrays.clear();
    if (declared == NULL)
        spoil(fixed_shared, 0, fixed_shared.bytes);
    else
        arrays = *declared;
    arrays.push_back({"memory of the launch", dynamic_at, dynamic_bytes});
    for (const shared_array &a : arrays)
        spoil(window, a.at, a.bytes);
}

unsigned char *memory_window(void)
{
    return window.base;
}

bool memory_access(const void *at, size_t bytes, bool write, const void *place)
{
    return check(at, bytes, write ? WRITE : READ, NATURAL, place);
}

void *memory_allocate(size_t bytes)
{
    size_t offset = (arena_used + GAP_BYTES + 255) / 256 * 256;

    if (bytes > ARENA_BYTES || offset + bytes + 2 * GAP_BYTES > ARENA_BYTES)
        return NULL;
    arena_used = (offset + bytes + 4095) / 4096 * 4096;
    allocations[offset] = bytes;
    if (bytes >= HUGE_BYTES)
        return arena.base + offset;
    memory_open(true);
    memset(arena.base + offset, 0xff, bytes); /* NaN, -1 */
    memory_open(false);
    memset(arena.state + offset, UNDEFINED, bytes);
    return arena.base + offset;
}

/* Never handed out again: what still uses it is seen. Its pages go: each costs something whenever
 * memory is opened. */
bool memory_free(void *at)
{
    auto found = allocations.find((size_t)((unsigned char *)at - arena.base));

    if (found == allocations.end())
        return false;
    size_t first = found->first, end = first + found->second;
    size_t from = std::min((first + 4095) / 4096 * 4096, end),
           to = std::max(end / 4096 * 4096, from);

    memset(arena.state + first, CLOSED, from - first);
    if (to > from) {
        madvise(arena.state + from, to - from, MADV_DONTNEED); /* 0: CLOSED */
        madvise(arena.base + from, to - from, MADV_DONTNEED);
    }
    memset(arena.state + to, CLOSED, end - to);
    allocations.erase(found);
    return true;
}

int64_t memory_held(void)
{
    return (int64_t)allocations.size();
}

bool memory_is_device(const void *at)
{
    return inside(arena, at);
}

bool memory_check(const void *at, size_t bytes, bool read, const char *who)
{
    size_t offset = (size_t)((const unsigned char *)at - arena.base);

    if (bytes == 0)
        return true;
    if (!inside(arena, at) || offset + bytes > ARENA_BYTES) {
        cuemu_report("host memory", who, "%s got %p for device memory", who, at);
        return false;
    }
    auto after = allocations.upper_bound(offset);
    if (!read && after != allocations.begin() &&
        (--after, offset + bytes <= after->first + after->second))
        return true;
    for (size_t i = offset; i < offset + bytes; i++) {
        if (arena.state[i] == CLOSED && !fresh_of_huge(arena, i)) {
            cuemu_report("out of bounds", who, "%s at %s", who, where(arena.base + i).c_str());
            return false;
        }
        if (read && instrumented && arena.state[i] != DEFINED) {
            cuemu_report("uninitialised", who, "%s reads %s", who, where(arena.base + i).c_str());
            return true;
        }
    }
    return true;
}

void memory_defined(void *at, size_t bytes)
{
    memset(arena.state + ((unsigned char *)at - arena.base), DEFINED, bytes);
}

extern "C" {
int64_t cuemu_reports(void)
{
    int64_t count = reports;

    reports = 0;
    said.clear();
    return count;
}

void cuemu_traffic_each(void (*row)(const char *kernel, const struct cuemu_traffic *traffic))
{
    for (auto &kernel : traffic) {
        ptx_count(kernel.first, &kernel.second);
        row(kernel.first.c_str(), &kernel.second);
    }
    traffic.clear();
    moving = &unnamed;
}

void cuemu_check_aligned(const void *at, size_t bytes, const char *file, int line)
{
    if ((uintptr_t)at % bytes != 0)
        cuemu_report("misaligned", file, "%zu bytes at %s, %s:%d", bytes, where(at).c_str(), file,
                     line);
}

void cuemu_need_emulator(void)
{
}

/* ---- what -fsanitize=thread calls ---- */

#define HOOK(name, bytes, kind, aligned)                                                           \
    void name(void *at)                                                                            \
    {                                                                                              \
        check(at, bytes, kind, aligned, __builtin_return_address(0));                              \
    }
#define HOOKS(bytes)                                                                               \
    HOOK(__tsan_read##bytes, bytes, READ, NATURAL)                                                 \
    HOOK(__tsan_write##bytes, bytes, WRITE, NATURAL)                                               \
    HOOK(__tsan_unaligned_read##bytes, bytes, READ, ANY)                                           \
    HOOK(__tsan_unaligned_write##bytes, bytes, WRITE, ANY)
HOOKS(1)
HOOKS(2)
HOOKS(4)
HOOKS(8)
HOOKS(16)

void __tsan_read_range(void *at, size_t bytes)
{
    check(at, bytes, READ, ANY, __builtin_return_address(0));
}

void __tsan_write_range(void *at, size_t bytes)
{
    check(at, bytes, WRITE, ANY, __builtin_return_address(0));
}

void *__tsan_memcpy(void *to, const void *from, size_t bytes)
{
    check(from, bytes, READ, ANY, __builtin_return_address(0));
    check(to, bytes, WRITE, ANY, __builtin_return_address(0));
    return memcpy(to, from, bytes);
}

void *__tsan_memset(void *to, int value, size_t bytes)
{
    check(to, bytes, WRITE, ANY, __builtin_return_address(0));
    return memset(to, value, bytes);
}

void __tsan_init(void)
{
    instrumented = true;
}

void __tsan_func_entry(void *)
{
}
void __tsan_func_exit(void)
{
}
void __tsan_vptr_update(void **, void *)
{
}
void __tsan_vptr_read(void **)
{
}
}
