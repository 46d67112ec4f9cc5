/*
 * ops/config_render.c - the whole configuration as YAML that loads to the same again.
 *
 * But for passwords in addresses, which nobody is to see who is sent the page: they are ***, and
 * what holds that is refused when it is read again.
 *
 * Rows are printed in the order of the tables, values of one section together. What is
 * absent is a comment, so that the page is also the reference of what could be set.
 */
#include "ops/config.h"

#include "ops/config_private.h"
#include "ops/json_writer.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEPTH_MAX 8
#define WIDTH     96

struct path {
    char text[CONFIG_KEY_MAX];
    const char *parts[DEPTH_MAX]; /* into text */
    int depth;
};

/* Splits the row's key; a name with points in it stays one part. */
static void split(struct path *path, const struct config_row *row, const char *name)
{
    char *rest = path->text;
    char *part;

    path->depth = 0;
    (void)snprintf(path->text, sizeof path->text, "%s", row->key);
    while ((part = strsep(&rest, ".")) != NULL && path->depth < DEPTH_MAX)
        path->parts[path->depth++] = strcmp(part, "*") == 0 && name != NULL ? name : part;
}

/* True for what YAML reads as the same text without quotes. */
static bool is_plain(const char *text)
{
    static const char *const words[] = {"null", "true", "false", "yes", "no", "on", "off"};
    size_t bytes = strlen(text);

    if (bytes == 0 || text[bytes - 1] == ':' ||
        !(isalnum((unsigned char)text[0]) || text[0] == '/' || text[0] == '_'))
        return false;
    for (size_t i = 0; i < bytes; i++)
        if (!isalnum((unsigned char)text[i]) && strchr("_./:@+-,", text[i]) == NULL)
            return false;
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (strcasecmp(words[i], text) == 0)
            return false;
    return true;
}

bool config_secret_name(struct text name)
{
    static const char *const parts[] = {"password", "secret", "ssl.key.pem", "oauthbearer.config"};

    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        if (memmem(name.at, name.bytes, parts[i], strlen(parts[i])) != NULL)
            return true;
    return false;
}

/* "a=1,sasl.password=x" -> "a=1,sasl.password=***" */
static const char *hide_properties(const char *value, char into[CONFIG_SHOWN_BYTES])
{
    size_t used = 0;

    for (const char *at = value; *at != 0 && used < CONFIG_SHOWN_BYTES;) {
        size_t bytes = strcspn(at, ","), name = strcspn(at, "=,");
        bool hidden = name < bytes && config_secret_name((struct text){at, name}) &&
                      strncmp(at + name + 1, "file:", 5) != 0 &&
                      strncmp(at + name + 1, "env:", 4) != 0;

        used += (size_t)snprintf(into + used, CONFIG_SHOWN_BYTES - used, "%.*s%s%s",
                                 (int)(hidden ? name : bytes), at, hidden ? "=***" : "",
                                 at[bytes] == ',' ? "," : "");
        at += bytes + (at[bytes] == ',');
    }
    return into;
}

const char *config_shown(const char *value, char into[CONFIG_SHOWN_BYTES])
{
    const char *from = strstr(value, "://"), *at, *colon;

    into[0] = 0;
    if (from == NULL)
        return strchr(value, '=') == NULL ? value : hide_properties(value, into);
    from += 3;
    at = memrchr(from, '@', strcspn(from, "/?#"));
    colon = at == NULL ? NULL : memchr(from, ':', (size_t)(at - from));
    if (colon == NULL)
        return strchr(value, '=') == NULL ? value : hide_properties(value, into);
    (void)snprintf(into, CONFIG_SHOWN_BYTES, "%.*s:***%s", (int)(colon - value), value, at);
    return into;
}

bool config_hidden(const char *value)
{
    const char *address = strstr(value, "://"), *at;

    if (address != NULL) {
        at = memrchr(address + 3, '@', strcspn(address + 3, "/?#"));
        if (at != NULL && at - address >= 3 + 4 && memcmp(at - 4, ":***", 4) == 0)
            return true;
    }
    for (at = value; *at != 0; at += *at == ',') {
        size_t bytes = strcspn(at, ","), name = strcspn(at, "=,");

        if (bytes - name == 4 && memcmp(at + name, "=***", 4) == 0 &&
            config_secret_name((struct text){at, name}))
            return true;
        at += bytes;
    }
    return false;
}

static void print_text(FILE *out, const char *text, bool bare)
{
    char quoted[6 * CONFIG_SHOWN_BYTES + 3], shown[CONFIG_SHOWN_BYTES];
    struct json_writer w;

    text = config_shown(text, shown);
    if (bare || is_plain(text)) {
        (void)fputs(text, out);
        return;
    }
    /* A JSON text is a YAML text. */
    json_writer_init(&w, quoted, sizeof quoted);
    json_put_text(&w, text_of(text));
    (void)fprintf(out, "%.*s", (int)w.used, w.at);
}

/* Help as comment lines of at most WIDTH columns. */
static void print_help(FILE *out, const struct config_row *row, int indent)
{
    char takes[300], text[1200];
    const char *at = text;

    config_value_describe(row, takes, sizeof takes);
    (void)snprintf(text, sizeof text, "%s (%s%s%s)", row->help, takes,
                   row->fallback == NULL || row->fallback[0] == 0 ? "" : "; default ",
                   row->fallback == NULL ? "" : row->fallback);
    while (*at != 0) {
        int room = WIDTH - indent - 2;
        int bytes = (int)strlen(at);

        if (bytes > room) {
            bytes = room;
            while (bytes > 1 && at[bytes] != ' ')
                bytes--;
        }
        (void)fprintf(out, "%*s# %.*s\n", indent, "", bytes, at);
        at += bytes;
        at += strspn(at, " ");
    }
}

static void print_slot(FILE *out, const struct config_slot *slot, const struct path *path,
                       bool origin)
{
    int indent = 2 * (path->depth - 1);
    bool absent = slot->text == NULL;

    print_help(out, slot->row, indent);
    (void)fprintf(out, "%*s%s", indent, "", absent ? "# " : "");
    print_text(out, path->parts[path->depth - 1], false);
    (void)fputc(':', out);
    if (!absent && slot->row->type == CONFIG_TEXTS) {
        (void)fputs(" [", out);
        for (const char *at = slot->text; *at != 0;) {
            char item[4097];
            size_t bytes = strcspn(at, ",");

            (void)snprintf(item, sizeof item, "%.*s", (int)bytes, at);
            print_text(out, item, false);
            at += bytes;
            if (*at == ',') {
                (void)fputs(", ", out);
                at++;
            }
        }
        (void)fputc(']', out);
    } else if (!absent) {
        (void)fputc(' ', out);
        print_text(out, slot->text,
                   slot->row->type != CONFIG_TEXT && slot->row->type != CONFIG_SECRET &&
                       slot->row->type != CONFIG_CHOICE);
    }
    if (origin)
        (void)fprintf(out, "  # from %s", slot->origin == NULL ? "default" : slot->origin);
    (void)fputc('\n', out);
}

/* Rows with "*" that have no name yet: what could be written. */
static void print_unnamed(FILE *out, const struct config *config)
{
    bool any = false;

    for (int i = 0; i < config->rows_count; i++) {
        const struct config_row *row = config->rows[i];
        bool named = strchr(row->key, '*') == NULL;

        for (int j = 0; j < config->slots_count && !named; j++)
            named = config->slots[j].row == row;
        if (named)
            continue;
        if (!any)
            (void)fputs("\n# Not set; NAME is yours to choose:\n", out);
        any = true;
        print_help(out, row, 0);
        (void)fprintf(out, "# %s\n", row->key);
    }
}

struct page {
    FILE *out;
    const struct config *config;
    const struct path *paths; /* of each slot */
    bool *printed;
    bool origin;
};

static bool same_section(const struct path *a, const struct path *b, int depth)
{
    for (int i = 0; i < depth; i++)
        if (i >= a->depth - 1 || i >= b->depth - 1 || strcmp(a->parts[i], b->parts[i]) != 0)
            return false;
    return true;
}

/* The section of slot leader, depth names deep: its values, then the sections in it. A
 * section is printed once, however its rows are scattered over the tables. The recursion
 * is as deep as the rows' keys. */
static void print_section(const struct page *page, int leader, int depth)
{
    const struct path *of = &page->paths[leader];

    if (depth == 1 && leader > 0)
        (void)fputc('\n', page->out);
    if (depth > 0) {
        (void)fprintf(page->out, "%*s", 2 * (depth - 1), "");
        print_text(page->out, of->parts[depth - 1], false);
        (void)fputs(":\n", page->out);
    }
    for (int i = 0; i < page->config->slots_count; i++) {
        if (page->printed[i] || page->paths[i].depth != depth + 1 ||
            !same_section(of, &page->paths[i], depth))
            continue;
        page->printed[i] = true;
        print_slot(page->out, &page->config->slots[i], &page->paths[i], page->origin);
    }
    for (int i = 0; i < page->config->slots_count; i++)
        if (!page->printed[i] && same_section(of, &page->paths[i], depth))
            print_section(page, i, depth + 1);
}

static void print_all(FILE *out, const struct config *config, bool origin)
{
    size_t count = (size_t)config->slots_count;
    struct path *paths = calloc(count + 1, sizeof *paths);
    bool *printed = calloc(count + 1, sizeof *printed);
    struct page page = {out, config, paths, printed, origin};

    if (paths != NULL && printed != NULL && count > 0) {
        for (size_t i = 0; i < count; i++)
            split(&paths[i], config->slots[i].row, config->slots[i].name);
        print_section(&page, 0, 0);
    }
    free(paths);
    free(printed); /* out of memory leaves an empty page, which the caller refuses */
}

enum status config_render(const struct config *config, bool origin, char **yaml, struct error *err)
{
    size_t bytes;
    FILE *out;

    *yaml = NULL;
    out = open_memstream(yaml, &bytes);
    if (out == NULL)
        return error_set(err, ERR_NOMEM, "no memory to print the configuration");
    print_all(out, config, origin);
    print_unnamed(out, config);
    if (fclose(out) == 0 && *yaml != NULL && bytes > 0)
        return OK;
    free(*yaml);
    *yaml = NULL;
    return error_set(err, ERR_NOMEM, "no memory to print the configuration");
}
