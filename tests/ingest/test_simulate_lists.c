/* Tests ingest/simulate_lists: lists drawn where nobody gives one, a scorer's lists as it gave
 * them, and what their quality is measured by. */
#include "ingest/simulate_lists.h"

#include "ops/http_server.h"
#include "tests/test.h"

#include <stdio.h>
#include <string.h>

#define ROWS 5

static struct error err;
static struct world *world;
static const char *arm;
static bool stranger; /* the answer names an item that is none of the world */

static void begin(void)
{
    struct world_options options;

    world_options_init(&options);
    CHECK_STATUS(OK, world_create(&world, &options, &err));
}

static struct simulate_lists *create(struct simulate_lists_options options)
{
    struct simulate_lists *lists;

    options.items = 1000;
    options.seed = 3;
    CHECK_STATUS(OK, simulate_lists_create(&lists, &options, &err));
    return lists;
}

static struct world_shown choose(struct simulate_lists *lists, int user)
{
    struct world_options options;
    struct world_shown shown = {0};

    world_options_init(&options);
    simulate_lists_choose(lists, world, user, options.begin_ms, ROWS, &shown);
    return shown;
}

/* The best there is for user 7. */
static void recommend(struct http_request *request, void *context)
{
    struct world_options options;
    char body[1000], name[WORLD_NAME_BYTES];
    int best[ROWS], used;

    (void)context;
    world_options_init(&options);
    world_best(world, 7, options.begin_ms, best, ROWS);
    used = snprintf(body, sizeof body,
                    "{\"request_id\":\"r1\",\"model_version\":\"v1\",\"arm\":\"%s\","
                    "\"degraded\":\"none\",\"trace\":\"abc\",\"items\":[",
                    arm);
    for (int i = 0; i < ROWS; i++) {
        world_item_name(best[i], name);
        used += snprintf(body + used, sizeof body - (size_t)used, "%s{\"item\":\"%s\",\"score\":1}",
                         i > 0 ? "," : "", stranger && i == 0 ? "nobody" : name);
    }
    (void)snprintf(body + used, sizeof body - (size_t)used, "]}");
    http_answer(request, 200, "application/json", text_of(body), NULL);
}

static const struct http_route routes[] = {{"POST", "/v1/recommend", recommend}, {0}};

TEST(simulate_lists_are_random_where_nobody_is_asked)
{
    struct simulate_lists *lists, *again;
    struct list_quality quality;

    begin();
    lists = create((struct simulate_lists_options){0});
    again = create((struct simulate_lists_options){0});
    for (int user = 0; user < 50; user++) {
        struct world_shown shown = choose(lists, user), same = choose(again, user);

        CHECK_INT(ROWS, shown.rows_count);
        CHECK(memcmp(shown.rows, same.rows, sizeof shown.rows[0] * ROWS) == 0); /* one seed */
        CHECK(shown.request_id.bytes == 0 && shown.trace.bytes == 0);
        for (int i = 0; i < ROWS; i++) {
            CHECK(shown.rows[i] >= 0 && shown.rows[i] < 1000);
            for (int j = 0; j < i; j++)
                CHECK(shown.rows[i] != shown.rows[j]);
        }
    }
    quality = simulate_lists_quality(lists, LIST_RANDOM);
    CHECK_INT(50, (int64_t)quality.count);
    CHECK(quality.ndcg_sum > 0 && quality.ndcg_sum < .9 * 50);
    CHECK_NEAR(quality.ndcg_sum / 50, quality.ndcg_recent, 1e-9); /* the memory is longer */
    CHECK_INT(0, (int64_t)simulate_lists_quality(lists, LIST_MODEL).count);
    CHECK_INT(0, (int64_t)simulate_lists_failed(lists));
    simulate_lists_destroy(lists);
    simulate_lists_destroy(again);
    simulate_lists_destroy(NULL);
    world_destroy(world);
}

TEST(simulate_lists_are_drawn_where_the_scorer_is_silent)
{
    struct simulate_lists *lists;

    begin();
    lists = create((struct simulate_lists_options){.serve_url = "http://127.0.0.1:1"});
    for (int user = 0; user < 3; user++)
        CHECK_INT(ROWS, choose(lists, user).rows_count);
    CHECK_INT(3, (int64_t)simulate_lists_failed(lists));
    CHECK_INT(3, (int64_t)simulate_lists_quality(lists, LIST_RANDOM).count);
    simulate_lists_destroy(lists);
    world_destroy(world);
}

TEST(simulate_lists_show_what_the_scorer_gave)
{
    struct http_server_options options = {.listen = "127.0.0.1:0", .routes = routes};
    struct http_server *server;
    struct simulate_lists *lists;
    struct world_shown shown;
    char url[80];

    begin();
    CHECK_STATUS(OK, http_server_open(&server, &options, &err));
    (void)snprintf(url, sizeof url, "http://127.0.0.1:%d", http_server_port(server));
    lists = create(
        (struct simulate_lists_options){.serve_url = url, .compare_url = url, .compare = 1});
    arm = "model";
    shown = choose(lists, 7);
    CHECK_INT(ROWS, shown.rows_count);
    CHECK(text_equal(text_of("r1"), shown.request_id) && text_equal(text_of("abc"), shown.trace));
    CHECK_NEAR(1, simulate_lists_quality(lists, LIST_MODEL).ndcg_sum, 1e-9);
    CHECK_NEAR(1, simulate_lists_quality(lists, LIST_COMPARED).ndcg_sum, 1e-9);
    arm = "popularity";
    (void)choose(lists, 8); /* what is best for 7 is not for 8 */
    CHECK_INT(1, (int64_t)simulate_lists_quality(lists, LIST_POPULARITY).count);
    CHECK(simulate_lists_quality(lists, LIST_POPULARITY).ndcg_sum < 1);
    /* A row that cannot be shown is left out, and with it a trace that counts it. */
    stranger = true;
    shown = choose(lists, 7);
    CHECK_INT(ROWS - 1, shown.rows_count);
    CHECK_INT(0, shown.trace.bytes);
    stranger = false;
    CHECK_INT(0, (int64_t)simulate_lists_failed(lists));
    simulate_lists_destroy(lists);
    /* Exploration asks nobody. */
    lists = create((struct simulate_lists_options){.serve_url = url, .explore = 1});
    CHECK_INT(0, choose(lists, 7).request_id.bytes);
    CHECK_INT(1, (int64_t)simulate_lists_quality(lists, LIST_RANDOM).count);
    simulate_lists_destroy(lists);
    http_server_close(server, 1000);
    world_destroy(world);
}

TEST(simulate_lists_refuse_an_address_that_is_too_long)
{
    struct simulate_lists *lists;
    char url[600];

    memset(url, 'a', sizeof url);
    memcpy(url, "http://", 7);
    url[sizeof url - 1] = '\0';
    CHECK_STATUS(
        ERR_CONFIG,
        simulate_lists_create(
            &lists, &(struct simulate_lists_options){.serve_url = url, .items = 1000}, &err));
    CHECK(lists == NULL);
}
