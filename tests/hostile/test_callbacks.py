"""Callbacks that close, stop, re-enter, raise, cancel and mutate."""

import asyncio
import contextlib
import gc
import os
import socket

import pytest


class Own(BaseException):
    """An exception that is not an Exception."""


@pytest.mark.parametrize("action", ["close", "run_forever"])
def test_callback_that_closes_or_runs_the_loop(loop, reported, action):
    contexts = reported(loop)
    ran = []
    loop.call_soon(getattr(loop, action))
    loop.call_soon(ran.append, 1)
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert ran == [1]
    assert [type(each["exception"]) for each in contexts] == [RuntimeError]


def test_turns_nested_in_a_turn(loop, turn):
    ran = []

    def evil():
        loop._run_once()
        ran.append("evil")

    loop.call_soon(evil)
    for number in range(10):
        loop.call_soon(ran.append, number)
        loop.call_soon(loop.call_soon, ran.append, number + 10)
    # The nested turn empties asyncio's queue under the outer one's feet.
    with contextlib.suppress(IndexError):
        turn(loop)
    turn(loop, 2)
    assert ran == [*range(10), "evil", *range(10, 20)]


@pytest.mark.parametrize(
    "kind",
    [Own, GeneratorExit, asyncio.CancelledError, StopIteration, RecursionError],
)
def test_base_exceptions(loop, turn, reported, kind):
    contexts = reported(loop)
    ran = []

    def evil():
        raise kind

    for schedule in (loop.call_soon, loop.call_soon_threadsafe):
        schedule(evil)
    loop.call_at(0, evil)
    loop.call_soon(ran.append, 1)
    turn(loop)
    assert ran == [1]
    assert [type(each["exception"]) for each in contexts] == [kind] * 3


def test_exception_whose_repr_and_str_fail(loop, turn, caplog):
    class Evil(Exception):
        def __repr__(self):
            raise LookupError

        __str__ = __repr__

    def evil():
        raise Evil

    ran = []
    loop.call_soon(evil)
    loop.call_soon(ran.append, 1)
    turn(loop)
    assert ran == [1]
    assert len(caplog.records) >= 1


def test_callback_that_cancels_all_others(loop, turn):
    ran = []
    handles = []

    def evil():
        for handle in handles:
            handle.cancel()

    handles.append(loop.call_soon(evil))
    handles.extend(loop.call_soon(ran.append, n) for n in range(100))
    handles.extend(loop.call_at(n, ran.append, n) for n in range(100))
    turn(loop, 2)
    assert ran == []
    assert all(handle.cancelled() for handle in handles)


def test_due_timer_that_cancels_all_others(loop, turn):
    ran = []
    handles = []

    def evil():
        for handle in handles:
            handle.cancel()

    loop.call_at(-1, evil)
    handles.extend(loop.call_at(n, ran.append, n) for n in range(200))
    handles.extend(loop.call_later(3600, ran.append, n) for n in range(200))
    turn(loop, 2)
    assert ran == []
    assert len(loop._scheduled) == 0
    assert loop._timer_cancelled_count == 0


def test_callback_that_empties_the_queue(loop, turn):
    ran = []
    loop.call_soon(loop._ready.clear)
    loop.call_soon(ran.append, 1)
    # asyncio counted the batch before.
    with contextlib.suppress(IndexError):
        turn(loop)
    turn(loop)
    assert ran == []


def test_handle_cancelled_by_its_own_call(loop, turn):
    seen = []

    class Evil:
        def __call__(self, *args):
            handle.cancel()
            gc.collect()
            seen.append((args, handle._args))

    handle = loop.call_soon(Evil(), "argument", object)
    turn(loop)
    assert seen == [(("argument", object), None)]


def test_handle_cancelled_by_its_own_call_which_then_fails(loop, turn, reported):
    contexts = reported(loop)

    def evil():
        handle.cancel()
        raise LookupError

    handle = loop.call_soon(evil)
    turn(loop)
    (context,) = contexts
    assert context["handle"] is handle
    assert isinstance(context["exception"], LookupError)


def test_handle_mutated_by_its_own_call(loop, turn, reported):
    contexts = reported(loop)
    seen = []

    class Evil:
        def __call__(self, *args):
            handle._args = ()
            handle._callback = None
            handle._context = None
            gc.collect()
            seen.append(args)
            raise LookupError

    handle = loop.call_soon(Evil(), bytearray(100), [1])
    turn(loop)
    assert seen == [(bytearray(100), [1])]
    assert len(contexts) == 1


def test_last_reference_dropped_inside_the_call(loop, turn):
    class Evil:
        def __init__(self, log):
            self.log = log

        def __call__(self):
            handles.clear()
            gc.collect()
            self.log.append("still alive")

    log = []
    handles = [loop.call_soon(Evil(log))]
    turn(loop)
    assert log == ["still alive"]


def test_reader_that_closes_its_descriptor(loop, turn, reported):
    contexts = reported(loop)
    mine, peer = socket.socketpair()
    calls = []

    def evil():
        calls.append(1)
        mine.close()

    fd = mine.fileno()
    loop.add_reader(mine, evil)
    loop.add_writer(mine, calls.append, 2)
    peer.send(b"x")
    turn(loop, 3)
    for remove in (loop._remove_reader, loop._remove_writer):
        # asyncio minds that the descriptor is closed when it modifies it.
        with contextlib.suppress(OSError):
            remove(fd)
    peer.close()
    assert calls == [1, 2]
    assert contexts == []


def test_reader_that_removes_everything(loop, turn):
    pairs = [socket.socketpair() for _ in range(20)]
    calls = []

    def evil():
        calls.append(1)
        for mine, _ in pairs:
            loop.remove_reader(mine)
            loop.remove_writer(mine)

    for mine, peer in pairs:
        loop.add_reader(mine, evil)
        loop.add_writer(mine, evil)
        peer.send(b"x")
    turn(loop, 2)
    for pair in pairs:
        for sock in pair:
            sock.close()
    assert calls == [1]


def test_reader_that_closes_the_loop_after_stop(new_loop):
    loop = new_loop()
    reading, writing = os.pipe()
    loop.add_reader(reading, loop.stop)
    os.write(writing, b"x")
    loop.run_forever()
    loop.close()
    os.close(reading)
    os.close(writing)


@pytest.mark.parametrize("when", ["call", "cancel", "close"])
def test_del_that_uses_the_loop(loop, turn, reported, when):
    contexts = reported(loop)
    outcomes = []

    class Evil:
        def __call__(self):
            """Nothing to do; dropping it is what matters."""

        def __del__(self):
            try:
                loop.call_soon(outcomes.append, "ran")
                loop.call_later(0, outcomes.append, "ran later")
            except RuntimeError:
                outcomes.append("refused")
            loop.call_exception_handler({"message": "from __del__"})
            loop.stop()

    handle = loop.call_soon(Evil())
    if when == "cancel":
        handle.cancel()
    del handle
    if when == "close":
        loop.close()
    else:
        turn(loop, 3)
    assert len(contexts) == 1
    assert outcomes == (["refused"] if when == "close" else ["ran", "ran later"])


def test_del_that_closes_the_loop(loop):
    class Evil:
        def __call__(self):
            """Nothing to do."""

        def __del__(self):
            loop.close()

    for _ in range(10):
        first = loop.call_soon(Evil())
        loop.call_later(3600, Evil())
    first.cancel()
    assert loop.is_closed()
    assert len(loop._ready) == 0


def test_del_of_a_reader_that_adds_a_reader(loop, turn):
    mine, peer = socket.socketpair()

    class Evil:
        def __call__(self):
            """Nothing to do."""

        def __del__(self):
            loop.add_reader(mine, print)

    with mine, peer:
        loop.add_reader(mine, Evil())
        assert loop.remove_reader(mine) is True
        gc.collect()
        turn(loop)
        assert loop.remove_reader(mine) is True


class EvilArgument:
    def evil(self, *args):
        raise LookupError("evil")

    __eq__ = __repr__ = __str__ = __bool__ = __len__ = __float__ = evil

    def __hash__(self):
        raise LookupError("evil")


def test_arguments_that_fail_at_everything(loop, turn, reported):
    contexts = reported(loop)
    seen = []
    evil = EvilArgument()
    loop.call_soon(lambda one: seen.append(one is evil), evil)
    turn(loop)
    assert seen == [True]
    assert contexts == []


def test_repr_of_evil_arguments(same_outcome):
    def text(loop):
        loop.set_debug(True)
        return repr(loop.call_soon(print, EvilArgument()))

    same_outcome(text)


def test_comparison_of_evil_arguments(same_outcome):
    def compare(loop):
        one = loop.call_at(1, print, EvilArgument())
        return one == loop.call_at(1, print, EvilArgument())

    assert isinstance(same_outcome(compare), LookupError)


def test_failing_callback_with_evil_repr_in_debug(loop, caplog):
    class Evil:
        def __call__(self):
            raise ZeroDivisionError

        def __repr__(self):
            raise LookupError("evil")

    ran = []
    loop.set_debug(True)
    loop.call_soon(Evil())
    loop.call_soon(ran.append, 1)
    loop.stop()
    try:
        loop.run_forever()
    except LookupError:
        # asyncio lets the failing repr() out of the run.
        loop.stop()
        loop.run_forever()
    assert ran == [1]


def test_exception_handler_that_closes_the_loop(loop, turn, caplog):
    ran = []

    def handler(loop, context):
        loop.close()

    def fail():
        raise LookupError

    loop.set_exception_handler(handler)
    loop.call_soon(fail)
    loop.call_soon(ran.append, 1)
    turn(loop)
    assert ran == [1]
    assert not loop.is_closed()
    assert "Unhandled error in exception handler" in caplog.text


def test_exception_handler_that_schedules_and_stops(loop):
    ran = []

    def handler(loop, context):
        loop.call_soon(ran.append, "scheduled")
        loop.stop()

    def fail():
        raise LookupError

    loop.set_exception_handler(handler)
    loop.call_soon(fail)
    loop.run_forever()
    loop.stop()
    loop.run_forever()
    assert ran == ["scheduled"]


def test_exception_in_a_deep_recursion(loop, turn, reported):
    contexts = reported(loop)

    def deep():
        deep()

    loop.call_soon(deep)
    turn(loop)
    assert [type(each["exception"]) for each in contexts] == [RecursionError]


class EvilNumber:
    """A moment whose arithmetic and comparison misbehave."""

    def __init__(self, action):
        self.action = action

    def __radd__(self, other):
        return self

    def compare(self, other):
        return self.action()

    __lt__ = __gt__ = __le__ = __ge__ = compare

    def __float__(self):
        return float(bool(self.action()))

    def __rsub__(self, other):
        return 0.0

    __sub__ = __rsub__


def raising():
    raise LookupError("evil")


@pytest.mark.parametrize("method", ["call_later", "call_at"])
def test_moment_that_cannot_be_compared(evloop_loop, turn, method):
    # asyncio's heap keeps it, and fails every turn from then on.
    loop = evloop_loop
    ran = []
    for number in range(3):
        loop.call_at(number, ran.append, number)
    try:
        getattr(loop, method)(EvilNumber(raising), ran.append, "evil").cancel()
        turn(loop)
    except (LookupError, TypeError):
        turn(loop)
    assert ran == [0, 1, 2]


def test_moment_that_uses_the_loop_when_compared(evloop_loop, turn):
    # Comparing runs Python in the midst of the queue's own work, which
    # asyncio's heap does not survive.
    loop = evloop_loop
    inner = []

    def action():
        if len(inner) < 50:
            inner.append(loop.call_later(3600, print))
        return False

    ran = []
    for number in range(5):
        loop.call_at(number, ran.append, number)
    with contextlib.suppress(TypeError):
        loop.call_at(EvilNumber(action), ran.append, "evil")
    turn(loop, 2)
    assert sorted(number for number in ran if number != "evil") == list(range(5))
    for handle in inner:
        assert handle in loop._scheduled
    loop.close()
    assert len(loop._scheduled) == 0


def test_moment_that_closes_the_loop_when_compared(loop):
    def action():
        loop.close()
        return False

    for number in range(5):
        loop.call_at(number, print)
    for schedule in (loop.call_at, loop.call_later):
        with contextlib.suppress(RuntimeError, TypeError, IndexError):
            schedule(EvilNumber(action), print)


def test_callable_that_changes_its_class(loop, turn, reported):
    contexts = reported(loop)
    seen = []

    class Before:
        def __call__(self):
            self.__class__ = After
            loop.call_soon(self)
            seen.append("before")

    class After:
        def __call__(self):
            seen.append("after")

    loop.call_soon(Before())
    turn(loop, 2)
    assert seen == ["before", "after"]
    assert contexts == []
