/*
 * machine/machine.h - the protocol of DESIGN.md 3 as a machine that is stepped.
 *
 * Flow: Kafka -> decode -> [machine] -> store, dead letters, hints to Kafka
 *
 * It decides (claim, skip, apply, commit, retry, rewind, stop), does no I/O and reads no clock:
 * records, replies and the time go in, commands come out. The loop of `freshet ingest` drives it
 * against librdkafka and hiredis; tests/simulate drives the same code against modelled logs and a
 * modelled Redis on virtual time. One turn of the loop:
 *
 *     machine_time()                       first, whenever it wakes up
 *     machine_assigned(), machine_revoked(), machine_record(), machine_polled()   from Kafka
 *     machine_connected(), machine_disconnected(), machine_reply()                from the store
 *     machine_letter_delivered(), machine_trim()                                  from producers
 *     while (machine_next(...)) carry out the command
 *     wait until something happens, at most until machine_wakeup_us()
 *
 * What a partition goes through (machine/claims.c):
 *
 *     assigned -> claim all shards -> LIMITS from Kafka -> [START, initialise absent shards]
 *       -> ASSIGN to Kafka -> reading --(FENCED)--> a poll and a back-off -> claim
 *                                    \-(BEHIND)--> claim           any step may STOP it
 *
 * What a shard does, one request at a time (machine/turns.c): claims before commits before trims.
 * A commit (machine/commit.c): batch -> [READ of uncached users] -> apply -> [letters delivered]
 * -> EXEC, with the read for the next commit behind it.
 *
 * Owner: texts in inputs are borrowed for the call; a command is valid until the next input, the
 * store request it names until its reply was given or its connection reported lost.
 * Thread: one.
 */
#ifndef MACHINE_MACHINE_H
#define MACHINE_MACHINE_H

#include "features/store.h"

#include <stdbool.h>
#include <stdint.h>

#define MACHINE_PARTITIONS_MAX 1024 /* of one process */
#define MACHINE_LETTER_BYTES   256  /* of a dead letter's raw record */

struct machine_options {
    int shards;                /* V, 1..STORE_SHARDS_MAX */
    const struct rules *rules; /* borrowed */
    int64_t max_future_skew_ms;
    int64_t ttl_ms;        /* of user values */
    int64_t ttl_margin_ms; /* 0: an hour. A value nearer its end is read again under WATCH */
    int64_t linger_us;     /* 0: 5 ms. How long a record may wait for company in its batch */
    int64_t tick_us;       /* 0: 1 s */
    int64_t retry_us;      /* 0: 100 ms. First back-off after a refusal; doubles up to 5 s */
    int batch_target;      /* 0: 256 records of a shard start a commit before linger has passed */
    int batch_max;         /* 0: 2048 records of a shard in one commit */
    int backlog_max;       /* 0: 16384 records waiting for one shard; beyond it nobody reads on */
    int64_t backlog_bytes; /* 0: 256 MiB of all waiting records */
    int64_t cache_bytes;   /* 0: 256 MiB of users' values */
    int64_t outbox_max;    /* 0: 100000 rows of one outbox; beyond it its partition pauses */
    int letters_at_once;   /* 0: 2048 dead letters handed out and not delivered */
    int64_t block_bytes;   /* 0: 64 KiB; memory of batches and of waiting records grows by it */
    int wait_replicas;     /* 0: no WAIT */
    int wait_ms;
    /* Tokens, stamps and jitter: hash_random_bytes() in production, a seed in simulation. */
    void (*random)(void *context, void *into, size_t bytes);
    void *random_context;
};

struct machine;
/* Errors: ERR_LIMIT (an option out of range), ERR_NOMEM */
MUST_CHECK enum status machine_create(struct machine **machine,
                                      const struct machine_options *options, struct error *err);
void machine_destroy(struct machine *machine); /* NULL is fine; what is in flight is forgotten */

/* ---- inputs ---- */

/* The time, before anything else of a turn. wall: for TTLs; monotonic: for everything else. */
void machine_time(struct machine *machine, int64_t now_wall_ms, int64_t now_us);

/* A poll of Kafka came back without an error: a fenced partition that is still assigned may be
 * claimed again. Call it after the poll's own events were handed in. */
void machine_polled(struct machine *machine);

/* Kafka gave us the partition. log_number: from the data set's record, raised when an operator
 * accepts a changed log. Repeating it claims anew. Errors: ERR_LIMIT (too many), ERR_NOMEM */
MUST_CHECK enum status machine_assigned(struct machine *machine, int32_t partition,
                                        uint32_t log_number, struct error *err);
/* We no longer have it; what was not committed is dropped, the new owner reads it again. */
void machine_revoked(struct machine *machine, int32_t partition);

/* Answer to COMMAND_LIMITS. low: log start offset, high: end of the log, both asked now;
 * group_offset: the group's committed offset, -1: none. */
void machine_limits(struct machine *machine, int32_t partition, uint64_t ticket, int64_t low,
                    int64_t high, int64_t group_offset);
/* COMMAND_ASSIGN was carried out; records of it carry this epoch. Any other epoch is dropped.
 * Both repeat the command's ticket: an answer to an older claim says nothing about this one. */
void machine_reading(struct machine *machine, int32_t partition, uint64_t ticket, uint64_t epoch);

struct machine_record {
    int32_t partition;
    uint64_t epoch;
    int64_t offset;
    int64_t timestamp_ms;
    uint64_t hash;             /* store_record_hash() */
    bool replayed;             /* has the header `freshet-replayed` */
    enum refusal refusal;      /* why it is no event, or REFUSAL_NONE */
    const struct event *event; /* when it is one */
    struct text value;         /* raw; its head goes into a dead letter */
};
/* The next record of its partition; everything is copied. One that does not fit (ERR_NOMEM) stops
 * the process: it must not be skipped. */
MUST_CHECK enum status machine_record(struct machine *machine, const struct machine_record *record,
                                      struct error *err);
/* How many records the machine takes now without exceeding its bounds; 0: do not poll for more
 * (it pauses the partitions by command when that lasts, so that Kafka can be polled). */
int machine_room(const struct machine *machine);

void machine_connected(struct machine *machine, int shard);
/* The shard's connection is gone, with its watches and the answer of what was in flight: that may
 * have been carried out, or may still be. Also when nothing was in flight. */
void machine_disconnected(struct machine *machine, int shard);
/* The answer to the request in flight on that shard. */
void machine_reply(struct machine *machine, int shard, const struct store_reply *reply);

/* Kafka acknowledged the letter with this id. The loop sends a letter until that happens. */
void machine_letter_delivered(struct machine *machine, uint64_t id);
/* The relay delivered these rows of an outbox: they are deleted when the shard's turn comes.
 * False: the queue of trims is full, or the partition is not being read; ask again later. */
bool machine_trim(struct machine *machine, int32_t partition, int shard, const struct store_id *ids,
                  int count);

/* No more records: commit what waits, tick once more, then machine_drained() turns true. */
void machine_drain(struct machine *machine);
bool machine_drained(const struct machine *machine);

/* ---- outputs ---- */

/* Why a partition was stopped. Names are metric labels and stand in messages. */
/* clang-format off */
#define STOP_REASON_LIST(X)                                                                       \
    X(LOG_CHANGED,   "log_changed",         "the log holds another record where the last one was, or none: the topic was re-created or truncated") \
    X(OFFSET_AHEAD,  "offset_ahead_of_log", "the state is ahead of the end of the log: the topic was re-created or truncated") \
    X(DATA_LOST,     "data_lost",           "the log begins after records that are still needed: retention was shorter than the outage") \
    X(STATE_LOST,    "state_lost",          "the store lost the state of this partition: `freshet offsets diff` says whether `freshet ingest --rebuild` or a reset helps") \
    X(STATE_DAMAGED, "state_damaged",       "the partition's keys in the store are unusable")
enum stop_reason {
#define X(id, name, text) STOP_##id,
    STOP_REASON_LIST(X)
#undef X
    STOP_REASON_COUNT
};
/* clang-format on */
extern const char *const stop_reason_names[STOP_REASON_COUNT];
const char *stop_reason_text(enum stop_reason reason);

enum command_kind {
    COMMAND_STORE,  /* store: send it on its shard's connection */
    COMMAND_LIMITS, /* ask Kafka for low, high and the group's offset -> machine_limits() */
    COMMAND_ASSIGN, /* partition, offset: a fresh assign -> machine_reading() */
    COMMAND_PAUSE,  /* partition */
    COMMAND_RESUME, /* partition */
    COMMAND_LETTER, /* letter: produce it -> machine_letter_delivered() */
    COMMAND_HINT,   /* partition, offset: goes to Kafka as the group's offset */
    COMMAND_MARK,   /* partition, offset, watermark_ms: everything below is applied; the relay
                       sends an EXAMPLE_MARK when all rows below are acknowledged */
    COMMAND_OUTBOX, /* partition, shard: rows were appended for the relay */
    COMMAND_STOP,   /* partition, reason, offset, found: stop reading it, an operator is needed */
};

struct machine_letter {
    uint64_t id;
    int32_t partition;
    int64_t offset;
    int64_t timestamp_ms;
    enum refusal refusal;
    struct text head; /* first MACHINE_LETTER_BYTES of the raw record */
    size_t raw_bytes; /* of the whole */
};

struct machine_command {
    enum command_kind kind;
    int32_t partition;
    int shard;
    uint64_t ticket; /* LIMITS, ASSIGN: goes back with the answer */
    int64_t offset;  /* STOP: where our state stands */
    int64_t found;   /* STOP: the offset found instead, or -1 */
    int64_t watermark_ms;
    enum stop_reason reason;
    struct machine_letter letter;
    const struct store_request *store;
};
/* Takes the next command; false when there is none now. */
bool machine_next(struct machine *machine, struct machine_command *command);
/* When the machine wants to be called again though nothing happened; INT64_MAX: never. */
int64_t machine_wakeup_us(const struct machine *machine);

/* ---- what operators see ---- */

struct machine_stats {
    uint64_t records, skipped;        /* skipped: below the shard's next, or of an old epoch */
    uint64_t outcomes[OUTCOME_COUNT]; /* of committed records */
    uint64_t letters[REFUSAL_COUNT];
    uint64_t commits, ticks;
    uint64_t fenced, ahead, applied_unseen, behind; /* verdicts other than go on */
    uint64_t aborted, lost, refused;                /* EXEC nil; no answer; an error */
    uint64_t stamps, stamps_seen;                   /* given to old writers; found on ours */
    uint64_t patched, rewritten;                    /* values written by patches, and whole */
    uint64_t repaired;     /* a patched value was gone: written whole again from the cache */
    uint64_t quarantined;  /* users met with an unusable value */
    uint64_t unverifiable; /* `last` was below the log's start */
    uint64_t cache_hits, cache_misses;
    uint64_t claims, stops;
    int64_t backlog, backlog_bytes, cache_users, cache_bytes; /* now */
};
const struct machine_stats *machine_stats(struct machine *machine);

struct machine_partition_view {
    int32_t partition;
    const char *state;        /* "claiming", "starting", "reading", "paused", "fenced", "stopped",
                                 "revoked": no longer ours */
    enum stop_reason stopped; /* why, where it is */
    int64_t position;         /* next offset to be read */
    int64_t applied; /* every record below it is; -1: not known yet. Stored by the next tick */
    int64_t watermark_ms;
};
/* index 0..; false beyond the last. */
bool machine_partition_view(const struct machine *machine, int index,
                            struct machine_partition_view *view);

#endif
