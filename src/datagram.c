/* datagram.c - the transport of UDP and UNIX datagram sockets: reading and sending.
 *
 * Reading. One recvmmsg() for each event. Between two datagrams of a batch the protocol
 * may have paused reading, closed the transport, stopped the loop, or an exception may
 * end it: what is left of the batch is kept (`kept`) and delivered first, later; it is
 * dropped where asyncio would have left it in a socket about to be closed. The watch is
 * level-triggered: what is left in the socket brings another event.
 *
 * Sending. sendto() tries at once, as errors go to error_received() before it returns.
 * Only what finds no room is queued: `out` holds data and address by turns, and is sent
 * with sendmmsg() when the descriptor is writable. Addresses that are no plain tuples
 * of numbers, and UNIX paths, are for the socket object's sendto(). */

#include "compat.h"
#include "mmsg.h"
#include "transport.h"

#include <errno.h>

/* What each queued datagram counts besides its data. Some releases of 3.13 forget to
 * take it off again. */
#define HEADER_SIZE (PY_VERSION_HEX >= 0x030D0000 ? 8 : 0)
/* Queued datagrams sent with one call, and calls for one event, at most. */
#define SEND_BATCH HARD_OR(2, 16)
#define SEND_CALLS HARD_OR(1, 16)

static const char read_error[] = "Fatal read error on datagram transport";
static const char write_error[] = "Fatal write error on datagram transport";

/* --- errors ------------------------------------------------------------------- */

/* protocol.error_received() of the OSError being raised, as in an except clause. */
static int
datagram_tell_error(TransportData *t)
{
    PyObject *exc = PyErr_GetRaisedException();
    PyObject *outer = PyErr_GetHandledException();
    PyErr_SetHandledException(exc);
    PyObject *argv[3] = {NULL, NULL, exc};
    PyObject *res = transport_call(t, t->st->str_error_received, argv, 1);
    PyErr_SetHandledException(outer);
    Py_XDECREF(outer);
    Py_DECREF(exc);
    Py_XDECREF(res);
    return res == NULL ? -1 : 0;
}

/* The exception being raised, of a call to the system: to error_received(), or the end
 * of the transport. */
static int
datagram_failed(PyObject *op, const char *message)
{
    return PyErr_ExceptionMatches(PyExc_OSError) ? datagram_tell_error(TRANSPORT(op))
                                                 : transport_fatal(op, message);
}

/* --- sending ------------------------------------------------------------------ */

/* Whether 'peername' is true: then addresses are not passed on. -1 on error. */
static int
datagram_is_connected(const TransportData *t)
{
    return t->peer.any.sa_family != AF_UNSPEC ? 1 : PyObject_IsTrue(t->peername);
}

static struct mmsg *
datagram_mmsg(TransportData *t)
{
    LoopObject *loop = transport_loop(t);
    if (loop->mmsg == NULL) {
        loop->mmsg = mmsg_new();
    }
    return loop->mmsg;
}

/* 1 if it was sent, 0 if there is no room, -1 with an exception. */
static int
sent_or_error(Py_ssize_t n)
{
    if (n >= 0) {
        return 1;
    }
    if (errno == EAGAIN || errno == EWOULDBLOCK) {
        return 0;
    }
    PyErr_SetFromErrno(PyExc_OSError);
    return -1;
}

/* raw NULL: to whom it is connected. Results as of sent_or_error(). */
static int
send_bytes(int fd, const void *data, size_t size, const union addr_inet *raw)
{
    socklen_t len = raw == NULL ? 0 : addr_inet_len(raw->any.sa_family);
    Py_ssize_t n;
    do {
        n = sendto(fd, data, size, MSG_NOSIGNAL | MSG_DONTWAIT,
                   raw == NULL ? NULL : &raw->any, len);
    } while (n < 0 && errno == EINTR);
    return sent_or_error(n);
}

/* sock.sendto(data, addr); anything may have happened afterwards. */
static int
datagram_send_by_socket(PyObject *op, PyObject *data, PyObject *addr)
{
    PyObject *sock = Py_NewRef(TRANSPORT(op)->file);
    PyObject *argv[3] = {sock, data, addr};
    PyObject *res = PyObject_VectorcallMethod(TRANSPORT(op)->st->str_sendto, argv, 3,
                                              NULL);
    Py_DECREF(sock);
    Py_XDECREF(res);
    if (res != NULL) {
        return 1;
    }
    if (PyErr_ExceptionMatches(PyExc_BlockingIOError)
        || PyErr_ExceptionMatches(PyExc_InterruptedError)) {
        PyErr_Clear();
        return 0;
    }
    return -1;
}

static int
datagram_send_view(PyObject *op, PyObject *data, const union addr_inet *raw)
{
    TransportData *t = TRANSPORT(op);
    if (LIKELY(PyBytes_CheckExact(data))) {
        return send_bytes(transport_fd(t), PyBytes_AS_STRING(data),
                          (size_t)PyBytes_GET_SIZE(data), raw);
    }
    Py_buffer view;
    if (PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) < 0) {
        return -1;
    }
    int sent = send_bytes(transport_fd(t), view.buf, (size_t)view.len, raw);
    release_view(&view);
    return sent;
}

/* Tries; results as of sent_or_error(). */
static int
datagram_send(PyObject *op, PyObject *data, PyObject *addr)
{
    TransportData *t = TRANSPORT(op);
    if (t->source.fd < 0 || t->loop == NULL) { /* asyncio's loop is None by then */
        PyErr_SetString(PyExc_AttributeError,
                        "'NoneType' object has no attribute 'call_exception_handler'");
        return -1;
    }
    int connected = datagram_is_connected(t);
    if (connected != 0) {
        return connected < 0 ? -1 : datagram_send_view(op, data, NULL);
    }
    if (PySys_Audit("socket.sendto", "OO", t->file, addr) < 0) {
        return -1;
    }
    if (t->source.fd < 0 || t->loop == NULL) { /* closed by an auditor */
        return 1;
    }
    struct mmsg *m = datagram_mmsg(t);
    if (m == NULL) {
        return -1;
    }
    const union addr_inet *raw = mmsg_address(m, t->family, addr);
    if (UNLIKELY(raw == NULL)) {
        return datagram_send_by_socket(op, data, addr);
    }
    union addr_inet to = *raw; /* to get the data may run code that sends, too */
    return datagram_send_view(op, data, &to);
}

/* Puts a copy at the queue's end. */
static int
datagram_append(PyObject *op, PyObject *data, PyObject *addr)
{
    TransportData *t = TRANSPORT(op);
    PyObject *bytes = PyObject_Bytes(data);
    if (bytes != NULL && !PyBytes_CheckExact(bytes)) {
        Py_SETREF(bytes,
                  PyBytes_FromStringAndSize(PyBytes_AS_STRING(bytes),
                                            PyBytes_GET_SIZE(bytes)));
    }
    if (bytes == NULL) {
        return -1;
    }
    if (t->loop == NULL) { /* closed meanwhile */
        Py_DECREF(bytes);
        return 0;
    }
    if (wqueue_push_uncounted_steal(&t->out, bytes) < 0) {
        Py_DECREF(bytes);
        PyErr_NoMemory();
        return -1;
    }
    if (wqueue_push_uncounted_steal(&t->out, addr) < 0) {
        t->out.len--;
        Py_DECREF(bytes);
        PyErr_NoMemory();
        return -1;
    }
    Py_INCREF(addr);
    t->out.size += PyBytes_GET_SIZE(bytes) + HEADER_SIZE;
    return transport_check_high(op);
}

static int
datagram_sendto(PyObject *op, PyObject *data, PyObject *addr)
{
    TransportData *t = TRANSPORT(op);
    if (t->out.len == 0) {
        int sent = datagram_send(op, data, addr);
        if (LIKELY(sent > 0)) {
            return 0;
        }
        if (sent < 0) {
            return t->loop == NULL ? -1 : datagram_failed(op, write_error);
        }
        if (t->loop == NULL) { /* closed meanwhile */
            return 0;
        }
        if (transport_watch_writing(op, true) < 0) {
            return -1;
        }
    }
    return datagram_append(op, data, addr);
}

/* Only the address the endpoint was made for may be given. */
static int
check_address(const DatagramData *d, PyObject *addr)
{
    int same = addr == Py_None || addr == d->address
        ? 1
        : PyObject_RichCompareBool(addr, d->address, Py_EQ);
    if (same == 0) {
        PyErr_Format(PyExc_ValueError, "Invalid address: must be None or %S",
                     d->address);
    }
    return same > 0 ? 0 : -1;
}

static int
check_data(PyObject *data)
{
    if (LIKELY(PyBytes_CheckExact(data)) || PyBytes_Check(data)
        || PyByteArray_Check(data) || PyMemoryView_Check(data)) {
        return 0;
    }
    PyObject *name = PyObject_GetAttrString((PyObject *)Py_TYPE(data), "__name__");
    if (name != NULL) {
        PyErr_Format(PyExc_TypeError,
                     "data argument must be a bytes-like object, not %R", name);
        Py_DECREF(name);
    }
    return -1;
}

/* What asyncio does with data for a lost connection. */
static int
datagram_send_lost(TransportData *t)
{
    int rc = 0;
    if (t->conn_lost >= LOST_WRITES_LOGGED) {
        rc = transport_warn(t->st, "socket.send() raised exception.");
    }
    t->conn_lost++;
    return rc;
}

static const char sendto_doc[] = PyDoc_STR(
"sendto($self, data, addr=None)\n--\n\n"
"Send one datagram. It does not block.\n\n"
"data: bytes, a bytearray or a memoryview. addr: where to, as the socket module takes\n"
"it; None for the address that the endpoint was made for. What the kernel has no room\n"
"for is kept; pause_writing() of the protocol tells when that is too much. Errors of\n"
"the system go to the protocol's error_received(). Raises TypeError for other data,\n"
"ValueError for another address. Mirrors asyncio.DatagramTransport.sendto().");

static int
read_args(PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames, PyObject **data,
          PyObject **addr)
{
    *data = nargs > 0 ? args[0] : NULL;
    *addr = nargs > 1 ? args[1] : Py_None;
    if (LIKELY(kwnames == NULL && (nargs == 1 || nargs == 2))) {
        return 0;
    }
    static char *names[] = {"data", "addr", NULL};
    PyObject *tuple = PyTuple_New(nargs), *kwargs = PyDict_New();
    int rc = tuple == NULL || kwargs == NULL ? -1 : 0;
    for (Py_ssize_t i = 0; rc == 0 && i < nargs; i++) {
        PyTuple_SET_ITEM(tuple, i, Py_NewRef(args[i]));
    }
    Py_ssize_t nkw = kwnames == NULL ? 0 : PyTuple_GET_SIZE(kwnames);
    for (Py_ssize_t i = 0; rc == 0 && i < nkw; i++) {
        rc = PyDict_SetItem(kwargs, PyTuple_GET_ITEM(kwnames, i), args[nargs + i]);
    }
    /* What it gives is borrowed from the arguments. */
    if (rc == 0
        && !PyArg_ParseTupleAndKeywords(tuple, kwargs, "O|O:sendto", names, data,
                                        addr)) {
        rc = -1;
    }
    Py_XDECREF(tuple);
    Py_XDECREF(kwargs);
    return rc;
}

static PyObject *
Datagram_sendto(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
                PyObject *kwnames)
{
    PyObject *data, *addr;
    DatagramData *d = DATAGRAM(op);
    if (read_args(args, nargs, kwnames, &data, &addr) < 0 || check_data(data) < 0) {
        return NULL;
    }
    if (PY_VERSION_HEX < 0x030D0000) {
        Py_ssize_t len = PyObject_Length(data);
        if (len <= 0) {
            return len < 0 ? NULL : Py_NewRef(Py_None);
        }
    }
    int rc;
    if (d->address != NULL && check_address(d, addr) < 0) {
        return NULL;
    }
    if (d->address != NULL && d->t.conn_lost != 0) {
        rc = datagram_send_lost(&d->t);
    }
    else {
        rc = datagram_sendto(op, data, d->address ? d->address : addr);
    }
    return rc < 0 ? NULL : Py_NewRef(Py_None);
}

/* --- the queue ---------------------------------------------------------------- */

/* Takes datagrams off the queue's head. */
static void
datagram_pop(TransportData *t, int count)
{
    for (; count > 0 && t->out.len > 0; count--) {
        PyObject **items = wqueue_items(&t->out) + t->out.head;
        PyObject *data = items[0], *addr = items[1];
        t->out.head += 2;
        t->out.len -= 2;
        t->out.size -= PyBytes_GET_SIZE(data) + HEADER_SIZE;
        if (t->out.len == 0) {
            wqueue_clear(&t->out);
        }
        Py_DECREF(data);
        Py_DECREF(addr);
    }
}

/* The first one, to an address that only the socket object understands. */
static int
datagram_send_first(PyObject *op)
{
    TransportData *t = TRANSPORT(op);
    PyObject **items = wqueue_items(&t->out) + t->out.head;
    PyObject *data = Py_NewRef(items[0]), *addr = Py_NewRef(items[1]);
    int sent = datagram_send_by_socket(op, data, addr);
    /* It is there no more if the transport was aborted meanwhile. */
    if (sent != 0 && t->out.len > 0 && wqueue_items(&t->out)[t->out.head] == data) {
        datagram_pop(t, 1);
    }
    Py_DECREF(data);
    Py_DECREF(addr);
    return sent;
}

struct send_batch {
    struct mmsghdr headers[SEND_BATCH];
    struct iovec iov[SEND_BATCH];
    union addr_inet raw[SEND_BATCH];
};

/* Fills in what stands at the queue's head; returns how many. */
static int
datagram_fill(TransportData *t, struct mmsg *m, struct send_batch *batch,
              bool connected)
{
    PyObject **items = wqueue_items(&t->out) + t->out.head;
    /* An error that belongs to the socket is told of once: behind another datagram it
     * would be lost. */
    int max = connected ? 1 : SEND_BATCH, n = 0;
    for (; n < max && n < (int)(t->out.len / 2); n++) {
        PyObject *data = items[2 * n];
        struct msghdr head = {.msg_iov = &batch->iov[n], .msg_iovlen = 1};
        if (!connected) {
            const union addr_inet *raw = mmsg_address(m, t->family, items[2 * n + 1]);
            if (raw == NULL) {
                break;
            }
            batch->raw[n] = *raw;
            head.msg_name = &batch->raw[n];
            head.msg_namelen = addr_inet_len(raw->any.sa_family);
        }
        batch->iov[n] = (struct iovec){PyBytes_AS_STRING(data),
                                       (size_t)PyBytes_GET_SIZE(data)};
        batch->headers[n].msg_hdr = head;
    }
    return n;
}

/* Sends from the queue's head: how many are off the queue; 0 if there is no room; -1
 * with an exception, and the one it befell is off the queue. */
static int
datagram_send_queued(PyObject *op)
{
    TransportData *t = TRANSPORT(op);
    struct send_batch batch;
    struct mmsg *m = datagram_mmsg(t);
    int connected = datagram_is_connected(t);
    if (m == NULL || connected < 0) {
        return -1;
    }
    int n = datagram_fill(t, m, &batch, connected);
    if (n == 0) {
        return datagram_send_first(op);
    }
    do {
        n = sendmmsg(transport_fd(t), batch.headers, (unsigned)n,
                     MSG_NOSIGNAL | MSG_DONTWAIT);
    } while (n < 0 && errno == EINTR);
    int sent = sent_or_error(n);
    datagram_pop(t, sent > 0 ? n : sent < 0 ? 1 : 0);
    return sent > 0 ? n : sent;
}

/* The descriptor is writable. Runs in the context of sendto(). */
static int
datagram_run_write(PyObject *op)
{
    TransportData *t = TRANSPORT(op);
    for (int i = 0; i < SEND_CALLS && t->out.len > 0 && t->loop != NULL; i++) {
        int n = datagram_send_queued(op);
        if (n < 0) {
            return datagram_failed(op, write_error);
        }
        if (n == 0) {
            break;
        }
    }
    if (t->conn_lost != 0 || t->loop == NULL) {
        return 0;
    }
    if (transport_check_low(op) < 0) {
        return -1;
    }
    if (t->out.len > 0 || t->loop == NULL) {
        return 0;
    }
    if (transport_watch_writing(op, false) < 0) {
        return -1;
    }
    if (t->closing && t->conn_lost == 0) {
        t->conn_lost++;
        return transport_lose(op, Py_None);
    }
    return 0;
}

/* --- reading ------------------------------------------------------------------ */

static void
datagrams_drop(struct datagram *got, int n)
{
    for (int i = 0; i < n; i++) {
        Py_DECREF(got[i].data);
        Py_DECREF(got[i].addr);
    }
}

/* Puts datagrams before those that are kept; takes their references. For lack of memory
 * they are lost. */
static void
datagram_keep_steal(PyObject *op, LoopObject *loop, struct datagram *got, int n)
{
    DatagramData *d = DATAGRAM(op);
    PyObject *exc = PyErr_GetRaisedException();
    PyObject *list = PyList_New(2 * n);
    if (list == NULL) {
        datagrams_drop(got, n);
    }
    else {
        for (int i = 0; i < n; i++) {
            PyList_SET_ITEM(list, 2 * i, got[i].data);
            PyList_SET_ITEM(list, 2 * i + 1, got[i].addr);
        }
        if (d->kept == NULL) {
            d->kept = list;
        }
        else {
            (void)PyList_SetSlice(d->kept, 0, 0, list);
            Py_DECREF(list);
        }
        if (d->t.source.wanted & POLL_READ) {
            (void)source_queue(loop, &d->t.source, POLL_READ);
        }
    }
    PyErr_SetRaisedException(exc);
}

/* Takes what was kept, as much as fits. */
static int
datagram_take_kept(DatagramData *d, struct datagram *got)
{
    int n = 0;
    Py_ssize_t size = PyList_GET_SIZE(d->kept);
    for (; n < MMSG_BATCH && 2 * n < size; n++) {
        got[n].data = Py_NewRef(PyList_GET_ITEM(d->kept, 2 * n));
        got[n].addr = Py_NewRef(PyList_GET_ITEM(d->kept, 2 * n + 1));
    }
    if (2 * n == size) {
        Py_CLEAR(d->kept);
    }
    else if (PyList_SetSlice(d->kept, 0, 2 * n, NULL) < 0) {
        datagrams_drop(got, n);
        return -1;
    }
    return n;
}

/* datagram_received() for each; takes their references. */
static int
datagram_deliver_steal(PyObject *op, LoopObject *loop, struct datagram *got, int n)
{
    TransportData *t = TRANSPORT(op);
    int rc = 0;
    for (int i = 0; i < n; i++) {
        if (i > 0 && (rc < 0 || loop->stopping || !(t->source.wanted & POLL_READ))) {
            if (t->closing) {
                datagrams_drop(got + i, n - i);
            }
            else {
                datagram_keep_steal(op, loop, got + i, n - i);
            }
            return rc;
        }
        PyObject *argv[4] = {NULL, NULL, got[i].data, got[i].addr};
        PyObject *res = transport_call(t, t->st->str_datagram_received, argv, 2);
        Py_DECREF(got[i].data);
        Py_DECREF(got[i].addr);
        if (LIKELY(res != NULL)) {
            Py_DECREF(res);
        }
        else {
            rc = transport_report_callback(op, (PyObject *)loop, op,
                                           t->st->str__read_ready, NULL);
        }
    }
    return rc;
}

/* Runs in the context of the beginning of reading. */
static int
datagram_run_read(PyObject *op, LoopObject *loop)
{
    DatagramData *d = DATAGRAM(op);
    struct datagram got[MMSG_BATCH];
    int n;
    if (UNLIKELY(d->kept != NULL)) {
        n = datagram_take_kept(d, got);
    }
    else {
        struct mmsg *m = datagram_mmsg(&d->t);
        n = m == NULL ? -1 : mmsg_recv(m, transport_fd(&d->t), d->t.family, got);
    }
    if (n >= 0) {
        return datagram_deliver_steal(op, loop, got, n);
    }
    if (datagram_failed(op, read_error) < 0) {
        return transport_report_callback(op, (PyObject *)loop, op,
                                         d->t.st->str__read_ready, NULL);
    }
    return 0;
}

static int
datagram_enter(PyObject *context)
{
    return context == NULL ? 0 : PyContext_Enter(context);
}

static int
datagram_leave(PyObject *context, int rc)
{
    return context != NULL && PyContext_Exit(context) < 0 ? -1 : rc;
}

static int
datagram_run(LoopObject *loop, struct source *s, unsigned mask)
{
    PyObject *op = s->owner;
    TransportData *t = TRANSPORT_OF_SOURCE(s);
    int rc = 0;
    Py_INCREF(loop);
    /* What is not wanted any more since the event came. */
    if (mask & s->wanted & POLL_READ && t->conn_lost == 0) {
        PyObject *context = Py_XNewRef(t->read_context);
        rc = datagram_enter(context);
        if (rc == 0) {
            rc = datagram_leave(context, datagram_run_read(op, loop));
        }
        Py_XDECREF(context);
    }
    if (rc == 0 && mask & s->wanted & POLL_WRITE && t->conn_lost == 0) {
        PyObject *context = Py_XNewRef(t->write_context);
        rc = datagram_enter(context);
        if (rc == 0) {
            rc = datagram_run_write(op);
            if (rc < 0) {
                rc = transport_report_callback(op, (PyObject *)loop, op,
                                               t->st->str__write_ready, NULL);
            }
            rc = datagram_leave(context, rc);
        }
        Py_XDECREF(context);
    }
    Py_DECREF(loop);
    return rc;
}

static PyObject *
Datagram_resume_reading(PyObject *op, PyObject *ignored)
{
    DatagramData *d = DATAGRAM(op);
    PyObject *res = Transport_resume_reading(op, ignored);
    if (res != NULL && d->kept != NULL && d->t.source.wanted & POLL_READ
        && source_queue(transport_loop(&d->t), &d->t.source, POLL_READ) < 0) {
        Py_CLEAR(res);
    }
    return res;
}

const struct source_kind datagram_kind = {
    .run = datagram_run,
    .soon = transport_soon,
    .handle = transport_handle,
    .is_transport = true,
};

/* --- the type ----------------------------------------------------------------- */

PyObject *
datagram_new_for_socket(core_state *st, PyObject *loop, PyObject *sock,
                        PyObject *protocol, PyObject *address, PyObject *waiter,
                        PyObject *extra)
{
    int has_address = address == NULL ? 0 : PyObject_IsTrue(address);
    if (has_address < 0) {
        return NULL;
    }
    PyObject *op = transport_new_for_socket(st, TRANSPORT_DATAGRAM, loop, sock,
                                            protocol, waiter, extra, NULL, NULL);
    if (op != NULL && has_address) {
        DATAGRAM(op)->address = Py_NewRef(address);
    }
    return op;
}

static int
Datagram_traverse(PyObject *op, visitproc visit, void *arg)
{
    DatagramData *d = DATAGRAM(op);
    PyObject **items = wqueue_items(&d->t.out) + d->t.out.head;
    for (unsigned i = 0; i < d->t.out.len; i++) {
        Py_VISIT(items[i]);
    }
    Py_VISIT(d->address);
    Py_VISIT(d->kept);
    return Transport_traverse(op, visit, arg);
}

static int
Datagram_clear(PyObject *op)
{
    DatagramData *d = DATAGRAM(op);
    Py_CLEAR(d->address);
    Py_CLEAR(d->kept);
    return Transport_clear(op);
}

static void
Datagram_dealloc(PyObject *op)
{
    if (PyObject_CallFinalizerFromDealloc(op) < 0) {
        return; /* resurrected */
    }
    PyObject_GC_UnTrack(op);
    DatagramData *d = DATAGRAM(op);
    if (d->t.weaklist != NULL) {
        PyObject_ClearWeakRefs(op);
    }
    Py_CLEAR(d->address);
    Py_CLEAR(d->kept);
    Transport_dealloc(op);
}

static PyMethodDef Datagram_methods[] = {
    TRANSPORT_COMMON_METHODS,
    {"pause_reading", Transport_pause_reading, METH_NOARGS,
     Transport_pause_reading_doc},
    {"resume_reading", Datagram_resume_reading, METH_NOARGS,
     Transport_resume_reading_doc},
    {"is_reading", Transport_is_reading, METH_NOARGS, Transport_is_reading_doc},
    TRANSPORT_WRITE_METHODS,
    {"sendto", (PyCFunction)(void (*)(void))Datagram_sendto,
     METH_FASTCALL | METH_KEYWORDS, sendto_doc},
    {NULL, NULL, 0, NULL},
};

static const char Datagram_doc[] = PyDoc_STR(
"The transport of a UDP or UNIX datagram socket.\n\n"
"Made by the loop's create_datagram_endpoint(). Mirrors asyncio.DatagramTransport.");

PyType_Slot datagram_slots[] = {
    {Py_tp_dealloc, Datagram_dealloc},
    {Py_tp_traverse, Datagram_traverse},
    {Py_tp_clear, Datagram_clear},
    {Py_tp_finalize, Transport_finalize},
    {Py_tp_repr, Transport_repr},
    {Py_tp_getset, Transport_getset},
    {Py_tp_methods, Datagram_methods},
    {Py_tp_doc, (void *)Datagram_doc},
    {0, NULL},
};
