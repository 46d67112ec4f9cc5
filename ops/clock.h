/*
 * ops/clock.h - the only place that asks what time it is.
 *
 * Two clocks, never mixed: `_at_ms` names wall-clock time (Unix, milliseconds; may
 * jump), `_us` monotonic time (microseconds since an arbitrary start; only for
 * differences, deadlines and timeouts).
 * Thread: any. clock_fake_* is for tests and for programs on a virtual clock; it
 * must not race with readers that need one consistent pair.
 */
#ifndef OPS_CLOCK_H
#define OPS_CLOCK_H

#include <stdint.h>

int64_t clock_wall_ms(void);
int64_t clock_monotonic_us(void);

/* Sleeps; on a faked clock moves the fake forward instead and returns at once. */
void clock_sleep_us(int64_t duration_us);

/* From here on both clocks stand still until moved. */
void clock_fake_set(int64_t wall_ms, int64_t monotonic_us);
void clock_fake_advance_us(int64_t duration_us);
void clock_fake_off(void);

#endif
