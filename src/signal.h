/* signal.h - UNIX signals as callbacks of the loop.
 *
 * signal.set_wakeup_fd() makes the interpreter write each signal's number into our
 * socket pair; the loop reads it there. `_signal_handlers`, a dict of number to
 * Handle, is the base class's own attribute. */

#ifndef EVLOOP_SIGNAL_H
#define EVLOOP_SIGNAL_H

#include "loop.h"

/* Signal numbers have arrived: makes ready the reader of them, _read_from_self(). As
 * in asyncio the handlers' turn is then the one after the reader's. */
int signal_schedule_read(LoopObject *self);

PyObject *Loop_add_signal_handler(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
                                  PyObject *kwnames);
PyObject *Loop_remove_signal_handler(PyObject *op, PyObject *sig);
PyObject *Loop__handle_signal(PyObject *op, PyObject *sig);
PyObject *Loop__process_self_data(PyObject *op, PyObject *data);
PyObject *Loop__read_from_self(PyObject *op, PyObject *ignored);

extern const char Loop_add_signal_handler_doc[];
extern const char Loop_remove_signal_handler_doc[];

#endif
