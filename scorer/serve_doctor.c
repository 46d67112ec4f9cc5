/* scorer/serve_doctor.c - doctor's questions to the model folder: would serve take what is current,
 * and is it of this data set? */
#include "features/redis_dataset.h"
#include "ops/clock.h"
#include "ops/vitals.h"
#include "scorer/history_cache.h"
#include "scorer/serve_main.h"
#include "scorer/served.h"

#include <string.h>

#define ASK_MS            3000
#define CACHED_USER_BYTES 1600 /* as serve.cache_users says */

static const char *remedy_of(enum status status)
{
    switch (status) {
    case ERR_CONFLICT:
    case ERR_VERSION:
        return "retrain it with this build, or `freshet model rollback` to one that fits";
    case ERR_CORRUPT:
    case ERR_MALFORMED:
    case ERR_LIMIT:
        return "`freshet model rollback` to a whole one; `freshet runbook model-refused`";
    default:
        return "can this user read model.folder?";
    }
}

/* Loads what is current, by the code that serves. NULL: the finding says why. */
static struct served_slot *load(const struct config *config, const struct served **served,
                                struct doctor_finding *finding)
{
    struct served_slot *slot;
    struct error err;
    bool changed;
    enum status status = served_slot_create(&slot, config_text(config, "model.folder"), NULL, &err);

    *served = NULL;
    if (status == OK)
        status = served_refresh(slot, &changed, &err);
    if (status == OK) {
        *served = served_acquire(slot);
        return slot;
    }
    served_slot_destroy(slot);
    if (status == ERR_NOT_FOUND)
        doctor_warn(finding,
                    "start `freshet retrain` on the same model.folder; until then lists are in the "
                    "order of the request",
                    "no bundle is published in %s", config_text(config, "model.folder"));
    else
        doctor_fail(finding, remedy_of(status), "%s", err.text);
    return NULL;
}

static void check_model(const struct config *config, struct doctor_finding *finding)
{
    const struct served *served;
    struct served_slot *slot = load(config, &served, finding);
    const char *root = config_text(config, "model.folder");

    if (slot == NULL)
        return;
    if (bundle_exposed(root, served->bundle))
        doctor_warn(finding, "chmod go-w the folder",
                    "others than its owner may write to %s/%s, so its digests prove nothing", root,
                    served->bundle);
    else
        doctor_ok(finding, "%s verifies: %s, %d items, %lld minutes old", served->version,
                  served->model == NULL ? "item tables, no model yet" : "model and item tables",
                  item_tables_count(served->tables),
                  (long long)(clock_wall_ms() - served->created_at_ms) / 60000);
    served_release(slot, served);
    served_slot_destroy(slot);
}

static void check_dataset(const struct config *config, struct doctor_finding *finding)
{
    struct redis_connection *connection = NULL;
    struct redis_dataset stored = {0};
    struct redis_keys keys;
    const struct served *served;
    struct served_slot *slot = load(config, &served, finding);
    struct error err;
    enum status status = OK;

    if (slot != NULL)
        status = redis_dataset_connect(&stored, &connection, &keys, config, ASK_MS, &err);
    if (slot == NULL && finding->result == DOCTOR_WARN)
        doctor_skip(finding, "no bundle is published yet");
    else if (slot == NULL)
        doctor_unknown(finding, NULL, "no bundle can be loaded");
    else if (status == ERR_NOT_FOUND)
        doctor_skip(finding, "there is no data set yet");
    else if (status != OK)
        doctor_unknown(finding, NULL, "no data set can be read: %s", err.text);
    else if (stored.rules.seed != served->item_seed)
        doctor_fail(finding, "point model.folder at this data set's bundles, or retrain anew",
                    "%s was made from another data set: no item of a user would be known to it",
                    served->version);
    else
        doctor_ok(finding, "%s is of this data set", served->version);
    redis_dataset_clear(&stored);
    redis_connection_destroy(connection);
    if (slot != NULL)
        served_release(slot, served);
    served_slot_destroy(slot);
}

/* More than there is, of memory that is taken as it is needed: serve starts, and is killed later.
 * remedy: what to do. */
static bool is_beyond_memory(struct doctor_finding *finding, const char *key, double bytes,
                             const char *remedy)
{
    const double mib = 1 << 20;
    int64_t machine = vitals_machine_bytes();

    if (machine == 0 || bytes <= (double)machine)
        return false;
    doctor_warn(finding, remedy, "%s may take %.0f MiB, this machine has %.0f MiB", key,
                bytes / mib, (double)machine / mib);
    return true;
}

static void check_cached_users(const struct config *config, struct doctor_finding *finding)
{
    double users = (double)config_int(config, "serve.cache_users");

    if (users == 0)
        doctor_skip(finding, "serve.cache_users is 0: without Redis there are no histories");
    else if (!is_beyond_memory(finding, "serve.cache_users", users * CACHED_USER_BYTES,
                               "set it to fewer"))
        doctor_ok(finding, "%.0f users, up to %.0f MiB", users,
                  users * CACHED_USER_BYTES / (1 << 20));
}

/* Whether serve.history_cache fits the users of this model; on a GPU it is memory of that. */
static void check_histories(const struct config *config, struct doctor_finding *finding)
{
    int64_t bytes = config_size_bytes(config, "serve.history_cache");
    int64_t events = config_int(config, "features.sequence_max"), users;
    const struct served *served;
    struct served_slot *slot;
    struct error err;

    if (bytes == 0) {
        doctor_skip(finding, "serve.history_cache is 0: each request computes its whole history");
        return;
    }
    if (history_cache_check(config, &err) != OK) {
        doctor_fail(finding, "set it as `freshet config check` says: serve will not start", "%s",
                    err.text);
        return;
    }
    if (is_beyond_memory(finding, "serve.history_cache", (double)bytes,
                         "set it to less, unless a GPU scores, whose memory it is"))
        return;
    slot = load(config, &served, finding);
    if (slot == NULL || served->model == NULL) {
        doctor_skip(finding, "there is no model yet");
    } else {
        users = history_cache_users(bytes, model_config(served->model), events);
        if (users == 0)
            doctor_warn(finding, "set serve.history_cache to more, or to 0",
                        "serve.history_cache has no room for one user with %lld events",
                        (long long)events);
        else if (users == INT64_MAX)
            doctor_warn(finding, "set serve.history_cache to 0",
                        "serve.history_cache keeps nothing of %lld events (features.sequence_max), "
                        "which are less than a page of %d",
                        (long long)events, KV_PAGE_ROWS);
        else
            doctor_ok(finding, "has room for %lld users with %lld events each", (long long)users,
                      (long long)events);
    }
    if (slot != NULL)
        served_release(slot, served);
    served_slot_destroy(slot);
}

const struct doctor_check serve_doctor_checks[] = {
    {"model", "the current bundle verifies, and its scalars are this build's", check_model, NULL},
    {"model-dataset", "the current bundle and Redis are of one data set", check_dataset, "redis"},
    {"history-cache", "serve.history_cache has room for users of the current model",
     check_histories, "model"},
    {"user-cache", "serve.cache_users fits into memory", check_cached_users, NULL},
    {0},
};
