/*
 * tests/bench/bench_serve.c - serving as a frontend sees it.
 *
 *   rerank_served_64x200_ms  ids to order in process: hash 200 candidate ids, look them up, counts,
 *                            batch, model with the cross head, order; 64 history events; median
 *   rerank_served_returning_64x200_ms
 *                            the same of eight users who come back, each with a new last event:
 *                            the rest of the history is known (serve.history_cache)
 *   http_rerank_p50_ms, http_rerank_p99_ms
 *                            POST /v1/rerank with 100 candidates, 200 requests/s, open loop
 *                            (latency from the planned time), Redis read included, serve in a
 *                            process of its own; the median of 5 rounds of 2,000 requests
 *   http_empty_p99_ms        the same clients, rate and rounds asking the same process for a path
 *                            that does not exist: what of it is the machine's and the protocol's
 *   http_rerank_returning_p50_ms, http_rerank_returning_p99_ms
 *                            the same requests of 400 users in place of 5,000; with
 *                            FRESHET_SERVE_HISTORY_CACHE=0B in the environment: without the cache
 *   serve_cpu_us, serve_returning_cpu_us
 *                            processor time of the process for each of these requests
 *   http_rerank_failures     requests that got no whole answer; a line below says how many of each
 *                            kind: no answer, an HTTP status, how degraded. A busy machine is too
 *                            late for serve.redis_budget, which is "degraded: cached", then
 *                            "no_history", and for serve.budget: HTTP 504
 *   serve_rss_mb
 *
 *     build/release/bench/bench_serve build/release/freshet
 *     build/release/bench/bench_serve --rank         the first alone, as one JSON object
 *     build/release/bench/bench_serve --returning    the second
 */
#include "features/redis_call.h"
#include "features/redis_dataset.h"
#include "features/scalars.h"
#include "kernels/kv_cache.h"
#include "kernels/model_file.h"
#include "ops/clock.h"
#include "ops/file.h"
#include "ops/hash.h"
#include "ops/http_client.h"
#include "ops/json.h"
#include "ops/process.h"
#include "ops/random.h"
#include "schemas/rerank.h"
#include "scorer/rank.h"

#include "tests/bench/figure.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define ITEMS      3400
#define USERS      5000
#define HISTORY    100
#define SEED       99
#define RATE       200
#define SECONDS    10
#define WORKERS    8
#define CANDIDATES 100
#define REQUESTS   (RATE * SECONDS)
#define ROUNDS     5
#define RETURNING  400 /* users of whom the cache has room for all */
#define ROTATION   8
#define KINDS_MAX  16 /* of failures */
#define WHY_BYTES  280
#define READY_S    60

static char folder[64];
static struct rules rules;
static struct item_tables *tables;
static struct model *model;
static struct process redis, serve;
static char rerank_url[128], empty_url[128];
static double latency_ms[REQUESTS];

/* Requests that got no whole answer, by why; the last kind is of all that are too many. */
static struct {
    char why[WHY_BYTES];
    int count;
} failures[KINDS_MAX];
static int failures_count;
static pthread_mutex_t failures_lock = PTHREAD_MUTEX_INITIALIZER;

static uint64_t hash_of(int item)
{
    char name[16];

    (void)snprintf(name, sizeof name, "item-%05d", item);
    return rules_item_hash(&rules, text_of(name));
}

static void make_tables(void)
{
    struct item_tables_options options = {.items_max = 2 * ITEMS};
    struct random random;
    struct error err;
    int64_t now_ms = clock_wall_ms();

    rules.seed = SEED;
    random_seed(&random, 1);
    figure_must(item_tables_create(&tables, &options, &err), &err);
    for (int i = 0; i < ITEMS; i++) {
        char name[16];

        (void)snprintf(name, sizeof name, "item-%05d", i);
        (void)item_tables_index(tables, hash_of(i), text_of(name), now_ms - 100000000);
    }
    for (int n = 0; n < 200000; n++) {
        struct user_entry before[COVIS_REACH] = {0};

        for (int i = 0; i < COVIS_REACH; i++)
            before[i] = (struct user_entry){.item = hash_of((int)random_below(&random, ITEMS)),
                                            .time_ms = now_ms - 50000000,
                                            .action = 2};
        item_tables_observe(tables, (int32_t)random_below(&random, ITEMS),
                            now_ms - 40000000 + (int64_t)n * 100, before, COVIS_REACH);
    }
}

static void publish(void)
{
    static struct manifest manifest;
    static const char *const files[] = {BUNDLE_ITEMS_NAME, MODEL_FILE_NAME};
    struct model_config config;
    struct error err;
    char root[128], path[512];
    char *inside;

    (void)snprintf(root, sizeof root, "%s/models", folder);
    figure_must(file_make_folders(root, &err), &err);
    manifest = (struct manifest){.version = "v000001", .item_seed = SEED};
    manifest.created_at_ms = clock_wall_ms();
    (void)model_preset(&config, "small", ITEMS + 1, scalars_count);
    figure_must(model_create(&model, &config, 3, &err), &err);
    model_file_describe(model, "small", &manifest);
    manifest.scalars_count = scalars_count;
    for (int i = 0; i < scalars_count; i++)
        (void)snprintf(manifest.scalars[i], sizeof manifest.scalars[i], "%s", scalar_rows[i].name);
    figure_must(bundle_begin(root, manifest.version, &inside, &err), &err);
    (void)snprintf(path, sizeof path, "%s/%s", inside, BUNDLE_ITEMS_NAME);
    figure_must(item_tables_save(tables, path, &err), &err);
    (void)snprintf(path, sizeof path, "%s/%s", inside, MODEL_FILE_NAME);
    figure_must(model_file_save(model, path, &err), &err);
    free(inside);
    figure_must(bundle_publish(root, &manifest, files, 2, true, &err), &err);
}

static void fill_history(struct user_entry *history, int count, struct random *random)
{
    int64_t at_ms = clock_wall_ms() - (int64_t)count * 60000;

    for (int i = 0; i < count; i++)
        history[i] = (struct user_entry){.item = hash_of((int)random_below(random, ITEMS)),
                                         .time_ms = at_ms + (int64_t)i * 60000,
                                         .action = (uint8_t)(1 + random_below(random, 2))};
}

/* ---- in process ---- */

static double now(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void bench_rank(bool json, bool returning)
{
    static char names[200][16];
    static double ms[400];
    static struct user_entry histories[ROTATION][64];
    const char *name = returning ? "rerank_served_returning_64x200_ms" : "rerank_served_64x200_ms";
    struct ranker ranker = {.model = model, .tables = tables};
    struct rank_scratch *scratch;
    struct ranked ranked[20];
    int32_t candidates[200];
    struct random random;
    struct error err;

    random_seed(&random, 5);
    figure_must(rank_scratch_create(&scratch, &err), &err);
    if (returning)
        figure_must(kv_cache_create(&ranker.histories, 64 << 20, &err), &err);
    for (int n = -20; n < 400; n++) {
        struct user_entry *history = histories[(n + 20) % ROTATION];
        struct rank_request request = {.history = history,
                                       .history_count = 64,
                                       .running = 64,
                                       .history_known = true,
                                       .now_ms = clock_wall_ms(),
                                       .candidates = candidates,
                                       .candidates_count = 200,
                                       .k = 20,
                                       .keep_seen = true};
        enum degraded degraded;
        int count;

        if (n < 0 || !returning)
            fill_history(history, 64, &random);
        history[63].item = hash_of((int)random_below(&random, ITEMS));
        for (int i = 0; i < 200; i++)
            (void)snprintf(names[i], sizeof names[i], "item-%05d",
                           (int)random_below(&random, ITEMS));
        double begun = now();
        for (int i = 0; i < 200; i++)
            candidates[i] = item_tables_find(tables, rules_item_hash(&rules, text_of(names[i])));
        figure_must(rank(&ranker, scratch, &request, ranked, &count, &degraded, &err), &err);
        if (n >= 0)
            ms[n] = (now() - begun) * 1e3;
    }
    rank_scratch_destroy(scratch);
    kv_cache_destroy(ranker.histories);
    if (json)
        (void)printf("{\"name\":\"%s\",\"median_ms\":%.4f,\"min_ms\":%.4f}\n", name,
                     figure_quantile(ms, 400, 0.5), figure_quantile(ms, 400, 0));
    else
        figure_report(name, figure_quantile(ms, 400, 0.5), "ms", "", 0);
}

/* ---- over HTTP ---- */

static void start_redis(void)
{
    char socket[128], log[128];
    const char *argv[] = {"redis-server",
                          "--port",
                          "0",
                          "--unixsocket",
                          socket,
                          "--save",
                          "",
                          "--appendonly",
                          "no",
                          "--maxmemory-policy",
                          "noeviction",
                          NULL};
    struct error err;

    (void)snprintf(socket, sizeof socket, "%s/redis.sock", folder);
    (void)snprintf(log, sizeof log, "%s/redis.log", folder);
    figure_must(process_start(&redis, "redis", argv, log, &err), &err);
}

static void fill_redis(void)
{
    static struct redis_dataset wanted, dataset;
    static struct user_value value;
    struct redis_connection *connection;
    struct redis_target target;
    struct event_schema *schema;
    struct redis_keys keys;
    struct random random;
    struct error err;
    char text[160];

    (void)snprintf(text, sizeof text, "unix://%s/redis.sock", folder);
    figure_must(redis_target_parse(&target, text, &err), &err);
    figure_must(redis_keys_init(&keys, "fr", &err), &err);
    figure_must(event_schema_default(&schema, &err), &err);
    wanted = (struct redis_dataset){
        .shards = 64, .value_format = 1, .example_format = 1, .examples_partitions = 8};
    rules_init(&wanted.rules, schema, SEED);
    figure_must(
        redis_connection_create(&connection, &target, &(struct redis_limits){0}, NULL, &err), &err);
    figure_must(redis_call_wait_ready(connection, 10000, &err), &err);
    figure_must(redis_dataset_open(&dataset, connection, &keys, &wanted, 10000, &err), &err);
    random_seed(&random, 7);
    value = (struct user_value){.running = HISTORY, .count = HISTORY};
    for (int u = 0; u < USERS; u++) {
        char name[16], key[REDIS_KEY_BYTES_MAX];
        uint8_t bytes[4096];
        const struct redis_reply *reply;

        (void)snprintf(name, sizeof name, "user-%05d", u);
        fill_history(value.entries, HISTORY, &random);
        struct text arguments[3] = {
            text_of("SET"),
            {key, redis_key_user(&keys, rules_shard(&dataset.rules, text_of(name), 64),
                                 text_of(name), key)},
            {(const char *)bytes, user_value_encode(&value, bytes, sizeof bytes)}};
        figure_must(redis_call(connection, 5000, arguments, 3, &reply, &err), &err);
    }
    redis_dataset_clear(&dataset);
    redis_connection_destroy(connection);
    event_schema_destroy(schema);
}

static void start_serve(const char *program)
{
    char redis_set[160], models_set[160], ports[128], log[128];
    const char *argv[] = {program,
                          "serve",
                          "--set",
                          redis_set,
                          "--set",
                          models_set,
                          "--set",
                          "serve.listen=127.0.0.1:0",
                          "--set",
                          "serve.admin=127.0.0.1:0",
                          "--set",
                          "serve.holdout=0",
                          "--ports-file",
                          ports,
                          NULL};
    struct json_parser *parser = json_parser_create(4096, 64);
    const struct json_node *root;
    struct error err;
    char *text = NULL;
    size_t bytes = 0;

    (void)snprintf(redis_set, sizeof redis_set, "redis.url=unix://%s/redis.sock", folder);
    (void)snprintf(models_set, sizeof models_set, "model.folder=%s/models", folder);
    (void)snprintf(ports, sizeof ports, "%s/ports", folder);
    (void)snprintf(log, sizeof log, "%s/serve.log", folder);
    figure_must(process_start(&serve, "serve", argv, log, &err), &err);
    for (int i = 0; i < 1000 && file_read(ports, 4096, &text, &bytes, &err) != OK; i++)
        (void)usleep(10000);
    figure_must(text == NULL ? ERR_TIMEOUT : OK, &err);
    figure_must(json_parse(parser, (struct text){text, bytes}, &root, &err), &err);
    (void)snprintf(rerank_url, sizeof rerank_url, "http://127.0.0.1:%d/v1/rerank",
                   (int)json_int_or(json_member(root, "listen"), 0));
    (void)snprintf(empty_url, sizeof empty_url, "http://127.0.0.1:%d/livez",
                   (int)json_int_or(json_member(root, "admin"), 0));
    free(text);
    json_parser_destroy(parser);
}

static int64_t begin_us;
static bool empty; /* this round asks for nothing */
static int asking; /* users of this round */

static size_t write_request(struct random *random, char *body, size_t bytes)
{
    size_t used = (size_t)snprintf(body, bytes, "{\"user\":\"user-%05d\",\"candidates\":[",
                                   (int)random_below(random, (uint64_t)asking));

    for (int i = 0; i < CANDIDATES; i++)
        used += (size_t)snprintf(body + used, bytes - used, "%s\"item-%05d\"", i == 0 ? "" : ",",
                                 (int)random_below(random, ITEMS));
    return used + (size_t)snprintf(body + used, bytes - used, "]}");
}

/* The text behind "degraded", as the answer has it. */
static struct text degraded_of(struct text answer)
{
    static const char name[] = "\"degraded\":\"";
    const char *at = memmem(answer.at, answer.bytes, name, sizeof name - 1);
    const char *end;

    if (at == NULL)
        return (struct text){0};
    at += sizeof name - 1;
    end = memchr(at, '"', answer.bytes - (size_t)(at - answer.at));
    return (struct text){at, end == NULL ? 0 : (size_t)(end - at)};
}

/* False: why says what came instead of a whole answer. */
static bool ask(struct http_client *client, struct text body, char why[WHY_BYTES])
{
    struct text answer, degraded;
    struct error err;
    int code = 0;
    enum status status = empty ? http_client_get(client, empty_url, &code, &answer, &err)
                               : http_client_post(client, rerank_url, body, &code, &answer, &err);

    if (status != OK) {
        (void)snprintf(why, WHY_BYTES, "%s: %s", status_name(status), err.text);
        return false;
    }
    if (code != 200) {
        (void)snprintf(why, WHY_BYTES, "HTTP %d: %.*s", code,
                       (int)(answer.bytes < 100 ? answer.bytes : 100), answer.at);
        return false;
    }
    degraded = degraded_of(answer);
    if (empty || text_equal(degraded, text_of(degraded_names[DEGRADED_NONE])))
        return true;
    (void)snprintf(why, WHY_BYTES, "degraded: %.*s", TEXT_ARGS(degraded));
    return false;
}

static void count_failure(const char *why)
{
    int i = 0;

    (void)pthread_mutex_lock(&failures_lock);
    while (i < KINDS_MAX - 1 && failures[i].count > 0 && strcmp(failures[i].why, why) != 0)
        i++;
    if (failures[i].count++ == 0)
        (void)snprintf(failures[i].why, WHY_BYTES, "%s", i < KINDS_MAX - 1 ? why : "others");
    failures_count++;
    (void)pthread_mutex_unlock(&failures_lock);
}

/* The first bundle is read within two refreshes, later where the machine is busy; until then lists
 * come back as they were given. */
static void wait_until_served(void)
{
    char body[4096], why[WHY_BYTES];
    int64_t until_us = clock_monotonic_us() + (int64_t)READY_S * 1000000;
    struct http_client *client;
    struct random random;
    struct error err;

    random_seed(&random, 99);
    asking = USERS;
    figure_must(http_client_create(&client, 5000, 1 << 20, &err), &err);
    for (;;) {
        size_t bytes = write_request(&random, body, sizeof body);

        if (ask(client, (struct text){body, bytes}, why))
            break;
        if (clock_monotonic_us() > until_us)
            figure_must(error_set(&err, ERR_TIMEOUT, "no whole answer in %d s: %s", READY_S, why),
                        &err);
        (void)usleep(10000);
    }
    http_client_destroy(client);
}

/* Worker w sends requests w, w + WORKERS, ... each at its planned time. */
static void *work(void *context)
{
    int worker = (int)(intptr_t)context;
    struct http_client *client;
    struct random random;
    struct error err;
    char body[4096], why[WHY_BYTES];

    random_seed(&random, 100 + (uint64_t)worker);
    figure_must(http_client_create(&client, 5000, 1 << 20, &err), &err);
    for (int n = worker; n < REQUESTS; n += WORKERS) {
        int64_t planned_us = begin_us + (int64_t)n * 1000000 / RATE;
        size_t bytes = write_request(&random, body, sizeof body);
        int64_t now_us = clock_monotonic_us();

        if (now_us < planned_us)
            (void)usleep((useconds_t)(planned_us - now_us));
        if (!ask(client, (struct text){body, bytes}, why))
            count_failure(why);
        latency_ms[n] = (double)(clock_monotonic_us() - planned_us) / 1000;
    }
    http_client_destroy(client);
    return NULL;
}

/* Of the process that serves: user and system, in seconds. */
static double serve_cpu(void)
{
    unsigned long user = 0, system = 0;
    char path[40];
    FILE *file;

    (void)snprintf(path, sizeof path, "/proc/%d/stat", (int)serve.pid);
    file = fopen(path, "re");
    if (file == NULL || fscanf(file, "%*d %*s %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu",
                               &user, &system) != 2)
        user = system = 0;
    if (file != NULL)
        (void)fclose(file);
    return (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}

/* users 0: asks for nothing. */
static void run_round(int users, double *p50, double *p99, double *cpu_us)
{
    pthread_t workers[WORKERS];
    double cpu = serve_cpu();

    empty = users == 0;
    asking = users == 0 ? USERS : users; /* that are not asked for */
    begin_us = clock_monotonic_us() + 100000;
    for (intptr_t i = 0; i < WORKERS; i++)
        if (pthread_create(&workers[i], NULL, work, (void *)i) != 0)
            exit(1);
    for (int i = 0; i < WORKERS; i++)
        (void)pthread_join(workers[i], NULL);
    *p50 = figure_quantile(latency_ms, REQUESTS, 0.5);
    *p99 = figure_quantile(latency_ms, REQUESTS, 0.99);
    *cpu_us = (serve_cpu() - cpu) * 1e6 / REQUESTS;
}

static void bench_http(void)
{
    double p50[ROUNDS], p99[ROUNDS], empty_p50[ROUNDS], empty_p99[ROUNDS];
    double returning_p50[ROUNDS], returning_p99[ROUNDS];
    double cpu[ROUNDS], returning_cpu[ROUNDS], empty_cpu;

    for (int i = 0; i < ROUNDS; i++) {
        run_round(0, &empty_p50[i], &empty_p99[i], &empty_cpu);
        run_round(USERS, &p50[i], &p99[i], &cpu[i]);
        run_round(RETURNING, &returning_p50[i], &returning_p99[i], &returning_cpu[i]);
    }
    double least = figure_quantile(empty_p99, ROUNDS, 0.5);
    figure_report("http_rerank_p50_ms", figure_quantile(p50, ROUNDS, 0.5), "ms", "an empty request",
                  figure_quantile(empty_p50, ROUNDS, 0.5));
    figure_report("http_rerank_p99_ms", figure_quantile(p99, ROUNDS, 0.5), "ms", "promised", 8);
    figure_report("http_rerank_returning_p50_ms", figure_quantile(returning_p50, ROUNDS, 0.5), "ms",
                  "of all users", figure_quantile(p50, ROUNDS, 0.5));
    figure_report("http_rerank_returning_p99_ms", figure_quantile(returning_p99, ROUNDS, 0.5), "ms",
                  "promised", 8);
    figure_report("serve_cpu_us", figure_quantile(cpu, ROUNDS, 0.5), "us", "", 0);
    figure_report("serve_returning_cpu_us", figure_quantile(returning_cpu, ROUNDS, 0.5), "us",
                  "of all users", figure_quantile(cpu, ROUNDS, 0.5));
    figure_report("http_empty_p99_ms", least, "ms", "", 0);
    figure_report("http_rerank_failures", failures_count, "requests", "", 0);
    for (int i = 0; i < KINDS_MAX && failures[i].count > 0; i++)
        (void)printf("%8d of %d: %s\n", failures[i].count, 3 * ROUNDS * REQUESTS, failures[i].why);
    figure_report("serve_rss_mb", figure_rss_mb(serve.pid), "MB", "", 0);
}

int main(int argc, char **argv)
{
    struct error err;
    bool returning_only = argc == 2 && strcmp(argv[1], "--returning") == 0;
    bool rank_only = argc == 2 && strcmp(argv[1], "--rank") == 0;

    if (argc != 2) {
        (void)fprintf(stderr, "usage: bench_serve PATH_OF_FRESHET | --rank | --returning\n");
        return 2;
    }
    figure_must(hash_start(&err), &err);
    (void)snprintf(folder, sizeof folder, "/tmp/freshet-bench-XXXXXX");
    if (mkdtemp(folder) == NULL)
        return 1;
    make_tables();
    publish();
    figure_must(model_fold(model, &err), &err); /* as serve does with what it loads */
    if (!returning_only)
        bench_rank(rank_only, false);
    if (!rank_only)
        bench_rank(returning_only, true);
    if (!rank_only && !returning_only) {
        start_redis();
        fill_redis();
        start_serve(argv[1]);
        wait_until_served();
        bench_http();
        process_stop(&serve, 5000);
        process_stop(&redis, 5000);
    }
    model_destroy(model);
    item_tables_destroy(tables);
    return file_remove_tree(folder, &err) != OK || failures_count > 0;
}
