/* server.h - accepting connections. */

#ifndef EVLOOP_SERVER_H
#define EVLOOP_SERVER_H

#include "transport.h"

/* Creates the type in the module's state. */
int listener_setup_type(PyObject *module, core_state *st);

/* What loop._start_serving() is called with; borrowed references. */
struct listener_args {
    PyObject *factory;
    PyObject *sock;    /* an exact socket.socket */
    PyObject *server;  /* or None */
    PyObject *tls; /* NULL, or what tls_protocol_type is called with besides loop and
                      protocol: a tuple */
    PyObject *context; /* a Context or None */
    PyObject *retry; /* the tuple of all arguments, to begin again after a pause */
    long backlog;
};

/* Whether that socket can be accepted from natively. -1 on error. */
int listener_can_serve(LoopObject *loop, PyObject *sock);
/* Begins to accept; the loop's watch table owns the listener. */
int listener_start(LoopObject *loop, const struct listener_args *args);

#endif
