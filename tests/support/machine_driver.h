/*
 * tests/support/machine_driver.h - drives one ingest machine by hand against a modelled node.
 *
 * For directed schedules: a test says which request is carried out, which answer is lost, who comes
 * in between. driver_settle() does all that can be done when nothing fails.
 */
#ifndef TESTS_SUPPORT_MACHINE_DRIVER_H
#define TESTS_SUPPORT_MACHINE_DRIVER_H

#include "machine/machine.h"
#include "tests/support/store_model.h"

#define DRIVER_SHARDS     4
#define DRIVER_PARTITIONS 4
#define DRIVER_COMMANDS   256

struct driver {
    struct machine *machine;
    struct store_model *node;
    struct arena *arena;
    struct model_connection connections[DRIVER_SHARDS];
    struct store_request *requests[DRIVER_SHARDS]; /* on the wire */
    int64_t now_us;
    /* of every partition, what Kafka would say */
    int64_t low[DRIVER_PARTITIONS], high[DRIVER_PARTITIONS], group[DRIVER_PARTITIONS];
    uint64_t epoch[DRIVER_PARTITIONS];      /* of the last assign */
    int64_t assigned_at[DRIVER_PARTITIONS]; /* its offset, -1: never */
    int64_t next[DRIVER_PARTITIONS];        /* offset of the next driver_event() */
    bool hold_letters;                      /* letters are not acknowledged by themselves */
    uint64_t letters[DRIVER_COMMANDS];
    int letters_count;
    struct machine_command commands[DRIVER_COMMANDS]; /* all but STORE, as they came */
    int commands_count;
    int sent[8]; /* requests by store_kind */
};

/* Rules of the tests: sequence_max 4, joins_max 4, window 40 s, late_max 25 s. */
const struct rules *driver_rules(void);
/* Options that decide by time alone where a test says so: linger 1 us, tick 1 s. */
void driver_open(struct driver *driver, struct store_model *node, struct arena *arena,
                 const struct machine_options *options);
void driver_close(struct driver *driver);

/* Takes the machine's commands; store requests go on the wire. */
void driver_take(struct driver *driver);
/* Carries out what is on the shard's wire and hands the answer in. False: nothing was there. */
bool driver_answer(struct driver *driver, int shard);
/* Everything up to the next EXEC of that shard, which stays on the wire. */
void driver_send_exec(struct driver *driver, int shard);
/* Carries it out and loses the answer with the connection; then connects again. */
void driver_lose_answer(struct driver *driver, int shard);
/* Loses it before it is carried out. */
void driver_lose_request(struct driver *driver, int shard);
/* Takes and answers until nothing happens any more; time stands still. */
void driver_settle(struct driver *driver);
void driver_wait(struct driver *driver, int64_t us); /* time passes, then settles */
/* A failover that loses the newest writes: connections die, then come back. */
void driver_failover(struct driver *driver, int writes);
void driver_reconnect(struct driver *driver, int shard);

void driver_assign(struct driver *driver, int partition); /* and settles */

/* One event of a partition at its next offset: user, "view" or "click", item, seconds. */
void driver_event(struct driver *driver, int partition, const char *user, int action,
                  const char *item, int seconds);
void driver_event_at(struct driver *driver, int partition, int64_t offset, const char *user,
                     int action, const char *item, int seconds);
void driver_impression(struct driver *driver, int partition, const char *user, const char *request,
                       const char *item, int seconds);
void driver_erase(struct driver *driver, int partition, const char *user, int seconds);
void driver_dead(struct driver *driver, int partition);
uint64_t driver_hash(int64_t offset); /* of the records above */

int driver_shard(const char *user);
/* A user of the given shard, the n-th of them, none of whom a test names itself. Static storage. */
const char *driver_user_in(int shard, int n);
const struct machine_stats *driver_stats(struct driver *driver);
/* Rows that wait in the partition's outbox of that user's shard. */
int driver_rows(struct driver *driver, int partition, const char *user);
/* How often such a command came. */
int driver_count(const struct driver *driver, enum command_kind kind);
const struct machine_command *driver_last(const struct driver *driver, enum command_kind kind);
/* The stored state; next is -1 when there is none. */
struct store_m driver_m(struct driver *driver, int partition, int shard);
/* Times (s) of the stored sequence as text, "10 20 30"; "absent"; "corrupt". Static storage. */
const char *driver_times(struct driver *driver, const char *user);
uint32_t driver_writer(struct driver *driver, const char *user);

#endif
