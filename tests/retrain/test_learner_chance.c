/*
 * Tests that features do not lie: items whose clicks are drawn by chance alone go through the whole
 * training path (shown lists with the raw counts of their moment, clicks counted after, steps), and
 * no score of the next lists knows who will be clicked: AUC .5 +- .02. Beside it the same path with
 * one kind of items that people do click more: there it does know.
 */
#include "retrain/learner.h"

#include "eval/ranking_metrics.h"
#include "ops/hash.h"
#include "ops/random.h"
#include "scorer/rank.h"
#include "tests/retrain/retrain_fixture.h"
#include "tests/support/watched.h"
#include "tests/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROWS       8
#define LEARNT     (WATCHED ? 150 : 600) /* lists */
#define JUDGED     (WATCHED ? 50 : 1000)
#define ALL        ((size_t)JUDGED * ROWS)
#define CHANCE     .3
#define STEP_LISTS (WATCHED ? 50 : 150) /* lists between two trainings */

static struct error err;

struct moment {
    uint64_t user;
    int64_t time_ms;
    int numbers[ROWS];
    uint64_t items[ROWS];
    int32_t rows[ROWS];
    int64_t raw[ROWS * RAW_COLUMNS];
};

static struct text name_of(char kind, int number)
{
    static char name[2][16];
    char *into = name[kind == 'u'];

    (void)snprintf(into, sizeof name[0], "%c%d", kind, number);
    return text_of(into);
}

/* A list as serving would have shown it: items it knows, with their counts of now. */
static void show(struct learner *learner, struct random *random, int64_t time_ms, struct moment *m)
{
    bool taken[FIXTURE_ITEMS] = {false};

    m->user = retrain_user((int)random_below(random, FIXTURE_USERS));
    m->time_ms = time_ms;
    for (int i = 0; i < ROWS; i++) {
        int item;

        do
            item = (int)random_below(random, FIXTURE_ITEMS);
        while (taken[item]);
        taken[item] = true;
        m->numbers[i] = item;
        m->items[i] = retrain_item(item);
        m->rows[i] = item_tables_find(learner_tables(learner), m->items[i]);
        CHECK(m->rows[i] != ITEM_NONE);
    }
    CHECK_STATUS(OK, learner_raw(learner, m->user, time_ms, m->items, ROWS, m->raw, &err));
}

static void click(struct learner *learner, int user, int item, int64_t time_ms)
{
    struct event event = {.kind = EVENT_ACTION, .action = FIXTURE_CLICK, .time_ms = time_ms};

    event.user = name_of('u', user);
    event.item = name_of('i', item);
    CHECK_STATUS(OK, learner_event(learner, &event, NULL, &err));
}

/* Labels by chance, but for liked items; the list is learnt from, then its clicks are counted. */
static void answer(struct learner *learner, struct random *random, const struct moment *m,
                   bool liked, float *labels)
{
    struct list *list = list_create(0, ROWS);

    CHECK(list != NULL);
    list->user = m->user;
    list->time_ms = m->time_ms;
    memcpy(list->rows, m->rows, sizeof m->rows);
    memcpy(list->raw, m->raw, sizeof m->raw);
    for (int i = 0; i < ROWS; i++) {
        double p = liked && m->numbers[i] % 2 == 0 ? .7 : CHANCE;

        labels[i] = list->labels[i] = random_unit(random) < p;
    }
    learner_shown(learner, list);
    for (int i = 0; i < ROWS; i++)
        if (labels[i] > 0)
            click(learner, (int)random_below(random, FIXTURE_USERS), m->numbers[i],
                  m->time_ms + 1 + i);
}

static void train(struct learner *learner)
{
    bool worked = true;

    while (worked)
        CHECK_STATUS(OK, learner_step(learner, INT64_MAX, &worked, &err));
    CHECK_STATUS(OK, learner_ready(learner, &err));
}

/* AUC of scores made before each list's labels were drawn. */
static double auc_of(bool liked)
{
    static float scores[ALL], labels[ALL];
    struct learner_options options;
    struct learner *learner;
    struct rank_scratch *scratch;
    struct random random;
    int64_t time_ms = FIXTURE_BEGIN_MS;

    retrain_learner_options(&options);
    options.objective = "point";
    options.recalled_share = 0;
    options.holdout_max = 0;
    CHECK_STATUS(OK, learner_create(&learner, &options, &err));
    CHECK_STATUS(OK, rank_scratch_create(&scratch, &err));
    random_seed(&random, test_seed());
    for (int i = 0; i < FIXTURE_ITEMS; i++)
        click(learner, i % FIXTURE_USERS, i, time_ms++);
    for (int n = 0; n < LEARNT + JUDGED; n++, time_ms += 60000) {
        struct moment m;
        float drawn[ROWS];
        int at = (n - LEARNT) * ROWS;

        show(learner, &random, time_ms, &m);
        if (n >= LEARNT) {
            struct ranker ranker = {.model = learner_model(learner),
                                    .tables = learner_tables(learner),
                                    .actions = retrain_rules()->actions};
            struct rank_request request = {.history_known = true,
                                           .now_ms = time_ms,
                                           .candidates = m.rows,
                                           .candidates_count = ROWS,
                                           .k = ROWS};

            CHECK_STATUS(OK, rank_scores(&ranker, scratch, &request, scores + at, &err));
        }
        answer(learner, &random, &m, liked, drawn);
        if (n >= LEARNT)
            memcpy(labels + at, drawn, sizeof drawn);
        if (n % STEP_LISTS == STEP_LISTS - 1)
            train(learner);
    }
    rank_scratch_destroy(scratch);
    learner_destroy(learner);
    return ranking_metrics_auc(scores, labels, (int64_t)ALL);
}

TEST(learner_cannot_tell_who_is_clicked_by_chance)
{
    SKIP_WHERE_THREADS_ARE_WATCHED();
    CHECK_NEAR(.5, auc_of(false), WATCHED ? .5 : .02);
}

TEST(learner_can_tell_who_is_liked)
{
    SKIP_WHERE_THREADS_ARE_WATCHED();
    CHECK(auc_of(true) > (WATCHED ? 0 : .62));
}
