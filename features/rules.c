/* features/rules.c - one event, one value: the order of the decisions. See rules.h. */
#include "features/rules.h"

#include "features/join.h"
#include "features/sequence.h"
#include "ops/defence.h"
#include "ops/hash.h"

#include <assert.h>

const char *const outcome_names[OUTCOME_COUNT] = {
#define X(id, name, help) [OUTCOME_##id] = name,
    OUTCOME_LIST(X)
#undef X
};

/* The defaults, which stand in features_config_rows too (a test compares them). */
#define SEQUENCE_DEFAULT       100
#define JOINS_DEFAULT          4
#define JOIN_WINDOW_DEFAULT_MS (INT64_C(30) * 60 * 1000)
#define LATE_MAX_DEFAULT_MS    (INT64_C(7) * 24 * 3600 * 1000)

void rules_init(struct rules *rules, const struct event_schema *schema, uint64_t seed)
{
    *rules = (struct rules){.sequence_max = SEQUENCE_DEFAULT,
                            .joins_max = JOINS_DEFAULT,
                            .join_window_ms = JOIN_WINDOW_DEFAULT_MS,
                            .late_max_ms = LATE_MAX_DEFAULT_MS,
                            .seed = seed};
    for (int code = 0; code < ACTIONS_MAX; code++) {
        const struct action_row *row = event_schema_action(schema, (uint8_t)code);
        if (row != NULL)
            rules->actions[code] = *row;
    }
}

enum status rules_from_config(struct rules *rules, const struct event_schema *schema,
                              const struct config *config, uint64_t seed, struct error *err)
{
    int64_t sequence_max = config_int(config, "features.sequence_max");
    int64_t joins_max = config_int(config, "features.joins_max");

    rules_init(rules, schema, seed);
    if (sequence_max < 1 || sequence_max > SEQUENCE_MAX)
        return error_set(err, ERR_CONFIG, "features.sequence_max is %lld, it must be 1..%d",
                         (long long)sequence_max, SEQUENCE_MAX);
    if (joins_max < 0 || joins_max > JOINS_MAX)
        return error_set(err, ERR_CONFIG, "features.joins_max is %lld, it must be 0..%d",
                         (long long)joins_max, JOINS_MAX);
    rules->sequence_max = (int)sequence_max;
    rules->joins_max = (int)joins_max;
    rules->join_window_ms = config_duration_ms(config, "features.join_window");
    rules->late_max_ms = config_duration_ms(config, "features.late_max");
    return OK;
}

uint64_t rules_user_hash(const struct rules *rules, struct text user)
{
    return hash64_text(user, rules->seed);
}

uint64_t rules_item_hash(const struct rules *rules, struct text item)
{
    return hash64_text(item, rules->seed);
}

int rules_shard(const struct rules *rules, struct text user, int shards)
{
    assert(shards >= 1);
    return (int)(rules_user_hash(rules, user) % (uint64_t)shards);
}

int64_t rules_watermark(int64_t before_ms, int64_t event_time_ms, int64_t record_time_ms,
                        int64_t max_future_skew_ms)
{
    int64_t cap;

    if (__builtin_add_overflow(record_time_ms, max_future_skew_ms, &cap))
        cap = max_future_skew_ms > 0 ? INT64_MAX : INT64_MIN;
    if (!DEFENCE(WATERMARK_CAP) || event_time_ms < cap)
        cap = event_time_ms;
    return cap > before_ms ? cap : before_ms;
}

/* Neither side is negative here: the difference cannot overflow. */
static bool too_late(const struct rules *rules, int64_t time_ms, int64_t watermark_ms)
{
    return DEFENCE(TOO_LATE) && watermark_ms > time_ms &&
           watermark_ms - time_ms > rules->late_max_ms;
}

static enum status apply_erase(const struct join *join, const struct event *event,
                               enum outcome *outcome)
{
    struct user_value *value = join->value;

    if (event->time_ms > value->erased_at_ms)
        value->erased_at_ms = event->time_ms;
    sequence_erase(value, value->erased_at_ms);
    join_erase(value, value->erased_at_ms);
    *outcome = OUTCOME_APPLIED;
    return join_emit_erase(join, event->time_ms);
}

static enum status no_memory(const struct join *join)
{
    return error_set(join->err, ERR_NOMEM, "no memory left in the batch for a shown list");
}

static enum status apply_impression(const struct join *join, const struct event *event,
                                    bool replayed, enum outcome *outcome)
{
    struct join_shown shown = {.request = join_request_hash(join->rules, event->request_id),
                               .shown_at_ms = event->time_ms,
                               .rows_count = event->rows_count,
                               .trace = event->trace};
    bool fresh;
    enum status status;

    *outcome = replayed ? OUTCOME_DROPPED : OUTCOME_DEAD;
    if (replayed || event->rows_count < 1 || event->rows_count > EVENT_ROWS_MAX)
        return OK;
    shown.rows = arena_alloc(join->arena, (size_t)event->rows_count * sizeof shown.rows[0]);
    if (shown.rows == NULL)
        return no_memory(join);
    for (int i = 0; i < event->rows_count; i++)
        shown.rows[i] = rules_item_hash(join->rules, event->rows[i]);
    status = join_shown(join, &shown, &fresh);
    *outcome = fresh ? OUTCOME_APPLIED : OUTCOME_DUPLICATE;
    return status;
}

/* The impression of one row that an exposure is. */
static enum status apply_exposure(const struct join *join, const struct user_entry *self,
                                  bool *fresh)
{
    struct join_shown shown = {.shown_at_ms = self->time_ms, .rows_count = 1, .self = self};

    shown.rows = arena_copy(join->arena, &self->item, sizeof self->item);
    if (shown.rows == NULL)
        return no_memory(join);
    return join_shown(join, &shown, fresh);
}

static enum status apply_action(const struct join *join, const struct event *event, bool replayed,
                                enum outcome *outcome)
{
    const struct action_row *action = &join->rules->actions[event->action];
    struct user_entry entry = {.item = rules_item_hash(join->rules, event->item),
                               .time_ms = event->time_ms,
                               .action = event->action,
                               .taken = replayed && action->label != 0};
    struct open_label label = {entry.item, entry.time_ms, entry.action};
    enum sequence_result entered = SEQUENCE_OLDER;
    enum status status;
    int index = -1;
    bool fresh = true, taken;

    if (action->history) {
        entered = sequence_enter(join->value, &entry, join->rules->sequence_max, &index);
        *outcome = entered == SEQUENCE_KNOWN   ? OUTCOME_DUPLICATE
                   : entered == SEQUENCE_OLDER ? OUTCOME_LATE
                                               : OUTCOME_APPLIED;
        if (entered == SEQUENCE_KNOWN)
            return OK;
        if (replayed && entered == SEQUENCE_ENTERED)
            join->value->flags |= USER_VALUE_REPLAYED;
    } else {
        *outcome = OUTCOME_APPLIED;
    }
    if (replayed)
        return OK;
    if (action->label != 0) {
        status = join_label(join, &label, join_request_hash(join->rules, event->request_id),
                            &taken);
        if (status != OK)
            return status;
        if (entered == SEQUENCE_ENTERED)
            join->value->entries[index].taken = taken;
    }
    if (action->exposure) {
        status = apply_exposure(join, &entry, &fresh);
        if (status != OK)
            return status;
        if (!action->history && action->label == 0 && !fresh)
            *outcome = OUTCOME_DUPLICATE;
    }
    return OK;
}

enum status rules_apply(const struct rules *rules, struct user_value *value,
                        const struct event *event, int64_t watermark_ms, bool replayed,
                        struct arena *arena, struct emissions *emissions, enum outcome *outcome,
                        struct error *err)
{
    struct join join = {.rules = rules,
                        .value = value,
                        .user = rules_user_hash(rules, event->user),
                        .arena = arena,
                        .emissions = emissions,
                        .err = err};

    emissions->count = 0;
    *outcome = OUTCOME_DEAD;
    if (event->time_ms <= 0 || event->time_ms > RULES_TIME_MAX)
        return OK;
    if (event->kind == EVENT_ERASE)
        return apply_erase(&join, event, outcome);
    if (DEFENCE(ERASED) && event->time_ms <= value->erased_at_ms) {
        *outcome = OUTCOME_ERASED;
        return OK;
    }
    if (!replayed && too_late(rules, event->time_ms, watermark_ms)) {
        *outcome = OUTCOME_DROPPED;
        return OK;
    }
    if (event->kind == EVENT_IMPRESSION)
        return apply_impression(&join, event, replayed, outcome);
    if (event->action < 1 || event->action >= ACTIONS_MAX)
        return OK;
    return apply_action(&join, event, replayed, outcome);
}

bool rules_apply_fast(const struct rules *rules, const struct event *event, int64_t watermark_ms,
                      bool replayed, uint8_t *image, size_t *bytes, size_t bytes_max,
                      uint32_t writer, int64_t written_at_ms, struct user_change *change)
{
    const struct action_row *action;
    struct user_entry entry;

    if (replayed || event->kind != EVENT_ACTION || event->action < 1 ||
        event->action >= ACTIONS_MAX || event->time_ms <= 0 || event->time_ms > RULES_TIME_MAX ||
        too_late(rules, event->time_ms, watermark_ms))
        return false;
    action = &rules->actions[event->action];
    if (!action->history || action->exposure || (action->label != 0 && event->request_id.bytes > 0))
        return false;
    entry = (struct user_entry){.item = rules_item_hash(rules, event->item),
                                .time_ms = event->time_ms,
                                .action = event->action};
    return user_value_append(image, bytes, bytes_max, &entry, rules->sequence_max, writer,
                             written_at_ms, change);
}
