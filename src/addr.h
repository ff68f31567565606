/* addr.h - socket addresses as Python's socket module shows them. */

#ifndef EVLOOP_ADDR_H
#define EVLOOP_ADDR_H

#include "base.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

/* Room for any address that addr_to_object() knows. */
union addr {
    struct sockaddr any;
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
    struct sockaddr_un un;
};

/* An internet address, kept small; family AF_UNSPEC: none. */
union addr_inet {
    struct sockaddr any;
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
};

/* AF_INET: (host, port); AF_INET6: (host, port, flowinfo, scope_id); AF_UNIX: a str, or
 * bytes for an abstract name; None for no address. New reference; NULL with an
 * exception for lack of memory, and without one for a family that is none of these. */
PyObject *addr_to_object(const struct sockaddr *addr, socklen_t len);

/* An int that a socket object has as an attribute: family, type, proto... */
int addr_read_int(PyObject *sock, const char *name, int *value);

#endif
