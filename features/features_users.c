/* features/features_users.c - `freshet features show USER` and `freshet features dump`. */
#include "features/features_commands.h"
#include "features/key_scan.h"
#include "features/redis_dataset.h"
#include "features/user_print.h"
#include "ops/arena.h"
#include "ops/hash.h"

#include <inttypes.h>
#include <stdlib.h>

#define REDIS_MS    10000
#define ARENA_BLOCK ((size_t)64 * 1024)
#define ARENA_LIMIT ((size_t)16 * 1024 * 1024)
#define SHOWN_MAX   20

static const struct option_row show_options[] = {
    {"items", OPTION_TEXT, "FILE", NULL, "the file `items` of a bundle: shows items by name"},
    {"all", OPTION_FLAG, NULL, NULL, "every entry of the sequence, not the newest 20"},
    {0},
};

static const struct option_row dump_options[] = {
    {"items", OPTION_TEXT, "FILE", NULL, "the file `items` of a bundle: shows items by name"},
    {0},
};

/* What both commands work with. */
struct session {
    struct command_line *line;
    struct redis_dataset dataset;
    struct redis_nodes *nodes;
    struct redis_keys keys;
    struct item_tables *tables; /* NULL without --items */
    struct arena *arena;
    char *buffer; /* (USER_PRINT_BYTES) */
    struct user_value value;
    int64_t users, unreadable;
};

static void session_close(struct session *s)
{
    redis_nodes_destroy(s->nodes);
    redis_dataset_clear(&s->dataset);
    item_tables_destroy(s->tables);
    arena_destroy(s->arena);
    free(s->buffer);
    free(s);
}

static enum status session_open(struct session **session, struct command_line *line,
                                const struct config *config, struct error *err)
{
    struct session *s = calloc(1, sizeof *s);
    enum status status;

    *session = s;
    if (s == NULL)
        return error_set(err, ERR_NOMEM, "no memory");
    s->line = line;
    s->arena = arena_create(ARENA_BLOCK, ARENA_LIMIT);
    s->buffer = malloc(USER_PRINT_BYTES);
    if (s->buffer == NULL)
        return error_set(err, ERR_NOMEM, "no memory for a user's value");
    status = hash_start(err);
    if (status == OK && command_given(line, "items"))
        status = item_tables_load(&s->tables, command_text(line, "items"), err);
    if (status == OK)
        status = redis_dataset_connect_nodes(&s->dataset, &s->nodes, &s->keys, config, REDIS_MS,
                                             err);
    if (status == OK && s->tables != NULL && item_tables_seed(s->tables) != s->dataset.rules.seed)
        status = error_set(err, ERR_CONFLICT, "\"%s\" is of another data set",
                           command_text(line, "items"));
    return status;
}

/* Prints one line of JSON. */
static enum status print_json(struct session *s, struct text user, struct error *err)
{
    struct json_writer w;

    json_writer_init(&w, s->buffer, USER_PRINT_BYTES);
    if (!user_print_json(&w, user, &s->value, &s->dataset.rules, s->tables))
        return error_set(err, ERR_LIMIT, "a user's value does not fit a line");
    if (fwrite(w.at, 1, w.used, stdout) != w.used || fputc('\n', stdout) == EOF)
        return error_set(err, ERR_IO, "could not write to standard output");
    return OK;
}

/* ---- show ---- */

static enum status show(struct session *s, const char *name, bool *found, struct error *err)
{
    struct text user = text_of(name);
    char key[REDIS_KEY_BYTES_MAX];
    struct text bytes;
    int shard = rules_shard(&s->dataset.rules, user, s->dataset.shards);
    size_t key_bytes = redis_key_user(&s->keys, shard, user, key);
    enum status status = redis_nodes_get(s->nodes, REDIS_MS, (struct text){key, key_bytes}, &bytes,
                                         err);

    *found = status == OK && bytes.at != NULL;
    if (!*found)
        return status;
    status = user_value_decode(&s->value, (const uint8_t *)bytes.at, bytes.bytes, s->arena, err);
    if (status != OK)
        return status;
    if (command_json(s->line))
        return print_json(s, user, err);
    (void)printf("shard     %d of %d, %zu bytes\n", shard, s->dataset.shards, bytes.bytes);
    user_print_text(stdout, user, &s->value, &s->dataset.rules, s->tables,
                    command_flag(s->line, "all") ? SEQUENCE_MAX : SHOWN_MAX);
    return OK;
}

static int run_show(struct command_line *line)
{
    const struct config *config = command_config(line);
    const char *user = command_argument(line, 0);
    struct session *s = NULL;
    bool found = false;
    struct error err;
    enum status status;
    int code;

    if (config == NULL)
        return EXIT_USAGE;
    if (user[0] == '\0' || strlen(user) > USER_ID_MAX)
        return command_misused(line, "a user id has 1 to %d bytes", USER_ID_MAX);
    status = session_open(&s, line, config, &err);
    if (status == OK)
        status = show(s, user, &found, &err);
    if (status != OK)
        code = command_fail(line, &err);
    else if (!found && command_json(line))
        code = printf("{\"found\":false}\n") < 0 ? EXIT_BUG : EXIT_NO;
    else if (!found)
        code = fprintf(stderr, "nothing is kept of this user\n") < 0 ? EXIT_BUG : EXIT_NO;
    else
        code = EXIT_DONE;
    if (s != NULL)
        session_close(s);
    return code;
}

const struct command features_show_command = {
    .name = "features show",
    .summary = "what is kept of one user",
    .arguments = "USER",
    .help =
        "The user's sequence, newest first, and the shown lists that may still get labels, "
        "as they are in Redis now. Exit code 1 when nothing is kept of the user.\n\n"
        "kept (written_at in --json) is the time by our clock from which features.ttl counts: of "
        "the last write, or of one before it, for a write renews it only once an eighth of the "
        "time has gone. writer is the partition whose record changed the user last.\n\n"
        "Examples:\n  freshet features show u42\n"
        "  freshet features show u42 --items models/v000012-3f9a/items --all\n"
        "  freshet features show u42 --json",
    .arguments_min = 1,
    .arguments_max = 1,
    .options = show_options,
    .run = run_show,
};

/* ---- dump ---- */

static enum status dump_one(struct session *s, const struct key_scan_key *key, struct error *err)
{
    struct text bytes;
    enum status status = redis_nodes_get(s->nodes, REDIS_MS, key->key, &bytes, err);

    if (status == OK && bytes.at == NULL)
        return OK; /* gone since it was seen */
    arena_reset(s->arena);
    if (status == OK)
        status = user_value_decode(&s->value, (const uint8_t *)bytes.at, bytes.bytes, s->arena,
                                   err);
    if (status == OK) {
        s->users++;
        return print_json(s, key->rest, err);
    }
    if (status_action(status) != ACTION_SKIP)
        return status;
    s->unreadable++;
    (void)fprintf(stderr, "a value in shard %d cannot be read: %s\n", key->shard, err->text);
    return OK;
}

static enum status dump(struct session *s, struct error *err)
{
    struct key_scan *scan;
    enum status status = key_scan_create(&scan, s->nodes, &s->keys, REDIS_KEY_USER, err);
    bool more = true;

    while (status == OK && more && !command_stopping()) {
        const struct key_scan_key *batch;
        int count;

        status = key_scan_next(scan, REDIS_MS, &batch, &count, &more, err);
        for (int i = 0; i < count && status == OK; i++)
            status = dump_one(s, &batch[i], err);
    }
    key_scan_destroy(scan);
    return status;
}

static int run_dump(struct command_line *line)
{
    const struct config *config = command_config(line);
    struct session *s = NULL;
    struct error err;
    enum status status;
    int code;

    if (config == NULL)
        return EXIT_USAGE;
    status = session_open(&s, line, config, &err);
    if (status == OK)
        status = dump(s, &err);
    if (status != OK) {
        code = command_fail(line, &err);
    } else {
        if (command_json(line))
            (void)printf("{\"users\":%" PRId64 ",\"unreadable\":%" PRId64 "}\n", s->users,
                         s->unreadable);
        else
            (void)fprintf(stderr, "%" PRId64 " users, %" PRId64 " unreadable\n", s->users,
                          s->unreadable);
        code = s->unreadable == 0 ? EXIT_DONE : EXIT_BAD_DATA;
    }
    if (s != NULL)
        session_close(s);
    return code;
}

const struct command features_dump_command = {
    .name = "features dump",
    .summary = "every user's state as lines of JSON",
    .arguments = "",
    .help = "One line a user, in no order, while everything goes on. A value that cannot be read "
            "is counted and skipped; the exit code is then 4.\n\n"
            "Examples:\n  freshet features dump > users.jsonl\n"
            "  freshet features dump --items models/v000012-3f9a/items | jq .user",
    .options = dump_options,
    .run = run_dump,
};
