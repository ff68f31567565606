"""Tasks that take their first step while they are made."""

import asyncio
import contextvars
import gc
import re
import sys
import weakref

import pytest

import evloop

pytestmark = pytest.mark.skipif(sys.version_info < (3, 12), reason="since Python 3.12")


class Own(BaseException):
    """An exception that is not an Exception."""


async def answer(value=None):
    return value


async def yielding(turns=1):
    for _ in range(turns):
        await asyncio.sleep(0)
    return "ended"


async def waiting(future):
    return await future


def name_of(task):
    return None if task is None else task.get_name()


def coro_of(task):
    """Return get_coro(), which of an ended task crashed asyncio's own at first."""
    if type(task) is asyncio.Task and sys.version_info < (3, 13):
        return task._coro
    return task.get_coro()


@pytest.fixture
def run(loop):
    """A function that runs a coroutine function on the loop, as a stock task."""

    def run(function):
        return loop.run_until_complete(asyncio.Task(function(), loop=loop, name="main"))

    return run


class TestStart:
    def test_that_ends_at_once(self, task_class, loop, run):
        async def main():
            before = len(loop._ready)
            task = task_class(answer(5), loop=loop, eager_start=True)
            assert task.done()
            assert task.result() == 5
            assert len(loop._ready) == before
            assert task not in asyncio.all_tasks()
            assert await task == 5

        run(main)

    def test_that_goes_on(self, task_class, loop, run):
        steps = []

        async def eager():
            steps.append("first")
            await asyncio.sleep(0)
            steps.append("second")
            return 5

        async def main():
            task = task_class(eager(), loop=loop, eager_start=True)
            assert steps == ["first"]
            assert not task.done()
            assert task in asyncio.all_tasks()
            assert await task == 5

        run(main)
        assert steps == ["first", "second"]

    def test_that_waits(self, task_class, loop, run):
        async def main():
            future = loop.create_future()
            task = task_class(waiting(future), loop=loop, eager_start=True)
            assert task._fut_waiter is future
            future.set_result(5)
            assert not task.done()
            await asyncio.sleep(0)
            assert task.result() == 5

        run(main)

    @pytest.mark.parametrize("kind", [LookupError, Own, asyncio.CancelledError])
    def test_that_fails(self, task_class, loop, run, kind):
        async def fail():
            raise kind("mine")

        async def main():
            task = task_class(fail(), loop=loop, eager_start=True)
            assert task.done()
            assert task.cancelled() is (kind is asyncio.CancelledError)
            with pytest.raises(kind, match=r"^mine$"):
                await task

        run(main)

    @pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
    def test_that_interrupts(self, task_class, loop, kind):
        # Raised to whoever makes the task, out of the constructor.
        async def interrupt():
            raise kind("mine")

        async def main():
            with pytest.raises(kind, match=r"^mine$"):
                task_class(interrupt(), loop=loop, eager_start=True)
            return name_of(asyncio.current_task())

        task = asyncio.Task(main(), loop=loop, name="main")
        assert loop.run_until_complete(task) == "main"

    def test_without_a_running_loop(self, task_class, loop):
        steps = []

        async def eager():
            steps.append("started")

        task = task_class(eager(), loop=loop, eager_start=True)
        assert steps == []
        loop.run_until_complete(task)
        assert steps == ["started"]

    def test_told_not_to(self, task_class, loop, run):
        async def main():
            tasks = [
                task_class(answer(), loop=loop, eager_start=flag)
                for flag in (False, 0, "")
            ]
            assert not any(task.done() for task in tasks)
            await asyncio.wait(tasks)

        run(main)

    def test_of_no_coroutine(self, task_class, loop, run, reported):
        contexts = reported(loop)

        async def main():
            with pytest.raises(TypeError, match=r"^a coroutine was expected, got 5$"):
                task_class(5, loop=loop, eager_start=True)

        run(main)
        gc.collect()
        assert contexts == []

    def test_does_not_wait_its_turn(self, task_class, loop, run):
        order = []

        async def eager(number):
            order.append(number)
            await asyncio.sleep(0)
            order.append(number)

        async def main():
            loop.call_soon(order.append, "handle")
            tasks = [
                task_class(eager(n), loop=loop, eager_start=n % 2 == 0)
                for n in range(4)
            ]
            await asyncio.wait(tasks)

        run(main)
        assert order == [0, 2, "handle", 0, 1, 2, 3, 1, 3]


class TestCurrent:
    def test_is_the_eager_one_inside(self, task_class, loop, run):
        seen = []

        def look(where):
            seen.append((where, name_of(asyncio.current_task())))

        async def inner():
            look("inner")
            await asyncio.sleep(0)
            look("inner later")

        async def outer():
            look("outer")
            task = task_class(inner(), loop=loop, name="inner", eager_start=True)
            look("outer again")
            await task
            look("outer later")

        async def main():
            task = task_class(outer(), loop=loop, name="outer", eager_start=True)
            look("main")
            await task
            look("main later")

        run(main)
        assert seen == [
            ("outer", "outer"),
            ("inner", "inner"),
            ("outer again", "outer"),
            ("main", "main"),
            ("inner later", "inner"),
            ("outer later", "outer"),
            ("main later", "main"),
        ]

    def test_from_a_handle(self, task_class, loop, turn):
        seen = []

        async def eager():
            seen.append(name_of(asyncio.current_task()))
            await asyncio.sleep(0)

        def handle():
            made.append(task_class(eager(), loop=loop, name="eager", eager_start=True))
            seen.append(name_of(asyncio.current_task()))

        made = []
        loop.call_soon(handle)
        turn(loop)
        assert seen == ["eager", None]
        assert asyncio.all_tasks(loop) == set(made)
        turn(loop)
        assert made[0].done()

    @pytest.mark.parametrize("kind", [LookupError, KeyboardInterrupt])
    def test_after_a_failure(self, task_class, loop, turn, kind):
        seen = []

        async def fail():
            raise kind

        def handle():
            try:
                task = task_class(fail(), loop=loop, eager_start=True)
                assert isinstance(task.exception(), kind)
            except KeyboardInterrupt:
                seen.append("interrupted")
            seen.append(asyncio.current_task())

        loop.call_soon(handle)
        turn(loop)
        assert seen[-1] is None

    def test_all_tasks_inside(self, task_class, loop, run):
        seen = []

        async def eager():
            seen.append(asyncio.all_tasks() == {*known, asyncio.current_task()})
            await asyncio.sleep(0)
            seen.append(asyncio.all_tasks() == {*known, asyncio.current_task()})

        async def main():
            known.add(asyncio.current_task())
            task = task_class(eager(), loop=loop, eager_start=True)
            assert asyncio.all_tasks() == {*known, task}
            await task
            assert asyncio.all_tasks() == known

        known = set()
        run(main)
        assert seen == [True, True]


class TestState:
    def test_coroutine_is_let_go(self, task_class, loop, run):
        # Of one that ended at once only; asyncio drops it to break cycles.
        async def main():
            ended = task_class(answer(), loop=loop, eager_start=True)
            going = task_class(yielding(), loop=loop, eager_start=True)
            assert coro_of(ended) is None
            assert ended._coro is None
            assert going.get_coro().__name__ == "yielding"
            await going
            assert going.get_coro().__name__ == "yielding"
            assert ended.get_stack() == []
            return repr(ended)

        text = re.sub(r"Task-\d+", "Task-N", run(main))
        assert text == "<Task finished name='Task-N' result=None>"

    def test_of_a_failed_one(self, task_class, loop, run):
        async def fail():
            raise LookupError("mine")

        async def main():
            task = task_class(fail(), loop=loop, name="mine", eager_start=True)
            assert [frame.f_code.co_name for frame in task.get_stack()] == ["fail"]
            assert coro_of(task) is None
            assert isinstance(task.exception(), LookupError)
            return repr(task)

        expected = "<Task finished name='mine' exception=LookupError('mine')>"
        assert run(main) == expected

    def test_name_and_context(self, task_class, loop, run):
        variable = contextvars.ContextVar("variable", default="none")
        context = contextvars.copy_context()
        context.run(variable.set, "given")
        seen = []

        async def eager(value):
            seen.append((name_of(asyncio.current_task()), variable.get()))
            variable.set(value)
            await asyncio.sleep(0)
            seen.append(variable.get())

        async def main():
            variable.set("main")
            given = {"context": context, "name": "given"}
            tasks = [
                task_class(eager("a"), loop=loop, eager_start=True, **given),
                task_class(eager("b"), loop=loop, eager_start=True, name="copied"),
            ]
            assert variable.get() == "main"
            await asyncio.wait(tasks)
            assert tasks[0].get_context() is context
            return variable.get()

        assert run(main) == "main"
        assert seen == [("given", "given"), ("copied", "main"), "a", "b"]
        assert context[variable] == "a"

    def test_context_that_is_entered_already(self, task_class, loop, run):
        if task_class is asyncio.Task:
            pytest.skip("asyncio's own stays the current task, which leaks the loop")
        steps = []

        async def eager():
            steps.append("never")

        async def main():
            coro = eager()
            context = contextvars.copy_context()

            def make():
                task_class(coro, loop=loop, context=context, eager_start=True)

            with pytest.raises(RuntimeError, match="cannot enter context"):
                context.run(make)
            coro.close()
            return name_of(asyncio.current_task())

        loop.set_exception_handler(lambda *_: None)
        assert run(main) == "main"
        gc.collect()
        assert steps == []

    def test_cancelled_from_within(self, task_class, loop, run):
        async def eager():
            asyncio.current_task().cancel("message")
            await asyncio.sleep(0)
            raise AssertionError("went on")

        async def main():
            task = task_class(eager(), loop=loop, eager_start=True)
            assert not task.done()
            with pytest.raises(asyncio.CancelledError, match=r"^message$"):
                await task

        run(main)

    def test_done_callbacks_come_a_turn_later(self, task_class, loop, run):
        order = []

        async def main():
            task = task_class(answer(), loop=loop, eager_start=True)
            task.add_done_callback(lambda _: order.append("callback"))
            order.append("main")
            await asyncio.sleep(0)
            order.append("later")

        run(main)
        assert order == ["main", "callback", "later"]

    def test_callback_added_from_within(self, task_class, loop, run):
        order = []

        async def eager():
            asyncio.current_task().add_done_callback(order.append)

        async def main():
            task = task_class(eager(), loop=loop, eager_start=True)
            assert order == []
            await asyncio.sleep(0)
            assert order == [task]

        run(main)
        order.clear()

    def test_is_collected(self, task_class, loop, run):
        async def main():
            task = task_class(answer(), loop=loop, eager_start=True)
            gone = weakref.ref(task)
            del task
            return gone() is None

        assert run(main)

    def test_exception_never_retrieved(self, task_class, loop, run, reported):
        contexts = reported(loop)

        async def fail():
            raise LookupError("mine")

        async def main():
            task_class(fail(), loop=loop, eager_start=True)

        run(main)
        gc.collect()
        assert [each["message"] for each in contexts] == [
            "Task exception was never retrieved"
        ]
        contexts.clear()


FACTORIES = {
    "asyncio's": lambda cls: asyncio.eager_task_factory,
    "of a class": lambda cls: asyncio.create_eager_task_factory(cls),
    # What evloop has none of on Python 3.11, asyncio's stands in for.
    "evloop's": lambda cls: getattr(
        evloop, "eager_task_factory", asyncio.eager_task_factory
    ),
}


class TestFactories:
    @pytest.fixture(params=FACTORIES)
    def factory(self, request, task_class):
        return FACTORIES[request.param](task_class)

    def test_create_task(self, factory, loop, run):
        steps = []

        async def eager():
            steps.append("started")
            await asyncio.sleep(0)
            return 5

        async def main():
            loop.set_task_factory(factory)
            task = asyncio.create_task(eager(), name="mine")
            assert steps == ["started"]
            assert task.get_name() == "mine"
            other = loop.create_task(answer(), context=contextvars.copy_context())
            assert other.done()
            return await task

        assert run(main) == 5

    def test_main_itself(self, factory, loop):
        # The loop does not run yet when it is made: it starts as any other.
        loop.set_task_factory(factory)
        assert loop.run_until_complete(yielding()) == "ended"

    def test_library(self, factory, loop, run):
        async def main():
            loop.set_task_factory(factory)
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(yielding(n)) for n in range(3)]
                tasks.append(group.create_task(answer("ended")))
            gathered = await asyncio.gather(answer("ended"), yielding())
            async with asyncio.timeout(60):
                gathered.append(await asyncio.wait_for(yielding(), 60))
            return {*gathered, *(task.result() for task in tasks)}

        assert run(main) == {"ended"}

    def test_group_whose_child_fails_at_once(self, factory, loop, run):
        async def fail():
            raise LookupError("mine")

        async def main():
            loop.set_task_factory(factory)
            with pytest.raises(ExceptionGroup) as info:
                async with asyncio.TaskGroup() as group:
                    group.create_task(fail())
                    await asyncio.sleep(3600)
            return [str(exc) for exc in info.value.exceptions]

        assert run(main) == ["mine"]

    def test_class_of_the_factory(self, task_class, loop, run):
        class Mine(task_class):
            pass

        async def main():
            loop.set_task_factory(asyncio.create_eager_task_factory(Mine))
            task = loop.create_task(answer(5))
            assert type(task) is Mine
            assert task.done()
            return await task

        assert run(main) == 5

    @pytest.mark.skipif(
        not hasattr(evloop, "eager_task_factory"), reason="not in this build"
    )
    def test_native_ones(self, evloop_loop):
        async def main():
            task = evloop_loop.create_task(answer(5))
            assert type(task) is evloop.Task
            assert task.done()
            return await task

        evloop_loop.set_task_factory(evloop.eager_task_factory)
        assert evloop_loop.run_until_complete(main()) == 5

    @pytest.mark.skipif(sys.version_info < (3, 14), reason="since Python 3.14")
    def test_told_not_to(self, factory, loop, run):
        async def main():
            loop.set_task_factory(factory)
            task = loop.create_task(answer(5), eager_start=False)
            assert not task.done()
            return await task

        assert run(main) == 5


def test_init_of_a_subclass(task_class, loop, run):
    class Mine(task_class):
        def __init__(self, *args, **kwargs):
            self.before = True
            super().__init__(*args, **kwargs)

    async def eager():
        return asyncio.current_task().before

    async def main():
        return await Mine(eager(), loop=loop, eager_start=True)

    assert run(main) is True


def test_debug_mode(task_class, loop, run):
    loop.set_debug(True)

    async def main():
        ended = task_class(answer(), loop=loop, eager_start=True)
        going = task_class(yielding(), loop=loop, eager_start=True)
        assert going._source_traceback[-1].name == "main"
        assert " created at " in repr(going)
        assert " created at " in repr(ended)
        return await going

    assert run(main) == "ended"
