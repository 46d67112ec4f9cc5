/* tests/cuda/halves.c - see halves.h. */
#include "tests/cuda/halves.h"

#include "tests/cuda/device.h"
#include "tests/test.h"

#include <math.h>
#include <string.h>

uint16_t halves_nearest(float x)
{
    uint32_t bits, low, high;
    float down, up;

    memcpy(&bits, &x, sizeof bits);
    if (isnan(x))
        return (uint16_t)(bits >> 16 | 0x40);
    low = bits & 0xffff0000u;
    high = low + 0x10000u;
    memcpy(&down, &low, sizeof down);
    memcpy(&up, &high, sizeof up);
    if (low == bits)
        return (uint16_t)(low >> 16);
    if (isinf(up)) /* as if the next power of two were a number */
        return (uint16_t)((bits & 0xffffu) >= 0x8000u ? high >> 16 : low >> 16);
    if (fabs((double)x - (double)down) != fabs((double)up - (double)x))
        return (uint16_t)((fabs((double)x - (double)down) < fabs((double)up - (double)x) ? low
                                                                                         : high) >>
                          16);
    return (uint16_t)((low >> 16) % 2 == 0 ? low >> 16 : high >> 16);
}

float halves_float(uint16_t half)
{
    uint32_t bits = (uint32_t)half << 16;
    float x;

    memcpy(&x, &bits, sizeof x);
    return x;
}

uint16_t *halves_random(struct random *random, int64_t count)
{
    float *floats = device_random_floats(random, count);
    uint16_t *halves = device_room(count, sizeof *halves);

    for (int64_t i = 0; i < count; i++)
        halves[i] = halves_nearest(floats[i]);
    return halves;
}

uint16_t *halves_room(int64_t count)
{
    return (uint16_t *)(void *)device_floats((count + 1) / 2);
}

uint16_t *halves_get(const uint16_t *from, int64_t count)
{
    return device_copy(from, count, sizeof *from);
}

void halves_check_near(const char *what, const double *want, const uint16_t *on_device,
                       int64_t count)
{
    uint16_t *got = halves_get(on_device, count);

    for (int64_t i = 0; i < count; i++)
        if (!(fabs(want[i] - (double)halves_float(got[i])) <= HALVES_STEP * (1e-3 + fabs(want[i]))))
            test_fail(__FILE__, __LINE__, "%s[%lld]: want %.9g, got %.9g", what, (long long)i,
                      want[i], (double)halves_float(got[i]));
}

void halves_check_rounded(const char *what, const float *floats, const uint16_t *on_device,
                          int64_t count)
{
    uint16_t *got = halves_get(on_device, count);

    for (int64_t i = 0; i < count; i++)
        if (got[i] != halves_nearest(floats[i]))
            test_fail(__FILE__, __LINE__, "%s[%lld], bf16 of %.9g: want %04x, got %04x", what,
                      (long long)i, (double)floats[i], halves_nearest(floats[i]), got[i]);
}
