/*
 * schemas/context.h - where a request comes from, as a few codes: surface, device, ...
 *
 * Flow: request's `context` -> [codes] -> batch, trace -> example -> batch of the trainer
 *
 * model.contexts names at most BATCH_CONTEXTS members of the request's object `context`; each value
 * is hashed to a code 1..BATCH_CONTEXT_CODES - 1, so nobody keeps a dictionary, and two values may
 * share one. What is not said is 0.
 */
#ifndef SCHEMAS_CONTEXT_H
#define SCHEMAS_CONTEXT_H

#include "ops/status.h"
#include "ops/text.h"
#include "schemas/batch.h"

#include <stdint.h>

#define CONTEXT_NAME_MAX 32 /* bytes, with the zero */

struct context_names {
    int count;
    char names[BATCH_CONTEXTS][CONTEXT_NAME_MAX];
    int32_t
        print; /* of names and their order, 0 of none: what a model must share with who asks it */
};

/* Names of letters, digits, '_' and '-', between blanks or commas. Errors: ERR_CONFIG */
MUST_CHECK enum status context_names_parse(struct context_names *names, const char *text,
                                           struct error *err);
int32_t context_code(struct text value); /* 0 for an empty one */

#endif
