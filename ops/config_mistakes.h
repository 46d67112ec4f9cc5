/*
 * ops/config_mistakes.h - what is wrong with a configuration, each with its place.
 *
 * Flow: config_load() -> [mistakes] <- `config check`'s rules; -> lines, JSON
 *
 * For ops/config*.c only. One that starts from {0} is empty.
 * Thread: one.
 */
#ifndef OPS_CONFIG_MISTAKES_H
#define OPS_CONFIG_MISTAKES_H

#include "ops/config.h"

#define CONFIG_MISTAKES_MAX 100 /* kept; the others are counted */

struct config_place {
    const char *origin; /* the file, a variable of the environment, "--set" */
    int line, column;   /* of the file, from 1; 0: it is no line of a file */
};

struct config_mistake {
    char *origin;
    int line, column;
    char *key;  /* that it is about; "" when that is none of ours */
    char *text; /* names the key, too */
};

struct config_mistakes {
    struct config_mistake *list; /* (kept) */
    int kept, count, capacity;
    bool no_memory;
};

void config_mistakes_add(struct config_mistakes *mistakes, struct config_place place,
                         const char *key, const char *fmt, ...) PRINTF_LIKE(4, 5);
/* Is one of the first `among` about this key? */
bool config_mistakes_of(const struct config_mistakes *mistakes, const char *key, int among);
/* By line and column of the file; the others behind, in the order in which they came. */
void config_mistakes_sort(struct config_mistakes *mistakes);
/* "freshet.yaml:3:9: text" into a buffer; kind stands before the text: "", or "warning: ". */
void config_mistake_line(const struct config_mistake *mistake, const char *kind, char *into,
                         size_t bytes);
/* All of them, one a line, and how many there are beyond those kept; NULL without any, and when
 * memory is out. free() it. */
char *config_mistakes_text(const struct config_mistakes *mistakes, const char *kind);
void config_mistakes_clear(struct config_mistakes *mistakes);

/**
 * As config_load(), but in spite of mistakes there is a configuration: what is refused keeps its
 * default. The caller destroys it, and clears both lists, whatever is returned.
 * Errors: ERR_NOT_FOUND, ERR_CONFIG (a file that cannot be read at all), ERR_IO, ERR_NOMEM
 */
MUST_CHECK enum status config_load_lenient(struct config **config,
                                           const struct config_row *const *tables, const char *path,
                                           const char *const *sets, int sets_count,
                                           struct config_mistakes *mistakes,
                                           struct config_mistakes *warnings, struct error *err);

#endif
