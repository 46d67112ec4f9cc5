/* Tests features/features_main: the defaults in the table are those of rules_init(). */
#include "features/features_main.h"

#include "features/rules.h"
#include "tests/test.h"

#include <stdlib.h>
#include <string.h>

static struct config *load(const char *const *sets, int count)
{
    static const struct config_row *const tables[] = {features_config_rows, NULL};
    struct config *config;
    char *report = NULL;
    struct error err;

    CHECK_STATUS(OK, config_load(&config, tables, NULL, sets, count, &report, &err));
    free(report);
    return config;
}

TEST(features_defaults_are_those_of_the_rules)
{
    struct config *config = load(NULL, 0);
    struct event_schema *schema;
    struct rules plain, configured;
    struct error err;

    CHECK_STATUS(OK, event_schema_default(&schema, &err));
    rules_init(&plain, schema, 7);
    CHECK_STATUS(OK, rules_from_config(&configured, schema, config, 7, &err));
    CHECK_INT(plain.sequence_max, configured.sequence_max);
    CHECK_INT(plain.joins_max, configured.joins_max);
    CHECK_INT(plain.join_window_ms, configured.join_window_ms);
    CHECK_INT(plain.late_max_ms, configured.late_max_ms);
    CHECK(configured.seed == 7);
    CHECK_TEXT("click", configured.actions[2].name);
    CHECK(configured.actions[2].history && configured.actions[2].label > 0);
    CHECK_INT(0, configured.actions[0].name[0]);
    CHECK_TEXT("wall", config_text(config, "clock"));
    event_schema_destroy(schema);
    config_destroy(config);
}

TEST(features_settings_reach_the_rules)
{
    const char *const sets[] = {"features.sequence_max=512", "features.joins_max=0",
                                "features.join_window=90s", "features.late_max=2d"};
    struct config *config = load(sets, 4);
    struct event_schema *schema;
    struct rules rules;
    struct error err;

    CHECK_STATUS(OK, event_schema_default(&schema, &err));
    CHECK_STATUS(OK, rules_from_config(&rules, schema, config, 0, &err));
    CHECK_INT(SEQUENCE_MAX, rules.sequence_max);
    CHECK_INT(0, rules.joins_max);
    CHECK_INT(90000, rules.join_window_ms);
    CHECK_INT(2 * 24 * 3600 * 1000, rules.late_max_ms);
    event_schema_destroy(schema);
    config_destroy(config);
}

TEST(features_commands_have_names_summaries_and_examples)
{
    for (int i = 0; features_commands[i] != NULL; i++) {
        CHECK(strncmp(features_commands[i]->name, "features ", 9) == 0);
        CHECK(features_commands[i]->summary[0] != '\0' && features_commands[i]->run != NULL);
        CHECK(strstr(features_commands[i]->help, "Examples:") != NULL);
    }
}
