/*
 * features/features_size.c - `freshet features size`: what the state takes, and what it would take.
 *
 * Measured: MEMORY USAGE of each key, or of about SAMPLE_MAX of them where there are more, by kind.
 */
#include "features/features_commands.h"
#include "features/item_tables.h"
#include "features/key_scan.h"
#include "features/redis_call.h"
#include "features/redis_dataset.h"
#include "features/size_plan.h"
#include "ops/json_writer.h"

#include <inttypes.h>
#include <stdio.h>

#define REDIS_MS     10000
#define SAMPLE_MAX   50000
#define RESULT_BYTES 4096
#define KINDS        (REDIS_KEY_SET + 1)

static const struct option_row options[] = {
    {"users", OPTION_INT, "N", NULL, "plan for so many users instead of measuring"},
    {"items", OPTION_INT, "N", NULL, "plan for so many items"},
    {"lists", OPTION_INT, "N", "1", "plan: open lists of each user"},
    {"rows", OPTION_INT, "N", "10", "plan: rows of a list"},
    {"id-bytes", OPTION_INT, "N", "16", "plan: bytes of a user's or an item's id"},
    {0},
};

static const char *const kind_names[KINDS] = {"other", "users", "applied", "outboxes", "set"};

/* Bytes as people read them. */
static const char *readable(int64_t bytes, char into[32])
{
    static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double value = (double)bytes;
    int unit = 0;

    while (value >= 1024 && unit < 6) {
        value /= 1024;
        unit++;
    }
    (void)snprintf(into, 32, unit == 0 ? "%.0f %s" : "%.1f %s", value, units[unit]);
    return into;
}

/* ---- the plan ---- */

static void print_plan(const struct size_plan_input *input, const struct size_plan *plan)
{
    char total[32];

    if (input->users > 0) {
        (void)printf("redis     %" PRId64 " users of %" PRId64 " bytes: %s\n", input->users,
                     plan->user_bytes, readable(plan->users_bytes, total));
        (void)printf("          a value of %" PRId64 " bytes (%d events, %d open lists of %d), its "
                     "key, its TTL\n",
                     plan->value_bytes, input->sequence_max, input->opens, input->rows);
        (void)printf("          double it for the copy that a save or a new replica needs while "
                     "everything is written to\n");
    }
    if (input->items > 0) {
        (void)printf("memory    %" PRId64 " items of at most %" PRId64 " bytes: %s, in the trainer "
                     "and in each scorer\n",
                     input->items, plan->item_bytes, readable(plan->items_bytes, total));
        (void)printf("bundle    at most %" PRId64 " bytes an item: %s, without the weights\n",
                     plan->item_file_bytes, readable(plan->items_file_bytes, total));
    }
}

static int print_json(const struct size_plan_input *input, const struct size_plan *plan)
{
    char buffer[RESULT_BYTES];
    struct json_writer w;

    json_writer_init(&w, buffer, sizeof buffer);
    json_object_begin(&w);
    json_int(&w, "users", input->users);
    json_int(&w, "value_bytes", plan->value_bytes);
    json_int(&w, "bytes_per_user", plan->user_bytes);
    json_int(&w, "redis_bytes", plan->users_bytes);
    json_int(&w, "items", input->items);
    json_int(&w, "bytes_per_item", plan->item_bytes);
    json_int(&w, "items_bytes", plan->items_bytes);
    json_int(&w, "bundle_items_bytes", plan->items_file_bytes);
    json_object_end(&w);
    (void)printf("%.*s\n", (int)w.used, w.at);
    return json_writer_ok(&w) ? EXIT_DONE : EXIT_BUG;
}

static int run_plan(struct command_line *line, const struct config *config)
{
    int64_t sequence_max = config_int(config, "features.sequence_max");
    struct size_plan_input input = {
        .users = command_given(line, "users") ? command_int(line, "users") : 0,
        .items = command_given(line, "items") ? command_int(line, "items") : 0,
        .sequence_max = (int)sequence_max,
        .opens = (int)command_int(line, "lists"),
        .rows = (int)command_int(line, "rows"),
        .user_bytes = (int)command_int(line, "id-bytes"),
        .name_bytes = (int)command_int(line, "id-bytes"),
        .neighbours = ITEM_NEIGHBOURS_DEFAULT,
    };
    struct size_plan plan;

    if (input.users < 0 || input.items < 0 || input.opens < 0 || input.opens > JOINS_MAX ||
        input.rows < 0 || input.rows > OPEN_ROWS_MAX || input.user_bytes < 1 ||
        input.user_bytes > USER_ID_MAX)
        return command_misused(line,
                               "users and items are not negative, lists at most %d, rows at most "
                               "%d, id-bytes 1 to %d",
                               JOINS_MAX, OPEN_ROWS_MAX, USER_ID_MAX);
    plan = size_plan_make(&input);
    if (command_json(line))
        return print_json(&input, &plan);
    print_plan(&input, &plan);
    return EXIT_DONE;
}

/* ---- the measurement ---- */

struct measured {
    int64_t keys[KINDS];
    int64_t sampled[KINDS];
    int64_t bytes[KINDS]; /* of those sampled */
};

static enum status ask_number(struct redis_nodes *nodes, const struct text *arguments, int count,
                              int64_t *number, struct error *err)
{
    const struct redis_reply *reply;
    enum status status = redis_nodes_call(nodes, REDIS_MS, arguments, count, &reply, err);

    if (status == OK)
        *number = reply->type == REPLY_INTEGER ? reply->integer : -1; /* nil: it is gone */
    return status;
}

/* Keys of all nodes, about. */
static enum status count_keys(struct redis_nodes *nodes, int64_t *all, struct error *err)
{
    const struct text dbsize[] = {text_of("DBSIZE")};
    const struct redis_reply *reply;
    int numbers[REDIS_NODES_MAX], count;
    enum status status = redis_nodes_all(nodes, REDIS_MS, numbers, &count, err);

    for (int i = 0; i < count && status == OK; i++) {
        status = redis_call(redis_nodes_at(nodes, numbers[i]), REDIS_MS, dbsize, 1, &reply, err);
        if (status == OK)
            *all += reply->integer;
    }
    return status;
}

static enum status measure(struct redis_nodes *nodes, const struct redis_keys *keys,
                           struct measured *m, struct error *err)
{
    struct key_scan *scan = NULL;
    int64_t all = 0, seen = 0, every;
    bool more = true;
    enum status status = count_keys(nodes, &all, err);

    every = all / SAMPLE_MAX + 1;
    if (status == OK)
        status = key_scan_create(&scan, nodes, keys, REDIS_KEY_OTHER, err);
    while (status == OK && more && !command_stopping()) {
        const struct key_scan_key *batch;
        int count;

        status = key_scan_next(scan, REDIS_MS, &batch, &count, &more, err);
        for (int i = 0; i < count && status == OK; i++) {
            const struct text usage[] = {text_of("MEMORY"), text_of("USAGE"), batch[i].key,
                                         text_of("SAMPLES"), text_of("0")};
            int64_t bytes = -1;

            m->keys[batch[i].kind]++;
            /* Few keys are not users, and they differ in size: all of those. */
            if (batch[i].kind == REDIS_KEY_USER && seen++ % every != 0)
                continue;
            status = ask_number(nodes, usage, 5, &bytes, err);
            if (bytes < 0)
                continue;
            m->sampled[batch[i].kind]++;
            m->bytes[batch[i].kind] += bytes;
        }
    }
    key_scan_destroy(scan);
    return status;
}

static int64_t estimated(const struct measured *m, int kind)
{
    return m->sampled[kind] == 0 ? 0
                                 : (int64_t)((double)m->bytes[kind] * (double)m->keys[kind] /
                                             (double)m->sampled[kind]);
}

static int print_measured(const struct command_line *line, const struct measured *m)
{
    char buffer[RESULT_BYTES], text[32];
    struct json_writer w;
    int64_t total = 0;

    json_writer_init(&w, buffer, sizeof buffer);
    json_object_begin(&w);
    for (int kind = REDIS_KEY_USER; kind < KINDS; kind++) {
        int64_t bytes = estimated(m, kind);

        total += bytes;
        json_key(&w, kind_names[kind]);
        json_object_begin(&w);
        json_int(&w, "keys", m->keys[kind]);
        json_int(&w, "bytes", bytes);
        json_object_end(&w);
        if (!command_json(line))
            (void)printf("%-9s %10" PRId64 " keys  %12s  %.0f bytes each\n", kind_names[kind],
                         m->keys[kind], readable(bytes, text),
                         m->keys[kind] == 0 ? 0.0 : (double)bytes / (double)m->keys[kind]);
    }
    json_int(&w, "bytes", total);
    json_object_end(&w);
    if (command_json(line))
        (void)printf("%.*s\n", (int)w.used, w.at);
    else
        (void)printf("%-9s %29s\n", "all", readable(total, text));
    return json_writer_ok(&w) ? EXIT_DONE : EXIT_BUG;
}

static int run_size(struct command_line *line)
{
    const struct config *config = command_config(line);
    struct redis_nodes *nodes = NULL;
    struct redis_dataset dataset = {0};
    struct redis_keys keys;
    struct measured measured = {0};
    struct error err;
    enum status status;
    int code;

    if (config == NULL)
        return EXIT_USAGE;
    if (command_given(line, "users") || command_given(line, "items"))
        return run_plan(line, config);
    status = redis_dataset_connect_nodes(&dataset, &nodes, &keys, config, REDIS_MS, &err);
    if (status == OK)
        status = measure(nodes, &keys, &measured, &err);
    code = status == OK ? print_measured(line, &measured) : command_fail(line, &err);
    redis_nodes_destroy(nodes);
    redis_dataset_clear(&dataset);
    return code;
}

const struct command features_size_command = {
    .name = "features size",
    .summary = "how much memory the state takes, or would take",
    .arguments = "",
    .help = "Without --users and --items: the keys of this data set in Redis, by kind. With one "
            "of them: a plan, from features.sequence_max and the sizes given; needs no Redis.\n\n"
            "Examples:\n  freshet features size\n"
            "  freshet features size --users 5000000 --items 200000\n"
            "  freshet features size --users 1000000 --lists 4 --rows 20 --json",
    .options = options,
    .run = run_size,
};
