/* load.c - closed-loop clients of an echo server: one thread, epoll.
 *
 * Each connection has one message in flight and compares what comes back;
 * clients.h tells what is measured.
 *
 * Modes: "echo", messages over connections that stay; "connect", a connection
 * for each message; "idle", connections that are opened and held while the
 * server's resident memory is read.
 */

#define _GNU_SOURCE
#include "clients.h"
#include <sys/time.h>
#include <sys/un.h>

/* A datagram unanswered for so long is lost: an error, and sent again. */
#define LOST SECOND

/* Idle connections opened before the base of the memory is read, and the number
 * opened between two waits for the server to catch up. */
#define BASE 100
#define TOGETHER 50

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
} server;

static struct client *clients;

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

static int
open_socket(int flags)
{
    int type = (server.kind == UDP ? SOCK_DGRAM : SOCK_STREAM) | flags;
    int fd = socket(server.address.ss_family, type, 0);

    if (fd < 0) {
        die("socket");
    }
    if (server.kind == TCP) {
        prepare_tcp(fd);
    }
    if (connect(fd, (struct sockaddr *)&server.address, server.address_len) < 0
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
            if (server.kind != TCP) {
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
    client->fd = open_socket(server.kind == UNIX ? 0 : SOCK_NONBLOCK);
    client->sent = 0;
    client->received = 0;
    client->began = clock_ns(CLOCK_MONOTONIC);
    client_watch(client, EPOLL_CTL_ADD,
                 server.kind == TCP ? EPOLLIN | EPOLLOUT : EPOLLIN);
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
    if (!begin_message()) {
        client->began = NEVER;
        return;
    }
    if (server.mode == CONNECT) {
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
        client_next(client, end_message(client->began));
    }
}

static void
resend_lost(int64_t now)
{
    for (int i = 0; i < options.connections; i++) {
        if (now - clients[i].began > LOST) {
            failed("datagrams");
            client_reopen(&clients[i]);
        }
    }
}

static void
run_until(int64_t deadline)
{
    struct epoll_event events[EVENTS];
    int64_t now, swept = clock_ns(CLOCK_MONOTONIC);

    while ((now = clock_ns(CLOCK_MONOTONIC)) < deadline && !all_counted()) {
        int n = epoll_wait(epoll_fd, events, EVENTS, options.patience);
        if (n < 0 && errno != EINTR) {
            die("epoll_wait");
        }
        for (int i = 0; i < n; i++) {
            client_event(events[i].data.ptr);
        }
        if (server.kind == UDP && now - swept > LOST / 2) {
            resend_lost(now);
            swept = now;
        }
    }
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

static void
open_clients(void)
{
    clients = calloc((size_t)options.connections, sizeof(*clients));
    if (clients == NULL) {
        die("calloc");
    }
    for (int i = 0; i < options.connections; i++) {
        counted.begun++;
        client_open(&clients[i]);
    }
}

static void
read_address(const char *text)
{
    if (server.kind == UNIX) {
        struct sockaddr_un *address = (struct sockaddr_un *)&server.address;

        address->sun_family = AF_UNIX;
        snprintf(address->sun_path, sizeof(address->sun_path), "%s", text);
        server.address_len = sizeof(*address);
    }
    else {
        *(struct sockaddr_in *)&server.address = server_address(text);
        server.address_len = sizeof(struct sockaddr_in);
    }
}

int
main(int argc, char **argv)
{
    static const char *const kinds[] = {"tcp", "unix", "udp", NULL};
    static const char *const modes[] = {"echo", "connect", "idle", NULL};

    if (argc != 4 + COMMON_OPTIONS) {
        fprintf(stderr,
                "usage: load tcp|unix|udp PORT|PATH echo|connect|idle " COMMON_USAGE
                "\n");
        return 2;
    }
    server.kind = choice(argv[1], kinds);
    read_address(argv[2]);
    server.mode = choice(argv[3], modes);
    set_up(argv + 4);
    if (server.mode == IDLE) {
        measure_memory();
    }
    else {
        open_clients();
        measure_messages();
    }
    return 0;
}
