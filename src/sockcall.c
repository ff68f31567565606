/* sockcall.c - the coroutine-like object of sockops.h.
 *
 * Dead ones are kept for reuse, unless their finalizer has run. */

#include "compat.h"
#include "future.h"
#include "gen.h"
#include "sockops.h"

#include <structmember.h>

/* --- life --------------------------------------------------------------------- */

PyObject *
sockcall_new(LoopObject *loop, enum sockop op, PyObject *sock, PyObject *const *args,
             Py_ssize_t nargs)
{
    core_state *st = loop->st;
    PyTypeObject *type = (PyTypeObject *)st->SockCallType;
    bool fresh;
    SockCall *c = (SockCall *)freelist_get(&st->dead_sockcalls, type, &fresh);
    if (UNLIKELY(fresh)) {
        if (c == NULL) {
            return NULL;
        }
        c->st = st;
    }
    st->live_sockcalls++;
    c->loop = LOOP(Py_NewRef(loop));
    c->sock = Py_NewRef(sock);
    for (Py_ssize_t i = 0; i < nargs; i++) {
        c->args[i] = Py_NewRef(args[i]);
    }
    c->sent = 0;
    c->op = (uint8_t)op;
    c->state = CALL_CREATED;
    c->tried = c->resolving = c->resolved = c->connecting = false;
    PyObject_GC_Track(c);
    return (PyObject *)c;
}

static int
Call_traverse(PyObject *op, visitproc visit, void *arg)
{
    SockCall *c = SOCKCALL(op);
    Py_VISIT(Py_TYPE(op));
    Py_VISIT(c->loop);
    Py_VISIT(c->sock);
    for (int i = 0; i < SOCKCALL_ARGS; i++) {
        Py_VISIT(c->args[i]);
    }
    Py_VISIT(c->inner);
    Py_VISIT(c->future);
    Py_VISIT(c->view.obj);
    return 0;
}

/* What a coroutine's frame gives back when it ends. */
static int
Call_clear(PyObject *op)
{
    SockCall *c = SOCKCALL(op);
    c->state = CALL_CLOSED;
    sockwait_end(&c->waiter);
    PyBuffer_Release(&c->view);
    Py_CLEAR(c->inner);
    Py_CLEAR(c->future);
    for (int i = 0; i < SOCKCALL_ARGS; i++) {
        Py_CLEAR(c->args[i]);
    }
    Py_CLEAR(c->sock);
    Py_CLEAR(c->loop);
    return 0;
}

/* It ends, maybe by the exception being raised. */
static void
call_end(PyObject *op)
{
    PyObject *exc = PyErr_GetRaisedException();
    (void)Call_clear(op);
    PyErr_SetRaisedException(exc);
}

static void
Call_finalize(PyObject *op)
{
    if (SOCKCALL(op)->state != CALL_CREATED) {
        return;
    }
    PyObject *exc = PyErr_GetRaisedException();
    PyObject *warnings = PyImport_ImportModule("warnings");
    PyObject *res = warnings == NULL
        ? NULL
        : PyObject_CallMethodOneArg(
              warnings, SOCKCALL(op)->st->str__warn_unawaited_coroutine, op);
    if (res == NULL) {
        PyErr_WriteUnraisable(op);
    }
    Py_XDECREF(res);
    Py_XDECREF(warnings);
    PyErr_SetRaisedException(exc);
}

static void
Call_dealloc(PyObject *op)
{
    SockCall *c = SOCKCALL(op);
    if (UNLIKELY(c->state == CALL_CREATED)
        && PyObject_CallFinalizerFromDealloc(op) < 0) {
        return; /* somebody took a reference */
    }
    PyTypeObject *type = Py_TYPE(op);
    core_state *st = c->st;
    PyObject_GC_UnTrack(op);
    if (UNLIKELY(c->weakrefs != NULL)) {
        PyObject_ClearWeakRefs(op);
    }
    (void)Call_clear(op);
    st->live_sockcalls--;
    if (LIKELY(freelist_has_room(&st->dead_sockcalls)
               && !PyObject_GC_IsFinalized(op))) {
        freelist_put(&st->dead_sockcalls, op);
        Py_DECREF(type);
        return;
    }
    PyObject_GC_Del(op);
    Py_DECREF(type);
    state_free_if_dead(st);
}

/* --- running ------------------------------------------------------------------ */

/* Yields a future that is done when another attempt may succeed. */
static PySendResult
call_wait(SockCall *c, unsigned direction, PyObject **result)
{
    int fd = sockop_fileno(c);
    PyObject *number = fd < -1 ? NULL : PyLong_FromLong(fd);
    int rc = number == NULL ? -1 : loop_ensure_no_transport(c->loop, number);
    Py_XDECREF(number);
    if (rc < 0 || loop_check_closed(c->loop) < 0) {
        return PYGEN_ERROR;
    }
    /* What asked for the data, or for the transport, may have closed it. */
    fd = sockop_fileno(c);
    if (fd < 0) {
        if (fd == -1) {
            PyErr_SetString(PyExc_ValueError, "Invalid file descriptor: -1");
        }
        return PYGEN_ERROR;
    }
    PyObject *future = sockwait_begin(c->loop, c->sock, fd, direction, &c->waiter);
    if (future == NULL) {
        return PYGEN_ERROR;
    }
    FUTURE(future)->blocking = true;
    c->future = Py_NewRef(future);
    *result = future;
    return PYGEN_NEXT;
}

/* Has the name's address taken, if that is what the inner one was for. */
static int
call_take_resolved(SockCall *c, PyObject *resolved)
{
    Py_CLEAR(c->inner);
    c->resolving = false;
    return sockop_take_resolved(c, resolved);
}

static PySendResult
call_try(SockCall *c, PyObject **result)
{
    switch (sockop_attempt(c, result)) {
    case SOCK_DONE:
        return PYGEN_RETURN;
    case SOCK_WAIT_READ:
        return call_wait(c, POLL_READ, result);
    case SOCK_WAIT_WRITE:
        return call_wait(c, POLL_WRITE, result);
    case SOCK_INNER:
        return PYGEN_NEXT;
    case SOCK_FAILED:
        break;
    }
    return PYGEN_ERROR;
}

/* Woken: what `await future` would do. PYGEN_RETURN: go on, or, when somebody else has
 * given the future a result, return that, as asyncio does. */
static PySendResult
call_leave_future(SockCall *c, PyObject **result)
{
    FutureData *f = FUTURE(c->future);
    if (UNLIKELY(f->state == FUTURE_PENDING)) { /* by somebody else's hand */
        if (f->blocking) {
            PyErr_SetString(PyExc_RuntimeError, "await wasn't used with future");
            return PYGEN_ERROR;
        }
        f->blocking = true;
        *result = Py_NewRef(c->future);
        return PYGEN_NEXT;
    }
    PyObject *future = c->future;
    c->future = NULL;
    sockwait_end(&c->waiter);
    PyObject *value = future_result(future);
    Py_DECREF(future);
    if (value == NULL) {
        return PYGEN_ERROR;
    }
    if (LIKELY(value == Py_None)) {
        Py_DECREF(value);
    }
    else {
        *result = value;
    }
    return PYGEN_RETURN;
}

/* Runs until it yields, returns or raises. */
static PySendResult
call_run(SockCall *c, PyObject *value, PyObject **result)
{
    if (c->future != NULL) {
        PySendResult rc = call_leave_future(c, result);
        if (UNLIKELY(rc != PYGEN_RETURN || *result != NULL)) {
            return rc;
        }
    }
    for (;;) {
        if (UNLIKELY(c->inner != NULL)) {
            PySendResult rc = PyIter_Send(c->inner, value, result);
            if (rc != PYGEN_RETURN || !c->resolving) {
                return rc;
            }
            PyObject *resolved = *result;
            *result = NULL;
            int taken = call_take_resolved(c, resolved);
            Py_DECREF(resolved);
            if (taken < 0) {
                return PYGEN_ERROR;
            }
        }
        PySendResult rc = call_try(c, result);
        if (LIKELY(rc != PYGEN_NEXT || *result != NULL)) {
            return rc;
        }
        value = Py_None; /* the inner one begins */
    }
}

static int
call_check_idle(SockCall *c)
{
    if (UNLIKELY(c->state == CALL_RUNNING)) {
        PyErr_SetString(PyExc_ValueError, "coroutine already executing");
        return -1;
    }
    if (UNLIKELY(c->state == CALL_CLOSED)) {
        PyErr_SetString(PyExc_RuntimeError, "cannot reuse already awaited coroutine");
        return -1;
    }
    return 0;
}

static PySendResult
Call_am_send(PyObject *op, PyObject *value, PyObject **result)
{
    SockCall *c = SOCKCALL(op);
    *result = NULL;
    if (call_check_idle(c) < 0) {
        return PYGEN_ERROR;
    }
    if (UNLIKELY(c->state == CALL_CREATED && value != Py_None)) {
        PyErr_SetString(PyExc_TypeError,
                        "can't send non-None value to a just-started coroutine");
        return PYGEN_ERROR;
    }
    c->state = CALL_RUNNING;
    PySendResult rc = call_run(c, value, result);
    if (rc == PYGEN_NEXT) {
        c->state = CALL_SUSPENDED;
    }
    else {
        call_end(op);
    }
    return rc;
}

static PyObject *
Call_iternext(PyObject *op)
{
    PyObject *result;
    if (Call_am_send(op, Py_None, &result) == PYGEN_RETURN) {
        gen_stop(result);
        Py_CLEAR(result);
    }
    return result;
}

static PyObject *
Call_send(PyObject *op, PyObject *value)
{
    PyObject *result;
    if (Call_am_send(op, value, &result) == PYGEN_RETURN) {
        gen_stop_loudly(result);
        Py_CLEAR(result);
    }
    return result;
}

/* Goes on with what the StopIteration being raised has brought. */
static PySendResult
call_go_on_resolved(SockCall *c, PyObject **result)
{
    PyObject *exc = PyErr_GetRaisedException();
    PyObject *resolved = PyObject_GetAttrString(exc, "value");
    Py_DECREF(exc);
    int rc = resolved == NULL ? -1 : call_take_resolved(c, resolved);
    Py_XDECREF(resolved);
    return rc < 0 ? PYGEN_ERROR : call_run(c, Py_None, result);
}

/* throw() into the inner one. */
static PyObject *
call_throw_inner(PyObject *op, PyObject *const *args, Py_ssize_t nargs)
{
    SockCall *c = SOCKCALL(op);
    c->state = CALL_RUNNING;
    PyObject *method = PyObject_GetAttr(c->inner, c->st->str_throw), *result = NULL;
    if (method != NULL) {
        result = PyObject_Vectorcall(method, args, (size_t)nargs, NULL);
        Py_DECREF(method);
    }
    PySendResult rc = result != NULL ? PYGEN_NEXT : PYGEN_ERROR;
    if (result == NULL && c->resolving && PyErr_ExceptionMatches(PyExc_StopIteration)) {
        rc = call_go_on_resolved(c, &result);
    }
    if (rc == PYGEN_NEXT) {
        c->state = CALL_SUSPENDED;
        return result;
    }
    call_end(op);
    if (rc == PYGEN_RETURN) {
        gen_stop_loudly(result);
        Py_CLEAR(result);
    }
    return result;
}

static PyObject *
Call_throw(PyObject *op, PyObject *const *args, Py_ssize_t nargs)
{
    SockCall *c = SOCKCALL(op);
    if (call_check_idle(c) < 0) {
        return NULL;
    }
    if (c->inner != NULL && c->state == CALL_SUSPENDED) {
        return call_throw_inner(op, args, nargs);
    }
    if (gen_raise_thrown(args, nargs) == 0) {
        call_end(op);
    }
    return NULL;
}

static PyObject *
Call_close(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    SockCall *c = SOCKCALL(op);
    if (c->state == CALL_CLOSED) {
        Py_RETURN_NONE;
    }
    if (call_check_idle(c) < 0) {
        return NULL;
    }
    PyObject *res = Py_None;
    if (c->inner != NULL) {
        c->state = CALL_RUNNING;
        res = PyObject_CallMethod(c->inner, "close", NULL);
        Py_XDECREF(res);
    }
    call_end(op);
    return res == NULL ? NULL : Py_NewRef(Py_None);
}

static PyObject *
Call_await(PyObject *op)
{
    if (UNLIKELY(SOCKCALL(op)->state == CALL_SUSPENDED)) {
        PyErr_SetString(PyExc_RuntimeError, "coroutine is being awaited already");
        return NULL;
    }
    return Py_NewRef(op);
}

/* --- Python's view ------------------------------------------------------------ */

static PyObject *
Call_get_name(PyObject *op, void *Py_UNUSED(closure))
{
    return PyUnicode_FromString(sockop_names[SOCKCALL(op)->op]);
}

static PyObject *
Call_get_qualname(PyObject *op, void *Py_UNUSED(closure))
{
    return PyUnicode_FromFormat("BaseSelectorEventLoop.%s",
                                sockop_names[SOCKCALL(op)->op]);
}

static PyObject *
Call_repr(PyObject *op)
{
    return PyUnicode_FromFormat("<coroutine object BaseSelectorEventLoop.%s at %p>",
                                sockop_names[SOCKCALL(op)->op], op);
}

static PyObject *
Call_get_running(PyObject *op, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(SOCKCALL(op)->state == CALL_RUNNING);
}

static PyObject *
Call_get_suspended(PyObject *op, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(SOCKCALL(op)->state == CALL_SUSPENDED);
}

static PyObject *
Call_get_none(PyObject *Py_UNUSED(op), void *Py_UNUSED(closure))
{
    Py_RETURN_NONE;
}

static PyGetSetDef Call_getset[] = {
    {"__name__", Call_get_name, NULL, NULL, NULL},
    {"__qualname__", Call_get_qualname, NULL, NULL, NULL},
    {"cr_running", Call_get_running, NULL, NULL, NULL},
    {"cr_suspended", Call_get_suspended, NULL, NULL, NULL},
    /* There is neither frame nor code, as for a coroutine of Cython. */
    {"cr_code", Call_get_none, NULL, NULL, NULL},
    {"cr_frame", Call_get_none, NULL, NULL, NULL},
    {"cr_origin", Call_get_none, NULL, NULL, NULL},
    {NULL},
};

static PyMethodDef Call_methods[] = {
    {"send", Call_send, METH_O, NULL},
    {"throw", (PyCFunction)(void (*)(void))Call_throw, METH_FASTCALL, NULL},
    {"close", Call_close, METH_NOARGS, NULL},
    {NULL},
};

static PyMemberDef Call_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(SockCall, weakrefs), READONLY, NULL},
    {NULL},
};

static PyType_Slot Call_slots[] = {
    {Py_tp_dealloc, Call_dealloc},
    {Py_tp_traverse, Call_traverse},
    {Py_tp_clear, Call_clear},
    {Py_tp_finalize, Call_finalize},
    {Py_tp_repr, Call_repr},
    {Py_tp_iter, PyObject_SelfIter},
    {Py_tp_iternext, Call_iternext},
    {Py_am_await, Call_await},
    {Py_am_send, Call_am_send},
    {Py_tp_methods, Call_methods},
    {Py_tp_getset, Call_getset},
    {Py_tp_members, Call_members},
    {0, NULL},
};

int
sockcall_setup_type(PyObject *module, core_state *st)
{
    static PyType_Spec spec = {
        .name = "evloop._core.SockCall",
        .basicsize = sizeof(SockCall),
        .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC
            | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
        .slots = Call_slots,
    };
    st->SockCallType = PyType_FromModuleAndSpec(module, &spec, NULL);
    st->socket_fileno = PyObject_GetAttr(st->c_socket_type, st->str_fileno);
    st->socket_gettimeout = PyObject_GetAttr(st->c_socket_type, st->str_gettimeout);
    return st->SockCallType == NULL || st->socket_fileno == NULL
            || st->socket_gettimeout == NULL
        ? -1
        : 0;
}
