/* state.h - the state of one import of evloop._core.
 *
 * It is not the module's own memory: handles and loops can outlive their module (when
 * all of them are garbage together, or at the interpreter's exit), and use the state
 * to their last moment. So it lives until the module is gone (`orphaned`) and the last
 * of them is.
 *
 * The objects are listed once, here; the fields, traverse and clear come from the
 * list. All are strong references, set by core_exec() before anything uses them. */

#ifndef EVLOOP_STATE_H
#define EVLOOP_STATE_H

#include "base.h"
#include "freelist.h"

#define HANDLE_FREELIST_MAX HARD_OR(0, 4096)
#define FUTURE_FREELIST_MAX HARD_OR(0, 2048)
#define FUTURE_ITER_FREELIST_MAX HARD_OR(0, 256)
#define SOCKCALL_FREELIST_MAX HARD_OR(0, 64)

/* Kinds of handles. The first two are asyncio's; the third is what asyncio's
 * call_soon_threadsafe() returns from Python 3.14 on. */
enum handle_kind { HANDLE_PLAIN, HANDLE_TIMER, HANDLE_THREADSAFE, HANDLE_KINDS };

/* What call_soon_threadsafe() returns. */
#if PY_VERSION_HEX >= 0x030E0000
#define HANDLE_FROM_THREADS HANDLE_THREADSAFE
#else
#define HANDLE_FROM_THREADS HANDLE_PLAIN
#endif

/* Names of methods that we call on loops and other objects, and of attributes. */
#define STATE_NAMES(X)                                                                 \
    X(Future)                                                                          \
    X(Task)                                                                            \
    X(_add_callback)                                                                   \
    X(_args)                                                                           \
    X(_asyncgen_finalizer_hook)                                                        \
    X(_asyncgen_firstiter_hook)                                                        \
    X(_asyncgens)                                                                      \
    X(_asyncgens_shutdown_called)                                                      \
    X(_asyncio_future_blocking)                                                        \
    X(_buffer)                                                                         \
    X(_call_connection_lost)                                                           \
    X(_call_eof_received)                                                              \
    X(_callback)                                                                       \
    X(_cancelled)                                                                      \
    X(_check_default_executor)                                                         \
    X(_check_signal)                                                                   \
    X(_clock_resolution)                                                               \
    X(_default_executor)                                                               \
    X(_do_flush)                                                                       \
    X(_do_read)                                                                        \
    X(_do_shutdown)                                                                    \
    X(_ensure_fd_no_transport)                                                         \
    X(_enter_task)                                                                     \
    X(_eof)                                                                            \
    X(_fatal_error)                                                                    \
    X(_format_handle)                                                                  \
    X(_get_running_loop)                                                               \
    X(_leave_task)                                                                     \
    X(_limit)                                                                          \
    X(_log_destroy_pending)                                                            \
    X(_loop)                                                                           \
    X(_old_agen_hooks)                                                                 \
    X(_on_handshake_complete)                                                          \
    X(_paused)                                                                         \
    X(_process_events)                                                                 \
    X(_python_transports)                                                              \
    X(_process_self_data)                                                              \
    X(_read_ready)                                                                     \
    X(_ready)                                                                          \
    X(_register_task)                                                                  \
    X(_repr_info)                                                                      \
    X(_run)                                                                            \
    X(_run_once)                                                                       \
    X(_selector)                                                                       \
    X(_set_coroutine_origin_tracking)                                                  \
    X(_set_result_unless_cancelled)                                                    \
    X(_set_running_loop)                                                               \
    X(_soon)                                                                           \
    X(_start_reading)                                                                  \
    X(_start_shutdown)                                                                 \
    X(_stream_reader)                                                                  \
    X(_stream_reader_wr)                                                               \
    X(_swap_current_task)                                                              \
    X(_transport)                                                                      \
    X(_unregister_task)                                                                \
    X(_waiter)                                                                         \
    X(_wakeup_waiter)                                                                  \
    X(_when)                                                                           \
    X(_write_ready)                                                                    \
    X(aclose)                                                                          \
    X(add)                                                                             \
    X(add_done_callback)                                                               \
    X(buffer_updated)                                                                  \
    X(call_at)                                                                         \
    X(call_exception_handler)                                                          \
    X(call_soon)                                                                       \
    X(call_soon_threadsafe)                                                            \
    X(cancel)                                                                          \
    X(close)                                                                           \
    X(connection_lost)                                                                 \
    X(connection_made)                                                                 \
    X(context)                                                                         \
    X(coro)                                                                            \
    X(create_task)                                                                     \
    X(data)                                                                            \
    X(datagram_received)                                                               \
    X(data_received)                                                                   \
    X(debug)                                                                           \
    X(default_exception_handler)                                                       \
    X(discard)                                                                         \
    X(do_handshake)                                                                    \
    X(eager_start)                                                                     \
    X(eof_received)                                                                    \
    X(error_received)                                                                  \
    X(exception)                                                                       \
    X(feed_data)                                                                       \
    X(fileno)                                                                          \
    X(future_add_to_awaited_by)                                                        \
    X(future_discard_from_awaited_by)                                                  \
    X(get_buffer)                                                                      \
    X(get_context)                                                                     \
    X(get_debug)                                                                       \
    X(get_event_loop)                                                                  \
    X(get_loop)                                                                        \
    X(is_running)                                                                      \
    X(join)                                                                            \
    X(logger)                                                                          \
    X(loop)                                                                            \
    X(name)                                                                            \
    X(pause_reading)                                                                   \
    X(pause_writing)                                                                   \
    X(pending)                                                                         \
    X(remove_done_callback)                                                            \
    X(remove_signal_handler)                                                           \
    X(result)                                                                          \
    X(resume_writing)                                                                  \
    X(run)                                                                             \
    X(select)                                                                          \
    X(sendto)                                                                          \
    X(set_asyncgen_hooks)                                                              \
    X(slow_callback_duration)                                                          \
    X(submit)                                                                          \
    X(throw)                                                                           \
    X(time)                                                                            \
    X(_ensure_resolved)                                                                \
    X(_warn_unawaited_coroutine)                                                       \
    X(accept)                                                                          \
    X(connect)                                                                         \
    X(family)                                                                          \
    X(gettimeout)                                                                      \
    X(proto)                                                                           \
    X(read)                                                                            \
    X(recvfrom)                                                                        \
    X(setblocking)                                                                     \
    X(type)                                                                            \
    X(write)

/* Objects of other modules: field, module, attribute. */
#define STATE_IMPORTS(X)                                                               \
    X(base_events, "asyncio", "base_events")                                           \
    X(events, "asyncio", "events")                                                     \
    X(SelectorEventLoop, "asyncio", "SelectorEventLoop")                               \
    X(run_until_complete_cb, "asyncio.base_events", "_run_until_complete_cb")          \
    X(AsyncioHandle, "asyncio.events", "Handle")                                       \
    X(AsyncioTimerHandle, "asyncio.events", "TimerHandle")                             \
    X(AsyncioFuture, "_asyncio", "Future")                                             \
    X(AsyncioTask, "_asyncio", "Task")                                                 \
    X(asyncio_c, "_asyncio", NULL)                                                     \
    X(CancelledError, "asyncio.exceptions", "CancelledError")                          \
    X(InvalidStateError, "asyncio.exceptions", "InvalidStateError")                    \
    X(traceback_extract_stack, "traceback", "extract_stack")                           \
    X(future_repr, "asyncio.base_futures", "_future_repr")                             \
    X(task_repr, "asyncio.base_tasks", "_task_repr")                                   \
    X(task_get_stack, "asyncio.base_tasks", "_task_get_stack")                         \
    X(task_print_stack, "asyncio.base_tasks", "_task_print_stack")                     \
    X(futures, "asyncio", "futures")                                                   \
    X(tasks, "asyncio", "tasks")                                                       \
    X(ensure_future, "asyncio.tasks", "ensure_future")                                 \
    X(isfuture, "asyncio.futures", "isfuture")                                         \
    X(wrap_future, "asyncio.futures", "wrap_future")                                   \
    X(extract_stack, "asyncio.format_helpers", "extract_stack")                        \
    X(format_callback_source, "asyncio.format_helpers", "_format_callback_source")     \
    X(iscoroutine, "asyncio.coroutines", "iscoroutine")                                \
    X(AsyncioTransport, "asyncio.transports", "_FlowControlMixin")                     \
    X(AsyncioDatagramTransport, "asyncio.transports", "DatagramTransport")             \
    X(ReadTransport, "asyncio.transports", "ReadTransport")                            \
    X(unix_events, "asyncio", "unix_events")                                           \
    X(UnixReadPipeTransport, "asyncio.unix_events", "_UnixReadPipeTransport")          \
    X(UnixWritePipeTransport, "asyncio.unix_events", "_UnixWritePipeTransport")        \
    X(BufferedProtocol, "asyncio.protocols", "BufferedProtocol")                       \
    X(TransportSocket, "asyncio.trsock", "TransportSocket")                            \
    X(selector_events, "asyncio", "selector_events")                                   \
    X(SelectorSocketTransport, "asyncio.selector_events", "_SelectorSocketTransport")  \
    X(SelectorDatagramTransport, "asyncio.selector_events",                            \
      "_SelectorDatagramTransport")                                                    \
    X(set_result_unless_cancelled, "asyncio.futures", "_set_result_unless_cancelled")  \
    X(StreamReader, "asyncio.streams", "StreamReader")                                 \
    X(StreamReaderProtocol, "asyncio.streams", "StreamReaderProtocol")                 \
    X(socket_type, "socket", "socket")                                                 \
    X(c_socket_type, "_socket", "socket")                                              \
    X(signal_module, "signal", NULL)                                                   \
    X(sighandler_noop, "asyncio.unix_events", "_sighandler_noop")                      \
    X(sys_module, "sys", NULL)

#define STATE_OBJECTS(X)                                                               \
    X(LoopType)                                                                        \
    X(PlainHandleType)                                                                 \
    X(TimerHandleType)                                                                 \
    X(ThreadSafeHandleType)                                                            \
    X(FutureType)                                                                      \
    X(TaskType)                                                                        \
    X(FutureIterType)                                                                  \
    X(SockCallType)                                                                    \
    X(SockPortType)                                                                    \
    X(socket_fileno)                                                                   \
    X(socket_gettimeout)                                                               \
    X(TaskStepType)                                                                    \
    X(TaskRefType)                                                                     \
    X(DatagramTransportType)                                                           \
    X(StreamTransportType)                                                             \
    X(ReadPipeTransportType)                                                           \
    X(WritePipeTransportType)                                                          \
    X(ListenerType)                                                                    \
    X(ServerType)                                                                      \
    X(stream_data_received)                                                            \
    X(stream_feed_data)                                                                \
    X(stream_wakeup_waiter)                                                            \
    X(stream_reader)                                                                   \
    X(futures_dict)                                                                    \
    X(tasks_dict)                                                                      \
    X(coroutine_types)                                                                 \
    X(book)                                                                            \
    X(book_set)                                                                        \
    X(book_iterating)                                                                  \
    X(book_pending_removals)                                                           \
    X(book_current)                                                                    \
    X(book_eager)                                                                      \
    X(book_register)                                                                   \
    X(book_unregister)                                                                 \
    X(book_enter)                                                                      \
    X(book_leave)                                                                      \
    X(book_swap)                                                                       \
    X(book_add_awaited)                                                                \
    X(book_discard_awaited)                                                            \
    X(tls_SSLProtocol)                                                                 \
    X(tls_SSLError)                                                                    \
    X(tls_SSLObject)                                                                   \
    X(tls_MemoryBIO)                                                                   \
    X(tls_again)                                                                       \
    X(tls_app_states)                                                                  \
    X(tls_handshake)                                                                   \
    X(tls_protocol_type)                                                               \
    X(tls_raw_type)                                                                    \
    X(tls_read)                                                                        \
    X(tls_states)                                                                      \
    X(tls_transport_base)                                                              \
    X(tls_transport_type)                                                              \
    X(tls_write)                                                                       \
    X(TLSType)                                                                         \
    X(hook_names)                                                                      \
    X(hook_natives)                                                                    \
    X(empty_tuple)                                                                     \
    X(iscoroutinefunction)                                                             \
    X(kw_context)                                                                      \
    X(kw_debug)                                                                        \
    X(kw_loop)                                                                         \
    X(kw_resolve)

struct loop_object;

struct core_state {
#define FIELD(name) PyObject *str_##name;
    STATE_NAMES(FIELD)
#undef FIELD
#define FIELD(name, module, attr) PyObject *name;
    STATE_IMPORTS(FIELD)
#undef FIELD
#define FIELD(name) PyObject *name;
    STATE_OBJECTS(FIELD)
#undef FIELD

    /* Dead objects of the exact types; closed once orphaned. */
    struct freelist dead_handles[HANDLE_KINDS];
    struct freelist dead_futures[2]; /* futures, then tasks */
    struct freelist dead_iters;      /* of futures */
    struct freelist dead_sockcalls;

    /* What the engine knows of tasks: how to run one that is on the ready ring, what
     * stands for it there in Python's eyes (a handle, which the task gives its place
     * on the ring to; NULL without an exception if it is to be passed over), how to
     * take it off, and how to tell asyncio's books that the one they name does not run
     * any more. */
    int (*task_run)(struct loop_object *loop, PyObject *task); /* 0, -1, or: */
#define TASK_RUN_LATER -2 /* MemoryError is raised; it is queued still */
    PyObject *(*task_as_handle)(PyObject *task);
    void (*task_unqueue)(PyObject *task);
    void (*task_leave)(struct loop_object *loop);
    /* The same for a moment, after which most likely the next task is stepped: it costs
     * no allocation. */
    void (*task_pause)(struct loop_object *loop);

    /* What gives received data to a protocol of the type `tls_protocol_type`. The data
     * stay as they are until it returns. */
    int (*feed)(PyObject *protocol, const char *data, Py_ssize_t size);
    /* What has such a protocol write what it holds back until a turn's end. */
    int (*feed_flush)(PyObject *protocol);
    bool tls_direct; /* new connections use the direct engine (tlsengine.h) */

    /* The version of socket.socket's type when its methods were last looked at, and
     * were its own. */
    unsigned socket_tag;

    uint64_t task_counter; /* of tasks without a name */
    Py_ssize_t future_dict_offset; /* of the instance's __dict__; may be negative */

    /* The module is gone. */
    bool orphaned;

    /* How deep handles hold each other where they are being freed just now (in all
     * threads together: a bound, no more). */
    int nested_deallocs;

    /* Living native objects, for live_objects(). */
    Py_ssize_t live_handles[HANDLE_KINDS];
    Py_ssize_t live_loops;
    Py_ssize_t live_futures[2]; /* futures, then tasks */
    Py_ssize_t live_iters;
    Py_ssize_t live_sockcalls;
    Py_ssize_t live_ports;
    Py_ssize_t live_transports;
    Py_ssize_t live_listeners;
    Py_ssize_t live_tls;

    /* The version tags of asyncio's StreamReader and StreamReaderProtocol when they
     * were found as asyncio made them; 0: not found so. */
    unsigned stream_tags[2];

    /* _format_callback_source() takes debug=, as from 3.13 on. */
    bool format_takes_debug;
    /* Where a socket object keeps its descriptor, an int; 0: not known. */
    Py_ssize_t socket_fd_offset;
    /* asyncio's Server._attach() and _detach() take the transport, as from 3.13 on. */
    bool server_takes_transport;
    /* loop.create_task() takes eager_start=, as from some 3.13 on. */
    bool create_task_takes_eager_start;
};

typedef struct core_state core_state;

extern struct PyModuleDef core_module;

/* The state of a module of ours. */
static inline core_state *
state_of(PyObject *module)
{
    return *(core_state **)PyModule_GetState(module);
}

/* Clears and frees an orphaned state that no object uses any more. To be called when
 * an object that is not kept for reuse has died, after the last use of its state. */
void state_free_if_dead(core_state *st);

/* asyncio's logger.method(*args), with exc_info=True or without. Steals `args`, a
 * tuple, or NULL with an exception set. */
int state_log(core_state *st, const char *method, PyObject *args, bool exc_info);

static inline PyTypeObject *
state_handle_type(core_state *st, enum handle_kind kind)
{
    PyObject *types[] = {st->PlainHandleType, st->TimerHandleType,
                         st->ThreadSafeHandleType};
    return (PyTypeObject *)types[kind];
}

#endif
