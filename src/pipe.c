/* pipe.c - the transports of pipes, FIFOs, character devices and sockets that
 * connect_read_pipe() and connect_write_pipe() make.
 *
 * The pipe is a Python object that owns the descriptor (`file`): its close() ends it.
 *
 * Reading. One read() for each event, into the loop's buffer. The end of file has the
 * transport closed: eof_received(), then connection_lost(), both from the ready ring.
 *
 * Writing. Data are tried at once if nothing waits, else put in the queue `out`. While
 * nothing is to be read from the writing end of a pipe, an event for reading says that
 * the reading end is closed; the same is looked for on sockets. Character devices can
 * be read, so nothing is looked for there: these are `paused` from the start.
 *
 * States of a writer: as in transport.h; write_eof() is close(). */

#include "args.h"
#include "compat.h"
#include "transport.h"

#include <errno.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#define VECTORS HARD_OR(2, 64)

typedef ssize_t transfer(int fd, const struct iovec *iov, int count);

/* readv() or writev(): the number of bytes; -1 with errno, of which EAGAIN is no error;
 * -2 with what a signal handler raised. It blocks if somebody who shares the pipe has
 * made it so: others run meanwhile. */
static Py_ssize_t
pipe_transfer(const TransportData *t, transfer *call, const struct iovec *iov,
              int count)
{
    int fd = t->source.fd;
    Py_ssize_t n;
    Py_BEGIN_ALLOW_THREADS
    n = call(fd, iov, count);
    Py_END_ALLOW_THREADS
    if (UNLIKELY(n < 0 && errno == EINTR)) {
        if (PyErr_CheckSignals() < 0) {
            return -2;
        }
        errno = EAGAIN; /* the next event tells what there is to do still */
    }
    return n;
}

static bool
is_error(Py_ssize_t n)
{
    return n < 0 && errno != EAGAIN && errno != EWOULDBLOCK;
}

/* --- how they begin ----------------------------------------------------------- */

/* pipe.fileno(), an int of C's */
static int
pipe_fileno(core_state *st, PyObject *pipe, int *fd)
{
    PyObject *number = PyObject_CallMethodNoArgs(pipe, st->str_fileno);
    long value = number == NULL ? -1 : PyLong_AsLong(number);
    Py_XDECREF(number);
    if (value == -1 && PyErr_Occurred()) {
        return -1;
    }
    if (value < INT_MIN || value > INT_MAX) {
        PyErr_SetString(PyExc_OverflowError,
                        "Python int too large to convert to C int");
        return -1;
    }
    *fd = (int)value;
    return 0;
}

/* Refuses what is no pipe; the others are non-blocking from then on. */
static int
pipe_prepare(enum transport_kind kind, int fd, mode_t *mode)
{
    struct stat status;
    int on = 1;
    if (fstat(fd, &status) < 0) {
        PyErr_SetFromErrno(PyExc_OSError);
        return -1;
    }
    *mode = status.st_mode;
    if (!S_ISFIFO(*mode) && !S_ISSOCK(*mode) && !S_ISCHR(*mode)) {
        PyErr_SetString(PyExc_ValueError,
                        kind == TRANSPORT_READ_PIPE
                            ? "Pipe transport is for pipes/sockets only."
                            : "Pipe transport is only for pipes, sockets and character "
                              "devices");
        return -1;
    }
    if (ioctl(fd, FIONBIO, &on) < 0) {
        PyErr_SetFromErrno(PyExc_OSError);
        return -1;
    }
    return 0;
}

/* Whether a transport of ours has the descriptor: a terminal may have one for each
 * direction, but there is room for one source. */
static bool
pipe_is_taken(LoopObject *loop, int fd)
{
    struct watch *w = fd < 0 ? NULL : watch_slot(&loop->watches, fd);
    return w != NULL && w->source != NULL
        && (w->source->kind == &read_pipe_kind || w->source->kind == &write_pipe_kind);
}

/* {'pipe': pipe}, or that dict with it */
static PyObject *
pipe_extra(PyObject *given, PyObject *pipe)
{
    PyObject *extra = given ? Py_NewRef(given) : PyDict_New();
    if (extra != NULL && PyDict_SetItemString(extra, "pipe", pipe) < 0) {
        Py_CLEAR(extra);
    }
    return extra;
}

static PyObject *
pipe_new(LoopObject *loop, enum transport_kind kind, int fd, mode_t mode,
         PyObject *pipe, PyObject *extra)
{
    PyObject *op = transport_new(loop->st, kind, (PyObject *)loop, fd, pipe);
    if (op != NULL) {
        TransportData *t = TRANSPORT(op);
        t->extra = Py_NewRef(extra);
        t->paused = kind == TRANSPORT_WRITE_PIPE && S_ISCHR(mode);
    }
    return op;
}

PyObject *
pipe_connect(LoopObject *loop, enum transport_kind kind, PyObject *pipe,
             PyObject *protocol, PyObject *waiter, PyObject *given_extra)
{
    int fd;
    mode_t mode;
    PyObject *made;
    if (pipe_fileno(loop->st, pipe, &fd) < 0 || pipe_is_taken(loop, fd)
        || pipe_prepare(kind, fd, &mode) < 0
        || (made = PyObject_GetAttr(protocol, loop->st->str_connection_made)) == NULL) {
        return NULL;
    }
    Py_DECREF(made); /* it is there */
    PyObject *reading = PyContext_CopyCurrent();
    PyObject *extra = reading == NULL ? NULL : pipe_extra(given_extra, pipe);
    PyObject *op = extra == NULL ? NULL : pipe_new(loop, kind, fd, mode, pipe, extra);
    if (op != NULL && transport_start(op, protocol, NULL, reading, waiter) < 0) {
        PyObject *exc = PyErr_GetRaisedException();
        transport_discard(op);
        Py_CLEAR(op);
        PyErr_SetRaisedException(exc);
    }
    Py_XDECREF(extra);
    Py_XDECREF(reading);
    return op;
}

/* --- events ------------------------------------------------------------------- */

/* <ReadPipeTransport closing fd=7 idle>; of a writer with bufsize=0 */
static PyObject *
pipe_repr(PyObject *op, unsigned direction)
{
    TransportData *t = TRANSPORT(op);
    PyObject *name = PyObject_GetAttrString((PyObject *)Py_TYPE(op), "__name__");
    if (name == NULL) {
        return NULL;
    }
    bool closed = t->source.fd < 0;
    bool known = !closed && t->loop != NULL && !transport_loop(t)->closed;
    PyObject *size = known && direction == POLL_WRITE
        ? PyUnicode_FromFormat(" bufsize=%zd", t->out.size)
        : PyUnicode_FromString("");
    PyObject *text = size == NULL
        ? NULL
        : PyUnicode_FromFormat("<%U%s fd=%d %s%U>", name,
                               closed           ? " closed"
                                   : t->closing ? " closing"
                                                : "",
                               t->shown_fd,
                               closed                             ? "closed"
                                   : !known                       ? "open"
                                   : t->source.wanted & direction ? "polling"
                                                                  : "idle",
                               size);
    Py_XDECREF(size);
    Py_DECREF(name);
    return text;
}

static PyObject *
Pipe_get__pipe(PyObject *op, void *Py_UNUSED(closure))
{
    TransportData *t = TRANSPORT(op);
    return Py_NewRef(t->source.fd < 0 || t->file == NULL ? Py_None : t->file);
}

static PyObject *
Pipe_get__fileno(PyObject *op, void *Py_UNUSED(closure))
{
    return PyLong_FromLong(TRANSPORT(op)->shown_fd);
}

#define PIPE_GETSET                                                                    \
    {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict, NULL, NULL},        \
        {"_extra", Transport_get__extra, NULL, NULL, NULL},                            \
        {"_pipe", Pipe_get__pipe, NULL, NULL, NULL},                                   \
        {"_fileno", Pipe_get__fileno, NULL, NULL, NULL},                               \
        TRANSPORT_FIELD("_loop", loop), TRANSPORT_FIELD("_protocol", protocol),        \
        TRANSPORT_FLAG("_closing", closing)

#define PIPE_SLOTS                                                                     \
    {Py_tp_dealloc, Transport_dealloc}, {Py_tp_traverse, Transport_traverse},          \
        {Py_tp_clear, Transport_clear},                                                \
    {                                                                                  \
        Py_tp_finalize, Transport_finalize                                             \
    }

/* --- reading ------------------------------------------------------------------ */

/* The callbacks stand on the ready ring in this order. */
static int
read_pipe_at_eof(PyObject *op)
{
    TransportData *t = TRANSPORT(op);
    if (transport_log_info(op, "%r was closed by peer") < 0) {
        return -1;
    }
    if (t->conn_lost != 0 || t->loop == NULL) {
        return 0;
    }
    t->closing = true;
    t->conn_lost++;
    int rc = source_watch(transport_loop(t), &t->source, 0);
    if (rc == 0) {
        rc = transport_call_soon_steal(
            t, PyObject_GetAttr(t->protocol, t->st->str_eof_received), NULL, NULL);
    }
    if (rc < 0 && !PyErr_ExceptionMatches(PyExc_MemoryError)) {
        return -1;
    }
    /* Also without memory for that, or the protocol would never be told of the end. */
    PyObject *exc = PyErr_GetRaisedException();
    if (t->loop != NULL && transport_schedule_lost(op) < 0) {
        rc = -1;
    }
    if (exc != NULL) {
        PyErr_SetRaisedException(exc);
    }
    return rc;
}

/* Reads into a new bytes object, NULL with an exception if there is no memory for it.
 * The result is pipe_transfer()'s. */
static Py_ssize_t
read_pipe_bytes(TransportData *t, PyObject **data)
{
    LoopObject *loop = transport_loop(t);
    struct iovec iov = {loop_read_buffer(loop), READ_BUFFER_SIZE};
    *data = NULL;
    if (iov.iov_base == NULL) {
        return -2;
    }
    Py_INCREF(loop);
    loop->read_buffer = NULL; /* nobody else uses it meanwhile */
    Py_ssize_t n = pipe_transfer(t, readv, &iov, 1);
    int error = errno;
    if (n > 0) {
        *data = PyBytes_FromStringAndSize(iov.iov_base, n);
    }
    loop_return_buffer(loop, iov.iov_base);
    Py_DECREF(loop);
    errno = error;
    return n;
}

static int
read_pipe_read(PyObject *op)
{
    TransportData *t = TRANSPORT(op);
    PyObject *data;
    Py_ssize_t n = read_pipe_bytes(t, &data);
    if (n < 0) {
        if (n == -2 || !is_error(n)) {
            return n == -2 ? -1 : 0;
        }
        PyErr_SetFromErrno(PyExc_OSError);
        return transport_fatal(op, "Fatal read error on pipe transport");
    }
    if (n == 0) {
        return read_pipe_at_eof(op);
    }
    if (data == NULL) { /* they are lost */
        return transport_fatal(op, "Fatal read error on pipe transport");
    }
    PyObject *argv[3] = {NULL, NULL, data};
    PyObject *res = transport_call(t, t->st->str_data_received, argv, 1);
    Py_DECREF(data);
    Py_XDECREF(res);
    return res == NULL ? -1 : 0;
}

static int
read_pipe_run(LoopObject *Py_UNUSED(loop), struct source *s, unsigned mask)
{
    TransportData *t = TRANSPORT_OF_SOURCE(s);
    /* What is not wanted any more since the event came. */
    return mask & s->wanted & POLL_READ && t->conn_lost == 0
        ? transport_run_reported(s->owner, t->read_context, read_pipe_read,
                                 t->st->str__read_ready)
        : 0;
}

const struct source_kind read_pipe_kind = {
    .run = read_pipe_run,
    .soon = transport_soon,
    .handle = transport_handle,
};

static const char read_pipe_close_doc[] = PyDoc_STR(
"close($self)\n--\n\n"
"Close the transport and its pipe; connection_lost(None) follows.\n\n"
"No more data are received. Mirrors asyncio.BaseTransport.close().");

static PyObject *
ReadPipe_close(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    return transport_force_close(op, NULL) < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *
ReadPipe_repr(PyObject *op)
{
    return pipe_repr(op, POLL_READ);
}

static PyMethodDef ReadPipe_methods[] = {
    TRANSPORT_SHARED_METHODS,
    TRANSPORT_READ_METHODS,
    {"close", ReadPipe_close, METH_NOARGS, read_pipe_close_doc},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef ReadPipe_getset[] = {
    PIPE_GETSET,
    TRANSPORT_FLAG("_paused", paused),
    {NULL, NULL, NULL, NULL, NULL},
};

static const char ReadPipe_doc[] = PyDoc_STR(
"The transport of the reading end of a pipe, or of what can be read like one.\n\n"
"Made by the loop's connect_read_pipe(). Mirrors asyncio.ReadTransport.");

PyType_Slot read_pipe_slots[] = {
    PIPE_SLOTS,
    {Py_tp_repr, ReadPipe_repr},
    {Py_tp_getset, ReadPipe_getset},
    {Py_tp_methods, ReadPipe_methods},
    {Py_tp_doc, (void *)ReadPipe_doc},
    {0, NULL},
};

/* --- writing ------------------------------------------------------------------ */

static const char write_error[] = "Fatal write error on pipe transport";

/* The exception being raised ends the transport. */
static int
write_pipe_fail(PyObject *op)
{
    TransportData *t = TRANSPORT(op);
    wqueue_clear(&t->out);
    t->useless++;
    return transport_fatal(op, write_error);
}

/* A write that nothing can come of. */
static int
write_pipe_useless(TransportData *t)
{
    int rc = 0;
    if (t->useless >= LOST_WRITES_LOGGED) {
        rc = transport_warn(
            t->st, "pipe closed by peer or os.write(pipe, data) raised exception.");
    }
    t->useless++;
    return rc;
}

/* Puts the bytes from `n` on in the queue, of which none stand before them unless
 * another thread has written meanwhile. */
static int
write_pipe_keep(TransportData *t, PyObject *data, const Py_buffer *view, Py_ssize_t n)
{
    bool whole = PyBytes_CheckExact(data) && (n == 0 || t->out.len == 0);
    PyObject *bytes = whole
        ? Py_NewRef(data)
        : PyBytes_FromStringAndSize((char *)view->buf + n, view->len - n);
    if (bytes == NULL) {
        return -1;
    }
    if (wqueue_push_steal(&t->out, bytes) < 0) {
        Py_DECREF(bytes);
        PyErr_NoMemory();
        return -1;
    }
    if (whole && n > 0) {
        t->out.offset = n;
        t->out.size -= n;
    }
    return 0;
}

/* The error of PyObject_GetBuffer(), as os.write() has it, or bytearray += data. */
static int
write_pipe_no_buffer(PyObject *op, PyObject *data)
{
    if (TRANSPORT(op)->out.len == 0) {
        return write_pipe_fail(op);
    }
    PyErr_Clear();
    PyErr_Format(PyExc_TypeError, "can't concat %.100s to bytearray",
                 Py_TYPE(data)->tp_name);
    return -1;
}

static int
write_pipe_write(PyObject *op, PyObject *data)
{
    TransportData *t = TRANSPORT(op);
    Py_buffer view;
    if (PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) < 0) {
        return t->closing ? -1 : write_pipe_no_buffer(op, data);
    }
    /* To get the buffer of a subclass may have run Python code. */
    if (t->closing || t->loop == NULL) {
        PyBuffer_Release(&view);
        return write_pipe_useless(t);
    }
    Py_ssize_t n = 0;
    int error = 0;
    if (t->out.len == 0) {
        struct iovec iov = {view.buf, (size_t)view.len};
        n = pipe_transfer(t, writev, &iov, 1);
        if (UNLIKELY(n == -2 || t->closing || t->loop == NULL)) { /* by a handler */
            release_view(&view);
            return n == -2 ? -1 : 0;
        }
        error = is_error(n) ? errno : 0;
        n = n < 0 ? 0 : n;
    }
    int rc = n == view.len || error != 0 ? 0 : write_pipe_keep(t, data, &view, n);
    release_view(&view); /* as above */
    if (error != 0) {
        errno = error;
        PyErr_SetFromErrno(PyExc_OSError);
        return write_pipe_fail(op);
    }
    if (rc < 0) { /* nothing may follow the part that is written */
        return n == 0 ? -1 : write_pipe_fail(op);
    }
    if (t->out.len == 0 || t->conn_lost != 0 || t->loop == NULL) {
        return 0;
    }
    if (!(t->source.wanted & POLL_WRITE) && transport_watch_writing(op, true) < 0) {
        wqueue_clear(&t->out);
        return n == 0 ? -1 : write_pipe_fail(op);
    }
    return transport_check_high(op);
}

static const char write_pipe_write_doc[] = PyDoc_STR(
"write($self, data)\n--\n\n"
"Send data: bytes, a bytearray or a memoryview. It does not block.\n\n"
"What the pipe does not take at once is kept; pause_writing() of the protocol tells\n"
"when that is too much. Raises TypeError for other data. Mirrors\n"
"asyncio.WriteTransport.write().");

static const struct args_spec write_pipe_write_spec = {
    "WritePipeTransport.write", {"data"}, 1, false};

static PyObject *
WritePipe_write(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
                PyObject *kwnames)
{
    TransportData *t = TRANSPORT(op);
    PyObject *data = args_parse_one(&write_pipe_write_spec, args, nargs, kwnames);
    if (data == NULL || transport_check_data(data) < 0) {
        return NULL;
    }
    int some = PyBytes_CheckExact(data) ? PyBytes_GET_SIZE(data) > 0
                                        : PyObject_IsTrue(data);
    if (some > 0) {
        some = t->closing || t->loop == NULL ? write_pipe_useless(t)
                                             : write_pipe_write(op, data);
    }
    return some < 0 ? NULL : Py_NewRef(Py_None);
}

/* The descriptor is writable. Runs in the context of write(). */
static int
write_pipe_flush(PyObject *op)
{
    TransportData *t = TRANSPORT(op);
    struct iovec iov[VECTORS] = {{NULL, 0}};
    PyObject *held[VECTORS];
    int count = wqueue_fill(&t->out, iov, VECTORS);
    for (int i = 0; i < count; i++) {
        held[i] = Py_NewRef(wqueue_items(&t->out)[t->out.head + (unsigned)i]);
    }
    Py_ssize_t n = pipe_transfer(t, writev, iov, count);
    int error = errno;
    for (int i = 0; i < count; i++) {
        Py_DECREF(held[i]);
    }
    errno = error;
    if (n == -2 || n > t->out.size) { /* the latter: somebody has dropped the queue */
        return n == -2 ? -1 : 0;
    }
    if (n < 0) {
        if (!is_error(n)) {
            return 0;
        }
        PyErr_SetFromErrno(PyExc_OSError);
        return write_pipe_fail(op);
    }
    wqueue_consume(&t->out, n);
    if (t->out.len > 0) {
        return 0;
    }
    if (transport_watch_writing(op, false) < 0 || transport_check_low(op) < 0) {
        return -1;
    }
    if (!t->closing || t->conn_lost != 0 || t->loop == NULL) {
        return 0;
    }
    t->conn_lost++;
    return source_watch(transport_loop(t), &t->source, 0) < 0
        ? -1
        : transport_lose(op, Py_None);
}

/* The reading end is closed. */
static int
write_pipe_at_end(PyObject *op)
{
    TransportData *t = TRANSPORT(op);
    if (transport_log_info(op, "%r was closed by peer") < 0) {
        return -1;
    }
    if (t->out.len == 0) {
        return transport_force_close(op, NULL);
    }
    PyObject *exc = PyObject_CallNoArgs(PyExc_BrokenPipeError);
    int rc = exc == NULL ? -1 : transport_force_close(op, exc);
    Py_XDECREF(exc);
    return rc;
}

static int
write_pipe_run(LoopObject *Py_UNUSED(loop), struct source *s, unsigned mask)
{
    TransportData *t = TRANSPORT_OF_SOURCE(s);
    PyObject *op = s->owner;
    int rc = 0;
    /* What is not wanted any more since the event came. */
    if (mask & s->wanted & POLL_READ && t->conn_lost == 0) {
        rc = transport_run_reported(op, t->read_context, write_pipe_at_end,
                                    t->st->str__read_ready);
    }
    if (rc == 0 && mask & s->wanted & POLL_WRITE && t->out.len > 0) {
        rc = transport_run_reported(op, t->write_context, write_pipe_flush,
                                    t->st->str__write_ready);
    }
    return rc;
}

const struct source_kind write_pipe_kind = {
    .run = write_pipe_run,
    .soon = transport_soon,
    .handle = transport_handle,
};

/* --- the end of writing ------------------------------------------------------- */

static const char write_pipe_close_doc[] = PyDoc_STR(
"close($self)\n--\n\n"
"Close the transport and its pipe once what was written is sent.\n\n"
"connection_lost(None) follows. Mirrors asyncio.BaseTransport.close().");

static const char write_eof_doc[] = PyDoc_STR(
"write_eof($self)\n--\n\n"
"Close the transport and its pipe once what was written is sent, as close().\n\n"
"Mirrors asyncio.WriteTransport.write_eof().");

static PyObject *
WritePipe_close(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    TransportData *t = TRANSPORT(op);
    int rc = 0;
    if (!t->closing && t->out.len == 0) {
        rc = transport_force_close(op, NULL);
    }
    t->closing = true;
    t->dropped = false;
    return rc < 0 ? NULL : Py_NewRef(Py_None);
}

static const char can_write_eof_doc[] = PyDoc_STR(
"can_write_eof($self)\n--\n\n"
"Return True. Mirrors asyncio.WriteTransport.can_write_eof().");

static PyObject *
WritePipe_can_write_eof(PyObject *Py_UNUSED(op), PyObject *Py_UNUSED(ignored))
{
    Py_RETURN_TRUE;
}

/* --- the type of writers ------------------------------------------------------ */

static PyObject *
WritePipe_repr(PyObject *op)
{
    return pipe_repr(op, POLL_WRITE);
}

static PyObject *
WritePipe_get__conn_lost(PyObject *op, void *Py_UNUSED(closure))
{
    return PyLong_FromUnsignedLong(TRANSPORT(op)->useless);
}

static PyMethodDef WritePipe_methods[] = {
    TRANSPORT_SHARED_METHODS,
    TRANSPORT_WRITE_METHODS,
    {"write", _PyCFunction_CAST(WritePipe_write), METH_FASTCALL | METH_KEYWORDS,
     write_pipe_write_doc},
    {"write_eof", WritePipe_close, METH_NOARGS, write_eof_doc},
    {"can_write_eof", WritePipe_can_write_eof, METH_NOARGS, can_write_eof_doc},
    {"close", WritePipe_close, METH_NOARGS, write_pipe_close_doc},
    {"abort", Transport_abort, METH_NOARGS, Transport_abort_doc},
    {"_write_ready", Transport__write_ready, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef WritePipe_getset[] = {
    PIPE_GETSET,
    {"_conn_lost", WritePipe_get__conn_lost, NULL, NULL, NULL},
    TRANSPORT_WRITE_GETSET,
    {NULL, NULL, NULL, NULL, NULL},
};

static const char WritePipe_doc[] = PyDoc_STR(
"The transport of the writing end of a pipe, or of what can be written like one.\n\n"
"Made by the loop's connect_write_pipe(). Mirrors asyncio.WriteTransport.");

PyType_Slot write_pipe_slots[] = {
    PIPE_SLOTS,
    {Py_tp_repr, WritePipe_repr},
    {Py_tp_getset, WritePipe_getset},
    {Py_tp_methods, WritePipe_methods},
    {Py_tp_doc, (void *)WritePipe_doc},
    {0, NULL},
};
