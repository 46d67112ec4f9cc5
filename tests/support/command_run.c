/* tests/support/command_run.c - fork, command_main(), two files. */
#include "tests/support/command_run.h"

#include "tests/test.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define WORDS_MAX 64

static int create(const char *name, char path[300])
{
    int descriptor;

    (void)snprintf(path, 300, "%s/%s", test_folder(), name);
    descriptor = open(path, O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, 0600);
    CHECK(descriptor >= 0);
    return descriptor;
}

static void read_back(const char *path, char *into, size_t bytes)
{
    FILE *file = fopen(path, "re");
    size_t count;

    CHECK(file != NULL);
    count = fread(into, 1, bytes - 1, file);
    into[count] = '\0';
    CHECK_INT(0, fclose(file));
}

void command_run(struct command_result *result, const struct command_tables *tables,
                 const char *words)
{
    char out_path[300], err_path[300];
    int out = create("command.out", out_path), err = create("command.err", err_path);
    int state;
    pid_t child;

    (void)fflush(NULL);
    child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        static char line[2000] = "freshet ";
        char *argv[WORDS_MAX + 1], *rest = line;
        int argc = 0;

        (void)strncat(line, words, sizeof line - 10);
        while (argc < WORDS_MAX && (argv[argc] = strsep(&rest, " ")) != NULL)
            argc++;
        argv[argc] = NULL;
        (void)dup2(out, STDOUT_FILENO);
        (void)dup2(err, STDERR_FILENO);
        argc = command_main(argc, argv, tables);
        (void)fflush(NULL);
        _exit(argc); /* what failing tests leaked before the fork is not judged here */
    }
    CHECK_INT(0, close(out));
    CHECK_INT(0, close(err));
    CHECK_INT(child, waitpid(child, &state, 0));
    CHECK(WIFEXITED(state));
    result->code = WEXITSTATUS(state);
    read_back(out_path, result->out, sizeof result->out);
    read_back(err_path, result->err, sizeof result->err);
    if (strstr(result->err, "multi-threaded fork") != NULL) /* a broker lives in this process */
        SKIP("threads behind a fork of several");
    if (strstr(result->err, "Sanitizer") != NULL)
        (void)fprintf(stderr, "%s: %s\n", words, result->err); /* else it ends with the folder */
}

const struct json_node *command_run_json(struct command_result *result, struct json_parser *parser)
{
    const struct json_node *root;
    size_t bytes = strlen(result->out);
    struct error err;

    CHECK(bytes > 0 && result->out[bytes - 1] == '\n');
    result->out[bytes - 1] = 0;
    CHECK(strchr(result->out, '\n') == NULL); /* alone */
    CHECK_STATUS(OK, json_parse(parser, text_of(result->out), &root, &err));
    return root;
}
