/* handleobj.c - Handle, TimerHandle and _ThreadSafeHandle as Python sees them: making
 * them by hand, methods, attributes and types. Their life and running: handle.c. */

#include "args.h"
#include "compat.h"
#include "handle.h"
#include "loop.h"
#include "mro.h"

/* --- making one by hand ------------------------------------------------------- */

static enum handle_kind
kind_of_type(core_state *st, PyTypeObject *type)
{
    if (PyType_IsSubtype(type, (PyTypeObject *)st->TimerHandleType)) {
        return HANDLE_TIMER;
    }
    if (PyType_IsSubtype(type, (PyTypeObject *)st->ThreadSafeHandleType)) {
        return HANDLE_THREADSAFE;
    }
    return HANDLE_PLAIN;
}

/* For Python code that makes handles by hand; the loop uses handle_new(). */
static PyObject *
Handle_new(PyTypeObject *type, PyObject *Py_UNUSED(args), PyObject *Py_UNUSED(kwargs))
{
    PyObject *module = PyType_GetModuleByDef(type, &core_module);
    if (module == NULL) {
        return NULL;
    }
    core_state *st = state_of(module);
    PyObject *op = type->tp_alloc(type, 0);
    if (op == NULL) {
        return NULL;
    }
    HandleData *h = HANDLE(op);
    h->st = st;
    h->kind = kind_of_type(st, type);
    if (h->kind == HANDLE_TIMER) {
        TIMER(op)->node.index = HEAP_OUT;
    }
    st->live_handles[h->kind]++;
    return op;
}

static int
handle_init(PyObject *op, PyObject *callback, PyObject *args, PyObject *loop,
            PyObject *context)
{
    HandleData *h = HANDLE(op);
    core_state *st = h->st;
    context = context == NULL || context == Py_None ? PyContext_CopyCurrent()
                                                    : Py_NewRef(context);
    if (context == NULL) {
        return -1;
    }
    h->cancelled = false;
    Py_XSETREF(h->context, context);
    Py_XSETREF(h->loop, Py_NewRef(loop));
    Py_XSETREF(h->callback, Py_NewRef(callback));
    Py_CLEAR(h->repr);
    Py_CLEAR(h->source_traceback);
    handle_assign_args(h, args);
    int debug = loop_get_debug(st, loop);
    if (debug < 0 || (debug && handle_trace(op) < 0)) {
        return -1;
    }
    return 0;
}

static int
Handle_init(PyObject *op, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"callback", "args", "loop", "context", NULL};
    PyObject *callback, *cargs, *loop, *context = NULL;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OOO|O:Handle", names, &callback,
                                     &cargs, &loop, &context)) {
        return -1;
    }
    return handle_init(op, callback, cargs, loop, context);
}

static void timer_set_when(PyObject *op, PyObject *value);

static int
TimerHandle_init(PyObject *op, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"when", "callback", "args", "loop", "context", NULL};
    PyObject *when, *callback, *cargs, *loop, *context = NULL;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OOOO|O:TimerHandle", names, &when,
                                     &callback, &cargs, &loop, &context)
        || handle_init(op, callback, cargs, loop, context) < 0) {
        return -1;
    }
    TIMER(op)->marked = false;
    timer_set_when(op, when);
    return 0;
}

/* --- methods ------------------------------------------------------------------ */

PyDoc_STRVAR(Handle_cancel_doc,
"cancel($self)\n--\n\n"
"Cancel the callback; no effect once it has run or was cancelled.\n\n"
"Mirrors asyncio.Handle.cancel().");

static PyObject *
Handle_cancel(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    if (handle_wait_for_run(op) < 0) {
        return NULL;
    }
    if (handle_cancel(op) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
TimerHandle_cancel(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    HandleData *h = HANDLE(op);
    if (!h->cancelled && h->loop != NULL && loop_timer_cancelled(h->loop, op) < 0) {
        return NULL;
    }
    if (handle_cancel(op) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(Handle_cancelled_doc,
"cancelled($self)\n--\n\n"
"Return True if the handle was cancelled.\n\n"
"Mirrors asyncio.Handle.cancelled().");

static PyObject *
Handle_cancelled(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    if (handle_wait_for_run(op) < 0) {
        return NULL;
    }
    return PyBool_FromLong(HANDLE(op)->cancelled);
}

PyDoc_STRVAR(Handle_get_context_doc,
"get_context($self)\n--\n\n"
"Return the contextvars.Context in which the callback runs.\n\n"
"Mirrors asyncio.Handle.get_context(), on every version of Python.");

static PyObject *
Handle_get_context(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    PyObject *context = HANDLE(op)->context;
    return Py_NewRef(context ? context : Py_None);
}

PyDoc_STRVAR(Handle__run_doc,
"_run($self)\n--\n\n"
"Call the callback in its context; its errors go to the loop's exception handler.");

static PyObject *
Handle__run(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    if (handle_wait_for_run(op) < 0) {
        return NULL;
    }
    if (handle_run(op) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(TimerHandle_when_doc,
"when($self)\n--\n\n"
"Return when the callback is due: seconds of the loop's clock, as loop.time().\n\n"
"Mirrors asyncio.TimerHandle.when().");

static PyObject *
TimerHandle_when(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    TimerData *t = TIMER(op);
    return t->when_object ? Py_NewRef(t->when_object) : PyFloat_FromDouble(t->when);
}

static PyObject *
Handle_repr(PyObject *op)
{
    HandleData *h = HANDLE(op);
    if (h->repr != NULL) {
        return Py_NewRef(h->repr);
    }
    PyObject *info = PyObject_CallMethodNoArgs(op, h->st->str__repr_info);
    if (info == NULL) {
        return NULL;
    }
    PyObject *space = PyUnicode_FromString(" ");
    PyObject *text = space == NULL ? NULL : PyUnicode_Join(space, info);
    PyObject *repr = text == NULL ? NULL : PyUnicode_FromFormat("<%U>", text);
    Py_XDECREF(text);
    Py_XDECREF(space);
    Py_DECREF(info);
    return repr;
}

static Py_hash_t
TimerHandle_hash(PyObject *op)
{
    PyObject *when = TimerHandle_when(op, NULL);
    if (when == NULL) {
        return -1;
    }
    Py_hash_t hash = PyObject_Hash(when);
    Py_DECREF(when);
    return hash;
}

static int
attributes_equal(PyObject *a, PyObject *b, PyObject *name)
{
    PyObject *x = PyObject_GetAttr(a, name);
    PyObject *y = x == NULL ? NULL : PyObject_GetAttr(b, name);
    int rc = y == NULL ? -1 : PyObject_RichCompareBool(x, y, Py_EQ);
    Py_XDECREF(x);
    Py_XDECREF(y);
    return rc;
}

static int
timers_equal(core_state *st, PyObject *a, PyObject *b)
{
    PyObject *names[] = {st->str__when, st->str__callback, st->str__args,
                         st->str__cancelled};
    for (size_t i = 0; i < Py_ARRAY_LENGTH(names); i++) {
        int rc = attributes_equal(a, b, names[i]);
        if (rc <= 0) {
            return rc;
        }
    }
    return 1;
}

static PyObject *
TimerHandle_richcompare(PyObject *op, PyObject *other, int how)
{
    core_state *st = HANDLE(op)->st;
    int is_timer = PyObject_IsInstance(other, st->AsyncioTimerHandle);
    if (is_timer < 0) {
        return NULL;
    }
    if (!is_timer) {
        Py_RETURN_NOTIMPLEMENTED;
    }
    int rc = 0;
    if (how != Py_EQ && how != Py_NE) {
        PyObject *mine = TimerHandle_when(op, NULL);
        PyObject *theirs = mine ? PyObject_GetAttr(other, st->str__when) : NULL;
        int strict = how == Py_LT || how == Py_LE ? Py_LT : Py_GT;
        rc = theirs == NULL ? -1 : PyObject_RichCompareBool(mine, theirs, strict);
        Py_XDECREF(mine);
        Py_XDECREF(theirs);
        if (rc != 0 || how == Py_LT || how == Py_GT) {
            return rc < 0 ? NULL : PyBool_FromLong(rc);
        }
    }
    rc = timers_equal(st, op, other);
    return rc < 0 ? NULL : PyBool_FromLong(how == Py_NE ? !rc : rc);
}

/* --- attributes that libraries read ------------------------------------------- */

/* closure: the offset of a PyObject * in struct handle; NULL there reads as None. */
static PyObject *
Handle_get_field(PyObject *op, void *closure)
{
    PyObject *value = *(PyObject **)((char *)HANDLE(op) + (size_t)closure);
    return Py_NewRef(value ? value : Py_None);
}

static int
Handle_set_field(PyObject *op, PyObject *value, void *closure)
{
    if (args_refuse_deletion(value) < 0) {
        return -1;
    }
    PyObject **field = (PyObject **)((char *)HANDLE(op) + (size_t)closure);
    Py_XSETREF(*field, value == Py_None ? NULL : Py_NewRef(value));
    return 0;
}

static PyObject *
Handle_get_args(PyObject *op, void *Py_UNUSED(closure))
{
    return handle_get_args(HANDLE(op));
}

static int
Handle_set_args(PyObject *op, PyObject *value, void *Py_UNUSED(closure))
{
    if (args_refuse_deletion(value) < 0) {
        return -1;
    }
    handle_assign_args(HANDLE(op), value);
    return 0;
}

static PyObject *
Handle_get__cancelled(PyObject *op, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(HANDLE(op)->cancelled);
}

static int
Handle_set__cancelled(PyObject *op, PyObject *value, void *Py_UNUSED(closure))
{
    int rc = args_refuse_deletion(value) < 0 ? -1 : PyObject_IsTrue(value);
    if (rc < 0) {
        return -1;
    }
    HANDLE(op)->cancelled = rc;
    return 0;
}

static PyObject *
TimerHandle_get_when(PyObject *op, void *Py_UNUSED(closure))
{
    return TimerHandle_when(op, NULL);
}

/* Does not move a timer that is already scheduled; nor does it in asyncio. */
static void
timer_set_when(PyObject *op, PyObject *value)
{
    TimerData *t = TIMER(op);
    if (PyFloat_CheckExact(value)) {
        t->when = PyFloat_AS_DOUBLE(value);
        Py_CLEAR(t->when_object);
    }
    else {
        Py_XSETREF(t->when_object, Py_NewRef(value));
    }
}

static int
TimerHandle_set_when(PyObject *op, PyObject *value, void *Py_UNUSED(closure))
{
    if (args_refuse_deletion(value) < 0) {
        return -1;
    }
    timer_set_when(op, value);
    return 0;
}

static PyObject *
TimerHandle_get_scheduled(PyObject *op, void *Py_UNUSED(closure))
{
    TimerData *t = TIMER(op);
    return PyBool_FromLong(t->marked || t->node.index != HEAP_OUT);
}

static int
TimerHandle_set_scheduled(PyObject *op, PyObject *value, void *Py_UNUSED(closure))
{
    int rc = args_refuse_deletion(value) < 0 ? -1 : PyObject_IsTrue(value);
    if (rc < 0) {
        return -1;
    }
    TIMER(op)->marked = rc;
    return 0;
}

#define FIELD(attr, field)                                                             \
    {attr, Handle_get_field, Handle_set_field, NULL,                                   \
     (void *)offsetof(HandleData, field)}

#define HANDLE_GETSET                                                                  \
    FIELD("_callback", callback), FIELD("_context", context), FIELD("_loop", loop),    \
        FIELD("_repr", repr), FIELD("_source_traceback", source_traceback),            \
        {"_args", Handle_get_args, Handle_set_args, NULL, NULL},                       \
    {                                                                                  \
        "_cancelled", Handle_get__cancelled, Handle_set__cancelled, NULL, NULL         \
    }

static PyGetSetDef Handle_getset[] = {HANDLE_GETSET, {NULL}};

static PyGetSetDef TimerHandle_getset[] = {
    HANDLE_GETSET,
    {"_when", TimerHandle_get_when, TimerHandle_set_when, NULL, NULL},
    {"_scheduled", TimerHandle_get_scheduled, TimerHandle_set_scheduled, NULL, NULL},
    {NULL},
};

#define HANDLE_METHODS(cancel)                                                         \
    {"cancel", cancel, METH_NOARGS, Handle_cancel_doc},                                \
        {"cancelled", Handle_cancelled, METH_NOARGS, Handle_cancelled_doc},            \
        {"get_context", Handle_get_context, METH_NOARGS, Handle_get_context_doc},      \
    {                                                                                  \
        "_run", Handle__run, METH_NOARGS, Handle__run_doc                              \
    }

static PyMethodDef Handle_methods[] = {HANDLE_METHODS(Handle_cancel), {NULL}};

static PyMethodDef TimerHandle_methods[] = {
    HANDLE_METHODS(TimerHandle_cancel),
    {"when", TimerHandle_when, METH_NOARGS, TimerHandle_when_doc},
    {NULL},
};

/* --- types -------------------------------------------------------------------- */

PyDoc_STRVAR(Handle_doc,
"Handle(callback, args, loop, context=None)\n--\n\n"
"A callback wrapper, as loop.call_soon() returns; a native asyncio.Handle.\n\n"
"callback: a callable; args: the tuple of its arguments; loop: an event loop;\n"
"context: a contextvars.Context, or None for a copy of the current one.");

PyDoc_STRVAR(TimerHandle_doc,
"TimerHandle(when, callback, args, loop, context=None)\n--\n\n"
"What loop.call_later() and call_at() return; a native asyncio.TimerHandle.\n\n"
"when: seconds (int or float) of the loop's clock; the rest as for Handle.");

#define HANDLE_SLOTS                                                                   \
    {Py_tp_new, Handle_new}, {Py_tp_dealloc, Handle_dealloc},                          \
        {Py_tp_traverse, Handle_traverse}, {Py_tp_clear, Handle_clear},                \
    {                                                                                  \
        Py_tp_repr, Handle_repr                                                        \
    }

static PyType_Slot Handle_slots[] = {
    HANDLE_SLOTS,
    {Py_tp_init, Handle_init},
    {Py_tp_methods, Handle_methods},
    {Py_tp_getset, Handle_getset},
    {Py_tp_doc, (void *)Handle_doc},
    {0, NULL},
};

static PyType_Slot TimerHandle_slots[] = {
    HANDLE_SLOTS,
    {Py_tp_init, TimerHandle_init},
    {Py_tp_methods, TimerHandle_methods},
    {Py_tp_getset, TimerHandle_getset},
    {Py_tp_hash, TimerHandle_hash},
    {Py_tp_richcompare, TimerHandle_richcompare},
    {Py_tp_doc, (void *)TimerHandle_doc},
    {0, NULL},
};

static const struct {
    const char *name;
    PyType_Slot *slots;
    size_t size;
} kinds[HANDLE_KINDS] = {
    [HANDLE_PLAIN] = {"evloop.Handle", Handle_slots, sizeof(HandleData)},
    [HANDLE_TIMER] = {"evloop.TimerHandle", TimerHandle_slots, sizeof(TimerData)},
    [HANDLE_THREADSAFE] = {"evloop._ThreadSafeHandle", Handle_slots,
                           sizeof(ThreadSafeData)},
};

/* Our struct lies behind the largest base, so that one offset serves all kinds. */
static int
handle_find_offset(PyObject *const *bases)
{
    Py_ssize_t offset = 0;
    for (int kind = 0; kind < HANDLE_KINDS; kind++) {
        Py_ssize_t size = ((PyTypeObject *)bases[kind])->tp_basicsize;
        Py_ssize_t aligned = (size + (Py_ssize_t) _Alignof(max_align_t) - 1)
            & ~((Py_ssize_t) _Alignof(max_align_t) - 1);
        offset = aligned > offset ? aligned : offset;
    }
    if (handle_offset != 0 && handle_offset != offset) {
        PyErr_SetString(PyExc_ImportError,
                        "asyncio's handles differ between two interpreters");
        return -1;
    }
    if (handle_offset == 0) {
        handle_offset = offset;
    }
    return 0;
}

int
handle_setup_types(PyObject *module, core_state *st)
{
    PyObject *bases[HANDLE_KINDS] = {
        [HANDLE_PLAIN] = st->AsyncioHandle,
        [HANDLE_TIMER] = st->AsyncioTimerHandle,
    };
    PyObject *threadsafe_base = PyObject_GetAttrString(st->events, "_ThreadSafeHandle");
    if (threadsafe_base == NULL) { /* before Python 3.14 */
        if (!PyErr_ExceptionMatches(PyExc_AttributeError)) {
            return -1;
        }
        PyErr_Clear();
        threadsafe_base = Py_NewRef(st->AsyncioHandle);
    }
    bases[HANDLE_THREADSAFE] = threadsafe_base;
    PyObject *types[HANDLE_KINDS] = {NULL};
    int rc = handle_find_offset(bases);
    for (int kind = 0; rc == 0 && kind < HANDLE_KINDS; kind++) {
        PyType_Spec spec = {
            .name = kinds[kind].name,
            .basicsize = (int)(handle_offset + (Py_ssize_t)kinds[kind].size),
            .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
            .slots = kinds[kind].slots,
        };
        types[kind] = PyType_FromModuleAndSpec(module, &spec, bases[kind]);
        rc = types[kind] == NULL ? -1 : 0;
    }
    Py_DECREF(threadsafe_base);
    st->PlainHandleType = types[HANDLE_PLAIN];
    st->TimerHandleType = types[HANDLE_TIMER];
    st->ThreadSafeHandleType = types[HANDLE_THREADSAFE];
    for (int kind = HANDLE_PLAIN + 1; rc == 0 && kind < HANDLE_KINDS; kind++) {
        rc = mro_insert((PyTypeObject *)types[kind],
                        (PyTypeObject *)types[HANDLE_PLAIN]);
    }
    return rc;
}
