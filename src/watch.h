/* watch.h - who waits for which descriptor: add_reader() and its kin, and the native
 * sources of source.h.
 *
 * Handles are level-triggered. A slot is watched while something is registered for it
 * with the poll backend. Each such time has a tag of its own, by which an event of a
 * descriptor that was closed behind the loop's back is told from those of the next
 * descriptor of that number.
 *
 * idle -> watched    [watch_set, watch_apply]    registered with the poll backend
 * watched -> idle    [watch_unset, watch_apply, watch_drop, watch_clear]
 * Invariant: `mask` is the union of the handles' directions and the source's mask. */

#ifndef EVLOOP_WATCH_H
#define EVLOOP_WATCH_H

#include "base.h"
#include "poll.h"

/* Tags of the loop's own descriptors; watches begin above. */
enum { TAG_WAKE, TAG_SIGNAL, TAG_FIRST_WATCH };

struct source;

struct watch {
    PyObject *reader;      /* strong handle or NULL */
    PyObject *writer;      /* strong handle or NULL */
    PyObject *file;        /* strong; what was registered, if not an int; or NULL */
    struct source *source; /* borrowed, but see source.h; or NULL */
    uint32_t tag;
    unsigned mask; /* POLL_READ | POLL_WRITE; POLL_EDGE */
};

struct watch_table {
    struct watch *slots; /* by descriptor */
    int cap;
    int count; /* watched */
    uint32_t next_tag;
};

/* The slot of a descriptor, or NULL. Valid until another slot is made. */
static inline struct watch *
watch_slot(const struct watch_table *t, int fd)
{
    return fd >= 0 && fd < t->cap ? &t->slots[fd] : NULL;
}

/* The same if it is watched, or NULL. */
static inline struct watch *
watch_find(const struct watch_table *t, int fd)
{
    struct watch *w = watch_slot(t, fd);
    return w != NULL && w->mask ? w : NULL;
}

/* The same, made if need be; NULL with MemoryError, or OSError for no descriptor. */
struct watch *watch_slot_new(struct watch_table *t, int fd);

/* Sets the handle for one direction (POLL_READ or POLL_WRITE). The one that it
 * replaces, or NULL, comes back in `*replaced`: a strong reference. `file` may be
 * NULL. OSError if the descriptor cannot be watched. */
int watch_set(struct watch_table *t, struct poll *p, int fd, PyObject *file,
              unsigned direction, PyObject *handle, PyObject **replaced);
/* Takes the handle of one direction out, into `*removed` (strong, or NULL). */
int watch_unset(struct watch_table *t, struct poll *p, int fd, unsigned direction,
                PyObject **removed);
/* Registers what the handles and the source of a slot ask for. Returns 0, or -errno
 * (then nothing is registered, and the handles are gone). */
int watch_apply(struct watch_table *t, struct poll *p, int fd);
/* The same for what asks for less, without a word to the poll backend. */
void watch_note(struct watch_table *t, int fd);
/* The descriptor under which a file object was registered, or -1: it may have
 * been closed since, and not know its number any more. */
int watch_find_file(const struct watch_table *t, PyObject *file);
/* Registers all with a fresh poll; what cannot be registered is dropped. */
void watch_register_all(struct watch_table *t, struct poll *p);
/* Empties the table without a word to the poll backend: sources want nothing. */
void watch_clear(struct watch_table *t);
int watch_traverse(const struct watch_table *t, visitproc visit, void *arg);

#endif
