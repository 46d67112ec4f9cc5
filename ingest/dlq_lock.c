/* ingest/dlq_lock.c - SET NX PX, GET and PEXPIRE on one key of shard 0. */
#include "ingest/dlq_lock.h"

#include "features/redis_dataset.h"
#include "features/redis_nodes.h"
#include "features/user_print.h"
#include "ops/clock.h"
#include "ops/hash.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ASK_MS      5000
#define TOKEN_BYTES 8
#define VALUE_BYTES 64
#define WORDS_MAX   6

struct dlq_lock {
    struct redis_nodes *nodes;
    struct redis_keys keys;
    char key[REDIS_KEY_BYTES_MAX];
    char value[VALUE_BYTES]; /* "<token> <since, Unix ms>" */
    int64_t renewed_us;
};

static enum status call(struct dlq_lock *lock, const char *const *words,
                        const struct redis_reply **reply, struct error *err)
{
    struct text arguments[WORDS_MAX];
    int count = 0;

    for (; words[count] != NULL; count++)
        arguments[count] = text_of(words[count]);
    return redis_nodes_call(lock->nodes, ASK_MS, arguments, count, reply, err);
}
#define CALL(lock, reply, err, ...) call(lock, (const char *const[]){__VA_ARGS__, NULL}, reply, err)

/* Is the key there with our value? theirs: what it is else, "" for none. */
static enum status is_ours(struct dlq_lock *lock, bool *ours, char theirs[VALUE_BYTES],
                           struct error *err)
{
    const struct redis_reply *reply;
    enum status status = CALL(lock, &reply, err, "GET", lock->key);

    *ours = false;
    theirs[0] = '\0';
    if (status != OK || reply->type != REPLY_STRING)
        return status;
    *ours = text_equal(reply->text, text_of(lock->value));
    (void)snprintf(theirs, VALUE_BYTES, "%.*s",
                   (int)(reply->text.bytes < VALUE_BYTES ? reply->text.bytes : VALUE_BYTES - 1),
                   reply->text.at);
    return OK;
}

static enum status refuse(const char *theirs, struct error *err)
{
    char since[USER_PRINT_TIME_BYTES] = "an unknown time";
    const char *blank = strchr(theirs, ' ');

    if (blank != NULL)
        user_print_time(since, strtoll(blank + 1, NULL, 10));
    return error_set(err, ERR_IN_USE,
                     "another `dlq replay --apply` of this data set is at work, since %s: let it "
                     "end, and run this one again; of one that was killed nothing is left after "
                     "%d s. Nothing was written",
                     since, DLQ_LOCK_MS / 1000);
}

static enum status take(struct dlq_lock *lock, struct error *err)
{
    const struct redis_reply *reply;
    char expires[24], theirs[VALUE_BYTES];
    bool ours;
    enum status status;

    (void)snprintf(expires, sizeof expires, "%d", DLQ_LOCK_MS);
    lock->renewed_us = clock_monotonic_us();
    status = CALL(lock, &reply, err, "SET", lock->key, lock->value, "NX", "PX", expires);
    if (status == OK && reply->type != REPLY_NIL)
        return OK;
    if (status == OK) /* ours, too, where the answer to a first SET was lost */
        status = is_ours(lock, &ours, theirs, err);
    if (status != OK)
        return status;
    return ours ? OK : refuse(theirs, err);
}

enum status dlq_lock_take(struct dlq_lock **lock, const struct config *config, struct error *err)
{
    struct dlq_lock *made = calloc(1, sizeof *made);
    struct redis_dataset dataset = {0};
    uint8_t random[TOKEN_BYTES];
    char token[2 * TOKEN_BYTES + 1];
    enum status status;

    *lock = NULL;
    if (made == NULL)
        return error_set(err, ERR_NOMEM, "no memory for a lock");
    status = hash_start(err);
    if (status == OK)
        status = redis_dataset_connect_nodes(&dataset, &made->nodes, &made->keys, config, ASK_MS,
                                             err);
    redis_dataset_clear(&dataset);
    if (status == OK) {
        made->key[redis_key_dlq(&made->keys, made->key)] = '\0';
        hash_random_bytes(random, sizeof random);
        hash_hex(token, random, sizeof random);
        (void)snprintf(made->value, sizeof made->value, "%s %" PRId64, token, clock_wall_ms());
        status = take(made, err);
    }
    if (status == OK) {
        *lock = made;
        return OK;
    }
    redis_nodes_destroy(made->nodes);
    free(made);
    return status;
}

static enum status lost(const char *theirs, struct error *err)
{
    return error_set(err, ERR_REPLACED,
                     "this replay stood still for more than %d s, and %s: run it again, what was "
                     "written is left out then",
                     DLQ_LOCK_MS / 1000,
                     theirs[0] == '\0' ? "its place was given up" : "another one is at work");
}

enum status dlq_lock_keep(struct dlq_lock *lock, struct error *err)
{
    const struct redis_reply *reply;
    char expires[24], theirs[VALUE_BYTES];
    bool ours;
    int64_t now_us = clock_monotonic_us();
    enum status status;

    if (now_us - lock->renewed_us < INT64_C(1000) * DLQ_LOCK_MS / 4)
        return OK;
    status = is_ours(lock, &ours, theirs, err);
    if (status == OK && !ours)
        return lost(theirs, err);
    (void)snprintf(expires, sizeof expires, "%d", DLQ_LOCK_MS);
    if (status == OK)
        status = CALL(lock, &reply, err, "PEXPIRE", lock->key, expires);
    if (status != OK)
        return status;
    if (reply->type != REPLY_INTEGER || reply->integer != 1)
        return lost("", err); /* it expired between the two calls */
    lock->renewed_us = now_us;
    return OK;
}

void dlq_lock_release(struct dlq_lock *lock)
{
    const struct redis_reply *reply;
    char theirs[VALUE_BYTES];
    struct error err;
    bool ours;

    if (lock == NULL)
        return;
    /* One that may expire between the two calls is left to do so: it might be another's then. */
    if (clock_monotonic_us() - lock->renewed_us < INT64_C(1000) * DLQ_LOCK_MS / 2 &&
        is_ours(lock, &ours, theirs, &err) == OK && ours &&
        CALL(lock, &reply, &err, "DEL", lock->key) != OK)
        (void)fprintf(stderr, "another replay has to wait %d s: %s\n", DLQ_LOCK_MS / 1000,
                      err.text);
    redis_nodes_destroy(lock->nodes);
    free(lock);
}
