/*
 * tests/features/rules_user.h - one user under the rules, through bytes as a store would, and
 * short ways to write events. Shared by test_rules.c and test_rules_cases.c.
 */
#ifndef TESTS_FEATURES_RULES_USER_H
#define TESTS_FEATURES_RULES_USER_H

#include "features/rules.h"

enum { VIEW = 1, CLICK, LIKE, HIDE, PROBE, SEEN, ADORED, NOTHING };

#define ITEMS    6
#define REQUESTS 12 /* request 0 is none */

/* A sequence of 4, 3 open lists, a window of 40 ms, at most 60 ms late. */
struct rules rules_of_test(void);

extern const char *const item_names[ITEMS];
extern const char *const request_names[REQUESTS];

/* One record. event.rows is set when it is applied: a step is copied about. */
struct step {
    struct event event;
    struct text rows[3];
    int64_t watermark_ms;
    bool replayed;
};
struct step action_of(uint8_t action, int item, int64_t time_ms, int request);
struct step shown_of(int64_t time_ms, int request, int rows_count, int a, int b, int c);
struct step erase_of(int64_t time_ms);

struct user {
    struct rules rules;
    struct arena *arena;
    uint8_t image[USER_VALUE_BYTES_MAX];
    size_t bytes;
    struct user_value value; /* decoded from image */
    struct emissions emissions;
    struct example examples[EMISSIONS_MAX]; /* decoded emissions */
    enum outcome outcome;
};
struct user *user_create(const struct rules *rules);
void user_destroy(struct user *user);
/* Decodes, applies, encodes, and decodes again what came of it. */
void user_apply(struct user *user, const struct step *step);
void user_apply_all(struct user *user, const struct step *steps, int count);

#endif
