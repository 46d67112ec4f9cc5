/* ops/config_mistakes.c - a list that grows up to a bound, and counts beyond it. */
#include "ops/config_mistakes.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_BYTES 1200
#define LINE_BYTES (TEXT_BYTES + 600)

static bool make_room(struct config_mistakes *mistakes)
{
    int capacity = mistakes->capacity == 0 ? 16 : 2 * mistakes->capacity;
    struct config_mistake *larger;

    if (mistakes->kept < mistakes->capacity)
        return true;
    larger = realloc(mistakes->list, (size_t)capacity * sizeof *larger);
    if (larger == NULL)
        return false;
    mistakes->list = larger;
    mistakes->capacity = capacity;
    return true;
}

void config_mistakes_add(struct config_mistakes *mistakes, struct config_place place,
                         const char *key, const char *fmt, ...)
{
    struct config_mistake *mistake;
    char text[TEXT_BYTES];
    va_list args;

    if (mistakes->count++ >= CONFIG_MISTAKES_MAX)
        return;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    if (!make_room(mistakes)) {
        mistakes->no_memory = true;
        return;
    }
    mistake = &mistakes->list[mistakes->kept++];
    *mistake = (struct config_mistake){.origin = strdup(place.origin),
                                       .line = place.line,
                                       .column = place.column,
                                       .key = strdup(key),
                                       .text = strdup(text)};
    if (mistake->origin != NULL && mistake->key != NULL && mistake->text != NULL)
        return;
    mistakes->no_memory = true;
    mistakes->kept--;
    free(mistake->origin);
    free(mistake->key);
    free(mistake->text);
}

bool config_mistakes_of(const struct config_mistakes *mistakes, const char *key, int among)
{
    for (int i = 0; i < mistakes->kept && i < among; i++)
        if (strcmp(mistakes->list[i].key, key) == 0)
            return true;
    return false;
}

/* Does a stand behind b? */
static bool behind(const struct config_mistake *a, const struct config_mistake *b)
{
    if (a->line == 0 || b->line == 0)
        return a->line == 0 && b->line != 0;
    return a->line != b->line ? a->line > b->line : a->column > b->column;
}

/* By insertion, which keeps the order of equals; there are at most a hundred. */
void config_mistakes_sort(struct config_mistakes *mistakes)
{
    for (int i = 1; i < mistakes->kept; i++) {
        struct config_mistake moved = mistakes->list[i];
        int at = i;

        for (; at > 0 && behind(&mistakes->list[at - 1], &moved); at--)
            mistakes->list[at] = mistakes->list[at - 1];
        mistakes->list[at] = moved;
    }
}

void config_mistake_line(const struct config_mistake *mistake, const char *kind, char *into,
                         size_t bytes)
{
    if (mistake->line > 0)
        (void)snprintf(into, bytes, "%s:%d:%d: %s%s", mistake->origin, mistake->line,
                       mistake->column, kind, mistake->text);
    else
        (void)snprintf(into, bytes, "%s: %s%s", mistake->origin, kind, mistake->text);
}

char *config_mistakes_text(const struct config_mistakes *mistakes, const char *kind)
{
    char *text = NULL;
    size_t bytes;
    FILE *out;

    if (mistakes->count == 0)
        return NULL;
    out = open_memstream(&text, &bytes);
    if (out == NULL)
        return NULL;
    for (int i = 0; i < mistakes->kept; i++) {
        char line[LINE_BYTES];

        config_mistake_line(&mistakes->list[i], kind, line, sizeof line);
        (void)fprintf(out, "%s\n", line);
    }
    if (mistakes->count > mistakes->kept)
        (void)fprintf(out, "... and %d more\n", mistakes->count - mistakes->kept);
    if (fclose(out) == 0)
        return text;
    free(text);
    return NULL;
}

void config_mistakes_clear(struct config_mistakes *mistakes)
{
    for (int i = 0; i < mistakes->kept; i++) {
        free(mistakes->list[i].origin);
        free(mistakes->list[i].key);
        free(mistakes->list[i].text);
    }
    free(mistakes->list);
    *mistakes = (struct config_mistakes){0};
}
