/* tlsio.h - TLS over a non-blocking socket, at what OpenSSL itself costs.
 *
 * The bytes of one recv, however many records they are, wait in `arrived` until
 * OpenSSL takes them, and what it encrypts collects in `out`, to leave by one send.
 * (OpenSSL can read ahead by itself, but 3.0 then moves all that is left in its
 * buffer for each record, which costs more than this copy.)
 *
 * Who calls tls_receive() must call tls_read() until that returns nothing, or
 * tls_has_more() is false: there is one `arrived` for all connections.
 */

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define RECEIVE_SIZE (256 * 1024)
#define RECORD_SIZE (16 * 1024)

struct tls {
    SSL *ssl;
    int fd;    /* ours, closed by tls_close() */
    char *out; /* from `begin` to `end` it is still to be sent */
    size_t begin;
    size_t end;
    size_t room;
};

static struct {
    char bytes[RECEIVE_SIZE];
    size_t begin;
    size_t end;
} arrived;

static BIO_METHOD *bio_method;

static void
tls_die(const char *what)
{
    fprintf(stderr, "TLS: %s\n", what);
    ERR_print_errors_fp(stderr);
    exit(1);
}

static int
bio_read(BIO *bio, char *data, int size)
{
    size_t left = arrived.end - arrived.begin;
    size_t taken = left < (size_t)size ? left : (size_t)size;

    BIO_clear_retry_flags(bio);
    if (left == 0) {
        BIO_set_retry_read(bio);
        return -1;
    }
    memcpy(data, arrived.bytes + arrived.begin, taken);
    arrived.begin += taken;
    return (int)taken;
}

static int
bio_write(BIO *bio, const char *data, int size)
{
    struct tls *tls = BIO_get_data(bio);

    if (tls->room - tls->end < (size_t)size) {
        tls->room = 2 * (tls->end + (size_t)size);
        tls->out = realloc(tls->out, tls->room);
        if (tls->out == NULL) {
            tls_die("realloc");
        }
    }
    memcpy(tls->out + tls->end, data, (size_t)size);
    tls->end += (size_t)size;
    return size;
}

/* OpenSSL asks for a flush after what it writes: that is for tls_flush() to do. */
static long
bio_control(BIO *bio, int command, long number, void *pointer)
{
    (void)bio;
    (void)number;
    (void)pointer;
    return command == BIO_CTRL_FLUSH;
}

/* Return a context for TLS 1.3 alone. */
static SSL_CTX *
tls_context(const SSL_METHOD *method)
{
    SSL_CTX *context = SSL_CTX_new(method);

    bio_method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "tlsio");
    if (context == NULL || bio_method == NULL
        || !BIO_meth_set_read(bio_method, bio_read)
        || !BIO_meth_set_write(bio_method, bio_write)
        || !BIO_meth_set_ctrl(bio_method, bio_control)
        || !SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION)) {
        tls_die("context");
    }
    return context;
}

static void
tls_open(struct tls *tls, SSL_CTX *context, int fd)
{
    BIO *bio = BIO_new(bio_method);

    memset(tls, 0, sizeof(*tls));
    tls->fd = fd;
    tls->ssl = SSL_new(context);
    if (tls->ssl == NULL || bio == NULL) {
        tls_die("connection");
    }
    BIO_set_data(bio, tls);
    BIO_set_init(bio, 1);
    SSL_set_bio(tls->ssl, bio, bio);
}

/* Return 1 if something is still to be sent, 0 if not, -1 if the connection is
 * broken. */
static int
tls_flush(struct tls *tls)
{
    while (tls->begin < tls->end) {
        ssize_t sent = send(tls->fd, tls->out + tls->begin, tls->end - tls->begin,
                            MSG_NOSIGNAL);
        if (sent < 0) {
            return errno == EAGAIN ? 1 : -1;
        }
        tls->begin += (size_t)sent;
    }
    tls->begin = tls->end = 0;
    return 0;
}

/* Close the connection, with a close_notify if it is not broken. */
static void
tls_close(struct tls *tls)
{
    SSL_shutdown(tls->ssl);
    tls_flush(tls);
    SSL_free(tls->ssl);
    close(tls->fd);
    free(tls->out);
    arrived.begin = arrived.end = 0;
    ERR_clear_error();
}

static void
tls_write(struct tls *tls, const void *data, size_t size)
{
    size_t written;

    if (!SSL_write_ex(tls->ssl, data, size, &written)) {
        tls_die("write");
    }
}

/* Take from the socket what came. Return 0, or -1 if the connection is gone. */
static int
tls_receive(struct tls *tls)
{
    ssize_t received = recv(tls->fd, arrived.bytes, RECEIVE_SIZE, 0);

    if (received <= 0) {
        return received < 0 && errno == EAGAIN ? 0 : -1;
    }
    arrived.begin = 0;
    arrived.end = (size_t)received;
    return 0;
}

/* Return the size of what is in the next record, 0 if no whole one is left, or -1
 * if the connection has ended, well or not. Makes the handshake first. */
static int
tls_read(struct tls *tls, void *data)
{
    int error, received = SSL_read(tls->ssl, data, RECORD_SIZE);

    if (received > 0) {
        return received;
    }
    error = SSL_get_error(tls->ssl, received);
    ERR_clear_error();
    return error == SSL_ERROR_WANT_READ ? 0 : -1;
}

/* Tell whether to read again. An SSL_read() that returns nothing is not cheap. */
static int
tls_has_more(struct tls *tls)
{
    return arrived.begin < arrived.end || SSL_has_pending(tls->ssl);
}
