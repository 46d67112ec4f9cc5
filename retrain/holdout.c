/* retrain/holdout.c - a ring of changes over a base that follows it. */
#include "retrain/holdout.h"

#include <assert.h>
#include <limits.h>
#include <stdlib.h>

#define SAVED_BYTES  27
#define BEGIN_JUDGES (2 * HOLDOUT_EDGE + 1) /* whose median time the window begins at */

struct holdout {
    struct item_tables *base;
    struct holdout_event *events; /* (room) ring */
    int first, count, room;
    int events_max, judges_min;
};

enum status holdout_create(struct holdout **holdout, const struct item_tables *tables,
                           int events_max, int judges_min, struct error *err)
{
    struct holdout *h = calloc(1, sizeof *h);
    enum status status = OK;

    assert(events_max >= 2 && events_max <= INT_MAX / HOLDOUT_GROWTH);
    *holdout = NULL;
    if (h != NULL) {
        h->room = h->events_max = events_max;
        h->judges_min = judges_min;
        h->events = calloc((size_t)events_max, sizeof *h->events);
    }
    if (h == NULL || h->events == NULL)
        status = error_set(err, ERR_NOMEM, "no memory for %d held events", events_max);
    if (status == OK)
        status = item_tables_copy(&h->base, tables, err);
    if (status != OK) {
        holdout_destroy(h);
        return status;
    }
    *holdout = h;
    return OK;
}

void holdout_destroy(struct holdout *h)
{
    if (h == NULL)
        return;
    item_tables_destroy(h->base);
    free(h->events);
    free(h);
}

const struct holdout_event *holdout_at(const struct holdout *h, int i)
{
    assert(i >= 0 && i < h->count);
    return &h->events[(h->first + i) % h->room];
}

void holdout_enter(struct item_tables *tables, const struct sequences *sequences,
                   const struct holdout_event *event)
{
    struct text unnamed = {0};
    int32_t index;

    if (event->action == HOLDOUT_EXPIRED) {
        (void)item_tables_expire(tables, event->time_ms);
        return;
    }
    index = item_tables_index(tables, event->item, unnamed, event->time_ms);
    if (index == ITEM_NONE)
        return;
    if (event->action == 0) {
        item_tables_observe_shown(tables, index, event->time_ms);
        return;
    }
    struct user_entry entry = {
        .item = event->item, .time_ms = event->time_ms, .action = event->action};
    struct sequences_view before = sequences_before(sequences, event->user, &entry);
    item_tables_observe(tables, index, event->time_ms, before.entries, before.count);
}

/* In order from the begin of a ring of this room, which is no smaller. */
static enum status make_room(struct holdout *h, int room, struct error *err)
{
    struct holdout_event *events = calloc((size_t)room, sizeof *events);

    if (events == NULL)
        return error_set(err, ERR_NOMEM, "no memory for %d held events", room);
    for (int i = 0; i < h->count; i++)
        events[i] = *holdout_at(h, i);
    free(h->events);
    h->events = events;
    h->first = 0;
    h->room = room;
    return OK;
}

/* Whether the newer half holds enough that can judge: then the older one is not needed. */
static bool half_is_enough(const struct holdout *h)
{
    int judges = 0;

    for (int i = h->count / 2; i < h->count; i++)
        judges += holdout_at(h, i)->action != 0 && holdout_at(h, i)->action != HOLDOUT_EXPIRED &&
                  !holdout_at(h, i)->repeat;
    return judges >= h->judges_min;
}

enum status holdout_add(struct holdout *h, const struct sequences *sequences,
                        const struct holdout_event *event, struct error *err)
{
    if (h->count == h->room && h->room < h->events_max * HOLDOUT_GROWTH && !half_is_enough(h)) {
        enum status status = make_room(h, 2 * h->room, err);

        if (status != OK)
            return status;
    }
    if (h->count == h->room) {
        int half = h->room / 2;

        for (int i = 0; i < half; i++)
            holdout_enter(h->base, sequences, holdout_at(h, i));
        h->first = (h->first + half) % h->room;
        h->count -= half;
    }
    h->events[(h->first + h->count++) % h->room] = *event;
    return OK;
}

void holdout_describe(struct holdout *h, uint64_t item, int32_t row)
{
    struct text unnamed = {0};

    (void)item_tables_describe(h->base, item_tables_index(h->base, item, unnamed, 0), row);
}

bool holdout_take_row(struct holdout *h, uint64_t item, int32_t row)
{
    struct text unnamed = {0};

    return item_tables_take_row(h->base, item_tables_index(h->base, item, unnamed, 0), row);
}

int holdout_count(const struct holdout *h)
{
    return h->count;
}

void holdout_erase(struct holdout *h, uint64_t user, int64_t time_ms)
{
    for (int i = 0; i < h->count; i++) {
        struct holdout_event *event = &h->events[(h->first + i) % h->room];

        if (event->action == 0 || event->action == HOLDOUT_EXPIRED || event->user != user ||
            event->time_ms > time_ms)
            continue;
        event->user = 0;
        event->repeat = true;
    }
}

bool holdout_judges(const struct holdout_window *window, const struct holdout_event *event)
{
    return event->action != 0 && event->action != HOLDOUT_EXPIRED && !event->repeat &&
           (window->answers || !event->answer);
}

static int count_judges(const struct holdout *h, const struct holdout_window *window)
{
    int count = 0;

    for (int i = 0; i < h->count; i++)
        count += holdout_judges(window, holdout_at(h, i));
    return count;
}

static int by_time(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

/* The median time of the window's first judges: one straggler, late by an hour, must not keep
 * training an hour behind. It is not judged instead. */
static int64_t begin_of(const struct holdout *h, const struct holdout_window *window)
{
    int64_t times[BEGIN_JUDGES];
    int count = 0;

    for (int i = window->from; i < h->count && count < BEGIN_JUDGES; i++)
        if (holdout_judges(window, holdout_at(h, i)))
            times[count++] = holdout_at(h, i)->time_ms;
    if (count == 0)
        return INT64_MAX;
    qsort(times, (size_t)count, sizeof times[0], by_time);
    return times[(count - 1) / 2];
}

void holdout_split(const struct holdout *h, double share, int least, int most, int64_t learnt_ms,
                   struct holdout_window *window)
{
    int judges, wanted, at = h->count;

    *window = (struct holdout_window){.from_ms = INT64_MAX};
    judges = count_judges(h, window);
    if (judges / 2 < least) {
        window->answers = true;
        judges = count_judges(h, window);
    }
    wanted = (int)(share * judges);
    wanted = wanted < least ? least : wanted;
    wanted = wanted > most ? most : wanted;
    wanted = wanted > judges / 2 ? judges / 2 : wanted;
    while (wanted > 0 && at > 0)
        wanted -= holdout_judges(window, holdout_at(h, --at));
    window->from = at;
    window->from_ms = begin_of(h, window);
    if (window->from_ms <= learnt_ms)
        window->from_ms = learnt_ms + 1;
}

enum status holdout_tables(const struct holdout *h, const struct sequences *sequences, int until,
                           struct item_tables **tables, struct error *err)
{
    enum status status = item_tables_copy(tables, h->base, err);

    if (status != OK)
        return status;
    for (int i = 0; i < until; i++)
        holdout_enter(*tables, sequences, holdout_at(h, i));
    return OK;
}

const struct item_tables *holdout_base(const struct holdout *h)
{
    return h->base;
}

void holdout_save(const struct holdout *h, struct state_file *state)
{
    state_file_put_u64(state, (uint64_t)h->count);
    for (int i = 0; i < h->count; i++) {
        const struct holdout_event *event = holdout_at(h, i);

        state_file_put_u64(state, event->user);
        state_file_put_u64(state, event->item);
        state_file_put_u64(state, (uint64_t)event->time_ms);
        state_file_put_u8(state, event->action);
        state_file_put_u8(state, event->answer);
        state_file_put_u8(state, event->repeat);
    }
}

enum status holdout_load(struct holdout *h, struct state_file *state, struct item_tables *base,
                         struct error *err)
{
    int most = h->events_max * HOLDOUT_GROWTH;
    int count = (int)state_file_get_count(state, SAVED_BYTES, (uint64_t)most), room = h->room;

    assert(h->count == 0);
    while (room < count)
        room *= 2;
    if (room > h->room) {
        enum status status = make_room(h, room, err);

        if (status != OK)
            return status;
    }
    for (int i = 0; i < count; i++) {
        struct holdout_event *event = &h->events[i];

        event->user = state_file_get_u64(state);
        event->item = state_file_get_u64(state);
        event->time_ms = (int64_t)state_file_get_u64(state);
        event->action = state_file_get_u8(state);
        event->answer = state_file_get_u8(state) != 0;
        event->repeat = state_file_get_u8(state) != 0;
    }
    if (state->failed)
        return error_set(err, ERR_MALFORMED, "state holds no readable newest events");
    h->count = count;
    item_tables_destroy(h->base);
    h->base = base;
    return OK;
}
