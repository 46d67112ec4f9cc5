/*
 * machine/commit.c - see commit.h.
 *
 * The stages, in the order of this file:
 *
 *     gather        a prefix of every queue of the shard; `to` is its end, for each partition
 *     find_users    which of its users must be read, because no good value is cached
 *     (forget.c)    an erasure: which rows of the outboxes go with the user
 *     (apply.c)     the rules
 *     send          MULTI writes EXEC, with WATCH and read for the next commit behind it
 *     settle        EXEC was carried out: beliefs, queues and cache move
 *     decide        what was read of every m, against what we believe
 *
 * A plan lives on one WATCH. Whatever ends that (a claim, a lost connection, a partition that came
 * or went, an abort) throws the plan away and makes it anew from the queues, which nothing but a
 * settled commit, or a stored `next` that is further, ever shortens.
 */
#include "machine/commit.h"

#include "machine/apply.h"
#include "machine/claims.h"
#include "machine/defences.h"
#include "machine/forget.h"
#include "machine/verdict.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* A batch of new users can take megabytes; what a shard keeps between batches is bounded, for
 * there are many shards. */
#define ARENA_KEEP_BYTES ((size_t)512 << 10)
#define HALVED_MIN       64 /* records: with the largest values, a few MB */

/* ---- when ---- */

static bool tick_due(const struct machine *machine, const struct shard *shard)
{
    return shard->round < machine->round && (DEFENCE_TICK || shard->queued > 0);
}

static bool due(const struct machine *machine, const struct shard *shard)
{
    if (machine->reading_count == 0)
        return false;
    if (shard->commit.stage != STAGE_NONE || tick_due(machine, shard))
        return true;
    return shard->queued > 0 &&
           (machine->draining || shard->queued >= machine->options.batch_target ||
            machine->now_us - shard->queued_since_us >= machine->options.linger_us);
}

int64_t commit_wakeup_us(const struct machine *machine, const struct shard *shard)
{
    if (machine->reading_count == 0 || shard->queued == 0)
        return INT64_MAX;
    if (shard->commit.stage == STAGE_APPLIED &&
        !letters_delivered_to(&machine->letters, shard->commit.letter))
        return INT64_MAX; /* their delivery is the next that can happen */
    return shard->queued_since_us + machine->options.linger_us;
}

/* ---- gather ---- */

static bool hash_room(struct shard *shard, int records)
{
    struct commit *commit = &shard->commit;
    uint32_t size = 16;

    while (size < 2 * (uint32_t)records)
        size *= 2;
    commit->works_max = records;
    commit->works = arena_alloc(shard->arena, (size_t)(records + 1) * sizeof commit->works[0]);
    commit->table = arena_alloc_zeroed(shard->arena, size * sizeof commit->table[0]);
    commit->table_mask = size - 1;
    return commit->works != NULL && commit->table != NULL;
}

static void note_erasure(struct work *work, const struct record *record)
{
    if (record->event.kind != EVENT_ERASE)
        return;
    if (!work->erases || record->event.time_ms > work->erased_at_ms)
        work->erased_at_ms = record->event.time_ms;
    work->erases = true;
}

/* The record joins its user's chain. False: no memory. */
static bool add_to_user(struct shard *shard, struct record *record)
{
    struct commit *commit = &shard->commit;
    uint32_t at = (uint32_t)(record->user_hash >> 16) & commit->table_mask;
    struct text user = record->event.user;
    struct work *work;

    record->sibling = NULL;
    while (commit->table[at] != 0) {
        work = &commit->works[commit->table[at] - 1];
        if (work->hash == record->user_hash && text_equal(work->user, user)) {
            work->last->sibling = record;
            work->last = record;
            note_erasure(work, record);
            return true;
        }
        at = (at + 1) & commit->table_mask;
    }
    assert(commit->works_count < commit->works_max);
    user.at = arena_copy(shard->arena, user.at, user.bytes);
    if (user.at == NULL)
        return false;
    work = &commit->works[commit->works_count++];
    *work = (struct work){.hash = record->user_hash, .user = user, .first = record, .last = record};
    commit->table[at] = commit->works_count;
    note_erasure(work, record);
    return true;
}

/* Takes up to `most` more records of a part into the batch; *rest is where it stopped. */
static bool gather_part(struct shard *shard, int index, struct record **rest, int most)
{
    struct commit *commit = &shard->commit;
    struct part *part = &commit->parts[index];

    for (; *rest != NULL && most > 0; *rest = (*rest)->next, most--) {
        struct record *record = *rest;

        record->part = index;
        part->records++;
        commit->records++;
        if (record->refusal == REFUSAL_NONE) {
            if (!add_to_user(shard, record))
                return false;
            continue;
        }
        part->to.counts[OUTCOME_DEAD]++;
        if (record->letter > commit->letter)
            commit->letter = record->letter;
    }
    return true;
}

/* The batch ends before the first record left over, else at all that was read: not at the shard's
 * last record, so that quiet shards do not hold the partition back. It ends right behind a record,
 * never behind a gap: an unclean election may put another record there, and `last` could not tell.
 * Never below what is applied. A part without records waits for the tick: small batches would else
 * write the m of every partition for the record of one. */
static void end_part(struct part *part, const struct progress *progress, const struct record *rest,
                     bool ticks)
{
    const struct partition *partition = part->partition;
    struct store_state to = part->to; /* with the counts */

    if (part->records == 0 && !ticks)
        return;
    if (rest != NULL) {
        to.next = rest->last_offset + 1; /* 0 behind none: below what is applied */
        to.watermark_ms = rest->watermark_ms;
        to.last_offset = rest->last_offset;
        to.last_hash = rest->last_hash;
    } else {
        to.next = partition->position;
        to.watermark_ms = partition->watermark_ms;
        to.last_offset = partition->last_offset;
        to.last_hash = partition->last_hash;
    }
    part->to = DEFENCE_TO_MAX && to.next <= progress->state.next ? progress->state : to;
}

static bool gather(struct machine *machine, struct shard *shard)
{
    struct commit *commit = &shard->commit;
    int limit = shard->batch_limit < shard->queued ? shard->batch_limit : shard->queued;
    int share = limit / machine->reading_count + 1;
    struct record **rests;

    if (arena_used_bytes(shard->arena) > ARENA_KEEP_BYTES) {
        arena_destroy(shard->arena);
        shard->arena = machine_arena(machine);
    }
    arena_reset(shard->arena);
    *commit = (struct commit){.round = machine->round};
    commit->parts_count = machine->reading_count;
    commit->parts = arena_alloc_zeroed(shard->arena,
                                       (size_t)commit->parts_count * sizeof commit->parts[0]);
    rests = arena_alloc(shard->arena, (size_t)commit->parts_count * sizeof rests[0]);
    /* The shares round up, so a batch may exceed its limit by one record a partition. */
    if (commit->parts == NULL || rests == NULL || !hash_room(shard, limit + commit->parts_count))
        return false;
    for (int i = 0; i < commit->parts_count; i++) {
        struct partition *partition = machine->reading[i];
        struct progress *progress = progress_of(partition, shard);

        commit->parts[i] = (struct part){.partition = partition,
                                         .generation = partition->generation,
                                         .from = progress->state.next,
                                         .to = progress->state};
        rests[i] = progress->queue.first;
        if (!gather_part(shard, i, &rests[i], share))
            return false;
    }
    for (int i = 0; i < commit->parts_count; i++) {
        if (!gather_part(shard, i, &rests[i], limit - commit->records))
            return false;
        end_part(&commit->parts[i], progress_of(commit->parts[i].partition, shard), rests[i],
                 tick_due(machine, shard));
    }
    return true;
}

/* ---- users ---- */

/* May the cached value be used without reading it? Its writer is ours, watched and as believed,
 * nothing has dropped it since, and it will not expire before the EXEC. */
static bool good(const struct machine *machine, const struct shard *shard,
                 const struct cached *cached)
{
    const struct partition *partition;

    if (cached->slot == CACHED_UNUSABLE)
        return false;
    partition = machine->partitions[cached->slot];
    return partition->phase == PHASE_READING &&
           cached->epoch == partition->shards[shard->number].cache_epoch &&
           (!DEFENCE_TTL_MARGIN ||
            cached->written_at_ms + machine->options.ttl_ms - machine->now_wall_ms >
                machine->options.ttl_margin_ms);
}

/* Pins what is cached; returns how many users must be read. */
static int find_users(struct machine *machine, struct shard *shard)
{
    struct commit *commit = &shard->commit;
    int missing = 0;

    for (int i = 0; i < commit->works_count; i++) {
        struct work *work = &commit->works[i];
        struct cached *cached = user_cache_find(&machine->cache, work->hash, work->user);

        if (cached == NULL || !good(machine, shard, cached)) {
            if (cached != NULL)
                cached->slot = CACHED_UNUSABLE; /* also if the clock should go back */
            work->read = true;
            missing++;
            continue;
        }
        cached->pins++;
        work->cached = cached;
        work->found = STORE_PRESENT;
        work->base = cached->image;
        work->base_bytes = cached->bytes;
    }
    machine->stats.cache_misses += (uint64_t)missing;
    machine->stats.cache_hits += (uint64_t)(commit->works_count - missing);
    return missing;
}

static bool ask_users(struct shard *shard, int missing)
{
    struct commit *commit = &shard->commit;
    struct text *users = arena_alloc(shard->arena, (size_t)missing * sizeof users[0]);
    int count = 0;

    if (users == NULL)
        return false;
    for (int i = 0; i < commit->works_count; i++)
        if (commit->works[i].read)
            users[count++] = commit->works[i].user;
    shard->turn = TURN_USERS;
    shard->request = (struct store_request){
        .kind = STORE_READ, .shard = shard->number, .users = users, .users_count = count};
    commit->stage = STAGE_USERS;
    return true;
}

static bool take_users(struct shard *shard, const struct store_reply *reply)
{
    struct commit *commit = &shard->commit;
    int at = 0;

    for (int i = 0; i < commit->works_count; i++) {
        struct work *work = &commit->works[i];
        const struct store_value *value;

        if (!work->read)
            continue;
        value = &reply->values[at++];
        work->found = value->found;
        if (value->found != STORE_PRESENT)
            continue;
        work->base = arena_copy(shard->arena, value->bytes, value->bytes_count);
        work->base_bytes = (uint32_t)value->bytes_count;
        if (work->base == NULL)
            return false;
    }
    return true;
}

/* ---- the plan ---- */

void commit_abandon(struct shard *shard)
{
    struct commit *commit = &shard->commit;

    for (int i = 0; i < commit->works_count; i++) {
        if (commit->works[i].cached != NULL)
            commit->works[i].cached->pins--;
        commit->works[i].cached = NULL;
    }
    commit->works_count = 0;
    commit->stage = STAGE_NONE;
}

/* The batch does not fit into memory: a smaller one will. */
static void shrink(struct machine *machine, struct shard *shard)
{
    commit_abandon(shard);
    if (shard->batch_limit > 1)
        shard->batch_limit /= 2;
    shard->retry_at_us = machine->now_us + machine_back_off(machine, shard->failures++);
}

void commit_halve(struct shard *shard)
{
    int half = shard->commit.records / 2;

    if (half < HALVED_MIN)
        half = HALVED_MIN;
    if (half < shard->batch_limit)
        shard->batch_limit = half;
}

static bool apply(struct machine *machine, struct shard *shard)
{
    struct error err;

    if (apply_batch(machine, shard, &err) != OK) {
        shrink(machine, shard);
        return false;
    }
    shard->commit.stage = STAGE_APPLIED;
    return true;
}

/* All users are there. An erasure reads the outboxes before the rules are applied. */
static bool users_there(struct machine *machine, struct shard *shard)
{
    if (!forget_wanted(shard))
        return apply(machine, shard);
    shard->commit.stage = STAGE_ROWS;
    return true;
}

/* ---- send ---- */

/* m of all partitions that are read: what the next commit is decided on. */
static bool watch_all(struct machine *machine, struct shard *shard)
{
    int count = machine->reading_count;

    if (count > shard->watch_max) {
        struct watched *watch = realloc(shard->watch, (size_t)count * sizeof watch[0]);
        uint32_t *tps;
        if (watch == NULL)
            return false;
        shard->watch = watch;
        tps = realloc(shard->watch_tps, (size_t)count * sizeof tps[0]);
        if (tps == NULL)
            return false;
        shard->watch_tps = tps;
        shard->watch_max = count;
    }
    shard->watch_count = count;
    for (int i = 0; i < count; i++) {
        struct partition *partition = machine->reading[i];
        shard->watch[i] = (struct watched){partition, partition->generation};
        shard->watch_tps[i] = partition->tp;
    }
    shard->init_watched = NULL;
    shard->watched = false; /* until the answer has been looked at */
    shard->watched_membership = machine->membership;
    shard->request.tps = shard->watch_tps;
    shard->request.tps_count = count;
    return true;
}

static bool ask_watch(struct machine *machine, struct shard *shard)
{
    shard->request = (struct store_request){
        .kind = STORE_READ, .shard = shard->number, .fresh = true};
    if (!watch_all(machine, shard))
        return false;
    shard->turn = TURN_WATCH;
    return true;
}

static int emitted_order(const void *left, const void *right)
{
    const struct emitted *a = left, *b = right;

    if (a->part != b->part)
        return a->part < b->part ? -1 : 1;
    return store_id_compare(a->append.id, b->append.id);
}

/* Outbox rows by rising id in each stream: users were applied one after the other. */
static bool put_appends(struct shard *shard)
{
    struct commit *commit = &shard->commit;
    struct store_append *appends;

    if (commit->emitted_count == 0)
        return true;
    appends = arena_alloc(shard->arena, (size_t)commit->emitted_count * sizeof appends[0]);
    if (appends == NULL)
        return false;
    qsort(commit->emitted, (size_t)commit->emitted_count, sizeof commit->emitted[0], emitted_order);
    for (int i = 0; i < commit->emitted_count; i++)
        appends[i] = commit->emitted[i].append;
    shard->request.appends = appends;
    shard->request.appends_count = commit->emitted_count;
    return true;
}

static uint64_t new_stamp(struct machine *machine, const struct partition *partition,
                          const struct shard *shard)
{
    uint64_t stamp;

    if (!DEFENCE_RANDOM_STAMP)
        return partition == NULL ? 1 : partition->shards[shard->number].stamp + 1;
    do {
        stamp = machine_random(machine);
    } while (stamp == 0);
    return stamp;
}

/* m of a tp among those to be written, adding it if it is not there. */
static struct store_m_write *m_of(struct store_m_write *ms, int *count, uint32_t tp)
{
    for (int i = 0; i < *count; i++)
        if (ms[i].tp == tp)
            return &ms[i];
    ms[*count] = (struct store_m_write){.tp = tp};
    return &ms[(*count)++];
}

/* The new state of every partition that moved, and a stamp for every writer that lost a value. */
static bool put_ms(struct machine *machine, struct shard *shard)
{
    struct commit *commit = &shard->commit;
    int moved = 0, count = 0;
    struct store_m_write *ms;

    for (int i = 0; i < commit->works_count; i++)
        moved += commit->works[i].moved;
    ms = arena_alloc(shard->arena, (size_t)(commit->parts_count + moved + 1) * sizeof ms[0]);
    if (ms == NULL)
        return false;
    for (int i = 0; i < commit->parts_count; i++) {
        const struct part *part = &commit->parts[i];
        if (part->to.next == part->from)
            continue;
        ms[count++] = (struct store_m_write){
            .tp = part->partition->tp, .has_state = true, .state = part->to};
    }
    for (int i = 0; i < commit->works_count && DEFENCE_STAMP; i++) {
        const struct work *work = &commit->works[i];
        struct store_m_write *m;

        if (!work->moved)
            continue;
        m = m_of(ms, &count, work->old_writer);
        if (m->has_stamp)
            continue;
        m->has_stamp = true;
        m->stamp = new_stamp(machine, machine_partition_of(machine, work->old_writer), shard);
        machine->stats.stamps++;
    }
    shard->request.ms = ms;
    shard->request.ms_count = count;
    return true;
}

static bool send(struct machine *machine, struct shard *shard)
{
    struct commit *commit = &shard->commit;

    shard->request = (struct store_request){.kind = STORE_EXEC,
                                            .shard = shard->number,
                                            .writes = commit->writes,
                                            .writes_count = commit->writes_count};
    if (!forget_put(shard) || !put_appends(shard) || !put_ms(machine, shard) ||
        !watch_all(machine, shard)) {
        shrink(machine, shard);
        return false;
    }
    if (shard->round < commit->round) {
        shard->request.wait_replicas = machine->options.wait_replicas;
        shard->request.wait_ms = machine->options.wait_ms;
    }
    shard->turn = TURN_EXEC;
    commit->stage = STAGE_SENT;
    return true;
}

/* ---- settle: the EXEC was carried out ---- */

/* What is stored now goes into the cache, if its writer is one of ours. */
static void install(struct machine *machine, struct shard *shard, struct work *work)
{
    const struct store_write *writes = &shard->commit.writes[work->first_write];
    struct partition *writer = machine_partition_of(machine, work->writer);
    struct cached *cached = work->cached;

    if (cached != NULL && work->writes_count > 0 && work->image == NULL) {
        for (int i = 0; i < work->writes_count; i++)
            memcpy(cached->image + writes[i].at, writes[i].bytes, writes[i].count);
    } else if (work->image != NULL) {
        cached = user_cache_put(&machine->cache, work->hash, work->user, work->image,
                                work->image_bytes);
    } else if (work->read && work->base_bytes > 0 && work->found == STORE_PRESENT) {
        cached = user_cache_put(&machine->cache, work->hash, work->user, work->base,
                                work->base_bytes);
    }
    if (cached == NULL)
        return;
    cached->writer = work->writer;
    cached->written_at_ms = work->written_at_ms;
    cached->slot = CACHED_UNUSABLE;
    if (writer == NULL || writer->phase != PHASE_READING || work->unusable)
        return;
    cached->slot = writer->slot;
    cached->epoch = progress_of(writer, shard)->cache_epoch;
}

/* The header is patched first and its reply is the value's length: any other than ours means that
 * the value was gone, and a patch at its end would have hidden that. */
static bool find_gone(struct shard *shard, const struct store_reply *reply)
{
    struct commit *commit = &shard->commit;
    bool any = false;

    for (int i = 0; i < commit->works_count && DEFENCE_LENGTH; i++) {
        struct work *work = &commit->works[i];

        work->gone = false;
        for (int w = work->first_write; w < work->first_write + work->writes_count; w++)
            work->gone |= w < reply->lengths_count && !commit->writes[w].whole &&
                          reply->lengths[w] != (int64_t)work->image_bytes;
        any |= work->gone;
    }
    return any;
}

static void count_outcomes(struct machine *machine, const struct store_state *from,
                           const struct store_state *to)
{
    for (int i = 0; i < OUTCOME_COUNT; i++)
        machine->stats.outcomes[i] += (uint64_t)(to->counts[i] - from->counts[i]);
}

static void settle_part(struct machine *machine, struct shard *shard, const struct part *part)
{
    struct partition *partition = part->partition;
    struct progress *progress = progress_of(partition, shard);

    if (partition->generation != part->generation)
        return; /* thrown away meanwhile, with its records */
    count_outcomes(machine, &progress->state, &part->to);
    progress->state = part->to;
    progress->unanswered_to = STORE_NO_OFFSET;
    partition->fences = 0;
    for (int i = 0; i < part->records; i++) {
        backlog_drop(&machine->backlog, record_queue_take(&progress->queue));
        shard->queued--;
    }
    if (part->appended == 0)
        return;
    progress->outbox_rows += part->appended;
    machine_command(machine, &(struct machine_command){.kind = COMMAND_OUTBOX,
                                                       .partition = partition->number,
                                                       .shard = shard->number});
}

/* Values that were gone come next, before anything else of this shard. */
static void settle(struct machine *machine, struct shard *shard, const struct store_reply *reply)
{
    struct commit *commit = &shard->commit;
    bool repair = find_gone(shard, reply);

    for (int i = 0; i < commit->parts_count; i++)
        settle_part(machine, shard, &commit->parts[i]);
    forget_settle(shard);
    for (int i = 0; i < shard->request.ms_count; i++) {
        const struct store_m_write *m = &shard->request.ms[i];
        struct partition *partition = machine_partition_of(machine, m->tp);
        if (m->has_stamp && partition != NULL && partition->phase == PHASE_READING)
            progress_of(partition, shard)->stamp = m->stamp;
    }
    for (int i = 0; i < commit->works_count; i++) {
        struct work *work = &commit->works[i];
        if (work->writes_count > 0) {
            uint64_t *counter = work->image == NULL || !commit->writes[work->first_write].whole
                                    ? &machine->stats.patched
                                    : &machine->stats.rewritten;
            (*counter)++;
        }
        install(machine, shard, work);
    }
    machine->stats.commits += commit->records > 0;
    machine->stats.ticks += shard->round < commit->round;
    shard->round = commit->round;
    shard->queued_since_us = machine->now_us;
    if (shard->batch_limit < machine->options.batch_max)
        shard->batch_limit++;
    if (repair)
        commit->stage = STAGE_REPAIR;
    else
        commit_abandon(shard);
}

/* ---- repair: values that were gone, whole from the cache ---- */

static bool send_repair(struct machine *machine, struct shard *shard)
{
    struct commit *commit = &shard->commit;

    commit->writes_count = 0;
    for (int i = 0; i < commit->works_count; i++) {
        struct work *work = &commit->works[i];
        const struct cached *cached;

        if (!work->gone)
            continue;
        cached = user_cache_find(&machine->cache, work->hash, work->user);
        if (cached == NULL || !good(machine, shard, cached))
            continue; /* no longer ours to say: whoever reads it next finds it corrupt */
        work->image = arena_copy(shard->arena, cached->image, cached->bytes);
        if (work->image == NULL)
            continue;
        commit->writes[commit->writes_count++] = (struct store_write){
            .user = work->user,
            .whole = true,
            .count = cached->bytes,
            .bytes = work->image,
            .ttl_ms = machine->options.ttl_ms};
    }
    shard->request = (struct store_request){.kind = STORE_EXEC,
                                            .shard = shard->number,
                                            .writes = commit->writes,
                                            .writes_count = commit->writes_count};
    if (!watch_all(machine, shard))
        return false;
    shard->turn = TURN_EXEC;
    commit->stage = STAGE_REPAIRING;
    return true;
}

/* ---- a turn ---- */

static bool plan(struct machine *machine, struct shard *shard)
{
    int missing;

    if (!gather(machine, shard)) {
        shrink(machine, shard);
        return false;
    }
    missing = find_users(machine, shard);
    if (missing == 0)
        return users_there(machine, shard);
    if (!ask_users(shard, missing))
        shrink(machine, shard);
    return shard->commit.stage == STAGE_USERS;
}

bool commit_turn(struct machine *machine, struct shard *shard)
{
    struct commit *commit = &shard->commit;

    if (!DEFENCE_TICK && shard->queued == 0)
        shard->round = machine->round;
    if (!due(machine, shard))
        return false;
    if (!shard->watched || shard->watched_membership != machine->membership) {
        if (commit->stage != STAGE_REPAIR)
            commit_abandon(shard);
        return ask_watch(machine, shard);
    }
    if (commit->stage == STAGE_REPAIR)
        return send_repair(machine, shard);
    if (commit->stage == STAGE_NONE && !plan(machine, shard))
        return false;
    if (commit->stage == STAGE_USERS)
        return true;
    if (commit->stage == STAGE_ROWS) {
        forget_ask(shard);
        return true;
    }
    if (DEFENCE_LETTERS_FIRST && !letters_delivered_to(&machine->letters, commit->letter))
        return false;
    return send(machine, shard);
}

/* ---- decide: what the store says of every partition we read ---- */

/* What is applied is further than we thought, by a commit of ours: go on from there. What that
 * commit wrote is not in the cache, and nobody knows whether it appended rows for the relay. */
static void adopt(struct machine *machine, struct shard *shard, struct partition *partition,
                  const struct store_m *m)
{
    struct progress *progress = progress_of(partition, shard);

    if (DEFENCE_AHEAD)
        machine_drop_users(machine, shard->number);
    count_outcomes(machine, &progress->state, &m->state);
    machine_command(machine, &(struct machine_command){.kind = COMMAND_OUTBOX,
                                                       .partition = partition->number,
                                                       .shard = shard->number});
    progress->state = m->state;
    while (progress->queue.first != NULL && progress->queue.first->offset < m->state.next) {
        backlog_drop(&machine->backlog, record_queue_take(&progress->queue));
        shard->queued--;
        machine->stats.skipped++;
    }
}

static void decide_partition(struct machine *machine, struct shard *shard,
                             struct partition *partition, const struct store_m *m)
{
    struct progress *progress = progress_of(partition, shard);
    int64_t believed = progress->state.next;

    if (m->damaged) {
        machine_stop_partition(machine, partition, STOP_STATE_DAMAGED, believed, STORE_NO_OFFSET);
        return;
    }
    switch (verdict_of(m, partition->token, believed, progress->unanswered_to)) {
    case VERDICT_FENCED:
        machine_drop_users(machine, shard->number);
        claims_fence(machine, partition);
        return;
    case VERDICT_BEHIND:
        machine->stats.behind++;
        machine_drop_all_users(machine);
        claims_begin(machine, partition);
        return;
    case VERDICT_APPLIED:
        machine->stats.applied_unseen++;
        adopt(machine, shard, partition, m);
        break;
    case VERDICT_AHEAD:
        machine->stats.ahead++;
        adopt(machine, shard, partition, m);
        break;
    case VERDICT_GO_ON:
        break;
    }
    progress->unanswered_to = STORE_NO_OFFSET;
    if (m->stamp != progress->stamp) {
        machine->stats.stamps_seen++;
        progress->cache_epoch++;
        progress->stamp = m->stamp;
    }
}

static void decide(struct machine *machine, struct shard *shard, const struct store_reply *reply)
{
    if (reply->ms_count != shard->watch_count)
        return; /* the read behind an EXEC failed: watch again */
    shard->watched = true;
    for (int i = 0; i < shard->watch_count; i++) {
        struct partition *partition = shard->watch[i].partition;

        if (partition->generation == shard->watch[i].generation &&
            partition->phase == PHASE_READING)
            decide_partition(machine, shard, partition, &reply->ms[i]);
    }
}

/* ---- answers ---- */

static void users_answered(struct machine *machine, struct shard *shard,
                           const struct store_reply *reply)
{
    if (!shard->watched || shard->watched_membership != machine->membership) {
        commit_abandon(shard); /* a partition came or went: its records may be gone */
        return;
    }
    if (!take_users(shard, reply)) {
        shrink(machine, shard);
        return;
    }
    (void)users_there(machine, shard);
}

static void rows_answered(struct machine *machine, struct shard *shard,
                          const struct store_reply *reply)
{
    if (!shard->watched || shard->watched_membership != machine->membership)
        commit_abandon(shard);
    else if (!forget_take(shard, reply))
        shrink(machine, shard);
    else if (forget_read_all(shard))
        (void)apply(machine, shard);
}

static void exec_answered(struct machine *machine, struct shard *shard,
                          const struct store_reply *reply)
{
    struct commit *commit = &shard->commit;

    if (reply->result == STORE_NIL) { /* somebody was there: look again, then anew */
        machine->stats.aborted++;
        if (commit->stage == STAGE_REPAIRING)
            commit->stage = STAGE_REPAIR;
        else
            commit_abandon(shard);
    } else if (commit->stage == STAGE_REPAIRING) {
        machine->stats.repaired += (uint64_t)commit->writes_count;
        commit_abandon(shard);
    } else {
        settle(machine, shard, reply);
    }
    decide(machine, shard, reply);
}

/* The connection is gone, or the request was refused: an EXEC may have been carried out. */
static void unanswered(struct shard *shard)
{
    struct commit *commit = &shard->commit;

    for (int i = 0; i < commit->parts_count && commit->stage == STAGE_SENT; i++) {
        const struct part *part = &commit->parts[i];
        if (part->partition->generation == part->generation)
            progress_of(part->partition, shard)->unanswered_to = part->to.next;
    }
    if (commit->stage == STAGE_REPAIRING)
        commit->stage = STAGE_REPAIR;
    else if (commit->stage != STAGE_REPAIR)
        commit_abandon(shard);
    shard->watched = false;
}

void commit_reply(struct machine *machine, struct shard *shard, enum turn turn,
                  const struct store_reply *reply)
{
    if (reply == NULL)
        unanswered(shard);
    else if (turn == TURN_WATCH)
        decide(machine, shard, reply);
    else if (turn == TURN_USERS)
        users_answered(machine, shard, reply);
    else if (turn == TURN_ROWS)
        rows_answered(machine, shard, reply);
    else
        exec_answered(machine, shard, reply);
}
