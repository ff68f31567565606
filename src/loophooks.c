/* loophooks.c - which of a loop's methods somebody has overridden, and what any loop, a
 * Python subclass of ours or another's, answers to the questions that C code asks. */

#include "loop.h"
#include "compat.h"
#include "sys.h"

/* --- hooks -------------------------------------------------------------------- */

void
loop_refresh_hooks(LoopObject *self)
{
    core_state *st = self->st;
    PyObject *exc = PyErr_GetRaisedException();
    PyObject *type = (PyObject *)Py_TYPE(self);
    unsigned hooks = self->instance_hooks;
    for (Py_ssize_t i = 0; i < LOOP_HOOK_COUNT; i++) {
        PyObject *found = PyObject_GetAttr(type, PyTuple_GET_ITEM(st->hook_names, i));
        if (found != PyTuple_GET_ITEM(st->hook_natives, i)) {
            hooks |= 1u << i;
        }
        Py_XDECREF(found);
        PyErr_Clear();
    }
    self->hooks = hooks;
    /* Version 0 means that the type has none now: look again next time. */
    unsigned tag = Py_TYPE(self)->tp_version_tag;
    self->hooks_tag = tag != 0 ? tag : UINT_MAX;
    PyErr_SetRaisedException(exc);
}

/* Whether its select() is somebody's own. */
static bool
selector_is_patched(PyObject *selector)
{
    PyObject *dict = PyObject_GenericGetDict(selector, NULL);
    bool patched = dict != NULL && PyDict_GetItemString(dict, "select") != NULL;
    Py_XDECREF(dict);
    PyErr_Clear();
    return patched;
}

static enum loop_selector
selector_kind(PyObject *selector)
{
    static const char mark[] = "_evloop_native";
    if (selector == NULL || selector == Py_None) {
        return SELECTOR_OURS;
    }
    if (PyObject_HasAttrString((PyObject *)Py_TYPE(selector), mark)) {
        return selector_is_patched(selector) ? SELECTOR_WRAPPED : SELECTOR_OURS;
    }
    /* A wrapper hands on what it does not know. */
    PyObject *found = PyObject_GetAttrString(selector, mark);
    bool wrapped = found == Py_True;
    Py_XDECREF(found);
    PyErr_Clear();
    return wrapped ? SELECTOR_WRAPPED : SELECTOR_FOREIGN;
}

int
Loop_setattro(PyObject *op, PyObject *name, PyObject *value)
{
    LoopObject *self = LOOP(op);
    if (PyObject_GenericSetAttr(op, name, value) < 0) {
        return -1;
    }
    core_state *st = self->st;
    for (Py_ssize_t i = 0; i < LOOP_HOOK_COUNT; i++) {
        PyObject *hook = PyTuple_GET_ITEM(st->hook_names, i);
        if (name == hook || PyUnicode_Compare(name, hook) == 0) {
            unsigned bit = 1u << i;
            self->instance_hooks = value != NULL ? self->instance_hooks | bit
                                                 : self->instance_hooks & ~bit;
            self->hooks_tag = UINT_MAX;
        }
    }
    if (PyUnicode_Compare(name, st->str__selector) == 0) {
        self->selector = selector_kind(value);
    }
    return 0;
}

/* --- what any loop answers ---------------------------------------------------- */

int
loop_get_debug(core_state *st, PyObject *loop)
{
    LoopObject *self = loop_from_object_borrow(st, loop);
    if (LIKELY(self != NULL && !loop_hooked(self, HOOK_GET_DEBUG))) {
        return self->debug;
    }
    PyObject *debug = PyObject_CallMethodNoArgs(loop, st->str_get_debug);
    if (debug == NULL) {
        return -1;
    }
    int rc = PyObject_IsTrue(debug);
    Py_DECREF(debug);
    return rc;
}

double
loop_time(LoopObject *self)
{
    if (LIKELY(!loop_hooked(self, HOOK_TIME))) {
        return (double)sys_now_ns() / 1e9;
    }
    PyObject *now = PyObject_CallMethodNoArgs((PyObject *)self, self->st->str_time);
    if (now == NULL) {
        return -1;
    }
    double seconds = PyFloat_AsDouble(now);
    Py_DECREF(now);
    return seconds;
}

int
loop_err_closed(void)
{
    PyErr_SetString(PyExc_RuntimeError, "Event loop is closed");
    return -1;
}

int
loop_check_closed(LoopObject *self)
{
    if (UNLIKELY(loop_hooked(self, HOOK_CHECK_CLOSED))) {
        PyObject *res = PyObject_CallMethod((PyObject *)self, "_check_closed", NULL);
        Py_XDECREF(res);
        if (res == NULL) {
            return -1;
        }
    }
    return UNLIKELY(self->closed) ? loop_err_closed() : 0;
}

PyObject *
loop_call_base(LoopObject *self, const char *method, PyObject *const *args,
               Py_ssize_t nargs, PyObject *kwnames)
{
    PyObject *function = PyObject_GetAttrString(self->st->SelectorEventLoop, method);
    if (function == NULL) {
        return NULL;
    }
    PyObject *result = NULL;
    Py_ssize_t total = nargs + (kwnames ? PyTuple_GET_SIZE(kwnames) : 0);
    PyObject **argv = PyMem_New(PyObject *, (size_t)total + 1);
    if (argv == NULL) {
        PyErr_NoMemory();
    }
    else {
        argv[0] = (PyObject *)self;
        for (Py_ssize_t i = 0; i < total; i++) {
            argv[1 + i] = args[i];
        }
        result = PyObject_Vectorcall(function, argv, (size_t)nargs + 1, kwnames);
        PyMem_Free(argv);
    }
    Py_DECREF(function);
    return result;
}
