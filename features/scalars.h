/*
 * features/scalars.h - the head's scalar features: one table, derived from raw counts alone.
 *
 * Adding a feature is adding a row (and, if it needs one, a raw column in schemas/raw.h). Names
 * and order travel in the bundle and are checked at load: a stale model is refused, not misread.
 * The same function serves and trains, on the same integers.
 *
 * Values are of the order of 1 (most lie in -2..4); the trainer puts their mean and scale into the
 * model, which carries them. A logarithm is ln(1 + x) unless the help says otherwise.
 *
 * Accuracy: float; the same on every machine to 1e-6.
 */
#ifndef FEATURES_SCALARS_H
#define FEATURES_SCALARS_H

#include "schemas/raw.h"

#include <stdint.h>

enum scalar_scope { SCALAR_USER, SCALAR_ITEM, SCALAR_PAIR, SCALAR_CONTEXT };

struct scalar_row {
    const char *name; /* at most 31 characters; never reused with another meaning */
    enum scalar_scope scope;
    const char *help;
    /* Weight that a fresh head begins with, in deviations: so that a model that has learnt little
     * orders about as co-visitation and popularity do, and not at random. Mostly 0. */
    float prior;
};

extern const struct scalar_row scalar_rows[];
extern const int scalars_count;

extern const char *const scalar_scope_names[]; /* "user", "item", "pair", "context" */

/* out (rows, scalars_count) from raw (rows, RAW_COLUMNS); finite for every input. A row's bits do
 * not depend on the others. */
void scalars_compute(float *out, const int64_t *raw, int rows);
/* -1, or the index of the first name that differs from names[count]. */
int scalars_mismatch(const char (*names)[32], int count);

#endif
