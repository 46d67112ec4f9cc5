/* features/features_main.c - the tables, and `features scalars`. */
#include "features/features_main.h"

#include "features/features_commands.h"
#include "features/scalars.h"
#include "ops/json_writer.h"

#include <stdio.h>

const struct config_row features_config_rows[] = {
    {.key = "features.sequence_max",
     .type = CONFIG_INT,
     .fallback = "100",
     .min = 1,
     .max = 512,
     .help = "Newest events kept of each user. More is more to learn from and to score; 100 are "
             "about 1.7 KB of Redis memory. Fixed in the data set's record."},
    {.key = "features.joins_max",
     .type = CONFIG_INT,
     .fallback = "4",
     .min = 0,
     .max = 16,
     .help = "Newest shown lists of each user that may still get labels. Raise it where a user "
             "sees many lists within the join window. Fixed in the data set's record."},
    {.key = "features.join_window",
     .type = CONFIG_DURATION,
     .fallback = "30m",
     .min = 0,
     .max = 7.0 * 24 * 3600 * 1000,
     .help = "How long after a list was shown a click still is a label of it; learning waits as "
             "long. Fixed in the data set's record."},
    {.key = "features.late_max",
     .type = CONFIG_DURATION,
     .fallback = "7d",
     .min = 1000,
     .max = 3650.0 * 24 * 3600 * 1000,
     .help = "An event older than its partition's newest by more than this is dropped and "
             "counted. Fixed in the data set's record."},
    {.key = "features.ttl",
     .type = CONFIG_DURATION,
     .fallback = "30d",
     .min = 60.0 * 1000,
     .max = 3650.0 * 24 * 3600 * 1000,
     .help = "How long after the last write a user is kept in Redis; at least 8/7 of the events "
             "topic's retention, which `freshet doctor` checks."},
    {.key = "clock",
     .type = CONFIG_CHOICE,
     .fallback = "wall",
     .choices = "wall|stream",
     .help = "What now is for decay and requests: the wall clock, or the newest event seen (for "
             "old data that is replayed)."},
    {0},
};

static int run_scalars(struct command_line *line)
{
    char buffer[16 * 1024];
    struct json_writer w;

    json_writer_init(&w, buffer, sizeof buffer);
    json_object_begin(&w);
    json_key(&w, "scalars");
    json_array_begin(&w);
    for (int i = 0; i < scalars_count; i++) {
        const struct scalar_row *row = &scalar_rows[i];

        if (!command_json(line))
            (void)printf("  %-12s %-8s %s\n", row->name, scalar_scope_names[row->scope], row->help);
        json_object_begin(&w);
        json_text(&w, "name", text_of(row->name));
        json_text(&w, "scope", text_of(scalar_scope_names[row->scope]));
        json_text(&w, "help", text_of(row->help));
        json_object_end(&w);
    }
    json_array_end(&w);
    json_object_end(&w);
    if (command_json(line))
        (void)printf("%.*s\n", (int)w.used, w.at);
    return json_writer_ok(&w) ? EXIT_DONE : EXIT_BUG;
}

static const struct command scalars_command = {
    .name = "features scalars",
    .summary = "the scalar features of the model's head",
    .arguments = "",
    .help = "The names and their order travel in a model bundle; a bundle that has others is "
            "refused. Each is computed from the raw counts that an answer's trace carries.\n\n"
            "Examples:\n  freshet features scalars\n  freshet features scalars --json",
    .run = run_scalars,
};

const struct command *const features_commands[] = {
    &features_show_command, &features_size_command, &features_dump_command, &scalars_command, NULL,
};
