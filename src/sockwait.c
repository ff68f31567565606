/* sockwait.c - see sockwait.h. */

#include "sockwait.h"
#include "compat.h"
#include "future.h"
#include "handle.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

typedef struct {
    PyObject_HEAD
    core_state *st; /* see state.h: it outlives the object */
    struct source source;
    PyObject *socket; /* strong: a weak reference to the socket object, or NULL */
    struct sockwaiter *readers, *writers;
    bool drainable; /* a short read means that there is no more */
    bool drained;   /* so it was, since the last event */
} PortObject;

#define PORT(op) ((PortObject *)(op))

static const struct source_kind port_kind;

/* --- lists of waiters --------------------------------------------------------- */

static void
waiter_append(struct sockwaiter **list, struct sockwaiter *w)
{
    while (*list != NULL) {
        list = &(*list)->next;
    }
    *list = w;
    w->link = list;
    w->next = NULL;
}

/* Takes it out; returns its future, with the reference. */
static PyObject *
waiter_take(struct sockwaiter *w)
{
    *w->link = w->next;
    if (w->next != NULL) {
        w->next->link = w->link;
    }
    w->link = NULL;
    return w->future;
}

static void
waiters_drop(struct sockwaiter **list)
{
    while (*list != NULL) {
        Py_DECREF(waiter_take(*list));
    }
}

/* Wakes those who wait now, and not who begins to meanwhile: to wake one can run Python
 * code. */
static int
waiters_wake(struct sockwaiter **list)
{
    size_t due = 0;
    for (struct sockwaiter *w = *list; w != NULL; w = w->next) {
        due++;
    }
    int rc = 0;
    for (; due > 0 && *list != NULL; due--) {
        PyObject *future = waiter_take(*list);
        if (FUTURE(future)->state == FUTURE_PENDING
            && future_set_result_lock_held(future, Py_None) < 0) {
            rc = -1;
        }
        Py_DECREF(future);
    }
    return rc;
}

/* --- the port ----------------------------------------------------------------- */

static int
Port_traverse(PyObject *op, visitproc visit, void *arg)
{
    PortObject *port = PORT(op);
    Py_VISIT(Py_TYPE(op));
    Py_VISIT(port->socket);
    for (struct sockwaiter *w = port->readers; w != NULL; w = w->next) {
        Py_VISIT(w->future);
    }
    for (struct sockwaiter *w = port->writers; w != NULL; w = w->next) {
        Py_VISIT(w->future);
    }
    return 0;
}

static int
Port_clear(PyObject *op)
{
    Py_CLEAR(PORT(op)->socket);
    waiters_drop(&PORT(op)->readers);
    waiters_drop(&PORT(op)->writers);
    return 0;
}

static void
Port_dealloc(PyObject *op)
{
    PyTypeObject *type = Py_TYPE(op);
    core_state *st = PORT(op)->st;
    PyObject_GC_UnTrack(op);
    (void)Port_clear(op);
    PyObject_GC_Del(op);
    Py_DECREF(type);
    st->live_ports--;
    state_free_if_dead(st);
}

static PyObject *
port_new(core_state *st, int fd)
{
    PortObject *port = PyObject_GC_New(PortObject, (PyTypeObject *)st->SockPortType);
    if (port == NULL) {
        return NULL;
    }
    port->st = st;
    port->source = (struct source){
        .kind = &port_kind, .owner = (PyObject *)port, .fd = fd};
    port->socket = NULL;
    port->readers = port->writers = NULL;
    port->drainable = port->drained = false;
    st->live_ports++;
    PyObject_GC_Track(port);
    return (PyObject *)port;
}

static bool
port_is_of(PortObject *port, PyObject *sock)
{
    PyObject *known = NULL;
    if (port->socket == NULL || PyWeakref_GetRef(port->socket, &known) < 0) {
        PyErr_Clear();
        return false;
    }
    bool same = known == sock;
    Py_XDECREF(known);
    return same;
}

static bool
option_is(int fd, int name, int expected)
{
    int value = 0;
    socklen_t len = sizeof(value);
    return getsockopt(fd, SOL_SOCKET, name, &value, &len) == 0 && value == expected;
}

/* Whether a short read means that there is no more: of plain TCP. Other sockets end a
 * read between messages, records or passed descriptors, and so does TCP with an upper
 * layer in the kernel (TLS); below a low-water mark data come without an event. */
static bool
fd_is_drainable(int fd)
{
    char layer[16]; /* no name is longer */
    socklen_t len = sizeof(layer);
    return option_is(fd, SO_PROTOCOL, IPPROTO_TCP) && option_is(fd, SO_RCVLOWAT, 1)
        && (getsockopt(fd, IPPROTO_TCP, TCP_ULP, layer, &len) < 0 || len == 0);
}

/* The port of the descriptor if there is one of that socket object; borrowed. */
static PortObject *
port_find(LoopObject *loop, PyObject *sock, int fd)
{
    struct watch *w = watch_slot(&loop->watches, fd);
    if (w == NULL || w->source == NULL || w->source->kind != &port_kind) {
        return NULL;
    }
    PortObject *port = PORT(w->source->owner);
    return port_is_of(port, sock) ? port : NULL;
}

void
sockwait_note_short_read(LoopObject *loop, PyObject *sock, int fd)
{
    PortObject *port = port_find(loop, sock, fd);
    if (port != NULL) {
        port->drained = port->drainable;
    }
}

bool
sockwait_is_drained(LoopObject *loop, PyObject *sock, int fd)
{
    PortObject *port = port_find(loop, sock, fd);
    if (port == NULL || !port->drained) {
        return false;
    }
    /* Not while a user's reader gets the events, nor when it has got some. */
    const struct watch *w = &loop->watches.slots[fd];
    if (w->reader != NULL
        || (w->mask & (POLL_READ | POLL_EDGE)) != (POLL_READ | POLL_EDGE)) {
        port->drained = false;
    }
    return port->drained;
}

/* The port of the descriptor, for that socket object; a new reference. */
static PyObject *
port_get(LoopObject *loop, PyObject *sock, int fd)
{
    struct watch *w = watch_slot(&loop->watches, fd);
    PyObject *op;
    if (w != NULL && w->source != NULL && w->source->kind == &port_kind) {
        op = Py_NewRef(w->source->owner);
        if (LIKELY(port_is_of(PORT(op), sock)) && HARD_OR(false, true)) {
            return op;
        }
        source_forget(loop, &PORT(op)->source);
    }
    else {
        op = port_new(loop->st, fd);
    }
    PyObject *ref = op == NULL ? NULL : PyWeakref_NewRef(sock, NULL);
    if (ref == NULL) {
        Py_XDECREF(op);
        return NULL;
    }
    Py_XSETREF(PORT(op)->socket, ref);
    PORT(op)->drained = false;
    PORT(op)->drainable = fd_is_drainable(fd);
    return op;
}

static unsigned
port_wanted(const PortObject *port)
{
    return (port->readers ? POLL_READ : 0) | (port->writers ? POLL_WRITE : 0);
}

void
sockwait_end(struct sockwaiter *w)
{
    if (w->link != NULL) {
        PyObject *future = waiter_take(w);
        w->source->wanted = (uint8_t)port_wanted(PORT(w->source->owner));
        Py_DECREF(future);
    }
}

PyObject *
sockwait_begin(LoopObject *loop, PyObject *sock, int fd, unsigned direction,
               struct sockwaiter *w)
{
    PyObject *future = future_new(loop->st, (PyObject *)loop);
    PyObject *op = future == NULL ? NULL : port_get(loop, sock, fd);
    if (op == NULL) {
        Py_XDECREF(future);
        return NULL;
    }
    PortObject *port = PORT(op);
    w->future = Py_NewRef(future);
    w->source = &port->source;
    waiter_append(direction == POLL_READ ? &port->readers : &port->writers, w);
    if (source_watch(loop, &port->source, port_wanted(port) | POLL_EDGE) < 0) {
        PyObject *exc = PyErr_GetRaisedException();
        sockwait_end(w);
        if (port_wanted(port) == 0) { /* else others wait here still */
            source_forget(loop, &port->source);
        }
        Py_CLEAR(future);
        PyErr_SetRaisedException(exc);
    }
    Py_DECREF(op);
    return future;
}

/* --- events ------------------------------------------------------------------- */

static int
port_wake(PortObject *port, unsigned mask)
{
    int rc = mask & POLL_READ ? waiters_wake(&port->readers) : 0;
    if (mask & POLL_WRITE && waiters_wake(&port->writers) < 0) {
        rc = -1;
    }
    port->source.wanted = (uint8_t)port_wanted(port);
    return rc;
}

/* Stops what would come again and again with nobody waiting: beside a handle of the
 * user, which makes it level-triggered, everything; else that it is writable, which
 * some kinds of sockets say whenever the peer reads. */
static void
port_settle(LoopObject *loop, struct source *s, unsigned mask)
{
    struct watch *w = &loop->watches.slots[s->fd];
    bool beside = w->reader != NULL || w->writer != NULL;
    unsigned unwanted = mask & ~(unsigned)s->wanted;
    if (unwanted == POLL_WRITE && mask == POLL_WRITE) {
        s->mask &= (uint8_t)~POLL_WRITE;
        beside = true;
    }
    if (beside && unwanted != 0 && s->mask & (POLL_READ | POLL_WRITE)) {
        (void)watch_apply(&loop->watches, &loop->poll, s->fd);
    }
}

static int
Port_event(LoopObject *loop, struct source *s, unsigned mask)
{
    PyObject *op = Py_NewRef(s->owner);
    PORT(op)->drained &= !(mask & POLL_READ);
    PORT(op)->drainable &= !(mask & POLL_END);
    mask &= POLL_READ | POLL_WRITE;
    port_settle(loop, s, mask);
    int rc = (mask & s->wanted) == 0  ? 0
        : LIKELY(loop_is_plain(loop)) ? port_wake(PORT(op), mask)
                                      : source_queue(loop, s, mask & s->wanted);
    Py_DECREF(op);
    return rc;
}

/* The callable of a handle, in debug mode and for loops with methods overridden. */
static PyObject *
port_wake_from_handle(PyObject *op, PyObject *mask)
{
    return port_wake(PORT(op), (unsigned)PyLong_AsLong(mask)) < 0 ? NULL
                                                                  : Py_NewRef(Py_None);
}

static PyObject *
Port_handle(LoopObject *loop, struct source *s, enum source_item Py_UNUSED(item),
            unsigned mask)
{
    static PyMethodDef def = {"_sock_wake", port_wake_from_handle, METH_O, NULL};
    PyObject *argv[] = {PyLong_FromLong((long)mask)}, *handle = NULL;
    PyObject *call = PyCFunction_New(&def, s->owner);
    if (argv[0] != NULL && call != NULL) {
        handle = handle_new(loop->st, HANDLE_PLAIN, (PyObject *)loop, call, argv, 1,
                            NULL);
    }
    Py_XDECREF(call);
    Py_XDECREF(argv[0]);
    return handle;
}

/* As a handle: what call_soon() raises, if overridden, goes to the loop's exception
 * handler, as from asyncio's callback. */
static int
Port_run(LoopObject *loop, struct source *s, unsigned mask)
{
    PyObject *handle = Port_handle(loop, s, ITEM_EVENTS, mask);
    int rc = handle == NULL ? -1 : handle_run(handle);
    Py_XDECREF(handle);
    return rc;
}

static const struct source_kind port_kind = {
    .event = Port_event,
    .run = Port_run,
    .handle = Port_handle,
};

/* --- the type ----------------------------------------------------------------- */

static PyType_Slot Port_slots[] = {
    {Py_tp_dealloc, Port_dealloc},
    {Py_tp_traverse, Port_traverse},
    {Py_tp_clear, Port_clear},
    {0, NULL},
};

int
sockwait_setup_type(PyObject *module, core_state *st)
{
    static PyType_Spec spec = {
        .name = "evloop._core.SockPort",
        .basicsize = sizeof(PortObject),
        .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC
            | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
        .slots = Port_slots,
    };
    st->SockPortType = PyType_FromModuleAndSpec(module, &spec, NULL);
    return st->SockPortType == NULL ? -1 : 0;
}
