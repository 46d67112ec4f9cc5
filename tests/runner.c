/*
 * tests/runner.c - runs the registered tests.
 *
 *     build/tests/run [--list | --jobs=N] [part of a name ...]
 *
 * First proves that it can see a failing check and a NaN, and that the next test has the real clock
 * again. A test that leaves a file descriptor open fails. Ends with "N passed, N failed, N
 * skipped"; exit 1 when one failed. A part that is in no name is told and nothing is run, exit 2: a
 * mutant's test that was renamed must not look as if it had failed.
 *
 * One after the other, in this process, unless N > 1: then N takers give file after file a process
 * of its own (a thread that one leaves behind would make the forks of another those of several
 * threads, which the thread sanitizer refuses), and one that dies fails the test it was at.
 */
#include "tests/test.h"

#include "ops/clock.h"

#include <fcntl.h>
#include <ftw.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define TESTS_MAX  8192
#define SEED_FIXED 20130228u
#define JOBS_MAX   64

enum outcome { PASSED, FAILED, SKIPPED };

struct test {
    const char *name;
    const char *file;
    void (*run)(void);
};

static struct test tests[TESTS_MAX];
static int tests_count;
static jmp_buf leave;
static char message[1024];
static char folder[64];

void test_register(const char *name, const char *file, void (*run)(void))
{
    if (tests_count == TESTS_MAX) {
        (void)fprintf(stderr, "more than %d tests: raise TESTS_MAX\n", TESTS_MAX);
        abort();
    }
    tests[tests_count++] = (struct test){name, file, run};
}

_Noreturn void test_fail(const char *file, int line, const char *fmt, ...)
{
    va_list args;
    int used = snprintf(message, sizeof message, "%s:%d: ", file, line);

    va_start(args, fmt);
    (void)vsnprintf(message + used, sizeof message - (size_t)used, fmt, args);
    va_end(args);
    longjmp(leave, FAILED);
}

_Noreturn void test_skip(const char *file, int line, const char *why)
{
    (void)file;
    (void)line;
    (void)snprintf(message, sizeof message, "%s", why);
    longjmp(leave, SKIPPED);
}

void test_check_status(const char *file, int line, enum status want, enum status got,
                       const char *call)
{
    if (want != got)
        test_fail(file, line, "%s: want %s, got %s", call, status_name(want), status_name(got));
}

void test_check_near(const char *file, int line, double want, double got, double tolerance)
{
    /* Infinities of one sign are equal; the comparison is written so that NaN fails. */
    if (want != got && !(fabs(want - got) <= tolerance))
        test_fail(file, line, "want %.9g, got %.9g, tolerance %.3g", want, got, tolerance);
}

void test_check_int(const char *file, int line, int64_t want, int64_t got, const char *expression)
{
    if (want != got)
        test_fail(file, line, "%s: want %lld, got %lld", expression, (long long)want,
                  (long long)got);
}

void test_check_text(const char *file, int line, const char *want, const char *got)
{
    if (got == NULL || strcmp(want, got) != 0)
        test_fail(file, line, "want \"%s\", got \"%s\"", want, got == NULL ? "(null)" : got);
}

uint64_t test_seed(void)
{
    const char *text = getenv("FRESHET_TEST_SEED");

    return text == NULL ? SEED_FIXED : strtoull(text, NULL, 10);
}

const char *test_folder(void)
{
    if (folder[0] == 0) {
        (void)snprintf(folder, sizeof folder, "/tmp/freshet-test-XXXXXX");
        if (mkdtemp(folder) == NULL)
            test_fail(__FILE__, __LINE__, "could not make %s", folder);
    }
    return folder;
}

static int remove_entry(const char *path, const struct stat *info, int kind, struct FTW *walk)
{
    (void)info;
    (void)kind;
    (void)walk;
    return remove(path);
}

static void remove_folder(void)
{
    if (folder[0] != 0)
        (void)nftw(folder, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    folder[0] = 0;
}

static int open_descriptors(void)
{
    int count = 0;

    for (int fd = 0; fd < 1024; fd++)
        count += fcntl(fd, F_GETFD) != -1;
    return count;
}

/* No variable of its own lives across setjmp, so longjmp can clobber none. */
static __attribute__((noinline)) enum outcome run_until_left(void (*run)(void))
{
    switch (setjmp(leave)) {
    case PASSED:
        run();
        return PASSED;
    case SKIPPED:
        return SKIPPED;
    default:
        return FAILED;
    }
}

static enum outcome run_one(void (*run)(void))
{
    int before = open_descriptors();
    enum outcome outcome = run_until_left(run);
    int after = open_descriptors();

    if (outcome == PASSED && after > before) {
        (void)snprintf(message, sizeof message, "leaves %d file descriptors open", after - before);
        outcome = FAILED;
    }
    remove_folder();
    clock_fake_off(); /* a test that failed did not come to it, and the next would wait for ever */
    return outcome;
}

static void fails_a_check(void)
{
    clock_fake_set(0, 0);
    CHECK(1 + 1 == 3);
}

static void compares_nan(void)
{
    CHECK_NEAR(1.0, (double)NAN, 1e9);
}

static bool wanted(const char *name, int parts_count, char **parts)
{
    for (int i = 0; i < parts_count; i++)
        if (strstr(name, parts[i]) != NULL)
            return true;
    return parts_count == 0;
}

static int by_file_and_name(const void *a, const void *b)
{
    const struct test *x = a;
    const struct test *y = b;
    int order = strcmp(x->file, y->file);

    return order != 0 ? order : strcmp(x->name, y->name);
}

/* ---- all of them ---- */

/* What the processes share. */
struct run {
    atomic_int next; /* first test of the next file */
    atomic_int counts[3];
    const char *at[JOBS_MAX]; /* the test a process is at; NULL: none */
};

static double seconds_now(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static void run_and_tell(struct run *run, int job, const struct test *test)
{
    double begun = seconds_now(), seconds;
    enum outcome outcome;

    run->at[job] = test->name;
    outcome = run_one(test->run);
    run->at[job] = NULL;
    seconds = seconds_now() - begun;
    atomic_fetch_add(&run->counts[outcome], 1);
    if (outcome == FAILED)
        (void)printf("FAILED  %s\n        %s\n        seed %llu\n", test->name, message,
                     (unsigned long long)test_seed());
    else if (outcome == SKIPPED)
        (void)printf("skipped %s: %s\n", test->name, message);
    else if (seconds >= 1.0)
        (void)printf("slow    %s: %.1f s\n", test->name, seconds);
    (void)fflush(stdout);
}

/* The first test behind those of the same file. */
static int file_end(int first)
{
    int end = first;

    while (end < tests_count && strcmp(tests[end].file, tests[first].file) == 0)
        end++;
    return end;
}

static bool wanted_any(int first, int end, int parts_count, char **parts)
{
    for (int i = first; i < end; i++)
        if (wanted(tests[i].name, parts_count, parts) || wanted(tests[i].file, parts_count, parts))
            return true;
    return false;
}

static void run_file(struct run *run, int job, int first, int parts_count, char **parts)
{
    int end = file_end(first);

    for (int i = first; i < end; i++)
        if (wanted(tests[i].name, parts_count, parts) || wanted(tests[i].file, parts_count, parts))
            run_and_tell(run, job, &tests[i]);
}

static void run_file_apart(struct run *run, int job, int first, int parts_count, char **parts)
{
    pid_t pid = fork();
    int status;

    if (pid == 0) {
        run_file(run, job, first, parts_count, parts);
        exit(0); /* a sanitizer looks for leaks here */
    }
    if (pid > 0 && waitpid(pid, &status, 0) == pid && status == 0)
        return;
    atomic_fetch_add(&run->counts[FAILED], 1);
    (void)printf("FAILED  %s\n        its process died\n",
                 run->at[job] == NULL ? tests[first].file : run->at[job]);
    (void)fflush(stdout);
    run->at[job] = NULL;
}

static void run_files(struct run *run, int job, int parts_count, char **parts, bool apart)
{
    int first = atomic_load(&run->next);

    while (first < tests_count) {
        int end = file_end(first);

        if (!atomic_compare_exchange_weak(&run->next, &first, end))
            continue; /* first is what another process left */
        if (!apart)
            run_file(run, job, first, parts_count, parts);
        else if (wanted_any(first, end, parts_count, parts))
            run_file_apart(run, job, first, parts_count, parts);
        first = atomic_load(&run->next);
    }
}

static void run_in_processes(struct run *run, int jobs, int parts_count, char **parts)
{
    pid_t pids[JOBS_MAX];

    for (int job = 0; job < jobs; job++) {
        pids[job] = fork();
        if (pids[job] == 0) {
            run_files(run, job, parts_count, parts, true);
            _exit(0);
        }
    }
    for (int job = 0; job < jobs; job++)
        if (pids[job] > 0)
            (void)waitpid(pids[job], NULL, 0);
    run_files(run, 0, parts_count, parts, true); /* where not one could be forked */
}

static bool parts_are_there(int parts_count, char **parts)
{
    bool there = true;

    for (int i = 0; i < parts_count; i++)
        if (!wanted_any(0, tests_count, 1, parts + i)) {
            (void)fprintf(stderr, "no test has \"%s\" in its name; --list shows all of them\n",
                          parts[i]);
            there = false;
        }
    return there;
}

static void list_tests(int parts_count, char **parts)
{
    for (int i = 0; i < tests_count; i++)
        if (wanted_any(i, i + 1, parts_count, parts))
            (void)printf("%s %s\n", tests[i].file, tests[i].name);
}

int main(int argc, char **argv)
{
    bool option = argc > 1 && strncmp(argv[1], "--", 2) == 0;
    int parts_count = argc - 1 - option;
    char **parts = argv + 1 + option;
    struct run *run;
    int jobs = 1;

    if (run_one(fails_a_check) != FAILED || run_one(compares_nan) != FAILED) {
        (void)fprintf(stderr, "the runner does not see a failing check\n");
        return 1;
    }
    if (clock_wall_ms() == 0) {
        (void)fprintf(stderr, "a failing test leaves its clock to the next\n");
        return 1;
    }
    qsort(tests, (size_t)tests_count, sizeof tests[0], by_file_and_name);
    if (!parts_are_there(parts_count, parts))
        return 2;
    if (option && strcmp(argv[1], "--list") == 0) {
        list_tests(parts_count, parts);
        return 0;
    }
    if (option && (sscanf(argv[1], "--jobs=%d", &jobs) != 1 || jobs < 1 || jobs > JOBS_MAX)) {
        (void)fprintf(stderr, "usage: run [--list | --jobs=1..%d] [part of a name ...]\n",
                      JOBS_MAX);
        return 2;
    }
    run = mmap(NULL, sizeof *run, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (run == MAP_FAILED)
        return 1;
    if (jobs > 1)
        run_in_processes(run, jobs, parts_count, parts);
    else
        run_files(run, 0, parts_count, parts, false);
    (void)printf("%d passed, %d failed, %d skipped\n", run->counts[PASSED], run->counts[FAILED],
                 run->counts[SKIPPED]);
    (void)fflush(stdout); /* a sanitizer that finds a leak at exit ends us without it */
    return run->counts[FAILED] > 0 ||
           run->counts[PASSED] + run->counts[FAILED] + run->counts[SKIPPED] == 0;
}
