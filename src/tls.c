/* tls.c - see tls.h: data in and out. */

#include "tls.h"
#include "compat.h"
#include "stream.h"
#include "streamfeed.h"
#include "sys.h"

#define BACKLOG_MAX HARD_OR(16, 32 * 1024) /* bytes that wait for a turn's end */
#define OUT_MAX (64 * 1024) /* bytes to encrypt before they are sent */
#define SPARE_MAX (256 * 1024)

PyObject *
tls_call_stock(TLSObject *self, const char *name, PyObject *args)
{
    PyObject *function = PyObject_GetAttrString(self->st->tls_SSLProtocol, name);
    PyObject *head = function == NULL ? NULL : PyTuple_Pack(1, (PyObject *)self);
    PyObject *all = head == NULL ? NULL
        : args == NULL           ? Py_NewRef(head)
                                 : PySequence_Concat(head, args);
    PyObject *res = all == NULL ? NULL : PyObject_Call(function, all, NULL);
    Py_XDECREF(all);
    Py_XDECREF(head);
    Py_XDECREF(function);
    return res;
}

int
tls_call_stock_steal(TLSObject *self, const char *name, PyObject *args)
{
    PyObject *res = tls_call_stock(self, name, args);
    Py_XDECREF(args);
    Py_XDECREF(res);
    return res == NULL ? -1 : 0;
}

/* self.name(arg, arg2), both perhaps NULL */
static int
tls_call_method(TLSObject *self, PyObject *name, PyObject *arg, PyObject *arg2)
{
    PyObject *argv[3] = {(PyObject *)self, arg, arg2};
    PyObject *res = PyObject_VectorcallMethod(
        name, argv, 1 + (size_t)(arg != NULL) + (size_t)(arg2 != NULL), NULL);
    Py_XDECREF(res);
    return res == NULL ? -1 : 0;
}

int
tls_fatal(TLSObject *self)
{
    if (!PyErr_ExceptionMatches(PyExc_Exception)) {
        return -1;
    }
    PyObject *exc = PyErr_GetRaisedException();
    PyObject *text = PyUnicode_FromString("Fatal error on SSL protocol");
    PyObject *outer = PyErr_GetHandledException();
    PyErr_SetHandledException(exc);
    int rc = text == NULL
        ? -1
        : tls_call_method(self, self->st->str__fatal_error, exc, text);
    PyErr_SetHandledException(outer);
    Py_XDECREF(outer);
    if (UNLIKELY(rc < 0) && self->native && self->transport != NULL) {
        PyObject *transport = Py_NewRef(self->transport);
        rc = transport_close_untold(transport, exc);
        Py_DECREF(transport);
    }
    Py_XDECREF(text);
    Py_DECREF(exc);
    return rc;
}

/* --- the buffer of what is to be sent ----------------------------------------- */

static inline LoopObject *
tls_loop(TLSObject *self)
{
    return self->loop == NULL ? NULL : loop_from_object_borrow(self->st, self->loop);
}

/* Idle connections have none: the loop lends one. */
static void
tls_lend_out(TLSObject *self)
{
    LoopObject *loop = tls_loop(self);
    struct tls_engine *e = &self->engine;
    if (e->out == NULL && loop != NULL && loop->spare != NULL) {
        e->out = loop->spare;
        e->out_cap = loop->spare_cap;
        loop->spare = NULL;
    }
}

static void
tls_return_out(TLSObject *self)
{
    LoopObject *loop = tls_loop(self);
    struct tls_engine *e = &self->engine;
    if (e->out == NULL || e->out_len > 0) {
        return;
    }
    char *out = e->out;
    size_t cap = e->out_cap;
    e->out = NULL;
    e->out_cap = 0;
    if (loop != NULL && loop->spare == NULL && cap <= SPARE_MAX && !loop->closed) {
        loop->spare = out;
        loop->spare_cap = cap;
    }
    else {
        PyMem_RawFree(out);
    }
}

/* --- out ---------------------------------------------------------------------- */

Py_ssize_t
tls_write_buffer_size(TLSObject *self)
{
    Py_ssize_t n = tls_engine_outgoing(self->st, &self->engine);
    return n < 0 ? n : n + self->backlog.size;
}

/* pause_writing() and resume_writing() are asyncio's to call. */
int
tls_control_app_writing(TLSObject *self)
{
    Py_ssize_t size = tls_write_buffer_size(self);
    if (size < 0) {
        return -1;
    }
    bool crossed = self->app_writing_paused ? size <= self->outgoing_low
                                            : size >= self->outgoing_high;
    return UNLIKELY(crossed) ? tls_call_stock_steal(self, "_control_app_writing", NULL)
                             : 0;
}

/* transport.write(data) for what the engine has. */
static int
tls_send(TLSObject *self)
{
    struct tls_engine *e = &self->engine;
    PyObject *transport = Py_NewRef(self->transport ? self->transport : Py_None);
    int rc;
    if (LIKELY(self->native && e->ssl != NULL)) {
        /* The buffer is out of reach while Python code may run. */
        struct tls_engine taken = {
            .out = e->out, .out_len = e->out_len, .out_cap = e->out_cap};
        e->out = NULL;
        e->out_len = e->out_cap = 0;
        rc = stream_send(transport, taken.out, (Py_ssize_t)taken.out_len);
        if (e->out == NULL) {
            e->out = taken.out;
            e->out_cap = taken.out_cap;
        }
        else {
            PyMem_RawFree(taken.out);
        }
    }
    else {
        PyObject *data = tls_engine_take(self->st, e);
        PyObject *res = NULL;
        if (data != NULL && PyObject_Length(data) != 0) {
            res = PyObject_CallMethodOneArg(transport, self->st->str_write, data);
        }
        else if (data != NULL) {
            res = Py_NewRef(Py_None);
        }
        rc = res == NULL ? -1 : 0;
        Py_XDECREF(res);
        Py_XDECREF(data);
    }
    Py_DECREF(transport);
    return rc;
}

/* Hands on what is encrypted, if the transport takes data. */
static int
tls_pass_on(TLSObject *self, bool takes)
{
    struct tls_engine *e = &self->engine;
    if (takes && (e->ssl == NULL || e->out_len > 0) && tls_send(self) < 0) {
        return -1;
    }
    tls_return_out(self);
    return tls_control_app_writing(self);
}

int
tls_process_outgoing(TLSObject *self)
{
    return tls_pass_on(self, !self->ssl_writing_paused);
}

/* What becomes of what is encrypted: it stays here (the transport takes nothing), goes
 * to the transport (all that one write() brings does, as in asyncio, also when the
 * transport gets full meanwhile), or goes there until it is full. */
enum tls_way { TLS_KEEP, TLS_ALL, TLS_WHILE_TAKEN };

/* Between the records of something large: what is encrypted may leave already. */
static enum tls_result
tls_send_early(TLSObject *self, enum tls_way way)
{
    if (self->engine.out_len < OUT_MAX || way == TLS_KEEP || !self->native
        || TRANSPORT(self->transport)->conn_lost != 0) {
        return TLS_DONE;
    }
    return tls_send(self) < 0                                ? TLS_ERROR
        : way == TLS_WHILE_TAKEN && self->ssl_writing_paused ? TLS_AGAIN
                                                             : TLS_DONE;
}

/* Encrypts data; `*size`: how much was taken. */
static enum tls_result
tls_encrypt(TLSObject *self, enum tls_way way, PyObject *bytes, const char *data,
            size_t len, size_t *size)
{
    enum tls_result result = TLS_DONE;
    *size = 0;
    while (result == TLS_DONE && *size < len) {
        size_t part = len - *size, taken;
        if (self->engine.ssl != NULL && part > RECORD_MAX) {
            part = RECORD_MAX;
        }
        result = tls_engine_write(self->st, &self->engine, part == len ? bytes : NULL,
                                  data + *size, part, &taken);
        *size += taken;
        if (result == TLS_DONE) {
            result = tls_send_early(self, way);
        }
    }
    return result;
}

/* What the next record is made of: the first piece, or several small ones joined. */
static enum tls_result
tls_encrypt_first(TLSObject *self, enum tls_way way, size_t *size)
{
    struct wqueue *q = &self->backlog;
    struct iovec iov[64];
    int n = wqueue_fill(q, iov, (int)(sizeof(iov) / sizeof(iov[0])));
    if (n > 1 && iov[0].iov_len < RECORD_MAX) {
        char joined[RECORD_MAX];
        size_t len = 0;
        for (int i = 0; i < n && len < sizeof(joined); i++) {
            size_t part = sizeof(joined) - len;
            part = iov[i].iov_len < part ? iov[i].iov_len : part;
            memcpy(joined + len, iov[i].iov_base, part);
            len += part;
        }
        return tls_encrypt(self, way, NULL, joined, len, size);
    }
    PyObject *bytes = Py_NewRef(wqueue_items(q)[q->head]);
    enum tls_result result = tls_encrypt(self, way, q->offset == 0 ? bytes : NULL,
                                         iov[0].iov_base, iov[0].iov_len, size);
    Py_DECREF(bytes);
    return result;
}

/* Encrypts the backlog, unless that is being done already: then it goes on with what
 * has come. */
static enum tls_result
tls_encrypt_backlog(TLSObject *self, enum tls_way way)
{
    enum tls_result result = TLS_DONE;
    self->corked = false;
    if (self->writing) {
        return result;
    }
    self->writing = true;
    tls_lend_out(self);
    while (result == TLS_DONE && self->backlog.len > 0) {
        size_t size;
        result = tls_encrypt_first(self, way, &size);
        /* What ran meanwhile may have dropped the queue. */
        if (size > 0 && self->backlog.size >= (Py_ssize_t)size) {
            wqueue_consume(&self->backlog, (Py_ssize_t)size);
        }
    }
    self->writing = false;
    return result;
}

/* While the transport takes nothing, what is written waits as it is. */
int
tls_do_write(TLSObject *self)
{
    bool takes = !self->ssl_writing_paused;
    return takes && tls_encrypt_backlog(self, TLS_ALL) == TLS_ERROR
        ? -1
        : tls_pass_on(self, takes);
}

int
tls_resume_writing(TLSObject *self)
{
    self->ssl_writing_paused = false;
    bool ready = self->state != TLS_UNWRAPPED && self->state != TLS_DO_HANDSHAKE;
    return ready && tls_encrypt_backlog(self, TLS_WHILE_TAKEN) == TLS_ERROR
        ? -1
        : tls_pass_on(self, !self->ssl_writing_paused);
}

int
tls_write_out(TLSObject *self)
{
    bool takes = !self->ssl_writing_paused;
    return tls_encrypt_backlog(self, takes ? TLS_ALL : TLS_KEEP) == TLS_ERROR
        ? -1
        : tls_pass_on(self, takes);
}

/* In a child of fork: what waited for the end of a turn is the parent's to send. */
static void
tls_drop_parents(TLSObject *self)
{
    if (UNLIKELY(self->corked && self->source.flush_forks != sys_fork_count())) {
        self->corked = false;
        wqueue_clear(&self->backlog);
    }
}

int
tls_flush(TLSObject *self)
{
    tls_drop_parents(self);
    if (!self->corked) {
        return 0;
    }
    self->corked = false;
    return tls_do_write(self) < 0 ? tls_fatal(self) : 0;
}

int
tls_feed_flush(PyObject *op)
{
    return tls_flush(TLS(op));
}

static int
tls_run_flush(LoopObject *Py_UNUSED(loop), struct source *s)
{
    return tls_flush(TLS(s->owner));
}

const struct source_kind tls_kind = {
    .flush = tls_run_flush,
};

/* What asyncio does with data for a closed connection. */
static int
tls_write_lost(TLSObject *self)
{
    if (self->conn_lost >= LOST_WRITES_LOGGED
        && transport_warn(self->st, "SSL connection is closed") < 0) {
        return -1;
    }
    self->conn_lost++;
    return 0;
}

static inline bool
tls_takes_no_data(TLSObject *self)
{
    return self->state != TLS_WRAPPED && self->state != TLS_DO_HANDSHAKE;
}

/* What is in the backlog leaves now, or at the end of the turn that runs. */
static int
tls_appended(TLSObject *self)
{
    if (self->state != TLS_WRAPPED) {
        return 0;
    }
    LoopObject *loop = tls_loop(self);
    tls_drop_parents(self);
    if (LIKELY(loop != NULL && stream_may_cork(loop))
        && self->backlog.size <= BACKLOG_MAX && self->backlog.size < self->outgoing_high
        && !self->ssl_writing_paused) {
        self->corked = true;
        self->source.flush_forks = sys_fork_count();
        source_flush_soon(loop, &self->source);
        return 0;
    }
    return tls_do_write(self) < 0 ? tls_fatal(self) : 0;
}

/* Bytes to the backlog's end; steals them. They may be empty. */
static int
tls_append_steal(TLSObject *self, PyObject *bytes)
{
    tls_drop_parents(self);
    if (PyBytes_GET_SIZE(bytes) == 0) {
        Py_DECREF(bytes);
        return 0;
    }
    if (wqueue_push_steal(&self->backlog, bytes) < 0) {
        Py_DECREF(bytes);
        PyErr_NoMemory();
        return -1;
    }
    return 0;
}

/* Large data with nothing before them are encrypted where they are. */
static int
tls_write_view(TLSObject *self, PyObject *data)
{
    Py_buffer view;
    if (PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) < 0) {
        return tls_fatal(self);
    }
    enum tls_result result = TLS_DONE;
    size_t size = 0, len = (size_t)view.len;
    bool begun = false;
    /* To get the buffer may have run Python code. */
    if (self->state == TLS_WRAPPED && self->backlog.len == 0 && !self->writing
        && !self->ssl_writing_paused) {
        self->writing = begun = true;
        tls_lend_out(self);
        result = tls_encrypt(self, TLS_ALL, NULL, view.buf, len, &size);
        self->writing = false;
    }
    int rc = result == TLS_ERROR ? -1 : 0;
    if (rc == 0 && size < len && !tls_takes_no_data(self)) {
        PyObject *rest = PyBytes_FromStringAndSize((char *)view.buf + size,
                                                   view.len - (Py_ssize_t)size);
        rc = rest == NULL ? -1 : tls_append_steal(self, rest);
    }
    release_view(&view);
    if (rc == 0 && begun) { /* all of it goes to the transport */
        rc = tls_encrypt_backlog(self, TLS_ALL) == TLS_ERROR ? -1
                                                             : tls_pass_on(self, true);
    }
    else if (rc == 0 && self->state == TLS_WRAPPED) {
        rc = tls_do_write(self);
    }
    return rc < 0 ? tls_fatal(self) : 0;
}

int
tls_write(TLSObject *self, PyObject *data)
{
    if (UNLIKELY(tls_takes_no_data(self))) {
        return tls_write_lost(self);
    }
    if (!PyBytes_CheckExact(data)) {
        Py_ssize_t len = PyObject_Length(data);
        if (len < 0) {
            return -1;
        }
        bool strided = PyMemoryView_Check(data)
            && !PyBuffer_IsContiguous(PyMemoryView_GET_BUFFER(data), 'C');
        if (len > BACKLOG_MAX && self->state == TLS_WRAPPED && self->backlog.len == 0
            && self->engine.ssl != NULL && !strided) {
            return tls_write_view(self, data);
        }
        data = PyBytes_FromObject(data);
    }
    else {
        Py_INCREF(data);
    }
    if (data == NULL || tls_takes_no_data(self)) {
        Py_XDECREF(data);
        return data == NULL ? tls_fatal(self) : 0;
    }
    return tls_append_steal(self, data) < 0 ? -1 : tls_appended(self);
}

int
tls_write_all(TLSObject *self, PyObject *iterable)
{
    if (tls_takes_no_data(self)) {
        return tls_write_lost(self);
    }
    PyObject *iter = PyObject_GetIter(iterable);
    PyObject *bad = NULL; /* the first error, asyncio's to report */
    tls_drop_parents(self);
    int rc = iter == NULL ? -1 : 0;
    while (rc == 0) {
        PyObject *data = PyIter_Next(iter);
        if (data == NULL) {
            rc = PyErr_Occurred() ? -1 : 1;
            break;
        }
        PyObject *bytes = NULL;
        if (PyObject_Length(data) < 0) {
            rc = -1;
        }
        else if (bad == NULL) {
            bytes = PyBytes_CheckExact(data) ? Py_NewRef(data)
                : PyObject_CheckBuffer(data) ? PyBytes_FromObject(data)
                                             : NULL;
            if (bytes == NULL) {
                if (!PyErr_Occurred()) {
                    PyErr_Format(PyExc_TypeError,
                                 "a bytes-like object is required, not '%.100s'",
                                 Py_TYPE(data)->tp_name);
                }
                bad = PyErr_GetRaisedException();
            }
        }
        if (bytes != NULL && tls_append_steal(self, bytes) < 0) {
            rc = -1;
        }
        Py_DECREF(data);
    }
    Py_XDECREF(iter);
    PyObject *raised = PyErr_GetRaisedException();
    int done = 0;
    if (bad == NULL) {
        done = tls_appended(self);
    }
    else { /* what is before it has been encrypted by then, but not sent */
        if (self->state == TLS_WRAPPED
            && tls_encrypt_backlog(self, TLS_KEEP) == TLS_ERROR) {
            PyErr_Clear();
        }
        PyErr_SetRaisedException(bad);
        done = tls_fatal(self);
    }
    if (raised != NULL) {
        PyErr_SetRaisedException(raised);
        return -1;
    }
    return done;
}

/* --- in ----------------------------------------------------------------------- */

int
tls_control_ssl_reading(TLSObject *self)
{
    Py_ssize_t size = tls_engine_incoming(self->st, &self->engine);
    if (size < 0) {
        return -1;
    }
    bool crossed = self->ssl_reading_paused ? size <= self->incoming_low
                                            : size >= self->incoming_high;
    return UNLIKELY(crossed) ? tls_call_stock_steal(self, "_control_ssl_reading", NULL)
                             : 0;
}

/* The peer has sent close_notify. */
static int
tls_closed_by_peer(TLSObject *self)
{
    return tls_call_method(self, self->st->str__call_eof_received, NULL, NULL) < 0
        ? -1
        : tls_call_method(self, self->st->str__start_shutdown, NULL, NULL);
}

/* app_protocol.data_received(data) */
static int
tls_read_copied(TLSObject *self)
{
    core_state *st = self->st;
    PyObject *data;
    enum tls_result result = tls_engine_read_all(st, &self->engine, &data);
    if (result == TLS_ERROR) {
        return -1;
    }
    if (data != NULL) {
        PyObject *protocol = Py_NewRef(self->app_protocol ? self->app_protocol
                                                          : Py_None);
        /* An SSLObject of somebody's own may read something else than bytes. */
        int fed = PyBytes_CheckExact(data)
                && Py_IS_TYPE(protocol, (PyTypeObject *)st->StreamReaderProtocol)
            ? streamfeed_data(st, protocol, PyBytes_AS_STRING(data),
                              PyBytes_GET_SIZE(data))
            : 0;
        PyObject *argv[2] = {protocol, data};
        PyObject *res = fed < 0 ? NULL
            : fed > 0           ? Py_NewRef(Py_None)
                      : PyObject_VectorcallMethod(st->str_data_received, argv, 2, NULL);
        Py_DECREF(protocol);
        Py_DECREF(data);
        Py_XDECREF(res);
        if (res == NULL) {
            return -1;
        }
    }
    return result == TLS_CLOSED ? tls_closed_by_peer(self) : 0;
}

/* self._loop.call_soon(self._do_read) */
static int
tls_read_again_soon(TLSObject *self)
{
    PyObject *loop = Py_NewRef(self->loop ? self->loop : Py_None);
    PyObject *callback = PyObject_GetAttr((PyObject *)self, self->st->str__do_read);
    PyObject *res = callback == NULL
        ? NULL
        : PyObject_CallMethodOneArg(loop, self->st->str_call_soon, callback);
    Py_XDECREF(callback);
    Py_DECREF(loop);
    Py_XDECREF(res);
    return res == NULL ? -1 : 0;
}

/* callable(number); steals the callable. New reference. */
static PyObject *
call_with_size_steal(PyObject *callable, Py_ssize_t number)
{
    PyObject *arg = PyLong_FromSsize_t(number);
    PyObject *res = arg == NULL ? NULL : PyObject_CallOneArg(callable, arg);
    Py_XDECREF(arg);
    Py_DECREF(callable);
    return res;
}

/* The same into the buffer of a BufferedProtocol. */
static int
tls_read_buffered(TLSObject *self)
{
    core_state *st = self->st;
    Py_ssize_t size = tls_engine_incoming(st, &self->engine);
    PyObject *buffer = size < 0
        ? NULL
        : call_with_size_steal(Py_NewRef(self->get_buffer ? self->get_buffer : Py_None),
                               size);
    Py_ssize_t wants = buffer == NULL ? -1 : PyObject_Length(buffer);
    if (wants < 0) {
        Py_XDECREF(buffer);
        return -1;
    }
    size = 0;
    /* Nothing fits into an empty one: asyncio takes that for the end. */
    enum tls_result result = wants == 0
        ? TLS_CLOSED
        : tls_engine_read_into(st, &self->engine, buffer, &size);
    Py_DECREF(buffer);
    if (result == TLS_ERROR || (result == TLS_DONE && tls_read_again_soon(self) < 0)) {
        return -1;
    }
    if (size > 0) {
        PyObject *res = call_with_size_steal(
            Py_NewRef(self->buffer_updated ? self->buffer_updated : Py_None), size);
        Py_XDECREF(res);
        if (res == NULL) {
            return -1;
        }
    }
    return result == TLS_CLOSED ? tls_closed_by_peer(self) : 0;
}

int
tls_do_read(TLSObject *self)
{
    if (self->state != TLS_WRAPPED && self->state != TLS_FLUSHING) {
        return 0;
    }
    /* What was written before an error leaves before it. */
    int rc = tls_flush(self);
    if (rc == 0 && !self->app_reading_paused) {
        tls_lend_out(self);
        rc = self->app_protocol_is_buffer ? tls_read_buffered(self)
                                          : tls_read_copied(self);
        if (rc == 0) {
            rc = self->backlog.len > 0 ? tls_do_write(self)
                                       : tls_process_outgoing(self);
        }
    }
    if (rc == 0) {
        rc = tls_control_ssl_reading(self);
    }
    return rc < 0 ? tls_fatal(self) : 0;
}

int
tls_do_handshake(TLSObject *self)
{
    if (self->server_side && self->engine.ssl != NULL && self->engine.in_len == 0) {
        return 0; /* the client begins */
    }
    tls_lend_out(self);
    switch (tls_engine_handshake(self->st, &self->engine)) {
    case TLS_AGAIN:
        return tls_process_outgoing(self);
    case TLS_DONE:
        return tls_call_method(self, self->st->str__on_handshake_complete, Py_None,
                               NULL);
    default:
        break;
    }
    if (!PyErr_ExceptionMatches(self->st->tls_SSLError)) {
        return -1;
    }
    PyObject *exc = PyErr_GetRaisedException();
    PyObject *outer = PyErr_GetHandledException();
    PyErr_SetHandledException(exc);
    int rc = tls_call_method(self, self->st->str__on_handshake_complete, exc, NULL);
    PyErr_SetHandledException(outer);
    Py_XDECREF(outer);
    Py_DECREF(exc);
    return rc;
}

int
tls_feed(PyObject *op, const char *data, Py_ssize_t size)
{
    TLSObject *self = TLS(op);
    struct tls_engine *e = &self->engine;
    if (tls_engine_feed(self->st, e, data, (size_t)size) < 0) {
        return -1;
    }
    int rc = 0;
    switch ((enum tls_state)self->state) {
    case TLS_DO_HANDSHAKE:
        rc = tls_do_handshake(self);
        break;
    case TLS_WRAPPED:
        rc = tls_do_read(self);
        break;
    case TLS_FLUSHING:
        rc = tls_call_method(self, self->st->str__do_flush, NULL, NULL);
        break;
    case TLS_SHUTDOWN:
        rc = tls_call_method(self, self->st->str__do_shutdown, NULL, NULL);
        break;
    default:
        break;
    }
    if (UNLIKELY(e->in_len > 0 || e->kept != NULL)) {
        PyObject *exc = PyErr_GetRaisedException();
        if (tls_engine_keep(e, data, (size_t)size) < 0) {
            rc = -1;
            if (exc != NULL) {
                PyErr_Clear();
            }
            else {
                exc = PyErr_GetRaisedException();
            }
        }
        PyErr_SetRaisedException(exc);
    }
    return rc;
}
