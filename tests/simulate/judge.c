/*
 * tests/simulate/judge.c - is what is stored what one thread makes of the logs?
 *
 * The replay goes through features/user_store.h: no shards, no transactions, no patches. A
 * partition that was rightly stopped is judged up to where each shard had come, by the log that
 * was there before.
 */
#include "tests/simulate/world.h"

#include "features/user_store.h"
#include "schemas/example.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPECTED_MAX 1024
#define TRAINED_EACH 64

struct expected { /* a row that must have been published */
    int log, user;
    struct store_id id;
    const uint8_t *bytes;
    size_t bytes_count;
    bool erased; /* an erasure may have come before the relay */
};

struct court {
    struct world *world;
    struct user_store *stores[USERS]; /* who holds this user's value */
    struct user_store *made[USERS * 4 + 1];
    int made_count;
    struct expected *expected; /* (EXPECTED_MAX) */
    int expected_count;
    int64_t counts[LOGS_MAX][SHARDS][OUTCOME_COUNT];
    /* the record at hand */
    int log, user, n;
    int64_t offset;
};

static const struct store_m *m_at(struct world *world, int log, int shard)
{
    struct model_key *key = store_model_find(&world->nodes[node_of(shard)], MODEL_M, shard,
                                             user_value_writer(log, 0), (struct text){0});

    return key != NULL && key->now.m.has_state ? &key->now.m : NULL;
}

static bool stopped(const struct world *world, int log)
{
    return world->processes[world->owner[log]].stopped[log];
}

bool judge_done(struct world *world)
{
    for (int l = 0; l < world->logs_count; l++)
        for (int s = 0; s < SHARDS; s++) {
            const struct log *log = &world->logs[l];
            const struct store_m *m = m_at(world, l, s);
            struct model_key *outbox = store_model_find(&world->nodes[node_of(s)], MODEL_OUTBOX, s,
                                                        user_value_writer(l, 0), (struct text){0});
            int end = log->count;

            if (stopped(world, l))
                continue;
            if (!world->processes[world->owner[l]].consumers[l].assigned)
                return false; /* a log that was changed may seem done to who has not looked yet */
            while (end > log->start && log->entries[end - 1].kind == ENTRY_GAP)
                end--; /* nobody hears of a gap at the end */
            if (m == NULL || m->state.next < end)
                return false;
            if (outbox != NULL && outbox->now.rows_count > 0)
                return false;
        }
    return true;
}

/* ---- the replay ---- */

static void expect(void *context, const uint8_t *bytes, size_t count)
{
    struct court *court = context;
    struct world *world = court->world;

    assert(court->expected_count < EXPECTED_MAX);
    court->expected[court->expected_count++] = (struct expected){
        .log = court->log,
        .user = court->user,
        .id = store_id_of(court->offset, court->n++, bytes, count),
        .bytes = arena_copy(world->arena, bytes, count),
        .bytes_count = count};
}

static void new_store(struct court *court, int user)
{
    struct error err;
    struct user_store *store;

    if (user_store_create(&store, court->world->rules, &err) != OK) {
        world_violation(court->world, "user_store_create", "%s", err.text);
        return;
    }
    court->made[court->made_count++] = store;
    for (int u = 0; u < USERS; u++)
        if (user < 0 || u == user)
            court->stores[u] = store;
}

static void expire(struct court *court, int log, int64_t offset)
{
    const struct world *world = court->world;

    for (int i = 0; i < world->expired_count; i++)
        if (world->expired[i].log == log && world->expired[i].next == offset)
            new_store(court, world->expired[i].user);
}

static void replay_log(struct court *court, int number, const struct log *log)
{
    struct world *world = court->world;
    int64_t watermark = STORE_NO_WATERMARK;
    struct error err;

    court->log = number;
    for (int i = log->start; i < log->count; i++) {
        const struct entry *entry = &log->entries[i];
        const struct store_m *m = m_at(world, number, entry->shard);
        enum outcome outcome = OUTCOME_DEAD;

        expire(court, number, i);
        if (entry->kind == ENTRY_GAP)
            continue;
        if (m == NULL || i >= m->state.next)
            goto passed;
        court->user = entry->user;
        court->offset = i;
        court->n = 0;
        if (entry->kind == ENTRY_EVENT &&
            user_store_apply(court->stores[entry->user], &entry->event, watermark, entry->replayed,
                             expect, court, &outcome, &err) != OK)
            world_violation(world, "user_store_apply", "%s", err.text);
        court->counts[number][entry->kind == ENTRY_EVENT ? entry->shard : 0][outcome]++;
        if (entry->kind == ENTRY_DEAD && !world->letters[number][i] && !stopped(world, number))
            world_violation(world, "dead letter lost", "p%d/%d", number, i);
    passed:
        if (entry->kind == ENTRY_EVENT)
            watermark = rules_watermark(watermark, entry->event.time_ms, entry->timestamp_ms,
                                        INT64_C(600) * UNIT_MS);
    }
    expire(court, number, log->count);
}

/* ---- users ---- */

static bool same_entries(const struct user_value *a, const struct user_value *b)
{
    if (a->count != b->count || a->erased_at_ms != b->erased_at_ms)
        return false;
    for (int i = 0; i < a->count; i++)
        if (user_entry_compare(&a->entries[i], &b->entries[i]) != 0)
            return false;
    return true;
}

static void describe(const struct user_value *value, char *into, size_t bytes)
{
    size_t used = 0;

    into[0] = 0;
    for (int i = 0; i < value->count && used < bytes; i++)
        used += (size_t)snprintf(into + used, bytes - used, " %lld",
                                 (long long)((value->entries[i].time_ms - TIME_BASE_MS) / UNIT_MS));
    if (used < bytes)
        (void)snprintf(into + used, bytes - used, " opens %d running %u", value->opens_count,
                       (unsigned)value->running);
}

static bool user_is_right(struct court *court, int user, struct user_value *have)
{
    static const struct user_value empty;
    struct world *world = court->world;
    const struct user_value *want = user_store_get(court->stores[user], workload_user(user));
    char wanted[80], had[80];

    if (want == NULL)
        want = &empty;
    if (world->moved[user] ? same_entries(want, have) : user_value_equal(want, have))
        return true;
    describe(want, wanted, sizeof wanted);
    describe(have, had, sizeof had);
    NOTE(world, "%s: want%s, have%s", workload_user(user).at, wanted, had);
    return false;
}

/* Marks the users whose stored value is not what the replay says. */
static void find_wrong(struct court *court, bool wrong[USERS])
{
    struct world *world = court->world;
    struct user_value *have = arena_alloc(world->arena, sizeof *have);
    struct error err;

    for (int u = 0; u < USERS; u++) {
        int shard = workload_shard(world->rules, u);
        struct model_key *key = store_model_find(&world->nodes[node_of(shard)], MODEL_USER, shard,
                                                 0, workload_user(u));

        wrong[u] = false;
        memset(have, 0, sizeof *have);
        if (key != NULL && key->now.bad_type) {
            wrong[u] = !world->unsure[u];
            continue;
        }
        if (key != NULL && user_value_decode(have, key->now.bytes, key->now.bytes_count,
                                             world->arena, &err) != OK) {
            world_violation(world, "a value is corrupt", "%s: %s", workload_user(u).at, err.text);
            continue;
        }
        wrong[u] = !world->unsure[u] && !user_is_right(court, u, have);
    }
}

/* ---- counts, letters ---- */

static bool shard_is_exact(const struct world *world, int shard)
{
    for (int u = 0; u < USERS; u++)
        if (workload_shard(world->rules, u) == shard && (world->moved[u] || world->unsure[u]))
            return false;
    return true;
}

static int64_t letters_of(const struct world *world, int log, int shard)
{
    int64_t count = 0;

    for (int i = 0; i < world->logs[log].count; i++) {
        const struct entry *entry = &world->logs[log].entries[i];
        count += world->letters[log][i] && (entry->kind == ENTRY_EVENT ? entry->shard : 0) == shard;
    }
    return count;
}

static void check_counts(struct court *court)
{
    struct world *world = court->world;

    for (int l = 0; l < world->logs_count; l++)
        for (int s = 0; s < SHARDS; s++) {
            const struct store_m *m = m_at(world, l, s);
            const int64_t *want = court->counts[l][s];
            int64_t sum = 0, wanted = 0;
            bool same = true;

            if (m == NULL || stopped(world, l))
                continue;
            for (int o = 0; o < OUTCOME_COUNT; o++) {
                sum += m->state.counts[o];
                wanted += want[o];
                same &= m->state.counts[o] == want[o];
            }
            if (sum != wanted || (shard_is_exact(world, s) && !same))
                world_violation(world, "counts are wrong", "p%d shard %d: %lld records, want %lld",
                                l, s, (long long)sum, (long long)wanted);
            if (m->state.counts[OUTCOME_DEAD] > letters_of(world, l, s))
                world_violation(world, "dead letter lost", "p%d shard %d: %lld dead", l, s,
                                (long long)m->state.counts[OUTCOME_DEAD]);
            if (m->state.watermark_ms != workload_watermark(&world->logs[l], m->state.next))
                world_violation(world, "watermark is wrong", "p%d shard %d", l, s);
        }
}

/* ---- examples ---- */

static bool is_published(const struct world *world, const struct expected *want)
{
    for (int i = 0; i < world->published_count; i++) {
        const struct published *have = &world->published[i];
        if (have->log == want->log && store_id_compare(have->row->id, want->id) == 0 &&
            have->row->bytes_count == want->bytes_count &&
            memcmp(have->row->bytes, want->bytes, want->bytes_count) == 0)
            return true;
    }
    return false;
}

static bool is_expected(const struct court *court, const struct published *have)
{
    for (int i = 0; i < court->expected_count; i++) {
        const struct expected *want = &court->expected[i];
        if (have->log == want->log && store_id_compare(have->row->id, want->id) == 0)
            return true;
    }
    return false;
}

/* A label as the trainer knows it: (example, row, action). Of users fed by two partitions only
 * these are compared, for histories and ids of rows follow the interleaving. */
struct label {
    uint64_t example;
    int row; /* -1: the example itself */
    uint8_t action;
};

static bool label_of(struct court *court, const uint8_t *bytes, size_t count, struct label *label,
                     uint64_t *user)
{
    struct example example;
    struct error err;

    if (example_decode(&example, bytes, count, court->world->arena, &err) != OK) {
        world_violation(court->world, "a published row is no example", "%s", err.text);
        return false;
    }
    *user = example.user;
    if (example.kind != EXAMPLE_SHOWN && example.kind != EXAMPLE_LABEL)
        return false;
    *label = (struct label){example.id, example.kind == EXAMPLE_SHOWN ? -1 : example.row,
                            example.kind == EXAMPLE_SHOWN ? (uint8_t)0 : example.action};
    return true;
}

static bool same_label(const struct label *a, const struct label *b)
{
    return a->example == b->example && a->row == b->row && a->action == b->action;
}

/* What an erasure of the user took from the outboxes, if it was still there. */
static void mark_erased(struct court *court)
{
    for (int i = 0; i < court->expected_count; i++) {
        const struct expected *erasure = &court->expected[i];
        struct example example;
        struct error err;

        if (example_decode(&example, erasure->bytes, erasure->bytes_count, court->world->arena,
                           &err) != OK ||
            example.kind != EXAMPLE_ERASE)
            continue;
        for (int k = 0; k < court->expected_count; k++)
            court->expected[k].erased |= example_holds(court->expected[k].bytes,
                                                       court->expected[k].bytes_count, example.user,
                                                       example.time_ms);
    }
}

/* Both ways: nothing lost, nothing invented. */
static void check_labels(struct court *court, int user)
{
    struct world *world = court->world;
    uint64_t hash = rules_user_hash(world->rules, workload_user(user)), of;
    struct label wanted[256], had[256], label;
    bool erased[256];
    int wanted_count = 0, had_count = 0;

    for (int i = 0; i < court->expected_count; i++)
        if (court->expected[i].user == user && wanted_count < 256 &&
            label_of(court, court->expected[i].bytes, court->expected[i].bytes_count, &label,
                     &of)) {
            erased[wanted_count] = court->expected[i].erased;
            wanted[wanted_count++] = label;
        }
    for (int i = 0; i < world->published_count; i++) {
        const struct model_row *row = world->published[i].row;
        if (label_of(court, row->bytes, row->bytes_count, &label, &of) && of == hash &&
            had_count < 256)
            had[had_count++] = label;
    }
    for (int i = 0; i < wanted_count; i++) {
        bool found = erased[i];
        for (int k = 0; k < had_count; k++)
            found |= same_label(&wanted[i], &had[k]);
        if (!found)
            world_violation(world, wanted[i].row < 0 ? "an example is lost" : "a label is lost",
                            "%s, of two partitions", workload_user(user).at);
    }
    for (int k = 0; k < had_count; k++) {
        bool found = false;
        for (int i = 0; i < wanted_count; i++)
            found |= same_label(&wanted[i], &had[k]);
        if (!found)
            world_violation(world, "an example or label is invented", "%s, of two partitions",
                            workload_user(user).at);
    }
}

static int user_of_row(struct court *court, const struct published *have)
{
    struct world *world = court->world;
    struct label label;
    uint64_t hash = 0;

    (void)label_of(court, have->row->bytes, have->row->bytes_count, &label, &hash);
    for (int u = 0; u < USERS; u++)
        if (rules_user_hash(world->rules, workload_user(u)) == hash)
            return u;
    return -1;
}

/* Was a label published before its list? */
static bool label_came_first(struct court *court)
{
    struct world *world = court->world;
    uint64_t *shown = arena_alloc(world->arena, EXAMPLES_MAX * sizeof shown[0]), of;
    int shown_count = 0;

    for (int i = 0; i < world->published_count; i++) {
        const struct model_row *row = world->published[i].row;
        struct label label;
        bool known = false;

        if (!label_of(court, row->bytes, row->bytes_count, &label, &of))
            continue;
        for (int k = 0; k < shown_count && !known; k++)
            known = shown[k] == label.example;
        if (label.row < 0)
            shown[shown_count++] = label.example;
        else if (!known)
            return true;
    }
    return false;
}

/* Its tables are larger than all of this world: where something is out of order, and a share of the
 * other schedules. */
static bool trains(struct court *court)
{
    return court->world->seed % TRAINED_EACH == 0 || label_came_first(court);
}

static bool user_is_simple(const struct court *court, int user)
{
    const struct world *world = court->world;

    for (int i = 0; i < world->expired_count; i++)
        if (world->expired[i].user == user)
            return false;
    for (int i = 0; i < court->expected_count; i++)
        if (court->expected[i].user == user && court->expected[i].erased)
            return false;
    return !world->unsure[user];
}

/* The labels of users fed by two partitions are the same in any interleaving, as they name their
 * request; a view is none. */
static void check_trainer(struct court *court)
{
    struct world *world = court->world;
    uint64_t *examples = arena_alloc(world->arena, EXPECTED_MAX * sizeof examples[0]), of;
    struct trainer_label *labels = arena_alloc(world->arena, EXPECTED_MAX * sizeof labels[0]);
    int examples_count = 0, labels_count = 0;
    bool simple[USERS];

    for (int u = 0; u < USERS; u++)
        simple[u] = user_is_simple(court, u);
    for (int i = 0; i < court->expected_count; i++) {
        const struct expected *want = &court->expected[i];
        struct label label;

        if (!simple[want->user] || !label_of(court, want->bytes, want->bytes_count, &label, &of))
            continue;
        if (label.row < 0)
            examples[examples_count++] = label.example;
        else if (world->rules->actions[label.action].label > 0)
            labels[labels_count++] = (struct trainer_label){label.example, label.row};
    }
    trainer_check(world, examples, examples_count, labels, labels_count);
}

/* The value ended at or before this record of its log. Emitted before that, lost in a failover and
 * emitted again, the record's rows tell another history, and labels may have lost their list. */
static bool ended_before(const struct world *world, int user, int log, int64_t offset)
{
    for (int i = 0; i < world->expired_count; i++)
        if (world->expired[i].user == user && world->expired[i].log == log &&
            world->expired[i].next <= offset)
            return true;
    return false;
}

static void check_examples(struct court *court)
{
    struct world *world = court->world;
    bool changed = false;

    for (int l = 0; l < world->logs_count; l++)
        changed |= stopped(world, l) || world->old_logs[l].count > 0;
    if (changed)
        return; /* rows of what was read before may have gone out, or not */
    mark_erased(court);
    for (int u = 0; u < USERS; u++)
        if (world->moved[u] && !world->unsure[u])
            check_labels(court, u);
    for (int i = 0; i < court->expected_count; i++) {
        const struct expected *want = &court->expected[i];
        if (world->moved[want->user] || world->unsure[want->user] || want->erased)
            continue;
        if (!is_published(world, want))
            world_violation(world, "a row is lost", "p%d/%llu of %s", want->log,
                            (unsigned long long)want->id.high - 1, workload_user(want->user).at);
    }
    for (int i = 0; i < world->published_count; i++) {
        const struct published *have = &world->published[i];
        int user = user_of_row(court, have);
        if (user < 0 || world->moved[user] || world->unsure[user] ||
            ended_before(world, user, have->log, (int64_t)have->row->id.high - 1))
            continue;
        if (!is_expected(court, have))
            world_violation(world, "a row is invented", "p%d/%llu of %s", have->log,
                            (unsigned long long)have->row->id.high - 1, workload_user(user).at);
    }
    if (trains(court))
        check_trainer(court);
}

/* ---- stops ---- */

/* A refusal must have its reason in the world. */
static void check_stop(struct world *world, int log)
{
    enum stop_reason reason = world->processes[world->owner[log]].reason[log];
    bool changed = world->old_logs[log].count > 0;

    if ((reason == STOP_LOG_CHANGED || reason == STOP_OFFSET_AHEAD) && changed)
        return;
    if (reason == STOP_DATA_LOST && (changed || world->logs[log].low > world->logs[log].start))
        return;
    if (reason == STOP_STATE_DAMAGED && world->damaged[log])
        return;
    if (reason == STOP_STATE_LOST && world->start_lost[log])
        return;
    world_violation(world, "stopped without a reason", "p%d: %s", log, stop_reason_names[reason]);
}

/* ---- the judgement ---- */

static void replay(struct court *court, bool old)
{
    struct world *world = court->world;

    court->expected_count = 0;
    memset(court->counts, 0, sizeof court->counts);
    new_store(court, -1);
    for (int l = 0; l < world->logs_count; l++) {
        bool before = old && stopped(world, l) && world->old_logs[l].count > 0;
        replay_log(court, l, before ? &world->old_logs[l] : &world->logs[l]);
    }
}

/* A user of a log that was left in time may also stand as that log had it. */
static void check_users(struct court *court)
{
    struct world *world = court->world;
    bool wrong[USERS], wrong_before[USERS] = {false}, left = false;

    for (int l = 0; l < world->logs_count; l++)
        left |= stopped(world, l) && world->old_logs[l].count > 0;
    if (left) {
        replay(court, true);
        find_wrong(court, wrong_before);
    }
    replay(court, false);
    find_wrong(court, wrong);
    for (int u = 0; u < USERS; u++)
        if (wrong[u] && (!left || wrong_before[u]))
            world_violation(world, "a user's value is wrong", "%s%s", workload_user(u).at,
                            world->moved[u] ? ", fed by two partitions" : "");
}

void judge(struct world *world)
{
    struct court court = {.world = world};

    court.expected = arena_alloc(world->arena, EXPECTED_MAX * sizeof court.expected[0]);
    for (int l = 0; l < world->logs_count; l++)
        if (stopped(world, l))
            check_stop(world, l);
    for (int n = 0; n < NODES; n++)
        if (world->nodes[n].append_errors > 0)
            world_violation(world, "the outbox refused a row", "node %d", n);
    if (world->quarantined > 0 && !world->features.planting)
        world_violation(world, "a value was unusable", "%d times", (int)world->quarantined);
    if (world->behind > 0 && !world->rolled_back)
        world_violation(world, "a rollback was seen where none was", "%d times",
                        (int)world->behind);
    check_users(&court);
    check_counts(&court);
    check_examples(&court);
    for (int i = 0; i < court.made_count; i++)
        user_store_destroy(court.made[i]);
}
