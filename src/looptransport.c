/* looptransport.c - the hooks by which asyncio's loop makes transports and servers, and
 * its table of transports. What is not natively served goes to asyncio's own code. */

#include "args.h"
#include "compat.h"
#include "handle.h"
#include "loopobj.h"
#include "server.h"

/* Puts arguments, by position or by name, into `values` (borrowed; NULL: not given).
 * names ends with NULL. False if there is one that has no name there. */
static bool
sort_args(const char *const *names, PyObject *const *args, Py_ssize_t nargs,
          PyObject *kwnames, PyObject **values)
{
    Py_ssize_t count = 0;
    for (; names[count] != NULL; count++) {
        values[count] = count < nargs ? args[count] : NULL;
    }
    if (nargs > count) {
        return false;
    }
    Py_ssize_t nkw = kwnames == NULL ? 0 : PyTuple_GET_SIZE(kwnames);
    for (Py_ssize_t i = 0; i < nkw; i++) {
        Py_ssize_t n = 0;
        while (
            n < count
            && PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(kwnames, i), names[n])
                != 0) {
            n++;
        }
        if (n == count || values[n] != NULL) {
            return false;
        }
        values[n] = args[nargs + i];
    }
    return true;
}

/* What was given, by position, as far as there is something; None in between. */
static PyObject *
all_args(PyObject **given, Py_ssize_t count)
{
    while (count > 0 && given[count - 1] == NULL) {
        count--;
    }
    PyObject *tuple = PyTuple_New(count);
    for (Py_ssize_t i = 0; tuple != NULL && i < count; i++) {
        PyTuple_SET_ITEM(tuple, i, Py_NewRef(given[i] ? given[i] : Py_None));
    }
    return tuple;
}

/* Whether asyncio's module has its own class still. */
static bool
is_unpatched(PyObject *module, const char *name, PyObject *original)
{
    PyObject *type = PyObject_GetAttrString(module, name);
    PyErr_Clear();
    Py_XDECREF(type);
    return type == original;
}

static bool
sockets_are_unpatched(core_state *st)
{
    return is_unpatched(st->selector_events, "_SelectorSocketTransport",
                        st->SelectorSocketTransport);
}

/* --- transports --------------------------------------------------------------- */

PyObject *
Loop__make_socket_transport(FASTCALL_ARGS)
{
    enum { SOCK, PROTOCOL, WAITER, EXTRA, SERVER, CONTEXT, COUNT };
    static const char *const names[] = {"sock",   "protocol", "waiter", "extra",
                                        "server", "context",  NULL};
    LoopObject *self = LOOP(op);
    PyObject *given[COUNT];
    if (!sort_args(names, args, nargs, kwnames, given) || given[SOCK] == NULL
        || given[PROTOCOL] == NULL
        || (PyObject *)Py_TYPE(given[SOCK]) != self->st->socket_type
        || !loop_watches_natively(self) || !sockets_are_unpatched(self->st)) {
        return loop_call_base(self, "_make_socket_transport", args, nargs, kwnames);
    }
    for (int i = WAITER; i < COUNT; i++) {
        given[i] = given[i] == Py_None ? NULL : given[i];
    }
    if (loop_ensure_no_transport(self, given[SOCK]) < 0) {
        return NULL;
    }
    return transport_new_for_socket(self->st, TRANSPORT_STREAM, op, given[SOCK],
                                    given[PROTOCOL], given[WAITER], given[EXTRA],
                                    given[SERVER], given[CONTEXT]);
}

static int
int_attribute(PyObject *obj, const char *name)
{
    PyObject *attr = PyObject_GetAttrString(obj, name);
    int value = attr == NULL ? -1 : PyLong_AsInt(attr);
    Py_XDECREF(attr);
    return value;
}

/* Whether it is a datagram socket of a family whose addresses we know; -1 on error. */
static int
is_datagram_socket(core_state *st, PyObject *sock)
{
    if ((PyObject *)Py_TYPE(sock) != st->socket_type) {
        return 0;
    }
    int family = int_attribute(sock, "family"), type = int_attribute(sock, "type");
    if (PyErr_Occurred()) {
        return -1;
    }
    return type == SOCK_DGRAM
        && (family == AF_INET || family == AF_INET6 || family == AF_UNIX);
}

PyObject *
Loop__make_datagram_transport(FASTCALL_ARGS)
{
    enum { SOCK, PROTOCOL, ADDRESS, WAITER, EXTRA, COUNT };
    static const char *const names[] = {"sock",   "protocol", "address",
                                        "waiter", "extra",    NULL};
    LoopObject *self = LOOP(op);
    core_state *st = self->st;
    PyObject *given[COUNT];
    int native = sort_args(names, args, nargs, kwnames, given) && given[SOCK] != NULL
        && given[PROTOCOL] != NULL && loop_watches_natively(self)
        && is_unpatched(st->selector_events, "_SelectorDatagramTransport",
                        st->SelectorDatagramTransport);
    if (native) {
        native = is_datagram_socket(st, given[SOCK]);
    }
    if (native <= 0) {
        return native < 0
            ? NULL
            : loop_call_base(self, "_make_datagram_transport", args, nargs, kwnames);
    }
    for (int i = ADDRESS; i < COUNT; i++) {
        given[i] = given[i] == Py_None ? NULL : given[i];
    }
    if (loop_ensure_no_transport(self, given[SOCK]) < 0) {
        return NULL;
    }
    return datagram_new_for_socket(st, op, given[SOCK], given[PROTOCOL], given[ADDRESS],
                                   given[WAITER], given[EXTRA]);
}

static PyObject *
make_pipe_transport(LoopObject *self, PyObject *const *args, Py_ssize_t nargs,
                    PyObject *kwnames, enum transport_kind kind, const char *method)
{
    enum { PIPE, PROTOCOL, WAITER, EXTRA, COUNT };
    static const char *const names[] = {"pipe", "protocol", "waiter", "extra", NULL};
    PyObject *given[COUNT], *op = NULL;
    if (sort_args(names, args, nargs, kwnames, given) && given[PIPE] != NULL
        && given[PROTOCOL] != NULL && loop_watches_natively(self)) {
        PyObject *extra = given[EXTRA] == Py_None ? NULL : given[EXTRA];
        PyObject *waiter = given[WAITER] == Py_None ? NULL : given[WAITER];
        if (extra == NULL || PyDict_Check(extra)) {
            op = pipe_connect(self, kind, given[PIPE], given[PROTOCOL], waiter, extra);
        }
    }
    return op != NULL || PyErr_Occurred()
        ? op
        : loop_call_base(self, method, args, nargs, kwnames);
}

PyObject *
Loop__make_read_pipe_transport(FASTCALL_ARGS)
{
    LoopObject *self = LOOP(op);
    core_state *st = self->st;
    static const char method[] = "_make_read_pipe_transport";
    return is_unpatched(st->unix_events, "_UnixReadPipeTransport",
                        st->UnixReadPipeTransport)
        ? make_pipe_transport(self, args, nargs, kwnames, TRANSPORT_READ_PIPE, method)
        : loop_call_base(self, method, args, nargs, kwnames);
}

PyObject *
Loop__make_write_pipe_transport(FASTCALL_ARGS)
{
    LoopObject *self = LOOP(op);
    core_state *st = self->st;
    static const char method[] = "_make_write_pipe_transport";
    return is_unpatched(st->unix_events, "_UnixWritePipeTransport",
                        st->UnixWritePipeTransport)
        ? make_pipe_transport(self, args, nargs, kwnames, TRANSPORT_WRITE_PIPE, method)
        : loop_call_base(self, method, args, nargs, kwnames);
}

/* --- servers ------------------------------------------------------------------ */

/* What is said to a new TLS protocol of a server; NULL without an exception: asyncio's
 * code has to accept. */
static PyObject *
tls_args(LoopObject *self, PyObject *context, PyObject *handshake, PyObject *shutdown)
{
    core_state *st = self->st;
    if (loop_hooked(self, HOOK_MAKE_SSL_TRANSPORT)) {
        return NULL;
    }
    PyObject *module = PyImport_ImportModule("evloop._tls");
    PyObject *type = module == NULL
        ? NULL
        : PyObject_CallMethod(module, "protocol_class", NULL);
    Py_XDECREF(module);
    bool ours = type != NULL && type == st->tls_protocol_type;
    bool failed = type == NULL;
    Py_XDECREF(type);
    return failed || !ours
        ? NULL
        : Py_BuildValue("(OOOOOOO)", context, Py_None, Py_True, Py_None, Py_True,
                        handshake ? handshake : Py_None, shutdown ? shutdown : Py_None);
}

PyObject *
Loop__start_serving(FASTCALL_ARGS)
{
    enum { FACTORY, SOCK, SSL, SERVER, BACKLOG, HANDSHAKE, SHUTDOWN, CONTEXT, COUNT };
    static const char *const names[] = {"protocol_factory",
                                        "sock",
                                        "sslcontext",
                                        "server",
                                        "backlog",
                                        "ssl_handshake_timeout",
                                        "ssl_shutdown_timeout",
                                        "context",
                                        NULL};
    LoopObject *self = LOOP(op);
    PyObject *given[COUNT];
    bool sorted = sort_args(names, args, nargs, kwnames, given);
    int native = sorted && given[FACTORY] != NULL && given[SOCK] != NULL
        && loop_watches_natively(self)
        && !loop_hooked(self, HOOK_ACCEPT | HOOK_ACCEPT_2 | HOOK_MAKE_SOCKET_TRANSPORT)
        && sockets_are_unpatched(self->st);
    if (native) {
        native = listener_can_serve(self, given[SOCK]);
    }
    PyObject *tls = NULL;
    int secure = native <= 0 || given[SSL] == NULL ? 0 : PyObject_IsTrue(given[SSL]);
    if (secure > 0) {
        tls = tls_args(self, given[SSL], given[HANDSHAKE], given[SHUTDOWN]);
        native = tls != NULL ? 1 : PyErr_Occurred() ? -1 : 0;
    }
    if (native <= 0 || secure < 0) {
        return native < 0 || secure < 0
            ? NULL
            : loop_call_base(self, "_start_serving", args, nargs, kwnames);
    }
    if (loop_check_closed(self) < 0) {
        Py_XDECREF(tls);
        return NULL;
    }
    long backlog = given[BACKLOG] == NULL ? 100 : PyLong_AsLong(given[BACKLOG]);
    if (backlog == -1 && PyErr_Occurred()) {
        Py_XDECREF(tls);
        return NULL;
    }
    struct listener_args call = {
        .factory = given[FACTORY],
        .sock = given[SOCK],
        .server = given[SERVER] ? given[SERVER] : Py_None,
        .tls = tls,
        .context = given[CONTEXT] ? given[CONTEXT] : Py_None,
        .backlog = backlog,
    };
    call.retry = all_args(given, COUNT);
    int rc = call.retry == NULL ? -1 : listener_start(self, &call);
    Py_XDECREF(call.retry);
    Py_XDECREF(tls);
    return rc < 0 ? NULL : Py_NewRef(Py_None);
}

/* --- the table of transports -------------------------------------------------- */

/* _transport_of(fd): the native transport on that descriptor, or None. */
PyObject *
Loop__transport_of(PyObject *op, PyObject *number)
{
    int overflow;
    long fd = PyLong_AsLongAndOverflow(number, &overflow);
    if (fd == -1 && PyErr_Occurred()) {
        return NULL;
    }
    struct source *s = overflow || fd < 0 || fd > INT_MAX
        ? NULL
        : source_transport_of_fd(LOOP(op), (int)fd);
    return Py_NewRef(s == NULL || s->hidden ? Py_None : s->owner);
}

/* _transport_hide(fd, bool): whether the table shows it; false if there is none. */
PyObject *
Loop__transport_hide(PyObject *op, PyObject *args)
{
    int fd, hide;
    if (!PyArg_ParseTuple(args, "ip:_transport_hide", &fd, &hide)) {
        return NULL;
    }
    struct source *s = source_transport_of_fd(LOOP(op), fd);
    if (s == NULL || (hide && s->hidden)) {
        Py_RETURN_FALSE;
    }
    s->hidden = hide;
    Py_RETURN_TRUE;
}

/* _transport_fds(): a list of the descriptors of native transports. */
PyObject *
Loop__transport_fds(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    PyObject *list = PyList_New(0);
    for (int fd = 0; list != NULL && fd < LOOP(op)->watches.cap; fd++) {
        struct source *s = source_transport_of_fd(LOOP(op), fd);
        if (s == NULL || s->hidden) {
            continue;
        }
        PyObject *number = PyLong_FromLong(fd);
        if (number == NULL || PyList_Append(list, number) < 0) {
            Py_CLEAR(list);
        }
        Py_XDECREF(number);
    }
    return list;
}
