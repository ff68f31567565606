"""Cancelling tasks: when it arrives, what it carries, what may stop it."""

import asyncio
import gc
import sys
from asyncio import CancelledError

import pytest


async def waiting(future):
    return await future


async def yielding(turns):
    for _ in range(turns):
        await asyncio.sleep(0)
    return "ended"


def run_until(loop, *futures):
    """Run turns until all *futures* are done, whatever they end with."""
    for _ in range(100):
        if all(future.done() for future in futures):
            return
        loop.stop()
        loop.run_forever()
    raise AssertionError(f"not done: {futures}")


def chain(exc):
    """Tell an exception and what it was raised in the handling of."""
    links = []
    while exc is not None:
        links.append((type(exc), exc.args))
        exc = exc.__cause__ or exc.__context__
    return links


def caught(task):
    """Return what a task's result() raises."""
    try:
        task.result()
    except BaseException as exc:
        return exc
    raise AssertionError(f"{task!r} has a result")


class Refusing:
    """A future that lets itself not be cancelled, and records the requests."""

    _asyncio_future_blocking = False

    def __init__(self, loop, answer=False):
        self.future = loop.create_future()
        self.answer = answer
        self.requests = []

    def get_loop(self):
        return self.future.get_loop()

    def add_done_callback(self, callback, *, context):
        self.future.add_done_callback(callback, context=context)

    def cancel(self, *args, **kwargs):
        self.requests.append((args, kwargs))
        return self.answer

    def messages(self):
        """Return what was given for a message, by position or by keyword."""
        return [[*args, *kwargs.values()] for args, kwargs in self.requests]

    def result(self):
        return self.future.result()

    def __await__(self):
        self._asyncio_future_blocking = True
        yield self
        return self.future.result()


class TestWhen:
    def test_before_the_first_step(self, task_class, loop, turn):
        async def main():
            raise AssertionError("ran")

        task = task_class(main(), loop=loop)
        assert task.cancel() is True
        assert task._must_cancel is True
        assert not task.done()
        assert task.cancelling() == 1
        turn(loop)
        assert task.cancelled()
        assert task._must_cancel is False
        assert chain(caught(task)) == [(CancelledError, ())]

    def test_while_suspended_by_a_yield(self, task_class, loop, turn):
        task = task_class(yielding(5), loop=loop)
        turn(loop, 2)
        assert task.cancel("message") is True
        assert task._must_cancel is True
        turn(loop)
        assert task.cancelled()
        assert chain(caught(task)) == [(CancelledError, ("message",))]

    def test_while_waiting(self, task_class, loop, turn):
        future = loop.create_future()
        task = task_class(waiting(future), loop=loop)
        turn(loop)
        assert task._fut_waiter is future
        assert task.cancel("message") is True
        assert future.cancelled()
        assert task._must_cancel is False
        assert task._fut_waiter is future
        turn(loop)
        assert task.cancelled()
        assert task._fut_waiter is None
        assert caught(task).args == ("message",)

    @pytest.mark.parametrize("end", ["result", "exception"])
    def test_in_the_turn_of_the_completion(self, task_class, loop, turn, end):
        future = loop.create_future()
        task = task_class(waiting(future), loop=loop)
        turn(loop)
        if end == "result":
            future.set_result(5)
        else:
            future.set_exception(LookupError("lost"))
        assert task.cancel() is True
        assert task._must_cancel is True
        turn(loop)
        assert task.cancelled()

    def test_in_the_turn_of_the_last_step(self, task_class, loop, turn):
        # Of two tasks with one step to go, the one cancelled ahead of its step
        # is cancelled, the other one is done already.
        tasks = []
        loop.call_soon(lambda: tasks[0].cancel())
        tasks += [task_class(yielding(0), loop=loop) for _ in range(2)]
        answers = []
        loop.call_soon(lambda: answers.append(tasks[1].cancel()))
        turn(loop)
        assert tasks[0].cancelled()
        assert tasks[1].result() == "ended"
        assert answers == [False]

    def test_when_done(self, task_class, loop):
        task = task_class(yielding(0), loop=loop)
        run_until(loop, task)
        assert task.cancel() is False
        assert task.cancelling() == 0
        assert task.result() == "ended"

    def test_when_cancelled(self, task_class, loop):
        task = task_class(yielding(0), loop=loop)
        task.cancel("first")
        run_until(loop, task)
        assert task.cancel("second") is False
        assert task.cancelling() == 1
        assert caught(task).args == ("first",)

    def test_when_failed_it_silences_the_report(self, task_class, loop, reported, turn):
        contexts = reported(loop)

        async def main():
            raise LookupError

        task = task_class(main(), loop=loop)
        turn(loop)
        assert task.cancel() is False
        del task
        gc.collect()
        assert contexts == []

    def test_twice(self, task_class, loop, turn):
        future = loop.create_future()
        task = task_class(waiting(future), loop=loop)
        turn(loop)
        assert task.cancel("first") is True
        assert task.cancel("second") is True
        assert task.cancelling() == 2
        assert task._must_cancel is True
        turn(loop)
        assert task.cancelled()

    def test_from_a_done_callback(self, task_class, loop):
        answers = []
        other = task_class(waiting(loop.create_future()), loop=loop)
        task = task_class(yielding(1), loop=loop)
        task.add_done_callback(lambda done: answers.append(done.cancel()))
        task.add_done_callback(lambda _: answers.append(other.cancel("message")))
        run_until(loop, task, other)
        assert answers == [False, True]
        assert caught(other).args == ("message",)

    def test_of_a_chain(self, task_class, loop, turn):
        future = loop.create_future()
        tasks = [task_class(waiting(future), loop=loop)]
        for _ in range(5):
            tasks.append(task_class(waiting(tasks[-1]), loop=loop))
        turn(loop)
        tasks[-1].cancel("message")
        assert future.cancelled()
        for task in tasks:
            turn(loop)
            assert task.cancelled()
        assert not any(task._must_cancel for task in tasks)

    def test_of_what_it_waits_for(self, task_class, loop):
        future = loop.create_future()
        inner = task_class(waiting(future), loop=loop)
        outer = task_class(waiting(inner), loop=loop)
        loop.call_soon(loop.call_soon, future.cancel, "message")
        run_until(loop, outer)
        assert inner.cancelled() and outer.cancelled()
        assert (inner.cancelling(), outer.cancelling()) == (0, 0)


class TestFromWithin:
    def test_then_a_yield(self, task_class, loop, turn):
        steps = []

        async def main():
            assert task.cancel("message") is True
            steps.append(task._must_cancel)
            await asyncio.sleep(0)
            steps.append("never")

        task = task_class(main(), loop=loop)
        turn(loop)
        assert task._must_cancel is True
        turn(loop)
        assert steps == [True]
        assert task.cancelled()
        assert caught(task).args == ("message",)

    def test_then_an_await(self, task_class, loop, turn):
        future = loop.create_future()

        async def main():
            task.cancel("message")
            await future

        task = task_class(main(), loop=loop)
        turn(loop)
        assert future.cancelled()
        assert task._must_cancel is False
        assert not task.done()
        turn(loop)
        assert task.cancelled()
        assert caught(task).args == ("message",)

    def test_then_an_await_of_what_refuses(self, task_class, loop, turn):
        refusing = Refusing(loop)

        async def main():
            task.cancel("message")
            await refusing

        task = task_class(main(), loop=loop)
        turn(loop)
        assert refusing.messages() == [["message"]]
        assert task._must_cancel is True
        refusing.future.set_result(5)
        turn(loop)
        assert task.cancelled()

    def test_then_the_await_of_a_done_future(self, task_class, loop):
        future = loop.create_future()
        future.set_result(5)

        async def main():
            task.cancel("message")
            return await future

        task = task_class(main(), loop=loop)
        run_until(loop, task)
        assert task.cancelled()
        assert caught(task).args == ("message",)
        assert task._must_cancel is False

    def test_then_a_return(self, task_class, loop, turn):
        async def main():
            task.cancel("message")
            return 5

        task = task_class(main(), loop=loop)
        turn(loop)
        assert task.cancelled()
        assert task._must_cancel is False
        assert caught(task).args == ("message",)

    def test_then_an_exception(self, task_class, loop, turn):
        async def main():
            task.cancel()
            raise LookupError("mine")

        task = task_class(main(), loop=loop)
        turn(loop)
        assert not task.cancelled()
        assert str(task.exception()) == "mine"


class TestRefusal:
    def test_of_the_waiter(self, task_class, loop, turn):
        refusing = Refusing(loop)
        task = task_class(waiting(refusing), loop=loop)
        turn(loop)
        assert task._fut_waiter is refusing
        assert task.cancel("message") is True
        assert refusing.messages() == [["message"]]
        assert task._must_cancel is True
        turn(loop, 3)
        assert not task.done()
        refusing.future.set_result(5)
        turn(loop)
        assert task.cancelled()
        assert caught(task).args == ("message",)

    @pytest.mark.parametrize("when", ["waiting", "about to wait"])
    def test_how_the_waiter_is_asked(self, task_class, loop, turn, when):
        # By keyword or by position, as asyncio's own does: a future of
        # somebody's own may take only the one.
        def ask(loop, task_class):
            refusing = Refusing(loop)

            async def main():
                if when == "about to wait":
                    task.cancel("message")
                return await refusing

            task = task_class(main(), loop=loop)
            turn(loop)
            if when == "waiting":
                task.cancel("message")
                task.cancel()
            refusing.future.set_result(5)
            run_until(loop, task)
            return refusing.requests

        oracle = asyncio.SelectorEventLoop()
        expected = ask(oracle, asyncio.Task)
        oracle.close()
        assert ask(loop, task_class) == expected

    def test_of_the_waiter_that_claims_otherwise(self, task_class, loop, turn):
        refusing = Refusing(loop, answer=True)
        task = task_class(waiting(refusing), loop=loop)
        turn(loop)
        assert task.cancel() is True
        assert task.cancel() is True
        assert len(refusing.requests) == 2
        assert task._must_cancel is False
        refusing.future.set_result(5)
        turn(loop)
        assert task.result() == 5
        assert task.cancelling() == 2

    def test_by_the_coroutine(self, task_class, loop, turn):
        steps = []

        async def main():
            for _ in range(3):
                try:
                    await loop.create_future()
                except CancelledError as exc:
                    steps.append(exc.args)
            return "ended"

        task = task_class(main(), loop=loop)
        for number in range(3):
            turn(loop)
            assert task.cancel(number) is True
        turn(loop)
        assert steps == [(0,), (1,), (2,)]
        assert task.result() == "ended"
        assert not task.cancelled()
        assert task.cancelling() == 3

    def test_by_what_it_waits_for(self, task_class, loop, turn):
        async def stubborn():
            try:
                await asyncio.sleep(3600)
            except CancelledError:
                await asyncio.sleep(0)
                return "stubborn"

        inner = task_class(stubborn(), loop=loop)
        outer = task_class(waiting(inner), loop=loop)
        turn(loop, 2)
        outer.cancel()
        run_until(loop, outer)
        assert inner.result() == outer.result() == "stubborn"
        assert (inner.cancelling(), outer.cancelling()) == (1, 1)

    def test_by_finally(self, task_class, loop, turn):
        steps = []

        async def main():
            try:
                await loop.create_future()
            finally:
                steps.append("finally")
                try:
                    await loop.create_future()
                finally:
                    steps.append("inner")
                    await asyncio.sleep(0)
                    steps.append("ended")

        task = task_class(main(), loop=loop)
        turn(loop)
        task.cancel("first")
        turn(loop)
        assert steps == ["finally"]
        assert not task.done()
        task.cancel("second")
        turn(loop, 2)
        assert steps == ["finally", "inner", "ended"]
        assert chain(caught(task)) == [
            (CancelledError, ("second",)),
            (CancelledError, ("first",)),
        ]

    def test_by_return_in_finally(self, task_class, loop, turn):
        class Leave:
            async def __aenter__(self):
                return self

            async def __aexit__(self, *exc_info):
                return True

        async def main():
            async with Leave():
                await loop.create_future()
            return "left"

        task = task_class(main(), loop=loop)
        turn(loop)
        task.cancel()
        turn(loop)
        assert task.result() == "left"

    def test_by_another_exception(self, task_class, loop, turn):
        async def main():
            try:
                await loop.create_future()
            except CancelledError as exc:
                raise LookupError("mine") from exc

        task = task_class(main(), loop=loop)
        turn(loop)
        task.cancel("message")
        turn(loop)
        assert chain(task.exception()) == [
            (LookupError, ("mine",)),
            (CancelledError, ("message",)),
        ]


class TestCounting:
    def test_cancelling_and_uncancel(self, task_class, loop):
        task = task_class(yielding(1), loop=loop)
        assert (task.cancelling(), task.uncancel(), task.cancelling()) == (0, 0, 0)
        for count in range(1, 5):
            task.cancel()
            assert task.cancelling() == count
        for count in range(3, -1, -1):
            assert task.uncancel() == count
            assert task.cancelling() == count
        assert task.uncancel() == 0
        run_until(loop, task)

    @pytest.mark.parametrize("requests", [1, 2])
    def test_uncancel_before_the_step(self, task_class, loop, requests):
        # Since 3.13 the last uncancel() takes the pending request back.
        task = task_class(yielding(1), loop=loop)
        for _ in range(requests):
            task.cancel()
        task.uncancel()
        taken_back = sys.version_info >= (3, 13) and requests == 1
        assert task._must_cancel is not taken_back
        run_until(loop, task)
        assert task.cancelled() is not taken_back

    def test_uncancel_after_the_waiter_was_cancelled(self, task_class, loop, turn):
        task = task_class(waiting(loop.create_future()), loop=loop)
        turn(loop)
        task.cancel()
        assert task.uncancel() == 0
        turn(loop)
        assert task.cancelled()
        assert task.uncancel() == 0

    def test_in_repr(self, task_class, loop, turn):
        task = task_class(yielding(2), loop=loop)
        assert "<Task pending " in repr(task)
        task.cancel()
        assert "<Task cancelling " in repr(task)
        turn(loop)
        assert "<Task cancelled " in repr(task)


class TestMessage:
    @pytest.mark.parametrize("message", [None, "text", "", 5, (1, 2), []], ids=repr)
    @pytest.mark.parametrize("started", [False, True])
    def test_of_any_kind(self, task_class, loop, turn, message, started):
        task = task_class(waiting(loop.create_future()), loop=loop)
        if started:
            turn(loop)
        task.cancel(message)
        if not started:
            assert task._cancel_message is message
        run_until(loop, task)
        assert caught(task).args == (() if message is None else (message,))

    def test_as_keyword(self, task_class, loop):
        task = task_class(yielding(1), loop=loop)
        assert task.cancel(msg="message") is True
        run_until(loop, task)
        assert caught(task).args == ("message",)

    def test_wrong_arguments(self, task_class, loop):
        task = task_class(yielding(1), loop=loop)
        with pytest.raises(TypeError):
            task.cancel("a", "b")
        with pytest.raises(TypeError):
            task.cancel(message="text")
        assert task.cancelling() == 0
        assert loop.run_until_complete(task) == "ended"

    def test_the_exception_is_the_coroutines_own_once(self, task_class, loop, turn):
        inside = []

        async def main():
            try:
                await loop.create_future()
            except CancelledError as exc:
                inside.append(exc)
                raise

        task = task_class(main(), loop=loop)
        turn(loop)
        task.cancel("message")
        turn(loop)
        first, second = caught(task), caught(task)
        assert first is inside[0]
        assert second is not first
        assert isinstance(second, CancelledError)
        with pytest.raises(CancelledError):
            task.exception()
        inside.clear()

    @pytest.mark.parametrize("args", [(), ("message",), (1, 2)], ids=repr)
    def test_raised_by_the_coroutine(self, task_class, loop, args):
        class Mine(CancelledError):
            """Its type is lost on no one who asks first."""

        async def main():
            raise Mine(*args)

        task = task_class(main(), loop=loop)
        run_until(loop, task)
        assert task.cancelled()
        assert task.cancelling() == 0
        assert chain(caught(task)) == [(Mine, args)]
        assert chain(caught(task)) == [(CancelledError, ())]

    @pytest.mark.parametrize("depth", [1, 2, 5])
    def test_through_a_chain(self, task_class, future_class, loop, turn, depth):
        # As long as the same by asyncio's own, context by context.
        def run(loop, task_class, future_class):
            task = task_class(waiting(future_class(loop=loop)), loop=loop)
            for _ in range(depth):
                task = task_class(waiting(task), loop=loop)
            turn(loop)
            task.cancel("message")
            run_until(loop, task)
            return chain(caught(task))

        oracle = asyncio.SelectorEventLoop()
        expected = run(oracle, asyncio.Task, asyncio.Future)
        oracle.close()
        assert run(loop, task_class, future_class) == expected
        assert expected[0] == (CancelledError, ("message",))

    def test_during_the_handling_of_another(self, task_class, loop, turn):
        async def main():
            try:
                raise LookupError("mine")
            except LookupError:
                await loop.create_future()

        task = task_class(main(), loop=loop)
        turn(loop)
        task.cancel("message")
        turn(loop)
        assert chain(caught(task)) == [
            (CancelledError, ("message",)),
            (LookupError, ("mine",)),
        ]

    def test_make_cancelled_error(self, task_class, loop):
        task = task_class(yielding(1), loop=loop)
        assert chain(task._make_cancelled_error()) == [(CancelledError, ())]
        task.cancel("message")
        assert chain(task._make_cancelled_error()) == [(CancelledError, ("message",))]
        run_until(loop, task)


@pytest.fixture
def with_tasks_of(task_class):
    """A function that makes a loop use the class under test for its tasks."""

    def use(loop):
        loop.set_task_factory(
            lambda loop, coro, **kwargs: task_class(coro, loop=loop, **kwargs)
        )
        return loop

    return use


@pytest.fixture
def run(with_tasks_of, loop):
    """A function that runs a coroutine function on a loop with such tasks."""

    def run(function, *args):
        return with_tasks_of(loop).run_until_complete(function(*args))

    return run


class TestLibrary:
    def test_shield(self, run):
        async def main():
            inner = asyncio.create_task(yielding(5))
            outer = asyncio.create_task(waiting(asyncio.shield(inner)))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            outer.cancel()
            with pytest.raises(CancelledError):
                await outer
            assert not inner.done()
            return await inner

        assert run(main) == "ended"

    def test_wait_for(self, run):
        async def main():
            inner = asyncio.create_task(asyncio.sleep(3600))
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(inner, 0.001)
            assert inner.cancelled()
            assert asyncio.current_task().cancelling() == 0
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(asyncio.sleep(3600), 0)
            return await asyncio.wait_for(yielding(2), 60)

        assert run(main) == "ended"

    def test_wait_for_cancelled(self, run):
        async def main():
            inner = asyncio.create_task(asyncio.sleep(3600))
            outer = asyncio.create_task(asyncio.wait_for(inner, 60))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            outer.cancel("message")
            with pytest.raises(CancelledError):
                await outer
            return inner.cancelled(), outer.cancelled()

        assert run(main) == (True, True)

    def test_timeout(self, run):
        async def main():
            task = asyncio.current_task()
            for delay in (-1, 0, 0.001):
                with pytest.raises(TimeoutError) as info:
                    async with asyncio.timeout(delay) as scope:
                        await asyncio.sleep(3600)
                assert chain(info.value)[1][0] is CancelledError
                assert scope.expired()
                assert task.cancelling() == 0
            async with asyncio.timeout(60) as scope:
                await asyncio.sleep(0)
            return scope.expired()

        assert run(main) is False

    def test_timeouts_nested(self, run):
        async def main():
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.001) as outer:
                    async with asyncio.timeout(60) as inner:
                        await asyncio.sleep(3600)
            return outer.expired(), inner.expired()

        assert run(main) == (True, False)

    def test_timeout_and_cancel_at_once(self, run):
        async def body():
            async with asyncio.timeout(-1):
                task.cancel("message")
                await asyncio.sleep(3600)

        async def main():
            nonlocal task
            task = asyncio.create_task(body())
            with pytest.raises(CancelledError):
                await task
            return task.cancelled(), task.cancelling()

        task = None
        assert run(main) == (True, 1)

    def test_task_group_child_fails(self, run):
        async def fail():
            await asyncio.sleep(0)
            raise LookupError("mine")

        async def main():
            with pytest.raises(ExceptionGroup) as info:
                async with asyncio.TaskGroup() as group:
                    sibling = group.create_task(asyncio.sleep(3600))
                    group.create_task(fail())
                    await asyncio.sleep(3600)
            assert [str(exc) for exc in info.value.exceptions] == ["mine"]
            assert asyncio.current_task().cancelling() == 0
            return sibling.cancelled()

        assert run(main) is True

    def test_task_group_is_cancelled(self, run):
        children = []

        async def body():
            async with asyncio.TaskGroup() as group:
                children.append(group.create_task(asyncio.sleep(3600)))
                children.append(group.create_task(asyncio.sleep(3600)))

        async def main():
            task = asyncio.create_task(body())
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            task.cancel("message")
            with pytest.raises(CancelledError):
                await task
            return [child.cancelled() for child in children]

        assert run(main) == [True, True]

    @pytest.mark.parametrize("collect", [False, True])
    def test_gather(self, run, collect):
        async def main():
            children = [asyncio.create_task(asyncio.sleep(3600)) for _ in range(3)]
            gathered = asyncio.gather(*children, return_exceptions=collect)
            await asyncio.sleep(0)
            assert gathered.cancel("message") is True
            with pytest.raises(CancelledError) as info:
                await gathered
            assert info.value.args == ("message",)
            return [child.cancelled() for child in children]

        assert run(main) == [True, True, True]

    def test_gather_of_a_cancelled_child(self, run):
        async def main():
            children = [asyncio.create_task(yielding(3)) for _ in range(2)]
            children[0].cancel("message")
            (exc, value) = await asyncio.gather(*children, return_exceptions=True)
            return chain(exc), value

        # A task that a CancelledError has ended keeps no message.
        assert run(main) == ([(CancelledError, ("",))], "ended")

    def test_wait_leaves_what_it_waits_for(self, run):
        async def main():
            inner = asyncio.create_task(yielding(6))
            outer = asyncio.create_task(asyncio.wait([inner]))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            outer.cancel()
            with pytest.raises(CancelledError):
                await outer
            return inner.done(), await inner

        assert run(main) == (False, "ended")

    def test_queue_loses_nothing(self, run):
        async def main():
            queue = asyncio.Queue()
            getters = [asyncio.create_task(queue.get()) for _ in range(2)]
            await asyncio.sleep(0)
            queue.put_nowait("item")
            # Its future is done already: what it was to get goes to the next.
            getters[0].cancel()
            with pytest.raises(CancelledError):
                await getters[0]
            return await getters[1]

        assert run(main) == "item"

    @pytest.mark.parametrize(
        "make", [asyncio.Lock, lambda: asyncio.Semaphore(1)], ids=["Lock", "Semaphore"]
    )
    def test_lock_goes_to_the_next(self, run, make):
        async def main():
            lock = make()
            await lock.acquire()
            tasks = [asyncio.create_task(lock.acquire()) for _ in range(3)]
            await asyncio.sleep(0)
            lock.release()
            tasks[0].cancel()
            tasks[1].cancel()
            with pytest.raises(CancelledError):
                await tasks[0]
            return await tasks[2], tasks[1].cancelled()

        assert run(main) == (True, True)

    def test_condition_and_event(self, run):
        async def wait(condition):
            async with condition:
                await condition.wait()

        async def main():
            condition, event = asyncio.Condition(), asyncio.Event()
            tasks = [asyncio.create_task(wait(condition)) for _ in range(2)]
            tasks.append(asyncio.create_task(event.wait()))
            await asyncio.sleep(0)
            async with condition:
                tasks[0].cancel()
                tasks[2].cancel()
                await asyncio.sleep(0)
                condition.notify_all()
            await asyncio.wait(tasks)
            return [task.cancelled() for task in tasks]

        assert run(main) == [True, False, True]

    def test_runner(self, task_class, with_tasks_of, loop_class):
        async def main():
            pending.append(asyncio.create_task(waiting(asyncio.Future())))
            await asyncio.sleep(0)

        pending = []
        with asyncio.Runner(loop_factory=loop_class) as runner:
            with_tasks_of(runner.get_loop())
            runner.run(main())
            assert type(pending[0]) is task_class
            assert not pending[0].done()
        assert pending[0].cancelled()
