/* loopobj.h - the methods of evloop._core.Loop, room by room.
 *
 * loopobj.c: the object, its attributes, closing, the type
 * looprun.c: running
 * loopcalls.c: call_soon() and its kin, timers, readers and writers
 * loopservice.c: futures, tasks, executor, exception handler, debug, generators
 * looptransport.c: making transports and servers, the table of transports
 * loopview.c: the queues as Python sees them
 * (signal.c has its own) */

#ifndef EVLOOP_LOOPOBJ_H
#define EVLOOP_LOOPOBJ_H

#include "loop.h"

int loop_setup_type(PyObject *module, core_state *st);

/* Gives evloop.EventLoop method descriptors of its own. The interpreter calls those
 * without a look-up (it specialises a call when the descriptor's class is exactly
 * the object's), which those it would inherit from Loop never are. */
int loop_adopt_class(core_state *st, PyObject *cls);

#define FASTCALL_ARGS                                                                  \
    PyObject *op, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames

/* Whether it runs, by its is_running() if that is overridden; -1 on error. */
int looprun_is_running(LoopObject *self);

PyObject *Loop_run_forever(PyObject *op, PyObject *ignored);
PyObject *Loop_run_until_complete(PyObject *op, PyObject *awaitable);
PyObject *Loop_stop(PyObject *op, PyObject *ignored);
PyObject *Loop_is_running(PyObject *op, PyObject *ignored);
PyObject *Loop_is_closed(PyObject *op, PyObject *ignored);
PyObject *Loop_time(PyObject *op, PyObject *ignored);
PyObject *Loop__run_forever_setup(PyObject *op, PyObject *ignored);
PyObject *Loop__run_forever_cleanup(PyObject *op, PyObject *ignored);
PyObject *Loop__run_once(PyObject *op, PyObject *ignored);
PyObject *Loop__check_closed(PyObject *op, PyObject *ignored);
PyObject *Loop__check_running(PyObject *op, PyObject *ignored);

extern const char Loop_run_forever_doc[], Loop_run_until_complete_doc[];
extern const char Loop_stop_doc[], Loop_is_running_doc[], Loop_is_closed_doc[];
extern const char Loop_time_doc[];

PyObject *Loop_call_soon(FASTCALL_ARGS);
PyObject *Loop_call_soon_threadsafe(FASTCALL_ARGS);
PyObject *Loop_call_later(FASTCALL_ARGS);
PyObject *Loop_call_at(FASTCALL_ARGS);
PyObject *Loop_add_reader(FASTCALL_ARGS);
PyObject *Loop_add_writer(FASTCALL_ARGS);
PyObject *Loop_remove_reader(PyObject *op, PyObject *file);
PyObject *Loop_remove_writer(PyObject *op, PyObject *file);
PyObject *Loop__add_reader(FASTCALL_ARGS);
PyObject *Loop__add_writer(FASTCALL_ARGS);
PyObject *Loop__remove_reader(PyObject *op, PyObject *file);
PyObject *Loop__remove_writer(PyObject *op, PyObject *file);
PyObject *Loop__call_soon(PyObject *op, PyObject *args);
PyObject *Loop__add_callback(PyObject *op, PyObject *handle);
PyObject *Loop__add_callback_signalsafe(PyObject *op, PyObject *handle);
PyObject *Loop__timer_handle_cancelled(PyObject *op, PyObject *handle);
PyObject *Loop__write_to_self(PyObject *op, PyObject *ignored);

extern const char Loop_call_soon_doc[], Loop_call_soon_threadsafe_doc[];
extern const char Loop_call_later_doc[], Loop_call_at_doc[];
extern const char Loop_add_reader_doc[], Loop_add_writer_doc[];
extern const char Loop_remove_reader_doc[], Loop_remove_writer_doc[];

PyObject *Loop_create_future(PyObject *op, PyObject *ignored);
PyObject *Loop_create_task(FASTCALL_ARGS);
PyObject *Loop_set_task_factory(PyObject *op, PyObject *factory);
PyObject *Loop_get_task_factory(PyObject *op, PyObject *ignored);
PyObject *Loop_run_in_executor(FASTCALL_ARGS);
PyObject *Loop_set_default_executor(PyObject *op, PyObject *executor);
PyObject *Loop_set_exception_handler(PyObject *op, PyObject *handler);
PyObject *Loop_get_exception_handler(PyObject *op, PyObject *ignored);
PyObject *Loop_call_exception_handler(PyObject *op, PyObject *context);
PyObject *Loop_get_debug(PyObject *op, PyObject *ignored);
PyObject *Loop_set_debug(PyObject *op, PyObject *enabled);
PyObject *Loop__asyncgen_firstiter_hook(PyObject *op, PyObject *agen);
PyObject *Loop__asyncgen_finalizer_hook(PyObject *op, PyObject *agen);

extern const char Loop_create_future_doc[], Loop_create_task_doc[];
extern const char Loop_set_task_factory_doc[], Loop_get_task_factory_doc[];
extern const char Loop_run_in_executor_doc[], Loop_set_default_executor_doc[];
extern const char Loop_set_exception_handler_doc[], Loop_get_exception_handler_doc[];
extern const char Loop_call_exception_handler_doc[];
extern const char Loop_get_debug_doc[], Loop_set_debug_doc[];

PyObject *Loop__make_datagram_transport(FASTCALL_ARGS);
PyObject *Loop__make_socket_transport(FASTCALL_ARGS);
PyObject *Loop__make_read_pipe_transport(FASTCALL_ARGS);
PyObject *Loop__make_write_pipe_transport(FASTCALL_ARGS);
PyObject *Loop__start_serving(FASTCALL_ARGS);
PyObject *Loop__transport_fds(PyObject *op, PyObject *ignored);
PyObject *Loop__transport_hide(PyObject *op, PyObject *args);
PyObject *Loop__transport_of(PyObject *op, PyObject *number);

PyObject *Loop__ready_items(PyObject *op, PyObject *ignored);
PyObject *Loop__ready_append(PyObject *op, PyObject *handle);
PyObject *Loop__ready_replace(PyObject *op, PyObject *handles);
PyObject *Loop__ready_popleft(PyObject *op, PyObject *ignored);
PyObject *Loop__scheduled_items(PyObject *op, PyObject *ignored);
PyObject *Loop__scheduled_add(PyObject *op, PyObject *handle);
PyObject *Loop__watch_items(PyObject *op, PyObject *ignored);
PyObject *Loop__select(PyObject *op, PyObject *timeout);

#endif
