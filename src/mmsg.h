/* mmsg.h - datagrams in batches: a loop's buffers for receiving several with one system
 * call, and the addresses it has met, as Python shows them and as the kernel takes
 * them.
 *
 * A loop has one, made when its first datagram comes, and frees it when it ends. What
 * was received is copied out before anybody sees it, so nested use does no harm. */

#ifndef EVLOOP_MMSG_H
#define EVLOOP_MMSG_H

#include "addr.h"

/* Datagrams received with one call, at most. */
#define MMSG_BATCH HARD_OR(2, 16)

struct mmsg;

struct datagram {
    PyObject *data; /* strong, exact bytes */
    PyObject *addr; /* strong, as socket.recvfrom() gives it */
};

/* NULL with MemoryError. */
struct mmsg *mmsg_new(void);
/* NULL is nothing. Runs no Python code. */
void mmsg_free(struct mmsg *m);

/* Receives from a non-blocking socket; returns how many, 0 if there is nothing, -1 with
 * an exception. */
int mmsg_recv(struct mmsg *m, int fd, sa_family_t family, struct datagram *got);

/* The address as the kernel takes it, good until the next call; NULL (without an
 * exception) if it is no tuple of a numeric host and numbers: that is for the socket
 * module to see to. */
const union addr_inet *mmsg_address(struct mmsg *m, sa_family_t family, PyObject *addr);

static inline socklen_t
addr_inet_len(sa_family_t family)
{
    return family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
}

#endif
