/*
 * ops/file.c - whole files: read with a limit, replaced atomically, locked, removed.
 *
 * Descriptors are opened without blocking and checked to be regular files after the
 * open: a check before it could be raced, a FIFO would hang the process.
 */
#include "ops/file.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define TREE_DEPTH_MAX 64

static enum status open_regular(const char *path, int *fd, struct stat *info, struct error *err)
{
    *fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (*fd < 0)
        return error_set(err, errno == ENOENT || errno == ENOTDIR ? ERR_NOT_FOUND : ERR_IO,
                         "could not open \"%s\": %s", path, strerror(errno));
    if (fstat(*fd, info) == 0 && S_ISREG(info->st_mode))
        return OK;
    (void)close(*fd);
    *fd = -1;
    return error_set(err, ERR_MALFORMED, "\"%s\" is not a regular file", path);
}

/* Reads to the end or until the buffer is full; *got says how much. */
static enum status fill(int fd, const char *path, char *into, size_t bytes, size_t *got,
                        struct error *err)
{
    *got = 0;
    while (*got < bytes) {
        ssize_t count = read(fd, into + *got, bytes - *got);

        if (count == 0)
            return OK;
        if (count < 0 && errno != EINTR)
            return error_set(err, ERR_IO, "could not read \"%s\": %s", path, strerror(errno));
        *got += count > 0 ? (size_t)count : 0;
    }
    return OK;
}

enum status file_read(const char *path, size_t limit_bytes, char **into, size_t *bytes,
                      struct error *err)
{
    struct stat info;
    char *buffer = NULL;
    size_t capacity, got, more;
    enum status status;
    int fd;

    *into = NULL;
    *bytes = 0;
    status = open_regular(path, &fd, &info, err);
    if (status != OK)
        return status;
    if (info.st_size < 0 || (uint64_t)info.st_size > limit_bytes) {
        status = error_set(err, ERR_LIMIT, "\"%s\" has %lld bytes, at most %zu", path,
                           (long long)info.st_size, limit_bytes);
        goto done;
    }
    /* One byte more than the size shows whether it has grown; files of /proc claim 0. */
    capacity = (size_t)info.st_size + 1 < 4096 ? 4096 : (size_t)info.st_size + 1;
    got = 0;
    for (;;) {
        char *larger = realloc(buffer, capacity + 1);

        if (larger == NULL) {
            status = error_set(err, ERR_NOMEM, "no memory for %zu bytes of \"%s\"", capacity, path);
            goto done;
        }
        buffer = larger;
        status = fill(fd, path, buffer + got, capacity - got, &more, err);
        if (status != OK)
            goto done;
        got += more;
        if (got > limit_bytes) {
            status = error_set(err, ERR_LIMIT, "\"%s\" has more than %zu bytes", path, limit_bytes);
            goto done;
        }
        if (got < capacity)
            break;
        capacity *= 2;
    }
    buffer[got] = 0;
    *into = buffer;
    *bytes = got;
    buffer = NULL;
done:
    free(buffer);
    (void)close(fd);
    return status;
}

/* The folder a path lies in: "a/b" -> "a", "b" -> ".", "/b" -> "/". */
static enum status parent_of(const char *path, char parent[PATH_MAX], struct error *err)
{
    const char *slash = strrchr(path, '/');
    size_t bytes = slash == NULL ? 0 : (size_t)(slash - path);

    if (bytes >= PATH_MAX)
        return error_set(err, ERR_LIMIT, "path of %zu bytes, at most %d", strlen(path), PATH_MAX);
    if (slash == path)
        bytes = 1;
    if (bytes == 0) {
        memcpy(parent, ".", 2);
        return OK;
    }
    memcpy(parent, path, bytes);
    parent[bytes] = 0;
    return OK;
}

static enum status write_all(int fd, const char *path, const char *from, size_t bytes,
                             struct error *err)
{
    while (bytes > 0) {
        ssize_t count = write(fd, from, bytes);

        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0)
            return error_set(err, ERR_IO, "could not write \"%s\": %s", path, strerror(errno));
        from += count;
        bytes -= (size_t)count;
    }
    return OK;
}

enum status file_replace(const char *path, const void *from, size_t bytes, struct error *err)
{
    static atomic_uint serial;
    char beside[PATH_MAX];
    char parent[PATH_MAX];
    enum status status;
    int fd;
    int length = snprintf(beside, sizeof beside, "%s.new-%ld-%u", path, (long)getpid(),
                          atomic_fetch_add(&serial, 1));

    if (length < 0 || (size_t)length >= sizeof beside)
        return error_set(err, ERR_IO, "path too long: \"%s\"", path);
    status = parent_of(path, parent, err);
    if (status != OK)
        return status;
    fd = open(beside, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (fd < 0)
        return error_set(err, ERR_IO, "could not create \"%s\": %s", beside, strerror(errno));
    status = write_all(fd, beside, from, bytes, err);
    if (status == OK && fsync(fd) != 0)
        status = error_set(err, ERR_IO, "could not sync \"%s\": %s", beside, strerror(errno));
    if (close(fd) != 0 && status == OK)
        status = error_set(err, ERR_IO, "could not close \"%s\": %s", beside, strerror(errno));
    if (status == OK && rename(beside, path) != 0)
        status = error_set(err, ERR_IO, "could not rename \"%s\" to \"%s\": %s", beside, path,
                           strerror(errno));
    if (status != OK) {
        (void)unlink(beside);
        return status;
    }
    return file_sync_folder(parent, err);
}

enum status file_sync_folder(const char *folder, struct error *err)
{
    enum status status = OK;
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0)
        return error_set(err, ERR_IO, "could not open folder \"%s\": %s", folder, strerror(errno));
    /* Some file systems cannot sync a folder and say EINVAL: they order renames themselves. */
    if (fsync(fd) != 0 && errno != EINVAL)
        status = error_set(err, ERR_IO, "could not sync folder \"%s\": %s", folder,
                           strerror(errno));
    (void)close(fd);
    return status;
}

enum status file_make_folders(const char *path, struct error *err)
{
    char part[PATH_MAX];
    size_t bytes = strlen(path);
    struct stat info;

    if (bytes == 0 || bytes >= sizeof part)
        return error_set(err, ERR_IO, "could not make folder \"%.64s\": path of %zu bytes", path,
                         bytes);
    memcpy(part, path, bytes + 1);
    for (size_t i = 1; i <= bytes; i++) {
        if (part[i] != '/' && part[i] != 0)
            continue;
        part[i] = 0;
        if (mkdir(part, 0755) != 0 && errno != EEXIST)
            return error_set(err, ERR_IO, "could not make folder \"%s\": %s", part,
                             strerror(errno));
        part[i] = path[i];
    }
    if (stat(path, &info) != 0 || !S_ISDIR(info.st_mode))
        return error_set(err, ERR_IO, "\"%s\" is not a folder", path);
    return OK;
}

/* Takes ownership of fd. */
static enum status empty_folder(int fd, int depth, const char *path, struct error *err)
{
    DIR *folder;
    struct dirent *entry;
    enum status status = OK;

    if (depth > TREE_DEPTH_MAX) {
        (void)close(fd);
        return error_set(err, ERR_IO, "\"%s\" is deeper than %d folders", path, TREE_DEPTH_MAX);
    }
    folder = fdopendir(fd);
    if (folder == NULL) {
        (void)close(fd);
        return error_set(err, ERR_IO, "could not list \"%s\": %s", path, strerror(errno));
    }
    while (status == OK && (entry = readdir(folder)) != NULL) {
        int inside;

        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if (unlinkat(dirfd(folder), entry->d_name, 0) == 0)
            continue;
        inside = openat(dirfd(folder), entry->d_name,
                        O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (inside >= 0)
            status = empty_folder(inside, depth + 1, path, err);
        if (status == OK && unlinkat(dirfd(folder), entry->d_name, AT_REMOVEDIR) != 0 &&
            errno != ENOENT)
            status = error_set(err, ERR_IO, "could not remove \"%s\" in \"%s\": %s", entry->d_name,
                               path, strerror(errno));
    }
    (void)closedir(folder);
    return status;
}

enum status file_remove_tree(const char *path, struct error *err)
{
    enum status status;
    int fd;

    if (unlink(path) == 0)
        return OK;
    fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return OK;
    if (fd < 0)
        return error_set(err, ERR_IO, "could not remove \"%s\": %s", path, strerror(errno));
    status = empty_folder(fd, 0, path, err);
    if (status == OK && rmdir(path) != 0 && errno != ENOENT)
        status = error_set(err, ERR_IO, "could not remove \"%s\": %s", path, strerror(errno));
    return status;
}

enum status file_lock_folder(const char *folder, int *descriptor, struct error *err)
{
    char path[PATH_MAX];
    char owner[32] = "";
    int length = snprintf(path, sizeof path, "%s/lock", folder);
    ssize_t got;
    int fd;

    *descriptor = -1;
    if (length < 0 || (size_t)length >= sizeof path)
        return error_set(err, ERR_IO, "path too long: \"%s\"", folder);
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (fd < 0)
        return error_set(err, ERR_IO, "could not open \"%s\": %s", path, strerror(errno));
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        int reason = errno;

        got = pread(fd, owner, sizeof owner - 1, 0);
        owner[got > 0 ? (size_t)got : 0] = 0;
        owner[strcspn(owner, "\n")] = 0;
        (void)close(fd);
        if (reason == EWOULDBLOCK)
            return error_set(err, ERR_IN_USE, "\"%s\" is in use by process %s", folder,
                             owner[0] == 0 ? "unknown" : owner);
        return error_set(err, ERR_IO, "could not lock \"%s\": %s", path, strerror(reason));
    }
    length = snprintf(owner, sizeof owner, "%ld\n", (long)getpid());
    if (ftruncate(fd, 0) != 0 || pwrite(fd, owner, (size_t)length, 0) != length) {
        int reason = errno;

        (void)close(fd);
        return error_set(err, ERR_IO, "could not write \"%s\": %s", path, strerror(reason));
    }
    *descriptor = fd;
    return OK;
}
