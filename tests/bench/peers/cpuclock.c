/*
 * tests/bench/peers/cpuclock.c - to be preloaded: the monotonic clock answers with the processor
 * time of the process, so that programs of one thread can be compared while others run beside them.
 */
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *time)
{
    if (clock == CLOCK_MONOTONIC)
        clock = CLOCK_PROCESS_CPUTIME_ID;
    return (int)syscall(SYS_clock_gettime, clock, time);
}
