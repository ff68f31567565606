"""Debug mode: its checks, its log, source tracebacks, unclosed loops."""

import asyncio
import gc
import logging
import os
import signal
import sys
import threading

import pytest

SCHEDULERS = {
    "call_soon": (),
    "call_soon_threadsafe": (),
    "call_later": (0,),
    "call_at": (0,),
}


@pytest.fixture
def debug_loop(loop):
    loop.set_debug(True)
    return loop


async def coroutine_function():
    """Never awaited."""


def test_get_and_set(loop):
    assert loop.get_debug() is False
    assert loop.set_debug(True) is None
    assert loop.get_debug() is True
    assert loop._debug is True
    loop.set_debug(False)
    assert loop.get_debug() is False


def test_environment_turns_it_on(new_loop, monkeypatch):
    monkeypatch.setenv("PYTHONASYNCIODEBUG", "1")
    assert new_loop().get_debug() is True
    monkeypatch.setenv("PYTHONASYNCIODEBUG", "")
    assert new_loop().get_debug() is False


@pytest.mark.parametrize("method", SCHEDULERS)
@pytest.mark.parametrize("callback", [5, None, "text", ()], ids=repr)
def test_not_callable(same_outcome, method, callback):
    def schedule(loop):
        loop.set_debug(True)
        getattr(loop, method)(*SCHEDULERS[method], callback)

    exc = same_outcome(schedule)
    assert isinstance(exc, TypeError)


@pytest.mark.parametrize("method", SCHEDULERS)
def test_coroutines(same_outcome, method):
    def schedule(loop, callback):
        loop.set_debug(True)
        getattr(loop, method)(*SCHEDULERS[method], callback)

    exc = same_outcome(lambda loop: schedule(loop, coroutine_function))
    assert isinstance(exc, TypeError)
    coroutine = coroutine_function()
    exc = same_outcome(lambda loop: schedule(loop, coroutine))
    coroutine.close()
    assert isinstance(exc, TypeError)


@pytest.mark.parametrize("method", ["call_soon", "call_later", "call_at"])
def test_wrong_thread(debug_loop, method):
    raised = []

    def in_thread():
        try:
            getattr(debug_loop, method)(*SCHEDULERS[method], print)
        except RuntimeError as exc:
            raised.append(str(exc))

    def start():
        thread = threading.Thread(target=in_thread)
        thread.start()
        thread.join()
        debug_loop.stop()

    debug_loop.call_soon(start)
    debug_loop.run_forever()
    assert raised == [
        "Non-thread-safe operation invoked on an event loop other than the current one"
    ]


@pytest.mark.parametrize("method", ["call_soon", "call_later", "call_at"])
def test_any_thread_may_use_a_loop_that_does_not_run(debug_loop, method):
    handles = []

    def in_thread():
        handles.append(getattr(debug_loop, method)(*SCHEDULERS[method], print))

    thread = threading.Thread(target=in_thread)
    thread.start()
    thread.join()
    handles[0].cancel()


def test_call_soon_threadsafe_is_right_in_any_thread(debug_loop):
    def start():
        thread = threading.Thread(
            target=debug_loop.call_soon_threadsafe, args=(debug_loop.stop,)
        )
        thread.start()
        thread.join()

    debug_loop.call_soon(start)
    debug_loop.run_forever()


def test_slow_callback_is_logged(debug_loop, turn, caplog):
    debug_loop.slow_callback_duration = 0.0
    debug_loop.call_soon(abs, 1)
    turn(debug_loop)
    records = [r for r in caplog.records if r.levelno == logging.WARNING]
    (record,) = records
    assert record.name == "asyncio"
    assert record.getMessage().startswith("Executing <Handle abs(1) created at ")
    assert record.getMessage().endswith(" seconds")


def test_slow_timer_and_task_are_logged(debug_loop, caplog):
    debug_loop.slow_callback_duration = 0.0
    debug_loop.call_at(0, abs, 1)

    async def slow():
        """The step itself is measured."""

    debug_loop.run_until_complete(slow())
    assert "Executing <TimerHandle when=0 abs(1) created at " in caplog.text
    assert "Executing <Task finished name=" in caplog.text


def test_quick_callback_is_not_logged(debug_loop, turn, caplog):
    debug_loop.slow_callback_duration = 30.0
    debug_loop.call_soon(abs, 1)
    turn(debug_loop)
    assert "Executing" not in caplog.text


def test_nothing_is_logged_out_of_debug(loop, turn, caplog):
    loop.slow_callback_duration = 0.0
    loop.call_soon(abs, 1)
    turn(loop)
    assert caplog.records == []


def test_slow_callback_duration(loop):
    assert loop.slow_callback_duration == 0.1
    loop.slow_callback_duration = 2
    assert loop.slow_callback_duration == 2


@pytest.mark.parametrize("method", SCHEDULERS)
def test_source_traceback_ends_at_the_callers_line(debug_loop, method):
    line = sys._getframe().f_lineno + 1
    handle = getattr(debug_loop, method)(*SCHEDULERS[method], print)
    last = handle._source_traceback[-1]
    assert (last.filename, last.lineno) == (__file__, line)
    assert last.name == "test_source_traceback_ends_at_the_callers_line"


def test_source_traceback_of_a_task_and_a_future(debug_loop):
    coroutine = coroutine_function()
    line = sys._getframe().f_lineno + 1
    task, future = debug_loop.create_task(coroutine), debug_loop.create_future()
    for made in (task, future):
        frames = [f for f in made._source_traceback if f.filename == __file__]
        assert frames[-1].lineno == line
    assert task._source_traceback[-1].filename == __file__
    debug_loop.run_until_complete(task)


def test_source_traceback_of_signal_and_descriptor_handles(debug_loop):
    debug_loop.add_signal_handler(signal.SIGUSR1, print)
    handle = debug_loop._signal_handlers[signal.SIGUSR1]
    assert any(frame.filename == __file__ for frame in handle._source_traceback)
    debug_loop.remove_signal_handler(signal.SIGUSR1)
    reading, writing = os.pipe()
    handle = debug_loop._add_reader(reading, print)
    assert any(frame.filename == __file__ for frame in handle._source_traceback)
    debug_loop.remove_reader(reading)
    os.close(reading)
    os.close(writing)


def test_source_traceback_keeps_no_locals(debug_loop):
    handle = debug_loop.call_soon(print)
    assert all(frame.locals is None for frame in handle._source_traceback)


def test_current_handle(debug_loop, turn):
    seen = []
    handle = debug_loop.call_soon(lambda: seen.append(debug_loop._current_handle))
    assert debug_loop._current_handle is None
    turn(debug_loop)
    assert seen == [handle]
    assert debug_loop._current_handle is None


def test_coroutine_origin_tracking(debug_loop):
    depths = []
    outside = sys.get_coroutine_origin_tracking_depth()
    sys.set_coroutine_origin_tracking_depth(3)
    try:
        debug_loop.call_soon(
            lambda: depths.append(sys.get_coroutine_origin_tracking_depth())
        )
        debug_loop.call_soon(debug_loop.stop)
        debug_loop.run_forever()
        assert depths == [10]
        assert sys.get_coroutine_origin_tracking_depth() == 3
    finally:
        sys.set_coroutine_origin_tracking_depth(outside)


def test_origin_tracking_follows_set_debug_while_running(loop):
    depths = []

    async def look():
        await asyncio.sleep(0)
        depths.append(sys.get_coroutine_origin_tracking_depth())

    async def main():
        for enabled in (True, False):
            loop.set_debug(enabled)
            await look()

    outside = sys.get_coroutine_origin_tracking_depth()
    loop.run_until_complete(main())
    assert depths == [10, outside]
    assert sys.get_coroutine_origin_tracking_depth() == outside


def test_never_awaited_says_where_it_was_made(debug_loop, recwarn):
    async def main():
        coroutine_function()
        gc.collect()

    debug_loop.run_until_complete(main())
    (warning,) = recwarn
    text = str(warning.message)
    assert "coroutine 'coroutine_function' was never awaited" in text
    assert "Coroutine created at" in text


def test_unclosed_loop(loop_class):
    loop = loop_class()
    text = rf"^unclosed event loop <{loop_class.__name__} running=False closed=False"
    with pytest.warns(ResourceWarning, match=text) as caught:
        del loop
        gc.collect()
    assert len(caught) == 1


def test_unclosed_loop_is_closed(loop_class):
    closed = []

    class Loop(loop_class):
        def close(self):
            closed.append(self.is_running())
            super().close()

    loop = Loop()
    with pytest.warns(ResourceWarning, match="^unclosed event loop <Loop "):
        del loop
        gc.collect()
    assert closed == [False]


def test_closed_loop_gives_no_warning(loop_class, recwarn):
    loop = loop_class()
    loop.close()
    del loop
    gc.collect()
    assert list(recwarn) == []


def test_close_is_logged_in_debug(debug_loop, caplog):
    caplog.set_level(logging.DEBUG, "asyncio")
    debug_loop.close()
    assert [m for m in caplog.messages if m.startswith("Close <")]


def test_selector_is_logged(loop_class, new_loop, caplog):
    caplog.set_level(logging.DEBUG, "asyncio")
    new_loop()
    (message,) = caplog.messages
    assert message.startswith("Using selector: ")


def test_poll_of_an_executor_and_debug_together(debug_loop):
    future = debug_loop.run_in_executor(None, abs, -1)
    assert debug_loop.run_until_complete(future) == 1
