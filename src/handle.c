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

/* Whether any of them is set; in pairs, for it runs once per handle freed. */
static inline bool
has_base_slots(PyObject *op)
{
    typedef uintptr_t pair __attribute__((vector_size(16), may_alias));
    pair any = {0, 0};
    for (PyObject **slot = BASE_SLOTS(op); slot < BASE_SLOTS_END(op); slot += 2) {
        any |= *(pair *)slot;
    }
    return (any[0] | any[1]) != 0;
}

static PyObject *
handle_alloc(core_state *st, enum handle_kind kind)
{
    PyTypeObject *type = state_handle_type(st, kind);
    bool fresh;
    PyObject *op = freelist_get(&st->dead_handles[kind], type, &fresh);
    if (UNLIKELY(fresh)) {
        if (op == NULL) {
            return NULL;
        }
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

int
Handle_traverse(PyObject *op, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(op));
    HandleData *h = HANDLE(op);
    Py_VISIT(h->loop);
    Py_VISIT(h->context);
    Py_VISIT(h->callback);
    Py_VISIT(h->repr);
    Py_VISIT(h->source_traceback);
    for (int i = 1; i <= h->nargs; i++) {
        Py_VISIT(h->argv[i]);
    }
    if (h->kind == HANDLE_TIMER) {
        Py_VISIT(TIMER(op)->when_object);
    }
    if (UNLIKELY(has_base_slots(op))) {
        PyObject **weak = weaklist_slot(op);
        for (PyObject **slot = BASE_SLOTS(op); slot < BASE_SLOTS_END(op); slot++) {
            if (slot != weak) {
                Py_VISIT(*slot);
            }
        }
    }
    return 0;
}

/* Puts one object, or with NULL none, where the arguments are; steals it. Our own
 * state is whole before any of those that go can run Python code. */
static inline void
handle_put_args_steal(HandleData *h, PyObject *args)
{
    PyObject *gone[1 + HANDLE_INLINE_ARGS];
    int n = h->nargs;
    for (int i = 1; i <= n; i++) {
        gone[i] = h->argv[i];
        h->argv[i] = NULL;
    }
    h->argv[1] = args;
    h->nargs = args != NULL;
    h->args = args != NULL ? ARGS_OBJECT : ARGS_NONE;
    for (int i = 1; i <= n; i++) {
        Py_DECREF(gone[i]);
    }
}

int
Handle_clear(PyObject *op)
{
    HandleData *h = HANDLE(op);
    Py_CLEAR(h->callback);
    handle_put_args_steal(h, NULL);
    Py_CLEAR(h->context);
    Py_CLEAR(h->loop);
    Py_CLEAR(h->repr);
    Py_CLEAR(h->source_traceback);
    if (h->kind == HANDLE_TIMER) {
        Py_CLEAR(TIMER(op)->when_object);
    }
    if (UNLIKELY(has_base_slots(op))) {
        PyObject **weak = weaklist_slot(op);
        for (PyObject **slot = BASE_SLOTS(op); slot < BASE_SLOTS_END(op); slot++) {
            if (slot != weak) {
                Py_CLEAR(*slot);
            }
        }
    }
    return 0;
}

/* Lets go of all it holds. */
static inline void
handle_empty(PyObject *op)
{
    if (UNLIKELY(*weaklist_slot(op) != NULL)) {
        PyObject_ClearWeakRefs(op);
    }
    (void)Handle_clear(op);
}

/* Keeps the empty object for reuse, or frees it. */
static inline void
handle_free(PyObject *op)
{
    PyTypeObject *type = Py_TYPE(op);
    HandleData *h = HANDLE(op);
    core_state *st = h->st;
    enum handle_kind kind = h->kind;
    assert(kind != HANDLE_TIMER || TIMER(op)->node.index == HEAP_OUT);
    struct freelist *dead = &st->dead_handles[kind];
    if (LIKELY(handle_is_exact(op) && freelist_has_room(dead))) {
        h->cancelled = false;
        if (kind == HANDLE_TIMER) {
            TIMER(op)->marked = false;
        }
        freelist_put(dead, op);
        st->live_handles[kind]--;
        Py_DECREF(type);
    }
    else {
        type->tp_free(op);
        Py_DECREF(type);
        st->live_handles[kind]--;
        state_free_if_dead(st);
    }
}

/* A handle can hold another as an argument, and so on without end. From 3.14 on the
 * interpreter itself keeps such chains from using up the stack; before, the trashcan
 * does, which we open only when the chain is long. */
#define NESTED_MAX 50

void
Handle_dealloc(PyObject *op)
{
    PyObject_GC_UnTrack(op);
#if PY_VERSION_HEX < 0x030E0000
    core_state *st = HANDLE(op)->st;
    if (UNLIKELY(st->nested_deallocs >= NESTED_MAX)) {
        Py_TRASHCAN_BEGIN(op, Handle_dealloc)
        handle_empty(op);
        handle_free(op);
        Py_TRASHCAN_END
        return;
    }
    st->nested_deallocs++;
    handle_empty(op);
    st->nested_deallocs--;
#else
    handle_empty(op);
#endif
    handle_free(op);
}

PyObject *
handle_get_args(HandleData *h)
{
    if (h->args != ARGS_INLINE) {
        return Py_NewRef(h->args == ARGS_OBJECT ? h->argv[1] : Py_None);
    }
    /* References of our own: to make a tuple can run Python code (until 3.11), which
     * may cancel this handle. */
    PyObject *argv[1 + HANDLE_INLINE_ARGS];
    int n = h->nargs;
    for (int i = 1; i <= n; i++) {
        argv[i] = Py_NewRef(h->argv[i]);
    }
    PyObject *tuple = PyTuple_New(n);
    for (int i = 1; i <= n; i++) {
        if (tuple != NULL) {
            PyTuple_SET_ITEM(tuple, i - 1, argv[i]);
        }
        else {
            Py_DECREF(argv[i]);
        }
    }
    return tuple;
}

void
handle_assign_args(HandleData *h, PyObject *value)
{
    handle_put_args_steal(h, value == Py_None ? NULL : Py_NewRef(value));
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
        if (PyErr_ExceptionMatches(PyExc_TypeError) && Py_TYPE(args)->tp_iter == NULL
            && !PySequence_Check(args)) {
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
    PyObject *args = handle_get_args(h);
    PyObject *result = NULL;
    if (args != NULL) {
        result = call_in_any_context(h->st, context, callback, args);
        Py_DECREF(args);
    }
    Py_DECREF(callback);
    Py_DECREF(context);
    return result;
}

/* PyObject_Vectorcall() without its look at the thread state. */
static inline PyObject *
vectorcall(PyObject *callable, PyObject *const *args, size_t nargsf)
{
    PyTypeObject *type = Py_TYPE(callable);
    if (UNLIKELY(!PyType_HasFeature(type, Py_TPFLAGS_HAVE_VECTORCALL))) {
        return PyObject_Vectorcall(callable, args, nargsf, NULL);
    }
    vectorcallfunc func;
    memcpy(&func, (char *)callable + type->tp_vectorcall_offset, sizeof(func));
    if (UNLIKELY(func == NULL)) {
        return PyObject_Vectorcall(callable, args, nargsf, NULL);
    }
    PyObject *result = func(callable, args, nargsf, NULL);
    if (UNLIKELY(result == NULL) && !PyErr_Occurred()) {
        PyErr_Format(PyExc_SystemError, "%R returned NULL without an exception",
                     callable);
    }
    return result;
}

/* With the arguments in a tuple: there are many, or Python code made the handle. */
static PyObject *
handle_call_tuple(HandleData *h)
{
    PyObject *context = Py_NewRef(h->context);
    PyObject *callback = Py_NewRef(h->callback);
    PyObject *args = Py_NewRef(h->argv[1]);
    PyObject *result = NULL;
    if (PyContext_Enter(context) == 0) {
        result = PyObject_CallObject(callback, args);
        if (PyContext_Exit(context) < 0) {
            Py_CLEAR(result);
        }
    }
    Py_DECREF(args);
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
    if (UNLIKELY(context == NULL || !PyContext_CheckExact(context)
                 || callback == NULL)) {
        return handle_call_slowly(h);
    }
    if (UNLIKELY(h->args != ARGS_INLINE)) {
        return h->args == ARGS_OBJECT && PyTuple_CheckExact(h->argv[1])
            ? handle_call_tuple(h)
            : handle_call_slowly(h);
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
        result = vectorcall(callback, argv + 1,
                            (size_t)nargs | PY_VECTORCALL_ARGUMENTS_OFFSET);
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

/* 'Exception in callback f(1, 2) at file.py:3' */
static PyObject *
handle_error_message(PyObject *op)
{
    HandleData *h = HANDLE(op);
    core_state *st = h->st;
    PyObject *args = handle_get_args(h);
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

/* {'message': ..., 'exception': ..., 'handle': ..., 'source_traceback': ...} */
static PyObject *
handle_error_context(PyObject *op, PyObject *exc)
{
    PyObject *message = handle_error_message(op);
    PyObject *context = message == NULL
        ? NULL
        : Py_BuildValue("{s:O,s:O,s:O}", "message", message, "exception", exc, "handle",
                        op);
    Py_XDECREF(message);
    PyObject *traceback = Py_XNewRef(HANDLE(op)->source_traceback);
    if (context != NULL && traceback != NULL) {
        int full = PyObject_IsTrue(traceback);
        if (full < 0
            || (full
                && PyDict_SetItemString(context, "source_traceback", traceback) < 0)) {
            Py_CLEAR(context);
        }
    }
    Py_XDECREF(traceback);
    return context;
}

/* While the handler runs it is the exception being handled, as in the except clause
 * that asyncio has here. */
int
handle_report_error(PyObject *op)
{
    core_state *st = HANDLE(op)->st;
    if (PyErr_ExceptionMatches(PyExc_SystemExit)
        || PyErr_ExceptionMatches(PyExc_KeyboardInterrupt)) {
        return -1;
    }
    PyObject *exc = PyErr_GetRaisedException();
    PyObject *outer = PyErr_GetHandledException();
    PyErr_SetHandledException(exc);
    PyObject *loop = HANDLE(op)->loop;
    loop = Py_NewRef(loop ? loop : Py_None);
    PyObject *context = handle_error_context(op, exc);
    PyObject *res = context == NULL
        ? NULL
        : PyObject_CallMethodOneArg(loop, st->str_call_exception_handler, context);
    Py_XDECREF(context);
    Py_DECREF(loop);
    PyErr_SetHandledException(outer);
    Py_XDECREF(outer);
    Py_DECREF(exc);
    Py_XDECREF(res);
    return res == NULL ? -1 : 0;
}

static void
threadsafe_end_run(ThreadSafeData *t)
{
    t->runner = 0;
    if (t->done != NULL) {
        PyThread_release_lock(t->done);
    }
}

int
handle_wait_for_run(PyObject *op)
{
    if (HANDLE(op)->kind != HANDLE_THREADSAFE) {
        return 0;
    }
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
    if (h->kind == HANDLE_THREADSAFE) {
        ThreadSafeData *t = THREADSAFE(op);
        if (h->cancelled) {
            return 0;
        }
        bool outermost = t->runner == 0;
        if (outermost) {
            t->runner = PyThread_get_thread_ident();
        }
        result = handle_call(h);
        if (outermost) {
            threadsafe_end_run(t);
        }
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
    handle_put_args_steal(h, NULL);
    Py_XDECREF(callback);
    return 0;
}
