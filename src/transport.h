/* transport.h - what all native transports share: protocol, flow control, extra
 * information, and how they begin and end.
 *
 * Each is a C type over asyncio's Python class of its kind. The base's slots stay
 * unset; our struct lies behind them, at one offset for all kinds.
 *
 * Life of a transport, as asyncio's:
 *
 * new -> started      [transport_start]   connection_made(), then reading begins, then
 *                                         the waiter is told; from the ready ring
 * open -> closing     [close]             no more reading; what was written is sent
 * open, closing -> ending                 nothing is left to send, or [force_close]
 *                                         abort(), an error; connection_lost() is on
 *                                         the ready ring (`conn_lost` is not 0)
 * ending -> closed    [transport_lose]    connection_lost() was called, once; the
 *                                         descriptor is closed, protocol and loop let
 * go
 *
 * Who owns what: the transport owns its loop, its protocol and its descriptor. A Python
 * socket object over the descriptor is made when somebody asks for it and owns the
 * descriptor from then on (`file`); what connections come with has one from the start.
 * The loop's watch table and ready ring hold the transport while it reads, writes or is
 * to be run. To call a protocol's method may change anything: it runs after the
 * transport's own state is settled. */

#ifndef EVLOOP_TRANSPORT_H
#define EVLOOP_TRANSPORT_H

#include "addr.h"
#include "list.h"
#include "source.h"
#include "wqueue.h"

/* asyncio's default for set_write_buffer_limits(). */
#define HIGH_WATER (64 * 1024)

/* asyncio.constants.LOG_THRESHOLD_FOR_CONNLOST_WRITES */
#define LOST_WRITES_LOGGED 5

/* What is still to be done of what transport_start() scheduled. */
enum { START_MADE = 1, START_READ = 2, START_WAITER = 4 };

/* What a transport has at its beginning, at its end, or for sendfile(). */
struct transport_rare {
    PyObject *made;         /* strong or NULL: the connection_made() that is due */
    PyObject *waiter;       /* strong or NULL; until it has been told */
    PyObject *empty_waiter; /* strong or NULL: sendfile() waits for an empty queue */
    union addr_inet local;  /* once the descriptor is closed; AF_UNSPEC: unknown */
};

typedef struct {
    struct source source; /* fd: -1 once closed */
    core_state *st;       /* see state.h: it outlives the object */
    PyObject *weaklist;
    PyObject *dict;          /* strong or NULL: the instance's __dict__ */
    PyObject *loop;          /* strong; NULL once closed */
    PyObject *protocol;      /* strong; NULL reads as None */
    PyObject *file;          /* strong or NULL: the socket or pipe object */
    PyObject *extra;         /* strong dict or NULL; see transport_extra.c */
    PyObject *server;        /* strong or NULL; told when the transport has closed */
    PyObject *read_context;  /* strong or NULL: data_received() runs in it */
    PyObject *write_context; /* strong or NULL: the same for resume_writing(); of what
                              * is corked the writer's own, to be copied first */
    PyObject *error; /* strong or NULL: what connection_lost() is to be given */
    struct transport_rare *rare; /* owned; NULL: nothing of it is there */
    struct list client;      /* among the clients of a native server */
    struct wqueue out;
    Py_ssize_t high; /* water marks, in bytes */
    Py_ssize_t low;
    PyObject *peername; /* strong or NULL: the object, if it is known */
    union {
        union addr_inet peer; /* else the address; AF_UNSPEC: unknown */
        unsigned useless; /* writers of pipes count here: they begin with close() */
    };
    int shown_fd; /* the descriptor's number, also when it is closed */
    unsigned conn_lost; /* connection_lost() is scheduled; counts useless writes */
    sa_family_t family; /* of the socket; AF_UNSPEC: none, or not known */
    uint16_t proto;
    uint8_t type; /* SOCK_STREAM... */
    uint8_t kind; /* enum transport_kind */
    uint8_t start; /* START_MADE... */
    bool corked; /* what waits to be written has not been tried yet */
    bool closing;
    bool paused; /* pause_reading() */
    bool eof; /* write_eof() */
    bool protocol_paused;
    bool protocol_connected;
    bool buffered; /* the protocol is a BufferedProtocol */
    bool fed; /* the protocol takes data natively (st->feed) */
    bool reads_much; /* the last read was large: see streamread.c */
    bool context_given; /* from Python 3.15 on: it is what read_context is */
    bool replaced; /* Python code has put another object in the socket's place */
    bool gone; /* transport_lose() has run, or there is nothing to lose yet */
    bool dropped; /* closed by its finalizer alone: is_closing() does not say so */
} TransportData;

/* What a datagram transport has besides. */
typedef struct {
    TransportData t;
    PyObject *address; /* strong or NULL: the one to send to, as it was given */
    PyObject *kept; /* strong or NULL: a list of data and address by turns, received but
                       not delivered yet */
} DatagramData;

enum transport_kind {
    TRANSPORT_STREAM,
    TRANSPORT_DATAGRAM,
    TRANSPORT_READ_PIPE,
    TRANSPORT_WRITE_PIPE,
    TRANSPORT_KINDS
};

/* The same in all interpreters of the process. Set once, by transport_setup_types(). */
extern Py_ssize_t transport_offset;

#define DATAGRAM(op) ((DatagramData *)((char *)(op) + transport_offset))
#define TRANSPORT(op) ((TransportData *)((char *)(op) + transport_offset))
#define TRANSPORT_OF_CLIENT(node)                                                      \
    ((TransportData *)((char *)(node) - offsetof(TransportData, client)))
#define TRANSPORT_OF_SOURCE(s) ((TransportData *)(s)) /* its first field */

/* Creates the types in the module's state. */
int transport_setup_types(PyObject *module, core_state *st);

/* A new transport of that kind on that loop, which is ours, for a descriptor. The
 * descriptor belongs to it, or to `file` if that is not NULL; on error it is the
 * caller's still. */
PyObject *transport_new(core_state *st, enum transport_kind kind, PyObject *loop,
                        int fd, PyObject *file);
/* Takes the protocol, and contexts: `context` as it was given to asyncio (NULL: none),
 * `reading`, which data_received() will run in: the one that was given, if one was.
 * Schedules connection_made(), the beginning of reading and the result of the waiter
 * (NULL: none). */
int transport_start(PyObject *op, PyObject *protocol, PyObject *context,
                    PyObject *reading, PyObject *waiter);
/* A stream transport over a connected socket that was accepted, with its peer's
 * address; the descriptor is taken, also on error. */
PyObject *transport_new_accepted(core_state *st, PyObject *loop, int fd, int family,
                                 int proto, const union addr *peer, socklen_t len);
/* A started transport over a socket object, as asyncio's constructor makes it. waiter,
 * extra (a dict), server and context may be NULL. */
PyObject *transport_new_for_socket(core_state *st, enum transport_kind kind,
                                   PyObject *loop, PyObject *sock, PyObject *protocol,
                                   PyObject *waiter, PyObject *extra, PyObject *server,
                                   PyObject *context);
/* The same for a datagram transport. address: the one to send to; it may be NULL. */
PyObject *datagram_new_for_socket(core_state *st, PyObject *loop, PyObject *sock,
                                  PyObject *protocol, PyObject *address,
                                  PyObject *waiter, PyObject *extra);
/* A started transport over a pipe object. waiter and extra (a dict) may be NULL. NULL
 * without an exception: asyncio's own has to do, as the descriptor is in use. */
PyObject *pipe_connect(LoopObject *loop, enum transport_kind kind, PyObject *pipe,
                       PyObject *protocol, PyObject *waiter, PyObject *extra);
/* Tells the server of a new connection, and remembers it. */
int transport_attach_server(PyObject *op, PyObject *server);
/* The same for a native server (clients.c), whose transport owns it already. */
void clients_add(PyObject *server, TransportData *t);
/* Once; -1 if it raised. */
int clients_remove(PyObject *server, TransportData *t);
/* Creates evloop.Server's native base in the module's state. */
int clients_setup_type(PyObject *module, core_state *st);
/* Closes one that never started, without a word. */
void transport_discard(PyObject *op);

void Transport_dealloc(PyObject *op);
int Transport_traverse(PyObject *op, visitproc visit, void *arg);
int Transport_clear(PyObject *op);
void Transport_finalize(PyObject *op);

/* --- what they do ------------------------------------------------------------- */

/* The kinds' own. */
extern const struct source_kind stream_kind, datagram_kind, read_pipe_kind,
    write_pipe_kind;
extern PyType_Slot stream_slots[], datagram_slots[], read_pipe_slots[],
    write_pipe_slots[];

#define TRANSPORT_SLOTS                                                                \
    {Py_tp_dealloc, Transport_dealloc}, {Py_tp_traverse, Transport_traverse},          \
        {Py_tp_clear, Transport_clear}, {Py_tp_finalize, Transport_finalize},          \
        {Py_tp_repr, Transport_repr},                                                  \
    {                                                                                  \
        Py_tp_getset, Transport_getset                                                 \
    }

/* The descriptor, or -1 if the socket object that owns it was closed or detached behind
 * our back: the number may be somebody else's by now. */
static inline int
transport_fd(const TransportData *t)
{
    if (t->file != NULL && !t->replaced && t->st->socket_fd_offset > 0
        && t->family != AF_UNSPEC
        && *(int *)((char *)t->file + t->st->socket_fd_offset) != t->source.fd) {
        return -1;
    }
    return t->source.fd;
}

/* Made if need be; NULL with MemoryError. */
struct transport_rare *transport_rare(TransportData *t);

static inline PyObject *
transport_empty_waiter_borrow(const TransportData *t)
{
    return t->rare != NULL ? t->rare->empty_waiter : NULL;
}

/* The context as given, or NULL. */
static inline PyObject *
transport_context_borrow(const TransportData *t)
{
    return t->context_given ? t->read_context : NULL;
}

static inline bool
transport_is_reading(const TransportData *t)
{
    return !t->closing && !t->paused;
}

/* The loop as ours; only while the transport has one. */
static inline LoopObject *
transport_loop(const TransportData *t)
{
    return LOOP(t->loop);
}

/* Whether the loop's debug mode is on: 1, 0, or -1 on error. */
int transport_debug(TransportData *t);
/* The descriptor goes, without a word to the protocol. */
void transport_release_fd(TransportData *t);
/* server._detach(), once. */
void transport_tell_server(PyObject *op);
/* The ring's turn, while there is something of transport_start() left to do. */
int transport_run_start(PyObject *op);
/* Reports the exception being raised as that of the callback method_of.name(arg), which
 * asyncio has a handle call. `arg` NULL: without one; `name` NULL: `method_of` is the
 * callback. Results as of handle_run(). */
int transport_report_callback(PyObject *op, PyObject *loop, PyObject *method_of,
                              PyObject *name, PyObject *arg);
/* Runs that in the context; what it raises is reported as an error of the method that
 * asyncio has as a callback. Results as of handle_run(). */
int transport_run_reported(PyObject *op, PyObject *context, int (*run)(PyObject *),
                           PyObject *method);
/* loop.call_soon(callback, arg, arg2), both perhaps NULL, with the transport's context;
 * steals the callback, which may be NULL with an exception. */
int transport_call_soon_steal(TransportData *t, PyObject *callback, PyObject *arg,
                              PyObject *arg2);
/* logger.debug(format, self), in debug mode only. */
int transport_log(PyObject *op, const char *format);
/* The same with logger.info(). */
int transport_log_info(PyObject *op, const char *format);
/* logger.warning(text); -1 on error. */
int transport_warn(core_state *st, const char *text);

/* protocol.name(*argv[2:]); argv[0] and argv[1] are room, nargs counts the others. New
 * reference, or NULL with an exception. */
PyObject *transport_call(TransportData *t, PyObject *name, PyObject **argv,
                         size_t nargs);
/* run(op) in that context; NULL: in the one that is current. */
int transport_run_in(PyObject *op, PyObject *context, int (*run)(PyObject *));
/* An error that ends the loop: SystemExit or KeyboardInterrupt is being raised. */
bool transport_error_is_exit(void);
/* loop.call_exception_handler({...}); steals `context`, which may be NULL. */
int transport_report_steal(PyObject *op, PyObject *context);
/* Reports the exception being raised as asyncio's _fatal_error() does, and closes by
 * force. -1 if the exception is one that ends the loop, or reporting raised; out of
 * memory to report, it is closed too. */
int transport_fatal(PyObject *op, const char *message);
/* The same for that exception; it is borrowed. */
int transport_fatal_error(PyObject *op, PyObject *exc, PyObject *message);
/* Telling of that exception has raised another. If for lack of memory, the transport is
 * closed all the same: after data that are lost nothing may follow. Always -1; keeps
 * what is being raised. */
int transport_close_untold(PyObject *op, PyObject *exc);

/* asyncio's _force_close(exc); exc NULL: None. */
int transport_force_close(PyObject *op, PyObject *exc);
/* What was written before, to this transport and to TLS over it, is with the kernel
 * then, as in asyncio. */
int transport_flush_first(PyObject *op);
/* asyncio's close(). */
int transport_close(PyObject *op);
/* connection_lost(error) in the next turn. */
int transport_schedule_lost(PyObject *op);
/* asyncio's _call_connection_lost(exc): with -1 connection_lost() raised. */
int transport_lose(PyObject *op, PyObject *exc);
/* The ring's turn: what was scheduled by transport_start() or _schedule_lost(). */
int transport_soon(LoopObject *loop, struct source *s);
/* The handle of source_kind.handle. */
PyObject *transport_handle(LoopObject *loop, struct source *s, enum source_item item,
                           unsigned mask);

/* Reading begins, unless it is paused or over. */
int transport_start_reading(PyObject *op);
/* Looks for the event, or not any more. The caller holds a reference. */
int transport_watch_reading(PyObject *op, bool wanted);
int transport_watch_writing(PyObject *op, bool wanted);

/* A water mark as a number of bytes: any number; more than the largest size is the
 * largest size, infinity too. */
int transport_limit_size(PyObject *limit, Py_ssize_t *size);
/* Calls pause_writing() or resume_writing() as the size of what waits asks. -1 only
 * for what must come out of the loop. */
int transport_check_high(PyObject *op);
int transport_check_low(PyObject *op);

int transport_set_protocol(PyObject *op, PyObject *protocol);

/* --- extra information (transportextra.c) ------------------------------------- */

/* get_extra_info(name, default): new reference. */
PyObject *transport_extra_info(PyObject *op, PyObject *name, PyObject *fallback);
/* The whole dict; borrowed, or NULL with an exception. */
PyObject *transport_extra(PyObject *op);
/* Notes what can be asked only while the descriptor is open. */
void transport_extra_before_close(PyObject *op);
/* Notes the family and type of a Python socket, and its peer's address. */
int transport_note_socket(PyObject *op);
/* The socket or pipe object over the descriptor, made if need be; borrowed. NULL with
 * an exception. */
PyObject *transport_file(PyObject *op);

/* --- Python's view, shared by all kinds (transportobj.c) ---------------------- */

extern const char Transport_close_doc[], Transport_abort_doc[],
    Transport_is_closing_doc[], Transport_get_extra_info_doc[],
    Transport_set_protocol_doc[], Transport_get_protocol_doc[],
    Transport_pause_reading_doc[], Transport_resume_reading_doc[],
    Transport_is_reading_doc[], Transport_set_write_buffer_limits_doc[],
    Transport_get_write_buffer_limits_doc[], Transport_get_write_buffer_size_doc[];
PyObject *Transport_close(PyObject *op, PyObject *ignored);
PyObject *Transport_abort(PyObject *op, PyObject *ignored);
PyObject *Transport_is_closing(PyObject *op, PyObject *ignored);
PyObject *Transport_get_extra_info(PyObject *op, PyObject *args, PyObject *kwargs);
PyObject *Transport_set_protocol(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
                                 PyObject *kwnames);
PyObject *Transport_get_protocol(PyObject *op, PyObject *ignored);
PyObject *Transport_pause_reading(PyObject *op, PyObject *ignored);
PyObject *Transport_resume_reading(PyObject *op, PyObject *ignored);
PyObject *Transport_is_reading(PyObject *op, PyObject *ignored);
PyObject *Transport_set_write_buffer_limits(PyObject *op, PyObject *args,
                                            PyObject *kwargs);
PyObject *Transport_get_write_buffer_limits(PyObject *op, PyObject *ignored);
PyObject *Transport_get_write_buffer_size(PyObject *op, PyObject *ignored);
PyObject *Transport__call_connection_lost(PyObject *op, PyObject *exc);
PyObject *Transport__fatal_error(PyObject *op, PyObject *args);
PyObject *Transport__force_close(PyObject *op, PyObject *exc);
PyObject *Transport__start_reading(PyObject *op, PyObject *ignored);
PyObject *Transport__soon(PyObject *op, PyObject *ignored);
PyObject *Transport__ready(PyObject *op, PyObject *ignored);
PyObject *Transport__read_ready(PyObject *op, PyObject *ignored);
PyObject *Transport__write_ready(PyObject *op, PyObject *ignored);
PyObject *Transport_repr(PyObject *op);
PyObject *Transport_get__extra(PyObject *op, void *closure);
PyObject *Transport_get__high_water(PyObject *op, void *closure);
PyObject *Transport_get__low_water(PyObject *op, void *closure);
/* closure: the offset of a PyObject *, which NULL reads as None; of a bool. */
PyObject *Transport_get_field(PyObject *op, void *closure);
PyObject *Transport_get_flag(PyObject *op, void *closure);

/* TypeError for what write() does not take. */
int transport_check_data(PyObject *data);

#define TRANSPORT_FIELD(attr, field)                                                   \
    {attr, Transport_get_field, NULL, NULL, (void *)offsetof(TransportData, field)}
#define TRANSPORT_FLAG(attr, field)                                                    \
    {attr, Transport_get_flag, NULL, NULL, (void *)offsetof(TransportData, field)}
#define TRANSPORT_WRITE_GETSET                                                         \
    {"_high_water", Transport_get__high_water, NULL, NULL, NULL},                      \
        {"_low_water", Transport_get__low_water, NULL, NULL, NULL},                    \
        TRANSPORT_FLAG("_protocol_paused", protocol_paused)

/* Of all transports, then of those of sockets besides. */
#define TRANSPORT_SHARED_METHODS                                                       \
    {"is_closing", Transport_is_closing, METH_NOARGS, Transport_is_closing_doc},       \
        {"get_extra_info", (PyCFunction)(void (*)(void))Transport_get_extra_info,      \
         METH_VARARGS | METH_KEYWORDS, Transport_get_extra_info_doc},                  \
        {"set_protocol", (PyCFunction)(void (*)(void))Transport_set_protocol,          \
         METH_FASTCALL | METH_KEYWORDS, Transport_set_protocol_doc},                   \
        {"get_protocol", Transport_get_protocol, METH_NOARGS,                          \
         Transport_get_protocol_doc},                                                  \
        {"_call_connection_lost", Transport__call_connection_lost, METH_O, NULL},      \
        {"_start_reading", Transport__start_reading, METH_NOARGS, NULL},               \
        {"_soon", Transport__soon, METH_NOARGS, NULL},                                 \
        {"_ready", Transport__ready, METH_NOARGS, NULL},                               \
    {                                                                                  \
        "_read_ready", Transport__read_ready, METH_NOARGS, NULL                        \
    }

#define TRANSPORT_COMMON_METHODS                                                       \
    TRANSPORT_SHARED_METHODS,                                                          \
        {"close", Transport_close, METH_NOARGS, Transport_close_doc},                  \
        {"abort", Transport_abort, METH_NOARGS, Transport_abort_doc},                  \
        {"_fatal_error", Transport__fatal_error, METH_VARARGS, NULL},                  \
        {"_force_close", Transport__force_close, METH_O, NULL},                        \
    {                                                                                  \
        "_write_ready", Transport__write_ready, METH_NOARGS, NULL                      \
    }

#define TRANSPORT_READ_METHODS                                                         \
    {"pause_reading", Transport_pause_reading, METH_NOARGS,                            \
     Transport_pause_reading_doc},                                                     \
        {"resume_reading", Transport_resume_reading, METH_NOARGS,                      \
         Transport_resume_reading_doc},                                                \
    {                                                                                  \
        "is_reading", Transport_is_reading, METH_NOARGS, Transport_is_reading_doc      \
    }

#define TRANSPORT_WRITE_METHODS                                                        \
    {"set_write_buffer_limits",                                                        \
     (PyCFunction)(void (*)(void))Transport_set_write_buffer_limits,                   \
     METH_VARARGS | METH_KEYWORDS, Transport_set_write_buffer_limits_doc},             \
        {"get_write_buffer_limits", Transport_get_write_buffer_limits, METH_NOARGS,    \
         Transport_get_write_buffer_limits_doc},                                       \
    {                                                                                  \
        "get_write_buffer_size", Transport_get_write_buffer_size, METH_NOARGS,         \
            Transport_get_write_buffer_size_doc                                        \
    }

/* `_extra`, `_sock` and their kin. */
extern PyGetSetDef Transport_getset[];

#endif
