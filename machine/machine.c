/*
 * machine/machine.c - see machine.h: what goes in, what comes out. The protocol itself is in
 * claims.c, reading.c, commit.c, apply.c and tick.c, what these share in machine_inside.c.
 */
#include "machine/machine_inside.h"

#include "machine/claims.h"
#include "machine/reading.h"
#include "machine/tick.h"
#include "machine/turns.h"
#include "ops/defence.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define LINGER_US      INT64_C(5000)
#define TICK_US        INT64_C(1000000)
#define RETRY_US       INT64_C(100000)
#define PAUSE_AFTER_US INT64_C(250000) /* librdkafka fetches anew after a pause */
#define TTL_MARGIN_MS  INT64_C(3600000)
#define BATCH_TARGET   256
#define BATCH_MAX      2048
#define BACKLOG_MAX    16384
#define MEMORY_BYTES   (INT64_C(256) << 20)
#define OUTBOX_MAX     100000
#define LETTERS_MAX    2048
#define BLOCK_BYTES    (64 << 10)
#define COMMANDS_FIRST 64

const char *const stop_reason_names[STOP_REASON_COUNT] = {
#define X(id, name, text) [STOP_##id] = name,
    STOP_REASON_LIST(X)
#undef X
};

const char *stop_reason_text(enum stop_reason reason)
{
    static const char *const texts[STOP_REASON_COUNT] = {
#define X(id, name, text) [STOP_##id] = text,
        STOP_REASON_LIST(X)
#undef X
    };
    return texts[reason];
}

/* ---- life ---- */

static void default_i64(int64_t *option, int64_t fallback)
{
    if (*option == 0)
        *option = fallback;
}

static void default_int(int *option, int fallback)
{
    if (*option == 0)
        *option = fallback;
}

static void defaults(struct machine_options *options)
{
    default_i64(&options->ttl_margin_ms, TTL_MARGIN_MS);
    default_i64(&options->linger_us, LINGER_US);
    default_i64(&options->tick_us, TICK_US);
    default_i64(&options->retry_us, RETRY_US);
    default_int(&options->batch_target, BATCH_TARGET);
    default_int(&options->batch_max, BATCH_MAX);
    default_int(&options->backlog_max, BACKLOG_MAX);
    default_i64(&options->backlog_bytes, MEMORY_BYTES);
    default_i64(&options->cache_bytes, MEMORY_BYTES);
    default_i64(&options->outbox_max, OUTBOX_MAX);
    default_int(&options->letters_at_once, LETTERS_MAX);
    default_i64(&options->block_bytes, BLOCK_BYTES);
}

static enum status create_shards(struct machine *machine, struct error *err)
{
    machine->shards = calloc((size_t)machine->options.shards, sizeof machine->shards[0]);
    if (machine->shards == NULL)
        return error_set(err, ERR_NOMEM, "no memory for %d shards", machine->options.shards);
    for (int s = 0; s < machine->options.shards; s++) {
        struct shard *shard = &machine->shards[s];
        shard->number = s;
        shard->batch_limit = machine->options.batch_max;
        shard->arena = machine_arena(machine);
    }
    return OK;
}

enum status machine_create(struct machine **machine, const struct machine_options *options,
                           struct error *err)
{
    struct machine *made;
    enum status status;

    assert(options->rules != NULL && options->random != NULL);
    *machine = NULL;
    if (options->shards < 1 || options->shards > STORE_SHARDS_MAX)
        return error_set(err, ERR_LIMIT, "%d shards, it must be 1..%d", options->shards,
                         STORE_SHARDS_MAX);
    made = calloc(1, sizeof *made);
    if (made == NULL)
        return error_set(err, ERR_NOMEM, "no memory for the protocol machine");
    made->options = *options;
    defaults(&made->options);
    made->commands_max = COMMANDS_FIRST;
    made->commands = malloc(COMMANDS_FIRST * sizeof made->commands[0]);
    made->value = malloc(sizeof *made->value);
    made->emissions = malloc(sizeof *made->emissions);
    made->image = malloc(USER_VALUE_BYTES_MAX);
    if (made->commands == NULL || made->value == NULL || made->emissions == NULL ||
        made->image == NULL) {
        status = error_set(err, ERR_NOMEM, "no memory for the protocol machine");
        goto done;
    }
    status = create_shards(made, err);
    if (status != OK)
        goto done;
    status = backlog_init(&made->backlog, options->shards, (size_t)made->options.block_bytes, err);
    if (status != OK)
        goto done;
    status = user_cache_init(&made->cache, made->options.cache_bytes, err);
    if (status != OK)
        goto done;
    status = letters_init(&made->letters, err);
    if (status != OK)
        goto done;
    *machine = made;
    made = NULL;
done:
    machine_destroy(made);
    return status;
}

void machine_destroy(struct machine *machine)
{
    if (machine == NULL)
        return;
    for (int i = 0; i < machine->partitions_count; i++) {
        free(machine->partitions[i]->shards);
        free(machine->partitions[i]->checks);
        free(machine->partitions[i]);
    }
    for (int s = 0; s < machine->options.shards && machine->shards != NULL; s++) {
        struct shard *shard = &machine->shards[s];
        turns_clear(shard);
        arena_destroy(shard->arena);
        free(shard->watch);
        free(shard->watch_tps);
    }
    free(machine->shards);
    backlog_clear(&machine->backlog);
    user_cache_clear(&machine->cache);
    letters_clear(&machine->letters);
    free(machine->slot_of);
    free(machine->commands);
    free(machine->value);
    free(machine->emissions);
    free(machine->image);
    free(machine);
}

/* ---- inputs ---- */

void machine_time(struct machine *machine, int64_t now_wall_ms, int64_t now_us)
{
    machine->now_wall_ms = now_wall_ms < 0 ? 0 : now_wall_ms;
    machine->now_us = now_us;
    claims_time(machine);
    tick_time(machine);
}

void machine_polled(struct machine *machine)
{
    for (int i = 0; i < machine->partitions_count; i++)
        machine->partitions[i]->polled = true;
    claims_time(machine);
}

/* Room in slot_of for the number. */
static bool number_room(struct machine *machine, int32_t number)
{
    int32_t count = number + 1;
    int32_t *larger;

    if (count <= machine->slot_of_count)
        return true;
    larger = realloc(machine->slot_of, (size_t)count * sizeof larger[0]);
    if (larger == NULL)
        return false;
    memset(larger + machine->slot_of_count, 0,
           (size_t)(count - machine->slot_of_count) * sizeof larger[0]);
    machine->slot_of = larger;
    machine->slot_of_count = count;
    return true;
}

static struct partition *new_partition(struct machine *machine, int32_t number, struct error *err)
{
    struct partition *partition = NULL;
    int slot = machine->partitions_count;
    size_t shards = (size_t)machine->options.shards;

    if (number < 0 || number > 0xfffff || slot == MACHINE_PARTITIONS_MAX) {
        (void)error_set(err, ERR_LIMIT, "partition %d: at most %d partitions in one process",
                        (int)number, MACHINE_PARTITIONS_MAX);
        return NULL;
    }
    if (number_room(machine, number))
        partition = calloc(1, sizeof *partition);
    if (partition == NULL) {
        (void)error_set(err, ERR_NOMEM, "no memory for partition %d", (int)number);
        return NULL;
    }
    partition->shards = calloc(shards, sizeof partition->shards[0]);
    partition->checks = calloc(shards, sizeof partition->checks[0]);
    if (partition->shards == NULL || partition->checks == NULL) {
        free(partition->shards);
        free(partition->checks);
        free(partition);
        (void)error_set(err, ERR_NOMEM, "no memory for partition %d", (int)number);
        return NULL;
    }
    partition->number = number;
    partition->slot = slot;
    machine->partitions[machine->partitions_count++] = partition;
    machine->slot_of[number] = slot + 1;
    return partition;
}

enum status machine_assigned(struct machine *machine, int32_t partition_number, uint32_t log_number,
                             struct error *err)
{
    struct partition *partition = machine_partition(machine, partition_number);

    if (partition == NULL)
        partition = new_partition(machine, partition_number, err);
    if (partition == NULL)
        return err->status;
    partition->tp = user_value_writer(partition_number, log_number);
    partition->assigned = true;
    partition->fences = 0;
    if (!machine->draining)
        claims_begin(machine, partition);
    return OK;
}

void machine_revoked(struct machine *machine, int32_t partition_number)
{
    struct partition *partition = machine_partition(machine, partition_number);

    if (partition == NULL || !partition->assigned)
        return;
    machine_forget(machine, partition);
    machine_phase(machine, partition, PHASE_IDLE);
    partition->assigned = false;
}

void machine_limits(struct machine *machine, int32_t partition_number, uint64_t ticket, int64_t low,
                    int64_t high, int64_t group_offset)
{
    struct partition *partition = machine_partition(machine, partition_number);

    if (partition != NULL && partition->phase == PHASE_LIMITS && partition->generation == ticket)
        claims_limits(machine, partition, low, high, group_offset);
}

void machine_reading(struct machine *machine, int32_t partition_number, uint64_t ticket,
                     uint64_t epoch)
{
    struct partition *partition = machine_partition(machine, partition_number);

    if (partition == NULL || partition->phase != PHASE_READING || partition->generation != ticket)
        return;
    partition->reading = true;
    partition->epoch = epoch;
}

enum status machine_record(struct machine *machine, const struct machine_record *record,
                           struct error *err)
{
    return reading_record(machine, record, err);
}

static int longest_queue(const struct machine *machine)
{
    int longest = 0;

    for (int s = 0; s < machine->options.shards; s++)
        if (machine->shards[s].queued > longest)
            longest = machine->shards[s].queued;
    return longest;
}

int machine_room(const struct machine *machine)
{
    int room = machine->options.backlog_max - longest_queue(machine);

    if (!DEFENCE(BACKLOG))
        return machine->options.backlog_max;
    if (room <= 0 || machine->backlog.bytes >= machine->options.backlog_bytes)
        return 0;
    return room;
}

static struct shard *shard_of(struct machine *machine, int shard)
{
    assert(shard >= 0 && shard < machine->options.shards);
    return &machine->shards[shard];
}

void machine_connected(struct machine *machine, int shard)
{
    shard_of(machine, shard)->connected = true;
}

void machine_disconnected(struct machine *machine, int shard)
{
    turns_lost(machine, shard_of(machine, shard));
    shard_of(machine, shard)->connected = false;
}

void machine_reply(struct machine *machine, int shard, const struct store_reply *reply)
{
    turns_reply(machine, shard_of(machine, shard), reply);
}

void machine_letter_delivered(struct machine *machine, uint64_t id)
{
    letters_deliver(&machine->letters, id);
}

bool machine_trim(struct machine *machine, int32_t partition_number, int shard,
                  const struct store_id *ids, int count)
{
    struct partition *partition = machine_partition(machine, partition_number);

    return partition != NULL && turns_add_trim(shard_of(machine, shard), partition, ids, count);
}

void machine_drain(struct machine *machine)
{
    machine->draining = true;
}

bool machine_drained(const struct machine *machine)
{
    return tick_drained(machine);
}

/* ---- outputs ---- */

/* Too much waits: first the loop stops polling for records (machine_room), then, when that lasts,
 * the partitions are paused, so that it can poll for everything else. */
static void bound_backlog(struct machine *machine)
{
    bool full = machine_room(machine) == 0;

    if (full && !machine->full)
        machine->full_since_us = machine->now_us;
    machine->full = full;
    if (full && machine->now_us - machine->full_since_us >= PAUSE_AFTER_US)
        machine->backlog_paused = true;
    if (machine->backlog_paused && longest_queue(machine) <= machine->options.backlog_max / 2 &&
        machine->backlog.bytes <= machine->options.backlog_bytes / 2)
        machine->backlog_paused = false;
}

static void bound_outbox(struct machine *machine, struct partition *partition)
{
    int64_t most = 0;

    for (int s = 0; s < machine->options.shards; s++)
        if (partition->shards[s].outbox_rows > most)
            most = partition->shards[s].outbox_rows;
    if (DEFENCE(OUTBOX_BOUND) && most >= machine->options.outbox_max)
        partition->outbox_full = true;
    else if (most <= machine->options.outbox_max / 2)
        partition->outbox_full = false;
}

static void pause_or_resume(struct machine *machine)
{
    bound_backlog(machine);
    for (int i = 0; i < machine->reading_count; i++) {
        struct partition *partition = machine->reading[i];
        bool pause;

        if (!partition->reading)
            continue;
        bound_outbox(machine, partition);
        pause = machine->backlog_paused || partition->outbox_full;
        if (pause == partition->paused)
            continue;
        partition->paused = pause;
        machine_command(machine,
                        &(struct machine_command){.kind = pause ? COMMAND_PAUSE : COMMAND_RESUME,
                                                  .partition = partition->number});
    }
}

/* A command that a later claim has overtaken is not given out. */
static bool stale(const struct machine *machine, const struct machine_command *command)
{
    const struct partition *partition;

    if (command->kind != COMMAND_LIMITS && command->kind != COMMAND_ASSIGN)
        return false;
    partition = machine_partition(machine, command->partition);
    return partition->generation != command->ticket;
}

static bool next_queued(struct machine *machine, struct machine_command *command)
{
    while (machine->commands_count > 0) {
        *command = machine->commands[machine->commands_first];
        machine->commands_first = (machine->commands_first + 1) & (machine->commands_max - 1);
        machine->commands_count--;
        if (!stale(machine, command))
            return true;
    }
    return false;
}

static bool next_store(struct machine *machine, struct machine_command *command)
{
    for (int i = 0; i < machine->options.shards; i++) {
        struct shard *shard = &machine->shards[machine->next_shard];

        machine->next_shard = (machine->next_shard + 1) % machine->options.shards;
        if (!turns_next(machine, shard))
            continue;
        *command = (struct machine_command){
            .kind = COMMAND_STORE, .shard = shard->number, .store = &shard->request};
        return true;
    }
    return false;
}

bool machine_next(struct machine *machine, struct machine_command *command)
{
    if (next_queued(machine, command))
        return true;
    *command = (struct machine_command){.kind = COMMAND_LETTER};
    if (letters_take(&machine->letters, machine->options.letters_at_once, &command->letter)) {
        command->partition = command->letter.partition;
        return true;
    }
    if (next_store(machine, command))
        return true;
    tick_time(machine);
    tick_answered(machine);
    pause_or_resume(machine);
    return next_queued(machine, command);
}

int64_t machine_wakeup_us(const struct machine *machine)
{
    int64_t wakeup = machine->next_tick_us;
    int64_t claims_us = claims_wakeup_us(machine);

    if (claims_us < wakeup)
        wakeup = claims_us;
    for (int s = 0; s < machine->options.shards; s++) {
        int64_t shard_us = turns_wakeup_us(machine, &machine->shards[s]);
        if (shard_us < wakeup)
            wakeup = shard_us;
    }
    return wakeup;
}

/* ---- what operators see ---- */

const struct machine_stats *machine_stats(struct machine *machine)
{
    machine->stats.backlog = machine->backlog.records;
    machine->stats.backlog_bytes = machine->backlog.bytes;
    machine->stats.cache_users = machine->cache.users;
    machine->stats.cache_bytes = machine->cache.bytes;
    return &machine->stats;
}

bool machine_partition_view(const struct machine *machine, int index,
                            struct machine_partition_view *view)
{
    static const char *const names[] = {
        [PHASE_IDLE] = "revoked",   [PHASE_CLAIMING] = "claiming", [PHASE_LIMITS] = "starting",
        [PHASE_START] = "starting", [PHASE_INIT] = "starting",     [PHASE_READING] = "reading",
        [PHASE_FENCED] = "fenced",  [PHASE_STOPPED] = "stopped",
    };
    const struct partition *partition;

    if (index < 0 || index >= machine->partitions_count)
        return false;
    partition = machine->partitions[index];
    *view = (struct machine_partition_view){
        .partition = partition->number,
        .state = partition->paused && partition->phase == PHASE_READING ? "paused"
                                                                        : names[partition->phase],
        .position = partition->position,
        .applied = partition->phase == PHASE_READING ? partition->position : -1,
        .watermark_ms = partition->watermark_ms,
        .stopped = partition->stopped,
    };
    for (int s = 0; s < machine->options.shards && view->applied >= 0; s++) {
        const struct record *first = partition->shards[s].queue.first;

        if (first != NULL && first->offset < view->applied)
            view->applied = first->offset;
    }
    return true;
}
