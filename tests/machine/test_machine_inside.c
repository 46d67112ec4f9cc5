/* Tests machine/machine_inside: the queue of commands. */
#include "machine/machine_inside.h"

#include "tests/support/machine_driver.h"
#include "tests/test.h"

#include <string.h>

static void no_random(void *context, void *into, size_t bytes)
{
    (void)context;
    memset(into, 0, bytes);
}

static void take(struct machine *machine, int count, int64_t *got)
{
    struct machine_command command;

    for (int i = 0; i < count; i++) {
        CHECK(machine_next(machine, &command));
        CHECK_INT((*got)++, command.offset);
    }
}

/* A tick of many partitions is more than its first room; it grows while it wraps around. */
TEST(machine_gives_out_every_command_once_and_in_order_however_many_wait)
{
    struct machine_options options = {.shards = 2, .rules = driver_rules(), .random = no_random};
    struct machine_command command;
    struct machine *machine;
    int64_t put = 0, got = 0;
    struct error err;

    CHECK_STATUS(OK, machine_create(&machine, &options, &err));
    for (int round = 1; round <= 8; round++) {
        for (int i = 0; i < 40 * round; i++)
            machine_command(machine,
                            &(struct machine_command){.kind = COMMAND_HINT, .offset = put++});
        take(machine, 30 * round, &got);
    }
    take(machine, (int)(put - got), &got);
    CHECK(!machine_next(machine, &command));
    machine_destroy(machine);
}
