/* retrain/retrain_main.c - `freshet retrain`, and the table of this folder's commands. */
#include "retrain/retrain_main.h"

#include "kernels/backend.h"
#include "ops/file.h"
#include "ops/hash.h"
#include "ops/json_writer.h"
#include "ops/log.h"
#include "retrain/backtest_main.h"
#include "retrain/model_main.h"
#include "retrain/role.h"

#include <stdio.h>
#include <string.h>

static enum status write_ports(const struct command_line *line, const struct role *role,
                               struct error *err)
{
    const char *path = command_text(line, "ports-file");
    char text[64];
    int bytes;

    if (path == NULL)
        return OK;
    bytes = snprintf(text, sizeof text, "{\"admin\":%d}\n", role_admin_port(role));
    return file_replace(path, text, (size_t)bytes, err);
}

static void print_outcome(const struct command_line *line, bool published, const char *verdict)
{
    char bytes[1024];
    struct json_writer w;

    if (!command_json(line)) {
        (void)printf("%s\n", verdict);
        return;
    }
    json_writer_init(&w, bytes, sizeof bytes);
    json_object_begin(&w);
    json_bool(&w, "published", published);
    json_text(&w, "verdict", text_of(verdict));
    json_object_end(&w);
    (void)printf("%.*s\n", TEXT_ARGS(json_writer_text(&w)));
}

static int run_retrain(struct command_line *line)
{
    const struct config *config = command_config(line);
    bool once = command_flag(line, "once"), published = false;
    const struct backend *backend;
    struct role *role = NULL;
    struct error err;
    enum status status;
    int code = EXIT_DONE;

    if (config == NULL)
        return EXIT_USAGE;
    status = hash_start(&err);
    if (status == OK)
        status = backend_choose(&backend, &err);
    if (status == OK) {
        log_event(LOG_INFO, "backend", "learns and scores on", log_text("device", backend->name),
                  log_text("why", backend->why));
        status = role_open(&role, config, &err);
    }
    if (status == OK)
        status = write_ports(line, role, &err);
    if (status == OK) {
        log_event(LOG_INFO, "retraining", "follows and learns",
                  log_int("admin_port", role_admin_port(role)),
                  log_int("records_behind", role_lag(role)));
        status = role_run(role, once, &published, &err);
    }
    if (status == OK && once && !command_stopping()) {
        print_outcome(line, published, role_verdict(role));
        code = published ? EXIT_DONE : EXIT_NO;
    }
    role_close(role);
    if (status == ERR_CANCELLED && command_stopping())
        return EXIT_DONE;
    return status == OK ? code : command_fail(line, &err);
}

static const struct option_row retrain_options[] = {
    {"once", OPTION_FLAG, NULL, NULL,
     "train one round on what is there, publish or refuse, and exit 0 or 1; waits up to 30 s for "
     "lists "
     "whose labels may be on their way"},
    {"ports-file", OPTION_TEXT, "PATH", NULL,
     "write the admin port in use there, as JSON (useful with port 0)"},
    {0},
};

static const struct command retrain_command = {
    .name = "retrain",
    .summary = "follow the stream, keep the item tables fresh, train, judge, publish",
    .arguments = "",
    .help = "Follows the topics of events and examples, refreshes counts, popularity and "
            "co-visitation for the scorers every few seconds, and trains: on a schedule, on "
            "volume, or when drift says so. A challenger is judged on the newest choices, which "
            "it was not trained on, against the champion, co-visitation and popularity, by the "
            "code that serves; it is published, or refused with a reason (GET /gate on the "
            "admin port). The first bundle holds item tables alone.\n"
            "\n"
            "Examples:\n"
            "  freshet retrain --config freshet.yaml\n"
            "  freshet retrain --once --json\n"
            "  curl -s localhost:9095/gate\n",
    .options = retrain_options,
    .run = run_retrain,
};

const struct command *const retrain_commands[] = {
    &retrain_command,    &backtest_command,       &model_list_command,
    &model_show_command, &model_rollback_command, NULL,
};
