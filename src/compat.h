/* compat.h - the differences between CPython 3.11 and 3.15 that we meet, and what its
 * API lacks. */

#ifndef EVLOOP_COMPAT_H
#define EVLOOP_COMPAT_H

#include "base.h"

#if PY_VERSION_HEX < 0x030C0000

/* As in 3.12: the exception being raised, normalised, or NULL. */
static inline PyObject *
PyErr_GetRaisedException(void)
{
    PyObject *type, *value, *tb;
    PyErr_Fetch(&type, &value, &tb);
    if (type == NULL) {
        return NULL;
    }
    PyErr_NormalizeException(&type, &value, &tb);
    if (tb != NULL) {
        PyException_SetTraceback(value, tb);
    }
    Py_DECREF(type);
    Py_XDECREF(tb);
    return value;
}

/* As in 3.12: steals a reference to `exc`, which may be NULL. */
static inline void
PyErr_SetRaisedException(PyObject *exc)
{
    if (exc == NULL) {
        PyErr_Clear();
        return;
    }
    PyErr_Restore(Py_NewRef(Py_TYPE(exc)), exc, PyException_GetTraceback(exc));
}

#endif

/* The context that code runs in now, or NULL; to copy it costs more than to keep it. */
static inline PyObject *
current_context_borrow(void)
{
    return PyThreadState_Get()->context;
}

/* Gives a buffer back, which can run Python code; keeps the exception being raised. */
static inline void
release_view(Py_buffer *view)
{
    PyObject *exc = PyErr_GetRaisedException();
    PyBuffer_Release(view);
    PyErr_SetRaisedException(exc);
}

#if PY_VERSION_HEX < 0x030D0000

/* As in 3.13: there is nothing to lock where the GIL protects all. */
#define Py_BEGIN_CRITICAL_SECTION(op) {
#define Py_END_CRITICAL_SECTION() }

#define PyLong_AsInt _PyLong_AsInt
#define Py_IsFinalizing _Py_IsFinalizing
#define Py_HashPointer _Py_HashPointer
#define PyObject_GetOptionalAttr _PyObject_LookupAttr

/* As in 3.13: 1 and a new reference, or 0 and NULL when the object is gone. */
static inline int
PyWeakref_GetRef(PyObject *ref, PyObject **object)
{
    PyObject *found = PyWeakref_GetObject(ref);
    *object = found == NULL || found == Py_None ? NULL : Py_NewRef(found);
    return found == NULL ? -1 : *object != NULL;
}

#else

/* Exported still, but declared in an internal header from 3.13 on: the attribute in
 * *method, and 1 if it is a method of the class that is not bound to obj yet. */
extern int _PyObject_GetMethod(PyObject *obj, PyObject *name, PyObject **method);

#endif

#endif
