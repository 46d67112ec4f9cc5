/*
 * ops/config.h - one YAML file for all roles, described by tables.
 *
 * Every folder exports its rows (`serve_config_rows`), freshet.c puts them together.
 * Precedence: flag (--set key=value) > environment (FRESHET_SECTION_KEY) > file > default.
 * All mistakes are reported at once, each with file:line:column and, for an unknown key,
 * the nearest known one. A secret (CONFIG_SECRET) is given as `file:PATH` or `env:NAME` and
 * is never printed.
 *
 * A row may have one "*" among its parts, which stands for names the operator chooses:
 * "events.actions.*.code". A name exists once it is written (an empty `click: {}` is enough);
 * then all rows of that "*" exist for it, with their defaults. In the environment such a name
 * is lower case. Where a section has a key `path`, a text in the section's place is its path:
 * `time: /ts` is `time: {path: /ts}`.
 * Thread: loaded once, read-only after that.
 */
#ifndef OPS_CONFIG_H
#define OPS_CONFIG_H

#include "ops/status.h"
#include "ops/text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum config_type {
    CONFIG_TEXT,
    CONFIG_CHOICE, /* choices: "a|b|c" */
    CONFIG_BOOL,
    CONFIG_INT,
    CONFIG_REAL,
    CONFIG_DURATION, /* "250ms", "5m", "30d": a unit is required; kept in milliseconds */
    CONFIG_BYTES,    /* "64KiB", "10MB"; kept in bytes */
    CONFIG_SECRET,
    CONFIG_TEXTS, /* a list of texts; kept joined by commas */
};

struct config_row {
    const char *key; /* "serve.listen"; a part "*" stands for any name: "events.actions.*.code" */
    enum config_type type;
    const char *fallback; /* as it would stand in the file; NULL: none, "" for an empty text */
    double min, max; /* of numbers, durations (ms) and sizes (bytes); both 0: any (but durations
                      * and sizes are never negative) */
    const char *choices;
    const char *help; /* one sentence: what it does, and when to change it */
};

struct config;

/**
 * Loads path (NULL: defaults, environment and sets alone). rows must outlive the config.
 * On failure every mistake is one line of *report, err holds the first; on OK *report holds
 * the warnings, one a line, or is NULL. free() it.
 * Errors: ERR_CONFIG, ERR_NOT_FOUND, ERR_IO, ERR_NOMEM
 */
MUST_CHECK enum status config_load(struct config **config, const struct config_row *const *tables,
                                   const char *path, const char *const *sets, int sets_count,
                                   char **report, struct error *err);
void config_destroy(struct config *config);

/* The key must be in the tables with that type (else an assert: our own mistake).
 * Texts live as long as the config. An absent optional text is "", an absent number 0.
 * A name under "*" that nobody has written has the defaults of its rows. */
const char *config_text(const struct config *config, const char *key);
bool config_bool(const struct config *config, const char *key);
int64_t config_int(const struct config *config, const char *key);
double config_real(const struct config *config, const char *key);
int64_t config_duration_ms(const struct config *config, const char *key);
int64_t config_size_bytes(const struct config *config, const char *key);
/**
 * Resolved now, so that a rotated file is seen; free() it after use. A file's last newline
 * is not part of it.
 * Errors: ERR_NOT_FOUND (no such file or variable, or the key is not set: then *value is NULL
 *         and the text says so), ERR_IO, ERR_CONFIG (empty, or not a regular file), ERR_NOMEM
 */
MUST_CHECK enum status config_secret(const struct config *config, const char *key, char **value,
                                     struct error *err);

/* The reference itself: file:PATH or env:NAME; "" when the key is not set. */
const char *config_secret_reference(const struct config *config, const char *key);
/* The same of a reference kept from a configuration that may be gone; key: for messages. */
MUST_CHECK enum status config_secret_of(const char *key, const char *reference, char **value,
                                        struct error *err);

/* Was it set anywhere above the default? */
bool config_given(const struct config *config, const char *key);
/* Names under a wildcard, in the order written: config_name(c, "events.actions", 0) -> "click",
 * ... NULL past the end. */
const char *config_name(const struct config *config, const char *prefix, int index);

/* Every value there is, in the order of the tables: for `config show --json` and `doctor`. */
struct config_entry {
    const char *key;
    const struct config_row *row;
    const char *value;  /* a secret's is its reference; "" when absent */
    const char *origin; /* "default", "freshet.yaml:12", "FRESHET_SERVE_LISTEN", "--set" */
    bool given;
    int line, column; /* of the file, from 1; 0: it does not stand there */
};
bool config_entry(const struct config *config, int index, struct config_entry *entry);

/* What one value alone does not show: each is asked by `freshet config check`, and reports what the
 * role that uses those values would. Tables end with a NULL key. */
typedef void config_tell(void *context, const char *key, const char *text);
struct config_rule {
    const char *key; /* the place in the configuration */
    enum status (*check)(const struct config *config, struct error *err);
    /* In place of check, where several keys are looked at: tells each mistake with its own key,
     * which the text names, too. */
    void (*check_each)(const struct config *config, config_tell *tell, void *context);
    /* Or what starts all the same, but not as meant: told as warnings. */
    void (*warn_each)(const struct config *config, config_tell *tell, void *context);
};

/* Is a property (of librdkafka, "name=value") one whose value nobody may see? */
bool config_secret_name(struct text name);
/* A value as it may be seen: the password in an address, scheme://user:password@host, is ***, and
 * so is the value of a secret property, unless it is a reference. Returns the value itself, or the
 * text in into. */
#define CONFIG_SHOWN_BYTES 4112
const char *config_shown(const char *value, char into[CONFIG_SHOWN_BYTES]);

/* Is it a value as config_shown() has left it, with *** where a password was? Such a one is refused
 * wherever it is read: else *** would be taken for the password. */
bool config_hidden(const char *value);

/* `freshet config show`: the whole configuration as YAML with help as comments; with
 * origin, where each value came from. Secrets print as their reference, passwords in addresses
 * and properties as ***. free() it. */
MUST_CHECK enum status config_render(const struct config *config, bool origin, char **yaml,
                                     struct error *err);

#endif
