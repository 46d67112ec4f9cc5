/* tests/cuemu/occupancy.c - see occupancy.h. */
#include "tests/cuemu/occupancy.h"

#include <glob.h>
#include <stdio.h>
#include <string.h>

#define WARP_LANES       32
#define REGISTERS_UNIT   256  /* a warp's are handed out in so many */
#define WARPS_UNIT       4    /* each scheduler has as many */
#define SHARED_UNIT      128  /* bytes */
#define SHARED_OF_SYSTEM 1024 /* bytes of every block */

/* A100 SXM 80 GB: 108 multiprocessors of 64 lanes at 1.41 GHz; H100 SXM: 132 of 128 at 1.98. */
const struct occupancy_device occupancy_a100 = {"A100", "80", 2.039e12, 108 * 64 * 1.41e9,
                                                64,     32,   65536,    164 << 10};
const struct occupancy_device occupancy_h100 = {"H100", "90", 3.35e12, 132 * 128 * 1.98e9,
                                                64,     32,   65536,   228 << 10};

static int round_up(int value, int unit)
{
    return (value + unit - 1) / unit * unit;
}

static int smaller(int a, int b)
{
    return a < b ? a : b;
}

int occupancy_percent(const struct occupancy_device *device, int registers, int shared_bytes,
                      int block_threads)
{
    int warps = (block_threads + WARP_LANES - 1) / WARP_LANES;
    int of_warp = round_up(registers * WARP_LANES, REGISTERS_UNIT);
    int shared = round_up(shared_bytes + SHARED_OF_SYSTEM, SHARED_UNIT);
    int by_registers = of_warp == 0 ? device->warps
                                    : device->registers / of_warp / WARPS_UNIT * WARPS_UNIT;
    int blocks = smaller(device->blocks, device->shared_bytes / shared);

    blocks = smaller(blocks, smaller(by_registers, device->warps) / warps);
    return 100 * blocks * warps / device->warps;
}

/* "ptxas info : Compiling entry function 'X' for 'sm_80'", then "... Used N registers, ..., M bytes
 * smem, ..." */
static bool look_for(FILE *file, const char *kernel, struct occupancy *of)
{
    char line[1024], wanted[300];
    bool inside = false;

    (void)snprintf(wanted, sizeof wanted, "entry function '%s' for", kernel);
    while (fgets(line, sizeof line, file) != NULL) {
        const char *used = strstr(line, "Used "), *shared = strstr(line, " bytes smem");

        if (strstr(line, "entry function '") != NULL)
            inside = strstr(line, wanted) != NULL;
        if (!inside || used == NULL || sscanf(used, "Used %d registers", &of->registers) != 1)
            continue;
        of->shared_bytes = 0;
        while (shared != NULL && shared > line && shared[-1] != ' ')
            shared--;
        if (shared != NULL)
            (void)sscanf(shared, "%d", &of->shared_bytes);
        return true;
    }
    return false;
}

bool occupancy_of(struct occupancy *of, const char *folder, const struct occupancy_device *device,
                  const char *kernel, int block_threads, int dynamic_bytes)
{
    bool found = false;
    char pattern[512];
    glob_t files;

    (void)snprintf(pattern, sizeof pattern, "%s/%s/*.ptxas", folder, device->target);
    if (glob(pattern, 0, NULL, &files) != 0)
        return false;
    for (size_t i = 0; i < files.gl_pathc && !found; i++) {
        FILE *file = fopen(files.gl_pathv[i], "r");

        if (file == NULL)
            continue;
        found = look_for(file, kernel, of);
        (void)fclose(file);
    }
    globfree(&files);
    if (found)
        of->percent = occupancy_percent(device, of->registers, of->shared_bytes + dynamic_bytes,
                                        block_threads);
    return found;
}
