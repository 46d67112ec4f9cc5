/*
 * features/store.h - what ingest's machine asks of the store, and what it gets back.
 *
 * Flow: rules -> commit -> [request -> Redis -> reply] -> commit
 *
 * The machine (machine/machine.h) decides; whoever drives a store only carries requests out: the
 * Redis driver (features/redis_*) or a model of it (tests/support/store_model). A request is one
 * pipeline on the one connection of its shard, at most one in flight a shard, and its reply holds
 * everything that pipeline answered. No request needs code on the server.
 *
 * Keys are features/redis_keys.h's: u<user> the value, m<tp> what is applied, o<tp> the outbox,
 * `set` the data set's record. There is one events topic, so a tp is one number here: partition and
 * log number, as in a value's header. m is a hash of three fields: token (16 bytes), stamp (16 hex
 * digits) and state. A reset that was applied leaves a state that is none, and what it was in a
 * fourth field, closed (ingest/offsets.h):
 *
 *     state: "next watermark last_offset last_hash applied duplicate late dropped erased dead",
 *     decimal numbers with one blank between, last_hash 16 hex digits, "-" for no watermark and
 *     for no last record (then last_hash is "-" too). One field instead of ten: m is read and
 *     written for every partition in every commit of every shard, and must stay readable by hand.
 *
 * What the driver sends, in this order, as one pipeline:
 *
 *     CLAIM   UNWATCH  MULTI  HSET m token  HMGET m token stamp state  XLEN o  EXEC
 *             XINFO STREAM o (behind it: its error for an absent stream must not abort anything)
 *     START   HSETNX set start:<topic>:<p> offset (only if offset >= 0)  HGET of the same field
 *     READ    [UNWATCH if fresh]  WATCH m.. u..  HMGET m.. token stamp state  GET u..
 *             (GET, not MGET: MGET hides a value of a wrong type)
 *     ROWS    XRANGE o from + COUNT STORE_ROWS_MAX
 *     EXEC    MULTI  writes, drops, XDEL o ids.. of the deletes, appends, ms  EXEC   [WAIT]
 *             then, if tps_count > 0, what READ sends: the checks of the next commit cost no
 *             round trip of their own
 *     TRIM    XDEL o ids..  XLEN o
 *
 * An error while commands are queued (OOM, READONLY, MOVED, ...) aborts the whole EXEC and is
 * REFUSED: nothing was applied. An error of one command inside a successful EXEC is reported in
 * its place (lengths[i] < 0): Redis has no rollback, so the machine repairs.
 *
 * Thread: the machine's; a request is borrowed until its reply is handed in or its connection is
 * reported lost, a reply for the call.
 */
#ifndef FEATURES_STORE_H
#define FEATURES_STORE_H

#include "features/rules.h"
#include "ops/status.h"
#include "ops/text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define STORE_TOKEN_BYTES    16
#define STORE_SHARDS_MAX     4096
#define STORE_STATE_TEXT_MAX 256
#define STORE_ROWS_MAX       64 /* of one answer to ROWS: at most 16 MiB */
#define STORE_NO_OFFSET      INT64_C(-1)
#define STORE_NO_WATERMARK   INT64_MIN

/* How far one shard has come in one partition, and what became of the records below `next`. */
struct store_state {
    int64_t next;         /* every record of tp below it that belongs to this shard is applied */
    int64_t watermark_ms; /* of tp before `next`; STORE_NO_WATERMARK: no record decoded yet */
    int64_t last_offset;  /* last record of tp seen below `next`; STORE_NO_OFFSET: none */
    uint64_t last_hash;   /* store_record_hash() of it */
    int64_t counts[OUTCOME_COUNT];
};

/* m as read. */
struct store_m {
    bool damaged;   /* wrong type, or a state that does not parse: a person must look */
    bool has_token; /* someone claimed it */
    bool has_state; /* `next` is there */
    uint8_t token[STORE_TOKEN_BYTES];
    uint64_t stamp; /* 0: none */
    struct store_state state;
};

enum store_found { STORE_ABSENT, STORE_PRESENT, STORE_BAD_TYPE };

/* A user's value as read. bytes live as long as the reply. */
struct store_value {
    enum store_found found;
    const uint8_t *bytes;
    size_t bytes_count;
};

/* Of a row in an outbox. Ordered by (high, low). */
struct store_id {
    uint64_t high; /* offset of the record that caused it, plus one */
    uint64_t low;  /* n << 48 | low 48 bits of hash64(bytes, 0); n counts the record's rows */
};

/* One write to a user's value. Writes of a user stand together, the header's patch first. */
struct store_write {
    struct text user;
    bool whole;     /* SET; else SETRANGE at `at` */
    uint32_t at;    /* byte offset of a patch */
    uint32_t count; /* bytes */
    const uint8_t *bytes;
    int64_t ttl_ms; /* 0: leave it; else PEXPIRE (SET: PX). Relative: a process whose wall clock
                       is wrong must not delete keys by naming a moment in the past */
};

struct store_append {
    uint32_t tp;
    struct store_id id;
    const uint8_t *bytes; /* an encoded example */
    size_t bytes_count;
};

/* A row of an outbox that is deleted. */
struct store_delete {
    uint32_t tp;
    struct store_id id;
};

/* A change to m: the state, the stamp, or both. */
struct store_m_write {
    uint32_t tp;
    bool has_state, has_stamp;
    struct store_state state;
    uint64_t stamp;
};

enum store_kind {
    STORE_CLAIM, /* tp, token -> ms[0] with the new token, outbox */
    STORE_START, /* tp, offset -> offset: records where tp starts, if nobody has; asks if < 0 */
    STORE_READ,  /* fresh, tps, users -> ms, values; all of them watched from before the read */
    STORE_EXEC,  /* writes, deletes, appends, drops, ms, then READ of tps -> lengths, then ms */
    STORE_TRIM,  /* tp, ids -> removed, outbox */
    STORE_ROWS,  /* tp, from -> rows of its outbox; ends no watch */
};

struct store_request {
    enum store_kind kind;
    int shard;

    uint32_t tp;                      /* CLAIM, START, TRIM, ROWS */
    uint8_t token[STORE_TOKEN_BYTES]; /* CLAIM */
    int64_t offset;                   /* START */

    bool fresh;          /* READ: end earlier watches first */
    const uint32_t *tps; /* READ, EXEC: m to watch and read (behind the EXEC) */
    int tps_count;
    const struct text *users; /* READ */
    int users_count;

    const struct store_write *writes; /* EXEC, all of these; all may be none: a pure check */
    int writes_count;
    const struct store_append *appends; /* ascending ids within a tp */
    int appends_count;
    const struct store_delete *deletes; /* those of a tp stand together */
    int deletes_count;
    const struct store_m_write *ms;
    int ms_count;
    uint32_t drop_tp; /* EXEC with drops: DEL the outbox of this tp first */
    bool drops;
    int wait_replicas; /* EXEC: > 0: WAIT for that many, at most wait_ms */
    int wait_ms;

    const struct store_id *ids; /* TRIM */
    int ids_count;
    struct store_id from; /* ROWS: the first id that is wanted */
};

enum store_result {
    STORE_OK,
    STORE_NIL,     /* EXEC was aborted by a WATCH: nothing was applied */
    STORE_REFUSED, /* an error reply (OOM, LOADING, ASK, ...): nothing was applied. After READONLY
                      and MOVED the driver finds the right node and reports the connection lost */
};

/* A row of an outbox as read; bytes live as long as the reply. */
struct store_row {
    struct store_id id;
    const uint8_t *bytes;
    size_t bytes_count;
};

struct store_outbox {
    enum store_found found;
    int64_t rows;
    struct store_id last; /* highest id ever given out; CLAIM only */
};

struct store_reply {
    enum store_result result;

    const struct store_m *ms;         /* in the order of tps; CLAIM: one */
    int ms_count;                     /* EXEC: 0 when the read behind it failed; the EXEC stands */
    const struct store_value *values; /* READ: in the order of users */
    int values_count;
    const int64_t *lengths; /* EXEC and OK: length of the value after each write, -1: the write
                               failed inside the EXEC; of a whole write the bytes given */
    int lengths_count;
    int replicas;                 /* EXEC with wait_replicas: how many acknowledged */
    int64_t offset;               /* START: recorded; STORE_NO_OFFSET: none */
    struct store_outbox outbox;   /* CLAIM, TRIM */
    int64_t removed;              /* TRIM */
    const struct store_row *rows; /* ROWS: ascending; fewer than STORE_ROWS_MAX: there are no more.
                                     None, too, for an outbox of a wrong type */
    int rows_count;
};

/* ---- texts; shared by the driver, `verify`, `offsets` and the tests ---- */

/* A tp in one number, as the writer in a value's header: log number and partition. */
static inline int32_t store_tp_partition(uint32_t tp)
{
    return (int32_t)(tp & 0xfffffu);
}
static inline uint32_t store_tp_log(uint32_t tp)
{
    return tp >> 20;
}

/* The state's text. Returns its bytes, below STORE_STATE_TEXT_MAX. */
size_t store_state_format(char into[STORE_STATE_TEXT_MAX], const struct store_state *state);
/* False when it is no state; *state is then zero. Total: no input is out of bounds. */
bool store_state_parse(struct store_state *state, struct text text);

/* Stamp as 16 hex digits and back (0 on anything else). */
void store_stamp_format(char into[16], uint64_t stamp);
uint64_t store_stamp_parse(struct text text);

/* Identity of a record for `last`: hash of key, value and timestamp; absent differs from empty. */
uint64_t store_record_hash(struct text key, struct text value, int64_t timestamp_ms);

int store_id_compare(struct store_id a, struct store_id b);
struct store_id store_id_of(int64_t offset, int n, const uint8_t *bytes, size_t bytes_count);

#endif
