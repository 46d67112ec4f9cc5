/* retrain/publish.c - one bundle, from parts in memory to the file `current`. */
#include "retrain/publish.h"

#include "features/scalars.h"
#include "kernels/model_file.h"
#include "ops/file.h"
#include "ops/log.h"

#include <assert.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PATH_BYTES 4096
#define TRIES_MAX  1000
#define NUMBER_MAX 1000000000

/* The highest number of a folder of root: after a rollback that is not the current one, and a name
 * must not be given twice. */
static long highest(const char *root, long number)
{
    struct dirent *entry;
    DIR *folder = opendir(root);

    while (folder != NULL && (entry = readdir(folder)) != NULL) {
        long other = entry->d_name[0] == 'v' && bundle_name_valid(entry->d_name, MODEL_VERSION_MAX)
                         ? strtol(entry->d_name + 1, NULL, 10)
                         : 0;

        if (other > number && other < NUMBER_MAX)
            number = other;
    }
    if (folder != NULL)
        (void)closedir(folder);
    return number;
}

/* The number after the newest one; folders that a crash left behind are passed over. */
static enum status begin(const char *root, char version[MODEL_VERSION_MAX],
                         char parent[MODEL_VERSION_MAX], char **folder, struct error *err)
{
    enum status status;
    long number = 0;

    parent[0] = 0;
    status = bundle_current(root, parent, err);
    if (status != OK && status != ERR_NOT_FOUND)
        return status;
    if (status == OK && parent[0] == 'v')
        number = strtol(parent + 1, NULL, 10);
    number = highest(root, number);
    for (int i = 1; i <= TRIES_MAX; i++) {
        (void)snprintf(version, MODEL_VERSION_MAX, "v%06ld", number + i);
        status = bundle_begin(root, version, folder, err);
        if (status != ERR_CONFLICT)
            return status;
    }
    return status;
}

static void put_metric(struct manifest *manifest, const char *arm, const char *name, double value)
{
    struct manifest_metric *metric = &manifest->metrics[manifest->metrics_count];

    if (manifest->metrics_count == BUNDLE_METRICS_MAX)
        return;
    (void)snprintf(metric->name, sizeof metric->name, "%s%s%s", arm, arm[0] != 0 ? "." : "", name);
    metric->value = value;
    manifest->metrics_count++;
}

static void put_metrics(struct manifest *manifest, const struct evaluation *e)
{
    char ndcg[16], hr[16];

    if (e == NULL)
        return;
    (void)snprintf(ndcg, sizeof ndcg, "ndcg@%d", EVALUATE_K);
    (void)snprintf(hr, sizeof hr, "hr@%d", EVALUATE_K);
    put_metric(manifest, "", "evaluated", (double)e->events);
    for (int arm = 0; arm < EVALUATE_ARMS; arm++) {
        const char *name = arm == EVALUATE_CHALLENGER ? "" : evaluate_arm_names[arm];

        if (arm == EVALUATE_CHAMPION && !e->has_champion)
            continue;
        put_metric(manifest, name, ndcg, e->arms[arm].ndcg);
        put_metric(manifest, name, hr, e->arms[arm].hit_rate);
    }
    if (!e->rounded.measured || e->events == 0)
        return;
    put_metric(manifest, "", BUNDLE_BF16_CHANGE,
               e->rounded.ndcg - e->arms[EVALUATE_CHALLENGER].ndcg);
    put_metric(manifest, "", BUNDLE_BF16_MOST, e->rounded.most);
}

static void describe(const struct publish_request *request, const char *version, const char *parent,
                     struct manifest *manifest)
{
    (void)snprintf(manifest->version, sizeof manifest->version, "%s", version);
    (void)snprintf(manifest->parent, sizeof manifest->parent, "%s", parent);
    manifest->created_at_ms = request->created_at_ms;
    manifest->trained_until_ms = request->trained_until_ms;
    manifest->item_seed = request->item_seed;
    manifest->seed = request->seed;
    manifest->scalars_count = scalars_count;
    for (int i = 0; i < scalars_count; i++)
        (void)snprintf(manifest->scalars[i], sizeof manifest->scalars[i], "%s",
                       scalar_rows[i].name);
    for (int t = 0; t < request->topics_count; t++)
        for (int i = 0; i < request->topics[t].count; i++) {
            struct manifest_offset *to = &manifest->offsets[manifest->offsets_count];

            if (manifest->offsets_count == BUNDLE_OFFSETS_MAX)
                break;
            (void)snprintf(to->topic, sizeof to->topic, "%s", request->topics[t].name);
            to->partition = request->topics[t].offsets[i].partition;
            to->from = request->topics[t].offsets[i].from;
            to->to = request->topics[t].offsets[i].next;
            manifest->offsets_count++;
        }
    put_metrics(manifest, request->evaluation);
    if (request->model != NULL)
        model_file_describe(request->model, request->preset, manifest);
}

static enum status write_model(const struct publish_request *request, const char *folder,
                               const struct manifest *manifest, struct gate *gate,
                               struct error *err)
{
    struct model *back = NULL;
    char path[PATH_BYTES];
    enum status status;

    (void)snprintf(path, sizeof path, "%s/%s", folder, MODEL_FILE_NAME);
    status = model_file_save(request->model, path, err);
    if (status == OK)
        status = model_file_load(&back, path, manifest, err);
    if (status == OK)
        status = model_fold(back, err); /* as serve does: parity is of what will score */
    if (status == OK)
        status = gate_parity(gate, request->model, back, request->tables, request->pool, err);
    model_destroy(back);
    return status;
}

/* The last sync may fail after the rename: scorers have it then, and it must count as published. */
static bool is_current(const char *root, const char *version)
{
    char current[MODEL_VERSION_MAX];
    struct error ignored;

    return bundle_current(root, current, &ignored) == OK && strcmp(current, version) == 0;
}

enum status publish_bundle(const struct publish_request *request, struct gate *gate,
                           char version[MODEL_VERSION_MAX], struct error *err)
{
    const char *files[] = {BUNDLE_ITEMS_NAME, MODEL_FILE_NAME};
    char parent[MODEL_VERSION_MAX], path[PATH_BYTES];
    struct manifest *manifest = calloc(1, sizeof *manifest);
    char *folder = NULL;
    enum status status;

    if (manifest == NULL)
        return error_set(err, ERR_NOMEM, "no memory for a manifest");
    status = file_make_folders(request->root, err);
    if (status == OK)
        status = begin(request->root, version, parent, &folder, err);
    if (status != OK)
        goto done;
    describe(request, version, parent, manifest);
    (void)snprintf(path, sizeof path, "%s/%s", folder, BUNDLE_ITEMS_NAME);
    status = item_tables_save(request->tables, path, err);
    if (status == OK && request->model != NULL)
        status = write_model(request, folder, manifest, gate, err);
    if (status != OK || !gate->passed) {
        version[0] = 0;
        goto done; /* the next begin removes the folder */
    }
    (void)snprintf(manifest->gate, sizeof manifest->gate, "%s", gate->report);
    status = bundle_publish(request->root, manifest, files, request->model != NULL ? 2 : 1, true,
                            err);
    if (status != OK && is_current(request->root, version)) {
        log_event(LOG_WARN, "publish_not_synced", err->text, log_text("version", version));
        status = OK;
    }
    if (status != OK) {
        version[0] = 0;
        goto done;
    }
    item_tables_mark_saved(request->tables);
    /* It is published whatever becomes of the old ones: the next time is early enough for them. */
    if (bundle_prune(request->root, request->keep, err) != OK)
        log_event(LOG_WARN, "prune_failed", err->text);
done:
    free(folder);
    free(manifest);
    return status;
}

enum status publish_delta(const char *root, const struct item_tables *tables, const char *version,
                          uint64_t sequence, struct error *err)
{
    char path[PATH_BYTES];

    (void)snprintf(path, sizeof path, "%s/%s", root, BUNDLE_DELTA_NAME);
    return item_tables_save_delta(tables, sequence, version, path, err);
}
