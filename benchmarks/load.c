/* load.c - closed-loop clients of an echo server: one thread, epoll.
 *
 * Each connection has one message in flight and compares what comes back. All
 * figures are of a window that opens after the warm-up; a message that began
 * before it and ends in it counts, as does the server's CPU time in it, read
 * from the clock of its process. With a COUNT other than 0 there is no window:
 * exactly so many messages are sent. Prints one line of JSON.
 *
 * To "spin" is to ask for events without a pause. A core that halts has to be
 * woken by the server's send(), which can cost the server more than all the rest
 * of an echo: on a core of its own the client spins. It is no use where server
 * and client share a core.
 *
 * Modes: "echo", messages over connections that stay; "connect", a connection
 * for each message; "idle", connections that are opened and held while the
 * server's resident memory is read.
 */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define SECOND INT64_C(1000000000)
#define READ_SIZE (256 * 1024)
#define EVENTS 512
#define MAX_ERRORS 100

/* Latencies in steps of 100 ns; the last one holds all that took longer. */
#define STEP 100
#define STEPS 4000000

/* A datagram unanswered for so long is lost: an error, and sent again. */
#define LOST SECOND

/* So many source addresses take turns: closed connections keep their ports. */
#define SOURCES 200

/* Idle connections opened before the base of the memory is read, and the number
 * opened between two waits for the server to catch up. */
#define BASE 100
#define TOGETHER 50

/* When a client began that has nothing more to do, and when a count ends. */
#define NEVER INT64_MAX

struct client {
    int fd;
    size_t sent;
    size_t received;
    int64_t began;
};

static struct {
    enum { TCP, UNIX, UDP } kind;
    enum { ECHO, CONNECT, IDLE } mode;
    struct sockaddr_storage address;
    socklen_t address_len;
    int connections;
    size_t size;
    double seconds;
    double warm_up;
    uint64_t count;
    int patience; /* milliseconds to wait for events */
    pid_t pid;
} options;

static struct {
    uint64_t begun; /* also those before the window */
    uint64_t messages;
    uint64_t bytes;
    uint64_t errors;
    uint32_t latencies[STEPS];
} counted;

static int epoll_fd;
static char *message;
static char incoming[READ_SIZE];
static unsigned opened;

static void
die(const char *what)
{
    fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
    exit(1);
}

static int64_t
clock_ns(clockid_t clock)
{
    struct timespec time;

    if (clock_gettime(clock, &time) < 0) {
        die("clock_gettime");
    }
    return time.tv_sec * SECOND + time.tv_nsec;
}

/* The server's CPU time, user and system, of all its threads. */
static int64_t
server_cpu(void)
{
    clockid_t clock;

    errno = clock_getcpuclockid(options.pid, &clock);
    if (errno != 0) {
        die("server's CPU clock");
    }
    return clock_ns(clock);
}

/* smaps_rollup counts page by page; statm may be off by hundreds of pages. */
static int64_t
server_memory(void)
{
    char path[64], line[256];
    int64_t kilobytes = -1;
    FILE *file;

    snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", (int)options.pid);
    file = fopen(path, "r");
    if (file == NULL) {
        die(path);
    }
    while (fgets(line, sizeof(line), file) != NULL) {
        if (sscanf(line, "Rss: %" SCNd64, &kilobytes) == 1) {
            break;
        }
    }
    fclose(file);
    if (kilobytes < 0) {
        die("no Rss in smaps_rollup");
    }
    return kilobytes * 1024;
}

static void
failed(const char *what)
{
    counted.errors++;
    if (counted.errors >= MAX_ERRORS) {
        fprintf(stderr, "load: %s: too many errors\n", what);
        exit(1);
    }
}

static int
open_socket(int flags)
{
    int type = (options.kind == UDP ? SOCK_DGRAM : SOCK_STREAM) | flags;
    int fd = socket(options.address.ss_family, type, 0);
    const int on = 1;

    if (fd < 0) {
        die("socket");
    }
    if (options.kind == TCP) {
        struct sockaddr_in source = {.sin_family = AF_INET};

        source.sin_addr.s_addr = htonl(INADDR_LOOPBACK + opened++ % SOURCES);
        if (setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on)) < 0
            || bind(fd, (struct sockaddr *)&source, sizeof(source)) < 0
            || setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) < 0) {
            die("TCP socket");
        }
    }
    if (connect(fd, (struct sockaddr *)&options.address, options.address_len) < 0
        && errno != EINPROGRESS) {
        die("connect");
    }
    return fd;
}

static void
client_watch(struct client *client, int operation, uint32_t events)
{
    struct epoll_event event = {.events = events | EPOLLET, .data.ptr = client};

    if (epoll_ctl(epoll_fd, operation, client->fd, &event) < 0) {
        die("epoll_ctl");
    }
}

/* Return 1 if there is more to send and room for it is awaited, 0 when the
 * message is out, -1 if the connection is broken. */
static int
client_send(struct client *client)
{
    while (client->sent < options.size) {
        ssize_t sent = send(client->fd, message + client->sent,
                            options.size - client->sent, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent < 0 && errno == EAGAIN) {
            /* TCP is watched for room already. The others would report it after
             * every message, so they are only now. */
            if (options.kind != TCP) {
                client_watch(client, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
            }
            return 1;
        }
        if (sent < 0) {
            return -1;
        }
        client->sent += (size_t)sent;
    }
    return 0;
}

static void
client_open(struct client *client)
{
    /* connect() on a full UNIX backlog fails instead of going on in the
     * background, so it blocks there. */
    client->fd = open_socket(options.kind == UNIX ? 0 : SOCK_NONBLOCK);
    client->sent = 0;
    client->received = 0;
    client->began = clock_ns(CLOCK_MONOTONIC);
    client_watch(client, EPOLL_CTL_ADD,
                 options.kind == TCP ? EPOLLIN | EPOLLOUT : EPOLLIN);
    /* What fails here is an event too, or a datagram never answered. */
    client_send(client);
}

/* The message that was under way begins anew. */
static void
client_reopen(struct client *client)
{
    close(client->fd);
    client_open(client);
}

/* Take what came. Return as client_send() does: 0 when the echo is whole. */
static int
client_receive(struct client *client)
{
    while (client->received < options.size) {
        ssize_t received = recv(client->fd, incoming, READ_SIZE, MSG_DONTWAIT);
        if (received < 0) {
            return errno == EAGAIN || errno == ENOTCONN ? 1 : -1;
        }
        if (received == 0 || (size_t)received > options.size - client->received
            || memcmp(incoming, message + client->received, (size_t)received) != 0) {
            return -1;
        }
        client->received += (size_t)received;
        counted.bytes += (uint64_t)received;
    }
    return 0;
}

/* Begin the next message, if there is to be one. */
static void
client_next(struct client *client, int64_t now)
{
    if (options.count != 0 && counted.begun == options.count) {
        client->began = NEVER;
        return;
    }
    counted.begun++;
    if (options.mode == CONNECT) {
        client_reopen(client);
        return;
    }
    client->sent = client->received = 0;
    client->began = now;
    if (client_send(client) < 0) {
        failed("connection");
        client_reopen(client);
    }
}

static void
client_event(struct client *client)
{
    int status;

    if (client->began == NEVER) {
        return;
    }
    status = client_send(client);
    if (status >= 0) {
        status = client_receive(client);
    }
    if (status < 0) {
        failed("connection");
        client_reopen(client);
    }
    else if (status == 0) {
        int64_t now = clock_ns(CLOCK_MONOTONIC);
        int64_t step = (now - client->began) / STEP;

        counted.latencies[step < STEPS ? step : STEPS - 1]++;
        counted.messages++;
        client_next(client, now);
    }
}

static void
resend_lost(struct client *clients, int64_t now)
{
    for (int i = 0; i < options.connections; i++) {
        if (now - clients[i].began > LOST) {
            failed("datagrams");
            client_reopen(&clients[i]);
        }
    }
}

static void
run_until(struct client *clients, int64_t deadline)
{
    struct epoll_event events[EVENTS];
    int64_t now, swept = clock_ns(CLOCK_MONOTONIC);

    while ((now = clock_ns(CLOCK_MONOTONIC)) < deadline
           && (options.count == 0 || counted.messages < options.count)) {
        int n = epoll_wait(epoll_fd, events, EVENTS, options.patience);
        if (n < 0 && errno != EINTR) {
            die("epoll_wait");
        }
        for (int i = 0; i < n; i++) {
            client_event(events[i].data.ptr);
        }
        if (options.kind == UDP && now - swept > LOST / 2) {
            resend_lost(clients, now);
            swept = now;
        }
    }
}

/* In microseconds; 0 when nothing was counted. */
static double
latency(double fraction)
{
    uint64_t passed = 0, wanted = (uint64_t)((double)counted.messages * fraction);
    int step = 0;

    if (counted.messages == 0) {
        return 0;
    }
    while (step < STEPS - 1 && (passed += counted.latencies[step]) <= wanted) {
        step++;
    }
    return step * STEP / 1e3;
}

static void
measure_messages(void)
{
    struct client *clients = calloc((size_t)options.connections, sizeof(*clients));
    int64_t began, ended, cpu;

    if (clients == NULL) {
        die("calloc");
    }
    epoll_fd = epoll_create1(0);
    if (epoll_fd < 0) {
        die("epoll_create1");
    }
    for (int i = 0; i < options.connections; i++) {
        counted.begun++;
        client_open(&clients[i]);
    }
    if (options.count == 0) {
        began = clock_ns(CLOCK_MONOTONIC);
        run_until(clients, began + (int64_t)(options.warm_up * 1e9));

        /* An error of the warm-up is an error all the same. */
        counted.messages = counted.bytes = 0;
        memset(counted.latencies, 0, sizeof(counted.latencies));
    }
    began = clock_ns(CLOCK_MONOTONIC);
    cpu = server_cpu();
    ended = options.count == 0 ? began + (int64_t)(options.seconds * 1e9) : NEVER;
    run_until(clients, ended);
    cpu = server_cpu() - cpu;
    ended = clock_ns(CLOCK_MONOTONIC);

    printf("{\"messages\": %" PRIu64 ", \"seconds\": %.6f, \"bytes\": %" PRIu64
           ", \"errors\": %" PRIu64 ", \"p50\": %.1f, \"p99\": %.1f"
           ", \"cpu\": %.6f}\n",
           counted.messages, (double)(ended - began) / 1e9, counted.bytes,
           counted.errors, latency(0.5), latency(0.99), (double)cpu / 1e9);
}

/* Open connections, and send a message over some of them: its answer says that
 * the server has accepted all that came before. */
static void
open_idle(int count)
{
    const struct timeval patience = {.tv_sec = 10};

    for (int i = 1; i <= count; i++) {
        int fd = open_socket(0);
        if (i % TOGETHER != 0 && i != count) {
            continue;
        }
        if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) < 0
            || send(fd, message, 1, MSG_NOSIGNAL) != 1
            || recv(fd, incoming, 1, 0) != 1) {
            die("idle connection");
        }
    }
}

static void
measure_memory(void)
{
    int64_t base;

    open_idle(BASE);
    base = server_memory();
    open_idle(options.connections);
    printf("{\"connections\": %d, \"bytes\": %" PRId64 ", \"errors\": 0}\n",
           options.connections, server_memory() - base);
}

static int
choice(const char *given, const char *const *names)
{
    for (int i = 0; names[i] != NULL; i++) {
        if (strcmp(given, names[i]) == 0) {
            return i;
        }
    }
    fprintf(stderr, "load: what is %s?\n", given);
    exit(2);
}

static void
read_address(const char *text)
{
    if (options.kind == UNIX) {
        struct sockaddr_un *address = (struct sockaddr_un *)&options.address;

        address->sun_family = AF_UNIX;
        snprintf(address->sun_path, sizeof(address->sun_path), "%s", text);
        options.address_len = sizeof(*address);
    }
    else {
        struct sockaddr_in *address = (struct sockaddr_in *)&options.address;

        address->sin_family = AF_INET;
        address->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        address->sin_port = htons((uint16_t)atoi(text));
        options.address_len = sizeof(*address);
    }
}

int
main(int argc, char **argv)
{
    static const char *const kinds[] = {"tcp", "unix", "udp", NULL};
    static const char *const modes[] = {"echo", "connect", "idle", NULL};
    static const char *const waits[] = {"spin", "sleep", NULL};
    struct rlimit files;

    if (argc != 11) {
        fprintf(stderr,
                "usage: load tcp|unix|udp PORT|PATH echo|connect|idle "
                "CONNECTIONS SIZE SECONDS WARM-UP COUNT spin|sleep SERVER-PID\n");
        return 2;
    }
    options.kind = choice(argv[1], kinds);
    read_address(argv[2]);
    options.mode = choice(argv[3], modes);
    options.connections = atoi(argv[4]);
    options.size = (size_t)atol(argv[5]);
    options.seconds = atof(argv[6]);
    options.warm_up = atof(argv[7]);
    options.count = strtoull(argv[8], NULL, 10);
    options.patience = choice(argv[9], waits) == 0 ? 0 : 10;
    options.pid = atoi(argv[10]);

    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    message = malloc(options.size);
    if (message == NULL) {
        die("malloc");
    }
    /* No period that a wrong offset could hide behind. */
    for (size_t i = 0; i < options.size; i++) {
        message[i] = (char)(i * i >> 4);
    }
    if (options.mode == IDLE) {
        measure_memory();
    }
    else {
        measure_messages();
    }
    return 0;
}
