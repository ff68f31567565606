/* streamread.c - what a stream transport does when there is something to read.
 *
 * One recv() for each event: into a buffer of the loop's, of which the protocol gets an
 * exact bytes object, or into the buffer of a BufferedProtocol. The watch is
 * level-triggered: what is left brings another event.
 *
 * After a large read the next one goes straight into a new bytes object, which is cut
 * to what came: to copy so much costs more than that. It asks for less than what malloc
 * maps anew for each block; if all of it is filled, more is waiting than that, and the
 * loop's larger buffer is used again. */

#include "compat.h"
#include "stream.h"
#include "streamfeed.h"

#include <errno.h>
#include <sys/socket.h>

#define LARGE_READ HARD_OR(2, 32 * 1024)
#define DIRECT_READ HARD_OR(4 * 1024, 120 * 1024)

/* A method of the protocol has raised. What was written before is sent before the
 * connection goes, as it would have been by asyncio. */
static int
stream_protocol_failed(PyObject *op, const char *message)
{
    PyObject *exc = PyErr_GetRaisedException();
    int flushed = transport_flush_first(op);
    PyObject *other = PyErr_GetRaisedException();
    PyErr_SetRaisedException(exc);
    int rc = transport_fatal(op, message);
    if (rc == 0 && flushed < 0) {
        PyErr_SetRaisedException(other);
        return -1;
    }
    Py_XDECREF(other);
    return rc;
}

static int
stream_at_eof(PyObject *op)
{
    TransportData *t = TRANSPORT(op);
    if (transport_log(op, "%r received EOF") < 0) {
        return -1;
    }
    PyObject *argv[2];
    PyObject *res = transport_call(t, t->st->str_eof_received, argv, 0);
    int keep = res == NULL ? -1 : PyObject_IsTrue(res);
    Py_XDECREF(res);
    if (keep < 0) {
        return stream_protocol_failed(
            op, "Fatal error: protocol.eof_received() call failed.");
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
    if (buffer == NULL) {
        return -1;
    }
    Py_ssize_t n = stream_recv(transport_fd(t), buffer, READ_BUFFER_SIZE);
    t->reads_much = n >= LARGE_READ;
    return n;
}

/* Into a new bytes object, which is NULL unless something came; results as above. */
static Py_ssize_t
stream_recv_bytes(TransportData *t, PyObject **bytes)
{
    *bytes = PyBytes_FromStringAndSize(NULL, DIRECT_READ);
    if (*bytes == NULL) {
        return -1;
    }
    Py_ssize_t n = stream_recv(transport_fd(t), PyBytes_AS_STRING(*bytes), DIRECT_READ);
    t->reads_much = n >= LARGE_READ && n < DIRECT_READ;
    if (n <= 0) {
        Py_CLEAR(*bytes);
    }
    else if (n < DIRECT_READ && _PyBytes_Resize(bytes, n) < 0) {
        return -1;
    }
    return n;
}

static bool
stream_feeds_reader(const TransportData *t)
{
    return t->protocol != NULL
        && Py_IS_TYPE(t->protocol, (PyTypeObject *)t->st->StreamReaderProtocol);
}

/* protocol.data_received(bytes); steals them. -2 if they are NULL. */
static int
stream_tell_bytes_steal(TransportData *t, PyObject *bytes)
{
    if (bytes == NULL) {
        return -2;
    }
    PyObject *argv[3] = {NULL, NULL, bytes};
    PyObject *res = transport_call(t, t->st->str_data_received, argv, 1);
    Py_DECREF(bytes);
    Py_XDECREF(res);
    return res == NULL ? -1 : 0;
}

/* protocol.data_received(data), or the same for asyncio's own streams. */
static int
stream_tell_data(TransportData *t, const char *data, Py_ssize_t size)
{
    if (stream_feeds_reader(t)) {
        PyObject *protocol = Py_NewRef(t->protocol);
        int fed = streamfeed_data(t->st, protocol, data, size);
        Py_DECREF(protocol);
        if (LIKELY(fed != 0)) {
            return fed < 0 ? -1 : 0;
        }
    }
    return stream_tell_bytes_steal(t, PyBytes_FromStringAndSize(data, size));
}

int
stream_read_data(PyObject *op)
{
    TransportData *t = TRANSPORT(op);
    PyObject *bytes = NULL;
    Py_ssize_t n = t->reads_much && !stream_feeds_reader(t)
        ? stream_recv_bytes(t, &bytes)
        : stream_recv_loop(t);
    if (UNLIKELY(n <= 0)) {
        return n == 0 ? stream_at_eof(op)
            : n == -1 ? transport_fatal(op, read_error)
                      : 0;
    }
    int rc = bytes != NULL ? stream_tell_bytes_steal(t, bytes)
                           : stream_tell_data(t, transport_loop(t)->read_buffer, n);
    return LIKELY(rc == 0) ? 0
        : rc == -2         ? stream_protocol_failed(op, read_error)
                           : stream_protocol_failed(
                         op, "Fatal error: protocol.data_received() call failed.");
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

int
stream_read_buffer(PyObject *op)
{
    TransportData *t = TRANSPORT(op);
    Py_buffer view;
    int rc = stream_get_buffer(t, &view);
    if (rc == -2) {
        explain_bad_buffer();
        return stream_protocol_failed(op, read_error);
    }
    if (rc < 0) {
        return stream_protocol_failed(
            op, "Fatal error: protocol.get_buffer() call failed.");
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
        return stream_protocol_failed(
            op, "Fatal error: protocol.buffer_updated() call failed.");
    }
    Py_DECREF(res);
    return 0;
}

/* The loop's buffer is taken away while the data are being used: what reads meanwhile
 * gets another. */
int
stream_read_fed(PyObject *op)
{
    TransportData *t = TRANSPORT(op);
    Py_ssize_t n = stream_recv_loop(t);
    if (UNLIKELY(n <= 0)) {
        return n == 0 ? stream_at_eof(op)
            : n == -1 ? transport_fatal(op, read_error)
                      : 0;
    }
    LoopObject *loop = transport_loop(t);
    PyObject *protocol = Py_NewRef(t->protocol);
    char *buffer = loop->read_buffer;
    Py_INCREF(loop);
    loop->read_buffer = NULL;
    int rc = t->st->feed(protocol, buffer, n);
    loop_return_buffer(loop, buffer);
    Py_DECREF(protocol);
    Py_DECREF(loop);
    return LIKELY(rc == 0)
        ? 0
        : stream_protocol_failed(op,
                                 "Fatal error: protocol.buffer_updated() call failed.");
}
