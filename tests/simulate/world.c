/*
 * tests/simulate/world.c - the schedule: steps and faults by dice, then quiet, then the judge.
 */
#include "tests/simulate/world.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define QUIET_ROUNDS 600

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
    for (int n = 0; n < NODES; n++)
        store_model_time(&world->nodes[n], world_wall_ms(world));
}

/* ---- faults ---- */

static void failover(struct world *world)
{
    static const int sizes[] = {1, 1, 2, 3, 5, 9};
    int node = world_below(world, NODES);
    int lost;

    for (int p = 0; p < PROCESSES; p++)
        for (int s = 0; s < SHARDS; s++)
            if (node_of(s) == node)
                process_disconnect(world, &world->processes[p], s, false);
    lost = store_model_rollback(&world->nodes[node], sizes[world_below(world, 6)]);
    NOTE(world, "FAILOVER of node %d loses %d writes", node, lost);
}

static void rebalance(struct world *world)
{
    int log = world_below(world, world->logs_count);

    world->owner[log] = world_below(world, PROCESSES);
    NOTE(world, "REBALANCE: p%d belongs to P%d", log, world->owner[log]);
}

static void ghost_arrives(struct world *world)
{
    struct ghost ghost;
    struct store_reply reply;
    int index;

    if (world->ghosts_count == 0)
        return;
    index = world_below(world, world->ghosts_count);
    ghost = world->ghosts[index];
    world->ghosts[index] = world->ghosts[--world->ghosts_count];
    if (ghost.connection.epoch != world->nodes[ghost.node].epoch)
        return; /* its connection died with the old primary */
    store_model_run(&world->nodes[ghost.node], &ghost.connection, ghost.request, &reply);
    NOTE(world, "a delayed request of shard %d arrives: %s", ghost.request->shard,
         reply.result == STORE_OK ? "carried out" : "aborted");
}

/* Two jumps of the clock: the first brings every value within the margin of its end, where no
 * cache may be trusted; the second ends those that nobody wrote in between. Nothing is an hour
 * late, so what was on its way before is dead. */
static void time_jump(struct world *world)
{
    for (int p = 0; p < PROCESSES; p++)
        for (int s = 0; s < SHARDS; s++)
            process_disconnect(world, &world->processes[p], s, false);
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
        bool before[USERS] = {false};

        for (int u = 0; u < USERS; u++)
            before[u] = store_model_find(node, MODEL_USER, workload_shard(world->rules, u), 0,
                                         workload_user(u)) != NULL;
        store_model_forget_undo(node);
        store_model_time(node, world_wall_ms(world));
        for (int u = 0; u < USERS; u++) {
            int shard = workload_shard(world->rules, u), log = u % world->logs_count;
            struct model_key *m;

            if (!before[u] ||
                store_model_find(node, MODEL_USER, shard, 0, workload_user(u)) != NULL)
                continue;
            m = store_model_find(node, MODEL_M, shard, user_value_writer(log, 0), (struct text){0});
            world->expired[world->expired_count].user = u;
            world->expired[world->expired_count].log = log;
            world->expired[world->expired_count++].next = m->now.m.state.next;
            NOTE(world, "    %s ends at p%d/%lld", workload_user(u).at, log,
                 (long long)m->now.m.state.next);
        }
    }
    world->soon = !world->soon;
}

/* Somebody deletes a key, or puts something else there. */
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
    }
}

/* The log is re-created, or cut by an unclean election; who reads it hears of that. */
static void relog(struct world *world)
{
    int log = world_below(world, world->logs_count);
    int from = world_chance(world, 50) ? 0 : world_below(world, world->logs[log].high + 1);

    if (world->old_logs[log].count > 0)
        return;
    workload_change(world, log, from);
    NOTE(world, "LOG: p%d is another from %d on, up to %d", log, from, world->logs[log].high);
    for (int p = 0; p < PROCESSES; p++) {
        struct process *process = &world->processes[p];
        if (process->consumers[log].owned)
            machine_revoked(process->machine, log);
        process->consumers[log] = (struct consumer){0};
    }
}

static void retention(struct world *world)
{
    int number = world_below(world, world->logs_count);
    struct log *log = &world->logs[number];
    int low = (int)world->group[number];

    if (low <= log->low)
        return;
    log->low += 1 + world_below(world, low - log->low);
    NOTE(world, "LOG: p%d begins at %d", number, log->low);
}

static void fault(struct world *world)
{
    const struct features *features = &world->features;
    int dice = world_below(world, 12);

    world->faults++;
    if (dice < 2 && features->failover)
        failover(world);
    else if (dice == 2 && features->crash)
        process_crash(world, &world->processes[world_below(world, PROCESSES)]);
    else if (dice < 5 && features->zombie)
        rebalance(world);
    else if (dice < 7)
        ghost_arrives(world);
    else if (dice < 9 && features->lost)
        process_disconnect(world, &world->processes[world_below(world, PROCESSES)],
                           world_below(world, SHARDS), world_chance(world, 50));
    else if (dice == 9 && features->expiry && world->expired_count < USERS * 3)
        time_jump(world);
    else if (dice >= 9 && (features->deletion || features->planting))
        by_hand(world);
    else if (dice == 10 && features->relog)
        relog(world);
    else if (dice == 10 && features->retention)
        retention(world);
    else if (dice == 11 && features->refusal) {
        struct store_model *node = &world->nodes[world_below(world, NODES)];
        node->refusing = !node->refusing;
        NOTE(world, "a node %s writes", node->refusing ? "refuses" : "takes");
    } else
        world->faults--;
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

static void step(struct world *world)
{
    struct process *process = &world->processes[world_below(world, PROCESSES)];
    int dice = world_below(world, 32);
    int log = world_below(world, world->logs_count);

    world->steps++;
    if (dice < 1)
        process_notice(world, process);
    else if (dice < 5)
        process_feed(world, process, log);
    else if (dice < 12)
        process_pump(world, process, 1 + world_below(world, 12));
    else if (dice < 26)
        for (int n = world_below(world, 4); n >= 0; n--)
            busy_wire(world, process);
    else if (dice < 27)
        process_letters(world, process);
    else if (dice < 28)
        process_relay(world, process, log, world_below(world, SHARDS));
    else if (dice < 29)
        process_land(world, process);
    else if (dice < 30)
        world->logs[log].high = world->logs[log].high + 1 + world_below(world, 5) <
                                        world->logs[log].count
                                    ? world->logs[log].high + 1
                                    : world->logs[log].count;
    else
        pass_time(world, world_below(world, dice == 30 ? 4000 : 60000));
}

/* Nothing fails any more: everything must come to its end. */
static void quiet(struct world *world)
{
    NOTE(world, "-- quiet --");
    world->calm = true;
    for (int n = 0; n < NODES; n++)
        world->nodes[n].refusing = false;
    for (int l = 0; l < world->logs_count; l++)
        world->logs[l].high = world->logs[l].count;
    for (int round = 0; round < QUIET_ROUNDS && world->violation == NULL; round++) {
        for (int p = 0; p < PROCESSES; p++) {
            struct process *process = &world->processes[p];

            process_notice(world, process);
            process_pump(world, process, 1000);
            for (int s = 0; s < SHARDS; s++)
                for (int n = 0; n < 4; n++)
                    process_wire(world, process, s);
            for (int l = 0; l < world->logs_count; l++) {
                process_feed(world, process, l);
                process_relay(world, process, l, round % SHARDS);
            }
            process_letters(world, process);
            process_land(world, process);
        }
        pass_time(world, 20000);
        if (round % 8 == 7 && judge_done(world))
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

    *features = (struct features){.failover = true,
                                  .crash = true,
                                  .zombie = true,
                                  .lost = true,
                                  .erase = world_chance(world, 50),
                                  .refusal = world_chance(world, 20)};
    if (kind < 9)
        features->two = true;
    else if (kind < 12)
        features->expiry = true;
    else if (kind < 13)
        *features = (struct features){.deletion = true, .erase = true};
    else if (kind < 14)
        features->planting = true;
    else if (kind < 16)
        features->relog = true;
    else if (kind < 17)
        features->retention = true;
}

static void draw_options(struct world *world)
{
    static const int batches[] = {1, 2, 4, 100};
    bool small = world_chance(world, 10);

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
        .batch_max = batches[world_below(world, 4)],
        .backlog_max = 2 + world_below(world, 12),
        .backlog_bytes = 1 << 20,
        .cache_bytes = small ? 300 : 1 << 20,
        .outbox_max = 3 + world_below(world, 20),
        .block_bytes = 4096,
        .wait_replicas = world_below(world, 2),
        .wait_ms = 10,
    };
}

const char *world_run(struct world *world, uint64_t seed, struct arena *arena,
                      const struct rules rules[2], bool show)
{
    int steps;

    arena_reset(arena);
    *world = (struct world){.seed = seed, .arena = arena, .show = show};
    random_seed(&world->random, seed);
    random_seed(&world->machine_random, ~seed);
    world->published = arena_alloc(arena, EXAMPLES_MAX * sizeof world->published[0]);
    world->rules = &rules[world_below(world, 2)];
    draw_features(world);
    draw_options(world);
    workload_make(world);
    for (int n = 0; n < NODES; n++) {
        store_model_init(&world->nodes[n], arena);
        store_model_time(&world->nodes[n], world_wall_ms(world));
    }
    for (int l = 0; l < world->logs_count; l++) {
        world->owner[l] = world_below(world, PROCESSES);
        world->group[l] = -1;
    }
    for (int p = 0; p < PROCESSES; p++)
        process_start(world, &world->processes[p]);
    steps = 150 + world_below(world, 450);
    for (int i = 0; i < steps && world->violation == NULL; i++) {
        if (world_chance(world, 3))
            fault(world);
        step(world);
    }
    if (world->violation == NULL)
        quiet(world);
    for (int p = 0; p < PROCESSES; p++)
        world->quarantined += machine_stats(world->processes[p].machine)->quarantined;
    if (world->violation == NULL)
        judge(world);
    for (int p = 0; p < PROCESSES; p++)
        machine_destroy(world->processes[p].machine);
    return world->violation;
}
