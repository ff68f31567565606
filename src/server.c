/* server.c - see server.h: a listener accepts what a listening socket has to give.
 *
 * The watch table owns it, from listener_start() until _remove_reader() of its
 * descriptor, which is how asyncio ends serving and how a pause begins.
 *
 * A connection costs no Python object but its transport and what the protocol factory
 * makes. asyncio calls the factory in a task, in the next turn; here it is called at
 * once, in a context of the connection's own, as the task would have. */

#include "server.h"
#include "compat.h"
#include "handle.h"

#include <errno.h>
#include <unistd.h>

/* asyncio.constants.ACCEPT_RETRY_DELAY, seconds */
#define RETRY_DELAY 1
/* From 3.14 on asyncio takes one more, and goes on after an aborted connection. */
#define ACCEPT_MORE (PY_VERSION_HEX >= 0x030E0000)

typedef struct {
    PyObject_HEAD
    struct source source;
    core_state *st;
    PyObject *loop;         /* strong */
    PyObject *factory;      /* strong */
    PyObject *sock;         /* strong: it owns the descriptor */
    PyObject *server;       /* strong or NULL */
    PyObject *tls;          /* strong tuple or NULL: see listener_args */
    PyObject *context;      /* strong or NULL: as given, from 3.15 on */
    PyObject *base_context; /* strong: connections begin with copies of it */
    PyObject *retry;        /* strong tuple */
    long backlog;
    int family;
    int proto;
} Listener;

static int
Listener_traverse(PyObject *op, visitproc visit, void *arg)
{
    Listener *self = (Listener *)op;
    Py_VISIT(Py_TYPE(op));
    Py_VISIT(self->loop);
    Py_VISIT(self->factory);
    Py_VISIT(self->sock);
    Py_VISIT(self->server);
    Py_VISIT(self->tls);
    Py_VISIT(self->context);
    Py_VISIT(self->base_context);
    Py_VISIT(self->retry);
    return 0;
}

static void
listener_drop(Listener *self)
{
    if (self->loop != NULL) {
        source_forget(LOOP(self->loop), &self->source);
    }
    Py_CLEAR(self->loop);
    Py_CLEAR(self->factory);
    Py_CLEAR(self->sock);
    Py_CLEAR(self->server);
    Py_CLEAR(self->tls);
    Py_CLEAR(self->context);
    Py_CLEAR(self->base_context);
    Py_CLEAR(self->retry);
}

static int
Listener_clear(PyObject *op)
{
    Py_INCREF(op); /* the watch table's reference may be the last */
    listener_drop((Listener *)op);
    Py_DECREF(op);
    return 0;
}

static void
Listener_dealloc(PyObject *op)
{
    PyObject_GC_UnTrack(op);
    Listener *self = (Listener *)op;
    listener_drop(self);
    core_state *st = self->st;
    PyTypeObject *type = Py_TYPE(op);
    type->tp_free(op);
    Py_DECREF(type);
    st->live_listeners--;
    state_free_if_dead(st);
}

/* --- errors ------------------------------------------------------------------- */

/* Hands {'message': ..., 'exception': ..., ...} to the loop's handler. */
static int
listener_report_steal(Listener *self, PyObject *context, PyObject *exc)
{
    PyObject *outer = PyErr_GetHandledException();
    PyErr_SetHandledException(exc);
    PyObject *res = context == NULL
        ? NULL
        : PyObject_CallMethodOneArg(self->loop, self->st->str_call_exception_handler,
                                    context);
    PyErr_SetHandledException(outer);
    Py_XDECREF(outer);
    Py_XDECREF(context);
    Py_XDECREF(res);
    return res == NULL ? -1 : 0;
}

/* Out of descriptors or memory: the kernel would say so again at once. */
static int
listener_pause(Listener *self, PyObject *exc)
{
    PyObject *sock = PyObject_CallOneArg(self->st->TransportSocket, self->sock);
    if (sock == NULL
        || listener_report_steal(self,
                                 Py_BuildValue("{s:s,s:O,s:N}", "message",
                                               "socket.accept() out of system resource",
                                               "exception", exc, "socket", sock),
                                 exc)
            < 0) {
        return -1;
    }
    LoopObject *loop = LOOP(self->loop);
    if (!self->source.held) { /* it was ended meanwhile */
        return 0;
    }
    source_forget(loop, &self->source);
    PyObject *call_later = PyObject_GetAttrString(self->loop, "call_later");
    PyObject *start = call_later == NULL
        ? NULL
        : PyObject_GetAttrString(self->loop, "_start_serving");
    PyObject *head = start == NULL ? NULL : Py_BuildValue("(iO)", RETRY_DELAY, start);
    PyObject *args = head == NULL ? NULL : PySequence_Concat(head, self->retry);
    PyObject *res = args == NULL ? NULL : PyObject_CallObject(call_later, args);
    Py_XDECREF(args);
    Py_XDECREF(head);
    Py_XDECREF(start);
    Py_XDECREF(call_later);
    Py_XDECREF(res);
    return res == NULL ? -1 : 0;
}

/* accept() failed, and not for lack of connections: as asyncio's reader raises. */
static int
listener_accept_failed(Listener *self, int error)
{
    errno = error;
    PyErr_SetFromErrno(PyExc_OSError);
    PyObject *exc = PyErr_GetRaisedException();
    int rc;
    if (error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM) {
        rc = listener_pause(self, exc);
    }
    else {
        PyObject *callback = PyObject_GetAttrString(self->loop, "_accept_connection");
        PyObject *handle = callback == NULL
            ? NULL
            : handle_new(self->st, HANDLE_PLAIN, self->loop, callback,
                         &PyTuple_GET_ITEM(self->retry, 0),
                         PyTuple_GET_SIZE(self->retry), self->base_context);
        Py_XDECREF(callback);
        rc = -1;
        if (handle != NULL) {
            PyErr_SetRaisedException(Py_NewRef(exc));
            rc = handle_report_error(handle);
            Py_DECREF(handle);
        }
    }
    Py_DECREF(exc);
    return rc;
}

/* No protocol, or no transport: asyncio says so in debug mode only. */
static int
listener_connection_failed(Listener *self, PyObject *protocol)
{
    if (transport_error_is_exit()) {
        return -1;
    }
    PyObject *exc = PyErr_GetRaisedException();
    int rc = loop_get_debug(self->st, self->loop);
    if (rc > 0) {
        const char *message = "Error on transport creation for incoming connection";
        rc = listener_report_steal(
            self,
            protocol == NULL
                ? Py_BuildValue("{s:s,s:O}", "message", message, "exception", exc)
                : Py_BuildValue("{s:s,s:O,s:O}", "message", message, "exception", exc,
                                "protocol", protocol),
            exc);
    }
    Py_DECREF(exc);
    return rc;
}

/* --- accepting ---------------------------------------------------------------- */

/* The protocol that the transport is to have: the application's own, or the one of TLS
 * over it. New reference. */
static PyObject *
listener_wrap(Listener *self, PyObject *protocol)
{
    if (self->tls == NULL) {
        return Py_NewRef(protocol);
    }
    PyObject *head = PyTuple_Pack(2, self->loop, protocol);
    PyObject *args = head == NULL ? NULL : PySequence_Concat(head, self->tls);
    PyObject *wrapped = args == NULL
        ? NULL
        : PyObject_CallObject(self->st->tls_protocol_type, args);
    Py_XDECREF(args);
    Py_XDECREF(head);
    return wrapped;
}

/* Takes the descriptor. In the connection's context. */
static int
listener_connect(Listener *self, int fd, const union addr *peer, socklen_t len,
                 PyObject *context)
{
    PyObject *protocol = PyObject_CallNoArgs(self->factory);
    if (protocol == NULL) {
        close(fd);
        return listener_connection_failed(self, NULL);
    }
    PyObject *wrapped = listener_wrap(self, protocol);
    if (wrapped == NULL) {
        close(fd);
        int rc = listener_connection_failed(self, protocol);
        Py_DECREF(protocol);
        return rc;
    }
    PyObject *transport = transport_new_accepted(self->st, self->loop, fd, self->family,
                                                 self->proto, peer, len);
    int rc = transport == NULL
            || (self->server != NULL
                && transport_attach_server(transport, self->server) < 0)
        ? -1
        : transport_start(transport, wrapped, self->context ? context : NULL, context,
                          NULL);
    if (rc < 0) {
        PyObject *exc = PyErr_GetRaisedException();
        if (transport != NULL) {
            transport_discard(transport);
        }
        PyErr_SetRaisedException(exc);
        rc = listener_connection_failed(self, protocol);
    }
    Py_XDECREF(transport);
    Py_DECREF(wrapped);
    Py_DECREF(protocol);
    return rc;
}

static int
listener_accepted(Listener *self, int fd, const union addr *peer, socklen_t len)
{
    PyObject *context = PyContext_Copy(self->context ? self->context
                                                     : self->base_context);
    if (context == NULL || PyContext_Enter(context) < 0) {
        Py_XDECREF(context);
        close(fd);
        return listener_connection_failed(self, NULL);
    }
    int rc = listener_connect(self, fd, peer, len, context);
    if (PyContext_Exit(context) < 0) {
        rc = -1;
    }
    Py_DECREF(context);
    return rc;
}

static int
listener_run(LoopObject *loop, struct source *s, unsigned Py_UNUSED(mask))
{
    Listener *self = (Listener *)s->owner;
    for (long i = 0; i < self->backlog + ACCEPT_MORE; i++) {
        /* What a factory does may have ended it. */
        if (!s->held || loop->closed) {
            return 0;
        }
        union addr peer;
        socklen_t len = sizeof(peer);
        int fd, listener = s->fd;
        /* It blocks if somebody who shares the socket has made it so. */
        Py_BEGIN_ALLOW_THREADS
        fd = accept4(listener, &peer.any, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        Py_END_ALLOW_THREADS
        if (fd >= 0) {
            if (listener_accepted(self, fd, &peer, len) < 0) {
                return -1;
            }
            continue;
        }
        if (errno == EINTR) {
            if (PyErr_CheckSignals() < 0) {
                return -1;
            }
            continue;
        }
        if (ACCEPT_MORE && errno == ECONNABORTED) {
            continue;
        }
        if (errno == EAGAIN || errno == EWOULDBLOCK || errno == ECONNABORTED) {
            return 0;
        }
        return listener_accept_failed(self, errno);
    }
    return 0;
}

/* In debug mode asyncio's own code accepts, which logs. */
static PyObject *
listener_handle(LoopObject *loop, struct source *s, enum source_item Py_UNUSED(item),
                unsigned Py_UNUSED(mask))
{
    Listener *self = (Listener *)s->owner;
    PyObject *callback = PyObject_GetAttrString((PyObject *)loop, "_accept_connection");
    PyObject *handle = callback == NULL
        ? NULL
        : handle_new(loop->st, HANDLE_PLAIN, (PyObject *)loop, callback,
                     &PyTuple_GET_ITEM(self->retry, 0), PyTuple_GET_SIZE(self->retry),
                     self->base_context);
    Py_XDECREF(callback);
    return handle;
}

static const struct source_kind listener_kind = {
    .run = listener_run,
    .handle = listener_handle,
    .is_reader = true,
};

/* --- beginning ---------------------------------------------------------------- */

int
listener_can_serve(LoopObject *loop, PyObject *sock)
{
    int family, type;
    if ((PyObject *)Py_TYPE(sock) != loop->st->socket_type) {
        return 0;
    }
    if (addr_read_int(sock, "family", &family) < 0
        || addr_read_int(sock, "type", &type) < 0) {
        return -1;
    }
    return (family == AF_INET || family == AF_INET6 || family == AF_UNIX)
        && type == SOCK_STREAM;
}

int
listener_start(LoopObject *loop, const struct listener_args *args)
{
    core_state *st = loop->st;
    PyTypeObject *type = (PyTypeObject *)st->ListenerType;
    PyObject *op = type->tp_alloc(type, 0);
    if (op == NULL) {
        return -1;
    }
    Listener *self = (Listener *)op;
    self->st = st;
    st->live_listeners++;
    self->source = (struct source){.kind = &listener_kind, .owner = op, .fd = -1};
    self->factory = Py_NewRef(args->factory);
    self->sock = Py_NewRef(args->sock);
    self->server = args->server == Py_None ? NULL : Py_NewRef(args->server);
    self->context = args->context == Py_None ? NULL : Py_NewRef(args->context);
    self->tls = Py_XNewRef(args->tls);
    self->retry = Py_NewRef(args->retry);
    self->backlog = args->backlog;
    self->base_context = self->context ? Py_NewRef(self->context)
                                       : PyContext_CopyCurrent();
    self->loop = Py_NewRef(loop);
    int rc = self->base_context == NULL
        ? -1
        : addr_read_int(self->sock, "family", &self->family);
    if (rc == 0) {
        rc = addr_read_int(self->sock, "proto", &self->proto);
    }
    if (rc == 0) {
        int fd = PyObject_AsFileDescriptor(self->sock);
        rc = fd < 0 ? -1 : 0;
        self->source.fd = fd;
    }
    if (rc == 0) {
        rc = source_watch(loop, &self->source, POLL_READ);
    }
    Py_DECREF(op);
    return rc;
}

static PyType_Slot listener_slots[] = {
    {Py_tp_dealloc, Listener_dealloc},
    {Py_tp_traverse, Listener_traverse},
    {Py_tp_clear, Listener_clear},
    {0, NULL},
};

static PyType_Spec listener_spec = {
    .name = "evloop._core.Listener",
    .basicsize = sizeof(Listener),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC
        | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = listener_slots,
};

int
listener_setup_type(PyObject *module, core_state *st)
{
    st->ListenerType = PyType_FromModuleAndSpec(module, &listener_spec, NULL);
    return st->ListenerType == NULL ? -1 : 0;
}
