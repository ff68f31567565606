/* signal.h - UNIX signals as callbacks of the loop.
 *
 * signal.set_wakeup_fd() makes the interpreter write each signal's number into our
 * socket pair; the loop reads it there. `_signal_handlers`, a dict of number to
 * Handle, is the base class's own attribute. */

#ifndef EVLOOP_SIGNAL_H
#define EVLOOP_SIGNAL_H

#include "loop.h"

/* Reads the numbers that have arrived and makes their handles ready. */
int signal_read(LoopObject *self);

PyObject *Loop_add_signal_handler(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
                                  PyObject *kwnames);
PyObject *Loop_remove_signal_handler(PyObject *op, PyObject *sig);
PyObject *Loop__handle_signal(PyObject *op, PyObject *sig);
PyObject *Loop__process_self_data(PyObject *op, PyObject *data);
PyObject *Loop__read_from_self(PyObject *op, PyObject *ignored);

extern const char Loop_add_signal_handler_doc[];
extern const char Loop_remove_signal_handler_doc[];

#endif
