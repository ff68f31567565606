/* module.c - the face of evloop._core: multi-phase init. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

static PyType_Slot Loop_slots[] = {{0, NULL}};

static PyType_Spec Loop_spec = {
    .name = "evloop._core.Loop",
    .basicsize = sizeof(PyObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .slots = Loop_slots,
};

static int
core_exec(PyObject *module)
{
    PyObject *type = PyType_FromModuleAndSpec(module, &Loop_spec, NULL);
    if (type == NULL || PyModule_AddType(module, (PyTypeObject *)type) < 0) {
        Py_XDECREF(type);
        return -1;
    }
    Py_DECREF(type);
    PyObject *events = PyImport_ImportModule("asyncio.events");
    if (events == NULL) {
        return -1;
    }
    PyObject *handle = PyObject_GetAttrString(events, "Handle");
    PyObject *timer = PyObject_GetAttrString(events, "TimerHandle");
    Py_DECREF(events);
    int rc = handle && timer ? PyModule_AddObjectRef(module, "Handle", handle) : -1;
    rc = rc == 0 ? PyModule_AddObjectRef(module, "TimerHandle", timer) : -1;
    Py_XDECREF(handle);
    Py_XDECREF(timer);
    return rc < 0 ? -1 : PyModule_AddStringConstant(module, "__version__", "0.1.0");
}

static PyModuleDef_Slot core_slots[] = {
    {Py_mod_exec, core_exec},
    {0, NULL},
};

static struct PyModuleDef core_module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "evloop._core",
    .m_size = 0,
    .m_slots = core_slots,
};

PyMODINIT_FUNC
PyInit__core(void)
{
    return PyModuleDef_Init(&core_module);
}
