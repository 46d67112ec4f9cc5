/* ops/config_main.c - `freshet config check` and `freshet config show`. */
#include "ops/command_line.h"
#include "ops/config_mistakes.h"
#include "ops/config_value.h"
#include "ops/http_server.h"
#include "ops/json_writer.h"
#include "ops/log.h"
#include "ops/ops_commands.h"
#include "ops/ops_main.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RESULT_BYTES_MAX ((size_t)1 << 20)
#define LINE_BYTES       2048

/* What `config check` has found, and where to look a place up. */
struct check {
    const char *path; /* NULL: no file */
    struct config *config;
    struct config_mistakes mistakes, warnings;
    int loaded; /* mistakes that were found before any rule was asked */
};

/* Where a key got its value: its line, a variable, --set; else the file in which it could stand. A
 * variable that is no key stands in no file. */
static struct config_place place_of(const struct check *check, const char *key)
{
    struct config_entry entry;

    if (strncmp(key, "FRESHET_", 8) == 0)
        return (struct config_place){"environment", 0, 0};
    for (int i = 0; config_entry(check->config, i, &entry); i++)
        if (strcmp(entry.key, key) == 0) {
            if (entry.line > 0 && check->path != NULL)
                return (struct config_place){check->path, entry.line, entry.column};
            if (entry.given)
                return (struct config_place){entry.origin, 0, 0};
        }
    return (struct config_place){check->path == NULL ? "configuration" : check->path, 0, 0};
}

/* A key that was refused has its default now, of which nothing is to be said. */
static void tell(void *context, const char *key, const char *text)
{
    struct check *check = context;

    if (!config_mistakes_of(&check->mistakes, key, check->loaded))
        config_mistakes_add(&check->mistakes, place_of(check, key), key, "%s", text);
}

static void warn(void *context, const char *key, const char *text)
{
    struct check *check = context;

    if (!config_mistakes_of(&check->mistakes, key, check->loaded))
        config_mistakes_add(&check->warnings, place_of(check, key), key, "%s", text);
}

/* Every secret that is named must be readable, else the roles that use it will fail. */
static void check_secrets(struct check *check)
{
    struct config_entry entry;
    struct error err;
    char *value;

    for (int i = 0; config_entry(check->config, i, &entry); i++) {
        if (entry.row->type != CONFIG_SECRET || entry.value[0] == 0)
            continue;
        if (config_secret(check->config, entry.key, &value, &err) != OK) {
            tell(check, entry.key, err.text);
            continue;
        }
        explicit_bzero(value, strlen(value));
        free(value);
    }
}

static const char *const listeners[] = {"serve.listen", "serve.admin", "ingest.admin",
                                        "retrain.admin"};
#define LISTENERS ((int)(sizeof listeners / sizeof listeners[0]))

/* NULL: the tables have no such key. */
static const char *address_of(const struct config *config, const char *key, bool *given)
{
    struct config_entry entry;

    for (int i = 0; config_entry(config, i, &entry); i++)
        if (strcmp(entry.key, key) == 0) {
            *given = entry.given;
            return entry.value;
        }
    return NULL;
}

static bool same_role(const char *one, const char *other)
{
    size_t bytes = strcspn(one, ".");

    return strncmp(one, other, bytes + 1) == 0;
}

/* Two of one role: it can never start. Two roles may well be on two machines, or in containers of
 * their own: that is a warning. */
static void check_listeners(struct check *check)
{
    for (int i = 1; i < LISTENERS; i++)
        for (int j = 0; j < i; j++) {
            bool given = false, other_given = false;
            const char *address = address_of(check->config, listeners[i], &given);
            const char *other = address_of(check->config, listeners[j], &other_given);
            bool role = same_role(listeners[i], listeners[j]);
            const char *key = listeners[given ? i : j];

            if (address == NULL || other == NULL || !http_addresses_collide(address, other))
                continue;
            config_mistakes_add(role ? &check->mistakes : &check->warnings, place_of(check, key),
                                key, "%s and %s both listen on port %s (%.100s, %.100s): %s",
                                listeners[j], listeners[i], strrchr(address, ':') + 1, other,
                                address,
                                role ? "give one of them another"
                                     : "on one machine the second to start would fail");
        }
}

/* What a role would refuse when it starts. */
static void check_rules(struct check *check)
{
    const struct config_rule *const *rule_tables = command_tables()->rule_tables;

    for (int i = 0; rule_tables != NULL && rule_tables[i] != NULL; i++)
        for (const struct config_rule *rule = rule_tables[i]; rule->key != NULL; rule++) {
            struct error err;

            if (rule->check_each != NULL)
                rule->check_each(check->config, tell, check);
            else if (rule->warn_each != NULL)
                rule->warn_each(check->config, warn, check);
            else if (rule->check(check->config, &err) != OK)
                tell(check, rule->key, err.text);
        }
}

static enum status check_address(const struct config *config, const char *key, struct error *err)
{
    const char *address = config_text(config, key);

    return http_address_valid(address)
               ? OK
               : error_set(err, ERR_CONFIG,
                           "%s: \"%.100s\" is no address to listen on; write host:port", key,
                           address);
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

/* "host", "host:port", "[::1]:port", each with a protocol before it or not, as librdkafka reads it;
 * but it would take a wrong port for 9092 without a word. */
static const char *wrong_with_broker(struct text broker)
{
    const char *scheme = memmem(broker.at, broker.bytes, "://", 3);
    const char *end = broker.at + broker.bytes;
    const char *at = scheme == NULL ? broker.at : scheme + 3;
    const char *host_end;
    long port = 0;

    if (at < end && *at == '[') {
        host_end = memchr(at, ']', (size_t)(end - at));
        if (host_end == NULL)
            return "lacks its ]";
        host_end++;
    } else {
        host_end = memchr(at, ':', (size_t)(end - at));
        if (host_end != NULL && memchr(host_end + 1, ':', (size_t)(end - host_end - 1)) != NULL)
            return "has more than one colon; an IPv6 address stands in [ ]";
    }
    if (host_end == at || at == end)
        return "has no host";
    if (host_end == NULL || host_end == end)
        return NULL; /* 9092 */
    if (*host_end++ != ':' || host_end == end)
        return "has no port behind its colon";
    for (; host_end < end; host_end++) {
        if (!isdigit((unsigned char)*host_end))
            return "has a port that is no number";
        port = port > 65535 ? port : 10 * port + (*host_end - '0');
    }
    return port >= 1 && port <= 65535 ? NULL : "has a port outside 1..65535";
}

static void check_brokers(const struct config *config, config_tell *tell_of, void *context)
{
    const char *brokers = config_text(config, "kafka.brokers");
    char text[400];

    if (brokers[0] == 0)
        tell_of(context, "kafka.brokers", "kafka.brokers is empty; write host:port,host:port");
    for (const char *at = brokers; brokers[0] != 0 && at != NULL;) {
        struct text broker = {at, strcspn(at, ",")};
        const char *wrong = memchr(at, ';', broker.bytes) != NULL ||
                                    memchr(at, ' ', broker.bytes) != NULL
                                ? "is not separated by commas alone"
                                : wrong_with_broker(broker);
        char shown[120];

        at = at[broker.bytes] == ',' ? at + broker.bytes + 1 : NULL;
        if (wrong == NULL)
            continue;
        (void)snprintf(text, sizeof text, "%.*s", (int)broker.bytes, broker.at);
        config_value_printable(shown, sizeof shown, text);
        (void)snprintf(text, sizeof text, "kafka.brokers: \"%s\" %s; write host:port,host:port",
                       shown, wrong);
        tell_of(context, "kafka.brokers", text);
    }
}

const struct config_rule ops_config_rules[] = {
    {.key = "kafka.brokers", .check_each = check_brokers},
    {.key = "ingest.admin", .check = check_ingest_admin},
    {.key = "retrain.admin", .check = check_retrain_admin},
    {.key = "serve.admin", .check = check_serve_admin},
    {.key = "serve.listen", .check = check_serve_listen},
    {.key = NULL},
};

static void put_mistakes(struct json_writer *w, const char *key,
                         const struct config_mistakes *mistakes)
{
    json_key(w, key);
    json_array_begin(w);
    for (int i = 0; i < mistakes->kept; i++) {
        const struct config_mistake *mistake = &mistakes->list[i];

        json_object_begin(w);
        json_text(w, "origin", text_of(mistake->origin));
        if (mistake->line > 0) {
            json_int(w, "line", mistake->line);
            json_int(w, "column", mistake->column);
        }
        if (mistake->key[0] != 0)
            json_text(w, "key", text_of(mistake->key));
        json_text(w, "text", text_of(mistake->text));
        json_object_end(w);
    }
    json_array_end(w);
}

/* "error" is the first, as every command's; "mistakes" are all of them. */
static int print_check_json(const struct check *check)
{
    char *buffer = malloc(RESULT_BYTES_MAX);
    bool good = check->mistakes.count == 0;
    struct json_writer w;

    if (buffer == NULL)
        return EXIT_BUG;
    json_writer_init(&w, buffer, RESULT_BYTES_MAX);
    json_object_begin(&w);
    json_bool(&w, "ok", good);
    if (!good) {
        char first[LINE_BYTES];

        config_mistake_line(&check->mistakes.list[0], "", first, sizeof first);
        json_text(&w, "error", text_of(first));
        json_text(&w, "status", text_of(status_name(ERR_CONFIG)));
    }
    put_mistakes(&w, "mistakes", &check->mistakes);
    put_mistakes(&w, "warnings", &check->warnings);
    json_object_end(&w);
    (void)printf("%.*s\n", (int)w.used, w.at);
    good = good && json_writer_ok(&w);
    free(buffer);
    return good ? EXIT_DONE : EXIT_USAGE;
}

static void print_lines(const struct config_mistakes *mistakes, const char *kind)
{
    char *text = config_mistakes_text(mistakes, kind);

    if (text != NULL)
        (void)fputs(text, stderr);
    free(text);
}

static int print_check(const struct check *check)
{
    int count = check->mistakes.count;

    print_lines(&check->warnings, "warning: ");
    print_lines(&check->mistakes, "");
    if (count > 0)
        (void)fprintf(stderr, "freshet config check: %d mistake%s\n", count, text_plural(count));
    else if (check->path == NULL)
        (void)printf("no file, the defaults are used; --config FILE names one\n");
    else
        (void)printf("%s: ok\n", check->path);
    return count > 0 ? EXIT_USAGE : EXIT_DONE;
}

/* Names, values and rules in one go: what is refused has its default while the rules are asked, so
 * that one kind of mistake does not hide another. */
static int run_check(struct command_line *line)
{
    struct check check = {.path = command_config_path(line)};
    struct error err;
    enum status status = config_load_lenient(&check.config, command_tables()->config_tables,
                                             check.path, line->sets, line->sets_count,
                                             &check.mistakes, &check.warnings, &err);
    int code;

    log_start("config", LOG_ERROR, LOG_AUTO); /* what libraries say of a file is in our words */
    check.loaded = check.mistakes.kept;
    if (status == OK) {
        check_rules(&check);
        check_listeners(&check);
        check_secrets(&check);
        config_mistakes_sort(&check.mistakes);
        if (check.mistakes.no_memory || check.warnings.no_memory)
            status = error_set(&err, ERR_NOMEM, "no memory for the mistakes");
    }
    if (status != OK)
        code = command_fail(line, &err);
    else if (command_json(line))
        code = print_check_json(&check);
    else
        code = print_check(&check);
    config_destroy(check.config);
    config_mistakes_clear(&check.mistakes);
    config_mistakes_clear(&check.warnings);
    return code;
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
    .help = "Reads the file, the environment (FRESHET_SECTION_KEY) and --set as every role would. "
            "Names, values, what the roles would refuse, and files and secrets that cannot be read "
            "are told in one go, a line each, file:line:column, with the nearest known key; with "
            "--json they are the list \"mistakes\". Whether servers answer is asked by `freshet "
            "doctor`.\n\n"
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
    .summary = "print every key: what it means, its range and its value, as YAML",
    .arguments = "",
    .help = "What is printed can be used as a configuration again. Secrets print as their "
            "references; a password that stands in an address prints as ***, and has to be written "
            "again before the file is used: no role takes *** for a password.\n\n"
            "Examples:\n  freshet config show > freshet.yaml\n"
            "  freshet config show --origin --set serve.listen=127.0.0.1:9000\n"
            "  freshet config show --json",
    .options = show_options,
    .run = run_show,
};
