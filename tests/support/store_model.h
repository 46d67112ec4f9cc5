/*
 * tests/support/store_model.h - a modelled Redis node that answers features/store.h's requests.
 *
 * Flow: machine -> request -> [model, step by step] -> reply -> machine
 *
 * Keys with versions (WATCH), MULTI/EXEC that is all or nothing, errors inside an EXEC that are
 * not rolled back, expiry, wrong types planted by hand, and the one failure a client cannot see: a
 * failover that loses the last writes. A request is carried out in steps, so that others can come
 * between the commands of one pipeline wherever Redis lets them.
 *
 * Memory comes from the caller's arena and lives until that is reset: values are never changed in
 * place, so a rollback is putting old ones back.
 */
#ifndef TESTS_SUPPORT_STORE_MODEL_H
#define TESTS_SUPPORT_STORE_MODEL_H

#include "features/store.h"
#include "ops/arena.h"

#define STORE_MODEL_WATCHES 64 /* keys one connection may watch */

enum model_kind { MODEL_USER, MODEL_M, MODEL_OUTBOX, MODEL_START };

struct model_row {
    struct store_id id;
    const uint8_t *bytes;
    size_t bytes_count;
};

/* What a key holds. Copied whole for the undo log. */
struct model_content {
    bool present, bad_type;
    const uint8_t *bytes; /* USER */
    size_t bytes_count;
    int64_t expires_at_ms; /* 0: never */
    struct store_m m;      /* M */
    uint64_t claim;        /* M: `offset` of the CLAIM carried out last, for a simulator's checks */
    struct model_row *rows; /* OUTBOX, oldest first; the array is shared by copies */
    int rows_count;
    struct store_id last_id;
    int64_t offset; /* START */
};

struct model_key {
    enum model_kind kind;
    int shard;
    uint32_t tp;
    struct text user;
    uint64_t version; /* raised by every write, expiry included */
    struct model_content now;
};

struct model_undo; /* a write group that a failover may lose */

struct store_model {
    struct arena *arena;
    struct model_key *keys;
    int keys_count, keys_max;
    int32_t *table; /* open addressing: index + 1 */
    uint32_t table_mask;
    struct model_undo *undo;
    int undo_count, undo_max; /* groups kept; the oldest are durable */
    int64_t now_ms;
    int64_t expires_first_ms; /* 0: no key expires */
    uint64_t epoch;           /* raised by a failover: older connections are dead */
    bool refusing;            /* every write is refused (OOM, ...) */
    bool loading;             /* everything is (LOADING, ...) */
    int replicas;
    uint64_t append_errors; /* outbox rows refused inside an EXEC: lost */
    uint64_t execs;
};

/* One client's connection. Zeroed is fresh; set epoch from the model's. */
struct model_connection {
    uint64_t epoch;
    int watches_count;
    struct {
        int key;
        uint64_t version;
    } watches[STORE_MODEL_WATCHES];
};

void store_model_init(struct store_model *model, struct arena *arena);
void store_model_time(struct store_model *model, int64_t now_ms); /* keys expire */

/* Carries out one step of a request; step starts at 0. Returns the next step, or -1 when *reply is
 * complete. *reply must be the same struct over the steps, and lives in the arena. */
int store_model_step(struct store_model *model, struct model_connection *connection,
                     const struct store_request *request, int step, struct store_reply *reply);
/* All steps. */
void store_model_run(struct store_model *model, struct model_connection *connection,
                     const struct store_request *request, struct store_reply *reply);
/* A copy that outlives the machine's: a request still on the wire when its sender is gone. */
struct store_request *store_model_copy(struct arena *arena, const struct store_request *request);

/* A failover that loses the newest `groups` writes. Returns how many there were to lose. */
int store_model_rollback(struct store_model *model, int groups);
void store_model_forget_undo(struct store_model *model); /* all so far is durable */
/* A failover to an empty replica: all is lost. */
void store_model_empty(struct store_model *model);

/* NULL when there is no such key (expired ones are gone). */
struct model_key *store_model_find(struct store_model *model, enum model_kind kind, int shard,
                                   uint32_t tp, struct text user);
/* By hand, as an operator would. */
void store_model_delete(struct store_model *model, struct model_key *key);
/* m becomes of a wrong type: reads say damaged, writes to it fail; what it said stays for a judge.
 */
void store_model_damage(struct store_model *model, struct model_key *m);
void store_model_plant(struct store_model *model, int shard, struct text user, const uint8_t *bytes,
                       size_t bytes_count); /* bytes NULL: a wrong type */

#endif
