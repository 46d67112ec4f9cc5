/* ingest/dlq.c - `freshet dlq list` and `freshet dlq show`: what could not be used, and why. */
#include "features/user_print.h"
#include "ingest/dead_letter.h"
#include "ingest/ingest_main.h"
#include "ingest/topic_reader.h"
#include "ops/json_writer.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define LETTER_JSON_MAX  (64 * 1024)
#define LETTER_NODES_MAX 64
#define RESULT_ROOM      (192 * 1024) /* two letters a reason, every byte escaped */

struct reason {
    int64_t count;
    struct dead_letter first, last; /* by the time of the refused records */
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

/* Of the record in Kafka. */
static void time_text(char into[USER_PRINT_TIME_BYTES], const struct dead_letter *letter)
{
    if (letter->time_ms > 0)
        user_print_time(into, letter->time_ms);
    else
        (void)snprintf(into, USER_PRINT_TIME_BYTES, "without a time");
}

static void print_letter(const struct dlq *d, const struct dead_letter *letter, struct text value)
{
    char head[MACHINE_LETTER_BYTES + 1], time[USER_PRINT_TIME_BYTES];

    if (command_json(d->line)) {
        (void)fprintf(stderr, "%.*s\n", TEXT_ARGS(value));
        return;
    }
    dead_letter_head_text(letter, head);
    time_text(time, letter);
    (void)printf("%s-%d/%" PRId64 "  %s  %s  %" PRId64 " bytes\n  %s\n", letter->topic,
                 (int)letter->partition, letter->offset, time, letter->reason, letter->raw_bytes,
                 head);
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
    if (reason->count == 0 || letter.time_ms < reason->first.time_ms)
        reason->first = letter;
    if (reason->count == 0 || letter.time_ms >= reason->last.time_ms)
        reason->last = letter;
    reason->count++;
    if (d->show && (d->limit == 0 || d->shown < d->limit)) {
        print_letter(d, &letter, record->value);
        d->shown++;
    }
    return OK;
}

static void put_letter(struct json_writer *w, const char *name, const struct dead_letter *letter)
{
    char head[MACHINE_LETTER_BYTES + 1];

    dead_letter_head_text(letter, head);
    json_key(w, name);
    json_object_begin(w);
    json_text(w, "topic", text_of(letter->topic));
    json_int(w, "partition", letter->partition);
    json_int(w, "offset", letter->offset);
    json_int(w, "time_ms", letter->time_ms);
    json_text(w, "head", text_of(head));
    json_object_end(w);
}

static void print_json(const struct dlq *d)
{
    static char text[RESULT_ROOM];
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
        json_key(&w, i == REFUSAL_COUNT ? "other" : refusal_names[i]);
        json_object_begin(&w);
        json_int(&w, "count", r->count);
        json_int(&w, "first_ms", r->first.time_ms);
        json_int(&w, "last_ms", r->last.time_ms);
        put_letter(&w, "first", &r->first);
        put_letter(&w, "last", &r->last);
        json_object_end(&w);
    }
    json_object_end(&w);
    json_object_end(&w);
    (void)printf("%.*s\n", TEXT_ARGS(json_writer_text(&w)));
}

static void print_end(const char *which, const struct dead_letter *letter)
{
    char head[MACHINE_LETTER_BYTES + 1], time[USER_PRINT_TIME_BYTES];

    dead_letter_head_text(letter, head);
    time_text(time, letter);
    (void)printf("  %-16s %-5s %s  %s-%d/%" PRId64 ": %.100s\n", "", which, time, letter->topic,
                 (int)letter->partition, letter->offset, head);
}

static void print_table(const struct dlq *d)
{
    (void)printf("%" PRId64 " dead letter%s\n", d->letters, text_plural(d->letters));
    for (int i = 0; i <= REFUSAL_COUNT; i++) {
        const struct reason *r = &d->reasons[i];

        if (r->count == 0)
            continue;
        (void)printf("  %-16s %8" PRId64 "  %s\n", i == REFUSAL_COUNT ? "other" : refusal_names[i],
                     r->count,
                     i == REFUSAL_COUNT ? "a reason this build does not know"
                                        : refusal_text((enum refusal)i));
        if (r->count > 1)
            print_end("first", &r->first);
        print_end("last", &r->last);
    }
    if (d->malformed > 0)
        (void)printf("  %" PRId64 " record%s of the topic: no dead letter of ours\n", d->malformed,
                     text_plural(d->malformed));
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
    if (status == ERR_NOT_FOUND)
        status = error_set(&err, status,
                           "topic \"%.100s\" (kafka.topics.dead) does not exist: create it; ingest "
                           "can refuse no record without it",
                           options.topic);
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
    .help = "Counts what the dead letter topic holds, with the first and the last refused record "
            "of each reason: its time (of the record in Kafka), where it stands, and how it "
            "begins.\n"
            "\n"
            "Examples:\n"
            "  freshet dlq list\n"
            "  freshet dlq list --json\n",
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
