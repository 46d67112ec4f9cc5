/*
 * features/world.c - the truth: looks, tastes, what a user is after, and what follows from it.
 *
 * Everything that depends on time is computed from it, never stepped, so any moment can be asked
 * for in any order. Looks are unit vectors: the products below are cosines.
 */
#include "features/world.h"

#include "features/world_inside.h"
#include "ops/hash.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HOUR_MS        INT64_C(3600000)
#define BEGIN_MS       INT64_C(1704067200000) /* 2024-01-01 */
#define ITEM_OWN       0.6f                   /* of an item's look that is not its category's */
#define CHAIN_MAX      8                      /* steps back to an epoch of the user's own choice */
#define CHANCE_SLOPE   4.0 /* with the threshold: a row that does not fit is clicked in 1 of 100 */
#define CHANCE_AT      1.15
#define PERIOD_MIN_MS  (6 * HOUR_MS)
#define PERIOD_SPAN_MS (42 * HOUR_MS)
#define SALT_INTENT    0x1b873593u

void world_options_init(struct world_options *options)
{
    *options = (struct world_options){
        .seed = 1,
        .users = 2000,
        .items = 1000,
        .categories = 20,
        .taste = 0.8,
        .intent = 0.9,
        .appeal = 0.25,
        .position_bias = 0.5,
        .unlisted = 0.5,
        .shift_share = 0.7,
        .begin_ms = BEGIN_MS,
        .shift_at_ms = INT64_MAX,
        .intent_ms = 2 * HOUR_MS,
        .sessions_per_s = 5,
    };
}

static bool in_range(const struct world_options *o)
{
    return o->users >= 1 && o->users <= WORLD_USERS_MAX && o->items >= WORLD_ROWS_MAX &&
           o->items <= WORLD_ITEMS_MAX && o->categories >= 2 && o->categories <= 1024 &&
           o->shift_share >= 0 && o->shift_share <= 1 && o->intent_ms > 0 &&
           o->sessions_per_s > 0 && o->position_bias >= 0 && o->unlisted >= 0 && o->unlisted <= 1 &&
           o->begin_ms >= 0 && isfinite(o->taste) && isfinite(o->intent) && isfinite(o->appeal);
}

static void unit_vector(struct random *random, float *v)
{
    double sum = 0;

    for (int d = 0; d < WORLD_DIMS; d++) {
        v[d] = (float)random_normal(random);
        sum += (double)v[d] * v[d];
    }
    for (int d = 0; d < WORLD_DIMS; d++)
        v[d] = (float)(v[d] / sqrt(sum));
}

static void normalise(float *v)
{
    double sum = 1e-12;

    for (int d = 0; d < WORLD_DIMS; d++)
        sum += (double)v[d] * v[d];
    for (int d = 0; d < WORLD_DIMS; d++)
        v[d] = (float)(v[d] / sqrt(sum));
}

static void make_categories(struct world *w, struct random *random)
{
    int C = w->o.categories;

    for (int c = 0; c < C; c++) {
        unit_vector(random, w->centres + (size_t)c * WORLD_DIMS);
        w->next[c] = c;
    }
    /* Sattolo's shuffle: one cycle through all categories, so that no chain stands still. */
    for (int c = C - 1; c > 0; c--) {
        int other = (int)random_below(random, (uint64_t)c);
        int kept = w->next[c];

        w->next[c] = w->next[other];
        w->next[other] = kept;
    }
}

static void make_items(struct world *w, struct random *random)
{
    for (int i = 0; i < w->o.items; i++) {
        float own[WORLD_DIMS], *look = w->looks + (size_t)i * WORLD_DIMS;

        w->category[i] = (int)random_below(random, (uint64_t)w->o.categories);
        unit_vector(random, own);
        for (int d = 0; d < WORLD_DIMS; d++)
            look[d] = w->centres[(size_t)w->category[i] * WORLD_DIMS + d] + ITEM_OWN * own[d];
        normalise(look);
        w->appeal[i].level = (float)random_normal(random);
        w->appeal[i].period_ms = PERIOD_MIN_MS +
                                 (int64_t)random_below(random, (uint64_t)PERIOD_SPAN_MS);
        w->appeal[i].phase_ms = (int64_t)random_below(random, (uint64_t)PERIOD_SPAN_MS);
        w->after[i] = i;
    }
}

/* The items of the shift stand in one cycle: each takes the look and appeal of the next. */
static void make_shift(struct world *w, struct random *random)
{
    int first = -1, last = -1;

    for (int i = 0; i < w->o.items; i++) {
        if (random_unit(random) >= w->o.shift_share)
            continue;
        if (last >= 0)
            w->after[last] = i;
        else
            first = i;
        last = i;
    }
    if (last >= 0)
        w->after[last] = first;
}

static void make_users(struct world *w, struct random *random)
{
    for (int u = 0; u < w->o.users; u++) {
        struct world_user *user = &w->users[u];
        float own[WORLD_DIMS];

        user->liked[0] = (int)random_below(random, (uint64_t)w->o.categories);
        user->liked[1] = (int)random_below(random, (uint64_t)w->o.categories);
        user->phase_ms = (int64_t)random_below(random, (uint64_t)w->o.intent_ms);
        unit_vector(random, own);
        for (int d = 0; d < WORLD_DIMS; d++)
            user->taste[d] = w->centres[(size_t)user->liked[0] * WORLD_DIMS + d] +
                             0.7f * w->centres[(size_t)user->liked[1] * WORLD_DIMS + d] +
                             0.3f * own[d];
        normalise(user->taste);
    }
}

enum status world_create(struct world **world, const struct world_options *options,
                         struct error *err)
{
    struct world *w;
    struct random random;

    assert(world != NULL && options != NULL && err != NULL);
    *world = NULL;
    if (!in_range(options))
        return error_set(err, ERR_LIMIT, "a world of %d users, %d items, %d categories cannot be",
                         options->users, options->items, options->categories);
    w = calloc(1, sizeof *w);
    if (w == NULL)
        return error_set(err, ERR_NOMEM, "no memory for a world");
    w->o = *options;
    w->centres = calloc((size_t)options->categories, sizeof *w->centres * WORLD_DIMS);
    w->next = calloc((size_t)options->categories, sizeof *w->next);
    w->looks = calloc((size_t)options->items, sizeof *w->looks * WORLD_DIMS);
    w->category = calloc((size_t)options->items, sizeof *w->category);
    w->appeal = calloc((size_t)options->items, sizeof *w->appeal);
    w->after = calloc((size_t)options->items, sizeof *w->after);
    w->users = calloc((size_t)options->users, sizeof *w->users);
    if (w->centres == NULL || w->next == NULL || w->looks == NULL || w->category == NULL ||
        w->appeal == NULL || w->after == NULL || w->users == NULL) {
        world_destroy(w);
        return error_set(err, ERR_NOMEM, "no memory for a world");
    }
    random_seed(&random, options->seed);
    make_categories(w, &random);
    make_items(w, &random);
    make_shift(w, &random);
    make_users(w, &random);
    *world = w;
    return OK;
}

void world_destroy(struct world *world)
{
    if (world == NULL)
        return;
    free(world->centres);
    free(world->next);
    free(world->looks);
    free(world->category);
    free(world->appeal);
    free(world->after);
    free(world->users);
    free(world);
}

void world_user_name(int user, char name[WORLD_NAME_BYTES])
{
    (void)snprintf(name, WORLD_NAME_BYTES, "u%06d", user);
}

void world_item_name(int item, char name[WORLD_NAME_BYTES])
{
    (void)snprintf(name, WORLD_NAME_BYTES, "i%06d", item);
}

static int index_of(struct text name, char kind, int count)
{
    int index = 0;

    if (name.bytes < 7 || name.bytes > 8 || name.at[0] != kind ||
        (name.bytes == 8 && name.at[1] == '0'))
        return -1;
    for (size_t i = 1; i < name.bytes; i++) {
        if (name.at[i] < '0' || name.at[i] > '9')
            return -1;
        index = index * 10 + (name.at[i] - '0');
    }
    return index < count ? index : -1;
}

int world_user_of(const struct world *world, struct text name)
{
    return index_of(name, 'u', world->o.users);
}

int world_item_of(const struct world *world, struct text name)
{
    return index_of(name, 'i', world->o.items);
}

/* Whose look and appeal an item has at that time. */
static int look_of(const struct world *w, int item, int64_t time_ms)
{
    return time_ms >= w->o.shift_at_ms ? w->after[item] : item;
}

int world_category(const struct world *world, int item, int64_t time_ms)
{
    return world->category[look_of(world, item, time_ms)];
}

/* What the user is after: in half of the epochs one of the liked categories, else the category
 * that follows the last epoch's, the same for everybody: what came before says what comes. */
static int intent_of(const struct world *w, int user, int64_t time_ms)
{
    int64_t since = time_ms - w->o.begin_ms + w->users[user].phase_ms;
    int64_t epoch = since >= 0 ? since / w->o.intent_ms : 0;
    int steps = 0, category;
    uint64_t draw;

    for (;; steps++, epoch--) {
        draw = hash64_mix(hash64_mix(w->o.seed ^ SALT_INTENT, (uint64_t)user), (uint64_t)epoch);
        if ((draw & 1) != 0 || steps == CHAIN_MAX || epoch == 0)
            break;
    }
    category = w->users[user].liked[draw >> 1 & 1];
    while (steps-- > 0)
        category = w->next[category];
    return category;
}

void world_wish(const struct world *world, int user, int64_t time_ms, float wish[WORLD_DIMS])
{
    const float *taste = world->users[user].taste;
    const float *intent = world->centres + (size_t)intent_of(world, user, time_ms) * WORLD_DIMS;

    for (int d = 0; d < WORLD_DIMS; d++)
        wish[d] = (float)world->o.taste * taste[d] + (float)world->o.intent * intent[d];
}

/* A triangular wave in -1..1: as good as a sine here, and a tenth of its time. */
static double wave(const struct world_appeal *appeal, int64_t time_ms)
{
    int64_t at = (time_ms + appeal->phase_ms) % appeal->period_ms;
    double x = (double)at / (double)appeal->period_ms;

    return x < 0.5 ? 4 * x - 1 : 3 - 4 * x;
}

double world_utility_of(const struct world *world, const float wish[WORLD_DIMS], int item,
                        int64_t time_ms)
{
    int as = look_of(world, item, time_ms);
    const float *look = world->looks + (size_t)as * WORLD_DIMS;
    float sum = 0;

    for (int d = 0; d < WORLD_DIMS; d++)
        sum += wish[d] * look[d];
    return sum +
           world->o.appeal * (world->appeal[as].level + 0.7 * wave(&world->appeal[as], time_ms));
}

double world_utility(const struct world *world, int user, int item, int64_t time_ms)
{
    float wish[WORLD_DIMS];

    assert(user >= 0 && user < world->o.users && item >= 0 && item < world->o.items);
    world_wish(world, user, time_ms, wish);
    return world_utility_of(world, wish, item, time_ms);
}

double world_chance_of(double utility)
{
    return 1 / (1 + exp(-CHANCE_SLOPE * (utility - CHANCE_AT)));
}

double world_chance(const struct world *world, int user, int item, int64_t time_ms)
{
    return world_chance_of(world_utility(world, user, item, time_ms));
}

/* Keeps the k largest utilities, largest first; returns how many there are now. */
static int keep_best(double *utilities, int *items, int kept, int k, double utility, int item)
{
    int at = kept < k ? kept : k - 1;

    if (kept == k && !(utility > utilities[k - 1]))
        return kept;
    while (at > 0 && utility > utilities[at - 1]) {
        utilities[at] = utilities[at - 1];
        items[at] = items[at - 1];
        at--;
    }
    utilities[at] = utility;
    items[at] = item;
    return kept < k ? kept + 1 : k;
}

void world_best(const struct world *world, int user, int64_t time_ms, int *items, int k)
{
    double utilities[WORLD_ROWS_MAX];
    float wish[WORLD_DIMS];
    int kept = 0;

    assert(k >= 1 && k <= WORLD_ROWS_MAX);
    world_wish(world, user, time_ms, wish);
    for (int i = 0; i < world->o.items; i++)
        kept = keep_best(utilities, items, kept, k, world_utility_of(world, wish, i, time_ms), i);
}

static double gain_at(double utility, int position)
{
    return world_chance_of(utility) / log2(position + 2.0);
}

double world_ndcg(const struct world *world, int user, int64_t time_ms, const int *order, int count,
                  int k)
{
    double utilities[WORLD_ROWS_MAX], got = 0, ideal = 0;
    int items[WORLD_ROWS_MAX], kept = 0;
    float wish[WORLD_DIMS];

    assert(k >= 1 && k <= WORLD_ROWS_MAX);
    world_wish(world, user, time_ms, wish);
    for (int i = 0; i < count; i++) {
        double utility = world_utility_of(world, wish, order[i], time_ms);

        kept = keep_best(utilities, items, kept, k, utility, order[i]);
        if (i < k)
            got += gain_at(utility, i);
    }
    for (int i = 0; i < kept; i++)
        ideal += gain_at(utilities[i], i);
    return ideal > 0 ? got / ideal : 0;
}
