/*
 * features/join.h - which label belongs to which shown list, and what is emitted about it.
 *
 * Flow: event -> rules -> [join] -> user value, examples
 *
 * Nobody waits: a list is emitted when it is seen, and each label of it when that is seen, in
 * whatever order they come (features/rules.h says the rules). Called by rules.c only; its types
 * are here because the two share them.
 */
#ifndef FEATURES_JOIN_H
#define FEATURES_JOIN_H

#include "features/rules.h"

/* One event being applied. */
struct join {
    const struct rules *rules;
    struct user_value *value;
    uint64_t user; /* hash */
    struct arena *arena;
    struct emissions *emissions;
    struct error *err;
};

/* A list that was shown. */
struct join_shown {
    uint64_t request; /* hash; 0: none */
    int64_t shown_at_ms;
    uint64_t *rows; /* (rows_count), in the arena: the open impression keeps it */
    int rows_count;
    struct text trace;             /* may be empty */
    const struct user_entry *self; /* the exposure's own action, never its label; or NULL */
};

/* The hash of a request id; 0 for an empty one, never 0 else. */
uint64_t join_request_hash(const struct rules *rules, struct text request_id);

/* What the example of a list is named by, never 0: its user and request; without a request its
 * user, time and rows. */
uint64_t join_example_id(const struct rules *rules, uint64_t user, const struct join_shown *shown);

/* Emits the list and its early labels and keeps it open. *fresh is false, and nothing changes,
 * when it is open already. Errors: ERR_NOMEM */
MUST_CHECK enum status join_shown(const struct join *join, const struct join_shown *shown,
                                  bool *fresh);

/* Joins one label. *taken: no impression that comes later may find it in the sequence.
 * Errors: ERR_NOMEM */
MUST_CHECK enum status join_label(const struct join *join, const struct open_label *label,
                                  uint64_t request, bool *taken);

/* Removes what is at or before time_ms: impressions, and labels that wait for theirs. */
void join_erase(struct user_value *value, int64_t time_ms);

/* Emits that the user is to be forgotten up to time_ms. Errors: ERR_NOMEM */
MUST_CHECK enum status join_emit_erase(const struct join *join, int64_t time_ms);

#endif
