/*
 * ingest/offsets_diff.c - `freshet offsets diff`: Redis against Kafka, and what ingest would do
 * with each partition when it starts next.
 *
 * Only looks: nothing is claimed, no group is joined.
 */
#include "ingest/ingest_main.h"
#include "ingest/offsets_view.h"
#include "ops/json_writer.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define JSON_BYTES_EACH 2048
#define RUNBOOK         "freshet runbook state-lost"

struct diff {
    struct offsets_view view;
    struct offsets_forecast *forecasts; /* (offsets.count) */
    int stops;
};

static bool known(const struct offsets_log *log)
{
    return log->high >= 0;
}

static enum status forecast_all(struct diff *d, struct error *err)
{
    enum status status;

    d->forecasts = calloc((size_t)d->view.offsets.count + 1, sizeof *d->forecasts);
    if (d->forecasts == NULL)
        return error_set(err, ERR_NOMEM, "no memory for offsets");
    status = offsets_view_forecast(&d->view, -1, d->forecasts, err);
    for (int i = 0; i < d->view.offsets.count; i++)
        d->stops += d->forecasts[i].stops || !known(&d->view.logs[i]);
    return status;
}

/* ---- what is said ---- */

static void put_partition(struct json_writer *w, const struct diff *d, int i)
{
    const struct offsets_partition *p = &d->view.offsets.list[i];
    const struct offsets_forecast *f = &d->forecasts[i];
    const struct offsets_log *log = &d->view.logs[i];
    char text[OFFSETS_REMEDY_BYTES];

    json_object_begin(w);
    json_int(w, "partition", p->partition);
    json_bool(w, "recorded", p->recorded);
    json_int(w, "log_number", p->log_number);
    json_int(w, "start", p->start);
    json_int(w, "next", offsets_position(p, d->view.offsets.shards));
    json_int(w, "next_max", p->next_max);
    json_bool(w, "begun", p->shards_known > 0);
    json_int(w, "shards_absent", d->view.offsets.shards - p->shards_known - p->damaged);
    json_int(w, "committed", log->group);
    json_int(w, "low", log->low);
    json_int(w, "high", log->high);
    json_int(w, "waiting_rows", p->outbox_rows);
    if (!known(log)) {
        json_text(w, "would", text_of("not_in_kafka"));
    } else if (f->stops) {
        json_text(w, "would", text_of("stop"));
        json_text(w, "reason", text_of(stop_reason_names[f->reason]));
        json_int(w, "offset", f->offset);
        json_int(w, "found", f->found);
        offsets_forecast_remedy(f, p, *log, text);
        json_text(w, "remedy", text_of(text));
    } else {
        json_text(w, "would", text_of("start"));
        json_int(w, "from", f->position);
        json_int(w, "lag", log->high - f->position);
        json_int(w, "again", f->again);
    }
    json_object_end(w);
}

static int print_json(const struct diff *d)
{
    size_t room = JSON_BYTES_EACH * ((size_t)d->view.offsets.count + 2);
    char *text = malloc(room);
    struct json_writer w;

    if (text == NULL)
        return EXIT_BUG;
    json_writer_init(&w, text, room);
    json_object_begin(&w);
    json_text(&w, "topic", text_of(d->view.topic));
    json_key(&w, "partitions");
    json_array_begin(&w);
    for (int i = 0; i < d->view.offsets.count; i++)
        put_partition(&w, d, i);
    json_array_end(&w);
    json_int(&w, "stops", d->stops);
    json_object_end(&w);
    (void)printf("%.*s\n", TEXT_ARGS(json_writer_text(&w)));
    free(text);
    return d->stops > 0 ? EXIT_NO : EXIT_DONE;
}

static void number(char into[24], int64_t value)
{
    (void)snprintf(into, 24, value < 0 ? "-" : "%" PRId64, value);
}

/* Kafka's committed offset beyond all that Redis has applied. */
static void print_ahead(const struct offsets_partition *p, const struct offsets_log *log)
{
    if (p->log_number == 0)
        (void)printf("           the group is at %" PRId64 " in Kafka: Redis has lost acknowledged "
                     "writes, they are applied again\n",
                     log->group);
    else if (p->shards_known == 0)
        (void)printf("           the group is at %" PRId64 " in Kafka, from before the reset: "
                     "ingest writes its own there once it has read on\n",
                     log->group);
    else
        (void)printf("           the group is at %" PRId64 " in Kafka: from before the reset, if "
                     "ingest ended soon after; else Redis has lost acknowledged writes, and they "
                     "are applied again\n",
                     log->group);
}

static void print_start(const struct offsets_partition *p, const struct offsets_forecast *f,
                        const struct offsets_log *log, int shards)
{
    int absent = shards - p->shards_known;

    (void)printf("           would start at %" PRId64 ", %" PRId64 " records behind\n", f->position,
                 log->high - f->position);
    if (!p->recorded)
        (void)printf("           nobody has read it yet\n");
    else if (p->shards_known == 0 && p->log_number > 0)
        (void)printf("           it was reset (%u times in all) and not read since\n",
                     (unsigned)p->log_number);
    else if (absent > 0 && p->shards_known > 0)
        (void)printf("           %d shards have lost what they had: read again from the recorded "
                     "start\n",
                     absent);
    if (f->again > 0)
        (void)printf("           %" PRId64 " records are read again; shards that have applied them "
                     "skip them\n",
                     f->again);
    if (log->group > p->next_max && p->recorded)
        print_ahead(p, log);
}

static void print_partition(const struct diff *d, int i)
{
    const struct offsets_partition *p = &d->view.offsets.list[i];
    const struct offsets_forecast *f = &d->forecasts[i];
    const struct offsets_log *log = &d->view.logs[i];
    char next[24], most[24], group[24], low[24], high[24];
    char text[OFFSETS_REMEDY_BYTES];

    number(next, offsets_position(p, d->view.offsets.shards));
    number(most, p->next_max);
    number(group, log->group);
    number(low, log->low);
    number(high, log->high);
    (void)printf("%9d  %12s %12s %12s %12s %12s\n", (int)p->partition, next, most, group, low,
                 high);
    if (!known(log)) {
        (void)printf("           the topic has no such partition now: its records are out of "
                     "reach; %s\n",
                     RUNBOOK);
        return;
    }
    if (!f->stops) {
        print_start(p, f, log, d->view.offsets.shards);
        return;
    }
    offsets_forecast_remedy(f, p, *log, text);
    (void)printf("           would stop: %s", stop_reason_names[f->reason]);
    if (f->offset >= 0 && f->found >= 0)
        (void)printf(" (Redis %" PRId64 ", the log %" PRId64 ")", f->offset, f->found);
    (void)printf(": %s\n           do: %s\n", stop_reason_text(f->reason), text);
}

static int run_diff(struct command_line *line)
{
    struct diff d = {0};
    const struct config *config = command_config(line);
    struct error err;
    enum status status;
    int code;

    if (config == NULL)
        return EXIT_USAGE;
    status = offsets_view_open(&d.view, config, true, &err);
    if (status == OK && d.view.partitions == 0) {
        err = d.view.kafka;
        status = err.status;
    }
    if (status == OK)
        status = forecast_all(&d, &err);
    if (status != OK) {
        code = command_fail(line, &err);
    } else if (command_json(line)) {
        code = print_json(&d);
    } else {
        (void)printf("%9s  %12s %12s %12s %12s %12s\n", "partition", "next", "of a shard",
                     "committed", "low", "high");
        for (int i = 0; i < d.view.offsets.count; i++)
            print_partition(&d, i);
        code = d.stops > 0 ? EXIT_NO : EXIT_DONE;
    }
    free(d.forecasts);
    offsets_view_close(&d.view);
    return code;
}

const struct command offsets_diff_command = {
    .name = "offsets diff",
    .summary = "Redis against Kafka, and what ingest would do at its next start",
    .arguments = "",
    .help = "For each partition: how far Redis is (the least of its shards, and the furthest one), "
            "where the group stands in Kafka, where the log begins and ends, and what `freshet "
            "ingest` would do when it starts: begin at an offset, or stop the partition, why, and "
            "what to do then. Redis' own next decides; Kafka's committed offset is a hint.\n"
            "\n"
            "Claims nothing and joins no group: safe while ingest runs. Exit code 1 when a "
            "partition would be stopped.\n"
            "\n"
            "Examples:\n"
            "  freshet offsets diff\n"
            "  freshet offsets diff --json\n",
    .run = run_diff,
};
