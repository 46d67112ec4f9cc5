/*
 * eval/interactions_line.h - one line of a data set: user, item and, if there is one, the time.
 *
 * Flow: line of a file -> [fields] -> interactions
 *
 * The forms `user-item` and `csv` of eval/interactions.h; the separator is told by the first
 * line. Thread: one a reader.
 */
#ifndef EVAL_INTERACTIONS_LINE_H
#define EVAL_INTERACTIONS_LINE_H

#include "ops/status.h"
#include "ops/text.h"

#include <stdbool.h>
#include <stdint.h>

#define INTERACTIONS_COLUMNS_MAX 256

struct interactions_line {
    bool begun, timed;
    bool blanks;          /* separated by runs of blanks */
    char separator[3];    /* "," or "::" */
    int user, item, time; /* columns; time -1: none */
    char *copy;           /* of the line, where quotes are resolved */
    size_t copy_bytes;
};

struct interactions_fields {
    struct text user, item; /* valid until the next line */
    int64_t time_ms;
};

bool interactions_line_is_empty(struct text line);

/* The first line that is not empty: the header of a csv, else the first pair; a byte order mark is
 * cut off *line. map as in struct interactions_options.
 * Errors: ERR_CONFIG (the map), ERR_MALFORMED (a column is missing: lists those there are; or two
 *         that are read have one name; or pairs are wanted, and the line is a header that names
 *         users and items) */
MUST_CHECK enum status interactions_line_begin(struct interactions_line *reader, struct text *line,
                                               bool header, const char *map, struct error *err);
/* False: not a line that can be used. */
bool interactions_line_split(struct interactions_line *reader, struct text line,
                             struct interactions_fields *fields);
void interactions_line_clear(struct interactions_line *reader);

/* A time as data sets have them: a number or ISO 8601, see above, from 1970 to 2200. False: none.
 */
bool interactions_time(struct text field, int64_t *time_ms);

#endif
