/*
 * tests/retrain/retrain_fixture.h - a small world for tests of what learns: users of four tastes
 * who click items of their own taste most of the time.
 *
 * Event i is a function of i alone, so a stream can be cut anywhere and gone on with, also by
 * another process.
 */
#ifndef TESTS_RETRAIN_FIXTURE_H
#define TESTS_RETRAIN_FIXTURE_H

#include "retrain/learner.h"
#include "schemas/event.h"

#define FIXTURE_USERS    40
#define FIXTURE_ITEMS    60
#define FIXTURE_TASTES   4
#define FIXTURE_BEGIN_MS INT64_C(1700000000000)
#define FIXTURE_STEP_MS  1000 /* between two events */
#define FIXTURE_SEED     5    /* of the data set */

#define FIXTURE_CLICK 2
#define FIXTURE_HIDE  6

/* Rules of the default actions. */
const struct rules *retrain_rules(void);
/* Small batches of small lists; rules set, a holdout of 4,000. */
void retrain_learner_options(struct learner_options *options);
struct learner *retrain_learner(void);

/* Event i of the stream; texts are valid until the next call. */
struct event retrain_event(int i);
int64_t retrain_time_ms(int i);
/* Events [from, to) into the learner. */
void retrain_feed(struct learner *learner, int from, int to);
/* Steps on all there is. */
void retrain_train(struct learner *learner, int steps);

uint64_t retrain_user(int user); /* hash of "u<user>" */
uint64_t retrain_item(int item); /* hash of "i<item>" */

/* A file's bytes; free() them. Fails the test when it cannot be read. */
char *retrain_read(const char *path, size_t *bytes);
void retrain_write(const char *path, const void *bytes, size_t count);
/* Both folders hold the same files of the same bytes. */
void retrain_check_same_folder(const char *a, const char *b);

#endif
