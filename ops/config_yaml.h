/*
 * ops/config_yaml.h - the door to libyaml: a YAML text as a flat list of leaves with places.
 * For ops/config*.c only.
 *
 * What is refused: anchors, aliases and tags (no bombs, no surprises), a second document,
 * more than CONFIG_YAML_DEPTH_MAX levels, more than CONFIG_YAML_LEAVES_MAX leaves, names
 * above CONFIG_YAML_NAME_MAX bytes, a name twice in one section, a list of anything but texts.
 * Thread: any.
 */
#ifndef OPS_CONFIG_YAML_H
#define OPS_CONFIG_YAML_H

#include "ops/status.h"
#include "ops/text.h"

#include <stdbool.h>
#include <stddef.h>

#define CONFIG_YAML_BYTES_MAX  ((size_t)1 << 20)
#define CONFIG_YAML_DEPTH_MAX  8
#define CONFIG_YAML_LEAVES_MAX 4096
#define CONFIG_YAML_NAME_MAX   128

enum config_yaml_kind {
    CONFIG_YAML_SECTION, /* a mapping opens here; its leaves follow */
    CONFIG_YAML_SCALAR,
    CONFIG_YAML_LIST, /* value: its texts joined by commas */
    CONFIG_YAML_EMPTY /* "key:" and nothing after it */
};

struct config_yaml_leaf {
    enum config_yaml_kind kind;
    const char *parts[CONFIG_YAML_DEPTH_MAX]; /* names from the top */
    int depth;
    const char *value; /* "" for a section */
    int line, column;  /* from 1; of the name */
    int value_line, value_column;
};

/* Where mistakes and leaves go. */
struct config_yaml_sink {
    void *context;
    void (*leaf)(void *context, const struct config_yaml_leaf *leaf);
    void (*mistake)(void *context, int line, int column, const char *text);
};

/* Goes on after a mistake where it can; stops at what is not YAML. Returns false only when
 * memory is out. */
bool config_yaml_read(struct text yaml, const struct config_yaml_sink *sink);

#endif
