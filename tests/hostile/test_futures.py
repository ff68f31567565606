"""Futures under evil callbacks, comparisons, loops, finalisers and collections."""

import asyncio
import contextlib
import contextvars
import functools
import gc
import itertools
import re
import subprocess
import sys
import threading
import weakref

import pytest

import evloop


class Own(BaseException):
    """An exception that is not an Exception."""


class ForeignLoop:
    """A loop that only calls back: *on_call_soon(callback, future)*."""

    def __init__(self, on_call_soon=None, debug=False):
        self.on_call_soon = on_call_soon
        self.debug = debug
        self.scheduled = []

    def get_debug(self):
        return self.debug

    def call_soon(self, callback, *args, context=None):
        self.scheduled.append(callback)
        if self.on_call_soon is not None:
            self.on_call_soon(callback, *args)

    def call_exception_handler(self, context):
        raise Own


@pytest.fixture
def survivor(future_class):
    """The future's class, if it survives what crashes older versions of asyncio's.

    Their futures read callbacks that the code they call has freed. The last of
    these were mended in the course of 3.13.
    """
    if future_class is asyncio.Future and sys.version_info < (3, 14):
        pytest.skip("asyncio's own future may crash")
    return future_class


@pytest.fixture
def unraisable(monkeypatch):
    """The exceptions that nobody could be given."""
    kinds = []
    monkeypatch.setattr(sys, "unraisablehook", lambda hook: kinds.append(hook.exc_type))
    return kinds


def names_of(future):
    return [getattr(each, "name", each) for each, _ in future._callbacks or ()]


# Comparisons


class Evil:
    """A callback whose first comparison does something else as well."""

    def __init__(self, action, equal=False):
        self.action = action
        self.equal = equal
        self.name = "evil"

    def __eq__(self, other):
        action, self.action = self.action, None
        if action is not None:
            action()
        return self.equal

    __hash__ = None

    def __call__(self, future):
        pass


def remove(future, callback):
    future.remove_done_callback(callback)


def remove_all(future, *_):
    for callback, _ in future._callbacks or ():
        future.remove_done_callback(callback)


def replace_all(future, *_):
    remove_all(future)
    for number in range(5):
        future.add_done_callback(f"new {number}")


def add_many(future, *_):
    for number in range(50):
        future.add_done_callback(f"new {number}")


def finish(future, *_):
    future.set_result("finished")


def cancel(future, *_):
    future.cancel()


MUTATIONS = [remove_all, replace_all, add_many, finish, cancel]


@pytest.mark.parametrize("equal", [False, True])
@pytest.mark.parametrize("mutate", MUTATIONS)
@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_comparison_that_changes_the_callbacks(survivor, mutate, count, equal):
    loop = ForeignLoop()
    for at in range(count):
        future = survivor(loop=loop)
        for number in range(count):
            if number == at:
                evil = Evil(functools.partial(mutate, future), equal)
                future.add_done_callback(evil)
                del evil
            else:
                future.add_done_callback(f"old {number}")
        removed = future.remove_done_callback(object())
        assert type(removed) is int
        assert all(isinstance(each, str | Evil) for each in names_of(future))
        # It goes on working, whatever is left.
        future.add_done_callback("last")
        future.cancel()
        assert loop.scheduled[-1] == "last"
        assert future._callbacks is None
        loop.scheduled.clear()


@pytest.mark.parametrize("mutate", MUTATIONS)
@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_given_callback_that_changes_the_callbacks(survivor, mutate, count):
    loop = ForeignLoop()
    future = survivor(loop=loop)
    for number in range(count):
        future.add_done_callback(object())
        future.add_done_callback(f"old {number}")
    future.remove_done_callback(Evil(functools.partial(mutate, future)))
    if mutate is remove_all:
        assert future._callbacks is None
    if mutate is add_many:
        assert names_of(future)[-50:] == [f"new {number}" for number in range(50)]
    future.cancel()
    assert future._callbacks is None


@pytest.mark.parametrize("count", [2, 3, 8])
def test_comparison_that_removes_in_turn(survivor, count):
    def nest():
        nested.append(future.remove_done_callback(Evil(None)))

    nested = []
    future = survivor(loop=ForeignLoop())
    for _ in range(count):
        future.add_done_callback(Evil(nest, equal=True))
    assert future.remove_done_callback(object()) >= 0
    assert nested != []
    assert future._callbacks is None


def test_truth_of_a_comparison_that_changes_the_callbacks(survivor):
    class Truth:
        def __bool__(self):
            remove_all(future)
            gc.collect()
            return False

    class Odd:
        def __eq__(self, other):
            return Truth() if type(other) is Given else NotImplemented

        __hash__ = None

    class Given:
        pass

    future = survivor(loop=ForeignLoop())
    for _ in range(4):
        future.add_done_callback(Odd())
    future.remove_done_callback(Given())
    assert future._callbacks is None


# Loops


def added(future, *_):
    """Only while something is scheduled the first time: it would not end else."""
    if len(future.get_loop().scheduled) == 1:
        future.add_done_callback("added in call_soon")


def set_again(future, *_):
    with pytest.raises(asyncio.InvalidStateError):
        future.set_result("again")
    with pytest.raises(asyncio.InvalidStateError):
        future.set_exception(ValueError)
    assert future.cancel() is False


def collect(future, *_):
    gc.collect()


def drop_loop(future, *_):
    future.get_loop().on_call_soon = None


@pytest.mark.parametrize("end", [finish, cancel])
@pytest.mark.parametrize("action", [remove_all, added, set_again, collect, drop_loop])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_call_soon_that_changes_the_future(survivor, end, action, count):
    loop = ForeignLoop(lambda callback, future: action(future))
    future = survivor(loop=loop)
    stored = [f"callback {number}" for number in range(count)]
    for callback in stored:
        future.add_done_callback(callback)
    end(future)
    if action is remove_all:
        # Whether the others can still be removed by then is left open: in
        # asyncio the C class and the Python class differ.
        assert loop.scheduled in (stored, stored[:1])
    else:
        assert [each for each in loop.scheduled if each in stored] == stored
        assert len(loop.scheduled) == count + (action is added)
    assert future._callbacks is None


@pytest.mark.skipif(sys.version_info >= (3, 15), reason="refused since 3.15")
@pytest.mark.parametrize("count", [1, 2, 5])
def test_call_soon_that_initialises_the_future(survivor, count):
    def again(callback, future):
        loop.on_call_soon = None
        future.__init__(loop=other)
        future.add_done_callback("new")

    other = ForeignLoop()
    loop = ForeignLoop(again)
    future = survivor(loop=loop)
    old = [f"old {number}" for number in range(count)]
    for callback in old:
        future.add_done_callback(callback)
    future.set_result("old")
    assert future._state == "PENDING"
    assert future.get_loop() is other
    assert loop.scheduled[0] == old[0]
    assert set(loop.scheduled) <= set(old)
    future.remove_done_callback("new")
    future.set_result("new")
    assert future.result() == "new"


@pytest.mark.parametrize("at", range(3))
def test_call_soon_that_raises(future_class, at):
    def fail(callback, future):
        if callback == at:
            raise Own

    loop = ForeignLoop(fail)
    for end in (finish, cancel, lambda future: future.set_exception(ValueError)):
        loop.scheduled.clear()
        future = future_class(loop=loop)
        for number in range(3):
            future.add_done_callback(number)
        with pytest.raises(Own):
            end(future)
        assert loop.scheduled == list(range(at + 1))
        assert future.done()
        assert future._callbacks is None
        with pytest.raises(Own):
            future.add_done_callback(at)
        future._log_traceback = False


def test_call_soon_that_drops_the_future(survivor):
    def drop(callback, future):
        holder.clear()
        gc.collect()

    loop = ForeignLoop(drop)
    holder = [survivor(loop=loop)]
    died = weakref.ref(holder[0])
    for number in range(5):
        holder[0].add_done_callback(number)
    holder[0].set_result(1)
    assert loop.scheduled == list(range(5))
    assert died() is None


@pytest.mark.parametrize("what", ["raises", "truth", "missing"])
def test_loops_that_cannot_tell_about_debug(future_class, what):
    class Neither:
        def __bool__(self):
            raise Own

    class Unsure(ForeignLoop):
        def get_debug(self):
            if what == "raises":
                raise Own
            return Neither()

    if what == "missing":
        with pytest.raises(AttributeError):
            future_class(loop=object())
    else:
        with pytest.raises(Own):
            future_class(loop=Unsure())
    # An object that was refused is dropped quietly, or used in its state.
    future = future_class.__new__(future_class)
    with contextlib.suppress(Own, AttributeError):
        future.__init__(loop=object() if what == "missing" else Unsure())
    with contextlib.suppress(RuntimeError):
        assert repr(future) == "<Future pending>"
    assert not future.done()


def test_get_debug_that_uses_the_future(future_class):
    class Early(ForeignLoop):
        def get_debug(self):
            used.append(future.done())
            with contextlib.suppress(RuntimeError, asyncio.InvalidStateError):
                future.result()
            return False

    used = []
    future = future_class.__new__(future_class)
    future.__init__(loop=Early())
    assert used == [False]
    future.set_result(1)
    assert future.result() == 1


def test_get_loop_of_a_foreign_loop(future_class):
    loop = ForeignLoop(debug=True)
    future = future_class(loop=loop)
    assert future.get_loop() is loop
    assert future._source_traceback[-1].name == "test_get_loop_of_a_foreign_loop"
    given = contextvars.copy_context()
    future.add_done_callback(print, context=given)
    future.set_result(None)
    future.add_done_callback(len, context=given)
    assert loop.scheduled == [print, len]


# Finalisers


def test_exception_handler_that_raises(future_class, unraisable):
    future = future_class(loop=ForeignLoop())
    future.set_exception(ValueError)
    del future
    gc.collect()
    assert unraisable == [Own]


def test_exception_handler_that_raises_amid_an_exception(future_class, unraisable):
    future = future_class(loop=ForeignLoop())
    future.set_exception(ValueError)
    holder = [future]
    del future
    # The future dies while a LookupError is on its way.
    with pytest.raises(LookupError, match=r"^on its way$"):
        try:
            raise LookupError("on its way")
        finally:
            holder.clear()
    assert unraisable == [Own]


def test_exception_handler_of_a_loop_that_raises(loop, caplog, future_class):
    loop.set_exception_handler(lambda _, context: 1 / 0)
    future_class(loop=loop).set_exception(ValueError)
    assert "Unhandled error in exception handler" in caplog.text
    assert "Future exception was never retrieved" in caplog.text


def test_exception_handler_that_uses_the_future(loop, turn, future_class):
    def handle(_, context):
        future = context["future"]
        future.add_done_callback(calls.append)
        calls.append(repr(future))
        with pytest.raises(asyncio.InvalidStateError):
            future.set_result(1)
        with pytest.raises(ValueError):
            future.result()
        assert future.cancel() is False
        calls.append(future.remove_done_callback(calls.append))

    calls = []
    loop.set_exception_handler(handle)
    future_class(loop=loop).set_exception(ValueError())
    turn(loop)
    assert calls[:2] == ["<Future finished exception=ValueError()>", 0]
    assert asyncio.isfuture(calls[2])
    assert len(calls) == 3


def test_del_that_uses_the_future(loop, turn, future_class):
    class Mine(future_class):
        def __del__(self):
            self.add_done_callback(calls.append)
            self.set_exception(LookupError())
            calls.append(self._callbacks)
            self._log_traceback = False

    calls = []
    Mine(loop=loop)
    assert calls == [None]
    turn(loop)
    assert type(calls[1]) is Mine


def test_del_that_raises(loop, future_class, unraisable):
    class Mine(future_class):
        def __del__(self):
            raise Own

    Mine(loop=loop).set_result(1)
    assert unraisable == [Own]


def test_del_of_the_result_that_sees_the_future(loop, turn, future_class):
    class Result:
        def __init__(self, future):
            self.reference = weakref.ref(future)

        def __del__(self):
            seen.append(self.reference())

    class Cyclic:
        def __init__(self, future):
            self.future = future

        def __del__(self):
            seen.append(repr(self.future))
            self.future.add_done_callback(seen.append)

    seen = []
    future = future_class(loop=loop)
    future.set_result(Result(future))
    del future
    assert seen == [None]
    # In a cycle the finaliser meets a future that is whole.
    seen.clear()
    future = future_class(loop=loop)
    future.set_result(Cyclic(future))
    del future
    gc.collect()
    turn(loop)
    text, future = seen
    assert text == repr(future)
    assert text.startswith("<Future finished result=<")


@pytest.mark.skipif(sys.version_info >= (3, 15), reason="refused since 3.15")
@pytest.mark.parametrize("what", ["result", "exception", "callback", "message"])
def test_initialised_again_with_an_evil_del(loop, survivor, what):
    class Evil(Exception):
        def __del__(self):
            # The future may count as uninitialised meanwhile.
            for use in (repr, remove_all, survivor.done, survivor.cancelled):
                with contextlib.suppress(RuntimeError):
                    use(future)
            deleted.append(self)

        def __call__(self, future):
            pass

    deleted = []
    future = survivor(loop=loop)
    if what == "result":
        future.set_result(Evil())
    elif what == "exception":
        future.set_exception(Evil())
        future._log_traceback = False
    elif what == "callback":
        for _ in range(3):
            future.add_done_callback(Evil())
    else:
        future._cancel_message = Evil()
    future.__init__(loop=loop)
    assert len(deleted) == (3 if what == "callback" else 1)
    future.set_result(1)
    assert future.result() == 1


# Types


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("__init__", ()),
        ("result", ()),
        ("exception", ()),
        ("set_result", (1,)),
        ("set_exception", (ValueError,)),
        ("add_done_callback", (print,)),
        ("remove_done_callback", (print,)),
        ("cancel", ()),
        ("cancelled", ()),
        ("done", ()),
        ("get_loop", ()),
        ("_make_cancelled_error", ()),
        ("__await__", ()),
        ("__iter__", ()),
        ("__repr__", ()),
        ("__del__", ()),
    ],
)
def test_methods_of_the_other_class(evloop_loop, future_class, name, args):
    other_class = {asyncio.Future: evloop.Future, evloop.Future: asyncio.Future}
    future = future_class(loop=evloop_loop)
    kwargs = {"loop": ForeignLoop()} if name == "__init__" else {}
    # They may refuse, or find a future of their own in it; it lives on.
    with contextlib.suppress(TypeError, RuntimeError, asyncio.InvalidStateError):
        getattr(other_class[future_class], name)(future, *args, **kwargs)
    gc.collect()
    future.cancel()
    assert future.done()


def test_class_is_not_changed(evloop_loop, future_class):
    class Stock(asyncio.Future):
        pass

    class Native(evloop.Future):
        pass

    class Mine(future_class):
        pass

    class Likewise(future_class):
        pass

    if evloop.Future is not asyncio.Future:
        for before, after in ((Stock, Native), (Native, Stock)):
            future = before(loop=evloop_loop)
            with pytest.raises(TypeError):
                future.__class__ = after
    future = future_class(loop=evloop_loop)
    with pytest.raises(TypeError):
        future.__class__ = Mine
    future = Mine(loop=evloop_loop)
    with pytest.raises(TypeError):
        future.__class__ = future_class
    future.__class__ = Likewise
    future.set_result(1)
    assert repr(future) == "<Likewise finished result=1>"


def test_many_bases(loop, future_class, task_class):
    class Mixin:
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.mixed = True

    class First(Mixin, future_class):
        pass

    class Plain(future_class):
        pass

    class Deep(First, Plain, asyncio.Future):
        pass

    for cls in (First, Deep):
        future = cls(loop=loop)
        assert future.mixed
        future.set_result(cls)
        assert loop.run_until_complete(future) is cls
    with pytest.raises(TypeError):
        type("Both", (future_class, task_class), {})


# Callbacks


def test_callback_that_cancels_the_others(loop, turn, future_class):
    def evil(_):
        for other in futures:
            cancelled.append(other.cancel())

    cancelled = []
    calls = []
    futures = [future_class(loop=loop) for _ in range(20)]
    for future in futures:
        future.add_done_callback(calls.append)
    futures[0].add_done_callback(evil)
    futures[0].set_result(1)
    turn(loop, 2)
    assert cancelled == [False] + [True] * 19
    assert calls == futures


def test_callback_that_drops_the_last_reference(loop, turn, future_class):
    def evil(_):
        holder.clear()
        gc.collect()

    holder = [future_class(loop=loop)]
    died = weakref.ref(holder[0])
    for _ in range(3):
        holder[0].add_done_callback(evil)
    holder[0].set_result([holder[0]])
    turn(loop)
    gc.collect()
    assert died() is None


def test_callback_in_a_chain(loop, turn, future_class):
    futures = [future_class(loop=loop) for _ in range(100)]
    for first, second in itertools.pairwise(futures):
        first.add_done_callback(
            lambda first, second=second: second.set_result(first.result() + 1)
        )
    futures[0].set_result(0)
    turn(loop, 100)
    assert [future.result() for future in futures] == list(range(100))


# Collections


def make_cycle(future, kind):
    """A cycle through one field of the future."""
    if kind == "result":
        future.set_result([future])
    elif kind == "exception":
        exception = ValueError(future)
        future.set_exception(exception)
        future._log_traceback = False
    elif kind == "callback":
        future.add_done_callback(functools.partial(print, future))
    elif kind == "callbacks":
        for _ in range(3):
            future.add_done_callback(functools.partial(print, future))
    elif kind == "context":
        variable = contextvars.ContextVar("variable")
        for _ in range(2):
            context = contextvars.copy_context()
            context.run(variable.set, future)
            future.add_done_callback(print, context=context)
    elif kind == "message":
        future.cancel([future])
    elif kind == "attribute":
        future.mine = future
    elif kind == "iterator":
        future.mine = iter(future)
    elif kind == "bound method":
        future.mine = future.set_result
    else:
        future.get_loop().mine = future


@pytest.mark.parametrize("subclass", [False, True])
@pytest.mark.parametrize(
    "kind",
    [
        "result",
        "exception",
        "callback",
        "callbacks",
        "context",
        "message",
        "attribute",
        "iterator",
        "bound method",
        "loop",
    ],
)
def test_cycles(future_class, kind, subclass):
    class Mine(future_class):
        pass

    future = (Mine if subclass else future_class)(loop=ForeignLoop())
    make_cycle(future, kind)
    died = weakref.ref(future)
    del future
    assert died() is not None
    gc.collect()
    assert died() is None


def test_cycle_of_an_iterator_that_waits(loop, future_class):
    future = future_class(loop=loop)
    iterator = iter(future)
    next(iterator)
    future.set_result(iterator)
    died = weakref.ref(future)
    del future, iterator
    gc.collect()
    assert died() is None


LONG_CHAIN = """
import evloop

loop = evloop.new_event_loop()
for way in ("result", "exception", "callback", "message", "attribute", "iterator"):
    future = None
    for _ in range(100_000):
        outer = evloop.Future(loop=loop)
        if way == "result":
            outer.set_result(future)
        elif way == "exception":
            exception = ValueError(future)
            outer.set_exception(exception)
            outer._log_traceback = False
            del exception
        elif way == "callback":
            outer.add_done_callback(future)
        elif way == "message":
            outer.cancel(future)
        elif way == "attribute":
            outer.inner = future
        else:
            outer.set_result(future and iter(future))
        future = outer
    del outer
    del future
    print(way)
loop.close()
"""


@pytest.mark.skipif(
    evloop.Future is asyncio.Future,
    reason="asyncio's own future overflows the stack on older versions",
)
def test_long_chain():
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", LONG_CHAIN],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split()[-1] == "iterator"


async def wait(future):
    with contextlib.suppress(ValueError, asyncio.CancelledError):
        return await future


def exercise(loop, future, end, task_class):
    """Use all of a future once; returns texts that tell how it went."""

    def told():
        texts.append((repr(future), len(future._callbacks or ()), future._state))

    texts = []
    future.mine = [future]
    tasks = [task_class(wait(future), loop=loop) for _ in range(3)]
    loop.call_soon(loop.stop)
    loop.run_forever()
    own = functools.partial(list, [])
    for callback in (own, str, own, repr, str):
        future.add_done_callback(callback)
    told()
    future.remove_done_callback(str)
    future.remove_done_callback(own)
    told()
    iterator = iter(future)
    with contextlib.suppress(RuntimeError):
        next(iterator)
    end(future)
    told()
    for ask in (future.result, future.exception, functools.partial(next, iterator)):
        with contextlib.suppress(ValueError, StopIteration, asyncio.CancelledError):
            ask()
    texts.append(repr(future._make_cancelled_error()))
    loop.run_until_complete(asyncio.gather(*tasks))
    texts.append([repr(task.result()) for task in tasks])
    with contextlib.suppress(ValueError, asyncio.CancelledError):
        loop.run_until_complete(future)
    return re.sub(r"0x[0-9a-f]+|line=\d+|py:\d+", "", repr(texts))


ENDS = {
    "result": lambda future: future.set_result([future]),
    "exception": lambda future: future.set_exception(ValueError("text")),
    "cancelled": lambda future: future.cancel("why"),
}


@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS.keys())
def test_collection_at_every_allocation(loop, future_class, task_class, end, debug):
    loop.set_debug(debug)
    told = [exercise(loop, future_class(loop=loop), end, task_class)]
    thresholds = gc.get_threshold()
    gc.set_threshold(1)
    try:
        for _ in range(3):
            told.append(exercise(loop, future_class(loop=loop), end, task_class))
    finally:
        gc.set_threshold(*thresholds)
    assert len(set(told)) == 1


# Threads


def test_set_directly_by_a_thread(loop, future_class):
    # asyncio promises nothing but that the process lives: a future that was
    # set without call_soon_threadsafe may be seen late.
    futures = [future_class(loop=loop) for _ in range(2000)]
    calls = []
    start = threading.Barrier(3)

    def work(number):
        start.wait(10)
        for future in futures[number::2]:
            with contextlib.suppress(asyncio.InvalidStateError):
                future.set_result(number)
            future.add_done_callback(calls.append)

    async def main():
        threads = [threading.Thread(target=work, args=(n,)) for n in range(2)]
        for thread in threads:
            thread.start()
        start.wait(10)
        for future in futures:
            future.add_done_callback(calls.append)
            future.cancel()
            await asyncio.sleep(0)
        for thread in threads:
            thread.join(10)
        await asyncio.sleep(0)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        loop.run_until_complete(main())
    finally:
        sys.setswitchinterval(interval)
    assert all(future.done() for future in futures)
    assert calls != []
    assert set(calls) <= set(futures)
