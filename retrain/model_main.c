/*
 * retrain/model_main.c - looking at published bundles, and going back to one of them.
 *
 * A rollback moves the file `current` and nothing else: scorers swap within serve.refresh, and the
 * trainer takes what is current as the champion within retrain.items_refresh.
 */
#include "retrain/model_main.h"

#include "ops/json_writer.h"
#include "schemas/bundle.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define VERSIONS_MAX 1024
/* Of one version in a list: names and numbers of its metrics, and what is always there. */
#define LISTED_BYTES ((size_t)1024 + BUNDLE_METRICS_MAX * 128)

struct versions {
    char names[VERSIONS_MAX][MODEL_VERSION_MAX];
    int count;
    char current[MODEL_VERSION_MAX]; /* "" none */
};

static int by_name(const void *a, const void *b)
{
    return strcmp(a, b);
}

/* "" without one, and when the pointer is damaged: what there is to go back to must be seen then.
 */
static void find_current(const char *root, char version[MODEL_VERSION_MAX])
{
    struct error err;
    enum status status = bundle_current(root, version, &err);

    if (status == OK)
        return;
    version[0] = 0;
    if (status != ERR_NOT_FOUND)
        (void)fprintf(stderr, "none is current: %s\n", err.text);
}

/* What was asked for is not there or not whole: names what is. */
static int refuse(const struct command_line *line, const struct error *err)
{
    int code = command_fail(line, err);

    (void)fprintf(stderr, "  `freshet model list` shows the bundles that are whole\n");
    return code;
}

static enum status find_versions(const char *root, struct versions *versions, struct error *err)
{
    struct dirent *entry;
    DIR *folder;

    find_current(root, versions->current);
    folder = opendir(root);
    if (folder == NULL)
        return error_set(err, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO,
                         "could not open model.folder \"%s\": %s", root, strerror(errno));
    versions->count = 0;
    while ((entry = readdir(folder)) != NULL && versions->count < VERSIONS_MAX)
        if (entry->d_name[0] == 'v' && bundle_name_valid(entry->d_name, MODEL_VERSION_MAX))
            (void)snprintf(versions->names[versions->count++], MODEL_VERSION_MAX, "%.63s",
                           entry->d_name);
    (void)closedir(folder);
    qsort(versions->names, (size_t)versions->count, sizeof versions->names[0], by_name);
    return OK;
}

static double metric_of(const struct manifest *manifest, const char *name)
{
    for (int i = 0; i < manifest->metrics_count; i++)
        if (strcmp(manifest->metrics[i].name, name) == 0)
            return manifest->metrics[i].value;
    return 0;
}

static void date_of(int64_t at_ms, char into[32])
{
    time_t seconds = (time_t)(at_ms / 1000);
    struct tm tm;

    if (gmtime_r(&seconds, &tm) == NULL || strftime(into, 32, "%Y-%m-%d %H:%M:%S", &tm) == 0)
        (void)snprintf(into, 32, "?");
}

static void print_line(const char *name, const struct versions *versions,
                       const struct manifest *manifest)
{
    char date[32];

    date_of(manifest->created_at_ms, date);
    (void)printf("%-3s %-16s %s  %-8s", strcmp(name, versions->current) == 0 ? "=>" : "", name,
                 date, manifest->preset[0] != 0 ? manifest->preset : "tables");
    if (metric_of(manifest, "evaluated") > 0)
        (void)printf("  NDCG@10 %.4f, popularity %.4f, co-visitation %.4f",
                     metric_of(manifest, "ndcg@10"), metric_of(manifest, "popularity.ndcg@10"),
                     metric_of(manifest, "covisitation.ndcg@10"));
    (void)printf("\n");
}

static void put_version(struct json_writer *w, const char *name, const struct versions *versions,
                        const struct manifest *manifest)
{
    json_object_begin(w);
    json_text(w, "version", text_of(name));
    json_bool(w, "current", strcmp(name, versions->current) == 0);
    json_text(w, "parent", text_of(manifest->parent));
    json_int(w, "created_at_ms", manifest->created_at_ms);
    json_int(w, "trained_until_ms", manifest->trained_until_ms);
    json_text(w, "preset", text_of(manifest->preset));
    json_key(w, "metrics");
    json_object_begin(w);
    for (int i = 0; i < manifest->metrics_count; i++)
        json_real(w, manifest->metrics[i].name, manifest->metrics[i].value);
    json_object_end(w);
    json_object_end(w);
}

static int run_list(struct command_line *line)
{
    static struct versions versions;
    static struct manifest manifest;
    const struct config *config = command_config(line);
    const char *root;
    struct json_writer w;
    struct error err;
    size_t room;
    char *bytes;

    if (config == NULL)
        return EXIT_USAGE;
    root = config_text(config, "model.folder");
    if (find_versions(root, &versions, &err) != OK)
        return command_fail(line, &err);
    room = LISTED_BYTES * ((size_t)versions.count + 1);
    bytes = malloc(room);
    if (bytes == NULL)
        return EXIT_BUG;
    json_writer_init(&w, bytes, room);
    json_object_begin(&w);
    json_key(&w, "versions");
    json_array_begin(&w);
    for (int i = 0; i < versions.count; i++) {
        if (bundle_verify(root, versions.names[i], &manifest, &err) != OK) {
            (void)fprintf(stderr, "%s: %s\n", versions.names[i], err.text);
            continue;
        }
        if (command_json(line))
            put_version(&w, versions.names[i], &versions, &manifest);
        else
            print_line(versions.names[i], &versions, &manifest);
    }
    json_array_end(&w);
    json_object_end(&w);
    if (command_json(line))
        (void)printf("%.*s\n", TEXT_ARGS(json_writer_text(&w)));
    else if (versions.count == 0)
        (void)printf("no bundle in %s yet: `freshet retrain` publishes the first\n", root);
    free(bytes);
    return EXIT_DONE;
}

static int run_show(struct command_line *line)
{
    static struct manifest manifest;
    static char bytes[MANIFEST_BYTES_MAX];
    const struct config *config = command_config(line);
    char version[MODEL_VERSION_MAX];
    const char *root;
    struct error err;
    enum status status = OK;

    if (config == NULL)
        return EXIT_USAGE;
    root = config_text(config, "model.folder");
    if (command_arguments_count(line) > 0)
        (void)snprintf(version, sizeof version, "%s", command_argument(line, 0));
    else
        status = bundle_current(root, version, &err);
    if (status == OK)
        status = bundle_verify(root, version, &manifest, &err);
    if (status != OK)
        return refuse(line, &err);
    if (command_json(line)) {
        size_t count = manifest_encode(&manifest, bytes, sizeof bytes);

        (void)printf("%.*s\n", (int)count, bytes);
        return EXIT_DONE;
    }
    char date[32];
    date_of(manifest.created_at_ms, date);
    (void)printf("version   %s (parent %s)\ncreated   %s UTC\npreset    %s\n", manifest.version,
                 manifest.parent[0] != 0 ? manifest.parent : "none", date,
                 manifest.preset[0] != 0 ? manifest.preset : "none: item tables alone");
    for (int i = 0; i < manifest.shape_count; i++)
        (void)printf("shape     %s %lld\n", manifest.shape[i].name,
                     (long long)manifest.shape[i].value);
    for (int i = 0; i < manifest.metrics_count; i++)
        (void)printf("metric    %s %.6g\n", manifest.metrics[i].name, manifest.metrics[i].value);
    for (int i = 0; i < manifest.offsets_count; i++)
        (void)printf("data      %s/%d [%lld, %lld)\n", manifest.offsets[i].topic,
                     (int)manifest.offsets[i].partition, (long long)manifest.offsets[i].from,
                     (long long)manifest.offsets[i].to);
    for (int i = 0; i < manifest.files_count; i++)
        (void)printf("file      %s, %lld bytes, sha256 %s\n", manifest.files[i].name,
                     (long long)manifest.files[i].bytes, manifest.files[i].sha256);
    (void)printf("gate\n%s\n", manifest.gate[0] != 0 ? manifest.gate : "none was asked");
    return EXIT_DONE;
}

/* What becomes of it while retrain goes on. */
static void print_hold(void)
{
    (void)printf(
        "  the next round whose model passes the gate replaces it. To hold it, stop `freshet "
        "retrain` (popularity and\n  counts then stand still, too), or restart it with "
        "retrain.every: 30d, retrain.drift_every: 30d and\n  retrain.volume: 0, by which "
        "no round begins while counts go on\n");
}

/* What would be left, and what for. The one that is left may be damaged: that is why, then. */
static void preview(const struct command_line *line, const char *root, const char *from,
                    const char *to, const struct manifest *target)
{
    static struct versions versions;
    static struct manifest left;
    static char text[3 * LISTED_BYTES];
    struct json_writer w;
    struct error err;
    bool whole = from[0] != 0 && bundle_verify(root, from, &left, &err) == OK;

    (void)snprintf(versions.current, sizeof versions.current, "%s", from);
    if (from[0] != 0 && !whole)
        (void)fprintf(stderr, "%s: %s\n", from, err.text);
    if (command_json(line)) {
        json_writer_init(&w, text, sizeof text);
        json_object_begin(&w);
        json_bool(&w, "applied", false);
        json_text(&w, "from", text_of(from));
        json_text(&w, "to", text_of(to));
        json_key(&w, "bundles");
        json_array_begin(&w);
        if (whole)
            put_version(&w, from, &versions, &left);
        put_version(&w, to, &versions, target);
        json_array_end(&w);
        json_object_end(&w);
        (void)printf("%.*s\n", TEXT_ARGS(json_writer_text(&w)));
        return;
    }
    if (whole)
        print_line(from, &versions, &left);
    print_line(to, &versions, target);
    if (strcmp(from, to) == 0)
        (void)printf("%s is current already; nothing would change\n", to);
    else
        (void)printf("current would be %s, and is %s; nothing was changed: run it without "
                     "--dry-run\n",
                     to, from[0] == 0 ? "none" : from);
    print_hold();
}

static int run_rollback(struct command_line *line)
{
    static struct manifest manifest;
    const struct config *config = command_config(line);
    char from[MODEL_VERSION_MAX], to[MODEL_VERSION_MAX];
    const char *root;
    struct error err;
    enum status status = OK;

    if (config == NULL)
        return EXIT_USAGE;
    root = config_text(config, "model.folder");
    if (command_arguments_count(line) == 0) {
        status = bundle_current(root, from, &err);
        if (status == OK)
            status = bundle_verify(root, from, &manifest, &err);
        (void)snprintf(to, sizeof to, "%s", manifest.parent);
        if (status == OK && to[0] == 0)
            status = error_set(&err, ERR_NOT_FOUND, "%s has no parent to go back to", from);
    } else {
        find_current(root, from);
        (void)snprintf(to, sizeof to, "%s", command_argument(line, 0));
    }
    if (status == OK) /* whole, before anything serves it */
        status = bundle_verify(root, to, &manifest, &err);
    if (status == OK && command_flag(line, "dry-run")) {
        preview(line, root, from, to, &manifest);
        return EXIT_DONE;
    }
    if (status == OK)
        status = bundle_set_current(root, to, &err);
    if (status != OK)
        return refuse(line, &err);
    if (command_json(line)) {
        (void)printf("{\"from\":\"%s\",\"to\":\"%s\"}\n", from, to);
        return EXIT_DONE;
    }
    if (strcmp(from, to) == 0)
        (void)printf("%s is current already; nothing changes\n", to);
    else if (from[0] == 0)
        (void)printf("current is now %s, before there was none; scorers swap within "
                     "serve.refresh\n",
                     to);
    else
        (void)printf("current is now %s, before it was %s; scorers swap within serve.refresh\n"
                     "  undo it by: freshet model rollback %s\n",
                     to, from, from);
    print_hold();
    return EXIT_DONE;
}

const struct command model_list_command = {
    .name = "model list",
    .summary = "published bundles, oldest first, and which one is current",
    .arguments = "",
    .help = "Examples:\n  freshet model list\n  freshet model list --json\n",
    .run = run_list,
};

const struct command model_show_command = {
    .name = "model show",
    .summary = "what a bundle was made of, its metrics and its gate report",
    .arguments = "[VERSION]",
    .help = "Examples:\n  freshet model show\n  freshet model show v000012 --json\n",
    .arguments_max = 1,
    .run = run_show,
};

static const struct option_row rollback_options[] = {
    {"dry-run", OPTION_FLAG, NULL, NULL, "change nothing; show both bundles with their metrics"},
    {0},
};

const struct command model_rollback_command = {
    .name = "model rollback",
    .summary = "make another bundle current: the parent of the present one, or VERSION",
    .arguments = "[VERSION]",
    .help =
        "The bundle is verified first; scorers swap to it within serve.refresh.\n\n"
        "`freshet retrain` takes it for the champion and goes on: the next round whose model "
        "passes the gate replaces it. To hold it, stop retrain (popularity and counts then "
        "stand still, too), or restart it with retrain.every: 30d, retrain.drift_every: 30d and "
        "retrain.volume: 0, by which no round begins while counts go on.\n\n"
        "Examples:\n  freshet model rollback --dry-run\n  freshet model rollback\n"
        "  freshet model rollback v000012\n",
    .arguments_max = 1,
    .options = rollback_options,
    .run = run_rollback,
};
