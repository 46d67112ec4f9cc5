/*
 * Tests what the limits of features/robot.h are worth. Robots faster than a hand: beside users as
 * they are two of them click day and night what they are paid for. Without the limit they own
 * popularity and what is learnt; with it people are served as if they were alone. A farm of slow
 * ones: each as slow as people, and nobody but the caps on what one user weighs can tell.
 */
#include "eval/ranking_metrics.h"
#include "ops/hash.h"
#include "retrain/learner.h"
#include "scorer/rank.h"
#include "tests/retrain/retrain_fixture.h"
#include "tests/support/watched.h"
#include "tests/test.h"

#include <stdio.h>
#include <string.h>

#define LEARNT       500
#define JUDGED       300
#define PAID         7 /* items that robots are paid for: i0 .. */
#define FIXTURE_VIEW (FIXTURE_CLICK - 1)
#define EACH         8 /* clicks of robots between two of people, a second */

static struct error err;

static void robots(struct learner *learner, int i)
{
    for (int k = 0; k < EACH; k++) {
        char user[16], item[16];
        struct event event = {.kind = EVENT_ACTION, .action = FIXTURE_CLICK};

        (void)snprintf(user, sizeof user, "robot%d", k % 2);
        (void)snprintf(item, sizeof item, "i%d",
                       (int)(hash64_mix((uint64_t)i, (uint64_t)k) % PAID));
        event.user = text_of(user);
        event.item = text_of(item);
        event.time_ms = retrain_time_ms(i) + 100 * (k + 1);
        CHECK_STATUS(OK, learner_event(learner, &event, NULL, &err));
    }
}

static const char pushed_item[] = "pushed";

struct judged {
    double ndcg;   /* @10 of people's choices to come */
    double pushed; /* share of their lists of ten that hold the pushed item */
};

/* By the counts that every model is fed with, or by a model over them. */
static struct judged judge(struct learner *learner, int from, bool by_model)
{
    struct ranker ranker = {.tables = learner_tables(learner),
                            .model = by_model ? learner_model(learner) : NULL,
                            .actions = retrain_rules()->actions};
    uint64_t pushed = rules_item_hash(retrain_rules(), text_of(pushed_item));
    struct rank_scratch *scratch;
    struct judged judged = {0};

    CHECK_STATUS(OK, rank_scratch_create(&scratch, &err));
    for (int i = from; i < from + (WATCHED && by_model ? JUDGED / 10 : JUDGED); i++) {
        struct event event = retrain_event(i);
        uint64_t user = rules_user_hash(retrain_rules(), event.user);
        uint64_t item = rules_item_hash(retrain_rules(), event.item);
        struct sequences_view view = sequences_get(learner_sequences(learner), user);
        struct rank_request request = {.history = view.entries,
                                       .history_count = view.count,
                                       .running = view.running,
                                       .history_known = true,
                                       .now_ms = event.time_ms,
                                       .k = 10,
                                       .keep_seen = true};
        struct ranked ranked[10];
        enum degraded degraded;
        int count;

        CHECK_STATUS(OK, rank(&ranker, scratch, &request, ranked, &count, &degraded, &err));
        for (int place = 0; place < count; place++) {
            uint64_t there = item_tables_hash(ranker.tables, ranked[place].index);

            judged.pushed += there == pushed ? 1.0 / JUDGED : 0;
            judged.ndcg += there == item ? ranking_metrics_ndcg(place, 10) / JUDGED : 0;
        }
    }
    rank_scratch_destroy(scratch);
    return judged;
}

struct outcome_of {
    double ndcg;
    int64_t masked, clicks; /* on the first paid item */
};

static struct outcome_of learnt(bool with_robots, int choices_max)
{
    struct learner_options options;
    struct learner *learner;
    struct outcome_of outcome;

    retrain_learner_options(&options);
    options.robots = (struct robot_limits){.minute_max = choices_max};
    CHECK_STATUS(OK, learner_create(&learner, &options, &err));
    for (int i = 0; i < LEARNT; i++) {
        retrain_feed(learner, i, i + 1);
        if (with_robots)
            robots(learner, i);
    }
    outcome.ndcg = judge(learner, LEARNT, false).ndcg;
    outcome.masked = learner_progress(learner)->masked;
    outcome.clicks = item_tables_clicks(learner_tables(learner),
                                        item_tables_find(learner_tables(learner), retrain_item(0)));
    learner_destroy(learner);
    return outcome;
}

TEST(learner_masks_robots_for_the_good_of_people)
{
    struct outcome_of alone, open, capped;

    alone = learnt(false, 60);
    open = learnt(true, 0);
    capped = learnt(true, 60);
    CHECK_INT(0, alone.masked);
    CHECK_INT(0, open.masked);
    CHECK(capped.masked > LEARNT * EACH * 9 / 10); /* all but their first minute's */
    CHECK(open.clicks > 10 * alone.clicks);
    CHECK(capped.clicks < alone.clicks + 60);
    CHECK(open.ndcg < .7 * alone.ndcg);
    CHECK(capped.ndcg > .8 * alone.ndcg);
}

/* Sixty lines of an invoice have one time. */
TEST(learner_takes_a_long_invoice_for_what_it_is)
{
    struct learner *learner = retrain_learner();

    for (int i = 0; i < 300; i++) {
        char item[16];
        struct event event = {.kind = EVENT_ACTION, .action = FIXTURE_CLICK};

        (void)snprintf(item, sizeof item, "i%d", i);
        event.user = text_of("buyer");
        event.item = text_of(item);
        event.time_ms = FIXTURE_BEGIN_MS + i / 150 * 1000;
        CHECK_STATUS(OK, learner_event(learner, &event, NULL, &err));
    }
    CHECK_INT(0, learner_progress(learner)->masked);
    learner_destroy(learner);
}

/* ---- a farm of slow robots ---- */

#define FARM       3  /* robots, slower than one choice in two seconds each */
#define FARM_EVERY 3  /* s between two choices of one */
#define FARM_LIKED 10 /* from these of people's items they go to the one they push */
#define LIVED      (WATCHED ? 300 : 1500)
#define STEP_EVERY 12

static void farm_chooses(struct learner *learner, int i)
{
    for (int k = 0; k < FARM; k++) {
        int nth = (i + k) / FARM_EVERY;
        char user[16], item[16];
        struct event event = {.kind = EVENT_ACTION, .action = FIXTURE_CLICK};

        if ((i + k) % FARM_EVERY != 0)
            continue;
        (void)snprintf(user, sizeof user, "farm%d", k);
        (void)snprintf(item, sizeof item, "i%d", nth / 2 % FARM_LIKED);
        event.user = text_of(user);
        event.item = text_of(nth % 2 == 0 ? item : pushed_item);
        event.time_ms = retrain_time_ms(i) + 100 * (k + 1);
        CHECK_STATUS(OK, learner_event(learner, &event, NULL, &err));
    }
}

struct farm_outcome {
    struct judged counts, model;
    int popular;    /* the pushed item's place in popularity, from 0; -1: not in the first ten */
    int64_t masked; /* by item_max and day_max */
};

static int place_in_popularity(struct learner *learner)
{
    uint64_t pushed = rules_item_hash(retrain_rules(), text_of(pushed_item));
    struct item_query query = {.now_ms = retrain_time_ms(LIVED)};
    struct item_scratch *scratch = item_scratch_create();
    int32_t popular[10];
    int found = item_tables_popular(learner_tables(learner), scratch, &query, 10, popular);

    item_scratch_destroy(scratch);
    for (int place = 0; place < found; place++)
        if (item_tables_hash(learner_tables(learner), popular[place]) == pushed)
            return place;
    return -1;
}

static struct farm_outcome beside_a_farm(bool farm, struct robot_limits robots)
{
    struct farm_outcome o = {0};
    struct learner_options options;
    struct learner *learner;
    bool worked;

    retrain_learner_options(&options);
    options.robots = robots;
    CHECK_STATUS(OK, learner_create(&learner, &options, &err));
    for (int i = 0; i < LIVED; i++) {
        retrain_feed(learner, i, i + 1);
        if (farm)
            farm_chooses(learner, i);
        if (i % STEP_EVERY == STEP_EVERY - 1)
            CHECK_STATUS(OK, learner_step(learner, INT64_MAX, &worked, &err));
    }
    CHECK_STATUS(OK, learner_ready(learner, &err));
    o.counts = judge(learner, LIVED, false);
    o.model = judge(learner, LIVED, true);
    o.popular = place_in_popularity(learner);
    o.masked = learner_progress(learner)->masked;
    CHECK_INT(o.masked, learner_progress(learner)->masked_by[ROBOT_MINUTE] +
                            learner_progress(learner)->masked_by[ROBOT_ITEM] +
                            learner_progress(learner)->masked_by[ROBOT_DAY]);
    CHECK_INT(0, learner_progress(learner)->masked_by[ROBOT_MINUTE]);
    learner_destroy(learner);
    return o;
}

TEST(learner_caps_what_a_farm_of_slow_robots_weighs)
{
    const struct robot_limits fast = {.minute_max = 60}, caps = {.minute_max = 60, .item_max = 5};
    const struct robot_limits both = {.minute_max = 60, .item_max = 5, .day_max = 20};
    struct farm_outcome alone, open, capped, whole;

    SKIP_WHERE_THREADS_ARE_WATCHED();
    alone = beside_a_farm(false, caps);
    open = beside_a_farm(true, fast);
    capped = beside_a_farm(true, caps);
    whole = beside_a_farm(true, both);
    CHECK_INT(0, open.masked);
    CHECK(capped.masked > 0 && whole.masked >= capped.masked);
    if (WATCHED)
        return;                 /* too few lived too short */
    CHECK_INT(0, open.popular); /* ahead of all that people choose */
    CHECK(open.counts.pushed > .5 && open.counts.ndcg < .85 * alone.counts.ndcg);
    CHECK_INT(-1, capped.popular);
    CHECK(capped.counts.pushed < .05 && capped.counts.ndcg > open.counts.ndcg + .01);
    /* Nor can it push what people like, to hide among them, or lead from there to its own. */
    CHECK(whole.counts.pushed < .05 && whole.counts.ndcg > .95 * alone.counts.ndcg);
    /* A model sees that people do not choose what recall offers them, with and without caps. */
    CHECK(open.model.pushed < .1 && capped.model.pushed < .1 && whole.model.pushed < .1);
    CHECK(capped.model.ndcg > open.model.ndcg - .03);
}

/* Targets of the first step, after one user chose one item forty times, and then others. */
static int64_t taught(int item_max)
{
    struct learner_options options;
    struct learner *learner;
    int64_t targets;
    bool worked;

    retrain_learner_options(&options);
    options.robots = (struct robot_limits){.item_max = item_max};
    CHECK_STATUS(OK, learner_create(&learner, &options, &err));
    for (int i = 0; i < 44; i++) {
        char item[16];
        struct event event = {.kind = EVENT_ACTION, .action = FIXTURE_CLICK};

        (void)snprintf(item, sizeof item, "i%d", i < 40 ? 0 : i % 2 + 1); /* seen twice: a row */
        event.user = text_of("u");
        event.item = text_of(item);
        event.time_ms = retrain_time_ms(i);
        CHECK_STATUS(OK, learner_event(learner, &event, NULL, &err));
    }
    CHECK_STATUS(OK, learner_step(learner, INT64_MAX, &worked, &err));
    CHECK(worked);
    targets = learner_progress(learner)->targets;
    learner_destroy(learner);
    return targets;
}

TEST(learner_teaches_no_next_item_beyond_a_limit)
{
    /* Four histories a step: of all 44 choices, or of three of the one item and four others. */
    CHECK_INT(4 * 43, taught(0));
    CHECK_INT(4 * 6, taught(3));
}

/* Two rows, of items 3 and 4, after `same` entries of item 3. */
static struct list *list_after(struct learner *learner, int same, uint8_t action)
{
    struct list *list = list_create(5, 2);

    CHECK(list != NULL);
    list->time_ms = retrain_time_ms(10);
    for (int row = 0; row < 2; row++)
        list->rows[row] = item_tables_find(
            learner_tables(learner), rules_item_hash(retrain_rules(), retrain_event(row + 3).item));
    CHECK(list->rows[0] >= 0 && list->rows[1] >= 0 && list->rows[0] != list->rows[1]);
    list->labels[0] = retrain_rules()->actions[FIXTURE_CLICK].label;
    for (int i = 0; i < 5; i++)
        list->history[i] = (struct user_entry){
            .time_ms = retrain_time_ms(i),
            .item = i < same ? item_tables_hash(learner_tables(learner), list->rows[0]) : 1,
            .action = action};
    return list;
}

TEST(learner_masks_lists_whose_choice_is_beyond_a_limit)
{
    struct learner *learner = retrain_learner();

    retrain_feed(learner, 0, 10);
    for (int same = 4; same <= 5; same++) {
        learner_shown(learner, list_after(learner, same, FIXTURE_CLICK)); /* takes it */
        CHECK_INT(same - 4, learner_progress(learner)->masked_by[ROBOT_ITEM]);
        CHECK_INT(1, lists_fresh(learner_shown_lists(learner)));
    }
    /* Looked at five times, and then chosen. */
    learner_shown(learner, list_after(learner, 5, FIXTURE_VIEW));
    CHECK_INT(1, learner_progress(learner)->masked_by[ROBOT_ITEM]);
    CHECK_INT(2, lists_fresh(learner_shown_lists(learner)));
    learner_destroy(learner);
}

/* Clicks on an item that was looked at all day, in the tables. */
TEST(learner_counts_a_choice_after_many_looks)
{
    struct learner *learner = retrain_learner();

    for (int i = 0; i < 12; i++) {
        struct event event = {.kind = EVENT_ACTION,
                              .action = i < 6 ? FIXTURE_VIEW : FIXTURE_CLICK,
                              .user = text_of("u"),
                              .item = text_of("i0"),
                              .time_ms = retrain_time_ms(i)};

        CHECK_STATUS(OK, learner_event(learner, &event, NULL, &err));
    }
    CHECK_INT(2, learner_progress(learner)->masked_by[ROBOT_ITEM]); /* the sixth of each */
    CHECK_INT(10, item_tables_clicks(learner_tables(learner), 0));
    learner_destroy(learner);
}

TEST(learner_masks_a_choice_and_not_what_else_was_chosen_from_the_list)
{
    struct learner *learner = retrain_learner();
    const struct list *kept;
    struct list *list;
    int32_t other;

    retrain_feed(learner, 0, 10);
    list = list_after(learner, 5, FIXTURE_CLICK);
    list->labels[1] = list->labels[0];
    other = list->rows[1];
    learner_shown(learner, list);
    CHECK_INT(1, learner_progress(learner)->masked_by[ROBOT_ITEM]);
    CHECK_INT(1, lists_fresh(learner_shown_lists(learner)));
    kept = lists_fresh_at(learner_shown_lists(learner), 0);
    CHECK_INT(ITEM_NONE, kept->rows[0]);
    CHECK(kept->labels[0] == 0);
    CHECK_INT(other, kept->rows[1]);
    CHECK(kept->labels[1] > 0);
    learner_destroy(learner);
}
