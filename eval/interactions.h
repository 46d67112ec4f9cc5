/*
 * eval/interactions.h - a data set: who chose what, in which order.
 *
 * Flow: file -> [interactions] -> split -> fit, counts -> full ranking
 *
 * Forms, plain or gzip:
 *
 *   user-item  `user item` a line, in the order of time (at least within a user); separated by
 *              blanks, tabs, commas, semicolons or "::". What follows on the line is not read. Such
 *              data has no times.
 *   csv        a header line, then a record a line. Columns are found by name, whatever else there
 *              is: user, item and, if there is one, the time; many usual names of them are known,
 *              a map gives others ("ts=when,user=customer,item=sku"). Times are numbers (seconds,
 * or ms, us, ns where they are too large for that: told line by line) or ISO 8601 with or without
 * clock and zone. Without a column of times the lines are in their order. jsonl      an event a
 * line, as `freshet ingest` takes them; history actions are kept.
 *
 * Here a data set is more liberal than events are (schemas/event_file.h): it may be of 1997, its
 * times may count from 1 (but not from before 0), and a line that cannot be used is counted and
 * left out.
 *
 * Within a user events are in the order of (time, line). The same (user, item) may come again.
 * Thread: one; read-only once loaded.
 */
#ifndef EVAL_INTERACTIONS_H
#define EVAL_INTERACTIONS_H

#include "features/rules.h"
#include "ops/map64.h"
#include "ops/status.h"

#include <stdbool.h>
#include <stdint.h>

#define INTERACTIONS_MAX (INT64_C(1) << 31)

/* clang-format off */
#define INTERACTIONS_FORM_LIST(X)   \
    X(USER_ITEM, "user-item")       \
    X(CSV,       "csv")             \
    X(JSONL,     "jsonl")

enum interactions_form {
#define X(id, name) INTERACTIONS_##id,
    INTERACTIONS_FORM_LIST(X)
#undef X
    INTERACTIONS_FORMS
};
/* clang-format on */
extern const char *const interactions_form_names[INTERACTIONS_FORMS];

struct interactions {
    int32_t users;    /* numbered from 0 in the order they come */
    int32_t items;    /* V: rows are 1 .. items - 1, row 0 is the model's unknown item */
    int64_t count;    /* events */
    int64_t *start;   /* (users + 1) first event of each user */
    int32_t *item;    /* (count) row */
    uint8_t *action;  /* (count) 1..ACTIONS_MAX - 1 */
    int64_t *time_ms; /* (count) all 0 when the data is not timed */
    int64_t *order;   /* (count) place among all events by (time, line) */
    int64_t *by_time; /* (count) the other way: event at that place */
    int32_t *user;    /* (count) */
    bool timed;
    int64_t refused;    /* lines that could not be used */
    int64_t ignored;    /* events that are no choices: impressions, negative actions */
    uint64_t print;     /* hash of all this, to know the data again */
    struct map64 *rows; /* hash of an item's name -> row, for interactions_item() */
};

/* clang-format off */
struct interactions_options {
    enum interactions_form form;
    const char *map;                   /* csv; NULL or "": none */
    const struct event_schema *schema; /* jsonl */
    const struct rules *rules;         /* jsonl: which actions are history */
    bool (*stopping)(void);            /* asked now and then; NULL: never */
};
/* clang-format on */

/**
 * Owner: the caller, interactions_clear(). On any error *data is zero.
 * Errors: ERR_NOT_FOUND, ERR_IO, ERR_CORRUPT; ERR_CONFIG (a map that is none); ERR_MALFORMED (no
 *         column of users or items, or no line could be used: the message says which); ERR_LIMIT
 *         (over INTERACTIONS_MAX lines); ERR_CANCELLED; ERR_NOMEM
 */
MUST_CHECK enum status interactions_load(struct interactions *data, const char *path,
                                         const struct interactions_options *options,
                                         struct error *err);
void interactions_clear(struct interactions *data); /* zeroed is fine */

/* The row of the item of that name; 0: nobody chose it. */
int32_t interactions_item(const struct interactions *data, struct text name);

#endif
