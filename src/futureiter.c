/* futureiter.c - what `await future` drives: one yield of the future, then its result.
 *
 * waiting  -> finished  [FutureIter_am_send]  the future was done (until 3.13)
 * waiting  -> finished  [FutureIter_throw, FutureIter_close]
 * A finished one holds no future. They are many and short-lived: dead ones are kept
 * for reuse. */

#include "compat.h"
#include "future.h"

typedef struct {
    PyObject_HEAD
    core_state *st;   /* see state.h: it outlives the object */
    PyObject *future; /* strong; NULL once finished */
} FutureIterObject;

#define ITER(op) ((FutureIterObject *)(op))

PyObject *
Future_iter(PyObject *op)
{
    if (future_check_alive(op) < 0) {
        return NULL;
    }
    core_state *st = FUTURE(op)->st;
    PyTypeObject *type = (PyTypeObject *)st->FutureIterType;
    PyObject *it = st->iter_freelist;
    if (LIKELY(it != NULL)) {
        st->iter_freelist = ITER(it)->future;
        st->iter_free--;
        (void)PyObject_Init(it, type);
    }
    else {
        it = (PyObject *)PyObject_GC_New(FutureIterObject, type);
        if (it == NULL) {
            return NULL;
        }
        ITER(it)->st = st;
    }
    st->live_iters++;
    ITER(it)->future = Py_NewRef(op);
    PyObject_GC_Track(it);
    return it;
}

static int
FutureIter_traverse(PyObject *op, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(op));
    Py_VISIT(ITER(op)->future);
    return 0;
}

static int
FutureIter_clear(PyObject *op)
{
    Py_CLEAR(ITER(op)->future);
    return 0;
}

static void
FutureIter_dealloc(PyObject *op)
{
    PyTypeObject *type = Py_TYPE(op);
    core_state *st = ITER(op)->st;
    PyObject_GC_UnTrack(op);
    (void)FutureIter_clear(op);
    st->live_iters--;
    if (LIKELY(st->iter_free < st->iter_free_max)) {
        ITER(op)->future = st->iter_freelist;
        st->iter_freelist = op;
        st->iter_free++;
        Py_DECREF(type);
        return;
    }
    PyObject_GC_Del(op);
    Py_DECREF(type);
    state_free_if_dead(st);
}

void
future_clear_iter_freelist(core_state *st)
{
    PyObject *op = st->iter_freelist;
    st->iter_freelist = NULL;
    st->iter_free = 0;
    while (op != NULL) {
        PyObject *next = ITER(op)->future;
        PyObject_GC_Del(op);
        op = next;
    }
}

static PySendResult
FutureIter_am_send(PyObject *op, PyObject *Py_UNUSED(value), PyObject **result)
{
    PyObject *future = ITER(op)->future;
    *result = NULL;
    if (UNLIKELY(future == NULL)) {
        *result = Py_NewRef(Py_None);
        return PYGEN_RETURN;
    }
    FutureData *f = FUTURE(future);
    if (f->state == FUTURE_PENDING) {
        if (UNLIKELY(f->blocking)) {
            PyErr_SetString(PyExc_RuntimeError, "await wasn't used with future");
            return PYGEN_ERROR;
        }
        f->blocking = true;
        *result = Py_NewRef(future);
        return PYGEN_NEXT;
    }
    Py_INCREF(future);
    if (PY_VERSION_HEX < 0x030E0000) { /* after, it gives the result again */
        Py_CLEAR(ITER(op)->future);
    }
    *result = future_result(future);
    Py_DECREF(future);
    return *result == NULL ? PYGEN_ERROR : PYGEN_RETURN;
}

/* Raises StopIteration(value); None goes without, as the end of any iterator. */
static void
stop_with_value(PyObject *value)
{
    if (value == Py_None) {
        return;
    }
    PyObject *exc = PyObject_CallOneArg(PyExc_StopIteration, value);
    if (exc != NULL) {
        PyErr_SetRaisedException(exc);
    }
}

static PyObject *
FutureIter_iternext(PyObject *op)
{
    PyObject *result;
    if (FutureIter_am_send(op, Py_None, &result) == PYGEN_RETURN) {
        stop_with_value(result);
        Py_CLEAR(result);
    }
    return result;
}

/* What is sent does not matter to a future. */
static PyObject *
FutureIter_send(PyObject *op, PyObject *Py_UNUSED(value))
{
    PyObject *result = FutureIter_iternext(op);
    if (result == NULL && !PyErr_Occurred()) {
        PyErr_SetNone(PyExc_StopIteration);
    }
    return result;
}

/* throw(type[, value[, traceback]]), of which only the first form is not deprecated:
 * what it raises, it raises here, and the iterator is finished. */
static PyObject *
FutureIter_throw(PyObject *op, PyObject *const *args, Py_ssize_t nargs)
{
    if (nargs < 1 || nargs > 3) {
        PyErr_Format(PyExc_TypeError, "throw expected %s %d argument%s, got %zd",
                     nargs < 1 ? "at least" : "at most", nargs < 1 ? 1 : 3,
                     nargs < 1 ? "" : "s", nargs);
        return NULL;
    }
#if PY_VERSION_HEX >= 0x030C0000
    if (nargs > 1
        && PyErr_WarnEx(PyExc_DeprecationWarning,
                        "the (type, exc, tb) signature of throw() is deprecated, "
                        "use the single-arg signature instead.",
                        1)
            < 0) {
        return NULL;
    }
#endif
    PyObject *type = args[0];
    PyObject *value = nargs > 1 && args[1] != Py_None ? args[1] : NULL;
    PyObject *tb = nargs > 2 && args[2] != Py_None ? args[2] : NULL;
    if (tb != NULL && !PyTraceBack_Check(tb)) {
        PyErr_SetString(PyExc_TypeError, "throw() third argument must be a traceback");
        return NULL;
    }
    if (PyExceptionClass_Check(type)) {
        Py_CLEAR(ITER(op)->future);
        PyErr_Restore(Py_NewRef(type), Py_XNewRef(value), Py_XNewRef(tb));
        return NULL;
    }
    if (!PyExceptionInstance_Check(type)) {
        PyErr_SetString(PyExc_TypeError,
                        "exceptions must be classes deriving BaseException or "
                        "instances of such a class");
        return NULL;
    }
    if (value != NULL) {
        PyErr_SetString(PyExc_TypeError,
                        "instance exception may not have a separate value");
        return NULL;
    }
    Py_CLEAR(ITER(op)->future);
    tb = tb == NULL ? PyException_GetTraceback(type) : Py_NewRef(tb);
    PyErr_Restore(Py_NewRef(PyExceptionInstance_Class(type)), Py_NewRef(type), tb);
    return NULL;
}

static PyObject *
FutureIter_close(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    (void)FutureIter_clear(op);
    Py_RETURN_NONE;
}

static PyMethodDef FutureIter_methods[] = {
    {"send", FutureIter_send, METH_O, NULL},
    {"throw", (PyCFunction)(void (*)(void))FutureIter_throw, METH_FASTCALL, NULL},
    {"close", FutureIter_close, METH_NOARGS, NULL},
    {NULL},
};

static PyType_Slot FutureIter_slots[] = {
    {Py_tp_dealloc, FutureIter_dealloc},   {Py_tp_traverse, FutureIter_traverse},
    {Py_tp_clear, FutureIter_clear},       {Py_tp_iter, PyObject_SelfIter},
    {Py_tp_iternext, FutureIter_iternext}, {Py_am_send, FutureIter_am_send},
    {Py_tp_methods, FutureIter_methods},   {0, NULL},
};

int
future_setup_iter_type(PyObject *module, core_state *st)
{
    static PyType_Spec spec = {
        .name = "evloop._core.FutureIter",
        .basicsize = sizeof(FutureIterObject),
        .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC
            | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
        .slots = FutureIter_slots,
    };
    st->FutureIterType = PyType_FromModuleAndSpec(module, &spec, NULL);
    return st->FutureIterType == NULL ? -1 : 0;
}
