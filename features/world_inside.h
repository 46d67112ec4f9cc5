/* features/world_inside.h - what world.c and world_walk.c share; nobody else includes it. */
#ifndef FEATURES_WORLD_INSIDE_H
#define FEATURES_WORLD_INSIDE_H

#include "features/world.h"

struct world_user {
    int liked[2]; /* categories */
    int64_t phase_ms;
    float taste[WORLD_DIMS];
};

struct world_appeal {
    float level;
    int64_t period_ms, phase_ms;
};

struct world {
    struct world_options o;
    float *centres;              /* (categories, WORLD_DIMS) */
    int *next;                   /* (categories) which one follows */
    float *looks;                /* (items, WORLD_DIMS) */
    int *category;               /* (items) */
    struct world_appeal *appeal; /* (items) */
    int *after;                  /* (items) whose look and appeal an item has after the shift */
    struct world_user *users;    /* (users) */
};

/* What a user wants now: utility is its product with a look, plus appeal. */
void world_wish(const struct world *world, int user, int64_t time_ms, float wish[WORLD_DIMS]);
double world_utility_of(const struct world *world, const float wish[WORLD_DIMS], int item,
                        int64_t time_ms);
double world_chance_of(double utility);

#endif
