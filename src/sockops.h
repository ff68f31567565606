/* sockops.h - the loop's operations on sockets: sock_recv() and its kin.
 *
 * Each call returns a SockCall, which behaves as the coroutine that asyncio returns:
 * nothing happens before it is first sent to. Then it tries the operation; if that
 * would block it waits by a future (sockwait.h), and tries again when woken. No other
 * thread, no callback, and in the end no watcher: what was received is never lost to a
 * cancellation, as it is in asyncio when both come in one turn.
 *
 * created -> running           [Call_am_send, throw, close]
 * running -> suspended         [call_wait, call_drive]  yielded a future
 * suspended -> running         [Call_am_send, throw, close]
 * running -> closed            with a result or an exception; it holds nothing then
 *
 * Only exact socket.socket objects, with their methods unpatched, on a loop that polls
 * natively, with nothing overridden that asyncio's coroutines would call. Everything
 * else is asyncio's own coroutine: at once, or, where it turns out on the way
 * (arguments to complain of, a socket that blocks, debug mode set since), as the
 * `inner` one, to which all is handed on.
 *
 * sockcall.c: the coroutine-like object. sockops.c: what each operation does. */

#ifndef EVLOOP_SOCKOPS_H
#define EVLOOP_SOCKOPS_H

#include "loop.h"
#include "sockwait.h"

enum sockop {
    SOCK_RECV,
    SOCK_RECV_INTO,
    SOCK_RECVFROM,
    SOCK_RECVFROM_INTO,
    SOCK_SENDALL,
    SOCK_SENDTO,
    SOCK_CONNECT,
    SOCK_ACCEPT,
    SOCK_OPS
};

enum sockcall_state { CALL_CREATED, CALL_RUNNING, CALL_SUSPENDED, CALL_CLOSED };

#define SOCKCALL_ARGS 2

typedef struct {
    PyObject_HEAD
    core_state *st;     /* see state.h: it outlives the object */
    PyObject *weakrefs; /* the list of weak references, or NULL */
    LoopObject *loop;   /* strong; NULL once closed */
    PyObject *sock;     /* strong; an exact socket.socket; NULL once closed */
    PyObject *args[SOCKCALL_ARGS]; /* strong or NULL: the others, as given */
    PyObject *inner;    /* strong or NULL; what is awaited in our stead */
    PyObject *future;   /* strong or NULL; what it waits for */
    struct sockwaiter waiter;
    Py_buffer view;  /* sock_sendall(): the data; view.obj NULL: not taken yet */
    Py_ssize_t sent; /* of it */
    uint8_t op;      /* enum sockop */
    uint8_t state;   /* enum sockcall_state */
    bool tried;      /* the first attempt has been made */
    bool resolving;  /* `inner` resolves an address; else its result is ours */
    bool resolved;
    bool connecting; /* connect() has begun */
} SockCall;

#define SOCKCALL(op) ((SockCall *)(op))

int sockcall_setup_type(PyObject *module, core_state *st);

/* A new call, with a reference to each. nargs: up to SOCKCALL_ARGS. */
PyObject *sockcall_new(LoopObject *loop, enum sockop op, PyObject *sock,
                       PyObject *const *args, Py_ssize_t nargs);

/* What an attempt comes to. */
enum sock_outcome {
    SOCK_FAILED, /* an exception is raised */
    SOCK_DONE,   /* with a result */
    SOCK_WAIT_READ,
    SOCK_WAIT_WRITE, /* it would block */
    SOCK_INNER,      /* `inner` has been set */
};

/* One attempt at the operation. */
enum sock_outcome sockop_attempt(SockCall *c, PyObject **result);
/* Goes on after the address has been resolved: 0, or -1 with an exception. */
int sockop_take_resolved(SockCall *c, PyObject *resolved);
/* The descriptor, which is -1 when closed; -2 with an exception on error. */
int sockop_fileno(SockCall *c);
extern const char *const sockop_names[SOCK_OPS];

/* The loop's methods. */
#define SOCK_METHODS(X)                                                                \
    X(sock_recv)                                                                       \
    X(sock_recv_into)                                                                  \
    X(sock_recvfrom)                                                                   \
    X(sock_recvfrom_into)                                                              \
    X(sock_sendall)                                                                    \
    X(sock_sendto)                                                                     \
    X(sock_connect)                                                                    \
    X(sock_accept)

#define DECLARE(name)                                                                  \
    PyObject *Loop_##name(PyObject *op, PyObject *const *args, Py_ssize_t nargs,       \
                          PyObject *kwnames);                                          \
    extern const char Loop_##name##_doc[];
SOCK_METHODS(DECLARE)
#undef DECLARE

#endif
