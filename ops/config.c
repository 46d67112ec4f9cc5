/*
 * ops/config.c - looking values up. Loading is in config_load.c, printing in config_render.c.
 *
 * Values are in one array that is searched from the start: a few hundred of them, asked for
 * at start-up only.
 */
#include "ops/config.h"

#include "ops/config_private.h"
#include "ops/file.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SECRET_BYTES_MAX ((size_t)64 * 1024)

struct config_slot *config_find(const struct config *config, const char *key)
{
    for (int i = 0; i < config->slots_count; i++)
        if (strcmp(config->slots[i].key, key) == 0)
            return &config->slots[i];
    return NULL;
}

void config_key_of(char key[CONFIG_KEY_MAX], const struct config_row *row, const char *name)
{
    const char *star = strchr(row->key, '*');

    if (star == NULL)
        (void)snprintf(key, CONFIG_KEY_MAX, "%s", row->key);
    else
        (void)snprintf(key, CONFIG_KEY_MAX, "%.*s%s%s", (int)(star - row->key), row->key, name,
                       star + 1);
}

/* The name may hold points: it is what is left between the row's two ends. */
static bool matches_star(const char *pattern, const char *star, const char *key, char *name)
{
    size_t before = (size_t)(star - pattern);
    size_t after = strlen(star + 1);
    size_t bytes = strlen(key);

    if (bytes <= before + after || bytes - before - after >= CONFIG_KEY_MAX ||
        strncmp(key, pattern, before) != 0 || strcmp(key + bytes - after, star + 1) != 0)
        return false;
    memcpy(name, key + before, bytes - before - after);
    name[bytes - before - after] = 0;
    return true;
}

const struct config_row *config_row_of(const struct config *config, const char *key, char *name)
{
    name[0] = 0;
    for (int i = 0; i < config->rows_count; i++)
        if (strcmp(config->rows[i]->key, key) == 0 && strchr(key, '*') == NULL)
            return config->rows[i];
    for (int i = 0; i < config->rows_count; i++) {
        const char *star = strchr(config->rows[i]->key, '*');

        if (star != NULL && matches_star(config->rows[i]->key, star, key, name))
            return config->rows[i];
    }
    name[0] = 0;
    return NULL;
}

/* Of a name that nobody has written: its row's default. */
static struct config_slot value_of(const struct config *config, const char *key,
                                   enum config_type type)
{
    char name[CONFIG_KEY_MAX];
    char why[CONFIG_WHY_BYTES];
    const struct config_slot *found = config_find(config, key);
    struct config_slot absent = {0};

    if (found != NULL) {
        assert(found->row->type == type);
        return *found;
    }
    absent.row = config_row_of(config, key, name);
    assert(absent.row != NULL && absent.row->type == type);
    absent.text = (char *)(uintptr_t)absent.row->fallback; /* read only, in this copy */
    if (absent.text != NULL)
        (void)config_value_parse(absent.row, absent.text, &absent.value, why);
    return absent;
}

const char *config_text(const struct config *config, const char *key)
{
    const struct config_slot *found = config_find(config, key);
    struct config_slot slot;

    if (found != NULL) {
        assert(found->row->type == CONFIG_TEXT || found->row->type == CONFIG_TEXTS ||
               found->row->type == CONFIG_CHOICE);
        return found->text == NULL ? "" : found->text;
    }
    slot = value_of(config, key, CONFIG_TEXT);
    return slot.text == NULL ? "" : slot.text;
}

bool config_bool(const struct config *config, const char *key)
{
    return value_of(config, key, CONFIG_BOOL).value.integer != 0;
}

int64_t config_int(const struct config *config, const char *key)
{
    return value_of(config, key, CONFIG_INT).value.integer;
}

double config_real(const struct config *config, const char *key)
{
    return value_of(config, key, CONFIG_REAL).value.real;
}

int64_t config_duration_ms(const struct config *config, const char *key)
{
    return value_of(config, key, CONFIG_DURATION).value.integer;
}

int64_t config_size_bytes(const struct config *config, const char *key)
{
    return value_of(config, key, CONFIG_BYTES).value.integer;
}

static enum status secret_of_file(const char *key, const char *path, char **value,
                                  struct error *err)
{
    size_t bytes;
    enum status status = file_read(path, SECRET_BYTES_MAX, value, &bytes, err);

    if (status == ERR_MALFORMED || status == ERR_LIMIT)
        err->status = ERR_CONFIG;
    if (status != OK)
        return error_prefix(err, "secret of %s", key);
    if (bytes > 0 && (*value)[bytes - 1] == '\n')
        (*value)[--bytes] = 0;
    if (bytes > 0 && (*value)[bytes - 1] == '\r')
        (*value)[--bytes] = 0;
    if (bytes > 0 && strlen(*value) == bytes)
        return OK;
    free(*value);
    *value = NULL;
    return error_set(err, ERR_CONFIG, "secret of %s: file \"%s\" %s", key, path,
                     bytes == 0 ? "is empty" : "holds a zero byte");
}

const char *config_secret_reference(const struct config *config, const char *key)
{
    const char *reference = value_of(config, key, CONFIG_SECRET).text;

    return reference == NULL ? "" : reference;
}

enum status config_secret(const struct config *config, const char *key, char **value,
                          struct error *err)
{
    const char *reference = config_secret_reference(config, key);

    *value = NULL;
    if (reference[0] == 0)
        return error_set(err, ERR_NOT_FOUND, "%s is not set", key);
    return config_secret_of(key, reference, value, err);
}

enum status config_secret_of(const char *key, const char *reference, char **value,
                             struct error *err)
{
    const char *found;

    *value = NULL;
    if (strncmp(reference, "file:", 5) == 0)
        return secret_of_file(key, reference + 5, value, err);
    found = getenv(reference + 4);
    if (found == NULL)
        return error_set(err, ERR_NOT_FOUND, "secret of %s: no environment variable \"%s\"", key,
                         reference + 4);
    if (found[0] == 0)
        return error_set(err, ERR_CONFIG, "secret of %s: environment variable \"%s\" is empty", key,
                         reference + 4);
    *value = strdup(found);
    if (*value == NULL)
        return error_set(err, ERR_NOMEM, "no memory for the secret of %s", key);
    return OK;
}

bool config_given(const struct config *config, const char *key)
{
    char name[CONFIG_KEY_MAX];
    const struct config_slot *slot = config_find(config, key);

    assert(slot != NULL || config_row_of(config, key, name) != NULL);
    return slot != NULL && slot->source != SOURCE_DEFAULT;
}

const char *config_name(const struct config *config, const char *prefix, int index)
{
    size_t bytes = strlen(prefix);

    for (int i = 0; i < config->slots_count; i++) {
        const struct config_slot *slot = &config->slots[i];
        bool seen = false;

        if (slot->name == NULL || strncmp(slot->row->key, prefix, bytes) != 0 ||
            strncmp(slot->row->key + bytes, ".*", 2) != 0)
            continue;
        for (int j = 0; j < i && !seen; j++)
            seen = config->slots[j].name != NULL &&
                   strcmp(config->slots[j].name, slot->name) == 0 &&
                   strncmp(config->slots[j].row->key, prefix, bytes) == 0 &&
                   strncmp(config->slots[j].row->key + bytes, ".*", 2) == 0;
        if (!seen && index-- == 0)
            return slot->name;
    }
    return NULL;
}

bool config_entry(const struct config *config, int index, struct config_entry *entry)
{
    const struct config_slot *slot;

    if (index < 0 || index >= config->slots_count)
        return false;
    slot = &config->slots[index];
    *entry = (struct config_entry){
        .key = slot->key,
        .row = slot->row,
        .value = slot->text == NULL ? "" : slot->text,
        .origin = slot->origin == NULL ? "default" : slot->origin,
        .given = slot->source != SOURCE_DEFAULT,
        .line = slot->line,
        .column = slot->column,
    };
    return true;
}

void config_destroy(struct config *config)
{
    if (config == NULL)
        return;
    for (int i = 0; i < config->slots_count; i++) {
        free(config->slots[i].key);
        free(config->slots[i].name);
        free(config->slots[i].text);
        free(config->slots[i].origin);
    }
    free(config->slots);
    free(config->rows);
    free(config);
}
