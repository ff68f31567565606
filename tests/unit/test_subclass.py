"""Python subclasses and patched instances: overridden methods are honoured."""

import asyncio
import inspect
import selectors
import signal
import socket
import sys
import types

import pytest


@pytest.fixture(params=["subclass", "instance"])
def override(request, loop_class, new_loop):
    """A function that makes a loop some of whose methods are ours.

    Once by a subclass, once by setting attributes of an instance.
    """

    def make(**functions):
        if request.param == "subclass":
            return new_loop(type("Mine", (loop_class,), functions))
        loop = new_loop()
        for name, function in functions.items():
            setattr(loop, name, types.MethodType(function, loop))
        return loop

    return make


@pytest.fixture
def recording(override, loop_class):
    """A function that makes a loop which records the calls of some methods."""

    def make(*names):
        calls = []

        def record(name):
            inherited = getattr(loop_class, name)

            def method(self, *args, **kwargs):
                calls.append((name, args))
                return inherited(self, *args, **kwargs)

            return method

        loop = override(**{name: record(name) for name in names})
        # Making a loop calls some of its own methods already.
        calls.clear()
        return loop, calls

    return make


def test_fake_clock(override):
    now = [1000.0]
    loop = override(time=lambda self: now[0])
    ran = []
    assert loop.time() == 1000.0
    handle = loop.call_later(5, ran.append, 1)
    assert handle.when() == 1005.0
    loop.stop()
    loop.run_forever()
    assert ran == []
    now[0] = 1005.0
    loop.stop()
    loop.run_forever()
    assert ran == [1]


def test_fake_clock_that_moves_by_itself(override):
    # A test loop's clock may jump to the next deadline whenever it is asked.
    now = [0.0]

    def time(self):
        now[0] += 0.00025
        return now[0]

    loop = override(time=time)
    ran = []
    for delay in (3, 1, 2):
        loop.call_later(delay / 100, ran.append, delay)
    loop.call_later(0.04, loop.stop)
    loop.run_forever()
    assert ran == [1, 2, 3]


def test_fake_clock_of_integers(override):
    now = [7]
    loop = override(time=lambda self: now[0])
    ran = []
    assert loop.call_later(1, ran.append, 1).when() == 8
    now[0] = 8
    loop.stop()
    loop.run_forever()
    assert ran == [1]


def test_failing_clock(override):
    def time(self):
        raise LookupError("mine")

    loop = override(time=time)
    with pytest.raises(LookupError, match=r"^mine$"):
        loop.call_later(1, print)
    loop.call_at(1, print)
    loop.stop()
    with pytest.raises(LookupError, match=r"^mine$"):
        loop.run_forever()
    assert not loop.is_running()


def test_call_soon_is_used_by_tasks_and_futures(recording):
    loop, calls = recording("call_soon")

    async def main():
        future = loop.create_future()
        loop.call_later(0, future.set_result, 1)
        await asyncio.sleep(0)
        return await future

    assert loop.run_until_complete(main()) == 1
    # The task's start, its step after sleep(0), the future's two callbacks
    # or wake-ups, and the callback that ends the run.
    assert len(calls) >= 4


def test_call_soon_that_wraps_the_callback(override, loop_class):
    ran = []

    def call_soon(self, callback, *args, context=None):
        def wrapped(*args):
            ran.append("before")
            callback(*args)

        return loop_class.call_soon(self, wrapped, *args, context=context)

    loop = override(call_soon=call_soon)
    loop.call_soon(ran.append, "callback")
    loop.stop()
    loop.run_forever()
    assert ran == ["before", "callback"]


def test_call_at_is_used_by_call_later(recording):
    loop, calls = recording("call_at")
    before = loop.time()
    loop.call_later(5, print, 1)
    ((name, args),) = calls
    assert name == "call_at"
    assert args[0] >= before + 5
    assert args[1:] == (print, 1)


def test_call_at_whose_handle_is_not_ours(override):
    made = asyncio.TimerHandle(1, print, (), types.SimpleNamespace(get_debug=bool))
    loop = override(call_at=lambda self, when, callback, *args, context=None: made)
    assert loop.call_later(5, print) is made


def test_private_call_soon_is_used_by_call_soon(recording):
    loop, calls = recording("_call_soon")
    ran = []
    loop.call_soon(ran.append, 1)
    loop.stop()
    loop.run_forever()
    assert ran == [1]
    assert [name for name, _ in calls] == ["_call_soon"]
    assert calls[0][1][:2] == (ran.append, (1,))


def test_write_to_self_is_used_by_call_soon_threadsafe(recording):
    loop, calls = recording("_write_to_self")
    loop.call_soon_threadsafe(print)
    assert calls == [("_write_to_self", ())]


def test_call_soon_threadsafe_is_used_by_set_debug_and_executors(recording):
    loop, calls = recording("call_soon_threadsafe")
    loop.call_soon(loop.set_debug, True)
    future = loop.run_in_executor(None, abs, -1)
    assert loop.run_until_complete(future) == 1
    assert len(calls) >= 2


def test_run_once_is_called_every_turn(recording):
    loop, calls = recording("_run_once")
    loop.call_soon(loop.call_soon, loop.call_soon, loop.stop)
    loop.run_forever()
    assert calls == [("_run_once", ())] * 3


def test_run_once_of_our_own(override):
    turns = []

    def run_once(self):
        turns.append(self.is_running())
        if len(turns) == 3:
            self.stop()

    loop = override(_run_once=run_once)
    loop.run_forever()
    assert turns == [True] * 3


def test_run_once_that_raises(override):
    def run_once(self):
        raise LookupError("mine")

    loop = override(_run_once=run_once)
    with pytest.raises(LookupError, match=r"^mine$"):
        loop.run_forever()
    assert not loop.is_running()


def test_process_events_sees_the_events(override, loop_class):
    seen = []

    def process_events(self, events):
        seen.extend(events)
        return loop_class._process_events(self, events)

    loop = override(_process_events=process_events)
    mine, peer = socket.socketpair()
    ran = []
    with mine, peer:
        loop.add_reader(mine, ran.append, 1)
        peer.send(b"x")
        loop.stop()
        loop.run_forever()
        ((key, mask),) = [event for event in seen if event[0].fd == mine.fileno()]
        assert mask == selectors.EVENT_READ
        assert key.events == selectors.EVENT_READ
        reader, writer = key.data
        assert reader._args == (1,)
        assert writer is None
        loop.remove_reader(mine)
    assert ran == [1]


def test_process_events_may_swallow_them(override):
    loop = override(_process_events=lambda self, events: None)
    mine, peer = socket.socketpair()
    ran = []
    with mine, peer:
        loop.add_reader(mine, ran.append, 1)
        peer.send(b"x")
        loop.stop()
        loop.run_forever()
        loop.remove_reader(mine)
    assert ran == []


def test_add_callback_is_used_for_events(recording):
    loop, calls = recording("_add_callback")
    mine, peer = socket.socketpair()
    with mine, peer:
        handle = loop._add_reader(mine.fileno(), print)
        peer.send(b"x")
        loop.stop()
        loop.run_forever()
        loop.remove_reader(mine)
    assert ("_add_callback", (handle,)) in calls


def test_private_add_reader_is_used_by_add_reader(recording):
    loop, calls = recording(
        "_add_reader", "_remove_reader", "_add_writer", "_remove_writer"
    )
    mine, peer = socket.socketpair()
    with mine, peer:
        loop.add_reader(mine, print, 1)
        loop.add_writer(mine, print, 2)
        loop.remove_reader(mine)
        loop.remove_writer(mine)
    assert calls == [
        ("_add_reader", (mine, print, 1)),
        ("_add_writer", (mine, print, 2)),
        ("_remove_reader", (mine,)),
        ("_remove_writer", (mine,)),
    ]


def test_public_removal_is_used_by_operations_on_sockets(recording):
    loop, calls = recording("remove_reader", "remove_writer")
    mine, peer = socket.socketpair()
    mine.setblocking(False)

    async def receive():
        task = asyncio.ensure_future(loop.sock_recv(mine, 10))
        await asyncio.sleep(0)
        peer.send(b"x")
        return await task

    async def send():
        # More than the buffers hold.
        task = asyncio.ensure_future(loop.sock_sendall(mine, bytes(1 << 20)))
        await asyncio.sleep(0)
        while not task.done():
            peer.recv(1 << 16)
            await asyncio.sleep(0)

    with mine, peer:
        number = mine.fileno()
        assert loop.run_until_complete(receive()) == b"x"
        assert calls == [("remove_reader", (number,))]
        loop.run_until_complete(send())
        assert calls[1:] == [("remove_writer", (number,))]


def test_timer_handle_cancelled_is_told(recording):
    loop, calls = recording("_timer_handle_cancelled")
    handle = loop.call_later(1, print)
    handle.cancel()
    handle.cancel()
    assert calls == [("_timer_handle_cancelled", (handle,))]


def test_call_exception_handler_gets_the_contexts(override):
    seen = []
    loop = override(call_exception_handler=lambda self, context: seen.append(context))

    def fail():
        raise LookupError

    loop.call_soon(fail)
    loop.stop()
    loop.run_forever()
    assert [type(each["exception"]) for each in seen] == [LookupError]


def test_default_exception_handler_gets_the_contexts(override):
    seen = []
    loop = override(
        default_exception_handler=lambda self, context: seen.append(context)
    )

    def fail():
        raise LookupError

    loop.call_soon(fail)
    loop.stop()
    loop.run_forever()
    assert [type(each["exception"]) for each in seen] == [LookupError]


def test_get_debug_is_asked_by_handles(override):
    loop = override(get_debug=lambda self: True)
    assert asyncio.Handle(print, (), loop)._source_traceback
    assert asyncio.Future(loop=loop)._source_traceback


def test_checks_are_called(recording):
    loop, calls = recording("_check_closed", "_check_thread", "_check_callback")
    loop.set_debug(True)
    loop.call_soon(print)
    loop.call_at(0, print)
    loop.call_soon_threadsafe(print)
    assert [name for name, _ in calls] == [
        "_check_closed",
        "_check_thread",
        "_check_callback",
        "_check_closed",
        "_check_thread",
        "_check_callback",
        "_check_closed",
        "_check_callback",
    ]


def test_check_closed_that_refuses(override):
    armed = []

    def check_closed(self):
        if armed:
            raise LookupError("mine")

    loop = override(_check_closed=check_closed)
    armed.append(True)
    for call in (
        lambda: loop.call_soon(print),
        lambda: loop.call_at(0, print),
        lambda: loop.call_later(0, print),
        lambda: loop.call_soon_threadsafe(print),
        loop.run_forever,
    ):
        with pytest.raises(LookupError, match=r"^mine$"):
            call()


def test_run_forever_is_used_by_run_until_complete(recording):
    loop, calls = recording("run_forever")
    loop.run_until_complete(asyncio.sleep(0))
    assert calls == [("run_forever", ())]


def test_create_task_is_used_by_run_until_complete(recording):
    loop, calls = recording("create_task")
    loop.run_until_complete(asyncio.sleep(0))
    assert len(calls) == 1
    assert inspect.iscoroutine(calls[0][1][0])


def test_create_future_is_used_by_sleep(recording):
    loop, calls = recording("create_future")
    loop.run_until_complete(asyncio.sleep(0.0001))
    assert calls == [("create_future", ())]


@pytest.mark.skipif(sys.version_info < (3, 13), reason="since Python 3.13")
def test_setup_and_cleanup_are_called(recording):
    loop, calls = recording("_run_forever_setup", "_run_forever_cleanup")
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert [name for name, _ in calls] == ["_run_forever_setup", "_run_forever_cleanup"]


def test_handle_signal_and_process_self_data(recording):
    loop, calls = recording("_handle_signal")
    loop.add_signal_handler(signal.SIGUSR1, loop.stop)
    signal.raise_signal(signal.SIGUSR1)
    loop.run_forever()
    loop.remove_signal_handler(signal.SIGUSR1)
    assert calls == [("_handle_signal", (signal.SIGUSR1,))]


def test_stop_is_what_ends_a_run(override, loop_class):
    calls = []

    def stop(self):
        calls.append("stop")
        loop_class.stop(self)

    loop = override(stop=stop)
    loop.run_until_complete(asyncio.sleep(0))
    assert calls == ["stop"]


def test_stopping_attribute_ends_a_run(loop):
    def stop():
        loop._stopping = True

    loop.call_soon(stop)
    loop.run_forever()
    assert loop._stopping is False


def test_init_of_a_subclass(loop_class, new_loop, turn):
    class Mine(loop_class):
        def __init__(self):
            super().__init__()
            self.extra = []

    loop = new_loop(Mine)
    loop.call_soon(loop.extra.append, 1)
    turn(loop)
    assert loop.extra == [1]


def test_init_that_forgets_super(loop_class):
    class Mine(loop_class):
        def __init__(self):
            """Does not call the base class."""

        def __del__(self):
            """Nothing was opened that must be closed."""

    loop = Mine()
    with pytest.raises((AttributeError, RuntimeError)):
        loop.call_soon(print)
    with pytest.raises((AttributeError, RuntimeError)):
        loop.run_forever()


def test_slots_and_mixins(loop_class, new_loop, turn):
    class Mixin:
        def call_soon(self, callback, *args, context=None):
            self.calls += 1
            return super().call_soon(callback, *args, context=context)

    class Mine(Mixin, loop_class):
        __slots__ = ("calls",)

    loop = new_loop(Mine)
    loop.calls = 0
    loop.call_soon(print)
    loop.close()
    assert loop.calls == 1


class CountingSelector(selectors.SelectSelector):
    """A selector that is not the default one, and counts its polls."""

    def __init__(self):
        super().__init__()
        self.polls = []

    def select(self, timeout=None):
        self.polls.append(timeout)
        return super().select(timeout)


def test_given_selector_is_the_one_polled(loop_class, new_loop):
    selector = CountingSelector()
    loop = new_loop(lambda: loop_class(selector))
    assert loop._selector is selector
    mine, peer = socket.socketpair()
    ran = []
    with mine, peer:
        loop.add_reader(mine, lambda: (ran.append(mine.recv(1)), loop.stop()))
        assert mine.fileno() in selector.get_map()
        loop.call_soon(peer.send, b"x")
        loop.run_forever()
        assert loop.remove_reader(mine) is True
    assert ran == [b"x"]
    assert selector.polls[0] == 0


def test_given_selector_as_keyword(loop_class, new_loop):
    selector = CountingSelector()
    loop = new_loop(lambda: loop_class(selector=selector))
    loop.run_until_complete(asyncio.sleep(0.001))
    assert any(timeout is not None and timeout > 0 for timeout in selector.polls)


def test_given_selector_is_closed_with_the_loop(loop_class, new_loop):
    selector = CountingSelector()
    loop = new_loop(lambda: loop_class(selector))
    loop.close()
    assert loop._selector is None
    assert selector.get_map() is None


def test_selector_replaced_later(loop):
    # Test suites wrap the selector to watch or to fake the polling.
    polls = []

    class Watching:
        def __init__(self, inner):
            self.inner = inner

        def select(self, timeout):
            polls.append(timeout)
            return self.inner.select(timeout)

        def __getattr__(self, name):
            return getattr(self.inner, name)

    inner = loop._selector
    loop._selector = Watching(inner)
    loop.call_later(0.001, loop.stop)
    loop.run_forever()
    loop._selector = inner
    assert polls
    assert all(timeout >= 0 for timeout in polls)
