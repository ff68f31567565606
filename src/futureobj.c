/* futureobj.c - Future as Python sees it: methods, attributes and types. What they do:
 * future.c. */

#include "args.h"
#include "compat.h"
#include "future.h"
#include "task.h"

/* --- methods ------------------------------------------------------------------ */

static int
Future_init(PyObject *op, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"loop", NULL};
    PyObject *loop = NULL;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|$O:Future", names, &loop)) {
        return -1;
    }
    return future_init(op, loop);
}

const char Future_result_doc[] = PyDoc_STR(
"result($self)\n--\n\n"
"Return the result, or raise the exception that was set.\n\n"
"Raises CancelledError if cancelled, InvalidStateError if not done. Mirrors\n"
"asyncio.Future.result().");

PyObject *
Future_result(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    PyObject *result;
    Py_BEGIN_CRITICAL_SECTION(op);
    result = future_result(op);
    Py_END_CRITICAL_SECTION();
    return result;
}

const char Future_exception_doc[] = PyDoc_STR(
"exception($self)\n--\n\n"
"Return the exception that was set, or None.\n\n"
"Raises CancelledError if cancelled, InvalidStateError if not done. Mirrors\n"
"asyncio.Future.exception().");

PyObject *
Future_exception(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    FutureData *f = FUTURE(op);
    if (f->loop == NULL || f->state == FUTURE_PENDING) {
        PyErr_SetString(f->st->InvalidStateError,
                        f->loop == NULL ? "Future object is not initialized."
                                        : "Exception is not set.");
        return NULL;
    }
    if (f->state == FUTURE_CANCELLED) {
        return Future_result(op, NULL); /* raises */
    }
    if (!f->failed) {
        Py_RETURN_NONE;
    }
    f->log_traceback = false;
    return Py_NewRef(future_cold(f)->exception);
}

PyDoc_STRVAR(Future_set_result_doc,
"set_result($self, result, /)\n--\n\n"
"Mark the future done, with a result.\n\n"
"Raises InvalidStateError if it is done. Mirrors asyncio.Future.set_result().");

static PyObject *
Future_set_result(PyObject *op, PyObject *result)
{
    int rc;
    Py_BEGIN_CRITICAL_SECTION(op);
    rc = future_set_result_lock_held(op, result);
    Py_END_CRITICAL_SECTION();
    return rc < 0 ? NULL : Py_NewRef(Py_None);
}

PyDoc_STRVAR(Future_set_exception_doc,
"set_exception($self, exception, /)\n--\n\n"
"Mark the future done, with an exception (an instance, or a class to make one of).\n\n"
"Raises InvalidStateError if it is done, TypeError if that is no exception. Mirrors\n"
"asyncio.Future.set_exception().");

static PyObject *
Future_set_exception(PyObject *op, PyObject *exc)
{
    int rc;
    Py_BEGIN_CRITICAL_SECTION(op);
    rc = future_set_exception_lock_held(op, exc);
    Py_END_CRITICAL_SECTION();
    return rc < 0 ? NULL : Py_NewRef(Py_None);
}

const char Future_add_done_callback_doc[] = PyDoc_STR(
"add_done_callback($self, fn, /, *, context=<unrepresentable>)\n--\n\n"
"Have the loop call fn(future) when the future is done; soon, if it is done now.\n\n"
"context: the contextvars.Context to call it in, a copy of the current one if not\n"
"given. Mirrors asyncio.Future.add_done_callback().");

PyObject *
Future_add_done_callback(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
                         PyObject *kwnames)
{
    core_state *st = FUTURE(op)->st;
    PyObject *context = NULL;
    Py_ssize_t nkw = kwnames == NULL ? 0 : PyTuple_GET_SIZE(kwnames);
    if (nargs != 1) {
        PyErr_Format(PyExc_TypeError,
                     "add_done_callback() takes exactly 1 positional argument "
                     "(%zd given)",
                     nargs);
        return NULL;
    }
    for (Py_ssize_t i = 0; i < nkw; i++) {
        PyObject *name = PyTuple_GET_ITEM(kwnames, i);
        if (PyUnicode_Compare(name, st->str_context) != 0) {
            PyErr_Format(PyExc_TypeError,
                         "add_done_callback() got an unexpected keyword argument '%U'",
                         name);
            return NULL;
        }
        context = args[nargs + i];
    }
    context = context == NULL ? PyContext_CopyCurrent() : Py_NewRef(context);
    if (context == NULL) {
        return NULL;
    }
    int rc;
    Py_BEGIN_CRITICAL_SECTION(op);
    rc = future_add_callback_lock_held(op, args[0], context);
    Py_END_CRITICAL_SECTION();
    Py_DECREF(context);
    return rc < 0 ? NULL : Py_NewRef(Py_None);
}

const char Future_remove_done_callback_doc[] = PyDoc_STR(
"remove_done_callback($self, fn, /)\n--\n\n"
"Forget all callbacks that are equal to fn; return how many they were (int).\n\n"
"Mirrors asyncio.Future.remove_done_callback().");

PyObject *
Future_remove_done_callback(PyObject *op, PyObject *fn)
{
    Py_ssize_t removed = future_check_alive(op);
    if (removed == 0) {
        Py_BEGIN_CRITICAL_SECTION(op);
        removed = future_remove_callback_lock_held(op, fn);
        Py_END_CRITICAL_SECTION();
    }
    return removed < 0 ? NULL : PyLong_FromSsize_t(removed);
}

PyObject *
future_parse_msg(const char *method, PyObject *const *args, Py_ssize_t nargs,
                 PyObject *kwnames)
{
    Py_ssize_t nkw = kwnames == NULL ? 0 : PyTuple_GET_SIZE(kwnames);
    if (nargs + nkw > 1) {
        PyErr_Format(PyExc_TypeError, "%s() takes at most 1 argument (%zd given)",
                     method, nargs + nkw);
        return NULL;
    }
    if (nkw == 1
        && PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(kwnames, 0), "msg") != 0) {
        PyErr_Format(PyExc_TypeError, "%s() got an unexpected keyword argument '%U'",
                     method, PyTuple_GET_ITEM(kwnames, 0));
        return NULL;
    }
    return nargs + nkw == 1 ? args[0] : Py_None;
}

PyDoc_STRVAR(Future_cancel_doc,
"cancel($self, /, msg=None)\n--\n\n"
"Mark the future cancelled, unless it is done; return whether it was pending.\n\n"
"msg: the argument of the CancelledError to be raised. Mirrors\n"
"asyncio.Future.cancel().");

static PyObject *
Future_cancel(PyObject *op, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    PyObject *msg = future_parse_msg("cancel", args, nargs, kwnames);
    int rc = msg == NULL ? -1 : future_check_alive(op);
    if (rc == 0) {
        Py_BEGIN_CRITICAL_SECTION(op);
        rc = future_cancel_lock_held(op, msg);
        Py_END_CRITICAL_SECTION();
    }
    return rc < 0 ? NULL : PyBool_FromLong(rc);
}

const char Future_cancelled_doc[] = PyDoc_STR(
"cancelled($self)\n--\n\n"
"Return whether the future was cancelled. Mirrors asyncio.Future.cancelled().");

PyObject *
Future_cancelled(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    FutureData *f = FUTURE(op);
    return PyBool_FromLong(f->loop != NULL && f->state == FUTURE_CANCELLED);
}

const char Future_done_doc[] = PyDoc_STR(
"done($self)\n--\n\n"
"Return whether the future has a result or an exception, or was cancelled.\n\n"
"Mirrors asyncio.Future.done().");

PyObject *
Future_done(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    FutureData *f = FUTURE(op);
    return PyBool_FromLong(f->loop != NULL && f->state != FUTURE_PENDING);
}

const char Future_get_loop_doc[] = PyDoc_STR(
"get_loop($self)\n--\n\n"
"Return the event loop. Mirrors asyncio.Future.get_loop().");

PyObject *
Future_get_loop(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    return future_check_alive(op) < 0 ? NULL : Py_NewRef(FUTURE(op)->loop);
}

PyObject *
Future__make_cancelled_error(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    return future_make_cancelled_error(op);
}

static PyObject *
Future_repr(PyObject *op)
{
    return future_check_alive(op) < 0
        ? NULL
        : PyObject_CallOneArg(FUTURE(op)->st->future_repr, op);
}

/* --- attributes that libraries read ------------------------------------------- */

PyObject *
Future_get__state(PyObject *op, void *Py_UNUSED(closure))
{
    static const char *const names[] = {"PENDING", "CANCELLED", "FINISHED"};
    return future_check_alive(op) < 0
        ? NULL
        : PyUnicode_InternFromString(names[FUTURE(op)->state]);
}

PyObject *
Future_get_blocking(PyObject *op, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(FUTURE(op)->loop != NULL && FUTURE(op)->blocking);
}

int
Future_set_blocking(PyObject *op, PyObject *value, void *Py_UNUSED(closure))
{
    bool deletion_first = PY_VERSION_HEX >= 0x030E0000;
    if ((deletion_first && args_refuse_deletion(value) < 0)
        || future_check_alive(op) < 0 || args_refuse_deletion(value) < 0) {
        return -1;
    }
    int rc = PyObject_IsTrue(value);
    if (rc < 0) {
        return -1;
    }
    FUTURE(op)->blocking = rc;
    return 0;
}

PyObject *
Future_get_log_traceback(PyObject *op, void *Py_UNUSED(closure))
{
    return future_check_alive(op) < 0 ? NULL
                                      : PyBool_FromLong(FUTURE(op)->log_traceback);
}

int
Future_set_log_traceback(PyObject *op, PyObject *value, void *Py_UNUSED(closure))
{
    int rc = args_refuse_deletion(value) < 0 ? -1 : PyObject_IsTrue(value);
    if (rc > 0) {
        PyErr_SetString(PyExc_ValueError, "_log_traceback can only be set to False");
    }
    if (rc != 0) {
        return -1;
    }
    FUTURE(op)->log_traceback = false;
    return 0;
}

PyObject *
Future_get_callbacks(PyObject *op, void *Py_UNUSED(closure))
{
    return future_check_alive(op) < 0 ? NULL : future_list_callbacks(op);
}

static PyObject *
new_or_none(PyObject *value)
{
    return Py_NewRef(value ? value : Py_None);
}

PyObject *
Future_get__loop(PyObject *op, void *Py_UNUSED(closure))
{
    return new_or_none(FUTURE(op)->loop);
}

PyObject *
Future_get__result(PyObject *op, void *Py_UNUSED(closure))
{
    FutureData *f = FUTURE(op);
    return future_check_alive(op) < 0 ? NULL
                                      : new_or_none(f->failed ? NULL : f->result);
}

PyObject *
Future_get__exception(PyObject *op, void *Py_UNUSED(closure))
{
    FutureData *f = FUTURE(op);
    return future_check_alive(op) < 0
        ? NULL
        : new_or_none(f->failed ? future_cold(f)->exception : NULL);
}

PyObject *
Future_get__source_traceback(PyObject *op, void *Py_UNUSED(closure))
{
    return new_or_none(future_cold(FUTURE(op))->source_traceback);
}

PyObject *
Future_get__cancel_message(PyObject *op, void *Py_UNUSED(closure))
{
    return new_or_none(future_cold(FUTURE(op))->cancel_message);
}

int
Future_set_cancel_message(PyObject *op, PyObject *value, void *Py_UNUSED(closure))
{
    if (args_refuse_deletion(value) < 0) {
        return -1;
    }
    Py_XSETREF(future_cold(FUTURE(op))->cancel_message, Py_NewRef(value));
    return 0;
}

static PyGetSetDef Future_getset[] = {FUTURE_COMMON_GETSET, {NULL}};

static PyMethodDef Future_methods[] = {
    FUTURE_COMMON_METHODS,
    {"set_result", Future_set_result, METH_O, Future_set_result_doc},
    {"set_exception", Future_set_exception, METH_O, Future_set_exception_doc},
    {"cancel", (PyCFunction)(void (*)(void))Future_cancel,
     METH_FASTCALL | METH_KEYWORDS, Future_cancel_doc},
    {NULL},
};

/* --- types -------------------------------------------------------------------- */

PyDoc_STRVAR(Future_doc,
"Future(*, loop=None)\n--\n\n"
"A result that is yet to come; a native asyncio.Future.\n\n"
"loop: an event loop, or None for the current one.");

static PyType_Slot Future_slots[] = {
    {Py_tp_new, Future_new},
    {Py_tp_init, Future_init},
    {Py_tp_dealloc, Future_dealloc},
    {Py_tp_traverse, Future_traverse},
    {Py_tp_clear, Future_clear},
    {Py_tp_finalize, Future_finalize},
    {Py_tp_repr, Future_repr},
    {Py_tp_iter, Future_iter},
    {Py_am_await, Future_iter},
    {Py_tp_methods, Future_methods},
    {Py_tp_getset, Future_getset},
    {Py_tp_doc, (void *)Future_doc},
    {0, NULL},
};

Py_ssize_t
future_size(bool is_task, size_t data)
{
    Py_ssize_t cold = future_cold_offset[is_task];
    return future_offset
        + (cold < 0 ? (Py_ssize_t)data : cold + (Py_ssize_t)sizeof(struct future_cold));
}

/* Where our structs begin, and where instances keep their __dict__. */
static int
find_offset(core_state *st)
{
    Py_ssize_t future = ((PyTypeObject *)st->AsyncioFuture)->tp_basicsize;
    Py_ssize_t task = ((PyTypeObject *)st->AsyncioTask)->tp_basicsize;
    Py_ssize_t offset = future > task ? future : task;
    offset = (offset + (Py_ssize_t) _Alignof(max_align_t) - 1)
        & ~((Py_ssize_t) _Alignof(max_align_t) - 1);
    if (future_offset != 0 && future_offset != offset) {
        PyErr_SetString(PyExc_ImportError,
                        "asyncio's futures differ between two interpreters");
        return -1;
    }
    if (future_offset == 0) {
        const Py_ssize_t cold = sizeof(struct future_cold);
        future_offset = offset;
        future_cold_offset[0] = offset - future >= cold
            ? -cold
            : (Py_ssize_t)sizeof(FutureData);
        future_cold_offset[1] = sizeof(TaskData);
    }
    return 0;
}

static int
find_dict_offset(core_state *st)
{
    PyObject *op = future_alloc(st, st->FutureType);
    if (op == NULL) {
        return -1;
    }
    PyObject_GC_Track(op);
    PyObject **dict = _PyObject_GetDictPtr(op);
    if (dict == NULL) {
        PyErr_SetString(PyExc_ImportError, "asyncio's futures have no __dict__");
    }
    else {
        st->future_dict_offset = (char *)dict - (char *)op;
    }
    Py_DECREF(op);
    return dict == NULL ? -1 : 0;
}

/* From 3.14 on instances keep their first attributes behind our struct, where we could
 * not tell whether there are any. */
void
future_keep_attributes_in_dict(PyObject *type)
{
#ifdef Py_TPFLAGS_INLINE_VALUES
    if (type != NULL) {
        ((PyTypeObject *)type)->tp_flags &= ~(unsigned long)Py_TPFLAGS_INLINE_VALUES;
    }
#else
    (void)type;
#endif
}

int
future_setup_types(PyObject *module, core_state *st)
{
    if (find_offset(st) < 0) {
        return -1;
    }
    PyType_Spec spec = {
        .name = "evloop.Future",
        .basicsize = (int)future_size(0, sizeof(FutureData)),
        .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC
            | Py_TPFLAGS_IMMUTABLETYPE,
        .slots = Future_slots,
    };
    st->FutureType = PyType_FromModuleAndSpec(module, &spec, st->AsyncioFuture);
    future_keep_attributes_in_dict(st->FutureType);
    if (st->FutureType == NULL || future_setup_iter_type(module, st) < 0
        || task_setup_type(module, st) < 0) {
        return -1;
    }
    return find_dict_offset(st);
}
