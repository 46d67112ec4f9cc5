/*
 * eval/full_ranking.c - one target after the other: signals, network, masks, ranks.
 */
#include "eval/full_ranking.h"

#include "eval/pooled_auc.h"
#include "eval/ranking_metrics.h"
#include "ops/random.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define REPEATS_SHARE    .01 /* of training events, from which on repeats are expected */
#define LOOK_EVERY       32  /* targets between two looks at the clock */
#define POPULARITY_SHARE .3f /* of the anchor covisitation, retrain/baselines.h */
#define RBO_P            .9
#define UNTRAINED        (-1e9f) /* score of what nothing is known of: behind all others */
#define PARTS            16      /* of the targets, between which progress is shown */

#define X(id, name) name,
const char *const full_ranking_arm_names[ARM_COUNT] = {FULL_RANKING_ARM_LIST(X)};
#undef X

/* What is done with a target. */
enum purpose { PURPOSE_RANK, PURPOSE_NETWORK, PURPOSE_LESSON, PURPOSE_CONTEST };

/* One thread's own. */
struct member {
    struct signals_view *view;
    struct model_workspace *workspace;
    float *network;                   /* (V) */
    float *features[FUSION_FEATURES]; /* (V) */
    float *scores;                    /* (V) */
    int32_t *action;                  /* (BATCH_HISTORY_MAX) */
    int32_t *order;                   /* (V) scratch of selection */
    int64_t *exposed[ARM_COUNT];      /* (V) */
    struct pooled_auc *pooled[ARM_COUNT];
    enum status status;
    struct error err;
};

struct job {
    const struct full_ranking_world *world;
    const struct split_targets *targets;
    enum purpose purpose;
    struct fusion fusion;
    struct fusion_world features;
    double *ranks; /* PURPOSE_NETWORK */
    struct full_ranking *ranking;
    struct fusion_lesson *lesson;
    struct fusion_contest *contest;
    int64_t from, to; /* targets of this call */
    struct member members[CREW_MAX];
};

bool full_ranking_repeats(const struct split *split)
{
    const struct interactions *d = split->data;
    int64_t *seen = calloc((size_t)d->items, sizeof *seen), repeated = 0;

    if (seen == NULL)
        return true;
    for (int32_t u = 0; u < d->users; u++)
        for (int64_t e = d->start[u]; e < split->train_end[u]; e++) {
            repeated += seen[d->item[e]] == u + 1;
            seen[d->item[e]] = u + 1;
        }
    free(seen);
    return (double)repeated > REPEATS_SHARE * (double)split->train_count;
}

/* ---- one member ---- */

static void member_clear(struct member *m)
{
    signals_view_destroy(m->view);
    model_workspace_destroy(m->workspace);
    free(m->network);
    for (int k = 0; k < FUSION_FEATURES; k++)
        free(m->features[k]);
    free(m->scores);
    free(m->action);
    free(m->order);
    for (int arm = 0; arm < ARM_COUNT; arm++) {
        free(m->exposed[arm]);
        pooled_auc_destroy(m->pooled[arm]);
    }
    *m = (struct member){0};
}

static enum status member_init(struct member *m, const struct job *job, struct error *err)
{
    size_t V = (size_t)job->world->split->data->items;
    bool all;

    m->workspace = model_workspace_create();
    m->network = calloc(V, sizeof *m->network);
    m->scores = calloc(V, sizeof *m->scores);
    m->order = calloc(V, sizeof *m->order);
    m->action = calloc(BATCH_HISTORY_MAX, sizeof *m->action);
    all = m->network != NULL && m->scores != NULL && m->order != NULL && m->action != NULL;
    for (int k = 0; all && k < FUSION_FEATURES && job->purpose != PURPOSE_NETWORK; k++)
        all = (m->features[k] = calloc(V, sizeof **m->features)) != NULL;
    for (int arm = 0; all && arm < ARM_COUNT && job->purpose == PURPOSE_RANK; arm++)
        all = job->ranking->rank[arm] == NULL ||
              ((m->exposed[arm] = calloc(V, sizeof **m->exposed)) != NULL &&
               (m->pooled[arm] = pooled_auc_create()) != NULL);
    if (!all)
        return error_set(err, ERR_NOMEM, "no memory to rank %zu items", V);
    return job->purpose == PURPOSE_NETWORK
               ? OK
               : signals_view_create(&m->view, job->world->signals, err);
}

/* The network's next-item scores of all rows; untrained rows and row 0 far below. */
static enum status score_network(const struct job *job, struct member *m, int64_t event)
{
    const struct interactions *d = job->world->split->data;
    const float *lifetime = job->features.lifetime;
    int64_t first = d->start[d->user[event]];
    int32_t start[2] = {0, 0}, none[2] = {0, 0};
    struct batch batch = {.B = 1, .history_start = start, .candidate_start = none};
    enum status status;

    if (job->world->model == NULL) {
        memset(m->network, 0, (size_t)d->items * sizeof *m->network);
    } else {
        int64_t P = model_config(job->world->model)->P;

        first = event - first > P ? event - P : first;
        start[1] = batch.T = (int32_t)(event - first);
        for (int32_t k = 0; k < batch.T; k++)
            m->action[k] = d->action[first + k];
        batch.item = d->item + first;
        batch.action = m->action;
        batch.time_ms = d->time_ms + first;
        batch.request_time_ms = d->time_ms + event;
        status = model_next_all(job->world->model, m->workspace, &batch, m->network, &m->err);
        if (status != OK)
            return status;
    }
    for (int32_t v = 0; v < d->items; v++)
        if (!(lifetime[v] > 0) && (job->world->cold == NULL || !job->world->cold[v]))
            m->network[v] = UNTRAINED;
    return OK;
}

/* ---- masks and ranks ---- */

static void mask_training(const struct job *job, float *scores, int64_t event)
{
    const struct interactions *d = job->world->split->data;
    int32_t user = d->user[event];

    scores[BATCH_ITEM_UNKNOWN] = -INFINITY;
    if (job->world->keep_seen)
        return;
    for (int64_t e = d->start[user]; e < job->world->split->train_end[user]; e++)
        scores[d->item[e]] = -INFINITY;
}

/* What nobody chooses twice is no candidate of the model's: the rule that serving has. */
static void leave_out_history(const struct job *job, float *scores, int64_t event)
{
    const struct interactions *d = job->world->split->data;

    for (int64_t e = d->start[d->user[event]]; !job->world->repeats && e < event; e++)
        scores[d->item[e]] = -INFINITY;
}

static int32_t candidates_of(const float *scores, int32_t V)
{
    int32_t count = 0;

    for (int32_t v = 1; v < V; v++)
        count += scores[v] > -INFINITY;
    return count;
}

static double rank_of(const float *scores, int32_t V, int32_t target)
{
    float own = scores[target];
    int64_t better = 0, equal = 0;

    if (!(own > -INFINITY))
        return RANKING_METRICS_MISS;
    for (int32_t v = 1; v < V; v++) {
        better += scores[v] > own;
        equal += scores[v] == own;
    }
    return ranking_metrics_rank(better, equal);
}

/* The same among items without a training event, for a target that is one of them. */
static double rank_among_new(const struct job *job, const float *scores, int32_t target)
{
    const float *lifetime = job->features.lifetime;
    int64_t better = 0, equal = 0;

    if (lifetime[target] > 0 || !(scores[target] > -INFINITY))
        return RANKING_METRICS_MISS;
    for (int32_t v = 1; v < job->features.items; v++) {
        better += !(lifetime[v] > 0) && scores[v] > scores[target];
        equal += !(lifetime[v] > 0) && scores[v] == scores[target];
    }
    return ranking_metrics_rank(better, equal);
}

/* The best of them into order, best first, ties by row; returns how many have a score at all. */
static int32_t select_top(int32_t *order, const float *scores, int32_t V, int32_t most)
{
    int32_t count = 0;

    /* A heap of the best so far, the least of them on top. */
    for (int32_t v = 1; v < V; v++) {
        int32_t at;

        if (!(scores[v] > -INFINITY))
            continue;
        if (count < most) {
            at = count++;
            while (at > 0 && scores[order[(at - 1) / 2]] > scores[v]) {
                order[at] = order[(at - 1) / 2];
                at = (at - 1) / 2;
            }
            order[at] = v;
            continue;
        }
        if (!(scores[v] > scores[order[0]]))
            continue;
        for (at = 0;;) {
            int32_t child = 2 * at + 1;

            if (child + 1 < count && scores[order[child + 1]] < scores[order[child]])
                child++;
            if (child >= count || scores[order[child]] >= scores[v])
                break;
            order[at] = order[child];
            at = child;
        }
        order[at] = v;
    }
    return count;
}

static void sort_top(int32_t *order, int32_t count, const float *scores)
{
    for (int32_t i = 1; i < count; i++) {
        int32_t v = order[i], j = i;

        while (j > 0 && (scores[order[j - 1]] < scores[v] ||
                         (scores[order[j - 1]] == scores[v] && order[j - 1] > v))) {
            order[j] = order[j - 1];
            j--;
        }
        order[j] = v;
    }
}

static float most_of(const float *x, int32_t V)
{
    float most = 0;

    for (int32_t v = 1; v < V; v++)
        most = x[v] > most ? x[v] : most;
    return most > 0 ? most : 1;
}

static void put_untrained_last(const struct job *job, float *scores, const uint8_t *cold)
{
    for (int32_t v = 0; v < job->features.items; v++)
        if (!(job->features.lifetime[v] > 0) && (cold == NULL || !cold[v]))
            scores[v] = UNTRAINED;
}

/* What the signals, the learnt baselines and the network say of the target event's request. */
static void make_features(const struct job *job, struct member *m, int64_t event,
                          const float *of[SIGNAL_COUNT])
{
    const struct interactions *d = job->world->split->data;
    int64_t first = d->start[d->user[event]];
    bool learnt = job->purpose != PURPOSE_CONTEST; /* which is among what is served */

    signals_view_at(m->view, event, of);
    if (learnt && job->world->ftrl != NULL)
        ftrl_scores(job->world->ftrl, d->item + first, event - first, m->features[FUSION_FTRL]);
    if (learnt && job->world->two_tower != NULL)
        two_tower_scores(job->world->two_tower, d->item + first, event - first,
                         m->features[FUSION_TWO_TOWER]);
    fusion_features(m->features, &job->features, m->network, of);
}

/* Scores of an arm into m->scores. */
static void score_arm(const struct job *job, struct member *m, enum full_ranking_arm arm,
                      const float *const of[SIGNAL_COUNT])
{
    static const int plain[ARM_COUNT] = {[ARM_POPULARITY] = SIGNAL_LIFETIME,
                                         [ARM_POPULARITY_NOW] = SIGNAL_DECAYED,
                                         [ARM_COVISITATION_ONLY] = SIGNAL_RELATED,
                                         [ARM_ITEM_KNN] = SIGNAL_KNN};
    int32_t V = job->features.items;

    if (arm == ARM_MODEL || arm == ARM_MODEL_COLD || arm == ARM_MODEL_ENSEMBLE) {
        const struct fusion *by = arm == ARM_MODEL_ENSEMBLE ? job->world->ensemble : &job->fusion;

        fusion_score(m->scores, by, (const float *const *)m->features, V);
        put_untrained_last(job, m->scores, arm == ARM_MODEL_COLD ? job->world->cold : NULL);
    } else if (arm == ARM_NETWORK) {
        memcpy(m->scores, m->network, (size_t)V * sizeof *m->scores);
        put_untrained_last(job, m->scores, NULL);
    } else if (arm == ARM_COVISITATION) {
        float related = 1 / most_of(of[SIGNAL_RELATED], V);
        float popular = POPULARITY_SHARE / most_of(of[SIGNAL_DECAYED], V);

        for (int32_t v = 0; v < V; v++)
            m->scores[v] = of[SIGNAL_RELATED][v] * related + of[SIGNAL_DECAYED][v] * popular;
    } else if (arm == ARM_FTRL) {
        memcpy(m->scores, m->features[FUSION_FTRL], (size_t)V * sizeof *m->scores);
    } else if (arm == ARM_TWO_TOWER) {
        memcpy(m->scores, m->features[FUSION_TWO_TOWER], (size_t)V * sizeof *m->scores);
        put_untrained_last(job, m->scores, NULL);
    } else {
        memcpy(m->scores, of[plain[arm]], (size_t)V * sizeof *m->scores);
    }
}

/* Rank-biased overlap of two lists, truncated and scaled to 1 for equal ones.
 * Source: Webber, Moffat, Zobel 2010, equation 4. */
static float overlap_of(const int32_t *a, const int32_t *b, int32_t depth)
{
    double weight = 1, sum = 0, all = 0;
    int32_t common = 0;

    for (int32_t d = 1; d <= depth; d++, weight *= RBO_P) {
        for (int32_t i = 0; i < d; i++) {
            common += a[i] == b[d - 1];
            common += i < d - 1 && b[i] == a[d - 1];
        }
        sum += weight * common / d;
        all += weight;
    }
    return all > 0 ? (float)(sum / all) : 1;
}

/* ln(p / (1 - p)) of the top items by a softmax over all candidates. */
static void fill_logits(struct full_ranking *r, int arm, int64_t at, const struct member *m,
                        int32_t V, int32_t count, int32_t target)
{
    float *into = r->logit[arm] + at * FULL_RANKING_TOP;
    float top = count > 0 ? m->scores[m->order[0]] : 0;
    double total = 0;

    for (int32_t v = 1; v < V; v++)
        total += (double)expf(m->scores[v] - top); /* 0 of what is masked */
    r->target_at[arm][at] = -1;
    for (int32_t i = 0; i < FULL_RANKING_TOP; i++) {
        into[i] = i < count ? fusion_logit((double)m->scores[m->order[i]] - (double)top, total)
                            : NAN;
        if (i < count && m->order[i] == target)
            r->target_at[arm][at] = (int8_t)i;
    }
}

/* The list of model_cold with the best of the new items in its last place, unless there is one. */
static void rank_with_floor(const struct job *job, struct member *m, int64_t at)
{
    const float *lifetime = job->features.lifetime;
    const double last = FULL_RANKING_TOP - 1;
    struct full_ranking *r = job->ranking;
    double rank = r->rank[ARM_MODEL_COLD][at];
    int32_t best = 0,
            listed = r->candidates[at] < FULL_RANKING_TOP ? r->candidates[at] : FULL_RANKING_TOP;
    bool shown = false;

    for (int32_t i = 0; i < listed; i++)
        shown |= !(lifetime[m->order[i]] > 0);
    for (int32_t v = 1; v < job->features.items && !shown; v++)
        if (!(lifetime[v] > 0) && m->scores[v] > -INFINITY &&
            (best == 0 || m->scores[v] > m->scores[best]))
            best = v;
    if (best > 0) {
        rank = rank < last ? rank : r->among_new[at] < 1 ? last : rank + 1;
        if (listed == FULL_RANKING_TOP)
            m->order[FULL_RANKING_TOP - 1] = best;
    }
    r->rank[ARM_MODEL_FLOOR][at] = rank;
    for (int32_t i = 0; i < listed; i++)
        m->exposed[ARM_MODEL_FLOOR][m->order[i]]++;
}

static void rank_target(const struct job *job, struct member *m, int64_t at)
{
    const struct interactions *d = job->world->split->data;
    struct full_ranking *r = job->ranking;
    int64_t event = job->targets->at[at];
    int32_t tops[2][FULL_RANKING_TOP] = {{0}}, top_counts[2] = {0};
    const float *of[SIGNAL_COUNT];

    make_features(job, m, event, of);
    for (int arm = 0; arm < ARM_COUNT; arm++) {
        int32_t count;

        if (r->rank[arm] == NULL)
            continue;
        if (arm == ARM_MODEL_FLOOR) { /* after model_cold, whose scores and order are there */
            rank_with_floor(job, m, at);
            continue;
        }
        score_arm(job, m, (enum full_ranking_arm)arm, of);
        mask_training(job, m->scores, event);
        if (arm == ARM_POPULARITY)
            r->candidates[at] = candidates_of(m->scores, d->items);
        if (arm <= ARM_NETWORK || arm == ARM_MODEL_COLD || arm == ARM_MODEL_ENSEMBLE)
            leave_out_history(job, m->scores, event);
        r->rank[arm][at] = rank_of(m->scores, d->items, d->item[event]);
        pooled_auc_add(m->pooled[arm], m->scores, d->items, d->item[event]);
        if (arm == ARM_MODEL_COLD)
            r->among_new[at] = rank_among_new(job, m->scores, d->item[event]);
        count = select_top(m->order, m->scores, d->items, FULL_RANKING_TOP);
        sort_top(m->order, count, m->scores);
        for (int32_t i = 0; i < count; i++)
            m->exposed[arm][m->order[i]]++;
        if (arm < FULL_RANKING_LIKELY)
            fill_logits(r, arm, at, m, d->items, count, d->item[event]);
        if (arm <= ARM_NETWORK) {
            memcpy(tops[arm], m->order, (size_t)count * sizeof *tops[arm]);
            top_counts[arm] = count;
        }
    }
    if (r->rank[ARM_NETWORK] != NULL && top_counts[0] == top_counts[1]) {
        r->overlap[at] = overlap_of(tops[0], tops[1], top_counts[0]);
        r->same_first[at] = tops[0][0] == tops[1][0];
    }
}

static void rank_by_network(const struct job *job, struct member *m, int64_t at)
{
    const struct interactions *d = job->world->split->data;
    int64_t event = job->targets->at[at];

    mask_training(job, m->network, event);
    leave_out_history(job, m->network, event);
    job->ranks[at] = rank_of(m->network, d->items, d->item[event]);
}

static void put_lesson_row(const struct member *m, float *row, int32_t v, double stands_for)
{
    for (int k = 0; k < FUSION_FEATURES; k++)
        row[k] = m->features[k][v];
    row[FUSION_FEATURES] = (float)log(stands_for);
}

/* What the model may show: items of training, but for what the user has had. */
static void keep_candidates(const struct job *job, float *scores, int64_t event)
{
    for (int32_t v = 0; v < job->features.items; v++)
        scores[v] = job->features.lifetime[v] > 0 ? scores[v] : -INFINITY;
    mask_training(job, scores, event);
    leave_out_history(job, scores, event);
}

/* The target, its best rivals by the beginning weights, and a draw from the rest. */
static void write_lesson(const struct job *job, struct member *m, int64_t at)
{
    const struct interactions *d = job->world->split->data;
    int64_t event = job->targets->at[at];
    int32_t target = d->item[event], count, rows = 1, rest = 0, drawn;
    float *into = fusion_lesson_rows(job->lesson, at);
    const float *of[SIGNAL_COUNT];
    struct random random;

    fusion_lesson_set(job->lesson, at, 0);
    make_features(job, m, event, of);
    fusion_score(m->scores, &job->fusion, (const float *const *)m->features, d->items);
    keep_candidates(job, m->scores, event);
    if (!(m->scores[target] > -INFINITY))
        return; /* a miss whatever the weights are */
    put_lesson_row(m, into, target, 1);
    m->scores[target] = -INFINITY;
    count = select_top(m->order, m->scores, d->items, FUSION_CANDIDATES / 2);
    for (int32_t i = 0; i < count; i++) {
        put_lesson_row(m, into + (int64_t)rows++ * FUSION_STRIDE, m->order[i], 1);
        m->scores[m->order[i]] = -INFINITY;
    }
    for (int32_t v = 1; v < d->items; v++)
        if (m->scores[v] > -INFINITY)
            m->order[rest++] = v;
    drawn = rest < FUSION_CANDIDATES - rows ? rest : FUSION_CANDIDATES - rows;
    random_seed(&random, (uint64_t)event);
    for (int32_t i = 0; i < drawn; i++) {
        int32_t j = i + (int32_t)random_below(&random, (uint64_t)(rest - i)), v = m->order[j];

        m->order[j] = m->order[i];
        put_lesson_row(m, into + (int64_t)rows++ * FUSION_STRIDE, v, (double)rest / drawn);
    }
    fusion_lesson_set(job->lesson, at, rows);
}

/* NDCG of each contestant, among all items. */
static void judge_contestants(const struct job *job, struct member *m, int64_t at)
{
    const struct interactions *d = job->world->split->data;
    const struct fusion_contest *contest = job->contest;
    int64_t event = job->targets->at[at];
    float *into = contest->ndcg + at * FUSION_CONTESTANTS;
    const float *of[SIGNAL_COUNT];

    make_features(job, m, event, of);
    for (int k = 0; k < FUSION_CONTESTANTS; k++) {
        into[k] = 0;
        if (k == FUSION_FEATURES)
            fusion_score(m->scores, &contest->fold[at % contest->folds],
                         (const float *const *)m->features, d->items);
        else if (fusion_is_served(k))
            memcpy(m->scores, m->features[k], (size_t)d->items * sizeof *m->scores);
        else
            continue;
        keep_candidates(job, m->scores, event);
        into[k] = (float)ranking_metrics_ndcg(rank_of(m->scores, d->items, d->item[event]),
                                              FULL_RANKING_TOP);
    }
}

static bool stopped(const struct job *job)
{
    return job->world->stopping != NULL && job->world->stopping();
}

static void run_member(void *context, int index)
{
    struct job *job = context;
    struct member *m = &job->members[index];
    int64_t count = job->to - job->from, members = crew_members(job->world->crew);

    for (int64_t i = count * index / members; i < count * (index + 1) / members; i++) {
        int64_t at = job->from + i;

        m->status = score_network(job, m, job->targets->at[at]);
        if (m->status != OK || (i % LOOK_EVERY == 0 && stopped(job)))
            return;
        if (job->purpose == PURPOSE_RANK)
            rank_target(job, m, at);
        else if (job->purpose == PURPOSE_NETWORK)
            rank_by_network(job, m, at);
        else if (job->purpose == PURPOSE_CONTEST)
            judge_contestants(job, m, at);
        else
            write_lesson(job, m, at);
    }
}

static enum status job_begin(struct job *job, struct error *err)
{
    const struct full_ranking_world *w = job->world;
    enum status status = OK;

    if (w->fusion != NULL)
        job->fusion = *w->fusion;
    else
        fusion_begin(&job->fusion);
    job->features = (struct fusion_world){.items = w->split->data->items,
                                          .events = w->split->train_count,
                                          .lifetime = signals_lifetime(w->signals),
                                          .repeats = w->keep_seen && w->repeats};
    for (int i = 0; status == OK && i < crew_members(w->crew); i++)
        status = member_init(&job->members[i], job, err);
    return status;
}

/* In parts, between which progress is shown. Members begin each part where their view's clock is
 * behind: ranges of later parts are later for each of them. */
static enum status job_run(struct job *job, struct progress *progress, struct error *err)
{
    int64_t count = job->targets->count;

    for (int part = 0; part < PARTS; part++) {
        job->from = count * part / PARTS;
        job->to = count * (part + 1) / PARTS;
        crew_run(job->world->crew, run_member, job);
        for (int i = 0; i < crew_members(job->world->crew); i++) {
            if (job->members[i].status == OK)
                continue;
            *err = job->members[i].err;
            return job->members[i].status;
        }
        if (stopped(job))
            return error_set(err, ERR_CANCELLED, "stopped while ranking");
        if (progress != NULL)
            progress_show(progress, (double)job->to / (double)count, (uint64_t)job->to);
    }
    return OK;
}

static void job_end(struct job *job)
{
    for (int i = 0; i < crew_members(job->world->crew); i++)
        member_clear(&job->members[i]);
    free(job);
}

static struct job *job_create(const struct full_ranking_world *world,
                              const struct split_targets *targets, enum purpose purpose)
{
    struct job *job = calloc(1, sizeof *job);

    if (job == NULL)
        return NULL;
    job->world = world;
    job->targets = targets;
    job->purpose = purpose;
    return job;
}

enum status full_ranking_network(double *ranks, const struct full_ranking_world *world,
                                 const struct split_targets *targets, struct error *err)
{
    struct job *job = job_create(world, targets, PURPOSE_NETWORK);
    enum status status;

    if (job == NULL)
        return error_set(err, ERR_NOMEM, "no memory to rank");
    job->ranks = ranks;
    status = job_begin(job, err);
    if (status == OK)
        status = job_run(job, NULL, err);
    job_end(job);
    return status;
}

enum status full_ranking_lesson(struct fusion_lesson *lesson,
                                const struct full_ranking_world *world,
                                const struct split_targets *targets, struct error *err)
{
    struct job *job = job_create(world, targets, PURPOSE_LESSON);
    enum status status;

    if (job == NULL)
        return error_set(err, ERR_NOMEM, "no memory to rank");
    job->lesson = lesson;
    status = job_begin(job, err);
    if (status == OK)
        status = job_run(job, NULL, err);
    job_end(job);
    return status;
}

enum status full_ranking_contest(struct fusion_contest *contest,
                                 const struct full_ranking_world *world,
                                 const struct split_targets *targets, struct error *err)
{
    struct job *job = job_create(world, targets, PURPOSE_CONTEST);
    enum status status;

    if (job == NULL)
        return error_set(err, ERR_NOMEM, "no memory to rank");
    job->contest = contest;
    status = job_begin(job, err);
    if (status == OK)
        status = job_run(job, NULL, err);
    job_end(job);
    return status;
}

static enum status make_room(struct full_ranking *r, const struct full_ranking_world *w,
                             int64_t count, struct error *err)
{
    size_t V = (size_t)w->split->data->items, n = (size_t)count;
    bool all = true;

    r->count = count;
    for (int arm = 0; all && arm < ARM_COUNT; arm++) {
        if ((arm == ARM_NETWORK && w->model == NULL) || (arm == ARM_FTRL && w->ftrl == NULL) ||
            (arm == ARM_TWO_TOWER && w->two_tower == NULL) ||
            (arm == ARM_MODEL_ENSEMBLE && w->ensemble == NULL) ||
            ((arm == ARM_MODEL_COLD || arm == ARM_MODEL_FLOOR) && w->cold == NULL))
            continue;
        r->rank[arm] = calloc(n + 1, sizeof **r->rank);
        r->exposed[arm] = calloc(V, sizeof **r->exposed);
        all = r->rank[arm] != NULL && r->exposed[arm] != NULL;
        if (arm >= FULL_RANKING_LIKELY || !all)
            continue;
        r->logit[arm] = calloc(n + 1, FULL_RANKING_TOP * sizeof **r->logit);
        r->target_at[arm] = calloc(n + 1, sizeof **r->target_at);
        all = r->logit[arm] != NULL && r->target_at[arm] != NULL;
    }
    r->among_new = calloc(n + 1, sizeof *r->among_new);
    r->candidates = calloc(n + 1, sizeof *r->candidates);
    r->overlap = calloc(n + 1, sizeof *r->overlap);
    r->same_first = calloc(n + 1, sizeof *r->same_first);
    if (!all || r->among_new == NULL || r->candidates == NULL || r->overlap == NULL ||
        r->same_first == NULL)
        return error_set(err, ERR_NOMEM, "no memory to rank %lld targets", (long long)count);
    return OK;
}

/* What each member counted, together. */
static void gather(struct full_ranking *r, const struct job *job)
{
    const struct member *first = &job->members[0];

    for (int arm = 0; arm < ARM_COUNT; arm++) {
        r->pooled_auc[arm] = NAN;
        if (r->rank[arm] == NULL)
            continue;
        for (int i = 0; i < crew_members(job->world->crew); i++) {
            for (int32_t v = 0; v < job->features.items; v++)
                r->exposed[arm][v] += job->members[i].exposed[arm][v];
            if (i > 0)
                pooled_auc_merge(first->pooled[arm], job->members[i].pooled[arm]);
        }
        if (arm != ARM_MODEL_FLOOR) /* a list, not scores */
            r->pooled_auc[arm] = pooled_auc_value(first->pooled[arm]);
    }
}

enum status full_ranking_run(struct full_ranking *ranking, const struct full_ranking_world *world,
                             const struct split_targets *targets, struct progress *progress,
                             struct error *err)
{
    struct job *job = job_create(world, targets, PURPOSE_RANK);
    struct full_ranking made = {0};
    enum status status;

    *ranking = (struct full_ranking){0};
    if (job == NULL)
        return error_set(err, ERR_NOMEM, "no memory to rank");
    status = make_room(&made, world, targets->count, err);
    job->ranking = &made;
    if (status == OK)
        status = job_begin(job, err);
    if (status == OK)
        status = job_run(job, progress, err);
    if (status == OK)
        gather(&made, job);
    job_end(job);
    if (status == OK) {
        *ranking = made;
        made = (struct full_ranking){0};
    }
    full_ranking_clear(&made);
    return status;
}

void full_ranking_clear(struct full_ranking *ranking)
{
    for (int arm = 0; arm < ARM_COUNT; arm++) {
        free(ranking->rank[arm]);
        free(ranking->exposed[arm]);
    }
    for (int arm = 0; arm < FULL_RANKING_LIKELY; arm++) {
        free(ranking->logit[arm]);
        free(ranking->target_at[arm]);
    }
    free(ranking->among_new);
    free(ranking->candidates);
    free(ranking->overlap);
    free(ranking->same_first);
    *ranking = (struct full_ranking){0};
}
