/* tlslib.c - see tlslib.h: finding the interpreter's own libssl. */

#include "tlslib.h"

#include <dlfcn.h>

/* Filled before it is pointed to, and never changed then. */
static struct tls_lib library;
const struct tls_lib *tls_lib;

static PyObject *
tlslib_reason(const char *format, const char *what)
{
    return PyUnicode_FromFormat(format, what);
}

/* The functions, from what the file is linked to. NULL, or the reason why not. */
static PyObject *
tlslib_look_up(const char *file, struct tls_lib *lib)
{
    void *handle = dlopen(file, RTLD_LAZY | RTLD_LOCAL | RTLD_NOLOAD);
    if (handle == NULL) {
        return tlslib_reason("%s is not loaded", file);
    }
    const char *missing = NULL;
    /* C has no cast from void * to a pointer to a function. */
#define LOOK_UP(result, name, args)                                                    \
    if (missing == NULL) {                                                             \
        void *found = dlsym(handle, #name);                                            \
        memcpy(&lib->name, &found, sizeof(found));                                     \
        missing = found == NULL ? #name : NULL;                                        \
    }
    TLS_FUNCTIONS(LOOK_UP)
#undef LOOK_UP
    dlclose(handle); /* `_ssl` keeps it loaded */
    return missing == NULL ? NULL
                           : tlslib_reason("the ssl module exports no %s", missing);
}

static PyObject *
tlslib_check(const struct tls_lib *lib, const char *version, PyObject *context,
             PyObject *raw)
{
    if (strcmp(lib->OpenSSL_version(0), version) != 0) {
        return tlslib_reason("the library found is %s, not the ssl module's",
                             lib->OpenSSL_version(0));
    }
    const Py_ssize_t least = sizeof(PyObject) + 2 * sizeof(void *);
    SSL_CTX *ctx = NULL;
    SSL *ssl = NULL;
    if (Py_TYPE(raw)->tp_basicsize >= least
        && Py_TYPE(context)->tp_basicsize >= least) {
        ctx = *(SSL_CTX **)((char *)context + sizeof(PyObject));
        ssl = tlslib_ssl_of(raw);
    }
    if (ctx == NULL || ssl == NULL || lib->SSL_get_SSL_CTX(ssl) != ctx) {
        return tlslib_reason("the objects of the ssl module are not as %s",
                             "they are known");
    }
    return NULL;
}

static BIO_METHOD *
tlslib_make_method(const struct tls_lib *lib, const struct tls_bio_calls *what)
{
    int type = lib->BIO_get_new_index();
    BIO_METHOD *method = type < 0 ? NULL
                                  : lib->BIO_meth_new(type | TLS_BIO_TYPE, "evloop");
    if (method != NULL
        && !(lib->BIO_meth_set_read(method, what->read)
             && lib->BIO_meth_set_write(method, what->write)
             && lib->BIO_meth_set_ctrl(method, what->ctrl))) {
        lib->BIO_meth_free(method);
        method = NULL;
    }
    return method;
}

PyObject *
tlslib_open(PyObject *file, PyObject *version, PyObject *context, PyObject *raw,
            const struct tls_bio_calls *what)
{
    if (tls_lib != NULL) {
        return NULL;
    }
    const char *path = PyUnicode_AsUTF8(file);
    const char *text = path == NULL ? NULL : PyUnicode_AsUTF8(version);
    if (text == NULL) {
        return NULL;
    }
    struct tls_lib lib;
    PyObject *reason = tlslib_look_up(path, &lib);
    if (reason == NULL && !PyErr_Occurred()) {
        reason = tlslib_check(&lib, text, context, raw);
    }
    if (reason != NULL || PyErr_Occurred()) {
        return reason;
    }
    lib.method = tlslib_make_method(&lib, what);
    if (lib.method == NULL) {
        return PyErr_NoMemory();
    }
    library = lib;
    tls_lib = &library;
    return NULL;
}
