/*
 * tests/scorer/scorer_fixture.h - a published bundle of twenty items, for tests of serving.
 */
#ifndef TESTS_SCORER_FIXTURE_H
#define TESTS_SCORER_FIXTURE_H

#include "features/item_tables.h"
#include "features/rules.h"
#include "kernels/model.h"

#define FIXTURE_ITEMS 20
#define FIXTURE_SEED  5

/* Items "i0".."i19"; item n was clicked n + 1 times around time_ms. */
struct item_tables *fixture_tables(int64_t time_ms);
/* What the bundle says that bf16 changes at most; 1, more than serve takes, until a test sets it.
 */
extern double fixture_bf16_most;
/* Publishes tables, and a fresh model when with_model, under root as current. stale: one scalar has
 * another name than this build's. */
/* Of the models that are published; 0 until a test sets them. */
extern struct model_switches fixture_switches;
void fixture_publish(const char *root, const char *version, struct item_tables *tables,
                     bool with_model, bool stale);
uint64_t fixture_item(int item); /* hash of its name */

#endif
