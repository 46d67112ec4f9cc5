/* machine/machine_inside.c - see machine_inside.h: the bookkeeping that the units share. */
#include "machine/machine_inside.h"

#include <assert.h>
#include <stdlib.h>

#define RETRY_MAX_US INT64_C(5000000)
#define ARENA_LIMIT  ((size_t)1 << 30)

struct arena *machine_arena(const struct machine *machine)
{
    return arena_create((size_t)machine->options.block_bytes, ARENA_LIMIT);
}

uint64_t machine_random(struct machine *machine)
{
    uint64_t drawn;

    machine->options.random(machine->options.random_context, &drawn, sizeof drawn);
    return drawn;
}

int64_t machine_jitter(struct machine *machine, int64_t x)
{
    return x / 2 + (x < 2 ? 0 : (int64_t)(machine_random(machine) % (uint64_t)x));
}

int64_t machine_back_off(struct machine *machine, int failures)
{
    int64_t wait = machine->options.retry_us;

    for (; failures > 0 && wait < RETRY_MAX_US; failures--)
        wait *= 2;
    return machine_jitter(machine, wait < RETRY_MAX_US ? wait : RETRY_MAX_US);
}

void machine_command(struct machine *machine, const struct machine_command *command)
{
    if (machine->commands_count == machine->commands_max) {
        uint32_t max = 2 * machine->commands_max;
        struct machine_command *larger = malloc(max * sizeof larger[0]);

        assert(larger != NULL); /* a few hundred bytes a partition; a lost command is a hang */
        for (uint32_t i = 0; i < machine->commands_count; i++)
            larger[i] =
                machine->commands[(machine->commands_first + i) & (machine->commands_max - 1)];
        free(machine->commands);
        machine->commands = larger;
        machine->commands_max = max;
        machine->commands_first = 0;
    }
    machine->commands[(machine->commands_first + machine->commands_count++) &
                      (machine->commands_max - 1)] = *command;
}

struct partition *machine_partition(const struct machine *machine, int32_t number)
{
    if (number < 0 || number >= machine->slot_of_count || machine->slot_of[number] == 0)
        return NULL;
    return machine->partitions[machine->slot_of[number] - 1];
}

struct partition *machine_partition_of(const struct machine *machine, uint32_t tp)
{
    struct partition *partition = machine_partition(machine, store_tp_partition(tp));

    return partition != NULL && partition->tp == tp ? partition : NULL;
}

static bool claiming(enum phase phase)
{
    return phase == PHASE_CLAIMING || phase == PHASE_START || phase == PHASE_INIT;
}

void machine_phase(struct machine *machine, struct partition *partition, enum phase phase)
{
    bool changes = (partition->phase == PHASE_READING) != (phase == PHASE_READING);

    machine->claims_pending += (int)claiming(phase) - (int)claiming(partition->phase);
    partition->phase = phase;
    if (!changes)
        return;
    machine->membership++;
    machine->reading_count = 0;
    for (int i = 0; i < machine->partitions_count; i++)
        if (machine->partitions[i]->phase == PHASE_READING)
            machine->reading[machine->reading_count++] = machine->partitions[i];
}

void machine_forget(struct machine *machine, struct partition *partition)
{
    partition->generation = ++machine->generations;
    partition->reading = false;
    partition->paused = partition->outbox_full = false; /* a fresh assign resumes */
    for (int s = 0; s < machine->options.shards; s++) {
        struct progress *progress = &partition->shards[s];
        struct record *record;

        progress->unanswered_to = STORE_NO_OFFSET;
        while ((record = record_queue_take(&progress->queue)) != NULL) {
            backlog_drop(&machine->backlog, record);
            machine->shards[s].queued--;
        }
    }
}

void machine_stop_partition(struct machine *machine, struct partition *partition,
                            enum stop_reason reason, int64_t offset, int64_t found)
{
    machine_forget(machine, partition);
    machine_phase(machine, partition, PHASE_STOPPED);
    partition->stopped = reason;
    machine->stats.stops++;
    machine_command(machine, &(struct machine_command){.kind = COMMAND_STOP,
                                                       .partition = partition->number,
                                                       .reason = reason,
                                                       .offset = offset,
                                                       .found = found});
}

void machine_drop_users(struct machine *machine, int shard)
{
    for (int i = 0; i < machine->partitions_count; i++)
        machine->partitions[i]->shards[shard].cache_epoch++;
}

void machine_drop_all_users(struct machine *machine)
{
    for (int s = 0; s < machine->options.shards; s++)
        machine_drop_users(machine, s);
}
