/*
 * freshet.c - the table of subcommands, and the one file that knows every folder.
 *
 * A folder joins by three lines: its header, its commands and, where it has them, its rows of
 * the configuration and its checks.
 */
#include "eval/eval_main.h"
#include "features/features_main.h"
#include "features/redis_connection.h"
#include "features/robot.h"
#include "ingest/ingest_config.h"
#include "ingest/ingest_main.h"
#include "kernels/backend_doctor.h"
#include "kernels/model_rows.h"
#include "ops/command.h"
#include "ops/kafka_consumer.h"
#include "ops/ops_main.h"
#include "retrain/retrain_main.h"
#include "schemas/event.h"
#include "scorer/serve_main.h"

#include <stddef.h>

static const struct command *const *const commands[] = {
    ops_commands,
    features_commands,
    ingest_commands,
    scorer_commands,
    retrain_commands,
    eval_commands,
    NULL,
};

static const struct config_row *const config_tables[] = {
    ops_config_rows,      kafka_config_rows,
    redis_config_rows,    events_config_rows,
    features_config_rows, ingest_config_rows,
    model_config_rows,    serve_config_rows,
    retrain_config_rows,  NULL,
};

static const struct doctor_check *const doctor_tables[] = {
    ops_doctor_checks,    kafka_doctor_checks, kafka_acl_checks,      redis_doctor_checks,
    ingest_doctor_checks, serve_doctor_checks, backend_doctor_checks, NULL,
};

static const struct config_rule *const rule_tables[] = {
    ops_config_rules,    kafka_config_rules,   redis_config_rules,
    events_config_rules, ingest_config_rules,  robot_config_rules,
    serve_config_rules,  backend_config_rules, NULL,
};

int main(int argc, char **argv)
{
    static const struct command_tables tables = {commands, config_tables, doctor_tables,
                                                 rule_tables};

    return command_main(argc, argv, &tables);
}
