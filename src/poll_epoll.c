/* poll_epoll.c - poll.h over Linux's epoll. */

#include "poll.h"
#include "sys.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CAP_MIN HARD_OR(1, 256)
#define EXTRA_EVENTS ((uint32_t)(EPOLLRDHUP | EPOLLPRI))

static int
epoll_fresh(struct poll *p)
{
    int fd = epoll_create1(EPOLL_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    p->fd = fd;
    p->fork_count = sys_fork_count();
    return 0;
}

int
poll_open(struct poll *p)
{
    *p = (struct poll){.fd = -1, .cap = CAP_MIN};
    p->events = PyMem_RawMalloc(CAP_MIN * sizeof(*p->events));
    if (p->events == NULL) {
        return -ENOMEM;
    }
    int rc = epoll_fresh(p);
    if (rc < 0) {
        PyMem_RawFree(p->events);
        p->events = NULL;
    }
    return rc;
}

void
poll_close(struct poll *p)
{
    sys_close(&p->fd);
    PyMem_RawFree(p->events);
    p->events = NULL;
}

int
poll_reopen(struct poll *p)
{
    int old = p->fd;
    int rc = epoll_fresh(p);
    if (rc == 0) {
        sys_close(&old);
    }
    return rc;
}

bool
poll_is_foreign(const struct poll *p)
{
    return p->fork_count != sys_fork_count();
}

static int
epoll_change(struct poll *p, int op, int fd, unsigned mask, uint32_t tag)
{
    struct epoll_event ev = {
        .events = (mask & POLL_READ ? EPOLLIN : 0) | (mask & POLL_WRITE ? EPOLLOUT : 0)
            | (mask & POLL_EDGE ? (uint32_t)EPOLLET : 0)
            | ((mask & POLL_READ) && (mask & POLL_EDGE) ? EXTRA_EVENTS : 0),
        .data.u64 = (uint64_t)tag << 32 | (uint32_t)fd,
    };
    return epoll_ctl(p->fd, op, fd, &ev) < 0 ? -errno : 0;
}

int
poll_add(struct poll *p, int fd, unsigned mask, uint32_t tag)
{
    return epoll_change(p, EPOLL_CTL_ADD, fd, mask, tag);
}

int
poll_modify(struct poll *p, int fd, unsigned mask, uint32_t tag)
{
    return epoll_change(p, EPOLL_CTL_MOD, fd, mask, tag);
}

int
poll_remove(struct poll *p, int fd)
{
    return epoll_change(p, EPOLL_CTL_DEL, fd, 0, 0);
}

static int
wait_ms(struct poll *p, int64_t timeout)
{
    int ms = -1;
    if (timeout >= 0) {
        /* Rounded up: to wake before a timer is due would only spin. */
        int64_t up = timeout / 1000000 + (timeout % 1000000 != 0);
        ms = up > INT32_MAX ? INT32_MAX : (int)up;
    }
    return epoll_wait(p->fd, p->events, p->cap, ms);
}

int
poll_wait(struct poll *p, int64_t timeout)
{
    int n;
#ifdef SYS_epoll_pwait2
    if (timeout > 0 && !p->no_pwait2) {
        /* The kernel's own layout on every architecture, also where libc's
         * timespec differs. */
        struct {
            int64_t tv_sec;
            int64_t tv_nsec;
        } ts = {timeout / NS_PER_SEC, timeout % NS_PER_SEC};
        n = (int)syscall(SYS_epoll_pwait2, p->fd, p->events, p->cap, &ts, NULL, 0);
        if (n >= 0 || (errno != ENOSYS && errno != EPERM)) {
            return n < 0 ? -errno : n;
        }
        p->no_pwait2 = true; /* an old kernel, or a sandbox that forbids it */
    }
#endif
    n = wait_ms(p, timeout);
    return n < 0 ? -errno : n;
}

unsigned
poll_event(const struct poll *p, int i, int *fd, uint32_t *tag)
{
    struct epoll_event ev = p->events[i];
    *fd = (int)(uint32_t)ev.data.u64;
    *tag = (uint32_t)(ev.data.u64 >> 32);
    uint32_t usual = ev.events & ~EXTRA_EVENTS;
    return (ev.events & ~(uint32_t)EPOLLOUT ? POLL_READ : 0)
        | (usual & ~(uint32_t)EPOLLIN ? POLL_WRITE : 0)
        | (ev.events & ~(uint32_t)(EPOLLIN | EPOLLOUT) ? POLL_END : 0);
}

void
poll_reserve(struct poll *p, int events)
{
    int cap = p->cap;
    while (cap < events) {
        cap = cap <= INT_MAX / 2 ? cap * 2 : INT_MAX;
    }
    void *more = PyMem_RawRealloc(p->events, (size_t)cap * sizeof(*p->events));
    if (more != NULL) {
        p->events = more;
        p->cap = cap;
    }
}
