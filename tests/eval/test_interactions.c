/*
 * Tests eval/interactions: ugly files first, then what the header promises about forms, names
 * of columns, times and order.
 */
#include "eval/interactions.h"

#include "eval/interactions_line.h"
#include "ops/progress.h"
#include "tests/retrain/retrain_fixture.h"
#include "tests/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct interactions data;
static struct error err;

static enum status load(enum interactions_form form, const char *content, const char *map)
{
    struct interactions_options options = {.form = form, .map = map};
    char path[300];

    (void)snprintf(path, sizeof path, "%s/data", test_folder());
    retrain_write(path, content, strlen(content));
    interactions_clear(&data);
    progress_quiet(true);
    return interactions_load(&data, path, &options, &err);
}

TEST(interactions_refuse_files_without_anything_of_use)
{
    CHECK_STATUS(ERR_MALFORMED, load(INTERACTIONS_USER_ITEM, "", NULL));
    CHECK_STATUS(ERR_MALFORMED, load(INTERACTIONS_USER_ITEM, "\n \n\t\n", NULL));
    CHECK_STATUS(ERR_MALFORMED, load(INTERACTIONS_USER_ITEM, "alone\n", NULL));
    CHECK_STATUS(ERR_MALFORMED, load(INTERACTIONS_CSV, "user,item\n", NULL));
    CHECK_STATUS(ERR_MALFORMED, load(INTERACTIONS_CSV, "who,item\n1,2\n", NULL));
    CHECK(strstr(err.text, "user") != NULL && strstr(err.text, "who item") != NULL);
    CHECK_STATUS(ERR_MALFORMED, load(INTERACTIONS_CSV, "\"user,item\n1,2\n", NULL));
    CHECK_STATUS(ERR_CONFIG, load(INTERACTIONS_CSV, "a,b\n1,2\n", "user:a"));
    CHECK_STATUS(ERR_CONFIG, load(INTERACTIONS_CSV, "a,b\n1,2\n", "owner=a"));
    CHECK_STATUS(ERR_MALFORMED, load(INTERACTIONS_CSV, "a,b\n1,2\n", "user=c"));
    CHECK(data.count == 0 && data.start == NULL);
}

TEST(interactions_refuse_two_columns_of_one_name)
{
    CHECK_STATUS(ERR_MALFORMED, load(INTERACTIONS_CSV, "user,item,USER\n1,2,3\n", NULL));
    CHECK(strstr(err.text, "two columns are named \"USER\"") != NULL);
    CHECK_STATUS(ERR_MALFORMED, load(INTERACTIONS_CSV, "ts,user,item,ts\n1,2,3,4\n", NULL));
    CHECK_STATUS(ERR_MALFORMED, load(INTERACTIONS_CSV, "user,sku,sku\n1,2,3\n", "item=sku"));
    CHECK_STATUS(OK, load(INTERACTIONS_CSV, "user,item,x,x\n1,2,3,4\n", NULL)); /* not read */
    CHECK_STATUS(OK, load(INTERACTIONS_CSV, "uid,item,user,user\n1,2,3,4\n", "user=uid"));
    interactions_clear(&data);
}

TEST(interactions_number_users_and_items_as_they_come)
{
    CHECK_STATUS(OK, load(INTERACTIONS_USER_ITEM, "7 a\n9 b\n7 b\n7 a\n", NULL));
    CHECK_INT(2, data.users);
    CHECK_INT(3, data.items);
    CHECK_INT(4, data.count);
    CHECK(data.start[0] == 0 && data.start[1] == 3 && data.start[2] == 4);
    CHECK(data.item[0] == 1 && data.item[1] == 2 && data.item[2] == 1 && data.item[3] == 2);
    CHECK(data.user[2] == 0 && data.user[3] == 1);
    CHECK(!data.timed && data.time_ms[2] == 0);
    CHECK(data.order[1] == 2 && data.by_time[1] == 3);
    interactions_clear(&data);
}

TEST(interactions_take_pairs_however_they_are_separated)
{
    static const char *const files[] = {"1 2\n3 4\n",
                                        "1\t2\n3\t4\n",
                                        "  1   2  \r\n3 4",
                                        "1,2\n3,4\n",
                                        "1::2::5::9\n3::4::5\n",
                                        "1 2 rest of it\n3 4\n",
                                        "\xef\xbb\xbf"
                                        "1 2\n3 4\n"};

    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        CHECK_STATUS(OK, load(INTERACTIONS_USER_ITEM, files[i], NULL));
        CHECK_INT(2, data.count);
        CHECK_INT(0, data.refused);
        CHECK_INT(3, data.items);
    }
    interactions_clear(&data);
}

TEST(interactions_find_csv_columns_by_their_usual_names)
{
    static const char *const files[] = {
        "ts,user,item\n20,u,b\n10,u,a\n",
        "rating,timestamp,movieId,userId,x\n5,20,b,u,\n5,10,a,u,?\n",
        "user_id;note;item_id;time\nu;\"a;b\"\"c\";b;20\nu;;a;10\n",
        "reviewerID\tasin\tunixReviewTime\nu\tb\t20\nu\ta\t10\n",
    };

    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        CHECK_STATUS(OK, load(INTERACTIONS_CSV, files[i], ""));
        CHECK_INT(2, data.count);
        CHECK(data.timed && data.time_ms[0] == 10000 && data.time_ms[1] == 20000);
        CHECK(data.item[0] == 2 && data.item[1] == 1); /* numbered by line, ordered by time */
    }
    CHECK_STATUS(OK, load(INTERACTIONS_CSV, "sku,buyer,item\n1,2,3\n", "user=buyer,item=sku"));
    CHECK(!data.timed);
    CHECK_STATUS(OK, load(INTERACTIONS_CSV, "user,item\nu,a\nu,b\n", NULL));
    CHECK(!data.timed && data.item[0] == 1);
    interactions_clear(&data);
}

TEST(interactions_tell_a_file_of_another_form)
{
    CHECK_STATUS(ERR_MALFORMED,
                 load(INTERACTIONS_USER_ITEM, "{\"type\":\"click\", \"user\": \"u\"}\n", NULL));
    CHECK(strstr(err.text, "--format jsonl") != NULL);
    CHECK_STATUS(ERR_MALFORMED,
                 load(INTERACTIONS_USER_ITEM, "ts,user,item,rating\n5,u,a,1\n", NULL));
    CHECK(strstr(err.text, "--format csv") != NULL);
    CHECK_STATUS(ERR_MALFORMED,
                 load(INTERACTIONS_USER_ITEM, "u a\nx\nx\nx\nx\nx\nx\nx\nx\nx\nx\nx\n", NULL));
    CHECK(strstr(err.text, "11 lines are not in the form that --format names, 1 are") != NULL);
}

TEST(interactions_count_lines_that_cannot_be_used)
{
    CHECK_STATUS(OK, load(INTERACTIONS_CSV,
                          "user,item,ts\nu,a,5\n,a,5\nu,,5\nu,a,never\nu,a\n\"u,a,5\nu,b,6,7,8\n",
                          NULL));
    CHECK_INT(2, data.count);
    CHECK_INT(5, data.refused);
    interactions_clear(&data);
}

TEST(interactions_of_one_time_keep_the_order_of_their_lines)
{
    CHECK_STATUS(OK, load(INTERACTIONS_CSV,
                          "user,item,ts\nu,a,9\nv,a,5\nu,b,5\nu,c,5\nv,d,5\nu,e,1\n", NULL));
    CHECK(data.item[0] == 5 && data.item[1] == 2 && data.item[2] == 3 && data.item[3] == 1);
    CHECK(data.order[0] == 0 && data.order[3] == 5);
    interactions_clear(&data);
}

TEST(interactions_read_times_as_data_sets_have_them)
{
    static const struct {
        const char *text;
        int64_t ms;
    } times[] = {{"0", 0},
                 {"17", 17000},
                 {"978300760", 978300760000},
                 {"874724710.5", 874724710500},
                 {"1362062307000", 1362062307000},
                 {"1362062307000000", 1362062307000},
                 {"1362062307000000000", 1362062307000},
                 {"2013-02-28", 1362009600000},
                 {"2013-02-28 14:38:27", 1362062307000},
                 {"2013-02-28T14:38:27Z", 1362062307000},
                 {"2013-02-28T15:38:27+01:00", 1362062307000}};
    static const char *const bad[] = {
        "",     "x",          "12x", "-1",  "-1362062307", "9999999999999999", "1901-02-03",
        "2013", "2013-13-01", "nan", "inf", "1e99",        "2013-02-28T25:00"};
    int64_t ms;

    for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
        CHECK(interactions_time(text_of(times[i].text), &ms));
        CHECK_INT(times[i].ms, ms);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK(strcmp(bad[i], "2013") == 0 || !interactions_time(text_of(bad[i]), &ms));
}

TEST(interactions_survive_every_truncation)
{
    static const char whole[] = "user,\"item\",ts\n\"u\"\"1\",a,5\nu2,\"b,c\",2013-02-28\n";
    char cut[sizeof whole];

    for (size_t bytes = 0; bytes < sizeof whole - 1; bytes++) {
        enum status status;

        memcpy(cut, whole, bytes);
        cut[bytes] = 0;
        status = load(INTERACTIONS_CSV, cut, NULL);
        CHECK(status == OK || status == ERR_MALFORMED);
        CHECK((status == OK) == (data.count > 0));
    }
    interactions_clear(&data);
}

TEST(interactions_print_knows_the_data_again)
{
    uint64_t print;

    CHECK_STATUS(OK, load(INTERACTIONS_USER_ITEM, "1 2\n3 4\n", NULL));
    print = data.print;
    CHECK_STATUS(OK, load(INTERACTIONS_USER_ITEM, "1 2\n3 4\n\n", NULL));
    CHECK(print == data.print);
    CHECK_STATUS(OK, load(INTERACTIONS_USER_ITEM, "1 2\n3 2\n", NULL));
    CHECK(print != data.print);
    interactions_clear(&data);
}
