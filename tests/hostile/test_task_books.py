"""asyncio's books of the running task, when Python code runs at odd moments."""

import asyncio
import gc
import types

import pytest


class Witness:
    """Notes which task was running when it died."""

    def __init__(self, loop, seen):
        self.loop = loop
        self.seen = seen

    def __del__(self):
        self.seen.append(asyncio.current_task(self.loop))


@types.coroutine
def yield_nonsense():
    yield 42


def test_no_task_runs_when_a_result_goes(loop):
    """The loop holds the last reference to the future that woke a task."""
    seen = []

    async def user(future):
        await future
        del future
        await asyncio.sleep(0)

    async def main():
        future = loop.create_future()
        task = loop.create_task(user(future))
        await asyncio.sleep(0)
        future.set_result(Witness(loop, seen))
        del future
        await task

    loop.run_until_complete(main())
    assert seen == [None]


def test_no_task_runs_when_an_attribute_goes(loop):
    seen = []

    async def user(future):
        await future
        del future
        await asyncio.sleep(0)

    async def main():
        future = loop.create_future()
        future.witness = Witness(loop, seen)
        task = loop.create_task(user(future))
        await asyncio.sleep(0)
        future.set_result(None)
        del future
        await task

    loop.run_until_complete(main())
    assert seen == [None]


def test_no_task_runs_when_a_traceback_goes(loop):
    """The frames of a task that caught an exception go when the next one gets it."""
    seen = []

    async def first(future):
        witness = Witness(loop, seen)
        try:
            await future
        except ValueError:
            pass
        return witness.loop

    async def second(future):
        with pytest.raises(ValueError):
            await future

    async def main():
        future = loop.create_future()
        tasks = [loop.create_task(first(future)), loop.create_task(second(future))]
        await asyncio.sleep(0)
        future.set_exception(ValueError())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        for task in tasks:
            await task

    loop.run_until_complete(main())
    assert seen == [None]


def test_no_task_runs_when_an_error_of_the_loop_goes(loop):
    """The error of a wrong yield, which only the loop holds, and its traceback."""
    seen = []

    async def wrong():
        witness = Witness(loop, seen)
        try:
            await yield_nonsense()
        except RuntimeError:
            pass
        return witness.loop

    async def main():
        task = loop.create_task(wrong())
        for _ in range(3):
            await asyncio.sleep(0)
        await task

    loop.run_until_complete(main())
    assert seen == [None]


def test_no_task_runs_when_a_finished_task_goes(loop):
    seen = []

    async def give():
        return Witness(loop, seen)

    async def main():
        loop.create_task(give())
        for _ in range(3):
            await asyncio.sleep(0)

    loop.run_until_complete(main())
    assert seen == [None]


def test_no_task_runs_in_an_assigned_run_once(loop):
    seen = []

    async def main():
        run_once = loop._run_once

        def spy():
            seen.append(asyncio.current_task(loop))
            run_once()

        loop._run_once = spy
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        del loop._run_once

    loop.run_until_complete(main())
    assert len(seen) >= 2
    assert set(seen) == {None}


@pytest.mark.parametrize("next_is", ["task", "callback", "nothing"])
def test_a_task_that_leaves_the_books_itself(loop, reported, next_is):
    contexts = reported(loop)
    seen = []

    async def bad():
        asyncio.tasks._leave_task(loop, asyncio.current_task())

    async def good():
        seen.append(asyncio.current_task())

    async def main():
        task = loop.create_task(bad())
        if next_is == "task":
            after = loop.create_task(good())
        elif next_is == "callback":
            loop.call_soon(lambda: seen.append(asyncio.current_task()))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert task.done()
        expected = {"task": lambda: [after], "callback": lambda: [None]}
        assert seen == expected.get(next_is, list)()
        assert asyncio.current_task() in asyncio.all_tasks()

    loop.run_until_complete(main())
    (context,) = contexts
    assert isinstance(context["exception"], RuntimeError)
    assert asyncio.current_task(loop) is None


def test_a_task_that_left_the_books_may_die(loop, reported):
    """In the midst of a turn, when the loop still thinks of it as the last one."""
    reported(loop)
    kept = []

    async def bad():
        task = asyncio.current_task()
        asyncio.tasks._leave_task(loop, task)
        kept.extend([task, task])
        run_once = loop._run_once

        def drop():
            kept.clear()
            gc.collect()
            run_once()

        loop._run_once = drop

    async def main():
        loop.create_task(bad())
        for _ in range(3):
            await asyncio.sleep(0)
        del loop._run_once

    loop.run_until_complete(main())
    assert asyncio.current_task(loop) is None


def test_ready_is_cleared_while_it_is_shown(evloop_loop, reported):
    """By a finalizer that the garbage collector runs in the midst of it."""
    reported(evloop_loop)
    ready = evloop_loop._ready

    class Clear:
        def __init__(self):
            self.me = self

        def __del__(self):
            ready.clear()

    async def nonsense():
        await yield_nonsense()

    async def main(threshold):
        evloop_loop.create_task(nonsense())._log_destroy_pending = False
        await asyncio.sleep(0)
        Clear()
        gc.set_threshold(threshold)
        try:
            list(ready)
        finally:
            gc.set_threshold(*thresholds)
        gc.collect()

    thresholds = gc.get_threshold()
    for threshold in range(1, 40):
        coro = main(threshold)
        task = evloop_loop.create_task(coro)
        task._log_destroy_pending = False
        for _ in range(5):
            evloop_loop.stop()
            evloop_loop.run_forever()
        assert task.done()
    gc.collect()
