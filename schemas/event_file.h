/*
 * schemas/event_file.h - events from a file: for replay, backtest, eval and dry runs.
 *
 * Flow: file -> [lines to events] -> Kafka, or the rules directly
 *
 * Forms (plain or gzip; "-" is standard input), told by the first line or given:
 *
 *   jsonl  an event a line, by the schema's mapping
 *   csv    a header line, then a record a line; separated by the first of , ; tab that the header
 *          has; fields may be quoted ("a ""b"" c"), without line breaks inside. Columns are found
 *          by name: `ts`, `user`, `item`, and if they are there `action` (else `type`),
 *          `request_id`, `event_id`; a map gives other names: "ts=timestamp,user=userId". Times
 *          are in the unit given, seconds unless said otherwise
 *   pairs  `user item` a line, separated by blanks or a tab, in the order of time; line n gets
 *          2000-01-01 + n seconds
 *
 * A line without an action gets the action given; without one given, "rate" where the file has a
 * column `rating` and the schema that action, else "click".
 *
 * Lines of a csv file, or of a jsonl file whose times are in whole seconds, with the same user and
 * time get k ms added to the k-th, in the order of the file, so that their order survives the sort
 * (an invoice in Online Retail has up to 541 lines of one minute). Such lines of one user must
 * follow each other, but for lines of others: only the latest time of each user is remembered.
 *
 * Ids of csv and pairs are texts as they stand; they must be UTF-8 within the bounds of event.h.
 * Thread: one.
 */
#ifndef SCHEMAS_EVENT_FILE_H
#define SCHEMAS_EVENT_FILE_H

#include "ops/status.h"
#include "ops/text.h"
#include "schemas/event.h"

#include <stdbool.h>
#include <stdint.h>

enum event_file_form {
    EVENT_FILE_DETECT,
    EVENT_FILE_JSONL,
    EVENT_FILE_CSV,
    EVENT_FILE_PAIRS,
    EVENT_FILE_FORMS
};
extern const char *const event_file_form_names[EVENT_FILE_FORMS];  /* "detect", "jsonl", ... */
#define EVENT_FILE_FORM_CHOICES "detect|jsonl|csv|user-item|pairs" /* of an option --format */
/* NULL and what is none: EVENT_FILE_DETECT. */
enum event_file_form event_file_form_of(const char *name);

/* Zeroed: everything by the defaults above. */
struct event_file_options {
    enum event_file_form form;
    const char *map;    /* csv: "ts=timestamp,user=userId,item=movieId"; NULL or "": none */
    const char *unit;   /* csv: "s", "ms", "us" or "iso"; NULL or "": s */
    const char *action; /* of lines without one; NULL or "": rate or click */
};

/**
 * Opens the file and reads as much as tells its form. The schema must outlive it.
 * Errors: ERR_NOT_FOUND, ERR_IO, ERR_NOMEM, ERR_LIMIT (the first line is too long); ERR_CONFIG (a
 * map or action or unit that is none); ERR_MALFORMED (the form cannot be told; or a column is
 * missing: the message lists those there are; or two that are read have one name)
 * Owner: the caller, event_file_close().
 */
struct event_file;
MUST_CHECK enum status event_file_open(struct event_file **file, const char *path,
                                       const struct event_schema *schema,
                                       const struct event_file_options *options, struct error *err);

/**
 * The next event; *more is false at the end. Empty lines are passed over. Texts live until the
 * next call. There is no record whose timestamp could bound the future, so only EVENT_TIME_MAX_MS
 * does.
 * Errors: ERR_MALFORMED, ERR_LIMIT with *why set: this line is no event, *more is true, go on;
 *         with *why == REFUSAL_NONE the file itself cannot be read on: ERR_IO, ERR_CORRUPT (gzip),
 *         ERR_NOMEM.
 */
MUST_CHECK enum status event_file_next(struct event_file *file, struct event *event, bool *more,
                                       enum refusal *why, struct error *err);
enum event_file_form event_file_form(const struct event_file *file);
uint64_t event_file_line(const struct event_file *file);    /* number of the last line, from 1 */
struct text event_file_text(const struct event_file *file); /* the last line itself */
double event_file_fraction(const struct event_file *file);  /* read so far, 0..1; -1 unknown */
void event_file_close(struct event_file *file);             /* NULL is fine */

#endif
