/* tlstransport.c - the native base of the transport that TLS applications see.
 *
 * evloop's class has two bases: this one, and asyncio's _SSLProtocolTransport, whose
 * methods do the rest. Our struct lies behind the slots of asyncio's base class, which
 * stay unset. */

#include "args.h"
#include "tls.h"

#include <structmember.h>

typedef struct {
    core_state *st;
    PyObject *loop;     /* strong; NULL reads as None */
    PyObject *protocol; /* the same; asyncio's close() sets it to None */
    char closed;
} TLSTransportData;

#define DATA(op) ((TLSTransportData *)((char *)(op) + transport_offset))

void
tls_transport_init(core_state *st, PyObject *op, PyObject *loop, PyObject *protocol)
{
    DATA(op)->st = st;
    DATA(op)->loop = Py_XNewRef(loop);
    DATA(op)->protocol = Py_NewRef(protocol);
}

static int
TlsTransport_traverse(PyObject *op, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(op));
    Py_VISIT(DATA(op)->loop);
    Py_VISIT(DATA(op)->protocol);
    return 0;
}

static int
TlsTransport_clear(PyObject *op)
{
    Py_CLEAR(DATA(op)->loop);
    Py_CLEAR(DATA(op)->protocol);
    return 0;
}

static void
TlsTransport_dealloc(PyObject *op)
{
    PyTypeObject *type = Py_TYPE(op);
    PyObject_GC_UnTrack(op);
    TlsTransport_clear(op);
    type->tp_free(op);
    Py_DECREF(type);
}

/* The protocol as ours, or NULL: Python code is to say what is wrong. */
static TLSObject *
protocol_of(PyObject *op)
{
    TLSTransportData *t = DATA(op);
    return t->protocol != NULL && t->st != NULL
            && (PyObject *)Py_TYPE(t->protocol) == t->st->tls_protocol_type
        ? TLS(t->protocol)
        : NULL;
}

/* protocol._write_appdata(list) */
static PyObject *
write_all(PyObject *op, PyObject *list)
{
    TLSObject *self = protocol_of(op);
    PyObject *protocol = Py_NewRef(DATA(op)->protocol ? DATA(op)->protocol : Py_None);
    PyObject *res = self == NULL
        ? PyObject_CallMethod(protocol, "_write_appdata", "O", list)
        : tls_write_all(self, list) < 0 ? NULL
                                        : Py_NewRef(Py_None);
    Py_DECREF(protocol);
    return res;
}

static const char write_doc[] = PyDoc_STR(
"write($self, data)\n--\n\n"
"Encrypt and send data: bytes, a bytearray or a memoryview. It does not block.\n\n"
"In a callback of the loop data leave at the end of the loop's turn, together with\n"
"what else is written in it, or when more than 32 KiB wait. Raises TypeError for\n"
"other data. Mirrors asyncio.WriteTransport.write().");

static const struct args_spec write_spec = {"SSLTransport.write", {"data"}, 1, false};

static PyObject *
TlsTransport_write(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
                   PyObject *kwnames)
{
    PyObject *data = args_parse_one(&write_spec, args, nargs, kwnames);
    if (data == NULL) {
        return NULL;
    }
    if (!PyBytes_Check(data) && !PyByteArray_Check(data) && !PyMemoryView_Check(data)) {
        PyObject *name = PyType_GetName(Py_TYPE(data));
        if (name != NULL) {
            PyErr_Format(PyExc_TypeError,
                         "data: expecting a bytes-like instance, got %U", name);
            Py_DECREF(name);
        }
        return NULL;
    }
    int some = PyBytes_CheckExact(data) ? PyBytes_GET_SIZE(data) > 0
                                        : PyObject_IsTrue(data);
    if (some <= 0) {
        return some < 0 ? NULL : Py_NewRef(Py_None);
    }
    TLSObject *self = protocol_of(op);
    if (self == NULL) {
        PyObject *list = PyTuple_Pack(1, data);
        PyObject *res = list == NULL ? NULL : write_all(op, list);
        Py_XDECREF(list);
        return res;
    }
    Py_INCREF(self);
    int rc = tls_write(self, data);
    Py_DECREF(self);
    return rc < 0 ? NULL : Py_NewRef(Py_None);
}

static const char writelines_doc[] = PyDoc_STR(
"writelines($self, list_of_data)\n--\n\n"
"Encrypt and send the pieces of an iterable, as if they were joined.\n\n"
"Mirrors asyncio.WriteTransport.writelines().");

static const struct args_spec writelines_spec = {
    "SSLTransport.writelines", {"list_of_data"}, 1, false};

static PyObject *
TlsTransport_writelines(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
                        PyObject *kwnames)
{
    PyObject *list = args_parse_one(&writelines_spec, args, nargs, kwnames);
    return list == NULL ? NULL : write_all(op, list);
}

/* For asyncio's tests: what waits for the next write(). */
static PyObject *
TlsTransport__append(PyObject *op, PyObject *data)
{
    TLSObject *self = protocol_of(op);
    if (self == NULL || !PyBytes_CheckExact(data) || PyBytes_GET_SIZE(data) == 0) {
        PyErr_SetString(PyExc_TypeError, "data are required, and a protocol");
        return NULL;
    }
    if (wqueue_push_steal(&self->backlog, data) < 0) {
        return PyErr_NoMemory();
    }
    Py_INCREF(data);
    Py_RETURN_NONE;
}

static PyMethodDef TlsTransport_methods[] = {
    {"write", _PyCFunction_CAST(TlsTransport_write), METH_FASTCALL | METH_KEYWORDS,
     write_doc},
    {"writelines", _PyCFunction_CAST(TlsTransport_writelines),
     METH_FASTCALL | METH_KEYWORDS, writelines_doc},
    {"_test__append_write_backlog", TlsTransport__append, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

PyObject *
tls_make_transport_type(PyObject *module, core_state *st)
{
    PyMemberDef members[] = {
        {"_loop", T_OBJECT,
         transport_offset + (Py_ssize_t)offsetof(TLSTransportData, loop), 0, NULL},
        {"_ssl_protocol", T_OBJECT,
         transport_offset + (Py_ssize_t)offsetof(TLSTransportData, protocol), 0, NULL},
        {"_closed", T_BOOL,
         transport_offset + (Py_ssize_t)offsetof(TLSTransportData, closed), 0, NULL},
        {NULL, 0, 0, 0, NULL},
    };
    PyType_Slot slots[] = {
        {Py_tp_dealloc, TlsTransport_dealloc},
        {Py_tp_traverse, TlsTransport_traverse},
        {Py_tp_clear, TlsTransport_clear},
        {Py_tp_methods, TlsTransport_methods},
        {Py_tp_members, members},
        {0, NULL},
    };
    PyType_Spec spec = {
        .name = "evloop._core.TLSTransport",
        .basicsize = (int)(transport_offset + (Py_ssize_t)sizeof(TLSTransportData)),
        .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
        .slots = slots,
    };
    return PyType_FromModuleAndSpec(module, &spec, st->AsyncioTransport);
}

int
tls_adopt_transport(PyObject *cls)
{
    return args_adopt(cls, TlsTransport_methods);
}
