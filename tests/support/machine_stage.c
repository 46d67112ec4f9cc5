/* tests/support/machine_stage.c - see machine_stage.h. */
#include "tests/support/machine_stage.h"

#include "ops/arena.h"

void stage_begin(struct stage *stage, const struct machine_options *options)
{
    stage->arena = arena_create(1 << 16, 1 << 28);
    store_model_init(&stage->node, stage->arena);
    driver_open(&stage->one, &stage->node, stage->arena, options);
    driver_open(&stage->two, &stage->node, stage->arena, options);
}

void stage_end(struct stage *stage)
{
    driver_close(&stage->one);
    driver_close(&stage->two);
    arena_destroy(stage->arena);
}
