/* args.c - see args.h. */

#include "args.h"

static int
args_take_keyword(const struct args_spec *spec, PyObject *name, PyObject *value,
                  struct args *out)
{
    if (spec->takes_context && PyUnicode_CompareWithASCIIString(name, "context") == 0) {
        out->context = value == Py_None ? NULL : value;
        return 0;
    }
    for (int i = 0; i < spec->nlead; i++) {
        if (PyUnicode_CompareWithASCIIString(name, spec->lead[i]) == 0) {
            if (out->lead[i] != NULL) {
                PyErr_Format(PyExc_TypeError,
                             "%s() got multiple values for argument '%U'", spec->method,
                             name);
                return -1;
            }
            out->lead[i] = value;
            return 0;
        }
    }
    PyErr_Format(PyExc_TypeError, "%s() got an unexpected keyword argument '%U'",
                 spec->method, name);
    return -1;
}

static int
args_check_missing(const struct args_spec *spec, const struct args *out)
{
    const char *missing[ARGS_LEAD_MAX];
    int n = 0;
    for (int i = 0; i < spec->nlead; i++) {
        if (out->lead[i] == NULL) {
            missing[n++] = spec->lead[i];
        }
    }
    if (n == 1) {
        PyErr_Format(PyExc_TypeError,
                     "%s() missing 1 required positional argument: '%s'", spec->method,
                     missing[0]);
    }
    else if (n == 2) {
        PyErr_Format(PyExc_TypeError,
                     "%s() missing 2 required positional arguments: '%s' and '%s'",
                     spec->method, missing[0], missing[1]);
    }
    return n == 0 ? 0 : -1;
}

int
args_parse_slowly(const struct args_spec *spec, PyObject *const *argv, Py_ssize_t nargs,
                  PyObject *kwnames, struct args *out)
{
    *out = (struct args){.rest = argv + nargs};
    for (int i = 0; i < spec->nlead && i < nargs; i++) {
        out->lead[i] = argv[i];
    }
    if (nargs > spec->nlead) {
        out->rest = argv + spec->nlead;
        out->nrest = nargs - spec->nlead;
    }
    Py_ssize_t nkw = kwnames == NULL ? 0 : PyTuple_GET_SIZE(kwnames);
    for (Py_ssize_t i = 0; i < nkw; i++) {
        if (args_take_keyword(spec, PyTuple_GET_ITEM(kwnames, i), argv[nargs + i], out)
            < 0) {
            return -1;
        }
    }
    return args_check_missing(spec, out);
}

PyObject *
args_parse_one(const struct args_spec *spec, PyObject *const *argv, Py_ssize_t nargs,
               PyObject *kwnames)
{
    struct args a;
    if (args_parse(spec, argv, nargs, kwnames, &a) < 0) {
        return NULL;
    }
    if (a.nrest > 0) {
        PyErr_Format(PyExc_TypeError,
                     "%s() takes 2 positional arguments but %zd were given",
                     spec->method, nargs + 1);
        return NULL;
    }
    return a.lead[0];
}

int
args_refuse_deletion(PyObject *value)
{
    if (value == NULL) {
        PyErr_SetString(PyExc_AttributeError, "the attribute cannot be deleted");
        return -1;
    }
    return 0;
}

int
args_adopt(PyObject *cls, PyMethodDef *methods)
{
    for (PyMethodDef *def = methods; def->ml_name != NULL; def++) {
        PyObject *method = PyDescr_NewMethod((PyTypeObject *)cls, def);
        int rc = method == NULL ? -1
                                : PyObject_SetAttrString(cls, def->ml_name, method);
        Py_XDECREF(method);
        if (rc < 0) {
            return -1;
        }
    }
    return 0;
}
