/*
 * Tests the dropout kernel against the mask of kernels/dropout.h, on rows of up to 208 channels: a
 * random mutant whose loop never went on past 32 was seen by no training test.
 */
#include "kernels/cuda/ops_back.h"

#include "tests/cuda/device.h"
#include "tests/test.h"

#include <stdlib.h>

static void dropout_shape(int number, struct random *random)
{
    int32_t R = number < 2 ? number : 1 + device_below(random, 40);
    int32_t C = 16 * (1 + device_below(random, 13));
    bool last = device_below(random, 2) != 0;
    float p = number == 2 ? 0.0f : 0.1f + 0.5f * (float)random_unit(random);
    uint64_t site = (uint64_t)device_below(random, 1000) << 20;
    struct dropout how = dropout_of(p);
    struct cuda_dropped *rows = device_room(R, sizeof *rows);
    double *want = device_doubles((int64_t)R * C);
    float *x = device_random_floats(random, (int64_t)R * C), *on_device, *got;
    struct error err;

    for (int32_t r = 0; r < R; r++) {
        rows[r].seed = (uint64_t)device_below(random, INT32_MAX) << 31;
        rows[r].row = (uint32_t)device_below(random, 500);
        rows[r].last_row = (uint32_t)device_below(random, 500);
        for (int32_t c = 0; c < C; c++) {
            int64_t i = (int64_t)r * C + c;
            uint32_t place = (last ? rows[r].last_row : rows[r].row) * (uint32_t)C + (uint32_t)c;

            want[i] = (double)x[i] * (double)dropout_factor(how, rows[r].seed + site, place);
        }
    }
    on_device = DEVICE_PUT(x, (int64_t)R * C);
    CHECK_STATUS(OK, cuda_dropout(NULL, on_device, DEVICE_PUT(rows, R), R, C, p, site, last, &err));
    got = device_get(on_device, (int64_t)R * C);
    device_check_all("dropped", want, got, (int64_t)R * C, 1e-6);
}

TEST(cuda_dropout_is_the_mask_of_its_header)
{
    device_for_shapes(dropout_shape);
}
