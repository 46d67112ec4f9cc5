/*
 * ingest/simulate_lists.h - where a simulated user's list comes from, and how good it was.
 *
 * Flow: session begins -> [ask the scorer over HTTP] -> impression, clicks -> Kafka
 *
 * A list is asked for at POST /v1/recommend. A share of the lists is drawn at random (exploration),
 * as is every list the scorer cannot give, so that the stream never dries up. A second scorer may
 * be asked for the same users: its lists are measured and never shown (a frozen model, to see what
 * retraining is worth).
 *
 * Quality is NDCG@rows against the world's truth, the ideal being the best of the whole catalogue.
 * Thread: one.
 */
#ifndef INGEST_SIMULATE_LISTS_H
#define INGEST_SIMULATE_LISTS_H

#include "features/world.h"
#include "ops/random.h"
#include "ops/status.h"

#include <stdint.h>

enum list_source { LIST_MODEL, LIST_POPULARITY, LIST_RANDOM, LIST_COMPARED, LIST_SOURCES };
extern const char *const list_source_names[LIST_SOURCES];

struct simulate_lists_options {
    const char *serve_url; /* "http://127.0.0.1:8080"; NULL: nobody to ask, all lists are random */
    const char *compare_url; /* NULL: none */
    double explore;          /* share of lists drawn at random */
    double compare;          /* share of sessions the second scorer is asked for too */
    int items;               /* of the world: random lists are drawn from them */
    uint64_t seed;
};

struct simulate_lists;
MUST_CHECK enum status simulate_lists_create(struct simulate_lists **lists,
                                             const struct simulate_lists_options *options,
                                             struct error *err);
void simulate_lists_destroy(struct simulate_lists *lists); /* NULL is fine */

/* A world_choose for world_walk_create(), with the lists as context. */
void simulate_lists_choose(void *lists, const struct world *world, int user, int64_t time_ms,
                           int rows_max, struct world_shown *shown);

struct list_quality {
    uint64_t count;
    double ndcg_sum;
    double ndcg_recent; /* mean with an exponential memory of the last 200 lists */
};
struct list_quality simulate_lists_quality(const struct simulate_lists *lists,
                                           enum list_source source);
uint64_t simulate_lists_failed(const struct simulate_lists *lists); /* requests without an answer */

#endif
