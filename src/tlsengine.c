/* tlsengine.c - see tlsengine.h. */

#include "tlsengine.h"
#include "compat.h"

#include <errno.h>

#define OUT_MIN HARD_OR(1, 4096)

/* --- our BIO ------------------------------------------------------------------ */

#define HEADER 5                    /* bytes */
#define RECORD_LIMIT (16384 + 2048) /* bytes of a record behind its header */

/* Whether it is no beginning of a record of TLS: alert, data and so on, version 3.x,
 * not too long. */
static bool
is_odd_header(const unsigned char *header)
{
    return header[0] < 20 || header[0] > 23 || header[1] != 3
        || (header[3] << 8 | header[4]) > RECORD_LIMIT;
}

static int
tls_bio_read(BIO *bio, char *buffer, int size)
{
    struct tls_engine *e = tls_lib->BIO_get_data(bio);
    tls_lib->BIO_clear_flags(bio, TLS_BIO_RETRY_MASK);
    if (size <= 0) {
        return -1;
    }
    if (e == NULL || e->in_len == 0) { /* also when the engine is gone */
        tls_lib->BIO_set_flags(bio, TLS_BIO_READ | TLS_BIO_RETRY);
        return -1;
    }
    if (size == HEADER && e->in_len >= HEADER && e->looking
        && UNLIKELY(is_odd_header((const unsigned char *)e->in))) {
        e->odd = true;
        tls_lib->BIO_set_flags(bio, TLS_BIO_READ | TLS_BIO_RETRY);
        return -1;
    }
    size_t n = e->in_len < (size_t)size ? e->in_len : (size_t)size;
    memcpy(buffer, e->in, n);
    e->in += n;
    e->in_len -= n;
    return (int)n;
}

static int
tls_bio_write(BIO *bio, const char *data, int size)
{
    struct tls_engine *e = tls_lib->BIO_get_data(bio);
    tls_lib->BIO_clear_flags(bio, TLS_BIO_RETRY_MASK);
    if (e == NULL || size <= 0) { /* a MemoryBIO that nobody reads takes all, too */
        return e == NULL ? size : -1;
    }
    size_t need = e->out_len + (size_t)size;
    if (need > e->out_cap) {
        size_t cap = e->out_cap < OUT_MIN ? OUT_MIN : e->out_cap;
        while (cap < need) {
            cap *= 2;
        }
        char *out = PyMem_RawRealloc(e->out, cap);
        if (out == NULL) {
            return -1;
        }
        e->out = out;
        e->out_cap = cap;
    }
    memcpy(e->out + e->out_len, data, (size_t)size);
    e->out_len = need;
    return size;
}

static long
tls_bio_ctrl(BIO *Py_UNUSED(bio), int what, long Py_UNUSED(number),
             void *Py_UNUSED(pointer))
{
    return what == TLS_BIO_CTRL_FLUSH;
}

const struct tls_bio_calls tls_bio_calls = {
    .read = tls_bio_read,
    .write = tls_bio_write,
    .ctrl = tls_bio_ctrl,
};

/* --- life --------------------------------------------------------------------- */

/* Whether an attribute of the object is None, or is missing. */
static bool
attribute_is_none(PyObject *obj, const char *name)
{
    PyObject *value = PyObject_GetAttrString(obj, name);
    PyErr_Clear();
    bool none = value == NULL || value == Py_None;
    Py_XDECREF(value);
    return none;
}

/* Whether Python code could tell: classes of its own, patched methods, callbacks whose
 * errors come out of read() and write(). */
static bool
tls_engine_is_plain(core_state *st, PyObject *sslobj)
{
    if ((PyObject *)Py_TYPE(sslobj) != st->tls_SSLObject) {
        return false;
    }
    PyObject *read = PyObject_GetAttrString(st->tls_SSLObject, "read");
    PyObject *write = PyObject_GetAttrString(st->tls_SSLObject, "write");
    PyObject *handshake = PyObject_GetAttrString(st->tls_SSLObject, "do_handshake");
    PyObject *context = PyObject_GetAttrString(sslobj, "context");
    bool plain = read == st->tls_read && write == st->tls_write
        && handshake == st->tls_handshake && context != NULL
        && attribute_is_none(context, "_msg_callback")
        && attribute_is_none(context, "keylog_filename");
    PyErr_Clear();
    Py_XDECREF(read);
    Py_XDECREF(write);
    Py_XDECREF(handshake);
    Py_XDECREF(context);
    return plain;
}

/* Puts our BIO in the place of the MemoryBIOs. 1: done; 0: it cannot be. */
static int
tls_engine_take_over(core_state *st, struct tls_engine *e)
{
    PyObject *raw = PyObject_GetAttrString(e->sslobj, "_sslobj");
    if (raw == NULL || (PyObject *)Py_TYPE(raw) != st->tls_raw_type) {
        PyErr_Clear();
        Py_XDECREF(raw);
        return 0;
    }
    BIO *bio = tls_lib->BIO_new(tls_lib->method);
    if (bio == NULL || !tls_lib->BIO_up_ref(bio)) {
        if (bio != NULL) {
            tls_lib->BIO_free(bio);
        }
        Py_DECREF(raw);
        PyErr_NoMemory();
        return -1;
    }
    tls_lib->BIO_set_data(bio, e);
    tls_lib->BIO_set_init(bio, 1);
    e->raw = raw;
    e->ssl = tlslib_ssl_of(raw);
    e->bio = bio;
    tls_lib->SSL_set_bio(e->ssl, bio, bio); /* takes one of the references */
    return 1;
}

int
tls_engine_set(core_state *st, struct tls_engine *e, PyObject *sslobj,
               PyObject *incoming, PyObject *outgoing, bool direct)
{
    tls_engine_clear(e);
    e->sslobj = Py_NewRef(sslobj);
    e->incoming = Py_NewRef(incoming);
    e->outgoing = Py_NewRef(outgoing);
    return direct && tls_engine_is_plain(st, sslobj) && tls_engine_take_over(st, e) < 0
        ? -1
        : 0;
}

int
tls_engine_traverse(struct tls_engine *e, visitproc visit, void *arg)
{
    Py_VISIT(e->sslobj);
    Py_VISIT(e->incoming);
    Py_VISIT(e->outgoing);
    Py_VISIT(e->raw);
    return 0;
}

void
tls_engine_clear(struct tls_engine *e)
{
    struct tls_engine old = *e;
    *e = (struct tls_engine){0};
    if (old.bio != NULL) {
        tls_lib->BIO_set_data(old.bio, NULL);
        tls_lib->BIO_free(old.bio);
    }
    PyMem_RawFree(old.kept);
    PyMem_RawFree(old.out);
    Py_XDECREF(old.raw);
    Py_XDECREF(old.sslobj);
    Py_XDECREF(old.incoming);
    Py_XDECREF(old.outgoing);
}

int
tls_engine_drop(core_state *st, struct tls_engine *e)
{
    e->in_len = e->out_len = e->kept_cap = e->out_cap = 0;
    e->in = NULL;
    PyMem_RawFree(e->kept);
    PyMem_RawFree(e->out);
    e->kept = e->out = NULL;
    if (e->ssl != NULL || e->outgoing == NULL) {
        return 0;
    }
    PyObject *outgoing = Py_NewRef(e->outgoing);
    PyObject *data = PyObject_CallMethodNoArgs(outgoing, st->str_read);
    Py_DECREF(outgoing);
    Py_XDECREF(data);
    return data == NULL ? -1 : 0;
}

/* --- data that came ----------------------------------------------------------- */

/* Puts what is there into a buffer of our own, with room for more behind it. */
static int
tls_engine_make_room(struct tls_engine *e, size_t more)
{
    size_t need = e->in_len + more;
    if (e->kept == NULL || e->in < e->kept
        || e->in + e->in_len + more > e->kept + e->kept_cap) {
        size_t cap = need < 1024 ? 1024 : need + need / 2;
        char *kept = PyMem_RawMalloc(cap);
        if (kept == NULL) {
            PyErr_NoMemory();
            return -1;
        }
        if (e->in_len > 0) {
            memcpy(kept, e->in, e->in_len);
        }
        PyMem_RawFree(e->kept);
        e->kept = kept;
        e->kept_cap = cap;
        e->in = kept;
    }
    return 0;
}

int
tls_engine_feed(core_state *st, struct tls_engine *e, const char *data, size_t size)
{
    if (e->ssl == NULL) {
        PyObject *bytes = PyBytes_FromStringAndSize(data, (Py_ssize_t)size);
        PyObject *incoming = Py_NewRef(e->incoming ? e->incoming : Py_None);
        PyObject *res = bytes == NULL
            ? NULL
            : PyObject_CallMethodOneArg(incoming, st->str_write, bytes);
        Py_DECREF(incoming);
        Py_XDECREF(bytes);
        Py_XDECREF(res);
        return res == NULL ? -1 : 0;
    }
    if (LIKELY(e->in_len == 0)) {
        e->in = data;
        e->in_len = size;
        return 0;
    }
    if (tls_engine_make_room(e, size) < 0) {
        return -1;
    }
    memcpy((char *)e->in + e->in_len, data, size);
    e->in_len += size;
    return 0;
}

int
tls_engine_keep(struct tls_engine *e, const char *data, size_t size)
{
    if (e->in_len == 0) {
        if (e->kept != NULL) {
            PyMem_RawFree(e->kept);
            e->kept = NULL;
            e->kept_cap = 0;
        }
        e->in = NULL;
        return 0;
    }
    bool theirs = e->in >= data && e->in < data + size;
    if (theirs && tls_engine_make_room(e, 0) < 0) {
        e->in_len = 0;
        return -1;
    }
    return 0;
}

/* --- what may have to wait ---------------------------------------------------- */

/* The exception being raised: to wait for, or an error. */
static enum tls_result
tls_engine_raised(core_state *st)
{
    if (!PyErr_ExceptionMatches(st->tls_again)) {
        return TLS_ERROR;
    }
    PyErr_Clear();
    return TLS_AGAIN;
}

enum tls_result
tls_engine_handshake(core_state *st, struct tls_engine *e)
{
    if (e->busy) {
        return TLS_AGAIN;
    }
    PyObject *sslobj = Py_NewRef(e->sslobj ? e->sslobj : Py_None);
    e->busy++;
    errno = 0; /* the ssl module may look at it */
    PyObject *res = PyObject_CallMethodNoArgs(sslobj, st->str_do_handshake);
    e->busy--;
    Py_DECREF(sslobj);
    Py_XDECREF(res);
    return res != NULL ? TLS_DONE : tls_engine_raised(st);
}

/* SSL_get_error() would take an error that somebody has left for its own. To clear the
 * queue costs far more than to look. */
static inline void
tls_engine_forget_errors(void)
{
    if (UNLIKELY(tls_lib->ERR_peek_error() != 0)) {
        tls_lib->ERR_clear_error();
    }
}

/* One SSL_read(). TLS_ERROR without an exception: the ssl module is to be asked. */
static enum tls_result
tls_engine_read_some(struct tls_engine *e, char *buffer, size_t size, size_t *got)
{
    if (e->busy) {
        return TLS_AGAIN;
    }
    e->busy++;
    e->looking = true;
    int rc = tls_lib->SSL_read_ex(e->ssl, buffer, size, got);
    int error = rc == 1 ? 0 : tls_lib->SSL_get_error(e->ssl, rc);
    bool odd = e->odd;
    e->odd = e->looking = false;
    e->busy--;
    return rc == 1                     ? TLS_DONE
        : odd                          ? TLS_ERROR
        : error == TLS_ERROR_WANT_READ ? TLS_AGAIN
        : error == TLS_ERROR_ZERO_RETURN
            && tls_lib->SSL_get_shutdown(e->ssl) == TLS_RECEIVED_SHUTDOWN
        ? TLS_CLOSED
        : TLS_ERROR;
}

/* SSLObject.read(size) or read(size, buffer): a bytes object, or the number of bytes
 * read. NULL with *result. */
static PyObject *
tls_engine_call_read(core_state *st, struct tls_engine *e, Py_ssize_t size,
                     PyObject *buffer, enum tls_result *result)
{
    PyObject *sslobj = Py_NewRef(e->sslobj ? e->sslobj : Py_None);
    PyObject *number = PyLong_FromSsize_t(size);
    PyObject *argv[3] = {sslobj, number, buffer};
    errno = 0; /* the ssl module may look at it */
    PyObject *res = number == NULL
        ? NULL
        : PyObject_VectorcallMethod(st->str_read, argv, buffer ? 3 : 2, NULL);
    Py_XDECREF(number);
    Py_DECREF(sslobj);
    *result = res != NULL ? TLS_DONE : tls_engine_raised(st);
    return res;
}

/* Whether there may be more without another record from the peer. */
static inline bool
tls_engine_has_more(struct tls_engine *e)
{
    return e->in_len > 0 || tls_lib->SSL_pending(e->ssl) > 0;
}

/* All records, into a bytes object that grows. */
static enum tls_result
tls_engine_read_records(struct tls_engine *e, const char *first, size_t size,
                        PyObject **data)
{
    size_t cap = size + e->in_len + RECORD_MAX;
    PyObject *bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)cap);
    if (bytes == NULL) {
        return TLS_ERROR;
    }
    if (size > 0) {
        memcpy(PyBytes_AS_STRING(bytes), first, size);
    }
    enum tls_result result = TLS_AGAIN;
    while (tls_engine_has_more(e)) {
        if (size == cap) {
            cap *= 2;
            if (_PyBytes_Resize(&bytes, (Py_ssize_t)cap) < 0) {
                return TLS_ERROR;
            }
        }
        size_t got;
        result = tls_engine_read_some(e, PyBytes_AS_STRING(bytes) + size, cap - size,
                                      &got);
        if (result != TLS_DONE) {
            break;
        }
        size += got;
    }
    if (result == TLS_ERROR || size == 0) {
        Py_DECREF(bytes);
        return result == TLS_DONE ? TLS_AGAIN : result;
    }
    if (_PyBytes_Resize(&bytes, (Py_ssize_t)size) < 0) {
        return TLS_ERROR;
    }
    *data = bytes;
    return result == TLS_DONE ? TLS_AGAIN : result;
}

/* A small record alone is the usual case: its object gets its size at once. */
static enum tls_result
tls_engine_read_direct(struct tls_engine *e, PyObject **data)
{
    char first[RECORD_MAX];
    size_t got = 0;
    tls_engine_forget_errors();
    if (e->in_len <= RECORD_MAX + 256) {
        enum tls_result result = tls_engine_read_some(e, first, sizeof(first), &got);
        if (result != TLS_DONE) {
            return result;
        }
        if (tls_engine_has_more(e)) {
            return tls_engine_read_records(e, first, got, data);
        }
        *data = PyBytes_FromStringAndSize(first, (Py_ssize_t)got);
        return *data == NULL ? TLS_ERROR : TLS_AGAIN;
    }
    return tls_engine_read_records(e, NULL, 0, data);
}

enum tls_result
tls_engine_read_all(core_state *st, struct tls_engine *e, PyObject **data)
{
    *data = NULL;
    if (e->ssl != NULL) {
        enum tls_result result = tls_engine_read_direct(e, data);
        if (result != TLS_ERROR || PyErr_Occurred()) {
            return result;
        }
    }
    PyObject *joined = NULL;
    enum tls_result result = TLS_DONE;
    while (result == TLS_DONE) {
        PyObject *chunk = tls_engine_call_read(st, e, READ_MAX, NULL, &result);
        if (chunk == NULL) {
            break;
        }
        int some = PyObject_IsTrue(chunk);
        if (some <= 0) {
            Py_DECREF(chunk);
            result = some < 0 ? TLS_ERROR : TLS_CLOSED;
        }
        else if (joined == NULL) {
            joined = chunk;
        }
        else {
            PyBytes_ConcatAndDel(&joined, chunk);
            result = joined == NULL ? TLS_ERROR : TLS_DONE;
        }
    }
    if (result == TLS_ERROR) {
        Py_CLEAR(joined);
    }
    *data = joined;
    return result;
}

/* The portable way, which also says what is wrong with a buffer. */
static enum tls_result
tls_engine_read_into_slowly(core_state *st, struct tls_engine *e, PyObject *buffer,
                            Py_ssize_t *size)
{
    Py_ssize_t wants = PyObject_Length(buffer);
    enum tls_result result = wants < 0 ? TLS_ERROR : TLS_DONE;
    PyObject *view = Py_NewRef(buffer);
    while (result == TLS_DONE && *size < wants) {
        if (*size > 0) { /* not before: the ssl module looks at the buffer itself */
            PyObject *whole = PyMemoryView_FromObject(buffer);
            Py_SETREF(view,
                      whole == NULL ? NULL : PySequence_GetSlice(whole, *size, wants));
            Py_XDECREF(whole);
        }
        PyObject *count = view == NULL
            ? NULL
            : tls_engine_call_read(st, e, wants - *size, view, &result);
        if (count == NULL) {
            result = view == NULL ? TLS_ERROR : result;
            break;
        }
        Py_ssize_t n = PyLong_AsSsize_t(count);
        Py_DECREF(count);
        if (n <= 0) {
            result = n < 0 && PyErr_Occurred() ? TLS_ERROR : TLS_CLOSED;
        }
        else {
            *size += n < wants - *size ? n : wants - *size;
        }
    }
    Py_XDECREF(view);
    return result;
}

enum tls_result
tls_engine_read_into(core_state *st, struct tls_engine *e, PyObject *buffer,
                     Py_ssize_t *size)
{
    *size = 0;
    Py_buffer view;
    if (e->ssl == NULL || PyObject_GetBuffer(buffer, &view, PyBUF_WRITABLE) < 0) {
        PyErr_Clear();
        return tls_engine_read_into_slowly(st, e, buffer, size);
    }
    /* To get the buffer may have run Python code. */
    enum tls_result result = e->ssl == NULL ? TLS_AGAIN : TLS_DONE;
    bool more = result == TLS_DONE;
    tls_engine_forget_errors();
    while (more && *size < view.len) {
        size_t got;
        result = tls_engine_read_some(e, (char *)view.buf + *size,
                                      (size_t)(view.len - *size), &got);
        if (result != TLS_DONE) {
            break;
        }
        *size += (Py_ssize_t)got;
        more = tls_engine_has_more(e);
    }
    bool full = *size == view.len;
    PyBuffer_Release(&view);
    if (result == TLS_ERROR) {
        PyObject *res = tls_engine_call_read(st, e, 1, NULL, &result);
        if (res != NULL) { /* what could not be read cannot be read now */
            Py_DECREF(res);
            result = TLS_AGAIN;
        }
        return result;
    }
    return result == TLS_DONE && !full ? TLS_AGAIN : result;
}

enum tls_result
tls_engine_write(core_state *st, struct tls_engine *e, PyObject *bytes,
                 const char *data, size_t len, size_t *size)
{
    *size = 0;
    if (e->ssl != NULL) {
        if (e->busy) {
            return TLS_AGAIN;
        }
        e->busy++;
        tls_engine_forget_errors();
        int rc = tls_lib->SSL_write_ex(e->ssl, data, len, size);
        int error = rc == 1 ? 0 : tls_lib->SSL_get_error(e->ssl, rc);
        e->busy--;
        if (rc == 1 || error == TLS_ERROR_WANT_READ) {
            return rc == 1 ? TLS_DONE : TLS_AGAIN;
        }
    }
    PyObject *sslobj = Py_NewRef(e->sslobj ? e->sslobj : Py_None);
    bytes = bytes != NULL ? Py_NewRef(bytes)
                          : PyBytes_FromStringAndSize(data, (Py_ssize_t)len);
    PyObject *res = bytes == NULL
        ? NULL
        : PyObject_CallMethodOneArg(sslobj, st->str_write, bytes);
    Py_ssize_t n = res == NULL ? -1 : PyLong_AsSsize_t(res);
    Py_XDECREF(bytes);
    Py_DECREF(sslobj);
    Py_XDECREF(res);
    if (n < 0) {
        return PyErr_Occurred() ? tls_engine_raised(st) : TLS_AGAIN;
    }
    *size = (size_t)n < len ? (size_t)n : len;
    return TLS_DONE;
}

/* --- counting ----------------------------------------------------------------- */

static Py_ssize_t
bio_pending(core_state *st, PyObject *bio)
{
    PyObject *number = bio == NULL ? NULL : PyObject_GetAttr(bio, st->str_pending);
    Py_ssize_t n = number == NULL ? -1 : PyLong_AsSsize_t(number);
    Py_XDECREF(number);
    return bio == NULL ? 0 : n;
}

Py_ssize_t
tls_engine_incoming(core_state *st, struct tls_engine *e)
{
    return e->ssl != NULL ? (Py_ssize_t)e->in_len : bio_pending(st, e->incoming);
}

Py_ssize_t
tls_engine_outgoing(core_state *st, struct tls_engine *e)
{
    return e->ssl != NULL ? (Py_ssize_t)e->out_len : bio_pending(st, e->outgoing);
}

PyObject *
tls_engine_take(core_state *st, struct tls_engine *e)
{
    if (e->ssl == NULL) {
        PyObject *outgoing = Py_NewRef(e->outgoing ? e->outgoing : Py_None);
        PyObject *data = PyObject_CallMethodNoArgs(outgoing, st->str_read);
        Py_DECREF(outgoing);
        return data;
    }
    PyObject *data = PyBytes_FromStringAndSize(e->out, (Py_ssize_t)e->out_len);
    if (data != NULL) {
        e->out_len = 0;
    }
    return data;
}
