/*
 * Tests that robots are masked: beside users as they are two of them click day and night what they
 * are paid for. Without the cap they own popularity and what is learnt; with it people are served
 * as if they were alone.
 */
#include "eval/ranking_metrics.h"
#include "ops/hash.h"
#include "retrain/learner.h"
#include "scorer/rank.h"
#include "tests/retrain/retrain_fixture.h"
#include "tests/test.h"

#include <stdio.h>
#include <string.h>

#define LEARNT 500
#define JUDGED 300
#define PAID   7 /* items that robots are paid for: i0 .. */
#define EACH   8 /* clicks of robots between two of people, a second */

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

/* NDCG@10 of people's choices to come, by the counts that every model is fed with. */
static double judge(struct learner *learner)
{
    struct ranker ranker = {.tables = learner_tables(learner), .actions = retrain_rules()->actions};
    struct rank_scratch *scratch;
    double sum = 0;

    CHECK_STATUS(OK, rank_scratch_create(&scratch, &err));
    for (int i = LEARNT; i < LEARNT + JUDGED; i++) {
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
        for (int place = 0; place < count; place++)
            if (item_tables_hash(ranker.tables, ranked[place].index) == item)
                sum += ranking_metrics_ndcg(place, 10);
    }
    rank_scratch_destroy(scratch);
    return sum / JUDGED;
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
    options.user_choices_max = choices_max;
    CHECK_STATUS(OK, learner_create(&learner, &options, &err));
    for (int i = 0; i < LEARNT; i++) {
        retrain_feed(learner, i, i + 1);
        if (with_robots)
            robots(learner, i);
    }
    outcome.ndcg = judge(learner);
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
