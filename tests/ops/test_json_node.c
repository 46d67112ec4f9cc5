/* Tests ops/json_node: members, the last of equal ones, and what is given for everything else. */
#include "ops/json.h"

#include "tests/test.h"

TEST(json_node_gives_what_is_there_and_else_the_other)
{
    struct json_parser *parser = json_parser_create(1 << 12, 64);
    const struct json_node *root;
    struct error err;

    CHECK(parser != NULL);
    CHECK_STATUS(OK, json_parse(parser,
                                text_of("{\"i\":7,\"r\":1.5,\"t\":\"x\",\"o\":{\"i\":9},"
                                        "\"n\":null,\"i\":8,\"big\":1e30}"),
                                &root, &err));
    CHECK_INT(8, json_int_or(json_member(root, "i"), 1)); /* the last counts */
    CHECK_INT(9, json_int_or(json_member(json_member(root, "o"), "i"), 1));
    CHECK_INT(1, json_int_or(json_member(json_member(root, "none"), "i"), 1));
    CHECK_INT(1, json_int_or(json_member(root, "t"), 1));
    CHECK_INT(1, json_int_or(json_member(root, "r"), 1));
    CHECK_NEAR(1.5, json_real_or(json_member(root, "r"), 0), 0);
    CHECK_NEAR(8, json_real_or(json_member(root, "i"), 0), 0);
    CHECK_NEAR(1e30, json_real_or(json_member(root, "big"), 0), 0);
    CHECK_NEAR(2, json_real_or(json_member(root, "n"), 2), 0);
    CHECK_NEAR(2, json_real_or(NULL, 2), 0);
    CHECK(text_equal(json_text_or(json_member(root, "t"), "y"), text_of("x")));
    CHECK(text_equal(json_text_or(json_member(root, "i"), "y"), text_of("y")));
    CHECK(text_equal(json_text_or(NULL, ""), text_of("")));
    CHECK(json_member(json_member(root, "t"), "x") == NULL && json_member(NULL, "x") == NULL);
    json_parser_destroy(parser);
}

TEST(json_tree_is_as_deep_as_its_parser_may_go)
{
    struct json_parser *parser = json_parser_create(1 << 12, 600);
    const struct json_node *root;
    struct error err;
    char json[2 * JSON_TREE_DEPTH_MAX + 3];

    CHECK(parser != NULL);
    memset(json, '[', sizeof json);
    memset(json + JSON_TREE_DEPTH_MAX, ']', JSON_TREE_DEPTH_MAX);
    CHECK_STATUS(ERR_LIMIT,
                 json_parse(parser, (struct text){json, 2 * JSON_TREE_DEPTH_MAX}, &root, &err));
    json_parser_set_depth(parser, JSON_TREE_DEPTH_MAX);
    CHECK_STATUS(OK, json_parse(parser, (struct text){json, 2 * JSON_TREE_DEPTH_MAX}, &root, &err));
    json_parser_set_depth(parser, JSON_TREE_DEPTH_MAX - 1);
    CHECK_STATUS(ERR_LIMIT,
                 json_parse(parser, (struct text){json, 2 * JSON_TREE_DEPTH_MAX}, &root, &err));
    json_parser_destroy(parser);
}
