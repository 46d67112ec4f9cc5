/*
 * machine/machine_inside.h - what the units of the machine share. Nobody else includes it,
 * but for tests/simulate/coverage.c, which counts what the machine goes through.
 *
 * One screen of structs: machine -> partitions -> progress of each shard, machine -> shards ->
 * the commit under way. Beliefs live in struct progress; whatever contradicts them in the store is
 * met by commit.c, by the verdicts of verdict.h.
 */
#ifndef MACHINE_MACHINE_INSIDE_H
#define MACHINE_MACHINE_INSIDE_H

#include "machine/backlog.h"
#include "machine/letters.h"
#include "machine/machine.h"
#include "machine/user_cache.h"
#include "ops/arena.h"

enum phase {
    PHASE_IDLE,     /* not ours */
    PHASE_CLAIMING, /* storing our token in every shard */
    PHASE_LIMITS,   /* asking Kafka where the log begins and ends */
    PHASE_START,    /* asking the store where the partition began */
    PHASE_INIT,     /* writing `next` where it is absent */
    PHASE_READING,
    PHASE_FENCED, /* another owner claimed it: a poll and a back-off, then again */
    PHASE_STOPPED,
};

enum claim_step {
    CLAIM_DUE,
    CLAIM_SENT,
    CLAIM_ABSENT, /* answered: there is no `next` */
    CLAIM_DONE,   /* `next` is known */
};

/* What we believe of one partition in one shard, and what waits there. */
struct progress {
    struct store_state state;
    uint64_t stamp;
    int64_t unanswered_to; /* of a commit whose answer was lost, or STORE_NO_OFFSET */
    int64_t outbox_rows;
    struct record_queue queue;
    uint32_t cache_epoch; /* cached users of another epoch are not good */
    enum claim_step claim;
};

/* A record that must be in the log: `last` of some shards. */
struct log_check {
    int64_t offset;
    uint64_t hash;
};

struct partition {
    int slot; /* in machine.partitions, for good */
    int32_t number;
    uint32_t tp;
    bool assigned;
    enum phase phase;
    uint64_t generation; /* of its claim; raised whenever beliefs are thrown away */
    uint8_t token[STORE_TOKEN_BYTES];
    int claims_left;         /* shards whose step is not finished */
    struct progress *shards; /* (V) */

    uint64_t epoch; /* of Kafka's assignment */
    bool reading;   /* epoch is known */
    int64_t position, watermark_ms, last_offset;
    uint64_t last_hash;
    struct log_check *checks; /* (V) ascending */
    int checks_count, checks_done;

    int64_t low, high, group_offset, start;
    int64_t hinted; /* last offset given to Kafka */
    int64_t retry_at_us;
    int fences;  /* in a row */
    bool polled; /* since it was fenced */
    bool start_asked;
    bool paused, outbox_full;
    enum stop_reason stopped; /* PHASE_STOPPED: why */
};

/* Stages of the commit under way. */
enum stage {
    STAGE_NONE,
    STAGE_USERS,   /* uncached users are being read */
    STAGE_ROWS,    /* an erasure: the outboxes are being read */
    STAGE_APPLIED, /* rules applied, EXEC ready; dead letters may still be on their way */
    STAGE_SENT,
    STAGE_REPAIR, /* values that were gone are to be written whole */
    STAGE_REPAIRING,
};

struct work; /* a user in a batch; apply.h */

/* A partition's share of a batch. */
struct part {
    struct partition *partition;
    uint64_t generation;
    int records;
    int64_t from;
    struct store_state to; /* the state after it */
    int64_t appended;      /* outbox rows */
};

struct emitted {
    int part;
    int64_t offset;
    struct store_append append;
};

/* A row of an outbox that goes with an erasure. */
struct forgotten {
    int part, work;
    struct store_id id;
};

struct commit {
    enum stage stage;
    struct part *parts;
    int parts_count;
    struct work *works; /* (works_count) in the order met */
    int works_count, works_max;
    int32_t *table; /* index of a work + 1, by user hash */
    uint32_t table_mask;
    struct emitted *emitted;
    int emitted_count, emitted_max;
    struct forgotten *forgotten;
    int forgotten_count, forgotten_max;
    int page_part; /* STAGE_ROWS: whose outbox is read, and from which row */
    struct store_id page_from;
    struct store_write *writes;
    int writes_count;
    uint64_t letter; /* highest id this commit passes */
    uint64_t round;  /* tick that it answers */
    int records;
};

/* What was asked on a shard's connection and is not answered. */
enum turn {
    TURN_NONE,
    TURN_CLAIM,
    TURN_START,
    TURN_INIT,
    TURN_WATCH,
    TURN_USERS,
    TURN_ROWS,
    TURN_EXEC,
    TURN_TRIM
};

struct trim {
    struct trim *next;
    struct partition *partition;
    int count;
    struct store_id ids[];
};

struct watched {
    struct partition *partition;
    uint64_t generation;
};

struct shard {
    int number;
    bool connected;
    enum turn turn;
    struct partition *asked; /* CLAIM, START, INIT: for which partition */
    uint64_t asked_generation;
    struct store_request request;
    struct store_m_write init;      /* of an INIT request */
    struct partition *init_watched; /* whose m is watched, ours and still without `next` */
    bool watched;                   /* m of all partitions read is watched, and was as believed */
    uint64_t watched_membership;
    struct watched *watch; /* in the order of request.tps */
    uint32_t *watch_tps;
    int watch_count, watch_max;
    struct commit commit;
    struct arena *arena;
    int batch_limit;
    int queued;
    int64_t queued_since_us;
    int64_t retry_at_us;
    int failures;   /* in a row */
    uint64_t round; /* last tick this shard has answered */
    struct trim *trims, *trims_last;
    int trims_count;
    bool trim_next; /* a commit had its turn: now a trim */
};

struct machine {
    struct machine_options options;
    struct machine_stats stats;
    int64_t now_wall_ms, now_us;
    uint64_t generations;
    uint64_t membership; /* raised when a partition begins or ends to be read */
    struct partition *partitions[MACHINE_PARTITIONS_MAX];
    int partitions_count;
    int32_t *slot_of; /* by partition number: slot + 1 */
    int32_t slot_of_count;
    struct partition *reading[MACHINE_PARTITIONS_MAX];
    int reading_count;
    struct shard *shards; /* (V) */
    int next_shard;       /* whose turn is asked first */
    int claims_pending;   /* partitions in CLAIMING, START or INIT */
    struct backlog backlog;
    struct user_cache cache;
    struct letters letters;
    struct machine_command *commands; /* ring, but for STORE and LETTER */
    uint32_t commands_first, commands_count, commands_max;
    uint64_t round, hinted_round;
    int64_t next_tick_us;
    bool full; /* some queue or the memory is at its bound */
    int64_t full_since_us;
    bool backlog_paused;
    bool draining;
    uint64_t drain_round;     /* 0: not begun */
    struct user_value *value; /* scratch of apply.c */
    struct emissions *emissions;
    uint8_t *image; /* USER_VALUE_BYTES_MAX */
};

/* ---- bookkeeping ---- */

uint64_t machine_random(struct machine *machine);
struct arena *machine_arena(const struct machine *machine); /* for a shard's batches */
/* x, give or take half of it. */
int64_t machine_jitter(struct machine *machine, int64_t x);
/* first * 2^n, at most 5 s, jittered. */
int64_t machine_back_off(struct machine *machine, int failures);
void machine_command(struct machine *machine, const struct machine_command *command);
/* NULL: never assigned. */
struct partition *machine_partition(const struct machine *machine, int32_t number);
struct partition *machine_partition_of(const struct machine *machine, uint32_t tp);
/* Enters a phase; keeps the list of partitions that are read and what follows from it. */
void machine_phase(struct machine *machine, struct partition *partition, enum phase phase);
/* Throws away what waits for commits and what is believed. */
void machine_forget(struct machine *machine, struct partition *partition);
void machine_stop_partition(struct machine *machine, struct partition *partition,
                            enum stop_reason reason, int64_t offset, int64_t found);
/* Cached users: of one shard, of one partition in it, of all. */
void machine_drop_users(struct machine *machine, int shard);
void machine_drop_all_users(struct machine *machine);

static inline struct progress *progress_of(struct partition *partition, const struct shard *shard)
{
    return &partition->shards[shard->number];
}

#endif
