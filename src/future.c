/* future.c - see future.h: life and outcome. Callbacks: futurecalls.c. Python's view:
 * futureobj.c.
 *
 * Calls into Python: call_soon() and get_debug() of loops that are not ours, the loop's
 * exception handler, and whatever a reference that is dropped sets off. After any of
 * them `self` may be done, cancelled, re-initialised, or have other callbacks. */

#include "future.h"
#include "compat.h"
#include "registry.h"
#include "task.h"

Py_ssize_t future_offset, future_cold_offset[2];

/* --- life --------------------------------------------------------------------- */

static inline PyTypeObject *
base_type(const FutureData *f)
{
    return (PyTypeObject *)(f->is_task ? f->st->AsyncioTask : f->st->AsyncioFuture);
}

/* A base that is a static type (until 3.11) neither visits nor drops the type. */
static inline bool
base_minds_type(PyTypeObject *base)
{
    return PyType_HasFeature(base, Py_TPFLAGS_HEAPTYPE);
}

PyObject *
future_alloc(core_state *st, PyObject *type_object)
{
    PyTypeObject *type = (PyTypeObject *)type_object;
    bool is_task = type_object == st->TaskType;
    bool fresh;
    PyObject *op = freelist_get(&st->dead_futures[is_task], type, &fresh);
    if (UNLIKELY(fresh)) {
        if (op == NULL) {
            return NULL;
        }
        FUTURE(op)->st = st;
        FUTURE(op)->is_task = is_task;
    }
    st->live_futures[is_task]++;
    return op;
}

/* For Python code, and for subclasses; the loop uses future_new() and task_new(). */
PyObject *
Future_new(PyTypeObject *type, PyObject *Py_UNUSED(args), PyObject *Py_UNUSED(kwargs))
{
    PyObject *module = PyType_GetModuleByDef(type, &core_module);
    if (module == NULL) {
        return NULL;
    }
    core_state *st = state_of(module);
    PyObject *op;
    if ((PyObject *)type == st->FutureType || (PyObject *)type == st->TaskType) {
        op = future_alloc(st, (PyObject *)type);
        if (op != NULL) {
            PyObject_GC_Track(op);
        }
        return op;
    }
    op = type->tp_alloc(type, 0);
    if (op == NULL) {
        return NULL;
    }
    FutureData *f = FUTURE(op);
    f->st = st;
    f->is_task = PyType_IsSubtype(type, (PyTypeObject *)st->TaskType);
    st->live_futures[f->is_task]++;
    return op;
}

int
Future_traverse(PyObject *op, visitproc visit, void *arg)
{
    FutureData *f = FUTURE(op);
    PyTypeObject *base = base_type(f);
    if (!base_minds_type(base)) {
        Py_VISIT(Py_TYPE(op));
    }
    Py_VISIT(f->loop);
    Py_VISIT(f->result);
    Py_VISIT(f->first.call);
    Py_VISIT(f->first.context);
    struct future_cold *cold = future_cold(f);
    for (uint32_t i = 0; i < f->nmore; i++) {
        Py_VISIT(cold->more[i].call);
        Py_VISIT(cold->more[i].context);
    }
    Py_VISIT(cold->exception);
    Py_VISIT(cold->source_traceback);
    Py_VISIT(cold->cancel_message);
    if (f->is_task) {
        TaskData *t = TASK(op);
        Py_VISIT(t->own_coro);
        Py_VISIT(t->own_context);
        Py_VISIT(t->waiter);
        Py_VISIT(t->due);
        Py_VISIT(t->name);
    }
    return base->tp_traverse(op, visit, arg);
}

/* Drops all that __init__ and later calls have set, of the part that is a future. */
static void
future_reset(FutureData *f)
{
    struct future_cold *cold = future_cold(f);
    FutureData old = *f;
    struct future_cold old_cold = *cold;
    f->state = FUTURE_PENDING;
    f->blocking = f->log_traceback = f->is_native = f->failed = false;
    f->loop = f->result = NULL;
    cold->exception = cold->source_traceback = cold->cancel_message = NULL;
    if (f->first.call != NULL) {
        future_drop_callbacks(f);
    }
    Py_XDECREF(old.loop);
    Py_XDECREF(old.result);
    Py_XDECREF(old_cold.exception);
    Py_XDECREF(old_cold.source_traceback);
    Py_XDECREF(old_cold.cancel_message);
}

static void
future_empty(PyObject *op)
{
    FutureData *f = FUTURE(op);
    if (f->is_task) {
        task_reset(op);
    }
    future_reset(f);
}

int
Future_clear(PyObject *op)
{
    PyTypeObject *base = base_type(FUTURE(op));
    future_empty(op);
    return base->tp_clear(op);
}

static inline PyObject **
weaklist_slot(PyObject *op)
{
    return (PyObject **)((char *)op + Py_TYPE(op)->tp_weaklistoffset);
}

/* Whether all that belongs to the base, and the instance's dict, is unset. */
static inline bool
base_is_blank(PyObject *op, PyTypeObject *base)
{
    core_state *st = FUTURE(op)->st;
    uintptr_t any = *(uintptr_t *)weaklist_slot(op)
        | *(uintptr_t *)((char *)op + st->future_dict_offset);
    uintptr_t *word = (uintptr_t *)((char *)op + sizeof(PyObject));
    uintptr_t *end = (uintptr_t *)((char *)op + base->tp_basicsize);
    while (word < end) {
        any |= *word++;
    }
    return any == 0;
}

/* Keeps the empty object for reuse, or leaves its end to the base. */
static inline void
future_free(PyObject *op)
{
    FutureData *f = FUTURE(op);
    core_state *st = f->st;
    PyTypeObject *type = Py_TYPE(op), *base = base_type(f);
    bool is_task = f->is_task;
    struct freelist *dead = &st->dead_futures[is_task];
    if (LIKELY(future_is_native(st, op) && freelist_has_room(dead)
               && !PyObject_GC_IsFinalized(op) && base_is_blank(op, base))) {
        freelist_put(dead, op);
        st->live_futures[is_task]--;
        Py_DECREF(type);
        return;
    }
    if (is_task) {
        Py_CLEAR(TASK(op)->ref);
    }
    bool drop_type = !base_minds_type(base);
    base->tp_dealloc(op);
    if (drop_type) {
        Py_DECREF(type);
    }
    st->live_futures[is_task]--;
    state_free_if_dead(st);
}

static inline bool
has_something_to_report(PyObject *op)
{
    FutureData *f = FUTURE(op);
    return f->log_traceback
        || (f->is_task && f->state == FUTURE_PENDING && TASK(op)->log_destroy_pending);
}

bool
future_dies_silently(PyObject *op)
{
    FutureData *f = FUTURE(op);
    PyObject *result = f->result;
    /* Instances of static types that are no containers: None, numbers, text, bytes. */
    bool plain_result = result == NULL
        || !(Py_TYPE(result)->tp_flags & (Py_TPFLAGS_HEAPTYPE | Py_TPFLAGS_HAVE_GC));
    return plain_result && !f->is_task && f->first.call == NULL
        && future_cold(f)->exception == NULL && future_cold(f)->cancel_message == NULL
        && base_is_blank(op, base_type(f));
}

/* A future can be the result of another, a task wait for another, and so on without
 * end; as for handles (see Handle_dealloc). */
#define NESTED_MAX 50

void
Future_dealloc(PyObject *op)
{
    if (UNLIKELY(has_something_to_report(op))
        && PyObject_CallFinalizerFromDealloc(op) < 0) {
        return; /* somebody took a reference */
    }
    PyObject_GC_UnTrack(op);
    if (FUTURE(op)->is_task) {
        /* Before Python code could find it there. */
        registry_forget(FUTURE(op)->st, &TASK(op)->ref);
    }
    if (UNLIKELY(*weaklist_slot(op) != NULL)) {
        PyObject_ClearWeakRefs(op);
    }
#if PY_VERSION_HEX < 0x030E0000
    core_state *st = FUTURE(op)->st;
    if (UNLIKELY(st->nested_deallocs >= NESTED_MAX)) {
        Py_TRASHCAN_BEGIN(op, Future_dealloc)
        future_empty(op);
        future_free(op);
        Py_TRASHCAN_END
        return;
    }
    st->nested_deallocs++;
    future_empty(op);
    st->nested_deallocs--;
#else
    future_empty(op);
#endif
    future_free(op);
}

void
future_close_freelists(core_state *st)
{
    struct freelist *tasks = &st->dead_futures[true];
    PyObject *op;
    freelist_close(&st->dead_futures[false]);
    tasks->max = 0;
    while ((op = freelist_pop(tasks)) != NULL) {
        Py_CLEAR(TASK(op)->ref);
        PyObject_GC_Del(op);
    }
}

void
future_report(PyObject *op, PyObject *message, const char *const *keys,
              PyObject *const *values)
{
    FutureData *f = FUTURE(op);
    if (f->loop == NULL) {
        return;
    }
    PyObject *context = message == NULL ? NULL : PyDict_New();
    int rc = context == NULL ? -1 : PyDict_SetItemString(context, "message", message);
    for (; rc == 0 && *keys != NULL; keys++, values++) {
        rc = PyDict_SetItemString(context, *keys, *values);
    }
    PyObject *stack = future_cold(f)->source_traceback;
    if (rc == 0 && stack != NULL) {
        rc = PyDict_SetItemString(context, "source_traceback", stack);
    }
    PyObject *handler = rc < 0
        ? NULL
        : PyObject_GetAttr(f->loop, f->st->str_call_exception_handler);
    if (handler != NULL) {
        PyObject *res = PyObject_CallOneArg(handler, context);
        if (res == NULL) {
            PyErr_WriteUnraisable(handler);
        }
        Py_XDECREF(res);
        Py_DECREF(handler);
    }
    Py_XDECREF(context);
}

void
Future_finalize(PyObject *op)
{
    FutureData *f = FUTURE(op);
    if (!f->log_traceback || !f->failed) {
        return;
    }
    f->log_traceback = false;
    const char *name = strrchr(Py_TYPE(op)->tp_name, '.');
    name = name == NULL ? Py_TYPE(op)->tp_name : name + 1;
    PyObject *raised = PyErr_GetRaisedException();
    PyObject *message = PyUnicode_FromFormat("%s exception was never retrieved", name);
    static const char *const keys[] = {"exception", "future", NULL};
    future_report(op, message, keys, (PyObject *[]){future_cold(f)->exception, op});
    Py_XDECREF(message);
    PyErr_SetRaisedException(raised);
}

int
future_trace(PyObject *op)
{
    FutureData *f = FUTURE(op);
    int debug = loop_get_debug(f->st, f->loop);
    /* At the interpreter's end what walks the stack may be gone. */
    if (LIKELY(debug <= 0) || Py_IsFinalizing()) {
        return debug < 0 ? -1 : 0;
    }
    PyObject *stack = PyObject_CallNoArgs(f->st->traceback_extract_stack);
    if (stack == NULL) {
        return -1;
    }
    Py_XSETREF(future_cold(f)->source_traceback, stack);
    return 0;
}

int
future_init(PyObject *op, PyObject *loop)
{
    FutureData *f = FUTURE(op);
#if PY_VERSION_HEX >= 0x030F0000
    if (f->loop != NULL) {
        PyErr_Format(PyExc_RuntimeError, "%T object is already initialized", op);
        return -1;
    }
#endif
    core_state *st = f->st;
    future_reset(f);
    registry_reset_awaited(op);
    loop = loop == NULL || loop == Py_None
        ? PyObject_CallMethodNoArgs(st->events, st->str_get_event_loop)
        : Py_NewRef(loop);
    if (loop == NULL) {
        return -1;
    }
    /* What was dropped may have used it meanwhile. */
    f->state = FUTURE_PENDING;
    f->blocking = f->log_traceback = false;
    f->is_native = loop_from_object_borrow(st, loop) != NULL;
    Py_XSETREF(f->loop, loop);
    return future_trace(op);
}

PyObject *
future_new(core_state *st, PyObject *loop)
{
    PyObject *op = future_alloc(st, st->FutureType);
    if (UNLIKELY(op == NULL)) {
        return NULL;
    }
    FutureData *f = FUTURE(op);
    f->loop = Py_NewRef(loop);
    f->is_native = true;
    PyObject_GC_Track(op);
    if (UNLIKELY(!loop_is_plain(LOOP(loop))) && future_trace(op) < 0) {
        Py_CLEAR(op);
    }
    return op;
}

int
future_check_alive(PyObject *op)
{
    if (UNLIKELY(FUTURE(op)->loop == NULL)) {
        PyErr_SetString(PyExc_RuntimeError, "Future object is not initialized.");
        return -1;
    }
    return 0;
}

/* --- outcome ------------------------------------------------------------------ */

static int
future_check_pending(FutureData *f)
{
    if (UNLIKELY(f->state != FUTURE_PENDING)) {
        PyErr_SetString(f->st->InvalidStateError, "invalid state");
        return -1;
    }
    return 0;
}

int
future_set_result_lock_held(PyObject *op, PyObject *result)
{
    FutureData *f = FUTURE(op);
    if (future_check_alive(op) < 0 || future_check_pending(f) < 0) {
        return -1;
    }
    PyObject *old = f->result; /* none, but for evil ways */
    f->state = FUTURE_FINISHED;
    f->result = Py_NewRef(result);
    int rc = future_schedule_callbacks(op);
    Py_XDECREF(old);
    return rc;
}

/* What asyncio makes of a StopIteration, which no coroutine could tell from its own
 * end, has changed between versions: its own Future is asked. Steals exc. */
static PyObject *
convert_stop_iteration_steal(FutureData *f, PyObject *exc)
{
    core_state *st = f->st;
    PyObject *argv[] = {f->loop};
    PyObject *other = PyObject_Vectorcall(st->AsyncioFuture, argv, 0, st->kw_loop);
    PyObject *res = other == NULL
        ? NULL
        : PyObject_CallMethod(other, "set_exception", "O", exc);
    PyObject *converted = res == NULL ? NULL
                                      : PyObject_GetAttrString(other, "_exception");
    if (converted != NULL
        && PyObject_SetAttrString(other, "_log_traceback", Py_False) < 0) {
        Py_CLEAR(converted);
    }
    Py_XDECREF(res);
    Py_XDECREF(other);
    Py_DECREF(exc);
    return converted;
}

/* The instance that set_exception(exc) stores. */
static PyObject *
future_normalize_exception(PyObject *op, PyObject *exc)
{
    FutureData *f = FUTURE(op);
    exc = PyExceptionClass_Check(exc) ? PyObject_CallNoArgs(exc) : Py_NewRef(exc);
    if (exc != NULL && (future_check_alive(op) < 0 || future_check_pending(f) < 0)) {
        Py_CLEAR(exc);
    }
    if (exc == NULL) {
        return NULL;
    }
    if (!PyExceptionInstance_Check(exc)) {
        Py_DECREF(exc);
        PyErr_SetString(PyExc_TypeError, "invalid exception object");
        return NULL;
    }
    if (PyErr_GivenExceptionMatches(exc, PyExc_StopIteration)) {
        exc = convert_stop_iteration_steal(f, exc);
        if (exc != NULL
            && (future_check_alive(op) < 0 || future_check_pending(f) < 0)) {
            Py_CLEAR(exc);
        }
    }
    return exc;
}

int
future_set_exception_lock_held(PyObject *op, PyObject *exc)
{
    FutureData *f = FUTURE(op);
    if (future_check_alive(op) < 0 || future_check_pending(f) < 0) {
        return -1;
    }
    exc = future_normalize_exception(op, exc);
    if (exc == NULL) {
        return -1;
    }
    PyObject *old = future_cold(f)->exception, *old_result = f->result;
    f->state = FUTURE_FINISHED;
    f->failed = true;
    future_cold(f)->exception = exc;
    f->result = PyException_GetTraceback(exc);
    int rc = future_schedule_callbacks(op);
    /* A callback's call_soon() may have undone it all. */
    if (rc == 0 && f->failed) {
        f->log_traceback = true;
    }
    Py_XDECREF(old); /* none, but for evil ways */
    Py_XDECREF(old_result);
    return rc;
}

int
future_cancel_lock_held(PyObject *op, PyObject *msg)
{
    FutureData *f = FUTURE(op);
    f->log_traceback = false;
    if (f->state != FUTURE_PENDING) {
        return 0;
    }
    struct future_cold *cold = future_cold(f);
    PyObject *old = cold->cancel_message;
    f->state = FUTURE_CANCELLED;
    cold->cancel_message = Py_XNewRef(msg);
    int rc = future_schedule_callbacks(op);
    Py_XDECREF(old);
    return rc < 0 ? -1 : 1;
}

PyObject *
future_make_cancelled_error(PyObject *op)
{
    FutureData *f = FUTURE(op);
    struct future_cold *cold = future_cold(f);
    PyObject *exc = f->failed ? NULL : cold->exception;
    if (exc != NULL) {
        cold->exception = NULL;
        return exc;
    }
    PyObject *msg = cold->cancel_message;
    if (msg == NULL || msg == Py_None) {
        return PyObject_CallNoArgs(f->st->CancelledError);
    }
    Py_INCREF(msg);
    exc = PyObject_CallOneArg(f->st->CancelledError, msg);
    Py_DECREF(msg);
    return exc;
}

/* Raises it. */
static void
future_raise_cancelled(PyObject *op)
{
    PyObject *exc = future_make_cancelled_error(op);
    if (exc != NULL) {
        PyErr_SetObject(FUTURE(op)->st->CancelledError, exc);
        Py_DECREF(exc);
    }
}

int
future_get_outcome_lock_held(PyObject *op, PyObject **outcome)
{
    FutureData *f = FUTURE(op);
    if (UNLIKELY(f->state != FUTURE_FINISHED)) {
        if (f->state == FUTURE_CANCELLED) {
            future_raise_cancelled(op);
        }
        else {
            PyErr_SetString(f->st->InvalidStateError, "Result is not set.");
        }
        return -1;
    }
    f->log_traceback = false;
    if (LIKELY(!f->failed)) {
        *outcome = Py_NewRef(f->result ? f->result : Py_None);
        return 0;
    }
    /* The traceback as it was, or each raising would add to it. */
    PyObject *exc = Py_NewRef(future_cold(f)->exception), *tb = f->result;
    f->result = NULL;
    int rc = PyException_SetTraceback(exc, tb ? tb : Py_None);
    Py_XDECREF(tb);
    if (rc < 0) {
        Py_DECREF(exc);
        return -1;
    }
    *outcome = exc;
    return 1;
}

PyObject *
future_result(PyObject *op)
{
    if (UNLIKELY(FUTURE(op)->loop == NULL)) {
        PyErr_SetString(FUTURE(op)->st->InvalidStateError,
                        "Future object is not initialized.");
        return NULL;
    }
    PyObject *outcome;
    int rc = future_get_outcome_lock_held(op, &outcome);
    if (UNLIKELY(rc != 0)) {
        if (rc > 0) {
            PyErr_SetObject(PyExceptionInstance_Class(outcome), outcome);
            Py_DECREF(outcome);
        }
        return NULL;
    }
    return outcome;
}
