/* tlsobj.c - the native base of evloop's SSLProtocol in Python's eyes: its life, its
 * attributes under asyncio's names, and the methods that stand before asyncio's. */

#include "args.h"
#include "compat.h"
#include "tls.h"

#include <structmember.h>

/* --- life --------------------------------------------------------------------- */

static PyObject *
Tls_new(PyTypeObject *type, PyObject *Py_UNUSED(args), PyObject *Py_UNUSED(kwargs))
{
    PyObject *module = PyType_GetModuleByDef(type, &core_module);
    TLSObject *self = module == NULL ? NULL : (TLSObject *)type->tp_alloc(type, 0);
    if (self == NULL) {
        return NULL;
    }
    self->st = state_of(module);
    self->st->live_tls++;
    self->source = (struct source){
        .kind = &tls_kind, .owner = (PyObject *)self, .fd = -1};
    return (PyObject *)self;
}

static int
Tls_traverse(PyObject *op, visitproc visit, void *arg)
{
    TLSObject *self = TLS(op);
    Py_VISIT(Py_TYPE(op));
    Py_VISIT(self->loop);
    Py_VISIT(self->app_protocol);
    Py_VISIT(self->get_buffer);
    Py_VISIT(self->buffer_updated);
    Py_VISIT(self->app_transport);
    Py_VISIT(self->transport);
    Py_VISIT(self->sslcontext);
    Py_VISIT(self->server_hostname);
    Py_VISIT(self->extra);
    Py_VISIT(self->waiter);
    Py_VISIT(self->handshake_timeout);
    Py_VISIT(self->shutdown_timeout);
    Py_VISIT(self->handshake_start);
    Py_VISIT(self->handshake_handle);
    Py_VISIT(self->shutdown_handle);
    Py_VISIT(self->app_state);
    Py_VISIT(self->ssl_buffer);
    return tls_engine_traverse(&self->engine, visit, arg);
}

static int
Tls_clear(PyObject *op)
{
    TLSObject *self = TLS(op);
    self->native = false;
    Py_CLEAR(self->loop);
    Py_CLEAR(self->app_protocol);
    Py_CLEAR(self->get_buffer);
    Py_CLEAR(self->buffer_updated);
    Py_CLEAR(self->app_transport);
    Py_CLEAR(self->transport);
    Py_CLEAR(self->sslcontext);
    Py_CLEAR(self->server_hostname);
    Py_CLEAR(self->extra);
    Py_CLEAR(self->waiter);
    Py_CLEAR(self->handshake_timeout);
    Py_CLEAR(self->shutdown_timeout);
    Py_CLEAR(self->handshake_start);
    Py_CLEAR(self->handshake_handle);
    Py_CLEAR(self->shutdown_handle);
    Py_CLEAR(self->app_state);
    Py_CLEAR(self->ssl_buffer);
    wqueue_clear(&self->backlog);
    tls_engine_clear(&self->engine);
    return 0;
}

static void
Tls_dealloc(PyObject *op)
{
    PyTypeObject *type = Py_TYPE(op);
    core_state *st = TLS(op)->st;
    PyObject_GC_UnTrack(op);
    Tls_clear(op);
    type->tp_free(op);
    Py_DECREF(type);
    st->live_tls--;
    state_free_if_dead(st);
}

/* --- what __init__ does ------------------------------------------------------- */

/* A timeout, or asyncio's default for None; NULL with ValueError. */
static PyObject *
tls_timeout(PyObject *value, const char *name, const char *fallback)
{
    if (value == Py_None) {
        PyObject *constants = PyImport_ImportModule("asyncio.constants");
        value = constants == NULL ? NULL : PyObject_GetAttrString(constants, fallback);
        Py_XDECREF(constants);
        return value;
    }
    PyObject *zero = PyLong_FromLong(0);
    int bad = zero == NULL ? -1 : PyObject_RichCompareBool(value, zero, Py_LE);
    Py_XDECREF(zero);
    if (bad > 0) {
        PyErr_Format(PyExc_ValueError, "%s should be a positive number, got %S", name,
                     value);
    }
    return bad != 0 ? NULL : Py_NewRef(value);
}

static PyObject *
tls_app_state(TLSObject *self, const char *name)
{
    return PyObject_GetAttrString(self->st->tls_app_states, name);
}

/* context.wrap_bio(...), and the engine over it. */
static int
tls_wrap(TLSObject *self)
{
    core_state *st = self->st;
    PyObject *incoming = PyObject_CallNoArgs(st->tls_MemoryBIO);
    PyObject *outgoing = incoming == NULL ? NULL
                                          : PyObject_CallNoArgs(st->tls_MemoryBIO);
    PyObject *wrap = outgoing == NULL
        ? NULL
        : PyObject_GetAttrString(self->sslcontext, "wrap_bio");
    PyObject *args = wrap == NULL ? NULL : PyTuple_Pack(2, incoming, outgoing);
    PyObject *kwargs = args == NULL
        ? NULL
        : Py_BuildValue("{s:O,s:O}", "server_side",
                        self->server_side ? Py_True : Py_False, "server_hostname",
                        self->server_hostname ? self->server_hostname : Py_None);
    PyObject *sslobj = kwargs == NULL ? NULL : PyObject_Call(wrap, args, kwargs);
    int rc = sslobj == NULL
        ? -1
        : tls_engine_set(st, &self->engine, sslobj, incoming, outgoing, st->tls_direct);
    Py_XDECREF(sslobj);
    Py_XDECREF(kwargs);
    Py_XDECREF(args);
    Py_XDECREF(wrap);
    Py_XDECREF(outgoing);
    Py_XDECREF(incoming);
    return rc;
}

/* method(self), asyncio's own or one that stands before it; -1 if it raised. */
static int
tls_call(TLSObject *self, const char *name, PyObject *arg)
{
    PyObject *res = arg == NULL ? PyObject_CallMethod((PyObject *)self, name, NULL)
                                : PyObject_CallMethod((PyObject *)self, name, "O", arg);
    Py_XDECREF(res);
    return res == NULL ? -1 : 0;
}

static int
Tls_init(PyObject *op, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"loop",
                            "app_protocol",
                            "sslcontext",
                            "waiter",
                            "server_side",
                            "server_hostname",
                            "call_connection_made",
                            "ssl_handshake_timeout",
                            "ssl_shutdown_timeout",
                            NULL};
    TLSObject *self = TLS(op);
    PyObject *loop, *protocol, *context, *waiter, *hostname = Py_None;
    PyObject *handshake = Py_None, *shutdown = Py_None;
    int server_side = 0, call_made = 1;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OOOO|pOpOO:SSLProtocol", names,
                                     &loop, &protocol, &context, &waiter, &server_side,
                                     &hostname, &call_made, &handshake, &shutdown)) {
        return -1;
    }
    if (self->loop != NULL) {
        PyErr_SetString(PyExc_RuntimeError, "the protocol is already initialised");
        return -1;
    }
    Tls_clear(op); /* what an attempt that failed has left */
    self->handshake_timeout = tls_timeout(handshake, "ssl_handshake_timeout",
                                          "SSL_HANDSHAKE_TIMEOUT");
    self->shutdown_timeout = self->handshake_timeout == NULL
        ? NULL
        : tls_timeout(shutdown, "ssl_shutdown_timeout", "SSL_SHUTDOWN_TIMEOUT");
    int given = self->shutdown_timeout == NULL ? -1 : PyObject_IsTrue(context);
    int named = given < 0 ? -1 : PyObject_IsTrue(hostname);
    if (named < 0) {
        return -1;
    }
    self->server_side = server_side != 0;
    if (given) {
        self->sslcontext = Py_NewRef(context);
    }
    else {
        PyObject *sslproto = PyImport_ImportModule("asyncio.sslproto");
        self->sslcontext = sslproto == NULL
            ? NULL
            : PyObject_CallMethod(sslproto, "_create_transport_context", "OO",
                                  server_side ? Py_True : Py_False, hostname);
        Py_XDECREF(sslproto);
    }
    if (self->sslcontext == NULL) {
        return -1;
    }
    self->server_hostname = named && !server_side ? Py_NewRef(hostname) : NULL;
    self->extra = Py_BuildValue("{s:O}", "sslcontext", self->sslcontext);
    self->waiter = Py_NewRef(waiter);
    self->loop = Py_NewRef(loop);
    self->app_state = tls_app_state(self, call_made ? "STATE_INIT" : "STATE_CON_MADE");
    return self->extra == NULL || self->app_state == NULL
            || tls_call(self, "_set_app_protocol", protocol) < 0 || tls_wrap(self) < 0
            || tls_call(self, "_set_read_buffer_limits", NULL) < 0
            || tls_call(self, "_set_write_buffer_limits", NULL) < 0
            || tls_call(self, "_get_app_transport", NULL) < 0
        ? -1
        : 0;
}

/* --- methods ------------------------------------------------------------------ */

static PyObject *
Tls__set_app_protocol(PyObject *op, PyObject *protocol)
{
    TLSObject *self = TLS(op);
    PyObject *get_buffer, *updated = NULL;
    if (tls_flush(self) < 0) { /* the old protocol's */
        return NULL;
    }
    int buffered = PyObject_GetOptionalAttr(protocol, self->st->str_get_buffer,
                                            &get_buffer);
    if (buffered > 0) {
        buffered = PyObject_IsInstance(protocol, self->st->BufferedProtocol);
    }
    if (buffered > 0) {
        updated = PyObject_GetAttr(protocol, self->st->str_buffer_updated);
        buffered = updated == NULL ? -1 : 1;
    }
    if (buffered < 0) {
        Py_XDECREF(get_buffer);
        return NULL;
    }
    self->app_protocol_is_buffer = (char)buffered;
    if (buffered) {
        Py_XSETREF(self->get_buffer, Py_NewRef(get_buffer));
        Py_XSETREF(self->buffer_updated, updated);
    }
    Py_XDECREF(get_buffer);
    Py_XSETREF(self->app_protocol, Py_NewRef(protocol));
    Py_RETURN_NONE;
}

PyObject *
tls_get_app_transport(TLSObject *self)
{
    if (self->app_transport == NULL || self->app_transport == Py_None) {
        if (self->app_transport_created) {
            PyErr_SetString(PyExc_RuntimeError, "Creating _SSLProtocolTransport twice");
            return NULL;
        }
        PyTypeObject *type = (PyTypeObject *)self->st->tls_transport_type;
        PyObject *transport = type->tp_alloc(type, 0);
        if (transport == NULL) {
            return NULL;
        }
        tls_transport_init(self->st, transport, self->loop, (PyObject *)self);
        Py_XSETREF(self->app_transport, transport);
        self->app_transport_created = 1;
    }
    return Py_NewRef(self->app_transport);
}

static PyObject *
Tls__get_app_transport(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    return tls_get_app_transport(TLS(op));
}

static PyObject *
Tls_get_buffer(PyObject *op, PyObject *Py_UNUSED(hint))
{
    TLSObject *self = TLS(op);
    if (self->ssl_buffer == NULL) {
        self->ssl_buffer = PyByteArray_FromStringAndSize(NULL, READ_MAX);
    }
    return self->ssl_buffer == NULL ? NULL : PyMemoryView_FromObject(self->ssl_buffer);
}

static PyObject *
Tls_buffer_updated(PyObject *op, PyObject *number)
{
    TLSObject *self = TLS(op);
    Py_ssize_t n = PyLong_AsSsize_t(number);
    if (n == -1 && PyErr_Occurred()) {
        return NULL;
    }
    Py_buffer view;
    PyObject *buffer = Py_NewRef(self->ssl_buffer ? self->ssl_buffer : Py_None);
    int rc = PyObject_GetBuffer(buffer, &view, PyBUF_SIMPLE);
    if (rc == 0) {
        /* What comes meanwhile goes into another one. */
        Py_CLEAR(self->ssl_buffer);
        rc = tls_feed(op, view.buf, n < 0 ? 0 : n < view.len ? n : view.len);
        PyBuffer_Release(&view);
        if (self->ssl_buffer == NULL) {
            self->ssl_buffer = Py_NewRef(buffer);
        }
    }
    Py_DECREF(buffer);
    return none_or_error(rc);
}

/* _feed(data): as if it had come from the transport, before the handshake. */
static PyObject *
Tls__feed(PyObject *op, PyObject *data)
{
    TLSObject *self = TLS(op);
    Py_buffer view;
    if (PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) < 0) {
        return NULL;
    }
    int rc = tls_engine_feed(self->st, &self->engine, view.buf, (size_t)view.len);
    if (rc == 0) {
        rc = tls_engine_keep(&self->engine, view.buf, (size_t)view.len);
    }
    PyBuffer_Release(&view);
    return none_or_error(rc);
}

static PyObject *
Tls__do_read(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    return none_or_error(tls_do_read(TLS(op)));
}

static PyObject *
Tls__do_write(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    return none_or_error(tls_do_write(TLS(op)));
}

static PyObject *
Tls__do_handshake(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    return none_or_error(tls_do_handshake(TLS(op)));
}

static PyObject *
Tls__process_outgoing(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    return none_or_error(tls_process_outgoing(TLS(op)));
}

static PyObject *
Tls__write_appdata(PyObject *op, PyObject *list)
{
    return none_or_error(tls_write_all(TLS(op), list));
}

static PyObject *
Tls__get_write_buffer_size(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    TLSObject *self = TLS(op);
    Py_ssize_t n = tls_flush(self) < 0 ? -1 : tls_write_buffer_size(self);
    return n < 0 ? NULL : PyLong_FromSsize_t(n);
}

static PyObject *
Tls__get_read_buffer_size(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    Py_ssize_t n = tls_engine_incoming(TLS(op)->st, &TLS(op)->engine);
    return n < 0 ? NULL : PyLong_FromSsize_t(n);
}

/* asyncio's own, once what was written has left. */
static PyObject *
flush_and_call(PyObject *op, const char *name, PyObject *args)
{
    return tls_flush(TLS(op)) < 0 ? NULL : tls_call_stock(TLS(op), name, args);
}

static PyObject *
Tls__start_shutdown(PyObject *op, PyObject *args)
{
    return flush_and_call(op, "_start_shutdown", args);
}

static PyObject *
Tls__abort(PyObject *op, PyObject *args)
{
    return flush_and_call(op, "_abort", args);
}

static PyObject *
Tls__fatal_error(PyObject *op, PyObject *args)
{
    return flush_and_call(op, "_fatal_error", args);
}

static PyObject *
Tls__do_shutdown(PyObject *op, PyObject *args)
{
    TLSObject *self = TLS(op);
    if (self->backlog.len > 0 && tls_write_out(self) < 0 && tls_fatal(self) < 0) {
        return NULL;
    }
    return tls_call_stock(self, "_do_shutdown", args);
}

static PyObject *
Tls_resume_writing(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    if (!TLS(op)->ssl_writing_paused) {
        PyErr_SetNone(PyExc_AssertionError);
        return NULL;
    }
    return none_or_error(tls_resume_writing(TLS(op)));
}

static PyObject *
Tls_connection_lost(PyObject *op, PyObject *args)
{
    TLSObject *self = TLS(op);
    self->corked = false;
    wqueue_clear(&self->backlog);
    PyObject *res = tls_engine_drop(self->st, &self->engine) < 0
        ? NULL
        : tls_call_stock(self, "connection_lost", args);
    if (res != NULL) { /* nobody is left for it to be lent to */
        self->native = false;
    }
    return res;
}

static PyMethodDef Tls_methods[] = {
    {"get_buffer", Tls_get_buffer, METH_O, NULL},
    {"buffer_updated", Tls_buffer_updated, METH_O, NULL},
    {"connection_lost", Tls_connection_lost, METH_VARARGS, NULL},
    {"resume_writing", Tls_resume_writing, METH_NOARGS, NULL},
    {"_abort", Tls__abort, METH_VARARGS, NULL},
    {"_do_handshake", Tls__do_handshake, METH_NOARGS, NULL},
    {"_do_read", Tls__do_read, METH_NOARGS, NULL},
    {"_do_shutdown", Tls__do_shutdown, METH_VARARGS, NULL},
    {"_do_write", Tls__do_write, METH_NOARGS, NULL},
    {"_fatal_error", Tls__fatal_error, METH_VARARGS, NULL},
    {"_feed", Tls__feed, METH_O, NULL},
    {"_get_app_transport", Tls__get_app_transport, METH_NOARGS, NULL},
    {"_get_read_buffer_size", Tls__get_read_buffer_size, METH_NOARGS, NULL},
    {"_get_write_buffer_size", Tls__get_write_buffer_size, METH_NOARGS, NULL},
    {"_on_handshake_complete", Tls__on_handshake_complete, METH_O, NULL},
    {"_process_outgoing", Tls__process_outgoing, METH_NOARGS, NULL},
    {"_set_app_protocol", Tls__set_app_protocol, METH_O, NULL},
    {"_set_state", Tls__set_state, METH_O, NULL},
    {"_start_handshake", Tls__start_handshake, METH_NOARGS, NULL},
    {"_start_shutdown", Tls__start_shutdown, METH_VARARGS, NULL},
    {"_write_appdata", Tls__write_appdata, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

/* --- attributes --------------------------------------------------------------- */

static PyObject *
get__state(PyObject *op, void *Py_UNUSED(closure))
{
    return Py_NewRef(PyTuple_GET_ITEM(TLS(op)->st->tls_states, TLS(op)->state));
}

static int
set__state(PyObject *op, PyObject *value, void *Py_UNUSED(closure))
{
    for (int i = 0; i < TLS_STATES; i++) {
        if (value == PyTuple_GET_ITEM(TLS(op)->st->tls_states, i)) {
            TLS(op)->state = (uint8_t)i;
            return 0;
        }
    }
    PyErr_SetString(PyExc_ValueError, "an SSLProtocolState is required");
    return -1;
}

static PyObject *
get__transport(PyObject *op, void *Py_UNUSED(closure))
{
    return Py_NewRef(TLS(op)->transport ? TLS(op)->transport : Py_None);
}

static int
set__transport(PyObject *op, PyObject *value, void *Py_UNUSED(closure))
{
    TLSObject *self = TLS(op);
    if (args_refuse_deletion(value) < 0) {
        return -1;
    }
    self->native = (PyObject *)Py_TYPE(value) == self->st->StreamTransportType;
    Py_XSETREF(self->transport, Py_NewRef(value));
    return 0;
}

static PyObject *
get__sslobj(PyObject *op, void *Py_UNUSED(closure))
{
    PyObject *sslobj = TLS(op)->engine.sslobj;
    return Py_NewRef(sslobj ? sslobj : Py_None);
}

/* Another object in its place is driven by its methods. */
static int
set__sslobj(PyObject *op, PyObject *value, void *Py_UNUSED(closure))
{
    TLSObject *self = TLS(op);
    if (args_refuse_deletion(value) < 0) {
        return -1;
    }
    if (value == self->engine.sslobj) {
        return 0;
    }
    if (self->engine.busy || self->engine.incoming == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "the SSLObject is in use");
        return -1;
    }
    PyObject *incoming = Py_NewRef(self->engine.incoming);
    PyObject *outgoing = Py_NewRef(self->engine.outgoing);
    int rc = tls_engine_set(self->st, &self->engine, value, incoming, outgoing, false);
    Py_DECREF(incoming);
    Py_DECREF(outgoing);
    return rc;
}

static PyObject *
get_bio(PyObject *op, void *closure)
{
    PyObject *bio = *(PyObject **)((char *)op + (size_t)closure);
    return Py_NewRef(bio ? bio : Py_None);
}

/* What waits to be encrypted: a list, a copy. */
static PyObject *
get__write_backlog(PyObject *op, void *Py_UNUSED(closure))
{
    struct wqueue *q = &TLS(op)->backlog;
    if (tls_flush(TLS(op)) < 0) {
        return NULL;
    }
    PyObject *list = PyList_New((Py_ssize_t)q->len);
    for (unsigned i = 0; list != NULL && i < q->len; i++) {
        PyList_SET_ITEM(list, (Py_ssize_t)i, Py_NewRef(wqueue_items(q)[q->head + i]));
    }
    return list;
}

static PyObject *
get__write_buffer_size(PyObject *op, void *Py_UNUSED(closure))
{
    return tls_flush(TLS(op)) < 0 ? NULL : PyLong_FromSsize_t(TLS(op)->backlog.size);
}

/* A water mark. */
static PyObject *
get_limit(PyObject *op, void *closure)
{
    return PyLong_FromSsize_t(*(Py_ssize_t *)((char *)op + (size_t)closure));
}

static int
set_limit(PyObject *op, PyObject *value, void *closure)
{
    Py_ssize_t size;
    if (args_refuse_deletion(value) < 0 || transport_limit_size(value, &size) < 0) {
        return -1;
    }
    *(Py_ssize_t *)((char *)op + (size_t)closure) = size;
    return 0;
}

/* "direct" or "portable" */
static PyObject *
get__engine(PyObject *op, void *Py_UNUSED(closure))
{
    return PyUnicode_FromString(TLS(op)->engine.ssl != NULL ? "direct" : "portable");
}

#define LIMIT(attr, field)                                                             \
    {attr, get_limit, set_limit, NULL, (void *)offsetof(TLSObject, field)}

static PyGetSetDef Tls_getset[] = {
    LIMIT("_incoming_high_water", incoming_high),
    LIMIT("_incoming_low_water", incoming_low),
    LIMIT("_outgoing_high_water", outgoing_high),
    LIMIT("_outgoing_low_water", outgoing_low),
    {"_engine", get__engine, NULL, NULL, NULL},
    {"_state", get__state, set__state, NULL, NULL},
    {"_transport", get__transport, set__transport, NULL, NULL},
    {"_sslobj", get__sslobj, set__sslobj, NULL, NULL},
    {"_incoming", get_bio, NULL, NULL, (void *)offsetof(TLSObject, engine.incoming)},
    {"_outgoing", get_bio, NULL, NULL, (void *)offsetof(TLSObject, engine.outgoing)},
    {"_write_backlog", get__write_backlog, NULL, NULL, NULL},
    {"_write_buffer_size", get__write_buffer_size, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

#define OBJECT(attr, field) {attr, T_OBJECT, offsetof(TLSObject, field), 0, NULL}
#define FLAG(attr, field) {attr, T_BOOL, offsetof(TLSObject, field), 0, NULL}

static PyMemberDef Tls_members[] = {
    OBJECT("_loop", loop),
    OBJECT("_app_protocol", app_protocol),
    OBJECT("_app_protocol_get_buffer", get_buffer),
    OBJECT("_app_protocol_buffer_updated", buffer_updated),
    OBJECT("_app_transport", app_transport),
    OBJECT("_app_state", app_state),
    OBJECT("_sslcontext", sslcontext),
    OBJECT("_server_hostname", server_hostname),
    OBJECT("_extra", extra),
    OBJECT("_waiter", waiter),
    OBJECT("_ssl_handshake_timeout", handshake_timeout),
    OBJECT("_ssl_shutdown_timeout", shutdown_timeout),
    OBJECT("_handshake_start_time", handshake_start),
    OBJECT("_handshake_timeout_handle", handshake_handle),
    OBJECT("_shutdown_timeout_handle", shutdown_handle),
    FLAG("_server_side", server_side),
    FLAG("_app_transport_created", app_transport_created),
    FLAG("_app_protocol_is_buffer", app_protocol_is_buffer),
    FLAG("_ssl_writing_paused", ssl_writing_paused),
    FLAG("_app_reading_paused", app_reading_paused),
    FLAG("_ssl_reading_paused", ssl_reading_paused),
    FLAG("_app_writing_paused", app_writing_paused),
    FLAG("_eof_received", eof_received),
    {"_conn_lost", T_INT, offsetof(TLSObject, conn_lost), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot Tls_slots[] = {
    {Py_tp_new, Tls_new},
    {Py_tp_init, Tls_init},
    {Py_tp_dealloc, Tls_dealloc},
    {Py_tp_traverse, Tls_traverse},
    {Py_tp_clear, Tls_clear},
    {Py_tp_methods, Tls_methods},
    {Py_tp_getset, Tls_getset},
    {Py_tp_members, Tls_members},
    {Py_tp_doc, (void *)PyDoc_STR("The native base of evloop's SSLProtocol.")},
     {0, NULL},
};

static PyType_Spec Tls_spec = {
    .name = "evloop._core.TLSProtocol",
    .basicsize = sizeof(TLSObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = Tls_slots,
};

/* --- the type ----------------------------------------------------------------- */

int
tls_setup_types(PyObject *module, core_state *st)
{
    st->TLSType = PyType_FromModuleAndSpec(module, &Tls_spec, NULL);
    st->tls_transport_base = st->TLSType == NULL ? NULL
                                                 : tls_make_transport_type(module, st);
    return st->tls_transport_base == NULL
            || PyModule_AddObjectRef(module, "_TLSProtocol", st->TLSType) < 0
            || PyModule_AddObjectRef(module, "_TLSTransport", st->tls_transport_base)
                < 0
        ? -1
        : 0;
}

int
tls_adopt_protocol(PyObject *cls)
{
    return args_adopt(cls, Tls_methods);
}
