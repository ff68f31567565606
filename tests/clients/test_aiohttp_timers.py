"""aiohttp's timers: they cancel the task that is in them, and take it back."""

import asyncio

import pytest
from aiohttp.helpers import TimeoutHandle, TimerContext, TimerNoop, ceil_timeout

# A deadline that is reached while its task waits, and one that never is.
SOON = 0.01
NEVER = 3600.0


class Failure(Exception):
    """What the tests' own code raises."""


async def forever():
    await asyncio.get_running_loop().create_future()


def cancelling():
    return asyncio.current_task().cancelling()


# What a task may wait for when it is timed out.
WAITS = {
    "future": forever,
    "future-of-asyncio": lambda: asyncio.Future(),
    "shield": lambda: asyncio.shield(asyncio.Future()),
    "gather": lambda: asyncio.gather(forever(), forever()),
    "task": lambda: asyncio.ensure_future(forever()),
    "sleep": lambda: asyncio.sleep(NEVER),
}


@pytest.mark.parametrize("wait", WAITS.values(), ids=WAITS.keys())
def test_timer_ends_a_wait(run, loop, wait):
    async def main():
        handle = TimeoutHandle(loop, SOON)
        timer = handle.timer()
        handle.start()
        with pytest.raises(TimeoutError) as caught:
            with timer:
                await wait()
        return type(timer), type(caught.value.__cause__), cancelling()

    assert run(main()) == (TimerContext, asyncio.CancelledError, 0)


def test_timer_in_time(run, loop):
    async def main():
        handle = TimeoutHandle(loop, NEVER)
        with handle.timer() as timer:
            started = handle.start()
            await asyncio.sleep(0)
        started.cancel()
        handle.close()
        timer.assert_timeout()
        return cancelling()

    assert run(main()) == 0


def test_timeout_handle_is_not_early(run, loop):
    async def main():
        called = loop.create_future()
        handle = TimeoutHandle(loop, SOON)
        handle.register(called.set_result, None)
        timer = handle.start()
        await called
        return loop.time() >= timer.when()

    assert run(main()) is True


def test_long_timeouts_end_on_whole_seconds(loop):
    timer = TimeoutHandle(loop, 5.5).start()
    assert timer.when() == int(timer.when()) >= loop.time() + 5
    timer.cancel()


def test_callbacks_of_a_timeout_handle(loop, turn):
    """A callback that raises does not keep the others from running."""
    seen = []

    def fail():
        raise Failure

    handle = TimeoutHandle(loop, NEVER)
    handle.register(seen.append, 1)
    handle.register(fail)
    handle.register(lambda *, key: seen.append(key), key=2)
    loop.call_soon(handle)
    loop.call_soon(handle)
    turn(loop)
    assert seen == [1, 2]


@pytest.mark.parametrize("timeout", [None, 0])
def test_no_timeout(run, loop, timeout):
    async def main():
        handle = TimeoutHandle(loop, timeout)
        with handle.timer() as timer:
            await asyncio.sleep(0)
        timer.assert_timeout()
        return type(timer), handle.start()

    assert run(main()) == (TimerNoop, None)


def test_timer_without_a_task(loop, turn, reported):
    contexts = reported(loop)
    loop.call_soon(TimerContext(loop).__enter__)
    turn(loop)
    (context,) = contexts
    assert "inside a task" in str(context["exception"])


def test_timer_that_is_over(run, loop):
    async def main():
        timer = TimerContext(loop)
        timer.timeout()
        with pytest.raises(TimeoutError):
            timer.assert_timeout()
        with pytest.raises(TimeoutError):
            with timer:
                raise AssertionError("not entered")
        return cancelling()

    assert run(main()) == 0


def test_timer_entered_twice(run, loop):
    """As a stream's read is in its request's timer; the task is cancelled once."""

    async def main():
        timer = TimerContext(loop)
        loop.call_later(SOON, timer.timeout)
        with pytest.raises(TimeoutError):
            with timer:
                with timer:
                    await forever()
        return cancelling()

    assert run(main()) == 0


def test_timer_of_several_tasks(run, loop):
    """Each that leaves takes back the cancellation of the one that came last."""

    async def child(timer):
        with pytest.raises(TimeoutError):
            with timer:
                await forever()

    async def main():
        timer = TimerContext(loop)
        loop.call_later(SOON, timer.timeout)
        tasks = [loop.create_task(child(timer)) for _ in range(3)]
        await asyncio.gather(*tasks)
        return [task.cancelling() for task in tasks]

    assert run(main()) == [0, 0, 0]


def test_failure_in_a_timer(run, loop):
    async def main():
        with pytest.raises(Failure):
            with TimerContext(loop):
                raise Failure
        return cancelling()

    assert run(main()) == 0


def test_cancelled_in_a_timer(run, loop):
    """A cancellation that is not the timer's goes through it."""

    async def victim():
        with TimerContext(loop):
            await forever()

    async def main():
        task = loop.create_task(victim())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return task.cancelled(), task.cancelling()

    assert run(main()) == (True, 1)


@pytest.mark.parametrize("first", ["timer", "native"])
def test_cancelled_in_the_turn_of_the_timeout(run, loop, first):
    """Two requests make one exception; the timer takes back its own."""

    async def victim(timer):
        with timer:
            await forever()

    async def main():
        timer = TimerContext(loop)
        task = loop.create_task(victim(timer))
        await asyncio.sleep(0)
        cancels = [timer.timeout, task.cancel]
        for cancel in cancels if first == "timer" else reversed(cancels):
            cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return task.cancelled(), task.cancelling()

    assert run(main()) == (True, 1)


def test_cancelled_before_the_timer(run, loop):
    """A timeout within the clean-up of a cancelled task is a timeout."""

    async def victim():
        try:
            await forever()
        finally:
            timer = TimerContext(loop)
            loop.call_later(SOON, timer.timeout)
            with pytest.raises(TimeoutError):
                with timer:
                    await forever()

    async def main():
        task = loop.create_task(victim())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return task.cancelled(), task.cancelling()

    assert run(main()) == (True, 1)


def test_timer_in_a_timeout_of_asyncio(run, loop):
    async def main():
        async with asyncio.timeout(NEVER) as timeout:
            timer = TimerContext(loop)
            loop.call_later(SOON, timer.timeout)
            with pytest.raises(TimeoutError):
                with timer:
                    await forever()
        return timeout.expired(), cancelling()

    assert run(main()) == (False, 0)


def test_timeout_of_asyncio_in_a_timer(run, loop):
    async def main():
        with TimerContext(loop) as timer:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(SOON) as timeout:
                    await forever()
        timer.assert_timeout()
        return timeout.expired(), cancelling()

    assert run(main()) == (True, 0)


def test_ceil_timeout(run):
    async def main():
        with pytest.raises(TimeoutError):
            async with ceil_timeout(SOON):
                await forever()
        async with ceil_timeout(None):
            await asyncio.sleep(0)
        return cancelling()

    assert run(main()) == 0
