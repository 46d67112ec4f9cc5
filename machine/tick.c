/* machine/tick.c - see tick.h. */
#include "machine/tick.h"

#include "machine/turns.h"

void tick_time(struct machine *machine)
{
    if (machine->now_us >= machine->next_tick_us) {
        machine->round++;
        machine->next_tick_us = machine->now_us + machine->options.tick_us;
        turns_recount(machine);
    }
    if (machine->draining && machine->drain_round == 0 && machine->backlog.records == 0)
        machine->drain_round = ++machine->round;
}

static uint64_t answered_by_all(const struct machine *machine)
{
    uint64_t round = machine->round;

    for (int s = 0; s < machine->options.shards && machine->reading_count > 0; s++)
        if (machine->shards[s].round < round)
            round = machine->shards[s].round;
    return round;
}

/* The state of the shard that is least far. Watermark and last are functions of the log, so any
 * shard with this `next` tells the same. */
static const struct store_state *lowest(const struct machine *machine,
                                        const struct partition *partition)
{
    const struct store_state *low = &partition->shards[0].state;

    for (int s = 1; s < machine->options.shards; s++)
        if (partition->shards[s].state.next < low->next)
            low = &partition->shards[s].state;
    return low;
}

void tick_answered(struct machine *machine)
{
    uint64_t round = answered_by_all(machine);

    if (round == machine->hinted_round)
        return;
    machine->hinted_round = round;
    for (int i = 0; i < machine->reading_count; i++) {
        struct partition *partition = machine->reading[i];
        const struct store_state *state = lowest(machine, partition);
        struct machine_command command = {.kind = COMMAND_HINT,
                                          .partition = partition->number,
                                          .offset = state->next,
                                          .watermark_ms = state->watermark_ms};

        if (state->next == partition->hinted)
            continue;
        partition->hinted = state->next;
        machine_command(machine, &command);
        command.kind = COMMAND_MARK;
        machine_command(machine, &command);
    }
}

bool tick_drained(const struct machine *machine)
{
    return machine->draining && machine->drain_round > 0 &&
           (machine->reading_count == 0 || machine->hinted_round >= machine->drain_round) &&
           machine->commands_count == 0;
}
