/* Tests machine/letters: what a commit waits for, in any order of delivery, over many growths. */
#include "machine/letters.h"

#include "tests/test.h"

#include <string.h>

static uint64_t add(struct letters *letters, int64_t offset, struct text head)
{
    return letters_add(letters, 3, offset, 1000 + offset, REFUSAL_BAD_TIME, head, head.bytes);
}

TEST(letters_are_delivered_only_when_all_before_are)
{
    struct letters letters;
    struct machine_letter letter;
    struct error err;

    CHECK_STATUS(OK, letters_init(&letters, &err));
    CHECK(letters_delivered_to(&letters, 0));
    for (int64_t i = 1; i <= 3; i++)
        CHECK_INT(i, (int64_t)add(&letters, i, text_of("x")));
    CHECK(!letters_delivered_to(&letters, 1));
    for (int i = 0; i < 3; i++)
        CHECK(letters_take(&letters, 1000, &letter));
    CHECK(!letters_take(&letters, 1000, &letter));
    letters_deliver(&letters, 3);
    letters_deliver(&letters, 2);
    CHECK(!letters_delivered_to(&letters, 3));
    letters_deliver(&letters, 1);
    CHECK(letters_delivered_to(&letters, 3) && !letters_delivered_to(&letters, 4));
    letters_clear(&letters);
}

TEST(letters_ignore_acknowledgements_of_what_was_never_sent)
{
    struct letters letters;
    struct error err;

    CHECK_STATUS(OK, letters_init(&letters, &err));
    (void)add(&letters, 7, text_of("x"));
    letters_deliver(&letters, 1); /* not handed out yet */
    letters_deliver(&letters, 0);
    letters_deliver(&letters, 99);
    letters_deliver(&letters, UINT64_MAX);
    CHECK(!letters_delivered_to(&letters, 1));
    letters_clear(&letters);
}

TEST(letters_keep_the_head_of_a_long_record)
{
    char raw[MACHINE_LETTER_BYTES + 44];
    struct letters letters;
    struct machine_letter letter;
    struct error err;

    memset(raw, 'r', sizeof raw);
    CHECK_STATUS(OK, letters_init(&letters, &err));
    CHECK(letters_add(&letters, 3, 5, 6, REFUSAL_OVERSIZE, (struct text){raw, sizeof raw},
                      1000000) == 1);
    CHECK(letters_add(&letters, 3, 6, 6, REFUSAL_TOMBSTONE, (struct text){0}, 0) == 2);
    CHECK(letters_take(&letters, 1000, &letter));
    CHECK_INT(MACHINE_LETTER_BYTES, (int64_t)letter.head.bytes);
    CHECK_INT(1000000, (int64_t)letter.raw_bytes);
    CHECK_INT(REFUSAL_OVERSIZE, letter.refusal);
    CHECK_INT(3, letter.partition);
    CHECK_INT(5, letter.offset);
    CHECK(letters_take(&letters, 1000, &letter) && letter.head.bytes == 0);
    letters_clear(&letters);
}

TEST(letters_are_handed_out_so_many_at_once)
{
    struct letters letters;
    struct machine_letter letter;
    struct error err;

    CHECK_STATUS(OK, letters_init(&letters, &err));
    for (int64_t i = 1; i <= 5; i++)
        (void)add(&letters, i, text_of("x"));
    CHECK(letters_take(&letters, 2, &letter) && letters_take(&letters, 2, &letter));
    CHECK(!letters_take(&letters, 2, &letter));
    letters_deliver(&letters, 2); /* the oldest is still on its way */
    CHECK(!letters_take(&letters, 2, &letter));
    letters_deliver(&letters, 1);
    CHECK(letters_take(&letters, 2, &letter) && letters_take(&letters, 2, &letter));
    CHECK_INT(4, letter.offset);
    CHECK(!letters_take(&letters, 2, &letter));
    letters_clear(&letters);
}

TEST(letters_grow_while_the_ring_has_turned)
{
    struct letters letters;
    struct machine_letter letter;
    struct error err;
    uint64_t delivered = 0;

    CHECK_STATUS(OK, letters_init(&letters, &err));
    for (int64_t i = 1; i <= 1000; i++) {
        CHECK_INT(i, (int64_t)add(&letters, i, text_of("abc")));
        CHECK(letters_take(&letters, 1000, &letter));
        CHECK_INT(i, letter.offset);
        if (i % 3 == 0) /* two of three wait */
            letters_deliver(&letters, ++delivered);
    }
    while (delivered < 1000)
        letters_deliver(&letters, ++delivered);
    CHECK(letters_delivered_to(&letters, 1000));
    letters_clear(&letters);
}
