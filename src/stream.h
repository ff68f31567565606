/* stream.h - the two files of the stream transport. */

#ifndef EVLOOP_STREAM_H
#define EVLOOP_STREAM_H

#include "transport.h"

/* The descriptor is readable: reads once, for a Protocol or for a BufferedProtocol.
 * -1 with an exception that is to be reported, or must come out of the loop. */
int stream_read_data(PyObject *op);
int stream_read_buffer(PyObject *op);

#endif
