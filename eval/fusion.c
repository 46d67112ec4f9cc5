/*
 * eval/fusion.c - features, then a multinomial logit by Newton's method, then NDCG by turns.
 */
#include "eval/fusion.h"

#include "eval/ranking_metrics.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define K             FUSION_FEATURES
#define NEWTON_STEPS  25
#define NEWTON_DONE   1e-7 /* of likelihood gained */
#define PRIOR         2.0  /* targets that a weight's beginning is worth */
#define TURNS         3
#define TURN_K        10
#define TURN_GAIN     .001 /* relative, that a change must bring */
#define FOLDED_MOST   2000 /* targets; of more of them a half teaches a dozen weights, too */
#define SHARE_OF_BEST .01f /* what absent evidence counts, of the best item's */
#define CHAIN_PRIOR   .1f  /* of popularity in the chain's probability */
#define DECAY_FLOOR   .05f
#define SMALL         1e-3f

#define X(id, name, begin) name,
const char *const fusion_feature_names[K] = {FUSION_FEATURE_LIST(X)};
#undef X

void fusion_begin(struct fusion *fusion)
{
#define X(id, name, begin) begin,
    *fusion = (struct fusion){{FUSION_FEATURE_LIST(X)}};
#undef X
}

bool fusion_is_served(int feature)
{
    return feature != FUSION_FTRL && feature != FUSION_TWO_TOWER;
}

/* ---- features ---- */

/* ln of evidence over the least of it, 0 where there is none. */
static void log_of_evidence(float *into, const float *from, int32_t V)
{
    float most = 0;

    for (int32_t v = 1; v < V; v++)
        most = from[v] > most ? from[v] : most;
    if (!(most > 0)) {
        memset(into, 0, (size_t)V * sizeof *into);
        return;
    }
    for (int32_t v = 0; v < V; v++)
        into[v] = from[v] > 0 ? log1pf(from[v] / (SHARE_OF_BEST * most)) : 0;
}

static void log_of_counts(float *into, const float *from, int32_t V, float floor)
{
    for (int32_t v = 0; v < V; v++) {
        float x = from[v] / floor;

        into[v] = x < SMALL ? x : log1pf(x); /* most are: logarithms are what this costs */
    }
}

/* into: ln(1 + count), which is the answer but for a constant where nothing followed. */
static void log_of_chain(float *into, const float *chain, const struct fusion_world *w)
{
    float prior = CHAIN_PRIOR / (float)(w->events + w->items), log_prior = logf(prior);

    for (int32_t v = 0; v < w->items; v++)
        into[v] = chain[v] > 0 ? logf(chain[v] + prior * (w->lifetime[v] + 1))
                               : log_prior + into[v];
}

void fusion_features(float *const features[K], const struct fusion_world *w, const float *network,
                     const float *const of[SIGNAL_COUNT])
{
    int32_t V = w->items;

    memcpy(features[FUSION_NETWORK], network, (size_t)V * sizeof *network);
    log_of_counts(features[FUSION_LIFETIME], of[SIGNAL_LIFETIME], V, 1);
    log_of_counts(features[FUSION_FAST], of[SIGNAL_FAST], V, DECAY_FLOOR);
    log_of_counts(features[FUSION_DECAYED], of[SIGNAL_DECAYED], V, DECAY_FLOOR);
    log_of_counts(features[FUSION_SLOW], of[SIGNAL_SLOW], V, DECAY_FLOOR);
    log_of_evidence(features[FUSION_COVIS], of[SIGNAL_COVIS], V);
    memcpy(features[FUSION_CHAIN], features[FUSION_LIFETIME], (size_t)V * sizeof **features);
    log_of_chain(features[FUSION_CHAIN], of[SIGNAL_CHAIN], w);
    log_of_evidence(features[FUSION_KNN], of[SIGNAL_KNN], V);
    log_of_evidence(features[FUSION_RELATED], of[SIGNAL_RELATED], V);
    for (int32_t v = 0; v < V; v++) {
        features[FUSION_REPEATS][v] = w->repeats ? log1pf(of[SIGNAL_REPEATS][v]) : 0;
        features[FUSION_RECENCY][v] = w->repeats ? sqrtf(of[SIGNAL_RECENCY][v]) : 0;
    }
}

void fusion_score(float *scores, const struct fusion *fusion, const float *const features[],
                  int32_t items)
{
    memset(scores, 0, (size_t)items * sizeof *scores);
    for (int k = 0; k < K; k++) {
        float weight = fusion->weight[k];

        for (int32_t v = 0; weight != 0 && v < items; v++)
            scores[v] += weight * features[k][v];
    }
}

/* ---- lessons ---- */

struct fusion_lesson {
    int64_t targets_max;
    int32_t *rows; /* (targets_max) */
    float *features;
    /* Of a view of it, while something is learnt: */
    enum fusion_members members;
    int folds, fold; /* without targets t % folds == fold; folds 0: with all of them */
};

enum status fusion_lesson_create(struct fusion_lesson **lesson, int64_t targets_max,
                                 struct error *err)
{
    struct fusion_lesson *l = calloc(1, sizeof *l);

    *lesson = NULL;
    if (l != NULL) {
        l->targets_max = targets_max;
        l->rows = calloc((size_t)targets_max + 1, sizeof *l->rows);
        l->features = malloc(((size_t)targets_max + 1) * FUSION_CANDIDATES * FUSION_STRIDE *
                             sizeof *l->features);
    }
    if (l == NULL || l->rows == NULL || l->features == NULL) {
        fusion_lesson_destroy(l);
        return error_set(err, ERR_NOMEM, "no memory to weigh %lld targets", (long long)targets_max);
    }
    *lesson = l;
    return OK;
}

void fusion_lesson_destroy(struct fusion_lesson *l)
{
    if (l == NULL)
        return;
    free(l->rows);
    free(l->features);
    free(l);
}

float *fusion_lesson_rows(struct fusion_lesson *l, int64_t at)
{
    return l->features + at * FUSION_CANDIDATES * FUSION_STRIDE;
}

void fusion_lesson_set(struct fusion_lesson *l, int64_t at, int32_t rows)
{
    l->rows[at] = rows;
}

static int32_t rows_of(const struct fusion_lesson *l, int64_t at)
{
    return l->folds > 0 && at % l->folds == l->fold ? 0 : l->rows[at];
}

static double dot(const double *weight, const float *row)
{
    double sum = 0; /* without what the row stands for */

    for (int k = 0; k < K; k++)
        sum += weight[k] * (double)row[k];
    return sum;
}

/* ---- likelihood ---- */

struct newton {
    double value, gradient[K], curve[K][K]; /* curve: minus the second derivative */
};

/* Of one target: value and, with curve wanted, derivatives are added. */
static void add_target(struct newton *n, const double *weight, const float *rows, int32_t count,
                       bool slopes)
{
    double p[FUSION_CANDIDATES] = {0}, mean[K] = {0}, top = -INFINITY, total = 0;

    for (int32_t i = 0; i < count; i++) {
        p[i] = dot(weight, rows + (int64_t)i * FUSION_STRIDE) +
               (double)rows[(int64_t)i * FUSION_STRIDE + K];
        top = p[i] > top ? p[i] : top;
    }
    n->value += p[0] - top;
    for (int32_t i = 0; i < count; i++)
        total += p[i] = exp(p[i] - top);
    n->value -= log(total);
    if (!slopes)
        return;
    for (int32_t i = 0; i < count; i++) {
        const float *row = rows + (int64_t)i * FUSION_STRIDE;

        p[i] /= total;
        if (p[i] < 1e-9)
            continue;
        for (int k = 0; k < K; k++) {
            double scaled = p[i] * (double)row[k];

            mean[k] += scaled;
            for (int m = 0; m <= k; m++)
                n->curve[k][m] += scaled * (double)row[m];
        }
    }
    for (int k = 0; k < K; k++) {
        n->gradient[k] += (double)rows[k] - mean[k];
        for (int m = 0; m <= k; m++)
            n->curve[k][m] -= mean[k] * mean[m];
    }
}

static double likelihood(struct newton *n, const double *weight, const double *begin,
                         const struct fusion_lesson *l, bool slopes)
{
    *n = (struct newton){0};
    for (int64_t t = 0; t < l->targets_max; t++)
        if (rows_of(l, t) > 1)
            add_target(n, weight, l->features + t * FUSION_CANDIDATES * FUSION_STRIDE, l->rows[t],
                       slopes);
    for (int k = 0; k < K; k++) {
        double off = weight[k] - begin[k];

        n->value -= .5 * PRIOR * off * off;
        n->gradient[k] -= PRIOR * off;
        n->curve[k][k] += PRIOR;
    }
    return n->value;
}

/* What is no member does not move. */
static void hold_others(struct newton *n, enum fusion_members members)
{
    for (int k = 0; k < K && members != FUSION_EVERYTHING; k++) {
        if (fusion_is_served(k))
            continue;
        n->gradient[k] = 0;
        for (int m = 0; m < K; m++)
            n->curve[k][m] = n->curve[m][k] = m == k ? 1 : 0;
    }
}

/* step = curve^-1 gradient, by Cholesky; curve is positive definite thanks to the prior. */
static void solve(double step[K], struct newton *n)
{
    double(*a)[K] = n->curve;

    for (int k = 0; k < K; k++) {
        for (int m = 0; m <= k; m++) {
            double sum = a[k][m];

            for (int j = 0; j < m; j++)
                sum -= a[k][j] * a[m][j];
            a[k][m] = k == m ? sqrt(sum > 1e-12 ? sum : 1e-12) : sum / a[m][m];
        }
    }
    for (int k = 0; k < K; k++) {
        step[k] = n->gradient[k];
        for (int j = 0; j < k; j++)
            step[k] -= a[k][j] * step[j];
        step[k] /= a[k][k];
    }
    for (int k = K - 1; k >= 0; k--) {
        for (int j = k + 1; j < K; j++)
            step[k] -= a[j][k] * step[j];
        step[k] /= a[k][k];
    }
}

static double climb(double weight[K], const double begin[K], const struct fusion_lesson *l)
{
    struct newton n, tried;
    double best = likelihood(&n, weight, begin, l, true);

    for (int i = 0; i < NEWTON_STEPS; i++) {
        double step[K], next[K], value = -INFINITY;

        hold_others(&n, l->members);
        solve(step, &n);
        for (int halved = 0; halved < 14; halved++) {
            for (int k = 0; k < K; k++)
                next[k] = weight[k] + ldexp(step[k], -halved);
            value = likelihood(&tried, next, begin, l, false);
            if (value > best)
                break;
        }
        if (!(value > best))
            break;
        memcpy(weight, next, sizeof next);
        if (value - best < NEWTON_DONE * fabs(best))
            break;
        best = likelihood(&n, weight, begin, l, true);
    }
    return likelihood(&n, weight, begin, l, false);
}

/* ---- NDCG by turns ---- */

static double ndcg(const double *weight, const struct fusion_lesson *l)
{
    double sum = 0;
    int64_t count = 0;

    for (int64_t t = 0; t < l->targets_max; t++) {
        const float *rows = l->features + t * FUSION_CANDIDATES * FUSION_STRIDE;
        double better = 0, equal = 0, own;

        if (rows_of(l, t) < 1)
            continue;
        count++;
        own = dot(weight, rows);
        for (int32_t i = 1; i < l->rows[t]; i++) {
            const float *row = rows + (int64_t)i * FUSION_STRIDE;
            double other = dot(weight, row), stands_for = exp((double)row[K]);

            better += other > own ? stands_for : 0;
            equal += other == own ? stands_for : 0;
        }
        sum += ranking_metrics_ndcg(better + equal / 2, TURN_K);
    }
    return count > 0 ? sum / (double)count : 0;
}

static double take_turns(double weight[K], const struct fusion_lesson *l, double best)
{
    static const double factors[] = {.7, 1.4};

    for (int turn = 0; turn < TURNS; turn++) {
        double begun = best;

        for (int k = 0; k < K; k++) {
            for (int f = 0; f < 2; f++) {
                double kept = weight[k], value;

                weight[k] *= factors[f];
                value = ndcg(weight, l);
                if (value > best * (1 + TURN_GAIN))
                    best = value;
                else
                    weight[k] = kept;
            }
        }
        if (best == begun)
            break;
    }
    return best;
}

/* ---- all together, or one alone ---- */

/* Both ways of learning, one after the other. */
static void learn(double weight[K], const double begin[K], const struct fusion_lesson *l,
                  struct fusion_report *report)
{
    double targets = report->targets > 0 ? (double)report->targets : 1;

    memcpy(weight, begin, K * sizeof *weight);
    report->likelihood_after = climb(weight, begin, l) / targets;
    report->ndcg_before = ndcg(weight, l);
    report->ndcg_after = take_turns(weight, l, report->ndcg_before);
}

void fusion_learn(struct fusion *fusion, const struct fusion_lesson *lesson,
                  enum fusion_members members, struct fusion_report *report)
{
    struct fusion_lesson l = *lesson;
    double weight[K], begin[K];
    struct newton n;

    l.members = members;
    *report = (struct fusion_report){.alone = K};
    for (int64_t t = 0; t < l.targets_max; t++)
        report->targets += rows_of(&l, t) > 0;
    for (int k = 0; k < K; k++)
        begin[k] = (double)fusion->weight[k];
    if (report->targets == 0)
        return;
    report->likelihood_before = likelihood(&n, begin, begin, &l, false) / (double)report->targets;
    learn(weight, begin, &l, report);
    for (int k = 0; k < K; k++)
        fusion->weight[k] = (float)weight[k];
}

void fusion_learn_folds(struct fusion_contest *contest, const struct fusion *begin,
                        const struct fusion_lesson *lesson, enum fusion_members members)
{
    struct fusion_lesson part = *lesson;

    part.folds = contest->folds = lesson->targets_max < FOLDED_MOST ? FUSION_FOLDS : 2;
    for (part.fold = 0; part.fold < part.folds; part.fold++) {
        struct fusion_report report;

        contest->fold[part.fold] = *begin;
        fusion_learn(&contest->fold[part.fold], &part, members, &report);
    }
}

/* Likelihood of a feature alone wants it at some scale: the best of a few. */
static double scale_alone(int feature, const struct fusion_lesson *l)
{
    double best = -INFINITY, scale = 1;

    for (int power = -4; power <= 4; power++) {
        double weight[K] = {0}, value;
        struct newton n;

        weight[feature] = ldexp(1, power);
        value = likelihood(&n, weight, weight, l, false);
        if (value > best) {
            best = value;
            scale = weight[feature];
        }
    }
    return scale;
}

/* By how much a feature alone is ahead of all together, in the mean of targets that could be hit;
 * *error: its standard error. */
static double ahead(int feature, const struct fusion_lesson *l,
                    const struct fusion_contest *contest, double *error)
{
    double sum = 0, squares = 0, n = 0, mean;

    for (int64_t t = 0; t < l->targets_max; t++) {
        const float *by = contest->ndcg + t * FUSION_CONTESTANTS;
        double gain = (double)by[feature] - (double)by[K];

        if (l->rows[t] < 1)
            continue;
        sum += gain;
        squares += gain * gain;
        n++;
    }
    *error = INFINITY;
    if (n < 2)
        return 0;
    mean = sum / n;
    *error = sqrt(fmax(squares / n - mean * mean, 0) / (n - 1));
    return mean;
}

void fusion_choose(struct fusion *fusion, const struct fusion_lesson *lesson,
                   const struct fusion_contest *contest, struct fusion_report *report)
{
    double best = 0, targets = report->targets > 0 ? (double)report->targets : 1;

    report->alone = K;
    report->ndcg_contest = 0;
    for (int64_t t = 0; t < lesson->targets_max; t++)
        if (lesson->rows[t] > 0)
            report->ndcg_contest += (double)contest->ndcg[t * FUSION_CONTESTANTS + K] / targets;
    for (int k = 0; k < K; k++) {
        double error, gain = ahead(k, lesson, contest, &error);

        if (!fusion_is_served(k) || !(gain > FUSION_SURE * error) || !(gain > best))
            continue;
        best = gain;
        report->alone = k;
    }
    if (report->alone == K)
        return;
    report->ndcg_contest += best;
    *fusion = (struct fusion){{0}};
    fusion->weight[report->alone] = (float)scale_alone(report->alone, lesson);
}

/* ---- probabilities ---- */

float fusion_logit(double score, double total)
{
    double p = exp(score) / total, least = 1e-9;

    p = p < least ? least : p > 1 - least ? 1 - least : p;
    return (float)log(p / (1 - p));
}

static int64_t logits_of(const double *weight, const float *rows, int32_t count, int top,
                         float *logits, float *labels)
{
    double scores[FUSION_CANDIDATES], best = -INFINITY, total = 0;
    int64_t made = 0;

    for (int32_t i = 0; i < count; i++) {
        scores[i] = dot(weight, rows + (int64_t)i * FUSION_STRIDE);
        best = scores[i] > best ? scores[i] : best;
    }
    for (int32_t i = 0; i < count; i++)
        total += exp(scores[i] - best + (double)rows[(int64_t)i * FUSION_STRIDE + K]);
    for (; made < top && made < count; made++) {
        int32_t first = 0;

        for (int32_t i = 1; i < count; i++)
            first = scores[i] > scores[first] ? i : first;
        logits[made] = fusion_logit(scores[first] - best, total);
        labels[made] = first == 0;
        scores[first] = -INFINITY;
    }
    return made;
}

int64_t fusion_logits(const struct fusion *fusion, const struct fusion_lesson *l, int top,
                      float *logits, float *labels)
{
    double weight[K];
    int64_t made = 0;

    for (int k = 0; k < K; k++)
        weight[k] = (double)fusion->weight[k];
    for (int64_t t = 0; t < l->targets_max; t++)
        if (l->rows[t] > 0)
            made += logits_of(weight, l->features + t * FUSION_CANDIDATES * FUSION_STRIDE,
                              l->rows[t], top, logits + made, labels + made);
    return made;
}
