/* source.c - see source.h. */

#include "source.h"
#include "compat.h"
#include "handle.h"
#include "sys.h"

#include <errno.h>

static int
source_error(int rc)
{
    errno = -rc;
    PyErr_SetFromErrno(PyExc_OSError);
    return -1;
}

/* Gives the watch table's reference back. */
static void
source_release(struct source *s)
{
    if (s->held) {
        s->held = false;
        Py_DECREF(s->owner);
    }
}

/* Has less registered. The poll of a parent process is left alone: only the table is
 * put right, which the child's own poll is filled from. */
static void
source_unregister(LoopObject *loop, int fd)
{
    if (loop->closed || loop->poll.fd < 0 || poll_is_foreign(&loop->poll)) {
        watch_note(&loop->watches, fd);
    }
    else {
        (void)watch_apply(&loop->watches, &loop->poll, fd);
    }
}

static struct watch *
source_slot(LoopObject *loop, const struct source *s)
{
    struct watch *w = watch_slot(&loop->watches, s->fd);
    return w != NULL && w->source == s ? w : NULL;
}

int
source_attach(LoopObject *loop, struct source *s)
{
    if (loop->closed) {
        return loop_err_closed();
    }
    struct watch *w = watch_slot_new(&loop->watches, s->fd);
    if (w == NULL) {
        return -1;
    }
    struct source *old = w->source;
    if (old == s) {
        return 0;
    }
    w->source = s;
    if (old != NULL) { /* its file was closed behind our back */
        old->wanted = old->mask = 0;
        source_unregister(loop, s->fd);
        source_release(old);
    }
    return 0;
}

/* A handle that a transport takes the place of. */
static void
source_cancel_handle(LoopObject *loop, struct source *s, unsigned direction)
{
    PyObject *removed;
    if (watch_unset(&loop->watches, &loop->poll, s->fd, direction, &removed) < 0) {
        PyErr_Clear();
    }
    if (removed != NULL) {
        handle_cancel(removed);
        Py_DECREF(removed);
    }
}

int
source_watch(LoopObject *loop, struct source *s, unsigned wanted)
{
    unsigned directions = wanted & (POLL_READ | POLL_WRITE);
    if (directions == 0 || loop->closed) {
        if (directions != 0) {
            return loop_err_closed();
        }
        s->wanted = 0;
        if (s->mask & POLL_WRITE && !(s->mask & POLL_EDGE)) {
            struct watch *w = source_slot(loop, s);
            if (w != NULL) {
                s->mask = 0;
                source_unregister(loop, s->fd);
            }
        }
        source_release(s);
        return 0;
    }
    if (loop_own_poll(loop) < 0 || source_attach(loop, s) < 0) {
        return -1;
    }
    struct watch *w = &loop->watches.slots[s->fd];
    bool exact = (s->mask & wanted) == wanted && w->reader == NULL && w->writer == NULL
        && (wanted & POLL_EDGE || !(s->mask & ~wanted & POLL_WRITE));
    if (!exact) {
        unsigned old = s->mask;
        s->mask = (uint8_t)(wanted & POLL_EDGE ? wanted | old : wanted);
        s->wanted = (uint8_t)directions;
        int rc = watch_apply(&loop->watches, &loop->poll, s->fd);
        if (rc < 0) {
            s->wanted = s->mask = 0;
            source_release(s);
            return source_error(rc);
        }
        loop_expect_events(loop);
    }
    s->wanted = (uint8_t)directions;
    if (!s->held) {
        s->held = true;
        Py_INCREF(s->owner);
    }
    w = &loop->watches.slots[s->fd];
    if (UNLIKELY(w->reader != NULL) && directions & POLL_READ) {
        source_cancel_handle(loop, s, POLL_READ);
    }
    w = watch_slot(&loop->watches, s->fd);
    if (w != NULL && UNLIKELY(w->writer != NULL) && directions & POLL_WRITE) {
        source_cancel_handle(loop, s, POLL_WRITE);
    }
    return 0;
}

void
source_forget(LoopObject *loop, struct source *s)
{
    struct watch *w = source_slot(loop, s);
    s->wanted = s->mask = 0;
    if (w != NULL) {
        w->source = NULL;
        source_unregister(loop, s->fd);
    }
    source_release(s);
}

int
source_event(LoopObject *loop, struct source *s, unsigned mask)
{
    if (!(s->mask & POLL_EDGE)) {
        mask &= s->wanted;
        if (mask == 0) {
            s->mask = s->wanted;
            (void)watch_apply(&loop->watches, &loop->poll, s->fd);
            return 0;
        }
    }
    return s->kind->event != NULL ? s->kind->event(loop, s, mask)
                                  : source_queue(loop, s, mask);
}

static int
source_push(LoopObject *loop, struct source *s, enum source_item item)
{
    if (UNLIKELY(ring_push(&loop->ready, (void *)((uintptr_t)s | item)) < 0)) {
        PyErr_NoMemory();
        return -1;
    }
    Py_INCREF(s->owner);
    return 0;
}

int
source_queue(LoopObject *loop, struct source *s, unsigned mask)
{
    if (!s->queued) {
        if (source_push(loop, s, ITEM_EVENTS) < 0) {
            return -1;
        }
        s->queued = true;
    }
    s->pending |= (uint8_t)mask;
    return 0;
}

int
source_soon(LoopObject *loop, struct source *s)
{
    return source_push(loop, s, ITEM_SOON);
}

void
source_flush_soon(LoopObject *loop, struct source *s)
{
    if (!s->flushing) {
        s->flushing = true;
        s->next_flush = NULL;
        Py_INCREF(s->owner);
        *loop->flush_end = s;
        loop->flush_end = &s->next_flush;
    }
}

int
source_flush_all(LoopObject *loop)
{
    PyObject *raised = PyErr_GetRaisedException();
    int rc = 0;
    while (loop->flush != NULL) {
        struct source *s = loop->flush;
        loop->flush = s->next_flush;
        if (loop->flush == NULL) {
            loop->flush_end = &loop->flush;
        }
        s->flushing = false;
        if (s->kind->flush(loop, s) < 0) {
            rc = -1;
            if (raised == NULL) {
                raised = PyErr_GetRaisedException();
            }
            PyErr_Clear();
        }
        Py_DECREF(s->owner);
    }
    PyErr_SetRaisedException(raised);
    return rc;
}

static unsigned
source_take_pending(struct source *s)
{
    unsigned mask = s->pending;
    s->pending = 0;
    s->queued = false;
    return mask;
}

int
source_run_item_steal(LoopObject *loop, void *item)
{
    struct source *s = source_of_item(item);
    PyObject *owner = s->owner;
    int rc = source_item_kind(item) == ITEM_EVENTS
        ? s->kind->run(loop, s, source_take_pending(s))
        : s->kind->soon(loop, s);
    Py_DECREF(owner);
    return rc;
}

void
source_drop_item(void *item)
{
    struct source *s = source_of_item(item);
    if (source_item_kind(item) == ITEM_EVENTS) {
        source_take_pending(s);
    }
    Py_DECREF(s->owner);
}

PyObject *
source_item_as_handle(LoopObject *loop, void *item)
{
    struct source *s = source_of_item(item);
    enum source_item kind = source_item_kind(item);
    return s->kind->handle(loop, s, kind, kind == ITEM_EVENTS ? s->pending : 0);
}

struct source *
source_transport_of_fd(LoopObject *loop, int fd)
{
    struct watch *w = watch_slot(&loop->watches, fd);
    return w != NULL && w->source != NULL && w->source->kind->is_transport ? w->source
                                                                           : NULL;
}
