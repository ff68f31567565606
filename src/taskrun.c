/* taskrun.c - how the steps of a task are scheduled and run: as the task itself on the
 * ready ring of a plain loop, or by call_soon() as asyncio's are. */

#include "compat.h"
#include "handle.h"
#include "registry.h"
#include "task.h"

static PyObject *Task_wakeup(PyObject *op, PyObject *future);

static PyMethodDef wakeup_def = {"task_wakeup", Task_wakeup, METH_O, NULL};

PyObject *
task_wakeup_method(PyObject *op)
{
    return PyCFunction_New(&wakeup_def, op);
}

/* --- scheduling --------------------------------------------------------------- */

static inline bool
task_may_queue(PyObject *op)
{
    TaskData *t = TASK(op);
    LoopObject *loop = future_native_loop(&t->base);
    return LIKELY(t->queued == TASK_IDLE && loop != NULL && task_is_plain(op)
                  && loop_is_plain(loop));
}

static inline int
task_queue(PyObject *op, enum task_queued how, PyObject *due)
{
    TaskData *t = TASK(op);
    if (UNLIKELY(loop_push(LOOP(t->base.loop), op) < 0)) {
        return -1;
    }
    t->queued = (uint8_t)how;
    assert(t->due == NULL);
    t->due = Py_XNewRef(due);
    return 0;
}

/* By call_soon(), as a callable; steals that, which may be NULL. */
static int
task_call_soon_steal(PyObject *op, PyObject *method, PyObject *arg)
{
    TaskData *t = TASK(op);
    int rc = method == NULL || future_check_alive(op) < 0
        ? -1
        : future_call_soon(t->base.st, t->base.loop, method, arg,
                           task_context_or_none_borrow(op));
    Py_XDECREF(method);
    return rc;
}

int
task_schedule(PyObject *op, PyObject *exc)
{
    return task_may_queue(op)
        ? task_queue(op, TASK_STEP, exc)
        : task_call_soon_steal(op, task_step_method(op, exc), NULL);
}

int
task_wake(PyObject *op, PyObject *future)
{
    return task_may_queue(op)
        ? task_queue(op, TASK_WAKE, future)
        : task_call_soon_steal(op, task_wakeup_method(op), future);
}

static void
task_unqueue(PyObject *op)
{
    TASK(op)->queued = TASK_IDLE;
    Py_CLEAR(TASK(op)->due);
}

/* The handle that asyncio would have in its ready queue. */
static PyObject *
task_handle(PyObject *op, PyObject *loop, enum task_queued how, PyObject *due)
{
    TaskData *t = TASK(op);
    bool wake = how == TASK_WAKE;
    PyObject *method = wake ? task_wakeup_method(op) : task_step_method(op, due);
    if (method == NULL) {
        return NULL;
    }
    PyObject *handle = handle_new(t->base.st, HANDLE_PLAIN, loop, method, &due, wake,
                                  *task_context(op));
    Py_DECREF(method);
    return handle;
}

static PyObject *
task_as_handle(PyObject *op)
{
    TaskData *t = TASK(op);
    PyObject *loop = Py_NewRef(t->base.loop ? t->base.loop : Py_None), *due = t->due;
    enum task_queued how = t->queued;
    /* To make objects can run Python code (until 3.11), which may queue it anew. */
    t->queued = TASK_IDLE;
    t->due = NULL;
    PyObject *handle = how == TASK_IDLE ? NULL : task_handle(op, loop, how, due);
    if (UNLIKELY(handle == NULL) && t->queued == TASK_IDLE) {
        t->queued = (uint8_t)how;
        t->due = Py_XNewRef(due);
    }
    Py_XDECREF(due);
    Py_DECREF(loop);
    return handle;
}

int
task_step_strictly(PyObject *op, PyObject *exc)
{
    core_state *st = FUTURE(op)->st;
    if (future_check_alive(op) < 0) {
        return -1;
    }
    PyObject *loop = Py_NewRef(FUTURE(op)->loop);
    int rc = registry_enter(st, loop, op);
    if (rc == 0) {
        Py_BEGIN_CRITICAL_SECTION(op);
        rc = task_step_lock_held(op, exc);
        Py_END_CRITICAL_SECTION();
        PyObject *raised = PyErr_GetRaisedException();
        if (registry_leave(st, loop, op) < 0) {
            rc = -1;
        }
        if (raised != NULL) {
            PyErr_SetRaisedException(raised);
        }
    }
    Py_DECREF(loop);
    return rc;
}

/* The callable of a wake-up by a future of any kind: task_wakeup(future). */
static PyObject *
Task_wakeup(PyObject *op, PyObject *future)
{
    core_state *st = FUTURE(op)->st;
    if (registry_discard_awaited(st, future, op) < 0) {
        return NULL;
    }
    PyObject *exc = NULL;
    if (future_is_native(st, future)) {
        exc = task_take_outcome(future);
    }
    else {
        PyObject *res = PyObject_CallMethodNoArgs(future, st->str_result);
        Py_XDECREF(res);
        exc = res == NULL ? PyErr_GetRaisedException() : NULL;
    }
    int rc = task_step_strictly(op, exc);
    Py_XDECREF(exc);
    return rc < 0 ? NULL : Py_NewRef(Py_None);
}

/* --- steps from the ready ring ------------------------------------------------ */

/* Between two steps in a row the books are not cleared, but overwritten; the loop
 * calls task_leave() before anything else runs. */
static int
task_enter(LoopObject *loop, PyObject *op)
{
    PyObject *old = loop->entered;
    if (old == op) {
        return 0;
    }
    if (old != NULL && Py_REFCNT(old) <= 2) { /* ours and that of the books */
        loop_leave_task(loop);
        old = NULL;
    }
    core_state *st = loop->st;
    int rc = old == NULL ? registry_enter(st, (PyObject *)loop, op)
                         : registry_replace(st, (PyObject *)loop, op);
    if (LIKELY(rc == 0)) {
        loop->entered = Py_NewRef(op);
        Py_XDECREF(old);
    }
    return rc;
}

static void
task_leave(LoopObject *loop)
{
    PyObject *op = loop->entered;
    loop->entered = NULL;
    PyObject *exc = PyErr_GetRaisedException();
    if (registry_leave(loop->st, (PyObject *)loop, op) < 0) {
        PyErr_WriteUnraisable((PyObject *)loop);
    }
    Py_DECREF(op);
    PyErr_SetRaisedException(exc);
}

/* Until 3.13, to take the loop out of the dict and to put it back makes the dict grow
 * anew every few times; that nothing runs is as well said by None. */
static void
task_pause(LoopObject *loop)
{
#if PY_VERSION_HEX < 0x030E0000
    PyObject *op = loop->entered;
    if (op != Py_None && registry_replace_by_none(loop->st, (PyObject *)loop) == 0) {
        loop->entered = Py_NewRef(Py_None);
        Py_DECREF(op);
        return;
    }
    PyErr_Clear();
#endif
    task_leave(loop);
}

/* Enters the task's context, and asyncio's books. In a turn inside of a step, the books
 * are left to task_step_strictly(). */
static int
task_enter_all(LoopObject *loop, PyObject *op, PyObject *context)
{
    int rc = PyContext_Enter(context);
    if (LIKELY(rc == 0) && LIKELY(!loop->stepping)
        && UNLIKELY(task_enter(loop, op) < 0)) {
        PyObject *exc = PyErr_GetRaisedException();
        (void)PyContext_Exit(context);
        PyErr_SetRaisedException(exc);
        rc = -1;
    }
    return rc;
}

static int
task_step_entered(LoopObject *loop, PyObject *op, PyObject *exc)
{
    if (UNLIKELY(loop->stepping)) {
        return task_step_strictly(op, exc);
    }
    int rc;
    loop->stepping = true;
    Py_BEGIN_CRITICAL_SECTION(op);
    rc = task_step_lock_held(op, exc);
    Py_END_CRITICAL_SECTION();
    loop->stepping = false;
    if (UNLIKELY(!registry_is_current(loop->st, (PyObject *)loop, op))) {
        /* The coroutine has changed the books. */
        PyObject *raised = PyErr_GetRaisedException();
        Py_CLEAR(loop->entered);
        rc = registry_leave(loop->st, (PyObject *)loop, op);
        if (raised != NULL) {
            PyErr_SetRaisedException(raised);
            rc = -1;
        }
    }
    return rc;
}

/* What the loop's exception handler is told of an error that is not the coroutine's. */
static int
task_report_error(LoopObject *loop, PyObject *op, enum task_queued how, PyObject *due)
{
    PyObject *exc = PyErr_GetRaisedException();
    PyObject *handle = task_handle(op, (PyObject *)loop, how, due);
    PyErr_SetRaisedException(exc);
    if (handle == NULL) {
        return -1;
    }
    int rc = handle_report_error(handle);
    Py_DECREF(handle);
    return rc;
}

/* Whether to drop this reference could run Python code, for which no task is running.
 */
static inline bool
may_run_python_when_dropped(core_state *st, PyObject *op)
{
    return op != NULL && Py_REFCNT(op) == 1
        && !(future_is_native(st, op) && future_dies_silently(op));
}

/* To take the outcome is no more than to look at it. */
static inline bool
has_plain_outcome(PyObject *future)
{
    FutureData *f = FUTURE(future);
    return LIKELY(f->state == FUTURE_FINISHED && !f->failed);
}

static int
task_run(LoopObject *loop, PyObject *op)
{
    TaskData *t = TASK(op);
    enum task_queued how = t->queued;
    if (UNLIKELY(how == TASK_IDLE || *task_context(op) == NULL)) {
        return 0; /* shown as a handle meanwhile */
    }
    PyObject *context = Py_NewRef(*task_context(op)), *due = Py_XNewRef(t->due);
    PyObject *outcome = NULL;
    if (how == TASK_WAKE && UNLIKELY(!has_plain_outcome(due))) {
        /* Frames of a traceback may end with it. */
        loop_leave_task(loop);
        outcome = task_take_outcome(due);
    }
    int rc = task_enter_all(loop, op, context);
    if (UNLIKELY(rc < 0) && PyErr_ExceptionMatches(PyExc_MemoryError)) {
        rc = TASK_RUN_LATER; /* or it would be pending for ever */
        goto done;
    }
    task_unqueue(op);
    if (LIKELY(rc == 0)) {
        if (how == TASK_WAKE) {
            rc = registry_discard_awaited(loop->st, due, op);
            FUTURE(due)->log_traceback = false;
        }
        if (LIKELY(rc == 0)) {
            rc = task_step_entered(loop, op, how == TASK_STEP ? due : outcome);
        }
        if (UNLIKELY(may_run_python_when_dropped(loop->st, due))
            || UNLIKELY(may_run_python_when_dropped(loop->st, outcome))) {
            loop_leave_task(loop);
        }
        if (UNLIKELY(PyContext_Exit(context) < 0)) {
            rc = -1;
        }
    }
    if (UNLIKELY(rc < 0)) {
        loop_leave_task(loop);
        rc = task_report_error(loop, op, how, due);
    }
done:
    Py_DECREF(context);
    Py_XDECREF(due);
    Py_XDECREF(outcome);
    return rc;
}

void
task_setup_engine(core_state *st)
{
    st->task_run = task_run;
    st->task_as_handle = task_as_handle;
    st->task_unqueue = task_unqueue;
    st->task_leave = task_leave;
    st->task_pause = task_pause;
}
