/* wqueue.h - what waits to be written: a queue of exact bytes objects, the first one
 * perhaps sent in part. A few stand in the struct itself. Empty objects are never in
 * it.
 *
 * Behind each datagram the queue of a datagram transport has its address, uncounted;
 * to drop that may run Python code. To drop bytes runs none. */

#ifndef EVLOOP_WQUEUE_H
#define EVLOOP_WQUEUE_H

#include "base.h"

#include <sys/uio.h>

#define WQUEUE_INLINE HARD_OR(1, 3)

struct wqueue {
    unsigned cap;  /* of heap; 0: `few` is used */
    unsigned head; /* index of the first */
    unsigned len;
    Py_ssize_t offset; /* of the first one's bytes that are sent already */
    Py_ssize_t size;   /* bytes to send, of all */
    union {
        PyObject **heap;
        PyObject *few[WQUEUE_INLINE];
    };
};

static inline PyObject **
wqueue_items(struct wqueue *q)
{
    return q->cap != 0 ? q->heap : q->few;
}

static inline int
wqueue_grow(struct wqueue *q)
{
    unsigned cap = q->cap != 0 ? q->cap * 2 : WQUEUE_INLINE * 4;
    if (cap > UINT_MAX / 2 / sizeof(PyObject *)) {
        return -1;
    }
    PyObject **heap = PyMem_Malloc(cap * sizeof(PyObject *));
    if (heap == NULL) {
        return -1;
    }
    memcpy(heap, wqueue_items(q) + q->head, q->len * sizeof(PyObject *));
    if (q->cap != 0) {
        PyMem_Free(q->heap);
    }
    q->heap = heap;
    q->cap = cap;
    q->head = 0;
    return 0;
}

/* Makes room for so many more, which then can be appended without fail. */
static inline int
wqueue_reserve(struct wqueue *q, size_t more)
{
    while ((q->cap != 0 ? q->cap : WQUEUE_INLINE) - q->head - q->len < more) {
        if (wqueue_grow(q) < 0) {
            return -1;
        }
    }
    return 0;
}

/* Appends an object and takes its reference; -1 without an exception (and the reference
 * is the caller's still) when out of memory. The size stays. */
static inline int
wqueue_push_uncounted_steal(struct wqueue *q, PyObject *item)
{
    unsigned cap = q->cap != 0 ? q->cap : WQUEUE_INLINE;
    if (UNLIKELY(q->head + q->len == cap)) {
        if (q->head > cap / 2) {
            PyObject **items = wqueue_items(q);
            memmove(items, items + q->head, q->len * sizeof(PyObject *));
            q->head = 0;
        }
        else if (wqueue_grow(q) < 0) {
            return -1;
        }
    }
    wqueue_items(q)[q->head + q->len++] = item;
    return 0;
}

/* The same for a non-empty bytes object. */
static inline int
wqueue_push_steal(struct wqueue *q, PyObject *bytes)
{
    if (wqueue_push_uncounted_steal(q, bytes) < 0) {
        return -1;
    }
    q->size += PyBytes_GET_SIZE(bytes);
    return 0;
}

/* Fills up to `max` vectors; returns how many. */
static inline int
wqueue_fill(struct wqueue *q, struct iovec *iov, int max)
{
    PyObject **items = wqueue_items(q) + q->head;
    int n = q->len < (unsigned)max ? (int)q->len : max;
    for (int i = 0; i < n; i++) {
        iov[i].iov_base = PyBytes_AS_STRING(items[i]);
        iov[i].iov_len = (size_t)PyBytes_GET_SIZE(items[i]);
    }
    if (n > 0) {
        iov[0].iov_base = (char *)iov[0].iov_base + q->offset;
        iov[0].iov_len -= (size_t)q->offset;
    }
    return n;
}

/* Drops everything; the queue is empty before anything is dropped. */
static inline void
wqueue_clear(struct wqueue *q)
{
    struct wqueue old = *q;
    q->cap = q->head = q->len = 0;
    q->offset = q->size = 0;
    PyObject **items = wqueue_items(&old) + old.head;
    for (unsigned i = 0; i < old.len; i++) {
        Py_DECREF(items[i]);
    }
    if (old.cap != 0) {
        PyMem_Free(old.heap);
    }
}

/* Takes off what was sent. */
static inline void
wqueue_consume(struct wqueue *q, Py_ssize_t n)
{
    assert(n <= q->size);
    if (n == q->size && q->len == 1 && q->cap == 0) {
        PyObject *bytes = q->few[q->head];
        q->head = q->len = 0;
        q->offset = q->size = 0;
        Py_DECREF(bytes);
        return;
    }
    if (n == q->size) {
        wqueue_clear(q);
        return;
    }
    q->size -= n;
    n += q->offset;
    PyObject **items = wqueue_items(q);
    while (n >= PyBytes_GET_SIZE(items[q->head])) {
        n -= PyBytes_GET_SIZE(items[q->head]);
        Py_DECREF(items[q->head]);
        q->head++;
        q->len--;
    }
    q->offset = n;
}

#endif
