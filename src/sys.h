/* sys.h - system calls and the clock: no Python, answers 0 or more, or -errno. */

#ifndef EVLOOP_SYS_H
#define EVLOOP_SYS_H

#include "base.h"

#include <time.h>

/* Nanoseconds of the clock that time.monotonic() reads. */
static inline int64_t
sys_now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * NS_PER_SEC + ts.tv_nsec;
}

/* The same clock as of its last tick, some milliseconds ago: much cheaper to read. */
static inline int64_t
sys_now_coarse_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &ts);
    return (int64_t)ts.tv_sec * NS_PER_SEC + ts.tv_nsec;
}

/* A non-blocking, close-on-exec eventfd. */
int sys_eventfd(void);
/* Makes the eventfd readable. Safe in any thread; a full counter is no error. */
int sys_eventfd_signal(int fd);
/* Makes the eventfd unreadable again. */
void sys_eventfd_drain(int fd);
/* A connected pair of non-blocking, close-on-exec UNIX sockets. */
int sys_socketpair(int fds[2]);
/* Reads up to `size` bytes; -EAGAIN when there is nothing to read. */
Py_ssize_t sys_read(int fd, void *data, size_t size);
/* recv() and send() that never block: -EAGAIN. */
Py_ssize_t sys_recv(int fd, void *data, size_t size, int flags);
Py_ssize_t sys_send(int fd, const void *data, size_t size, int flags);
/* Closes `*fd` unless it is -1, and sets it to -1. */
void sys_close(int *fd);

/* Counts the forks between the first process and this one. What was made at
 * another count is shared with another process. */
unsigned sys_fork_count(void);
/* Begins to count; call once or more, before the first object that asks. */
int sys_watch_forks(void);

#endif
