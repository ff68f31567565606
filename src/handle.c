/* handle.c - see handle.h: life, fields and running of handles.
 *
 * Calls into Python: the callback, and on its error the loop's exception handler.
 *
 * pending -> running [handle_run]     the callback's references are held by the run
 * pending -> cancelled [handle_cancel] callback and arguments are dropped at once
 * running -> cancelled                as above; the run keeps its own references
 * A handle that has run keeps callback and arguments, as asyncio's does. */

#include "handle.h"
#include "compat.h"
#include "loop.h"

Py_ssize_t handle_offset;

/* --- life --------------------------------------------------------------------- */

/* The base class's slots lie between the object's head and our struct. We leave
 * them unset, but asyncio.Handle._loop.__set__(handle, x) is possible. */
#define BASE_SLOTS(op) ((PyObject **)((char *)(op) + sizeof(PyObject)))
#define BASE_SLOTS_END(op) ((PyObject **)HANDLE(op))

static inline PyObject **
weaklist_slot(PyObject *op)
{
    return (PyObject **)((char *)op + Py_TYPE(op)->tp_weaklistoffset);
}

static PyObject *
handle_alloc(core_state *st, enum handle_kind kind)
{
    PyTypeObject *type = state_handle_type(st, kind);
    PyObject *op = st->handle_freelist[kind];
    if (LIKELY(op != NULL)) {
        HandleData *h = HANDLE(op);
        st->handle_freelist[kind] = h->loop;
        st->handle_free[kind]--;
        h->loop = NULL;
        (void)PyObject_Init(op, type);
    }
    else {
        op = (PyObject *)PyObject_GC_New(PyObject, type);
        if (op == NULL) {
            return NULL;
        }
        memset((char *)op + sizeof(PyObject), 0,
               (size_t)type->tp_basicsize - sizeof(PyObject));
        HANDLE(op)->st = st;
        HANDLE(op)->kind = kind;
        if (kind == HANDLE_TIMER) {
            TIMER(op)->node.index = HEAP_OUT;
        }
    }
    st->live_handles[kind]++;
    return op;
}

static int
handle_set_args(HandleData *h, PyObject *const *argv, Py_ssize_t nargs)
{
    assert(h->args == ARGS_NONE);
    if (LIKELY(nargs <= HANDLE_INLINE_ARGS)) {
        for (Py_ssize_t i = 0; i < nargs; i++) {
            h->argv[1 + i] = Py_NewRef(argv[i]);
        }
        h->nargs = (uint8_t)nargs;
        h->args = ARGS_INLINE;
        return 0;
    }
    PyObject *tuple = PyTuple_New(nargs);
    if (tuple == NULL) {
        return -1;
    }
    for (Py_ssize_t i = 0; i < nargs; i++) {
        PyTuple_SET_ITEM(tuple, i, Py_NewRef(argv[i]));
    }
    h->argv[1] = tuple;
    h->nargs = 1;
    h->args = ARGS_OBJECT;
    return 0;
}

PyObject *
handle_new(core_state *st, enum handle_kind kind, PyObject *loop, PyObject *callback,
           PyObject *const *argv, Py_ssize_t nargs, PyObject *context)
{
    context = context ? Py_NewRef(context) : PyContext_CopyCurrent();
    if (UNLIKELY(context == NULL)) {
        return NULL;
    }
    PyObject *op = handle_alloc(st, kind);
    if (UNLIKELY(op == NULL)) {
        Py_DECREF(context);
        return NULL;
    }
    HandleData *h = HANDLE(op);
    h->context = context;
    h->loop = Py_NewRef(loop);
    h->callback = Py_NewRef(callback);
    if (UNLIKELY(handle_set_args(h, argv, nargs) < 0)) {
        Py_DECREF(op);
        return NULL;
    }
    PyObject_GC_Track(op);
    return op;
}

int
handle_trace(PyObject *op)
{
    HandleData *h = HANDLE(op);
    PyObject *stack = PyObject_CallNoArgs(h->st->extract_stack);
    if (stack == NULL) {
        return -1;
    }
    Py_XSETREF(h->source_traceback, stack);
    return 0;
}

static int
Handle_traverse(PyObject *op, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(op));
    HandleData *h = HANDLE(op);
    Py_VISIT(h->loop);
    Py_VISIT(h->context);
    Py_VISIT(h->callback);
    Py_VISIT(h->source_traceback);
    for (int i = 1; i <= h->nargs; i++) {
        Py_VISIT(h->argv[i]);
    }
    if (h->kind == HANDLE_TIMER) {
        Py_VISIT(TIMER(op)->when_object);
    }
    PyObject **weak = weaklist_slot(op);
    for (PyObject **slot = BASE_SLOTS(op); slot < BASE_SLOTS_END(op); slot++) {
        if (slot != weak) {
            Py_VISIT(*slot);
        }
    }
    return 0;
}

/* Drops the arguments; our own state is whole before any of them runs Python. */
static inline void
handle_drop_args(HandleData *h)
{
    PyObject *gone[1 + HANDLE_INLINE_ARGS];
    int n = h->nargs;
    for (int i = 1; i <= n; i++) {
        gone[i] = h->argv[i];
        h->argv[i] = NULL;
    }
    h->args = ARGS_NONE;
    h->nargs = 0;
    for (int i = 1; i <= n; i++) {
        Py_DECREF(gone[i]);
    }
}

static int
Handle_clear(PyObject *op)
{
    HandleData *h = HANDLE(op);
    Py_CLEAR(h->callback);
    handle_drop_args(h);
    Py_CLEAR(h->context);
    Py_CLEAR(h->loop);
    Py_CLEAR(h->repr);
    Py_CLEAR(h->source_traceback);
    if (h->kind == HANDLE_TIMER) {
        Py_CLEAR(TIMER(op)->when_object);
    }
    PyObject **weak = weaklist_slot(op);
    for (PyObject **slot = BASE_SLOTS(op); slot < BASE_SLOTS_END(op); slot++) {
        if (UNLIKELY(*slot != NULL) && slot != weak) {
            Py_CLEAR(*slot);
        }
    }
    return 0;
}

void
Handle_dealloc(PyObject *op)
{
    PyObject_GC_UnTrack(op);
    Py_TRASHCAN_BEGIN(op, Handle_dealloc)
    if (UNLIKELY(*weaklist_slot(op) != NULL)) {
        PyObject_ClearWeakRefs(op);
    }
    (void)Handle_clear(op);
    PyTypeObject *type = Py_TYPE(op);
    HandleData *h = HANDLE(op);
    core_state *st = h->st;
    enum handle_kind kind = h->kind;
    st->live_handles[kind]--;
    assert(kind != HANDLE_TIMER || TIMER(op)->node.index == HEAP_OUT);
    if (handle_is_exact(op) && st->handle_free[kind] < HANDLE_FREELIST_MAX) {
        h->cancelled = false;
        if (kind == HANDLE_TIMER) {
            TIMER(op)->marked = false;
        }
        h->loop = st->handle_freelist[kind];
        st->handle_freelist[kind] = op;
        st->handle_free[kind]++;
    }
    else {
        type->tp_free(op);
    }
    Py_DECREF(type);
    Py_TRASHCAN_END
}

void
handle_clear_freelists(core_state *st)
{
    for (int kind = 0; kind < HANDLE_KINDS; kind++) {
        PyObject *op = st->handle_freelist[kind];
        st->handle_freelist[kind] = NULL;
        st->handle_free[kind] = 0;
        while (op != NULL) {
            PyObject *next = HANDLE(op)->loop;
            PyObject_GC_Del(op);
            op = next;
        }
    }
}

static enum handle_kind
kind_of_type(core_state *st, PyTypeObject *type)
{
    if (PyType_IsSubtype(type, (PyTypeObject *)st->TimerHandleType)) {
        return HANDLE_TIMER;
    }
    if (PyType_IsSubtype(type, (PyTypeObject *)st->ThreadSafeHandleType)) {
        return HANDLE_THREADSAFE;
    }
    return HANDLE_PLAIN;
}

/* For Python code that makes handles by hand; the loop uses handle_new(). */
static PyObject *
Handle_new(PyTypeObject *type, PyObject *Py_UNUSED(args), PyObject *Py_UNUSED(kwargs))
{
    PyObject *module = PyType_GetModuleByDef(type, &core_module);
    if (module == NULL) {
        return NULL;
    }
    core_state *st = PyModule_GetState(module);
    PyObject *op = type->tp_alloc(type, 0);
    if (op == NULL) {
        return NULL;
    }
    HandleData *h = HANDLE(op);
    h->st = st;
    h->kind = kind_of_type(st, type);
    if (h->kind == HANDLE_TIMER) {
        TIMER(op)->node.index = HEAP_OUT;
    }
    st->live_handles[h->kind]++;
    return op;
}

/* Puts one object where the arguments are; None stands for no arguments left. */
static void
handle_assign_args(HandleData *h, PyObject *value)
{
    Py_INCREF(value);
    handle_drop_args(h);
    handle_drop_args(h); /* what an argument's finaliser may have put there */
    if (value == Py_None) {
        Py_DECREF(value);
        return;
    }
    h->argv[1] = value;
    h->nargs = 1;
    h->args = ARGS_OBJECT;
}

static int
handle_init(PyObject *op, PyObject *callback, PyObject *args, PyObject *loop,
            PyObject *context)
{
    HandleData *h = HANDLE(op);
    core_state *st = h->st;
    context = context == NULL || context == Py_None ? PyContext_CopyCurrent()
                                                    : Py_NewRef(context);
    if (context == NULL) {
        return -1;
    }
    h->cancelled = false;
    Py_XSETREF(h->context, context);
    Py_XSETREF(h->loop, Py_NewRef(loop));
    Py_XSETREF(h->callback, Py_NewRef(callback));
    Py_CLEAR(h->repr);
    Py_CLEAR(h->source_traceback);
    handle_assign_args(h, args);
    int debug = loop_get_debug(st, loop);
    if (debug < 0 || (debug && handle_trace(op) < 0)) {
        return -1;
    }
    return 0;
}

static int
Handle_init(PyObject *op, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"callback", "args", "loop", "context", NULL};
    PyObject *callback, *cargs, *loop, *context = NULL;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OOO|O:Handle", names, &callback,
                                     &cargs, &loop, &context)) {
        return -1;
    }
    return handle_init(op, callback, cargs, loop, context);
}

static int timer_set_when(PyObject *op, PyObject *value);

static int
TimerHandle_init(PyObject *op, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"when", "callback", "args", "loop", "context", NULL};
    PyObject *when, *callback, *cargs, *loop, *context = NULL;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OOOO|O:TimerHandle", names, &when,
                                     &callback, &cargs, &loop, &context)
        || handle_init(op, callback, cargs, loop, context) < 0) {
        return -1;
    }
    TIMER(op)->marked = false;
    return timer_set_when(op, when);
}

/* --- running ------------------------------------------------------------------ */

/* The general form: a context that only looks like one, arguments that are no
 * tuple, a handle already cancelled. Errors are those of
 * self._context.run(self._callback, *self._args). */
static PyObject *
call_in_any_context(core_state *st, PyObject *context, PyObject *callback,
                    PyObject *args)
{
    PyObject *run = PyObject_GetAttr(context, st->str_run);
    PyObject *list = run == NULL ? NULL : PyList_New(0);
    PyObject *result = NULL;
    if (list == NULL || PyList_Append(list, callback) < 0) {
        goto done;
    }
    PyObject *extended = PySequence_InPlaceConcat(list, args);
    if (extended == NULL) {
        if (PyErr_ExceptionMatches(PyExc_TypeError)) {
            PyErr_Format(PyExc_TypeError,
                         "Value after * must be an iterable, not %.200s",
                         Py_TYPE(args)->tp_name);
        }
        goto done;
    }
    PyObject *tuple = PySequence_Tuple(extended);
    Py_DECREF(extended);
    if (tuple != NULL) {
        result = PyObject_CallObject(run, tuple);
        Py_DECREF(tuple);
    }
done:
    Py_XDECREF(list);
    Py_XDECREF(run);
    return result;
}

static PyObject *
handle_call_slowly(HandleData *h)
{
    PyObject *context = Py_NewRef(h->context ? h->context : Py_None);
    PyObject *callback = Py_NewRef(h->callback ? h->callback : Py_None);
    PyObject *args;
    if (h->args == ARGS_INLINE) {
        args = PyTuple_New(h->nargs);
        for (int i = 0; args != NULL && i < h->nargs; i++) {
            PyTuple_SET_ITEM(args, i, Py_NewRef(h->argv[1 + i]));
        }
    }
    else {
        args = Py_NewRef(h->args == ARGS_OBJECT ? h->argv[1] : Py_None);
    }
    PyObject *result = NULL;
    if (args != NULL) {
        result = call_in_any_context(h->st, context, callback, args);
        Py_DECREF(args);
    }
    Py_DECREF(callback);
    Py_DECREF(context);
    return result;
}

/* The callback's own references: it may cancel or re-initialise its handle. */
static inline PyObject *
handle_call(HandleData *h)
{
    PyObject *context = h->context;
    PyObject *callback = h->callback;
    if (UNLIKELY(context == NULL || !PyContext_CheckExact(context) || callback == NULL
                 || h->args != ARGS_INLINE)) {
        return handle_call_slowly(h);
    }
    PyObject *argv[1 + HANDLE_INLINE_ARGS];
    Py_ssize_t nargs = h->nargs;
    for (Py_ssize_t i = 1; i <= nargs; i++) {
        argv[i] = Py_NewRef(h->argv[i]);
    }
    Py_INCREF(context);
    Py_INCREF(callback);
    PyObject *result = NULL;
    if (LIKELY(PyContext_Enter(context) == 0)) {
        result = PyObject_Vectorcall(callback, argv + 1,
                                     (size_t)nargs | PY_VECTORCALL_ARGUMENTS_OFFSET,
                                     NULL);
        if (UNLIKELY(PyContext_Exit(context) < 0)) {
            Py_CLEAR(result);
        }
    }
    Py_DECREF(callback);
    Py_DECREF(context);
    for (Py_ssize_t i = 1; i <= nargs; i++) {
        Py_DECREF(argv[i]);
    }
    return result;
}

static PyObject *Handle_get_args(PyObject *op, void *closure);

/* 'Exception in callback f(1, 2) at file.py:3' */
static PyObject *
handle_error_message(PyObject *op)
{
    HandleData *h = HANDLE(op);
    core_state *st = h->st;
    PyObject *args = Handle_get_args(op, NULL);
    if (args == NULL) {
        return NULL;
    }
    PyObject *source;
    PyObject *argv[] = {h->callback ? h->callback : Py_None, args, NULL};
    Py_INCREF(argv[0]);
    if (st->format_takes_debug) {
        int debug = h->loop == NULL ? 0 : loop_get_debug(st, h->loop);
        argv[2] = debug > 0 ? Py_True : Py_False;
        source = debug < 0
            ? NULL
            : PyObject_Vectorcall(st->format_callback_source, argv, 2, st->kw_debug);
    }
    else {
        source = PyObject_Vectorcall(st->format_callback_source, argv, 2, NULL);
    }
    Py_DECREF(argv[0]);
    Py_DECREF(args);
    if (source == NULL) {
        return NULL;
    }
    PyObject *message = PyUnicode_FromFormat("Exception in callback %S", source);
    Py_DECREF(source);
    return message;
}

/* Hands the exception being raised to the loop's exception handler. */
static int
handle_report_error(PyObject *op)
{
    HandleData *h = HANDLE(op);
    core_state *st = h->st;
    if (PyErr_ExceptionMatches(PyExc_SystemExit)
        || PyErr_ExceptionMatches(PyExc_KeyboardInterrupt)) {
        return -1;
    }
    int rc = -1;
    PyObject *exc = PyErr_GetRaisedException();
    PyObject *loop = Py_NewRef(h->loop ? h->loop : Py_None);
    PyObject *message = handle_error_message(op);
    PyObject *context = message == NULL
        ? NULL
        : Py_BuildValue("{s:O,s:O,s:O}", "message", message, "exception", exc, "handle",
                        op);
    if (context != NULL && h->source_traceback != NULL) {
        int full = PyObject_IsTrue(h->source_traceback);
        if (full < 0
            || (full
                && PyDict_SetItemString(context, "source_traceback",
                                        h->source_traceback)
                    < 0)) {
            Py_CLEAR(context);
        }
    }
    if (context != NULL) {
        PyObject *res = PyObject_CallMethodOneArg(loop, st->str_call_exception_handler,
                                                  context);
        rc = res == NULL ? -1 : 0;
        Py_XDECREF(res);
        Py_DECREF(context);
    }
    if (rc < 0 && message == NULL) {
        /* What could not be formatted must not hide the callback's own error. */
        PyObject *second = PyErr_GetRaisedException();
        PyException_SetContext(second, Py_NewRef(exc));
        PyErr_SetRaisedException(second);
    }
    Py_XDECREF(message);
    Py_DECREF(loop);
    Py_DECREF(exc);
    return rc;
}

static void
threadsafe_end_run(ThreadSafeData *t)
{
    t->runner = 0;
    if (t->done != NULL) {
        PyThread_release_lock(t->done);
    }
}

/* asyncio holds a lock while the callback runs: another thread that asks for, or
 * changes, the state of the handle waits until the callback has returned. */
static int
threadsafe_wait(PyObject *op)
{
    ThreadSafeData *t = THREADSAFE(op);
    unsigned long me = PyThread_get_thread_ident();
    while (t->runner != 0 && t->runner != me) {
        if (t->done == NULL) {
            t->done = PyThread_allocate_lock();
            if (t->done == NULL) {
                PyErr_NoMemory();
                return -1;
            }
            PyThread_acquire_lock(t->done, WAIT_LOCK); /* in the runner's name */
        }
        t->waiters++;
        PyThread_type_lock done = t->done;
        Py_BEGIN_ALLOW_THREADS
        PyThread_acquire_lock(done, WAIT_LOCK);
        PyThread_release_lock(done); /* the next waiter's turn */
        Py_END_ALLOW_THREADS
        if (--t->waiters == 0) {
            PyThread_free_lock(t->done);
            t->done = NULL;
        }
    }
    return 0;
}

int
handle_run(PyObject *op)
{
    HandleData *h = HANDLE(op);
    PyObject *result;
    if (h->kind == HANDLE_THREADSAFE && THREADSAFE(op)->runner == 0) {
        if (h->cancelled) {
            return 0;
        }
        THREADSAFE(op)->runner = PyThread_get_thread_ident();
        result = handle_call(h);
        threadsafe_end_run(THREADSAFE(op));
    }
    else {
        result = handle_call(h);
    }
    if (UNLIKELY(result == NULL)) {
        return handle_report_error(op);
    }
    Py_DECREF(result);
    return 0;
}

int
handle_is_cancelled(core_state *st, PyObject *op)
{
    if (handle_is_exact(op)) {
        return HANDLE(op)->cancelled;
    }
    PyObject *cancelled = PyObject_GetAttr(op, st->str__cancelled);
    if (cancelled == NULL) {
        return -1;
    }
    int rc = PyObject_IsTrue(cancelled);
    Py_DECREF(cancelled);
    return rc;
}

int
handle_cancel(PyObject *op)
{
    HandleData *h = HANDLE(op);
    if (h->cancelled) {
        return 0;
    }
    h->cancelled = true;
    int debug = h->loop == NULL ? 0 : loop_get_debug(h->st, h->loop);
    if (UNLIKELY(debug != 0)) {
        /* Kept for the message "Executing <Handle ...> took 2.5 seconds". */
        PyObject *repr = debug < 0 ? NULL : PyObject_Repr(op);
        if (repr == NULL) {
            return -1;
        }
        Py_XSETREF(h->repr, repr);
    }
    PyObject *callback = h->callback;
    h->callback = NULL;
    handle_drop_args(h);
    Py_XDECREF(callback);
    return 0;
}

/* --- methods ------------------------------------------------------------------ */

PyDoc_STRVAR(Handle_cancel_doc,
"cancel($self, /)\n--\n\n"
"Cancel the callback; no effect once it has run or was cancelled.\n\n"
"Mirrors asyncio.Handle.cancel().");

static PyObject *
Handle_cancel(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    if (HANDLE(op)->kind == HANDLE_THREADSAFE && threadsafe_wait(op) < 0) {
        return NULL;
    }
    if (handle_cancel(op) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
TimerHandle_cancel(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    HandleData *h = HANDLE(op);
    if (!h->cancelled && h->loop != NULL && loop_timer_cancelled(h->loop, op) < 0) {
        return NULL;
    }
    if (handle_cancel(op) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(Handle_cancelled_doc,
"cancelled($self, /)\n--\n\n"
"Return True if the handle was cancelled.\n\n"
"Mirrors asyncio.Handle.cancelled().");

static PyObject *
Handle_cancelled(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    if (HANDLE(op)->kind == HANDLE_THREADSAFE && threadsafe_wait(op) < 0) {
        return NULL;
    }
    return PyBool_FromLong(HANDLE(op)->cancelled);
}

PyDoc_STRVAR(Handle_get_context_doc,
"get_context($self, /)\n--\n\n"
"Return the contextvars.Context in which the callback runs.\n\n"
"Mirrors asyncio.Handle.get_context(), on every version of Python.");

static PyObject *
Handle_get_context(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    PyObject *context = HANDLE(op)->context;
    return Py_NewRef(context ? context : Py_None);
}

PyDoc_STRVAR(Handle__run_doc,
"_run($self, /)\n--\n\n"
"Call the callback in its context; its errors go to the loop's exception handler.");

static PyObject *
Handle__run(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    if (HANDLE(op)->kind == HANDLE_THREADSAFE && threadsafe_wait(op) < 0) {
        return NULL;
    }
    if (handle_run(op) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(TimerHandle_when_doc,
"when($self, /)\n--\n\n"
"Return when the callback is due: seconds of the loop's clock, as loop.time().\n\n"
"Mirrors asyncio.TimerHandle.when().");

static PyObject *
TimerHandle_when(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    TimerData *t = TIMER(op);
    return t->when_object ? Py_NewRef(t->when_object) : PyFloat_FromDouble(t->when);
}

static PyObject *
Handle_repr(PyObject *op)
{
    HandleData *h = HANDLE(op);
    if (h->repr != NULL) {
        return Py_NewRef(h->repr);
    }
    PyObject *info = PyObject_CallMethodNoArgs(op, h->st->str__repr_info);
    if (info == NULL) {
        return NULL;
    }
    PyObject *space = PyUnicode_FromString(" ");
    PyObject *text = space == NULL ? NULL : PyUnicode_Join(space, info);
    PyObject *repr = text == NULL ? NULL : PyUnicode_FromFormat("<%U>", text);
    Py_XDECREF(text);
    Py_XDECREF(space);
    Py_DECREF(info);
    return repr;
}

static Py_hash_t
TimerHandle_hash(PyObject *op)
{
    PyObject *when = TimerHandle_when(op, NULL);
    if (when == NULL) {
        return -1;
    }
    Py_hash_t hash = PyObject_Hash(when);
    Py_DECREF(when);
    return hash;
}

static int
attributes_equal(PyObject *a, PyObject *b, PyObject *name)
{
    PyObject *x = PyObject_GetAttr(a, name);
    PyObject *y = x == NULL ? NULL : PyObject_GetAttr(b, name);
    int rc = y == NULL ? -1 : PyObject_RichCompareBool(x, y, Py_EQ);
    Py_XDECREF(x);
    Py_XDECREF(y);
    return rc;
}

static int
timers_equal(core_state *st, PyObject *a, PyObject *b)
{
    PyObject *names[] = {st->str__when, st->str__callback, st->str__args,
                         st->str__cancelled};
    for (size_t i = 0; i < Py_ARRAY_LENGTH(names); i++) {
        int rc = attributes_equal(a, b, names[i]);
        if (rc <= 0) {
            return rc;
        }
    }
    return 1;
}

static PyObject *
TimerHandle_richcompare(PyObject *op, PyObject *other, int how)
{
    core_state *st = HANDLE(op)->st;
    int is_timer = PyObject_IsInstance(other, st->AsyncioTimerHandle);
    if (is_timer < 0) {
        return NULL;
    }
    if (!is_timer) {
        Py_RETURN_NOTIMPLEMENTED;
    }
    int rc = 0;
    if (how != Py_EQ && how != Py_NE) {
        PyObject *mine = TimerHandle_when(op, NULL);
        PyObject *theirs = mine ? PyObject_GetAttr(other, st->str__when) : NULL;
        int strict = how == Py_LT || how == Py_LE ? Py_LT : Py_GT;
        rc = theirs == NULL ? -1 : PyObject_RichCompareBool(mine, theirs, strict);
        Py_XDECREF(mine);
        Py_XDECREF(theirs);
        if (rc != 0 || how == Py_LT || how == Py_GT) {
            return rc < 0 ? NULL : PyBool_FromLong(rc);
        }
    }
    rc = timers_equal(st, op, other);
    return rc < 0 ? NULL : PyBool_FromLong(how == Py_NE ? !rc : rc);
}

/* --- attributes that libraries read ------------------------------------------- */

/* closure: the offset of a PyObject * in struct handle; NULL there reads as None. */
static PyObject *
Handle_get_field(PyObject *op, void *closure)
{
    PyObject *value = *(PyObject **)((char *)HANDLE(op) + (size_t)closure);
    return Py_NewRef(value ? value : Py_None);
}

static int
no_deletion(PyObject *value)
{
    if (value == NULL) {
        PyErr_SetString(PyExc_AttributeError, "the attribute cannot be deleted");
        return -1;
    }
    return 0;
}

static int
Handle_set_field(PyObject *op, PyObject *value, void *closure)
{
    if (no_deletion(value) < 0) {
        return -1;
    }
    PyObject **field = (PyObject **)((char *)HANDLE(op) + (size_t)closure);
    Py_XSETREF(*field, value == Py_None ? NULL : Py_NewRef(value));
    return 0;
}

static PyObject *
Handle_get_args(PyObject *op, void *Py_UNUSED(closure))
{
    HandleData *h = HANDLE(op);
    if (h->args == ARGS_NONE) {
        Py_RETURN_NONE;
    }
    if (h->args == ARGS_OBJECT) {
        return Py_NewRef(h->argv[1]);
    }
    PyObject *tuple = PyTuple_New(h->nargs);
    if (tuple == NULL) {
        return NULL;
    }
    for (int i = 0; i < h->nargs; i++) {
        PyTuple_SET_ITEM(tuple, i, Py_NewRef(h->argv[1 + i]));
    }
    return tuple;
}

static int
Handle_set_args(PyObject *op, PyObject *value, void *Py_UNUSED(closure))
{
    if (no_deletion(value) < 0) {
        return -1;
    }
    handle_assign_args(HANDLE(op), value);
    return 0;
}

static PyObject *
Handle_get__cancelled(PyObject *op, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(HANDLE(op)->cancelled);
}

static int
Handle_set__cancelled(PyObject *op, PyObject *value, void *Py_UNUSED(closure))
{
    int rc = no_deletion(value) < 0 ? -1 : PyObject_IsTrue(value);
    if (rc < 0) {
        return -1;
    }
    HANDLE(op)->cancelled = rc;
    return 0;
}

static PyObject *
TimerHandle_get_when(PyObject *op, void *Py_UNUSED(closure))
{
    return TimerHandle_when(op, NULL);
}

/* Does not move a timer that is already scheduled; nor does it in asyncio. */
static int
timer_set_when(PyObject *op, PyObject *value)
{
    TimerData *t = TIMER(op);
    if (PyFloat_CheckExact(value)) {
        t->when = PyFloat_AS_DOUBLE(value);
        Py_CLEAR(t->when_object);
    }
    else {
        Py_XSETREF(t->when_object, Py_NewRef(value));
    }
    return 0;
}

static int
TimerHandle_set_when(PyObject *op, PyObject *value, void *Py_UNUSED(closure))
{
    return no_deletion(value) < 0 ? -1 : timer_set_when(op, value);
}

static PyObject *
TimerHandle_get_scheduled(PyObject *op, void *Py_UNUSED(closure))
{
    TimerData *t = TIMER(op);
    return PyBool_FromLong(t->marked || t->node.index != HEAP_OUT);
}

static int
TimerHandle_set_scheduled(PyObject *op, PyObject *value, void *Py_UNUSED(closure))
{
    int rc = no_deletion(value) < 0 ? -1 : PyObject_IsTrue(value);
    if (rc < 0) {
        return -1;
    }
    TIMER(op)->marked = rc;
    return 0;
}

#define FIELD(attr, field)                                                             \
    {attr, Handle_get_field, Handle_set_field, NULL, (void *)offsetof(HandleData, field)}

#define HANDLE_GETSET                                                                  \
    FIELD("_callback", callback), FIELD("_context", context), FIELD("_loop", loop),    \
        FIELD("_repr", repr), FIELD("_source_traceback", source_traceback),            \
        {"_args", Handle_get_args, Handle_set_args, NULL, NULL},                       \
        {"_cancelled", Handle_get__cancelled, Handle_set__cancelled, NULL, NULL}

static PyGetSetDef Handle_getset[] = {HANDLE_GETSET, {NULL}};

static PyGetSetDef TimerHandle_getset[] = {
    HANDLE_GETSET,
    {"_when", TimerHandle_get_when, TimerHandle_set_when, NULL, NULL},
    {"_scheduled", TimerHandle_get_scheduled, TimerHandle_set_scheduled, NULL, NULL},
    {NULL},
};

#define HANDLE_METHODS(cancel)                                                         \
    {"cancel", cancel, METH_NOARGS, Handle_cancel_doc},                                \
        {"cancelled", Handle_cancelled, METH_NOARGS, Handle_cancelled_doc},            \
        {"get_context", Handle_get_context, METH_NOARGS, Handle_get_context_doc},      \
        {"_run", Handle__run, METH_NOARGS, Handle__run_doc}

static PyMethodDef Handle_methods[] = {HANDLE_METHODS(Handle_cancel), {NULL}};

static PyMethodDef TimerHandle_methods[] = {
    HANDLE_METHODS(TimerHandle_cancel),
    {"when", TimerHandle_when, METH_NOARGS, TimerHandle_when_doc},
    {NULL},
};

/* --- types -------------------------------------------------------------------- */

PyDoc_STRVAR(Handle_doc,
"Handle(callback, args, loop, context=None)\n--\n\n"
"A callback wrapper, as loop.call_soon() returns; a native asyncio.Handle.\n\n"
"callback: a callable; args: the tuple of its arguments; loop: an event loop;\n"
"context: a contextvars.Context, or None for a copy of the current one.");

PyDoc_STRVAR(TimerHandle_doc,
"TimerHandle(when, callback, args, loop, context=None)\n--\n\n"
"What loop.call_later() and call_at() return; a native asyncio.TimerHandle.\n\n"
"when: seconds (int or float) of the loop's clock; the rest as for Handle.");

#define HANDLE_SLOTS                                                                   \
    {Py_tp_new, Handle_new}, {Py_tp_dealloc, Handle_dealloc},                          \
        {Py_tp_traverse, Handle_traverse}, {Py_tp_clear, Handle_clear},                \
        {Py_tp_repr, Handle_repr}

static PyType_Slot Handle_slots[] = {
    HANDLE_SLOTS,
    {Py_tp_init, Handle_init},
    {Py_tp_methods, Handle_methods},
    {Py_tp_getset, Handle_getset},
    {Py_tp_doc, (void *)Handle_doc},
    {0, NULL},
};

static PyType_Slot TimerHandle_slots[] = {
    HANDLE_SLOTS,
    {Py_tp_init, TimerHandle_init},
    {Py_tp_methods, TimerHandle_methods},
    {Py_tp_getset, TimerHandle_getset},
    {Py_tp_hash, TimerHandle_hash},
    {Py_tp_richcompare, TimerHandle_richcompare},
    {Py_tp_doc, (void *)TimerHandle_doc},
    {0, NULL},
};

static const struct {
    const char *name;
    PyType_Slot *slots;
    size_t size;
} kinds[HANDLE_KINDS] = {
    [HANDLE_PLAIN] = {"evloop.Handle", Handle_slots, sizeof(HandleData)},
    [HANDLE_TIMER] = {"evloop.TimerHandle", TimerHandle_slots, sizeof(TimerData)},
    [HANDLE_THREADSAFE] = {"evloop._ThreadSafeHandle", Handle_slots,
                           sizeof(ThreadSafeData)},
};

/* Our struct lies behind the largest base, so that one offset serves all kinds. */
static int
handle_find_offset(PyObject *const *bases)
{
    Py_ssize_t offset = 0;
    for (int kind = 0; kind < HANDLE_KINDS; kind++) {
        Py_ssize_t size = ((PyTypeObject *)bases[kind])->tp_basicsize;
        Py_ssize_t aligned = (size + (Py_ssize_t)_Alignof(max_align_t) - 1)
            & ~((Py_ssize_t)_Alignof(max_align_t) - 1);
        offset = aligned > offset ? aligned : offset;
    }
    if (handle_offset != 0 && handle_offset != offset) {
        PyErr_SetString(PyExc_ImportError,
                        "asyncio's handles differ between two interpreters");
        return -1;
    }
    handle_offset = offset;
    return 0;
}

int
handle_setup_types(PyObject *module, core_state *st)
{
    PyObject *bases[HANDLE_KINDS] = {
        [HANDLE_PLAIN] = st->AsyncioHandle,
        [HANDLE_TIMER] = st->AsyncioTimerHandle,
    };
    PyObject *threadsafe_base
        = PyObject_GetAttrString(st->events, "_ThreadSafeHandle");
    if (threadsafe_base == NULL) { /* before Python 3.14 */
        if (!PyErr_ExceptionMatches(PyExc_AttributeError)) {
            return -1;
        }
        PyErr_Clear();
        threadsafe_base = Py_NewRef(st->AsyncioHandle);
    }
    bases[HANDLE_THREADSAFE] = threadsafe_base;
    PyObject *types[HANDLE_KINDS] = {NULL};
    int rc = handle_find_offset(bases);
    for (int kind = 0; rc == 0 && kind < HANDLE_KINDS; kind++) {
        PyType_Spec spec = {
            .name = kinds[kind].name,
            .basicsize = (int)(handle_offset + (Py_ssize_t)kinds[kind].size),
            .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
            .slots = kinds[kind].slots,
        };
        types[kind] = PyType_FromModuleAndSpec(module, &spec, bases[kind]);
        rc = types[kind] == NULL ? -1 : 0;
    }
    Py_DECREF(threadsafe_base);
    st->PlainHandleType = types[HANDLE_PLAIN];
    st->TimerHandleType = types[HANDLE_TIMER];
    st->ThreadSafeHandleType = types[HANDLE_THREADSAFE];
    return rc;
}
