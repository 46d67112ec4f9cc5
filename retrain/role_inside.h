/* retrain/role_inside.h - the role's parts, for role*.c alone. */
#ifndef RETRAIN_ROLE_INSIDE_H
#define RETRAIN_ROLE_INSIDE_H

#include "retrain/role.h"

#include "features/batch_builder.h"
#include "features/redis_dataset.h"
#include "ops/admin.h"
#include "ops/arena.h"
#include "ops/log.h"
#include "retrain/behind.h"
#include "retrain/checkpoint.h"
#include "retrain/drift.h"
#include "retrain/evaluate.h"
#include "retrain/examples.h"
#include "retrain/follower.h"
#include "retrain/gate.h"
#include "retrain/learner.h"
#include "schemas/bundle.h"
#include "schemas/event.h"
#include "schemas/item.h"

#include <pthread.h>

#define ROLE_VERDICT_BYTES 320

enum round_state { ROUND_IDLE, ROUND_TRAINING, ROUND_JUDGING };
enum round_cause { CAUSE_SCHEDULE, CAUSE_VOLUME, CAUSE_DRIFT, CAUSES };
enum round_result { RESULT_PUBLISHED, RESULT_REFUSED, RESULT_FAILED, RESULTS };

struct role_settings {
    const char *models; /* model.folder */
    const char *folder; /* retrain.folder */
    const char *preset;
    int64_t every_ms, items_refresh_ms, checkpoint_every_ms, drift_every_ms;
    int64_t volume;
    int64_t steps_max;
    double holdout_share;
    int holdout_min, holdout_max;
    int keep;
    int recall_next; /* serve.recall_next: what is judged is what will serve */
    bool measure_bf16;
    int64_t expire_after_ms; /* 0: never */
    uint64_t seed;
    struct gate_options gate;
};

struct round {
    enum round_state state;
    enum round_cause cause;
    struct holdout_window window; /* training stops at its from_ms */
    int64_t steps_at;             /* learner's steps when it began */
    int64_t begun_us;
};

struct role {
    const struct config *config;
    struct role_settings settings;
    struct redis_dataset dataset;
    struct event_schema *schema;
    struct event_decoder *decoder;
    bool schema_missing; /* of the record that comes next: it was not handed on */
    struct log_limit schema_limit, items_limit;
    struct learner *learner;
    struct examples *examples;
    struct follower *events_topic, *examples_topic;
    struct follower *items_topic; /* NULL: there is none, or nobody wants it */
    struct item_decoder *item_decoder;
    int64_t watermarks_ms[FOLLOWER_PARTITIONS_MAX]; /* of events, by partition */
    struct arena *arena;
    struct drift drift;
    struct batch_builder *watch_builder; /* for the champion's scores of new choices */
    struct model_workspace *workspace;
    int watched; /* lists scored in this turn */
    bool once;   /* one round, then it ends: what fails now is not waited out */
    struct behind behind;
    int64_t heard_us; /* when brokers of both topics answered last */
    bool unsaved;     /* no checkpoint knows what it has read */
    bool save_failed; /* the last try: the next comes sooner */
    struct log_limit save_limit;
    struct admin *admin;
    int lock;

    char version[MODEL_VERSION_MAX]; /* current bundle; "" none */
    struct model *champion;          /* its weights; NULL: it has none */
    int64_t published_at_ms;         /* wall clock */
    uint64_t delta_sequence;         /* of the last delta; never counts back */

    struct round round;
    int64_t rounds, lists_at; /* lists taken in when the last round began */
    int64_t round_ended_us, delta_us, checkpoint_us, look_us;
    int64_t read_us; /* once: when all was first found read; 0: not yet */

    /* What the admin port shows; written by the role's thread, read by the server's. */
    pthread_mutex_t verdict_lock;
    char verdict[ROLE_VERDICT_BYTES];
    char report[GATE_REPORT_BYTES];
};

/* role.c: tells the tables which records they hold. */
void role_note_offsets(struct role *role);
#define SAVE_AGAIN_US ((int64_t)10 * 1000000)
/* The first checkpoint is written once all that was there has been read, and before anything is
 * published: who is killed then knows its histories again. Later ones each checkpoint_every. What
 * could not be written is tried again each SAVE_AGAIN_US; publishing goes on meanwhile, or a full
 * disk under retrain.folder would end it. */
void role_save_when_due(struct role *role);

/* role_intake.c */
enum status role_follow(struct role *role, int64_t timeout_ms, int *count,
                        struct error *err) MUST_CHECK;
bool role_caught_up(const struct role *role);
/* One round alone learns from every list whose window has passed, however fast it has read: it lets
 * partitions fall silent that have no more to say, and those that go on speak for a while. */
bool role_lacks_lists(struct role *role);
/* Says in the log when it is behind, when it stays so and when that is over; and on /readyz. */
void role_tell_behind(struct role *role);
/* Begins to read the items topic, from its begin, once there is one; looks for new partitions. It
 * is worth having, not needed: what goes wrong is logged. */
void role_look_for_items(struct role *role);
/* The champion changed: a builder of its size, and drift begins anew. */
enum status role_watch(struct role *role, struct error *err) MUST_CHECK;

/* role_round.c */
enum status role_begin_round(struct role *role, enum round_cause cause,
                             struct error *err) MUST_CHECK;
/* A piece of the round; *over when it ended, *result then says how. */
enum status role_go_on(struct role *role, bool *over, enum round_result *result,
                       struct error *err) MUST_CHECK;
/* The challenger with its products rounded, by which it is measured what that changes; the caller
 * destroys it. NULL: nobody asked, or there is no memory for it: this round does not say, which
 * refuses nothing. */
struct model *role_round_challenger(const struct role *role);
enum status role_publish_tables(struct role *role, struct error *err) MUST_CHECK;
void role_set_verdict(struct role *role, const char *report, const char *fmt, ...)
    PRINTF_LIKE(3, 4);

#endif
