/* transportstart.c - the beginning of a transport: connection_made(), then reading,
 * then the waiter; and how transports are made for sockets.
 *
 * asyncio schedules the three one by one. Here one item of the ready ring does all, in
 * the same order; what is left when one of them ends the loop is scheduled again. */

#include "compat.h"
#include "transport.h"

#include <netinet/tcp.h>
#include <unistd.h>

struct transport_rare *
transport_rare(TransportData *t)
{
    if (t->rare == NULL) {
        t->rare = PyMem_Calloc(1, sizeof(*t->rare));
        if (t->rare == NULL) {
            PyErr_NoMemory();
        }
    }
    return t->rare;
}

static int
transport_call_made(PyObject *op)
{
    TransportData *t = TRANSPORT(op);
    PyObject *made = t->rare != NULL ? t->rare->made : NULL;
    if (made == NULL || t->loop == NULL) { /* its end has been told already */
        return 0;
    }
    t->rare->made = NULL;
    PyObject *loop = Py_NewRef(t->loop);
    /* A copy of its own: what it sets in its context is not seen later. */
    PyObject *context = t->context_given ? Py_NewRef(t->read_context)
                                         : PyContext_Copy(t->read_context);
    PyObject *res = NULL;
    if (context != NULL && PyContext_Enter(context) == 0) {
        res = PyObject_CallOneArg(made, op);
        if (PyContext_Exit(context) < 0) {
            Py_CLEAR(res);
        }
    }
    int rc = 0;
    if (UNLIKELY(res == NULL)) {
        rc = transport_report_callback(op, loop, made, NULL, op);
    }
    Py_XDECREF(res);
    Py_XDECREF(context);
    Py_DECREF(made);
    Py_DECREF(loop);
    return rc;
}

int
transport_start_reading(PyObject *op)
{
    TransportData *t = TRANSPORT(op);
    return t->loop != NULL && transport_is_reading(t)
        ? transport_watch_reading(op, true)
        : 0;
}

/* Strong or NULL. */
static PyObject *
take_waiter(TransportData *t)
{
    PyObject *waiter = t->rare != NULL ? t->rare->waiter : NULL;
    if (waiter != NULL) {
        t->rare->waiter = NULL;
    }
    return waiter;
}

/* futures._set_result_unless_cancelled(waiter, None) */
static int
transport_tell_waiter(TransportData *t)
{
    PyObject *waiter = take_waiter(t);
    if (waiter == NULL) {
        return 0;
    }
    PyObject *res = PyObject_CallFunctionObjArgs(t->st->set_result_unless_cancelled,
                                                 waiter, Py_None, NULL);
    int rc = 0;
    if (res == NULL) {
        PyObject *op = t->source.owner;
        rc = transport_report_callback(op, t->loop ? t->loop : Py_None, t->st->futures,
                                       t->st->str__set_result_unless_cancelled, waiter);
    }
    Py_DECREF(waiter);
    Py_XDECREF(res);
    return rc;
}

/* Most have no use for it once they have begun. */
static void
transport_trim_rare(TransportData *t)
{
    struct transport_rare *rare = t->rare;
    if (rare != NULL && rare->made == NULL && rare->waiter == NULL
        && rare->empty_waiter == NULL && rare->local.any.sa_family == AF_UNSPEC) {
        t->rare = NULL;
        PyMem_Free(rare);
    }
}

/* The steps that asyncio schedules one by one. After an error that ends the loop the
 * rest follow when it runs again. */
int
transport_run_start(PyObject *op)
{
    TransportData *t = TRANSPORT(op);
    int rc = 0;
    if (t->start & START_MADE) {
        t->start &= (uint8_t)~START_MADE;
        rc = transport_call_made(op);
    }
    if (rc == 0 && t->start & START_READ) {
        t->start &= (uint8_t)~START_READ;
        PyObject *loop = Py_XNewRef(t->loop);
        if (transport_start_reading(op) < 0) {
            rc = transport_report_callback(op, loop, op, t->st->str__start_reading,
                                           Py_None);
        }
        Py_XDECREF(loop);
    }
    if (rc == 0 && t->start & START_WAITER) {
        t->start &= (uint8_t)~START_WAITER;
        rc = transport_tell_waiter(t);
    }
    if (t->start == 0) {
        transport_trim_rare(t);
    }
    if (rc < 0 && t->start != 0 && t->loop != NULL) {
        PyObject *exc = PyErr_GetRaisedException();
        if (source_soon(transport_loop(t), &t->source) < 0) {
            PyErr_Clear();
        }
        PyErr_SetRaisedException(exc);
    }
    return rc;
}

/* The same in handles of their own: debug mode, or an overridden call_soon(). */
static int
transport_start_by_handles(PyObject *op)
{
    TransportData *t = TRANSPORT(op);
    core_state *st = t->st;
    PyObject *made = t->rare->made;
    t->rare->made = NULL;
    t->start = 0;
    if (transport_call_soon_steal(t, made, op, NULL) < 0
        || transport_call_soon_steal(t, PyObject_GetAttr(op, st->str__start_reading),
                                     NULL, NULL)
            < 0) {
        return -1;
    }
    PyObject *waiter = take_waiter(t);
    int rc = waiter == NULL
        ? 0
        : transport_call_soon_steal(t, Py_NewRef(st->set_result_unless_cancelled),
                                    waiter, Py_None);
    Py_XDECREF(waiter);
    return rc;
}

int
transport_start(PyObject *op, PyObject *protocol, PyObject *context, PyObject *reading,
                PyObject *waiter)
{
    TransportData *t = TRANSPORT(op);
    assert(context == NULL || context == reading);
    t->context_given = context != NULL;
    t->read_context = Py_NewRef(reading);
    if (transport_rare(t) == NULL || transport_set_protocol(op, protocol) < 0) {
        return -1;
    }
    t->rare->made = PyObject_GetAttr(protocol, t->st->str_connection_made);
    if (t->rare->made == NULL) {
        return -1;
    }
    t->rare->waiter = Py_XNewRef(waiter);
    t->start = START_MADE | START_READ | (waiter ? START_WAITER : 0);
    LoopObject *loop = transport_loop(t);
    if (!loop_is_plain(loop)) {
        return transport_start_by_handles(op);
    }
    return source_soon(loop, &t->source);
}

/* base_events._set_nodelay(): small writes leave without waiting for an answer. */
static void
transport_set_nodelay(TransportData *t)
{
    if ((t->family == AF_INET || t->family == AF_INET6) && t->type == SOCK_STREAM
        && t->proto == IPPROTO_TCP) {
        int on = 1;
        (void)setsockopt(t->source.fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    }
}

int
transport_attach_server(PyObject *op, PyObject *server)
{
    TransportData *t = TRANSPORT(op);
    if (LIKELY(PyObject_TypeCheck(server, (PyTypeObject *)t->st->ServerType))) {
        t->server = Py_NewRef(server);
        clients_add(server, t);
        return 0;
    }
    PyObject *res = t->st->server_takes_transport
        ? PyObject_CallMethod(server, "_attach", "O", op)
        : PyObject_CallMethod(server, "_attach", NULL);
    if (res == NULL) {
        return -1;
    }
    Py_DECREF(res);
    t->server = Py_NewRef(server);
    return 0;
}

void
transport_discard(PyObject *op)
{
    TransportData *t = TRANSPORT(op);
    t->gone = t->closing = true;
    t->start = 0;
    transport_release_fd(t);
    transport_tell_server(op);
}

PyObject *
transport_new_accepted(core_state *st, PyObject *loop, int fd, int family, int proto,
                       const union addr *peer, socklen_t len)
{
    PyObject *op = transport_new(st, TRANSPORT_STREAM, loop, fd, NULL);
    if (op == NULL) {
        close(fd);
        return NULL;
    }
    TransportData *t = TRANSPORT(op);
    t->family = (sa_family_t)family;
    t->type = SOCK_STREAM;
    t->proto = (uint16_t)proto;
    if (family == AF_UNIX) {
        t->peername = addr_to_object(&peer->any, len);
        if (t->peername == NULL) {
            transport_discard(op);
            Py_DECREF(op);
            return NULL;
        }
    }
    else {
        memcpy(&t->peer, peer, sizeof(t->peer));
    }
    transport_set_nodelay(t);
    return op;
}

PyObject *
transport_new_for_socket(core_state *st, enum transport_kind kind, PyObject *loop,
                         PyObject *sock, PyObject *protocol, PyObject *waiter,
                         PyObject *extra, PyObject *server, PyObject *context)
{
    int fd = PyObject_AsFileDescriptor(sock);
    PyObject *reading = fd < 0 ? NULL
        : context != NULL      ? Py_NewRef(context)
                               : PyContext_CopyCurrent();
    PyObject *op = reading == NULL ? NULL : transport_new(st, kind, loop, fd, sock);
    if (op != NULL) {
        TransportData *t = TRANSPORT(op);
        t->extra = Py_XNewRef(extra);
        int rc = transport_note_socket(op);
        if (rc == 0 && server != NULL) {
            rc = transport_attach_server(op, server);
        }
        if (rc == 0) {
            transport_set_nodelay(t);
            rc = transport_start(op, protocol, context, reading, waiter);
        }
        if (rc < 0) {
            PyObject *exc = PyErr_GetRaisedException();
            transport_discard(op);
            Py_CLEAR(op);
            PyErr_SetRaisedException(exc);
        }
    }
    Py_XDECREF(reading);
    return op;
}
