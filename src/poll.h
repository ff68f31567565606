/* poll.h - the poll backend: which descriptors are ready.
 *
 * No Python. One small interface, so that another backend can take the place of
 * epoll. Level-triggered. Functions return 0 or more, or -errno.
 *
 * `tag` comes back with each event. A descriptor that was closed without
 * poll_remove() can leave a registration behind in the kernel (when a copy of it
 * is still open); its events carry the old tag, so the caller can tell them from
 * those of a new descriptor of the same number, and call poll_reopen().
 *
 * After fork the kernel's object is shared with the parent. poll_is_foreign() is
 * then true and the child must call poll_reopen() before anything else, and
 * register again what it watches: the parent's registrations stay untouched. */

#ifndef EVLOOP_POLL_H
#define EVLOOP_POLL_H

#include "base.h"

#define POLL_READ 1u
#define POLL_WRITE 2u
/* With these: told once for each change, not as long as it lasts. */
#define POLL_EDGE 4u
/* In events of what is watched with POLL_READ | POLL_EDGE, with POLL_READ: there is
 * more to come than the data before it: an end, an error, or urgent data. */
#define POLL_END 8u

#define POLL_FOREVER INT64_C(-1)

struct epoll_event;

struct poll {
    int fd; /* -1 when closed */
    unsigned fork_count;
    bool no_pwait2; /* the kernel lacks epoll_pwait2: milliseconds only */
    int cap;        /* events that one wait can return */
    struct epoll_event *events;
};

int poll_open(struct poll *p);
void poll_close(struct poll *p);
/* On an open poll: a fresh one with nothing registered. */
int poll_reopen(struct poll *p);
bool poll_is_foreign(const struct poll *p);

/* mask: POLL_READ | POLL_WRITE, level-triggered; or POLL_EDGE with them. */
int poll_add(struct poll *p, int fd, unsigned mask, uint32_t tag);
int poll_modify(struct poll *p, int fd, unsigned mask, uint32_t tag);
int poll_remove(struct poll *p, int fd);

/* Waits up to `timeout` nanoseconds (POLL_FOREVER: without end); returns the
 * number of events, which poll_event() then gives, or -EINTR. */
int poll_wait(struct poll *p, int64_t timeout);
/* Errors and hang-ups come as both POLL_READ and POLL_WRITE, as in selectors. */
unsigned poll_event(const struct poll *p, int i, int *fd, uint32_t *tag);
/* Makes room for that many events, if memory allows; else a wait returns fewer, and
 * the next one the others. */
void poll_reserve(struct poll *p, int events);

#endif
