/* ingest/verify_items.c - counts in an array beside the tables' own. */
#include "ingest/verify_items.h"

#include "features/item_tables.h"
#include "features/list_memory.h"
#include "features/robot.h"
#include "features/user_store.h"
#include "ingest/topic_reader.h"
#include "ops/command.h"
#include "ops/file.h"
#include "ops/hash.h"
#include "ops/map64.h"
#include "schemas/bundle.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define PATH_BYTES 4096
#define USERS_MAX  ((size_t)1 << 28)
#define MIXED      UINT32_MAX /* as a user's partition: several */

struct item_count {
    int64_t clicks, shown;
    int64_t masked; /* clicks beyond a limit, not among them */
    bool mixed;     /* a user of two partitions touched it */
};

struct range {
    int32_t partition;
    int64_t from, to;
};

struct user_memory {
    struct list_memory lists;
    uint32_t partition; /* place in ranges, or MIXED */
};

struct verify_items {
    const struct redis_dataset *dataset;
    struct item_tables *tables;
    struct range ranges[ITEM_FILE_OFFSETS_MAX];
    int ranges_count;
    struct item_count *list; /* (items of the tables) */

    /* one pass */
    int passes, pass;
    struct robot_limits robots;
    struct event_decoder *decoder;
    struct user_store *store;
    struct map64 *by_user;
    struct user_memory *users;
    uint32_t users_count, users_room;
    int64_t watermarks[ITEM_FILE_OFFSETS_MAX];
    struct map64 *strangers; /* items of the log that the tables do not have */
    struct verify_history *history;
    struct verify_items_counts *counts;
};

/* ---- opening ---- */

/* Where the trainer began, as the bundle's manifest says. */
static enum status take_manifest(struct verify_items *v, const char *path, const char *topic,
                                 struct error *err)
{
    struct manifest *manifest = malloc(sizeof *manifest);
    char *text = NULL;
    size_t bytes = 0;
    enum status status;

    if (manifest == NULL)
        return error_set(err, ERR_NOMEM, "no memory for a manifest");
    status = file_read(path, MANIFEST_BYTES_MAX, &text, &bytes, err);
    if (status == ERR_NOT_FOUND) {
        free(manifest);
        return OK; /* of a checkpoint */
    }
    if (status == OK)
        status = manifest_decode(manifest, (struct text){text, bytes}, err);
    for (int i = 0; status == OK && i < manifest->offsets_count; i++)
        for (int r = 0; r < v->ranges_count; r++)
            if (v->ranges[r].partition == manifest->offsets[i].partition &&
                strncmp(manifest->offsets[i].topic, topic, sizeof manifest->offsets[i].topic - 1) ==
                    0)
                v->ranges[r].from = manifest->offsets[i].from;
    free(text);
    free(manifest);
    return status;
}

static enum status take_ranges(struct verify_items *v, const struct offsets *offsets,
                               struct error *err)
{
    int count;
    const struct item_file_offset *ends = item_tables_offsets(v->tables, &count);

    if (count == 0)
        return error_set(err, ERR_CONFLICT, "the item tables do not say up to where they count");
    for (int i = 0; i < count; i++) {
        struct range *range = &v->ranges[v->ranges_count++];

        *range = (struct range){ends[i].partition, 0, ends[i].next};
        for (int p = 0; p < offsets->count; p++)
            if (offsets->list[p].partition == range->partition)
                range->from = offsets->list[p].start;
    }
    return OK;
}

/* The folder that `path` is, or, of a file, that it lies in. */
static void folder_of(const char *path, bool is_folder, char into[PATH_BYTES])
{
    const char *slash = strrchr(path, '/');

    if (is_folder)
        (void)snprintf(into, PATH_BYTES, "%s", path);
    else if (slash == NULL)
        (void)snprintf(into, PATH_BYTES, ".");
    else
        (void)snprintf(into, PATH_BYTES, "%.*s", (int)(slash - path), path);
}

/* The folder of all bundles, and the file `current` in it, only name one: that one is to be given.
 */
static enum status check_pointer(const char *path, bool is_folder, struct error *err)
{
    const char *slash = strrchr(path, '/');
    char root[PATH_BYTES], version[MODEL_VERSION_MAX];
    struct error ignored;

    if (!is_folder && strcmp(slash == NULL ? path : slash + 1, "current") != 0)
        return OK;
    folder_of(path, is_folder, root);
    if (bundle_current(root, version, &ignored) != OK)
        return OK;
    return error_set(err, ERR_CONFIG,
                     "\"%.80s\" only names the current bundle: give its folder, --items %.60s/%s",
                     path, root, version);
}

enum status verify_items_open(struct verify_items **items, const char *path, const char *topic,
                              const struct redis_dataset *dataset, const struct offsets *offsets,
                              struct error *err)
{
    struct verify_items *v = calloc(1, sizeof *v);
    char file[PATH_BYTES], manifest[PATH_BYTES] = "";
    struct stat what;
    enum status status;

    *items = NULL;
    if (v == NULL)
        return error_set(err, ERR_NOMEM, "no memory for item tables");
    v->dataset = dataset;
    bool is_folder = stat(path, &what) == 0 && S_ISDIR(what.st_mode);
    status = check_pointer(path, is_folder, err);
    if (status != OK) {
        free(v);
        return status;
    }
    (void)snprintf(file, sizeof file, "%s", path);
    if (is_folder) {
        (void)snprintf(file, sizeof file, "%s/%s", path, BUNDLE_ITEMS_NAME);
        (void)snprintf(manifest, sizeof manifest, "%s/%s", path, MANIFEST_NAME);
    }
    status = item_tables_load(&v->tables, file, err);
    if (status == OK && item_tables_seed(v->tables) != dataset->rules.seed)
        status = error_set(err, ERR_CONFLICT, "\"%s\" is of another data set", file);
    if (status == OK)
        status = take_ranges(v, offsets, err);
    if (status == OK && manifest[0] != '\0')
        status = take_manifest(v, manifest, topic, err);
    if (status == OK) {
        v->list = calloc((size_t)item_tables_count(v->tables) + 1, sizeof *v->list);
        v->strangers = map64_create(0, USERS_MAX);
        if (v->list == NULL || v->strangers == NULL)
            status = error_set(err, ERR_NOMEM, "no memory to count items");
    }
    if (status != OK) {
        verify_items_close(v);
        return status;
    }
    *items = v;
    return OK;
}

void verify_items_close(struct verify_items *items)
{
    if (items == NULL)
        return;
    item_tables_destroy(items->tables);
    map64_destroy(items->strangers);
    free(items->list);
    free(items);
}

bool verify_items_range(const struct verify_items *items, int32_t partition, int64_t *from,
                        int64_t *to)
{
    for (int i = 0; i < items->ranges_count; i++)
        if (items->ranges[i].partition == partition) {
            *from = items->ranges[i].from;
            *to = items->ranges[i].to;
            return true;
        }
    return false;
}

/* ---- counting ---- */

static enum status choose(void *context, int32_t partition, struct topic_range *range,
                          struct error *err)
{
    int64_t from, to;

    if (!verify_items_range(context, partition, &from, &to)) {
        range->to = range->from;
        return OK;
    }
    if (range->low > from)
        return error_set(err, ERR_CONFLICT,
                         "partition %d begins at %" PRId64 " now, the tables count from %" PRId64
                         ": retention has taken what counting needs",
                         (int)partition, range->low, from);
    if (range->high < to)
        return error_set(err, ERR_CONFLICT,
                         "partition %d ends at %" PRId64 ", the tables count up to %" PRId64
                         ": it is another log",
                         (int)partition, range->high, to);
    range->from = from;
    range->to = to;
    return OK;
}

static struct user_memory *user_of(struct verify_items *v, uint64_t user, uint32_t place)
{
    uint32_t at;

    if (!map64_get(v->by_user, user, &at)) {
        if (v->users_count == v->users_room) {
            uint32_t room = v->users_room == 0 ? 1024 : 2 * v->users_room;
            struct user_memory *grown = realloc(v->users, room * sizeof *grown);

            if (grown == NULL)
                return NULL;
            v->users = grown;
            v->users_room = room;
        }
        if (map64_put(v->by_user, user, v->users_count) != OK)
            return NULL;
        at = v->users_count++;
        v->users[at] = (struct user_memory){.partition = place};
    }
    if (v->users[at].partition != place)
        v->users[at].partition = MIXED;
    return &v->users[at];
}

/* One more of an item; *count is of the tables' list, or told as a stranger. */
static enum status count_one(struct verify_items *v, struct text name, bool click, bool mixed,
                             struct error *err)
{
    uint64_t hash = rules_item_hash(&v->dataset->rules, name);
    int32_t index = item_tables_find(v->tables, hash);

    if (index == ITEM_NONE) {
        if (map64_get(v->strangers, hash, NULL))
            return OK;
        v->counts->different++;
        verify_history_add(v->history, name, true, -1, "is in the log, but not in the tables");
        return map64_put(v->strangers, hash, 1) == OK
                   ? OK
                   : error_set(err, ERR_NOMEM, "no memory to count items");
    }
    *(click ? &v->list[index].clicks : &v->list[index].shown) += 1;
    v->list[index].mixed = v->list[index].mixed || mixed;
    return OK;
}

/* Does the trainer mask this choice, which has just entered its user's sequence? */
static bool is_masked(struct verify_items *v, const struct event *event)
{
    const struct user_value *value = user_store_get(v->store, event->user);
    const struct user_entry entry = {.item = rules_item_hash(&v->dataset->rules, event->item),
                                     .time_ms = event->time_ms,
                                     .action = event->action};
    int before = 0;

    while (value != NULL && before < value->count &&
           user_entry_compare(&value->entries[before], &entry) < 0)
        before++;
    return value != NULL && robot_chose(value->entries, before, &entry, &v->robots) != ROBOT_NONE;
}

/* A choice that entered. Of a user of two partitions the trainer may have judged otherwise. */
static enum status count_choice(struct verify_items *v, const struct event *event, bool mixed,
                                struct error *err)
{
    int32_t index;

    if (!is_masked(v, event))
        return count_one(v, event->item, true, mixed, err);
    v->counts->masked++;
    index = item_tables_find(v->tables, rules_item_hash(&v->dataset->rules, event->item));
    if (index == ITEM_NONE)
        return OK;
    v->list[index].masked++;
    v->list[index].mixed = v->list[index].mixed || mixed;
    return OK;
}

static enum status count_event(struct verify_items *v, const struct event *event,
                               enum outcome outcome, bool replayed, struct user_memory *user,
                               struct error *err)
{
    const struct action_row *action = &v->dataset->rules.actions[event->action];
    bool mixed = user->partition == MIXED;
    enum status status = OK;

    if (event->kind == EVENT_ERASE)
        user->lists = (struct list_memory){0}; /* as the trainer does */
    if (event->kind == EVENT_ACTION && outcome == OUTCOME_APPLIED && action->history &&
        !action->negative)
        return count_choice(v, event, mixed, err);
    if (event->kind != EVENT_IMPRESSION || outcome == OUTCOME_ERASED ||
        (outcome == OUTCOME_DROPPED && !replayed) ||
        !list_memory_new(&user->lists, list_memory_id(&v->dataset->rules, event)))
        return OK;
    for (int i = 0; i < event->rows_count && status == OK; i++)
        status = count_one(v, event->rows[i], false, mixed, err);
    return status;
}

static enum status visit(void *context, const struct kafka_record *record, struct error *err)
{
    struct verify_items *v = context;
    const struct rules *rules = &v->dataset->rules;
    struct event event;
    enum refusal why;
    enum outcome outcome;
    struct user_memory *user;
    uint64_t hash;
    int place = 0;
    enum status status = event_decode_record(v->decoder, record->key, record->value,
                                             record->timestamp_ms, &event, &why, err);

    v->counts->records += v->pass == 0;
    if (status != OK) /* without a refusal it says nothing of the record */
        return why == REFUSAL_NONE ? status : OK;
    while (v->ranges[place].partition != record->partition)
        place++;
    hash = rules_user_hash(rules, event.user);
    if (hash / (uint64_t)v->dataset->shards % (uint64_t)v->passes == (uint64_t)v->pass) {
        user = user_of(v, hash, (uint32_t)place);
        if (user == NULL)
            return error_set(err, ERR_NOMEM, "no memory for another user");
        status = user_store_apply(v->store, &event, v->watermarks[place], record->replayed, NULL,
                                  NULL, &outcome, err);
        if (status == OK)
            status = count_event(v, &event, outcome, record->replayed, user, err);
    } else {
        status = OK;
    }
    v->watermarks[place] = rules_watermark(v->watermarks[place], event.time_ms,
                                           record->timestamp_ms, v->dataset->max_future_skew_ms);
    return status;
}

static enum status run_pass(struct verify_items *v, const struct config *config, struct error *err)
{
    const struct topic_reader_options options = {
        .config = config,
        .topic = config_text(config, "kafka.topics.events"),
        .choose = choose,
        .visit = visit,
        .stopping = command_stopping,
        .context = v};
    enum status status = user_store_create(&v->store, &v->dataset->rules, err);

    v->by_user = map64_create(0, USERS_MAX);
    if (status == OK && v->by_user == NULL)
        status = error_set(err, ERR_NOMEM, "no memory to count items");
    for (int i = 0; i < v->ranges_count; i++)
        v->watermarks[i] = INT64_MIN;
    if (status == OK)
        status = topic_reader_read(&options, NULL, err);
    user_store_destroy(v->store);
    map64_destroy(v->by_user);
    free(v->users);
    v->store = NULL;
    v->by_user = NULL;
    v->users = NULL;
    v->users_count = v->users_room = 0;
    return status;
}

/* ---- comparing ---- */

static void compare(struct verify_items *v)
{
    int count = item_tables_count(v->tables);

    for (int32_t i = 0; i < count; i++) {
        const struct item_count *mine = &v->list[i];
        int64_t clicks = item_tables_clicks(v->tables, i);
        int64_t shown = item_tables_shown(v->tables, i);
        struct text name = item_tables_name(v->tables, i);
        char what[200], hex[24];
        bool by_limits;

        v->counts->items++;
        if (clicks == mine->clicks && shown == mine->shown) {
            v->counts->equal++;
            continue;
        }
        if (mine->mixed) {
            v->counts->unjudged++;
            continue;
        }
        v->counts->different++;
        by_limits = shown == mine->shown && clicks > mine->clicks &&
                    clicks <= mine->clicks + mine->masked;
        v->counts->by_limits += by_limits;
        (void)snprintf(hex, sizeof hex, "#%016" PRIx64, item_tables_hash(v->tables, i));
        (void)snprintf(what, sizeof what,
                       "differs (tables: %" PRId64 " choices, shown %" PRId64 "; log: %" PRId64
                       ", %" PRId64 "%s)",
                       clicks, shown, mine->clicks, mine->shown,
                       by_limits ? ", without choices beyond a limit" : "");
        verify_history_add(v->history, name.bytes > 0 ? name : text_of(hex), true, -1, what);
    }
}

enum status verify_items_run(struct verify_items *items, const struct config *config,
                             const struct event_schema *schema, int passes,
                             const struct robot_limits *robots, struct verify_history *history,
                             struct verify_items_counts *counts, struct error *err)
{
    enum status status = event_decoder_create(&items->decoder, schema, err);

    if (status == OK)
        event_decoder_insist(items->decoder, EVENT_PATIENCE_MS);
    *counts = (struct verify_items_counts){0};
    items->history = history;
    items->counts = counts;
    items->passes = passes;
    items->robots = *robots;
    for (items->pass = 0; items->pass < passes && status == OK; items->pass++)
        status = run_pass(items, config, err);
    event_decoder_destroy(items->decoder);
    items->decoder = NULL;
    if (status == OK)
        compare(items);
    return status;
}

enum status verify_items_each(const struct verify_items *items,
                              enum status (*visit_item)(void *context, struct text name,
                                                        int64_t clicks, int64_t shown,
                                                        struct error *err),
                              void *context, struct error *err)
{
    enum status status = OK;
    int count = item_tables_count(items->tables);

    for (int32_t i = 0; i < count && status == OK; i++)
        status = visit_item(context, item_tables_name(items->tables, i),
                            item_tables_clicks(items->tables, i),
                            item_tables_shown(items->tables, i), err);
    return status;
}
