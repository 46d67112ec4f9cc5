/*
 * retrain/holdout.h - the newest events, and the item tables as they were before them.
 *
 * Flow: what the learner enters into its tables -> [remember] -> evaluation walks them again
 *
 * A judgement must not see the future: tables that hold the clicks to be predicted would make
 * popularity and co-visitation look like prophets. So the newest changes of the tables are kept
 * beside a copy of the tables of before them; an evaluation takes a copy of that copy (rows are
 * shared until written), brings it up to the window's begin, and walks the window event by event:
 * rank first, count after, as serving does.
 * Thread: one.
 */
#ifndef RETRAIN_HOLDOUT_H
#define RETRAIN_HOLDOUT_H

#include "features/item_tables.h"
#include "retrain/sequences.h"
#include "schemas/state_file.h"

#include <stdbool.h>
#include <stdint.h>

/* In place of an action: rows of items not seen since time_ms expired. It judges nothing. */
#define HOLDOUT_EXPIRED 255

/* One change of the tables. */
struct holdout_event {
    uint64_t user, item; /* hashes */
    int64_t time_ms;
    uint8_t action; /* 0: shown; HOLDOUT_EXPIRED */
    bool answer;    /* the choice was made from a shown list */
    bool repeat;    /* of what the user had: no recommendation, so no judge */
};

/* Where hardly anything shown is chosen, a ring that is enough elsewhere holds too few choices to
 * judge by, for ever: it grows up to so many times events_max. */
#define HOLDOUT_GROWTH 16

struct holdout;
/* events_max: beyond it the older half goes into the base, unless fewer than judges_min choices
 * that can judge would be left. Errors: ERR_NOMEM */
MUST_CHECK enum status holdout_create(struct holdout **holdout, const struct item_tables *tables,
                                      int events_max, int judges_min, struct error *err);
void holdout_destroy(struct holdout *holdout); /* NULL is fine */

/* To be called before the learner's tables change. Errors: ERR_NOMEM: nothing changed */
MUST_CHECK enum status holdout_add(struct holdout *holdout, const struct sequences *sequences,
                                   const struct holdout_event *event, struct error *err);
/* The same row in the base for an item that the learner's tables have just described. */
void holdout_describe(struct holdout *holdout, uint64_t item, int32_t row);
/* The same for one that takes it in whatever way; false: the base has it otherwise. */
bool holdout_take_row(struct holdout *holdout, uint64_t item, int32_t row);
int holdout_count(const struct holdout *holdout);
/* Forgets whose changes those of the user at or before time_ms were. The changes stay, as shared
 * counts do, and judge no more. */
void holdout_erase(struct holdout *holdout, uint64_t user, int64_t time_ms);
const struct holdout_event *holdout_at(const struct holdout *holdout, int i); /* oldest first */

/* Where the newest share of what can judge begins, at least `least` and at most `most` of it and
 * never more than half. Choices that answer a shown list judge only where there are too few others:
 * nearly every one of them lies in the list that some ranker made, so that ranker (and those alike)
 * would win whatever the user wanted.
 * What is not newer than learnt_ms was trained on, so it judges nothing: a window may begin earlier
 * than the one before it, when the kind of judge changes, or when old events come late. */
#define HOLDOUT_EDGE 4 /* judges at a window's begin that its median may leave out */
struct holdout_window {
    int from;        /* a position; those before it may be trained on */
    int64_t from_ms; /* where training stops and judging begins; INT64_MAX for an empty one */
    bool answers;    /* all choices judge, for want of others */
};
void holdout_split(const struct holdout *holdout, double share, int least, int most,
                   int64_t learnt_ms, struct holdout_window *window);
/* Whether an event is one that judges in that window. */
bool holdout_judges(const struct holdout_window *window, const struct holdout_event *event);
/* The tables as they were before position `until`. Owner: the caller. Errors: ERR_NOMEM */
MUST_CHECK enum status holdout_tables(const struct holdout *holdout,
                                      const struct sequences *sequences, int until,
                                      struct item_tables **tables, struct error *err);
/* Enters one event: what the walk does after it has ranked. */
void holdout_enter(struct item_tables *tables, const struct sequences *sequences,
                   const struct holdout_event *event);

/* The base has a file of its own (item tables). */
const struct item_tables *holdout_base(const struct holdout *holdout);
void holdout_save(const struct holdout *holdout, struct state_file *state);
/* Into a new one; takes base on OK. Errors: ERR_MALFORMED, ERR_NOMEM */
MUST_CHECK enum status holdout_load(struct holdout *holdout, struct state_file *state,
                                    struct item_tables *base, struct error *err);

#endif
