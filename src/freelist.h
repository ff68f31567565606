/* freelist.h - dead objects kept for reuse, which saves the allocator's work.
 *
 * A dead object is untracked, its fields are NULL (but for a task's `ref`), and it
 * holds no reference to its type. The next one is where its reference count was:
 * PyObject_Init() sets that anew. */

#ifndef EVLOOP_FREELIST_H
#define EVLOOP_FREELIST_H

#include "base.h"

struct freelist {
    PyObject *first;
    int count;
    int max; /* 0 once closed */
};

/* An object as it was when it died, or NULL if there is none. */
static inline PyObject *
freelist_pop(struct freelist *list)
{
    PyObject *op = list->first;
    if (LIKELY(op != NULL)) {
        memcpy(&list->first, op, sizeof(list->first));
        list->count--;
    }
    return op;
}

/* A new reference to a living object of the type, untracked: one that was dead, or one
 * made of zeros, and `*fresh` is true. */
static inline PyObject *
freelist_get(struct freelist *list, PyTypeObject *type, bool *fresh)
{
    PyObject *op = freelist_pop(list);
    *fresh = op == NULL;
    if (LIKELY(op != NULL)) {
        return PyObject_Init(op, type);
    }
    op = (PyObject *)PyObject_GC_New(PyObject, type);
    if (op != NULL) {
        memset((char *)op + sizeof(PyObject), 0,
               (size_t)type->tp_basicsize - sizeof(PyObject));
    }
    return op;
}

static inline bool
freelist_has_room(const struct freelist *list)
{
    return list->count < list->max;
}

/* Keeps the dead object; there is room. */
static inline void
freelist_put(struct freelist *list, PyObject *op)
{
    memcpy(op, &list->first, sizeof(list->first));
    list->first = op;
    list->count++;
}

/* Frees all, and keeps none from now on. */
static inline void
freelist_close(struct freelist *list)
{
    PyObject *op;
    list->max = 0;
    while ((op = freelist_pop(list)) != NULL) {
        PyObject_GC_Del(op);
    }
}

#endif
