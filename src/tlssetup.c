/* tlssetup.c - what the Python package (evloop/_tls.py) tells of the ssl module, before
 * the first TLS connection. */

#include "tls.h"

/* module.name, in the field; steals nothing. */
static int
keep_attribute(PyObject **field, PyObject *of, const char *name)
{
    Py_XSETREF(*field, PyObject_GetAttrString(of, name));
    return *field == NULL ? -1 : 0;
}

/* The states in the order of enum tls_state. */
static int
keep_states(core_state *st, PyObject *sslproto)
{
    static const char *const names[TLS_STATES] = {"UNWRAPPED", "DO_HANDSHAKE",
                                                  "WRAPPED", "FLUSHING", "SHUTDOWN"};
    PyObject *states = PyTuple_New(TLS_STATES);
    PyObject *type = PyObject_GetAttrString(sslproto, "SSLProtocolState");
    for (int i = 0; states != NULL && type != NULL && i < TLS_STATES; i++) {
        PyObject *state = PyObject_GetAttrString(type, names[i]);
        if (state == NULL) {
            Py_CLEAR(states);
            break;
        }
        PyTuple_SET_ITEM(states, i, state);
    }
    if (type == NULL) {
        Py_CLEAR(states);
    }
    Py_XDECREF(type);
    Py_XSETREF(st->tls_states, states);
    return states == NULL ? -1 : 0;
}

/* _tls_setup(ssl, sslproto, protocol_type, transport_type): the modules, and evloop's
 * classes over ours and asyncio's. */
static PyObject *
core__tls_setup(PyObject *module, PyObject *args)
{
    core_state *st = state_of(module);
    PyObject *ssl, *sslproto, *protocol, *transport;
    if (!PyArg_ParseTuple(args, "OOO!O!:_tls_setup", &ssl, &sslproto, &PyType_Type,
                          &protocol, &PyType_Type, &transport)) {
        return NULL;
    }
    if (!PyType_IsSubtype((PyTypeObject *)protocol, (PyTypeObject *)st->TLSType)
        || !PyType_IsSubtype((PyTypeObject *)transport,
                             (PyTypeObject *)st->tls_transport_base)) {
        PyErr_SetString(PyExc_TypeError, "subclasses of the native types are required");
        return NULL;
    }
    if (keep_attribute(&st->tls_SSLProtocol, sslproto, "SSLProtocol") < 0
        || keep_attribute(&st->tls_again, sslproto, "SSLAgainErrors") < 0
        || keep_attribute(&st->tls_app_states, sslproto, "AppProtocolState") < 0
        || keep_attribute(&st->tls_SSLError, ssl, "SSLError") < 0
        || keep_attribute(&st->tls_SSLObject, ssl, "SSLObject") < 0
        || keep_attribute(&st->tls_MemoryBIO, ssl, "MemoryBIO") < 0
        || keep_attribute(&st->tls_read, st->tls_SSLObject, "read") < 0
        || keep_attribute(&st->tls_write, st->tls_SSLObject, "write") < 0
        || keep_attribute(&st->tls_handshake, st->tls_SSLObject, "do_handshake") < 0
        || keep_states(st, sslproto) < 0) {
        return NULL;
    }
    if (tls_adopt_transport(transport) < 0 || tls_adopt_protocol(protocol) < 0) {
        return NULL;
    }
    Py_XSETREF(st->tls_protocol_type, Py_NewRef(protocol));
    Py_XSETREF(st->tls_transport_type, Py_NewRef(transport));
    st->feed = tls_feed;
    st->feed_flush = tls_feed_flush;
    Py_RETURN_NONE;
}

/* _tls_open(file, version, context, sslobj): finds the library for the direct engine.
 * None, or the reason why not (str). */
static PyObject *
core__tls_open(PyObject *module, PyObject *args)
{
    core_state *st = state_of(module);
    PyObject *file, *version, *context, *sslobj;
    if (!PyArg_ParseTuple(args, "UUOO:_tls_open", &file, &version, &context, &sslobj)) {
        return NULL;
    }
    PyObject *raw = PyObject_GetAttrString(sslobj, "_sslobj");
    PyObject *reason = raw == NULL
        ? NULL
        : tlslib_open(file, version, context, raw, &tls_bio_calls);
    if (raw != NULL) {
        Py_XSETREF(st->tls_raw_type, Py_NewRef(Py_TYPE(raw)));
        Py_DECREF(raw);
    }
    return reason != NULL || PyErr_Occurred() ? reason : Py_NewRef(Py_None);
}

/* _tls_use_direct(bool): which engine new connections get. */
static PyObject *
core__tls_use_direct(PyObject *module, PyObject *flag)
{
    int direct = PyObject_IsTrue(flag);
    if (direct < 0) {
        return NULL;
    }
    state_of(module)->tls_direct = direct && tls_lib != NULL;
    Py_RETURN_NONE;
}

PyMethodDef tls_module_methods[] = {
    {"_tls_setup", core__tls_setup, METH_VARARGS, NULL},
    {"_tls_open", core__tls_open, METH_VARARGS, NULL},
    {"_tls_use_direct", core__tls_use_direct, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};
