/*
 * tests/fuzz/fuzz.h - what the fuzzers share.
 *
 * A fuzzer is one file, fuzz_<what>.c, with LLVMFuzzerTestOneInput(); `make fuzz` finds it. Its
 * seeds are written at run time by LLVMFuzzerInitialize() through the encoders under test, so they
 * are always of the present format: with FUZZ_SEEDS=FOLDER in the environment the fuzzer writes
 * them there and exits.
 */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include "ops/status.h"

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

/* A property that must hold of what was accepted. */
#define FUZZ_CHECK(condition)                                                                      \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            (void)fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                  \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

void fuzz_seed(const void *bytes, size_t count); /* does nothing without FUZZ_SEEDS */
void fuzz_seed_text(const char *text);
void fuzz_seeds_done(void); /* exits when it was only about seeds */

/* Path of a file in memory that holds these bytes; the same path every time. */
const char *fuzz_file(const void *bytes, size_t count);

#endif
