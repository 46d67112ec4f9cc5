/*
 * ops/kafka_client.h - what consumers, producers and the admin calls share: librdkafka's settings,
 * its log and its errors in our words. Private to ops/kafka_*: nobody else sees librdkafka.
 *
 * Thread: any.
 */
#ifndef OPS_KAFKA_CLIENT_H
#define OPS_KAFKA_CLIENT_H

#include "ops/config.h"
#include "ops/kafka_access.h"
#include "ops/log.h"
#include "ops/metric.h"
#include "ops/status.h"

#include <librdkafka/rdkafka.h>

#include <stdbool.h>
#include <stdint.h>

enum kafka_reason {
    KAFKA_REASON_CONNECTION,
    KAFKA_REASON_TIMEOUT,
    KAFKA_REASON_AUTHENTICATION,
    KAFKA_REASON_AUTHORIZATION,
    KAFKA_REASON_MISSING,
    KAFKA_REASON_OUT_OF_RANGE,
    KAFKA_REASON_CORRUPT,
    KAFKA_REASON_FATAL,
    KAFKA_REASON_OTHER,
    KAFKA_REASONS
};
enum kafka_client_kind { KAFKA_CLIENT_CONSUMER, KAFKA_CLIENT_PRODUCER, KAFKA_CLIENT_KINDS };

/* Collects settings; the first that fails is remembered and those behind it are ignored, so that
 * opening a client is a list of settings and one check. */
struct kafka_settings {
    rd_kafka_conf_t *conf;
    struct kafka_access *access;
    enum status status;
    struct error *err;
};
/* access: filled with who we are; also the start of the struct that is set as the opaque. NULL:
 * nobody asks what brokers refuse. */
MUST_CHECK enum status kafka_settings_begin(struct kafka_settings *settings,
                                            struct kafka_access *access, const char *brokers,
                                            const char *client_id, struct error *err);
void kafka_set(struct kafka_settings *settings, const char *name, const char *value);
void kafka_set_int(struct kafka_settings *settings, const char *name, int64_t value);
/* Lines of "name=value", the caller's own. Refused: names that carry our promises, like
 * enable.auto.commit. Values are never printed: they may be secret. */
void kafka_set_lines(struct kafka_settings *settings, const char *lines);
/* The kafka.security.* part of config, secrets resolved now. NULL: nothing. */
void kafka_set_security(struct kafka_settings *settings, const struct config *config);
/* Makes the client; takes the settings in any case. */
MUST_CHECK enum status kafka_settings_open(struct kafka_settings *settings, rd_kafka_type_t type,
                                           rd_kafka_t **client, struct error *err);

/* In our words: what is worth waiting for is RETRY, what will never work is SKIP or STOP. */
enum status kafka_status_of(rd_kafka_resp_err_t code);

/* Errors and statistics of one client: metrics and the log. */
struct kafka_health {
    struct kafka_access *access;
    enum kafka_client_kind kind;
    bool up;
    struct log_limit limits[KAFKA_REASONS];
    /* What somebody must mend before this client works, "" when nothing; and since when it was
     * last said. A login or certificate is mended when a broker is connected; what else is, the
     * client sees by what it can do again: kafka_health_mended(). */
    enum kafka_reason why_reason;
    int64_t why_us;
    char why[KAFKA_ACCESS_TEXT];
};
void kafka_health_begin(struct kafka_health *health, enum kafka_client_kind kind,
                        struct kafka_access *access);
void kafka_health_end(struct kafka_health *health);
/* Counts an error alone, for clients of one question, whose caller says what it was answered. */
void kafka_error_count(rd_kafka_resp_err_t code);
/* Counts an error and logs it, each kind of error at most once in half a minute. topic may be
 * NULL. */
void kafka_health_error(struct kafka_health *health, rd_kafka_resp_err_t code, const char *text,
                        const char *topic);
/* The same for what is wrong with the data: text is what somebody must mend. */
void kafka_health_trouble(struct kafka_health *health, enum kafka_reason reason, const char *text);
void kafka_health_mended(struct kafka_health *health);
void kafka_health_statistics(struct kafka_health *health, const char *json, size_t bytes);

#endif
