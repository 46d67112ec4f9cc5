/* retrain/checkpoint.c - a new folder beside the old one, then one small file renamed. */
#include "retrain/checkpoint.h"

#include "ops/file.h"
#include "schemas/state_file.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define PATH_BYTES 4096
#define NAME_BYTES 64
#define NUMBER_MAX 1000000000 /* then from 1: only `current` says which one counts */
#define PREFIX     "checkpoint-"

/* The folder's name in `checkpoint`. Errors: ERR_NOT_FOUND, ERR_MALFORMED, ERR_IO, ERR_NOMEM */
static enum status current(const char *folder, char name[NAME_BYTES], struct error *err)
{
    char path[PATH_BYTES];
    char *text = NULL;
    size_t bytes;
    enum status status;

    (void)snprintf(path, sizeof path, "%s/checkpoint", folder);
    status = file_read(path, NAME_BYTES - 1, &text, &bytes, err);
    if (status != OK)
        return status;
    (void)snprintf(name, NAME_BYTES, "%.*s", (int)strcspn(text, "\n"), text);
    free(text);
    if (strncmp(name, PREFIX, strlen(PREFIX)) != 0 || strchr(name, '/') != NULL)
        return error_set(err, ERR_MALFORMED, "\"%s\" names no checkpoint", path);
    return OK;
}

static void save_offsets(const struct checkpoint_offsets *offsets, struct state_file *state)
{
    state_file_put_u64(state, (uint64_t)offsets->count);
    for (int i = 0; i < offsets->count; i++) {
        state_file_put_u32(state, (uint32_t)offsets->offsets[i].partition);
        state_file_put_u64(state, (uint64_t)offsets->offsets[i].from);
        state_file_put_u64(state, (uint64_t)offsets->offsets[i].next);
        state_file_put_u64(state, (uint64_t)offsets->watermarks_ms[i]);
    }
}

/* The hash of the file keeps accidents out, not somebody who writes one: what is an index or an
 * offset later is checked here. */
static bool offset_fits(const struct follower_offset *offset)
{
    return offset->partition >= 0 && offset->partition < FOLLOWER_PARTITIONS_MAX &&
           offset->from >= 0 && offset->next >= offset->from;
}

static bool load_offsets(struct checkpoint_offsets *offsets, struct state_file *state)
{
    offsets->count = (int)state_file_get_count(state, 28, FOLLOWER_PARTITIONS_MAX);
    for (int i = 0; i < offsets->count; i++) {
        offsets->offsets[i].partition = (int32_t)state_file_get_u32(state);
        offsets->offsets[i].from = (int64_t)state_file_get_u64(state);
        offsets->offsets[i].next = (int64_t)state_file_get_u64(state);
        offsets->watermarks_ms[i] = (int64_t)state_file_get_u64(state);
        if (!offset_fits(&offsets->offsets[i]))
            return false;
    }
    return true;
}

static enum status save_state(const char *path, const struct checkpoint_role *role,
                              struct learner *learner, const struct examples *examples,
                              struct error *err)
{
    struct state_file *state;
    enum status status = state_file_begin(&state, path, err);

    if (status != OK)
        return status;
    save_offsets(&role->events, state);
    save_offsets(&role->examples, state);
    state_file_put_u64(state, (uint64_t)role->rounds);
    learner_save(learner, state);
    examples_save(examples, state);
    return state_file_commit(state, err);
}

static enum status fill_folder(const char *into, const struct checkpoint_role *role,
                               struct learner *learner, const struct examples *examples,
                               struct error *err)
{
    char path[PATH_BYTES + NAME_BYTES];
    enum status status;

    (void)snprintf(path, sizeof path, "%s/items", into);
    status = item_tables_save(learner_tables(learner), path, err);
    if (status == OK && learner_holdout(learner) != NULL) {
        (void)snprintf(path, sizeof path, "%s/base", into);
        status = item_tables_save(holdout_base(learner_holdout(learner)), path, err);
    }
    if (status == OK) {
        (void)snprintf(path, sizeof path, "%s/state", into);
        status = save_state(path, role, learner, examples, err);
    }
    return status == OK ? file_sync_folder(into, err) : status;
}

/* The one before, and what crashes have left. */
static enum status remove_others(const char *folder, const char *name, struct error *err)
{
    enum status status = OK;
    struct dirent *entry;
    DIR *list = opendir(folder);

    if (list == NULL)
        return error_set(err, ERR_IO, "could not list \"%s\": %s", folder, strerror(errno));
    while (status == OK && (entry = readdir(list)) != NULL) {
        char path[PATH_BYTES];

        if (strncmp(entry->d_name, PREFIX, strlen(PREFIX)) != 0 || strcmp(entry->d_name, name) == 0)
            continue;
        (void)snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        status = file_remove_tree(path, err);
    }
    (void)closedir(list);
    return status;
}

enum status checkpoint_save(const char *folder, const struct checkpoint_role *role,
                            struct learner *learner, const struct examples *examples,
                            struct error *err)
{
    char old[NAME_BYTES] = "", name[NAME_BYTES], line[NAME_BYTES + 1], path[PATH_BYTES];
    struct error ignored;
    enum status status;
    long number = 0;

    if (current(folder, old, &ignored) == OK)
        number = strtol(old + strlen(PREFIX), NULL, 10) % NUMBER_MAX;
    (void)snprintf(name, sizeof name, PREFIX "%ld", number + 1);
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    status = file_remove_tree(path, err); /* what a crash before the rename left */
    if (status == OK)
        status = file_make_folders(path, err);
    if (status == OK)
        status = fill_folder(path, role, learner, examples, err);
    if (status == OK)
        status = file_sync_folder(folder, err);
    if (status != OK)
        return status;
    (void)snprintf(line, sizeof line, "%s\n", name);
    (void)snprintf(path, sizeof path, "%s/checkpoint", folder);
    status = file_replace(path, line, strlen(line), err);
    return status == OK ? remove_others(folder, name, err) : status;
}

static enum status load_state(const char *path, struct checkpoint_role *role,
                              struct learner *learner, struct examples *examples,
                              struct item_tables **tables, struct item_tables **base,
                              struct error *err)
{
    struct state_file *state;
    enum status status = state_file_open(&state, path, err);

    if (status != OK)
        return status;
    if (!load_offsets(&role->events, state) || !load_offsets(&role->examples, state))
        status = error_set(err, ERR_MALFORMED, "offsets that no topic has");
    role->rounds = (int64_t)state_file_get_u64(state);
    if (status == OK)
        status = learner_load(learner, state, *tables, *base, err);
    if (status == OK) {
        *tables = NULL; /* the learner's from here on */
        *base = NULL;
        status = examples_load(examples, state, err);
    }
    if (status != OK)
        (void)error_prefix(err, "\"%s\"", path);
    else
        status = state_file_end(state, err);
    state_file_close(state);
    return status;
}

enum status checkpoint_load(const char *folder, struct checkpoint_role *role,
                            struct learner *learner, struct examples *examples, struct error *err)
{
    struct item_tables *tables = NULL, *base = NULL;
    char name[NAME_BYTES], path[PATH_BYTES];
    enum status status = current(folder, name, err);

    if (status != OK)
        return status;
    (void)snprintf(path, sizeof path, "%s/%s/items", folder, name);
    status = item_tables_load(&tables, path, err);
    if (status == OK && learner_holdout(learner) != NULL) {
        (void)snprintf(path, sizeof path, "%s/%s/base", folder, name);
        status = item_tables_load(&base, path, err);
    }
    if (status == OK) {
        (void)snprintf(path, sizeof path, "%s/%s/state", folder, name);
        status = load_state(path, role, learner, examples, &tables, &base, err);
    }
    item_tables_destroy(tables);
    item_tables_destroy(base);
    if (status == ERR_NOT_FOUND) /* the folder that counts is not whole */
        return error_set(err, ERR_CORRUPT, "checkpoint lacks a file: \"%s\"", path);
    return status;
}
