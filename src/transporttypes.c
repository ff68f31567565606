/* transporttypes.c - creates the types of transports. */

#include "compat.h"
#include "transport.h"

#include <structmember.h>

static const struct {
    const char *name;
    PyType_Slot *slots;
    size_t size;
} kinds[TRANSPORT_KINDS] = {
    [TRANSPORT_STREAM] = {"evloop.StreamTransport", stream_slots,
                          sizeof(TransportData)},
    [TRANSPORT_DATAGRAM] = {"evloop.DatagramTransport", datagram_slots,
                            sizeof(DatagramData)},
    [TRANSPORT_READ_PIPE] = {"evloop.ReadPipeTransport", read_pipe_slots,
                             sizeof(TransportData)},
    [TRANSPORT_WRITE_PIPE] = {"evloop.WritePipeTransport", write_pipe_slots,
                              sizeof(TransportData)},
};

/* Our struct lies behind the largest base, so that one offset serves all kinds. */
static int
transport_find_offset(PyObject *const *bases)
{
    Py_ssize_t offset = 0, align = (Py_ssize_t) _Alignof(TransportData);
    for (int kind = 0; kind < TRANSPORT_KINDS; kind++) {
        if (bases[kind] == NULL) {
            continue;
        }
        Py_ssize_t size = ((PyTypeObject *)bases[kind])->tp_basicsize;
        size = (size + align - 1) & ~(align - 1);
        offset = size > offset ? size : offset;
    }
    if (transport_offset != 0 && transport_offset != offset) {
        PyErr_SetString(PyExc_ImportError,
                        "asyncio's transports differ between two interpreters");
        return -1;
    }
    if (transport_offset == 0) {
        transport_offset = offset;
    }
    return 0;
}

static PyObject *
transport_make_type(PyObject *module, int kind, PyObject *bases)
{
    Py_ssize_t weaklist = transport_offset
        + (Py_ssize_t)offsetof(TransportData, weaklist);
    Py_ssize_t dict = transport_offset + (Py_ssize_t)offsetof(TransportData, dict);
    PyMemberDef members[] = {
        {"__weaklistoffset__", T_PYSSIZET, weaklist, READONLY, NULL},
        {"__dictoffset__", T_PYSSIZET, dict, READONLY, NULL},
        {NULL, 0, 0, 0, NULL},
    };
    PyType_Slot slots[16];
    int n = 0;
    for (; kinds[kind].slots[n].slot != 0; n++) {
        slots[n] = kinds[kind].slots[n];
    }
    slots[n++] = (PyType_Slot){Py_tp_members, members};
    slots[n] = (PyType_Slot){0, NULL};
    PyType_Spec spec = {
        .name = kinds[kind].name,
        .basicsize = (int)(transport_offset + (Py_ssize_t)kinds[kind].size),
        .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC
            | Py_TPFLAGS_DISALLOW_INSTANTIATION,
        .slots = slots,
    };
    return PyType_FromModuleAndSpec(module, &spec, bases);
}

/* What asyncio's class says of itself to start_tls() and sendfile(), and the like. */
static int
transport_copy_attributes(PyObject *type, PyObject *model)
{
    static const char *const names[] = {"_start_tls_compatible", "_sendfile_compatible",
                                        "max_size", NULL};
    for (int i = 0; names[i] != NULL; i++) {
        PyObject *value = PyObject_GetAttrString(model, names[i]);
        if (value == NULL && PyErr_ExceptionMatches(PyExc_AttributeError)) {
            PyErr_Clear(); /* not every class has every one */
            continue;
        }
        if (value == NULL || PyObject_SetAttrString(type, names[i], value) < 0) {
            Py_XDECREF(value);
            return -1;
        }
        Py_DECREF(value);
    }
    return 0;
}

/* asyncio's Server._attach(self, transport), or (self) only. */
static int
transport_inspect_server(core_state *st)
{
    PyObject *server = PyObject_GetAttrString(st->base_events, "Server");
    PyObject *attach = server == NULL ? NULL
                                      : PyObject_GetAttrString(server, "_attach");
    PyObject *code = attach == NULL ? NULL : PyObject_GetAttrString(attach, "__code__");
    Py_XDECREF(server);
    Py_XDECREF(attach);
    if (code == NULL) {
        return -1;
    }
    st->server_takes_transport = PyCode_Check(code)
        && ((PyCodeObject *)code)->co_argcount == 2;
    Py_DECREF(code);
    return 0;
}

/* A socket object begins with its descriptor; one that is not initialised has none, and
 * a new one the number that it gives. */
static int
transport_inspect_socket(core_state *st)
{
    Py_ssize_t offset = sizeof(PyObject);
    PyTypeObject *type = (PyTypeObject *)st->socket_type;
    if (type->tp_basicsize < offset + (Py_ssize_t)sizeof(int)) {
        return 0;
    }
    PyObject *blank = type->tp_new(type, st->empty_tuple, NULL);
    bool known = blank != NULL && *(int *)((char *)blank + offset) == -1;
    Py_XDECREF(blank);
    PyObject *sock = known ? PyObject_CallNoArgs(st->socket_type) : NULL;
    if (sock != NULL) {
        int fd = PyObject_AsFileDescriptor(sock);
        if (fd >= 0 && *(int *)((char *)sock + offset) == fd) {
            st->socket_fd_offset = offset;
        }
        PyObject *res = PyObject_CallMethod(sock, "close", NULL);
        Py_XDECREF(res);
        Py_DECREF(sock);
    }
    PyErr_Clear(); /* no sockets to be had: then they are asked each time */
    return 0;
}

int
transport_setup_types(PyObject *module, core_state *st)
{
    /* asyncio's own is a stream transport, too, in Python's eyes. */
    PyObject *datagram_bases = PyTuple_Pack(2, st->AsyncioTransport,
                                            st->AsyncioDatagramTransport);
    const struct {
        PyObject **type;
        PyObject *largest; /* of its bases */
        PyObject *bases;
        PyObject *model; /* or NULL */
    } made[TRANSPORT_KINDS] = {
        [TRANSPORT_STREAM] = {&st->StreamTransportType, st->AsyncioTransport,
                              st->AsyncioTransport, st->SelectorSocketTransport},
        [TRANSPORT_DATAGRAM] = {&st->DatagramTransportType, st->AsyncioTransport,
                                datagram_bases, st->SelectorDatagramTransport},
        [TRANSPORT_READ_PIPE] = {&st->ReadPipeTransportType, st->ReadTransport,
                                 st->ReadTransport, NULL},
        [TRANSPORT_WRITE_PIPE] = {&st->WritePipeTransportType, st->AsyncioTransport,
                                  st->AsyncioTransport, NULL},
    };
    PyObject *largest[TRANSPORT_KINDS];
    for (int kind = 0; kind < TRANSPORT_KINDS; kind++) {
        largest[kind] = made[kind].largest;
    }
    int rc = datagram_bases == NULL ? -1 : transport_inspect_server(st);
    if (rc == 0) {
        rc = transport_inspect_socket(st);
    }
    if (rc == 0) {
        rc = transport_find_offset(largest);
    }
    for (int kind = 0; rc == 0 && kind < TRANSPORT_KINDS; kind++) {
        PyObject *type = transport_make_type(module, kind, made[kind].bases);
        *made[kind].type = type;
        rc = type == NULL ? -1 : 0;
        if (rc == 0 && made[kind].model != NULL) {
            rc = transport_copy_attributes(type, made[kind].model);
        }
    }
    Py_XDECREF(datagram_bases);
    return rc;
}
