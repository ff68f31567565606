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

#define HANDLE_FREELIST_MAX HARD_OR(0, 4096)

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
    X(_asyncgen_finalizer_hook)                                                        \
    X(_asyncgen_firstiter_hook)                                                        \
    X(_asyncgens)                                                                      \
    X(_asyncgens_shutdown_called)                                                      \
    X(_args)                                                                           \
    X(_callback)                                                                       \
    X(_cancelled)                                                                      \
    X(_check_default_executor)                                                         \
    X(_check_signal)                                                                   \
    X(_clock_resolution)                                                               \
    X(_default_executor)                                                               \
    X(_ensure_fd_no_transport)                                                         \
    X(_format_handle)                                                                  \
    X(_get_running_loop)                                                               \
    X(_log_destroy_pending)                                                            \
    X(_old_agen_hooks)                                                                 \
    X(_process_events)                                                                 \
    X(_process_self_data)                                                              \
    X(_repr_info)                                                                      \
    X(_run)                                                                            \
    X(_run_once)                                                                       \
    X(_selector)                                                                       \
    X(_set_coroutine_origin_tracking)                                                  \
    X(_set_running_loop)                                                               \
    X(_transports)                                                                     \
    X(_when)                                                                           \
    X(aclose)                                                                          \
    X(add)                                                                             \
    X(add_done_callback)                                                               \
    X(call_at)                                                                         \
    X(call_exception_handler)                                                          \
    X(call_soon_threadsafe)                                                            \
    X(context)                                                                         \
    X(create_task)                                                                     \
    X(data)                                                                            \
    X(debug)                                                                           \
    X(default_exception_handler)                                                       \
    X(discard)                                                                         \
    X(error)                                                                           \
    X(exception)                                                                       \
    X(fileno)                                                                          \
    X(get_context)                                                                     \
    X(get_debug)                                                                       \
    X(logger)                                                                          \
    X(loop)                                                                            \
    X(name)                                                                            \
    X(remove_done_callback)                                                            \
    X(remove_signal_handler)                                                           \
    X(result)                                                                          \
    X(run)                                                                             \
    X(select)                                                                          \
    X(slow_callback_duration)                                                          \
    X(submit)                                                                          \
    X(time)

/* Objects of other modules: field, module, attribute. */
#define STATE_IMPORTS(X)                                                               \
    X(base_events, "asyncio", "base_events")                                           \
    X(events, "asyncio", "events")                                                     \
    X(SelectorEventLoop, "asyncio", "SelectorEventLoop")                               \
    X(run_until_complete_cb, "asyncio.base_events", "_run_until_complete_cb")          \
    X(AsyncioHandle, "asyncio.events", "Handle")                                       \
    X(AsyncioTimerHandle, "asyncio.events", "TimerHandle")                             \
    X(futures, "asyncio", "futures")                                                   \
    X(tasks, "asyncio", "tasks")                                                       \
    X(ensure_future, "asyncio.tasks", "ensure_future")                                 \
    X(isfuture, "asyncio.futures", "isfuture")                                         \
    X(wrap_future, "asyncio.futures", "wrap_future")                                   \
    X(extract_stack, "asyncio.format_helpers", "extract_stack")                        \
    X(format_callback_source, "asyncio.format_helpers", "_format_callback_source")     \
    X(iscoroutine, "asyncio.coroutines", "iscoroutine")                                \
    X(signal_module, "signal", NULL)                                                   \
    X(sighandler_noop, "asyncio.unix_events", "_sighandler_noop")                      \
    X(sys_module, "sys", NULL)

#define STATE_OBJECTS(X)                                                               \
    X(LoopType)                                                                        \
    X(PlainHandleType)                                                                 \
    X(TimerHandleType)                                                                 \
    X(ThreadSafeHandleType)                                                            \
    X(hook_names)                                                                      \
    X(hook_natives)                                                                    \
    X(empty_tuple)                                                                     \
    X(iscoroutinefunction)                                                             \
    X(kw_debug)                                                                        \
    X(kw_loop)

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

    /* Dead handles of the exact type, kept for reuse. They are untracked, their
     * fields are NULL, and they hold no reference to their type. The next one is
     * in the object's first field. */
    PyObject *handle_freelist[HANDLE_KINDS];
    int handle_free[HANDLE_KINDS];
    int handle_free_max; /* 0 once orphaned */

    /* The module is gone. */
    bool orphaned;

    /* How deep handles hold each other where they are being freed just now (in all
     * threads together: a bound, no more). */
    int nested_deallocs;

    /* Living native objects, for live_objects(). */
    Py_ssize_t live_handles[HANDLE_KINDS];
    Py_ssize_t live_loops;

    /* _format_callback_source() takes debug=, as from 3.13 on. */
    bool format_takes_debug;
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

static inline PyTypeObject *
state_handle_type(core_state *st, enum handle_kind kind)
{
    PyObject *types[] = {st->PlainHandleType, st->TimerHandleType,
                         st->ThreadSafeHandleType};
    return (PyTypeObject *)types[kind];
}

#endif
