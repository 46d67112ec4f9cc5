/*
 * ingest/dead_letter.h - one record of the `dead` topic: what could not be used, and why.
 *
 * Flow: machine -> [format] -> Kafka `dead` -> [parse] -> dlq
 *
 * key    <topic>-<partition>/<offset>
 * value  {"topic":"events","partition":3,"offset":17,"time_ms":1700000000123,
 *         "reason":"bad_time","text":"time is no number, or before 2000",
 *         "bytes":211,"head":"7b2275..."}
 *
 * head is the first 256 bytes at most of the raw record, in hexadecimal: an unreadable record stays
 * unreadable bytes, never text that a terminal or a log would act on. A letter may be there twice
 * (a kill after it was produced); its key says so.
 */
#ifndef INGEST_DEAD_LETTER_H
#define INGEST_DEAD_LETTER_H

#include "machine/machine.h"
#include "ops/command.h"
#include "ops/json.h"

#define DEAD_LETTER_BYTES_MAX 2048
#define DEAD_LETTER_KEY_MAX   300

/* Each returns its bytes. */
size_t dead_letter_key(const struct machine_letter *letter, const char *topic,
                       char into[DEAD_LETTER_KEY_MAX]);
size_t dead_letter_format(const struct machine_letter *letter, const char *topic,
                          char into[DEAD_LETTER_BYTES_MAX]);

struct dead_letter {
    char topic[256];
    int32_t partition;
    int64_t offset;
    int64_t time_ms;
    char reason[32];
    int64_t raw_bytes;
    char head[2 * MACHINE_LETTER_BYTES + 1]; /* hexadecimal */
};
/* Errors: ERR_MALFORMED (not such a letter) */
MUST_CHECK enum status dead_letter_parse(struct dead_letter *letter, struct json_parser *parser,
                                         struct text value, struct error *err);
/* The head as text: what is not printable ASCII becomes '.'. */
void dead_letter_head_text(const struct dead_letter *letter, char into[MACHINE_LETTER_BYTES + 1]);

/* Is it a reason that this build writes? */
bool dead_letter_reason_known(const char *reason);
/* Misuse of --reason: names the nearest reason, or lists them all. Returns the exit code. */
int dead_letter_reason_misused(const struct command_line *line, const char *reason);

#endif
