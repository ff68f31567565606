"""run_forever, run_until_complete and stop: turns, batches and re-entry."""

import asyncio
import os
import socket
import sys
import threading
import time
import unittest

import pytest

import evloop


class Interrupt(BaseException):
    """What is neither an Exception nor lets the loop end."""


def test_stop_before_run_runs_what_was_scheduled(loop):
    ran = []
    loop.call_soon(ran.append, 1)
    loop.stop()
    loop.run_forever()
    assert ran == [1]


def test_stop_before_run_polls_without_blocking(loop):
    ran = []
    loop.call_later(3600, ran.append, "late")
    loop.stop()
    loop.run_forever()
    assert ran == []


def test_stop_before_run_runs_ready_io_and_due_timers(loop):
    reading, writing = os.pipe()
    ran = []
    try:
        loop.add_reader(reading, ran.append, "io")
        os.write(writing, b"x")
        loop.call_at(loop.time() - 1, ran.append, "timer")
        loop.call_soon(ran.append, "soon")
        loop.stop()
        loop.run_forever()
        loop.remove_reader(reading)
    finally:
        os.close(reading)
        os.close(writing)
    assert ran == ["soon", "io", "timer"]


def test_stop_before_run_leaves_what_the_batch_schedules(loop):
    ran = []

    def first():
        ran.append("first")
        loop.call_soon(ran.append, "second")

    loop.call_soon(first)
    loop.stop()
    loop.run_forever()
    assert ran == ["first"]
    loop.stop()
    loop.run_forever()
    assert ran == ["first", "second"]


def test_stop_finishes_the_batch(loop):
    ran = []

    def stopping():
        ran.append("stopping")
        loop.stop()
        loop.call_soon(ran.append, "next batch")

    loop.call_soon(stopping)
    loop.call_soon(ran.append, "same batch")
    loop.run_forever()
    assert ran == ["stopping", "same batch"]
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert ran == ["stopping", "same batch", "next batch"]


def test_stop_from_a_timer_and_from_a_reader(loop):
    loop.call_later(0.001, loop.stop)
    loop.run_forever()
    reading, writing = os.pipe()
    try:
        loop.add_reader(reading, loop.stop)
        os.write(writing, b"x")
        loop.run_forever()
        assert loop.remove_reader(reading) is True
    finally:
        os.close(reading)
        os.close(writing)


def test_stop_takes_effect_once(loop):
    loop.stop()
    loop.stop()
    loop.run_forever()
    ran = []
    loop.call_soon(loop.call_soon, loop.call_soon, ran.append, 1)
    loop.call_soon(loop.call_soon, loop.call_soon, loop.stop)
    loop.run_forever()
    assert ran == [1]


def test_stop_returns_none_even_on_a_closed_loop(loop):
    assert loop.stop() is None
    loop.close()
    assert loop.stop() is None


def test_running_state(loop):
    seen = []

    def look():
        seen.append((loop.is_running(), asyncio.get_running_loop() is loop))
        loop.stop()

    assert not loop.is_running()
    loop.call_soon(look)
    loop.run_forever()
    assert seen == [(True, True)]
    assert not loop.is_running()
    assert asyncio._get_running_loop() is None


def test_self_rescheduling_callback_starves_neither_io_nor_timers(loop):
    reading, writing = os.pipe()
    waiting = {"io", "timer"}

    def spin():
        if waiting:
            loop.call_soon(spin)
        else:
            loop.stop()

    def readable():
        os.read(reading, 1)
        waiting.discard("io")

    try:
        loop.add_reader(reading, readable)
        loop.call_later(0.002, waiting.discard, "timer")
        loop.call_later(0.001, os.write, writing, b"x")
        loop.call_soon(spin)
        loop.run_forever()
        loop.remove_reader(reading)
    finally:
        os.close(reading)
        os.close(writing)
    assert waiting == set()


def test_running_a_running_loop(loop):
    def nested():
        with pytest.raises(RuntimeError, match=r"^This event loop is already running$"):
            loop.run_forever()
        loop.stop()

    loop.call_soon(nested)
    loop.run_forever()


def test_run_until_complete_of_a_running_loop(loop):
    future = loop.create_future()

    def nested():
        with pytest.raises(RuntimeError, match=r"^This event loop is already running$"):
            loop.run_until_complete(future)
        loop.stop()

    loop.call_soon(nested)
    loop.run_forever()
    assert loop.is_running() is False


def test_running_a_second_loop_in_the_thread(new_loop):
    outer, inner = new_loop(), new_loop()
    text = r"^Cannot run the event loop while another loop is running$"

    async def nested():
        with pytest.raises(RuntimeError, match=text):
            inner.run_until_complete(inner.create_future())

    outer.run_until_complete(nested())
    inner.run_until_complete(asyncio.sleep(0))


def test_refused_reentry_leaves_the_outer_run_alone(evloop_loop):
    # asyncio 3.12 and 3.13.0 forget that the loop runs when this happens.
    loop = evloop_loop
    seen = []

    def nested():
        with pytest.raises(RuntimeError):
            loop.run_forever()
        loop.call_soon(after)

    def after():
        seen.append((loop.is_running(), asyncio._get_running_loop() is loop))
        loop.stop()

    loop.call_soon(nested)
    loop.run_forever()
    assert seen == [(True, True)]


def test_running_a_closed_loop(loop):
    future = loop.create_future()
    loop.close()
    with pytest.raises(RuntimeError, match=r"^Event loop is closed$"):
        loop.run_forever()
    with pytest.raises(RuntimeError, match=r"^Event loop is closed$"):
        loop.run_until_complete(future)
    assert asyncio._get_running_loop() is None


def test_run_until_complete_returns_the_result(loop):
    async def main():
        await asyncio.sleep(0)
        return 42

    assert loop.run_until_complete(main()) == 42
    future = loop.create_future()
    loop.call_soon(future.set_result, "done")
    assert loop.run_until_complete(future) == "done"
    assert loop.run_until_complete(future) == "done"


def test_run_until_complete_raises_the_exception(loop):
    async def main():
        raise LookupError("mine")

    with pytest.raises(LookupError, match=r"^mine$"):
        loop.run_until_complete(main())


def test_run_until_complete_stopped_too_early(loop):
    future = loop.create_future()
    loop.call_soon(loop.stop)
    text = r"^Event loop stopped before Future completed.$"
    with pytest.raises(RuntimeError, match=text):
        loop.run_until_complete(future)
    # The callback that ends the run is gone: resolving now stops nothing.
    future.set_result(None)
    ran = []
    loop.call_soon(loop.call_soon, ran.append, 1)
    loop.call_soon(loop.call_soon, loop.stop)
    loop.run_forever()
    assert ran == [1]


@pytest.mark.parametrize("what", [None, 1, "text", object, print])
def test_run_until_complete_of_no_awaitable(same_outcome, what):
    exc = same_outcome(lambda loop: loop.run_until_complete(what))
    assert isinstance(exc, TypeError)


def test_run_until_complete_of_another_loops_future(new_loop):
    mine, other = new_loop(), new_loop()
    text = r"^The future belongs to a different loop"
    with pytest.raises(ValueError, match=text):
        mine.run_until_complete(other.create_future())


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
def test_exit_of_a_task_comes_out_and_is_not_logged(loop, kind, caplog):
    async def main():
        raise kind

    with pytest.raises(kind):
        loop.run_until_complete(main())
    assert caplog.records == []


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
def test_exit_of_a_callback_keeps_the_rest_of_the_batch(loop, kind):
    ran = []

    def leave():
        ran.append("leave")
        loop.call_soon(ran.append, "scheduled")
        raise kind

    loop.call_soon(leave)
    loop.call_soon(ran.append, "rest")
    with pytest.raises(kind):
        loop.run_forever()
    assert not loop.is_running()
    assert ran == ["leave"]
    loop.stop()
    loop.run_forever()
    assert ran == ["leave", "rest", "scheduled"]


def test_other_base_exceptions_do_not_end_the_run(loop, reported):
    contexts = reported(loop)
    ran = []

    def leave():
        raise Interrupt

    loop.call_soon(leave)
    loop.call_soon(ran.append, 1)
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert ran == [1]
    assert [type(context["exception"]) for context in contexts] == [Interrupt]


def test_stop_is_forgotten_when_an_exception_ends_the_run(loop):
    def leave():
        loop.stop()
        raise KeyboardInterrupt

    loop.call_soon(leave)
    with pytest.raises(KeyboardInterrupt):
        loop.run_forever()
    ran = []
    loop.call_soon(loop.call_soon, ran.append, 1)
    loop.call_soon(loop.call_soon, loop.stop)
    loop.run_forever()
    assert ran == [1]


def test_loop_in_a_thread(loop):
    seen = []

    def run():
        seen.append(loop.run_until_complete(asyncio.sleep(0, "slept")))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == ["slept"]
    assert loop.run_until_complete(asyncio.sleep(0, "here too")) == "here too"


def test_two_loops_in_two_threads(new_loop):
    first, second = new_loop(), new_loop()
    rounds = 200
    counts = {first: 0, second: 0}
    ready = threading.Barrier(2)

    def hit(mine, other):
        counts[mine] += 1
        if counts[mine] < rounds:
            other.call_soon_threadsafe(hit, other, mine)
        else:
            other.call_soon_threadsafe(other.stop)
            mine.stop()

    def run(loop):
        ready.wait()
        loop.run_forever()

    threads = [threading.Thread(target=run, args=(one,)) for one in counts]
    for thread in threads:
        thread.start()
    first.call_soon_threadsafe(hit, first, second)
    for thread in threads:
        thread.join()
    assert counts == {first: rounds, second: rounds - 1}


def test_runner(loop_class):
    async def main():
        return type(asyncio.get_running_loop())

    with asyncio.Runner(loop_factory=loop_class) as runner:
        assert runner.run(main()) is loop_class
        assert runner.get_loop().is_closed() is False
    with pytest.raises(RuntimeError):
        runner.get_loop()


def test_isolated_asyncio_test_case(loop_class):
    class Policy(evloop.EventLoopPolicy):
        def _loop_factory(self):
            return loop_class()

    class Case(unittest.IsolatedAsyncioTestCase):
        # Python 3.13 and later ask this; earlier ones ask the policy.
        loop_factory = loop_class

        async def asyncSetUp(self):
            self.steps = ["set up"]

        async def test_it(self):
            await asyncio.sleep(0)
            self.steps.append(type(asyncio.get_running_loop()))

        async def asyncTearDown(self):
            assert self.steps == ["set up", loop_class]

    result = unittest.TestResult()
    if sys.version_info < (3, 13):
        asyncio.set_event_loop_policy(Policy())
    try:
        Case("test_it").run(result)
    finally:
        if sys.version_info < (3, 13):
            asyncio.set_event_loop_policy(None)
    assert result.testsRun == 1
    assert result.errors == result.failures == []


@pytest.mark.skipif(
    sys.version_info < (3, 13), reason="the set-up hooks came with Python 3.13"
)
def test_turns_driven_from_outside(loop):
    ran = []
    loop._run_forever_setup()
    try:
        assert loop.is_running()
        assert asyncio.get_running_loop() is loop
        loop.call_soon(ran.append, 1)
        loop.call_soon(loop.call_soon, ran.append, 2)
        loop._run_once()
        assert ran == [1]
        loop._run_once()
        assert ran == [1, 2]
    finally:
        loop._run_forever_cleanup()
    assert not loop.is_running()
    assert asyncio._get_running_loop() is None


def test_run_once_called_by_hand(loop):
    ran = []
    loop.call_soon(ran.append, 1)
    assert loop._run_once() is None
    assert ran == [1]


def test_repr(same_outcome):
    def text(loop):
        head, _, state = repr(loop).partition(" ")
        assert head == f"<{type(loop).__name__}"
        return state

    def closed(loop):
        loop.close()
        return text(loop)

    assert same_outcome(text) == "running=False closed=False debug=False>"
    assert same_outcome(closed) == "running=False closed=True debug=False>"


@pytest.mark.parametrize("event", ["timer", "zero timer", "descriptor"])
def test_slow_turns_after_many_fast_ones_do_not_starve_events(loop, event):
    # However a loop saves on polls while turns are fast, it must look again when
    # they are not.
    reading, writing = socket.socketpair()
    turns = []

    def arrange():
        if event == "timer":
            loop.call_later(0.001, arrived)
        elif event == "zero timer":
            loop.call_later(0, arrived)
        else:
            writing.send(b"x")

    def fast(left):
        if left:
            loop.call_soon(fast, left - 1)
        else:
            arrange()
            loop.call_soon(slow)

    def slow():
        time.sleep(0.01)
        turns.append(1)
        if len(turns) < 50:
            loop.call_soon(slow)
        else:
            loop.stop()

    def arrived():
        turns.append("arrived")
        loop.stop()

    with reading, writing:
        loop.add_reader(reading, arrived)
        loop.call_soon(fast, 3000)
        loop.run_forever()
        loop.remove_reader(reading)
    assert turns[-1] == "arrived"
    assert len(turns) <= 4
