/* loop.h - the engine: one turn of the loop after another.
 *
 * A turn: poll for I/O (loop.c says when not), make due timers ready, then run what is
 * ready: one batch, first in, first out. What a batch schedules is run in the next
 * turn.
 *
 * Who owns what: `ready` holds strong references to handles, tasks and the owners of
 * sources (source.h), `timers` to handles, `watches` to the readers and writers of
 * descriptors. A loop belongs to the thread that runs it; what other threads may do
 * stands in inbox.h. */

#ifndef EVLOOP_LOOP_H
#define EVLOOP_LOOP_H

#include "base.h"
#include "heap.h"
#include "mmsg.h"
#include "poll.h"
#include "ring.h"
#include "state.h"
#include "watch.h"

/* Methods of asyncio's loops that a Python subclass, or an assignment to the
 * instance, may override although C code calls them without a look-up. */
#define LOOP_HOOKS(X)                                                                  \
    X(HOOK_TIME, "time")                                                               \
    X(HOOK_CALL_AT, "call_at")                                                         \
    X(HOOK_CALL_SOON, "_call_soon")                                                    \
    X(HOOK_PUBLIC_CALL_SOON, "call_soon")                                              \
    X(HOOK_RUN_ONCE, "_run_once")                                                      \
    X(HOOK_PROCESS_EVENTS, "_process_events")                                          \
    X(HOOK_ADD_CALLBACK, "_add_callback")                                              \
    X(HOOK_CHECK_CLOSED, "_check_closed")                                              \
    X(HOOK_CHECK_RUNNING, "_check_running")                                            \
    X(HOOK_WRITE_TO_SELF, "_write_to_self")                                            \
    X(HOOK_TIMER_CANCELLED, "_timer_handle_cancelled")                                 \
    X(HOOK_ADD_READER, "_add_reader")                                                  \
    X(HOOK_REMOVE_READER, "_remove_reader")                                            \
    X(HOOK_ADD_WRITER, "_add_writer")                                                  \
    X(HOOK_REMOVE_WRITER, "_remove_writer")                                            \
    X(HOOK_PUBLIC_REMOVE_READER, "remove_reader")                                      \
    X(HOOK_PUBLIC_REMOVE_WRITER, "remove_writer")                                      \
    X(HOOK_SETUP, "_run_forever_setup")                                                \
    X(HOOK_CLEANUP, "_run_forever_cleanup")                                            \
    X(HOOK_RUN_FOREVER, "run_forever")                                                 \
    X(HOOK_GET_DEBUG, "get_debug")                                                     \
    X(HOOK_IS_RUNNING, "is_running")                                                   \
    X(HOOK_ENSURE_NO_TRANSPORT, "_ensure_fd_no_transport")                             \
    X(HOOK_CREATE_FUTURE, "create_future")                                             \
    X(HOOK_ACCEPT, "_accept_connection")                                               \
    X(HOOK_ACCEPT_2, "_accept_connection2")                                            \
    X(HOOK_MAKE_SOCKET_TRANSPORT, "_make_socket_transport")                            \
    X(HOOK_MAKE_SSL_TRANSPORT, "_make_ssl_transport")

enum loop_hook_index {
#define INDEX(hook, name) hook##_INDEX,
    LOOP_HOOKS(INDEX)
#undef INDEX
        LOOP_HOOK_COUNT
};

enum loop_hook {
#define BIT(hook, name) hook = 1 << hook##_INDEX,
    LOOP_HOOKS(BIT)
#undef BIT
};

/* Overridden, these change what a turn does. */
#define HOOKS_OF_TURN (HOOK_TIME | HOOK_PROCESS_EVENTS | HOOK_ADD_CALLBACK)
/* Overridden, these change how descriptors are watched: asyncio's own transports serve
 * them. */
#define HOOKS_OF_WATCH                                                                 \
    (HOOK_ADD_READER | HOOK_REMOVE_READER | HOOK_ADD_WRITER | HOOK_REMOVE_WRITER       \
     | HOOK_PROCESS_EVENTS | HOOK_ADD_CALLBACK)
/* Overridden, these change what call_soon() does. */
#define HOOKS_OF_CALL                                                                  \
    (HOOK_CALL_SOON | HOOK_CHECK_CLOSED | HOOK_GET_DEBUG | HOOK_WRITE_TO_SELF)

/* asleep -> awake   [loop_poll]   the wait has ended
 * asleep -> roused  [inbox_wake]  the eventfd was signalled, once
 * awake  -> roused  [inbox_wake]  the next poll does not wait */
enum loop_sleep { LOOP_AWAKE, LOOP_ASLEEP, LOOP_ROUSED };

/* What `_selector` is. A wrapped one is polled in our stead, and polls ours in the
 * end. With a foreign one (given to the loop's class, or assigned) the base class's
 * own code runs instead of ours, for all that touches descriptors. */
enum loop_selector { SELECTOR_OURS, SELECTOR_WRAPPED, SELECTOR_FOREIGN };

typedef struct loop_object {
    PyObject_HEAD
    core_state *st; /* see state.h: it outlives the object */

    struct ring ready;  /* of strong references: handles, native tasks, sources */
    struct heap timers; /* of timers; each entry owns a reference to its handle */
    struct watch_table watches;
    struct poll poll;
    int wake_fd;      /* eventfd, or -1 */
    int signal_fd[2]; /* socket pair for signal.set_wakeup_fd(), or -1 */
    enum loop_sleep sleep;

    bool opened;     /* __init__ has made the descriptors */
    bool closed;     /* true also before __init__ */
    bool debug;      /* the truth of debug_object */
    bool stopping;
    enum loop_selector selector;
    unsigned hooks;             /* enum loop_hook, as of hooks_tag */
    unsigned instance_hooks;    /* those assigned to the instance */
    unsigned hooks_tag;         /* the type's version when hooks were looked up */
    PyObject *thread_object; /* strong; the running thread's `_thread_id`, or NULL */

    /* Skipping of polls; see loop.c. */
    int64_t polled_at;
    int64_t checked_at;
    int64_t coarse_at;
    int quiet;
    int quota;
    int skip;
    bool crowded; /* the last poll, at coarse_at, has seen CROWD events or more */
    int callbacks; /* since the last look at breathed_at */
    int64_t breathed_at;

    /* See source.h. */
    struct source *flush;      /* the first that has something to flush, or NULL */
    struct source **flush_end; /* where the next one is noted */
    unsigned long runner;      /* the thread that ran the last batch */
    bool in_callback;          /* what that thread writes now is flushed later */
    bool write_at_once;        /* never wait for the end of the turn */
    char *read_buffer;         /* READ_BUFFER_SIZE bytes for one read, or NULL */
    char *spare;               /* lent to one who encrypts; or NULL; see tls.c */
    size_t spare_cap;
    struct mmsg *mmsg;         /* see mmsg.h; NULL: no datagrams yet */

    PyObject *debug_object; /* strong, as given to set_debug(); NULL: False */
    PyObject *task_factory; /* strong or NULL */
    PyObject *exception_handler; /* strong or NULL */
    PyObject *current_handle; /* strong or NULL; set in debug mode only */
    /* Strong or NULL: the task that asyncio's books say is running. It stays there
     * between two steps in a row, and is being stepped only while `stepping`. None: the
     * books say so of nothing. */
    PyObject *entered;
    bool stepping;
} LoopObject;

#define LOOP(op) ((LoopObject *)(op))

/* Where attributes are assigned: it watches for overridden methods. */
int Loop_setattro(PyObject *op, PyObject *name, PyObject *value);

/* The loop as ours, or NULL (without exception) if it is another's. */
static inline LoopObject *
loop_from_object_borrow(core_state *st, PyObject *loop)
{
    if (LIKELY(Py_TYPE(loop)->tp_setattro == Loop_setattro)
        || PyObject_TypeCheck(loop, (PyTypeObject *)st->LoopType)) {
        return LOOP(loop);
    }
    return NULL;
}

/* Looks the hooks up again; never fails. */
void loop_refresh_hooks(LoopObject *self);

/* The hooks of `wanted` that are overridden now. */
static inline unsigned
loop_hooked(LoopObject *self, unsigned wanted)
{
    if (UNLIKELY(Py_TYPE(self)->tp_version_tag != self->hooks_tag)) {
        loop_refresh_hooks(self);
    }
    return self->hooks & wanted;
}

/* Whether call_soon() does no more than to put something on the ready ring. */
static inline bool
loop_is_plain(LoopObject *self)
{
    return LIKELY(!self->closed && !self->debug && self->selector == SELECTOR_OURS
                  && !loop_hooked(self, HOOKS_OF_CALL | HOOK_PUBLIC_CALL_SOON));
}

/* Whether descriptors are watched by our own poll, and nobody looks on. */
static inline bool
loop_watches_natively(LoopObject *self)
{
    return self->selector == SELECTOR_OURS && !loop_hooked(self, HOOKS_OF_WATCH);
}

/* RuntimeError if a transport uses the descriptor, an int or an object with fileno().
 */
int loop_ensure_no_transport(LoopObject *self, PyObject *file);

/* To be called before anything runs that is not the step of a native Task. */
static inline void
loop_leave_task(LoopObject *self)
{
    if (UNLIKELY(self->entered != NULL) && !self->stepping) {
        self->st->task_leave(self);
    }
}

/* Whether what is on the ready ring is a native task, and no handle. */
static inline bool
loop_item_is_task(const LoopObject *self, PyObject *item)
{
    return (PyObject *)Py_TYPE(item) == self->st->TaskType;
}

static inline bool
loop_is_running(const LoopObject *self)
{
    return self->thread_object != NULL;
}

/* The value of any loop's get_debug(): 1, 0, or -1 on error. */
int loop_get_debug(core_state *st, PyObject *loop);
/* Any loop's time(); -1 with an exception set on error. */
double loop_time(LoopObject *self);
/* RuntimeError('Event loop is closed'): -1. */
int loop_err_closed(void);
/* The same if it is closed, else 0; by _check_closed() if that is overridden. */
int loop_check_closed(LoopObject *self);

/* asyncio's own method of that name, for a loop with a foreign selector. */
PyObject *loop_call_base(LoopObject *self, const char *method, PyObject *const *args,
                         Py_ssize_t nargs, PyObject *kwnames);

/* What TimerHandle.cancel() tells any loop; ours takes the timer out. */
int loop_timer_cancelled(PyObject *loop, PyObject *handle);
/* Schedules a handle; steals no reference. key: nanoseconds of the clock. */
int loop_add_timer(LoopObject *self, PyObject *handle, int64_t key);
/* Takes the timer out, if it is in this loop's heap; its reference goes. */
void loop_remove_timer(LoopObject *self, PyObject *handle);
/* Seconds as a key: rounded up, so that a timer is never early. NaN: due now. */
int64_t loop_key_of(double when);

/* Appends a handle or a native task to the ready queue; takes a new reference. */
static inline int
loop_push(LoopObject *self, PyObject *handle)
{
    if (UNLIKELY(ring_push(&self->ready, Py_NewRef(handle)) < 0)) {
        Py_DECREF(handle);
        PyErr_NoMemory();
        return -1;
    }
    return 0;
}

/* Raises what a negative errno says: -1. */
int loop_os_error(int rc);
/* Has the loop's own descriptors watched. */
int loop_add_own_fds(LoopObject *self);
/* Makes the descriptors. */
int loop_open(LoopObject *self);
/* Drops what such a ring holds. */
void loop_drop_ready(LoopObject *self, struct ring *ready);
/* Drops all that is scheduled or watched; safe in every state. */
void loop_drop_all(LoopObject *self);
/* Closes the descriptors; safe in every state. */
void loop_release(LoopObject *self);
/* In a child of fork: descriptors of its own, what was watched watched again. */
int loop_after_fork(LoopObject *self);

/* READ_BUFFER_SIZE bytes to read into, for a moment; NULL with MemoryError. */
#define READ_BUFFER_SIZE (256 * 1024)
char *loop_read_buffer(LoopObject *self);
/* The same buffer back, after `read_buffer` was NULL while it was used for longer. */
void loop_return_buffer(LoopObject *self, char *buffer);

static inline int
loop_own_poll(LoopObject *self)
{
    return UNLIKELY(poll_is_foreign(&self->poll)) ? loop_after_fork(self) : 0;
}

/* One turn, or as many as it takes until stop(). */
int loop_run_once(LoopObject *self);
int loop_run(LoopObject *self);

/* asyncio's MAXIMUM_SELECT_TIMEOUT: a day. */
#define SLEEP_MAX_NS (24 * 3600 * NS_PER_SEC)
/* After so many turns that saw nothing, polls are skipped; see loop.c. */
#define QUIET_TURNS HARD_OR(INT_MAX, 8)

/* Sends what callbacks have written. */
int loop_flush(LoopObject *self);
/* Waits up to `timeout` nanoseconds and makes ready what the events call for, or,
 * with `events` not NULL, appends (fd, mask) pairs to that list. */
int loop_poll(LoopObject *self, int64_t timeout, PyObject *events);

/* Forget that it has been quiet, or crowded: the next turns poll. */
static inline void
loop_expect_events(LoopObject *self)
{
    self->crowded = false;
    self->quiet = 0;
    self->skip = 0;
    self->quota = 0;
}

#endif
