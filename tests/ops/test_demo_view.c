/* The demo's two faces: a screen that never wraps or scrolls, and JSON that is always whole. */
#include "ops/demo_view.h"

#include "ops/json.h"
#include "tests/test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct demo_numbers *numbers_new(void)
{
    struct demo_numbers *n = calloc(1, sizeof *n);

    if (n == NULL)
        abort();
    n->phase = "after the shift";
    n->broker = "embedded broker (librdkafka's mock: for demonstration only)";
    n->total_s = 150;
    n->shift_at_s = n->logged = -1;
    n->waiting = (double)NAN;
    n->model_age_s = n->fresh_p50_s = n->fresh_p99_s = n->request_p50_s = n->request_p99_s = -1;
    n->now = (struct demo_sample){0, (double)NAN, (double)NAN, (double)NAN};
    return n;
}

static void fill(struct demo_numbers *n, int seconds)
{
    n->delivered = n->applied = 1e7;
    n->fresh_p50_s = n->fresh_p99_s = n->request_p50_s = n->request_p99_s = 0.9876;
    n->lists = n->degraded = n->duplicates = n->late = n->dead = 123456;
    n->lists_per_s = 1234.5;
    n->shift_at_s = seconds * 0.4;
    (void)snprintf(n->version, sizeof n->version, "v000012+345");
    for (int i = 0; i < seconds; i++) {
        n->elapsed_s = i;
        n->now = (struct demo_sample){i, 0.7 + i % 3 * 0.01, 0.5, i % 2 == 0 ? (double)NAN : 0.2};
        demo_view_sample(n);
    }
}

/* Lines, and the longest of them, of what a terminal would show. */
static void measure(const char *screen, size_t bytes, int *lines, int *longest)
{
    int length = 0;

    *lines = 1;
    *longest = 0;
    for (size_t i = 0; i < bytes; i++) {
        if (screen[i] == '\x1b') {
            while (i + 1 < bytes && strchr("HJKm", screen[i]) == NULL)
                i++;
        } else if (screen[i] == '\n') {
            ++*lines;
            length = 0;
        } else if (screen[i] != '\r') {
            length++;
        }
        *longest = length > *longest ? length : *longest;
    }
}

TEST(demo_view_screen_neither_wraps_nor_scrolls)
{
    static const int sizes[][2] = {{80, 24}, {120, 40}, {60, 20}, {20, 5}, {1, 1}, {400, 100}};
    static char screen[64 * 1024];

    for (int filled = 0; filled < 2; filled++) {
        struct demo_numbers *n = numbers_new();

        if (filled)
            fill(n, 150);
        for (int i = 0; i < (int)(sizeof sizes / sizeof sizes[0]); i++) {
            int columns = sizes[i][0], rows = sizes[i][1], lines, longest;
            size_t bytes = demo_view_screen(n, columns, rows, screen, sizeof screen);

            measure(screen, bytes, &lines, &longest);
            CHECK(lines <= rows);
            CHECK(longest < (columns < 20 ? 20 : columns));
        }
        free(n);
    }
}

TEST(demo_view_screen_shows_all_of_it_at_80_by_24)
{
    static char screen[64 * 1024];
    struct demo_numbers *n = numbers_new();
    int lines, longest;

    fill(n, 150);
    CHECK(demo_view_verdict(n, "refused: NDCG@10 0.0288 against popularity's 0.0386: -0.0098, 95 % "
                               "within [-0.0385, +0.0177]: not better\nmore"));
    measure(screen, demo_view_screen(n, 80, 24, screen, sizeof screen), &lines, &longest);
    CHECK_INT(24, lines);
    CHECK(strstr(screen, "not better") != NULL);
    CHECK(strstr(screen, "Ctrl-C") != NULL);
    CHECK(strstr(screen, "/v1/recommend") != NULL && strstr(screen, "model list") != NULL);
    free(n);
}

/* What an operator is to type is there whole, over as many lines as it needs. */
TEST(demo_view_hints_wrap_and_are_never_cut)
{
    static char screen[64 * 1024], plain[64 * 1024];
    struct demo_numbers *n = numbers_new();
    int lines, longest;

    (void)snprintf(n->serve_url, sizeof n->serve_url, "http://127.0.0.1:43063");
    (void)snprintf(n->retrain_url, sizeof n->retrain_url, "http://127.0.0.1:37215");
    (void)snprintf(n->config, sizeof n->config,
                   "/a/folder/for/temporary/files/of/somebody/"
                   "freshet-demo-60Bn7p/freshet.yaml");
    for (int columns = 60; columns <= 100; columns += 20) {
        size_t used = 0, bytes = demo_view_screen(n, columns, 40, screen, sizeof screen);

        measure(screen, bytes, &lines, &longest);
        CHECK(longest < columns);
        for (size_t i = 0; i < bytes; i++) { /* as one line of words */
            if (screen[i] == '\x1b')
                while (i + 1 < bytes && strchr("HJKm", screen[i]) == NULL)
                    i++;
            else if (screen[i] == '\n')
                plain[used++] = ' ';
            else if (screen[i] != '\r' && !(screen[i] == ' ' && used > 0 && plain[used - 1] == ' '))
                plain[used++] = screen[i];
        }
        plain[used] = 0;
        CHECK(strstr(plain, "curl -s http://127.0.0.1:43063/v1/recommend -d "
                            "'{\"user\":\"u000042\",\"k\":5}' ") != NULL);
        CHECK(strstr(plain, " curl -s http://127.0.0.1:37215/gate ") != NULL);
        CHECK(columns == 60 || strstr(plain, n->config) != NULL); /* longer than a line of 60 */
    }
    measure(screen, demo_view_screen(n, 80, 20, screen, sizeof screen), &lines, &longest);
    CHECK_INT(20, lines); /* all or none */
    CHECK(strstr(screen, "/gate") == NULL);
    free(n);
}

static const char *sum_of(double delivered, double logged, double applied, double erased)
{
    static char text[1024];
    struct demo_numbers *n = numbers_new();
    bool exact;

    n->delivered = delivered;
    n->logged = logged;
    n->applied = applied;
    n->erased = erased;
    exact = demo_view_exact(n);
    (void)demo_view_sum(n, text, sizeof text);
    CHECK(exact == (strncmp(text, "every event counted once: ", 26) == 0));
    CHECK(exact != (strncmp(text, "EVENTS DO NOT ADD UP: ", 22) == 0));
    free(n);
    return text;
}

TEST(demo_view_sum_knows_whose_records_they_were)
{
    CHECK(strstr(sum_of(100, -1, 100, 0), "once: 100 acknowledged by Kafka\n  = 100 applied") !=
          NULL);
    CHECK(strstr(sum_of(100, 100, 100, 0), "others") == NULL);
    CHECK(strstr(sum_of(100, 107, 106, 1),
                 "once: 100 acknowledged by Kafka\n  + 7 that others wrote beside the demo's users "
                 "(erase, replay, dlq replay)\n  = 106 applied") != NULL);
    CHECK(strstr(sum_of(100, 107, 103, 0), "ADD UP: 100") != NULL);
    CHECK(strstr(sum_of(100, 107, 103, 0), "4 are in Kafka and not counted") != NULL);
    CHECK(strstr(sum_of(100, 107, 108, 0), "1 were counted that are not in Kafka") != NULL);
    CHECK(strstr(sum_of(100, 99, 100, 0), "log holds 99: acknowledged records are gone") != NULL);
    CHECK(strstr(sum_of(100, -1, 101, 0), "1 were counted that are not in Kafka") != NULL);
    CHECK(strncmp(sum_of(0, 0, 0, 0), "EVENTS DO NOT", 13) == 0); /* nothing was shown */
}

static const char *why_of(struct demo_numbers *n, double model, double popularity)
{
    static char text[1024];

    text[0] = 0;
    (void)demo_view_why(n, model, popularity, text, sizeof text);
    return text;
}

TEST(demo_view_says_why_the_model_is_below_popularity)
{
    struct demo_numbers *n = numbers_new();

    n->published_at_s = -1;
    CHECK_TEXT("", why_of(n, 0.5, 0.5));
    CHECK_TEXT("", why_of(n, 0.5, (double)NAN));
    CHECK(strstr(why_of(n, 0.4, 0.5), "the model is below popularity because:\n") != NULL);
    CHECK(strstr(why_of(n, (double)NAN, 0.5), "no list was the model's because:\n") != NULL);
    CHECK(strstr(why_of(n, 0.4, 0.5), "no model has passed the gate; its last word: no round") !=
          NULL);
    CHECK(strstr(why_of(n, 0.4, 0.5), "behind") == NULL);
    n->elapsed_s = 34;
    CHECK(demo_view_verdict(n, "published v000001: item tables alone, no model yet"));
    CHECK(n->published_at_s < 0);
    CHECK(demo_view_verdict(n, "published v000002: NDCG@10 0.2 vs covisitation 0.1"));
    n->shift_at_s = 60;
    CHECK(demo_view_verdict(n, "refused: not better"));
    CHECK(strstr(
              why_of(n, 0.4, 0.5),
              "no model has passed the gate since the shift; its last word: refused: not better") !=
          NULL);
    n->elapsed_s = 99;
    CHECK(demo_view_verdict(n, "published v000003: NDCG@10 0.2 vs covisitation 0.1"));
    CHECK(strstr(why_of(n, 0.4, 0.5), "published 99 s after the start, has learnt too few") !=
          NULL);
    CHECK(strstr(why_of(n, 0.4, 0.5), "gate") == NULL);
    n->behind = 1234;
    n->behind_most_s = DEMO_SLOW_S - 1; /* a moment explains nothing */
    CHECK(strstr(why_of(n, 0.4, 0.5), "keep up") == NULL);
    CHECK(strstr(why_of(n, 0.4, 0.5), "too few") != NULL);
    n->behind_most_s = DEMO_SLOW_S;
    CHECK(strstr(why_of(n, 0.4, 0.5), "keep up") != NULL);
    n->behind_most_s = 56;
    CHECK(strstr(why_of(n, 0.4, 0.5), "did not keep up, for up to 56 s (1234 records behind at the "
                                      "end)") != NULL);
    CHECK(strstr(why_of(n, 0.4, 0.5), "too few") == NULL);
    free(n);
}

TEST(demo_view_hints_name_every_role_that_may_be_killed)
{
    static char screen[64 * 1024], text[1024];
    struct demo_numbers *n = numbers_new();

    n->ingest_pid = 13887;
    n->retrain_pid = 13890;
    n->serve_pid = 13893;
    (void)demo_view_hints(n, text, sizeof text);
    CHECK(strstr(text, "kill -9 13887   # ingest, or retrain 13890, serve 13893: ") != NULL);
    (void)demo_view_screen(n, 80, 24, screen, sizeof screen);
    CHECK(strstr(screen, "kill -9 13887 (ingest), 13890 (retrain) or 13893 (serve): ") != NULL);
    free(n);
}

TEST(demo_view_sample_thins_a_full_table_and_keeps_both_ends)
{
    struct demo_numbers *n = numbers_new();

    n->total_s = 0; /* until stopped */
    fill(n, 5 * DEMO_SAMPLES_MAX);
    CHECK(n->samples_count <= DEMO_SAMPLES_MAX);
    CHECK(n->samples[0].at_s == 0);
    CHECK_NEAR(5.0 * DEMO_SAMPLES_MAX - 1, n->samples[n->samples_count - 1].at_s, 0);
    for (int i = 1; i < n->samples_count; i++)
        CHECK(n->samples[i].at_s > n->samples[i - 1].at_s);
    free(n);
}

TEST(demo_view_verdict_takes_each_once_and_keeps_the_newest)
{
    struct demo_numbers *n = numbers_new();
    char report[64];

    CHECK(!demo_view_verdict(n, ""));
    CHECK(!demo_view_verdict(n, "no round has ended yet"));
    for (int i = 0; i < DEMO_VERDICTS_MAX + 3; i++) {
        (void)snprintf(report, sizeof report, "refused: %d\nok: a line more", i);
        CHECK(demo_view_verdict(n, report));
        CHECK(!demo_view_verdict(n, report));
    }
    CHECK_INT(DEMO_VERDICTS_MAX, n->verdicts_count);
    CHECK_TEXT("refused: 18", n->verdicts[DEMO_VERDICTS_MAX - 1].text);
    CHECK_TEXT("refused: 18\nok: a line more", n->gate_report);
    free(n);
}

TEST(demo_view_shows_ingests_own_lag_and_the_difference_without_it)
{
    static char text[64 * 1024];
    struct demo_numbers *n = numbers_new();

    n->delivered = 1000;
    n->applied = 800;
    n->duplicates = 100;
    n->late = 90;
    n->dead = 6;
    text[demo_view_line(n, text, sizeof text)] = 0;
    CHECK(strstr(text, " sent 1000, behind 4; 1 s ago: applied 800, duplicates and late 190, dead "
                       "6 |") != NULL);
    n->waiting = 2; /* what came meanwhile is applied, and not counted yet */
    text[demo_view_line(n, text, sizeof text)] = 0;
    CHECK(strstr(text, " sent 1000, behind 2; ") != NULL);
    text[demo_view_json(n, text, sizeof text)] = 0;
    CHECK(strstr(text, "\"behind\":2,") != NULL);
    text[demo_view_screen(n, 80, 24, text, sizeof text)] = 0;
    CHECK(strstr(text, "sent 1000   behind 2   applied 800 (1 s ago)") != NULL);
    n->waiting = (double)NAN;
    n->delivered = 900; /* its figure is a moment older */
    CHECK_NEAR(0, demo_view_waiting(n), 0);
    free(n);
}

TEST(demo_view_json_is_whole_when_empty_and_when_full)
{
    static char text[128 * 1024];
    struct json_parser *parser = json_parser_create(sizeof text, 8192);
    const struct json_node *root;
    struct error err;

    CHECK(parser != NULL);
    for (int seconds = 0; seconds <= DEMO_SAMPLES_MAX; seconds += DEMO_SAMPLES_MAX) {
        struct demo_numbers *n = numbers_new();
        size_t bytes;

        fill(n, seconds);
        (void)demo_view_verdict(n, "published \"v1\"\nok");
        n->fresh_p99_s = 2.0 / 3;
        n->delivered = 12345678;
        bytes = demo_view_json(n, text, sizeof text);
        CHECK(bytes > 0);
        CHECK_STATUS(OK, json_parse(parser, (struct text){text, bytes}, &root, &err));
        CHECK(json_member(root, "samples") != NULL);
        CHECK(json_member(root, "verdicts") != NULL);
        CHECK(strstr(text, "\"fresh_p99_s\":0.666667,") != NULL); /* no digits of chance */
        CHECK(strstr(text, "\"delivered\":12345678,") != NULL);
        free(n);
    }
    CHECK_INT(0, (int)demo_view_json(&(struct demo_numbers){.phase = "", .broker = ""}, text, 8));
    json_parser_destroy(parser);
}
