/*
 * schemas/bundle.c - the folder of a bundle: begun beside, verified, published by renames.
 *
 * A reader sees a version whole or not at all, and `current` names the old or the new one: every
 * file is synced before its folder is renamed, and the pointer moves last. Names come from
 * outside (from `current`, from a manifest, from a command line), so they are names and nothing
 * else: no separator, no leading dot.
 */
#include "schemas/bundle.h"

#include "ops/file.h"
#include "ops/hash.h"

#include <assert.h>
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CURRENT_NAME      "current"
#define NEW_PREFIX        ".new-"
#define CURRENT_BYTES_MAX 256
#define VERSIONS_MAX      4096

bool bundle_name_valid(const char *name, size_t bytes_max)
{
    size_t bytes = strnlen(name, bytes_max);

    if (bytes == 0 || bytes == bytes_max || name[0] == '.')
        return false;
    for (size_t i = 0; i < bytes; i++)
        if (!isalnum((unsigned char)name[i]) && strchr("._-", name[i]) == NULL)
            return false;
    return true;
}

/* A version's name is besides none of the names that mean something else in the root. */
static enum status check_version(const char *version, struct error *err)
{
    if (bundle_name_valid(version, MODEL_VERSION_MAX) && strcmp(version, CURRENT_NAME) != 0 &&
        strcmp(version, BUNDLE_DELTA_NAME) != 0)
        return OK;
    return error_set(err, ERR_MALFORMED, "\"%.80s\" is no name of a bundle's version", version);
}

/* "root/a/b"; part b may be NULL. */
static enum status join(char path[PATH_MAX], const char *root, const char *a, const char *b,
                        struct error *err)
{
    int bytes = snprintf(path, PATH_MAX, "%s/%s%s%s", root, a, b == NULL ? "" : "/",
                         b == NULL ? "" : b);

    if (bytes < 0 || bytes >= PATH_MAX)
        return error_set(err, ERR_LIMIT, "path of \"%.80s\" in \"%.80s\" is too long", a, root);
    return OK;
}

/* A regular file, not a link to one. */
static enum status check_regular(const char *path, int64_t *bytes, struct error *err)
{
    struct stat info;

    if (lstat(path, &info) != 0)
        return error_set(err, errno == ENOENT || errno == ENOTDIR ? ERR_NOT_FOUND : ERR_IO,
                         "could not open \"%s\": %s", path, strerror(errno));
    if (!S_ISREG(info.st_mode))
        return error_set(err, ERR_MALFORMED, "\"%s\" is not a regular file", path);
    *bytes = info.st_size;
    return OK;
}

bool bundle_exposed(const char *root, const char *version)
{
    char path[PATH_MAX];
    struct error ignored;
    struct stat info;

    if (stat(root, &info) == 0 && (info.st_mode & S_IWOTH) != 0)
        return true;
    return version != NULL && join(path, root, version, NULL, &ignored) == OK &&
           stat(path, &info) == 0 && (info.st_mode & S_IWOTH) != 0;
}

/* ---- publishing ---- */

/* Calls visit for each name in the folder, until one call fails. */
static enum status each_name(const char *folder,
                             enum status (*visit)(void *context, const char *name,
                                                  struct error *err),
                             void *context, struct error *err)
{
    enum status status = OK;
    struct dirent *entry;
    DIR *directory = opendir(folder);

    if (directory == NULL)
        return error_set(err, ERR_IO, "could not list \"%s\": %s", folder, strerror(errno));
    while (status == OK && (entry = readdir(directory)) != NULL)
        status = visit(context, entry->d_name, err);
    (void)closedir(directory);
    return status;
}

static enum status remove_unfinished(void *context, const char *name, struct error *err)
{
    char path[PATH_MAX];
    enum status status;

    if (strncmp(name, NEW_PREFIX, strlen(NEW_PREFIX)) != 0)
        return OK;
    status = join(path, context, name, NULL, err);
    return status == OK ? file_remove_tree(path, err) : status;
}

enum status bundle_begin(const char *root, const char *version, char **folder, struct error *err)
{
    char path[PATH_MAX];
    struct stat info;
    enum status status = check_version(version, err);

    *folder = NULL;
    if (status != OK)
        return status;
    status = join(path, root, version, NULL, err);
    if (status != OK)
        return status;
    if (lstat(path, &info) == 0)
        return error_set(err, ERR_CONFLICT, "bundle \"%s\" exists already", path);
    status = file_make_folders(root, err);
    if (status != OK)
        return status;
    status = each_name(root, remove_unfinished, (void *)(uintptr_t)root, err);
    if (status != OK)
        return status;
    if (asprintf(folder, "%s/" NEW_PREFIX "%s", root, version) < 0) {
        *folder = NULL;
        return error_set(err, ERR_NOMEM, "no memory for a path in \"%s\"", root);
    }
    status = file_make_folders(*folder, err);
    if (status != OK) {
        free(*folder);
        *folder = NULL;
    }
    return status;
}

static enum status sync_file(const char *path, struct error *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    enum status status = OK;

    if (fd < 0 || fsync(fd) != 0)
        status = error_set(err, ERR_IO, "could not sync \"%s\": %s", path, strerror(errno));
    if (fd >= 0)
        (void)close(fd);
    return status;
}

/* Size and digest of each file go into the manifest; each is synced. */
static enum status describe_files(const char *folder, struct manifest *manifest,
                                  const char *const *files, int files_count, struct error *err)
{
    char path[PATH_MAX];
    enum status status = OK;

    if (files_count < 0 || (size_t)files_count > sizeof manifest->files / sizeof manifest->files[0])
        return error_set(err, ERR_LIMIT, "bundle of %d files", files_count);
    manifest->files_count = 0;
    for (int i = 0; i < files_count; i++) {
        if (!bundle_name_valid(files[i], sizeof manifest->files[i].name) ||
            strcmp(files[i], MANIFEST_NAME) == 0)
            return error_set(err, ERR_MALFORMED, "\"%.80s\" is no name of a bundle's file",
                             files[i]);
        status = join(path, folder, files[i], NULL, err);
        if (status != OK)
            return status;
        status = check_regular(path, &manifest->files[i].bytes, err);
        if (status != OK)
            return status;
        status = sha256_file(path, manifest->files[i].sha256, err);
        if (status != OK)
            return status;
        status = sync_file(path, err);
        if (status != OK)
            return status;
        (void)snprintf(manifest->files[i].name, sizeof manifest->files[i].name, "%s", files[i]);
        manifest->files_count++;
    }
    return OK;
}

static enum status write_manifest(const char *folder, const struct manifest *manifest,
                                  struct error *err)
{
    char path[PATH_MAX];
    char *json = malloc(MANIFEST_BYTES_MAX);
    enum status status = join(path, folder, MANIFEST_NAME, NULL, err);
    size_t bytes;

    if (json == NULL)
        return error_set(err, ERR_NOMEM, "no memory for a manifest");
    bytes = manifest_encode(manifest, json, MANIFEST_BYTES_MAX);
    assert(bytes > 0);
    if (status == OK)
        status = file_replace(path, json, bytes, err);
    free(json);
    return status;
}

enum status bundle_publish(const char *root, struct manifest *manifest, const char *const *files,
                           int files_count, bool make_current, struct error *err)
{
    char folder[PATH_MAX], name[sizeof manifest->version + sizeof NEW_PREFIX], path[PATH_MAX];
    enum status status = check_version(manifest->version, err);

    if (status != OK)
        return status;
    (void)snprintf(name, sizeof name, NEW_PREFIX "%s", manifest->version);
    status = join(folder, root, name, NULL, err);
    if (status != OK)
        return status;
    status = join(path, root, manifest->version, NULL, err);
    if (status != OK)
        return status;
    status = describe_files(folder, manifest, files, files_count, err);
    if (status != OK)
        return status;
    status = write_manifest(folder, manifest, err);
    if (status != OK)
        return status;
    status = file_sync_folder(folder, err);
    if (status != OK)
        return status;
    if (rename(folder, path) != 0)
        return error_set(err, ERR_IO, "could not rename \"%s\": %s", folder, strerror(errno));
    status = file_sync_folder(root, err);
    if (status == OK && make_current)
        status = bundle_set_current(root, manifest->version, err);
    return status;
}

enum status bundle_set_current(const char *root, const char *version, struct error *err)
{
    char path[PATH_MAX], line[MODEL_VERSION_MAX + 2];
    int64_t bytes;
    enum status status = check_version(version, err);

    if (status != OK)
        return status;
    status = join(path, root, version, MANIFEST_NAME, err);
    if (status != OK)
        return status;
    status = check_regular(path, &bytes, err);
    if (status != OK)
        return status;
    status = join(path, root, CURRENT_NAME, NULL, err);
    if (status != OK)
        return status;
    (void)snprintf(line, sizeof line, "%s\n", version);
    return file_replace(path, line, strlen(line), err);
}

/* ---- reading ---- */

enum status bundle_current(const char *root, char version[MODEL_VERSION_MAX], struct error *err)
{
    char path[PATH_MAX];
    char *line;
    size_t bytes;
    int64_t file_bytes;
    enum status status = join(path, root, CURRENT_NAME, NULL, err);

    version[0] = 0;
    if (status != OK)
        return status;
    status = check_regular(path, &file_bytes, err);
    if (status != OK)
        return status;
    status = file_read(path, CURRENT_BYTES_MAX, &line, &bytes, err);
    if (status == ERR_LIMIT)
        return err->status = ERR_MALFORMED;
    if (status != OK)
        return status;
    if (bytes > 0 && line[bytes - 1] == '\n')
        line[--bytes] = 0;
    if (strlen(line) != bytes)
        status = error_set(err, ERR_MALFORMED, "\"%s\" holds a zero byte", path);
    else
        status = check_version(line, err);
    if (status == OK)
        memcpy(version, line, bytes + 1);
    free(line);
    return status;
}

/* A version is a folder, not a link to one. */
static enum status check_folder(const char *root, const char *version, struct error *err)
{
    char path[PATH_MAX];
    struct stat info;
    enum status status = join(path, root, version, NULL, err);

    if (status != OK)
        return status;
    if (lstat(path, &info) != 0)
        return error_set(err, errno == ENOENT || errno == ENOTDIR ? ERR_NOT_FOUND : ERR_IO,
                         "could not open \"%s\": %s", path, strerror(errno));
    if (!S_ISDIR(info.st_mode))
        return error_set(err, ERR_MALFORMED, "\"%s\" is not a folder", path);
    return OK;
}

static enum status read_manifest(const char *root, const char *version, struct manifest *manifest,
                                 struct error *err)
{
    char path[PATH_MAX];
    char *json;
    size_t bytes;
    int64_t file_bytes;
    enum status status = check_folder(root, version, err);

    if (status != OK)
        return status;
    status = join(path, root, version, MANIFEST_NAME, err);
    if (status != OK)
        return status;
    status = check_regular(path, &file_bytes, err);
    if (status != OK)
        return status;
    status = file_read(path, MANIFEST_BYTES_MAX, &json, &bytes, err);
    if (status != OK)
        return status;
    status = manifest_decode(manifest, (struct text){json, bytes}, err);
    free(json);
    if (status != OK)
        (void)error_prefix(err, "\"%s\"", path);
    return status;
}

static enum status verify_file(const char *root, const char *version,
                               const struct manifest *manifest, int i, struct error *err)
{
    char path[PATH_MAX], digest[SHA256_HEX_BYTES];
    int64_t bytes;
    enum status status = join(path, root, version, manifest->files[i].name, err);

    if (status != OK)
        return status;
    status = check_regular(path, &bytes, err);
    if (status == ERR_NOT_FOUND)
        return err->status = ERR_CORRUPT;
    if (status != OK)
        return status;
    if (bytes != manifest->files[i].bytes)
        return error_set(err, ERR_CORRUPT, "\"%s\" has %lld bytes, its manifest says %lld", path,
                         (long long)bytes, (long long)manifest->files[i].bytes);
    status = sha256_file(path, digest, err);
    if (status != OK)
        return status;
    if (strcmp(digest, manifest->files[i].sha256) != 0)
        return error_set(err, ERR_CORRUPT, "sha256 of \"%s\" is not the one in its manifest", path);
    return OK;
}

enum status bundle_verify(const char *root, const char *version, struct manifest *manifest,
                          struct error *err)
{
    enum status status = check_version(version, err);

    if (status != OK)
        return status;
    status = read_manifest(root, version, manifest, err);
    if (status != OK)
        return status;
    if (strcmp(manifest->version, version) != 0)
        return error_set(err, ERR_CORRUPT, "manifest of bundle \"%s\" is that of \"%s\"", version,
                         manifest->version);
    if (manifest->files_count == 0)
        return error_set(err, ERR_MALFORMED, "bundle \"%s\" has no files", version);
    for (int i = 0; i < manifest->files_count && status == OK; i++)
        status = verify_file(root, version, manifest, i, err);
    return status;
}

/* ---- pruning ---- */

struct version {
    char name[MODEL_VERSION_MAX];
    int64_t created_at_ms;
};

struct listing {
    const char *root;
    struct manifest *manifest; /* scratch: too large for a stack */
    struct version *versions;  /* (VERSIONS_MAX) */
    int count;
};

static enum status list_version(void *context, const char *name, struct error *err)
{
    struct listing *listing = context;
    struct version *version = &listing->versions[listing->count];

    if (listing->count == VERSIONS_MAX || check_version(name, err) != OK ||
        read_manifest(listing->root, name, listing->manifest, err) != OK ||
        strcmp(name, listing->manifest->version) != 0)
        return OK;
    memcpy(version->name, listing->manifest->version, sizeof version->name);
    version->created_at_ms = listing->manifest->created_at_ms;
    listing->count++;
    return OK;
}

/* The number of a name like v000012 or v000012-3f9a, -1 of any other. */
static int64_t number_of(const char *name)
{
    size_t digits = strspn(name + 1, "0123456789");

    return name[0] == 'v' && digits > 0 && digits < 18 &&
                   (name[1 + digits] == 0 || name[1 + digits] == '-')
               ? strtoll(name + 1, NULL, 10)
               : -1;
}

/* By number, which publishing counts up: a clock that was wrong for a while must not cost the
 * newest. Names that are no number come last, by their time. */
static int newest_first(const void *a, const void *b)
{
    const struct version *x = a;
    const struct version *y = b;
    int64_t x_number = number_of(x->name), y_number = number_of(y->name);

    if (x_number != y_number)
        return x_number > y_number ? -1 : 1;
    if (x->created_at_ms != y->created_at_ms)
        return x->created_at_ms > y->created_at_ms ? -1 : 1;
    return strcmp(y->name, x->name);
}

static enum status remove_old(const struct listing *listing, int keep, const char *current,
                              const char *parent, struct error *err)
{
    enum status status = OK;

    for (int i = keep; i < listing->count && status == OK; i++) {
        const char *name = listing->versions[i].name;
        char path[PATH_MAX];

        if (strcmp(name, current) == 0 || strcmp(name, parent) == 0)
            continue;
        status = join(path, listing->root, name, NULL, err);
        if (status == OK)
            status = file_remove_tree(path, err);
    }
    return status;
}

enum status bundle_prune(const char *root, int keep, struct error *err)
{
    char current[MODEL_VERSION_MAX], parent[MODEL_VERSION_MAX] = "";
    struct listing listing = {.root = root};
    enum status status;

    assert(keep >= 0);
    status = bundle_current(root, current, err);
    if (status != OK && status != ERR_NOT_FOUND)
        return status; /* not knowing which one is current, nothing is removed */
    listing.manifest = malloc(sizeof *listing.manifest);
    listing.versions = calloc(VERSIONS_MAX, sizeof *listing.versions);
    if (listing.manifest == NULL || listing.versions == NULL) {
        status = error_set(err, ERR_NOMEM, "no memory to list bundles of \"%s\"", root);
        goto done;
    }
    if (current[0] != 0) {
        status = read_manifest(root, current, listing.manifest, err);
        if (status != OK)
            goto done;
        memcpy(parent, listing.manifest->parent, sizeof parent);
    }
    status = each_name(root, list_version, &listing, err);
    if (status != OK)
        goto done;
    qsort(listing.versions, (size_t)listing.count, sizeof listing.versions[0], newest_first);
    status = remove_old(&listing, keep, current, parent, err);
done:
    free(listing.manifest);
    free(listing.versions);
    return status;
}
