/*
 * tests/simulate/world.c - the schedule: steps and faults by dice, then quiet, then the judge.
 */
#include "tests/simulate/world.h"

#include "ops/hash.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define QUIET_ROUNDS  600
#define SETTLE_ROUNDS 12
#define DONE_ROUNDS   5 /* so long nothing may be left to do: a repair comes after its commit */
#define SLOTS_MIN     60

void world_draw(struct world *world, enum draw draw, int number)
{
    random_seed(&world->random, hash64_mix(world->seed, (uint64_t)draw << 32 | (uint32_t)number));
}

int world_below(struct world *world, int bound)
{
    return (int)((random_u64(&world->random) >> 33) % (uint64_t)bound);
}

bool world_chance(struct world *world, int percent)
{
    return world_below(world, 100) < percent;
}

int64_t world_wall_ms(const struct world *world)
{
    return TIME_BASE_MS + world->jumped_ms + world->now_us / 1000;
}

void world_note(const struct world *world, const char *fmt, ...)
{
    va_list args;

    (void)printf("%9.3f  ", (double)world->now_us / 1e6);
    va_start(args, fmt);
    (void)vprintf(fmt, args);
    va_end(args);
    (void)putchar('\n');
}

void world_violation(struct world *world, const char *what, const char *fmt, ...)
{
    va_list args;

    if (world->violation != NULL)
        return;
    world->violation = what;
    va_start(args, fmt);
    (void)vsnprintf(world->detail, sizeof world->detail, fmt, args);
    va_end(args);
}

/* ---- time ---- */

static void pass_time(struct world *world, int64_t us)
{
    world->now_us += us;
    world->acted = true;
    for (int n = 0; n < NODES; n++)
        store_model_time(&world->nodes[n], world_wall_ms(world));
}

/* ---- faults ---- */

static void happened(struct world *world, enum fault_kind kind)
{
    world->faults++;
    world->coverage->faults[kind]++;
}

static void failover(struct world *world)
{
    static const int sizes[] = {1, 1, 2, 3, 5, 9};
    int node = world_below(world, NODES);
    int lost;

    for (int p = 0; p < PROCESSES; p++)
        for (int s = 0; s < SHARDS; s++)
            if (node_of(s) == node)
                (void)process_disconnect(world, &world->processes[p], s, false);
    if (world->features.empty && world_chance(world, 20)) {
        store_model_empty(&world->nodes[node]);
        NOTE(world, "FAILOVER of node %d to an empty replica", node);
    } else {
        lost = store_model_rollback(&world->nodes[node], sizes[world_below(world, 6)]);
        NOTE(world, "FAILOVER of node %d loses %d writes", node, lost);
    }
    world->rolled_back = true;
    happened(world, FAULT_FAILOVER);
}

/* Another process is to read a log; or the same one, given up and taken again, or told twice. */
static void rebalance(struct world *world)
{
    int log = world_below(world, world->logs_count);
    int to = world_below(world, PROCESSES);

    NOTE(world, "REBALANCE: p%d belongs to P%d", log, to);
    if (to == world->owner[log] && world_chance(world, 50))
        process_give_up(world, &world->processes[to], log);
    else if (to == world->owner[log])
        process_assign(world, &world->processes[to], log);
    world->owner[log] = to;
    happened(world, FAULT_REBALANCE);
}

static void ghost_arrives(struct world *world)
{
    if (world->ghosts_count > 0 && process_ghost(world, world_below(world, world->ghosts_count)))
        happened(world, FAULT_DELAYED);
}

/* The next connection with a request on it, from some place on; writes: with one that changes
 * users. -1: there is none. */
static int busy_connection(const struct world *world, int first, bool writes)
{
    for (int i = 0; i < PROCESSES * SHARDS; i++) {
        int at = (first + i) % (PROCESSES * SHARDS);
        const struct store_request *request =
            world->processes[at / SHARDS].wires[at % SHARDS].request;

        if (request != NULL && (!writes || request->writes_count > 0))
            return at;
    }
    return -1;
}

/* A connection is lost, rather one with a request on it, best one with a commit. */
static void disconnect(struct world *world)
{
    int first = world_below(world, PROCESSES * SHARDS);
    int chosen = busy_connection(world, first, world_chance(world, 75));
    bool ghost = world_chance(world, 50);
    enum fault_kind kind;

    if (chosen < 0)
        chosen = busy_connection(world, first, false);
    if (chosen < 0)
        chosen = first;
    kind = process_disconnect(world, &world->processes[chosen / SHARDS], chosen % SHARDS, ghost);
    if (kind != FAULT_COUNT)
        happened(world, kind);
}

/* Where keys are deleted by hand no other answer is lost: that of a patch would tell that the value
 * was gone (machine/README.md, limits). A repair's may be. */
static bool lose_repair(struct world *world)
{
    for (int i = 0; i < PROCESSES * SHARDS; i++) {
        struct process *process = &world->processes[i / SHARDS];
        const struct store_request *request = process->wires[i % SHARDS].request;

        if (request == NULL || request->kind != STORE_EXEC || request->writes_count == 0 ||
            request->ms_count > 0)
            continue;
        happened(world, process_disconnect(world, process, i % SHARDS, world_chance(world, 50)));
        return true;
    }
    return false;
}

/* What ends at this jump, and where the log of each such user stood then. */
static void note_expired(struct world *world, struct store_model *node, const bool before[USERS])
{
    for (int u = 0; u < USERS; u++) {
        int shard = workload_shard(world->rules, u), log = u % world->logs_count;
        struct model_key *m;

        if (!before[u] || store_model_find(node, MODEL_USER, shard, 0, workload_user(u)) != NULL)
            continue;
        m = store_model_find(node, MODEL_M, shard, user_value_writer(log, 0), (struct text){0});
        world->expired[world->expired_count].user = u;
        world->expired[world->expired_count].log = log;
        world->expired[world->expired_count++].next = m->now.m.state.next;
        NOTE(world, "    %s ends at p%d/%lld", workload_user(u).at, log,
             (long long)m->now.m.state.next);
    }
}

/* Two jumps of the clock: the first brings every value within the margin of its end, where no
 * cache may be trusted; the second ends those that nobody wrote in between. Nothing is an hour
 * late, so what was on its way before is dead. */
static void time_jump(struct world *world)
{
    if (world->expired_count >= USERS * 3)
        return;
    for (int p = 0; p < PROCESSES; p++)
        for (int s = 0; s < SHARDS; s++)
            (void)process_disconnect(world, &world->processes[p], s, false);
    world->ghosts_count = 0;
    if (!world->soon) {
        NOTE(world, "TIME: every value is within an hour of its end");
        world->jumped_ms += TTL_MS - TTL_MARGIN_MS / 2 - world->now_us / 1000;
    } else {
        NOTE(world, "TIME: values end");
        world->jumped_ms += TTL_MARGIN_MS;
    }
    for (int n = 0; n < NODES; n++) {
        struct store_model *node = &world->nodes[n];
        bool before[USERS];

        for (int u = 0; u < USERS; u++)
            before[u] = store_model_find(node, MODEL_USER, workload_shard(world->rules, u), 0,
                                         workload_user(u)) != NULL;
        store_model_forget_undo(node);
        store_model_time(node, world_wall_ms(world));
        note_expired(world, node, before);
    }
    world->soon = !world->soon;
    happened(world, FAULT_EXPIRY);
}

/* Somebody deletes a user's key, or puts something else there. */
static void by_hand(struct world *world)
{
    int user = world_below(world, USERS);
    int shard = workload_shard(world->rules, user);
    struct store_model *node = &world->nodes[node_of(shard)];
    struct model_key *key = store_model_find(node, MODEL_USER, shard, 0, workload_user(user));

    world->unsure[user] = true;
    if (world->features.planting) {
        NOTE(world, "HAND: a list stands at %s", workload_user(user).at);
        store_model_plant(node, shard, workload_user(user), NULL, 0);
    } else if (key != NULL) {
        NOTE(world, "HAND: %s is deleted", workload_user(user).at);
        store_model_delete(node, key);
    } else {
        return;
    }
    happened(world, FAULT_BY_HAND);
}

/* All of a shard that comes from one log is deleted, but for the outbox, which remembers its ids.
 * It is all read again. (Their writer is that log, whose m is watched by whoever patches them.) */
static void lose_keys(struct world *world)
{
    int user = world_below(world, USERS), log = user % world->logs_count;
    int shard = workload_shard(world->rules, user);
    struct store_model *node = &world->nodes[node_of(shard)];
    struct model_key *m = store_model_find(node, MODEL_M, shard, user_value_writer(log, 0),
                                           (struct text){0});

    if (m == NULL || !m->now.m.has_state || m->now.bad_type)
        return;
    NOTE(world, "HAND: m of p%d in shard %d is deleted, with its users", log, shard);
    store_model_delete(node, m);
    for (int u = 0; u < USERS; u++) {
        struct model_key *key = store_model_find(node, MODEL_USER, shard, 0, workload_user(u));

        if (key != NULL && workload_shard(world->rules, u) == shard && u % world->logs_count == log)
            store_model_delete(node, key);
    }
    happened(world, FAULT_BY_HAND);
}

/* m of a partition becomes unusable; what it said is kept here for the judge. */
static void damage(struct world *world)
{
    int log = world_below(world, world->logs_count), shard = world_below(world, SHARDS);
    struct store_model *node = &world->nodes[node_of(shard)];
    struct model_key *m = store_model_find(node, MODEL_M, shard, user_value_writer(log, 0),
                                           (struct text){0});

    if (m == NULL || !m->now.m.has_state)
        return;
    NOTE(world, "HAND: m of p%d in shard %d is damaged", log, shard);
    store_model_damage(node, m);
    world->damaged[log] = true;
    happened(world, FAULT_BY_HAND);
}

/* Where ours ends in the log: behind the last record that any shard has applied. -1: nowhere. */
static int end_of_ours(struct world *world, int log)
{
    int64_t last = -1;

    for (int s = 0; s < SHARDS; s++) {
        const struct model_key *m = store_model_find(&world->nodes[node_of(s)], MODEL_M, s,
                                                     user_value_writer(log, 0), (struct text){0});

        if (m != NULL && m->now.m.has_state && m->now.m.state.last_offset > last)
            last = m->now.m.state.last_offset;
    }
    return last < 0 || last >= world->logs[log].high ? -1 : (int)last + 1;
}

/* Once for each log; who reads it hears of that. */
static void change_log(struct world *world, int log, int from)
{
    if (world->old_logs[log].count > 0)
        return;
    workload_change(world, log, from);
    NOTE(world, "LOG: p%d is another from %d on, up to %d", log, from, world->logs[log].high);
    for (int p = 0; p < PROCESSES; p++)
        process_give_up(world, &world->processes[p], log);
    happened(world, FAULT_LOG);
}

/* An unclean election loses just what nobody has applied, from a gap on: nobody may be wrong. */
void world_cut(struct world *world, int log)
{
    int end = end_of_ours(world, log);

    if (end >= 0 && world->logs[log].entries[end].kind == ENTRY_GAP)
        change_log(world, log, end);
}

/* The log is re-created, or cut by an unclean election. */
static void relog(struct world *world)
{
    int log = world_below(world, world->logs_count);
    int from = world_chance(world, 50) ? 0 : world_below(world, world->logs[log].high + 1);

    for (int i = from; i < world->logs[log].high && world_chance(world, 70); i++)
        if (world->logs[log].entries[i].kind == ENTRY_GAP)
            from = i; /* another record may come to where there was none */
    change_log(world, log, from);
}

static void retention(struct world *world)
{
    int number = world_below(world, world->logs_count);
    struct log *log = &world->logs[number];
    int low = (int)world->group[number] + (world_chance(world, 30) ? 4 : 0);

    if (low > log->high)
        low = log->high;
    if (low <= log->low || world->group[number] < 0)
        return; /* what was never read and is gone was never there: its start is its low */
    log->low += 1 + world_below(world, low - log->low);
    NOTE(world, "LOG: p%d begins at %d", number, log->low);
    happened(world, FAULT_RETENTION);
}

static void refusal(struct world *world)
{
    int number = world_below(world, NODES);
    struct store_model *node = &world->nodes[number];
    bool *what = world_chance(world, 30) ? &node->loading : &node->refusing;

    *what = !*what;
    NOTE(world, "node %d %s %s", number, *what ? "refuses" : "takes",
         what == &node->loading ? "everything" : "writes");
    happened(world, FAULT_REFUSAL);
}

/* What only this world has. */
static void special_fault(struct world *world)
{
    const struct features *features = &world->features;

    if (features->expiry)
        time_jump(world);
    else if (features->deletion || features->planting)
        by_hand(world);
    else if (features->damage && world_chance(world, 70))
        lose_keys(world);
    else if (features->damage)
        damage(world);
    else if (features->relog)
        relog(world);
    else if (features->retention)
        retention(world);
    else if (features->failover)
        failover(world);
}

static void fault(struct world *world)
{
    const struct features *features = &world->features;
    int dice = world_below(world, 20);

    if (features->deletion && lose_repair(world))
        return;
    if (dice < 3 && features->failover)
        failover(world);
    else if (dice == 3 && features->crash && process_crash(world, world_below(world, PROCESSES)))
        happened(world, FAULT_CRASH);
    else if (dice == 4 && features->leave && process_leave(world, world_below(world, PROCESSES)))
        happened(world, FAULT_LEAVE);
    else if (dice >= 5 && dice < 8 && features->zombie)
        rebalance(world);
    else if (dice >= 8 && dice < 11)
        ghost_arrives(world);
    else if (dice >= 11 && dice < 15 && features->lost)
        disconnect(world);
    else if (dice >= 15 && dice < 19)
        special_fault(world);
    else if (dice == 19 && features->refusal)
        refusal(world);
}

/* ---- steps ---- */

static void busy_wire(struct world *world, struct process *process)
{
    int first = world_below(world, SHARDS);

    for (int i = 0; i < SHARDS; i++) {
        int shard = (first + i) % SHARDS;
        const struct wire *wire = &process->wires[shard];
        if (wire->up && wire->request == NULL)
            continue;
        process_wire(world, process, shard);
        return;
    }
}

static void more_log(struct world *world, struct log *log)
{
    int high = log->high + 1 + world_below(world, world->features.relog ? 15 : 5);

    world->acted |= log->high < log->count;
    log->high = high < log->count ? high : log->count;
}

/* Rather a process that reads something. */
static struct process *some_process(struct world *world)
{
    int log = world_below(world, world->logs_count + 1);

    return &world->processes[log < world->logs_count ? world->owner[log]
                                                     : world_below(world, PROCESSES)];
}

static void step(struct world *world)
{
    struct process *process = some_process(world);
    int dice = world_below(world, 32);
    int log = world_below(world, world->logs_count);

    world->acted = false;
    if (dice < 2)
        process_notice(world, process);
    else if (dice < 6)
        process_feed(world, process, log);
    else if (dice < 13)
        process_pump(world, process, 1 + world_below(world, 12));
    else if (dice < 26)
        for (int n = world_below(world, 6); n >= 0; n--)
            busy_wire(world, process);
    else if (dice < 27)
        process_letters(world, process);
    else if (dice < 28)
        process_relay(world, process, log, world_below(world, SHARDS));
    else if (dice < 29)
        process_land(world, process);
    else if (dice < 30)
        more_log(world, &world->logs[log]);
    else
        pass_time(world, world_below(world, dice == 30 ? 4000 : 60000));
    world->steps += world->acted;
}

/* Everybody does what there is to do. */
static void everybody(struct world *world)
{
    for (int p = 0; p < PROCESSES; p++) {
        struct process *process = &world->processes[p];

        process_notice(world, process);
        process_pump(world, process, 1000);
        for (int s = 0; s < SHARDS; s++)
            for (int n = 0; n < 4 && (!process->wires[s].up || process->wires[s].request != NULL);
                 n++)
                process_wire(world, process, s);
        for (int l = 0; l < world->logs_count; l++) {
            process_feed(world, process, l);
            for (int s = 0; s < SHARDS && process->consumers[l].owned; s++)
                process_relay(world, process, l, s);
        }
        for (int n = process->letters_count; n > 0; n--)
            process_letters(world, process);
        for (int n = 2 * process->flights_count; n > 0; n--)
            process_land(world, process);
    }
    pass_time(world, 20000);
}

static void settle(struct world *world)
{
    world_draw(world, DRAW_QUIET, 1);
    for (int round = 0; round < SETTLE_ROUNDS && world->violation == NULL; round++)
        everybody(world);
    NOTE(world, "-- everybody reads --");
}

static void schedule(struct world *world)
{
    const struct plan *plan = world->plan;

    world_draw(world, DRAW_STEP, SLOTS_MAX);
    world->slots = SLOTS_MIN + world_below(world, SLOTS_MAX - SLOTS_MIN);
    if (plan != NULL && plan->settled)
        settle(world);
    for (int i = 0; i < world->slots && world->violation == NULL; i++) {
        world_draw(world, DRAW_FAULT, i);
        if (world_chance(world, world->fault_percent) && (plan == NULL || !plan->faults[i]))
            fault(world);
        if (plan == NULL || !plan->steps[i]) {
            world_draw(world, DRAW_STEP, i);
            step(world);
        }
        if (plan != NULL && plan->crash_after == i + 1 && process_crash(world, plan->crash_of))
            happened(world, FAULT_CRASH);
    }
}

/* Nothing fails any more: everything must come to its end. */
static void quiet(struct world *world)
{
    int done = 0;

    NOTE(world, "-- quiet --");
    world_draw(world, DRAW_QUIET, 0);
    world->calm = true;
    for (int n = 0; n < NODES; n++)
        world->nodes[n].refusing = world->nodes[n].loading = false;
    for (int l = 0; l < world->logs_count; l++)
        world->logs[l].high = world->logs[l].count;
    for (int round = 0; round < QUIET_ROUNDS && world->violation == NULL; round++) {
        everybody(world);
        done = judge_done(world) ? done + 1 : 0;
        if (done == DONE_ROUNDS)
            return;
    }
    if (world->violation == NULL)
        world_violation(world, "never done", "after %d rounds of quiet", QUIET_ROUNDS);
}

/* ---- one world ---- */

static void draw_features(struct world *world)
{
    struct features *features = &world->features;
    int kind = world_below(world, 20);

    /* Each kind is missing in some worlds: a claim a moment leaves no room for what comes later. */
    *features = (struct features){.failover = world_chance(world, 75),
                                  .crash = world_chance(world, 60),
                                  .zombie = world_chance(world, 75),
                                  .lost = world_chance(world, 85),
                                  .leave = world_chance(world, 50),
                                  .erase = world_chance(world, 50),
                                  .refusal = world_chance(world, 20)};
    if (kind < 9)
        features->two = true;
    else if (kind < 12)
        features->expiry = true;
    else if (kind < 13)
        *features = (struct features){
            .deletion = true, .erase = true, .leave = true, .refusal = world_chance(world, 50)};
    else if (kind < 14)
        features->planting = true;
    else if (kind < 16)
        features->relog = true;
    else if (kind < 17)
        features->retention = true;
    else if (kind < 18)
        features->damage = true;
    else
        features->empty = true;
}

static void draw_options(struct world *world)
{
    static const int batches[] = {1, 2, 4, 100}, percents[] = {3, 5, 7, 12};
    bool small = world_chance(world, 10);

    world->fault_percent = percents[world_below(world, 4)];
    world->options = (struct machine_options){
        .shards = SHARDS,
        .rules = world->rules,
        .max_future_skew_ms = INT64_C(600) * UNIT_MS,
        .ttl_ms = TTL_MS,
        .ttl_margin_ms = TTL_MARGIN_MS,
        .linger_us = 1 + world_below(world, 8000),
        .tick_us = 50000,
        .retry_us = 5000,
        .batch_target = 1 + world_below(world, 4),
        .batch_max = batches[world_below(world, world->features.relog ? 2 : 4)],
        .backlog_max = 2 + world_below(world, 12),
        .backlog_bytes = 1 << 20,
        .cache_bytes = small ? 300 : 1 << 20,
        .outbox_max = 3 + world_below(world, 20),
        .letters_at_once = 1 + world_below(world, LETTERS_MAX),
        .block_bytes = 4096,
        .wait_replicas = world_below(world, 2),
        .wait_ms = 10,
    };
}

static void begin(struct stage *stage, uint64_t seed, const struct plan *plan, bool show)
{
    struct world *world = stage->world;

    arena_reset(stage->arena);
    *world = (struct world){.seed = seed,
                            .plan = plan,
                            .coverage = stage->coverage,
                            .arena = stage->arena,
                            .show = show};
    random_seed(&world->machine_random, ~seed);
    world_draw(world, DRAW_WORLD, 0);
    world->published = arena_alloc(world->arena, EXAMPLES_MAX * sizeof world->published[0]);
    world->rules = &stage->rules[world_below(world, 2)];
    draw_features(world);
    draw_options(world);
    world->logs_count = 2 + (world_below(world, 3) == 0);
    for (int l = 0; l < world->logs_count; l++) {
        world->owner[l] = world_below(world, PROCESSES);
        world->group[l] = -1;
    }
    for (int l = 1; l < world->logs_count && world->features.two && world_chance(world, 60); l++)
        world->owner[l] = world->owner[0]; /* users go from partition to partition of one process */
    workload_make(world);
    for (int n = 0; n < NODES; n++) {
        store_model_init(&world->nodes[n], world->arena);
        store_model_time(&world->nodes[n], world_wall_ms(world));
    }
    for (int p = 0; p < PROCESSES; p++)
        process_start(world, &world->processes[p]);
}

const char *world_run(struct stage *stage, uint64_t seed, const struct plan *plan, bool show)
{
    struct world *world = stage->world;

    begin(stage, seed, plan, show);
    schedule(world);
    if (world->violation == NULL)
        quiet(world);
    for (int p = 0; p < PROCESSES; p++)
        process_count(world, &world->processes[p]);
    if (world->violation == NULL)
        judge(world);
    for (int p = 0; p < PROCESSES; p++)
        process_end(world, &world->processes[p]);
    return world->violation;
}
