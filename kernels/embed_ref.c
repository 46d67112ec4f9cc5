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
    const int64_t *time_ms = b->time_ms + request->token;
    double *candidates = x + (int64_t)cpu_pad_rows(n) * C;

    memset(x, 0, (size_t)(cpu_pad_rows(n) + cpu_pad_rows(request->m)) * (size_t)C * sizeof *x);
    for (int64_t j = 0; j < n; j++) {
        int32_t action = b->action[request->token + j];
        int32_t gap = j == 0 ? BUCKET_GAP_NONE : bucket_of(time_ms[j], time_ms[j - 1]);

        token(x + j * C, t, b->item[request->token + j],
              action > 0 && action < t->A ? t->act + action * C : NULL, t->gap + gap * C,
              t->hour + bucket_hour(time_ms[j]) * C);
    }
    memset(e, 0, (size_t)cpu_pad_rows(request->m) * (size_t)C * sizeof *e);
    for (int64_t i = 0; i < request->m; i++) {
        int32_t gap = n == 0 ? BUCKET_GAP_NONE : bucket_of(request->now_ms, time_ms[n - 1]);
        int32_t item = b->candidate_item[request->candidate + i];

        token(candidates + i * C, t, item, t->act, t->gap + gap * C,
              t->hour + bucket_hour(request->now_ms) * C);
        for (int32_t c = 0; c < C; c++)
            e[i * C + c] = sqrt(C) * (double)t->emb[(int64_t)embed_row(item, t->V) * C + c];
    }
}
