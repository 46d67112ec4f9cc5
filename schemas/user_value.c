/*
 * schemas/user_value.c - the user's value: checked decoding, encoding, and patches.
 *
 * This is the innermost loop of ingest: an entry is read with two loads and written with two
 * stores, and nothing here allocates but rows and labels of opens, from the caller's arena.
 */
#include "schemas/user_value.h"

#include "ops/arena.h"
#include "ops/defence.h"
#include "schemas/bytes.h"

#include <assert.h>
#include <string.h>

#define ACTION_LAST 63

/* The header's fields, by offset. */
enum { AT_FORMAT = 0, AT_FLAGS = 1, AT_COUNT = 2, AT_HEAD = 4, AT_OPENS = 6 };
enum { AT_WRITER = 8, AT_RUNNING = 12, AT_ERASED = 16, AT_WRITTEN = 22 };

int user_entry_compare(const struct user_entry *a, const struct user_entry *b)
{
    if (a->time_ms != b->time_ms)
        return a->time_ms < b->time_ms ? -1 : 1;
    if (a->item != b->item)
        return a->item < b->item ? -1 : 1;
    return (int)a->action - (int)b->action;
}

int user_open_compare(const struct open_impression *a, const struct open_impression *b)
{
    if (a->shown_at_ms != b->shown_at_ms)
        return a->shown_at_ms < b->shown_at_ms ? -1 : 1;
    if (a->request != b->request)
        return a->request < b->request ? -1 : 1;
    if (a->example_id != b->example_id)
        return a->example_id < b->example_id ? -1 : 1;
    return 0;
}

/* Time and action are the upper 7 of the 8 bytes from offset 7 on: one load that stays inside
 * the entry, also for the last entry of the buffer. */
static inline struct user_entry entry_get(const uint8_t *from)
{
    uint64_t tail = bytes_get_u64(from + 7) >> 8;

    return (struct user_entry){.item = bytes_get_u64(from),
                               .time_ms = (int64_t)(tail & (uint64_t)BYTES_TIME_MAX_MS),
                               .action = (uint8_t)(tail >> 48 & 0x7f),
                               .taken = tail >> 55 != 0};
}

/* Time, action and the mark, as they lie in the 7 bytes behind the item. */
static inline uint64_t tail_of(int64_t time_ms, uint8_t action, bool taken)
{
    return (uint64_t)time_ms | (uint64_t)action << 48 | (uint64_t)taken << 55;
}

static inline void entry_put(uint8_t *into, uint64_t item, uint64_t tail)
{
    /* The item's last byte is stored twice; the second store brings it along. */
    bytes_put_u64(into, item);
    bytes_put_u64(into + 7, tail << 8 | item >> 56);
}

static inline bool entry_same(const uint8_t *bytes, const struct user_entry *entry)
{
    return bytes_get_u64(bytes) == entry->item &&
           bytes_get_u64(bytes + 7) >> 8 == tail_of(entry->time_ms, entry->action, entry->taken);
}

static inline bool entry_valid(const struct user_entry *entry)
{
    return entry->time_ms >= 0 && entry->time_ms <= BYTES_TIME_MAX_MS && entry->action >= 1 &&
           entry->action <= ACTION_LAST;
}

static inline size_t open_bytes(size_t rows, size_t labels)
{
    return USER_OPEN_HEADER_BYTES + 8 * rows + USER_ENTRY_BYTES * labels;
}

static inline size_t ring_end(int count)
{
    return USER_VALUE_HEADER_BYTES + (size_t)count * USER_ENTRY_BYTES;
}

/* ---- header ---- */

/* The fixed part, checked but for what lies behind the ring. */
static enum status header_get(struct user_header *header, const uint8_t *from, size_t bytes)
{
    *header = (struct user_header){0};
    if (bytes == 0)
        return OK;
    if (bytes < USER_VALUE_HEADER_BYTES || from[AT_FORMAT] == 0)
        return ERR_MALFORMED;
    if (from[AT_FORMAT] != USER_VALUE_FORMAT)
        return ERR_VERSION;
    header->flags = from[AT_FLAGS];
    header->count = bytes_get_u16(from + AT_COUNT);
    header->head = bytes_get_u16(from + AT_HEAD);
    header->opens_count = bytes_get_u16(from + AT_OPENS);
    header->writer = bytes_get_u32(from + AT_WRITER);
    header->running = bytes_get_u32(from + AT_RUNNING);
    header->erased_at_ms = (int64_t)bytes_get_u48(from + AT_ERASED);
    header->written_at_ms = (int64_t)bytes_get_u48(from + AT_WRITTEN);
    if (header->count > SEQUENCE_MAX || header->opens_count > JOINS_MAX)
        return ERR_LIMIT;
    if ((header->flags & ~USER_VALUE_REPLAYED) != 0 ||
        header->head >= header->count + (header->count == 0) || bytes < ring_end(header->count))
        return ERR_MALFORMED;
    return OK;
}

/* Length of the open at from, or 0 when it is none. */
static size_t open_length(const uint8_t *from, size_t left, int *rows, int *labels)
{
    size_t length;

    if (left < USER_OPEN_HEADER_BYTES)
        return 0;
    length = bytes_get_u16(from);
    *rows = bytes_get_u16(from + 24);
    *labels = bytes_get_u16(from + 26);
    if (*rows > OPEN_ROWS_MAX || *labels > OPEN_LABELS_MAX || length > left ||
        length != open_bytes((size_t)*rows, (size_t)*labels))
        return 0;
    return length;
}

bool user_value_header(struct user_header *header, const uint8_t *from, size_t bytes)
{
    size_t at;
    int rows, labels;

    if (header_get(header, from, bytes) != OK)
        return false;
    if (bytes == 0)
        return true;
    at = ring_end(header->count);
    for (int i = 0; i < header->opens_count; i++) {
        size_t length = open_length(from + at, bytes - at, &rows, &labels);
        if (length == 0)
            return false;
        at += length;
    }
    return at == bytes;
}

static void header_put(uint8_t *into, const struct user_value *value, int head)
{
    into[AT_FORMAT] = USER_VALUE_FORMAT;
    into[AT_FLAGS] = value->flags;
    bytes_put_u16(into + AT_COUNT, (uint16_t)value->count);
    bytes_put_u16(into + AT_HEAD, (uint16_t)head);
    bytes_put_u16(into + AT_OPENS, (uint16_t)value->opens_count);
    bytes_put_u32(into + AT_WRITER, value->writer);
    bytes_put_u32(into + AT_RUNNING, value->running);
    bytes_put_u48(into + AT_ERASED, (uint64_t)value->erased_at_ms);
    bytes_put_u48(into + AT_WRITTEN, (uint64_t)value->written_at_ms);
}

/* ---- decode ---- */

/* Reads count slots that lie behind each other. Entries of ascending time, the usual case, cost one
 * comparison each. False: not strictly ascending, or an action that is none. */
static inline bool slots_get(struct user_entry *entries, const uint8_t *slots, int count,
                             const struct user_entry *before)
{
    int64_t last_ms = before == NULL ? -1 : before->time_ms;
    bool wrong = false;

    assert(entries != NULL || count == 0);
    for (int i = 0; i < count; i++, slots += USER_ENTRY_BYTES) {
        struct user_entry entry = entry_get(slots);

        entries[i] = entry;
        wrong |= entry.action - 1u >= ACTION_LAST;
        if (entry.time_ms <= last_ms && (i > 0 || before != NULL))
            wrong |= user_entry_compare(i == 0 ? before : &entries[i - 1], &entry) >= 0;
        last_ms = entry.time_ms;
    }
    return !wrong;
}

/* Reads ring entries [skip, count) in order of age: two runs of slots, up to the end of the ring
 * and from its beginning. */
static bool ring_get(struct user_entry *entries, const uint8_t *ring, int count, int head, int skip)
{
    int first = head + skip < count ? head + skip : head + skip - count;
    int run = count - first < count - skip ? count - first : count - skip;
    int rest = count - skip - run;

    return slots_get(entries, ring + (size_t)first * USER_ENTRY_BYTES, run, NULL) &&
           slots_get(entries + run, ring, rest, run == 0 ? NULL : &entries[run - 1]);
}

/* Decodes one open, whose lengths have been checked. */
static enum status open_get(struct open_impression *open, const uint8_t *from, struct arena *arena,
                            struct error *err)
{
    const uint8_t *at = from + USER_OPEN_HEADER_BYTES;

    open->example_id = bytes_get_u64(from + 2);
    open->shown_at_ms = (int64_t)bytes_get_u48(from + 10);
    open->request = bytes_get_u64(from + 16);
    open->rows = NULL;
    open->labels = NULL;
    if (open->rows_count > 0) {
        open->rows = arena_alloc(arena, (size_t)open->rows_count * sizeof *open->rows);
        if (open->rows == NULL)
            return error_set(err, ERR_NOMEM, "no memory for an open impression's rows");
    }
    for (int i = 0; i < open->rows_count; i++, at += 8)
        open->rows[i] = bytes_get_u64(at);
    if (open->labels_count > 0) {
        open->labels = arena_alloc(arena, (size_t)open->labels_count * sizeof *open->labels);
        if (open->labels == NULL)
            return error_set(err, ERR_NOMEM, "no memory for an open impression's labels");
    }
    for (int i = 0; i < open->labels_count; i++, at += USER_ENTRY_BYTES) {
        struct user_entry entry = entry_get(at);

        if (!entry_valid(&entry) || entry.taken)
            return error_set(err, ERR_MALFORMED, "label of action %d in a user value",
                             (int)entry.action);
        open->labels[i] = (struct open_label){entry.item, entry.time_ms, entry.action};
    }
    return OK;
}

static enum status opens_get(struct user_value *value, const uint8_t *from, size_t bytes,
                             struct arena *arena, struct error *err)
{
    assert(value->opens_count == 0 || arena != NULL);

    for (int i = 0; i < value->opens_count; i++) {
        struct open_impression *open = &value->opens[i];
        size_t length = open_length(from, bytes, &open->rows_count, &open->labels_count);
        enum status status;

        if (length == 0)
            return error_set(err, ERR_MALFORMED, "open impression %d of a user value is cut", i);
        status = open_get(open, from, arena, err);
        if (status != OK)
            return status;
        if (i > 0 && user_open_compare(open - 1, open) > 0)
            return error_set(err, ERR_MALFORMED, "open impressions of a user value not sorted");
        from += length;
        bytes -= length;
    }
    if (bytes != 0)
        return error_set(err, ERR_MALFORMED, "user value goes on for %zu bytes past its end",
                         bytes);
    return OK;
}

enum status user_value_decode(struct user_value *value, const uint8_t *from, size_t bytes,
                              struct arena *arena, struct error *err)
{
    struct user_header header;
    enum status status;
    size_t at;

    assert(value != NULL && err != NULL && (bytes == 0 || from != NULL));
    status = header_get(&header, from, bytes);
    value->count = 0;
    value->opens_count = 0;
    value->writer = header.writer;
    value->running = header.running;
    value->erased_at_ms = header.erased_at_ms;
    value->written_at_ms = header.written_at_ms;
    value->flags = header.flags;
    if (status != OK)
        return error_set(err, status, "user value of %zu bytes, format %d, has no usable header",
                         bytes, bytes == 0 ? 0 : (int)from[AT_FORMAT]);
    if (bytes == 0)
        return OK;
    if (!ring_get(value->entries, from + USER_VALUE_HEADER_BYTES, header.count, header.head, 0))
        return error_set(err, ERR_MALFORMED, "entries of a user value not sorted");
    value->count = header.count;
    value->opens_count = header.opens_count;
    at = ring_end(header.count);
    status = opens_get(value, from + at, bytes - at, arena, err);
    if (status != OK)
        value->count = value->opens_count = 0;
    return status;
}

int user_value_history(const uint8_t *from, size_t bytes, struct user_entry *entries, int most,
                       uint32_t *running)
{
    struct user_header header;
    int skip;

    assert(most >= 0 && (bytes == 0 || from != NULL));
    if (header_get(&header, from, bytes) != OK)
        return -1;
    if (running != NULL)
        *running = header.running;
    skip = header.count > most ? header.count - most : 0;
    if (header.count - skip > 0 &&
        !ring_get(entries, from + USER_VALUE_HEADER_BYTES, header.count, header.head, skip))
        return -1;
    return header.count - skip;
}

/* ---- encode ---- */

/* Bytes of all opens; asserts the limits. */
static size_t opens_bytes(const struct user_value *value)
{
    size_t bytes = 0;

    for (int i = 0; i < value->opens_count; i++) {
        const struct open_impression *open = &value->opens[i];

        assert(open->rows_count >= 0 && open->rows_count <= OPEN_ROWS_MAX);
        assert(open->labels_count >= 0 && open->labels_count <= OPEN_LABELS_MAX);
        assert(open->shown_at_ms >= 0 && open->shown_at_ms <= BYTES_TIME_MAX_MS);
        bytes += open_bytes((size_t)open->rows_count, (size_t)open->labels_count);
    }
    return bytes;
}

static size_t value_bytes(const struct user_value *value)
{
    assert(value->count >= 0 && value->count <= SEQUENCE_MAX);
    assert(value->opens_count >= 0 && value->opens_count <= JOINS_MAX);
    assert(value->erased_at_ms >= 0 && value->erased_at_ms <= BYTES_TIME_MAX_MS);
    assert(value->written_at_ms >= 0 && value->written_at_ms <= BYTES_TIME_MAX_MS);
    return ring_end(value->count) + opens_bytes(value);
}

/* Copies; with compare, says whether that changed what was there. */
static bool put_part(uint8_t *into, const void *from, size_t bytes, bool compare)
{
    bool changed = compare && memcmp(into, from, bytes) != 0;

    memcpy(into, from, bytes);
    return changed;
}

/* Writes the opens; with compare, says whether that changed what was there. */
static bool opens_put(uint8_t *into, const struct user_value *value, bool compare)
{
    bool changed = false;

    for (int i = 0; i < value->opens_count; i++) {
        const struct open_impression *open = &value->opens[i];
        uint8_t header[USER_OPEN_HEADER_BYTES], part[USER_ENTRY_BYTES];

        bytes_put_u16(header,
                      (uint16_t)open_bytes((size_t)open->rows_count, (size_t)open->labels_count));
        bytes_put_u64(header + 2, open->example_id);
        bytes_put_u48(header + 10, (uint64_t)open->shown_at_ms);
        bytes_put_u64(header + 16, open->request);
        bytes_put_u16(header + 24, (uint16_t)open->rows_count);
        bytes_put_u16(header + 26, (uint16_t)open->labels_count);
        changed |= put_part(into, header, sizeof header, compare);
        into += sizeof header;
        for (int r = 0; r < open->rows_count; r++, into += 8) {
            bytes_put_u64(part, open->rows[r]);
            changed |= put_part(into, part, 8, compare);
        }
        for (int l = 0; l < open->labels_count; l++, into += USER_ENTRY_BYTES) {
            const struct open_label *label = &open->labels[l];

            entry_put(part, label->item, tail_of(label->time_ms, label->action, false));
            changed |= put_part(into, part, USER_ENTRY_BYTES, compare);
        }
    }
    return changed;
}

/* The whole value, ring unrolled, into a buffer that is large enough. */
static void value_put(uint8_t *into, const struct user_value *value)
{
    uint8_t *at = into + USER_VALUE_HEADER_BYTES;

    header_put(into, value, 0);
    bool valid = true;
    for (int i = 0; i < value->count; i++, at += USER_ENTRY_BYTES) {
        valid &= entry_valid(&value->entries[i]);
        entry_put(
            at, value->entries[i].item,
            tail_of(value->entries[i].time_ms, value->entries[i].action, value->entries[i].taken));
    }
    assert(valid);
    (void)opens_put(at, value, false);
}

size_t user_value_encode(const struct user_value *value, uint8_t *into, size_t bytes)
{
    size_t needed;

    assert(value != NULL);
    needed = value_bytes(value);
    if (needed > bytes)
        return 0;
    value_put(into, value);
    return needed;
}

static bool opens_equal(const struct open_impression *a, const struct open_impression *b)
{
    if (user_open_compare(a, b) != 0 || a->rows_count != b->rows_count ||
        a->labels_count != b->labels_count)
        return false;
    for (int r = 0; r < a->rows_count; r++)
        if (a->rows[r] != b->rows[r])
            return false;
    for (int l = 0; l < a->labels_count; l++) {
        int in_a = 0, in_b = 0;

        /* As multisets: how often label l of a is in either. */
        for (int k = 0; k < a->labels_count; k++) {
            in_a += a->labels[k].item == a->labels[l].item &&
                    a->labels[k].time_ms == a->labels[l].time_ms &&
                    a->labels[k].action == a->labels[l].action;
            in_b += b->labels[k].item == a->labels[l].item &&
                    b->labels[k].time_ms == a->labels[l].time_ms &&
                    b->labels[k].action == a->labels[l].action;
        }
        if (in_a != in_b)
            return false;
    }
    return true;
}

bool user_value_equal(const struct user_value *a, const struct user_value *b)
{
    if (a->count != b->count || a->opens_count != b->opens_count || a->running != b->running ||
        a->erased_at_ms != b->erased_at_ms)
        return false;
    for (int i = 0; i < a->count; i++)
        if (user_entry_compare(&a->entries[i], &b->entries[i]) != 0 ||
            a->entries[i].taken != b->entries[i].taken)
            return false;
    for (int i = 0; i < a->opens_count; i++)
        if (!opens_equal(&a->opens[i], &b->opens[i]))
            return false;
    return true;
}

/* ---- images ---- */

/* `more` entries went into the ring of a full image, the first of them at slot. */
static void change_add_slots(struct user_change *change, int slot, int more, int capacity)
{
    if (change->slots == 0)
        change->slot = (uint16_t)slot;
    change->slots = (uint16_t)(change->slots + more < capacity ? change->slots + more : capacity);
}

bool user_value_append(uint8_t *image, size_t *bytes, size_t bytes_max,
                       const struct user_entry *entry, int capacity, uint32_t writer,
                       int64_t written_at_ms, struct user_change *change)
{
    struct user_header header;
    uint8_t *ring = image + USER_VALUE_HEADER_BYTES;
    int slot;

    assert(capacity >= 1 && capacity <= SEQUENCE_MAX && entry_valid(entry));
    assert(written_at_ms >= 0 && written_at_ms <= BYTES_TIME_MAX_MS);
    if (header_get(&header, image, *bytes) != OK || header.opens_count > 0 ||
        header.count > capacity || (*bytes > 0 && *bytes != ring_end(header.count)) ||
        (header.erased_at_ms > 0 && entry->time_ms <= header.erased_at_ms))
        return false;
    if (header.count < capacity && (header.head != 0 || ring_end(header.count + 1) > bytes_max))
        return false;
    if (header.count > 0) {
        int newest = header.head == 0 ? header.count - 1 : header.head - 1;
        struct user_entry last = entry_get(ring + (size_t)newest * USER_ENTRY_BYTES);

        if (DEFENCE(IN_ORDER) && user_entry_compare(&last, entry) >= 0)
            return false;
    }

    if (header.count < capacity) {
        if (*bytes == 0)
            memset(image, 0, USER_VALUE_HEADER_BYTES);
        image[AT_FORMAT] = USER_VALUE_FORMAT;
        slot = header.count;
        *bytes = ring_end(header.count + 1);
        bytes_put_u16(image + AT_COUNT, (uint16_t)(header.count + 1));
        change->rewrite = true;
    } else {
        slot = header.head;
        bytes_put_u16(image + AT_HEAD, (uint16_t)(slot + 1 == capacity ? 0 : slot + 1));
        change_add_slots(change, slot, 1, capacity);
    }
    entry_put(ring + (size_t)slot * USER_ENTRY_BYTES, entry->item,
              tail_of(entry->time_ms, entry->action, entry->taken));
    bytes_put_u32(image + AT_WRITER, writer);
    bytes_put_u32(image + AT_RUNNING, header.running + 1);
    bytes_put_u48(image + AT_WRITTEN, (uint64_t)written_at_ms);
    change->changed = true;
    return true;
}

static inline bool slots_same(const uint8_t *slots, const struct user_entry *entries, int count)
{
    for (int i = 0; i < count; i++)
        if (!entry_same(slots + (size_t)i * USER_ENTRY_BYTES, &entries[i]))
            return false;
    return true;
}

/* How many entries *value has beyond those of a full ring, when it has no other difference from
 * it than these and the loss of as many oldest ones; -1 otherwise. Every kept entry is compared:
 * it costs less than trusting that nothing but an append can have happened. */
static int ring_appended(const uint8_t *ring, int count, int head, const struct user_value *value)
{
    int low = 0, high = count; /* the first kept entry: binary search for value's oldest */

    while (low < high) {
        int middle = (low + high) / 2;
        int slot = head + middle < count ? head + middle : head + middle - count;
        struct user_entry entry = entry_get(ring + (size_t)slot * USER_ENTRY_BYTES);

        if (user_entry_compare(&entry, &value->entries[0]) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    int first = head + low < count ? head + low : head + low - count;
    int run = count - first < count - low ? count - first : count - low;
    if (!slots_same(ring + (size_t)first * USER_ENTRY_BYTES, value->entries, run) ||
        !slots_same(ring, value->entries + run, count - low - run))
        return -1;
    return low;
}

size_t user_value_diff(const uint8_t *old, size_t old_bytes, const struct user_value *value,
                       int capacity, uint8_t *into, size_t into_bytes, struct user_change *change)
{
    struct user_header header;
    size_t needed = value_bytes(value);
    int appended = -1;

    assert(capacity >= 1 && capacity <= SEQUENCE_MAX);
    if (needed > into_bytes)
        return 0;
    change->changed = true;
    if (needed == old_bytes && header_get(&header, old, old_bytes) == OK &&
        header.count == value->count && header.opens_count == value->opens_count) {
        if (header.count == 0)
            appended = 0;
        else
            appended = ring_appended(old + USER_VALUE_HEADER_BYTES, header.count, header.head,
                                     value);
        if (appended > 0 && header.count != capacity)
            appended = -1;
    }
    if (appended < 0) {
        change->rewrite = true;
        value_put(into, value);
        return needed;
    }

    if (into != old)
        memcpy(into, old, old_bytes);
    for (int i = 0; i < appended; i++) {
        const struct user_entry *entry = &value->entries[value->count - appended + i];
        int slot = header.head + i < capacity ? header.head + i : header.head + i - capacity;

        assert(entry_valid(entry));
        entry_put(into + ring_end(slot), entry->item,
                  tail_of(entry->time_ms, entry->action, entry->taken));
    }
    if (appended > 0) {
        change_add_slots(change, header.head, appended, capacity);
        header.head += appended;
        if (header.head >= capacity)
            header.head -= capacity;
    }
    header_put(into, value, header.head);
    change->opens |= opens_put(into + ring_end(value->count), value, true);
    return needed;
}

int user_value_patches(const struct user_change *change, const uint8_t *image, size_t bytes,
                       struct user_patch patches[USER_PATCHES_MAX])
{
    int count = 0;
    int capacity;

    if (!change->changed || change->rewrite)
        return 0;
    assert(bytes >= USER_VALUE_HEADER_BYTES);
    capacity = bytes_get_u16(image + AT_COUNT);
    assert(bytes >= ring_end(capacity) && change->slots <= capacity);
    patches[count++] = (struct user_patch){0, USER_VALUE_HEADER_BYTES};
    if (change->slots > 0) {
        int first = change->slots == capacity ? 0 : change->slot;
        int before_end = change->slots < capacity - first ? change->slots : capacity - first;

        patches[count++] = (struct user_patch){(uint32_t)ring_end(first),
                                               (uint32_t)before_end * USER_ENTRY_BYTES};
        if (change->slots > before_end)
            patches[count++] = (struct user_patch){
                USER_VALUE_HEADER_BYTES, (uint32_t)(change->slots - before_end) * USER_ENTRY_BYTES};
    }
    if (change->opens)
        patches[count++] = (struct user_patch){(uint32_t)ring_end(capacity),
                                               (uint32_t)(bytes - ring_end(capacity))};
    return count;
}
