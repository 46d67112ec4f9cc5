/*
 * retrain/sequences.h - every user's history, rebuilt by the trainer from the events topic.
 *
 * Flow: events -> [enter] -> histories of next-item learning and of lists made from events
 *
 * The same set that ingest keeps in the store (features/sequence.h): ordered by (time, item,
 * action), its own duplicate filter, newest `most` kept; so replays and order do not matter to
 * it, and the trainer needs no Redis. Memory grows with users up to users_max; beyond that a new
 * user takes the place of the one who was silent for longest of a few looked at.
 * Thread: one.
 */
#ifndef RETRAIN_SEQUENCES_H
#define RETRAIN_SEQUENCES_H

#include "ops/status.h"
#include "schemas/state_file.h"
#include "schemas/user_value.h"

#include <stdint.h>

enum sequences_result {
    SEQUENCES_ENTERED,
    SEQUENCES_KNOWN,  /* there already: a duplicate */
    SEQUENCES_OLDER,  /* older than all of a full sequence */
    SEQUENCES_ERASED, /* at or before the user's erasure */
};

struct sequences;
/* most: 1..SEQUENCE_MAX. Errors: ERR_NOMEM */
MUST_CHECK enum status sequences_create(struct sequences **sequences, int most, int64_t users_max,
                                        struct error *err);
void sequences_destroy(struct sequences *sequences); /* NULL is fine */

/* Errors: ERR_NOMEM; nothing changed then. */
MUST_CHECK enum status sequences_enter(struct sequences *sequences, uint64_t user,
                                       const struct user_entry *entry,
                                       enum sequences_result *result, struct error *err);
/* Forgets the user's entries at or before time_ms, and refuses such ones from then on. */
MUST_CHECK enum status sequences_erase(struct sequences *sequences, uint64_t user, int64_t time_ms,
                                       struct error *err);

/* Was this list, by its identity, never shown to the user as far as is remembered, and after an
 * erasure? It is remembered from here on. Errors: ERR_NOMEM; nothing changed then. */
MUST_CHECK enum status sequences_shown(struct sequences *sequences, uint64_t user, uint64_t list,
                                       int64_t time_ms, bool *fresh, struct error *err);

struct sequences_view {
    const struct user_entry *entries; /* oldest first; until the next change */
    int count;
    uint32_t running;
};
/* A user never seen has none. */
struct sequences_view sequences_get(const struct sequences *sequences, uint64_t user);
/* What stood before this entry in the user's order, at most `most`: the history that a choice was
 * made with. running is what it was then. */
struct sequences_view sequences_before(const struct sequences *sequences, uint64_t user,
                                       const struct user_entry *entry);
int64_t sequences_users(const struct sequences *sequences);

void sequences_save(const struct sequences *sequences, struct state_file *state);
/* Into an empty one. Errors: ERR_MALFORMED, ERR_NOMEM */
MUST_CHECK enum status sequences_load(struct sequences *sequences, struct state_file *state,
                                      struct error *err);

bool sequences_view_has(const struct sequences_view *view, uint64_t item);

#endif
