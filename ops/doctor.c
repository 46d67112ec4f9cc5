/* ops/doctor.c - the checks of the floor itself, and how findings are filled. */
#include "ops/doctor.h"

#include "ops/clock.h"
#include "ops/ops_main.h"
#include "ops/vitals.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/timex.h>

#define DESCRIPTORS_WANTED 4096
#define BUILT_AFTER_MS     1704067200000 /* 2024: no build of this program is older */

void doctor_find(struct doctor_finding *finding, enum doctor_result result, const char *remedy,
                 const char *fmt, ...)
{
    va_list args;

    *finding = (struct doctor_finding){.result = result};
    va_start(args, fmt);
    (void)vsnprintf(finding->text, sizeof finding->text, fmt, args);
    va_end(args);
    if (remedy != NULL)
        (void)snprintf(finding->remedy, sizeof finding->remedy, "%s", remedy);
}

static void check_clock(const struct config *config, struct doctor_finding *finding)
{
    struct timex state = {0};

    (void)config;
    if (clock_wall_ms() < BUILT_AFTER_MS)
        doctor_fail(finding, "set the time, and run an NTP service such as systemd-timesyncd",
                    "the clock says a year before 2024");
    else if (adjtimex(&state) < 0)
        doctor_unknown(finding, NULL, "the kernel does not say whether the clock is synchronised");
    else if ((state.status & STA_UNSYNC) != 0)
        doctor_warn(finding,
                    "run an NTP service on the host; events from the future become dead letters",
                    "the kernel says that the clock is not synchronised");
    else
        doctor_ok(finding, "synchronised");
}

static void check_descriptors(const struct config *config, struct doctor_finding *finding)
{
    struct rlimit limit;

    (void)config;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        doctor_unknown(finding, NULL, "the limit of open files is not known");
    else if (limit.rlim_cur != RLIM_INFINITY && limit.rlim_cur < DESCRIPTORS_WANTED)
        doctor_warn(finding, "LimitNOFILE=65536 in the service, or ulimit -n 65536",
                    "at most %llu open files; a busy server needs %d",
                    (unsigned long long)limit.rlim_cur, DESCRIPTORS_WANTED);
    else
        doctor_ok(finding, "%llu open files allowed", (unsigned long long)limit.rlim_cur);
}

/* Is the file of a secret readable by others? */
static bool is_open_to_all(const char *reference)
{
    struct stat info;

    return strncmp(reference, "file:", 5) == 0 && stat(reference + 5, &info) == 0 &&
           (info.st_mode & (S_IRWXO | S_IWGRP)) != 0;
}

static void check_secrets(const struct config *config, struct doctor_finding *finding)
{
    struct config_entry entry;
    struct error err;
    int count = 0;

    for (int i = 0; config_entry(config, i, &entry); i++) {
        char *value;

        if (entry.row->type != CONFIG_SECRET || entry.value[0] == 0)
            continue;
        if (config_secret(config, entry.key, &value, &err) != OK) {
            doctor_fail(finding, "give this user the file or the variable, or clear the key", "%s",
                        err.text);
            return;
        }
        free(value);
        if (is_open_to_all(entry.value)) {
            doctor_warn(finding, "chmod 0400 it", "%s: others may read or write %s", entry.key,
                        entry.value);
            return;
        }
        count++;
    }
    if (count == 0)
        doctor_skip(finding, "none is configured");
    else
        doctor_ok(finding, "%d can be read", count);
}

/* Each size is memory that a role may take. They are not added up: roles may be on machines of
 * their own, and what serve keeps of histories is a GPU's memory where that scores. */
static void check_memory(const struct config *config, struct doctor_finding *finding)
{
    const double mib = 1 << 20;
    int64_t machine = vitals_machine_bytes(), largest = 0;
    struct config_entry entry, most = {.key = ""};

    for (int i = 0; config_entry(config, i, &entry); i++)
        if (entry.row->type == CONFIG_BYTES && entry.value[0] != 0 &&
            config_size_bytes(config, entry.key) > largest) {
            largest = config_size_bytes(config, entry.key);
            most = entry;
        }
    if (machine == 0)
        doctor_unknown(finding, NULL, "how much memory there is cannot be read");
    else if (largest > machine)
        doctor_warn(finding, "set it to less, unless its role runs elsewhere or scores on a GPU",
                    "%s is %s (%.0f MiB), more than this machine's memory of %.0f MiB", most.key,
                    most.value, (double)largest / mib, (double)machine / mib);
    else
        doctor_ok(finding, "%.0f MiB; the largest setting, %s, is %.0f MiB", (double)machine / mib,
                  most.key, (double)largest / mib);
}

const struct doctor_check ops_doctor_checks[] = {
    {"clock", "the time is plausible and synchronised", check_clock, NULL},
    {"open-files", "enough file descriptors are allowed", check_descriptors, NULL},
    {"memory", "no setting asks for more than there is", check_memory, NULL},
    {"secrets", "every secret that is named can be read, by us alone", check_secrets, NULL},
    {0},
};
