/*
 * schemas/event.h - one record of the `events` topic: what a user did, or was shown.
 *
 * Flow: Kafka -> [decode] -> rules -> store
 *
 * The default form (JSON; unknown members are ignored, duplicate members: the last counts):
 *
 *     {"event_id":"e1","type":"click","user":"u1","item":"i7","ts":1700000000123,"request_id":"r9"}
 *     {"type":"impression","user":"u1","ts":...,"request_id":"r9","items":["i7","i3"],"trace":"..."}
 *     {"type":"erase","user":"u1","ts":...}
 *
 * A record without a value is refused, or, with `events.tombstone: erase`, the erasure of the user
 * that its key names.
 *
 * `events.mapping` says where these members stand in events that a company already has: a JSON
 * pointer each, the unit of time, and which of its action names mean which of ours; the words
 * "impression" and "erase" are reserved there for the other two kinds. `events.actions` names the
 * actions.
 *
 * Ids (user, item, request id, event id) are texts, or JSON integers within int64, which count as
 * their decimal text: 42 and "42" are one user. A member that is null, or a request id, event id
 * or trace that is "", counts as absent. An impression without `items` but with `item` shows one.
 *
 * With `events.format: avro` a record is a zero byte, the id of its schema (4 bytes, big-endian)
 * and Avro's binary form; with `auto` one that begins with a zero byte is. Schemas come from a
 * registry or from files (schemas/avro_registry.h); fields are found by the same paths, and what
 * they hold is judged by the same rules (schemas/avro_plan.h).
 *
 * Bounds: user 1..128 bytes, item 1..256, request id 1..128, rows 1..EVENT_ROWS_MAX, trace
 * up to TRACE_TEXT_MAX; valid UTF-8, no zero byte. Time: integer (or whole-valued real; with unit
 * s a fraction counts, with iso a text with a zone) within [2000-01-01, record timestamp +
 * max_future_skew]; a number in a wrong unit is refused, never guessed. A record without a
 * timestamp (negative) has no upper bound but EVENT_TIME_MAX_MS.
 * Every input gives an event or one refusal of the list below.
 */
#ifndef SCHEMAS_EVENT_H
#define SCHEMAS_EVENT_H

#include "ops/config.h"
#include "ops/status.h"
#include "ops/text.h"

#include <stdbool.h>
#include <stdint.h>

#define USER_ID_MAX       128
#define ITEM_ID_MAX       256
#define REQUEST_ID_MAX    128
#define EVENT_ROWS_MAX    512
#define TRACE_TEXT_MAX    (256 * 1024)
#define EVENT_BYTES_MAX   (1024 * 1024) /* default of events.max_bytes is 256 KiB */
#define EVENT_TIME_MIN_MS INT64_C(946684800000)
#define EVENT_TIME_MAX_MS ((INT64_C(1) << 48) - 1) /* what 6 bytes hold */

#define ACTIONS_MAX     64 /* codes 1..63; code 0 is the model's "target" */
#define ACTION_NAME_MAX 32
#define ACTION_TARGET   0
#define ACTION_UNKNOWN  63 /* an action the configuration does not name, when it allows that */

enum event_kind { EVENT_ACTION, EVENT_IMPRESSION, EVENT_ERASE };

/* Why a record is no event. Append only: names and numbers stand in dead letters. */
/* clang-format off */
#define REFUSAL_LIST(X)                                                         \
    X(NONE,          "none",           "it is an event")                        \
    X(NOT_JSON,      "not_json",       "not valid JSON, or no object")          \
    X(OVERSIZE,      "oversize",       "longer than events.max_bytes")          \
    X(TOO_DEEP,      "too_deep",       "nested deeper or wider than allowed")   \
    X(NO_USER,       "no_user",        "no user")                               \
    X(BAD_USER,      "bad_user",       "user is no text of 1..128 bytes")       \
    X(NO_ITEM,       "no_item",        "no item")                               \
    X(BAD_ITEM,      "bad_item",       "item is no text of 1..256 bytes")       \
    X(NO_TIME,       "no_time",        "no time")                               \
    X(BAD_TIME,      "bad_time",       "time is no number, or before 2000")     \
    X(FUTURE_TIME,   "future_time",    "time is beyond events.max_future_skew") \
    X(NO_ACTION,     "no_action",      "no action")                             \
    X(UNKNOWN_ACTION,"unknown_action", "an action the configuration does not name") \
    X(BAD_REQUEST,   "bad_request",    "request id is no text of 1..128 bytes") \
    X(BAD_ROWS,      "bad_rows",       "impression without items, or too many") \
    X(BAD_TRACE,     "bad_trace",      "trace too long or not ours")            \
    X(TOMBSTONE,     "tombstone",      "a record without a value")              \
    X(KEY_MISMATCH,  "key_mismatch",   "the record's key is not its user")      \
    X(QUARANTINED,   "quarantined",    "the user's stored value is unusable")  \
    X(NOT_CSV,       "not_csv",        "a line of a file that cannot be split") \
    X(NOT_AVRO,      "not_avro",       "not a record of its Avro schema, or without a schema's id") \
    X(NO_SCHEMA,     "no_schema",      "an Avro schema id that nobody knows")   \
    X(BAD_SCHEMA,    "bad_schema",     "its Avro schema gives no events")

enum refusal {
#define X(id, name, text) REFUSAL_##id,
    REFUSAL_LIST(X)
#undef X
    REFUSAL_COUNT
};
/* clang-format on */
extern const char *const refusal_names[REFUSAL_COUNT]; /* also the metric's label values */
const char *refusal_text(enum refusal why);

/* One action of the configuration. */
struct action_row {
    char name[ACTION_NAME_MAX];
    uint8_t code; /* 1..62; stored, so it must never be given to another action */
    bool history; /* enters the user's sequence */
    /* "hide": the item is not shown to this user again while it is in the sequence */
    bool negative;
    bool exposure; /* a single such event is an impression of one */
    float label;   /* weight as a label of an impression; 0: none */
};

/* Texts point into the record, or into the decoder until its next call. */
struct event {
    enum event_kind kind;
    uint8_t action;  /* code; EVENT_ACTION only */
    int64_t time_ms; /* of the event */
    struct text user;
    struct text item;        /* EVENT_ACTION */
    struct text request_id;  /* may be empty */
    struct text event_id;    /* only logged; may be empty */
    struct text trace;       /* EVENT_IMPRESSION; may be empty */
    const struct text *rows; /* EVENT_IMPRESSION: items in the order shown */
    int rows_count;
};

extern const struct config_row events_config_rows[];
extern const struct config_rule events_config_rules[]; /* mapping and actions, each by its key */

/* The mapping and the actions, compiled. Read-only once made; any number of threads. */
struct event_schema;
/**
 * From the section `events`. With events.registry_auth config is borrowed, too: the secret is read
 * anew. Where `events.actions` names at least one action, those named are all there are; else the
 * defaults below.
 *
 * Errors: ERR_CONFIG (two actions with one code, an unusable path, a reserved name, a map to an
 *         action that is none, a registry that cannot be asked), ERR_NOMEM
 */
MUST_CHECK enum status event_schema_create(struct event_schema **schema,
                                           const struct config *config, struct error *err);
/* The defaults: view 1, click 2, like 3, purchase 4, share 5, hide 6 (negative), rate 7;
 * for tests and for files that need no configuration. */
MUST_CHECK enum status event_schema_default(struct event_schema **schema, struct error *err);
void event_schema_destroy(struct event_schema *schema);
/* NULL where there is none. ACTION_UNKNOWN has a row (no history, no label) where allowed. */
const struct action_row *event_schema_action(const struct event_schema *schema, uint8_t code);
const struct action_row *event_schema_action_named(const struct event_schema *schema,
                                                   struct text name);
int event_schema_actions_count(const struct event_schema *schema);
int64_t event_schema_max_future_skew_ms(const struct event_schema *schema);
size_t event_schema_max_bytes(const struct event_schema *schema);

/* Whether what event_encode() writes, which is JSON, is read by this schema, too.
 * Errors: ERR_CONFIG */
MUST_CHECK enum status event_schema_check_written(const struct event_schema *schema,
                                                  struct error *err);

/* Scratch of one thread. */
struct event_decoder;
MUST_CHECK enum status event_decoder_create(struct event_decoder **decoder,
                                            const struct event_schema *schema, struct error *err);
void event_decoder_destroy(struct event_decoder *decoder);
/* How long a record may wait for its Avro schema within one call: not at all unless set. For tools,
 * which have nothing else to do; they wait so long for a registry that is down, too, and ask for
 * every id (schemas/avro_registry.h). */
#define EVENT_PATIENCE_MS 30000
void event_decoder_insist(struct event_decoder *decoder, int64_t patience_ms);

/* For doctor: does the registry answer, where there is one? Before any record. *asked: there is.
 * Errors: ERR_UNAVAILABLE */
MUST_CHECK enum status event_decoder_ask_registry(struct event_decoder *decoder, bool *asked,
                                                  struct error *err);

/**
 * Decodes one record's value. On OK *why is REFUSAL_NONE. record_time_ms is the record's own
 * timestamp (a function of the log, not of our clock). value.at == NULL is a tombstone.
 * Errors: ERR_MALFORMED or ERR_LIMIT with *why set. ERR_NOMEM and ERR_UNAVAILABLE say nothing of
 *         the record (*why is REFUSAL_NONE): the latter, that its Avro schema is not known yet;
 *         keep the record and those behind it, and decode it again.
 */
MUST_CHECK enum status event_decode(struct event_decoder *decoder, struct text value,
                                    int64_t record_time_ms, struct event *event, enum refusal *why,
                                    struct error *err);

/* The same for JSON, whatever events.format says: a line of a file. */
MUST_CHECK enum status event_decode_json(struct event_decoder *decoder, struct text value,
                                         int64_t record_time_ms, struct event *event,
                                         enum refusal *why, struct error *err);

/**
 * The same for a record with its key: a key that is not the user is a KEY_MISMATCH, and a tombstone
 * is an erasure of the user that its key names, up to record_time_ms, where `events.tombstone` says
 * erase. The event may point into key.
 */
MUST_CHECK enum status event_decode_record(struct event_decoder *decoder, struct text key,
                                           struct text value, int64_t record_time_ms,
                                           struct event *event, enum refusal *why,
                                           struct error *err);

/* Is the record's key its user? REFUSAL_NONE or REFUSAL_KEY_MISMATCH (a missing key, too).
 * Events of a user under several keys would lie in several partitions, without an order between
 * them. `events.key: any` says that this is known and wanted. */
enum refusal event_check_key(const struct event_schema *schema, const struct event *event,
                             struct text key);

/* "2024-05-01T12:00:00.000Z", also with a blank for the T, without seconds or fraction, and with
 * a zone like +02:00; without a zone it is no time. */
bool event_time_parse(struct text from, int64_t *time_ms);

/* Writes the event in the form that the schema reads: the default one, or the mapping's, with its
 * members, unit of time and names of actions. Returns its bytes, or 0 when it does not fit, its
 * action has no name, or paths of the mapping lead through each other. */
size_t event_encode(const struct event_schema *schema, const struct event *event, char *into,
                    size_t bytes);

#endif
