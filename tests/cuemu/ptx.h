/*
 * tests/cuemu/ptx.h - kernels as nvcc made them: PTX, decoded once, run by the emulator's fibers.
 *
 * Flow: nvcc -ptx -> [ptx_parse.cpp: text to instructions, ptx_table.cpp: what each name computes]
 *       -> [ptx_run.cpp: a fiber walks them] -> memory.cpp, fibers.cpp
 *
 * CUEMU_PTX=FOLDER in the environment: launches run the PTX of that folder's files, not what g++
 * made of the kernels; tests, host code, streams, memory checks and orders are the same. What is
 * not known here (an instruction, a modifier, a form of an operand) ends the program with file and
 * line: nothing is passed over.
 */
#ifndef TESTS_CUEMU_PTX_H
#define TESTS_CUEMU_PTX_H

#include "tests/cuemu/inside.h"

#include <map>
#include <string>
#include <vector>

/* What make roofline counts an instruction as. */
enum ptx_class { PTX_MOVE, PTX_INTEGER, PTX_FLOAT, PTX_FMA, PTX_SPECIAL, PTX_CONTROL, PTX_MEMORY };

/* An instruction that turns values into a value: registers are 64 bits, of which it looks at those
 * of its type. */
struct ptx_operation {
    const char *name;
    uint64_t (*compute)(uint64_t a, uint64_t b, uint64_t c);
    int inputs;
    ptx_class counts_as;
};
const ptx_operation *ptx_operation_of(const std::string &name); /* NULL: not known */

enum ptx_kind {
    PTX_COMPUTE,
    PTX_LOAD,
    PTX_STORE,
    PTX_SPLIT, /* mov {low, high}, x */
    PTX_JOIN,  /* mov x, {low, high} */
    PTX_BRANCH,
    PTX_BARRIER,
    PTX_WARP_BARRIER,
    PTX_SHUFFLE,
    PTX_RETURN
};
enum ptx_space { PTX_GENERIC, PTX_GLOBAL, PTX_SHARED, PTX_PARAMETER };

/* A value: a register's number, or ~ of a constant's. */
typedef int ptx_value;

struct ptx_instruction {
    ptx_kind kind;
    const ptx_operation *operation; /* PTX_COMPUTE */
    int guard;                      /* register of a predicate, -1: none */
    bool guard_negated;
    int out, out_too; /* registers; out_too: a shuffle's or comparison's second, -1: none */
    ptx_value in[3];
    /* of a load or store: in[0] + offset; of a split or join: parts */
    ptx_space space;
    int64_t offset;
    int bytes, parts; /* of each part */
    bool is_signed;
    ptx_value part[4];
    cuemu_collective collective;
    int target; /* of a branch: an instruction's number */
    int line;
    ptx_class counts_as;
};

struct ptx_parameter {
    size_t offset, bytes;
};

struct ptx_kernel {
    std::string name, file;
    int threads_max; /* .maxntid; 0: not stated */
    std::vector<ptx_parameter> parameters;
    size_t parameters_bytes;
    std::vector<shared_array> shared; /* with a gap behind each */
    size_t shared_bytes;              /* as the device counts, without gaps */
    size_t dynamic_at;                /* where memory of the launch begins */
    int registers;
    std::vector<uint64_t> constants;
    std::vector<ptx_instruction> code;
    std::vector<uint64_t> executed; /* by all threads, of each instruction of code */
    int64_t shared_loaded, shared_stored;
};

/* Special registers come first in a thread's file. */
enum { PTX_TID = 0, PTX_NTID = 3, PTX_CTAID = 6, PTX_NCTAID = 9, PTX_LANE = 12, PTX_SPECIALS = 13 };

/* Kernels of a file are added to the others; a name twice is an error. */
void ptx_parse(const std::string &path, std::map<std::string, ptx_kernel> *kernels);

/* Ends the program. */
[[noreturn]] void ptx_refuse(const std::string &file, int line, const std::string &why);

/* Is PTX run, and not what g++ made? */
bool ptx_wanted(void);

/* Makes what is launched be the PTX's; ptx_drop frees what->arguments. */
void ptx_launch(launch *what, const cuemu_kernel &kernel);
void ptx_drop(void *arguments);

/* Adds what the kernel's threads executed since it was last asked. */
void ptx_count(const std::string &kernel, cuemu_traffic *to);

/* Has what fibers.cpp needs for a block of so many threads. */
void ptx_grid_begin(const launch &what, int threads);

#endif
