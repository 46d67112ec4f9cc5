/*
 * Tests scorer/user_reader against scripted nodes of a cluster: a reply belongs to the read it was
 * asked for, whatever happens to the connections and to the data set's record meanwhile (FAULTS
 * 55).
 *
 * A user who is not there is FRESH with no history; an error instead of him is FAILED: so the two
 * tell whose answer a read got.
 */
#include "scorer/user_reader.h"

#include "features/redis_dataset.h"
#include "ops/clock.h"
#include "tests/support/redis_script.h"
#include "tests/test.h"

#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#define SHARDS  2
#define SEED    0x5eedu
#define WAIT_MS 30000
#define ABSENT  "$-1\r\n"

static struct redis_script a, b; /* a has the slot of shard 0 and the record, b that of shard 1 */
static struct redis_keys keys;
static struct user_reader *reader;
static struct error err;

struct pending {
    struct user_read read;
    char user[32];
    char get[REDIS_KEY_BYTES_MAX + 8]; /* the command that reads it */
    atomic_bool done;
};
static struct pending first, second;

static void on_done(struct user_read *read)
{
    struct pending *pending = (struct pending *)(void *)read;

    atomic_store(&pending->done, true);
}

/* The n-th user of a shard. */
static void choose(struct pending *pending, int shard, int n)
{
    const struct rules rules = {.seed = SEED};
    char key[REDIS_KEY_BYTES_MAX];
    size_t bytes;

    memset(pending, 0, sizeof *pending);
    for (int i = 0; n >= 0; i++) {
        (void)snprintf(pending->user, sizeof pending->user, "u%d", i);
        n -= rules_shard(&rules, text_of(pending->user), SHARDS) == shard;
    }
    bytes = redis_key_user(&keys, shard, text_of(pending->user), key);
    (void)snprintf(pending->get, sizeof pending->get, "GET %.*s", (int)bytes, key);
}

static void submit(struct pending *pending)
{
    pending->read.user = text_of(pending->user);
    pending->read.deadline_us = INT64_MAX;
    pending->read.done = on_done;
    user_reader_submit(reader, &pending->read);
}

static void wait_done(struct pending *pending)
{
    for (int ms = 0; ms < WAIT_MS && !atomic_load(&pending->done); ms++)
        (void)poll(NULL, 0, 1);
    CHECK(atomic_load(&pending->done));
}

/* Until the node has got the command so often. */
static void wait_seen(struct redis_script *script, const char *command, int times)
{
    for (int ms = 0; ms < WAIT_MS && redis_script_seen(script, command) < times; ms++)
        (void)poll(NULL, 0, 1);
    CHECK(redis_script_seen(script, command) >= times);
}

static void wait_up(void)
{
    for (int ms = 0; ms < WAIT_MS && !user_reader_up(reader); ms++)
        (void)poll(NULL, 0, 1);
    CHECK(user_reader_up(reader));
}

/* The data set's record, as HGETALL answers it. */
static void says_record(struct redis_script *script)
{
    static const char *const fields[][2] = {{"format", "1"},
                                            {"id", "00000000000000000000000000000001"},
                                            {"seed", "0000000000005eed"},
                                            {"shards", "2"},
                                            {"value_format", "1"},
                                            {"example_format", "1"},
                                            {"examples_partitions", "1"},
                                            {"created_at_ms", "1"},
                                            {"sequence_max", "10"},
                                            {"joins_max", "1"},
                                            {"join_window_ms", "1000"},
                                            {"late_max_ms", "1000"},
                                            {"max_future_skew_ms", "1000"},
                                            {"actions", "click:1:1:0:0:1\n"}};
    size_t count = sizeof fields / sizeof *fields, used;
    char reply[REDIS_SCRIPT_BYTES];

    used = (size_t)snprintf(reply, sizeof reply, "*%zu\r\n", 2 * count);
    for (size_t i = 0; i < 2 * count; i++) {
        const char *word = fields[i / 2][i % 2];

        used += (size_t)snprintf(reply + used, sizeof reply - used, "$%zu\r\n%s\r\n", strlen(word),
                                 word);
    }
    redis_script_says(script, "HGETALL", "%s", reply);
}

static void says_slots(struct redis_script *script)
{
    int slots[] = {redis_slot_of_shard(0), redis_slot_of_shard(1)};
    int low = slots[0] < slots[1] ? slots[0] : slots[1];
    int of_low = slots[0] < slots[1] ? a.port : b.port;

    redis_script_says(script, "CLUSTER SLOTS",
                      "*2\r\n*3\r\n:0\r\n:%d\r\n*2\r\n$9\r\n127.0.0.1\r\n:%d\r\n"
                      "*3\r\n:%d\r\n:16383\r\n*2\r\n$9\r\n127.0.0.1\r\n:%d\r\n",
                      low, of_low, low + 1, of_low == a.port ? b.port : a.port);
}

static void begin(void)
{
    struct user_reader_options options = {0};
    char url[100];

    redis_script_start(&a);
    redis_script_start(&b);
    says_slots(&a);
    says_slots(&b);
    says_record(&a);
    (void)snprintf(url, sizeof url, "redis+cluster://127.0.0.1:%d", a.port);
    CHECK_STATUS(OK, redis_target_parse(&options.target, url, &err));
    CHECK_STATUS(OK, redis_keys_init(&keys, "fr", &err));
    options.keys = keys;
    CHECK_STATUS(OK, user_reader_open(&reader, &options, &err));
    wait_up();
}

static void end(void)
{
    user_reader_close(reader);
    redis_script_stop(&a);
    redis_script_stop(&b);
}

/* Makes the reader drop its connection to a node and come back: it gets an answer that is none. */
static void break_connection(struct redis_script *script, int shard)
{
    int before = redis_script_clients(script);

    choose(&second, shard, 0);
    redis_script_says(script, second.get, "no reply\r\n");
    submit(&second);
    wait_done(&second);
    CHECK_INT(USER_READ_FAILED, second.read.outcome);
    for (int ms = 0; ms < WAIT_MS && redis_script_clients(script) == before; ms++)
        (void)poll(NULL, 0, 1);
    CHECK(redis_script_clients(script) > before);
}

TEST(user_reader_reads_from_the_node_of_the_shard)
{
    begin();
    choose(&first, 1, 0);
    redis_script_says(&b, first.get, ABSENT);
    submit(&first);
    wait_done(&first);
    CHECK_INT(USER_READ_FRESH, first.read.outcome);
    CHECK_INT(0, first.read.history_count);
    end();
}

/* An answer that comes while commands are being written is taken at once, not when the loop looks
 * again for another reason: most of these reads took until the end of its longest wait, 200 ms.
 */
TEST(user_reader_leaves_no_answer_lying)
{
    int late = 0;

    begin();
    redis_script_says(&a, "GET", ABSENT);
    choose(&first, 0, 0);
    for (int i = 0; i < 100; i++) {
        int64_t since_us = clock_monotonic_us();

        atomic_store(&first.done, false);
        submit(&first);
        wait_done(&first);
        late += clock_monotonic_us() - since_us > 100000;
    }
    CHECK(late < 20); /* a loaded machine may pause */
    end();
}

/* The record was forgotten when its node went: there is no seed to find the user's key by. */
TEST(user_reader_survives_a_redirection_while_the_data_set_is_not_known)
{
    begin();
    choose(&first, 1, 1);
    redis_script_says(&b, first.get, "%s", ""); /* held */
    submit(&first);
    redis_script_says(&a, "HGETALL", "%s", ""); /* and so is the record, when asked for again */
    break_connection(&a, 0);
    wait_seen(&a, "HGETALL", 2);
    redis_script_says(&b, first.get, "-MOVED %d 127.0.0.1:%d\r\n", redis_slot_of_shard(1), a.port);
    wait_done(&first);
    CHECK_INT(USER_READ_FAILED, first.read.outcome);
    says_record(&a);
    wait_up();
    end();
}

/* The record's slot moves to a node at which a read is in flight. Whether the record is asked for
 * again behind it or not, the read gets its own answer. */
TEST(user_reader_takes_no_answer_to_a_read_for_the_data_set)
{
    begin();
    break_connection(&b, 1); /* so that the two connections differ in their epochs */
    wait_up();
    says_record(&b);
    choose(&first, 1, 1);
    redis_script_says(&b, first.get, "%s", ""); /* held */
    submit(&first);
    choose(&second, 0, 0);
    redis_script_says(&a, second.get, "-MOVED %d 127.0.0.1:%d\r\n", redis_slot_of_shard(0), b.port);
    redis_script_says(&b, second.get, "-ERR not yours\r\n");
    submit(&second);
    wait_seen(&a, second.get, 1);
    (void)poll(NULL, 0, 1200); /* the record may be asked for behind it, once a second */
    redis_script_says(&b, first.get, ABSENT);
    wait_done(&first);
    wait_done(&second);
    CHECK_INT(USER_READ_FRESH, first.read.outcome);
    CHECK_INT(USER_READ_FAILED, second.read.outcome);
    end();
}
