/* transportobj.c - the Python methods and attributes that transports share. */

#include "args.h"
#include "transport.h"

#include <math.h>

/* --- closing ------------------------------------------------------------------ */

const char Transport_close_doc[] = PyDoc_STR(
"close($self)\n--\n\n"
"Close the transport once what was written is sent; connection_lost(None) follows.\n\n"
"No more data are received. Mirrors asyncio.BaseTransport.close().");

PyObject *
Transport_close(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    return none_or_error(transport_close(op));
}

int
transport_flush_first(PyObject *op)
{
    TransportData *t = TRANSPORT(op);
    if (t->fed && t->protocol != NULL) {
        PyObject *protocol = Py_NewRef(t->protocol);
        int rc = t->st->feed_flush(protocol);
        Py_DECREF(protocol);
        if (rc < 0) {
            return -1;
        }
    }
    return t->corked ? t->source.kind->flush(transport_loop(t), &t->source) : 0;
}

const char Transport_abort_doc[] = PyDoc_STR(
"abort($self)\n--\n\n"
"Close the transport at once: what is not sent yet is lost.\n\n"
"connection_lost(None) follows. Mirrors asyncio.WriteTransport.abort().");

PyObject *
Transport_abort(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    return none_or_error(
        transport_flush_first(op) < 0 ? -1 : transport_force_close(op, NULL));
}

const char Transport_is_closing_doc[] = PyDoc_STR(
"is_closing($self)\n--\n\n"
"Return whether the transport is closing or closed, a bool.\n\n"
"Mirrors asyncio.BaseTransport.is_closing().");

PyObject *
Transport_is_closing(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    const TransportData *t = TRANSPORT(op);
    return PyBool_FromLong(t->closing && !t->dropped);
}

PyObject *
Transport__call_connection_lost(PyObject *op, PyObject *exc)
{
    return none_or_error(transport_lose(op, exc));
}

PyObject *
Transport__force_close(PyObject *op, PyObject *exc)
{
    return none_or_error(transport_flush_first(op) < 0
                             ? -1
                             : transport_force_close(op, exc == Py_None ? NULL : exc));
}

PyObject *
Transport__fatal_error(PyObject *op, PyObject *args)
{
    PyObject *exc, *message = NULL;
    if (!PyArg_ParseTuple(args, "O|U:_fatal_error", &exc, &message)) {
        return NULL;
    }
    message = message ? Py_NewRef(message)
                      : PyUnicode_FromString("Fatal error on transport");
    int rc = message == NULL || transport_flush_first(op) < 0
        ? -1
        : transport_fatal_error(op, exc, message);
    Py_XDECREF(message);
    return none_or_error(rc);
}

/* --- what the loop calls, in debug mode --------------------------------------- */

PyObject *
Transport__start_reading(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    return none_or_error(transport_start_reading(op));
}

PyObject *
Transport__soon(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    struct source *s = &TRANSPORT(op)->source;
    TransportData *t = TRANSPORT(op);
    return none_or_error(t->loop == NULL ? 0 : s->kind->soon(transport_loop(t), s));
}

static PyObject *
run_ready(PyObject *op, unsigned mask)
{
    struct source *s = &TRANSPORT(op)->source;
    TransportData *t = TRANSPORT(op);
    return none_or_error(t->loop == NULL ? 0
                                         : s->kind->run(transport_loop(t), s, mask));
}

PyObject *
Transport__ready(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    return run_ready(op, POLL_READ | POLL_WRITE);
}

PyObject *
Transport__read_ready(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    return run_ready(op, POLL_READ);
}

PyObject *
Transport__write_ready(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    return run_ready(op, POLL_WRITE);
}

/* --- protocol and information ------------------------------------------------- */

const char Transport_set_protocol_doc[] = PyDoc_STR(
"set_protocol($self, protocol)\n--\n\n"
"Have another protocol called from now on.\n\n"
"protocol: an asyncio.Protocol, or for stream transports a BufferedProtocol. Mirrors\n"
"asyncio.BaseTransport.set_protocol().");

static const struct args_spec set_protocol_spec = {
    "Transport.set_protocol", {"protocol"}, 1, false};

PyObject *
Transport_set_protocol(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
                       PyObject *kwnames)
{
    PyObject *protocol = args_parse_one(&set_protocol_spec, args, nargs, kwnames);
    if (protocol == NULL) {
        return NULL;
    }
    /* What was written so far is the old protocol's: it hears of a full buffer. */
    return none_or_error(
        transport_flush_first(op) < 0 ? -1 : transport_set_protocol(op, protocol));
}

const char Transport_get_protocol_doc[] = PyDoc_STR(
"get_protocol($self)\n--\n\n"
"Return the protocol, or None once the transport is closed.\n\n"
"Mirrors asyncio.BaseTransport.get_protocol().");

PyObject *
Transport_get_protocol(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    PyObject *protocol = TRANSPORT(op)->protocol;
    return Py_NewRef(protocol ? protocol : Py_None);
}

const char Transport_get_extra_info_doc[] = PyDoc_STR(
"get_extra_info($self, name, default=None)\n--\n\n"
"Return what is known under name (a str), or default.\n\n"
"Sockets have 'socket', an asyncio.trsock.TransportSocket, 'sockname' and\n"
"'peername', addresses as the socket module gives them; pipes have 'pipe'. They stay\n"
"after the transport is closed. Mirrors asyncio.BaseTransport.get_extra_info().");

PyObject *
Transport_get_extra_info(PyObject *op, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"name", "default", NULL};
    PyObject *name, *fallback = Py_None;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|O:get_extra_info", names, &name,
                                     &fallback)) {
        return NULL;
    }
    /* Who has the socket can send by himself: after what was written. */
    if (PyUnicode_Check(name) && PyUnicode_CompareWithASCIIString(name, "socket") == 0
        && transport_flush_first(op) < 0) {
        return NULL;
    }
    return transport_extra_info(op, name, fallback);
}

/* --- reading ------------------------------------------------------------------ */

const char Transport_pause_reading_doc[] = PyDoc_STR(
"pause_reading($self)\n--\n\n"
"Call the protocol with no more data until resume_reading().\n\n"
"Does nothing if reading is paused or over. Mirrors\n"
"asyncio.ReadTransport.pause_reading().");

PyObject *
Transport_pause_reading(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    TransportData *t = TRANSPORT(op);
    if (!transport_is_reading(t) || t->loop == NULL) {
        Py_RETURN_NONE;
    }
    t->paused = true;
    return none_or_error(transport_watch_reading(op, false) < 0
                             ? -1
                             : transport_log(op, "%r pauses reading"));
}

const char Transport_resume_reading_doc[] = PyDoc_STR(
"resume_reading($self)\n--\n\n"
"Receive data again after pause_reading().\n\n"
"Does nothing if reading is not paused. Mirrors\n"
"asyncio.ReadTransport.resume_reading().");

PyObject *
Transport_resume_reading(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    TransportData *t = TRANSPORT(op);
    if (t->closing || !t->paused || t->loop == NULL) {
        Py_RETURN_NONE;
    }
    t->paused = false;
    if (!(t->source.wanted & POLL_READ) && !t->context_given) {
        PyObject *context = PyContext_CopyCurrent();
        if (context == NULL) {
            return NULL;
        }
        Py_XSETREF(t->read_context, context);
    }
    return none_or_error(transport_watch_reading(op, true) < 0
                             ? -1
                             : transport_log(op, "%r resumes reading"));
}

const char Transport_is_reading_doc[] = PyDoc_STR(
"is_reading($self)\n--\n\n"
"Return whether data are being received, a bool: not paused, not closing.\n\n"
"Mirrors asyncio.ReadTransport.is_reading().");

PyObject *
Transport_is_reading(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    return PyBool_FromLong(transport_is_reading(TRANSPORT(op)));
}

/* --- writing ------------------------------------------------------------------ */

int
transport_check_data(PyObject *data)
{
    if (LIKELY(PyBytes_CheckExact(data)) || PyBytes_Check(data)
        || PyByteArray_Check(data) || PyMemoryView_Check(data)) {
        return 0;
    }
#if PY_VERSION_HEX >= 0x030E0000
    const char *expected = "a bytes, bytearray, or memoryview object";
#else
    const char *expected = "a bytes-like object";
#endif
    PyErr_Format(PyExc_TypeError, "data argument must be %s, not '%s'", expected,
                 _PyType_Name(Py_TYPE(data)));
    return -1;
}

/* --- flow control ------------------------------------------------------------- */

int
transport_limit_size(PyObject *limit, Py_ssize_t *size)
{
    if (PyFloat_Check(limit) && isinf(PyFloat_AS_DOUBLE(limit))) {
        *size = PY_SSIZE_T_MAX;
        return 0;
    }
    PyObject *number = PyNumber_Long(limit);
    if (number == NULL) {
        return -1;
    }
    *size = PyNumber_AsSsize_t(number, NULL);
    Py_DECREF(number);
    return *size == -1 && PyErr_Occurred() ? -1 : 0;
}

/* `high >= low >= 0`, and both as sizes. */
static int
set_limits(TransportData *t, PyObject *high, PyObject *low)
{
    PyObject *zero = PyLong_FromLong(0);
    int ordered = zero == NULL ? -1 : PyObject_RichCompareBool(high, low, Py_GE);
    if (ordered > 0) {
        ordered = PyObject_RichCompareBool(low, zero, Py_GE);
    }
    Py_XDECREF(zero);
    if (ordered <= 0) {
        if (ordered == 0) {
            PyErr_Format(PyExc_ValueError, "high (%R) must be >= low (%R) must be >= 0",
                         high, low);
        }
        return -1;
    }
    Py_ssize_t sizes[2];
    if (transport_limit_size(high, &sizes[0]) < 0
        || transport_limit_size(low, &sizes[1]) < 0) {
        return -1;
    }
    t->high = sizes[0];
    t->low = sizes[1];
    return 0;
}

const char Transport_set_write_buffer_limits_doc[] = PyDoc_STR(
"set_write_buffer_limits($self, high=None, low=None)\n--\n\n"
"Set when pause_writing() and resume_writing() of the protocol are called.\n\n"
"high, low: bytes waiting to be sent, by default 64 KiB and a fourth of high. Raises\n"
"ValueError unless high >= low >= 0. Mirrors\n"
"asyncio.WriteTransport.set_write_buffer_limits().");

PyObject *
Transport_set_write_buffer_limits(PyObject *op, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"high", "low", NULL};
    PyObject *high = Py_None, *low = Py_None;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|OO:set_write_buffer_limits", names,
                                     &high, &low)) {
        return NULL;
    }
    PyObject *four = PyLong_FromLong(4);
    if (four == NULL) {
        return NULL;
    }
    high = high != Py_None ? Py_NewRef(high)
        : low == Py_None   ? PyLong_FromLong(HIGH_WATER)
                           : PyNumber_Multiply(four, low);
    low = high == NULL   ? NULL
        : low != Py_None ? Py_NewRef(low)
                         : PyNumber_FloorDivide(high, four);
    Py_DECREF(four);
    int rc = low == NULL ? -1 : set_limits(TRANSPORT(op), high, low);
    Py_XDECREF(high);
    Py_XDECREF(low);
    if (rc == 0 && transport_flush_first(op) == 0) {
        return none_or_error(transport_check_high(op));
    }
    return NULL;
}

const char Transport_get_write_buffer_limits_doc[] = PyDoc_STR(
"get_write_buffer_limits($self)\n--\n\n"
"Return (low, high), in bytes.\n\n"
"Mirrors asyncio.WriteTransport.get_write_buffer_limits().");

PyObject *
Transport_get_write_buffer_limits(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    return Py_BuildValue("nn", TRANSPORT(op)->low, TRANSPORT(op)->high);
}

const char Transport_get_write_buffer_size_doc[] = PyDoc_STR(
"get_write_buffer_size($self)\n--\n\n"
"Return how many bytes the transport could not send yet.\n\n"
"Mirrors asyncio.WriteTransport.get_write_buffer_size().");

PyObject *
Transport_get_write_buffer_size(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    return transport_flush_first(op) < 0 ? NULL
                                         : PyLong_FromSsize_t(TRANSPORT(op)->out.size);
}

/* --- attributes --------------------------------------------------------------- */

PyObject *
Transport_get__extra(PyObject *op, void *Py_UNUSED(closure))
{
    return Py_XNewRef(transport_extra(op));
}

static PyObject *
get__sock(PyObject *op, void *Py_UNUSED(closure))
{
    TransportData *t = TRANSPORT(op);
    if (t->source.fd < 0) {
        Py_RETURN_NONE;
    }
    return transport_flush_first(op) < 0 ? NULL : Py_XNewRef(transport_file(op));
}

static PyObject *
get__context(PyObject *op, void *Py_UNUSED(closure))
{
    PyObject *context = transport_context_borrow(TRANSPORT(op));
    return Py_NewRef(context ? context : Py_None);
}

static PyObject *
get__empty_waiter(PyObject *op, void *Py_UNUSED(closure))
{
    PyObject *waiter = transport_empty_waiter_borrow(TRANSPORT(op));
    return Py_NewRef(waiter ? waiter : Py_None);
}

PyObject *
Transport_get_field(PyObject *op, void *closure)
{
    PyObject *value = *(PyObject **)((char *)TRANSPORT(op) + (size_t)closure);
    return Py_NewRef(value ? value : Py_None);
}

PyObject *
Transport_get_flag(PyObject *op, void *closure)
{
    return PyBool_FromLong(*(bool *)((char *)TRANSPORT(op) + (size_t)closure));
}

/* Tests put an object there that wraps the socket: what is sent goes by its send(). */
static int
set__sock(PyObject *op, PyObject *value, void *Py_UNUSED(closure))
{
    TransportData *t = TRANSPORT(op);
    if (value == NULL || t->kind != TRANSPORT_STREAM || t->source.fd < 0) {
        PyErr_SetString(PyExc_AttributeError, "the socket cannot be replaced");
        return -1;
    }
    if (transport_flush_first(op) < 0 || transport_file(op) == NULL) {
        return -1;
    }
    t->replaced = value != t->file || t->replaced;
    Py_XSETREF(t->file, Py_NewRef(value));
    return 0;
}

/* What reads; None once the transport closes. */
static PyObject *
get__read_ready_cb(PyObject *op, void *Py_UNUSED(closure))
{
    return TRANSPORT(op)->closing ? Py_NewRef(Py_None)
                                  : PyObject_GetAttrString(op, "_read_ready");
}

static PyObject *
get__conn_lost(PyObject *op, void *Py_UNUSED(closure))
{
    return PyLong_FromUnsignedLong(TRANSPORT(op)->conn_lost);
}

static PyObject *
get__sock_fd(PyObject *op, void *Py_UNUSED(closure))
{
    return PyLong_FromLong(TRANSPORT(op)->shown_fd);
}

PyObject *
Transport_get__high_water(PyObject *op, void *Py_UNUSED(closure))
{
    return PyLong_FromSsize_t(TRANSPORT(op)->high);
}

PyObject *
Transport_get__low_water(PyObject *op, void *Py_UNUSED(closure))
{
    return PyLong_FromSsize_t(TRANSPORT(op)->low);
}

PyGetSetDef Transport_getset[] = {
    {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict, NULL, NULL},
    {"_extra", Transport_get__extra, NULL, NULL, NULL},
    {"_sock", get__sock, set__sock, NULL, NULL},
    {"_read_ready_cb", get__read_ready_cb, NULL, NULL, NULL},
    {"_sock_fd", get__sock_fd, NULL, NULL, NULL},
    {"_conn_lost", get__conn_lost, NULL, NULL, NULL},
    TRANSPORT_WRITE_GETSET,
    TRANSPORT_FIELD("_loop", loop),
    TRANSPORT_FIELD("_protocol", protocol),
    TRANSPORT_FIELD("_server", server),
    {"_context", get__context, NULL, NULL, NULL},
    {"_empty_waiter", get__empty_waiter, NULL, NULL, NULL},
    TRANSPORT_FLAG("_closing", closing),
    TRANSPORT_FLAG("_paused", paused),
    TRANSPORT_FLAG("_eof", eof),
    TRANSPORT_FLAG("_protocol_connected", protocol_connected),
    {NULL, NULL, NULL, NULL, NULL},
};

/* <StreamTransport closing fd=7 read=idle write=<idle, bufsize=0>> */
PyObject *
Transport_repr(PyObject *op)
{
    TransportData *t = TRANSPORT(op);
    PyObject *name = PyObject_GetAttrString((PyObject *)Py_TYPE(op), "__name__");
    if (name == NULL) {
        return NULL;
    }
    const char *state = t->source.fd < 0 ? " closed" : t->closing ? " closing" : "";
    PyObject *text;
    if (t->loop == NULL || transport_loop(t)->closed) {
        text = PyUnicode_FromFormat("<%U%s fd=%d>", name, state, t->shown_fd);
    }
    else {
        text = PyUnicode_FromFormat("<%U%s fd=%d read=%s write=<%s, bufsize=%zd>>",
                                    name, state, t->shown_fd,
                                    t->source.wanted & POLL_READ ? "polling" : "idle",
                                    t->source.wanted & POLL_WRITE ? "polling" : "idle",
                                    t->corked ? (Py_ssize_t)0 : t->out.size);
    }
    Py_DECREF(name);
    return text;
}
