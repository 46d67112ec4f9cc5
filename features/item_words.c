/* features/item_words.c - lists of items for each word, and a walk over those of an item's words.
 */
#include "features/item_words.h"

#include "ops/hash.h"
#include "ops/map64.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define SEED_CATEGORY UINT64_C(0x63617465)
#define SEED_WORD     UINT64_C(0x776f7264)
#define SEED_SIGN     UINT64_C(0x7369676e)
#define WORD_BYTES    64 /* of a word; the rest is not read */
#define NUMBERS_MAX   ((size_t)1 << 28)

/* Items that have a word. */
struct list {
    uint64_t hash;
    int32_t *keys;
    int32_t count, room;
};

/* Words of an item, by their numbers; NULL: nothing is known. */
struct known {
    uint32_t *words;
    int32_t count;
};

struct item_words {
    struct map64 *numbers; /* hash of a word -> its number */
    struct list *lists;    /* by number */
    uint32_t lists_count, lists_room;
    struct known *items; /* by key */
    int32_t items_room, items_known;

    /* Of a walk: alike (items_room), 0 between walks; met in the order they came. */
    double *alike;
    int32_t *met;
};

enum status item_words_create(struct item_words **words, struct error *err)
{
    struct item_words *made = calloc(1, sizeof *made);

    *words = NULL;
    if (made != NULL)
        made->numbers = map64_create(0, NUMBERS_MAX);
    if (made == NULL || made->numbers == NULL) {
        free(made);
        return error_set(err, ERR_NOMEM, "no memory for words of items");
    }
    *words = made;
    return OK;
}

void item_words_destroy(struct item_words *w)
{
    if (w == NULL)
        return;
    for (uint32_t i = 0; i < w->lists_count; i++)
        free(w->lists[i].keys);
    for (int32_t i = 0; i < w->items_room; i++)
        free(w->items[i].words);
    map64_destroy(w->numbers);
    free(w->lists);
    free(w->items);
    free(w->alike);
    free(w->met);
    free(w);
}

/* ---- words of a text ---- */

static bool is_letter(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           (unsigned char)c >= 0x80;
}

/* Hash of the next word of at least two letters; false at the end. */
static bool next_word(struct text text, size_t *at, uint64_t *hash)
{
    char word[WORD_BYTES];

    while (*at < text.bytes) {
        size_t bytes = 0, letters = 0;

        while (*at < text.bytes && !is_letter(text.at[*at]))
            (*at)++;
        for (; *at < text.bytes && is_letter(text.at[*at]); (*at)++, letters++) {
            char c = text.at[*at];

            if (bytes < WORD_BYTES)
                word[bytes++] = c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
        }
        if (letters > 1) {
            *hash = hash64_text((struct text){word, bytes}, SEED_WORD);
            return true;
        }
    }
    return false;
}

/* Each word once; returns their number. */
static int words_of(struct text category, struct text text, uint64_t hashes[ITEM_WORDS_MAX])
{
    size_t at = 0;
    uint64_t hash;
    int count = 0;

    if (category.bytes > 0)
        hashes[count++] = hash64_text(category, SEED_CATEGORY);
    while (count < ITEM_WORDS_MAX && next_word(text, &at, &hash)) {
        bool twice = false;

        for (int i = 0; i < count && !twice; i++)
            twice = hashes[i] == hash;
        if (!twice)
            hashes[count++] = hash;
    }
    return count;
}

static void make_vector(const uint64_t *hashes, int count, float *vector, int32_t width)
{
    double square = 0;

    assert(width > 0);
    memset(vector, 0, (size_t)width * sizeof *vector);
    for (int i = 0; i < count; i++)
        vector[hashes[i] % (uint64_t)width] += hash64_mix(hashes[i], SEED_SIGN) & 1 ? 1.0f : -1.0f;
    for (int32_t t = 0; t < width; t++)
        square += (double)vector[t] * (double)vector[t];
    for (int32_t t = 0; t < width && square > 0; t++)
        vector[t] = (float)((double)vector[t] / sqrt(square));
}

void item_words_vector(struct text category, struct text text, float *vector, int32_t width)
{
    uint64_t hashes[ITEM_WORDS_MAX];

    make_vector(hashes, words_of(category, text, hashes), vector, width);
}

void item_words_vector_of(const struct item_words *w, int32_t key, float *vector, int32_t width)
{
    uint64_t hashes[ITEM_WORDS_MAX];
    int count = item_words_known(w, key) ? w->items[key].count : 0;

    for (int i = 0; i < count; i++)
        hashes[i] = w->lists[w->items[key].words[i]].hash;
    make_vector(hashes, count, vector, width);
}

/* ---- lists ---- */

static bool make_room(struct item_words *w, int32_t key)
{
    int32_t room = w->items_room == 0 ? 1024 : w->items_room;
    struct known *items;
    double *alike;
    int32_t *met;

    if (key < w->items_room)
        return true;
    while (room <= key)
        room *= 2;
    items = realloc(w->items, (size_t)room * sizeof *items);
    if (items != NULL)
        w->items = items;
    alike = realloc(w->alike, (size_t)room * sizeof *alike);
    if (alike != NULL)
        w->alike = alike;
    met = realloc(w->met, (size_t)room * sizeof *met);
    if (met != NULL)
        w->met = met;
    if (items == NULL || alike == NULL || met == NULL)
        return false;
    for (int32_t i = w->items_room; i < room; i++) {
        w->items[i] = (struct known){0};
        w->alike[i] = 0;
    }
    w->items_room = room;
    return true;
}

/* The word's number, a new one when it is new. */
static bool number_of(struct item_words *w, uint64_t hash, uint32_t *number)
{
    if (map64_get(w->numbers, hash, number))
        return true;
    if (w->lists_count == w->lists_room) {
        uint32_t room = w->lists_room == 0 ? 1024 : 2 * w->lists_room;
        struct list *lists = realloc(w->lists, (size_t)room * sizeof *lists);

        if (lists == NULL)
            return false;
        w->lists = lists;
        w->lists_room = room;
    }
    if (map64_put(w->numbers, hash, w->lists_count) != OK)
        return false;
    w->lists[w->lists_count] = (struct list){.hash = hash};
    *number = w->lists_count++;
    return true;
}

static bool enlist(struct list *list, int32_t key)
{
    if (list->count == list->room) {
        int32_t room = list->room == 0 ? 4 : 2 * list->room;
        int32_t *keys = realloc(list->keys, (size_t)room * sizeof *keys);

        if (keys == NULL)
            return false;
        list->keys = keys;
        list->room = room;
    }
    list->keys[list->count++] = key;
    return true;
}

static void forget(struct item_words *w, int32_t key)
{
    struct known *item = &w->items[key];

    for (int32_t i = 0; i < item->count; i++) {
        struct list *list = &w->lists[item->words[i]];
        int32_t at = 0;

        while (at < list->count && list->keys[at] != key)
            at++;
        if (at == list->count)
            continue; /* it was never entered: memory was out */
        memmove(list->keys + at, list->keys + at + 1,
                (size_t)(list->count - at - 1) * sizeof *list->keys);
        list->count--;
    }
    w->items_known -= item->words != NULL;
    free(item->words);
    *item = (struct known){0};
}

static bool same(const struct item_words *w, int32_t key, const uint64_t *hashes, int count)
{
    const struct known *item = &w->items[key];
    uint32_t number;

    if (item->count != count)
        return false;
    for (int i = 0; i < count; i++)
        if (!map64_get(w->numbers, hashes[i], &number) || number != item->words[i])
            return false;
    return true;
}

enum status item_words_put(struct item_words *w, int32_t key, struct text category,
                           struct text text, struct error *err)
{
    uint64_t hashes[ITEM_WORDS_MAX];
    int count = words_of(category, text, hashes);
    struct known item;

    if (key < 0 || key >= ITEM_WORDS_KEY_MAX)
        return error_set(err, ERR_LIMIT, "words of item number %d", (int)key);
    if (!make_room(w, key))
        return error_set(err, ERR_NOMEM, "no memory for words of %d items", (int)key + 1);
    if (same(w, key, hashes, count))
        return OK;
    forget(w, key);
    if (count == 0)
        return OK;
    item = (struct known){.words = malloc((size_t)count * sizeof *item.words), .count = count};
    for (int i = 0; item.words != NULL && i < count; i++)
        if (!number_of(w, hashes[i], &item.words[i])) {
            free(item.words);
            item.words = NULL;
        }
    if (item.words == NULL)
        return error_set(err, ERR_NOMEM, "no memory for words of an item");
    w->items[key] = item;
    w->items_known++;
    for (int i = 0; i < count; i++)
        if (!enlist(&w->lists[item.words[i]], key)) {
            forget(w, key);
            return error_set(err, ERR_NOMEM, "no memory for words of an item");
        }
    return OK;
}

bool item_words_known(const struct item_words *w, int32_t key)
{
    return key >= 0 && key < w->items_room && w->items[key].words != NULL;
}

/* ---- neighbours ---- */

int64_t item_words_cost(const struct item_words *w, int32_t key)
{
    int64_t cost = 0;

    for (int32_t i = 0; item_words_known(w, key) && i < w->items[key].count; i++) {
        int32_t count = w->lists[w->items[key].words[i]].count;

        cost += count < ITEM_WORDS_LOOK_MAX ? count : ITEM_WORDS_LOOK_MAX;
    }
    return cost;
}

static double weight_of(const struct item_words *w, uint32_t number)
{
    return log(1 + (double)w->items_known / (1 + (double)w->lists[number].count));
}

static double length_of(const struct item_words *w, int32_t key)
{
    double square = 0;

    for (int32_t i = 0; i < w->items[key].count; i++)
        square += pow(weight_of(w, w->items[key].words[i]), 2);
    return sqrt(square);
}

static int by_likeness(const void *a, const void *b, void *alike)
{
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    const double *of = alike;

    if (of[x] != of[y])
        return of[x] > of[y] ? -1 : 1;
    return (x > y) - (x < y);
}

/* Everyone who shares a word and may be a neighbour, into met; returns how many. */
static int32_t meet(struct item_words *w, int32_t key, item_words_asked *asked, void *context)
{
    const struct known *own = &w->items[key];
    int32_t met = 0;

    for (int32_t i = 0; i < own->count; i++) {
        const struct list *list = &w->lists[own->words[i]];
        double share = pow(weight_of(w, own->words[i]), 2);
        int32_t from = list->count > ITEM_WORDS_LOOK_MAX ? list->count - ITEM_WORDS_LOOK_MAX : 0;

        for (int32_t j = from; j < list->count; j++) {
            int32_t other = list->keys[j];

            if (other == key || (w->alike[other] == 0 && !asked(context, other)))
                continue;
            if (w->alike[other] == 0)
                w->met[met++] = other;
            w->alike[other] += share;
        }
    }
    return met;
}

int item_words_near(struct item_words *w, int32_t key, int k, item_words_asked *asked,
                    void *context, int32_t near[ITEM_WORDS_NEAR_MAX])
{
    int32_t met;
    int count = 0;

    assert(k >= 1 && k <= ITEM_WORDS_NEAR_MAX);
    if (!item_words_known(w, key))
        return 0;
    met = meet(w, key, asked, context);
    for (int32_t i = 0; i < met; i++)
        w->alike[w->met[i]] /= length_of(w, w->met[i]);
    qsort_r(w->met, (size_t)met, sizeof *w->met, by_likeness, w->alike);
    while (count < met && count < ITEM_WORDS_NEAR_MAX &&
           (count < k || w->alike[w->met[count]] == w->alike[near[count - 1]])) {
        near[count] = w->met[count];
        count++;
    }
    for (int32_t i = 0; i < met; i++)
        w->alike[w->met[i]] = 0;
    return count;
}
