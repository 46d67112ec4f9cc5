/*
 * schemas/avro_registry.h - from the schema id in a record to the plan that reads it.
 *
 * Flow: record's id -> [known?] -> plan
 *                      [else: the folder events.schemas, then GET events.registry/schemas/ids/ID]
 *
 * A loop must not wait at all: all partitions would, and at last it loses its place in its group.
 * So a thread (begun by the first id that is not known) reads the file or asks the registry and
 * makes the plan, and what avro_registry_find() says is one of three things:
 *
 *     OK                             the plan
 *     ERR_UNAVAILABLE                not known yet, or the registry does not answer: keep the
 *                                    record, ask again. It may be as good as any
 *     ERR_NOT_FOUND, ERR_MALFORMED   the registry answered that there is no such id (or no file,
 *                                    without a registry), or the schema gives no events: the
 *                                    record is none
 *
 * Only an answer of a registry's own is a no: HTTP 404 whose body is JSON with an error_code of
 * 404.. (40403). Any other answer, such as that of a proxy in its place or a 401, counts as no
 * answer.
 *
 * An id that is refused is asked for again after REFUSED_RETRY (10 s, then twice as long each time
 * up to 5 min), one without an answer after 250 ms up to 10 s. Schemas of an id never change, so a
 * plan is kept until AVRO_IDS_MAX ids are known, then the one not used for longest is dropped.
 *
 * Ids come from records, and so from strangers. Refused ones are remembered apart, AVRO_REFUSED_MAX
 * of them, and never push out a plan. And a question costs a partition its time: ids that come to
 * nothing are asked for AVRO_UNKNOWN_PER_S a second, after the first AVRO_UNKNOWN_BURST. Above that
 * an id which is not known is refused unasked (ERR_NOT_FOUND, counted as "unasked", the records are
 * dead letters), also a good one, which is asked for when its turn has come. Ids that the registry
 * knows cost nothing of that, and who insists is not bounded.
 */
#ifndef SCHEMAS_AVRO_REGISTRY_H
#define SCHEMAS_AVRO_REGISTRY_H

#include "schemas/avro_plan.h"

#define AVRO_IDS_MAX       256
#define AVRO_REFUSED_MAX   65536
#define AVRO_UNKNOWN_BURST 64
#define AVRO_UNKNOWN_PER_S 2

struct avro_registry;
/* Takes where to look from the schema, which is borrowed. Errors: ERR_NOMEM */
MUST_CHECK enum status avro_registry_create(struct avro_registry **registry,
                                            const struct event_schema *schema, struct error *err);
/* Waits for a question under way, which takes 3 s at most. NULL is fine. */
void avro_registry_destroy(struct avro_registry *registry);

/**
 * *plan is valid until the next call. Waits up to patience_ms (a loop: 0) while an answer is under
 * way; where the last was none, only with `insist`: a tool has nothing else to do, a loop has.
 * Errors: above, and ERR_NOMEM
 * Thread: one.
 */
MUST_CHECK enum status avro_registry_find(struct avro_registry *registry, uint32_t id,
                                          int64_t patience_ms, bool insist,
                                          const struct avro_plan **plan, struct error *err);

/* Does a registry answer, whatever it says of an id? For doctor, before any find. OK also where
 * none is configured. Errors: ERR_UNAVAILABLE */
MUST_CHECK enum status avro_registry_ask_any(struct avro_registry *registry, struct error *err);

#endif
