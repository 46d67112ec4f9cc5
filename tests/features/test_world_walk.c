/*
 * Tests the walk of features/world.h with a chooser of its own: when it is asked, what of its list
 * comes out in the events, and that clicks follow the truth and the position. The walk of the old
 * system is in test_world.c.
 */
#include "features/world.h"

#include "tests/test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define USERS 50
#define ITEMS 100
#define ROWS  6

static struct error err;

static struct world *make(double unlisted)
{
    struct world_options options;
    struct world *world;

    world_options_init(&options);
    options.users = USERS;
    options.items = ITEMS;
    options.unlisted = unlisted;
    CHECK_STATUS(OK, world_create(&world, &options, &err));
    return world;
}

/* Shows the items from the user's number on. */
struct chooser {
    int rows;   /* fewer than the walk asks for */
    int silent; /* users of this number and above are shown nothing */
    int calls;
    int64_t time_ms;
    double looked[ROWS]; /* clicks to be expected at each position */
};

static void choose(void *context, const struct world *world, int user, int64_t time_ms,
                   int rows_max, struct world_shown *shown)
{
    struct chooser *c = context;

    CHECK(rows_max == ROWS && shown->rows_count == 0 && shown->request_id.bytes == 0);
    c->calls++;
    c->time_ms = time_ms;
    if (user >= c->silent)
        return;
    shown->rows_count = c->rows;
    for (int p = 0; p < c->rows; p++) {
        struct world_options options;

        world_options_init(&options);
        shown->rows[p] = (user + p) % ITEMS;
        c->looked[p] += world_chance(world, user, shown->rows[p], time_ms) *
                        pow(1.0 + p, -options.position_bias);
    }
    shown->request_id = text_of("asked");
    shown->trace = text_of("traced");
}

static struct world_walk *walk_of(const struct world *world, uint64_t seed, struct chooser *chooser)
{
    struct world_walk *walk;

    CHECK_STATUS(OK, world_walk_create(&walk, world, seed, ROWS, chooser == NULL ? NULL : choose,
                                       chooser, &err));
    return walk;
}

TEST(world_walk_refuses_lists_of_no_rows)
{
    struct world *world = make(0);
    struct world_walk *walk;

    CHECK_STATUS(ERR_LIMIT, world_walk_create(&walk, world, 1, 0, NULL, NULL, &err));
    CHECK(walk == NULL);
    CHECK_STATUS(ERR_LIMIT, world_walk_create(&walk, world, 1, -1, NULL, NULL, &err));
    world_destroy(world);
}

TEST(world_walk_chooses_a_list_when_its_moment_has_come)
{
    struct chooser chooser = {.rows = ROWS - 1, .silent = USERS};
    struct world *world = make(0);
    struct world_walk *walk = walk_of(world, 1, &chooser);

    for (int n = 0; n < 2000; n++) {
        int calls = chooser.calls;
        int64_t due_ms = world_walk_due(walk);
        struct event event;

        CHECK_INT(due_ms, world_walk_due(walk));
        CHECK_INT(calls, chooser.calls); /* a look ahead chooses nothing */
        world_walk_next(walk, &event);
        CHECK_INT(due_ms, event.time_ms);
        CHECK(text_equal(event.request_id, text_of("asked")));
        CHECK_INT(calls + (event.kind == EVENT_IMPRESSION), chooser.calls);
        if (event.kind != EVENT_IMPRESSION)
            continue;
        CHECK_INT(chooser.time_ms, event.time_ms);
        CHECK(text_equal(event.trace, text_of("traced")));
        CHECK_INT(ROWS - 1, event.rows_count);
        for (int p = 0; p < event.rows_count; p++)
            CHECK_INT((world_user_of(world, event.user) + p) % ITEMS,
                      world_item_of(world, event.rows[p]));
    }
    CHECK_INT(chooser.calls, world_walk_tally(walk).impressions);
    CHECK_INT((ROWS - 1) * (int64_t)chooser.calls, world_walk_tally(walk).rows);
    world_walk_destroy(walk);
    world_destroy(world);
}

TEST(world_walk_passes_over_who_is_shown_nothing)
{
    struct chooser chooser = {.rows = ROWS, .silent = USERS / 2};
    struct world *world = make(0);
    struct world_walk *walk = walk_of(world, 1, &chooser);
    struct event event;

    for (int n = 0; n < 1000; n++) {
        world_walk_next(walk, &event);
        CHECK(world_user_of(world, event.user) < USERS / 2);
    }
    CHECK(world_walk_tally(walk).impressions < chooser.calls);
    CHECK(world_walk_tally(walk).sessions > 0);
    world_walk_destroy(walk);
    world_destroy(world);
}

TEST(world_walk_skips_on_and_never_back)
{
    struct world *world = make(.5);
    struct world_walk *walk = walk_of(world, 1, NULL);
    struct event event;
    int64_t at_ms, queued_ms;

    world_walk_next(walk, &event);
    at_ms = event.time_ms + INT64_C(3600000);
    queued_ms = at_ms - 1;
    world_walk_skip_to(walk, at_ms);
    /* What was drawn already keeps its time; then the walk is there. */
    for (int n = 0; n < 1000 && event.time_ms < at_ms; n++) {
        world_walk_next(walk, &event);
        CHECK(event.time_ms <= queued_ms || event.time_ms >= at_ms);
    }
    CHECK(event.time_ms >= at_ms && event.time_ms < at_ms + 60000);
    at_ms = world_walk_due(walk);
    world_walk_skip_to(walk, 0);
    CHECK_INT(at_ms, world_walk_due(walk));
    world_walk_destroy(walk);
    world_destroy(world);
}

TEST(world_walk_leaves_out_actions_without_a_code)
{
    static const uint8_t codes[][2] = {{7, 9}, {7, 0}, {0, 9}}; /* view, click */
    struct world *world = make(.3);

    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
        struct world_walk *walk = walk_of(world, 4, NULL);
        char viewed[WORLD_NAME_BYTES] = "";
        int views = 0, clicks = 0;

        world_walk_actions(walk, codes[i][0], codes[i][1]);
        for (int n = 0; n < 3000; n++) {
            struct event event;

            world_walk_next(walk, &event);
            if (event.kind == EVENT_IMPRESSION)
                continue;
            CHECK(event.action != 0 && event.action == codes[i][event.action == 9]);
            if (event.action == 9 && codes[i][0] != 0)
                CHECK(text_equal(event.item, text_of(viewed))); /* seen first, then clicked */
            views += event.action == 7;
            clicks += event.action == 9;
            memcpy(viewed, event.item.at, event.item.bytes + 1);
        }
        CHECK((views > 100) == (codes[i][0] != 0) && (clicks > 100) == (codes[i][1] != 0));
        world_walk_destroy(walk);
    }
    world_destroy(world);
}

TEST(world_walk_clicks_by_the_truth_and_the_position)
{
    struct chooser chooser = {.rows = ROWS, .silent = USERS};
    struct world *world = make(0);
    struct world_walk *walk = walk_of(world, 2, &chooser);
    int64_t clicks[ROWS] = {0};

    for (int n = 0; n < 60000; n++) {
        struct event event;
        int place;

        world_walk_next(walk, &event);
        if (event.kind == EVENT_IMPRESSION)
            continue;
        place = (world_item_of(world, event.item) - world_user_of(world, event.user) + ITEMS) %
                ITEMS;
        CHECK(place < ROWS);
        clicks[place]++;
    }
    for (int p = 0; p < ROWS; p++) /* within four deviations of a count */
        CHECK_NEAR(chooser.looked[p], (double)clicks[p], 4 * sqrt(chooser.looked[p]) + 1);
    world_walk_destroy(walk);
    world_destroy(world);
}

TEST(world_walk_is_the_same_for_one_seed_and_another_for_another)
{
    struct world *world = make(.5);
    struct world_walk *walks[3] = {walk_of(world, 1, NULL), walk_of(world, 1, NULL),
                                   walk_of(world, 2, NULL)};
    int others = 0;

    for (int n = 0; n < 500; n++) {
        struct event events[3];

        for (int i = 0; i < 3; i++)
            world_walk_next(walks[i], &events[i]);
        CHECK(events[0].time_ms == events[1].time_ms && events[0].kind == events[1].kind);
        CHECK(text_equal(events[0].user, events[1].user));
        CHECK(text_equal(events[0].item, events[1].item));
        others += events[0].time_ms != events[2].time_ms;
    }
    CHECK(others > 400);
    for (int i = 0; i < 3; i++)
        world_walk_destroy(walks[i]);
    world_destroy(world);
}
