/*
 * ops/config_load.c - file, environment and --set, over the defaults, with all mistakes.
 *
 * Each source names a key and a text; assign() is the one place where they meet the row.
 * A mistake never ends the loading: an operator wants them all.
 */
#include "ops/config.h"

#include "ops/config_mistakes.h"
#include "ops/config_private.h"
#include "ops/config_yaml.h"
#include "ops/file.h"
#include "ops/levenshtein.h"

#include <assert.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROWS_MAX  2000
#define SLOTS_MAX 20000

extern char **environ;

struct loading {
    struct config *config;
    const char *path;
    struct config_mistakes *mistakes;
    struct config_mistakes *warnings;
    bool no_memory;
    int skipped_depth; /* depth of an unknown section whose leaves are not looked at; 0: none */
};

/* Where a value comes from. */
struct source {
    enum config_source kind;
    struct config_place place; /* of the value */
    const char *origin;        /* as `config show --origin` says it */
};

static struct config_place in_file(const struct loading *loading, int line, int column)
{
    return (struct config_place){loading->path, line, column};
}

/* ---- slots ---- */

static struct config_slot *add_slot(struct loading *loading, const struct config_row *row,
                                    const char *name)
{
    struct config *config = loading->config;
    char key[CONFIG_KEY_MAX];
    char why[CONFIG_WHY_BYTES];
    struct config_slot *slot;

    if (config->slots_count == config->slots_capacity) {
        int capacity = config->slots_capacity == 0 ? 128 : 2 * config->slots_capacity;
        struct config_slot *larger = config->slots_count >= SLOTS_MAX
                                         ? NULL
                                         : realloc(config->slots,
                                                   (size_t)capacity * sizeof *larger);

        if (larger == NULL) {
            loading->no_memory = true;
            return NULL;
        }
        config->slots = larger;
        config->slots_capacity = capacity;
    }
    config_key_of(key, row, name == NULL ? "" : name);
    slot = &config->slots[config->slots_count++];
    *slot = (struct config_slot){.row = row, .source = SOURCE_DEFAULT};
    slot->key = strdup(key);
    slot->name = name == NULL ? NULL : strdup(name);
    slot->text = row->fallback == NULL ? NULL : strdup(row->fallback);
    if (slot->key == NULL || (name != NULL && slot->name == NULL) ||
        (row->fallback != NULL && slot->text == NULL))
        loading->no_memory = true;
    if (row->fallback != NULL && !config_value_parse(row, row->fallback, &slot->value, why)) {
        (void)fprintf(stderr, "config row %s: its default %s\n", row->key, why);
        assert(!"a default that its own row refuses");
    }
    return slot;
}

/* All rows that share the "*" of this prefix exist for a name as soon as one does. place: of the
 * name, for what is missing below it. */
static void add_name(struct loading *loading, const struct config_row *row, const char *name,
                     struct config_place place)
{
    size_t prefix = (size_t)(strchr(row->key, '*') - row->key) + 1;
    char key[CONFIG_KEY_MAX];

    config_key_of(key, row, name);
    if (config_find(loading->config, key) != NULL)
        return;
    for (int i = 0; i < loading->config->rows_count; i++) {
        const struct config_row *other = loading->config->rows[i];
        struct config_slot *slot;

        if (strncmp(other->key, row->key, prefix) != 0)
            continue;
        slot = add_slot(loading, other, name);
        if (slot != NULL) {
            slot->line = place.line;
            slot->column = place.column;
        }
    }
}

static void assign(struct loading *loading, const struct config_row *row, const char *name,
                   const char *text, struct source from)
{
    char key[CONFIG_KEY_MAX];
    char why[CONFIG_WHY_BYTES];
    struct config_value value;
    struct config_slot *slot;
    bool good;

    config_key_of(key, row, name);
    good = config_value_parse(row, text, &value, why);
    if (good && config_hidden(text)) {
        good = false;
        (void)snprintf(why, sizeof why,
                       "holds *** in a password's place, as `freshet config show` prints it: write "
                       "the password again%s",
                       strncmp(key, "redis.", 6) == 0 ? ", or better leave it out and give "
                                                        "redis.password as file:PATH or env:NAME"
                                                      : ", or a reference, file:PATH or env:NAME");
    }
    if (!good)
        config_mistakes_add(loading->mistakes, from.place, key, "%s %s", key, why);
    if (strchr(row->key, '*') != NULL) /* also when its value is refused: the name is meant */
        add_name(loading, row, name, from.place);
    slot = config_find(loading->config, key);
    if (slot == NULL || !good)
        return; /* no memory, which is noted */
    free(slot->text);
    free(slot->origin);
    slot->text = strdup(text);
    slot->origin = strdup(from.origin);
    slot->source = from.kind;
    slot->line = from.place.line;
    slot->column = from.place.column;
    slot->value = value;
    if (slot->text == NULL || slot->origin == NULL)
        loading->no_memory = true;
}

/* ---- the nearest key ---- */

static const char *last_part(const char *key)
{
    const char *point = strrchr(key, '.');

    return point == NULL ? key : point + 1;
}

/* Ends key after that many parts; false when it has no more than those. */
static bool cut_to_section(char *key, int parts)
{
    for (char *at = strchr(key, '.'); at != NULL; at = strchr(at + 1, '.')) {
        if (--parts == 0) {
            *at = 0;
            return true;
        }
    }
    return false;
}

/* The one key that ends as this one: several would be a guess. */
static void suggest_by_end(const struct loading *loading, const char *typed,
                           char best[CONFIG_KEY_MAX])
{
    int found = 0;

    for (int i = 0; i < loading->config->rows_count; i++)
        if (strcmp(last_part(loading->config->rows[i]->key), last_part(typed)) == 0 && found++ == 0)
            (void)snprintf(best, CONFIG_KEY_MAX, "%s", loading->config->rows[i]->key);
    if (found > 1)
        best[0] = 0;
}

/* The key whose last two parts are these two the other way round, the plural of the one that leads
 * them: kafka.topics.events of events.topic. */
static void suggest_turned(const struct loading *loading, const char *typed,
                           char best[CONFIG_KEY_MAX])
{
    const char *behind = last_part(typed);
    char turned[CONFIG_KEY_MAX];

    if (behind == typed)
        return;
    (void)snprintf(turned, sizeof turned, ".%ss.%.*s", behind, (int)(behind - 1 - typed), typed);
    for (int i = 0; i < loading->config->rows_count; i++) {
        const char *key = loading->config->rows[i]->key;
        size_t bytes = strlen(key), end = strlen(turned);

        if (bytes > end && strcmp(key + bytes - end, turned) == 0)
            (void)snprintf(best, CONFIG_KEY_MAX, "%s", key);
    }
}

/* Known keys (sections, when section_parts is not 0) with the typed name in place of "*";
 * then, for a right key in a wrong section, the one with the same last part. Leaves ""
 * when nothing is near. */
static void suggest(const struct loading *loading, const char *typed, int section_parts, char *into,
                    size_t bytes)
{
    char best[CONFIG_KEY_MAX] = "";
    struct levenshtein_nearest nearest = {0};

    into[0] = 0;
    for (int i = 0; i < loading->config->rows_count; i++) {
        const struct config_row *row = loading->config->rows[i];
        const char *star = strchr(row->key, '*');
        char key[CONFIG_KEY_MAX], name[CONFIG_KEY_MAX] = "NAME";

        if (star != NULL && strncmp(typed, row->key, (size_t)(star - row->key)) == 0) {
            (void)snprintf(name, sizeof name, "%s", typed + (star - row->key));
            name[strcspn(name, ".")] = 0;
        }
        config_key_of(key, row, name);
        if (section_parts > 0 && !cut_to_section(key, section_parts))
            continue;
        levenshtein_offer(&nearest, typed, key);
        if (nearest.name == key) {
            memcpy(best, key, sizeof best);
            nearest.name = best;
        }
    }
    if (best[0] == 0 && section_parts == 0)
        suggest_by_end(loading, typed, best);
    if (best[0] == 0 && section_parts == 0)
        suggest_turned(loading, typed, best);
    if (best[0] != 0)
        (void)snprintf(into, bytes, "; did you mean \"%s\"?", best);
}

/* ---- the file ---- */

/* How a row's key stands to a path of names. */
enum fit { FIT_NONE, FIT_SECTION, FIT_LEAF };

static enum fit fit_row(const struct config_row *row, const char *const *parts, int depth,
                        const char **name)
{
    const char *at = row->key;

    *name = NULL;
    for (int i = 0; i < depth; i++) {
        size_t bytes = strcspn(at, ".");

        if (bytes == 1 && at[0] == '*')
            *name = parts[i];
        else if (strlen(parts[i]) != bytes || strncmp(at, parts[i], bytes) != 0)
            return FIT_NONE;
        at += bytes;
        if (*at == 0)
            return i + 1 == depth ? FIT_LEAF : FIT_NONE;
        at++;
    }
    return FIT_SECTION;
}

static const struct config_row *row_at(const struct loading *loading, enum fit wanted,
                                       const char *const *parts, int depth, const char **name)
{
    const struct config_row *with_star = NULL;
    const char *star_name = NULL;

    for (int i = 0; i < loading->config->rows_count; i++) {
        const struct config_row *row = loading->config->rows[i];

        if (fit_row(row, parts, depth, name) != wanted)
            continue;
        if (*name == NULL)
            return row; /* an exact row comes before one with "*" */
        if (with_star == NULL) {
            with_star = row;
            star_name = *name;
        }
    }
    *name = star_name;
    return with_star;
}

static void join(const struct config_yaml_leaf *leaf, char *into, size_t bytes)
{
    char raw[CONFIG_KEY_MAX] = "";
    size_t used = 0;

    for (int i = 0; i < leaf->depth && used < sizeof raw; i++)
        used += (size_t)snprintf(raw + used, sizeof raw - used, "%s%s", i == 0 ? "" : ".",
                                 leaf->parts[i]);
    config_value_printable(into, bytes, raw);
}

static void unknown(struct loading *loading, const struct config_yaml_leaf *leaf)
{
    char key[CONFIG_KEY_MAX], near[CONFIG_KEY_MAX + 32];
    bool section = leaf->kind == CONFIG_YAML_SECTION;

    join(leaf, key, sizeof key);
    suggest(loading, key, section ? leaf->depth : 0, near, sizeof near);
    config_mistakes_add(loading->mistakes, in_file(loading, leaf->line, leaf->column), "",
                        "unknown %s \"%s\"%s", section ? "section" : "key", key, near);
}

/* A text where a section stands is its path. */
static const struct config_row *path_row_at(const struct loading *loading,
                                            const struct config_yaml_leaf *leaf, const char **name)
{
    const char *parts[CONFIG_YAML_DEPTH_MAX + 1];

    if (leaf->depth >= CONFIG_YAML_DEPTH_MAX)
        return NULL;
    memcpy(parts, leaf->parts, (size_t)leaf->depth * sizeof parts[0]);
    parts[leaf->depth] = "path";
    return row_at(loading, FIT_LEAF, parts, leaf->depth + 1, name);
}

/* Why a leaf with a value cannot be one of this row; NULL: it can. */
static const char *unfit(const struct config_yaml_leaf *leaf, const struct config_row *row)
{
    if (row == NULL)
        return "is a section, not a value";
    if (leaf->kind == CONFIG_YAML_EMPTY)
        return "has no value (an empty text is \"\")";
    if (leaf->kind == CONFIG_YAML_LIST && row->type != CONFIG_TEXTS)
        return "takes one value, not a list";
    return NULL;
}

static void take_leaf(void *context, const struct config_yaml_leaf *leaf)
{
    struct loading *loading = context;
    struct config_place place = in_file(loading, leaf->value_line, leaf->value_column);
    char origin[600], key[CONFIG_KEY_MAX];
    const char *name, *section_name, *why;
    const struct config_row *row, *section;

    if (loading->skipped_depth > 0 && leaf->depth > loading->skipped_depth)
        return;
    loading->skipped_depth = 0;
    row = row_at(loading, FIT_LEAF, leaf->parts, leaf->depth, &name);
    section = row_at(loading, FIT_SECTION, leaf->parts, leaf->depth, &section_name);
    join(leaf, key, sizeof key);
    if (section != NULL && (leaf->kind == CONFIG_YAML_SECTION || leaf->kind == CONFIG_YAML_EMPTY)) {
        if (section_name != NULL)
            add_name(loading, section, section_name, in_file(loading, leaf->line, leaf->column));
        return;
    }
    if (leaf->kind == CONFIG_YAML_SECTION) {
        loading->skipped_depth = leaf->depth;
        if (row == NULL)
            unknown(loading, leaf);
        else
            config_mistakes_add(loading->mistakes, place, key, "%s is %s, not a section", key,
                                row->type == CONFIG_TEXTS ? "a list, as [name=value]"
                                                          : "a key with a value");
        return;
    }
    if (row == NULL && section != NULL)
        row = path_row_at(loading, leaf, &name);
    if (row == NULL && section == NULL) {
        unknown(loading, leaf);
        return;
    }
    why = unfit(leaf, row);
    if (why != NULL) {
        config_mistakes_add(loading->mistakes, place, key, "%s %s", key, why);
        return;
    }
    (void)snprintf(origin, sizeof origin, "%s:%d", loading->path, leaf->line);
    assign(loading, row, name == NULL ? "" : name, leaf->value,
           (struct source){SOURCE_FILE, place, origin});
}

static void take_mistake(void *context, int line, int column, const char *text)
{
    struct loading *loading = context;
    char shown[400];

    config_value_printable(shown, sizeof shown, text);
    config_mistakes_add(loading->mistakes, in_file(loading, line, column), "", "%s", shown);
}

static enum status load_file(struct loading *loading, struct error *err)
{
    const struct config_yaml_sink sink = {loading, take_leaf, take_mistake};
    char *bytes;
    size_t count;
    enum status status = file_read(loading->path, CONFIG_YAML_BYTES_MAX, &bytes, &count, err);

    if (status == ERR_LIMIT || status == ERR_MALFORMED)
        status = err->status = ERR_CONFIG;
    if (status != OK)
        return error_prefix(err, "configuration");
    if (!config_yaml_read((struct text){bytes, count}, &sink))
        loading->no_memory = true;
    free(bytes);
    return OK;
}

/* ---- the environment and --set ---- */

/* "serve.listen" -> "FRESHET_SERVE_LISTEN"; "*" stays. */
static void variable_of(const char *key, char *into, size_t bytes)
{
    size_t used = (size_t)snprintf(into, bytes, "FRESHET_");

    for (; *key != 0 && used + 1 < bytes; key++)
        into[used++] = *key == '.' || *key == '-' ? '_' : (char)toupper((unsigned char)*key);
    into[used] = 0;
}

/* Of our own that are no keys: the path of the file and what kernels/ may be told about GPU and
 * processor, which users write; then what tests use. A name that ends with "_" stands for all that
 * begin so. */
#define KNOWN_OF_USERS 3
static const char *const known[] = {"FRESHET_CONFIG", "FRESHET_BACKEND",     "FRESHET_ISA",
                                    "FRESHET_KAFKA",  "FRESHET_KAFKA_DIR",   "FRESHET_KAFKA_HEAP",
                                    "FRESHET_CACHE",  "FRESHET_CRASH_POINT", "FRESHET_TEST_",
                                    "FRESHET_BENCH_", "FRESHET_DEMO_"};

static bool is_ours(const char *variable)
{
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        size_t bytes = strlen(known[i]);

        if (known[i][bytes - 1] == '_' ? strncmp(variable, known[i], bytes) == 0
                                       : strcmp(variable, known[i]) == 0)
            return true;
    }
    return false;
}

static const struct config_row *row_of_variable(const struct loading *loading, const char *variable,
                                                char name[CONFIG_KEY_MAX])
{
    const struct config_row *with_star = NULL;

    name[0] = 0;
    for (int i = 0; i < loading->config->rows_count; i++) {
        const struct config_row *row = loading->config->rows[i];
        char pattern[CONFIG_KEY_MAX];
        const char *star;
        size_t before, after, bytes = strlen(variable);

        variable_of(row->key, pattern, sizeof pattern);
        star = strchr(pattern, '*');
        if (star == NULL && strcmp(pattern, variable) == 0) {
            name[0] = 0;
            return row;
        }
        before = star == NULL ? 0 : (size_t)(star - pattern);
        after = star == NULL ? 0 : strlen(star + 1);
        if (star == NULL || with_star != NULL || bytes <= before + after ||
            strncmp(pattern, variable, before) != 0 ||
            strcmp(star + 1, variable + bytes - after) != 0)
            continue;
        with_star = row;
        for (size_t j = 0; j < bytes - before - after; j++)
            name[j] = (char)tolower((unsigned char)variable[before + j]);
        name[bytes - before - after] = 0;
    }
    return with_star;
}

/* A row's variable, with what was typed in place of its "*". */
static void candidate_of(const struct config_row *row, const char *typed, char into[CONFIG_KEY_MAX])
{
    char pattern[CONFIG_KEY_MAX], key[CONFIG_KEY_MAX], name[CONFIG_KEY_MAX] = "NAME";
    const char *star;

    variable_of(row->key, pattern, sizeof pattern);
    star = strchr(pattern, '*');
    if (star != NULL && strncmp(typed, pattern, (size_t)(star - pattern)) == 0) {
        (void)snprintf(name, sizeof name, "%s", typed + (star - pattern));
        if (star[1] != 0)
            name[strcspn(name, "_")] = 0;
    }
    config_key_of(key, row, name);
    variable_of(key, into, CONFIG_KEY_MAX);
}

/* The nearest by letters; else, for a right key that lacks its section, the one that ends so. */
static void warn_of_variable(struct loading *loading, const char *variable)
{
    struct levenshtein_nearest nearest = {0};
    char best[CONFIG_KEY_MAX] = "", shown[160];
    const char *end = variable + strlen("FRESHET");

    for (int i = 0; i < loading->config->rows_count; i++) {
        char candidate[CONFIG_KEY_MAX];

        candidate_of(loading->config->rows[i], variable, candidate);
        levenshtein_offer(&nearest, variable, candidate);
        if (nearest.name == candidate) {
            memcpy(best, candidate, sizeof best);
            nearest.name = best;
        }
    }
    for (int i = 0; i < KNOWN_OF_USERS; i++) {
        levenshtein_offer(&nearest, variable, known[i]);
        if (nearest.name == known[i])
            (void)snprintf(best, sizeof best, "%s", known[i]);
    }
    for (int i = 0; i < loading->config->rows_count && best[0] == 0 && end[1] != 0; i++) {
        char candidate[CONFIG_KEY_MAX];
        size_t bytes;

        variable_of(loading->config->rows[i]->key, candidate, sizeof candidate);
        bytes = strlen(candidate);
        if (bytes > strlen(variable) && strcmp(candidate + bytes - strlen(end), end) == 0)
            memcpy(best, candidate, sizeof best);
    }
    config_value_printable(shown, sizeof shown, variable);
    if (best[0] == 0)
        config_mistakes_add(loading->warnings, (struct config_place){shown, 0, 0}, "",
                            "no such key; `freshet config show` lists them all");
    else
        config_mistakes_add(loading->warnings, (struct config_place){shown, 0, 0}, "",
                            "no such key; did you mean %s?", best);
}

static void load_environment(struct loading *loading)
{
    for (char **at = environ; *at != NULL; at++) {
        char variable[200], name[CONFIG_KEY_MAX];
        const char *equals = strchr(*at, '=');
        const struct config_row *row;

        if (strncmp(*at, "FRESHET_", 8) != 0 || equals == NULL ||
            (size_t)(equals - *at) >= sizeof variable)
            continue;
        (void)snprintf(variable, sizeof variable, "%.*s", (int)(equals - *at), *at);
        if (is_ours(variable))
            continue;
        row = row_of_variable(loading, variable, name);
        if (row == NULL)
            warn_of_variable(loading, variable);
        else
            assign(loading, row, name, equals + 1,
                   (struct source){SOURCE_ENVIRONMENT, {variable, 0, 0}, variable});
    }
}

static void load_set(struct loading *loading, const char *set)
{
    const struct config_place place = {"--set", 0, 0};
    char key[CONFIG_KEY_MAX], name[CONFIG_KEY_MAX], near[CONFIG_KEY_MAX + 32], shown[80];
    const char *equals = strchr(set, '=');
    const struct config_row *row;

    if (equals == NULL || equals == set || (size_t)(equals - set) >= sizeof key - 8) {
        config_mistakes_add(loading->mistakes, place, "", "must be KEY=VALUE");
        return;
    }
    (void)snprintf(key, sizeof key, "%.*s", (int)(equals - set), set);
    row = config_row_of(loading->config, key, name);
    if (row == NULL) {
        char path_key[CONFIG_KEY_MAX + 8];

        (void)snprintf(path_key, sizeof path_key, "%s.path", key);
        row = config_row_of(loading->config, path_key, name);
    }
    if (row == NULL) {
        config_value_printable(shown, sizeof shown, key);
        suggest(loading, shown, 0, near, sizeof near);
        config_mistakes_add(loading->mistakes, place, "", "unknown key \"%s\"%s", shown, near);
        return;
    }
    assign(loading, row, name, equals + 1, (struct source){SOURCE_SET, place, "--set"});
}

/* ---- all together ---- */

static enum status take_rows(struct loading *loading, const struct config_row *const *tables,
                             struct error *err)
{
    struct config *config = loading->config;
    int count = 0;

    for (int i = 0; tables[i] != NULL; i++)
        for (const struct config_row *row = tables[i]; row->key != NULL; row++)
            count++;
    assert(count <= ROWS_MAX);
    config->rows = calloc((size_t)count + 1, sizeof *config->rows);
    if (config->rows == NULL)
        return error_set(err, ERR_NOMEM, "no memory for the configuration");
    for (int i = 0; tables[i] != NULL; i++) {
        for (const struct config_row *row = tables[i]; row->key != NULL; row++) {
            assert(row->help != NULL && row->min <= row->max);
            assert((row->type == CONFIG_CHOICE) == (row->choices != NULL));
            for (int j = 0; j < config->rows_count; j++)
                assert(strcmp(config->rows[j]->key, row->key) != 0);
            config->rows[config->rows_count++] = row;
        }
    }
    for (int i = 0; i < config->rows_count; i++)
        if (strchr(config->rows[i]->key, '*') == NULL)
            (void)add_slot(loading, config->rows[i], NULL);
    return OK;
}

enum status config_load_lenient(struct config **config, const struct config_row *const *tables,
                                const char *path, const char *const *sets, int sets_count,
                                struct config_mistakes *mistakes, struct config_mistakes *warnings,
                                struct error *err)
{
    struct loading loading = {.path = path, .mistakes = mistakes, .warnings = warnings};
    enum status status = OK;

    *config = NULL;
    err->status = OK;
    loading.config = calloc(1, sizeof *loading.config);
    if (loading.config == NULL)
        return error_set(err, ERR_NOMEM, "no memory for the configuration");
    status = take_rows(&loading, tables, err);
    if (status == OK && path != NULL)
        status = load_file(&loading, err);
    if (status != OK)
        goto done;
    load_environment(&loading);
    for (int i = 0; i < sets_count; i++)
        load_set(&loading, sets[i]);
    if (loading.no_memory || mistakes->no_memory || warnings->no_memory) {
        status = error_set(err, ERR_NOMEM, "no memory for the configuration");
        goto done;
    }
    *config = loading.config;
    loading.config = NULL;
done:
    config_destroy(loading.config);
    return status;
}

enum status config_load(struct config **config, const struct config_row *const *tables,
                        const char *path, const char *const *sets, int sets_count, char **report,
                        struct error *err)
{
    struct config_mistakes mistakes = {0}, warnings = {0};
    enum status status = config_load_lenient(config, tables, path, sets, sets_count, &mistakes,
                                             &warnings, err);

    *report = NULL;
    if (status == OK && mistakes.count > 0) {
        char first[sizeof err->text];

        config_mistake_line(&mistakes.list[0], "", first, sizeof first);
        status = error_set(err, ERR_CONFIG, "%s", first);
        config_destroy(*config);
        *config = NULL;
        *report = config_mistakes_text(&mistakes, "");
    } else if (status == OK) {
        *report = config_mistakes_text(&warnings, "warning: ");
    }
    config_mistakes_clear(&mistakes);
    config_mistakes_clear(&warnings);
    return status;
}
