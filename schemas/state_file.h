/*
 * schemas/state_file.h - a file of the trainer's state: written once, in order, and read back.
 *
 * Flow: learner's parts -> [state file] -> checkpoint folder -> [state file] -> the same parts
 *
 *    0  magic    4  "FRST"
 *    4  format   4  STATE_FILE_FORMAT
 *    8  content     as its writers put it: little-endian numbers, arrays of them
 *    .  hash     8  XXH3 over all before it, 64 KiB at a time, each seeded by the one before
 *
 * Private to the trainer: no other role reads it. The hash is checked over the whole file before
 * anything is believed; after that a reader still bounds every count by what is left in the file.
 * Failures are remembered, so that parts need no check a field: the one at the end tells.
 * Thread: one.
 */
#ifndef SCHEMAS_STATE_FILE_H
#define SCHEMAS_STATE_FILE_H

#include "ops/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define STATE_FILE_FORMAT       4
#define STATE_FILE_BUFFER_BYTES 65536

struct state_file {
    FILE *file;
    const char *path; /* borrowed; for messages */
    uint64_t hash;
    uint64_t left; /* reading: bytes of content not yet read */
    size_t used;   /* writing: bytes in the buffer; reading: bytes taken from it */
    size_t filled; /* reading: bytes in the buffer */
    bool failed;
    uint8_t buffer[STATE_FILE_BUFFER_BYTES];
};

/* Errors: ERR_IO, ERR_NOMEM. Owner: the caller, until state_file_commit() or state_file_close(). */
MUST_CHECK enum status state_file_begin(struct state_file **state, const char *path,
                                        struct error *err);
void state_file_put(struct state_file *state, const void *bytes, size_t count);
void state_file_put_u8(struct state_file *state, uint8_t value);
void state_file_put_u32(struct state_file *state, uint32_t value);
void state_file_put_u64(struct state_file *state, uint64_t value);
void state_file_put_real(struct state_file *state, double value); /* its bits */
/* Writes the hash, syncs and closes; frees *state whatever comes. Errors: ERR_IO. */
MUST_CHECK enum status state_file_commit(struct state_file *state, struct error *err);

/**
 * Checks the whole file, then stands at the begin of its content.
 * Errors: ERR_NOT_FOUND, ERR_IO, ERR_MALFORMED (too short, another file), ERR_VERSION,
 *         ERR_CORRUPT, ERR_NOMEM
 */
MUST_CHECK enum status state_file_open(struct state_file **state, const char *path,
                                       struct error *err);
/* Past the end: zeros, and the file has failed. */
void state_file_get(struct state_file *state, void *into, size_t count);
uint8_t state_file_get_u8(struct state_file *state);
uint32_t state_file_get_u32(struct state_file *state);
uint64_t state_file_get_u64(struct state_file *state);
double state_file_get_real(struct state_file *state);
/* A count of things of at least each_bytes: 0 and failed when that many cannot be left, or when it
 * is above most. */
uint64_t state_file_get_count(struct state_file *state, size_t each_bytes, uint64_t most);
/* Errors: ERR_MALFORMED when something was read past the end, refused, or left. Does not close. */
MUST_CHECK enum status state_file_end(struct state_file *state, struct error *err);
void state_file_refuse(struct state_file *state); /* the content contradicts itself */
void state_file_close(struct state_file *state);  /* NULL is fine */

#endif
