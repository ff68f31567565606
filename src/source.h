/* source.h - a native watcher of one descriptor, embedded in whatever owns it: a
 * transport, a server's socket, a socket that an operation waits for.
 *
 * A descriptor's slot in the watch table holds at most one source, beside the handles
 * of add_reader() and add_writer(). A handle takes the events of its direction; the
 * source gets the others.
 *
 * What a source wants is what it is to be told of; what is registered (`mask`) may be
 * more: that reading is not wanted any more costs no system call until there is
 * something to read. An event that nobody wants puts the registration right.
 *
 * idle -> watched  [source_watch]         the table holds a reference to the owner
 * watched -> idle  [source_watch(0), source_forget, the loop's end, another source
 *                   on the same descriptor: the file was closed behind our back]
 * The owner calls source_forget() before it closes the descriptor or dies.
 *
 * On the ready ring a source stands as a pointer to it with its low bits set, which
 * owns a reference to the owner too:
 * ITEM_EVENTS  at most once (`queued`): run() with the events that came since
 * ITEM_SOON    as often as source_soon() was called: soon()
 * Data that were written wait in the loop's list of sources to flush (`flushing`, with
 * a reference) until the end of the turn, or in a long turn until loop.c lets others
 * in: flush(). Then what many callbacks have written leaves at once: the peer is woken
 * once, and answers while we wait, instead of once for each while Python runs. */

#ifndef EVLOOP_SOURCE_H
#define EVLOOP_SOURCE_H

#include "loop.h"

enum source_item { ITEM_EVENTS = 1, ITEM_SOON = 2, ITEM_MASK = 3 };

/* What an owner does. All but event() may run Python code; -1: the exception must come
 * out of the loop. The caller holds a reference to the owner. */
struct source_kind {
    /* An event, while the loop polls: runs no Python code, fails for lack of memory
     * only. NULL: source_queue(). Edge-triggered sources are told also of what they do
     * not want now. */
    int (*event)(LoopObject *loop, struct source *s, unsigned mask);
    int (*run)(LoopObject *loop, struct source *s, unsigned mask);
    int (*soon)(LoopObject *loop, struct source *s);
    int (*flush)(LoopObject *loop, struct source *s);
    /* A handle that does the same as that item, for debug mode and for Python's view of
     * the ring; new reference. */
    PyObject *(*handle)(LoopObject *loop, struct source *s, enum source_item item,
                        unsigned mask);
    /* The owner is a transport: nobody else may watch its descriptor, unless `hidden`.
     */
    bool is_transport;
    /* In Python's eyes it is a reader, for _remove_reader() to remove. */
    bool is_reader;
};

struct source {
    const struct source_kind *kind;
    PyObject *owner; /* borrowed: what the struct lies in */
    struct source *next_flush;
    unsigned flush_forks; /* sys_fork_count() of what is to be flushed */
    int fd;
    uint8_t wanted; /* POLL_READ | POLL_WRITE */
    uint8_t mask; /* registered: what is wanted or more; POLL_EDGE */
    uint8_t pending; /* events to run */
    bool held; /* the watch table has a reference */
    bool queued; /* as ITEM_EVENTS */
    bool flushing;
    bool hidden; /* see source_kind */
};

static inline struct source *
source_of_item(void *item)
{
    return (struct source *)((uintptr_t)item & ~(uintptr_t)ITEM_MASK);
}

static inline enum source_item
source_item_kind(void *item)
{
    return (enum source_item)((uintptr_t)item & ITEM_MASK);
}

/* Makes it the source of its descriptor, without wanting anything yet. */
int source_attach(LoopObject *loop, struct source *s);
/* Sets what is wanted: 0 nothing; with POLL_EDGE edge-triggered. The caller holds a
 * reference to the owner. OSError, or RuntimeError on a closed loop: -1. */
int source_watch(LoopObject *loop, struct source *s, unsigned wanted);
/* Nothing is wanted, and the slot is free for others. Never fails. */
void source_forget(LoopObject *loop, struct source *s);
/* An event, from the poll. */
int source_event(LoopObject *loop, struct source *s, unsigned mask);

/* Puts it on the ready ring: run() with these events. */
int source_queue(LoopObject *loop, struct source *s, unsigned mask);
int source_soon(LoopObject *loop, struct source *s);
/* Has flush() called at the end of the turn that runs. */
void source_flush_soon(LoopObject *loop, struct source *s);
/* Calls flush() for all that ask for it. -1: as run(); the rest are flushed, too. */
int source_flush_all(LoopObject *loop);

/* Runs what stood on the ring; takes the ring's reference. */
int source_run_item_steal(LoopObject *loop, void *item);
/* Takes an item off the ring's hands without running it. */
void source_drop_item(void *item);
/* The handle for an item that leaves the ring for it; NULL with an exception. */
PyObject *source_item_as_handle(LoopObject *loop, void *item);

/* The source whose owner is a transport on that descriptor, hidden or not; or NULL. */
struct source *source_transport_of_fd(LoopObject *loop, int fd);

#endif
