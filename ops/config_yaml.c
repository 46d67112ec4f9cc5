/*
 * ops/config_yaml.c - libyaml's events, walked with a stack of names.
 *
 * The event interface and not the document one: that builds a tree of any size first.
 * libyaml's own scanner is protected by the bound on the text and by ours on depth.
 */
#include "ops/config_yaml.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#define LIST_BYTES_MAX 4096

struct name {
    char text[CONFIG_YAML_NAME_MAX + 1];
    int line, column;
    size_t first_sibling; /* index into seen[] of this section's first name */
};

struct seen { /* names of the sections that are open */
    char *text;
    int line;
};

struct walk {
    yaml_parser_t parser;
    const struct config_yaml_sink *sink;
    struct name names[CONFIG_YAML_DEPTH_MAX + 1];
    int depth; /* names in use: of the open sections, and of the leaf being read */
    struct seen *seen;
    size_t seen_count, seen_capacity;
    int leaves;
    bool stopped; /* an error after which nothing can be trusted, or too many leaves */
    bool no_memory;
};

static void mistake(struct walk *walk, yaml_mark_t at, const char *fmt, ...) PRINTF_LIKE(3, 4);

static void mistake(struct walk *walk, yaml_mark_t at, const char *fmt, ...)
{
    char text[240];
    va_list args;

    va_start(args, fmt);
    (void)vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    walk->sink->mistake(walk->sink->context, (int)at.line + 1, (int)at.column + 1, text);
}

/* What libyaml says, with the remedy where its words do not give one away. */
static void report_syntax(struct walk *walk)
{
    const yaml_parser_t *parser = &walk->parser;
    yaml_mark_t at = parser->problem_mark;
    const char *problem = parser->problem == NULL ? "cannot be read" : parser->problem;
    bool tab = strstr(problem, "cannot start any token") != NULL &&
               parser->buffer.pointer != NULL && parser->buffer.pointer < parser->buffer.last &&
               *parser->buffer.pointer == '\t';

    walk->stopped = true;
    if (parser->error == YAML_MEMORY_ERROR)
        walk->no_memory = true;
    else if (parser->error == YAML_READER_ERROR)
        walk->sink->mistake(walk->sink->context, 1, 1, "is not UTF-8 text");
    else if (tab)
        mistake(walk, at, "a tab; YAML is indented with spaces");
    else if (parser->context != NULL)
        mistake(walk, at, "not YAML: %s, which began in line %zu, %s", parser->context,
                parser->context_mark.line + 1, problem);
    else
        mistake(walk, at, "not YAML: %s", problem);
}

static bool next(struct walk *walk, yaml_event_t *event)
{
    if (walk->stopped)
        return false;
    if (yaml_parser_parse(&walk->parser, event))
        return true;
    report_syntax(walk);
    return false;
}

static bool remember(struct walk *walk, const char *text, int line)
{
    if (walk->seen_count == walk->seen_capacity) {
        size_t capacity = walk->seen_capacity == 0 ? 64 : 2 * walk->seen_capacity;
        struct seen *larger = realloc(walk->seen, capacity * sizeof *larger);

        if (larger == NULL)
            return false;
        walk->seen = larger;
        walk->seen_capacity = capacity;
    }
    walk->seen[walk->seen_count].text = strdup(text);
    walk->seen[walk->seen_count].line = line;
    return walk->seen[walk->seen_count++].text != NULL;
}

static void forget(struct walk *walk, size_t from)
{
    while (walk->seen_count > from)
        free(walk->seen[--walk->seen_count].text);
}

/* Anchors, tags and characters that texts cannot hold; reported once a node. */
static void check_node(struct walk *walk, const yaml_event_t *event)
{
    const yaml_char_t *anchor = NULL;
    const yaml_char_t *tag = NULL;

    if (event->type == YAML_SCALAR_EVENT) {
        anchor = event->data.scalar.anchor;
        tag = event->data.scalar.tag;
        if (strlen((const char *)event->data.scalar.value) != event->data.scalar.length)
            mistake(walk, event->start_mark, "a zero character inside a text");
    } else if (event->type == YAML_MAPPING_START_EVENT) {
        anchor = event->data.mapping_start.anchor;
        tag = event->data.mapping_start.tag;
    } else if (event->type == YAML_SEQUENCE_START_EVENT) {
        anchor = event->data.sequence_start.anchor;
        tag = event->data.sequence_start.tag;
    } else if (event->type == YAML_ALIAS_EVENT) {
        mistake(walk, event->start_mark, "an alias (*); write the value out");
    }
    if (anchor != NULL)
        mistake(walk, event->start_mark, "an anchor (&); write the value out where it is needed");
    if (tag != NULL)
        mistake(walk, event->start_mark, "a tag (!); values have the type of their key");
}

/* Reads on to the end of a node that has begun and is not wanted. */
static void skip_node(struct walk *walk, const yaml_event_t *begun)
{
    int depth = begun->type == YAML_MAPPING_START_EVENT || begun->type == YAML_SEQUENCE_START_EVENT;
    yaml_event_t event;

    while (depth > 0 && next(walk, &event)) {
        if (event.type == YAML_MAPPING_START_EVENT || event.type == YAML_SEQUENCE_START_EVENT)
            depth++;
        if (event.type == YAML_MAPPING_END_EVENT || event.type == YAML_SEQUENCE_END_EVENT)
            depth--;
        yaml_event_delete(&event);
    }
}

static void emit(struct walk *walk, enum config_yaml_kind kind, const char *value, yaml_mark_t at)
{
    const struct name *last = &walk->names[walk->depth - 1];
    struct config_yaml_leaf leaf = {
        .kind = kind,
        .depth = walk->depth,
        .value = value,
        .line = last->line,
        .column = last->column,
        .value_line = (int)at.line + 1,
        .value_column = (int)at.column + 1,
    };

    if (++walk->leaves > CONFIG_YAML_LEAVES_MAX) {
        mistake(walk, at, "more than %d values", CONFIG_YAML_LEAVES_MAX);
        walk->stopped = true;
        return;
    }
    for (int i = 0; i < walk->depth; i++)
        leaf.parts[i] = walk->names[i].text;
    walk->sink->leaf(walk->sink->context, &leaf);
}

static void read_list(struct walk *walk, yaml_mark_t at)
{
    char joined[LIST_BYTES_MAX] = "";
    size_t used = 0;
    yaml_event_t event;
    bool good = true;

    while (next(walk, &event)) {
        const char *value = (const char *)event.data.scalar.value;
        bool end = event.type == YAML_SEQUENCE_END_EVENT;

        check_node(walk, &event);
        if (!end && event.type != YAML_SCALAR_EVENT) {
            mistake(walk, event.start_mark, "a list of anything but texts");
            skip_node(walk, &event);
            good = false;
        } else if (!end && strchr(value, ',') != NULL) {
            mistake(walk, event.start_mark, "a comma inside a list's text");
            good = false;
        } else if (!end && used + strlen(value) + 2 > sizeof joined) {
            mistake(walk, event.start_mark, "a list of more than %d bytes", LIST_BYTES_MAX);
            good = false;
        } else if (!end && good) {
            used += (size_t)snprintf(joined + used, sizeof joined - used, "%s%s",
                                     used == 0 ? "" : ",", value);
        }
        yaml_event_delete(&event);
        if (end)
            break;
    }
    if (good && !walk->stopped)
        emit(walk, CONFIG_YAML_LIST, joined, at);
}

/* Puts a section's next name on the stack. False when it cannot be used; reported. */
static bool take_name(struct walk *walk, const yaml_event_t *event, size_t first_sibling)
{
    struct name *name = &walk->names[walk->depth];
    const char *text = (const char *)event->data.scalar.value;

    check_node(walk, event);
    if (event->type != YAML_SCALAR_EVENT) {
        if (event->type != YAML_ALIAS_EVENT)
            mistake(walk, event->start_mark, "a name that is not a text");
        return false;
    }
    if (text[0] == 0 || strlen(text) > CONFIG_YAML_NAME_MAX) {
        mistake(walk, event->start_mark, "a name of %zu bytes, allowed is 1..%d", strlen(text),
                CONFIG_YAML_NAME_MAX);
        return false;
    }
    for (const char *at = text; *at != 0; at++) {
        if (iscntrl((unsigned char)*at)) {
            mistake(walk, event->start_mark, "a name with a control character");
            return false;
        }
    }
    if (walk->depth == CONFIG_YAML_DEPTH_MAX) {
        mistake(walk, event->start_mark, "deeper than %d sections", CONFIG_YAML_DEPTH_MAX);
        return false;
    }
    for (size_t i = first_sibling; i < walk->seen_count; i++) {
        if (strcmp(walk->seen[i].text, text) == 0) {
            mistake(walk, event->start_mark, "\"%s\" a second time; the first is in line %d", text,
                    walk->seen[i].line);
            return false;
        }
    }
    memcpy(name->text, text, strlen(text) + 1);
    name->line = (int)event->start_mark.line + 1;
    name->column = (int)event->start_mark.column + 1;
    if (!remember(walk, text, name->line))
        walk->no_memory = walk->stopped = true;
    walk->depth++;
    return true;
}

static bool is_empty(const yaml_event_t *event)
{
    return event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
           (event->data.scalar.length == 0 ||
            strcmp((const char *)event->data.scalar.value, "~") == 0 ||
            strcmp((const char *)event->data.scalar.value, "null") == 0);
}

/*
 * One value, whose first event has come. Returns true when a section was opened, whose
 * names the caller reads next: this file walks without recursion, so that depth is a
 * number to compare and not a stack to overflow.
 */
static bool read_value(struct walk *walk, const yaml_event_t *event)
{
    check_node(walk, event);
    switch (event->type) {
    case YAML_SCALAR_EVENT:
        emit(walk, is_empty(event) ? CONFIG_YAML_EMPTY : CONFIG_YAML_SCALAR,
             (const char *)event->data.scalar.value, event->start_mark);
        return false;
    case YAML_SEQUENCE_START_EVENT:
        read_list(walk, event->start_mark);
        return false;
    case YAML_MAPPING_START_EVENT:
        emit(walk, CONFIG_YAML_SECTION, "", event->start_mark);
        return true;
    default:
        return false; /* an alias, which check_node() has reported */
    }
}

/* A name that cannot be used goes together with its value. */
static void skip_pair(struct walk *walk, const yaml_event_t *name)
{
    yaml_event_t value;

    skip_node(walk, name);
    if (!next(walk, &value))
        return;
    skip_node(walk, &value);
    yaml_event_delete(&value);
}

static void read_sections(struct walk *walk)
{
    size_t first_sibling[CONFIG_YAML_DEPTH_MAX + 1] = {0};
    int open = 1; /* sections; the top is one, without a name */
    yaml_event_t event, value;

    while (open > 0 && next(walk, &event)) {
        if (event.type == YAML_MAPPING_END_EVENT) {
            open--;
            forget(walk, first_sibling[open]);
            walk->depth = open == 0 ? 0 : open - 1;
        } else if (!take_name(walk, &event, first_sibling[open - 1])) {
            skip_pair(walk, &event);
        } else if (next(walk, &value)) {
            if (read_value(walk, &value))
                first_sibling[open++] = walk->seen_count;
            else
                walk->depth--;
            yaml_event_delete(&value);
        }
        yaml_event_delete(&event);
    }
    forget(walk, 0);
}

/* Everything around the one mapping: stream, document, and what must not follow. */
static void read_stream(struct walk *walk)
{
    yaml_event_t event;
    bool had_content = false;

    while (next(walk, &event)) {
        bool end = event.type == YAML_STREAM_END_EVENT;

        if (event.type == YAML_MAPPING_START_EVENT && !had_content) {
            check_node(walk, &event);
            had_content = true;
            read_sections(walk);
        } else if (event.type == YAML_SCALAR_EVENT && is_empty(&event) && !had_content) {
            had_content = true; /* a file of comments alone, with "---" */
        } else if (event.type == YAML_DOCUMENT_START_EVENT && had_content) {
            mistake(walk, event.start_mark, "a second document");
            walk->stopped = true;
        } else if (event.type == YAML_SCALAR_EVENT || event.type == YAML_SEQUENCE_START_EVENT) {
            mistake(walk, event.start_mark, "must be sections of keys, like \"kafka:\"");
            walk->stopped = true;
        }
        yaml_event_delete(&event);
        if (end)
            break;
    }
}

bool config_yaml_read(struct text yaml, const struct config_yaml_sink *sink)
{
    struct walk *walk = calloc(1, sizeof *walk);
    bool good;

    if (walk == NULL)
        return false;
    walk->sink = sink;
    if (!yaml_parser_initialize(&walk->parser)) {
        free(walk);
        return false;
    }
    yaml_parser_set_encoding(&walk->parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&walk->parser, (const unsigned char *)yaml.at, yaml.bytes);
    read_stream(walk);
    good = !walk->no_memory;
    forget(walk, 0);
    free(walk->seen);
    yaml_parser_delete(&walk->parser);
    free(walk);
    return good;
}
