/* taskobj.c - Task as Python sees it: methods, attributes and type. What they do:
 * task.c. */

#include "args.h"
#include "compat.h"
#include "mro.h"
#include "task.h"

/* --- methods ------------------------------------------------------------------ */

static int
Task_init(PyObject *op, PyObject *args, PyObject *kwargs)
{
#if PY_VERSION_HEX >= 0x030C0000
    static char *names[] = {"coro", "loop", "name", "context", "eager_start", NULL};
    const char *format = "O|$OOOp:Task";
#else
    static char *names[] = {"coro", "loop", "name", "context", NULL};
    const char *format = "O|$OOO:Task";
#endif
    PyObject *coro;
    int eager_start = 0;
    struct task_options options = {NULL};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, format, names, &coro, &options.loop,
                                     &options.name, &options.context, &eager_start)) {
        return -1;
    }
    options.eager_start = eager_start;
    return task_init(op, coro, &options);
}

static void
Task_finalize(PyObject *op)
{
    TaskData *t = TASK(op);
    if (t->base.state == FUTURE_PENDING && t->log_destroy_pending) {
        PyObject *raised = PyErr_GetRaisedException();
        PyObject *message = PyUnicode_FromString(
            "Task was destroyed but it is pending!");
        static const char *const keys[] = {"task", NULL};
        future_report(op, message, keys, &op);
        Py_XDECREF(message);
        PyErr_SetRaisedException(raised);
    }
    Future_finalize(op);
}

PyDoc_STRVAR(Task_cancel_doc,
"cancel($self, /, msg=None)\n--\n\n"
"Request that CancelledError be thrown into the coroutine; return whether the task\n"
"was pending.\n\n"
"msg: the argument of that error. Mirrors asyncio.Task.cancel().");

static PyObject *
Task_cancel(PyObject *op, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    PyObject *msg = future_parse_msg("cancel", args, nargs, kwnames);
    int rc = -1;
    if (msg != NULL) {
        Py_BEGIN_CRITICAL_SECTION(op);
        rc = task_cancel_lock_held(op, msg);
        Py_END_CRITICAL_SECTION();
    }
    return rc < 0 ? NULL : PyBool_FromLong(rc);
}

PyDoc_STRVAR(Task_cancelling_doc,
"cancelling($self)\n--\n\n"
"Return how many requests to cancel are pending (int).\n\n"
"Mirrors asyncio.Task.cancelling().");

static PyObject *
Task_cancelling(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    return PyLong_FromLong(TASK(op)->cancels_requested);
}

PyDoc_STRVAR(Task_uncancel_doc,
"uncancel($self)\n--\n\n"
"Take one request to cancel back; return how many remain (int).\n\n"
"Mirrors asyncio.Task.uncancel().");

static PyObject *
Task_uncancel(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    TaskData *t = TASK(op);
    if (t->cancels_requested > 0) {
        t->cancels_requested--;
        if (PY_VERSION_HEX >= 0x030D0000 && t->cancels_requested == 0) {
            t->must_cancel = false;
        }
    }
    return PyLong_FromLong(t->cancels_requested);
}

/* Keyword arguments alone, None where absent; then function(task, *values). */
static PyObject *
call_with_keywords(PyObject *op, PyObject *function, const char *method,
                   const char *const *names, Py_ssize_t count, PyObject *const *args,
                   Py_ssize_t nargs, PyObject *kwnames)
{
    PyObject *argv[3] = {op, Py_None, Py_None};
    if (nargs > 0) {
        PyErr_Format(PyExc_TypeError, "%s() takes no positional arguments", method);
        return NULL;
    }
    Py_ssize_t nkw = kwnames == NULL ? 0 : PyTuple_GET_SIZE(kwnames);
    for (Py_ssize_t i = 0; i < nkw; i++) {
        PyObject *name = PyTuple_GET_ITEM(kwnames, i);
        Py_ssize_t at = 0;
        while (at < count && PyUnicode_CompareWithASCIIString(name, names[at]) != 0) {
            at++;
        }
        if (at == count) {
            PyErr_Format(PyExc_TypeError,
                         "%s() got an unexpected keyword argument '%U'", method, name);
            return NULL;
        }
        argv[1 + at] = args[i];
    }
    return PyObject_Vectorcall(function, argv, (size_t)(1 + count), NULL);
}

PyDoc_STRVAR(Task_get_stack_doc,
"get_stack($self, *, limit=None)\n--\n\n"
"Return the list of frames in which the coroutine stands, or of its traceback.\n\n"
"limit: at most so many (int), or None. Mirrors asyncio.Task.get_stack().");

static PyObject *
Task_get_stack(PyObject *op, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const char *const names[] = {"limit"};
    return call_with_keywords(op, FUTURE(op)->st->task_get_stack, "get_stack", names, 1,
                              args, nargs, kwnames);
}

PyDoc_STRVAR(Task_print_stack_doc,
"print_stack($self, *, limit=None, file=None)\n--\n\n"
"Print what get_stack() returns to file, or to sys.stderr.\n\n"
"Mirrors asyncio.Task.print_stack().");

static PyObject *
Task_print_stack(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
                 PyObject *kwnames)
{
    static const char *const names[] = {"limit", "file"};
    return call_with_keywords(op, FUTURE(op)->st->task_print_stack, "print_stack",
                              names, 2, args, nargs, kwnames);
}

PyDoc_STRVAR(Task_set_result_doc,
"set_result($self, result, /)\n--\n\n"
"Raise RuntimeError: the coroutine gives the result.");

static PyObject *
Task_set_result(PyObject *Py_UNUSED(op), PyObject *Py_UNUSED(result))
{
    PyErr_SetString(PyExc_RuntimeError, "Task does not support set_result operation");
    return NULL;
}

PyDoc_STRVAR(Task_set_exception_doc,
"set_exception($self, exception, /)\n--\n\n"
"Raise RuntimeError: the coroutine gives the exception.");

static PyObject *
Task_set_exception(PyObject *Py_UNUSED(op), PyObject *Py_UNUSED(exc))
{
    PyErr_SetString(PyExc_RuntimeError,
                    "Task does not support set_exception operation");
    return NULL;
}

PyDoc_STRVAR(Task_get_coro_doc,
"get_coro($self)\n--\n\n"
"Return the coroutine, or None. Mirrors asyncio.Task.get_coro().");

static PyObject *
Task_get_coro(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    PyObject *coro = *task_coro(op);
    return Py_NewRef(coro ? coro : Py_None);
}

PyDoc_STRVAR(Task_get_context_doc,
"get_context($self)\n--\n\n"
"Return the contextvars.Context of the task.\n\n"
"Mirrors asyncio.Task.get_context(), on every version of Python.");

static PyObject *
Task_get_context(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    return Py_NewRef(task_context_or_none_borrow(op));
}

PyDoc_STRVAR(Task_get_name_doc,
"get_name($self)\n--\n\n"
"Return the name (str). Mirrors asyncio.Task.get_name().");

static PyObject *
Task_get_name(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    TaskData *t = TASK(op);
    if (t->name == NULL) {
        if (t->number == 0) {
            Py_RETURN_NONE;
        }
        PyObject *name = PyUnicode_FromFormat("Task-%llu",
                                              (unsigned long long)t->number);
        if (name == NULL) {
            return NULL;
        }
        Py_XSETREF(t->name, name);
    }
    return Py_NewRef(t->name);
}

PyDoc_STRVAR(Task_set_name_doc,
"set_name($self, value, /)\n--\n\n"
"Set the name to str(value). Mirrors asyncio.Task.set_name().");

static PyObject *
Task_set_name(PyObject *op, PyObject *value)
{
    PyObject *name = PyUnicode_CheckExact(value) ? Py_NewRef(value)
                                                 : PyObject_Str(value);
    if (name == NULL) {
        return NULL;
    }
    Py_XSETREF(TASK(op)->name, name);
    Py_RETURN_NONE;
}

static PyObject *
Task_repr(PyObject *op)
{
    return PyObject_CallOneArg(FUTURE(op)->st->task_repr, op);
}

/* --- attributes that libraries read ------------------------------------------- */

static PyObject *
Task_get__coro(PyObject *op, void *Py_UNUSED(closure))
{
    return Task_get_coro(op, NULL);
}

static PyObject *
Task_get_waiter(PyObject *op, void *Py_UNUSED(closure))
{
    PyObject *waiter = TASK(op)->waiter;
    return Py_NewRef(waiter ? waiter : Py_None);
}

static PyObject *
Task_get_must_cancel(PyObject *op, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(TASK(op)->must_cancel);
}

static PyObject *
Task_get_log_destroy_pending(PyObject *op, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(TASK(op)->log_destroy_pending);
}

static int
Task_set_log_destroy_pending(PyObject *op, PyObject *value, void *Py_UNUSED(closure))
{
    int rc = args_refuse_deletion(value) < 0 ? -1 : PyObject_IsTrue(value);
    if (rc < 0) {
        return -1;
    }
    TASK(op)->log_destroy_pending = rc;
    return 0;
}

static PyGetSetDef Task_getset[] = {
    FUTURE_COMMON_GETSET,
    {"_coro", Task_get__coro, NULL, NULL, NULL},
    {"_fut_waiter", Task_get_waiter, NULL, NULL, NULL},
    {"_must_cancel", Task_get_must_cancel, NULL, NULL, NULL},
    {"_log_destroy_pending", Task_get_log_destroy_pending, Task_set_log_destroy_pending,
     NULL, NULL},
    {NULL},
};

#define KEYWORDS(name, function, doc)                                                  \
    {name, (PyCFunction)(void (*)(void))function, METH_FASTCALL | METH_KEYWORDS, doc}

static PyMethodDef Task_methods[] = {
    FUTURE_COMMON_METHODS,
    KEYWORDS("cancel", Task_cancel, Task_cancel_doc),
    {"cancelling", Task_cancelling, METH_NOARGS, Task_cancelling_doc},
    {"uncancel", Task_uncancel, METH_NOARGS, Task_uncancel_doc},
    KEYWORDS("get_stack", Task_get_stack, Task_get_stack_doc),
    KEYWORDS("print_stack", Task_print_stack, Task_print_stack_doc),
    {"set_result", Task_set_result, METH_O, Task_set_result_doc},
    {"set_exception", Task_set_exception, METH_O, Task_set_exception_doc},
    {"get_coro", Task_get_coro, METH_NOARGS, Task_get_coro_doc},
    {"get_context", Task_get_context, METH_NOARGS, Task_get_context_doc},
    {"get_name", Task_get_name, METH_NOARGS, Task_get_name_doc},
    {"set_name", Task_set_name, METH_O, Task_set_name_doc},
    {NULL},
};

/* --- a step as a callable ----------------------------------------------------- */

/* Where a handle's callback has to stand for a step: of a loop in debug mode, or one
 * that is not ours. It is asyncio's TaskStepMethWrapper in all that can be seen. */
typedef struct {
    PyObject_HEAD
    PyObject *task; /* strong; NULL once cleared */
    PyObject *exc;  /* strong; to be thrown into the coroutine, or NULL */
} TaskStepObject;

#define STEP(op) ((TaskStepObject *)(op))

PyObject *
task_step_method(PyObject *op, PyObject *exc)
{
    PyTypeObject *type = (PyTypeObject *)FUTURE(op)->st->TaskStepType;
    PyObject *step = type->tp_alloc(type, 0);
    if (step != NULL) {
        STEP(step)->task = Py_NewRef(op);
        STEP(step)->exc = Py_XNewRef(exc);
    }
    return step;
}

static int
TaskStep_traverse(PyObject *op, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(op));
    Py_VISIT(STEP(op)->task);
    Py_VISIT(STEP(op)->exc);
    return 0;
}

static int
TaskStep_clear(PyObject *op)
{
    Py_CLEAR(STEP(op)->task);
    Py_CLEAR(STEP(op)->exc);
    return 0;
}

static void
TaskStep_dealloc(PyObject *op)
{
    PyTypeObject *type = Py_TYPE(op);
    PyObject_GC_UnTrack(op);
    (void)TaskStep_clear(op);
    type->tp_free(op);
    Py_DECREF(type);
}

static PyObject *
TaskStep_call(PyObject *op, PyObject *args, PyObject *kwargs)
{
    bool has_keywords = kwargs != NULL && PyDict_GET_SIZE(kwargs) > 0;
    if (has_keywords || PyTuple_GET_SIZE(args) > 0) {
        PyErr_Format(PyExc_TypeError, "function takes no %s arguments",
                     has_keywords ? "keyword" : "positional");
        return NULL;
    }
    if (STEP(op)->task == NULL) {
        Py_RETURN_NONE;
    }
    PyObject *task = Py_NewRef(STEP(op)->task), *exc = Py_XNewRef(STEP(op)->exc);
    int rc = task_step_strictly(task, exc);
    Py_DECREF(task);
    Py_XDECREF(exc);
    return rc < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *
TaskStep_repr(PyObject *op)
{
    return PyUnicode_FromFormat(PY_VERSION_HEX >= 0x030C0000
                                    ? "<_asyncio.TaskStepMethWrapper object at %p>"
                                    : "<TaskStepMethWrapper object at %p>",
                                op);
}

static PyObject *
TaskStep_get_self(PyObject *op, void *Py_UNUSED(closure))
{
    return Py_NewRef(STEP(op)->task ? STEP(op)->task : Py_None);
}

static PyGetSetDef TaskStep_getset[] = {
    {"__self__", TaskStep_get_self, NULL, NULL, NULL},
    {NULL},
};

static PyType_Slot TaskStep_slots[] = {
    {Py_tp_dealloc, TaskStep_dealloc},
    {Py_tp_traverse, TaskStep_traverse},
    {Py_tp_clear, TaskStep_clear},
    {Py_tp_call, TaskStep_call},
    {Py_tp_repr, TaskStep_repr},
    {Py_tp_getset, TaskStep_getset},
    {0, NULL},
};

static PyType_Spec TaskStep_spec = {
    .name = "evloop._core.TaskStepMethWrapper",
    .basicsize = sizeof(TaskStepObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION
        | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = TaskStep_slots,
};

/* --- type --------------------------------------------------------------------- */

#if PY_VERSION_HEX >= 0x030C0000
#define TASK_SIGNATURE "coro, *, loop=None, name=None, context=None, eager_start=False"
#else
#define TASK_SIGNATURE "coro, *, loop=None, name=None, context=None"
#endif

PyDoc_STRVAR(Task_doc,
"Task(" TASK_SIGNATURE ")\n--\n\n"
"A coroutine that an event loop runs; a native asyncio.Task.\n\n"
"loop: an event loop, or None for the current one; name: a str, or None for\n"
"'Task-N'; context: a contextvars.Context, or None for a copy of the current one;\n"
"eager_start (bool, Python 3.12 and later): take the first step at once, if the loop\n"
"is running.");

static PyType_Slot Task_slots[] = {
    {Py_tp_new, Future_new},
    {Py_tp_init, Task_init},
    {Py_tp_dealloc, Future_dealloc},
    {Py_tp_traverse, Future_traverse},
    {Py_tp_clear, Future_clear},
    {Py_tp_finalize, Task_finalize},
    {Py_tp_repr, Task_repr},
    {Py_tp_iter, Future_iter},
    {Py_am_await, Future_iter},
    {Py_tp_methods, Task_methods},
    {Py_tp_getset, Task_getset},
    {Py_tp_doc, (void *)Task_doc},
    {0, NULL},
};

Py_ssize_t task_coro_offset, task_context_offset;

static PyObject *
do_nothing(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(args),
           PyObject *Py_UNUSED(kwargs))
{
    Py_RETURN_NONE;
}

static PyMethodDef do_nothing_def = {"do_nothing",
                                     (PyCFunction)(void (*)(void))do_nothing,
                                     METH_VARARGS | METH_KEYWORDS, NULL};

/* A loop that asyncio.Task.__init__() is content with. */
static PyObject *
make_dummy_loop(void)
{
    PyObject *function = PyCFunction_New(&do_nothing_def, NULL);
    PyObject *types = function == NULL ? NULL : PyImport_ImportModule("types");
    PyObject *cls = types == NULL ? NULL
                                  : PyObject_GetAttrString(types, "SimpleNamespace");
    PyObject *kwargs = cls == NULL
        ? NULL
        : Py_BuildValue("{s:O,s:O}", "get_debug", function, "call_soon", function);
    PyObject *args = kwargs == NULL ? NULL : PyTuple_New(0);
    PyObject *loop = args == NULL ? NULL : PyObject_Call(cls, args, kwargs);
    Py_XDECREF(args);
    Py_XDECREF(kwargs);
    Py_XDECREF(cls);
    Py_XDECREF(types);
    Py_XDECREF(function);
    return loop;
}

static Py_ssize_t
find_field(PyObject *op, PyTypeObject *base, PyObject *value)
{
    PyObject **first = (PyObject **)((char *)op + sizeof(PyObject));
    PyObject **end = (PyObject **)((char *)op + base->tp_basicsize);
    for (PyObject **field = first; field < end; field++) {
        if (*field == value) {
            return (char *)field - (char *)op;
        }
    }
    return 0;
}

/* Has the base initialise a task of ours, and looks for what it was given. */
int
task_inspect_base(core_state *st)
{
    PyTypeObject *base = (PyTypeObject *)st->AsyncioTask;
    PyObject *op = future_alloc(st, st->TaskType);
    if (op == NULL) {
        return -1;
    }
    PyObject_GC_Track(op);
    PyObject *loop = make_dummy_loop(), *context = PyContext_New();
    PyObject *coro = PyObject_CallMethod(st->tasks, "sleep", "i", 0);
    PyObject *args = coro == NULL ? NULL : PyTuple_Pack(1, coro);
    PyObject *kwargs = loop == NULL || context == NULL
        ? NULL
        : Py_BuildValue("{s:O,s:O}", "loop", loop, "context", context);
    int rc = args == NULL || kwargs == NULL ? -1 : base->tp_init(op, args, kwargs);
    if (rc == 0) {
        Py_ssize_t coro_at = find_field(op, base, coro);
        Py_ssize_t context_at = find_field(op, base, context);
        (void)base->tp_clear(op);
        if (coro_at != 0 && context_at != 0) {
            task_coro_offset = coro_at;
            task_context_offset = context_at;
        }
        PyObject *res = PyObject_CallMethod(coro, "close", NULL);
        rc = res == NULL ? -1 : 0;
        Py_XDECREF(res);
    }
    Py_XDECREF(kwargs);
    Py_XDECREF(args);
    Py_XDECREF(coro);
    Py_XDECREF(context);
    Py_XDECREF(loop);
    Py_DECREF(op);
    return rc;
}

int
task_setup_type(PyObject *module, core_state *st)
{
    PyType_Spec spec = {
        .name = "evloop.Task",
        .basicsize = (int)future_size(1, sizeof(TaskData)),
        .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC
            | Py_TPFLAGS_IMMUTABLETYPE,
        .slots = Task_slots,
    };
    st->TaskType = PyType_FromModuleAndSpec(module, &spec, st->AsyncioTask);
    future_keep_attributes_in_dict(st->TaskType);
    st->TaskStepType = PyType_FromModuleAndSpec(module, &TaskStep_spec, NULL);
    task_setup_engine(st);
    if (task_coro_offset == 0) {
        const Py_ssize_t ours = future_offset;
        task_coro_offset = ours + (Py_ssize_t)offsetof(TaskData, own_coro);
        task_context_offset = ours + (Py_ssize_t)offsetof(TaskData, own_context);
    }
    return st->TaskType == NULL || st->TaskStepType == NULL
        ? -1
        : mro_insert((PyTypeObject *)st->TaskType, (PyTypeObject *)st->FutureType);
}
