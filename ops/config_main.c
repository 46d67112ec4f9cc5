/* ops/config_main.c - `freshet config check` and `freshet config show`. */
#include "ops/http_server.h"
#include "ops/json_writer.h"
#include "ops/ops_commands.h"
#include "ops/ops_main.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RESULT_BYTES_MAX ((size_t)1 << 20)

/* Every secret that is named must be readable, else the roles that use it will fail. */
static enum status check_secrets(const struct config *config, struct error *first)
{
    struct config_entry entry;
    struct error err;
    char *value;

    *first = (struct error){.status = OK};
    for (int i = 0; config_entry(config, i, &entry); i++) {
        if (entry.row->type != CONFIG_SECRET || entry.value[0] == 0)
            continue;
        if (config_secret(config, entry.key, &value, &err) == OK) {
            explicit_bzero(value, strlen(value));
            free(value);
            continue;
        }
        (void)fprintf(stderr, "%s: %s\n", entry.origin, err.text);
        if (first->status == OK)
            (void)error_set(first, ERR_CONFIG, "%s", err.text);
    }
    return first->status;
}

static const char *origin_of(const struct config *config, const char *key)
{
    struct config_entry entry;

    for (int i = 0; config_entry(config, i, &entry); i++)
        if (strcmp(entry.key, key) == 0)
            return entry.origin;
    return key; /* a section */
}

/* What a role would refuse when it starts. */
static enum status check_rules(const struct config *config, struct error *first)
{
    const struct config_rule *const *rule_tables = command_tables()->rule_tables;

    *first = (struct error){.status = OK};
    for (int i = 0; rule_tables != NULL && rule_tables[i] != NULL; i++)
        for (const struct config_rule *rule = rule_tables[i]; rule->key != NULL; rule++) {
            struct error err;

            if (rule->check(config, &err) == OK)
                continue;
            (void)fprintf(stderr, "%s: %s\n", origin_of(config, rule->key), err.text);
            if (first->status == OK)
                *first = err;
        }
    return first->status;
}

static enum status check_address(const struct config *config, const char *key, struct error *err)
{
    const char *address = config_text(config, key);

    return http_address_valid(address)
               ? OK
               : error_set(err, ERR_CONFIG,
                           "%s: \"%s\" is no address to listen on; write host:port", key, address);
}

#define ADDRESS_RULE(role, name)                                                                   \
    static enum status check_##role##_##name(const struct config *config, struct error *err)       \
    {                                                                                              \
        return check_address(config, #role "." #name, err);                                        \
    }
ADDRESS_RULE(ingest, admin)
ADDRESS_RULE(retrain, admin)
ADDRESS_RULE(serve, admin)
ADDRESS_RULE(serve, listen)
#undef ADDRESS_RULE

static enum status check_brokers(const struct config *config, struct error *err)
{
    const char *brokers = config_text(config, "kafka.brokers");

    if (brokers[0] == 0)
        return error_set(err, ERR_CONFIG, "kafka.brokers is empty; write host:port,host:port");
    if (strpbrk(brokers, "; ") != NULL)
        return error_set(err, ERR_CONFIG, "kafka.brokers: \"%s\" is separated by commas", brokers);
    return OK;
}

const struct config_rule ops_config_rules[] = {
    {"kafka.brokers", check_brokers},       {"ingest.admin", check_ingest_admin},
    {"retrain.admin", check_retrain_admin}, {"serve.admin", check_serve_admin},
    {"serve.listen", check_serve_listen},   {NULL, NULL},
};

/* command_config() prints the report; --json has the first mistake as its error. */
static int run_check(struct command_line *line)
{
    const char *path = command_config_path(line);
    const struct config *config = command_config(line);
    struct error err, rule_err;

    if (config == NULL)
        return EXIT_USAGE;
    bool good = check_rules(config, &rule_err) == OK;
    bool readable = check_secrets(config, &err) == OK;
    if (!good || !readable) /* each was printed with its place */
        return command_json(line) ? command_fail(line, good ? &err : &rule_err) : EXIT_USAGE;
    if (command_json(line))
        (void)printf("{\"ok\":true}\n");
    else if (path == NULL)
        (void)printf("no file, the defaults are used; --config FILE names one\n");
    else
        (void)printf("%s: ok\n", path);
    return EXIT_DONE;
}

static int show_json(const struct config *config)
{
    char *buffer = malloc(RESULT_BYTES_MAX);
    char shown[CONFIG_SHOWN_BYTES];
    struct config_entry entry;
    struct json_writer w;
    bool good;

    if (buffer == NULL)
        return EXIT_BUG;
    json_writer_init(&w, buffer, RESULT_BYTES_MAX);
    json_object_begin(&w);
    for (int i = 0; config_entry(config, i, &entry); i++) {
        json_key(&w, entry.key);
        json_object_begin(&w);
        json_text(&w, "value", text_of(config_shown(entry.value, shown)));
        json_text(&w, "origin", text_of(entry.origin));
        json_object_end(&w);
    }
    json_object_end(&w);
    good = json_writer_ok(&w);
    (void)printf("%.*s\n", (int)w.used, w.at);
    free(buffer);
    return good ? EXIT_DONE : EXIT_BUG;
}

static int run_show(struct command_line *line)
{
    const struct config *config = command_config(line);
    char *yaml;
    struct error err;

    if (config == NULL)
        return EXIT_USAGE;
    if (command_json(line))
        return show_json(config);
    if (config_render(config, command_flag(line, "origin"), &yaml, &err) != OK)
        return command_fail(line, &err);
    (void)fputs(yaml, stdout);
    free(yaml);
    return EXIT_DONE;
}

const struct command config_check_command = {
    .name = "config check",
    .summary = "say whether the configuration can be used, and every mistake in it",
    .arguments = "",
    .help = "Reads the file, the environment (FRESHET_SECTION_KEY) and --set as every role would.\n"
            "Each mistake is one line, file:line:column, with the nearest known key; then every\n"
            "secret that is named is read. Whether servers answer is asked by `freshet doctor`.\n\n"
            "Examples:\n  freshet config check --config freshet.yaml\n"
            "  FRESHET_SERVE_LISTEN=0.0.0.0:80 freshet config check",
    .run = run_check,
};

static const struct option_row show_options[] = {
    {"origin", OPTION_FLAG, NULL, NULL, "say where each value came from"},
    {0},
};

const struct command config_show_command = {
    .name = "config show",
    .summary = "print the whole configuration with its help, as YAML",
    .arguments = "",
    .help = "What is printed can be used as a configuration again. Secrets print as their "
            "references.\n\n"
            "Examples:\n  freshet config show > freshet.yaml\n"
            "  freshet config show --origin --set serve.listen=127.0.0.1:9000\n"
            "  freshet config show --json",
    .options = show_options,
    .run = run_show,
};
