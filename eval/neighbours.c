/* eval/neighbours.c - a row at a time: add up, keep the heaviest, append. */
#include "eval/neighbours.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define REACH_BOTH     5
#define REACH_FORWARD  10
#define BACKWARDS      .5
#define KEPT_MAX       400  /* neighbours of a row */
#define USER_ITEMS_MAX 300  /* newest events of a user that item-kNN looks at */
#define ITEM_USERS_MAX 5000 /* events of an item that item-kNN looks at, evenly chosen */

/* Training events by item. */
struct occurrences {
    int64_t *start; /* (V + 1) */
    int64_t *event;
    int32_t *users; /* (V) that have it, each once */
};

struct neighbour {
    float weight;
    int32_t item;
};

/* What one thread counts with, and its part of the result. */
struct part {
    int32_t first, last; /* items */
    double *sums;        /* (V) */
    int32_t *touched;    /* (V) */
    int32_t touched_count;
    int64_t *seen;         /* (V) event + 1 of the pass that saw the item last */
    struct neighbour *row; /* (V) */
    int32_t *item;
    float *weight;
    int64_t count, room;
    bool failed;
};

struct making {
    const struct split *split;
    enum neighbours_form form;
    struct occurrences of;
    int64_t *row_count; /* (V) */
    float *total;       /* (V) */
    struct part parts[CREW_MAX];
};

static enum status find_occurrences(struct making *m, struct error *err)
{
    const struct interactions *d = m->split->data;
    struct occurrences *of = &m->of;

    of->start = calloc((size_t)d->items + 2, sizeof *of->start);
    of->event = malloc((size_t)(m->split->train_count + 1) * sizeof *of->event);
    of->users = calloc((size_t)d->items, sizeof *of->users);
    m->row_count = calloc((size_t)d->items, sizeof *m->row_count);
    m->total = calloc((size_t)d->items, sizeof *m->total);
    if (of->start == NULL || of->event == NULL || of->users == NULL || m->row_count == NULL ||
        m->total == NULL)
        return error_set(err, ERR_NOMEM, "no memory to count %d items", (int)d->items);
    for (int64_t e = 0; e < d->count; e++)
        if (split_trains(m->split, e))
            of->start[d->item[e] + 2]++;
    for (int32_t v = 0; v < d->items; v++)
        of->start[v + 2] += of->start[v + 1];
    for (int64_t e = 0; e < d->count; e++)
        if (split_trains(m->split, e))
            of->event[of->start[d->item[e] + 1]++] = e;
    for (int32_t v = 0; v < d->items; v++)
        for (int64_t o = of->start[v]; o < of->start[v + 1]; o++)
            of->users[v] += o == of->start[v] || d->user[of->event[o]] != d->user[of->event[o - 1]];
    return OK;
}

static void touch(struct part *p, int32_t item, double weight)
{
    if (p->sums[item] == 0)
        p->touched[p->touched_count++] = item;
    p->sums[item] += weight;
}

static void add_window(const struct making *m, struct part *p, int64_t event)
{
    const struct interactions *d = m->split->data;
    int32_t user = d->user[event];
    int reach = m->form == NEIGHBOURS_BOTH ? REACH_BOTH : REACH_FORWARD;

    for (int k = 1; k <= reach && event + k < m->split->train_end[user]; k++)
        touch(p, d->item[event + k], 1.0 / k);
    for (int k = 1; m->form == NEIGHBOURS_BOTH && k <= reach && event - k >= d->start[user]; k++)
        touch(p, d->item[event - k], BACKWARDS / k);
}

/* Each of the user's other items once. Events of a user stand together in an item's list. */
static void add_user(const struct making *m, struct part *p, int64_t event, int32_t own)
{
    const struct interactions *d = m->split->data;
    int32_t user = d->user[event];
    int64_t end = m->split->train_end[user], from = d->start[user];

    from = end - from > USER_ITEMS_MAX ? end - USER_ITEMS_MAX : from;
    for (int64_t e = from; e < end; e++) {
        int32_t item = d->item[e];

        if (item == own || p->seen[item] == event + 1)
            continue;
        p->seen[item] = event + 1;
        touch(p, item, 1);
    }
}

static void count_row(const struct making *m, struct part *p, int32_t v)
{
    const struct interactions *d = m->split->data;
    const struct occurrences *of = &m->of;
    int64_t count = of->start[v + 1] - of->start[v];
    int64_t step = m->form == NEIGHBOURS_USERS ? 1 + count / ITEM_USERS_MAX : 1;

    for (int64_t o = of->start[v]; o < of->start[v + 1]; o += step) {
        int64_t event = of->event[o];

        if (m->form != NEIGHBOURS_USERS)
            add_window(m, p, event);
        else if (o == of->start[v] || step > 1 || d->user[event] != d->user[of->event[o - 1]])
            add_user(m, p, event, v);
    }
    for (int32_t t = 0; m->form == NEIGHBOURS_USERS && t < p->touched_count; t++) {
        int32_t i = p->touched[t];

        p->sums[i] *= (double)step / sqrt((double)of->users[v] * of->users[i]);
    }
}

static int by_weight(const void *a, const void *b)
{
    const struct neighbour *x = a, *y = b;

    if (x->weight != y->weight)
        return x->weight > y->weight ? -1 : 1;
    return (x->item > y->item) - (x->item < y->item);
}

static void keep_row(struct making *m, struct part *p, int32_t v)
{
    int32_t kept = p->touched_count < KEPT_MAX ? p->touched_count : KEPT_MAX;
    double total = 0;

    for (int32_t t = 0; t < p->touched_count; t++) {
        int32_t i = p->touched[t];

        p->row[t] = (struct neighbour){(float)p->sums[i], i};
        total += p->sums[i];
        p->sums[i] = 0;
    }
    qsort(p->row, (size_t)p->touched_count, sizeof *p->row, by_weight);
    p->touched_count = 0;
    m->total[v] = (float)total;
    m->row_count[v] = kept;
    if (p->count + kept > p->room) {
        int64_t room = 2 * p->room + kept + 1024;
        int32_t *item = realloc(p->item, (size_t)room * sizeof *item);
        float *weight = item == NULL ? NULL : realloc(p->weight, (size_t)room * sizeof *weight);

        p->item = item != NULL ? item : p->item;
        p->weight = weight != NULL ? weight : p->weight;
        if (weight == NULL) {
            p->failed = true;
            return;
        }
        p->room = room;
    }
    for (int32_t k = 0; k < kept; k++) {
        p->item[p->count] = p->row[k].item;
        p->weight[p->count++] = p->row[k].weight;
    }
}

static void run_part(void *context, int member)
{
    struct making *m = context;
    struct part *p = &m->parts[member];
    size_t V = (size_t)m->split->data->items;

    p->sums = calloc(V, sizeof *p->sums);
    p->touched = calloc(V, sizeof *p->touched);
    p->seen = calloc(V, sizeof *p->seen);
    p->row = calloc(V, sizeof *p->row);
    p->failed = p->sums == NULL || p->touched == NULL || p->seen == NULL || p->row == NULL;
    for (int32_t v = p->first; v < p->last && !p->failed; v++) {
        count_row(m, p, v);
        keep_row(m, p, v);
    }
    free(p->sums);
    free(p->touched);
    free(p->seen);
    free(p->row);
}

/* Ranges of items with about as many events each. */
static void deal_items(struct making *m, int members)
{
    int32_t V = m->split->data->items, at = 0;

    for (int i = 0; i < members; i++) {
        int64_t until = m->split->train_count * (i + 1) / members;

        m->parts[i].first = at;
        while (at < V && (m->of.start[at] < until || i + 1 == members))
            at++;
        m->parts[i].last = at;
    }
}

static enum status join(struct neighbours *n, struct making *m, int members, struct error *err)
{
    int32_t V = m->split->data->items;
    int64_t count = 0;

    for (int i = 0; i < members; i++) {
        if (m->parts[i].failed)
            return error_set(err, ERR_NOMEM, "no memory to count %d items", (int)V);
        count += m->parts[i].count;
    }
    n->items = V;
    n->start = calloc((size_t)V + 1, sizeof *n->start);
    n->item = malloc((size_t)(count + 1) * sizeof *n->item);
    n->weight = malloc((size_t)(count + 1) * sizeof *n->weight);
    if (n->start == NULL || n->item == NULL || n->weight == NULL)
        return error_set(err, ERR_NOMEM, "no memory for %lld neighbours", (long long)count);
    n->total = m->total;
    m->total = NULL;
    for (int32_t v = 0; v < V; v++)
        n->start[v + 1] = n->start[v] + m->row_count[v];
    count = 0;
    for (int i = 0; i < members; i++) {
        struct part *p = &m->parts[i];

        if (p->count > 0) {
            memcpy(n->item + count, p->item, (size_t)p->count * sizeof *n->item);
            memcpy(n->weight + count, p->weight, (size_t)p->count * sizeof *n->weight);
        }
        count += p->count;
    }
    assert(count == n->start[V]);
    return OK;
}

enum status neighbours_make(struct neighbours *neighbours, const struct split *split,
                            enum neighbours_form form, struct crew *crew, struct error *err)
{
    struct making *m = calloc(1, sizeof *m);
    struct neighbours made = {0};
    enum status status;

    *neighbours = (struct neighbours){0};
    if (m == NULL)
        return error_set(err, ERR_NOMEM, "no memory to count items");
    m->split = split;
    m->form = form;
    status = find_occurrences(m, err);
    if (status == OK) {
        deal_items(m, crew_members(crew));
        crew_run(crew, run_part, m);
        status = join(&made, m, crew_members(crew), err);
    }
    if (status == OK) {
        *neighbours = made;
        made = (struct neighbours){0};
    }
    neighbours_clear(&made);
    for (int i = 0; i < CREW_MAX; i++) {
        free(m->parts[i].item);
        free(m->parts[i].weight);
    }
    free(m->of.start);
    free(m->of.event);
    free(m->of.users);
    free(m->row_count);
    free(m->total);
    free(m);
    return status;
}

void neighbours_clear(struct neighbours *neighbours)
{
    free(neighbours->start);
    free(neighbours->item);
    free(neighbours->weight);
    free(neighbours->total);
    *neighbours = (struct neighbours){0};
}
