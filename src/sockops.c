/* sockops.c - see sockops.h: what each operation does, and the loop's methods.
 *
 * recv(), recv_into() and sendall() are system calls of our own; the others call the
 * socket's methods, which know all families of addresses. Either way an attempt never
 * blocks: a socket that would is left to asyncio's coroutine.
 *
 * Calls into Python: the socket's methods, and exporters of buffers. */

#include "sockops.h"
#include "compat.h"
#include "sys.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

/* What is read into the loop's buffer first, and copied into an object of its size. */
#define SMALL_READ HARD_OR(3, READ_BUFFER_SIZE)

const char *const sockop_names[SOCK_OPS] = {
    "sock_recv",    "sock_recv_into", "sock_recvfrom", "sock_recvfrom_into",
    "sock_sendall", "sock_sendto",    "sock_connect",  "sock_accept",
};

/* --- the socket --------------------------------------------------------------- */

int
sockop_fileno(SockCall *c)
{
    PyObject *argv[] = {c->sock};
    PyObject *number = PyObject_Vectorcall(c->st->socket_fileno, argv, 1, NULL);
    if (number == NULL) {
        return -2;
    }
    int fd = (int)PyLong_AsLong(number);
    Py_DECREF(number);
    return fd;
}

/* Whether the methods that we go past are those of the C class. */
static bool
socket_methods_are_own(core_state *st)
{
    static const char *const names[] = {"fileno", "gettimeout", "recv", "recv_into",
                                        "send"};
    PyObject *exc = PyErr_GetRaisedException();
    bool own = true;
    for (size_t i = 0; own && i < Py_ARRAY_LENGTH(names); i++) {
        PyObject *found = PyObject_GetAttrString(st->socket_type, names[i]);
        PyObject *base = PyObject_GetAttrString(st->c_socket_type, names[i]);
        own = found != NULL && found == base;
        Py_XDECREF(found);
        Py_XDECREF(base);
    }
    PyErr_SetRaisedException(exc);
    return own;
}

static inline bool
socket_is_plain(core_state *st, PyObject *sock)
{
    if (UNLIKELY((PyObject *)Py_TYPE(sock) != st->socket_type)) {
        return false;
    }
    unsigned tag = Py_TYPE(sock)->tp_version_tag;
    if (UNLIKELY(tag != st->socket_tag || tag == 0)) {
        if (!socket_methods_are_own(st)) {
            return false;
        }
        st->socket_tag = Py_TYPE(sock)->tp_version_tag;
    }
    return true;
}

/* 1 if its methods would wait, 0 if not; -1 with an exception on error. */
static int
socket_is_blocking(SockCall *c)
{
    PyObject *argv[] = {c->sock};
    PyObject *timeout = PyObject_Vectorcall(c->st->socket_gettimeout, argv, 1, NULL);
    if (timeout == NULL) {
        return -1;
    }
    int blocking = timeout == Py_None || PyFloat_AsDouble(timeout) != 0;
    Py_DECREF(timeout);
    return blocking;
}

/* --- outcomes ----------------------------------------------------------------- */

/* Leaves it to asyncio's coroutine. */
static enum sock_outcome
delegate(SockCall *c)
{
    PyObject *argv[1 + SOCKCALL_ARGS] = {c->sock};
    Py_ssize_t nargs = 1;
    while (nargs <= SOCKCALL_ARGS && c->args[nargs - 1] != NULL) {
        argv[nargs] = c->args[nargs - 1];
        nargs++;
    }
    c->inner = loop_call_base(c->loop, sockop_names[c->op], argv, nargs, NULL);
    return c->inner == NULL ? SOCK_FAILED : SOCK_INNER;
}

/* It would block; before the first wait, see whether the socket's own method would. */
static enum sock_outcome
would_block(SockCall *c, enum sock_outcome wait)
{
    if (!c->tried && c->sent == 0) {
        int blocking = socket_is_blocking(c);
        if (UNLIKELY(blocking != 0)) {
            return blocking < 0 ? SOCK_FAILED : delegate(c);
        }
    }
    c->tried = true;
    return wait;
}

static enum sock_outcome
done(PyObject *value, PyObject **result)
{
    *result = value;
    return value == NULL ? SOCK_FAILED : SOCK_DONE;
}

/* What a system call gave: -errno. */
static enum sock_outcome
failed_call(SockCall *c, Py_ssize_t rc, enum sock_outcome wait)
{
    if (rc == -EAGAIN || rc == -EWOULDBLOCK) {
        return would_block(c, wait);
    }
    errno = (int)-rc;
    PyErr_SetFromErrno(PyExc_OSError);
    return SOCK_FAILED;
}

/* What one of the socket's methods gave; steals it. */
static enum sock_outcome
called_method_steal(SockCall *c, PyObject *value, enum sock_outcome wait,
                    PyObject **result)
{
    if (value == NULL
        && (PyErr_ExceptionMatches(PyExc_BlockingIOError)
            || PyErr_ExceptionMatches(PyExc_InterruptedError))) {
        PyErr_Clear();
        return would_block(c, wait);
    }
    return done(value, result);
}

/* An exact int of at least 1, or 0: asyncio's coroutine knows what to say of it. */
static Py_ssize_t
size_of_arg(PyObject *arg)
{
    Py_ssize_t size = PyLong_CheckExact(arg) ? PyLong_AsSsize_t(arg) : 0;
    if (size < 0) {
        PyErr_Clear();
        size = 0;
    }
    return size;
}

/* --- receiving ---------------------------------------------------------------- */

static Py_ssize_t
receive(SockCall *c, int fd, void *buffer, Py_ssize_t size)
{
    if (sockwait_is_drained(c->loop, c->sock, fd)) {
        return -EAGAIN;
    }
    Py_ssize_t n = sys_recv(fd, buffer, (size_t)size, 0);
    if (n > 0 && n < size) {
        sockwait_note_short_read(c->loop, c->sock, fd);
    }
    return n;
}

static enum sock_outcome
recv_large(SockCall *c, int fd, Py_ssize_t size, PyObject **result)
{
    PyObject *bytes = PyBytes_FromStringAndSize(NULL, size);
    if (bytes == NULL) {
        return SOCK_FAILED;
    }
    Py_ssize_t n = receive(c, fd, PyBytes_AS_STRING(bytes), size);
    if (n < 0) {
        Py_DECREF(bytes);
        return failed_call(c, n, SOCK_WAIT_READ);
    }
    if (n != size && _PyBytes_Resize(&bytes, n) < 0) {
        return SOCK_FAILED;
    }
    return done(bytes, result);
}

static enum sock_outcome
attempt_recv(SockCall *c, int fd, PyObject **result)
{
    Py_ssize_t size = size_of_arg(c->args[0]);
    if (UNLIKELY(size == 0)) {
        return delegate(c);
    }
    if (size > SMALL_READ) {
        return recv_large(c, fd, size, result);
    }
    char *buffer = loop_read_buffer(c->loop);
    if (buffer == NULL) {
        return SOCK_FAILED;
    }
    Py_ssize_t n = receive(c, fd, buffer, size);
    return UNLIKELY(n < 0) ? failed_call(c, n, SOCK_WAIT_READ)
                           : done(PyBytes_FromStringAndSize(buffer, n), result);
}

/* The descriptor once more: to get a buffer may have run code that closed it, and then
 * the number is nobody's, or another's. */
static int
fd_after_buffer(SockCall *c, PyObject *exporter, int fd)
{
    return PyBytes_CheckExact(exporter) || PyByteArray_CheckExact(exporter)
        ? fd
        : sockop_fileno(c);
}

/* What sockop_fileno() gave, if that is not a descriptor. */
static enum sock_outcome
failed_fd(int fd)
{
    if (fd == -1) {
        errno = EBADF;
        PyErr_SetFromErrno(PyExc_OSError);
    }
    return SOCK_FAILED;
}

static enum sock_outcome
attempt_recv_into(SockCall *c, int fd, PyObject **result)
{
    Py_buffer view;
    if (PyObject_GetBuffer(c->args[0], &view, PyBUF_WRITABLE) < 0) {
        PyErr_Clear();
        return delegate(c);
    }
    if (view.len == 0) {
        PyBuffer_Release(&view);
        return delegate(c);
    }
    fd = fd_after_buffer(c, c->args[0], fd);
    if (fd < 0) {
        PyBuffer_Release(&view);
        return failed_fd(fd);
    }
    Py_ssize_t n = receive(c, fd, view.buf, view.len);
    PyBuffer_Release(&view);
    return n < 0 ? failed_call(c, n, SOCK_WAIT_READ)
                 : done(PyLong_FromSsize_t(n), result);
}

/* Whether there is something to receive, or an error to raise: to see beforehand that
 * there is not costs much less than an exception. The outcome, or SOCK_DONE to go on.
 */
static enum sock_outcome
peek(SockCall *c, int fd)
{
    char byte;
    Py_ssize_t n = sys_recv(fd, &byte, 1, MSG_PEEK);
    return n < 0 ? failed_call(c, n, SOCK_WAIT_READ) : SOCK_DONE;
}

static enum sock_outcome
attempt_recvfrom(SockCall *c, int fd, PyObject **result)
{
    if (size_of_arg(c->args[0]) == 0) {
        return delegate(c);
    }
    enum sock_outcome seen = peek(c, fd);
    return seen != SOCK_DONE
        ? seen
        : called_method_steal(
              c, PyObject_CallMethodOneArg(c->sock, c->st->str_recvfrom, c->args[0]),
              SOCK_WAIT_READ, result);
}

/* asyncio's default is as many bytes as the buffer has items, when it begins. */
static Py_ssize_t
recvfrom_into_size(SockCall *c)
{
    Py_buffer view;
    if (c->args[1] == NULL) {
        Py_ssize_t items = PyObject_Size(c->args[0]);
        c->args[1] = items > 0 ? PyLong_FromSsize_t(items) : NULL;
    }
    Py_ssize_t size = c->args[1] == NULL ? 0 : size_of_arg(c->args[1]);
    if (size <= 0 || PyObject_GetBuffer(c->args[0], &view, PyBUF_WRITABLE) < 0) {
        PyErr_Clear();
        return 0;
    }
    Py_ssize_t room = view.len;
    PyBuffer_Release(&view);
    return size <= room ? size : 0;
}

static enum sock_outcome
attempt_recvfrom_into(SockCall *c, int fd, PyObject **result)
{
    Py_ssize_t size = recvfrom_into_size(c);
    if (size == 0) {
        return delegate(c);
    }
    fd = fd_after_buffer(c, c->args[0], fd);
    if (fd < 0) {
        return failed_fd(fd);
    }
    enum sock_outcome seen = peek(c, fd);
    return seen != SOCK_DONE
        ? seen
        : called_method_steal(
              c, PyObject_CallMethod(c->sock, "recvfrom_into", "On", c->args[0], size),
              SOCK_WAIT_READ, result);
}

/* --- sending ------------------------------------------------------------------ */

/* Once. What a stream socket does not take, it has no room for: an event will come. */
static enum sock_outcome
attempt_sendall(SockCall *c, int fd, PyObject **result)
{
    if (c->view.obj == NULL
        && PyObject_GetBuffer(c->args[0], &c->view, PyBUF_SIMPLE) < 0) {
        PyErr_Clear();
        return delegate(c);
    }
    fd = fd_after_buffer(c, c->args[0], fd);
    if (fd < 0) {
        return failed_fd(fd);
    }
    Py_ssize_t rest = c->view.len - c->sent;
    Py_ssize_t n = sys_send(fd, (char *)c->view.buf + c->sent, (size_t)rest, 0);
    if (n < 0) {
        return failed_call(c, n, SOCK_WAIT_WRITE);
    }
    c->sent += n;
    return n < rest ? would_block(c, SOCK_WAIT_WRITE)
                    : done(Py_NewRef(Py_None), result);
}

static enum sock_outcome
attempt_sendto(SockCall *c, PyObject **result)
{
    PyObject *sent = PyObject_CallMethodObjArgs(c->sock, c->st->str_sendto, c->args[0],
                                                c->args[1], NULL);
    return called_method_steal(c, sent, SOCK_WAIT_WRITE, result);
}

/* --- connections -------------------------------------------------------------- */

static enum sock_outcome
attempt_accept(SockCall *c, PyObject **result)
{
    core_state *st = c->st;
    PyObject *pair = PyObject_CallMethodNoArgs(c->sock, st->str_accept);
    if (pair == NULL || !PyTuple_CheckExact(pair) || PyTuple_GET_SIZE(pair) != 2) {
        return called_method_steal(c, pair, SOCK_WAIT_READ, result);
    }
    PyObject *res = PyObject_CallMethodOneArg(PyTuple_GET_ITEM(pair, 0),
                                              st->str_setblocking, Py_False);
    if (res == NULL) {
        Py_DECREF(pair);
        return SOCK_FAILED;
    }
    Py_DECREF(res);
    return done(pair, result);
}

static int
option(int fd, int name)
{
    int value = 0;
    socklen_t len = sizeof(value);
    return getsockopt(fd, SOL_SOCKET, name, &value, &len) < 0 ? -errno : value;
}

/* Raises OSError(error, f'Connect call failed {address}'). */
static void
raise_connect_failed(SockCall *c, int error)
{
    PyObject *text = PyUnicode_FromFormat("Connect call failed %S", c->args[0]);
    PyObject *exc = text == NULL
        ? NULL
        : PyObject_CallFunction(PyExc_OSError, "iO", error, text);
    Py_XDECREF(text);
    if (exc != NULL) {
        PyErr_SetRaisedException(exc);
    }
}

/* Has connect() come to an end? */
static enum sock_outcome
finish_connect(SockCall *c, int fd, PyObject **result)
{
    struct pollfd seen = {.fd = fd, .events = POLLOUT};
    if (poll(&seen, 1, 0) == 0) {
        return SOCK_WAIT_WRITE;
    }
    int error = option(fd, SO_ERROR);
    if (error < 0) {
        return failed_call(c, error, SOCK_WAIT_WRITE);
    }
    if (error > 0) {
        raise_connect_failed(c, error);
        return SOCK_FAILED;
    }
    return done(Py_NewRef(Py_None), result);
}

static enum sock_outcome
begin_connect(SockCall *c, PyObject **result)
{
    PyObject *res = PyObject_CallMethodOneArg(c->sock, c->st->str_connect, c->args[0]);
    c->connecting = c->tried = true;
    return called_method_steal(c, res, SOCK_WAIT_WRITE, result);
}

/* loop._ensure_resolved(address, family=..., type=..., proto=..., loop=loop) */
static enum sock_outcome
resolve(SockCall *c)
{
    core_state *st = c->st;
    PyObject *argv[] = {(PyObject *)c->loop,
                        c->args[0],
                        PyObject_GetAttr(c->sock, st->str_family),
                        PyObject_GetAttr(c->sock, st->str_type),
                        PyObject_GetAttr(c->sock, st->str_proto),
                        (PyObject *)c->loop};
    if (argv[2] != NULL && argv[3] != NULL && argv[4] != NULL) {
        c->inner = PyObject_VectorcallMethod(st->str__ensure_resolved, argv, 2,
                                             st->kw_resolve);
    }
    Py_XDECREF(argv[2]);
    Py_XDECREF(argv[3]);
    Py_XDECREF(argv[4]);
    c->resolving = true;
    return c->inner == NULL ? SOCK_FAILED : SOCK_INNER;
}

int
sockop_take_resolved(SockCall *c, PyObject *resolved)
{
    PyObject *first = PySequence_GetItem(resolved, 0);
    PyObject *address = first == NULL ? NULL : PySequence_GetItem(first, 4);
    Py_XDECREF(first);
    if (address == NULL) {
        return -1;
    }
    Py_XSETREF(c->args[0], address);
    c->resolved = true;
    return 0;
}

static enum sock_outcome
attempt_connect(SockCall *c, int fd, PyObject **result)
{
    if (c->connecting) {
        return finish_connect(c, fd, result);
    }
    if (!c->resolved) {
        int family = option(fd, SO_DOMAIN);
        if (family == AF_INET || family == AF_INET6) {
            return resolve(c);
        }
    }
    return begin_connect(c, result);
}

/* --- all of them -------------------------------------------------------------- */

enum sock_outcome
sockop_attempt(SockCall *c, PyObject **result)
{
    int fd = sockop_fileno(c);
    if (UNLIKELY(fd < 0)) {
        return fd < -1 ? SOCK_FAILED : delegate(c);
    }
    if (UNLIKELY(c->loop->debug) && !c->tried && !c->resolved) {
        int blocking = socket_is_blocking(c);
        if (blocking != 0) {
            return blocking < 0 ? SOCK_FAILED : delegate(c);
        }
    }
    switch ((enum sockop)c->op) {
    case SOCK_RECV:
        return attempt_recv(c, fd, result);
    case SOCK_RECV_INTO:
        return attempt_recv_into(c, fd, result);
    case SOCK_RECVFROM:
        return attempt_recvfrom(c, fd, result);
    case SOCK_RECVFROM_INTO:
        return attempt_recvfrom_into(c, fd, result);
    case SOCK_SENDALL:
        return attempt_sendall(c, fd, result);
    case SOCK_SENDTO:
        return attempt_sendto(c, result);
    case SOCK_CONNECT:
        return attempt_connect(c, fd, result);
    case SOCK_ACCEPT:
        return attempt_accept(c, result);
    case SOCK_OPS:
        break;
    }
    Py_UNREACHABLE();
}

/* --- the loop's methods ------------------------------------------------------- */

/* least..most: how many arguments there are beside the socket. What is called in
 * another way is asyncio's to parse. */
static inline PyObject *
start(PyObject *op, enum sockop which, Py_ssize_t least, Py_ssize_t most,
      PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    LoopObject *self = LOOP(op);
    if (LIKELY(kwnames == NULL && nargs > least && nargs <= most + 1)
        && LIKELY(socket_is_plain(self->st, args[0]))
        && LIKELY(!self->debug && loop_watches_natively(self)
                  && !loop_hooked(self,
                                  HOOK_ENSURE_NO_TRANSPORT | HOOK_CREATE_FUTURE
                                      | HOOK_PUBLIC_REMOVE_READER
                                      | HOOK_PUBLIC_REMOVE_WRITER))) {
        return sockcall_new(self, which, args[0], args + 1, nargs - 1);
    }
    return loop_call_base(self, sockop_names[which], args, nargs, kwnames);
}

#define METHOD(name, which, least, most, signature, text)                              \
    const char Loop_##name##_doc[] = PyDoc_STR(                                        \
        #name signature "\n--\n\n" text "\n\nMirrors asyncio.loop." #name "().");            \
    PyObject *Loop_##name(PyObject *op, PyObject *const *args, Py_ssize_t nargs,       \
                          PyObject *kwnames)                                           \
    {                                                                                  \
        return start(op, which, least, most, args, nargs, kwnames);                    \
    }

METHOD(sock_recv, SOCK_RECV, 1, 1, "($self, sock, n)",
       "Receive up to n bytes from the non-blocking sock; b'' at the end.")
METHOD(sock_recv_into, SOCK_RECV_INTO, 1, 1, "($self, sock, buf)",
       "Receive into the writable buffer buf; return the number of bytes.")
METHOD(sock_recvfrom, SOCK_RECVFROM, 1, 1, "($self, sock, bufsize)",
       "Receive a datagram of up to bufsize bytes; return (bytes, address).")
METHOD(
    sock_recvfrom_into, SOCK_RECVFROM_INTO, 1, 2, "($self, sock, buf, nbytes=0)",
    "Receive a datagram into the writable buffer buf, up to nbytes, 0 for all of it;\n"
    "return (number of bytes, address).")
METHOD(sock_sendall, SOCK_SENDALL, 1, 1, "($self, sock, data)",
       "Send all of data, a bytes-like object, which may not change meanwhile.")
METHOD(sock_sendto, SOCK_SENDTO, 2, 2, "($self, sock, data, address)",
       "Send a datagram to address; return the number of bytes.")
METHOD(sock_connect, SOCK_CONNECT, 1, 1, "($self, sock, address)",
       "Connect to address, resolving the name in it for internet sockets.\n\n"
       "Raises OSError if that fails.")
METHOD(sock_accept, SOCK_ACCEPT, 0, 0, "($self, sock)",
       "Accept a connection; return (socket, address), the socket non-blocking.")
