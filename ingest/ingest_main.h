/*
 * ingest/ingest_main.h - the commands of this folder, and its rows of the configuration.
 */
#ifndef INGEST_INGEST_MAIN_H
#define INGEST_INGEST_MAIN_H

#include "ops/command.h"

extern const struct command *const ingest_commands[]; /* NULL-ended */
extern const struct config_row ingest_config_rows[];  /* ends with a NULL key */

/* The data set as the configuration wants it, without id and seed. The caller frees nothing. */
struct redis_dataset;
struct event_schema;
MUST_CHECK enum status ingest_wanted_dataset(struct redis_dataset *wanted,
                                             const struct config *config,
                                             const struct event_schema *schema, struct error *err);

extern const struct command ingest_command, replay_command, offsets_list_command, dlq_list_command,
    dlq_show_command, verify_command, erase_command;

#endif
