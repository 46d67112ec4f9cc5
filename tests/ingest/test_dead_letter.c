/* Tests ingest/dead_letter: a letter reads back whatever the record was; strangers are refused. */
#include "ingest/dead_letter.h"

#include "tests/test.h"

#include <string.h>

TEST(dead_letter_reads_back_for_every_head_and_reason)
{
    struct json_parser *parser = json_parser_create(65536, 64);
    char head[MACHINE_LETTER_BYTES], value[DEAD_LETTER_BYTES_MAX], key[DEAD_LETTER_KEY_MAX];
    char topic[250], text[MACHINE_LETTER_BYTES + 1];
    struct dead_letter got;
    struct error err;

    memset(topic, 't', sizeof topic - 1);
    topic[sizeof topic - 1] = '\0';
    for (int i = 0; i < MACHINE_LETTER_BYTES; i++)
        head[i] = (char)i;
    for (size_t bytes = 0; bytes <= sizeof head; bytes++) {
        struct machine_letter letter = {.partition = 12,
                                        .offset = INT64_MAX,
                                        .timestamp_ms = -1,
                                        .refusal = (enum refusal)(bytes % REFUSAL_COUNT),
                                        .head = {head, bytes},
                                        .raw_bytes = 1000000};
        size_t count = dead_letter_format(&letter, topic, value);

        CHECK_STATUS(OK, dead_letter_parse(&got, parser, (struct text){value, count}, &err));
        CHECK_TEXT(topic, got.topic);
        CHECK_TEXT(refusal_names[letter.refusal], got.reason);
        CHECK_INT(12, got.partition);
        CHECK_INT(INT64_MAX, got.offset);
        CHECK_INT(1000000, got.raw_bytes);
        CHECK_INT((int64_t)(2 * bytes), (int64_t)strlen(got.head));
        dead_letter_head_text(&got, text);
        CHECK_INT((int64_t)bytes, (int64_t)strlen(text));
        for (size_t i = 0; i < bytes; i++)
            CHECK(text[i] == (head[i] >= ' ' && head[i] < 127 ? head[i] : '.'));
        count = dead_letter_key(&letter, topic, key);
        CHECK(count < sizeof key && strstr(key, "-12/9223372036854775807") != NULL);
    }
    json_parser_destroy(parser);
}

TEST(dead_letter_refuses_every_truncation_and_strangers)
{
    static const char *const strangers[] = {
        "",
        "null",
        "[]",
        "{}",
        "{\"topic\":\"t\",\"partition\":0,\"offset\":1}",
        "{\"topic\":\"\",\"partition\":0,\"offset\":1,\"reason\":\"x\"}",
        "{\"topic\":\"t\",\"partition\":-1,\"offset\":1,\"reason\":\"x\"}"};
    struct json_parser *parser = json_parser_create(65536, 64);
    struct machine_letter letter = {.refusal = REFUSAL_NO_USER, .head = {"{\"a\":1}", 7}};
    char value[DEAD_LETTER_BYTES_MAX];
    struct dead_letter got;
    struct error err;
    size_t count = dead_letter_format(&letter, "events", value);

    for (size_t cut = 0; cut < count; cut++)
        CHECK_STATUS(ERR_MALFORMED,
                     dead_letter_parse(&got, parser, (struct text){value, cut}, &err));
    for (size_t i = 0; i < sizeof strangers / sizeof *strangers; i++)
        CHECK_STATUS(ERR_MALFORMED, dead_letter_parse(&got, parser, text_of(strangers[i]), &err));
    json_parser_destroy(parser);
}
