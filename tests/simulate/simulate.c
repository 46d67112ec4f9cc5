/*
 * tests/simulate/simulate.c - explores schedules of failures: make simulate SEEDS=n
 *
 *     simulate --seeds N [--first S] [--jobs J]   run N schedules; exit 1 on a violation
 *     simulate --show SEED                        the history of one, step by step
 *     simulate --until-found --seeds N            for mutants: stop at the first violation
 */
#include "tests/simulate/world.h"

#include "ops/hash.h"

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define ARENA_BLOCK (1 << 20)
#define ARENA_LIMIT (256 << 20)
#define JOBS_MAX    16
#define SEED        UINT64_C(0x9e3779b97f4a7c15) /* of user and item hashes */

struct tally {
    int64_t schedules, steps, faults, violations;
    int64_t fenced, behind, ahead, aborted, stamps, repaired, quarantined, stops, commits;
    uint64_t first_seed;
    char first_what[160];
};

/* Long and short sequences: the shorter, the more patches. */
static void make_rules(struct rules rules[2])
{
    struct event_schema *schema;
    struct error err;

    if (event_schema_default(&schema, &err) != OK) {
        (void)fprintf(stderr, "simulate: %s\n", err.text);
        exit(70);
    }
    for (int i = 0; i < 2; i++) {
        rules_init(&rules[i], schema, SEED);
        rules[i].sequence_max = i == 0 ? 4 : 2;
        rules[i].joins_max = 16;
        rules[i].join_window_ms = 40 * UNIT_MS;
        rules[i].late_max_ms = 25 * UNIT_MS;
    }
    event_schema_destroy(schema);
}

static void add(struct tally *tally, const struct world *world)
{
    tally->schedules++;
    tally->steps += world->steps;
    tally->faults += world->faults;
    if (world->violation == NULL)
        return;
    if (tally->violations++ == 0) {
        tally->first_seed = world->seed;
        (void)snprintf(tally->first_what, sizeof tally->first_what, "%s (%.100s)", world->violation,
                       world->detail);
    }
}

static void explore(struct tally *tally, uint64_t first, uint64_t count, uint64_t stride,
                    bool until_found)
{
    struct world *world = malloc(sizeof *world);
    struct arena *arena = arena_create(ARENA_BLOCK, ARENA_LIMIT);
    struct rules rules[2];

    make_rules(rules);
    for (uint64_t i = 0; i < count && world != NULL; i++) {
        (void)world_run(world, first + i * stride, arena, rules, false);
        add(tally, world);
        if (until_found && tally->violations > 0)
            break;
    }
    arena_destroy(arena);
    free(world);
}

/* Every job takes each J-th seed; tallies come back through pipes. */
static int explore_in_jobs(uint64_t first, uint64_t seeds, int jobs, struct tally *sum)
{
    int pipes[JOBS_MAX][2];
    pid_t children[JOBS_MAX];

    for (int j = 0; j < jobs; j++) {
        struct tally tally = {0};
        uint64_t count = (seeds + (uint64_t)(jobs - 1 - j)) / (uint64_t)jobs;

        if (pipe(pipes[j]) != 0)
            return -1;
        children[j] = fork();
        if (children[j] < 0)
            return -1;
        if (children[j] > 0) {
            (void)close(pipes[j][1]);
            continue;
        }
        explore(&tally, first + (uint64_t)j, count, (uint64_t)jobs, false);
        _exit(write(pipes[j][1], &tally, sizeof tally) == (ssize_t)sizeof tally ? 0 : 70);
    }
    for (int j = 0; j < jobs; j++) {
        struct tally tally;
        int status;

        if (read(pipes[j][0], &tally, sizeof tally) != (ssize_t)sizeof tally) {
            (void)fprintf(stderr, "simulate: a job died\n");
            (void)waitpid(children[j], &status, 0);
            return -1;
        }
        (void)close(pipes[j][0]);
        (void)waitpid(children[j], &status, 0);
        if (tally.violations > 0 && (sum->violations == 0 || tally.first_seed < sum->first_seed)) {
            sum->first_seed = tally.first_seed;
            memcpy(sum->first_what, tally.first_what, sizeof sum->first_what);
        }
        sum->schedules += tally.schedules;
        sum->steps += tally.steps;
        sum->faults += tally.faults;
        sum->violations += tally.violations;
    }
    return 0;
}

static int show(uint64_t seed)
{
    struct world *world = malloc(sizeof *world);
    struct arena *arena = arena_create(ARENA_BLOCK, ARENA_LIMIT);
    struct rules rules[2];
    int code;

    make_rules(rules);
    if (world == NULL)
        return 70;
    (void)world_run(world, seed, arena, rules, true);
    for (int l = 0; l < world->logs_count; l++)
        for (int i = world->logs[l].low; i < world->logs[l].count; i++)
            (void)printf("p%d/%d  %s\n", l, i,
                         world->logs[l].entries[i].kind == ENTRY_GAP
                             ? "(gap)"
                             : world->logs[l].entries[i].text);
    code = world->violation != NULL;
    if (code != 0)
        (void)printf("seed %llu: %s (%s)\n", (unsigned long long)seed, world->violation,
                     world->detail);
    else
        (void)printf("seed %llu: no violation, %d steps, %d faults\n", (unsigned long long)seed,
                     world->steps, world->faults);
    arena_destroy(arena);
    free(world);
    return code;
}

static double seconds(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static uint64_t number(const char *text)
{
    char *end;
    uint64_t value = strtoull(text, &end, 10);

    if (*text == 0 || *end != 0) {
        (void)fprintf(stderr, "simulate: \"%s\" is no number\n", text);
        exit(2);
    }
    return value;
}

int main(int argc, char **argv)
{
    uint64_t seeds = 1000, first = 1;
    struct tally sum = {0};
    bool until_found = false;
    int jobs = 1;
    struct error err;
    double began;

    /* Machines come and go with every crash: their memory must not be mapped anew each time. */
    (void)mallopt(M_MMAP_THRESHOLD, 64 << 20);
    (void)mallopt(M_TRIM_THRESHOLD, 256 << 20);
    if (hash_start(&err) != OK)
        return 70;
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        if (strcmp(argv[i], "--until-found") == 0) {
            until_found = true;
            continue;
        }
        if (strcmp(argv[i], "--seeds") == 0)
            seeds = number(value);
        else if (strcmp(argv[i], "--first") == 0)
            first = number(value);
        else if (strcmp(argv[i], "--jobs") == 0)
            jobs = (int)number(value);
        else if (strcmp(argv[i], "--show") == 0)
            return show(number(value));
        else {
            (void)fprintf(stderr, "simulate: --seeds N, --first S, --jobs J, --until-found, "
                                  "--show SEED\n");
            return 2;
        }
        i++;
    }
    if (jobs < 1 || jobs > JOBS_MAX)
        jobs = 1;
    began = seconds();
    if (jobs == 1)
        explore(&sum, first, seeds, 1, until_found);
    else if (explore_in_jobs(first, seeds, jobs, &sum) != 0)
        return 70;
    (void)printf("%lld schedules from seed %llu, mean %.0f steps, %.1f faults, %lld violations, "
                 "%.1f s\n",
                 (long long)sum.schedules, (unsigned long long)first,
                 (double)sum.steps / (double)sum.schedules,
                 (double)sum.faults / (double)sum.schedules, (long long)sum.violations,
                 seconds() - began);
    if (sum.violations > 0)
        (void)printf("first: seed %llu: %s; see it with --show %llu\n",
                     (unsigned long long)sum.first_seed, sum.first_what,
                     (unsigned long long)sum.first_seed);
    (void)printf("%lld passed, %lld failed, 0 skipped\n",
                 (long long)(sum.schedules - sum.violations), (long long)sum.violations);
    return sum.violations > 0;
}
