/* Tests ingest/loop_report where it needs no loop: what readiness is told, and the list of
 * stopped partitions. The rest is seen in test_loop.c. */
#include "ingest/loop_report.h"

#include "tests/support/machine_stage.h"
#include "tests/test.h"

#include <stdio.h>
#include <string.h>

static char last[200];
static bool last_ready;
static int told;

static void set_ready(void *context, bool ready, const char *reason)
{
    CHECK(context == &told);
    told++;
    last_ready = ready;
    (void)snprintf(last, sizeof last, "%s", reason);
}

TEST(loop_report_is_not_ready_when_it_starts_and_when_it_drains)
{
    struct loop_report *report = loop_report_create(set_ready, &told, 0.5, 60000);

    CHECK(report != NULL);
    CHECK(told == 1 && !last_ready);
    CHECK_TEXT("starting", last);
    loop_report_draining(report);
    CHECK(told == 2 && !last_ready);
    CHECK_TEXT("draining", last);
    loop_report_destroy(report);
    loop_report_destroy(NULL);
    report = loop_report_create(NULL, NULL, 0.5, 60000); /* nobody asks */
    loop_report_draining(report);
    loop_report_destroy(report);
}

/* What is another process's no longer needs an operator of ours. */
TEST(loop_report_lists_the_stopped_partitions_that_are_ours)
{
    struct loop_report *report = loop_report_create(NULL, NULL, 0.5, 60000);
    struct stage stage;

    stage_begin(&stage, NULL);
    CHECK_TEXT("", loop_report_stopped(report, stage.one.machine));
    for (int p = 0; p < 2; p++) {
        stage.one.group[p] = 1000; /* of which the store knows nothing */
        stage.one.high[p] = 10;
        driver_assign(&stage.one, p);
    }
    CHECK_INT(2, driver_count(&stage.one, COMMAND_STOP));
    CHECK_TEXT("0: state_lost, 1: state_lost", loop_report_stopped(report, stage.one.machine));
    machine_revoked(stage.one.machine, 0);
    CHECK_TEXT("1: state_lost", loop_report_stopped(report, stage.one.machine));
    machine_revoked(stage.one.machine, 1);
    CHECK_TEXT("", loop_report_stopped(report, stage.one.machine));
    stage_end(&stage);
    loop_report_destroy(report);
}

TEST(loop_report_passes_over_partitions_beyond_its_tables)
{
    struct loop_report *report = loop_report_create(NULL, NULL, 0.5, 60000);

    loop_report_partition(report, -1, true);
    loop_report_partition(report, INT32_MAX, true);
    loop_report_end(report, -1, 5);
    loop_report_end(report, INT32_MAX, 5);
    loop_report_reading(report, INT32_MAX);
    loop_report_destroy(report);
}
