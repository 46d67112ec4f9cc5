/* ingest/verify_examples.c - two growing arrays and the tables that find their places. */
#include "ingest/verify_examples.h"

#include "ops/arena.h"
#include "ops/hash.h"
#include "ops/map64.h"
#include "schemas/example.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define ARENA_BLOCK ((size_t)256 * 1024)
#define ARENA_LIMIT ((size_t)16 * 1024 * 1024)
#define COUNT_MAX   ((uint32_t)1 << 29)
#define SLOT_BYTES  37 /* of a map64, an entry */
#define ERASE_SALT  UINT64_C(0x9e3779b97f4a7c15)

#define WANTED 1u
#define GOT    2u
#define LIST   UINT16_MAX

struct seen {
    uint64_t id, user;
    int64_t time_ms;   /* shown at, or erased at */
    int64_t oldest_ms; /* the oldest it holds of its user: an erasure from there on takes it */
    uint8_t sides;     /* which have its list */
    bool erase;
    bool off; /* a part is on one side only */
};

/* A label, or the list itself: a list that is shown again once its impression is not open any more
 * is emitted again, with the history of then. */
struct part {
    uint32_t example;
    uint16_t row; /* LIST: the list */
    uint8_t action;
    uint8_t sides;
};

struct verify_examples {
    struct verify_examples_judge judge;
    struct map64 *by_id, *by_part, *erased; /* erased: user -> place of the latest erasure */
    struct seen *list;
    struct part *parts;
    uint32_t count, room, parts_count, parts_room;
    struct arena *arena;
};

enum status verify_examples_create(struct verify_examples **examples,
                                   const struct verify_examples_judge *judge, struct error *err)
{
    struct verify_examples *made = calloc(1, sizeof *made);

    *examples = NULL;
    if (made == NULL)
        return error_set(err, ERR_NOMEM, "no memory for examples");
    made->judge = *judge;
    made->by_id = map64_create(0, COUNT_MAX);
    made->by_part = map64_create(0, COUNT_MAX);
    made->erased = map64_create(0, COUNT_MAX);
    made->arena = arena_create(ARENA_BLOCK, ARENA_LIMIT);
    if (made->by_id == NULL || made->by_part == NULL || made->erased == NULL) {
        verify_examples_destroy(made);
        return error_set(err, ERR_NOMEM, "no memory for examples");
    }
    *examples = made;
    return OK;
}

void verify_examples_destroy(struct verify_examples *examples)
{
    if (examples == NULL)
        return;
    map64_destroy(examples->by_id);
    map64_destroy(examples->by_part);
    map64_destroy(examples->erased);
    arena_destroy(examples->arena);
    free(examples->list);
    free(examples->parts);
    free(examples);
}

size_t verify_examples_bytes(const struct verify_examples *examples)
{
    return (size_t)examples->room * (sizeof(struct seen) + SLOT_BYTES) +
           (size_t)examples->parts_room * (sizeof(struct part) + SLOT_BYTES);
}

/* ---- taking in ---- */

static bool grow(void **list, uint32_t *room, size_t bytes)
{
    uint32_t more = *room == 0 ? 1024 : 2 * *room;
    void *grown = more > COUNT_MAX ? NULL : realloc(*list, more * bytes);

    if (grown == NULL)
        return false;
    *list = grown;
    *room = more;
    return true;
}

static struct seen *find_or_add(struct verify_examples *x, uint64_t id,
                                const struct example *example)
{
    uint32_t at;

    if (map64_get(x->by_id, id, &at))
        return &x->list[at];
    if ((x->count == x->room && !grow((void **)&x->list, &x->room, sizeof *x->list)) ||
        map64_put(x->by_id, id, x->count) != OK)
        return NULL;
    x->list[x->count] = (struct seen){
        .id = id,
        .user = example->user,
        .time_ms = example->kind == EXAMPLE_LABEL ? example->shown_at_ms : example->time_ms,
        .oldest_ms = INT64_MAX,
        .erase = example->kind == EXAMPLE_ERASE};
    return &x->list[x->count++];
}

static bool take_part(struct verify_examples *x, const struct seen *of, struct part part,
                      uint64_t identity, unsigned side)
{
    uint64_t key = hash64_mix(of->id, identity);
    uint32_t at;

    if (map64_get(x->by_part, key, &at)) {
        x->parts[at].sides |= (uint8_t)side;
        return true;
    }
    if ((x->parts_count == x->parts_room &&
         !grow((void **)&x->parts, &x->parts_room, sizeof *x->parts)) ||
        map64_put(x->by_part, key, x->parts_count) != OK)
        return false;
    part.example = (uint32_t)(of - x->list);
    part.sides = (uint8_t)side;
    x->parts[x->parts_count++] = part;
    return true;
}

static bool note_erasure(struct verify_examples *x, const struct seen *erase)
{
    uint32_t latest;

    if (map64_get(x->erased, erase->user, &latest) && x->list[latest].time_ms >= erase->time_ms)
        return true;
    return map64_put(x->erased, erase->user, (uint32_t)(erase - x->list)) == OK;
}

static void note_oldest(struct seen *seen, int64_t time_ms)
{
    if (time_ms < seen->oldest_ms)
        seen->oldest_ms = time_ms;
}

static enum status take(struct verify_examples *x, struct text bytes, unsigned side,
                        struct error *err)
{
    struct example example;
    enum status status;
    struct seen *seen;
    bool good;

    arena_reset(x->arena);
    status = example_decode(&example, (const uint8_t *)bytes.at, bytes.bytes, x->arena, err);
    if (status != OK || example.kind == EXAMPLE_MARK ||
        !x->judge.wanted(x->judge.context, example.user))
        return status;
    if (example.kind == EXAMPLE_ERASE)
        example.id = hash64_mix(example.user ^ ERASE_SALT, (uint64_t)example.time_ms);
    seen = find_or_add(x, example.id, &example);
    good = seen != NULL;
    if (good && example.kind == EXAMPLE_LABEL) {
        struct part label = {.row = (uint16_t)example.row, .action = example.action};

        note_oldest(seen, example.shown_at_ms);
        good = take_part(x, seen, label, (uint64_t)label.row << 8 | label.action, side);
    } else if (good) {
        seen->sides |= (uint8_t)side;
        seen->time_ms = example.time_ms;
        note_oldest(seen, example.time_ms);
        if (example.kind == EXAMPLE_SHOWN && example.history_count > 0)
            note_oldest(seen, example.history[0].time_ms);
        good = take_part(x, seen, (struct part){.row = LIST}, hash64_text(bytes, 0), side) &&
               (!seen->erase || note_erasure(x, seen));
    }
    return good ? OK : error_set(err, ERR_NOMEM, "no memory for another example");
}

enum status verify_examples_want(struct verify_examples *examples, struct text bytes,
                                 struct error *err)
{
    return take(examples, bytes, WANTED, err);
}

enum status verify_examples_got(struct verify_examples *examples, struct text bytes,
                                struct error *err)
{
    return take(examples, bytes, GOT, err);
}

/* ---- comparing ---- */

static bool was_erased(const struct verify_examples *x, const struct seen *seen)
{
    uint32_t latest;

    return map64_get(x->erased, seen->user, &latest) && x->list[latest].time_ms >= seen->oldest_ms;
}

static void tell(const struct verify_examples *x, const struct seen *seen, const char *what)
{
    char text[200];

    (void)snprintf(text, sizeof text, "%s %016" PRIx64 " of time %" PRId64 " %s",
                   seen->erase ? "erasure" : "example", seen->id, seen->time_ms, what);
    x->judge.tell(x->judge.context, seen->user, text);
}

/* Parts on one side only count against their example. */
static void compare_parts(struct verify_examples *x, bool cut,
                          struct verify_examples_counts *counts)
{
    for (uint32_t i = 0; i < x->parts_count; i++) {
        const struct part *part = &x->parts[i];
        struct seen *seen = &x->list[part->example];
        const char *lacks = part->sides == WANTED ? "lacks" : "has, but by no replay,";
        char text[120];

        counts->labels += part->row != LIST && (part->sides & WANTED) != 0;
        if (part->sides == (WANTED | GOT) || seen->sides != (WANTED | GOT) ||
            !x->judge.judged(x->judge.context, seen->user) ||
            (part->sides == WANTED && (cut || was_erased(x, seen))))
            continue;
        seen->off = true;
        if (part->row == LIST)
            (void)snprintf(text, sizeof text, "%s a list with these rows, history and counts",
                           lacks);
        else
            (void)snprintf(text, sizeof text, "%s the label (row %d, action %d)", lacks, part->row,
                           part->action);
        tell(x, seen, text);
    }
}

static void compare_one(struct verify_examples *x, const struct seen *seen, bool cut,
                        struct verify_examples_counts *counts)
{
    bool wanted = (seen->sides & WANTED) != 0, got = (seen->sides & GOT) != 0;
    int64_t before = counts->different + counts->missing + counts->unknown;

    counts->examples += wanted;
    if (!x->judge.judged(x->judge.context, seen->user)) {
        counts->unjudged++;
    } else if (wanted && got) {
        *(seen->off ? &counts->different : &counts->equal) += 1;
    } else if (got) {
        counts->unknown++;
        tell(x, seen, "is emitted, but by no replay");
    } else if (!seen->erase && was_erased(x, seen)) {
        counts->forgotten++;
    } else if (cut) {
        counts->unjudged++;
    } else if (wanted) {
        counts->missing++;
        tell(x, seen, "is neither in the topic nor in an outbox");
    } else {
        counts->unknown++;
        tell(x, seen, "has labels, but no list");
    }
    if (counts->different + counts->missing + counts->unknown > before)
        x->judge.apart(x->judge.context, seen->user);
}

void verify_examples_compare(struct verify_examples *examples, bool cut,
                             struct verify_examples_counts *counts)
{
    compare_parts(examples, cut, counts);
    for (uint32_t i = 0; i < examples->count; i++)
        compare_one(examples, &examples->list[i], cut, counts);
}
