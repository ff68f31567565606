/* registry.c - see registry.h: asyncio's books of tasks.
 *
 * Until 3.13 the tasks there are stand in a WeakSet. Its elements need only be called
 * to give the task, be hashed and be compared: ours is a small object of the task's
 * own (TaskRef), kept with the task for as long as its memory is reused, where a
 * weakref would have to be made and dropped for each task.
 * Invariant: a TaskRef that names a task is in the set; the task, when its last
 * reference goes, takes its name out of it before any Python code runs. (Tasks that the
 * garbage collector is about to clear are in the set until it does; a weakref would not
 * be.) */

#include "registry.h"
#include "compat.h"
#include "future.h"

/* --- TaskRef ------------------------------------------------------------------ */

typedef struct {
    PyObject_HEAD
    PyObject *task; /* borrowed; NULL: it is no more */
    Py_hash_t hash; /* that of the task, as a weakref's would be */
} TaskRefObject;

#define TASK_REF(op) ((TaskRefObject *)(op))

static void
TaskRef_dealloc(PyObject *op)
{
    PyTypeObject *type = Py_TYPE(op);
    type->tp_free(op);
    Py_DECREF(type);
}

static PyObject *
TaskRef_call(PyObject *op, PyObject *args, PyObject *kwargs)
{
    if (PyTuple_GET_SIZE(args) > 0 || (kwargs != NULL && PyDict_GET_SIZE(kwargs) > 0)) {
        PyErr_SetString(PyExc_TypeError, "no arguments are taken");
        return NULL;
    }
    PyObject *task = TASK_REF(op)->task;
    return Py_NewRef(task ? task : Py_None);
}

static Py_hash_t
TaskRef_hash(PyObject *op)
{
    return TASK_REF(op)->hash;
}

/* As a weakref to the same task would compare. */
static PyObject *
TaskRef_richcompare(PyObject *op, PyObject *other, int how)
{
    PyObject *task = TASK_REF(op)->task, *theirs = NULL;
    if (how != Py_EQ && how != Py_NE) {
        Py_RETURN_NOTIMPLEMENTED;
    }
    if (Py_TYPE(other) == Py_TYPE(op)) {
        theirs = TASK_REF(other)->task;
    }
    else if (PyWeakref_Check(other)) {
        PyObject *referent = PyObject_CallNoArgs(other);
        if (referent == NULL) {
            return NULL;
        }
        theirs = referent; /* compared, no more */
        Py_DECREF(referent);
    }
    else {
        Py_RETURN_NOTIMPLEMENTED;
    }
    bool equal = op == other || (task != NULL && task == theirs);
    return PyBool_FromLong(equal == (how == Py_EQ));
}

static PyType_Slot TaskRef_slots[] = {
    {Py_tp_dealloc, TaskRef_dealloc},
    {Py_tp_call, TaskRef_call},
    {Py_tp_hash, TaskRef_hash},
    {Py_tp_richcompare, TaskRef_richcompare},
    {0, NULL},
};

static PyType_Spec TaskRef_spec = {
    .name = "evloop._core._TaskRef",
    .basicsize = sizeof(TaskRefObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION
        | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = TaskRef_slots,
};

/* --- calls -------------------------------------------------------------------- */

static int
call_void(PyObject *function, PyObject *a, PyObject *b)
{
    PyObject *argv[] = {a, b};
    PyObject *res = PyObject_Vectorcall(function, argv, b == NULL ? 1 : 2, NULL);
    Py_XDECREF(res);
    return res == NULL ? -1 : 0;
}

static int
err_entered(PyObject *task, PyObject *other)
{
    Py_INCREF(other);
    PyErr_Format(PyExc_RuntimeError,
                 "Cannot enter into task %R while another task %R is being executed.",
                 task, other);
    Py_DECREF(other);
    return -1;
}

#if PY_VERSION_HEX < 0x030E0000

/* --- a WeakSet and a dict ----------------------------------------------------- */

int
registry_add(core_state *st, PyObject *task, PyObject **ref)
{
    if (!task_is_exact(st, task) || st->book_set == NULL) {
        return call_void(st->book_register, task, NULL);
    }
    TaskRefObject *entry = TASK_REF(*ref);
    if (entry == NULL) {
        entry = PyObject_New(TaskRefObject, (PyTypeObject *)st->TaskRefType);
        if (entry == NULL) {
            return -1;
        }
        entry->hash = Py_HashPointer(task);
        *ref = (PyObject *)entry;
    }
    /* What WeakSet.add() does first. */
    if (UNLIKELY(PyList_GET_SIZE(st->book_pending_removals) > 0)
        && PySet_GET_SIZE(st->book_iterating) == 0) {
        PyObject *res = PyObject_CallMethod(st->book, "_commit_removals", NULL);
        Py_XDECREF(res);
        if (res == NULL) {
            return -1;
        }
    }
    entry->task = task;
    if (PySet_Add(st->book_set, (PyObject *)entry) < 0) {
        entry->task = NULL;
        return -1;
    }
    return 0;
}

int
registry_done(core_state *Py_UNUSED(st), PyObject *Py_UNUSED(task))
{
    return 0; /* all_tasks() asks each */
}

void
registry_forget(core_state *st, PyObject **ref)
{
    TaskRefObject *entry = TASK_REF(*ref);
    if (entry == NULL || entry->task == NULL) {
        return;
    }
    entry->task = NULL;
    PyObject *exc = PyErr_Occurred() ? PyErr_GetRaisedException() : NULL;
    /* Somebody iterates over the set: it may not change, and the entry may not be used
     * again. */
    if (PySet_GET_SIZE(st->book_iterating) > 0
        && PyList_Append(st->book_pending_removals, (PyObject *)entry) == 0) {
        Py_CLEAR(*ref);
    }
    else {
        PySet_Discard(st->book_set, (PyObject *)entry);
    }
    PyErr_Clear();
    if (exc != NULL) {
        PyErr_SetRaisedException(exc);
    }
}

int
registry_add_eager(core_state *st, PyObject *task)
{
    return PySet_Add(st->book_eager, task);
}

int
registry_remove_eager(core_state *st, PyObject *task)
{
    return PySet_Discard(st->book_eager, task) < 0 ? -1 : 0;
}

int
registry_enter(core_state *st, PyObject *loop, PyObject *task)
{
    PyObject *other = PyDict_GetItemWithError(st->book_current, loop);
    if (UNLIKELY(other != NULL)) {
        return err_entered(task, other);
    }
    return PyErr_Occurred() ? -1 : PyDict_SetItem(st->book_current, loop, task);
}

int
registry_leave(core_state *st, PyObject *loop, PyObject *task)
{
    PyObject *other = PyDict_GetItemWithError(st->book_current, loop);
    if (LIKELY(other == task)) {
        return PyDict_DelItem(st->book_current, loop);
    }
    if (!PyErr_Occurred()) {
        PyErr_Format(PyExc_RuntimeError,
                     "Leaving task %R does not match the current task %R.", task,
                     other ? other : Py_None);
    }
    return -1;
}

bool
registry_is_current(core_state *st, PyObject *loop, PyObject *task)
{
    PyObject *exc = PyErr_Occurred() ? PyErr_GetRaisedException() : NULL;
    bool current = PyDict_GetItemWithError(st->book_current, loop) == task;
    if (UNLIKELY(exc != NULL)) {
        PyErr_SetRaisedException(exc);
    }
    return current;
}

int
registry_replace(core_state *st, PyObject *loop, PyObject *task)
{
    return task != Py_None ? PyDict_SetItem(st->book_current, loop, task)
                           : PyDict_DelItem(st->book_current, loop);
}

int
registry_replace_by_none(core_state *st, PyObject *loop)
{
    return PyDict_SetItem(st->book_current, loop, Py_None);
}

PyObject *
registry_swap(core_state *st, PyObject *loop, PyObject *task)
{
    PyObject *old = PyDict_GetItemWithError(st->book_current, loop);
    if (old == NULL && (PyErr_Occurred() || task == Py_None)) {
        return PyErr_Occurred() ? NULL : Py_NewRef(Py_None);
    }
    old = Py_NewRef(old ? old : Py_None);
    if (registry_replace(st, loop, task) < 0) {
        Py_CLEAR(old);
    }
    return old;
}

/* The WeakSet's inner parts; without them asyncio's functions do. */
static int
find_book_set(core_state *st)
{
    st->book = PyObject_GetAttrString(
        st->asyncio_c, PY_VERSION_HEX < 0x030C0000 ? "_all_tasks" : "_scheduled_tasks");
    if (st->book == NULL) {
        return -1;
    }
    st->book_set = PyObject_GetAttrString(st->book, "data");
    st->book_iterating = PyObject_GetAttrString(st->book, "_iterating");
    st->book_pending_removals = PyObject_GetAttrString(st->book, "_pending_removals");
    PyErr_Clear();
    if (st->book_set == NULL || !PySet_CheckExact(st->book_set)
        || st->book_iterating == NULL || !PySet_CheckExact(st->book_iterating)
        || st->book_pending_removals == NULL
        || !PyList_CheckExact(st->book_pending_removals)) {
        Py_CLEAR(st->book_set);
    }
    return 0;
}

static int
find_books(core_state *st)
{
    if (find_book_set(st) < 0) {
        return -1;
    }
    st->book_current = PyObject_GetAttrString(st->asyncio_c, "_current_tasks");
#if PY_VERSION_HEX >= 0x030C0000
    st->book_eager = PyObject_GetAttrString(st->asyncio_c, "_eager_tasks");
#else
    st->book_eager = PySet_New(NULL); /* there are none */
#endif
    if (st->book_current == NULL || st->book_eager == NULL) {
        return -1;
    }
    if (!PyDict_Check(st->book_current) || !PySet_Check(st->book_eager)) {
        PyErr_SetString(PyExc_ImportError, "asyncio keeps its tasks elsewhere");
        return -1;
    }
    return 0;
}

int
registry_inspect_types(core_state *Py_UNUSED(st))
{
    return 0;
}

#else

/* --- fields of the thread state and of the base's object ---------------------- */

/* In bytes; 0: not found, and asyncio's functions are called. The same for all
 * interpreters of the process. */
static Py_ssize_t running_loop_offset, running_task_offset, awaited_by_offset;

/* They follow the public part of the thread state: in 3.14 after 4 words, in 3.15 after
 * a frame and 6 more. There are as many words as this at least. */
#define THREAD_WORDS HARD_OR(0, PY_VERSION_HEX >= 0x030F0000 ? 20 : 8)

static inline PyObject **
thread_slot(Py_ssize_t offset)
{
    return (PyObject **)((char *)PyThreadState_GetUnchecked() + offset);
}

static Py_ssize_t
find_word(const void *start, Py_ssize_t from, Py_ssize_t to, PyObject *value)
{
    for (Py_ssize_t at = from; at + (Py_ssize_t)sizeof(PyObject *) <= to;
         at += (Py_ssize_t)sizeof(PyObject *)) {
        if (*(PyObject **)((char *)start + at) == value) {
            return at;
        }
    }
    return 0;
}

int
registry_add(core_state *st, PyObject *task, PyObject **Py_UNUSED(ref))
{
    return call_void(st->book_register, task, NULL);
}

int
registry_done(core_state *st, PyObject *task)
{
    return call_void(st->book_unregister, task, NULL);
}

void
registry_forget(core_state *Py_UNUSED(st), PyObject **Py_UNUSED(ref))
{
    /* The base does it. */
}

int
registry_add_eager(core_state *st, PyObject *task)
{
    return call_void(st->book_register, task, NULL);
}

int
registry_remove_eager(core_state *Py_UNUSED(st), PyObject *Py_UNUSED(task))
{
    return 0; /* it stays until it is done */
}

int
registry_enter(core_state *st, PyObject *loop, PyObject *task)
{
    if (UNLIKELY(running_task_offset == 0)
        || UNLIKELY(*thread_slot(running_loop_offset) != loop)) {
        return call_void(st->book_enter, loop, task);
    }
    PyObject **current = thread_slot(running_task_offset);
    if (UNLIKELY(*current != NULL)) {
        return err_entered(task, *current);
    }
    *current = Py_NewRef(task);
    return 0;
}

int
registry_leave(core_state *st, PyObject *loop, PyObject *task)
{
    if (UNLIKELY(running_task_offset == 0)
        || UNLIKELY(*thread_slot(running_loop_offset) != loop)
        || UNLIKELY(*thread_slot(running_task_offset) != task)) {
        return call_void(st->book_leave, loop, task);
    }
    Py_CLEAR(*thread_slot(running_task_offset));
    return 0;
}

bool
registry_is_current(core_state *st, PyObject *loop, PyObject *task)
{
    if (LIKELY(running_task_offset != 0)) {
        return *thread_slot(running_loop_offset) == loop
            && *thread_slot(running_task_offset) == task;
    }
    PyObject *exc = PyErr_GetRaisedException();
    PyObject *current = PyObject_CallOneArg(st->book_current, loop);
    bool is_current = current == task;
    Py_XDECREF(current);
    PyErr_Clear();
    PyErr_SetRaisedException(exc);
    return is_current;
}

int
registry_replace(core_state *st, PyObject *loop, PyObject *task)
{
    if (UNLIKELY(running_task_offset == 0)
        || UNLIKELY(*thread_slot(running_loop_offset) != loop)) {
        return call_void(st->book_swap, loop, task);
    }
    PyObject **current = thread_slot(running_task_offset);
    Py_XSETREF(*current, task == Py_None ? NULL : Py_NewRef(task));
    return 0;
}

PyObject *
registry_swap(core_state *st, PyObject *loop, PyObject *task)
{
    PyObject *argv[] = {loop, task};
    return PyObject_Vectorcall(st->book_swap, argv, 2, NULL);
}

static inline bool
is_future(core_state *st, PyObject *op)
{
    return PyObject_TypeCheck(op, (PyTypeObject *)st->AsyncioFuture);
}

int
registry_add_awaited(core_state *st, PyObject *future, PyObject *task)
{
    if (LIKELY(future_is_native(st, future)) && awaited_by_offset != 0) {
        PyObject **slot = (PyObject **)((char *)future + awaited_by_offset);
        if (LIKELY(*slot == NULL)) {
            *slot = Py_NewRef(task);
            return 0;
        }
    }
    return is_future(st, future) ? call_void(st->book_add_awaited, future, task) : 0;
}

int
registry_discard_awaited(core_state *st, PyObject *future, PyObject *task)
{
    if (LIKELY(future_is_native(st, future)) && awaited_by_offset != 0) {
        PyObject **slot = (PyObject **)((char *)future + awaited_by_offset);
        if (LIKELY(*slot == task)) {
            *slot = NULL;
            Py_DECREF(task); /* not the last: the caller has one */
            return 0;
        }
    }
    return is_future(st, future) ? call_void(st->book_discard_awaited, future, task)
                                 : 0;
}

void
registry_reset_awaited(PyObject *future)
{
    PyObject **slot = (PyObject **)((char *)future + awaited_by_offset);
    /* A set is marked as one elsewhere, and stays. */
    if (awaited_by_offset != 0 && *slot != NULL && !PyAnySet_Check(*slot)) {
        Py_CLEAR(*slot);
    }
}

/* Puts marks where the running loop and task are kept, and looks for them. Both are
 * put back, whatever fails: this may be imported by a task of a running loop. */
static int
find_thread_slots(core_state *st)
{
    const Py_ssize_t from = (Py_ssize_t)sizeof(PyThreadState);
    const Py_ssize_t to = from + THREAD_WORDS * (Py_ssize_t)sizeof(PyObject *);
    PyThreadState *thread = PyThreadState_Get();
    PyObject *set_loop = PyObject_GetAttr(st->asyncio_c, st->str__set_running_loop);
    PyObject *loop = PyObject_CallMethodNoArgs(st->asyncio_c,
                                               st->str__get_running_loop);
    PyObject *mark = PyList_New(0), *task_mark = PyList_New(0), *task = NULL;
    int rc = -1;
    if (set_loop == NULL || loop == NULL || mark == NULL || task_mark == NULL
        || call_void(set_loop, mark, NULL) < 0) {
        goto done;
    }
    task = registry_swap(st, mark, task_mark);
    if (task != NULL) {
        Py_ssize_t loop_at = find_word(thread, from, to, mark);
        Py_ssize_t task_at = find_word(thread, from, to, task_mark);
        if (loop_at != 0 && task_at != 0) {
            running_loop_offset = loop_at;
            running_task_offset = task_at;
        }
        rc = call_void(st->book_swap, mark, task);
    }
    PyObject *exc = PyErr_GetRaisedException();
    if (call_void(set_loop, loop, NULL) < 0) {
        rc = -1;
    }
    if (exc != NULL) {
        PyErr_SetRaisedException(exc);
    }
done:
    Py_XDECREF(set_loop);
    Py_XDECREF(loop);
    Py_XDECREF(mark);
    Py_XDECREF(task_mark);
    Py_XDECREF(task);
    return rc;
}

static int
find_books(core_state *st)
{
    st->book_enter = PyObject_GetAttr(st->asyncio_c, st->str__enter_task);
    st->book_leave = PyObject_GetAttr(st->asyncio_c, st->str__leave_task);
    st->book_swap = PyObject_GetAttr(st->asyncio_c, st->str__swap_current_task);
    st->book_add_awaited = PyObject_GetAttr(st->asyncio_c,
                                            st->str_future_add_to_awaited_by);
    st->book_discard_awaited = PyObject_GetAttr(st->asyncio_c,
                                                st->str_future_discard_from_awaited_by);
    st->book_current = PyObject_GetAttrString(st->asyncio_c, "current_task");
    if (st->book_enter == NULL || st->book_leave == NULL || st->book_swap == NULL
        || st->book_current == NULL || st->book_add_awaited == NULL
        || st->book_discard_awaited == NULL) {
        return -1;
    }
    return find_thread_slots(st);
}

/* Has one future await another, and looks for it there. Neither has a loop. */
int
registry_inspect_types(core_state *st)
{
    PyObject *awaited = future_alloc(st, st->FutureType);
    PyObject *waiter = awaited == NULL ? NULL : future_alloc(st, st->FutureType);
    int rc = -1;
    if (waiter != NULL) {
        PyObject_GC_Track(awaited);
        PyObject_GC_Track(waiter);
        rc = call_void(st->book_add_awaited, awaited, waiter);
    }
    if (rc == 0) {
        PyTypeObject *base = (PyTypeObject *)st->AsyncioFuture;
        awaited_by_offset = find_word(awaited, (Py_ssize_t)sizeof(PyObject),
                                      base->tp_basicsize, waiter);
        rc = call_void(st->book_discard_awaited, awaited, waiter);
    }
    Py_XDECREF(awaited);
    Py_XDECREF(waiter);
    return rc;
}

#endif

int
registry_setup(PyObject *module, core_state *st)
{
    st->book_register = PyObject_GetAttr(st->asyncio_c, st->str__register_task);
    st->book_unregister = PyObject_GetAttr(st->asyncio_c, st->str__unregister_task);
    st->TaskRefType = PyType_FromModuleAndSpec(module, &TaskRef_spec, NULL);
    return st->book_register == NULL || st->book_unregister == NULL
            || st->TaskRefType == NULL
        ? -1
        : find_books(st);
}
