/*
 * ingest/verify_dump.h - what `freshet verify --dump FOLDER` writes for an outside judge
 * (tests/oracle.py): the topic as it is, and the users as Redis holds them, hashes undone.
 *
 *     settings.json   the rules' settings, and the counts of each partition
 *     topic.jsonl     {"p":0,"o":1,"ts":1700000000000,"key":"hex"|null,"value":"hex"|null,
 *                      "replayed":false}
 *     users.jsonl     {"user":"u1","running":3,"erased_at":0,"entries":[["i1",ms,action],...],
 *                      "opens":[{"request":"r1"|null,"shown_at":ms,"rows":["i1",...],
 *                      "labels":[["i1",ms,action],...]},...]}
 *
 * An item or request whose name is not in the topic is written as "#" and its hash in hexadecimal.
 */
#ifndef INGEST_VERIFY_DUMP_H
#define INGEST_VERIFY_DUMP_H

#include "features/redis_dataset.h"
#include "ingest/offsets.h"
#include "ops/kafka_consumer.h"
#include "schemas/user_value.h"

struct verify_dump;
MUST_CHECK enum status verify_dump_open(struct verify_dump **dump, const char *folder,
                                        const struct redis_dataset *dataset,
                                        const struct offsets *offsets, struct error *err);
/* event is NULL when the record is none. */
MUST_CHECK enum status verify_dump_record(struct verify_dump *dump,
                                          const struct kafka_record *record,
                                          const struct event *event, struct error *err);
MUST_CHECK enum status verify_dump_user(struct verify_dump *dump, struct text user,
                                        const struct user_value *value, struct error *err);
/* Flushes and closes; NULL is fine. */
MUST_CHECK enum status verify_dump_close(struct verify_dump *dump, struct error *err);

#endif
