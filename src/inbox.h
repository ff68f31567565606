/* inbox.h - what other threads may do to a loop: hand it callbacks, and wake it.
 *
 * All Python code runs under the interpreter's lock, so the inbox of a loop is its
 * ready ring itself: a callback from another thread takes its place in the one FIFO
 * order of all calls, as in asyncio. What the lock does not cover is the wait for
 * I/O, which gives it up; a loop found asleep is roused through its eventfd, once
 * per sleep. `sleep` is read and written under the lock only. */

#ifndef EVLOOP_INBOX_H
#define EVLOOP_INBOX_H

#include "loop.h"
#include "sys.h"

/* Ends the loop's wait, or keeps the next one from waiting. Any thread. */
static inline void
inbox_wake(LoopObject *self)
{
    if (self->sleep == LOOP_ASLEEP) {
        (void)sys_eventfd_signal(self->wake_fd);
    }
    self->sleep = LOOP_ROUSED;
}

/* call_soon_threadsafe(): appends the handle, wakes the loop if it sleeps. */
static inline int
inbox_push(LoopObject *self, PyObject *handle)
{
    if (loop_push(self, handle) < 0) {
        return -1;
    }
    if (self->sleep == LOOP_ASLEEP) {
        inbox_wake(self);
    }
    return 0;
}

#endif
