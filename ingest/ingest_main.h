/*
 * ingest/ingest_main.h - the commands of this folder.
 */
#ifndef INGEST_INGEST_MAIN_H
#define INGEST_INGEST_MAIN_H

#include "ops/command.h"

extern const struct command *const ingest_commands[]; /* NULL-ended */

extern const struct command ingest_command, replay_command, offsets_list_command,
    offsets_diff_command, offsets_reset_command, dlq_list_command, dlq_show_command,
    dlq_replay_command, verify_command, erase_command;

#endif
