/* loopview.c - what Python code sees of the native queues: evloop/_loop.py makes
 * `_ready`, `_scheduled` and `_selector` of these. */

#include "handle.h"
#include "loopobj.h"

#include <math.h>

/* A list of what is ready, first to last. */
PyObject *
Loop__ready_items(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    struct ring *r = &LOOP(op)->ready;
    PyObject *list = PyList_New(0);
    for (size_t i = 0; list != NULL && i < ring_len(r); i++) {
        if (PyList_Append(list, ring_at(r, i)) < 0) {
            Py_CLEAR(list);
        }
    }
    return list;
}

PyObject *
Loop__ready_append(PyObject *op, PyObject *handle)
{
    if (loop_push(LOOP(op), handle) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyObject *
Loop__ready_appendleft(PyObject *op, PyObject *handle)
{
    if (ring_push_front(&LOOP(op)->ready, handle) < 0) {
        return PyErr_NoMemory();
    }
    Py_INCREF(handle);
    Py_RETURN_NONE;
}

static int
check_not_empty(LoopObject *self)
{
    if (ring_len(&self->ready) == 0) {
        PyErr_SetString(PyExc_IndexError, "pop from an empty deque");
        return -1;
    }
    return 0;
}

PyObject *
Loop__ready_pop(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    LoopObject *self = LOOP(op);
    return check_not_empty(self) < 0 ? NULL : ring_pop_back(&self->ready);
}

PyObject *
Loop__ready_popleft(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    LoopObject *self = LOOP(op);
    return check_not_empty(self) < 0 ? NULL : ring_pop(&self->ready);
}

/* A list of the scheduled timers, in no order. */
PyObject *
Loop__scheduled_items(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    struct heap *h = &LOOP(op)->timers;
    PyObject *list = PyList_New(0);
    for (size_t i = 0; list != NULL && i < h->len; i++) {
        TimerData *t = (TimerData *)((char *)h->entries[i].node - offsetof(TimerData, node));
        if (PyList_Append(list, timer_object(t)) < 0) {
            Py_CLEAR(list);
        }
    }
    return list;
}

/* A list of (fd, file or fd, mask, reader or None, writer or None). */
PyObject *
Loop__watch_items(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    struct watch_table *t = &LOOP(op)->watches;
    PyObject *list = PyList_New(0);
    for (int fd = 0; list != NULL && fd < t->cap; fd++) {
        struct watch *w = &t->slots[fd];
        if (w->mask == 0) {
            continue;
        }
        PyObject *number = PyLong_FromLong(fd);
        PyObject *item = number == NULL
            ? NULL
            : Py_BuildValue("(OOIOO)", number, w->file ? w->file : number, w->mask,
                            w->reader ? w->reader : Py_None,
                            w->writer ? w->writer : Py_None);
        Py_XDECREF(number);
        if (item == NULL || PyList_Append(list, item) < 0) {
            Py_CLEAR(list);
        }
        Py_XDECREF(item);
    }
    return list;
}

/* _select(timeout): seconds or None; a list of (fd, mask), and nothing made ready. */
PyObject *
Loop__select(PyObject *op, PyObject *timeout)
{
    int64_t wait = POLL_FOREVER;
    if (timeout != Py_None) {
        double seconds = PyFloat_AsDouble(timeout);
        if (seconds == -1 && PyErr_Occurred()) {
            return NULL;
        }
        wait = seconds > 0 ? loop_key_of(seconds) : 0;
    }
    PyObject *events = PyList_New(0);
    if (events != NULL && loop_poll(LOOP(op), wait, events) < 0) {
        Py_CLEAR(events);
    }
    return events;
}
