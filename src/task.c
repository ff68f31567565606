/* task.c - see task.h: beginning, steps and cancelling. How steps are scheduled and
 * run: taskrun.c. Python's view: taskobj.c.
 *
 * Calls into Python: the coroutine; methods of futures that are not exactly ours;
 * call_soon() of loops that are not plain; the loop's exception handler. After any of
 * them the task may be done, stepped by somebody else, or initialised anew. */

#include "task.h"
#include "compat.h"
#include "handle.h"
#include "registry.h"

/* As asyncio's C code calls it in its messages. */
#if PY_VERSION_HEX >= 0x030E0000
#define STEP_NAME "__step"
#else
#define STEP_NAME "_step"
#endif

/* --- life --------------------------------------------------------------------- */

void
task_reset(PyObject *op)
{
    TaskData *t = TASK(op);
    t->log_destroy_pending = t->must_cancel = false;
    t->queued = TASK_IDLE;
    t->cancels_requested = 0;
    t->number = 0;
    registry_forget(t->base.st, &t->ref);
    Py_CLEAR(*task_coro(op));
    Py_CLEAR(*task_context(op));
    Py_CLEAR(t->waiter);
    Py_CLEAR(t->due);
    Py_CLEAR(t->name);
}

/* --- what the coroutine gave -------------------------------------------------- */

/* Has RuntimeError(message) thrown into the coroutine in the next turn. */
static int
task_fail_soon(PyObject *op, const char *format, PyObject *a, PyObject *b)
{
    PyObject *message = PyUnicode_FromFormat(format, a, b);
    PyObject *exc = message == NULL ? NULL
                                    : PyObject_CallOneArg(PyExc_RuntimeError, message);
    int rc = exc == NULL ? -1 : task_schedule(op, exc);
    Py_XDECREF(message);
    Py_XDECREF(exc);
    return rc;
}

static int
task_fail_other_loop(PyObject *op, PyObject *awaited)
{
    return task_fail_soon(op, "Task %R got Future %R attached to a different loop", op,
                          awaited);
}

static int
task_fail_yield(PyObject *op, PyObject *awaited)
{
    return task_fail_soon(op, "yield was used instead of yield from in task %R with %R",
                          op, awaited);
}

/* awaited.cancel(msg) of any future: its truth, or -1. */
static int
cancel_any(core_state *st, PyObject *awaited, PyObject *msg)
{
    PyObject *argv[] = {awaited, msg ? msg : Py_None};
    PyObject *res = PyObject_VectorcallMethod(st->str_cancel, argv,
                                              2 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    int rc = res == NULL ? -1 : PyObject_IsTrue(res);
    Py_XDECREF(res);
    return rc;
}

static int
cancel_awaited(core_state *st, PyObject *awaited, PyObject *msg)
{
    return future_is_exact(st, awaited) ? future_cancel_lock_held(awaited, msg)
        : task_is_exact(st, awaited)    ? task_cancel_lock_held(awaited, msg)
                                        : cancel_any(st, awaited, msg);
}

/* The callback is in its place. Steals awaited. */
static int
task_has_waiter_steal(PyObject *op, PyObject *awaited)
{
    TaskData *t = TASK(op);
    Py_XSETREF(t->waiter, awaited);
    if (LIKELY(!t->must_cancel)) {
        return 0;
    }
    PyObject *msg = Py_XNewRef(future_cold(&t->base)->cancel_message);
    Py_INCREF(awaited);
    int rc = cancel_awaited(t->base.st, awaited, msg);
    Py_DECREF(awaited);
    Py_XDECREF(msg);
    if (rc > 0) {
        t->must_cancel = false;
    }
    return rc < 0 ? -1 : 0;
}

/* 0: it will be woken; 1: told the task why not; -1: error. */
static int
task_await_native(PyObject *op, PyObject *awaited)
{
    TaskData *t = TASK(op);
    FutureData *f = FUTURE(awaited);
    if (UNLIKELY(f->loop != t->base.loop)) {
        return task_fail_other_loop(op, awaited) < 0 ? -1 : 1;
    }
    if (UNLIKELY(!f->blocking)) {
        return task_fail_yield(op, awaited) < 0 ? -1 : 1;
    }
    if (registry_add_awaited(f->st, awaited, op) < 0) {
        return -1;
    }
    f->blocking = false;
    if (LIKELY(task_is_plain(op))) {
        return future_add_waiter_lock_held(awaited, op);
    }
    PyObject *method = task_wakeup_method(op);
    if (method == NULL) {
        return -1;
    }
    int rc = future_add_callback_lock_held(awaited, method,
                                           task_context_or_none_borrow(op));
    Py_DECREF(method);
    return rc;
}

/* The loop of any future, as asyncio.futures._get_loop() finds it. */
static PyObject *
get_any_loop(core_state *st, PyObject *future)
{
    PyObject *get_loop;
    if (PyObject_GetOptionalAttr(future, st->str_get_loop, &get_loop) < 0) {
        return NULL;
    }
    if (get_loop == NULL) {
        return PyObject_GetAttr(future, st->str__loop);
    }
    PyObject *loop = PyObject_CallNoArgs(get_loop);
    Py_DECREF(get_loop);
    return loop;
}

/* awaited.add_done_callback(wakeup, context=context) */
static int
add_wakeup_to_any(PyObject *op, PyObject *awaited)
{
    TaskData *t = TASK(op);
    core_state *st = t->base.st;
    PyObject *context = Py_NewRef(task_context_or_none_borrow(op));
    PyObject *argv[] = {awaited, task_wakeup_method(op), context};
    PyObject *res = argv[1] == NULL
        ? NULL
        : PyObject_VectorcallMethod(st->str_add_done_callback, argv,
                                    2 | PY_VECTORCALL_ARGUMENTS_OFFSET, st->kw_context);
    Py_XDECREF(argv[1]);
    Py_DECREF(context);
    Py_XDECREF(res);
    return res == NULL ? -1 : 0;
}

/* A future of whatever kind, or what is none. As task_await_native(). */
static int
task_await_any(PyObject *op, PyObject *awaited)
{
    core_state *st = FUTURE(op)->st;
    PyObject *attr;
    if (PyObject_GetOptionalAttr(awaited, st->str__asyncio_future_blocking, &attr)
        < 0) {
        return -1;
    }
    if (attr == NULL || attr == Py_None) {
        Py_XDECREF(attr);
        int rc = PyGen_Check(awaited)
            ? task_fail_soon(op,
                             "yield was used instead of yield from for generator in "
                             "task %R with %R",
                             op, awaited)
            : task_fail_soon(op, "Task got bad yield: %R", awaited, NULL);
        return rc < 0 ? -1 : 1;
    }
    int blocking = PyObject_IsTrue(attr);
    Py_DECREF(attr);
    PyObject *loop = blocking < 0 ? NULL : get_any_loop(st, awaited);
    if (loop == NULL) {
        return -1;
    }
    bool same_loop = loop == FUTURE(op)->loop;
    Py_DECREF(loop);
    if (!same_loop) {
        return task_fail_other_loop(op, awaited) < 0 ? -1 : 1;
    }
    if (!blocking) {
        return task_fail_yield(op, awaited) < 0 ? -1 : 1;
    }
    return registry_add_awaited(st, awaited, op) < 0
            || PyObject_SetAttr(awaited, st->str__asyncio_future_blocking, Py_False) < 0
        ? -1
        : add_wakeup_to_any(op, awaited);
}

/* The coroutine has yielded this. */
static int
task_await_steal(PyObject *op, PyObject *awaited)
{
    int rc;
    if (awaited == Py_None) {
        rc = task_schedule(op, NULL) < 0 ? -1 : 1;
    }
    else if (UNLIKELY(awaited == op)) {
        rc = task_fail_soon(op, "Task cannot await on itself: %R", op, NULL) < 0 ? -1
                                                                                 : 1;
    }
    else {
        rc = LIKELY(future_is_native(FUTURE(op)->st, awaited))
            ? task_await_native(op, awaited)
            : task_await_any(op, awaited);
    }
    if (rc == 0) {
        return task_has_waiter_steal(op, awaited);
    }
    Py_DECREF(awaited);
    return rc < 0 ? -1 : 0;
}

/* The coroutine has returned this. */
static int
task_return(PyObject *op, PyObject *value)
{
    TaskData *t = TASK(op);
    if (LIKELY(!t->must_cancel)) {
        return future_set_result_lock_held(op, value);
    }
    t->must_cancel = false; /* cancelled in its last step */
    PyObject *msg = Py_XNewRef(future_cold(&t->base)->cancel_message);
    int rc = future_cancel_lock_held(op, msg);
    Py_XDECREF(msg);
    return rc < 0 ? -1 : 0;
}

/* The coroutine has raised what is being raised. */
static int
task_raise(PyObject *op)
{
    FutureData *f = FUTURE(op);
    PyObject *exc = PyErr_GetRaisedException();
    if (PyErr_GivenExceptionMatches(exc, f->st->CancelledError)) {
        if (f->failed) { /* meanwhile, by evil ways */
            Py_DECREF(exc);
            return 0;
        }
        Py_XSETREF(future_cold(f)->exception, exc);
        return future_cancel_lock_held(op, NULL) < 0 ? -1 : 0;
    }
    int rc = future_set_exception_lock_held(op, exc);
    if (rc == 0
        && (PyErr_GivenExceptionMatches(exc, PyExc_KeyboardInterrupt)
            || PyErr_GivenExceptionMatches(exc, PyExc_SystemExit))) {
        PyErr_SetRaisedException(exc);
        return -1;
    }
    Py_DECREF(exc);
    return rc;
}

/* --- a step ------------------------------------------------------------------- */

/* throw() has returned NULL: was it the end? */
static PySendResult
fetch_stop_iteration(PyObject **value)
{
    if (!PyErr_ExceptionMatches(PyExc_StopIteration)) {
        return PYGEN_ERROR;
    }
    PyObject *exc = PyErr_GetRaisedException();
    PyObject *stop = ((PyStopIterationObject *)exc)->value;
    *value = Py_NewRef(stop ? stop : Py_None);
    Py_DECREF(exc);
    return PYGEN_RETURN;
}

static int
err_already_done(PyObject *op, PyObject *exc)
{
    PyErr_Format(FUTURE(op)->st->InvalidStateError, STEP_NAME "(): already done: %R %R",
                 op, exc ? exc : Py_None);
    return -1;
}

int
task_step_lock_held(PyObject *op, PyObject *exc)
{
    TaskData *t = TASK(op);
    if (UNLIKELY(t->base.state != FUTURE_PENDING)) {
        return err_already_done(op, exc);
    }
    PyObject *made = NULL;
    if (UNLIKELY(t->must_cancel)) {
        if (exc == NULL
            || !PyErr_GivenExceptionMatches(exc, t->base.st->CancelledError)) {
            exc = made = future_make_cancelled_error(op);
            if (made == NULL) {
                return -1;
            }
        }
        t->must_cancel = false;
    }
    Py_CLEAR(t->waiter);
    PyObject *coro = Py_XNewRef(*task_coro(op)), *value = NULL;
    if (UNLIKELY(coro == NULL)) {
        PyErr_SetString(PyExc_RuntimeError, "uninitialized Task object");
        Py_XDECREF(made);
        return -1;
    }
    PySendResult status;
    if (LIKELY(exc == NULL)) {
        status = PyIter_Send(coro, Py_None, &value);
    }
    else {
        value = PyObject_CallMethodOneArg(coro, t->base.st->str_throw, exc);
        status = value != NULL ? PYGEN_NEXT : fetch_stop_iteration(&value);
        Py_XDECREF(made);
    }
    Py_DECREF(coro);
    if (LIKELY(status == PYGEN_NEXT)) {
        return task_await_steal(op, value);
    }
    if (status == PYGEN_ERROR) {
        return task_raise(op);
    }
    int rc = task_return(op, value);
    Py_DECREF(value);
    return rc;
}

PyObject *
task_take_outcome(PyObject *future)
{
    PyObject *outcome;
    int rc = future_get_outcome_lock_held(future, &outcome);
    if (LIKELY(rc == 0)) {
        Py_DECREF(outcome);
        return NULL;
    }
    return rc > 0 ? outcome : PyErr_GetRaisedException();
}

/* --- cancelling --------------------------------------------------------------- */

/* Down the chain of tasks that wait for tasks, however long. A task that is pending
 * takes the request in any case, so that the answer is known at once; what remains is
 * to find the end of the chain, and to tell it. Tasks that wait for each other in a
 * circle are told from a long chain by a mark that is moved to ever later tasks; there
 * asyncio's recursion ends with this same error. */
int
task_cancel_lock_held(PyObject *op, PyObject *msg)
{
    core_state *st = FUTURE(op)->st;
    FUTURE(op)->log_traceback = false;
    if (FUTURE(op)->state != FUTURE_PENDING) {
        return 0;
    }
    PyObject *mark = op;
    for (size_t steps = 0, limit = 1;; steps++) {
        TaskData *t = TASK(op);
        t->cancels_requested++;
        PyObject *waiter = t->waiter;
        if (waiter != NULL && task_is_exact(st, waiter)
            && FUTURE(waiter)->state == FUTURE_PENDING) {
            if (UNLIKELY(waiter == mark)) {
                PyErr_SetString(PyExc_RecursionError,
                                "maximum recursion depth exceeded: tasks wait for each "
                                "other");
                return -1;
            }
            if (steps == limit) {
                mark = waiter;
                limit *= 2;
            }
            FUTURE(waiter)->log_traceback = false;
            op = waiter;
            continue;
        }
        Py_INCREF(op);
        int rc = 0;
        if (waiter != NULL) {
            Py_INCREF(waiter);
            rc = cancel_awaited(st, waiter, msg);
            Py_DECREF(waiter);
        }
        if (rc == 0) {
            t->must_cancel = true;
            Py_XSETREF(future_cold(&t->base)->cancel_message,
                       Py_NewRef(msg ? msg : Py_None));
        }
        Py_DECREF(op);
        return rc < 0 ? -1 : 1;
    }
}

/* --- beginning ---------------------------------------------------------------- */

/* Whether asyncio takes it for a coroutine; its answer is kept by type. */
static int
is_coroutine(core_state *st, PyObject *coro)
{
    if (LIKELY(PyCoro_CheckExact(coro))) {
        return 1;
    }
    int known = PySet_Contains(st->coroutine_types, (PyObject *)Py_TYPE(coro));
    if (known != 0) {
        return known;
    }
    PyObject *res = PyObject_CallOneArg(st->iscoroutine, coro);
    int rc = res == NULL ? -1 : PyObject_IsTrue(res);
    Py_XDECREF(res);
    if (rc > 0 && PySet_GET_SIZE(st->coroutine_types) < 100
        && PySet_Add(st->coroutine_types, (PyObject *)Py_TYPE(coro)) < 0) {
        return -1;
    }
    return rc;
}

/* The first step at once, inside of whatever runs. */
static int
task_start_eagerly(PyObject *op)
{
    TaskData *t = TASK(op);
    core_state *st = t->base.st;
    PyObject *loop = Py_NewRef(t->base.loop), *context = Py_NewRef(*task_context(op));
    PyObject *previous = registry_swap(st, loop, op);
    if (previous == NULL) {
        Py_DECREF(context);
        Py_DECREF(loop);
        return -1;
    }
    int rc = registry_add_eager(st, op);
    if (rc == 0) {
        rc = PyContext_Enter(context);
        if (rc == 0) {
            Py_BEGIN_CRITICAL_SECTION(op);
            rc = task_step_lock_held(op, NULL);
            Py_END_CRITICAL_SECTION();
            if (PyContext_Exit(context) < 0) {
                rc = -1;
            }
        }
        PyObject *exc = PyErr_GetRaisedException();
        if (registry_remove_eager(st, op) < 0) {
            rc = -1;
        }
        if (exc != NULL) {
            PyErr_SetRaisedException(exc);
        }
    }
    PyObject *exc = PyErr_GetRaisedException();
    PyObject *current = registry_swap(st, loop, previous);
    if (current == NULL) {
        rc = -1;
    }
    Py_XDECREF(current);
    if (t->base.state != FUTURE_PENDING) {
        Py_CLEAR(*task_coro(op));
    }
    else if (PY_VERSION_HEX < 0x030E0000 && registry_add(st, op, &t->ref) < 0) {
        rc = -1;
    }
    if (exc != NULL) {
        PyErr_SetRaisedException(exc);
    }
    Py_DECREF(previous);
    Py_DECREF(context);
    Py_DECREF(loop);
    return rc;
}

/* 1 if loop.is_running() is True. */
static int
is_running(core_state *st, PyObject *loop)
{
    PyObject *res = PyObject_CallMethodNoArgs(loop, st->str_is_running);
    int rc = res == NULL ? -1 : res == Py_True;
    Py_XDECREF(res);
    return rc;
}

static int
task_take_context(PyObject *op, PyObject *context)
{
    if (context == NULL || context == Py_None) {
        context = PyContext_CopyCurrent();
    }
#if PY_VERSION_HEX >= 0x030F0000
    else if (!PyContext_CheckExact(context)) {
        PyErr_Format(PyExc_TypeError, "a contextvars.Context was expected, got %s",
                     Py_TYPE(context)->tp_name);
        return -1;
    }
#endif
    else {
        Py_INCREF(context);
    }
    if (context == NULL) {
        return -1;
    }
    Py_XSETREF(*task_context(op), context);
    return 0;
}

static int
task_take_name(TaskData *t, PyObject *name)
{
    if (name == NULL || name == Py_None) {
        t->number = ++t->base.st->task_counter;
        name = NULL;
    }
    else {
        name = PyUnicode_CheckExact(name) ? Py_NewRef(name) : PyObject_Str(name);
        if (name == NULL) {
            return -1;
        }
    }
    Py_XSETREF(t->name, name);
    return 0;
}

/* The future part is ready. */
static int
task_begin(PyObject *op, PyObject *coro, const struct task_options *options)
{
    TaskData *t = TASK(op);
    core_state *st = t->base.st;
    int rc = is_coroutine(st, coro);
    if (UNLIKELY(rc <= 0)) {
        t->log_destroy_pending = false;
        if (rc == 0) {
            PyErr_Format(PyExc_TypeError, "a coroutine was expected, got %R", coro);
        }
        return -1;
    }
    if (task_take_context(op, options->context) < 0) {
        return -1;
    }
    Py_CLEAR(t->waiter);
    t->must_cancel = false;
    t->log_destroy_pending = true;
    t->cancels_requested = 0;
    Py_XSETREF(*task_coro(op), Py_NewRef(coro));
    if (task_take_name(t, options->name) < 0) {
        return -1;
    }
    /* What ran above may have begun it anew, and failed. */
    if (future_check_alive(op) < 0) {
        return -1;
    }
    if (UNLIKELY(options->eager_start)) {
        PyObject *loop = Py_NewRef(t->base.loop);
        int running = is_running(st, loop);
        Py_DECREF(loop);
        if (running > 0 && future_check_alive(op) < 0) {
            return -1;
        }
        if (running != 0) {
            rc = running < 0 ? -1 : task_start_eagerly(op);
#if PY_VERSION_HEX >= 0x030F0000
            if (rc < 0) {
                t->log_destroy_pending = false;
            }
#endif
            return rc;
        }
    }
    /* Where call_soon() is Python it comes first, as in asyncio. Else there is nobody
     * to notice, and what cannot be listed for lack of memory must not run. */
    LoopObject *loop = future_native_loop(&t->base);
    bool list_first = loop != NULL && loop_is_plain(loop);
    if (list_first && registry_add(st, op, &t->ref) < 0) {
        return -1;
    }
    rc = task_schedule(op, NULL);
    return rc < 0 || list_first ? rc : registry_add(st, op, &t->ref);
}

int
task_init(PyObject *op, PyObject *coro, const struct task_options *options)
{
    return future_init(op, options->loop) < 0 ? -1 : task_begin(op, coro, options);
}

PyObject *
task_new(core_state *st, PyObject *coro, const struct task_options *options)
{
    PyObject *op = future_alloc(st, st->TaskType);
    if (UNLIKELY(op == NULL)) {
        return NULL;
    }
    FutureData *f = FUTURE(op);
    f->loop = Py_NewRef(options->loop);
    f->is_native = true;
    PyObject_GC_Track(op);
    if (UNLIKELY(!loop_is_plain(LOOP(f->loop))) && future_trace(op) < 0) {
        Py_DECREF(op);
        return NULL;
    }
    if (task_begin(op, coro, options) < 0) {
        Py_CLEAR(op);
    }
    return op;
}
