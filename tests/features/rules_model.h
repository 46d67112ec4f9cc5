/*
 * tests/features/rules_model.h - the rules a second time, obviously: unsorted lists, everything
 * looked for by walking all of it. What features/rules.c is compared with.
 *
 * It shares with the product only how ids are hashed, because order among equal times is by hash.
 */
#ifndef TESTS_FEATURES_RULES_MODEL_H
#define TESTS_FEATURES_RULES_MODEL_H

#include "features/rules.h"

#define MODEL_MAX 2048

struct model_entry {
    uint64_t item;
    int64_t time_ms;
    uint8_t action;
    bool taken;
};

struct model_label {
    uint64_t item;
    int64_t time_ms;
    uint8_t action;
};

/* A shown list, or (rows_count 0) a request of which only labels are known. */
struct model_list {
    uint64_t request;
    uint64_t id;
    int64_t time_ms;
    uint64_t rows[8];
    int rows_count;
    struct model_label labels[MODEL_MAX / 8];
    int labels_count;
};

struct model_user {
    int64_t erased_at_ms;
    uint32_t running;
    struct model_entry entries[64];
    int count;
    struct model_list lists[16];
    int lists_count;
};

/* What was emitted: SHOWN, LABEL or ERASE, as an example would say it. */
struct model_emission {
    enum example_kind kind;
    uint64_t id;
    int64_t time_ms;
    int64_t shown_at_ms;
    uint32_t running;
    uint64_t rows[8];
    int rows_count;
    struct model_entry history[64];
    int history_count;
    int row;
    uint8_t action;
    int labels_count;
};

struct model_result {
    enum outcome outcome;
    struct model_emission emissions[256];
    int count;
};

void model_apply(const struct rules *rules, struct model_user *user, const struct event *event,
                 int64_t watermark_ms, bool replayed, struct model_result *result);

#endif
