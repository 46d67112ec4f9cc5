/*
 * tests/test.h - the whole test framework.
 *
 *     TEST(weights_load_refuses_every_truncation) { CHECK_STATUS(ERR_MALFORMED, load(...)); }
 *
 * TEST registers itself before main. A failing CHECK ends its test at once, also
 * from inside a helper function (it jumps back to the runner, so what the test
 * had allocated is leaked: failing tests are not judged for leaks).
 * Thread: checks are for the thread the test runs on.
 */
#ifndef TESTS_TEST_H
#define TESTS_TEST_H

#include "ops/status.h"

#include <stdbool.h>
#include <stdint.h>

void test_register(const char *name, const char *file, void (*run)(void));
_Noreturn void test_fail(const char *file, int line, const char *fmt, ...) PRINTF_LIKE(3, 4);
_Noreturn void test_skip(const char *file, int line, const char *why);
void test_check_status(const char *file, int line, enum status want, enum status got,
                       const char *call);
void test_check_near(const char *file, int line, double want, double got, double tolerance);
void test_check_int(const char *file, int line, int64_t want, int64_t got, const char *expression);
void test_check_text(const char *file, int line, const char *want, const char *got);

#define TEST(name)                                                                                 \
    static void name(void);                                                                        \
    __attribute__((constructor)) static void name##_register(void)                                 \
    {                                                                                              \
        test_register(#name, __FILE__, name);                                                      \
    }                                                                                              \
    static void name(void)

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition))                                                                          \
            test_fail(__FILE__, __LINE__, "%s", #condition);                                       \
    } while (0)
#define CHECK_STATUS(want, call)         test_check_status(__FILE__, __LINE__, want, call, #call)
#define CHECK_NEAR(want, got, tolerance) test_check_near(__FILE__, __LINE__, want, got, tolerance)
#define CHECK_INT(want, got)             test_check_int(__FILE__, __LINE__, want, got, #got)
#define CHECK_TEXT(want, got)            test_check_text(__FILE__, __LINE__, want, got)
#define SKIP(why)                        test_skip(__FILE__, __LINE__, why)

/* For a test of one thread that learns for seconds: ten times as long to find no race. */
#ifdef __SANITIZE_THREAD__
#define SKIP_WHERE_THREADS_ARE_WATCHED() SKIP("one thread alone, and figures")
#else
#define SKIP_WHERE_THREADS_ARE_WATCHED() ((void)0)
#endif

/* A fresh folder of this test, removed with all that is in it when the test ends.
 * Static storage, valid for the running test. */
const char *test_folder(void);

/* Seed of random tests: FRESHET_TEST_SEED or a fixed number; printed when a test fails. */
uint64_t test_seed(void);

#endif
