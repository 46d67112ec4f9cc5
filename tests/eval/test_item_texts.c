/* Tests eval/item_texts: the same items from every form, and files that say nothing. */
#include "eval/item_texts.h"

#include "tests/retrain/retrain_fixture.h"
#include "tests/test.h"

#include <stdio.h>
#include <string.h>

static char taken[4000];
static struct item_texts_count count;
static struct error err;

static enum status note(void *context, const struct item *item, struct error *ignored)
{
    (void)context;
    (void)ignored;
    (void)snprintf(taken + strlen(taken), sizeof taken - strlen(taken), "%.*s|%.*s|%.*s%s\n",
                   TEXT_ARGS(item->item), TEXT_ARGS(item->category), TEXT_ARGS(item->text),
                   item->gone ? " gone" : "");
    return OK;
}

static enum status read_content(const char *content)
{
    char path[300];
    FILE *file;

    (void)snprintf(path, sizeof path, "%s/items", test_folder());
    file = fopen(path, "w");
    CHECK(file != NULL);
    CHECK(fputs(content, file) >= 0 && fclose(file) == 0);
    taken[0] = 0;
    return item_texts_read(path, note, NULL, &count, &err);
}

TEST(item_texts_are_read_from_json_lines)
{
    CHECK_STATUS(OK, read_content("{\"item\":\"a\",\"category\":\"c\",\"text\":\"red shoe\"}\n\n"
                                  "not json\n{\"item\":7}\n"));
    CHECK_TEXT("a|c|red shoe\n7||\n", taken);
    CHECK_INT(2, count.items);
    CHECK_INT(1, count.refused);
}

TEST(item_texts_are_read_from_lines_with_colons)
{
    CHECK_STATUS(OK, read_content("1::Heat (1995)::Crime|Drama\r\n::nothing\n2::\nno colons\n"));
    CHECK_TEXT("1||Heat (1995)::Crime|Drama\n2||\n", taken);
    CHECK_INT(2, count.refused);
}

TEST(item_texts_are_read_from_csv)
{
    CHECK_STATUS(OK, read_content("title,Item,category,extra\n"
                                  "\"red, \"\"big\"\" shoe\",a,shoes,x\nhat,b\n,\"\",,\nalone\n"));
    CHECK_TEXT("a|shoes|red, \"big\" shoe x \nb||hat \n", taken);
    CHECK_INT(2, count.items);
    CHECK_INT(2, count.refused);
}

TEST(item_texts_of_nothing_are_refused)
{
    CHECK_STATUS(ERR_MALFORMED, read_content(""));
    CHECK_STATUS(ERR_MALFORMED, read_content("item,text\n"));
    CHECK_STATUS(ERR_MALFORMED, read_content("{\"no\":1}\n"));
    CHECK_STATUS(ERR_NOT_FOUND, item_texts_read("no/such/file", note, NULL, &count, &err));
}
