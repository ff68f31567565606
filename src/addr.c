/* addr.c - see addr.h. */

#include "addr.h"

#include <arpa/inet.h>

static PyObject *
addr_host(const struct sockaddr *addr)
{
    char text[INET6_ADDRSTRLEN + 1 + 16];
    const void *raw = addr->sa_family == AF_INET
        ? (const void *)&((const struct sockaddr_in *)addr)->sin_addr
        : (const void *)&((const struct sockaddr_in6 *)addr)->sin6_addr;
    if (inet_ntop(addr->sa_family, raw, text, sizeof(text)) == NULL) {
        return NULL;
    }
    return PyUnicode_FromString(text);
}

static PyObject *
addr_unix(const struct sockaddr_un *un, socklen_t len)
{
    size_t size = len > offsetof(struct sockaddr_un, sun_path)
        ? len - offsetof(struct sockaddr_un, sun_path)
        : 0;
    if (size > sizeof(un->sun_path)) { /* the kernel counts a NUL that is not there */
        size = sizeof(un->sun_path);
    }
    if (size > 0 && un->sun_path[0] == 0) { /* abstract: as long as the name */
        return PyBytes_FromStringAndSize(un->sun_path, (Py_ssize_t)size);
    }
    return PyUnicode_DecodeFSDefaultAndSize(
        un->sun_path, (Py_ssize_t)(size == 0 ? 0 : strnlen(un->sun_path, size)));
}

PyObject *
addr_to_object(const struct sockaddr *addr, socklen_t len)
{
    if (len == 0) {
        Py_RETURN_NONE;
    }
    if (addr->sa_family == AF_UNIX) {
        return addr_unix((const struct sockaddr_un *)addr, len);
    }
    if (addr->sa_family == AF_INET) {
        return Py_BuildValue("Ni", addr_host(addr),
                             ntohs(((const struct sockaddr_in *)addr)->sin_port));
    }
    if (addr->sa_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)addr;
        return Py_BuildValue("NiII", addr_host(addr), ntohs(in6->sin6_port),
                             (unsigned)ntohl(in6->sin6_flowinfo),
                             (unsigned)in6->sin6_scope_id);
    }
    return NULL;
}

int
addr_read_int(PyObject *sock, const char *name, int *value)
{
    PyObject *attr = PyObject_GetAttrString(sock, name);
    long number = attr == NULL ? -1 : PyLong_AsLong(attr);
    Py_XDECREF(attr);
    if (number == -1 && PyErr_Occurred()) {
        return -1;
    }
    *value = (int)number;
    return 0;
}
