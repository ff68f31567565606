/* signal.c - see signal.h. Calls into Python: the signal module, and the methods of
 * the loop that a subclass may override. */

#include "signal.h"
#include "args.h"
#include "compat.h"
#include "handle.h"
#include "sys.h"

#include <errno.h>
#include <signal.h>

int
signal_schedule_read(LoopObject *self)
{
    PyObject *op = (PyObject *)self;
    PyObject *reader = PyObject_GetAttrString(op, "_read_from_self");
    PyObject *handle = reader == NULL
        ? NULL
        : handle_new(self->st, HANDLE_PLAIN, op, reader, NULL, 0, NULL);
    int rc = handle == NULL ? -1 : loop_push(self, handle);
    Py_XDECREF(handle);
    Py_XDECREF(reader);
    return rc;
}

/* Reads the numbers that have arrived, up to the last. */
static int
signal_read(LoopObject *self)
{
    char data[4096];
    while (!self->closed && self->signal_fd[0] >= 0) {
        Py_ssize_t n = sys_read(self->signal_fd[0], data, sizeof(data));
        if (n <= 0) {
            break;
        }
        PyObject *bytes = PyBytes_FromStringAndSize(data, n);
        PyObject *res = bytes == NULL
            ? NULL
            : PyObject_CallMethodOneArg((PyObject *)self,
                                        self->st->str__process_self_data, bytes);
        Py_XDECREF(bytes);
        Py_XDECREF(res);
        if (res == NULL) {
            return -1;
        }
    }
    return 0;
}

PyObject *
Loop__read_from_self(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    if (LOOP(op)->selector == SELECTOR_FOREIGN) {
        return loop_call_base(LOOP(op), "_read_from_self", NULL, 0, NULL);
    }
    if (signal_read(LOOP(op)) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyObject *
Loop__process_self_data(PyObject *op, PyObject *data)
{
    PyObject *numbers = PySequence_Fast(data, "a bytes-like object is required");
    if (numbers == NULL) {
        return NULL;
    }
    for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(numbers); i++) {
        PyObject *number = Py_NewRef(PySequence_Fast_GET_ITEM(numbers, i));
        int wanted = PyObject_IsTrue(number); /* a 0 only wakes the loop */
        PyObject *res = NULL;
        if (wanted > 0) {
            res = PyObject_CallMethod(op, "_handle_signal", "O", number);
            Py_XDECREF(res);
        }
        Py_DECREF(number);
        if (wanted < 0 || (wanted && res == NULL)) {
            Py_DECREF(numbers);
            return NULL;
        }
    }
    Py_DECREF(numbers);
    Py_RETURN_NONE;
}

static PyObject *
signal_handlers(PyObject *op)
{
    PyObject *handlers = PyObject_GetAttrString(op, "_signal_handlers");
    if (handlers != NULL && !PyDict_Check(handlers)) {
        PyErr_SetString(PyExc_TypeError, "_signal_handlers must be a dict");
        Py_CLEAR(handlers);
    }
    return handlers;
}

PyObject *
Loop__handle_signal(PyObject *op, PyObject *sig)
{
    PyObject *handlers = signal_handlers(op);
    if (handlers == NULL) {
        return NULL;
    }
    PyObject *handle = Py_XNewRef(PyDict_GetItemWithError(handlers, sig));
    Py_DECREF(handlers);
    if (handle == NULL) { /* removed while the number was on its way */
        return PyErr_Occurred() ? NULL : Py_NewRef(Py_None);
    }
    int cancelled = handle_is_cancelled(LOOP(op)->st, handle);
    PyObject *res = NULL;
    if (cancelled > 0) {
        res = PyObject_CallMethodOneArg(op, LOOP(op)->st->str_remove_signal_handler,
                                        sig);
    }
    else if (cancelled == 0) {
        res = PyObject_CallMethod(op, "_add_callback_signalsafe", "O", handle);
    }
    Py_DECREF(handle);
    Py_XDECREF(res);
    if (res == NULL) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* RuntimeError of the text of the ValueError or OSError being raised. */
static void
as_runtime_error(void)
{
    if (!PyErr_ExceptionMatches(PyExc_ValueError)
        && !PyErr_ExceptionMatches(PyExc_OSError)) {
        return;
    }
    PyObject *exc = PyErr_GetRaisedException();
    PyObject *text = PyObject_Str(exc);
    if (text != NULL) {
        PyObject *error = PyObject_CallOneArg(PyExc_RuntimeError, text);
        Py_DECREF(text);
        if (error != NULL) {
            PyException_SetContext(error, exc); /* steals */
            PyErr_SetRaisedException(error);
            return;
        }
    }
    Py_DECREF(exc);
}

static int
set_wakeup_fd(LoopObject *self, int fd)
{
    PyObject *res = PyObject_CallMethod(self->st->signal_module, "set_wakeup_fd", "i",
                                        fd);
    Py_XDECREF(res);
    return res == NULL ? -1 : 0;
}

/* Without handlers left nobody listens; what fails here is only logged. */
static int
stop_listening(LoopObject *self, PyObject *handlers)
{
    if (PyDict_GET_SIZE(handlers) > 0 || set_wakeup_fd(self, -1) == 0) {
        return 0;
    }
    if (!PyErr_ExceptionMatches(PyExc_ValueError)
        && !PyErr_ExceptionMatches(PyExc_OSError)) {
        return -1;
    }
    PyObject *exc = PyErr_GetRaisedException();
    return state_log(self->st, "info",
                     Py_BuildValue("(sN)", "set_wakeup_fd(-1) failed: %s", exc), false);
}

static int
make_signal_fds(LoopObject *self)
{
    if (self->signal_fd[0] >= 0) {
        return 0;
    }
    int rc = sys_socketpair(self->signal_fd);
    if (rc == 0) {
        rc = poll_add(&self->poll, self->signal_fd[0], POLL_READ, TAG_SIGNAL);
        if (rc == 0) {
            loop_expect_events(self);
            return 0;
        }
        sys_close(&self->signal_fd[0]);
        sys_close(&self->signal_fd[1]);
    }
    self->signal_fd[0] = self->signal_fd[1] = -1;
    errno = -rc;
    PyErr_SetFromErrno(PyExc_OSError);
    return -1;
}

/* An EINVAL from the system: RuntimeError('sig %d cannot be caught'). */
static void
name_uncatchable(PyObject *sig)
{
    if (!PyErr_ExceptionMatches(PyExc_OSError)) {
        return;
    }
    PyObject *exc = PyErr_GetRaisedException();
    PyObject *number = PyObject_GetAttrString(exc, "errno");
    bool einval = number != NULL && PyLong_Check(number)
        && PyLong_AsLong(number) == EINVAL;
    Py_XDECREF(number);
    if (!einval) {
        PyErr_SetRaisedException(exc);
        return;
    }
    PyErr_Format(PyExc_RuntimeError, "sig %S cannot be caught", sig);
    PyObject *error = PyErr_GetRaisedException();
    PyException_SetContext(error, exc);
    PyErr_SetRaisedException(error);
}

static int
check_signal(LoopObject *self, PyObject *sig)
{
    PyObject *res = PyObject_CallMethodOneArg((PyObject *)self,
                                              self->st->str__check_signal, sig);
    Py_XDECREF(res);
    return res == NULL ? -1 : 0;
}

/* Has the interpreter note the signal for us to read. */
static int
install_handler(LoopObject *self, PyObject *sig)
{
    core_state *st = self->st;
    PyObject *res = PyObject_CallMethod(st->signal_module, "signal", "OO", sig,
                                        st->sighandler_noop);
    if (res != NULL) {
        /* SA_RESTART, so that few system calls are interrupted. */
        Py_SETREF(res,
                  PyObject_CallMethod(st->signal_module, "siginterrupt", "OO", sig,
                                      Py_False));
    }
    Py_XDECREF(res);
    return res == NULL ? -1 : 0;
}

static int
refuse_coroutine(LoopObject *self, PyObject *callback)
{
    core_state *st = self->st;
    PyObject *checks[] = {st->iscoroutine, st->iscoroutinefunction};
    for (size_t i = 0; i < Py_ARRAY_LENGTH(checks); i++) {
        PyObject *res = PyObject_CallOneArg(checks[i], callback);
        int yes = res == NULL ? -1 : PyObject_IsTrue(res);
        Py_XDECREF(res);
        if (yes > 0) {
            PyErr_SetString(PyExc_TypeError,
                            "coroutines cannot be used with add_signal_handler()");
        }
        if (yes != 0) {
            return -1;
        }
    }
    return 0;
}

const char Loop_add_signal_handler_doc[] = PyDoc_STR(
"add_signal_handler($self, sig, callback, *args)\n--\n\n"
"Call callback(*args) in the loop when the process gets the signal sig (an int).\n\n"
"Raises ValueError for an invalid signal, RuntimeError for one that cannot be caught\n"
"and outside the main thread. Mirrors asyncio.loop.add_signal_handler().");

static const struct args_spec add_signal_handler_spec = {
    "_UnixSelectorEventLoop.add_signal_handler", {"sig", "callback"}, 2, false};

PyObject *
Loop_add_signal_handler(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
                        PyObject *kwnames)
{
    LoopObject *self = LOOP(op);
    if (self->selector == SELECTOR_FOREIGN) {
        return loop_call_base(self, "add_signal_handler", args, nargs, kwnames);
    }
    struct args a;
    if (args_parse(&add_signal_handler_spec, args, nargs, kwnames, &a) < 0) {
        return NULL;
    }
    PyObject *sig = a.lead[0], *callback = a.lead[1];
    if (refuse_coroutine(self, callback) < 0 || check_signal(self, sig) < 0
        || loop_check_closed(self) < 0 || loop_own_poll(self) < 0) {
        return NULL;
    }
    bool made = self->signal_fd[0] < 0;
    if (make_signal_fds(self) < 0) {
        return NULL;
    }
    /* First what fails outside the main thread. */
    if (set_wakeup_fd(self, self->signal_fd[1]) < 0) {
        as_runtime_error();
        if (made) {
            (void)poll_remove(&self->poll, self->signal_fd[0]);
            sys_close(&self->signal_fd[0]);
            sys_close(&self->signal_fd[1]);
        }
        return NULL;
    }
    PyObject *handlers = signal_handlers(op);
    if (handlers == NULL) {
        return NULL;
    }
    PyObject *handle = handle_new(self->st, HANDLE_PLAIN, op, callback, a.rest, a.nrest,
                                  NULL);
    int debug = handle == NULL ? -1 : loop_get_debug(self->st, op);
    if (debug < 0 || (debug && handle_trace(handle) < 0)
        || PyDict_SetItem(handlers, sig, handle) < 0) {
        goto error;
    }
    if (install_handler(self, sig) < 0) {
        PyObject *exc = PyErr_GetRaisedException();
        if (PyDict_DelItem(handlers, sig) < 0) {
            PyErr_Clear();
        }
        if (stop_listening(self, handlers) < 0) {
            PyErr_Clear();
        }
        PyErr_SetRaisedException(exc);
        name_uncatchable(sig);
        goto error;
    }
    Py_DECREF(handle);
    Py_DECREF(handlers);
    Py_RETURN_NONE;
error:
    Py_XDECREF(handle);
    Py_DECREF(handlers);
    return NULL;
}

const char Loop_remove_signal_handler_doc[] = PyDoc_STR(
"remove_signal_handler($self, sig)\n--\n\n"
"Remove the handler of the signal sig (an int); return whether there was one.\n\n"
"Mirrors asyncio.loop.remove_signal_handler().");

PyObject *
Loop_remove_signal_handler(PyObject *op, PyObject *sig)
{
    LoopObject *self = LOOP(op);
    if (check_signal(self, sig) < 0) {
        return NULL;
    }
    PyObject *handlers = signal_handlers(op);
    if (handlers == NULL) {
        return NULL;
    }
    PyObject *result = NULL, *usual = NULL, *res = NULL;
    int present = PyDict_Contains(handlers, sig);
    if (present <= 0) {
        result = present < 0 ? NULL : Py_NewRef(Py_False);
        goto done;
    }
    if (PyDict_DelItem(handlers, sig) < 0) {
        goto done;
    }
    bool sigint = PyLong_AsLong(sig) == SIGINT;
    usual = PyObject_GetAttrString(self->st->signal_module,
                                   sigint ? "default_int_handler" : "SIG_DFL");
    if (usual == NULL) {
        goto done;
    }
    res = PyObject_CallMethod(self->st->signal_module, "signal", "OO", sig, usual);
    if (res == NULL) {
        name_uncatchable(sig);
        goto done;
    }
    if (stop_listening(self, handlers) == 0) {
        result = Py_NewRef(Py_True);
    }
done:
    Py_XDECREF(res);
    Py_XDECREF(usual);
    Py_DECREF(handlers);
    return result;
}
