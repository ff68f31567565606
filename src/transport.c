/* transport.c - see transport.h: life, callbacks into the protocol, and the end. The
 * beginning is in transportstart.c, what happens on errors in transporterror.c. */

#include "transport.h"
#include "compat.h"
#include "handle.h"

#include <unistd.h>

Py_ssize_t transport_offset;

/* --- life --------------------------------------------------------------------- */

static PyTypeObject *
transport_type(core_state *st, enum transport_kind kind)
{
    PyObject *types[TRANSPORT_KINDS] = {
        [TRANSPORT_STREAM] = st->StreamTransportType,
        [TRANSPORT_DATAGRAM] = st->DatagramTransportType,
        [TRANSPORT_READ_PIPE] = st->ReadPipeTransportType,
        [TRANSPORT_WRITE_PIPE] = st->WritePipeTransportType,
    };
    return (PyTypeObject *)types[kind];
}

static const struct source_kind *const source_kinds[TRANSPORT_KINDS] = {
    [TRANSPORT_STREAM] = &stream_kind,
    [TRANSPORT_DATAGRAM] = &datagram_kind,
    [TRANSPORT_READ_PIPE] = &read_pipe_kind,
    [TRANSPORT_WRITE_PIPE] = &write_pipe_kind,
};

PyObject *
transport_new(core_state *st, enum transport_kind kind, PyObject *loop, int fd,
              PyObject *file)
{
    PyTypeObject *type = transport_type(st, kind);
    PyObject *op = (PyObject *)PyObject_GC_New(PyObject, type);
    if (op == NULL) {
        return NULL;
    }
    memset((char *)op + sizeof(PyObject), 0,
           (size_t)type->tp_basicsize - sizeof(PyObject));
    TransportData *t = TRANSPORT(op);
    t->source = (struct source){.kind = source_kinds[kind], .owner = op, .fd = -1};
    t->st = st;
    t->kind = (uint8_t)kind;
    t->shown_fd = fd;
    t->high = HIGH_WATER;
    t->low = HIGH_WATER / 4;
    t->gone = true; /* until it owns the descriptor: there is nothing to warn of */
    st->live_transports++;
    t->loop = Py_NewRef(loop);
    t->source.fd = fd;
    if (source_attach(LOOP(loop), &t->source) < 0) {
        t->source.fd = -1;
        Py_DECREF(op);
        return NULL;
    }
    t->file = Py_XNewRef(file);
    t->gone = false;
    PyObject_GC_Track(op);
    return op;
}

static void
transport_clear_rare(TransportData *t)
{
    struct transport_rare *rare = t->rare;
    t->rare = NULL;
    if (rare != NULL) {
        Py_XDECREF(rare->made);
        Py_XDECREF(rare->waiter);
        Py_XDECREF(rare->empty_waiter);
        PyMem_Free(rare);
    }
}

int
Transport_traverse(PyObject *op, visitproc visit, void *arg)
{
    TransportData *t = TRANSPORT(op);
    Py_VISIT(Py_TYPE(op));
    Py_VISIT(t->dict);
    Py_VISIT(t->loop);
    Py_VISIT(t->protocol);
    Py_VISIT(t->file);
    Py_VISIT(t->extra);
    Py_VISIT(t->server);
    Py_VISIT(t->read_context);
    Py_VISIT(t->write_context);
    Py_VISIT(t->error);
    Py_VISIT(t->peername);
    if (t->rare != NULL) {
        Py_VISIT(t->rare->made);
        Py_VISIT(t->rare->waiter);
        Py_VISIT(t->rare->empty_waiter);
    }
    return 0;
}

void
transport_release_fd(TransportData *t)
{
    int fd = t->source.fd;
    if (fd < 0) {
        return;
    }
    if (t->loop != NULL) {
        source_forget(transport_loop(t), &t->source);
    }
    t->source.fd = -1;
    if (t->file == NULL) {
        Py_BEGIN_ALLOW_THREADS /* with SO_LINGER it may take its time */
        close(fd);
        Py_END_ALLOW_THREADS
    }
}

/* The server goes, without a word. */
static void
transport_drop_server(TransportData *t)
{
    PyObject *server = t->server;
    t->server = NULL;
    if (server != NULL && list_linked(&t->client)) {
        PyObject *exc = PyErr_GetRaisedException();
        if (clients_remove(server, t) < 0) {
            PyErr_WriteUnraisable(server);
        }
        PyErr_SetRaisedException(exc);
    }
    Py_XDECREF(server);
}

/* Lets go of all that it owns. */
static void
transport_drop(TransportData *t)
{
    transport_release_fd(t);
    wqueue_clear(&t->out);
    Py_CLEAR(t->dict);
    Py_CLEAR(t->loop);
    Py_CLEAR(t->protocol);
    Py_CLEAR(t->file);
    Py_CLEAR(t->extra);
    transport_drop_server(t);
    t->context_given = false;
    Py_CLEAR(t->read_context);
    Py_CLEAR(t->write_context);
    Py_CLEAR(t->error);
    transport_clear_rare(t);
    Py_CLEAR(t->peername);
}

int
Transport_clear(PyObject *op)
{
    Py_INCREF(op); /* the watch table's reference may be the last */
    transport_drop(TRANSPORT(op));
    Py_DECREF(op);
    return 0;
}

void
Transport_dealloc(PyObject *op)
{
    if (PyObject_CallFinalizerFromDealloc(op) < 0) {
        return; /* resurrected */
    }
    PyObject_GC_UnTrack(op);
    TransportData *t = TRANSPORT(op);
    if (t->weaklist != NULL) {
        PyObject_ClearWeakRefs(op);
    }
    assert(!t->source.held && !t->source.flushing && !t->source.queued);
    transport_drop(t);
    core_state *st = t->st;
    PyTypeObject *type = Py_TYPE(op);
    type->tp_free(op);
    Py_DECREF(type);
    st->live_transports--;
    state_free_if_dead(st);
}

/* ResourceWarning: unclosed transport <...> */
static void
transport_warn_unclosed(PyObject *op)
{
    TransportData *t = TRANSPORT(op);
    if (PyErr_ResourceWarning(op, 1, "unclosed transport %R", op) < 0) {
        if (PyErr_ExceptionMatches(PyExc_Warning)) {
            PyErr_WriteUnraisable(op);
        }
        PyErr_Clear();
    }
    if (t->file != NULL) {
        PyObject *res = PyObject_CallMethod(t->file, "close", NULL);
        if (res == NULL) {
            PyErr_WriteUnraisable(op);
        }
        Py_XDECREF(res);
    }
}

void
transport_tell_server(PyObject *op)
{
    TransportData *t = TRANSPORT(op);
    PyObject *server = t->server;
    t->server = NULL;
    if (server == NULL) {
        return;
    }
    if (LIKELY(PyObject_TypeCheck(server, (PyTypeObject *)t->st->ServerType))) {
        if (clients_remove(server, t) < 0) {
            PyErr_WriteUnraisable(server);
        }
        Py_DECREF(server);
        return;
    }
    PyObject *res = t->st->server_takes_transport
        ? PyObject_CallMethod(server, "_detach", "O", op)
        : PyObject_CallMethod(server, "_detach", NULL);
    if (res == NULL) {
        PyErr_WriteUnraisable(server);
    }
    Py_XDECREF(res);
    Py_DECREF(server);
}

void
Transport_finalize(PyObject *op)
{
    TransportData *t = TRANSPORT(op);
    if (t->gone || t->source.fd < 0) {
        return;
    }
    PyObject *exc = PyErr_GetRaisedException();
    t->gone = true;
    if (t->loop != NULL && t->source.fd >= 0) { /* not after its file is closed */
        source_forget(transport_loop(t), &t->source);
    }
    transport_warn_unclosed(op);
    t->dropped = !t->closing;
    t->closing = true;
    transport_release_fd(t);
    transport_tell_server(op);
    PyErr_SetRaisedException(exc);
}

/* --- asking the loop ---------------------------------------------------------- */

int
transport_debug(TransportData *t)
{
    return t->loop == NULL ? 0 : loop_get_debug(t->st, t->loop);
}

static int
transport_log_by(PyObject *op, const char *method, const char *format)
{
    TransportData *t = TRANSPORT(op);
    int debug = transport_debug(t);
    return debug <= 0
        ? debug
        : state_log(t->st, method, Py_BuildValue("(sO)", format, op), false);
}

int
transport_log(PyObject *op, const char *format)
{
    return transport_log_by(op, "debug", format);
}

int
transport_log_info(PyObject *op, const char *format)
{
    return transport_log_by(op, "info", format);
}

int
transport_warn(core_state *st, const char *text)
{
    return state_log(st, "warning", Py_BuildValue("(s)", text), false);
}

int
transport_watch_reading(PyObject *op, bool wanted)
{
    TransportData *t = TRANSPORT(op);
    unsigned mask = t->source.wanted & ~POLL_READ;
    return source_watch(transport_loop(t), &t->source,
                        wanted ? mask | POLL_READ : mask);
}

int
transport_watch_writing(PyObject *op, bool wanted)
{
    TransportData *t = TRANSPORT(op);
    unsigned mask = t->source.wanted & ~POLL_WRITE;
    if (wanted && t->write_context == NULL) {
        t->write_context = t->context_given ? Py_NewRef(t->read_context)
                                            : PyContext_CopyCurrent();
        if (t->write_context == NULL) {
            return -1;
        }
    }
    if (!wanted && t->conn_lost == 0) { /* else it is connection_lost()'s */
        Py_CLEAR(t->write_context);
    }
    return source_watch(transport_loop(t), &t->source,
                        wanted ? mask | POLL_WRITE : mask);
}

/* --- the protocol ------------------------------------------------------------- */

PyObject *
transport_call(TransportData *t, PyObject *name, PyObject **argv, size_t nargs)
{
    PyObject *protocol = Py_NewRef(t->protocol ? t->protocol : Py_None);
    argv[1] = protocol;
    PyObject *res = PyObject_VectorcallMethod(
        name, argv + 1, (nargs + 1) | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    Py_DECREF(protocol);
    return res;
}

int
transport_run_in(PyObject *op, PyObject *context, int (*run)(PyObject *))
{
    if (UNLIKELY(context == NULL)) {
        return run(op);
    }
    Py_INCREF(context);
    int rc = PyContext_Enter(context);
    if (rc == 0) {
        rc = run(op);
        if (PyContext_Exit(context) < 0) {
            rc = -1;
        }
    }
    Py_DECREF(context);
    return rc;
}

int
transport_set_protocol(PyObject *op, PyObject *protocol)
{
    TransportData *t = TRANSPORT(op);
    if (t->kind == TRANSPORT_STREAM) {
        int buffered = PyObject_IsInstance(protocol, t->st->BufferedProtocol);
        if (buffered < 0) {
            return -1;
        }
        t->buffered = buffered;
        t->fed = (PyObject *)Py_TYPE(protocol) == t->st->tls_protocol_type;
    }
    Py_XSETREF(t->protocol, Py_NewRef(protocol));
    t->protocol_connected = true;
    return 0;
}

/* protocol.pause_writing() or resume_writing(); its errors go to the loop's handler. */
static int
transport_call_flow(PyObject *op, PyObject *name, const char *message)
{
    TransportData *t = TRANSPORT(op);
    PyObject *argv[2];
    PyObject *res = transport_call(t, name, argv, 0);
    if (LIKELY(res != NULL)) {
        Py_DECREF(res);
        return 0;
    }
    if (transport_error_is_exit()) {
        return -1;
    }
    PyObject *exc = PyErr_GetRaisedException();
    PyObject *outer = PyErr_GetHandledException();
    PyErr_SetHandledException(exc);
    int rc = transport_report_steal(op,
                                    Py_BuildValue("{s:s,s:O,s:O,s:O}", "message",
                                                  message, "exception", exc,
                                                  "transport", op, "protocol",
                                                  t->protocol ? t->protocol : Py_None));
    PyErr_SetHandledException(outer);
    Py_XDECREF(outer);
    Py_DECREF(exc);
    return rc;
}

int
transport_check_high(PyObject *op)
{
    TransportData *t = TRANSPORT(op);
    if (t->out.size <= t->high || t->protocol_paused) {
        return 0;
    }
    t->protocol_paused = true;
    return transport_call_flow(op, t->st->str_pause_writing,
                               "protocol.pause_writing() failed");
}

int
transport_check_low(PyObject *op)
{
    TransportData *t = TRANSPORT(op);
    if (!t->protocol_paused || t->out.size > t->low) {
        return 0;
    }
    t->protocol_paused = false;
    return transport_call_flow(op, t->st->str_resume_writing,
                               "protocol.resume_writing() failed");
}

/* --- callbacks that asyncio schedules ---------------------------------------- */

int
transport_report_callback(PyObject *op, PyObject *loop, PyObject *method_of,
                          PyObject *name, PyObject *arg)
{
    if (transport_error_is_exit()) {
        return -1;
    }
    TransportData *t = TRANSPORT(op);
    PyObject *exc = PyErr_GetRaisedException();
    PyObject *callback = name == NULL ? Py_NewRef(method_of)
                                      : PyObject_GetAttr(method_of, name);
    if (callback == NULL) {
        PyErr_Clear();
        callback = Py_NewRef(method_of);
    }
    PyObject *handle = handle_new(t->st, HANDLE_PLAIN, loop, callback, &arg,
                                  arg != NULL, NULL);
    Py_DECREF(callback);
    if (handle == NULL) {
        Py_DECREF(exc);
        return -1;
    }
    PyErr_SetRaisedException(exc);
    int rc = handle_report_error(handle);
    Py_DECREF(handle);
    return rc;
}

int
transport_call_soon_steal(TransportData *t, PyObject *callback, PyObject *arg,
                          PyObject *arg2)
{
    PyObject *loop = Py_NewRef(t->loop ? t->loop : Py_None);
    PyObject *method = callback == NULL ? NULL
                                        : PyObject_GetAttr(loop, t->st->str_call_soon);
    PyObject *args = method == NULL ? NULL
        : arg2 != NULL              ? PyTuple_Pack(3, callback, arg, arg2)
        : arg != NULL               ? PyTuple_Pack(2, callback, arg)
                                    : PyTuple_Pack(1, callback);
    PyObject *kwargs = args == NULL || !t->context_given
        ? NULL
        : Py_BuildValue("{s:O}", "context", t->read_context);
    PyObject *res = args == NULL ? NULL : PyObject_Call(method, args, kwargs);
    Py_XDECREF(kwargs);
    Py_XDECREF(args);
    Py_XDECREF(method);
    Py_XDECREF(callback);
    Py_DECREF(loop);
    Py_XDECREF(res);
    return res == NULL ? -1 : 0;
}

int
transport_run_reported(PyObject *op, PyObject *context, int (*run)(PyObject *),
                       PyObject *method)
{
    PyObject *loop = Py_XNewRef(TRANSPORT(op)->loop);
    int rc = transport_run_in(op, context, run);
    if (rc < 0) {
        rc = transport_report_callback(op, loop, op, method, NULL);
    }
    Py_XDECREF(loop);
    return rc;
}

/* --- the end ------------------------------------------------------------------ */

int
transport_schedule_lost(PyObject *op)
{
    TransportData *t = TRANSPORT(op);
    core_state *st = t->st;
    LoopObject *loop = transport_loop(t);
    if (!loop_is_plain(loop)) {
        PyObject *error = t->error;
        t->error = NULL;
        int rc = transport_call_soon_steal(
            t, PyObject_GetAttr(op, st->str__call_connection_lost),
            error ? error : Py_None, NULL);
        Py_XDECREF(error);
        return rc;
    }
    PyObject *context = t->context_given ? Py_NewRef(t->read_context)
                                         : PyContext_CopyCurrent();
    if (context == NULL) {
        PyErr_Clear(); /* out of memory: better in no context than never */
    }
    Py_XSETREF(t->write_context, context);
    return source_soon(loop, &t->source);
}

int
transport_force_close(PyObject *op, PyObject *exc)
{
    TransportData *t = TRANSPORT(op);
    t->dropped = false;
    if (t->conn_lost != 0 || t->loop == NULL) {
        return 0;
    }
    wqueue_clear(&t->out);
    t->corked = false;
    t->closing = true;
    t->conn_lost++;
    Py_XSETREF(t->error, Py_XNewRef(exc));
    Py_INCREF(op);
    int rc = source_watch(transport_loop(t), &t->source, 0);
    if (rc == 0) {
        rc = transport_schedule_lost(op);
    }
    Py_DECREF(op);
    return rc;
}

int
transport_close(PyObject *op)
{
    TransportData *t = TRANSPORT(op);
    t->dropped = false;
    if (t->closing) {
        return 0;
    }
    if (transport_flush_first(op) < 0) {
        return -1;
    }
    if (t->closing) {
        return 0;
    }
    t->closing = true;
    Py_INCREF(op);
    int rc = transport_watch_reading(op, false);
    if (rc == 0 && t->out.len == 0) {
        t->conn_lost++;
        rc = transport_watch_writing(op, false);
        if (rc == 0) {
            rc = transport_schedule_lost(op);
        }
    }
    Py_DECREF(op);
    return rc;
}

/* What _call_connection_lost() does finally. */
static int
transport_let_go(PyObject *op)
{
    TransportData *t = TRANSPORT(op);
    int rc = 0;
    transport_extra_before_close(op);
    PyObject *file = Py_XNewRef(t->file);
    transport_release_fd(t);
    if (file != NULL) {
        PyObject *res = PyObject_CallMethod(file, "close", NULL);
        rc = res == NULL ? -1 : 0;
        Py_XDECREF(res);
        Py_DECREF(file);
    }
    PyObject *loop = t->loop, *protocol = t->protocol;
    t->loop = t->protocol = NULL;
    if (!t->context_given) {
        Py_CLEAR(t->read_context);
    }
    Py_CLEAR(t->write_context);
    PyObject *exc = PyErr_GetRaisedException();
    transport_tell_server(op);
    Py_XDECREF(protocol);
    Py_XDECREF(loop);
    PyErr_SetRaisedException(exc);
    return rc;
}

int
transport_lose(PyObject *op, PyObject *error)
{
    TransportData *t = TRANSPORT(op);
    if (t->gone || t->loop == NULL) {
        return 0;
    }
    t->gone = t->closing = true;
    int rc = 0;
    if (t->protocol_connected) {
        PyObject *argv[3] = {NULL, NULL, error};
        PyObject *res = transport_call(t, t->st->str_connection_lost, argv, 1);
        rc = res == NULL ? -1 : 0;
        Py_XDECREF(res);
    }
    PyObject *exc = PyErr_GetRaisedException();
    if (transport_let_go(op) < 0) {
        rc = -1;
        if (exc != NULL) {
            PyErr_Clear();
        }
        else {
            exc = PyErr_GetRaisedException();
        }
    }
    PyObject *waiter = transport_empty_waiter_borrow(t);
    if (waiter != NULL) {
        PyObject *res = PyObject_CallMethod(
            waiter, "set_exception", "N",
            PyObject_CallFunction(PyExc_ConnectionError, "s",
                                  "Connection is closed by peer"));
        if (res == NULL && exc != NULL) {
            PyErr_Clear();
        }
        else if (res == NULL) {
            rc = -1;
            exc = PyErr_GetRaisedException();
        }
        Py_XDECREF(res);
    }
    PyErr_SetRaisedException(exc);
    return rc;
}

static int
transport_run_lost(PyObject *op)
{
    TransportData *t = TRANSPORT(op);
    PyObject *loop = Py_XNewRef(t->loop);
    PyObject *error = t->error ? t->error : Py_NewRef(Py_None);
    PyObject *context = Py_XNewRef(t->write_context);
    t->error = NULL;
    int rc = context == NULL ? 0 : PyContext_Enter(context);
    if (rc == 0) {
        rc = transport_lose(op, error);
        if (context != NULL && PyContext_Exit(context) < 0) {
            rc = -1;
        }
    }
    if (rc < 0) {
        rc = transport_report_callback(op, loop, op, t->st->str__call_connection_lost,
                                       error);
    }
    Py_XDECREF(context);
    Py_DECREF(error);
    Py_XDECREF(loop);
    return rc;
}

int
transport_soon(LoopObject *Py_UNUSED(loop), struct source *s)
{
    PyObject *op = s->owner;
    TransportData *t = TRANSPORT(op);
    return t->start != 0 ? transport_run_start(op)
        : t->gone        ? 0
                         : transport_run_lost(op);
}

/* _read_ready(), _write_ready() or both; _soon(). */
PyObject *
transport_handle(LoopObject *loop, struct source *s, enum source_item item,
                 unsigned mask)
{
    core_state *st = loop->st;
    PyObject *name = item == ITEM_SOON ? st->str__soon
        : mask == POLL_READ            ? st->str__read_ready
        : mask == POLL_WRITE           ? st->str__write_ready
                                       : st->str__ready;
    PyObject *callback = PyObject_GetAttr(s->owner, name);
    PyObject *handle = callback == NULL
        ? NULL
        : handle_new(st, HANDLE_PLAIN, (PyObject *)loop, callback, NULL, 0, NULL);
    Py_XDECREF(callback);
    return handle;
}
