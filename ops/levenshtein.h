/*
 * ops/levenshtein.h - what somebody probably meant: the known name nearest to a typed one.
 *
 * Counts insertions, deletions, replacements and swaps of two neighbours (the restricted
 * Damerau form), without regard to case.
 * Thread: any.
 */
#ifndef OPS_LEVENSHTEIN_H
#define OPS_LEVENSHTEIN_H

#include <stddef.h>

#define LEVENSHTEIN_BYTES_MAX 128 /* of a name; a longer one is near to nothing */

/* Edits between the two, or a number above any real one when either is too long. */
int levenshtein_distance(const char *a, const char *b);

/* Keeps the best of many candidates; start from {0}. */
struct levenshtein_nearest {
    const char *name; /* borrowed; NULL while nothing was near enough */
    int distance;
};

/* Near enough is at most a third of what was typed, at least 1 and at most 4 edits. Leading words
 * (up to one of "._- ") that both have alike are no reason to think that one was meant: they do not
 * count as typed. But they say where to look: behind them two edits of a word of 4 are near. */
void levenshtein_offer(struct levenshtein_nearest *nearest, const char *typed,
                       const char *candidate);

#endif
