/* watch.h - who waits for which descriptor: add_reader() and its kin.
 *
 * Level-triggered. A slot is in use while it has a reader or a writer. Each use has
 * a tag of its own, by which an event of a descriptor that was closed behind the
 * loop's back is told from those of the next descriptor of that number.
 *
 * free -> used    [watch_set]    registered with the poll backend
 * used -> free    [watch_unset, watch_drop, watch_clear]
 * Invariant: mask says exactly which of reader and writer are not NULL. */

#ifndef EVLOOP_WATCH_H
#define EVLOOP_WATCH_H

#include "base.h"
#include "poll.h"

/* Tags of the loop's own descriptors; watches begin above. */
enum { TAG_WAKE, TAG_SIGNAL, TAG_FIRST_WATCH };

struct watch {
    PyObject *reader;     /* strong handle or NULL */
    PyObject *writer;     /* strong handle or NULL */
    PyObject *file;       /* strong; what was registered, if not an int; or NULL */
    uint32_t tag;
    unsigned mask; /* POLL_READ | POLL_WRITE */
};

struct watch_table {
    struct watch *slots; /* by descriptor */
    int cap;
    int count; /* in use */
    uint32_t next_tag;
};

/* The slot of a descriptor in use, or NULL. Valid until the next watch_set(). */
static inline struct watch *
watch_find(const struct watch_table *t, int fd)
{
    return fd >= 0 && fd < t->cap && t->slots[fd].mask ? &t->slots[fd] : NULL;
}

/* Sets the handle for one direction (POLL_READ or POLL_WRITE). The one that it
 * replaces, or NULL, comes back in `*replaced`: a strong reference. `file` may be
 * NULL. OSError if the descriptor cannot be watched. */
int watch_set(struct watch_table *t, struct poll *p, int fd, PyObject *file,
              unsigned direction, PyObject *handle, PyObject **replaced);
/* Takes the handle of one direction out, into `*removed` (strong, or NULL). */
int watch_unset(struct watch_table *t, struct poll *p, int fd, unsigned direction,
                PyObject **removed);
/* The descriptor under which a file object was registered, or -1: it may have
 * been closed since, and not know its number any more. */
int watch_find_file(const struct watch_table *t, PyObject *file);
/* Registers all with a fresh poll; what cannot be registered is dropped. */
void watch_register_all(struct watch_table *t, struct poll *p);
/* Empties the table without a word to the poll backend. */
void watch_clear(struct watch_table *t);
int watch_traverse(const struct watch_table *t, visitproc visit, void *arg);

#endif
