/*
 * ops/doctor.h - what `freshet doctor` asks: is what this role needs there and as it must be?
 *
 * Every folder exports its checks (`redis_doctor_checks`), freshet.c puts them together. A
 * check looks and changes nothing, takes at most a few seconds, and says in its finding
 * what it saw and, when that is not right, what to do.
 * Thread: checks run one after the other on the main thread.
 */
#ifndef OPS_DOCTOR_H
#define OPS_DOCTOR_H

#include "ops/config.h"

enum doctor_result {
    DOCTOR_OK,
    DOCTOR_WARN,    /* works, but will hurt */
    DOCTOR_FAIL,    /* does not work */
    DOCTOR_SKIP,    /* does not apply here */
    DOCTOR_UNKNOWN, /* could not be looked at: whoever would know does not answer, or may not tell
                     */
    DOCTOR_NOTE,    /* nothing was looked at: what has to be so */
    DOCTOR_RESULTS
};

/* What there is to say of settings where kafka_is_embedded(). */
#define DOCTOR_EMBEDDED                                                                            \
    "this is the embedded broker of a demonstration: it has no version or settings to look at"

struct doctor_finding {
    enum doctor_result result;
    char text[640];   /* what was seen: "3 brokers, 8 partitions of events" */
    char remedy[640]; /* what to do; "" when ok */
};

struct doctor_check {
    const char *name; /* "kafka-topics"; a table ends with a NULL name */
    const char *help; /* what it looks at, one line */
    void (*run)(const struct config *config, struct doctor_finding *finding);
    const char *needs; /* a check before it: once that failed this one is moot, and not run. NULL:
                          none */
};

/* Fills a finding in one line. */
void doctor_find(struct doctor_finding *finding, enum doctor_result result, const char *remedy,
                 const char *fmt, ...) PRINTF_LIKE(4, 5);

/* The same by result: (finding, fmt, ...), or (finding, remedy, fmt, ...). The remedy of an unknown
 * one may be NULL: what it needs is another check's to say. */
#define doctor_ok(finding, ...)      doctor_find(finding, DOCTOR_OK, NULL, __VA_ARGS__)
#define doctor_skip(finding, ...)    doctor_find(finding, DOCTOR_SKIP, NULL, __VA_ARGS__)
#define doctor_note(finding, ...)    doctor_find(finding, DOCTOR_NOTE, NULL, __VA_ARGS__)
#define doctor_warn(finding, ...)    doctor_find(finding, DOCTOR_WARN, __VA_ARGS__)
#define doctor_fail(finding, ...)    doctor_find(finding, DOCTOR_FAIL, __VA_ARGS__)
#define doctor_unknown(finding, ...) doctor_find(finding, DOCTOR_UNKNOWN, __VA_ARGS__)

#endif
