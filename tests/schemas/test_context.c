/* Tests schemas/context: names as configurations have them, and codes of values. */
#include "schemas/context.h"

#include "tests/test.h"

#include <stdio.h>
#include <string.h>

static struct context_names names;
static struct error err;

TEST(context_names_are_read_in_their_order)
{
    int32_t print;

    CHECK_STATUS(OK, context_names_parse(&names, "", &err));
    CHECK_INT(0, names.count);
    CHECK_INT(0, names.print);
    CHECK_STATUS(OK, context_names_parse(&names, "surface, device_2  app-x", &err));
    CHECK_INT(3, names.count);
    CHECK_TEXT("surface", names.names[0]);
    CHECK_TEXT("device_2", names.names[1]);
    CHECK_TEXT("app-x", names.names[2]);
    print = names.print;
    CHECK(print > 0);
    CHECK_STATUS(OK, context_names_parse(&names, "surface,device_2,app-x", &err));
    CHECK_INT(print, names.print);
    CHECK_STATUS(OK, context_names_parse(&names, "device_2 surface app-x", &err));
    CHECK(names.print != print);
    CHECK_STATUS(OK, context_names_parse(&names, "surface device_2", &err));
    CHECK(names.print != print);
}

TEST(context_names_that_cannot_be_are_refused)
{
    static const char *const cases[] = {"a b c d e", "a/b", "a a",
                                        "a2345678901234567890123456789012", "\"a\""};

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        CHECK_STATUS(ERR_CONFIG, context_names_parse(&names, cases[i], &err));
        CHECK(names.count == 0 && names.print == 0);
    }
}

TEST(context_codes_lie_within_their_table)
{
    int seen[BATCH_CONTEXT_CODES] = {0};
    int different = 0;

    CHECK_INT(0, context_code(text_of("")));
    for (int i = 0; i < 2000; i++) {
        char value[16];
        int32_t code;

        (void)snprintf(value, sizeof value, "v%d", i);
        code = context_code(text_of(value));
        CHECK(code >= 1 && code < BATCH_CONTEXT_CODES);
        CHECK_INT(code, context_code(text_of(value)));
        seen[code] = 1;
    }
    for (int i = 0; i < BATCH_CONTEXT_CODES; i++)
        different += seen[i];
    CHECK_INT(BATCH_CONTEXT_CODES - 1, different);
}
