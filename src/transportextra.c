/* transportextra.c - get_extra_info(): the socket object and the addresses.
 *
 * Nothing is made before somebody asks. What was asked for is kept in `extra`, so that
 * it is the same object each time. Addresses are asked of the kernel while the
 * descriptor is open, and noted when it is closed. */

#include "transport.h"
#include "compat.h"

#include <errno.h>
#include <string.h>

/* socket.socket(family, type, proto, fileno=fd); fd -1: one that is closed already. */
static PyObject *
make_socket(TransportData *t, int fd)
{
    PyObject *sock = fd >= 0 ? PyObject_CallFunction(t->st->socket_type, "iiii",
                                                     t->family, t->type, t->proto, fd)
                             : PyObject_CallFunction(t->st->socket_type, "iii",
                                                     t->family, t->type, t->proto);
    PyObject *res = sock == NULL ? NULL
        : fd >= 0                ? PyObject_CallMethod(sock, "setblocking", "i", 0)
                                 : PyObject_CallMethod(sock, "close", NULL);
    if (res == NULL) {
        PyObject *exc = PyErr_GetRaisedException();
        if (sock != NULL && fd >= 0) { /* the descriptor stays ours */
            Py_XDECREF(PyObject_CallMethod(sock, "detach", NULL));
            PyErr_Clear();
        }
        PyErr_SetRaisedException(exc);
        Py_CLEAR(sock);
    }
    Py_XDECREF(res);
    return sock;
}

PyObject *
transport_file(PyObject *op)
{
    TransportData *t = TRANSPORT(op);
    if (t->file == NULL) {
        PyObject *sock = make_socket(t, t->source.fd);
        if (sock == NULL) {
            return NULL;
        }
        Py_XSETREF(t->file, sock);
    }
    return t->file;
}

/* asyncio.trsock.TransportSocket(sock) */
static PyObject *
make_transport_socket(PyObject *op)
{
    PyObject *sock = transport_file(op);
    return sock == NULL ? NULL
                        : PyObject_CallOneArg(TRANSPORT(op)->st->TransportSocket, sock);
}

/* None where the kernel knows no address. */
static PyObject *
ask_address(TransportData *t, int (*ask)(int, struct sockaddr *, socklen_t *))
{
    union addr addr;
    socklen_t len = sizeof(addr);
    if (t->source.fd < 0 || ask(transport_fd(t), &addr.any, &len) < 0) {
        Py_RETURN_NONE;
    }
    PyObject *name = addr_to_object(&addr.any, len);
    if (name == NULL && !PyErr_Occurred()) { /* a family that only Python knows */
        PyObject *sock = transport_file((PyObject *)t->source.owner);
        name = sock == NULL
            ? NULL
            : PyObject_CallMethod(
                  sock, ask == getpeername ? "getpeername" : "getsockname", NULL);
    }
    return name;
}

static PyObject *
address_of(TransportData *t, const union addr_inet *known,
           int (*ask)(int, struct sockaddr *, socklen_t *))
{
    return known->any.sa_family != AF_UNSPEC
        ? addr_to_object(&known->any, sizeof(*known))
        : ask_address(t, ask);
}

static PyObject *
make_sockname(PyObject *op)
{
    TransportData *t = TRANSPORT(op);
    static const union addr_inet unknown;
    return address_of(t, t->rare != NULL ? &t->rare->local : &unknown, getsockname);
}

static PyObject *
make_peername(PyObject *op)
{
    TransportData *t = TRANSPORT(op);
    return t->peername != NULL ? Py_NewRef(t->peername)
                               : address_of(t, &t->peer, getpeername);
}

/* extra[name] as it is, or made now; NULL without an exception: no such name. */
static PyObject *
lookup(PyObject *op, PyObject *name)
{
    TransportData *t = TRANSPORT(op);
    if (t->extra != NULL) {
        PyObject *value = PyDict_GetItemWithError(t->extra, name);
        if (value != NULL || PyErr_Occurred()) {
            return Py_XNewRef(value);
        }
    }
    if (!PyUnicode_Check(name) || t->family == AF_UNSPEC) {
        return NULL;
    }
    PyObject *(*make)(PyObject *) = PyUnicode_CompareWithASCIIString(name, "peername")
            == 0
        ? make_peername
        : PyUnicode_CompareWithASCIIString(name, "socket") == 0 ? make_transport_socket
        : PyUnicode_CompareWithASCIIString(name, "sockname") == 0 ? make_sockname
                                                                  : NULL;
    PyObject *value = make == NULL ? NULL : make(op);
    if (value == NULL) {
        return NULL;
    }
    if (t->extra == NULL) {
        t->extra = PyDict_New();
    }
    if (t->extra == NULL || PyDict_SetItem(t->extra, name, value) < 0) {
        Py_CLEAR(value);
    }
    return value;
}

PyObject *
transport_extra_info(PyObject *op, PyObject *name, PyObject *fallback)
{
    if (!PyUnicode_CheckExact(name) && PyObject_Hash(name) == -1) {
        return NULL;
    }
    PyObject *value = lookup(op, name);
    return value == NULL && !PyErr_Occurred() ? Py_NewRef(fallback) : value;
}

PyObject *
transport_extra(PyObject *op)
{
    TransportData *t = TRANSPORT(op);
    if (t->extra == NULL) {
        t->extra = PyDict_New();
    }
    const char *names[] = {"socket", "sockname", "peername"};
    for (int i = 0; t->extra != NULL && t->family != AF_UNSPEC && i < 3; i++) {
        PyObject *name = PyUnicode_FromString(names[i]);
        PyObject *value = name == NULL ? NULL : lookup(op, name);
        Py_XDECREF(name);
        if (value == NULL) {
            return NULL;
        }
        Py_DECREF(value);
    }
    return t->extra;
}

/* A name that Python code has not seen yet would be lost with the descriptor. */
static void
note_unix_name(PyObject *op)
{
    PyObject *name = PyUnicode_FromString("sockname");
    PyObject *value = name == NULL ? NULL : lookup(op, name);
    Py_XDECREF(name);
    Py_XDECREF(value);
    if (value == NULL) {
        PyErr_Clear();
    }
}

void
transport_extra_before_close(PyObject *op)
{
    TransportData *t = TRANSPORT(op);
    if (t->source.fd < 0 || t->family == AF_UNSPEC) {
        return;
    }
    if (t->family != AF_INET && t->family != AF_INET6) {
        PyObject *exc = PyErr_GetRaisedException();
        note_unix_name(op);
        PyErr_SetRaisedException(exc);
        return;
    }
    union addr addr;
    socklen_t len = sizeof(addr);
    if (getsockname(transport_fd(t), &addr.any, &len) == 0
        && (addr.any.sa_family == AF_INET || addr.any.sa_family == AF_INET6)) {
        PyObject *exc = PyErr_GetRaisedException();
        struct transport_rare *rare = transport_rare(t);
        if (rare != NULL) {
            memcpy(&rare->local, &addr, sizeof(rare->local));
        }
        PyErr_SetRaisedException(exc); /* without memory it is not known later */
    }
}

int
transport_note_socket(PyObject *op)
{
    TransportData *t = TRANSPORT(op);
    int family, type, proto;
    if (addr_read_int(t->file, "family", &family) < 0
        || addr_read_int(t->file, "type", &type) < 0
        || addr_read_int(t->file, "proto", &proto) < 0) {
        return -1;
    }
    t->family = (sa_family_t)family;
    t->type = (uint8_t)type;
    t->proto = (uint16_t)proto;
    if (t->extra != NULL) {
        PyObject *given = PyDict_GetItemString(t->extra, "peername");
        if (given != NULL) {
            t->peername = Py_NewRef(given);
            return 0;
        }
    }
    union addr addr;
    socklen_t len = sizeof(addr);
    if ((family == AF_INET || family == AF_INET6)
        && getpeername(t->source.fd, &addr.any, &len) == 0) {
        memcpy(&t->peer, &addr, sizeof(t->peer));
        return 0;
    }
    t->peername = ask_address(t, getpeername);
    return t->peername == NULL ? -1 : 0;
}
