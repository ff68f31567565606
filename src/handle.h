/* handle.h - Handle, TimerHandle and (from 3.14 on) the thread-safe Handle.
 *
 * Each is a C type over asyncio's Python class of that name. The base's slots stay
 * unset; our struct lies behind them, for all kinds at the same offset, which is
 * computed at import (it depends on the interpreter's asyncio, not on us). */

#ifndef EVLOOP_HANDLE_H
#define EVLOOP_HANDLE_H

#include "base.h"
#include "heap.h"
#include "state.h"

#define HANDLE_INLINE_ARGS HARD_OR(1, 3)

/* Where the arguments are. */
enum handle_args {
    ARGS_NONE,   /* `_args` is None: cancelled, or never initialised */
    ARGS_INLINE, /* argv[1..nargs] */
    ARGS_OBJECT, /* argv[1]: a tuple, or whatever Python code assigned */
};

typedef struct {
    core_state *st;     /* see state.h: it outlives the object */
    PyObject *loop;     /* strong; any object with asyncio's loop methods */
    PyObject *context;  /* strong; usually an exact Context */
    PyObject *callback; /* strong; NULL reads as None */
    PyObject *repr;     /* strong or NULL; kept by cancel() in debug mode */
    PyObject *source_traceback; /* strong or NULL */
    uint8_t kind;               /* enum handle_kind */
    uint8_t args;               /* enum handle_args */
    uint8_t nargs;
    bool cancelled;
    /* argv[0] is room for the callee (PY_VECTORCALL_ARGUMENTS_OFFSET). */
    PyObject *argv[1 + HANDLE_INLINE_ARGS];
} HandleData;

typedef struct {
    HandleData base;
    struct heap_node node; /* in the loop's timers while scheduled */
    double when;           /* seconds of the loop's clock */
    PyObject *when_object; /* strong; `when` as given, or NULL when an exact float */
    bool marked;           /* `_scheduled` as set by Python code */
} TimerData;

typedef struct {
    HandleData base;
    unsigned long runner; /* the thread that runs the callback, or 0 */
    PyThread_type_lock done; /* held by the runner while others wait, or NULL */
    int waiters;
} ThreadSafeData;

/* The same in all interpreters of the process. Set once, by handle_setup_types(). */
extern Py_ssize_t handle_offset;

#define HANDLE(op) ((HandleData *)((char *)(op) + handle_offset))
#define TIMER(op) ((TimerData *)((char *)(op) + handle_offset))
#define THREADSAFE(op) ((ThreadSafeData *)((char *)(op) + handle_offset))

#define TIMER_OF_NODE(n) ((TimerData *)((char *)(n) - offsetof(TimerData, node)))

static inline PyObject *
timer_object(TimerData *t)
{
    return (PyObject *)((char *)t - handle_offset);
}

/* Creates the types in the module's state. */
int handle_setup_types(PyObject *module, core_state *st);

void Handle_dealloc(PyObject *op);
int Handle_traverse(PyObject *op, visitproc visit, void *arg);
int Handle_clear(PyObject *op);

/* Whether it is exactly one of our types, not a Python subclass. */
static inline bool
handle_is_exact(PyObject *op)
{
    return Py_TYPE(op)->tp_dealloc == Handle_dealloc;
}

/* A new handle for callback(*argv[:nargs]); context NULL: a copy of the current. */
PyObject *handle_new(core_state *st, enum handle_kind kind, PyObject *loop,
                     PyObject *callback, PyObject *const *argv, Py_ssize_t nargs,
                     PyObject *context);
/* The same in debug mode: it records where the caller is. */
int handle_trace(PyObject *op);

/* Runs the callback in its context. Returns 0 also when the callback raised, and
 * the loop's exception handler has dealt with it; -1 when that, a SystemExit or a
 * KeyboardInterrupt must come out of the loop. Anything may have changed after. */
int handle_run(PyObject *op);

/* Hands the exception being raised to the loop's exception handler, as the callback's.
 * Results as of handle_run(). */
int handle_report_error(PyObject *op);

/* `_args`: the tuple of arguments, or what was assigned, or None. */
PyObject *handle_get_args(HandleData *h);
/* Puts one object where the arguments are; None stands for no arguments left. */
void handle_assign_args(HandleData *h, PyObject *value);

/* asyncio (from 3.14 on) holds a lock while a callback from another thread runs: who
 * asks for, or changes, the state of its handle waits until the callback returns. */
int handle_wait_for_run(PyObject *op);

/* For any object in the ready queue: is its `_cancelled` true? (-1 on error) */
int handle_is_cancelled(core_state *st, PyObject *op);

/* cancel() without the notice to the loop that a timer gives. */
int handle_cancel(PyObject *op);

#endif
