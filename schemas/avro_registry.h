/*
 * schemas/avro_registry.h - from the schema id in a record to the plan that reads it.
 *
 * Flow: record's id -> [known?] -> plan
 *                      [else: the folder events.schemas, then GET events.registry/schemas/ids/ID]
 *
 * Who asks must not wait long: a loop that stands still loses its place in its group. So a thread
 * (begun by the first id that is not known) reads the file or asks the registry and makes the plan,
 * and what avro_registry_find() says is one of three things:
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
 * plan is kept until AVRO_IDS_MAX ids are known, then the one not used for longest is dropped: ids
 * come from records, and so from strangers.
 */
#ifndef SCHEMAS_AVRO_REGISTRY_H
#define SCHEMAS_AVRO_REGISTRY_H

#include "schemas/avro_plan.h"

#define AVRO_IDS_MAX 256

struct avro_registry;
/* Takes where to look from the schema, which is borrowed. Errors: ERR_NOMEM */
MUST_CHECK enum status avro_registry_create(struct avro_registry **registry,
                                            const struct event_schema *schema, struct error *err);
/* Waits for a question under way, which takes 3 s at most. NULL is fine. */
void avro_registry_destroy(struct avro_registry *registry);

/**
 * *plan is valid until the next call. Waits up to patience_ms while an answer is under way; where
 * the last was none, only with `insist`: a tool has nothing else to do, a loop has.
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
