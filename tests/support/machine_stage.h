/*
 * tests/support/machine_stage.h - what a directed schedule is played on: one modelled node and two
 * processes, of which many tests need one.
 */
#ifndef TESTS_SUPPORT_MACHINE_STAGE_H
#define TESTS_SUPPORT_MACHINE_STAGE_H

#include "tests/support/machine_driver.h"

struct stage {
    struct arena *arena;
    struct store_model node;
    struct driver one, two; /* connected, without partitions */
};

/* options: of both, as for driver_open(); NULL: its defaults, with a tick every second. A tick
 * would come in between, so where it matters tests let a second pass. */
void stage_begin(struct stage *stage, const struct machine_options *options);
void stage_end(struct stage *stage);

#endif
