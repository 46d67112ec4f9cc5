/* machine/backlog.c - see backlog.h. */
#include "machine/backlog.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define FREE_BLOCKS_MAX 256 /* beyond that memory goes back to the system */
#define ALIGNMENT       16

struct backlog_block {
    struct backlog_block *before, *after; /* among all blocks */
    struct backlog_block *spare;          /* in the free list */
    int live;                             /* records in it, and 1 while it is being filled */
    size_t used, bytes;
    _Alignas(ALIGNMENT) uint8_t data[];
};

void record_queue_add(struct record_queue *queue, struct record *record)
{
    record->next = NULL;
    if (queue->last == NULL)
        queue->first = record;
    else
        queue->last->next = record;
    queue->last = record;
    queue->count++;
}

struct record *record_queue_take(struct record_queue *queue)
{
    struct record *record = queue->first;

    if (record == NULL)
        return NULL;
    queue->first = record->next;
    if (queue->first == NULL)
        queue->last = NULL;
    queue->count--;
    return record;
}

enum status backlog_init(struct backlog *backlog, int shards, size_t block_bytes, struct error *err)
{
    *backlog = (struct backlog){.shards = shards, .block_bytes = block_bytes};
    backlog->filling = calloc((size_t)shards, sizeof backlog->filling[0]);
    if (backlog->filling == NULL)
        return error_set(err, ERR_NOMEM, "no memory for the backlog of %d shards", shards);
    return OK;
}

void backlog_clear(struct backlog *backlog)
{
    struct backlog_block *block = backlog->all;

    while (block != NULL) {
        struct backlog_block *after = block->after;
        free(block);
        block = after;
    }
    free(backlog->filling);
    *backlog = (struct backlog){0};
}

static void destroy_block(struct backlog *backlog, struct backlog_block *block)
{
    if (block->before == NULL)
        backlog->all = block->after;
    else
        block->before->after = block->after;
    if (block->after != NULL)
        block->after->before = block->before;
    free(block);
}

static void release_block(struct backlog *backlog, struct backlog_block *block)
{
    if (--block->live > 0)
        return;
    if (block->bytes != backlog->block_bytes || backlog->free_count == FREE_BLOCKS_MAX) {
        destroy_block(backlog, block);
        return;
    }
    block->spare = backlog->free;
    backlog->free = block;
    backlog->free_count++;
}

/* An empty block, live once. */
static struct backlog_block *new_block(struct backlog *backlog, size_t bytes)
{
    struct backlog_block *block = backlog->free;

    if (block != NULL && bytes == backlog->block_bytes) {
        backlog->free = block->spare;
        backlog->free_count--;
    } else {
        block = malloc(sizeof *block + bytes);
        if (block == NULL)
            return NULL;
        *block = (struct backlog_block){.after = backlog->all, .bytes = bytes};
        if (backlog->all != NULL)
            backlog->all->before = block;
        backlog->all = block;
    }
    block->used = 0;
    block->live = 1;
    return block;
}

/* Room for a record and its texts in the shard's block; what is larger than a block gets its own.
 */
static struct record *reserve(struct backlog *backlog, int shard, size_t bytes)
{
    struct backlog_block *block = backlog->filling[shard];
    struct record *record;

    bytes = (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    if (bytes > backlog->block_bytes) {
        block = new_block(backlog, bytes);
        if (block == NULL)
            return NULL;
    } else {
        if (block == NULL || block->bytes - block->used < bytes) {
            struct backlog_block *next = new_block(backlog, backlog->block_bytes);
            if (next == NULL)
                return NULL;
            if (block != NULL)
                release_block(backlog, block);
            backlog->filling[shard] = block = next;
        }
        block->live++;
    }
    record = (struct record *)(void *)(block->data + block->used);
    block->used += bytes;
    record->block = block;
    return record;
}

static struct text keep(uint8_t **at, struct text text)
{
    struct text kept = {(const char *)*at, text.bytes};

    if (text.bytes != 0)
        memcpy(*at, text.at, text.bytes);
    *at += text.bytes;
    return kept;
}

/* Bytes of what an event points to. */
static size_t event_bytes(const struct event *event)
{
    size_t bytes = event->user.bytes + event->item.bytes + event->request_id.bytes +
                   event->event_id.bytes + event->trace.bytes;

    if (event->kind == EVENT_IMPRESSION)
        for (int i = 0; i < event->rows_count; i++)
            bytes += event->rows[i].bytes + sizeof event->rows[0];
    return bytes;
}

static void copy_event(struct record *record, const struct event *event, uint8_t *at)
{
    struct event *copy = &record->event;

    *copy = *event;
    copy->rows = NULL;
    copy->rows_count = 0;
    if (event->kind == EVENT_IMPRESSION) {
        struct text *rows = (struct text *)(void *)at; /* first: it is aligned here */
        at += (size_t)event->rows_count * sizeof rows[0];
        for (int i = 0; i < event->rows_count; i++)
            rows[i] = keep(&at, event->rows[i]);
        copy->rows = rows;
        copy->rows_count = event->rows_count;
    }
    copy->user = keep(&at, event->user);
    copy->item = keep(&at, event->item);
    copy->request_id = keep(&at, event->request_id);
    copy->event_id = keep(&at, event->event_id);
    copy->trace = keep(&at, event->trace);
    record->head = keep(&at, record->head);
}

struct record *backlog_add(struct backlog *backlog, int shard, const struct machine_record *from)
{
    struct text head = from->value;
    size_t bytes;
    struct record *record;

    assert(shard >= 0 && shard < backlog->shards);
    if (head.bytes > MACHINE_LETTER_BYTES)
        head.bytes = MACHINE_LETTER_BYTES;
    bytes = sizeof *record + head.bytes + (from->event == NULL ? 0 : event_bytes(from->event));
    record = reserve(backlog, shard, bytes);
    if (record == NULL)
        return NULL;
    *record = (struct record){
        .block = record->block,
        .offset = from->offset,
        .timestamp_ms = from->timestamp_ms,
        .refusal = from->refusal,
        .replayed = from->replayed,
        .head = head,
        .raw_bytes = from->value.bytes,
    };
    if (from->event != NULL) {
        copy_event(record, from->event, (uint8_t *)(record + 1));
    } else {
        uint8_t *at = (uint8_t *)(record + 1);
        record->head = keep(&at, head);
    }
    backlog->records++;
    backlog->bytes += (int64_t)bytes;
    record->bytes = bytes;
    return record;
}

void backlog_drop(struct backlog *backlog, struct record *record)
{
    backlog->records--;
    backlog->bytes -= (int64_t)record->bytes;
    release_block(backlog, record->block);
}
