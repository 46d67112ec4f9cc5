/*
 * tests/bench/bench_drift.c - what is retraining worth? A world whose truth is known, whose taste
 * shifts, and four rankers judged by that truth.
 *
 *     build/release/bench/bench_drift [seeds] [sessions before] [sessions after]
 *
 * Each seed: users are shown lists by the policy of the system freshet replaces, and click. The
 * learner follows and learns as `freshet retrain` does. At the shift a copy of its weights is
 * frozen; a second learner begins then and sees the new taste alone. NDCG@10 is of the ten items
 * served against the best ten of the catalogue by true chance, over sampled users. All rankers have
 * fresh histories and fresh item tables: only the weights differ.
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

#define ROWS          10
#define K             10
#define JUDGED        400
#define EVENTS_A_STEP 96

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
    bool shifted;
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
        must(learner_step(learner, INT64_MAX, true, &worked, &err), &err);
}

static void walk(struct run *run, int64_t until_ms)
{
    struct event event;
    enum outcome outcome;
    struct error err;

    for (int n = 0; run->now_ms < until_ms; n++) {
        bool train = n % EVENTS_A_STEP == 0;

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

/* NDCG@K of what would be served now. model NULL: co-visitation and popularity. */
static double judge(struct run *run, const struct model *model, struct learner *learner)
{
    struct ranker ranker = {
        .model = model, .tables = learner_tables(learner), .actions = run->rules.actions};
    struct ranked ranked[K];
    double sum = 0;

    for (int i = 0; i < JUDGED; i++) {
        int user = i * 5, best[K], count;
        char name[WORLD_NAME_BYTES];
        struct rank_request request = {
            .history_known = true, .now_ms = run->now_ms, .k = K, .keep_seen = true};
        const struct user_value *value;
        enum degraded degraded;
        struct error err;
        double gained = 0, ideal = 0;

        world_user_name(user, name);
        value = user_store_get(run->store, text_of(name));
        if (value != NULL) {
            request.history = value->entries;
            request.history_count = value->count;
            request.running = value->running;
        }
        must(rank(&ranker, run->scratch, &request, ranked, &count, &degraded, &err), &err);
        world_best(run->world, user, run->now_ms, best, K);
        for (int place = 0; place < K; place++) {
            ideal += world_chance(run->world, user, best[place], run->now_ms) / log2(place + 2);
            if (place >= count)
                continue;
            struct text item = item_tables_name(ranker.tables, ranked[place].index);
            gained += world_chance(run->world, user, world_item_of(run->world, item), run->now_ms) /
                      log2(place + 2);
        }
        sum += gained / ideal;
    }
    return sum / JUDGED;
}

static void open_run(struct run *run, uint64_t seed, int64_t shift_s)
{
    struct world_options world;
    struct learner_options options;
    struct examples_options waiting = {
        .rules = &run->rules, .pending_max = 100000, .idle_ms = 1000};
    struct error err;

    memset(run, 0, sizeof *run);
    world_options_init(&world);
    world.seed = seed;
    world.shift_at_ms = world.begin_ms + shift_s * 1000;
    run->watermark_ms = INT64_MIN;
    run->now_ms = world.begin_ms;
    run->arena = arena_create(1 << 16, 64 << 20);
    must(world_create(&run->world, &world, &err), &err);
    must(world_walk_create(&run->walk, run->world, seed, ROWS, NULL, NULL, &err), &err);
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

int main(int argc, char **argv)
{
    int seeds = argc > 1 ? atoi(argv[1]) : 5;
    int64_t before_s = (argc > 2 ? atoi(argv[2]) : 12000) / 5;
    int64_t after_s = (argc > 3 ? atoi(argv[3]) : 12000) / 5;
    struct error err;

    must(hash_start(&err), &err);
    (void)printf("NDCG@10   before: model  tables | after: frozen retrained new-only tables | "
                 "frozen lost, retrained of new-only\n");
    for (int seed = 1; seed <= seeds; seed++) {
        struct model *frozen;
        struct run run;

        open_run(&run, (uint64_t)seed, before_s);
        int64_t shift_ms = run.now_ms + before_s * 1000;
        walk(&run, shift_ms - 1);
        must(learner_ready(run.old, &err), &err);
        double before = judge(&run, learner_model(run.old), run.old);
        double tables = judge(&run, NULL, run.old);
        must(model_copy(&frozen, learner_model(run.old), &err), &err);
        run.shifted = true;
        walk(&run, shift_ms + after_s * 1000);
        must(learner_ready(run.old, &err), &err);
        must(learner_ready(run.new, &err), &err);
        double lost = judge(&run, frozen, run.old);
        double found = judge(&run, learner_model(run.old), run.old);
        double fresh = judge(&run, learner_model(run.new), run.new);
        (void)printf("seed %-4d         %.4f %.4f |        %.4f    %.4f   %.4f %.4f | %+.1f %%, "
                     "%.1f %%\n",
                     seed, before, tables, lost, found, fresh, judge(&run, NULL, run.old),
                     100 * (lost / before - 1), 100 * found / fresh);
        (void)fflush(stdout);
        model_destroy(frozen);
        close_run(&run);
    }
    return 0;
}
