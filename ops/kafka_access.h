/*
 * ops/kafka_access.h - what brokers refuse us, in words that say what to mend. Private to
 * ops/kafka_*.
 *
 * librdkafka says "Broker: Topic authorization failed" or "certificate verify failed" and repeats
 * what state it was in. An operator needs the user, the ACL, the file and the reason.
 * Thread: one, but for the certificate callback, which is librdkafka's own.
 */
#ifndef OPS_KAFKA_ACCESS_H
#define OPS_KAFKA_ACCESS_H

#include <librdkafka/rdkafka.h>

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#define KAFKA_ACCESS_TEXT 240

/* Who we are to the brokers: kept while a client lives. The first member of what librdkafka gets as
 * its opaque pointer, for the callback below. */
struct kafka_access {
    char user[128], group[128], ca[256];
    bool scram;
    atomic_int refusal; /* why OpenSSL refused a broker's certificate last; 0: it did not */
};

/* Remembers a setting that says who we are; called for all of them. */
void kafka_access_note(struct kafka_access *access, const char *name, const char *value);

/* Notes why a broker's certificate is refused: OpenSSL's error text does not tell. */
void kafka_access_watch(rd_kafka_conf_t *conf);

/* Is this an error of credentials, certificates or ACLs? Then text says what to do. topic may be
 * NULL; writes: it was meant to be written. */
bool kafka_access_explain(struct kafka_access *access, rd_kafka_resp_err_t code, const char *reason,
                          const char *topic, bool writes, char text[KAFKA_ACCESS_TEXT]);

#endif
