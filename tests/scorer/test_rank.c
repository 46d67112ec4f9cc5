/*
 * Tests scorer/rank: what the header promises about order, rules, isolation and edges, on real
 * item tables and a real (fresh) model.
 */
#include "scorer/rank.h"

#include "features/batch_builder.h"
#include "features/scalars.h"
#include "ops/random.h"

#include "tests/kernels/jagged.h"
#include "tests/test.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define ITEMS 60
#define NOW   INT64_C(1700000000000)
#define HOUR  INT64_C(3600000)

enum { CLICK = 2, HIDE = 6 };

struct fixture {
    struct item_tables *tables;
    struct model *model;
    struct rank_scratch *scratch;
    struct action_row actions[ACTIONS_MAX];
    struct ranker ranker;
    struct user_entry history[8];
    int32_t all[ITEMS];
    struct ranked ranked[ITEMS];
    int count;
    enum degraded degraded;
};

static uint64_t item_hash(int item)
{
    return 1000 + (uint64_t)item * 7919;
}

static struct user_entry entry(uint64_t item, int64_t time_ms, uint8_t action)
{
    return (struct user_entry){.item = item, .time_ms = time_ms, .action = action};
}

/* Item i was clicked i times. */
static void setup(struct fixture *f, bool with_model)
{
    struct item_tables_options options = {.items_max = 1000};
    struct model_config config;
    struct error err;

    *f = (struct fixture){0};
    f->actions[CLICK] = (struct action_row){.name = "click", .code = CLICK, .history = true};
    f->actions[HIDE] = (struct action_row){
        .name = "hide", .code = HIDE, .history = true, .negative = true};
    CHECK_STATUS(OK, item_tables_create(&f->tables, &options, &err));
    for (int i = 0; i < ITEMS; i++) {
        char name[16];

        (void)snprintf(name, sizeof name, "i%d", i);
        f->all[i] = item_tables_index(f->tables, item_hash(i), text_of(name), NOW - 100 * HOUR);
        for (int n = 0; n < i; n++)
            item_tables_observe(f->tables, f->all[i], NOW - 100 * HOUR + n, NULL, 0);
    }
    for (int n = 0; n < 5; n++)
        f->history[n] = entry(item_hash(n), NOW - (5 - n) * HOUR, CLICK);
    CHECK_STATUS(OK, rank_scratch_create(&f->scratch, &err));
    if (with_model) {
        CHECK(model_preset(&config, "small", ITEMS + 1, scalars_count));
        CHECK_STATUS(OK, model_create(&f->model, &config, 7, &err));
    }
    f->ranker = (struct ranker){.model = f->model, .tables = f->tables, .actions = f->actions};
}

static void teardown(struct fixture *f)
{
    rank_scratch_destroy(f->scratch);
    model_destroy(f->model);
    item_tables_destroy(f->tables);
}

static struct rank_request request_of(const struct fixture *f, const int32_t *candidates, int n)
{
    return (struct rank_request){
        .history = f->history,
        .history_count = 5,
        .running = 5,
        .history_known = true,
        .now_ms = NOW,
        .candidates = candidates,
        .candidates_count = n,
        .k = ITEMS,
        .keep_seen = true,
    };
}

static void run(struct fixture *f, const struct rank_request *request)
{
    struct error err;

    CHECK_STATUS(OK,
                 rank(&f->ranker, f->scratch, request, f->ranked, &f->count, &f->degraded, &err));
}

TEST(rank_without_tables_gives_the_list_back_as_it_came)
{
    struct fixture f;
    int32_t candidates[] = {ITEM_NONE, ITEM_NONE, ITEM_NONE};

    setup(&f, false);
    f.ranker.tables = NULL;
    struct rank_request request = request_of(&f, candidates, 3);
    request.k = 2;
    run(&f, &request);
    CHECK_INT(2, f.count);
    CHECK_INT(DEGRADED_AS_GIVEN, f.degraded);
    CHECK(f.ranked[0].candidate == 0 && f.ranked[1].candidate == 1);
    teardown(&f);
}

TEST(rank_without_a_model_orders_by_popularity_and_puts_the_unseen_last)
{
    struct fixture f;

    setup(&f, false);
    int32_t candidates[] = {ITEM_NONE, f.all[10], f.all[50], ITEM_NONE, f.all[30]};
    struct rank_request request = request_of(&f, candidates, 5);
    run(&f, &request);
    CHECK_INT(5, f.count);
    CHECK_INT(DEGRADED_POPULARITY, f.degraded);
    CHECK(f.ranked[0].index == f.all[50] && f.ranked[1].index == f.all[30] &&
          f.ranked[2].index == f.all[10]);
    CHECK(f.ranked[3].candidate == 0 && f.ranked[4].candidate == 3);
    teardown(&f);
}

TEST(rank_leaves_out_items_whose_newest_action_is_negative)
{
    struct fixture f;

    setup(&f, true);
    int32_t candidates[] = {f.all[1], f.all[2], f.all[9]};
    struct rank_request request = request_of(&f, candidates, 3);
    f.history[3] = entry(item_hash(2), NOW - 2 * HOUR, HIDE);
    run(&f, &request);
    CHECK_INT(2, f.count);
    for (int i = 0; i < f.count; i++)
        CHECK(f.ranked[i].index != f.all[2]);
    /* A click after the hide brings it back. */
    f.history[4] = entry(item_hash(2), NOW - HOUR, CLICK);
    run(&f, &request);
    CHECK_INT(3, f.count);
    teardown(&f);
}

TEST(rank_never_shows_an_item_that_is_gone)
{
    struct fixture f;

    setup(&f, true);
    int32_t candidates[] = {f.all[20], f.all[40]};
    item_tables_set_gone(f.tables, f.all[40], true);
    struct rank_request request = request_of(&f, candidates, 2);
    run(&f, &request);
    CHECK_INT(1, f.count);
    CHECK(f.ranked[0].index == f.all[20]);
    request.candidates = NULL;
    run(&f, &request);
    for (int i = 0; i < f.count; i++)
        CHECK(f.ranked[i].index != f.all[40]);
    teardown(&f);
}

TEST(rank_recalls_for_itself_and_leaves_out_what_was_seen)
{
    struct fixture f;

    setup(&f, true);
    struct rank_request request = request_of(&f, NULL, 0);
    request.keep_seen = false;
    request.k = 10;
    run(&f, &request);
    CHECK_INT(10, f.count);
    CHECK_INT(DEGRADED_NONE, f.degraded);
    for (int i = 0; i < f.count; i++) {
        CHECK(f.ranked[i].index > f.all[4]); /* 0..4 are in the sequence */
        for (int j = 0; j < i; j++)
            CHECK(f.ranked[i].index != f.ranked[j].index);
    }
    teardown(&f);
}

TEST(rank_scores_do_not_depend_on_the_other_candidates)
{
    struct fixture f;
    struct random random;
    struct error err;
    float alone[ITEMS], scores[ITEMS];
    int32_t shuffled[ITEMS];

    setup(&f, true);
    random_seed(&random, test_seed());
    for (int i = 0; i < ITEMS; i++) {
        struct rank_request one = request_of(&f, &f.all[i], 1);
        CHECK_STATUS(OK, rank_scores(&f.ranker, f.scratch, &one, &alone[i], &err));
    }
    for (int round = 0; round < 20; round++) {
        int n = 1 + (int)random_below(&random, ITEMS);

        memcpy(shuffled, f.all, sizeof shuffled);
        for (int i = ITEMS - 1; i > 0; i--) {
            int j = (int)random_below(&random, (uint64_t)i + 1);
            int32_t other = shuffled[i];
            shuffled[i] = shuffled[j];
            shuffled[j] = other;
        }
        struct rank_request request = request_of(&f, shuffled, n);
        CHECK_STATUS(OK, rank_scores(&f.ranker, f.scratch, &request, scores, &err));
        for (int i = 0; i < n; i++)
            CHECK(memcmp(&scores[i], &alone[shuffled[i] - f.all[0]], sizeof(float)) == 0);
    }
    teardown(&f);
}

TEST(rank_scores_do_not_depend_on_events_after_the_request)
{
    struct fixture f;
    struct error err;
    float before[ITEMS], after[ITEMS];

    setup(&f, true);
    struct rank_request request = request_of(&f, f.all, ITEMS);
    CHECK_STATUS(OK, rank_scores(&f.ranker, f.scratch, &request, before, &err));
    f.history[5] = entry(item_hash(33), NOW + 1, CLICK);
    f.history[6] = entry(item_hash(34), NOW + HOUR, CLICK);
    request.history_count = 7;
    request.running = 7;
    CHECK_STATUS(OK, rank_scores(&f.ranker, f.scratch, &request, after, &err));
    CHECK(memcmp(before, after, sizeof before) == 0);
    teardown(&f);
}

TEST(rank_gives_the_first_of_the_whole_order_for_any_k)
{
    struct ranked whole[ITEMS];
    struct rank_request request;
    int32_t candidates[ITEMS];
    struct random random;
    struct fixture f;

    setup(&f, true);
    random_seed(&random, test_seed());
    for (int i = 0; i < ITEMS; i++) /* unknown ones and some twice: ties */
        candidates[i] = i % 9 == 0 ? ITEM_NONE : f.all[random_below(&random, ITEMS)];
    request = request_of(&f, candidates, ITEMS);
    run(&f, &request);
    CHECK_INT(ITEMS, f.count);
    memcpy(whole, f.ranked, sizeof whole);
    for (int i = 1; i < ITEMS; i++)
        CHECK(
            whole[i].index == ITEM_NONE || whole[i].score < whole[i - 1].score ||
            (whole[i].score == whole[i - 1].score && whole[i].candidate > whole[i - 1].candidate));
    for (int k = 0; k <= ITEMS; k++) {
        request.k = k;
        run(&f, &request);
        CHECK_INT(k, f.count);
        for (int i = 0; i < k; i++)
            CHECK(f.ranked[i].candidate == whole[i].candidate &&
                  f.ranked[i].score == whole[i].score);
    }
    teardown(&f);
}

/* In front of the unseen: the model knows the item, though it says nothing of use. */
TEST(rank_puts_a_score_that_is_no_number_behind_all_that_are)
{
    struct error err;
    struct fixture f;

    setup(&f, true);
    int32_t candidates[] = {ITEM_NONE, f.all[9], f.all[10], f.all[50], f.all[30]};
    struct rank_request request = request_of(&f, candidates, 5);
    for (int i = 9; i <= 10; i++)
        model_item(f.model, item_tables_row(f.tables, f.all[i]))[0] = NAN;
    CHECK_STATUS(OK, model_prepare(f.model, &err));
    for (request.k = 1; request.k <= 5; request.k++) {
        run(&f, &request);
        CHECK_INT(request.k, f.count);
        for (int i = 0; i < f.count; i++)
            CHECK(i < 2    ? !isnan(f.ranked[i].score)
                  : i == 4 ? f.ranked[i].candidate == 0
                           : f.ranked[i].candidate == i - 1 && isnan(f.ranked[i].score));
    }
    teardown(&f);
}

TEST(rank_of_nothing_is_nothing_and_of_too_much_is_refused)
{
    struct fixture f;
    struct error err;
    static int32_t many[RERANK_CANDIDATES_MAX + 1];

    setup(&f, true);
    struct rank_request request = request_of(&f, f.all, 0);
    run(&f, &request);
    CHECK_INT(0, f.count);
    request = request_of(&f, f.all, ITEMS);
    request.k = 0;
    run(&f, &request);
    CHECK_INT(0, f.count);
    for (int i = 0; i <= RERANK_CANDIDATES_MAX; i++)
        many[i] = f.all[i % ITEMS];
    request = request_of(&f, many, RERANK_CANDIDATES_MAX + 1);
    CHECK_STATUS(ERR_LIMIT,
                 rank(&f.ranker, f.scratch, &request, f.ranked, &f.count, &f.degraded, &err));
    request = request_of(&f, many, RERANK_CANDIDATES_MAX);
    run(&f, &request);
    CHECK_INT(ITEMS, f.count);
    teardown(&f);
}

TEST(rank_says_when_the_sequence_was_not_known)
{
    struct fixture f;

    setup(&f, true);
    struct rank_request request = request_of(&f, f.all, ITEMS);
    request.history_count = 0;
    request.history_known = false;
    run(&f, &request);
    CHECK_INT(DEGRADED_NO_HISTORY, f.degraded);
    for (int i = 0; i < f.count; i++)
        CHECK(isfinite(f.ranked[i].score));
    request.baseline = true;
    run(&f, &request);
    CHECK_INT(DEGRADED_NONE, f.degraded); /* popularity is all this arm promises */
    teardown(&f);
}

static void explain(struct fixture *f, const struct rank_request *request,
                    struct rank_explanation *explanation)
{
    struct error err;

    CHECK_STATUS(
        OK, rank_explain(&f->ranker, f->scratch, request, f->ranked, f->count, explanation, &err));
}

/* One row's score by the model itself, with or without the history and the counts. */
static double score_of(const struct fixture *f, const struct ranked *row, bool history, bool counts)
{
    const struct model_config *config = model_config(f->model);
    struct batch_builder_options options = {.history_max = config->P, .rows_max = config->V};
    struct batch_request request = {.history = f->history,
                                    .history_count = history ? 5 : 0,
                                    .running = history ? 5 : 0,
                                    .request_time_ms = NOW,
                                    .candidates = &row->index,
                                    .raw = counts ? row->raw : NULL,
                                    .candidates_count = 1};
    struct model_workspace *workspace = model_workspace_create();
    struct batch_builder *builder;
    struct error err;
    float score;

    CHECK_STATUS(OK, batch_builder_create(&builder, &options, &err));
    CHECK_STATUS(OK, batch_builder_add(builder, f->tables, &request, &err));
    CHECK_STATUS(OK, model_score(f->model, workspace, batch_builder_batch(builder), &score, &err));
    batch_builder_destroy(builder);
    model_workspace_destroy(workspace);
    return (double)score;
}

TEST(rank_explains_by_the_scalars_and_by_what_a_score_would_lose)
{
    struct fixture f;
    struct rank_request request;
    struct rank_explanation why;
    struct ranked first[ITEMS];
    float scalars[64], parts[ITEMS * RANK_PARTS];

    setup(&f, true);
    request = request_of(&f, f.all, ITEMS);
    run(&f, &request);
    explain(&f, &request, &why);
    CHECK_TEXT("history", why.names[0]);
    CHECK_TEXT("counts", why.names[1]);
    memcpy(first, f.ranked, sizeof first);
    for (int i = 0; i < f.count; i++) {
        scalars_compute(scalars, f.ranked[i].raw, 1);
        for (int c = 0; c < scalars_count; c++)
            CHECK_NEAR(scalars[c], why.scalars[i * scalars_count + c], 0);
    }
    memcpy(parts, why.parts, (size_t)f.count * RANK_PARTS * sizeof parts[0]);
    for (int i = 0; i < f.count; i++) {
        CHECK_NEAR((double)first[i].score - score_of(&f, &first[i], false, true),
                   parts[i * RANK_PARTS], 1e-5);
        CHECK_NEAR((double)first[i].score - score_of(&f, &first[i], true, false),
                   parts[i * RANK_PARTS + 1], 1e-5);
        CHECK_NEAR(first[i].score, score_of(&f, &first[i], true, true), 1e-5);
    }
    teardown(&f);
}

TEST(rank_explains_a_score_without_a_model_as_the_sum_of_its_parts)
{
    struct fixture f;
    struct rank_request request;
    struct rank_explanation why;

    setup(&f, false);
    request = request_of(&f, f.all, ITEMS);
    run(&f, &request);
    explain(&f, &request, &why);
    CHECK_TEXT("covisitation", why.names[0]);
    CHECK_TEXT("popularity", why.names[1]);
    CHECK(f.count > 0);
    for (int i = 0; i < f.count; i++)
        CHECK_NEAR(f.ranked[i].score,
                   (double)why.parts[i * RANK_PARTS] + (double)why.parts[i * RANK_PARTS + 1], 1e-6);
    teardown(&f);
}

TEST(rank_explains_nothing_of_nothing_and_the_longest_list)
{
    static int32_t many[RERANK_K_MAX + 1];
    static struct ranked ranked[RERANK_K_MAX + 1];
    struct fixture f;
    struct rank_request request;
    struct rank_explanation why;
    enum degraded degraded;
    struct error err;
    int count;

    setup(&f, true);
    request = request_of(&f, f.all, 0);
    run(&f, &request);
    explain(&f, &request, &why);
    CHECK(f.count == 0 && why.scalars == NULL);
    for (int i = 0; i < RERANK_K_MAX + 1; i++)
        many[i] = i < ITEMS ? f.all[i] : ITEM_NONE;
    request = request_of(&f, many, RERANK_K_MAX + 1);
    request.k = RERANK_K_MAX;
    CHECK_STATUS(OK, rank(&f.ranker, f.scratch, &request, ranked, &count, &degraded, &err));
    CHECK_INT(RERANK_K_MAX, count);
    CHECK_STATUS(OK, rank_explain(&f.ranker, f.scratch, &request, ranked, count, &why, &err));
    for (int i = 0; i < count * RANK_PARTS; i++)
        CHECK(isfinite(why.parts[i]));
    f.ranker.tables = NULL;
    CHECK_STATUS(OK, rank(&f.ranker, f.scratch, &request, ranked, &count, &degraded, &err));
    CHECK_STATUS(OK, rank_explain(&f.ranker, f.scratch, &request, ranked, count, &why, &err));
    CHECK(why.scalars == NULL);
    teardown(&f);
}

/* Item i of the fixture was chosen i times: with until 10 the first ten are new. */
static int count_new(const struct fixture *f)
{
    int fresh = 0;

    for (int i = 0; i < f->count; i++)
        fresh += item_tables_clicks(f->tables, f->ranked[i].index) < 10;
    return fresh;
}

TEST(rank_keeps_the_last_places_for_new_items)
{
    struct fixture f;
    struct ranked before[ITEMS];
    int before_count;

    setup(&f, false); /* popularity: new ones come last */
    struct rank_request request = request_of(&f, f.all, ITEMS);
    request.k = 20;
    run(&f, &request);
    before_count = f.count;
    memcpy(before, f.ranked, sizeof before);
    CHECK_INT(0, count_new(&f));
    for (int places = 0; places <= 10; places++) {
        request.floor = (struct rank_floor){.share = places / 20.0 + .001, .until = 10};
        run(&f, &request);
        CHECK_INT(before_count, f.count);
        CHECK_INT(places, count_new(&f));
        for (int i = 0; i < f.count - places; i++)
            CHECK(f.ranked[i].index == before[i].index && f.ranked[i].score == before[i].score);
        for (int i = f.count - places + 1; i < f.count; i++) /* the best of them, best first */
            CHECK(f.ranked[i - 1].score >= f.ranked[i].score);
    }
    request.floor = (struct rank_floor){.share = .5, .until = 1000000}; /* all are new */
    run(&f, &request);
    for (int i = 0; i < f.count; i++)
        CHECK(f.ranked[i].index == before[i].index);
    request.floor = (struct rank_floor){.share = .5, .until = 0}; /* none is */
    run(&f, &request);
    for (int i = 0; i < f.count; i++)
        CHECK(f.ranked[i].index == before[i].index);
    request.k = 0;
    request.floor = (struct rank_floor){.share = 1, .until = 10};
    run(&f, &request);
    CHECK_INT(0, f.count);
    teardown(&f);
}

TEST(rank_recalls_new_items_for_the_floor_alone)
{
    struct fixture f;
    int32_t fresh;
    int found = 0;

    setup(&f, true);
    fresh = item_tables_index(f.tables, item_hash(5000), text_of("fresh"), 0);
    CHECK(item_tables_describe(f.tables, fresh, 0) > 0);
    struct rank_request request = request_of(&f, NULL, 0);
    request.k = 10;
    request.keep_seen = false;
    run(&f, &request);
    for (int i = 0; i < f.count; i++)
        found += f.ranked[i].index == fresh;
    CHECK_INT(0, found); /* nothing recalls it */
    request.floor = (struct rank_floor){.share = .1, .until = 1};
    run(&f, &request);
    for (int i = 0; i < f.count; i++)
        found += f.ranked[i].index == fresh;
    CHECK_INT(1, found);
    item_tables_set_gone(f.tables, fresh, true);
    run(&f, &request);
    for (int i = 0; i < f.count; i++)
        CHECK(f.ranked[i].index != fresh);
    teardown(&f);
}

/* Isolation and no leakage, to the bit, whatever is switched. */
static void check_switches(struct fixture *f, const struct model_switches *switches)
{
    struct user_entry history[8];
    struct rank_request request = request_of(f, f->all, ITEMS);
    float scores[ITEMS], other[ITEMS];
    int32_t some[ITEMS];
    struct model_config config;
    struct random random;
    struct error err;
    int count = 0;

    CHECK(model_preset(&config, "small", ITEMS + 1, scalars_count));
    model_switch(&config, switches);
    model_destroy(f->model);
    CHECK_STATUS(OK, model_create(&f->model, &config, 7, &err));
    for (int v = 0; v <= ITEMS && config.text > 0; v++)
        model_item_text(f->model, v)[v % config.text] = 1;
    CHECK_STATUS(OK, model_prepare(f->model, &err));
    f->ranker.model = f->model;
    CHECK_STATUS(OK, rank_scores(&f->ranker, f->scratch, &request, scores, &err));

    memcpy(history, f->history, 5 * sizeof *history);
    for (int n = 5; n < 8; n++) /* the future, as a sequence may hold it */
        history[n] = entry(item_hash(n * 3), NOW + n, CLICK);
    request.history = history;
    request.history_count = request.running = 8;
    CHECK_STATUS(OK, rank_scores(&f->ranker, f->scratch, &request, other, &err));
    for (int i = 0; i < ITEMS; i++)
        CHECK(scores[i] == other[i]);

    random_seed(&random, test_seed());
    for (int i = 0; i < ITEMS; i++)
        if (random_below(&random, 2) == 0)
            some[count++] = i;
    for (int i = count - 1; i > 0; i--) {
        int j = (int)random_below(&random, (uint64_t)i + 1);
        int32_t moved = some[i];

        some[i] = some[j];
        some[j] = moved;
    }
    for (int i = 0; i < count; i++)
        some[i] = f->all[some[i]];
    request.candidates = some;
    request.candidates_count = count;
    CHECK_STATUS(OK, rank_scores(&f->ranker, f->scratch, &request, other, &err));
    for (int i = 0; i < count; i++)
        for (int j = 0; j < ITEMS; j++)
            CHECK(f->all[j] != some[i] || scores[j] == other[i]);
}

TEST(rank_scores_know_neither_the_future_nor_each_other_whatever_is_switched)
{
    struct fixture f;

    setup(&f, true);
    for (int number = 0; number < 2 * SWITCHES; number++) {
        struct model_config config = {.attention = (enum model_attention)(number % 2),
                                      .head = (enum model_head)(number / 2 % 2)};
        struct model_switches switches;

        switches_set(&config, number / 2);
        switches = model_switches_of(&config);
        check_switches(&f, &switches);
    }
    teardown(&f);
}

/* ---- the model's own candidates ---- */

#define MANY 900 /* items, of which popularity brings the 300 with the most clicks */

struct next_fixture {
    struct fixture f;
    int32_t indices[MANY];
    float scores[MANY + 1]; /* by row */
    struct ranked ranked[2000];
};

/* Item i was clicked 2 + i / 100 times; the model knows all of them. */
static void setup_next(struct next_fixture *n)
{
    struct item_tables_options options = {.items_max = 1000};
    struct batch_builder_options builder_options = {.rows_max = MANY + 1};
    struct batch_builder *builder;
    struct model_workspace *workspace = model_workspace_create();
    struct model_config config;
    struct error err;

    setup(&n->f, false);
    item_tables_destroy(n->f.tables);
    CHECK_STATUS(OK, item_tables_create(&n->f.tables, &options, &err));
    for (int i = 0; i < MANY; i++) {
        n->indices[i] = item_tables_index(n->f.tables, item_hash(i), text_of("x"), NOW - HOUR);
        for (int c = 0; c < 2 + i / 100; c++)
            item_tables_observe(n->f.tables, n->indices[i], NOW - HOUR + c, NULL, 0);
        CHECK_INT(i + 1, item_tables_row(n->f.tables, n->indices[i]));
    }
    CHECK(model_preset(&config, "small", MANY + 1 + 64, scalars_count)); /* rows of nobody */
    CHECK_STATUS(OK, model_create(&n->f.model, &config, 7, &err));
    n->f.ranker = (struct ranker){
        .model = n->f.model, .tables = n->f.tables, .actions = n->f.actions};
    builder_options.history_max = model_history_max(n->f.model);
    CHECK_STATUS(OK, batch_builder_create(&builder, &builder_options, &err));
    struct batch_request history = {
        .history = n->f.history, .history_count = 5, .running = 5, .request_time_ms = NOW};
    CHECK_STATUS(OK, batch_builder_add(builder, n->f.tables, &history, &err));
    float all[MANY + 1 + 64];
    CHECK_STATUS(OK,
                 model_next_all(n->f.model, workspace, batch_builder_batch(builder), all, &err));
    memcpy(n->scores, all, sizeof n->scores);
    batch_builder_destroy(builder);
    model_workspace_destroy(workspace);
}

static int recalled(struct next_fixture *n, int recall_next, int history_count, bool keep_seen)
{
    struct rank_request request = request_of(&n->f, NULL, 0);
    struct error err;

    request.recall_next = recall_next;
    request.history_count = history_count;
    request.keep_seen = keep_seen;
    request.k = 2000;
    CHECK_STATUS(OK, rank(&n->f.ranker, n->f.scratch, &request, n->ranked, &n->f.count,
                          &n->f.degraded, &err));
    return n->f.count;
}

static bool offered(const struct next_fixture *n, int item)
{
    for (int i = 0; i < n->f.count; i++)
        if (n->ranked[i].index == n->indices[item])
            return true;
    return false;
}

/* How many of the items that may be shown have a better next-item score. */
static int better_next(const struct next_fixture *n, int item, bool keep_seen)
{
    int better = 0;

    for (int i = keep_seen ? 0 : 5; i < MANY; i++)
        better += !item_tables_gone(n->f.tables, n->indices[i]) &&
                  n->scores[i + 1] > n->scores[item + 1];
    return better;
}

TEST(rank_recalls_the_items_with_the_best_next_item_scores)
{
    static struct next_fixture n;

    setup_next(&n);
    item_tables_set_gone(n.f.tables, n.indices[17], true);
    item_tables_set_gone(n.f.tables, n.indices[500], true);
    for (int keep = 0; keep < 2; keep++) {
        int unlike = 0;

        CHECK_INT(300, recalled(&n, 0, 5, keep == 1));
        CHECK(recalled(&n, 40, 5, keep == 1) > 300 && n.f.count <= 340);
        for (int i = 0; i < MANY; i++) {
            bool seen = i < 5 && keep == 0, gone = i == 17 || i == 500;

            if (seen || gone)
                CHECK(!offered(&n, i));
            else if (better_next(&n, i, keep == 1) < 40)
                CHECK(offered(&n, i));
            else
                unlike += !offered(&n, i);
            for (int j = 0, found = 0; j < n.f.count; j++) {
                found += n.ranked[j].index == n.indices[i];
                CHECK(found < 2);
            }
        }
        CHECK(unlike > 400);
    }
    n.f.history[3] = entry(item_hash(800), NOW - 2 * HOUR, HIDE);
    (void)recalled(&n, RANK_NEXT_MAX, 5, true);
    CHECK(!offered(&n, 800));
    teardown(&n.f);
}

/* A delta gives rows out whose weights nobody has trained: they are near the unknown item's. */
TEST(rank_recalls_by_next_items_none_that_came_after_the_weights)
{
    static struct next_fixture n;
    int before = 0, later = 0;

    setup_next(&n);
    (void)recalled(&n, RANK_NEXT_MAX, 5, true);
    for (int i = 0; i < 600; i++) /* popularity brings those from 600 on */
        before += offered(&n, i);
    CHECK(before > 100);
    n.f.ranker.trained_rows = 1 + 300;
    CHECK_INT(600, recalled(&n, RANK_NEXT_MAX, 5, true));
    for (int i = 0; i < 600; i++)
        (i < 300 ? (before -= offered(&n, i)) : (later += offered(&n, i)));
    CHECK_INT(0, later);
    n.f.ranker.trained_rows = 2000; /* beyond what there is */
    (void)recalled(&n, RANK_NEXT_MAX, 5, true);
    for (int i = 300; i < 600; i++)
        later += offered(&n, i);
    CHECK(later > 50);
    teardown(&n.f);
}

TEST(rank_recalls_by_next_items_only_where_there_is_a_history_and_a_model)
{
    static struct next_fixture n;

    setup_next(&n);
    CHECK_INT(300, recalled(&n, RANK_NEXT_MAX, 0, true)); /* no history */
    CHECK(recalled(&n, RANK_NEXT_AUTO, 5, true) > 300 && n.f.count <= 300 + RANK_NEXT_DEFAULT);
    n.f.ranker.model = NULL;
    CHECK_INT(300, recalled(&n, RANK_NEXT_MAX, 5, true));
    CHECK_INT(0, rank_next_of(RANK_NEXT_AUTO, RANK_NEXT_ROWS + 1));
    CHECK_INT(7, rank_next_of(7, RANK_NEXT_ROWS + 1));
    teardown(&n.f);
}
