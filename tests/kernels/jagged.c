/* tests/kernels/jagged.c - see jagged.h. */
#include "tests/kernels/jagged.h"

#include "ops/random.h"

#include <assert.h>
#include <math.h>
#include <string.h>

static void point(struct jagged *j, int32_t B, int32_t F)
{
    j->batch = (struct batch){.B = B,
                              .T = j->history_start[B],
                              .N = j->candidate_start[B],
                              .F = F,
                              .history_start = j->history_start,
                              .item = j->item,
                              .action = j->action,
                              .time_ms = j->time_ms,
                              .request_time_ms = j->request_time_ms,
                              .candidate_start = j->candidate_start,
                              .candidate_item = j->candidate_item,
                              .scalars = j->scalars,
                              .next_item = j->next_item,
                              .label = j->label,
                              .weight = j->weight,
                              .position = j->position,
                              .teacher = j->teacher,
                              .context = j->context};
}

static int32_t below(struct random *random, int32_t bound)
{
    return (int32_t)random_below(random, (uint64_t)bound);
}

void switches_set(struct model_config *config, int number)
{
    bool all = number == SWITCHES - 1;

    config->without_position = number == 1 || all;
    config->without_time = number == 2 || all;
    config->contexts = number == 3 ? BATCH_CONTEXTS : all ? 1 : 0;
    config->text = number == 4 || all ? 16 : 0;
}

void jagged_fill(struct jagged *j, const struct model_config *config,
                 const struct jagged_size *sizes, int32_t count, uint64_t seed)
{
    struct random random;

    assert(count <= JAGGED_REQUESTS_MAX && config->F <= 8);
    memset(j, 0, sizeof *j);
    random_seed(&random, seed);
    for (int32_t b = 0; b < count; b++) {
        int32_t t = j->history_start[b], c = j->candidate_start[b];
        int64_t now = 1700000000000 + below(&random, 1000000000);

        assert(t + sizes[b].n <= JAGGED_ROWS_MAX && c + sizes[b].m <= JAGGED_ROWS_MAX);
        for (int32_t i = t; i < t + sizes[b].n; i++) {
            now += (int64_t)exp(random_unit(&random) * 18); /* ms: every bucket up to a day */
            j->item[i] = below(&random, config->V);
            j->action[i] = 1 + below(&random, config->A - 1);
            j->time_ms[i] = now;
            j->next_item[i] = below(&random, config->V + 1) - 1; /* now and then none, or row 0 */
        }
        for (int32_t k = 0; k < BATCH_CONTEXTS; k++) /* now and then outside the table */
            j->context[b * BATCH_CONTEXTS + k] = (b * 7 + k * 3) % (BATCH_CONTEXT_CODES + 3) - 1;
        j->request_time_ms[b] = now + (int64_t)exp(random_unit(&random) * 18);
        for (int32_t i = c; i < c + sizes[b].m; i++) {
            j->candidate_item[i] = below(&random, config->V);
            j->position[i] = i - c; /* the first one's is not known */
            j->label[i] = random_unit(&random) < .3 ? (float)(.5 + random_unit(&random)) : 0;
            j->weight[i] = (float)(.5 + random_unit(&random));
            j->teacher[i] = (float)random_normal(&random);
            for (int32_t f = 0; f < config->F; f++)
                j->scalars[i * config->F + f] = (float)random_normal(&random);
        }
        j->history_start[b + 1] = t + sizes[b].n;
        j->candidate_start[b + 1] = c + sizes[b].m;
    }
    point(j, count, config->F);
}

void jagged_one(struct jagged *out, const struct jagged *from, int32_t b)
{
    int32_t t = from->history_start[b], n = from->history_start[b + 1] - t;
    int32_t c = from->candidate_start[b], m = from->candidate_start[b + 1] - c;
    int32_t F = from->batch.F;

    memset(out, 0, sizeof *out);
    memcpy(out->item, from->item + t, (size_t)n * sizeof *out->item);
    memcpy(out->action, from->action + t, (size_t)n * sizeof *out->action);
    memcpy(out->time_ms, from->time_ms + t, (size_t)n * sizeof *out->time_ms);
    memcpy(out->next_item, from->next_item + t, (size_t)n * sizeof *out->next_item);
    memcpy(out->candidate_item, from->candidate_item + c, (size_t)m * sizeof *out->candidate_item);
    memcpy(out->position, from->position + c, (size_t)m * sizeof *out->position);
    memcpy(out->label, from->label + c, (size_t)m * sizeof *out->label);
    memcpy(out->weight, from->weight + c, (size_t)m * sizeof *out->weight);
    memcpy(out->teacher, from->teacher + c, (size_t)m * sizeof *out->teacher);
    memcpy(out->scalars, from->scalars + c * F, (size_t)(m * F) * sizeof *out->scalars);
    out->request_time_ms[0] = from->request_time_ms[b];
    memcpy(out->context, from->context + b * BATCH_CONTEXTS, BATCH_CONTEXTS * sizeof *out->context);
    out->history_start[1] = n;
    out->candidate_start[1] = m;
    point(out, 1, F);
}
