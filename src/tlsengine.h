/* tlsengine.h - what encrypts and decrypts: an ssl.SSLObject, driven in two ways.
 *
 * direct:   its SSL * by OpenSSL's own functions; its BIO is ours, which reads from
 *           `in` and appends to `out`: no copies in between, no exception where there
 *           is nothing to read.
 * portable: its read() and write(), through the two ssl.MemoryBIO that it was made
 *           with.
 *
 * Errors are the ssl module's to find and to raise: where OpenSSL says that something
 * is wrong, SSLObject's method is called, and OpenSSL fails in the same way again. That
 * does not hold for a handshake, nor for a record with a bad beginning, so these go to
 * SSLObject at once.
 *
 * Life:  empty -> set [tls_engine_set] -> empty [tls_engine_clear]; the SSLObject may
 * outlive the engine (and get its data from nowhere, then).
 *
 * Who owns what: the engine owns the SSLObject, its `_sslobj`, the MemoryBIOs, a
 * reference to the BIO, `kept` and `out`. `in` points into `kept`, or, during
 * tls_engine_feed() to tls_engine_keep(), into the caller's buffer. The BIO's functions
 * may be called without the GIL (the ssl module lets it go in a handshake): they use
 * nothing of Python's. */

#ifndef EVLOOP_TLSENGINE_H
#define EVLOOP_TLSENGINE_H

#include "tlslib.h"

#define RECORD_MAX 16384 /* plain bytes of one record */
/* asyncio's SSLProtocol.max_size */
#define READ_MAX (256 * 1024)

struct tls_engine {
    PyObject *sslobj;   /* strong or NULL */
    PyObject *incoming; /* strong or NULL: the MemoryBIOs */
    PyObject *outgoing;
    PyObject *raw; /* strong: what `ssl` belongs to; NULL: portable */
    SSL *ssl;
    BIO *bio;
    const char *in; /* received, not taken by OpenSSL yet */
    size_t in_len;
    char *kept;
    size_t kept_cap;
    char *out; /* to be sent */
    size_t out_len;
    size_t out_cap;
    unsigned busy; /* OpenSSL is at work: it must not be called again */
    bool looking; /* a record that does not begin as one should is held back... */
    bool odd;     /* and was */
};

/* Results of what can have to wait. */
enum tls_result { TLS_ERROR = -1, TLS_AGAIN = 0, TLS_DONE = 1, TLS_CLOSED = 2 };

/* Begins: with the direct engine if that is wanted and the object allows it. */
int tls_engine_set(core_state *st, struct tls_engine *e, PyObject *sslobj,
                   PyObject *incoming, PyObject *outgoing, bool direct);
int tls_engine_traverse(struct tls_engine *e, visitproc visit, void *arg);
void tls_engine_clear(struct tls_engine *e);
/* Drops what came and what is to be sent. */
int tls_engine_drop(core_state *st, struct tls_engine *e);

/* Takes data: the caller's buffer has to stay until tls_engine_keep(). */
int tls_engine_feed(core_state *st, struct tls_engine *e, const char *data,
                    size_t size);
/* Copies what is left of such data. */
int tls_engine_keep(struct tls_engine *e, const char *data, size_t size);

/* TLS_DONE, TLS_AGAIN, or TLS_ERROR. */
enum tls_result tls_engine_handshake(core_state *st, struct tls_engine *e);
/* All that can be decrypted now, as one exact bytes object in *data (NULL: nothing).
 * TLS_AGAIN, TLS_CLOSED or TLS_ERROR (then there are no data). */
enum tls_result tls_engine_read_all(core_state *st, struct tls_engine *e,
                                    PyObject **data);
/* Into that buffer, which is not empty, until it is full (TLS_DONE). *size: how much
 * there is now, also for TLS_AGAIN and TLS_CLOSED. */
enum tls_result tls_engine_read_into(core_state *st, struct tls_engine *e,
                                     PyObject *buffer, Py_ssize_t *size);
/* Encrypts; `bytes` is the object that the data are in, or NULL. *size: how much was
 * taken. */
enum tls_result tls_engine_write(core_state *st, struct tls_engine *e, PyObject *bytes,
                                 const char *data, size_t len, size_t *size);

/* The number of bytes received, or to be sent; -1 with an exception. */
Py_ssize_t tls_engine_incoming(core_state *st, struct tls_engine *e);
Py_ssize_t tls_engine_outgoing(core_state *st, struct tls_engine *e);
/* All that is to be sent, as a bytes object. */
PyObject *tls_engine_take(core_state *st, struct tls_engine *e);

extern const struct tls_bio_calls tls_bio_calls;

#endif
