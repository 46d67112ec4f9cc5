/* ingest/offsets_list.c - `freshet offsets list`. */
#include "ingest/ingest_main.h"
#include "ingest/offsets_view.h"
#include "ops/json_writer.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define JSON_BYTES_EACH 1024

static int64_t lag_of(const struct offsets_view *v, const struct offsets_partition *p,
                      const struct offsets_log *log)
{
    int64_t position = offsets_position(p, v->offsets.shards);

    return log->high - (position < 0 ? p->start : position);
}

static void put_counts(struct json_writer *w, const int64_t counts[OUTCOME_COUNT])
{
    for (int i = 0; i < OUTCOME_COUNT; i++)
        json_int(w, outcome_names[i], counts[i]);
}

static void put_partition(struct json_writer *w, const struct offsets_view *v,
                          const struct offsets_partition *p, const struct offsets_log *log)
{
    json_object_begin(w);
    json_text(w, "topic", text_of(v->topic));
    json_int(w, "partition", p->partition);
    json_int(w, "log_number", p->log_number);
    json_int(w, "start", p->start);
    json_int(w, "next", offsets_position(p, v->offsets.shards));
    json_int(w, "next_max", p->next_max);
    if (log->high >= 0) {
        json_int(w, "high", log->high);
        json_int(w, "lag", lag_of(v, p, log));
    }
    json_bool(w, "begun", p->shards_known > 0);
    if (p->watermark_ms != STORE_NO_WATERMARK)
        json_int(w, "watermark_ms", p->watermark_ms);
    if (p->damaged > 0)
        json_int(w, "damaged_shards", p->damaged);
    if (p->skipped > 0)
        json_int(w, "skipped", p->skipped);
    put_counts(w, p->counts);
    json_object_end(w);
}

static int print_json(const struct offsets_view *v)
{
    size_t room = JSON_BYTES_EACH * ((size_t)v->offsets.count + 2);
    char *text = malloc(room);
    int64_t totals[OUTCOME_COUNT] = {0}, lag = 0;
    struct json_writer w;

    if (text == NULL)
        return EXIT_BUG;
    json_writer_init(&w, text, room);
    json_object_begin(&w);
    json_key(&w, "partitions");
    json_array_begin(&w);
    for (int i = 0; i < v->offsets.count; i++) {
        const struct offsets_partition *p = &v->offsets.list[i];

        if (!p->recorded)
            continue;
        put_partition(&w, v, p, &v->logs[i]);
        lag += v->logs[i].high >= 0 ? lag_of(v, p, &v->logs[i]) : 0;
        for (int o = 0; o < OUTCOME_COUNT; o++)
            totals[o] += p->counts[o];
    }
    json_array_end(&w);
    json_key(&w, "totals");
    json_object_begin(&w);
    put_counts(&w, totals);
    json_int(&w, "lag", lag);
    json_object_end(&w);
    json_object_end(&w);
    (void)printf("%.*s\n", TEXT_ARGS(json_writer_text(&w)));
    free(text);
    return EXIT_DONE;
}

/* Have some shards read further than others? */
static bool is_ahead(const struct offsets_view *v, const struct offsets_partition *p)
{
    return p->next_max > offsets_position(p, v->offsets.shards);
}

static void print_partition(const struct offsets_view *v, const struct offsets_partition *p,
                            const struct offsets_log *log)
{
    int64_t position = offsets_position(p, v->offsets.shards);
    char next[24] = "-", end[24] = "-", lag[24] = "-";

    if (position >= 0)
        (void)snprintf(next, sizeof next, "%" PRId64, position);

    if (log->high >= 0) {
        (void)snprintf(end, sizeof end, "%" PRId64, log->high);
        (void)snprintf(lag, sizeof lag, "%" PRId64, lag_of(v, p, log));
    }
    (void)printf("%9d %10" PRId64 " %12s %12s %10s %10" PRId64 " %10" PRId64 " %8" PRId64
                 " %8" PRId64 " %8" PRId64 " %8" PRId64,
                 (int)p->partition, p->start, next, end, lag, p->counts[OUTCOME_APPLIED],
                 p->counts[OUTCOME_DUPLICATE], p->counts[OUTCOME_LATE], p->counts[OUTCOME_DROPPED],
                 p->counts[OUTCOME_ERASED], p->counts[OUTCOME_DEAD]);
    if (is_ahead(v, p))
        (void)printf("  (some shards: up to %" PRId64 ")", p->next_max);
    if (log->high >= 0 && p->next_max > log->high)
        (void)printf("  (the log ends before it: `freshet offsets diff`)");
    if (p->log_number > 0)
        (void)printf(p->shards_known == 0 ? "  (reset: ingest begins at %" PRId64 ")"
                                          : "  (reset to %" PRId64 ")",
                     p->start);
    else if (p->shards_known + p->damaged == 0)
        (void)printf("  (not read yet)");
    if (p->closed > 0)
        (void)printf("  (a reset was broken off: `freshet offsets diff`)");
    if (p->skipped > 0)
        (void)printf("  (%" PRId64 " skipped by resets)", p->skipped);
    (void)printf("%s\n", p->damaged > 0 ? "  (keys damaged)" : "");
}

static void print_table(const struct offsets_view *v)
{
    int recorded = 0;
    bool ahead = false;

    (void)printf("%9s %10s %12s %12s %10s %10s %10s %8s %8s %8s %8s\n", "partition", "start",
                 "next", "end", "lag", "applied", "duplicate", "late", "dropped", "erased", "dead");
    for (int i = 0; i < v->offsets.count; i++) {
        if (!v->offsets.list[i].recorded)
            continue;
        print_partition(v, &v->offsets.list[i], &v->logs[i]);
        ahead |= is_ahead(v, &v->offsets.list[i]);
        recorded++;
    }
    if (ahead)
        (void)printf(
            "next is that of the shard that is furthest behind; each shard commits by itself, "
            "and what one that is ahead has applied is never counted again\n");
    if (recorded == 0)
        (void)printf("no partition has been read yet: start `freshet ingest`\n");
    if (v->partitions == 0)
        (void)printf("the ends are not known: %s\n", v->kafka.text);
}

static int run_list(struct command_line *line)
{
    const struct config *config = command_config(line);
    struct offsets_view view;
    struct error err;
    int code = EXIT_DONE;

    if (config == NULL)
        return EXIT_USAGE;
    if (offsets_view_open(&view, config, false, &err) != OK)
        return command_fail(line, &err);
    if (command_json(line))
        code = print_json(&view);
    else
        print_table(&view);
    offsets_view_close(&view);
    return code;
}

const struct command offsets_list_command = {
    .name = "offsets list",
    .summary = "how far the state in Redis has come in each partition",
    .arguments = "",
    .help =
        "Reads what Redis says is applied, which is the truth; Kafka's committed offsets are a "
        "hint for other tools. next is the least of the shards (one that has read nothing yet "
        "begins at the recorded start); counts are of all records below the next of their own "
        "shard, since the partition was reset last. erased counts events that were left out, for "
        "their user was erased at or after them; an erasure itself is applied.\n"
        "\n"
        "Examples:\n"
        "  freshet offsets list\n"
        "  freshet offsets list --json\n",
    .run = run_list,
};
