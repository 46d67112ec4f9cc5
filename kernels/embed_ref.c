/* kernels/embed_ref.c - the yardstick of embed_cpu.c: plain loops in double. */
#include "kernels/embed.h"

static void token(double *x, const struct embed *t, int32_t item, const float *act,
                  const float *gap, const float *hour)
{
    const float *e = t->emb + (int64_t)embed_row(item, t->V) * t->C;

    for (int32_t c = 0; c < t->C; c++)
        x[c] = sqrt(t->C) * (double)e[c] + (act != NULL ? (double)act[c] : 0) + (double)gap[c] +
               (double)hour[c];
}

void embed_forward_ref(double *x, double *e, const struct embed *t, const struct request *request)
{
    const struct batch *b = request->batch;
    int32_t n = request->n, C = t->C;
    const int64_t *time_ms = b->time_ms;
    double *candidates = x + (int64_t)cpu_pad_rows(n) * C;

    memset(x, 0, (size_t)(cpu_pad_rows(n) + cpu_pad_rows(request->m)) * (size_t)C * sizeof *x);
    for (int64_t j = 0; j < request->contexts; j++)
        for (int32_t c = 0; c < C; c++)
            x[j * C + c] =
                (double)t
                    ->context[(j * BATCH_CONTEXT_CODES + request_context(request, (int32_t)j)) * C +
                              c];
    for (int64_t j = request->contexts; j < n; j++) {
        int64_t at = request->token + j;
        int32_t action = b->action[at];
        int32_t gap = j == request->contexts ? BUCKET_GAP_NONE
                                             : bucket_of(time_ms[at], time_ms[at - 1]);

        token(x + j * C, t, b->item[at], action > 0 && action < t->A ? t->act + action * C : NULL,
              t->gap + gap * C, t->hour + bucket_hour(time_ms[at]) * C);
    }
    memset(e, 0, (size_t)cpu_pad_rows(request->m) * (size_t)C * sizeof *e);
    for (int64_t i = 0; i < request->m; i++) {
        int32_t gap = n == request->contexts
                          ? BUCKET_GAP_NONE
                          : bucket_of(request->now_ms, time_ms[request->token + n - 1]);
        int32_t item = b->candidate_item[request->candidate + i];

        token(candidates + i * C, t, item, t->act, t->gap + gap * C,
              t->hour + bucket_hour(request->now_ms) * C);
        for (int32_t c = 0; c < C; c++)
            e[i * C + c] = sqrt(C) * (double)t->emb[(int64_t)embed_row(item, t->V) * C + c];
    }
}
