/*
 * tests/simulate/coverage.h - what the machine went through, counted: every transition is taken.
 *
 * Flow: machine, after each input and command -> [glimpse, compare] -> counts -> table
 *
 * The simulator looks at the phase of every partition and at the stage of every shard's commit
 * after each call, and counts what changed. A change that is not in the tables of coverage.c is a
 * violation; one of the tables that never came in many schedules means the simulator is blind
 * there.
 */
#ifndef TESTS_SIMULATE_COVERAGE_H
#define TESTS_SIMULATE_COVERAGE_H

#include "machine/machine.h"

#include <stdbool.h>
#include <stdint.h>

#define COVERAGE_PHASES   8
#define COVERAGE_STAGES   7
#define COVERAGE_LOGS     3
#define COVERAGE_SHARDS   4
#define COVERAGE_REQUESTS 6
#define COVERAGE_COMMANDS 10
#define COVERAGE_STATS    40

enum ending { ENDING_OK, ENDING_NIL, ENDING_REFUSED, ENDING_LOST, ENDING_COUNT };

/* What went wrong in the world, by kind. */
#define FAULT_LIST(X)                                                                              \
    X(FAILOVER, "failovers")                                                                       \
    X(CRASH, "crashes")                                                                            \
    X(LEAVE, "clean ends")                                                                         \
    X(REBALANCE, "rebalances")                                                                     \
    X(DELAYED, "delayed requests")                                                                 \
    X(LOST_REQUEST, "lost requests")                                                               \
    X(LOST_REPLY, "lost replies")                                                                  \
    X(IDLE_LOSS, "idle connections lost")                                                          \
    X(READ_FAILED, "reads behind an EXEC failed")                                                  \
    X(REFUSAL, "refusals begun or ended")                                                          \
    X(EXPIRY, "expiries")                                                                          \
    X(BY_HAND, "keys deleted or planted")                                                          \
    X(LOG, "logs changed or cut")                                                                  \
    X(RETENTION, "logs shortened")
enum fault_kind {
#define X(id, name) FAULT_##id,
    FAULT_LIST(X)
#undef X
        FAULT_COUNT
};

struct coverage {
    int64_t phases[COVERAGE_PHASES][COVERAGE_PHASES];
    int64_t stages[COVERAGE_STAGES][COVERAGE_STAGES];
    int64_t answers[COVERAGE_REQUESTS][ENDING_COUNT];
    int64_t commands[COVERAGE_COMMANDS];
    int64_t stops[STOP_REASON_COUNT];
    int64_t letters[REFUSAL_COUNT];
    int64_t outcomes[OUTCOME_COUNT];
    int64_t faults[FAULT_COUNT];
    int64_t stats[COVERAGE_STATS];
};

/* What a machine was like when it was looked at last. */
struct glimpse {
    uint64_t generations[COVERAGE_LOGS];
    uint8_t phases[COVERAGE_LOGS];
    uint8_t stages[COVERAGE_SHARDS];
};

/* Counts what changed since the last glimpse. Returns the name of a change that must not be, or
 * NULL. */
const char *coverage_look(struct coverage *coverage, struct glimpse *glimpse,
                          const struct machine *machine);
/* The machine is gone: adds its counters. */
void coverage_end(struct coverage *coverage, struct machine *machine);
void coverage_add(struct coverage *sum, const struct coverage *part);
/* Prints the table, or (full false) only what was never taken. Returns how many were not. */
int coverage_print(const struct coverage *coverage, bool full);

#endif
