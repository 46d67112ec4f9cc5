/* ops/clock.c - the system's two clocks, or two numbers that a test moves. */
#include "ops/clock.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <time.h>

static atomic_bool faked;
static _Atomic int64_t fake_wall_us;
static _Atomic int64_t fake_monotonic_us;

static int64_t read_us(clockid_t which)
{
    struct timespec now;
    int failed = clock_gettime(which, &now);

    assert(failed == 0);
    (void)failed;
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

int64_t clock_wall_ms(void)
{
    if (atomic_load_explicit(&faked, memory_order_acquire))
        return atomic_load(&fake_wall_us) / 1000;
    return read_us(CLOCK_REALTIME) / 1000;
}

int64_t clock_monotonic_us(void)
{
    if (atomic_load_explicit(&faked, memory_order_acquire))
        return atomic_load(&fake_monotonic_us);
    return read_us(CLOCK_MONOTONIC);
}

void clock_sleep_us(int64_t duration_us)
{
    struct timespec left;

    if (duration_us <= 0)
        return;
    if (atomic_load_explicit(&faked, memory_order_acquire)) {
        clock_fake_advance_us(duration_us);
        return;
    }
    left.tv_sec = duration_us / 1000000;
    left.tv_nsec = duration_us % 1000000 * 1000;
    while (clock_nanosleep(CLOCK_MONOTONIC, 0, &left, &left) == EINTR)
        continue;
}

void clock_fake_set(int64_t wall_ms, int64_t monotonic_us)
{
    atomic_store(&fake_wall_us, wall_ms * 1000);
    atomic_store(&fake_monotonic_us, monotonic_us);
    atomic_store_explicit(&faked, true, memory_order_release);
}

void clock_fake_advance_us(int64_t duration_us)
{
    assert(atomic_load(&faked) && duration_us >= 0);
    atomic_fetch_add(&fake_wall_us, duration_us);
    atomic_fetch_add(&fake_monotonic_us, duration_us);
}

void clock_fake_off(void)
{
    atomic_store_explicit(&faked, false, memory_order_release);
}
