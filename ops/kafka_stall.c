/*
 * ops/kafka_stall.c - see ops/kafka_stall.h. One document is parsed whole, and only when some
 * partition has been silent for long: it may be a megabyte, once a second.
 */
#include "ops/kafka_stall.h"

#include "ops/json.h"

#include <stddef.h>
#include <stdio.h>

#define DOCUMENT_BYTES_MAX ((size_t)1 << 28)
/* A member takes more bytes than this, with its name, colon and comma. */
#define NODE_BYTES  6
#define DOUBLED_MAX 5 /* of the patience */

/* NULL: not among them. The group's coordinator is there a second time, by another connection. */
static const struct json_node *broker_of(const struct json_node *brokers, int64_t id)
{
    for (const struct json_node *b = brokers == NULL ? NULL : brokers->child; b != NULL;
         b = b->next)
        if (json_int_or(json_member(b, "nodeid"), -1) == id &&
            !text_equal(json_text_or(json_member(b, "source"), ""), text_of("logical")))
            return b;
    return NULL;
}

static void fill(struct kafka_fetching *row, const struct json_node *partitions,
                 const struct json_node *brokers)
{
    char name[16];
    const struct json_node *partition, *broker;

    (void)snprintf(name, sizeof name, "%d", (int)row->partition);
    partition = json_member(partitions, name);
    broker = broker_of(brokers, json_int_or(json_member(partition, "broker"), -2));
    row->reachable = text_equal(json_text_or(json_member(broker, "state"), ""), text_of("UP"));
    row->waiting = json_int_or(json_member(broker, "waitresp_cnt"), 0) > 0;
    row->answers = json_int_or(json_member(broker, "rx"), -1);
    row->active = text_equal(json_text_or(json_member(partition, "fetch_state"), ""),
                             text_of("active"));
    row->next = json_int_or(json_member(partition, "next_offset"), -1);
    row->end = json_int_or(json_member(partition, "ls_offset"), -1);
    row->next = row->next < 0 ? -1 : row->next; /* -1001 and its like: not known */
    row->end = row->end < 0 ? -1 : row->end;
}

bool kafka_stall_look(struct text statistics, const char *topic, struct kafka_fetching *rows,
                      int count)
{
    const struct json_node *root = NULL, *topics, *partitions;
    struct json_parser *parser;
    struct error err;

    if (statistics.bytes == 0 || statistics.bytes > DOCUMENT_BYTES_MAX)
        return false;
    parser = json_parser_create(statistics.bytes, statistics.bytes / NODE_BYTES + 16);
    if (parser == NULL)
        return false;
    if (json_parse(parser, statistics, &root, &err) != OK)
        root = NULL;
    topics = json_member(root, "topics");
    partitions = json_member(json_member(topics, topic), "partitions");
    for (int i = 0; i < count; i++)
        fill(&rows[i], partitions, json_member(root, "brokers"));
    json_parser_destroy(parser);
    return topics != NULL;
}

void kafka_stall_begin(struct kafka_stall *stall, int64_t now_us)
{
    stall->heard_us = now_us;
    stall->stood_at = -1;
}

void kafka_stall_hear(struct kafka_stall *stall, int64_t now_us)
{
    kafka_stall_begin(stall, now_us);
    stall->times = 0;
}

bool kafka_stall_is_silent(const struct kafka_stall *stall, int64_t now_us, int64_t patience_us)
{
    int doubled = stall->times < DOUBLED_MAX ? stall->times : DOUBLED_MAX;

    return now_us - stall->heard_us >= patience_us << doubled;
}

bool kafka_stall_judge(struct kafka_stall *stall, const struct kafka_fetching *row, int64_t offset,
                       int64_t now_us)
{
    bool behind = !row->active || (row->next <= offset && row->next < row->end);
    bool before = stall->stood_at == offset;
    bool slow = before && row->waiting && row->answers == stall->answers; /* the same answer */

    if (!row->reachable || !behind || slow) {
        kafka_stall_begin(stall, now_us);
        return false;
    }
    stall->answers = row->answers;
    stall->stood_at = offset;
    if (!before)
        return false;
    kafka_stall_begin(stall, now_us);
    stall->times++;
    return true;
}
