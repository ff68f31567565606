"""current_task() and all_tasks(): right inside every step, and outside of all."""

import asyncio
import contextlib
import gc
import os
import signal
import threading
import weakref

import pytest

# Upper bound in seconds for what another thread is about to do.
SOON = 30.0


def current(loop=None):
    """Return the current task's name, None if there is no task."""
    task = asyncio.current_task(loop)
    return None if task is None else task.get_name()


async def yielding(turns=1):
    for _ in range(turns):
        await asyncio.sleep(0)


async def waiting(future):
    return await future


def run_until(loop, *futures):
    """Run turns until all *futures* are done, whatever they end with."""
    for _ in range(100):
        if all(future.done() for future in futures):
            return
        loop.stop()
        loop.run_forever()
    raise AssertionError(f"not done: {futures}")


class TestCurrent:
    def test_in_steps_of_interleaved_tasks(self, task_class, loop):
        seen = []

        async def main(name):
            for _ in range(3):
                seen.append((name, current(), current(loop)))
                await asyncio.sleep(0)

        tasks = [task_class(main(name), loop=loop, name=name) for name in "abc"]
        run_until(loop, *tasks)
        assert seen == [(name, name, name) for name in "abc" * 3]
        assert asyncio.current_task(loop) is None

    def test_none_in_handles_between_steps(self, task_class, loop):
        seen = []

        async def main(name):
            for _ in range(2):
                seen.append(current())
                loop.call_soon(look)
                await asyncio.sleep(0)

        def look():
            seen.append(current())

        loop.call_soon(look)
        tasks = [task_class(main(name), loop=loop, name=name) for name in "ab"]
        loop.call_soon(look)
        run_until(loop, *tasks)
        turns = [None, "a", "b", None], [None, "a", None, "b"], [None, None]
        assert seen == [name for turn in turns for name in turn]

    def test_in_wake_ups(self, task_class, loop):
        seen = []
        future = loop.create_future()

        async def main():
            with contextlib.suppress(LookupError):
                await future
            seen.append(current())

        tasks = [task_class(main(), loop=loop, name=name) for name in "ab"]
        loop.call_soon(future.set_exception, LookupError())
        run_until(loop, *tasks)
        assert seen == ["a", "b"]

    def test_none_in_done_callbacks(self, task_class, loop):
        seen = []
        task = task_class(yielding(), loop=loop)
        task.add_done_callback(lambda _: seen.append(current()))
        future = loop.create_future()
        future.add_done_callback(lambda _: seen.append(current()))

        async def main():
            future.set_result(None)
            await asyncio.sleep(0)

        run_until(loop, task, task_class(main(), loop=loop))
        loop.stop()
        loop.run_forever()
        assert seen == [None, None]

    def test_in_exception_handlers(self, task_class, loop):
        seen = []
        loop.set_exception_handler(lambda *_: seen.append(current(loop)))

        def fail():
            raise LookupError

        async def main():
            # From within a step it is the step's, out of a handle nobody's.
            loop.call_exception_handler({"message": "mine"})
            loop.call_soon(fail)
            await asyncio.sleep(0)
            await asyncio.sleep(0)

        run_until(loop, task_class(main(), loop=loop, name="mine"))
        assert seen == ["mine", None]

    def test_none_in_finalizers_between_steps(self, task_class, loop, turn):
        seen = []

        class Witness:
            def __del__(self):
                seen.append(current(loop))

        async def main(witness):
            await asyncio.sleep(0)
            return witness

        # Only the loop's own reference is left: it is dropped after the step.
        for _ in range(3):
            task_class(main(Witness()), loop=loop, name="mine")
        turn(loop, 2)
        gc.collect()
        assert seen == [None] * 3

    def test_in_finalizers_within_a_step(self, task_class, loop):
        seen = []

        class Witness:
            def __del__(self):
                seen.append(current(loop))

        async def main():
            witness = Witness()
            del witness
            await asyncio.sleep(0)

        run_until(loop, task_class(main(), loop=loop, name="mine"))
        assert seen == ["mine"]

    def test_none_in_callbacks_of_signals(self, task_class, loop):
        seen = []

        def handler():
            seen.append(current())
            done.set_result(None)

        async def main():
            os.kill(os.getpid(), signal.SIGUSR1)
            await done

        done = loop.create_future()
        loop.add_signal_handler(signal.SIGUSR1, handler)
        loop.run_until_complete(task_class(main(), loop=loop, name="mine"))
        loop.remove_signal_handler(signal.SIGUSR1)
        assert seen == [None]

    def test_in_a_handler_of_the_signal_module(self, task_class, loop):
        seen = []
        previous = signal.signal(signal.SIGUSR1, lambda *_: seen.append(current(loop)))

        async def main():
            signal.raise_signal(signal.SIGUSR1)
            await asyncio.sleep(0)

        try:
            run_until(loop, task_class(main(), loop=loop, name="mine"))
        finally:
            signal.signal(signal.SIGUSR1, previous)
        assert seen == ["mine"]

    @pytest.mark.parametrize("kind", [LookupError, KeyboardInterrupt, SystemExit])
    def test_none_after_a_step_that_raised(self, task_class, loop, kind):
        async def main():
            raise kind

        seen = []
        task = task_class(main(), loop=loop)
        loop.call_soon(lambda: seen.append(current()))
        with contextlib.suppress(KeyboardInterrupt, SystemExit):
            loop.stop()
            loop.run_forever()
        assert current(loop) is None
        assert isinstance(task.exception(), kind)
        loop.stop()
        loop.run_forever()
        assert seen == [None]

    def test_in_close_of_a_coroutine(self, task_class, loop):
        seen = []

        async def inner():
            try:
                await loop.create_future()
            finally:
                seen.append(current())

        async def main():
            coro = inner()
            coro.send(None)
            coro.close()

        run_until(loop, task_class(main(), loop=loop, name="mine"))
        assert seen == ["mine"]

    def test_without_a_loop(self):
        with pytest.raises(RuntimeError, match=r"^no running event loop$"):
            asyncio.current_task()
        with pytest.raises(RuntimeError, match=r"^no running event loop$"):
            asyncio.all_tasks()

    def test_of_a_loop_in_another_thread(self, task_class, loop_class, new_loop):
        # Each loop has its own, seen from inside and from next to it.
        loops = [new_loop(loop_class) for _ in range(2)]
        inside, leave = threading.Event(), threading.Event()
        seen = []

        async def other():
            seen.append(current())
            inside.set()
            assert leave.wait(SOON)

        def in_thread():
            task = task_class(other(), loop=loops[1], name="theirs")
            loops[1].run_until_complete(task)

        async def main():
            thread = threading.Thread(target=in_thread)
            thread.start()
            try:
                assert inside.wait(SOON)
                seen.append((current(), current(loops[0]), current(loops[1])))
            finally:
                leave.set()
                thread.join()

        task = task_class(main(), loop=loops[0], name="mine")
        loops[0].run_until_complete(task)
        assert seen == ["theirs", ("mine", "mine", "theirs")]

    def test_of_another_loop_that_does_not_run(self, task_class, loop, new_loop):
        other = new_loop()
        seen = []

        async def main():
            seen.append(current(other))

        run_until(loop, task_class(main(), loop=loop))
        assert seen == [None]

    def test_step_of_a_task_within_a_step(self, task_class, loop, reported):
        contexts = reported(loop)

        async def inner():
            raise AssertionError("stepped")

        async def main():
            task = task_class(inner(), loop=loop, name="inner")
            handle = loop._ready[-1]
            handle._run()
            seen.append((current(), task.done()))
            handle.cancel()
            task.cancel()
            task._log_destroy_pending = False
            task.get_coro().close()

        seen = []
        run_until(loop, task_class(main(), loop=loop, name="mine"))
        assert seen == [("mine", False)]
        (context,) = contexts
        assert isinstance(context["exception"], RuntimeError)
        assert str(context["exception"]).startswith("Cannot enter into task")
        contexts.clear()

    def test_enter_and_leave_by_hand(self, task_class, loop, turn):
        # As libraries do that run coroutines of their own.
        task = task_class(yielding(), loop=loop, name="mine")
        seen = []

        def handle():
            asyncio._enter_task(loop, task)
            try:
                seen.append(asyncio.current_task(loop))
                with pytest.raises(RuntimeError):
                    asyncio._enter_task(loop, task)
            finally:
                asyncio._leave_task(loop, task)
            seen.append(asyncio.current_task(loop))

        loop.call_soon(handle)
        turn(loop)
        assert seen == [task, None]
        run_until(loop, task)

    def test_left_by_hand_inside_a_step(self, task_class, loop):
        seen = []

        async def main():
            task = asyncio.current_task()
            asyncio._leave_task(loop, task)
            seen.append(current())
            asyncio._enter_task(loop, task)
            seen.append(current())
            await asyncio.sleep(0)
            seen.append(current())

        run_until(loop, task_class(main(), loop=loop, name="mine"))
        assert seen == [None, "mine", "mine"]

    def test_other_entered_by_hand_inside_a_step(self, task_class, loop):
        # A task that pretends, for a while, to be another one.
        seen = []
        other = task_class(yielding(), loop=loop, name="other")

        async def main():
            task = asyncio.current_task()
            asyncio._leave_task(loop, task)
            asyncio._enter_task(loop, other)
            seen.append(current())
            asyncio._leave_task(loop, other)
            asyncio._enter_task(loop, task)
            seen.append(current())

        run_until(loop, other, task_class(main(), loop=loop, name="mine"))
        assert seen == ["other", "mine"]


class TestAll:
    def test_from_the_making_to_the_end(self, task_class, loop):
        seen = []

        async def main():
            seen.append(asyncio.all_tasks())
            await asyncio.sleep(0)
            seen.append(asyncio.all_tasks())

        task = task_class(main(), loop=loop)
        assert asyncio.all_tasks(loop) == {task}
        run_until(loop, task)
        assert seen == [{task}, {task}]
        assert asyncio.all_tasks(loop) == set()

    def test_no_done_ones(self, task_class, loop, turn):
        async def fail():
            raise LookupError

        tasks = [
            task_class(yielding(0), loop=loop),
            task_class(fail(), loop=loop),
            task_class(yielding(5), loop=loop),
            task_class(waiting(loop.create_future()), loop=loop),
        ]
        tasks[0].add_done_callback(lambda _: seen.append(asyncio.all_tasks()))
        seen = []
        tasks[2].cancel()
        turn(loop)
        assert asyncio.all_tasks(loop) == {tasks[3]}
        turn(loop)
        assert seen == [{tasks[3]}]
        tasks[3].cancel()
        assert asyncio.all_tasks(loop) == {tasks[3]}
        turn(loop)
        assert asyncio.all_tasks(loop) == set()
        assert isinstance(tasks[1].exception(), LookupError)

    def test_of_both_loops(self, task_class, loop, new_loop):
        other = new_loop()
        mine = task_class(yielding(), loop=loop)
        theirs = task_class(yielding(), loop=other)
        assert asyncio.all_tasks(loop) == {mine}
        assert asyncio.all_tasks(other) == {theirs}
        run_until(loop, mine)
        run_until(other, theirs)

    def test_of_both_classes(self, task_class, loop):
        tasks = {cls(yielding(), loop=loop) for cls in (task_class, asyncio.Task)}
        assert asyncio.all_tasks(loop) == tasks
        run_until(loop, *tasks)
        assert asyncio.all_tasks(loop) == set()

    def test_forgotten_one_vanishes(self, task_class, loop, turn, reported):
        contexts = reported(loop)

        async def forgotten():
            await loop.create_future()

        task = task_class(forgotten(), loop=loop)
        gone = weakref.ref(task)
        turn(loop)
        assert asyncio.all_tasks(loop) == {task}
        del task
        gc.collect()
        contexts.clear()
        gc.collect()
        assert gone() is None
        assert asyncio.all_tasks(loop) == set()

    def test_is_a_set_of_ones_own(self, task_class, loop):
        task = task_class(yielding(), loop=loop)
        asyncio.all_tasks(loop).clear()
        assert asyncio.all_tasks(loop) == {task}
        run_until(loop, task)

    def test_many(self, task_class, loop, turn):
        tasks = [task_class(yielding(n % 3), loop=loop) for n in range(300)]
        for turns in range(4):
            left = {task for n, task in enumerate(tasks) if n % 3 >= turns}
            assert asyncio.all_tasks(loop) == left
            turn(loop)

    def test_registered_by_hand(self, task_class, loop):
        task = task_class(yielding(), loop=loop)
        asyncio._unregister_task(task)
        assert asyncio.all_tasks(loop) == set()
        asyncio._register_task(task)
        asyncio._register_task(task)
        assert asyncio.all_tasks(loop) == {task}
        asyncio._unregister_task(task)
        asyncio._unregister_task(task)
        run_until(loop, task)

    def test_of_a_loop_that_runs_in_another_thread(self, task_class, new_loop):
        loop = new_loop()
        inside, leave = threading.Event(), threading.Event()
        made = []
        future = loop.create_future()

        async def main():
            made.append(asyncio.current_task())
            made.append(task_class(waiting(future), name="pending"))
            made.append(task_class(yielding(0), name="done"))
            await made[2]
            inside.set()
            assert leave.wait(SOON)

        thread = threading.Thread(
            target=lambda: loop.run_until_complete(task_class(main(), loop=loop))
        )
        thread.start()
        try:
            assert inside.wait(SOON)
            found = asyncio.all_tasks(loop)
        finally:
            leave.set()
            thread.join()
        assert found == set(made[:2])
        future.set_result(None)
        run_until(loop, made[1])

    def test_while_another_thread_makes_tasks(self, task_class, new_loop):
        loop = new_loop()
        started, enough = threading.Event(), threading.Event()

        async def main():
            while not enough.is_set():
                children = [task_class(yielding()) for _ in range(20)]
                started.set()
                await asyncio.wait(children)

        task = task_class(main(), loop=loop)
        thread = threading.Thread(target=loop.run_until_complete, args=(task,))
        thread.start()
        try:
            assert started.wait(SOON)
            for _ in range(200):
                for found in asyncio.all_tasks(loop):
                    assert found.get_loop() is loop
        finally:
            enough.set()
            thread.join()
