/* loopcalls.c - what user code schedules: callbacks, timers, readers, writers. */

#include "args.h"
#include "compat.h"
#include "handle.h"
#include "inbox.h"
#include "loopobj.h"
#include "source.h"
#include "sys.h"

#include <math.h>

/* --- call_soon ---------------------------------------------------------------- */

static const struct args_spec call_soon_spec = {
    "BaseEventLoop.call_soon", {"callback"}, 1, true};
static const struct args_spec call_soon_threadsafe_spec = {
    "BaseEventLoop.call_soon_threadsafe", {"callback"}, 1, true};
static const struct args_spec call_later_spec = {
    "BaseEventLoop.call_later", {"delay", "callback"}, 2, true};
static const struct args_spec call_at_spec = {
    "BaseEventLoop.call_at", {"when", "callback"}, 2, true};

static PyObject *
tuple_of(PyObject *const *argv, Py_ssize_t nargs)
{
    PyObject *tuple = PyTuple_New(nargs);
    for (Py_ssize_t i = 0; tuple != NULL && i < nargs; i++) {
        PyTuple_SET_ITEM(tuple, i, Py_NewRef(argv[i]));
    }
    return tuple;
}

/* What asyncio checks in debug mode only, by the methods that a subclass may have. */
static int
check_in_debug(LoopObject *self, PyObject *callback, const char *method,
               bool any_thread)
{
    PyObject *op = (PyObject *)self;
    if (!any_thread) {
        PyObject *res = PyObject_CallMethod(op, "_check_thread", NULL);
        Py_XDECREF(res);
        if (res == NULL) {
            return -1;
        }
    }
    PyObject *res = PyObject_CallMethod(op, "_check_callback", "Os", callback, method);
    Py_XDECREF(res);
    return res == NULL ? -1 : 0;
}

static PyObject *
new_traced_handle(LoopObject *self, enum handle_kind kind, PyObject *callback,
                  PyObject *const *argv, Py_ssize_t nargs, PyObject *context)
{
    PyObject *op = (PyObject *)self;
    PyObject *handle = handle_new(self->st, kind, op, callback, argv, nargs, context);
    int debug = handle == NULL ? -1 : loop_get_debug(self->st, op);
    if (debug < 0 || (debug && handle_trace(handle) < 0)) {
        Py_CLEAR(handle);
    }
    return handle;
}

/* self._call_soon(callback, args, context) */
static PyObject *
call_hooked(LoopObject *self, struct args *a)
{
    PyObject *rest = tuple_of(a->rest, a->nrest);
    if (rest == NULL) {
        return NULL;
    }
    PyObject *handle = PyObject_CallMethod((PyObject *)self, "_call_soon", "OOO",
                                           a->lead[0], rest,
                                           a->context ? a->context : Py_None);
    Py_DECREF(rest);
    return handle;
}

static PyObject *
call_soon_slowly(LoopObject *self, struct args *a, bool any_thread)
{
    const char *method = any_thread ? "call_soon_threadsafe" : "call_soon";
    if (loop_check_closed(self) < 0
        || (self->debug && check_in_debug(self, a->lead[0], method, any_thread) < 0)) {
        return NULL;
    }
    PyObject *handle;
    /* From 3.14 on asyncio's call_soon_threadsafe() makes its own kind of handle. */
    bool own_kind = any_thread && HANDLE_FROM_THREADS != HANDLE_PLAIN;
    if (!own_kind && loop_hooked(self, HOOK_CALL_SOON)) {
        handle = call_hooked(self, a);
    }
    else {
        handle = new_traced_handle(self,
                                   any_thread ? HANDLE_FROM_THREADS : HANDLE_PLAIN,
                                   a->lead[0], a->rest, a->nrest, a->context);
        if (handle != NULL && loop_push(self, handle) < 0) {
            Py_CLEAR(handle);
        }
    }
    if (handle != NULL && any_thread) {
        PyObject *res = PyObject_CallMethod((PyObject *)self, "_write_to_self", NULL);
        if (res == NULL) {
            Py_CLEAR(handle);
        }
        Py_XDECREF(res);
    }
    return handle;
}

static inline bool
must_go_slowly(LoopObject *self)
{
    return UNLIKELY(self->closed || self->debug || self->selector != SELECTOR_OURS
                    || loop_hooked(self, HOOKS_OF_CALL));
}

const char Loop_call_soon_doc[] = PyDoc_STR(
"call_soon($self, callback, *args, context=None)\n--\n\n"
"Call callback(*args) in the next turn of the loop, after what is scheduled already.\n\n"
"context: a contextvars.Context, or None for a copy of the current one. Returns a\n"
"Handle. Raises RuntimeError if the loop is closed. Mirrors\n"
"asyncio.loop.call_soon().");

PyObject *
Loop_call_soon(FASTCALL_ARGS)
{
    LoopObject *self = LOOP(op);
    struct args a;
    if (args_parse(&call_soon_spec, args, nargs, kwnames, &a) < 0) {
        return NULL;
    }
    if (must_go_slowly(self)) {
        return call_soon_slowly(self, &a, false);
    }
    PyObject *handle = handle_new(self->st, HANDLE_PLAIN, op, a.lead[0], a.rest,
                                  a.nrest, a.context);
    if (LIKELY(handle != NULL) && UNLIKELY(loop_push(self, handle) < 0)) {
        Py_CLEAR(handle);
    }
    return handle;
}

const char Loop_call_soon_threadsafe_doc[] = PyDoc_STR(
"call_soon_threadsafe($self, callback, *args, context=None)\n--\n\n"
"Like call_soon(), from any thread: it wakes the loop if that waits.\n\n"
"Mirrors asyncio.loop.call_soon_threadsafe().");

PyObject *
Loop_call_soon_threadsafe(FASTCALL_ARGS)
{
    LoopObject *self = LOOP(op);
    struct args a;
    if (args_parse(&call_soon_threadsafe_spec, args, nargs, kwnames, &a) < 0) {
        return NULL;
    }
    if (must_go_slowly(self)) {
        return call_soon_slowly(self, &a, true);
    }
    PyObject *handle = handle_new(self->st, HANDLE_FROM_THREADS, op, a.lead[0], a.rest,
                                  a.nrest, a.context);
    if (LIKELY(handle != NULL) && UNLIKELY(inbox_push(self, handle) < 0)) {
        Py_CLEAR(handle);
    }
    return handle;
}

/* _call_soon(callback, args, context): a handle in the ready ring. */
PyObject *
Loop__call_soon(PyObject *op, PyObject *args)
{
    PyObject *callback, *rest, *context;
    if (!PyArg_ParseTuple(args, "OO!O:_call_soon", &callback, &PyTuple_Type, &rest,
                          &context)) {
        return NULL;
    }
    PyObject *handle = new_traced_handle(
        LOOP(op), HANDLE_PLAIN, callback, PySequence_Fast_ITEMS(rest),
        PyTuple_GET_SIZE(rest), context == Py_None ? NULL : context);
    if (handle != NULL && loop_push(LOOP(op), handle) < 0) {
        Py_CLEAR(handle);
    }
    return handle;
}

PyObject *
Loop__add_callback(PyObject *op, PyObject *handle)
{
    int cancelled = handle_is_cancelled(LOOP(op)->st, handle);
    if (cancelled < 0 || (!cancelled && loop_push(LOOP(op), handle) < 0)) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyObject *
Loop__add_callback_signalsafe(PyObject *op, PyObject *handle)
{
    PyObject *res = PyObject_CallMethodOneArg(op, LOOP(op)->st->str__add_callback,
                                              handle);
    if (res == NULL) {
        return NULL;
    }
    Py_DECREF(res);
    return PyObject_CallMethod(op, "_write_to_self", NULL);
}

PyObject *
Loop__write_to_self(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    LoopObject *self = LOOP(op);
    inbox_wake(self);
    if (self->selector == SELECTOR_FOREIGN) {
        return loop_call_base(self, "_write_to_self", NULL, 0, NULL);
    }
    Py_RETURN_NONE;
}

/* --- timers ------------------------------------------------------------------- */

/* A scheduled timer. when_object: NULL, or `when` as it was given. */
static PyObject *
schedule_timer(LoopObject *self, struct args *a, int64_t key, double when,
               PyObject *when_object)
{
    PyObject *handle = self->debug || loop_hooked(self, HOOK_GET_DEBUG)
        ? new_traced_handle(self, HANDLE_TIMER, a->lead[1], a->rest, a->nrest,
                            a->context)
        : handle_new(self->st, HANDLE_TIMER, (PyObject *)self, a->lead[1], a->rest,
                     a->nrest, a->context);
    if (UNLIKELY(handle == NULL)) {
        return NULL;
    }
    TIMER(handle)->when = when;
    TIMER(handle)->when_object = Py_XNewRef(when_object);
    if (UNLIKELY(loop_add_timer(self, handle, key) < 0)) {
        Py_CLEAR(handle);
    }
    return handle;
}

static int
check_timer_call(LoopObject *self, struct args *a)
{
    if (loop_check_closed(self) < 0) {
        return -1;
    }
    return self->debug ? check_in_debug(self, a->lead[1], "call_at", false) : 0;
}

/* NaN is due at once until Python 3.12. From 3.13 on it makes asyncio's run_forever()
 * raise this error, which is better raised by the call that is wrong. */
static int
refuse_nan(double seconds)
{
    if (PY_VERSION_HEX >= 0x030D0000 && UNLIKELY(isnan(seconds))) {
        PyErr_SetString(PyExc_ValueError, "cannot convert float NaN to integer");
        return -1;
    }
    return 0;
}

static PyObject *
call_at_object(LoopObject *self, PyObject *when_object, struct args *a)
{
    if (UNLIKELY((self->closed || self->debug || loop_hooked(self, HOOK_CHECK_CLOSED)))
        && check_timer_call(self, a) < 0) {
        return NULL;
    }
    double when = PyFloat_AsDouble(when_object);
    if (when == -1 && PyErr_Occurred()) {
        return NULL;
    }
    if (refuse_nan(when) < 0) {
        return NULL;
    }
    return schedule_timer(self, a, loop_key_of(when), when,
                          PyFloat_CheckExact(when_object) ? NULL : when_object);
}

const char Loop_call_at_doc[] = PyDoc_STR(
"call_at($self, when, callback, *args, context=None)\n--\n\n"
"Call callback(*args) when the loop's clock has reached when (seconds, a number).\n\n"
"Never early; equal deadlines keep their order. Returns a TimerHandle. Raises\n"
"TypeError if when is no number, RuntimeError if the loop is closed. Mirrors\n"
"asyncio.loop.call_at().");

PyObject *
Loop_call_at(FASTCALL_ARGS)
{
    struct args a;
    if (args_parse(&call_at_spec, args, nargs, kwnames, &a) < 0) {
        return NULL;
    }
    if (a.lead[0] == Py_None) {
        PyErr_SetString(PyExc_TypeError, "when cannot be None");
        return NULL;
    }
    return call_at_object(LOOP(op), a.lead[0], &a);
}

/* self.call_at(when, callback, *args, context=context) */
static PyObject *
call_at_hooked(LoopObject *self, PyObject *when, struct args *a)
{
    PyObject *head = Py_BuildValue("(OO)", when, a->lead[1]);
    PyObject *rest = head == NULL ? NULL : tuple_of(a->rest, a->nrest);
    PyObject *argv = rest == NULL ? NULL : PySequence_Concat(head, rest);
    PyObject *kwargs = argv == NULL
        ? NULL
        : Py_BuildValue("{s:O}", "context", a->context ? a->context : Py_None);
    PyObject *method = kwargs == NULL
        ? NULL
        : PyObject_GetAttr((PyObject *)self, self->st->str_call_at);
    PyObject *handle = method == NULL ? NULL : PyObject_Call(method, argv, kwargs);
    Py_XDECREF(method);
    Py_XDECREF(kwargs);
    Py_XDECREF(argv);
    Py_XDECREF(rest);
    Py_XDECREF(head);
    return handle;
}

/* Any clock, any number: when = self.time() + delay, computed by Python. */
static PyObject *
call_later_slowly(LoopObject *self, PyObject *delay, struct args *a)
{
    PyObject *now = PyObject_CallMethodNoArgs((PyObject *)self, self->st->str_time);
    PyObject *when = now == NULL ? NULL : PyNumber_Add(now, delay);
    Py_XDECREF(now);
    if (when == NULL) {
        return NULL;
    }
    PyObject *handle = loop_hooked(self, HOOK_CALL_AT) ? call_at_hooked(self, when, a)
                                                       : call_at_object(self, when, a);
    Py_DECREF(when);
    return handle;
}

const char Loop_call_later_doc[] = PyDoc_STR(
"call_later($self, delay, callback, *args, context=None)\n--\n\n"
"Call callback(*args) after delay seconds (a number; fractions are kept).\n\n"
"Never early; equal deadlines keep their order. Returns a TimerHandle. Raises\n"
"TypeError if delay is no number, RuntimeError if the loop is closed. Mirrors\n"
"asyncio.loop.call_later().");

PyObject *
Loop_call_later(FASTCALL_ARGS)
{
    LoopObject *self = LOOP(op);
    struct args a;
    if (args_parse(&call_later_spec, args, nargs, kwnames, &a) < 0) {
        return NULL;
    }
    PyObject *delay = a.lead[0];
    if (delay == Py_None) {
        PyErr_SetString(PyExc_TypeError, "delay must not be None");
        return NULL;
    }
    double seconds;
    if (LIKELY(PyFloat_CheckExact(delay))) {
        seconds = PyFloat_AS_DOUBLE(delay);
    }
    else if (PyLong_CheckExact(delay)) {
        seconds = PyLong_AsDouble(delay);
        if (seconds == -1 && PyErr_Occurred()) {
            return NULL;
        }
    }
    else {
        return call_later_slowly(self, delay, &a);
    }
    if (UNLIKELY(self->closed || self->debug
                 || loop_hooked(self, HOOK_TIME | HOOK_CALL_AT | HOOK_CHECK_CLOSED))) {
        return call_later_slowly(self, delay, &a);
    }
    if (refuse_nan(seconds) < 0) {
        return NULL;
    }
    /* In whole nanoseconds, which a float of a long uptime cannot tell. */
    int64_t now = sys_now_ns();
    int64_t wait = loop_key_of(seconds), key;
    if (__builtin_add_overflow(now, wait, &key)) {
        key = INT64_MAX;
    }
    return schedule_timer(self, &a, key, (double)now / 1e9 + seconds, NULL);
}

/* From a handle of ours or asyncio's; only ours are in our heap. */
PyObject *
Loop__timer_handle_cancelled(PyObject *op, PyObject *handle)
{
    if (handle_is_exact(handle) && HANDLE(handle)->kind == HANDLE_TIMER) {
        loop_remove_timer(LOOP(op), handle);
    }
    Py_RETURN_NONE;
}

/* --- readers and writers ------------------------------------------------------ */

static PyObject *
invalid_file(PyObject *file)
{
    PyErr_Format(PyExc_ValueError, "Invalid file object: %R", file);
    return NULL;
}

/* int(file.fileno()), and ValueError if there is no such thing. */
static PyObject *
ask_fileno(LoopObject *self, PyObject *file)
{
    PyObject *answer = PyObject_CallMethodNoArgs(file, self->st->str_fileno);
    PyObject *number = answer == NULL ? NULL : PyNumber_Long(answer);
    Py_XDECREF(answer);
    if (number == NULL
        && (PyErr_ExceptionMatches(PyExc_AttributeError)
            || PyErr_ExceptionMatches(PyExc_TypeError)
            || PyErr_ExceptionMatches(PyExc_ValueError))) {
        return invalid_file(file);
    }
    return number;
}

/* The descriptor of an int or a file object; -1 with an exception set on error.
 * One already closed is found by the object under which it was registered. */
static int
fd_of(LoopObject *self, PyObject *file)
{
    PyObject *number = PyLong_Check(file) ? Py_NewRef(file) : ask_fileno(self, file);
    if (number == NULL) {
        return -1;
    }
    int overflow;
    long fd = PyLong_AsLongAndOverflow(number, &overflow);
    if (overflow < 0 || (overflow == 0 && fd < 0)) {
        fd = watch_find_file(&self->watches, file);
        if (fd < 0) {
            PyErr_Format(PyExc_ValueError, "Invalid file descriptor: %S", number);
        }
    }
    else if (overflow > 0 || fd > INT_MAX) {
        PyErr_SetString(PyExc_OverflowError,
                        "Python int too large to convert to C int");
        fd = -1;
    }
    Py_DECREF(number);
    return (int)fd;
}

/* Whether it is known that no native transport uses the descriptor. */
static bool
has_no_native_transport(LoopObject *self, PyObject *file)
{
    int fd = PyLong_CheckExact(file) ? PyLong_AsInt(file)
        : (PyObject *)Py_TYPE(file) == self->st->socket_type
        ? PyObject_AsFileDescriptor(file)
        : -1;
    PyErr_Clear();
    return fd >= 0 && source_transport_of_fd(self, fd) == NULL;
}

/* RuntimeError if a transport uses the descriptor. asyncio's own method says so; it
 * is asked only when the table may have an entry. */
int
loop_ensure_no_transport(LoopObject *self, PyObject *file)
{
    core_state *st = self->st;
    PyObject *op = (PyObject *)self;
    if (!loop_hooked(self, HOOK_ENSURE_NO_TRANSPORT)) {
        PyObject *transports = PyObject_GetAttr(op, st->str__python_transports);
        PyObject *data = transports == NULL
            ? NULL
            : PyObject_GetAttr(transports, st->str_data);
        Py_XDECREF(transports);
        bool none = data != NULL && PyDict_CheckExact(data)
            && PyDict_GET_SIZE(data) == 0 && has_no_native_transport(self, file);
        Py_XDECREF(data);
        if (none) {
            return 0;
        }
        PyErr_Clear();
    }
    PyObject *res = PyObject_CallMethodOneArg(op, st->str__ensure_fd_no_transport,
                                              file);
    Py_XDECREF(res);
    return res == NULL ? -1 : 0;
}

static PyObject *
add_watch(LoopObject *self, const struct args_spec *spec, PyObject *const *args,
          Py_ssize_t nargs, PyObject *kwnames, unsigned direction)
{
    if (UNLIKELY(self->selector == SELECTOR_FOREIGN)) {
        return loop_call_base(self,
                              direction == POLL_READ ? "_add_reader" : "_add_writer",
                              args, nargs, kwnames);
    }
    struct args a;
    if (args_parse(spec, args, nargs, kwnames, &a) < 0 || loop_check_closed(self) < 0
        || loop_own_poll(self) < 0) {
        return NULL;
    }
    PyObject *handle = new_traced_handle(self, HANDLE_PLAIN, a.lead[1], a.rest, a.nrest,
                                         a.context);
    if (handle == NULL) {
        return NULL;
    }
    PyObject *file = a.lead[0], *replaced;
    int fd = fd_of(self, file);
    /* fileno() may have closed the loop. */
    if (fd < 0 || loop_check_closed(self) < 0
        || watch_set(&self->watches, &self->poll, fd, PyLong_Check(file) ? NULL : file,
                     direction, handle, &replaced)
            < 0) {
        Py_DECREF(handle);
        return NULL;
    }
    loop_expect_events(self);
    if (replaced != NULL) {
        PyObject *res = PyObject_CallMethod(replaced, "cancel", NULL);
        Py_DECREF(replaced);
        if (res == NULL) {
            Py_DECREF(handle);
            return NULL;
        }
        Py_DECREF(res);
    }
    return handle;
}

/* Ends accepting natively; whether there was a listener. */
static bool
remove_listener(LoopObject *self, int fd)
{
    struct watch *w = watch_slot(&self->watches, fd);
    if (w == NULL || w->source == NULL || !w->source->kind->is_reader) {
        return false;
    }
    source_forget(self, w->source);
    return true;
}

static PyObject *
remove_watch(LoopObject *self, PyObject *file, unsigned direction)
{
    if (UNLIKELY(self->selector == SELECTOR_FOREIGN)) {
        return loop_call_base(
            self, direction == POLL_READ ? "_remove_reader" : "_remove_writer", &file,
            1, NULL);
    }
    if (self->closed) {
        Py_RETURN_FALSE;
    }
    int fd = fd_of(self, file);
    if (fd < 0 && PyErr_ExceptionMatches(PyExc_OverflowError)) {
        PyErr_Clear(); /* too large to be a descriptor, so nobody watches it */
        Py_RETURN_FALSE;
    }
    if (fd < 0 || loop_own_poll(self) < 0) {
        return NULL;
    }
    PyObject *removed;
    if (watch_unset(&self->watches, &self->poll, fd, direction, &removed) < 0) {
        return NULL;
    }
    if (removed == NULL) {
        return PyBool_FromLong(direction == POLL_READ && remove_listener(self, fd));
    }
    PyObject *res = PyObject_CallMethod(removed, "cancel", NULL);
    Py_DECREF(removed);
    if (res == NULL) {
        return NULL;
    }
    Py_DECREF(res);
    Py_RETURN_TRUE;
}

static const struct args_spec _add_reader_spec = {
    "BaseSelectorEventLoop._add_reader", {"fd", "callback"}, 2, true};
static const struct args_spec _add_writer_spec = {
    "BaseSelectorEventLoop._add_writer", {"fd", "callback"}, 2, true};
static const struct args_spec add_reader_spec = {
    "BaseSelectorEventLoop.add_reader", {"fd", "callback"}, 2, false};
static const struct args_spec add_writer_spec = {
    "BaseSelectorEventLoop.add_writer", {"fd", "callback"}, 2, false};

PyObject *
Loop__add_reader(FASTCALL_ARGS)
{
    return add_watch(LOOP(op), &_add_reader_spec, args, nargs, kwnames, POLL_READ);
}

PyObject *
Loop__add_writer(FASTCALL_ARGS)
{
    return add_watch(LOOP(op), &_add_writer_spec, args, nargs, kwnames, POLL_WRITE);
}

PyObject *
Loop__remove_reader(PyObject *op, PyObject *file)
{
    return remove_watch(LOOP(op), file, POLL_READ);
}

PyObject *
Loop__remove_writer(PyObject *op, PyObject *file)
{
    return remove_watch(LOOP(op), file, POLL_WRITE);
}

/* The public forms: not on a transport's descriptor; the overridden _add_... and
 * _remove_... of a subclass are honoured. */
static PyObject *
add_public(LoopObject *self, const struct args_spec *spec, PyObject *const *args,
           Py_ssize_t nargs, PyObject *kwnames, unsigned direction)
{
    struct args a;
    if (args_parse(spec, args, nargs, kwnames, &a) < 0
        || loop_ensure_no_transport(self, a.lead[0]) < 0) {
        return NULL;
    }
    bool read = direction == POLL_READ;
    PyObject *handle;
    if (loop_hooked(self, read ? HOOK_ADD_READER : HOOK_ADD_WRITER)) {
        PyObject *method = PyObject_GetAttrString((PyObject *)self,
                                                  read ? "_add_reader" : "_add_writer");
        handle = method == NULL ? NULL
                                : PyObject_Vectorcall(method, args, nargs, kwnames);
        Py_XDECREF(method);
    }
    else {
        handle = add_watch(self, spec, args, nargs, kwnames, direction);
    }
    if (handle == NULL) {
        return NULL;
    }
    Py_DECREF(handle);
    Py_RETURN_NONE;
}

static PyObject *
remove_public(LoopObject *self, PyObject *file, unsigned direction)
{
    if (loop_ensure_no_transport(self, file) < 0) {
        return NULL;
    }
    bool read = direction == POLL_READ;
    if (loop_hooked(self, read ? HOOK_REMOVE_READER : HOOK_REMOVE_WRITER)) {
        PyObject *name = PyUnicode_FromString(read ? "_remove_reader"
                                                   : "_remove_writer");
        PyObject *res = name == NULL
            ? NULL
            : PyObject_CallMethodOneArg((PyObject *)self, name, file);
        Py_XDECREF(name);
        return res;
    }
    return remove_watch(self, file, direction);
}

const char Loop_add_reader_doc[] = PyDoc_STR(
"add_reader($self, fd, callback, *args)\n--\n\n"
"Call callback(*args) whenever fd (an int, or an object with fileno()) is readable.\n\n"
"Replaces an earlier reader. Raises OSError if the descriptor cannot be watched,\n"
"ValueError if it is none, RuntimeError if a transport uses it or the loop is\n"
"closed. Mirrors asyncio.loop.add_reader().");

PyObject *
Loop_add_reader(FASTCALL_ARGS)
{
    return add_public(LOOP(op), &add_reader_spec, args, nargs, kwnames, POLL_READ);
}

const char Loop_add_writer_doc[] = PyDoc_STR(
"add_writer($self, fd, callback, *args)\n--\n\n"
"Call callback(*args) whenever fd (an int, or an object with fileno()) is writable.\n\n"
"As add_reader(). Mirrors asyncio.loop.add_writer().");

PyObject *
Loop_add_writer(FASTCALL_ARGS)
{
    return add_public(LOOP(op), &add_writer_spec, args, nargs, kwnames, POLL_WRITE);
}

const char Loop_remove_reader_doc[] = PyDoc_STR(
"remove_reader($self, fd)\n--\n\n"
"Stop watching fd for reading; return whether it was watched.\n\n"
"Mirrors asyncio.loop.remove_reader().");

PyObject *
Loop_remove_reader(PyObject *op, PyObject *file)
{
    return remove_public(LOOP(op), file, POLL_READ);
}

const char Loop_remove_writer_doc[] = PyDoc_STR(
"remove_writer($self, fd)\n--\n\n"
"Stop watching fd for writing; return whether it was watched.\n\n"
"Mirrors asyncio.loop.remove_writer().");

PyObject *
Loop_remove_writer(PyObject *op, PyObject *file)
{
    return remove_public(LOOP(op), file, POLL_WRITE);
}
