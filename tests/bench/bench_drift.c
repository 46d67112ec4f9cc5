/*
 * tests/bench/bench_drift.c - what is retraining worth? A world whose truth is known, whose taste
 * shifts, and rankers judged by that truth.
 *
 *     build/release/bench/bench_drift [seeds] [sessions before] [sessions after] [silu|softmax]
 *
 * Each seed: users are shown lists and click, and choose without lists too. The learner follows and
 * learns as `freshet retrain` does; its own rankings are what is shown, from a quarter of the time
 * before the shift on (co-visitation until then), with a tenth of the lists drawn at random. At the
 * shift a copy of its weights is frozen; a second learner begins then and sees the new taste alone.
 * NDCG@10 is of the ten items served against the best ten of the catalogue by true chance, over
 * sampled users, also at ten steps after the shift: in how many of them is the retrained one better
 * than the frozen? All rankers have fresh histories and fresh item tables: only the weights differ.
 */
#include "features/user_store.h"
#include "features/world.h"
#include "ops/arena.h"
#include "ops/hash.h"
#include "ops/random.h"
#include "retrain/examples.h"
#include "retrain/learner.h"
#include "scorer/rank.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROWS           10
#define K              10
#define JUDGED         400
#define EVENTS_A_STEP  2000 /* about a round of the demo */
#define STEPS          10   /* after the shift, at which the retrained is held against the frozen */
#define SETTLE_MS      120000 /* sessions under way when it is judged end before the shift */
#define EXPLORED       .1
#define ITEMS          1000
#define SESSIONS_PER_S 5

static enum model_attention attention; /* of every model here */

struct run {
    struct world *world;
    struct world_walk *walk;
    struct event_schema *schema;
    struct rules rules;
    struct user_store *store;
    struct arena *arena;
    struct learner *old, *new; /* new: from the shift on */
    struct examples *old_examples, *new_examples;
    struct rank_scratch *scratch;
    bool shifted, serving; /* serving: lists are made by the learner, not by the old system */
    struct random random;
    int64_t watermark_ms, now_ms;
};

static void must(enum status status, const struct error *err)
{
    if (status == OK)
        return;
    (void)fprintf(stderr, "bench_drift: %s\n", err->text);
    exit(70);
}

static void take(void *context, struct list *list)
{
    learner_shown(context, list);
}

static void emitted(void *context, const uint8_t *bytes, size_t count)
{
    struct run *run = context;
    struct example example;
    struct error err;

    arena_reset(run->arena);
    must(example_decode(&example, bytes, count, run->arena, &err), &err);
    must(examples_add(run->old_examples, &example, learner_shown_lists(run->old), 0, &err), &err);
    if (run->shifted)
        must(examples_add(run->new_examples, &example, learner_shown_lists(run->new), 0, &err),
             &err);
}

static void feed(struct run *run, struct learner *learner, struct examples *examples,
                 const struct event *event, bool train)
{
    uint64_t rows[EVENT_ROWS_MAX];
    int64_t raw[ROWS * RAW_COLUMNS];
    struct error err;
    bool worked = true;

    if (event->kind == EVENT_IMPRESSION) {
        uint64_t user = rules_user_hash(&run->rules, event->user);

        for (int i = 0; i < event->rows_count; i++)
            rows[i] = rules_item_hash(&run->rules, event->rows[i]);
        must(learner_raw(learner, user, event->time_ms, rows, event->rows_count, raw, &err), &err);
        examples_note(examples, user, event->time_ms, rows, event->rows_count, raw);
    }
    must(learner_event(learner, event, NULL, &err), &err);
    if (!train)
        return;
    must(examples_ripen(examples, learner_tables(learner), run->now_ms, 0, take, learner, &err),
         &err);
    while (worked)
        must(learner_step(learner, INT64_MAX, &worked, &err), &err);
}

static void walk(struct run *run, int64_t until_ms)
{
    struct event event;
    enum outcome outcome;
    struct error err;

    for (int n = 0; run->now_ms < until_ms; n++) {
        bool train = n % (getenv("EVERY") ? atoi(getenv("EVERY")) : EVENTS_A_STEP) == 0;

        world_walk_next(run->walk, &event);
        if (event.time_ms > run->now_ms)
            run->now_ms = event.time_ms;
        /* Counts are noted first, as the trainer reads events ahead of their examples. */
        feed(run, run->old, run->old_examples, &event, train);
        if (run->shifted)
            feed(run, run->new, run->new_examples, &event, train);
        must(user_store_apply(run->store, &event, run->watermark_ms, false, emitted, run, &outcome,
                              &err),
             &err);
        run->watermark_ms = rules_watermark(run->watermark_ms, event.time_ms, event.time_ms, 0);
    }
}

static void order(struct run *run, const struct model *model, struct learner *learner, int user,
                  struct ranked *ranked, int *count)
{
    struct ranker ranker = {
        .model = model, .tables = learner_tables(learner), .actions = run->rules.actions};
    struct rank_request request = {
        .history_known = true, .now_ms = run->now_ms, .k = K, .keep_seen = true};
    const struct user_value *value;
    char name[WORLD_NAME_BYTES];
    enum degraded degraded;
    struct error err;

    world_user_name(user, name);
    value = user_store_get(run->store, text_of(name));
    if (value != NULL) {
        request.history = value->entries;
        request.history_count = value->count;
        request.running = value->running;
    }
    must(rank(&ranker, run->scratch, &request, ranked, count, &degraded, &err), &err);
}

/* The lists of the simulation: served by what was learnt, a tenth drawn at random. */
static void choose(void *context, const struct world *world, int user, int64_t time_ms,
                   int rows_max, struct world_shown *shown)
{
    struct run *run = context;
    struct ranked ranked[K];
    struct error err;
    int count = 0;

    (void)world;
    (void)time_ms;
    if (random_unit(&run->random) >= EXPLORED) {
        must(learner_ready(run->old, &err), &err);
        order(run, run->serving ? learner_model(run->old) : NULL, run->old, user, ranked, &count);
    }
    for (int i = 0; i < count && i < rows_max; i++)
        shown->rows[shown->rows_count++] = world_item_of(
            run->world, item_tables_name(learner_tables(run->old), ranked[i].index));
    while (shown->rows_count < rows_max)
        shown->rows[shown->rows_count++] = (int)random_below(&run->random, ITEMS);
}

enum arm { MODEL, COVISITATION, POPULARITY };

/* NDCG@K of what would be served now. model: NULL but for MODEL. */
static double judge(struct run *run, enum arm arm, const struct model *model,
                    struct learner *learner)
{
    const struct item_tables *tables = learner_tables(learner);
    struct item_scratch *scratch = item_scratch_create();
    double sum = 0;

    for (int i = 0; i < JUDGED; i++) {
        int user = i * 5, best[K], count;
        struct ranked ranked[K];
        double gained = 0, ideal = 0;

        if (arm == POPULARITY) {
            struct item_query query = {.now_ms = run->now_ms};
            int32_t popular[K];

            count = item_tables_popular(tables, scratch, &query, K, popular);
            for (int place = 0; place < count; place++)
                ranked[place].index = popular[place];
        } else {
            order(run, model, learner, user, ranked, &count);
        }
        world_best(run->world, user, run->now_ms, best, K);
        for (int place = 0; place < K; place++) {
            ideal += world_chance(run->world, user, best[place], run->now_ms) / log2(place + 2);
            if (place >= count)
                continue;
            struct text item = item_tables_name(tables, ranked[place].index);
            gained += world_chance(run->world, user, world_item_of(run->world, item), run->now_ms) /
                      log2(place + 2);
        }
        sum += gained / ideal;
    }
    item_scratch_destroy(scratch);
    return sum / JUDGED;
}

static void open_run(struct run *run, uint64_t seed, int64_t before_ms)
{
    struct world_options world;
    struct learner_options options;
    struct examples_options waiting = {
        .rules = &run->rules, .pending_max = 100000, .idle_ms = 1000};
    struct error err;

    memset(run, 0, sizeof *run);
    world_options_init(&world);
    world.seed = seed;
    world.shift_at_ms = world.begin_ms + before_ms;
    world.items = ITEMS;
    world.sessions_per_s = SESSIONS_PER_S;
    run->watermark_ms = INT64_MIN;
    random_seed(&run->random, seed);
    run->now_ms = world.begin_ms;
    run->arena = arena_create(1 << 16, 64 << 20);
    must(world_create(&run->world, &world, &err), &err);
    must(world_walk_create(&run->walk, run->world, seed, ROWS, choose, run, &err), &err);
    must(event_schema_default(&run->schema, &err), &err);
    world_walk_actions(run->walk, 0,
                       event_schema_action_named(run->schema, text_of("click"))->code);
    rules_init(&run->rules, run->schema, seed);
    run->rules.join_window_ms = 60000;
    must(user_store_create(&run->store, &run->rules, &err), &err);
    must(rank_scratch_create(&run->scratch, &err), &err);
    learner_options_init(&options);
    options.rules = &run->rules;
    options.seed = seed;
    options.switches.attention = attention;
    must(learner_create(&run->old, &options, &err), &err);
    must(learner_create(&run->new, &options, &err), &err);
    must(examples_create(&run->old_examples, &waiting, &err), &err);
    must(examples_create(&run->new_examples, &waiting, &err), &err);
}

static void close_run(struct run *run)
{
    world_walk_destroy(run->walk);
    world_destroy(run->world);
    user_store_destroy(run->store);
    event_schema_destroy(run->schema);
    arena_destroy(run->arena);
    rank_scratch_destroy(run->scratch);
    learner_destroy(run->old);
    learner_destroy(run->new);
    examples_destroy(run->old_examples);
    examples_destroy(run->new_examples);
}

static void run_seed(uint64_t seed, int64_t before_ms, int64_t after_ms)
{
    struct model *frozen;
    struct run run;
    struct error err;
    int won = 0;

    open_run(&run, seed, before_ms);
    int64_t begin_ms = run.now_ms, shift_ms = begin_ms + before_ms;
    walk(&run, begin_ms + before_ms / 4);
    run.serving = true;
    walk(&run, shift_ms - SETTLE_MS);
    must(learner_ready(run.old, &err), &err);
    double before = judge(&run, MODEL, learner_model(run.old), run.old);
    (void)printf("%4d %8.4f %7.4f %7.4f |", (int)seed, before,
                 judge(&run, COVISITATION, NULL, run.old), judge(&run, POPULARITY, NULL, run.old));
    (void)fflush(stdout);
    must(model_copy(&frozen, learner_model(run.old), &err), &err);
    walk(&run, shift_ms);
    run.shifted = true;
    for (int step = 1; step <= STEPS; step++) {
        walk(&run, shift_ms + after_ms * step / STEPS);
        must(learner_ready(run.old, &err), &err);
        won += judge(&run, MODEL, learner_model(run.old), run.old) >
               judge(&run, MODEL, frozen, run.old);
    }
    must(learner_ready(run.new, &err), &err);
    double lost = judge(&run, MODEL, frozen, run.old);
    double found = judge(&run, MODEL, learner_model(run.old), run.old);
    double fresh = judge(&run, MODEL, learner_model(run.new), run.new);
    (void)printf(" %7.4f %9.4f %9.4f %7.4f %7.4f | %+5.1f %% %8.1f %% %6d of %d\n", lost, found,
                 fresh, judge(&run, COVISITATION, NULL, run.old),
                 judge(&run, POPULARITY, NULL, run.old), 100 * (lost / before - 1),
                 100 * found / fresh, won, STEPS);
    (void)fflush(stdout);
    model_destroy(frozen);
    close_run(&run);
}

int main(int argc, char **argv)
{
    int seeds = argc > 1 ? atoi(argv[1]) : 5;
    int64_t before_ms = (argc > 2 ? atoi(argv[2]) : 12000) * INT64_C(1000) / SESSIONS_PER_S;
    int64_t after_ms = (argc > 3 ? atoi(argv[3]) : 6000) * INT64_C(1000) / SESSIONS_PER_S;
    struct error err;

    attention = argc > 4 && strcmp(argv[4], "softmax") == 0 ? MODEL_ATTENTION_SOFTMAX
                                                            : MODEL_ATTENTION_SILU;
    must(hash_start(&err), &err);
    (void)printf("NDCG@%d by the truth, attention by %s\n"
                 "     before the shift:       | after it:                                   |\n"
                 "seed    model   covis popular |  frozen retrained new alone   covis popular | "
                 "frozen  retrained     steps\n"
                 "                              |                                             | "
                 "lost    of new alone  won\n",
                 K, attention == MODEL_ATTENTION_SOFTMAX ? "softmax" : "silu");
    for (int seed = 1; seed <= seeds; seed++)
        run_seed((uint64_t)seed, before_ms, after_ms);
    return 0;
}
