/* loopobj.c - the Loop object: its life, its attributes, running and closing.
 *
 * evloop.EventLoop derives from it and from asyncio's own loop, in this order.
 *
 * new -> open     [Loop_init]     descriptors are made; before, it reads as closed
 * open <-> running                see looprun.c
 * open -> closed  [Loop_close, Loop_dealloc]; never back */

#include "loopobj.h"
#include "args.h"
#include "compat.h"
#include "handle.h"
#include "signal.h"
#include "sockops.h"
#include "source.h"

#include <stdlib.h>
#include "sys.h"

/* --- life --------------------------------------------------------------------- */

static PyObject *
Loop_new(PyTypeObject *type, PyObject *Py_UNUSED(args), PyObject *Py_UNUSED(kwargs))
{
    PyObject *module = PyType_GetModuleByDef(type, &core_module);
    LoopObject *self = module == NULL ? NULL : (LoopObject *)type->tp_alloc(type, 0);
    if (self == NULL) {
        return NULL;
    }
    self->st = state_of(module);
    self->st->live_loops++;
    self->closed = true;
    self->poll.fd = -1;
    self->wake_fd = self->signal_fd[0] = self->signal_fd[1] = -1;
    self->hooks_tag = UINT_MAX;
    self->flush_end = &self->flush;
    return (PyObject *)self;
}

static int
Loop_init(PyObject *op, PyObject *args, PyObject *kwargs)
{
    LoopObject *self = LOOP(op);
    if (!PyArg_ParseTuple(args, ":Loop")
        || (kwargs != NULL && PyDict_Size(kwargs) > 0)) {
        if (!PyErr_Occurred()) {
            PyErr_SetString(PyExc_TypeError, "Loop() takes no keyword arguments");
        }
        return -1;
    }
    if (self->opened) {
        PyErr_SetString(PyExc_RuntimeError, "the event loop is already initialised");
        return -1;
    }
    const char *at_once = getenv("EVLOOP_WRITE_AT_ONCE");
    self->write_at_once = at_once != NULL && at_once[0] != 0;
    return loop_open(self);
}

static int
Loop_traverse(PyObject *op, visitproc visit, void *arg)
{
    LoopObject *self = LOOP(op);
    Py_VISIT(Py_TYPE(op));
    for (size_t i = 0; i < ring_len(&self->ready); i++) {
        void *item = ring_at(&self->ready, i);
        Py_VISIT(source_item_kind(item) ? source_of_item(item)->owner
                                        : (PyObject *)item);
    }
    for (struct source *s = self->flush; s != NULL; s = s->next_flush) {
        Py_VISIT(s->owner);
    }
    for (size_t i = 0; i < self->timers.len; i++) {
        TimerData *t = TIMER_OF_NODE(self->timers.entries[i].node);
        Py_VISIT(timer_object(t));
    }
    int rc = watch_traverse(&self->watches, visit, arg);
    if (rc != 0) {
        return rc;
    }
    Py_VISIT(self->thread_object);
    Py_VISIT(self->debug_object);
    Py_VISIT(self->task_factory);
    Py_VISIT(self->exception_handler);
    Py_VISIT(self->current_handle);
    return 0;
}

static int
Loop_clear(PyObject *op)
{
    LoopObject *self = LOOP(op);
    loop_drop_all(self);
    Py_CLEAR(self->task_factory);
    Py_CLEAR(self->exception_handler);
    Py_CLEAR(self->current_handle);
    Py_CLEAR(self->debug_object);
    return 0;
}

static void
Loop_dealloc(PyObject *op)
{
    PyObject_GC_UnTrack(op);
    LoopObject *self = LOOP(op);
    self->closed = true;
    (void)Loop_clear(op);
    Py_CLEAR(self->thread_object);
    loop_release(self);
    core_state *st = self->st;
    PyTypeObject *type = Py_TYPE(op);
    type->tp_free(op);
    Py_DECREF(type);
    st->live_loops--;
    state_free_if_dead(st);
}

/* --- closing ------------------------------------------------------------------ */

static const char Loop_close_doc[] = PyDoc_STR(
"close($self)\n--\n\n"
"Close the loop: drop what is scheduled, shut the executor down without waiting.\n\n"
"Idempotent. Raises RuntimeError if the loop is running. Mirrors\n"
"asyncio.loop.close().");

static PyObject *
Loop_close(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    LoopObject *self = LOOP(op);
    int running = self->sleep == LOOP_ASLEEP ? 1 : looprun_is_running(self);
    if (running != 0) {
        if (running > 0) {
            PyErr_SetString(PyExc_RuntimeError, "Cannot close a running event loop");
        }
        return NULL;
    }
    if (self->closed) {
        Py_RETURN_NONE;
    }
    /* asyncio's own close(): the executor, the signal handlers, and whatever a newer
     * version adds. It sets _closed; then our part can go. */
    PyObject *res = PyObject_CallMethod(self->st->SelectorEventLoop, "close", "O", op);
    if (self->closed) {
        PyObject *exc = PyErr_GetRaisedException();
        loop_drop_all(self);
        loop_release(self);
        PyErr_SetRaisedException(exc);
    }
    return res;
}

/* --- attributes --------------------------------------------------------------- */

/* closure: the offset of a PyObject * in LoopObject; NULL there reads as None. */
static PyObject *
Loop_get_field(PyObject *op, void *closure)
{
    PyObject *value = *(PyObject **)((char *)op + (size_t)closure);
    return Py_NewRef(value ? value : Py_None);
}

static int
Loop_set_field(PyObject *op, PyObject *value, void *closure)
{
    if (args_refuse_deletion(value) < 0) {
        return -1;
    }
    PyObject **field = (PyObject **)((char *)op + (size_t)closure);
    Py_XSETREF(*field, value == Py_None ? NULL : Py_NewRef(value));
    return 0;
}

static PyObject *
Loop_get__closed(PyObject *op, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(LOOP(op)->closed);
}

/* A loop without descriptors stays closed, whatever is assigned. */
static int
Loop_set__closed(PyObject *op, PyObject *value, void *Py_UNUSED(closure))
{
    int rc = args_refuse_deletion(value) < 0 ? -1 : PyObject_IsTrue(value);
    if (rc < 0) {
        return -1;
    }
    LOOP(op)->closed = rc || LOOP(op)->poll.fd < 0;
    return 0;
}

static PyObject *
Loop_get__stopping(PyObject *op, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(LOOP(op)->stopping);
}

static int
Loop_set__stopping(PyObject *op, PyObject *value, void *Py_UNUSED(closure))
{
    int rc = args_refuse_deletion(value) < 0 ? -1 : PyObject_IsTrue(value);
    if (rc < 0) {
        return -1;
    }
    LOOP(op)->stopping = rc;
    return 0;
}

static PyObject *
Loop_get__debug(PyObject *op, void *Py_UNUSED(closure))
{
    return Loop_get_debug(op, NULL);
}

static int
Loop_set__debug(PyObject *op, PyObject *value, void *Py_UNUSED(closure))
{
    int rc = args_refuse_deletion(value) < 0 ? -1 : PyObject_IsTrue(value);
    if (rc < 0) {
        return -1;
    }
    LOOP(op)->debug = rc;
    Py_XSETREF(LOOP(op)->debug_object, Py_NewRef(value));
    return 0;
}

/* An int, or None: the loop does not run. */
static int
Loop_set__thread_id(PyObject *op, PyObject *value, void *closure)
{
    if (value != NULL && value != Py_None
        && PyLong_AsUnsignedLong(value) == (unsigned long)-1 && PyErr_Occurred()) {
        return -1;
    }
    return Loop_set_field(op, value, closure);
}

/* Cancelled timers leave the heap at once: there is nothing to count. */
static PyObject *
Loop_get__timer_cancelled_count(PyObject *Py_UNUSED(op), void *Py_UNUSED(closure))
{
    return PyLong_FromLong(0);
}

static int
Loop_set__timer_cancelled_count(PyObject *Py_UNUSED(op), PyObject *value,
                                void *Py_UNUSED(closure))
{
    return args_refuse_deletion(value);
}

#define FIELD(attr, field)                                                             \
    {attr, Loop_get_field, Loop_set_field, NULL, (void *)offsetof(LoopObject, field)}

PyDoc_STRVAR(Loop_write_at_once_doc,
"Whether stream transports send what is written at once, a bool.\n\n"
"Otherwise (the default) what callbacks write leaves at the end of the turn. The\n"
"environment variable EVLOOP_WRITE_AT_ONCE, when not empty, makes this true for new\n"
"loops.");

static PyObject *
Loop_get_write_at_once(PyObject *op, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(LOOP(op)->write_at_once);
}

static int
Loop_set_write_at_once(PyObject *op, PyObject *value, void *Py_UNUSED(closure))
{
    int truth = value == NULL ? 0 : PyObject_IsTrue(value);
    if (truth < 0) {
        return -1;
    }
    LOOP(op)->write_at_once = truth;
    LOOP(op)->in_callback = LOOP(op)->in_callback && !truth;
    return 0;
}

static PyGetSetDef Loop_getset[] = {
    FIELD("_current_handle", current_handle),
    FIELD("_exception_handler", exception_handler),
    FIELD("_task_factory", task_factory),
    {"_thread_id", Loop_get_field, Loop_set__thread_id, NULL,
     (void *)offsetof(LoopObject, thread_object)},
    {"_closed", Loop_get__closed, Loop_set__closed, NULL, NULL},
    {"_debug", Loop_get__debug, Loop_set__debug, NULL, NULL},
    {"_stopping", Loop_get__stopping, Loop_set__stopping, NULL, NULL},
    {"write_at_once", Loop_get_write_at_once, Loop_set_write_at_once,
     Loop_write_at_once_doc, NULL},
    {"_timer_cancelled_count", Loop_get__timer_cancelled_count,
     Loop_set__timer_cancelled_count, NULL, NULL},
    {NULL},
};

/* --- the type ----------------------------------------------------------------- */

/* Methods of one argument that may come by name, as asyncio's may. */
#define BY_NAME(method, qualname, parameter)                                           \
    static PyObject *method##_by_name(FASTCALL_ARGS)                                   \
    {                                                                                  \
        static const struct args_spec spec = {qualname, {parameter}, 1, false};        \
        PyObject *arg = args_parse_one(&spec, args, nargs, kwnames);                   \
        return arg == NULL ? NULL : method(op, arg);                                   \
    }

BY_NAME(Loop_run_until_complete, "BaseEventLoop.run_until_complete", "future")
BY_NAME(Loop_remove_reader, "BaseSelectorEventLoop.remove_reader", "fd")
BY_NAME(Loop_remove_writer, "BaseSelectorEventLoop.remove_writer", "fd")
BY_NAME(Loop_remove_signal_handler, "_UnixSelectorEventLoop.remove_signal_handler",
        "sig")
BY_NAME(Loop_set_task_factory, "BaseEventLoop.set_task_factory", "factory")
BY_NAME(Loop_set_default_executor, "BaseEventLoop.set_default_executor", "executor")
BY_NAME(Loop_set_exception_handler, "BaseEventLoop.set_exception_handler", "handler")
BY_NAME(Loop_call_exception_handler, "BaseEventLoop.call_exception_handler", "context")
BY_NAME(Loop_set_debug, "BaseEventLoop.set_debug", "enabled")

#define FAST METH_FASTCALL | METH_KEYWORDS
#define FASTCALL(name) {#name, _PyCFunction_CAST(Loop_##name), FAST, Loop_##name##_doc}
#define NAMED(name)                                                                    \
    {#name, _PyCFunction_CAST(Loop_##name##_by_name), FAST, Loop_##name##_doc}
#define NOARGS(name) {#name, Loop_##name, METH_NOARGS, Loop_##name##_doc}
#define PRIVATE(name, flags) {#name, _PyCFunction_CAST(Loop_##name), flags, NULL}

static PyMethodDef Loop_methods[] = {
    NOARGS(run_forever),
    NAMED(run_until_complete),
    NOARGS(stop),
    NOARGS(close),
    NOARGS(is_running),
    NOARGS(is_closed),
    NOARGS(time),
    FASTCALL(call_soon),
    FASTCALL(call_soon_threadsafe),
    FASTCALL(call_later),
    FASTCALL(call_at),
    FASTCALL(add_reader),
    FASTCALL(add_writer),
    NAMED(remove_reader),
    NAMED(remove_writer),
    FASTCALL(add_signal_handler),
    NAMED(remove_signal_handler),
#define SOCK_METHOD(name) FASTCALL(name),
    SOCK_METHODS(SOCK_METHOD)
#undef SOCK_METHOD
        NOARGS(create_future),
    FASTCALL(create_task),
    NAMED(set_task_factory),
    NOARGS(get_task_factory),
    FASTCALL(run_in_executor),
    NAMED(set_default_executor),
    NAMED(set_exception_handler),
    NOARGS(get_exception_handler),
    NAMED(call_exception_handler),
    NOARGS(get_debug),
    NAMED(set_debug),
    PRIVATE(_add_callback, METH_O),
    PRIVATE(_add_callback_signalsafe, METH_O),
    PRIVATE(_add_reader, FAST),
    PRIVATE(_add_writer, FAST),
    PRIVATE(_asyncgen_finalizer_hook, METH_O),
    PRIVATE(_asyncgen_firstiter_hook, METH_O),
    PRIVATE(_call_soon, METH_VARARGS),
    PRIVATE(_check_closed, METH_NOARGS),
    PRIVATE(_check_running, METH_NOARGS),
    PRIVATE(_handle_signal, METH_O),
    PRIVATE(_make_datagram_transport, FAST),
    PRIVATE(_make_read_pipe_transport, FAST),
    PRIVATE(_make_socket_transport, FAST),
    PRIVATE(_make_write_pipe_transport, FAST),
    PRIVATE(_process_self_data, METH_O),
    PRIVATE(_read_from_self, METH_NOARGS),
    PRIVATE(_ready_append, METH_O),
    PRIVATE(_ready_items, METH_NOARGS),
    PRIVATE(_ready_popleft, METH_NOARGS),
    PRIVATE(_ready_replace, METH_O),
    PRIVATE(_remove_reader, METH_O),
    PRIVATE(_remove_writer, METH_O),
    PRIVATE(_run_forever_cleanup, METH_NOARGS),
    PRIVATE(_run_forever_setup, METH_NOARGS),
    PRIVATE(_run_once, METH_NOARGS),
    PRIVATE(_scheduled_add, METH_O),
    PRIVATE(_scheduled_items, METH_NOARGS),
    PRIVATE(_select, METH_O),
    PRIVATE(_start_serving, FAST),
    PRIVATE(_timer_handle_cancelled, METH_O),
    PRIVATE(_transport_fds, METH_NOARGS),
    PRIVATE(_transport_hide, METH_VARARGS),
    PRIVATE(_transport_of, METH_O),
    PRIVATE(_watch_items, METH_NOARGS),
    PRIVATE(_write_to_self, METH_NOARGS),
    {NULL},
};

PyDoc_STRVAR(Loop_doc,
"Loop()\n--\n\n"
"The native part of evloop.EventLoop.");

static PyType_Slot Loop_slots[] = {
    {Py_tp_new, Loop_new},         {Py_tp_init, Loop_init},
    {Py_tp_dealloc, Loop_dealloc}, {Py_tp_traverse, Loop_traverse},
    {Py_tp_clear, Loop_clear},     {Py_tp_setattro, Loop_setattro},
    {Py_tp_methods, Loop_methods}, {Py_tp_getset, Loop_getset},
    {Py_tp_doc, (void *)Loop_doc}, {0, NULL},
};

static PyType_Spec Loop_spec = {
    .name = "evloop._core.Loop",
    .basicsize = sizeof(LoopObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = Loop_slots,
};

static int
setup_hook_names(core_state *st)
{
    static const char *const names[] = {
#define NAME(hook, name) name,
        LOOP_HOOKS(NAME)
#undef NAME
    };
    st->hook_names = PyTuple_New(LOOP_HOOK_COUNT);
    for (Py_ssize_t i = 0; i < LOOP_HOOK_COUNT; i++) {
        PyObject *name = st->hook_names == NULL ? NULL
                                                : PyUnicode_InternFromString(names[i]);
        if (name == NULL) {
            return -1;
        }
        PyTuple_SET_ITEM(st->hook_names, i, name);
    }
    return 0;
}

/* What the hooks are in a class that overrides none of them. */
static int
note_native_hooks(core_state *st, PyObject *cls)
{
    PyObject *natives = PyTuple_New(LOOP_HOOK_COUNT);
    if (natives == NULL) {
        return -1;
    }
    for (Py_ssize_t i = 0; i < LOOP_HOOK_COUNT; i++) {
        PyObject *native = PyObject_GetAttr(cls, PyTuple_GET_ITEM(st->hook_names, i));
        if (native == NULL) {
            Py_DECREF(natives);
            return -1;
        }
        PyTuple_SET_ITEM(natives, i, native);
    }
    Py_XSETREF(st->hook_natives, natives);
    return 0;
}

int
loop_adopt_class(core_state *st, PyObject *cls)
{
    return args_adopt(cls, Loop_methods) < 0 ? -1 : note_native_hooks(st, cls);
}

int
loop_setup_type(PyObject *module, core_state *st)
{
    st->LoopType = PyType_FromModuleAndSpec(module, &Loop_spec, NULL);
    if (st->LoopType == NULL || setup_hook_names(st) < 0) {
        return -1;
    }
    /* Until a class is adopted: every hook counts as overridden. */
    st->hook_natives = Py_NewRef(st->hook_names);
    return 0;
}
