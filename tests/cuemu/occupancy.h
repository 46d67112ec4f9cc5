/*
 * tests/cuemu/occupancy.h - how many threads of a multiprocessor a kernel can keep busy.
 *
 * Registers and shared memory are what ptxas says (exact, for that version of it); limits are those
 * of NVIDIA's tables of compute capabilities; so is how both are handed out. What a device makes of
 * it is not known here.
 */
#ifndef TESTS_CUEMU_OCCUPANCY_H
#define TESTS_CUEMU_OCCUPANCY_H

#include <stdbool.h>

/* A device of NVIDIA's data sheets. */
struct occupancy_device {
    const char *name, *target; /* target: the folder of ptxas's reports */
    double bytes_a_second;     /* of its memory */
    double floats_a_second;    /* instructions of single precision, one of a multiply-add */
    int warps, blocks, registers, shared_bytes; /* of a multiprocessor */
};
extern const struct occupancy_device occupancy_a100, occupancy_h100;

struct occupancy {
    int registers, shared_bytes; /* of a thread, of a block; as ptxas reports */
    int percent;                 /* of the multiprocessor's threads */
};

/* What ptxas said of the kernel in FOLDER/TARGET/ *.ptxas; false where it said nothing. */
bool occupancy_of(struct occupancy *of, const char *folder, const struct occupancy_device *device,
                  const char *kernel, int block_threads, int dynamic_bytes);

/* The part that is arithmetic. */
int occupancy_percent(const struct occupancy_device *device, int registers, int shared_bytes,
                      int block_threads);

#endif
