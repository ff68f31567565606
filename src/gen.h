/* gen.h - what our objects that behave as generators have in common with generators. */

#ifndef EVLOOP_GEN_H
#define EVLOOP_GEN_H

#include "base.h"

/* Raises StopIteration(value); None goes without, as the end of any iterator. */
void gen_stop(PyObject *value);
/* The same for send() and throw(), which always raise it. */
void gen_stop_loudly(PyObject *value);

/* throw(type[, value[, traceback]]), of which only the first form is not deprecated:
 * raises what it asks for and returns 0; -1 with TypeError if the arguments are wrong.
 */
int gen_raise_thrown(PyObject *const *args, Py_ssize_t nargs);

#endif
