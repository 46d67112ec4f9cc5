/*
 * tests/simulate/simulate.c - explores schedules of failures: make simulate SEEDS=n
 *
 *     simulate --seeds N [--first S] [--jobs J]   run N schedules; a failing one is made short and
 *                                                 shown; exit 1
 *     simulate --sweep N ...                      then the first N again, with a crash of each
 *                                                 process behind each step
 *     simulate --table                            count every transition, not only those missing
 *     simulate --show SEED                        the history of one, step by step
 *     simulate --shrink SEED                      a short history in which the same goes wrong
 *     simulate --crash STEP,P --show SEED         the same with that crash; so --shrink
 *     simulate --until-found --seeds N            for mutants: stop at the first violation
 *     simulate --log FILE                         a line now and then, for long runs
 *
 * From ALL_TAKEN schedules on, a transition of the machine that was never taken is a failure too:
 * the simulator would be blind there.
 */
#include "tests/simulate/world.h"

#include "ops/hash.h"

#include <malloc.h>
#include <signal.h>
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
#define ALL_TAKEN   100000
#define FAULTS_MAX  64
#define LOG_EVERY   500000

struct tally {
    int64_t schedules, violations;
    int64_t steps[SLOTS_MAX + 1]; /* schedules by steps */
    int64_t faults[FAULTS_MAX];   /* schedules by faults; the last: that many or more */
    struct coverage coverage;
    uint64_t first_seed;
    struct plan first_plan; /* its crash */
    char first_what[160];
};

struct request { /* of the command line */
    uint64_t first, seeds, sweep;
    struct plan plan; /* a crash, for --show and --shrink */
    int jobs;
    bool until_found, table;
    const char *log;
};

static volatile sig_atomic_t ended; /* by a signal: report what was reached */

static void end(int number)
{
    (void)number;
    ended = 1;
}

/* ---- a stage ---- */

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

static void stage_open(struct stage *stage, struct coverage *coverage)
{
    *stage = (struct stage){.world = malloc(sizeof *stage->world),
                            .arena = arena_create(ARENA_BLOCK, ARENA_LIMIT),
                            .coverage = coverage};
    if (stage->world == NULL)
        exit(70);
    make_rules(stage->rules);
}

static void stage_close(struct stage *stage)
{
    arena_destroy(stage->arena);
    free(stage->world);
}

/* ---- many schedules ---- */

static double seconds(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void add(struct tally *tally, const struct world *world)
{
    int faults = world->faults < FAULTS_MAX ? world->faults : FAULTS_MAX - 1;

    tally->schedules++;
    tally->steps[world->steps]++;
    tally->faults[faults]++;
    if (world->violation == NULL)
        return;
    if (tally->violations++ == 0) {
        tally->first_seed = world->seed;
        if (world->plan != NULL)
            tally->first_plan = *world->plan;
        (void)snprintf(tally->first_what, sizeof tally->first_what, "%s (%.100s)", world->violation,
                       world->detail);
    }
}

static void log_progress(const char *path, const struct tally *tally, uint64_t seed, double began)
{
    FILE *file = path == NULL ? NULL : fopen(path, "a");

    if (file == NULL)
        return;
    (void)fprintf(file, "%lld schedules, up to seed %llu: %lld violations, %.0f s\n",
                  (long long)tally->schedules, (unsigned long long)seed,
                  (long long)tally->violations, seconds() - began);
    if (tally->violations > 0)
        (void)fprintf(file, "    first: seed %llu: %s\n", (unsigned long long)tally->first_seed,
                      tally->first_what);
    (void)fclose(file);
}

/* Each process dies behind each step of the schedule, in runs of their own. */
static void sweep(struct tally *tally, struct stage *stage, uint64_t seed)
{
    struct plan plan = {0};

    for (plan.crash_after = 1; plan.crash_after <= SLOTS_MAX && !ended; plan.crash_after++)
        for (plan.crash_of = 0; plan.crash_of < PROCESSES; plan.crash_of++) {
            int slots;

            (void)world_run(stage, seed, &plan, false);
            slots = stage->world->slots;
            if (plan.crash_after > slots)
                return;
            add(tally, stage->world);
        }
}

static void explore(struct tally *tally, const struct request *request, int job)
{
    double began = seconds();
    struct stage stage;

    stage_open(&stage, &tally->coverage);
    for (uint64_t i = (uint64_t)job; i < request->seeds && !ended; i += (uint64_t)request->jobs) {
        (void)world_run(&stage, request->first + i, NULL, false);
        add(tally, stage.world);
        if (request->until_found && tally->violations > 0)
            break;
        if (tally->schedules % LOG_EVERY == 0)
            log_progress(request->log, tally, request->first + i, began);
    }
    for (uint64_t i = (uint64_t)job; i < request->sweep && !ended; i += (uint64_t)request->jobs)
        sweep(tally, &stage, request->first + i);
    stage_close(&stage);
}

static void sum_up(struct tally *sum, const struct tally *tally)
{
    if (tally->violations > 0 && (sum->violations == 0 || tally->first_seed < sum->first_seed)) {
        sum->first_seed = tally->first_seed;
        sum->first_plan = tally->first_plan;
        memcpy(sum->first_what, tally->first_what, sizeof sum->first_what);
    }
    sum->schedules += tally->schedules;
    sum->violations += tally->violations;
    for (int i = 0; i <= SLOTS_MAX; i++)
        sum->steps[i] += tally->steps[i];
    for (int i = 0; i < FAULTS_MAX; i++)
        sum->faults[i] += tally->faults[i];
    coverage_add(&sum->coverage, &tally->coverage);
}

/* A tally through a pipe; false: the other end is gone. */
static bool transfer(int fd, struct tally *tally, bool out)
{
    char *at = (char *)tally;
    size_t left = sizeof *tally;

    while (left > 0) {
        ssize_t moved = out ? write(fd, at, left) : read(fd, at, left);
        if (moved <= 0)
            return false;
        at += moved;
        left -= (size_t)moved;
    }
    return true;
}

/* Every job takes each J-th seed. */
static int explore_in_jobs(const struct request *request, struct tally *sum)
{
    int pipes[JOBS_MAX][2];
    pid_t children[JOBS_MAX];
    bool died = false;

    for (int j = 0; j < request->jobs; j++) {
        if (pipe(pipes[j]) != 0)
            return -1;
        children[j] = fork();
        if (children[j] < 0)
            return -1;
        if (children[j] == 0) {
            struct tally tally = {0};
            explore(&tally, request, j);
            _exit(transfer(pipes[j][1], &tally, true) ? 0 : 70);
        }
        (void)close(pipes[j][1]);
    }
    for (int j = 0; j < request->jobs; j++) {
        struct tally tally;
        int status;

        if (transfer(pipes[j][0], &tally, false))
            sum_up(sum, &tally);
        else
            died = true;
        (void)close(pipes[j][0]);
        (void)waitpid(children[j], &status, 0);
    }
    if (died)
        (void)fprintf(stderr, "simulate: a job died\n");
    return died ? -1 : 0;
}

/* ---- one schedule ---- */

static void print_history(struct stage *stage, uint64_t seed, const struct plan *plan)
{
    struct world *world = stage->world;

    (void)world_run(stage, seed, plan, true);
    for (int l = 0; l < world->logs_count; l++)
        for (int i = world->logs[l].low; i < world->logs[l].count; i++)
            (void)printf("p%d/%d  %s\n", l, i,
                         world->logs[l].entries[i].kind == ENTRY_GAP
                             ? "(gap)"
                             : world->logs[l].entries[i].text);
}

static int show(uint64_t seed, const struct plan *plan)
{
    struct coverage coverage = {0};
    struct stage stage;
    const struct world *world;
    bool broken;

    stage_open(&stage, &coverage);
    world = stage.world;
    print_history(&stage, seed, plan);
    broken = world->violation != NULL;
    if (broken)
        (void)printf("seed %llu: %s (%s)\n", (unsigned long long)seed, world->violation,
                     world->detail);
    else
        (void)printf("seed %llu: no violation, %d steps, %d faults\n", (unsigned long long)seed,
                     world->steps, world->faults);
    stage_close(&stage);
    return broken;
}

static int show_shrunk(uint64_t seed, struct plan plan)
{
    struct coverage coverage = {0};
    struct stage stage;
    const struct world *world;
    int steps, faults, runs, records = 0;

    stage_open(&stage, &coverage);
    world = stage.world;
    (void)world_run(&stage, seed, &plan, false);
    steps = world->steps;
    faults = world->faults;
    runs = shrink(&stage, seed, &plan);
    if (runs == 0) {
        (void)printf("seed %llu: no violation, %d steps, %d faults\n", (unsigned long long)seed,
                     steps, faults);
        stage_close(&stage);
        return 0;
    }
    print_history(&stage, seed, &plan);
    for (int l = 0; l < world->logs_count; l++)
        for (int i = world->logs[l].start; i < world->logs[l].count; i++)
            records += world->logs[l].entries[i].kind != ENTRY_GAP;
    (void)printf("seed %llu: %s (%s)\n", (unsigned long long)seed, world->violation, world->detail);
    (void)printf("shrunk to %d steps, %d faults, %d records from %d steps, %d faults, in %d runs\n",
                 world->steps, world->faults, records, steps, faults, runs);
    stage_close(&stage);
    return 1;
}

/* ---- what came of it ---- */

/* The value below which this share of the schedules lies. */
static int percentile(const int64_t *counts, int values, int64_t all, int percent)
{
    int64_t below = 0;

    for (int i = 0; i < values; i++) {
        below += counts[i];
        if (below * 100 >= all * percent)
            return i;
    }
    return values - 1;
}

static void print_spread(const char *what, const int64_t *counts, int values, int64_t all)
{
    static const int percents[] = {1, 10, 50, 90, 99, 100};
    double sum = 0;

    for (int i = 0; i < values; i++)
        sum += (double)i * (double)counts[i];
    (void)printf("%-7s mean %.1f;", what, sum / (double)(all > 0 ? all : 1));
    for (size_t i = 0; i < sizeof percents / sizeof percents[0]; i++)
        (void)printf(" %d%%: %d%s", percents[i], percentile(counts, values, all, percents[i]),
                     percents[i] == 100 ? "\n" : ",");
}

static void print_faults(const struct coverage *coverage)
{
    static const char *const names[FAULT_COUNT] = {
#define X(id, name) name,
        FAULT_LIST(X)
#undef X
    };

    (void)printf("faults ");
    for (int i = 0; i < FAULT_COUNT; i++)
        (void)printf(" %s %lld%s", names[i], (long long)coverage->faults[i],
                     i + 1 < FAULT_COUNT ? "," : "\n");
}

/* Returns how many failures that were: violations, and transitions that were never taken. */
static int64_t report(const struct request *request, const struct tally *sum, double took)
{
    int missing;

    print_spread("steps", sum->steps, SLOTS_MAX + 1, sum->schedules);
    print_spread("faults", sum->faults, FAULTS_MAX, sum->schedules);
    print_faults(&sum->coverage);
    missing = coverage_print(&sum->coverage, request->table);
    if (missing == 0)
        (void)printf("every transition, answer, command, stop and fault was taken\n");
    else if (sum->schedules < ALL_TAKEN)
        (void)printf("%d never taken: more schedules may\n", missing);
    (void)printf(
        "%lld schedules from seed %llu, %lld violations, %.1f s, %.0f schedules a minute\n",
        (long long)sum->schedules, (unsigned long long)request->first, (long long)sum->violations,
        took, (double)sum->schedules / took * 60);
    return sum->violations + (sum->schedules >= ALL_TAKEN ? missing : 0);
}

static void print_first(const struct tally *sum)
{
    char crash[48] = "";

    if (sum->first_plan.crash_after > 0)
        (void)snprintf(crash, sizeof crash, "--crash %d,%d ", sum->first_plan.crash_after,
                       sum->first_plan.crash_of);
    (void)printf("first: seed %llu: %s; see it with %s--show %llu or %s--shrink %llu\n",
                 (unsigned long long)sum->first_seed, sum->first_what, crash,
                 (unsigned long long)sum->first_seed, crash, (unsigned long long)sum->first_seed);
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

static int run(const struct request *request)
{
    static struct tally sum;
    double began = seconds();
    int64_t failed;

    if (request->jobs == 1)
        explore(&sum, request, 0);
    else if (explore_in_jobs(request, &sum) != 0)
        return 70;
    failed = report(request, &sum, seconds() - began);
    if (sum.violations > 0)
        print_first(&sum);
    if (sum.violations > 0 && !request->until_found)
        (void)show_shrunk(sum.first_seed, sum.first_plan);
    (void)printf("%lld passed, %lld failed, 0 skipped\n",
                 (long long)(sum.schedules - sum.violations), (long long)failed);
    return failed > 0;
}

int main(int argc, char **argv)
{
    struct request request = {.first = 1, .seeds = 1000, .jobs = 1};
    struct error err;

    /* Machines come and go with every crash: their memory must not be mapped anew each time. */
    (void)mallopt(M_MMAP_THRESHOLD, 64 << 20);
    (void)mallopt(M_TRIM_THRESHOLD, 256 << 20);
    if (hash_start(&err) != OK)
        return 70;
    (void)signal(SIGTERM, end);
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";

        if (strcmp(argv[i], "--until-found") == 0)
            request.until_found = true;
        else if (strcmp(argv[i], "--table") == 0)
            request.table = true;
        else if (strcmp(argv[i], "--show") == 0)
            return show(number(value), &request.plan);
        else if (strcmp(argv[i], "--shrink") == 0)
            return show_shrunk(number(value), request.plan);
        else if (strcmp(argv[i], "--log") == 0)
            request.log = argv[++i];
        else if (strcmp(argv[i], "--seeds") == 0)
            request.seeds = number(argv[++i] == NULL ? "" : argv[i]);
        else if (strcmp(argv[i], "--sweep") == 0)
            request.sweep = number(argv[++i] == NULL ? "" : argv[i]);
        else if (strcmp(argv[i], "--crash") == 0)
            (void)sscanf(argv[++i] == NULL ? "" : argv[i], "%d,%d", &request.plan.crash_after,
                         &request.plan.crash_of);
        else if (strcmp(argv[i], "--first") == 0)
            request.first = number(argv[++i] == NULL ? "" : argv[i]);
        else if (strcmp(argv[i], "--jobs") == 0)
            request.jobs = (int)number(argv[++i] == NULL ? "" : argv[i]);
        else {
            (void)fprintf(stderr, "simulate: --seeds N, --sweep N, --first S, --jobs J, --table, "
                                  "--log FILE, --until-found, --crash STEP,P, --show SEED, "
                                  "--shrink SEED\n");
            return 2;
        }
    }
    if (request.jobs < 1 || request.jobs > JOBS_MAX)
        request.jobs = 1;
    return run(&request);
}
