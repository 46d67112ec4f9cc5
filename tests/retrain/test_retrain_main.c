/*
 * Tests retrain/retrain_main and the rows of retrain/role: ports that do not collide when all roles
 * run on one machine with their defaults, and that every command says what it does.
 */
#include "retrain/retrain_main.h"

#include "ingest/ingest_config.h"
#include "ops/kafka_consumer.h"
#include "scorer/serve_main.h"
#include "tests/test.h"

#include <stdlib.h>
#include <string.h>

static const char *default_of(const struct config_row *rows, const char *key)
{
    for (; rows->key != NULL; rows++)
        if (strcmp(rows->key, key) == 0)
            return rows->fallback;
    test_fail(__FILE__, __LINE__, "no row %s", key);
}

static int port_of(const struct config_row *rows, const char *key)
{
    const char *colon = strrchr(default_of(rows, key), ':');

    CHECK(colon != NULL);
    return atoi(colon + 1);
}

TEST(retrain_admin_has_a_port_that_nothing_else_takes_by_default)
{
    int port = port_of(retrain_config_rows, "retrain.admin");

    CHECK(port != port_of(kafka_config_rows, "kafka.brokers"));
    CHECK(port != port_of(ingest_config_rows, "ingest.admin"));
    CHECK(port != port_of(serve_config_rows, "serve.admin"));
    CHECK(port != port_of(serve_config_rows, "serve.listen"));
    CHECK(port < 9092 || port > 9094); /* Kafka's: clients, controllers, TLS */
}

TEST(retrain_defaults_lie_in_their_own_ranges)
{
    static const struct config_row *const tables[] = {retrain_config_rows, NULL};
    struct config *config;
    char *report = NULL;
    struct error err;

    CHECK_STATUS(OK, config_load(&config, tables, NULL, NULL, 0, &report, &err));
    CHECK(config_int(config, "retrain.holdout_min") <= config_int(config, "retrain.holdout_max"));
    free(report);
    config_destroy(config);
}

TEST(retrain_commands_have_names_summaries_and_examples)
{
    int count = 0;

    for (; retrain_commands[count] != NULL; count++) {
        CHECK(retrain_commands[count]->summary[0] != 0 && retrain_commands[count]->run != NULL);
        CHECK(strstr(retrain_commands[count]->help, "Examples:") != NULL);
    }
    CHECK(count >= 5);
}
