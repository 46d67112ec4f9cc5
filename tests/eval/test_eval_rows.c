/*
 * Tests eval/eval_rows: rows and slices of ranks that are made up here, against the sums that
 * eval/eval.h says they are, over all targets.
 */
#include "eval/eval_inside.h"
#include "eval/ranking_metrics.h"

#include "tests/eval/eval_fixture.h"
#include "tests/test.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define TARGETS_MAX 64
#define NEAR        1e-6

/* Ranks of two arms: of the model, whose scores are probabilities, and of one to compare it with.
 */
struct made {
    struct eval_fixture data;
    struct full_ranking_world world;
    struct full_ranking ranking;
    double rank[2][TARGETS_MAX];
    int64_t exposed[2][EVAL_FIXTURE_ITEMS + 2];
    int32_t candidates[TARGETS_MAX];
    float overlap[TARGETS_MAX];
    uint8_t same_first[TARGETS_MAX], cold[EVAL_FIXTURE_ITEMS + 2];
    float logit[TARGETS_MAX * FULL_RANKING_TOP];
    int8_t target_at[TARGETS_MAX];
    double among_new[TARGETS_MAX];
};

static struct made m;
static struct eval_result result;
static const int arms[2] = {ARM_MODEL, ARM_POPULARITY};

/* What lies at the edges of the cuts, between two ranks, and a target that was masked. */
static const double edges[] = {0, .5, 1, 4, 5, 9, 9.5, 10, 19, 20, 49, 50, RANKING_METRICS_MISS};
#define EDGES (int64_t)(sizeof edges / sizeof *edges)

/* Behind the fixture's reading. */
static void make(void)
{
    struct full_ranking *r = &m.ranking;

    m.world = (struct full_ranking_world){.split = &m.data.split, .signals = m.data.signals};
    *r = (struct full_ranking){.count = m.data.split.test.count,
                               .candidates = m.candidates,
                               .overlap = m.overlap,
                               .same_first = m.same_first,
                               .among_new = m.among_new};
    CHECK(r->count > 0 && r->count <= TARGETS_MAX);
    memset(m.exposed, 0, sizeof m.exposed);
    for (int a = 0; a < 2; a++) {
        r->rank[arms[a]] = m.rank[a];
        r->exposed[arms[a]] = m.exposed[a];
        r->pooled_auc[arms[a]] = .5 + a;
    }
    r->logit[ARM_MODEL] = m.logit;
    r->target_at[ARM_MODEL] = m.target_at;
    for (int64_t i = 0; i < r->count; i++) {
        m.rank[0][i] = edges[i % EDGES];
        m.rank[1][i] = edges[(i * 5 + 3) % EDGES];
        m.candidates[i] = i % 7 == 0 ? 1 : 100;
        m.overlap[i] = (float)(i % 3) / 2;
        m.same_first[i] = i % 4 == 0;
        m.target_at[i] = m.rank[0][i] < FULL_RANKING_TOP ? (int8_t)m.rank[0][i] : -1;
        m.among_new[i] = RANKING_METRICS_MISS;
        for (int k = 0; k < FULL_RANKING_TOP; k++)
            m.logit[i * FULL_RANKING_TOP + k] = k < 8 ? logf(.1f / .9f) : NAN;
    }
}

static void fill(void)
{
    struct error err;

    result = (struct eval_result){0};
    result.platt[ARM_MODEL] = (struct platt){.a = 1, .b = 0};
    CHECK_STATUS(OK, eval_fill_rows(&result, &m.world, &m.ranking, &err));
}

static float lifetime_of(int64_t i)
{
    const struct split *split = &m.data.split;

    return signals_lifetime(m.data.signals)[split->data->item[split->test.at[i]]];
}

static void check_means(const struct eval_row *row, const double *rank)
{
    double n = (double)m.ranking.count, weights = 0, ips = 0, auc = 0, reciprocal = 0, map = 0;
    double most = 1;

    for (int32_t v = 1; v < m.data.data.items; v++)
        most = fmax(most, (double)signals_lifetime(m.data.signals)[v]);
    for (int c = 0; c < EVAL_CUTS; c++) {
        double hits = 0, ndcg = 0;

        for (int64_t i = 0; i < m.ranking.count; i++) {
            hits += rank[i] < eval_cuts[c];
            ndcg += rank[i] < eval_cuts[c] ? log(2) / log(rank[i] + 2) : 0;
        }
        CHECK_NEAR(hits / n, row->hit_rate[c], NEAR);
        CHECK_NEAR(ndcg / n, row->ndcg[c], NEAR);
    }
    for (int64_t i = 0; i < m.ranking.count; i++) {
        double weight = fmin(sqrt(most / fmax(1, (double)lifetime_of(i))), EVAL_CLIP);

        weights += weight;
        ips += rank[i] < 10 ? weight : 0;
        reciprocal += isfinite(rank[i]) ? 1 / (rank[i] + 1) : 0;
        map += rank[i] < 10 ? 1 / (rank[i] + 1) : 0;
        auc += isfinite(rank[i]) && m.candidates[i] > 1 ? 1 - rank[i] / 99 : 0;
    }
    CHECK_NEAR(ips / weights, row->hit_rate_ips, NEAR);
    CHECK_NEAR(reciprocal / n, row->reciprocal, NEAR);
    CHECK_NEAR(map / n, row->average_precision, NEAR);
    CHECK_NEAR(auc / n, row->auc_users, NEAR);
    CHECK_NEAR(row->hit_rate[EVAL_CUT_MAIN] / 10, row->precision, NEAR);
    CHECK_NEAR(2 * row->precision * row->hit_rate[EVAL_CUT_MAIN] /
                   (row->precision + row->hit_rate[EVAL_CUT_MAIN]),
               row->f1, NEAR);
}

TEST(eval_rows_are_the_means_over_all_targets)
{
    double overlap = 0, same = 0, masked = 0;

    eval_fixture_make(&m.data, SPLIT_LEAVE_ONE_OUT, 1);
    make();
    fill();
    CHECK_INT(2, result.rows_count);
    for (int a = 0; a < 2; a++) {
        CHECK_TEXT(full_ranking_arm_names[arms[a]], result.rows[a].name);
        CHECK_NEAR(.5 + a, result.rows[a].auc, 0);
        check_means(&result.rows[a], m.rank[a]);
    }
    for (int64_t i = 0; i < m.ranking.count; i++) {
        overlap += (double)m.overlap[i] / (double)m.ranking.count;
        same += (double)m.same_first[i] / (double)m.ranking.count;
        masked += !isfinite(m.rank[1][i]);
    }
    CHECK_NEAR(overlap, result.stability, NEAR);
    CHECK_NEAR(same, result.same_first, NEAR);
    CHECK_INT((int64_t)masked, result.masked);
    CHECK_INT(0, result.unknown);
    eval_fixture_clear(&m.data);
}

/* Of eight items shown to each each has .1; where the target is masked none could be the one. */
TEST(eval_rows_speak_of_probabilities_where_scores_are_some)
{
    double shown = 0, ones = 0;

    eval_fixture_make(&m.data, SPLIT_LEAVE_ONE_OUT, 1);
    make();
    fill();
    for (int64_t i = 0; i < m.ranking.count; i++) {
        shown += isfinite(m.rank[0][i]) ? 8 : 0;
        ones += m.target_at[i] >= 0 && m.target_at[i] < 8;
    }
    CHECK_NEAR(.1 * shown / ones, result.rows[0].predicted_over_seen, 1e-4);
    CHECK_NEAR(fabs(.1 - ones / shown), result.rows[0].calibration_error, .05);
    CHECK(result.rows[0].entropy > 0);
    CHECK(isnan(result.rows[1].entropy) && isnan(result.rows[1].calibration_error) &&
          isnan(result.rows[1].predicted_over_seen));
    eval_fixture_clear(&m.data);
}

TEST(eval_rows_know_one_item_for_all_from_all_items_alike)
{
    int32_t V;

    eval_fixture_make(&m.data, SPLIT_LEAVE_ONE_OUT, 1);
    make();
    V = m.data.data.items;
    m.exposed[0][3] = 70;
    for (int32_t v = 1; v < V; v++)
        m.exposed[1][v] = 5;
    fill();
    CHECK_NEAR(1.0 / (V - 1), result.rows[0].coverage, NEAR);
    CHECK_NEAR((V - 2.0) / (V - 1), result.rows[0].gini, NEAR);
    CHECK_NEAR(-log2(((double)signals_lifetime(m.data.signals)[3] + 1) /
                     (double)(m.data.split.train_count + V)),
               result.rows[0].novelty, NEAR);
    CHECK_NEAR(1, result.rows[1].coverage, NEAR);
    CHECK_NEAR(0, result.rows[1].gini, NEAR);
    memset(m.exposed, 0, sizeof m.exposed); /* nobody was shown anything */
    fill();
    for (int a = 0; a < 2; a++)
        CHECK(result.rows[a].coverage == 0 && result.rows[a].gini == 0 &&
              result.rows[a].novelty == 0);
    eval_fixture_clear(&m.data);
}

/* Each target is in one slice of histories and in one of items; slices weigh up to the row. */
TEST(eval_rows_slices_share_out_the_targets)
{
    eval_fixture_make(&m.data, SPLIT_LEAVE_ONE_OUT, 1);
    make();
    fill();
    CHECK_INT(EVAL_SLICES, result.slices_count);
    for (int from = 0; from < EVAL_SLICES; from += 4) {
        double hits = 0, ndcg = 0;
        int64_t targets = 0;

        for (int s = from; s < from + 4; s++) {
            targets += result.slices[s].targets;
            hits += (double)result.slices[s].targets * result.slices[s].hit_rate[ARM_POPULARITY];
            ndcg += (double)result.slices[s].targets * result.slices[s].ndcg[ARM_MODEL];
            CHECK(result.slices[s].hit_rate[ARM_FTRL] == 0); /* was not asked for */
        }
        CHECK_INT(m.ranking.count, targets);
        CHECK_NEAR(hits / (double)targets, result.rows[1].hit_rate[EVAL_CUT_MAIN], NEAR);
        CHECK_NEAR(ndcg / (double)targets, result.rows[0].ndcg[EVAL_CUT_MAIN], NEAR);
    }
    CHECK_INT(m.ranking.count, result.slices[1].targets); /* 13 events lie before each */
    CHECK_INT(0, result.slices[EVAL_SLICE_NEW].targets);
    CHECK(result.fairness_gap == 0); /* no slice has users enough */
    eval_fixture_clear(&m.data);
}

/* The target of a and of b was never trained; b's is found second among such items. */
TEST(eval_rows_count_targets_that_training_never_saw)
{
    eval_fixture_load(&m.data,
                      "a i1\na i2\na i3\na new1\nb i2\nb i1\nb i3\nb new2\n"
                      "c i3\nc i2\nc i2\nc i1\n",
                      SPLIT_LEAVE_ONE_OUT, 1);
    make();
    CHECK_INT(3, m.ranking.count);
    memset(m.cold, 0, sizeof m.cold);
    m.world.cold = m.cold;
    m.cold[interactions_item(&m.data.data, text_of("new2"))] = 1;
    for (int64_t i = 0; i < 3; i++)
        if (m.data.data.item[m.data.split.test.at[i]] ==
            interactions_item(&m.data.data, text_of("new2")))
            m.among_new[i] = 1;
    fill();
    CHECK_INT(2, result.unknown);
    CHECK_INT(2, result.slices[EVAL_SLICE_NEW].targets);
    CHECK_INT(2, result.among_new.targets);
    CHECK_INT(2, result.among_new.items);
    CHECK_INT(1, result.among_new.described);
    CHECK_NEAR(.5, result.among_new.hit_rate, NEAR);
    CHECK_NEAR(.5 * log(2) / log(3), result.among_new.ndcg, NEAR);
    CHECK_NEAR(1, result.among_new.chance, NEAR); /* ten places, two items */
    eval_fixture_clear(&m.data);
}

/* Half of the events are of h, a third of m: t and r are the tail. r was met once, a hundredth as
 * often as h, which is more than a target may weigh. */
TEST(eval_rows_find_the_thirds_of_the_events_and_clip_what_is_rare)
{
    static char content[4000];
    size_t used = 0;

    for (int i = 0; i < 240; i++)
        used += (size_t)snprintf(content + used, sizeof content - used, "z %s\n",
                                 i == 230  ? "r"
                                 : i < 80  ? "m"
                                 : i < 120 ? "t"
                                           : "h");
    (void)snprintf(content + used, sizeof content - used,
                   "a t\na t\na h\nb t\nb t\nb m\nc t\nc t\nc r\n");
    eval_fixture_load(&m.data, content, SPLIT_LEAVE_ONE_OUT, 1);
    make();
    fill();
    CHECK_INT(4, m.ranking.count);
    CHECK_INT(2, result.slices[4].targets); /* a's and z's h */
    CHECK_INT(1, result.slices[5].targets);
    CHECK_INT(1, result.slices[6].targets);
    CHECK_INT(3, result.slices[0].targets); /* histories of two events */
    CHECK_INT(1, result.slices[3].targets);
    for (int a = 0; a < 2; a++)
        check_means(&result.rows[a], m.rank[a]);
    eval_fixture_clear(&m.data);
}
