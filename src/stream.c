/* stream.c - the transport of TCP and UNIX stream sockets: reading and sending.
 *
 * Reading. One recv() for each event, into a buffer of the loop's; large reads go
 * straight into the bytes object that the protocol is given. The watch is
 * level-triggered: what is left brings another event.
 *
 * Sending. States of the queue `out`:
 *
 * empty -> corked   [stream_write]   in a callback of the loop: it is sent when the
 *                                    callback has returned, together with whatever else
 *                                    that writes
 * corked -> empty, waiting  [stream_flush]  tried: at the callback's end, when more
 * than CORK_MAX bytes wait, or when somebody looks empty -> empty, waiting
 * [stream_write]  outside of callbacks: tried at once waiting -> empty
 * [stream_run_write]  the descriptor is writable; flow control counts Only `waiting`
 * looks for writability. close(), write_eof(), abort() and whatever shows the size of
 * the queue flush first, so that nothing else can tell. */

#include "args.h"
#include "compat.h"
#include "streamfeed.h"
#include "transport.h"

#include <errno.h>
#include <sys/socket.h>

/* Reads of more than this are likely to be followed by more of their kind. */
#define READ_LARGE (32 * 1024)
#define CORK_MAX HARD_OR(16, 32 * 1024)
#define VECTORS HARD_OR(2, 64)
/* asyncio.constants.LOG_THRESHOLD_FOR_CONNLOST_WRITES */
#define LOST_WRITES_LOGGED 5

/* --- sending ------------------------------------------------------------------ */

/* The number of bytes sent; 0 if there is no room; -1 with an exception. */
static Py_ssize_t
sent_or_error(Py_ssize_t n)
{
    if (n >= 0) {
        return n;
    }
    if (errno == EAGAIN || errno == EWOULDBLOCK) {
        return 0;
    }
    PyErr_SetFromErrno(PyExc_OSError);
    return -1;
}

static Py_ssize_t
send_bytes(int fd, const void *data, size_t size)
{
    Py_ssize_t n;
    do {
        n = send(fd, data, size, MSG_NOSIGNAL | MSG_DONTWAIT);
    } while (n < 0 && errno == EINTR);
    return sent_or_error(n);
}

/* Sends from the first piece by the send() of an object that was put in the socket's
 * place, once, as asyncio's write() does. Runs Python code, which may have changed the
 * queue. */
static Py_ssize_t
send_by_object(TransportData *t)
{
    struct iovec iov;
    (void)wqueue_fill(&t->out, &iov, 1);
    PyObject *data = PyBytes_FromStringAndSize(iov.iov_base, (Py_ssize_t)iov.iov_len);
    PyObject *file = Py_NewRef(t->file);
    PyObject *res = data == NULL ? NULL : PyObject_CallMethod(file, "send", "O", data);
    Py_ssize_t n = res == NULL ? -1 : PyLong_AsSsize_t(res), size = t->out.size;
    if (n == -1
        && (PyErr_ExceptionMatches(PyExc_BlockingIOError)
            || PyErr_ExceptionMatches(PyExc_InterruptedError))) {
        PyErr_Clear();
        n = 0;
    }
    if (n > 0) {
        wqueue_consume(&t->out, n < size ? n : size);
    }
    Py_XDECREF(res);
    Py_DECREF(file);
    Py_XDECREF(data);
    return n < 0 && !PyErr_Occurred() ? 0 : n;
}

/* Sends what one call can take, and takes it off the queue. `*all`: it took all that it
 * was offered, so there may be room for more. */
static Py_ssize_t
send_queue(TransportData *t, bool *all)
{
    int fd = transport_fd(t);
    struct wqueue *q = &t->out;
    struct iovec iov[VECTORS];
    struct msghdr msg = {.msg_iov = iov};
    msg.msg_iovlen = (size_t)wqueue_fill(q, iov, VECTORS);
    size_t offered = 0;
    for (size_t i = 0; i < msg.msg_iovlen; i++) {
        offered += iov[i].iov_len;
    }
    Py_ssize_t n;
    if (msg.msg_iovlen == 1) {
        n = send_bytes(fd, iov[0].iov_base, offered);
    }
    else {
        do {
            n = sendmsg(fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
        } while (n < 0 && errno == EINTR);
        n = sent_or_error(n);
    }
    *all = n == (Py_ssize_t)offered;
    if (n > 0) {
        wqueue_consume(q, n);
    }
    return n;
}

static const char write_error[] = "Fatal write error on socket transport";

/* Sends what it can of a queue that nobody has tried yet. */
static int
stream_try(PyObject *op)
{
    TransportData *t = TRANSPORT(op);
    t->corked = false;
    bool all = true;
    while (all && t->out.len > 0) {
        all = !t->replaced;
        if ((all ? send_queue(t, &all) : send_by_object(t)) < 0) {
            wqueue_clear(&t->out);
            return transport_fatal(op, write_error);
        }
    }
    if (LIKELY(t->out.len == 0)) {
        return 0;
    }
    return transport_watch_writing(op, true) < 0 ? -1 : transport_check_high(op);
}

static int
stream_flush(LoopObject *Py_UNUSED(loop), struct source *s)
{
    TransportData *t = TRANSPORT_OF_SOURCE(s);
    if (!t->corked || t->conn_lost != 0 || s->fd < 0) {
        t->corked = false;
        return 0;
    }
    return transport_run_reported(s->owner, NULL, stream_try, t->st->str__write_ready);
}

/* Whether what is written now may wait for the end of the callback that writes it. */
static inline bool
stream_may_cork(const LoopObject *loop)
{
    return loop->in_callback && loop->runner == PyThread_get_thread_ident();
}

/* The bytes from `skip` on, as an exact bytes object of our own or the caller's. */
static PyObject *
bytes_from(PyObject *data, Py_ssize_t skip)
{
    if (PyBytes_CheckExact(data) && skip == 0) {
        return Py_NewRef(data);
    }
    Py_buffer view;
    if (PyObject_GetBuffer(data, &view, PyBUF_FULL_RO) < 0) {
        return NULL;
    }
    PyObject *bytes = PyBytes_FromStringAndSize(NULL, view.len - skip);
    if (bytes != NULL && skip == 0
        && PyBuffer_ToContiguous(PyBytes_AS_STRING(bytes), &view, view.len, 'C') < 0) {
        Py_CLEAR(bytes);
    }
    if (bytes != NULL && skip > 0) {
        memcpy(PyBytes_AS_STRING(bytes), (char *)view.buf + skip,
               (size_t)(view.len - skip));
    }
    PyBuffer_Release(&view);
    return bytes;
}

/* Puts a piece of data at the queue's end; nothing if it is empty. */
static int
stream_append(TransportData *t, PyObject *data, Py_ssize_t skip)
{
    PyObject *bytes = bytes_from(data, skip);
    if (bytes == NULL) {
        return -1;
    }
    if (PyBytes_GET_SIZE(bytes) == 0) {
        Py_DECREF(bytes);
        return 0;
    }
    if (wqueue_push_steal(&t->out, bytes) < 0) {
        Py_DECREF(bytes);
        PyErr_NoMemory();
        return -1;
    }
    return 0;
}

/* What was put at the queue's end is sent, now or soon. was_empty: it was the first. */
static int
stream_appended(PyObject *op, bool was_empty)
{
    TransportData *t = TRANSPORT(op);
    LoopObject *loop = transport_loop(t);
    if (was_empty && t->out.len > 0) {
        t->corked = true;
        if (stream_may_cork(loop)) {
            source_flush_soon(loop, &t->source);
        }
    }
    if (!t->corked) {
        return transport_check_high(op);
    }
    if (t->out.size > CORK_MAX || !stream_may_cork(loop)) {
        return stream_try(op);
    }
    return 0;
}

/* A large piece, with nothing before it: sent in place, the rest is kept. */
static int
stream_write_large(PyObject *op, PyObject *data)
{
    TransportData *t = TRANSPORT(op);
    Py_buffer view;
    if (UNLIKELY(t->replaced)) {
        return stream_append(t, data, 0) < 0 ? -1 : stream_appended(op, true);
    }
    if (PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) < 0) { /* it is strided */
        PyErr_Clear();
        return stream_append(t, data, 0) < 0 ? -1 : stream_appended(op, true);
    }
    Py_ssize_t n = send_bytes(transport_fd(t), view.buf, (size_t)view.len);
    Py_ssize_t size = view.len;
    PyBuffer_Release(&view);
    if (n < 0) {
        return transport_fatal(op, write_error);
    }
    if (n == size) {
        return 0;
    }
    if (PyBytes_CheckExact(data)) {
        if (stream_append(t, data, 0) < 0) {
            return -1;
        }
        t->out.offset = n;
        t->out.size -= n;
    }
    else if (stream_append(t, data, n) < 0) {
        return -1;
    }
    return transport_watch_writing(op, true) < 0 ? -1 : transport_check_high(op);
}

/* What asyncio does with data for a lost connection. */
static int
stream_write_lost(TransportData *t)
{
    int rc = 0;
    if (t->conn_lost >= LOST_WRITES_LOGGED) {
        rc = transport_warn(t, "socket.send() raised exception.");
    }
    t->conn_lost++;
    return rc;
}

static int
check_may_write(TransportData *t, const char *after_eof, const char *in_sendfile)
{
    if (UNLIKELY(t->eof || t->empty_waiter != NULL)) {
        PyErr_SetString(PyExc_RuntimeError, t->eof ? after_eof : in_sendfile);
        return -1;
    }
    return 0;
}

static int
stream_write(PyObject *op, PyObject *data)
{
    TransportData *t = TRANSPORT(op);
    Py_ssize_t len = PyBytes_CheckExact(data) ? PyBytes_GET_SIZE(data)
                                              : PyObject_Length(data);
    if (len <= 0) {
        return (int)len;
    }
    if (UNLIKELY(t->conn_lost != 0 || t->loop == NULL)) {
        return stream_write_lost(t);
    }
    bool was_empty = t->out.len == 0;
    if (was_empty && (len >= CORK_MAX || !stream_may_cork(transport_loop(t)))) {
        return stream_write_large(op, data);
    }
    return stream_append(t, data, 0) < 0 ? -1 : stream_appended(op, was_empty);
}

static const char write_doc[] = PyDoc_STR(
"write($self, data)\n--\n\n"
"Send data: bytes, a bytearray or a memoryview. It does not block.\n\n"
"What the kernel does not take at once is kept; pause_writing() of the protocol tells\n"
"when that is too much. In a callback of the loop data leave when the callback has\n"
"returned, together with what else it writes, or when more than 32 KiB wait. Raises\n"
"TypeError for other data, RuntimeError after write_eof(). Mirrors\n"
"asyncio.WriteTransport.write().");

static const struct args_spec write_spec = {
    "StreamTransport.write", {"data"}, 1, false};

static PyObject *
Stream_write(PyObject *op, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    PyObject *data = args_parse_one(&write_spec, args, nargs, kwnames);
    if (data == NULL || transport_check_data(data) < 0
        || check_may_write(TRANSPORT(op), "Cannot call write() after write_eof()",
                           "unable to write; sendfile is in progress")
            < 0
        || stream_write(op, data) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* The pieces as a new list of bytes objects of our own. Runs Python code. */
static PyObject *
bytes_of_pieces(PyObject *pieces)
{
    PyObject *list = PySequence_List(pieces);
    for (Py_ssize_t i = 0; list != NULL && i < PyList_GET_SIZE(list); i++) {
        PyObject *piece = PyList_GET_ITEM(list, i);
        if (!PyBytes_CheckExact(piece)) {
            PyObject *view = PyMemoryView_FromObject(piece);
            PyObject *bytes = view == NULL ? NULL : bytes_from(view, 0);
            Py_XDECREF(view);
            if (bytes == NULL || PyList_SetItem(list, i, bytes) < 0) {
                Py_CLEAR(list);
            }
        }
    }
    return list;
}

/* Sends the pieces, unless to make them has ended the connection. */
static int
stream_write_list(PyObject *op, PyObject *list)
{
    TransportData *t = TRANSPORT(op);
    if (t->conn_lost != 0 || t->loop == NULL) {
        return 0;
    }
    bool was_empty = t->out.len == 0;
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(list); i++) {
        if (stream_append(t, PyList_GET_ITEM(list, i), 0) < 0) {
            return -1;
        }
    }
    return stream_appended(op, was_empty);
}

static const char writelines_doc[] = PyDoc_STR(
"writelines($self, list_of_data)\n--\n\n"
"Send the pieces of an iterable, as if they were joined.\n\n"
"Mirrors asyncio.WriteTransport.writelines().");

static const struct args_spec writelines_spec = {
    "StreamTransport.writelines", {"list_of_data"}, 1, false};

static PyObject *
Stream_writelines(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
                  PyObject *kwnames)
{
    TransportData *t = TRANSPORT(op);
    PyObject *pieces = args_parse_one(&writelines_spec, args, nargs, kwnames);
    if (pieces == NULL) {
        return NULL;
    }
#if PY_VERSION_HEX < 0x030C0000
    PyObject *empty = PyBytes_FromStringAndSize(NULL, 0);
    PyObject *joined = empty == NULL
        ? NULL
        : PyObject_CallMethodOneArg(empty, t->st->str_join, pieces);
    Py_XDECREF(empty);
    PyObject *res = joined == NULL ? NULL : Stream_write(op, &joined, 1, NULL);
    Py_XDECREF(joined);
    (void)stream_write_list;
    (void)bytes_of_pieces;
    return res;
#else
    if (check_may_write(t, "Cannot call writelines() after write_eof()",
                        "unable to writelines; sendfile is in progress")
        < 0) {
        return NULL;
    }
    int some = PyObject_IsTrue(pieces);
    if (some <= 0) {
        return some < 0 ? NULL : Py_NewRef(Py_None);
    }
    if (t->conn_lost != 0 || t->loop == NULL) {
        return stream_write_lost(t) < 0 ? NULL : Py_NewRef(Py_None);
    }
    PyObject *list = bytes_of_pieces(pieces);
    int rc = list == NULL ? -1 : stream_write_list(op, list);
    Py_XDECREF(list);
    return rc < 0 ? NULL : Py_NewRef(Py_None);
#endif
}

/* --- the end of writing ------------------------------------------------------- */

/* sock.shutdown(socket.SHUT_WR) */
static int
stream_shutdown(TransportData *t)
{
    if (t->source.fd >= 0 && shutdown(transport_fd(t), SHUT_WR) < 0) {
        PyErr_SetFromErrno(PyExc_OSError);
        return -1;
    }
    return 0;
}

static const char write_eof_doc[] = PyDoc_STR(
"write_eof($self)\n--\n\n"
"Close the writing side once what was written is sent; reading goes on.\n\n"
"Mirrors asyncio.WriteTransport.write_eof().");

static PyObject *
Stream_write_eof(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    TransportData *t = TRANSPORT(op);
    if (t->closing || t->eof) {
        Py_RETURN_NONE;
    }
    if (t->corked && stream_try(op) < 0) {
        return NULL;
    }
    if (t->closing) {
        Py_RETURN_NONE;
    }
    t->eof = true;
    if (t->out.len == 0 && stream_shutdown(t) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static const char can_write_eof_doc[] = PyDoc_STR(
"can_write_eof($self)\n--\n\n"
"Return True. Mirrors asyncio.WriteTransport.can_write_eof().");

static PyObject *
Stream_can_write_eof(PyObject *Py_UNUSED(op), PyObject *Py_UNUSED(ignored))
{
    Py_RETURN_TRUE;
}

static int
stream_tell_empty(PyObject *op, PyObject *exc)
{
    PyObject *waiter = TRANSPORT(op)->empty_waiter;
    if (waiter == NULL) {
        return 0;
    }
    Py_INCREF(waiter);
    PyObject *res = exc == NULL
        ? PyObject_CallMethod(waiter, "set_result", "O", Py_None)
        : PyObject_CallMethod(waiter, "set_exception", "O", exc);
    Py_DECREF(waiter);
    Py_XDECREF(res);
    return res == NULL ? -1 : 0;
}

/* The descriptor is writable. Runs in the context of write(). */
static int
stream_run_write(PyObject *op)
{
    TransportData *t = TRANSPORT(op);
    if (t->conn_lost != 0 || t->out.len == 0 || t->corked) {
        return 0;
    }
    bool all;
    if (send_queue(t, &all) < 0) {
        PyObject *exc = PyErr_GetRaisedException();
        wqueue_clear(&t->out);
        PyErr_SetRaisedException(Py_NewRef(exc));
        int rc = transport_watch_writing(op, false);
        rc = transport_fatal(op, write_error) < 0 || rc < 0
            ? -1
            : stream_tell_empty(op, exc);
        Py_DECREF(exc);
        return rc;
    }
    if (transport_check_low(op) < 0 || (t->corked && stream_try(op) < 0)) {
        return -1;
    }
    if (t->out.len > 0 || t->loop == NULL) {
        return 0;
    }
    if (transport_watch_writing(op, false) < 0 || stream_tell_empty(op, NULL) < 0) {
        return -1;
    }
    if (t->closing) {
        if (t->conn_lost != 0) {
            return 0;
        }
        t->conn_lost++;
        return transport_lose(op, Py_None);
    }
    return t->eof ? stream_shutdown(t) : 0;
}

/* --- reading ------------------------------------------------------------------ */

static int
stream_at_eof(PyObject *op)
{
    TransportData *t = TRANSPORT(op);
    transport_log(op, "%r received EOF");
    PyObject *argv[2];
    PyObject *res = transport_call(t, t->st->str_eof_received, argv, 0);
    int keep = res == NULL ? -1 : PyObject_IsTrue(res);
    Py_XDECREF(res);
    if (keep < 0) {
        return transport_fatal(op, "Fatal error: protocol.eof_received() call failed.");
    }
    if (!keep) {
        return transport_close(op);
    }
    return t->loop == NULL ? 0 : transport_watch_reading(op, false);
}

/* The number of bytes read; -1 with an exception, -2 if there is nothing to read. */
static Py_ssize_t
stream_recv(int fd, void *buffer, size_t size)
{
    Py_ssize_t n;
    do {
        n = recv(fd, buffer, size, MSG_DONTWAIT);
    } while (n < 0 && errno == EINTR);
    if (n >= 0) {
        return n;
    }
    if (errno == EAGAIN || errno == EWOULDBLOCK) {
        return -2;
    }
    PyErr_SetFromErrno(PyExc_OSError);
    return -1;
}

static const char read_error[] = "Fatal read error on socket transport";

/* Into the loop's buffer; results as of stream_recv(). */
static Py_ssize_t
stream_recv_loop(TransportData *t)
{
    char *buffer = loop_read_buffer(transport_loop(t));
    return buffer == NULL ? -1 : stream_recv(transport_fd(t), buffer, READ_BUFFER_SIZE);
}

/* protocol.data_received(data), or the same for asyncio's own streams. */
static int
stream_tell_data(TransportData *t, const char *data, Py_ssize_t size)
{
    if (t->protocol != NULL
        && Py_IS_TYPE(t->protocol, (PyTypeObject *)t->st->StreamReaderProtocol)) {
        PyObject *protocol = Py_NewRef(t->protocol);
        int fed = streamfeed_data(t->st, protocol, data, size);
        Py_DECREF(protocol);
        if (LIKELY(fed != 0)) {
            return fed < 0 ? -1 : 0;
        }
    }
    PyObject *bytes = PyBytes_FromStringAndSize(data, size);
    if (bytes == NULL) {
        return -2;
    }
    PyObject *argv[3] = {NULL, NULL, bytes};
    PyObject *res = transport_call(t, t->st->str_data_received, argv, 1);
    Py_DECREF(bytes);
    Py_XDECREF(res);
    return res == NULL ? -1 : 0;
}

static int
stream_read_data(PyObject *op)
{
    TransportData *t = TRANSPORT(op);
    Py_ssize_t n = stream_recv_loop(t);
    if (UNLIKELY(n <= 0)) {
        return n == 0 ? stream_at_eof(op)
            : n == -1 ? transport_fatal(op, read_error)
                      : 0;
    }
    int rc = stream_tell_data(t, transport_loop(t)->read_buffer, n);
    return LIKELY(rc == 0) ? 0
        : rc == -2
        ? transport_fatal(op, read_error)
        : transport_fatal(op, "Fatal error: protocol.data_received() call failed.");
}

/* protocol.get_buffer(-1), writable and not empty. */
static int
stream_get_buffer(TransportData *t, Py_buffer *view)
{
    PyObject *hint = PyLong_FromLong(-1);
    PyObject *argv[3] = {NULL, NULL, hint};
    PyObject *buffer = hint == NULL ? NULL
                                    : transport_call(t, t->st->str_get_buffer, argv, 1);
    Py_XDECREF(hint);
    Py_ssize_t len = buffer == NULL ? -1 : PyObject_Length(buffer);
    if (len == 0) {
        PyErr_SetString(PyExc_RuntimeError, "get_buffer() returned an empty buffer");
    }
    int rc = len <= 0 ? -1 : 0;
    if (rc == 0 && PyObject_GetBuffer(buffer, view, PyBUF_WRITABLE) < 0) {
        rc = -2;
    }
    Py_XDECREF(buffer);
    return rc;
}

/* recv_into()'s complaint of what is no writable buffer. */
static void
explain_bad_buffer(void)
{
    if (PyErr_ExceptionMatches(PyExc_BufferError)
        || PyErr_ExceptionMatches(PyExc_TypeError)) {
        PyErr_Clear();
        PyErr_SetString(PyExc_TypeError,
                        "recv_into() argument 1 must be read-write bytes-like object");
    }
}

static int
stream_read_buffer(PyObject *op)
{
    TransportData *t = TRANSPORT(op);
    Py_buffer view;
    int rc = stream_get_buffer(t, &view);
    if (rc == -2) {
        explain_bad_buffer();
        return transport_fatal(op, read_error);
    }
    if (rc < 0) {
        return transport_fatal(op, "Fatal error: protocol.get_buffer() call failed.");
    }
    Py_ssize_t n = t->source.fd < 0
        ? -2
        : stream_recv(transport_fd(t), view.buf, (size_t)view.len);
    PyBuffer_Release(&view);
    if (n <= 0) {
        return n == 0 ? stream_at_eof(op)
            : n == -1 ? transport_fatal(op, read_error)
                      : 0;
    }
    PyObject *number = PyLong_FromSsize_t(n);
    PyObject *argv[3] = {NULL, NULL, number};
    PyObject *res = number == NULL
        ? NULL
        : transport_call(t, t->st->str_buffer_updated, argv, 1);
    Py_XDECREF(number);
    if (res == NULL) {
        return transport_fatal(op,
                               "Fatal error: protocol.buffer_updated() call failed.");
    }
    Py_DECREF(res);
    return 0;
}

static int
stream_run(LoopObject *Py_UNUSED(loop), struct source *s, unsigned mask)
{
    PyObject *op = s->owner;
    TransportData *t = TRANSPORT_OF_SOURCE(s);
    int rc = 0;
    /* What is not wanted any more since the event came. */
    if (mask & s->wanted & POLL_READ && t->conn_lost == 0) {
        rc = transport_run_reported(op, t->read_context,
                                    t->buffered ? stream_read_buffer : stream_read_data,
                                    t->st->str__read_ready);
    }
    if (rc == 0 && mask & s->wanted & POLL_WRITE) {
        rc = transport_run_reported(op, t->write_context, stream_run_write,
                                    t->st->str__write_ready);
    }
    return rc;
}

const struct source_kind stream_kind = {
    .run = stream_run,
    .soon = transport_soon,
    .flush = stream_flush,
    .handle = transport_handle,
    .is_transport = true,
};

/* --- sendfile ----------------------------------------------------------------- */

static PyObject *
Stream__make_empty_waiter(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    TransportData *t = TRANSPORT(op);
    if (t->empty_waiter != NULL) {
        PyErr_SetString(PyExc_RuntimeError, "Empty waiter is already set");
        return NULL;
    }
    if (t->corked && stream_try(op) < 0) {
        return NULL;
    }
    PyObject *loop = Py_NewRef(t->loop ? t->loop : Py_None);
    PyObject *waiter = PyObject_CallMethod(loop, "create_future", NULL);
    Py_DECREF(loop);
    if (waiter == NULL) {
        return NULL;
    }
    Py_XSETREF(t->empty_waiter, Py_NewRef(waiter));
    if (t->out.len == 0 && stream_tell_empty(op, NULL) < 0) {
        Py_CLEAR(waiter);
    }
    return waiter;
}

static PyObject *
Stream__reset_empty_waiter(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    Py_CLEAR(TRANSPORT(op)->empty_waiter);
    Py_RETURN_NONE;
}

/* --- the type ----------------------------------------------------------------- */

static PyMethodDef Stream_methods[] = {
    TRANSPORT_COMMON_METHODS,
    TRANSPORT_READ_METHODS,
    TRANSPORT_WRITE_METHODS,
    {"write", _PyCFunction_CAST(Stream_write), METH_FASTCALL | METH_KEYWORDS,
     write_doc},
    {"writelines", _PyCFunction_CAST(Stream_writelines), METH_FASTCALL | METH_KEYWORDS,
     writelines_doc},
    {"write_eof", Stream_write_eof, METH_NOARGS, write_eof_doc},
    {"can_write_eof", Stream_can_write_eof, METH_NOARGS, can_write_eof_doc},
    {"_make_empty_waiter", Stream__make_empty_waiter, METH_NOARGS, NULL},
    {"_reset_empty_waiter", Stream__reset_empty_waiter, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static const char Stream_doc[] = PyDoc_STR(
"The transport of a TCP or UNIX stream socket.\n\n"
"Made by the loop's create_connection(), create_server() and their kin. Mirrors\n"
"asyncio.Transport.");

PyType_Slot stream_slots[] = {
    TRANSPORT_SLOTS,
    {Py_tp_methods, Stream_methods},
    {Py_tp_doc, (void *)Stream_doc},
    {0, NULL},
};
