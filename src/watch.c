/* watch.c - see watch.h. */

#include "watch.h"
#include "source.h"

#include <errno.h>
#include <fcntl.h>

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
    if (fcntl(fd, F_GETFD) < 0) { /* no table for a number out of the blue */
        return watch_error(-errno);
    }
    int cap = t->cap ? t->cap : CAP_MIN;
    while (cap <= fd) {
        if (cap > INT_MAX / 2) {
            cap = INT_MAX;
            break;
        }
        cap *= 2;
    }
    /* What is not used yet of a large block stays untouched, and takes no memory. */
    struct watch *slots = PyMem_Calloc((size_t)cap, sizeof(*slots));
    if (slots == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    if (t->cap > 0) {
        memcpy(slots, t->slots, (size_t)t->cap * sizeof(*slots));
    }
    PyMem_Free(t->slots);
    t->slots = slots;
    t->cap = cap;
    return 0;
}

struct watch *
watch_slot_new(struct watch_table *t, int fd)
{
    assert(fd >= 0);
    if (fd >= t->cap && watch_grow(t, fd) < 0) {
        return NULL;
    }
    return &t->slots[fd];
}

static uint32_t
watch_new_tag(struct watch_table *t)
{
    if (t->next_tag < TAG_FIRST_WATCH) { /* at first, and after wrapping around */
        t->next_tag = TAG_FIRST_WATCH;
    }
    return t->next_tag++;
}

/* What the slot's handles and its source ask for. Beside a handle, which makes it
 * level-triggered, an edge-triggered source is told only of what it waits for. */
static unsigned
watch_union(const struct watch *w)
{
    unsigned handles = (w->reader ? POLL_READ : 0) | (w->writer ? POLL_WRITE : 0);
    if (w->source == NULL) {
        return handles;
    }
    unsigned mask = w->source->mask;
    if (handles != 0 && mask & POLL_EDGE) {
        mask = w->source->wanted;
    }
    return handles | mask;
}

/* The slot is not registered any more, and nobody waits for the file that was. */
static void
watch_drop_handles(struct watch_table *t, struct watch *w)
{
    struct watch gone = *w;
    w->reader = w->writer = w->file = NULL;
    if (w->mask) {
        w->mask = 0;
        t->count--;
    }
    Py_XDECREF(gone.reader);
    Py_XDECREF(gone.writer);
    Py_XDECREF(gone.file);
}

/* The same for the source, too. Runs Python code, when the slot is empty. */
static void
watch_drop(struct watch_table *t, struct watch *w)
{
    struct source *s = w->source;
    PyObject *owner = NULL;
    if (s != NULL) {
        w->source = NULL;
        s->wanted = s->mask = 0;
        owner = s->held ? s->owner : NULL;
        s->held = false;
    }
    watch_drop_handles(t, w);
    Py_XDECREF(owner);
}

/* Has the poll backend look for `mask`, which is not 0. */
static int
watch_register(struct watch_table *t, struct poll *p, int fd, struct watch *w,
               unsigned mask)
{
    int rc;
    if (w->mask != 0) {
        rc = poll_modify(p, fd, mask, w->tag);
    }
    else {
        uint32_t tag = watch_new_tag(t);
        rc = poll_add(p, fd, mask, tag);
        if (rc == -EEXIST) { /* left behind by a loop that shares our poll's file */
            rc = poll_modify(p, fd, mask, tag);
        }
        if (rc == 0) {
            w->tag = tag;
            t->count++;
        }
    }
    if (rc == 0) {
        w->mask = mask;
    }
    return rc;
}

int
watch_apply(struct watch_table *t, struct poll *p, int fd)
{
    for (;;) {
        struct watch *w = &t->slots[fd];
        unsigned mask = watch_union(w);
        if (mask == 0) {
            if (w->mask != 0) {
                (void)poll_remove(p, fd); /* it may be closed already */
                watch_drop_handles(t, w);
            }
            return 0;
        }
        if (mask == w->mask && w->reader == NULL && w->writer == NULL) {
            return 0;
        }
        bool known = w->mask != 0;
        int rc = watch_register(t, p, fd, w, mask);
        if (rc == 0) {
            return 0;
        }
        watch_drop_handles(t, w);
        if (rc != -ENOENT || !known) {
            return rc;
        }
        /* Closed behind our back, and the number is in use again: whoever waited for
         * the old file waits for nothing. To drop it may have run Python code. */
    }
}

void
watch_note(struct watch_table *t, int fd)
{
    struct watch *w = watch_slot(t, fd);
    if (w == NULL || w->mask == 0) {
        return;
    }
    w->mask = watch_union(w);
    if (w->mask == 0) {
        t->count--;
    }
}

int
watch_set(struct watch_table *t, struct poll *p, int fd, PyObject *file,
          unsigned direction, PyObject *handle, PyObject **replaced)
{
    *replaced = NULL;
    struct watch *w = watch_slot_new(t, fd);
    if (w == NULL) {
        return -1;
    }
    for (;;) {
        bool known = w->mask != 0;
        int rc = watch_register(t, p, fd, w, (watch_union(w) | direction) & ~POLL_EDGE);
        if (rc == 0) {
            break;
        }
        watch_drop(t, w);
        if (rc != -ENOENT || !known) {
            return watch_error(rc);
        }
        w = &t->slots[fd]; /* as above */
    }
    if (w->file == NULL) {
        w->file = Py_XNewRef(file);
    }
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
    *removed = *slot;
    *slot = NULL;
    unsigned mask = watch_union(w);
    if (mask == 0) {
        (void)poll_remove(p, fd); /* it may be closed already */
        watch_drop_handles(t, w);
        return 0;
    }
    if (*removed == NULL) {
        return 0;
    }
    int rc = mask == w->mask ? 0 : watch_register(t, p, fd, w, mask);
    if (rc < 0) {
        PyObject *gone = *removed;
        *removed = NULL;
        watch_drop(t, w);
        Py_XDECREF(gone);
        return watch_error(rc);
    }
    if (w->reader == NULL && w->writer == NULL) { /* what is left is a source's */
        PyObject *file = w->file;
        w->file = NULL;
        Py_XDECREF(file);
    }
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
    /* What this runs finds the table as it is, and may take other sources out. */
    for (int fd = 0; fd < t->cap; fd++) {
        watch_drop(t, &t->slots[fd]);
    }
    struct watch_table gone = *t;
    *t = (struct watch_table){.next_tag = gone.next_tag};
    PyMem_Free(gone.slots);
}

int
watch_traverse(const struct watch_table *t, visitproc visit, void *arg)
{
    for (int fd = 0; fd < t->cap; fd++) {
        Py_VISIT(t->slots[fd].reader);
        Py_VISIT(t->slots[fd].writer);
        Py_VISIT(t->slots[fd].file);
        struct source *s = t->slots[fd].source;
        if (s != NULL && s->held) {
            Py_VISIT(s->owner);
        }
    }
    return 0;
}
