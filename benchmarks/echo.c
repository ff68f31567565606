/* echo.c - the limit: an echo server with nothing but the system calls.
 *
 * Level-triggered epoll, one thread; one recv and one send for each time that a
 * socket is readable. What send does not take is kept, and nothing more is read
 * from that socket until it is gone. Prints its port, or its path, when ready.
 */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define READ_SIZE (256 * 1024)
#define EVENTS 512
#define BACKLOG 4096

struct connection {
    int fd;
    char *left; /* what is still to be sent; NULL if nothing is */
    size_t offset;
    size_t end;
};

static int epoll_fd;
static char buffer[READ_SIZE];

static void
die(const char *what)
{
    fprintf(stderr, "echo: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void
watch(int operation, struct connection *connection, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = connection};

    if (epoll_ctl(epoll_fd, operation, connection->fd, &event) < 0) {
        die("epoll_ctl");
    }
}

static struct connection *
connection_new(int fd)
{
    struct connection *connection = calloc(1, sizeof(*connection));

    if (connection == NULL) {
        die("calloc");
    }
    connection->fd = fd;
    watch(EPOLL_CTL_ADD, connection, EPOLLIN);
    return connection;
}

static void
connection_free(struct connection *connection)
{
    close(connection->fd);
    free(connection->left);
    free(connection);
}

static void
accept_one(int listener, int is_tcp)
{
    const int on = 1;
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);

    if (fd < 0) {
        /* The peer may have gone in the meantime. */
        if (errno != EAGAIN && errno != ECONNABORTED) {
            die("accept4");
        }
        return;
    }
    if (is_tcp && setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) < 0) {
        die("TCP_NODELAY");
    }
    connection_new(fd);
}

static void
connection_readable(struct connection *connection)
{
    ssize_t sent, received = recv(connection->fd, buffer, READ_SIZE, 0);

    if (received <= 0) {
        if (received == 0 || errno != EAGAIN) {
            connection_free(connection);
        }
        return;
    }
    sent = send(connection->fd, buffer, (size_t)received, MSG_NOSIGNAL);
    if (sent < 0) {
        if (errno != EAGAIN) {
            connection_free(connection);
            return;
        }
        sent = 0;
    }
    if (sent < received) {
        connection->offset = 0;
        connection->end = (size_t)(received - sent);
        connection->left = malloc(connection->end);
        if (connection->left == NULL) {
            die("malloc");
        }
        memcpy(connection->left, buffer + sent, connection->end);
        watch(EPOLL_CTL_MOD, connection, EPOLLOUT);
    }
}

static void
connection_writable(struct connection *connection)
{
    ssize_t sent = send(connection->fd, connection->left + connection->offset,
                        connection->end - connection->offset, MSG_NOSIGNAL);

    if (sent < 0) {
        if (errno != EAGAIN) {
            connection_free(connection);
        }
        return;
    }
    connection->offset += (size_t)sent;
    if (connection->offset == connection->end) {
        free(connection->left);
        connection->left = NULL;
        watch(EPOLL_CTL_MOD, connection, EPOLLIN);
    }
}

static void
answer_datagram(int fd)
{
    struct sockaddr_storage peer;
    socklen_t length = sizeof(peer);
    ssize_t received = recvfrom(fd, buffer, READ_SIZE, 0, (struct sockaddr *)&peer,
                                &length);

    /* Datagrams may be lost: the client asks again. */
    if (received >= 0) {
        sendto(fd, buffer, (size_t)received, 0, (struct sockaddr *)&peer, length);
    }
}

static int
bind_ip(int type)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof(address);
    int fd = socket(AF_INET, type | SOCK_NONBLOCK, 0);

    if (fd < 0 || bind(fd, (struct sockaddr *)&address, length) < 0
        || getsockname(fd, (struct sockaddr *)&address, &length) < 0
        || (type == SOCK_STREAM && listen(fd, BACKLOG) < 0)) {
        die("socket");
    }
    printf("%d\n", ntohs(address.sin_port));
    return fd;
}

static int
bind_unix(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);

    snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0
        || listen(fd, BACKLOG) < 0) {
        die(path);
    }
    printf("%s\n", path);
    return fd;
}

int
main(int argc, char **argv)
{
    const char *kind = argc > 1 ? argv[1] : "";
    int is_tcp = strcmp(kind, "tcp") == 0, is_udp = strcmp(kind, "udp") == 0;
    struct epoll_event events[EVENTS];
    struct connection *first;
    struct rlimit files;
    int fd;

    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    epoll_fd = epoll_create1(0);
    if (epoll_fd < 0) {
        die("epoll_create1");
    }
    if (is_tcp || is_udp) {
        fd = bind_ip(is_udp ? SOCK_DGRAM : SOCK_STREAM);
    }
    else if (strcmp(kind, "unix") == 0 && argc > 2) {
        fd = bind_unix(argv[2]);
    }
    else {
        fprintf(stderr, "usage: echo tcp|udp|unix [PATH]\n");
        return 2;
    }
    first = connection_new(fd);
    fflush(stdout);

    for (;;) {
        int n = epoll_wait(epoll_fd, events, EVENTS, -1);
        if (n < 0 && errno != EINTR) {
            die("epoll_wait");
        }
        for (int i = 0; i < n; i++) {
            struct connection *connection = events[i].data.ptr;

            if (connection == first && is_udp) {
                answer_datagram(fd);
            }
            else if (connection == first) {
                accept_one(fd, is_tcp);
            }
            else if (connection->left != NULL) {
                connection_writable(connection);
            }
            else {
                connection_readable(connection);
            }
        }
    }
}
