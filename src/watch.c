/* watch.c - see watch.h. */

#include "watch.h"

#include <errno.h>

#define CAP_MIN HARD_OR(1, 64)

static int
watch_error(int rc)
{
    errno = -rc;
    PyErr_SetFromErrno(PyExc_OSError);
    return -1;
}

static int
watch_grow(struct watch_table *t, int fd)
{
    int cap = t->cap ? t->cap : CAP_MIN;
    while (cap <= fd) {
        if (cap > INT_MAX / 2) {
            cap = INT_MAX;
            break;
        }
        cap *= 2;
    }
    struct watch *slots = PyMem_Realloc(t->slots, (size_t)cap * sizeof(*slots));
    if (slots == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    memset(slots + t->cap, 0, (size_t)(cap - t->cap) * sizeof(*slots));
    t->slots = slots;
    t->cap = cap;
    return 0;
}

static uint32_t
watch_new_tag(struct watch_table *t)
{
    if (t->next_tag < TAG_FIRST_WATCH) { /* at first, and after wrapping around */
        t->next_tag = TAG_FIRST_WATCH;
    }
    return t->next_tag++;
}

/* Empties a slot; the poll backend has forgotten it, or never will be asked. */
static void
watch_drop(struct watch_table *t, struct watch *w)
{
    struct watch gone = *w;
    *w = (struct watch){0};
    t->count--;
    Py_XDECREF(gone.reader);
    Py_XDECREF(gone.writer);
    Py_XDECREF(gone.file);
}

static int
watch_add(struct watch_table *t, struct poll *p, int fd, unsigned direction)
{
    uint32_t tag = watch_new_tag(t);
    int rc = poll_add(p, fd, direction, tag);
    if (rc == -EEXIST) { /* left behind by a loop that shares our poll's file */
        rc = poll_modify(p, fd, direction, tag);
    }
    if (rc < 0) {
        return watch_error(rc);
    }
    if (fd >= t->cap && watch_grow(t, fd) < 0) {
        (void)poll_remove(p, fd);
        return -1;
    }
    t->slots[fd] = (struct watch){.tag = tag};
    t->count++;
    return 0;
}

int
watch_set(struct watch_table *t, struct poll *p, int fd, PyObject *file,
          unsigned direction, PyObject *handle, PyObject **replaced)
{
    *replaced = NULL;
    struct watch *w;
    while ((w = watch_find(t, fd)) != NULL) {
        int rc = poll_modify(p, fd, w->mask | direction, w->tag);
        if (rc == 0) {
            break;
        }
        watch_drop(t, w);
        if (rc != -ENOENT) {
            return watch_error(rc);
        }
        /* Closed behind our back, and the number is in use again: whoever waited for
         * the old file waits for nothing. To drop it may have run Python code. */
    }
    if (w == NULL) {
        if (watch_add(t, p, fd, direction) < 0) {
            return -1;
        }
        w = &t->slots[fd];
        w->file = Py_XNewRef(file);
    }
    w->mask |= direction;
    PyObject **slot = direction == POLL_READ ? &w->reader : &w->writer;
    *replaced = *slot;
    *slot = Py_NewRef(handle);
    return 0;
}

int
watch_unset(struct watch_table *t, struct poll *p, int fd, unsigned direction,
            PyObject **removed)
{
    *removed = NULL;
    struct watch *w = watch_find(t, fd);
    if (w == NULL) {
        return 0;
    }
    PyObject **slot = direction == POLL_READ ? &w->reader : &w->writer;
    if ((w->mask & ~direction) == 0) {
        *removed = *slot;
        *slot = NULL;
        (void)poll_remove(p, fd); /* it may be closed already */
        watch_drop(t, w);
        return 0;
    }
    if (*slot == NULL) {
        return 0;
    }
    int rc = poll_modify(p, fd, w->mask & ~direction, w->tag);
    if (rc < 0) {
        watch_drop(t, w);
        return watch_error(rc);
    }
    w->mask &= ~direction;
    *removed = *slot;
    *slot = NULL;
    return 0;
}

int
watch_find_file(const struct watch_table *t, PyObject *file)
{
    for (int fd = 0; fd < t->cap; fd++) {
        if (t->slots[fd].mask && t->slots[fd].file == file) {
            return fd;
        }
    }
    return -1;
}

void
watch_register_all(struct watch_table *t, struct poll *p)
{
    for (int fd = 0; fd < t->cap; fd++) {
        struct watch *w = &t->slots[fd];
        if (w->mask && poll_add(p, fd, w->mask, w->tag) < 0) {
            watch_drop(t, w);
        }
    }
}

void
watch_clear(struct watch_table *t)
{
    struct watch_table gone = *t;
    *t = (struct watch_table){.next_tag = gone.next_tag};
    for (int fd = 0; fd < gone.cap; fd++) {
        Py_XDECREF(gone.slots[fd].reader);
        Py_XDECREF(gone.slots[fd].writer);
        Py_XDECREF(gone.slots[fd].file);
    }
    PyMem_Free(gone.slots);
}

int
watch_traverse(const struct watch_table *t, visitproc visit, void *arg)
{
    for (int fd = 0; fd < t->cap; fd++) {
        Py_VISIT(t->slots[fd].reader);
        Py_VISIT(t->slots[fd].writer);
        Py_VISIT(t->slots[fd].file);
    }
    return 0;
}
