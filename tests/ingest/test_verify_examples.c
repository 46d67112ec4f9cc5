/* Tests ingest/verify_examples: what counts as the same examples, and what does not. */
#include "ingest/verify_examples.h"

#include "schemas/example.h"
#include "tests/test.h"

#include <string.h>

static struct verify_examples *examples;
static struct verify_examples_counts counts;
static struct error err;
static uint8_t bytes[EXAMPLE_BYTES_MAX];
static int told, apart;
static uint64_t unjudged_user;

static bool wanted(void *context, uint64_t user)
{
    (void)context;
    return user != 99;
}

static bool judged(void *context, uint64_t user)
{
    (void)context;
    return user != unjudged_user;
}

static void tell(void *context, uint64_t user, const char *what)
{
    (void)context;
    (void)user;
    CHECK(what[0] != '\0');
    told++;
}

static void differs(void *context, uint64_t user)
{
    (void)context;
    (void)user;
    apart++;
}

static void begin(void)
{
    const struct verify_examples_judge judge = {wanted, judged, tell, differs, NULL};

    told = apart = 0;
    unjudged_user = 0;
    CHECK_STATUS(OK, verify_examples_create(&examples, &judge, &err));
}

/* Compares; the counts are then there to be looked at. */
static void end(bool cut)
{
    counts = (struct verify_examples_counts){0};
    verify_examples_compare(examples, cut, &counts);
    verify_examples_destroy(examples);
}

static struct text encoded(const struct example *example)
{
    size_t count = example_encode(example, bytes, sizeof bytes);

    CHECK(count > 0);
    return (struct text){(const char *)bytes, count};
}

static struct text shown(uint64_t id, uint64_t user, int64_t time_ms, int64_t history_ms)
{
    static const uint64_t rows[] = {7, 8};
    static struct user_entry entry;
    struct example example = {.kind = EXAMPLE_SHOWN,
                              .id = id,
                              .user = user,
                              .time_ms = time_ms,
                              .request_time_ms = time_ms,
                              .rows_count = 2,
                              .rows = rows,
                              .history = &entry};

    entry = (struct user_entry){.item = 5, .time_ms = history_ms, .action = 2};
    example.history_count = history_ms > 0;
    return encoded(&example);
}

static struct text label(uint64_t id, uint64_t user, int row, int action)
{
    return encoded(&(struct example){.kind = EXAMPLE_LABEL,
                                     .id = id,
                                     .user = user,
                                     .time_ms = 1500,
                                     .shown_at_ms = 1000,
                                     .row = row,
                                     .action = (uint8_t)action,
                                     .labels_count = 1});
}

static struct text erased(uint64_t user, int64_t time_ms)
{
    return encoded(&(struct example){.kind = EXAMPLE_ERASE, .user = user, .time_ms = time_ms});
}

static void want(struct text row)
{
    CHECK_STATUS(OK, verify_examples_want(examples, row, &err));
}

static void got(struct text row)
{
    CHECK_STATUS(OK, verify_examples_got(examples, row, &err));
}

TEST(verify_examples_unite_labels_in_any_order_and_number)
{
    begin();
    want(shown(1, 10, 1000, 0));
    want(label(1, 10, 0, 2));
    want(label(1, 10, 1, 3));
    for (int again = 0; again < 3; again++) {
        got(label(1, 10, 1, 3));
        got(shown(1, 10, 1000, 0));
        got(label(1, 10, 0, 2));
    }
    got(shown(5, 99, 1000, 0)); /* of another pass */
    end(false);
    CHECK_INT(1, counts.equal);
    CHECK_INT(1, counts.examples);
    CHECK_INT(2, counts.labels);
    CHECK_INT(0, counts.unknown + counts.missing + counts.different + told);
}

TEST(verify_examples_see_each_difference)
{
    begin();
    want(shown(1, 10, 1000, 0)); /* lost */
    want(shown(2, 10, 1000, 0)); /* its label was lost */
    want(label(2, 10, 0, 2));
    got(shown(2, 10, 1000, 0));
    want(shown(3, 10, 1000, 0)); /* a label too much */
    got(shown(3, 10, 1000, 0));
    got(label(3, 10, 0, 2));
    want(shown(4, 10, 1000, 0)); /* another history */
    got(shown(4, 10, 1000, 900));
    got(shown(5, 10, 1000, 0)); /* nobody emits it */
    got(label(6, 10, 0, 2));    /* nor the list of this label */
    want(erased(11, 50));       /* an erasure that never went out */
    end(false);
    CHECK_INT(2, counts.missing);
    CHECK_INT(3, counts.different);
    CHECK_INT(2, counts.unknown);
    CHECK_INT(0, counts.equal);
    CHECK_INT(8, told);  /* of the other history both */
    CHECK_INT(7, apart); /* each once */
}

TEST(verify_examples_forgive_what_was_erased_and_nothing_younger)
{
    begin();
    want(erased(10, 1000));
    got(erased(10, 1000));
    want(shown(1, 10, 1000, 0));   /* at the erasure's own time */
    want(shown(2, 10, 1001, 0));   /* after it */
    want(shown(3, 10, 1001, 999)); /* after it, with a history of before */
    want(shown(4, 11, 1000, 0));   /* another user's */
    end(false);
    CHECK_INT(1, counts.equal);
    CHECK_INT(2, counts.forgotten);
    CHECK_INT(2, counts.missing);
}

TEST(verify_examples_do_not_judge_what_they_cannot)
{
    begin();
    unjudged_user = 12;
    want(shown(1, 12, 1000, 0));
    got(shown(2, 12, 1000, 0));
    want(shown(3, 10, 1000, 0)); /* retention took it */
    want(shown(4, 10, 1000, 0));
    want(label(4, 10, 0, 2)); /* and this */
    got(shown(4, 10, 1000, 0));
    got(shown(5, 10, 1000, 0)); /* but too much is too much */
    end(true);
    CHECK_INT(3, counts.unjudged);
    CHECK_INT(1, counts.equal);
    CHECK_INT(1, counts.unknown);
    CHECK_INT(0, counts.missing + counts.different);
}

TEST(verify_examples_refuse_what_is_no_example)
{
    struct text row;

    begin();
    row = shown(1, 10, 1000, 0);
    row.bytes--;
    CHECK_STATUS(ERR_MALFORMED, verify_examples_got(examples, row, &err));
    CHECK_STATUS(ERR_MALFORMED, verify_examples_got(examples, (struct text){0}, &err));
    end(false);
    CHECK_INT(0, counts.examples);
}
