/* loop.c - see loop.h: turns and timers.
 *
 * When a turn does not poll. With work ready a poll cannot wait, only look; asyncio
 * looks every turn. We look every turn too, but
 *  - not when nothing is watched: there is nothing to see;
 *  - not in the turn after a look that saw a crowd (see looppoll.c), unless a timer is
 *    due or the coarse clock has ticked since: what the events have scheduled runs
 *    first. So the connections of a busy server keep step: all are read, then all tasks
 *    run, then all answers leave. Else half of them would always be one step behind;
 *  - not when QUIET_TURNS turns in a row have seen nothing and made no timer due:
 *    then POLL_EVERY_NS pass between two looks. The clock itself is read every
 *    `quota` turns, a number that halves when turns are slow; in between, a look at
 *    the coarse clock (a fourth of the price) ends the skipping when it ticks: turns
 *    that suddenly become slow delay a look by one tick and one turn at most.
 * Whatever may make an event likely (a new watch, a timer due soon) calls
 * loop_expect_events(), which begins the count of quiet turns anew. */

#include "loop.h"
#include "compat.h"
#include "handle.h"
#include "source.h"
#include "sys.h"

#include <errno.h>
#include <math.h>

#define POLL_EVERY_NS (100 * 1000)
#define QUOTA_MAX 16
/* Callbacks that are no Python code never let other threads and signal handlers in: we
 * do, once in a tick of the coarse clock, which is read after so many callbacks; after
 * each one while something waits to be sent, which it does for a tick at most. */
#define CALLBACKS_PER_LOOK 8

/* --- life --------------------------------------------------------------------- */

int
loop_os_error(int rc)
{
    if (rc == -ENOMEM) {
        PyErr_NoMemory();
        return -1;
    }
    errno = -rc;
    PyErr_SetFromErrno(PyExc_OSError);
    return -1;
}

int
loop_add_own_fds(LoopObject *self)
{
    int rc = poll_add(&self->poll, self->wake_fd, POLL_READ, TAG_WAKE);
    if (rc == 0 && self->signal_fd[0] >= 0) {
        rc = poll_add(&self->poll, self->signal_fd[0], POLL_READ, TAG_SIGNAL);
    }
    return rc;
}

int
loop_open(LoopObject *self)
{
    int rc = sys_watch_forks();
    if (rc == 0) {
        rc = poll_open(&self->poll);
    }
    if (rc == 0) {
        rc = sys_eventfd();
        self->wake_fd = rc < 0 ? -1 : rc;
    }
    if (rc >= 0) {
        rc = loop_add_own_fds(self);
    }
    if (rc < 0) {
        loop_release(self);
        return loop_os_error(rc);
    }
    self->opened = true;
    self->closed = false;
    return 0;
}

void
loop_release(LoopObject *self)
{
    poll_close(&self->poll);
    sys_close(&self->wake_fd);
    sys_close(&self->signal_fd[0]);
    sys_close(&self->signal_fd[1]);
}

int
loop_after_fork(LoopObject *self)
{
    if (self->poll.fd < 0) { /* closed; nothing is shared */
        return 0;
    }
    int wake_fd = sys_eventfd();
    if (wake_fd < 0) {
        return loop_os_error(wake_fd);
    }
    int rc = poll_reopen(&self->poll);
    if (rc < 0) {
        sys_close(&wake_fd);
        return loop_os_error(rc);
    }
    sys_close(&self->wake_fd);
    self->wake_fd = wake_fd;
    sys_close(&self->signal_fd[0]);
    sys_close(&self->signal_fd[1]);
    rc = loop_add_own_fds(self);
    if (rc < 0) {
        return loop_os_error(rc);
    }
    watch_register_all(&self->watches, &self->poll);
    return 0;
}

void
loop_drop_ready(LoopObject *self, struct ring *ready)
{
    while (ring_len(ready) > 0) {
        PyObject *item = ring_pop(ready);
        if (source_item_kind(item)) {
            source_drop_item(item);
            continue;
        }
        if (loop_item_is_task(self, item)) {
            self->st->task_unqueue(item);
        }
        Py_DECREF(item);
    }
    ring_free(ready);
}

void
loop_drop_all(LoopObject *self)
{
    loop_drop_ready(self, &self->ready);
    while (self->timers.len > 0) {
        TimerData *t = TIMER_OF_NODE(self->timers.entries[0].node);
        heap_remove(&self->timers, &t->node);
        Py_DECREF(timer_object(t));
    }
    heap_free(&self->timers);
    watch_clear(&self->watches);
    while (self->flush != NULL) {
        struct source *s = self->flush;
        self->flush = s->next_flush;
        if (self->flush == NULL) {
            self->flush_end = &self->flush;
        }
        s->flushing = false;
        Py_DECREF(s->owner);
    }
    PyMem_RawFree(self->read_buffer);
    self->read_buffer = NULL;
    PyMem_RawFree(self->spare);
    self->spare = NULL;
    mmsg_free(self->mmsg);
    self->mmsg = NULL;
}

char *
loop_read_buffer(LoopObject *self)
{
    if (UNLIKELY(self->read_buffer == NULL)) {
        self->read_buffer = PyMem_RawMalloc(READ_BUFFER_SIZE);
        if (self->read_buffer == NULL) {
            PyErr_NoMemory();
        }
    }
    return self->read_buffer;
}

void
loop_return_buffer(LoopObject *self, char *buffer)
{
    if (self->read_buffer == NULL && !self->closed) {
        self->read_buffer = buffer;
    }
    else {
        PyMem_RawFree(buffer);
    }
}

/* --- timers ------------------------------------------------------------------- */

int64_t
loop_key_of(double when)
{
    double ns = ceil(when * 1e9);
    if (!(ns > (double)INT64_MIN)) { /* NaN too */
        return INT64_MIN;
    }
    return ns < (double)INT64_MAX ? (int64_t)ns : INT64_MAX;
}

int
loop_add_timer(LoopObject *self, PyObject *handle, int64_t key)
{
    TimerData *t = TIMER(handle);
    assert(t->node.index == HEAP_OUT);
    if (heap_push(&self->timers, &t->node, key) < 0) {
        PyErr_NoMemory();
        return -1;
    }
    Py_INCREF(handle);
    if (key < self->checked_at + 2 * POLL_EVERY_NS) {
        loop_expect_events(self);
    }
    return 0;
}

void
loop_remove_timer(LoopObject *self, PyObject *handle)
{
    TimerData *t = TIMER(handle);
    struct heap *h = &self->timers;
    if (t->node.index < h->len && h->entries[t->node.index].node == &t->node) {
        heap_remove(h, &t->node);
        Py_DECREF(handle); /* not the last: the caller has one */
    }
}

int
loop_timer_cancelled(PyObject *loop, PyObject *handle)
{
    core_state *st = HANDLE(handle)->st;
    LoopObject *self = loop_from_object_borrow(st, loop);
    if (LIKELY(self != NULL && !loop_hooked(self, HOOK_TIMER_CANCELLED))) {
        loop_remove_timer(self, handle);
        return 0;
    }
    Py_INCREF(loop);
    PyObject *res = PyObject_CallMethod(loop, "_timer_handle_cancelled", "O", handle);
    if (self != NULL) {
        loop_remove_timer(self, handle);
    }
    Py_DECREF(loop);
    Py_XDECREF(res);
    return res == NULL ? -1 : 0;
}

/* Moves the first timer to the ready ring, with its reference. */
static int
loop_pop_timer(LoopObject *self)
{
    TimerData *t = TIMER_OF_NODE(self->timers.entries[0].node);
    if (ring_push(&self->ready, timer_object(t)) < 0) {
        PyErr_NoMemory();
        return -1;
    }
    heap_remove(&self->timers, &t->node);
    return 0;
}

/* --- a turn ------------------------------------------------------------------- */

/* With work ready: may this turn do without a poll? */
static bool
loop_may_skip_poll(LoopObject *self)
{
    if (self->skip > 0 && sys_now_coarse_ns() == self->coarse_at) {
        self->skip--;
        return true;
    }
    self->skip = 0;
    if (self->quiet < QUIET_TURNS) {
        return false;
    }
    int64_t now = sys_now_ns();
    int64_t slow = POLL_EVERY_NS / 4;
    self->quota = now - self->checked_at > slow ? self->quota / 2
        : self->quota < QUOTA_MAX               ? self->quota + 1
                                                : QUOTA_MAX;
    self->checked_at = now;
    if (now - self->polled_at >= POLL_EVERY_NS
        || (self->timers.len > 0 && self->timers.entries[0].key <= now)) {
        return false;
    }
    self->skip = self->quota;
    self->coarse_at = sys_now_coarse_ns();
    return true;
}

/* The last look saw a crowd: what that has scheduled comes before the next one. But no
 * timer becomes ready without a look before it. */
static bool
loop_may_put_off_poll(LoopObject *self)
{
    if (LIKELY(!self->crowded)) {
        return false;
    }
    self->crowded = false;
    return sys_now_coarse_ns() == self->coarse_at
        && (self->timers.len == 0 || self->timers.entries[0].key > sys_now_ns());
}

/* Nothing can be seen by looking: no descriptor but our own is watched. */
static inline bool
loop_is_blind(const LoopObject *self)
{
    return self->watches.count == 0 && self->signal_fd[0] < 0 && HARD_OR(false, true);
}

/* Lets other threads and signal handlers in, if that is due. */
static int
loop_breathe(LoopObject *self)
{
    self->callbacks = 0;
    int64_t now = sys_now_coarse_ns();
    if (now == self->breathed_at) {
        return 0;
    }
    self->breathed_at = now;
    if (self->flush != NULL && loop_flush(self) < 0) {
        return -1;
    }
    if (self->entered != NULL && !self->stepping) {
        self->st->task_pause(self);
    }
    Py_BEGIN_ALLOW_THREADS
    Py_END_ALLOW_THREADS
    return PyErr_CheckSignals();
}

/* Polls and makes due timers ready, by our own clock and backend. */
static int
loop_gather(LoopObject *self)
{
    bool busy = ring_len(&self->ready) > 0 || self->stopping;
    if (busy && !self->stopping
        && (loop_may_put_off_poll(self) || loop_may_skip_poll(self))) {
        return 0;
    }
    if (busy && loop_is_blind(self)) {
        if (self->sleep == LOOP_ROUSED) {
            self->sleep = LOOP_AWAKE;
        }
        if (self->timers.len == 0) {
            return loop_own_poll(self);
        }
        if (self->quiet < QUIET_TURNS) {
            self->quiet++;
        }
    }
    else {
        int64_t timeout = POLL_FOREVER;
        if (busy) {
            timeout = 0;
        }
        else if (self->timers.len > 0) {
            int64_t key = self->timers.entries[0].key;
            int64_t now = sys_now_ns();
            timeout = key <= now ? 0 : key - now;
        }
        if (loop_poll(self, timeout, NULL) < 0) {
            return -1;
        }
    }
    if (self->timers.len == 0 && !busy) {
        return 0;
    }
    int64_t now = sys_now_ns();
    self->polled_at = self->checked_at = now;
    if (self->timers.len > 0 && self->timers.entries[0].key <= now) {
        loop_expect_events(self);
        do {
            if (loop_pop_timer(self) < 0) {
                return -1;
            }
        } while (self->timers.len > 0 && self->timers.entries[0].key <= now);
    }
    return 0;
}

/* asyncio's own events, for a replaced selector or overridden methods. */
static int
loop_select(LoopObject *self, PyObject *timeout)
{
    PyObject *op = (PyObject *)self;
    core_state *st = self->st;
    PyObject *selector = PyObject_GetAttr(op, st->str__selector);
    PyObject *events = NULL, *res = NULL;
    if (selector != NULL) {
        events = PyObject_CallMethodOneArg(selector, st->str_select, timeout);
    }
    if (events != NULL) {
        res = PyObject_CallMethodOneArg(op, st->str__process_events, events);
    }
    Py_XDECREF(selector);
    Py_XDECREF(events);
    Py_XDECREF(res);
    return res == NULL ? -1 : 0;
}

/* The same by the time() of a subclass, in its units and with asyncio's rules: due
 * is what lies before now + _clock_resolution. */
static int
loop_gather_hooked(LoopObject *self)
{
    double timeout = -1; /* forever */
    loop_leave_task(self);
    if (self->flush != NULL && loop_flush(self) < 0) {
        return -1;
    }
    if (ring_len(&self->ready) > 0 || self->stopping) {
        timeout = 0;
    }
    else if (self->timers.len > 0) {
        double now = loop_time(self);
        if (now == -1 && PyErr_Occurred()) {
            return -1;
        }
        if (self->timers.len > 0) {
            timeout = TIMER_OF_NODE(self->timers.entries[0].node)->when - now;
            timeout = timeout > 0 ? fmin(timeout, SLEEP_MAX_NS / 1e9) : 0;
        }
    }
    int rc;
    if (self->selector != SELECTOR_OURS
        || loop_hooked(self, HOOK_PROCESS_EVENTS | HOOK_ADD_CALLBACK)) {
        PyObject *seconds = timeout < 0 ? Py_NewRef(Py_None)
                                        : PyFloat_FromDouble(timeout);
        rc = seconds == NULL ? -1 : loop_select(self, seconds);
        Py_XDECREF(seconds);
    }
    else {
        rc = loop_poll(self, timeout < 0 ? POLL_FOREVER : loop_key_of(timeout), NULL);
    }
    if (rc < 0 || self->timers.len == 0) {
        return rc;
    }
    double now = loop_time(self);
    if (now == -1 && PyErr_Occurred()) {
        return -1;
    }
    PyObject *attr = PyObject_GetAttr((PyObject *)self,
                                      self->st->str__clock_resolution);
    double resolution = attr == NULL ? -1 : PyFloat_AsDouble(attr);
    Py_XDECREF(attr);
    if (resolution == -1 && PyErr_Occurred()) {
        return -1;
    }
    double step = PY_VERSION_HEX >= 0x030F0000 ? nextafter(now, INFINITY) - now : 0;
    double end = now + fmax(resolution, step);
    while (self->timers.len > 0
           && !(TIMER_OF_NODE(self->timers.entries[0].node)->when >= end)) {
        if (loop_pop_timer(self) < 0) {
            return -1;
        }
    }
    return 0;
}

/* A handle of somebody else's class, or a subclass of ours. */
static int
loop_run_stranger(LoopObject *self, PyObject *item)
{
    PyObject *res = PyObject_CallMethodNoArgs(item, self->st->str__run);
    Py_XDECREF(res);
    return res == NULL ? -1 : 0;
}

static int
loop_run_item(LoopObject *self, PyObject *item)
{
    return handle_is_exact(item) ? handle_run(item) : loop_run_stranger(self, item);
}

/* 'Executing <Handle ...> took 0.123 seconds' */
static int
loop_warn_slow(LoopObject *self, PyObject *item, double took)
{
    core_state *st = self->st;
    PyObject *text = PyObject_CallMethodOneArg(st->base_events, st->str__format_handle,
                                               item);
    return text == NULL
        ? -1
        : state_log(
              st, "warning",
              Py_BuildValue("(sNd)", "Executing %s took %.3f seconds", text, took),
              false);
}

static int
loop_time_item(LoopObject *self, PyObject *item)
{
    double began = loop_time(self);
    if ((began == -1 && PyErr_Occurred()) || loop_run_item(self, item) < 0) {
        return -1;
    }
    double took = loop_time(self) - began;
    if (PyErr_Occurred()) {
        return -1;
    }
    PyObject *limit = PyObject_GetAttr((PyObject *)self,
                                       self->st->str_slow_callback_duration);
    PyObject *dt = limit == NULL ? NULL : PyFloat_FromDouble(took);
    int slow = dt == NULL ? -1 : PyObject_RichCompareBool(dt, limit, Py_GE);
    Py_XDECREF(limit);
    Py_XDECREF(dt);
    return slow > 0 ? loop_warn_slow(self, item, took) : slow;
}

static int
loop_run_item_in_debug(LoopObject *self, PyObject *item)
{
    Py_XSETREF(self->current_handle, Py_NewRef(item));
    int rc = loop_time_item(self, item);
    PyObject *exc = PyErr_GetRaisedException();
    Py_CLEAR(self->current_handle);
    PyErr_SetRaisedException(exc);
    return rc;
}

/* Runs a handle; steals it. */
static int
loop_run_handle_steal(LoopObject *self, PyObject *item)
{
    loop_leave_task(self);
    int rc = handle_is_cancelled(self->st, item);
    if (LIKELY(rc == 0)) {
        rc = UNLIKELY(self->debug) ? loop_run_item_in_debug(self, item)
                                   : loop_run_item(self, item);
    }
    Py_DECREF(item);
    return rc < 0 ? -1 : 0;
}

/* Runs what a source is queued for; steals the item. */
static int
loop_run_source_steal(LoopObject *self, void *item)
{
    loop_leave_task(self);
    if (UNLIKELY(self->debug)) {
        PyObject *handle = source_item_as_handle(self, item);
        source_drop_item(item);
        return handle == NULL ? -1 : loop_run_handle_steal(self, handle);
    }
    return source_run_item_steal(self, item);
}

/* Takes the step that a native task is queued for; steals it. */
static int
loop_run_task_steal(LoopObject *self, PyObject *item)
{
    if (UNLIKELY(self->debug)) { /* since it was queued */
        loop_leave_task(self);
        PyObject *handle = self->st->task_as_handle(item);
        if (handle == NULL) { /* it is queued still */
            self->st->task_unqueue(item);
        }
        Py_DECREF(item);
        return handle != NULL  ? loop_run_handle_steal(self, handle)
            : PyErr_Occurred() ? -1
                               : 0;
    }
    int rc = self->st->task_run(self, item);
    if (UNLIKELY(rc == TASK_RUN_LATER)) {
        ring_unpop(&self->ready, item);
        return -1;
    }
    if (Py_REFCNT(item) <= 3) { /* ours, `entered`, and that of asyncio's books */
        loop_leave_task(self);
    }
    Py_DECREF(item);
    return rc;
}

static int
loop_run_batch(LoopObject *self)
{
    /* Snapshot the count: what this batch schedules runs in the next turn, or a
     * callback that reschedules itself would starve I/O. */
    size_t todo = ring_len(&self->ready);
    int rc = 0;
    self->runner = PyThread_get_thread_ident();
    while (rc >= 0 && todo-- > 0 && ring_len(&self->ready) > 0) {
        void *item = ring_pop(&self->ready);
        self->in_callback = !self->write_at_once;
        rc = source_item_kind(item)         ? loop_run_source_steal(self, item)
            : loop_item_is_task(self, item) ? loop_run_task_steal(self, item)
                                            : loop_run_handle_steal(self, item);
        self->in_callback = false;
        bool look = ++self->callbacks >= CALLBACKS_PER_LOOK || self->flush != NULL;
        if (look && rc >= 0) {
            rc = loop_breathe(self);
        }
    }
    return (self->flush != NULL && loop_flush(self) < 0) || rc < 0 ? -1 : 0;
}

int
loop_run_once(LoopObject *self)
{
    if (UNLIKELY(self->closed)) {
        return loop_err_closed();
    }
    /* Before the timeout is computed: a signal's handler may stop() or schedule. */
    if (ring_len(&self->ready) == 0 && !self->stopping) {
        loop_leave_task(self);
        if (PyErr_CheckSignals() < 0) {
            return -1;
        }
    }
    int rc = UNLIKELY(loop_hooked(self, HOOKS_OF_TURN)
                      || self->selector != SELECTOR_OURS)
        ? loop_gather_hooked(self)
        : loop_gather(self);
    return rc < 0 ? -1 : loop_run_batch(self);
}

int
loop_run(LoopObject *self)
{
    core_state *st = self->st;
    int rc = 0;
    loop_expect_events(self);
    do {
        if (UNLIKELY(loop_hooked(self, HOOK_RUN_ONCE))) {
            loop_leave_task(self);
            PyObject *res = PyObject_CallMethodNoArgs((PyObject *)self,
                                                      st->str__run_once);
            rc = res == NULL ? -1 : 0;
            Py_XDECREF(res);
        }
        else {
            rc = loop_run_once(self);
        }
    } while (rc == 0 && !self->stopping);
    loop_leave_task(self);
    return rc;
}
