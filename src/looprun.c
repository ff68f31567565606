/* looprun.c - running a loop: run_forever(), run_until_complete() and what they set up.
 *
 * open -> running [run_forever_setup]
 * running -> open [run_forever_cleanup], also when set-up fails halfway */

#include "compat.h"
#include "loopobj.h"
#include "sys.h"

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

int
looprun_is_running(LoopObject *self)
{
    return loop_hooked(self, HOOK_IS_RUNNING) ? ask((PyObject *)self, "is_running")
                                              : loop_is_running(self);
}

static int
check_running_natively(LoopObject *self)
{
    int running = looprun_is_running(self);
    if (running != 0) {
        if (running > 0) {
            PyErr_SetString(PyExc_RuntimeError, "This event loop is already running");
        }
        return -1;
    }
    PyObject *other = PyObject_CallMethodNoArgs(self->st->events,
                                                self->st->str__get_running_loop);
    Py_XDECREF(other);
    if (other != NULL && other != Py_None) {
        PyErr_SetString(PyExc_RuntimeError,
                        "Cannot run the event loop while another loop is running");
    }
    return other == Py_None ? 0 : -1;
}

static int
check_running(LoopObject *self)
{
    return loop_hooked(self, HOOK_CHECK_RUNNING)
        ? call_void((PyObject *)self, "_check_running")
        : check_running_natively(self);
}

static int
set_running_loop(core_state *st, PyObject *loop)
{
    PyObject *res = PyObject_CallMethodOneArg(st->events, st->str__set_running_loop,
                                              loop);
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
    /* Without need of memory, or a run that lacked it would leave the hooks. */
    PyObject *args = PyTuple_Check(old) ? Py_NewRef(old) : PySequence_Tuple(old);
    PyObject *set = args == NULL
        ? NULL
        : PyObject_GetAttr(st->sys_module, st->str_set_asyncgen_hooks);
    PyObject *res = set == NULL ? NULL : PyObject_CallObject(set, args);
    Py_XDECREF(set);
    Py_XDECREF(args);
    Py_DECREF(old);
    Py_XDECREF(res);
    return res == NULL ? -1 : PyObject_SetAttr(op, st->str__old_agen_hooks, Py_None);
}

/* Undoes run_forever_setup(), as far as it came; all steps, the first error wins. */
static int
run_forever_cleanup(LoopObject *self)
{
    PyObject *op = (PyObject *)self;
    PyObject *thread_object = self->thread_object;
    self->stopping = false;
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
    PyObject *ident = rc < 0 ? NULL
                             : PyLong_FromUnsignedLong(PyThread_get_thread_ident());
    if (ident == NULL) {
        return -1;
    }
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

const char Loop_run_forever_doc[] = PyDoc_STR(
"run_forever($self)\n--\n\n"
"Run until stop() is called.\n\n"
"Raises RuntimeError if the loop is closed, or one runs in this thread already;\n"
"SystemExit, KeyboardInterrupt and what signal handlers raise come out of it.\n"
"Mirrors asyncio.loop.run_forever().");

PyObject *
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

PyObject *
Loop__run_forever_setup(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    return run_forever_setup(LOOP(op)) < 0 ? NULL : Py_NewRef(Py_None);
}

PyObject *
Loop__run_forever_cleanup(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    return run_forever_cleanup(LOOP(op)) < 0 ? NULL : Py_NewRef(Py_None);
}

PyObject *
Loop__run_once(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    int rc = loop_run_once(LOOP(op));
    loop_leave_task(LOOP(op));
    return rc < 0 ? NULL : Py_NewRef(Py_None);
}

PyObject *
Loop__check_closed(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    if (LOOP(op)->closed) {
        PyErr_SetString(PyExc_RuntimeError, "Event loop is closed");
        return NULL;
    }
    Py_RETURN_NONE;
}

PyObject *
Loop__check_running(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    return check_running_natively(LOOP(op)) < 0 ? NULL : Py_NewRef(Py_None);
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

const char Loop_run_until_complete_doc[] = PyDoc_STR(
"run_until_complete($self, future)\n--\n\n"
"Run until future (a future, or an awaitable to make a task of) is done.\n\n"
"Returns its result or raises its exception; RuntimeError if stop() came first, if\n"
"the loop is closed, or if one runs in this thread already. Mirrors\n"
"asyncio.loop.run_until_complete().");

PyObject *
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

const char Loop_stop_doc[] = PyDoc_STR(
"stop($self)\n--\n\n"
"Have run_forever() return at the end of this batch of callbacks; if the loop does\n"
"not run, at the end of the first.\n\n"
"Mirrors asyncio.loop.stop().");

PyObject *
Loop_stop(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    LOOP(op)->stopping = true;
    Py_RETURN_NONE;
}

const char Loop_is_running_doc[] = PyDoc_STR(
"is_running($self)\n--\n\n"
"Return whether the loop is running. Mirrors asyncio.loop.is_running().");

PyObject *
Loop_is_running(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    return PyBool_FromLong(loop_is_running(LOOP(op)));
}

const char Loop_is_closed_doc[] = PyDoc_STR(
"is_closed($self)\n--\n\n"
"Return whether the loop was closed. Mirrors asyncio.loop.is_closed().");

PyObject *
Loop_is_closed(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    return PyBool_FromLong(LOOP(op)->closed);
}

const char Loop_time_doc[] = PyDoc_STR(
"time($self)\n--\n\n"
"Return the loop's clock: seconds (float) of time.monotonic().\n\n"
"Mirrors asyncio.loop.time().");

PyObject *
Loop_time(PyObject *Py_UNUSED(op), PyObject *Py_UNUSED(ignored))
{
    return PyFloat_FromDouble((double)sys_now_ns() / 1e9);
}
