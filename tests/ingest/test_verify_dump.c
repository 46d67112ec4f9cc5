/* Tests ingest/verify_dump: every file as its header describes it, names where they are known and
 * hashes where not. What an outside judge makes of a whole one: tests/oracle.py. */
#include "ingest/verify_dump.h"

#include "ops/file.h"
#include "ops/hash.h"
#include "schemas/event.h"
#include "schemas/example.h"
#include "tests/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static struct redis_dataset dataset;
static struct offsets_partition partition;
static struct offsets offsets;
static const struct robot_limits robots = {.minute_max = 60, .item_max = 5};

static void prepare(void)
{
    struct event_schema *schema;
    struct error err;

    CHECK_STATUS(OK, hash_start(&err));
    CHECK_STATUS(OK, event_schema_default(&schema, &err));
    dataset = (struct redis_dataset){.shards = 4, .max_future_skew_ms = 300000};
    rules_init(&dataset.rules, schema, 77);
    event_schema_destroy(schema);
    partition = (struct offsets_partition){.partition = 3, .next = 12};
    partition.counts[OUTCOME_APPLIED] = 11;
    offsets = (struct offsets){.shards = 4, .count = 1, .list = &partition};
}

static uint64_t hash_of(const char *name)
{
    return hash64_text(text_of(name), dataset.rules.seed);
}

/* The content of a file of the dump. Free it. */
static char *content(const char *folder, const char *name)
{
    char path[400], *text;
    size_t bytes;
    struct error err;

    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    CHECK_STATUS(OK, file_read(path, 1 << 20, &text, &bytes, &err));
    return text;
}

static void check_file(const char *folder, const char *name, const char *want)
{
    char *text = content(folder, name);

    CHECK_TEXT(want, text);
    free(text);
}

static void check_settings(const char *folder)
{
    char *text = content(folder, "settings.json");

    CHECK(strstr(text, "\"click\":{\"code\":") != NULL);
    CHECK(strstr(text, "\"max_future_skew_ms\":300000") != NULL);
    CHECK(strstr(text, "\"partitions\":{\"3\":{\"next\":12,\"applied\":11,") != NULL);
    CHECK(strstr(text, "\"items\":{}") != NULL); /* none are judged */
    CHECK(strstr(text, "\"robots\":{\"minute_max\":60,\"item_max\":5,\"day_max\":0}") != NULL);
    free(text);
}

static void write_example(struct verify_dump *dump, const struct example *example)
{
    static uint8_t bytes[EXAMPLE_BYTES_MAX];
    size_t count = example_encode(example, bytes, sizeof bytes);
    struct error err;

    CHECK(count > 0);
    CHECK_STATUS(OK, verify_dump_example(dump, (struct text){(const char *)bytes, count}, &err));
}

TEST(verify_dump_writes_names_that_it_has_seen_and_hashes_of_others)
{
    const struct event click = {.kind = EVENT_ACTION,
                                .user = text_of("u1"),
                                .item = text_of("i1"),
                                .request_id = text_of("r1")};
    const struct kafka_record good = {.partition = 3,
                                      .offset = 7,
                                      .timestamp_ms = 1700000000000,
                                      .key = text_of("k"),
                                      .value = {"\x00\xff", 2}};
    const struct kafka_record bad = {
        .partition = 3, .offset = 8, .timestamp_ms = -1, .replayed = true};
    struct user_entry entries[] = {{.time_ms = 1700000000000, .action = 2},
                                   {.item = 0xab, .action = 9}};
    uint64_t rows[2];
    struct open_impression open = {.shown_at_ms = 5, .rows_count = 2, .rows = rows};
    struct user_value value = {.running = 3, .count = 2, .opens_count = 1};
    struct verify_dump *dump;
    char folder[300];
    struct error err;

    prepare();
    (void)snprintf(folder, sizeof folder, "%s/a/dump", test_folder());
    CHECK_STATUS(OK, verify_dump_open(&dump, folder, &dataset, &offsets, NULL, &robots, &err));
    CHECK_STATUS(OK, verify_dump_record(dump, &good, &click, &err));
    CHECK_STATUS(OK, verify_dump_record(dump, &bad, NULL, &err));
    entries[0].item = rows[0] = hash_of("i1");
    rows[1] = 0xcd;
    value.entries[0] = entries[0];
    value.entries[1] = entries[1];
    open.request = hash_of("r1");
    value.opens[0] = open;
    CHECK_STATUS(OK, verify_dump_user(dump, text_of("u\"1"), &value, &err));
    write_example(dump, &(struct example){.kind = EXAMPLE_LABEL,
                                          .id = 0xfeed,
                                          .user = hash_of("u1"),
                                          .row = 1,
                                          .action = 2,
                                          .shown_at_ms = 4,
                                          .time_ms = 6});
    write_example(dump, &(struct example){.kind = EXAMPLE_ERASE, .user = 0x11, .time_ms = 9});
    CHECK_STATUS(ERR_MALFORMED, verify_dump_example(dump, text_of("?"), &err));
    CHECK_STATUS(OK, verify_dump_close(dump, &err));

    check_settings(folder);
    check_file(folder, "topic.jsonl",
               "{\"p\":3,\"o\":7,\"ts\":1700000000000,\"replayed\":false,\"key\":\"6b\","
               "\"value\":\"00ff\"}\n"
               "{\"p\":3,\"o\":8,\"ts\":-1,\"replayed\":true,\"key\":null,\"value\":null}\n");
    check_file(folder, "users.jsonl",
               "{\"user\":\"u\\\"1\",\"running\":3,\"erased_at\":0,\"entries\":[[\"i1\","
               "1700000000000,2],[\"#00000000000000ab\",0,9]],\"opens\":[{\"request\":\"r1\","
               "\"shown_at\":5,\"rows\":[\"i1\",\"#00000000000000cd\"],\"labels\":[]}]}\n");
    check_file(folder, "examples.jsonl",
               "{\"id\":\"000000000000feed\",\"kind\":\"label\",\"user\":\"u1\",\"row\":1,"
               "\"action\":2}\n"
               "{\"id\":\"\",\"kind\":\"erase\",\"user\":\"#0000000000000011\",\"erased_at\":9}\n");
    check_file(folder, "items.jsonl", "");
}

TEST(verify_dump_says_where_it_cannot_write)
{
    struct verify_dump *dump = NULL;
    char folder[300];
    struct error err;

    prepare();
    CHECK_STATUS(OK, verify_dump_close(NULL, &err));
    (void)snprintf(folder, sizeof folder, "%s/file", test_folder());
    CHECK_STATUS(OK, file_replace(folder, "x", 1, &err));
    CHECK(verify_dump_open(&dump, folder, &dataset, &offsets, NULL, &robots, &err) != OK);
    CHECK(dump == NULL && strstr(err.text, "file") != NULL);
    (void)snprintf(folder, sizeof folder, "%s/taken", test_folder());
    CHECK_INT(0, mkdir(folder, 0700));
    (void)snprintf(folder, sizeof folder, "%s/taken/topic.jsonl", test_folder());
    CHECK_INT(0, mkdir(folder, 0700)); /* a folder where a file is to be */
    (void)snprintf(folder, sizeof folder, "%s/taken", test_folder());
    CHECK_STATUS(ERR_IO, verify_dump_open(&dump, folder, &dataset, &offsets, NULL, &robots, &err));
    CHECK(dump == NULL);
}
