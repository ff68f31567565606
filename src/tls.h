/* tls.h - TLS over any transport: asyncio's SSLProtocol with a native hot path.
 *
 * evloop's SSLProtocol is a Python class of two bases: TLSObject, here, and asyncio's
 * own SSLProtocol. What runs once in a connection's life (the end of the handshake,
 * timeouts, the shutdown, reports of errors) is asyncio's Python code, working on our
 * fields by asyncio's names; what runs for each read and write is here.
 *
 * States, asyncio's own (`_set_state()` checks the transitions):
 *
 * UNWRAPPED -> DO_HANDSHAKE   [_start_handshake]  connection_made()
 * DO_HANDSHAKE -> WRAPPED     [_on_handshake_complete]  the application's
 *                             connection_made(), then data
 * WRAPPED -> FLUSHING         [_start_shutdown, eof_received]
 * FLUSHING -> SHUTDOWN        [_do_flush, eof_received]  close_notify is sent
 * any -> UNWRAPPED            [_abort, connection_lost, a failed handshake]
 *
 * The ways of data:
 *
 * in:  transport -> tls_feed() -> engine `in` -> decrypted by tls_do_read() -> the
 *      application's data_received() or buffer_updated(), once for all that came
 * out: write() -> `backlog` (plain) -> encrypted by tls_do_write() -> engine `out`
 *      -> tls_process_outgoing() -> transport
 *
 * In a callback of the loop the backlog waits for the turn's end (source.h), so that
 * many small writes make one record and one send(). Whoever could tell flushes
 * first: close(), abort(), errors, whoever asks for sizes. What is written before the
 * handshake is done waits for that, and what is written while the transport below is
 * full waits for its resume_writing().
 *
 * Who owns what: the protocol owns both transports, the application's protocol and the
 * engine; the application's transport owns the protocol. asyncio's connection_lost()
 * breaks that cycle. */

#ifndef EVLOOP_TLS_H
#define EVLOOP_TLS_H

#include "tlsengine.h"
#include "transport.h"

enum tls_state {
    TLS_UNWRAPPED,
    TLS_DO_HANDSHAKE,
    TLS_WRAPPED,
    TLS_FLUSHING,
    TLS_SHUTDOWN,
    TLS_STATES
};

typedef struct tls_object {
    PyObject_HEAD
    core_state *st;        /* see state.h: it outlives the object */
    struct source source;  /* no descriptor: for flushing only */
    struct tls_engine engine;
    PyObject *loop;          /* all are strong, and read as None if they are NULL */
    PyObject *app_protocol;
    PyObject *get_buffer; /* methods of a BufferedProtocol, as they were when it */
    PyObject *buffer_updated; /* was set */
    PyObject *app_transport;
    PyObject *transport; /* below us */
    PyObject *sslcontext;
    PyObject *server_hostname;
    PyObject *extra;
    PyObject *waiter;
    PyObject *handshake_timeout; /* seconds */
    PyObject *shutdown_timeout;
    PyObject *handshake_start;
    PyObject *handshake_handle;
    PyObject *shutdown_handle;
    PyObject *app_state; /* asyncio's AppProtocolState */
    PyObject *ssl_buffer; /* a bytearray for transports that are not ours, or NULL */
    struct wqueue backlog;
    Py_ssize_t incoming_high; /* water marks, in bytes */
    Py_ssize_t incoming_low;
    Py_ssize_t outgoing_high;
    Py_ssize_t outgoing_low;
    int conn_lost;
    uint8_t state; /* enum tls_state */
    bool native; /* the transport below is a StreamTransport */
    bool corked; /* the backlog waits for the end of the turn */
    bool writing; /* the backlog is being encrypted */
    char server_side; /* members of Python's type bool are chars */
    char app_transport_created;
    char app_protocol_is_buffer;
    char ssl_writing_paused;
    char app_reading_paused;
    char ssl_reading_paused;
    char app_writing_paused;
    char eof_received;
} TLSObject;

#define TLS(op) ((TLSObject *)(op))

/* All return -1 with an exception, which is what asyncio's method would raise. The
 * caller holds a reference to the object. */

/* asyncio's buffer_updated(), for data in the caller's buffer, which must stay
 * untouched until it returns. */
int tls_feed(PyObject *op, const char *data, Py_ssize_t size);
/* What the methods of asyncio's that are named so do. */
int tls_do_read(TLSObject *self);
int tls_do_write(TLSObject *self);
int tls_process_outgoing(TLSObject *self);
int tls_resume_writing(TLSObject *self);
int tls_do_handshake(TLSObject *self);
int tls_control_app_writing(TLSObject *self);
int tls_control_ssl_reading(TLSObject *self);
/* Data from the application: bytes, or what exports a buffer. */
int tls_write(TLSObject *self, PyObject *data);
int tls_write_all(TLSObject *self, PyObject *iterable);
/* Encrypts all that was written, for close_notify to come after it. */
int tls_write_out(TLSObject *self);
/* Encrypts and sends what waits for the end of the turn. */
int tls_flush(TLSObject *self);
/* except Exception as ex: self._fatal_error(ex, 'Fatal error on SSL protocol') */
int tls_fatal(TLSObject *self);
/* The same for st->feed_flush. */
int tls_feed_flush(PyObject *op);
/* Bytes, as asyncio counts them. */
Py_ssize_t tls_write_buffer_size(TLSObject *self);

/* asyncio's own method of that name, on this object: new reference. args: as for
 * Py_BuildValue(), a tuple; NULL: none. */
PyObject *tls_call_stock(TLSObject *self, const char *name, PyObject *args);
int tls_call_stock_steal(TLSObject *self, const char *name, PyObject *args);

extern const struct source_kind tls_kind;

/* New references; NULL with an exception. */
PyObject *tls_get_app_transport(TLSObject *self);
PyObject *Tls__set_state(PyObject *op, PyObject *value);
PyObject *Tls__start_handshake(PyObject *op, PyObject *ignored);
PyObject *Tls__on_handshake_complete(PyObject *op, PyObject *error);

/* --- the types ---------------------------------------------------------------- */

/* Creates the native bases of evloop's classes. */
int tls_setup_types(PyObject *module, core_state *st);
PyObject *tls_make_transport_type(PyObject *module, core_state *st);
/* Sets a new transport's fields. */
void tls_transport_init(core_state *st, PyObject *op, PyObject *loop,
                        PyObject *protocol);
/* args_adopt() with the methods of the native base. */
int tls_adopt_protocol(PyObject *cls);
int tls_adopt_transport(PyObject *cls);
extern PyMethodDef tls_module_methods[];

#endif
