/* module.c - evloop._core: multi-phase init, state per import, no global objects. */

#include "base.h"
#include "future.h"
#include "handle.h"
#include "loopobj.h"
#include "registry.h"
#include "sockops.h"
#include "sockwait.h"
#include "state.h"
#include "server.h"
#include "streamfeed.h"
#include "task.h"
#include "tls.h"

static int
intern_names(core_state *st)
{
#define NAME(name)                                                                     \
    st->str_##name = PyUnicode_InternFromString(#name);                                \
    if (st->str_##name == NULL) {                                                      \
        return -1;                                                                     \
    }
    STATE_NAMES(NAME)
#undef NAME
    return 0;
}

/* module.attr, or the module itself for attr NULL */
static PyObject *
import_object(const char *module, const char *attr)
{
    PyObject *mod = PyImport_ImportModule(module);
    if (mod == NULL || attr == NULL) {
        return mod;
    }
    PyObject *object = PyObject_GetAttrString(mod, attr);
    Py_DECREF(mod);
    return object;
}

static int
import_objects(core_state *st)
{
#define IMPORT(name, module, attr)                                                     \
    st->name = import_object(module, attr);                                            \
    if (st->name == NULL) {                                                            \
        return -1;                                                                     \
    }
    STATE_IMPORTS(IMPORT)
#undef IMPORT
    /* Its public name is deprecated from 3.14 on. */
    st->iscoroutinefunction = import_object("asyncio.coroutines",
                                            "_iscoroutinefunction");
    if (st->iscoroutinefunction == NULL
        && PyErr_ExceptionMatches(PyExc_AttributeError)) {
        PyErr_Clear();
        st->iscoroutinefunction = import_object("asyncio.coroutines",
                                                "iscoroutinefunction");
    }
    return st->iscoroutinefunction == NULL ? -1 : 0;
}

static int
make_constants(core_state *st)
{
    st->empty_tuple = PyTuple_New(0);
    st->kw_loop = PyTuple_Pack(1, st->str_loop);
    st->kw_debug = PyTuple_Pack(1, st->str_debug);
    st->kw_context = PyTuple_Pack(1, st->str_context);
    st->kw_resolve = PyTuple_Pack(4, st->str_family, st->str_type, st->str_proto,
                                  st->str_loop);
    st->coroutine_types = PySet_New(NULL);
    return st->empty_tuple && st->kw_loop && st->kw_debug && st->kw_context
            && st->kw_resolve && st->coroutine_types
        ? 0
        : -1;
}

static int
inspect_asyncio(core_state *st)
{
    PyObject *defaults = PyObject_GetAttrString(st->format_callback_source,
                                                "__kwdefaults__");
    if (defaults == NULL) {
        return -1;
    }
    st->format_takes_debug = defaults != Py_None;
    Py_DECREF(defaults);
    PyObject *create_task = PyObject_GetAttr(st->SelectorEventLoop,
                                             st->str_create_task);
    PyObject *code = create_task == NULL
        ? NULL
        : PyObject_GetAttrString(create_task, "__code__");
    Py_XDECREF(create_task);
    if (code == NULL) { /* somebody has put there what is no Python function */
        PyErr_Clear();
    }
    else if (PyCode_Check(code)) {
        st->create_task_takes_eager_start = ((PyCodeObject *)code)->co_flags
            & CO_VARKEYWORDS;
    }
    Py_XDECREF(code);
    st->futures_dict = Py_XNewRef(PyModule_GetDict(st->futures));
    st->tasks_dict = Py_XNewRef(PyModule_GetDict(st->tasks));
    return st->futures_dict && st->tasks_dict ? 0 : -1;
}

static int
core_exec(PyObject *module)
{
    core_state *st = PyMem_Calloc(1, sizeof(*st));
    if (st == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    *(core_state **)PyModule_GetState(module) = st; /* core_free() has it from here */
    for (int kind = 0; kind < HANDLE_KINDS; kind++) {
        st->dead_handles[kind].max = HANDLE_FREELIST_MAX;
    }
    st->dead_futures[false].max = st->dead_futures[true].max = FUTURE_FREELIST_MAX;
    st->dead_iters.max = FUTURE_ITER_FREELIST_MAX;
    st->dead_sockcalls.max = SOCKCALL_FREELIST_MAX;
    if (intern_names(st) < 0 || import_objects(st) < 0 || make_constants(st) < 0
        || inspect_asyncio(st) < 0 || handle_setup_types(module, st) < 0
        || loop_setup_type(module, st) < 0 || registry_setup(module, st) < 0
        || future_setup_types(module, st) < 0 || registry_inspect_types(st) < 0
        || task_inspect_base(st) < 0 || streamfeed_setup(st) < 0
        || transport_setup_types(module, st) < 0 || listener_setup_type(module, st) < 0
        || sockwait_setup_type(module, st) < 0 || sockcall_setup_type(module, st) < 0
        || clients_setup_type(module, st) < 0 || tls_setup_types(module, st) < 0
        || PyModule_AddFunctions(module, tls_module_methods) < 0) {
        return -1;
    }
    return PyModule_AddObjectRef(module, "Loop", st->LoopType) < 0
            || PyModule_AddObjectRef(module, "Handle", st->PlainHandleType) < 0
            || PyModule_AddObjectRef(module, "TimerHandle", st->TimerHandleType) < 0
            || PyModule_AddObjectRef(module, "Future", st->FutureType) < 0
            || PyModule_AddObjectRef(module, "Task", st->TaskType) < 0
            || PyModule_AddObjectRef(module, "Server", st->ServerType) < 0
            || PyModule_AddObjectRef(module, "StreamTransport", st->StreamTransportType)
                < 0
            || PyModule_AddObjectRef(module, "DatagramTransport",
                                     st->DatagramTransportType)
                < 0
            || PyModule_AddObjectRef(module, "ReadPipeTransport",
                                     st->ReadPipeTransportType)
                < 0
            || PyModule_AddObjectRef(module, "WritePipeTransport",
                                     st->WritePipeTransportType)
                < 0
        ? -1
        : 0;
}

PyDoc_STRVAR(live_objects_doc,
"live_objects($module)\n--\n\n"
"Return how many native objects are alive: a dict of type name (str) to int.");

static PyObject *
core_live_objects(PyObject *module, PyObject *Py_UNUSED(ignored))
{
    core_state *st = state_of(module);
    return Py_BuildValue("{s:n,s:n,s:n,s:n,s:n,s:n,s:n,s:n,s:n,s:n,s:n,s:n}", "Loop",
                         st->live_loops, "Handle", st->live_handles[HANDLE_PLAIN],
                         "TimerHandle", st->live_handles[HANDLE_TIMER],
                         "ThreadSafeHandle", st->live_handles[HANDLE_THREADSAFE],
                         "Future", st->live_futures[0], "Task", st->live_futures[1],
                         "FutureIter", st->live_iters, "SockCall", st->live_sockcalls,
                         "SockPort", st->live_ports, "Transport", st->live_transports,
                         "Listener", st->live_listeners, "TLSProtocol", st->live_tls);
}

/* _adopt(cls): see loop_adopt_class(). */
static PyObject *
core_adopt(PyObject *module, PyObject *cls)
{
    core_state *st = state_of(module);
    if (!PyType_Check(cls)
        || !PyType_IsSubtype((PyTypeObject *)cls, (PyTypeObject *)st->LoopType)) {
        PyErr_SetString(PyExc_TypeError, "a subclass of Loop is required");
        return NULL;
    }
    return loop_adopt_class(st, cls) < 0 ? NULL : Py_NewRef(cls);
}

static int
core_traverse(PyObject *module, visitproc visit, void *arg)
{
    core_state *st = state_of(module);
    if (st == NULL) {
        return 0;
    }
#define VISIT(name) Py_VISIT(st->name);
#define VISIT_IMPORT(name, module, attr) VISIT(name)
    STATE_IMPORTS(VISIT_IMPORT)
    STATE_OBJECTS(VISIT)
#undef VISIT
#undef VISIT_IMPORT
    return 0;
}

static void
state_clear(core_state *st)
{
#define CLEAR(name) Py_CLEAR(st->name);
#define CLEAR_NAME(name) Py_CLEAR(st->str_##name);
#define CLEAR_IMPORT(name, module, attr) CLEAR(name)
    STATE_NAMES(CLEAR_NAME)
    STATE_IMPORTS(CLEAR_IMPORT)
    STATE_OBJECTS(CLEAR)
#undef CLEAR
#undef CLEAR_NAME
#undef CLEAR_IMPORT
}

void
state_free_if_dead(core_state *st)
{
    if (LIKELY(!st->orphaned) || st->live_loops > 0 || st->live_futures[0] > 0
        || st->live_futures[1] > 0 || st->live_iters > 0 || st->live_sockcalls > 0
        || st->live_ports > 0 || st->live_transports > 0 || st->live_listeners > 0
        || st->live_tls > 0) {
        return;
    }
    for (int kind = 0; kind < HANDLE_KINDS; kind++) {
        if (st->live_handles[kind] > 0) {
            return;
        }
    }
    state_clear(st);
    PyMem_Free(st);
}

int
state_log(core_state *st, const char *method, PyObject *args, bool exc_info)
{
    PyObject *logger = args == NULL ? NULL
                                    : PyObject_GetAttr(st->base_events, st->str_logger);
    PyObject *function = logger == NULL ? NULL : PyObject_GetAttrString(logger, method);
    PyObject *kwargs = function == NULL || !exc_info
        ? NULL
        : Py_BuildValue("{s:O}", "exc_info", Py_True);
    PyObject *res = function == NULL || (exc_info && kwargs == NULL)
        ? NULL
        : PyObject_Call(function, args, kwargs);
    Py_XDECREF(kwargs);
    Py_XDECREF(function);
    Py_XDECREF(logger);
    Py_XDECREF(args);
    Py_XDECREF(res);
    return res == NULL ? -1 : 0;
}

/* There is no m_clear: what still lives may run Python code that needs the state. The
 * cycle of module and types is broken by the types. */
static void
core_free(void *module)
{
    core_state *st = state_of(module);
    if (st != NULL) {
        st->orphaned = true;
        for (int kind = 0; kind < HANDLE_KINDS; kind++) {
            freelist_close(&st->dead_handles[kind]);
        }
        future_close_freelists(st);
        freelist_close(&st->dead_iters);
        freelist_close(&st->dead_sockcalls);
        state_free_if_dead(st);
    }
}

static PyMethodDef core_methods[] = {
    {"_adopt", core_adopt, METH_O, NULL},
    {"live_objects", core_live_objects, METH_NOARGS, live_objects_doc},
    {NULL},
};

static PyModuleDef_Slot core_slots[] = {
    {Py_mod_exec, core_exec},
#if PY_VERSION_HEX >= 0x030C0000
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
#endif
    {0, NULL},
};

PyDoc_STRVAR(core_doc, "The native part of evloop; import evloop instead.");

struct PyModuleDef core_module = {
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "evloop._core",
    .m_doc = core_doc,
    .m_size = sizeof(core_state *),
    .m_methods = core_methods,
    .m_slots = core_slots,
    .m_traverse = core_traverse,
    .m_free = core_free,
};

PyMODINIT_FUNC
PyInit__core(void)
{
    return PyModuleDef_Init(&core_module);
}
