/* tests/features/rules_model.c - DESIGN: sequence, join, erasure; written from the text. */
#include "tests/features/rules_model.h"

#include "ops/hash.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* ---- order ---- */

static int by_entry(const void *a, const void *b)
{
    const struct model_entry *x = a, *y = b;

    if (x->time_ms != y->time_ms)
        return x->time_ms < y->time_ms ? -1 : 1;
    if (x->item != y->item)
        return x->item < y->item ? -1 : 1;
    return (int)x->action - (int)y->action;
}

static int by_label(const void *a, const void *b)
{
    const struct model_label *x = a, *y = b;
    struct model_entry ex = {x->item, x->time_ms, x->action, false};
    struct model_entry ey = {y->item, y->time_ms, y->action, false};

    return by_entry(&ex, &ey);
}

static int by_list(const void *a, const void *b)
{
    const struct model_list *x = a, *y = b;

    if (x->time_ms != y->time_ms)
        return x->time_ms < y->time_ms ? -1 : 1;
    if (x->request != y->request)
        return x->request < y->request ? -1 : 1;
    return x->id < y->id ? -1 : x->id > y->id;
}

static void sort_lists(const struct rules *rules, struct model_user *user)
{
    int gone;

    for (int i = 0; i < user->lists_count; i++) {
        struct model_list *list = &user->lists[i];
        qsort(list->labels, (size_t)list->labels_count, sizeof list->labels[0], by_label);
        if (list->rows_count == 0)
            list->time_ms = list->labels[0].time_ms;
    }
    qsort(user->lists, (size_t)user->lists_count, sizeof user->lists[0], by_list);
    gone = user->lists_count - rules->joins_max;
    if (gone > 0) {
        memmove(user->lists, user->lists + gone, (size_t)rules->joins_max * sizeof user->lists[0]);
        user->lists_count = rules->joins_max;
    }
}

/* ---- labels ---- */

static int row_of(const struct model_list *list, uint64_t item)
{
    for (int i = 0; i < list->rows_count; i++)
        if (list->rows[i] == item)
            return i;
    return -1;
}

static bool fits(const struct rules *rules, const struct model_list *list, uint64_t item,
                 int64_t time_ms)
{
    return row_of(list, item) >= 0 && list->time_ms <= time_ms &&
           time_ms <= list->time_ms + rules->join_window_ms;
}

/* The set of (row, action) of an emitted list; only what is new is said. */
static void correct(struct model_list *list, const struct model_label *label,
                    struct model_result *result)
{
    struct model_emission *out = &result->emissions[result->count];

    for (int i = 0; i < list->labels_count; i++)
        if (list->labels[i].item == label->item && list->labels[i].action == label->action)
            return;
    list->labels[list->labels_count++] = *label;
    *out = (struct model_emission){.kind = EXAMPLE_LABEL,
                                   .id = list->id,
                                   .time_ms = label->time_ms,
                                   .shown_at_ms = list->time_ms,
                                   .row = row_of(list, label->item),
                                   .action = label->action,
                                   .labels_count = list->labels_count};
    result->count++;
}

static bool label(const struct rules *rules, struct model_user *user, struct model_label label,
                  uint64_t request, struct model_result *result)
{
    struct model_list *found = NULL;

    for (int i = 0; i < user->lists_count; i++) {
        struct model_list *list = &user->lists[i];
        if (request != 0 ? list->request == request : fits(rules, list, label.item, label.time_ms))
            found = list; /* the last one */
    }
    if (request == 0) {
        if (found != NULL)
            correct(found, &label, result);
        return found != NULL;
    }
    if (found != NULL && found->rows_count > 0) {
        if (fits(rules, found, label.item, label.time_ms))
            correct(found, &label, result);
        return true;
    }
    if (found == NULL) {
        found = &user->lists[user->lists_count++];
        *found = (struct model_list){.request = request};
    }
    for (int i = 0; i < found->labels_count; i++)
        if (by_label(&found->labels[i], &label) == 0)
            return true;
    if (found->labels_count < OPEN_LABELS_MAX)
        found->labels[found->labels_count++] = label;
    return true;
}

/* ---- lists ---- */

static bool shown(const struct rules *rules, struct model_user *user, struct model_list list,
                  const struct model_entry *self, struct model_result *result)
{
    struct model_label early[256];
    struct model_emission *out;
    int early_count = 0, at = -1;

    for (int i = 0; i < user->lists_count; i++) {
        if (user->lists[i].rows_count > 0 && user->lists[i].id == list.id)
            return false;
        if (list.request != 0 && user->lists[i].request == list.request)
            at = i;
    }
    if (at >= 0) {
        for (int i = 0; i < user->lists[at].labels_count; i++)
            if (fits(rules, &list, user->lists[at].labels[i].item,
                     user->lists[at].labels[i].time_ms))
                early[early_count++] = user->lists[at].labels[i];
        user->lists[at] = user->lists[--user->lists_count];
    }
    for (int i = 0; i < user->count; i++) {
        struct model_entry *e = &user->entries[i];
        if (e->taken || rules->actions[e->action].label == 0 ||
            !fits(rules, &list, e->item, e->time_ms) || (self != NULL && by_entry(self, e) == 0))
            continue;
        early[early_count++] = (struct model_label){e->item, e->time_ms, e->action};
        e->taken = true;
    }
    out = &result->emissions[result->count++];
    *out = (struct model_emission){.kind = EXAMPLE_SHOWN,
                                   .id = list.id,
                                   .time_ms = list.time_ms,
                                   .running = user->running,
                                   .rows_count = list.rows_count};
    memcpy(out->rows, list.rows, sizeof list.rows);
    for (int i = 0; i < user->count; i++) {
        bool own = user->entries[i].time_ms > list.time_ms ||
                   (self != NULL && by_entry(self, &user->entries[i]) == 0);
        for (int j = 0; j < early_count; j++)
            own |= early[j].item == user->entries[i].item &&
                   early[j].time_ms == user->entries[i].time_ms &&
                   early[j].action == user->entries[i].action;
        if (own)
            out->running--;
        else
            out->history[out->history_count++] = user->entries[i];
    }
    for (int i = 0; i < early_count; i++)
        correct(&list, &early[i], result);
    user->lists[user->lists_count++] = list;
    return true;
}

/* ---- events ---- */

static void erase(struct model_user *user, const struct event *event, struct model_result *result)
{
    int kept = 0;

    if (event->time_ms > user->erased_at_ms)
        user->erased_at_ms = event->time_ms;
    for (int i = 0; i < user->count; i++)
        if (user->entries[i].time_ms > user->erased_at_ms)
            user->entries[kept++] = user->entries[i];
    user->count = kept;
    kept = 0;
    for (int i = 0; i < user->lists_count; i++) {
        struct model_list list = user->lists[i];
        int labels = 0;
        for (int j = 0; j < list.labels_count; j++)
            if (list.labels[j].time_ms > user->erased_at_ms)
                list.labels[labels++] = list.labels[j];
        list.labels_count = labels;
        if (list.rows_count > 0 ? list.time_ms > user->erased_at_ms : labels > 0)
            user->lists[kept++] = list;
    }
    user->lists_count = kept;
    result->emissions[result->count++] = (struct model_emission){.kind = EXAMPLE_ERASE,
                                                                 .time_ms = event->time_ms};
}

static uint64_t not_zero(uint64_t hash)
{
    return hash == 0 ? 1 : hash;
}

static uint64_t list_id(const struct rules *rules, const struct event *event,
                        const struct model_list *list)
{
    uint64_t user = rules_user_hash(rules, event->user);
    uint64_t rows = hash64(list->rows, (size_t)list->rows_count * 8, rules->seed);

    if (list->request != 0)
        return not_zero(hash64_mix(user, list->request));
    return not_zero(hash64_mix(hash64_mix(user, (uint64_t)list->time_ms), rows));
}

static void action(const struct rules *rules, struct model_user *user, const struct event *event,
                   bool replayed, uint64_t request, struct model_result *result)
{
    const struct action_row *row = &rules->actions[event->action];
    struct model_entry entry = {rules_item_hash(rules, event->item), event->time_ms, event->action,
                                false};
    bool taken = replayed && row->label != 0;

    result->outcome = OUTCOME_APPLIED;
    if (row->history) {
        for (int i = 0; i < user->count; i++)
            if (by_entry(&user->entries[i], &entry) == 0) {
                result->outcome = OUTCOME_DUPLICATE;
                return;
            }
        if (user->count == rules->sequence_max && by_entry(&entry, &user->entries[0]) < 0)
            result->outcome = OUTCOME_LATE;
    }
    if (row->label != 0 && !replayed)
        taken = label(rules, user, (struct model_label){entry.item, entry.time_ms, entry.action},
                      request, result);
    entry.taken = taken;
    if (row->history && result->outcome != OUTCOME_LATE) {
        user->entries[user->count++] = entry;
        user->running++;
        qsort(user->entries, (size_t)user->count, sizeof entry, by_entry);
        if (user->count > rules->sequence_max)
            memmove(user->entries, user->entries + 1,
                    (size_t)--user->count * sizeof user->entries[0]);
    }
    if (row->exposure && !replayed) {
        struct model_list list = {.time_ms = event->time_ms, .rows = {entry.item}, .rows_count = 1};
        sort_lists(rules, user);
        list.id = list_id(rules, event, &list);
        if (!shown(rules, user, list, &entry, result) && !row->history && row->label == 0)
            result->outcome = OUTCOME_DUPLICATE;
    }
}

void model_apply(const struct rules *rules, struct model_user *user, const struct event *event,
                 int64_t watermark_ms, bool replayed, struct model_result *result)
{
    uint64_t request = event->request_id.bytes == 0
                           ? 0
                           : not_zero(hash64_text(event->request_id, rules->seed));

    result->count = 0;
    result->outcome = OUTCOME_APPLIED;
    if (event->kind == EVENT_ERASE) {
        erase(user, event, result);
    } else if (event->time_ms <= user->erased_at_ms) {
        result->outcome = OUTCOME_ERASED;
    } else if (!replayed && watermark_ms != INT64_MIN &&
               event->time_ms < watermark_ms - rules->late_max_ms) {
        result->outcome = OUTCOME_DROPPED;
    } else if (event->kind == EVENT_IMPRESSION && replayed) {
        result->outcome = OUTCOME_DROPPED;
    } else if (event->kind == EVENT_IMPRESSION) {
        struct model_list list = {
            .request = request, .time_ms = event->time_ms, .rows_count = event->rows_count};
        for (int i = 0; i < event->rows_count; i++)
            list.rows[i] = rules_item_hash(rules, event->rows[i]);
        list.id = list_id(rules, event, &list);
        if (!shown(rules, user, list, NULL, result))
            result->outcome = OUTCOME_DUPLICATE;
    } else {
        action(rules, user, event, replayed, request, result);
    }
    sort_lists(rules, user);
}
