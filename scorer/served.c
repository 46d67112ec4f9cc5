/* scorer/served.c - load beside, swap by pointer, free when the last reader has left. */
#include "scorer/served.h"

#include "features/scalars.h"
#include "kernels/model_file.h"
#include "ops/clock.h"
#include "ops/log.h"
#include "ops/metric.h"
#include "scorer/catalogue.h"
#include "scorer/history_cache.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define PATH_BYTES     4096
#define AGAIN_FIRST_US INT64_C(1000000)
#define AGAIN_LAST_US  INT64_C(60000000)

METRIC_COUNTER(swaps, "freshet_serve_model_swaps_total", "served versions swapped in");
METRIC_COUNTER(refused, "freshet_serve_model_refused_total", "bundles or deltas refused");
METRIC_GAUGE(model_created, "freshet_serve_model_timestamp_seconds",
             "creation time of the served bundle, Unix seconds");
METRIC_GAUGE(rounded, "freshet_serve_bf16",
             "1: the model's products are of numbers rounded to bf16 (serve.bf16)");
METRIC_GAUGE(model_present, "freshet_serve_model_present",
             "1: a model serves; 0: popularity and co-visitation only");

/* Weights are shared by all served versions of one bundle; only the tables differ. */
struct weights {
    atomic_int readers;
    struct model *model;
    struct served_slot *slot;
    struct weights *next; /* of those that are gone */
};

struct version {
    struct served served; /* first: a const struct served * is one of these */
    atomic_int readers;
    struct weights *weights;
    struct item_tables *tables;
};

/* What a file was when it was read, to see that it is another one now. */
struct file_mark {
    struct timespec modified;
    ino_t inode;
    off_t bytes;
};

/* What memory was short for, or the device refused, is mostly others' doing and passes: it is tried
 * again, less and less often. Zeroed: at once. */
struct again {
    int64_t wait_us, due_us;
};

#define CONTEXTS_ANY (-1)

struct served_slot {
    char root[PATH_BYTES / 2];
    pthread_mutex_t lock; /* guards now, and taking a reference to it; and gone */
    struct version *now;
    struct weights *gone; /* nobody scores with them any more: the refresher buries them */
    char refused[MODEL_VERSION_MAX];   /* for good */
    char postponed[MODEL_VERSION_MAX]; /* is tried again, for want of what why_postponed says */
    struct again postponed_until;
    struct error why_postponed;
    struct item_tables *base; /* tables of the bundle as published: deltas apply to a copy */
    struct file_mark delta_mark;
    struct catalogue *catalogue; /* borrowed, may be NULL */
    uint64_t catalogue_version;  /* as applied to now */
    int32_t context_names;       /* print of those that requests are read by */
    enum served_bf16 bf16;
    bool recalls; /* next-item scores are asked for */
    struct kv_cache *histories;
    bool fitted; /* to the model that serves */
    struct again fitted_again;
};

static bool again_due(const struct again *again)
{
    return again->wait_us == 0 || clock_monotonic_us() >= again->due_us;
}

static void again_later(struct again *again)
{
    again->wait_us = again->wait_us == 0 ? AGAIN_FIRST_US : 2 * again->wait_us;
    if (again->wait_us > AGAIN_LAST_US)
        again->wait_us = AGAIN_LAST_US;
    again->due_us = clock_monotonic_us() + again->wait_us;
}

/* The last to release may be a request: what takes time is left to the refresher. */
static void weights_release(struct weights *weights)
{
    struct served_slot *slot;

    if (weights == NULL || atomic_fetch_sub(&weights->readers, 1) != 1)
        return;
    slot = weights->slot;
    (void)pthread_mutex_lock(&slot->lock);
    weights->next = slot->gone;
    slot->gone = weights;
    (void)pthread_mutex_unlock(&slot->lock);
}

/* Frees weights that are gone, and has the cache forget what was computed with them. */
static void bury(struct served_slot *slot)
{
    struct weights *weights, *next;

    (void)pthread_mutex_lock(&slot->lock);
    weights = slot->gone;
    slot->gone = NULL;
    (void)pthread_mutex_unlock(&slot->lock);
    for (; weights != NULL; weights = next) {
        next = weights->next;
        if (weights->model != NULL)
            model_forget_cached(weights->model, slot->histories);
        model_destroy(weights->model);
        free(weights);
    }
}

static void version_release(struct version *version)
{
    if (version == NULL || atomic_fetch_sub(&version->readers, 1) != 1)
        return;
    item_tables_destroy(version->tables);
    weights_release(version->weights);
    free(version);
}

enum status served_slot_create(struct served_slot **slot, const char *root,
                               struct catalogue *catalogue, struct error *err)
{
    struct served_slot *made = calloc(1, sizeof *made);

    *slot = NULL;
    if (made == NULL)
        return error_set(err, ERR_NOMEM, "no memory for the served model's slot");
    if ((size_t)snprintf(made->root, sizeof made->root, "%s", root) >= sizeof made->root) {
        free(made);
        return error_set(err, ERR_LIMIT, "path of the model folder is too long");
    }
    made->catalogue = catalogue;
    made->context_names = CONTEXTS_ANY;
    (void)pthread_mutex_init(&made->lock, NULL);
    *slot = made;
    return OK;
}

void served_slot_contexts(struct served_slot *slot, const struct context_names *names)
{
    slot->context_names = names->print;
}

void served_slot_bf16(struct served_slot *slot, enum served_bf16 bf16)
{
    slot->bf16 = bf16;
}

void served_slot_recalls(struct served_slot *slot, bool recalls)
{
    slot->recalls = recalls;
}

void served_slot_histories(struct served_slot *slot, struct kv_cache *histories)
{
    slot->histories = histories;
}

void served_slot_destroy(struct served_slot *slot)
{
    if (slot == NULL)
        return;
    version_release(slot->now);
    bury(slot);
    item_tables_destroy(slot->base);
    (void)pthread_mutex_destroy(&slot->lock);
    free(slot);
}

const struct served *served_acquire(struct served_slot *slot)
{
    struct version *version;

    (void)pthread_mutex_lock(&slot->lock);
    version = slot->now;
    if (version != NULL)
        (void)atomic_fetch_add(&version->readers, 1);
    (void)pthread_mutex_unlock(&slot->lock);
    return version == NULL ? NULL : &version->served;
}

void served_release(struct served_slot *slot, const struct served *served)
{
    (void)slot;
    version_release((struct version *)(uintptr_t)served);
}

/* What the catalogue says holds for every version, whatever its tables say. Last before a swap. */
static void apply_catalogue(struct served_slot *slot, struct item_tables *tables, uint64_t seed)
{
    if (slot->catalogue == NULL)
        return;
    slot->catalogue_version = catalogue_version(slot->catalogue);
    catalogue_apply(slot->catalogue, tables, seed);
}

static void swap_in(struct served_slot *slot, struct version *version)
{
    struct version *old;

    (void)pthread_mutex_lock(&slot->lock);
    old = slot->now;
    slot->now = version;
    (void)pthread_mutex_unlock(&slot->lock);
    version_release(old);
    metric_add(&swaps, 1);
    metric_set(&model_created, (double)version->served.created_at_ms / 1000.0);
    metric_set(&model_present, version->served.model != NULL);
    metric_set(&rounded, version->served.model != NULL && model_is_rounded(version->served.model));
    /* Tables are refreshed every few seconds; a bundle is news. */
    log_event(version->served.delta == 0 ? LOG_INFO : LOG_DEBUG, "model_swapped",
              "another version serves", log_text("version", version->served.version),
              log_int("items", item_tables_count(version->tables)));
}

/* Takes ownership of tables and one reference of weights, also on failure. */
static struct version *version_create(const struct served *described, struct weights *weights,
                                      struct item_tables *tables)
{
    struct version *version = calloc(1, sizeof *version);

    if (version == NULL) {
        item_tables_destroy(tables);
        weights_release(weights);
        return NULL;
    }
    version->served = *described;
    version->served.model = weights == NULL ? NULL : weights->model;
    version->served.tables = tables;
    version->weights = weights;
    version->tables = tables;
    atomic_init(&version->readers, 1);
    (void)snprintf(version->served.version, sizeof version->served.version, "%s+%llu",
                   described->bundle, (unsigned long long)described->delta);
    return version;
}

/* ---- a new bundle ---- */

/* A model that reads contexts must read those that requests bring, by the same names. */
static enum status check_contexts(const struct served_slot *slot, const struct model_config *config,
                                  struct error *err)
{
    if (config->contexts == 0 || slot->context_names == CONTEXTS_ANY ||
        slot->context_names == config->context_names)
        return OK;
    return error_set(
        err, ERR_CONFLICT,
        "model was trained with other model.contexts: make the two configurations one");
}

/* Of the manifest's metrics; NaN when it is not among them. */
static double metric_of(const struct manifest *manifest, const char *name)
{
    for (int i = 0; i < manifest->metrics_count; i++)
        if (strcmp(manifest->metrics[i].name, name) == 0)
            return manifest->metrics[i].value;
    return (double)NAN;
}

/* Why the model is not rounded, or NULL. most: of the bundle, NaN where it does not say. */
static const char *against_bf16(const struct served_slot *slot, const struct model *model,
                                double most, struct model_round_trial *trial)
{
    bool told = slot->bf16 == SERVED_BF16_ON;
    struct error err;

    if (slot->bf16 == SERVED_BF16_OFF)
        return "serve.bf16 is off";
    if (!told && isnan(most))
        return "the bundle does not say how much bf16 may change (retrain.measure_bf16)";
    if (!told && !(most <= BUNDLE_BF16_CHANGE_MAX))
        return "bf16 may change the held-out NDCG@10 by more than .001";
    if (model_round_try(model, trial, &err) != OK)
        return "no memory to try bf16";
    if (!trial->right)
        return "the bf16 products of this processor come out wrong";
    if (told || trial->faster)
        return NULL;
    return strcmp(trial->way, "gpu") == 0 ? "a GPU's own bf16 products were never measured"
                                          : "bf16 is not faster here";
}

/* Rounds the model where serve.bf16, the bundle and the machine say so. */
static enum status choose_products(const struct served_slot *slot, struct model *model,
                                   const struct manifest *manifest, struct error *err)
{
    double most = metric_of(manifest, BUNDLE_BF16_MOST);
    struct model_round_trial trial = {.way = "untried", .right = true};
    const char *why = against_bf16(slot, model, most, &trial);
    enum status status = why == NULL ? model_round(model, err) : OK;

    if (status == OK && why == NULL && slot->recalls)
        status = model_round_next(model, err);
    if (status != OK)
        return status;
    if (why == NULL && !model_is_rounded(model))
        why = "this GPU multiplies no bf16";
    log_event(trial.right ? LOG_INFO : LOG_WARN, why == NULL ? "scores_in_bf16" : "scores_in_f32",
              why != NULL                    ? why
              : slot->bf16 == SERVED_BF16_ON ? "serve.bf16 is on"
                                             : "bf16 is faster here, and changes the held-out "
                                               "NDCG@10 by at most .001",
              log_text("way", trial.way), log_real("f32_us", trial.f32_us),
              log_real("bf16_us", trial.bf16_us), log_real("ndcg_change_most", most));
    return OK;
}

static enum status load_weights(struct served_slot *slot, struct weights **weights,
                                const char *folder, const struct manifest *manifest,
                                struct error *err)
{
    char path[PATH_BYTES];
    enum status status;
    int stale;

    *weights = NULL;
    if (!model_file_present(manifest))
        return OK;
    stale = scalars_mismatch((const char(*)[32])manifest->scalars, manifest->scalars_count);
    if (stale >= 0)
        return error_set(
            err, ERR_CONFLICT,
            "model was trained on other scalars (number %d is \"%s\"): retrain it with "
            "this build",
            stale, stale < manifest->scalars_count ? manifest->scalars[stale] : "missing");
    *weights = calloc(1, sizeof **weights);
    if (*weights == NULL)
        return error_set(err, ERR_NOMEM, "no memory for a model");
    atomic_init(&(*weights)->readers, 1);
    (*weights)->slot = slot;
    (void)snprintf(path, sizeof path, "%s/%s", folder, MODEL_FILE_NAME);
    status = model_file_load(&(*weights)->model, path, manifest, err);
    if (status == OK)
        status = check_contexts(slot, model_config((*weights)->model), err);
    if (status == OK)
        status = choose_products(slot, (*weights)->model, manifest, err);
    if (status == OK)
        status = model_fold((*weights)->model, err);
    if (status != OK) {
        weights_release(*weights);
        *weights = NULL;
    }
    return status;
}

static enum status load_bundle(struct served_slot *slot, const char *name, struct error *err)
{
    static struct manifest manifest; /* large; only the refresher's thread is here */
    char folder[PATH_BYTES - 64];
    char path[PATH_BYTES];
    struct item_tables *base = NULL;
    struct item_tables *copy = NULL;
    struct weights *weights = NULL;
    struct served described = {0};
    struct version *version;
    enum status status;

    (void)snprintf(folder, sizeof folder, "%s/%s", slot->root, name);
    (void)snprintf(path, sizeof path, "%s/%s", folder, BUNDLE_ITEMS_NAME);
    status = bundle_verify(slot->root, name, &manifest, err);
    if (status == OK && bundle_exposed(slot->root, name))
        log_event(LOG_WARN, "bundle_exposed",
                  "others than its owner may write to the bundle, so its digests prove nothing",
                  log_text("folder", folder));
    if (status == OK)
        status = item_tables_load(&base, path, err);
    if (status == OK)
        status = item_tables_copy(&copy, base, err);
    if (status == OK)
        status = load_weights(slot, &weights, folder, &manifest, err);
    if (status != OK)
        goto failed;
    apply_catalogue(slot, copy, manifest.item_seed);
    (void)snprintf(described.bundle, sizeof described.bundle, "%s", name);
    described.created_at_ms = manifest.created_at_ms;
    described.item_seed = manifest.item_seed;
    described.trained_rows = item_tables_rows(base);
    version = version_create(&described, weights, copy);
    copy = NULL;
    weights = NULL;
    if (version == NULL) {
        status = error_set(err, ERR_NOMEM, "no memory for a served version");
        goto failed;
    }
    item_tables_destroy(slot->base);
    slot->base = base;
    slot->delta_mark = (struct file_mark){0};
    slot->fitted = false;
    slot->fitted_again = (struct again){0};
    swap_in(slot, version);
    return OK;
failed:
    item_tables_destroy(base);
    item_tables_destroy(copy);
    weights_release(weights);
    return status;
}

/* ---- a new delta ---- */

static bool mark_of(const char *path, struct file_mark *mark)
{
    struct stat info;

    if (stat(path, &info) != 0)
        return false;
    *mark = (struct file_mark){info.st_mtim, info.st_ino, info.st_size};
    return true;
}

static bool mark_equal(const struct file_mark *a, const struct file_mark *b)
{
    return a->modified.tv_sec == b->modified.tv_sec && a->modified.tv_nsec == b->modified.tv_nsec &&
           a->inode == b->inode && a->bytes == b->bytes;
}

/* The weights that serve, with other tables; takes ownership of them. */
static enum status swap_tables(struct served_slot *slot, const struct served *described,
                               struct item_tables *tables, bool *changed, struct error *err)
{
    struct version *version;

    apply_catalogue(slot, tables, described->item_seed);
    if (slot->now->weights != NULL)
        (void)atomic_fetch_add(&slot->now->weights->readers, 1);
    version = version_create(described, slot->now->weights, tables);
    if (version == NULL)
        return error_set(err, ERR_NOMEM, "no memory for a served version");
    swap_in(slot, version);
    *changed = true;
    return OK;
}

/* The delta holds all that changed since the bundle, so it goes onto the bundle's own tables. */
static enum status load_delta(struct served_slot *slot, bool *changed, struct error *err)
{
    char path[PATH_BYTES];
    struct file_mark mark;
    struct item_tables *tables = NULL;
    struct served described = slot->now->served;
    enum status status;

    (void)snprintf(path, sizeof path, "%s/%s", slot->root, BUNDLE_DELTA_NAME);
    if (!mark_of(path, &mark) || mark_equal(&mark, &slot->delta_mark))
        return OK;
    slot->delta_mark = mark; /* also when it is refused: it is not read again until it changes */
    status = item_tables_copy(&tables, slot->base, err);
    if (status == OK)
        status = item_tables_apply_delta(tables, path, described.bundle, &described.delta, err);
    if (status != OK) {
        item_tables_destroy(tables);
        /* Between the publishing of a bundle and its first delta the old one lies there: no fault.
         */
        return status == ERR_CONFLICT ? OK : status;
    }
    return swap_tables(slot, &described, tables, changed, err);
}

/* News of the catalogue alone: the same version with other items left out. */
static enum status follow_catalogue(struct served_slot *slot, bool *changed, struct error *err)
{
    struct item_tables *tables = NULL;
    struct served described = slot->now->served;
    enum status status;

    if (slot->catalogue == NULL || catalogue_version(slot->catalogue) == slot->catalogue_version)
        return OK;
    status = item_tables_copy(&tables, slot->now->tables, err);
    if (status != OK)
        return status;
    return swap_tables(slot, &described, tables, changed, err);
}

/* Another bundle begins with a short wait: what was met belongs to the one before. */
static void postpone(struct served_slot *slot, const char *name, const struct error *why)
{
    if (strcmp(slot->postponed, name) != 0)
        slot->postponed_until = (struct again){0};
    (void)snprintf(slot->postponed, sizeof slot->postponed, "%s", name);
    slot->why_postponed = *why;
    again_later(&slot->postponed_until);
}

static enum status follow_current(struct served_slot *slot, bool *changed, struct error *err)
{
    char name[MODEL_VERSION_MAX];
    enum status status = bundle_current(slot->root, name, err);

    if (status != OK || (slot->now != NULL && strcmp(slot->now->served.bundle, name) == 0))
        return status;
    if (strcmp(slot->refused, name) == 0)
        return error_set(err, ERR_REJECTED, "bundle %s was refused before", name);
    if (strcmp(slot->postponed, name) == 0 && !again_due(&slot->postponed_until))
        return error_set(err, ERR_REJECTED, "bundle %s is tried again within a minute: %s", name,
                         slot->why_postponed.text);
    status = load_bundle(slot, name, err);
    if (status == OK) {
        *changed = true;
        slot->refused[0] = 0;
        slot->postponed[0] = 0;
    } else if (status == ERR_DEVICE || status == ERR_NOMEM) {
        postpone(slot, name, err);
    } else if (status_action(status) == ACTION_SKIP || status == ERR_CONFLICT) {
        (void)snprintf(slot->refused, sizeof slot->refused, "%s", name);
    }
    return status;
}

/* Less and less often where there is no memory, or others still read. */
static void fit_histories(struct served_slot *slot)
{
    if (slot->fitted || !again_due(&slot->fitted_again))
        return;
    slot->fitted = history_cache_fit(slot->histories, slot->now->served.model);
    again_later(&slot->fitted_again);
}

enum status served_refresh(struct served_slot *slot, bool *changed, struct error *err)
{
    enum status status, of_tables;
    struct error why;

    *changed = false;
    bury(slot); /* those that are gone are not kept beside two others */
    status = follow_current(slot, changed, err);
    if (slot->now != NULL) { /* what serves has news too while the newest bundle is no good */
        of_tables = load_delta(slot, changed, &why);
        if (of_tables == OK)
            of_tables = follow_catalogue(slot, changed, &why);
        if (status == OK && of_tables != OK) {
            *err = why;
            status = of_tables;
        }
        fit_histories(slot);
    }
    bury(slot);
    if (status != OK && status != ERR_NOT_FOUND && status != ERR_REJECTED)
        metric_add(&refused, 1);
    return status;
}
