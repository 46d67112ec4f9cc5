/* tests/fuzz/fuzz.c - seeds and files of the fuzzers. */
#include "tests/fuzz/fuzz.h"

#include <unistd.h>

static int seeds_count;

static void write_file(const char *path, const void *bytes, size_t count)
{
    FILE *out = fopen(path, "wb");

    FUZZ_CHECK(out != NULL && fwrite(bytes, 1, count, out) == count && fclose(out) == 0);
}

void fuzz_seed(const void *bytes, size_t count)
{
    const char *folder = getenv("FUZZ_SEEDS");
    char path[512];

    if (folder == NULL)
        return;
    (void)snprintf(path, sizeof path, "%s/seed-%02d", folder, seeds_count++);
    write_file(path, bytes, count);
}

void fuzz_seed_text(const char *text)
{
    fuzz_seed(text, strlen(text));
}

void fuzz_seeds_done(void)
{
    if (getenv("FUZZ_SEEDS") != NULL)
        exit(0);
}

static char path[64];

static void remove_file(void)
{
    (void)unlink(path);
}

const char *fuzz_file(const void *bytes, size_t count)
{
    if (path[0] == 0) {
        int fd;

        (void)snprintf(path, sizeof path, "/dev/shm/freshet-fuzz-XXXXXX");
        fd = mkstemp(path);
        FUZZ_CHECK(fd >= 0 && close(fd) == 0 && atexit(remove_file) == 0);
    }
    write_file(path, bytes, count);
    return path;
}
