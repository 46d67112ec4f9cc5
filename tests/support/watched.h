/*
 * tests/support/watched.h - the smaller form of tests that learn for a figure.
 *
 * A sanitizer makes the loops of kernels/ twenty to seventy times as slow. What it could find is
 * found in a few steps of every kind; what the figure is after a thousand, the plain run tells:
 *
 *     enum { STEPS = WATCHED ? 60 : 500 };
 *     CHECK(learnt_auc() > .62 || WATCHED);
 *
 * A test of one thread alone is left out altogether where threads are watched:
 * SKIP_WHERE_THREADS_ARE_WATCHED() of tests/test.h.
 */
#ifndef TESTS_SUPPORT_WATCHED_H
#define TESTS_SUPPORT_WATCHED_H

#if defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__
#define WATCHED 1
#else
#define WATCHED 0
#endif

#endif
