/* loopservice.c - futures and tasks, the executor, the exception handler, debug mode
 * and asynchronous generators: what a loop does beside running callbacks. */

#include "args.h"
#include "compat.h"
#include "handle.h"
#include "loopobj.h"
#include "task.h"

/* --- futures and tasks -------------------------------------------------------- */

/* The class that asyncio would make, borrowed: asyncio.futures.Future or
 * asyncio.tasks.Task, whatever is there now. asyncio looks it up on each call, and
 * programs put their own there. */
static inline PyObject *
class_in_use_borrow(PyObject *module_dict, PyObject *name)
{
    PyObject *cls = PyDict_GetItemWithError(module_dict, name);
    if (cls == NULL && !PyErr_Occurred()) {
        PyErr_SetObject(PyExc_AttributeError, name);
    }
    return cls;
}

static PyObject *
call_class(PyObject *cls, PyObject *const *args, size_t nargs, PyObject *kwnames)
{
    Py_INCREF(cls);
    PyObject *object = PyObject_Vectorcall(cls, args, nargs, kwnames);
    Py_DECREF(cls);
    return object;
}

const char Loop_create_future_doc[] = PyDoc_STR(
"create_future($self)\n--\n\n"
"Return a new evloop.Future of this loop. Mirrors asyncio.loop.create_future().");

PyObject *
Loop_create_future(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    core_state *st = LOOP(op)->st;
    PyObject *cls = class_in_use_borrow(st->futures_dict, st->str_Future);
    if (cls == NULL) {
        return NULL;
    }
    return LIKELY(cls == st->AsyncioFuture) ? future_new(st, op)
                                            : call_class(cls, &op, 0, st->kw_loop);
}

static inline bool
is_name(PyObject *name, PyObject *interned)
{
    return name == interned || PyUnicode_Compare(name, interned) == 0;
}

/* Puts the keyword arguments where they belong; false: not all are known. */
static bool
take_task_options(core_state *st, PyObject *const *values, PyObject *kwnames,
                  PyObject **coro, struct task_options *options)
{
    Py_ssize_t nkw = kwnames == NULL ? 0 : PyTuple_GET_SIZE(kwnames);
    for (Py_ssize_t i = 0; i < nkw; i++) {
        PyObject *name = PyTuple_GET_ITEM(kwnames, i);
        if (is_name(name, st->str_name)) {
            options->name = values[i];
        }
        else if (is_name(name, st->str_context)) {
            options->context = values[i];
        }
        else if (*coro == NULL && is_name(name, st->str_coro)) {
            *coro = values[i];
        }
        else if (is_name(name, st->str_eager_start)
                 && st->create_task_takes_eager_start) {
            int eager_start = PyObject_IsTrue(values[i]);
            PyErr_Clear(); /* it is asked again */
            if (eager_start < 0) {
                return false;
            }
            options->eager_start = eager_start;
        }
        else {
            return false;
        }
    }
    return true;
}

const char Loop_create_task_doc[] = PyDoc_STR(
"create_task($self, coro, **kwargs)\n--\n\n"
"Schedule the coroutine coro and return its task, an evloop.Task.\n\n"
"kwargs: name (str), context, and what else this version's asyncio takes. A task\n"
"factory is called as this version's asyncio calls it. Raises RuntimeError if the\n"
"loop is closed, TypeError if coro is no coroutine. Mirrors\n"
"asyncio.loop.create_task().");

PyObject *
Loop_create_task(FASTCALL_ARGS)
{
    LoopObject *self = LOOP(op);
    core_state *st = self->st;
    struct task_options options = {.loop = op};
    PyObject *cls = class_in_use_borrow(st->tasks_dict, st->str_Task);
    if (cls == NULL) {
        return NULL;
    }
    PyObject *coro = nargs == 1 ? args[0] : NULL;
    if (LIKELY(cls == st->AsyncioTask && self->task_factory == NULL && nargs <= 1
               && take_task_options(st, args + nargs, kwnames, &coro, &options))
        && coro != NULL) {
        return loop_check_closed(self) < 0 ? NULL : task_new(st, coro, &options);
    }
    /* A factory, another class, or keywords that we do not know: asyncio's own rules,
     * from its source. */
    return loop_call_base(self, "create_task", args, nargs, kwnames);
}

const char Loop_set_task_factory_doc[] = PyDoc_STR(
"set_task_factory($self, factory)\n--\n\n"
"Have create_task() call factory(loop, coro), or with None make its own tasks.\n\n"
"Raises TypeError if factory is neither callable nor None. Mirrors\n"
"asyncio.loop.set_task_factory().");

PyObject *
Loop_set_task_factory(PyObject *op, PyObject *factory)
{
    if (factory != Py_None && !PyCallable_Check(factory)) {
        PyErr_SetString(PyExc_TypeError, "task factory must be a callable or None");
        return NULL;
    }
    PyObject *value = factory == Py_None ? NULL : Py_NewRef(factory);
    Py_XSETREF(LOOP(op)->task_factory, value);
    Py_RETURN_NONE;
}

const char Loop_get_task_factory_doc[] = PyDoc_STR(
"get_task_factory($self)\n--\n\n"
"Return the task factory, or None. Mirrors asyncio.loop.get_task_factory().");

PyObject *
Loop_get_task_factory(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    PyObject *factory = LOOP(op)->task_factory;
    return Py_NewRef(factory ? factory : Py_None);
}

/* --- the executor ------------------------------------------------------------- */

/* The default executor, made on first use as asyncio makes it. */
static PyObject *
default_executor(PyObject *op)
{
    core_state *st = LOOP(op)->st;
    PyObject *executor = PyObject_GetAttr(op, st->str__default_executor);
    PyObject *res = executor == NULL
        ? NULL
        : PyObject_CallMethodNoArgs(op, st->str__check_default_executor);
    if (res == NULL) {
        Py_XDECREF(executor);
        return NULL;
    }
    Py_DECREF(res);
    if (executor != Py_None) {
        return executor;
    }
    Py_DECREF(executor);
    PyObject *futures = PyImport_ImportModule("concurrent.futures");
    PyObject *type = futures == NULL
        ? NULL
        : PyObject_GetAttrString(futures, "ThreadPoolExecutor");
    Py_XDECREF(futures);
    PyObject *kwargs = type == NULL
        ? NULL
        : Py_BuildValue("{s:s}", "thread_name_prefix", "asyncio");
    executor = kwargs == NULL ? NULL : PyObject_Call(type, st->empty_tuple, kwargs);
    Py_XDECREF(kwargs);
    Py_XDECREF(type);
    if (executor != NULL
        && PyObject_SetAttr(op, st->str__default_executor, executor) < 0) {
        Py_CLEAR(executor);
    }
    return executor;
}

const char Loop_run_in_executor_doc[] = PyDoc_STR(
"run_in_executor($self, executor, func, *args)\n--\n\n"
"Run func(*args) in a concurrent.futures.Executor; None is the default one.\n\n"
"Returns a future. Raises RuntimeError if the loop is closed. Mirrors\n"
"asyncio.loop.run_in_executor().");

static const struct args_spec run_in_executor_spec = {
    "BaseEventLoop.run_in_executor", {"executor", "func"}, 2, false};

/* executor.submit(func, *args) */
static PyObject *
submit(core_state *st, PyObject *executor, struct args *a)
{
    PyObject *method = PyObject_GetAttr(executor, st->str_submit);
    if (method == NULL) {
        return NULL;
    }
    PyObject *work = NULL;
    PyObject **argv = PyMem_New(PyObject *, (size_t)a->nrest + 1);
    if (argv == NULL) {
        PyErr_NoMemory();
    }
    else {
        argv[0] = a->lead[1];
        for (Py_ssize_t i = 0; i < a->nrest; i++) {
            argv[1 + i] = a->rest[i];
        }
        work = PyObject_Vectorcall(method, argv, (size_t)a->nrest + 1, NULL);
        PyMem_Free(argv);
    }
    Py_DECREF(method);
    return work;
}

PyObject *
Loop_run_in_executor(FASTCALL_ARGS)
{
    LoopObject *self = LOOP(op);
    core_state *st = self->st;
    struct args a;
    if (args_parse(&run_in_executor_spec, args, nargs, kwnames, &a) < 0) {
        return NULL;
    }
    if (loop_check_closed(self) < 0) {
        return NULL;
    }
    if (self->debug) {
        PyObject *res = PyObject_CallMethod(op, "_check_callback", "Os", a.lead[1],
                                            "run_in_executor");
        if (res == NULL) {
            return NULL;
        }
        Py_DECREF(res);
    }
    PyObject *executor = a.lead[0] == Py_None ? default_executor(op)
                                              : Py_NewRef(a.lead[0]);
    PyObject *work = executor == NULL ? NULL : submit(st, executor, &a);
    Py_XDECREF(executor);
    if (work == NULL) {
        return NULL;
    }
    PyObject *argv[] = {work, op};
    PyObject *future = PyObject_Vectorcall(st->wrap_future, argv, 1, st->kw_loop);
    Py_DECREF(work);
    return future;
}

const char Loop_set_default_executor_doc[] = PyDoc_STR(
"set_default_executor($self, executor)\n--\n\n"
"Set the ThreadPoolExecutor that run_in_executor(None, ...) uses.\n\n"
"Raises TypeError for another type. Mirrors asyncio.loop.set_default_executor().");

PyObject *
Loop_set_default_executor(PyObject *op, PyObject *executor)
{
    PyObject *futures = PyImport_ImportModule("concurrent.futures");
    PyObject *type = futures == NULL
        ? NULL
        : PyObject_GetAttrString(futures, "ThreadPoolExecutor");
    Py_XDECREF(futures);
    int ok = type == NULL ? -1 : PyObject_IsInstance(executor, type);
    Py_XDECREF(type);
    if (ok == 0) {
        PyErr_SetString(PyExc_TypeError,
                        "executor must be ThreadPoolExecutor instance");
    }
    if (ok <= 0
        || PyObject_SetAttr(op, LOOP(op)->st->str__default_executor, executor) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* --- the exception handler ---------------------------------------------------- */

const char Loop_set_exception_handler_doc[] = PyDoc_STR(
"set_exception_handler($self, handler)\n--\n\n"
"Have errors that nobody catches go to handler(loop, context), or with None to\n"
"default_exception_handler().\n\n"
"Raises TypeError if handler is neither callable nor None. Mirrors\n"
"asyncio.loop.set_exception_handler().");

PyObject *
Loop_set_exception_handler(PyObject *op, PyObject *handler)
{
    if (handler != Py_None && !PyCallable_Check(handler)) {
        PyErr_Format(PyExc_TypeError, "A callable object or None is expected, got %R",
                     handler);
        return NULL;
    }
    PyObject *value = handler == Py_None ? NULL : Py_NewRef(handler);
    Py_XSETREF(LOOP(op)->exception_handler, value);
    Py_RETURN_NONE;
}

const char Loop_get_exception_handler_doc[] = PyDoc_STR(
"get_exception_handler($self)\n--\n\n"
"Return the exception handler, or None.\n\n"
"Mirrors asyncio.loop.get_exception_handler().");

PyObject *
Loop_get_exception_handler(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    PyObject *handler = LOOP(op)->exception_handler;
    return Py_NewRef(handler ? handler : Py_None);
}

/* Makes the exception being raised the one being handled, as an except clause does;
 * returns it, and in `*outer` what end_handling() needs. */
static PyObject *
begin_handling(PyObject **outer)
{
    PyObject *exc = PyErr_GetRaisedException();
    *outer = PyErr_GetHandledException();
    PyErr_SetHandledException(exc);
    return exc;
}

static void
end_handling(PyObject *exc, PyObject *outer)
{
    PyErr_SetHandledException(outer);
    Py_XDECREF(outer);
    Py_DECREF(exc);
}

/* Logs the exception being raised; -1 if it is one that must end the loop. */
static int
log_failure(core_state *st, const char *message)
{
    if (PyErr_ExceptionMatches(PyExc_SystemExit)
        || PyErr_ExceptionMatches(PyExc_KeyboardInterrupt)) {
        return -1;
    }
    PyObject *outer;
    PyObject *exc = begin_handling(&outer);
    int rc = state_log(st, "error", Py_BuildValue("(s)", message), true);
    end_handling(exc, outer);
    return rc;
}

static int
call_default_handler(PyObject *op, PyObject *context, const char *on_failure)
{
    core_state *st = LOOP(op)->st;
    PyObject *res = PyObject_CallMethodOneArg(op, st->str_default_exception_handler,
                                              context);
    Py_XDECREF(res);
    return res != NULL ? 0 : log_failure(st, on_failure);
}

#if PY_VERSION_HEX >= 0x030C0000
/* The context of the task, future or handle that failed; a new reference, None if
 * there is none, NULL on error. */
static PyObject *
context_of_failure(core_state *st, PyObject *context)
{
    static const char *const keys[] = {"task", "future", "handle"};
    PyObject *thing = Py_NewRef(Py_None);
    for (size_t i = 0; i < Py_ARRAY_LENGTH(keys) && thing == Py_None; i++) {
        PyObject *found = PyObject_CallMethod(context, "get", "s", keys[i]);
        if (found == NULL) {
            Py_DECREF(thing);
            return NULL;
        }
        Py_SETREF(thing, found);
    }
    if (thing == Py_None) {
        return thing;
    }
    PyObject *method = PyObject_GetAttr(thing, st->str_get_context);
    Py_DECREF(thing);
    if (method == NULL) {
        if (!PyErr_ExceptionMatches(PyExc_AttributeError)) {
            return NULL;
        }
        PyErr_Clear();
        Py_RETURN_NONE;
    }
    PyObject *ctx = PyObject_CallNoArgs(method);
    Py_DECREF(method);
    return ctx;
}
#endif

/* handler(loop, context), from Python 3.12 on in the context of what failed. */
static PyObject *
call_custom_handler(PyObject *op, PyObject *handler, PyObject *context)
{
#if PY_VERSION_HEX >= 0x030C0000
    core_state *st = LOOP(op)->st;
    PyObject *ctx = context_of_failure(st, context);
    if (ctx == NULL) {
        return NULL;
    }
    PyObject *run = ctx == Py_None ? NULL : PyObject_GetAttr(ctx, st->str_run);
    bool without = run == NULL
        && (ctx == Py_None || PyErr_ExceptionMatches(PyExc_AttributeError));
    Py_DECREF(ctx);
    if (!without) {
        PyObject *res = run == NULL
            ? NULL
            : PyObject_CallFunctionObjArgs(run, handler, op, context, NULL);
        Py_XDECREF(run);
        return res;
    }
    PyErr_Clear();
#endif
    return PyObject_CallFunctionObjArgs(handler, op, context, NULL);
}

const char Loop_call_exception_handler_doc[] = PyDoc_STR(
"call_exception_handler($self, context)\n--\n\n"
"Report an error to the exception handler in use.\n\n"
"context: a dict with 'message' and, as they apply, 'exception', 'future', 'task',\n"
"'handle', 'protocol', 'transport', 'socket', 'asyncgen', 'source_traceback'. Errors\n"
"of the handler are logged; only SystemExit and KeyboardInterrupt come out. Mirrors\n"
"asyncio.loop.call_exception_handler().");

PyObject *
Loop_call_exception_handler(PyObject *op, PyObject *context)
{
    LoopObject *self = LOOP(op);
    if (self->exception_handler == NULL) {
        if (call_default_handler(op, context, "Exception in default exception handler")
            < 0) {
            return NULL;
        }
        Py_RETURN_NONE;
    }
    PyObject *handler = Py_NewRef(self->exception_handler);
    PyObject *res = call_custom_handler(op, handler, context);
    Py_DECREF(handler);
    if (res != NULL) {
        Py_DECREF(res);
        Py_RETURN_NONE;
    }
    if (PyErr_ExceptionMatches(PyExc_SystemExit)
        || PyErr_ExceptionMatches(PyExc_KeyboardInterrupt)) {
        return NULL;
    }
    PyObject *outer;
    PyObject *exc = begin_handling(&outer);
    PyObject *report = Py_BuildValue("{s:s,s:O,s:O}", "message",
                                     "Unhandled error in exception handler",
                                     "exception", exc, "context", context);
    int rc = report == NULL
        ? -1
        : call_default_handler(op, report,
                               "Exception in default exception handler while handling "
                               "an unexpected error in custom exception handler");
    Py_XDECREF(report);
    end_handling(exc, outer);
    if (rc < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* --- debug mode --------------------------------------------------------------- */

const char Loop_get_debug_doc[] = PyDoc_STR(
"get_debug($self)\n--\n\n"
"Return whether debug mode is on. Mirrors asyncio.loop.get_debug().");

PyObject *
Loop_get_debug(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    PyObject *debug = LOOP(op)->debug_object;
    return Py_NewRef(debug ? debug : Py_False);
}

const char Loop_set_debug_doc[] = PyDoc_STR(
"set_debug($self, enabled)\n--\n\n"
"Turn debug mode on or off (a bool). Mirrors asyncio.loop.set_debug().");

PyObject *
Loop_set_debug(PyObject *op, PyObject *enabled)
{
    core_state *st = LOOP(op)->st;
    if (PyObject_SetAttrString(op, "_debug", enabled) < 0) {
        return NULL;
    }
    PyObject *running = PyObject_CallMethod(op, "is_running", NULL);
    int is_running = running == NULL ? -1 : PyObject_IsTrue(running);
    Py_XDECREF(running);
    if (is_running > 0) {
        PyObject *set = PyObject_GetAttr(op, st->str__set_coroutine_origin_tracking);
        PyObject *res = set == NULL
            ? NULL
            : PyObject_CallMethodObjArgs(op, st->str_call_soon_threadsafe, set, enabled,
                                         NULL);
        Py_XDECREF(set);
        Py_XDECREF(res);
        is_running = res == NULL ? -1 : 1;
    }
    if (is_running < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* --- asynchronous generators -------------------------------------------------- */

/* self._asyncgens.add(agen) or .discard(agen) */
static int
tell_asyncgens(PyObject *op, PyObject *method, PyObject *agen)
{
    PyObject *set = PyObject_GetAttr(op, LOOP(op)->st->str__asyncgens);
    PyObject *res = set == NULL ? NULL : PyObject_CallMethodOneArg(set, method, agen);
    Py_XDECREF(set);
    Py_XDECREF(res);
    return res == NULL ? -1 : 0;
}

/* Called by the interpreter when a generator is first iterated. */
PyObject *
Loop__asyncgen_firstiter_hook(PyObject *op, PyObject *agen)
{
    core_state *st = LOOP(op)->st;
    PyObject *flag = PyObject_GetAttr(op, st->str__asyncgens_shutdown_called);
    int shut = flag == NULL ? -1 : PyObject_IsTrue(flag);
    Py_XDECREF(flag);
    if (shut < 0
        || (shut
            && PyErr_ResourceWarning(op, 1,
                                     "asynchronous generator %R was scheduled after "
                                     "loop.shutdown_asyncgens() call",
                                     agen)
                < 0)
        || tell_asyncgens(op, st->str_add, agen) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* Called by the interpreter when a generator is about to be finalised. */
PyObject *
Loop__asyncgen_finalizer_hook(PyObject *op, PyObject *agen)
{
    core_state *st = LOOP(op)->st;
    if (tell_asyncgens(op, st->str_discard, agen) < 0) {
        return NULL;
    }
    PyObject *closed = PyObject_CallMethod(op, "is_closed", NULL);
    int is_closed = closed == NULL ? -1 : PyObject_IsTrue(closed);
    Py_XDECREF(closed);
    if (is_closed != 0) {
        return is_closed < 0 ? NULL : Py_NewRef(Py_None);
    }
    PyObject *create = PyObject_GetAttr(op, st->str_create_task);
    PyObject *coro = create == NULL ? NULL
                                    : PyObject_CallMethodNoArgs(agen, st->str_aclose);
    PyObject *res = coro == NULL
        ? NULL
        : PyObject_CallMethodObjArgs(op, st->str_call_soon_threadsafe, create, coro,
                                     NULL);
    Py_XDECREF(coro);
    Py_XDECREF(create);
    if (res == NULL) {
        return NULL;
    }
    Py_DECREF(res);
    Py_RETURN_NONE;
}
