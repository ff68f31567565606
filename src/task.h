/* task.h - Task: a coroutine and what it waits for.
 *
 * idle -> queued   [task_schedule, task_wake]   the task itself is on the ready ring
 * queued -> idle   [task_run]                   the step it was queued for begins
 * A task may be due more than once (user code can step it by hand): whoever finds it
 * queued, or its loop not plain (loop_is_plain), goes by loop.call_soon() instead, as
 * asyncio does.
 *
 * Who owns what: the ready ring owns a task that is queued on it; the task owns its
 * coroutine, its context, what it waits for, and, while queued, what woke it. */

#ifndef EVLOOP_TASK_H
#define EVLOOP_TASK_H

#include "base.h"
#include "future.h"
#include "state.h"

enum task_queued {
    TASK_IDLE, /* or what is on the ring is to be passed over */
    TASK_STEP, /* to be stepped; with `due`, if any, thrown into the coroutine */
    TASK_WAKE, /* to be stepped with the outcome of `due`, a native future */
};

typedef struct {
    FutureData base;
    PyObject *own_coro, *own_context; /* see task_coro(), task_context() */
    PyObject *waiter;  /* strong or NULL: `_fut_waiter` */
    PyObject *due;     /* strong or NULL; see enum task_queued */
    PyObject *name;    /* strong; NULL: "Task-%d" of number, or None if that is 0 */
    PyObject *ref;     /* strong or NULL; registry.h */
    uint64_t number;
    int cancels_requested;
    uint8_t queued; /* enum task_queued */
    bool must_cancel;
    bool log_destroy_pending;
} TaskData;

#define TASK(op) ((TaskData *)((char *)(op) + future_offset))

/* The coroutine and the context are kept where asyncio.Task keeps its own: its C code
 * takes it for granted that they are there, and so do tools that look at a process from
 * outside. Where in the object that is, is found out at import; until then, and should
 * it not be found, it is in our struct. The same in all interpreters of the process. */
extern Py_ssize_t task_coro_offset, task_context_offset;

/* Strong or NULL. */
static inline PyObject **
task_coro(PyObject *op)
{
    return (PyObject **)((char *)op + task_coro_offset);
}

/* Strong or NULL; usually an exact Context. */
static inline PyObject **
task_context(PyObject *op)
{
    return (PyObject **)((char *)op + task_context_offset);
}

static inline PyObject *
task_context_or_none_borrow(PyObject *op)
{
    return *task_context(op) ? *task_context(op) : Py_None;
}

int task_setup_type(PyObject *module, core_state *st);
/* Finds out where the base keeps its fields; when the types are ready. */
int task_inspect_base(core_state *st);
/* Tells the engine how to run what is ours on its ready ring. */
void task_setup_engine(core_state *st);

/* __init__; NULL or None where not given. */
struct task_options {
    PyObject *loop, *name, *context;
    bool eager_start;
};
int task_init(PyObject *op, PyObject *coro, const struct task_options *options);
/* A new Task of options->loop, which is ours. */
PyObject *task_new(core_state *st, PyObject *coro, const struct task_options *options);

/* Drops all that belongs to a task alone. */
void task_reset(PyObject *op);

/* Runs the coroutine up to where it waits again; with exc, throws that into it. The
 * caller has entered the task in asyncio's books, and its context. */
int task_step_lock_held(PyObject *op, PyObject *exc);
/* The exception that a native future's outcome throws into who waits for it, new, or
 * NULL if it has a result. */
PyObject *task_take_outcome(PyObject *future);
/* Whether its steps may go without a handle: nobody could tell. */
static inline bool
task_is_plain(PyObject *op)
{
    PyObject *context = *task_context(op);
    return LIKELY(task_is_exact(FUTURE(op)->st, op) && context != NULL
                  && PyContext_CheckExact(context));
}

/* Have it stepped in the next turn; exc NULL: with None. */
int task_schedule(PyObject *op, PyObject *exc);
/* Have it stepped with the outcome of that future, which is done. */
int task_wake(PyObject *op, PyObject *future);
/* cancel(msg): 1 or 0, -1 on error. */
int task_cancel_lock_held(PyObject *op, PyObject *msg);

/* A step by the rules that hold everywhere: in and out of asyncio's books at once. */
int task_step_strictly(PyObject *op, PyObject *exc);
/* asyncio's step as a callable: what `_ready` shows; exc may be NULL. */
PyObject *task_step_method(PyObject *op, PyObject *exc);
/* asyncio's wake-up as a callable: what `_callbacks` shows. */
PyObject *task_wakeup_method(PyObject *op);

#endif
