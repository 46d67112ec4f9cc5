/* Tests features/user_print: both forms of one value, with and without names. */
#include "features/user_print.h"

#include "ops/json.h"
#include "tests/test.h"

#include <stdlib.h>
#include <string.h>

static struct rules rules;
static struct user_value value;
static uint64_t rows[] = {11, 12, 13};
static struct open_label label = {12, 1700000001000, 2};

static void fill(void)
{
    memset(&rules, 0, sizeof rules);
    memset(&value, 0, sizeof value);
    rules.actions[2] = (struct action_row){.name = "click", .code = 2};
    value.running = 7;
    value.writer = user_value_writer(3, 1);
    value.written_at_ms = 1700000002000;
    value.flags = USER_VALUE_REPLAYED;
    value.count = 2;
    value.entries[0] = (struct user_entry){.item = 11, .time_ms = 1700000000123, .action = 2};
    value.entries[1] = (struct user_entry){.item = 0xab, .time_ms = 1700000001000, .action = 9};
    value.opens_count = 2;
    value.opens[0] = (struct open_impression){.example_id = 5,
                                              .shown_at_ms = 1700000000500,
                                              .rows_count = 3,
                                              .rows = rows,
                                              .labels_count = 1,
                                              .labels = &label};
    value.opens[1] = (struct open_impression){
        .request = 0xfeed, .shown_at_ms = 1700000001000, .labels_count = 1, .labels = &label};
}

TEST(user_print_writes_json_that_reads_back)
{
    struct item_tables_options options = {0};
    struct item_tables *tables;
    char *buffer = malloc(USER_PRINT_BYTES);
    struct json_writer w;
    struct json_parser *parser = json_parser_create(1 << 16, 10000);
    const struct json_node *root;
    struct error err;

    fill();
    CHECK_STATUS(OK, item_tables_create(&tables, &options, &err));
    (void)item_tables_index(tables, 11, text_of("eleven \"quoted\""), 1);
    json_writer_init(&w, buffer, USER_PRINT_BYTES);
    CHECK(user_print_json(&w, text_of("u\n1"), &value, &rules, tables));
    CHECK(json_writer_ok(&w));
    buffer[w.used] = '\0';
    CHECK_STATUS(OK, json_parse(parser, json_writer_text(&w), &root, &err));
    CHECK(strstr(buffer, "\"user\":\"u\\n1\"") != NULL);
    CHECK(strstr(buffer, "\"running\":7") != NULL);
    CHECK(strstr(buffer, "\"partition\":3,\"log\":1,\"replayed\":true") != NULL);
    CHECK(strstr(buffer, "{\"time\":1700000000123,\"item\":\"eleven \\\"quoted\\\"\","
                         "\"action\":\"click\"}") != NULL);
    CHECK(strstr(buffer, "{\"time\":1700000001000,\"item\":\"#00000000000000ab\","
                         "\"action\":\"9\"}") != NULL);
    CHECK(strstr(buffer, "\"request\":null,\"rows\":[\"eleven") != NULL);
    CHECK(strstr(buffer, "\"request\":\"000000000000feed\",\"rows\":[]") != NULL);
    json_writer_init(&w, buffer, 100);
    CHECK(!user_print_json(&w, text_of("u1"), &value, &rules, NULL));
    json_parser_destroy(parser);
    item_tables_destroy(tables);
    free(buffer);
}

TEST(user_print_text_has_the_newest_first_and_no_control_characters)
{
    char *text = NULL;
    size_t bytes;
    FILE *file = open_memstream(&text, &bytes);

    fill();
    CHECK(file != NULL);
    user_print_text(file, text_of("u\033[31m"), &value, &rules, NULL, 1);
    CHECK_INT(0, fclose(file));
    CHECK(strchr(text, '\033') == NULL);
    CHECK(strstr(text, "user      u?[31m\n") != NULL);
    CHECK(strstr(text, "sequence  2 of 7 events") != NULL);
    CHECK(strstr(text, "2023-11-14T22:13:21.000Z  9          #00000000000000ab") != NULL);
    CHECK(strstr(text, "22:13:20.123Z") == NULL);
    CHECK(strstr(text, "and 1 older") != NULL);
    CHECK(strstr(text, "list not seen yet, request 000000000000feed: click #000000000000000c") !=
          NULL);
    CHECK(strstr(text, "list of 3: click #000000000000000c") != NULL);
    CHECK(strstr(text, "erased    never") != NULL);
    CHECK(strstr(text,
                 "kept      from 2023-11-14T22:13:22.000Z for features.ttl (a write renews it "
                 "once an eighth has gone)\nwriter    partition 3, log 1\n") != NULL);
    free(text);
}
