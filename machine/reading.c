/*
 * machine/reading.c - see reading.h.
 *
 * A record passes, in this order: the epoch of its assignment; the check of `last`; the position
 * (each record once); the `next` of its shard (what is applied is skipped). Only then it waits for
 * a commit. Position, watermark and last move with every record, whatever becomes of it, because
 * they are functions of the log alone.
 */
#include "machine/reading.h"

#include "machine/defences.h"

#include <stdlib.h>

static int check_order(const void *left, const void *right)
{
    const struct log_check *a = left, *b = right;

    return a->offset < b->offset ? -1 : a->offset > b->offset;
}

int64_t reading_begin(struct machine *machine, struct partition *partition)
{
    const struct progress *lowest = &partition->shards[0];
    int64_t from;

    for (int s = 1; s < machine->options.shards; s++) {
        const struct progress *p = &partition->shards[s];
        if (p->state.next < lowest->state.next ||
            (p->state.next == lowest->state.next &&
             p->state.last_offset > lowest->state.last_offset))
            lowest = p;
    }
    partition->position = lowest->state.next;
    partition->watermark_ms = lowest->state.watermark_ms;
    partition->last_offset = lowest->state.last_offset;
    partition->last_hash = lowest->state.last_hash;
    from = partition->position;
    if (!DEFENCE_MINIMUM && partition->group_offset >= 0)
        from = partition->position = partition->group_offset;

    /* `last` of the minimum is read again when the log still has it, to see that it is the log
     * we left. What lies below the log's start cannot be verified. */
    if (partition->last_offset >= partition->low && partition->last_offset < from)
        from = partition->last_offset;
    partition->checks_count = partition->checks_done = 0;
    for (int s = 0; s < machine->options.shards && DEFENCE_LAST; s++) {
        const struct store_state *state = &partition->shards[s].state;
        if (state->last_offset >= from)
            partition->checks[partition->checks_count++] = (struct log_check){state->last_offset,
                                                                              state->last_hash};
        else if (state->last_offset != STORE_NO_OFFSET && state->last_offset < partition->low)
            machine->stats.unverifiable++;
    }
    qsort(partition->checks, (size_t)partition->checks_count, sizeof partition->checks[0],
          check_order);
    return from;
}

/* Does the log hold what was there? `last` of a shard lies below its `next`, so it is checked
 * before any record is applied to that shard. */
static bool log_is_ours(struct partition *partition, const struct machine_record *record)
{
    while (partition->checks_done < partition->checks_count) {
        const struct log_check *check = &partition->checks[partition->checks_done];

        if (check->offset > record->offset)
            break;
        if (check->offset < record->offset || check->hash != record->hash)
            return false;
        partition->checks_done++;
    }
    return true;
}

static enum status enqueue(struct machine *machine, struct partition *partition,
                           const struct machine_record *from, uint64_t user_hash, int number,
                           struct error *err)
{
    struct shard *shard = &machine->shards[number];
    struct record *record = backlog_add(&machine->backlog, number, from);

    if (record == NULL)
        return error_set(err, ERR_NOMEM, "no memory for a record of %zu bytes", from->value.bytes);
    record->user_hash = user_hash;
    record->watermark_ms = partition->watermark_ms;
    record->last_offset = partition->last_offset;
    record->last_hash = partition->last_hash;
    if (from->refusal != REFUSAL_NONE) {
        record->letter = letters_add(&machine->letters, from->partition, from->offset,
                                     from->timestamp_ms, from->refusal, from->value,
                                     from->value.bytes);
        if (record->letter == 0) {
            backlog_drop(&machine->backlog, record);
            return error_set(err, ERR_NOMEM, "no memory for a dead letter");
        }
        machine->stats.letters[from->refusal]++;
    }
    if (shard->queued++ == 0)
        shard->queued_since_us = machine->now_us;
    record_queue_add(&partition->shards[number].queue, record);
    return OK;
}

enum status reading_record(struct machine *machine, const struct machine_record *record,
                           struct error *err)
{
    struct partition *partition = machine_partition(machine, record->partition);
    uint64_t user_hash = 0;
    int shard = 0; /* of a record without a user */
    enum status status;

    if (partition == NULL || partition->phase != PHASE_READING || !partition->reading ||
        (DEFENCE_EPOCH && record->epoch != partition->epoch) || machine->draining) {
        machine->stats.skipped++;
        return OK;
    }
    if (!log_is_ours(partition, record)) {
        machine_stop_partition(machine, partition, STOP_LOG_CHANGED,
                               partition->checks[partition->checks_done].offset, record->offset);
        return OK;
    }
    if (record->offset < partition->position) {
        machine->stats.skipped++;
        return OK;
    }
    if (record->event != NULL) {
        user_hash = rules_user_hash(machine->options.rules, record->event->user);
        shard = (int)(user_hash % (uint64_t)machine->options.shards);
    }
    if (!DEFENCE(OFFSET_SKIP) || record->offset >= partition->shards[shard].state.next) {
        status = enqueue(machine, partition, record, user_hash, shard, err);
        if (status != OK)
            return status;
        machine->stats.records++;
    } else {
        machine->stats.skipped++;
    }
    if (record->event != NULL)
        partition->watermark_ms = rules_watermark(partition->watermark_ms, record->event->time_ms,
                                                  record->timestamp_ms,
                                                  machine->options.max_future_skew_ms);
    partition->last_offset = record->offset;
    partition->last_hash = record->hash;
    partition->position = record->offset + 1;
    return OK;
}
