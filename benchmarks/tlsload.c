/* tlsload.c - clients of a TLS server: one thread, epoll, OpenSSL.
 *
 * TLS 1.3 with AES-256-GCM and X25519. No session is used again, and certificates
 * are not verified: that is not the server's work. clients.h tells what is
 * measured; it begins when all connections have made their handshakes.
 *
 * Modes: "echo", messages over connections that stay, one in flight on each, and
 * what comes back is compared; "connect", a connection for each message, which
 * ends with a close_notify; "source", the server is asked for bytes without end,
 * or for COUNT messages of them, and each SIZE that came is a message; "sink",
 * bytes are sent as fast as they are taken, and each byte that comes back says that
 * SIZE of them arrived.
 */

#define _GNU_SOURCE
#include "clients.h"
#include "tlsio.h"

/* Handshakes that take longer than this are given up. */
#define SETTING_UP (60 * SECOND)

/* What "without end" is to the server, which subtracts from it. */
#define ENDLESS (UINT64_C(1) << 62)

struct client {
    struct tls tls;
    enum { SHAKING, UP, DONE } state;
    uint32_t watched;
    size_t sent; /* of the message that a sink takes */
    size_t received;
    int64_t began;
};

static enum { ECHO, CONNECT, SOURCE, SINK } mode;
static struct sockaddr_in address;
static SSL_CTX *context;
static int handshakes;

/* Return as tls_flush() does. */
static int
client_flush(struct client *client)
{
    int pending = tls_flush(&client->tls);
    int fills = mode == SINK && client->state == UP;
    uint32_t events = pending > 0 || fills ? EPOLLIN | EPOLLOUT : EPOLLIN;
    struct epoll_event event = {.events = events, .data.ptr = client};

    if (events != client->watched) {
        int operation = client->watched == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;
        if (epoll_ctl(epoll_fd, operation, client->tls.fd, &event) < 0) {
            die("epoll_ctl");
        }
        client->watched = events;
    }
    return pending;
}

/* Send what begins a message. */
static void
client_ask(struct client *client)
{
    if (mode == SOURCE) {
        uint64_t wanted = options.count == 0 ? ENDLESS : options.count * options.size;
        tls_write(&client->tls, &wanted, sizeof(wanted));
    }
    else if (mode != SINK) {
        tls_write(&client->tls, message, options.size);
    }
}

static void
client_open(struct client *client)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);

    if (fd < 0) {
        die("socket");
    }
    prepare_tcp(fd);
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0
        && errno != EINPROGRESS) {
        die("connect");
    }
    tls_open(&client->tls, context, fd);
    SSL_set_connect_state(client->tls.ssl);
    client->state = SHAKING;
    client->watched = 0;
    client->sent = client->received = 0;
    client->began = clock_ns(CLOCK_MONOTONIC);
    /* This begins the handshake. What fails is an event too. */
    tls_read(&client->tls, incoming);
    client_flush(client);
}

/* The message that was under way begins anew. */
static void
client_reopen(struct client *client)
{
    tls_close(&client->tls);
    client_open(client);
}

/* Begin the next message, if there is to be one. */
static void
client_next(struct client *client, int64_t now)
{
    client->began = now;
    client->received -= options.size;
    if (mode == SOURCE || mode == SINK) {
        return;
    }
    if (!begin_message()) {
        client->state = DONE;
    }
    else if (mode == CONNECT) {
        client_reopen(client);
    }
    else {
        client_ask(client);
    }
}

/* Take a part of an answer. Return 0, or -1 if it is wrong. */
static int
client_take(struct client *client, size_t size)
{
    if (mode == SINK) {
        size *= options.size;
    }
    else if (mode != SOURCE
             && (size > options.size - client->received
                 || memcmp(incoming, message + client->received, size) != 0)) {
        return -1;
    }
    client->received += size;
    counted.bytes += size;
    while (client->received >= options.size) {
        client_next(client, end_message(client->began));
    }
    return 0;
}

/* Take all that came. Return 0, or -1 if it is wrong or the connection is gone. */
static int
client_receive(struct client *client)
{
    int status;

    if (tls_receive(&client->tls) < 0) {
        return -1;
    }
    do {
        int size = tls_read(&client->tls, incoming);
        if (client->state == SHAKING && SSL_is_init_finished(client->tls.ssl)) {
            handshakes++;
            client->state = UP;
            client_ask(client);
        }
        if (size <= 0) {
            return size;
        }
        status = client_take(client, (size_t)size);
    } while (status == 0 && tls_has_more(&client->tls));
    return status;
}

/* Send a part of the message that is under way to a sink. */
static void
client_fill(struct client *client)
{
    size_t left = options.size - client->sent;
    size_t part = left < READ_SIZE ? left : READ_SIZE;

    tls_write(&client->tls, message + client->sent, part);
    client->sent += part;
    if (client->sent == options.size) {
        client->sent = 0;
        if (!begin_message()) {
            client->state = DONE;
        }
    }
}

static void
client_event(struct client *client, uint32_t events)
{
    /* EPOLLERR and EPOLLHUP have recv() say what there is. */
    int status = events & ~EPOLLOUT ? client_receive(client) : 0;

    if (status == 0 && mode == SINK && client->state == UP
        && tls_flush(&client->tls) == 0) {
        client_fill(client);
    }
    if (status < 0 || client_flush(client) < 0) {
        failed("connection");
        client_reopen(client);
    }
}

static void
handle_events(void)
{
    struct epoll_event events[EVENTS];
    int n = epoll_wait(epoll_fd, events, EVENTS, options.patience);

    if (n < 0 && errno != EINTR) {
        die("epoll_wait");
    }
    for (int i = 0; i < n; i++) {
        client_event(events[i].data.ptr, events[i].events);
    }
}

static void
run_until(int64_t deadline)
{
    while (clock_ns(CLOCK_MONOTONIC) < deadline && !all_counted()) {
        handle_events();
    }
}

static void
open_clients(void)
{
    struct client *clients = calloc((size_t)options.connections, sizeof(*clients));
    int64_t latest = clock_ns(CLOCK_MONOTONIC) + SETTING_UP;

    if (clients == NULL) {
        die("calloc");
    }
    for (int i = 0; i < options.connections; i++) {
        counted.begun++;
        client_open(&clients[i]);
    }
    while (handshakes < options.connections) {
        handle_events();
        if (clock_ns(CLOCK_MONOTONIC) > latest) {
            fprintf(stderr, "load: handshakes take too long\n");
            exit(1);
        }
    }
}

int
main(int argc, char **argv)
{
    static const char *const modes[] = {"echo", "connect", "source", "sink", NULL};

    if (argc != 3 + COMMON_OPTIONS) {
        fprintf(stderr,
                "usage: tlsload PORT echo|connect|source|sink " COMMON_USAGE "\n");
        return 2;
    }
    address = server_address(argv[1]);
    mode = choice(argv[2], modes);
    set_up(argv + 3);
    if (options.connections != 1 && (mode == SOURCE || mode == SINK)) {
        fprintf(stderr, "load: a source and a sink have one connection\n");
        return 2;
    }
    context = tls_context(TLS_client_method());
    if (!SSL_CTX_set_ciphersuites(context, "TLS_AES_256_GCM_SHA384")
        || !SSL_CTX_set1_groups_list(context, "X25519")) {
        tls_die("ciphers");
    }
    open_clients();
    measure_messages();
    return 0;
}
