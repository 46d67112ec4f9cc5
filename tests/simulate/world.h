/*
 * tests/simulate/world.h - a small world in which the ingest machine meets every failure we know.
 *
 * Flow: seed -> [workload -> schedule of steps and faults -> quiet -> judge] -> violation or none
 *
 * Logs of 2-3 partitions, two Redis nodes that hold V = 4 shards, three processes that each run
 * the very machine of `freshet ingest`, on virtual time. A step is anything the real loop does
 * between two looks at the world; faults come between any two. Everything follows from one seed.
 */
#ifndef TESTS_SIMULATE_WORLD_H
#define TESTS_SIMULATE_WORLD_H

#include "ingest/machine.h"
#include "ops/arena.h"
#include "ops/random.h"
#include "tests/support/store_model.h"

#include <stdbool.h>
#include <stdint.h>

#define SHARDS        4
#define NODES         2
#define PROCESSES     3
#define LOGS_MAX      3
#define USERS         6
#define ITEMS         6
#define RECORDS_MAX   96 /* of one log */
#define GHOSTS_MAX    16
#define FLIGHTS_MAX   16
#define LETTERS_MAX   64
#define EXAMPLES_MAX  4096
#define UNIT_MS       INT64_C(1000)
#define TIME_BASE_MS  INT64_C(1700000000000)
#define TTL_MS        (INT64_C(30) * 24 * 3600 * 1000)
#define TTL_MARGIN_MS (INT64_C(3600) * 1000)

/* ---- logs ---- */

enum entry_kind { ENTRY_GAP, ENTRY_EVENT, ENTRY_DEAD };

struct entry {
    enum entry_kind kind;
    int user; /* of an event */
    int shard;
    struct event event;
    int64_t timestamp_ms;
    uint64_t hash;
    char text[40]; /* for people */
};

struct log {
    struct entry *entries;
    int count;
    int start; /* where the data set began */
    int low;   /* first offset still there */
    int high;  /* visible so far */
};

/* What kinds of trouble this world has; drawn from the seed, so that rare ones meet each other
 * without drowning everything else. */
struct features {
    bool two;      /* users 0, 1 and 4 are fed by two partitions */
    bool expiry;   /* values expire */
    bool deletion; /* a user's key is deleted by hand */
    bool planting; /* a wrong type is planted */
    bool relog;    /* a log is re-created or truncated */
    bool retention;
    bool failover, crash, zombie, lost, refusal, erase;
};

/* ---- processes ---- */

struct wire { /* one shard's connection and the request on it */
    struct model_connection connection;
    struct store_request *request; /* NULL: nothing in flight */
    struct store_reply *reply;
    int step; /* -1: executed, the answer is on its way */
    bool up;
};

struct consumer {
    bool owned;    /* as the process was told */
    bool assigned; /* reading */
    bool paused;
    uint64_t epoch, old_epoch;
    int64_t position, old_position;
};

struct flight { /* outbox rows on their way to Kafka */
    int log, shard;
    const struct model_row *rows;
    int count;
    bool landed;
};

struct process {
    struct machine *machine;
    struct wire wires[SHARDS];
    struct consumer consumers[LOGS_MAX];
    struct flight flights[FLIGHTS_MAX];
    int flights_count;
    struct {
        uint64_t id;
        int log;
        int64_t offset;
    } letters[LETTERS_MAX];
    int letters_count;
    uint8_t tokens[LOGS_MAX][SHARDS][STORE_TOKEN_BYTES]; /* of its claims that were carried out */
    bool stopped[LOGS_MAX];
    enum stop_reason reason[LOGS_MAX];
};

struct ghost { /* an EXEC whose sender has given up on it */
    int node;
    struct model_connection connection;
    struct store_request *request;
};

struct published { /* a row in the examples topic */
    int log, shard;
    const struct model_row *row;
};

/* ---- the world ---- */

struct world {
    uint64_t seed;
    struct random random;         /* schedule */
    struct random machine_random; /* tokens, stamps */
    struct arena *arena;
    const struct rules *rules;
    struct features features;
    struct machine_options options;

    struct log logs[LOGS_MAX];
    int logs_count;
    struct log old_logs[LOGS_MAX]; /* before a change; count 0: never changed */
    bool moved[USERS];             /* fed by two partitions */
    bool unsure[USERS];            /* deleted or planted by hand: not compared */
    struct store_model nodes[NODES];
    struct process processes[PROCESSES];
    int owner[LOGS_MAX];
    int64_t group[LOGS_MAX];
    uint64_t epochs;
    int64_t now_us; /* wall = TIME_BASE_MS + jumps + now_us / 1000 */
    int64_t jumped_ms;

    struct ghost ghosts[GHOSTS_MAX];
    int ghosts_count;
    struct published *published; /* (EXAMPLES_MAX) */
    int published_count;
    bool letters[LOGS_MAX][RECORDS_MAX]; /* delivered, by offset */
    struct {
        int user, log;
        int64_t next;
    } expired[USERS * 4];
    int expired_count;
    bool soon; /* values are within the margin: the next jump expires them */

    bool calm; /* no more faults */
    bool show;
    int steps, faults;
    uint64_t quarantined;  /* users met with an unusable value, by processes that are gone */
    const char *violation; /* NULL: none */
    char detail[200];
};

#define NOTE(world, ...)                                                                           \
    do {                                                                                           \
        if ((world)->show)                                                                         \
            world_note(world, __VA_ARGS__);                                                        \
    } while (0)

/* ---- world.c ---- */

/* Runs the schedule of the seed, by one of two sets of rules. arena is reset first. Returns the
 * violation, or NULL. */
const char *world_run(struct world *world, uint64_t seed, struct arena *arena,
                      const struct rules rules[2], bool show);
void world_note(const struct world *world, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* The first one stands. */
void world_violation(struct world *world, const char *what, const char *fmt, ...) PRINTF_LIKE(3, 4);
int world_below(struct world *world, int bound); /* 0..bound-1 */
bool world_chance(struct world *world, int percent);
int64_t world_wall_ms(const struct world *world);
static inline int node_of(int shard)
{
    return shard % NODES;
}

/* ---- workload.c ---- */

struct text workload_user(int user);
int workload_shard(const struct rules *rules, int user);
void workload_make(struct world *world);
/* The log becomes another from `from` on; 0: re-created. */
void workload_change(struct world *world, int log, int from);
int64_t workload_watermark(const struct log *log, int64_t offset); /* before the record there */

/* ---- process.c ---- */

void process_start(struct world *world, struct process *process);
void process_crash(struct world *world, struct process *process);
void process_notice(struct world *world, struct process *process);
void process_feed(struct world *world, struct process *process, int log);
/* Carries out what the machine wants; most: commands. */
void process_pump(struct world *world, struct process *process, int most);
void process_wire(struct world *world, struct process *process, int shard);
void process_disconnect(struct world *world, struct process *process, int shard, bool ghost);
void process_letters(struct world *world, struct process *process);
void process_relay(struct world *world, struct process *process, int log, int shard);
void process_land(struct world *world, struct process *process);
int process_number(const struct world *world, const struct process *process);

/* ---- judge.c ---- */

bool judge_done(struct world *world);
void judge(struct world *world);

#endif
