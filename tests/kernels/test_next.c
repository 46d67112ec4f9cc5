/* Tests kernels/next on every instruction set this machine has; K, C, V and k all differ. */
#include "kernels/ops.h"

#include "tests/kernels/slopes.h"
#include "tests/test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { K = 21, C = 32, V = 13, POSITIONS = 7, ROWS = 20 };

struct setting {
    struct next_set set;
    struct next_positions positions;
    float *x, *emb, *log_q;
    int32_t negatives[K], rows[POSITIONS], targets[POSITIONS];
};

static void setting_fill(struct setting *s, bool corrected)
{
    s->x = slopes_random((size_t)ROWS * C, 1, test_seed());
    s->emb = slopes_random((size_t)V * C, 1, test_seed() + 1);
    s->log_q = slopes_random(V, 1, test_seed() + 2);
    for (int k = 0; k < K; k++) /* each row more than once: hits and repetitions */
        s->negatives[k] = 1 + k * 5 % (V - 1);
    for (int i = 0; i < POSITIONS; i++) {
        s->rows[i] = i * 3 % ROWS;
        s->targets[i] = 1 + i * i % (V - 1);
    }
    s->set = (struct next_set){.K = K,
                               .C = C,
                               .V = V,
                               .tau = .3f,
                               .emb = s->emb,
                               .negatives = s->negatives,
                               .log_q = corrected ? s->log_q : NULL,
                               .memory = slopes_zeros((size_t)next_set_floats(K, C))};
    s->positions = (struct next_positions){s->x, s->rows, s->targets, POSITIONS};
}

static double loss(void *context)
{
    struct setting *s = context;

    return .5 * next_loss_ref(&s->set, &s->positions);
}

TEST(next_loss_and_gradients_follow_the_reference)
{
    for (int corrected = 0; corrected < 2; corrected++) {
        struct setting s;

        setting_fill(&s, corrected);
        for (int i = 0; ops_cpu_column(i) != NULL; i++) {
            const struct ops *ops = ops_cpu_column(i);
            float *dx = slopes_zeros((size_t)ROWS * C), *demb = slopes_zeros((size_t)V * C);
            struct rows rows = {0};
            struct error err;
            double got;

            CHECK_STATUS(OK, rows_reserve(&rows, V, C, V, &err));
            ops->next_begin(&s.set);
            got = ops->next_loss(dx, &rows, &s.set, &s.positions, .5f);
            CHECK_NEAR(next_loss_ref(&s.set, &s.positions), got, 1e-4);
            CHECK_NEAR(got, ops->next_loss(NULL, NULL, &s.set, &s.positions, .5f), 1e-9);
            ops->next_end(&rows, &s.set);
            for (int v = 0; v < V; v++)
                memcpy(demb + v * C, rows_slot(&rows, v), C * sizeof(float));
            slopes_check(loss, &s, s.x, dx, (size_t)ROWS * C, 2e-4);
            slopes_check(loss, &s, s.emb, demb, (size_t)V * C, 2e-4);
            rows_release(&rows);
            free(dx);
            free(demb);
        }
        free(s.x);
        free(s.emb);
        free(s.log_q);
        free(s.set.memory);
    }
}

TEST(next_scores_are_cosines_and_listed_rows_agree_to_the_bit)
{
    float *x = slopes_random(C, 1, 1), *emb = slopes_random((size_t)V * C, 1, 2);
    const int32_t items[] = {3, -1, V, 12, 0};

    for (int i = 0; ops_cpu_column(i) != NULL; i++) {
        const struct ops *ops = ops_cpu_column(i);
        float norms[V], all[V], some[5];

        ops->next_norms(norms, emb, V, C);
        ops->next_scores(all, x, emb, norms, V, C, 20);
        ops->next_scores_of(some, x, emb, norms, items, 5, V, C, 20);
        for (int v = 0; v < V; v++) {
            double xy = 0, xx = 0, yy = 0;

            for (int c = 0; c < C; c++) {
                xy += (double)x[c] * (double)emb[v * C + c];
                xx += (double)x[c] * (double)x[c];
                yy += (double)emb[v * C + c] * (double)emb[v * C + c];
            }
            CHECK_NEAR(20 * xy / sqrt(xx * yy), (double)all[v], 1e-4);
        }
        CHECK(some[0] == all[3] && some[1] == all[0] && some[2] == all[0] && some[3] == all[12]);
    }
    free(x);
    free(emb);
}
