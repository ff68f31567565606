/* transporterror.c - what happens to a transport when something fails: the loop's
 * exception handler is told, and the connection is closed. */

#include "transport.h"
#include "compat.h"

#include <errno.h>

bool
transport_error_is_exit(void)
{
    return PyErr_ExceptionMatches(PyExc_SystemExit)
        || PyErr_ExceptionMatches(PyExc_KeyboardInterrupt);
}

int
transport_report_steal(PyObject *op, PyObject *context)
{
    TransportData *t = TRANSPORT(op);
    PyObject *loop = Py_NewRef(t->loop ? t->loop : Py_None);
    PyObject *res = context == NULL
        ? NULL
        : PyObject_CallMethodOneArg(loop, t->st->str_call_exception_handler, context);
    Py_XDECREF(context);
    Py_DECREF(loop);
    Py_XDECREF(res);
    return res == NULL ? -1 : 0;
}

/* Whether asyncio only logs it, in debug mode: an error of the system. What reads pipes
 * expects just EIO, which is how a terminal ends. -1 on error. */
static int
error_is_usual(const TransportData *t, PyObject *exc)
{
    if (!PyErr_GivenExceptionMatches(exc, PyExc_OSError)
        || t->kind != TRANSPORT_READ_PIPE) {
        return PyErr_GivenExceptionMatches(exc, PyExc_OSError);
    }
    PyObject *number = PyObject_GetAttrString(exc, "errno");
    PyObject *wanted = number == NULL ? NULL : PyLong_FromLong(EIO);
    int usual = wanted == NULL ? -1 : PyObject_RichCompareBool(number, wanted, Py_EQ);
    Py_XDECREF(number);
    Py_XDECREF(wanted);
    return usual;
}

/* With the exception as the one being handled, as in an except clause. */
static int
transport_report_fatal(PyObject *op, PyObject *exc, PyObject *message)
{
    TransportData *t = TRANSPORT(op);
    int usual = error_is_usual(t, exc);
    if (usual < 0) {
        return -1;
    }
    if (!usual) {
        return transport_report_steal(
            op,
            Py_BuildValue("{s:O,s:O,s:O,s:O}", "message", message, "exception", exc,
                          "transport", op, "protocol",
                          t->protocol ? t->protocol : Py_None));
    }
    int debug = transport_debug(t);
    if (debug <= 0) {
        return debug;
    }
    return state_log(t->st, "debug", Py_BuildValue("(sOO)", "%r: %s", op, message),
                     true);
}

int
transport_close_untold(PyObject *op, PyObject *exc)
{
    if (PyErr_ExceptionMatches(PyExc_MemoryError)) {
        PyObject *raised = PyErr_GetRaisedException();
        if (transport_force_close(op, exc) < 0) {
            PyErr_Clear();
        }
        PyErr_SetRaisedException(raised);
    }
    return -1;
}

int
transport_fatal_error(PyObject *op, PyObject *exc, PyObject *message)
{
    if (TRANSPORT(op)->loop == NULL) { /* closed meanwhile, by what raised */
        return 0;
    }
    LoopObject *loop = LOOP(Py_NewRef(TRANSPORT(op)->loop));
    bool in_callback = loop->in_callback;
    PyObject *outer = PyErr_GetHandledException();
    PyErr_SetHandledException(exc);
    loop->in_callback = false; /* what an exception handler writes leaves at once */
    int rc = transport_report_fatal(op, exc, message);
    loop->in_callback = in_callback && !loop->write_at_once;
    Py_DECREF(loop);
    PyErr_SetHandledException(outer);
    Py_XDECREF(outer);
    return rc < 0 ? transport_close_untold(op, exc) : transport_force_close(op, exc);
}

int
transport_fatal(PyObject *op, const char *message)
{
    if (transport_error_is_exit()) {
        return -1;
    }
    PyObject *exc = PyErr_GetRaisedException();
    PyObject *text = PyUnicode_FromString(message);
    int rc = text == NULL ? transport_close_untold(op, exc)
                          : transport_fatal_error(op, exc, text);
    Py_XDECREF(text);
    Py_DECREF(exc);
    return rc;
}
