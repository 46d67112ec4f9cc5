/* machine/turns.c - see turns.h. */
#include "machine/turns.h"

#include "machine/claims.h"
#include "machine/commit.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define TRIMS_MAX 64 /* a shard */

bool turns_add_trim(struct shard *shard, struct partition *partition, const struct store_id *ids,
                    int count)
{
    struct trim *trim;

    if (shard->trims_count == TRIMS_MAX)
        return false;
    trim = malloc(sizeof *trim + (size_t)count * sizeof ids[0]);
    if (trim == NULL)
        return false;
    *trim = (struct trim){.partition = partition, .count = count};
    if (count > 0)
        memcpy(trim->ids, ids, (size_t)count * sizeof ids[0]);
    if (shard->trims_last == NULL)
        shard->trims = trim;
    else
        shard->trims_last->next = trim;
    shard->trims_last = trim;
    shard->trims_count++;
    return true;
}

static bool trim_waits(const struct shard *shard, const struct partition *partition)
{
    const struct trim *trim = shard->trims;

    while (trim != NULL && trim->partition != partition)
        trim = trim->next;
    return trim != NULL;
}

/* A trim of no ids counts and deletes nothing. Where one waits already it will tell. */
void turns_recount(struct machine *machine)
{
    for (int i = 0; i < machine->reading_count; i++) {
        struct partition *partition = machine->reading[i];

        for (int s = 0; s < machine->options.shards && partition->outbox_full; s++)
            if (partition->shards[s].outbox_rows > machine->options.outbox_max / 2 &&
                !trim_waits(&machine->shards[s], partition))
                (void)turns_add_trim(&machine->shards[s], partition, NULL, 0);
    }
}

static void drop_trim(struct shard *shard)
{
    struct trim *trim = shard->trims;

    shard->trims = trim->next;
    if (shard->trims == NULL)
        shard->trims_last = NULL;
    shard->trims_count--;
    free(trim);
}

void turns_clear(struct shard *shard)
{
    while (shard->trims != NULL)
        drop_trim(shard);
}

/* Deleting is by id and bytes' hash, so it is right whoever owns the partition now, and right
 * when it is sent twice. */
static bool ask_trim(struct shard *shard)
{
    const struct trim *trim = shard->trims;

    if (trim == NULL)
        return false;
    shard->turn = TURN_TRIM;
    shard->request = (struct store_request){.kind = STORE_TRIM,
                                            .shard = shard->number,
                                            .tp = trim->partition->tp,
                                            .ids = trim->ids,
                                            .ids_count = trim->count};
    shard->trim_next = false;
    return true;
}

static void trimmed(struct shard *shard, const struct store_reply *reply)
{
    struct progress *progress = progress_of(shard->trims->partition, shard);

    if (reply == NULL)
        return; /* again, when its turn comes */
    progress->outbox_rows = reply->outbox.rows;
    drop_trim(shard);
}

bool turns_next(struct machine *machine, struct shard *shard)
{
    if (!shard->connected || shard->turn != TURN_NONE || machine->now_us < shard->retry_at_us)
        return false;
    if (claims_turn(machine, shard))
        return true;
    if (shard->trim_next && ask_trim(shard))
        return true;
    if (commit_turn(machine, shard)) {
        shard->trim_next = true;
        return true;
    }
    return ask_trim(shard);
}

static void answer(struct machine *machine, struct shard *shard, const struct store_reply *reply)
{
    enum turn turn = shard->turn;

    shard->turn = TURN_NONE;
    switch (turn) {
    case TURN_CLAIM:
    case TURN_START:
    case TURN_INIT:
        claims_reply(machine, shard, turn, reply);
        break;
    case TURN_WATCH:
    case TURN_USERS:
    case TURN_ROWS:
    case TURN_EXEC:
        commit_reply(machine, shard, turn, reply);
        break;
    case TURN_TRIM:
        trimmed(shard, reply);
        break;
    case TURN_NONE:
        break;
    }
}

void turns_reply(struct machine *machine, struct shard *shard, const struct store_reply *reply)
{
    assert(shard->turn != TURN_NONE);
    if (reply->result != STORE_REFUSED) {
        /* A full store still answers reads. */
        if (shard->request.kind != STORE_READ && shard->request.kind != STORE_ROWS)
            shard->failures = 0;
        answer(machine, shard, reply);
        return;
    }
    machine->stats.refused++;
    answer(machine, shard, NULL);
    shard->retry_at_us = machine->now_us + machine_back_off(machine, shard->failures++);
}

void turns_lost(struct machine *machine, struct shard *shard)
{
    if (shard->turn != TURN_NONE)
        machine->stats.lost++;
    if (shard->turn == TURN_USERS || shard->turn == TURN_ROWS || shard->turn == TURN_EXEC)
        commit_halve(shard);
    shard->init_watched = NULL;
    answer(machine, shard, NULL);
    commit_reply(machine, shard, TURN_NONE, NULL); /* a plan ends with its watch */
}

int64_t turns_wakeup_us(const struct machine *machine, const struct shard *shard)
{
    int64_t wakeup;

    if (!shard->connected || shard->turn != TURN_NONE)
        return INT64_MAX;
    wakeup = shard->retry_at_us > machine->now_us ? shard->retry_at_us
                                                  : commit_wakeup_us(machine, shard);
    return wakeup;
}
