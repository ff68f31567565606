/* future.h - Future, and the part of a Task that is a Future.
 *
 * Both are C types over asyncio's C types of that name. The base's fields stay unset,
 * but for `_asyncio_awaited_by` (registry.h) and the coroutine and context of a task
 * (task.h); our struct lies behind the larger of the two bases, for both at the same
 * offset, computed at import.
 *
 * pending -> finished   [future_set_result, future_set_exception]
 * pending -> cancelled  [future_cancel]
 * On leaving "pending" the callbacks are handed to the loop, in order, and forgotten;
 * the state is final before any of them is (a loop that is not ours may run Python).
 *
 * Who owns what: a future owns its loop, outcome and callbacks; a task that waits for
 * a native future is one of its callbacks, with nothing allocated for it. */

#ifndef EVLOOP_FUTURE_H
#define EVLOOP_FUTURE_H

#include "base.h"
#include "loop.h"
#include "state.h"

enum future_state { FUTURE_PENDING, FUTURE_CANCELLED, FUTURE_FINISHED };

/* What to do when the future is done. */
struct callback {
    PyObject *call;    /* strong; NULL: no callback */
    PyObject *context; /* strong; NULL: `call` is an exact native Task to wake */
};

typedef struct {
    core_state *st;     /* see state.h: it outlives the object */
    PyObject *loop;     /* strong; NULL before __init__ */
    PyObject *result; /* strong; NULL reads as None. If it has failed: the exception's
                         traceback when it was set, or NULL */
    struct callback first;
    uint32_t nmore; /* callbacks after the first: see struct future_cold */
    uint8_t state; /* enum future_state */
    bool is_task;
    bool is_native : 1; /* the loop is ours */
    bool failed : 1; /* finished with an exception */
    bool blocking : 1; /* `_asyncio_future_blocking` */
    bool log_traceback : 1;
} FutureData;

/* What few futures need; see future_cold(). */
struct future_cold {
    PyObject *exception; /* strong or NULL: of one that has failed. Of a task that was
                            cancelled, what ended its coroutine */
    struct callback *more; /* the callbacks after the first, or NULL */
    PyObject *source_traceback; /* strong or NULL */
    PyObject *cancel_message; /* strong; NULL reads as None */
};

/* The same in all interpreters of the process. Set once, by future_setup_types(). */
extern Py_ssize_t future_offset;

#define FUTURE(op) ((FutureData *)((char *)(op) + future_offset))

/* Where struct future_cold lies, seen from FutureData: of a task behind its struct, of
 * a future in front of its own, in the room that the larger base leaves, if that will
 * do. By is_task; as future_offset. */
extern Py_ssize_t future_cold_offset[2];

static inline struct future_cold *
future_cold(FutureData *f)
{
    return (struct future_cold *)((char *)f + future_cold_offset[f->is_task]);
}

/* The basicsize of a type of ours whose struct has that size. */
Py_ssize_t future_size(bool is_task, size_t data);

/* The loop if it is ours, or NULL. */
static inline LoopObject *
future_native_loop(const FutureData *f)
{
    return LIKELY(f->is_native) ? LOOP(f->loop) : NULL;
}

static inline bool
future_is_exact(core_state *st, PyObject *op)
{
    return (PyObject *)Py_TYPE(op) == st->FutureType;
}

static inline bool
task_is_exact(core_state *st, PyObject *op)
{
    return (PyObject *)Py_TYPE(op) == st->TaskType;
}

/* Exactly one of ours, with none of a subclass's methods to respect. */
static inline bool
future_is_native(core_state *st, PyObject *op)
{
    return future_is_exact(st, op) || task_is_exact(st, op);
}

/* Creates the types in the module's state. */
int future_setup_types(PyObject *module, core_state *st);
int future_setup_iter_type(PyObject *module, core_state *st);
/* Of a type without instances as yet; the type may be NULL. */
void future_keep_attributes_in_dict(PyObject *type);
/* Closes the freelists of futures and of tasks. */
void future_close_freelists(core_state *st);

/* --- life, shared with Task --------------------------------------------------- */

/* A blank object of the exact type, not tracked yet. */
PyObject *future_alloc(core_state *st, PyObject *type);
/* tp_new */
PyObject *Future_new(PyTypeObject *type, PyObject *args, PyObject *kwargs);
void Future_dealloc(PyObject *op);
int Future_traverse(PyObject *op, visitproc visit, void *arg);
int Future_clear(PyObject *op);
void Future_finalize(PyObject *op);
/* What __init__ does for the future part; loop NULL or None: the current one. */
int future_init(PyObject *op, PyObject *loop);
/* A new Future of that loop, which is ours. */
PyObject *future_new(core_state *st, PyObject *loop);
/* Whether its end can run no Python code: no finalizer, no weakref's callback. */
bool future_dies_silently(PyObject *op);
/* In debug mode, keeps where the future is being made. */
int future_trace(PyObject *op);
/* Reports to the loop's exception handler from a finalizer: {'message': message,
 * key: value, ...}; the keys end with NULL. No exception may be raised just then. */
void future_report(PyObject *op, PyObject *message, const char *const *keys,
                   PyObject *const *values);

/* --- what they do ------------------------------------------------------------- */

/* RuntimeError if __init__ has not run. */
int future_check_alive(PyObject *op);

/* InvalidStateError if done. Errors of a foreign call_soon() come through. */
int future_set_result_lock_held(PyObject *op, PyObject *result);
int future_set_exception_lock_held(PyObject *op, PyObject *exc);
/* 1 if it was pending, else 0. msg: borrowed, or NULL to leave the message unset. */
int future_cancel_lock_held(PyObject *op, PyObject *msg);
int future_add_callback_lock_held(PyObject *op, PyObject *call, PyObject *context);
/* How many were removed. */
Py_ssize_t future_remove_callback_lock_held(PyObject *op, PyObject *call);
/* Has the exact native task woken when the future, native too, is done. */
int future_add_waiter_lock_held(PyObject *op, PyObject *task);

/* Hands them to the loop, once. After an error the rest are forgotten, as asyncio
 * forgets them. */
int future_schedule_callbacks(PyObject *op);
void future_drop_callbacks(FutureData *f);
/* `_callbacks`: a list of (callback, context), or None. */
PyObject *future_list_callbacks(PyObject *op);

/* The CancelledError to raise; it gives cancelled_error away. */
PyObject *future_make_cancelled_error(PyObject *op);
/* The outcome: 0 and the result, 1 and the exception that was set, or -1 with an
 * exception raised (cancelled, or not done). */
int future_get_outcome_lock_held(PyObject *op, PyObject **outcome);
/* result(): the result, or NULL with the exception raised. */
PyObject *future_result(PyObject *op);

/* loop.call_soon(call, arg, context=context), arg NULL: none; for any loop. */
int future_call_soon(core_state *st, PyObject *loop, PyObject *call, PyObject *arg,
                     PyObject *context);

/* --- Python's view, shared with Task ------------------------------------------ */

PyObject *Future_iter(PyObject *op);
PyObject *Future_result(PyObject *op, PyObject *ignored);
PyObject *Future_exception(PyObject *op, PyObject *ignored);
PyObject *Future_add_done_callback(PyObject *op, PyObject *const *args,
                                   Py_ssize_t nargs, PyObject *kwnames);
PyObject *Future_remove_done_callback(PyObject *op, PyObject *fn);
PyObject *Future_cancelled(PyObject *op, PyObject *ignored);
PyObject *Future_done(PyObject *op, PyObject *ignored);
PyObject *Future_get_loop(PyObject *op, PyObject *ignored);
PyObject *Future__make_cancelled_error(PyObject *op, PyObject *ignored);
extern const char Future_result_doc[], Future_exception_doc[],
    Future_add_done_callback_doc[], Future_remove_done_callback_doc[],
    Future_cancelled_doc[], Future_done_doc[], Future_get_loop_doc[];
/* One argument, msg=None, by position or by name; NULL with an exception set. */
PyObject *future_parse_msg(const char *method, PyObject *const *args, Py_ssize_t nargs,
                           PyObject *kwnames);

/* Getters and setters of attributes. */
PyObject *Future_get__state(PyObject *op, void *closure);
PyObject *Future_get_callbacks(PyObject *op, void *closure);
PyObject *Future_get_blocking(PyObject *op, void *closure);
int Future_set_blocking(PyObject *op, PyObject *value, void *closure);
PyObject *Future_get_log_traceback(PyObject *op, void *closure);
int Future_set_log_traceback(PyObject *op, PyObject *value, void *closure);
int Future_set_cancel_message(PyObject *op, PyObject *value, void *closure);
PyObject *Future_get__loop(PyObject *op, void *closure);
PyObject *Future_get__result(PyObject *op, void *closure);
PyObject *Future_get__exception(PyObject *op, void *closure);
PyObject *Future_get__source_traceback(PyObject *op, void *closure);
PyObject *Future_get__cancel_message(PyObject *op, void *closure);

#define FUTURE_COMMON_GETSET                                                           \
    {"_state", Future_get__state, NULL, NULL, NULL},                                   \
        {"_asyncio_future_blocking", Future_get_blocking, Future_set_blocking, NULL,   \
         NULL},                                                                        \
        {"_callbacks", Future_get_callbacks, NULL, NULL, NULL},                        \
        {"_log_traceback", Future_get_log_traceback, Future_set_log_traceback, NULL,   \
         NULL},                                                                        \
        {"_loop", Future_get__loop, NULL, NULL, NULL},                                 \
        {"_result", Future_get__result, NULL, NULL, NULL},                             \
        {"_exception", Future_get__exception, NULL, NULL, NULL},                       \
        {"_source_traceback", Future_get__source_traceback, NULL, NULL, NULL},         \
    {                                                                                  \
        "_cancel_message", Future_get__cancel_message, Future_set_cancel_message,      \
            NULL, NULL                                                                 \
    }

#define FUTURE_COMMON_METHODS                                                          \
    {"result", Future_result, METH_NOARGS, Future_result_doc},                         \
        {"exception", Future_exception, METH_NOARGS, Future_exception_doc},            \
        {"add_done_callback", (PyCFunction)(void (*)(void))Future_add_done_callback,   \
         METH_FASTCALL | METH_KEYWORDS, Future_add_done_callback_doc},                 \
        {"remove_done_callback", Future_remove_done_callback, METH_O,                  \
         Future_remove_done_callback_doc},                                             \
        {"cancelled", Future_cancelled, METH_NOARGS, Future_cancelled_doc},            \
        {"done", Future_done, METH_NOARGS, Future_done_doc},                           \
        {"get_loop", Future_get_loop, METH_NOARGS, Future_get_loop_doc},               \
        {"_make_cancelled_error", Future__make_cancelled_error, METH_NOARGS, NULL},    \
    {                                                                                  \
        "__class_getitem__", Py_GenericAlias, METH_O | METH_CLASS, NULL                \
    }

#endif
