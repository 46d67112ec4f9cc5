/*
 * features/user_store.h - users' values in memory: the simple truth that the Redis store is
 * compared with, and what the backtest and `verify` run on.
 *
 * One thread applies records one after the other with the same rules; there are no shards,
 * transactions or failures here, and no shortcuts: every record takes rules_apply() on the decoded
 * value, so that the patches and quick paths of ingest are judged by something else.
 *
 * Units: about 100 bytes a user beside the encoded value.
 */
#ifndef FEATURES_USER_STORE_H
#define FEATURES_USER_STORE_H

#include "features/rules.h"

struct user_store;
/* rules are copied. Errors: ERR_NOMEM */
MUST_CHECK enum status user_store_create(struct user_store **store, const struct rules *rules,
                                         struct error *err);
void user_store_destroy(struct user_store *store); /* NULL is fine */

/* Called for each emission of an applied event, in order; may be NULL. */
typedef void user_store_emit(void *context, const uint8_t *example, size_t bytes);

/* Applies one event of a partition with its watermark before the record. A user of whom nothing is
 * kept is not added. Errors: ERR_NOMEM; the store is as it was then. */
MUST_CHECK enum status user_store_apply(struct user_store *store, const struct event *event,
                                        int64_t watermark_ms, bool replayed, user_store_emit *emit,
                                        void *context, enum outcome *outcome, struct error *err);
/* NULL when the user is unknown. Valid until the next call on this store. */
const struct user_value *user_store_get(struct user_store *store, struct text user);
/* A user's name by its hash (rules_user_hash); "" when there is none. Valid as long as the store.
 */
struct text user_store_name(const struct user_store *store, uint64_t user);
size_t user_store_bytes(const struct user_store *store); /* of memory, about */
int64_t user_store_count(const struct user_store *store);
/* Calls visit for every user, in the order in which they first came. visit must not call the
 * store. */
void user_store_each(struct user_store *store,
                     void (*visit)(void *context, struct text user, const struct user_value *value),
                     void *context);

#endif
