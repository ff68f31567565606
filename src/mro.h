/* mro.h - one native type made a subclass of another, where the interpreter cannot.
 *
 * Our types lie over asyncio's: Task over asyncio.Task, Future over asyncio.Future. By
 * the sizes of the bases the interpreter would find Task and Future in conflict, but
 * our struct is at one offset in both, and Task's begins with Future's: what is
 * written for one holds for the other. So that isinstance(), and methods called on
 * the class (`Future.set_result(task, 1)`), hold too, the base joins the MRO.
 * `__bases__` and `__subclasses__()` do not know of it; nor does what is assigned to
 * the base later, if a look-up on the subclass has failed before. */

#ifndef EVLOOP_MRO_H
#define EVLOOP_MRO_H

#include "base.h"

/* Inserts `base` into the type's MRO, ahead of the base's own base. To be called before
 * anybody else sees the type. */
static inline int
mro_insert(PyTypeObject *type, PyTypeObject *base)
{
    PyObject *old = type->tp_mro;
    Py_ssize_t n = PyTuple_GET_SIZE(old), to = 0;
    PyObject *mro = PyTuple_New(n + 1);
    if (mro == NULL) {
        return -1;
    }
    for (Py_ssize_t i = 0; i < n; i++) {
        PyObject *cls = PyTuple_GET_ITEM(old, i);
        if (cls == (PyObject *)base->tp_base) {
            PyTuple_SET_ITEM(mro, to++, Py_NewRef(base));
        }
        PyTuple_SET_ITEM(mro, to++, Py_NewRef(cls));
    }
    assert(to == n + 1);
    type->tp_mro = mro;
    Py_DECREF(old);
    PyType_Modified(type);
    return 0;
}

#endif
