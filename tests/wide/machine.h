/* tests/wide/machine.h - a machine that has every instruction, and may use the tiles. */
#ifndef TESTS_WIDE_MACHINE_H
#define TESTS_WIDE_MACHINE_H

#include <unistd.h>

#define __builtin_cpu_supports(name) 1
#define syscall(...)                 0

#endif
