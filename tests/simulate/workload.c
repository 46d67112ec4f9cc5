/*
 * tests/simulate/workload.c - logs: clicks, views, impressions and erasures, out of order, twice,
 * late; dead records; gaps of aborted transactions.
 */
#include "tests/simulate/world.h"

#include "ops/hash.h"

#include <stdio.h>
#include <string.h>

#define RECENT_MAX 32

struct shown { /* an impression made so far */
    int user;
    int64_t time_ms;
    int rows[2];
    char request[8];
};

struct maker {
    struct world *world;
    struct shown shown[RECENT_MAX];
    int shown_count;
    int requests;
};

struct text workload_user(int user)
{
    static const char *const names[USERS] = {"ann", "bob", "cem", "dao", "eve", "fay"};

    return text_of(names[user]);
}

static const char *item_name(int item)
{
    static const char *const names[ITEMS] = {"i0", "i1", "i2", "i3", "i4", "i5"};

    return names[item];
}

int workload_shard(const struct rules *rules, int user)
{
    return rules_shard(rules, workload_user(user), SHARDS);
}

static char *keep(struct world *world, const char *text)
{
    return arena_copy(world->arena, text, strlen(text) + 1);
}

static void make_impression(struct maker *maker, struct event *event)
{
    struct world *world = maker->world;
    struct text *rows = arena_alloc(world->arena, 2 * sizeof rows[0]);
    struct shown *shown = &maker->shown[maker->shown_count % RECENT_MAX];
    int first = world_below(world, ITEMS);
    int second = (first + 1 + world_below(world, ITEMS - 1)) % ITEMS;

    rows[0] = text_of(item_name(first));
    rows[1] = text_of(item_name(second));
    (void)snprintf(shown->request, sizeof shown->request, "r%d", ++maker->requests % 1000);
    event->kind = EVENT_IMPRESSION;
    event->rows = rows;
    event->rows_count = 2;
    event->request_id = text_of(keep(world, shown->request));
    shown->time_ms = event->time_ms;
    shown->rows[0] = first;
    shown->rows[1] = second;
    maker->shown_count++;
}

/* A label of a recent impression of the user, by its request or by its item alone. */
static bool make_label(struct maker *maker, int user, struct event *event)
{
    struct world *world = maker->world;
    int count = maker->shown_count < RECENT_MAX ? maker->shown_count : RECENT_MAX;
    const struct shown *shown = NULL;

    for (int tries = 0; tries < 4 && count > 0 && shown == NULL; tries++) {
        const struct shown *one = &maker->shown[world_below(world, count)];
        if (one->user == user)
            shown = one;
    }
    if (shown == NULL)
        return false;
    event->kind = EVENT_ACTION;
    event->action = 2;
    event->time_ms = shown->time_ms + world_below(world, 41) * UNIT_MS;
    event->item = text_of(item_name(shown->rows[world_below(world, 2)]));
    if (world->moved[user] || world_chance(world, 50))
        event->request_id = text_of(keep(world, shown->request));
    return true;
}

static void make_event(struct maker *maker, int user, int k, struct event *event)
{
    struct world *world = maker->world;
    int dice = world_below(world, 100);

    if (world->features.deletion && world_chance(world, 80))
        dice = 99; /* plain clicks and views: what is patched */
    *event = (struct event){.user = workload_user(user),
                            .time_ms = TIME_BASE_MS + (100 + 10 * (int64_t)k) * UNIT_MS};
    if (dice < 6 && world->features.erase && !world->moved[user]) {
        event->kind = EVENT_ERASE;
    } else if (dice < 35) {
        make_impression(maker, event);
        maker->shown[(maker->shown_count - 1) % RECENT_MAX].user = user;
    } else if (dice >= 75 || !make_label(maker, user, event)) {
        event->kind = EVENT_ACTION;
        event->action = world_chance(world, 50) ? 1 : 2;
        event->time_ms -= world_below(world, 10) * UNIT_MS;
        event->item = text_of(item_name(world_below(world, ITEMS)));
        if (world->moved[user] && event->action == 2)
            event->request_id = text_of("none");
    }
    if (world_chance(world, world->features.deletion ? 2 : 10))
        event->time_ms -= (20 + world_below(world, 70)) * UNIT_MS;
}

static struct entry *add(struct world *world, int number)
{
    struct log *log = &world->logs[number];

    if (log->count == RECORDS_MAX - 4)
        return NULL;
    log->entries[log->count] = (struct entry){.kind = ENTRY_GAP};
    return &log->entries[log->count++];
}

static void finish(struct world *world, struct entry *entry, int k)
{
    uint64_t drawn = random_u64(&world->random);

    entry->timestamp_ms = TIME_BASE_MS + (100 + 10 * (int64_t)k) * UNIT_MS;
    entry->hash = store_record_hash((struct text){(const char *)&drawn, sizeof drawn},
                                    (struct text){0}, entry->timestamp_ms);
    if (entry->kind == ENTRY_DEAD)
        (void)snprintf(entry->text, sizeof entry->text, "dead");
    else
        (void)snprintf(entry->text, sizeof entry->text, "%s %s %.*s%s%.*s t%lld",
                       workload_user(entry->user).at,
                       entry->event.kind == EVENT_ERASE        ? "erase"
                       : entry->event.kind == EVENT_IMPRESSION ? "shown"
                       : entry->event.action == 2              ? "click"
                                                               : "view",
                       TEXT_ARGS(entry->event.item), entry->event.request_id.bytes > 0 ? " " : "",
                       TEXT_ARGS(entry->event.request_id),
                       (long long)((entry->event.time_ms - TIME_BASE_MS) / UNIT_MS));
}

/* An identity is (user, time, item, action): a moved user must not meet itself in two partitions
 * by accident, for counts of such duplicates depend on the order. */
static bool seen_before(const struct world *world, const struct event *event)
{
    for (int l = 0; l < world->logs_count; l++)
        for (int i = 0; i < world->logs[l].count; i++) {
            const struct entry *entry = &world->logs[l].entries[i];
            if (entry->kind == ENTRY_EVENT && text_equal(entry->event.user, event->user) &&
                entry->event.time_ms == event->time_ms)
                return true;
        }
    return false;
}

static void make_record(struct maker *maker, int k, int only_log)
{
    struct world *world = maker->world;
    int user = world_below(world, USERS + 1) % USERS; /* user 0 twice as often */
    int number = world->moved[user] ? world_below(world, world->logs_count)
                                    : user % world->logs_count;
    bool dead = world_chance(world, 5);
    struct entry *entry;
    struct log *log;

    if (only_log >= 0 && number != only_log) {
        if (!dead)
            return;
        number = only_log;
    }
    log = &world->logs[number];
    if (world_chance(world, world->features.relog ? 35 : 8))
        (void)add(world, number);
    entry = add(world, number);
    if (entry == NULL)
        return;
    if (dead) {
        entry->kind = ENTRY_DEAD;
        finish(world, entry, k);
        return;
    }
    make_event(maker, user, k, &entry->event);
    while (world->moved[user] && seen_before(world, &entry->event))
        entry->event.time_ms += UNIT_MS;
    entry->kind = ENTRY_EVENT;
    entry->user = user;
    entry->shard = workload_shard(world->rules, user);
    entry->replayed = world_chance(world, 3);
    finish(world, entry, k);
    if (world_chance(world, 15) && !world->moved[user]) {
        struct entry *again = add(world, number); /* a producer's duplicate */
        if (again == NULL)
            return;
        *again = *entry;
        finish(world, again, k);
    }
    if (log->count > 1 && world_chance(world, 15)) { /* out of order: a label first */
        struct entry last = log->entries[log->count - 1];
        log->entries[log->count - 1] = log->entries[log->count - 2];
        log->entries[log->count - 2] = last;
    }
}

void workload_make(struct world *world)
{
    struct maker maker = {.world = world};
    int records = 8 + world_below(world, 26);

    for (int l = 0; l < world->logs_count; l++)
        world->logs[l].entries = arena_alloc(world->arena,
                                             RECORDS_MAX * sizeof world->logs[l].entries[0]);
    for (int user = 0; user < USERS; user++)
        world->moved[user] = world->features.two && (user == 0 || user == 1 || user == 4);
    for (int k = 0; k < records; k++) {
        if (world->plan != NULL && world->plan->records[k])
            continue;
        world_draw(world, DRAW_RECORD, k);
        make_record(&maker, k, -1);
    }
    world_draw(world, DRAW_RECORD, DRAWN_MAX);
    for (int l = 0; l < world->logs_count && world->features.retention; l++) {
        struct log *log = &world->logs[l];
        log->start = log->low = log->high = world_below(world, 3) % (log->count + 1);
    }
}

void workload_change(struct world *world, int number, int from)
{
    struct maker maker = {.world = world, .requests = 500};
    struct log *log = &world->logs[number];
    struct entry *entries = arena_alloc(world->arena, RECORDS_MAX * sizeof entries[0]);
    int records = world_below(world, 24);

    if (world->old_logs[number].count == 0)
        world->old_logs[number] = *log;
    memcpy(entries, log->entries, (size_t)from * sizeof entries[0]);
    *log = (struct log){
        .entries = entries, .count = from, .start = log->start, .low = from == 0 ? 0 : log->low};
    for (int k = 0; k < records; k++)
        make_record(&maker, 40 + k, number);
    /* Nobody hears of a gap at the end: that `last` is absent shows with the next record. */
    while (log->count > from && entries[log->count - 1].kind == ENTRY_GAP)
        log->count--;
    log->high = from + world_below(world, log->count - from + 1);
}

int64_t workload_watermark(const struct log *log, int64_t offset)
{
    int64_t watermark = STORE_NO_WATERMARK;

    for (int i = log->start; i < offset && i < log->count; i++)
        if (log->entries[i].kind == ENTRY_EVENT)
            watermark = rules_watermark(watermark, log->entries[i].event.time_ms,
                                        log->entries[i].timestamp_ms, INT64_C(600) * UNIT_MS);
    return watermark;
}
