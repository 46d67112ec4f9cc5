/* tests/features/rules_user.c - see rules_user.h. */
#include "tests/features/rules_user.h"

#include "tests/test.h"

#include <stdlib.h>

struct rules rules_of_test(void)
{
    struct rules rules = {
        .sequence_max = 4, .joins_max = 3, .join_window_ms = 40, .late_max_ms = 60, .seed = 99};

    rules.actions[VIEW] = (struct action_row){.name = "view", .code = VIEW, .history = true};
    rules.actions[CLICK] = (struct action_row){
        .name = "click", .code = CLICK, .history = true, .label = 1};
    rules.actions[LIKE] = (struct action_row){
        .name = "like", .code = LIKE, .history = true, .label = 2};
    rules.actions[HIDE] = (struct action_row){
        .name = "hide", .code = HIDE, .history = true, .negative = true};
    rules.actions[PROBE] = (struct action_row){.name = "probe", .code = PROBE, .label = 1};
    rules.actions[SEEN] = (struct action_row){.name = "seen", .code = SEEN, .exposure = true};
    rules.actions[ADORED] = (struct action_row){
        .name = "adored", .code = ADORED, .history = true, .exposure = true, .label = 1};
    rules.actions[NOTHING] = (struct action_row){.name = "nothing", .code = NOTHING};
    return rules;
}

const char *const item_names[ITEMS] = {"i0", "i1", "i2", "i3", "i4", "i5"};
const char *const request_names[REQUESTS] = {"",   "r1", "r2", "r3", "r4",  "r5",
                                             "r6", "r7", "r8", "r9", "r10", "r11"};

struct step action_of(uint8_t action, int item, int64_t time_ms, int request)
{
    return (struct step){.event = {.kind = EVENT_ACTION,
                                   .action = action,
                                   .time_ms = time_ms,
                                   .user = text_of("u"),
                                   .item = text_of(item_names[item]),
                                   .request_id = text_of(request_names[request])},
                         .watermark_ms = INT64_MIN};
}

struct step shown_of(int64_t time_ms, int request, int rows_count, int a, int b, int c)
{
    struct step step = {
        .event = {.kind = EVENT_IMPRESSION,
                  .time_ms = time_ms,
                  .user = text_of("u"),
                  .request_id = text_of(request_names[request]),
                  .rows_count = rows_count},
        .rows = {text_of(item_names[a]), text_of(item_names[b]), text_of(item_names[c])},
        .watermark_ms = INT64_MIN};
    return step;
}

struct step erase_of(int64_t time_ms)
{
    return (struct step){.event = {.kind = EVENT_ERASE, .time_ms = time_ms, .user = text_of("u")},
                         .watermark_ms = INT64_MIN};
}

struct user *user_create(const struct rules *rules)
{
    struct user *user = calloc(1, sizeof *user);

    CHECK(user != NULL);
    user->rules = *rules;
    user->arena = arena_create(1 << 16, 1 << 24);
    return user;
}

void user_destroy(struct user *user)
{
    arena_destroy(user->arena);
    free(user);
}

void user_apply(struct user *user, const struct step *step)
{
    struct event event = step->event;
    struct error err;

    event.rows = step->rows;
    arena_reset(user->arena);
    CHECK_STATUS(OK, user_value_decode(&user->value, user->image, user->bytes, user->arena, &err));
    CHECK_STATUS(OK,
                 rules_apply(&user->rules, &user->value, &event, step->watermark_ms, step->replayed,
                             user->arena, &user->emissions, &user->outcome, &err));
    user->bytes = user_value_encode(&user->value, user->image, sizeof user->image);
    CHECK(user->bytes > 0);
    CHECK_STATUS(OK, user_value_decode(&user->value, user->image, user->bytes, user->arena, &err));
    for (int i = 0; i < user->emissions.count; i++)
        CHECK_STATUS(OK, example_decode(&user->examples[i], user->emissions.list[i].bytes,
                                        user->emissions.list[i].bytes_count, user->arena, &err));
}

void user_apply_all(struct user *user, const struct step *steps, int count)
{
    for (int i = 0; i < count; i++)
        user_apply(user, &steps[i]);
}
