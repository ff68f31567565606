/* streamfeed.h - data for asyncio's own streams, without a Python frame.
 *
 * asyncio.open_connection() and start_server() give a transport a StreamReaderProtocol,
 * whose data_received() has its StreamReader's feed_data() append to a bytearray, and
 * wake who reads. Where both are exactly those classes, with nothing replaced in
 * class or instance, the same is done here, straight from the loop's buffer. */

#ifndef EVLOOP_STREAMFEED_H
#define EVLOOP_STREAMFEED_H

#include "state.h"

/* Keeps what asyncio's classes hold, if that is asyncio's own. */
int streamfeed_setup(core_state *st);

/* 1: the reader has the data. 0: nothing was done, data_received() is to be called. -1:
 * what data_received() would raise is being raised. The caller holds the protocol. */
int streamfeed_data(core_state *st, PyObject *protocol, const char *data,
                    Py_ssize_t size);

#endif
