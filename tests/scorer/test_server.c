/*
 * Tests scorer/server and scorer/user_reader: requests over HTTP against a private Redis, with and
 * without it, and the equality of what is served with what is recomputed offline.
 */
#include "scorer/server.h"

#include "features/redis_call.h"
#include "features/redis_dataset.h"
#include "features/scalars.h"
#include "kernels/backend.h"
#include "ops/clock.h"
#include "ops/hash.h"
#include "ops/http_client.h"
#include "ops/json.h"
#include "schemas/rerank.h"
#include "schemas/trace.h"
#include "scorer/history_cache.h"
#include "scorer/rank.h"

#include "tests/scorer/scorer_fixture.h"
#include "tests/support/redis_server.h"
#include "tests/test.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { CLICK = 2, HIDE = 6 };

struct fixture {
    struct redis_server redis;
    struct redis_keys keys;
    struct redis_dataset dataset;
    struct redis_connection *connection;
    struct item_tables *tables;
    struct event_schema *schema;
    struct kv_cache *histories;
    struct served_slot *slot;
    struct user_reader *reader;
    struct server *server;
    struct http_server *http;
    struct http_client *client;
    struct rerank_parser *parser;
    struct rerank_answer answer;
    char url[128];
    int code;
};

static void open_dataset(struct fixture *f)
{
    static struct redis_dataset wanted;
    struct redis_target target;
    struct error err;

    wanted = (struct redis_dataset){
        .shards = 4, .value_format = 1, .example_format = 1, .examples_partitions = 4};
    rules_init(&wanted.rules, f->schema, FIXTURE_SEED);
    CHECK_STATUS(OK, redis_keys_init(&f->keys, "fr", &err));
    CHECK_STATUS(OK, redis_target_parse(&target, f->redis.url, &err));
    CHECK_STATUS(OK, redis_connection_create(&f->connection, &target, &(struct redis_limits){0},
                                             NULL, &err));
    CHECK_STATUS(OK, redis_call_wait_ready(f->connection, 5000, &err));
    CHECK_STATUS(OK, redis_dataset_open(&f->dataset, f->connection, &f->keys, &wanted, 5000, &err));
    CHECK(f->dataset.rules.seed == FIXTURE_SEED);
}

static struct context_names asked_by;  /* of the next server */
static const struct backend *asked_of; /* of the next server */

enum bundle { NO_BUNDLE, TABLES_ONLY, WITH_MODEL };

static void setup_bundle(struct fixture *f, enum bundle bundle)
{
    struct user_reader_options reader = {.cache_users = 100};
    struct server_options server = {.threads = 1, .redis_budget_ms = 1000, .budget_ms = 5000};
    struct http_server_options http = {.listen = "127.0.0.1:0", .routes = server_routes};
    struct error err;
    bool changed;

    *f = (struct fixture){0};
    CHECK_STATUS(OK, hash_start(&err));
    CHECK_STATUS(OK, event_schema_default(&f->schema, &err));
    redis_server_start(&f->redis, NULL);
    open_dataset(f);
    f->tables = fixture_tables(clock_wall_ms());
    if (bundle != NO_BUNDLE)
        fixture_publish(test_folder(), "v1", f->tables, bundle == WITH_MODEL, false);
    CHECK_STATUS(OK, history_cache_open(&f->histories, 1 << 20, &err));
    CHECK_STATUS(OK, served_slot_create(&f->slot, test_folder(), NULL, &err));
    served_slot_histories(f->slot, f->histories);
    CHECK_STATUS(bundle == NO_BUNDLE ? ERR_NOT_FOUND : OK, served_refresh(f->slot, &changed, &err));
    CHECK_STATUS(OK, redis_target_parse(&reader.target, f->redis.url, &err));
    reader.keys = f->keys;
    CHECK_STATUS(OK, user_reader_open(&f->reader, &reader, &err));
    for (int i = 0; i < 500 && !user_reader_up(f->reader); i++)
        (void)usleep(10000);
    CHECK(user_reader_up(f->reader));
    server.slot = f->slot;
    server.reader = f->reader;
    server.schema = f->schema;
    server.histories = f->histories;
    server.contexts = asked_by;
    server.backend = asked_of;
    CHECK_STATUS(OK, server_create(&f->server, &server, &err));
    http.context = f->server;
    CHECK_STATUS(OK, http_server_open(&f->http, &http, &err));
    CHECK_STATUS(OK, http_client_create(&f->client, 10000, 1 << 20, &err));
    CHECK_STATUS(OK, rerank_parser_create(&f->parser, &err));
    (void)snprintf(f->url, sizeof f->url, "http://127.0.0.1:%d", http_server_port(f->http));
}

static void setup(struct fixture *f, bool with_model)
{
    setup_bundle(f, with_model ? WITH_MODEL : TABLES_ONLY);
}

static void teardown(struct fixture *f)
{
    http_client_destroy(f->client);
    server_drain(f->server, 1000);
    http_server_close(f->http, 1000);
    user_reader_close(f->reader);
    server_destroy(f->server);
    served_slot_destroy(f->slot);
    history_cache_close(f->histories);
    rerank_parser_destroy(f->parser);
    event_schema_destroy(f->schema);
    item_tables_destroy(f->tables);
    redis_connection_destroy(f->connection);
    redis_dataset_clear(&f->dataset);
    redis_server_stop(&f->redis);
}

static void post(struct fixture *f, const char *path, const char *json)
{
    char url[256];
    struct text body;
    struct error err;

    (void)snprintf(url, sizeof url, "%s%s", f->url, path);
    CHECK_STATUS(OK, http_client_post(f->client, url, text_of(json), &f->code, &body, &err));
    f->answer = (struct rerank_answer){0};
    if (f->code == 200)
        CHECK_STATUS(OK, rerank_answer_parse(f->parser, body, &f->answer, &err));
}

/* Stores a sequence as ingest would have. */
static void store(struct fixture *f, const char *user, const struct user_entry *entries, int count)
{
    static struct user_value value;
    uint8_t bytes[8192];
    char key[REDIS_KEY_BYTES_MAX];
    const struct redis_reply *reply;
    struct text arguments[3];
    struct error err;

    value = (struct user_value){.running = (uint32_t)count, .count = count};
    memcpy(value.entries, entries, (size_t)count * sizeof entries[0]);
    size_t used = user_value_encode(&value, bytes, sizeof bytes);
    CHECK(used > 0);
    arguments[0] = text_of("SET");
    arguments[1] = (struct text){
        key, redis_key_user(&f->keys, rules_shard(&f->dataset.rules, text_of(user), 4),
                            text_of(user), key)};
    arguments[2] = (struct text){(const char *)bytes, used};
    CHECK_STATUS(OK, redis_call(f->connection, 5000, arguments, 3, &reply, &err));
}

static struct user_entry entry(int item, int64_t ago_ms, uint8_t action)
{
    return (struct user_entry){
        .item = fixture_item(item), .time_ms = clock_wall_ms() - ago_ms, .action = action};
}

static bool answered(const struct fixture *f, const char *item)
{
    for (int i = 0; i < f->answer.items_count; i++)
        if (text_equal(f->answer.items[i].item, text_of(item)))
            return true;
    return false;
}

TEST(server_reranks_with_the_model_and_says_so)
{
    struct fixture f;
    struct user_entry history[] = {entry(3, 2000, CLICK), entry(4, 1000, CLICK)};

    setup(&f, true);
    store(&f, "u1", history, 2);
    post(&f, "/v1/rerank",
         "{\"request_id\":\"r1\",\"user\":\"u1\",\"k\":3,"
         "\"candidates\":[\"i1\",\"i9\",\"i1\",\"nobody\",\"i5\"]}");
    CHECK_INT(200, f.code);
    CHECK_TEXT("v1+0", f.answer.model_version);
    CHECK_TEXT("model", f.answer.arm);
    CHECK_INT(DEGRADED_NONE, f.answer.degraded);
    CHECK(text_equal(f.answer.request_id, text_of("r1")));
    CHECK(!f.answer.cold);
    CHECK_INT(3, f.answer.items_count); /* the duplicate is gone, the unknown one is behind */
    CHECK(answered(&f, "i1") && answered(&f, "i5") && answered(&f, "i9"));
    teardown(&f);
}

TEST(server_scores_equal_an_offline_recomputation_at_the_time_in_the_trace)
{
    static struct trace trace;
    struct fixture f;
    struct user_entry history[] = {entry(3, 2000, CLICK), entry(4, 1000, CLICK)};
    struct rank_scratch *scratch;
    struct error err;

    setup(&f, true);
    store(&f, "u1", history, 2);
    post(&f, "/v1/recommend", "{\"user\":\"u1\",\"k\":10}");
    CHECK_INT(200, f.code);
    CHECK_INT(10, f.answer.items_count);
    CHECK(!answered(&f, "i3") && !answered(&f, "i4")); /* seen */
    CHECK_STATUS(OK, trace_decode(&trace, f.answer.trace, &err));
    CHECK_INT(10, trace.rows_count);
    CHECK_TEXT("v1+0", trace.model_version);

    const struct served *served = served_acquire(f.slot);
    struct ranker ranker = {.model = served->model, .tables = served->tables};
    CHECK_STATUS(OK, rank_scratch_create(&scratch, &err));
    for (int i = 0; i < f.answer.items_count; i++) {
        int32_t index = item_tables_find(served->tables,
                                         rules_item_hash(&f.dataset.rules, f.answer.items[i].item));
        struct rank_request request = {
            .history = history,
            .history_count = 2,
            .running = 2,
            .history_known = true,
            .now_ms = trace.request_time_ms,
            .candidates = &index,
            .candidates_count = 1,
            .k = 1,
            .keep_seen = true,
        };
        float score;

        CHECK(index != ITEM_NONE);
        CHECK_STATUS(OK, rank_scores(&ranker, scratch, &request, &score, &err));
        CHECK_NEAR(score, f.answer.items[i].score, 1e-5);
        CHECK_INT(item_tables_clicks(served->tables, index), trace.raw[i][RAW_CLICKS]);
    }
    rank_scratch_destroy(scratch);
    served_release(f.slot, served);
    teardown(&f);
}

TEST(server_leaves_out_what_was_hidden_from_the_next_list_on)
{
    struct fixture f;
    struct user_entry history[] = {entry(3, 2000, CLICK), entry(9, 1000, HIDE)};
    const char *request = "{\"user\":\"u1\",\"candidates\":[\"i1\",\"i9\",\"i5\"]}";

    setup(&f, true);
    post(&f, "/v1/rerank", request);
    CHECK(answered(&f, "i9"));
    CHECK(f.answer.cold);
    store(&f, "u1", history, 2);
    post(&f, "/v1/rerank", request);
    CHECK_INT(2, f.answer.items_count);
    CHECK(!answered(&f, "i9"));
    teardown(&f);
}

/* Rows of histories that were found or computed so far. */
static void count_rows(const struct fixture *f, int64_t *found, int64_t *computed)
{
    struct kv_cache_stats stats;

    kv_cache_stats(f->histories, &stats);
    *found = stats.rows_found;
    *computed = stats.rows_computed;
}

TEST(server_keeps_histories_from_request_to_request_until_their_user_is_erased)
{
    const char *list = "{\"user\":\"u\",\"candidates\":[\"i3\",\"i9\",\"i15\"]}";
    struct user_entry history[30];
    struct fixture f;
    int64_t found, computed;

    setup(&f, true);
    for (int i = 0; i < 30; i++)
        history[i] = entry(i % FIXTURE_ITEMS, 100000 - i, CLICK);
    store(&f, "u", history, 29);
    post(&f, "/v1/rerank", list);
    CHECK_INT(200, f.code);
    count_rows(&f, &found, &computed);
    CHECK(found == 0 && computed == 29);
    store(&f, "u", history, 30); /* one event more */
    post(&f, "/v1/rerank", list);
    count_rows(&f, &found, &computed);
    CHECK(found == 24 && computed == 29 + 6);
    store(&f, "u", history, 0); /* as ingest leaves an erased user */
    post(&f, "/v1/rerank", list);
    CHECK_INT(200, f.code);
    CHECK(f.answer.cold);
    count_rows(&f, &found, &computed);
    CHECK(found == 24 && computed == 29 + 6); /* nothing of them was looked for */
    teardown(&f);
}

TEST(server_answers_by_popularity_while_there_is_no_model)
{
    struct fixture f;

    setup(&f, false);
    post(&f, "/v1/recommend", "{\"user\":\"new\",\"k\":5}");
    CHECK_INT(200, f.code);
    CHECK_INT(DEGRADED_POPULARITY, f.answer.degraded);
    CHECK_TEXT("popularity", f.answer.arm);
    CHECK_INT(5, f.answer.items_count);
    CHECK(text_equal(f.answer.items[0].item, text_of("i19")));
    teardown(&f);
}

TEST(server_gives_the_list_back_while_nothing_was_published)
{
    struct fixture f;

    setup_bundle(&f, NO_BUNDLE);
    post(&f, "/v1/recommend", "{\"user\":\"u1\",\"k\":5}");
    CHECK_INT(200, f.code);
    CHECK_INT(0, f.answer.items_count);
    CHECK_INT(DEGRADED_AS_GIVEN, f.answer.degraded);
    CHECK_TEXT("", f.answer.model_version);
    post(&f, "/v1/rerank", "{\"user\":\"u1\",\"candidates\":[\"b\",\"a\"]}");
    CHECK_INT(2, f.answer.items_count);
    CHECK(text_equal(f.answer.items[0].item, text_of("b")));
    teardown(&f);
}

TEST(server_goes_on_without_redis_from_its_cache_or_without_a_sequence)
{
    struct fixture f;
    struct user_entry history[] = {entry(3, 2000, CLICK), entry(9, 1000, HIDE)};

    setup(&f, true);
    store(&f, "u1", history, 2);
    post(&f, "/v1/rerank", "{\"user\":\"u1\",\"candidates\":[\"i1\",\"i9\"]}");
    CHECK_INT(DEGRADED_NONE, f.answer.degraded);
    redis_server_kill(&f.redis);
    post(&f, "/v1/rerank", "{\"user\":\"u1\",\"candidates\":[\"i1\",\"i9\"]}");
    CHECK_INT(200, f.code);
    CHECK_INT(DEGRADED_CACHED, f.answer.degraded);
    CHECK(!answered(&f, "i9")); /* the hide is remembered */
    post(&f, "/v1/rerank", "{\"user\":\"u2\",\"candidates\":[\"i1\",\"i9\"]}");
    CHECK_INT(200, f.code);
    CHECK_INT(DEGRADED_NO_HISTORY, f.answer.degraded);
    CHECK_INT(2, f.answer.items_count);
    teardown(&f);
}

TEST(server_refuses_bad_requests_by_name_and_takes_an_empty_list)
{
    static char many[RERANK_CANDIDATES_MAX * 12 + 200];
    struct fixture f;
    size_t used;

    setup(&f, true);
    post(&f, "/v1/rerank", "{\"user\":\"u1\",\"candidates\":[]}");
    CHECK_INT(200, f.code);
    CHECK_INT(0, f.answer.items_count);
    post(&f, "/v1/rerank", "{\"user\":");
    CHECK_INT(400, f.code);
    post(&f, "/v1/rerank", "{\"candidates\":[\"i1\"]}");
    CHECK_INT(400, f.code);
    post(&f, "/v1/nothing", "{}");
    CHECK_INT(404, f.code);
    used = (size_t)snprintf(many, sizeof many, "{\"user\":\"u1\",\"candidates\":[\"x\"");
    for (int i = 0; i < RERANK_CANDIDATES_MAX; i++)
        used += (size_t)snprintf(many + used, sizeof many - used, ",\"c%d\"", i);
    (void)snprintf(many + used, sizeof many - used, "]}");
    post(&f, "/v1/rerank", many);
    CHECK_INT(413, f.code);
    teardown(&f);
}

TEST(server_that_drains_answers_503_and_finishes_what_it_has)
{
    struct fixture f;

    setup(&f, true);
    post(&f, "/v1/recommend", "{\"user\":\"u1\"}");
    CHECK_INT(200, f.code);
    server_drain(f.server, 1000);
    post(&f, "/v1/recommend", "{\"user\":\"u1\"}");
    CHECK_INT(503, f.code);
    teardown(&f);
}

static const struct json_node *first_item(struct fixture *f, struct json_parser *parser,
                                          const char *json)
{
    const struct json_node *root;
    struct text body;
    struct error err;
    char url[256];

    (void)snprintf(url, sizeof url, "%s/v1/rerank", f->url);
    CHECK_STATUS(OK, http_client_post(f->client, url, text_of(json), &f->code, &body, &err));
    CHECK_INT(200, f->code);
    CHECK_STATUS(OK, json_parse(parser, body, &root, &err));
    return json_member(root, "items")->child;
}

static void check_explained(bool model)
{
    static const char asked[] = "{\"user\":\"u1\",\"explain\":true,"
                                "\"candidates\":[\"i1\",\"i9\",\"nobody\"]}";
    struct json_parser *parser = json_parser_create(1 << 20, 4096);
    const struct json_node *item, *scalars, *parts;
    struct fixture f;
    struct user_entry history[] = {entry(3, 2000, CLICK), entry(4, 1000, CLICK)};

    CHECK(parser != NULL);
    setup(&f, model);
    store(&f, "u1", history, 2);
    item = first_item(&f, parser, asked);
    scalars = json_member(item, "scalars");
    parts = json_member(item, "parts");
    CHECK_INT(scalars_count, (int64_t)scalars->children_count);
    for (int c = 0; c < scalars_count; c++)
        CHECK(json_member(scalars, scalar_rows[c].name) != NULL);
    CHECK_INT(2, (int64_t)parts->children_count);
    CHECK(json_member(parts, model ? "history" : "covisitation") != NULL);
    if (!model)
        CHECK_NEAR(json_real_or(json_member(item, "score"), -1),
                   json_real_or(parts->child, 9) + json_real_or(parts->child->next, 9), 1e-5);
    post(&f, "/v1/rerank", asked); /* our own client reads past them */
    CHECK_INT(3, f.answer.items_count);
    CHECK(f.answer.trace.bytes > 0);
    item = first_item(&f, parser, "{\"user\":\"u1\",\"candidates\":[\"i1\"]}");
    CHECK(json_member(item, "scalars") == NULL && json_member(item, "parts") == NULL);
    teardown(&f);
    json_parser_destroy(parser);
}

TEST(server_explains_each_row_when_asked)
{
    check_explained(true);
}

TEST(server_explains_each_row_without_a_model_too)
{
    check_explained(false);
}

TEST(server_drops_what_was_seen_when_asked_to)
{
    struct fixture f;
    struct user_entry history[] = {entry(3, 2000, CLICK)};

    setup(&f, true);
    store(&f, "u1", history, 1);
    post(&f, "/v1/rerank", "{\"user\":\"u1\",\"candidates\":[\"i3\",\"i5\"]}");
    CHECK(answered(&f, "i3") && answered(&f, "i5"));
    post(&f, "/v1/rerank", "{\"user\":\"u1\",\"seen\":\"drop\",\"candidates\":[\"i3\",\"i5\"]}");
    CHECK(!answered(&f, "i3") && answered(&f, "i5"));
    post(&f, "/v1/recommend", "{\"user\":\"u1\",\"seen\":\"keep\",\"k\":20}");
    CHECK(answered(&f, "i3"));
    teardown(&f);
}

/* Control characters take six bytes each in an answer: the longest ids, as many as may be asked
 * for, explained. */
TEST(server_answers_with_the_largest_answer_whole)
{
    enum { ROWS = RERANK_K_MAX, LETTERS = 252 };
    size_t room = (size_t)ROWS * (6 * LETTERS + 16) + 200;
    char *json = malloc(room);
    size_t used;
    struct fixture f;
    char url[256];
    struct text body;
    struct error err;

    CHECK(json != NULL);
    used = (size_t)snprintf(
        json, room, "{\"user\":\"u1\",\"explain\":true,\"k\":%d,\"candidates\":[", (int)ROWS);
    for (int i = 0; i < ROWS; i++) {
        used += (size_t)snprintf(json + used, room - used, "%s\"%04d", i == 0 ? "" : ",", i);
        for (int c = 0; c < LETTERS; c++)
            used += (size_t)snprintf(json + used, room - used, "\\u0001");
        used += (size_t)snprintf(json + used, room - used, "\"");
    }
    (void)snprintf(json + used, room - used, "]}");
    setup(&f, true);
    (void)snprintf(url, sizeof url, "%s/v1/rerank", f.url);
    CHECK_STATUS(OK, http_client_post(f.client, url, text_of(json), &f.code, &body, &err));
    CHECK_INT(200, f.code);
    CHECK(body.bytes > (size_t)ROWS * 6 * LETTERS && body.at[body.bytes - 1] == '}');
    post(&f, "/v1/rerank", "{\"user\":\"u1\",\"candidates\":[\"i1\"]}"); /* the next one is fine */
    CHECK_INT(200, f.code);
    teardown(&f);
    free(json);
}

/* From the request to the model and back in the trace, by which the same scores come again. */
TEST(server_tells_the_model_where_it_is_asked_from_and_the_trace_says_so)
{
    static struct trace trace;
    struct fixture f;
    struct user_entry history[] = {entry(3, 2000, CLICK), entry(4, 1000, CLICK)};
    const struct served *served;
    struct rank_scratch *scratch;
    struct rank_request again = {.history = history, .history_known = true};
    float plain[5], scores[5];
    int32_t indices[5];
    struct error err;

    CHECK_STATUS(OK, context_names_parse(&asked_by, "surface device", &err));
    fixture_switches = (struct model_switches){.contexts = asked_by.count,
                                               .context_names = asked_by.print};
    setup(&f, true);
    fixture_switches = (struct model_switches){0};
    asked_by = (struct context_names){0};
    store(&f, "u1", history, 2);
    post(&f, "/v1/rerank", "{\"user\":\"u1\",\"candidates\":[\"i1\",\"i2\",\"i5\",\"i8\",\"i9\"]}");
    CHECK_INT(5, f.answer.items_count);
    for (int i = 0; i < 5; i++)
        plain[i] = f.answer.items[i].score;
    post(&f, "/v1/rerank",
         "{\"user\":\"u1\",\"candidates\":[\"i1\",\"i2\",\"i5\",\"i8\",\"i9\"],"
         "\"context\":{\"device\":\"phone\"}}");
    CHECK_INT(200, f.code);
    CHECK_STATUS(OK, trace_decode(&trace, f.answer.trace, &err));
    CHECK_INT(0, trace.context[0]);
    CHECK_INT(context_code(text_of("phone")), trace.context[1]);

    CHECK_STATUS(OK, rank_scratch_create(&scratch, &err));
    served = served_acquire(f.slot);
    for (int i = 0; i < 5; i++)
        indices[i] = item_tables_find(served->tables,
                                      rules_item_hash(&f.dataset.rules, f.answer.items[i].item));
    again.history_count = again.running = 2;
    again.now_ms = trace.request_time_ms;
    again.candidates = indices;
    again.candidates_count = 5;
    again.keep_seen = true;
    again.context = trace.context;
    CHECK_STATUS(OK, rank_scores(&(struct ranker){.model = served->model, .tables = served->tables},
                                 scratch, &again, scores, &err));
    for (int i = 0; i < 5; i++)
        CHECK_NEAR((double)scores[i], (double)f.answer.items[i].score, 1e-5);
    CHECK(plain[0] != f.answer.items[0].score);
    served_release(f.slot, served);
    rank_scratch_destroy(scratch);
    teardown(&f);
}

/* ---- a device that fails ---- */

static atomic_int refuses_scores, refuses_weights; /* with that status, or OK */
static atomic_bool lost, no_room, has_pool;
static atomic_int questions, pools_asked;
static char on_device; /* stands for a model there */

static enum status put_nothing(struct device_model **device, const struct network_state *state,
                               struct error *err)
{
    (void)state;
    if (atomic_load(&refuses_weights) != OK)
        return error_set(err, (enum status)atomic_load(&refuses_weights), "no weights today");
    *device = (struct device_model *)(void *)&on_device;
    return OK;
}

static void drop_nothing(struct device_model *device)
{
    CHECK(device == NULL || (void *)device == (void *)&on_device);
}

static bool multiplies_no_bf16(const struct device_model *device)
{
    return device == NULL;
}

static enum status score_zeros(struct device_pass **pass, const struct device_model *device,
                               float *pool, const struct kv_lease *leases,
                               const struct batch *batch, float *scores, struct error *err)
{
    (void)pass;
    (void)device;
    (void)pool;
    (void)leases;
    if (atomic_load(&refuses_scores) != OK)
        return error_set(err, (enum status)atomic_load(&refuses_scores), "a launch was refused");
    memset(scores, 0, (size_t)batch->N * sizeof *scores);
    return OK;
}

static enum status make_pool(float **pool, size_t bytes, struct error *err)
{
    (void)atomic_fetch_add(&pools_asked, 1);
    *pool = atomic_load(&has_pool) ? malloc(bytes) : NULL;
    return *pool != NULL ? OK : error_set(err, ERR_NOMEM, "no %zu bytes", bytes);
}

static void drop_pool(float *pool)
{
    free(pool);
}

static void drop_no_pass(struct device_pass *pass)
{
    CHECK(pass == NULL);
}

static enum status answer_whether_lost(struct error *err)
{
    (void)atomic_fetch_add(&questions, 1);
    if (atomic_load(&no_room))
        return error_set(err, ERR_NOMEM, "no room to ask");
    return atomic_load(&lost) ? error_set(err, ERR_DEVICE, "the device is lost") : OK;
}

static struct backend own;

/* In the place of the process's own choice, until choose_own(). */
static void choose_fake(void)
{
    const struct backend *chosen;
    struct backend *fake;
    struct error err;

    CHECK_STATUS(OK, backend_choose(&chosen, &err));
    own = *chosen;
    fake = (struct backend *)(uintptr_t)chosen;
    *fake = (struct backend){.name = "fake",
                             .put = put_nothing,
                             .drop = drop_nothing,
                             .multiplies_bf16 = multiplies_no_bf16,
                             .score = score_zeros,
                             .make_pool = make_pool,
                             .drop_pool = drop_pool,
                             .drop_pass = drop_no_pass,
                             .works = answer_whether_lost};
    asked_of = fake;
}

static void choose_own(void)
{
    *(struct backend *)(uintptr_t)asked_of = own;
    asked_of = NULL;
}

#define ASK "{\"user\":\"u1\",\"k\":3,\"candidates\":[\"i1\",\"i9\",\"i5\"]}"

TEST(server_ranks_without_the_model_what_the_device_refuses_and_ends_when_it_is_lost)
{
    struct fixture f;
    struct error err = {0};

    choose_fake();
    setup(&f, true);
    post(&f, "/v1/rerank", ASK);
    CHECK_INT(200, f.code);
    CHECK_INT(DEGRADED_NONE, f.answer.degraded);
    CHECK_STATUS(OK, server_check(f.server, false, &err));
    CHECK_INT(0, questions); /* nobody suspects it */
    clock_fake_set(clock_wall_ms(), clock_monotonic_us());
    for (int i = 0; i < 2; i++) {
        atomic_store(&refuses_scores, i == 0 ? ERR_DEVICE : ERR_NOMEM);
        post(&f, "/v1/rerank", ASK);
        CHECK_INT(200, f.code);
        CHECK_TEXT("popularity", f.answer.arm);
        CHECK_INT(DEGRADED_POPULARITY, f.answer.degraded);
        CHECK_INT(3, f.answer.items_count);
        CHECK_INT(i, questions);
        if (i == 1) { /* the second look within a second waits */
            CHECK_STATUS(OK, server_check(f.server, false, &err));
            CHECK_INT(i, questions);
            clock_fake_advance_us(1000000);
        }
        CHECK_STATUS(OK, server_check(f.server, false, &err)); /* it works */
        CHECK_INT(i + 1, questions);
        CHECK_STATUS(OK, server_check(f.server, false, &err));
        CHECK_INT(i + 1, questions);
    }
    atomic_store(&no_room, true); /* it is asked again, without another request */
    post(&f, "/v1/rerank", ASK);
    for (int i = 0; i < 2; i++) {
        clock_fake_advance_us(4000000);
        CHECK_STATUS(OK, server_check(f.server, false, &err));
        CHECK_INT(3 + i, questions);
    }
    atomic_store(&no_room, false);
    atomic_store(&lost, true);
    CHECK_STATUS(ERR_DEVICE, server_check(f.server, true, &err));
    CHECK_TEXT("the device is lost", err.text);
    atomic_store(&lost, false);
    atomic_store(&refuses_scores, OK);
    clock_fake_off();
    post(&f, "/v1/rerank", ASK);
    CHECK_TEXT("model", f.answer.arm);
    CHECK_INT(DEGRADED_NONE, f.answer.degraded);
    teardown(&f);
    choose_own();
}

/* The calls, a fifth of a second apart as in serve, that find the bundle still waiting. */
static int calls_until_tried(struct served_slot *slot, enum status expected)
{
    struct error err;
    bool changed;
    enum status status;
    int calls = 0;

    while ((status = served_refresh(slot, &changed, &err)) == ERR_REJECTED) {
        clock_fake_advance_us(200000);
        calls++;
        CHECK(calls < 1000);
    }
    CHECK_STATUS(expected, status);
    CHECK(changed == (status == OK));
    return calls;
}

TEST(server_serves_on_when_the_device_refuses_the_next_bundle)
{
    struct fixture f;
    struct error err;

    choose_fake();
    setup(&f, true);
    fixture_publish(test_folder(), "v2", f.tables, true, false);
    clock_fake_set(clock_wall_ms(), clock_monotonic_us());
    for (int tries = 0; tries < 4; tries++) { /* at once, after 1, 2 and 4 s */
        atomic_store(&refuses_weights, tries % 2 == 1 ? ERR_NOMEM : ERR_DEVICE);
        CHECK_INT(tries == 0 ? 0 : 5 << (tries - 1),
                  calls_until_tried(f.slot, tries % 2 == 1 ? ERR_NOMEM : ERR_DEVICE));
    }
    CHECK_STATUS(OK, server_check(f.server, true, &err));
    post(&f, "/v1/rerank", ASK);
    CHECK_INT(200, f.code);
    CHECK_TEXT("v1+0", f.answer.model_version);
    CHECK_TEXT("model", f.answer.arm);
    atomic_store(&refuses_weights, OK);
    fixture_publish(test_folder(), "v3", f.tables, true, false); /* another has its own waits */
    atomic_store(&refuses_weights, ERR_DEVICE);
    CHECK_INT(0, calls_until_tried(f.slot, ERR_DEVICE));
    CHECK_INT(5, calls_until_tried(f.slot, ERR_DEVICE));
    atomic_store(&refuses_weights, OK);
    CHECK_INT(10, calls_until_tried(f.slot, OK));
    clock_fake_off();
    teardown(&f);
    choose_own();
}

TEST(server_keeps_histories_when_there_is_memory_again)
{
    struct fixture f;
    struct kv_cache_stats stats;
    struct error err;
    bool changed;

    choose_fake();
    clock_fake_set(clock_wall_ms(), clock_monotonic_us());
    atomic_store(&pools_asked, 0);
    setup(&f, true);
    for (int i = 0; i < 35; i++) { /* a fifth of a second apart: after 1, 2 and 4 s, too */
        CHECK_INT(i < 5 ? 1 : i < 15 ? 2 : 3, atomic_load(&pools_asked));
        clock_fake_advance_us(200000);
        atomic_store(&has_pool, i == 34);
        CHECK_STATUS(OK, served_refresh(f.slot, &changed, &err));
    }
    CHECK_INT(4, atomic_load(&pools_asked));
    kv_cache_stats(f.histories, &stats);
    CHECK(stats.pages > 0);
    atomic_store(&has_pool, false);
    clock_fake_off();
    teardown(&f);
    choose_own();
}

TEST(server_takes_its_first_bundle_when_there_is_memory_again)
{
    struct fixture f;
    struct served_slot *slot;
    struct error err;
    bool changed;
    int calls = 0;

    choose_fake();
    setup(&f, true);
    clock_fake_set(clock_wall_ms(), clock_monotonic_us());
    CHECK_STATUS(OK, served_slot_create(&slot, test_folder(), NULL, &err));
    atomic_store(&refuses_weights, ERR_NOMEM);
    for (int tries = 0; tries < 20; tries++) /* the wait ends at a minute */
        calls = calls_until_tried(slot, ERR_NOMEM);
    CHECK_INT(300, calls);
    CHECK_STATUS(ERR_REJECTED, served_refresh(slot, &changed, &err));
    CHECK(strstr(err.text, "no weights today") != NULL); /* as /readyz says it */
    CHECK(served_acquire(slot) == NULL);
    atomic_store(&refuses_weights, OK);
    CHECK_INT(300, calls_until_tried(slot, OK));
    served_slot_destroy(slot);
    clock_fake_off();
    teardown(&f);
    choose_own();
}
