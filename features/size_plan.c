/* features/size_plan.c - sums of size classes. */
#include "features/size_plan.h"

#include "features/item_rows.h"
#include "features/redis_keys.h"
#include "schemas/user_value.h"

/* Redis 7.0, 64 bit. A string's header is 1, 3 or 5 bytes and it ends with a zero; a long one is
 * an object of its own behind a pointer. */
#define OBJECT_BYTES     16
#define DICT_ENTRY_BYTES 24
/* A table of n entries has between n and 2n buckets of 8 bytes, 12 an entry on average. */
#define BUCKET_BYTES      12
#define STRING_SHORT_MAX  31
#define STRING_MIDDLE_MAX 255
/* "fr{3f}u" with the default namespace. */
#define KEY_PREFIX_BYTES 7

static int64_t string_bytes(int64_t length)
{
    int64_t header = length <= STRING_SHORT_MAX ? 1 : length <= STRING_MIDDLE_MAX ? 3 : 5;

    return size_plan_class(header + length + 1);
}

int64_t size_plan_class(int64_t bytes)
{
    int64_t group = 64;

    if (bytes <= 0)
        return 0;
    if (bytes <= 64)
        return (bytes + 7) / 8 * 8; /* Redis builds jemalloc with a quantum of 8 */
    while (bytes > 2 * group && group < INT64_MAX / 4)
        group *= 2;
    /* Four classes from each power of two to the next. */
    return (bytes + group / 4 - 1) / (group / 4) * (group / 4);
}

static int64_t times(int64_t count, int64_t each)
{
    int64_t product;

    return __builtin_mul_overflow(count, each, &product) ? INT64_MAX : product;
}

struct size_plan size_plan_make(const struct size_plan_input *input)
{
    struct size_plan plan = {0};
    int64_t list_bytes;

    plan.value_bytes = USER_VALUE_HEADER_BYTES + (int64_t)input->sequence_max * USER_ENTRY_BYTES +
                       (int64_t)input->opens * (USER_OPEN_HEADER_BYTES + 8 * (int64_t)input->rows);
    plan.user_bytes = string_bytes(plan.value_bytes) + OBJECT_BYTES +
                      string_bytes(KEY_PREFIX_BYTES + input->user_bytes) +
                      2 * (DICT_ENTRY_BYTES + BUCKET_BYTES);
    plan.users_bytes = times(input->users, plan.user_bytes);

    list_bytes = input->neighbours == 0 ? 0 : 16 + 16 + 8 * (int64_t)input->neighbours;
    /* The index has a slot of 16 bytes an item, and half as many free ones. */
    plan.item_bytes = (int64_t)sizeof(struct item_row) + 24 + input->name_bytes + list_bytes;
    plan.items_bytes = times(input->items, plan.item_bytes);
    plan.item_file_bytes = ITEM_FILE_ITEM_BYTES + input->name_bytes +
                           8 * (int64_t)input->neighbours;
    plan.items_file_bytes = times(input->items, plan.item_file_bytes);
    return plan;
}
