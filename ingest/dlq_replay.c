/*
 * ingest/dlq_replay.c - `freshet dlq replay`: records that were refused, once more into their
 * topic.
 *
 * A dead letter holds no more than the beginning of a record, so the records themselves are read
 * again from where the letters say they are: each partition from its first chosen letter to the
 * last. Each is judged by the configuration as it is now; those that are events now are produced
 * again into the same partition, with key, value and timestamp as they were and the header
 * `freshet-replayed`, by which ingest lets them into sequences and counts however late they are,
 * and never into joins: what they would have labelled was judged without them. Without --apply
 * nothing is written.
 *
 * Ingest knows a duplicate only while its user's sequence holds the event, so a second copy of a
 * late one would count twice. The header's value therefore says where the record came from,
 * "partition/offset", and before anything is sent the partitions are read from their first chosen
 * letter to their end: a letter whose copy is there was replayed before, and is left out. A copy
 * that was refused again has a letter of its own. Two that apply at once would not see each other's
 * copies: the second is refused (dlq_lock).
 */
#include "ingest/dead_letter.h"
#include "ingest/deliveries.h"
#include "ingest/dlq_lock.h"
#include "ingest/ingest_main.h"
#include "ingest/topic_reader.h"
#include "ops/json_writer.h"
#include "ops/kafka_consumer.h"
#include "ops/kafka_producer.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LETTER_JSON_MAX  (64 * 1024)
#define LETTER_NODES_MAX 64
#define LETTERS_MAX      1000000
#define RESULT_ROOM      (64 * 1024)
#define DELIVERY_MS      30000
#define FULL_WAIT_MS     10
#define ORIGIN_BYTES     40

/* A letter that was chosen. */
struct chosen {
    int32_t partition;
    int64_t offset;
    int reason; /* enum refusal; REFUSAL_COUNT: one that this build does not know */
    bool found;
    bool before; /* a copy of it is in the topic */
    int order;   /* of its letter */
};

/* What became of the letters of one reason. */
struct fate {
    int64_t letters, good, refused, gone, before;
    enum refusal why; /* of one that is refused still */
};

struct replay {
    struct command_line *line;
    const struct config *config;
    const char *topic;
    bool apply;
    struct chosen *list;
    int count, room, limit;
    struct json_parser *parser;
    struct event_schema *schema;
    struct event_decoder *decoder;
    struct kafka_producer *producer;
    struct deliveries deliveries;
    struct dlq_lock *lock; /* with apply */
    int64_t elsewhere, malformed, left;
    struct fate fates[REFUSAL_COUNT + 1];
};

static const char *reason_name(int reason)
{
    return reason == REFUSAL_COUNT ? "other" : refusal_names[reason];
}

/* Whatever reads or waits says so again and again: the lock is free after a minute of silence. */
static enum status keep_lock(const struct replay *r, struct error *err)
{
    return r->lock == NULL ? OK : dlq_lock_keep(r->lock, err);
}

/* ---- the letters ---- */

static bool is_chosen(const struct replay *r, const struct dead_letter *letter)
{
    const char *reason = command_text(r->line, "reason");

    return (reason == NULL || strcmp(reason, letter->reason) == 0) &&
           (!command_given(r->line, "partition") ||
            command_int(r->line, "partition") == letter->partition) &&
           (!command_given(r->line, "offset") || command_int(r->line, "offset") == letter->offset);
}

static enum status take_letter(void *context, const struct kafka_record *record, struct error *err)
{
    struct replay *r = context;
    struct dead_letter letter;
    int reason = 0;

    if (keep_lock(r, err) != OK)
        return err->status;
    if (dead_letter_parse(&letter, r->parser, record->value, err) != OK) {
        r->malformed++;
        return OK;
    }
    if (!is_chosen(r, &letter))
        return OK;
    if (strcmp(letter.topic, r->topic) != 0) {
        r->elsewhere++;
        return OK;
    }
    if (r->count == LETTERS_MAX)
        return error_set(err, ERR_CANCELLED, "enough");
    if (r->count == r->room) {
        int room = r->room == 0 ? 256 : 2 * r->room;
        struct chosen *larger = realloc(r->list, (size_t)room * sizeof *larger);

        if (larger == NULL)
            return error_set(err, ERR_NOMEM, "no memory for %d dead letters", room);
        r->list = larger;
        r->room = room;
    }
    while (reason < REFUSAL_COUNT && strcmp(letter.reason, refusal_names[reason]) != 0)
        reason++;
    r->list[r->count] = (struct chosen){.partition = letter.partition,
                                        .offset = letter.offset,
                                        .reason = reason,
                                        .order = r->count};
    r->count++;
    return OK;
}

static int by_place(const void *left, const void *right)
{
    const struct chosen *a = left, *b = right;

    if (a->partition != b->partition)
        return a->partition < b->partition ? -1 : 1;
    return a->offset < b->offset ? -1 : a->offset > b->offset;
}

/* A kill may have written a letter twice: one record is sent once. */
static void sort_and_unite(struct replay *r)
{
    int kept = 0;

    if (r->count > 0)
        qsort(r->list, (size_t)r->count, sizeof r->list[0], by_place);
    for (int i = 0; i < r->count; i++)
        if (kept == 0 || by_place(&r->list[kept - 1], &r->list[i]) != 0)
            r->list[kept++] = r->list[i];
    r->count = kept;
}

static int by_order(const void *left, const void *right)
{
    const struct chosen *a = left, *b = right;

    return a->order < b->order ? -1 : a->order > b->order;
}

/* Those that were replayed before are counted and left out, and of the others the oldest remain: a
 * second run with a limit goes on where the first one ended. */
static void cut(struct replay *r)
{
    int kept = 0;

    if (r->count > 0)
        qsort(r->list, (size_t)r->count, sizeof r->list[0], by_order);
    for (int i = 0; i < r->count; i++) {
        struct fate *fate = &r->fates[r->list[i].reason];

        if (!r->list[i].before && kept == r->limit) {
            r->left++;
            continue;
        }
        fate->letters++;
        fate->before += r->list[i].before;
        if (!r->list[i].before)
            r->list[kept++] = r->list[i];
    }
    r->count = kept;
    if (r->count > 0)
        qsort(r->list, (size_t)r->count, sizeof r->list[0], by_place);
}

/* Asking for the limits of many partitions takes its time, too. */
static enum status choose_letters(void *context, int32_t partition, struct topic_range *range,
                                  struct error *err)
{
    (void)partition;
    (void)range;
    return keep_lock(context, err);
}

static enum status read_letters(struct replay *r, struct error *err)
{
    struct topic_reader_options options = {.config = r->config,
                                           .topic = config_text(r->config, "kafka.topics.dead"),
                                           .choose = choose_letters,
                                           .visit = take_letter,
                                           .stopping = command_stopping,
                                           .context = r};
    enum status status = topic_reader_read(&options, NULL, err);

    if (status == ERR_NOT_FOUND)
        return error_set(err, status,
                         "topic \"%.100s\" (kafka.topics.dead) does not exist: there are no dead "
                         "letters to replay",
                         options.topic);
    if (status == ERR_CANCELLED && !command_stopping())
        status = OK;
    if (status == OK)
        sort_and_unite(r);
    return status;
}

/* ---- the records ---- */

static struct chosen *find(const struct replay *r, int32_t partition, int64_t offset)
{
    struct chosen key = {.partition = partition, .offset = offset};

    return r->count == 0 ? NULL : bsearch(&key, r->list, (size_t)r->count, sizeof key, by_place);
}

static enum status choose(void *context, int32_t partition, struct topic_range *range,
                          struct error *err)
{
    const struct replay *r = context;
    int64_t first = -1, last = -1;

    for (int i = 0; i < r->count; i++) {
        if (r->list[i].partition != partition)
            continue;
        if (first < 0)
            first = r->list[i].offset;
        last = r->list[i].offset;
    }
    range->from = first > range->low ? first : range->low;
    range->to = last + 1 < range->high ? last + 1 : range->high;
    if (first < 0)
        range->to = range->from;
    return keep_lock(r, err);
}

/* The same up to the end of the log: where copies of them would be. */
static enum status choose_to_the_end(void *context, int32_t partition, struct topic_range *range,
                                     struct error *err)
{
    enum status status = choose(context, partition, range, err);

    if (range->to > range->from)
        range->to = range->high;
    return status;
}

/* A copy lies in the partition of its record, behind it. */
static enum status take_copy(void *context, const struct kafka_record *record, struct error *err)
{
    struct replay *r = context;
    struct chosen *found;
    char origin[ORIGIN_BYTES];
    int32_t partition;
    int64_t offset;
    int end = 0;

    if (keep_lock(r, err) != OK)
        return err->status;
    if (!record->replayed || record->origin.bytes >= sizeof origin)
        return OK;
    (void)snprintf(origin, sizeof origin, "%.*s", TEXT_ARGS(record->origin));
    if (sscanf(origin, "%" SCNd32 "/%" SCNd64 "%n", &partition, &offset, &end) != 2 ||
        origin[end] != '\0')
        return OK; /* of an older build, or of somebody else */
    found = find(r, partition, offset);
    if (found != NULL)
        found->before = true;
    return OK;
}

static enum status find_copies(struct replay *r, struct error *err)
{
    struct topic_reader_options options = {.config = r->config,
                                           .topic = r->topic,
                                           .choose = choose_to_the_end,
                                           .visit = take_copy,
                                           .stopping = command_stopping,
                                           .context = r};
    enum status status = r->count == 0 ? OK : topic_reader_read(&options, NULL, err);

    cut(r);
    return status;
}

static enum status send(struct replay *r, const struct kafka_record *record, struct error *err)
{
    struct kafka_message message = {.topic = r->topic,
                                    .partition = record->partition,
                                    .key = record->key,
                                    .value = record->value,
                                    .timestamp_ms = record->timestamp_ms,
                                    .replayed = true};
    char origin[ORIGIN_BYTES];
    enum status status;

    (void)snprintf(origin, sizeof origin, "%" PRId32 "/%" PRId64, record->partition,
                   record->offset);
    message.origin = text_of(origin);
    status = kafka_produce(r->producer, &message, err);
    while (status == ERR_FULL && !command_stopping()) {
        kafka_producer_poll(r->producer, FULL_WAIT_MS);
        status = keep_lock(r, err);
        if (status == OK)
            status = kafka_produce(r->producer, &message, err);
    }
    return status;
}

static enum status take_record(void *context, const struct kafka_record *record, struct error *err)
{
    struct replay *r = context;
    struct chosen *found = find(r, record->partition, record->offset);
    struct event event;
    struct error why_not;
    struct fate *fate;
    enum refusal why;
    enum status status;

    if (keep_lock(r, err) != OK)
        return err->status;
    if (found == NULL)
        return OK;
    found->found = true;
    fate = &r->fates[found->reason];
    status = event_decode_record(r->decoder, record->key, record->value, record->timestamp_ms,
                                 &event, &why, &why_not);
    if (status != OK && why == REFUSAL_NONE) /* it says nothing of the record */
        return error_set(err, status, "%s", why_not.text);
    if (status != OK) {
        fate->refused++;
        fate->why = why;
        return OK;
    }
    fate->good++;
    return r->apply ? send(r, record, err) : OK;
}

static enum status read_records(struct replay *r, struct error *err)
{
    struct topic_reader_options options = {.config = r->config,
                                           .topic = r->topic,
                                           .choose = choose,
                                           .visit = take_record,
                                           .stopping = command_stopping,
                                           .context = r};
    enum status status = r->count == 0 ? OK : topic_reader_read(&options, NULL, err);

    if (status == OK)
        status = keep_lock(r, err);
    if (status == OK && r->producer != NULL)
        status = kafka_producer_flush(r->producer, DELIVERY_MS, err);
    if (status == OK && r->deliveries.failed > 0)
        status = error_set(err, ERR_UNAVAILABLE,
                           "kafka did not take %" PRId64 " of %" PRId64
                           " records: run it again, what was taken is left out then",
                           r->deliveries.failed, r->deliveries.failed + r->deliveries.delivered);
    for (int i = 0; i < r->count; i++)
        r->fates[r->list[i].reason].gone += !r->list[i].found;
    return status;
}

/* ---- what is said ---- */

static void sum(const struct replay *r, struct fate *all)
{
    *all = (struct fate){0};
    for (int i = 0; i <= REFUSAL_COUNT; i++) {
        all->letters += r->fates[i].letters;
        all->good += r->fates[i].good;
        all->refused += r->fates[i].refused;
        all->gone += r->fates[i].gone;
        all->before += r->fates[i].before;
    }
}

static void put_fate(struct json_writer *w, const struct fate *fate)
{
    json_int(w, "letters", fate->letters);
    json_int(w, "events_now", fate->good);
    json_int(w, "still_refused", fate->refused);
    json_int(w, "gone", fate->gone);
}

static void print_json(const struct replay *r)
{
    static char text[RESULT_ROOM];
    struct json_writer w;
    struct fate all;

    sum(r, &all);
    json_writer_init(&w, text, sizeof text);
    json_object_begin(&w);
    json_bool(&w, "applied", r->apply);
    put_fate(&w, &all);
    json_int(&w, "replayed", r->deliveries.delivered);
    json_int(&w, "replayed_before", all.before);
    json_int(&w, "left", r->left);
    json_int(&w, "of_other_topics", r->elsewhere);
    json_key(&w, "reasons");
    json_object_begin(&w);
    for (int i = 0; i <= REFUSAL_COUNT; i++) {
        if (r->fates[i].letters == 0)
            continue;
        json_key(&w, reason_name(i));
        json_object_begin(&w);
        put_fate(&w, &r->fates[i]);
        json_int(&w, "replayed_before", r->fates[i].before);
        if (r->fates[i].refused > 0)
            json_text(&w, "why", text_of(refusal_names[r->fates[i].why]));
        json_object_end(&w);
    }
    json_object_end(&w);
    json_object_end(&w);
    (void)printf("%.*s\n", TEXT_ARGS(json_writer_text(&w)));
}

static void print_table(const struct replay *r)
{
    struct fate all;

    sum(r, &all);
    (void)printf("  %-16s %8s %10s %13s %6s %8s\n", "refused as", "letters", "events now",
                 "still refused", "gone", "replayed");
    for (int i = 0; i <= REFUSAL_COUNT; i++) {
        const struct fate *fate = &r->fates[i];

        if (fate->letters == 0)
            continue;
        (void)printf("  %-16s %8" PRId64 " %10" PRId64 " %13" PRId64 " %6" PRId64 " %8" PRId64
                     "  %s\n",
                     reason_name(i), fate->letters, fate->good, fate->refused, fate->gone,
                     fate->before, fate->refused > 0 ? refusal_text(fate->why) : "");
    }
    if (r->elsewhere > 0)
        (void)printf("  %" PRId64 " letters are of other topics than \"%s\"\n", r->elsewhere,
                     r->topic);
    if (all.gone > 0)
        (void)printf(
            "  gone: retention has taken the record; only its beginning is in the letter\n");
    if (r->left > 0)
        (void)printf("  %" PRId64 " letters are left for another run: --limit is %d\n", r->left,
                     r->limit);
    if (all.before > 0)
        (void)printf("  replayed: a copy of the record is in the topic already; it is left out\n");
    if (r->apply ? r->deliveries.delivered == 0 : all.good == 0)
        (void)printf(
            "nothing %s written to \"%s\": no letter has a record that would be taken now\n",
            r->apply ? "was" : "would be", r->topic);
    else if (r->apply)
        (void)printf("%" PRId64
                     " records were written to \"%s\" again; an ingest that has not been "
                     "restarted with the configuration of now refuses them again\n",
                     r->deliveries.delivered, r->topic);
    else
        (void)printf("%" PRId64
                     " records would be written to \"%s\" again; nothing was: add --apply\n"
                     "What changes by it: sequences and counts take them in, by their own time; "
                     "lists are not labelled by them; what was replayed before is left out. The "
                     "letters stay.\n",
                     all.good, r->topic);
}

static enum status open_all(struct replay *r, struct error *err)
{
    struct kafka_producer_options options = {0};
    enum status status = event_schema_create(&r->schema, r->config, err);

    r->parser = json_parser_create(LETTER_JSON_MAX, LETTER_NODES_MAX);
    if (r->parser == NULL)
        return error_set(err, ERR_NOMEM, "no memory to read dead letters");
    if (status == OK)
        status = event_decoder_create(&r->decoder, r->schema, err);
    if (status == OK)
        event_decoder_insist(r->decoder, EVENT_PATIENCE_MS);
    if (status == OK)
        status = deliveries_check_topic(r->config, r->topic, err);
    if (status == ERR_NOT_FOUND)
        return error_set(
            err, status,
            "topic \"%.100s\" (kafka.topics.events) does not exist: the records of the "
            "letters are gone with it",
            r->topic);
    if (status == OK && r->apply)
        status = dlq_lock_take(&r->lock, r->config, err);
    if (status != OK || !r->apply)
        return status;
    kafka_producer_options_from(&options, r->config);
    options.delivered = deliveries_count;
    options.context = &r->deliveries;
    return kafka_producer_open(&r->producer, &options, err);
}

static int run_replay(struct command_line *line)
{
    struct replay r = {.line = line,
                       .config = command_config(line),
                       .apply = command_flag(line, "apply"),
                       .limit = (int)command_int(line, "limit")};
    struct error err;
    enum status status;
    int code = EXIT_DONE;

    if (r.config == NULL)
        return EXIT_USAGE;
    if (r.apply && command_flag(line, "dry-run"))
        return command_misused(line, "either --dry-run, which is the default, or --apply");
    if (command_given(line, "reason") && !dead_letter_reason_known(command_text(line, "reason")))
        return dead_letter_reason_misused(line, command_text(line, "reason"));
    if (command_given(line, "partition") &&
        (command_int(line, "partition") < 0 || command_int(line, "partition") > INT32_MAX))
        return command_misused(line, "--partition is 0 or more");
    if (command_given(line, "offset") && command_int(line, "offset") < 0)
        return command_misused(line, "--offset is 0 or more");
    if (r.limit < 1 || r.limit > LETTERS_MAX)
        return command_misused(line, "--limit is 1..%d", LETTERS_MAX);
    r.topic = config_text(r.config, "kafka.topics.events");
    status = open_all(&r, &err);
    if (status == OK)
        status = read_letters(&r, &err);
    if (status == OK)
        status = find_copies(&r, &err);
    if (status == OK)
        status = read_records(&r, &err);
    if (status != OK)
        code = command_fail(line, &err);
    else if (command_json(line))
        print_json(&r);
    else
        print_table(&r);
    kafka_producer_close(r.producer, 0);
    dlq_lock_release(r.lock);
    event_decoder_destroy(r.decoder);
    event_schema_destroy(r.schema);
    json_parser_destroy(r.parser);
    free(r.list);
    return code;
}

static const struct option_row replay_options[] = {
    {"dry-run", OPTION_FLAG, NULL, NULL, "only say what would be written; the default"},
    {"apply", OPTION_FLAG, NULL, NULL, "write them"},
    {"reason", OPTION_TEXT, "NAME", NULL, "only letters of this reason"},
    {"partition", OPTION_INT, "P", NULL, "only records of this partition of the events topic"},
    {"offset", OPTION_INT, "N", NULL, "only the record at this offset"},
    {"limit", OPTION_INT, "N", "1000",
     "at most N letters that were not replayed before, the oldest first"},
    {0},
};

const struct command dlq_replay_command = {
    .name = "dlq replay",
    .summary = "refused records once more into their topic, if they are events now",
    .arguments = "",
    .help = "Reads the records that dead letters name again, judges each by the configuration as "
            "it is now, and says how many would be events and which would still be refused, and "
            "why. With --apply those that are events now are produced again, marked as replayed: "
            "they enter sequences and counts, however late they are, and label no list.\n"
            "\n"
            "It may be run again: the topic is read from the first letter's record to its end, and "
            "letters whose record was replayed before are left out (copies that a build before "
            "this one made are not known). While one applies, another is refused (exit code 73): "
            "the data set's Redis knows, so --apply needs it.\n"
            "\n"
            "Restart ingest with the new configuration before --apply, or it refuses them again. "
            "Records that were quarantined need their user's key in Redis mended or deleted "
            "first.\n"
            "\n"
            "Examples:\n"
            "  freshet dlq replay --reason unknown_action\n"
            "  freshet dlq replay --reason unknown_action --apply\n"
            "  freshet dlq replay --partition 3 --offset 81234 --apply\n",
    .options = replay_options,
    .run = run_replay,
};
