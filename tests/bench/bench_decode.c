/*
 * tests/bench/bench_decode.c - what it costs to make an event of a record: the same clicks of
 * eleven fields as JSON and as Avro, through event_decode() with all its checks. Processor time of
 * one thread, the best of seventy rounds in turns; what was decoded is summed and compared.
 *
 *     make build/release/bench/bench_decode && build/release/bench/bench_decode
 */
#include "ops/file.h"
#include "ops/hash.h"
#include "ops/random.h"
#include "schemas/event_private.h"
#include "tests/bench/figure.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define ROUNDS       70
#define EVENTS       20000
#define RECORD_BYTES 256
#define START        INT64_C(1700000000000)
#define SCHEMA_ID    1
#define WARM_MS      10000

static const char avsc[] =
    "{\"type\":\"record\",\"name\":\"Click\",\"fields\":["
    "{\"name\":\"event_id\",\"type\":\"string\"},"
    "{\"name\":\"type\",\"type\":{\"type\":\"enum\",\"name\":\"Type\",\"symbols\":[\"view\","
    "\"click\","
    "\"like\"]}},"
    "{\"name\":\"user\",\"type\":\"string\"},{\"name\":\"item\",\"type\":\"string\"},"
    "{\"name\":\"ts\",\"type\":{\"type\":\"long\",\"logicalType\":\"timestamp-millis\"}},"
    "{\"name\":\"request_id\",\"type\":[\"null\",\"string\"]},"
    "{\"name\":\"position\",\"type\":\"int\"},{\"name\":\"dwell\",\"type\":\"double\"},"
    "{\"name\":\"device\",\"type\":\"string\"},{\"name\":\"country\",\"type\":\"string\"},"
    "{\"name\":\"mobile\",\"type\":\"boolean\"}]}";

struct records {
    struct event_decoder *decoder;
    char (*bytes)[RECORD_BYTES]; /* (EVENTS) */
    size_t *lengths;
    double ns; /* the best round's, an event */
    uint64_t sum;
};

static struct error err;

static void must(enum status status)
{
    figure_must(status, &err);
}

/* ---- the records ---- */

static size_t put_long(char *at, int64_t number)
{
    uint64_t bits = ((uint64_t)number << 1) ^ (uint64_t)(number < 0 ? -1 : 0);
    size_t used = 0;

    for (; bits >= 0x80; bits >>= 7)
        at[used++] = (char)((bits & 0x7f) | 0x80);
    at[used++] = (char)bits;
    return used;
}

static size_t put_text(char *at, const char *text)
{
    size_t used = put_long(at, (int64_t)strlen(text));

    memcpy(at + used, text, strlen(text));
    return used + strlen(text);
}

static void make_records(struct records *json, struct records *avro)
{
    struct random random;

    random_seed(&random, 1);
    for (int i = 0; i < EVENTS; i++) {
        char user[24], item[24], id[24], request[24], *at = avro->bytes[i];
        int64_t time_ms = START + i;
        double dwell = (double)random_below(&random, 10000) / 64;
        int position = (int)random_below(&random, 40);

        (void)snprintf(user, sizeof user, "u%06d", (int)random_below(&random, 1000000));
        (void)snprintf(item, sizeof item, "i%05d", (int)random_below(&random, 100000));
        (void)snprintf(id, sizeof id, "e%08d", i);
        (void)snprintf(request, sizeof request, "r%08d", i / 8);
        json->lengths[i] = (size_t)snprintf(
            json->bytes[i], RECORD_BYTES,
            "{\"event_id\":\"%s\",\"type\":\"click\",\"user\":\"%s\",\"item\":\"%s\",\"ts\":%lld,"
            "\"request_id\":\"%s\",\"position\":%d,\"dwell\":%.6f,\"device\":\"web\","
            "\"country\":\"de\",\"mobile\":true}",
            id, user, item, (long long)time_ms, request, position, dwell);
        memcpy(at, (char[]){0, 0, 0, 0, SCHEMA_ID}, 5);
        at += 5;
        at += put_text(at, id);
        at += put_long(at, 1);
        at += put_text(at, user);
        at += put_text(at, item);
        at += put_long(at, time_ms);
        at += put_long(at, 1);
        at += put_text(at, request);
        at += put_long(at, position);
        memcpy(at, &dwell, sizeof dwell);
        at += sizeof dwell;
        at += put_text(at, "web");
        at += put_text(at, "de");
        *at++ = 1;
        avro->lengths[i] = (size_t)(at - avro->bytes[i]);
    }
}

static void open_records(struct records *r, const struct event_schema *schema)
{
    r->bytes = calloc(EVENTS, sizeof *r->bytes);
    r->lengths = calloc(EVENTS, sizeof *r->lengths);
    if (r->bytes == NULL || r->lengths == NULL)
        must(error_set(&err, ERR_NOMEM, "no memory for records"));
    must(event_decoder_create(&r->decoder, schema, &err));
    event_decoder_insist(r->decoder, WARM_MS);
    r->ns = 1e9;
}

/* ---- a round ---- */

/* Of this thread: what others do on the machine counts less. */
static int64_t cpu_ns(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void decode_all(struct records *r)
{
    int64_t begun_ns = cpu_ns();
    double ns;

    r->sum = 0;
    for (int i = 0; i < EVENTS; i++) {
        struct event event;
        enum refusal why;

        must(event_decode(r->decoder, (struct text){r->bytes[i], r->lengths[i]}, START + 1000000,
                          &event, &why, &err));
        r->sum += (uint64_t)event.time_ms + event.action + (uint64_t)event.user.at[6] +
                  (uint64_t)event.item.at[5] + event.request_id.bytes + event.event_id.bytes;
    }
    ns = (double)(cpu_ns() - begun_ns) / EVENTS;
    r->ns = ns < r->ns ? ns : r->ns;
}

static struct event_schema *schema_of(enum event_format format, const char *folder)
{
    struct event_schema *schema = event_schema_new();

    if (schema == NULL)
        must(error_set(&err, ERR_NOMEM, "no memory for a schema"));
    must(event_schema_add_defaults(schema, &err));
    must(event_schema_finish(schema, &event_mapping_default, &err));
    schema->format = format;
    schema->schemas = strdup(folder);
    return schema;
}

int main(void)
{
    char folder[] = "/tmp/freshet-bench-XXXXXX", path[64];
    struct event_schema *of_json, *of_avro;
    struct records json = {0}, avro = {0};

    must(hash_start(&err));
    if (mkdtemp(folder) == NULL)
        must(error_set(&err, ERR_IO, "could not make a folder"));
    (void)snprintf(path, sizeof path, "%s/%d.avsc", folder, SCHEMA_ID);
    must(file_replace(path, avsc, strlen(avsc), &err));
    of_json = schema_of(FORMAT_JSON, folder);
    of_avro = schema_of(FORMAT_AVRO, folder);
    open_records(&json, of_json);
    open_records(&avro, of_avro);
    make_records(&json, &avro);
    for (int round = 0; round < ROUNDS; round++) {
        decode_all(&json);
        decode_all(&avro);
    }
    if (json.sum != avro.sum)
        must(error_set(&err, ERR_CORRUPT, "the two do not decode the same"));
    figure_report("json_events_per_s", 1e9 / json.ns, "1/s", "issue", 1e6);
    figure_report("avro_events_per_s", 1e9 / avro.ns, "1/s", "json_events_per_s", 1e9 / json.ns);
    must(file_remove_tree(folder, &err));
    event_decoder_destroy(json.decoder);
    event_decoder_destroy(avro.decoder);
    event_schema_destroy(of_json);
    event_schema_destroy(of_avro);
    free(json.bytes);
    free(avro.bytes);
    free(json.lengths);
    free(avro.lengths);
    return 0;
}
