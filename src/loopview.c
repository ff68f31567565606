/* loopview.c - what Python code sees of the native queues: evloop/_loop.py makes
 * `_ready`, `_scheduled` and `_selector` of these. */

#include "handle.h"
#include "loopobj.h"
#include "source.h"

#include <math.h>

/* Gives back the ring's reference to what is neither run nor a handle. */
static void
drop_item(void *item)
{
    if (source_item_kind(item)) {
        source_drop_item(item);
    }
    else {
        Py_DECREF((PyObject *)item);
    }
}

/* Puts the handle where the item is, if it still is on the ring; steals the handle. */
static void
replace_item_steal(struct ring *r, size_t i, void *item, PyObject *handle)
{
    if (i >= ring_len(r) || ring_at(r, i) != item) {
        for (i = 0; i < ring_len(r) && ring_at(r, i) != item; i++) {
        }
    }
    if (i < ring_len(r)) {
        ring_put(r, i, handle);
        drop_item(item);
    }
    else {
        Py_DECREF(handle);
    }
}

/* Puts a handle in the place of each source on the ready ring, as below. */
static int
show_sources_as_handles(LoopObject *self)
{
    struct ring *r = &self->ready;
    for (size_t i = 0; i < ring_len(r); i++) {
        void *item = ring_at(r, i);
        if (!source_item_kind(item)) {
            continue;
        }
        PyObject *owner = Py_NewRef(source_of_item(item)->owner);
        PyObject *handle = source_item_as_handle(self, item);
        if (handle != NULL) {
            replace_item_steal(r, i, item, handle);
        }
        Py_DECREF(owner);
        if (handle == NULL) {
            return -1;
        }
    }
    return 0;
}

/* Puts a handle in the place of each native task on the ready ring. To make one can
 * run Python code (until 3.11), which may change the ring. */
static int
show_tasks_as_handles(LoopObject *self)
{
    struct ring *r = &self->ready;
    if (show_sources_as_handles(self) < 0) {
        return -1;
    }
    for (size_t i = 0; i < ring_len(r); i++) {
        PyObject *item = ring_at(r, i);
        if (source_item_kind(item) || !loop_item_is_task(self, item)) {
            continue;
        }
        Py_INCREF(item);
        PyObject *handle = self->st->task_as_handle(item);
        if (handle != NULL) {
            replace_item_steal(r, i, item, handle);
        }
        Py_DECREF(item);
        if (handle == NULL && PyErr_Occurred()) {
            return -1;
        }
    }
    return 0;
}

/* A list of what is ready, first to last. */
PyObject *
Loop__ready_items(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    LoopObject *self = LOOP(op);
    struct ring *r = &self->ready;
    PyObject *list = show_tasks_as_handles(self) < 0 ? NULL : PyList_New(0);
    for (size_t i = 0; list != NULL && i < ring_len(r); i++) {
        PyObject *item = ring_at(r, i);
        if (!source_item_kind(item) && !loop_item_is_task(self, item)
            && PyList_Append(list, item) < 0) {
            Py_CLEAR(list);
        }
    }
    return list;
}

/* Native tasks get onto the ring by themselves alone. */
static int
check_is_handle(LoopObject *self, PyObject *item)
{
    if (loop_item_is_task(self, item)) {
        PyErr_SetString(PyExc_TypeError, "a handle is required, not a task");
        return -1;
    }
    return 0;
}

/* Puts what the iterable gives in the place of what was ready. */
PyObject *
Loop__ready_replace(PyObject *op, PyObject *handles)
{
    LoopObject *self = LOOP(op);
    PyObject *list = PySequence_List(handles);
    if (list == NULL) {
        return NULL;
    }
    struct ring fresh = {0};
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(list); i++) {
        PyObject *item = PyList_GET_ITEM(list, i);
        int rc = check_is_handle(self, item);
        if (rc == 0 && ring_push(&fresh, item) < 0) {
            PyErr_NoMemory();
            rc = -1;
        }
        if (rc < 0) {
            ring_free(&fresh);
            Py_DECREF(list);
            return NULL;
        }
    }
    for (size_t i = 0; i < ring_len(&fresh); i++) {
        Py_INCREF((PyObject *)ring_at(&fresh, i));
    }
    struct ring old = self->ready;
    self->ready = fresh;
    Py_DECREF(list);
    loop_drop_ready(self, &old);
    Py_RETURN_NONE;
}

PyObject *
Loop__ready_append(PyObject *op, PyObject *handle)
{
    if (check_is_handle(LOOP(op), handle) < 0 || loop_push(LOOP(op), handle) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyObject *
Loop__ready_popleft(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    LoopObject *self = LOOP(op);
    if (show_tasks_as_handles(self) < 0) {
        return NULL;
    }
    if (ring_len(&self->ready) == 0) {
        PyErr_SetString(PyExc_IndexError, "pop from an empty deque");
        return NULL;
    }
    return ring_pop(&self->ready);
}

/* A list of the scheduled timers, in no order. */
PyObject *
Loop__scheduled_items(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    struct heap *h = &LOOP(op)->timers;
    PyObject *list = PyList_New(0);
    for (size_t i = 0; list != NULL && i < h->len; i++) {
        TimerData *t = TIMER_OF_NODE(h->entries[i].node);
        if (PyList_Append(list, timer_object(t)) < 0) {
            Py_CLEAR(list);
        }
    }
    return list;
}

/* Schedules a TimerHandle of this loop that is not scheduled yet. */
PyObject *
Loop__scheduled_add(PyObject *op, PyObject *handle)
{
    PyObject *when = PyObject_GetAttr(handle, LOOP(op)->st->str__when);
    double seconds = when == NULL ? -1 : PyFloat_AsDouble(when);
    Py_XDECREF(when);
    if (seconds == -1 && PyErr_Occurred()) {
        return NULL;
    }
    if (!handle_is_exact(handle) || HANDLE(handle)->kind != HANDLE_TIMER
        || HANDLE(handle)->loop != op || TIMER(handle)->node.index != HEAP_OUT) {
        PyErr_SetString(PyExc_TypeError,
                        "an unscheduled TimerHandle of this loop is required");
        return NULL;
    }
    if (loop_add_timer(LOOP(op), handle, loop_key_of(seconds)) < 0) {
        return NULL;
    }
    TIMER(handle)->when = seconds;
    Py_RETURN_NONE;
}

/* What is looked for, and not only kept registered. */
static unsigned
wanted_of_watch(const struct watch *w)
{
    return (w->reader ? POLL_READ : 0) | (w->writer ? POLL_WRITE : 0)
        | (w->source ? w->source->wanted : 0);
}

/* (fd, file or fd, mask, reader or None, writer or None). In references of its own:
 * to make a tuple can run Python code (until 3.11), which may drop the watch. */
static PyObject *
describe_watch(int fd, const struct watch *w)
{
    PyObject *reader = Py_NewRef(w->reader ? w->reader : Py_None);
    PyObject *writer = Py_NewRef(w->writer ? w->writer : Py_None);
    PyObject *file = Py_XNewRef(w->file);
    unsigned mask = wanted_of_watch(w);
    PyObject *number = PyLong_FromLong(fd);
    PyObject *item = number == NULL
        ? NULL
        : Py_BuildValue("(OOIOO)", number, file ? file : number, mask, reader, writer);
    Py_XDECREF(number);
    Py_XDECREF(file);
    Py_DECREF(writer);
    Py_DECREF(reader);
    return item;
}

/* A list of what is watched: see describe_watch(). */
PyObject *
Loop__watch_items(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    struct watch_table *t = &LOOP(op)->watches;
    PyObject *list = PyList_New(0);
    for (int fd = 0; list != NULL && fd < t->cap; fd++) {
        struct watch *w = watch_find(t, fd);
        if (w == NULL || wanted_of_watch(w) == 0) {
            continue;
        }
        PyObject *item = describe_watch(fd, w);
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
