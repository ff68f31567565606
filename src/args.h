/* args.h - arguments of methods like call_at(when, callback, *args, context=None).
 *
 * Errors are worded as the interpreter words them for asyncio's own methods. */

#ifndef EVLOOP_ARGS_H
#define EVLOOP_ARGS_H

#include "base.h"

#define ARGS_LEAD_MAX 2

struct args_spec {
    const char *method;              /* as in its __qualname__ */
    const char *lead[ARGS_LEAD_MAX]; /* names of the required parameters */
    int nlead;
    bool takes_context;
};

struct args {
    PyObject *lead[ARGS_LEAD_MAX]; /* borrowed */
    PyObject *const *rest;         /* borrowed: *args */
    Py_ssize_t nrest;
    PyObject *context; /* borrowed; NULL when absent or None */
};

/* The general case, with keywords or with too few arguments. */
int args_parse_slowly(const struct args_spec *spec, PyObject *const *argv,
                      Py_ssize_t nargs, PyObject *kwnames, struct args *out);

static inline int
args_parse(const struct args_spec *spec, PyObject *const *argv, Py_ssize_t nargs,
           PyObject *kwnames, struct args *out)
{
    if (UNLIKELY(kwnames != NULL || nargs < spec->nlead)) {
        return args_parse_slowly(spec, argv, nargs, kwnames, out);
    }
    for (int i = 0; i < spec->nlead; i++) {
        out->lead[i] = argv[i];
    }
    out->rest = argv + spec->nlead;
    out->nrest = nargs - spec->nlead;
    out->context = NULL;
    return 0;
}

/* For setters: AttributeError if the attribute is being deleted. */
int args_refuse_deletion(PyObject *value);

/* For a method of exactly one argument, by position or by name: that argument,
 * borrowed, or NULL with an exception set. */
PyObject *args_parse_one(const struct args_spec *spec, PyObject *const *argv,
                         Py_ssize_t nargs, PyObject *kwnames);

/* Gives a class written in Python descriptors of its own of a native base's methods, or
 * the interpreter could not specialise calls of them. The array ends with a name that
 * is NULL, and outlives the class. */
int args_adopt(PyObject *cls, PyMethodDef *methods);

/* What a method returns that has nothing to return. */
static inline PyObject *
none_or_error(int rc)
{
    return rc < 0 ? NULL : Py_NewRef(Py_None);
}

#endif
