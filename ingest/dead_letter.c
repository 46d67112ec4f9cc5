/* ingest/dead_letter.c - formats and parses letters. */
#include "ingest/dead_letter.h"

#include "ops/hash.h"
#include "ops/json_writer.h"
#include "ops/levenshtein.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

size_t dead_letter_key(const struct machine_letter *letter, const char *topic,
                       char into[DEAD_LETTER_KEY_MAX])
{
    int bytes = snprintf(into, DEAD_LETTER_KEY_MAX, "%.250s-%d/%" PRId64, topic,
                         (int)letter->partition, letter->offset);

    return (size_t)bytes;
}

size_t dead_letter_format(const struct machine_letter *letter, const char *topic,
                          char into[DEAD_LETTER_BYTES_MAX])
{
    char head[2 * MACHINE_LETTER_BYTES + 1];
    struct json_writer w;

    assert(letter->head.bytes <= MACHINE_LETTER_BYTES && letter->refusal < REFUSAL_COUNT);
    hash_hex(head, letter->head.at, letter->head.bytes);
    json_writer_init(&w, into, DEAD_LETTER_BYTES_MAX);
    json_object_begin(&w);
    json_text(&w, "topic", text_of(topic));
    json_int(&w, "partition", letter->partition);
    json_int(&w, "offset", letter->offset);
    json_int(&w, "time_ms", letter->timestamp_ms);
    json_text(&w, "reason", text_of(refusal_names[letter->refusal]));
    json_text(&w, "text", text_of(refusal_text(letter->refusal)));
    json_int(&w, "bytes", (int64_t)letter->raw_bytes);
    json_text(&w, "head", text_of(head));
    json_object_end(&w);
    assert(json_writer_ok(&w)); /* bounded: a topic of 249 and a head of 512 bytes */
    return w.used;
}

static bool copy(char *into, size_t room, struct text text)
{
    if (text.bytes >= room)
        return false;
    memcpy(into, text.at, text.bytes);
    into[text.bytes] = '\0';
    return true;
}

enum status dead_letter_parse(struct dead_letter *letter, struct json_parser *parser,
                              struct text value, struct error *err)
{
    const struct json_node *root;
    enum status status = json_parse(parser, value, &root, err);

    *letter = (struct dead_letter){0};
    if (status != OK)
        return error_set(err, ERR_MALFORMED, "a dead letter is not valid JSON");
    letter->partition = (int32_t)json_int_or(json_member(root, "partition"), -1);
    letter->offset = json_int_or(json_member(root, "offset"), -1);
    letter->time_ms = json_int_or(json_member(root, "time_ms"), -1);
    letter->raw_bytes = json_int_or(json_member(root, "bytes"), -1);
    if (letter->partition < 0 || letter->offset < 0 ||
        !copy(letter->topic, sizeof letter->topic, json_text_or(json_member(root, "topic"), "")) ||
        !copy(letter->reason, sizeof letter->reason,
              json_text_or(json_member(root, "reason"), "")) ||
        !copy(letter->head, sizeof letter->head, json_text_or(json_member(root, "head"), "")) ||
        letter->topic[0] == '\0' || letter->reason[0] == '\0')
        return error_set(err, ERR_MALFORMED, "a dead letter lacks what names its record");
    return OK;
}

static int digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

void dead_letter_head_text(const struct dead_letter *letter, char into[MACHINE_LETTER_BYTES + 1])
{
    size_t used = 0;

    for (const char *at = letter->head; at[0] != '\0' && at[1] != '\0'; at += 2) {
        int value = digit(at[0]) * 16 + digit(at[1]);

        into[used++] = value >= ' ' && value < 127 ? (char)value : '.';
    }
    into[used] = '\0';
}

/* Reasons are those of a record, from 1: REFUSAL_NONE is none. */
bool dead_letter_reason_known(const char *reason)
{
    for (int i = 1; i < REFUSAL_COUNT; i++)
        if (strcmp(reason, refusal_names[i]) == 0)
            return true;
    return false;
}

int dead_letter_reason_misused(const struct command_line *line, const char *reason)
{
    struct levenshtein_nearest nearest = {0};
    char known[800] = "";
    size_t used = 0;

    for (int i = 1; i < REFUSAL_COUNT; i++) {
        levenshtein_offer(&nearest, reason, refusal_names[i]);
        if (used < sizeof known)
            used += (size_t)snprintf(known + used, sizeof known - used, "%s%s", i == 1 ? "" : ", ",
                                     refusal_names[i]);
    }
    if (nearest.name != NULL)
        return command_misused(line, "no reason is called \"%.60s\"; did you mean \"%s\"?", reason,
                               nearest.name);
    return command_misused(line, "no reason is called \"%.60s\"; there are %s", reason, known);
}
