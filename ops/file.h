/*
 * ops/file.h - files that are either old or new, never mixed; whole reads with a limit;
 * line reading that also takes gzip.
 */
#ifndef OPS_FILE_H
#define OPS_FILE_H

#include "ops/status.h"
#include "ops/text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * Reads a regular file whole; *bytes are followed by one zero that is not counted.
 * Owner: the caller frees *into with free().
 * Errors: ERR_NOT_FOUND, ERR_IO, ERR_LIMIT (longer than limit_bytes), ERR_MALFORMED
 *         (not a regular file: a FIFO or a device could block for ever), ERR_NOMEM
 */
MUST_CHECK enum status file_read(const char *path, size_t limit_bytes, char **into, size_t *bytes,
                                 struct error *err);

/**
 * Replaces path: writes beside it, fsyncs, renames, fsyncs the folder. A failed
 * fsync fails the whole call (it is never repeated on the same descriptor).
 * Errors: ERR_IO; what was at path stays as it was.
 */
MUST_CHECK enum status file_replace(const char *path, const void *from, size_t bytes,
                                    struct error *err);
MUST_CHECK enum status file_sync_folder(const char *folder, struct error *err);
MUST_CHECK enum status file_make_folders(const char *path, struct error *err); /* mkdir -p */
/* Removes a folder and what is in it; follows no symbolic link. A missing one is fine. */
MUST_CHECK enum status file_remove_tree(const char *path, struct error *err);

/* Holds path/lock until the process ends. Errors: ERR_IN_USE names the other pid; ERR_IO. */
MUST_CHECK enum status file_lock_folder(const char *folder, int *descriptor, struct error *err);

/*
 * Lines of a text file, plain or gzip (told by its first bytes, not its name); "-" is
 * standard input. Lines end with \n or \r\n, which are not part of them; the last may lack it.
 * Errors: of open: ERR_NOT_FOUND, ERR_IO, ERR_MALFORMED (not a regular file), ERR_NOMEM;
 *         of next: ERR_IO, ERR_CORRUPT (gzip that is damaged or cut short), and ERR_LIMIT,
 *         after which the next line can be read.
 */
struct file_lines;
MUST_CHECK enum status file_lines_open(struct file_lines **lines, const char *path,
                                       size_t line_bytes_max, struct error *err);
/* OK with line->at == NULL at the end; the line is valid until the next call. */
MUST_CHECK enum status file_lines_next(struct file_lines *lines, struct text *line,
                                       struct error *err);
uint64_t file_lines_number(const struct file_lines *lines); /* of the last line, from 1 */
/* Of the file's bytes read, 0..1; -1 when its length is unknown. */
double file_lines_fraction(const struct file_lines *lines);
void file_lines_close(struct file_lines *lines); /* NULL is fine */

#endif
