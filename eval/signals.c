/*
 * eval/signals.c - counts of items and of pairs, seen from one request.
 *
 * A decayed count is kept as sum exp((t - epoch) / tau), so an event costs one addition and the
 * factor of now is applied when it is read; the epoch moves before the numbers grow too large.
 */
#include "eval/signals.h"

#include "eval/neighbours.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define WEEK_MS       (7.0 * 24 * 3600 * 1000)
#define SPAN_MAX      300.0
#define DECAYS        3
#define RELATED_ASKED 10
#define RELATED_GAMMA .9
#define COVIS_ASKED   10
#define COVIS_GAMMA   .8
#define CHAIN_ASKED   5
#define CHAIN_GAMMA   .6
#define CHAIN_SHRINK  3.0
#define KNN_ASKED     100

struct signals {
    const struct split *split;
    float *lifetime, *root, *root_plus; /* (V): count, 1 / sqrt(count), 1 / sqrt(1 + count) */
    struct neighbours both, forward, users;
    double tau[DECAYS];
    bool by_clock; /* ages of the first are in ms */
};

struct signals_view {
    const struct signals *signals;
    int64_t next; /* place of the first training event not yet counted */
    double epoch[DECAYS];
    double *decayed[DECAYS]; /* (V) */
    float *of[SIGNAL_COUNT]; /* (V) */
    const int32_t *last;     /* history whose repeats are in the arrays */
    int64_t last_count;
};

enum status signals_create(struct signals **signals, const struct split *split, struct crew *crew,
                           struct error *err)
{
    const struct interactions *d = split->data;
    struct signals *s = calloc(1, sizeof *s);
    size_t V = (size_t)d->items;
    enum status status = OK;

    *signals = NULL;
    if (s == NULL)
        return error_set(err, ERR_NOMEM, "no memory for counts");
    s->split = split;
    s->by_clock = d->timed;
    s->tau[0] = d->timed ? WEEK_MS : fmax(100, (double)d->count / 20);
    s->tau[1] = fmax(100, (double)d->count / 100);
    s->tau[2] = fmax(100, (double)d->count / 8);
    s->lifetime = calloc(V, sizeof *s->lifetime);
    s->root = calloc(V, sizeof *s->root);
    s->root_plus = calloc(V, sizeof *s->root_plus);
    if (s->lifetime == NULL || s->root == NULL || s->root_plus == NULL)
        status = error_set(err, ERR_NOMEM, "no memory for counts of %zu items", V);
    for (int64_t e = 0; status == OK && e < d->count; e++)
        if (split_trains(split, e))
            s->lifetime[d->item[e]]++;
    for (size_t v = 0; status == OK && v < V; v++) {
        s->root[v] = s->lifetime[v] > 0 ? 1 / sqrtf(s->lifetime[v]) : 1;
        s->root_plus[v] = 1 / sqrtf(1 + s->lifetime[v]);
    }
    if (status == OK)
        status = neighbours_make(&s->both, split, NEIGHBOURS_BOTH, crew, err);
    if (status == OK)
        status = neighbours_make(&s->forward, split, NEIGHBOURS_FORWARD, crew, err);
    if (status == OK)
        status = neighbours_make(&s->users, split, NEIGHBOURS_USERS, crew, err);
    if (status != OK) {
        signals_destroy(s);
        return status;
    }
    *signals = s;
    return OK;
}

void signals_destroy(struct signals *s)
{
    if (s == NULL)
        return;
    free(s->lifetime);
    free(s->root);
    free(s->root_plus);
    neighbours_clear(&s->both);
    neighbours_clear(&s->forward);
    neighbours_clear(&s->users);
    free(s);
}

const float *signals_lifetime(const struct signals *signals)
{
    return signals->lifetime;
}

enum status signals_view_create(struct signals_view **view, const struct signals *signals,
                                struct error *err)
{
    struct signals_view *v = calloc(1, sizeof *v);
    size_t V = (size_t)signals->split->data->items;
    bool all = v != NULL;

    *view = NULL;
    for (int k = 0; all && k < SIGNAL_COUNT; k++)
        all = (v->of[k] = calloc(V, sizeof **v->of)) != NULL;
    for (int k = 0; all && k < DECAYS; k++)
        all = (v->decayed[k] = calloc(V, sizeof **v->decayed)) != NULL;
    if (!all) {
        signals_view_destroy(v);
        return error_set(err, ERR_NOMEM, "no memory for signals of %zu items", V);
    }
    v->signals = signals;
    memcpy(v->of[SIGNAL_LIFETIME], signals->lifetime, V * sizeof **v->of);
    *view = v;
    return OK;
}

void signals_view_destroy(struct signals_view *view)
{
    if (view == NULL)
        return;
    for (int k = 0; k < SIGNAL_COUNT; k++)
        free(view->of[k]);
    for (int k = 0; k < DECAYS; k++)
        free(view->decayed[k]);
    free(view);
}

/* The clock of decay k at an event. */
static double clock_of(const struct signals *s, int k, int64_t event)
{
    const struct interactions *d = s->split->data;

    return k == 0 && s->by_clock ? (double)d->time_ms[event] : (double)d->order[event];
}

static void count_decayed(struct signals_view *view, int64_t event)
{
    const struct signals *s = view->signals;
    size_t V = (size_t)s->split->data->items;

    for (int k = 0; k < DECAYS; k++) {
        double span = (clock_of(s, k, event) - view->epoch[k]) / s->tau[k];

        if (span > SPAN_MAX) {
            double factor = exp(-span);

            for (size_t v = 0; v < V; v++)
                view->decayed[k][v] *= factor;
            view->epoch[k] = clock_of(s, k, event);
            span = 0;
        }
        view->decayed[k][s->split->data->item[event]] += exp(span);
    }
}

/* Training events before the target; those of its very time count when their lines came first. */
static void advance(struct signals_view *view, int64_t target)
{
    const struct split *split = view->signals->split;
    const struct interactions *d = split->data;
    static const enum signal into[DECAYS] = {SIGNAL_DECAYED, SIGNAL_FAST, SIGNAL_SLOW};

    for (; view->next < d->order[target]; view->next++)
        if (split_trains(split, d->by_time[view->next]))
            count_decayed(view, d->by_time[view->next]);
    for (int k = 0; k < DECAYS; k++) {
        double span = (clock_of(view->signals, k, target) - view->epoch[k]) / view->signals->tau[k];
        double factor = exp(-span);

        for (int32_t v = 0; v < d->items; v++)
            view->of[into[k]][v] = (float)(view->decayed[k][v] * factor);
    }
}

/* Adds weight * row of h to sums. */
static void add_row(float *sums, const struct neighbours *n, int32_t h, double weight)
{
    for (int64_t k = n->start[h]; k < n->start[h + 1]; k++)
        sums[n->item[k]] += (float)weight * n->weight[k];
}

static void add_pairs(struct signals_view *view, const int32_t *history, int64_t count)
{
    const struct signals *s = view->signals;
    size_t V = (size_t)s->split->data->items;
    double weight = 1;

    for (int k = SIGNAL_RELATED; k <= SIGNAL_KNN; k++)
        memset(view->of[k], 0, V * sizeof **view->of);
    for (int64_t k = 0; k < RELATED_ASKED && k < count; k++, weight *= RELATED_GAMMA)
        add_row(view->of[SIGNAL_RELATED], &s->both, history[count - 1 - k], weight);
    weight = 1;
    for (int64_t k = 0; k < COVIS_ASKED && k < count; k++, weight *= COVIS_GAMMA)
        add_row(view->of[SIGNAL_COVIS], &s->forward, history[count - 1 - k], weight);
    weight = 1;
    for (int64_t k = 0; k < CHAIN_ASKED && k < count; k++, weight *= CHAIN_GAMMA) {
        int32_t h = history[count - 1 - k];

        add_row(view->of[SIGNAL_CHAIN], &s->forward, h,
                weight / ((double)s->forward.total[h] + CHAIN_SHRINK));
    }
    for (int64_t k = 0; k < KNN_ASKED && k < count; k++)
        add_row(view->of[SIGNAL_KNN], &s->users, history[count - 1 - k], 1);
    for (size_t v = 0; v < V; v++) {
        view->of[SIGNAL_RELATED][v] *= s->root_plus[v];
        view->of[SIGNAL_COVIS][v] *= s->root[v];
    }
}

static void add_repeats(struct signals_view *view, const int32_t *history, int64_t count)
{
    for (int64_t k = 0; k < view->last_count; k++)
        view->of[SIGNAL_REPEATS][view->last[k]] = view->of[SIGNAL_RECENCY][view->last[k]] = 0;
    for (int64_t k = 0; k < count; k++) {
        view->of[SIGNAL_REPEATS][history[k]]++;
        view->of[SIGNAL_RECENCY][history[k]] = 1 / (float)(count - k);
    }
    view->last = history;
    view->last_count = count;
}

void signals_view_at(struct signals_view *view, int64_t event, const float *of[SIGNAL_COUNT])
{
    const struct interactions *d = view->signals->split->data;
    int64_t first = d->start[d->user[event]];

    advance(view, event);
    add_pairs(view, d->item + first, event - first);
    add_repeats(view, d->item + first, event - first);
    for (int k = 0; k < SIGNAL_COUNT; k++)
        of[k] = view->of[k];
}
