/*
 * Tests retrain/learner: the same events give the same bits, cut anywhere; what a list holds was
 * known before its choice; what is no choice teaches nothing; erasure; beginning anew.
 */
#include "retrain/learner.h"

#include "features/batch_builder.h"
#include "tests/retrain/retrain_fixture.h"
#include "tests/support/watched.h"
#include "tests/test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct error err;

static void check_same_weights(struct learner *a, struct learner *b)
{
    CHECK_INT(model_tensors_count(learner_model(a)), model_tensors_count(learner_model(b)));
    for (int32_t i = 0; i < model_tensors_count(learner_model(a)); i++) {
        struct model_tensor of_a = model_tensor(learner_model(a), i);
        struct model_tensor of_b = model_tensor(learner_model(b), i);

        CHECK_INT(of_a.count, of_b.count);
        if (memcmp(of_a.data, of_b.data, of_a.count * sizeof *of_a.data) != 0)
            test_fail(__FILE__, __LINE__, "weights \"%s\" differ", of_a.name);
    }
}

static void check_learner_options(const char *preset, const char *objective, enum status want)
{
    struct learner_options options;
    struct learner *learner;

    retrain_learner_options(&options);
    options.preset = preset;
    options.objective = objective;
    CHECK_STATUS(want, learner_create(&learner, &options, &err));
    CHECK((learner != NULL) == (want == OK));
    if (want != OK)
        CHECK(strstr(err.text, "preset") != NULL || strstr(err.text, "objective") != NULL);
    learner_destroy(learner);
}

TEST(learner_refuses_presets_and_objectives_that_are_none)
{
    check_learner_options("small", "list", OK);
    check_learner_options("tiny", "list", ERR_CONFIG);
    check_learner_options("small", "lists", ERR_CONFIG);
    check_learner_options("", "", ERR_CONFIG);
    learner_destroy(NULL);
}

TEST(learner_without_events_does_nothing)
{
    struct learner *learner = retrain_learner();
    bool worked = true;

    CHECK_STATUS(OK, learner_step(learner, INT64_MAX, &worked, &err));
    CHECK(!worked);
    CHECK_STATUS(OK, learner_ready(learner, &err));
    CHECK_INT(0, learner_progress(learner)->steps);
    learner_destroy(learner);
}

TEST(learner_makes_the_same_bits_of_the_same_events)
{
    struct learner *a = retrain_learner(), *b = retrain_learner();

    for (int part = 0; part < 4; part++) {
        for (int i = 0; i < 2; i++) {
            retrain_feed(i == 0 ? a : b, part * 80, part * 80 + 80);
            retrain_train(i == 0 ? a : b, 4);
        }
    }
    check_same_weights(a, b);
    CHECK(learner_progress(a)->list_loss == learner_progress(b)->list_loss);
    CHECK_INT(16, learner_progress(a)->steps);
    CHECK(isfinite(learner_progress(a)->list_loss) && learner_progress(a)->list_loss > 0);
    learner_destroy(a);
    learner_destroy(b);
}

static struct learner *narrow_learner(int recall_next)
{
    struct learner_options options;
    struct learner *learner;

    retrain_learner_options(&options);
    options.recall_each = 2;
    options.recall_next = recall_next;
    CHECK_STATUS(OK, learner_create(&learner, &options, &err));
    for (int part = 0; part < 4; part++) {
        retrain_feed(learner, part * 100, part * 100 + 100);
        retrain_train(learner, 4);
    }
    return learner;
}

TEST(learner_makes_lists_of_the_models_own_candidates_too)
{
    struct learner *without = narrow_learner(0), *with = narrow_learner(100);
    struct learner *again = narrow_learner(100);

    CHECK_INT(learner_progress(without)->recalled + learner_progress(without)->not_recalled,
              learner_progress(with)->recalled + learner_progress(with)->not_recalled);
    CHECK(learner_progress(with)->recalled > 2 * learner_progress(without)->recalled);
    check_same_weights(with, again);
    learner_destroy(without);
    learner_destroy(with);
    learner_destroy(again);
}

TEST(learner_of_another_seed_makes_other_weights)
{
    struct learner_options options;
    struct learner *a = retrain_learner(), *b;
    struct model_tensor of_a, of_b;

    retrain_learner_options(&options);
    options.seed = 99;
    CHECK_STATUS(OK, learner_create(&b, &options, &err));
    of_a = model_tensor(learner_model(a), 0);
    of_b = model_tensor(learner_model(b), 0);
    CHECK(memcmp(of_a.data, of_b.data, of_a.count * sizeof *of_a.data) != 0);
    learner_destroy(a);
    learner_destroy(b);
}

TEST(learner_learns_what_is_there_to_learn)
{
    struct learner *learner = retrain_learner();
    double first;

    retrain_feed(learner, 0, 1200);
    retrain_train(learner, 5);
    first = learner_progress(learner)->list_loss;
    retrain_train(learner, 150);
    CHECK(learner_progress(learner)->list_loss < first);
    CHECK_INT(0, learner_progress(learner)->rejected);
    CHECK(learner_progress(learner)->trained_until_ms <= retrain_time_ms(1199));
    learner_destroy(learner);
}

/* ---- no feature holds its own example ---- */

static void look(void *context, const struct list *list)
{
    int *seen = context;
    int64_t clicks = 0;

    /* Row 0 was chosen. Its counts are those of before the event, which was not entered yet. */
    for (int c = 0; c < RAW_COLUMNS; c++)
        CHECK(list->raw[c] >= -1);
    for (int i = 0; i < list->rows_count; i++)
        clicks += list->labels[i] > 0;
    CHECK_INT(1, clicks);
    CHECK(list->labels[0] == 1 && list->id == 0);
    for (int i = 0; i < list->history_count; i++)
        CHECK(list->history[i].time_ms < list->time_ms);
    for (int i = 1; i < list->rows_count; i++)
        CHECK(list->rows[i] != list->rows[0]);
    (*seen)++;
}

TEST(learner_shows_a_list_to_its_watcher_before_anything_learnt_from_it)
{
    struct learner *learner = retrain_learner();
    int seen = 0;

    learner_watch(learner, look, &seen);
    retrain_feed(learner, 0, 300);
    CHECK(seen > 100);
    CHECK_INT(seen, learner_progress(learner)->recalled);
    CHECK_INT(seen, lists_fresh(learner_recalled_lists(learner)));
    learner_destroy(learner);
}

TEST(learner_lists_hold_the_counts_of_before_their_choice)
{
    struct learner *learner = retrain_learner(), *before = retrain_learner();
    int compared = 0;

    for (int i = 0; i < 200; i++) {
        struct event event = retrain_event(i);
        uint64_t item = rules_item_hash(retrain_rules(), event.item);
        uint64_t user = rules_user_hash(retrain_rules(), event.user);
        int fresh = lists_fresh(learner_recalled_lists(learner));
        int64_t raw[RAW_COLUMNS];

        /* What serving would have used a moment before the click. */
        CHECK_STATUS(OK, learner_raw(before, user, event.time_ms, &item, 1, raw, &err));
        CHECK_STATUS(OK, learner_event(learner, &event, NULL, &err));
        CHECK_STATUS(OK, learner_event(before, &event, NULL, &err));
        if (lists_fresh(learner_recalled_lists(learner)) == fresh)
            continue;
        const struct list *list = lists_fresh_at(learner_recalled_lists(learner), fresh);
        CHECK(memcmp(raw, list->raw, sizeof raw) == 0);
        compared++;
    }
    CHECK(compared > 50);
    learner_destroy(learner);
    learner_destroy(before);
}

/* ---- what is no choice ---- */

static struct event click(const char *user, const char *item, int64_t time_ms)
{
    return (struct event){.kind = EVENT_ACTION,
                          .action = FIXTURE_CLICK,
                          .time_ms = time_ms,
                          .user = text_of(user),
                          .item = text_of(item)};
}

TEST(learner_counts_a_duplicate_once_whatever_the_order)
{
    struct learner *learner = retrain_learner();
    struct event first = click("u", "a", retrain_time_ms(5));
    struct event older = click("u", "b", retrain_time_ms(1));
    bool entered;

    CHECK_STATUS(OK, learner_event(learner, &first, &entered, &err));
    CHECK(entered);
    CHECK_STATUS(OK, learner_event(learner, &older, &entered, &err));
    CHECK(entered); /* out of order, and new */
    for (int i = 0; i < 3; i++) {
        CHECK_STATUS(OK, learner_event(learner, &first, &entered, &err));
        CHECK(!entered);
        CHECK_STATUS(OK, learner_event(learner, &older, &entered, &err));
        CHECK(!entered);
    }
    struct item_tables *tables = learner_tables(learner);
    int32_t a = item_tables_find(tables, rules_item_hash(retrain_rules(), text_of("a")));
    CHECK_INT(1, item_tables_clicks(tables, a));
    CHECK_INT(2, holdout_count(learner_holdout(learner)));
    learner_destroy(learner);
}

TEST(learner_knows_of_a_hide_and_counts_no_click)
{
    struct learner *learner = retrain_learner();
    struct event event = click("u", "a", retrain_time_ms(5));
    bool entered;

    event.action = FIXTURE_HIDE;
    CHECK_STATUS(OK, learner_event(learner, &event, &entered, &err));
    CHECK(entered);
    CHECK_INT(
        1, sequences_get(learner_sequences(learner), rules_user_hash(retrain_rules(), text_of("u")))
               .count);
    CHECK_INT(ITEM_NONE, item_tables_find(learner_tables(learner),
                                          rules_item_hash(retrain_rules(), text_of("a"))));
    CHECK_INT(0, holdout_count(learner_holdout(learner)));
    learner_destroy(learner);
}

TEST(learner_counts_what_was_shown_apart_from_clicks)
{
    struct learner *learner = retrain_learner();
    struct text rows[] = {text_of("a"), text_of("b"), text_of("a")};
    struct event event = {.kind = EVENT_IMPRESSION,
                          .time_ms = retrain_time_ms(1),
                          .user = text_of("u"),
                          .rows = rows,
                          .rows_count = 3};

    CHECK_STATUS(OK, learner_event(learner, &event, NULL, &err));
    struct item_tables *tables = learner_tables(learner);
    int32_t a = item_tables_find(tables, rules_item_hash(retrain_rules(), text_of("a")));
    CHECK(a != ITEM_NONE);
    CHECK_INT(0, item_tables_clicks(tables, a));
    CHECK_INT(2, item_tables_shown(tables, a));
    CHECK_INT(
        0, sequences_get(learner_sequences(learner), rules_user_hash(retrain_rules(), text_of("u")))
               .count);
    CHECK_INT(3, holdout_count(learner_holdout(learner)));
    learner_destroy(learner);
}

/* FAULTS 24, 30: a producer that sends a list again, of this request or without one, and one whose
 * user was erased meanwhile. */
TEST(learner_counts_a_list_once_that_is_sent_again)
{
    struct learner *learner = retrain_learner();
    struct text row = text_of("a");
    struct event event = {.kind = EVENT_IMPRESSION,
                          .time_ms = retrain_time_ms(1),
                          .user = text_of("u"),
                          .rows = &row,
                          .rows_count = 1};
    struct item_tables *tables = learner_tables(learner);
    int32_t a;

    for (int sent = 0; sent < 3; sent++) {
        for (int named = 0; named < 2; named++) {
            event.request_id = text_of(named ? "r1" : "");
            CHECK_STATUS(OK, learner_event(learner, &event, NULL, &err));
        }
        a = item_tables_find(tables, rules_item_hash(retrain_rules(), row));
        CHECK_INT(2, item_tables_shown(tables, a));
        CHECK_INT(2, holdout_count(learner_holdout(learner)));
    }
    event.time_ms++; /* of request r1 still: the same list */
    CHECK_STATUS(OK, learner_event(learner, &event, NULL, &err));
    CHECK_INT(2, item_tables_shown(tables, a));
    event.request_id = text_of("");
    CHECK_STATUS(OK, learner_event(learner, &event, NULL, &err));
    CHECK_INT(3, item_tables_shown(tables, a));
    event.user = text_of("v");
    CHECK_STATUS(OK, learner_event(learner, &event, NULL, &err));
    CHECK_INT(4, item_tables_shown(tables, a));
    CHECK_STATUS(OK, learner_erase(learner, rules_user_hash(retrain_rules(), event.user),
                                   event.time_ms + 10, &err));
    event.time_ms += 10;
    CHECK_STATUS(OK, learner_event(learner, &event, NULL, &err));
    CHECK_INT(4, item_tables_shown(tables, a));
    event.time_ms++;
    CHECK_STATUS(OK, learner_event(learner, &event, NULL, &err));
    CHECK_INT(5, item_tables_shown(tables, a));
    learner_destroy(learner);
}

/* A click with a request id, so long after event 400: is it taken for the answer to a list? */
static bool is_answer_after(struct learner *learner, int64_t ms)
{
    const struct holdout *holdout = learner_holdout(learner);
    struct event event = retrain_event(0);
    bool entered;

    event.time_ms = retrain_time_ms(400) + ms;
    event.request_id = text_of("r1");
    CHECK_STATUS(OK, learner_event(learner, &event, &entered, &err));
    CHECK(entered);
    return holdout_at(holdout, holdout_count(holdout) - 1)->answer;
}

TEST(learner_takes_a_request_for_an_answer_while_lists_are_shown)
{
    struct learner *learner = retrain_learner();
    int64_t window_ms = retrain_rules()->join_window_ms;
    struct text rows[] = {text_of("i1"), text_of("i2")};
    struct event shown = {.kind = EVENT_IMPRESSION,
                          .time_ms = retrain_time_ms(400) + 2,
                          .user = text_of("u1"),
                          .request_id = text_of("r0"),
                          .rows = rows,
                          .rows_count = 2};

    retrain_feed(learner, 0, 400);
    CHECK(!is_answer_after(learner, 1)); /* nobody says what was shown */
    CHECK_STATUS(OK, learner_event(learner, &shown, NULL, &err));
    CHECK(is_answer_after(learner, 3));
    CHECK(is_answer_after(learner, 2 + window_ms));
    /* One list, once: it is no reason to learn from no choice with a request ever again. */
    CHECK(!is_answer_after(learner, 3 + window_ms));
    learner_destroy(learner);
}

TEST(learner_forgets_a_user_who_is_erased)
{
    struct learner *learner = retrain_learner();
    struct event erase = {
        .kind = EVENT_ERASE, .user = text_of("u3"), .time_ms = retrain_time_ms(999)};
    struct event again = retrain_event(0);
    bool entered;
    int of_user = 0;

    retrain_feed(learner, 0, 400);
    const struct lists *lists = learner_recalled_lists(learner);
    for (int i = 0; i < lists_held(lists); i++)
        of_user += lists_held_at(lists, i)->user == retrain_user(3);
    CHECK(of_user > 0);
    CHECK_STATUS(OK, learner_event(learner, &erase, NULL, &err));
    for (int i = 0; i < lists_held(lists); i++)
        CHECK(lists_held_at(lists, i)->user != retrain_user(3));
    CHECK_INT(0, sequences_get(learner_sequences(learner), retrain_user(3)).count);
    again.user = text_of("u3");
    CHECK_STATUS(OK, learner_event(learner, &again, &entered, &err));
    CHECK(!entered); /* a replay does not bring it back */
    retrain_train(learner, 2);
    learner_destroy(learner);
}

/* How often a user's hash stands in what a checkpoint keeps of the learner. */
static int mentions(struct learner *learner, uint64_t user)
{
    struct state_file *state;
    char path[300], *bytes;
    size_t count;
    int found = 0;

    (void)snprintf(path, sizeof path, "%s/mentions", test_folder());
    CHECK_STATUS(OK, state_file_begin(&state, path, &err));
    learner_save(learner, state);
    CHECK_STATUS(OK, state_file_commit(state, &err));
    bytes = retrain_read(path, &count);
    for (size_t i = 0; i + sizeof user <= count; i++)
        found += memcmp(bytes + i, &user, sizeof user) == 0;
    free(bytes);
    return found;
}

TEST(learner_keeps_of_an_erased_user_when_that_was_and_nothing_more)
{
    struct learner *learner = retrain_learner();
    struct event erase = {
        .kind = EVENT_ERASE, .user = text_of("u3"), .time_ms = retrain_time_ms(300)};
    int held = 0;

    retrain_feed(learner, 0, 400);
    const struct holdout *holdout = learner_holdout(learner);
    for (int i = 0; i < holdout_count(holdout); i++)
        held += holdout_at(holdout, i)->user == retrain_user(3);
    CHECK(held > 0);
    CHECK_STATUS(OK, learner_event(learner, &erase, NULL, &err));
    CHECK_INT(400, holdout_count(holdout)); /* shared counts stay */
    for (int i = 0; i < holdout_count(holdout); i++)
        CHECK(holdout_at(holdout, i)->user != retrain_user(3) ||
              holdout_at(holdout, i)->time_ms > retrain_time_ms(300));
    erase.time_ms = retrain_time_ms(999);
    CHECK_STATUS(OK, learner_event(learner, &erase, NULL, &err));
    CHECK_INT(1, mentions(learner, retrain_user(3)));
    learner_destroy(learner);
}

TEST(learner_does_not_train_on_what_is_held_out)
{
    struct learner *learner = retrain_learner();
    int64_t until_ms = retrain_time_ms(200);
    bool worked = true;

    retrain_feed(learner, 0, 400);
    for (int i = 0; i < 1000 && worked; i++)
        CHECK_STATUS(OK, learner_step(learner, until_ms, &worked, &err));
    CHECK(!worked); /* it ends */
    CHECK(learner_progress(learner)->trained_until_ms < until_ms);
    const struct lists *lists = learner_recalled_lists(learner);
    CHECK(lists_fresh(lists) > 50);
    for (int i = 0; i < lists_fresh(lists); i++)
        CHECK(lists_fresh_at(lists, i)->time_ms >= until_ms);
    /* The next round trains on it. */
    CHECK_STATUS(OK, learner_step(learner, INT64_MAX, &worked, &err));
    CHECK(worked);
    learner_destroy(learner);
}

TEST(learner_does_not_train_on_what_is_held_out_when_its_pool_is_too_small)
{
    struct learner_options options;
    struct learner *learner;
    int64_t until_ms = retrain_time_ms(200);
    bool worked = true;

    retrain_learner_options(&options);
    options.recalled.fresh_max = 20; /* the others are kept before anything learnt from them */
    options.recalled.kept_max = 1000;
    CHECK_STATUS(OK, learner_create(&learner, &options, &err));
    retrain_feed(learner, 200, 400);
    retrain_feed(learner, 0, 200); /* old events that come late */
    for (int i = 0; i < 1000 && worked; i++)
        CHECK_STATUS(OK, learner_step(learner, until_ms, &worked, &err));
    CHECK(learner_progress(learner)->trained_until_ms > 0);
    CHECK(learner_progress(learner)->trained_until_ms < until_ms);
    learner_destroy(learner);
}

TEST(learner_says_how_far_it_learnt_from_histories_alone)
{
    struct learner_options options;
    struct learner *learner;
    bool worked = true;

    retrain_learner_options(&options);
    options.recalled_share = 0; /* no lists */
    CHECK_STATUS(OK, learner_create(&learner, &options, &err));
    retrain_feed(learner, 0, 400);
    for (int i = 0; i < 1000 && worked; i++)
        CHECK_STATUS(OK, learner_step(learner, retrain_time_ms(200), &worked, &err));
    CHECK(learner_progress(learner)->trained_until_ms < retrain_time_ms(200));
    CHECK(learner_progress(learner)->trained_until_ms > retrain_time_ms(180));
    learner_destroy(learner);
}

TEST(learner_begins_anew_from_a_champion_or_from_nothing)
{
    struct learner *a = retrain_learner(), *b = retrain_learner(), *c = retrain_learner();
    struct model *champion;

    retrain_feed(a, 0, 200);
    retrain_train(a, 3);
    CHECK_STATUS(OK, model_copy(&champion, learner_model(a), &err));
    retrain_train(a, 5);
    CHECK_STATUS(OK, learner_reset_model(a, champion, &err));
    CHECK_STATUS(OK, learner_reset_model(b, champion, &err));
    model_destroy(champion); /* it was copied */
    check_same_weights(a, b);
    CHECK_STATUS(OK, learner_reset_model(a, NULL, &err));
    check_same_weights(a, c);
    retrain_feed(a, 200, 260);
    retrain_train(a, 2);
    CHECK_STATUS(OK, learner_ready(a, &err));
    learner_destroy(a);
    learner_destroy(b);
    learner_destroy(c);
}

TEST(learner_adopts_tables_of_its_own_data_set_only)
{
    struct learner *from = retrain_learner(), *to = retrain_learner();
    struct item_tables_options other = {.items_max = 10, .seed = FIXTURE_SEED + 1};
    struct item_tables *tables;
    char path[300];

    CHECK_STATUS(OK, item_tables_create(&tables, &other, &err));
    CHECK_STATUS(ERR_CONFLICT, learner_adopt(to, tables, &err));
    item_tables_destroy(tables); /* it stayed ours */
    retrain_feed(from, 0, 200);
    (void)snprintf(path, sizeof path, "%s/items", test_folder());
    CHECK_STATUS(OK, item_tables_save(learner_tables(from), path, &err));
    CHECK_STATUS(OK, item_tables_load(&tables, path, &err));
    CHECK_STATUS(OK, learner_adopt(to, tables, &err));
    CHECK_INT(item_tables_count(learner_tables(from)), item_tables_count(learner_tables(to)));
    retrain_feed(to, 200, 300);
    retrain_train(to, 2);
    learner_destroy(from);
    learner_destroy(to);
}

/* ---- what the catalogue says ---- */

static void say(struct learner *learner, const char *name, const char *category)
{
    struct item item = {.item = text_of(name), .category = text_of(category)};

    CHECK_STATUS(OK, learner_item(learner, &item, &err));
}

static const float *row_of(struct learner *learner, const char *name)
{
    int32_t index = item_tables_find(learner_tables(learner),
                                     rules_item_hash(retrain_rules(), text_of(name)));
    int32_t row = index == ITEM_NONE ? 0 : item_tables_row(learner_tables(learner), index);

    return row == 0 || row >= model_config(learner_model(learner))->V
               ? NULL
               : model_item(learner_model(learner), row);
}

/* Cosine of a row and the mean of a group's rows. */
static double likeness(struct learner *learner, const float *row, const char *prefix, int items)
{
    int32_t C = model_config(learner_model(learner))->C;
    double xy = 0, xx = 0, yy = 0;

    for (int32_t c = 0; c < C; c++) {
        double mean = 0;

        for (int i = 0; i < items; i++) {
            char name[32];

            (void)snprintf(name, sizeof name, "%s%d", prefix, i);
            CHECK(row_of(learner, name) != NULL);
            mean += (double)row_of(learner, name)[c] / items;
        }
        xy += (double)row[c] * mean;
        xx += (double)row[c] * (double)row[c];
        yy += mean * mean;
    }
    return xy / sqrt(xx * yy);
}

/* A learner that heard of four shoes and four hats, then of 300 choices of them. */
static struct learner *of_shoes_and_hats(int cold_items, const char *new_item)
{
    struct learner_options options;
    struct learner *learner;

    retrain_learner_options(&options);
    options.cold_items = cold_items;
    CHECK_STATUS(OK, learner_create(&learner, &options, &err));
    for (int i = 0; i < 8; i++) {
        char name[32];

        (void)snprintf(name, sizeof name, "%s%d", i < 4 ? "shoe" : "hat", i % 4);
        say(learner, name, i < 4 ? "shoes" : "hats");
    }
    say(learner, new_item, "shoes");
    for (int n = 0; n < 300; n++) {
        char user[32], item[32];
        struct event event = {
            .kind = EVENT_ACTION, .action = 1, .time_ms = 1700000000000 + n * 1000};
        bool worked;

        (void)snprintf(user, sizeof user, "u%d", n % 10);
        (void)snprintf(item, sizeof item, "%s%d", n % 2 == 0 ? "shoe" : "hat", n / 10 % 4);
        event.user = text_of(user);
        event.item = text_of(item);
        CHECK_STATUS(OK, learner_event(learner, &event, NULL, &err));
        if (n % 10 == 9)
            CHECK_STATUS(OK, learner_step(learner, INT64_MAX, &worked, &err));
    }
    CHECK_STATUS(OK, learner_ready(learner, &err));
    return learner;
}

TEST(learner_gives_an_item_nobody_has_seen_the_mean_of_its_category)
{
    struct learner *learner = of_shoes_and_hats(100, "new");
    const float *row = row_of(learner, "new");

    CHECK(row != NULL);
    CHECK(likeness(learner, row, "shoe", 4) > .999);
    CHECK(likeness(learner, row, "hat", 4) < .99);
    say(learner, "nothing", "");
    CHECK(row_of(learner, "nothing") == NULL);
    learner_destroy(learner);
    learner = of_shoes_and_hats(8, "new"); /* the others had all that there were */
    CHECK(row_of(learner, "new") == NULL && row_of(learner, "hat3") != NULL);
    CHECK_INT(ITEM_NONE, item_tables_find(learner_tables(learner),
                                          rules_item_hash(retrain_rules(), text_of("new"))));
    learner_destroy(learner);
}

/* Where its model has a text vector for that item. */
static bool has_text(struct learner *learner, const char *name)
{
    int32_t width = model_config(learner_model(learner))->text;
    int32_t index = item_tables_find(learner_tables(learner),
                                     rules_item_hash(retrain_rules(), text_of(name)));
    int32_t row = item_tables_row(learner_tables(learner), index);
    bool any = false;

    CHECK(row > 0 && row < model_config(learner_model(learner))->V);
    for (int32_t i = 0; i < width; i++)
        any = any || model_item_text(learner_model(learner), row)[i] != 0;
    return any;
}

TEST(learner_puts_texts_beside_the_rows_of_every_model)
{
    struct learner_options options;
    struct learner *learner;
    bool worked;

    retrain_learner_options(&options);
    options.switches.text = 32;
    CHECK_STATUS(OK, learner_create(&learner, &options, &err));
    say(learner, "i0", "shoes");
    for (int n = 0; n < 20; n++) {
        char user[32];
        struct event event = {.kind = EVENT_ACTION, .action = 1};

        (void)snprintf(user, sizeof user, "u%d", n % 5);
        event.time_ms = 1700000000000 + n * 1000;
        event.user = text_of(user);
        event.item = text_of(n % 2 == 0 ? "i0" : "i1");
        CHECK_STATUS(OK, learner_event(learner, &event, NULL, &err));
        if (n < 19)
            continue;
        CHECK_STATUS(OK, learner_step(learner, INT64_MAX, &worked, &err));
    }
    CHECK(has_text(learner, "i0") && !has_text(learner, "i1"));
    CHECK_STATUS(OK, learner_reset_model(learner, NULL, &err));
    CHECK_STATUS(OK, learner_step(learner, INT64_MAX, &worked, &err));
    CHECK(has_text(learner, "i0") && !has_text(learner, "i1"));
    learner_destroy(learner);
}

TEST(learner_has_an_item_back_that_a_later_record_names)
{
    struct learner_options options;
    struct learner *learner;
    struct item_tables *tables;
    struct item gone = {.item = text_of("shoe"), .gone = true};
    int32_t shoe;

    retrain_learner_options(&options);
    options.cold_items = 10;
    CHECK_STATUS(OK, learner_create(&learner, &options, &err));
    tables = learner_tables(learner);
    say(learner, "shoe", "shoes");
    shoe = item_tables_find(tables, rules_item_hash(retrain_rules(), text_of("shoe")));
    CHECK_STATUS(OK, learner_item(learner, &gone, &err));
    CHECK(item_tables_gone(tables, shoe));
    say(learner, "shoe", "");
    CHECK(!item_tables_gone(tables, shoe));
    learner_destroy(learner);
}

TEST(learner_takes_back_rows_and_lets_nobody_inherit_them)
{
    struct learner_options options;
    struct learner *learner;
    int expired;
    bool worked;

    retrain_learner_options(&options);
    CHECK_STATUS(OK, learner_create(&learner, &options, &err));
    for (int n = 0; n < 40; n++) {
        char user[32], item[32];
        struct event event = {.kind = EVENT_ACTION, .action = 1};

        event.time_ms = 1700000000000 + n * 1000 + (n < 20 ? 0 : INT64_C(86400000));
        (void)snprintf(user, sizeof user, "u%d", n % 5);
        (void)snprintf(item, sizeof item, "%s%d", n < 20 ? "old" : "young", n / 5 % 4);
        event.user = text_of(user);
        event.item = text_of(item);
        CHECK_STATUS(OK, learner_event(learner, &event, NULL, &err));
        if (n == 19 || n == 39)
            CHECK_STATUS(OK, learner_step(learner, INT64_MAX, &worked, &err));
        if (n == 19) {
            float *row = model_item(learner_model(learner), 1);

            CHECK(row_of(learner, "old0") == row);
            row[0] = 77;
            CHECK(model_item(learner_model(learner), BATCH_ITEM_UNKNOWN)[0] != 77);
            CHECK_STATUS(OK, learner_expire(learner, 1700000000000 + 3600000, &expired, &err));
            CHECK_INT(4, expired);
            CHECK(row_of(learner, "old0") == NULL);
            CHECK(memcmp(row, model_item(learner_model(learner), BATCH_ITEM_UNKNOWN),
                         (size_t)model_config(learner_model(learner))->C * sizeof *row) == 0);
        }
    }
    CHECK(row_of(learner, "young0") == model_item(learner_model(learner), 1));
    CHECK(fabs((double)row_of(learner, "young0")[0]) < 1);
    CHECK_INT(5, item_tables_rows(learner_tables(learner)));
    learner_destroy(learner);
}

/* ---- where a list was asked from ---- */

static struct list *asked_from(uint8_t context, const int32_t rows[2], int chosen, uint64_t id)
{
    struct list *list = list_create(0, 2);

    CHECK(list != NULL);
    list->id = id;
    list->user = id % 50 + 1;
    list->time_ms = 1700000000000 + (int64_t)id * 1000;
    list->context[0] = context;
    memcpy(list->rows, rows, 2 * sizeof *rows);
    list->labels[chosen] = 1;
    return list;
}

/* How much more than the second item the model gives the first, asked from there. */
static double preference(struct learner *learner, const uint8_t *context, const int32_t rows[2])
{
    struct batch_builder_options options = {
        .history_max = model_history_max(learner_model(learner)),
        .rows_max = model_config(learner_model(learner))->V};
    struct batch_request request = {.request_time_ms = 1700001000000,
                                    .context = context,
                                    .candidates = rows,
                                    .candidates_count = 2};
    struct model_workspace *workspace = model_workspace_create();
    struct batch_builder *builder;
    float scores[2];

    CHECK_STATUS(OK, batch_builder_create(&builder, &options, &err));
    CHECK_STATUS(OK, batch_builder_add(builder, learner_tables(learner), &request, &err));
    CHECK_STATUS(OK, model_score(learner_model(learner), workspace, batch_builder_batch(builder),
                                 scores, &err));
    batch_builder_destroy(builder);
    model_workspace_destroy(workspace);
    return (double)scores[0] - (double)scores[1];
}

TEST(learner_learns_what_is_chosen_where)
{
    static const uint8_t phone[BATCH_CONTEXTS] = {5}, desk[BATCH_CONTEXTS] = {9};
    struct learner_options options;
    struct learner *learner;
    const uint64_t lists = WATCHED ? 640 : 6000;
    int32_t rows[2];
    bool worked;

    SKIP_WHERE_THREADS_ARE_WATCHED();
    retrain_learner_options(&options);
    options.switches = (struct model_switches){.contexts = 1, .context_names = 1};
    options.learning_rate = .01f;
    options.step_lists = 32;
    CHECK_STATUS(OK, learner_create(&learner, &options, &err));
    for (int i = 0; i < 2; i++) {
        uint64_t hash = rules_item_hash(retrain_rules(), text_of(i == 0 ? "a" : "b"));

        rows[i] = item_tables_index(learner_tables(learner), hash, text_of(i == 0 ? "a" : "b"), 1);
        item_tables_observe(learner_tables(learner), rows[i], 1, NULL, 0);
        item_tables_observe(learner_tables(learner), rows[i], 2, NULL, 0);
    }
    for (uint64_t id = 1; id <= lists; id++) {
        bool on_phone = id % 2 == 0;

        learner_shown(learner, asked_from(on_phone ? 5 : 9, rows, on_phone ? 0 : 1, id));
        if (id % 32 == 0)
            CHECK_STATUS(OK, learner_step(learner, INT64_MAX, &worked, &err));
    }
    CHECK_STATUS(OK, learner_ready(learner, &err));
    CHECK(preference(learner, phone, rows) > (WATCHED ? -1000 : 1));
    CHECK(preference(learner, desk, rows) < (WATCHED ? 1000 : -1));
    learner_destroy(learner);
}
