/* ingest/examples_reader.c - streams page by page, then a topic. */
#include "ingest/examples_reader.h"

#include "ingest/topic_reader.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REDIS_MS  10000
#define PAGE_ROWS 256
#define ID_BYTES  48

struct reader {
    const struct examples_reader_options *o;
    struct examples_reader_counts *counts;
};

static bool is_ours(const struct reader *r, const struct example_origin *origin)
{
    const struct offsets *offsets = r->o->offsets;

    if (origin->shard < 0 || origin->shard >= offsets->shards ||
        strcmp(origin->dataset, r->o->dataset->id) != 0)
        return false;
    for (int i = 0; i < offsets->count; i++)
        if (offsets->list[i].partition == origin->partition)
            return offsets->list[i].log_number == origin->log_number &&
                   (int64_t)origin->id.high <= offsets->list[i].next_of[origin->shard];
    return false;
}

static enum status take(struct reader *r, const struct example_origin *origin, struct text bytes,
                        struct error *err)
{
    if (!is_ours(r, origin)) {
        r->counts->foreign++;
        return OK;
    }
    r->counts->rows++;
    return r->o->visit(r->o->context, bytes, err);
}

/* ---- outboxes ---- */

/* One page behind *from, which is moved on; *count: its rows. */
static enum status read_page(struct reader *r, struct text key, struct example_origin *origin,
                             char from[ID_BYTES], int *count, struct error *err)
{
    char count_text[16];
    const struct redis_reply *reply;
    enum status status;

    (void)snprintf(count_text, sizeof count_text, "%d", PAGE_ROWS);
    const struct text arguments[] = {
        text_of("XRANGE"), key, text_of(from), text_of("+"), text_of("COUNT"), text_of(count_text)};
    status = redis_nodes_call(r->o->nodes, REDIS_MS, arguments, 6, &reply, err);
    if (status == OK && reply->type != REPLY_ARRAY)
        status = error_set(err, ERR_MALFORMED, "redis answered XRANGE with something else");
    *count = status == OK ? reply->count : 0;
    for (int i = 0; i < *count && status == OK; i++) {
        const struct redis_reply *row = reply->elements[i];
        const struct redis_reply *fields = row->count == 2 ? row->elements[1] : NULL;

        if (fields == NULL || fields->count != 2 || fields->elements[1]->type != REPLY_STRING ||
            row->elements[0]->type != REPLY_STRING ||
            sscanf(row->elements[0]->text.at, "%" SCNu64 "-%" SCNu64, &origin->id.high,
                   &origin->id.low) != 2)
            return error_set(err, ERR_MALFORMED, "an outbox holds a row that is none");
        r->counts->waiting++;
        status = take(r, origin, fields->elements[1]->text, err);
        /* Behind it, not by "(": exclusive ranges came with Redis 6.2. */
        (void)snprintf(from, ID_BYTES, "%" PRIu64 "-%" PRIu64,
                       origin->id.high + (origin->id.low == UINT64_MAX), origin->id.low + 1);
    }
    return status;
}

static enum status read_outboxes(struct reader *r, struct error *err)
{
    const struct offsets *offsets = r->o->offsets;
    const char *topic = config_text(r->o->config, "kafka.topics.events");
    enum status status = OK;

    for (int i = 0; i < offsets->count; i++)
        for (int shard = 0; shard < offsets->shards && status == OK; shard++) {
            struct example_origin origin = {.partition = offsets->list[i].partition,
                                            .log_number = offsets->list[i].log_number,
                                            .shard = shard};
            char key[REDIS_KEY_BYTES_MAX], from[ID_BYTES] = "-";
            size_t bytes = redis_key_outbox(r->o->keys, shard, topic, origin.partition,
                                            origin.log_number, key);
            int count = PAGE_ROWS;

            memcpy(origin.dataset, r->o->dataset->id, sizeof origin.dataset);
            while (status == OK && count == PAGE_ROWS)
                status = read_page(r, (struct text){key, bytes}, &origin, from, &count, err);
        }
    return status;
}

/* ---- the topic ---- */

static enum status choose(void *context, int32_t partition, struct topic_range *range,
                          struct error *err)
{
    struct reader *r = context;

    (void)partition;
    (void)err;
    r->counts->cut = r->counts->cut || range->low > 0;
    return OK;
}

static enum status visit(void *context, const struct kafka_record *record, struct error *err)
{
    struct reader *r = context;
    struct example_origin origin;

    if (!example_origin_parse(&origin, record->header)) {
        r->counts->foreign++;
        return OK;
    }
    if (origin.shard == EXAMPLE_ORIGIN_MARK)
        return OK;
    return take(r, &origin, record->value, err);
}

enum status examples_reader_read(const struct examples_reader_options *options,
                                 struct examples_reader_counts *counts, struct error *err)
{
    struct reader r = {options, counts};
    const struct topic_reader_options topic = {
        .config = options->config,
        .topic = config_text(options->config, "kafka.topics.examples"),
        .choose = choose,
        .visit = visit,
        .stopping = options->stopping,
        .context = &r};
    enum status status;

    *counts = (struct examples_reader_counts){0};
    status = read_outboxes(&r, err);
    return status == OK ? topic_reader_read(&topic, NULL, err) : status;
}
