/* ops/vitals.c - from /proc and getrusage(). Names are those every Prometheus dashboard knows. */
#include "ops/vitals.h"

#include "ops/clock.h"
#include "ops/metric.h"
#include "ops/version.h"

#include <dirent.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

METRIC_GAUGE(resident, "process_resident_memory_bytes", "memory the process occupies");
METRIC_GAUGE(open_files, "process_open_fds", "open file descriptors");
METRIC_GAUGE(open_files_max, "process_max_fds", "file descriptors allowed");
METRIC_GAUGE(started, "process_start_time_seconds", "Unix time the process began");
METRIC_GAUGE(processor, "freshet_ops_cpu_seconds", "processor time used, user and system");

static const char *build_names[1] = {"unknown"};
METRIC_GAUGE_OF(build, "freshet_ops_build_info", "1; the label says which build", "version",
                build_names, 1);

int64_t vitals_resident_bytes(int pid)
{
    char path[40];
    long whole, pages;
    FILE *file;
    bool good;

    (void)snprintf(path, sizeof path, "/proc/%d/statm", pid);
    file = fopen(path, "re");
    if (file == NULL)
        return 0;
    good = fscanf(file, "%ld %ld", &whole, &pages) == 2;
    (void)fclose(file);
    return good ? (int64_t)pages * sysconf(_SC_PAGESIZE) : 0;
}

int64_t vitals_machine_bytes(void)
{
    int64_t bytes = (int64_t)sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE);
    FILE *file = fopen("/sys/fs/cgroup/memory.max", "re");
    long long most;

    if (file != NULL) {
        if (fscanf(file, "%lld", &most) == 1 && most < bytes) /* "max" is none */
            bytes = most;
        (void)fclose(file);
    }
    return bytes > 0 ? bytes : 0;
}

static int count_descriptors(void)
{
    DIR *folder = opendir("/proc/self/fd");
    int count = -3; /* ".", ".." and the folder itself */

    if (folder == NULL)
        return 0;
    while (readdir(folder) != NULL)
        count++;
    (void)closedir(folder);
    return count;
}

static double seconds_of(struct timeval time)
{
    return (double)time.tv_sec + 1e-6 * (double)time.tv_usec;
}

static void look(void)
{
    struct rusage usage;
    struct rlimit limit;

    metric_set(&resident, (double)vitals_resident_bytes((int)getpid()));
    metric_set(&open_files, count_descriptors());
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0)
        metric_set(&open_files_max, (double)limit.rlim_cur);
    if (getrusage(RUSAGE_SELF, &usage) == 0)
        metric_set(&processor, seconds_of(usage.ru_utime) + seconds_of(usage.ru_stime));
}

void vitals_watch(void)
{
    static bool watched;

    if (watched)
        return;
    watched = true;
    build_names[0] = version_text();
    metric_set_of(&build, 0, 1);
    metric_set(&started, (double)clock_wall_ms() / 1000);
    metric_on_render(look);
}
