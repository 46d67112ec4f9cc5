/*
 * Tests kernels/cuda of histories whose K and V stay on the device, in pages: what is set aside.
 */
#include "kernels/cuda/ops.h"

#include "tests/cuda/device.h"
#include "tests/test.h"

/* ---- what is kept ---- */

/* Each of count a number below bound, none twice, but about a third of them CUDA_KEEP_NONE. */
static int32_t *some_places(struct random *random, int32_t count, int32_t bound)
{
    int32_t *places = device_room(bound, sizeof *places);

    for (int32_t i = 0; i < bound; i++)
        places[i] = i;
    for (int32_t i = 0; i < count; i++) {
        int32_t other = i + device_below(random, bound - i), place = places[other];

        places[other] = places[i];
        places[i] = device_below(random, 3) == 0 ? CUDA_KEEP_NONE : place;
    }
    return places;
}

/* Rows of one layer of several go to places of a pool; all else in it stays as it was. */
static void keep_shape(int number, struct random *random)
{
    int32_t R = device_size(number, random, 60), C = 4 * (1 + device_below(random, 40));
    int32_t L = 1 + device_below(random, 3), layer = device_below(random, L);
    int32_t slots = (R + CUDA_PAGE_ROWS - 1) / CUDA_PAGE_ROWS + device_below(random, 4);
    int64_t floats = CUDA_PAGE_ROWS * 2 * (int64_t)C, pool = slots * L * floats;
    int32_t *keep = some_places(random, R, slots * CUDA_PAGE_ROWS);
    float *z = device_random_floats(random, (int64_t)R * 4 * C);
    float *before = device_random_floats(random, pool), *on_device = DEVICE_PUT(before, pool);
    struct cuda_pages pages = {.at = slots == 0 ? NULL : on_device + layer * floats,
                               .pitch = L * floats,
                               .keep = DEVICE_PUT(keep, R)};
    double *want = device_doubles(pool);
    struct error err;

    CHECK_STATUS(OK, cuda_keep(NULL, pages, DEVICE_PUT(z, (int64_t)R * 4 * C), R, C, &err));
    for (int64_t i = 0; i < pool; i++)
        want[i] = (double)before[i];
    for (int64_t r = 0; r < R; r++) {
        int64_t slot = keep[r] / CUDA_PAGE_ROWS, row = keep[r] % CUDA_PAGE_ROWS;
        double *to = want + slot * L * floats + layer * floats + row * 2 * C;

        for (int32_t c = 0; c < C && keep[r] != CUDA_KEEP_NONE; c++) { /* U | V | Q | K */
            to[c] = (double)z[r * 4 * C + C + c];
            to[C + c] = (double)z[r * 4 * C + 3 * C + c];
        }
    }
    device_check_all("pages", want, device_get(on_device, pool), pool, 0);
}

TEST(cuda_pages_are_given_v_and_k_and_nothing_else)
{
    device_for_shapes(keep_shape);
}
