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

/* "kafka." alone is no reason to suggest another key of kafka. */
TEST(levenshtein_offer_does_not_count_the_words_that_are_alike)
{
    static const char *const far[][2] = {
        {"kafka.abc", "kafka.acks"},
        {"serve.port", "serve.holdout"},
        {"retrain.depth", "retrain.seed"},
        {"FRESHET_KAFKA_X", "FRESHET_KAFKA_QUEUE"},
        {"offsets show", "offsets list"},
        {"model delete", "model show"},
        {"cash", "cache"},
        {"kafka.abcd", "kafka.acks"},
    };
    static const char *const near[][2] = {
        {"kafka.linegr", "kafka.linger"},
        {"serv.listen", "serve.listen"},
        {"redis-dwn", "redis-down"},
        {"offsets lst", "offsets list"},
        {"FRESHET_SERVE_X", "FRESHET_SERVE_Y"},
        {"FRESHET_SERVE_HISTORY_CASH", "FRESHET_SERVE_HISTORY_CACHE"},
        {"serve.history_cash", "serve.history_cache"},
        {"model.", "model"},
    };

    for (size_t i = 0; i < sizeof far / sizeof *far; i++) {
        struct levenshtein_nearest nearest = {0};

        levenshtein_offer(&nearest, far[i][0], far[i][1]);
        if (nearest.name != NULL)
            test_fail(__FILE__, __LINE__, "%s: %s", far[i][0], nearest.name);
    }
    for (size_t i = 0; i < sizeof near / sizeof *near; i++) {
        struct levenshtein_nearest nearest = {0};

        levenshtein_offer(&nearest, near[i][0], near[i][1]);
        if (nearest.name == NULL)
            test_fail(__FILE__, __LINE__, "%s: nothing", near[i][0]);
    }
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
