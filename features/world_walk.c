/*
 * features/world_walk.c - sessions in order of time: who comes, what is shown, what is clicked.
 *
 * A session is generated whole into a small queue when its first event is asked for, so the chooser
 * is called at the moment of its impression and with nothing known of what follows.
 */
#include "features/world.h"
#include "features/world_inside.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LISTS_MAX     4 /* impressions of a session */
#define QUEUE_MAX     (1 + 2 * WORLD_ROWS_MAX)
#define LIST_GAP_MS   8000
#define DRAWS_MAX     64 /* of somebody who is not here already */
#define POOL_PER_ROW  4
#define DEFAULT_CLICK 2   /* schemas/event.h */
#define POLICY_TASTE  0.5 /* what the old system knows of a user's wish */
#define POLICY_NOISE  0.35
#define MET_SHARE     5   /* of the catalogue, one in so many is met on a visit without a list */
#define MET_NOISE     0.1 /* of what is taken among them */

struct queued {
    int64_t time_ms;
    int item; /* -1: the impression */
    uint8_t action;
};

struct world_walk {
    const struct world *world;
    struct random random;
    int rows_max;
    world_choose *choose;
    void *context;
    uint8_t view, click;
    uint64_t seed, lists;

    int64_t session_ms; /* when the next session begins */
    int64_t list_ms;    /* when the session's next list is shown */
    int user, lists_left;
    int64_t *user_ms; /* (users) time of a user's last event */

    struct world_shown shown;
    struct queued queue[QUEUE_MAX];
    int queued, taken;

    char user_name[WORLD_NAME_BYTES], request[40];
    char item_names[WORLD_ROWS_MAX][WORLD_NAME_BYTES];
    struct text rows[WORLD_ROWS_MAX];
    struct world_tally tally;
};

enum status world_walk_create(struct world_walk **walk, const struct world *world, uint64_t seed,
                              int rows_max, world_choose *choose, void *context, struct error *err)
{
    struct world_walk *w;

    *walk = NULL;
    if (rows_max < 1 || rows_max > WORLD_ROWS_MAX)
        return error_set(err, ERR_LIMIT, "%d rows a list, at most %d", rows_max, WORLD_ROWS_MAX);
    w = calloc(1, sizeof *w);
    if (w == NULL)
        return error_set(err, ERR_NOMEM, "no memory for a walk");
    w->user_ms = calloc((size_t)world->o.users, sizeof *w->user_ms);
    if (w->user_ms == NULL) {
        free(w);
        return error_set(err, ERR_NOMEM, "no memory for a walk");
    }
    w->world = world;
    w->rows_max = rows_max;
    w->choose = choose;
    w->context = context;
    w->click = DEFAULT_CLICK;
    w->seed = seed;
    w->session_ms = world->o.begin_ms;
    random_seed(&w->random, seed ^ world->o.seed << 20);
    *walk = w;
    return OK;
}

void world_walk_destroy(struct world_walk *walk)
{
    if (walk == NULL)
        return;
    free(walk->user_ms);
    free(walk);
}

void world_walk_actions(struct world_walk *walk, uint8_t view, uint8_t click)
{
    walk->view = view;
    walk->click = click;
}

static bool has(const int *items, int count, int item)
{
    for (int i = 0; i < count; i++)
        if (items[i] == item)
            return true;
    return false;
}

/* The system that freshet replaces: half of its pool is what many like, and it ranks by what is
 * popular and a blurred view of the user. */
static void policy(struct world_walk *w, int user, int64_t time_ms)
{
    const struct world *world = w->world;
    struct random *random = &w->random;
    double scores[POOL_PER_ROW * WORLD_ROWS_MAX];
    int pool[POOL_PER_ROW * WORLD_ROWS_MAX];
    int wanted = w->rows_max * POOL_PER_ROW, count = 0;
    float wish[WORLD_DIMS], none[WORLD_DIMS] = {0};

    if (wanted > world->o.items / 2)
        wanted = world->o.items / 2;
    world_wish(world, user, time_ms, wish);
    for (int d = 0; d < WORLD_DIMS; d++)
        wish[d] *= (float)POLICY_TASTE;
    while (count < wanted) {
        int item = (int)random_below(random, (uint64_t)world->o.items);
        int rival = (int)random_below(random, (uint64_t)world->o.items);

        if (count % 2 == 0 && world_utility_of(world, none, rival, time_ms) >
                                  world_utility_of(world, none, item, time_ms))
            item = rival;
        if (has(pool, count, item))
            continue;
        double score = world_utility_of(world, wish, item, time_ms) +
                       POLICY_NOISE * random_normal(random);
        int at = count++;
        for (; at > 0 && score > scores[at - 1]; at--) {
            scores[at] = scores[at - 1];
            pool[at] = pool[at - 1];
        }
        scores[at] = score;
        pool[at] = item;
    }
    w->shown.rows_count = count < w->rows_max ? count : w->rows_max;
    memcpy(w->shown.rows, pool, (size_t)w->shown.rows_count * sizeof *pool);
}

static double ndcg_of_shown(const struct world_walk *w, int64_t time_ms)
{
    const struct world *world = w->world;
    int best[WORLD_ROWS_MAX], k = w->shown.rows_count;
    double got = 0, ideal = 0;

    world_best(world, w->user, time_ms, best, k);
    for (int i = 0; i < k; i++) {
        got += world_chance(world, w->user, w->shown.rows[i], time_ms) / log2(i + 2.0);
        ideal += world_chance(world, w->user, best[i], time_ms) / log2(i + 2.0);
    }
    return ideal > 0 ? got / ideal : 0;
}

static void add(struct world_walk *w, int64_t *time_ms, int item, uint8_t action)
{
    if (w->queued == QUEUE_MAX)
        return;
    w->queue[w->queued++] = (struct queued){*time_ms, item, action};
    *time_ms += 200 + (int64_t)random_below(&w->random, 1200);
}

/* Looks down the list and clicks by the truth. */
static void click_through(struct world_walk *w, int64_t *time_ms)
{
    int64_t shown_ms = *time_ms;
    const struct world_shown *shown = &w->shown;

    for (int p = 0; p < shown->rows_count; p++) {
        bool looks = random_unit(&w->random) < pow(1.0 + p, -w->world->o.position_bias);
        double chance = world_chance(w->world, w->user, shown->rows[p], shown_ms);

        if (!(random_unit(&w->random) < chance) || !looks)
            continue;
        if (w->view != 0)
            add(w, time_ms, shown->rows[p], w->view);
        if (w->click != 0)
            add(w, time_ms, shown->rows[p], w->click);
        w->tally.clicks++;
    }
}

/* Who comes next: activity falls with the square of the user's number. Somebody who is still here
 * does not come again (their time would run ahead of everybody else's). */
static void next_session(struct world_walk *w)
{
    w->session_ms += (int64_t)random_exponential(&w->random, 1000.0 / w->world->o.sessions_per_s);
    for (int i = 0; i < DRAWS_MAX; i++) {
        double draw = random_unit(&w->random);

        w->user = (int)(draw * draw * w->world->o.users);
        if (w->user_ms[w->user] < w->session_ms)
            break;
    }
    w->tally.sessions++;
    w->list_ms = w->session_ms;
    w->lists_left = 1;
    while (w->lists_left < LISTS_MAX && random_unit(&w->random) < 0.5)
        w->lists_left++;
}

/* A visit without a list: the best of the items met, by a blurred truth. */
static void take_unlisted(struct world_walk *w, int64_t *time_ms)
{
    float wish[WORLD_DIMS];
    double best = -INFINITY;
    int taken = 0;

    world_wish(w->world, w->user, *time_ms, wish);
    for (int i = 0; i < w->world->o.items / MET_SHARE; i++) {
        int item = (int)random_below(&w->random, (uint64_t)w->world->o.items);
        double worth = world_utility_of(w->world, wish, item, *time_ms) +
                       MET_NOISE * random_normal(&w->random);

        if (worth > best) {
            best = worth;
            taken = item;
        }
    }
    if (w->view != 0)
        add(w, time_ms, taken, w->view);
    if (w->click != 0)
        add(w, time_ms, taken, w->click);
    w->tally.unlisted++;
}

/* Fills shown; false when there was nothing to show. */
static bool show(struct world_walk *w, int64_t *time_ms)
{
    struct world_shown *shown = &w->shown;

    if (w->choose == NULL)
        policy(w, w->user, *time_ms);
    else
        w->choose(w->context, w->world, w->user, *time_ms, w->rows_max, shown);
    assert(shown->rows_count >= 0 && shown->rows_count <= w->rows_max);
    if (shown->rows_count == 0)
        return false;
    if (shown->request_id.bytes == 0) {
        int bytes = snprintf(w->request, sizeof w->request, "s%llx-%llu",
                             (unsigned long long)w->seed, (unsigned long long)w->lists);
        shown->request_id = (struct text){w->request, (size_t)bytes};
    }
    w->lists++;
    w->tally.impressions++;
    w->tally.rows += shown->rows_count;
    w->tally.ndcg_sum += ndcg_of_shown(w, *time_ms);
    add(w, time_ms, -1, 0);
    click_through(w, time_ms);
    return true;
}

/* One visit and what follows from it, into the queue: nothing when nothing was shown. */
static void next_visit(struct world_walk *w)
{
    int64_t time_ms;

    if (w->lists_left == 0)
        next_session(w);
    w->lists_left--;
    if (w->list_ms <= w->user_ms[w->user])
        w->list_ms = w->user_ms[w->user] + 1;
    time_ms = w->list_ms;
    w->queued = w->taken = 0;
    w->shown = (struct world_shown){0};
    if (random_unit(&w->random) < w->world->o.unlisted) {
        take_unlisted(w, &time_ms);
    } else if (!show(w, &time_ms)) {
        w->lists_left = 0;
        return;
    }
    w->user_ms[w->user] = time_ms;
    w->list_ms = time_ms + (int64_t)random_below(&w->random, LIST_GAP_MS);
}

static void fill_impression(struct world_walk *w, struct event *event)
{
    event->kind = EVENT_IMPRESSION;
    event->request_id = w->shown.request_id;
    event->trace = w->shown.trace;
    event->rows = w->rows;
    event->rows_count = w->shown.rows_count;
    for (int p = 0; p < w->shown.rows_count; p++) {
        world_item_name(w->shown.rows[p], w->item_names[p]);
        w->rows[p] = text_of(w->item_names[p]);
    }
}

void world_walk_next(struct world_walk *walk, struct event *event)
{
    struct world_walk *w = walk;
    const struct queued *next;

    while (w->taken == w->queued)
        next_visit(w);
    next = &w->queue[w->taken++];
    *event = (struct event){.time_ms = next->time_ms};
    world_user_name(w->user, w->user_name);
    event->user = text_of(w->user_name);
    if (next->item < 0) {
        fill_impression(w, event);
        return;
    }
    world_item_name(next->item, w->item_names[0]);
    event->kind = EVENT_ACTION;
    event->action = next->action;
    event->item = text_of(w->item_names[0]);
    event->request_id = w->shown.request_id;
}

int64_t world_walk_due(struct world_walk *walk)
{
    struct world_walk *w = walk;

    if (w->taken < w->queued)
        return w->queue[w->taken].time_ms;
    if (w->lists_left == 0)
        next_session(w);
    return w->list_ms > w->user_ms[w->user] ? w->list_ms : w->user_ms[w->user] + 1;
}

struct world_tally world_walk_tally(const struct world_walk *walk)
{
    return walk->tally;
}

void world_walk_skip_to(struct world_walk *walk, int64_t time_ms)
{
    if (walk->session_ms < time_ms)
        walk->session_ms = time_ms;
    if (walk->list_ms < time_ms)
        walk->list_ms = time_ms;
}
