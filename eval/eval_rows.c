/* eval/eval_rows.c - from ranks to the numbers of a report. */
#include "eval/eval_inside.h"
#include "eval/ranking_metrics.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define BOOTSTRAP_SEED 20130228
#define FAIR_USERS     200
#define MANY_TARGETS   20000
#define MAIN           eval_cuts[EVAL_CUT_MAIN]

/* What rows are made from. */
struct columns {
    const struct full_ranking *ranking;
    const struct split *split;
    const float *lifetime;
    int64_t count;
    uint64_t *user;         /* (count) */
    float *hit[ARM_COUNT];  /* (count) @10 */
    float *ndcg[ARM_COUNT]; /* (count) @10 */
    float *zero;            /* (count) */
};

static void columns_clear(struct columns *c)
{
    free(c->user);
    free(c->zero);
    for (int arm = 0; arm < ARM_COUNT; arm++) {
        free(c->hit[arm]);
        free(c->ndcg[arm]);
    }
}

static enum status columns_init(struct columns *c, const struct full_ranking_world *world,
                                const struct full_ranking *ranking, struct error *err)
{
    size_t n = (size_t)ranking->count + 1;
    bool all;

    *c = (struct columns){.ranking = ranking,
                          .split = world->split,
                          .lifetime = signals_lifetime(world->signals),
                          .count = ranking->count};
    c->user = calloc(n, sizeof *c->user);
    c->zero = calloc(n, sizeof *c->zero);
    all = c->user != NULL && c->zero != NULL;
    for (int arm = 0; all && arm < ARM_COUNT; arm++) {
        if (ranking->rank[arm] == NULL)
            continue;
        c->hit[arm] = calloc(n, sizeof **c->hit);
        c->ndcg[arm] = calloc(n, sizeof **c->ndcg);
        all = c->hit[arm] != NULL && c->ndcg[arm] != NULL;
        for (int64_t i = 0; all && i < c->count; i++) {
            c->hit[arm][i] = (float)ranking_metrics_hit(ranking->rank[arm][i], MAIN);
            c->ndcg[arm][i] = (float)ranking_metrics_ndcg(ranking->rank[arm][i], MAIN);
        }
    }
    for (int64_t i = 0; all && i < c->count; i++)
        c->user[i] = (uint64_t)world->split->data->user[world->split->test.at[i]];
    return all ? OK : error_set(err, ERR_NOMEM, "no memory for %zu targets", n);
}

/* ---- one row ---- */

static int by_count(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

/* Coverage, Gini and novelty of what was shown in the top 10. */
static enum status fill_exposure(struct eval_row *row, const struct columns *c, int arm,
                                 struct error *err)
{
    int32_t V = c->split->data->items;
    const int64_t *exposed = c->ranking->exposed[arm];
    int64_t *sorted = malloc((size_t)V * sizeof *sorted);
    double total = 0, weighted = 0;

    if (sorted == NULL)
        return error_set(err, ERR_NOMEM, "no memory for %d items", (int)V);
    memcpy(sorted, exposed, (size_t)V * sizeof *sorted);
    qsort(sorted + 1, (size_t)V - 1, sizeof *sorted, by_count);
    for (int32_t v = 1; v < V; v++) {
        double p = ((double)c->lifetime[v] + 1) / (double)(c->split->train_count + V);

        row->coverage += exposed[v] > 0;
        row->novelty += (double)exposed[v] * -log2(p);
        total += (double)sorted[v];
        weighted += (double)v * (double)sorted[v];
    }
    row->coverage /= V - 1;
    row->novelty = total > 0 ? row->novelty / total : 0;
    row->gini = total > 0 ? 2 * weighted / ((V - 1) * total) - (double)V / (V - 1) : 0;
    free(sorted);
    return OK;
}

static void fill_means(struct eval_row *row, const struct columns *c, int arm)
{
    const double *ranks = c->ranking->rank[arm];
    double n = c->count > 0 ? (double)c->count : 1;

    for (int64_t i = 0; i < c->count; i++) {
        double rank = ranks[i], others = (double)c->ranking->candidates[i] - 1;

        for (int k = 0; k < EVAL_CUTS; k++) {
            row->hit_rate[k] += ranking_metrics_hit(rank, eval_cuts[k]);
            row->ndcg[k] += ranking_metrics_ndcg(rank, eval_cuts[k]);
        }
        row->reciprocal += ranking_metrics_reciprocal(rank);
        row->average_precision += rank < MAIN ? ranking_metrics_reciprocal(rank) : 0;
        row->auc_users += isfinite(rank) && others > 0 ? fmax(0, 1 - rank / others) : 0;
    }
    for (int k = 0; k < EVAL_CUTS; k++) {
        row->hit_rate[k] /= n;
        row->ndcg[k] /= n;
    }
    row->reciprocal /= n;
    row->average_precision /= n;
    row->auc_users /= n;
    row->auc = c->ranking->pooled_auc[arm];
    /* One thing is to be found: recall is the hit rate, precision a k-th of it. */
    row->precision = row->hit_rate[EVAL_CUT_MAIN] / MAIN;
    row->f1 = 2 * row->hit_rate[EVAL_CUT_MAIN] / (MAIN + 1);
}

/* How often a target of this item counts: what is rare was hard to meet. */
static double propensity_weight(const struct columns *c, int32_t item, double most)
{
    double count = (double)c->lifetime[item], weight = sqrt(most / (count > 1 ? count : 1));

    return weight < EVAL_CLIP ? weight : EVAL_CLIP;
}

static void fill_ips(struct eval_row *row, const struct columns *c, int arm)
{
    const struct interactions *d = c->split->data;
    double most = 1, weights = 0;

    for (int32_t v = 1; v < d->items; v++)
        most = fmax(most, (double)c->lifetime[v]);
    for (int64_t i = 0; i < c->count; i++) {
        double weight = propensity_weight(c, d->item[c->split->test.at[i]], most);

        weights += weight;
        row->hit_rate_ips += weight * (double)c->hit[arm][i];
        row->ndcg_ips += weight * (double)c->ndcg[arm][i];
    }
    row->hit_rate_ips = weights > 0 ? row->hit_rate_ips / weights : 0;
    row->ndcg_ips = weights > 0 ? row->ndcg_ips / weights : 0;
}

static enum status fill_probabilities(struct eval_row *row, const struct columns *c, int arm,
                                      const struct platt *platt, struct error *err)
{
    const struct full_ranking *r = c->ranking;
    size_t most = (size_t)c->count * FULL_RANKING_TOP + 1;
    float *p = malloc(most * sizeof *p), *labels = malloc(most * sizeof *labels);
    int64_t count = 0;

    if (p == NULL || labels == NULL) {
        free(p);
        free(labels);
        return error_set(err, ERR_NOMEM, "no memory for %zu probabilities", most);
    }
    for (int64_t i = 0; i < c->count; i++) {
        const float *logits = r->logit[arm] + i * FULL_RANKING_TOP;

        if (!isfinite(r->rank[arm][i]) ||
            !(c->lifetime[c->split->data->item[c->split->test.at[i]]] > 0))
            continue; /* none of them could be the one */
        for (int k = 0; k < FULL_RANKING_TOP && !isnan(logits[k]); k++) {
            double z = (double)platt->a * (double)logits[k] + (double)platt->b;

            p[count] = (float)(1 / (1 + exp(-z)));
            labels[count++] = r->target_at[arm][i] == k;
        }
    }
    row->entropy = ranking_metrics_ne(p, labels, count);
    row->calibration_error = ranking_metrics_ece(p, labels, count, RANKING_METRICS_ECE_BINS);
    row->predicted_over_seen = ranking_metrics_pcoc(p, labels, count);
    free(p);
    free(labels);
    return OK;
}

/* Of many targets an interval needs fewer rounds: each costs a draw a user. */
static int rounds_of(const struct columns *c)
{
    return c->count > MANY_TARGETS ? BOOTSTRAP_ROUNDS / 4 : BOOTSTRAP_ROUNDS;
}

static enum status fill_row(struct eval_row *row, const struct columns *c, int arm,
                            const struct platt *platt, struct error *err)
{
    enum status status;

    row->name = full_ranking_arm_names[arm];
    row->entropy = row->calibration_error = row->predicted_over_seen = NAN;
    fill_means(row, c, arm);
    fill_ips(row, c, arm);
    status = fill_exposure(row, c, arm, err);
    if (status == OK && arm < FULL_RANKING_LIKELY)
        status = fill_probabilities(row, c, arm, &platt[arm], err);
    if (status == OK)
        status = bootstrap_paired(c->hit[arm], c->zero, c->user, c->count, rounds_of(c),
                                  BOOTSTRAP_SEED, &row->hit_rate_self, err);
    if (status == OK)
        status = bootstrap_paired(c->ndcg[arm], c->zero, c->user, c->count, rounds_of(c),
                                  BOOTSTRAP_SEED, &row->ndcg_self, err);
    if (status != OK || arm == ARM_MODEL)
        return status;
    status = bootstrap_paired(c->hit[ARM_MODEL], c->hit[arm], c->user, c->count, rounds_of(c),
                              BOOTSTRAP_SEED, &row->hit_rate_gain, err);
    if (status == OK)
        status = bootstrap_paired(c->ndcg[ARM_MODEL], c->ndcg[arm], c->user, c->count, rounds_of(c),
                                  BOOTSTRAP_SEED, &row->ndcg_gain, err);
    return status;
}

/* ---- slices ---- */

enum slice_of {
    SLICE_HISTORY_4,
    SLICE_HISTORY_19,
    SLICE_HISTORY_99,
    SLICE_HISTORY_MORE,
    SLICE_HEAD,
    SLICE_MIDDLE,
    SLICE_TAIL,
    SLICE_NEW = EVAL_SLICE_NEW,
};

static const char *const slice_names[EVAL_SLICES] = {
    [SLICE_HISTORY_4] = "history 1-4",    [SLICE_HISTORY_19] = "history 5-19",
    [SLICE_HISTORY_99] = "history 20-99", [SLICE_HISTORY_MORE] = "history 100+",
    [SLICE_HEAD] = "item: head third",    [SLICE_MIDDLE] = "item: middle third",
    [SLICE_TAIL] = "item: tail third",    [SLICE_NEW] = "item: not in training"};

static int by_count_falling(const void *a, const void *b, void *lifetime)
{
    float x = ((float *)lifetime)[*(const int32_t *)a],
          y = ((float *)lifetime)[*(const int32_t *)b];

    return (x < y) - (x > y);
}

/* Items by falling count: the head makes the first third of the events, and so on. */
static enum status find_shelves(uint8_t *shelf, const struct columns *c, struct error *err)
{
    int32_t V = c->split->data->items;
    int32_t *order = malloc((size_t)V * sizeof *order);
    double so_far = 0;

    if (order == NULL)
        return error_set(err, ERR_NOMEM, "no memory for %d items", (int)V);
    for (int32_t v = 0; v < V; v++)
        order[v] = v;
    qsort_r(order, (size_t)V, sizeof *order, by_count_falling, (void *)(uintptr_t)c->lifetime);
    for (int32_t i = 0; i < V; i++) {
        double share = so_far / (double)c->split->train_count;
        float count = c->lifetime[order[i]];

        shelf[order[i]] = (uint8_t)(!(count > 0)      ? SLICE_NEW
                                    : share < 1.0 / 3 ? SLICE_HEAD
                                    : share < 2.0 / 3 ? SLICE_MIDDLE
                                                      : SLICE_TAIL);
        so_far += (double)count;
    }
    free(order);
    return OK;
}

static enum slice_of history_slice(int64_t events)
{
    return events < 5     ? SLICE_HISTORY_4
           : events < 20  ? SLICE_HISTORY_19
           : events < 100 ? SLICE_HISTORY_99
                          : SLICE_HISTORY_MORE;
}

static enum status fill_slices(struct eval_result *r, const struct columns *c, struct error *err)
{
    const struct interactions *d = c->split->data;
    uint8_t *shelf = calloc((size_t)d->items, sizeof *shelf);
    enum status status = OK;
    double low = INFINITY, high = -INFINITY;

    if (shelf == NULL)
        status = error_set(err, ERR_NOMEM, "no memory for slices");
    if (status == OK)
        status = find_shelves(shelf, c, err);
    for (int64_t i = 0; status == OK && i < c->count; i++) {
        int64_t event = c->split->test.at[i];
        int parts[2] = {history_slice(event - d->start[c->user[i]]), shelf[d->item[event]]};

        for (int p = 0; p < 2; p++) {
            struct eval_slice *slice = &r->slices[parts[p]];

            slice->targets++;
            for (int arm = 0; arm < ARM_COUNT; arm++) {
                if (c->hit[arm] == NULL)
                    continue;
                slice->hit_rate[arm] += (double)c->hit[arm][i];
                slice->ndcg[arm] += (double)c->ndcg[arm][i];
            }
        }
    }
    for (int s = 0; status == OK && s < EVAL_SLICES; s++) {
        struct eval_slice *slice = &r->slices[s];

        slice->name = slice_names[s];
        for (int arm = 0; arm < ARM_COUNT && slice->targets > 0; arm++) {
            slice->hit_rate[arm] /= (double)slice->targets;
            slice->ndcg[arm] /= (double)slice->targets;
        }
        if (s <= SLICE_HISTORY_MORE && slice->targets >= FAIR_USERS) {
            low = fmin(low, slice->ndcg[ARM_MODEL]);
            high = fmax(high, slice->ndcg[ARM_MODEL]);
        }
    }
    r->slices_count = EVAL_SLICES;
    r->fairness_gap = high > low ? high - low : 0;
    free(shelf);
    return status;
}

/* Brand-new targets among brand-new items. */
static void fill_among_new(struct eval_result *r, const struct full_ranking_world *world,
                           const struct columns *c)
{
    const struct interactions *d = world->split->data;
    struct eval_new *n = &r->among_new;

    for (int32_t v = 1; v < d->items; v++) {
        n->items += !(c->lifetime[v] > 0);
        n->described += world->cold[v];
    }
    for (int64_t i = 0; i < c->count; i++) {
        int32_t target = d->item[world->split->test.at[i]];
        double rank = c->ranking->among_new[i];

        if (c->lifetime[target] > 0)
            continue;
        n->targets++;
        n->hit_rate += ranking_metrics_hit(rank, MAIN);
        n->ndcg += ranking_metrics_ndcg(rank, MAIN);
    }
    n->hit_rate /= n->targets > 0 ? (double)n->targets : 1;
    n->ndcg /= n->targets > 0 ? (double)n->targets : 1;
    n->chance = n->items > MAIN ? (double)MAIN / n->items : 1;
}

enum status eval_fill_rows(struct eval_result *r, const struct full_ranking_world *world,
                           const struct full_ranking *ranking, struct error *err)
{
    const struct interactions *d = world->split->data;
    struct columns c;
    enum status status = columns_init(&c, world, ranking, err);

    for (int arm = 0; status == OK && arm < ARM_COUNT; arm++)
        if (ranking->rank[arm] != NULL)
            status = fill_row(&r->rows[r->rows_count++], &c, arm, r->platt, err);
    if (status == OK)
        status = fill_slices(r, &c, err);
    for (int64_t i = 0; status == OK && i < c.count; i++) {
        r->masked += !isfinite(ranking->rank[ARM_POPULARITY][i]);
        r->unknown += !(c.lifetime[d->item[world->split->test.at[i]]] > 0);
        r->stability += (double)ranking->overlap[i] / (double)c.count;
        r->same_first += (double)ranking->same_first[i] / (double)c.count;
    }
    if (status == OK && world->cold != NULL)
        fill_among_new(r, world, &c);
    columns_clear(&c);
    return status;
}
