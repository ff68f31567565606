/* registry.h - asyncio's own books: which tasks there are, which one is running, and
 * (from 3.14 on) who awaits whom. all_tasks() and current_task() read them.
 *
 * Where they are differs. Until 3.13: a WeakSet and a dict of asyncio's. From 3.14 on:
 * fields of the thread state and of the base's object, reached at offsets found out at
 * import (or, if they cannot be found, by asyncio's functions). */

#ifndef EVLOOP_REGISTRY_H
#define EVLOOP_REGISTRY_H

#include "base.h"
#include "state.h"

/* Finds out where the books are. */
int registry_setup(PyObject *module, core_state *st);
/* The same for the fields of futures; when the types are ready. */
int registry_inspect_types(core_state *st);

/* --- which tasks there are ---------------------------------------------------- */

/* `ref` is the task's own entry, made on first use; NULL: none yet. */
int registry_add(core_state *st, PyObject *task, PyObject **ref);
/* The task is done. */
int registry_done(core_state *st, PyObject *task);
/* The task is dying, or no more than garbage. */
void registry_forget(core_state *st, PyObject **ref);
/* While an eager task takes its first step. */
int registry_add_eager(core_state *st, PyObject *task);
int registry_remove_eager(core_state *st, PyObject *task);

/* --- which one is running ----------------------------------------------------- */

/* RuntimeError if another task of that loop is running. */
int registry_enter(core_state *st, PyObject *loop, PyObject *task);
/* RuntimeError if it is not that task that is running. */
int registry_leave(core_state *st, PyObject *loop, PyObject *task);
/* Whether it is that task that is running, in the books of this thread. */
bool registry_is_current(core_state *st, PyObject *loop, PyObject *task);
/* Puts the task, or with None none, in the place of what is there. */
int registry_replace(core_state *st, PyObject *loop, PyObject *task);
#if PY_VERSION_HEX < 0x030E0000
/* Notes that no task of the loop is running, without taking the loop out of the book.
 */
int registry_replace_by_none(core_state *st, PyObject *loop);
#endif
/* The same; returns what was there (None: nothing). */
PyObject *registry_swap(core_state *st, PyObject *loop, PyObject *task);

/* --- who awaits whom ---------------------------------------------------------- */

#if PY_VERSION_HEX >= 0x030E0000
/* future: any object; recorded if it is a future of asyncio's or a subclass. */
int registry_add_awaited(core_state *st, PyObject *future, PyObject *task);
int registry_discard_awaited(core_state *st, PyObject *future, PyObject *task);
/* The future, one of ours, is begun anew. */
void registry_reset_awaited(PyObject *future);
#else
static inline int
registry_add_awaited(core_state *Py_UNUSED(st), PyObject *Py_UNUSED(future),
                     PyObject *Py_UNUSED(task))
{
    return 0;
}
static inline int
registry_discard_awaited(core_state *Py_UNUSED(st), PyObject *Py_UNUSED(future),
                         PyObject *Py_UNUSED(task))
{
    return 0;
}
static inline void
registry_reset_awaited(PyObject *Py_UNUSED(future))
{
}
#endif

#endif
