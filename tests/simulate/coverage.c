/*
 * tests/simulate/coverage.c - see coverage.h.
 *
 * It looks inside the machine, which nobody else outside of ingest/ does: phases and stages are
 * what the protocol is made of, and no output tells them apart.
 */
#include "tests/simulate/coverage.h"

#include "machine/machine_inside.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

_Static_assert(COVERAGE_PHASES == PHASE_STOPPED + 1, "a phase was added");
_Static_assert(COVERAGE_STAGES == STAGE_REPAIRING + 1, "a stage was added");
_Static_assert(COVERAGE_REQUESTS == STORE_ROWS + 1, "a request was added");
_Static_assert(COVERAGE_COMMANDS == COMMAND_STOP + 1, "a command was added");

/* ---- what there is ---- */

static const char *const phase_names[COVERAGE_PHASES] = {"idle", "claiming", "limits", "start",
                                                         "init", "reading",  "fenced", "stopped"};
static const char *const stage_names[COVERAGE_STAGES] = {"none", "users",  "rows",     "applied",
                                                         "sent", "repair", "repairing"};
static const char *const request_names[COVERAGE_REQUESTS] = {"claim", "start", "read",
                                                             "exec",  "trim",  "rows"};
static const char *const ending_names[ENDING_COUNT] = {"answered", "aborted", "refused", "lost"};
static const char *const command_names[COVERAGE_COMMANDS] = {
    "store", "limits", "assign", "pause", "resume", "letter", "hint", "mark", "outbox", "stop"};
static const char *const fault_names[FAULT_COUNT] = {
#define X(id, name) name,
    FAULT_LIST(X)
#undef X
};

struct pair {
    uint8_t from, to;
};

/* What a partition goes through (machine.h). claiming -> claiming: a claim begun anew. */
static const struct pair phase_pairs[] = {
    {PHASE_IDLE, PHASE_CLAIMING},    {PHASE_CLAIMING, PHASE_CLAIMING},
    {PHASE_CLAIMING, PHASE_LIMITS},  {PHASE_CLAIMING, PHASE_STOPPED},
    {PHASE_CLAIMING, PHASE_IDLE},    {PHASE_LIMITS, PHASE_START},
    {PHASE_LIMITS, PHASE_READING},   {PHASE_LIMITS, PHASE_STOPPED},
    {PHASE_LIMITS, PHASE_IDLE},      {PHASE_LIMITS, PHASE_CLAIMING},
    {PHASE_START, PHASE_INIT},       {PHASE_START, PHASE_STOPPED},
    {PHASE_START, PHASE_IDLE},       {PHASE_START, PHASE_CLAIMING},
    {PHASE_INIT, PHASE_READING},     {PHASE_INIT, PHASE_FENCED},
    {PHASE_INIT, PHASE_IDLE},        {PHASE_INIT, PHASE_CLAIMING},
    {PHASE_READING, PHASE_FENCED},   {PHASE_READING, PHASE_CLAIMING},
    {PHASE_READING, PHASE_STOPPED},  {PHASE_READING, PHASE_IDLE},
    {PHASE_FENCED, PHASE_CLAIMING},  {PHASE_FENCED, PHASE_IDLE},
    {PHASE_STOPPED, PHASE_CLAIMING}, {PHASE_STOPPED, PHASE_IDLE},
};

/* What a shard's commit goes through (commit.c), as seen between two calls of the machine. */
static const struct pair stage_pairs[] = {
    {STAGE_NONE, STAGE_USERS},     {STAGE_NONE, STAGE_ROWS},        {STAGE_NONE, STAGE_APPLIED},
    {STAGE_NONE, STAGE_SENT},      {STAGE_USERS, STAGE_ROWS},       {STAGE_USERS, STAGE_APPLIED},
    {STAGE_USERS, STAGE_NONE},     {STAGE_ROWS, STAGE_APPLIED},     {STAGE_ROWS, STAGE_NONE},
    {STAGE_APPLIED, STAGE_SENT},   {STAGE_APPLIED, STAGE_NONE},     {STAGE_SENT, STAGE_NONE},
    {STAGE_SENT, STAGE_REPAIR},    {STAGE_REPAIR, STAGE_REPAIRING}, {STAGE_REPAIRING, STAGE_REPAIR},
    {STAGE_REPAIRING, STAGE_NONE},
};

/* How a request can end: only an EXEC is aborted. */
static bool can_end(int request, int ending)
{
    return ending != ENDING_NIL || request == STORE_EXEC;
}

/* Counters of the machine that say which way it went. */
#define STATS_LIST(X)                                                                              \
    X(fenced, "verdict fenced, or before the first next")                                          \
    X(behind, "verdict behind")                                                                    \
    X(applied_unseen, "verdict applied")                                                           \
    X(ahead, "verdict ahead")                                                                      \
    X(stamps, "stamps given to old writers")                                                       \
    X(stamps_seen, "stamps found on ours")                                                         \
    X(commits, "commits")                                                                          \
    X(ticks, "ticks")                                                                              \
    X(patched, "values patched")                                                                   \
    X(rewritten, "values written whole")                                                           \
    X(repaired, "values that were gone, repaired")                                                 \
    X(quarantined, "users quarantined")                                                            \
    X(unverifiable, "last below the log's start")                                                  \
    X(skipped, "records skipped")                                                                  \
    X(cache_hits, "users found cached")                                                            \
    X(cache_misses, "users read")                                                                  \
    X(claims, "claims")

enum {
#define X(field, name) STAT_##field,
    STATS_LIST(X)
#undef X
        STATS_HERE
};
_Static_assert(STATS_HERE <= COVERAGE_STATS, "more counters than places");

/* ---- looking ---- */

static bool is_pair(const struct pair *pairs, size_t count, int from, int to)
{
    for (size_t i = 0; i < count; i++)
        if (pairs[i].from == from && pairs[i].to == to)
            return true;
    return false;
}

const char *coverage_look(struct coverage *coverage, struct glimpse *glimpse,
                          const struct machine *machine)
{
    const char *wrong = NULL;

    for (int i = 0; i < machine->partitions_count; i++) {
        const struct partition *partition = machine->partitions[i];
        int number = partition->number, was = glimpse->phases[number], is = (int)partition->phase;
        bool anew = glimpse->generations[number] != partition->generation;

        if (was == is && !(anew && is == PHASE_CLAIMING))
            continue;
        coverage->phases[was][is]++;
        if (!is_pair(phase_pairs, sizeof phase_pairs / sizeof phase_pairs[0], was, is))
            wrong = phase_names[is];
        glimpse->phases[number] = (uint8_t)is;
        glimpse->generations[number] = partition->generation;
    }
    for (int s = 0; s < machine->options.shards; s++) {
        int was = glimpse->stages[s], is = (int)machine->shards[s].commit.stage;

        if (was == is)
            continue;
        coverage->stages[was][is]++;
        if (!is_pair(stage_pairs, sizeof stage_pairs / sizeof stage_pairs[0], was, is))
            wrong = stage_names[is];
        glimpse->stages[s] = (uint8_t)is;
    }
    return wrong;
}

void coverage_end(struct coverage *coverage, struct machine *machine)
{
    const struct machine_stats *stats = machine_stats(machine);

#define X(field, name) coverage->stats[STAT_##field] += (int64_t)stats->field;
    STATS_LIST(X)
#undef X
    for (int i = 0; i < OUTCOME_COUNT; i++)
        coverage->outcomes[i] += (int64_t)stats->outcomes[i];
}

/* All its members are int64_t. */
void coverage_add(struct coverage *sum, const struct coverage *part)
{
    int64_t *into = (int64_t *)sum;
    const int64_t *from = (const int64_t *)part;

    for (size_t i = 0; i < sizeof *sum / sizeof *into; i++)
        into[i] += from[i];
}

/* ---- printing ---- */

struct table {
    bool full;
    int missing;
};

static void row(struct table *table, const char *what, const char *name, const char *more,
                int64_t count)
{
    table->missing += count == 0;
    if (count == 0)
        (void)printf("  never taken: %s %s%s%s\n", what, name, *more == 0 ? "" : " -> ", more);
    else if (table->full)
        (void)printf("  %-10s %-28s%s%-10s %12lld\n", what, name, *more == 0 ? "    " : " -> ",
                     more, (long long)count);
}

static void print_transitions(struct table *table, const struct coverage *coverage)
{
    for (size_t i = 0; i < sizeof phase_pairs / sizeof phase_pairs[0]; i++)
        row(table, "partition", phase_names[phase_pairs[i].from], phase_names[phase_pairs[i].to],
            coverage->phases[phase_pairs[i].from][phase_pairs[i].to]);
    for (size_t i = 0; i < sizeof stage_pairs / sizeof stage_pairs[0]; i++)
        row(table, "commit", stage_names[stage_pairs[i].from], stage_names[stage_pairs[i].to],
            coverage->stages[stage_pairs[i].from][stage_pairs[i].to]);
    for (int r = 0; r < COVERAGE_REQUESTS; r++)
        for (int e = 0; e < ENDING_COUNT; e++)
            if (can_end(r, e))
                row(table, "request", request_names[r], ending_names[e], coverage->answers[r][e]);
}

int coverage_print(const struct coverage *coverage, bool full)
{
    static const char *const stat_names[] = {
#define X(field, name) name,
        STATS_LIST(X)
#undef X
    };
    struct table table = {.full = full};

    print_transitions(&table, coverage);
    for (int i = 0; i < COVERAGE_COMMANDS; i++)
        row(&table, "command", command_names[i], "", coverage->commands[i]);
    for (int i = 0; i < STOP_REASON_COUNT; i++)
        row(&table, "stop", stop_reason_names[i], "", coverage->stops[i]);
    row(&table, "letter", refusal_names[REFUSAL_NOT_JSON], "", coverage->letters[REFUSAL_NOT_JSON]);
    row(&table, "letter", refusal_names[REFUSAL_QUARANTINED], "",
        coverage->letters[REFUSAL_QUARANTINED]);
    for (int i = 0; i < OUTCOME_COUNT; i++)
        row(&table, "outcome", outcome_names[i], "", coverage->outcomes[i]);
    for (int i = 0; i < STATS_HERE; i++)
        row(&table, "machine", stat_names[i], "", coverage->stats[i]);
    for (int i = 0; i < FAULT_COUNT; i++)
        row(&table, "fault", fault_names[i], "", coverage->faults[i]);
    return table.missing;
}
