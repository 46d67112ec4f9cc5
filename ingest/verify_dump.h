/*
 * ingest/verify_dump.h - what `freshet verify --dump FOLDER` writes for an outside judge
 * (tests/oracle.py): the topic as it is; users, examples and items as they are stored, hashes
 * undone.
 *
 *     settings.json   the rules' settings, the trainer's limits (robots), the counts of each
 *                     partition, and, where item tables are judged, from where to where they count
 *     topic.jsonl     {"p":0,"o":1,"ts":1700000000000,"key":"hex"|null,"value":"hex"|null,
 *                      "replayed":false}
 *     users.jsonl     {"user":"u1","running":3,"erased_at":0,"entries":[["i1",ms,action],...],
 *                      "opens":[{"request":"r1"|null,"shown_at":ms,"rows":["i1",...],
 *                      "labels":[["i1",ms,action],...]},...]}
 *
 *     examples.jsonl  rows of the examples topic and of the outboxes, as often as they are there:
 *                     {"id":"hex","kind":"shown","user":"u1","shown_at":ms,"rows":["i1",...],
 *                      "running":3,"history":[["i1",ms,action],...],"traced":false}
 *                     {"id":"hex","kind":"label","user":"u1","row":0,"action":2}
 *                     {"id":"","kind":"erase","user":"u1","erased_at":ms}
 *     items.jsonl     {"item":"i1","clicks":3,"shown":9}, where item tables are judged
 *
 * An item or request whose name is not in the topic is written as "#" and its hash in hexadecimal.
 */
#ifndef INGEST_VERIFY_DUMP_H
#define INGEST_VERIFY_DUMP_H

#include "features/redis_dataset.h"
#include "ingest/offsets.h"
#include "ingest/verify_items.h"
#include "ops/kafka_consumer.h"
#include "schemas/user_value.h"

struct verify_dump;
/* items may be NULL. */
MUST_CHECK enum status verify_dump_open(struct verify_dump **dump, const char *folder,
                                        const struct redis_dataset *dataset,
                                        const struct offsets *offsets,
                                        const struct verify_items *items,
                                        const struct robot_limits *robots, struct error *err);
/* event is NULL when the record is none. */
MUST_CHECK enum status verify_dump_record(struct verify_dump *dump,
                                          const struct kafka_record *record,
                                          const struct event *event, struct error *err);
MUST_CHECK enum status verify_dump_user(struct verify_dump *dump, struct text user,
                                        const struct user_value *value, struct error *err);
MUST_CHECK enum status verify_dump_example(struct verify_dump *dump, struct text example,
                                           struct error *err);
/* Flushes and closes; NULL is fine. */
MUST_CHECK enum status verify_dump_close(struct verify_dump *dump, struct error *err);

#endif
