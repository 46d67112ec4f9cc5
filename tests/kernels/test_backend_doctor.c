/* Tests kernels/backend_doctor: what is told of the device where a word asks for one. Each command
 * is a process of its own, for a process chooses once. */
#include "kernels/backend_doctor.h"

#include "ops/ops_main.h"
#include "tests/support/command_run.h"
#include "tests/test.h"

#include <stdlib.h>
#include <string.h>

static const struct command *const *const commands[] = {ops_commands, NULL};
static const struct config_row *const rows[] = {ops_config_rows, NULL};
static const struct doctor_check *const checks[] = {backend_doctor_checks, NULL};
static const struct command_tables tables = {commands, rows, checks, NULL};

static struct command_result result;

/* What doctor says where FRESHET_BACKEND is the word; NULL: it is not set. */
static int asked(const char *word)
{
    if (word == NULL)
        CHECK_INT(0, unsetenv("FRESHET_BACKEND"));
    else
        CHECK_INT(0, setenv("FRESHET_BACKEND", word, 1));
    command_run(&result, &tables, "doctor --only backend");
    CHECK_INT(0, unsetenv("FRESHET_BACKEND"));
    return result.code;
}

TEST(backend_doctor_names_the_device_and_why)
{
    CHECK_INT(EXIT_DONE, asked("cpu"));
    CHECK(strstr(result.out, "scores and learns on cpu: FRESHET_BACKEND=cpu\n") != NULL);
    CHECK_INT(EXIT_DONE, asked(NULL));
    CHECK(strstr(result.out, "scores and learns on cuda: ") != NULL ||
          strstr(result.out, "scores and learns on cpu: no GPU: ") != NULL);
}

TEST(backend_doctor_fails_where_a_gpu_is_asked_for_and_none_works)
{
    bool there;

    CHECK_INT(EXIT_DONE, asked(NULL));
    there = strstr(result.out, "learns on cuda") != NULL;
    CHECK_INT(there ? EXIT_DONE : EXIT_NO, asked("cuda"));
    if (there)
        return;
    CHECK(strstr(result.out, "FAIL  backend            FRESHET_BACKEND=cuda, but ") != NULL);
    CHECK(strstr(result.out, ": serve and retrain would end with exit code 3\n") != NULL);
    CHECK(strstr(result.out, "do: unset FRESHET_BACKEND") != NULL);
}

TEST(backend_doctor_refuses_a_word_that_names_no_device)
{
    CHECK_INT(EXIT_NO, asked("gpu"));
    CHECK(strstr(result.out, "FRESHET_BACKEND is \"gpu\", must be cpu or cuda: serve and") != NULL);
}
