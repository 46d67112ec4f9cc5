/* kernels/ops.c - the columns of the op table, and which of them this machine can run. */
#include "kernels/ops.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define COLUMNS_MAX 3

static const struct ops base = {.name = "base",
#define X(op) .op = op##_base,
                                OPS_LIST(X)
#undef X
};

#if defined(__x86_64__)
static const struct ops v3 = {.name = "v3",
#define X(op) .op = op##_v3,
                              OPS_LIST(X)
#undef X
};

static const struct ops v4 = {.name = "v4",
#define X(op) .op = op##_v4,
                              OPS_LIST(X)
#undef X
};
#endif

static const struct ops *usable[COLUMNS_MAX + 1]; /* best first, then NULL */
static const struct ops *picked;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void pick(void)
{
    const char *asked = getenv("FRESHET_ISA");
    int count = 0;

#if defined(__x86_64__) && !defined(__clang_analyzer__) /* it does not know these names */
    __builtin_cpu_init();
    if (__builtin_cpu_supports("x86-64-v4"))
        usable[count++] = &v4;
    if (__builtin_cpu_supports("x86-64-v3"))
        usable[count++] = &v3;
#endif
    usable[count++] = &base;
    picked = usable[0];
    for (int i = 0; asked != NULL && i < count; i++)
        if (strcmp(usable[i]->name, asked) == 0)
            picked = usable[i];
}

const struct ops *ops_cpu(void)
{
    (void)pthread_once(&once, pick);
    return picked;
}

const struct ops *ops_cpu_column(int i)
{
    (void)pthread_once(&once, pick);
    return i >= 0 && i < COLUMNS_MAX ? usable[i] : NULL;
}
