/*
 * ops/config_value.h - one value of the configuration: its text checked against its row.
 * For ops/config*.c only.
 * Thread: any.
 */
#ifndef OPS_CONFIG_VALUE_H
#define OPS_CONFIG_VALUE_H

#include "ops/config.h"

#define CONFIG_WHY_BYTES 240

struct config_value {
    int64_t integer; /* CONFIG_INT, CONFIG_BOOL, CONFIG_DURATION in ms, CONFIG_BYTES */
    double real;     /* CONFIG_REAL */
};

/**
 * Checks text and fills *value. Returns false with the reason in why, worded to follow the
 * key: `must be a number`. The reason never repeats a secret.
 */
bool config_value_parse(const struct config_row *row, const char *text, struct config_value *value,
                        char why[CONFIG_WHY_BYTES]);

/* "an integer, 1..64", "one of a|b": what a row takes, for help and for messages. */
void config_value_describe(const struct config_row *row, char *into, size_t bytes);

/* Copies from with control characters and bytes beyond ASCII as '?', cut to bytes - 1. */
void config_value_printable(char *into, size_t bytes, const char *from);

#endif
