"""What a task may await and be awaited by, and programs of many tasks.

Tasks and futures of both kinds and of Python's own, other people's awaitables
and coroutines, what must not be yielded, and random programs whose every event
must come as with asyncio's own tasks on asyncio's own loop.
"""

import asyncio
import collections.abc
import concurrent.futures
import contextlib
import re
import types
from itertools import zip_longest
from random import Random

import pytest

import evloop

FUTURES = {
    "asyncio": asyncio.Future,
    "evloop": evloop.Future,
    "python": asyncio.futures._PyFuture,
}
TASKS = {
    "asyncio": asyncio.Task,
    "evloop": evloop.Task,
    "python": asyncio.tasks._PyTask,
}

# Upper bound in seconds for what another thread is about to do.
SOON = 30.0


async def answer(value=None):
    await asyncio.sleep(0)
    return value


async def waiting(future):
    return await future


def run_until(loop, *futures):
    """Run turns until all *futures* are done, whatever they end with."""
    for _ in range(200):
        if all(future.done() for future in futures):
            return
        loop.stop()
        loop.run_forever()
    raise AssertionError(f"not done: {futures}")


@pytest.fixture(params=FUTURES.values(), ids=FUTURES.keys())
def any_future(request):
    """A future's class, Python's own among them."""
    return request.param


@pytest.fixture(params=TASKS.values(), ids=TASKS.keys())
def any_task(request):
    """A task's class, Python's own among them."""
    return request.param


class TestOfAllKinds:
    def test_future_by_task(self, any_task, any_future, loop, turn):
        futures = [any_future(loop=loop) for _ in range(3)]
        tasks = [any_task(waiting(future), loop=loop) for future in futures]
        turn(loop)
        assert [task._fut_waiter for task in tasks] == futures
        futures[0].set_result(5)
        futures[1].set_exception(LookupError("mine"))
        tasks[2].cancel("message")
        assert futures[2].cancelled()
        turn(loop)
        assert tasks[0].result() == 5
        assert str(tasks[1].exception()) == "mine"
        with pytest.raises(asyncio.CancelledError, match=r"^message$"):
            tasks[2].result()

    @pytest.mark.parametrize("inner_class", TASKS.values(), ids=TASKS.keys())
    def test_task_by_task(self, any_task, inner_class, loop, turn):
        async def fail():
            await asyncio.sleep(0)
            raise LookupError("mine")

        inner = [
            inner_class(answer(5), loop=loop),
            inner_class(fail(), loop=loop),
            inner_class(waiting(loop.create_future()), loop=loop),
        ]
        outer = [any_task(waiting(task), loop=loop) for task in inner]
        turn(loop)
        outer[2].cancel("message")
        run_until(loop, *outer)
        assert outer[0].result() == 5
        assert outer[1].exception() is inner[1].exception()
        assert outer[2].cancelled() and inner[2].cancelled()

    def test_turns_of_a_chain(self, any_future, loop, turn):
        # A wake-up is one turn, whichever kinds wake each other.
        future = any_future(loop=loop)
        tasks = [asyncio.Task(waiting(future), loop=loop)]
        for cls in [*TASKS.values(), *reversed(TASKS.values())]:
            tasks.append(cls(waiting(tasks[-1]), loop=loop))
        turn(loop)
        future.set_result(5)
        for count in range(1, len(tasks) + 1):
            turn(loop)
            assert [task.done() for task in tasks].count(True) == count

    def test_many_wait_for_one(self, any_future, loop, turn):
        order = []
        future = any_future(loop=loop)

        async def main(number):
            order.append((number, await future))

        tasks = [cls(main(n), loop=loop) for n, cls in enumerate([*TASKS.values()] * 3)]
        turn(loop)
        future.add_done_callback(lambda _: order.append("callback"))
        future.set_result(5)
        turn(loop)
        assert order == [*((n, 5) for n in range(9)), "callback"]
        assert all(task.done() for task in tasks)


class Awaitable:
    def __init__(self, steps):
        self.steps = steps

    def __await__(self):
        for _ in range(self.steps):
            yield
        return "ended"


class Foreign:
    """A future of somebody's own: the least that a task asks of one."""

    def __init__(self, loop):
        self._asyncio_future_blocking = False
        self.loop = loop
        self.callbacks = []
        self.outcome = None

    def get_loop(self):
        return self.loop

    def add_done_callback(self, callback, *, context):
        self.callbacks.append((callback, context))

    def finish(self, outcome):
        self.outcome = outcome
        for callback, context in self.callbacks:
            self.loop.call_soon(callback, self, context=context)

    def result(self):
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        return self.outcome

    def cancel(self, msg=None):
        self.finish(asyncio.CancelledError(msg))
        return True

    def __await__(self):
        self._asyncio_future_blocking = True
        yield self
        return self.result()


class Wrapped(collections.abc.Coroutine):
    """A coroutine as compiled code has them: only its three methods."""

    def __init__(self, coro):
        self.coro = coro

    def send(self, value):
        return self.coro.send(value)

    def throw(self, *args):
        return self.coro.throw(*args)

    def close(self):
        return self.coro.close()

    def __await__(self):
        return self.coro.__await__()


class Scripted(collections.abc.Coroutine):
    """A coroutine whose every send() and throw() does what a list says."""

    def __init__(self, *script):
        self.script = list(script)
        self.received = []

    def proceed(self, *received):
        self.received.append(received)
        what = self.script.pop(0)
        if isinstance(what, BaseException) or what is StopIteration:
            raise what
        return what

    def send(self, value):
        return self.proceed("send", value)

    def throw(self, *args):
        return self.proceed("throw", *(type(arg) for arg in args))

    def close(self):
        self.received.append("close")

    def __await__(self):
        raise AssertionError("awaited")


class TestAwaitables:
    @pytest.mark.parametrize("steps", [0, 1, 3])
    def test_custom(self, task_class, loop, turn, steps):
        task = task_class(waiting(Awaitable(steps)), loop=loop)
        turn(loop, steps)
        assert not task.done()
        turn(loop)
        assert task.result() == "ended"

    @pytest.mark.parametrize("outcome", ["result", "exception", "cancelled"])
    def test_foreign_future(self, task_class, loop, turn, outcome):
        future = Foreign(loop)
        task = task_class(waiting(future), loop=loop)
        turn(loop)
        assert task._fut_waiter is future
        assert future._asyncio_future_blocking is False
        if outcome == "result":
            future.finish(5)
        elif outcome == "exception":
            future.finish(LookupError("mine"))
        else:
            task.cancel("message")
        turn(loop)
        if outcome == "result":
            assert task.result() == 5
        elif outcome == "exception":
            assert task.exception() is future.outcome
        else:
            with pytest.raises(asyncio.CancelledError, match=r"^message$"):
                task.result()

    def test_foreign_future_that_is_quick(self, task_class, loop, turn):
        # Its callback runs at once, before the step that waits is over.
        class Quick(Foreign):
            def add_done_callback(self, callback, *, context):
                self.loop.call_soon(callback, self, context=context)

        task = task_class(waiting(Quick(loop)), loop=loop)
        turn(loop)
        assert not task.done()
        turn(loop)
        assert task.result() is None

    def test_types_coroutine(self, task_class, loop, turn):
        @types.coroutine
        def spin(count):
            for _ in range(count):
                assert (yield) is None
            return count

        async def main():
            return await spin(3)

        task = task_class(main(), loop=loop)
        turn(loop, 3)
        assert not task.done()
        turn(loop)
        assert task.result() == 3

    def test_wrapped_coroutine(self, task_class, loop, turn):
        future = loop.create_future()
        tasks = [
            task_class(Wrapped(answer(5)), loop=loop),
            task_class(Wrapped(waiting(future)), loop=loop),
            task_class(Wrapped(waiting(Wrapped(answer((1, 2))))), loop=loop),
        ]
        turn(loop)
        tasks[1].cancel("message")
        run_until(loop, *tasks)
        assert tasks[0].result() == 5
        assert tasks[1].cancelled()
        assert tasks[2].result() == (1, 2)

    @pytest.mark.parametrize(
        "value",
        [None, 5, (), (1,), (1, 2), ValueError("value"), StopIteration(1)],
        ids=repr,
    )
    def test_value_of_stop_iteration(self, task_class, loop, turn, value):
        coro = Scripted(None, StopIteration(value))
        task = task_class(coro, loop=loop)
        turn(loop, 2)
        assert task.result() is value
        assert coro.received == [("send", None), ("send", None)]

    def test_stop_iteration_without_a_value(self, task_class, loop, turn):
        tasks = [
            task_class(Scripted(StopIteration), loop=loop),
            task_class(Scripted(StopIteration()), loop=loop),
            task_class(Scripted(StopIteration(1, 2)), loop=loop),
        ]
        turn(loop)
        assert [task.result() for task in tasks] == [None, None, 1]

    def test_stop_iteration_subclass(self, task_class, loop, turn):
        class Mine(StopIteration):
            pass

        task = task_class(Scripted(Mine(5)), loop=loop)
        turn(loop)
        assert task.result() == 5

    def test_exceptions_are_thrown(self, task_class, loop, turn):
        future = loop.create_future()
        blocked = Foreign(loop)
        blocked._asyncio_future_blocking = True
        coro = Scripted(blocked, None, StopIteration("ended"))
        task = task_class(coro, loop=loop)
        turn(loop)
        blocked.finish(LookupError())
        turn(loop)
        task.cancel()
        turn(loop)
        assert task.result() == "ended"
        assert coro.received == [
            ("send", None),
            ("throw", LookupError),
            ("throw", asyncio.CancelledError),
        ]
        assert not future.done()

    def test_async_generator(self, task_class, loop):
        async def generate():
            try:
                for number in range(3):
                    await asyncio.sleep(0)
                    yield number
            finally:
                await asyncio.sleep(0)
                cleaned.append(asyncio.current_task().get_name())

        async def main():
            first = [number async for number in generate()]
            async with contextlib.aclosing(generate()) as numbers:
                async for number in numbers:
                    return first, number

        cleaned = []
        task = task_class(main(), loop=loop, name="mine")
        assert loop.run_until_complete(task) == ([0, 1, 2], 0)
        assert cleaned == ["mine", "mine"]

    def test_async_generators_methods(self, task_class, loop):
        async def generate():
            with contextlib.suppress(LookupError):
                yield 5
            await asyncio.sleep(0)
            yield 6

        async def main():
            async with contextlib.aclosing(generate()) as numbers:
                first = await anext(numbers)
                second = await numbers.athrow(LookupError())
                return first, second, await anext(numbers, "none")

        task = task_class(main(), loop=loop)
        assert loop.run_until_complete(task) == (5, 6, "none")


@types.coroutine
def give(value):
    return (yield value)


class TestWrongYields:
    """Errors are thrown in, at the next step, and may be caught."""

    @pytest.fixture
    def message_of(self, task_class, loop, turn):
        """A function that tells the error that yielding something gives.

        ``message_of(make)`` yields ``make(loop, task)``; the text must be the
        one that asyncio's own task gives, addresses apart.
        """

        def attempt(make, loop, task_class):
            async def main():
                try:
                    await give(make(loop, task))
                except RuntimeError as exc:
                    return str(exc)

            task = task_class(main(), loop=loop, name="mine")
            turn(loop)
            # Not in the step itself: the next turn throws it in.
            assert not task.done()
            turn(loop)
            return re.sub(r"0x[0-9a-f]+", "0x...", task.result())

        def message(make):
            oracle = asyncio.SelectorEventLoop()
            expected = attempt(make, oracle, asyncio.Task)
            oracle.close()
            actual = attempt(make, loop, task_class)
            assert actual == expected
            return actual

        return message

    @pytest.mark.parametrize("value", [1, "text", (), False, [None], print], ids=repr)
    def test_no_future(self, message_of, value):
        assert message_of(lambda *_: value) == f"Task got bad yield: {value!r}"

    def test_generator(self, message_of):
        def generate():
            yield

        assert "yield was used instead of yield from" in message_of(
            lambda *_: generate()
        )

    def test_coroutine(self, message_of):
        coro = waiting(None)
        assert "Task got bad yield: <coroutine" in message_of(lambda *_: coro)
        coro.close()

    def test_future_without_await(self, message_of, future_class):
        message = message_of(lambda loop, _: asyncio.Future(loop=loop))
        assert message.startswith("yield was used instead of yield from in task <Task")

    def test_native_future_without_await(self, task_class, future_class, loop):
        async def main():
            await give(future_class(loop=loop))

        task = task_class(main(), loop=loop)
        run_until(loop, task)
        assert "yield was used instead" in str(task.exception())

    def test_task_itself_without_await(self, message_of):
        message = message_of(lambda _, task: task)
        assert message.startswith("Task cannot await on itself: <Task")

    def test_generator_that_yields_its_own_task(self, task_class, loop):
        @types.coroutine
        def own():
            task._asyncio_future_blocking = True
            yield task

        async def main():
            await own()

        task = task_class(main(), loop=loop)
        run_until(loop, task)
        assert str(task.exception()).startswith("Task cannot await on itself: <Task")

    def test_awaiting_itself(self, task_class, loop):
        async def main():
            with pytest.raises(RuntimeError, match=r"^Task cannot await on itself: "):
                await task
            return "ended"

        task = task_class(main(), loop=loop)
        assert loop.run_until_complete(task) == "ended"

    @pytest.mark.parametrize("kind", ["future", "task", "foreign", "subclass"])
    def test_of_another_loop(
        self, task_class, future_class, loop, new_loop, turn, kind
    ):
        other = new_loop()

        class Mine(future_class):
            pass

        if kind == "task":
            future = task_class(answer(), loop=other)
        else:
            make = {"future": future_class, "foreign": Foreign, "subclass": Mine}
            future = make[kind](loop=other)

        async def main():
            try:
                await future
            except RuntimeError as exc:
                return str(exc)

        task = task_class(main(), loop=loop, name="mine")
        turn(loop, 2)
        message = task.result()
        assert re.match(
            r"^Task <Task pending name='mine' coro=.*> got Future <.*>"
            r" attached to a different loop$",
            message,
        ), message
        if kind == "task":
            run_until(other, future)


class Own(BaseException):
    """An exception that is not an Exception."""


@pytest.fixture
def run(task_class, loop):
    """A function that runs a coroutine function on a loop with such tasks."""
    loop.set_task_factory(
        lambda loop, coro, **kwargs: task_class(coro, loop=loop, **kwargs)
    )

    def run(function, *args):
        return loop.run_until_complete(function(*args))

    return run


class TestLibrary:
    def test_gather(self, run, any_future, any_task):
        async def main():
            loop = asyncio.get_running_loop()
            future = any_future(loop=loop)
            loop.call_soon(future.set_result, 1)
            return await asyncio.gather(
                future, answer(2), any_task(answer(3), loop=loop), future
            )

        assert run(main) == [1, 2, 3, 1]

    def test_wait(self, run, any_future):
        async def main():
            loop = asyncio.get_running_loop()
            first, never = any_future(loop=loop), any_future(loop=loop)
            loop.call_soon(first.set_result, 1)
            done, pending = await asyncio.wait(
                [first, never], return_when=asyncio.FIRST_COMPLETED
            )
            never.cancel()
            return done == {first}, pending == {never}

        assert run(main) == (True, True)

    def test_as_completed(self, run, any_task):
        async def main():
            loop = asyncio.get_running_loop()
            tasks = [any_task(answer(n), loop=loop) for n in range(3)]
            return [await one for one in asyncio.as_completed([*tasks, answer(3)])]

        assert sorted(run(main)) == [0, 1, 2, 3]

    def test_wait_for_and_shield(self, run, any_future):
        async def main():
            loop = asyncio.get_running_loop()
            future = any_future(loop=loop)
            loop.call_soon(future.set_result, 5)
            inner = await asyncio.wait_for(asyncio.shield(future), SOON)
            return inner, await asyncio.wait_for(future, None)

        assert run(main) == (5, 5)

    def test_task_group(self, run, task_class):
        async def main():
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(answer(n), name=str(n)) for n in range(5)]
            assert {type(task) for task in tasks} == {task_class}
            return [task.result() for task in tasks]

        assert run(main) == [0, 1, 2, 3, 4]

    def test_queue(self, run):
        async def produce(queue):
            for number in range(10):
                await queue.put(number)

        async def main():
            queue = asyncio.Queue(2)
            producer = asyncio.create_task(produce(queue))
            numbers = []
            for _ in range(10):
                numbers.append(await queue.get())
                queue.task_done()
            await queue.join()
            await producer
            return numbers

        assert run(main) == list(range(10))

    @pytest.mark.parametrize("make", [asyncio.Lock, lambda: asyncio.Semaphore(2)])
    def test_locks_are_fair(self, run, make):
        async def hold(lock, number):
            async with lock:
                order.append(number)
                await asyncio.sleep(0)

        async def main():
            lock = make()
            await asyncio.gather(*(hold(lock, n) for n in range(10)))

        order = []
        run(main)
        assert order == list(range(10))

    def test_event_condition_and_barrier(self, run):
        async def wait(event, condition, barrier, number):
            await event.wait()
            async with condition:
                condition.notify_all()
                if number < 2:
                    await condition.wait()
            await barrier.wait()
            return number

        async def main():
            shared = asyncio.Event(), asyncio.Condition(), asyncio.Barrier(3)
            tasks = [asyncio.create_task(wait(*shared, n)) for n in range(3)]
            await asyncio.sleep(0)
            shared[0].set()
            return await asyncio.wait_for(asyncio.gather(*tasks), SOON)

        assert run(main) == [0, 1, 2]

    def test_to_thread_and_executor(self, run):
        async def main():
            loop = asyncio.get_running_loop()
            sums = await asyncio.gather(
                *(asyncio.to_thread(sum, range(n)) for n in range(5))
            )
            length = await loop.run_in_executor(None, len, "text")
            await loop.shutdown_default_executor()
            return sums, length

        assert run(main) == ([0, 0, 1, 3, 6], 4)

    def test_run_coroutine_threadsafe(self, run):
        async def main():
            loop = asyncio.get_running_loop()

            def in_thread():
                return asyncio.run_coroutine_threadsafe(answer(5), loop).result(SOON)

            with concurrent.futures.ThreadPoolExecutor(1) as pool:
                return await loop.run_in_executor(pool, in_thread)

        assert run(main) == 5

    def test_wrap_future(self, run):
        async def main():
            theirs = [concurrent.futures.Future() for _ in range(3)]
            mine = [
                asyncio.create_task(waiting(asyncio.wrap_future(f))) for f in theirs
            ]
            await asyncio.sleep(0)
            theirs[0].set_result(5)
            theirs[1].set_exception(LookupError("mine"))
            mine[2].cancel()
            await asyncio.wait(mine)
            assert str(mine[1].exception()) == "mine"
            return mine[0].result(), theirs[2].cancelled(), mine[2].cancelled()

        assert run(main) == (5, True, True)

    def test_chained_future_to_a_thread(self, run, any_task):
        # run_coroutine_threadsafe() and wrap_future() copy outcomes of tasks.
        async def main():
            loop = asyncio.get_running_loop()
            theirs = concurrent.futures.Future()
            task = any_task(answer(5), loop=loop)
            asyncio.futures._chain_future(task, theirs)
            await task
            await asyncio.sleep(0)
            return theirs.result(0)

        assert run(main) == 5

    def test_runner(self, task_class, loop_class):
        with asyncio.Runner(loop_factory=loop_class) as runner:
            runner.get_loop().set_task_factory(
                lambda loop, coro, **kwargs: task_class(coro, loop=loop, **kwargs)
            )
            assert runner.run(answer(5)) == 5
            with pytest.raises(KeyboardInterrupt):
                runner.run(interrupted())
            assert runner.run(answer(6)) == 6

    def test_ensure_future_and_isfuture(self, any_task, loop):
        task = any_task(answer(5), loop=loop)
        assert asyncio.isfuture(task)
        assert asyncio.ensure_future(task) is task
        assert asyncio.ensure_future(task, loop=loop) is task
        assert loop.run_until_complete(task) == 5

    def test_exception_kinds_through_a_chain(self, task_class, loop):
        async def fail(kind):
            await asyncio.sleep(0)
            raise kind("mine")

        for kind in (LookupError, Own, GeneratorExit, asyncio.InvalidStateError):
            inner = task_class(fail(kind), loop=loop)
            outer = task_class(waiting(inner), loop=loop)
            run_until(loop, outer)
            assert outer.exception() is inner.exception()
            assert isinstance(outer.exception(), kind)


async def interrupted():
    raise KeyboardInterrupt


# The random programs. A program is a list of tasks' bodies, a body a list of
# operations, each with a number or a body of its own; a number's target is
# taken modulo what there is.
PLAIN = (
    *("set result", "set exception", "cancel future", "await future", "shield"),
    *("cancel", "cancel", "cancel self", "uncancel", "await task", "await task"),
    *("wait", "gather", "wait for", "sleep", "sleep", "sleep", "call soon"),
    *("put", "put", "get", "lock", "unlock", "unlock", "raise", "set result"),
)
NESTING = ("spawn", "spawn", "try", "finally", "timeout", "group")
PROGRAMS = 100

# Operations make tasks; a program that made more than so many makes no more.
MOST_TASKS = 40
MOST_TURNS = 40


def make_body(random, depth=0):
    """Return a list of operations, fewer the deeper it is nested."""
    operations = []
    for _ in range(random.randint(1, 6 - depth)):
        if depth < 3 and random.random() < 0.3:
            what = random.choice(NESTING), make_body(random, depth + 1)
        else:
            what = random.choice(PLAIN), random.randrange(6)
        operations.append(what)
    return operations


def make_program(seed):
    """Return the program of a seed, always the same."""
    random = Random(seed)
    return [make_body(random) for _ in range(random.randint(2, 6))]


class Machine:
    """Run a program; what happened, and in which turn, is in ``log``."""

    def __init__(self, loop, task_classes, future_class):
        self.loop = loop
        self.task_classes = task_classes
        self.log = []
        self.turns = 0
        self.tasks = []
        self.numbers = {}
        self.futures = [future_class(loop=loop) for _ in range(4)]
        self.queue = asyncio.Queue()
        self.lock = asyncio.Lock()
        loop.set_exception_handler(lambda *_: None)
        loop.set_task_factory(self.make)

    def make(self, loop, coro, **kwargs):
        number = len(self.tasks)
        cls = self.task_classes[number % len(self.task_classes)]
        task = cls(coro, loop=loop, **kwargs)
        self.tasks.append(task)
        # Not by its name: that may be set once more when the factory is done.
        self.numbers[task] = number
        task.add_done_callback(self.done)
        return task

    def note(self, *what):
        current = self.numbers.get(asyncio.current_task(self.loop))
        pending = sorted(self.numbers[task] for task in asyncio.all_tasks(self.loop))
        self.log.append((self.turns, current, *what, tuple(pending)))

    def done(self, task):
        self.note("done", self.numbers[task], *self.outcome(task))

    def outcome(self, future):
        if future.cancelled():
            return "cancelled", future.cancelled()
        if future.exception() is not None:
            return self.describe(future.exception())
        return "result", repr(future.result())

    def describe(self, exc):
        links = []
        while exc is not None and len(links) < 10:
            links.append((type(exc).__name__, str(exc.args)))
            exc = exc.__context__
        return "raised", tuple(links)

    async def body(self, operations):
        for index, (what, value) in enumerate(operations):
            self.note(index, what)
            outcome = await getattr(self, what.replace(" ", "_"))(value)
            task = asyncio.current_task()
            self.note(index, "passed", repr(outcome), task.cancelling())
        return len(operations)

    def future(self, number):
        return self.futures[number % len(self.futures)]

    def task(self, number):
        return self.tasks[number % len(self.tasks)]

    async def set_result(self, number):
        if not self.future(number).done():
            self.future(number).set_result(number)

    async def set_exception(self, number):
        if not self.future(number).done():
            self.future(number).set_exception(LookupError(number))

    async def cancel_future(self, number):
        return self.future(number).cancel(number)

    async def await_future(self, number):
        return await self.future(number)

    async def cancel(self, number):
        return self.task(number).cancel(number)

    async def cancel_self(self, _):
        return asyncio.current_task().cancel("self")

    async def uncancel(self, number):
        return self.task(number).uncancel()

    async def await_task(self, number):
        # Only younger ones: to cancel tasks that wait for each other in a
        # circle is a recursion without an end.
        younger = self.tasks[self.numbers[asyncio.current_task()] + 1 :]
        if younger:
            return await younger[number % len(younger)]

    async def shield(self, number):
        return await asyncio.shield(self.future(number))

    async def wait(self, number):
        futures = {self.future(number), self.future(number + 1)}
        done, pending = await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED)
        return len(done), len(pending)

    async def gather(self, number):
        return await asyncio.gather(self.future(number), asyncio.sleep(0, number))

    async def wait_for(self, number):
        return await asyncio.wait_for(self.future(number), 0 if number % 2 else None)

    async def sleep(self, turns):
        for _ in range(turns % 3):
            await asyncio.sleep(0)

    async def call_soon(self, _):
        self.loop.call_soon(self.note, "called")

    async def raise_(self, _):
        raise ValueError("mine")

    async def get(self, _):
        return await self.queue.get()

    async def put(self, _):
        self.queue.put_nowait(self.turns)

    async def lock_(self, _):
        return await self.lock.acquire()

    async def unlock(self, _):
        if self.lock.locked():
            self.lock.release()

    async def spawn(self, operations):
        if len(self.tasks) < MOST_TASKS:
            return self.numbers[asyncio.create_task(self.body(operations))]

    async def try_(self, operations):
        try:
            return await self.body(operations)
        except BaseException as exc:
            self.note("caught", *self.describe(exc))

    async def finally_(self, operations):
        try:
            await asyncio.sleep(0)
        finally:
            await self.body(operations)

    async def timeout(self, operations):
        async with asyncio.timeout(-1):
            return await self.body(operations)

    async def group(self, operations):
        if len(self.tasks) < MOST_TASKS:
            # Of one child: several are cancelled in the order of a set.
            async with asyncio.TaskGroup() as group:
                group.create_task(self.body(operations))
                await self.body(operations[:2])

    def run(self, program):
        """Run *program*, then cancel what is left until all has ended."""
        for operations in program:
            self.loop.create_task(self.body(operations))
        while not all(task.done() for task in self.tasks):
            self.turns += 1
            assert self.turns < 3 * MOST_TURNS, "goes on for ever"
            if self.turns > MOST_TURNS:
                for task in self.tasks:
                    self.note("cancelled last", task.cancel("last"))
            self.loop.stop()
            self.loop.run_forever()
        self.loop.stop()
        self.loop.run_forever()
        self.note("end", self.turns)
        for future in (*self.futures, *self.tasks):
            self.log.append(
                self.outcome(future) if future.done() else ("pending", None)
            )


for keyword in ("raise", "try", "finally"):
    setattr(Machine, keyword, getattr(Machine, f"{keyword}_"))


def log_of(program, loop_class, task_classes, future_class):
    """Return all that happened in a program."""
    loop = loop_class()
    try:
        machine = Machine(loop, task_classes, future_class)
        machine.run(program)
        return machine.log
    finally:
        loop.close()


@pytest.mark.parametrize(
    "task_classes",
    [
        [asyncio.Task],
        [evloop.Task],
        [evloop.Task, asyncio.Task],
    ],
    ids=["asyncio", "evloop", "both in turn"],
)
def test_programs(loop_class, future_class, task_classes):
    for seed in range(PROGRAMS):
        program = make_program(seed)
        expected = log_of(
            program, asyncio.SelectorEventLoop, [asyncio.Task], asyncio.Future
        )
        actual = log_of(program, loop_class, task_classes, future_class)
        for index, pair in enumerate(zip_longest(actual, expected)):
            assert pair[0] == pair[1], (seed, index, actual[:index], program)
