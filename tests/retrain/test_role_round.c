/*
 * Tests retrain/role_round and what a role does from round to round (tests/retrain/role_world.h):
 * publishing, refusing, restarts, rollbacks, deltas, drift.
 */
#include "tests/retrain/role_world.h"

#include "kernels/model_rows.h"
#include "ops/clock.h"
#include "ops/file.h"
#include "ops/http_client.h"
#include "retrain/publish.h"
#include "tests/retrain/retrain_fixture.h"
#include "tests/test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static struct error err;

/* ---- rounds, restarts ---- */

static void check_page(const struct role *role, const char *page, int wanted, const char *part)
{
    static char text[1 << 16]; /* as much as is read */
    struct http_client *client;
    struct text body;
    char url[80];
    int code;

    CHECK_STATUS(OK, http_client_create(&client, 5000, 1 << 16, &err));
    (void)snprintf(url, sizeof url, "http://127.0.0.1:%d%s", role_admin_port(role), page);
    CHECK_STATUS(OK, http_client_get(client, url, &code, &body, &err));
    CHECK_INT(wanted, code);
    (void)snprintf(text, sizeof text, "%.*s", TEXT_ARGS(body));
    http_client_destroy(client);
    if (strstr(text, part) == NULL)
        test_fail(__FILE__, __LINE__, "no \"%s\" in \"%s\"", part, text);
}

static void check_gate_page(const struct role *role, const char *part)
{
    check_page(role, "/gate", 200, part);
}

static void flip_a_byte(const char *path)
{
    size_t bytes;
    char *whole = retrain_read(path, &bytes);

    whole[bytes / 2] ^= 1;
    retrain_write(path, whole, bytes);
    free(whole);
}

static const char *state_file(const char *name)
{
    static char path[500];
    size_t bytes;
    char *pointer = retrain_read(role_world_inside("state/checkpoint"), &bytes);

    pointer[strcspn(pointer, "\n")] = 0;
    (void)snprintf(path, sizeof path, "%s/state/%s/%s", test_folder(), pointer, name);
    free(pointer);
    return path;
}

static bool run_once(struct role *role)
{
    bool published;

    CHECK_STATUS(OK, role_run(role, true, &published, &err));
    return published;
}

TEST(role_publishes_tables_judges_refuses_with_a_reason_and_goes_on_after_a_restart)
{
    struct role *role;
    struct error other_err;
    struct role *other;
    int64_t steps;

    role_world_begin();
    role_world_send_events(0, 30);
    role = role_world_open();
    check_gate_page(role, "no round has ended yet");
    CHECK_STATUS(ERR_IN_USE, role_open(&other, role_world.config, &other_err));
    CHECK(strstr(other_err.text, "state") != NULL);
    role_close(other);
    role_world_follow(role, 30);
    CHECK(!run_once(role));
    CHECK_TEXT("v000001", role->version);
    CHECK(strstr(role_verdict(role), "at least 20 are needed to judge") != NULL);
    check_gate_page(role, "refused: ");
    check_gate_page(role, "REFUSED: ");
    steps = learner_progress(role->learner)->steps;
    role_close(role);

    role_world_send_events(30, 400);
    role = role_world_open();
    CHECK(role->rounds == 1 && strcmp(role->version, "v000001") == 0);
    CHECK_INT(30, role_world_read(role));
    CHECK_INT(steps, learner_progress(role->learner)->steps);
    for (int p = 0; p < ROLE_WORLD_PARTITIONS; p++) /* the rule of lateness goes on too */
        CHECK(role->watermarks_ms[p] > retrain_time_ms(0));
    role_world_follow(role, 400);
    bool published = run_once(role);
    CHECK(learner_progress(role->learner)->steps > steps);
    CHECK(strstr(role_verdict(role), "NDCG@10") != NULL);
    CHECK_TEXT(published ? "v000002" : "v000001", role->version);
    CHECK(published == (role->champion != NULL));
    check_gate_page(role, published ? "published v000002: NDCG@10" : "refused: NDCG@10");
    check_gate_page(role, "in bf16 NDCG@10");
    role_close(role);
    role_world_end();
}

TEST(role_with_nothing_to_learn_from_says_so_and_ends)
{
    struct role *role;

    role_world_begin();
    role = role_world_open();
    CHECK(!run_once(role));
    CHECK(strstr(role_verdict(role), "topic \"events\"") != NULL);
    CHECK(role->version[0] == 0);
    role_close(role);
    role_world_end();
}

TEST(role_begins_anew_from_the_bundle_when_its_checkpoint_is_damaged)
{
    static const char *const names[] = {"items", "base", "state"};
    struct role *role;

    role_world_begin_judging(100000);
    role_world_send_events(0, 100);
    role = role_world_open();
    role_world_follow(role, 100);
    CHECK(!run_once(role));
    role_close(role);
    for (int i = 0; i < 3; i++) {
        flip_a_byte(state_file(names[i]));
        role = role_world_open();
        CHECK(role->rounds == 0 && strcmp(role->version, "v000001") == 0);
        /* Counts and offsets are the bundle's; the rest is read again or comes anew. */
        CHECK(item_tables_count(learner_tables(role->learner)) > 30);
        CHECK_INT(100, role_world_read(role));
        CHECK_INT(0, sequences_users(learner_sequences(role->learner)));
        CHECK(!run_once(role)); /* and it saves a good one */
        role_close(role);
        role = role_world_open();
        CHECK_INT(1, role->rounds);
        role_close(role);
    }
    /* Without a bundle either: from the begin of the log. */
    flip_a_byte(state_file("state"));
    CHECK_STATUS(OK, file_remove_tree(role_world_inside("models"), &err));
    role = role_world_open();
    CHECK(role->version[0] == 0);
    CHECK_INT(0, role_world_read(role));
    role_world_follow(role, 100);
    CHECK(!run_once(role));
    CHECK_TEXT("v000001", role->version);
    role_close(role);
    role_world_end();
}

/* Killed before retrain.checkpoint_every has passed once, it knows its histories again. */
TEST(role_writes_a_first_checkpoint_before_it_publishes_anything)
{
    struct role *role;
    bool published;

    role_world_begin_judging(100000);
    role_world_send_events(0, 100);
    retrain_write(role_world_inside("models"), "x", 1); /* nothing can be published: it ends */
    role = role_world_open();
    CHECK(role_run(role, true, &published, &err) != OK && strstr(err.text, "models") != NULL);
    role_close(role);
    CHECK(remove(role_world_inside("models")) == 0);
    role_world_send_events(100, 130);
    role = role_world_open();
    CHECK_INT(100, role_world_read(role));
    CHECK(sequences_users(learner_sequences(role->learner)) > 20);
    /* There is one now: the next comes when its time has come. */
    role_world_follow(role, 130);
    role->checkpoint_us = clock_monotonic_us();
    role_save_when_due(role);
    role_close(role);
    role = role_world_open();
    CHECK_INT(100, role_world_read(role));
    role_world_follow(role, 130);
    role->checkpoint_us = clock_monotonic_us() - role->settings.checkpoint_every_ms * 1000;
    role_save_when_due(role);
    role_close(role);
    role = role_world_open();
    CHECK_INT(130, role_world_read(role));
    role_close(role);
    role_world_end();
}

TEST(role_tries_its_first_checkpoint_again_until_it_is_written)
{
    struct role *role;

    role_world_begin_judging(100000);
    role_world_send_events(0, 100);
    role = role_world_open();
    role_world_follow(role, 100);
    CHECK_INT(0, rename(role_world_inside("state"), role_world_inside("state.away")));
    retrain_write(role_world_inside("state"), "x", 1);
    role->checkpoint_us = clock_monotonic_us();
    role_save_when_due(role);
    CHECK(role->unsaved);
    CHECK(remove(role_world_inside("state")) == 0);
    CHECK_INT(0, rename(role_world_inside("state.away"), role_world_inside("state")));
    role->checkpoint_us = clock_monotonic_us();
    role_save_when_due(role); /* not each turn */
    CHECK(role->unsaved);
    role->checkpoint_us -= SAVE_AGAIN_US; /* ten seconds later */
    role_save_when_due(role);
    CHECK(!role->unsaved);
    role_close(role);
    role = role_world_open();
    CHECK_INT(100, role_world_read(role));
    role_close(role);
    role_world_end();
}

static void follow_all(struct role *role)
{
    role_world_follow(role, role_world_read(role) + role_lag(role));
}

TEST(role_says_how_far_behind_it_is)
{
    struct role *role;

    role_world_begin_judging(100000);
    role_world_send_events(0, 100);
    role = role_world_open();
    CHECK_INT(100, role_lag(role));
    role_tell_behind(role);
    check_page(role, "/readyz", 503, "nothing published yet: 100 records behind\"");
    follow_all(role);
    CHECK_STATUS(OK, role_publish_tables(role, &err));
    role_tell_behind(role);
    role->behind.marked_us -= 2 * BEHIND_US; /* one long turn, and nothing came */
    role_tell_behind(role);
    check_page(role, "/readyz", 200, "{\"ready\":true,\"device\":\"cpu\"}");
    role_close(role);

    role_world_send_events(100, 130); /* while it is away */
    role = role_world_open();
    role_tell_behind(role);
    check_page(role, "/readyz", 200, "{\"ready\":true,\"device\":\"cpu\"}");
    role->behind.marked_us -= BEHIND_US; /* ten seconds later */
    role_tell_behind(role);
    check_page(role, "/readyz", 200, "\"degraded\":\"30 records behind, for 1");
    follow_all(role);
    role_tell_behind(role); /* too late, but nothing waits */
    check_page(role, "/readyz", 200, "{\"ready\":true,\"device\":\"cpu\"}");
    CHECK(role->behind.since_us == 0);
    role_close(role);
    role_world_end();
}

static void follow_until_up(struct role *role, bool up)
{
    int64_t until_us = clock_monotonic_us() + ROLE_WORLD_PATIENCE_US;
    int count;

    while (follower_up(role->events_topic) != up || follower_up(role->examples_topic) != up) {
        CHECK(clock_monotonic_us() < until_us);
        CHECK_STATUS(OK, role_follow(role, 10, &count, &err));
    }
}

/* What is known of the ends is old then: that nothing waits is no news. */
TEST(role_says_that_kafka_does_not_answer)
{
    struct role *role;

    role_world_begin_judging(100000);
    role_world_send_events(0, 100);
    role = role_world_open();
    follow_all(role);
    CHECK_STATUS(OK, role_publish_tables(role, &err));
    follow_until_up(role, true);
    role->heard_us -= 2 * BEHIND_US; /* nobody looked for so long */
    role_tell_behind(role);
    check_page(role, "/readyz", 200, "{\"ready\":true,\"device\":\"cpu\"}");
    role_world_set_broker_up(false);
    follow_until_up(role, false);
    role_tell_behind(role);
    check_page(role, "/readyz", 200, "{\"ready\":true,\"device\":\"cpu\"}");
    role->heard_us -= BEHIND_US; /* ten seconds later */
    role_tell_behind(role);
    check_page(role, "/readyz", 200, "\"degraded\":\"kafka does not answer, for 1");
    check_page(role, "/metrics", 200, "\nfreshet_retrain_behind_seconds 1");
    role_world_set_broker_up(true);
    follow_until_up(role, true);
    role_tell_behind(role);
    check_page(role, "/readyz", 200, "{\"ready\":true,\"device\":\"cpu\"}");
    role_close(role);
    role_world_end();
}

TEST(role_names_a_bundle_or_folder_that_it_cannot_use)
{
    struct role *role;
    bool published;
    char path[400];

    role_world_begin_judging(100000);
    role_world_send_events(0, 50);
    /* models is a file: nothing can be published. */
    retrain_write(role_world_inside("models"), "x", 1);
    CHECK(role_open(&role, role_world.config, &err) != OK ||
          role_run(role, true, &published, &err) != OK);
    CHECK(strstr(err.text, "models") != NULL);
    role_close(role);
    CHECK(remove(role_world_inside("models")) == 0);
    role = role_world_open();
    CHECK(!run_once(role));
    role_close(role);
    (void)snprintf(path, sizeof path, "%s", role_world_inside("models/v000001/items"));
    flip_a_byte(path);
    CHECK_STATUS(ERR_CORRUPT, role_open(&role, role_world.config, &err));
    CHECK(strstr(err.text, path) != NULL);
    role_close(role);
    role_world_end();
}

static enum round_result make_round(struct role *role)
{
    enum round_result result = RESULTS;
    bool over = false;

    CHECK_STATUS(OK, role_begin_round(role, CAUSE_VOLUME, &err));
    while (!over)
        CHECK_STATUS(OK, role_go_on(role, &over, &result, &err));
    CHECK(result < RESULTS && role->round.state == ROUND_IDLE);
    return result;
}

TEST(role_judges_by_as_many_as_the_gate_asks_for_where_nothing_more_comes)
{
    struct role *role;

    role_world_begin_judging(60);
    role_world_send_events(
        0, 180); /* a third of them would be just as many, less what the begin leaves out */
    role = role_world_open();
    (void)run_once(role);
    CHECK(strstr(role->report, "judged by") != NULL);
    role_close(role);
    role_world_end();
}

/* ---- what bf16 changes ---- */

/* One round's report where retrain and serve are told these. */
static bool report_says(const char *retrain_setting, const char *serve_setting, const char *part)
{
    struct role *role;
    bool says;

    role_world.settings[0] = retrain_setting;
    role_world.settings[1] = serve_setting;
    role_world_begin();
    role_world_send_events(0, 100);
    role = role_world_open();
    role_world_follow(role, 100);
    (void)run_once(role);
    says = strstr(role->report, part) != NULL;
    role_close(role);
    role_world_end();
    role_world.settings[0] = role_world.settings[1] = NULL;
    return says;
}

TEST(role_measures_what_bf16_changes_unless_nobody_serves_it)
{
    const char *measured = "ok: in bf16 NDCG@10", *not_measured = "ok: bf16 not measured";

    /* The default measures: role_publishes_tables_judges_... looks for it. */
    CHECK(report_says("serve.bf16=off", NULL, not_measured));
    CHECK(report_says("retrain.measure_bf16=on", "serve.bf16=off", measured));
    CHECK(report_says("retrain.measure_bf16=off", "serve.bf16=auto", not_measured));
}

#if defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__
TEST(role_without_memory_for_a_rounded_challenger_goes_on_without)
{
    SKIP("the sanitizer's own memory is not limited");
}
#else
/* Takes all the memory there is, down to the smallest pieces; what is linked cannot be left out. */
static void exhaust_memory(void)
{
    static void *volatile last;
    struct rlimit none = {0, 0};

    if (setrlimit(RLIMIT_AS, &none) != 0)
        _exit(2);
    for (size_t bytes = 1 << 20; bytes >= 16; bytes /= 2)
        for (void **block; (block = malloc(bytes)) != NULL; last = block)
            *block = last;
}

TEST(role_without_memory_for_a_rounded_challenger_goes_on_without)
{
    struct learner *learner = retrain_learner();
    struct role role = {.learner = learner, .settings.measure_bf16 = true};
    int outcome;
    pid_t child;

    CHECK_STATUS(OK, learner_ready(learner, &err));
    struct model *rounded = role_round_challenger(&role);
    CHECK(rounded != NULL);
    model_destroy(rounded);
    child = fork();
    if (child == 0) {
        exhaust_memory();
        _exit(role_round_challenger(&role) == NULL ? 0 : 1);
    }
    CHECK(child > 0 && waitpid(child, &outcome, 0) == child);
    CHECK(WIFEXITED(outcome) && WEXITSTATUS(outcome) == 0);
    learner_destroy(learner);
}
#endif

/* Rounds until a challenger passes the gate, in a world that is easy to learn: what then? */
static enum round_result pass_the_gate(struct role *role, int sent)
{
    enum round_result result = RESULT_REFUSED;

    for (int rounds = 0; rounds < 20 && result == RESULT_REFUSED; rounds++) {
        role_world_send_events(sent, sent + 400);
        role_world_follow(role, sent += 400);
        result = make_round(role);
    }
    return result;
}

TEST(role_outlives_a_models_folder_that_it_cannot_write_to)
{
    const int sent = 400;
    enum round_result result;
    struct role *role;

    role_world_begin();
    role_world_send_events(0, sent);
    role = role_world_open();
    role_world_follow(role, sent);
    CHECK_STATUS(OK, role_publish_tables(role, &err));
    CHECK_INT(0, rename(role_world_inside("models"), role_world_inside("models.away")));
    retrain_write(role_world_inside("models"), "x", 1);
    result = pass_the_gate(role, sent);
    CHECK(result == RESULT_FAILED);
    CHECK(strstr(role_verdict(role), "failed: the gate passed, but") != NULL);
    CHECK(strstr(role_verdict(role), "models") != NULL);
    CHECK_TEXT("v000001", role->version);
    CHECK(role->champion == NULL); /* nobody serves it */
    /* There is room again: the same weights, judged by the same choices, are published. */
    CHECK(remove(role_world_inside("models")) == 0);
    CHECK_INT(0, rename(role_world_inside("models.away"), role_world_inside("models")));
    for (int rounds = 0; rounds < 5 && result != RESULT_PUBLISHED; rounds++)
        result = make_round(role); /* intervals are drawn anew each time */
    CHECK(result == RESULT_PUBLISHED);
    CHECK_TEXT("v000002", role->version);
    CHECK(role->champion != NULL);
    role_close(role);
    role_world_end();
}

TEST(role_outlives_a_pointer_that_names_no_bundle)
{
    const int sent = 400;
    enum round_result result;
    struct role *role;

    role_world_begin();
    role_world_send_events(0, sent);
    role = role_world_open();
    role_world_follow(role, sent);
    CHECK_STATUS(OK, role_publish_tables(role, &err));
    retrain_write(role_world_inside("models/current"), "../../etc\n", 10);
    result = pass_the_gate(role, sent);
    CHECK(result == RESULT_FAILED);
    CHECK(strstr(role_verdict(role), "../../etc") != NULL);
    retrain_write(role_world_inside("models/current"), "v000001\n", 8); /* as a rollback would */
    for (int rounds = 0; rounds < 5 && result != RESULT_PUBLISHED; rounds++)
        result = make_round(role);
    CHECK(result == RESULT_PUBLISHED);
    CHECK_TEXT("v000002", role->version);
    role_close(role);
    role_world_end();
}

/* A bundle with a model over the items of the first events. */
static void publish_champion(void)
{
    struct learner *learner = retrain_learner();
    struct publish_request request;
    struct gate gate;
    char version[MODEL_VERSION_MAX];
    bool worked;

    retrain_feed(learner, 0, 100);
    CHECK_STATUS(OK, learner_step(learner, INT64_MAX, &worked, &err));
    CHECK_STATUS(OK, learner_ready(learner, &err));
    request = (struct publish_request){.root = role_world_inside("models"),
                                       .preset = "small",
                                       .model = learner_model(learner),
                                       .tables = learner_tables(learner),
                                       .pool = learner_recalled_lists(learner),
                                       .item_seed = FIXTURE_SEED,
                                       .created_at_ms = FIXTURE_BEGIN_MS,
                                       .keep = 10};
    gate_begin(&gate);
    CHECK_STATUS(OK, publish_bundle(&request, &gate, version, &err));
    learner_destroy(learner);
}

/* The delta beside the bundles fits `version` and makes the role's tables of it. */
static void check_delta(struct role *role, const char *version)
{
    struct item_tables *tables;
    uint64_t sequence;
    char path[400];

    (void)snprintf(path, sizeof path, "%s/%s/items", role_world_inside("models"), version);
    CHECK_STATUS(OK, item_tables_load(&tables, path, &err));
    CHECK_STATUS(OK, item_tables_apply_delta(tables, role_world_inside("models/items.delta"),
                                             version, &sequence, &err));
    CHECK_INT(item_tables_count(learner_tables(role->learner)), item_tables_count(tables));
    for (int32_t i = 0; i < item_tables_count(tables); i++)
        CHECK_INT(item_tables_clicks(learner_tables(role->learner), i),
                  item_tables_clicks(tables, i));
    item_tables_destroy(tables);
}

TEST(role_follows_a_rollback_that_somebody_else_made)
{
    struct role *role;

    role_world_begin_judging(100000);
    publish_champion();
    publish_champion();
    role_world_send_events(0, 150);
    role = role_world_open();
    role_world_follow(role, 150);
    CHECK_TEXT("v000002", role->version);
    CHECK_STATUS(OK, bundle_set_current(role_world_inside("models"), "v000001", &err));
    CHECK(!run_once(role));
    CHECK_TEXT("v000001", role->version);
    CHECK(role->champion != NULL && role->delta_sequence >= 1);
    check_delta(role, "v000001");
    /* One that nobody can serve changes nothing. */
    retrain_write(role_world_inside("models/v000002/items"), "x", 1);
    CHECK_STATUS(OK, bundle_set_current(role_world_inside("models"), "v000002", &err));
    role->delta_us = 0; /* it is time to look */
    CHECK(!run_once(role));
    CHECK_TEXT("v000001", role->version);
    CHECK(role->champion != NULL);
    role_close(role);
    role_world_end();
}

TEST(role_sends_deltas_that_fit_after_a_restart)
{
    struct role *role;
    uint64_t before;

    role_world_begin_judging(100000);
    role_world_send_events(0, 30);
    role = role_world_open();
    role_world_follow(role, 30);
    CHECK(!run_once(role));
    role_world_send_events(30, 200); /* new items, in the checkpoint and not in the bundle */
    role_world_follow(role, 200);
    CHECK(!run_once(role));
    role->delta_us = 0; /* it is time for one */
    CHECK(!run_once(role));
    before = role->delta_sequence;
    CHECK(before >= 1);
    role_close(role);
    role = role_world_open();
    CHECK_INT((int64_t)before, (int64_t)role->delta_sequence); /* a number names one state */
    role_world_send_events(200, 210);
    role_world_follow(role, 210);
    CHECK_TEXT("v000001", role->version);
    CHECK(!run_once(role));
    check_delta(role, "v000001");
    CHECK(role->delta_sequence > before);
    role_close(role);
    role_world_end();
}

/* Killed between a publication and the next checkpoint: it goes on from before that bundle, which
 * knows items that are yet to be read again, by two partitions in whatever order. */
TEST(role_sends_deltas_that_fit_a_bundle_of_after_its_checkpoint)
{
    struct role *role;

    role_world_begin_judging(100000);
    role_world_send_events(0, 30);
    role = role_world_open();
    role_world_follow(role, 30);
    CHECK(!run_once(role));
    role_close(role);
    role_world_send_events(30, 200); /* new items */
    role = role_world_open();
    role_world_follow(role, 200);
    CHECK_STATUS(OK, role_publish_tables(role, &err));
    CHECK_TEXT("v000002", role->version);
    role_close(role); /* nothing was written after it */
    role = role_world_open();
    CHECK_INT(30, role_world_read(role));
    CHECK_TEXT("v000002", role->version);
    CHECK_STATUS(OK, publish_delta(role_world_inside("models"), learner_tables(role->learner),
                                   role->version, ++role->delta_sequence, &err));
    check_delta(role, "v000002");
    role_world_follow(role, 200);
    role->delta_us = 0; /* it is time for one */
    CHECK(!run_once(role));
    check_delta(role, "v000002");
    role_close(role);
    role_world_end();
}

/* ---- drift ---- */

TEST(role_watches_where_choices_stand_in_the_champions_order)
{
    struct role *role;
    int sent = 0;

    role_world_begin();
    publish_champion();
    role = role_world_open();
    CHECK(role->champion != NULL && role->drift.loss.count == 0);
    /* In small parts: of many at once only some are looked at. */
    while (role->drift.served_count < DRIFT_WINDOW && sent < 3000) {
        role_world_send_events(sent, sent + 60);
        sent += 60;
        role_world_follow(role, sent);
    }
    CHECK(role->drift.served_count >= DRIFT_WINDOW && sent > 2 * DRIFT_WINDOW);
    CHECK(role->drift.psi > 0 && isfinite(role->drift.psi));
    CHECK(role->drift.recent_loss > 0 && isfinite(role->drift.recent_loss));
    /* Another champion: the last figure stays, the series begins anew. */
    double psi = role->drift.psi;
    CHECK_STATUS(OK, role_watch(role, &err));
    CHECK(role->drift.psi == psi && role->drift.served_count == 0);
    role_world_send_events(sent, sent + 60);
    role_world_follow(role, sent + 60);
    CHECK(role->drift.served_count > 0);
    role_close(role);
    role_world_end();
}
