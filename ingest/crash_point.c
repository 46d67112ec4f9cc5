/* ingest/crash_point.c - counts how often a point is reached and ends the process there. */
#include "ingest/crash_point.h"

#ifdef FRESHET_CRASH_POINTS

#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const names[CRASH_POINTS_COUNT] = {
#define X(name) #name,
    CRASH_POINT_LIST(X)
#undef X
};

void crash_point_reach(enum crash_point point)
{
    static atomic_int left[CRASH_POINTS_COUNT];
    static atomic_bool read;

    if (!atomic_exchange(&read, true)) {
        const char *wanted = getenv("FRESHET_CRASH_POINT");
        const char *colon = wanted == NULL ? NULL : strchr(wanted, ':');

        for (int i = 0; i < CRASH_POINTS_COUNT && colon != NULL; i++)
            if (strlen(names[i]) == (size_t)(colon - wanted) &&
                strncmp(names[i], wanted, (size_t)(colon - wanted)) == 0)
                atomic_store(&left[i], atoi(colon + 1));
    }
    if (atomic_load(&left[point]) > 0 && atomic_fetch_sub(&left[point], 1) == 1)
        (void)kill(getpid(), SIGKILL);
}

#else

/* ISO C wants a declaration in every file. */
typedef int crash_points_are_not_compiled_in;

#endif
