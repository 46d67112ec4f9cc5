/*
 * ingest/verify_examples.h - are the examples that were emitted those that a replay emits?
 *
 * Flow: replay -> [wanted]; outboxes, topic `examples` -> [got]; compared example by example
 *
 * An example is compared with its labels united as a set of (row, action): any order, any number
 * of repetitions. Its list is compared by its bytes: rows, history, counts. An erasure counts as
 * one, too. What was erased may be missing, for it may have been deleted before it went out;
 * nothing may be there that a replay does not emit.
 *
 * Units: about 90 bytes an example and 45 a label.
 */
#ifndef INGEST_VERIFY_EXAMPLES_H
#define INGEST_VERIFY_EXAMPLES_H

#include "ops/status.h"
#include "ops/text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Users are hashes, as the examples have them. */
struct verify_examples_judge {
    bool (*wanted)(void *context, uint64_t user); /* others' examples are passed over */
    bool (*judged)(void *context, uint64_t user); /* asked when all are in */
    void (*tell)(void *context, uint64_t user, const char *what); /* each difference */
    void (*apart)(void *context, uint64_t user); /* each example or erasure that differs, once */
    void *context;
};

struct verify_examples;
MUST_CHECK enum status verify_examples_create(struct verify_examples **examples,
                                              const struct verify_examples_judge *judge,
                                              struct error *err);
void verify_examples_destroy(struct verify_examples *examples); /* NULL is fine */

/* One row that the replay emits. Errors: ERR_NOMEM, ERR_MALFORMED (it is no example) */
MUST_CHECK enum status verify_examples_want(struct verify_examples *examples, struct text bytes,
                                            struct error *err);
/* One that is there. *user is its user's hash. Errors: as above */
MUST_CHECK enum status verify_examples_got(struct verify_examples *examples, struct text bytes,
                                           struct error *err);

struct verify_examples_counts {
    int64_t examples; /* that the replay emits, erasures among them */
    int64_t equal;
    int64_t different; /* another list under the same id, or other labels */
    int64_t missing;
    int64_t unknown;   /* no replay emits them */
    int64_t forgotten; /* missing, but erased */
    int64_t unjudged;  /* of users who are not judged */
    int64_t labels;    /* that the replay emits, each once */
};

/* Adds to *counts. Call it once. cut: retention may have taken rows, so what is missing is not
 * judged. */
void verify_examples_compare(struct verify_examples *examples, bool cut,
                             struct verify_examples_counts *counts);
size_t verify_examples_bytes(const struct verify_examples *examples);

#endif
