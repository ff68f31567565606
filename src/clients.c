/* clients.c - the native part of evloop.Server: which transports belong to it.
 *
 * A list through the transports, which own their server; the server owns none of them.
 * A transport leaves it when it has closed or dies. When the last one leaves a server
 * that was closed, those who wait for that are told (Server._released(), Python). */

#include "compat.h"
#include "transport.h"

typedef struct {
    PyObject_HEAD
    struct list clients; /* of TransportData.client */
    Py_ssize_t count;
    bool draining; /* closed: tell when it is empty */
} ServerObject;

static PyObject *
Server_new(PyTypeObject *type, PyObject *Py_UNUSED(args), PyObject *Py_UNUSED(kwargs))
{
    PyObject *op = type->tp_alloc(type, 0);
    if (op != NULL) {
        list_init(&((ServerObject *)op)->clients);
    }
    return op;
}

/* The transports keep their server alive, so there is none left. */
static void
Server_dealloc(PyObject *op)
{
    PyObject_GC_UnTrack(op);
    assert(((ServerObject *)op)->count == 0);
    PyTypeObject *type = Py_TYPE(op);
    type->tp_free(op);
    Py_DECREF(type);
}

static int
Server_traverse(PyObject *op, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(op));
    return 0;
}

void
clients_add(PyObject *server, TransportData *t)
{
    ServerObject *self = (ServerObject *)server;
    list_push(&self->clients, &t->client);
    self->count++;
}

int
clients_remove(PyObject *server, TransportData *t)
{
    ServerObject *self = (ServerObject *)server;
    if (!list_linked(&t->client)) {
        return 0;
    }
    list_remove(&t->client);
    self->count--;
    if (self->count > 0 || !self->draining) {
        return 0;
    }
    PyObject *res = PyObject_CallMethod(server, "_released", NULL);
    Py_XDECREF(res);
    return res == NULL ? -1 : 0;
}

/* _native_clients(): a list of the transports. */
static PyObject *
Server__native_clients(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    ServerObject *self = (ServerObject *)op;
    PyObject *list = PyList_New(self->count);
    if (list == NULL) {
        return NULL;
    }
    Py_ssize_t i = 0;
    for (struct list *node = self->clients.next; node != &self->clients;
         node = node->next) {
        TransportData *t = TRANSPORT_OF_CLIENT(node);
        PyList_SET_ITEM(list, i++, Py_NewRef(t->source.owner));
    }
    return list;
}

static PyObject *
Server__native_count(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    return PyLong_FromSsize_t(((ServerObject *)op)->count);
}

/* _drain(): from now on, tell when the last client has gone. */
static PyObject *
Server__drain(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    ((ServerObject *)op)->draining = true;
    Py_RETURN_NONE;
}

static PyMethodDef Server_methods[] = {
    {"_native_clients", Server__native_clients, METH_NOARGS, NULL},
    {"_native_count", Server__native_count, METH_NOARGS, NULL},
    {"_drain", Server__drain, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot server_slots[] = {
    {Py_tp_new, Server_new},
    {Py_tp_dealloc, Server_dealloc},
    {Py_tp_traverse, Server_traverse},
    {Py_tp_methods, Server_methods},
    {0, NULL},
};

static PyType_Spec server_spec = {
    .name = "evloop._core.Server",
    .basicsize = sizeof(ServerObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = server_slots,
};

int
clients_setup_type(PyObject *module, core_state *st)
{
    st->ServerType = PyType_FromModuleAndSpec(module, &server_spec, NULL);
    return st->ServerType == NULL ? -1 : 0;
}
