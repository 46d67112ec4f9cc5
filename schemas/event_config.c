/* schemas/event_config.c - the section `events` of the configuration. */
#include "schemas/event.h"

#include "schemas/event_private.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAP_PREFIX     "events.mapping.action.map"
#define ACTIONS_PREFIX "events.actions"
#define KEY_BYTES      256

#define REGISTRY_BYTES_MAX 512

const struct config_row events_config_rows[] = {
    {"events.mapping.user", CONFIG_TEXT, "/user", 0, 0, NULL,
     "where the user's id stands in an event: a JSON pointer, like /actor/id"},
    {"events.mapping.item", CONFIG_TEXT, "/item", 0, 0, NULL, "where the item's id stands"},
    {"events.mapping.time.path", CONFIG_TEXT, "/ts", 0, 0, NULL,
     "where the time of the event stands"},
    {"events.mapping.time.unit", CONFIG_CHOICE, "ms", 0, 0, "ms|s|us|iso",
     "what that time counts since 1970 (ms, s, us), or iso for a text like "
     "2024-05-01T12:00:00.000Z; it is never guessed"},
    {"events.mapping.action.path", CONFIG_TEXT, "/type", 0, 0, NULL,
     "where the name of the action stands"},
    {"events.mapping.action.default", CONFIG_TEXT, "", 0, 0, NULL,
     "action of events that name none; empty: they are refused"},
    {"events.mapping.action.map.*", CONFIG_TEXT, NULL, 0, 0, NULL,
     "what one of your action names means: an action below, impression, or erase"},
    {"events.mapping.request_id", CONFIG_TEXT, "/request_id", 0, 0, NULL,
     "where the id of the answered request stands, which joins a label to its list"},
    {"events.mapping.event_id", CONFIG_TEXT, "/event_id", 0, 0, NULL,
     "where an id of the event stands; it is only logged"},
    {"events.mapping.rows", CONFIG_TEXT, "/items", 0, 0, NULL,
     "where an impression's list of item ids stands, in the order shown"},
    {"events.mapping.trace", CONFIG_TEXT, "/trace", 0, 0, NULL,
     "where the trace stands that came with the answer"},
    {"events.actions.*.code", CONFIG_INT, NULL, 1, 62, NULL,
     "number of the action in stored values: never give it to another action. While no action is "
     "named these are built in: view 1, click 2, like 3, purchase 4, share 5, hide 6, rate 7 (all "
     "of "
     "the history; those but view and hide are labels of weight 1, hide is negative)"},
    {"events.actions.*.history", CONFIG_BOOL, "true", 0, 0, NULL,
     "whether the action enters the user's sequence"},
    {"events.actions.*.label", CONFIG_REAL, "0", 0, 1000, NULL,
     "weight as a label of an impression; 0: it is none"},
    {"events.actions.*.negative", CONFIG_BOOL, "false", 0, 0, NULL,
     "the item is not shown to this user again while the action is in the sequence"},
    {"events.actions.*.exposure", CONFIG_BOOL, "false", 0, 0, NULL,
     "a single such event counts as an impression of one item"},
    {"events.unknown_action", CONFIG_CHOICE, "refuse", 0, 0, "refuse|ignore",
     "an action that is not named here goes to the dead letters (refuse), or is counted and "
     "changes nothing (ignore)"},
    {"events.key", CONFIG_CHOICE, "user", 0, 0, "user|any",
     "user: a record whose key is not its user is refused, because only the key keeps a user's "
     "events in one partition and in order"},
    {"events.tombstone", CONFIG_CHOICE, "refuse", 0, 0, "refuse|erase",
     "a record without a value goes to the dead letters (refuse), or erases the user that its key "
     "names up to the record's timestamp, as `freshet erase` does (erase)"},
    {"events.format", CONFIG_CHOICE, "json", 0, 0, "json|avro|auto",
     "what a record holds: JSON, Avro in the frame of a schema registry (a zero byte, the schema's "
     "id, the datum), or either, told by its first byte"},
    {"events.registry", CONFIG_TEXT, "", 0, 0, NULL,
     "schema registry that knows the ids of Avro records, like http://127.0.0.1:8081"},
    {"events.registry_auth", CONFIG_SECRET, NULL, 0, 0, NULL,
     "user:password for it, where it asks for one"},
    {"events.schemas", CONFIG_TEXT, "", 0, 0, NULL,
     "folder with Avro schemas as ID.avsc; looked at before the registry, or in its place"},
    {"events.max_future_skew", CONFIG_DURATION, "5m", 0, 86400e3, NULL,
     "how far an event's time may be ahead of its record's timestamp"},
    {"events.max_bytes", CONFIG_BYTES, "256KiB", 256, EVENT_BYTES_MAX, NULL,
     "a longer record goes to the dead letters"},
    {NULL, CONFIG_TEXT, NULL, 0, 0, NULL, NULL},
};

/* "prefix.name.field" */
static enum status key_of(char key[KEY_BYTES], const char *prefix, const char *name,
                          const char *field, struct error *err)
{
    int bytes = snprintf(key, KEY_BYTES, "%s.%s%s%s", prefix, name, field[0] == 0 ? "" : ".",
                         field);

    if (bytes < 0 || bytes >= KEY_BYTES)
        return error_set(err, ERR_CONFIG, "name \"%.64s...\" under %s is too long", name, prefix);
    return OK;
}

static enum status add_action(struct event_schema *schema, const struct config *config,
                              const char *name, struct error *err)
{
    struct action_row row = {0};
    char key[KEY_BYTES];
    enum status status;

    if (strlen(name) >= ACTION_NAME_MAX)
        return error_set(err, ERR_CONFIG, "action \"%s\" has a name of more than %d bytes", name,
                         ACTION_NAME_MAX - 1);
    (void)snprintf(row.name, sizeof row.name, "%s", name);
    status = key_of(key, ACTIONS_PREFIX, name, "code", err);
    if (status != OK)
        return status;
    if (!config_given(config, key))
        return error_set(err, ERR_CONFIG, "action \"%s\" has no code: give it one of 1..62", name);
    row.code = (uint8_t)config_int(config, key);
    status = key_of(key, ACTIONS_PREFIX, name, "history", err);
    if (status != OK)
        return status;
    row.history = config_bool(config, key);
    status = key_of(key, ACTIONS_PREFIX, name, "label", err);
    if (status != OK)
        return status;
    row.label = (float)config_real(config, key);
    status = key_of(key, ACTIONS_PREFIX, name, "negative", err);
    if (status != OK)
        return status;
    row.negative = config_bool(config, key);
    status = key_of(key, ACTIONS_PREFIX, name, "exposure", err);
    if (status != OK)
        return status;
    row.exposure = config_bool(config, key);
    return event_schema_add_action(schema, &row, err);
}

static enum status add_actions(struct event_schema *schema, const struct config *config,
                               struct error *err)
{
    enum status status = OK;
    int count = 0;
    const char *name;

    while (status == OK && (name = config_name(config, ACTIONS_PREFIX, count)) != NULL) {
        status = add_action(schema, config, name, err);
        count++;
    }
    if (status == OK && count == 0)
        status = event_schema_add_defaults(schema, err);
    return status;
}

static enum status add_map(struct event_schema *schema, const struct config *config,
                           struct error *err)
{
    enum status status = OK;
    const char *name;

    for (int i = 0; status == OK && (name = config_name(config, MAP_PREFIX, i)) != NULL; i++) {
        char key[KEY_BYTES];
        enum event_kind kind;
        uint8_t action;

        status = key_of(key, MAP_PREFIX, name, "", err);
        if (status != OK)
            return status;
        if (!event_schema_resolve(schema, text_of(config_text(config, key)), &kind, &action))
            return error_set(err, ERR_CONFIG,
                             "%s: \"%s\" is no action of events.actions, nor impression, nor erase",
                             key, config_text(config, key));
        status = event_schema_add_name(schema, text_of(name), kind, action, err);
    }
    return status;
}

static enum status set_limits(struct event_schema *schema, const struct config *config,
                              struct error *err)
{
    const char *otherwise = config_text(config, "events.mapping.action.default");

    schema->unknown_ignored = strcmp(config_text(config, "events.unknown_action"), "ignore") == 0;
    schema->any_key = strcmp(config_text(config, "events.key"), "any") == 0;
    schema->tombstone_erases = strcmp(config_text(config, "events.tombstone"), "erase") == 0;
    schema->max_bytes = (size_t)config_size_bytes(config, "events.max_bytes");
    schema->max_future_skew_ms = config_duration_ms(config, "events.max_future_skew");
    if (otherwise[0] != 0) {
        enum event_kind kind;
        uint8_t action;

        if (!event_schema_resolve(schema, text_of(otherwise), &kind, &action))
            return error_set(err, ERR_CONFIG, "events.mapping.action.default: \"%s\" is no action",
                             otherwise);
        schema->otherwise = (struct event_name){
            .bytes = 1, .kind = (uint8_t)kind, .action = action};
    }
    return OK;
}

static enum status keep_text(char **into, const struct config *config, const char *key,
                             struct error *err)
{
    const char *given = config_text(config, key);

    if (given[0] == 0)
        return OK;
    *into = strdup(given);
    return *into != NULL ? OK : error_set(err, ERR_NOMEM, "no memory for %s", key);
}

/* host[:port] of an address, behind its scheme. */
static bool authority_valid(const char *at)
{
    size_t bytes = strcspn(at, "/?#");
    const char *host_end = at[0] == '[' ? memchr(at, ']', bytes) : at + strcspn(at, ":/?#");
    const char *end = at + bytes;
    long port = 0;

    if (host_end == NULL || host_end == at)
        return false;
    host_end += at[0] == '[';
    for (const char *c = at; c < end; c++)
        if ((unsigned char)*c <= ' ' || (unsigned char)*c >= 127)
            return false;
    if (host_end == end)
        return true;
    if (*host_end++ != ':' || host_end == end)
        return false;
    for (; host_end < end; host_end++) {
        if (*host_end < '0' || *host_end > '9' || port > 65535)
            return false;
        port = 10 * port + (*host_end - '0');
    }
    return port >= 1 && port <= 65535;
}

/* The address is told in logs and by `config show`, and so holds no secret. */
static enum status check_registry(const char *address, struct error *err)
{
    size_t scheme = strncmp(address, "http://", 7) == 0    ? 7
                    : strncmp(address, "https://", 8) == 0 ? 8
                                                           : 0;

    if (scheme == 0)
        return error_set(err, ERR_CONFIG, "events.registry is no http or https address");
    if (strlen(address) > REGISTRY_BYTES_MAX)
        return error_set(err, ERR_CONFIG, "events.registry is longer than %d bytes",
                         REGISTRY_BYTES_MAX);
    if (memchr(address, '@', scheme + strcspn(address + scheme, "/?#")) != NULL)
        return error_set(err, ERR_CONFIG,
                         "events.registry holds a user: put user:password into a file, and name it "
                         "in events.registry_auth");
    if (!authority_valid(address + scheme))
        return error_set(err, ERR_CONFIG,
                         "events.registry: \"%.80s\" names no host and port; write "
                         "http://host:8081",
                         address);
    return OK;
}

static enum status set_format(struct event_schema *schema, const struct config *config,
                              struct error *err)
{
    static const char *const formats[] = {"json", "avro", "auto"};
    enum status status;

    for (int format = 0; format < 3; format++)
        if (strcmp(config_text(config, "events.format"), formats[format]) == 0)
            schema->format = (enum event_format)format;
    if (schema->format == FORMAT_JSON)
        return OK;
    if (config_given(config, "events.registry_auth"))
        schema->config = config;
    status = keep_text(&schema->registry, config, "events.registry", err);
    if (status == OK)
        status = keep_text(&schema->schemas, config, "events.schemas", err);
    if (status != OK)
        return status;
    if (schema->registry == NULL && schema->schemas == NULL)
        return error_set(err, ERR_CONFIG,
                         "events.format: %s needs events.registry or events.schemas",
                         formats[schema->format]);
    return schema->registry == NULL ? OK : check_registry(schema->registry, err);
}

enum status event_schema_create(struct event_schema **schema, const struct config *config,
                                struct error *err)
{
    static const char *const units[] = {"ms", "s", "us", "iso"};
    struct event_mapping mapping = {
        .pointers = {[PATH_USER] = config_text(config, "events.mapping.user"),
                     [PATH_ITEM] = config_text(config, "events.mapping.item"),
                     [PATH_TIME] = config_text(config, "events.mapping.time.path"),
                     [PATH_ACTION] = config_text(config, "events.mapping.action.path"),
                     [PATH_REQUEST_ID] = config_text(config, "events.mapping.request_id"),
                     [PATH_EVENT_ID] = config_text(config, "events.mapping.event_id"),
                     [PATH_ROWS] = config_text(config, "events.mapping.rows"),
                     [PATH_TRACE] = config_text(config, "events.mapping.trace")}};
    struct event_schema *made = event_schema_new();
    enum status status;

    *schema = NULL;
    if (made == NULL)
        return error_set(err, ERR_NOMEM, "no memory for an event schema");
    for (int unit = 0; unit < 4; unit++)
        if (strcmp(config_text(config, "events.mapping.time.unit"), units[unit]) == 0)
            mapping.unit = (enum time_unit)unit;
    status = add_actions(made, config, err);
    if (status != OK)
        goto done;
    status = add_map(made, config, err);
    if (status != OK)
        goto done;
    status = set_limits(made, config, err);
    if (status != OK)
        goto done;
    status = set_format(made, config, err);
    if (status != OK)
        goto done;
    status = event_schema_finish(made, &mapping, err);
    if (status != OK) {
        (void)error_prefix(err, "events.mapping");
        goto done;
    }
    *schema = made;
    made = NULL;
done:
    event_schema_destroy(made);
    return status;
}

/* ---- what config check asks ---------------------------------------------------------------- */

struct asked {
    const struct config *config;
    struct event_schema *schema; /* with the actions that are good */
    config_tell *tell;
    void *context;
    int told;
};

static void tell(struct asked *a, const char *key, const char *why)
{
    char text[400];
    bool named = strncmp(why, key, strlen(key)) == 0;

    (void)snprintf(text, sizeof text, "%s%s%s", named ? "" : key, named ? "" : ": ", why);
    a->tell(a->context, key, text);
    a->told++;
}

/* An empty path is one that is not looked for, where that is allowed; json_paths says. */
static void ask_paths(struct asked *a)
{
    static const char *const keys[PATH_COUNT] = {[PATH_USER] = "events.mapping.user",
                                                 [PATH_ITEM] = "events.mapping.item",
                                                 [PATH_TIME] = "events.mapping.time.path",
                                                 [PATH_ACTION] = "events.mapping.action.path",
                                                 [PATH_REQUEST_ID] = "events.mapping.request_id",
                                                 [PATH_EVENT_ID] = "events.mapping.event_id",
                                                 [PATH_ROWS] = "events.mapping.rows",
                                                 [PATH_TRACE] = "events.mapping.trace"};

    for (int i = 0; i < PATH_COUNT; i++) {
        const char *pointer = config_text(a->config, keys[i]);
        struct json_paths *paths = NULL;
        struct error err;

        if (strlen(pointer) > EVENT_POINTER_MAX)
            tell(a, keys[i], "a path of more bytes than there may be");
        else if (json_paths_create(&paths, &pointer, 1, &err) != OK)
            tell(a, keys[i], err.text);
        json_paths_destroy(paths);
    }
}

static void ask_actions(struct asked *a)
{
    struct error err;
    const char *name;
    int count = 0;

    for (; (name = config_name(a->config, ACTIONS_PREFIX, count)) != NULL; count++) {
        char key[KEY_BYTES];

        if (key_of(key, ACTIONS_PREFIX, name, "code", &err) != OK)
            tell(a, ACTIONS_PREFIX, err.text);
        else if (add_action(a->schema, a->config, name, &err) != OK)
            tell(a, key, err.text);
    }
    if (count == 0 && event_schema_add_defaults(a->schema, &err) != OK)
        tell(a, ACTIONS_PREFIX, err.text);
}

/* An action that is named but refused has been told of already. */
static bool is_action(const struct asked *a, const char *meant)
{
    enum event_kind kind;
    uint8_t action;
    const char *name;

    if (event_schema_resolve(a->schema, text_of(meant), &kind, &action))
        return true;
    for (int i = 0; (name = config_name(a->config, ACTIONS_PREFIX, i)) != NULL; i++)
        if (strcmp(name, meant) == 0)
            return true;
    return false;
}

static void ask_meaning(struct asked *a, const char *key)
{
    const char *meant = config_text(a->config, key);
    char text[200];

    if (is_action(a, meant))
        return;
    (void)snprintf(text, sizeof text,
                   "\"%.80s\" is no action of events.actions, nor impression, nor erase", meant);
    tell(a, key, text);
}

static void ask_map(struct asked *a)
{
    struct error err;
    const char *name;

    for (int i = 0; (name = config_name(a->config, MAP_PREFIX, i)) != NULL; i++) {
        char key[KEY_BYTES];

        if (key_of(key, MAP_PREFIX, name, "", &err) != OK)
            tell(a, MAP_PREFIX, err.text);
        else
            ask_meaning(a, key);
    }
    if (config_text(a->config, "events.mapping.action.default")[0] != 0)
        ask_meaning(a, "events.mapping.action.default");
}

/* Also while events.format is json: a wrong address lies in wait for the day it is not. */
static void ask_schemas(struct asked *a)
{
    const char *registry = config_text(a->config, "events.registry");
    const char *folder = config_text(a->config, "events.schemas");
    struct stat info;
    struct error err;
    char text[200];

    if (registry[0] != 0 && check_registry(registry, &err) != OK)
        tell(a, "events.registry", err.text);
    if (folder[0] == 0)
        return;
    if (stat(folder, &info) != 0)
        (void)snprintf(text, sizeof text, "\"%.100s\": %s", folder, strerror(errno));
    else if (!S_ISDIR(info.st_mode))
        (void)snprintf(text, sizeof text, "\"%.100s\" is no folder", folder);
    else if (access(folder, R_OK | X_OK) != 0)
        (void)snprintf(text, sizeof text, "\"%.100s\": %s", folder, strerror(errno));
    else
        return;
    tell(a, "events.schemas", text);
}

static void check_events(const struct config *config, config_tell *tell_of, void *context)
{
    struct asked a = {config, event_schema_new(), tell_of, context, 0};
    struct event_schema *schema = NULL;
    struct error err;

    if (a.schema == NULL)
        return; /* out of memory says nothing of the configuration */
    ask_paths(&a);
    ask_actions(&a);
    ask_map(&a);
    ask_schemas(&a);
    /* What only the whole shows; its first words name the key. */
    if (a.told == 0 && event_schema_create(&schema, config, &err) != OK)
        tell(&a, strncmp(err.text, "events.format", 13) == 0 ? "events.format" : "events",
             err.text);
    event_schema_destroy(schema);
    event_schema_destroy(a.schema);
}

const struct config_rule events_config_rules[] = {
    {.key = "events", .check_each = check_events},
    {.key = NULL},
};
