/* stream.c - the transport of TCP and UNIX stream sockets: sending, and the type.
 * Reading is in streamread.c.
 *
 * States of the queue `out`:
 *
 * empty -> corked            [stream_cork]  in a callback of the loop: it is sent at
 *                            the end of the turn, with what else is written in it
 * empty -> empty, waiting    [stream_write_large, _view]  outside, or if it is large:
 *                            tried at once
 * corked -> empty, waiting   [stream_flush]  tried: at the turn's end, or when somebody
 *                            looks; [stream_try]  when more than CORK_MAX bytes or the
 *                            high-water mark wait
 * corked -> empty            [stream_drop_parents]  in a child of fork
 * waiting -> empty           [stream_run_write]  there is room; flow control counts
 *
 * Only a queue that is waiting looks for writability. close(), write_eof(), abort(),
 * errors and whatever shows the size of the queue flush first, so that nothing else can
 * tell. */

#include "args.h"
#include "compat.h"
#include "stream.h"
#include "sys.h"

#include <errno.h>
#include <sys/socket.h>

#define CORK_MAX HARD_OR(16, 32 * 1024)
#define VECTORS HARD_OR(2, 64)
/* So many bytes or less, in several pieces, are copied together for one send(), which
 * costs less than a sendmsg(). */
#define JOINED_MAX HARD_OR(8, 2048)

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

/* Sends one piece or more, of JOINED_MAX bytes together or less, as one. */
static Py_ssize_t
send_joined(int fd, const struct iovec *iov, size_t pieces)
{
    char joined[JOINED_MAX];
    size_t size = 0, i = 0;
    do {
        memcpy(joined + size, iov[i].iov_base, iov[i].iov_len);
        size += iov[i].iov_len;
    } while (++i < pieces);
    return send_bytes(fd, joined, size);
}

/* Sends from the first pieces, as many as one call takes. */
static Py_ssize_t
send_pieces(TransportData *t, Py_ssize_t *offered)
{
    struct iovec iov[VECTORS];
    struct msghdr msg = {.msg_iov = iov};
    msg.msg_iovlen = (size_t)wqueue_fill(&t->out, iov, VECTORS);
    *offered = 0;
    for (size_t i = 0; i < msg.msg_iovlen; i++) {
        *offered += (Py_ssize_t)iov[i].iov_len;
    }
    if (*offered <= JOINED_MAX) {
        return send_joined(transport_fd(t), iov, msg.msg_iovlen);
    }
    Py_ssize_t n;
    do {
        n = sendmsg(transport_fd(t), &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
    } while (n < 0 && errno == EINTR);
    return sent_or_error(n);
}

/* Sends what one call can take, and takes it off the queue. `*all`: it took all that it
 * was offered, so there may be room for more. */
static Py_ssize_t
send_queue(TransportData *t, bool *all)
{
    struct wqueue *q = &t->out;
    Py_ssize_t n, offered;
    if (LIKELY(q->len == 1)) {
        struct iovec iov;
        (void)wqueue_fill(q, &iov, 1);
        offered = (Py_ssize_t)iov.iov_len;
        n = send_bytes(transport_fd(t), iov.iov_base, iov.iov_len);
    }
    else {
        n = send_pieces(t, &offered);
    }
    *all = n == offered;
    if (n > 0) {
        wqueue_consume(q, n);
    }
    return n;
}

static const char write_error[] = "Fatal write error on socket transport";

/* The rest is sent when there is room; without that event it never would be. */
static int
stream_wait_for_room(PyObject *op)
{
    return transport_watch_writing(op, true) < 0 ? transport_fatal(op, write_error)
                                                 : transport_check_high(op);
}

/* In a child of fork, what is corked is the parent's to send. To drop it may run Python
 * code. */
static inline void
stream_drop_parents(TransportData *t)
{
    if (UNLIKELY(t->corked && t->source.flush_forks != sys_fork_count())) {
        t->corked = false;
        wqueue_clear(&t->out);
        Py_CLEAR(t->write_context);
    }
}

/* Sends what it can of a queue that nobody has tried yet. -1 with an exception: then
 * the queue is empty. */
static int
stream_send_corked(TransportData *t)
{
    stream_drop_parents(t);
    t->corked = false;
    bool all = true;
    while (all && t->out.len > 0) {
        all = !t->replaced;
        if ((all ? send_queue(t, &all) : send_by_object(t)) < 0) {
            wqueue_clear(&t->out);
            return -1;
        }
    }
    return 0;
}

/* The same, with all that follows in the context of now. */
static int
stream_try(PyObject *op)
{
    TransportData *t = TRANSPORT(op);
    PyObject *context = t->corked ? t->write_context : NULL;
    if (context != NULL) {
        t->write_context = NULL;
    }
    int rc = stream_send_corked(t) < 0 ? transport_fatal(op, write_error)
        : t->out.len == 0              ? 0
                                       : stream_wait_for_room(op);
    Py_XDECREF(context);
    return rc;
}

static int
stream_flush_failed(PyObject *op)
{
    PyObject *exc = TRANSPORT(op)->error;
    TRANSPORT(op)->error = NULL;
    PyErr_SetRaisedException(exc);
    return exc == NULL ? 0 : transport_fatal(op, write_error);
}

/* What follows from a flush runs in the context of the write that came first. */
static int
stream_flush(LoopObject *Py_UNUSED(loop), struct source *s)
{
    TransportData *t = TRANSPORT_OF_SOURCE(s);
    if (!t->corked || t->conn_lost != 0 || s->fd < 0) {
        t->corked = false;
        return 0;
    }
    PyObject *context = t->write_context;
    t->write_context = NULL;
    PyObject *exc = NULL;
    int (*then)(PyObject *) = stream_try;
    if (LIKELY(!t->replaced)) {
        if (UNLIKELY(stream_send_corked(t) < 0)) {
            exc = PyErr_GetRaisedException();
            then = stream_flush_failed;
        }
        else if (LIKELY(t->out.len == 0)) {
            Py_XDECREF(context);
            return 0;
        }
        else {
            then = stream_wait_for_room;
        }
    }
    /* A copy, as it may be entered now. To make it can collect garbage, which may end
     * the connection. */
    PyObject *copy = context != NULL ? PyContext_Copy(context) : NULL;
    PyErr_Clear(); /* out of memory: better in no context than never */
    int rc = 0;
    if (LIKELY(stream_is_live(t))) {
        if (exc != NULL) {
            Py_XSETREF(t->error, exc);
            exc = NULL;
        }
        rc = transport_run_reported(s->owner, copy, then, t->st->str__write_ready);
    }
    Py_XDECREF(exc);
    Py_XDECREF(copy);
    Py_XDECREF(context);
    return rc;
}

/* An exact bytes object: the data, or a copy of what is in `view`, which is the
 * caller's to release. Runs Python code for what is none. */
static PyObject *
bytes_of(PyObject *data, Py_buffer *view)
{
    view->obj = NULL;
    if (PyBytes_CheckExact(data)) {
        return Py_NewRef(data);
    }
    if (PyObject_GetBuffer(data, view, PyBUF_FULL_RO) < 0) {
        return NULL;
    }
    PyObject *bytes = PyBytes_FromStringAndSize(NULL, view->len);
    if (bytes != NULL
        && PyBuffer_ToContiguous(PyBytes_AS_STRING(bytes), view, view->len, 'C') < 0) {
        Py_CLEAR(bytes);
    }
    return bytes;
}

/* Puts bytes at the queue's end; nothing if there are none. */
static int
stream_append(TransportData *t, PyObject *bytes)
{
    if (PyBytes_GET_SIZE(bytes) == 0) {
        return 0;
    }
    if (wqueue_push_steal(&t->out, bytes) < 0) {
        PyErr_NoMemory();
        return -1;
    }
    Py_INCREF(bytes);
    return 0;
}

/* What was put at the queue's end is to be sent. was_empty: it was the first. */
static void
stream_cork(TransportData *t, bool was_empty)
{
    if (was_empty && t->out.len > 0) {
        LoopObject *loop = transport_loop(t);
        t->corked = true;
        t->source.flush_forks = sys_fork_count();
        if (stream_may_cork(loop)) {
            source_flush_soon(loop, &t->source);
            Py_XSETREF(t->write_context, Py_XNewRef(current_context_borrow()));
        }
    }
}

/* Sends what stream_cork() has noted, now or soon. */
static int
stream_appended(PyObject *op)
{
    TransportData *t = TRANSPORT(op);
    if (!t->corked) {
        return transport_check_high(op);
    }
    if (t->out.size > CORK_MAX || t->out.size > t->high
        || !stream_may_cork(transport_loop(t))) {
        return stream_try(op);
    }
    return 0;
}

/* Sends bytes, which may be NULL with an exception; steals them. Whatever made them may
 * have ended the connection. `view`, or NULL, is what they were taken from: what runs
 * when it is given back comes after them. */
static int
stream_write_bytes_steal(PyObject *op, PyObject *bytes, Py_buffer *view)
{
    TransportData *t = TRANSPORT(op);
    int rc = bytes == NULL ? -1 : 0;
    if (rc == 0) {
        stream_drop_parents(t);
    }
    if (rc == 0 && stream_is_live(t)) {
        bool was_empty = t->out.len == 0;
        rc = stream_append(t, bytes);
        stream_cork(t, was_empty);
    }
    Py_XDECREF(bytes);
    if (view != NULL && view->obj != NULL) {
        release_view(view);
    }
    return rc == 0 && stream_is_live(t) ? stream_appended(op) : rc;
}

/* A large bytes object with nothing before it, sent in place. */
static int
stream_write_large(PyObject *op, PyObject *bytes)
{
    TransportData *t = TRANSPORT(op);
    Py_ssize_t size = PyBytes_GET_SIZE(bytes);
    Py_ssize_t n = send_bytes(transport_fd(t), PyBytes_AS_STRING(bytes), (size_t)size);
    if (n < 0) {
        return transport_fatal(op, write_error);
    }
    if (n == size) {
        return 0;
    }
    if (stream_append(t, bytes) < 0) {
        return n == 0 ? -1 : transport_fatal(op, write_error);
    }
    t->out.offset = n;
    t->out.size -= n;
    return stream_wait_for_room(op);
}

/* The data, of any kind, behind what waits or to be corked. */
static int
stream_write_copy(PyObject *op, PyObject *data)
{
    Py_buffer view;
    PyObject *bytes = bytes_of(data, &view);
    return stream_write_bytes_steal(op, bytes, &view);
}

/* The same for what exports a buffer: only what is not sent at once is copied. To get
 * the buffer, and to give it back, can run Python code. */
static int
stream_write_view(PyObject *op, PyObject *data)
{
    TransportData *t = TRANSPORT(op);
    Py_buffer view;
    if (PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) < 0) {
        if (!PyErr_ExceptionMatches(PyExc_BufferError)) {
            return transport_fatal(op, write_error);
        }
        PyErr_Clear(); /* it is strided */
        return stream_write_copy(op, data);
    }
    Py_ssize_t n = 0;
    if (stream_is_live(t) && t->out.len == 0) {
        n = send_bytes(transport_fd(t), view.buf, (size_t)view.len);
    }
    if (n < 0 || n == view.len) {
        int rc = n < 0 ? transport_fatal(op, write_error) : 0;
        release_view(&view);
        return rc;
    }
    PyObject *rest = PyBytes_FromStringAndSize((char *)view.buf + n, view.len - n);
    if (UNLIKELY(rest == NULL
                 && n > 0)) { /* nothing may follow the part that is sent */
        int rc = transport_fatal(op, write_error);
        release_view(&view);
        return rc;
    }
    return stream_write_bytes_steal(op, rest, &view);
}

/* What asyncio does with data for a lost connection. */
static int
stream_write_lost(TransportData *t)
{
    int rc = 0;
    if (t->conn_lost >= LOST_WRITES_LOGGED) {
        rc = transport_warn(t->st, "socket.send() raised exception.");
    }
    t->conn_lost++;
    return rc;
}

static int
check_may_write(TransportData *t, const char *after_eof, const char *in_sendfile)
{
    if (UNLIKELY(t->eof || transport_empty_waiter_borrow(t) != NULL)) {
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
    if (t->out.len == 0 && !t->replaced
        && (len >= CORK_MAX || !stream_may_cork(transport_loop(t)))) {
        return PyBytes_CheckExact(data) ? stream_write_large(op, data)
                                        : stream_write_view(op, data);
    }
    return stream_write_copy(op, data);
}

int
stream_send(PyObject *op, const char *data, Py_ssize_t size)
{
    TransportData *t = TRANSPORT(op);
    if (check_may_write(t, "Cannot call write() after write_eof()",
                        "unable to write; sendfile is in progress")
        < 0) {
        return -1;
    }
    stream_drop_parents(t);
    if (UNLIKELY(t->conn_lost != 0 || t->loop == NULL)) {
        return stream_write_lost(t);
    }
    Py_ssize_t n = 0;
    bool first = t->out.len == 0 && !t->replaced;
    if (first) {
        n = send_bytes(transport_fd(t), data, (size_t)size);
        if (n < 0) {
            return transport_fatal(op, write_error);
        }
        if (LIKELY(n == size)) {
            return 0;
        }
    }
    PyObject *rest = PyBytes_FromStringAndSize(data + n, size - n);
    if (!first) {
        return stream_write_bytes_steal(op, rest, NULL);
    }
    int rc = rest == NULL ? -1 : stream_append(t, rest);
    Py_XDECREF(rest);
    return rc == 0 ? stream_wait_for_room(op)
        : n == 0   ? -1
                   : transport_fatal(op, write_error);
}

static const char write_doc[] = PyDoc_STR(
"write($self, data)\n--\n\n"
"Send data: bytes, a bytearray or a memoryview. It does not block.\n\n"
"What the kernel does not take at once is kept; pause_writing() of the protocol tells\n"
"when that is too much. In a callback of the loop data leave at the end of the loop's\n"
"turn, together with what else is written in it, or when more than 32 KiB wait.\n"
"Raises TypeError for other data, RuntimeError after write_eof(). Mirrors\n"
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

/* The pieces as a new list of bytes objects of our own. Runs Python code: what that
 * writes comes before them, as none is queued yet. */
static PyObject *
bytes_of_pieces(PyObject *pieces)
{
    PyObject *list = PySequence_List(pieces);
    for (Py_ssize_t i = 0; list != NULL && i < PyList_GET_SIZE(list); i++) {
        PyObject *piece = PyList_GET_ITEM(list, i);
        if (!PyBytes_CheckExact(piece)) {
            PyObject *memory = PyMemoryView_FromObject(piece);
            Py_buffer view = {.obj = NULL};
            PyObject *bytes = memory == NULL ? NULL : bytes_of(memory, &view);
            release_view(&view);
            Py_XDECREF(memory);
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
    stream_drop_parents(t);
    if (!stream_is_live(t)) {
        return 0;
    }
    bool was_empty = t->out.len == 0;
    if (wqueue_reserve(&t->out, (size_t)PyList_GET_SIZE(list)) < 0) {
        PyErr_NoMemory();
        return -1;
    }
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(list); i++) {
        int rc = stream_append(t, PyList_GET_ITEM(list, i));
        assert(rc == 0);
        (void)rc;
    }
    stream_cork(t, was_empty);
    return stream_is_live(t) ? stream_appended(op) : 0;
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
    if (transport_flush_first(op) < 0) {
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
    PyObject *waiter = transport_empty_waiter_borrow(TRANSPORT(op));
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
    if (t->conn_lost != 0 || t->corked) {
        return 0;
    }
    bool all;
    if (t->out.len > 0 && send_queue(t, &all) < 0) {
        PyObject *exc = PyErr_GetRaisedException();
        wqueue_clear(&t->out);
        PyErr_SetRaisedException(Py_NewRef(exc));
        int rc = transport_fatal(op, write_error) < 0 ? -1 : stream_tell_empty(op, exc);
        Py_DECREF(exc);
        return rc;
    }
    if (transport_check_low(op) < 0 || (t->corked && stream_try(op) < 0)) {
        return -1;
    }
    /* The queue may be empty since an earlier time, which an exception has ended. */
    if (t->conn_lost != 0 || t->out.len > 0 || t->loop == NULL) {
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

/* --- events ------------------------------------------------------------------- */

static int
stream_run(LoopObject *Py_UNUSED(loop), struct source *s, unsigned mask)
{
    PyObject *op = s->owner;
    TransportData *t = TRANSPORT_OF_SOURCE(s);
    int rc = 0;
    /* What is not wanted any more since the event came. */
    if (mask & s->wanted & POLL_READ && t->conn_lost == 0) {
        rc = transport_run_reported(op, t->read_context,
                                    t->fed            ? stream_read_fed
                                        : t->buffered ? stream_read_buffer
                                                      : stream_read_data,
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
    if (transport_empty_waiter_borrow(t) != NULL) {
        PyErr_SetString(PyExc_RuntimeError, "Empty waiter is already set");
        return NULL;
    }
    if ((t->corked && stream_try(op) < 0) || transport_rare(t) == NULL) {
        return NULL;
    }
    PyObject *loop = Py_NewRef(t->loop ? t->loop : Py_None);
    PyObject *waiter = PyObject_CallMethod(loop, "create_future", NULL);
    Py_DECREF(loop);
    if (waiter == NULL) {
        return NULL;
    }
    struct transport_rare *rare = transport_rare(t);
    if (rare == NULL) { /* what it was has gone with the transport */
        Py_DECREF(waiter);
        return NULL;
    }
    Py_XSETREF(rare->empty_waiter, Py_NewRef(waiter));
    if (t->out.len == 0 && stream_tell_empty(op, NULL) < 0) {
        Py_CLEAR(waiter);
    }
    return waiter;
}

static PyObject *
Stream__reset_empty_waiter(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    TransportData *t = TRANSPORT(op);
    if (t->rare != NULL) {
        Py_CLEAR(t->rare->empty_waiter);
    }
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
