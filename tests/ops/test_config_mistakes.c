/* Tests ops/config_mistakes: order, the bound, and lines. */
#include "ops/config_mistakes.h"

#include "tests/test.h"

#include <stdlib.h>
#include <string.h>

TEST(config_mistakes_are_sorted_by_place_and_those_without_one_come_last)
{
    struct config_mistakes mistakes = {0};
    char *text;

    CHECK(config_mistakes_text(&mistakes, "") == NULL);
    config_mistakes_add(&mistakes, (struct config_place){"--set", 0, 0}, "b", "of %s", "a flag");
    config_mistakes_add(&mistakes, (struct config_place){"f.yaml", 9, 2}, "c", "late");
    config_mistakes_add(&mistakes, (struct config_place){"f.yaml", 3, 7}, "a", "right");
    config_mistakes_add(&mistakes, (struct config_place){"f.yaml", 3, 1}, "a", "left");
    config_mistakes_add(&mistakes, (struct config_place){"FRESHET_X", 0, 0}, "", "of a variable");
    CHECK(config_mistakes_of(&mistakes, "a", 3) && !config_mistakes_of(&mistakes, "a", 2));
    CHECK(!config_mistakes_of(&mistakes, "d", mistakes.kept));
    config_mistakes_sort(&mistakes);
    text = config_mistakes_text(&mistakes, "");
    CHECK_TEXT("f.yaml:3:1: left\nf.yaml:3:7: right\nf.yaml:9:2: late\n--set: of a flag\n"
               "FRESHET_X: of a variable\n",
               text);
    free(text);
    config_mistakes_clear(&mistakes);
    CHECK(mistakes.list == NULL && mistakes.count == 0);
    config_mistakes_sort(&mistakes);
    config_mistakes_clear(&mistakes);
}

TEST(config_mistakes_beyond_the_bound_are_counted)
{
    struct config_mistakes mistakes = {0};
    char *text;

    for (int i = 0; i < CONFIG_MISTAKES_MAX + 7; i++)
        config_mistakes_add(&mistakes, (struct config_place){"f", i + 1, 1}, "", "%d", i);
    CHECK_INT(CONFIG_MISTAKES_MAX, mistakes.kept);
    CHECK_INT(CONFIG_MISTAKES_MAX + 7, mistakes.count);
    text = config_mistakes_text(&mistakes, "");
    CHECK(strstr(text, "f:100:1: 99\n... and 7 more\n") != NULL);
    free(text);
    config_mistakes_clear(&mistakes);
}
