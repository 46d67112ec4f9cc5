/*
 * Tests losses of lists longer than what a block shows at a time, and no multiple of it.
 */
#include "kernels/cuda/ops_back.h"

#include "kernels/loss.h"
#include "tests/cuda/device.h"
#include "tests/test.h"

#include <math.h>
#include <stdlib.h>

#define TOLERANCE 2e-4 /* kernels/cuda/ops_back.h */

/* Three lists: of up to 300, of one, and of none. */
static void losses_shape(int number, struct random *random)
{
    const enum cuda_loss kinds[] = {CUDA_LOSS_LOGISTIC, CUDA_LOSS_HINGE, CUDA_LOSS_LAMBDA};
    int32_t m = number % 4 == 0 ? 256 : 100 + device_below(random, 200), N = m + 1;
    int32_t start[] = {0, m, N, N}, order[300];
    float *scores = device_random_floats(random, N), *label = device_room(N, sizeof *label);
    float *weight = device_random_floats(random, N), *ds = device_room(N, sizeof *ds);
    float *loss = device_floats(3), *on_ds, *got_loss, *got;
    struct loss_list list = {.scores = scores, .labels = label, .m = m};
    double lost;
    struct cuda_lists lists = {.B = 3};
    struct error err;

    for (int32_t i = 0; i < N; i++) {
        label[i] = (float)device_below(random, 3);
        weight[i] = fabsf(weight[i]);
    }
    lists.start = DEVICE_PUT(start, 4);
    lists.scores = DEVICE_PUT(scores, N);
    lists.label = DEVICE_PUT(label, N);
    if (number % 2 == 0) {
        list.weight = weight;
        lists.weight = DEVICE_PUT(weight, N);
    }
    on_ds = DEVICE_PUT(ds, N);
    CHECK_STATUS(
        OK, cuda_loss(NULL, kinds[number % 3], loss, on_ds, lists, .5f, device_floats(N), &err));
    lost = number % 3 == 0   ? loss_pair_logistic(ds, &list, .5)
           : number % 3 == 1 ? loss_pair_hinge(ds, &list, .5)
                             : loss_lambda(ds, &list, .5, order);
    got_loss = device_get(loss, 3);
    CHECK_NEAR(lost, got_loss[0], TOLERANCE * (1 + lost));
    CHECK(got_loss[1] == 0 && got_loss[2] == 0);
    got = device_get(on_ds, N);
    for (int32_t i = 0; i < N; i++)
        if (!(fabs((double)ds[i] - (double)got[i]) <= TOLERANCE * (.01 + fabs((double)ds[i]))))
            test_fail(__FILE__, __LINE__, "ds[%d]: want %.9g, got %.9g", (int)i, (double)ds[i],
                      (double)got[i]);
}

TEST(cuda_tails_of_losses_are_looked_at_in_turns)
{
    device_for_some_shapes(6, losses_shape);
}
