/*
 * Tests features/world: that the truth is one function of its arguments, that a shift is one, and
 * that the walk's events are what a topic may hold.
 */
#include "features/world.h"

#include "tests/test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static struct world *make(uint64_t seed, int64_t shift_at_ms)
{
    struct world_options options;
    struct world *world;
    struct error err;

    world_options_init(&options);
    options.seed = seed;
    options.users = 300;
    options.items = 200;
    if (shift_at_ms != 0)
        options.shift_at_ms = options.begin_ms + shift_at_ms;
    CHECK_STATUS(OK, world_create(&world, &options, &err));
    return world;
}

static int64_t begin_ms(void)
{
    struct world_options options;

    world_options_init(&options);
    return options.begin_ms;
}

TEST(world_refuses_what_it_cannot_be)
{
    struct world_options options;
    struct world *world;
    struct error err;

    world_options_init(&options);
    options.users = 0;
    CHECK_STATUS(ERR_LIMIT, world_create(&world, &options, &err));
    world_options_init(&options);
    options.items = WORLD_ITEMS_MAX + 1;
    CHECK_STATUS(ERR_LIMIT, world_create(&world, &options, &err));
    world_options_init(&options);
    options.taste = NAN;
    CHECK_STATUS(ERR_LIMIT, world_create(&world, &options, &err));
    CHECK(world == NULL);
    world_destroy(NULL);
    world_walk_destroy(NULL);
}

TEST(world_truth_is_the_same_for_everybody_and_every_order_of_questions)
{
    struct world *a = make(7, 0), *b = make(7, 0), *c = make(8, 0);
    int64_t t = begin_ms();
    int differs = 0;

    for (int u = 299; u >= 0; u--)
        (void)world_utility(b, u, 3, t + u);
    for (int u = 0; u < 300; u++) {
        CHECK_NEAR(world_utility(a, u, u % 200, t + 3600000 * u),
                   world_utility(b, u, u % 200, t + 3600000 * u), 0);
        differs += world_utility(a, u, 0, t) != world_utility(c, u, 0, t);
    }
    CHECK(differs == 300);
    world_destroy(a);
    world_destroy(b);
    world_destroy(c);
}

TEST(world_best_is_the_best_and_its_ndcg_is_one)
{
    struct world *world = make(3, 0);
    int best[20], all[200];

    for (int u = 0; u < 50; u++) {
        int64_t t = begin_ms() + u * INT64_C(7000000);

        world_best(world, u, t, best, 20);
        for (int i = 0; i < 200; i++) {
            int better = 0;

            all[i] = i;
            for (int j = 0; j < 20; j++)
                better += best[j] == i;
            CHECK(better == 1 ||
                  world_utility(world, u, i, t) <= world_utility(world, u, best[19], t));
        }
        CHECK_NEAR(1, world_ndcg(world, u, t, best, 20, 10), 1e-12);
        double any = world_ndcg(world, u, t, all, 200, 10);
        CHECK(any > 0 && any < 1);
    }
    CHECK_NEAR(0, world_ndcg(world, 0, begin_ms(), all, 0, 10), 0);
    world_destroy(world);
}

TEST(world_shift_moves_the_share_of_items_and_keeps_the_mixture)
{
    const int64_t at = 100 * INT64_C(3600000);
    struct world *world = make(5, at);
    int64_t t = begin_ms() + at;
    double before = 0, after = 0, lost = 0;
    int moved = 0, best[10];

    for (int i = 0; i < 200; i++)
        moved += world_category(world, i, t - 1) != world_category(world, i, t);
    CHECK(moved > 100 && moved < 160);
    for (int u = 0; u < 300; u++) {
        world_best(world, u, t - 1, best, 10);
        for (int i = 0; i < 10; i++) {
            before += world_chance(world, u, best[i], t - 1);
            lost += world_chance(world, u, best[i], t);
        }
        world_best(world, u, t, best, 10);
        for (int i = 0; i < 10; i++)
            after += world_chance(world, u, best[i], t);
    }
    CHECK(fabs(after - before) < 0.05 * before); /* as much to like as ever */
    CHECK(lost < 0.6 * before);                  /* but elsewhere */
    world_destroy(world);
}

TEST(world_names_read_back)
{
    struct world *world = make(1, 0);
    char name[WORLD_NAME_BYTES];

    for (int i = 0; i < 200; i++) {
        world_item_name(i, name);
        CHECK_INT(i, world_item_of(world, text_of(name)));
        CHECK_INT(-1, world_user_of(world, text_of(name)));
    }
    CHECK_INT(-1, world_item_of(world, text_of("i000200")));
    CHECK_INT(-1, world_item_of(world, text_of("i00000a")));
    CHECK_INT(-1, world_item_of(world, text_of("i0000001")));
    CHECK_INT(-1, world_item_of(world, text_of("")));
    world_destroy(world);
}

TEST(world_walk_is_ordered_within_each_user_and_clicks_what_was_shown)
{
    struct world *world = make(9, 0);
    struct world_walk *walk;
    struct event event;
    struct error err;
    int64_t last[300] = {0}, lists = 0, clicks = 0, unlisted = 0;
    char rows[10][WORLD_NAME_BYTES];
    int rows_count = 0;

    CHECK_STATUS(ERR_LIMIT,
                 world_walk_create(&walk, world, 1, WORLD_ROWS_MAX + 1, NULL, NULL, &err));
    CHECK_STATUS(OK, world_walk_create(&walk, world, 1, 10, NULL, NULL, &err));
    for (int n = 0; n < 20000; n++) {
        world_walk_next(walk, &event);
        int user = world_user_of(world, event.user);

        CHECK(user >= 0 && event.time_ms > last[user]);
        last[user] = event.time_ms;
        if (event.request_id.bytes == 0) {
            CHECK_INT(EVENT_ACTION, event.kind);
            unlisted++;
            continue;
        }
        if (event.kind == EVENT_IMPRESSION) {
            lists++;
            rows_count = event.rows_count;
            CHECK_INT(10, rows_count);
            for (int p = 0; p < rows_count; p++)
                (void)memcpy(rows[p], event.rows[p].at, event.rows[p].bytes + 1);
            continue;
        }
        bool shown = false;
        for (int p = 0; p < rows_count; p++)
            shown |= text_equal(text_of(rows[p]), event.item);
        CHECK(shown);
        clicks++;
    }
    struct world_tally tally = world_walk_tally(walk);
    CHECK_INT(lists, tally.impressions);
    CHECK_INT(unlisted, tally.unlisted);
    CHECK_NEAR(.5, (double)unlisted / (double)(lists + unlisted), .02);
    CHECK(tally.clicks >= clicks && tally.clicks - clicks <= 10); /* the last list is under way */
    /* An old system worth replacing: better than chance, far from the truth. */
    CHECK(clicks > 0.3 * (double)lists && clicks < 3.0 * (double)lists);
    CHECK(tally.ndcg_sum > 0.2 * (double)lists && tally.ndcg_sum < 0.8 * (double)lists);
    world_walk_destroy(walk);
    world_destroy(world);
}
