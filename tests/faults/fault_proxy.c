/*
 * tests/faults/fault_proxy.c - a proxy that misbehaves on command, in front of Redis, Kafka or
 * HTTP.
 *
 *     fault_proxy proxy LISTEN UPSTREAM CONTROL [SEED]   until SIGTERM or the end of its parent
 *     fault_proxy answer LISTEN FILE CONTROL             a server that answers whatever is sent to
 *                                                        it with the bytes of FILE, once for each
 *                                                        time something comes
 *     fault_proxy tell CONTROL COMMAND...                one command; prints the answer; exit 1
 *                                                        when it was refused
 *
 * LISTEN and UPSTREAM are HOST:PORT (port 0: any) or unix:PATH, CONTROL is the path of a socket.
 * The address it listens on is the first line of what it prints; a line a fault follows. For Kafka
 * the brokers must advertise LISTEN, or clients go around it.
 *
 * Commands, at any time. "up" is from the client to the server, "down" the way back:
 *
 *     latency MS [JITTER_MS]      what comes is passed on later; jitter is drawn for each piece
 *     bandwidth BYTES             a second, of each connection and direction; 0: all
 *     slice BYTES                 passed on in pieces of at most so many, 1 ms apart; 0: whole
 *     cut up|down|both            nothing is passed on and nothing taken; connections stay open
 *     heal                        ends latency, bandwidth, slice, cut, lose, refuse and random
 *     refuse                      new connections are reset
 *     reset                       RST on all connections (a unix socket: the end of the stream)
 *     reset up|down BYTES         on the connection that passes so many more bytes that way
 *     reset some PERCENT          RST on so many of the connections, by chance
 *     lost [COUNT]                the next COUNT (1) replies: the server has answered, the client
 *                                 gets a reset in place of the answer
 *     lose PERCENT                that, by chance, for each piece that comes down
 *     flip up|down BYTES          one bit of the next piece after so many more bytes that way
 *     upstream ADDRESS            where new connections lead; those there are stay where they are
 *     random MEAN_MS              one of reset, reset some, lost, cut for a moment, latency for a
 *                                 moment after a random while, again and again
 *     endless                     answer only: FILE over and over, as fast as it is taken
 *     stats                       answers "connections N up BYTES down BYTES resets N lost N"
 *
 * Bounded: CONNECTIONS_MAX connections with BUFFER_BYTES for each direction; who sends more than is
 * passed on has to wait. One thread and poll(); the same seed draws the same faults.
 */
#include "ops/clock.h"
#include "ops/random.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define CONNECTIONS_MAX 512
#define BUFFER_BYTES    (128 * 1024)
#define PIECES_MAX      128
#define SLICE_US        1000
#define LOST_US         20000 /* how long a server is heard out before its answer is thrown away */
#define FILE_MAX        (16 * 1024 * 1024)
#define COMMAND_MAX     256
#define WORDS_MAX       4
#define POLL_MAX_MS     200
#define NEVER_US        INT64_MAX

enum way { UP, DOWN };

/* Bytes that came and when they may go on: piece i ends at `end` bytes after all that ever came. */
struct piece {
    uint64_t end;
    int64_t due_us;
};

struct stream {
    int from, to;
    char *bytes; /* (BUFFER_BYTES): [passed, came) modulo BUFFER_BYTES */
    uint64_t came, passed;
    struct piece pieces[PIECES_MAX];
    int first, count;
    int64_t next_us; /* not before: slices, bandwidth */
    bool ended;      /* `from` has sent its end */
    bool told;       /* ... and `to` knows */
};

struct connection {
    bool open, connecting;
    int number;
    struct stream streams[2];
    int64_t lost_us; /* its answer is being thrown away; then it is reset */
};

struct address {
    struct sockaddr_storage at;
    socklen_t bytes;
};

/* Something that happens once so many bytes have passed one way. */
struct trap {
    bool set;
    uint64_t at;
};

static struct {
    int listener, control;
    bool answers;
    struct address upstream;
    char *file;
    size_t file_bytes;
    struct connection *connections;
    int opened;
    struct random random;

    int64_t latency_ms, jitter_ms, bandwidth, slice, lose;
    int lost;
    bool cut[2], refuse, endless;
    struct trap reset[2], flip[2];
    int64_t random_ms, random_us, moment_us; /* mean; the next fault; the end of a moment's fault */
    uint64_t passed[2], resets, losses;
} proxy;

static void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void say(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    (void)vprintf(format, arguments);
    va_end(arguments);
    (void)putchar('\n');
    (void)fflush(stdout);
}

static _Noreturn void die(const char *what, const char *why)
{
    (void)fprintf(stderr, "fault_proxy: %s: %s\n", what, why);
    exit(3);
}

/* ---- addresses ---- */

static bool parse_address(const char *text, struct address *into)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM}, *found;
    const char *colon = strrchr(text, ':');
    char host[128];

    *into = (struct address){0};
    if (strncmp(text, "unix:", 5) == 0) {
        struct sockaddr_un *socket_at = (struct sockaddr_un *)&into->at;

        if (strlen(text + 5) >= sizeof socket_at->sun_path)
            return false;
        socket_at->sun_family = AF_UNIX;
        (void)snprintf(socket_at->sun_path, sizeof socket_at->sun_path, "%s", text + 5);
        into->bytes = sizeof *socket_at;
        return true;
    }
    if (colon == NULL || (size_t)(colon - text) >= sizeof host)
        return false;
    (void)snprintf(host, sizeof host, "%.*s", (int)(colon - text), text);
    if (getaddrinfo(host, colon + 1, &hints, &found) != 0)
        return false;
    memcpy(&into->at, found->ai_addr, found->ai_addrlen);
    into->bytes = found->ai_addrlen;
    freeaddrinfo(found);
    return true;
}

static int listen_on(const char *text)
{
    struct address address;
    int one = 1, descriptor;

    if (!parse_address(text, &address))
        die(text, "no address");
    descriptor = socket(address.at.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (descriptor < 0)
        die(text, strerror(errno));
    if (address.at.ss_family == AF_UNIX)
        (void)unlink(text + 5);
    else
        (void)setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(descriptor, (struct sockaddr *)&address.at, address.bytes) != 0 ||
        listen(descriptor, CONNECTIONS_MAX) != 0)
        die(text, strerror(errno));
    return descriptor;
}

/* As a client would write it: with the port that was given out. */
static void say_address(const char *text)
{
    struct sockaddr_storage at;
    socklen_t bytes = sizeof at;
    char host[64] = "", port[16] = "";

    if (strncmp(text, "unix:", 5) == 0 ||
        getsockname(proxy.listener, (struct sockaddr *)&at, &bytes) != 0 ||
        getnameinfo((struct sockaddr *)&at, bytes, host, sizeof host, port, sizeof port,
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0)
        say("%s", text);
    else
        say("%s:%s", host, port);
}

/* ---- connections ---- */

/* Unread bytes and a lingering time of none make it a reset and not an end. */
static void close_hard(int descriptor)
{
    const struct linger none = {.l_onoff = 1};

    if (descriptor < 0)
        return;
    (void)setsockopt(descriptor, SOL_SOCKET, SO_LINGER, &none, sizeof none);
    (void)close(descriptor);
}

static void drop(struct connection *c, bool hard)
{
    int client = c->streams[UP].from, server = c->streams[UP].to;

    if (hard) {
        close_hard(client);
        close_hard(server);
        proxy.resets++;
    } else {
        (void)close(client);
        if (server >= 0)
            (void)close(server);
    }
    free(c->streams[UP].bytes);
    free(c->streams[DOWN].bytes);
    *c = (struct connection){0};
}

static int drop_share(uint64_t percent)
{
    int dropped = 0;

    for (int i = 0; i < CONNECTIONS_MAX; i++) {
        struct connection *c = &proxy.connections[i];

        if (!c->open || (percent < 100 && random_below(&proxy.random, 100) >= percent))
            continue;
        drop(c, true);
        dropped++;
    }
    return dropped;
}

static int connect_upstream(bool *connecting)
{
    int descriptor = socket(proxy.upstream.at.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK,
                            0);
    int one = 1;

    if (descriptor < 0)
        return -1;
    if (proxy.upstream.at.ss_family != AF_UNIX)
        (void)setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    *connecting = false;
    if (connect(descriptor, (struct sockaddr *)&proxy.upstream.at, proxy.upstream.bytes) == 0)
        return descriptor;
    *connecting = errno == EINPROGRESS;
    if (*connecting)
        return descriptor;
    (void)close(descriptor);
    return -1;
}

static void take_client(void)
{
    int client = accept4(proxy.listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    int server = -1, one = 1;
    struct connection *c = NULL;
    bool connecting = false;

    if (client < 0)
        return;
    (void)setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    for (int i = 0; c == NULL && i < CONNECTIONS_MAX; i++)
        if (!proxy.connections[i].open)
            c = &proxy.connections[i];
    if (c != NULL && !proxy.refuse && !proxy.answers)
        server = connect_upstream(&connecting);
    if (c == NULL || proxy.refuse || (server < 0 && !proxy.answers)) {
        close_hard(client);
        return;
    }
    *c = (struct connection){.open = true, .connecting = connecting, .number = ++proxy.opened};
    c->streams[UP] = (struct stream){.from = client, .to = server, .bytes = malloc(BUFFER_BYTES)};
    c->streams[DOWN] = (struct stream){.from = server, .to = client, .bytes = malloc(BUFFER_BYTES)};
    if (c->streams[UP].bytes == NULL || c->streams[DOWN].bytes == NULL)
        die("buffers", "no memory");
}

/* ---- what comes ---- */

static size_t room(const struct stream *s)
{
    return s->count == PIECES_MAX ? 0 : BUFFER_BYTES - (size_t)(s->came - s->passed);
}

static void add_piece(struct stream *s, size_t bytes, int64_t now_us)
{
    int64_t later_ms = proxy.latency_ms;
    int last = (s->first + s->count - 1) % PIECES_MAX;

    if (proxy.jitter_ms > 0)
        later_ms += (int64_t)random_below(&proxy.random, (uint64_t)proxy.jitter_ms + 1);
    s->came += bytes;
    int64_t due_us = now_us + later_ms * 1000;

    if (s->count > 0 && s->pieces[last].due_us > due_us)
        due_us = s->pieces[last].due_us; /* a stream does not overtake itself */
    s->pieces[(s->first + s->count++) % PIECES_MAX] = (struct piece){s->came, due_us};
}

static void flip_a_bit(enum way way, char *bytes, size_t count)
{
    size_t at = (size_t)random_below(&proxy.random, count * 8);

    bytes[at / 8] = (char)(bytes[at / 8] ^ (1 << (at % 8)));
    proxy.flip[way].set = false;
    say("flipped bit %zu of %zu bytes %s", at, count, way == UP ? "up" : "down");
}

/* An answer that will not arrive. */
static bool loses(struct connection *c, int64_t now_us)
{
    if (c->lost_us != 0)
        return true;
    if (proxy.lost > 0)
        proxy.lost--;
    else if (proxy.lose == 0 || (int64_t)random_below(&proxy.random, 100) >= proxy.lose)
        return false;
    proxy.losses++;
    c->lost_us = now_us + LOST_US;
    say("lost an answer of connection %d", c->number);
    return true;
}

/* False: the connection is gone. */
static bool receive(struct connection *c, enum way way, int64_t now_us)
{
    struct stream *s = &c->streams[way];
    size_t start = (size_t)(s->came % BUFFER_BYTES), most = room(s);
    ssize_t count;

    if (most > BUFFER_BYTES - start)
        most = BUFFER_BYTES - start;
    count = recv(s->from, s->bytes + start, most, 0);
    if (count < 0 && (errno == EAGAIN || errno == EINTR))
        return true;
    if (count < 0) {
        drop(c, true);
        return false;
    }
    if (count == 0) {
        s->ended = true;
        return true;
    }
    if (way == DOWN && loses(c, now_us))
        return true;
    if (proxy.flip[way].set && proxy.passed[way] >= proxy.flip[way].at)
        flip_a_bit(way, s->bytes + start, (size_t)count);
    add_piece(s, (size_t)count, now_us);
    return true;
}

/* What a client says counts for nothing but that it did; the answer is the file. */
static bool receive_and_answer(struct connection *c, int64_t now_us)
{
    struct stream *s = &c->streams[DOWN];
    char bytes[4096];
    ssize_t count = recv(c->streams[UP].from, bytes, sizeof bytes, 0);

    if (count == 0 || (count < 0 && errno != EAGAIN && errno != EINTR)) {
        drop(c, false);
        return false;
    }
    if (count <= 0)
        return true;
    for (size_t i = 0; i < proxy.file_bytes && room(s) > 0;) {
        size_t start = (size_t)(s->came % BUFFER_BYTES), more = room(s);

        more = more > BUFFER_BYTES - start ? BUFFER_BYTES - start : more;
        more = more > proxy.file_bytes - i ? proxy.file_bytes - i : more;
        memcpy(s->bytes + start, proxy.file + i, more);
        add_piece(s, more, now_us);
        i += more;
    }
    return true;
}

/* ---- what goes on ---- */

/* How many bytes may go now; 0 with *due_us: when to look again. */
static size_t may_pass(const struct stream *s, enum way way, int64_t now_us, int64_t *due_us)
{
    uint64_t end = s->passed;

    *due_us = NEVER_US;
    if (proxy.cut[way] || s->came == s->passed)
        return 0;
    if (s->next_us > now_us) {
        *due_us = s->next_us;
        return 0;
    }
    for (int i = 0; i < s->count; i++) {
        const struct piece *piece = &s->pieces[(s->first + i) % PIECES_MAX];

        if (piece->due_us > now_us) {
            *due_us = piece->due_us;
            break;
        }
        end = piece->end;
    }
    size_t count = (size_t)(end - s->passed);

    if (proxy.slice > 0 && count > (size_t)proxy.slice)
        count = (size_t)proxy.slice;
    /* A hundredth of a second's worth at once, a byte at least. */
    if (proxy.bandwidth > 0 && count > (size_t)(proxy.bandwidth / 100 + 1))
        count = (size_t)(proxy.bandwidth / 100 + 1);
    return count;
}

static void note_passed(struct stream *s, enum way way, size_t count, int64_t now_us)
{
    s->passed += count;
    proxy.passed[way] += count;
    while (s->count > 0 && s->pieces[s->first].end <= s->passed) {
        s->first = (s->first + 1) % PIECES_MAX;
        s->count--;
    }
    if (proxy.slice > 0)
        s->next_us = now_us + SLICE_US;
    if (proxy.bandwidth > 0)
        s->next_us = now_us + (int64_t)count * 1000000 / proxy.bandwidth;
}

/* Passes on what is due. False: the connection is gone. */
static bool pass(struct connection *c, enum way way, int64_t now_us)
{
    struct stream *s = &c->streams[way];
    int64_t due_us;
    size_t count;

    while ((count = may_pass(s, way, now_us, &due_us)) > 0) {
        size_t start = (size_t)(s->passed % BUFFER_BYTES);
        struct trap *trap = &proxy.reset[way];
        bool sprung = trap->set && proxy.passed[way] + count >= trap->at;

        if (sprung)
            count = (size_t)(trap->at - proxy.passed[way]);
        if (count > BUFFER_BYTES - start)
            count = BUFFER_BYTES - start;
        ssize_t sent = send(s->to, s->bytes + start, count, MSG_NOSIGNAL);

        if (sent < 0 && (errno == EAGAIN || errno == EINTR))
            return true;
        if (sent < 0) {
            drop(c, true);
            return false;
        }
        note_passed(s, way, (size_t)sent, now_us);
        if (sprung && proxy.passed[way] >= trap->at) {
            trap->set = false;
            say("reset connection %d in the middle", c->number);
            drop(c, true);
            return false;
        }
    }
    if (s->ended && s->came == s->passed && !s->told) {
        s->told = true;
        (void)shutdown(s->to, SHUT_WR);
    }
    if (c->streams[UP].told && c->streams[DOWN].told) {
        drop(c, false);
        return false;
    }
    return true;
}

static void refill_endless(struct connection *c, int64_t now_us)
{
    struct stream *s = &c->streams[DOWN];

    while (proxy.endless && c->open && s->came > 0 && proxy.file_bytes > 0 &&
           room(s) >= proxy.file_bytes && s->count < PIECES_MAX) {
        for (size_t i = 0; i < proxy.file_bytes; i++)
            s->bytes[(s->came + i) % BUFFER_BYTES] = proxy.file[i];
        add_piece(s, proxy.file_bytes, now_us);
    }
}

/* ---- commands ---- */

static bool number(const char *text, int64_t *into)
{
    char *end;

    if (text == NULL || *text < '0' || *text > '9')
        return false;
    *into = strtoll(text, &end, 10);
    return *end == '\0';
}

static bool direction(const char *text, enum way *way)
{
    if (text == NULL)
        return false;
    *way = strcmp(text, "down") == 0 ? DOWN : UP;
    return *way == DOWN || strcmp(text, "up") == 0;
}

static void heal(void)
{
    proxy.latency_ms = proxy.jitter_ms = proxy.bandwidth = proxy.slice = proxy.lose = 0;
    proxy.cut[UP] = proxy.cut[DOWN] = proxy.refuse = proxy.endless = false;
    proxy.reset[UP].set = proxy.reset[DOWN].set = false;
    proxy.flip[UP].set = proxy.flip[DOWN].set = false;
    proxy.random_ms = proxy.moment_us = 0;
    proxy.lost = 0;
}

static bool set_reset(char **words)
{
    int64_t value;
    enum way way;

    if (words[1] == NULL) {
        say("reset %d connections", drop_share(100));
        return true;
    }
    if (strcmp(words[1], "some") == 0 && number(words[2], &value)) {
        say("reset %d connections", drop_share((uint64_t)value));
        return true;
    }
    if (!direction(words[1], &way) || !number(words[2], &value))
        return false;
    proxy.reset[way] = (struct trap){true, proxy.passed[way] + (uint64_t)value};
    return true;
}

static bool set_cut(char **words)
{
    enum way way;

    if (words[1] != NULL && strcmp(words[1], "both") == 0) {
        proxy.cut[UP] = proxy.cut[DOWN] = true;
        return true;
    }
    if (!direction(words[1], &way))
        return false;
    proxy.cut[way] = true;
    return true;
}

static void next_random(int64_t now_us)
{
    proxy.random_us = now_us +
                      (int64_t)(1000 * random_exponential(&proxy.random, (double)proxy.random_ms));
}

/* words: those of the line, then NULL. False: not a command. */
static bool obey(char **words, char *answer, size_t bytes)
{
    struct address address;
    int64_t value = 1;
    enum way way;
    const char *verb = words[0];

    if (strcmp(verb, "latency") == 0) {
        proxy.jitter_ms = 0;
        return number(words[1], &proxy.latency_ms) &&
               (words[2] == NULL || number(words[2], &proxy.jitter_ms));
    }
    if (strcmp(verb, "bandwidth") == 0)
        return number(words[1], &proxy.bandwidth);
    if (strcmp(verb, "slice") == 0)
        return number(words[1], &proxy.slice);
    if (strcmp(verb, "lose") == 0)
        return number(words[1], &proxy.lose);
    if (strcmp(verb, "reset") == 0)
        return set_reset(words);
    if (strcmp(verb, "cut") == 0)
        return set_cut(words);
    if (strcmp(verb, "heal") == 0) {
        heal();
    } else if (strcmp(verb, "refuse") == 0) {
        proxy.refuse = true;
    } else if (strcmp(verb, "endless") == 0 && proxy.answers) {
        proxy.endless = true;
    } else if (strcmp(verb, "lost") == 0 && (words[1] == NULL || number(words[1], &value))) {
        proxy.lost = (int)value;
    } else if (strcmp(verb, "flip") == 0 && direction(words[1], &way) && number(words[2], &value)) {
        proxy.flip[way] = (struct trap){true, proxy.passed[way] + (uint64_t)value};
    } else if (strcmp(verb, "upstream") == 0 && words[1] != NULL &&
               parse_address(words[1], &address)) {
        proxy.upstream = address;
    } else if (strcmp(verb, "random") == 0 && number(words[1], &value) && value > 0) {
        proxy.random_ms = value;
        next_random(clock_monotonic_us());
    } else if (strcmp(verb, "stats") == 0) {
        (void)snprintf(answer, bytes, "connections %d up %llu down %llu resets %llu lost %llu\n",
                       proxy.opened, (unsigned long long)proxy.passed[UP],
                       (unsigned long long)proxy.passed[DOWN], (unsigned long long)proxy.resets,
                       (unsigned long long)proxy.losses);
    } else {
        return false;
    }
    return true;
}

/* One command a connection; a teller that hangs holds everything up for a second at most. */
static void take_command(void)
{
    int teller = accept4(proxy.control, NULL, NULL, SOCK_CLOEXEC);
    const struct timeval patience = {.tv_sec = 1};
    char line[COMMAND_MAX], answer[COMMAND_MAX] = "ok\n", *words[WORDS_MAX + 1] = {0}, *save;
    ssize_t count;
    int found = 0;

    if (teller < 0)
        return;
    (void)setsockopt(teller, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    count = recv(teller, line, sizeof line - 1, 0);
    line[count > 0 ? count : 0] = '\0';
    if (count > 0)
        say("told: %s", line);
    for (char *word = strtok_r(line, " \n", &save); word != NULL && found < WORDS_MAX;
         word = strtok_r(NULL, " \n", &save))
        words[found++] = word;
    if (found == 0 || !obey(words, answer, sizeof answer))
        (void)snprintf(answer, sizeof answer, "refused: no such command\n");
    (void)send(teller, answer, strlen(answer), MSG_NOSIGNAL);
    (void)close(teller);
}

/* ---- random faults ---- */

static void begin_random(int64_t now_us)
{
    int64_t moment_ms = 50 + (int64_t)random_below(&proxy.random, 1500);

    switch (random_below(&proxy.random, 6)) {
    case 0:
        say("random: reset %d connections", drop_share(100));
        break;
    case 1:
        say("random: reset %d connections", drop_share(30));
        break;
    case 2:
    case 3:
        proxy.lost = 1 + (int)random_below(&proxy.random, 4);
        say("random: the next %d answers are lost", proxy.lost);
        break;
    case 4:
        proxy.cut[UP] = random_below(&proxy.random, 2) == 0;
        proxy.cut[DOWN] = !proxy.cut[UP];
        proxy.moment_us = now_us + moment_ms * 1000;
        say("random: nothing passes %s for %lld ms", proxy.cut[UP] ? "up" : "down",
            (long long)moment_ms);
        break;
    default:
        proxy.latency_ms = 1 + (int64_t)random_below(&proxy.random, 200);
        proxy.slice = 1 + (int64_t)random_below(&proxy.random, 4000);
        proxy.moment_us = now_us + moment_ms * 1000;
        say("random: latency %lld ms, slices of %lld bytes for %lld ms",
            (long long)proxy.latency_ms, (long long)proxy.slice, (long long)moment_ms);
    }
    next_random(now_us);
}

static void step_random(int64_t now_us)
{
    if (proxy.moment_us != 0 && now_us >= proxy.moment_us) {
        proxy.cut[UP] = proxy.cut[DOWN] = false;
        proxy.latency_ms = proxy.slice = proxy.moment_us = 0;
    }
    if (proxy.random_ms > 0 && proxy.moment_us == 0 && now_us >= proxy.random_us)
        begin_random(now_us);
}

/* ---- the loop ---- */

struct waiting {
    struct pollfd *ready; /* (2 + 2 * CONNECTIONS_MAX) */
    nfds_t count;
    int64_t until_us;
};

static void wait_for(struct waiting *w, int descriptor, short events)
{
    w->ready[w->count++] = (struct pollfd){.fd = events == 0 ? -1 : descriptor, .events = events};
}

static void sooner(struct waiting *w, int64_t due_us)
{
    if (due_us < w->until_us)
        w->until_us = due_us;
}

/* Two entries a connection: its client, its server. */
static void wait_for_connection(struct waiting *w, const struct connection *c, int64_t now_us)
{
    short wants[2] = {0, 0}; /* of the client, of the server */

    for (int way = UP; way <= DOWN; way++) {
        const struct stream *s = &c->streams[way];
        int64_t due_us;

        if (!s->ended && room(s) > 0 && !proxy.cut[way])
            wants[way] |= POLLIN;
        if (may_pass(s, (enum way)way, now_us, &due_us) > 0)
            wants[1 - way] |= POLLOUT;
        sooner(w, due_us);
    }
    if (c->connecting)
        wants[1] = POLLOUT;
    if (c->lost_us != 0)
        sooner(w, c->lost_us);
    wait_for(w, c->streams[UP].from, wants[0]);
    wait_for(w, c->streams[UP].to, proxy.answers ? 0 : wants[1]);
}

static void step_connection(struct connection *c, short client, short server, int64_t now_us)
{
    int error = 0;
    socklen_t bytes = sizeof error;

    if (c->lost_us != 0 && now_us >= c->lost_us) {
        drop(c, true);
        return;
    }
    if (c->connecting) {
        if (server == 0)
            return;
        if (getsockopt(c->streams[UP].to, SOL_SOCKET, SO_ERROR, &error, &bytes) != 0 ||
            error != 0) {
            drop(c, true);
            return;
        }
        c->connecting = false;
    }
    if ((client & (POLLIN | POLLERR | POLLHUP)) != 0 && room(&c->streams[UP]) > 0 &&
        !(proxy.answers ? receive_and_answer(c, now_us) : receive(c, UP, now_us)))
        return;
    if ((server & (POLLIN | POLLERR | POLLHUP)) != 0 && room(&c->streams[DOWN]) > 0 &&
        !receive(c, DOWN, now_us))
        return;
    refill_endless(c, now_us);
    if (!proxy.answers && !pass(c, UP, now_us))
        return;
    (void)pass(c, DOWN, now_us);
}

static void turn(struct waiting *w)
{
    int64_t now_us = clock_monotonic_us();
    int of[CONNECTIONS_MAX], count = 0;

    step_random(now_us);
    w->count = 0;
    w->until_us = now_us + POLL_MAX_MS * 1000;
    wait_for(w, proxy.listener, POLLIN);
    wait_for(w, proxy.control, POLLIN);
    for (int i = 0; i < CONNECTIONS_MAX; i++) {
        if (!proxy.connections[i].open)
            continue;
        of[count++] = i;
        wait_for_connection(w, &proxy.connections[i], now_us);
    }
    if (proxy.moment_us != 0)
        sooner(w, proxy.moment_us);
    if (poll(w->ready, w->count,
             w->until_us <= now_us ? 0 : (int)((w->until_us - now_us + 999) / 1000)) < 0)
        return;
    now_us = clock_monotonic_us();
    for (int i = 0; i < count; i++)
        step_connection(&proxy.connections[of[i]], w->ready[2 + 2 * i].revents,
                        w->ready[3 + 2 * i].revents, now_us);
    if (w->ready[1].revents != 0)
        take_command();
    if (w->ready[0].revents != 0)
        take_client();
}

static void read_file(const char *path)
{
    FILE *file = fopen(path, "rb");

    proxy.file = malloc(FILE_MAX);
    if (file == NULL || proxy.file == NULL)
        die(path, file == NULL ? strerror(errno) : "no memory");
    proxy.file_bytes = fread(proxy.file, 1, FILE_MAX, file);
    (void)fclose(file);
}

static int run(const char *listen_at, const char *control, uint64_t seed)
{
    struct waiting w = {0};
    char path[128];

    (void)prctl(PR_SET_PDEATHSIG, SIGTERM);
    random_seed(&proxy.random, seed);
    proxy.connections = calloc(CONNECTIONS_MAX, sizeof *proxy.connections);
    w.ready = calloc(2 + 2 * CONNECTIONS_MAX, sizeof *w.ready);
    if (proxy.connections == NULL || w.ready == NULL)
        die("start", "no memory");
    (void)snprintf(path, sizeof path, "unix:%s", control);
    proxy.control = listen_on(path);
    proxy.listener = listen_on(listen_at);
    say_address(listen_at);
    say("SEED=%llu", (unsigned long long)seed);
    for (;;)
        turn(&w);
}

static int tell(const char *control, int count, char **words)
{
    char path[128], line[COMMAND_MAX] = "", answer[COMMAND_MAX];
    struct address address;
    size_t used = 0;
    ssize_t got;
    int descriptor;

    (void)snprintf(path, sizeof path, "unix:%s", control);
    for (int i = 0; i < count && used < sizeof line; i++)
        used += (size_t)snprintf(line + used, sizeof line - used, "%s%s", i > 0 ? " " : "",
                                 words[i]);
    descriptor = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (!parse_address(path, &address) || descriptor < 0 ||
        connect(descriptor, (struct sockaddr *)&address.at, address.bytes) != 0)
        die(control, strerror(errno));
    if (send(descriptor, line, strlen(line), MSG_NOSIGNAL) < 0)
        die(control, strerror(errno));
    got = recv(descriptor, answer, sizeof answer - 1, 0);
    answer[got > 0 ? got : 0] = '\0';
    (void)close(descriptor);
    (void)fputs(answer, stdout);
    return got <= 0 || strncmp(answer, "refused", 7) == 0;
}

int main(int count, char **words)
{
    if (count >= 4 && strcmp(words[1], "tell") == 0)
        return tell(words[2], count - 3, words + 3);
    if (count == 5 && strcmp(words[1], "answer") == 0) {
        proxy.answers = true;
        read_file(words[3]);
        return run(words[2], words[4], 1);
    }
    if ((count == 5 || count == 6) && strcmp(words[1], "proxy") == 0) {
        if (!parse_address(words[3], &proxy.upstream))
            die(words[3], "no address");
        return run(words[2], words[4], count == 6 ? strtoull(words[5], NULL, 10) : 1);
    }
    (void)fprintf(stderr, "usage: fault_proxy proxy LISTEN UPSTREAM CONTROL [SEED]\n"
                          "       fault_proxy answer LISTEN FILE CONTROL\n"
                          "       fault_proxy tell CONTROL COMMAND...\n");
    return 2;
}
