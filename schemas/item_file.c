/*
 * schemas/item_file.c - the item tables' file, streamed both ways.
 *
 * Writer and reader hold one block and what one record may need beside it, so a file of a
 * gigabyte costs 80 KiB. The hash is chained over blocks: both sides meet a block exactly when
 * it passes through the buffer.
 */
#include "schemas/item_file.h"

#include "ops/file.h"
#include "ops/hash.h"
#include "schemas/bytes.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BLOCK_BYTES     65536
#define NEIGHBOUR_BYTES 8
#define OFFSET_BYTES    12
#define RECORD_BYTES_MAX                                                                           \
    (ITEM_FILE_ITEM_BYTES + ITEM_ID_MAX + ITEM_FILE_NEIGHBOURS_MAX * NEIGHBOUR_BYTES)
#define NEW_SUFFIX    ".new"
#define FLAG_GONE     1u
#define HEADER_HASHED 152

static const char magic[8] = {'F', 'R', 'I', 'T', 'E', 'M', 'S', '\n'};

static bool time_fits(int64_t time_ms)
{
    return time_ms >= 0 && time_ms <= BYTES_TIME_MAX_MS;
}

/* ---- writing ---- */

struct item_file_writer {
    int fd;
    char *path;
    char *path_new;
    struct item_file_head head;
    int64_t body_bytes; /* handed to the file or in the block */
    uint64_t body_hash; /* of the blocks that were full */
    size_t used;        /* of block */
    uint8_t block[BLOCK_BYTES];
};

static enum status write_all(const struct item_file_writer *writer, const uint8_t *from,
                             size_t bytes, struct error *err)
{
    while (bytes > 0) {
        ssize_t count = write(writer->fd, from, bytes);

        if (count < 0 && errno == EINTR)
            continue;
        if (count <= 0)
            return error_set(err, ERR_IO, "could not write \"%s\": %s", writer->path_new,
                             strerror(count < 0 ? errno : ENOSPC));
        from += count;
        bytes -= (size_t)count;
    }
    return OK;
}

static enum status flush_block(struct item_file_writer *writer, struct error *err)
{
    if (writer->used == 0)
        return OK;
    writer->body_hash = hash64(writer->block, writer->used, writer->body_hash);
    size_t bytes = writer->used;
    writer->used = 0;
    return write_all(writer, writer->block, bytes, err);
}

static enum status append(struct item_file_writer *writer, const uint8_t *from, size_t bytes,
                          struct error *err)
{
    writer->body_bytes += (int64_t)bytes;
    while (bytes > 0) {
        size_t room = BLOCK_BYTES - writer->used;
        size_t part = bytes < room ? bytes : room;

        memcpy(writer->block + writer->used, from, part);
        writer->used += part;
        from += part;
        bytes -= part;
        if (writer->used == BLOCK_BYTES) {
            enum status status = flush_block(writer, err);
            if (status != OK)
                return status;
        }
    }
    return OK;
}

static void check_head(const struct item_file_head *head)
{
    assert(head->items_total >= 0 && head->items_total <= ITEM_FILE_ITEMS_MAX);
    assert(head->rows >= 0 && head->rows <= ITEM_FILE_ITEMS_MAX + 1);
    assert(head->neighbours_max >= 0 && head->neighbours_max <= ITEM_FILE_NEIGHBOURS_MAX);
    assert(head->offsets_count >= 0 && head->offsets_count <= ITEM_FILE_OFFSETS_MAX);
    assert(strnlen(head->base_version, MODEL_VERSION_MAX) < MODEL_VERSION_MAX);
}

enum status item_file_writer_create(struct item_file_writer **writer, const char *path,
                                    const struct item_file_head *head, struct error *err)
{
    struct item_file_writer *made = calloc(1, sizeof *made);
    static const uint8_t no_header[ITEM_FILE_HEADER_BYTES];
    enum status status = OK;

    check_head(head);
    *writer = NULL;
    if (made == NULL)
        return error_set(err, ERR_NOMEM, "no memory to write \"%s\"", path);
    made->fd = -1;
    made->head = *head;
    made->head.offsets = NULL;
    made->head.items_count = 0;
    made->path = strdup(path);
    if (made->path == NULL || asprintf(&made->path_new, "%s" NEW_SUFFIX, path) < 0) {
        made->path_new = NULL;
        status = error_set(err, ERR_NOMEM, "no memory to write \"%s\"", path);
        goto done;
    }
    made->fd = open(made->path_new, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (made->fd < 0) {
        status = error_set(err, ERR_IO, "could not open \"%s\": %s", made->path_new,
                           strerror(errno));
        goto done;
    }
    status = write_all(made, no_header, sizeof no_header, err);
    for (int i = 0; status == OK && i < head->offsets_count; i++) {
        uint8_t bytes[OFFSET_BYTES];

        bytes_put_u32(bytes, (uint32_t)head->offsets[i].partition);
        bytes_put_u64(bytes + 4, (uint64_t)head->offsets[i].next);
        status = append(made, bytes, sizeof bytes, err);
    }
    if (status != OK)
        goto done;
    *writer = made;
    made = NULL;
done:
    item_file_writer_destroy(made);
    return status;
}

static void check_item(const struct item_file_head *head, const struct item_file_item *item)
{
    assert(item->index >= 0 && item->index < head->items_total);
    assert(head->delta || item->index == head->items_count);
    assert(item->row >= 0 && (item->row == 0 || item->row < head->rows));
    assert(item->name.bytes <= ITEM_ID_MAX);
    assert(time_fits(item->first_seen_ms) && time_fits(item->last_seen_ms));
    assert(time_fits(item->decayed_at_ms) && time_fits(item->covis_at_ms));
    assert(item->clicks >= 0 && item->shown >= 0);
    assert(item->neighbours_count >= 0 && item->neighbours_count <= head->neighbours_max);
    for (int i = 0; i < ITEM_FILE_DECAYED; i++)
        assert(isfinite(item->decayed[i]) && item->decayed[i] >= 0);
}

enum status item_file_writer_add(struct item_file_writer *writer, const struct item_file_item *item,
                                 struct error *err)
{
    uint8_t record[RECORD_BYTES_MAX];
    struct bytes_writer into = bytes_writer_of(record, sizeof record);

    check_item(&writer->head, item);
    assert(writer->head.items_count < ITEM_FILE_ITEMS_MAX);
    bytes_write_u32(&into, (uint32_t)item->index);
    bytes_write_u32(&into, (uint32_t)item->row);
    bytes_write_u64(&into, item->hash);
    bytes_write_time(&into, item->first_seen_ms);
    bytes_write_time(&into, item->last_seen_ms);
    bytes_write_u64(&into, (uint64_t)item->clicks);
    bytes_write_u64(&into, (uint64_t)item->shown);
    bytes_write_u32(&into, item->sightings);
    bytes_write_u16(&into, item->gone ? FLAG_GONE : 0);
    bytes_write_u16(&into, (uint16_t)item->name.bytes);
    bytes_write_u16(&into, (uint16_t)item->neighbours_count);
    bytes_write_time(&into, item->decayed_at_ms);
    for (int i = 0; i < ITEM_FILE_DECAYED; i++) {
        uint64_t bits;

        memcpy(&bits, &item->decayed[i], sizeof bits);
        bytes_write_u64(&into, bits);
    }
    bytes_write_time(&into, item->covis_at_ms);
    bytes_write(&into, item->name.at, item->name.bytes);
    for (int i = 0; i < item->neighbours_count; i++) {
        const struct item_neighbour *neighbour = &item->neighbours[i];
        uint32_t bits;

        assert(neighbour->index >= 0 && neighbour->index < writer->head.items_total);
        assert(isfinite(neighbour->weight) && neighbour->weight >= 0);
        memcpy(&bits, &neighbour->weight, sizeof bits);
        bytes_write_u32(&into, (uint32_t)neighbour->index);
        bytes_write_u32(&into, bits);
    }
    assert(!into.overflow);
    writer->head.items_count++;
    return append(writer, record, sizeof record - into.left, err);
}

static void put_header(uint8_t *into, const struct item_file_writer *writer)
{
    const struct item_file_head *head = &writer->head;

    memset(into, 0, ITEM_FILE_HEADER_BYTES);
    memcpy(into, magic, sizeof magic);
    bytes_put_u32(into + 8, ITEM_FILE_FORMAT);
    bytes_put_u32(into + 12, head->delta);
    bytes_put_u32(into + 16, (uint32_t)head->items_count);
    bytes_put_u32(into + 20, (uint32_t)head->items_total);
    bytes_put_u32(into + 24, (uint32_t)head->rows);
    bytes_put_u32(into + 28, (uint32_t)head->neighbours_max);
    bytes_put_u32(into + 32, (uint32_t)head->offsets_count);
    bytes_put_u64(into + 40, head->sequence);
    bytes_put_u64(into + 48, (uint64_t)head->newest_ms);
    bytes_put_u64(into + 56, (uint64_t)head->covis_tau_ms);
    bytes_put_u64(into + 64, head->seed);
    memcpy(into + 72, head->base_version, strlen(head->base_version));
    bytes_put_u64(into + 136, (uint64_t)writer->body_bytes);
    bytes_put_u64(into + 144, writer->body_hash);
    bytes_put_u64(into + HEADER_HASHED, hash64(into, HEADER_HASHED, 0));
}

enum status item_file_writer_finish(struct item_file_writer *writer, struct error *err)
{
    uint8_t header[ITEM_FILE_HEADER_BYTES];
    enum status status = flush_block(writer, err);
    char *folder;

    assert(writer->head.delta || writer->head.items_count == writer->head.items_total);
    if (status != OK)
        return status;
    put_header(header, writer);
    if (pwrite(writer->fd, header, sizeof header, 0) != (ssize_t)sizeof header ||
        fsync(writer->fd) != 0)
        return error_set(err, ERR_IO, "could not write \"%s\": %s", writer->path_new,
                         strerror(errno));
    if (rename(writer->path_new, writer->path) != 0)
        return error_set(err, ERR_IO, "could not rename \"%s\": %s", writer->path_new,
                         strerror(errno));
    free(writer->path_new);
    writer->path_new = NULL; /* nothing is left to be removed */
    folder = dirname(writer->path);
    return file_sync_folder(folder, err);
}

void item_file_writer_destroy(struct item_file_writer *writer)
{
    if (writer == NULL)
        return;
    if (writer->fd >= 0) {
        (void)close(writer->fd);
        if (writer->path_new != NULL)
            (void)unlink(writer->path_new);
    }
    free(writer->path_new);
    free(writer->path);
    free(writer);
}

/* ---- reading ---- */

struct item_file {
    int fd;
    char *path;
    struct item_file_head head;
    struct item_file_offset *offsets;
    struct item_neighbour *neighbours; /* (neighbours_max) of the present record */
    int64_t left;                      /* of the body, not yet in the buffer */
    uint64_t want_hash, hash;
    int32_t given;   /* records */
    size_t from, to; /* what of buffer is not yet read */
    uint8_t buffer[RECORD_BYTES_MAX + BLOCK_BYTES];
};

static enum status read_exactly(struct item_file *file, uint8_t *into, size_t bytes,
                                struct error *err)
{
    while (bytes > 0) {
        ssize_t count = read(file->fd, into, bytes);

        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0)
            return error_set(err, ERR_IO, "could not read \"%s\": %s", file->path, strerror(errno));
        if (count == 0)
            return error_set(err, ERR_MALFORMED, "\"%s\" ends too early", file->path);
        into += count;
        bytes -= (size_t)count;
    }
    return OK;
}

/* Makes bytes (at most a record's) lie in the buffer in one piece; *at is NULL when the body has
 * no more of them. */
static enum status need(struct item_file *file, size_t bytes, const uint8_t **at, struct error *err)
{
    assert(bytes <= RECORD_BYTES_MAX);
    *at = NULL;
    while (file->to - file->from < bytes && file->left > 0) {
        size_t block = file->left < BLOCK_BYTES ? (size_t)file->left : BLOCK_BYTES;
        enum status status;

        memmove(file->buffer, file->buffer + file->from, file->to - file->from);
        file->to -= file->from;
        file->from = 0;
        status = read_exactly(file, file->buffer + file->to, block, err);
        if (status != OK)
            return status;
        file->hash = hash64(file->buffer + file->to, block, file->hash);
        file->to += block;
        file->left -= (int64_t)block;
    }
    if (file->to - file->from >= bytes)
        *at = file->buffer + file->from;
    return OK;
}

static enum status parse_header(struct item_file *file, const uint8_t *from, int64_t file_bytes,
                                struct error *err)
{
    struct item_file_head *head = &file->head;
    uint32_t version = bytes_get_u32(from + 8), delta = bytes_get_u32(from + 12);
    uint32_t items = bytes_get_u32(from + 16), total = bytes_get_u32(from + 20);
    uint32_t rows = bytes_get_u32(from + 24), neighbours = bytes_get_u32(from + 28);
    uint32_t offsets = bytes_get_u32(from + 32);
    uint64_t body = bytes_get_u64(from + 136);

    if (memcmp(from, magic, sizeof magic) != 0)
        return error_set(err, ERR_MALFORMED, "\"%s\" is no file of items", file->path);
    if (bytes_get_u64(from + HEADER_HASHED) != hash64(from, HEADER_HASHED, 0))
        return error_set(err, ERR_CORRUPT, "header of \"%s\" does not match its hash", file->path);
    if (version != ITEM_FILE_FORMAT)
        return error_set(err, ERR_VERSION, "\"%s\" has format %u, this build reads %d", file->path,
                         (unsigned)version, ITEM_FILE_FORMAT);
    if (total > ITEM_FILE_ITEMS_MAX || rows > ITEM_FILE_ITEMS_MAX + 1 ||
        neighbours > ITEM_FILE_NEIGHBOURS_MAX || offsets > ITEM_FILE_OFFSETS_MAX)
        return error_set(err, ERR_LIMIT, "\"%s\" holds %u items, %u rows, %u neighbours",
                         file->path, (unsigned)total, (unsigned)rows, (unsigned)neighbours);
    if (delta > 1 || items > total || (delta == 0 && items != total) ||
        bytes_get_u32(from + 36) != 0 || from[72 + MODEL_VERSION_MAX - 1] != 0)
        return error_set(err, ERR_MALFORMED, "header of \"%s\" contradicts itself", file->path);
    if (body != (uint64_t)(file_bytes - ITEM_FILE_HEADER_BYTES) ||
        body < (uint64_t)offsets * OFFSET_BYTES + (uint64_t)items * ITEM_FILE_ITEM_BYTES)
        return error_set(err, ERR_MALFORMED, "\"%s\" has not the length its header says",
                         file->path);
    head->delta = delta == 1;
    head->items_count = (int32_t)items;
    head->items_total = (int32_t)total;
    head->rows = (int32_t)rows;
    head->neighbours_max = (int32_t)neighbours;
    head->offsets_count = (int)offsets;
    head->sequence = bytes_get_u64(from + 40);
    head->newest_ms = (int64_t)bytes_get_u64(from + 48);
    head->covis_tau_ms = (int64_t)bytes_get_u64(from + 56);
    head->seed = bytes_get_u64(from + 64);
    memcpy(head->base_version, from + 72, MODEL_VERSION_MAX);
    file->left = (int64_t)body;
    file->want_hash = bytes_get_u64(from + 144);
    return OK;
}

static enum status read_offsets(struct item_file *file, struct error *err)
{
    for (int i = 0; i < file->head.offsets_count; i++) {
        const uint8_t *at;
        enum status status = need(file, OFFSET_BYTES, &at, err);

        if (status != OK)
            return status;
        assert(at != NULL); /* parse_header has compared the body's length */
        file->offsets[i].partition = (int32_t)bytes_get_u32(at);
        file->offsets[i].next = (int64_t)bytes_get_u64(at + 4);
        file->from += OFFSET_BYTES;
        if (file->offsets[i].partition < 0 || file->offsets[i].next < 0)
            return error_set(err, ERR_MALFORMED, "\"%s\" names a negative offset", file->path);
    }
    file->head.offsets = file->offsets;
    return OK;
}

enum status item_file_open(struct item_file **file, const char *path, struct error *err)
{
    struct item_file *made = calloc(1, sizeof *made);
    uint8_t header[ITEM_FILE_HEADER_BYTES];
    struct stat info;
    enum status status;

    *file = NULL;
    if (made == NULL)
        return error_set(err, ERR_NOMEM, "no memory to read \"%s\"", path);
    made->path = strdup(path);
    made->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | O_NOFOLLOW);
    if (made->fd < 0) {
        status = errno == ENOENT ? ERR_NOT_FOUND : errno == ELOOP ? ERR_MALFORMED : ERR_IO;
        status = error_set(err, status, "could not open \"%s\": %s", path, strerror(errno));
        goto done;
    }
    if (made->path == NULL) {
        status = error_set(err, ERR_NOMEM, "no memory to read \"%s\"", path);
        goto done;
    }
    if (fstat(made->fd, &info) != 0 || !S_ISREG(info.st_mode) ||
        info.st_size < ITEM_FILE_HEADER_BYTES) {
        status = error_set(err, ERR_MALFORMED, "\"%s\" is no file of items", path);
        goto done;
    }
    status = read_exactly(made, header, sizeof header, err);
    if (status != OK)
        goto done;
    status = parse_header(made, header, info.st_size, err);
    if (status != OK)
        goto done;
    made->offsets = calloc((size_t)made->head.offsets_count + 1, sizeof *made->offsets);
    made->neighbours = calloc((size_t)made->head.neighbours_max + 1, sizeof *made->neighbours);
    if (made->offsets == NULL || made->neighbours == NULL) {
        status = error_set(err, ERR_NOMEM, "no memory to read \"%s\"", path);
        goto done;
    }
    status = read_offsets(made, err);
    if (status != OK)
        goto done;
    *file = made;
    made = NULL;
done:
    item_file_close(made);
    return status;
}

const struct item_file_head *item_file_head(const struct item_file *file)
{
    return &file->head;
}

/* The fixed part of a record; false when a field is outside its bounds. */
static bool parse_item(const struct item_file *file, const uint8_t *from,
                       struct item_file_item *item, size_t *name_bytes)
{
    struct bytes_reader reader = bytes_reader_of(from, ITEM_FILE_ITEM_BYTES);
    uint32_t index = bytes_read_u32(&reader), row = bytes_read_u32(&reader);
    uint16_t flags;
    bool right = true;

    item->hash = bytes_read_u64(&reader);
    item->first_seen_ms = bytes_read_time(&reader);
    item->last_seen_ms = bytes_read_time(&reader);
    item->clicks = (int64_t)bytes_read_u64(&reader);
    item->shown = (int64_t)bytes_read_u64(&reader);
    item->sightings = bytes_read_u32(&reader);
    flags = bytes_read_u16(&reader);
    *name_bytes = bytes_read_u16(&reader);
    item->neighbours_count = bytes_read_u16(&reader);
    item->decayed_at_ms = bytes_read_time(&reader);
    for (int i = 0; i < ITEM_FILE_DECAYED; i++) {
        uint64_t bits = bytes_read_u64(&reader);

        memcpy(&item->decayed[i], &bits, sizeof bits);
        right &= isfinite(item->decayed[i]) && item->decayed[i] >= 0;
    }
    item->covis_at_ms = bytes_read_time(&reader);
    item->index = (int32_t)index;
    item->row = (int32_t)row;
    item->gone = (flags & FLAG_GONE) != 0;
    right &= index < (uint32_t)file->head.items_total &&
             (file->head.delta || index == (uint32_t)file->given);
    right &= row == 0 || row < (uint32_t)file->head.rows;
    right &= item->clicks >= 0 && item->shown >= 0 && (flags & ~FLAG_GONE) == 0;
    right &= *name_bytes <= ITEM_ID_MAX && item->neighbours_count <= file->head.neighbours_max;
    return right;
}

/* Nothing is left: is the body what its hash says? */
static enum status check_end(const struct item_file *file, struct error *err)
{
    if (file->left != 0 || file->from != file->to)
        return error_set(err, ERR_MALFORMED, "\"%s\" goes on behind its last item", file->path);
    if (file->hash != file->want_hash)
        return error_set(err, ERR_CORRUPT, "items of \"%s\" do not match their hash", file->path);
    return OK;
}

enum status item_file_next(struct item_file *file, struct item_file_item *item, bool *more,
                           struct error *err)
{
    size_t name_bytes, rest;
    const uint8_t *at;
    enum status status;

    *item = (struct item_file_item){0};
    *more = false;
    if (file->given == file->head.items_count)
        return check_end(file, err);
    status = need(file, ITEM_FILE_ITEM_BYTES, &at, err);
    if (status != OK)
        return status;
    if (at == NULL || !parse_item(file, at, item, &name_bytes))
        return error_set(err, ERR_MALFORMED, "item %d of \"%s\" is cut or out of bounds",
                         (int)file->given, file->path);
    rest = name_bytes + (size_t)item->neighbours_count * NEIGHBOUR_BYTES;
    status = need(file, ITEM_FILE_ITEM_BYTES + rest, &at, err);
    if (status != OK)
        return status;
    if (at == NULL || memchr(at + ITEM_FILE_ITEM_BYTES, 0, name_bytes) != NULL)
        return error_set(err, ERR_MALFORMED, "item %d of \"%s\" is cut, or its name is",
                         (int)file->given, file->path);
    at += ITEM_FILE_ITEM_BYTES;
    item->name = (struct text){(const char *)at, name_bytes};
    at += name_bytes;
    for (int i = 0; i < item->neighbours_count; i++, at += NEIGHBOUR_BYTES) {
        struct item_neighbour *neighbour = &file->neighbours[i];
        uint32_t index = bytes_get_u32(at), bits = bytes_get_u32(at + 4);

        memcpy(&neighbour->weight, &bits, sizeof bits);
        neighbour->index = (int32_t)index;
        if (index >= (uint32_t)file->head.items_total || !isfinite(neighbour->weight) ||
            neighbour->weight < 0)
            return error_set(err, ERR_MALFORMED, "item %d of \"%s\" has an impossible neighbour",
                             (int)file->given, file->path);
    }
    item->neighbours = file->neighbours;
    file->from += ITEM_FILE_ITEM_BYTES + rest;
    file->given++;
    *more = true;
    return OK;
}

void item_file_close(struct item_file *file)
{
    if (file == NULL)
        return;
    if (file->fd >= 0)
        (void)close(file->fd);
    free(file->offsets);
    free(file->neighbours);
    free(file->path);
    free(file);
}
