/* Tests ops/levenshtein: distances worked out by hand, then who counts as near. */
#include "ops/levenshtein.h"

#include "tests/test.h"

#include <limits.h>
#include <string.h>

TEST(levenshtein_counts_edits)
{
    CHECK_INT(0, levenshtein_distance("", ""));
    CHECK_INT(3, levenshtein_distance("", "abc"));
    CHECK_INT(3, levenshtein_distance("abc", ""));
    CHECK_INT(0, levenshtein_distance("Brokers", "bROKERS"));
    CHECK_INT(3, levenshtein_distance("kitten", "sitting"));
    CHECK_INT(1, levenshtein_distance("serve", "sevre")); /* a swap */
    CHECK_INT(1, levenshtein_distance("ingest", "ingst"));
    CHECK_INT(3, levenshtein_distance("ca", "abc")); /* the restricted form */
}

TEST(levenshtein_takes_the_longest_name_and_refuses_a_longer_one)
{
    char a[LEVENSHTEIN_BYTES_MAX + 2], b[LEVENSHTEIN_BYTES_MAX + 2];

    memset(a, 'a', sizeof a);
    memset(b, 'b', sizeof b);
    a[LEVENSHTEIN_BYTES_MAX] = b[LEVENSHTEIN_BYTES_MAX] = 0;
    CHECK_INT(LEVENSHTEIN_BYTES_MAX, levenshtein_distance(a, b));
    a[LEVENSHTEIN_BYTES_MAX] = 'a';
    a[LEVENSHTEIN_BYTES_MAX + 1] = 0;
    CHECK_INT(INT_MAX, levenshtein_distance(a, b));
}

TEST(levenshtein_offer_keeps_the_first_of_the_nearest)
{
    struct levenshtein_nearest nearest = {0};

    levenshtein_offer(&nearest, "brokrs", "topics");
    CHECK(nearest.name == NULL);
    levenshtein_offer(&nearest, "brokrs", "brokes");
    levenshtein_offer(&nearest, "brokrs", "brokers");
    CHECK_TEXT("brokes", nearest.name);
    levenshtein_offer(&nearest, "brokrs", "brokrs");
    CHECK_TEXT("brokrs", nearest.name);
}

TEST(levenshtein_offer_is_not_fooled_by_short_names)
{
    struct levenshtein_nearest nearest = {0};

    levenshtein_offer(&nearest, "k", "url");
    levenshtein_offer(&nearest, "", "set");
    CHECK(nearest.name == NULL);
    levenshtein_offer(&nearest, "ur", "url");
    CHECK_TEXT("url", nearest.name);
}
