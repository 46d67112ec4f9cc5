/*
 * ingest/crash_point.h - places where a test kills the process, by name.
 *
 * `make CRASH_POINTS=1` builds a variant in which FRESHET_CRASH_POINT=name:count ends the process
 * with SIGKILL the count-th time it comes by that name; in every other build the macro is nothing.
 * tests/integration/test_kill_ingest.sh goes through all of them.
 */
#ifndef INGEST_CRASH_POINT_H
#define INGEST_CRASH_POINT_H

/* clang-format off */
#define CRASH_POINT_LIST(X)                                                       \
    X(after_poll)             /* records are ours, nothing is decoded */          \
    X(after_decode)           /* the machine has them */                          \
    X(before_exec)            /* watched and decided, nothing is sent */          \
    X(after_exec_sent)        /* the answer is on its way, or was not written */  \
    X(after_reply)            /* one shard is done, the next are not */           \
    X(in_rebalance)           /* partitions were taken, the group waits */        \
    X(after_claim)            /* some shards have our token, others do not */     \
    X(after_letter_produced)  /* Kafka may have the dead letter */                \
    X(before_tick_commit)     /* all shards are at X, Kafka's hint is not */      \
    X(after_tick_commit)                                                          \
    X(after_outbox_produced)  /* examples are out, their rows still there */      \
    X(before_trim)            /* acknowledged, not deleted */                     \
    X(after_trim)                                                                 \
    X(drain_begun)                                                                \
    X(drain_ticked)           /* all committed, the group not left */             \
    X(drain_left)             /* the group is left, the relay still works */
/* clang-format on */

enum crash_point {
#define X(name) CRASH_##name,
    CRASH_POINT_LIST(X)
#undef X
        CRASH_POINTS_COUNT
};

#ifdef FRESHET_CRASH_POINTS
void crash_point_reach(enum crash_point point);
#define CRASH_POINT(name) crash_point_reach(CRASH_##name)
#else
#define CRASH_POINT(name) ((void)0)
#endif

#endif
