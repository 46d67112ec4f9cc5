/*
 * ops/file_lines.c - lines of a file, plain or gzip, in one buffer.
 *
 * zlib's gzread passes a plain file through unchanged. The buffer holds one line of the
 * longest length and a chunk more; nothing is allocated a line.
 */
#include "ops/file.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#define CHUNK_BYTES ((size_t)128 * 1024)

struct file_lines {
    gzFile file;
    int64_t file_bytes; /* 0 when unknown */
    uint64_t number;
    size_t line_bytes_max;
    size_t start, end; /* of what is in the buffer and not handed out */
    size_t capacity;
    bool at_end;
    char path[256]; /* for messages */
    char buffer[];
};

static enum status open_input(const char *path, int *fd, int64_t *bytes, struct error *err)
{
    struct stat info;

    *bytes = 0;
    if (strcmp(path, "-") == 0) {
        *fd = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3);
        if (*fd < 0)
            return error_set(err, ERR_IO, "could not read standard input: %s", strerror(errno));
        return OK;
    }
    *fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (*fd < 0)
        return error_set(err, errno == ENOENT || errno == ENOTDIR ? ERR_NOT_FOUND : ERR_IO,
                         "could not open \"%s\": %s", path, strerror(errno));
    if (fstat(*fd, &info) != 0 || !S_ISREG(info.st_mode)) {
        (void)close(*fd);
        return error_set(err, ERR_MALFORMED, "\"%s\" is not a regular file", path);
    }
    *bytes = info.st_size;
    return OK;
}

enum status file_lines_open(struct file_lines **lines, const char *path, size_t line_bytes_max,
                            struct error *err)
{
    struct file_lines *opened;
    size_t capacity = line_bytes_max + CHUNK_BYTES;
    int64_t file_bytes;
    enum status status;
    int fd;

    assert(line_bytes_max > 0 && line_bytes_max <= (size_t)1 << 30);
    *lines = NULL;
    status = open_input(path, &fd, &file_bytes, err);
    if (status != OK)
        return status;
    opened = malloc(sizeof *opened + capacity);
    if (opened == NULL) {
        (void)close(fd);
        return error_set(err, ERR_NOMEM, "no memory for lines of %zu bytes", line_bytes_max);
    }
    *opened = (struct file_lines){
        .file_bytes = file_bytes, .line_bytes_max = line_bytes_max, .capacity = capacity};
    (void)strncpy(opened->path, path, sizeof opened->path - 1);
    opened->file = gzdopen(fd, "rb");
    if (opened->file == NULL) {
        (void)close(fd);
        free(opened);
        return error_set(err, ERR_NOMEM, "no memory to read \"%s\"", path);
    }
    (void)gzbuffer(opened->file, (unsigned)CHUNK_BYTES);
    *lines = opened;
    return OK;
}

/* Makes room at the end of the buffer and reads once. */
static enum status refill(struct file_lines *lines, struct error *err)
{
    int got, code;
    const char *why;

    if (lines->start > 0) {
        memmove(lines->buffer, lines->buffer + lines->start, lines->end - lines->start);
        lines->end -= lines->start;
        lines->start = 0;
    }
    got = gzread(lines->file, lines->buffer + lines->end, (unsigned)(lines->capacity - lines->end));
    if (got > 0) {
        lines->end += (size_t)got;
        return OK;
    }
    why = gzerror(lines->file, &code);
    if (code == Z_ERRNO)
        return error_set(err, ERR_IO, "could not read \"%s\": %s", lines->path, strerror(errno));
    /* A gzip file that is cut short ends with Z_BUF_ERROR. */
    if (got < 0 || code == Z_BUF_ERROR)
        return error_set(err, ERR_CORRUPT, "could not unpack \"%s\" after line %llu: %s",
                         lines->path, (unsigned long long)lines->number,
                         code == Z_BUF_ERROR ? "it is cut short" : why);
    lines->at_end = true;
    return OK;
}

/* Drops bytes up to the end of the line that is too long. */
static enum status skip_line(struct file_lines *lines, struct error *err)
{
    for (;;) {
        size_t left = lines->end - lines->start;
        const char *newline = memchr(lines->buffer + lines->start, '\n', left);

        if (newline != NULL) {
            lines->start = (size_t)(newline - lines->buffer) + 1;
            break;
        }
        lines->start = lines->end = 0;
        if (lines->at_end)
            break;
        enum status status = refill(lines, err);
        if (status != OK)
            return status;
    }
    lines->number++;
    return error_set(err, ERR_LIMIT, "line %llu of \"%s\" has more than %zu bytes",
                     (unsigned long long)lines->number, lines->path, lines->line_bytes_max);
}

enum status file_lines_next(struct file_lines *lines, struct text *line, struct error *err)
{
    size_t searched = 0; /* bytes from start known to hold no newline */

    *line = (struct text){0};
    for (;;) {
        char *from = lines->buffer + lines->start;
        size_t left = lines->end - lines->start;
        char *newline = memchr(from + searched, '\n', left - searched);
        size_t bytes = newline != NULL ? (size_t)(newline - from) : left;

        if (newline != NULL || (lines->at_end && left > 0)) {
            if (bytes > lines->line_bytes_max)
                return skip_line(lines, err);
            lines->start += bytes + (newline != NULL);
            lines->number++;
            line->at = from;
            line->bytes = bytes > 0 && from[bytes - 1] == '\r' ? bytes - 1 : bytes;
            return OK;
        }
        if (lines->at_end)
            return OK;
        if (left > lines->line_bytes_max)
            return skip_line(lines, err);
        searched = left;
        enum status status = refill(lines, err);
        if (status != OK)
            return status;
    }
}

uint64_t file_lines_number(const struct file_lines *lines)
{
    return lines->number;
}

double file_lines_fraction(const struct file_lines *lines)
{
    double fraction;

    if (lines->file_bytes <= 0)
        return lines->at_end ? 1.0 : -1.0;
    if (lines->at_end && lines->start == lines->end)
        return 1.0;
    fraction = (double)gzoffset(lines->file) / (double)lines->file_bytes;
    return fraction < 0.0 ? 0.0 : fraction > 1.0 ? 1.0 : fraction;
}

void file_lines_close(struct file_lines *lines)
{
    if (lines != NULL)
        (void)gzclose_r(lines->file);
    free(lines);
}
