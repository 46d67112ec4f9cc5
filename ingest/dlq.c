/* ingest/dlq.c - `freshet dlq list` and `freshet dlq show`: what could not be used, and why. */
#include "ingest/dead_letter.h"
#include "ingest/ingest_main.h"
#include "ingest/topic_reader.h"
#include "ops/json_writer.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define LETTER_JSON_MAX  (64 * 1024)
#define LETTER_NODES_MAX 64
#define RESULT_ROOM      (64 * 1024)

struct reason {
    int64_t count;
    int64_t first_ms, last_ms; /* of the refused records */
    struct dead_letter last;
};

struct dlq {
    struct command_line *line;
    struct json_parser *parser;
    const char *only; /* reason, or NULL */
    bool show;
    int64_t limit, shown;
    struct reason reasons[REFUSAL_COUNT + 1]; /* the last: reasons this build does not know */
    int64_t letters, malformed;
};

static int reason_of(const char *name)
{
    for (int i = 0; i < REFUSAL_COUNT; i++)
        if (strcmp(name, refusal_names[i]) == 0)
            return i;
    return REFUSAL_COUNT;
}

static void print_letter(const struct dlq *d, const struct dead_letter *letter, struct text value)
{
    char head[MACHINE_LETTER_BYTES + 1];

    if (command_json(d->line)) {
        (void)fprintf(stderr, "%.*s\n", TEXT_ARGS(value));
        return;
    }
    dead_letter_head_text(letter, head);
    (void)printf("%s-%d/%" PRId64 "  %s  %" PRId64 " bytes\n  %s\n", letter->topic,
                 (int)letter->partition, letter->offset, letter->reason, letter->raw_bytes, head);
}

static enum status visit(void *context, const struct kafka_record *record, struct error *err)
{
    struct dlq *d = context;
    struct dead_letter letter;
    struct reason *reason;

    if (dead_letter_parse(&letter, d->parser, record->value, err) != OK) {
        d->malformed++;
        return OK;
    }
    if (d->only != NULL && strcmp(d->only, letter.reason) != 0)
        return OK;
    d->letters++;
    reason = &d->reasons[reason_of(letter.reason)];
    if (reason->count++ == 0 || letter.time_ms < reason->first_ms)
        reason->first_ms = letter.time_ms;
    if (letter.time_ms >= reason->last_ms) {
        reason->last_ms = letter.time_ms;
        reason->last = letter;
    }
    if (d->show && (d->limit == 0 || d->shown < d->limit)) {
        print_letter(d, &letter, record->value);
        d->shown++;
    }
    return OK;
}

static void print_json(const struct dlq *d)
{
    static char text[RESULT_ROOM];
    char head[MACHINE_LETTER_BYTES + 1];
    struct json_writer w;

    json_writer_init(&w, text, sizeof text);
    json_object_begin(&w);
    json_int(&w, "letters", d->letters);
    json_int(&w, "malformed", d->malformed);
    json_key(&w, "reasons");
    json_object_begin(&w);
    for (int i = 0; i <= REFUSAL_COUNT; i++) {
        const struct reason *r = &d->reasons[i];

        if (r->count == 0)
            continue;
        dead_letter_head_text(&r->last, head);
        json_key(&w, i == REFUSAL_COUNT ? "other" : refusal_names[i]);
        json_object_begin(&w);
        json_int(&w, "count", r->count);
        json_int(&w, "first_ms", r->first_ms);
        json_int(&w, "last_ms", r->last_ms);
        json_int(&w, "partition", r->last.partition);
        json_int(&w, "offset", r->last.offset);
        json_text(&w, "head", text_of(head));
        json_object_end(&w);
    }
    json_object_end(&w);
    json_object_end(&w);
    (void)printf("%.*s\n", TEXT_ARGS(json_writer_text(&w)));
}

static void print_table(const struct dlq *d)
{
    char head[MACHINE_LETTER_BYTES + 1];

    (void)printf("%" PRId64 " dead letters\n", d->letters);
    for (int i = 0; i <= REFUSAL_COUNT; i++) {
        const struct reason *r = &d->reasons[i];

        if (r->count == 0)
            continue;
        dead_letter_head_text(&r->last, head);
        (void)printf("  %-16s %8" PRId64 "  %s\n  %-16s last: %s-%d/%" PRId64 ": %.100s\n",
                     i == REFUSAL_COUNT ? "other" : refusal_names[i], r->count,
                     i == REFUSAL_COUNT ? "a reason this build does not know"
                                        : refusal_text((enum refusal)i),
                     "", r->last.topic, (int)r->last.partition, r->last.offset, head);
    }
    if (d->malformed > 0)
        (void)printf("  %" PRId64 " records of the topic are no dead letters of ours\n",
                     d->malformed);
}

static int run_dlq(struct dlq *d)
{
    struct topic_reader_options options = {.config = command_config(d->line),
                                           .visit = visit,
                                           .stopping = command_stopping,
                                           .context = d};
    struct error err;
    enum status status;

    if (options.config == NULL)
        return EXIT_USAGE;
    options.topic = config_text(options.config, "kafka.topics.dead");
    d->parser = json_parser_create(LETTER_JSON_MAX, LETTER_NODES_MAX);
    if (d->parser == NULL)
        status = error_set(&err, ERR_NOMEM, "no memory to read dead letters");
    else
        status = topic_reader_read(&options, NULL, &err);
    json_parser_destroy(d->parser);
    if (status != OK && status != ERR_CANCELLED)
        return command_fail(d->line, &err);
    if (command_json(d->line))
        print_json(d);
    else if (!d->show)
        print_table(d);
    return EXIT_DONE;
}

static int run_list(struct command_line *line)
{
    struct dlq d = {.line = line};

    return run_dlq(&d);
}

static int run_show(struct command_line *line)
{
    struct dlq d = {.line = line,
                    .show = true,
                    .only = command_text(line, "reason"),
                    .limit = command_int(line, "limit")};
    int code;

    if (d.only != NULL && !dead_letter_reason_known(d.only))
        return dead_letter_reason_misused(line, d.only);
    if (d.limit < 0)
        return command_misused(line, "--limit is at least 0");
    code = run_dlq(&d);
    if (code == EXIT_DONE && d.letters == 0 && !command_json(line))
        (void)printf("no dead letters%s\n", d.only == NULL ? "" : " of that reason");
    return code;
}

static const struct option_row show_options[] = {
    {"reason", OPTION_TEXT, "NAME", NULL, "only letters of this reason"},
    {"limit", OPTION_INT, "N", "20", "at most N letters; 0: all"},
    {0},
};

const struct command dlq_list_command = {
    .name = "dlq list",
    .summary = "dead letters by reason",
    .arguments = "",
    .help = "Counts what the dead letter topic holds, with the newest of each reason.\n"
            "\n"
            "Examples:\n"
            "  freshet dlq list\n",
    .run = run_list,
};

const struct command dlq_show_command = {
    .name = "dlq show",
    .summary = "the dead letters themselves",
    .arguments = "",
    .help = "Prints where each refused record stands, why it was refused, and the beginning of it "
            "with unprintable bytes as dots. With --json the letters go to standard error and the "
            "counts are the result.\n"
            "\n"
            "Examples:\n"
            "  freshet dlq show --reason bad_time --limit 5\n",
    .options = show_options,
    .run = run_show,
};
