/* loopobj.c - the Loop object: its life, its attributes, running and closing.
 *
 * evloop.EventLoop derives from it and from asyncio's own loop, in this order.
 *
 * new -> open     [Loop_init]     descriptors are made; before, it reads as closed
 * open -> running [run_forever_setup]
 * running -> open [run_forever_cleanup]
 * open -> closed  [Loop_close, Loop_dealloc]; never back */

#include "loopobj.h"
#include "args.h"
#include "compat.h"
#include "handle.h"
#include "signal.h"
#include "sys.h"

/* --- life --------------------------------------------------------------------- */

static PyObject *
Loop_new(PyTypeObject *type, PyObject *Py_UNUSED(args), PyObject *Py_UNUSED(kwargs))
{
    PyObject *module = PyType_GetModuleByDef(type, &core_module);
    LoopObject *self = module == NULL ? NULL : (LoopObject *)type->tp_alloc(type, 0);
    if (self == NULL) {
        return NULL;
    }
    self->st = PyModule_GetState(module);
    self->st->live_loops++;
    self->closed = true;
    self->poll.fd = -1;
    self->wake_fd = self->signal_fd[0] = self->signal_fd[1] = -1;
    self->hooks_tag = UINT_MAX;
    return (PyObject *)self;
}

static int
Loop_init(PyObject *op, PyObject *args, PyObject *kwargs)
{
    LoopObject *self = LOOP(op);
    if (!PyArg_ParseTuple(args, ":Loop") || (kwargs != NULL && PyDict_Size(kwargs) > 0)) {
        if (!PyErr_Occurred()) {
            PyErr_SetString(PyExc_TypeError, "Loop() takes no keyword arguments");
        }
        return -1;
    }
    if (self->opened) {
        PyErr_SetString(PyExc_RuntimeError, "the event loop is already initialised");
        return -1;
    }
    return loop_open(self);
}

static int
Loop_traverse(PyObject *op, visitproc visit, void *arg)
{
    LoopObject *self = LOOP(op);
    Py_VISIT(Py_TYPE(op));
    for (size_t i = 0; i < ring_len(&self->ready); i++) {
        Py_VISIT((PyObject *)ring_at(&self->ready, i));
    }
    for (size_t i = 0; i < self->timers.len; i++) {
        TimerData *t = (TimerData *)((char *)self->timers.entries[i].node
                             - offsetof(TimerData, node));
        Py_VISIT(timer_object(t));
    }
    int rc = watch_traverse(&self->watches, visit, arg);
    if (rc != 0) {
        return rc;
    }
    Py_VISIT(self->thread_object);
    Py_VISIT(self->debug_object);
    Py_VISIT(self->task_factory);
    Py_VISIT(self->exception_handler);
    Py_VISIT(self->current_handle);
    return 0;
}

static int
Loop_clear(PyObject *op)
{
    LoopObject *self = LOOP(op);
    loop_drop_all(self);
    Py_CLEAR(self->task_factory);
    Py_CLEAR(self->exception_handler);
    Py_CLEAR(self->current_handle);
    return 0;
}

static void
Loop_dealloc(PyObject *op)
{
    PyObject_GC_UnTrack(op);
    LoopObject *self = LOOP(op);
    self->closed = true;
    (void)Loop_clear(op);
    Py_CLEAR(self->debug_object);
    Py_CLEAR(self->thread_object);
    loop_release(self);
    self->st->live_loops--;
    PyTypeObject *type = Py_TYPE(op);
    type->tp_free(op);
    Py_DECREF(type);
}

/* --- running ------------------------------------------------------------------ */

static int
call_void(PyObject *op, const char *method)
{
    PyObject *res = PyObject_CallMethod(op, method, NULL);
    Py_XDECREF(res);
    return res == NULL ? -1 : 0;
}

/* The truth of a method without arguments that a subclass may have overridden. */
static int
ask(PyObject *op, const char *method)
{
    PyObject *res = PyObject_CallMethod(op, method, NULL);
    int rc = res == NULL ? -1 : PyObject_IsTrue(res);
    Py_XDECREF(res);
    return rc;
}

static int
is_running(LoopObject *self)
{
    return loop_hooked(self, HOOK_IS_RUNNING) ? ask((PyObject *)self, "is_running")
                                              : loop_is_running(self);
}

static int
check_running(LoopObject *self)
{
    if (loop_hooked(self, HOOK_CHECK_RUNNING)) {
        return call_void((PyObject *)self, "_check_running");
    }
    int running = is_running(self);
    if (running != 0) {
        if (running > 0) {
            PyErr_SetString(PyExc_RuntimeError, "This event loop is already running");
        }
        return -1;
    }
    PyObject *other
        = PyObject_CallMethodNoArgs(self->st->events, self->st->str__get_running_loop);
    Py_XDECREF(other);
    if (other != NULL && other != Py_None) {
        PyErr_SetString(PyExc_RuntimeError,
                        "Cannot run the event loop while another loop is running");
    }
    return other == Py_None ? 0 : -1;
}

static int
set_running_loop(core_state *st, PyObject *loop)
{
    PyObject *res
        = PyObject_CallMethodOneArg(st->events, st->str__set_running_loop, loop);
    Py_XDECREF(res);
    return res == NULL ? -1 : 0;
}

static int
track_origins(PyObject *op, PyObject *enabled)
{
    PyObject *res = PyObject_CallMethodOneArg(
        op, LOOP(op)->st->str__set_coroutine_origin_tracking, enabled);
    Py_XDECREF(res);
    return res == NULL ? -1 : 0;
}

/* Keeps the hooks in force and sets ours, by the methods a subclass may have. */
static int
set_asyncgen_hooks(PyObject *op)
{
    core_state *st = LOOP(op)->st;
    PyObject *first = PyObject_GetAttr(op, st->str__asyncgen_firstiter_hook);
    PyObject *final = first == NULL
        ? NULL
        : PyObject_GetAttr(op, st->str__asyncgen_finalizer_hook);
    PyObject *res = final == NULL
        ? NULL
        : PyObject_CallMethod(st->sys_module, "set_asyncgen_hooks", "OO", first, final);
    Py_XDECREF(first);
    Py_XDECREF(final);
    Py_XDECREF(res);
    return res == NULL ? -1 : 0;
}

static int
restore_asyncgen_hooks(PyObject *op)
{
    core_state *st = LOOP(op)->st;
    PyObject *old = PyObject_GetAttr(op, st->str__old_agen_hooks);
    if (old == NULL || old == Py_None) {
        Py_XDECREF(old);
        return old == NULL ? -1 : 0;
    }
    PyObject *set = PyObject_GetAttrString(st->sys_module, "set_asyncgen_hooks");
    PyObject *args = set == NULL ? NULL : PySequence_Tuple(old);
    PyObject *res = args == NULL ? NULL : PyObject_CallObject(set, args);
    Py_XDECREF(args);
    Py_XDECREF(set);
    Py_DECREF(old);
    Py_XDECREF(res);
    return res == NULL
        ? -1
        : PyObject_SetAttr(op, st->str__old_agen_hooks, Py_None);
}

/* Undoes run_forever_setup(), as far as it came; all steps, the first error wins. */
static int
run_forever_cleanup(LoopObject *self)
{
    PyObject *op = (PyObject *)self;
    PyObject *thread_object = self->thread_object;
    self->stopping = false;
    self->thread_id = 0;
    self->thread_object = NULL;
    Py_XDECREF(thread_object);
    int rc = set_running_loop(self->st, Py_None);
    PyObject *exc = PyErr_GetRaisedException();
    if (track_origins(op, Py_False) < 0) {
        rc = -1;
    }
    if (exc == NULL) {
        exc = PyErr_GetRaisedException();
    }
    else {
        PyErr_Clear();
    }
    if (restore_asyncgen_hooks(op) < 0) {
        rc = -1;
    }
    if (exc != NULL) {
        PyErr_SetRaisedException(exc);
    }
    return rc;
}

static int
run_forever_setup(LoopObject *self)
{
    PyObject *op = (PyObject *)self;
    core_state *st = self->st;
    if (loop_check_closed(self) < 0 || check_running(self) < 0) {
        return -1;
    }
    PyObject *debug = Py_NewRef(self->debug_object ? self->debug_object : Py_False);
    int rc = track_origins(op, debug);
    Py_DECREF(debug);
    PyObject *old = rc < 0
        ? NULL
        : PyObject_CallMethod(st->sys_module, "get_asyncgen_hooks", NULL);
    rc = old == NULL ? -1 : PyObject_SetAttr(op, st->str__old_agen_hooks, old);
    Py_XDECREF(old);
    PyObject *ident
        = rc < 0 ? NULL : PyLong_FromUnsignedLong(PyThread_get_thread_ident());
    if (ident == NULL) {
        return -1;
    }
    self->thread_id = PyThread_get_thread_ident();
    Py_XSETREF(self->thread_object, ident);
    if (set_asyncgen_hooks(op) == 0 && set_running_loop(st, op) == 0) {
        return 0;
    }
    PyObject *exc = PyErr_GetRaisedException();
    if (run_forever_cleanup(self) < 0) {
        PyErr_Clear();
    }
    PyErr_SetRaisedException(exc);
    return -1;
}

PyDoc_STRVAR(Loop_run_forever_doc,
"run_forever($self, /)\n--\n\n"
"Run until stop() is called.\n\n"
"Raises RuntimeError if the loop is closed, or one runs in this thread already;\n"
"SystemExit, KeyboardInterrupt and what signal handlers raise come out of it.\n"
"Mirrors asyncio.loop.run_forever().");

static PyObject *
Loop_run_forever(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    LoopObject *self = LOOP(op);
    int rc = loop_hooked(self, HOOK_SETUP) ? call_void(op, "_run_forever_setup")
                                           : run_forever_setup(self);
    if (rc < 0) {
        return NULL;
    }
    rc = loop_run(self);
    PyObject *exc = PyErr_GetRaisedException();
    int cleanup = loop_hooked(self, HOOK_CLEANUP)
        ? call_void(op, "_run_forever_cleanup")
        : run_forever_cleanup(self);
    if (exc != NULL) {
        if (cleanup < 0) {
            PyErr_Clear();
        }
        PyErr_SetRaisedException(exc);
    }
    if (rc < 0 || cleanup < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
Loop__run_forever_setup(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    return run_forever_setup(LOOP(op)) < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *
Loop__run_forever_cleanup(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    return run_forever_cleanup(LOOP(op)) < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *
Loop__run_once(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    return loop_run_once(LOOP(op)) < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *
Loop__check_closed(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    if (LOOP(op)->closed) {
        PyErr_SetString(PyExc_RuntimeError, "Event loop is closed");
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
Loop__check_running(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    LoopObject *self = LOOP(op);
    unsigned overridden = loop_hooked(self, HOOK_CHECK_RUNNING);
    self->hooks &= ~HOOK_CHECK_RUNNING; /* super()._check_running() means ours */
    int rc = check_running(self);
    self->hooks |= overridden;
    return rc < 0 ? NULL : Py_NewRef(Py_None);
}

/* An exception is leaving run_until_complete(): the caller has no access to the task
 * that we made, so its own exception must not be reported as never retrieved. */
static void
consume_exception(core_state *st, PyObject *future)
{
    PyObject *exc = PyErr_GetRaisedException();
    int done = ask(future, "done");
    if (done > 0 && ask(future, "cancelled") == 0) {
        PyObject *res = PyObject_CallMethodNoArgs(future, st->str_exception);
        Py_XDECREF(res);
    }
    PyErr_SetRaisedException(exc);
}

static PyObject *
run_until_done(PyObject *op, PyObject *future, bool new_task)
{
    core_state *st = LOOP(op)->st;
    PyObject *res = PyObject_CallMethodOneArg(future, st->str_add_done_callback,
                                              st->run_until_complete_cb);
    if (res == NULL) {
        return NULL;
    }
    Py_DECREF(res);
    if (loop_hooked(LOOP(op), HOOK_RUN_FOREVER)) {
        res = PyObject_CallMethod(op, "run_forever", NULL);
    }
    else {
        res = Loop_run_forever(op, NULL);
    }
    if (res == NULL && new_task) {
        consume_exception(st, future);
    }
    PyObject *exc = PyErr_GetRaisedException();
    PyObject *removed = PyObject_CallMethodOneArg(future, st->str_remove_done_callback,
                                                  st->run_until_complete_cb);
    Py_XDECREF(removed);
    if (exc != NULL) {
        PyErr_SetRaisedException(exc);
    }
    Py_XDECREF(res);
    if (res == NULL || removed == NULL) {
        return NULL;
    }
    int done = ask(future, "done");
    if (done == 0) {
        PyErr_SetString(PyExc_RuntimeError,
                        "Event loop stopped before Future completed.");
    }
    return done > 0 ? PyObject_CallMethodNoArgs(future, st->str_result) : NULL;
}

PyDoc_STRVAR(Loop_run_until_complete_doc,
"run_until_complete($self, future, /)\n--\n\n"
"Run until future (a future, or an awaitable to make a task of) is done.\n\n"
"Returns its result or raises its exception; RuntimeError if stop() came first, if\n"
"the loop is closed, or if one runs in this thread already. Mirrors\n"
"asyncio.loop.run_until_complete().");

static PyObject *
Loop_run_until_complete(PyObject *op, PyObject *awaitable)
{
    LoopObject *self = LOOP(op);
    core_state *st = self->st;
    if (loop_check_closed(self) < 0 || check_running(self) < 0) {
        return NULL;
    }
    PyObject *res = PyObject_CallOneArg(st->isfuture, awaitable);
    int is_future = res == NULL ? -1 : PyObject_IsTrue(res);
    Py_XDECREF(res);
    if (is_future < 0) {
        return NULL;
    }
    PyObject *argv[] = {awaitable, op};
    PyObject *future = PyObject_Vectorcall(st->ensure_future, argv, 1, st->kw_loop);
    if (future == NULL
        || (!is_future
            && PyObject_SetAttr(future, st->str__log_destroy_pending, Py_False) < 0)) {
        Py_XDECREF(future);
        return NULL;
    }
    PyObject *result = run_until_done(op, future, !is_future);
    Py_DECREF(future);
    return result;
}

PyDoc_STRVAR(Loop_stop_doc,
"stop($self, /)\n--\n\n"
"Have run_forever() return at the end of this batch of callbacks; if the loop does\n"
"not run, at the end of the first.\n\n"
"Mirrors asyncio.loop.stop().");

static PyObject *
Loop_stop(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    LOOP(op)->stopping = true;
    Py_RETURN_NONE;
}

PyDoc_STRVAR(Loop_is_running_doc,
"is_running($self, /)\n--\n\n"
"Return whether the loop is running. Mirrors asyncio.loop.is_running().");

static PyObject *
Loop_is_running(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    return PyBool_FromLong(loop_is_running(LOOP(op)));
}

PyDoc_STRVAR(Loop_is_closed_doc,
"is_closed($self, /)\n--\n\n"
"Return whether the loop was closed. Mirrors asyncio.loop.is_closed().");

static PyObject *
Loop_is_closed(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    return PyBool_FromLong(LOOP(op)->closed);
}

PyDoc_STRVAR(Loop_time_doc,
"time($self, /)\n--\n\n"
"Return the loop's clock: seconds (float) of time.monotonic().\n\n"
"Mirrors asyncio.loop.time().");

static PyObject *
Loop_time(PyObject *Py_UNUSED(op), PyObject *Py_UNUSED(ignored))
{
    return PyFloat_FromDouble((double)sys_now_ns() / 1e9);
}

/* --- closing ------------------------------------------------------------------ */

PyDoc_STRVAR(Loop_close_doc,
"close($self, /)\n--\n\n"
"Close the loop: drop what is scheduled, shut the executor down without waiting.\n\n"
"Idempotent. Raises RuntimeError if the loop is running. Mirrors\n"
"asyncio.loop.close().");

static PyObject *
Loop_close(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    LoopObject *self = LOOP(op);
    int running = self->sleep == LOOP_ASLEEP ? 1 : is_running(self);
    if (running != 0) {
        if (running > 0) {
            PyErr_SetString(PyExc_RuntimeError, "Cannot close a running event loop");
        }
        return NULL;
    }
    if (self->closed) {
        Py_RETURN_NONE;
    }
    /* asyncio's own close(): the executor, the signal handlers, and whatever a newer
     * version adds. It sets _closed; then our part can go. */
    PyObject *res = PyObject_CallMethod(self->st->SelectorEventLoop, "close", "O", op);
    if (self->closed) {
        PyObject *exc = PyErr_GetRaisedException();
        loop_drop_all(self);
        loop_release(self);
        PyErr_SetRaisedException(exc);
    }
    return res;
}

/* --- attributes --------------------------------------------------------------- */

static int
no_deletion(PyObject *value)
{
    if (value == NULL) {
        PyErr_SetString(PyExc_AttributeError, "the attribute cannot be deleted");
        return -1;
    }
    return 0;
}

/* closure: the offset of a PyObject * in LoopObject; NULL there reads as None. */
static PyObject *
Loop_get_field(PyObject *op, void *closure)
{
    PyObject *value = *(PyObject **)((char *)op + (size_t)closure);
    return Py_NewRef(value ? value : Py_None);
}

static int
Loop_set_field(PyObject *op, PyObject *value, void *closure)
{
    if (no_deletion(value) < 0) {
        return -1;
    }
    PyObject **field = (PyObject **)((char *)op + (size_t)closure);
    Py_XSETREF(*field, value == Py_None ? NULL : Py_NewRef(value));
    return 0;
}

static PyObject *
Loop_get__closed(PyObject *op, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(LOOP(op)->closed);
}

/* A loop without descriptors stays closed, whatever is assigned. */
static int
Loop_set__closed(PyObject *op, PyObject *value, void *Py_UNUSED(closure))
{
    int rc = no_deletion(value) < 0 ? -1 : PyObject_IsTrue(value);
    if (rc < 0) {
        return -1;
    }
    LOOP(op)->closed = rc || LOOP(op)->poll.fd < 0;
    return 0;
}

static PyObject *
Loop_get__stopping(PyObject *op, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(LOOP(op)->stopping);
}

static int
Loop_set__stopping(PyObject *op, PyObject *value, void *Py_UNUSED(closure))
{
    int rc = no_deletion(value) < 0 ? -1 : PyObject_IsTrue(value);
    if (rc < 0) {
        return -1;
    }
    LOOP(op)->stopping = rc;
    return 0;
}

static PyObject *
Loop_get__debug(PyObject *op, void *Py_UNUSED(closure))
{
    return Loop_get_debug(op, NULL);
}

static int
Loop_set__debug(PyObject *op, PyObject *value, void *Py_UNUSED(closure))
{
    int rc = no_deletion(value) < 0 ? -1 : PyObject_IsTrue(value);
    if (rc < 0) {
        return -1;
    }
    LOOP(op)->debug = rc;
    Py_XSETREF(LOOP(op)->debug_object, Py_NewRef(value));
    return 0;
}

static int
Loop_set__thread_id(PyObject *op, PyObject *value, void *closure)
{
    unsigned long ident = 0;
    if (value != NULL && value != Py_None) {
        ident = PyLong_AsUnsignedLong(value);
        if (ident == (unsigned long)-1 && PyErr_Occurred()) {
            return -1;
        }
    }
    if (Loop_set_field(op, value, closure) < 0) {
        return -1;
    }
    LOOP(op)->thread_id = ident;
    return 0;
}

/* Cancelled timers leave the heap at once: there is nothing to count. */
static PyObject *
Loop_get__timer_cancelled_count(PyObject *Py_UNUSED(op), void *Py_UNUSED(closure))
{
    return PyLong_FromLong(0);
}

static int
Loop_set__timer_cancelled_count(PyObject *Py_UNUSED(op), PyObject *value,
                                void *Py_UNUSED(closure))
{
    return no_deletion(value);
}

#define FIELD(attr, field)                                                             \
    {attr, Loop_get_field, Loop_set_field, NULL, (void *)offsetof(LoopObject, field)}

static PyGetSetDef Loop_getset[] = {
    FIELD("_current_handle", current_handle),
    FIELD("_exception_handler", exception_handler),
    FIELD("_task_factory", task_factory),
    {"_thread_id", Loop_get_field, Loop_set__thread_id, NULL,
     (void *)offsetof(LoopObject, thread_object)},
    {"_closed", Loop_get__closed, Loop_set__closed, NULL, NULL},
    {"_debug", Loop_get__debug, Loop_set__debug, NULL, NULL},
    {"_stopping", Loop_get__stopping, Loop_set__stopping, NULL, NULL},
    {"_timer_cancelled_count", Loop_get__timer_cancelled_count,
     Loop_set__timer_cancelled_count, NULL, NULL},
    {NULL},
};

/* --- the type ----------------------------------------------------------------- */

/* Methods of one argument that may come by name, as asyncio's may. */
#define BY_NAME(method, qualname, parameter)                                           \
    static PyObject *method##_by_name(FASTCALL_ARGS)                                   \
    {                                                                                  \
        static const struct args_spec spec = {qualname, {parameter}, 1, false};        \
        PyObject *arg = args_parse_one(&spec, args, nargs, kwnames);                   \
        return arg == NULL ? NULL : method(op, arg);                                   \
    }

BY_NAME(Loop_run_until_complete, "BaseEventLoop.run_until_complete", "future")
BY_NAME(Loop_remove_reader, "BaseSelectorEventLoop.remove_reader", "fd")
BY_NAME(Loop_remove_writer, "BaseSelectorEventLoop.remove_writer", "fd")
BY_NAME(Loop_remove_signal_handler, "_UnixSelectorEventLoop.remove_signal_handler",
        "sig")
BY_NAME(Loop_set_task_factory, "BaseEventLoop.set_task_factory", "factory")
BY_NAME(Loop_set_default_executor, "BaseEventLoop.set_default_executor", "executor")
BY_NAME(Loop_set_exception_handler, "BaseEventLoop.set_exception_handler", "handler")
BY_NAME(Loop_call_exception_handler, "BaseEventLoop.call_exception_handler", "context")
BY_NAME(Loop_set_debug, "BaseEventLoop.set_debug", "enabled")

#define FAST METH_FASTCALL | METH_KEYWORDS
#define FASTCALL(name)                                                                 \
    {#name, _PyCFunction_CAST(Loop_##name), FAST, Loop_##name##_doc}
#define NAMED(name)                                                                    \
    {#name, _PyCFunction_CAST(Loop_##name##_by_name), FAST, Loop_##name##_doc}
#define NOARGS(name) {#name, Loop_##name, METH_NOARGS, Loop_##name##_doc}
#define PRIVATE(name, flags) {#name, _PyCFunction_CAST(Loop_##name), flags, NULL}

static PyMethodDef Loop_methods[] = {
    NOARGS(run_forever),
    NAMED(run_until_complete),
    NOARGS(stop),
    NOARGS(close),
    NOARGS(is_running),
    NOARGS(is_closed),
    NOARGS(time),
    FASTCALL(call_soon),
    FASTCALL(call_soon_threadsafe),
    FASTCALL(call_later),
    FASTCALL(call_at),
    FASTCALL(add_reader),
    FASTCALL(add_writer),
    NAMED(remove_reader),
    NAMED(remove_writer),
    FASTCALL(add_signal_handler),
    NAMED(remove_signal_handler),
    NOARGS(create_future),
    FASTCALL(create_task),
    NAMED(set_task_factory),
    NOARGS(get_task_factory),
    FASTCALL(run_in_executor),
    NAMED(set_default_executor),
    NAMED(set_exception_handler),
    NOARGS(get_exception_handler),
    NAMED(call_exception_handler),
    NOARGS(get_debug),
    NAMED(set_debug),
    PRIVATE(_add_callback, METH_O),
    PRIVATE(_add_callback_signalsafe, METH_O),
    PRIVATE(_add_reader, FAST),
    PRIVATE(_add_writer, FAST),
    PRIVATE(_asyncgen_finalizer_hook, METH_O),
    PRIVATE(_asyncgen_firstiter_hook, METH_O),
    PRIVATE(_call_soon, METH_VARARGS),
    PRIVATE(_check_closed, METH_NOARGS),
    PRIVATE(_check_running, METH_NOARGS),
    PRIVATE(_handle_signal, METH_O),
    PRIVATE(_process_self_data, METH_O),
    PRIVATE(_read_from_self, METH_NOARGS),
    PRIVATE(_ready_append, METH_O),
    PRIVATE(_ready_appendleft, METH_O),
    PRIVATE(_ready_items, METH_NOARGS),
    PRIVATE(_ready_pop, METH_NOARGS),
    PRIVATE(_ready_popleft, METH_NOARGS),
    PRIVATE(_remove_reader, METH_O),
    PRIVATE(_remove_writer, METH_O),
    PRIVATE(_run_forever_cleanup, METH_NOARGS),
    PRIVATE(_run_forever_setup, METH_NOARGS),
    PRIVATE(_run_once, METH_NOARGS),
    PRIVATE(_scheduled_items, METH_NOARGS),
    PRIVATE(_select, METH_O),
    PRIVATE(_timer_handle_cancelled, METH_O),
    PRIVATE(_watch_items, METH_NOARGS),
    PRIVATE(_write_to_self, METH_NOARGS),
    {NULL},
};

PyDoc_STRVAR(Loop_doc,
"Loop()\n--\n\n"
"The native part of evloop.EventLoop.");

static PyType_Slot Loop_slots[] = {
    {Py_tp_new, Loop_new},
    {Py_tp_init, Loop_init},
    {Py_tp_dealloc, Loop_dealloc},
    {Py_tp_traverse, Loop_traverse},
    {Py_tp_clear, Loop_clear},
    {Py_tp_setattro, Loop_setattro},
    {Py_tp_methods, Loop_methods},
    {Py_tp_getset, Loop_getset},
    {Py_tp_doc, (void *)Loop_doc},
    {0, NULL},
};

static PyType_Spec Loop_spec = {
    .name = "evloop._core.Loop",
    .basicsize = sizeof(LoopObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = Loop_slots,
};

/* The names of the hooks, and what they are when nobody has overridden them. */
static int
setup_hooks(core_state *st)
{
    static const char *const names[] = {
#define NAME(hook, name) name,
        LOOP_HOOKS(NAME)
#undef NAME
    };
    st->hook_names = PyTuple_New(LOOP_HOOK_COUNT);
    st->hook_natives = PyTuple_New(LOOP_HOOK_COUNT);
    if (st->hook_names == NULL || st->hook_natives == NULL) {
        return -1;
    }
    for (Py_ssize_t i = 0; i < LOOP_HOOK_COUNT; i++) {
        PyObject *name = PyUnicode_InternFromString(names[i]);
        if (name == NULL) {
            return -1;
        }
        PyTuple_SET_ITEM(st->hook_names, i, name);
        /* _process_events is not ours: the base class's is the usual one. */
        PyObject *owner
            = PyObject_HasAttr(st->LoopType, name) ? st->LoopType : st->SelectorEventLoop;
        PyObject *native = PyObject_GetAttr(owner, name);
        if (native == NULL) {
            return -1;
        }
        PyTuple_SET_ITEM(st->hook_natives, i, native);
    }
    return 0;
}

int
loop_setup_type(PyObject *module, core_state *st)
{
    st->LoopType = PyType_FromModuleAndSpec(module, &Loop_spec, NULL);
    return st->LoopType == NULL ? -1 : setup_hooks(st);
}
