/* allocations.c - count what is asked of Python's allocators.
 *
 * test_task_allocations.py compiles this. install() puts a hook before each of
 * the three domains, uninstall() takes them away; between start() and stop() the
 * hooks count. None of these four allocates, so code that calls them can measure
 * itself. Every call goes on to the allocator that was there before: what was
 * allocated with the hooks may be freed without them, and the reverse. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdatomic.h>

#define DOMAINS 3

static PyMemAllocatorEx stock[DOMAINS]; /* by PyMemAllocatorDomain */
static int installed;

/* Atomic, for the RAW domain is open to threads that do not hold the GIL. */
static atomic_bool counting;
static atomic_ulong allocations;

static void
note(void)
{
    if (atomic_load(&counting)) {
        atomic_fetch_add(&allocations, 1);
    }
}

static void *
hook_malloc(void *ctx, size_t size)
{
    PyMemAllocatorEx *next = ctx;
    note();
    return next->malloc(next->ctx, size);
}

static void *
hook_calloc(void *ctx, size_t count, size_t size)
{
    PyMemAllocatorEx *next = ctx;
    note();
    return next->calloc(next->ctx, count, size);
}

static void *
hook_realloc(void *ctx, void *block, size_t size)
{
    PyMemAllocatorEx *next = ctx;
    note();
    return next->realloc(next->ctx, block, size);
}

/* Not counted: the interpreter's caches let go of old entries now and then. */
static void
hook_free(void *ctx, void *block)
{
    PyMemAllocatorEx *next = ctx;
    next->free(next->ctx, block);
}

static PyObject *
install(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    if (installed) {
        PyErr_SetString(PyExc_RuntimeError, "the hooks are installed");
        return NULL;
    }
    for (int domain = 0; domain < DOMAINS; domain++) {
        PyMemAllocatorEx hooks = {
            .ctx = &stock[domain],
            .malloc = hook_malloc,
            .calloc = hook_calloc,
            .realloc = hook_realloc,
            .free = hook_free,
        };
        PyMem_GetAllocator((PyMemAllocatorDomain)domain, &stock[domain]);
        PyMem_SetAllocator((PyMemAllocatorDomain)domain, &hooks);
    }
    installed = 1;
    Py_RETURN_NONE;
}

static PyObject *
uninstall(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    atomic_store(&counting, 0);
    if (installed) {
        for (int domain = 0; domain < DOMAINS; domain++) {
            PyMem_SetAllocator((PyMemAllocatorDomain)domain, &stock[domain]);
        }
        installed = 0;
    }
    Py_RETURN_NONE;
}

static PyObject *
start(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    atomic_store(&allocations, 0);
    atomic_store(&counting, 1);
    Py_RETURN_NONE;
}

static PyObject *
stop(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    atomic_store(&counting, 0);
    Py_RETURN_NONE;
}

static PyObject *
counted(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    return PyLong_FromUnsignedLong(atomic_load(&allocations));
}

static PyMethodDef methods[] = {
    {"install", install, METH_NOARGS, "Hook the allocators of all domains."},
    {"uninstall", uninstall, METH_NOARGS, "Put the allocators back, if hooked."},
    {"start", start, METH_NOARGS, "Count from nought, from now on."},
    {"stop", stop, METH_NOARGS, "Count no more."},
    {"counted", counted, METH_NOARGS, "Return how many allocations were counted."},
    {NULL},
};

static PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "allocations",
    .m_methods = methods,
};

PyMODINIT_FUNC
PyInit_allocations(void)
{
    return PyModuleDef_Init(&definition);
}
