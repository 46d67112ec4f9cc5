/*
 * retrain/baselines.c - the rules of retrain/baselines.h over dense arrays.
 *
 * Decayed popularity is kept as sum exp((t_event - epoch) / tau): the factor exp(-(now - epoch) /
 * tau) is the same for all items, so neither order nor ratio needs it. The epoch moves before the
 * numbers grow too large.
 */
#include "retrain/baselines.h"

#include "eval/ranking_metrics.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define DECAY_MS (7.0 * 24 * 3600 * 1000)
#define DECAY_SPAN_MAX                                                                             \
    300.0 /* of exponents before the epoch moves; exp(300) is far from overflow */
#define REACH_LEARNT     5
#define REACH_ASKED      10
#define GAMMA            .9
#define BACKWARDS        .5
#define POPULARITY_SHARE .3
#define NO_ITEM          (-1)

/* C[h, :]: open addressing over items. */
struct covis_row {
    int32_t *items; /* (slots), NO_ITEM when free */
    double *weights;
    int slots, used;
};

struct user_items {
    int32_t *items; /* in the order they came, no repeats */
    int count, room;
};

struct baselines {
    /* Of each item (items_room); items_count of them are in use. */
    double *counts, *decayed;
    struct covis_row *covis;
    int items_count, items_room;
    struct user_items *users;
    int users_count;
    double epoch_ms;
    bool begun;
    double *related, *blended; /* (items_room) scratch: scores of one ranking */
};

#define X(id, name) name,
const char *const baseline_names[BASELINE_COUNT] = {BASELINE_LIST(X)};
#undef X

enum status baselines_create(struct baselines **baselines, struct error *err)
{
    *baselines = calloc(1, sizeof **baselines);
    if (*baselines == NULL)
        return error_set(err, ERR_NOMEM, "no memory for baselines");
    return OK;
}

void baselines_destroy(struct baselines *b)
{
    if (b == NULL)
        return;
    for (int i = 0; i < b->items_count; i++) {
        free(b->covis[i].items);
        free(b->covis[i].weights);
    }
    for (int u = 0; u < b->users_count; u++)
        free(b->users[u].items);
    free(b->counts);
    free(b->decayed);
    free(b->covis);
    free(b->users);
    free(b->related);
    free(b->blended);
    free(b);
}

/* Grows *array to room elements; what is new is zero. False: it is as it was. */
static bool grow(void *array, int count, int room, size_t each)
{
    void *old;
    char *larger;

    memcpy(&old, array, sizeof old);
    larger = realloc(old, (size_t)room * each);
    if (larger == NULL)
        return false;
    memset(larger + (size_t)count * each, 0, (size_t)(room - count) * each);
    memcpy(array, &larger, sizeof larger);
    return true;
}

static enum status make_room(struct baselines *b, int32_t user, int32_t item, struct error *err)
{
    if (item >= b->items_room) {
        int was = b->items_room, room = item < 512 ? 1024 : 2 * item;

        if (!grow(&b->counts, was, room, sizeof *b->counts) ||
            !grow(&b->decayed, was, room, sizeof *b->decayed) ||
            !grow(&b->covis, was, room, sizeof *b->covis) ||
            !grow(&b->related, was, room, sizeof *b->related) ||
            !grow(&b->blended, was, room, sizeof *b->blended))
            return error_set(err, ERR_NOMEM, "no memory for %d items", room);
        b->items_room = room;
    }
    if (user >= b->users_count) {
        int room = user < 512 ? 1024 : 2 * user;

        if (!grow(&b->users, b->users_count, room, sizeof *b->users))
            return error_set(err, ERR_NOMEM, "no memory for %d users", room);
        b->users_count = room;
    }
    return OK;
}

bool baselines_seen(const struct baselines *b, int32_t user, int32_t item)
{
    if (user >= b->users_count)
        return false;
    for (int i = 0; i < b->users[user].count; i++)
        if (b->users[user].items[i] == item)
            return true;
    return false;
}

static int slot_of(const struct covis_row *row, int32_t item)
{
    uint32_t slot = (uint32_t)item * 2654435761u & (uint32_t)(row->slots - 1);

    while (row->items[slot] != NO_ITEM && row->items[slot] != item)
        slot = (slot + 1) & (uint32_t)(row->slots - 1);
    return (int)slot;
}

static enum status covis_grow(struct covis_row *row, struct error *err)
{
    struct covis_row larger = {.slots = row->slots == 0 ? 8 : 2 * row->slots, .used = row->used};

    larger.items = malloc((size_t)larger.slots * sizeof *larger.items);
    larger.weights = calloc((size_t)larger.slots, sizeof *larger.weights);
    if (larger.items == NULL || larger.weights == NULL) {
        free(larger.items);
        free(larger.weights);
        return error_set(err, ERR_NOMEM, "no memory for %d co-visited items", larger.slots);
    }
    for (int slot = 0; slot < larger.slots; slot++)
        larger.items[slot] = NO_ITEM;
    for (int slot = 0; slot < row->slots; slot++) {
        if (row->items[slot] == NO_ITEM)
            continue;
        int to = slot_of(&larger, row->items[slot]);
        larger.items[to] = row->items[slot];
        larger.weights[to] = row->weights[slot];
    }
    free(row->items);
    free(row->weights);
    *row = larger;
    return OK;
}

static enum status covis_add(struct baselines *b, int32_t from, int32_t to, double weight,
                             struct error *err)
{
    struct covis_row *row = &b->covis[from];

    if (2 * (row->used + 1) > row->slots) {
        enum status status = covis_grow(row, err);

        if (status != OK)
            return status;
    }
    int slot = slot_of(row, to);
    row->used += row->items[slot] == NO_ITEM;
    row->items[slot] = to;
    row->weights[slot] += weight;
    return OK;
}

/* The two scores that depend on the user, of all items. */
static void score_all(struct baselines *b, const struct user_items *mine)
{
    double factor = 1, related_max = 0, decayed_max = 0;

    memset(b->related, 0, (size_t)b->items_count * sizeof *b->related);
    for (int k = 0; k < REACH_ASKED && k < mine->count; k++, factor *= GAMMA) {
        const struct covis_row *row = &b->covis[mine->items[mine->count - 1 - k]];

        for (int slot = 0; slot < row->slots; slot++)
            if (row->items[slot] != NO_ITEM)
                b->related[row->items[slot]] += factor * row->weights[slot];
    }
    for (int i = 0; i < b->items_count; i++) {
        if (b->related[i] > 0)
            b->related[i] /= sqrt(1 + b->counts[i]);
        related_max = b->related[i] > related_max ? b->related[i] : related_max;
        decayed_max = b->decayed[i] > decayed_max ? b->decayed[i] : decayed_max;
    }
    double scale = related_max > 0 ? 1 / related_max : 0;
    double share = decayed_max > 0 ? POPULARITY_SHARE / decayed_max : 0;
    for (int i = 0; i < b->items_count; i++)
        b->blended[i] = b->related[i] * scale + b->decayed[i] * share;
}

/* Rank of item by scores among the items seen, without the user's own. */
static double rank_by(const struct baselines *b, const double *scores, int32_t item,
                      const struct user_items *mine)
{
    int64_t better = 0, equal = 0;
    double target = scores[item];

    for (int i = 0; i < b->items_count; i++) {
        better += scores[i] > target && b->counts[i] > 0;
        equal += scores[i] == target && b->counts[i] > 0;
    }
    for (int i = 0; i < mine->count; i++) {
        better -= scores[mine->items[i]] > target;
        equal -= scores[mine->items[i]] == target;
    }
    return ranking_metrics_rank(better, equal);
}

enum status baselines_rank(struct baselines *b, int32_t user, int32_t item,
                           double ranks[BASELINE_COUNT], struct error *err)
{
    enum status status = make_room(b, user, item, err);

    if (status != OK)
        return status;
    for (int baseline = 0; baseline < BASELINE_COUNT; baseline++)
        ranks[baseline] = RANKING_METRICS_MISS;
    if (b->counts[item] == 0)
        return OK;
    const struct user_items *mine = &b->users[user];
    score_all(b, mine);
    ranks[BASELINE_POPULARITY] = rank_by(b, b->counts, item, mine);
    ranks[BASELINE_POPULARITY_7D] = rank_by(b, b->decayed, item, mine);
    ranks[BASELINE_COVISITATION] = rank_by(b, b->blended, item, mine);
    ranks[BASELINE_COVISITATION_ONLY] = rank_by(b, b->related, item, mine);
    return OK;
}

static void count_decayed(struct baselines *b, int32_t item, int64_t time_ms)
{
    double span;

    if (!b->begun)
        b->epoch_ms = (double)time_ms;
    b->begun = true;
    span = ((double)time_ms - b->epoch_ms) / DECAY_MS;
    if (span > DECAY_SPAN_MAX) {
        for (int i = 0; i < b->items_count; i++)
            b->decayed[i] *= exp(-span);
        b->epoch_ms = (double)time_ms;
        span = 0;
    }
    b->decayed[item] += exp(span);
}

enum status baselines_learn(struct baselines *b, int32_t user, int32_t item, int64_t time_ms,
                            struct error *err)
{
    enum status status = make_room(b, user, item, err);
    struct user_items *mine;

    if (status != OK || baselines_seen(b, user, item))
        return status;
    if (item >= b->items_count)
        b->items_count = item + 1;
    mine = &b->users[user];
    if (mine->count == mine->room) {
        int room = mine->room == 0 ? 8 : 2 * mine->room;

        if (!grow(&mine->items, mine->room, room, sizeof *mine->items))
            return error_set(err, ERR_NOMEM, "no memory for a user's %d items", room);
        mine->room = room;
    }
    for (int d = 1; d <= REACH_LEARNT && d <= mine->count; d++) {
        int32_t before = mine->items[mine->count - d];

        status = covis_add(b, before, item, 1.0 / d, err);
        if (status == OK)
            status = covis_add(b, item, before, BACKWARDS / d, err);
        if (status != OK)
            return status;
    }
    mine->items[mine->count++] = item;
    b->counts[item]++;
    count_decayed(b, item, time_ms);
    return OK;
}
