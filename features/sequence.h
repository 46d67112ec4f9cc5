/*
 * features/sequence.h - a user's history as a set: ordered by (time, item, action), newest kept.
 *
 * Flow: event -> rules -> [sequence] -> user value
 *
 * A set is its own duplicate filter, so neither order, nor duplicates, nor replays matter to it:
 * whatever the order of arrival, it holds the newest of the distinct entries.
 */
#ifndef FEATURES_SEQUENCE_H
#define FEATURES_SEQUENCE_H

#include "schemas/user_value.h"

enum sequence_result {
    SEQUENCE_ENTERED,
    SEQUENCE_KNOWN, /* it is there already; nothing changed */
    SEQUENCE_OLDER, /* the sequence is full and all of it is newer; nothing changed */
};

/**
 * Enters *entry, dropping the oldest ones beyond `most` (1..SEQUENCE_MAX), and counts it in
 * running. *index is where it now is; only set when it entered. An entry that is the newest costs
 * one comparison; a full sequence is then moved down by one.
 */
enum sequence_result sequence_enter(struct user_value *value, const struct user_entry *entry,
                                    int most, int *index);

/* Removes all entries at or before time_ms; returns how many. */
int sequence_erase(struct user_value *value, int64_t time_ms);

/* How many entries have a time at or before time_ms: they are the first ones. */
int sequence_until(const struct user_value *value, int64_t time_ms);

#endif
