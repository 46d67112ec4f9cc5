/*
 * Tests ingest/offsets_forecast against the machine itself: over states, logs and records drawn at
 * random, what is foreseen is what ingest then does.
 */
#include "ingest/offsets_forecast.h"

#include "ops/random.h"
#include "tests/support/machine_driver.h"
#include "tests/test.h"

#include <stdio.h>

#define CASES   3000
#define OFFSETS 6 /* offsets are drawn from 0..OFFSETS */

/* One partition as it is found. */
struct scene {
    struct store_state states[DRIVER_SHARDS];
    bool present[DRIVER_SHARDS];
    int64_t start; /* recorded; -1: not */
    struct offsets_log log;
};

static int64_t draw(struct random *random, int64_t from, int64_t to)
{
    return from + (int64_t)random_below(random, (uint64_t)(to - from + 1));
}

static void draw_scene(struct scene *scene, struct random *random)
{
    *scene = (struct scene){.start = draw(random, -1, OFFSETS)};
    scene->log.low = draw(random, 0, 2);
    scene->log.high = draw(random, scene->log.low, OFFSETS);
    scene->log.group = draw(random, -1, OFFSETS);
    for (int s = 0; s < DRIVER_SHARDS; s++) {
        int64_t next = draw(random, 0, OFFSETS);
        int64_t last = next > 0 ? draw(random, -1, next - 1) : -1;

        scene->present[s] = draw(random, 0, 3) > 0;
        scene->states[s] = (struct store_state){.next = next,
                                                .watermark_ms = STORE_NO_WATERMARK,
                                                .last_offset = last,
                                                .last_hash = last < 0 ? 0 : driver_hash(last)};
    }
}

static void store_scene(struct store_model *node, const struct scene *scene)
{
    struct model_connection connection = {.epoch = node->epoch};
    struct store_reply reply;

    for (int s = 0; s < DRIVER_SHARDS; s++) {
        struct store_m_write m = {
            .tp = user_value_writer(0, 0), .has_state = true, .state = scene->states[s]};
        struct store_request request = {.kind = STORE_EXEC, .shard = s, .ms = &m, .ms_count = 1};

        if (scene->present[s])
            store_model_run(node, &connection, &request, &reply);
    }
    if (scene->start >= 0) {
        struct store_request request = {
            .kind = STORE_START, .tp = user_value_writer(0, 0), .offset = scene->start};

        store_model_run(node, &connection, &request, &reply);
    }
}

/* What offsets_load() makes of it. */
static struct offsets_partition loaded(const struct scene *scene, int64_t next_of[DRIVER_SHARDS])
{
    struct offsets_partition p = {.recorded = scene->start >= 0,
                                  .start = scene->start,
                                  .next = -1,
                                  .next_least = -1,
                                  .next_max = -1,
                                  .last_offset = STORE_NO_OFFSET,
                                  .next_of = next_of};

    for (int s = 0; s < DRIVER_SHARDS; s++) {
        const struct store_state *state = &scene->states[s];

        next_of[s] = scene->present[s] ? state->next : -1;
        if (!scene->present[s])
            continue;
        if (p.shards_known == 0 || state->next < p.next_least ||
            (state->next == p.next_least && state->last_offset > p.last_offset)) {
            p.next_least = state->next;
            p.last_offset = state->last_offset;
            p.last_hash = state->last_hash;
        }
        p.next_max = state->next > p.next_max ? state->next : p.next_max;
        p.shards_known++;
    }
    p.next = p.shards_known == DRIVER_SHARDS ? p.next_least : -1;
    return p;
}

static void compare(const struct scene *scene, int number)
{
    struct arena *arena = arena_create(1 << 16, 1 << 26);
    int64_t next_of[DRIVER_SHARDS];
    struct offsets_partition p = loaded(scene, next_of);
    struct offsets_forecast f = offsets_forecast(&p, DRIVER_SHARDS, p.recorded, scene->log);
    const struct machine_command *stop, *assign;
    struct store_model node;
    struct driver driver;

    store_model_init(&node, arena);
    store_scene(&node, scene);
    driver_open(&driver, &node, arena, NULL);
    driver.low[0] = scene->log.low;
    driver.high[0] = scene->log.high;
    driver.group[0] = scene->log.group;
    driver_assign(&driver, 0);
    stop = driver_count(&driver, COMMAND_STOP) > 0 ? driver_last(&driver, COMMAND_STOP) : NULL;
    assign = driver_count(&driver, COMMAND_ASSIGN) > 0 ? driver_last(&driver, COMMAND_ASSIGN)
                                                       : NULL;
    if (f.stops != (stop != NULL) || (stop != NULL && f.reason != stop->reason) ||
        (assign != NULL && f.from != assign->offset))
        (void)printf("case %d\n", number);
    CHECK_INT(stop != NULL, f.stops);
    if (stop != NULL) {
        CHECK_INT(stop->reason, f.reason);
        CHECK_INT(stop->offset, f.offset);
        CHECK_INT(stop->found, f.found);
    } else {
        CHECK(assign != NULL);
        CHECK_INT(assign->offset, f.from);
        CHECK(f.position >= f.from && f.again >= 0);
    }
    driver_close(&driver);
    arena_destroy(arena);
}

TEST(offsets_forecast_is_what_the_machine_then_does)
{
    struct random random;
    int stops = 0;

    random_seed(&random, test_seed());
    for (int i = 0; i < CASES; i++) {
        int64_t next_of[DRIVER_SHARDS];
        struct offsets_partition p;
        struct scene scene;

        draw_scene(&scene, &random);
        p = loaded(&scene, next_of);
        stops += offsets_forecast(&p, DRIVER_SHARDS, p.recorded, scene.log).stops;
        compare(&scene, i);
    }
    CHECK(stops > CASES / 10 && stops < CASES - CASES / 10); /* both kinds are met */
}

TEST(offsets_forecast_sees_another_record_at_last)
{
    int64_t next_of[1] = {5};
    struct offsets_partition p = {.recorded = true,
                                  .next = 5,
                                  .next_least = 5,
                                  .next_max = 5,
                                  .shards_known = 1,
                                  .last_offset = 4,
                                  .last_hash = 77,
                                  .next_of = next_of};
    struct offsets_log log = {.low = 0, .high = 9, .group = 5};
    struct offsets_forecast f = offsets_forecast(&p, 1, true, log);

    CHECK(offsets_forecast_checks(&p, log));
    offsets_forecast_last(&f, &p, true, 77);
    CHECK(!f.stops && !f.other_log && f.from == 4 && f.position == 5);
    offsets_forecast_last(&f, &p, true, 78);
    CHECK(f.stops && f.other_log && f.reason == STOP_LOG_CHANGED);
    f = offsets_forecast(&p, 1, true, log);
    offsets_forecast_last(&f, &p, false, 0);
    CHECK(f.stops && f.reason == STOP_LOG_CHANGED);
    CHECK(f.other_log);
    log.low = 5; /* retention has taken it: nothing can be said */
    f = offsets_forecast(&p, 1, true, log);
    CHECK(!f.stops && !offsets_forecast_checks(&p, log));
}

TEST(offsets_forecast_stops_for_damage_and_for_a_reset_that_was_broken_off)
{
    int64_t next_of[1] = {5};
    struct offsets_partition p = {.recorded = true,
                                  .next = 5,
                                  .next_least = 5,
                                  .next_max = 5,
                                  .shards_known = 1,
                                  .last_offset = STORE_NO_OFFSET,
                                  .next_of = next_of};
    struct offsets_log log = {.low = 0, .high = 9, .group = -1};

    CHECK(!offsets_forecast(&p, 1, true, log).stops);
    p.outboxes_damaged = 1;
    CHECK_INT(STOP_STATE_DAMAGED, offsets_forecast(&p, 1, true, log).reason);
    p.outboxes_damaged = 0;
    p.damaged = 1;
    CHECK(offsets_forecast(&p, 1, true, log).stops);
    CHECK(!offsets_forecast(&p, 1, true, log).unfinished);
    p.closed = 1;
    CHECK(offsets_forecast(&p, 1, true, log).unfinished);
}

/* A rebuild is named only where it would begin at the right place. */
TEST(offsets_forecast_remedy_names_what_helps)
{
    struct offsets_partition p = {.partition = 3, .shards_known = 2};
    struct offsets_forecast forecast = {.stops = true, .reason = STOP_STATE_LOST};
    struct offsets_log log = {.low = 100, .high = 200, .group = -1};
    char text[OFFSETS_REMEDY_BYTES];

    offsets_forecast_remedy(&forecast, &p, log, text);
    CHECK_TEXT("freshet offsets reset --partition 3 --to low (not --rebuild: where it began is not "
               "recorded, and the log does not begin at 0); freshet runbook state-lost",
               text);
    log.low = 0;
    offsets_forecast_remedy(&forecast, &p, log, text);
    CHECK_TEXT("freshet ingest --rebuild; freshet runbook state-lost", text);
    log.low = 100;
    p.shards_known = 0;
    offsets_forecast_remedy(&forecast, &p, log, text);
    CHECK_TEXT("freshet ingest --rebuild; freshet runbook state-lost", text);
    forecast.reason = STOP_DATA_LOST;
    offsets_forecast_remedy(&forecast, &p, log, text);
    CHECK_TEXT("freshet offsets reset --partition 3 --to low; freshet runbook state-lost", text);
    forecast.unfinished = true;
    offsets_forecast_remedy(&forecast, &p, log, text);
    CHECK_TEXT("a reset was broken off: run `freshet offsets reset` again", text);
}
