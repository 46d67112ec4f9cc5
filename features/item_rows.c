/* features/item_rows.c - pages, lists, names and the index: shared, and copied when written. */
#include "features/item_rows.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define NAMES_BLOCK_BYTES (64 * 1024)
#define INDEX_MAX         ((size_t)ITEM_FILE_ITEMS_MAX)
/* The small map beside a shared index is merged when it holds more than this and an eighth. */
#define ADDED_FEW 4096

struct item_page {
    _Alignas(64) struct item_row rows[ITEM_PAGE];
    _Atomic uint32_t owners;
};

struct item_names {
    _Atomic uint32_t owners;
    uint32_t used, capacity;
    char at[];
};

struct item_index {
    _Atomic uint32_t owners;
    struct map64 *map;
};

_Static_assert(sizeof(struct item_row) == 128, "the hot half of a row is one cache line");

static bool alone(const _Atomic uint32_t *owners)
{
    return atomic_load_explicit(owners, memory_order_acquire) == 1;
}

static void share(_Atomic uint32_t *owners)
{
    atomic_fetch_add_explicit(owners, 1, memory_order_relaxed);
}

/* True for the last owner, who frees. */
static bool release(_Atomic uint32_t *owners)
{
    return atomic_fetch_sub_explicit(owners, 1, memory_order_acq_rel) == 1;
}

/* ---- release of each part ---- */

static void page_release(struct item_page *page)
{
    if (page == NULL || !release(&page->owners))
        return;
    for (int i = 0; i < ITEM_PAGE; i++)
        item_list_release(page->rows[i].neighbours);
    free(page);
}

static void index_release(struct item_index *index)
{
    if (index == NULL || !release(&index->owners))
        return;
    map64_destroy(index->map);
    free(index);
}

/* ---- the container ---- */

static struct item_index *index_create(size_t room)
{
    struct item_index *index = calloc(1, sizeof *index);

    if (index == NULL)
        return NULL;
    atomic_init(&index->owners, 1);
    index->map = map64_create(room, INDEX_MAX);
    if (index->map == NULL) {
        free(index);
        return NULL;
    }
    return index;
}

bool item_rows_init(struct item_rows *rows)
{
    *rows = (struct item_rows){.index = index_create(0)};
    return rows->index != NULL;
}

void item_rows_clear(struct item_rows *rows)
{
    assert(rows->pages_count == 0 || rows->pages != NULL);
    assert(rows->names_count == 0 || rows->names != NULL);
    for (int32_t i = 0; i < rows->pages_count; i++)
        page_release(rows->pages[i]);
    for (int32_t i = 0; i < rows->names_count; i++)
        if (release(&rows->names[i]->owners))
            free(rows->names[i]);
    free(rows->pages);
    free(rows->names);
    index_release(rows->index);
    map64_destroy(rows->added);
    *rows = (struct item_rows){0};
}

/* A new map of all entries of both; NULL: out of memory. */
static struct item_index *index_merge(const struct map64 *base, const struct map64 *added)
{
    struct item_index *index = index_create(map64_count(base) + map64_count(added) + ADDED_FEW);
    const struct map64 *parts[] = {base, added};
    uint64_t key;
    uint32_t value;

    for (int i = 0; index != NULL && i < 2; i++) {
        size_t cursor = 0;
        while (map64_next(parts[i], &cursor, &key, &value))
            if (map64_put(index->map, key, value) != OK) {
                index_release(index);
                return NULL;
            }
    }
    return index;
}

static bool copy_added(struct item_rows *copy, const struct item_rows *from)
{
    size_t cursor = 0;
    uint64_t key;
    uint32_t value;

    if (from->added == NULL)
        return true;
    copy->added = map64_create(map64_count(from->added), INDEX_MAX);
    if (copy->added == NULL)
        return false;
    while (map64_next(from->added, &cursor, &key, &value))
        if (map64_put(copy->added, key, value) != OK)
            return false;
    return true;
}

bool item_rows_share(struct item_rows *copy, const struct item_rows *from)
{
    *copy = (struct item_rows){.count = from->count, .index = from->index};
    share(&copy->index->owners);
    copy->pages = calloc((size_t)from->pages_count + 1, sizeof(struct item_page *));
    copy->names = calloc((size_t)from->names_count + 1, sizeof(struct item_names *));
    if (copy->pages == NULL || copy->names == NULL || !copy_added(copy, from)) {
        item_rows_clear(copy);
        return false;
    }
    copy->pages_capacity = from->pages_count + 1;
    copy->names_capacity = from->names_count + 1;
    for (int32_t i = 0; i < from->pages_count; i++) {
        copy->pages[i] = from->pages[i];
        share(&copy->pages[i]->owners);
    }
    copy->pages_count = from->pages_count;
    for (int32_t i = 0; i < from->names_count; i++) {
        copy->names[i] = from->names[i];
        share(&copy->names[i]->owners);
    }
    copy->names_count = from->names_count;
    return true;
}

int32_t item_rows_find(const struct item_rows *rows, uint64_t hash)
{
    uint32_t index;

    if (map64_get(rows->index->map, hash, &index))
        return (int32_t)index;
    if (rows->added != NULL && map64_get(rows->added, hash, &index))
        return (int32_t)index;
    return -1;
}

const struct item_row *item_rows_get(const struct item_rows *rows, int32_t index)
{
    assert(index >= 0 && index < rows->count);
    return &rows->pages[index / ITEM_PAGE]->rows[index % ITEM_PAGE];
}

/* ---- writing ---- */

static struct item_page *page_create(const struct item_page *from)
{
    struct item_page *page = aligned_alloc(_Alignof(struct item_page), sizeof *page);

    if (page == NULL)
        return NULL;
    if (from == NULL)
        memset(page->rows, 0, sizeof page->rows);
    else
        memcpy(page->rows, from->rows, sizeof page->rows);
    atomic_init(&page->owners, 1);
    for (int i = 0; i < ITEM_PAGE; i++)
        item_list_share(page->rows[i].neighbours);
    return page;
}

struct item_row *item_rows_own(struct item_rows *rows, int32_t index)
{
    struct item_page **page = &rows->pages[index / ITEM_PAGE];
    struct item_page *own;

    assert(index >= 0 && index < rows->count);
    if (!alone(&(*page)->owners)) {
        own = page_create(*page);
        if (own == NULL)
            return NULL;
        page_release(*page);
        *page = own;
    }
    return &(*page)->rows[index % ITEM_PAGE];
}

/* The array with room for one more pointer, or NULL: then it stays as it was. */
static void *grow(void *array, int32_t *capacity, int32_t count)
{
    int32_t wanted = *capacity == 0 ? 16 : 2 * *capacity;
    void *grown;

    if (count < *capacity)
        return array;
    grown = realloc(array, (size_t)wanted * sizeof(void *));
    if (grown != NULL)
        *capacity = wanted;
    return grown;
}

static bool index_put(struct item_rows *rows, uint64_t hash, uint32_t value)
{
    struct item_index *merged;

    if (alone(&rows->index->owners) && rows->added == NULL)
        return map64_put(rows->index->map, hash, value) == OK;
    if (rows->added == NULL) {
        rows->added = map64_create(0, INDEX_MAX);
        if (rows->added == NULL)
            return false;
    }
    if (map64_count(rows->added) > ADDED_FEW + map64_count(rows->index->map) / 8) {
        merged = index_merge(rows->index->map, rows->added);
        if (merged == NULL)
            return false;
        index_release(rows->index);
        map64_destroy(rows->added);
        rows->index = merged;
        rows->added = NULL;
        return map64_put(rows->index->map, hash, value) == OK;
    }
    return map64_put(rows->added, hash, value) == OK;
}

struct item_row *item_rows_add(struct item_rows *rows, uint64_t hash)
{
    int32_t index = rows->count;
    struct item_page **pages;
    struct item_row *row;

    assert(index < ITEM_FILE_ITEMS_MAX && item_rows_find(rows, hash) < 0);
    if (index / ITEM_PAGE == rows->pages_count) {
        pages = grow(rows->pages, &rows->pages_capacity, rows->pages_count);
        if (pages == NULL)
            return NULL;
        rows->pages = pages;
        rows->pages[rows->pages_count] = page_create(NULL);
        if (rows->pages[rows->pages_count] == NULL)
            return NULL;
        rows->pages_count++;
    }
    rows->count++;
    row = item_rows_own(rows, index);
    if (row == NULL || !index_put(rows, hash, (uint32_t)index)) {
        rows->count--;
        return NULL;
    }
    *row = (struct item_row){.hash = hash};
    return row;
}

const char *item_rows_keep_name(struct item_rows *rows, struct text name)
{
    struct item_names *block = rows->names_open ? rows->names[rows->names_count - 1] : NULL;
    struct item_names **names;
    char *at;

    if (block == NULL || block->capacity - block->used < name.bytes) {
        size_t capacity = name.bytes > NAMES_BLOCK_BYTES ? name.bytes : NAMES_BLOCK_BYTES;
        names = grow(rows->names, &rows->names_capacity, rows->names_count);
        if (names == NULL)
            return NULL;
        rows->names = names;
        block = malloc(sizeof *block + capacity);
        if (block == NULL)
            return NULL;
        atomic_init(&block->owners, 1);
        block->used = 0;
        block->capacity = (uint32_t)capacity;
        rows->names[rows->names_count++] = block;
        rows->names_open = true;
    }
    at = block->at + block->used;
    if (name.bytes > 0)
        memcpy(at, name.at, name.bytes);
    block->used += (uint32_t)name.bytes;
    return at;
}

size_t item_rows_bytes(const struct item_rows *rows)
{
    size_t bytes = (size_t)rows->pages_count * sizeof(struct item_page);
    size_t slots = map64_count(rows->index->map) +
                   (rows->added == NULL ? 0 : map64_count(rows->added));

    for (int32_t i = 0; i < rows->names_count; i++)
        bytes += sizeof *rows->names[i] + rows->names[i]->capacity;
    for (int32_t i = 0; i < rows->count; i++)
        bytes += item_list_bytes(item_rows_get(rows, i)->neighbours);
    return bytes + slots * 16 * 3 / 2;
}
