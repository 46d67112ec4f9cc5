/* ingest/offsets.c - reads m of all shards, each in one call, and adds up. */
#include "ingest/offsets.h"

#include <stdlib.h>
#include <string.h>

void offsets_clear(struct offsets *offsets)
{
    for (int i = 0; i < offsets->count; i++)
        free(offsets->list[i].next_of);
    free(offsets->list);
    *offsets = (struct offsets){0};
}

int offsets_place(const struct offsets *offsets, int32_t partition)
{
    for (int i = 0; i < offsets->count; i++)
        if (offsets->list[i].partition == partition)
            return i;
    return -1;
}

int64_t offsets_position(const struct offsets_partition *p, int shards)
{
    int64_t position = p->next_least;

    if (p->recorded && p->shards_known + p->damaged < shards &&
        (position < 0 || p->start < position))
        position = p->start;
    return position;
}

static int by_partition(const void *a, const void *b)
{
    const struct offsets_partition *left = a, *right = b;

    return (left->partition > right->partition) - (left->partition < right->partition);
}

/* The shard that ingest begins with (machine/reading.c): the least `next`, of equal ones the one
 * that has seen most. */
static void take_state(struct offsets_partition *p, int shard, const struct store_state *state)
{
    p->next_of[shard] = state->next;
    if (p->shards_known == 0 || state->next < p->next_least ||
        (state->next == p->next_least && state->last_offset > p->last_offset)) {
        p->next_least = state->next;
        p->watermark_ms = state->watermark_ms;
        p->last_offset = state->last_offset;
        p->last_hash = state->last_hash;
    }
    if (state->next > p->next_max)
        p->next_max = state->next;
    p->shards_known++;
    for (int i = 0; i < OUTCOME_COUNT; i++)
        p->counts[i] += state->counts[i];
}

/* The answer to HMGET m state closed. */
static void take_m(struct offsets_partition *p, int shard, const struct redis_reply *reply)
{
    const struct redis_reply *text, *was;
    struct store_state state;

    p->next_of[shard] = -1;
    if (reply->type != REPLY_ARRAY || reply->count != 2) { /* a key of another type */
        p->damaged++;
        return;
    }
    text = reply->elements[0];
    was = reply->elements[1];
    if (text->type == REPLY_NIL)
        return;
    if (text->type == REPLY_STRING && text_equal(text->text, text_of(OFFSETS_CLOSED))) {
        p->closed++;
        text = was;
        if (text->type == REPLY_NIL || (text->type == REPLY_STRING && text->text.bytes == 0))
            return; /* there was none */
    }
    if (text->type != REPLY_STRING || !store_state_parse(&state, text->text))
        p->damaged++;
    else
        take_state(p, shard, &state);
}

/* An error reply is an answer, too: it tells of damage, or that there is no such key. */
static enum status ask_shard(struct redis_nodes *nodes, const struct text *arguments, int count,
                             int64_t timeout_ms, const struct redis_reply **reply,
                             struct error *err)
{
    enum status status = redis_nodes_call(nodes, timeout_ms, arguments, count, reply, err);

    return (status == ERR_CORRUPT || status == ERR_CONFLICT) && *reply != NULL ? OK : status;
}

enum status offsets_load_partition(struct offsets_partition *p, struct redis_nodes *nodes,
                                   const struct redis_keys *keys, const char *topic, int shards,
                                   int64_t timeout_ms, struct error *err)
{
    const struct redis_reply *reply;
    char key[REDIS_KEY_BYTES_MAX];
    enum status status = OK;

    p->next = p->next_least = p->next_max = -1;
    p->last_offset = STORE_NO_OFFSET;
    p->watermark_ms = STORE_NO_WATERMARK;
    p->next_of = calloc((size_t)shards, sizeof *p->next_of);
    if (p->next_of == NULL)
        return error_set(err, ERR_NOMEM, "no memory for offsets");
    for (int shard = 0; shard < shards && status == OK; shard++) {
        const struct text arguments[] = {
            {"HMGET", 5},
            {key, redis_key_meta(keys, shard, topic, p->partition, p->log_number, key)},
            {"state", 5},
            {"closed", 6}};

        status = ask_shard(nodes, arguments, 4, timeout_ms, &reply, err);
        if (status == OK)
            take_m(p, shard, reply);
    }
    if (p->shards_known == shards)
        p->next = p->next_least;
    return status;
}

/* The answer to XINFO STREAM: pairs of name and value. An error: there is none, or it is no
 * stream. beyond: set where its highest id lies beyond `next`: the offset in it. */
static void take_outbox(struct offsets_partition *p, int shard, const struct redis_reply *reply,
                        uint64_t *beyond)
{
    static const char absent[] = "ERR no such key";

    *beyond = 0;

    if (reply->type == REPLY_ERROR && reply->text.bytes >= sizeof absent - 1 &&
        memcmp(reply->text.at, absent, sizeof absent - 1) == 0)
        return;
    if (reply->type != REPLY_ARRAY) {
        p->outboxes_damaged++;
        return;
    }
    for (int i = 0; i + 1 < reply->count; i += 2) {
        const struct redis_reply *name = reply->elements[i], *value = reply->elements[i + 1];

        if (text_equal(name->text, text_of("length")))
            p->outbox_rows += value->integer;
        else if (text_equal(name->text, text_of("last-generated-id")) &&
                 value->type == REPLY_STRING && p->next_of[shard] >= 0 &&
                 strtoull(value->text.at, NULL, 10) > (uint64_t)p->next_of[shard])
            *beyond = strtoull(value->text.at, NULL, 10);
    }
}

/* `next` was read before the outbox, and ingest may run: it must have come as far by now. */
static enum status judge_beyond(struct offsets_partition *p, uint64_t beyond,
                                struct redis_nodes *nodes, struct text key, int64_t timeout_ms,
                                struct error *err)
{
    const struct text arguments[] = {{"HGET", 4}, key, {"state", 5}};
    const struct redis_reply *reply;
    struct store_state state;
    enum status status = ask_shard(nodes, arguments, 3, timeout_ms, &reply, err);

    if (status == OK && (reply->type != REPLY_STRING || !store_state_parse(&state, reply->text) ||
                         state.next < 0 || beyond > (uint64_t)state.next))
        p->outboxes_damaged++;
    return status;
}

enum status offsets_load_outboxes(struct offsets_partition *p, struct redis_nodes *nodes,
                                  const struct redis_keys *keys, const char *topic, int shards,
                                  int64_t timeout_ms, struct error *err)
{
    const struct redis_reply *reply;
    char key[REDIS_KEY_BYTES_MAX];
    enum status status = OK;
    uint64_t beyond = 0;

    p->outbox_rows = 0;
    p->outboxes_damaged = 0;
    for (int shard = 0; shard < shards && status == OK; shard++) {
        const struct text arguments[] = {
            {"XINFO", 5},
            {"STREAM", 6},
            {key, redis_key_outbox(keys, shard, topic, p->partition, p->log_number, key)}};

        status = ask_shard(nodes, arguments, 3, timeout_ms, &reply, err);
        if (status == OK)
            take_outbox(p, shard, reply, &beyond);
        if (status == OK && beyond > 0)
            status = judge_beyond(
                p, beyond, nodes,
                (struct text){key,
                              redis_key_meta(keys, shard, topic, p->partition, p->log_number, key)},
                timeout_ms, err);
    }
    return status;
}

enum status offsets_load(struct offsets *offsets, struct redis_nodes *nodes,
                         const struct redis_keys *keys, const struct redis_dataset *dataset,
                         const char *topic, int64_t timeout_ms, struct error *err)
{
    struct offsets loaded = {.shards = dataset->shards};
    enum status status = OK;

    *offsets = (struct offsets){0};
    loaded.list = calloc((size_t)dataset->partitions_count + 1, sizeof *loaded.list);
    if (loaded.list == NULL)
        return error_set(err, ERR_NOMEM, "no memory for offsets");
    for (int i = 0; i < dataset->partitions_count && status == OK; i++) {
        const struct dataset_partition *known = &dataset->partitions[i];

        if (strcmp(known->topic, topic) != 0)
            continue;
        struct offsets_partition *p = &loaded.list[loaded.count++];

        *p = (struct offsets_partition){.partition = known->partition,
                                        .log_number = known->log_number,
                                        .recorded = true,
                                        .start = known->start,
                                        .skipped = known->skipped};
        status = offsets_load_partition(p, nodes, keys, topic, dataset->shards, timeout_ms, err);
    }
    qsort(loaded.list, (size_t)loaded.count, sizeof *loaded.list, by_partition);
    if (status == OK)
        *offsets = loaded;
    else
        offsets_clear(&loaded);
    return status;
}
