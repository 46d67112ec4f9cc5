/* ops/config_private.h - what config.c, config_load.c and config_render.c share. */
#ifndef OPS_CONFIG_PRIVATE_H
#define OPS_CONFIG_PRIVATE_H

#include "ops/config.h"
#include "ops/config_value.h"

#define CONFIG_KEY_MAX 512

enum config_source { SOURCE_DEFAULT, SOURCE_FILE, SOURCE_ENVIRONMENT, SOURCE_SET };

struct config_slot {
    char *key; /* with names in place of "*" */
    const struct config_row *row;
    char *name; /* what stands for "*"; NULL in a row without */
    char *text; /* NULL: absent */
    char *origin;
    enum config_source source;
    int line, column; /* of the value in the file, or of the name it belongs to; 0: not in it */
    struct config_value value;
};

struct config {
    const struct config_row **rows; /* of all tables */
    int rows_count;
    struct config_slot *slots;
    int slots_count, slots_capacity;
};

/* NULL when there is none. */
struct config_slot *config_find(const struct config *config, const char *key);
/* The row a key belongs to, exact ones before those with "*"; name gets what stands for the
 * "*" (CONFIG_KEY_MAX bytes, "" without one). NULL when there is none. */
const struct config_row *config_row_of(const struct config *config, const char *key, char *name);
/* "events.actions.*.code" with click -> "events.actions.click.code". */
void config_key_of(char key[CONFIG_KEY_MAX], const struct config_row *row, const char *name);

#endif
