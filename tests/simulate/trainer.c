/*
 * tests/simulate/trainer.c - what was published, united by the trainer's own code
 * (retrain/examples).
 *
 * Rows reach the topic more than once, and those of a user fed by two partitions in any order: a
 * label before its list. The set of labels that the trainer ends with must not depend on that.
 */
#include "tests/simulate/world.h"

#include "retrain/examples.h"

#include <assert.h>

#define ROWS_MAX 2 /* of a list; workload.c */

struct trained {
    struct list *lists[EXAMPLES_MAX];
    int count;
};

static void take(void *context, struct list *list)
{
    struct trained *trained = context;

    assert(trained->count < EXAMPLES_MAX);
    trained->lists[trained->count++] = list;
}

static void feed(struct world *world, struct examples *examples, struct lists *pool)
{
    static const int64_t no_counts[ROWS_MAX * RAW_COLUMNS];
    struct example example;
    struct error err;

    for (int i = 0; i < world->published_count; i++) {
        const struct model_row *row = world->published[i].row;

        if (example_decode(&example, row->bytes, row->bytes_count, world->arena, &err) != OK)
            continue; /* judge.c has said so */
        assert(example.kind != EXAMPLE_SHOWN || example.rows_count <= ROWS_MAX);
        if (example.kind == EXAMPLE_SHOWN)
            examples_note(examples, example.user, example.time_ms, example.rows, example.rows_count,
                          no_counts);
        if (examples_add(examples, &example, pool, 0, &err) != OK)
            world_violation(world, "examples_add", "%s", err.text);
    }
}

static const struct list *list_of(const struct trained *trained, uint64_t id)
{
    for (int i = 0; i < trained->count; i++)
        if (trained->lists[i]->id == id)
            return trained->lists[i];
    return NULL;
}

static bool is_wanted(const struct trainer_label *labels, int count, uint64_t example, int row)
{
    for (int i = 0; i < count; i++)
        if (labels[i].example == example && labels[i].row == row)
            return true;
    return false;
}

/* Rows of the list: labelled where they should be, and nowhere else. */
static void compare(struct world *world, const struct list *list,
                    const struct trainer_label *labels, int labels_count)
{
    for (int r = 0; r < list->rows_count; r++) {
        bool wanted = is_wanted(labels, labels_count, list->id, r);

        if (wanted && !(list->labels[r] > 0))
            world_violation(world, "a label did not reach the trainer", "row %d of %016llx", r,
                            (unsigned long long)list->id);
        if (!wanted && list->labels[r] > 0)
            world_violation(world, "the trainer has a label too many", "row %d of %016llx", r,
                            (unsigned long long)list->id);
    }
}

void trainer_check(struct world *world, const uint64_t *examples, int examples_count,
                   const struct trainer_label *labels, int labels_count)
{
    struct examples_options options = {
        .rules = world->rules, .pending_max = EXAMPLES_MAX, .idle_ms = 1000};
    struct lists_options few = {.fresh_max = 1, .kept_max = 1, .seed = 1};
    struct item_tables_options items = {.items_max = 8, .seed = 1};
    struct trained *trained = arena_alloc(world->arena, sizeof *trained);
    struct item_tables *tables = NULL;
    struct examples *united = NULL;
    struct lists *pool = NULL;
    struct error err;

    trained->count = 0;
    if (examples_create(&united, &options, &err) == OK && lists_create(&pool, &few, &err) == OK &&
        item_tables_create(&tables, &items, &err) == OK) {
        feed(world, united, pool);
        if (examples_ripen(united, tables, INT64_MAX, 0, take, trained, &err) != OK)
            world_violation(world, "examples_ripen", "%s", err.text);
    } else {
        world_violation(world, "no trainer", "%s", err.text);
    }
    for (int i = 0; i < examples_count; i++) {
        const struct list *list = list_of(trained, examples[i]);

        if (list == NULL)
            world_violation(world, "an example did not reach the trainer", "%016llx",
                            (unsigned long long)examples[i]);
        else
            compare(world, list, labels, labels_count);
    }
    for (int i = 0; i < trained->count; i++)
        list_destroy(trained->lists[i]);
    examples_destroy(united);
    lists_destroy(pool);
    item_tables_destroy(tables);
}
