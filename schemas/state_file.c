/* schemas/state_file.c - a hash chained over blocks, so that neither side needs the file whole. */
#include "schemas/state_file.h"

#include "ops/hash.h"
#include "schemas/bytes.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define HEADER_BYTES 8
#define HASH_BYTES   8

static const uint8_t magic[4] = {'F', 'R', 'S', 'T'};

static enum status failed_to(struct error *err, const char *what, const char *path)
{
    return error_set(err, ERR_IO, "could not %s state \"%s\": %s", what, path, strerror(errno));
}

/* ---- writing ---- */

enum status state_file_begin(struct state_file **state, const char *path, struct error *err)
{
    struct state_file *made = calloc(1, sizeof *made);

    *state = NULL;
    if (made == NULL)
        return error_set(err, ERR_NOMEM, "no memory to write state \"%s\"", path);
    made->path = path;
    made->file = fopen(path, "wbe");
    if (made->file == NULL) {
        free(made);
        return failed_to(err, "create", path);
    }
    state_file_put(made, magic, sizeof magic);
    state_file_put_u32(made, STATE_FILE_FORMAT);
    *state = made;
    return OK;
}

static void flush(struct state_file *state)
{
    state->hash = hash64(state->buffer, state->used, state->hash);
    if (fwrite(state->buffer, 1, state->used, state->file) != state->used)
        state->failed = true;
    state->used = 0;
}

void state_file_put(struct state_file *state, const void *bytes, size_t count)
{
    const uint8_t *from = bytes;

    while (count > 0) {
        size_t room = sizeof state->buffer - state->used;
        size_t part = count < room ? count : room;

        memcpy(state->buffer + state->used, from, part);
        state->used += part;
        from += part;
        count -= part;
        if (state->used == sizeof state->buffer)
            flush(state);
    }
}

void state_file_put_u8(struct state_file *state, uint8_t value)
{
    state_file_put(state, &value, 1);
}

void state_file_put_u32(struct state_file *state, uint32_t value)
{
    uint8_t bytes[4];

    bytes_put_u32(bytes, value);
    state_file_put(state, bytes, sizeof bytes);
}

void state_file_put_u64(struct state_file *state, uint64_t value)
{
    uint8_t bytes[8];

    bytes_put_u64(bytes, value);
    state_file_put(state, bytes, sizeof bytes);
}

void state_file_put_real(struct state_file *state, double value)
{
    uint64_t bits;

    memcpy(&bits, &value, sizeof bits);
    state_file_put_u64(state, bits);
}

enum status state_file_commit(struct state_file *state, struct error *err)
{
    enum status status = OK;
    uint8_t hash[HASH_BYTES];

    flush(state);
    bytes_put_u64(hash, state->hash);
    if (fwrite(hash, 1, sizeof hash, state->file) != sizeof hash || state->failed ||
        fflush(state->file) != 0 || fsync(fileno(state->file)) != 0)
        status = failed_to(err, "write", state->path);
    if (fclose(state->file) != 0 && status == OK)
        status = failed_to(err, "close", state->path);
    free(state);
    return status;
}

/* ---- reading ---- */

/* Fills the buffer with the next block of what the hash covers; false at its end. */
static bool fill(struct state_file *state)
{
    size_t want = state->left < sizeof state->buffer ? (size_t)state->left : sizeof state->buffer;

    state->used = 0;
    state->filled = want == 0 ? 0 : fread(state->buffer, 1, want, state->file);
    state->left -= state->filled;
    return state->filled > 0;
}

static enum status check_hash(struct state_file *state, struct error *err)
{
    uint8_t stored[HASH_BYTES];
    uint64_t hash = 0;
    bool whole = true;

    while (state->left > 0 && whole) {
        whole = fill(state);
        if (whole)
            hash = hash64(state->buffer, state->filled, hash);
    }
    if (!whole || fread(stored, 1, sizeof stored, state->file) != sizeof stored)
        return failed_to(err, "read", state->path);
    if (bytes_get_u64(stored) != hash)
        return error_set(err, ERR_CORRUPT, "state \"%s\": the hash does not match", state->path);
    return OK;
}

static enum status check_file(struct state_file *state, struct error *err)
{
    uint8_t header[HEADER_BYTES];
    enum status status;
    long bytes;

    if (fseek(state->file, 0, SEEK_END) != 0 || (bytes = ftell(state->file)) < 0)
        return failed_to(err, "measure", state->path);
    rewind(state->file);
    if (bytes < HEADER_BYTES + HASH_BYTES)
        return error_set(err, ERR_MALFORMED, "state \"%s\" is cut short", state->path);
    state->left = (uint64_t)bytes - HASH_BYTES;
    status = check_hash(state, err);
    if (status != OK)
        return status;
    rewind(state->file);
    state->left = (uint64_t)bytes - HASH_BYTES;
    state->filled = state->used = 0;
    state_file_get(state, header, sizeof header);
    if (memcmp(header, magic, sizeof magic) != 0)
        return error_set(err, ERR_MALFORMED, "\"%s\" is no state of the trainer", state->path);
    if (bytes_get_u32(header + 4) != STATE_FILE_FORMAT)
        return error_set(err, ERR_VERSION, "state \"%s\" has format %u, this build reads %d",
                         state->path, (unsigned)bytes_get_u32(header + 4), STATE_FILE_FORMAT);
    return OK;
}

enum status state_file_open(struct state_file **state, const char *path, struct error *err)
{
    struct state_file *made = calloc(1, sizeof *made);
    enum status status;

    *state = NULL;
    if (made == NULL)
        return error_set(err, ERR_NOMEM, "no memory to read state \"%s\"", path);
    made->path = path;
    made->file = fopen(path, "rbe");
    if (made->file == NULL) {
        status = errno == ENOENT ? error_set(err, ERR_NOT_FOUND, "there is no state \"%s\"", path)
                                 : failed_to(err, "open", path);
        free(made);
        return status;
    }
    status = check_file(made, err);
    if (status != OK) {
        state_file_close(made);
        return status;
    }
    *state = made;
    return OK;
}

void state_file_get(struct state_file *state, void *into, size_t count)
{
    uint8_t *to = into;

    while (count > 0) {
        size_t part;

        if (state->used == state->filled && (state->failed || !fill(state))) {
            state->failed = true;
            memset(to, 0, count);
            return;
        }
        part = state->filled - state->used;
        part = count < part ? count : part;
        memcpy(to, state->buffer + state->used, part);
        state->used += part;
        to += part;
        count -= part;
    }
}

uint8_t state_file_get_u8(struct state_file *state)
{
    uint8_t value;

    state_file_get(state, &value, 1);
    return value;
}

uint32_t state_file_get_u32(struct state_file *state)
{
    uint8_t bytes[4];

    state_file_get(state, bytes, sizeof bytes);
    return bytes_get_u32(bytes);
}

uint64_t state_file_get_u64(struct state_file *state)
{
    uint8_t bytes[8];

    state_file_get(state, bytes, sizeof bytes);
    return bytes_get_u64(bytes);
}

double state_file_get_real(struct state_file *state)
{
    uint64_t bits = state_file_get_u64(state);
    double value;

    memcpy(&value, &bits, sizeof value);
    return value;
}

uint64_t state_file_get_count(struct state_file *state, size_t each_bytes, uint64_t most)
{
    uint64_t count = state_file_get_u64(state);
    uint64_t left = state->left + (state->filled - state->used);

    assert(each_bytes > 0);
    if (!state->failed && count <= most && count <= left / each_bytes)
        return count;
    state->failed = true;
    return 0;
}

void state_file_refuse(struct state_file *state)
{
    state->failed = true;
}

enum status state_file_end(struct state_file *state, struct error *err)
{
    if (state->failed)
        return error_set(err, ERR_MALFORMED, "state \"%s\" contradicts itself", state->path);
    if (state->left + (state->filled - state->used) != 0)
        return error_set(err, ERR_MALFORMED, "state \"%s\" goes on past its end", state->path);
    return OK;
}

void state_file_close(struct state_file *state)
{
    if (state == NULL)
        return;
    (void)fclose(state->file);
    free(state);
}
