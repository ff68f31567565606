/* sockwait.h - waiting for a socket: to become readable, or writable.
 *
 * A descriptor that an operation waits for gets a port: the one source of its slot
 * (source.h), edge-triggered. The port stays when the operation ends, so that the next
 * one waits without a system call; an event that nobody waits for is let pass. So who
 * waits must have found that the call would block, since the port was told last: try
 * first, then wait, and try again when woken.
 *
 * Several operations may wait for one descriptor. An event wakes them all, in order;
 * whom the others leave nothing waits again. (asyncio's earlier one is never woken.) A
 * reader or writer that is added meanwhile by add_reader() or add_writer() takes the
 * events, until it is removed; one that is there already is cancelled by the wait, as
 * asyncio does.
 *
 * A port knows its socket object, by a weak reference. When an operation on another
 * object waits for the same number, the file may be another one: the port is
 * registered anew, for the new object. Operations of the old one stay, and find when
 * woken that their socket is closed. What neither we nor the kernel can tell is a file
 * put in the place of another under one and the same socket object, as by os.dup2():
 * waiting for that one does not end. Nor can we tell an option set after the first wait
 * that lets reads of TCP end short of what is there, or data come without an event: a
 * low-water mark (SO_RCVLOWAT) or an upper layer (TCP_ULP, as of TLS). What it keeps
 * back is read when more comes.
 *
 * Who owns what: the table of watches owns the port, the port the futures of those who
 * wait, and so the tasks that wait for these. The waiters lie in the operations and are
 * taken out of the list before they die. A port that loses its descriptor to a
 * transport dies, and its waiters wait for nothing, as in asyncio. */

#ifndef EVLOOP_SOCKWAIT_H
#define EVLOOP_SOCKWAIT_H

#include "source.h"

struct sockwaiter {
    struct sockwaiter *next;
    struct sockwaiter **link; /* what points to this one; NULL: it waits for nothing */
    /* Valid while it waits: */
    PyObject *future; /* strong, the port's */
    struct source *source; /* of the port */
};

int sockwait_setup_type(PyObject *module, core_state *st);

/* Waits until `fd`, the descriptor of that socket object, may be ready for `direction`
 * (POLL_READ or POLL_WRITE). Returns a pending future, which gets None then. */
PyObject *sockwait_begin(LoopObject *loop, PyObject *sock, int fd, unsigned direction,
                         struct sockwaiter *w);
/* Ends the wait, if it lasts still. */
void sockwait_end(struct sockwaiter *w);

/* Notes that a read has brought less than it asked for. */
void sockwait_note_short_read(LoopObject *loop, PyObject *sock, int fd);
/* Whether to read would block, as far as is known without asking the kernel: a short
 * read of a TCP socket has emptied it, and what came later made an event. It is not
 * known once the end, an error or urgent data have been seen. */
bool sockwait_is_drained(LoopObject *loop, PyObject *sock, int fd);

#endif
