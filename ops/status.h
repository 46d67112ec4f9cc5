/*
 * ops/status.h - what can go wrong, and what the caller should do about it.
 *
 * Expected failures (a peer is down, a record is malformed) are returned as an
 * enum status. Mistakes in our own code are not: those are assert()ed.
 */
#ifndef OPS_STATUS_H
#define OPS_STATUS_H

/* What the caller does next. A name here is a promise the pipeline keeps. */
enum action {
    ACTION_GO_ON, /* nothing is wrong */
    ACTION_RETRY, /* the same call may succeed later */
    ACTION_SKIP,  /* this input never will; count it, set it aside, move on */
    ACTION_STOP,  /* this process cannot go on; exit and be restarted */
};

/* One row a status: name, action, text for people. Append only: the numbers
 * appear in metrics and dead letters. */
/* clang-format off */
#define STATUS_LIST(X)                                                   \
    X(OK,              GO_ON, "ok")                                      \
    X(ERR_NOMEM,       STOP,  "out of memory")                           \
    X(ERR_IO,          RETRY, "reading or writing failed")               \
    X(ERR_UNAVAILABLE, RETRY, "peer could not be reached")               \
    X(ERR_TIMEOUT,     RETRY, "deadline passed")                         \
    X(ERR_MALFORMED,   SKIP,  "input does not follow its schema")        \
    X(ERR_CORRUPT,     SKIP,  "checksum does not match")                 \
    X(ERR_VERSION,     SKIP,  "format version is not supported")         \
    X(ERR_LIMIT,       SKIP,  "a declared limit was exceeded")           \
    X(ERR_REJECTED,    SKIP,  "the gate refused the candidate weights")  \
    X(ERR_DEVICE,      STOP,  "the accelerator failed")                  \
    X(ERR_CONFIG,      STOP,  "the configuration cannot be used")        \
    X(ERR_CONFLICT,    STOP,  "stored state contradicts the request")    \
    X(ERR_IN_USE,      STOP,  "another process holds it")                \
    X(ERR_REPLACED,    STOP,  "another instance has taken our place")    \
    X(ERR_NOT_FOUND,   SKIP,  "it does not exist")                       \
    X(ERR_FULL,        RETRY, "a bounded queue or buffer is full")       \
    X(ERR_CANCELLED,   STOP,  "interrupted")

enum status {
#define X(name, action, text) name,
    STATUS_LIST(X)
#undef X
    STATUS_COUNT
};
/* clang-format on */

/* Why a call failed, in words. Lives on the caller's stack; never allocated,
 * so it also works when memory is gone. */
struct error {
    enum status status;
    char text[240];
};

#define MUST_CHECK             __attribute__((warn_unused_result))
#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))

#ifdef __cplusplus
extern "C" {
#endif

const char *status_name(enum status status); /* "ERR_IO"; static storage */
const char *status_text(enum status status); /* "reading or writing failed" */
enum action status_action(enum status status);

/**
 * Fills *err and returns status, so that a failing call is one line:
 *
 *     return error_set(err, ERR_IO, "could not open \"%s\": %s", path, why);
 *
 * The text is lower case, has no full stop, and names the thing it concerns.
 * A text longer than the buffer is cut.
 */
enum status error_set(struct error *err, enum status status, const char *fmt, ...)
    PRINTF_LIKE(3, 4);

/* Puts "fmt: " in front of the text already there, where a caller can add what
 * the callee could not know. Returns err->status. */
enum status error_prefix(struct error *err, const char *fmt, ...) PRINTF_LIKE(2, 3);

#ifdef __cplusplus
}
#endif

#ifdef __clang_analyzer__
/* The analyzer does not look into status.c; so it knows that the status comes back. */
#define error_set(err, status, ...) (error_set(err, status, __VA_ARGS__), (status))
#endif
#endif
