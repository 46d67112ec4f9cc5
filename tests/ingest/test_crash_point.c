/* Tests ingest/crash_point: every point of the list stands somewhere in the code, and none ends a
 * build that was not made for it. Each of them is gone through by
 * tests/integration/test_kill_ingest.sh. */
#include "ingest/crash_point.h"

#include "ops/file.h"
#include "tests/test.h"

#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *const names[] = {
#define X(name) #name,
    CRASH_POINT_LIST(X)
#undef X
};

static int places_of(const char *name, const glob_t *files)
{
    char call[80];
    int places = 0;

    (void)snprintf(call, sizeof call, "CRASH_POINT(%s)", name);
    for (size_t i = 0; i < files->gl_pathc; i++) {
        char *text;
        size_t bytes;
        struct error err;

        CHECK_STATUS(OK, file_read(files->gl_pathv[i], 1 << 20, &text, &bytes, &err));
        for (const char *at = strstr(text, call); at != NULL; at = strstr(at + 1, call))
            places++;
        free(text);
    }
    return places;
}

TEST(crash_points_stand_in_the_code)
{
    glob_t files;

    CHECK_INT(CRASH_POINTS_COUNT, sizeof names / sizeof *names);
    CHECK_INT(0, glob("ingest/*.c", 0, NULL, &files));
    for (int i = 0; i < CRASH_POINTS_COUNT; i++)
        if (places_of(names[i], &files) == 0)
            test_fail(__FILE__, __LINE__, "nothing comes by %s", names[i]);
    globfree(&files);
}

static int reach_twice(const char *wanted)
{
    int state = 0;
    pid_t child = fork();

    if (child == 0) {
        (void)setenv("FRESHET_CRASH_POINT", wanted, 1);
        CRASH_POINT(before_exec);
        CRASH_POINT(after_reply);
        CRASH_POINT(before_exec);
        _exit(0);
    }
    CHECK(child > 0 && waitpid(child, &state, 0) == child);
    return WIFSIGNALED(state) ? WTERMSIG(state) : WEXITSTATUS(state);
}

TEST(crash_points_end_only_builds_that_were_made_for_it)
{
#ifdef FRESHET_CRASH_POINTS
    CHECK_INT(9, reach_twice("before_exec:1"));
    CHECK_INT(9, reach_twice("before_exec:2"));
#else
    CHECK_INT(0, reach_twice("before_exec:1"));
#endif
    CHECK_INT(0, reach_twice("before_exec:3"));
    CHECK_INT(0, reach_twice("before_exec"));
    CHECK_INT(0, reach_twice("before:1"));
    CHECK_INT(0, reach_twice(""));
}
