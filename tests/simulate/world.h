/*
 * tests/simulate/world.h - a small world in which the ingest machine meets every failure we know.
 *
 * Flow: seed -> [workload -> schedule of steps and faults -> quiet -> judge] -> violation or none
 *                         plan: what of it is left out (shrink.c)
 *
 * Logs of 2-3 partitions, two Redis nodes that hold V = 4 shards, three processes that each run
 * the very machine of `freshet ingest`, on virtual time. A step is anything the real loop does
 * between two looks at the world; faults come between any two. Everything follows from one seed:
 * each record, step and fault draws from a stream of its own, named by its number, so that one can
 * be left out and the others stay what they were.
 */
#ifndef TESTS_SIMULATE_WORLD_H
#define TESTS_SIMULATE_WORLD_H

#include "machine/machine.h"
#include "ops/arena.h"
#include "ops/random.h"
#include "tests/simulate/coverage.h"
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
#define SLOTS_MAX     400 /* places for a step, with a fault before it */
#define DRAWN_MAX     40  /* records drawn for a schedule; a duplicate is part of its record */
#define UNIT_MS       INT64_C(1000)
#define TIME_BASE_MS  INT64_C(1700000000000)
#define TTL_MS        (INT64_C(30) * 24 * 3600 * 1000)
#define TTL_MARGIN_MS (INT64_C(3600) * 1000)

/* ---- what is left out ---- */

/* True: this draw of the seed does not happen. settled: everybody reads before the first step.
 * crash_after: a process dies behind this place (1 is the first), whatever is drawn; 0: none. */
struct plan {
    bool settled;
    int crash_after, crash_of;
    bool faults[SLOTS_MAX], steps[SLOTS_MAX], records[DRAWN_MAX];
};

enum draw { DRAW_WORLD, DRAW_RECORD, DRAW_CHANGE, DRAW_FAULT, DRAW_STEP, DRAW_QUIET };

/* ---- logs ---- */

enum entry_kind { ENTRY_GAP, ENTRY_EVENT, ENTRY_DEAD };

struct entry {
    enum entry_kind kind;
    int user; /* of an event */
    int shard;
    struct event event;
    int64_t timestamp_ms;
    uint64_t hash;
    bool replayed; /* out of the dead letters */
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
    bool planting; /* a wrong type is planted at a user's key */
    bool damage;   /* the same at an m */
    bool relog;    /* a log is re-created or truncated */
    bool retention;
    bool empty; /* a failover may lose all */
    bool failover, crash, zombie, lost, refusal, erase, leave;
};

/* ---- processes ---- */

struct wire { /* one shard's connection and the request on it */
    struct model_connection connection;
    struct store_request *request; /* NULL: nothing in flight */
    struct store_reply *reply;
    int step; /* -1: executed, the answer is on its way */
    bool up;
    uint64_t claims[LOGS_MAX]; /* under which the request was made */
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
    bool told[LOGS_MAX][SHARDS]; /* that rows may be in the outbox: nobody looks otherwise */
    struct {
        uint64_t id;
        int log;
        int64_t offset;
    } letters[LETTERS_MAX];
    int letters_count;
    uint64_t serial;                   /* of all that ever began */
    uint64_t claims[LOGS_MAX][SHARDS]; /* it asked for last */
    bool stopped[LOGS_MAX];
    enum stop_reason reason[LOGS_MAX];
    bool leaving; /* told to end: commits what waits, then goes */
    struct glimpse glimpse;
};

struct ghost { /* an EXEC whose sender has given up on it */
    int node;
    struct model_connection connection;
    struct store_request *request;
    uint64_t claims[LOGS_MAX];
};

struct published { /* a row in the examples topic */
    int log, shard;
    const struct model_row *row;
};

/* ---- the world ---- */

struct world {
    uint64_t seed;
    const struct plan *plan;      /* NULL: nothing is left out */
    struct coverage *coverage;    /* borrowed */
    struct random random;         /* of the draw at hand */
    struct random machine_random; /* tokens, stamps */
    struct arena *arena;
    const struct rules *rules;
    struct features features;
    struct machine_options options;
    int fault_percent; /* chance of a fault before a step */

    struct log logs[LOGS_MAX];
    int logs_count;
    struct log old_logs[LOGS_MAX]; /* before a change; count 0: never changed */
    bool moved[USERS];             /* fed by two partitions */
    bool unsure[USERS];            /* deleted or planted by hand: not compared */
    bool damaged[LOGS_MAX];        /* some m of it was */
    bool rolled_back;              /* some write was lost by a failover */
    bool start_lost[LOGS_MAX];     /* its recorded start was once asked for and not there */
    struct store_model nodes[NODES];
    struct process processes[PROCESSES];
    int owner[LOGS_MAX];
    int64_t group[LOGS_MAX];
    uint64_t epochs, serials;
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
    int slots;         /* places for steps */
    int steps, faults; /* that did something */
    bool acted;        /* the step at hand did something */
    /* by processes that are gone, and at the end by all: */
    uint64_t quarantined;  /* users met with an unusable value */
    uint64_t behind;       /* times a rollback was seen */
    const char *violation; /* NULL: none */
    char detail[200];
};

#define NOTE(world, ...)                                                                           \
    do {                                                                                           \
        if ((world)->show)                                                                         \
            world_note(world, __VA_ARGS__);                                                        \
    } while (0)

/* ---- world.c ---- */

/* What is needed to run schedules, one after the other. */
struct stage {
    struct world *world;
    struct arena *arena;
    struct rules rules[2]; /* a schedule goes by one of them */
    struct coverage *coverage;
};

/* Runs the schedule of the seed but for what the plan leaves out (NULL: nothing). Returns the
 * violation, or NULL. */
const char *world_run(struct stage *stage, uint64_t seed, const struct plan *plan, bool show);
/* From here on world_below() draws from this stream. */
void world_draw(struct world *world, enum draw draw, int number);
void world_note(const struct world *world, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* The first one stands. */
void world_violation(struct world *world, const char *what, const char *fmt, ...) PRINTF_LIKE(3, 4);
int world_below(struct world *world, int bound); /* 0..bound-1 */
bool world_chance(struct world *world, int percent);
int64_t world_wall_ms(const struct world *world);
/* The log goes on otherwise from where ours ends, if that is at a gap. */
void world_cut(struct world *world, int log);
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

/* What it counted is not forgotten with it. */
void process_count(struct world *world, const struct process *process);
void process_start(struct world *world, struct process *process);
void process_end(struct world *world, struct process *process);
/* It dies, and another takes its place. False: it owns nothing, so nothing happened. */
bool process_crash(struct world *world, int number);
/* It is told to end: commits what waits, then another takes its place. */
bool process_leave(struct world *world, int number);
/* It is told that it has the log, though nobody told it otherwise: it claims anew. */
void process_assign(struct world *world, struct process *process, int log);
/* It no longer has the log, and hears so at once. */
void process_give_up(struct world *world, struct process *process, int log);
void process_notice(struct world *world, struct process *process);
void process_feed(struct world *world, struct process *process, int log);
/* Carries out what the machine wants; most: commands. */
void process_pump(struct world *world, struct process *process, int most);
void process_wire(struct world *world, struct process *process, int shard);
/* Returns what that was: FAULT_LOST_REQUEST, FAULT_LOST_REPLY, FAULT_IDLE_LOSS; FAULT_COUNT: there
 * was no connection. ghost: a request that was not carried out may be later. */
enum fault_kind process_disconnect(struct world *world, struct process *process, int shard,
                                   bool ghost);
void process_letters(struct world *world, struct process *process);
void process_relay(struct world *world, struct process *process, int log, int shard);
void process_land(struct world *world, struct process *process);
int process_number(const struct world *world, const struct process *process);
/* A request whose sender has given up on it arrives. False: its connection died with the old
 * primary. */
bool process_ghost(struct world *world, int index);

/* ---- shrink.c ---- */

/* Leaves out all that it can while the seed's violation stays, but for the plan's crash. Returns
 * how many runs that took; 0: the seed breaks nothing. */
int shrink(struct stage *stage, uint64_t seed, struct plan *plan);

/* ---- trainer.c ---- */

/* What a trainer makes of all that was published; labels are those that must be there, of users
 * whose every row is known. */
struct trainer_label {
    uint64_t example;
    int row;
};
void trainer_check(struct world *world, const uint64_t *examples, int examples_count,
                   const struct trainer_label *labels, int labels_count);

/* ---- judge.c ---- */

bool judge_done(struct world *world);
void judge(struct world *world);

#endif
