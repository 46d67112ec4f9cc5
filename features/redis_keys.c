/* features/redis_keys.c - writes and reads key names. */
#include "features/redis_keys.h"

#include "schemas/event.h"

#include <assert.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum status redis_keys_init(struct redis_keys *keys, const char *ns, struct error *err)
{
    size_t bytes = strlen(ns);

    *keys = (struct redis_keys){0};
    if (bytes < 1 || bytes > REDIS_NAMESPACE_MAX)
        return error_set(err, ERR_CONFIG, "dataset.namespace \"%.20s\" is not 1..%d bytes long", ns,
                         REDIS_NAMESPACE_MAX);
    for (size_t i = 0; i < bytes; i++)
        if (!isalnum((unsigned char)ns[i]) && ns[i] != '-' && ns[i] != '_')
            return error_set(err, ERR_CONFIG,
                             "dataset.namespace \"%s\" may hold letters, digits, '-' and '_' only",
                             ns);
    memcpy(keys->ns, ns, bytes + 1);
    return OK;
}

/* "<ns>{NN}k"; returns its bytes. By hand: snprintf would cost a tenth of a patch's time. */
static size_t put_prefix(const struct redis_keys *keys, int shard, char kind, char *into)
{
    static const char digits[] = "0123456789abcdef";
    size_t used = strlen(keys->ns);

    assert(shard >= 0 && shard < REDIS_SHARDS_MAX);
    memcpy(into, keys->ns, used);
    into[used++] = '{';
    if (shard > 0xff)
        into[used++] = digits[shard >> 8];
    into[used++] = digits[shard >> 4 & 15];
    into[used++] = digits[shard & 15];
    into[used++] = '}';
    into[used++] = kind;
    return used;
}

size_t redis_key_user(const struct redis_keys *keys, int shard, struct text user, char *into)
{
    size_t used = put_prefix(keys, shard, 'u', into);

    assert(user.bytes <= USER_ID_MAX);
    memcpy(into + used, user.at, user.bytes);
    return used + user.bytes;
}

static size_t put_partition(const struct redis_keys *keys, int shard, char kind, const char *topic,
                            int32_t partition, uint32_t log_number, char *into)
{
    size_t used = put_prefix(keys, shard, kind, into);
    int more = snprintf(into + used, REDIS_KEY_BYTES_MAX - used, "%s:%d:%u", topic, (int)partition,
                        (unsigned)log_number);

    assert(more > 0 && used + (size_t)more < REDIS_KEY_BYTES_MAX);
    return used + (size_t)more;
}

size_t redis_key_meta(const struct redis_keys *keys, int shard, const char *topic,
                      int32_t partition, uint32_t log_number, char *into)
{
    return put_partition(keys, shard, 'm', topic, partition, log_number, into);
}

size_t redis_key_outbox(const struct redis_keys *keys, int shard, const char *topic,
                        int32_t partition, uint32_t log_number, char *into)
{
    return put_partition(keys, shard, 'o', topic, partition, log_number, into);
}

size_t redis_key_set(const struct redis_keys *keys, char *into)
{
    size_t used = put_prefix(keys, 0, 's', into);

    into[used] = 'e';
    into[used + 1] = 't';
    return used + 2;
}

size_t redis_key_dlq(const struct redis_keys *keys, char *into)
{
    size_t used = redis_key_set(keys, into) - strlen("set");

    into[used] = 'd';
    into[used + 1] = 'l';
    into[used + 2] = 'q';
    return used + 3;
}

enum redis_key_kind redis_key_parse(const struct redis_keys *keys, struct text key, int *shard,
                                    struct text *rest)
{
    size_t ns = strlen(keys->ns);
    size_t at = ns + 1;
    int value = 0;

    *shard = -1;
    *rest = (struct text){0};
    if (key.bytes < ns + 5 || memcmp(key.at, keys->ns, ns) != 0 || key.at[ns] != '{')
        return REDIS_KEY_OTHER;
    while (at < key.bytes && at < ns + 5 && isxdigit((unsigned char)key.at[at])) {
        char c = (char)tolower((unsigned char)key.at[at]);

        value = value * 16 + (c <= '9' ? c - '0' : c - 'a' + 10);
        at++;
    }
    if (at < ns + 3 || at > ns + 4 || at + 1 >= key.bytes || key.at[at] != '}')
        return REDIS_KEY_OTHER;
    *shard = value;
    *rest = (struct text){key.at + at + 2, key.bytes - at - 2};
    switch (key.at[at + 1]) {
    case 'u':
        return rest->bytes > 0 ? REDIS_KEY_USER : REDIS_KEY_OTHER;
    case 'm':
        return REDIS_KEY_META;
    case 'o':
        return REDIS_KEY_OUTBOX;
    case 's':
        return text_equal(*rest, (struct text){"et", 2}) ? REDIS_KEY_SET : REDIS_KEY_OTHER;
    default:
        return REDIS_KEY_OTHER;
    }
}
