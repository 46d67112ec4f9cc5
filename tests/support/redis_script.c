/* tests/support/redis_script.c - reads commands, looks them up, answers. */
#include "tests/support/redis_script.h"

#include "features/redis_reply.h"
#include "tests/test.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define COMMAND_MAX 256

struct client {
    int descriptor; /* -1: none */
    struct redis_reader *reader;
    char held[COMMAND_MAX]; /* a command whose row says nothing yet; "": none */
};

/* again: it was held. */
static const char *answer_to(struct redis_script *s, const char *command, bool again,
                             char reply[REDIS_SCRIPT_BYTES])
{
    const char *found = "-ERR no row of the script\r\n";

    pthread_mutex_lock(&s->lock);
    for (int i = 0; i < s->rows_count; i++) {
        size_t bytes = strlen(s->rows[i].command);

        if (strncmp(command, s->rows[i].command, bytes) != 0 ||
            (command[bytes] != ' ' && command[bytes] != '\0'))
            continue;
        s->seen[i] += !again;
        (void)snprintf(reply, REDIS_SCRIPT_BYTES, "%s", s->rows[i].reply);
        found = reply;
        break;
    }
    pthread_mutex_unlock(&s->lock);
    return found;
}

static void words_of(const struct redis_reply *command, char into[COMMAND_MAX])
{
    size_t used = 0;

    into[0] = '\0';
    for (int i = 0; i < command->count && used < COMMAND_MAX - 1; i++)
        used += (size_t)snprintf(into + used, COMMAND_MAX - used, "%s%.*s", i == 0 ? "" : " ",
                                 TEXT_ARGS(command->elements[i]->text));
}

static void hang_up(struct client *client)
{
    close(client->descriptor);
    redis_reader_destroy(client->reader);
    *client = (struct client){.descriptor = -1};
}

/* False when it is held, or its client is gone. */
static bool answer(struct redis_script *s, struct client *client, const char *command)
{
    char reply[REDIS_SCRIPT_BYTES];
    const char *text = answer_to(s, command, client->held[0] != '\0', reply);

    if (text[0] == '\0' && client->held[0] == '\0')
        (void)snprintf(client->held, COMMAND_MAX, "%s", command);
    return text[0] != '\0' && send(client->descriptor, text, strlen(text), MSG_NOSIGNAL) >= 0;
}

/* Answers what has been read, up to a command that is held. */
static void answer_all(struct redis_script *s, struct client *client)
{
    const struct redis_reply *command;
    char words[COMMAND_MAX];
    struct error err;

    if (client->held[0] != '\0' && !answer(s, client, client->held))
        return;
    client->held[0] = '\0';
    while (redis_reader_next(client->reader, &command, &err) == OK && command != NULL) {
        words_of(command, words);
        if (!answer(s, client, words))
            break;
    }
}

static void serve(struct redis_script *s, struct client *client)
{
    char bytes[4096];
    struct error err;
    ssize_t count = read(client->descriptor, bytes, sizeof bytes);

    if (count <= 0 || redis_reader_feed(client->reader, bytes, (size_t)count, &err) != OK)
        hang_up(client);
    else
        answer_all(s, client);
}

static void *run(void *context)
{
    struct redis_script *s = context;
    struct client clients[REDIS_SCRIPT_CLIENTS];
    struct pollfd ready[REDIS_SCRIPT_CLIENTS + 2];
    uint64_t rings;

    for (int i = 0; i < REDIS_SCRIPT_CLIENTS; i++)
        clients[i] = (struct client){.descriptor = -1};
    while (!atomic_load(&s->stop)) {
        for (int i = 0; i < REDIS_SCRIPT_CLIENTS; i++)
            ready[i] = (struct pollfd){.fd = clients[i].descriptor, .events = POLLIN};
        ready[REDIS_SCRIPT_CLIENTS] = (struct pollfd){.fd = s->listener, .events = POLLIN};
        ready[REDIS_SCRIPT_CLIENTS + 1] = (struct pollfd){.fd = s->wake, .events = POLLIN};
        (void)poll(ready, REDIS_SCRIPT_CLIENTS + 2, -1);
        for (int i = 0; i < REDIS_SCRIPT_CLIENTS; i++)
            if (clients[i].descriptor >= 0 && ready[i].revents != 0)
                serve(s, &clients[i]);
        if (ready[REDIS_SCRIPT_CLIENTS + 1].revents != 0 &&
            read(s->wake, &rings, sizeof rings) == sizeof rings)
            for (int i = 0; i < REDIS_SCRIPT_CLIENTS; i++)
                if (clients[i].descriptor >= 0)
                    answer_all(s, &clients[i]);
        for (int i = 0; i < REDIS_SCRIPT_CLIENTS && ready[REDIS_SCRIPT_CLIENTS].revents != 0; i++) {
            if (clients[i].descriptor >= 0)
                continue;
            clients[i].descriptor = accept4(s->listener, NULL, NULL, SOCK_CLOEXEC);
            clients[i].reader = redis_reader_create(1 << 16, 64);
            pthread_mutex_lock(&s->lock);
            s->clients++;
            pthread_mutex_unlock(&s->lock);
            break;
        }
    }
    for (int i = 0; i < REDIS_SCRIPT_CLIENTS; i++)
        if (clients[i].descriptor >= 0)
            hang_up(&clients[i]);
    return NULL;
}

void redis_script_start(struct redis_script *script)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t bytes = sizeof address;

    memset(script, 0, sizeof *script);
    (void)pthread_mutex_init(&script->lock, NULL);
    script->wake = eventfd(0, EFD_CLOEXEC);
    script->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(script->wake >= 0 && script->listener >= 0);
    CHECK(bind(script->listener, (struct sockaddr *)&address, sizeof address) == 0);
    CHECK(listen(script->listener, 16) == 0);
    CHECK(getsockname(script->listener, (struct sockaddr *)&address, &bytes) == 0);
    script->port = ntohs(address.sin_port);
    redis_script_says(script, "PING", "+PONG\r\n");
    redis_script_says(script, "CLIENT", "+OK\r\n");
    CHECK(pthread_create(&script->thread, NULL, run, script) == 0);
}

static void ring(struct redis_script *script)
{
    uint64_t one = 1;

    CHECK(write(script->wake, &one, sizeof one) == sizeof one);
}

void redis_script_stop(struct redis_script *script)
{
    atomic_store(&script->stop, true);
    ring(script);
    (void)pthread_join(script->thread, NULL);
    close(script->listener);
    close(script->wake);
    (void)pthread_mutex_destroy(&script->lock);
}

static int row_of(struct redis_script *s, const char *command) /* locked */
{
    for (int i = 0; i < s->rows_count; i++)
        if (strcmp(s->rows[i].command, command) == 0)
            return i;
    return -1;
}

void redis_script_says(struct redis_script *script, const char *command, const char *reply, ...)
{
    va_list arguments;
    int row;

    pthread_mutex_lock(&script->lock);
    row = row_of(script, command);
    if (row < 0)
        row = script->rows_count++;
    CHECK(row < REDIS_SCRIPT_ROWS);
    script->rows[row].command = command;
    va_start(arguments, reply);
    (void)vsnprintf(script->rows[row].reply, sizeof script->rows[row].reply, reply, arguments);
    va_end(arguments);
    pthread_mutex_unlock(&script->lock);
    ring(script);
}

int redis_script_seen(struct redis_script *script, const char *command)
{
    int row, seen;

    pthread_mutex_lock(&script->lock);
    row = row_of(script, command);
    seen = row < 0 ? 0 : script->seen[row];
    pthread_mutex_unlock(&script->lock);
    return seen;
}

int redis_script_clients(struct redis_script *script)
{
    int clients;

    pthread_mutex_lock(&script->lock);
    clients = script->clients;
    pthread_mutex_unlock(&script->lock);
    return clients;
}
