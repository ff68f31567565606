/* streamfeed.c - see streamfeed.h.
 *
 * The order is what makes it safe to give up: all that feed_data() will look at is
 * looked up first, by what runs no Python code; anything unusual leaves the data to
 * data_received(). Only then is something changed, and nothing in between can run
 * Python code either: the future is native, its loop plain. Pausing comes last, by
 * ordinary calls.
 *
 * That nothing is replaced in the classes is known by their version tags, which change
 * with any assignment to a class or its bases. That their instances shadow no method is
 * asked each time. Who owns what: struct feed owns what it points to. */

#include "streamfeed.h"
#include "compat.h"
#include "future.h"

struct feed {
    PyObject *reader;
    PyObject *buffer;   /* an exact bytearray */
    PyObject *waiter;   /* None, or a native future */
    Py_ssize_t limit;   /* the buffer may hold twice as much before it is paused */
};

/* --- are the classes asyncio's own? ------------------------------------------- */

static bool
has_plain_access(PyObject *type)
{
    const PyTypeObject *tp = (PyTypeObject *)type;
    return tp->tp_getattro == PyObject_GenericGetAttr
        && tp->tp_setattro == PyObject_GenericSetAttr;
}

/* The attributes of instances that are used here must not be the class's as well. */
static bool
classes_hold_their_own(core_state *st)
{
    PyObject *reader = st->StreamReader, *protocol = st->StreamReaderProtocol;
    const struct {
        PyObject *type, *name, *wanted;
    } checks[] = {
        {protocol, st->str_data_received, st->stream_data_received},
        {protocol, st->str__stream_reader, st->stream_reader},
        {protocol, st->str__stream_reader_wr, NULL},
        {reader, st->str_feed_data, st->stream_feed_data},
        {reader, st->str__wakeup_waiter, st->stream_wakeup_waiter},
        {reader, st->str__eof, NULL},
        {reader, st->str__buffer, NULL},
        {reader, st->str__waiter, NULL},
        {reader, st->str__limit, NULL},
    };
    if (!has_plain_access(protocol) || !has_plain_access(reader)) {
        return false;
    }
    for (size_t i = 0; i < Py_ARRAY_LENGTH(checks); i++) {
        if (_PyType_Lookup((PyTypeObject *)checks[i].type, checks[i].name)
            != checks[i].wanted) {
            return false;
        }
    }
    return true;
}

static bool
classes_are_stock(core_state *st)
{
    const PyTypeObject *reader = (PyTypeObject *)st->StreamReader;
    const PyTypeObject *protocol = (PyTypeObject *)st->StreamReaderProtocol;
    if (LIKELY(reader->tp_version_tag == st->stream_tags[0] && st->stream_tags[0] != 0
               && protocol->tp_version_tag == st->stream_tags[1]
               && st->stream_tags[1] != 0)) {
        return true;
    }
    bool stock = st->stream_reader != NULL && classes_hold_their_own(st);
    if (stock) { /* looking at a class has given it a tag, if it can have one */
        st->stream_tags[0] = reader->tp_version_tag;
        st->stream_tags[1] = protocol->tp_version_tag;
    }
    return stock;
}

/* A function of that name which asyncio.streams has made, or NULL. */
static PyObject *
own_function(PyObject *owner, const char *name, PyObject *globals)
{
    PyObject *found = PyObject_GetAttrString(owner, name);
    if (found != NULL && PyFunction_Check(found)
        && PyFunction_GET_GLOBALS(found) == globals) {
        return found;
    }
    PyErr_Clear();
    Py_XDECREF(found);
    return NULL;
}

int
streamfeed_setup(core_state *st)
{
    PyObject *module = PyImport_ImportModule("asyncio.streams");
    if (module == NULL) {
        return -1;
    }
    PyObject *globals = PyModule_GetDict(module);
    st->stream_data_received = own_function(st->StreamReaderProtocol, "data_received",
                                            globals);
    st->stream_feed_data = own_function(st->StreamReader, "feed_data", globals);
    st->stream_wakeup_waiter = own_function(st->StreamReader, "_wakeup_waiter",
                                            globals);
    PyObject *property = PyObject_GetAttr(st->StreamReaderProtocol,
                                          st->str__stream_reader);
    PyErr_Clear();
    PyObject *getter = property != NULL && Py_IS_TYPE(property, &PyProperty_Type)
        ? own_function(property, "fget", globals)
        : NULL;
    /* Patched before we came: there is nothing to compare with. */
    if (getter != NULL && st->stream_data_received != NULL
        && st->stream_feed_data != NULL && st->stream_wakeup_waiter != NULL) {
        st->stream_reader = Py_NewRef(property);
    }
    Py_XDECREF(getter);
    Py_XDECREF(property);
    Py_DECREF(module);
    return 0;
}

/* --- what feed_data() looks at ------------------------------------------------ */

/* Whether obj.name is the class's method, which the instance does not shadow. */
static bool
is_method(PyObject *obj, PyObject *name, PyObject *function)
{
    PyObject *found = NULL;
    int unbound = _PyObject_GetMethod(obj, name, &found);
    bool same = unbound && found == function;
    Py_XDECREF(found);
    return same;
}

/* protocol._stream_reader if that is an exact StreamReader: new reference, or NULL. */
static PyObject *
find_reader(core_state *st, PyObject *protocol)
{
    PyObject *ref = PyObject_GenericGetAttr(protocol, st->str__stream_reader_wr);
    PyObject *reader = NULL;
    if (ref != NULL && PyWeakref_CheckRefExact(ref)) {
        (void)PyWeakref_GetRef(ref, &reader);
    }
    Py_XDECREF(ref);
    if (reader != NULL && !Py_IS_TYPE(reader, (PyTypeObject *)st->StreamReader)) {
        Py_CLEAR(reader);
    }
    return reader;
}

/* Whether set_result() does no more than to put something on a ready ring. */
static bool
is_easily_woken(core_state *st, PyObject *waiter)
{
    if (waiter == Py_None) {
        return true;
    }
    if (!future_is_exact(st, waiter)) {
        return false;
    }
    FutureData *f = FUTURE(waiter);
    LoopObject *loop = future_native_loop(f);
    return loop != NULL && loop_is_plain(loop)
        && (f->state == FUTURE_PENDING || f->state == FUTURE_CANCELLED);
}

/* -1 if it is none of what a limit usually is. */
static Py_ssize_t
limit_of(PyObject *limit)
{
    int overflow = 0;
    long value = PyLong_CheckExact(limit) ? PyLong_AsLongAndOverflow(limit, &overflow)
                                          : -1;
    return overflow || value < 0 || value > PY_SSIZE_T_MAX / 2 ? -1 : value;
}

static bool
feed_look_up(core_state *st, PyObject *protocol, struct feed *feed)
{
    if (!is_method(protocol, st->str_data_received, st->stream_data_received)) {
        return false;
    }
    PyObject *reader = feed->reader = find_reader(st, protocol);
    if (reader == NULL || !is_method(reader, st->str_feed_data, st->stream_feed_data)
        || !is_method(reader, st->str__wakeup_waiter, st->stream_wakeup_waiter)) {
        return false;
    }
    PyObject *eof = PyObject_GenericGetAttr(reader, st->str__eof);
    Py_XDECREF(eof); /* a bool, or compared only */
    if (eof != Py_False) {
        return false;
    }
    feed->buffer = PyObject_GenericGetAttr(reader, st->str__buffer);
    if (feed->buffer == NULL || !PyByteArray_CheckExact(feed->buffer)) {
        return false;
    }
    feed->waiter = PyObject_GenericGetAttr(reader, st->str__waiter);
    if (feed->waiter == NULL || !is_easily_woken(st, feed->waiter)) {
        return false;
    }
    PyObject *limit = PyObject_GenericGetAttr(reader, st->str__limit);
    feed->limit = limit == NULL ? -1 : limit_of(limit);
    Py_XDECREF(limit);
    return feed->limit >= 0;
}

/* --- what feed_data() does ---------------------------------------------------- */

static bool
append(PyObject *buffer, const char *data, Py_ssize_t size)
{
    Py_ssize_t old = PyByteArray_GET_SIZE(buffer);
    if (size > PY_SSIZE_T_MAX - old || PyByteArray_Resize(buffer, old + size) < 0) {
        return false;
    }
    memcpy(PyByteArray_AS_STRING(buffer) + old, data, (size_t)size);
    return true;
}

/* reader._wakeup_waiter() */
static int
wake_waiter(core_state *st, const struct feed *feed)
{
    PyObject *waiter = feed->waiter;
    if (waiter == Py_None) {
        return 0;
    }
    if (PyObject_GenericSetAttr(feed->reader, st->str__waiter, Py_None) < 0) {
        return -1;
    }
    int rc = 0;
    Py_BEGIN_CRITICAL_SECTION(waiter);
    if (FUTURE(waiter)->state != FUTURE_CANCELLED) {
        rc = future_set_result_lock_held(waiter, Py_None);
    }
    Py_END_CRITICAL_SECTION();
    return rc;
}

/* More than twice the limit is there: pauses the transport, if there is one. */
static int
pause_reading(core_state *st, PyObject *reader)
{
    PyObject *transport = PyObject_GetAttr(reader, st->str__transport);
    PyObject *paused = transport == NULL || transport == Py_None
        ? Py_NewRef(Py_True)
        : PyObject_GetAttr(reader, st->str__paused);
    int rc = transport == NULL || paused == NULL ? -1 : PyObject_IsTrue(paused);
    if (rc == 0) {
        PyObject *res = PyObject_CallMethodNoArgs(transport, st->str_pause_reading);
        if (res != NULL) {
            rc = PyObject_SetAttr(reader, st->str__paused, Py_True);
        }
        else if (PyErr_ExceptionMatches(PyExc_NotImplementedError)) {
            PyErr_Clear();
            rc = PyObject_SetAttr(reader, st->str__transport, Py_None);
        }
        else {
            rc = -1;
        }
        Py_XDECREF(res);
    }
    Py_XDECREF(paused);
    Py_XDECREF(transport);
    return rc < 0 ? -1 : 0;
}

int
streamfeed_data(core_state *st, PyObject *protocol, const char *data, Py_ssize_t size)
{
    if (UNLIKELY(!classes_are_stock(st))) {
        return 0;
    }
    int rc = 0;
    struct feed feed = {.limit = 0};
    if (LIKELY(feed_look_up(st, protocol, &feed) && append(feed.buffer, data, size))) {
        rc = wake_waiter(st, &feed);
        if (rc == 0 && PyByteArray_GET_SIZE(feed.buffer) > 2 * feed.limit) {
            rc = pause_reading(st, feed.reader);
        }
        rc = rc < 0 ? -1 : 1;
    }
    else { /* lacking attributes, exports of the buffer: Python will say it again */
        PyErr_Clear();
    }
    Py_XDECREF(feed.waiter);
    Py_XDECREF(feed.buffer);
    Py_XDECREF(feed.reader);
    return rc;
}
