/* tlslib.h - the interpreter's own libssl, as far as the direct engine uses it.
 *
 * No header of OpenSSL's is needed, and no library is linked: the functions are looked
 * up in what the interpreter's `_ssl` module is linked to. Their names are part of the
 * stable interface of OpenSSL 1.1.1 and 3. */

#ifndef EVLOOP_TLSLIB_H
#define EVLOOP_TLSLIB_H

#include "state.h"

typedef struct tls_ssl SSL;
typedef struct tls_ssl_ctx SSL_CTX;
typedef struct tls_bio BIO;
typedef struct tls_bio_method BIO_METHOD;

/* The constants of OpenSSL's headers. */
enum {
    TLS_ERROR_WANT_READ = 2,
    TLS_ERROR_ZERO_RETURN = 6,
    TLS_RECEIVED_SHUTDOWN = 2,
    TLS_BIO_TYPE = 0x0400, /* BIO_TYPE_SOURCE_SINK */
    TLS_BIO_READ = 0x01,
    TLS_BIO_RETRY_MASK = 0x0f, /* BIO_FLAGS_RWS, BIO_FLAGS_SHOULD_RETRY */
    TLS_BIO_RETRY = 0x08,
    TLS_BIO_CTRL_FLUSH = 11,
};

/* X(result, name, arguments) */
#define TLS_FUNCTIONS(X)                                                               \
    X(SSL_CTX *, SSL_get_SSL_CTX, (const SSL *))                                       \
    X(int, SSL_get_error, (const SSL *, int))                                          \
    X(int, SSL_get_shutdown, (const SSL *))                                            \
    X(int, SSL_pending, (const SSL *))                                                 \
    X(int, SSL_read_ex, (SSL *, void *, size_t, size_t *))                             \
    X(int, SSL_write_ex, (SSL *, const void *, size_t, size_t *))                      \
    X(void, SSL_set_bio, (SSL *, BIO *, BIO *))                                        \
    X(void, ERR_clear_error, (void))                                                   \
    X(unsigned long, ERR_peek_error, (void))                                           \
    X(const char *, OpenSSL_version, (int))                                            \
    X(int, BIO_get_new_index, (void))                                                  \
    X(BIO_METHOD *, BIO_meth_new, (int, const char *))                                 \
    X(void, BIO_meth_free, (BIO_METHOD *))                                             \
    X(int, BIO_meth_set_read, (BIO_METHOD *, int (*)(BIO *, char *, int)))             \
    X(int, BIO_meth_set_write, (BIO_METHOD *, int (*)(BIO *, const char *, int)))      \
    X(int, BIO_meth_set_ctrl, (BIO_METHOD *, long (*)(BIO *, int, long, void *)))      \
    X(BIO *, BIO_new, (const BIO_METHOD *))                                            \
    X(int, BIO_up_ref, (BIO *))                                                        \
    X(int, BIO_free, (BIO *))                                                          \
    X(void, BIO_set_init, (BIO *, int))                                                \
    X(void, BIO_set_data, (BIO *, void *))                                             \
    X(void *, BIO_get_data, (BIO *))                                                   \
    X(void, BIO_set_flags, (BIO *, int))                                               \
    X(void, BIO_clear_flags, (BIO *, int))

struct tls_lib {
#define FIELD(result, name, args) result(*name) args;
    TLS_FUNCTIONS(FIELD)
#undef FIELD
    BIO_METHOD *method; /* of our BIOs; see tlsengine.c */
};

/* The library, once tlslib_open() has found it; the same for all interpreters of the
 * process. */
extern const struct tls_lib *tls_lib;

/* Finds the library by the file of `_ssl` (str), and makes sure that it is the one:
 * by its version (str, as ssl.OPENSSL_VERSION), and by the pointers in an
 * ssl.SSLContext and in a `_ssl._SSLSocket` made from it. `what` is what the BIO of a
 * connection does. NULL, or the reason why not (str): new reference. */
struct tls_bio_calls {
    int (*read)(BIO *, char *, int);
    int (*write)(BIO *, const char *, int);
    long (*ctrl)(BIO *, int, long, void *);
};
PyObject *tlslib_open(PyObject *file, PyObject *version, PyObject *context,
                      PyObject *raw, const struct tls_bio_calls *what);

/* The SSL * of a `_ssl._SSLSocket`. Measured from 3.11 to 3.15. */
static inline SSL *
tlslib_ssl_of(PyObject *raw)
{
    return ((SSL **)((char *)raw + sizeof(PyObject)))[1];
}

#endif
