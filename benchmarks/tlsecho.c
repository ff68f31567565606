/* tlsecho.c - the limit of TLS: a server with nothing but OpenSSL and epoll.
 *
 * Level-triggered, one thread. One recv for each time that a socket is readable, and
 * one send for all that comes of it: see tlsio.h. While something is still to be sent
 * nothing is read. Prints its port when ready.
 *
 * Kinds: "echo"; "source", which answers a number of eight bytes with so many
 * bytes; "sink", which answers each SINK_SIZE bytes with one.
 */

#define _GNU_SOURCE
#include "tlsio.h"
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <sys/epoll.h>

#define CHUNK (256 * 1024)
#define SINK_SIZE (1024 * 1024)
#define EVENTS 512
#define BACKLOG 4096

struct connection {
    struct tls tls;
    uint32_t watched;
    uint64_t left;   /* bytes that a source has to send */
    size_t received; /* bytes that a sink has not answered */
};

static enum { ECHO, SOURCE, SINK } kind;
static int epoll_fd;
static SSL_CTX *context;
static char incoming[RECORD_SIZE];
static char chunk[CHUNK];

static void
die(const char *what)
{
    fprintf(stderr, "tlsecho: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void
watch(int fd, struct connection *connection, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = connection};

    if (events != connection->watched) {
        int operation = connection->watched == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;
        if (epoll_ctl(epoll_fd, operation, fd, &event) < 0) {
            die("epoll_ctl");
        }
        connection->watched = events;
    }
}

static struct connection *
connection_new(void)
{
    struct connection *connection = calloc(1, sizeof(*connection));

    if (connection == NULL) {
        die("calloc");
    }
    return connection;
}

static void
accept_one(int listener)
{
    const int on = 1;
    struct connection *connection;
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);

    if (fd < 0) {
        /* The peer may have gone in the meantime. */
        if (errno != EAGAIN && errno != ECONNABORTED) {
            die("accept4");
        }
        return;
    }
    if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) < 0) {
        die("TCP_NODELAY");
    }
    connection = connection_new();
    tls_open(&connection->tls, context, fd);
    SSL_set_accept_state(connection->tls.ssl);
    watch(fd, connection, EPOLLIN);
}

static void
connection_serve(struct connection *connection, size_t received)
{
    if (kind == ECHO) {
        tls_write(&connection->tls, incoming, received);
    }
    else if (kind == SINK) {
        connection->received += received;
        while (connection->received >= SINK_SIZE) {
            connection->received -= SINK_SIZE;
            tls_write(&connection->tls, "", 1);
        }
    }
    else if (received == sizeof(connection->left)) {
        memcpy(&connection->left, incoming, received);
    }
}

/* Return 0, or -1 if the connection is gone. */
static int
connection_read(struct connection *connection)
{
    struct tls *tls = &connection->tls;
    int received;

    if (tls_receive(tls) < 0) {
        return -1;
    }
    do {
        received = tls_read(tls, incoming);
        if (received > 0) {
            connection_serve(connection, (size_t)received);
        }
    } while (received > 0 && tls_has_more(tls));
    return received < 0 ? -1 : 0;
}

/* Write some of what a source has to send. */
static void
connection_fill(struct connection *connection)
{
    size_t part = connection->left < CHUNK ? connection->left : CHUNK;

    tls_write(&connection->tls, chunk, part);
    connection->left -= part;
}

static void
connection_event(struct connection *connection, uint32_t events)
{
    struct tls *tls = &connection->tls;
    int pending = tls_flush(tls);

    if (pending == 0 && events & ~EPOLLOUT) {
        pending = connection_read(connection);
    }
    if (pending == 0 && connection->left != 0) {
        connection_fill(connection);
    }
    if (pending == 0) {
        pending = tls_flush(tls);
    }
    if (pending < 0) {
        tls_close(tls);
        free(connection);
    }
    else if (pending > 0) {
        watch(tls->fd, connection, EPOLLOUT);
    }
    else {
        watch(tls->fd, connection,
              connection->left != 0 ? EPOLLIN | EPOLLOUT : EPOLLIN);
    }
}

static int
start_listening(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);

    if (fd < 0 || bind(fd, (struct sockaddr *)&address, length) < 0
        || getsockname(fd, (struct sockaddr *)&address, &length) < 0
        || listen(fd, BACKLOG) < 0) {
        die("socket");
    }
    printf("%d\n", ntohs(address.sin_port));
    return fd;
}

static void
read_arguments(int argc, char **argv)
{
    const char *given = argc == 3 ? argv[1] : "";

    if (strcmp(given, "echo") == 0) {
        kind = ECHO;
    }
    else if (strcmp(given, "source") == 0) {
        kind = SOURCE;
    }
    else if (strcmp(given, "sink") == 0) {
        kind = SINK;
    }
    else {
        fprintf(stderr, "usage: tlsecho echo|source|sink PEM\n");
        exit(2);
    }
    context = tls_context(TLS_server_method());
    if (SSL_CTX_use_certificate_chain_file(context, argv[2]) != 1
        || SSL_CTX_use_PrivateKey_file(context, argv[2], SSL_FILETYPE_PEM) != 1) {
        tls_die(argv[2]);
    }
}

int
main(int argc, char **argv)
{
    struct epoll_event events[EVENTS];
    struct connection *first;
    int listener;

    read_arguments(argc, argv);
    epoll_fd = epoll_create1(0);
    if (epoll_fd < 0) {
        die("epoll_create1");
    }
    listener = start_listening();
    first = connection_new();
    watch(listener, first, EPOLLIN);
    fflush(stdout);

    for (;;) {
        int n = epoll_wait(epoll_fd, events, EVENTS, -1);
        if (n < 0 && errno != EINTR) {
            die("epoll_wait");
        }
        for (int i = 0; i < n; i++) {
            if (events[i].data.ptr == first) {
                accept_one(listener);
            }
            else {
                connection_event(events[i].data.ptr, events[i].events);
            }
        }
    }
}
