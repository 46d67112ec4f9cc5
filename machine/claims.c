/*
 * machine/claims.c - see claims.h.
 *
 * The stages, one function each:
 *
 *     claim_answered   a shard has our token; the last one asks Kafka for the log's limits
 *     claims_limits    is the state within the log? absent shards need the recorded start
 *     start_answered   the recorded start, or nothing: refuse
 *     init_answered    `next` = start where it is absent and the token is still ours
 *     begin_reading    position, checks, a fresh assign
 */
#include "machine/claims.h"

#include "machine/defences.h"
#include "machine/reading.h"

#include <string.h>

void claims_begin(struct machine *machine, struct partition *partition)
{
    machine_forget(machine, partition);
    machine_phase(machine, partition, PHASE_CLAIMING);
    machine->options.random(machine->options.random_context, partition->token, STORE_TOKEN_BYTES);
    partition->claims_left = machine->options.shards;
    for (int s = 0; s < machine->options.shards; s++)
        partition->shards[s].claim = CLAIM_DUE;
    machine->stats.claims++;
}

void claims_fence(struct machine *machine, struct partition *partition)
{
    machine_forget(machine, partition);
    machine_phase(machine, partition, PHASE_FENCED);
    partition->polled = false;
    partition->retry_at_us = machine->now_us + machine_back_off(machine, partition->fences++);
    machine->stats.fenced++;
}

void claims_time(struct machine *machine)
{
    for (int i = 0; i < machine->partitions_count; i++) {
        struct partition *partition = machine->partitions[i];
        if (partition->phase == PHASE_FENCED && partition->polled && !machine->draining &&
            machine->now_us >= partition->retry_at_us)
            claims_begin(machine, partition);
    }
}

int64_t claims_wakeup_us(const struct machine *machine)
{
    int64_t wakeup = INT64_MAX;

    for (int i = 0; i < machine->partitions_count; i++) {
        const struct partition *partition = machine->partitions[i];
        if (partition->phase == PHASE_FENCED && partition->polled &&
            partition->retry_at_us < wakeup)
            wakeup = partition->retry_at_us;
    }
    return wakeup;
}

/* ---- requests ---- */

static void ask(struct shard *shard, struct partition *partition, enum turn turn,
                enum store_kind kind)
{
    shard->turn = turn;
    shard->asked = partition;
    shard->asked_generation = partition->generation;
    shard->init_watched = NULL; /* whatever is asked ends that watch, or uses it up */
    shard->request = (struct store_request){
        .kind = kind, .shard = shard->number, .tp = partition->tp};
}

/* An EXEC or an UNWATCH ends every WATCH of the connection. */
static void ask_claim(struct shard *shard, struct partition *partition)
{
    ask(shard, partition, TURN_CLAIM, STORE_CLAIM);
    memcpy(shard->request.token, partition->token, STORE_TOKEN_BYTES);
    progress_of(partition, shard)->claim = CLAIM_SENT;
    shard->watched = false;
}

/* What to record as the start when nothing is recorded. A partition nobody has read: its low
 * watermark. One that some shards know: only the log's very first offset is certain to be it. One
 * that no shard knows though the group has read it: nothing, that state is lost. */
static int64_t start_if_unknown(const struct machine *machine, const struct partition *partition)
{
    bool known = false;

    for (int s = 0; s < machine->options.shards; s++)
        known |= partition->shards[s].claim == CLAIM_DONE;
    if (!DEFENCE(STATE_LOST) || (known ? partition->low == 0 : partition->group_offset < 0))
        return partition->low;
    return STORE_NO_OFFSET;
}

static void ask_start(struct machine *machine, struct shard *shard, struct partition *partition)
{
    ask(shard, partition, TURN_START, STORE_START);
    shard->request.offset = start_if_unknown(machine, partition);
    partition->start_asked = true;
}

static void ask_init_read(struct shard *shard, struct partition *partition)
{
    ask(shard, partition, TURN_INIT, STORE_READ);
    shard->request.fresh = true;
    shard->request.tps = &partition->tp;
    shard->request.tps_count = 1;
    shard->watched = false;
}

/* The outbox goes too: a shard that begins again emits all its rows again, by ids that a stream
 * which is ahead would refuse. */
static void ask_init_write(struct shard *shard, struct partition *partition)
{
    ask(shard, partition, TURN_INIT, STORE_EXEC);
    shard->init = (struct store_m_write){
        .tp = partition->tp,
        .has_state = true,
        .state = {.next = partition->start,
                  .watermark_ms = STORE_NO_WATERMARK,
                  .last_offset = STORE_NO_OFFSET},
    };
    shard->request.ms = &shard->init;
    shard->request.ms_count = 1;
    shard->request.drops = true;
    shard->request.drop_tp = partition->tp;
    shard->watched = false;
}

bool claims_turn(struct machine *machine, struct shard *shard)
{
    if (machine->claims_pending == 0 || machine->draining)
        return false;
    for (int i = 0; i < machine->partitions_count; i++) {
        struct partition *partition = machine->partitions[i];
        enum claim_step claim = progress_of(partition, shard)->claim;

        if (partition->phase == PHASE_CLAIMING && claim == CLAIM_DUE)
            ask_claim(shard, partition);
        else if (partition->phase == PHASE_START && shard->number == 0 && !partition->start_asked)
            ask_start(machine, shard, partition);
        else if (partition->phase == PHASE_INIT && claim == CLAIM_ABSENT &&
                 shard->init_watched == partition)
            ask_init_write(shard, partition);
        else if (partition->phase == PHASE_INIT && claim == CLAIM_ABSENT)
            ask_init_read(shard, partition);
        else
            continue;
        return true;
    }
    return false;
}

/* ---- answers ---- */

static void begin_reading(struct machine *machine, struct partition *partition)
{
    int64_t from = reading_begin(machine, partition);

    partition->hinted = STORE_NO_OFFSET;
    machine_phase(machine, partition, PHASE_READING);
    machine_command(machine, &(struct machine_command){.kind = COMMAND_ASSIGN,
                                                       .partition = partition->number,
                                                       .ticket = partition->generation,
                                                       .offset = from});
}

static bool ours(const struct partition *partition, const struct store_m *m)
{
    return m->has_token && memcmp(m->token, partition->token, STORE_TOKEN_BYTES) == 0;
}

static void claim_answered(struct machine *machine, struct shard *shard,
                           struct partition *partition, const struct store_reply *reply)
{
    struct progress *progress = progress_of(partition, shard);
    const struct store_m *m = &reply->ms[0];
    const struct store_outbox *outbox = &reply->outbox;

    /* When the answer is handled, not when the claim is sent: a commit in between refills it. */
    if (DEFENCE_CLAIM_DROP)
        progress->cache_epoch++;
    if (m->damaged || outbox->found == STORE_BAD_TYPE ||
        (m->has_state && (int64_t)outbox->last.high > m->state.next)) {
        machine_stop_partition(machine, partition, STOP_STATE_DAMAGED,
                               m->has_state ? m->state.next : STORE_NO_OFFSET,
                               (int64_t)outbox->last.high);
        return;
    }
    progress->claim = m->has_state ? CLAIM_DONE : CLAIM_ABSENT;
    progress->state = m->state;
    progress->stamp = m->stamp;
    progress->unanswered_to = STORE_NO_OFFSET;
    progress->outbox_rows = outbox->rows;
    if (--partition->claims_left > 0)
        return;
    machine_phase(machine, partition, PHASE_LIMITS);
    machine_command(machine, &(struct machine_command){.kind = COMMAND_LIMITS,
                                                       .partition = partition->number,
                                                       .ticket = partition->generation});
}

/* False: the partition was stopped. next: of a shard, or where absent ones would start. */
static bool within_log(struct machine *machine, struct partition *partition, int64_t next)
{
    if (DEFENCE(LOG_START) && next < partition->low)
        machine_stop_partition(machine, partition, STOP_DATA_LOST, next, partition->low);
    else if (DEFENCE(LOG_END) && next > partition->high)
        machine_stop_partition(machine, partition, STOP_OFFSET_AHEAD, next, partition->high);
    else
        return true;
    return false;
}

void claims_limits(struct machine *machine, struct partition *partition, int64_t low, int64_t high,
                   int64_t group_offset)
{
    partition->low = low;
    partition->high = high;
    partition->group_offset = group_offset;
    partition->claims_left = 0;
    for (int s = 0; s < machine->options.shards; s++) {
        const struct progress *progress = &partition->shards[s];
        if (progress->claim == CLAIM_ABSENT)
            partition->claims_left++;
        else if (!within_log(machine, partition, progress->state.next))
            return;
    }
    if (partition->claims_left == 0) {
        begin_reading(machine, partition);
        return;
    }
    partition->start_asked = false;
    machine_phase(machine, partition, PHASE_START);
}

static void start_answered(struct machine *machine, struct partition *partition,
                           const struct store_reply *reply)
{
    partition->start = reply->offset;
    if (reply->offset == STORE_NO_OFFSET)
        machine_stop_partition(machine, partition, STOP_STATE_LOST, partition->group_offset,
                               STORE_NO_OFFSET);
    else if (within_log(machine, partition, partition->start))
        machine_phase(machine, partition, PHASE_INIT);
}

static void init_done(struct machine *machine, struct partition *partition,
                      struct progress *progress, const struct store_state *state)
{
    progress->state = *state;
    progress->outbox_rows = 0;
    progress->claim = CLAIM_DONE;
    if (--partition->claims_left == 0)
        begin_reading(machine, partition);
}

static void init_answered(struct machine *machine, struct shard *shard, struct partition *partition,
                          const struct store_reply *reply)
{
    struct progress *progress = progress_of(partition, shard);
    const struct store_m *m;

    if (shard->request.kind == STORE_EXEC) {
        if (reply->result == STORE_OK) /* else somebody was there: look again */
            init_done(machine, partition, progress, &shard->init.state);
        return;
    }
    m = &reply->ms[0];
    if (!ours(partition, m))
        claims_fence(machine, partition);
    else if (m->has_state) /* an earlier try whose answer was lost */
        init_done(machine, partition, progress, &m->state);
    else
        shard->init_watched = partition;
}

void claims_reply(struct machine *machine, struct shard *shard, enum turn turn,
                  const struct store_reply *reply)
{
    struct partition *partition = shard->asked;
    struct progress *progress = progress_of(partition, shard);

    shard->asked = NULL;
    if (partition->generation != shard->asked_generation) {
        if (turn == TURN_CLAIM && DEFENCE_CLAIM_DROP)
            progress->cache_epoch++;
        return; /* an older claim's */
    }
    if (reply == NULL) { /* ask again from the start of the step */
        if (turn == TURN_CLAIM)
            progress->claim = CLAIM_DUE;
        else if (turn == TURN_START)
            partition->start_asked = false;
        return;
    }
    if (turn == TURN_CLAIM)
        claim_answered(machine, shard, partition, reply);
    else if (turn == TURN_START)
        start_answered(machine, partition, reply);
    else
        init_answered(machine, shard, partition, reply);
}
