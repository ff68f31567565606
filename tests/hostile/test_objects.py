"""Objects half made, made twice, and private state set to nonsense.

What counts is that the process survives and that the loop can still be
closed; whether a case raises or is tolerated is nobody's contract.
"""

import asyncio
import contextlib
import gc
import warnings

import pytest

import evloop

NONSENSE = [None, 5, "text", (), [], {}, object(), -1, 2**70, float("nan"), print]

LOOP_STATE = [
    "_ready",
    "_scheduled",
    "_selector",
    "_timer_cancelled_count",
    "_transports",
    "_signal_handlers",
    "_current_handle",
    "_stopping",
    "_thread_id",
    "_debug",
    "_closed",
    "_exception_handler",
    "_task_factory",
    "_default_executor",
    "_asyncgens",
    "_clock_resolution",
    "_old_agen_hooks",
    "_coroutine_origin_tracking_enabled",
    "_ssock",
    "_csock",
    "_internal_fds",
    "slow_callback_duration",
]

HANDLE_STATE = [
    "_callback",
    "_args",
    "_context",
    "_loop",
    "_cancelled",
    "_repr",
    "_source_traceback",
    "_when",
    "_scheduled",
]

# Anything that Python code may raise, but no exit and no crash.
SURVIVED = contextlib.suppress(Exception)


def exercise(loop):
    """Do a bit of everything, whatever each may raise."""
    for action in (
        lambda: loop.call_soon(print),
        lambda: loop.call_soon_threadsafe(int),
        lambda: loop.call_later(0, int).cancel(),
        lambda: loop.call_at(0, int),
        lambda: loop.add_reader(0, int),
        lambda: loop.remove_reader(0),
        lambda: loop.add_writer(1, int),
        lambda: loop.remove_writer(1),
        lambda: loop.remove_signal_handler(10),
        lambda: loop.call_exception_handler({"message": "hello"}),
        loop.create_future,
        loop.is_running,
        loop.is_closed,
        loop.get_debug,
        loop.time,
        loop.__repr__,
        lambda: (loop.stop(), loop.run_forever()),
        lambda: (loop.stop(), loop._run_once()),
    ):
        with SURVIVED:
            action()


def use_handle(handle):
    for action in (
        handle.__repr__,
        handle.__hash__,
        lambda: handle == handle,
        lambda: handle < handle,
        handle.cancelled,
        lambda: handle.when(),
        lambda: handle.get_context(),
        handle._run,
        handle.cancel,
        handle.__repr__,
        handle._run,
    ):
        with SURVIVED:
            action()


@pytest.fixture
def doomed():
    """A function that makes an evloop whose state may be ruined.

    When the test is over a ruined loop is set right as far as needed to be
    closed for good, so that nothing of it is left.
    """
    made = []

    def make():
        loop = evloop.new_event_loop()
        made.append(loop)
        return loop

    yield make
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        while made:
            loop = made.pop()
            for name, value in (("_thread_id", None), ("_closed", False)):
                with SURVIVED:
                    setattr(loop, name, value)
            with SURVIVED:
                loop.close()
            del loop
        gc.collect()


@pytest.mark.parametrize("name", LOOP_STATE)
@pytest.mark.parametrize("value", NONSENSE, ids=repr)
def test_loop_state_set_to_nonsense(doomed, caplog, name, value):
    if name == "_old_agen_hooks" and value:
        pytest.skip("would set the hooks of this very process")
    loop = doomed()
    original = getattr(loop, name, None)
    with SURVIVED:
        setattr(loop, name, value)
    exercise(loop)
    with SURVIVED:
        setattr(loop, name, original)


@pytest.mark.parametrize("name", LOOP_STATE)
def test_loop_state_deleted(doomed, caplog, name):
    loop = doomed()
    original = getattr(loop, name, None)
    with SURVIVED:
        delattr(loop, name)
    exercise(loop)
    with SURVIVED:
        setattr(loop, name, original)


@pytest.mark.parametrize("timer", [False, True], ids=["Handle", "TimerHandle"])
@pytest.mark.parametrize("name", HANDLE_STATE)
@pytest.mark.parametrize("value", [*NONSENSE, "deleted"], ids=repr)
def test_handle_state_set_to_nonsense(doomed, caplog, timer, name, value):
    loop = doomed()
    loop.set_exception_handler(lambda *args: None)
    handles = [loop.call_at(0, int) if timer else loop.call_soon(int) for _ in range(3)]
    for handle in handles:
        with SURVIVED:
            if value == "deleted":
                delattr(handle, name)
            else:
                setattr(handle, name, value)
    use_handle(handles[0])
    with SURVIVED:
        loop.call_soon(int)
        loop.stop()
        loop.run_forever()
    use_handle(handles[1])
    use_handle(handles[2])


def test_loop_without_init():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        loop = evloop.EventLoop.__new__(evloop.EventLoop)
        exercise(loop)
        with SURVIVED:
            loop.close()
        for name in LOOP_STATE:
            with SURVIVED:
                getattr(loop, name)
        # It never had anything to close, so nobody may complain.
        loop.close = lambda: None
        del loop
        gc.collect()


def test_loop_initialised_twice(doomed):
    loop = doomed()
    handle = loop.call_soon(int)
    with SURVIVED, warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        loop.__init__()
        gc.collect()
    exercise(loop)
    use_handle(handle)


def test_loop_initialised_while_running(doomed):
    loop = doomed()

    def evil():
        with SURVIVED, warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            loop.__init__()
            gc.collect()
        loop.call_soon(loop.stop)

    loop.call_soon(evil)
    with SURVIVED:
        loop.run_forever()


def test_loop_initialised_after_close(doomed):
    loop = doomed()
    loop.close()
    with SURVIVED:
        loop.__init__()
    exercise(loop)


@pytest.mark.parametrize("argument", NONSENSE, ids=repr)
def test_loop_made_with_nonsense_for_a_selector(argument):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        loop = evloop.EventLoop.__new__(evloop.EventLoop)
        if argument is None:
            return
        with SURVIVED:
            loop.__init__(argument)
        exercise(loop)
        with SURVIVED:
            loop.close()
        loop.close = lambda: None
        del loop
        gc.collect()


@pytest.mark.parametrize("cls", [evloop.Handle, evloop.TimerHandle])
def test_handle_without_init(evloop_loop, cls):
    handle = cls.__new__(cls)
    for name in HANDLE_STATE:
        with SURVIVED:
            getattr(handle, name)
    use_handle(handle)
    for put in (evloop_loop._add_callback, evloop_loop._ready.append):
        with SURVIVED:
            put(cls.__new__(cls))
    with SURVIVED:
        evloop_loop.stop()
        evloop_loop.run_forever()


@pytest.mark.parametrize("junk", NONSENSE, ids=repr)
@pytest.mark.parametrize("queue", ["_ready", "_scheduled"])
def test_junk_put_into_a_queue(doomed, caplog, queue, junk):
    loop = doomed()
    with SURVIVED:
        getattr(loop, queue).append(junk)
    with SURVIVED:
        loop._add_callback(junk)
    for _ in range(3):
        with SURVIVED:
            loop.stop()
            loop.run_forever()
    ran = []
    loop.call_soon(ran.append, 1)
    for _ in range(3):
        with SURVIVED:
            loop.stop()
            loop.run_forever()
    assert ran == [1]


def test_same_handle_put_twice(evloop_loop):
    ran = []
    handle = asyncio.Handle(ran.append, (1,), evloop_loop)
    ours = evloop.Handle(ran.append, (2,), evloop_loop)
    for one in (handle, ours, handle, ours):
        evloop_loop._ready.append(one)
    evloop_loop.stop()
    evloop_loop.run_forever()
    assert ran == [1, 2, 1, 2]


def test_handle_of_another_loop(evloop_loop):
    other = evloop.new_event_loop()
    ran = []
    handle = other.call_soon(ran.append, 1)
    evloop_loop._add_callback(handle)
    evloop_loop.stop()
    evloop_loop.run_forever()
    assert ran == [1]
    other.close()


def test_timer_of_another_loop_cancelled_through_this_one(evloop_loop):
    other = evloop.new_event_loop()
    handle = other.call_later(3600, print)
    evloop_loop._timer_handle_cancelled(handle)
    handle.cancel()
    other.close()
    evloop_loop.stop()
    evloop_loop.run_forever()


@pytest.mark.parametrize("context", NONSENSE, ids=repr)
def test_exception_context_of_any_kind(evloop_loop, caplog, context):
    for handler in (None, lambda loop, context: context["message"]):
        evloop_loop.set_exception_handler(handler)
        assert evloop_loop.call_exception_handler(context) is None
