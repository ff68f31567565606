"""Future: results, exceptions, cancellation, attributes, repr, debug, reports.

Where the versions of asyncio word an error differently, or name the class in
it, the same is asked of asyncio.Future in the test.
"""

import asyncio
import copy
import functools
import gc
import pickle
import re
import sys
import traceback
import types
import weakref

import pytest

DONE = {
    "result": lambda future: future.set_result("result"),
    "exception": lambda future: future.set_exception(ValueError("failed")),
    "cancelled": lambda future: future.cancel("message"),
}

READ_ONLY = [
    "_state",
    "_callbacks",
    "_result",
    "_exception",
    "_loop",
    "_source_traceback",
]
if sys.version_info >= (3, 14):
    READ_ONLY.append("_asyncio_awaited_by")

WRITABLE = ["_asyncio_future_blocking", "_cancel_message", "_log_traceback"]


class Own(BaseException):
    """An exception that is not an Exception."""


class OwnStop(StopIteration):
    """A StopIteration of one's own."""


def outcome(action, *args):
    """What an action returns or raises, without the addresses in it."""
    try:
        told = "returned", repr(action(*args))
    except BaseException as exc:
        told = type(exc).__name__, str(exc)
    return [re.sub(r"0x[0-9a-fA-F]+", "0x...", each) for each in told]


def callback(future):
    """A callback that stands at a known line."""


@pytest.fixture(params=DONE.values(), ids=DONE.keys())
def finish(request):
    """A function that ends a pending future in one of the three ways."""
    return request.param


@pytest.fixture
def kept():
    """Futures made by a test, never to report an exception."""
    futures = []
    yield futures
    for future in futures:
        future._log_traceback = False


# What a future holds


def test_pending(loop, future_class):
    future = future_class(loop=loop)
    assert (future.done(), future.cancelled()) == (False, False)
    assert future._state == "PENDING"
    assert outcome(future.result) == ["InvalidStateError", "Result is not set."]
    assert outcome(future.exception) == ["InvalidStateError", "Exception is not set."]
    assert future._result is None
    assert future._exception is None
    assert future._callbacks is None
    assert future._cancel_message is None
    assert future._source_traceback is None
    assert future._log_traceback is False
    assert future._asyncio_future_blocking is False


def test_result(loop, future_class):
    future = future_class(loop=loop)
    result = object()
    assert future.set_result(result) is None
    assert (future.done(), future.cancelled()) == (True, False)
    assert future._state == "FINISHED"
    assert future.result() is future.result() is future._result is result
    assert future.exception() is future._exception is None
    assert future._log_traceback is False


@pytest.mark.parametrize(
    "result",
    [None, (), (1, 2), ValueError("an instance"), ValueError, StopIteration(1), False],
    ids=repr,
)
def test_results_of_any_kind(evloop_loop, future_class, result):
    future = future_class(loop=evloop_loop)
    future.set_result(result)
    assert future.result() is result
    assert future.exception() is None


def test_exception(loop, future_class):
    future = future_class(loop=loop)
    exception = ValueError("failed")
    assert future.set_exception(exception) is None
    assert (future.done(), future.cancelled()) == (True, False)
    assert future._state == "FINISHED"
    assert future._log_traceback is True
    assert future._exception is exception
    assert future._result is None
    assert future._log_traceback is True
    with pytest.raises(ValueError) as caught:
        future.result()
    assert caught.value is exception
    assert future._log_traceback is False
    assert future.exception() is exception


@pytest.mark.parametrize("kind", [KeyError, Own, asyncio.CancelledError, SystemExit])
def test_exception_classes(evloop_loop, future_class, kind):
    future = future_class(loop=evloop_loop)
    future.set_exception(kind)
    assert type(future.exception()) is kind
    assert future.exception().args == ()
    assert future.cancelled() is False
    with pytest.raises(kind):
        future.result()


@pytest.mark.parametrize("what", [None, 1, "text", object, object(), (ValueError,)])
def test_no_exceptions(loop, future_class, what):
    future = future_class(loop=loop)
    expected = outcome(asyncio.Future(loop=loop).set_exception, what)
    assert outcome(future.set_exception, what) == expected
    assert expected[0] == "TypeError"
    assert not future.done()


def test_exception_class_that_cannot_be_called(evloop_loop, future_class):
    class Refuses(Exception):
        def __init__(self, required):
            pass

    class Lies(Exception):
        def __new__(cls):
            return 1

    class Finishes(Exception):
        def __init__(self):
            future.set_result("first")

    future = future_class(loop=evloop_loop)
    for kind in (Refuses, Lies):
        with pytest.raises(TypeError):
            future.set_exception(kind)
        assert not future.done()
    with pytest.raises(asyncio.InvalidStateError):
        future.set_exception(Finishes)
    assert future.result() == "first"


@pytest.mark.parametrize(
    "exception", [StopIteration, StopIteration(1), OwnStop, OwnStop(2)], ids=repr
)
def test_stop_iteration(loop, future_class, kept, exception):
    def told(cls):
        future = cls(loop=loop)
        kept.append(future)
        held = future._exception
        return (
            outcome(future.set_exception, exception),
            future._state,
            repr(future._exception),
            held and (repr(held.__cause__), repr(held.__context__)),
        )

    expected = told(asyncio.Future)
    assert told(future_class) == expected
    if not isinstance(exception, OwnStop) and exception is not OwnStop:
        assert "StopIteration interacts badly with generators" in str(expected)


@pytest.mark.skipif(sys.version_info < (3, 13), reason="refused before 3.13")
def test_stop_iteration_is_the_cause(loop, future_class):
    future = future_class(loop=loop)
    stop = StopIteration(1)
    future.set_exception(stop)
    wrapper = future.exception()
    assert type(wrapper) is RuntimeError
    assert wrapper.__cause__ is wrapper.__context__ is stop


def test_traceback_does_not_grow(loop, future_class):
    def traced(cls):
        def setter():
            try:
                raise ValueError
            except ValueError as exc:
                return exc

        future = cls(loop=loop)
        future.set_exception(setter())
        found = []
        for _ in range(4):
            with pytest.raises(ValueError) as caught:
                future.result()
            frames = traceback.extract_tb(caught.value.__traceback__)
            found.append([frame.name for frame in frames])
        return found

    first, *later = traced(future_class)
    assert [first, *later] == traced(asyncio.Future)
    assert "setter" in first
    assert later == [later[0]] * 3
    assert len(later[0]) <= len(first)


def test_done_only_once(loop, future_class, finish):
    future = future_class(loop=loop)
    finish(future)
    before = future._state, future._result, future._exception, future._cancel_message
    model = asyncio.Future(loop=loop)
    model.cancel()
    for method, value in (("set_result", 1), ("set_exception", KeyError())):
        expected = outcome(getattr(model, method), value)
        assert expected[0] == "InvalidStateError"
        assert outcome(getattr(future, method), value) == expected
    assert future.cancel("another") is False
    assert before == (
        future._state,
        future._result,
        future._exception,
        future._cancel_message,
    )
    future._log_traceback = False


@pytest.mark.parametrize(
    ("method", "args"),
    [
        ("set_result", ()),
        ("set_result", (1, 2)),
        ("set_exception", ()),
        ("set_exception", (ValueError, 1)),
        ("add_done_callback", ()),
        ("add_done_callback", (print, None)),
        ("remove_done_callback", ()),
        ("remove_done_callback", (print, print)),
        ("cancel", (1, 2)),
        ("result", (1,)),
        ("exception", (1,)),
        ("done", (1,)),
        ("cancelled", (1,)),
        ("get_loop", (1,)),
        ("_make_cancelled_error", (1,)),
    ],
)
def test_wrong_arguments(evloop_loop, future_class, method, args):
    future = future_class(loop=evloop_loop)
    with pytest.raises(TypeError):
        getattr(future, method)(*args)
    with pytest.raises(TypeError):
        getattr(future, method)(*args[:1], nonsense=1)
    assert not future.done()
    assert future._callbacks is None


# Cancellation


@pytest.mark.parametrize(
    ("args", "kwargs", "message"),
    [
        ((), {}, ()),
        (("why",), {}, ("why",)),
        ((), {"msg": "why"}, ("why",)),
        ((None,), {}, ()),
        (((1, 2),), {}, ((1, 2),)),
        (("",), {}, ("",)),
    ],
)
def test_cancel(loop, future_class, args, kwargs, message):
    future = future_class(loop=loop)
    assert future.cancel(*args, **kwargs) is True
    assert (future.done(), future.cancelled()) == (True, True)
    assert future._state == "CANCELLED"
    assert future._cancel_message == (message[0] if message else None)
    for ask in (future.result, future.exception):
        raised = []
        for _ in range(2):
            with pytest.raises(asyncio.CancelledError) as caught:
                ask()
            assert caught.value.args == message
            assert caught.value.__cause__ is caught.value.__context__ is None
            raised.append(caught.value)
        assert raised[0] is not raised[1]


def test_cancelled_error_is_chained(loop, future_class):
    future = future_class(loop=loop)
    future.cancel("why")
    with pytest.raises(asyncio.CancelledError, match=r"^why$") as caught:
        try:
            raise KeyError
        except KeyError as exc:
            context = exc
            future.result()
    assert caught.value.__context__ is context


def test_cancel_message_can_be_set(loop, future_class):
    future = future_class(loop=loop)
    future._cancel_message = "before"
    assert future._cancel_message == "before"
    future.cancel("cancelled")
    assert future._cancel_message == "cancelled"
    future._cancel_message = "after"
    with pytest.raises(asyncio.CancelledError, match=r"^after$"):
        future.result()


def test_make_cancelled_error(loop, future_class):
    future = future_class(loop=loop)
    assert future._make_cancelled_error().args == ()
    future._cancel_message = "why"
    first, second = future._make_cancelled_error(), future._make_cancelled_error()
    assert first is not second
    assert type(first) is type(second) is asyncio.CancelledError
    assert first.args == second.args == ("why",)
    assert first.__context__ is None
    assert not future.done()


# The loop


def test_get_loop(loop, future_class):
    future = future_class(loop=loop)
    assert future.get_loop() is future._loop is loop


def test_running_loop_is_the_default(loop, future_class):
    async def make():
        return future_class(), future_class(loop=None)

    first, second = loop.run_until_complete(make())
    assert first.get_loop() is second.get_loop() is loop


def test_current_loop_is_the_default(loop, future_class):
    asyncio.set_event_loop(loop)
    try:
        assert future_class().get_loop() is loop
    finally:
        asyncio.set_event_loop(None)
    with pytest.raises(RuntimeError, match=r"^There is no current event loop"):
        future_class()


@pytest.mark.parametrize("what", [1, "loop", object()])
def test_loops_that_are_none(future_class, what):
    expected = outcome(lambda: asyncio.Future(loop=what))
    assert expected[0] == "AttributeError"
    assert outcome(lambda: future_class(loop=what)) == expected


def test_wrong_arguments_of_the_class(loop, future_class):
    with pytest.raises(TypeError):
        future_class(loop)
    with pytest.raises(TypeError):
        future_class(loop=loop, nonsense=1)
    with pytest.raises(TypeError):
        future_class(loop=loop, **{1: 2})


# Objects without a state


UNINITIALISED = {
    "result": lambda future: future.result(),
    "exception": lambda future: future.exception(),
    "set_result": lambda future: future.set_result(1),
    "set_exception": lambda future: future.set_exception(ValueError()),
    "add_done_callback": lambda future: future.add_done_callback(print),
    "remove_done_callback": lambda future: future.remove_done_callback(print),
    "cancel": lambda future: future.cancel("why"),
    "cancelled": lambda future: future.cancelled(),
    "done": lambda future: future.done(),
    "get_loop": lambda future: future.get_loop(),
    "_make_cancelled_error": lambda future: future._make_cancelled_error(),
    "await": lambda future: future.__await__(),
    "iter": iter,
    "repr": repr,
    "str": str,
    "isfuture": asyncio.isfuture,
    **{
        name: functools.partial(lambda name, future: getattr(future, name), name)
        for name in READ_ONLY + WRITABLE
    },
    "block": lambda future: setattr(future, "_asyncio_future_blocking", True),
    "message": lambda future: setattr(future, "_cancel_message", "why"),
    "log": lambda future: setattr(future, "_log_traceback", False),
    "log True": lambda future: setattr(future, "_log_traceback", True),
}


@pytest.mark.parametrize("action", UNINITIALISED.values(), ids=UNINITIALISED.keys())
def test_uninitialised(future_class, action):
    def incomplete(cls):
        class Incomplete(cls):
            def __init__(self):
                pass

        return Incomplete()

    expected = outcome(action, asyncio.Future.__new__(asyncio.Future))
    assert outcome(action, future_class.__new__(future_class)) == expected
    assert outcome(action, incomplete(future_class)) == expected


def test_uninitialised_awaited(loop, future_class, task_class):
    async def wait():
        await future_class.__new__(future_class)

    with pytest.raises(RuntimeError, match=r"^Future object is not initialized\.$"):
        loop.run_until_complete(task_class(wait(), loop=loop))


def test_initialised_late(loop, future_class):
    future = future_class.__new__(future_class)
    future.__init__(loop=loop)
    future.set_result(1)
    assert loop.run_until_complete(future) == 1


@pytest.mark.skipif(sys.version_info >= (3, 15), reason="refused since 3.15")
def test_initialised_twice(loop, turn, new_loop, future_class, finish):
    calls = []
    other = new_loop()
    future = future_class(loop=loop)
    future.add_done_callback(calls.append)
    future.__init__(loop=other)
    assert (future._callbacks, future.get_loop()) == (None, other)
    finish(future)
    future._cancel_message = "old"
    future._log_traceback = False
    future.__init__(loop=other)
    assert (future._state, future._result, future._exception) == ("PENDING", None, None)
    assert future._cancel_message is None
    future.set_result("new")
    assert future.result() == "new"
    turn(loop)
    assert calls == []


@pytest.mark.skipif(sys.version_info < (3, 15), reason="refused since 3.15")
def test_initialised_twice_is_refused(loop, future_class, finish):
    future = future_class(loop=loop)
    future.add_done_callback(callback)
    with pytest.raises(RuntimeError, match="already initialized"):
        future.__init__(loop=loop)
    assert [each for each, _ in future._callbacks] == [callback]
    finish(future)
    state = future._state
    with pytest.raises(RuntimeError, match="already initialized"):
        future.__init__()
    assert future._state == state
    future._log_traceback = False


# Attributes


@pytest.mark.parametrize("name", READ_ONLY)
def test_read_only_attributes(loop, future_class, name):
    future = future_class(loop=loop)
    with pytest.raises(AttributeError):
        setattr(future, name, None)
    with pytest.raises(AttributeError):
        delattr(future, name)


@pytest.mark.parametrize("name", WRITABLE)
def test_attributes_cannot_be_deleted(loop, future_class, name):
    future = future_class(loop=loop)
    with pytest.raises(AttributeError):
        delattr(future, name)


def test_blocking_is_a_truth_value(loop, future_class):
    class Neither:
        def __bool__(self):
            raise Own

    future = future_class(loop=loop)
    future._asyncio_future_blocking = "yes"
    assert future._asyncio_future_blocking is True
    with pytest.raises(Own):
        future._asyncio_future_blocking = Neither()
    assert future._asyncio_future_blocking is True
    future._asyncio_future_blocking = ()
    assert future._asyncio_future_blocking is False


def test_log_traceback_can_only_be_set_to_false(loop, future_class):
    future = future_class(loop=loop)
    for value in (True, 1, "yes"):
        with pytest.raises(
            ValueError, match=r"^_log_traceback can only be set to False$"
        ):
            future._log_traceback = value
    future.set_exception(ValueError())
    future._log_traceback = 0
    assert future._log_traceback is False


def test_arbitrary_attributes(loop, future_class):
    class Mine(future_class):
        pass

    for cls in (future_class, Mine):
        future = cls(loop=loop)
        future.mine = 1
        assert future.mine == 1
        del future.mine
        assert not hasattr(future, "mine")


def test_slots_in_a_subclass(loop, future_class):
    class Slotted(future_class):
        __slots__ = ("mine",)

    future = Slotted(loop=loop)
    future.mine = [future]
    future.set_result(1)
    assert (future.result(), future.mine) == (1, [future])


def test_weak_references(loop, future_class):
    died = []
    future = future_class(loop=loop)
    reference = weakref.ref(future, died.append)
    assert reference() is future
    del future
    assert died == [reference]
    assert reference() is None


def test_type(future_class):
    assert issubclass(future_class, asyncio.Future)
    assert future_class.__name__ == future_class.__qualname__ == "Future"
    assert set(dir(asyncio.Future)) <= set(dir(future_class))
    alias = future_class[int]
    assert type(alias) is types.GenericAlias
    assert (alias.__origin__, alias.__args__) == (future_class, (int,))
    with pytest.raises(TypeError):
        future_class.mine = 1


def test_isfuture(loop, future_class):
    future = future_class(loop=loop)
    assert isinstance(future, asyncio.Future)
    assert asyncio.isfuture(future)
    assert future != future_class(loop=loop)
    assert hash(future) == object.__hash__(future)


def test_no_copies(loop, future_class):
    class Mine(future_class):
        pass

    for cls in (future_class, Mine):
        future = cls(loop=loop)
        for attempt in (copy.copy, copy.deepcopy, pickle.dumps):
            with pytest.raises(TypeError):
                attempt(future)


# Repr


def test_repr(loop, future_class, finish):
    class Mine(future_class):
        pass

    for cls, model in ((future_class, "Future"), (Mine, "Mine")):
        future, expected = cls(loop=loop), asyncio.Future(loop=loop)
        assert repr(future) == f"<{model} pending>"
        finish(future)
        finish(expected)
        assert repr(future) == re.sub("^<Future", f"<{model}", repr(expected))
        future._log_traceback = expected._log_traceback = False


def test_repr_tells_what_it_holds(loop, future_class):
    future = future_class(loop=loop)
    future.set_result(list(range(1000)))
    assert repr(future).startswith("<Future finished result=[0, 1, 2, 3, ")
    assert len(repr(future)) < 100
    future = future_class(loop=loop)
    future.set_exception(KeyError("missing"))
    assert repr(future) == "<Future finished exception=KeyError('missing')>"
    future._log_traceback = False
    future = future_class(loop=loop)
    future.cancel("why")
    assert repr(future) == "<Future cancelled>"


@pytest.mark.parametrize("count", [1, 2, 3, 4, 20])
def test_repr_of_callbacks(loop, future_class, count):
    futures = [cls(loop=loop) for cls in (asyncio.Future, future_class)]
    for future in futures:
        for number in range(count):
            future.add_done_callback(functools.partial(callback, number))
    expected, actual = map(repr, futures)
    assert actual == expected
    assert actual.startswith("<Future pending cb=[callback(")
    assert (f"<{count - 2} more>" in actual) is (count > 2)


def test_repr_in_debug_mode(loop, future_class):
    loop.set_debug(True)
    futures = [cls(loop=loop) for cls in (asyncio.Future, future_class)]
    expected, actual = map(repr, futures)
    assert actual == expected
    assert re.search(rf" created at {re.escape(__file__)}:\d+>$", actual)


def test_repr_of_itself(loop, turn, future_class):
    seen = []
    future = future_class(loop=loop)
    future.add_done_callback(lambda future: seen.append(repr(future)))
    future.add_done_callback(functools.partial(callback, future))
    assert repr(future).count("<Future pending cb=[") == 1
    future.remove_done_callback(future._callbacks[1][0])
    future.set_result([future])
    turn(loop)
    assert seen == ["<Future finished result=[...]>"]


# Debug mode


def test_source_traceback(loop, future_class):
    class Mine(future_class):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.line = sys._getframe().f_lineno - 1

    loop.set_debug(True)
    line = sys._getframe().f_lineno + 1
    future = future_class(loop=loop)
    last = future._source_traceback[-1]
    assert (last.filename, last.lineno, last.name) == (
        __file__,
        line,
        "test_source_traceback",
    )
    assert isinstance(future._source_traceback, traceback.StackSummary)
    mine = Mine(loop=loop)
    last = mine._source_traceback[-1]
    assert (last.name, last.lineno) == ("__init__", mine.line)


def test_source_traceback_of_the_loop(loop):
    loop.set_debug(True)
    future = loop.create_future()
    names = [frame.name for frame in future._source_traceback]
    assert "test_source_traceback_of_the_loop" in names[-2:]


# Reports


@pytest.mark.parametrize("debug", [False, True])
def test_exception_never_retrieved(loop, reported, future_class, debug):
    loop.set_debug(debug)
    contexts = reported(loop)
    future = future_class(loop=loop)
    exception = ValueError("failed")
    future.set_exception(exception)
    origin = future._source_traceback
    identity = id(future)
    del future
    gc.collect()
    (context,) = contexts
    assert context.pop("message") == "Future exception was never retrieved"
    assert context.pop("exception") is exception
    if debug:
        assert context.pop("source_traceback") is origin
    future = context.pop("future")
    assert (id(future), future._log_traceback) == (identity, False)
    assert type(future) is future_class
    assert context == {}
    # It lives on by the report, and dies for good without another one.
    assert repr(future).startswith("<Future finished exception=ValueError('failed')")
    del future
    gc.collect()
    assert len(contexts) == 1


def test_exception_of_a_subclass_never_retrieved(loop, reported, future_class):
    class Mine(future_class):
        pass

    contexts = reported(loop)
    Mine(loop=loop).set_exception(ValueError)
    assert [each["message"] for each in contexts] == [
        "Mine exception was never retrieved"
    ]


def test_exception_of_a_cycle_never_retrieved(loop, reported, future_class):
    contexts = reported(loop)
    future = future_class(loop=loop)
    future.itself = future
    future.set_exception(ValueError("cycle"))
    del future
    assert contexts == []
    gc.collect()
    gc.collect()
    assert [str(each["exception"]) for each in contexts] == ["cycle"]


@pytest.mark.parametrize(
    "retrieve",
    [
        lambda future: future.exception(),
        lambda future: pytest.raises(ValueError, future.result),
        lambda future: setattr(future, "_log_traceback", False),
        lambda future: future.cancel(),
        lambda future: pytest.raises(ValueError, next, iter(future)),
    ],
    ids=["exception", "result", "log", "cancel", "iter"],
)
def test_no_report(loop, reported, future_class, retrieve):
    contexts = reported(loop)
    future = future_class(loop=loop)
    future.set_exception(ValueError)
    retrieve(future)
    del future
    gc.collect()
    assert contexts == []


def test_no_report_without_an_exception(loop, reported, future_class):
    contexts = reported(loop)
    future_class(loop=loop)
    future_class(loop=loop).set_result(1)
    future_class(loop=loop).cancel()
    future_class.__new__(future_class)
    gc.collect()
    assert contexts == []


@pytest.mark.parametrize("inherited", [False, True])
def test_del_of_a_subclass(loop, reported, future_class, inherited):
    deleted = []

    class Mine(future_class):
        def __del__(self):
            deleted.append(self._state)
            if inherited:
                super().__del__()

    contexts = reported(loop)
    Mine(loop=loop).set_exception(ValueError)
    gc.collect()
    assert deleted == ["FINISHED"]
    assert len(contexts) == inherited


def test_resurrection(loop, turn, future_class):
    saved = []

    class Mine(future_class):
        def __del__(self):
            saved.append(self)

    Mine(loop=loop)
    (future,) = saved
    future.add_done_callback(lambda future: saved.append(future.result()))
    future.set_result("alive")
    turn(loop)
    assert saved == [future, "alive"]
    saved.clear()
    del future
    gc.collect()
    # A finaliser runs once in an object's life.
    assert saved == []


def test_del_called_by_hand(loop, reported, future_class):
    contexts = reported(loop)
    future = future_class(loop=loop)
    future.__del__()
    assert contexts == []
    future.set_exception(ValueError)
    future.__del__()
    assert [each["future"] for each in contexts] == [future]
    future.__del__()
    assert len(contexts) == 1
