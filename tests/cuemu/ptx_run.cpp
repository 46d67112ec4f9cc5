/*
 * tests/cuemu/ptx_run.cpp - a fiber that walks a kernel's instructions. See ptx.h.
 *
 * Shared memory is a window: an address in it is a place, as on the device; global and generic ones
 * are pointers. A register nobody has set holds garbage that spoils what is made of it.
 */
#include "tests/cuemu/ptx.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>

#include <algorithm>

namespace
{
const uint64_t GARBAGE = 0x7fa1dead7fa1dead;

struct call {
    ptx_kernel *kernel;
    std::vector<unsigned char> parameters;
};

std::map<std::string, ptx_kernel> kernels;
std::vector<uint64_t> registers; /* of a block's threads, one after the other */

/* One thread: its registers, and what it was called with. */
struct thread {
    ptx_kernel *kernel;
    const uint64_t *constants;
    const std::vector<unsigned char> *parameters;
    uint64_t *file;
};

uint64_t get(const thread &t, ptx_value of)
{
    return of >= 0 ? t.file[of] : t.constants[~of];
}

void load_folder(const char *folder)
{
    std::vector<std::string> files;
    DIR *all = opendir(folder);

    if (all == NULL)
        ptx_refuse(folder, 0, "could not open the folder");
    for (const dirent *entry = readdir(all); entry != NULL; entry = readdir(all)) {
        const char *dot = strrchr(entry->d_name, '.');
        if (dot != NULL && strcmp(dot, ".ptx") == 0)
            files.push_back(std::string(folder) + "/" + entry->d_name);
    }
    closedir(all);
    std::sort(files.begin(), files.end());
    for (const std::string &file : files)
        ptx_parse(file, &kernels);
    if (kernels.empty())
        ptx_refuse(folder, 0, "no kernel in it");
}

/* The bytes that an instruction is about, checked; NULL: there are none, and it was said. */
unsigned char *reach(thread &t, const ptx_instruction &i)
{
    uint64_t address = get(t, i.in[0]) + (uint64_t)i.offset;
    size_t bytes = (size_t)(i.bytes * i.parts);
    unsigned char *at = (unsigned char *)address;
    fiber &self = machine.fibers[machine.current];

    self.file = t.kernel->file.c_str();
    self.line = i.line;
    if (i.space == PTX_PARAMETER) {
        if (address + bytes > t.parameters->size())
            ptx_refuse(t.kernel->file, i.line, "reads behind the parameters");
        return const_cast<unsigned char *>(t.parameters->data()) + address;
    }
    if (i.space == PTX_SHARED) {
        address = (uint32_t)address;
        if (address + bytes > SHARED_WINDOW_BYTES) {
            cuemu_report("out of bounds", &i, "byte %llu of shared memory",
                         (unsigned long long)address);
            return NULL;
        }
        at = memory_window() + address;
        (i.kind == PTX_LOAD ? t.kernel->shared_loaded : t.kernel->shared_stored) += (int64_t)bytes;
    }
    return memory_access(at, bytes, i.kind == PTX_STORE, &i) ? at : NULL;
}

void load(thread &t, const ptx_instruction &i)
{
    const unsigned char *at = reach(t, i);

    for (int part = 0; part < i.parts; part++) {
        uint64_t value = 0;

        if (at != NULL)
            memcpy(&value, at + part * i.bytes, (size_t)i.bytes);
        if (i.is_signed && i.bytes < 8) {
            int unused = 64 - 8 * i.bytes;
            value = (uint64_t)((int64_t)(value << unused) >> unused);
        }
        t.file[i.part[part]] = value;
    }
}

void store(thread &t, const ptx_instruction &i)
{
    unsigned char *at = reach(t, i);

    for (int part = 0; part < i.parts && at != NULL; part++) {
        uint64_t value = get(t, i.part[part]);

        memcpy(at + part * i.bytes, &value, (size_t)i.bytes);
    }
}

void split(thread &t, const ptx_instruction &i)
{
    uint64_t value = get(t, i.in[0]);

    for (int part = 0; part < i.parts; part++)
        t.file[i.part[part]] = value >> (8 * i.bytes * part) & (~(uint64_t)0 >> (64 - 8 * i.bytes));
}

void join(thread &t, const ptx_instruction &i)
{
    uint64_t value = 0;

    for (int part = 0; part < i.parts; part++)
        value |= (get(t, i.part[part]) & (~(uint64_t)0 >> (64 - 8 * i.bytes)))
                 << (8 * i.bytes * part);
    t.file[i.out] = value;
}

void shuffle(thread &t, const ptx_instruction &i)
{
    if ((uint32_t)get(t, i.part[0]) != WARP - 1)
        ptx_refuse(t.kernel->file, i.line, "a shuffle of part of a warp");
    t.file[i.out] = cuemu_warp(i.collective, (unsigned)get(t, i.in[2]), (uint32_t)get(t, i.in[0]),
                               (int)get(t, i.in[1]), t.kernel->file.c_str(), i.line);
    if (i.out_too >= 0)
        t.file[i.out_too] = 1;
}

void begin_thread(thread &t)
{
    const uint3 special[] = {cuemu_thread_index(), cuemu_block_dim(), cuemu_block_index(),
                             cuemu_grid_dim()};

    std::fill(t.file, t.file + t.kernel->registers, GARBAGE);
    for (int i = 0; i < 4; i++) {
        t.file[3 * i] = special[i].x;
        t.file[3 * i + 1] = special[i].y;
        t.file[3 * i + 2] = special[i].z;
    }
    t.file[PTX_LANE] = (uint64_t)(machine.current % WARP);
}

/* A fiber's whole life. */
void run(void *arguments)
{
    const call &of = *(const call *)arguments;
    ptx_kernel &k = *of.kernel;
    thread t = {&k, k.constants.data(), &of.parameters,
                registers.data() + (size_t)machine.current * (size_t)k.registers};
    const ptx_instruction *code = k.code.data();

    begin_thread(t);
    for (int next = 0;;) {
        const ptx_instruction &i = code[next];

        next++;
        if (i.guard >= 0 && (t.file[i.guard] != 0) == i.guard_negated)
            continue;
        k.executed[(size_t)next - 1]++;
        switch (i.kind) {
        case PTX_COMPUTE:
            t.file[i.out] = i.operation->compute(get(t, i.in[0]), get(t, i.in[1]), get(t, i.in[2]));
            break;
        case PTX_LOAD:
            load(t, i);
            break;
        case PTX_STORE:
            store(t, i);
            break;
        case PTX_SPLIT:
            split(t, i);
            break;
        case PTX_JOIN:
            join(t, i);
            break;
        case PTX_BRANCH:
            next = i.target;
            break;
        case PTX_BARRIER:
            cuemu_barrier(k.file.c_str(), i.line);
            break;
        case PTX_WARP_BARRIER:
            (void)cuemu_warp(CUEMU_SYNC, (unsigned)get(t, i.in[0]), 0, 0, k.file.c_str(), i.line);
            break;
        case PTX_SHUFFLE:
            shuffle(t, i);
            break;
        case PTX_RETURN:
            return;
        }
    }
}
} /* namespace */

bool ptx_wanted(void)
{
    static const char *folder = getenv("CUEMU_PTX");

    if (folder != NULL && kernels.empty())
        load_folder(folder);
    return folder != NULL;
}

void ptx_drop(void *arguments)
{
    delete (call *)arguments;
}

void ptx_launch(launch *what, const cuemu_kernel &kernel)
{
    auto found = kernels.find(what->name);
    call *of = new call();

    if (found == kernels.end())
        ptx_refuse(getenv("CUEMU_PTX"), 0, std::string("no kernel ") + what->name);
    ptx_kernel &k = found->second;
    if ((size_t)kernel.count != k.parameters.size())
        ptx_refuse(k.file, 0,
                   k.name + " has " + std::to_string(k.parameters.size()) + " parameters");
    of->kernel = &k;
    of->parameters.resize(k.parameters_bytes);
    for (size_t i = 0; i < k.parameters.size(); i++) {
        if (kernel.arguments[i].bytes != k.parameters[i].bytes)
            ptx_refuse(k.file, 0,
                       k.name + "'s parameter " + std::to_string(i) + " has " +
                           std::to_string(k.parameters[i].bytes) + " bytes");
        memcpy(of->parameters.data() + k.parameters[i].offset, kernel.arguments[i].at,
               kernel.arguments[i].bytes);
    }
    what->run = run;
    what->arguments = of;
    what->arguments_bytes = 0; /* its parameters are not memory of the device */
    what->ptx = &k;
}

void ptx_grid_begin(const launch &what, int threads)
{
    registers.resize(std::max(registers.size(), (size_t)threads * (size_t)what.ptx->registers));
}

void ptx_count(const std::string &kernel, cuemu_traffic *to)
{
    auto found = kernels.find(kernel);

    if (found == kernels.end())
        return;
    ptx_kernel &k = found->second;
    for (size_t i = 0; i < k.code.size(); i++) {
        ptx_class as = k.code[i].counts_as;

        (as == PTX_FMA       ? to->ptx.fma
         : as == PTX_FLOAT   ? to->ptx.floats
         : as == PTX_SPECIAL ? to->ptx.specials
         : as == PTX_INTEGER ? to->ptx.integers
                             : to->ptx.others) += (int64_t)k.executed[i];
    }
    k.executed.assign(k.code.size(), 0);
    to->ptx.shared_loaded += k.shared_loaded;
    to->ptx.shared_stored += k.shared_stored;
    k.shared_loaded = k.shared_stored = 0;
}
