/* futureiter.c - what `await future` drives: one yield of the future, then its result.
 *
 * waiting  -> finished  [FutureIter_am_send]  the future was done (until 3.13)
 * waiting  -> finished  [FutureIter_throw, FutureIter_close]
 * A finished one holds no future. They are many and short-lived: dead ones are kept
 * for reuse. */

#include "compat.h"
#include "future.h"
#include "gen.h"

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
    bool fresh;
    PyObject *it = freelist_get(&st->dead_iters, type, &fresh);
    if (UNLIKELY(fresh)) {
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
    if (LIKELY(freelist_has_room(&st->dead_iters))) {
        freelist_put(&st->dead_iters, op);
        Py_DECREF(type);
        return;
    }
    PyObject_GC_Del(op);
    Py_DECREF(type);
    state_free_if_dead(st);
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

static PyObject *
FutureIter_iternext(PyObject *op)
{
    PyObject *result;
    if (FutureIter_am_send(op, Py_None, &result) == PYGEN_RETURN) {
        gen_stop(result);
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

/* What it raises, it raises here, and the iterator is finished. */
static PyObject *
FutureIter_throw(PyObject *op, PyObject *const *args, Py_ssize_t nargs)
{
    if (gen_raise_thrown(args, nargs) == 0) {
        PyObject *exc = PyErr_GetRaisedException();
        Py_CLEAR(ITER(op)->future);
        PyErr_SetRaisedException(exc);
    }
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
