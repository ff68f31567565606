/* tlshandshake.c - the beginning of a TLS connection, as asyncio's methods of these
 * names do it. What is to be logged, and what fails, is asyncio's own code's. */

#include "args.h"
#include "compat.h"
#include "tls.h"

/* asyncio's own method of that name, with one argument. */
static PyObject *
stock_with(TLSObject *self, const char *name, PyObject *arg)
{
    PyObject *args = PyTuple_Pack(1, arg);
    PyObject *res = args == NULL ? NULL : tls_call_stock(self, name, args);
    Py_XDECREF(args);
    return res;
}

/* asyncio's transitions; what is not one of them is for asyncio to refuse. */
static int
tls_set_state(TLSObject *self, enum tls_state state)
{
    if (state == TLS_UNWRAPPED || (int)state == self->state + 1) {
        self->state = (uint8_t)state;
        return 0;
    }
    PyObject *value = PyTuple_GET_ITEM(self->st->tls_states, state);
    PyObject *res = stock_with(self, "_set_state", value);
    Py_XDECREF(res);
    return res == NULL ? -1 : 0;
}

PyObject *
Tls__set_state(PyObject *op, PyObject *value)
{
    for (int i = 0; i < TLS_STATES; i++) {
        if (value == PyTuple_GET_ITEM(TLS(op)->st->tls_states, i)) {
            return none_or_error(tls_set_state(TLS(op), (enum tls_state)i));
        }
    }
    return stock_with(TLS(op), "_set_state", value);
}

/* self._loop.call_later(seconds, self.name): new reference. */
static PyObject *
call_later(TLSObject *self, PyObject *seconds, const char *name)
{
    PyObject *loop = Py_NewRef(self->loop ? self->loop : Py_None);
    PyObject *callback = PyObject_GetAttrString((PyObject *)self, name);
    PyObject *handle = callback == NULL
        ? NULL
        : PyObject_CallMethod(loop, "call_later", "OO", seconds ? seconds : Py_None,
                              callback);
    Py_XDECREF(callback);
    Py_DECREF(loop);
    return handle;
}

PyObject *
Tls__start_handshake(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    TLSObject *self = TLS(op);
    int debug = self->loop == NULL ? 0 : loop_get_debug(self->st, self->loop);
    if (debug != 0) { /* it is logged */
        return debug < 0 ? NULL : tls_call_stock(self, "_start_handshake", NULL);
    }
    if (tls_set_state(self, TLS_DO_HANDSHAKE) < 0) {
        return NULL;
    }
    PyObject *handle = call_later(self, self->handshake_timeout,
                                  "_check_handshake_timeout");
    if (handle == NULL) {
        return NULL;
    }
    Py_XSETREF(self->handshake_handle, handle);
    return none_or_error(tls_do_handshake(self));
}

/* What get_extra_info() is to know of the connection. */
static int
tls_note_session(TLSObject *self, PyObject *sslobj, PyObject *peercert)
{
    PyObject *cipher = PyObject_CallMethod(sslobj, "cipher", NULL);
    PyObject *compression = cipher == NULL
        ? NULL
        : PyObject_CallMethod(sslobj, "compression", NULL);
    PyObject *extra = Py_NewRef(self->extra ? self->extra : Py_None);
    int rc = compression == NULL
            || PyDict_SetItemString(extra, "peercert", peercert) < 0
            || PyDict_SetItemString(extra, "cipher", cipher) < 0
            || PyDict_SetItemString(extra, "compression", compression) < 0
            || PyDict_SetItemString(extra, "ssl_object", sslobj) < 0
        ? -1
        : 0;
    Py_DECREF(extra);
    Py_XDECREF(cipher);
    Py_XDECREF(compression);
    return rc;
}

/* The handshake has succeeded: the application gets its connection. */
static int
tls_begin(TLSObject *self)
{
    PyObject *states = self->st->tls_app_states;
    PyObject *made = PyObject_GetAttrString(states, "STATE_CON_MADE");
    PyObject *init = made == NULL ? NULL : PyObject_GetAttrString(states, "STATE_INIT");
    int rc = init == NULL ? -1 : 0;
    if (rc == 0 && self->app_state == init) {
        Py_XSETREF(self->app_state, Py_NewRef(made));
        PyObject *transport = tls_get_app_transport(self);
        PyObject *protocol = Py_NewRef(self->app_protocol ? self->app_protocol
                                                          : Py_None);
        PyObject *res = transport == NULL
            ? NULL
            : PyObject_CallMethodOneArg(protocol, self->st->str_connection_made,
                                        transport);
        rc = res == NULL ? -1 : 0;
        Py_XDECREF(res);
        Py_DECREF(protocol);
        Py_XDECREF(transport);
    }
    Py_XDECREF(init);
    Py_XDECREF(made);
    return rc == 0 && self->waiter != NULL && self->waiter != Py_None
        ? tls_call_stock_steal(self, "_wakeup_waiter", NULL)
        : rc;
}

PyObject *
Tls__on_handshake_complete(PyObject *op, PyObject *error)
{
    TLSObject *self = TLS(op);
    int debug = self->loop == NULL ? 0 : loop_get_debug(self->st, self->loop);
    PyObject *sslobj = Py_NewRef(self->engine.sslobj ? self->engine.sslobj : Py_None);
    PyObject *peercert = debug != 0 || error != Py_None
            || self->state != TLS_DO_HANDSHAKE
        ? NULL
        : PyObject_CallMethod(sslobj, "getpeercert", NULL);
    if (debug < 0 || peercert == NULL) { /* what is to be logged, or has failed */
        if (debug >= 0) {
            PyErr_Clear();
        }
        Py_DECREF(sslobj);
        return debug < 0 ? NULL : stock_with(self, "_on_handshake_complete", error);
    }
    PyObject *handle = self->handshake_handle;
    self->handshake_handle = NULL;
    int rc = tls_set_state(self, TLS_WRAPPED);
    if (rc == 0 && handle != NULL && handle != Py_None) {
        PyObject *res = PyObject_CallMethodNoArgs(handle, self->st->str_cancel);
        rc = res == NULL ? -1 : 0;
        Py_XDECREF(res);
    }
    Py_XDECREF(handle);
    if (rc == 0) {
        rc = tls_note_session(self, sslobj, peercert);
    }
    Py_DECREF(peercert);
    Py_DECREF(sslobj);
    return none_or_error(rc < 0 || tls_begin(self) < 0 ? -1 : tls_do_read(self));
}
