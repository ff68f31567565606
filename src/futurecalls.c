/* futurecalls.c - the callbacks of a future: the first in the future itself, the others
 * in an array, in the order in which they were added.
 *
 * Calls into Python: call_soon() of loops that are not ours, and __eq__ of callbacks.
 * Both may add callbacks and remove them, and undo __init__. */

#include "compat.h"
#include "future.h"
#include "handle.h"
#include "registry.h"
#include "task.h"

#define MORE_MIN HARD_OR(1, 4)

static inline void
callback_drop(struct callback cb)
{
    Py_XDECREF(cb.call);
    Py_XDECREF(cb.context);
}

/* Takes them all away; returns how many are in `*more`, to be freed. */
static inline uint32_t
callbacks_take(FutureData *f, struct callback **more)
{
    struct future_cold *cold = future_cold(f);
    uint32_t n = f->nmore;
    *more = cold->more;
    f->first = (struct callback){0};
    f->nmore = 0;
    cold->more = NULL;
    return n;
}

void
future_drop_callbacks(FutureData *f)
{
    struct callback first = f->first, *more;
    uint32_t n = callbacks_take(f, &more);
    callback_drop(first);
    for (uint32_t i = 0; i < n; i++) {
        callback_drop(more[i]);
    }
    PyMem_Free(more);
}

int
future_call_soon(core_state *st, PyObject *loop, PyObject *call, PyObject *arg,
                 PyObject *context)
{
    /* References of our own: a loop's call_soon() may do anything. */
    PyObject *argv[4] = {Py_NewRef(loop), Py_NewRef(call)};
    size_t nargs = 2;
    if (arg != NULL) {
        argv[nargs++] = Py_NewRef(arg);
    }
    argv[nargs] = Py_NewRef(context);
    PyObject *handle = PyObject_VectorcallMethod(st->str_call_soon, argv,
                                                 nargs | PY_VECTORCALL_ARGUMENTS_OFFSET,
                                                 st->kw_context);
    for (size_t i = 0; i <= nargs; i++) {
        Py_DECREF(argv[i]);
    }
    Py_XDECREF(handle);
    return handle == NULL ? -1 : 0;
}

/* Hands one callback to the loop. */
static int
future_schedule(PyObject *op, struct callback cb)
{
    FutureData *f = FUTURE(op);
    if (cb.context == NULL) {
        return task_wake(cb.call, op);
    }
    /* An earlier callback's call_soon() may have undone __init__. */
    if (future_check_alive(op) < 0) {
        return -1;
    }
    LoopObject *loop = future_native_loop(f);
    if (UNLIKELY(loop == NULL || !loop_is_plain(loop))) {
        return future_call_soon(f->st, f->loop, cb.call, op, cb.context);
    }
    /* To make a handle can run Python code (until 3.11). */
    Py_INCREF(loop);
    PyObject *handle = handle_new(f->st, HANDLE_PLAIN, (PyObject *)loop, cb.call, &op,
                                  1, cb.context == Py_None ? NULL : cb.context);
    int rc = handle == NULL ? -1 : loop_push(loop, handle);
    Py_XDECREF(handle);
    Py_DECREF(loop);
    return rc;
}

int
future_schedule_callbacks(PyObject *op)
{
    FutureData *f = FUTURE(op);
    assert(f->state != FUTURE_PENDING);
    if (f->is_task && registry_done(f->st, op) < 0) {
        return -1;
    }
    struct callback first = f->first, *more;
    if (first.call == NULL) {
        return 0;
    }
    uint32_t n = callbacks_take(f, &more);
    int rc = future_schedule(op, first);
    callback_drop(first);
    for (uint32_t i = 0; i < n; i++) {
        if (rc == 0) {
            rc = future_schedule(op, more[i]);
        }
        callback_drop(more[i]);
    }
    PyMem_Free(more);
    return rc;
}

/* There is always room for the next power of two, or MORE_MIN. */
static inline bool
may_be_full(uint32_t n)
{
    return n == 0 || (n >= MORE_MIN && (n & (n - 1)) == 0);
}

static int
callbacks_grow(FutureData *f)
{
    struct future_cold *cold = future_cold(f);
    size_t cap = f->nmore ? (size_t)f->nmore * 2 : MORE_MIN;
    struct callback *more = cap > INT32_MAX / 2
        ? NULL
        : PyMem_Realloc(cold->more, cap * sizeof(*more));
    if (more == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    cold->more = more;
    return 0;
}

/* Takes new references. */
static int
callbacks_append(FutureData *f, PyObject *call, PyObject *context)
{
    struct callback *slot = &f->first;
    if (slot->call != NULL) {
        if (may_be_full(f->nmore) && callbacks_grow(f) < 0) {
            return -1;
        }
        slot = &future_cold(f)->more[f->nmore++];
    }
    slot->call = Py_NewRef(call);
    slot->context = Py_XNewRef(context);
    return 0;
}

int
future_add_callback_lock_held(PyObject *op, PyObject *call, PyObject *context)
{
    FutureData *f = FUTURE(op);
    if (UNLIKELY(f->loop == NULL)) {
        PyErr_SetString(PyExc_RuntimeError, "uninitialized Future object");
        return -1;
    }
    if (f->state != FUTURE_PENDING) {
        return future_schedule(op, (struct callback){call, context});
    }
    return callbacks_append(f, call, context);
}

int
future_add_waiter_lock_held(PyObject *op, PyObject *task)
{
    FutureData *f = FUTURE(op);
    return f->state != FUTURE_PENDING ? task_wake(task, op)
                                      : callbacks_append(f, task, NULL);
}

static inline uint32_t
callbacks_count(const FutureData *f)
{
    return f->first.call == NULL ? 0 : 1 + f->nmore;
}

static inline struct callback *
callbacks_at(FutureData *f, uint32_t i)
{
    return i == 0 ? &f->first : &future_cold(f)->more[i - 1];
}

static void
callbacks_remove(FutureData *f, uint32_t i)
{
    uint32_t n = callbacks_count(f);
    struct callback gone = *callbacks_at(f, i);
    for (; i + 1 < n; i++) {
        *callbacks_at(f, i) = *callbacks_at(f, i + 1);
    }
    *callbacks_at(f, n - 1) = (struct callback){0};
    if (n > 1) {
        f->nmore--;
    }
    callback_drop(gone);
}

/* A callback as Python sees it. To make a method can run Python code (until 3.11),
 * which may drop the callback. */
static PyObject *
callback_object(struct callback cb)
{
    if (cb.context != NULL) {
        return Py_NewRef(cb.call);
    }
    Py_INCREF(cb.call);
    PyObject *method = task_wakeup_method(cb.call);
    Py_DECREF(cb.call);
    return method;
}

Py_ssize_t
future_remove_callback_lock_held(PyObject *op, PyObject *fn)
{
    FutureData *f = FUTURE(op);
    Py_ssize_t removed = 0;
    for (uint32_t i = 0; i < callbacks_count(f);) {
        struct callback cb = *callbacks_at(f, i);
        PyObject *call = callback_object(cb);
        /* __eq__ may change the callbacks, or free them. */
        int equal = call == NULL ? -1 : PyObject_RichCompareBool(call, fn, Py_EQ);
        Py_XDECREF(call);
        if (equal < 0) {
            return -1;
        }
        if (equal && i < callbacks_count(f) && callbacks_at(f, i)->call == cb.call) {
            callbacks_remove(f, i);
            removed++;
        }
        else {
            i++;
        }
    }
    return removed;
}

PyObject *
future_list_callbacks(PyObject *op)
{
    FutureData *f = FUTURE(op);
    if (f->first.call == NULL) {
        Py_RETURN_NONE;
    }
    PyObject *list = PyList_New(0);
    for (uint32_t i = 0; list != NULL && i < callbacks_count(f); i++) {
        struct callback cb = *callbacks_at(f, i);
        PyObject *context = Py_NewRef(
            cb.context != NULL ? cb.context : task_context_or_none_borrow(cb.call));
        PyObject *call = callback_object(cb);
        PyObject *pair = call == NULL ? NULL : PyTuple_Pack(2, call, context);
        if (pair == NULL || PyList_Append(list, pair) < 0) {
            Py_CLEAR(list);
        }
        Py_XDECREF(pair);
        Py_XDECREF(call);
        Py_DECREF(context);
    }
    return list;
}
