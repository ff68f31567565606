/* stream.h - the two files of the stream transport. */

#ifndef EVLOOP_STREAM_H
#define EVLOOP_STREAM_H

#include "transport.h"

/* The descriptor is readable: reads once, for a Protocol or for a BufferedProtocol.
 * -1 with an exception that is to be reported, or must come out of the loop. */
int stream_read_data(PyObject *op);
int stream_read_buffer(PyObject *op);
/* The same for a protocol that is natively fed (st->feed). */
int stream_read_fed(PyObject *op);

/* write() of data that nobody holds for us: what is not sent at once is copied. */
int stream_send(PyObject *op, const char *data, Py_ssize_t size);

/* Whether what is written now may wait for the end of the turn. */
static inline bool
stream_may_cork(const LoopObject *loop)
{
    return loop->in_callback && loop->runner == PyThread_get_thread_ident();
}

/* Whether there is a connection still, after code has run that may have ended it. */
static inline bool
stream_is_live(const TransportData *t)
{
    return t->conn_lost == 0 && t->loop != NULL;
}

#endif
