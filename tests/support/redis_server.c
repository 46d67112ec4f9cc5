/* tests/support/redis_server.c - starts, asks and ends a private redis-server. */
#include "tests/support/redis_server.h"

#include "features/redis_call.h"
#include "tests/test.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define ARGUMENTS_MAX 48
#define START_MS      10000

static bool on_path(const char *program)
{
    const char *path = getenv("PATH");
    char copy[4096], file[4352], *save = NULL;

    (void)snprintf(copy, sizeof copy, "%s", path == NULL ? "" : path);
    for (char *part = strtok_r(copy, ":", &save); part; part = strtok_r(NULL, ":", &save)) {
        (void)snprintf(file, sizeof file, "%s/%s", part, program);
        if (access(file, X_OK) == 0)
            return true;
    }
    return false;
}

static bool answers(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int descriptor = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool connected;

    if (descriptor < 0)
        return false;
    (void)snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    connected = connect(descriptor, (struct sockaddr *)&address, sizeof address) == 0;
    close(descriptor);
    return connected;
}

static _Noreturn void run_server(const char *folder, const char *path, const char *const *extra)
{
    const char *arguments[ARGUMENTS_MAX] = {"redis-server",
                                            "--port",
                                            "0",
                                            "--unixsocket",
                                            path,
                                            "--save",
                                            "",
                                            "--appendonly",
                                            "no",
                                            "--maxmemory-policy",
                                            "noeviction",
                                            "--dir",
                                            folder,
                                            "--daemonize",
                                            "no",
                                            "--loglevel",
                                            "warning",
                                            "--logfile",
                                            "redis.log"};
    int used = 0;

    while (arguments[used] != NULL)
        used++;
    for (; extra != NULL && *extra != NULL && used < ARGUMENTS_MAX - 1; extra++)
        arguments[used++] = *extra;
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    int null = open("/dev/null", O_RDWR);
    (void)dup2(null, 0);
    (void)dup2(null, 1);
    (void)dup2(null, 2);
    execvp("redis-server", (char *const *)arguments);
    _exit(127);
}

void redis_server_restart(struct redis_server *server, const char *const *extra)
{
    const struct timespec tick = {.tv_nsec = 2000000};
    int status;

    (void)unlink(server->socket);
    server->pid = fork();
    if (server->pid == 0)
        run_server(test_folder(), server->socket, extra);
    CHECK(server->pid > 0);
    /* The only thing that can be waited for here is the socket. */
    for (int waited_ms = 0; waited_ms < START_MS; waited_ms += 2) {
        if (answers(server->socket))
            return;
        if (waitpid(server->pid, &status, WNOHANG) == server->pid) {
            server->pid = 0;
            test_fail(__FILE__, __LINE__, "redis-server ended at once with status %d", status);
        }
        (void)nanosleep(&tick, NULL);
    }
    redis_server_kill(server);
    test_fail(__FILE__, __LINE__, "redis-server did not open its socket");
}

void redis_server_start(struct redis_server *server, const char *const *extra)
{
    *server = (struct redis_server){0};
    if (!on_path("redis-server"))
        SKIP("no redis-server on PATH");
    (void)snprintf(server->socket, sizeof server->socket, "%s/redis.sock", test_folder());
    (void)snprintf(server->url, sizeof server->url, "unix://%s", server->socket);
    redis_server_restart(server, extra);
}

static void end(struct redis_server *server, int signal_number)
{
    if (server->pid <= 0)
        return;
    (void)kill(server->pid, signal_number);
    while (waitpid(server->pid, NULL, 0) < 0 && errno == EINTR) {
    }
    server->pid = 0;
}

void redis_server_stop(struct redis_server *server)
{
    end(server, SIGTERM);
}

void redis_server_kill(struct redis_server *server)
{
    end(server, SIGKILL);
}

static size_t flatten(const struct redis_reply *reply, char *into, size_t room)
{
    size_t used = 0;

    switch (reply->type) {
    case REPLY_NIL:
        return (size_t)snprintf(into, room, "(nil)");
    case REPLY_INTEGER:
        return (size_t)snprintf(into, room, "%lld", (long long)reply->integer);
    case REPLY_ARRAY:
        for (int i = 0; i < reply->count && used + 1 < room; i++) {
            if (i > 0)
                into[used++] = '\n';
            used += flatten(reply->elements[i], into + used, room - used);
        }
        into[used < room ? used : room - 1] = '\0';
        return used;
    default:
        used = reply->text.bytes < room - 1 ? reply->text.bytes : room - 1;
        memcpy(into, reply->text.at, used);
        into[used] = '\0';
        return used;
    }
}

const char *redis_server_command(const struct redis_server *server, const char *const *arguments)
{
    static char answer[256 * 1024];
    struct text list[32];
    struct redis_target target;
    struct redis_connection *connection;
    const struct redis_reply *reply;
    struct error err;
    int count = 0;

    for (; arguments[count] != NULL; count++)
        list[count] = text_of(arguments[count]);
    CHECK_STATUS(OK, redis_target_parse(&target, server->url, &err));
    CHECK_STATUS(OK, redis_connection_create(&connection, &target, NULL, NULL, &err));
    if (redis_call(connection, 5000, list, count, &reply, &err) != OK && reply == NULL) {
        redis_connection_destroy(connection);
        test_fail(__FILE__, __LINE__, "%s: %s", arguments[0], err.text);
    }
    (void)flatten(reply, answer, sizeof answer);
    redis_connection_destroy(connection);
    return answer;
}
