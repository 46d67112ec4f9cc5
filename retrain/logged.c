/* retrain/logged.c - rows of lists as they come, and sums over them at the end. */
#include "retrain/logged.h"

#include "eval/ranking_metrics.h"
#include "features/batch_builder.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define PLATT_EVERY    2000   /* rows between two fits */
#define PLATT_ROWS     20000  /* newest ones that it is fitted to */
#define LOOK_CLICKS    20     /* below so many nothing is said of positions */
#define LOOK_ROWS      200000 /* newest ones that it is learnt from */
#define LOOK_ROUNDS    40
#define BOOTSTRAP_SEED 20130228

struct row {
    float score[LOGGED_ARMS];
    float label;
    float logit;       /* the model's score with the bias of its position */
    float probability; /* NAN: there was no pair yet */
    int32_t list;
    int32_t position; /* from 0 */
};

struct logged {
    struct row *rows;
    int64_t rows_count, rows_room;
    uint64_t *users; /* (lists_count) */
    int64_t *starts; /* (lists_count) first row of each */
    int64_t lists_count, lists_room;
    struct platt platt;
    int64_t fitted_at; /* rows; 0: no pair yet */
    struct batch_builder *builder;
    int builder_rows;
    struct model_workspace *workspace;
};

#define X(id, name) name,
const char *const logged_arm_names[LOGGED_ARMS] = {LOGGED_ARM_LIST(X)};
#undef X

enum status logged_create(struct logged **logged, struct error *err)
{
    struct logged *l = calloc(1, sizeof *l);

    *logged = NULL;
    if (l != NULL) {
        l->platt = (struct platt){1, 0};
        l->workspace = model_workspace_create();
    }
    if (l == NULL || l->workspace == NULL) {
        logged_destroy(l);
        return error_set(err, ERR_NOMEM, "no memory for logged lists");
    }
    *logged = l;
    return OK;
}

void logged_destroy(struct logged *l)
{
    if (l == NULL)
        return;
    free(l->rows);
    free(l->users);
    free(l->starts);
    batch_builder_destroy(l->builder);
    model_workspace_destroy(l->workspace);
    free(l);
}

/* ---- one list ---- */

/* Grows *array, of *room elements, until it holds count. */
static enum status reserve(void *array, int64_t *room, int64_t count, size_t each,
                           struct error *err)
{
    int64_t wanted = *room == 0 ? 1024 : *room;
    void *old, *grown;

    while (wanted < count)
        wanted *= 2;
    if (wanted == *room)
        return OK;
    memcpy(&old, array, sizeof old);
    grown = realloc(old, (size_t)wanted * each);
    if (grown == NULL)
        return error_set(err, ERR_NOMEM, "no memory for %lld logged rows", (long long)wanted);
    memcpy(array, &grown, sizeof grown);
    *room = wanted;
    return OK;
}

static enum status make_room(struct logged *l, int rows, struct error *err)
{
    int64_t room = l->lists_room;
    enum status status = reserve(&l->rows, &l->rows_room, l->rows_count + rows, sizeof *l->rows,
                                 err);

    if (status == OK)
        status = reserve(&l->users, &room, l->lists_count + 1, sizeof *l->users, err);
    if (status == OK)
        status = reserve(&l->starts, &l->lists_room, l->lists_count + 1, sizeof *l->starts, err);
    return status;
}

/* The model's scores of the rows, into scores (LIST_ROWS_MAX). */
static enum status score(struct logged *l, const struct list *list,
                         const struct item_tables *tables, const struct model *model, float *scores,
                         struct error *err)
{
    struct batch_builder_options options = {.history_max = model_history_max(model),
                                            .rows_max = model_config(model)->V};
    struct batch_request request = list_request(list);
    enum status status = OK;

    if (l->builder == NULL || l->builder_rows != options.rows_max) {
        batch_builder_destroy(l->builder);
        l->builder = NULL;
        l->builder_rows = options.rows_max;
        status = batch_builder_create(&l->builder, &options, err);
    }
    if (status != OK)
        return status;
    batch_builder_reset(l->builder);
    status = batch_builder_add(l->builder, tables, &request, err);
    return status == OK
               ? model_score(model, l->workspace, batch_builder_batch(l->builder), scores, err)
               : status;
}

/* The biases of positions 0, 1, ...; NULL when the model has none. */
static const float *position_biases(struct model *model)
{
    for (int32_t i = 0; i < model_tensors_count(model); i++) {
        struct model_tensor tensor = model_tensor(model, i);

        if (strcmp(tensor.name, "position") == 0)
            return tensor.data;
    }
    return NULL;
}

static void refit(struct logged *l)
{
    int64_t from = l->rows_count > PLATT_ROWS ? l->rows_count - PLATT_ROWS : 0;
    int64_t count = l->rows_count - from;
    float *scores = malloc((size_t)count * sizeof *scores);
    float *labels = malloc((size_t)count * sizeof *labels);
    struct platt platt;

    for (int64_t i = 0; scores != NULL && labels != NULL && i < count; i++) {
        scores[i] = l->rows[from + i].logit;
        labels[i] = l->rows[from + i].label;
    }
    /* Without memory, or with rows of one kind alone, the pair before it goes on. */
    if (scores != NULL && labels != NULL && platt_fit(&platt, scores, labels, count)) {
        l->platt = platt;
        l->fitted_at = l->rows_count;
    }
    free(scores);
    free(labels);
}

static float covisitation_of(const int64_t *raw)
{
    return (float)((double)raw[RAW_COVIS] / sqrt(1.0 + (double)raw[RAW_CLICKS]));
}

enum status logged_add(struct logged *l, const struct list *list, const struct item_tables *tables,
                       struct model *model, struct error *err)
{
    float scores[LIST_ROWS_MAX];
    const float *bias;
    enum status status;

    if (model == NULL)
        return OK;
    status = make_room(l, list->rows_count, err);
    if (status == OK)
        status = score(l, list, tables, model, scores, err);
    bias = position_biases(model);
    for (int i = 0; i < list->rows_count && status == OK; i++) {
        const int64_t *raw = list->raw + (ptrdiff_t)i * RAW_COLUMNS;
        int at = i + 1 < BATCH_POSITION_MAX ? i + 1 : BATCH_POSITION_MAX;
        float logit = scores[i] + (bias == NULL ? 0 : bias[at]);
        double z = (double)l->platt.a * (double)logit + (double)l->platt.b;

        l->rows[l->rows_count + i] = (struct row){
            .score = {scores[i], (float)-i, (float)raw[RAW_POP_7D], covisitation_of(raw)},
            .label = list->labels[i] > 0,
            .logit = logit,
            .probability = l->fitted_at > 0 ? (float)(1 / (1 + exp(-z))) : NAN,
            .list = (int32_t)l->lists_count,
            .position = i < LOGGED_POSITIONS ? i : LOGGED_POSITIONS - 1};
    }
    if (status != OK)
        return status;
    l->users[l->lists_count] = list->user;
    l->starts[l->lists_count++] = l->rows_count;
    int64_t before = l->rows_count;
    l->rows_count += list->rows_count;
    if (before / PLATT_EVERY != l->rows_count / PLATT_EVERY)
        refit(l);
    return OK;
}

/* ---- positions ---- */

/* A click is a look and a liking; what was not clicked was not looked at, or not liked. One round:
 * how likely is each of the two for each row by what is believed, and what is to be believed then.
 */
static void look_round(const struct row *rows, int64_t count, const float *scores, float *liked,
                       double look[LOGGED_POSITIONS], struct platt *liking)
{
    double looked[LOGGED_POSITIONS] = {0}, shown[LOGGED_POSITIONS] = {0};

    for (int64_t i = 0; i < count; i++) {
        int p = rows[i].position;
        double z = (double)liking->a * (double)scores[i] + (double)liking->b;
        double like = 1 / (1 + exp(-z)), neither = 1 - look[p] * like;
        bool clicked = rows[i].label > 0;

        liked[i] = clicked ? 1 : (float)((1 - look[p]) * like / neither);
        looked[p] += clicked ? 1 : look[p] * (1 - like) / neither;
        shown[p]++;
    }
    for (int p = 0; p < LOGGED_POSITIONS; p++)
        look[p] = shown[p] > 0 ? looked[p] / shown[p] : look[p];
    (void)platt_fit_chances(liking, scores, liked, count); /* else nothing is known: (1, 0) */
}

static enum status find_look(const struct logged *l, struct logged_result *r, struct error *err)
{
    int64_t from = l->rows_count > LOOK_ROWS ? l->rows_count - LOOK_ROWS : 0;
    int64_t count = l->rows_count - from, clicks = 0;
    float *scores = malloc(((size_t)count + 1) * sizeof *scores);
    float *liked = malloc(((size_t)count + 1) * sizeof *liked);
    struct platt liking = {0, 0};
    enum status status = OK;
    double first;

    if (scores == NULL || liked == NULL)
        status = error_set(err, ERR_NOMEM, "no memory for positions of %lld rows",
                           (long long)count);
    for (int64_t i = 0; status == OK && i < count; i++) {
        const struct row *row = &l->rows[from + i];

        scores[i] = row->score[LOGGED_MODEL];
        clicks += row->label > 0;
        r->positions = row->position + 1 > r->positions ? row->position + 1 : r->positions;
    }
    for (int p = 0; p < LOGGED_POSITIONS; p++)
        r->look[p] = .5;
    for (int n = 0; status == OK && clicks >= LOOK_CLICKS && n < LOOK_ROUNDS; n++)
        look_round(l->rows + from, count, scores, liked, r->look, &liking);
    first = r->look[0];
    for (int p = 0; p < LOGGED_POSITIONS; p++)
        r->look[p] = r->look[p] / first;
    free(scores);
    free(liked);
    return status;
}

/* ---- orders ---- */

/* What was made of each judged list and each click, for one arm. */
struct columns {
    float *ndcg;          /* (judged) */
    float *ips;           /* (clicks) weight * NDCG of the click, over the mean weight */
    uint64_t *list_user;  /* (judged) */
    uint64_t *click_user; /* (clicks) */
};

static double rank_in_list(const struct row *rows, int64_t count, int arm, int64_t target)
{
    int64_t better = 0, equal = 0;
    float own = rows[target].score[arm];

    for (int64_t i = 0; i < count; i++) {
        better += rows[i].score[arm] > own;
        equal += rows[i].score[arm] == own;
    }
    return ranking_metrics_rank(better, equal > 0 ? equal : 1);
}

static double weight_of(const struct logged_result *r, const struct row *row)
{
    double weight = r->look[0] / r->look[row->position];

    return weight < LOGGED_CLIP ? weight : LOGGED_CLIP; /* a look of 0 is infinite: clipped */
}

static int64_t end_of(const struct logged *l, int64_t list)
{
    return list + 1 < l->lists_count ? l->starts[list + 1] : l->rows_count;
}

static void judge_arm(const struct logged *l, int arm, struct logged_result *r,
                      struct columns *columns)
{
    struct logged_row *row = &r->arms[arm];
    double weights = 0;
    int64_t judged = 0, clicks = 0;

    for (int64_t list = 0; list < l->lists_count; list++) {
        const struct row *rows = l->rows + l->starts[list];
        int64_t count = end_of(l, list) - l->starts[list], clicked = 0;
        float scores[LIST_ROWS_MAX], labels[LIST_ROWS_MAX];

        for (int64_t i = 0; i < count; i++) {
            scores[i] = rows[i].score[arm];
            labels[i] = rows[i].label;
            clicked += rows[i].label > 0;
        }
        if (clicked == 0 || clicked == count)
            continue; /* every order is as good */
        columns->list_user[judged] = l->users[list];
        columns->ndcg[judged] = (float)ranking_metrics_list_ndcg(scores, labels, (int)count,
                                                                 LOGGED_K);
        row->ndcg += (double)columns->ndcg[judged++];
        for (int64_t i = 0; i < count; i++) {
            double weight, rank;

            if (!(rows[i].label > 0))
                continue;
            weight = weight_of(r, &rows[i]);
            rank = rank_in_list(rows, count, arm, i);
            weights += weight;
            row->ndcg_ips += weight * ranking_metrics_ndcg(rank, LOGGED_K);
            row->reciprocal_ips += weight * ranking_metrics_reciprocal(rank);
            columns->click_user[clicks] = l->users[list];
            columns->ips[clicks++] = (float)(weight * ranking_metrics_ndcg(rank, LOGGED_K));
        }
    }
    r->judged = judged;
    row->ndcg = judged > 0 ? row->ndcg / (double)judged : NAN;
    row->ndcg_ips = weights > 0 ? row->ndcg_ips / weights : NAN;
    row->reciprocal_ips = weights > 0 ? row->reciprocal_ips / weights : NAN;
    for (int64_t i = 0; i < clicks; i++)
        columns->ips[i] *= (float)((double)clicks / weights);
    r->clicks = clicks;
}

/* ---- areas ---- */

struct by_user {
    uint64_t user;
    int64_t row;
};

static int compare_users(const void *a, const void *b)
{
    const struct by_user *x = a, *y = b;

    if (x->user != y->user)
        return x->user < y->user ? -1 : 1;
    return (x->row > y->row) - (x->row < y->row);
}

/* AUC of all rows, and of each user's, weighted by their number. */
static enum status fill_areas(const struct logged *l, struct logged_result *r, struct error *err)
{
    size_t n = (size_t)l->rows_count + 1;
    struct by_user *order = malloc(n * sizeof *order);
    float *scores = malloc(n * sizeof *scores), *labels = malloc(n * sizeof *labels);
    enum status status = OK;

    if (order == NULL || scores == NULL || labels == NULL)
        status = error_set(err, ERR_NOMEM, "no memory for %zu logged rows", n);
    for (int64_t i = 0; status == OK && i < l->rows_count; i++)
        order[i] = (struct by_user){l->users[l->rows[i].list], i};
    if (status == OK)
        qsort(order, (size_t)l->rows_count, sizeof *order, compare_users);
    for (int arm = 0; status == OK && arm < LOGGED_ARMS; arm++) {
        double sum = 0, weight = 0;

        for (int64_t i = 0; i < l->rows_count; i++) {
            scores[i] = l->rows[order[i].row].score[arm];
            labels[i] = l->rows[order[i].row].label;
        }
        r->arms[arm].auc = ranking_metrics_auc(scores, labels, l->rows_count);
        for (int64_t from = 0, to; from < l->rows_count; from = to) {
            double auc;

            for (to = from + 1; to < l->rows_count && order[to].user == order[from].user;)
                to++;
            auc = ranking_metrics_auc(scores + from, labels + from, to - from);
            if (isnan(auc))
                continue; /* all or nothing was clicked */
            sum += auc * (double)(to - from);
            weight += (double)(to - from);
        }
        r->arms[arm].gauc = weight > 0 ? sum / weight : NAN;
    }
    free(order);
    free(scores);
    free(labels);
    return status;
}

/* ---- probabilities ---- */

static enum status fill_probabilities(const struct logged *l, struct logged_result *r,
                                      struct error *err)
{
    size_t n = (size_t)l->rows_count + 1;
    float *p = malloc(n * sizeof *p), *labels = malloc(n * sizeof *labels);
    int64_t count = 0;

    if (p == NULL || labels == NULL) {
        free(p);
        free(labels);
        return error_set(err, ERR_NOMEM, "no memory for %zu logged rows", n);
    }
    for (int64_t i = 0; i < l->rows_count; i++) {
        if (isnan(l->rows[i].probability))
            continue;
        p[count] = l->rows[i].probability;
        labels[count++] = l->rows[i].label;
    }
    r->predicted = count;
    r->platt = l->platt;
    r->entropy = ranking_metrics_ne(p, labels, count);
    r->calibration_error = ranking_metrics_ece(p, labels, count, RANKING_METRICS_ECE_BINS);
    r->predicted_over_seen = ranking_metrics_pcoc(p, labels, count);
    free(p);
    free(labels);
    return OK;
}

/* ---- the result ---- */

static bool columns_init(struct columns *c, size_t lists, size_t rows)
{
    c->ndcg = calloc(lists, sizeof *c->ndcg);
    c->ips = calloc(rows, sizeof *c->ips);
    c->list_user = calloc(lists, sizeof *c->list_user);
    c->click_user = calloc(rows, sizeof *c->click_user);
    return c->ndcg != NULL && c->ips != NULL && c->list_user != NULL && c->click_user != NULL;
}

static void columns_clear(struct columns *c)
{
    free(c->ndcg);
    free(c->ips);
    free(c->list_user);
    free(c->click_user);
}

static enum status judge_all(const struct logged *l, struct logged_result *r, struct error *err)
{
    size_t lists = (size_t)l->lists_count + 1, rows = (size_t)l->rows_count + 1;
    struct columns model = {0}, other = {0};
    bool room = columns_init(&model, lists, rows) && columns_init(&other, lists, rows);
    enum status status = room ? OK : error_set(err, ERR_NOMEM, "no memory for logged lists");

    if (status == OK)
        judge_arm(l, LOGGED_MODEL, r, &model);
    for (int arm = LOGGED_MODEL + 1; status == OK && arm < LOGGED_ARMS; arm++) {
        judge_arm(l, arm, r, &other);
        status = bootstrap_paired(model.ndcg, other.ndcg, model.list_user, r->judged,
                                  BOOTSTRAP_ROUNDS, BOOTSTRAP_SEED, &r->arms[arm].ndcg_gain, err);
        if (status == OK)
            status = bootstrap_paired(model.ips, other.ips, model.click_user, r->clicks,
                                      BOOTSTRAP_ROUNDS, BOOTSTRAP_SEED, &r->arms[arm].ips_gain,
                                      err);
    }
    columns_clear(&model);
    columns_clear(&other);
    return status;
}

enum status logged_result(const struct logged *l, double position_bias, struct logged_result *r,
                          struct error *err)
{
    enum status status;

    *r = (struct logged_result){.lists = l->lists_count, .rows = l->rows_count};
    status = find_look(l, r, err);
    for (int p = 0; status == OK && position_bias >= 0 && p < LOGGED_POSITIONS; p++)
        r->look[p] = pow(1.0 + p, -position_bias);
    if (status == OK)
        status = judge_all(l, r, err);
    if (status == OK)
        status = fill_areas(l, r, err);
    return status == OK ? fill_probabilities(l, r, err) : status;
}
