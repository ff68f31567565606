/* gen.c - see gen.h. */

#include "gen.h"
#include "compat.h"

void
gen_stop_loudly(PyObject *value)
{
    PyObject *exc = value == Py_None ? PyObject_CallNoArgs(PyExc_StopIteration)
                                     : PyObject_CallOneArg(PyExc_StopIteration, value);
    if (exc != NULL) {
        PyErr_SetRaisedException(exc);
    }
}

void
gen_stop(PyObject *value)
{
    if (value != Py_None) {
        gen_stop_loudly(value);
    }
}

static int
check_count(Py_ssize_t nargs)
{
    if (nargs < 1 || nargs > 3) {
        PyErr_Format(PyExc_TypeError, "throw expected %s %d argument%s, got %zd",
                     nargs < 1 ? "at least" : "at most", nargs < 1 ? 1 : 3,
                     nargs < 1 ? "" : "s", nargs);
        return -1;
    }
#if PY_VERSION_HEX >= 0x030C0000
    return nargs == 1
        ? 0
        : PyErr_WarnEx(PyExc_DeprecationWarning,
                       "the (type, exc, tb) signature of throw() is deprecated, "
                       "use the single-arg signature instead.",
                       1);
#else
    return 0;
#endif
}

int
gen_raise_thrown(PyObject *const *args, Py_ssize_t nargs)
{
    if (check_count(nargs) < 0) {
        return -1;
    }
    PyObject *type = args[0];
    PyObject *value = nargs > 1 && args[1] != Py_None ? args[1] : NULL;
    PyObject *tb = nargs > 2 && args[2] != Py_None ? args[2] : NULL;
    if (tb != NULL && !PyTraceBack_Check(tb)) {
        PyErr_SetString(PyExc_TypeError, "throw() third argument must be a traceback");
        return -1;
    }
    if (PyExceptionClass_Check(type)) {
        PyErr_Restore(Py_NewRef(type), Py_XNewRef(value), Py_XNewRef(tb));
        return 0;
    }
    if (!PyExceptionInstance_Check(type)) {
        PyErr_SetString(PyExc_TypeError,
                        "exceptions must be classes deriving BaseException or "
                        "instances of such a class");
        return -1;
    }
    if (value != NULL) {
        PyErr_SetString(PyExc_TypeError,
                        "instance exception may not have a separate value");
        return -1;
    }
    tb = tb == NULL ? PyException_GetTraceback(type) : Py_NewRef(tb);
    PyErr_Restore(Py_NewRef(PyExceptionInstance_Class(type)), Py_NewRef(type), tb);
    return 0;
}
