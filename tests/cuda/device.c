/* tests/cuda/device.c - see device.h. */
#include "tests/cuda/device.h"

#include "tests/test.h"

#include <math.h>
#include <stdlib.h>

#define HELD_MAX 256

static void *held[HELD_MAX], *rooms[HELD_MAX];
static int held_count, rooms_count;

static void *hold(int64_t bytes)
{
    void *at = NULL;

    CHECK(held_count < HELD_MAX);
    CHECK(cudaMalloc(&at, (size_t)bytes) == cudaSuccess);
    held[held_count++] = at;
    return at;
}

void *device_put(const void *from, int64_t count, size_t bytes)
{
    void *at;

    if (count == 0)
        return NULL;
    at = hold(count * (int64_t)bytes);
    CHECK(cudaMemcpy(at, from, (size_t)count * bytes, cudaMemcpyHostToDevice) == cudaSuccess);
    return at;
}

float *device_floats(int64_t count)
{
    return count == 0 ? NULL : hold(count * (int64_t)sizeof(float));
}

float *device_get(const float *from, int64_t count)
{
    return device_copy(from, count, sizeof *from);
}

void *device_copy(const void *from, int64_t count, size_t bytes)
{
    void *to = device_room(count, bytes);

    CHECK(cudaDeviceSynchronize() == cudaSuccess);
    if (count > 0)
        CHECK(cudaMemcpy(to, from, (size_t)count * bytes, cudaMemcpyDeviceToHost) == cudaSuccess);
    return to;
}

void *device_room(int64_t count, size_t bytes)
{
    CHECK(rooms_count < HELD_MAX);
    rooms[rooms_count] = calloc((size_t)count + 1, bytes);
    CHECK(rooms[rooms_count] != NULL);
    return rooms[rooms_count++];
}

double *device_doubles(int64_t count)
{
    return device_room(count, sizeof(double));
}

float *device_nans(int64_t count)
{
    float *floats = device_room(count, sizeof *floats);

    for (int64_t i = 0; i < count; i++)
        floats[i] = NAN;
    return floats;
}

void device_clear(void)
{
    while (rooms_count > 0)
        free(rooms[--rooms_count]);
    while (held_count > 0) /* counted down first: what cannot be freed is not tried again */
        CHECK(cudaFree(held[--held_count]) == cudaSuccess);
}

float *device_random_floats(struct random *random, int64_t count)
{
    float *floats = device_room(count, sizeof *floats);

    for (int64_t i = 0; i < count; i++)
        floats[i] = (float)(2 * random_unit(random) - 1);
    return floats;
}

int32_t *device_random_ints(struct random *random, int64_t count, int32_t low, int32_t bound)
{
    int32_t *made = device_room(count, sizeof *made);

    for (int64_t i = 0; i < count; i++)
        made[i] = low + device_below(random, bound - low);
    return made;
}

int32_t *device_distinct_ints(struct random *random, int32_t count, int32_t bound)
{
    int32_t *ints = device_room(bound, sizeof *ints);

    for (int32_t i = 0; i < bound; i++)
        ints[i] = i;
    for (int32_t i = 0; i < count; i++) {
        int32_t other = i + device_below(random, bound - i), chosen = ints[other];

        ints[other] = ints[i];
        ints[i] = chosen;
    }
    return ints;
}

int32_t device_below(struct random *random, int32_t bound)
{
    return (int32_t)random_below(random, (uint64_t)bound);
}

int32_t device_size(int number, struct random *random, int32_t bound)
{
    return number < 2 ? number : 1 + device_below(random, bound);
}

void device_for_some_shapes(int count, void (*shape)(int number, struct random *random))
{
    int64_t launched = cuemu_launches();

    /* A test that failed in the middle of a shape has left its arrays, its order and its reports.
     */
    cuemu_schedule(CUEMU_IN_ORDER, 0);
    device_clear();
    (void)cuemu_reports();
    for (int number = 0; number < count; number++) {
        struct random random;

        random_seed(&random, test_seed() + (uint64_t)number);
        cuemu_schedule((enum cuemu_order)((number + 2) % CUEMU_ORDERS), (uint64_t)number);
        shape(number, &random);
        device_clear();
    }
    CHECK_INT(0, cuemu_reports());
    CHECK(cuemu_launches() - launched >= count - 2); /* a shape of nothing launches nothing */
}

void device_for_shapes(void (*shape)(int number, struct random *random))
{
    device_for_some_shapes(DEVICE_SHAPES, shape);
}

void device_check_all(const char *what, const double *want, const float *got, int64_t count,
                      double tolerance)
{
    for (int64_t i = 0; i < count; i++)
        if (!(fabs(want[i] - (double)got[i]) <= tolerance * (1 + fabs(want[i]))))
            test_fail(__FILE__, __LINE__, "%s[%lld]: want %.9g, got %.9g", what, (long long)i,
                      want[i], (double)got[i]);
}
