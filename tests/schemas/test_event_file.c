/*
 * Tests schemas/event_file: the three forms, what is refused of them and on which line, that lines
 * of one user and time keep their order, and the real file committed under tests/data.
 */
#include "schemas/event_file.h"

#include "tests/test.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#define MOVIETWEETINGS "tests/data/movietweetings/movietweetings100k_events.csv.gz"

static char path[128];
static struct event_schema *schema;
static struct event_file *file;
static struct event event;
static enum refusal why;
static struct error err;
static bool more;

static void start(void)
{
    CHECK_STATUS(OK, event_schema_default(&schema, &err));
}

static void stop(void)
{
    event_file_close(file);
    file = NULL;
    event_schema_destroy(schema);
}

static enum status open_text(const char *text, const struct event_file_options *options)
{
    static const struct event_file_options none;
    FILE *out;

    (void)snprintf(path, sizeof path, "%s/events", test_folder());
    out = fopen(path, "wb");
    CHECK(out != NULL && fwrite(text, 1, strlen(text), out) == strlen(text) && fclose(out) == 0);
    event_file_close(file);
    return event_file_open(&file, path, schema, options == NULL ? &none : options, &err);
}

static enum status next(void)
{
    return event_file_next(file, &event, &more, &why, &err);
}

static void check_event(const char *user, const char *item, int action, int64_t time_ms)
{
    CHECK_STATUS(OK, next());
    CHECK(more && why == REFUSAL_NONE);
    CHECK(text_equal(event.user, text_of(user)) && text_equal(event.item, text_of(item)));
    CHECK_INT(action, event.action);
    CHECK_INT(time_ms, event.time_ms);
}

static void check_refusal(enum refusal want, uint64_t line)
{
    CHECK(next() != OK);
    CHECK(more && event.user.at == NULL);
    CHECK_INT(want, why);
    CHECK_INT((int64_t)line, (int64_t)event_file_line(file));
}

static void check_end(void)
{
    for (int i = 0; i < 2; i++) {
        CHECK_STATUS(OK, next());
        CHECK(!more && event.user.at == NULL);
    }
}

TEST(event_file_reads_jsonl_by_the_mapping_and_goes_on_after_a_bad_line)
{
    start();
    CHECK_STATUS(OK, open_text("\xef\xbb\xbf{\"user\":\"u\",\"item\":\"i\",\"type\":\"click\","
                               "\"ts\":1700000000000}\n\n  \nnonsense\n"
                               "{\"user\":\"u\",\"item\":\"i\",\"type\":\"click\","
                               "\"ts\":1700000000000}",
                               NULL));
    CHECK_INT(EVENT_FILE_JSONL, event_file_form(file));
    check_event("u", "i", 2, 1700000000000);
    check_refusal(REFUSAL_NOT_JSON, 4);
    CHECK(text_equal(event_file_text(file), text_of("nonsense")));
    check_event("u", "i", 2, 1700000000000); /* times in ms are kept: it is a duplicate */
    check_end();
    stop();
}

TEST(event_file_reads_csv_with_rating_as_rate_and_without_as_click)
{
    start();
    CHECK_STATUS(OK, open_text("ts,user,item,rating\r\n1362062307,12620,2171847,6\r\n", NULL));
    CHECK_INT(EVENT_FILE_CSV, event_file_form(file));
    check_event("12620", "2171847", 7, 1362062307000);
    check_end();
    CHECK_STATUS(OK, open_text("ts,user,item\n1291191960,17850,85123A\n", NULL));
    check_event("17850", "85123A", 2, 1291191960000);
    check_end();
    stop();
}

TEST(event_file_spreads_lines_of_one_user_and_time)
{
    start();
    CHECK_STATUS(OK, open_text("ts,user,item\n1291191960,a,1\n1291191960,a,2\n1291191960,b,3\n"
                               "1291191960,a,1\n1291191961,a,4\n1291191961,a,5\n",
                               NULL));
    check_event("a", "1", 2, 1291191960000);
    check_event("a", "2", 2, 1291191960001);
    check_event("b", "3", 2, 1291191960000);
    check_event("a", "1", 2, 1291191960002);
    check_event("a", "4", 2, 1291191961000);
    check_event("a", "5", 2, 1291191961001);
    check_end();
    stop();
}

TEST(event_file_maps_columns_units_and_actions)
{
    struct event_file_options options = {
        .map = "ts=when,user=who,item=what,action=did", .unit = "iso", .action = "view"};

    start();
    CHECK_STATUS(OK, open_text("what;who;did;when\n"
                               "\"a; \"\"b\"\"\";u1;purchase;2023-11-14T22:13:20Z\n"
                               "x;u2;;2023-11-14T22:13:20Z\n"
                               "x;u2;dance;2023-11-14T22:13:20Z\n"
                               "x;u2;impression;2023-11-14T22:13:21Z\n"
                               ";u2;erase;2023-11-14T22:13:22Z\n",
                               &options));
    check_event("u1", "a; \"b\"", 4, 1700000000000);
    check_event("u2", "x", 1, 1700000000000);
    check_refusal(REFUSAL_UNKNOWN_ACTION, 4);
    CHECK_STATUS(OK, next());
    CHECK(event.kind == EVENT_IMPRESSION && event.rows_count == 1 &&
          text_equal(event.rows[0], text_of("x")));
    CHECK_STATUS(OK, next());
    CHECK(event.kind == EVENT_ERASE);
    check_end();
    stop();
}

TEST(event_file_refuses_lines_of_csv_that_are_no_events)
{
    start();
    CHECK_STATUS(OK, open_text("ts\tuser\titem\n"
                               "1700000000\tu\ti\n"
                               "1700000000\t\ti\n"
                               "1700000000\tu\n"
                               "\tu\ti\n"
                               "x\tu\ti\n"
                               "1700000000x\tu\ti\n"
                               "nan\tu\ti\n"
                               "0x10\tu\ti\n"
                               "-1700000000\tu\ti\n"
                               "1700000000000\tu\ti\n"
                               "99999999999999999999\tu\ti\n"
                               "5\tu\ti\n"
                               "1700000000\t\"u\ti\n"
                               "1700000000\t\"u\"v\ti\n"
                               "1700000000\tu\xff\ti\n"
                               "1700000000\tu\t\xed\xa0\x80\n"
                               "1700000000.25\tu\ti\tmore\tand more\n",
                               NULL));
    check_event("u", "i", 2, 1700000000000);
    check_refusal(REFUSAL_NO_USER, 3);
    check_refusal(REFUSAL_NO_ITEM, 4);
    check_refusal(REFUSAL_NO_TIME, 5);
    check_refusal(REFUSAL_BAD_TIME, 6);
    check_refusal(REFUSAL_BAD_TIME, 7);
    check_refusal(REFUSAL_BAD_TIME, 8);
    check_refusal(REFUSAL_BAD_TIME, 9);
    check_refusal(REFUSAL_BAD_TIME, 10);
    check_refusal(REFUSAL_FUTURE_TIME, 11);
    check_refusal(REFUSAL_FUTURE_TIME, 12);
    check_refusal(REFUSAL_BAD_TIME, 13);
    check_refusal(REFUSAL_NOT_CSV, 14);
    check_refusal(REFUSAL_NOT_CSV, 15);
    check_refusal(REFUSAL_BAD_USER, 16);
    check_refusal(REFUSAL_BAD_ITEM, 17);
    check_event("u", "i", 2, 1700000000250);
    check_end();
    stop();
}

TEST(event_file_reads_pairs_in_their_order)
{
    struct event_file_options purchases = {.action = "purchase"};

    start();
    CHECK_STATUS(OK, open_text("1 10\n1\t11\n\n  2 10  \n1 2 3\n", &purchases));
    CHECK_INT(EVENT_FILE_PAIRS, event_file_form(file));
    check_event("1", "10", 4, EVENT_TIME_MIN_MS + 1000);
    check_event("1", "11", 4, EVENT_TIME_MIN_MS + 2000);
    check_event("2", "10", 4, EVENT_TIME_MIN_MS + 4000);
    check_refusal(REFUSAL_NOT_CSV, 5);
    check_end();
    stop();
}

TEST(event_file_open_says_what_is_wrong)
{
    struct event_file_options options = {.map = "ts=when"};

    start();
    CHECK_STATUS(ERR_MALFORMED, open_text("time,user,item\n", NULL));
    CHECK(strstr(err.text, "no column \"ts\"") != NULL && strstr(err.text, "time user item"));
    CHECK_STATUS(ERR_MALFORMED, open_text("ts,user,item,action,user\n", NULL));
    CHECK(strstr(err.text, "two columns are named \"user\"") != NULL);
    CHECK_STATUS(OK, open_text("ts,user,item,x,x\n", NULL)); /* not read */
    CHECK_STATUS(ERR_MALFORMED, open_text("what is this file\n", NULL));
    CHECK_STATUS(ERR_MALFORMED, open_text("user\titem\n", NULL));
    CHECK_STATUS(ERR_MALFORMED, open_text("\"ts,user,item\n", NULL));
    CHECK_STATUS(ERR_MALFORMED, open_text("ts,user,item\n", &options));
    options.map = "time=when";
    CHECK_STATUS(ERR_CONFIG, open_text("ts,user,item\n", &options));
    options.map = "ts";
    CHECK_STATUS(ERR_CONFIG, open_text("ts,user,item\n", &options));
    options = (struct event_file_options){.unit = "hours"};
    CHECK_STATUS(ERR_CONFIG, open_text("ts,user,item\n", &options));
    options = (struct event_file_options){.action = "dance"};
    CHECK_STATUS(ERR_CONFIG, open_text("ts,user,item\n", &options));
    CHECK_STATUS(ERR_NOT_FOUND, event_file_open(&file, "/nowhere", schema, &options, &err));
    CHECK(file == NULL);
    CHECK_STATUS(OK, open_text("", NULL));
    check_end();
    stop();
}

TEST(event_file_passes_over_a_line_that_is_too_long)
{
    static char text[EVENT_BYTES_MAX + 100];

    start();
    memset(text, 'x', sizeof text - 1);
    memcpy(text, "1 2\n", 4);
    memcpy(text + sizeof text - 6, "\n3 4\n", 5);
    CHECK_STATUS(OK, open_text(text, NULL));
    check_event("1", "2", 2, EVENT_TIME_MIN_MS + 1000);
    check_refusal(REFUSAL_OVERSIZE, 2);
    check_event("3", "4", 2, EVENT_TIME_MIN_MS + 3000);
    check_end();
    stop();
}

TEST(event_file_of_damaged_gzip_ends_with_an_error_that_is_no_refusal)
{
    static char text[20000];
    unsigned char packed[20000];
    uLongf bytes;
    gzFile out;
    enum status status = OK;
    FILE *raw;

    start();
    for (size_t i = 0; i + 8 < sizeof text; i += 8)
        (void)snprintf(text + i, 9, "%03zu %03zu\n", i % 997, i % 499);
    (void)snprintf(path, sizeof path, "%s/events.gz", test_folder());
    out = gzopen(path, "wb");
    CHECK(out != NULL && gzwrite(out, text, sizeof text - 16) > 0 && gzclose(out) == Z_OK);
    raw = fopen(path, "rb");
    bytes = fread(packed, 1, sizeof packed, raw);
    CHECK(fclose(raw) == 0);
    CHECK(truncate(path, (off_t)bytes / 2) == 0);
    CHECK_STATUS(OK, event_file_open(&file, path, schema, &(struct event_file_options){0}, &err));
    for (more = true; more && status == OK;)
        status = next();
    CHECK_STATUS(ERR_CORRUPT, status);
    CHECK_INT(REFUSAL_NONE, why);
    stop();
}

TEST(event_file_reads_movietweetings)
{
    struct event_file_options options = {0};
    int64_t events = 0, last_ms = 0, spread = 0;

    start();
    CHECK_STATUS(OK, event_file_open(&file, MOVIETWEETINGS, schema, &options, &err));
    CHECK_STATUS(OK, next());
    CHECK(text_equal(event.user, text_of("12620")) && event.time_ms == 1362062307000);
    for (; more; events++) {
        CHECK(event.action == 7 && event.time_ms / 1000 >= last_ms / 1000);
        last_ms = event.time_ms;
        spread += event.time_ms % 1000 != 0;
        CHECK_STATUS(OK, next());
    }
    CHECK_INT(100000, events);
    CHECK(spread > 0);
    CHECK_NEAR(1, event_file_fraction(file), 1e-9);
    stop();
}
