/* sys.c - see sys.h. */

#include "sys.h"

#include <errno.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

int
sys_eventfd(void)
{
    int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

int
sys_eventfd_signal(int fd)
{
    uint64_t one = 1;
    ssize_t n;
    do {
        n = write(fd, &one, sizeof(one));
    } while (n < 0 && errno == EINTR);
    return n < 0 && errno != EAGAIN ? -errno : 0;
}

void
sys_eventfd_drain(int fd)
{
    uint64_t count;
    (void)sys_read(fd, &count, sizeof(count));
}

int
sys_socketpair(int fds[2])
{
    int type = SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC;
    return socketpair(AF_UNIX, type, 0, fds) < 0 ? -errno : 0;
}

Py_ssize_t
sys_read(int fd, void *data, size_t size)
{
    ssize_t n;
    do {
        n = read(fd, data, size);
    } while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

Py_ssize_t
sys_recv(int fd, void *data, size_t size, int flags)
{
    ssize_t n;
    do {
        n = recv(fd, data, size, flags | MSG_DONTWAIT);
    } while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

Py_ssize_t
sys_send(int fd, const void *data, size_t size, int flags)
{
    ssize_t n;
    do {
        n = send(fd, data, size, flags | MSG_DONTWAIT);
    } while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

void
sys_close(int *fd)
{
    if (*fd >= 0) {
        close(*fd);
        *fd = -1;
    }
}

static unsigned fork_count;

static void
count_fork(void)
{
    fork_count++;
}

unsigned
sys_fork_count(void)
{
    return fork_count;
}

static int watch_result;

static void
watch_forks_once(void)
{
    watch_result = -pthread_atfork(NULL, NULL, count_fork);
}

int
sys_watch_forks(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, watch_forks_once);
    return watch_result;
}
