/* looppoll.c - see loop.h: waiting for events, and whose they are. */

#include "loop.h"
#include "compat.h"
#include "handle.h"
#include "signal.h"
#include "source.h"
#include "sys.h"

#include <errno.h>

/* So many events at once are those of a busy server: the next look may be put off. */
#define CROWD HARD_OR(2, 8)

/* What a cancelled handle in the table asks for: nobody called remove_reader(). */
static int
loop_forget_watch(LoopObject *self, int fd, unsigned direction)
{
    PyObject *removed;
    int rc = watch_unset(&self->watches, &self->poll, fd, direction, &removed);
    Py_XDECREF(removed);
    return rc;
}

static int
loop_deliver(LoopObject *self, int fd, unsigned direction, PyObject *handle)
{
    if (handle == NULL) {
        return 0;
    }
    return HANDLE(handle)->cancelled ? loop_forget_watch(self, fd, direction)
                                     : loop_push(self, handle);
}

/* One event of a watched descriptor. With `events` the handles' are noted there, for
 * _process_events(), which knows nothing of sources: those are told all the same. */
static int
loop_take_event(LoopObject *self, int fd, unsigned mask, PyObject *events)
{
    struct watch *w = watch_find(&self->watches, fd);
    unsigned end = mask & POLL_END;
    mask &= w->mask;
    if (LIKELY(w->source != NULL)) {
        unsigned rest = mask & ~(w->reader ? POLL_READ : 0)
            & ~(w->writer ? POLL_WRITE : 0);
        if (rest != 0 && source_event(self, w->source, rest | end) < 0) {
            return -1;
        }
    }
    if (events != NULL) {
        PyObject *pair = Py_BuildValue("(iI)", fd, mask);
        int rc = pair == NULL ? -1 : PyList_Append(events, pair);
        Py_XDECREF(pair);
        return rc;
    }
    w = watch_find(&self->watches, fd);
    if (LIKELY(w == NULL || (w->reader == NULL && w->writer == NULL))) {
        return 0;
    }
    if (mask & POLL_READ && loop_deliver(self, fd, POLL_READ, w->reader) < 0) {
        return -1;
    }
    /* The slot may have moved: dropping a cancelled reader can run Python. */
    w = watch_find(&self->watches, fd);
    if (w != NULL && mask & POLL_WRITE
        && loop_deliver(self, fd, POLL_WRITE, w->writer) < 0) {
        return -1;
    }
    return 0;
}

/* Without a descriptor to be had it stays as it was, until the next stale event. */
static int
loop_rebuild_poll(LoopObject *self)
{
    if (poll_reopen(&self->poll) < 0) {
        return 0;
    }
    int rc = loop_add_own_fds(self);
    if (rc < 0) {
        return loop_os_error(rc);
    }
    watch_register_all(&self->watches, &self->poll);
    return 0;
}

static int
loop_take_events(LoopObject *self, int n, PyObject *events)
{
    bool stale = false;
    PyObject *raised = NULL;
    /* Taking an event can run Python, which could close the loop. */
    for (int i = 0; i < n && !self->closed; i++) {
        int fd;
        uint32_t tag;
        unsigned mask = poll_event(&self->poll, i, &fd, &tag);
        if (tag == TAG_WAKE) {
            sys_eventfd_drain(self->wake_fd);
            continue;
        }
        struct watch *w = watch_find(&self->watches, fd);
        int rc = 0;
        if (tag == TAG_SIGNAL) {
            rc = signal_schedule_read(self);
        }
        else if (w == NULL || w->tag != tag) {
            stale = true;
        }
        else {
            rc = loop_take_event(self, fd, mask, events);
        }
        if (UNLIKELY(rc < 0)) {
            /* The others' events are taken; of an edge that was missed a new poll tells
             * once more. */
            stale = true;
            if (raised == NULL) {
                raised = PyErr_GetRaisedException();
            }
            PyErr_Clear();
        }
    }
    int rc = UNLIKELY(stale) && !self->closed ? loop_rebuild_poll(self) : 0;
    if (UNLIKELY(raised != NULL)) {
        PyErr_Clear();
        PyErr_SetRaisedException(raised);
        return -1;
    }
    return rc;
}

static int
loop_wait(LoopObject *self, int64_t timeout)
{
    int n;
    if (timeout == 0) {
        return poll_wait(&self->poll, 0);
    }
    loop_leave_task(self);
    self->sleep = LOOP_ASLEEP;
    Py_BEGIN_ALLOW_THREADS
    n = poll_wait(&self->poll, timeout);
    Py_END_ALLOW_THREADS
    self->sleep = LOOP_AWAKE;
    self->breathed_at = sys_now_coarse_ns();
    return n;
}

int
loop_flush(LoopObject *self)
{
    loop_leave_task(self);
    return source_flush_all(self);
}

int
loop_poll(LoopObject *self, int64_t timeout, PyObject *events)
{
    /* There is something only if a callback polls by hand. */
    if (self->flush != NULL && self->sleep != LOOP_ASLEEP && loop_flush(self) < 0) {
        return -1;
    }
    if (self->sleep == LOOP_ASLEEP) {
        PyErr_SetString(PyExc_RuntimeError,
                        "the event loop is polling in another thread");
        return -1;
    }
    if (UNLIKELY(self->closed)) {
        return loop_err_closed();
    }
    if (loop_own_poll(self) < 0) {
        return -1;
    }
    if (self->sleep == LOOP_ROUSED || ring_len(&self->ready) > 0) {
        timeout = 0;
        self->sleep = LOOP_AWAKE;
    }
    if (timeout > SLEEP_MAX_NS) {
        timeout = SLEEP_MAX_NS;
    }
    /* All that is ready is seen in one turn: our own two descriptors, and the others.
     */
    if (UNLIKELY(self->poll.cap < self->watches.count + 2)) {
        poll_reserve(&self->poll, self->watches.count + 2);
    }
    self->crowded = false;
    int n = loop_wait(self, timeout);
    if (n != 0) {
        loop_leave_task(self);
    }
    if (n == -EINTR) {
        return PyErr_CheckSignals();
    }
    if (n < 0) {
        return loop_os_error(n);
    }
    if (n > 0) {
        loop_expect_events(self);
        if (n >= CROWD && events == NULL) {
            self->crowded = true;
            self->coarse_at = sys_now_coarse_ns();
        }
        return loop_take_events(self, n, events);
    }
    if (self->quiet < QUIET_TURNS) {
        self->quiet++;
    }
    return 0;
}
