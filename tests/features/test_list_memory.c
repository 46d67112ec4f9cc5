/* Tests features/list_memory: which lists are one, and for how long that is known. */
#include "features/list_memory.h"

#include "tests/features/rules_user.h"
#include "tests/test.h"

static uint64_t id_of(const char *user, const char *request, int64_t time_ms, const char *row)
{
    static struct rules rules;
    struct text rows[] = {text_of("a"), text_of(row)};
    struct event event = {.kind = EVENT_IMPRESSION,
                          .user = text_of(user),
                          .request_id = text_of(request),
                          .time_ms = time_ms,
                          .rows = rows,
                          .rows_count = 2};

    rules = rules_of_test();
    return list_memory_id(&rules, &event);
}

TEST(list_memory_takes_a_request_or_time_and_rows_as_identity)
{
    CHECK(id_of("u", "r", 1, "b") == id_of("u", "r", 2, "c"));
    CHECK(id_of("u", "r", 1, "b") != id_of("v", "r", 1, "b"));
    CHECK(id_of("u", "r", 1, "b") != id_of("u", "s", 1, "b"));
    CHECK(id_of("u", "", 1, "b") == id_of("u", "", 1, "b"));
    CHECK(id_of("u", "", 1, "b") != id_of("u", "", 2, "b"));
    CHECK(id_of("u", "", 1, "b") != id_of("u", "", 1, "c"));
}

TEST(list_memory_knows_the_last_lists_and_no_older_ones)
{
    struct list_memory memory = {0};

    for (uint64_t id = 1; id <= LIST_MEMORY_MAX; id++)
        CHECK(list_memory_new(&memory, id));
    for (uint64_t id = 1; id <= LIST_MEMORY_MAX; id++)
        CHECK(!list_memory_new(&memory, id));
    CHECK(list_memory_new(&memory, 100));
    CHECK(list_memory_new(&memory, 1));
    CHECK(!list_memory_new(&memory, 100));
}
