/*
 * tests/eval/eval_fixture.h - a small data set with an order in it, split and counted.
 *
 * Users walk along rings of items: the next item is the last one's successor, now and then any.
 */
#ifndef TESTS_EVAL_FIXTURE_H
#define TESTS_EVAL_FIXTURE_H

#include "eval/signals.h"
#include "eval/split.h"
#include "kernels/crew.h"

#define EVAL_FIXTURE_USERS 60
#define EVAL_FIXTURE_ITEMS 24
#define EVAL_FIXTURE_STEPS 14

struct eval_fixture {
    struct interactions data;
    struct split split;
    struct crew *crew;
    struct signals *signals;
};

/* noise: every so many-th choice is any item; repeats: whether one may come again. */
void eval_fixture_write(const char *path, int noise, bool repeats);
void eval_fixture_make(struct eval_fixture *fixture, enum split_protocol protocol, int threads);
/* The same from a file's content. */
void eval_fixture_load(struct eval_fixture *fixture, const char *content,
                       enum split_protocol protocol, int threads);
void eval_fixture_read(struct eval_fixture *fixture, const char *path, enum split_protocol protocol,
                       int threads);
/* The row of the i-th item of the ring; the one behind the last is the first. */
int32_t eval_fixture_row(const struct eval_fixture *fixture, int i);
void eval_fixture_clear(struct eval_fixture *fixture);

#endif
